//! Equivocation: who is convicted, for how long, and what it costs.

use crate::epochs::{committee, prove};
use crate::support::{BALANCE, EPOCH_BLOCKS, Net, STAKE, digest, events, genesis};
use parallax_consensus_app::tx::Call;
use parallax_consensus_app::{Application, Executed, Receipt, evidence, keys, registry, rounds, standing, stored};
use parallax_primitives::{Address, Amount, Epoch, Height, NodeId, Round, SecretKey};
use parallax_rounds::{Commitment, Committee, Evidence, Outcome, Phase, SignedCommitment, SignedProposal};

/// An epoch in which several rounds fail for want of a proposal.
const LONG_EPOCH: u64 = 100;

fn vote(net: &Net, key: &SecretKey, round: Round, value: &str) -> SignedCommitment {
    let outcome = Outcome::Success {
        io_root: digest(value),
        state_root: digest(value),
        trace_root: digest(value),
        messages_hash: digest(value),
        in_messages_hash: digest(value),
        in_messages_count: 0,
    };
    let commitment = Commitment {
        node: key.public(),
        proposal: digest("proposal"),
        round,
        previous_hash: net.machine().last_hash(),
        outcome,
    };
    SignedCommitment::sign(commitment, vec![], net.chain, net.paratime, key)
}

/// Two votes of a node for one proposal of a round.
pub(crate) fn two_votes(net: &Net, key: &SecretKey, round: Round) -> Evidence {
    Evidence::of_commitments(&vote(net, key, round, "one"), &vote(net, key, round, "other")).unwrap()
}

fn call(net: &Net, evidence: Evidence) -> Call {
    Call::SubmitEvidence { paratime: net.paratime, evidence: Box::new(evidence) }
}

fn report(net: &mut Net, evidence: Evidence) -> Executed {
    let reporter = net.users[1].clone();
    let tx = net.tx(&reporter, call(net, evidence));
    let block = net.block_with(vec![tx]);
    net.apply(&block)
}

/// Reports two votes of a member in round 1.
fn report_votes(net: &mut Net, key: &SecretKey) -> Executed {
    let evidence = two_votes(net, key, Round(1));
    report(net, evidence)
}

fn code(receipt: &Receipt) -> Option<u32> {
    receipt.outcome.as_ref().err().map(|error| {
        assert_eq!(error.module, "evidence", "{error:?}");
        error.code
    })
}

/// Lets rounds fail for want of a proposal until this one is under way.
fn rounds_pass(net: &mut Net, round: Round) {
    while net.machine().round() < round {
        let due = net.machine().due().unwrap();
        net.run_to(due);
    }
    assert_eq!(net.machine().round(), round);
}

fn member(net: &Net, role: fn(&Committee) -> NodeId) -> SecretKey {
    let node = role(&committee(net).unwrap());
    net.operator(&node).node.clone()
}

fn seated(committee: &Committee, node: &NodeId) -> bool {
    committee.is_worker(node) || committee.is_backup(node)
}

#[test]
fn an_equivocating_member_is_slashed_once_and_its_reporter_is_paid() {
    let mut net = Net::new();
    let (worker, backup) = (member(&net, |c| c.workers[0]), member(&net, |c| c.backups[0]));
    let reporter = Address::of(&net.users[1].public());
    let account = registry::paratime_account(&net.paratime);
    for (convicted, key) in [(1, worker), (2, backup)] {
        let entity = net.operator(&key.public()).entity();
        let before = net.balance(&reporter);
        let executed = report_votes(&mut net, &key);
        assert_eq!(code(&executed.receipts[0]), None);
        let told = events(&executed, "rounds.evidence");
        assert_eq!(told[0].get("node"), Some(key.public().to_string().as_str()));
        assert_eq!(told[0].get("kind"), Some("commitments"));
        let slashed = events(&executed, "staking.slashed");
        assert_eq!((slashed.len(), slashed[0].get("reason")), (1, Some("equivocation")));
        // A tenth of the stake, and a tenth of that for the reporter, who paid the least fee.
        let (taken, reward) = (STAKE / 10, STAKE / 100);
        assert_eq!(net.stake(&entity).active, Amount(STAKE - taken));
        let fee = u128::from(executed.receipts[0].gas_used.0);
        assert_eq!(net.balance(&reporter), before + reward - fee);
        assert_eq!(net.balance(&account), convicted * (taken - reward));
        // Another pair of statements about the same round is worth nothing.
        let again =
            Evidence::of_commitments(&vote(&net, &key, Round(1), "a"), &vote(&net, &key, Round(1), "b")).unwrap();
        let tx = net.tx(&net.users[0].clone(), call(&net, again.clone()));
        let admitted = net.ledger.check(&*net.view(), &tx).unwrap_err();
        assert_eq!((admitted.module.as_str(), admitted.code), ("evidence", 6));
        assert_eq!(code(&report(&mut net, again).receipts[0]), Some(6));
        assert_eq!(net.stake(&entity).active, Amount(STAKE - taken));
    }
}

