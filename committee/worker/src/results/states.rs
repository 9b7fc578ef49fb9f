//! The whole state after a round, from a peer: for a node that was away for longer than results are kept, or that joins
//! late. The parts are believed only together, when the tree over them has the finalised root.

use super::{ResultStore, named_by};
use crate::seams::{PeerRequest, PeerResponse, StatePart};
use crate::steps::Unasked;
use parallax_primitives::limits::{MAX_FETCHED_STATE_BYTES, MAX_KEY_BYTES, MAX_STATE_PART_BYTES};
use parallax_primitives::{Digest, Round, encode};
use parallax_rounds::ParaTimeBlock;
use parallax_state::{AtomicWrite, Changes, StateError, StateView, Value};
use std::collections::BTreeMap;

/// Values that are read at a time for a part.
const PAGE: usize = 32;

/// A state that comes in parts from one peer.
#[derive(Clone, Debug)]
pub struct StateFetch {
    block: ParaTimeBlock,
    values: BTreeMap<Vec<u8>, Value>,
    bytes: usize,
}

impl StateFetch {
    /// Nothing yet of the state after the round that ended with this block.
    pub fn new(block: ParaTimeBlock) -> Self {
        Self { block, values: BTreeMap::new(), bytes: 0 }
    }

    /// The block whose state root decides.
    pub fn block(&self) -> &ParaTimeBlock {
        &self.block
    }

    /// What to ask the peer for next.
    pub fn request(&self) -> PeerRequest {
        let after = self.values.last_key_value().map(|(key, _)| key.clone()).unwrap_or_default();
        PeerRequest::State { round: self.block.round, after }
    }

    /// Takes the answer: whether the state is complete; `None` if the peer does not have it.
    ///
    /// # Errors
    /// [`Unasked`]: the answer is no part that follows, or the state is over [`MAX_FETCHED_STATE_BYTES`].
    pub fn take(&mut self, answer: Option<PeerResponse>) -> Result<Option<bool>, Unasked> {
        let StatePart { values, last } = match answer {
            Some(PeerResponse::State(Some(part))) => part,
            Some(PeerResponse::State(None)) | None => return Ok(None),
            Some(_) => return Err(Unasked),
        };
        // An empty part that is not the last would go on for ever.
        if values.is_empty() && !last {
            return Err(Unasked);
        }
        for (key, value) in values {
            let follows = self.values.last_key_value().is_none_or(|(before, _)| *before < key);
            self.bytes = self.bytes.saturating_add(size_of(&key, &value));
            if !follows || self.bytes > MAX_FETCHED_STATE_BYTES {
                return Err(Unasked);
            }
            self.values.insert(key, value);
        }
        Ok(Some(last))
    }
}

/// A state from a peer whose root is the finalised one, as what it changes here. Its ciphertexts may still be missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedState {
    round: Round,
    root: Digest,
    writes: BTreeMap<Vec<u8>, Option<Value>>,
}

impl ResultStore {
    /// Values of the state after a round from a key on, as many as one message takes; `None` if that state is not here.
    pub(super) fn state_part(&self, round: Round, after: &[u8]) -> Result<Option<StatePart>, StateError> {
        if after.len() > MAX_KEY_BYTES {
            return Ok(None);
        }
        let view = match self.snapshot(round) {
            Ok(view) => view,
            Err(StateError::UnknownVersion { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let (mut values, mut bytes, mut after) = (Vec::new(), 0usize, after.to_vec());
        loop {
            let page = view.scan_page(&[], &after, PAGE)?;
            let last = page.len() < PAGE;
            for (key, value) in page {
                if bytes >= MAX_STATE_PART_BYTES {
                    return Ok(Some(StatePart { values, last: false }));
                }
                bytes = bytes.saturating_add(size_of(&key, &value));
                after.clone_from(&key);
                values.push((key, value));
            }
            if last {
                return Ok(Some(StatePart { values, last }));
            }
        }
    }

    /// What a complete state changes here, if its root is the finalised one; `None` if it is another state. Writes
    /// nothing.
    ///
    /// # Errors
    /// If the round is not after the last committed one, or the store fails.
    pub fn judge_state(&self, fetch: StateFetch) -> Result<Option<FetchedState>, StateError> {
        let StateFetch { block, values, .. } = fetch;
        let mut writes: BTreeMap<_, _> = values.into_iter().map(|(key, value)| (key, Some(value))).collect();
        for (key, held) in self.tree().latest_snapshot()?.scan(&[])? {
            match writes.get(&key) {
                Some(Some(value)) if *value == held => drop(writes.remove(&key)),
                Some(_) => {}
                None => drop(writes.insert(key, None)),
            }
        }
        let same = self.root_of_writes(block.round, &writes)? == Some(block.state_root);
        Ok(same.then_some(FetchedState { round: block.round, root: block.state_root, writes }))
    }

    /// Which ciphertexts of a fetched state are not kept here.
    ///
    /// # Errors
    /// If the store fails.
    pub fn missing_in_state(&self, state: &FetchedState) -> Result<Vec<Digest>, StateError> {
        self.missing(named_by(&state.writes))
    }

    /// Keeps a ciphertext that a fetched state names until a state is committed, so that a try that fails loses
    /// nothing of what came.
    ///
    /// # Errors
    /// If it is over its limit, or the store fails.
    pub fn put_blob_of_state(&self, bytes: Vec<u8>) -> Result<(), StateError> {
        self.db.blobs().put_pinned(&self.holder_of_states(), &[bytes])?;
        Ok(())
    }

    /// Commits a fetched state as that after its round. `false`: a ciphertext is missing, and nothing was written.
    ///
    /// # Errors
    /// If a later round was committed meanwhile, or the store fails.
    pub fn commit_state(&self, state: &FetchedState) -> Result<bool, StateError> {
        let changes = Changes { writes: state.writes.clone(), blobs: BTreeMap::new() };
        let prepared = match self.tree().prepare(state.round.0, &changes) {
            Ok(prepared) => prepared,
            Err(StateError::MissingBlob { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        if prepared.root() != state.root {
            let reason = format!("with the fetched state its root is {}, not {}", prepared.root(), state.root);
            return Err(StateError::Corrupt { what: format!("ParaTime {}", self.paratime), reason });
        }
        self.db.write(AtomicWrite::new().commit(prepared).unpin(&self.holder_of_states()))?;
        Ok(true)
    }

    /// Commits the state here as that after a round if it has the finalised root already. `false`: it is another one,
    /// and nothing was written.
    ///
    /// # Errors
    /// If that round or a later one is committed already, or the store fails.
    pub fn commit_unchanged(&self, block: &ParaTimeBlock) -> Result<bool, StateError> {
        let unchanged = FetchedState { round: block.round, root: block.state_root, writes: BTreeMap::new() };
        Ok(self.root_of_writes(block.round, &unchanged.writes)? == Some(block.state_root)
            && self.commit_state(&unchanged)?)
    }

    /// One for all tries: what an abandoned one pinned goes with the next commit of a state.
    fn holder_of_states(&self) -> Vec<u8> {
        [super::PREFIX, &self.paratime.0, b"/state"].concat()
    }
}

fn size_of(key: &[u8], value: &Value) -> usize {
    key.len().saturating_add(encode(value).len())
}
