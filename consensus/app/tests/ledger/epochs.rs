use crate::support::{EPOCH_BLOCKS, Net, STAKE, digest, genesis};
use parallax_consensus_app::tx::{Call, Role};
use parallax_consensus_app::{Application, beacon, epoch, rounds};
use parallax_primitives::{Address, Amount, Domain, Epoch, Height, NodeId};
use parallax_rounds::{BlockKind, Committee};
use std::collections::BTreeSet;

/// Sends the beacon proofs of so many validators for the next epoch.
pub(crate) fn prove(net: &mut Net, count: usize) {
    let now = epoch::current(&*net.view()).unwrap();
    let input = beacon::input(net.chain, now.epoch.next(), &now.entropy);
    let proofs = net.validators[..count]
        .iter()
        .map(|v| net.tx(&v.node, Call::BeaconProof { epoch: now.epoch.next(), output: v.vrf.evaluate(&input) }))
        .collect();
    for receipt in net.run(proofs).receipts {
        assert_eq!(receipt.outcome, Ok(()));
    }
}

pub(crate) fn committee(net: &Net) -> Option<Committee> {
    rounds::committee(&*net.view(), &net.paratime).unwrap()
}

#[test]
fn an_epoch_ends_with_new_entropy_and_an_elected_committee() {
    let mut net = Net::new();
    let first = epoch::current(&*net.view()).unwrap();
    prove(&mut net, 4);
    let told = net.run_to(Height(EPOCH_BLOCKS));
    let now = epoch::current(&*net.view()).unwrap();
    assert_eq!((now.epoch, now.first_height), (Epoch(1), Height(EPOCH_BLOCKS + 1)));
    assert_ne!(now.entropy, first.entropy);
    for name in ["beacon.epoch", "election.committee", "rounds.epoch_transition"] {
        assert_eq!(told.iter().filter(|e| e.name == name).count(), 1, "{name}");
    }
    let seated = committee(&net).unwrap();
    assert_eq!((seated.epoch, seated.workers.len(), seated.backups.len()), (Epoch(1), 2, 3));
    let nodes: BTreeSet<&NodeId> = seated.workers.iter().chain(&seated.backups).collect();
    assert_eq!(nodes.len(), 5, "with five nodes nobody sits twice");
    let block = rounds::latest(&*net.view(), &net.paratime).unwrap().unwrap();
    assert_eq!(block.kind, BlockKind::EpochTransition);
    assert_eq!(net.announce(0).outcome, Ok(()), "the new committee works at once");
}

#[test]
fn entropy_depends_on_who_contributed_and_not_on_the_order() {
    let ends_with = |order: &[usize]| {
        let mut net = Net::new();
        let now = epoch::current(&*net.view()).unwrap();
        let input = beacon::input(net.chain, Epoch(1), &now.entropy);
        for index in order {
            let key = net.validators[*index].node.clone();
            let output = net.validators[*index].vrf.evaluate(&input);
            net.send(&key, Call::BeaconProof { epoch: Epoch(1), output }).outcome.unwrap();
        }
        net.run_to(Height(EPOCH_BLOCKS));
        epoch::current(&*net.view()).unwrap().entropy
    };
    assert_eq!(ends_with(&[0, 1, 2]), ends_with(&[2, 0, 1]));
    assert_ne!(ends_with(&[0, 1, 2]), ends_with(&[0, 1, 3]));
}

#[test]
fn too_few_proofs_leave_the_paratime_without_committee_until_an_epoch_has_enough() {
    let mut net = Net::new();
    prove(&mut net, 2);
    let told = net.run_to(Height(EPOCH_BLOCKS));
    let now = epoch::current(&*net.view()).unwrap();
    assert!(!now.committees);
    assert!(told.iter().any(|e| e.name == "election.none" && e.get("reason") == Some("too few beacon proofs")));
    assert_eq!(told.iter().filter(|e| e.name == "rounds.suspended").count(), 1);
    assert_eq!(committee(&net), None);
    let suspended = net.machine().round();
    net.run_to(Height(EPOCH_BLOCKS + 20));
    assert_eq!(net.machine().round(), suspended, "no round runs without a committee");
    prove(&mut net, 3);
    net.run_to(Height(2 * EPOCH_BLOCKS));
    assert_eq!(committee(&net).unwrap().epoch, Epoch(2));
    assert_eq!(net.announce(0).outcome, Ok(()));
}

