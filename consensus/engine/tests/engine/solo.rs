//! The engine of one process, the block store and the pool.

use crate::common::{CHAIN, Counter, assert_certified, key, nonce_of, transfer};
use parallax_consensus_app::{Application, BlockLimits};
use parallax_consensus_engine::mempool::{MAX_SENDER_TXS, Mempool, codes};
use parallax_consensus_engine::{EngineError, Pool, Shared, Solo, TxLocation};
use parallax_memory_store::{FaultPlan, MemoryStore};
use parallax_primitives::{Address, Height, Nonce};
use parallax_state::{Batch, Column, Store};
use std::sync::Arc;

const ALL: BlockLimits = BlockLimits { max_bytes: usize::MAX, max_txs: usize::MAX };

fn open(store: &MemoryStore) -> (Solo<Counter>, Arc<Pool<Counter>>, Shared<Counter>) {
    let store: Arc<dyn Store> = Arc::new(store.clone());
    let app = Shared::new(Counter::new(Arc::clone(&store), &[key(1)]));
    let pool = Arc::new(Pool::new(app.clone()));
    let mempool: Arc<dyn Mempool> = pool.clone();
    (Solo::open(app.clone(), store, CHAIN, vec![key(1)], mempool).unwrap(), pool, app)
}

#[test]
fn blocks_are_certified_stored_and_found_again_after_a_restart() {
    let store = MemoryStore::new();
    let (mut solo, pool, app) = open(&store);
    let tx = transfer(&key(9), 0, 5);
    let checked = pool.submit(tx.clone()).unwrap();
    let first = solo.step(1_000).unwrap();
    let second = solo.step(1_000).unwrap();
    assert_eq!(first.block.transactions, vec![tx]);
    assert!(pool.is_empty() && second.block.transactions.is_empty());
    assert_eq!(second.block.header.time_ms, 1_001, "time moves on");
    assert_eq!(second.block.header.app_hash, first.app_hash, "a header proves the state after its parent");
    let set = app.validators(Height(1)).unwrap();
    for block in [&first, &second] {
        assert_certified(&block.block, &block.certificate, &set);
    }

    let (solo, _, _) = open(&store.reopen());
    assert_eq!((solo.tip().height, solo.tip().app_hash), (Height(2), second.app_hash));
    let blocks = solo.blocks();
    assert_eq!((blocks.earliest().unwrap(), blocks.latest().unwrap()), (Some(Height(1)), Some(Height(2))));
    assert_eq!(blocks.range(Height(1), Height(9)).unwrap().len(), 2);
    assert_eq!(blocks.block(Height(1)).unwrap().unwrap(), first.block);
    assert_eq!(blocks.result(Height(1)).unwrap().unwrap().receipts, first.receipts);
    let location = TxLocation { height: Height(1), index: 0 };
    assert_eq!(blocks.transaction(&checked.digest).unwrap(), Some(location));
}

#[test]
fn a_crash_before_or_after_the_one_write_of_a_block_leaves_all_of_it_or_nothing() {
    for after in [false, true] {
        let store = MemoryStore::new();
        let (mut solo, pool, _) = open(&store);
        solo.step(1).unwrap();
        pool.submit(transfer(&key(9), 0, 5)).unwrap();
        let at = store.writes() + 1;
        store.set_faults(Some(if after { FaultPlan::crash_after(at) } else { FaultPlan::crash_before(at) }));
        assert!(matches!(solo.step(2), Err(EngineError::State(_))));
        let (mut solo, _, app) = open(&store.reopen());
        let height = if after { 2 } else { 1 };
        assert_eq!(solo.tip().height, Height(height));
        assert_eq!(solo.blocks().latest().unwrap(), Some(Height(height)));
        let nonce = nonce_of(app.snapshot().unwrap().as_ref(), &Address::of(&key(9).public()));
        assert_eq!(nonce, height - 1);
        assert_eq!(solo.step(3).unwrap().height(), Height(height + 1));
    }
}

#[test]
fn keys_without_two_thirds_of_the_power_decide_nothing() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let validators = [key(1), key(2), key(3)];
    let app = Shared::new(Counter::new(Arc::clone(&store), &validators));
    let mempool: Arc<dyn Mempool> = Arc::new(Pool::new(app.clone()));
    let open = |keys| Solo::open(app.clone(), Arc::clone(&store), CHAIN, keys, Arc::clone(&mempool)).unwrap();
    let refused = open(vec![key(1), key(2)]).step(1).unwrap_err();
    assert!(matches!(refused, EngineError::NoQuorum { power: 20, total: 30, .. }), "{refused}");
    assert!(matches!(open(vec![key(8)]).step(1), Err(EngineError::NoQuorum { power: 0, .. })));
    assert_eq!(open(validators.to_vec()).step(1).unwrap().height(), Height(1));
}

