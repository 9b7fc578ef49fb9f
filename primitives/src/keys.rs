//! Ed25519 keys and signatures. A signature always covers (domain, chain, optional ParaTime, message digest).

use crate::hash::{ChainContext, Digest, Domain};
use crate::ids::{ParaTimeId, hex_text};
use borsh::{BorshDeserialize, BorshSerialize};
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use rand::rngs::OsRng;
use std::fmt;
use zeroize::Zeroizing;

/// An Ed25519 public key (RFC 8032).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct PublicKey(pub [u8; 32]);
hex_text!(PublicKey, 32, "public key");

/// An Ed25519 signature.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Signature(pub [u8; 64]);
hex_text!(Signature, 64, "signature");

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", hex::encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}…", hex::encode(&self.0[..4]))
    }
}

/// What a signature is for: its domain, its chain and, for committee messages, its ParaTime.
#[derive(Clone, Copy, Debug)]
pub struct SigningContext {
    /// The kind of message.
    pub domain: Domain,
    /// The chain on which it counts.
    pub chain: ChainContext,
    /// The ParaTime in which it counts, for messages of a committee.
    pub paratime: Option<ParaTimeId>,
}

impl SigningContext {
    /// A context without a ParaTime.
    pub fn new(domain: Domain, chain: ChainContext) -> Self {
        Self { domain, chain, paratime: None }
    }

    /// A context inside one ParaTime.
    pub fn in_paratime(domain: Domain, chain: ChainContext, paratime: ParaTimeId) -> Self {
        Self { domain, chain, paratime: Some(paratime) }
    }

    /// The 32 bytes that are signed for a message.
    pub fn digest<T: BorshSerialize + ?Sized>(&self, message: &T) -> Digest {
        let inner = Digest::of_value(self.domain, message);
        Digest::of_value(self.domain, &(self.chain, self.paratime, inner))
    }
}

impl PublicKey {
    /// Whether `signature` is this key's over `message` in `context`. Small-order keys and malleable
    /// signatures are refused (`verify_strict`), so every node reaches the same verdict.
    #[must_use]
    pub fn verify<T: BorshSerialize + ?Sized>(
        &self,
        context: &SigningContext,
        message: &T,
        signature: &Signature,
    ) -> bool {
        self.verify_raw(&context.digest(message).0, signature)
    }

    /// Whether `signature` is this key's over these very bytes. For engines that frame their own messages.
    #[must_use]
    pub fn verify_raw(&self, bytes: &[u8], signature: &Signature) -> bool {
        VerifyingKey::from_bytes(&self.0)
            .is_ok_and(|key| key.verify_strict(bytes, &ed25519_dalek::Signature::from_bytes(&signature.0)).is_ok())
    }

    /// The first eight hexadecimal digits, for logs and tables.
    pub fn short(&self) -> String {
        hex::encode(&self.0[..4])
    }
}

/// An Ed25519 secret key. Wiped when dropped; never shown.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.public())
    }
}

impl SecretKey {
    /// A fresh key from the operating system's randomness.
    pub fn generate() -> Self {
        Self(SigningKey::generate(&mut OsRng))
    }

    /// The key with this 32-byte seed.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(SigningKey::from_bytes(&seed))
    }

    /// The seed, wiped when dropped. For key files only.
    pub fn to_seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs a message in a context.
    pub fn sign<T: BorshSerialize + ?Sized>(&self, context: &SigningContext, message: &T) -> Signature {
        self.sign_raw(&context.digest(message).0)
    }

    /// Signs these very bytes. For engines that frame their own messages.
    pub fn sign_raw(&self, bytes: &[u8]) -> Signature {
        Signature(self.0.sign(bytes).to_bytes())
    }
}
