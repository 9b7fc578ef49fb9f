//! What committees sign and what rounds end with.

use borsh::{BorshDeserialize, BorshSerialize};
use parallax_primitives::message::OutMessage;
use parallax_primitives::{
    ChainContext, Digest, Domain, Epoch, Gas, Height, NodeId, ParaTimeId, Round, SecretKey, Signature, SigningContext,
    merkle,
};
use serde::{Deserialize, Serialize};

/// The committee of one ParaTime for one epoch. Order matters: it fixes ranks. A node may sit in both lists.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Committee {
    /// The epoch for which it was elected.
    pub epoch: Epoch,
    /// The primaries, in the order of election.
    pub workers: Vec<NodeId>,
    /// The backups, in the order of election.
    pub backups: Vec<NodeId>,
}

impl Committee {
    /// The worker with this rank in a round: rank 0 is the first choice as scheduler, and it moves every round, so
    /// that `rank(i, r) = (r + i) mod W` for the worker at position `i`.
    pub fn worker_of_rank(&self, round: Round, rank: u16) -> Option<NodeId> {
        let count = self.workers.len() as u64;
        if count == 0 || u64::from(rank) >= count {
            return None;
        }
        let position = (u64::from(rank) + count - round.0 % count) % count;
        self.workers.get(usize::try_from(position).ok()?).copied()
    }

    /// The rank of a worker in a round.
    pub fn rank_of(&self, round: Round, node: &NodeId) -> Option<u16> {
        let count = self.workers.len() as u64;
        let position = self.workers.iter().position(|w| w == node)? as u64;
        u16::try_from((round.0 % count + position) % count).ok()
    }

    /// Whether the node is a worker.
    pub fn is_worker(&self, node: &NodeId) -> bool {
        self.workers.contains(node)
    }

    /// Whether the node is a backup.
    pub fn is_backup(&self, node: &NodeId) -> bool {
        self.backups.contains(node)
    }
}

/// What the backups execute when the workers differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resolution {
    /// The whole batch: sound as long as fewer than half of the backups are faulty.
    #[default]
    Full,
    /// What follows the last operation on which all workers' traces agree. Cheaper, and sound only where detection is
    /// too: with at least one honest worker, whose trace makes the agreed part right.
    Resume,
}

/// When a node's service in an epoch is a fault, and when faults freeze it. A rule whose value is 0 is off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct LivenessParameters {
    /// Least share, in percent, of the rounds in which a node was called on in a role that it served; judged for each
    /// of its two roles by itself.
    pub min_live_rounds_percent: u8,
    /// Largest share, in percent, of the rounds with the node as first choice that it may leave without a usable
    /// proposal.
    pub max_missed_proposals_percent: u8,
    /// Rounds, of the kind that a rule counts, below which that rule does not judge an epoch: a few rounds say little.
    pub min_live_rounds_for_evaluation: u64,
    /// Faults, less those forgiven, that freeze the node.
    pub max_liveness_faults: u8,
}

impl LivenessParameters {
    /// No node is ever judged.
    pub const OFF: Self = Self {
        min_live_rounds_percent: 0,
        max_missed_proposals_percent: 0,
        min_live_rounds_for_evaluation: 0,
        max_liveness_faults: 0,
    };
}

/// How a ParaTime's rounds run. All times are in consensus blocks.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct RoundParameters {
    /// Workers in a committee.
    pub workers: u16,
    /// Backups in a committee.
    pub backups: u16,
    /// Workers that may be missing when the deadline passes; `workers - allowed_stragglers >= 2`.
    pub allowed_stragglers: u16,
    /// Blocks that each rank has to announce before the next one may.
    pub proposer_timeout: u64,
    /// Blocks for a round with no FHE work.
    pub round_timeout: u64,
    /// FHE gas that a replica is expected to work off in one block.
    pub gas_per_block: Gas,
    /// Most FHE gas in a batch.
    pub max_batch_gas: Gas,
    /// Most blocks from one round to the next without work (heartbeat).
    pub max_round_interval: u64,
    /// Wrong results by a node in an epoch before a slash; earlier ones cost liveness. 1 slashes the first.
    pub slash_from: u32,
    /// What backups execute in a discrepancy.
    pub resolution: Resolution,
    /// What counts as a fault of a member.
    pub liveness: LivenessParameters,
    /// Rounds after which evidence of equivocation is no longer taken: at age `max_evidence_age` it still is.
    pub max_evidence_age: u64,
}

impl RoundParameters {
    /// The deadline of a batch: blocks after its announcement.
    pub fn deadline(&self, gas: Gas) -> u64 {
        self.round_timeout.saturating_add(gas.0.div_ceil(self.gas_per_block.0.max(1)))
    }

    /// The deadline of its resolution: blocks after the discrepancy. One and a half times [`Self::deadline`].
    pub fn resolve_deadline(&self, gas: Gas) -> u64 {
        let deadline = self.deadline(gas);
        deadline.saturating_add(deadline.div_ceil(2))
    }
}

/// A scheduler's batch: what the committee is to execute in a round.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Proposal {
    /// Who schedules.
    pub scheduler: NodeId,
    /// Its rank in this round.
    pub rank: u16,
    /// The round.
    pub round: Round,
    /// Hash of the ParaTime block before it.
    pub previous_hash: Digest,
    /// Merkle root of `transactions`; recomputed by whoever receives it.
    pub batch_root: Digest,
    /// Digests of the transactions, in order.
    pub transactions: Vec<Digest>,
    /// FHE gas of the round.
    pub gas: Gas,
}

impl Proposal {
    /// The digest that commitments name.
    pub fn digest(&self) -> Digest {
        Digest::of_value(Domain::RoundProposal, self)
    }

