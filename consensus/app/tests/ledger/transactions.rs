use crate::support::{BALANCE, Net, STAKE, digest};
use parallax_consensus_app::tx::{Call, Role, Transaction, TxBody};
use parallax_consensus_app::{Application, MAX_NONCES_AHEAD, ledger, registry};
use parallax_primitives::{Address, Amount, ChainContext, Domain, Epoch, Nonce, SecretKey, limits};

fn address(key: &SecretKey) -> Address {
    Address::of(&key.public())
}

fn transfer(to: &SecretKey, amount: u128) -> Call {
    Call::Transfer { to: address(to), amount: Amount(amount) }
}

/// Checks that a transaction is refused everywhere, with this code and text, and that nothing changes.
fn refused(net: &mut Net, bytes: Vec<u8>, code: (&str, u32), text: &str) {
    let error = net.ledger.check(&*net.view(), &bytes).unwrap_err();
    assert_eq!((error.module.as_str(), error.code), code, "{error}");
    assert!(error.message.contains(text), "{error}");
    assert_eq!(net.propose(vec![bytes.clone()]).transactions.len(), 0, "a proposal leaves it out");
    let root = net.root();
    let invalid = net.deliver(&net.block_with(vec![bytes])).unwrap_err().to_string();
    assert!(invalid.contains("transaction 0 cannot stand in a block"), "{invalid}");
    assert_eq!(net.root(), root);
}

#[test]
fn a_transfer_moves_tokens_and_its_fee_goes_to_the_proposers_entity() {
    let mut net = Net::new();
    let (from, to) = (net.users[0].clone(), net.users[1].clone());
    let bytes = net.tx(&from, transfer(&to, 500));
    let checked = net.ledger.check(&*net.view(), &bytes).unwrap();
    assert_eq!((checked.sender, checked.nonce), (address(&from), Nonce(0)));
    let executed = net.run(vec![bytes]);
    assert_eq!(executed.receipts[0].outcome, Ok(()));
    assert_eq!(executed.receipts[0].tx, checked.digest);
    assert_eq!(executed.receipts[0].gas_used, checked.gas_limit);
    assert_eq!(executed.receipts[0].events[0].name, "staking.transfer");
    assert_eq!(net.balance(&address(&to)), BALANCE + 500);
    assert_eq!(net.balance(&address(&from)), BALANCE - 500 - checked.fee.0);
    assert_eq!(net.balance(&net.validators[0].entity()), BALANCE + checked.fee.0);
    assert_eq!(net.account(&address(&from)).nonce, Nonce(1));
}

#[test]
fn tokens_sent_to_oneself_stay() {
    let mut net = Net::new();
    let user = net.users[0].clone();
    let receipt = net.send(&user, transfer(&user, 500));
    assert_eq!(receipt.outcome, Ok(()));
    assert_eq!(net.balance(&address(&user)), BALANCE - u128::from(receipt.gas_used.0));
}

#[test]
fn a_failing_call_costs_its_fee_and_changes_nothing_else() {
    let mut net = Net::new();
    let (from, to) = (net.users[0].clone(), net.users[1].clone());
    // The account cannot pay this together with the fee, which admission refuses and a block records.
    let bytes = net.tx(&from, transfer(&to, BALANCE));
    let error = net.ledger.check(&*net.view(), &bytes).unwrap_err();
    assert_eq!((error.module.as_str(), error.code), ("staking", 1));
    let executed = net.apply(&net.block_with(vec![bytes]));
    let failure = executed.receipts[0].outcome.clone().unwrap_err();
    assert_eq!((failure.module.as_str(), failure.code), ("staking", 1));
    assert_eq!(executed.receipts[0].events, vec![]);
    assert_eq!(net.balance(&address(&to)), BALANCE);
    assert_eq!(net.balance(&address(&from)), BALANCE - u128::from(executed.receipts[0].gas_used.0));
    assert_eq!(net.account(&address(&from)).nonce, Nonce(1));
}

