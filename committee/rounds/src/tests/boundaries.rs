//! Epochs, heights, rounds and the stored form.

use crate::testing::*;
use crate::*;
use parallax_primitives::message::OutMessage;
use parallax_primitives::{Epoch, Gas, Height, ParaTimeId, Round, encode};

fn next_committee() -> Committee {
    Committee {
        epoch: Epoch(1),
        workers: vec![key(3).public(), key(4).public()],
        backups: vec![key(0).public(), key(1).public(), key(2).public()],
    }
}

#[test]
fn an_epoch_end_closes_a_live_round_with_an_epoch_block_and_no_deadline_survives() {
    for committed in [false, true] {
        let mut f = Fixture::new(2, 3, 0);
        let scheduler = f.ranked(0);
        f.announce(scheduler).unwrap();
        if committed {
            f.commit(scheduler, success(1)).unwrap();
        }
        let deadline = f.state.due().unwrap();
        let stale = f.commitment(f_other(&f, scheduler), success(1));
        f.until(Height(3));
        let effects = f.end_epoch(Some(next_committee()));
        assert!(matches!(
            &effects[..],
            [Effect::EpochTransition { block, proposal: Some(_) }, Effect::EpochSettled { epoch: Epoch(0), .. }]
                if block.kind == BlockKind::EpochTransition
        ));
        assert_eq!(f.state.round(), Round(2));
        assert_eq!(f.state.committee(), Some(&next_committee()));
        assert_eq!(f.until(deadline), vec![], "the old deadline is gone with its phase");
        let other = f_other(&f, scheduler);
        assert!(matches!(f.commit_as(other, stale, vec![]), Err(RoundError::WrongRound { .. })));
        let worker = f.ranked(0);
        f.announce(worker).unwrap();
    }
}

fn f_other(_: &Fixture, scheduler: usize) -> usize {
    1 - scheduler
}

#[test]
fn a_resolution_outlives_the_epoch_and_the_old_committee_is_judged() {
    let mut f = Fixture::new(2, 3, 0);
    let (scheduler, liar) = (f.ranked(0), f.ranked(1));
    f.announce(scheduler).unwrap();
    f.commit(scheduler, success(1)).unwrap();
    f.commit(liar, success(2)).unwrap();
    assert_eq!(f.end_epoch(Some(next_committee())), vec![], "the verdict comes first");
    assert!(f.state.committee().unwrap().is_worker(&f.node(liar)));
    f.commit(2, success(1)).unwrap();
    let effects = f.commit(3, success(1)).unwrap();
    assert_eq!(slashed(&effects), vec![f.node(liar)]);
    assert!(matches!(effects.last(), Some(Effect::EpochSettled { records, .. }) if records.len() == 4));
    assert_eq!(f.state.committee(), Some(&next_committee()));
    assert_eq!(f.state.epoch(), Epoch(1));
}

#[test]
fn a_resolution_that_fails_after_the_epochs_end_still_hands_over() {
    let mut f = Fixture::new(2, 3, 0);
    let (scheduler, liar) = (f.ranked(0), f.ranked(1));
    f.announce(scheduler).unwrap();
    f.commit(scheduler, success(1)).unwrap();
    f.commit(liar, success(2)).unwrap();
    f.end_epoch(None);
    f.state.apply(f.height, RoundEvent::Suspended).unwrap();
    let effects = f.until_due();
    assert_eq!(failed(&effects), Some(FailReason::Timeout));
    assert_eq!((f.state.phase(), f.state.epoch()), (&Phase::Suspended, Epoch(1)));
}

#[test]
fn a_suspension_ends_the_round_and_an_election_resumes_it() {
    let mut f = Fixture::new(2, 3, 0);
    let effects = f.state.apply(f.height, RoundEvent::Suspended).unwrap();
    assert!(matches!(&effects[..], [Effect::Suspend { block, .. }] if block.kind == BlockKind::Suspended));
    assert_eq!(f.state.apply(f.height, RoundEvent::Suspended).unwrap(), vec![]);
    assert_eq!(f.announce_as(0, f_proposal(&f)), Err(RoundError::Suspended));
    assert_eq!(f.state.due(), None);
    let effects = f.end_epoch(Some(next_committee()));
    assert!(matches!(effects[0], Effect::EpochTransition { .. }));
    assert_eq!(f.state.round(), Round(3));
}

fn f_proposal(f: &Fixture) -> Proposal {
    Proposal {
        scheduler: f.node(0),
        rank: 0,
        round: f.state.round(),
        previous_hash: f.state.last_hash(),
        batch_root: parallax_primitives::merkle::root(&[]),
        transactions: vec![],
        gas: Gas(0),
    }
}

