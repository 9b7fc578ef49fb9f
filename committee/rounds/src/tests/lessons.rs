//! What the original learned the hard way, one test each, where no test of a rule says it already. The whole list, with
//! the tests of other crates, stands in `docs/rounds.md`; the last test here holds that list to the sources.

use crate::testing::*;
use crate::*;
use parallax_primitives::message::{InMessage, OutMessage};
use parallax_primitives::{Address, Amount, Epoch, Gas, Height, Round};
use std::fs;
use std::path::Path;

/// The result `value` with other messages.
fn with_messages(value: u64, sent: &[OutMessage], consumed: &[InMessage]) -> Outcome {
    let Outcome::Success { io_root, state_root, trace_root, .. } = success(value) else { panic!("a success") };
    Outcome::Success {
        io_root,
        state_root,
        trace_root,
        messages_hash: messages_hash(sent),
        in_messages_hash: messages_hash(consumed),
        in_messages_count: u32::try_from(consumed.len()).unwrap(),
    }
}

#[test]
fn commitments_of_before_an_epoch_change_do_not_meet_those_of_after_it() {
    let mut f = Fixture::new(2, 3, 0);
    let (scheduler, other) = (f.ranked(0), f.ranked(1));
    f.announce(scheduler).unwrap();
    f.commit(scheduler, success(1)).unwrap();
    let old = f.commitment(other, success(2));
    let committee = Committee { epoch: Epoch(1), ..f.state.committee().unwrap().clone() };
    f.end_epoch(Some(committee));
    let next = f.ranked(0);
    f.announce(next).unwrap();
    assert!(matches!(f.commit_as(other, old, vec![]), Err(RoundError::WrongRound { .. })));
    f.commit(next, success(3)).unwrap();
    let effects = f.commit(1 - next, success(3)).unwrap();
    assert!(finalized(&effects).is_some_and(|done| !done.discrepancy), "the old vote is no second result");
}

#[test]
fn every_end_of_a_round_advances_it_by_one_and_messages_of_an_ended_round_are_refused_without_a_trace() {
    let mut f = Fixture::new(2, 3, 0);
    let mut stale = Vec::new();
    for round in 1..=6u64 {
        assert_eq!(f.state.round(), Round(round));
        let scheduler = f.ranked(0);
        stale.push((scheduler, f.commitment(scheduler, success(1)), f.proposal(scheduler, 20)));
        let effects = match round % 3 {
            0 => f.until_due(),
            1 => f.end_epoch(f.state.committee().cloned()),
            _ => {
                f.announce(scheduler).unwrap();
                f.commit(scheduler, success(1)).unwrap();
                f.commit(1 - scheduler, success(1)).unwrap()
            }
        };
        assert_eq!(round_of(&effects), Some(Round(round)));
        let state = f.state.clone();
        for (node, commitment, proposal) in stale.clone() {
            assert!(matches!(f.commit_as(node, commitment, vec![]), Err(RoundError::WrongRound { .. })));
            assert!(matches!(f.announce_as(node, proposal), Err(RoundError::WrongRound { .. })));
        }
        assert_eq!(f.state, state);
    }
}

#[test]
fn the_schedulers_commitment_says_which_messages_are_consumed_whatever_others_claim() {
    let mut f = Fixture::new(2, 3, 0);
    let waiting = InMessage { id: 0, caller: Address([1; 20]), tokens: Amount(5), data: vec![7] };
    f.state.apply(f.height, RoundEvent::InMessageQueued(waiting.clone())).unwrap();
    f.end_epoch(f.state.committee().cloned());
    let (scheduler, other) = (f.ranked(0), f.ranked(1));
    f.announce(scheduler).unwrap();
    let right = with_messages(1, &[], std::slice::from_ref(&waiting));
    f.commit(scheduler, right.clone()).unwrap();
    let effects = f.commit(other, with_messages(1, &[], &[])).unwrap();
    assert!(matches!(effects[..], [Effect::Discrepancy { cause: DiscrepancyCause::Votes, .. }]), "the claim is a vote");
    f.commit(2, right.clone()).unwrap();
    let effects = f.commit(3, right).unwrap();
    assert_eq!(finalized(&effects).unwrap().consumed, [waiting]);
    assert_eq!((f.state.queued_in_messages(), slashed(&effects)), (0, vec![f.node(other)]));
}

#[test]
fn deadlines_are_counted_in_blocks_and_follow_the_announced_gas() {
    for (gas, blocks) in [(0, 6), (1, 7), (10, 7), (11, 8), (100, 16)] {
        let mut f = Fixture::new(2, 3, 0);
        f.until(Height(2));
        let scheduler = f.ranked(0);
        let proposal = f.proposal(scheduler, gas);
        f.announce_as(scheduler, proposal).unwrap();
        assert_eq!(f.state.due(), Some(Height(3 + blocks)), "gas {gas}");
        f.commit(scheduler, success(1)).unwrap();
        f.commit(1 - scheduler, success(2)).unwrap();
        assert_eq!(f.state.due(), Some(Height(3 + blocks + u64::div_ceil(blocks, 2))), "one and a half times as long");
        assert_eq!(f.state.parameters().deadline(Gas(gas)), blocks);
    }
}

#[test]
fn a_resolution_returns_the_schedulers_commitment_so_its_messages_are_sent() {
    let mut f = Fixture::new(2, 3, 0);
    let (scheduler, liar) = (f.ranked(0), f.ranked(1));
    f.announce(scheduler).unwrap();
    let sent = vec![OutMessage::Transfer { to: Address([2; 20]), amount: Amount(3) }];
    let outcome = with_messages(1, &sent, &[]);
    // The backups come first and attach nothing, as they must.
    f.commit(2, outcome.clone()).unwrap();
    f.commit(3, outcome.clone()).unwrap();
    f.commit(liar, success(2)).unwrap();
    let commitment = f.commitment(scheduler, outcome);
    let effects = f.commit_as(scheduler, commitment, sent.clone()).unwrap();
    let done = finalized(&effects).unwrap();
    assert!(done.discrepancy);
    assert_eq!((done.commitment.commitment.node, done.messages()), (f.node(scheduler), &sent[..]));
}

#[test]
fn the_list_of_lessons_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let list = fs::read_to_string(root.join("docs/rounds.md")).expect("docs/rounds.md is there");
    let rows: Vec<(&str, &str)> = list
        .lines()
        .skip_while(|line| !line.starts_with("## Lessons"))
        .filter(|line| line.starts_with("| ") && line.contains("::"))
        .flat_map(|line| line.split('`').skip(1).step_by(2))
        .filter_map(|name| name.split_once("::"))
        .collect();
    assert!(rows.len() >= 20, "the list has {} tests", rows.len());
    for (file, test) in rows {
        let source = fs::read_to_string(root.join(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
        assert!(source.contains(&format!("fn {test}(")), "{file} has the test {test}");
    }
}