#[test]
fn an_undecodable_transaction_is_refused_and_changes_nothing() {
    let mut net = Net::new();
    let (from, to) = (net.users[0].clone(), net.users[1].clone());
    let good = net.tx(&from, transfer(&to, 1));
    refused(&mut net, vec![0; limits::MAX_TX_BYTES + 1], ("auth", 1), "the limit is 65536");
    refused(&mut net, good[..good.len() - 1].to_vec(), ("auth", 2), "truncated");
    refused(&mut net, vec![], ("auth", 2), "truncated");
    let trailing = [good.clone(), vec![0]].concat();
    refused(&mut net, trailing, ("auth", 3), "1 bytes after its end");
    assert!(net.ledger.check(&*net.view(), &good).is_ok());
}

#[test]
fn a_wrong_signature_or_chain_is_refused_and_changes_nothing() {
    let mut net = Net::new();
    let (from, to) = (net.users[0].clone(), net.users[1].clone());
    let parameters = ledger::parameters(&*net.view()).unwrap();
    let body = TxBody::priced(Nonce(0), transfer(&to, 1), &parameters);
    let other_chain = Transaction::sign(body.clone(), ChainContext(digest("another chain")), &from);
    refused(&mut net, other_chain.encode(), ("auth", 4), "signed for another chain or by another key");
    let Transaction::V1(mut stolen) = Transaction::sign(body, net.chain, &to);
    stolen.signer = from.public();
    refused(&mut net, Transaction::V1(stolen).encode(), ("auth", 4), "signed for another chain or by another key");
}

#[test]
fn a_replay_is_refused_and_changes_nothing() {
    let mut net = Net::new();
    let (from, to) = (net.users[0].clone(), net.users[1].clone());
    let bytes = net.tx(&from, transfer(&to, 1));
    net.run(vec![bytes.clone()]);
    refused(&mut net, bytes, ("auth", 5), "nonce 0");
}

#[test]
fn an_unaffordable_fee_a_low_fee_and_a_low_gas_limit_are_refused() {
    let mut net = Net::new();
    let (from, to, pauper) = (net.users[0].clone(), net.users[1].clone(), SecretKey::from_seed([77; 32]));
    let poor = net.tx(&pauper, transfer(&to, 1));
    refused(&mut net, poor, ("staking", 1), "0 base units free");
    let parameters = ledger::parameters(&*net.view()).unwrap();
    let priced = TxBody::priced(Nonce(0), transfer(&to, 1), &parameters);
    let cheap = TxBody { fee: priced.fee.saturating_sub(1), ..priced.clone() };
    let cheap = Transaction::sign(cheap, net.chain, &from).encode();
    refused(&mut net, cheap, ("auth", 7), "too low");
    let tight = TxBody { gas_limit: priced.gas_limit.saturating_sub(1), ..priced };
    let tight = Transaction::sign(tight, net.chain, &from).encode();
    refused(&mut net, tight, ("auth", 8), "too low");
}

#[test]
fn a_pool_takes_a_run_of_nonces_and_a_block_takes_them_in_order() {
    let mut net = Net::new();
    let (from, to) = (net.users[0].clone(), net.users[1].clone());
    let parameters = ledger::parameters(&*net.view()).unwrap();
    // Later nonces pay more and are given first: fee decides between senders, never within one.
    let run: Vec<Vec<u8>> = (0..5u64)
        .map(|nonce| {
            let mut body = TxBody::priced(Nonce(nonce), transfer(&to, 1), &parameters);
            body.fee = body.fee.saturating_add(u128::from(nonce));
            Transaction::sign(body, net.chain, &from).encode()
        })
        .collect();
    for tx in &run {
        net.ledger.check(&*net.view(), tx).unwrap();
    }
    let mut reversed = run.clone();
    reversed.reverse();
    assert_eq!(net.propose(reversed).transactions, run);
    let far = net.tx_ahead(&from, transfer(&to, 1), MAX_NONCES_AHEAD);
    refused(&mut net, far, ("auth", 6), "too far ahead");
    let gap = net.tx_ahead(&from, transfer(&to, 1), 1);
    net.ledger.check(&*net.view(), &gap).unwrap();
    assert_eq!(net.propose(vec![gap.clone()]).transactions.len(), 0);
    net.deliver(&net.block_with(vec![gap])).unwrap_err();
}

