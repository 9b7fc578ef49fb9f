//! Announcement, detection and resolution.

use crate::testing::*;
use crate::*;
use parallax_primitives::{Epoch, Gas, Height, ParaTimeId};

/// A live proposal of the rank-0 worker; returns scheduler and the other worker of a 2 + 3 committee.
fn announced() -> (Fixture, usize, usize) {
    let mut f = Fixture::new(2, 3, 0);
    let scheduler = f.ranked(0);
    f.announce(scheduler).unwrap();
    (f, scheduler, f_other(scheduler))
}

fn f_other(scheduler: usize) -> usize {
    1 - scheduler
}

#[test]
fn equal_votes_of_all_workers_finalize_the_round_without_backups() {
    let (mut f, scheduler, other) = announced();
    assert_eq!(f.commit(scheduler, success(1)).unwrap(), vec![]);
    let effects = f.commit(other, success(1)).unwrap();
    let done = finalized(&effects).unwrap();
    assert!(!done.discrepancy);
    assert_eq!(done.block.kind, BlockKind::Normal);
    assert_eq!(done.block.state_root, digest(1));
    assert_eq!(done.commitment.commitment.node, f.node(scheduler));
    assert_eq!(charges(&effects), vec![]);
    assert_eq!(f.state.round().0, 2);
    assert_eq!(f.state.records()[&f.node(other)].worker.live, 1);
    assert_eq!(f.state.last_hash(), done.block.hash());
}

#[test]
fn a_rank_may_not_announce_before_its_window_and_rank_0_cannot_be_preempted() {
    let mut f = Fixture::new(2, 3, 0);
    let second = f.ranked(1);
    assert_eq!(f.announce(second), Err(RoundError::TooEarly { rank: 1, opens: Height(4), height: Height(1) }));
    f.until(Height(3));
    f.announce(second).unwrap();
    let first = f.ranked(0);
    assert!(matches!(f.announce(first), Err(RoundError::ProposalLive { .. })), "one proposal is live");
}

#[test]
fn a_proposal_with_a_false_root_rank_or_size_is_refused_and_changes_nothing() {
    let mut f = Fixture::new(2, 3, 0);
    let scheduler = f.ranked(0);
    let before = f.state.clone();
    let good = f.proposal(scheduler, 20);
    let refused = |f: &mut Fixture, proposal| f.announce_as(scheduler, proposal).unwrap_err();
    let error = refused(&mut f, Proposal { batch_root: digest(9), ..good.clone() });
    assert_eq!(error, RoundError::BadBatchRoot { transactions: 2 });
    assert!(matches!(refused(&mut f, Proposal { rank: 1, ..good.clone() }), RoundError::WrongRank { .. }));
    assert!(matches!(refused(&mut f, Proposal { gas: Gas(101), ..good.clone() }), RoundError::BatchTooLarge { .. }));
    let many = vec![digest(1); parallax_primitives::limits::MAX_BATCH_TXS + 1];
    assert!(matches!(refused(&mut f, Proposal { transactions: many, ..good }), RoundError::BatchTooLarge { .. }));
    assert_eq!(f.state, before);
}

#[test]
fn a_message_signed_for_another_chain_or_paratime_or_by_another_node_is_refused() {
    let (f, scheduler, other) = announced();
    let commitment = f.commitment(scheduler, success(1));
    let here = f.state.paratime();
    let key = &f.keys[scheduler];
    let check = |signed| Verified::<SignedCommitment>::check(&f.state, f.chain, signed).unwrap_err();
    let wrong = RoundError::BadSignature { node: f.node(scheduler) };
    let other_chain = parallax_primitives::ChainContext(digest(8));
    assert_eq!(check(SignedCommitment::sign(commitment.clone(), vec![], other_chain, here, key)), wrong);
    let there = ParaTimeId::named("other");
    assert_eq!(check(SignedCommitment::sign(commitment.clone(), vec![], f.chain, there, key)), wrong);
    assert_eq!(check(SignedCommitment::sign(commitment, vec![], f.chain, here, &f.keys[other])), wrong);
}

#[test]
fn only_backups_and_workers_may_commit() {
    let (mut f, ..) = announced();
    f.keys.push(key(9));
    let stranger = f.keys.len() - 1;
    assert!(matches!(f.commit(stranger, success(1)), Err(RoundError::NotInCommittee { .. })));
    assert!(matches!(f.announce(2), Err(RoundError::NotInCommittee { .. })), "a backup does not schedule");
}

