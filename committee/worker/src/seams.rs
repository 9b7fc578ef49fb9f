//! What the worker's shell needs from the node around it.

use crate::event::Anchor;
use crate::record::Record;
use crate::results::RoundResult;
use borsh::{BorshDeserialize, BorshSerialize};
use parallax_primitives::message::MessageResult;
use parallax_primitives::{Digest, Height, KeyId, NodeId, ParaTimeId, Round, codec, encode};
use parallax_rounds::{Evidence, ParaTimeBlock, RoundState, SignedCommitment, SignedProposal};
use parallax_runtime::{ProvenLeaf, TraceLeaf};
use parallax_state::{Batch, Column, StateError, Store, Value};
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

/// What a worker asks a peer for. The channel says for which ParaTime.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum PeerRequest {
    /// The transactions of a batch.
    Batch {
        /// The round.
        round: Round,
        /// The Merkle root of the transactions' digests.
        batch_root: Digest,
    },
    /// The result of executing a proposal.
    Result {
        /// The round.
        round: Round,
        /// The proposal.
        proposal: Digest,
    },
    /// Ciphertext bytes.
    Blob {
        /// Their digest.
        digest: Digest,
    },
    /// Digests of the leaves of the trace of executing a proposal, from one on.
    TraceDigests {
        /// The round.
        round: Round,
        /// The proposal.
        proposal: Digest,
        /// The index of the first one wanted.
        from: u64,
    },
    /// The leaves themselves, from one on.
    TraceLeaves {
        /// The round.
        round: Round,
        /// The proposal.
        proposal: Digest,
        /// The index of the first one wanted.
        from: u64,
    },
    /// One leaf with its proof against the trace root.
    TraceLeaf {
        /// The round.
        round: Round,
        /// The proposal.
        proposal: Digest,
        /// Its index.
        index: u64,
    },
    /// Values of the ParaTime's state after a round, in the order of their keys.
    State {
        /// The round.
        round: Round,
        /// The key after which to begin; empty for the first part.
        after: Vec<u8>,
    },
}

/// A part of a ParaTime's state.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct StatePart {
    /// Keys and values in the order of the keys: about [`parallax_primitives::limits::MAX_STATE_PART_BYTES`] of them.
    pub values: Vec<(Vec<u8>, Value)>,
    /// Whether none follow.
    pub last: bool,
}

/// A part of a trace.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct TracePart<T> {
    /// How many leaves the whole trace has.
    pub count: u64,
    /// As many as fit into [`parallax_primitives::limits::MAX_TRACE_PART_BYTES`], at least one if there are any from the index asked for on.
    pub items: Vec<T>,
}

/// What a peer answers; `None`: it does not have it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum PeerResponse {
    /// The transactions, in order.
    Batch(Option<Vec<Vec<u8>>>),
    /// The result.
    Result(Option<RoundResult>),
    /// The bytes.
    Blob(Option<Vec<u8>>),
    /// The digests.
    TraceDigests(Option<TracePart<Digest>>),
    /// The leaves.
    TraceLeaves(Option<TracePart<TraceLeaf>>),
    /// The leaf.
    TraceLeaf(Option<ProvenLeaf>),
    /// The values.
    State(Option<StatePart>),
}

/// The network as a worker sees it. Everything that comes back is checked by the worker.
pub trait Transport: Send + Sync + 'static {
    /// Gossips a proposal to the committee. Best effort.
    fn publish(&self, paratime: ParaTimeId, proposal: SignedProposal) -> impl Future<Output = ()> + Send;

    /// Asks one peer; `None` if it cannot be reached, does not answer in time or answers what cannot be decoded.
    fn request(
        &self,
        paratime: ParaTimeId,
        peer: NodeId,
        request: PeerRequest,
    ) -> impl Future<Output = Option<PeerResponse>> + Send;

    /// A peer answered with what does not match the digest that was asked for. Best effort; a network that keeps no
    /// scores has nothing to do.
    fn blame(&self, _peer: NodeId) -> impl Future<Output = ()> + Send {
        async {}
    }
}

/// Why the chain could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the consensus state could not be read: {0}")]
pub struct LedgerError(pub String);

/// The last finalised consensus state of one ParaTime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerState {
    /// The height after which it holds.
    pub height: Height,
    /// The round machine.
    pub rounds: RoundState,
    /// The epoch's beacon entropy.
    pub beacon: Digest,
    /// The key set in force and, during an overlap, the one before it.
    pub key_ids: Vec<KeyId>,
    /// What became of the messages of the last accepted round.
    pub message_results: Vec<MessageResult>,
}

