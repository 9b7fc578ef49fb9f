//! Who may be elected, and from when on.

use crate::epochs::{committee, prove};
use crate::support::{EPOCH_BLOCKS, Net, Operator, STAKE, digest, profile};
use parallax_consensus_app::registry::{node, node_since};
use parallax_consensus_app::tx::{Call, NodeDescriptor, Role};
use parallax_consensus_app::{Receipt, ledger};
use parallax_primitives::vrf::VrfSecretKey;
use parallax_primitives::{Amount, Digest, Domain, Epoch, Height, ParaTimeId, SecretKey};

/// Another node, of the same entity.
fn another(operator: &Operator, seed: u8) -> Operator {
    Operator {
        entity: operator.entity.clone(),
        node: SecretKey::from_seed([seed; 32]),
        vrf: VrfSecretKey::from_seed([seed; 32]),
    }
}

fn register(net: &mut Net, operator: &Operator, descriptor: NodeDescriptor) -> Receipt {
    let node = operator.sign(descriptor, Domain::Transaction, net.chain);
    let tx = net.tx(&operator.entity, Call::RegisterNode { node });
    net.apply(&net.block_with(vec![tx])).receipts.remove(0)
}

fn register_compute(net: &mut Net, operator: &Operator) -> Receipt {
    let descriptor = operator.descriptor(&[Role::Compute], vec![(net.paratime, profile())]);
    register(net, operator, descriptor)
}

fn code(receipt: Receipt) -> Option<u32> {
    receipt.outcome.err().map(|error| error.code)
}

fn reclaim(net: &mut Net, operator: &Operator, amount: u128) {
    let call = Call::Reclaim { from: operator.entity(), amount: Amount(amount) };
    net.send(&operator.entity, call).outcome.unwrap();
}

/// Leaves only the last two compute nodes with stake; a committee of two workers and three backups needs three.
fn two_are_left(net: &mut Net) {
    let computes: Vec<Operator> = net.computes.drain(..3).collect();
    for operator in &computes {
        reclaim(net, operator, STAKE);
    }
}

/// Runs to the first block of the next epoch, with proofs of all validators.
fn next_epoch(net: &mut Net, ended: u64) {
    prove(net, 4);
    net.run_to(Height(ended * EPOCH_BLOCKS));
}

#[test]
fn a_new_node_is_electable_from_the_second_epoch_after_its_registration() {
    let mut net = Net::new();
    two_are_left(&mut net);
    let fresh = another(&net.computes[0], 77);
    // In the last block of the epoch whoever reads the proofs knows the next entropy, and can choose the key by it.
    prove(&mut net, 4);
    net.run_to(Height(EPOCH_BLOCKS - 1));
    assert_eq!(code(register_compute(&mut net, &fresh)), None);
    assert_eq!(committee(&net), None, "epoch 1 has two nodes, and the new one waits");
    assert_eq!(node_since(&*net.view(), &fresh.id()).unwrap(), Some(Epoch(0)));
    next_epoch(&mut net, 2);
    let seated = committee(&net).expect("epoch 2 has three");
    assert!(seated.is_worker(&fresh.id()) || seated.is_backup(&fresh.id()));
}

#[test]
fn other_roles_or_paratimes_start_the_waiting_anew_and_a_renewal_in_time_does_not() {
    let mut net = Net::new();
    let operator = net.computes.remove(0);
    let paratimes = vec![(net.paratime, profile())];
    let mut renew = |at: u64, roles: &[Role], paratimes: &[(ParaTimeId, Digest)], expires| {
        net.run_to(Height(at * EPOCH_BLOCKS));
        let mut descriptor = operator.descriptor(roles, paratimes.to_vec());
        descriptor.expires = Epoch(expires);
        assert_eq!(code(register(&mut net, &operator, descriptor)), None);
        node_since(&*net.view(), &operator.id()).unwrap()
    };
    assert_eq!(renew(0, &[Role::Compute], &paratimes, 50), None, "of genesis, and unchanged");
    assert_eq!(renew(1, &[Role::Validator, Role::Compute], &paratimes, 50), Some(Epoch(1)));
    assert_eq!(renew(2, &[Role::Validator, Role::Compute], &paratimes, 60), Some(Epoch(1)));
    let other = [(paratimes[0].0, digest("another plan"))];
    assert_eq!(renew(3, &[Role::Validator, Role::Compute], &other, 3), Some(Epoch(3)));
    assert_eq!(renew(4, &[Role::Validator, Role::Compute], &other, 60), Some(Epoch(4)), "it had lapsed");
}