#[test]
fn a_scheduler_that_never_commits_is_charged_and_the_next_rank_schedules_in_the_same_round() {
    let (mut f, scheduler, other) = announced();
    f.commit(other, success(1)).unwrap();
    let round = f.state.round();
    let effects = f.until_due();
    assert_eq!(charges(&effects), vec![(f.node(scheduler), ChargeReason::SchedulerSilent)]);
    assert_eq!(f.state.round(), round, "no failed round");
    assert!(matches!(f.announce(scheduler), Err(RoundError::RankSpent { rank: 0, next: 1 })));
    f.announce(other).unwrap();
    f.commit(other, success(1)).unwrap();
    assert!(finalized(&f.commit(scheduler, success(1)).unwrap()).is_some());
}

#[test]
fn a_round_fails_when_every_rank_announced_and_stayed_silent() {
    let (mut f, _, other) = announced();
    f.until_due();
    f.announce(other).unwrap();
    let effects = f.until_due();
    assert_eq!(failed(&effects), Some(FailReason::NoProposal));
    assert_eq!(charges(&effects), vec![(f.node(other), ChargeReason::SchedulerSilent)]);
}

#[test]
fn the_accepted_height_moves_with_accepted_rounds_only() {
    let mut f = Fixture::new(2, 3, 0);
    assert_eq!(f.state.accepted_height(), Height::ZERO);
    assert_eq!(failed(&f.until_due()), Some(FailReason::NoProposal));
    assert!(f.state.last_block().height > Height::ZERO);
    assert_eq!(f.state.accepted_height(), Height::ZERO, "a failed round");
    let (first, second) = (f.ranked(0), f.ranked(1));
    f.announce(first).unwrap();
    f.commit(first, success(1)).unwrap();
    assert!(finalized(&f.commit(second, success(1)).unwrap()).is_some());
    let accepted = f.state.last_block().height;
    assert_eq!(f.state.accepted_height(), accepted);
    f.until_due();
    assert!(f.state.last_block().height > accepted);
    assert_eq!(f.state.accepted_height(), accepted);
    assert_eq!(RoundState::decode(&f.state.encode()).unwrap().accepted_height(), accepted);
}

#[test]
fn a_silent_committee_is_charged_when_work_is_queued() {
    let mut f = Fixture::new(2, 3, 0);
    f.until(Height(10));
    f.state.apply(f.height, RoundEvent::WorkQueued).unwrap();
    assert_eq!(f.state.due(), Some(Height(11 + 2 * 4)), "every rank has its window after the work came");
    let effects = f.until_due();
    assert_eq!(failed(&effects), Some(FailReason::NoProposal));
    assert_eq!(charges(&effects).len(), 2);
    assert!(f.state.has_work(), "the work still waits");
}

#[test]
fn a_round_without_work_fails_after_the_longest_interval_and_heartbeats_come_before_it() {
    let mut f = Fixture::new(2, 3, 0);
    assert_eq!(f.state.due(), Some(Height(40)));
    assert_eq!((f.state.heartbeat(0), f.state.heartbeat(1)), (Some(Height(32)), Some(Height(36))));
    assert_eq!(failed(&f.until_due()), Some(FailReason::NoProposal));
}

#[test]
fn two_different_votes_call_the_backups_at_once_and_the_liar_is_slashed() {
    let (mut f, scheduler, other) = announced();
    f.commit(scheduler, success(1)).unwrap();
    let effects = f.commit(other, success(2)).unwrap();
    assert!(matches!(effects[..], [Effect::Discrepancy { cause: DiscrepancyCause::Votes, .. }]));
    f.commit(2, success(1)).unwrap();
    let effects = f.commit(3, success(1)).unwrap();
    let done = finalized(&effects).unwrap();
    assert!(done.discrepancy);
    assert_eq!(done.commitment.commitment.node, f.node(scheduler), "it carries the messages");
    let slash = effects.iter().find_map(|e| match e {
        Effect::SlashWrongResult { nodes, agreed } => Some((nodes.clone(), agreed.clone())),
        _ => None,
    });
    let (nodes, agreed) = slash.unwrap();
    assert_eq!(nodes, vec![f.node(other)]);
    let mut expected = vec![f.node(scheduler), f.node(2), f.node(3)];
    expected.sort();
    assert_eq!(agreed, expected);
    assert_eq!(charges(&effects), vec![], "the backup that was not needed is not absent");
}

