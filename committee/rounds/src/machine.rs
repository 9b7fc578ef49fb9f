//! The transitions.
//!
//! | phase | what happens | what follows |
//! | --- | --- | --- |
//! | idle | a rank announces in its window, and the round fits into the epoch | announced |
//! | idle | all windows passed although work waits, or the longest interval passed | round failed, the ranks are charged |
//! | announced | the scheduler commits | detect |
//! | announced | deadline | the scheduler is charged, idle from the next rank on |
//! | detect | all workers voted alike | finalised |
//! | detect | two votes differ, or more failures than stragglers allowed | resolve |
//! | detect | deadline | finalised with W − S equal votes, else resolve; the missing are charged |
//! | resolve | a strict majority of backups voted as the scheduler did | finalised; who differs is slashed |
//! | resolve | a strict majority voted otherwise | round failed; the scheduler and who voted with it are slashed |
//! | resolve | no majority can come, or deadline | round failed |
//! | all but resolve | the epoch ends, or suspension | a block of that kind |
//! | resolve | the epoch ends, or suspension | waits for the verdict |

use crate::error::RoundError;
use crate::event::{ChargeReason, DiscrepancyCause, Effect, FailReason, Finalized, RoundEvent};
use crate::state::{
    Handover, Live, MAX_QUEUED_IN_MESSAGE_BYTES, MAX_QUEUED_IN_MESSAGES, Phase, RoleRecord, RoundState,
};
use crate::types::{BlockKind, Committee, Outcome, ParaTimeBlock, SignedCommitment, SignedProposal, messages_hash};
use crate::votes::{CastVote, Tally, majority_of};
use parallax_primitives::message::{InMessage, OutMessage};
use parallax_primitives::{Digest, Epoch, Gas, Height, NodeId, encode, limits};
use std::collections::{BTreeMap, BTreeSet};

impl RoundState {
    /// Applies one event that happens at `height`. Events come in the order of the chain: within a block first what
    /// its transactions say, then [`RoundEvent::Height`]. An epoch's end comes with the height `epoch_end`, before that
    /// block's transactions.
    ///
    /// # Errors
    /// [`RoundError`]; then nothing has changed.
    pub fn apply(&mut self, height: Height, event: RoundEvent) -> Result<Vec<Effect>, RoundError> {
        if height < self.height {
            return Err(RoundError::HeightWentBack { given: height, last: self.height });
        }
        let before = self.height;
        self.height = height;
        let (round, disputed) = (self.round(), matches!(self.phase, Phase::Resolve { .. }));
        let mut out = Vec::new();
        let result = match event {
            RoundEvent::Announcement(proposal) => self.announce(proposal.into_inner(), &mut out),
            RoundEvent::Commitment(commitment) => self.commit(commitment.into_inner(), &mut out),
            RoundEvent::Height => {
                self.height_reached(&mut out);
                Ok(())
            }
            RoundEvent::EpochEnded { committee, epoch, epoch_end } => {
                self.epoch_ended(committee, epoch, epoch_end, &mut out)
            }
            RoundEvent::Suspended => {
                self.suspend(&mut out);
                Ok(())
            }
            RoundEvent::InMessageQueued(message) => self.queue(message),
            RoundEvent::WorkQueued => {
                self.work_since.get_or_insert(height);
                Ok(())
            }
        };
        if let Err(error) = result {
            self.height = before;
            return Err(error);
        }
        // A property of this machine, whatever the messages: one terminal effect a round, and each advances it by one.
        let ended = out.iter().filter(|effect| effect.is_terminal()).count();
        assert!(ended <= 1, "a round ends once");
        assert_eq!(self.round(), if ended == 1 { round.next() } else { round }, "a terminal effect advances the round");
        let resolving = matches!(self.phase, Phase::Resolve { .. });
        assert!(!disputed || resolving || ended == 1, "a discrepancy never clears inside its round");
        assert_eq!(self.due().is_none(), matches!(self.phase, Phase::Suspended), "every phase is left at some height");
        Ok(out)
    }

