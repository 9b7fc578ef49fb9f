//! Every order of every vote: breadth-first over all states of one round with 2 workers and 3 backups.

use crate::testing::*;
use crate::*;
use parallax_primitives::Height;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What each member can say: result 1, result 2, or failure.
fn statements(f: &Fixture) -> Vec<(usize, u64, Verified<SignedCommitment>)> {
    let mut all = Vec::new();
    for n in 0..5 {
        for value in 0..3 {
            let outcome = if value == 0 { FAILURE } else { success(value) };
            let commitment = f.commitment(n, outcome);
            let signed = SignedCommitment::sign(commitment, vec![], f.chain, f.state.paratime(), &f.keys[n]);
            all.push((n, value, Verified::<SignedCommitment>::check(&f.state, f.chain, signed).unwrap()));
        }
    }
    all
}

#[test]
fn in_every_order_of_votes_and_deadlines_the_round_ends_by_the_table() {
    let mut f = Fixture::new(2, 3, 0);
    let scheduler = f.ranked(0);
    f.announce(scheduler).unwrap();
    let statements = statements(&f);
    let round = f.state.round();
    // What was said so far identifies the state together with its bytes.
    let mut seen = BTreeSet::new();
    let mut ends: BTreeMap<String, usize> = BTreeMap::new();
    let mut queue = VecDeque::from([(f.state.clone(), false)]);
    while let Some((state, disputed)) = queue.pop_front() {
        if !seen.insert((state.encode(), disputed)) {
            continue;
        }
        let mut moves: Vec<(Height, RoundEvent)> =
            statements.iter().map(|(_, _, v)| (state.height, RoundEvent::Commitment(v.clone()))).collect();
        moves.push((state.due().unwrap(), RoundEvent::Height));
        for (height, event) in moves {
            let mut next = state.clone();
            let Ok(effects) = next.apply(height, event) else {
                assert_eq!(next, state);
                continue;
            };
            let disputed = disputed || effects.iter().any(|e| matches!(e, Effect::Discrepancy { .. }));
            let Some(end) = effects.iter().find(|e| e.is_terminal()) else {
                // A dropped proposal leads back to a round without one: another test's matter.
                if next.live().is_some() {
                    assert!(!disputed || matches!(next.phase(), Phase::Resolve { .. }), "a discrepancy stays");
                    queue.push_back((next, disputed));
                }
                continue;
            };
            assert_eq!(next.round(), round.next());
            let label = match end {
                Effect::Finalize(done) => {
                    assert_eq!(done.discrepancy, disputed, "a discrepancy never clears inside a round");
                    verify_finalized(&f, scheduler, done);
                    format!("finalized {}", if done.discrepancy { "by backups" } else { "cleanly" })
                }
                Effect::Fail { reason, .. } => format!("failed {reason}"),
                other => panic!("{other:?} ends no round here"),
            };
            *ends.entry(label).or_insert(0) += 1;
        }
    }
    assert!(seen.len() > 500, "{} states were visited", seen.len());
    let reached: Vec<&str> = ends.keys().map(String::as_str).collect();
    assert_eq!(
        reached,
        [
            "failed failures",
            "failed no-majority",
            "failed scheduler-wrong",
            "failed timeout",
            "finalized by backups",
            "finalized cleanly",
        ],
        "every end of the table is reached: {ends:?}"
    );
}

fn verify_finalized(f: &Fixture, scheduler: usize, done: &Finalized) {
    assert!(done.agreed.contains(&f.node(scheduler)));
    let of = |range: std::ops::Range<usize>| range.filter(|n| done.agreed.contains(&f.node(*n))).count();
    match done.discrepancy {
        true => assert!(of(2..5) >= 2),
        false => assert_eq!(of(0..2), 2),
    }
}
