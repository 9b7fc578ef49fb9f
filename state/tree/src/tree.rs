//! One tree: its versions, the preparation and commit of the next, and pruning.

use crate::blobs::{Ledger, Packed, is_held, pack, within};
use crate::database::{AtomicWrite, Inner};
use crate::hasher::{EMPTY, key_hash};
use crate::nodes::{self, Merkle, Reader};
use crate::rows::{Replaced, RootRecord, StaleKind};
use crate::{Batch, Changes, Column, Namespace, Snapshot, StateError, StateProof, Store, Value, Version, rows};
use jmt::KeyHash;
use jmt::storage::Node;
use parallax_primitives::limits::{MAX_KEY_BYTES, MAX_VALUE_BYTES};
use parallax_primitives::{Digest, encode};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The tree of one namespace in a [`crate::Database`]. Cheap to clone.
#[derive(Clone)]
pub struct Tree {
    inner: Arc<Inner>,
    ns: Namespace,
}

/// The next version of a tree, computed and not yet written.
#[must_use = "a prepared version is not durable until it is committed"]
pub struct Prepared {
    pub(crate) ns: Namespace,
    pub(crate) base: Option<Version>,
    pub(crate) version: Version,
    root: Digest,
    pub(crate) batch: Batch,
    pub(crate) references: BTreeMap<Digest, i64>,
    pub(crate) blobs: BTreeMap<Digest, Packed>,
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Prepared({}, version {}, root {})", self.ns, self.version, self.root)
    }
}

impl Prepared {
    /// The tree.
    pub fn namespace(&self) -> Namespace {
        self.ns
    }

    /// The version that a commit will create.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The root that it will have.
    pub fn root(&self) -> Digest {
        self.root
    }

    pub(crate) fn conflict(&self, latest: Option<Version>) -> StateError {
        StateError::Conflict { namespace: self.ns.to_string(), version: self.version, base: self.base, latest }
    }
}

impl Tree {
    pub(crate) fn from_inner(inner: Arc<Inner>, ns: Namespace) -> Self {
        Self { inner, ns }
    }

    /// The namespace.
    pub fn namespace(&self) -> Namespace {
        self.ns
    }

    /// The last committed version and its root, or `None` before the first.
    ///
    /// # Errors
    /// If the store fails.
    pub fn latest(&self) -> Result<Option<(Version, Digest)>, StateError> {
        let Some(head) = self.inner.head(&self.ns)? else {
            return Ok(None);
        };
        Ok(Some((head.latest, self.inner.record(&self.ns, head.latest)?.root)))
    }

    /// The first version that may still be read, or `None` before the first commit.
    ///
    /// # Errors
    /// If the store fails.
    pub fn oldest(&self) -> Result<Option<Version>, StateError> {
        Ok(self.inner.head(&self.ns)?.map(|head| head.oldest))
    }

    /// The root of a version.
    ///
    /// # Errors
    /// [`StateError::UnknownVersion`] if it was skipped, pruned or is yet to come; [`StateError::Store`].
    pub fn root_at(&self, version: Version) -> Result<Digest, StateError> {
        Ok(self.inner.record(&self.ns, version)?.root)
    }

    /// The state at a version. Pruning waits for it; drop it when done.
    ///
    /// # Errors
    /// As for [`Tree::root_at`].
    pub fn snapshot(&self, version: Version) -> Result<Snapshot, StateError> {
        Snapshot::at(&self.inner, self.ns, version)
    }

    /// The state at the latest version; empty before the first.
    ///
    /// # Errors
    /// If the store fails.
    pub fn latest_snapshot(&self) -> Result<Snapshot, StateError> {
        loop {
            let Some(head) = self.inner.head(&self.ns)? else {
                return Ok(Snapshot::before_the_first(&self.inner, self.ns));
            };
            match self.snapshot(head.latest) {
                // A commit and a prune may have passed between the two reads: look again.
                Err(StateError::UnknownVersion { .. }) if self.inner.head(&self.ns)? != Some(head) => {}
                other => return other,
            }
        }
    }

    /// Proves a key at a version, see [`Snapshot::prove`].
    ///
    /// # Errors
    /// As for [`Tree::root_at`] and [`Snapshot::prove`].
    pub fn prove(&self, version: Version, key: &[u8]) -> Result<StateProof, StateError> {
        self.snapshot(version)?.prove(key)
    }

