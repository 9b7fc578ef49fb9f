//! Results of executed rounds: durable before their vote is signed, kept for the retention window, served to peers.
//!
//! Rows lie in [`Column::Rounds`] under `worker/`, the ParaTime, the round in eight big-endian bytes, and a tag.
//! Ciphertexts lie among the blobs, pinned by the result that wrote them: the outputs of every program, also those that
//! a later write of the round replaced, because a replica that resumes a disputed execution needs them.

use crate::seams::{PeerRequest, PeerResponse};
pub use states::{FetchedState, StateFetch};
pub use traces::Effort;

use borsh::{BorshDeserialize, BorshSerialize};
use parallax_primitives::{Digest, Domain, Event, Gas, ParaTimeId, Round, codec, encode, limits, merkle};
use parallax_rounds::{BlockKind, ParaTimeBlock};
use parallax_runtime::paratime::tx_digest;
use parallax_runtime::{Execution, Replayed, TxResult};
use parallax_state::{AtomicWrite, Batch, Changes, Column, Database, Namespace, Snapshot, StateError, Tree, Value};
use std::collections::{BTreeMap, BTreeSet};

const PREFIX: &[u8] = b"worker/";
const TAG_RESULT: u8 = 0;
const TAG_BATCH: u8 = 1;
const TAG_TRACE: u8 = 2;
const TAG_TRACE_DIGESTS: u8 = 3;
const TAG_DIVERGENCE: u8 = 4;
const TAG_EFFORT: u8 = 5;

mod states;
mod traces;

/// What executing a round came to, without the ciphertexts themselves.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct RoundResult {
    /// The round.
    pub round: Round,
    /// The proposal that was executed.
    pub proposal: Digest,
    /// One result a transaction, in batch order.
    pub results: Vec<TxResult>,
    /// Events, in order.
    pub events: Vec<Event>,
    /// Writes to the ParaTime's state.
    pub writes: BTreeMap<Vec<u8>, Option<Value>>,
    /// FHE gas spent.
    pub gas: Gas,
    /// Programmable bootstraps spent.
    pub pbs: u64,
}

impl RoundResult {
    /// The root over results and events: the same as [`Execution::io_root`] of what it came from.
    pub fn io_root(&self) -> Digest {
        let results: Vec<Digest> = self.results.iter().map(|r| Digest::of_value(Domain::IoRoot, r)).collect();
        let events: Vec<Digest> = self.events.iter().map(|e| Digest::of_value(Domain::IoRoot, e)).collect();
        Digest::of_value(Domain::IoRoot, &(merkle::root(&results), merkle::root(&events)))
    }

    /// The digests of the ciphertexts that it writes.
    pub fn blobs(&self) -> BTreeSet<Digest> {
        named_by(&self.writes)
    }

    /// The digests of the transactions.
    pub fn transactions(&self) -> Vec<Digest> {
        self.results.iter().map(|r| r.tx).collect()
    }
}

#[derive(BorshSerialize, BorshDeserialize)]
enum Stored {
    V1(RoundResult),
}

/// The results of one ParaTime in a database. Cheap to clone.
#[derive(Clone)]
pub struct ResultStore {
    db: Database,
    paratime: ParaTimeId,
}

impl ResultStore {
    /// The results of a ParaTime.
    pub fn new(db: Database, paratime: ParaTimeId) -> Self {
        Self { db, paratime }
    }

    /// The ParaTime's tree.
    pub fn tree(&self) -> Tree {
        self.db.tree(Namespace::ParaTime(self.paratime))
    }

    /// The state after a round.
    ///
    /// # Errors
    /// If that round's state is not here, or the store fails.
    pub fn snapshot(&self, round: Round) -> Result<Snapshot, StateError> {
        self.tree().snapshot(round.0)
    }

    /// The last round whose state is committed here; `None` before genesis.
    ///
    /// # Errors
    /// If the store fails.
    pub fn applied(&self) -> Result<Option<Round>, StateError> {
        Ok(self.tree().latest()?.map(|(version, _)| Round(version)))
    }

