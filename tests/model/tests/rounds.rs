//! The model, explored. `cargo run --manifest-path tests/model/Cargo.toml -- --workers 4 --backups 3` explores others.

use parallax_model::{Report, Round, Setup, State, Value, World, explore};
use stateright::Model;
use std::collections::{BTreeSet, VecDeque};

#[test]
fn every_property_holds_in_every_run_of_up_to_three_workers_three_backups_and_two_ranks() {
    for (what, setup) in Setup::suite() {
        let Report { states, steps, depth, properties, violations } = explore(&setup, 2);
        println!("{what}: {states} states, {steps} steps, depth {depth}, {properties} properties");
        assert!(violations.is_empty(), "{what}: {violations:?}");
    }
}

/// The canonical forms of all states.
fn forms(setup: Setup) -> (usize, BTreeSet<Vec<u8>>) {
    let model = Round { world: World::new(setup) };
    let (mut seen, mut forms) = (BTreeSet::new(), BTreeSet::new());
    let mut queue: VecDeque<State> = model.init_states().into();
    while let Some(state) = queue.pop_front() {
        if seen.insert(state.key.clone()) {
            forms.insert(state.canonical(&model.world));
            queue.extend(model.next_states(&state));
        }
    }
    (seen.len(), forms)
}

#[test]
fn the_reduction_loses_no_state() {
    let narrow = |setup| Setup { values: vec![Value::Honest, Value::WrongA, Value::WrongB], ..setup };
    let [few, dual] = [Setup::of(2, 1, 0), Setup { dual: 1, ranks: 1, disturbed: false, ..Setup::of(3, 2, 1) }];
    for setup in [narrow(few), narrow(dual)] {
        let (all, full) = forms(Setup { reduced: false, ..setup.clone() });
        let (few, reduced) = forms(setup);
        println!("{all} states, {few} with the reduction");
        assert!(full == reduced && few < all / 2, "the same forms are reached: {} and {}", full.len(), reduced.len());
    }
}
