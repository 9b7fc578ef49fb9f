//! The state of one ParaTime's round, as it lies in the consensus state.

use crate::error::RoundError;
use crate::types::{Committee, ParaTimeBlock, RoundParameters, SignedProposal};
use crate::votes::CastVote;
use borsh::{BorshDeserialize, BorshSerialize};
use parallax_primitives::message::InMessage;
use parallax_primitives::{DecodeError, Digest, Epoch, Gas, Height, NodeId, ParaTimeId, Round, codec, encode, limits};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Most incoming messages that wait for one ParaTime.
pub const MAX_QUEUED_IN_MESSAGES: usize = 128;
/// Most bytes of data in all incoming messages that wait for one ParaTime: with the largest committee's votes and the
/// largest outgoing messages the state stays within one state value ([`limits::MAX_VALUE_BYTES`]).
pub const MAX_QUEUED_IN_MESSAGE_BYTES: usize = 96 * 1024;

/// A live proposal and the commitments to it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Live {
    /// The proposal.
    pub signed: SignedProposal,
    /// Its digest: what commitments name.
    pub digest: Digest,
    /// The height of the block that announced it.
    pub announced: Height,
    /// Commitments by node: one a node.
    pub votes: BTreeMap<NodeId, CastVote>,
}

/// Where a round stands.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub enum Phase {
    /// No committee is in office.
    Suspended,
    /// No proposal is live.
    Idle {
        /// The lowest rank that may announce: those below had their turn in this round.
        from_rank: u16,
        /// From when `from_rank` may announce; each further rank waits one `proposer_timeout` more.
        since: Height,
    },
    /// A proposal is live; its scheduler has not committed yet.
    Announced {
        /// The proposal.
        live: Live,
        /// The last height at which a commitment counts.
        deadline: Height,
    },
    /// Its scheduler has committed; the other workers are compared with it.
    Detect {
        /// The proposal.
        live: Live,
        /// The last height at which a commitment counts.
        deadline: Height,
    },
    /// Workers differ; the backups decide.
    Resolve {
        /// The proposal.
        live: Live,
        /// The last height at which a commitment counts.
        deadline: Height,
    },
}

impl Phase {
    /// The live proposal.
    pub fn live(&self) -> Option<&Live> {
        match self {
            Self::Announced { live, .. } | Self::Detect { live, .. } | Self::Resolve { live, .. } => Some(live),
            Self::Suspended | Self::Idle { .. } => None,
        }
    }

    /// A stable name for events and RPC.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Suspended => "suspended",
            Self::Idle { .. } => "idle",
            Self::Announced { .. } => "announced",
            Self::Detect { .. } => "detect",
            Self::Resolve { .. } => "resolve",
        }
    }
}

/// How a node served in one of its roles in an epoch. Rounds that ended before its vote was due count nowhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct RoleRecord {
    /// Accepted rounds in which its vote was the accepted one.
    pub live: u64,
    /// Rounds in which a deadline found it absent.
    pub absent: u64,
    /// Accepted rounds that it could not execute, and wrong results that were not slashed.
    pub failed: u64,
}

impl RoleRecord {
    /// Rounds in which it was called on.
    pub fn called(&self) -> u64 {
        self.live.saturating_add(self.absent).saturating_add(self.failed)
    }
}

/// What one node did in an epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct EpochRecord {
    /// As a worker.
    pub worker: RoleRecord,
    /// As a backup.
    pub backup: RoleRecord,
    /// Rounds that it should have scheduled and did not: window passed, or announced and silent, or refused.
    pub missed_proposals: u64,
    /// Those of them in which it was the first choice.
    pub missed_as_first: u64,
    /// Accepted rounds that it scheduled as the first choice.
    pub scheduled_as_first: u64,
    /// Wrong results.
    pub wrong_results: u32,
}

/// An end of the committee's office that waits for a verdict; the last one counts.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub(crate) struct Handover {
    pub(crate) committee: Option<Committee>,
    pub(crate) epoch: Epoch,
    pub(crate) epoch_end: Height,
}

