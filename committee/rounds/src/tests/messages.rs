//! Messages in and out.

use crate::testing::*;
use crate::*;
use parallax_primitives::message::{InMessage, OutMessage};
use parallax_primitives::{Address, Amount};

fn message(id: u64, bytes: usize) -> InMessage {
    InMessage { id, caller: Address([1; 20]), tokens: Amount(5), data: vec![7; bytes] }
}

fn consuming(messages: &[InMessage]) -> Outcome {
    let Outcome::Success { io_root, state_root, trace_root, messages_hash: out, .. } = success(1) else {
        panic!("a success")
    };
    Outcome::Success {
        io_root,
        state_root,
        trace_root,
        messages_hash: out,
        in_messages_hash: messages_hash(messages),
        in_messages_count: u32::try_from(messages.len()).unwrap(),
    }
}

#[test]
fn the_schedulers_messages_must_be_those_that_it_signed() {
    let mut f = Fixture::new(2, 1, 0);
    let (scheduler, other) = (f.ranked(0), f.ranked(1));
    f.announce(scheduler).unwrap();
    let bodies = vec![OutMessage::Transfer { to: Address([2; 20]), amount: Amount(3) }];
    let Outcome::Success { io_root, state_root, trace_root, in_messages_hash, .. } = success(1) else {
        panic!("a success")
    };
    let outcome = Outcome::Success {
        io_root,
        state_root,
        trace_root,
        messages_hash: messages_hash(&bodies),
        in_messages_hash,
        in_messages_count: 0,
    };
    let mine = f.commitment(scheduler, outcome.clone());
    assert!(matches!(f.commit_as(scheduler, mine.clone(), vec![]), Err(RoundError::BadMessages { .. })));
    let long = vec![bodies[0].clone(); parallax_primitives::limits::MAX_MESSAGES_PER_ROUND + 1];
    assert!(matches!(f.commit_as(scheduler, mine.clone(), long), Err(RoundError::TooManyMessages { .. })));
    f.commit_as(scheduler, mine, bodies.clone()).unwrap();
    let theirs = f.commitment(other, outcome);
    assert!(matches!(f.commit_as(other, theirs.clone(), bodies.clone()), Err(RoundError::UnexpectedMessages { .. })));
    let effects = f.commit_as(other, theirs, vec![]).unwrap();
    let done = finalized(&effects).unwrap();
    assert_eq!(done.messages(), bodies);
    assert_eq!(done.block.messages_hash, messages_hash(&bodies));
}

#[test]
fn a_round_may_consume_the_messages_that_waited_when_it_began_and_no_later_ones() {
    let mut f = Fixture::new(2, 1, 0);
    f.state.apply(f.height, RoundEvent::InMessageQueued(message(0, 3))).unwrap();
    assert!(f.state.offered_in_messages().is_empty(), "it came in the middle of round 1");
    let (scheduler, other) = (f.ranked(0), f.ranked(1));
    f.announce(scheduler).unwrap();
    f.commit(scheduler, success(1)).unwrap();
    assert!(finalized(&f.commit(other, success(1)).unwrap()).is_some());
    assert!(f.state.has_work());
    assert_eq!(f.state.offered_in_messages(), [message(0, 3)]);

    f.until(f.height);
    let (scheduler, other) = (f.ranked(0), f.ranked(1));
    f.announce(scheduler).unwrap();
    f.state.apply(f.height, RoundEvent::InMessageQueued(message(1, 3))).unwrap();
    f.commit(scheduler, consuming(&[message(0, 3)])).unwrap();
    let effects = f.commit(other, consuming(&[message(0, 3)])).unwrap();
    assert_eq!(finalized(&effects).unwrap().consumed, vec![message(0, 3)]);
    assert_eq!(f.state.offered_in_messages(), [message(1, 3)]);
}

#[test]
fn a_result_that_consumes_other_messages_fails_the_round_before_anything_is_counted() {
    let mut f = Fixture::new(2, 1, 0);
    let (scheduler, other) = (f.ranked(0), f.ranked(1));
    f.announce(scheduler).unwrap();
    f.commit(scheduler, consuming(&[message(0, 3)])).unwrap();
    let effects = f.commit(other, consuming(&[message(0, 3)])).unwrap();
    assert_eq!(failed(&effects), Some(FailReason::InMessages));
    assert!(f.state.records().is_empty());
}

#[test]
fn the_queue_is_bounded_and_numbered_without_gaps() {
    let mut f = Fixture::new(2, 1, 0);
    let mut queue = |m| f.state.apply(f.height, RoundEvent::InMessageQueued(m));
    assert_eq!(queue(message(1, 1)), Err(RoundError::InMessageId { given: 1, expected: 0 }));
    queue(message(0, state::MAX_QUEUED_IN_MESSAGE_BYTES)).unwrap();
    assert!(matches!(queue(message(1, 1)), Err(RoundError::QueueFull { unit: "bytes", .. })));
    for id in 1..state::MAX_QUEUED_IN_MESSAGES {
        queue(message(u64::try_from(id).unwrap(), 0)).unwrap();
    }
    let id = u64::try_from(state::MAX_QUEUED_IN_MESSAGES).unwrap();
    assert!(matches!(queue(message(id, 0)), Err(RoundError::QueueFull { unit: "messages", .. })));
}
