//! The state on disk: RocksDB behind the [`Store`] trait, so that nothing else links it.
//!
//! - One column family a [`Column`]; a batch is one RocksDB write, synced before it returns.
//! - Memory is bounded and small, because a localnet runs ten of these on one machine; see [`options`].
//! - Every error names the path and what to do. A database that cannot be trusted is not opened, and nothing is
//!   written to it.
//!
//! It knows nothing of trees or versions. Start at [`RocksStore::open`].

pub mod options;

use parallax_state::{Batch, Column, Row, StateError, Store};
use rocksdb::{ColumnFamily, DB, DBRawIterator, ErrorKind, ReadOptions, WriteBatch, WriteOptions};
use std::fmt;
use std::path::{Path, PathBuf};

/// Why a database could not be opened, read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Another process has it open, or this one has already.
    #[error("the database {} is in use by another process; stop that process, or choose another home directory", path.display())]
    Locked {
        /// Where.
        path: PathBuf,
    },
    /// The disk is full.
    #[error("no space is left on the disk of {}; free some and start the node again. What was committed is safe", path.display())]
    NoSpace {
        /// Where.
        path: PathBuf,
    },
    /// A file is damaged or missing.
    #[error(
        "the database {} is damaged ({reason}); check the disk, then restore the directory from a backup, or move it \
         away and let the node restore the state from its peers", path.display()
    )]
    Corrupt {
        /// Where.
        path: PathBuf,
        /// What RocksDB says.
        reason: String,
    },
    /// It has columns or options that this program does not know.
    #[error("the database {} was written by another version of this program ({reason}); run that version", path.display())]
    OtherVersion {
        /// Where.
        path: PathBuf,
        /// What RocksDB says.
        reason: String,
    },
    /// Anything else that the operating system or RocksDB reports.
    #[error("the database {} cannot be used: {reason}; check that it is a directory that this user may write", path.display())]
    Unusable {
        /// Where.
        path: PathBuf,
        /// What RocksDB says.
        reason: String,
    },
}

impl StoreError {
    fn new(path: &Path, error: &rocksdb::Error) -> Self {
        let path = path.to_path_buf();
        let reason = error.to_string();
        // RocksDB has one kind for all errors of the operating system; its texts are all there is to tell them apart.
        let says = |part: &str| reason.contains(part);
        if says("No space left on device") || says("Disk quota exceeded") {
            Self::NoSpace { path }
        } else if says("lock hold by current process") || says("While lock file") {
            Self::Locked { path }
        } else if says("Column families not opened") || error.kind() == ErrorKind::NotSupported {
            Self::OtherVersion { path, reason }
        } else if error.kind() == ErrorKind::Corruption {
            Self::Corrupt { path, reason }
        } else {
            Self::Unusable { path, reason }
        }
    }
}

impl From<StoreError> for StateError {
    fn from(error: StoreError) -> Self {
        Self::Store(error.to_string())
    }
}

/// A [`Store`] in a directory. Closing is dropping; a process that is killed loses nothing that a write returned for.
pub struct RocksStore {
    db: DB,
    path: PathBuf,
    durable: WriteOptions,
}

impl fmt::Debug for RocksStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RocksStore({})", self.path.display())
    }
}

impl RocksStore {
    /// Opens the database in a directory; creates it if the directory is empty or missing.
    ///
    /// # Errors
    /// Every [`StoreError`]; then nothing was written.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref();
        let (database, columns) = options::all();
        let db = DB::open_cf_descriptors(&database, path, columns).map_err(|e| StoreError::new(path, &e))?;
        let mut durable = WriteOptions::default();
        durable.set_sync(true);
        Ok(Self { db, path: path.to_path_buf(), durable })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn column(&self, column: Column) -> Result<&ColumnFamily, StateError> {
        self.db.cf_handle(column.name()).ok_or_else(|| {
            let reason = format!("column {} is missing", column.name());
            StoreError::Corrupt { path: self.path.clone(), reason }.into()
        })
    }

    fn failed(&self, error: &rocksdb::Error) -> StateError {
        StoreError::new(&self.path, error).into()
    }

    /// The row that an iterator stands on, or `None` at its end, which an error also is.
    fn row(&self, rows: &DBRawIterator<'_>) -> Result<Option<Row>, StateError> {
        match rows.item() {
            Some((key, value)) => Ok(Some((key.to_vec(), value.to_vec()))),
            None => rows.status().map(|()| None).map_err(|e| self.failed(&e)),
        }
    }
}

impl Store for RocksStore {
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        self.db.get_cf(self.column(column)?, key).map_err(|e| self.failed(&e))
    }

    fn range(&self, column: Column, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Row>, StateError> {
        let mut found = Vec::new();
        if start >= end {
            return Ok(found);
        }
        let mut bounds = ReadOptions::default();
        bounds.set_iterate_upper_bound(end);
        let mut rows = self.db.raw_iterator_cf_opt(self.column(column)?, bounds);
        rows.seek(start);
        while let Some(row) = self.row(&rows)? {
            found.push(row);
            if found.len() == limit {
                break;
            }
            rows.next();
        }
        Ok(found)
    }

    fn last(&self, column: Column, start: &[u8], end: &[u8]) -> Result<Option<Row>, StateError> {
        let mut bounds = ReadOptions::default();
        bounds.set_iterate_lower_bound(start);
        let mut rows = self.db.raw_iterator_cf_opt(self.column(column)?, bounds);
        rows.seek_for_prev(end);
        Ok(self.row(&rows)?.filter(|(key, _)| key.as_slice() >= start))
    }

    fn write(&self, batch: Batch) -> Result<(), StateError> {
        let mut all = WriteBatch::default();
        for (column, key, value) in batch.ops {
            let column = self.column(column)?;
            match value {
                Some(value) => all.put_cf(column, key, value),
                None => all.delete_cf(column, key),
            }
        }
        self.db.write_opt(all, &self.durable).map_err(|e| self.failed(&e))
    }
}