#[test]
fn an_epoch_without_a_committee_suspends() {
    let mut f = Fixture::new(2, 3, 0);
    let effects = f.end_epoch(None);
    assert!(matches!(effects[..], [Effect::Suspend { .. }, Effect::EpochSettled { .. }]));
    let effects = f.end_epoch(None);
    assert!(matches!(effects[..], [Effect::EpochSettled { epoch: Epoch(1), .. }]), "no round was under way");
}

#[test]
fn a_proposal_is_accepted_up_to_the_last_height_at_which_its_resolution_ends_inside_the_epoch() {
    let mut f = Fixture::new(2, 3, 0);
    // Gas 20: 6 + 2 = 8 blocks, resolution 12. The epoch ends at 1000: the last announcement is at 979.
    f.state.phase = Phase::Idle { from_rank: 0, since: Height(960) };
    f.height = Height(980);
    let scheduler = f.ranked(0);
    assert!(matches!(f.announce(scheduler), Err(RoundError::EpochTooShort { .. })));
    assert_eq!(f.state.gas_room(Height(980)), Some(Gas(10)));
    f.height = Height(979);
    assert_eq!(f.state.gas_room(Height(979)), Some(Gas(20)));
    f.announce(scheduler).unwrap();
}

#[test]
fn nobody_is_charged_for_a_round_that_the_epoch_leaves_no_room_for() {
    let mut f = Fixture::new(2, 3, 0);
    f.state.phase = Phase::Idle { from_rank: 0, since: Height(980) };
    f.height = Height(980);
    f.state.apply(f.height, RoundEvent::WorkQueued).unwrap();
    assert_eq!(f.state.due(), Some(Height(1_000)), "the epoch's end ends it");
    assert_eq!(f.until(Height(1_000)), vec![]);
}

#[test]
fn a_height_that_goes_back_is_refused_and_the_same_height_twice_is_harmless() {
    let mut f = Fixture::new(2, 3, 0);
    let scheduler = f.ranked(0);
    f.announce(scheduler).unwrap();
    let deadline = f.state.due().unwrap();
    f.until(deadline);
    assert_eq!(f.state.apply(deadline, RoundEvent::Height).unwrap(), vec![]);
    let error = f.state.apply(Height(1), RoundEvent::Height).unwrap_err();
    assert_eq!(error, RoundError::HeightWentBack { given: Height(1), last: deadline });
}

#[test]
fn messages_of_another_round_or_parent_are_refused_also_around_round_256() {
    let mut f = Fixture::new(2, 1, 0);
    while f.state.round() < Round(258) {
        let round = f.state.round();
        let (scheduler, other) = (f.ranked(0), f.ranked(1));
        let old = Proposal { round: round.saturating_sub(1), ..f.proposal(scheduler, 20) };
        assert!(matches!(f.announce_as(scheduler, old), Err(RoundError::WrongRound { .. })));
        let fork = Proposal { previous_hash: digest(1), ..f.proposal(scheduler, 20) };
        assert!(matches!(f.announce_as(scheduler, fork), Err(RoundError::WrongParent { .. })));
        f.announce(scheduler).unwrap();
        f.commit(scheduler, success(round.0)).unwrap();
        let effects = f.commit(other, success(round.0)).unwrap();
        assert_eq!(round_of(&effects), Some(round));
        assert_eq!(RoundState::decode(&f.state.encode()).unwrap(), f.state);
        if round.0.is_multiple_of(50) {
            f.height = f.height.next();
            f.state.epoch_end = f.height.saturating_add(1_000);
        }
    }
}

#[test]
fn the_stored_form_round_trips_in_every_phase_and_refuses_other_bytes() {
    let mut f = Fixture::new(2, 3, 0);
    let mut phases = vec![f.state.clone()];
    let (scheduler, liar) = (f.ranked(0), f.ranked(1));
    f.announce(scheduler).unwrap();
    phases.push(f.state.clone());
    f.commit(scheduler, success(1)).unwrap();
    phases.push(f.state.clone());
    f.commit(liar, success(2)).unwrap();
    f.end_epoch(None);
    phases.push(f.state.clone());
    for state in phases {
        let bytes = state.encode();
        assert_eq!(bytes[0], 0, "the first version");
        assert_eq!(RoundState::decode(&bytes).unwrap(), state);
        assert!(RoundState::decode(&bytes[..bytes.len() - 1]).is_err());
        assert!(RoundState::decode(&encode(&(1u8, &bytes[1..].to_vec()))).is_err(), "an unknown version");
    }
}

