//! Random histories of two trees that share their blobs, against a map of maps: versions, deletes, scans, proofs,
//! snapshots, pruning, pins, restarts. After every step the whole store is compared with the model.
#![allow(clippy::unwrap_used, reason = "a test ends at the first error")]

mod common;

use common::{Content, PARATIME, blob, changes, cipher, fresh, open, plain};
use parallax_memory_store::MemoryStore;
use parallax_primitives::Digest;
use parallax_state::{
    AtomicWrite, Batch, Column, Database, Namespace, Snapshot, StateError, StateView, Value, blob_digest,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const TREES: [Namespace; 2] = [Namespace::Consensus, PARATIME];
const HOLDERS: [&[u8]; 3] = [b"", b"a", b"ab"];
const BLOBS: u8 = 6;

/// Keys that are prefixes of one another, with the bytes that escaping has to deal with.
const KEYS: [&[u8]; 10] = [b"", b"\0", b"\0\0", b"\0\x01", b"\0\xff", b"a", b"a\0", b"a\0b", b"a\xff", b"\xff\xff"];
const PREFIXES: [&[u8]; 6] = [b"", b"\0", b"a", b"a\0", b"\xff", b"none"];

#[derive(Clone, Debug)]
enum Write {
    Plain(u8),
    Cipher(u8),
    Delete,
}

#[derive(Clone, Debug)]
enum Step {
    Commit {
        tree: usize,
        skip: u64,
        writes: BTreeMap<usize, Write>,
    },
    Prune {
        tree: usize,
        keep: u64,
        max_steps: usize,
    },
    Pin {
        holder: usize,
        blobs: BTreeSet<u8>,
    },
    Unpin {
        holder: usize,
    },
    /// Replaces a holder's pins and commits, in one write: what a worker does when a round becomes final.
    Finalize {
        tree: usize,
        holder: usize,
        key: usize,
        blob: u8,
    },
    Hold {
        tree: usize,
    },
    Drop,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let write = prop_oneof![
        3 => (0..4u8).prop_map(Write::Plain),
        3 => (0..BLOBS).prop_map(Write::Cipher),
        2 => Just(Write::Delete),
    ];
    let writes = prop::collection::btree_map(0..KEYS.len(), write, 0..6);
    let holder = 0..HOLDERS.len();
    prop_oneof![
        8 => (0..2usize, 0..3u64, writes).prop_map(|(tree, skip, writes)| Step::Commit { tree, skip, writes }),
        4 => (0..2usize, 0..4u64, 1..6usize).prop_map(|(tree, keep, max_steps)| Step::Prune { tree, keep, max_steps }),
        2 => (holder.clone(), prop::collection::btree_set(0..BLOBS, 1..3)).prop_map(|(holder, blobs)| Step::Pin { holder, blobs }),
        2 => holder.clone().prop_map(|holder| Step::Unpin { holder }),
        1 => (0..2usize, holder, 0..KEYS.len(), 0..BLOBS)
            .prop_map(|(tree, holder, key, blob)| Step::Finalize { tree, holder, key, blob }),
        1 => (0..2usize).prop_map(|tree| Step::Hold { tree }),
        1 => Just(Step::Drop),
        1 => Just(Step::Restart),
    ]
}

struct World {
    store: MemoryStore,
    database: Database,
    versions: [BTreeMap<u64, Content>; 2],
    pins: BTreeMap<Vec<u8>, BTreeSet<Digest>>,
    held: Vec<(usize, Snapshot)>,
}

impl World {
    fn new() -> Self {
        let store = MemoryStore::new();
        let database = open(&store);
        Self { store, database, versions: Default::default(), pins: BTreeMap::new(), held: Vec::new() }
    }

    fn content(&self, tree: usize) -> Content {
        self.versions[tree].values().next_back().cloned().unwrap_or_default()
    }

    fn next(&self, tree: usize, skip: u64) -> u64 {
        self.versions[tree].keys().next_back().map_or(skip, |latest| latest + 1 + skip)
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Commit { tree, skip, writes } => {
                let mut content = self.content(*tree);
                let mut given = Vec::new();
                let mut all = Vec::new();
                for (key, write) in writes {
                    let value = match write {
                        Write::Plain(n) => Some(plain(&[*n])),
                        Write::Cipher(n) => {
                            given.push(*n);
                            Some(cipher(*n))
                        }
                        Write::Delete => None,
                    };
                    match &value {
                        Some(value) => content.insert(KEYS[*key].to_vec(), value.clone()),
                        None => content.remove(KEYS[*key]),
                    };
                    all.push((KEYS[*key], value));
                }
                let version = self.next(*tree, *skip);
                let database_tree = self.database.tree(TREES[*tree]);
                let prepared = database_tree.prepare(version, &changes(all, &given)).unwrap();
                let root = prepared.root();
                assert_eq!(database_tree.commit(prepared, Batch::default()).unwrap(), root);
                self.versions[*tree].insert(version, content);
            }
            Step::Prune { tree, keep, max_steps } => {
                assert!(self.database.tree(TREES[*tree]).prune(*keep, *max_steps).unwrap() <= *max_steps);
                let held = self.held.iter().filter(|(t, _)| t == tree).filter_map(|(_, s)| s.version()).min();
                let oldest = self.database.tree(TREES[*tree]).oldest().unwrap();
                if let (Some(latest), Some(oldest)) = (self.versions[*tree].keys().next_back().copied(), oldest) {
                    assert!(held.is_none_or(|held| oldest <= held) && oldest <= latest);
                    self.versions[*tree].retain(|version, _| *version >= oldest);
                }
            }
            Step::Pin { holder, blobs } => {
                let bytes: Vec<Vec<u8>> = blobs.iter().map(|n| blob(*n)).collect();
                let digests = self.database.blobs().put_pinned(HOLDERS[*holder], &bytes).unwrap();
                self.pins.entry(HOLDERS[*holder].to_vec()).or_default().extend(digests);
            }
            Step::Unpin { holder } => {
                self.database.blobs().unpin(HOLDERS[*holder]).unwrap();
                self.pins.remove(HOLDERS[*holder]);
            }
            Step::Finalize { tree, holder, key, blob: n } => {
                let version = self.next(*tree, 0);
                let write = changes([(KEYS[*key], Some(cipher(*n)))], &[*n]);
                let prepared = self.database.tree(TREES[*tree]).prepare(version, &write).unwrap();
                let digest = blob_digest(&blob(*n));
                let write = AtomicWrite::new().commit(prepared).unpin(HOLDERS[*holder]);
                self.database.write(write.pin(HOLDERS[*holder], &[digest]).unwrap()).unwrap();
                let mut content = self.content(*tree);
                content.insert(KEYS[*key].to_vec(), cipher(*n));
                self.versions[*tree].insert(version, content);
                self.pins.insert(HOLDERS[*holder].to_vec(), [digest].into());
            }
            Step::Hold { tree } => {
                self.held.push((*tree, self.database.tree(TREES[*tree]).latest_snapshot().unwrap()));
            }
            Step::Drop => drop(self.held.pop()),
            Step::Restart => {
                self.held.clear();
                self.store = self.store.reopen();
                self.database = open(&self.store);
            }
        }
    }

    fn check(&self) {
        for (at, ns) in TREES.into_iter().enumerate() {
            let tree = self.database.tree(ns);
            assert_eq!(tree.latest().unwrap().map(|(v, _)| v), self.versions[at].keys().next_back().copied());
            for (version, content) in &self.versions[at] {
                let snapshot = tree.snapshot(*version).unwrap();
                assert_eq!(snapshot.root(), tree.root_at(*version).unwrap());
                check_content(&snapshot, content);
            }
            if let Some((version, content)) = self.versions[at].last_key_value() {
                check_proofs(&tree.snapshot(*version).unwrap(), content);
            }
        }
        for (at, snapshot) in &self.held {
            if let Some(version) = snapshot.version() {
                check_content(snapshot, &self.versions[*at][&version]);
            }
        }
        self.check_blobs();
    }

    /// The counts are those of the rows on disk, and a blob is there exactly if it is counted or pinned.
    fn check_blobs(&self) {
        let blobs = self.database.blobs();
        let mut counts: BTreeMap<Digest, u64> = BTreeMap::new();
        for ((column, _), bytes) in self.store.contents() {
            if column == Column::Values
                && let Some(Value::Cipher(reference)) = borsh::from_slice::<Option<Value>>(&bytes).unwrap()
            {
                *counts.entry(reference.digest).or_default() += 1;
            }
        }
        for n in 0..BLOBS {
            let digest = blob_digest(&blob(n));
            let count = counts.get(&digest).copied().unwrap_or_default();
            assert_eq!(blobs.references(&digest).unwrap(), count);
            let held = count > 0 || self.pins.values().any(|pinned| pinned.contains(&digest));
            assert_eq!(blobs.contains(&digest).unwrap(), held);
            assert_eq!(blobs.get(&digest).unwrap(), held.then(|| blob(n)));
        }
        for holder in HOLDERS {
            let pinned: Vec<Digest> = self.pins.get(holder).into_iter().flatten().copied().collect();
            assert_eq!(blobs.pinned_by(holder).unwrap(), pinned);
        }
    }

    /// Pruned to the latest versions, the store holds what trees without a history hold, and no row more.
    fn check_nothing_leaks(&mut self) {
        self.held.clear();
        let mut rows = BTreeMap::new();
        for (at, ns) in TREES.into_iter().enumerate() {
            let tree = self.database.tree(ns);
            while tree.prune(1, 3).unwrap() > 0 {}
            if tree.latest().unwrap().is_some() {
                let (alone, _) = fresh(&self.content(at));
                for column in [Column::Nodes, Column::Values, Column::Stale] {
                    *rows.entry(column).or_insert(0) += alone.rows(column);
                }
            }
        }
        for (column, expected) in rows {
            assert_eq!(self.store.rows(column), expected, "{column:?}");
        }
        for holder in HOLDERS {
            self.database.blobs().unpin(holder).unwrap();
        }
        assert_eq!(self.store.rows(Column::Pins), 0);
        assert_eq!(self.store.rows(Column::Blobs), self.store.rows(Column::BlobRefs));
    }
}

