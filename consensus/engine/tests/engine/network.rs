//! Networks of engines in one process, over loopback.

use crate::common::{
    AHEAD, BAD_ROOT, CHAIN, Counter, Node, assert_certified, free_port, key, large, multiaddr, network, nonce_of,
    transfer,
};
use parallax_consensus_engine::blocks::encode_block;
use parallax_consensus_engine::embedded::spawn;
use parallax_consensus_engine::{EngineError, Pool, Shared, Solo};
use parallax_memory_store::{FaultPlan, MemoryStore};
use parallax_primitives::{Address, ChainContext, Digest, Height};
use parallax_state::{Column, Store};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(40);

fn counters(home: &TempDir, full: usize, interval: u64) -> Vec<Node<Counter>> {
    let keys: Vec<_> = (1..=4).map(key).collect();
    let validators = keys.clone();
    network(home.path(), CHAIN, keys, full, Duration::from_millis(interval), move |store, _| {
        Counter::new(store, &validators)
    })
}

/// Runs a fresh solo engine over the blocks that a node stored, and compares every root.
fn replay(node: &Node<Counter>) {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let validators: Vec<_> = (1..=4).map(key).collect();
    let app = Shared::new(Counter::new(Arc::clone(&store), &validators));
    let pool = Arc::new(Pool::new(app.clone()));
    let mut solo = Solo::open(app, store, CHAIN, vec![], pool).unwrap();
    let blocks = node.blocks();
    let last = blocks.latest().unwrap().unwrap();
    for (block, certificate) in blocks.range(Height(1), last).unwrap() {
        let expected = blocks.result(block.header.height).unwrap().unwrap();
        let replayed = solo.replay(block, certificate).unwrap();
        assert_eq!((replayed.app_hash, replayed.receipts), (expected.app_hash, expected.receipts));
    }
    assert_eq!(solo.tip().height, last);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_validators_and_a_follower_agree_and_a_stopped_one_catches_up() {
    let home = TempDir::with_prefix("agree").unwrap();
    let mut nodes = counters(&home, 1, 200);
    for node in &mut nodes {
        node.start().await;
    }
    let sender = key(77);
    let mut committed = nodes[4].engine().subscribe();
    for nonce in 0..20 {
        nodes[0].pool.submit(transfer(&sender, nonce, 3)).unwrap();
    }
    for nonce in 0..12 {
        nodes[0].pool.submit(large(&key(78), nonce)).unwrap();
    }
    nodes[4].reaches(4, LIMIT).await;
    nodes[1].stop().await;
    let stopped_at = nodes[1].blocks().latest().unwrap().unwrap();
    nodes[0].reaches(10, LIMIT).await;
    nodes[4].reaches(10, LIMIT).await;

    // What the follower announced is what it stored, in order, with certificates that verify by pure code.
    let set = nodes[4].app.validators(Height(1)).unwrap();
    let blocks = nodes[4].blocks();
    let (mut transactions, mut largest) = (0, 0);
    for height in 1..=10 {
        let block = blocks.block(Height(height)).unwrap().unwrap();
        assert_certified(&block, &blocks.certificate(Height(height)).unwrap().unwrap(), &set);
        transactions += block.transactions.len();
        largest = largest.max(encode_block(&block).len());
    }
    assert_eq!(transactions, 32);
    assert!(largest > 600_000, "a block of {largest} bytes travelled in pieces");
    let first = committed.recv().await.unwrap();
    assert_eq!(committed.recv().await.unwrap().height(), first.height().next());

    nodes[1].start().await;
    let begun = Instant::now();
    let goal = nodes[0].engine().tip().height.0 + 2;
    nodes[1].reaches(goal, LIMIT).await;
    println!("caught up from {stopped_at} to {goal} in {:?}", begun.elapsed());
    let at_ten: Vec<_> = nodes.iter().map(|n| n.blocks().result(Height(10)).unwrap().unwrap().app_hash).collect();
    assert!(at_ten.iter().all(|root| *root == at_ten[0]));
    let nonce = nonce_of(nodes[1].app.snapshot().unwrap().as_ref(), &Address::of(&sender.public()));
    assert_eq!(nonce, 20);
    for node in &mut nodes {
        node.stop().await;
    }
    for node in &nodes {
        replay(node);
    }
    // Stopping between the proposal and its commit may leave undecided blocks, never decided ones.
    assert!(nodes.iter().all(|n| n.store.rows(Column::Journal) <= 4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proposers_of_invalid_blocks_and_of_times_ahead_are_outvoted() {
    let home = TempDir::with_prefix("outvoted").unwrap();
    let mut nodes = counters(&home, 0, 100);
    nodes[1].app.read().lies.store(AHEAD, Ordering::SeqCst);
    nodes[2].app.read().lies.store(BAD_ROOT, Ordering::SeqCst);
    let liars = [nodes[1].config.key.public(), nodes[2].config.key.public()];
    for node in &mut nodes {
        node.start().await;
    }
    // In four heights each validator has the first turn once.
    nodes[0].reaches(5, LIMIT).await;
    let decided = nodes[0].blocks().range(Height(1), Height(5)).unwrap();
    assert!(decided.iter().all(|(block, _)| !liars.contains(&block.header.proposer)), "a liar's block was decided");
    assert!(decided.iter().filter(|(_, certificate)| certificate.round > 0).count() >= 2, "their turns cost rounds");
    replay(&nodes[0]);
    for node in &mut nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_fails_at_any_write_stops_the_engine_and_a_restart_goes_on() {
    let home = TempDir::with_prefix("crash").unwrap();
    let mut nodes = counters(&home, 0, 50);
    for node in &mut nodes {
        node.start().await;
    }
    nodes[3].reaches(2, LIMIT).await;
    let mut evidence = nodes[0].engine().evidence();
    // Writes alternate between undecided blocks and commits; a run of them meets both, before and after.
    for round in 0..6 {
        let at = nodes[3].store.writes() + 1 + round;
        let plan = if round % 2 == 0 { FaultPlan::crash_before(at) } else { FaultPlan::crash_after(at) };
        nodes[3].store.set_faults(Some(plan));
        let ended = tokio::time::timeout(LIMIT, nodes[3].engine.as_mut().unwrap().ended()).await.unwrap();
        assert!(matches!(ended, Err(EngineError::State(_))), "{ended:?}");
        nodes[3].engine = None;
        nodes[3].store = nodes[3].store.reopen();
        let validators: Vec<_> = (1..=4).map(key).collect();
        let app = Shared::new(Counter::new(Arc::new(nodes[3].store.clone()), &validators));
        nodes[3].pool = Arc::new(Pool::new(app.clone()));
        nodes[3].app = app;
        let goal = nodes[0].engine().tip().height.0 + 3;
        nodes[3].start().await;
        nodes[3].reaches(goal, LIMIT).await;
    }
    for node in &mut nodes {
        node.stop().await;
    }
    assert!(evidence.try_recv().is_err(), "a restarted validator signed twice");
    replay(&nodes[3]);
}

#[tokio::test]
async fn a_taken_port_a_locked_home_and_a_foreign_home_are_named() {
    let home = TempDir::with_prefix("refused").unwrap();
    let mut nodes = counters(&home, 0, 1000);
    let start = async |node: &Node<Counter>, config| {
        let store: Arc<dyn Store> = Arc::new(node.store.clone());
        spawn(config, node.app.clone(), store, node.pool.clone()).await.err().unwrap()
    };
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut config = nodes[0].config.clone();
    config.listen = multiaddr(port);
    let error = start(&nodes[0], config.clone()).await;
    assert!(matches!(&error, EngineError::Listen { address, .. } if address.contains(&port.to_string())), "{error}");
    config.listen = "/ip4/127.0.0.1/udp/9/quic-v1".parse().unwrap();
    assert!(matches!(start(&nodes[0], config).await, EngineError::Config { setting: "listen", .. }));

    nodes[0].start().await;
    let mut config = nodes[0].config.clone();
    config.listen = multiaddr(free_port());
    let error = start(&nodes[1], config.clone()).await;
    assert!(matches!(&error, EngineError::HomeBusy { path } if path.starts_with(&config.home)), "{error}");
    nodes[0].stop().await;

    config.chain = ChainContext(Digest([1; 32]));
    let error = start(&nodes[1], config.clone()).await;
    assert!(matches!(&error, EngineError::OtherChain { path, .. } if path.starts_with(&config.home)), "{error}");
    assert!(error.to_string().contains(&CHAIN.to_string()), "{error}");
}