#[test]
fn a_known_node_keeps_its_vrf_key() {
    let mut net = Net::new();
    let operator = net.validators.remove(3);
    let mut descriptor = operator.descriptor(&[Role::Validator], vec![]);
    descriptor.vrf = VrfSecretKey::from_seed([1; 32]).public();
    let refused = register(&mut net, &operator, descriptor.clone()).outcome.unwrap_err();
    assert_eq!((refused.module.as_str(), refused.code), ("registry", 8));
    assert!(refused.message.contains("for a new one register a new node"), "{}", refused.message);
    descriptor.vrf = operator.vrf.public();
    assert_eq!(code(register(&mut net, &operator, descriptor)), None);
}

#[test]
fn a_stake_carries_one_node_for_each_least_stake_in_it() {
    let mut net = Net::new();
    let operator = net.computes.remove(0);
    // The stake is ten times the least one, and one node is of genesis.
    for seed in 71..80 {
        let fresh = another(&operator, seed);
        assert_eq!(code(register(&mut net, &fresh, fresh.descriptor(&[Role::Observer], vec![]))), None, "{seed}");
    }
    let eleventh = another(&operator, 80);
    let descriptor = eleventh.descriptor(&[Role::Observer], vec![]);
    let refused = register(&mut net, &eleventh, descriptor.clone()).outcome.unwrap_err();
    assert_eq!(refused.code, 7);
    assert!(refused.message.contains("node number 11 needs 1100000"), "{}", refused.message);
    // Nodes that are known already can be renewed.
    assert_eq!(code(register_compute(&mut net, &operator)), None);
    let call = Call::Escrow { to: operator.entity(), amount: Amount(STAKE / 10) };
    net.send(&operator.entity, call).outcome.unwrap();
    assert_eq!(code(register(&mut net, &eleventh, descriptor)), None);
}

#[test]
fn nodes_beyond_the_stake_of_their_entity_are_not_elected() {
    let mut net = Net::new();
    two_are_left(&mut net);
    let operator = net.computes.remove(0);
    let fresh = another(&operator, 77);
    assert_eq!(code(register_compute(&mut net, &fresh)), None);
    next_epoch(&mut net, 1);
    next_epoch(&mut net, 2);
    assert!(committee(&net).is_some());
    let least = ledger::parameters(&*net.view()).unwrap().min_node_stake.0;
    reclaim(&mut net, &operator, STAKE - 2 * least);
    next_epoch(&mut net, 3);
    assert!(committee(&net).is_some(), "two nodes on twice the least stake");
    reclaim(&mut net, &operator, 1);
    next_epoch(&mut net, 4);
    assert_eq!(committee(&net), None, "one base unit less carries one node");
    // The first by key can be renewed, the second can not.
    let (first, second) = if operator.id() < fresh.id() { (&operator, &fresh) } else { (&fresh, &operator) };
    assert_eq!(code(register_compute(&mut net, first)), None);
    assert_eq!(code(register_compute(&mut net, second)), Some(7));
}

#[test]
fn an_expired_node_holds_its_share_of_the_stake_until_it_is_removed_with_the_epoch_it_waited_from() {
    let mut net = Net::new();
    let operator = net.computes.remove(0);
    let least = ledger::parameters(&*net.view()).unwrap().min_node_stake.0;
    reclaim(&mut net, &operator, STAKE - 2 * least);
    let (brief, next) = (another(&operator, 77), another(&operator, 78));
    let mut descriptor = brief.descriptor(&[Role::Observer], vec![]);
    descriptor.expires = Epoch(0);
    assert_eq!(code(register(&mut net, &brief, descriptor)), None);
    net.run_to(Height(2 * EPOCH_BLOCKS));
    let wanted = next.descriptor(&[Role::Observer], vec![]);
    assert_eq!(code(register(&mut net, &next, wanted.clone())), Some(7));
    assert_eq!(node_since(&*net.view(), &brief.id()).unwrap(), Some(Epoch(0)));
    net.run_to(Height(3 * EPOCH_BLOCKS));
    assert_eq!(node(&*net.view(), &brief.id()).unwrap(), None);
    assert_eq!(node_since(&*net.view(), &brief.id()).unwrap(), None);
    assert_eq!(code(register(&mut net, &next, wanted)), None);
}
