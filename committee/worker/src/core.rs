//! The pure half: what a worker does next, as a function of what it has seen. No I/O, no clock, no randomness.
//!
//! | status | what happens | next status |
//! | --- | --- | --- |
//! | waiting for a batch | own window is open and there is work, or the heartbeat is due | planning |
//! | waiting for a batch | a proposal is announced, or gossiped by a rank whose window is open | waiting for transactions |
//! | planning | the plan is there: sign, remember, publish, announce | waiting for transactions |
//! | waiting for transactions | they are here | worker: executing; backup: waiting for a discrepancy |
//! | waiting for a discrepancy | the chain says that workers differ | executing |
//! | executing | done: sign, remember, commit | waiting for a batch |
//! | any | another proposal is announced, the round is over, or the turn of its rank is | cancelled, waiting for a batch |

use crate::event::{Action, Dispute, RoundView, Step, Work, WorkerConfig, WorkerEvent, WorkerStatus};
use crate::record::Record;
use parallax_primitives::message::OutMessage;
use parallax_primitives::{Digest, Gas, Height, NodeId, Round, limits, merkle};
use parallax_rounds::{
    Commitment, EquivocationDetector, Evidence, FailureReason, Live, Outcome, Phase, Proposal, Resolution, Sighting,
    SignedCommitment, SignedProposal,
};
use parallax_runtime::Abort;
use std::collections::{BTreeMap, BTreeSet};

/// How this node gets on to a state that it does not have yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Applying {
    /// To that after the next round, by its result.
    Next(Round),
    /// To that after the last round, as a whole.
    Last(Round),
}

/// The pure half of a worker.
#[derive(Clone, Debug)]
pub struct WorkerState {
    config: WorkerConfig,
    me: NodeId,
    /// The last round whose state is committed here.
    applied: Round,
    /// The state that is being committed or fetched.
    applying: Option<Applying>,
    view: Option<RoundView>,
    work: Work,
    work_since: Option<Height>,
    planned_at: Option<Height>,
    status: WorkerStatus,
    /// Own proposals by round and rank; durable.
    proposals: BTreeMap<(Round, u16), SignedProposal>,
    /// Own commitments by round and proposal; durable.
    votes: BTreeMap<(Round, Digest), SignedCommitment>,
    /// Proposals that this machine could not execute.
    given_up: BTreeSet<Digest>,
    /// Checked proposals of peers, by round and rank.
    gossip: BTreeMap<(Round, u16), SignedProposal>,
    /// Disputed proposals of this round whose traces have been given to comparison.
    compared: BTreeSet<Digest>,
    /// What members of the committee said, to find those who contradict themselves.
    detector: EquivocationDetector,
    /// When a proposal was last submitted, by digest.
    announced_at: BTreeMap<Digest, Height>,
    /// When a commitment was last submitted, by the proposal's digest.
    committed_at: BTreeMap<Digest, Height>,
}

impl WorkerState {
    /// A worker whose ParaTime state is that after round `applied`, with what it remembers from before a restart, in
    /// the order in which it was made durable. It acts from the next [`WorkerEvent::Block`] on.
    pub fn restore(config: WorkerConfig, applied: Round, records: Vec<Record>) -> Self {
        let me = config.key.public();
        let (mut proposals, mut votes) = (BTreeMap::new(), BTreeMap::new());
        for record in records {
            match record {
                Record::Proposed(p) => {
                    proposals.entry((p.proposal.round, p.proposal.rank)).or_insert(p);
                }
                Record::Voted(c) => {
                    votes.entry((c.commitment.round, c.commitment.proposal)).or_insert(c);
                }
                Record::Forget { before } => {
                    proposals.retain(|(round, _), _| *round >= before);
                    votes.retain(|(round, _), _| *round >= before);
                }
            }
        }
        let detector = EquivocationDetector::new(config.chain, config.paratime);
        Self {
            config,
            me,
            detector,
            applied,
            applying: None,
            view: None,
            work: Work::default(),
            work_since: None,
            planned_at: None,
            status: WorkerStatus::WaitingForBatch,
            proposals,
            votes,
            given_up: BTreeSet::new(),
            gossip: BTreeMap::new(),
            compared: BTreeSet::new(),
            announced_at: BTreeMap::new(),
            committed_at: BTreeMap::new(),
        }
    }

    /// What it is doing.
    pub fn status(&self) -> &WorkerStatus {
        &self.status
    }

    /// The last round whose state is committed here.
    pub fn applied(&self) -> Round {
        self.applied
    }

