//! The seam to the disk: ordered columns of bytes and one atomic write.

use crate::StateError;

/// The columns of the database. The list is the on-disk format: append, never reorder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Column {
    /// Tree nodes, by namespace and node key.
    Nodes,
    /// Values by namespace, key and version: reads and scans.
    Values,
    /// Nodes and values that a later version replaced, by that version: what pruning removes.
    Stale,
    /// Ciphertext bytes by digest, compressed.
    Blobs,
    /// Reference counts of blobs.
    BlobRefs,
    /// Pins: blobs held for a reason other than the tree, by holder.
    Pins,
    /// Latest and oldest version and roots of each namespace; format version.
    Meta,
    /// Consensus blocks and certificates, by height.
    Blocks,
    /// ParaTime blocks, batches and results, by ParaTime and round.
    Rounds,
    /// What a worker or an engine must remember across a crash.
    Journal,
}

impl Column {
    /// Every column, in on-disk order.
    pub const ALL: [Self; 10] = [
        Self::Nodes,
        Self::Values,
        Self::Stale,
        Self::Blobs,
        Self::BlobRefs,
        Self::Pins,
        Self::Meta,
        Self::Blocks,
        Self::Rounds,
        Self::Journal,
    ];

    /// The column's name on disk.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nodes => "nodes",
            Self::Values => "values",
            Self::Stale => "stale",
            Self::Blobs => "blobs",
            Self::BlobRefs => "blob_refs",
            Self::Pins => "pins",
            Self::Meta => "meta",
            Self::Blocks => "blocks",
            Self::Rounds => "rounds",
            Self::Journal => "journal",
        }
    }
}

/// One atomic set of puts (`Some`) and deletes (`None`); a later entry for a key wins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The operations, in order.
    pub ops: Vec<(Column, Vec<u8>, Option<Vec<u8>>)>,
}

impl Batch {
    /// Puts a value.
    pub fn put(&mut self, column: Column, key: Vec<u8>, value: Vec<u8>) {
        self.ops.push((column, key, Some(value)));
    }

    /// Deletes a key.
    pub fn delete(&mut self, column: Column, key: Vec<u8>) {
        self.ops.push((column, key, None));
    }

    /// Appends another batch.
    pub fn extend(&mut self, other: Self) {
        self.ops.extend(other.ops);
    }
}

/// A key and its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// An ordered byte store with atomic, durable writes. Two implementations: RocksDB and memory with injected faults.
pub trait Store: Send + Sync {
    /// The value under a key.
    ///
    /// # Errors
    /// If the disk or the file fails.
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>, StateError>;

    /// Entries with `start <= key < end`, in key order, at most `limit` (0 = all).
    ///
    /// # Errors
    /// As for [`Store::get`].
    fn range(&self, column: Column, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Row>, StateError>;

    /// The last entry with `start <= key <= end`.
    ///
    /// # Errors
    /// As for [`Store::get`].
    fn last(&self, column: Column, start: &[u8], end: &[u8]) -> Result<Option<Row>, StateError>;

    /// Applies the batch entirely or not at all, and returns once it is on the disk.
    ///
    /// # Errors
    /// As for [`Store::get`]; then nothing was written.
    fn write(&self, batch: Batch) -> Result<(), StateError>;
}
