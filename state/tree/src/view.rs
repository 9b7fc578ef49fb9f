//! What execution sees of the state: a [`StateView`] to read from, an [`Overlay`] to write on, and the
//! [`Changes`] that come out.

use crate::StateError;
use borsh::{BorshDeserialize, BorshSerialize};
use parallax_primitives::{Digest, Domain, KeyId};
use std::collections::BTreeMap;

/// A reference to a ciphertext: the tree holds this, the bytes lie beside it under their digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct CipherRef {
    /// The key set under which it is encrypted.
    pub key_id: KeyId,
    /// How many ciphertext blocks it holds.
    pub blocks: u16,
    /// The digest of its bytes, see [`blob_digest`].
    pub digest: Digest,
}

/// What the tree holds under a key.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Value {
    /// Public bytes.
    Plain(Vec<u8>),
    /// A ciphertext, by reference.
    Cipher(CipherRef),
}

/// The digest under which ciphertext bytes are stored and committed.
pub fn blob_digest(bytes: &[u8]) -> Digest {
    Digest::of_bytes(Domain::Blob, bytes)
}

/// A read-only view of one namespace at one moment.
pub trait StateView {
    /// The value under a key.
    ///
    /// # Errors
    /// If the store cannot be read or holds something that it cannot have written.
    fn get(&self, key: &[u8]) -> Result<Option<Value>, StateError>;

    /// Ciphertext bytes by digest.
    ///
    /// # Errors
    /// As for [`StateView::get`].
    fn blob(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StateError>;

    /// Every key with this prefix and its value, in key order.
    ///
    /// # Errors
    /// As for [`StateView::get`].
    fn scan(&self, prefix: &[u8]) -> Result<Vec<(Vec<u8>, Value)>, StateError>;
}

/// The writes of one execution.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Changes {
    /// New values; `None` deletes.
    pub writes: BTreeMap<Vec<u8>, Option<Value>>,
    /// Ciphertext bytes that the writes refer to and that may be new.
    pub blobs: BTreeMap<Digest, Vec<u8>>,
}

/// Writes on top of a view; reads see them.
pub struct Overlay<'a> {
    base: &'a dyn StateView,
    changes: Changes,
}

impl<'a> Overlay<'a> {
    /// An overlay without writes.
    pub fn new(base: &'a dyn StateView) -> Self {
        Self { base, changes: Changes::default() }
    }

    /// Writes public bytes.
    pub fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.changes.writes.insert(key, Some(Value::Plain(value)));
    }

    /// Writes a ciphertext: the reference into the tree, the bytes beside it. Returns the reference.
    pub fn put_cipher(&mut self, key: Vec<u8>, key_id: KeyId, blocks: u16, bytes: Vec<u8>) -> CipherRef {
        let digest = blob_digest(&bytes);
        let reference = CipherRef { key_id, blocks, digest };
        self.changes.blobs.insert(digest, bytes);
        self.changes.writes.insert(key, Some(Value::Cipher(reference)));
        reference
    }

    /// Deletes a key.
    pub fn delete(&mut self, key: Vec<u8>) {
        self.changes.writes.insert(key, None);
    }

    /// Takes over changes made elsewhere.
    pub fn apply(&mut self, changes: Changes) {
        self.changes.writes.extend(changes.writes);
        self.changes.blobs.extend(changes.blobs);
    }

    /// The writes so far. Blobs that no write refers to any more are left out.
    pub fn into_changes(self) -> Changes {
        let mut changes = self.changes;
        let live: std::collections::BTreeSet<Digest> = changes
            .writes
            .values()
            .filter_map(|v| match v {
                Some(Value::Cipher(c)) => Some(c.digest),
                _ => None,
            })
            .collect();
        changes.blobs.retain(|digest, _| live.contains(digest));
        changes
    }
}

/// The state before genesis: nothing is in it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Empty;

impl StateView for Empty {
    fn get(&self, _key: &[u8]) -> Result<Option<Value>, StateError> {
        Ok(None)
    }

    fn blob(&self, _digest: &Digest) -> Result<Option<Vec<u8>>, StateError> {
        Ok(None)
    }

    fn scan(&self, _prefix: &[u8]) -> Result<Vec<(Vec<u8>, Value)>, StateError> {
        Ok(Vec::new())
    }
}

impl StateView for Overlay<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Value>, StateError> {
        match self.changes.writes.get(key) {
            Some(value) => Ok(value.clone()),
            None => self.base.get(key),
        }
    }

    fn blob(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StateError> {
        match self.changes.blobs.get(digest) {
            Some(bytes) => Ok(Some(bytes.clone())),
            None => self.base.blob(digest),
        }
    }

    fn scan(&self, prefix: &[u8]) -> Result<Vec<(Vec<u8>, Value)>, StateError> {
        let mut all: BTreeMap<Vec<u8>, Value> = self.base.scan(prefix)?.into_iter().collect();
        for (key, value) in self.changes.writes.range(prefix.to_vec()..) {
            if !key.starts_with(prefix) {
                break;
            }
            match value {
                Some(value) => all.insert(key.clone(), value.clone()),
                None => all.remove(key),
            };
        }
        Ok(all.into_iter().collect())
    }
}
