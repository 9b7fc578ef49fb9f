//! Snapshots for joining nodes: the values of one height in key order, cut into chunks. The tree is rebuilt from them,
//! and its root must be the trusted one, so a false chunk cannot become state.

use super::Ledger;
use borsh::{BorshDeserialize, BorshSerialize};
use parallax_primitives::{Digest, Height, decode, encode, limits};
use parallax_state::{Batch, Changes, StateError, StateView, Value};

/// Heights between two snapshots that are offered, besides the one before the last.
const INTERVAL: u64 = 1_000;
/// Bytes of keys and values after which a chunk ends.
const CHUNK_BYTES: usize = 1024 * 1024;
/// Largest chunk accepted: a full one, its last value, and lengths.
const MAX_CHUNK_BYTES: usize = 2 * CHUNK_BYTES + limits::MAX_VALUE_BYTES;

/// The wire form of a chunk.
#[derive(BorshSerialize, BorshDeserialize)]
enum Chunk {
    V1(Vec<(Vec<u8>, Value)>),
}

fn refused(reason: String) -> StateError {
    StateError::Corrupt { what: "the state snapshot from a peer".to_owned(), reason }
}

impl Ledger {
    /// Heights on offer: every thousandth one that is kept, and the one before the last, whose root the last header
    /// proves.
    pub(super) fn snapshot_heights(&self) -> Result<Vec<Height>, StateError> {
        let (Some(oldest), Some((latest, _))) = (self.tree.oldest()?, self.tree.latest()?) else {
            return Ok(Vec::new());
        };
        let before_last = latest.saturating_sub(1).max(oldest);
        let mut heights = Vec::new();
        let mut height = oldest.div_ceil(INTERVAL).max(1).saturating_mul(INTERVAL);
        while height < before_last {
            heights.push(Height(height));
            height = height.saturating_add(INTERVAL);
        }
        heights.push(Height(before_last));
        Ok(heights)
    }

    /// The values after a key; no bytes when there are none left.
    pub(super) fn snapshot_chunk(&self, height: Height, after: Option<&[u8]>) -> Result<Vec<u8>, StateError> {
        let mut values = self.view(height)?.scan(&[])?;
        if let Some(after) = after {
            values.retain(|(key, _)| key.as_slice() > after);
        }
        let (mut chunk, mut bytes) = (Vec::new(), 0usize);
        for (key, value) in values {
            if bytes >= CHUNK_BYTES {
                break;
            }
            bytes = bytes.saturating_add(key.len()).saturating_add(encode(&value).len());
            chunk.push((key, value));
        }
        Ok(if chunk.is_empty() { Vec::new() } else { encode(&Chunk::V1(chunk)) })
    }

    /// The last key of a chunk: where the next one begins.
    ///
    /// # Errors
    /// If the chunk is malformed or empty.
    pub fn last_key_of(chunk: &[u8]) -> Result<Vec<u8>, StateError> {
        let values = open(chunk)?;
        values.last().map(|(key, _)| key.clone()).ok_or_else(|| refused("a chunk is empty".to_owned()))
    }

    /// Writes a snapshot into the empty store.
    pub(super) fn restore(&self, height: Height, app_hash: Digest, chunks: &[Vec<u8>]) -> Result<(), StateError> {
        if let Some((latest, _)) = self.tree.latest()? {
            return Err(StateError::VersionOrder {
                namespace: self.tree.namespace().to_string(),
                version: height.0,
                latest: Some(latest),
            });
        }
        let mut changes = Changes::default();
        let mut last: Option<Vec<u8>> = None;
        for chunk in chunks {
            for (key, value) in open(chunk)? {
                if last.as_ref().is_some_and(|last| *last >= key) {
                    return Err(refused("its keys are not in order".to_owned()));
                }
                last = Some(key.clone());
                changes.writes.insert(key, Some(value));
            }
        }
        let prepared = self.tree.prepare(height.0, &changes)?;
        let root = prepared.root();
        if root != app_hash {
            return Err(refused(format!("its root is {root}, the trusted one is {app_hash}; ask another peer")));
        }
        let mut extra = Batch::default();
        self.begin_history(&mut extra, root, height, &changes)?;
        self.tree.commit(prepared, extra)?;
        Ok(())
    }
}

fn open(chunk: &[u8]) -> Result<Vec<(Vec<u8>, Value)>, StateError> {
    match decode("snapshot chunk", chunk, MAX_CHUNK_BYTES) {
        Ok(Chunk::V1(values)) => Ok(values),
        Err(error) => Err(refused(error.to_string())),
    }
}
