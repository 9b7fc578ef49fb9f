//! Transcripts: what goes in, and what the worker says it does.

use super::*;
use crate::event::Anchor;
use parallax_primitives::{ChainContext, Domain, Epoch, ParaTimeId, SecretKey};
use parallax_rounds::{
    Committee, LivenessParameters, Resolution, RoundEvent, RoundParameters, RoundState, Statement, Verified,
    messages_hash,
};

const CHAIN: ChainContext = ChainContext(Digest([7; 32]));

fn key(n: usize) -> SecretKey {
    SecretKey::from_seed([u8::try_from(n + 1).unwrap(); 32])
}

fn digest(n: u64) -> Digest {
    Digest::of_value(Domain::Simulation, &n)
}

fn success(n: u64) -> Outcome {
    Outcome::Success {
        io_root: digest(n),
        state_root: digest(n),
        trace_root: digest(n),
        messages_hash: messages_hash::<OutMessage>(&[]),
        in_messages_hash: messages_hash::<OutMessage>(&[]),
        in_messages_count: 0,
    }
}

/// A chain with one ParaTime: workers 0 and 1, backups 2, 3 and 4. In round 1 worker 1 has rank 0.
struct Net {
    state: RoundState,
    height: Height,
}

impl Net {
    fn new() -> Self {
        Self::with(Resolution::Full)
    }

    fn with(resolution: Resolution) -> Self {
        let parameters = RoundParameters {
            workers: 2,
            backups: 3,
            allowed_stragglers: 0,
            proposer_timeout: 4,
            round_timeout: 6,
            gas_per_block: Gas(10),
            max_batch_gas: Gas(100),
            max_round_interval: 40,
            slash_from: 1,
            resolution,
            liveness: LivenessParameters::OFF,
            max_evidence_age: 100,
        };
        let committee = Committee {
            epoch: Epoch(0),
            workers: vec![key(0).public(), key(1).public()],
            backups: vec![key(2).public(), key(3).public(), key(4).public()],
        };
        let paratime = ParaTimeId::named("test");
        let state =
            RoundState::new(paratime, parameters, digest(0), Some(committee), Epoch(0), Height(10_000)).unwrap();
        Self { state, height: Height(1) }
    }

    fn config(&self, n: usize) -> WorkerConfig {
        WorkerConfig {
            chain: CHAIN,
            paratime: self.state.paratime(),
            key: key(n),
            flush_blocks: 0,
            resubmit_blocks: 3,
            retention_rounds: 2,
        }
    }

    fn worker(&self, n: usize) -> WorkerState {
        WorkerState::restore(self.config(n), self.state.last_block().round, vec![])
    }

    fn view(&self) -> WorkerEvent {
        let anchor =
            (self.height > self.state.accepted_height()).then(|| Anchor { hash: digest(self.height.0), time_ms: 5 });
        WorkerEvent::Block(Box::new(RoundView {
            height: self.height,
            state: self.state.clone(),
            beacon: digest(9),
            key_ids: vec![],
            message_results: vec![],
            anchor,
        }))
    }

    /// Ends the block and shows the next one.
    fn next(&mut self) -> WorkerEvent {
        self.state.apply(self.height, RoundEvent::Height).unwrap();
        self.height = self.height.next();
        self.view()
    }

    fn signed(&self, n: usize, transactions: Vec<Digest>) -> SignedProposal {
        let node = key(n).public();
        let proposal = Proposal {
            scheduler: node,
            rank: self.state.committee().unwrap().rank_of(self.state.round(), &node).unwrap_or(0),
            round: self.state.round(),
            previous_hash: self.state.last_hash(),
            batch_root: merkle::root(&transactions),
            transactions,
            gas: Gas(20),
        };
        SignedProposal::sign(proposal, CHAIN, self.state.paratime(), &key(n))
    }

    fn announce(&mut self, signed: &SignedProposal) -> WorkerEvent {
        let verified = Verified::<SignedProposal>::check(&self.state, CHAIN, signed.clone()).unwrap();
        self.state.apply(self.height, RoundEvent::Announcement(verified)).unwrap();
        self.next()
    }

    fn commit(&mut self, n: usize, outcome: Outcome) {
        assert!(self.try_commit(n, outcome), "the commitment is accepted");
    }

