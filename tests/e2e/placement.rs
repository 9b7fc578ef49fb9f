//! The main job with faults: what a user sees of `parallax localnet demo`.

use crate::{parallax, text, turn};

/// Steps of a worker at which a crash is worst: around what is made durable and what is sent.
const STEPS: [&str; 6] = [
    "before-persist",
    "after-persist",
    "after-publish-proposal",
    "after-store-result",
    "before-submit-commitment",
    "after-commit-state",
];

/// A step chosen by a seed: `PARALLAX_SEED`, or 1.
fn seeded_step() -> (u64, &'static str) {
    let seed = std::env::var("PARALLAX_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    (seed, STEPS[(seed % STEPS.len() as u64) as usize])
}

#[test]
fn jobs_are_placed_right_though_a_worker_and_a_validator_are_killed() {
    let _turn = turn();
    let (seed, step) = seeded_step();
    let dir = tempfile::tempdir().unwrap();
    let fault = format!("compute-0=crash-at={step}");
    let output = parallax(
        dir.path(),
        &["localnet", "demo", "--dir", "net", "--fault", &fault, "--kill", "validator-2", "--kill", "compute-1"],
    );
    let shown = format!("PARALLAX_SEED={seed} ({step})\n{}", text(&output));
    assert!(output.status.success(), "{shown}");
    assert!(shown.contains("3 jobs, 3 placed") && shown.contains("3 of 3 equal to the reference"), "{shown}");
    assert!(shown.contains("compute-0 died"), "the crash point was never reached: {shown}");
    assert!(shown.contains("validator-2 died") && shown.contains("compute-1 died"), "{shown}");
    assert!(!shown.contains("staking.slashed"), "nobody was dishonest: {shown}");
    assert!(shown.contains("ledger root at") && shown.contains("on all 9 nodes"), "{shown}");
    assert!(shown.contains("scheduler root at") && shown.contains("on all 5 nodes"), "{shown}");
}

#[test]
fn a_worker_that_lies_once_is_outvoted_and_slashed_and_the_placements_are_right() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let output = parallax(dir.path(), &["localnet", "demo", "--dir", "net", "--fault", "compute-1=wrong-root"]);
    let shown = text(&output);
    assert!(output.status.success(), "{shown}");
    assert!(shown.contains("3 jobs, 3 placed") && shown.contains("3 of 3 equal to the reference"), "{shown}");
    let discrepancy = shown.lines().find(|l| l.contains("rounds.discrepancy"));
    assert!(discrepancy.is_some(), "{shown}");
    assert!(!shown.contains("rounds.failed"), "the backups agree with the scheduler: no round fails: {shown}");
    let slashed: Vec<&str> = shown.lines().filter(|l| l.contains("staking.slashed")).collect();
    assert_eq!(slashed.len(), 1, "{shown}");
    assert!(slashed[0].contains("the entity of compute-1"), "{shown}");
    let stake = shown.lines().find(|l| l.starts_with("stake of compute-1:"));
    assert_eq!(stake, Some("stake of compute-1: 1000000 before, 900000 after"), "{shown}");
}

#[test]
fn a_malformed_csv_names_file_line_and_column_and_starts_nothing() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("hosts.csv"), "sn,cpu_milli,memory_mib,gpu,model\na,1000,4096,0,\nb,many,4096,0,\n")
        .unwrap();
    std::fs::write(dir.path().join("pods.csv"), "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec\np,1,1,0,0,\n")
        .unwrap();
    let args = ["localnet", "demo", "--dir", "net", "--hosts", "hosts.csv", "--pods", "pods.csv", "--hosts-count", "2"];
    let output = parallax(dir.path(), &args);
    let shown = text(&output);
    assert!(!output.status.success(), "{shown}");
    assert!(shown.contains("hosts.csv, line 3, column cpu_milli"), "{shown}");
    assert!(!dir.path().join("net").exists(), "nothing is started for input that cannot be used");
}
