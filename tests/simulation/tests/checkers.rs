//! The checkers can fail: each is shown a run that breaks its property. The nodes that do it are Byzantine as in any
//! run; the checkers are not told, or more of them act than the checkers believe.

use parallax_simulation::{Byzantine, Report, Scenario, run_scenario};

/// A calm run of two workers and three backups, in which these nodes misbehave without the checkers knowing it. Nodes 0
/// and 1 are the first workers.
fn secretly(byzantine: &[(usize, Byzantine)]) -> Scenario {
    let mut scenario = (0..).map(Scenario::of).find(|s| s.calm && s.rounds.backups == 3 && s.rounds.workers == 2);
    let scenario = scenario.as_mut().expect("some seed is like that");
    scenario.byzantine = byzantine.to_vec();
    scenario.listed = false;
    scenario.beyond = false;
    scenario.dark_epochs = Vec::new();
    scenario.rounds.slash_from = 1;
    scenario.clone()
}

fn broken(report: &Report) -> Vec<&'static str> {
    report.violations.iter().map(|v| v.checker).collect()
}

#[test]
fn a_run_in_which_all_are_honest_is_clean() {
    let report = run_scenario(secretly(&[]), false);
    assert_eq!(broken(&report), Vec::<&str>::new(), "{:?}", report.violations);
    assert!(report.coverage["finalized clean"] > 5);
}

#[test]
fn slashing_a_node_that_is_held_for_honest_is_found() {
    let report = run_scenario(secretly(&[(1, Byzantine::WrongRoot)]), false);
    assert_eq!(broken(&report).first(), Some(&"slashed"), "{:?}", report.violations);
    assert!(report.violations[0].what.contains("n1 is honest and was slashed"), "{:?}", report.violations);
}

#[test]
fn a_wrong_result_on_which_all_agree_is_found_by_executing_it_again() {
    let all: Vec<(usize, Byzantine)> = (0..8).map(|n| (n, Byzantine::WrongRoot)).collect();
    let report = run_scenario(secretly(&all), false);
    assert_eq!(broken(&report).first(), Some(&"re-execution"), "{:?}", report.violations);
    assert!(report.violations[0].what.contains("state root"), "{:?}", report.violations);
}

#[test]
fn a_wrong_trace_on_which_all_agree_is_found_too() {
    let all: Vec<(usize, Byzantine)> = (0..8).map(|n| (n, Byzantine::WrongTrace)).collect();
    let report = run_scenario(secretly(&all), false);
    assert_eq!(broken(&report).first(), Some(&"re-execution"), "{:?}", report.violations);
    assert!(report.violations[0].what.contains("trace root"), "{:?}", report.violations);
}

#[test]
fn two_votes_of_one_node_are_found() {
    let report = run_scenario(secretly(&[(0, Byzantine::EquivocatingVotes)]), false);
    assert!(broken(&report).contains(&"equivocation"), "{:?}", report.violations);
}

#[test]
fn two_proposals_of_one_node_are_found() {
    let report = run_scenario(secretly(&[(0, Byzantine::EquivocatingProposals)]), false);
    assert!(broken(&report).contains(&"equivocation"), "{:?}", report.violations);
}

#[test]
fn a_charge_of_a_node_that_is_held_for_honest_in_a_calm_run_is_found() {
    let report = run_scenario(secretly(&[(1, Byzantine::Silent)]), false);
    assert_eq!(broken(&report).first(), Some(&"charged"), "{:?}", report.violations);
}

#[test]
fn a_network_that_does_not_come_back_is_found() {
    let all: Vec<(usize, Byzantine)> = (0..8).map(|n| (n, Byzantine::Silent)).collect();
    let mut scenario = secretly(&all);
    scenario.calm = false;
    scenario.repent = false;
    let report = run_scenario(scenario, false);
    assert_eq!(broken(&report), ["convergence"], "{:?}", report.violations);
}

#[test]
fn a_node_that_loses_its_journal_becomes_an_equivocator_and_is_found() {
    // It signs, its announcement is lost, it is killed and signs anew with another batch. A few seeds are tried until
    // one has it that way.
    let found = (0..40).map(Scenario::of).filter(|s| !s.beyond).any(|mut scenario| {
        scenario.byzantine = Vec::new();
        scenario.calm = false;
        scenario.crashes = Vec::new();
        scenario.disks = Vec::new();
        scenario.partitions = Vec::new();
        scenario.client_ms = 400;
        scenario.links.lost_permille = 400;
        (scenario.rounds.proposer_timeout, scenario.rounds.max_round_interval) = (20, 100);
        scenario.forgetful = Some(0);
        scenario.kills = (1..scenario.quiet_from_ms() / 2_300).map(|n| (0, n * 2_300)).collect();
        broken(&run_scenario(scenario, false)).contains(&"equivocation")
    });
    assert!(found, "no seed showed it");
}
