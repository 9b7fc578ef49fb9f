//! One store with its trees and blobs: checked at open, written by one writer at a time.

use crate::blobs::{self, Ledger};
use crate::tree::Prepared;
use crate::{Batch, Blobs, Column, Namespace, StateError, Store, Tree, Version, rows};
use parallax_primitives::{Digest, encode};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A store opened as state: hands out trees and blobs that share one writer's lock. Cheap to clone; open each store
/// once, because two databases over one store would not see each other's locks.
#[derive(Clone)]
pub struct Database {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) store: Arc<dyn Store>,
    /// Held while a write reads counts and heads and replaces them.
    writer: Mutex<()>,
    readers: Mutex<Readers>,
}

/// Which versions snapshots still read, and which pruning has already given up.
#[derive(Default)]
struct Readers {
    held: BTreeMap<(Namespace, Version), usize>,
    floor: BTreeMap<Namespace, Version>,
}

impl Database {
    /// Opens a store. An empty one gets the current format; one of another format is refused before anything is
    /// written.
    ///
    /// # Errors
    /// [`StateError::Format`] naming both formats and the remedy, [`StateError::Corrupt`], [`StateError::Store`].
    pub fn open(store: Arc<dyn Store>) -> Result<Self, StateError> {
        match store.get(Column::Meta, rows::FORMAT_ROW)? {
            Some(bytes) => {
                let found: u32 = rows::content(Column::Meta, rows::FORMAT_ROW, &bytes)?;
                if found != rows::FORMAT {
                    return Err(StateError::Format { found, expected: rows::FORMAT });
                }
            }
            None => {
                let all = (vec![], vec![0xff; 64]);
                let ours = (rows::META_PREFIX.to_vec(), rows::successor(rows::META_PREFIX));
                let tables =
                    [(Column::Nodes, &all), (Column::Values, &all), (Column::Blobs, &all), (Column::Meta, &ours)];
                for (column, (start, end)) in tables {
                    if let Some((row, _)) = store.range(column, start, end, 1)?.pop() {
                        return Err(rows::corrupt(column, &row, "the database has rows but no format version"));
                    }
                }
                let mut batch = Batch::default();
                batch.put(Column::Meta, rows::FORMAT_ROW.to_vec(), encode(&rows::FORMAT));
                store.write(batch)?;
            }
        }
        Ok(Self { inner: Arc::new(Inner { store, writer: Mutex::default(), readers: Mutex::default() }) })
    }

    /// The tree of a namespace; it need not have a version yet.
    pub fn tree(&self, ns: Namespace) -> Tree {
        Tree::from_inner(Arc::clone(&self.inner), ns)
    }

    /// The blobs that all trees share.
    pub fn blobs(&self) -> Blobs {
        Blobs::new(Arc::clone(&self.inner))
    }

    /// Every namespace with at least one version.
    ///
    /// # Errors
    /// If the store fails.
    pub fn namespaces(&self) -> Result<Vec<Namespace>, StateError> {
        let (start, end) = rows::heads();
        let found = self.inner.store.range(Column::Meta, &start, &end, 0)?;
        found.iter().map(|(row, _)| rows::head_namespace(row)).collect()
    }

    /// The store below, for the columns that are not state: blocks, rounds and journals.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.inner.store
    }

    /// Writes everything in `write`, or nothing.
    ///
    /// # Errors
    /// [`StateError::Conflict`] if a tree has moved on since its commit was prepared,
    /// [`StateError::MissingBlob`], [`StateError::Reserved`], [`StateError::Store`].
    pub fn write(&self, write: AtomicWrite) -> Result<(), StateError> {
        self.inner.write(write)
    }
}

/// Changes that become durable together: new versions of trees, pins, and rows of other columns.
///
/// Pins of a holder that [`AtomicWrite::unpin`] names go first; pins added in the same write stay.
#[derive(Default)]
#[must_use = "an atomic write does nothing until it is given to Database::write"]
pub struct AtomicWrite {
    trees: Vec<Prepared>,
    ledger: Ledger,
    extra: Batch,
}

impl AtomicWrite {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a prepared version of a tree; at most one a tree.
    pub fn commit(mut self, prepared: Prepared) -> Self {
        self.trees.push(prepared);
        self
    }

    /// Stores blobs and pins them. Also returns their digests, in the order given.
    ///
    /// # Errors
    /// [`StateError::TooLarge`] for a blob or a holder past its limit.
    pub fn pin_new(mut self, holder: &[u8], blobs: &[Vec<u8>]) -> Result<(Self, Vec<Digest>), StateError> {
        blobs::check_holder(holder)?;
        let mut digests = Vec::with_capacity(blobs.len());
        for bytes in blobs {
            let (digest, packed) = blobs::pack(bytes)?;
            self.ledger.bytes.insert(digest, packed);
            self.ledger.pins.insert((digest, holder.to_vec()));
            digests.push(digest);
        }
        Ok((self, digests))
    }

    /// Pins blobs that are kept already, or that another part of this write brings.
    ///
    /// # Errors
    /// [`StateError::TooLarge`] if the holder's name is.
    pub fn pin(mut self, holder: &[u8], digests: &[Digest]) -> Result<Self, StateError> {
        blobs::check_holder(holder)?;
        self.ledger.pins.extend(digests.iter().map(|digest| (*digest, holder.to_vec())));
        Ok(self)
    }