    /// Whether `batch_root` is the root of `transactions`.
    pub fn root_holds(&self) -> bool {
        merkle::root(&self.transactions) == self.batch_root
    }
}

/// A proposal with its scheduler's signature.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct SignedProposal {
    /// The proposal.
    pub proposal: Proposal,
    /// By the scheduler, under `Domain::RoundProposal`.
    pub signature: Signature,
}

impl SignedProposal {
    /// Signs a proposal.
    pub fn sign(proposal: Proposal, chain: ChainContext, paratime: ParaTimeId, key: &SecretKey) -> Self {
        let signature = key.sign(&SigningContext::in_paratime(Domain::RoundProposal, chain, paratime), &proposal);
        Self { proposal, signature }
    }

    /// Whether the scheduler that it names signed it, for this chain and ParaTime.
    #[must_use]
    pub fn verify(&self, chain: ChainContext, paratime: ParaTimeId) -> bool {
        let context = SigningContext::in_paratime(Domain::RoundProposal, chain, paratime);
        self.proposal.scheduler.verify(&context, &self.proposal, &self.signature)
    }
}

/// Why a node could not execute a batch. All reasons count alike; none is slashed as a wrong result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub enum FailureReason {
    /// The batch breaks a public rule: oversize, undecodable, gas wrong.
    InvalidBatch,
    /// State or inputs could not be had.
    Unavailable,
}

/// What executing a batch led to.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub enum Outcome {
    /// Executed: its digest is the vote.
    Success {
        /// Root over transactions, results and events.
        io_root: Digest,
        /// Root of the ParaTime's state after the round.
        state_root: Digest,
        /// Root over the executed operations.
        trace_root: Digest,
        /// Digest of the outgoing messages.
        messages_hash: Digest,
        /// Digest of the incoming messages consumed.
        in_messages_hash: Digest,
        /// How many were consumed.
        in_messages_count: u32,
    },
    /// Not executed.
    Failure {
        /// Why.
        reason: FailureReason,
    },
}

impl Outcome {
    /// The vote; a failure is none.
    pub fn vote(&self) -> Option<Digest> {
        match self {
            Self::Success { .. } => Some(Digest::of_value(Domain::RoundVote, self)),
            Self::Failure { .. } => None,
        }
    }
}

/// One node's verdict on one proposal.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Commitment {
    /// Whose.
    pub node: NodeId,
    /// The proposal that was executed.
    pub proposal: Digest,
    /// Its round.
    pub round: Round,
    /// Hash of the ParaTime block before it.
    pub previous_hash: Digest,
    /// What came out.
    pub outcome: Outcome,
}

/// A commitment with its node's signature; the scheduler's carries the outgoing messages themselves.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct SignedCommitment {
    /// The commitment.
    pub commitment: Commitment,
    /// By the node, under `Domain::RoundCommitment`.
    pub signature: Signature,
    /// Message bodies; only on the scheduler's.
    pub messages: Vec<OutMessage>,
}

impl SignedCommitment {
    /// Signs a commitment.
    pub fn sign(
        commitment: Commitment,
        messages: Vec<OutMessage>,
        chain: ChainContext,
        paratime: ParaTimeId,
        key: &SecretKey,
    ) -> Self {
        let context = SigningContext::in_paratime(Domain::RoundCommitment, chain, paratime);
        let signature = key.sign(&context, &commitment);
        Self { commitment, signature, messages }
    }

    /// Whether the node that it names signed it, for this chain and ParaTime.
    #[must_use]
    pub fn verify(&self, chain: ChainContext, paratime: ParaTimeId) -> bool {
        let context = SigningContext::in_paratime(Domain::RoundCommitment, chain, paratime);
        self.commitment.node.verify(&context, &self.commitment, &self.signature)
    }
}

/// The digest of a list of messages; [`Outcome::Success`] holds it for both directions.
pub fn messages_hash<T: BorshSerialize>(messages: &[T]) -> Digest {
    Digest::of_value(Domain::Messages, messages)
}

/// How a round ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub enum BlockKind {
    /// Results were accepted.
    Normal,
    /// No result was accepted; the state stays.
    RoundFailed,
    /// The committee changed; the state stays.
    EpochTransition,
    /// The ParaTime was suspended; the state stays.
    Suspended,
}

/// The one block with which every round ends. Each kind advances the round.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct ParaTimeBlock {
    /// The ParaTime.
    pub paratime: ParaTimeId,
    /// The round; 0 is genesis.
    pub round: Round,
    /// How the round ended.
    pub kind: BlockKind,
    /// Hash of the block before it.
    pub previous_hash: Digest,
    /// The consensus height that finalised it.
    pub height: Height,
    /// The accepted proposal; zero if none.
    pub proposal: Digest,
    /// Root over results and events; zero if none.
    pub io_root: Digest,
    /// The ParaTime's state root after it.
    pub state_root: Digest,
    /// Root over the executed operations; zero if none.
    pub trace_root: Digest,
    /// Digest of the outgoing messages.
    pub messages_hash: Digest,
}

impl ParaTimeBlock {
    /// The hash that the next block names.
    pub fn hash(&self) -> Digest {
        Digest::of_value(Domain::ParaTimeBlock, self)
    }

    /// The block of round 0.
    pub fn genesis(paratime: ParaTimeId, state_root: Digest) -> Self {
        Self {
            paratime,
            round: Round::ZERO,
            kind: BlockKind::Normal,
            previous_hash: Digest::ZERO,
            height: Height::ZERO,
            proposal: Digest::ZERO,
            io_root: Digest::ZERO,
            state_root,
            trace_root: Digest::ZERO,
            messages_hash: messages_hash::<OutMessage>(&[]),
        }
    }
}
