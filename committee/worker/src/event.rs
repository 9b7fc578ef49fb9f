//! What goes into the pure half of a worker, and what comes out of it.

use crate::record::Record;
use parallax_primitives::message::{MessageResult, OutMessage};
use parallax_primitives::{ChainContext, Digest, Gas, Height, KeyId, NodeId, ParaTimeId, Round, SecretKey};
use parallax_rounds::{Evidence, Outcome, RoundState, SignedCommitment, SignedProposal, Statement};
use parallax_runtime::{Abort, RoundContext};

/// How a worker runs.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// The chain.
    pub chain: ChainContext,
    /// The ParaTime.
    pub paratime: ParaTimeId,
    /// The node's consensus key: it signs proposals and commitments.
    pub key: SecretKey,
    /// Blocks that a partly filled batch waits for more.
    pub flush_blocks: u64,
    /// Blocks after which a proposal or commitment that is not on chain is submitted again.
    pub resubmit_blocks: u64,
    /// Rounds for which results are kept and served. A node that is further behind than this takes a whole state, so all
    /// nodes of a ParaTime should keep results for equally long.
    pub retention_rounds: u64,
}

/// The consensus header after the one that finalised the last accepted round: what could not be known when its inputs
/// were made, and what stays when rounds fail, so that letting one fail draws no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// Its hash.
    pub hash: Digest,
    /// Its time, milliseconds since the Unix epoch.
    pub time_ms: u64,
}

/// What a worker reads from finalised consensus state after each block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoundView {
    /// The last finalised consensus height.
    pub height: Height,
    /// The round machine of the ParaTime in that state.
    pub state: RoundState,
    /// The epoch's beacon entropy.
    pub beacon: Digest,
    /// The key set in force and, during an overlap, the one before it.
    pub key_ids: Vec<KeyId>,
    /// What became of the messages of the last accepted round.
    pub message_results: Vec<MessageResult>,
    /// Header `accepted_height + 1`; `None` while it is not finalised.
    pub anchor: Option<Anchor>,
}

impl RoundView {
    /// What the round under way is executed with: the same on every replica. `None` until its anchor and the
    /// header after the last block are finalised.
    pub fn context(&self, chain: ChainContext) -> Option<RoundContext> {
        // Also after a failed round, the state that ended it is a block old before anything is executed on it.
        let anchor = self.anchor.filter(|_| self.height > self.state.last_block().height)?;
        Some(RoundContext {
            chain,
            paratime: self.state.paratime(),
            round: self.state.round(),
            previous_hash: self.state.last_hash(),
            epoch: self.state.epoch(),
            beacon: self.beacon,
            height: self.state.accepted_height(),
            anchor: anchor.hash,
            time_ms: anchor.time_ms,
            key_ids: self.key_ids.clone(),
            in_messages: self.state.offered_in_messages().to_vec(),
            message_results: self.message_results.clone(),
        })
    }
}

/// What waits to be scheduled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Transactions wait in the pool, or the state has work queued.
    pub waiting: bool,
    /// The state has work queued, which an empty batch moves on too.
    pub queued: bool,
    /// There is enough for a full batch: no use in waiting for more.
    pub full: bool,
}

/// What happens to a worker.
#[derive(Clone, Debug)]
pub enum WorkerEvent {
    /// A consensus block was finalised.
    Block(Box<RoundView>),
    /// The pool or the queued work changed.
    Work(Work),
    /// The answer to [`Action::Propose`]: digests of the batch, and the gas of the round; `None` if planning failed.
    /// The batch itself is durable.
    Planned {
        /// The round planned for.
        round: Round,
        /// The batch.
        batch: Option<(Vec<Digest>, Gas)>,
    },
    /// A proposal came from a peer. Nothing about it has been checked.
    ProposalReceived(SignedProposal),
    /// A statement of a member stands in a transaction, in a pool or a block. Nothing about it has been checked. The
    /// worker acts on it only by reporting a member that said otherwise before.
    Heard(Box<Statement>),
    /// All transactions of a proposal are here.
    TransactionsArrived {
        /// The proposal.
        proposal: Digest,
    },
    /// A batch was executed. Its result is durable.
    Executed {
        /// The proposal.
        proposal: Digest,
        /// A success.
        outcome: Outcome,
        /// Its outgoing messages.
        messages: Vec<OutMessage>,
    },
    /// A batch was not executed.
    Aborted {
        /// The proposal.
        proposal: Digest,
        /// Why.
        abort: Abort,
    },
    /// The state after a round was committed.
    Applied {
        /// The round.
        round: Round,
    },
    /// The accepted result of a round is not here: not executed, or executed to something else; or the chain no longer
    /// says which it is.
    ResultMissing {
        /// The round.
        round: Round,
    },
    /// No peer gave the accepted result of a round, or the state after it.
    FetchFailed {
        /// The round.
        round: Round,
    },
}

