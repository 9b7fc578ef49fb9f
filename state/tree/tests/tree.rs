//! What a caller of the tree sees, one rule a test.
#![allow(clippy::unwrap_used, reason = "a test ends at the first error")]

mod common;

use common::{PARATIME, blob, changes, cipher, fresh, open, plain};
use parallax_memory_store::{Fault, FaultPlan, MemoryStore};
use parallax_primitives::limits::{MAX_KEY_BYTES, MAX_PROOF_BYTES, MAX_VALUE_BYTES};
use parallax_primitives::{Digest, encode};
use parallax_state::{
    AtomicWrite, Batch, Changes, Column, Database, FORMAT, Namespace, Overlay, StateError, StateView, Store,
    blob_digest, empty_root,
};
use std::sync::Arc;

#[test]
fn an_overlay_on_a_snapshot_becomes_the_next_version() {
    let database = open(&MemoryStore::new());
    let tree = database.tree(Namespace::Consensus);
    assert_eq!(tree.latest().unwrap(), None);
    assert_eq!(tree.oldest().unwrap(), None);
    let empty = tree.latest_snapshot().unwrap();
    assert_eq!((empty.version(), empty.root()), (None, empty_root()));
    assert_eq!(empty.scan(b"").unwrap(), []);

    let mut overlay = Overlay::new(&empty);
    overlay.put(b"a".to_vec(), b"1".to_vec());
    let reference = overlay.put_cipher(b"b".to_vec(), Default::default(), 4, blob(1));
    let prepared = tree.prepare(5, &overlay.into_changes()).unwrap();
    assert_eq!((prepared.version(), prepared.namespace()), (5, Namespace::Consensus));
    assert_eq!(tree.latest().unwrap(), None, "preparing writes nothing");
    let root = prepared.root();
    assert_eq!(tree.commit(prepared, Batch::default()).unwrap(), root);

    assert_eq!(tree.latest().unwrap(), Some((5, root)));
    assert_eq!(tree.root_at(5).unwrap(), root);
    let snapshot = tree.snapshot(5).unwrap();
    assert_eq!(snapshot.get(b"a").unwrap(), Some(plain(b"1")));
    assert_eq!(snapshot.blob(&reference.digest).unwrap(), Some(blob(1)));
    assert_eq!(database.namespaces().unwrap(), [Namespace::Consensus]);
}

#[test]
fn snapshots_do_not_change_and_can_be_read_from_another_thread() {
    let tree = open(&MemoryStore::new()).tree(PARATIME);
    for version in 1..=3u8 {
        let write = changes([(&b"k"[..], Some(plain(&[version])))], &[]);
        tree.commit(tree.prepare(version.into(), &write).unwrap(), Batch::default()).unwrap();
    }
    let old = tree.snapshot(1).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| assert_eq!(old.get(b"k").unwrap(), Some(plain(&[1]))));
    });
    assert_eq!(tree.snapshot(2).unwrap().get(b"k").unwrap(), Some(plain(&[2])));
    for version in [0, 4] {
        let refused = tree.snapshot(version).unwrap_err();
        assert!(matches!(refused, StateError::UnknownVersion { .. }), "{refused}");
    }
}

#[test]
fn a_version_that_changes_nothing_has_the_same_root_and_costs_one_record() {
    let store = MemoryStore::new();
    let tree = open(&store).tree(PARATIME);
    let write = changes([(&b"k"[..], Some(plain(b"v")))], &[]);
    let root = tree.commit(tree.prepare(1, &write).unwrap(), Batch::default()).unwrap();
    let nodes = store.rows(Column::Nodes);
    for (version, same) in [(2, Changes::default()), (7, write), (8, changes([(&b"absent"[..], None)], &[]))] {
        assert_eq!(tree.commit(tree.prepare(version, &same).unwrap(), Batch::default()).unwrap(), root);
        assert_eq!(tree.snapshot(version).unwrap().get(b"k").unwrap(), Some(plain(b"v")));
        tree.prove(version, b"k").unwrap().verify(&root).unwrap();
    }
    assert_eq!((store.rows(Column::Nodes), store.rows(Column::Values)), (nodes, 1));
    assert!(matches!(tree.root_at(5), Err(StateError::UnknownVersion { version: 5, .. })), "5 was skipped");
}

#[test]
fn a_tree_whose_keys_are_all_deleted_has_the_empty_root_and_can_grow_again() {
    let tree = open(&MemoryStore::new()).tree(PARATIME);
    let full = changes([(&b"a"[..], Some(plain(b"1"))), (&b"b"[..], Some(plain(b"2")))], &[]);
    let root = tree.commit(tree.prepare(0, &full).unwrap(), Batch::default()).unwrap();
    let none = changes([(&b"a"[..], None), (&b"b"[..], None)], &[]);
    assert_eq!(tree.commit(tree.prepare(1, &none).unwrap(), Batch::default()).unwrap(), empty_root());
    tree.prove(1, b"a").unwrap().verify(&empty_root()).unwrap();
    assert_eq!(tree.commit(tree.prepare(2, &full).unwrap(), Batch::default()).unwrap(), root);
}