    /// The last view of the chain.
    pub fn view(&self) -> Option<&RoundView> {
        self.view.as_ref()
    }

    /// How it runs.
    pub fn config(&self) -> &WorkerConfig {
        &self.config
    }

    /// Takes an event.
    pub fn apply(&mut self, event: WorkerEvent) -> Step {
        let mut step = Step::default();
        match event {
            WorkerEvent::Block(view) => self.block(*view, &mut step),
            WorkerEvent::Work(work) => {
                self.work = work;
                self.note_work();
            }
            WorkerEvent::Planned { round, batch } => self.planned(round, batch, &mut step),
            WorkerEvent::ProposalReceived(signed) => self.received(signed, &mut step),
            WorkerEvent::Heard(statement) => {
                let sighting = self.detector.hear(&statement);
                self.report(sighting.evidence(), &mut step);
            }
            WorkerEvent::TransactionsArrived { proposal } => {
                if let WorkerStatus::WaitingForTransactions(signed) = &self.status
                    && signed.proposal.digest() == proposal
                {
                    self.status = WorkerStatus::WaitingForDiscrepancy(signed.clone());
                }
            }
            WorkerEvent::Executed { proposal, outcome, messages } => {
                if let Some(signed) = self.finished(proposal) {
                    let messages = if signed.proposal.scheduler == self.me { messages } else { Vec::new() };
                    self.vote(&signed, outcome, messages, &mut step);
                }
            }
            WorkerEvent::Aborted { proposal, abort } => {
                if let Some(signed) = self.finished(proposal) {
                    self.aborted(&signed, proposal, &abort, &mut step);
                }
            }
            WorkerEvent::Applied { round } => {
                if matches!(self.applying, Some(Applying::Next(r) | Applying::Last(r)) if r == round) {
                    self.applying = None;
                }
                self.applied = self.applied.max(round);
            }
            WorkerEvent::ResultMissing { round } => {
                if self.applying == Some(Applying::Next(round)) {
                    step.then.push(Action::FetchResult { round });
                }
            }
            WorkerEvent::FetchFailed { round } => {
                self.fetch_failed(round, &mut step);
                return step;
            }
        }
        self.advance(&mut step);
        step
    }

    fn block(&mut self, view: RoundView, step: &mut Step) {
        let new_round = self.view.as_ref().is_none_or(|old| old.state.round() != view.state.round());
        let round = view.state.round();
        for evidence in self.detector.follow(&view.state) {
            self.report(Some(evidence), step);
        }
        self.view = Some(view);
        if new_round {
            self.work_since = None;
            self.planned_at = None;
            self.given_up.clear();
            self.compared.clear();
            self.announced_at.clear();
            self.committed_at.clear();
            self.gossip.retain(|(r, _), _| *r >= round);
            let before = (self.proposals.len(), self.votes.len());
            self.proposals.retain(|(r, _), _| *r >= round);
            self.votes.retain(|(r, _), _| *r >= round);
            if before != (self.proposals.len(), self.votes.len()) {
                step.persist.push(Record::Forget { before: round });
            }
            // What has not been applied here may be held by nobody else.
            let before = self.oldest_kept(round).min(self.applied.next());
            if before > Round::ZERO {
                step.then.push(Action::Prune { before });
            }
        }
        self.note_work();
    }

    /// The oldest round whose results are kept while `round` is under way, at peers that are not behind themselves.
    fn oldest_kept(&self, round: Round) -> Round {
        round.saturating_sub(self.config.retention_rounds)
    }

    /// Nobody gave what was asked for: again at the next block. Only where peers need not keep a round's result any more
    /// the whole state leads on.
    fn fetch_failed(&mut self, failed: Round, step: &mut Step) {
        match (self.applying, &self.view) {
            (Some(Applying::Next(round)), Some(view))
                if round == failed && round < self.oldest_kept(view.state.round()) =>
            {
                let round = view.state.last_block().round;
                self.applying = Some(Applying::Last(round));
                step.then.push(Action::FetchState { round });
            }
            (Some(Applying::Next(round) | Applying::Last(round)), _) if round == failed => self.applying = None,
            _ => {}
        }
    }

    fn note_work(&mut self) {
        let Some(view) = &self.view else { return };
        match self.work.waiting || view.state.has_work() {
            true => {
                self.work_since.get_or_insert(view.height);
            }
            false => self.work_since = None,
        }
    }