#[test]
fn a_store_with_blocks_beyond_its_state_is_refused() {
    let store = MemoryStore::new();
    open(&store).0.step(1).unwrap();
    let mut batch = Batch::default();
    batch.put(Column::Blocks, [b"block/".as_slice(), &7u64.to_be_bytes()].concat(), vec![0]);
    store.write(batch).unwrap();
    let shared: Arc<dyn Store> = Arc::new(store);
    let app = Shared::new(Counter::new(Arc::clone(&shared), &[key(1)]));
    let mempool: Arc<dyn Mempool> = Arc::new(Pool::new(app.clone()));
    let error = Solo::open(app, shared, CHAIN, vec![key(1)], mempool).err().unwrap();
    assert!(error.to_string().contains("block 7 is stored, the state ends at 1"), "{error}");
}

#[test]
fn the_pool_keeps_runs_in_order_and_prefers_fees_across_senders() {
    let (_, pool, _) = open(&MemoryStore::new());
    let (poor, rich) = (key(20), key(21));
    let txs = [transfer(&poor, 0, 1), transfer(&rich, 0, 50), transfer(&rich, 1, 2), transfer(&rich, 3, 90)];
    for tx in &txs {
        pool.submit(tx.clone()).unwrap();
    }
    let chosen = pool.candidates(ALL);
    assert_eq!(chosen, vec![txs[1].clone(), txs[2].clone(), txs[0].clone()], "nonce 3 waits behind its gap");
    assert_eq!(pool.candidates(BlockLimits { max_txs: 1, ..ALL }), vec![txs[1].clone()]);
    assert_eq!(pool.candidates(BlockLimits { max_bytes: txs[1].len() + 1, ..ALL }).len(), 1);
    assert_eq!(pool.next_nonce(&Address::of(&rich.public())), Some(Nonce(4)));
}

#[test]
fn the_pool_refuses_duplicates_cheap_replacements_and_long_runs() {
    let (_, pool, _) = open(&MemoryStore::new());
    let sender = key(20);
    let code = |tx| pool.submit(tx).unwrap_err().code;
    pool.submit(transfer(&sender, 0, 100)).unwrap();
    assert_eq!(code(transfer(&sender, 0, 100)), codes::DUPLICATE);
    assert_eq!(code(transfer(&sender, 0, 109)), codes::UNDERPRICED);
    let better = pool.submit(transfer(&sender, 0, 110)).unwrap();
    assert!(pool.contains(&better.digest) && pool.len() == 1);
    for nonce in 1..MAX_SENDER_TXS as u64 {
        pool.submit(transfer(&sender, nonce, 1)).unwrap();
    }
    assert_eq!(code(transfer(&sender, MAX_SENDER_TXS as u64, 1)), codes::SENDER_FULL);
    assert_eq!(code(vec![0; 70_000]), codes::TOO_LARGE);
    assert_eq!(
        pool.submit(vec![1, 2, 3]).unwrap_err().module,
        "test",
        "the application refuses what is no transaction"
    );
}

#[test]
fn a_full_pool_gives_way_to_those_who_pay_more_and_never_breaks_a_run() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let mut app = Counter::new(store, &[key(1)]);
    app.init_genesis().unwrap();
    let pool = Pool::with_capacity(Shared::new(app), 3);
    let (a, b) = (key(20), key(21));
    let run: Vec<_> = (0..3).map(|n| pool.submit(transfer(&a, n, 10)).unwrap().digest).collect();
    assert_eq!(pool.submit(transfer(&b, 0, 10)).unwrap_err().code, codes::FULL);
    pool.submit(transfer(&b, 0, 11)).unwrap();
    let kept: Vec<bool> = run.iter().map(|digest| pool.contains(digest)).collect();
    assert_eq!((kept, pool.len()), (vec![true, true, false], 3));
}

#[test]
fn what_a_block_made_stale_leaves_the_pool() {
    let (mut solo, pool, _) = open(&MemoryStore::new());
    let other = pool.submit(transfer(&key(20), 0, 7)).unwrap();
    let block = solo.step(1).unwrap();
    assert_eq!(block.receipts[0].tx, other.digest);
    assert_eq!(pool.submit(transfer(&key(20), 0, 700)).unwrap_err().module, "test", "its nonce is used");
    assert!(pool.is_empty());
}