#[test]
fn versions_must_grow_and_a_prepared_version_must_still_fit() {
    let tree = open(&MemoryStore::new()).tree(PARATIME);
    let write = |n: u8| changes([(&b"k"[..], Some(plain(&[n])))], &[]);
    let late = tree.prepare(3, &write(3)).unwrap();
    tree.commit(tree.prepare(2, &write(2)).unwrap(), Batch::default()).unwrap();
    let refused = tree.commit(late, Batch::default()).unwrap_err();
    assert!(matches!(refused, StateError::Conflict { version: 3, base: None, latest: Some(2), .. }), "{refused}");
    assert!(matches!(tree.prepare(2, &write(1)), Err(StateError::VersionOrder { version: 2, .. })));
    let twice =
        AtomicWrite::new().commit(tree.prepare(3, &write(3)).unwrap()).commit(tree.prepare(4, &write(4)).unwrap());
    let database = open(&MemoryStore::new());
    assert!(matches!(database.write(twice), Err(StateError::Conflict { .. })));
    assert_eq!(tree.latest().unwrap().unwrap().0, 2);
}

#[test]
fn too_large_keys_and_values_are_refused_with_the_limit() {
    let tree = open(&MemoryStore::new()).tree(PARATIME);
    let long = vec![1; MAX_KEY_BYTES + 1];
    for (write, limit) in [
        (changes([(&long[..], Some(plain(b"")))], &[]), MAX_KEY_BYTES),
        (changes([(&b"k"[..], Some(plain(&vec![0; MAX_VALUE_BYTES + 1])))], &[]), MAX_VALUE_BYTES),
    ] {
        let refused = tree.prepare(1, &write).unwrap_err();
        assert!(matches!(refused, StateError::TooLarge { limit: l, .. } if l == limit), "{refused}");
    }
    // Whatever may be stored can be proven, the largest value too.
    let frame = encode(&plain(b"")).len();
    let write = changes([(&b"k"[..], Some(plain(&vec![0; MAX_VALUE_BYTES - frame])))], &[]);
    tree.commit(tree.prepare(1, &write).unwrap(), Batch::default()).unwrap();
    let proof = tree.prove(1, b"k").unwrap();
    assert!(proof.encode().len() <= MAX_PROOF_BYTES);
    proof.verify(&tree.root_at(1).unwrap()).unwrap();
}

#[test]
fn a_store_of_another_format_or_without_one_is_refused_before_anything_is_written() {
    let store = MemoryStore::new();
    open(&store);
    let mut batch = Batch::default();
    batch.put(Column::Meta, b"state/format".to_vec(), encode(&(FORMAT + 1)));
    store.write(batch).unwrap();
    let before = store.contents();
    let refused = Database::open(Arc::new(store.clone())).err().unwrap();
    assert_eq!(refused, StateError::Format { found: FORMAT + 1, expected: FORMAT });
    assert!(refused.to_string().contains("empty home directory"));
    assert_eq!(store.contents(), before);

    let (store, _snapshot) = fresh(&[(b"k".to_vec(), plain(b"v"))].into());
    let mut batch = Batch::default();
    batch.delete(Column::Meta, b"state/format".to_vec());
    store.write(batch).unwrap();
    assert!(matches!(Database::open(Arc::new(store)).err(), Some(StateError::Corrupt { .. })));
}

#[test]
fn a_caller_writes_its_own_columns_with_a_commit_and_no_others() {
    let store = MemoryStore::new();
    let tree = open(&store).tree(PARATIME);
    let row = |column, key: &[u8]| {
        let mut batch = Batch::default();
        batch.put(column, key.to_vec(), b"x".to_vec());
        batch
    };
    let write = changes([(&b"k"[..], Some(plain(b"v")))], &[]);
    for (column, key) in [(Column::Nodes, &b"k"[..]), (Column::Pins, b"k"), (Column::Meta, b"state/head/")] {
        let refused = tree.commit(tree.prepare(1, &write).unwrap(), row(column, key)).unwrap_err();
        assert_eq!(refused, StateError::Reserved { column: column.name() });
    }
    let mut own = row(Column::Journal, b"j");
    own.extend(row(Column::Meta, b"chain"));
    tree.commit(tree.prepare(1, &write).unwrap(), own).unwrap();
    assert_eq!(store.get(Column::Journal, b"j").unwrap(), Some(b"x".to_vec()));
}