    /// Reports a member that contradicted itself; never this node, whose own records keep it from doing so.
    fn report(&self, evidence: Option<Evidence>, step: &mut Step) {
        let guilty = |evidence: &Evidence| evidence.offence().is_ok_and(|offence| offence.node != self.me);
        step.then.extend(evidence.filter(guilty).map(|evidence| Action::SubmitEvidence(Box::new(evidence))));
    }

    /// Checks a peer's proposal and keeps the first of each round and rank. The next round's are kept too: a node one
    /// block behind its peers hears of them early. A second one convicts its scheduler.
    fn received(&mut self, signed: SignedProposal, step: &mut Step) {
        let sighting = self.detector.proposal(&signed);
        let verified = matches!(sighting, Sighting::First | Sighting::Equivocation(_));
        self.report(sighting.evidence(), step);
        let Some(view) = &self.view else { return };
        let (proposal, state) = (&signed.proposal, &view.state);
        let key = (proposal.round, proposal.rank);
        let near = proposal.round == state.round() || proposal.round == state.round().next();
        let seated =
            state.committee().is_some_and(|c| c.rank_of(proposal.round, &proposal.scheduler) == Some(proposal.rank));
        let sized =
            proposal.transactions.len() <= limits::MAX_BATCH_TXS && proposal.gas <= state.parameters().max_batch_gas;
        if near
            && seated
            && sized
            && proposal.scheduler != self.me
            && !self.gossip.contains_key(&key)
            && proposal.root_holds()
            && (verified || signed.verify(self.config.chain, self.config.paratime))
        {
            self.gossip.insert(key, signed);
        }
    }

    /// The proposal whose execution ended, if it is the one under way.
    fn finished(&mut self, digest: Digest) -> Option<SignedProposal> {
        let signed = self.status.proposal()?.clone();
        if signed.proposal.digest() != digest {
            return None;
        }
        self.status = WorkerStatus::WaitingForBatch;
        Some(signed)
    }

    fn aborted(&mut self, signed: &SignedProposal, digest: Digest, abort: &Abort, step: &mut Step) {
        match abort {
            // A scheduler may not fail at its own batch; it stays silent.
            Abort::InvalidBatch(_) if signed.proposal.scheduler != self.me => {
                let outcome = Outcome::Failure { reason: FailureReason::InvalidBatch };
                self.vote(signed, outcome, Vec::new(), step);
            }
            // The fault is this machine's: silence costs liveness, a failure vote would blame the batch.
            Abort::InvalidBatch(_) | Abort::Local(_) => {
                self.given_up.insert(digest);
            }
            Abort::Cancelled => {}
        }
    }

    /// Signs the one commitment of this node to a proposal. Submission follows when it is announced.
    fn vote(&mut self, signed: &SignedProposal, outcome: Outcome, messages: Vec<OutMessage>, step: &mut Step) {
        let proposal = &signed.proposal;
        let key = (proposal.round, proposal.digest());
        if self.votes.contains_key(&key) {
            return;
        }
        let commitment = Commitment {
            node: self.me,
            proposal: key.1,
            round: proposal.round,
            previous_hash: proposal.previous_hash,
            outcome,
        };
        let config = &self.config;
        let vote = SignedCommitment::sign(commitment, messages, config.chain, config.paratime, &config.key);
        step.persist.push(Record::Voted(vote.clone()));
        self.votes.insert(key, vote);
    }

    fn planned(&mut self, round: Round, batch: Option<(Vec<Digest>, Gas)>, step: &mut Step) {
        if self.status != (WorkerStatus::Planning { round }) {
            return;
        }
        self.status = WorkerStatus::WaitingForBatch;
        let (Some(view), Some((transactions, gas))) = (&self.view, batch) else { return };
        let state = &view.state;
        let Some(rank) = state.committee().and_then(|c| c.rank_of(round, &self.me)) else { return };
        let empty = transactions.is_empty() && gas == Gas::ZERO;
        // Queued work may wait for a later round: only a round brings it nearer, even one without gas. Transactions in
        // the pool that cannot be planned are no reason for a round.
        let wanted = state.has_work() || self.work.queued || self.heartbeat_due(rank);
        if state.round() != round || (empty && !wanted) {
            return;
        }
        if self.proposals.contains_key(&(round, rank)) {
            return;
        }
        let proposal = Proposal {
            scheduler: self.me,
            rank,
            round,
            previous_hash: state.last_hash(),
            batch_root: merkle::root(&transactions),
            transactions,
            gas,
        };
        let signed = SignedProposal::sign(proposal, self.config.chain, self.config.paratime, &self.config.key);
        step.persist.push(Record::Proposed(signed.clone()));
        self.proposals.insert((round, rank), signed);
    }

