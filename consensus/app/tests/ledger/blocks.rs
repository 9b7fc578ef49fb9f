use crate::support::{Net, digest, events};
use parallax_consensus_app::tx::Call;
use parallax_consensus_app::{
    Application, Block, InvalidBlock, Ledger, keys, ledger, staking, stored, transactions_root,
};
use parallax_memory_store::{FaultPlan, MemoryStore};
use parallax_primitives::{Address, Amount, Digest, Height, NodeId, limits};
use parallax_state::{Batch, Database, Overlay, StateError};
use std::sync::Arc;

type Spoil = fn(&mut Block);

#[test]
fn a_block_with_a_wrong_header_field_is_invalid_and_names_the_field() {
    let mut net = Net::new();
    net.run(vec![]);
    let good = net.propose(vec![]);
    net.deliver(&good).unwrap();
    let spoils: [(&str, Spoil); 8] = [
        ("height", |b| b.header.height = Height(3)),
        ("parent", |b| b.header.parent = Digest::ZERO),
        ("time_ms", |b| b.header.time_ms -= 1),
        ("proposer", |b| b.header.proposer = NodeId::default()),
        ("app_hash", |b| b.header.app_hash = Digest::ZERO),
        ("transactions_root", |b| b.header.transactions_root = Digest::ZERO),
        ("validators_hash", |b| b.header.validators_hash = Digest::ZERO),
        ("next_validators_hash", |b| b.header.next_validators_hash = Digest::ZERO),
    ];
    for (wanted, spoil) in spoils {
        let mut block = good.clone();
        spoil(&mut block);
        match net.deliver(&block) {
            Err(InvalidBlock::Header { field, .. }) => assert_eq!(field, wanted),
            other => panic!("{wanted}: {other:?}"),
        }
    }
    let mut context = net.context(&good.header);
    context.hash = digest("another header");
    let error = net.ledger.deliver(&*net.view(), &context, &good).unwrap_err();
    assert_eq!(error, InvalidBlock::Header { height: Height(2), field: "hash" });
}

#[test]
fn the_header_proves_the_state_after_the_parent() {
    let mut net = Net::new();
    let genesis_root = net.root();
    let user = net.users[0].clone();
    let to = Address::of(&net.users[1].public());
    let first = net.propose(vec![net.tx(&user, Call::Transfer { to, amount: Amount(5) })]);
    assert_eq!((first.header.app_hash, first.header.parent), (genesis_root, net.chain.0));
    net.apply(&first);
    let second = net.propose(vec![]);
    assert_eq!(second.header.app_hash, net.root());
    assert_eq!(second.header.parent, first.header.hash());
    assert!(second.header.time_ms > first.header.time_ms);
    let key = parallax_consensus_app::keys::account(&to);
    let proof = net.ledger.query(Some(Height(1)), &key).unwrap();
    proof.verify(&second.header.app_hash).unwrap();
    let value = proof.value().expect("the account is there");
    let account: parallax_consensus_app::staking::Account =
        parallax_consensus_app::stored::from_value(&key, value).unwrap();
    assert_eq!(account, net.account(&to));
}

#[test]
fn a_block_beyond_the_limits_is_invalid() {
    let net = Net::new();
    let many = net.block_with(vec![vec![]; limits::MAX_BLOCK_TXS + 1]);
    assert!(matches!(net.deliver(&many), Err(InvalidBlock::Limits { .. })));
    let large = net.block_with(vec![vec![0; 64 * 1024]; 17]);
    assert!(matches!(net.deliver(&large), Err(InvalidBlock::Limits { .. })));
}

#[test]
fn delivering_writes_nothing_and_is_the_same_each_time() {
    let net = Net::new();
    let root = net.root();
    let block = net.propose(vec![net.tx(&net.users[0], Call::Transfer { to: Address::default(), amount: Amount(1) })]);
    let (a, b) = (net.deliver(&block).unwrap(), net.deliver(&block).unwrap());
    assert_eq!((a.app_hash, &a.changes, &a.receipts), (b.app_hash, &b.changes, &b.receipts));
    assert_eq!(net.root(), root);
    let other = Net::new();
    assert_eq!(other.deliver(&block).unwrap().app_hash, a.app_hash, "another node, the same outcome");
}