#[test]
fn ciphertexts_must_be_given_or_kept_and_match_their_digest() {
    let tree = open(&MemoryStore::new()).tree(PARATIME);
    let missing = changes([(&b"k"[..], Some(cipher(1)))], &[]);
    assert_eq!(tree.prepare(1, &missing).unwrap_err(), StateError::MissingBlob { digest: blob_digest(&blob(1)) });
    let mut wrong = missing;
    wrong.blobs.insert(blob_digest(&blob(1)), blob(2));
    assert!(matches!(tree.prepare(1, &wrong), Err(StateError::WrongDigest { .. })));
}

#[test]
fn pruning_waits_for_a_snapshot_and_then_passes() {
    let tree = open(&MemoryStore::new()).tree(PARATIME);
    for version in 1..=6u8 {
        let write = changes([(&b"k"[..], Some(plain(&[version])))], &[]);
        tree.commit(tree.prepare(version.into(), &write).unwrap(), Batch::default()).unwrap();
    }
    let held = tree.snapshot(3).unwrap();
    let clone = held.clone();
    drop(held);
    while tree.prune(1, 2).unwrap() > 0 {}
    assert_eq!(tree.oldest().unwrap(), Some(3));
    assert_eq!(clone.get(b"k").unwrap(), Some(plain(&[3])));
    clone.prove(b"k").unwrap().verify(&clone.root()).unwrap();
    drop(clone);
    while tree.prune(1, 2).unwrap() > 0 {}
    assert_eq!(tree.oldest().unwrap(), Some(6));
    for version in 1..6 {
        assert!(matches!(tree.snapshot(version), Err(StateError::UnknownVersion { .. })));
        assert!(matches!(tree.root_at(version), Err(StateError::UnknownVersion { .. })));
    }
    assert_eq!(tree.latest_snapshot().unwrap().get(b"k").unwrap(), Some(plain(&[6])));
}

#[test]
fn one_prune_removes_no_more_than_it_is_allowed() {
    let store = MemoryStore::new();
    let tree = open(&store).tree(PARATIME);
    for version in 1..=20u8 {
        let write = changes([(&[version % 5][..], Some(plain(&[version])))], &[]);
        tree.commit(tree.prepare(version.into(), &write).unwrap(), Batch::default()).unwrap();
    }
    let stale = store.rows(Column::Stale);
    let mut removed = 0;
    loop {
        let before = store.rows(Column::Stale);
        let step = tree.prune(1, 3).unwrap();
        assert!(step <= 3);
        assert_eq!(before - store.rows(Column::Stale), step);
        removed += step;
        if step == 0 {
            break;
        }
    }
    assert_eq!((removed, store.rows(Column::Stale)), (stale, 0));
}

#[test]
fn a_key_with_many_versions_and_more_keys_than_a_page_are_scanned_right() {
    let tree = open(&MemoryStore::new()).tree(PARATIME);
    let many: Vec<Vec<u8>> = (0..700u16).map(|n| [b"k/", &n.to_be_bytes()[..]].concat()).collect();
    let write = changes(many.iter().map(|key| (&key[..], Some(plain(b"0")))), &[]);
    tree.commit(tree.prepare(1, &write).unwrap(), Batch::default()).unwrap();
    for version in 2..400u64 {
        let write = changes([(&many[100][..], Some(plain(&version.to_be_bytes())))], &[]);
        tree.commit(tree.prepare(version, &write).unwrap(), Batch::default()).unwrap();
    }
    for version in [1, 2, 250, 399] {
        let found = tree.snapshot(version).unwrap().scan(b"k/").unwrap();
        assert_eq!(found.iter().map(|(key, _)| key).collect::<Vec<_>>(), many.iter().collect::<Vec<_>>());
        let expected = if version == 1 { plain(b"0") } else { plain(&version.to_be_bytes()) };
        assert_eq!(found[100].1, expected);
    }
}

#[test]
fn a_failed_write_changes_nothing_and_can_be_repeated() {
    let store = MemoryStore::new();
    let tree = open(&store).tree(PARATIME);
    store.set_faults(Some(FaultPlan { at_write: store.writes() + 1, fault: Fault::FailBefore }));
    let write = changes([(&b"k"[..], Some(cipher(1)))], &[1]);
    let before = store.contents();
    let refused = tree.commit(tree.prepare(1, &write).unwrap(), Batch::default()).unwrap_err();
    assert!(matches!(refused, StateError::Store(_)));
    assert_eq!(store.contents(), before);
    tree.commit(tree.prepare(1, &write).unwrap(), Batch::default()).unwrap();
}