/// The chain as a worker sees it. Reads are of finalised state, short and local; submissions are signed and repeated
/// by the implementation, and a duplicate does no harm.
pub trait Ledger: Send + Sync + 'static {
    /// The last finalised state.
    ///
    /// # Errors
    /// [`LedgerError`].
    fn state(&self, paratime: ParaTimeId) -> Result<LedgerState, LedgerError>;

    /// Hash and time of a finalised header; `None` if there is none yet.
    ///
    /// # Errors
    /// [`LedgerError`].
    fn header(&self, height: Height) -> Result<Option<Anchor>, LedgerError>;

    /// The block with which a round ended; `None` if it has not, or is no longer kept.
    ///
    /// # Errors
    /// [`LedgerError`].
    fn block(&self, paratime: ParaTimeId, round: Round) -> Result<Option<ParaTimeBlock>, LedgerError>;

    /// The nodes that may hold batches and results of the ParaTime.
    ///
    /// # Errors
    /// [`LedgerError`].
    fn peers(&self, paratime: ParaTimeId) -> Result<Vec<NodeId>, LedgerError>;

    /// Brings a proposal on chain.
    fn announce(&self, paratime: ParaTimeId, proposal: SignedProposal) -> impl Future<Output = ()> + Send;

    /// Brings commitments on chain.
    fn commit(&self, paratime: ParaTimeId, commitments: Vec<SignedCommitment>) -> impl Future<Output = ()> + Send;

    /// Brings evidence against a member on chain. Others report the same; one conviction is enough, and a refusal
    /// because of it is the end of the matter.
    fn report(&self, paratime: ParaTimeId, evidence: Evidence) -> impl Future<Output = ()> + Send;
}

/// The transactions that wait for a batch.
pub trait Pool: Send + Sync + 'static {
    /// Transactions in the order in which they are to be scheduled, within these limits.
    fn candidates(&self, max_count: usize, max_bytes: usize) -> Vec<Vec<u8>>;

    /// A transaction by its digest.
    fn get(&self, digest: &Digest) -> Option<Vec<u8>>;

    /// How many could be executed now: those that wait behind a missing nonce do not count.
    fn len(&self) -> usize;

    /// Whether none waits.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The state after a round is committed; `executed` have their results and leave the pool. The rest is to be
    /// checked against the new state.
    fn applied(&self, round: Round, executed: &[Digest]);
}

/// Durable memory of one worker.
pub trait Journal: Send + Sync {
    /// Appends records in one write and returns once they are on the disk.
    ///
    /// # Errors
    /// If the store fails; then none is there.
    fn append(&self, records: &[Record]) -> Result<(), StateError>;

    /// All records still needed, in the order in which they were appended.
    ///
    /// # Errors
    /// If the store fails or holds something else.
    fn load(&self) -> Result<Vec<Record>, StateError>;

    /// `true` the first time that it is called with this name, over all restarts. For deliberate faults that happen
    /// once; an honest worker never calls it.
    ///
    /// # Errors
    /// If the store fails.
    fn once(&self, name: &str) -> Result<bool, StateError>;
}

/// A [`Journal`] in [`Column::Journal`]: rows `worker/`, the ParaTime, a tag, and a running number.
pub struct StoreJournal {
    store: Arc<dyn Store>,
    prefix: Vec<u8>,
    /// The number of the next record.
    next: Mutex<u64>,
}

/// Most bytes of one record: a proposal with the most transactions is about 8 KiB, a commitment with the most
/// messages less.
const MAX_RECORD_BYTES: usize = 64 * 1024;
const TAG_RECORD: u8 = 0;
const TAG_ONCE: u8 = 1;

impl StoreJournal {
    /// The journal of a ParaTime's worker.
    ///
    /// # Errors
    /// If the store fails.
    pub fn open(store: Arc<dyn Store>, paratime: ParaTimeId) -> Result<Self, StateError> {
        let prefix = [b"worker/", &paratime.0[..]].concat();
        let journal = Self { store, prefix, next: Mutex::new(0) };
        let next = journal.rows()?.last().map_or(0, |(number, _)| number.saturating_add(1));
        *journal.next.lock().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(journal)
    }

    fn row(&self, number: u64) -> Vec<u8> {
        [&self.prefix[..], &[TAG_RECORD], &number.to_be_bytes()].concat()
    }

