//! One compute node: what survives a crash, and what does not.

use crate::dispute::Inquiry;
use crate::parties::Parties;
use crate::scenario::Byzantine;
use parallax_clear::ClearBackend;
use parallax_consensus_app::outbox::Outbox;
use parallax_memory_store::MemoryStore;
use parallax_primitives::message::OutMessage;
use parallax_primitives::{ChainContext, Digest, Gas, Height, Round, SecretKey};
use parallax_rounds::{Outcome, ParaTimeBlock, SignedCommitment, SignedProposal};
use parallax_runtime::paratime::tx_digest;
use parallax_runtime::{Abort, FheBackend, ParaTime, RoundContext, TraceLeaf};
use parallax_state::{Database, StateError, Store};
use parallax_worker::event::Dispute;
use parallax_worker::pool::ParaTimePool;
use parallax_worker::{CrashStep, FetchedState, Journal, ResultStore, RoundResult, StateFetch, StoreJournal, Where};
use parallax_worker::{WorkerConfig, WorkerState};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Why a node's process ended.
#[derive(Clone, Debug)]
pub(crate) enum Stop {
    /// A planned crash.
    At(Where, CrashStep),
    /// Its disk failed.
    Disk(StateError),
    /// Somebody killed it.
    Killed,
}

impl From<StateError> for Stop {
    fn from(error: StateError) -> Self {
        Self::Disk(error)
    }
}

/// A batch that is being fetched.
#[derive(Clone, Debug)]
pub(crate) struct BatchFetch {
    pub(crate) signed: SignedProposal,
    pub(crate) token: u64,
    /// Peers still to be asked, the next one last.
    pub(crate) peers: Vec<usize>,
}

/// A result or a whole state that is being fetched: what it says first, then one ciphertext after the other.
#[derive(Clone, Debug)]
pub(crate) struct ResultFetch {
    pub(crate) block: ParaTimeBlock,
    /// Whether the whole state after the round is wanted, because nobody keeps its result any more.
    pub(crate) whole: bool,
    /// Peers still to be asked, the next one last.
    pub(crate) peers: Vec<usize>,
    pub(crate) part: ResultPart,
}

#[derive(Clone, Debug)]
pub(crate) enum ResultPart {
    /// The result itself.
    Result,
    /// The state, part by part.
    State(StateFetch),
    /// Its ciphertexts: those still missing, and for the first of them the peers still to be asked.
    Blobs { of: Fetched, giver: usize, missing: Vec<Digest>, ask: Vec<usize> },
}

/// What a peer gave and the finalised root confirmed.
#[derive(Clone, Debug)]
pub(crate) enum Fetched {
    Result(RoundResult),
    State(FetchedState),
}

impl Fetched {
    pub(crate) fn missing(&self, results: &ResultStore) -> Result<Vec<Digest>, StateError> {
        match self {
            Self::Result(result) => results.missing_blobs(result),
            Self::State(state) => results.missing_in_state(state),
        }
    }

    pub(crate) fn put_blob(&self, results: &ResultStore, bytes: Vec<u8>) -> Result<(), StateError> {
        match self {
            Self::Result(result) => results.put_blob(result, bytes),
            Self::State(_) => results.put_blob_of_state(bytes),
        }
    }

    pub(crate) fn commit(&self, results: &ResultStore, block: &ParaTimeBlock) -> Result<bool, StateError> {
        match self {
            Self::Result(result) => results.commit_fetched(block, result),
            Self::State(state) => results.commit_state(state),
        }
    }

    /// As the counters name it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Result(_) => "result fetched",
            Self::State(_) => "state fetched",
        }
    }
}

/// What waits for a peer's answer.
#[derive(Clone, Debug)]
pub(crate) enum Pending {
    Batch(Box<BatchFetch>),
    Result(Box<ResultFetch>),
    Dispute(Box<Inquiry>),
}

/// An execution under way.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) signed: SignedProposal,
    pub(crate) context: RoundContext,
    pub(crate) token: u64,
    pub(crate) max_gas: Gas,
    /// The leaves that the execution is known to begin with.
    pub(crate) prefix: Vec<TraceLeaf>,
}

/// What a worker's shell would do in a task of its own.
#[derive(Clone, Debug)]
pub(crate) enum Task {
    Plan {
        context: RoundContext,
        limit: Gas,
    },
    Publish(SignedProposal),
    Announce(SignedProposal),
    Commit(SignedCommitment),
    /// A Byzantine node's, held back.
    CommitLate(SignedCommitment),
    FetchBatch(BatchFetch),
    Execute(Order),
    /// An execution that waits for what the workers agree on.
    Resume {
        dispute: Dispute,
        order: Order,
    },
    Compare(Dispute),
    Refuse {
        proposal: Digest,
        abort: Abort,
    },
    CommitState(Round),
    FetchResult(Round),
    FetchState(Round),
    Prune(Round),
}

impl Task {
    pub(crate) fn step(&self) -> CrashStep {
        match self {
            Self::Plan { .. } => CrashStep::Propose,
            Self::Publish(_) => CrashStep::PublishProposal,
            Self::Announce(_) => CrashStep::SubmitAnnounce,
            Self::Commit(_) | Self::CommitLate(_) => CrashStep::SubmitCommitment,
            Self::FetchBatch(_) => CrashStep::FetchTransactions,
            Self::Execute(_) | Self::Refuse { .. } | Self::Resume { .. } => CrashStep::StartExecution,
            Self::Compare(_) => CrashStep::CompareTraces,
            Self::CommitState(_) => CrashStep::CommitState,
            Self::FetchResult(_) => CrashStep::FetchResult,
            Self::FetchState(_) => CrashStep::FetchState,
            Self::Prune(_) => CrashStep::Prune,
        }
    }
}

