//! Two workers and three backups on a toy chain, all in one process.

use super::testing::*;
use super::*;
use crate::fault::{CrashPoints, Fault, FaultKind};
use crate::seams::PeerResponse;
use parallax_rounds::{BlockKind, ChargeReason, DiscrepancyCause, Effect, FailReason};

fn transactions(n: u8) -> Vec<Vec<u8>> {
    (0..n).map(|i| vec![i; 40]).collect()
}

fn fault(text: &str) -> Fault {
    text.parse().unwrap()
}

fn crash_at(place: Where, step: CrashStep) -> Fault {
    FaultKind::CrashAt(CrashPoints::one(place, step)).into()
}

/// Submits, runs until everything is executed everywhere, and compares the states.
async fn run(network: &mut Network, all: &[Vec<u8>]) {
    for tx in all {
        network.submit(tx);
    }
    network.until_pools_are_empty().await;
    network.check_states(all);
}

#[tokio::test]
async fn honest_nodes_execute_everything_in_clean_rounds_and_all_states_agree() {
    let mut network = Network::new(&[]);
    let all = transactions(8);
    run(&mut network, &all).await;
    let chain = lock(&network.chain);
    assert_eq!(chain.count(|e| matches!(e, Effect::Finalize(done) if !done.discrepancy)), 3, "three a batch");
    assert_eq!(chain.count(|e| matches!(e, Effect::Fail { .. } | Effect::Discrepancy { .. })), 0);
    assert_eq!(chain.slashed(), []);
}

#[tokio::test]
async fn a_lying_worker_is_outvoted_slashed_and_follows_the_accepted_state() {
    for liar in [0, 1] {
        let mut network = Network::new(&[(liar, FaultKind::WrongRoot.into())]);
        let all = transactions(8);
        run(&mut network, &all).await;
        let chain = lock(&network.chain);
        assert_eq!(chain.slashed(), [key(liar).public()], "it lies once");
        assert_eq!(chain.count(|e| matches!(e, Effect::Finalize(done) if done.discrepancy)), 1);
        assert_eq!(chain.count(|e| matches!(e, Effect::Fail { .. })), 0, "no failed round");
    }
}

#[tokio::test]
async fn a_lying_scheduler_fails_its_round_and_the_next_one_executes_its_transactions() {
    let mut network = Network::new(&[(1, FaultKind::WrongRootScheduler.into())]);
    let all = transactions(4);
    run(&mut network, &all).await;
    let chain = lock(&network.chain);
    assert_eq!(chain.slashed(), [key(1).public()]);
    assert_eq!(chain.count(|e| matches!(e, Effect::Fail { reason: FailReason::SchedulerWrong, .. })), 1);
    assert_eq!(chain.blocks[&Round(1)].kind, BlockKind::RoundFailed);
}

#[tokio::test]
async fn a_silent_node_costs_time_and_liveness_and_no_result() {
    let mut network = Network::new(&[(1, FaultKind::Silent.into())]);
    let all = transactions(2);
    run(&mut network, &all).await;
    let chain = lock(&network.chain);
    let me = key(1).public();
    // In round 1 it is the scheduler: the next rank takes over and the backups stand in for its vote.
    let charged = |wanted| chain.count(|e| *e == Effect::ChargeLiveness { node: me, reason: wanted });
    assert_eq!(charged(ChargeReason::SchedulerSilent), 1);
    assert_eq!(charged(ChargeReason::WorkerAbsent), 1);
    assert_eq!(chain.slashed(), []);
    assert_eq!(chain.blocks[&Round(1)].kind, BlockKind::Normal, "no failed round");
}

#[tokio::test]
async fn a_worker_that_votes_failure_is_outvoted_without_a_timeout_or_a_slash() {
    let mut network = Network::new(&[(0, fault("failure@1"))]);
    let all = transactions(2);
    run(&mut network, &all).await;
    let chain = lock(&network.chain);
    let reason = ChargeReason::Failure;
    assert_eq!(chain.count(|e| *e == Effect::ChargeLiveness { node: key(0).public(), reason }), 1);
    assert_eq!(chain.slashed(), []);
    assert_eq!(chain.count(|e| matches!(e, Effect::Fail { .. })), 0);
}

