//! Random histories with Byzantine members.

use crate::testing::*;
use crate::*;
use parallax_primitives::{Epoch, Height, Round};
use proptest::prelude::*;

/// What a member may do next; honest ones only ever commit to result 1.
#[derive(Clone, Debug)]
enum Step {
    Announce(usize),
    Commit(usize, u64),
    Blocks(u64),
    EpochEnds,
    Work,
}

fn step(members: usize) -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..members).prop_map(Step::Announce),
        10 => (0..members, 0u64..4).prop_map(|(n, value)| Step::Commit(n, value)),
        4 => (1u64..9).prop_map(Step::Blocks),
        1 => Just(Step::EpochEnds),
        1 => Just(Step::Work),
    ]
}

/// Checks what every effect list must satisfy, given the state before the event.
fn check(before: &RoundState, effects: &[Effect]) {
    let terminal: Vec<_> = effects.iter().filter(|e| e.is_terminal()).collect();
    assert!(terminal.len() <= 1);
    let Some(Effect::Finalize(done)) = terminal.first() else { return };
    let committee = before.committee().unwrap();
    let scheduler = done.proposal.proposal.scheduler;
    assert_eq!(done.commitment.commitment.node, scheduler);
    assert!(done.agreed.contains(&scheduler));
    let workers = committee.workers.iter().filter(|n| done.agreed.contains(n)).count();
    let backups = committee.backups.iter().filter(|n| done.agreed.contains(n)).count();
    let stragglers = usize::from(before.parameters().allowed_stragglers);
    match done.discrepancy {
        false => assert!(workers >= committee.workers.len() - stragglers),
        true => assert!(backups * 2 > committee.backups.len()),
    }
    assert_eq!(done.block.round, before.round());
    assert_eq!(done.block.previous_hash, before.last_hash());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// W = 3, S = 1, B = 3: fewer than W − S = 2 faulty workers, fewer than half of the backups. The faulty ones are
    /// worker 0 and backup 3.
    #[test]
    fn under_the_assumption_no_wrong_result_is_accepted_and_no_honest_node_is_slashed(
        stragglers in 0u16..2,
        steps in prop::collection::vec(step(6), 1..80),
    ) {
        let faulty = [0usize, 3];
        let mut f = Fixture::new(3, 3, stragglers);
        for step in steps {
            let before = f.state.clone();
            let effects = match step {
                Step::Announce(n) => f.announce(n).unwrap_or_default(),
                Step::Commit(n, value) => {
                    let outcome = match (faulty.contains(&n), value) {
                        (false, _) => success(1),
                        (true, 0) => FAILURE,
                        (true, value) => success(value),
                    };
                    let result = f.commit(n, outcome);
                    if result.is_err() {
                        let height_apart = RoundState { height: before.height, ..f.state.clone() };
                        prop_assert_eq!(&height_apart, &before, "a refused event changes nothing");
                    }
                    result.unwrap_or_default()
                }
                Step::Blocks(n) => {
                    let mut all = Vec::new();
                    for _ in 0..n {
                        let before = f.state.clone();
                        let effects = f.until(f.height);
                        check(&before, &effects);
                        all.extend(effects);
                    }
                    all
                }
                Step::EpochEnds => {
                    let committee = f.state.committee().cloned();
                    f.end_epoch(committee)
                }
                Step::Work => f.state.apply(f.height, RoundEvent::WorkQueued).unwrap(),
            };
            if !matches!(step, Step::Blocks(_)) {
                check(&before, &effects);
            }
            for node in slashed(&effects) {
                prop_assert!(faulty.iter().any(|n| f.node(*n) == node), "an honest node was slashed");
            }
            for effect in &effects {
                if let Effect::Finalize(done) = effect {
                    prop_assert_eq!(done.block.state_root, digest(1), "a wrong root was accepted");
                }
            }
            let rounds = effects.iter().filter(|e| e.is_terminal()).count() as u64;
            prop_assert_eq!(f.state.round(), Round(before.round().0 + rounds));
            prop_assert_eq!(RoundState::decode(&f.state.encode()).unwrap(), f.state.clone());
        }
    }

    /// Whatever members do, each phase is left after a bounded number of blocks.
    #[test]
    fn every_round_ends(steps in prop::collection::vec(step(5), 0..30)) {
        let mut f = Fixture::new(2, 3, 0);
        for step in steps {
            match step {
                Step::Announce(n) => drop(f.announce(n)),
                Step::Commit(n, value) => drop(f.commit(n, success(value))),
                Step::Blocks(n) => drop(f.until(f.height.saturating_add(n))),
                Step::EpochEnds => drop(f.end_epoch(f.state.committee().cloned())),
                Step::Work => drop(f.state.apply(f.height, RoundEvent::WorkQueued).unwrap()),
            }
            f.state.epoch_end = f.height.saturating_add(1_000);
            let mut probe = Fixture { chain: f.chain, keys: vec![], state: f.state.clone(), height: f.height };
            // Idle 40, twice announced 16 each, resolved 24: nobody says anything more.
            let effects = probe.until(f.height.saturating_add(120));
            prop_assert!(effects.iter().any(Effect::is_terminal));
        }
    }

    /// The order of the commitments of one block does not decide which result wins.
    #[test]
    fn the_winner_does_not_depend_on_the_order_of_backups(values in prop::collection::vec(0u64..3, 5), seed in 0usize..120) {
        let run = |order: &[usize]| {
            let mut f = Fixture::new(2, 5, 0);
            let (scheduler, other) = (f.ranked(0), f.ranked(1));
            f.announce(scheduler).unwrap();
            f.commit(scheduler, success(1)).unwrap();
            f.commit(other, success(2)).unwrap();
            let mut ended = None;
            for n in order {
                let value = values[*n];
                if let Ok(effects) = f.commit(2 + n, if value == 0 { FAILURE } else { success(value) }) {
                    ended = ended.or(effects.iter().find_map(|e| e.block().cloned()));
                }
            }
            ended.map(|b| (b.kind, b.state_root))
        };
        let mut order: Vec<usize> = (0..5).collect();
        let mut rest = seed;
        for i in (1..5).rev() {
            order.swap(i, rest % (i + 1));
            rest /= i + 1;
        }
        prop_assert_eq!(run(&order), run(&[0, 1, 2, 3, 4]));
    }
}

#[test]
fn a_height_far_ahead_is_one_step() {
    let mut f = Fixture::new(2, 3, 0);
    f.state.epoch_end = Height(u64::MAX);
    let effects = f.state.apply(Height(1 << 40), RoundEvent::Height).unwrap();
    assert_eq!(failed(&effects), Some(FailReason::NoProposal));
    assert_eq!(f.state.epoch(), Epoch(0));
}
