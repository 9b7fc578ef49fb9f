//! One version of one tree, to read and to prove from.

use crate::database::Inner;
use crate::hasher::EMPTY;
use crate::hasher::value_hash;
use crate::proof::{Outcome, StateProof};
use crate::{Column, Namespace, StateError, StateView, Value, Version, blobs, hasher, nodes, rows};
use parallax_primitives::Digest;
use parallax_primitives::limits::MAX_PROOF_BYTES;
use std::fmt;
use std::sync::Arc;

/// How many rows a scan reads at a time.
const SCAN_PAGE: usize = 256;

/// A [`StateView`] of one committed version, or of the tree before its first. It never changes: later commits do not
/// show in it, and pruning waits for it. Cheap to clone, free to send between threads; drop it to let pruning pass.
#[derive(Clone)]
pub struct Snapshot {
    inner: Arc<Inner>,
    ns: Namespace,
    at: Option<Arc<Held>>,
}

/// A version that pruning must not touch; released when the last clone is dropped.
struct Held {
    inner: Arc<Inner>,
    ns: Namespace,
    version: Version,
    record: rows::RootRecord,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.inner.release(&self.ns, self.version);
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Snapshot({}, version {:?}, root {})", self.ns, self.version(), self.root())
    }
}

impl Snapshot {
    pub(crate) fn at(inner: &Arc<Inner>, ns: Namespace, version: Version) -> Result<Self, StateError> {
        let record = inner.hold(&ns, version)?;
        let held = Held { inner: Arc::clone(inner), ns, version, record };
        Ok(Self { inner: Arc::clone(inner), ns, at: Some(Arc::new(held)) })
    }

    pub(crate) fn before_the_first(inner: &Arc<Inner>, ns: Namespace) -> Self {
        Self { inner: Arc::clone(inner), ns, at: None }
    }

    /// The tree.
    pub fn namespace(&self) -> Namespace {
        self.ns
    }

    /// The version, or `None` before the first commit.
    pub fn version(&self) -> Option<Version> {
        self.at.as_ref().map(|held| held.version)
    }

    /// The root: what proofs from here verify against. [`crate::empty_root`] before the first commit.
    pub fn root(&self) -> Digest {
        self.at.as_ref().map_or(EMPTY, |held| held.record.root)
    }

    /// The version at which the root node was written, unless the tree is empty.
    pub(crate) fn root_node(&self) -> Option<Version> {
        self.at.as_ref().and_then(|held| held.record.node)
    }

    /// The latest row of a key, with the version at which it was written; the value is `None` in a tombstone.
    pub(crate) fn row(&self, key: &[u8]) -> Result<Option<(Version, Option<Value>)>, StateError> {
        let Some(version) = self.version() else {
            return Ok(None);
        };
        let start = rows::value(&self.ns, key, 0);
        let end = rows::value(&self.ns, key, version);
        match self.inner.store.last(Column::Values, &start, &end)? {
            Some((row, bytes)) => {
                let (_, written) = rows::split_value(&row)?;
                Ok(Some((written, rows::content(Column::Values, &row, &bytes)?)))
            }
            None => Ok(None),
        }
    }

    /// Proves the value of a key, or that it has none, against [`Snapshot::root`].
    ///
    /// # Errors
    /// [`StateError::TooLarge`] if the key is, or if the value makes the proof larger than [`MAX_PROOF_BYTES`];
    /// [`StateError::Corrupt`] if tree and values disagree; [`StateError::Store`].
    pub fn prove(&self, key: &[u8]) -> Result<StateProof, StateError> {
        blobs::within("key", key.len(), parallax_primitives::limits::MAX_KEY_BYTES)?;
        let value = self.get(key)?;
        let way = nodes::walk(&*self.inner.store, &self.ns, self.root_node(), key)?;
        let own = Digest(hasher::key_hash(key).0);
        let outcome = match (value, way.leaf) {
            (Some(value), Some(leaf)) if leaf.key_hash == own && leaf.value_hash == value_hash(&value) => {
                Outcome::Present(value)
            }
            (None, leaf) if leaf.is_none_or(|leaf| leaf.key_hash != own) => Outcome::Absent(leaf),
            _ => return Err(self.disagreement(key, "the tree commits to another value than is stored")),
        };
        let proof = StateProof::new(key.to_vec(), outcome, way.siblings);
        // A second path to the same answer: what leaves here has been verified as the receiver will.
        proof.verify(&self.root()).map_err(|e| self.disagreement(key, e))?;
        blobs::within("state proof", proof.encode().len(), MAX_PROOF_BYTES)?;
        Ok(proof)
    }

