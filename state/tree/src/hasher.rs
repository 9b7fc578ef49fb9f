//! The hash of the tree: BLAKE3 in its `derive_key` mode, over the node layout of the Jellyfish Merkle tree.

use crate::Value;
use jmt::proof::{INTERNAL_DOMAIN_SEPARATOR, LEAF_DOMAIN_SEPARATOR};
use jmt::{KeyHash, SimpleHasher};
use parallax_primitives::{Digest, Domain, encode};
use std::sync::LazyLock;

/// Deriving the key from the context costs a compression; it is done once and copied.
static NODE_HASHER: LazyLock<blake3::Hasher> =
    LazyLock::new(|| blake3::Hasher::new_derive_key(&Domain::StateNode.context()));

/// What an empty subtree hashes to, in every Jellyfish Merkle tree: bytes with no known preimage.
pub(crate) const EMPTY: Digest = Digest(*b"SPARSE_MERKLE_PLACEHOLDER_HASH__");

/// Hashes nodes and values for `jmt` and for the verifier of proofs.
pub(crate) struct NodeHasher(blake3::Hasher);

impl SimpleHasher for NodeHasher {
    fn new() -> Self {
        Self(NODE_HASHER.clone())
    }

    fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn finalize(self) -> [u8; 32] {
        *self.0.finalize().as_bytes()
    }
}

/// The position of a key in the tree.
pub(crate) fn key_hash(key: &[u8]) -> KeyHash {
    KeyHash(Digest::of_bytes(Domain::StateKey, key).0)
}

/// What a leaf commits to. The encoding begins with the variant of [`Value`], so that no value can pass for a node,
/// whose bytes begin with the letter `J`.
pub(crate) fn value_hash(value: &Value) -> Digest {
    Digest(NodeHasher::hash(encode(value)))
}

/// The hash of a leaf.
pub(crate) fn leaf(key_hash: &Digest, value_hash: &Digest) -> Digest {
    three(LEAF_DOMAIN_SEPARATOR, key_hash, value_hash)
}

/// The hash of two subtrees.
pub(crate) fn inner(left: &Digest, right: &Digest) -> Digest {
    three(INTERNAL_DOMAIN_SEPARATOR, left, right)
}

fn three(separator: &[u8], a: &Digest, b: &Digest) -> Digest {
    let mut hasher = NodeHasher::new();
    hasher.update(separator);
    hasher.update(&a.0);
    hasher.update(&b.0);
    Digest(hasher.finalize())
}
