//! A chain with one validator, as far as headers and state trees go.
#![allow(unreachable_pub)]

use parallax_consensus_app::{CommitCertificate, Header, PrecommitMessage, Validator, ValidatorSet};
use parallax_memory_store::MemoryStore;
use parallax_primitives::{ChainContext, Digest, Height, SecretKey};
use parallax_state::{Batch, Changes, Database, Namespace, Value};
use std::sync::Arc;

pub fn validator() -> SecretKey {
    SecretKey::from_seed([0x11; 32])
}

pub fn validators() -> ValidatorSet {
    ValidatorSet { validators: vec![Validator { node: validator().public(), power: 1 }] }
}

pub fn sign_header(header: Header, chain: ChainContext) -> (Header, CommitCertificate) {
    let node = validator().public();
    let value = header.hash();
    let message = PrecommitMessage { chain, height: header.height, round: 0, value: Some(value), validator: node };
    let signatures = vec![(node, validator().sign_raw(&message.signing_bytes().0))];
    let certificate = CommitCertificate { height: header.height, round: 0, value, signatures };
    (header, certificate)
}

pub fn final_header(app_hash: Digest, height: u64) -> Header {
    Header {
        height: Height(height),
        parent: Digest::ZERO,
        time_ms: height * 500,
        proposer: validator().public(),
        app_hash,
        transactions_root: Digest::ZERO,
        validators_hash: validators().hash(),
        next_validators_hash: validators().hash(),
    }
}

pub fn tree(ns: Namespace, writes: &[(Vec<u8>, Vec<u8>)]) -> parallax_state::Tree {
    let tree = Database::open(Arc::new(MemoryStore::new())).unwrap().tree(ns);
    let writes = writes.iter().map(|(k, v)| (k.clone(), Some(Value::Plain(v.clone())))).collect();
    let prepared = tree.prepare(1, &Changes { writes, ..Changes::default() }).unwrap();
    tree.commit(prepared, Batch::default()).unwrap();
    tree
}
