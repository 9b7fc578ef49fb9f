//! Why a round event is refused. A refused event changes nothing.

use parallax_primitives::{Digest, Gas, Height, NodeId, ParaTimeId, Round};

/// Why an event is refused. [`RoundError::code`] is stable and reaches receipts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoundError {
    /// The signature is not its sender's for this chain and ParaTime.
    #[error("the signature of {node} does not hold for this chain and ParaTime")]
    BadSignature {
        /// Whose it claims to be.
        node: NodeId,
    },
    /// The sender has no seat that allows this message.
    #[error("node {node} has no such seat in the committee of round {round}")]
    NotInCommittee {
        /// Who.
        node: NodeId,
        /// The round under way.
        round: Round,
    },
    /// There is no committee: the ParaTime is suspended.
    #[error("the ParaTime is suspended: it has no committee in this epoch")]
    Suspended,
    /// The message is for another round.
    #[error("the message is for round {given}, round {expected} is under way")]
    WrongRound {
        /// The message's round.
        given: Round,
        /// The round under way.
        expected: Round,
    },
    /// The message does not build on the last ParaTime block.
    #[error("the message builds on block {given}, the last block is {expected}")]
    WrongParent {
        /// What it names.
        given: Digest,
        /// The last block's hash.
        expected: Digest,
    },
    /// The scheduler does not have the rank that the proposal claims.
    #[error("node {node} does not have rank {rank} in round {round}")]
    WrongRank {
        /// Who.
        node: NodeId,
        /// The rank claimed.
        rank: u16,
        /// The round.
        round: Round,
    },
    /// The rank's window is not open yet.
    #[error("rank {rank} may announce from height {opens} on, this is height {height}")]
    TooEarly {
        /// The rank.
        rank: u16,
        /// From when it may.
        opens: Height,
        /// This height.
        height: Height,
    },
    /// The rank has already had its turn in this round.
    #[error("rank {rank} has had its turn in this round; the next one is rank {next}")]
    RankSpent {
        /// The rank.
        rank: u16,
        /// The lowest rank that may still announce.
        next: u16,
    },
    /// Another proposal is live.
    #[error("proposal {live} is live; no other can be announced until it ends")]
    ProposalLive {
        /// The live proposal.
        live: Digest,
    },
    /// The batch root is not that of the listed transactions.
    #[error("the batch root is not the Merkle root of the {transactions} listed transactions")]
    BadBatchRoot {
        /// How many are listed.
        transactions: usize,
    },
    /// More transactions, or more gas, than a batch may have.
    #[error(
        "the batch is too large: {transactions} transactions (limit {max_transactions}), gas {gas} (limit {max_gas})"
    )]
    BatchTooLarge {
        /// Transactions listed.
        transactions: usize,
        /// Most allowed.
        max_transactions: usize,
        /// Gas stated.
        gas: Gas,
        /// Most allowed.
        max_gas: Gas,
    },
    /// The round could reach past the epoch's end.
    #[error(
        "a batch with gas {gas} announced at height {height} may take until height {until}; the epoch ends at {epoch_end}"
    )]
    EpochTooShort {
        /// The batch's gas.
        gas: Gas,
        /// This height.
        height: Height,
        /// When its resolution would end at the latest.
        until: Height,
        /// The first height of the next epoch.
        epoch_end: Height,
    },
    /// No proposal is live.
    #[error("no proposal is live in round {round}: nothing to commit to")]
    NoProposal {
        /// The round.
        round: Round,
    },
    /// The commitment is for a proposal that was not announced.
    #[error("the commitment names proposal {given}, the announced one is {expected}")]
    OtherProposal {
        /// What it names.
        given: Digest,
        /// The live proposal.
        expected: Digest,
    },
    /// The node has voted on this proposal.
    #[error("node {node} has already committed to this proposal")]
    Duplicate {
        /// Who.
        node: NodeId,
    },
    /// A scheduler cannot fail at its own batch.
    #[error("the scheduler {node} may not commit a failure to its own batch")]
    SchedulerFailure {
        /// The scheduler.
        node: NodeId,
    },
    /// The bodies attached are not those that the commitment names.
    #[error("the attached messages are not those that the commitment of {node} names")]
    BadMessages {
        /// Who.
        node: NodeId,
    },
    /// Someone other than the scheduler attached messages.
    #[error("only the scheduler attaches messages; {node} is not it")]
    UnexpectedMessages {
        /// Who.
        node: NodeId,
    },
    /// More messages than a round may send.
    #[error("{actual} messages are attached, the limit is {limit}")]
    TooManyMessages {
        /// How many.
        actual: usize,
        /// Most allowed.
        limit: usize,
    },
    /// More bytes of messages than a round may send.
    #[error("the attached messages have {actual} bytes, the limit is {limit}")]
    MessagesTooLarge {
        /// How many.
        actual: usize,
        /// Most allowed.
        limit: usize,
    },
    /// Only backups count in a resolution.
    #[error("round {round} is being resolved: only commitments of backups count, {node} is none")]
    OnlyBackups {
        /// The round.
        round: Round,
        /// Who.
        node: NodeId,
    },
    /// Events must come in the order of heights.
    #[error("an event of height {given} came after one of height {last}")]
    HeightWentBack {
        /// The event's.
        given: Height,
        /// The last one's.
        last: Height,
    },
    /// The queue of incoming messages is full.
    #[error("the queue of incoming messages is full ({limit} {unit}); try again after the next round")]
    QueueFull {
        /// The limit.
        limit: usize,
        /// Of what.
        unit: &'static str,
    },
    /// Incoming messages must be numbered without a gap.
    #[error("the incoming message has id {given}, the next one has to be {expected}")]
    InMessageId {
        /// Its id.
        given: u64,
        /// The id expected.
        expected: u64,
    },
    /// A committee that does not fit the parameters.
    #[error("the committee of ParaTime {paratime} does not fit its parameters: {reason}")]
    BadCommittee {
        /// The ParaTime.
        paratime: ParaTimeId,
        /// Why.
        reason: String,
    },
    /// Parameters under which rounds cannot run.
    #[error("the round parameters are not usable: {0}")]
    BadParameters(String),
}

impl RoundError {
    /// The stable code for receipts. Never reused.
    pub fn code(&self) -> u32 {
        match self {
            Self::BadSignature { .. } => 1,
            Self::NotInCommittee { .. } => 2,
            Self::Suspended => 3,
            Self::WrongRound { .. } => 4,
            Self::WrongParent { .. } => 5,
            Self::WrongRank { .. } => 6,
            Self::TooEarly { .. } => 7,
            Self::RankSpent { .. } => 8,
            Self::ProposalLive { .. } => 9,
            Self::BadBatchRoot { .. } => 10,
            Self::BatchTooLarge { .. } => 11,
            Self::EpochTooShort { .. } => 12,
            Self::NoProposal { .. } => 13,
            Self::OtherProposal { .. } => 14,
            Self::Duplicate { .. } => 15,
            Self::SchedulerFailure { .. } => 16,
            Self::BadMessages { .. } => 17,
            Self::UnexpectedMessages { .. } => 18,
            Self::TooManyMessages { .. } => 19,
            Self::OnlyBackups { .. } => 20,
            Self::HeightWentBack { .. } => 21,
            Self::QueueFull { .. } => 22,
            Self::BadCommittee { .. } => 23,
            Self::BadParameters(_) => 24,
            Self::InMessageId { .. } => 25,
            Self::MessagesTooLarge { .. } => 26,
        }
    }
}