#[test]
fn a_damaged_node_value_or_blob_is_an_error_that_names_it() {
    let write = changes([(&b"a"[..], Some(plain(b"1"))), (&b"b"[..], Some(cipher(1)))], &[1]);
    for column in [Column::Nodes, Column::Values, Column::Blobs] {
        let store = MemoryStore::new();
        let tree = open(&store).tree(PARATIME);
        tree.commit(tree.prepare(1, &write).unwrap(), Batch::default()).unwrap();
        let mut batch = Batch::default();
        for ((c, key), mut value) in store.contents() {
            if c == column {
                let middle = value.len() / 2;
                value[middle] ^= 1;
                batch.put(c, key, value);
            }
        }
        store.write(batch).unwrap();
        let snapshot = tree.latest_snapshot().unwrap();
        let refused = match column {
            Column::Blobs => snapshot.blob(&blob_digest(&blob(1))).unwrap_err(),
            _ => snapshot.prove(b"b").unwrap_err(),
        };
        assert!(matches!(refused, StateError::Corrupt { .. }), "{column:?}: {refused}");
    }
}

/// If this fails, the format has changed: raise `FORMAT` and say so in the release notes.
#[test]
fn roots_of_known_content_stay_what_they_are() {
    let text = |digest: Digest| digest.to_string();
    assert_eq!(text(empty_root()), "0x5350415253455f4d45524b4c455f504c414345484f4c4445525f484153485f5f");
    let one = fresh(&[(b"key".to_vec(), plain(b"value"))].into()).1.root();
    let many = fresh(&(0..=255u8).map(|n| (vec![n], if n < 8 { cipher(n) } else { plain(&[n]) })).collect()).1.root();
    assert_eq!(
        (text(one), text(many)),
        (
            "0xf0c0f57e18a425b89def24aee104756a3d41ebf6228d9e438456dcdd19529372".into(),
            "0x2d13829c5801b7fce3ce2b2ee696e640b1d27311dbe619f1a2e3f2859dc7dfd6".into()
        )
    );
}

#[test]
fn a_page_begins_after_its_key_and_ends_with_its_limit_or_its_prefix() {
    let tree = open(&MemoryStore::new()).tree(PARATIME);
    let keys: Vec<Vec<u8>> = (0..600u32).map(|n| [b"p/", &n.to_be_bytes()[..]].concat()).collect();
    let around = [b"o".to_vec(), b"p".to_vec(), b"q".to_vec()];
    let all = keys.iter().chain(&around).map(|key| (key.as_slice(), Some(plain(b"v"))));
    tree.commit(tree.prepare(1, &changes(all, &[])).unwrap(), Batch::default()).unwrap();
    let gone = changes(keys.iter().take(300).map(|key| (key.as_slice(), None)), &[]);
    tree.commit(tree.prepare(2, &gone).unwrap(), Batch::default()).unwrap();
    let snapshot = tree.snapshot(2).unwrap();
    let page = |after: &[u8], limit| -> Vec<Vec<u8>> {
        snapshot.scan_page(b"p/", after, limit).unwrap().into_iter().map(|(key, _)| key).collect()
    };
    assert_eq!(page(b"", 2), keys[300..302], "deleted keys are passed over");
    assert_eq!(page(&keys[301], 2), keys[302..304]);
    assert_eq!(page(&keys[10], 1), keys[300..301], "after a deleted key");
    assert_eq!(page(&keys[597], 10), keys[598..], "the last page is short");
    assert_eq!(page(b"", 1_000), keys[300..]);
    for after in [&keys[599][..], b"q", b"\xff"] {
        assert!(page(after, 10).is_empty());
    }
    assert!(page(b"", 0).is_empty());
    assert_eq!(tree.snapshot(1).unwrap().scan_page(b"p/", b"", 1_000).unwrap().len(), 600, "an older version");
    assert!(
        open(&MemoryStore::new())
            .tree(PARATIME)
            .latest_snapshot()
            .unwrap()
            .scan_page(b"p/", b"", 9)
            .unwrap()
            .is_empty()
    );
}

#[test]
fn the_next_root_is_known_before_the_ciphertexts_are() {
    let tree = open(&MemoryStore::new()).tree(PARATIME);
    let first = changes([(&b"a"[..], Some(plain(b"1")))], &[]);
    tree.commit(tree.prepare(1, &first).unwrap(), Batch::default()).unwrap();
    let write = changes([(&b"a"[..], None), (&b"b"[..], Some(cipher(3)))], &[3]);
    let root = tree.root_after(2, &write.writes).unwrap();
    let without = Changes { writes: write.writes.clone(), ..Changes::default() };
    assert!(matches!(tree.prepare(2, &without), Err(StateError::MissingBlob { .. })));
    assert_eq!(tree.prepare(2, &write).unwrap().root(), root);
    assert!(matches!(tree.root_after(1, &write.writes), Err(StateError::VersionOrder { .. })));
    assert_eq!(tree.latest().unwrap().unwrap().0, 1, "nothing was written");
}