/// What a network of five comes to with these faults: in round 1 node 1 has rank 0, node 0 rank 1.
async fn with(faults: &[(usize, &str)]) -> Network {
    let faults: Vec<_> = faults.iter().map(|(n, text)| (*n, fault(text))).collect();
    let mut network = Network::new(&faults);
    run(&mut network, &transactions(5)).await;
    network
}

fn charges(chain: &Chain) -> Vec<(usize, ChargeReason)> {
    let node = |id: &NodeId| (0..5).find(|n| key(*n).public() == *id).unwrap();
    let mut all: Vec<_> = chain
        .effects
        .iter()
        .filter_map(|e| match e {
            Effect::ChargeLiveness { node: id, reason } => Some((node(id), *reason)),
            _ => None,
        })
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn discrepancies(chain: &Chain) -> Vec<DiscrepancyCause> {
    let cause = |e: &Effect| match e {
        Effect::Discrepancy { cause, .. } => Some(*cause),
        _ => None,
    };
    chain.effects.iter().filter_map(cause).collect()
}

fn dropped(chain: &Chain) -> usize {
    chain.count(|e| matches!(e, Effect::ProposalDropped { .. }))
}

#[tokio::test]
async fn a_runaway_or_a_scheduler_of_bogus_transactions_loses_its_turn_and_nothing_else() {
    for kind in ["runaway@1", "bogus-transactions@1"] {
        let network = with(&[(1, kind)]).await;
        let chain = lock(&network.chain);
        assert_eq!(dropped(&chain), 1, "{kind}");
        assert_eq!(charges(&chain), [(1, ChargeReason::SchedulerSilent)], "{kind}");
        assert_eq!((chain.slashed(), discrepancies(&chain)), (vec![], vec![]), "{kind}");
        assert_eq!(chain.blocks[&Round(1)].kind, BlockKind::Normal, "{kind}: the next rank schedules");
    }
}

#[tokio::test]
async fn a_proposal_with_another_batch_root_never_goes_live() {
    let network = with(&[(1, "invalid-batch-root@1")]).await;
    let chain = lock(&network.chain);
    let ranks = |e: &Effect| matches!(e, Effect::Announced { rank: 1, .. });
    assert_eq!((dropped(&chain), chain.count(ranks)), (0, 1), "the next rank schedules");
    assert_eq!(chain.blocks[&Round(1)].kind, BlockKind::Normal);
    assert_eq!(chain.slashed(), []);
}

#[tokio::test]
async fn a_straggler_costs_a_timeout_as_a_worker_and_its_turn_as_the_scheduler() {
    let network = with(&[(0, "straggler@1")]).await;
    {
        let chain = lock(&network.chain);
        assert_eq!(discrepancies(&chain), [DiscrepancyCause::Timeout]);
        assert_eq!(charges(&chain), [(0, ChargeReason::WorkerAbsent)]);
    }
    let network = with(&[(1, "straggler@1")]).await;
    let chain = lock(&network.chain);
    assert_eq!(discrepancies(&chain), [DiscrepancyCause::Timeout], "late as the scheduler, and then as a worker");
    assert_eq!(charges(&chain), [(1, ChargeReason::SchedulerSilent), (1, ChargeReason::WorkerAbsent)]);
    assert_eq!((chain.slashed(), chain.blocks[&Round(1)].kind), (vec![], BlockKind::Normal));
}

#[tokio::test]
async fn a_schedulers_failure_is_refused_and_costs_its_turn() {
    let network = with(&[(1, "failure@1")]).await;
    let chain = lock(&network.chain);
    assert_eq!(dropped(&chain), 1);
    assert_eq!(discrepancies(&chain), [DiscrepancyCause::Failures], "it fails at the next rank's batch too");
    assert_eq!(charges(&chain), [(1, ChargeReason::SchedulerSilent), (1, ChargeReason::Failure)]);
    assert_eq!((chain.slashed(), chain.blocks[&Round(1)].kind), (vec![], BlockKind::Normal));
}

#[tokio::test]
async fn a_backups_vote_that_is_made_up_is_outvoted_and_slashed_even_when_it_comes_early() {
    let network = with(&[(0, "failure@1"), (3, "wrong-root-backup@1")]).await;
    let chain = lock(&network.chain);
    assert_eq!(chain.slashed(), [key(3).public()]);
    assert_eq!(charges(&chain), [(0, ChargeReason::Failure)]);
    assert_eq!(chain.blocks[&Round(1)].kind, BlockKind::Normal);
}

#[tokio::test]
async fn two_liars_agree_on_nothing_and_both_are_slashed() {
    let network = with(&[(0, "wrong-root@1"), (3, "wrong-root-backup@1")]).await;
    let chain = lock(&network.chain);
    let mut slashed = chain.slashed();
    slashed.sort_unstable();
    let mut liars = vec![key(0).public(), key(3).public()];
    liars.sort_unstable();
    assert_eq!(slashed, liars);
    assert_eq!(discrepancies(&chain), [DiscrepancyCause::Votes]);
}

#[tokio::test]
async fn a_rank_that_announces_before_its_window_gains_nothing() {
    let network = with(&[(0, "preempt"), (1, "preempt")]).await;
    let chain = lock(&network.chain);
    assert_eq!(chain.count(|e| matches!(e, Effect::Announced { rank: 1, .. })), 0, "refused until its window");
    assert!(chain.effects.iter().all(|e| !matches!(e, Effect::Fail { .. })));
    assert_eq!(charges(&chain), []);
}

#[tokio::test]
async fn another_batch_in_gossip_than_on_chain_makes_nobody_wrong() {
    for kind in ["equivocate-batches@1", "equivocate-proposal@1"] {
        let network = with(&[(1, kind)]).await;
        let chain = lock(&network.chain);
        assert_eq!((chain.slashed(), discrepancies(&chain)), (vec![], vec![]), "{kind}");
        assert_eq!(chain.blocks[&Round(1)].kind, BlockKind::Normal, "{kind}");
        let reported: Vec<_> = chain.reported.iter().map(|e| e.verify(CHAIN, paratime()).unwrap().node).collect();
        assert!(!reported.is_empty() && reported.iter().all(|n| *n == key(1).public()), "{kind}: {reported:?}");
    }
}

#[tokio::test]
async fn a_corrupt_ciphertext_from_a_peer_is_detected_and_fetched_elsewhere() {
    let mut network = Network::new(&[]);
    // The first peer that every backup asks.
    *lock(&network.wire.corrupt) = Some(key(0).public());
    let all = transactions(3);
    run(&mut network, &all).await;
    assert_eq!(lock(&network.chain).count(|e| matches!(e, Effect::Discrepancy { .. })), 0);
}

/// A network whose last node is switched off until nobody keeps the results of the first rounds, and comes back.
async fn with_one_away(fault: Option<Fault>) -> (Network, Vec<Vec<u8>>) {
    let faults: Vec<_> = fault.into_iter().map(|fault| (4, fault)).collect();
    let mut network = Network::new(&faults);
    network.away = Some(4);
    let all = transactions(13);
    for tx in &all {
        network.submit(tx);
    }
    // What was executed without it is of no use in its pool either.
    lock(&network.nodes[4].pool.0).clear();
    network.until_pools_are_empty().await;
    assert_eq!(network.applied(4), Some(Round(0)));
    network.away = None;
    (network, all)
}

#[tokio::test]
async fn a_node_that_was_away_for_longer_than_results_are_kept_takes_the_state_from_a_peer() {
    let crashes = [Where::Before, Where::After].map(|place| Some(crash_at(place, CrashStep::FetchState)));
    for fault in [None].into_iter().chain(crashes) {
        let (mut network, all) = with_one_away(fault).await;
        let last = lock(&network.chain).state.last_block().round;
        assert!(last >= Round(5), "two rounds are kept");
        network.until_applied(last.0).await;
        // An end after the step is seen only now.
        for _ in 0..1_000 {
            if network.nodes[4].crashes == usize::from(fault.is_some()) {
                break;
            }
            network.tick().await;
        }
        assert_eq!(network.nodes[4].crashes, usize::from(fault.is_some()));
        network.until_applied(last.0).await;
        network.check_states(&all);
        let skipped = network.results(4).snapshot(Round(1)).unwrap_err();
        assert!(matches!(skipped, StateError::UnknownVersion { .. }), "it has the last state, not each before it");
    }
}

#[tokio::test]
async fn a_false_state_or_ciphertext_from_a_peer_is_refused_and_fetched_elsewhere() {
    let (mut network, all) = with_one_away(None).await;
    // The first peer of all gives another state; the second, which is asked then, corrupt ciphertexts.
    let first = key(0).public();
    *lock(&network.wire.corrupt) = Some(key(1).public());
    let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    *lock(&network.wire.tamper) = Some(Arc::new(move |peer, _, answer| match answer {
        PeerResponse::State(Some(mut part)) if peer == first => {
            count.fetch_add(1, Ordering::SeqCst);
            part.values.pop();
            Some(PeerResponse::State(Some(part)))
        }
        other => Some(other),
    }));
    let last = lock(&network.chain).state.last_block().round;
    network.until_applied(last.0).await;
    network.check_states(&all);
    assert_eq!(asked.load(Ordering::SeqCst), 1, "it lied, and the next peer was asked");
}

/// Every node crashes once before or after this step; then everything must still end right.
async fn crash_everyone_at(place: Where, step: CrashStep) -> usize {
    let faults: Vec<_> = (0..5).map(|n| (n, crash_at(place, step))).collect();
    let mut network = Network::new(&faults);
    let all = transactions(11);
    run(&mut network, &all).await;
    let rounds = lock(&network.chain).state.last_block().round.0;
    network.until_applied(rounds).await;
    network.check_states(&all);
    let chain = lock(&network.chain);
    assert_eq!(chain.slashed(), [], "{place}-{step}: a crash is no lie");
    assert_eq!(chain.reported, [], "{place}-{step}: nor does it contradict itself");
    assert_eq!(chain.count(|e| matches!(e, Effect::Fail { .. })), 0, "{place}-{step}: no round is lost");
    network.nodes.iter().map(|node| node.crashes).sum()
}

#[tokio::test]
async fn a_crash_of_every_node_at_any_step_loses_nothing_and_makes_nobody_an_equivocator() {
    for step in CrashStep::ALL {
        for place in [Where::Before, Where::After] {
            let crashes = crash_everyone_at(place, step).await;
            let least = match step {
                // Backups take no part in clean rounds; only workers schedule and commit.
                CrashStep::Propose | CrashStep::PublishProposal | CrashStep::SubmitAnnounce => 2,
                CrashStep::Persist | CrashStep::StartExecution | CrashStep::StoreResult => 2,
                CrashStep::SubmitCommitment => 2,
                // Nobody differs here, and nobody is away for long.
                CrashStep::CompareTraces | CrashStep::FetchState => 0,
                CrashStep::FetchResult | CrashStep::Cancel => 3,
                CrashStep::FetchTransactions | CrashStep::CommitState | CrashStep::Prune => 5,
            };
            assert!(crashes >= least, "{place}-{step}: {crashes} nodes crashed, at least {least} should");
        }
    }
}

#[tokio::test]
async fn a_node_that_would_vote_otherwise_after_a_crash_sends_its_first_vote_again() {
    for (place, step) in [(Where::After, CrashStep::Persist), (Where::Before, CrashStep::SubmitCommitment)] {
        let mut network = Network::new(&[(0, crash_at(place, step))]);
        network.decays = Some(0);
        let all = transactions(3);
        run(&mut network, &all).await;
        assert_eq!(network.nodes[0].crashes, 1);
        let chain = lock(&network.chain);
        assert_eq!(chain.slashed(), []);
        assert_eq!(chain.count(|e| matches!(e, Effect::Finalize(done) if !done.discrepancy)), 1, "{place}-{step}");
    }
}

#[tokio::test]
async fn a_node_without_genesis_state_is_told_so() {
    let store: Arc<dyn parallax_state::Store> = Arc::new(parallax_memory_store::MemoryStore::new());
    let network = Network::new(&[]);
    let setup = WorkerSetup {
        config: WorkerConfig {
            chain: CHAIN,
            paratime: paratime(),
            key: key(0),
            flush_blocks: 0,
            resubmit_blocks: 1,
            retention_rounds: 1,
        },
        ledger: ToyLedger(Arc::clone(&network.chain)),
        transport: Wire::default(),
        pool: ToyPool::default(),
        runtime: Arc::new(Toy { salt: 0 }),
        fhe: Arc::new(parallax_clear::ClearBackend::new(vec![KEY])),
        database: Database::open(Arc::clone(&store)).unwrap(),
        journal: Arc::new(crate::StoreJournal::open(store, paratime()).unwrap()),
        executor: Executor::new(1).unwrap(),
        crash: Arc::new(crate::NoCrash),
        retry: Duration::from_millis(1),
    };
    let Err(error) = Worker::new(setup) else { panic!("there is no genesis") };
    assert_eq!(error, WorkerError::NoGenesis(paratime()));
}