    /// Does what can be done now.
    fn advance(&mut self, step: &mut Step) {
        let Some(view) = self.view.clone() else { return };
        let state = &view.state;
        self.drop_stale(&view, step);
        self.compare(&view, step);
        // Rounds build on each other: first the state of the last one.
        if self.applied < state.last_block().round {
            if self.applying.is_none() {
                let round = self.applied.next();
                self.applying = Some(Applying::Next(round));
                step.then.push(Action::CommitState { round });
            }
            return;
        }
        let Some(committee) = state.committee() else { return };
        let (worker, backup) = (committee.is_worker(&self.me), committee.is_backup(&self.me));
        if !worker && !backup {
            return;
        }
        match state.live() {
            Some(live) => self.follow(&view, live, worker, backup, step),
            None if worker => self.schedule(&view, step),
            None => self.take_gossip(&view, step),
        }
        self.execute(&view, worker, step);
    }

    /// Has the traces of workers that differ compared, once, by every member of the committee.
    fn compare(&mut self, view: &RoundView, step: &mut Step) {
        let seated = view.state.committee().is_some_and(|c| c.is_worker(&self.me) || c.is_backup(&self.me));
        if let Some(dispute) = dispute(view).filter(|d| seated && d.votes.len() > 1)
            && self.compared.insert(dispute.proposal)
        {
            step.then.push(Action::CompareTraces(dispute));
        }
    }

    /// Drops work that cannot count any more.
    fn drop_stale(&mut self, view: &RoundView, step: &mut Step) {
        let state = &view.state;
        if let WorkerStatus::Planning { round } = self.status
            && (round != state.round() || state.live().is_some())
        {
            self.status = WorkerStatus::WaitingForBatch;
        }
        let Some(signed) = self.status.proposal() else { return };
        let (proposal, digest) = (&signed.proposal, signed.proposal.digest());
        let builds_on = proposal.round == state.round() && proposal.previous_hash == state.last_hash();
        let stands = match state.phase() {
            Phase::Suspended => false,
            Phase::Idle { from_rank, .. } => proposal.rank >= *from_rank,
            Phase::Announced { live, .. } | Phase::Detect { live, .. } => live.digest == digest,
            // Only backups count from here.
            Phase::Resolve { live, .. } => {
                live.digest == digest && state.committee().is_some_and(|c| c.is_backup(&self.me))
            }
        };
        if !builds_on || !stands {
            step.then.push(Action::Cancel { proposal: digest });
            self.status = WorkerStatus::WaitingForBatch;
        }
    }

    /// A proposal is live: commit to it, or start on it.
    fn follow(&mut self, view: &RoundView, live: &Live, worker: bool, backup: bool, step: &mut Step) {
        let resolving = matches!(view.state.phase(), Phase::Resolve { .. });
        if live.votes.contains_key(&self.me) || (resolving && !backup) {
            return;
        }
        if let Some(vote) = self.votes.get(&(view.state.round(), live.digest)) {
            if (worker || resolving) && due(&self.committed_at, &live.digest, view.height, self.config.resubmit_blocks)
            {
                self.committed_at.insert(live.digest, view.height);
                step.then.push(Action::SubmitCommitment(vote.clone()));
            }
            return;
        }
        self.start(&live.signed, step);
    }

    /// No proposal is live and this node is a worker: schedule if it is its turn, else take a peer's.
    fn schedule(&mut self, view: &RoundView, step: &mut Step) {
        let state = &view.state;
        let round = state.round();
        let Some(rank) = state.committee().and_then(|c| c.rank_of(round, &self.me)) else { return };
        if matches!(self.status, WorkerStatus::Planning { .. }) {
            return;
        }
        let next = view.height.next();
        let open = state.window(rank).is_some_and(|opens| opens <= next);
        if let (true, Some(mine)) = (open, self.proposals.get(&(round, rank)).cloned()) {
            let digest = mine.proposal.digest();
            if due(&self.announced_at, &digest, view.height, self.config.resubmit_blocks) {
                self.announced_at.insert(digest, view.height);
                step.then.push(Action::PublishProposal(mine.clone()));
                step.then.push(Action::SubmitAnnounce(mine.clone()));
            }
            if self.status.proposal().is_some_and(|p| *p != mine) {
                self.cancel(step);
            }
            return self.start(&mine, step);
        }
        if open && self.planned_at.is_none_or(|at| at < view.height) && self.wants_round(view, rank) {
            // An announcement may take some blocks to stand on chain; plan for what still fits then.
            let included = view.height.saturating_add(self.config.resubmit_blocks.max(1));
            if let (Some(context), Some(limit)) = (view.context(self.config.chain), state.gas_room(included)) {
                self.cancel(step);
                self.planned_at = Some(view.height);
                self.status = WorkerStatus::Planning { round };
                step.then.push(Action::Propose { context, limit });
                return;
            }
        }
        self.take_gossip(view, step);
    }