#[test]
fn differing_workers_wait_for_the_schedulers_commitment() {
    let mut f = Fixture::new(3, 3, 0);
    let (scheduler, a, b) = (f.ranked(0), f.ranked(1), f.ranked(2));
    f.announce(scheduler).unwrap();
    assert_eq!(f.commit(a, success(1)).unwrap(), vec![]);
    assert_eq!(f.commit(b, success(2)).unwrap(), vec![]);
    let effects = f.commit(scheduler, success(1)).unwrap();
    assert!(matches!(effects[..], [Effect::Discrepancy { cause: DiscrepancyCause::Votes, .. }]));
}

#[test]
fn a_lying_scheduler_fails_the_round_and_is_slashed_with_all_who_voted_with_it() {
    let (mut f, scheduler, other) = announced();
    f.commit(4, success(2)).unwrap();
    f.commit(scheduler, success(2)).unwrap();
    f.commit(other, success(1)).unwrap();
    f.commit(2, success(1)).unwrap();
    let effects = f.commit(3, success(1)).unwrap();
    assert_eq!(failed(&effects), Some(FailReason::SchedulerWrong));
    let mut expected = vec![f.node(scheduler), f.node(4)];
    expected.sort();
    assert_eq!(slashed(&effects), expected);
    assert_eq!(f.state.last_block().kind, BlockKind::RoundFailed);
    assert_eq!(f.state.last_block().state_root, digest(1000), "the state stays");
    let next = f.ranked(0);
    assert_eq!(next, other, "the next round has another first choice");
    f.announce(next).unwrap();
}

#[test]
fn wrong_results_below_the_threshold_cost_liveness_and_then_stake() {
    let mut f = Fixture::new(2, 1, 0);
    f.state.parameters.slash_from = 2;
    for expected in [false, true] {
        let (scheduler, liar) = (f.ranked(0), f.ranked(1));
        // Only worker 1 ever lies: let worker 0 schedule.
        let (scheduler, liar) = if liar == 1 { (scheduler, liar) } else { (liar, scheduler) };
        while f.state.window(f.state.committee().unwrap().rank_of(f.state.round(), &f.node(scheduler)).unwrap())
            > Some(f.height)
        {
            f.until(f.height);
        }
        f.announce(scheduler).unwrap();
        f.commit(scheduler, success(1)).unwrap();
        f.commit(liar, success(2)).unwrap();
        let effects = f.commit(2, success(1)).unwrap();
        assert_eq!(!slashed(&effects).is_empty(), expected);
        let charged = charges(&effects).contains(&(f.node(1), ChargeReason::WrongResult));
        assert_eq!(charged, !expected);
        f.until(f.height);
    }
}

#[test]
fn early_votes_of_backups_are_kept_and_decide_as_soon_as_workers_differ() {
    let (mut f, scheduler, other) = announced();
    f.commit(2, success(1)).unwrap();
    f.commit(3, success(1)).unwrap();
    f.commit(scheduler, success(1)).unwrap();
    let effects = f.commit(other, success(2)).unwrap();
    assert!(finalized(&effects).unwrap().discrepancy);
    assert_eq!(slashed(&effects), vec![f.node(other)]);
}

#[test]
fn a_straggler_beyond_the_allowance_is_a_timeout_discrepancy_and_is_charged_not_slashed() {
    let (mut f, scheduler, other) = announced();
    f.commit(scheduler, success(1)).unwrap();
    let effects = f.until_due();
    assert!(effects.iter().any(|e| matches!(e, Effect::Discrepancy { cause: DiscrepancyCause::Timeout, .. })));
    assert_eq!(charges(&effects), vec![(f.node(other), ChargeReason::WorkerAbsent)]);
    f.commit(2, success(1)).unwrap();
    let effects = f.commit(3, success(1)).unwrap();
    assert!(finalized(&effects).is_some());
    assert_eq!(slashed(&effects), vec![]);
}