/// The round machine of one ParaTime. Stored whole; see [`RoundState::encode`].
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct RoundState {
    pub(crate) paratime: ParaTimeId,
    pub(crate) parameters: RoundParameters,
    /// In office; `None` while suspended.
    pub(crate) committee: Option<Committee>,
    pub(crate) epoch: Epoch,
    /// The first height of the next epoch.
    pub(crate) epoch_end: Height,
    pub(crate) last: ParaTimeBlock,
    pub(crate) last_hash: Digest,
    pub(crate) phase: Phase,
    /// What follows when the resolution under way has ended.
    pub(crate) handover: Option<Handover>,
    /// Since when work has waited on chain in this round.
    pub(crate) work_since: Option<Height>,
    pub(crate) in_messages: Vec<InMessage>,
    /// How many of them were queued when the round began: the ones that it may consume.
    pub(crate) in_messages_offered: u32,
    pub(crate) next_in_message: u64,
    pub(crate) rounds_accepted: u64,
    /// The height that finalised the last accepted round.
    pub(crate) accepted_height: Height,
    pub(crate) records: BTreeMap<NodeId, EpochRecord>,
    /// The height of the last event.
    pub(crate) height: Height,
}

/// The stored form; a new format is a new variant.
#[derive(BorshSerialize, BorshDeserialize)]
enum Stored {
    V1(RoundState),
}

impl RoundState {
    /// The machine at genesis: round 1 is under way from height 1.
    ///
    /// # Errors
    /// [`RoundError::BadParameters`], or [`RoundError::BadCommittee`] if the committee does not fit them.
    pub fn new(
        paratime: ParaTimeId,
        parameters: RoundParameters,
        genesis_root: Digest,
        committee: Option<Committee>,
        epoch: Epoch,
        epoch_end: Height,
    ) -> Result<Self, RoundError> {
        parameters.validate()?;
        if let Some(committee) = &committee {
            parameters.fits(paratime, committee)?;
        }
        let last = ParaTimeBlock::genesis(paratime, genesis_root);
        let last_height = last.height;
        let phase = match committee {
            Some(_) => Phase::Idle { from_rank: 0, since: last_height },
            None => Phase::Suspended,
        };
        Ok(Self {
            paratime,
            parameters,
            committee,
            epoch,
            epoch_end,
            last_hash: last.hash(),
            last,
            phase,
            handover: None,
            work_since: None,
            in_messages: Vec::new(),
            in_messages_offered: 0,
            next_in_message: 0,
            rounds_accepted: 0,
            accepted_height: last_height,
            records: BTreeMap::new(),
            height: Height::ZERO,
        })
    }

    /// The bytes under which it is stored: versioned and canonical.
    pub fn encode(&self) -> Vec<u8> {
        encode(&Stored::V1(self.clone()))
    }