    /// Whether this rank should schedule now: there is work and the ranks before it had their time, or the round would
    /// fail for want of a proposal.
    fn wants_round(&self, view: &RoundView, rank: u16) -> bool {
        let Phase::Idle { from_rank, .. } = view.state.phase() else { return false };
        let ahead = u64::from(rank.saturating_sub(*from_rank));
        let turn = view.state.parameters().proposer_timeout.saturating_mul(ahead);
        let flush = if self.work.full || view.state.has_work() { 0 } else { self.config.flush_blocks };
        let work = self.work_since.is_some_and(|since| since.saturating_add(turn).saturating_add(flush) <= view.height);
        work || self.heartbeat_due(rank)
    }

    fn heartbeat_due(&self, rank: u16) -> bool {
        let Some(view) = &self.view else { return false };
        view.state.heartbeat(rank).is_some_and(|due| due <= view.height.next())
    }

    /// Starts on the best gossiped proposal whose window is open: the sooner, the shorter the round.
    fn take_gossip(&mut self, view: &RoundView, step: &mut Step) {
        if self.status != WorkerStatus::WaitingForBatch {
            return;
        }
        let state = &view.state;
        let (round, next) = (state.round(), view.height.next());
        let best = self
            .gossip
            .range((round, 0)..=(round, u16::MAX))
            .find(|((_, rank), p)| {
                p.proposal.previous_hash == state.last_hash() && state.window(*rank).is_some_and(|w| w <= next)
            })
            .map(|(_, signed)| signed.clone());
        if let Some(signed) = best {
            self.start(&signed, step);
        }
    }

    /// Begins with a proposal, unless it is under way or done.
    fn start(&mut self, signed: &SignedProposal, step: &mut Step) {
        let digest = signed.proposal.digest();
        let done = self.given_up.contains(&digest) || self.votes.contains_key(&(signed.proposal.round, digest));
        if done || self.status != WorkerStatus::WaitingForBatch {
            return;
        }
        self.status = WorkerStatus::WaitingForTransactions(signed.clone());
        step.then.push(Action::FetchTransactions(signed.clone()));
    }

    fn cancel(&mut self, step: &mut Step) {
        if let Some(signed) = self.status.proposal() {
            step.then.push(Action::Cancel { proposal: signed.proposal.digest() });
        }
        self.status = WorkerStatus::WaitingForBatch;
    }

    /// Starts execution when the transactions are here, the context is known and this node's role calls for it.
    fn execute(&mut self, view: &RoundView, worker: bool, step: &mut Step) {
        let WorkerStatus::WaitingForDiscrepancy(signed) = &self.status else { return };
        let called = worker || matches!(view.state.phase(), Phase::Resolve { .. });
        let Some(context) = view.context(self.config.chain) else { return };
        if called {
            let proposal = signed.clone();
            self.status = WorkerStatus::Executing(proposal.clone());
            let dispute = if worker { None } else { dispute(view) };
            step.then.push(Action::StartExecution { proposal, context, dispute });
        }
    }
}

/// What the workers said, while the backups are to decide.
fn dispute(view: &RoundView) -> Option<Dispute> {
    let Phase::Resolve { live, .. } = view.state.phase() else { return None };
    let of_workers = live.votes.iter().filter(|(_, cast)| cast.as_worker);
    let votes = of_workers.filter_map(|(node, cast)| match cast.commitment.commitment.outcome {
        Outcome::Success { trace_root, .. } => Some((*node, trace_root)),
        Outcome::Failure { .. } => None,
    });
    let parameters = view.state.parameters();
    let resume_from = match parameters.resolution {
        Resolution::Full => None,
        Resolution::Resume => Some(parameters.workers.saturating_sub(parameters.allowed_stragglers)),
    };
    Some(Dispute { round: view.state.round(), proposal: live.digest, votes: votes.collect(), resume_from })
}

/// Whether something submitted at `sent` is to be submitted (again) at `now`.
fn due(sent: &BTreeMap<Digest, Height>, digest: &Digest, now: Height, every: u64) -> bool {
    sent.get(digest).is_none_or(|at| at.saturating_add(every.max(1)) <= now)
}

#[cfg(test)]
mod tests;