    /// Computes the next version from the latest; writes nothing. `version` must be larger than the latest and may
    /// skip numbers. Writes that change nothing leave no trace; a version may be empty.
    ///
    /// # Errors
    /// [`StateError::VersionOrder`], [`StateError::TooLarge`], [`StateError::MissingBlob`] and
    /// [`StateError::WrongDigest`] if the changes are at fault; [`StateError::Corrupt`], [`StateError::Store`].
    pub fn prepare(&self, version: Version, changes: &Changes) -> Result<Prepared, StateError> {
        let base = self.latest_snapshot()?;
        let (record, mut next) = self.next(version, &base, &changes.writes)?;
        next.batch.put(Column::Meta, rows::root(&self.ns, version), encode(&record));
        if let Some(previous) = base.version() {
            let target = rows::root(&self.ns, previous);
            next.batch.put(Column::Stale, rows::stale(&self.ns, version, StaleKind::Root, &target), Vec::new());
        }
        let Next { batch, references, .. } = next;
        let blobs = self.take_blobs(&references, changes)?;
        Ok(Prepared { ns: self.ns, base: base.version(), version, root: record.root, batch, references, blobs })
    }

    /// The root that [`Tree::prepare`] would give the next version. The blobs that the values name need not be known:
    /// the root is over their digests, so whether they are worth fetching can be told first.
    ///
    /// # Errors
    /// [`StateError::VersionOrder`], [`StateError::TooLarge`]; [`StateError::Corrupt`], [`StateError::Store`].
    pub fn root_after(
        &self,
        version: Version,
        writes: &BTreeMap<Vec<u8>, Option<Value>>,
    ) -> Result<Digest, StateError> {
        let base = self.latest_snapshot()?;
        Ok(self.next(version, &base, writes)?.0.root)
    }

    fn next<'a>(
        &self,
        version: Version,
        base: &'a Snapshot,
        writes: &BTreeMap<Vec<u8>, Option<Value>>,
    ) -> Result<(RootRecord, Next<'a>), StateError> {
        if base.version().is_some_and(|latest| version <= latest) {
            return Err(StateError::VersionOrder { namespace: self.ns.to_string(), version, latest: base.version() });
        }
        let mut next = Next {
            ns: self.ns,
            version,
            base,
            batch: Batch::default(),
            updates: Vec::new(),
            references: BTreeMap::new(),
        };
        for (key, value) in writes {
            next.write(key, value.as_ref())?;
        }
        let record = next.update_tree(&*self.inner.store)?;
        Ok((record, next))
    }

    /// Packs the blobs that the new values name; one that is not given must be kept already.
    fn take_blobs(
        &self,
        references: &BTreeMap<Digest, i64>,
        changes: &Changes,
    ) -> Result<BTreeMap<Digest, Packed>, StateError> {
        let mut blobs = BTreeMap::new();
        for digest in references.keys() {
            match changes.blobs.get(digest) {
                Some(bytes) => {
                    let (actual, packed) = pack(bytes)?;
                    if actual != *digest {
                        return Err(StateError::WrongDigest { claimed: *digest, actual });
                    }
                    blobs.insert(*digest, packed);
                }
                None if is_held(&*self.inner.store, digest)? => {}
                None => return Err(StateError::MissingBlob { digest: *digest }),
            }
        }
        Ok(blobs)
    }

    /// Makes a prepared version durable together with `extra`, in one write. Returns its root. To combine it with
    /// pins or other trees, use [`AtomicWrite`].
    ///
    /// # Errors
    /// As for [`crate::Database::write`].
    pub fn commit(&self, prepared: Prepared, extra: Batch) -> Result<Digest, StateError> {
        let root = prepared.root;
        self.inner.write(AtomicWrite::new().commit(prepared).extra(extra))?;
        Ok(root)
    }

    /// Prunes all but the last `keep_last` version numbers (at least one), removing at most `max_steps` (at least
    /// one) replaced rows in one short write. Returns how many it removed; 0 means that nothing is left to do. May be
    /// switched on at any time, and stops before a version that a snapshot still reads.
    ///
    /// # Errors
    /// [`StateError::Corrupt`], [`StateError::Store`].
    pub fn prune(&self, keep_last: u64, max_steps: usize) -> Result<usize, StateError> {
        self.inner.as_writer(|| self.prune_as_writer(keep_last.max(1), max_steps.max(1)))
    }

    fn prune_as_writer(&self, keep_last: u64, max_steps: usize) -> Result<usize, StateError> {
        let Some(head) = self.inner.head(&self.ns)? else {
            return Ok(0);
        };
        let wanted = head.latest.saturating_sub(keep_last.saturating_sub(1)).max(head.oldest);
        let oldest = self.inner.settle_floor(&self.ns, wanted).max(head.oldest);
        if oldest <= head.pruned {
            return Ok(0);
        }
        let store = &*self.inner.store;
        let (start, end) = rows::stale_range(&self.ns, head.pruned, oldest);
        let stale = store.range(Column::Stale, &start, &end, max_steps)?;
        let pruned = if stale.len() < max_steps { oldest } else { head.pruned };
        let mut batch = Batch::default();
        let mut ledger = Ledger::default();
        for (row, content) in &stale {
            self.remove(row, content, &mut batch, &mut ledger)?;
        }
        batch.put(Column::Meta, rows::head(&self.ns), encode(&rows::Head { oldest, pruned, ..head }));
        ledger.resolve(store, &mut batch)?;
        store.write(batch)?;
        Ok(stale.len())
    }

    /// Removes what one row of [`Column::Stale`] names, and the row.
    fn remove(&self, row: &[u8], content: &[u8], batch: &mut Batch, ledger: &mut Ledger) -> Result<(), StateError> {
        let (since, kind, target) = rows::split_stale(&self.ns, row)?;
        let column = match kind {
            StaleKind::Node => Column::Nodes,
            StaleKind::Root => Column::Meta,
            StaleKind::Value => {
                let replaced: Replaced = rows::content(Column::Stale, row, content)?;
                if let Some(digest) = replaced.cipher {
                    ledger.add(digest, -1);
                }
                if replaced.tombstone {
                    let (versions, _) = rows::split_value(&target)?;
                    batch.delete(Column::Values, [versions, &since.to_be_bytes()].concat());
                }
                Column::Values
            }
        };
        batch.delete(column, target);
        batch.delete(Column::Stale, row.to_vec());
        Ok(())
    }
}

