//! Trees in different threads share blobs; pruning and readers run beside them.
#![allow(clippy::unwrap_used, reason = "a test ends at the first error")]

mod common;

use common::{PARATIME, blob, changes, cipher, open};
use parallax_memory_store::MemoryStore;
use parallax_state::{Batch, Column, Database, Namespace, StateView, Value};
use std::sync::atomic::{AtomicBool, Ordering};

const VERSIONS: u64 = 150;

/// Moves the same few blobs between the same few keys, so that counts rise and fall all the time.
fn write_versions(database: &Database, ns: Namespace, step: u64) {
    let tree = database.tree(ns);
    for version in 0..VERSIONS {
        let n = u8::try_from(version * step % 5).unwrap();
        let key = [u8::try_from(version % 3).unwrap()];
        let value = (!version.is_multiple_of(7)).then(|| cipher(n));
        let prepared = tree.prepare(version, &changes([(&key[..], value)], &[n])).unwrap();
        tree.commit(prepared, Batch::default()).unwrap();
    }
}

fn read_everything(database: &Database, ns: Namespace) {
    let snapshot = database.tree(ns).latest_snapshot().unwrap();
    for (key, value) in snapshot.scan(b"").unwrap() {
        let Value::Cipher(reference) = value else { panic!("only ciphertexts are written") };
        assert!(snapshot.blob(&reference.digest).unwrap().is_some(), "a snapshot keeps its blobs");
        snapshot.prove(&key).unwrap().verify(&snapshot.root()).unwrap();
    }
}

#[test]
fn writers_readers_and_pruning_do_not_disturb_one_another() {
    let store = MemoryStore::new();
    let database = open(&store);
    let trees = [Namespace::Consensus, PARATIME];
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers = [(trees[0], 2), (trees[1], 3)].map(|(ns, step)| {
            let database = &database;
            scope.spawn(move || write_versions(database, ns, step))
        });
        let (database, done) = (&database, &done);
        scope.spawn(move || {
            while !done.load(Ordering::Relaxed) {
                for ns in trees {
                    database.tree(ns).prune(2, 4).unwrap();
                    database.blobs().put_pinned(b"worker", &[blob(1), blob(2)]).unwrap();
                    database.blobs().unpin(b"worker").unwrap();
                }
            }
        });
        scope.spawn(move || {
            while !done.load(Ordering::Relaxed) {
                for ns in trees {
                    read_everything(database, ns);
                }
            }
        });
        let finished = writers.map(|writer| writer.join());
        done.store(true, Ordering::Relaxed);
        assert!(finished.iter().all(Result::is_ok));
    });
    for ns in trees {
        assert_eq!(database.tree(ns).latest().unwrap().unwrap().0, VERSIONS - 1);
        read_everything(&database, ns);
        while database.tree(ns).prune(1, 10).unwrap() > 0 {}
    }
    assert_eq!((store.rows(Column::Stale), store.rows(Column::Pins)), (0, 0));
    assert_eq!(store.rows(Column::Blobs), store.rows(Column::BlobRefs));
}
