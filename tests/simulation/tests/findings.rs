//! What seeds have found, as scenarios of their own: a seed is another run after the next change of what is drawn.

use parallax_simulation::{Byzantine, Partition, Report, Scenario, run_scenario};

/// A run without faults but that the last node reaches neither peers nor chain in the time of faults, in which results
/// are kept for two rounds. Seeds 5016 and 5577 had it that way on a network so slow that its questions went unanswered.
fn away_for_long() -> Scenario {
    let mut scenario = (0..).map(Scenario::of).find(|s| s.calm && s.machines.len() > 3 && s.rounds.workers == 2);
    let scenario = scenario.as_mut().expect("some seed is like that");
    scenario.byzantine = Vec::new();
    // Whoever is away may be charged for it.
    scenario.calm = false;
    scenario.dark_epochs = Vec::new();
    scenario.beyond = false;
    scenario.client_ms = 500;
    scenario.retention_rounds = 2;
    let group = 1 << (scenario.machines.len() - 1);
    let until_ms = scenario.quiet_from_ms();
    scenario.partitions = vec![Partition { from_ms: 0, until_ms, group, from_chain: true }];
    scenario.clone()
}

fn is_clean(report: &Report) {
    assert!(report.violations.is_empty(), "{:?}", report.violations);
}

#[test]
fn a_node_that_was_away_for_longer_than_results_are_kept_takes_the_state_and_comes_back() {
    let report = run_scenario(away_for_long(), false);
    is_clean(&report);
    assert_eq!(report.coverage.get("state fetched"), Some(&1), "{:?}", report.coverage);
}

#[test]
fn a_false_state_is_refused_and_the_right_one_taken_from_another_peer() {
    let mut scenario = away_for_long();
    // Asked first, and it still lies when faults have stopped.
    scenario.byzantine = vec![(0, Byzantine::Garbage)];
    scenario.repent = false;
    let lied = (0..20).any(|seed| {
        scenario.seed = seed;
        let report = run_scenario(scenario.clone(), false);
        is_clean(&report);
        report.coverage.contains_key("peer lied about a state") && report.coverage.contains_key("state fetched")
    });
    assert!(lied, "in none of the runs the peer gave a false state");
}

#[test]
fn all_nodes_come_back_when_more_rounds_have_failed_without_them_than_results_are_kept_for() {
    // Nobody has the state after the last round, and each needs only what it holds: seed 275 after the first repair.
    let mut scenario = away_for_long();
    let retention_rounds = 1;
    scenario.retention_rounds = retention_rounds;
    (scenario.rounds.proposer_timeout, scenario.rounds.max_round_interval) = (3, 10);
    scenario.fault_blocks = scenario.fault_blocks.max(150);
    let until_ms = scenario.quiet_from_ms();
    // Also between the votes of a round and the block that finalises it: then only its executors hold its result.
    for from_ms in (0..8).map(|n| until_ms / 2 + n * 250) {
        let groups = 0..scenario.machines.len();
        let cut = groups.map(|n| Partition { from_ms, until_ms, group: 1 << n, from_chain: true });
        scenario.partitions = cut.collect();
        let report = run_scenario(scenario.clone(), false);
        is_clean(&report);
        let failed = report.coverage.get("failed no-proposal").copied().unwrap_or_default();
        assert!(failed > retention_rounds, "{:?}", report.coverage);
    }
}