    fn announce(&mut self, signed: SignedProposal, out: &mut Vec<Effect>) -> Result<(), RoundError> {
        let proposal = &signed.proposal;
        self.current(proposal.round, proposal.previous_hash)?;
        let committee = self.committee.as_ref().ok_or(RoundError::Suspended)?;
        let (from_rank, since) = match &self.phase {
            Phase::Idle { from_rank, since } => (*from_rank, *since),
            Phase::Suspended => return Err(RoundError::Suspended),
            Phase::Announced { live, .. } | Phase::Detect { live, .. } | Phase::Resolve { live, .. } => {
                return Err(RoundError::ProposalLive { live: live.digest });
            }
        };
        let (scheduler, rank) = (proposal.scheduler, proposal.rank);
        if committee.rank_of(proposal.round, &scheduler) != Some(rank) {
            return Err(RoundError::WrongRank { node: scheduler, rank, round: proposal.round });
        }
        let Some(ahead) = rank.checked_sub(from_rank) else {
            return Err(RoundError::RankSpent { rank, next: from_rank });
        };
        let opens = since.saturating_add(self.parameters.proposer_timeout.saturating_mul(u64::from(ahead)));
        if self.height < opens {
            return Err(RoundError::TooEarly { rank, opens, height: self.height });
        }
        let (transactions, gas) = (proposal.transactions.len(), proposal.gas);
        if transactions > limits::MAX_BATCH_TXS || gas > self.parameters.max_batch_gas {
            let max_transactions = limits::MAX_BATCH_TXS;
            let max_gas = self.parameters.max_batch_gas;
            return Err(RoundError::BatchTooLarge { transactions, max_transactions, gas, max_gas });
        }
        if !proposal.root_holds() {
            return Err(RoundError::BadBatchRoot { transactions });
        }
        let (until, epoch_end) = (self.latest_end(self.height, gas), self.epoch_end);
        if until >= epoch_end {
            return Err(RoundError::EpochTooShort { gas, height: self.height, until, epoch_end });
        }
        let digest = proposal.digest();
        let deadline = self.height.saturating_add(self.parameters.deadline(gas));
        out.push(Effect::Announced { proposal: digest, scheduler, rank, deadline });
        let live = Live { signed, digest, announced: self.height, votes: Default::default() };
        self.phase = Phase::Announced { live, deadline };
        Ok(())
    }

    fn commit(&mut self, signed: SignedCommitment, out: &mut Vec<Effect>) -> Result<(), RoundError> {
        let (round, height) = (self.round(), self.height);
        self.current(signed.commitment.round, signed.commitment.previous_hash)?;
        let committee = self.committee.as_ref().ok_or(RoundError::Suspended)?;
        let node = signed.commitment.node;
        let resolving = matches!(self.phase, Phase::Resolve { .. });
        let as_worker = committee.is_worker(&node) && !resolving;
        let as_backup = committee.is_backup(&node);
        let (Phase::Announced { live, .. } | Phase::Detect { live, .. } | Phase::Resolve { live, .. }) =
            &mut self.phase
        else {
            return Err(RoundError::NoProposal { round });
        };
        if signed.commitment.proposal != live.digest {
            return Err(RoundError::OtherProposal { given: signed.commitment.proposal, expected: live.digest });
        }
        if live.votes.contains_key(&node) {
            return Err(RoundError::Duplicate { node });
        }
        if !as_worker && !as_backup {
            return Err(match committee.is_worker(&node) {
                true => RoundError::OnlyBackups { round, node },
                false => RoundError::NotInCommittee { node, round },
            });
        }
        let is_scheduler = node == live.signed.proposal.scheduler;
        check_messages(&signed, is_scheduler)?;
        live.votes.insert(node, CastVote { commitment: signed, as_worker, as_backup, height });
        match std::mem::replace(&mut self.phase, Phase::Suspended) {
            Phase::Announced { live, deadline } if is_scheduler => {
                self.phase = Phase::Detect { live, deadline };
                self.detect(false, out);
            }
            phase => {
                self.phase = phase;
                match resolving {
                    true => self.resolve(false, out),
                    false => self.detect(false, out),
                }
            }
        }
        Ok(())
    }

