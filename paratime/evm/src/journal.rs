//! Snapshots of a developer: how a ParaTime that sees only its newest state goes back to an older one.
//!
//! While a snapshot is live, the value that a key had before it was first written is kept under the snapshot. Going back
//! writes those values again, the newest snapshot's first: the state is then, key by key, what it was, in a new round
//! with a new root in the chain of finalised ones. A ciphertext is kept by its reference, so its bytes stay counted as
//! long as a snapshot may bring it back.
//!
//! Not taken back are the keys in [`KEPT`]: what says which rounds and developer transactions were executed, who is
//! impersonated, what is on its way to another ParaTime and the host contract's records of it, and the snapshots
//! themselves. So a job that was submitted since stays submitted, and its request keeps its number; wei is what it was,
//! also wei that such a job has taken with it.
//!
//! There are at most [`MAX_SNAPSHOTS`] live snapshots with at most [`MAX_ENTRIES`] values; past either the oldest
//! snapshot is dropped, and going back to it fails as to any that does not exist.

use crate::state;
use borsh::{BorshDeserialize, BorshSerialize};
use parallax_state::{Changes, Overlay, StateError, StateView, Value};
use std::collections::BTreeMap;

/// Most live snapshots.
pub const MAX_SNAPSHOTS: usize = 64;
/// Most old values of all of them.
pub const MAX_ENTRIES: u64 = 50_000;
/// Prefixes of the keys that no snapshot takes back.
pub const KEPT: [&[u8]; 7] =
    [b"control/", b"impersonated/", b"outbox/", b"round", b"snapshots", JOBS_STORAGE, b"undo/"];

/// The storage of [`crate::host::JOBS`].
const JOBS_STORAGE: &[u8] = b"storage/Parallax\0\0\0\0\0\0\0\0\0\0\0\x01";

/// How an old value is kept: none, or under a key of its own.
const ABSENT: u8 = 0;
const PRESENT: u8 = 1;

/// A live snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
struct Live {
    id: u64,
    entries: u64,
}

/// All of them, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Snapshots {
    /// How many were made so far.
    made: u64,
    live: Vec<Live>,
}

fn prefix(id: u64) -> Vec<u8> {
    [b"undo/".as_slice(), &id.to_be_bytes()].concat()
}

fn undo_key(id: u64, how: u8, key: &[u8]) -> Vec<u8> {
    [&prefix(id), [how].as_slice(), key].concat()
}

fn kept(key: &[u8]) -> bool {
    KEPT.iter().any(|prefix| key.starts_with(prefix))
}

fn write(state: &mut Overlay<'_>, key: Vec<u8>, value: Option<Value>) {
    state.apply(Changes { writes: BTreeMap::from([(key, value)]), ..Changes::default() });
}

/// Applies changes, and keeps under the newest snapshot what they replace.
pub(crate) fn apply(state: &mut Overlay<'_>, changes: Changes) -> Result<(), StateError> {
    let mut all = state::snapshots(state)?;
    if let Some(newest) = all.live.last_mut() {
        let before = newest.entries;
        for key in changes.writes.keys().filter(|key| !kept(key)) {
            let (absent, present) = (undo_key(newest.id, ABSENT, key), undo_key(newest.id, PRESENT, key));
            if state.get(&absent)?.is_some() || state.get(&present)?.is_some() {
                continue;
            }
            match state.get(key)? {
                None => state.put(absent, Vec::new()),
                value => write(state, present, value),
            }
            newest.entries = newest.entries.saturating_add(1);
        }
        if newest.entries != before {
            state::put_snapshots(state, &all);
        }
    }
    state.apply(changes);
    Ok(())
}

/// Takes a snapshot. Returns its id: 1 for the first.
pub(crate) fn take(state: &mut Overlay<'_>) -> Result<u64, StateError> {
    let mut all = state::snapshots(state)?;
    all.made = all.made.saturating_add(1);
    all.live.push(Live { id: all.made, entries: 0 });
    let id = all.made;
    state::put_snapshots(state, &all);
    Ok(id)
}

/// Goes back to a snapshot; whether there is such a one.
pub(crate) fn revert(state: &mut Overlay<'_>, id: u64) -> Result<bool, StateError> {
    let mut all = state::snapshots(state)?;
    let Some(position) = all.live.iter().position(|live| live.id == id) else { return Ok(false) };
    let mut writes = BTreeMap::new();
    // The oldest value of a key counts, so it is taken last.
    for live in all.live.split_off(position).into_iter().rev() {
        for (undo, value) in drain(state, live.id)? {
            match undo.split_first() {
                Some((&PRESENT, key)) => writes.insert(key.to_vec(), Some(value)),
                Some((_, key)) => writes.insert(key.to_vec(), None),
                None => None,
            };
        }
    }
    state.apply(Changes { writes, ..Changes::default() });
    state::put_snapshots(state, &all);
    Ok(true)
}

/// Takes out what a snapshot keeps: how and key, and the value.
fn drain(state: &mut Overlay<'_>, id: u64) -> Result<Vec<(Vec<u8>, Value)>, StateError> {
    let prefix = prefix(id);
    let mut out = Vec::new();
    for (key, value) in state.scan(&prefix)? {
        out.push((key.get(prefix.len()..).unwrap_or_default().to_vec(), value));
        state.delete(key);
    }
    Ok(out)
}