#[test]
fn a_commit_writes_the_engines_rows_too_and_survives_a_restart() {
    let mut net = Net::new();
    let executed = net.deliver(&net.propose(vec![])).unwrap();
    let mut extra = Batch::default();
    extra.put(parallax_state::Column::Blocks, b"block/1".to_vec(), b"engine".to_vec());
    let root = net.ledger.commit(executed.clone(), extra).unwrap();
    let reopened = Ledger::new(net.ledger.database().clone(), crate::support::genesis(), net.chain).unwrap();
    assert_eq!(reopened.last_committed().unwrap(), (Height(1), root));
    let row = reopened.database().store().get(parallax_state::Column::Blocks, b"block/1").unwrap();
    assert_eq!(row, Some(b"engine".to_vec()));
    assert!(net.ledger.commit(executed, Batch::default()).is_err(), "no height is committed twice");
}

#[test]
fn an_outcome_whose_root_is_not_that_of_its_writes_is_not_committed() {
    let mut net = Net::new();
    let mut executed = net.deliver(&net.propose(vec![])).unwrap();
    executed.app_hash = digest("wrong");
    net.ledger.commit(executed, Batch::default()).unwrap_err();
    assert_eq!(net.height(), Height::ZERO);
}

#[test]
fn pruning_keeps_the_last_versions_and_changes_no_root() {
    let (mut pruned, mut full) = (Net::new(), Net::new());
    pruned.ledger = pruned.ledger.clone().keep_versions(Some(3));
    for _ in 0..10 {
        pruned.run(vec![]);
        full.run(vec![]);
    }
    assert_eq!(pruned.root(), full.root());
    assert!(pruned.ledger.view(Height(2)).is_err());
    assert!(full.ledger.view(Height(2)).is_ok());
    assert!(pruned.ledger.view(Height(8)).is_ok());
    assert_eq!(pruned.ledger.validators(Height(1)).unwrap(), full.ledger.validators(Height(1)).unwrap());
}

#[test]
fn a_time_that_the_engine_gives_is_used_if_it_is_later_than_the_parents() {
    let net = Net::new();
    let mut context = net.context(&net.propose(vec![]).header);
    context.time_ms = 5_000;
    let block = net.ledger.propose(&*net.view(), &context, vec![], crate::support::LIMITS).unwrap();
    assert_eq!(block.header.time_ms, 5_000);
    context.time_ms = 3;
    let block = net.ledger.propose(&*net.view(), &context, vec![], crate::support::LIMITS).unwrap();
    assert_eq!(block.header.time_ms, 1_001, "genesis was at 1000");
    assert_eq!(block.header.transactions_root, transactions_root(&[]));
    assert_eq!(ledger::last_header(&*net.view()).unwrap(), None);
}

#[test]
fn a_checked_ledger_refuses_a_state_with_tokens_from_nowhere_and_an_unchecked_one_does_not_look() {
    let net = Net::new();
    let (view, block) = (net.view(), net.propose(vec![]));
    let mut forged = Overlay::new(&*view);
    let rich = staking::Account { balance: Amount(1), ..Default::default() };
    stored::write(&mut forged, keys::account(&Address([7; 20])), &rich);
    let deliver = |ledger: Ledger| ledger.deliver(&forged, &net.context(&block.header), &block);
    match deliver(net.ledger.clone()) {
        Err(InvalidBlock::State(StateError::Corrupt { reason, .. })) => assert!(reason.contains("supply"), "{reason}"),
        other => panic!("{other:?}"),
    }
    deliver(net.ledger.clone().checked(false)).unwrap();
    let mut fresh = Ledger::new(crate::support::database(), crate::support::genesis(), net.chain).unwrap();
    fresh.init_genesis().unwrap();
    deliver(fresh).expect("off is the default");
}

#[test]
fn an_empty_block_tells_nothing() {
    let mut net = Net::new();
    let executed = net.run(vec![]);
    assert_eq!((executed.events.len(), events(&executed, "staking.fees").len()), (0, 0));
}

#[test]
fn a_crash_at_a_commit_leaves_the_height_before_it_or_the_whole_height() {
    for (plan, survives) in [(FaultPlan::crash_before(3), false), (FaultPlan::crash_after(3), true)] {
        // The first write is the store's format, the second is genesis, the third is height 1.
        let store = MemoryStore::with_faults(plan);
        let open = |store: &MemoryStore| {
            let database = Database::open(Arc::new(store.clone())).unwrap();
            Ledger::new(database, crate::support::genesis(), crate::support::chain()).unwrap().checked(true)
        };
        let mut net = Net::new();
        net.ledger = open(&store);
        net.ledger.init_genesis().unwrap();
        let block = net.propose(vec![]);
        let executed = net.deliver(&block).unwrap();
        net.ledger.commit(executed.clone(), Batch::default()).unwrap_err();
        net.ledger = open(&store.reopen());
        assert_eq!(net.height(), if survives { Height(1) } else { Height(0) });
        if !survives {
            net.apply(&block);
        }
        assert_eq!(net.root(), executed.app_hash);
    }
}