#[test]
fn of_two_senders_the_higher_fee_comes_first_and_limits_hold() {
    let net = Net::new();
    let (a, b, to) = (&net.users[0], &net.users[1], &net.users[2]);
    let parameters = ledger::parameters(&*net.view()).unwrap();
    let low = Transaction::sign(TxBody::priced(Nonce(0), transfer(to, 1), &parameters), net.chain, a).encode();
    let mut body = TxBody::priced(Nonce(0), transfer(to, 1), &parameters);
    body.fee = body.fee.saturating_add(1);
    let high = Transaction::sign(body, net.chain, b).encode();
    let block = net.propose(vec![low.clone(), high.clone()]);
    assert_eq!(block.transactions, vec![high.clone(), low.clone()]);
    let context = net.context(&block.header);
    let one = parallax_consensus_app::BlockLimits { max_bytes: high.len() + 1, max_txs: 10 };
    let block = net.ledger.propose(&*net.view(), &context, vec![low, high.clone()], one).unwrap();
    assert_eq!(block.transactions, vec![high]);
}

#[test]
fn gas_is_charged_for_each_commitment_of_a_transaction() {
    let mut net = Net::new();
    net.announce(0);
    let node = net.computes[0].id();
    let one = net.verdict(&node, digest("root 1"), vec![]);
    let parameters = ledger::parameters(&*net.view()).unwrap();
    let call = |n: usize| Call::Commit { paratime: net.paratime, commitments: vec![one.clone(); n] };
    let gas = |n| call(n).gas(0, &parameters).0;
    assert_eq!(gas(3) - gas(2), parameters.gas_per_signature.0);
}

#[test]
fn stake_is_escrowed_reclaimed_and_free_after_debonding() {
    let mut net = Net::new();
    let operator = net.computes[0].entity.clone();
    let entity = address(&operator);
    let receipt = net.send(&operator, Call::Escrow { to: entity, amount: Amount(500) });
    assert_eq!(receipt.outcome, Ok(()));
    assert_eq!(net.stake(&entity).active, Amount(STAKE + 500));
    net.send(&operator, Call::Reclaim { from: entity, amount: Amount(300) }).outcome.unwrap();
    let stake = net.stake(&entity);
    assert_eq!((stake.active, stake.total()), (Amount(STAKE + 200), Amount(STAKE + 500)));
    assert_eq!(stake.debonding[0].free_at, Epoch(2));
    let before = net.balance(&entity);
    let events = net.run_to(parallax_primitives::Height(2 * crate::support::EPOCH_BLOCKS));
    assert_eq!(events.iter().filter(|e| e.name == "staking.released").count(), 1);
    assert_eq!(net.balance(&entity), before + 300);
    assert_eq!(net.stake(&entity).debonding, vec![]);
}

#[test]
fn stake_of_another_entity_and_more_than_there_is_cannot_be_moved() {
    let mut net = Net::new();
    let (user, operator) = (net.users[0].clone(), net.computes[0].entity.clone());
    let entity = address(&operator);
    for (key, call, code) in [
        (&user, Call::Escrow { to: entity, amount: Amount(1) }, 4),
        (&user, Call::Reclaim { from: entity, amount: Amount(1) }, 4),
        (&operator, Call::Reclaim { from: entity, amount: Amount(STAKE + 1) }, 3),
        (&operator, Call::Escrow { to: entity, amount: Amount(0) }, 2),
    ] {
        let bytes = net.tx(key, call);
        assert_eq!(net.ledger.check(&*net.view(), &bytes).unwrap_err().code, code);
        let executed = net.apply(&net.block_with(vec![bytes]));
        assert_eq!(executed.receipts[0].outcome.clone().unwrap_err().code, code);
        assert_eq!(net.stake(&entity).total(), Amount(STAKE));
    }
}

