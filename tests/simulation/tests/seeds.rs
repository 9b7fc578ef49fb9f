//! Two hundred seeds: no property is broken, and each kind of trouble really came.

use parallax_simulation::{Byzantine, Coverage, CrashStep, Report, Where, run};
use std::sync::{Mutex, PoisonError};

/// The seeds of the default tests.
const SEEDS: std::ops::Range<u64> = 0..200;

/// Runs seeds on as many threads as the machine has cores; the order of the reports is that of the seeds.
fn run_all(seeds: std::ops::Range<u64>) -> Vec<Report> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let (left, done) = (Mutex::new(seeds), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let Some(seed) = left.lock().unwrap_or_else(PoisonError::into_inner).next() else { return };
                    let report = run(seed, false);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push(report);
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|report| report.seed);
    done
}

#[test]
fn no_property_is_broken_and_every_kind_of_trouble_came() {
    let reports = run_all(SEEDS);
    let broken: Vec<String> = reports
        .iter()
        .flat_map(|r| r.violations.iter().map(|v| format!("seed {}: {}: {}", r.seed, v.checker, v.what)))
        .collect();
    assert!(broken.is_empty(), "see each with `parallax-sim --seed N`:\n{}", broken.join("\n"));
    let mut all = Coverage::new();
    for (what, count) in reports.iter().flat_map(|r| &r.coverage) {
        *all.entry(what.clone()).or_default() += count;
    }
    let mut wanted: Vec<String> = [
        "announced by a later rank",
        "assumption broken",
        "batch fetched",
        "charged backup-absent",
        "charged batch-refused",
        "charged failure",
        "charged no-proposal",
        "charged scheduler-silent",
        "charged worker-absent",
        "charged wrong-result",
        "ciphertext fetched",
        "crash disk",
        "crash killed",
        "discrepancy failures",
        "discrepancy timeout",
        "discrepancy votes",
        "disk fault CrashAfter",
        "disk fault CrashBefore",
        "disk fault FailAfter",
        "disk fault FailBefore",
        "epoch transition while idle",
        "execution refused",
        "execution resumed",
        "failed failures",
        "failed no-backups",
        "failed no-majority",
        "failed no-proposal",
        "failed scheduler-wrong",
        "failed timeout",
        "finalized after a discrepancy",
        "finalized clean",
        "message cut off",
        "message doubled",
        "message lost",
        "operation named",
        "peer lied about a batch",
        "peer lied about a trace",
        "peer lied about a result",
        "peer sent a corrupt ciphertext",
        "proposal dropped",
        "result fetched",
        "slashed wrong-result",
        "state fetched",
        "suspended",
        "transaction cut off",
    ]
    .map(str::to_owned)
    .to_vec();
    wanted.extend(Byzantine::ALL.map(|kind| format!("attack {kind}")));
    let missing: Vec<String> = wanted.into_iter().filter(|what| !all.contains_key(what)).collect();
    assert!(missing.is_empty(), "these never happened in {SEEDS:?}: {missing:?}");
    // Some steps are rare (traces are compared only in a dispute), so one side of each is enough.
    let crashed = |step: CrashStep, place: Where| all.contains_key(&format!("crash {place} {step}"));
    let spared: Vec<&str> = CrashStep::ALL
        .into_iter()
        .filter(|step| !crashed(*step, Where::Before) && !crashed(*step, Where::After))
        .map(CrashStep::name)
        .collect();
    assert!(spared.is_empty(), "no node crashed at these steps in {SEEDS:?}: {spared:?}");
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in [3, 11, 42] {
        let (first, second) = (run(seed, true), run(seed, false));
        assert_eq!((first.audit, &first.coverage), (second.audit, &second.coverage), "seed {seed}");
        assert!(!first.transcript.is_empty() && second.transcript.is_empty());
    }
    assert_ne!(run(1, false).audit, run(2, false).audit);
}
