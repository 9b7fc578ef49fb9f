//! Consensus blocks, headers and commit certificates, in our own form: no engine's types.

use borsh::{BorshDeserialize, BorshSerialize};
use parallax_primitives::{Digest, Domain, Height, NodeId, Signature, merkle};
use serde::{Deserialize, Serialize};

/// The header; its hash is the value on which the engine agrees.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Header {
    /// The height, from 1.
    pub height: Height,
    /// Hash of the header before it; at height 1 the chain context.
    pub parent: Digest,
    /// Milliseconds since the Unix epoch, set by the proposer, strictly monotonic.
    pub time_ms: u64,
    /// Who proposed it.
    pub proposer: NodeId,
    /// The state root after the parent: the state after height h is proven by header h + 1.
    pub app_hash: Digest,
    /// Merkle root of the transactions' digests.
    pub transactions_root: Digest,
    /// Hash of the validator set that decides this height.
    pub validators_hash: Digest,
    /// Hash of the validator set that decides the next height.
    pub next_validators_hash: Digest,
}

impl Header {
    /// The hash.
    pub fn hash(&self) -> Digest {
        Digest::of_value(Domain::BlockHeader, self)
    }
}

/// A block as proposed.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Block {
    /// The header.
    pub header: Header,
    /// The transactions, as their wire bytes.
    pub transactions: Vec<Vec<u8>>,
}

/// The root over transactions that a header carries.
pub fn transactions_root(transactions: &[Vec<u8>]) -> Digest {
    let digests: Vec<Digest> = transactions.iter().map(|tx| crate::tx::tx_digest(tx)).collect();
    merkle::root(&digests)
}

/// A validator and its voting power.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Validator {
    /// Its consensus key.
    pub node: NodeId,
    /// Its voting power, at least 1.
    pub power: u64,
}

/// Validators in the order of their keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct ValidatorSet {
    /// The members, sorted by key, without duplicates.
    pub validators: Vec<Validator>,
}

impl ValidatorSet {
    /// The hash that headers carry.
    pub fn hash(&self) -> Digest {
        Digest::of_value(Domain::ValidatorSet, self)
    }

    /// The sum of all power.
    pub fn total_power(&self) -> u64 {
        self.validators.iter().fold(0, |sum, v| sum.saturating_add(v.power))
    }

    /// The power of a validator; 0 if it is none.
    pub fn power_of(&self, node: &NodeId) -> u64 {
        self.validators.iter().find(|v| v.node == *node).map_or(0, |v| v.power)
    }
}

/// What a validator signs when it precommits a block: the same bytes in the embedded engine and in
/// [`crate::light`]. Under no [`parallax_primitives::SigningContext`] but framed by this struct, whose first field is
/// the chain.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct PrecommitMessage {
    /// The chain.
    pub chain: parallax_primitives::ChainContext,
    /// The height.
    pub height: Height,
    /// The consensus round inside that height.
    pub round: i64,
    /// The header hash; `None` is a vote for no block.
    pub value: Option<Digest>,
    /// The validator.
    pub validator: NodeId,
}

impl PrecommitMessage {
    /// The 32 bytes that are signed.
    pub fn signing_bytes(&self) -> Digest {
        Digest::of_value(Domain::ConsensusVote, &("precommit", self))
    }
}

/// Proof that more than two thirds of the power precommitted one header.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct CommitCertificate {
    /// The height.
    pub height: Height,
    /// The consensus round in which it was decided.
    pub round: i64,
    /// The header's hash.
    pub value: Digest,
    /// Validators and their signatures over [`PrecommitMessage`].
    pub signatures: Vec<(NodeId, Signature)>,
}
