//! RocksDB behaves like the memory store, keeps what was committed, and says clearly what is wrong.
#![allow(clippy::unwrap_used, reason = "a test ends at the first error")]

use parallax_memory_store::MemoryStore;
use parallax_state::{Batch, Changes, Column, Database, Namespace, Overlay, StateView, Store, Value};
use parallax_store::{RocksStore, StoreError};
use proptest::prelude::*;
use std::path::Path;
use std::sync::Arc;

fn open(path: &Path) -> Arc<RocksStore> {
    Arc::new(RocksStore::open(path).unwrap())
}

#[test]
fn a_reopened_database_has_the_same_roots_values_and_blobs() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("state");
    let blob = vec![9; 100_000];
    let (root, digest) = {
        let tree = Database::open(open(&path)).unwrap().tree(Namespace::Consensus);
        let empty = tree.latest_snapshot().unwrap();
        let mut overlay = Overlay::new(&empty);
        for n in 0..500u32 {
            overlay.put(n.to_be_bytes().to_vec(), vec![1; 40]);
        }
        let digest = overlay.put_cipher(b"c".to_vec(), Default::default(), 4, blob.clone()).digest;
        let prepared = tree.prepare(1, &overlay.into_changes()).unwrap();
        (tree.commit(prepared, Batch::default()).unwrap(), digest)
    };
    let tree = Database::open(open(&path)).unwrap().tree(Namespace::Consensus);
    assert_eq!(tree.latest().unwrap(), Some((1, root)));
    let snapshot = tree.latest_snapshot().unwrap();
    assert_eq!(snapshot.scan(b"").unwrap().len(), 501);
    assert_eq!(snapshot.get(&7u32.to_be_bytes()).unwrap(), Some(Value::Plain(vec![1; 40])));
    assert_eq!(snapshot.blob(&digest).unwrap(), Some(blob));
    snapshot.prove(b"c").unwrap().verify(&root).unwrap();

    let changes = Changes { writes: [(b"c".to_vec(), None)].into(), ..Changes::default() };
    tree.commit(tree.prepare(2, &changes).unwrap(), Batch::default()).unwrap();
    drop(snapshot);
    while tree.prune(1, 100).unwrap() > 0 {}
    assert_eq!(tree.latest_snapshot().unwrap().blob(&digest).unwrap(), None);
}

#[test]
fn a_database_that_is_open_is_refused_by_name() {
    let home = tempfile::tempdir().unwrap();
    let _first = open(home.path());
    let refused = RocksStore::open(home.path()).unwrap_err();
    assert_eq!(refused, StoreError::Locked { path: home.path().into() });
    assert!(refused.to_string().contains(&home.path().display().to_string()));
}

#[test]
fn a_damaged_manifest_is_refused_and_left_as_it_is() {
    let home = tempfile::tempdir().unwrap();
    drop(open(home.path()));
    let current = std::fs::read_to_string(home.path().join("CURRENT")).unwrap();
    let manifest = home.path().join(current.trim());
    let mut bytes = std::fs::read(&manifest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    std::fs::write(&manifest, &bytes).unwrap();
    let refused = RocksStore::open(home.path()).unwrap_err();
    assert!(matches!(&refused, StoreError::Corrupt { path, .. } if path == home.path()), "{refused}");
    assert_eq!(std::fs::read(&manifest).unwrap(), bytes);
}

#[test]
fn a_damaged_log_is_refused_rather_than_cut_short() {
    let home = tempfile::tempdir().unwrap();
    let store = open(home.path());
    for n in 0..20u8 {
        let mut batch = Batch::default();
        batch.put(Column::Journal, vec![n], vec![n; 1_000]);
        store.write(batch).unwrap();
    }
    drop(store);
    let is_log = |path: &std::path::PathBuf| path.extension().is_some_and(|e| e == "log");
    let files = std::fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().path());
    let log = files.filter(is_log).max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let mut bytes = std::fs::read(&log).unwrap();
    assert!(bytes.len() > 20_000);
    bytes[5_000] ^= 0xff;
    std::fs::write(&log, bytes).unwrap();
    let refused = RocksStore::open(home.path()).unwrap_err();
    assert!(matches!(refused, StoreError::Corrupt { .. }), "{refused}");
}

#[test]
fn a_file_in_place_of_the_directory_is_refused_by_name() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let refused = RocksStore::open(file.path()).unwrap_err();
    assert!(matches!(&refused, StoreError::Unusable { path, .. } if path == file.path()), "{refused}");
}

#[test]
fn a_database_with_unknown_columns_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let mut options = rocksdb::Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    drop(rocksdb::DB::open_cf(&options, home.path(), ["from_the_future"]).unwrap());
    let refused = RocksStore::open(home.path()).unwrap_err();
    assert!(matches!(refused, StoreError::OtherVersion { .. }), "{refused}");
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop_oneof![Just(0u8), Just(1), Just(0xff)], 0..4)
}

fn column() -> impl Strategy<Value = Column> {
    prop::sample::select(vec![Column::Nodes, Column::Values, Column::Blobs])
}

type Op = (Column, Vec<u8>, Option<Vec<u8>>);

fn op() -> impl Strategy<Value = Op> {
    let value = prop::option::weighted(0.7, prop_oneof![Just(vec![]), Just(vec![1; 10]), Just(vec![2; 6_000])]);
    (column(), key(), value)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn it_answers_like_the_memory_store(
        batches in prop::collection::vec(prop::collection::vec(op(), 0..12), 1..6),
        questions in prop::collection::vec((column(), key(), key(), 0..4usize), 30),
    ) {
        let home = tempfile::tempdir().unwrap();
        let memory = MemoryStore::new();
        for ops in batches {
            // Opened anew for every batch: what is read was on the disk.
            let rocks = open(home.path());
            let batch = Batch { ops };
            rocks.write(batch.clone()).unwrap();
            memory.write(batch).unwrap();
        }
        let rocks = open(home.path());
        for (column, start, end, limit) in questions {
            prop_assert_eq!(rocks.get(column, &start).unwrap(), memory.get(column, &start).unwrap());
            prop_assert_eq!(
                rocks.range(column, &start, &end, limit).unwrap(),
                memory.range(column, &start, &end, limit).unwrap()
            );
            prop_assert_eq!(rocks.last(column, &start, &end).unwrap(), memory.last(column, &start, &end).unwrap());
        }
    }
}