#[test]
fn two_pieces_of_evidence_in_one_block_make_one_penalty() {
    let mut net = Net::new();
    let key = member(&net, |c| c.workers[1]);
    let evidence = two_votes(&net, &key, Round(1));
    let (a, b) = (net.users[0].clone(), net.users[1].clone());
    let transactions = vec![net.tx(&a, call(&net, evidence.clone())), net.tx(&b, call(&net, evidence))];
    let executed = net.run(transactions);
    assert_eq!(executed.receipts.iter().map(code).collect::<Vec<_>>(), [None, Some(6)]);
    assert_eq!(net.stake(&net.operator(&key.public()).entity()).active, Amount(STAKE - STAKE / 10));
}

#[test]
fn two_proposals_of_a_turn_convict_the_scheduler_and_not_a_backup() {
    let mut net = Net::new();
    let first = net.proposal(0);
    let key = net.operator(&first.proposal.scheduler).node.clone();
    assert_eq!(net.announce(0).outcome, Ok(()));
    let two = |by: &SecretKey, net: &Net| {
        let of = |gas| {
            let mut proposal = first.proposal.clone();
            (proposal.scheduler, proposal.gas) = (by.public(), gas);
            SignedProposal::sign(proposal, net.chain, net.paratime, by)
        };
        Evidence::of_proposals(&of(parallax_primitives::Gas(1)), &of(parallax_primitives::Gas(2))).unwrap()
    };
    let backup = member(&net, |c| c.backups[0]);
    let (of_backup, of_scheduler) = (two(&backup, &net), two(&key, &net));
    assert_eq!(code(&report(&mut net, of_backup).receipts[0]), Some(5), "a backup schedules nothing");
    let executed = report(&mut net, of_scheduler);
    assert_eq!(events(&executed, "rounds.evidence")[0].get("kind"), Some("proposals"));
    assert_eq!(net.stake(&net.operator(&key.public()).entity()).active, Amount(STAKE - STAKE / 10));
}

#[test]
fn evidence_is_taken_up_to_its_largest_age_and_no_later() {
    for (age, verdict) in [(0, None), (3, None), (4, Some(4))] {
        let mut document = genesis();
        document.paratimes[0].rounds.max_evidence_age = 3;
        document.parameters.epoch_blocks = LONG_EPOCH;
        let mut net = Net::of(document);
        let key = member(&net, |c| c.workers[0]);
        let evidence = two_votes(&net, &key, Round(1));
        rounds_pass(&mut net, Round(1 + age));
        let executed = report(&mut net, evidence);
        assert_eq!(code(&executed.receipts[0]), verdict, "age {age}");
    }
}

#[test]
fn a_conviction_and_old_committees_are_remembered_as_long_as_evidence_is_taken() {
    let mut document = genesis();
    document.paratimes[0].rounds.max_evidence_age = 2;
    document.parameters.freeze_equivocation_epochs = 0;
    document.parameters.epoch_blocks = LONG_EPOCH;
    let mut net = Net::of(document);
    let key = member(&net, |c| c.workers[0]);
    report_votes(&mut net, &key);
    let known = |net: &Net| evidence::convicted(&*net.view(), &net.paratime, Round(1), &key.public()).unwrap();
    rounds_pass(&mut net, Round(3));
    assert!(known(&net).is_some());
    rounds_pass(&mut net, Round(4));
    assert!(known(&net).is_none());
    let offices = |net: &Net| {
        let kept = stored::scan::<Option<Committee>>(&*net.view(), &keys::offices(&net.paratime)).unwrap();
        kept.len()
    };
    for epoch in 1..=4 {
        prove(&mut net, 4);
        net.run_to(Height(epoch * LONG_EPOCH));
    }
    assert!(offices(&net) <= 2, "{} committees are kept", offices(&net));
    let round = net.machine().round();
    assert_eq!(evidence::office_at(&*net.view(), &net.paratime, round).unwrap(), committee(&net));
}

#[test]
fn evidence_of_a_round_that_has_not_begun_is_refused_and_of_the_one_under_way_taken() {
    let mut net = Net::new();
    let key = member(&net, |c| c.workers[0]);
    let early = two_votes(&net, &key, Round(2));
    let tx = net.tx(&net.users[1].clone(), call(&net, early.clone()));
    assert!(net.ledger.check(&*net.view(), &tx).is_ok(), "a pool may lag by a block");
    assert_eq!(code(&report(&mut net, early.clone()).receipts[0]), Some(3));
    rounds_pass(&mut net, Round(2));
    assert_eq!(code(&report(&mut net, early).receipts[0]), None);
}

