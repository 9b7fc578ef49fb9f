//! An in-memory [`Store`] for tests, simulations and one-off computations: ordered, atomic, and able to fail on purpose.
//!
//! - [`MemoryStore::new`] is a store that never fails.
//! - [`MemoryStore::with_faults`] fails or crashes at one chosen write, so that a test can visit every write of a
//!   history and show what a restart finds.
//! - Clones share the data. [`MemoryStore::reopen`] is the restart: the same data, no fault left.
//!
//! [`MemoryView`] is a state without a store and a tree under it.
//!
//! It is not a database: nothing survives the process. Start at [`FaultPlan`].

mod view;

pub use view::MemoryView;

use parallax_state::{Batch, Column, Row, StateError, Store};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What happens at the chosen write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The write returns an error and has no effect; later writes succeed. A full disk that is then cleared.
    FailBefore,
    /// The write takes effect and yet returns an error; later writes succeed. An acknowledgement lost.
    FailAfter,
    /// The write has no effect, and it and every later write fail until [`MemoryStore::reopen`].
    CrashBefore,
    /// The write takes effect, and it and every later write fail until [`MemoryStore::reopen`].
    CrashAfter,
}

/// One fault, at one write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultPlan {
    /// Which write, counted from 1 since the store was made or reopened.
    pub at_write: u64,
    /// What happens then.
    pub fault: Fault,
}

impl FaultPlan {
    /// A crash that loses the `at_write`-th write.
    pub fn crash_before(at_write: u64) -> Self {
        Self { at_write, fault: Fault::CrashBefore }
    }

    /// A crash right after the `at_write`-th write became durable.
    pub fn crash_after(at_write: u64) -> Self {
        Self { at_write, fault: Fault::CrashAfter }
    }
}

/// Every row of a store, in column and key order.
pub type Contents = BTreeMap<(Column, Vec<u8>), Vec<u8>>;

#[derive(Debug, Default)]
struct Process {
    writes: u64,
    plan: Option<FaultPlan>,
    crashed: bool,
}

/// An ordered byte store in memory. Cloning shares data, write count and faults; [`MemoryStore::reopen`] shares the
/// data only.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    data: Arc<Mutex<Contents>>,
    process: Arc<Mutex<Process>>,
}

impl MemoryStore {
    /// An empty store that never fails.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty store with one fault to come.
    pub fn with_faults(plan: FaultPlan) -> Self {
        let store = Self::default();
        store.set_faults(Some(plan));
        store
    }

    /// Replaces the fault to come; writes are counted on from the number so far, see [`MemoryStore::writes`].
    pub fn set_faults(&self, plan: Option<FaultPlan>) {
        lock(&self.process).plan = plan;
    }

    /// The same data after a restart: no fault planned, no write counted. Handles from before stay crashed if they
    /// were.
    #[must_use]
    pub fn reopen(&self) -> Self {
        Self { data: Arc::clone(&self.data), process: Arc::default() }
    }

    /// How many writes were asked for since the store was made or reopened, failed ones included.
    pub fn writes(&self) -> u64 {
        lock(&self.process).writes
    }

    /// Whether a planned crash has happened.
    pub fn crashed(&self) -> bool {
        lock(&self.process).crashed
    }

    /// A copy of every row, to compare two stores or to corrupt one.
    pub fn contents(&self) -> Contents {
        lock(&self.data).clone()
    }

    /// How many rows a column holds.
    pub fn rows(&self, column: Column) -> usize {
        lock(&self.data).keys().filter(|(c, _)| *c == column).count()
    }
}

/// A panic in another thread cannot leave the map half written: one lock covers a whole batch of plain inserts.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn failure(write: u64, what: &str) -> StateError {
    StateError::Store(format!("memory store, write {write}: {what}"))
}