#[test]
fn a_straggler_within_the_allowance_ends_in_a_clean_round_at_the_deadline() {
    for straggler in [1, 2] {
        let mut f = Fixture::new(3, 1, 1);
        let (scheduler, straggler) = (f.ranked(0), f.ranked(straggler));
        let other = (0..3).find(|n| *n != scheduler && *n != straggler).unwrap();
        f.announce(scheduler).unwrap();
        f.commit(scheduler, success(1)).unwrap();
        assert_eq!(f.commit(other, success(1)).unwrap(), vec![], "the allowance counts at the deadline only");
        let effects = f.until_due();
        assert!(!finalized(&effects).unwrap().discrepancy);
        assert_eq!(charges(&effects), vec![(f.node(straggler), ChargeReason::WorkerAbsent)]);
    }
}

#[test]
fn a_commitment_in_the_last_block_of_the_deadline_counts() {
    let (mut f, scheduler, other) = announced();
    f.commit(scheduler, success(1)).unwrap();
    let deadline = f.state.due().unwrap();
    f.until(deadline.saturating_sub(1));
    assert_eq!(f.height, deadline);
    assert!(finalized(&f.commit(other, success(1)).unwrap()).is_some());
    assert_eq!(f.until(deadline), vec![], "nothing is due any more");
}

#[test]
fn a_worker_that_cannot_execute_makes_a_discrepancy_without_a_timeout_and_is_charged() {
    let (mut f, scheduler, other) = announced();
    f.commit(scheduler, success(1)).unwrap();
    let effects = f.commit(other, FAILURE).unwrap();
    assert!(matches!(effects[..], [Effect::Discrepancy { cause: DiscrepancyCause::Failures, .. }]));
    f.commit(2, success(1)).unwrap();
    let effects = f.commit(3, success(1)).unwrap();
    assert!(finalized(&effects).is_some());
    assert_eq!(charges(&effects), vec![(f.node(other), ChargeReason::Failure)]);
    assert_eq!(slashed(&effects), vec![]);
}

#[test]
fn a_scheduler_may_not_submit_a_failure() {
    let (mut f, scheduler, _) = announced();
    let error = f.commit(scheduler, FAILURE).unwrap_err();
    assert_eq!(error, RoundError::SchedulerFailure { node: f.node(scheduler) });
    assert_eq!(charges(&f.until_due()), vec![(f.node(scheduler), ChargeReason::SchedulerSilent)]);
}

#[test]
fn failures_of_most_backups_fail_the_round_and_nobody_is_slashed() {
    let (mut f, scheduler, other) = announced();
    f.commit(scheduler, success(1)).unwrap();
    f.commit(other, FAILURE).unwrap();
    f.commit(2, FAILURE).unwrap();
    let effects = f.commit(3, Outcome::Failure { reason: FailureReason::InvalidBatch }).unwrap();
    assert_eq!(failed(&effects), Some(FailReason::Failures), "all reasons count alike");
    assert_eq!(slashed(&effects), vec![]);
}

#[test]
fn a_resolution_without_a_possible_majority_fails_at_once() {
    let (mut f, scheduler, other) = announced();
    f.commit(scheduler, success(1)).unwrap();
    f.commit(other, success(2)).unwrap();
    f.commit(2, success(1)).unwrap();
    assert_eq!(f.commit(3, success(2)).unwrap(), vec![]);
    let effects = f.commit(4, success(3)).unwrap();
    assert_eq!(failed(&effects), Some(FailReason::NoMajority));
    assert_eq!(slashed(&effects), vec![]);
}

#[test]
fn an_even_number_of_backups_needs_more_than_half() {
    let mut f = Fixture::new(2, 4, 0);
    let (scheduler, other) = (f.ranked(0), f.ranked(1));
    f.announce(scheduler).unwrap();
    f.commit(scheduler, success(1)).unwrap();
    f.commit(other, success(2)).unwrap();
    for (n, value) in [(2, 1), (3, 1), (4, 2)] {
        assert_eq!(f.commit(n, success(value)).unwrap(), vec![], "two of four decide nothing");
    }
    assert_eq!(failed(&f.commit(5, success(2)).unwrap()), Some(FailReason::NoMajority));
}

