//! State as a plain map, for tests that execute rounds without a tree.

use parallax_primitives::Digest;
use parallax_state::{Changes, StateError, StateView, Value};
use std::collections::{BTreeMap, BTreeSet};

/// A [`StateView`] of what has been applied to it: values by key, and the ciphertexts that they refer to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryView {
    /// The values.
    pub values: BTreeMap<Vec<u8>, Value>,
    blobs: BTreeMap<Digest, Vec<u8>>,
}

impl MemoryView {
    /// Applies what an execution changed. Ciphertexts that nothing refers to any more are gone, as they are in a tree.
    pub fn apply(&mut self, changes: Changes) {
        for (key, value) in changes.writes {
            match value {
                Some(value) => self.values.insert(key, value),
                None => self.values.remove(&key),
            };
        }
        self.blobs.extend(changes.blobs);
        let refers = |value: &Value| if let Value::Cipher(cipher) = value { Some(cipher.digest) } else { None };
        let live: BTreeSet<Digest> = self.values.values().filter_map(refers).collect();
        self.blobs.retain(|digest, _| live.contains(digest));
    }
}

impl StateView for MemoryView {
    fn get(&self, key: &[u8]) -> Result<Option<Value>, StateError> {
        Ok(self.values.get(key).cloned())
    }

    fn blob(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StateError> {
        Ok(self.blobs.get(digest).cloned())
    }

    fn scan(&self, prefix: &[u8]) -> Result<Vec<(Vec<u8>, Value)>, StateError> {
        let range = self.values.range(prefix.to_vec()..).take_while(|(key, _)| key.starts_with(prefix));
        Ok(range.map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}