/// A version in the making.
struct Next<'a> {
    ns: Namespace,
    version: Version,
    base: &'a Snapshot,
    batch: Batch,
    updates: Vec<(KeyHash, Option<Vec<u8>>)>,
    references: BTreeMap<Digest, i64>,
}

impl Next<'_> {
    /// Takes one write, unless the key has that value already.
    fn write(&mut self, key: &[u8], value: Option<&Value>) -> Result<(), StateError> {
        within("state key", key.len(), MAX_KEY_BYTES)?;
        if let Some(Value::Plain(bytes)) = value {
            within("state value", bytes.len(), MAX_VALUE_BYTES)?;
        }
        let old = self.base.row(key)?;
        if old.as_ref().and_then(|(_, old)| old.as_ref()) == value {
            return Ok(());
        }
        if let Some((written, old)) = old {
            let cipher = match old {
                Some(Value::Cipher(reference)) => Some(reference.digest),
                Some(Value::Plain(_)) | None => None,
            };
            let target = rows::value(&self.ns, key, written);
            let stale = rows::stale(&self.ns, self.version, StaleKind::Value, &target);
            self.batch.put(Column::Stale, stale, encode(&Replaced { cipher, tombstone: value.is_none() }));
        }
        if let Some(Value::Cipher(reference)) = value {
            let count = self.references.entry(reference.digest).or_default();
            *count = count.saturating_add(1);
        }
        self.batch.put(Column::Values, rows::value(&self.ns, key, self.version), encode(&value));
        self.updates.push((key_hash(key), value.map(encode)));
        Ok(())
    }

    /// Puts the updates into the Merkle tree.
    fn update_tree(&mut self, store: &dyn Store) -> Result<RootRecord, StateError> {
        let root_node = self.base.root_node();
        if self.updates.is_empty() {
            return Ok(RootRecord { root: self.base.root(), node: root_node });
        }
        let reader = Reader { store, ns: &self.ns, next: self.version, root: root_node };
        let updates = std::mem::take(&mut self.updates);
        let (root, update) = Merkle::new(&reader).put_value_set(updates, self.version).map_err(|e| {
            e.downcast_ref::<StateError>().cloned().unwrap_or_else(|| StateError::Corrupt {
                what: format!("the tree of {} at version {:?}", self.ns, self.base.version()),
                reason: format!("{e:#}"),
            })
        })?;
        for (key, node) in update.node_batch.nodes() {
            // The node of an empty tree is left out: nothing would ever mark it as replaced.
            if *node != Node::Null {
                let row = rows::node(&self.ns, key.version(), &nodes::nibbles(key));
                self.batch.put(Column::Nodes, row, encode(node));
            }
        }
        for index in &update.stale_node_index_batch {
            let nibbles = nodes::nibbles(&index.node_key);
            let written = if nibbles.is_empty() { root_node } else { Some(index.node_key.version()) };
            if let Some(written) = written {
                let target = rows::node(&self.ns, written, &nibbles);
                let stale = rows::stale(&self.ns, self.version, StaleKind::Node, &target);
                self.batch.put(Column::Stale, stale, Vec::new());
            }
        }
        let root = Digest(root.0);
        Ok(RootRecord { root, node: (root != EMPTY).then_some(self.version) })
    }
}