impl Store for MemoryStore {
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        Ok(lock(&self.data).get(&(column, key.to_vec())).cloned())
    }

    fn range(&self, column: Column, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Row>, StateError> {
        if start >= end {
            return Ok(Vec::new());
        }
        let limit = if limit == 0 { usize::MAX } else { limit };
        Ok(lock(&self.data)
            .range((column, start.to_vec())..(column, end.to_vec()))
            .take(limit)
            .map(|((_, key), value)| (key.clone(), value.clone()))
            .collect())
    }

    fn last(&self, column: Column, start: &[u8], end: &[u8]) -> Result<Option<Row>, StateError> {
        if start > end {
            return Ok(None);
        }
        Ok(lock(&self.data)
            .range((column, start.to_vec())..=(column, end.to_vec()))
            .next_back()
            .map(|((_, key), value)| (key.clone(), value.clone())))
    }

    fn write(&self, batch: Batch) -> Result<(), StateError> {
        let mut process = lock(&self.process);
        process.writes = process.writes.saturating_add(1);
        let write = process.writes;
        if process.crashed {
            return Err(failure(write, "the process has crashed; reopen the store"));
        }
        let fault = process.plan.filter(|plan| plan.at_write == write).map(|plan| plan.fault);
        if matches!(fault, Some(Fault::CrashBefore | Fault::CrashAfter)) {
            process.crashed = true;
        }
        if !matches!(fault, Some(Fault::FailBefore | Fault::CrashBefore)) {
            let mut data = lock(&self.data);
            for (column, key, value) in batch.ops {
                match value {
                    Some(value) => data.insert((column, key), value),
                    None => data.remove(&(column, key)),
                };
            }
        }
        match fault {
            None => Ok(()),
            Some(fault) => Err(failure(write, &format!("planned fault {fault:?}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &[u8], value: &[u8]) -> Batch {
        let mut batch = Batch::default();
        batch.put(Column::Meta, key.to_vec(), value.to_vec());
        batch
    }

    #[test]
    fn ranges_are_ordered_half_open_and_stay_in_their_column() {
        let store = MemoryStore::new();
        let mut batch = Batch::default();
        for key in [b"b", b"a", b"d", b"c"] {
            batch.put(Column::Meta, key.to_vec(), key.to_vec());
            batch.put(Column::Journal, key.to_vec(), b"other".to_vec());
        }
        store.write(batch).unwrap();
        let keys = |limit| -> Vec<Vec<u8>> {
            store.range(Column::Meta, b"a", b"d", limit).unwrap().into_iter().map(|(k, _)| k).collect()
        };
        assert_eq!(keys(0), [b"a", b"b", b"c"]);
        assert_eq!(keys(2), [b"a", b"b"]);
        assert_eq!(store.last(Column::Meta, b"a", b"c").unwrap().unwrap().0, b"c");
        assert_eq!(store.last(Column::Meta, b"bb", b"bz").unwrap(), None);
        assert_eq!(store.range(Column::Meta, b"d", b"a", 0).unwrap(), []);
        assert_eq!(store.last(Column::Meta, b"d", b"a").unwrap(), None);
    }

    #[test]
    fn a_later_entry_of_a_batch_wins() {
        let store = MemoryStore::new();
        let mut batch = put(b"k", b"1");
        batch.delete(Column::Meta, b"k".to_vec());
        batch.extend(put(b"k", b"2"));
        store.write(batch).unwrap();
        assert_eq!(store.get(Column::Meta, b"k").unwrap(), Some(b"2".to_vec()));
    }

    #[test]
    fn each_fault_does_what_it_says_and_a_reopened_store_works() {
        for (fault, effect, dead) in [
            (Fault::FailBefore, false, false),
            (Fault::FailAfter, true, false),
            (Fault::CrashBefore, false, true),
            (Fault::CrashAfter, true, true),
        ] {
            let store = MemoryStore::with_faults(FaultPlan { at_write: 2, fault });
            store.write(put(b"1", b"")).unwrap();
            store.write(put(b"2", b"")).unwrap_err();
            assert_eq!(store.write(put(b"3", b"")).is_err(), dead, "{fault:?}");
            assert_eq!((store.writes(), store.crashed()), (3, dead));
            let reopened = store.reopen();
            assert!(reopened.get(Column::Meta, b"1").unwrap().is_some());
            assert_eq!(reopened.get(Column::Meta, b"2").unwrap().is_some(), effect, "{fault:?}");
            reopened.write(put(b"4", b"")).unwrap();
            assert_eq!(store.clone().get(Column::Meta, b"4").unwrap(), Some(Vec::new()));
        }
    }
}