    fn try_commit(&mut self, n: usize, outcome: Outcome) -> bool {
        let commitment = Commitment {
            node: key(n).public(),
            proposal: self.state.live().unwrap().digest,
            round: self.state.round(),
            previous_hash: self.state.last_hash(),
            outcome,
        };
        let signed = SignedCommitment::sign(commitment, vec![], CHAIN, self.state.paratime(), &key(n));
        let verified = Verified::<SignedCommitment>::check(&self.state, CHAIN, signed).unwrap();
        self.state.apply(self.height, RoundEvent::Commitment(verified)).is_ok()
    }
}

/// A step in words, in order.
fn words(step: &Step) -> Vec<&'static str> {
    let persisted = step.persist.iter().map(|record| match record {
        Record::Proposed(_) => "remember proposal",
        Record::Voted(_) => "remember vote",
        Record::Forget { .. } => "forget",
    });
    let then = step.then.iter().map(|action| match action {
        Action::Propose { .. } => "plan",
        Action::PublishProposal(_) => "publish",
        Action::SubmitAnnounce(_) => "announce",
        Action::FetchTransactions(_) => "fetch batch",
        Action::StartExecution { .. } => "execute",
        Action::Cancel { .. } => "cancel",
        Action::SubmitCommitment(_) => "commit",
        Action::SubmitEvidence(_) => "report",
        Action::CommitState { .. } => "commit state",
        Action::FetchResult { .. } => "fetch result",
        Action::FetchState { .. } => "fetch state",
        Action::CompareTraces(_) => "compare",
        Action::Prune { .. } => "prune",
    });
    persisted.chain(then).collect()
}

fn work() -> WorkerEvent {
    WorkerEvent::Work(Work { waiting: true, queued: false, full: false })
}

fn executed(signed: &SignedProposal, n: u64) -> WorkerEvent {
    WorkerEvent::Executed { proposal: signed.proposal.digest(), outcome: success(n), messages: vec![] }
}

fn arrived(signed: &SignedProposal) -> WorkerEvent {
    WorkerEvent::TransactionsArrived { proposal: signed.proposal.digest() }
}

fn proposed(step: &Step) -> SignedProposal {
    step.persist
        .iter()
        .find_map(|record| match record {
            Record::Proposed(signed) => Some(signed.clone()),
            _ => None,
        })
        .unwrap()
}

fn committed(step: &Step) -> SignedCommitment {
    step.then
        .iter()
        .find_map(|action| match action {
            Action::SubmitCommitment(vote) => Some(vote.clone()),
            _ => None,
        })
        .unwrap()
}

#[test]
fn a_scheduler_plans_remembers_publishes_announces_executes_and_commits_in_that_order() {
    let mut net = Net::new();
    let mut w = net.worker(1);
    assert_eq!(words(&w.apply(net.view())), [""; 0]);
    assert_eq!(words(&w.apply(work())), ["plan"]);
    let batch = Some((vec![digest(1)], Gas(20)));
    let step = w.apply(WorkerEvent::Planned { round: Round(1), batch });
    assert_eq!(words(&step), ["remember proposal", "publish", "announce", "fetch batch"]);
    let mine = proposed(&step);
    assert_eq!(words(&w.apply(arrived(&mine))), ["execute"]);
    assert_eq!(words(&w.apply(executed(&mine, 1))), ["remember vote"], "not announced yet");
    let block = net.announce(&mine);
    assert_eq!(words(&w.apply(block)), ["commit"]);
    let block = net.next();
    assert_eq!(words(&w.apply(block)), [""; 0], "submitted a block ago");
    net.next();
    let block = net.next();
    assert_eq!(words(&w.apply(block)), ["commit"], "and again after three");
    net.commit(1, success(1));
    let block = net.next();
    assert_eq!(words(&w.apply(block)), [""; 0], "it stands on chain");
}

#[test]
fn a_worker_executes_a_gossiped_proposal_at_once_and_commits_when_it_is_announced() {
    let mut net = Net::new();
    let mut w = net.worker(0);
    let signed = net.signed(1, vec![digest(1)]);
    let _ = w.apply(net.view());
    assert_eq!(words(&w.apply(WorkerEvent::ProposalReceived(signed.clone()))), ["fetch batch"]);
    assert_eq!(words(&w.apply(arrived(&signed))), ["execute"]);
    let block = net.announce(&signed);
    assert_eq!(words(&w.apply(block)), [""; 0]);
    assert_eq!(words(&w.apply(executed(&signed, 1))), ["remember vote", "commit"]);
}

#[test]
fn a_worker_that_missed_the_gossip_takes_the_proposal_from_the_chain() {
    let mut net = Net::new();
    let mut w = net.worker(0);
    let signed = net.signed(1, vec![digest(1)]);
    assert_eq!(words(&w.apply(net.announce(&signed))), ["fetch batch"]);
}

