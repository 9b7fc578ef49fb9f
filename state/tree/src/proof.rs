//! Proofs that a key has a value, or none, under a root; verified without a database.
//!
//! A Jellyfish Merkle tree is a binary tree over the 256 bits of the hashed key in which a subtree with one leaf *is*
//! that leaf and an empty subtree is a constant. A proof is the siblings on the way from the leaf to the root. A key
//! is absent if its way ends in an empty subtree, or in the leaf of another key that shares the way so far.

use crate::Value;
use crate::hasher::{EMPTY, inner, key_hash, leaf, value_hash};
use borsh::{BorshDeserialize, BorshSerialize};
use parallax_primitives::limits::{MAX_KEY_BYTES, MAX_PROOF_BYTES};
use parallax_primitives::{DecodeError, Digest, decode, encode};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// Most siblings in a proof: the bits of a hashed key.
const MAX_SIBLINGS: usize = 256;

/// Why a proof was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The bytes are no proof.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The text is not hexadecimal.
    #[error("a state proof is hexadecimal text: {0}")]
    NotHex(String),
    /// A key or a list of siblings longer than any tree of this chain can have.
    #[error("the state proof has {what} of length {actual}, the limit is {limit}")]
    TooLong {
        /// What.
        what: &'static str,
        /// Its length.
        actual: usize,
        /// The limit.
        limit: usize,
    },
    /// The leaf shown for an absent key does not lie on that key's way.
    #[error("the state proof shows a leaf that says nothing about key 0x{key}")]
    UnrelatedLeaf {
        /// The key, in hexadecimal.
        key: String,
    },
    /// The proof leads to another root: another version, another tree, or an altered key or value.
    #[error(
        "the state proof for key 0x{key} leads to root {computed}, not to {expected}; check the version of the root"
    )]
    WrongRoot {
        /// The key, in hexadecimal.
        key: String,
        /// The root asked for.
        expected: Digest,
        /// The root the proof leads to.
        computed: Digest,
    },
}

/// A leaf of the tree, as committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Leaf {
    pub(crate) key_hash: Digest,
    pub(crate) value_hash: Digest,
}

#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) enum Outcome {
    Present(Value),
    Absent(Option<Leaf>),
}

/// The first format of a [`StateProof`].
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct StateProofV1 {
    key: Vec<u8>,
    outcome: Outcome,
    /// From the leaf towards the root.
    siblings: Vec<Digest>,
}

/// Shows that a key has a value, or none, under a root. In text forms it is the hexadecimal of its canonical bytes.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum StateProof {
    /// The first format.
    V1(StateProofV1),
}

impl StateProof {
    pub(crate) fn new(key: Vec<u8>, outcome: Outcome, siblings: Vec<Digest>) -> Self {
        Self::V1(StateProofV1 { key, outcome, siblings })
    }

    /// Decodes a proof from at most [`MAX_PROOF_BYTES`] bytes. It is not verified yet.
    ///
    /// # Errors
    /// [`ProofError::Decode`].
    pub fn decode(bytes: &[u8]) -> Result<Self, ProofError> {
        Ok(decode("the state proof", bytes, MAX_PROOF_BYTES)?)
    }

    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// The key that the proof is about.
    pub fn key(&self) -> &[u8] {
        let Self::V1(proof) = self;
        &proof.key
    }

    /// The value, or `None` if the proof shows that the key is absent. Trust it only after [`StateProof::verify`].
    pub fn value(&self) -> Option<&Value> {
        let Self::V1(proof) = self;
        match &proof.outcome {
            Outcome::Present(value) => Some(value),
            Outcome::Absent(_) => None,
        }
    }

    /// Checks the proof against a root that the caller trusts, such as one from a verified header.
    ///
    /// # Errors
    /// Every [`ProofError`] but those of decoding.
    pub fn verify(&self, root: &Digest) -> Result<(), ProofError> {
        let Self::V1(proof) = self;
        within("a key", proof.key.len(), MAX_KEY_BYTES)?;
        within("siblings", proof.siblings.len(), MAX_SIBLINGS)?;
        let way = Digest(key_hash(&proof.key).0);
        let start = match &proof.outcome {
            Outcome::Present(value) => leaf(&way, &value_hash(value)),
            Outcome::Absent(None) => EMPTY,
            Outcome::Absent(Some(other)) => {
                let shared = shared_bits(&way, &other.key_hash);
                if shared == MAX_SIBLINGS || shared < proof.siblings.len() {
                    return Err(ProofError::UnrelatedLeaf { key: hex::encode(&proof.key) });
                }
                leaf(&other.key_hash, &other.value_hash)
            }
        };
        let mut hash = start;
        for (sibling, depth) in proof.siblings.iter().zip((0..proof.siblings.len()).rev()) {
            hash = if bit(&way, depth) { inner(sibling, &hash) } else { inner(&hash, sibling) };
        }
        if hash == *root {
            Ok(())
        } else {
            Err(ProofError::WrongRoot { key: hex::encode(&proof.key), expected: *root, computed: hash })
        }
    }
}

fn within(what: &'static str, actual: usize, limit: usize) -> Result<(), ProofError> {
    if actual > limit { Err(ProofError::TooLong { what, actual, limit }) } else { Ok(()) }
}

/// The bit that decides at `depth` below the root: `false` is left.
fn bit(way: &Digest, depth: usize) -> bool {
    way.0.get(depth / 8).is_some_and(|byte| byte & (0x80 >> (depth % 8)) != 0)
}

/// How many bits two positions share from the root on.
fn shared_bits(a: &Digest, b: &Digest) -> usize {
    (0..MAX_SIBLINGS).take_while(|&depth| bit(a, depth) == bit(b, depth)).count()
}

impl fmt::Display for StateProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", hex::encode(self.encode()))
    }
}

impl FromStr for StateProof {
    type Err = ProofError;

    fn from_str(text: &str) -> Result<Self, ProofError> {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        let bytes = digits.len() / 2;
        if bytes > MAX_PROOF_BYTES {
            return Err(DecodeError::TooLarge { what: "the state proof", actual: bytes, limit: MAX_PROOF_BYTES }.into());
        }
        Self::decode(&hex::decode(digits).map_err(|e| ProofError::NotHex(e.to_string()))?)
    }
}

impl Serialize for StateProof {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StateProof {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str> as Deserialize>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
