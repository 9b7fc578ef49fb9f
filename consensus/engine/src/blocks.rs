//! What was decided: blocks, certificates and results by height, transactions by digest. Written in the one atomic
//! write that commits the state, so a block is here exactly if its state is.

use borsh::{BorshDeserialize, BorshSerialize};
use parallax_consensus_app::tx::tx_digest;
use parallax_consensus_app::{Block, CommitCertificate, Executed, Receipt};
use parallax_primitives::{DecodeError, Digest, Event, Height, decode, encode, limits};
use parallax_state::{Batch, Column, StateError, Store};
use std::sync::Arc;

/// Largest encoded block, in bytes: the transactions, their lengths, and the header.
pub const MAX_ENCODED_BLOCK: usize = limits::MAX_BLOCK_BYTES + 16 * 1024;
/// Largest encoded certificate or set of results, in bytes.
const MAX_ENCODED_RESULT: usize = 64 * 1024 * 1024;
/// Most blocks in one answer of [`BlockStore::range`].
pub const MAX_RANGE: usize = 100;

const BLOCK: &[u8] = b"block/";
const CERTIFICATE: &[u8] = b"cert/";
const RESULT: &[u8] = b"result/";
const TRANSACTION: &[u8] = b"tx/";

/// Every stored or sent root of this crate: a new format is a new variant.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) enum Versioned<T> {
    /// The first format.
    V1(T),
}

/// Encodes under the current version. The tag is the byte that [`Versioned`] writes.
pub(crate) fn encode_v1<T: BorshSerialize + ?Sized>(value: &T) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend(encode(value));
    bytes
}

/// Decodes any known version.
pub(crate) fn decode_versioned<T: BorshDeserialize>(
    what: &'static str,
    bytes: &[u8],
    limit: usize,
) -> Result<T, DecodeError> {
    let Versioned::V1(value) = decode(what, bytes, limit)?;
    Ok(value)
}

/// The bytes of a block: in the store, in proposals and in value sync.
pub fn encode_block(block: &Block) -> Vec<u8> {
    encode_v1(block)
}

/// A block from its bytes.
///
/// # Errors
/// More than [`MAX_ENCODED_BLOCK`] bytes, malformed, or trailing bytes.
pub fn decode_block(bytes: &[u8]) -> Result<Block, DecodeError> {
    decode_versioned("block", bytes, MAX_ENCODED_BLOCK)
}

/// What executing a block gave.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct BlockResult {
    /// One receipt a transaction, in the block's order.
    pub receipts: Vec<Receipt>,
    /// Events outside transactions.
    pub events: Vec<Event>,
    /// The state's root after the block.
    pub app_hash: Digest,
}

/// Where a transaction stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct TxLocation {
    /// The block's height.
    pub height: Height,
    /// Position in the block, from 0.
    pub index: u32,
}

fn row(prefix: &[u8], height: Height) -> Vec<u8> {
    let mut key = prefix.to_vec();
    key.extend(height.0.to_be_bytes());
    key
}

/// The rows to write with a block's state.
pub(crate) fn rows(block: &Block, certificate: &CommitCertificate, executed: &Executed) -> Batch {
    let height = block.header.height;
    let result = BlockResult {
        receipts: executed.receipts.clone(),
        events: executed.events.clone(),
        app_hash: executed.app_hash,
    };
    let mut batch = Batch::default();
    batch.put(Column::Blocks, row(BLOCK, height), encode_block(block));
    batch.put(Column::Blocks, row(CERTIFICATE, height), encode_v1(certificate));
    batch.put(Column::Blocks, row(RESULT, height), encode_v1(&result));
    for (index, tx) in block.transactions.iter().enumerate() {
        let location = TxLocation { height, index: u32::try_from(index).unwrap_or(u32::MAX) };
        batch.put(Column::Blocks, [TRANSACTION, &tx_digest(tx).0].concat(), encode_v1(&location));
    }
    batch
}