#[test]
fn work_on_a_gossiped_proposal_is_dropped_when_another_one_is_announced() {
    let mut net = Net::new();
    let mut w = net.worker(0);
    let (shown, announced) = (net.signed(1, vec![digest(1)]), net.signed(1, vec![digest(2)]));
    let _ = w.apply(net.view());
    let _ = w.apply(WorkerEvent::ProposalReceived(shown.clone()));
    let _ = w.apply(arrived(&shown));
    let step = w.apply(net.announce(&announced));
    // Its scheduler showed one and announced another, and answers for it.
    assert_eq!(words(&step), ["report", "cancel", "fetch batch"]);
    assert_eq!(words(&w.apply(executed(&shown, 1))), [""; 0], "a late result of dropped work is no vote");
}

#[test]
fn a_backup_fetches_ahead_executes_at_the_discrepancy_and_commits() {
    let mut net = Net::new();
    let mut w = net.worker(2);
    let signed = net.signed(1, vec![digest(1)]);
    assert_eq!(words(&w.apply(net.announce(&signed))), ["fetch batch"]);
    assert_eq!(words(&w.apply(arrived(&signed))), [""; 0], "no discrepancy, no work");
    assert_eq!(w.status().name(), "waiting-for-discrepancy");
    net.commit(1, success(1));
    net.commit(0, success(2));
    assert_eq!(words(&w.apply(net.next())), ["compare", "execute"]);
    assert_eq!(words(&w.apply(net.next())), [""; 0], "once");
    assert_eq!(words(&w.apply(executed(&signed, 1))), ["remember vote", "commit"]);
}

/// What a backup is told of a dispute in which worker 1 voted for result 1 and worker 0 said `other`.
fn told(resolution: Resolution, other: Outcome) -> Option<Dispute> {
    let mut net = Net::with(resolution);
    let mut w = net.worker(2);
    let signed = net.signed(1, vec![digest(1)]);
    let _ = w.apply(net.announce(&signed));
    let _ = w.apply(arrived(&signed));
    net.commit(1, success(1));
    net.commit(0, other);
    let step = w.apply(net.next());
    let compared = step.then.iter().find_map(|action| match action {
        Action::CompareTraces(dispute) => Some(dispute.clone()),
        _ => None,
    });
    let Some(Action::StartExecution { dispute, .. }) = step.then.last() else { panic!("it is called") };
    assert_eq!(compared, dispute.clone().filter(|d| d.votes.len() > 1));
    dispute.clone()
}

#[test]
fn a_backup_is_told_what_the_workers_signed_and_from_how_many_traces_on_it_may_resume() {
    let full = told(Resolution::Full, success(2)).unwrap();
    let mut votes = vec![(key(0).public(), digest(2)), (key(1).public(), digest(1))];
    votes.sort();
    assert_eq!((full.round, &full.votes, full.resume_from), (Round(1), &votes, None));
    let resumed = told(Resolution::Resume, success(2)).unwrap();
    assert_eq!((resumed.votes, resumed.resume_from), (votes, Some(2)));
    let failure = Outcome::Failure { reason: parallax_rounds::FailureReason::Unavailable };
    let alone = told(Resolution::Resume, failure).unwrap();
    assert_eq!(alone.votes, [(key(1).public(), digest(1))], "a failure is no vote and has no trace");
}

#[test]
fn a_worker_compares_traces_too_and_has_nothing_else_to_do() {
    let mut net = Net::new();
    let mut w = net.worker(0);
    let signed = net.signed(1, vec![digest(1)]);
    let _ = w.apply(net.announce(&signed));
    let _ = w.apply(arrived(&signed));
    let _ = w.apply(executed(&signed, 2));
    net.commit(1, success(1));
    net.commit(0, success(2));
    assert_eq!(words(&w.apply(net.next())), ["compare"]);
}

#[test]
fn a_backup_follows_a_clean_round_by_fetching_the_accepted_result() {
    let mut net = Net::new();
    let mut w = net.worker(2);
    let signed = net.signed(1, vec![digest(1)]);
    let _ = w.apply(net.announce(&signed));
    let _ = w.apply(arrived(&signed));
    net.commit(1, success(1));
    net.commit(0, success(1));
    assert_eq!(words(&w.apply(net.next())), ["cancel", "commit state"]);
    assert_eq!(words(&w.apply(WorkerEvent::ResultMissing { round: Round(1) })), ["fetch result"]);
    assert_eq!(words(&w.apply(WorkerEvent::FetchFailed { round: Round(1) })), [""; 0], "not at once");
    assert_eq!(words(&w.apply(net.next())), ["commit state"], "again at the next block");
    let _ = w.apply(WorkerEvent::Applied { round: Round(1) });
    assert_eq!(w.applied(), Round(1));
    assert_eq!(w.status().name(), "waiting-for-batch");
}