    /// Makes a batch durable, so that it can be served to whoever has to execute it.
    ///
    /// # Errors
    /// If the store fails.
    pub fn put_batch(&self, round: Round, transactions: &[Vec<u8>]) -> Result<(), StateError> {
        let digests: Vec<Digest> = transactions.iter().map(|tx| tx_digest(tx)).collect();
        let mut batch = Batch::default();
        batch.put(Column::Rounds, self.row(round, TAG_BATCH, &merkle::root(&digests)), encode(transactions));
        self.db.write(AtomicWrite::new().extra(batch))
    }

    /// A batch by the Merkle root of its transactions' digests.
    ///
    /// # Errors
    /// If the store fails or the row is corrupt.
    pub fn batch(&self, round: Round, root: &Digest) -> Result<Option<Vec<Vec<u8>>>, StateError> {
        self.read(&self.row(round, TAG_BATCH, root), "batch")
    }

    /// Makes the result of an execution durable, with its ciphertexts, its trace and the outputs of all its programs, in
    /// one write.
    ///
    /// # Errors
    /// If the store fails.
    pub fn put_execution(
        &self,
        round: Round,
        proposal: Digest,
        execution: &Execution,
        replayed: &Replayed,
    ) -> Result<(), StateError> {
        let result = RoundResult {
            round,
            proposal,
            results: execution.results.clone(),
            events: execution.events.clone(),
            writes: execution.changes.writes.clone(),
            gas: execution.gas,
            pbs: execution.pbs,
        };
        let overwritten = replayed.outputs.iter().filter(|(digest, _)| !execution.changes.blobs.contains_key(digest));
        let blobs: Vec<Vec<u8>> =
            execution.changes.blobs.values().chain(overwritten.map(|(_, bytes)| bytes)).cloned().collect();
        let mut extra = self.trace_rows(round, &proposal, &execution.trace);
        let effort = encode(&Effort::of(replayed));
        extra.put(Column::Rounds, self.row(round, TAG_EFFORT, &proposal), effort);
        let write = self.keep(AtomicWrite::new().extra(extra), &result, &blobs)?;
        self.db.write(write)
    }

    /// The result of executing a proposal, if it is kept here.
    ///
    /// # Errors
    /// If the store fails or the row is corrupt.
    pub fn result(&self, round: Round, proposal: &Digest) -> Result<Option<RoundResult>, StateError> {
        let stored: Option<Stored> = self.read(&self.row(round, TAG_RESULT, proposal), "round result")?;
        Ok(stored.map(|Stored::V1(result)| result))
    }

    /// The transactions that a finalised round executed, in batch order; empty if its result is not kept here.
    ///
    /// # Errors
    /// If the store fails or the row is corrupt.
    pub fn executed(&self, block: &ParaTimeBlock) -> Result<Vec<Digest>, StateError> {
        let result = match block.kind {
            BlockKind::Normal => self.result(block.round, &block.proposal)?,
            BlockKind::RoundFailed | BlockKind::EpochTransition | BlockKind::Suspended => None,
        };
        Ok(result.map_or_else(Vec::new, |result| result.transactions()))
    }

    /// Which ciphertexts of a result are not kept here.
    ///
    /// # Errors
    /// If the store fails.
    pub fn missing_blobs(&self, result: &RoundResult) -> Result<Vec<Digest>, StateError> {
        self.missing(result.blobs())
    }

    fn missing(&self, digests: BTreeSet<Digest>) -> Result<Vec<Digest>, StateError> {
        let mut missing = Vec::new();
        for digest in digests {
            if !self.db.blobs().contains(&digest)? {
                missing.push(digest);
            }
        }
        Ok(missing)
    }

    /// The root that the state has with these changes on top of the last committed round. Writes nothing.
    ///
    /// # Errors
    /// If the changes do not fit, or the store fails.
    pub fn root_with(&self, round: Round, changes: &Changes) -> Result<Digest, StateError> {
        Ok(self.tree().prepare(round.0, changes)?.root())
    }