    fn height_reached(&mut self, out: &mut Vec<Effect>) {
        let due = self.due().is_some_and(|due| due <= self.height);
        if !due {
            return;
        }
        match &self.phase {
            Phase::Suspended => {}
            Phase::Idle { from_rank, since: _ } => {
                // Past the epoch's last possible announcement there is nobody to blame; see `due`.
                if self.latest_end(self.height, Gas::ZERO) < self.epoch_end {
                    let from_rank = *from_rank;
                    self.no_proposal(from_rank, out);
                }
            }
            Phase::Announced { live, .. } => {
                let (digest, proposal) = (live.digest, &live.signed.proposal);
                let (scheduler, next_rank) = (proposal.scheduler, proposal.rank.saturating_add(1));
                out.push(Effect::ProposalDropped { proposal: digest, next_rank });
                self.phase = Phase::Idle { from_rank: next_rank, since: self.height };
                self.charge(scheduler, ChargeReason::SchedulerSilent, out);
                if self.committee.as_ref().is_some_and(|c| usize::from(next_rank) >= c.workers.len()) {
                    self.no_proposal(next_rank, out);
                }
            }
            Phase::Detect { .. } => self.detect(true, out),
            Phase::Resolve { .. } => self.resolve(true, out),
        }
    }

    /// Nobody scheduled the round: the ranks from `from_rank` on let their windows pass.
    fn no_proposal(&mut self, from_rank: u16, out: &mut Vec<Effect>) {
        let round = self.round();
        let late: Vec<NodeId> = self.committee.as_ref().map_or_else(Vec::new, |committee| {
            (from_rank..).map_while(|rank| committee.worker_of_rank(round, rank)).collect()
        });
        for node in late {
            self.charge(node, ChargeReason::NoProposal, out);
        }
        self.fail(FailReason::NoProposal, None, out);
    }

    /// Compares the workers' votes once the scheduler has committed.
    fn detect(&mut self, at_deadline: bool, out: &mut Vec<Effect>) {
        let Phase::Detect { live, .. } = &self.phase else { return };
        let Some(committee) = &self.committee else { return };
        let seats = committee.workers.len();
        let stragglers = usize::from(self.parameters.allowed_stragglers);
        let tally = Tally::of(live.votes.values().filter(|v| v.as_worker));
        let missing: Vec<NodeId> = committee.workers.iter().filter(|w| !live.votes.contains_key(w)).copied().collect();
        let needed = if at_deadline { seats.saturating_sub(stragglers) } else { seats };
        if tally.votes.len() > 1 {
            return self.enter_resolve(DiscrepancyCause::Votes, out);
        }
        if tally.failures > stragglers {
            return self.enter_resolve(DiscrepancyCause::Failures, out);
        }
        if tally.highest() >= needed {
            return self.finalize(false, missing, out);
        }
        if at_deadline {
            for node in missing {
                self.charge(node, ChargeReason::WorkerAbsent, out);
            }
            self.enter_resolve(DiscrepancyCause::Timeout, out);
        }
    }

    fn enter_resolve(&mut self, cause: DiscrepancyCause, out: &mut Vec<Effect>) {
        let Phase::Detect { live, .. } = std::mem::replace(&mut self.phase, Phase::Suspended) else {
            // Only `detect` calls this, in that phase.
            unreachable!("a discrepancy is found while detecting");
        };
        let deadline = self.height.saturating_add(self.parameters.resolve_deadline(live.signed.proposal.gas));
        out.push(Effect::Discrepancy { proposal: live.digest, cause, deadline });
        self.phase = Phase::Resolve { live, deadline };
        self.resolve(false, out);
    }