    fn disagreement(&self, key: &[u8], reason: impl ToString) -> StateError {
        StateError::Corrupt {
            what: format!("{} version {:?}, key 0x{}", self.ns, self.version(), hex::encode(key)),
            reason: reason.to_string(),
        }
    }

    /// Adds to `found` the value of the key whose rows begin with `versions`, unless it is a tombstone.
    fn push(&self, versions: &[u8], bytes: &[u8], found: &mut Vec<(Vec<u8>, Value)>) -> Result<(), StateError> {
        if let Some(value) = rows::content::<Option<Value>>(Column::Values, versions, bytes)? {
            found.push((rows::unescape(&self.ns, versions)?, value));
        }
        Ok(())
    }

    /// The first `limit` keys after `after` that begin with `prefix`, with their values, in order. It reads no more of
    /// the tree than that takes; keys that were deleted lately, and so not pruned yet, are passed over on the way.
    /// Fewer than `limit` means that no more follow.
    ///
    /// # Errors
    /// [`StateError::Corrupt`] or [`StateError::Store`].
    pub fn scan_page(&self, prefix: &[u8], after: &[u8], limit: usize) -> Result<Vec<(Vec<u8>, Value)>, StateError> {
        let first = rows::values(&self.ns, prefix);
        let end = rows::successor(&first);
        let start = first.max(rows::successor(&rows::versions(&self.ns, after)));
        if start >= end { Ok(Vec::new()) } else { self.walk(start, &end, limit) }
    }

    /// Reads the versions of each key in order and keeps the last that is not too new. The last key of every page is
    /// looked up by itself, so that a key with many versions costs one page and not all of them.
    fn walk(&self, mut start: Vec<u8>, end: &[u8], limit: usize) -> Result<Vec<(Vec<u8>, Value)>, StateError> {
        let mut found = Vec::new();
        let Some(version) = self.version() else {
            return Ok(found);
        };
        while found.len() < limit {
            let page = self.inner.store.range(Column::Values, &start, end, SCAN_PAGE)?;
            let Some((last_row, _)) = page.last() else {
                break;
            };
            let last_key = rows::split_value(last_row)?.0.to_vec();
            let mut current: Option<(&[u8], &[u8])> = None;
            for (row, bytes) in &page {
                let (key, written) = rows::split_value(row)?;
                if let Some((previous, content)) = current
                    && previous != key
                {
                    self.push(previous, content, &mut found)?;
                    current = None;
                }
                if key == last_key {
                    break;
                }
                if written <= version {
                    current = Some((key, bytes));
                }
            }
            if let Some((previous, content)) = current {
                self.push(previous, content, &mut found)?;
            }
            let first = [&last_key[..], &Version::MIN.to_be_bytes()].concat();
            let until = [&last_key[..], &version.to_be_bytes()].concat();
            if let Some((_, content)) = self.inner.store.last(Column::Values, &first, &until)? {
                self.push(&last_key, &content, &mut found)?;
            }
            start = rows::successor(&last_key);
        }
        found.truncate(limit);
        Ok(found)
    }
}

impl StateView for Snapshot {
    fn get(&self, key: &[u8]) -> Result<Option<Value>, StateError> {
        Ok(self.row(key)?.and_then(|(_, value)| value))
    }

    fn blob(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StateError> {
        blobs::read(&*self.inner.store, digest)
    }

    fn scan(&self, prefix: &[u8]) -> Result<Vec<(Vec<u8>, Value)>, StateError> {
        let start = rows::values(&self.ns, prefix);
        let end = rows::successor(&start);
        self.walk(start, &end, usize::MAX)
    }
}