#[test]
fn the_largest_state_fits_into_one_state_value() {
    let most = parallax_primitives::limits::MAX_COMMITTEE;
    let mut f = Fixture::new(most, most, 0);
    let scheduler = f.ranked(0);
    let transactions = vec![digest(3); parallax_primitives::limits::MAX_BATCH_TXS];
    let proposal = Proposal {
        batch_root: parallax_primitives::merkle::root(&transactions),
        transactions,
        ..f.proposal(scheduler, 100)
    };
    f.announce_as(scheduler, proposal).unwrap();
    let call = |bytes: usize| {
        let data = vec![0; bytes];
        vec![OutMessage::Call { to: Default::default(), fee: Default::default(), tokens: Default::default(), data }]
    };
    let room = parallax_primitives::limits::MAX_ROUND_MESSAGE_BYTES - encode(&call(0)).len();
    let sent = |messages: &[OutMessage]| match success(1) {
        Outcome::Success { io_root, state_root, trace_root, in_messages_hash, in_messages_count, .. } => {
            let messages_hash = crate::messages_hash(messages);
            Outcome::Success { io_root, state_root, trace_root, messages_hash, in_messages_hash, in_messages_count }
        }
        failure => failure,
    };
    let mut commit = |messages: Vec<OutMessage>| {
        let mine = f.commitment(scheduler, sent(&messages));
        f.commit_as(scheduler, mine, messages)
    };
    assert!(matches!(commit(call(room + 1)), Err(crate::RoundError::MessagesTooLarge { .. })));
    commit(call(room)).unwrap();
    // One worker's vote is missing, else the round would be over.
    let missing = f.ranked(1);
    for n in (0..2 * most).filter(|n| *n != scheduler && *n != missing) {
        f.commit(n, sent(&call(room))).unwrap();
    }
    for id in 0..state::MAX_QUEUED_IN_MESSAGES {
        let data = vec![0; state::MAX_QUEUED_IN_MESSAGE_BYTES / state::MAX_QUEUED_IN_MESSAGES];
        let message = parallax_primitives::message::InMessage {
            id: u64::try_from(id).unwrap(),
            caller: Default::default(),
            tokens: Default::default(),
            data,
        };
        f.state.apply(f.height, RoundEvent::InMessageQueued(message)).unwrap();
    }
    for n in 0..2 * most {
        f.state.records.insert(f.node(n), EpochRecord::default());
    }
    assert!(f.state.encode().len() < parallax_primitives::limits::MAX_VALUE_BYTES, "{}", f.state.encode().len());
}

#[test]
fn unusable_parameters_and_committees_are_refused_by_name() {
    let good = parameters(3, 3, 1);
    let refused = |p: RoundParameters| p.validate().unwrap_err().to_string();
    assert!(refused(RoundParameters { allowed_stragglers: 2, ..good.clone() }).contains("allowed_stragglers (2)"));
    assert!(refused(RoundParameters { workers: 65, ..good.clone() }).contains("at most 64"));
    assert!(refused(RoundParameters { slash_from: 0, ..good.clone() }).contains("slash_from"));
    assert!(refused(RoundParameters { max_evidence_age: 0, ..good.clone() }).contains("max_evidence_age"));
    let half_as_much_again = LivenessParameters { min_live_rounds_percent: 101, ..good.liveness };
    assert!(refused(RoundParameters { liveness: half_as_much_again, ..good.clone() }).contains("is 101; a share"));
    assert!(refused(RoundParameters { max_round_interval: 12, ..good.clone() }).contains("more than workers"));
    good.validate_epoch(160).unwrap();
    assert!(good.validate_epoch(159).unwrap_err().to_string().contains("at least 160"));

    let paratime = ParaTimeId::named("test");
    let twice = Committee { workers: vec![key(0).public(); 3], ..next_committee() };
    let new = |c| RoundState::new(paratime, good.clone(), digest(1), Some(c), Epoch(0), Height(100)).unwrap_err();
    assert!(new(twice).to_string().contains("sits twice among the workers"));
    assert!(new(next_committee()).to_string().contains("2 workers"));
    let mut f = Fixture::new(2, 3, 0);
    let bad = Committee { backups: vec![], ..next_committee() };
    let event = RoundEvent::EpochEnded { committee: Some(bad), epoch: Epoch(1), epoch_end: Height(2_000) };
    let before = f.state.clone();
    assert!(matches!(f.state.apply(Height(5), event), Err(RoundError::BadCommittee { .. })));
    assert_eq!(f.state, before);
}

#[test]
fn error_codes_are_unique_and_fixed() {
    let codes = [
        (RoundError::Suspended.code(), 3),
        (RoundError::Duplicate { node: Default::default() }.code(), 15),
        (RoundError::InMessageId { given: 0, expected: 0 }.code(), 25),
        (RoundError::MessagesTooLarge { actual: 0, limit: 0 }.code(), 26),
    ];
    for (code, expected) in codes {
        assert_eq!(code, expected);
    }
}