    /// Counts the backups' votes.
    fn resolve(&mut self, at_deadline: bool, out: &mut Vec<Effect>) {
        let Phase::Resolve { live, .. } = &self.phase else { return };
        let Some(committee) = &self.committee else { return };
        let seats = committee.backups.len();
        if seats == 0 {
            return self.fail(FailReason::NoBackups, None, out);
        }
        let tally = Tally::of(live.votes.values().filter(|v| v.as_backup));
        let scheduler = live.signed.proposal.scheduler;
        let accepted = live.votes.get(&scheduler).and_then(CastVote::vote);
        let needed = majority_of(seats);
        let open = seats.saturating_sub(tally.cast());
        match tally.majority(seats) {
            Some(vote) if Some(vote) == accepted => self.finalize(true, Vec::new(), out),
            Some(vote) => self.scheduler_wrong(vote, out),
            None if tally.failures >= needed => {
                self.charge(scheduler, ChargeReason::BatchRefused, out);
                self.fail(FailReason::Failures, None, out);
            }
            None if tally.highest().saturating_add(open) < needed => self.fail(FailReason::NoMajority, None, out),
            None if at_deadline => {
                let absent: Vec<NodeId> =
                    committee.backups.iter().filter(|b| !live.votes.contains_key(b)).copied().collect();
                for node in absent {
                    self.charge(node, ChargeReason::BackupAbsent, out);
                }
                self.fail(FailReason::Timeout, None, out);
            }
            None => {}
        }
    }

    /// Accepts the scheduler's result. `missing` are the workers that a deadline found absent.
    fn finalize(&mut self, discrepancy: bool, missing: Vec<NodeId>, out: &mut Vec<Effect>) {
        let Some(live) = self.phase.live().cloned() else { return };
        let Some(cast) = live.votes.get(&live.signed.proposal.scheduler) else {
            // Detect and resolve are entered with the scheduler's commitment only.
            unreachable!("a result is accepted with its scheduler's commitment");
        };
        let Outcome::Success {
            io_root,
            state_root,
            trace_root,
            messages_hash: sent,
            in_messages_hash,
            in_messages_count,
        } = cast.commitment.commitment.outcome
        else {
            // `check_messages` refuses a scheduler's failure.
            unreachable!("a scheduler's commitment is a success");
        };
        let consumed = usize::try_from(in_messages_count).unwrap_or(usize::MAX);
        let held = self.offered_in_messages().get(..consumed).map(messages_hash::<InMessage>);
        if held != Some(in_messages_hash) {
            return self.fail(FailReason::InMessages, None, out);
        }
        let accepted = cast.vote();
        self.assert_accepted(&live, accepted, discrepancy);
        let agreed: Vec<NodeId> = with_vote(&live, accepted);
        let wrong: Vec<NodeId> =
            live.votes.iter().filter(|(_, v)| !v.is_failure() && v.vote() != accepted).map(|(n, _)| *n).collect();
        let failed: Vec<NodeId> = live.votes.iter().filter(|(_, v)| v.is_failure()).map(|(n, _)| *n).collect();
        let (commitment, rank) = (cast.commitment.clone(), live.signed.proposal.rank);
        let (scheduler, votes) = (live.signed.proposal.scheduler, live.votes);
        let consumed: Vec<InMessage> = self.in_messages.drain(..consumed).collect();
        let block = ParaTimeBlock {
            kind: BlockKind::Normal,
            proposal: live.digest,
            io_root,
            state_root,
            trace_root,
            messages_hash: sent,
            ..self.empty_block(BlockKind::Normal)
        };
        self.rounds_accepted = self.rounds_accepted.saturating_add(1);
        self.accepted_height = block.height;
        let finalized =
            Finalized { block, proposal: live.signed, commitment, agreed: agreed.clone(), discrepancy, consumed };
        out.push(Effect::Finalize(finalized));
        self.credit(agreed.clone(), &votes, out);
        if rank == 0 {
            let record = self.records.entry(scheduler).or_default();
            record.scheduled_as_first = record.scheduled_as_first.saturating_add(1);
        }
        for node in missing {
            self.charge(node, ChargeReason::WorkerAbsent, out);
        }
        for node in failed {
            self.charge_vote(node, &votes, ChargeReason::Failure, out);
        }
        if discrepancy {
            self.punish(wrong, agreed, &votes, out);
        }
        self.work_since = None;
        self.close(block_of(out), out);
    }

