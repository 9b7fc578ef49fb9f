//! What a worker must remember across a crash.

use borsh::{BorshDeserialize, BorshSerialize};
use parallax_primitives::Round;
use parallax_rounds::{SignedCommitment, SignedProposal};

/// One durable fact. The journal keeps them in order; the encoding is stored, so variants are only appended.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Record {
    /// A proposal that this node signed: it never signs another for the same round and rank.
    Proposed(SignedProposal),
    /// A commitment that this node signed: it never signs another for the same proposal.
    Voted(SignedCommitment),
    /// Rounds before this one are over: what was signed for them can do no harm any more.
    Forget {
        /// The oldest round still remembered.
        before: Round,
    },
}
