//! Decisions on real ciphertexts against the plaintext reference: about 45 core-seconds of FHE.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types)]

#[path = "../examples/clock/mod.rs"]
mod clock;
#[path = "decisions/engine.rs"]
mod engine;

use clock::core_seconds;
use engine::Real;
use parallax_scheduler::circuit::{Shape, decision_program};
use parallax_scheduler::instances::{Batch, Spent, Step, batch, run};

/// The batch of a seed up to its first decision, and the bootstraps of that.
fn first_decision(seed: u64, most: usize) -> (Batch, u64) {
    let mut batch = batch(seed, most);
    let decision = batch.steps.iter().position(|s| matches!(s, Step::Decide(_))).unwrap();
    batch.steps.truncate(decision + 1);
    let Some(Step::Decide(job)) = batch.steps.last() else { unreachable!("a batch has a decision") };
    let shape = Shape {
        scored: job.policy.is_scored(),
        replication: job.replication,
        flags: job.candidates.iter().map(|i| batch.flags[*i]).collect(),
        zones: job.candidates.iter().map(|i| batch.zones[*i]).collect(),
    };
    let pbs = decision_program(&shape).unwrap().pbs();
    (batch, pbs)
}

/// The first `count` seeds from `from` on whose decision takes at most `limit` bootstraps.
fn check(from: u64, count: usize, most: usize, limit: u64) {
    let begun = core_seconds();
    let mut real = Real::new(2).unwrap();
    let mut spent = Spent::default();
    let seeds = (from..).filter(|seed| first_decision(*seed, most).1 <= limit).take(count);
    for (done, seed) in seeds.enumerate() {
        // Once with everything as clients send it: proofs, and the circuits of reports and requests.
        real.proofs = done == 0;
        let one = run(&first_decision(seed, most).0, &mut real).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        spent.decisions += one.decisions;
        spent.candidates += one.candidates;
        spent.placed += one.placed;
        spent.pbs += one.pbs;
    }
    println!("from seed {from}: {spent:?}, {:.0} core-seconds", core_seconds() - begun);
    assert_eq!(spent.decisions, count as u64);
    assert!(spent.placed > 0, "nothing was placed, so this shows little");
}

#[test]
fn real_fhe_decisions_equal_the_reference_among_few_candidates() {
    check(2, 20, 8, 70);
    check(1_000, 4, 8, 200);
}

#[test]
#[ignore = "25 core-minutes"]
fn real_fhe_decisions_equal_the_reference_among_up_to_sixteen() {
    check(20_000, 200, 16, 1_000);
}