    /// From stored bytes.
    ///
    /// # Errors
    /// [`DecodeError`] if they are not what [`RoundState::encode`] writes.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let Stored::V1(state) = codec::decode("round state", bytes, limits::MAX_VALUE_BYTES)?;
        Ok(state)
    }

    /// The ParaTime.
    pub fn paratime(&self) -> ParaTimeId {
        self.paratime
    }

    /// How its rounds run.
    pub fn parameters(&self) -> &RoundParameters {
        &self.parameters
    }

    /// The committee in office; `None` while suspended. During a resolution that outlives its epoch this is still the
    /// one that began it.
    pub fn committee(&self) -> Option<&Committee> {
        self.committee.as_ref()
    }

    /// The committee that takes office when the resolution under way has ended: `Some(None)` if the ParaTime is then
    /// suspended, `None` if nothing waits.
    pub fn awaiting_committee(&self) -> Option<Option<&Committee>> {
        self.handover.as_ref().map(|next| next.committee.as_ref())
    }

    /// The epoch of the committee in office.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The first height of the next epoch.
    pub fn epoch_end(&self) -> Height {
        self.epoch_end
    }

    /// The block that ended the last round.
    pub fn last_block(&self) -> &ParaTimeBlock {
        &self.last
    }

    /// Its hash.
    pub fn last_hash(&self) -> Digest {
        self.last_hash
    }

    /// The height that finalised the last accepted round, genesis before the first. Rounds that failed and changes of
    /// the committee leave it as it is: nobody moves it by letting a round fail.
    pub fn accepted_height(&self) -> Height {
        self.accepted_height
    }

    /// The round under way.
    pub fn round(&self) -> Round {
        self.last.round.next()
    }

    /// Where it stands.
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// The live proposal.
    pub fn live(&self) -> Option<&Live> {
        self.phase.live()
    }

    /// Incoming messages that the round under way may consume, oldest first: those queued when it began. Every replica
    /// executes with exactly these.
    pub fn offered_in_messages(&self) -> &[InMessage] {
        let offered = usize::try_from(self.in_messages_offered).unwrap_or(usize::MAX);
        self.in_messages.get(..offered).unwrap_or(&self.in_messages)
    }

    /// How many incoming messages wait.
    pub fn queued_in_messages(&self) -> usize {
        self.in_messages.len()
    }

    /// The id that the next incoming message has to have.
    pub fn next_in_message(&self) -> u64 {
        self.next_in_message
    }

    /// Whether work waits on chain.
    pub fn has_work(&self) -> bool {
        self.work_since.is_some()
    }

    /// What the committee's nodes did in this epoch so far.
    pub fn records(&self) -> &BTreeMap<NodeId, EpochRecord> {
        &self.records
    }

    /// From which height a rank may announce, if no other proposal is live then; `None` if its turn is over.
    pub fn window(&self, rank: u16) -> Option<Height> {
        let Phase::Idle { from_rank, since } = &self.phase else { return None };
        let ahead = rank.checked_sub(*from_rank)?;
        Some(since.saturating_add(self.parameters.proposer_timeout.saturating_mul(u64::from(ahead))))
    }

    /// From which height an honest worker of this rank announces even an empty batch, so that the round is not failed
    /// for want of a proposal; `None` while a proposal is live or its turn is over.
    pub fn heartbeat(&self, rank: u16) -> Option<Height> {
        let window = self.window(rank)?;
        let workers = self.committee.as_ref()?.workers.len() as u64;
        let left = workers.saturating_sub(u64::from(rank)).saturating_mul(self.parameters.proposer_timeout);
        let due = self.last.height.saturating_add(self.parameters.max_round_interval).saturating_sub(left);
        Some(window.max(due))
    }

    /// The most FHE gas that a batch announced at this height may have; `None` if not even an empty batch would be
    /// resolved before the epoch ends.
    pub fn gas_room(&self, height: Height) -> Option<Gas> {
        let fits = |gas: Gas| self.latest_end(height, gas) < self.epoch_end;
        if !fits(Gas::ZERO) {
            return None;
        }
        let max = self.parameters.max_batch_gas;
        if fits(max) {
            return Some(max);
        }
        // The end grows with the gas: halve the interval. `low` always fits, `high` never does.
        let (mut low, mut high) = (0, max.0);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if fits(Gas(middle)) {
                low = middle;
            } else {
                high = middle;
            }
        }
        Some(Gas(low))
    }

    /// The last height that a round announced at `height` can reach before its resolution is over.
    pub(crate) fn latest_end(&self, height: Height, gas: Gas) -> Height {
        height.saturating_add(self.parameters.deadline(gas)).saturating_add(self.parameters.resolve_deadline(gas))
    }

    /// The height at which [`crate::RoundEvent::Height`] ends the phase, if no message does so before; `None` while
    /// suspended. It is part of the phase: leaving the phase clears the timer.
    pub fn due(&self) -> Option<Height> {
        match &self.phase {
            Phase::Suspended => None,
            Phase::Announced { deadline, .. } | Phase::Detect { deadline, .. } | Phase::Resolve { deadline, .. } => {
                Some(*deadline)
            }
            Phase::Idle { from_rank, since } => {
                let workers = self.committee.as_ref().map_or(0, |c| c.workers.len() as u64);
                let windows = workers.saturating_sub(u64::from(*from_rank));
                let passed =
                    |from: Height| from.saturating_add(self.parameters.proposer_timeout.saturating_mul(windows));
                // After a dropped proposal the ranks that are left still get their windows.
                let interval = self.last.height.saturating_add(self.parameters.max_round_interval);
                let interval = interval.max(passed(*since));
                // Work that came late in an idle round opens the windows anew for the purpose of charging.
                let due = self.work_since.map_or(interval, |queued| interval.min(passed(queued.max(*since))));
                // Where not even an empty batch fits into the epoch any more, nobody can be blamed; its end ends the round.
                Some(if self.latest_end(due, Gas::ZERO) < self.epoch_end { due } else { due.max(self.epoch_end) })
            }
        }
    }

    /// Whether a message is for the round under way and builds on the last block.
    pub(crate) fn current(&self, round: Round, previous_hash: Digest) -> Result<(), RoundError> {
        if round != self.round() {
            return Err(RoundError::WrongRound { given: round, expected: self.round() });
        }
        if previous_hash != self.last_hash {
            return Err(RoundError::WrongParent { given: previous_hash, expected: self.last_hash });
        }
        Ok(())
    }
}