#[test]
fn who_had_no_seat_in_that_round_is_not_slashed() {
    let mut document = genesis();
    // One compute node has no seat.
    document.paratimes[0].rounds.backups = 2;
    let spare = document.committees[0].1.backups.pop().unwrap();
    let mut net = Net::of(document);
    for key in [net.operator(&spare).node.clone(), net.validators[0].node.clone(), net.users[2].clone()] {
        let evidence = two_votes(&net, &key, Round(1));
        assert_eq!(code(&report(&mut net, evidence).receipts[0]), Some(5));
    }
    let entity = net.operator(&spare).entity();
    assert_eq!(net.stake(&entity).active, Amount(STAKE));
}

#[test]
fn a_former_member_answers_for_its_rounds_and_a_new_one_not_for_earlier_ones() {
    let mut document = genesis();
    document.paratimes[0].rounds.backups = 2;
    let spare = document.committees[0].1.backups.pop().unwrap();
    let mut net = Net::of(document);
    let first = committee(&net).unwrap();
    let of_round_1: Vec<(NodeId, Evidence)> =
        net.computes.iter().map(|operator| (operator.id(), two_votes(&net, &operator.node, Round(1)))).collect();
    prove(&mut net, 4);
    net.run_to(Height(EPOCH_BLOCKS));
    assert_ne!(committee(&net).unwrap(), first);
    for (node, evidence) in of_round_1 {
        let wanted = if node == spare { Some(5) } else { None };
        assert_eq!(code(&report(&mut net, evidence).receipts[0]), wanted);
    }
}

#[test]
fn forged_foreign_and_padded_statements_convict_nobody() {
    let mut net = Net::new();
    let key = member(&net, |c| c.workers[0]);
    let Evidence::Commitments(a, b) = two_votes(&net, &key, Round(1)) else { panic!("two votes") };
    let forged = SignedCommitment { signature: a.signature, ..b.clone() };
    let elsewhere = Call::SubmitEvidence {
        paratime: parallax_primitives::ParaTimeId::named("elsewhere"),
        evidence: Box::new(Evidence::Commitments(a.clone(), b.clone())),
    };
    for evidence in [
        Evidence::Commitments(a.clone(), forged),
        Evidence::Commitments(b.clone(), a.clone()),
        Evidence::Commitments(a.clone(), a.clone()),
    ] {
        assert_eq!(code(&report(&mut net, evidence).receipts[0]), Some(1));
    }
    let reporter = net.users[1].clone();
    let tx = net.tx(&reporter, elsewhere);
    let executed = net.apply(&net.block_with(vec![tx]));
    assert_eq!(code(&executed.receipts[0]), Some(1), "the signatures are for this ParaTime");
    assert_eq!(net.stake(&net.operator(&key.public()).entity()).active, Amount(STAKE));
}

#[test]
fn who_reports_itself_is_not_paid_for_it() {
    let mut net = Net::new();
    let key = member(&net, |c| c.workers[0]);
    let entity = net.operator(&key.public()).entity.clone();
    let evidence = two_votes(&net, &key, Round(1));
    let receipt = net.send(&entity, call(&net, evidence));
    assert_eq!(code(&receipt), None);
    let fee = u128::from(receipt.gas_used.0);
    assert_eq!(net.balance(&Address::of(&entity.public())), BALANCE - fee);
    assert_eq!(net.balance(&registry::paratime_account(&net.paratime)), STAKE / 10);
}

#[test]
fn evidence_costs_gas_for_three_signatures() {
    let mut net = Net::new();
    let key = member(&net, |c| c.workers[0]);
    let reporter = net.users[1].clone();
    let tx = net.tx(&reporter, call(&net, two_votes(&net, &key, Round(1))));
    let bytes = tx.len() as u64;
    let receipt = net.run(vec![tx]).receipts.remove(0);
    assert_eq!(receipt.gas_used.0, bytes + 3 * 100);
}