/// A reader of decided blocks. Cheap to clone; reads while the engine writes.
#[derive(Clone)]
pub struct BlockStore {
    store: Arc<dyn Store>,
}

impl BlockStore {
    /// Reads from this store.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    fn read<T: BorshDeserialize>(&self, what: &'static str, key: &[u8], limit: usize) -> Result<Option<T>, StateError> {
        let Some(bytes) = self.store.get(Column::Blocks, key)? else { return Ok(None) };
        decode_versioned(what, &bytes, limit).map(Some).map_err(|e| StateError::Corrupt {
            what: format!("column blocks, row {}", String::from_utf8_lossy(key).escape_debug()),
            reason: e.to_string(),
        })
    }

    /// The block at a height, if it is kept.
    ///
    /// # Errors
    /// If the store fails or the row is corrupt.
    pub fn block(&self, height: Height) -> Result<Option<Block>, StateError> {
        self.read("block", &row(BLOCK, height), MAX_ENCODED_BLOCK)
    }

    /// The encoded block at a height, as peers get it.
    ///
    /// # Errors
    /// If the store fails.
    pub fn block_bytes(&self, height: Height) -> Result<Option<Vec<u8>>, StateError> {
        self.store.get(Column::Blocks, &row(BLOCK, height))
    }

    /// The certificate that decided a height.
    ///
    /// # Errors
    /// If the store fails or the row is corrupt.
    pub fn certificate(&self, height: Height) -> Result<Option<CommitCertificate>, StateError> {
        self.read("certificate", &row(CERTIFICATE, height), MAX_ENCODED_RESULT)
    }

    /// What executing a height gave.
    ///
    /// # Errors
    /// If the store fails or the row is corrupt.
    pub fn result(&self, height: Height) -> Result<Option<BlockResult>, StateError> {
        self.read("block result", &row(RESULT, height), MAX_ENCODED_RESULT)
    }

    /// Where a transaction stands, by [`tx_digest`].
    ///
    /// # Errors
    /// If the store fails or the row is corrupt.
    pub fn transaction(&self, digest: &Digest) -> Result<Option<TxLocation>, StateError> {
        self.read("transaction location", &[TRANSACTION, &digest.0].concat(), 64)
    }

    /// The highest block.
    ///
    /// # Errors
    /// If the store fails.
    pub fn latest(&self) -> Result<Option<Height>, StateError> {
        let last = self.store.last(Column::Blocks, &row(BLOCK, Height::ZERO), &row(BLOCK, Height::MAX))?;
        Ok(last.and_then(|(key, _)| height_of(&key)))
    }

    /// The lowest block that is kept: 1, or more where a node began from a snapshot.
    ///
    /// # Errors
    /// If the store fails.
    pub fn earliest(&self) -> Result<Option<Height>, StateError> {
        let rows = self.store.range(Column::Blocks, &row(BLOCK, Height::ZERO), &row(BLOCK, Height::MAX), 1)?;
        Ok(rows.first().and_then(|(key, _)| height_of(key)))
    }

    /// Blocks with their certificates from `first` to `last`, both included, in order; at most [`MAX_RANGE`], and
    /// ending before the first height that is not kept.
    ///
    /// # Errors
    /// If the store fails or a row is corrupt.
    pub fn range(&self, first: Height, last: Height) -> Result<Vec<(Block, CommitCertificate)>, StateError> {
        let mut found = Vec::new();
        let mut height = first;
        while height <= last && found.len() < MAX_RANGE {
            let (Some(block), Some(certificate)) = (self.block(height)?, self.certificate(height)?) else { break };
            found.push((block, certificate));
            let Some(next) = height.checked_add(1) else { break };
            height = next;
        }
        Ok(found)
    }
}

fn height_of(key: &[u8]) -> Option<Height> {
    let digits: [u8; 8] = key.strip_prefix(BLOCK)?.try_into().ok()?;
    Some(Height(u64::from_be_bytes(digits)))
}