    /// What accepting a result rests on, counted once more and in another way than in `detect` and `resolve`.
    fn assert_accepted(&self, live: &Live, accepted: Option<Digest>, discrepancy: bool) {
        let (Some(committee), Some(deadline)) = (&self.committee, self.due()) else { return };
        assert!(accepted.is_some(), "a result is accepted, not a failure");
        if discrepancy {
            let agree = committee.backups.iter().filter(|b| live.votes.get(b).is_some_and(|v| v.vote() == accepted));
            assert!(2 * agree.count() > committee.backups.len(), "more than half of the backups agree");
            return;
        }
        let votes: Vec<&CastVote> = committee.workers.iter().filter_map(|w| live.votes.get(w)).collect();
        let agree = votes.iter().filter(|v| v.vote() == accepted).count();
        assert!(votes.iter().all(|v| v.is_failure() || v.vote() == accepted), "no worker voted otherwise");
        let missing = committee.workers.len().saturating_sub(agree);
        let late = self.height >= deadline && missing <= usize::from(self.parameters.allowed_stragglers);
        assert!(missing == 0 || late, "all workers agree, or at the deadline all but the stragglers");
    }

    /// A majority of the backups found another result than the scheduler.
    fn scheduler_wrong(&mut self, majority: Digest, out: &mut Vec<Effect>) {
        let Some(live) = self.phase.live().cloned() else { return };
        let claimed = live.votes.get(&live.signed.proposal.scheduler).and_then(CastVote::vote);
        let (wrong, right) = (with_vote(&live, claimed), with_vote(&live, Some(majority)));
        self.fail(FailReason::SchedulerWrong, Some((wrong, right)), out);
    }

    /// Ends the round without a result. `verdict`: who was wrong, who was right.
    fn fail(&mut self, reason: FailReason, verdict: Option<(Vec<NodeId>, Vec<NodeId>)>, out: &mut Vec<Effect>) {
        let block = self.empty_block(BlockKind::RoundFailed);
        let proposal = self.phase.live().map(|live| live.signed.clone());
        out.push(Effect::Fail { block: block.clone(), reason, proposal });
        if let Some((wrong, right)) = verdict {
            let votes = self.phase.live().map_or_else(BTreeMap::new, |live| live.votes.clone());
            self.punish(wrong, right, &votes, out);
        }
        self.close(Some(block), out);
    }

    fn epoch_ended(
        &mut self,
        committee: Option<Committee>,
        epoch: Epoch,
        epoch_end: Height,
        out: &mut Vec<Effect>,
    ) -> Result<(), RoundError> {
        if let Some(committee) = &committee {
            self.parameters.fits(self.paratime, committee)?;
        }
        let handover = Handover { committee, epoch, epoch_end };
        match &self.phase {
            Phase::Resolve { .. } => self.handover = Some(handover),
            Phase::Suspended if handover.committee.is_none() => self.hand_over(handover, out),
            Phase::Suspended | Phase::Idle { .. } | Phase::Announced { .. } | Phase::Detect { .. } => {
                let proposal = self.phase.live().map(|live| live.signed.clone());
                let (kind, stays) = match handover.committee {
                    Some(_) => (BlockKind::EpochTransition, true),
                    None => (BlockKind::Suspended, false),
                };
                let block = self.empty_block(kind);
                out.push(match stays {
                    true => Effect::EpochTransition { block: block.clone(), proposal },
                    false => Effect::Suspend { block: block.clone(), proposal },
                });
                self.handover = Some(handover);
                self.close(Some(block), out);
            }
        }
        Ok(())
    }