    fn rows(&self) -> Result<Vec<(u64, Record)>, StateError> {
        let corrupt = |reason: String| StateError::Corrupt { what: "the worker's journal".to_owned(), reason };
        let end = [&self.prefix[..], &[TAG_ONCE]].concat();
        let mut rows = Vec::new();
        for (row, bytes) in self.store.range(Column::Journal, &self.row(0), &end, 0)? {
            let number = row
                .get(self.prefix.len() + 1..)
                .and_then(|n| n.try_into().ok())
                .map(u64::from_be_bytes)
                .ok_or_else(|| corrupt("a row has no number".to_owned()))?;
            let record = codec::decode("worker record", &bytes, MAX_RECORD_BYTES);
            rows.push((number, record.map_err(|e| corrupt(e.to_string()))?));
        }
        Ok(rows)
    }
}

impl Journal for StoreJournal {
    fn append(&self, records: &[Record]) -> Result<(), StateError> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut batch, mut number) = (Batch::default(), *next);
        for record in records {
            if let Record::Forget { before } = record {
                for (old, record) in self.rows()? {
                    let over = match record {
                        Record::Proposed(p) => p.proposal.round < *before,
                        Record::Voted(c) => c.commitment.round < *before,
                        Record::Forget { .. } => true,
                    };
                    if over {
                        batch.delete(Column::Journal, self.row(old));
                    }
                }
            }
            batch.put(Column::Journal, self.row(number), encode(record));
            number = number.saturating_add(1);
        }
        self.store.write(batch)?;
        *next = number;
        Ok(())
    }

    fn load(&self) -> Result<Vec<Record>, StateError> {
        Ok(self.rows()?.into_iter().map(|(_, record)| record).collect())
    }

    fn once(&self, name: &str) -> Result<bool, StateError> {
        let row = [&self.prefix[..], &[TAG_ONCE], name.as_bytes()].concat();
        if self.store.get(Column::Journal, &row)?.is_some() {
            return Ok(false);
        }
        let mut batch = Batch::default();
        batch.put(Column::Journal, row, Vec::new());
        self.store.write(batch)?;
        Ok(true)
    }
}

/// The effects of a worker, for crash points. Names are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CrashStep {
    /// Records are written to the journal.
    Persist,
    /// A batch is planned and stored.
    Propose,
    /// A proposal is gossiped.
    PublishProposal,
    /// A proposal is submitted.
    SubmitAnnounce,
    /// Transactions are fetched.
    FetchTransactions,
    /// Execution starts.
    StartExecution,
    /// A result is stored.
    StoreResult,
    /// Work is dropped.
    Cancel,
    /// A commitment is submitted.
    SubmitCommitment,
    /// A state is committed from what is held.
    CommitState,
    /// A result is fetched from peers.
    FetchResult,
    /// A whole state is fetched from a peer.
    FetchState,
    /// Traces of a disputed round are compared.
    CompareTraces,
    /// Old results are dropped.
    Prune,
}

impl CrashStep {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Persist,
        Self::Propose,
        Self::PublishProposal,
        Self::SubmitAnnounce,
        Self::FetchTransactions,
        Self::StartExecution,
        Self::StoreResult,
        Self::Cancel,
        Self::SubmitCommitment,
        Self::CommitState,
        Self::FetchResult,
        Self::FetchState,
        Self::CompareTraces,
        Self::Prune,
    ];

    /// Its stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Persist => "persist",
            Self::Propose => "propose",
            Self::PublishProposal => "publish-proposal",
            Self::SubmitAnnounce => "submit-announce",
            Self::FetchTransactions => "fetch-transactions",
            Self::StartExecution => "start-execution",
            Self::StoreResult => "store-result",
            Self::Cancel => "cancel",
            Self::SubmitCommitment => "submit-commitment",
            Self::CommitState => "commit-state",
            Self::FetchResult => "fetch-result",
            Self::FetchState => "fetch-state",
            Self::CompareTraces => "compare-traces",
            Self::Prune => "prune",
        }
    }

    /// All names, for an error text.
    pub fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }
}

impl fmt::Display for CrashStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// On which side of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Where {
    /// Before it.
    Before,
    /// After it.
    After,
}

impl fmt::Display for Where {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Before => "before",
            Self::After => "after",
        })
    }
}

/// Called before and after every effect. `true` ends the worker on the spot with
/// [`crate::WorkerError::Crashed`]; an implementation may as well abort the process.
pub trait CrashPoint: Send + Sync + 'static {
    /// A step is reached.
    fn reached(&self, place: Where, step: CrashStep) -> bool;
}

/// Never crashes.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoCrash;

impl CrashPoint for NoCrash {
    fn reached(&self, _: Where, _: CrashStep) -> bool {
        false
    }
}

#[cfg(test)]
mod tests;
