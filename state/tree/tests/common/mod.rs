//! What the state tests share.
#![allow(clippy::unwrap_used, reason = "a test ends at the first error")]
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part of this module")]

use parallax_memory_store::MemoryStore;
use parallax_primitives::{Digest, KeyId, ParaTimeId};
use parallax_state::{Changes, CipherRef, Database, Namespace, Snapshot, Value, blob_digest};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

/// The content of one version.
pub type Content = BTreeMap<Vec<u8>, Value>;

pub const PARATIME: Namespace = Namespace::ParaTime(ParaTimeId([7; 32]));

/// A database over a store that stays in the caller's hands.
pub fn open(store: &MemoryStore) -> Database {
    Database::open(Arc::new(store.clone())).unwrap()
}

pub fn plain(bytes: &[u8]) -> Value {
    Value::Plain(bytes.to_vec())
}

/// The `n`-th blob: some compress, some do not.
pub fn blob(n: u8) -> Vec<u8> {
    if n.is_multiple_of(2) {
        vec![n; 300]
    } else {
        let mut bytes = Vec::new();
        for block in 0..200u8 {
            bytes.extend(blob_digest(&[n, block]).0);
        }
        bytes
    }
}

/// A reference to the `n`-th blob.
pub fn cipher(n: u8) -> Value {
    let digest = BY_NUMBER.get(usize::from(n)).copied().unwrap();
    Value::Cipher(CipherRef { key_id: KeyId([1; 32]), blocks: 4, digest })
}

/// Changes that write these, blobs included for every number in `blobs`.
pub fn changes<'a>(writes: impl IntoIterator<Item = (&'a [u8], Option<Value>)>, blobs: &[u8]) -> Changes {
    Changes {
        writes: writes.into_iter().map(|(key, value)| (key.to_vec(), value)).collect(),
        blobs: blobs.iter().map(|&n| (blob_digest(&blob(n)), blob(n))).collect(),
    }
}

static BY_NUMBER: LazyLock<Vec<Digest>> = LazyLock::new(|| (0..=255).map(|n| blob_digest(&blob(n))).collect());

/// Every blob by digest.
static BLOBS: LazyLock<BTreeMap<Digest, Vec<u8>>> =
    LazyLock::new(|| (0..=255).map(|n| (blob_digest(&blob(n)), blob(n))).collect());

/// A tree that got all of this content at once, alone in a new store.
pub fn fresh(content: &Content) -> (MemoryStore, Snapshot) {
    let store = MemoryStore::new();
    let tree = open(&store).tree(PARATIME);
    let writes = content.iter().map(|(key, value)| (&key[..], Some(value.clone())));
    let mut changes = changes(writes, &[]);
    for value in content.values() {
        if let Value::Cipher(reference) = value {
            changes.blobs.insert(reference.digest, BLOBS[&reference.digest].clone());
        }
    }
    tree.commit(tree.prepare(0, &changes).unwrap(), Default::default()).unwrap();
    (store, tree.latest_snapshot().unwrap())
}