/// The chain after three clean rounds, and a worker that has committed none of them and keeps results so long.
fn three_rounds_behind(retention_rounds: u64) -> (Net, WorkerState) {
    let mut net = Net::new();
    for round in 1..4 {
        let scheduler = if round % 2 == 1 { 1 } else { 0 };
        let signed = net.signed(scheduler, vec![digest(round)]);
        net.announce(&signed);
        net.commit(scheduler, success(round));
        net.commit(1 - scheduler, success(round));
        net.next();
    }
    let config = WorkerConfig { retention_rounds, ..net.config(0) };
    (net, WorkerState::restore(config, Round(0), vec![]))
}

#[test]
fn states_are_committed_one_round_after_the_other_before_anything_is_executed() {
    let (net, mut w) = three_rounds_behind(3);
    let step = w.apply(net.view());
    assert_eq!(step.then.last(), Some(&Action::CommitState { round: Round(1) }));
    for round in 1..3 {
        let step = w.apply(WorkerEvent::Applied { round: Round(round) });
        assert_eq!(step.then, [Action::CommitState { round: Round(round + 1) }]);
    }
    assert_eq!(words(&w.apply(work())), [""; 0]);
    assert_eq!(words(&w.apply(WorkerEvent::Applied { round: Round(3) })), ["plan"], "now it schedules round 4");
}

#[test]
fn a_node_that_is_further_behind_than_results_are_kept_takes_the_whole_state_after_the_last_round() {
    let (mut net, mut w) = three_rounds_behind(2);
    // What this node holds leads on as far as it does, then what a peer may still hold: one that is behind itself keeps
    // what it has not applied.
    let (pruned, first) = (Action::Prune { before: Round(1) }, Action::CommitState { round: Round(1) });
    assert_eq!(w.apply(net.view()).then, [pruned, first.clone()]);
    let missing = WorkerEvent::ResultMissing { round: Round(1) };
    let failed = |round| WorkerEvent::FetchFailed { round: Round(round) };
    assert_eq!(w.apply(missing.clone()).then, [Action::FetchResult { round: Round(1) }]);
    assert_eq!(w.apply(failed(1)).then, [Action::FetchState { round: Round(3) }], "round 1 need not be kept any more");
    assert_eq!(words(&w.apply(work())), [""; 0]);
    assert_eq!(words(&w.apply(failed(3))), [""; 0], "not at once");
    assert_eq!(w.apply(net.next()).then, [first], "again at the next block");
    assert_eq!(words(&w.apply(missing)), ["fetch result"]);
    assert_eq!(words(&w.apply(failed(1))), ["fetch state"]);
    assert_eq!(words(&w.apply(WorkerEvent::Applied { round: Round(3) })), ["plan"], "now it schedules round 4");
    assert_eq!(w.applied(), Round(3));
}

#[test]
fn a_node_that_is_behind_keeps_what_it_has_not_applied_and_waits_for_results_that_peers_still_keep() {
    let (net, mut w) = three_rounds_behind(2);
    let _ = w.apply(net.view());
    // It held the result of round 1 itself, perhaps as the only one.
    assert_eq!(w.apply(WorkerEvent::Applied { round: Round(1) }).then, [Action::CommitState { round: Round(2) }]);
    let missing = WorkerEvent::ResultMissing { round: Round(2) };
    assert_eq!(w.apply(missing).then, [Action::FetchResult { round: Round(2) }]);
    assert_eq!(words(&w.apply(WorkerEvent::FetchFailed { round: Round(2) })), [""; 0], "round 4 is under way");
}

#[test]
fn a_vote_survives_a_crash_and_a_second_execution_cannot_change_it() {
    let mut net = Net::new();
    let signed = net.signed(1, vec![digest(1)]);
    let block = net.announce(&signed);
    let mut w = net.worker(0);
    let _ = w.apply(block.clone());
    let _ = w.apply(arrived(&signed));
    let step = w.apply(executed(&signed, 1));
    let first = committed(&step);

    // Crash after the write, before the submission.
    let mut w = WorkerState::restore(net.config(0), Round(0), step.persist);
    let again = w.apply(block.clone());
    assert_eq!(words(&again), ["commit"]);
    assert_eq!(committed(&again), first, "bit for bit");
    assert_eq!(words(&w.apply(arrived(&signed))), [""; 0]);
    assert_eq!(words(&w.apply(executed(&signed, 2))), [""; 0], "no second vote, whatever comes out");

    // Crash before the write: nothing was sent, so voting anew is honest.
    let mut w = WorkerState::restore(net.config(0), Round(0), vec![]);
    assert_eq!(words(&w.apply(block)), ["fetch batch"]);
    let _ = w.apply(arrived(&signed));
    assert_eq!(committed(&w.apply(executed(&signed, 1))), first);
}