#[test]
fn a_beacon_proof_counts_once_for_the_next_epoch_from_a_validator_with_its_own_key() {
    let mut net = Net::new();
    let now = epoch::current(&*net.view()).unwrap();
    let input = beacon::input(net.chain, Epoch(1), &now.entropy);
    let (a, b) = (net.validators[0].node.clone(), net.validators[1].node.clone());
    let (own, foreign) = (net.validators[0].vrf.evaluate(&input), net.validators[1].vrf.evaluate(&input));
    let compute = net.computes[0].node.clone();
    let of_compute = net.computes[0].vrf.evaluate(&input);
    let mut attempt = |key: &_, epoch, output: &parallax_primitives::vrf::VrfOutput, code: Option<u32>| {
        let bytes = net.tx(key, Call::BeaconProof { epoch, output: output.clone() });
        let admitted = net.ledger.check(&*net.view(), &bytes);
        assert_eq!(admitted.err().map(|e| e.code), code);
        let executed = net.apply(&net.block_with(vec![bytes]));
        assert_eq!(executed.receipts[0].outcome.clone().err().map(|e| e.code), code);
    };
    attempt(&a, Epoch(2), &own, Some(1));
    attempt(&a, Epoch(0), &own, Some(1));
    attempt(&compute, Epoch(1), &of_compute, Some(2));
    attempt(&a, Epoch(1), &foreign, Some(4));
    attempt(&a, Epoch(1), &own, None);
    attempt(&a, Epoch(1), &own, Some(3));
    attempt(&b, Epoch(1), &foreign, None);
}

#[test]
fn a_worker_slashed_below_the_least_stake_is_not_elected_again() {
    let mut document = genesis();
    // One slash of a tenth takes everyone below the threshold.
    document.parameters.min_node_stake = Amount(STAKE - 1);
    let mut net = Net::of(document);
    let machine = net.machine();
    let seated = machine.committee().unwrap().clone();
    let cheat = seated.worker_of_rank(machine.round(), 1).unwrap();
    net.announce(0).outcome.unwrap();
    let scheduler = seated.worker_of_rank(machine.round(), 0).unwrap();
    net.commit(vec![net.verdict(&scheduler, digest("right"), vec![]), net.verdict(&cheat, digest("wrong"), vec![])]);
    net.commit(seated.backups[..2].iter().map(|b| net.verdict(b, digest("right"), vec![])).collect());
    prove(&mut net, 4);
    net.run_to(Height(EPOCH_BLOCKS));
    let next = committee(&net).unwrap();
    assert!(!next.is_worker(&cheat) && !next.is_backup(&cheat));
    assert_eq!((next.workers.len(), next.backups.len()), (2, 3), "four nodes fill five seats");
}

#[test]
fn too_few_eligible_nodes_elect_no_committee() {
    let mut net = Net::new();
    for index in 0..3 {
        let entity = net.computes[index].entity.clone();
        let from = Address::of(&entity.public());
        net.send(&entity, Call::Reclaim { from, amount: Amount(STAKE) }).outcome.unwrap();
    }
    prove(&mut net, 4);
    let told = net.run_to(Height(EPOCH_BLOCKS));
    assert!(told.iter().any(|e| e.get("reason") == Some("too few nodes can be elected")));
    assert_eq!(committee(&net), None);
}