    fn suspend(&mut self, out: &mut Vec<Effect>) {
        let handover = Handover { committee: None, epoch: self.epoch, epoch_end: self.epoch_end };
        match &self.phase {
            Phase::Suspended => {}
            Phase::Resolve { .. } => {
                // An epoch that ended meanwhile stays ended.
                let (epoch, epoch_end) =
                    self.handover.as_ref().map_or((self.epoch, self.epoch_end), |h| (h.epoch, h.epoch_end));
                self.handover = Some(Handover { committee: None, epoch, epoch_end });
            }
            Phase::Idle { .. } | Phase::Announced { .. } | Phase::Detect { .. } => {
                let proposal = self.phase.live().map(|live| live.signed.clone());
                let block = self.empty_block(BlockKind::Suspended);
                out.push(Effect::Suspend { block: block.clone(), proposal });
                self.handover = Some(handover);
                self.close(Some(block), out);
            }
        }
    }

    fn queue(&mut self, message: InMessage) -> Result<(), RoundError> {
        if message.id != self.next_in_message {
            return Err(RoundError::InMessageId { given: message.id, expected: self.next_in_message });
        }
        if self.in_messages.len() >= MAX_QUEUED_IN_MESSAGES {
            return Err(RoundError::QueueFull { limit: MAX_QUEUED_IN_MESSAGES, unit: "messages" });
        }
        let bytes = self.in_messages.iter().fold(message.data.len(), |sum, m| sum.saturating_add(m.data.len()));
        if bytes > MAX_QUEUED_IN_MESSAGE_BYTES {
            return Err(RoundError::QueueFull { limit: MAX_QUEUED_IN_MESSAGE_BYTES, unit: "bytes" });
        }
        self.in_messages.push(message);
        self.next_in_message = self.next_in_message.saturating_add(1);
        self.work_since.get_or_insert(self.height);
        Ok(())
    }

    /// The block that ends the round under way without a result: the state stays.
    fn empty_block(&self, kind: BlockKind) -> ParaTimeBlock {
        ParaTimeBlock {
            paratime: self.paratime,
            round: self.round(),
            kind,
            previous_hash: self.last_hash,
            height: self.height,
            proposal: Digest::ZERO,
            io_root: Digest::ZERO,
            state_root: self.last.state_root,
            trace_root: Digest::ZERO,
            messages_hash: messages_hash::<OutMessage>(&[]),
        }
    }

    /// Starts the next round after `block`. The phase goes first, and with it every deadline.
    fn close(&mut self, block: Option<ParaTimeBlock>, out: &mut Vec<Effect>) {
        self.phase = match self.committee {
            Some(_) => Phase::Idle { from_rank: 0, since: self.height },
            None => Phase::Suspended,
        };
        if let Some(block) = block {
            self.last_hash = block.hash();
            self.last = block;
        }
        self.in_messages_offered = u32::try_from(self.in_messages.len()).unwrap_or(u32::MAX);
        if self.work_since.is_some() || !self.in_messages.is_empty() {
            self.work_since = Some(self.height);
        }
        if let Some(handover) = self.handover.take() {
            self.hand_over(handover, out);
        }
    }

    fn hand_over(&mut self, next: Handover, out: &mut Vec<Effect>) {
        if next.epoch != self.epoch {
            let records = std::mem::take(&mut self.records);
            let rounds = std::mem::take(&mut self.rounds_accepted);
            out.push(Effect::EpochSettled { epoch: self.epoch, rounds, records });
        }
        self.phase = match next.committee {
            Some(_) => Phase::Idle { from_rank: 0, since: self.height },
            None => Phase::Suspended,
        };
        self.committee = next.committee;
        self.epoch = next.epoch;
        self.epoch_end = next.epoch_end;
    }

    /// Credits each node in the roles for which its vote counted.
    fn credit(&mut self, nodes: Vec<NodeId>, votes: &BTreeMap<NodeId, CastVote>, out: &mut Vec<Effect>) {
        for node in &nodes {
            for role in self.roles_of(node, votes) {
                role.live = role.live.saturating_add(1);
            }
        }
        out.push(Effect::LivenessCredit { nodes });
    }

    /// Charges each node in the roles for which its vote counted.
    fn charge_vote(
        &mut self,
        node: NodeId,
        votes: &BTreeMap<NodeId, CastVote>,
        reason: ChargeReason,
        out: &mut Vec<Effect>,
    ) {
        for role in self.roles_of(&node, votes) {
            role.failed = role.failed.saturating_add(1);
        }
        out.push(Effect::ChargeLiveness { node, reason });
    }

