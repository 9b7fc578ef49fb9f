//! What consensus and ParaTimes tell the world about a block: a stable name and named attributes, all public.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

/// One event, for example `rounds.finalized` with `round = 7`.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Event {
    /// Dotted name: module, then what happened. Stable.
    pub name: String,
    /// Attributes in the order of emission. Never a plaintext, a key or a share.
    pub attributes: Vec<(String, String)>,
}

impl Event {
    /// An event without attributes.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), attributes: Vec::new() }
    }

    /// Adds an attribute.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl ToString) -> Self {
        self.attributes.push((key.to_owned(), value.to_string()));
        self
    }

    /// The first attribute of this name.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.attributes.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }
}