#[test]
fn a_proposal_survives_a_crash_and_no_second_one_is_signed_for_its_round() {
    let mut net = Net::new();
    let mut w = net.worker(1);
    let _ = w.apply(net.view());
    let _ = w.apply(work());
    let batch = Some((vec![digest(1)], Gas(20)));
    let step = w.apply(WorkerEvent::Planned { round: Round(1), batch });
    let mine = proposed(&step);

    let mut w = WorkerState::restore(net.config(1), Round(0), step.persist);
    let step = w.apply(net.next());
    assert_eq!(words(&step), ["publish", "announce", "fetch batch"]);
    assert_eq!(step.then[1], Action::SubmitAnnounce(mine));
    assert_eq!(words(&w.apply(work())), [""; 0]);
    let other = Some((vec![digest(2)], Gas(20)));
    assert_eq!(words(&w.apply(WorkerEvent::Planned { round: Round(1), batch: other })), [""; 0]);
}

#[test]
fn hostile_proposals_are_ignored() {
    let net = Net::new();
    let mut w = net.worker(0);
    let _ = w.apply(net.view());
    let good = net.signed(1, vec![digest(1)]);
    let sign = |proposal, n| SignedProposal::sign(proposal, CHAIN, net.state.paratime(), &key(n));
    let many = vec![digest(1); limits::MAX_BATCH_TXS + 1];
    let bad = [
        ("a false root", sign(Proposal { batch_root: digest(5), ..good.proposal.clone() }, 1)),
        ("a false rank", sign(Proposal { rank: 1, ..good.proposal.clone() }, 1)),
        ("a backup", net.signed(2, vec![digest(1)])),
        ("another signer", sign(good.proposal.clone(), 2)),
        ("a far round", sign(Proposal { round: Round(9), ..good.proposal.clone() }, 1)),
        ("too much gas", sign(Proposal { gas: Gas(101), ..good.proposal.clone() }, 1)),
        (
            "too many",
            sign(Proposal { batch_root: merkle::root(&many), transactions: many, ..good.proposal.clone() }, 1),
        ),
        ("another parent", sign(Proposal { previous_hash: digest(4), round: Round(1), ..good.proposal.clone() }, 1)),
    ];
    for (what, signed) in bad {
        assert_eq!(words(&w.clone().apply(WorkerEvent::ProposalReceived(signed))), [""; 0], "{what}");
    }
    assert_eq!(words(&w.apply(WorkerEvent::ProposalReceived(good))), ["fetch batch"]);
}

#[test]
fn a_proposal_for_the_next_round_waits_until_this_node_has_caught_up() {
    let mut net = Net::new();
    let mut w = net.worker(1);
    let _ = w.apply(net.view());
    let first = net.signed(1, vec![digest(1)]);
    net.announce(&first);
    net.commit(1, success(1));
    net.commit(0, success(1));
    let block = net.next();
    let second = net.signed(0, vec![digest(2)]);
    assert_eq!(words(&w.apply(WorkerEvent::ProposalReceived(second.clone()))), [""; 0]);
    let _ = w.apply(block);
    assert_eq!(words(&w.apply(WorkerEvent::Applied { round: Round(1) })), ["fetch batch"]);
}

#[test]
fn an_invalid_batch_gives_a_failure_vote_a_fault_of_this_machine_silence() {
    let mut net = Net::new();
    let signed = net.signed(1, vec![digest(1)]);
    let block = net.announce(&signed);
    let abort = |w: &mut WorkerState, abort| {
        let _ = w.apply(block.clone());
        let _ = w.apply(arrived(&signed));
        w.apply(WorkerEvent::Aborted { proposal: signed.proposal.digest(), abort })
    };
    let step = abort(&mut net.worker(0), Abort::InvalidBatch("gas".to_owned()));
    assert_eq!(words(&step), ["remember vote", "commit"]);
    let expected = Outcome::Failure { reason: FailureReason::InvalidBatch };
    assert_eq!(committed(&step).commitment.outcome, expected);
    let mut w = net.worker(0);
    assert_eq!(words(&abort(&mut w, Abort::Local("disk".to_owned()))), [""; 0]);
    assert_eq!(words(&w.apply(net.next())), [""; 0], "and it does not try the same batch for ever");
    let mut scheduler = net.worker(1);
    assert_eq!(words(&abort(&mut scheduler, Abort::InvalidBatch("gas".to_owned()))), [""; 0]);
}