#[test]
fn a_convicted_member_loses_its_seat_at_once_and_returns_when_its_entity_unfreezes_it() {
    let mut net = Net::new();
    let key = member(&net, |c| c.workers[0]);
    let (node, entity) = (key.public(), net.operator(&key.public()).entity.clone());
    let executed = report_votes(&mut net, &key);
    assert_eq!(events(&executed, "standing.frozen")[0].get("until"), Some("3"));
    assert_eq!(events(&executed, "election.unseated").len(), 1);
    assert_eq!(events(&executed, "rounds.epoch_transition").len(), 1);
    let next = committee(&net).unwrap();
    assert!(!seated(&next, &node));
    assert_eq!((next.epoch, net.machine().round()), (Epoch::ZERO, Round(2)), "the epoch goes on");
    assert_eq!(net.announce(0).outcome, Ok(()), "and the new committee works");
    // Epochs 1 and 2 pass before it may come back.
    let unfreeze = Call::Unfreeze { node };
    for epoch in 1..=2u64 {
        prove(&mut net, 4);
        net.run_to(Height(epoch * EPOCH_BLOCKS));
        assert!(!seated(&committee(&net).unwrap(), &node), "epoch {epoch}");
        let refused = net.apply(&net.block_with(vec![net.tx(&entity, unfreeze.clone())]));
        let error = refused.receipts[0].outcome.clone().unwrap_err();
        assert_eq!((error.module.as_str(), error.code), ("standing", 4));
    }
    prove(&mut net, 4);
    net.run_to(Height(3 * EPOCH_BLOCKS));
    assert!(!seated(&committee(&net).unwrap(), &node), "a freeze does not end by itself");
    let stranger = net.users[0].clone();
    let refused = net.apply(&net.block_with(vec![net.tx(&stranger, unfreeze.clone())]));
    assert_eq!(refused.receipts[0].outcome.clone().unwrap_err().code, 2, "only its entity may");
    assert_eq!(net.send(&entity, unfreeze.clone()).outcome, Ok(()));
    let again = net.apply(&net.block_with(vec![net.tx(&entity, unfreeze)]));
    assert_eq!(again.receipts[0].outcome.clone().unwrap_err().code, 3, "it is not frozen any more");
    for epoch in 4..=5u64 {
        prove(&mut net, 4);
        net.run_to(Height(epoch * EPOCH_BLOCKS));
        // Unfrozen in epoch 3, it waits as a newly registered node does.
        assert_eq!(seated(&committee(&net).unwrap(), &node), epoch == 5, "epoch {epoch}");
    }
}

#[test]
fn a_conviction_during_a_resolution_leaves_the_verdict_to_those_who_began_it() {
    let mut net = Net::new();
    let machine = net.machine();
    let old = committee(&net).unwrap();
    let (first, second) = (old.worker_of_rank(Round(1), 0).unwrap(), old.worker_of_rank(Round(1), 1).unwrap());
    net.announce(0).outcome.unwrap();
    net.commit(vec![net.verdict(&first, digest("right"), vec![]), net.verdict(&second, digest("wrong"), vec![])]);
    assert!(matches!(net.machine().phase(), Phase::Resolve { .. }));
    let culprit = old.backups[0];
    let key = net.operator(&culprit).node.clone();
    let executed = report_votes(&mut net, &key);
    assert_eq!(code(&executed.receipts[0]), None);
    assert_eq!(committee(&net), Some(old.clone()), "the resolution is theirs");
    let executed = net.commit(old.backups.iter().map(|b| net.verdict(b, digest("right"), vec![])).collect());
    assert_eq!(events(&executed, "rounds.finalized").len(), 1);
    let next = committee(&net).unwrap();
    assert!(!seated(&next, &culprit) && next.epoch == machine.epoch());
    assert_eq!(evidence::office_at(&*net.view(), &net.paratime, Round(1)).unwrap(), Some(old));
}

#[test]
fn with_too_few_left_the_paratime_is_suspended_and_resumes_when_they_are_back() {
    let mut document = genesis();
    document.parameters.freeze_equivocation_epochs = 1;
    let mut net = Net::of(document);
    let culprits: Vec<SecretKey> = net.computes[..3].iter().map(|operator| operator.node.clone()).collect();
    let evidence: Vec<Evidence> = culprits.iter().map(|key| two_votes(&net, key, Round(1))).collect();
    let mut told = Vec::new();
    for piece in evidence {
        let executed = report(&mut net, piece);
        told.extend(executed.events);
    }
    assert_eq!(told.iter().filter(|e| e.name == "rounds.suspended").count(), 1);
    assert_eq!(committee(&net), None);
    let suspended = net.machine().round();
    for epoch in 1..=2u64 {
        prove(&mut net, 4);
        net.run_to(Height(epoch * EPOCH_BLOCKS));
        assert_eq!(committee(&net), None, "two nodes cannot fill three seats");
    }
    assert_eq!(net.machine().round(), suspended, "no round runs without a committee");
    for key in &culprits {
        let operator = net.operator(&key.public());
        let (entity, node) = (operator.entity.clone(), operator.id());
        assert_eq!(net.send(&entity, Call::Unfreeze { node }).outcome, Ok(()));
        assert_eq!(standing::standing(&*net.view(), &node).unwrap(), standing::Standing::default());
    }
    for epoch in 3..=4u64 {
        prove(&mut net, 4);
        net.run_to(Height(epoch * EPOCH_BLOCKS));
    }
    assert_eq!(committee(&net).unwrap().epoch, Epoch(4));
    assert_eq!(net.announce(0).outcome, Ok(()));
    assert_eq!(rounds::latest(&*net.view(), &net.paratime).unwrap().unwrap().round, suspended);
}
