//! A history is crashed at every write, before and after the write took effect. A restart finds the last committed
//! version and nothing else, and the history can go on to the same end.
#![allow(clippy::unwrap_used, reason = "a test ends at the first error")]

mod common;

use common::{PARATIME, blob, changes, cipher, plain};
use parallax_memory_store::{Contents, Fault, FaultPlan, MemoryStore};
use parallax_state::{
    AtomicWrite, Batch, Column, Database, Namespace, StateError, StateView, Value, blob_digest, empty_root,
};
use std::sync::Arc;

/// One step is one write, so the number of writes done says where to go on.
type Step = fn(&Database) -> Result<(), StateError>;

fn journal(entry: &[u8]) -> Batch {
    let mut batch = Batch::default();
    batch.put(Column::Journal, entry.to_vec(), vec![]);
    batch
}

fn commit(
    database: &Database,
    ns: Namespace,
    version: u64,
    writes: &[(&[u8], Option<Value>)],
) -> Result<(), StateError> {
    let tree = database.tree(ns);
    let write = changes(writes.iter().cloned(), &[1, 2, 3]);
    tree.commit(tree.prepare(version, &write)?, journal(&version.to_be_bytes()))?;
    Ok(())
}

fn prune(database: &Database) -> Result<(), StateError> {
    database.tree(PARATIME).prune(1, 2).map(drop)
}

const HISTORY: &[Step] = &[
    |db| commit(db, Namespace::Consensus, 1, &[(b"a", Some(plain(b"1"))), (b"b", Some(plain(b"2")))]),
    |db| db.blobs().put_pinned(b"round 0", &[blob(1), blob(2)]).map(drop),
    |db| commit(db, PARATIME, 0, &[(b"x", Some(cipher(1))), (b"y", Some(cipher(2)))]),
    |db| {
        let prepared = db.tree(PARATIME).prepare(1, &changes([(&b"x"[..], Some(cipher(3)))], &[3]))?;
        db.write(AtomicWrite::new().commit(prepared).unpin(b"round 0").extra(journal(b"final")))
    },
    |db| commit(db, Namespace::Consensus, 2, &[(b"a", None), (b"c", Some(plain(b"3")))]),
    |db| commit(db, PARATIME, 2, &[(b"x", None), (b"y", None)]),
    prune,
    prune,
    prune,
    |db| commit(db, PARATIME, 5, &[(b"x", Some(cipher(2)))]),
    prune,
    |db| {
        let consensus = db.tree(Namespace::Consensus).prepare(3, &changes([(&b"d"[..], Some(plain(b"4")))], &[]))?;
        let paratime = db.tree(PARATIME).prepare(6, &changes([(&b"z"[..], Some(cipher(1)))], &[1]))?;
        db.write(AtomicWrite::new().commit(consensus).commit(paratime))
    },
];

/// Opens the store and takes the steps from `from` on, until one fails.
fn run(store: &MemoryStore, from: usize) -> Result<(), StateError> {
    let database = Database::open(Arc::new(store.clone()))?;
    HISTORY[from..].iter().try_for_each(|step| step(&database))
}

/// What the store holds after 0, 1, 2, ... writes of a history without faults; the first write is that of opening.
fn reference() -> Vec<Contents> {
    let store = MemoryStore::new();
    let mut after = vec![store.contents()];
    let database = Database::open(Arc::new(store.clone())).unwrap();
    after.push(store.contents());
    for (at, step) in HISTORY.iter().enumerate() {
        step(&database).unwrap();
        assert_eq!(store.writes(), at as u64 + 2, "step {at} is one write");
        after.push(store.contents());
    }
    after
}

/// Everything that the latest versions name can be read and proven.
fn check_whole(database: &Database) {
    for ns in database.namespaces().unwrap() {
        let (version, root) = database.tree(ns).latest().unwrap().unwrap();
        let snapshot = database.tree(ns).latest_snapshot().unwrap();
        assert_eq!((snapshot.version(), snapshot.root()), (Some(version), root));
        let content = snapshot.scan(b"").unwrap();
        assert_eq!(content.is_empty(), root == empty_root());
        for (key, value) in content {
            let proof = snapshot.prove(&key).unwrap();
            proof.verify(&root).unwrap();
            assert_eq!(proof.value(), Some(&value));
            if let Value::Cipher(reference) = value {
                let bytes = snapshot.blob(&reference.digest).unwrap().unwrap();
                assert_eq!(blob_digest(&bytes), reference.digest);
            }
        }
    }
}

#[test]
fn a_crash_at_any_write_leaves_the_last_committed_state_and_nothing_else() {
    let reference = reference();
    let writes = reference.len() - 1;
    for at in 1..=writes {
        for (fault, done) in [(Fault::CrashBefore, at - 1), (Fault::CrashAfter, at)] {
            let store = MemoryStore::with_faults(FaultPlan { at_write: at as u64, fault });
            let refused = run(&store, 0).unwrap_err();
            assert!(matches!(refused, StateError::Store(_)), "{refused}");
            assert!(store.crashed());

            let restarted = store.reopen();
            assert_eq!(restarted.contents(), reference[done], "write {at}, {fault:?}");
            check_whole(&Database::open(Arc::new(restarted.clone())).unwrap());
            run(&restarted, done.saturating_sub(1)).unwrap();
            assert_eq!(restarted.contents(), reference[writes], "write {at}, {fault:?}, after going on");
        }
    }
}

#[test]
fn a_write_that_fails_once_can_be_repeated_by_the_running_process() {
    let reference = reference();
    for at in 2..reference.len() {
        let store = MemoryStore::with_faults(FaultPlan { at_write: at as u64, fault: Fault::FailBefore });
        let database = Database::open(Arc::new(store.clone())).unwrap();
        for step in HISTORY {
            if step(&database).is_err() {
                assert_eq!(store.contents(), reference[at - 1]);
                step(&database).unwrap();
            }
        }
        assert_eq!(store.writes(), reference.len() as u64, "one write was repeated");
        assert_eq!(store.contents(), reference[reference.len() - 1]);
    }
}
