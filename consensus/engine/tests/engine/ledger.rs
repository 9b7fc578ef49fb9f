//! The real ledger under both engines: what four processes agree on gives the same roots when one executes it alone.

use crate::common::{CHAIN, key, network, transfer, transfer_with_gas};
use parallax_consensus_app::genesis::{ConsensusGenesis, GenesisAccount};
use parallax_consensus_app::light::verify_commit;
use parallax_consensus_app::tx::{NodeDescriptor, Role, SignedNodeDescriptor};
use parallax_consensus_app::{Ledger, localnet_parameters};
use parallax_consensus_engine::{Pool, Shared, Solo};
use parallax_memory_store::MemoryStore;
use parallax_primitives::vrf::VrfSecretKey;
use parallax_primitives::{Address, Amount, Digest, Domain, Epoch, Height, SigningContext};
use parallax_state::{Database, Store};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

const USER: u8 = 77;

fn document() -> ConsensusGenesis {
    let entity = |seed: u8| Address::of(&key(100 + seed).public());
    let nodes = (1..=4).map(|seed| {
        let descriptor = NodeDescriptor {
            node: key(seed).public(),
            entity: entity(seed),
            roles: vec![Role::Validator],
            vrf: VrfSecretKey::from_seed([seed; 32]).public(),
            peer: key(seed).public(),
            paratimes: vec![],
            expires: Epoch(100),
        };
        let signature = key(seed).sign(&SigningContext::new(Domain::Genesis, CHAIN), &descriptor);
        SignedNodeDescriptor { descriptor, signature }
    });
    let account = |address, stake| GenesisAccount { address, balance: Amount(10_000_000), stake: Amount(stake) };
    let mut accounts: Vec<_> = (1..=4).map(|seed| account(entity(seed), 1_000_000)).collect();
    accounts.push(account(Address::of(&key(USER).public()), 0));
    ConsensusGenesis {
        chain_id: "engine-test".into(),
        time_ms: 1_000,
        parameters: localnet_parameters(),
        accounts,
        nodes: nodes.collect(),
        paratimes: vec![],
        committees: vec![],
        beacon: Digest([5; 32]),
    }
}

fn ledger(store: Arc<dyn Store>) -> Ledger {
    Ledger::new(Database::open(store).unwrap(), document(), CHAIN).unwrap().checked(true)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ledger_reaches_the_same_roots_under_both_engines() {
    let home = TempDir::with_prefix("ledger").unwrap();
    let validators = (1..=4).map(key).collect();
    let mut nodes = network(home.path(), CHAIN, validators, 1, Duration::from_millis(100), |store, _| ledger(store));
    for node in &mut nodes {
        node.start().await;
    }
    for nonce in 0..5 {
        let mut tx = transfer(&key(USER), nonce, 1_000_000);
        if nonce == 0 {
            // Refused by the ledger's own check: its gas limit of 100 does not cover its bytes.
            assert!(nodes[0].pool.submit(tx).is_err());
        }
        tx = transfer_with_gas(&key(USER), nonce, 1_000_000, 10_000);
        for node in &nodes {
            node.pool.submit(tx.clone()).unwrap();
        }
    }
    for node in &nodes {
        node.reaches(8, Duration::from_secs(40)).await;
    }
    for node in &mut nodes {
        node.stop().await;
    }

    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let app = Shared::new(ledger(Arc::clone(&store)));
    let pool = Arc::new(Pool::new(app.clone()));
    let mut solo = Solo::open(app.clone(), store, CHAIN, vec![], pool).unwrap();
    let mut transactions = 0;
    for (block, certificate) in nodes[4].blocks().range(Height(1), Height(8)).unwrap() {
        let set = app.validators(block.header.height).unwrap();
        assert!(verify_commit(CHAIN, &block.header, &certificate, &set).unwrap().len() >= 3);
        transactions += block.transactions.len();
        let replayed = solo.replay(block, certificate).unwrap();
        for node in &nodes {
            let result = node.blocks().result(replayed.height()).unwrap().unwrap();
            assert_eq!((result.app_hash, &result.receipts), (replayed.app_hash, &replayed.receipts));
            assert!(result.receipts.iter().all(|receipt| receipt.outcome.is_ok()), "{:?}", result.receipts);
        }
    }
    assert_eq!(transactions, 5);
}
