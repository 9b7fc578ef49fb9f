//! Digests: BLAKE3 in its `derive_key` mode, one context string a [`Domain`].

use crate::codec::encode;
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Everything that is hashed or signed, named once. The enum is closed: a new use is a new variant here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Domain {
    Address,
    ChainContext,
    Genesis,
    Transaction,
    BlockHeader,
    BlockProposal,
    ConsensusVote,
    ConsensusProposal,
    ConsensusVoteExtension,
    ConsensusPeerProof,
    ValidatorSet,
    MerkleLeaf,
    MerkleNode,
    MerkleRoot,
    StateKey,
    StateNode,
    Blob,
    Beacon,
    Election,
    VrfInput,
    ParaTimeId,
    ParaTimeBlock,
    ParaTimeTransaction,
    RoundProposal,
    RoundCommitment,
    RoundVote,
    IoRoot,
    TraceLeaf,
    Messages,
    KeySet,
    Profile,
    Program,
    ReRandomization,
    InputMetadata,
    SchedulerEntropy,
    JobId,
    DecryptionRequest,
    DecryptionAnswer,
    DecryptionPermit,
    EvmDecryptionRequest,
    Sealing,
    HostAcknowledgement,
    OwnerCountersignature,
    DeploymentAnchor,
    AuditEntropy,
    EncryptedRandom,
    Simulation,
}

impl Domain {
    /// The BLAKE3 context string; unique for each variant and never reused for another meaning.
    pub fn context(self) -> String {
        format!("parallax 2026-11 v1 {self:?}")
    }
}

/// A 32-byte BLAKE3 digest. Shown as 64 hexadecimal digits after `0x`.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The all-zero digest: the parent of a first block, the root of an empty list.
    pub const ZERO: Self = Self([0; 32]);

    /// Hashes raw bytes in a domain. Use [`Digest::of_value`] for anything structured.
    pub fn of_bytes(domain: Domain, bytes: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(&domain.context());
        hasher.update(bytes);
        Self(*hasher.finalize().as_bytes())
    }

    /// Hashes the canonical encoding of a value in a domain.
    pub fn of_value<T: BorshSerialize + ?Sized>(domain: Domain, value: &T) -> Self {
        Self::of_bytes(domain, &encode(value))
    }

    /// The first eight hexadecimal digits, for logs and tables.
    pub fn short(&self) -> String {
        hex::encode(&self.0[..4])
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

crate::ids::hex_text!(Digest, 32, "digest");

/// Binds a signature to one chain: the digest of its genesis document without signatures.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[serde(transparent)]
pub struct ChainContext(pub Digest);

impl fmt::Display for ChainContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
