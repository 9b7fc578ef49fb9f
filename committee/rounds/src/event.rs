//! What goes into the machine and what comes out of it.

use crate::state::EpochRecord;
use crate::types::{Committee, ParaTimeBlock, SignedCommitment, SignedProposal};
use crate::verified::Verified;
use borsh::{BorshDeserialize, BorshSerialize};
use parallax_primitives::message::{InMessage, OutMessage};
use parallax_primitives::{Digest, Epoch, Height, NodeId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// What happens to a round. The height at which it happens goes beside it into [`crate::RoundState::apply`].
#[derive(Clone, Debug)]
pub enum RoundEvent {
    /// A scheduler's proposal stands in a block.
    Announcement(Verified<SignedProposal>),
    /// A member's verdict stands in a block.
    Commitment(Verified<SignedCommitment>),
    /// All transactions of a block have been applied: what is due at its height happens now. Once a block, always
    /// after the block's transactions, so that a verdict that arrives in the last block of a deadline counts.
    Height,
    /// The epoch is over.
    EpochEnded {
        /// The next epoch's committee; `None` if none could be elected.
        committee: Option<Committee>,
        /// The next epoch.
        epoch: Epoch,
        /// The first height of the epoch after the next one: where the next `EpochEnded` will come.
        epoch_end: Height,
    },
    /// The ledger suspends the ParaTime until an epoch elects a committee again.
    Suspended,
    /// A message for the ParaTime was queued. The ids count up from 0 without a gap; see
    /// [`crate::RoundState::next_in_message`].
    InMessageQueued(InMessage),
    /// Other work for the ParaTime was queued on chain.
    WorkQueued,
}

/// Why workers and scheduler are held to differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub enum DiscrepancyCause {
    /// Two workers voted for different results.
    Votes,
    /// More workers could not execute the batch than may be missing.
    Failures,
    /// Too few workers had voted when the deadline passed.
    Timeout,
}

/// Why a round failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub enum FailReason {
    /// No worker scheduled it.
    NoProposal,
    /// A majority of the backups says that the scheduler's result is wrong.
    SchedulerWrong,
    /// A majority of the backups could not execute the batch.
    Failures,
    /// No majority of the backups can come about any more.
    NoMajority,
    /// The resolution's deadline passed without a majority.
    Timeout,
    /// Workers differed and there are no backups.
    NoBackups,
    /// The accepted result does not consume the messages that wait.
    InMessages,
}

/// Why a node's liveness record is charged.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub enum ChargeReason {
    /// It let its window pass without a proposal.
    NoProposal,
    /// It announced a batch and did not commit to it in time.
    SchedulerSilent,
    /// It announced a batch that a majority could not execute.
    BatchRefused,
    /// As a worker it had not committed when the deadline passed.
    WorkerAbsent,
    /// As a backup it had not committed when the resolution's deadline passed.
    BackupAbsent,
    /// It could not execute a batch that was accepted.
    Failure,
    /// Its result was wrong, fewer times in this epoch than is slashed.
    WrongResult,
}

macro_rules! kebab {
    ($name:ty { $($variant:ident = $text:expr,)* }) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $text,)* })
            }
        }
    };
}
kebab!(DiscrepancyCause { Votes = "votes", Failures = "failures", Timeout = "timeout", });
kebab!(FailReason {
    NoProposal = "no-proposal", SchedulerWrong = "scheduler-wrong", Failures = "failures", NoMajority = "no-majority",
    Timeout = "timeout", NoBackups = "no-backups", InMessages = "in-messages",
});
kebab!(ChargeReason {
    NoProposal = "no-proposal", SchedulerSilent = "scheduler-silent", BatchRefused = "batch-refused",
    WorkerAbsent = "worker-absent", BackupAbsent = "backup-absent", Failure = "failure", WrongResult = "wrong-result",
});