#[test]
fn a_resolution_fails_at_its_deadline_and_absent_backups_are_charged() {
    let (mut f, scheduler, other) = announced();
    f.commit(scheduler, success(1)).unwrap();
    f.commit(other, success(2)).unwrap();
    assert_eq!(f.state.due(), Some(Height(1 + 12)), "one and a half times the 8 blocks of the announced deadline");
    f.commit(2, success(1)).unwrap();
    let effects = f.until_due();
    assert_eq!(failed(&effects), Some(FailReason::Timeout));
    assert_eq!(
        charges(&effects),
        vec![(f.node(3), ChargeReason::BackupAbsent), (f.node(4), ChargeReason::BackupAbsent)]
    );
    assert_eq!(slashed(&effects), vec![]);
}

#[test]
fn without_backups_any_discrepancy_fails_the_round() {
    let mut f = Fixture::new(2, 0, 0);
    let (scheduler, other) = (f.ranked(0), f.ranked(1));
    f.announce(scheduler).unwrap();
    f.commit(scheduler, success(1)).unwrap();
    let effects = f.commit(other, success(2)).unwrap();
    assert_eq!(failed(&effects), Some(FailReason::NoBackups));
    assert_eq!(slashed(&effects), vec![]);
}

#[test]
fn in_a_resolution_workers_no_longer_count() {
    let mut f = Fixture::new(3, 1, 0);
    let (scheduler, liar, late) = (f.ranked(0), f.ranked(1), f.ranked(2));
    f.announce(scheduler).unwrap();
    f.commit(scheduler, success(1)).unwrap();
    f.commit(liar, success(2)).unwrap();
    let error = f.commit(late, success(1)).unwrap_err();
    assert!(matches!(error, RoundError::OnlyBackups { .. }));
    let effects = f.commit(3, success(1)).unwrap();
    assert_eq!(charges(&effects), vec![], "its deadline had not passed");
}

#[test]
fn an_absent_node_with_two_roles_is_charged_for_each() {
    let committee = Committee {
        epoch: Epoch(0),
        workers: vec![key(0).public(), key(1).public()],
        backups: vec![key(1).public(), key(2).public(), key(3).public()],
    };
    let mut f = Fixture::with(parameters(2, 3, 0), committee, 4);
    f.until(Height(4));
    f.announce(0).unwrap();
    f.commit(0, success(1)).unwrap();
    let effects = f.until_due();
    assert_eq!(charges(&effects), vec![(f.node(1), ChargeReason::WorkerAbsent)]);
    let effects = f.until_due();
    assert!(charges(&effects).contains(&(f.node(1), ChargeReason::BackupAbsent)));
}

#[test]
fn a_node_with_two_roles_commits_once_and_counts_in_both() {
    let committee = Committee {
        epoch: Epoch(0),
        workers: vec![key(0).public(), key(1).public()],
        backups: vec![key(1).public(), key(2).public(), key(3).public()],
    };
    let mut f = Fixture::with(parameters(2, 3, 0), committee, 4);
    f.until(Height(4));
    f.announce(0).unwrap();
    f.commit(0, success(1)).unwrap();
    f.commit(1, success(2)).unwrap();
    assert!(matches!(f.commit(1, success(1)), Err(RoundError::Duplicate { .. })));
    f.commit(2, success(1)).unwrap();
    let effects = f.commit(3, success(1)).unwrap();
    assert_eq!(slashed(&effects), vec![f.node(1)], "once, although in two roles");
    assert_eq!(f.state.records()[&f.node(1)].wrong_results, 1);
}

#[test]
fn a_duplicate_is_refused_and_the_first_commitment_stands() {
    let (mut f, scheduler, other) = announced();
    f.commit(other, success(1)).unwrap();
    assert_eq!(f.commit(other, success(2)), Err(RoundError::Duplicate { node: f.node(other) }));
    assert!(finalized(&f.commit(scheduler, success(1)).unwrap()).is_some());
}

#[test]
fn a_worker_that_was_shown_another_batch_is_absent_and_not_wrong() {
    let (mut f, scheduler, other) = announced();
    f.commit(scheduler, success(1)).unwrap();
    let commitment = Commitment { proposal: digest(5), ..f.commitment(other, success(2)) };
    assert!(matches!(f.commit_as(other, commitment, vec![]), Err(RoundError::OtherProposal { .. })));
    let effects = f.until_due();
    assert_eq!(charges(&effects), vec![(f.node(other), ChargeReason::WorkerAbsent)]);
    f.commit(2, success(1)).unwrap();
    assert_eq!(slashed(&f.commit(3, success(1)).unwrap()), vec![]);
}