impl RoundParameters {
    /// Whether rounds can run with these parameters.
    ///
    /// # Errors
    /// [`RoundError::BadParameters`] names the parameter.
    pub fn validate(&self) -> Result<(), RoundError> {
        let bad = |reason: String| Err(RoundError::BadParameters(reason));
        let most = limits::MAX_COMMITTEE;
        if usize::from(self.workers) > most || usize::from(self.backups) > most {
            return bad(format!("at most {most} workers and {most} backups; reduce `workers` or `backups`"));
        }
        if self.workers.saturating_sub(self.allowed_stragglers) < 2 {
            return bad(format!(
                "workers ({}) minus allowed_stragglers ({}) must be at least 2, or one node could decide alone",
                self.workers, self.allowed_stragglers
            ));
        }
        if self.proposer_timeout == 0 || self.gas_per_block.0 == 0 || self.round_timeout == 0 || self.slash_from == 0 {
            return bad("proposer_timeout, gas_per_block, round_timeout and slash_from must be at least 1".to_owned());
        }
        if self.max_evidence_age == 0 {
            return bad(
                "max_evidence_age must be at least 1, or evidence against the last round could not be given".to_owned()
            );
        }
        let liveness = &self.liveness;
        for (name, percent) in [
            ("min_live_rounds_percent", liveness.min_live_rounds_percent),
            ("max_missed_proposals_percent", liveness.max_missed_proposals_percent),
        ] {
            if percent > 100 {
                return bad(format!(
                    "liveness.{name} is {percent}; a share is at most 100 percent, and 0 switches it off"
                ));
            }
        }
        let windows = self.proposer_timeout.saturating_mul(u64::from(self.workers));
        if self.max_round_interval <= windows {
            return bad(format!(
                "max_round_interval ({}) must be more than workers x proposer_timeout ({windows}), so that every rank can \
                 keep the ParaTime alive",
                self.max_round_interval
            ));
        }
        Ok(())
    }

    /// Whether an epoch of this many blocks leaves room for the largest batch: at least 10 of its deadlines.
    ///
    /// # Errors
    /// [`RoundError::BadParameters`] names the epoch length needed.
    pub fn validate_epoch(&self, epoch_blocks: u64) -> Result<(), RoundError> {
        let needed = self.deadline(self.max_batch_gas).saturating_mul(10);
        if epoch_blocks < needed {
            return Err(RoundError::BadParameters(format!(
                "an epoch of {epoch_blocks} blocks is too short for max_batch_gas {}: it needs at least {needed}",
                self.max_batch_gas
            )));
        }
        Ok(())
    }

    /// Whether a committee fits: sizes, no node twice in one role.
    pub(crate) fn fits(&self, paratime: ParaTimeId, committee: &Committee) -> Result<(), RoundError> {
        let bad = |reason: String| Err(RoundError::BadCommittee { paratime, reason });
        for (role, nodes, wanted) in
            [("workers", &committee.workers, self.workers), ("backups", &committee.backups, self.backups)]
        {
            if nodes.len() != usize::from(wanted) {
                return bad(format!("it has {} {role}, the parameters want {wanted}", nodes.len()));
            }
            if nodes.iter().collect::<BTreeSet<_>>().len() != nodes.len() {
                return bad(format!("a node sits twice among the {role}"));
            }
        }
        Ok(())
    }
}