/// Workers that should have computed the same and differ, or whose votes are too few.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dispute {
    /// The round.
    pub round: Round,
    /// The proposal.
    pub proposal: Digest,
    /// The workers that voted for a result, in the order of their keys, and the trace root that each signed.
    pub votes: Vec<(NodeId, Digest)>,
    /// From how many workers' traces on one of them is an honest worker's, if execution may be resumed where they begin
    /// to differ: `W - S`. `None` where the ParaTime has disputed batches executed in full.
    pub resume_from: Option<u16>,
}

/// What the shell has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Choose a batch of at most this gas, make it durable, and answer [`WorkerEvent::Planned`].
    Propose {
        /// What the round will be executed with.
        context: RoundContext,
        /// The most FHE gas.
        limit: Gas,
    },
    /// Gossip the proposal to the committee.
    PublishProposal(SignedProposal),
    /// Bring the proposal on chain.
    SubmitAnnounce(SignedProposal),
    /// Get all transactions of the proposal.
    FetchTransactions(SignedProposal),
    /// Execute the proposal's batch.
    StartExecution {
        /// The proposal.
        proposal: SignedProposal,
        /// With what.
        context: RoundContext,
        /// For a backup that is called because workers differ: what they said.
        dispute: Option<Dispute>,
    },
    /// Compare the traces of workers that differ, and keep what that shows.
    CompareTraces(Dispute),
    /// Drop all work on a proposal.
    Cancel {
        /// The proposal.
        proposal: Digest,
    },
    /// Bring the commitment on chain.
    SubmitCommitment(SignedCommitment),
    /// Bring evidence against a member on chain. Once a round and node.
    SubmitEvidence(Box<Evidence>),
    /// Commit the state after this round from what this node holds.
    CommitState {
        /// The round.
        round: Round,
    },
    /// Get the accepted result of this round from a peer, verify it against the finalised root, and commit it.
    FetchResult {
        /// The round.
        round: Round,
    },
    /// Get the whole state after this round from a peer, verify it against the finalised root, and commit it: peers no
    /// longer keep the results that would lead there.
    FetchState {
        /// The round.
        round: Round,
    },
    /// Results of rounds before this one are no longer served.
    Prune {
        /// The oldest round still served.
        before: Round,
    },
}

/// What follows from an event. The shell makes `persist` durable before it performs `then`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "nothing happens until the shell carries it out"]
pub struct Step {
    /// Facts to be made durable, in order, in one write.
    pub persist: Vec<Record>,
    /// What to do after that, in order.
    pub then: Vec<Action>,
}

/// What a worker is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkerStatus {
    /// Nothing to execute.
    WaitingForBatch,
    /// It schedules: the shell is choosing a batch.
    Planning {
        /// For this round.
        round: Round,
    },
    /// The transactions of a proposal are being fetched.
    WaitingForTransactions(SignedProposal),
    /// Transactions are here; a backup waits until workers differ.
    WaitingForDiscrepancy(SignedProposal),
    /// FHE work is running.
    Executing(SignedProposal),
}

impl WorkerStatus {
    pub(crate) fn proposal(&self) -> Option<&SignedProposal> {
        match self {
            Self::WaitingForTransactions(p) | Self::WaitingForDiscrepancy(p) | Self::Executing(p) => Some(p),
            Self::WaitingForBatch | Self::Planning { .. } => None,
        }
    }

    /// A stable name for status and logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::WaitingForBatch => "waiting-for-batch",
            Self::Planning { .. } => "planning",
            Self::WaitingForTransactions(_) => "waiting-for-transactions",
            Self::WaitingForDiscrepancy(_) => "waiting-for-discrepancy",
            Self::Executing(_) => "executing",
        }
    }
}