    /// Commits the state after a round from what is held here. `false`: the accepted result is not here, or what is
    /// here has another root. A round without a result leaves the state as it was.
    ///
    /// # Errors
    /// If the store fails, or the state before the round is not what consensus says.
    pub fn commit_held(&self, block: &ParaTimeBlock) -> Result<bool, StateError> {
        if self.applied()?.is_some_and(|applied| applied >= block.round) {
            return Ok(true);
        }
        let writes = match block.kind {
            BlockKind::Normal => match self.result(block.round, &block.proposal)? {
                Some(result) => result.writes,
                None => return Ok(false),
            },
            BlockKind::RoundFailed | BlockKind::EpochTransition | BlockKind::Suspended => BTreeMap::new(),
        };
        let prepared = self.tree().prepare(block.round.0, &Changes { writes, blobs: BTreeMap::new() })?;
        if prepared.root() == block.state_root {
            self.db.write(AtomicWrite::new().commit(prepared))?;
            return Ok(true);
        }
        if block.kind == BlockKind::Normal {
            return Ok(false);
        }
        Err(StateError::Corrupt {
            what: format!("ParaTime {} before round {}", self.paratime, block.round),
            reason: format!("its root is {}, consensus finalised {}", prepared.root(), block.state_root),
        })
    }

