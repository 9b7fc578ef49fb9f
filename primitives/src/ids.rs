//! Newtypes for identifiers, positions in a chain, and amounts. Arithmetic is checked; there is no `Deref`.

use crate::hash::{Digest, Domain};
use crate::keys::PublicKey;
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Hexadecimal text and serde forms for a newtype over `[u8; N]`.
macro_rules! hex_text {
    ($name:ty, $len:expr, $what:expr) => {
        impl std::str::FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                let digits = text.strip_prefix("0x").unwrap_or(text);
                let bytes = hex::decode(digits).map_err(|e| format!("{} is not hexadecimal: {e}", $what))?;
                let bytes: [u8; $len] = bytes
                    .try_into()
                    .map_err(|b: Vec<u8>| format!("{} has {} bytes, it needs {}", $what, b.len(), $len))?;
                Ok(Self(bytes))
            }
        }
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(&format!("0x{}", hex::encode(self.0)))
            }
        }
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use hex_text;

macro_rules! bytes_id {
    ($(#[$doc:meta])* $name:ident, $len:expr, $what:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
        pub struct $name(pub [u8; $len]);
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "0x{}", hex::encode(self.0))
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
        }
        hex_text!($name, $len, $what);
    };
}

bytes_id!(
    /// An account or entity: the first 20 bytes of the domain-separated digest of its Ed25519 public key.
    Address, 20, "address"
);
bytes_id!(
    /// A ParaTime, unique on its chain.
    ParaTimeId, 32, "ParaTime id"
);
bytes_id!(
    /// A key set: the digest of its manifest. Stands on every ciphertext.
    KeyId, 32, "key id"
);
bytes_id!(
    /// A Keccak-256 hash: a node of a Merkle tree that a Solidity contract can check. Not one of our own digests.
    Keccak256, 32, "Keccak-256 hash"
);
bytes_id!(
    /// A container image: the SHA-256 digest of its manifest, `sha256:` in its registry and `0x` here.
    ImageDigest, 32, "image digest"
);

/// A node is named by its Ed25519 consensus key.
pub type NodeId = PublicKey;

impl Address {
    /// The address of a public key.
    pub fn of(key: &PublicKey) -> Self {
        let digest = Digest::of_bytes(Domain::Address, &key.0);
        let mut out = [0; 20];
        out.copy_from_slice(&digest.0[..20]);
        Self(out)
    }
}

impl ParaTimeId {
    /// The id that a ParaTime of this name has on every chain.
    pub fn named(name: &str) -> Self {
        Self(Digest::of_bytes(Domain::ParaTimeId, name.as_bytes()).0)
    }

    /// The first eight hexadecimal digits, for logs and tables.
    pub fn short(&self) -> String {
        hex::encode(&self.0[..4])
    }
}

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident, $inner:ty) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
            Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $inner);
        impl $name {
            /// Zero.
            pub const ZERO: Self = Self(0);
            /// The largest value.
            pub const MAX: Self = Self(<$inner>::MAX);
            /// `self + other`, or `None` past the largest value.
            pub fn checked_add(self, other: $inner) -> Option<Self> {
                self.0.checked_add(other).map(Self)
            }
            /// `self - other`, or `None` below zero.
            pub fn checked_sub(self, other: $inner) -> Option<Self> {
                self.0.checked_sub(other).map(Self)
            }
            /// `self + other`, held at the largest value.
            #[must_use]
            pub fn saturating_add(self, other: $inner) -> Self {
                Self(self.0.saturating_add(other))
            }
            /// `self - other`, held at zero.
            #[must_use]
            pub fn saturating_sub(self, other: $inner) -> Self {
                Self(self.0.saturating_sub(other))
            }
            /// The one after this; held at the largest value.
            #[must_use]
            pub fn next(self) -> Self {
                self.saturating_add(1)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
        impl std::str::FromStr for $name {
            type Err = std::num::ParseIntError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

counter!(
    /// A consensus block's number; the first is 1.
    Height, u64
);
counter!(
    /// A ParaTime round; the genesis block has round 0.
    Round, u64
);
counter!(
    /// A span of consensus blocks with one committee.
    Epoch, u64
);
counter!(
    /// How many transactions an account has had included.
    Nonce, u64
);
counter!(
    /// Work: consensus gas, or FHE gas in thousandths of a programmable bootstrap (see `parallax_runtime::gas`).
    Gas, u64
);
counter!(
    /// Native tokens, in base units.
    Amount, u128
);
