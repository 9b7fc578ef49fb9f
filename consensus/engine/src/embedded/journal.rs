//! Blocks that may yet be decided, durable before they are voted for: the library's write-ahead log remembers that a
//! value was seen, not its bytes.

use super::parts::SignedInit;
use crate::blocks::{MAX_ENCODED_BLOCK, decode_versioned, encode_v1};
use borsh::{BorshDeserialize, BorshSerialize};
use parallax_primitives::Digest;
use parallax_state::{Batch, Column, StateError, Store};
use std::sync::Arc;

const PREFIX: &[u8] = b"engine/undecided/";
/// Largest row, in bytes: the block, and an announcement a round.
const MAX_ROW: usize = MAX_ENCODED_BLOCK + 1024 * 1024;

/// A key and its value.
type Row = (Vec<u8>, Vec<u8>);

/// A row of the journal.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Undecided {
    /// The encoded block.
    pub(crate) bytes: Vec<u8>,
    /// Who announced it in which round.
    pub(crate) inits: Vec<SignedInit>,
}

fn row(height: u64, value: &Digest) -> Vec<u8> {
    [PREFIX, &height.to_be_bytes(), &value.0].concat()
}

/// The journal, in the store that also holds the state.
pub(crate) struct Journal {
    store: Arc<dyn Store>,
}

impl Journal {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// Makes a block durable.
    pub(crate) fn keep(&self, height: u64, value: &Digest, undecided: &Undecided) -> Result<(), StateError> {
        let mut batch = Batch::default();
        batch.put(Column::Journal, row(height, value), encode_v1(undecided));
        self.store.write(batch)
    }

    fn rows(&self, from: u64, until: u64) -> Result<Vec<Row>, StateError> {
        let (start, end) = ([PREFIX, &from.to_be_bytes()].concat(), [PREFIX, &until.to_be_bytes()].concat());
        self.store.range(Column::Journal, &start, &end, 0)
    }

    /// Every block above a height.
    pub(crate) fn above(&self, height: u64) -> Result<Vec<Undecided>, StateError> {
        let rows = self.rows(height.saturating_add(1), u64::MAX)?;
        let decoded = rows.into_iter().map(|(key, bytes)| {
            decode_versioned("undecided block", &bytes, MAX_ROW).map_err(|e| StateError::Corrupt {
                what: format!("column journal, row {}", key.escape_ascii()),
                reason: e.to_string(),
            })
        });
        decoded.collect()
    }

    /// The deletion of every row up to a height, to be part of that height's commit.
    pub(crate) fn forget(&self, height: u64) -> Result<Batch, StateError> {
        let mut batch = Batch::default();
        for (key, _) in self.rows(0, height.saturating_add(1))? {
            batch.delete(Column::Journal, key);
        }
        Ok(batch)
    }
}