#[test]
fn a_later_rank_lets_the_earlier_ones_go_first_and_then_schedules() {
    let mut net = Net::new();
    let mut w = net.worker(0);
    let _ = w.apply(net.view());
    let _ = w.apply(work());
    let mut planned_at = None;
    while planned_at.is_none() {
        let step = w.apply(net.next());
        planned_at = (words(&step) == ["plan"]).then_some(net.height);
    }
    assert_eq!(planned_at, Some(Height(5)), "work was seen at height 1, rank 0 had four blocks");
}

#[test]
fn an_idle_round_is_kept_alive_with_an_empty_batch_and_only_then() {
    let mut net = Net::new();
    let mut w = net.worker(1);
    let _ = w.apply(net.view());
    let mut step = Step::default();
    while words(&step) != ["plan"] {
        assert!(net.height < Height(40), "the round would fail");
        step = w.apply(net.next());
    }
    assert_eq!(net.height, Height(31), "rank 0 has the last 2 x 4 blocks before the longest interval");
    let step = w.apply(WorkerEvent::Planned { round: Round(1), batch: Some((vec![], Gas::ZERO)) });
    assert_eq!(words(&step), ["remember proposal", "publish", "announce", "fetch batch"]);

    let mut early = net.worker(1);
    let mut net = Net::new();
    let _ = early.apply(net.next());
    let _ = early.apply(work());
    let step = early.apply(WorkerEvent::Planned { round: Round(1), batch: Some((vec![], Gas::ZERO)) });
    assert_eq!(words(&step), [""; 0], "nothing of the pool fits: no empty round for that");
}

#[test]
fn queued_work_that_waits_for_a_later_round_gets_the_empty_round_before_it() {
    let mut net = Net::new();
    let mut w = net.worker(1);
    let _ = w.apply(net.next());
    let queued = Work { waiting: true, queued: true, full: true };
    assert_eq!(words(&w.apply(WorkerEvent::Work(queued))), ["plan"]);
    let step = w.apply(WorkerEvent::Planned { round: Round(1), batch: Some((vec![], Gas::ZERO)) });
    assert_eq!(words(&step), ["remember proposal", "publish", "announce", "fetch batch"]);
}

#[test]
fn nothing_is_executed_before_the_anchor_header_is_final() {
    let mut net = Net::new();
    net.height = Height(0);
    let mut w = net.worker(0);
    let _ = w.apply(net.view());
    let signed = net.signed(1, vec![digest(1)]);
    let _ = w.apply(WorkerEvent::ProposalReceived(signed.clone()));
    assert_eq!(words(&w.apply(arrived(&signed))), [""; 0]);
    let step = w.apply(net.next());
    assert_eq!(words(&step), ["execute"]);
    let Some(Action::StartExecution { context, .. }) = step.then.first() else { panic!("it executes") };
    assert_eq!((context.height, context.anchor, context.round), (Height(0), digest(1), Round(1)));
}

#[test]
fn a_failed_round_moves_neither_the_anchor_height_nor_lets_the_next_one_start_at_once() {
    let mut net = Net::new();
    while net.state.round() == Round(1) {
        net.state.apply(net.height, RoundEvent::Height).unwrap();
        net.height = net.height.next();
    }
    let failed_at = net.state.last_block().height;
    let context = |net: &Net| {
        let WorkerEvent::Block(view) = net.view() else { unreachable!("a view is a block") };
        view.context(CHAIN)
    };
    net.height = failed_at;
    assert_eq!(context(&net), None, "the header after the failed round is not there yet");
    net.height = failed_at.next();
    let context = context(&net).unwrap();
    assert_eq!((context.height, context.round), (Height(0), Round(2)));
    assert_eq!(context.previous_hash, net.state.last_hash());
}

