//! Keys and signatures in Ethereum's form: ECDSA over secp256k1, for what Solidity verifies. Everything else is signed
//! with Ed25519 ([`crate::keys`]).
//!
//! A signature has 65 bytes: r, s, and v, which is 27 or 28. It is deterministic (RFC 6979), and s is in the lower half
//! of the group's order, as OpenZeppelin's `ECDSA` asks for (EIP-2).

use crate::ids::{Address, hex_text};
use borsh::{BorshDeserialize, BorshSerialize};
use k256::ecdsa::SigningKey;
use rand::RngCore as _;
use rand::rngs::OsRng;
use sha3::{Digest as _, Keccak256};
use std::fmt;
use zeroize::Zeroizing;

/// A signature: r, s and v.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct EthereumSignature(pub [u8; 65]);
hex_text!(EthereumSignature, 65, "Ethereum signature");

impl fmt::Display for EthereumSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", hex::encode(self.0))
    }
}

impl fmt::Debug for EthereumSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}…", hex::encode(&self.0[..4]))
    }
}

/// A secp256k1 secret key. Wiped when dropped; never shown.
#[derive(Clone)]
pub struct EthereumKey(SigningKey);

impl fmt::Debug for EthereumKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EthereumKey(of {})", self.address())
    }
}

impl EthereumKey {
    /// A fresh key from the operating system's randomness.
    pub fn generate() -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        OsRng.fill_bytes(bytes.as_mut());
        Self::derive(&bytes)
    }

    /// The key with these bytes, a big-endian number. `None` for 0, for the group's order and for what is above it.
    pub fn from_bytes(bytes: &[u8; 32]) -> Option<Self> {
        SigningKey::from_slice(bytes).ok().map(Self)
    }

    /// The key that any 32 bytes lead to: the first among the seed, its hash, the hash of that and so on that is a key.
    /// But for one seed in 2^127 it is the seed itself.
    pub fn derive(seed: &[u8; 32]) -> Self {
        let mut bytes = Zeroizing::new(*seed);
        loop {
            if let Some(key) = Self::from_bytes(&bytes) {
                return key;
            }
            *bytes = keccak256(bytes.as_ref());
        }
    }

    /// Its bytes, wiped when dropped. For key files only.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes().into())
    }

    /// The address of its account in an Ethereum chain: the last 20 bytes of the Keccak-256 hash of the public key.
    pub fn address(&self) -> Address {
        let point = self.0.verifying_key().to_encoded_point(false);
        // The first byte says that the point is not compressed.
        let hash = keccak256(point.as_bytes().get(1..).unwrap_or_default());
        let mut out = [0; 20];
        out.copy_from_slice(&hash[12..]);
        Address(out)
    }

    /// Signs a digest. `None` if the digest leads to no signature, which no digest does that anyone could find.
    pub fn sign(&self, digest: &[u8; 32]) -> Option<EthereumSignature> {
        let (signature, id) = self.0.sign_prehash_recoverable(digest).ok()?;
        if id.is_x_reduced() {
            // v has no value that says so.
            return None;
        }
        let mut out = [0; 65];
        out[..64].copy_from_slice(&signature.to_bytes());
        out[64] = 27u8.saturating_add(u8::from(id.is_y_odd()));
        Some(EthereumSignature(out))
    }
}

fn keccak256(bytes: &[u8]) -> [u8; 32] {
    Keccak256::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends at the first error")]

    use super::*;

    /// A byte that fills the digest, and `new SigningKey("0x" + "01".repeat(32)).sign(digest).serialized` of ethers 6.17.
    /// For digests above the group's order, which nobody meets, k256 draws another nonce: valid too, but not that of
    /// RFC 6979.
    const VECTORS: [(u8, &str); 4] = [
        (
            0x00,
            concat!(
                "6734cb4e3c071082482bf0f8579484f28dcdb1ca15b0cce72fbf130b2673d00c5f",
                "beecc4075cfd6a52634210486f24ce6db20f2870e606acc43ade814d48394a1b"
            ),
        ),
        (
            0x11,
            concat!(
                "f5e5ac73e901121dc46e35485dadf2273d75aa201258ecb3be31f64127b3846923",
                "309f9481d9be7c6ff21499f014afaa54e39b18cdf106cc9a824f1bfbf114391b"
            ),
        ),
        (
            0x5a,
            concat!(
                "6085a35623a6af1a5d3bafff3605c3b5d352b04b96ecc89a96201b781a88c1005e",
                "5cfe304449f8e02d9adb05bc863b4fe91c6c5a98c7d1b69fe29b41bb288e5f1c"
            ),
        ),
        (
            0xfe,
            concat!(
                "4bbfd6df3a5b2ca0062b853ca0f5b52b0024e61a6747c03df2fc438dd73caa9548",
                "845caafc17cfdd5660991036ad55148a1b2e763315e08fe6fb8f78099c649c1b"
            ),
        ),
    ];

    fn bytes<const N: usize>(text: &str) -> [u8; N] {
        hex::decode(text).unwrap().try_into().unwrap()
    }

    #[test]
    fn the_first_development_key_has_its_known_address() {
        // Key and address as Hardhat and Anvil print them when they start.
        let key = bytes("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80");
        let key = EthereumKey::from_bytes(&key).unwrap();
        assert_eq!(key.address().to_string(), "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266");
        assert_eq!(*key.to_bytes(), bytes("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"));
    }

    #[test]
    fn what_is_no_key_is_refused_and_a_seed_always_leads_to_one() {
        let order = bytes("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141");
        for none in [[0; 32], order, [0xff; 32]] {
            assert!(EthereumKey::from_bytes(&none).is_none());
            let key = EthereumKey::derive(&none);
            assert_eq!(*key.to_bytes(), keccak256(&none));
        }
        assert_eq!(*EthereumKey::derive(&[7; 32]).to_bytes(), [7; 32]);
        assert_ne!(EthereumKey::generate().address(), EthereumKey::generate().address());
    }

    #[test]
    fn a_signature_is_the_one_that_an_independent_implementation_makes() {
        let key = EthereumKey::from_bytes(&[0x01; 32]).unwrap();
        for (digest, expected) in VECTORS {
            let signature = key.sign(&[digest; 32]).unwrap();
            assert_eq!(signature.to_string(), format!("0x{expected}"));
            assert!(signature.0[32] < 0x80, "s is in the lower half");
            assert_eq!(signature.to_string().parse(), Ok(signature));
        }
    }

    #[test]
    fn a_key_shows_its_address_and_nothing_else() {
        let shown = format!("{:?}", EthereumKey::from_bytes(&[0xab; 32]).unwrap());
        assert!(shown.starts_with("EthereumKey(of 0x") && !shown.contains("abab"), "{shown}");
    }
}
