//! Sealing to a public key: HPKE (RFC 9180) in base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256,
//! ChaCha20-Poly1305. Decryption answers travel in it.

use crate::ids::hex_text;
use borsh::{BorshDeserialize, BorshSerialize};
use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use rand::{CryptoRng, RngCore};
use serde::{Deserialize, Serialize};
use std::fmt;
use zeroize::Zeroizing;

/// An X25519 public key to which answers are sealed.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct SealingKey(pub [u8; 32]);
hex_text!(SealingKey, 32, "sealing key");

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", hex::encode(self.0))
    }
}

/// The secret half of a [`SealingKey`]. Wiped when dropped; never shown.
#[derive(Clone)]
pub struct OpeningKey(Zeroizing<[u8; 32]>);

impl fmt::Debug for OpeningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpeningKey(…)")
    }
}

/// A message that only the holder of the [`OpeningKey`] can read.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Sealed {
    /// The encapsulated key.
    pub encapped: [u8; 32],
    /// Ciphertext and tag.
    pub ciphertext: Vec<u8>,
}

/// Why a sealed message could not be made or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The recipient's key is not a valid X25519 key.
    #[error("the recipient's sealing key is not a valid X25519 key")]
    BadKey,
    /// The message was sealed to another key, for another purpose, or was altered.
    #[error("the sealed message does not open: another key, another purpose, or altered bytes")]
    DoesNotOpen,
}

type Kem25519 = X25519HkdfSha256;

/// A fresh pair.
pub fn generate<R: RngCore + CryptoRng>(rng: &mut R) -> (OpeningKey, SealingKey) {
    let mut seed = Zeroizing::new([0u8; 32]);
    rng.fill_bytes(seed.as_mut());
    OpeningKey::from_seed(&seed)
}

impl OpeningKey {
    /// The pair derived from a seed (RFC 9180, DeriveKeyPair).
    pub fn from_seed(seed: &[u8; 32]) -> (Self, SealingKey) {
        let (secret, public) = Kem25519::derive_keypair(seed);
        let mut bytes = Zeroizing::new([0u8; 32]);
        bytes.copy_from_slice(&secret.to_bytes());
        let mut public_bytes = [0u8; 32];
        public_bytes.copy_from_slice(&public.to_bytes());
        (Self(bytes), SealingKey(public_bytes))
    }

    /// Opens a message sealed to this key with the same `info`.
    ///
    /// # Errors
    /// [`SealError::DoesNotOpen`] if key, purpose or bytes differ.
    pub fn open(&self, info: &[u8], sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let secret = <Kem25519 as Kem>::PrivateKey::from_bytes(self.0.as_ref()).map_err(|_| SealError::BadKey)?;
        let encapped =
            <Kem25519 as Kem>::EncappedKey::from_bytes(&sealed.encapped).map_err(|_| SealError::DoesNotOpen)?;
        hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, Kem25519>(
            &OpModeR::Base,
            &secret,
            &encapped,
            info,
            &sealed.ciphertext,
            &[],
        )
        .map(Zeroizing::new)
        .map_err(|_| SealError::DoesNotOpen)
    }
}

/// Seals `message` to `to`; `info` says for what and must be the same when it is opened.
///
/// # Errors
/// [`SealError::BadKey`] if `to` is not a usable X25519 key.
pub fn seal<R: RngCore + CryptoRng>(
    rng: &mut R,
    to: &SealingKey,
    info: &[u8],
    message: &[u8],
) -> Result<Sealed, SealError> {
    let public = <Kem25519 as Kem>::PublicKey::from_bytes(&to.0).map_err(|_| SealError::BadKey)?;
    let (encapped, ciphertext) = hpke::single_shot_seal::<ChaCha20Poly1305, HkdfSha256, Kem25519, _>(
        &OpModeS::Base,
        &public,
        info,
        message,
        &[],
        rng,
    )
    .map_err(|_| SealError::BadKey)?;
    let mut bytes = [0u8; 32];
    bytes.copy_from_slice(&encapped.to_bytes());
    Ok(Sealed { encapped: bytes, ciphertext })
}