/// Drops the oldest snapshots until the rest are within the limits.
pub(crate) fn trim(state: &mut Overlay<'_>) -> Result<(), StateError> {
    let mut all = state::snapshots(state)?;
    let within = |all: &Snapshots| {
        let entries = all.live.iter().fold(0u64, |sum, live| sum.saturating_add(live.entries));
        all.live.len() <= MAX_SNAPSHOTS && entries <= MAX_ENTRIES
    };
    if within(&all) {
        return Ok(());
    }
    while !within(&all) {
        let oldest = all.live.remove(0);
        drain(state, oldest.id)?;
    }
    state::put_snapshots(state, &all);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use parallax_memory_store::MemoryView;
    use parallax_primitives::KeyId;

    #[test]
    fn the_records_of_jobs_are_those_of_their_host_contract() {
        use revm::primitives::U256;
        let key = state::storage_key(&crate::host::JOBS, &U256::from(7));
        assert!(kept(&key) && key.len() == JOBS_STORAGE.len() + 32);
        assert!(!kept(&state::storage_key(&crate::host::ACL, &U256::from(7))));
    }

    fn step<T>(view: &mut MemoryView, body: impl FnOnce(&mut Overlay<'_>) -> T) -> T {
        let before = view.clone();
        let mut state = Overlay::new(&before);
        let out = body(&mut state);
        trim(&mut state).unwrap();
        view.apply(state.into_changes());
        out
    }

    fn put(view: &mut MemoryView, key: &[u8], value: Option<u8>) {
        let writes = BTreeMap::from([(key.to_vec(), value.map(|v| Value::Plain(vec![v])))]);
        step(view, |state| apply(state, Changes { writes, ..Changes::default() })).unwrap();
    }

    fn cipher(view: &mut MemoryView, key: &[u8], bytes: &[u8]) {
        step(view, |state| {
            let mut layer = Overlay::new(&parallax_state::Empty);
            layer.put_cipher(key.to_vec(), KeyId([1; 32]), 1, bytes.to_vec());
            apply(state, layer.into_changes())
        })
        .unwrap();
    }

    /// All but the snapshots themselves.
    fn shown(view: &MemoryView) -> BTreeMap<Vec<u8>, Value> {
        view.values.iter().filter(|(key, _)| !kept(key)).map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    #[test]
    fn going_back_restores_every_key_whatever_was_done_to_it() {
        let mut view = MemoryView::default();
        put(&mut view, b"a", Some(1));
        put(&mut view, b"b", Some(2));
        cipher(&mut view, b"cipher/x", b"old");
        let states = shown(&view);
        let one = step(&mut view, take).unwrap();
        put(&mut view, b"a", Some(3));
        put(&mut view, b"b", None);
        put(&mut view, b"c", Some(4));
        cipher(&mut view, b"cipher/x", b"new");
        cipher(&mut view, b"cipher/y", b"more");
        let middle = shown(&view);
        let two = step(&mut view, take).unwrap();
        put(&mut view, b"a", Some(5));
        put(&mut view, b"b", Some(6));
        put(&mut view, b"c", None);
        put(&mut view, b"d", Some(7));
        put(&mut view, b"d", None);
        assert_eq!((one, two), (1, 2));
        assert!(step(&mut view, |state| revert(state, two)).unwrap());
        assert_eq!(shown(&view), middle);
        assert!(!step(&mut view, |state| revert(state, two)).unwrap(), "it is gone");
        put(&mut view, b"e", Some(9));
        assert!(step(&mut view, |state| revert(state, one)).unwrap());
        assert_eq!(shown(&view), states);
        let Some(Value::Cipher(old)) = view.get(b"cipher/x").unwrap() else { panic!("it is a ciphertext") };
        assert_eq!(view.blob(&old.digest).unwrap(), Some(b"old".to_vec()), "its bytes were counted meanwhile");
        assert!(view.scan(b"undo/").unwrap().is_empty());
    }

    #[test]
    fn going_back_past_several_snapshots_restores_the_oldest_values() {
        let mut view = MemoryView::default();
        put(&mut view, b"a", Some(0));
        let before = shown(&view);
        for n in 1..=5 {
            assert_eq!(step(&mut view, take).unwrap(), u64::from(n));
            put(&mut view, b"a", Some(n));
            put(&mut view, &[b'k', n], Some(n));
        }
        assert!(step(&mut view, |state| revert(state, 1)).unwrap());
        assert_eq!(shown(&view), before);
        for id in 0..=6 {
            assert!(!step(&mut view, |state| revert(state, id)).unwrap(), "{id} does not exist");
        }
    }

    #[test]
    fn the_oldest_snapshots_are_dropped_with_what_they_kept() {
        let mut view = MemoryView::default();
        for n in 0..=MAX_SNAPSHOTS as u64 {
            step(&mut view, take).unwrap();
            put(&mut view, &n.to_be_bytes(), Some(1));
        }
        assert!(!step(&mut view, |state| revert(state, 1)).unwrap(), "it was dropped");
        assert_eq!(view.scan(b"undo/").unwrap().len(), MAX_SNAPSHOTS);
        assert!(step(&mut view, |state| revert(state, 2)).unwrap());
        assert_eq!(shown(&view).len(), 1, "what was written before the second snapshot stays");
    }

    #[test]
    fn a_snapshot_that_would_have_to_keep_too_much_is_dropped() {
        let mut view = MemoryView::default();
        step(&mut view, take).unwrap();
        let writes = (0..=MAX_ENTRIES).map(|n| (n.to_be_bytes().to_vec(), Some(Value::Plain(vec![1])))).collect();
        step(&mut view, |state| apply(state, Changes { writes, ..Changes::default() })).unwrap();
        assert!(view.scan(b"undo/").unwrap().is_empty());
        assert!(!step(&mut view, |state| revert(state, 1)).unwrap());
        assert_eq!(shown(&view).len() as u64, MAX_ENTRIES + 1);
    }
}