fn check_content(snapshot: &Snapshot, content: &Content) {
    for key in KEYS {
        assert_eq!(snapshot.get(key).unwrap().as_ref(), content.get(key));
    }
    for prefix in PREFIXES {
        let expected: Vec<_> = content.clone().into_iter().filter(|(key, _)| key.starts_with(prefix)).collect();
        assert_eq!(snapshot.scan(prefix).unwrap(), expected, "scan of {prefix:?}");
    }
    for value in content.values() {
        if let Value::Cipher(reference) = value {
            assert!(snapshot.blob(&reference.digest).unwrap().is_some());
        }
    }
}

fn check_proofs(snapshot: &Snapshot, content: &Content) {
    // The root depends on the content alone, not on how it came about.
    let root = fresh(content).1.root();
    assert_eq!(snapshot.root(), root);
    for key in KEYS {
        let proof = snapshot.prove(key).unwrap();
        assert_eq!(proof.value(), content.get(key));
        proof.verify(&root).unwrap();
        let mut other = content.clone();
        match content.get(key) {
            Some(_) => drop(other.remove(key)),
            None => drop(other.insert(key.to_vec(), plain(b"x"))),
        }
        proof.verify(&fresh(&other).1.root()).unwrap_err();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_history_reads_proves_and_counts_like_the_model(steps in prop::collection::vec(step(), 1..24)) {
        let mut world = World::new();
        for step in &steps {
            world.run(step);
            world.check();
        }
        world.check_nothing_leaks();
    }
}

#[test]
fn pins_on_blobs_that_are_not_kept_are_refused() {
    let blobs = open(&MemoryStore::new()).blobs();
    let digest = blob_digest(&blob(1));
    assert_eq!(blobs.pin(b"h", &[digest]).unwrap_err(), StateError::MissingBlob { digest });
    blobs.put_pinned(b"other", &[blob(1)]).unwrap();
    blobs.pin(b"h", &[digest]).unwrap();
    blobs.unpin(b"other").unwrap();
    assert_eq!(blobs.get(&digest).unwrap(), Some(blob(1)));
    blobs.unpin(b"h").unwrap();
    assert_eq!(blobs.get(&digest).unwrap(), None);
    assert!(matches!(blobs.pin(&[0; 300], &[digest]), Err(StateError::TooLarge { .. })));
}