    /// The root that the state has with these writes on top of the last committed round. The ciphertexts that they
    /// name need not be here; the root is over their digests. `None` if a write is over a limit. Writes nothing.
    ///
    /// # Errors
    /// If `round` is not after the last committed one, or the store fails.
    pub fn root_of_writes(
        &self,
        round: Round,
        writes: &BTreeMap<Vec<u8>, Option<Value>>,
    ) -> Result<Option<Digest>, StateError> {
        match self.tree().root_after(round.0, writes) {
            Ok(root) => Ok(Some(root)),
            Err(StateError::TooLarge { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether a peer's result is the accepted one of this round, by the finalised roots. The round must be after the
    /// last committed one.
    ///
    /// # Errors
    /// As for [`ResultStore::root_of_writes`].
    pub fn is_accepted(&self, block: &ParaTimeBlock, result: &RoundResult) -> Result<bool, StateError> {
        Ok(result.round == block.round
            && result.proposal == block.proposal
            && result.io_root() == block.io_root
            && self.root_of_writes(block.round, &result.writes)? == Some(block.state_root))
    }

    /// Keeps a ciphertext of a result that [`ResultStore::is_accepted`], pinned by it.
    ///
    /// # Errors
    /// If it is over its limit, or the store fails.
    pub fn put_blob(&self, result: &RoundResult, bytes: Vec<u8>) -> Result<(), StateError> {
        let holder = self.holder(&self.prefix(result.round), &result.proposal.0);
        self.db.blobs().put_pinned(&holder, &[bytes])?;
        Ok(())
    }

    /// Commits a peer's result of an accepted round; its ciphertexts are here, see [`ResultStore::put_blob`]. `false`:
    /// it is not the accepted one or a ciphertext is missing, and nothing was written.
    ///
    /// # Errors
    /// If the store fails.
    pub fn commit_fetched(&self, block: &ParaTimeBlock, result: &RoundResult) -> Result<bool, StateError> {
        if !self.is_accepted(block, result)? {
            return Ok(false);
        }
        let changes = Changes { writes: result.writes.clone(), blobs: BTreeMap::new() };
        let prepared = match self.tree().prepare(block.round.0, &changes) {
            Ok(prepared) => prepared,
            Err(StateError::MissingBlob { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        let write = self.keep(AtomicWrite::new().commit(prepared), result, &[])?;
        self.db.write(write)?;
        Ok(true)
    }

    /// Drops what is held for rounds before `before`.
    ///
    /// # Errors
    /// If the store fails.
    pub fn prune(&self, before: Round) -> Result<(), StateError> {
        let (start, end) = (self.prefix(Round::ZERO), self.prefix(before));
        let mut extra = Batch::default();
        let mut write = AtomicWrite::new();
        for (row, _) in self.db.store().range(Column::Rounds, &start, &end, 0)? {
            // A divergence may have ciphertexts fetched for it without a result that came of them.
            if let Some((TAG_RESULT | TAG_DIVERGENCE, proposal)) = split(&row) {
                write = write.unpin(&self.holder(&row[..start.len()], proposal));
            }
            extra.delete(Column::Rounds, row);
        }
        if extra.ops.is_empty() {
            return Ok(());
        }
        self.db.write(write.extra(extra))
    }

    /// Answers a peer from what is held here.
    ///
    /// # Errors
    /// If the store fails.
    pub fn serve(&self, request: &PeerRequest) -> Result<PeerResponse, StateError> {
        Ok(match request {
            PeerRequest::Batch { round, batch_root } => PeerResponse::Batch(self.batch(*round, batch_root)?),
            PeerRequest::Result { round, proposal } => PeerResponse::Result(self.result(*round, proposal)?),
            PeerRequest::Blob { digest } => PeerResponse::Blob(self.blob(digest)?),
            PeerRequest::TraceDigests { round, proposal, from } => {
                PeerResponse::TraceDigests(self.trace_digests_part(*round, proposal, *from)?)
            }
            PeerRequest::TraceLeaves { round, proposal, from } => {
                PeerResponse::TraceLeaves(self.trace_leaves_part(*round, proposal, *from)?)
            }
            PeerRequest::TraceLeaf { round, proposal, index } => {
                PeerResponse::TraceLeaf(self.trace_leaf(*round, proposal, *index)?)
            }
            PeerRequest::State { round, after } => PeerResponse::State(self.state_part(*round, after)?),
        })
    }

    /// Adds a result and its pins to a write. Ciphertexts kept already are pinned too: the tree may let go of them.
    fn keep(&self, write: AtomicWrite, result: &RoundResult, blobs: &[Vec<u8>]) -> Result<AtomicWrite, StateError> {
        let holder = self.holder(&self.prefix(result.round), &result.proposal.0);
        let (write, new) = write.pin_new(&holder, blobs)?;
        let held: Vec<Digest> = result.blobs().into_iter().filter(|digest| !new.contains(digest)).collect();
        let mut extra = Batch::default();
        let row = self.row(result.round, TAG_RESULT, &result.proposal);
        extra.put(Column::Rounds, row, encode(&Stored::V1(result.clone())));
        Ok(write.pin(&holder, &held)?.extra(extra))
    }

    fn prefix(&self, round: Round) -> Vec<u8> {
        [PREFIX, &self.paratime.0, &round.0.to_be_bytes()].concat()
    }

    fn row(&self, round: Round, tag: u8, digest: &Digest) -> Vec<u8> {
        [&self.prefix(round)[..], &[tag], &digest.0].concat()
    }

    fn holder(&self, prefix: &[u8], proposal: &[u8]) -> Vec<u8> {
        [prefix, proposal].concat()
    }

    fn read<T: BorshDeserialize>(&self, row: &[u8], what: &'static str) -> Result<Option<T>, StateError> {
        let Some(bytes) = self.db.store().get(Column::Rounds, row)? else { return Ok(None) };
        match codec::decode(what, &bytes, limits::MAX_PEER_MESSAGE_BYTES) {
            Ok(value) => Ok(Some(value)),
            Err(e) => Err(StateError::Corrupt { what: what.to_owned(), reason: e.to_string() }),
        }
    }
}

/// The digests of the ciphertexts that writes name.
fn named_by(writes: &BTreeMap<Vec<u8>, Option<Value>>) -> BTreeSet<Digest> {
    writes
        .values()
        .filter_map(|value| match value {
            Some(Value::Cipher(reference)) => Some(reference.digest),
            Some(Value::Plain(_)) | None => None,
        })
        .collect()
}

/// Tag and digest of a row.
fn split(row: &[u8]) -> Option<(u8, &[u8])> {
    let (tag, digest) = row.get(PREFIX.len() + 32 + 8..)?.split_first()?;
    Some((*tag, digest))
}

#[cfg(test)]
mod tests;