    /// The records of the roles in which a node's vote was cast.
    fn roles_of(&mut self, node: &NodeId, votes: &BTreeMap<NodeId, CastVote>) -> impl Iterator<Item = &mut RoleRecord> {
        let (as_worker, as_backup) = votes.get(node).map_or((false, false), |v| (v.as_worker, v.as_backup));
        let record = self.records.entry(*node).or_default();
        [(as_worker, &mut record.worker), (as_backup, &mut record.backup)]
            .into_iter()
            .filter_map(|(cast, role)| cast.then_some(role))
    }

    fn charge(&mut self, node: NodeId, reason: ChargeReason, out: &mut Vec<Effect>) {
        let first = self.committee.as_ref().and_then(|c| c.rank_of(self.round(), &node)) == Some(0);
        let record = self.records.entry(node).or_default();
        let count = match reason {
            ChargeReason::NoProposal | ChargeReason::SchedulerSilent | ChargeReason::BatchRefused => {
                record.missed_as_first = record.missed_as_first.saturating_add(u64::from(first));
                &mut record.missed_proposals
            }
            ChargeReason::WorkerAbsent => &mut record.worker.absent,
            ChargeReason::BackupAbsent => &mut record.backup.absent,
            // Counted by the role of the vote, in `charge_vote`.
            ChargeReason::Failure | ChargeReason::WrongResult => &mut 0,
        };
        *count = count.saturating_add(1);
        out.push(Effect::ChargeLiveness { node, reason });
    }

    /// Counts wrong results, and slashes from `slash_from` on; earlier ones cost liveness.
    fn punish(
        &mut self,
        wrong: Vec<NodeId>,
        agreed: Vec<NodeId>,
        votes: &BTreeMap<NodeId, CastVote>,
        out: &mut Vec<Effect>,
    ) {
        assert!(wrong.iter().collect::<BTreeSet<_>>().is_disjoint(&agreed.iter().collect()), "right or wrong");
        let mut nodes = Vec::new();
        for node in wrong {
            let record = self.records.entry(node).or_default();
            record.wrong_results = record.wrong_results.saturating_add(1);
            if record.wrong_results >= self.parameters.slash_from {
                nodes.push(node);
            } else {
                self.charge_vote(node, votes, ChargeReason::WrongResult, out);
            }
        }
        if !nodes.is_empty() {
            out.push(Effect::SlashWrongResult { nodes, agreed });
        }
    }
}

/// The nodes that voted for this value, in the order of their keys.
fn with_vote(live: &Live, vote: Option<Digest>) -> Vec<NodeId> {
    live.votes.iter().filter(|(_, v)| v.vote().is_some() && v.vote() == vote).map(|(n, _)| *n).collect()
}

/// The terminal block among the effects so far.
fn block_of(out: &[Effect]) -> Option<ParaTimeBlock> {
    out.iter().find_map(Effect::block).cloned()
}

/// The scheduler's messages must be those that it signed for; nobody else attaches any.
fn check_messages(signed: &SignedCommitment, is_scheduler: bool) -> Result<(), RoundError> {
    let node = signed.commitment.node;
    if !is_scheduler {
        return match signed.messages.is_empty() {
            true => Ok(()),
            false => Err(RoundError::UnexpectedMessages { node }),
        };
    }
    let Outcome::Success { messages_hash: named, .. } = &signed.commitment.outcome else {
        return Err(RoundError::SchedulerFailure { node });
    };
    let (actual, limit) = (signed.messages.len(), limits::MAX_MESSAGES_PER_ROUND);
    if actual > limit {
        return Err(RoundError::TooManyMessages { actual, limit });
    }
    let (actual, limit) = (encode(&signed.messages).len(), limits::MAX_ROUND_MESSAGE_BYTES);
    if actual > limit {
        return Err(RoundError::MessagesTooLarge { actual, limit });
    }
    match messages_hash(&signed.messages) == *named {
        true => Ok(()),
        false => Err(RoundError::BadMessages { node }),
    }
}