#[test]
fn what_was_signed_is_forgotten_when_its_round_is_over_and_results_after_the_retention_window() {
    let mut net = Net::new();
    let mut w = net.worker(0);
    let mut seen = Vec::new();
    for round in 1..5 {
        let scheduler = usize::from(round % 2 == 1);
        let signed = net.signed(scheduler, vec![digest(round)]);
        let _ = w.apply(net.announce(&signed));
        let _ = w.apply(arrived(&signed));
        let _ = w.apply(executed(&signed, round));
        net.commit(scheduler, success(round));
        net.commit(1 - scheduler, success(round));
        let step = w.apply(net.next());
        assert_eq!(step.persist, [Record::Forget { before: Round(round + 1) }]);
        seen.extend(step.then.iter().filter(|a| matches!(a, Action::Prune { .. })).cloned());
        let _ = w.apply(WorkerEvent::Applied { round: Round(round) });
    }
    assert_eq!(seen.len(), 3);
    assert_eq!(seen.last(), Some(&Action::Prune { before: Round(3) }));
}

/// What may happen to a worker, in any order.
#[derive(Clone, Debug)]
enum Happening {
    Blocks(u8),
    Work(bool),
    Plan(u64),
    Gossip(usize, u64),
    Announce(usize, u64),
    Arrived,
    Executed(u64),
    Aborted(bool),
    Others(u64),
    Applied,
    Crash,
}

fn happening() -> impl proptest::strategy::Strategy<Value = Happening> {
    use proptest::prelude::*;
    prop_oneof![
        (1u8..5).prop_map(Happening::Blocks),
        any::<bool>().prop_map(Happening::Work),
        (0u64..3).prop_map(Happening::Plan),
        (0usize..2, 0u64..3).prop_map(|(n, b)| Happening::Gossip(n, b)),
        (0usize..2, 0u64..3).prop_map(|(n, b)| Happening::Announce(n, b)),
        Just(Happening::Arrived),
        (0u64..3).prop_map(Happening::Executed),
        any::<bool>().prop_map(Happening::Aborted),
        (0u64..3).prop_map(Happening::Others),
        Just(Happening::Applied),
        Just(Happening::Crash),
    ]
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(300))]

    /// Whatever happens, and wherever it crashes, what leaves the node was durable before, and it never signs two
    /// proposals for one round and rank or two commitments for one proposal.
    #[test]
    fn nothing_leaves_that_is_not_durable_and_nothing_is_signed_twice(
        me in 0usize..3,
        happenings in proptest::collection::vec(happening(), 1..60),
    ) {
        let mut net = Net::new();
        let mut w = net.worker(me);
        let mut journal: Vec<Record> = vec![];
        let mut sent: BTreeMap<Digest, SignedCommitment> = BTreeMap::new();
        let mut scheduled: BTreeMap<(Round, u16), SignedProposal> = BTreeMap::new();
        for happening in happenings {
            let current = w.status().proposal().map(|p| p.proposal.digest()).unwrap_or_default();
            let event = match happening {
                Happening::Blocks(n) => {
                    let mut view = net.view();
                    for _ in 0..n {
                        view = net.next();
                    }
                    view
                }
                Happening::Work(waiting) => WorkerEvent::Work(Work { waiting, queued: false, full: false }),
                Happening::Plan(n) => {
                    let batch = Some((vec![digest(n)], Gas(20)));
                    WorkerEvent::Planned { round: net.state.round(), batch }
                }
                Happening::Gossip(n, batch) => WorkerEvent::ProposalReceived(net.signed(n, vec![digest(batch)])),
                Happening::Announce(n, batch) => {
                    let signed = net.signed(n, vec![digest(batch)]);
                    let verified = Verified::<SignedProposal>::check(&net.state, CHAIN, signed);
                    drop(net.state.apply(net.height, RoundEvent::Announcement(verified.unwrap())));
                    net.next()
                }
                Happening::Arrived => WorkerEvent::TransactionsArrived { proposal: current },
                Happening::Executed(n) => {
                    WorkerEvent::Executed { proposal: current, outcome: success(n), messages: vec![] }
                }
                Happening::Aborted(invalid) => {
                    let reason = "on purpose".to_owned();
                    let abort = if invalid { Abort::InvalidBatch(reason) } else { Abort::Local(reason) };
                    WorkerEvent::Aborted { proposal: current, abort }
                }
                Happening::Others(n) => {
                    for other in (0..5).filter(|other| *other != me) {
                        if net.state.live().is_some_and(|live| !live.votes.contains_key(&key(other).public())) {
                            net.try_commit(other, success(n));
                        }
                    }
                    net.next()
                }
                Happening::Applied => WorkerEvent::Applied { round: w.applied().next().min(net.state.last_block().round) },
                Happening::Crash => {
                    w = WorkerState::restore(net.config(me), w.applied(), journal.clone());
                    continue;
                }
            };
            let step = w.apply(event);
            journal.extend(step.persist);
            for action in step.then {
                match action {
                    Action::SubmitCommitment(vote) => {
                        proptest::prop_assert!(journal.contains(&Record::Voted(vote.clone())));
                        let first = sent.entry(vote.commitment.proposal).or_insert_with(|| vote.clone());
                        proptest::prop_assert_eq!(&*first, &vote, "two commitments");
                    }
                    Action::PublishProposal(signed) | Action::SubmitAnnounce(signed) => {
                        proptest::prop_assert!(journal.contains(&Record::Proposed(signed.clone())));
                        let slot = (signed.proposal.round, signed.proposal.rank);
                        let first = scheduled.entry(slot).or_insert_with(|| signed.clone());
                        proptest::prop_assert_eq!(&*first, &signed, "two proposals");
                    }
                    _ => {}
                }
            }
        }
    }
}

