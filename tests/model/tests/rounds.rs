//! The model, explored. `cargo run --manifest-path tests/model/Cargo.toml -- --workers 4 --backups 3` explores others.

use parallax_model::{Report, Round, Setup, State, Value, World, explore};
use stateright::Model;
use std::collections::{BTreeSet, VecDeque};

fn shown(what: &str, report: &Report) {
    let Report { states, steps, depth, properties, violations } = report;
    println!("{what}: {states} states, {steps} steps, depth {depth}, {properties} properties");
    for (property, path) in violations {
        println!("  broken: {property}\n    {path}");
    }
    assert!(violations.is_empty(), "every property holds: {violations:?}");
}

#[test]
fn every_property_holds_in_every_run_of_three_workers_three_backups_and_two_ranks() {
    shown("3 workers, 3 backups, no straggler", &explore(&Setup::of(3, 3, 0), 2));
    shown("3 workers, 3 backups, one straggler", &explore(&Setup::of(3, 3, 1), 2));
}

#[test]
fn every_property_holds_where_a_node_sits_in_both_lists() {
    shown("3 workers, 3 backups, one in both", &explore(&Setup { dual: 1, ..Setup::of(3, 3, 1) }, 2));
}

#[test]
fn every_property_holds_without_backups_and_with_an_even_number_of_them() {
    shown("3 workers, no backup", &explore(&Setup { ranks: 3, ..Setup::of(3, 0, 1) }, 2));
    shown("2 workers, 2 backups", &explore(&Setup::of(2, 2, 0), 2));
}

#[test]
fn every_property_holds_with_wide_windows_for_every_rank() {
    shown("2 workers, 1 backup, windows of 3 blocks", &explore(&Setup { window: 3, ..Setup::of(2, 1, 0) }, 2));
}

#[test]
fn every_property_holds_with_incoming_messages_and_with_a_first_wrong_result_that_is_not_slashed() {
    let values = vec![Value::Honest, Value::WrongA, Value::Phantom];
    let inbox = Setup { inbox: true, values, slash_from: 2, ..Setup::of(3, 3, 1) };
    shown("3 workers, 3 backups, a message waits", &explore(&inbox, 2));
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