#[test]
fn a_node_is_registered_by_its_entity_with_its_own_signature_only() {
    let mut net = Net::new();
    let user = net.users[0].clone();
    let chain = net.chain;
    let (mut validators, _) = crate::support::operators();
    let newcomer = validators.remove(0);
    let fresh = crate::support::operators().1.remove(0);
    // A node of the first validator's entity under a new key.
    let mut descriptor = newcomer.descriptor(&[Role::Observer], vec![]);
    let node_key = SecretKey::from_seed([99; 32]);
    descriptor.node = node_key.public();
    let sign = |key: &SecretKey, domain| {
        let context = parallax_primitives::SigningContext::new(domain, chain);
        parallax_consensus_app::tx::SignedNodeDescriptor {
            signature: key.sign(&context, &descriptor),
            descriptor: descriptor.clone(),
        }
    };
    let good = sign(&node_key, Domain::Transaction);
    let mut attempt = |key: &SecretKey, node, code: Option<u32>| {
        let bytes = net.tx(key, Call::RegisterNode { node });
        let executed = net.apply(&net.block_with(vec![bytes]));
        assert_eq!(executed.receipts[0].outcome.clone().err().map(|e| e.code), code);
    };
    attempt(&user, good.clone(), Some(1));
    attempt(&newcomer.entity, sign(&newcomer.node, Domain::Transaction), Some(2));
    attempt(&newcomer.entity, sign(&node_key, Domain::Genesis), Some(2));
    let mut unsorted = newcomer.descriptor(&[Role::Observer, Role::Validator], vec![]);
    attempt(&newcomer.entity, newcomer.sign(unsorted.clone(), Domain::Transaction, chain), Some(3));
    unsorted.roles = vec![Role::Compute];
    unsorted.paratimes = vec![(parallax_primitives::ParaTimeId::named("none"), digest("p"))];
    attempt(&newcomer.entity, newcomer.sign(unsorted, Domain::Transaction, chain), Some(6));
    let mut taken = fresh.descriptor(&[Role::Observer], vec![]);
    taken.entity = newcomer.entity();
    attempt(&newcomer.entity, fresh.sign(taken, Domain::Transaction, chain), Some(4));
    let mut late = newcomer.descriptor(&[Role::Observer], vec![]);
    late.expires = Epoch(registry::MAX_REGISTRATION_EPOCHS + 1);
    attempt(&newcomer.entity, newcomer.sign(late, Domain::Transaction, chain), Some(5));
    attempt(&newcomer.entity, good, None);
    assert_eq!(registry::node(&*net.view(), &node_key.public()).unwrap().unwrap().entity, newcomer.entity());
}

#[test]
fn an_entity_without_stake_registers_no_node() {
    let mut net = Net::new();
    let user = net.users[0].clone();
    let mut descriptor = net.computes[0].descriptor(&[Role::Observer], vec![]);
    let node_key = SecretKey::from_seed([98; 32]);
    (descriptor.node, descriptor.entity) = (node_key.public(), address(&user));
    let context = parallax_primitives::SigningContext::new(Domain::Transaction, net.chain);
    let node = parallax_consensus_app::tx::SignedNodeDescriptor {
        signature: node_key.sign(&context, &descriptor),
        descriptor,
    };
    let receipt = net.apply(&net.block_with(vec![net.tx(&user, Call::RegisterNode { node })])).receipts.remove(0);
    assert_eq!(receipt.outcome.unwrap_err().code, 7);
}
