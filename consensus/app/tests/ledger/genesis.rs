use crate::support::{Net, chain, database, digest, genesis};
use parallax_consensus_app::genesis::ConsensusGenesis;
use parallax_consensus_app::{
    Application, Ledger, LedgerError, check_invariants, localnet_parameters, localnet_rounds, registry, rounds, staking,
};
use parallax_primitives::{Amount, ChainContext, Epoch, Gas, Height, Round};

#[test]
fn genesis_is_version_zero_and_written_once() {
    let mut net = Net::new();
    assert_eq!(net.height(), Height::ZERO);
    let root = net.root();
    check_invariants(&*net.view()).unwrap();
    net.run(vec![]);
    assert_eq!(net.ledger.init_genesis().unwrap(), root, "a second start writes nothing");
    assert_eq!(net.height(), Height(1));
    let view = net.view();
    assert_eq!(registry::nodes(&*view).unwrap().len(), 9);
    assert_eq!(rounds::latest(&*view, &net.paratime).unwrap().unwrap().round, Round::ZERO);
    let expected: u128 = genesis().accounts.iter().map(|a| a.balance.0 + a.stake.0).sum();
    assert_eq!(staking::supply(&*view).unwrap(), Amount(expected));
}

#[test]
fn a_database_of_another_chain_is_refused_with_both_names() {
    let net = Net::new();
    let mut other = genesis();
    other.chain_id = "other".to_owned();
    other.nodes.clear();
    other.committees.clear();
    let error = Ledger::new(net.ledger.database().clone(), other, ChainContext(digest("other"))).err().unwrap();
    assert!(matches!(error, LedgerError::Genesis(_)), "it has no validator: {error}");
    let mut same_nodes = genesis();
    same_nodes.chain_id = "other".to_owned();
    let context = ChainContext(digest("other"));
    let (validators, _) = crate::support::operators();
    same_nodes.committees.clear();
    same_nodes.nodes = validators
        .iter()
        .map(|o| {
            let descriptor = o.descriptor(&[parallax_consensus_app::tx::Role::Validator], vec![]);
            o.sign(descriptor, parallax_primitives::Domain::Genesis, context)
        })
        .collect();
    let error = Ledger::new(net.ledger.database().clone(), same_nodes, context).err().unwrap();
    assert!(matches!(error, LedgerError::OtherChain { .. }));
    let text = error.to_string();
    assert!(text.contains("the chain test") && text.contains("document is of other"), "{text}");
}

type Spoil = fn(&mut ConsensusGenesis);

#[test]
fn a_document_that_cannot_run_is_refused_with_the_reason() {
    let spoils: [(&str, Spoil); 14] = [
        ("chain_id", |g| g.chain_id.clear()),
        ("epoch_blocks is 0", |g| g.parameters.epoch_blocks = 0),
        ("slash_wrong_result_permille is 1001", |g| g.parameters.slash_wrong_result_permille = 1001),
        ("max_validators is 121", |g| g.parameters.max_validators = 121),
        ("it needs at least 30", |g| g.parameters.epoch_blocks = 29),
        ("listed twice", |g| g.accounts.push(g.accounts[0].clone())),
        ("2^128", |g| g.accounts[0].balance = Amount(u128::MAX)),
        ("minus allowed_stragglers", |g| g.paratimes[0].rounds.allowed_stragglers = 1),
        ("gas_per_block", |g| g.paratimes[0].rounds.gas_per_block = Gas(0)),
        ("did not sign", |g| g.nodes[0].descriptor.expires = Epoch(1)),
        ("the roles must be", |g| g.nodes[0].descriptor.roles.clear()),
        ("which is not listed", |g| g.committees[0].1.workers[0] = Default::default()),
        ("needs 2 different workers", |g| g.committees[0].1.workers[0] = g.committees[0].1.workers[1]),
        ("not registered for it", |g| g.committees[0].1.backups[0] = g.nodes[0].descriptor.node),
    ];
    Ledger::new(database(), genesis(), chain()).map(|_| ()).unwrap();
    for (wanted, spoil) in spoils {
        let mut document = genesis();
        spoil(&mut document);
        let error = Ledger::new(database(), document, chain()).err().expect(wanted).to_string();
        assert!(error.contains(wanted), "{wanted}: {error}");
    }
}

#[test]
fn localnet_parameters_leave_room_for_ten_of_the_largest_deadlines_in_an_epoch() {
    let (parameters, rounds) = (localnet_parameters(), localnet_rounds());
    parameters.validate().unwrap();
    rounds.validate().unwrap();
    rounds.validate_epoch(parameters.epoch_blocks).unwrap();
    // Two jobs of 32 candidates at 40 PBS, and 16 reports at 100.
    let wanted = Gas((2 * 32 * 40 + 16 * 100) * 1_000);
    assert!(rounds.max_batch_gas >= wanted);
}

#[test]
fn validators_are_known_two_heights_ahead_and_no_further() {
    let net = Net::new();
    let set = net.ledger.validators(Height(1)).unwrap();
    assert_eq!(set.validators.len(), 4);
    assert!(set.validators.iter().all(|v| v.power == 10), "a stake of 1,000,000 in units of 100,000");
    assert_eq!(net.ledger.validators(Height(2)).unwrap(), set);
    assert!(net.ledger.validators(Height(3)).is_err());
    assert!(net.ledger.validators(Height(0)).is_err());
}