fn reported(step: &Step) -> Vec<parallax_primitives::NodeId> {
    step.then
        .iter()
        .filter_map(|action| match action {
            Action::SubmitEvidence(evidence) => Some(evidence.offence().unwrap().node),
            _ => None,
        })
        .collect()
}

#[test]
fn a_second_proposal_of_a_turn_is_reported_once_and_the_first_is_worked_on() {
    let net = Net::new();
    // In round 1 worker 1 is the first choice; worker 0 and a backup watch.
    for n in [0, 3] {
        let mut w = net.worker(n);
        assert_eq!(words(&w.apply(net.view())), [""; 0]);
        let (first, second) = (net.signed(1, vec![digest(1)]), net.signed(1, vec![digest(2)]));
        assert_eq!(words(&w.apply(WorkerEvent::ProposalReceived(first.clone()))), ["fetch batch"]);
        assert_eq!(words(&w.apply(WorkerEvent::ProposalReceived(first.clone()))), [""; 0]);
        let step = w.apply(WorkerEvent::ProposalReceived(second.clone()));
        assert_eq!((words(&step), reported(&step)), (vec!["report"], vec![key(1).public()]));
        assert_eq!(w.status().proposal(), Some(&first));
        let third = net.signed(1, vec![digest(3)]);
        for again in [second, third] {
            assert_eq!(words(&w.apply(WorkerEvent::ProposalReceived(again))), [""; 0]);
        }
    }
}

#[test]
fn a_proposal_in_a_transaction_convicts_who_gossiped_another_and_starts_no_work() {
    let net = Net::new();
    let mut w = net.worker(0);
    let _ = w.apply(net.view());
    let heard = Statement::Proposal(net.signed(1, vec![digest(2)]));
    assert_eq!(words(&w.apply(WorkerEvent::Heard(Box::new(heard)))), [""; 0]);
    let step = w.apply(WorkerEvent::ProposalReceived(net.signed(1, vec![digest(1)])));
    assert_eq!(words(&step), ["report", "fetch batch"]);
}

#[test]
fn two_votes_of_a_node_convict_it_whether_heard_or_on_chain() {
    let mut net = Net::new();
    let proposal = net.signed(1, vec![digest(1)]);
    let announced = net.announce(&proposal);
    let vote = |net: &Net, n: usize, value: u64| {
        let commitment = Commitment {
            node: key(n).public(),
            proposal: proposal.proposal.digest(),
            round: net.state.round(),
            previous_hash: net.state.last_hash(),
            outcome: success(value),
        };
        Statement::Commitment(SignedCommitment::sign(commitment, vec![], CHAIN, net.state.paratime(), &key(n)))
    };
    let mut w = net.worker(0);
    let _ = w.apply(announced);
    for n in [1, 2] {
        assert_eq!(reported(&w.apply(WorkerEvent::Heard(Box::new(vote(&net, n, 1))))), []);
        assert_eq!(reported(&w.apply(WorkerEvent::Heard(Box::new(vote(&net, n, 1))))), []);
        assert_eq!(reported(&w.apply(WorkerEvent::Heard(Box::new(vote(&net, n, 2))))), [key(n).public()]);
    }
    net.commit(3, success(1));
    let next = net.next();
    assert_eq!(reported(&w.apply(next)), []);
    assert_eq!(reported(&w.apply(WorkerEvent::Heard(Box::new(vote(&net, 3, 2))))), [key(3).public()]);
    // What this node signed it signed once; a copy of its key elsewhere is its operator's to find.
    let _ = w.apply(WorkerEvent::Heard(Box::new(vote(&net, 0, 1))));
    assert_eq!(reported(&w.apply(WorkerEvent::Heard(Box::new(vote(&net, 0, 2))))), []);
}