#[test]
fn a_node_with_another_profile_or_an_expired_one_is_not_elected() {
    let mut net = Net::new();
    let (paratime, chain) = (net.paratime, net.chain);
    let mut renew = |index: usize, profile, expires| {
        let operator = &net.computes[index];
        let mut descriptor = operator.descriptor(&[Role::Compute], vec![(paratime, profile)]);
        descriptor.expires = expires;
        let (key, node) = (operator.entity.clone(), operator.sign(descriptor, Domain::Transaction, chain));
        net.send(&key, Call::RegisterNode { node }).outcome.unwrap();
    };
    renew(0, digest("another plan"), Epoch(100));
    renew(1, crate::support::profile(), Epoch(0));
    prove(&mut net, 4);
    net.run_to(Height(EPOCH_BLOCKS));
    let seated = committee(&net).unwrap();
    for index in [0, 1] {
        let node = net.computes[index].id();
        assert!(!seated.is_worker(&node) && !seated.is_backup(&node), "compute {index}");
    }
}

#[test]
fn a_change_of_validators_rules_two_heights_after_the_block_that_makes_it() {
    let mut net = Net::new();
    let richest = net.validators[3].entity.clone();
    let to = Address::of(&richest.public());
    net.send(&richest, Call::Escrow { to, amount: Amount(STAKE) }).outcome.unwrap();
    let (validator, power) = (net.validators[3].id(), |net: &Net, h| {
        net.ledger.validators(Height(h)).unwrap().power_of(&net.validators[3].id())
    });
    net.run_to(Height(EPOCH_BLOCKS - 1));
    let executed = net.run(vec![]);
    assert_eq!(executed.validator_updates.unwrap().power_of(&validator), 20);
    let end = EPOCH_BLOCKS;
    assert_eq!([power(&net, end), power(&net, end + 1), power(&net, end + 2)], [10, 10, 20]);
    let next = net.propose(vec![]);
    assert_eq!(next.header.next_validators_hash, net.ledger.validators(Height(end + 2)).unwrap().hash());
    assert_ne!(next.header.validators_hash, next.header.next_validators_hash);
    net.run_to(Height(end + 5));
    assert_eq!(power(&net, end + 1), 10, "old sets stay known");
    assert_eq!(power(&net, end + 7), 20);
}

#[test]
fn a_chain_keeps_its_validators_when_none_can_be_elected() {
    let mut net = Net::new();
    let before = net.ledger.validators(Height(1)).unwrap();
    for index in 0..4 {
        let entity = net.validators[index].entity.clone();
        let from = Address::of(&entity.public());
        net.send(&entity, Call::Reclaim { from, amount: Amount(STAKE) }).outcome.unwrap();
    }
    net.run_to(Height(EPOCH_BLOCKS + 3));
    assert_eq!(net.ledger.validators(Height(EPOCH_BLOCKS + 5)).unwrap(), before);
}

#[test]
fn an_expired_node_stays_known_through_the_debonding_time() {
    let mut net = Net::new();
    let operator = &net.validators[0];
    let mut descriptor = operator.descriptor(&[Role::Validator], vec![]);
    descriptor.expires = Epoch(0);
    let (key, id) = (operator.entity.clone(), operator.id());
    let node = operator.sign(descriptor, Domain::Transaction, net.chain);
    net.send(&key, Call::RegisterNode { node }).outcome.unwrap();
    let known = |net: &Net| parallax_consensus_app::registry::node(&*net.view(), &id).unwrap().is_some();
    net.run_to(Height(EPOCH_BLOCKS));
    assert_eq!(net.ledger.validators(Height(EPOCH_BLOCKS + 2)).unwrap().power_of(&id), 0);
    // The node proposed so far; another one has to go on.
    net.validators.rotate_left(1);
    net.run_to(Height(3 * EPOCH_BLOCKS - 1));
    assert!(known(&net));
    let told = net.run_to(Height(3 * EPOCH_BLOCKS));
    assert!(told.iter().any(|e| e.name == "registry.removed"));
    assert!(!known(&net));
}