    /// Releases every pin that a holder had before this write.
    pub fn unpin(mut self, holder: &[u8]) -> Self {
        self.ledger.unpins.insert(holder.to_vec());
        self
    }

    /// Adds rows of columns that are not state: `Blocks`, `Rounds`, `Journal`, and rows of `Meta` outside `state/`.
    pub fn extra(mut self, batch: Batch) -> Self {
        self.extra.extend(batch);
        self
    }
}

/// The mutexes guard no data that a panic could leave half changed: one guards nothing, the other only counters.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn refuse_reserved(extra: &Batch) -> Result<(), StateError> {
    for (column, row, _) in &extra.ops {
        let reserved = match column {
            Column::Nodes | Column::Values | Column::Stale | Column::Blobs | Column::BlobRefs | Column::Pins => true,
            Column::Meta => row.starts_with(rows::META_PREFIX),
            Column::Blocks | Column::Rounds | Column::Journal => false,
        };
        if reserved {
            return Err(StateError::Reserved { column: column.name() });
        }
    }
    Ok(())
}

impl Inner {
    pub(crate) fn write(&self, write: AtomicWrite) -> Result<(), StateError> {
        let AtomicWrite { trees, mut ledger, extra } = write;
        refuse_reserved(&extra)?;
        let _writer = lock(&self.writer);
        let mut batch = Batch::default();
        let mut seen = Vec::new();
        for prepared in trees {
            if seen.contains(&prepared.ns) {
                return Err(prepared.conflict(Some(prepared.version)));
            }
            seen.push(prepared.ns);
            self.advance(prepared, &mut batch, &mut ledger)?;
        }
        ledger.resolve(&*self.store, &mut batch)?;
        batch.extend(extra);
        self.store.write(batch)
    }

    /// Moves a tree's head to the prepared version, if the tree is still where it was prepared on.
    fn advance(&self, prepared: Prepared, batch: &mut Batch, ledger: &mut Ledger) -> Result<(), StateError> {
        let head = self.head(&prepared.ns)?;
        let latest = head.map(|head| head.latest);
        if latest != prepared.base {
            return Err(prepared.conflict(latest));
        }
        let version = prepared.version;
        let head = match head {
            Some(head) => rows::Head { latest: version, ..head },
            None => rows::Head { latest: version, oldest: version, pruned: version },
        };
        batch.put(Column::Meta, rows::head(&prepared.ns), encode(&head));
        batch.extend(prepared.batch);
        for (digest, added) in prepared.references {
            ledger.add(digest, added);
        }
        ledger.bytes.extend(prepared.blobs);
        Ok(())
    }

    /// Runs `step` as the only writer.
    pub(crate) fn as_writer<T>(&self, step: impl FnOnce() -> Result<T, StateError>) -> Result<T, StateError> {
        let _writer = lock(&self.writer);
        step()
    }

    pub(crate) fn head(&self, ns: &Namespace) -> Result<Option<rows::Head>, StateError> {
        let row = rows::head(ns);
        match self.store.get(Column::Meta, &row)? {
            Some(bytes) => Ok(Some(rows::content(Column::Meta, &row, &bytes)?)),
            None => Ok(None),
        }
    }

    /// The record of a version that may still be read.
    pub(crate) fn record(&self, ns: &Namespace, version: Version) -> Result<rows::RootRecord, StateError> {
        let unknown = || StateError::UnknownVersion { namespace: ns.to_string(), version };
        let head = self.head(ns)?.ok_or_else(unknown)?;
        if version < head.oldest || version > head.latest {
            return Err(unknown());
        }
        let row = rows::root(ns, version);
        match self.store.get(Column::Meta, &row)? {
            Some(bytes) => rows::content(Column::Meta, &row, &bytes),
            None => Err(unknown()),
        }
    }

    /// Keeps pruning away from a version until [`Inner::release`].
    pub(crate) fn hold(&self, ns: &Namespace, version: Version) -> Result<rows::RootRecord, StateError> {
        let mut readers = lock(&self.readers);
        if readers.floor.get(ns).is_some_and(|floor| version < *floor) {
            return Err(StateError::UnknownVersion { namespace: ns.to_string(), version });
        }
        let record = self.record(ns, version)?;
        let held = readers.held.entry((*ns, version)).or_default();
        *held = held.saturating_add(1);
        Ok(record)
    }

    pub(crate) fn release(&self, ns: &Namespace, version: Version) {
        let mut readers = lock(&self.readers);
        if let Some(held) = readers.held.get_mut(&(*ns, version)) {
            *held = held.saturating_sub(1);
            if *held == 0 {
                readers.held.remove(&(*ns, version));
            }
        }
    }

    /// Settles up to which version a tree may be pruned: `wanted`, or less if a snapshot reads an earlier one. From
    /// here on no snapshot of an earlier version is handed out.
    pub(crate) fn settle_floor(&self, ns: &Namespace, wanted: Version) -> Version {
        let mut readers = lock(&self.readers);
        let range = (Bound::Included((*ns, 0)), Bound::Included((*ns, wanted)));
        let floor = readers.held.range(range).next().map_or(wanted, |((_, held), _)| *held);
        let entry = readers.floor.entry(*ns).or_default();
        *entry = floor.max(*entry);
        *entry
    }
}