/// What a crash loses.
pub(crate) struct Running {
    pub(crate) results: ResultStore,
    pub(crate) journal: StoreJournal,
    pub(crate) core: WorkerState,
    pub(crate) pool: ParaTimePool,
    pub(crate) outbox: Outbox,
    /// Up to which height the outbox was told of blocks.
    pub(crate) told: Height,
    /// Work under way by proposal; a task with another token was cancelled.
    pub(crate) jobs: BTreeMap<Digest, u64>,
    pub(crate) pending: BTreeMap<u64, Pending>,
}

impl Running {
    /// Takes a transaction into the pool as a node does; `fhe` verifies proofs too.
    pub(crate) fn admit(
        &mut self,
        chain: &ChainContext,
        runtime: &dyn ParaTime,
        bytes: &[u8],
        fhe: Option<&dyn FheBackend>,
    ) -> Result<(), String> {
        let digest = tx_digest(bytes);
        if self.pool.get(&digest).is_some() {
            return Err("known".to_owned());
        }
        let view = self.results.snapshot(self.core.applied()).map_err(|e| e.to_string())?;
        let info = runtime.check_tx(&view, chain, bytes, fhe).map_err(|e| e.to_string())?;
        self.pool.insert(&info, bytes.to_vec()).map(|_| ()).map_err(|e| e.to_string())
    }

    /// What the node's pool does once a round's state is committed.
    pub(crate) fn settle_pool(
        &mut self,
        chain: &ChainContext,
        runtime: &dyn ParaTime,
        round: Round,
        executed: &[Digest],
    ) -> Result<(), StateError> {
        let view = self.results.snapshot(round)?;
        self.pool.remove(executed);
        let waiting = self.pool.all();
        let checked: Vec<_> =
            waiting.iter().map(|(digest, bytes)| (digest, runtime.check_tx(&view, chain, bytes, None).ok())).collect();
        self.pool.recheck(checked);
        Ok(())
    }
}

/// One compute node over all its lives.
pub(crate) struct Node {
    pub(crate) key: SecretKey,
    store: MemoryStore,
    pub(crate) fhe: Arc<dyn FheBackend>,
    honest: Arc<dyn FheBackend>,
    /// How it misbehaves, until faults stop.
    pub(crate) kind: Option<Byzantine>,
    /// Counts its lives: what belongs to an earlier one is void.
    pub(crate) life: u64,
    /// The newest block that has reached this machine.
    pub(crate) seen: Height,
    /// How often each step was passed.
    pub(crate) passed: BTreeMap<(Where, CrashStep), u64>,
    pub(crate) running: Option<Running>,
}

impl Node {
    pub(crate) fn new(parties: &Parties, index: usize, kind: Option<Byzantine>) -> Result<Self, StateError> {
        let honest: Arc<dyn FheBackend> = Arc::new(ClearBackend::new(vec![parties.key]));
        let fhe: Arc<dyn FheBackend> = match kind {
            Some(Byzantine::FlipBit) => Arc::new(ClearBackend::new(vec![parties.key]).with_flip(3)),
            _ => Arc::clone(&honest),
        };
        let Some(operator) = parties.computes.get(index) else {
            return Err(StateError::Store(format!("there is no node {index}")));
        };
        Ok(Self {
            key: operator.node.clone(),
            store: parties.genesis_store()?.0,
            fhe,
            honest,
            kind,
            life: 0,
            seen: Height::ZERO,
            passed: BTreeMap::new(),
            running: None,
        })
    }

    /// Ends misbehaviour.
    pub(crate) fn repent(&mut self) {
        self.kind = None;
        self.fhe = Arc::clone(&self.honest);
    }

    /// The store of the life under way.
    pub(crate) fn store(&self) -> &MemoryStore {
        &self.store
    }

    /// Starts the process from what the disk holds; `forgets` leaves the journal out.
    pub(crate) fn start(&mut self, parties: &Parties, config: WorkerConfig, forgets: bool) -> Result<(), StateError> {
        self.life = self.life.saturating_add(1);
        self.store = self.store.reopen();
        let store: Arc<dyn Store> = Arc::new(self.store.clone());
        let results = ResultStore::new(Database::open(Arc::clone(&store))?, parties.paratime);
        let journal = StoreJournal::open(store, parties.paratime)?;
        let applied = results.applied()?.unwrap_or(Round::ZERO);
        let records = if forgets { Vec::new() } else { journal.load()? };
        let core = WorkerState::restore(config, applied, records);
        self.running = Some(Running {
            results,
            journal,
            core,
            pool: ParaTimePool::default(),
            outbox: Outbox::new(parties.chain, self.key.clone()),
            told: self.seen,
            jobs: BTreeMap::new(),
            pending: BTreeMap::new(),
        });
        Ok(())
    }
}

/// The result of a run as the state machine hears of it.
pub(crate) struct Done {
    pub(crate) outcome: Outcome,
    pub(crate) messages: Vec<OutMessage>,
}