/// An accepted round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finalized {
    /// The block that ends it.
    pub block: ParaTimeBlock,
    /// The batch.
    pub proposal: SignedProposal,
    /// The scheduler's commitment: the accepted result, with the messages themselves.
    pub commitment: SignedCommitment,
    /// The nodes whose vote is the accepted one, in the order of their keys.
    pub agreed: Vec<NodeId>,
    /// Whether the backups had to decide.
    pub discrepancy: bool,
    /// The incoming messages that were consumed, oldest first.
    pub consumed: Vec<InMessage>,
}

impl Finalized {
    /// Messages to be executed as the ParaTime's account.
    pub fn messages(&self) -> &[OutMessage] {
        &self.commitment.messages
    }
}

/// What the ledger has to do, in this order. `Finalize`, `Fail`, `EpochTransition` and `Suspend` end the round; each
/// carries the ParaTime block to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "a few effects a block; boxing would only cloud the matches")]
pub enum Effect {
    /// A proposal went live.
    Announced {
        /// Its digest.
        proposal: Digest,
        /// Who schedules.
        scheduler: NodeId,
        /// Its rank.
        rank: u16,
        /// The last height at which a worker's commitment counts.
        deadline: Height,
    },
    /// The live proposal's scheduler never committed to it: the next rank may announce.
    ProposalDropped {
        /// Its digest.
        proposal: Digest,
        /// The lowest rank that may announce now.
        next_rank: u16,
    },
    /// The backups must decide.
    Discrepancy {
        /// The proposal.
        proposal: Digest,
        /// Why.
        cause: DiscrepancyCause,
        /// The last height at which a backup's commitment counts.
        deadline: Height,
    },
    /// The round is accepted.
    Finalize(Finalized),
    /// The round failed; the state stays.
    Fail {
        /// The block that ends it.
        block: ParaTimeBlock,
        /// Why.
        reason: FailReason,
        /// The live proposal, if there was one; its transactions may be scheduled again.
        proposal: Option<SignedProposal>,
    },
    /// The epoch ended the round.
    EpochTransition {
        /// The block that ends it.
        block: ParaTimeBlock,
        /// The live proposal, if there was one; its transactions may be scheduled again.
        proposal: Option<SignedProposal>,
    },
    /// The ledger's suspension ended the round.
    Suspend {
        /// The block that ends it.
        block: ParaTimeBlock,
        /// The live proposal, if there was one; its transactions may be scheduled again.
        proposal: Option<SignedProposal>,
    },
    /// Nodes whose wrong results are slashed, at least one; disjoint from `agreed`.
    SlashWrongResult {
        /// Who, in the order of their keys.
        nodes: Vec<NodeId>,
        /// Whose vote was the right one: they share the reward. May be empty.
        agreed: Vec<NodeId>,
    },
    /// A node failed a duty; counted in its [`EpochRecord`].
    ChargeLiveness {
        /// Who.
        node: NodeId,
        /// Why.
        reason: ChargeReason,
    },
    /// Nodes that took part in an accepted round; counted in their [`EpochRecord`].
    LivenessCredit {
        /// Who, in the order of their keys.
        nodes: Vec<NodeId>,
    },
    /// An epoch is over for this ParaTime: the records of its committee, to be judged; the machine starts afresh.
    EpochSettled {
        /// The epoch.
        epoch: Epoch,
        /// Rounds accepted in it.
        rounds: u64,
        /// The records.
        records: BTreeMap<NodeId, EpochRecord>,
    },
}

impl Effect {
    /// The block, if this effect ends the round.
    pub fn block(&self) -> Option<&ParaTimeBlock> {
        match self {
            Self::Finalize(finalized) => Some(&finalized.block),
            Self::Fail { block, .. } | Self::EpochTransition { block, .. } | Self::Suspend { block, .. } => Some(block),
            _ => None,
        }
    }

    /// Whether it ends the round.
    pub fn is_terminal(&self) -> bool {
        self.block().is_some()
    }
}
