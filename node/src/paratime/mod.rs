//! The ParaTimes that this node executes: state, pool, backend and worker of each.

pub(crate) mod gossip;
mod seams;

pub use parallax_worker::pool;
pub use seams::SharedPool;

use crate::chain::Chain;
use crate::consensus::Submitter;
use crate::error::Refused;
use crate::fault::TamperRelay;
use crate::run::Tasks;
use eyre::{Result, WrapErr as _, bail, eyre};
use parallax_consensus_app::genesis::ParaTimeDescriptor;
use parallax_consensus_app::tx::Role;
use parallax_consensus_app::{registry, rounds};
use parallax_consensus_engine::Tip;
use parallax_evm::EvmParaTime;
use parallax_fhe::{BackendKind, EvaluationKeys, FftPlan, FhePool, Manifest, TfheBackend};
use parallax_genesis::{ParaTimeGenesis, profile_digest};
use parallax_network::{Handle, Topic};
use parallax_primitives::{Digest, Height, KeyId, NodeId, ParaTimeId, Round, SecretKey, codec, limits};
use parallax_rounds::{Proposal, SignedProposal, Statement};
use parallax_runtime::decryption::KeyManagers;
use parallax_runtime::{FheBackend, ParaTime, TxError};
use parallax_scheduler::Scheduler;
use parallax_state::{Namespace, StateError, StateView};
use parallax_worker::shell::{WorkerReport, WorkerSetup};
use parallax_worker::{
    CrashAt, CrashPoint, Dishonest, Executor, Fault, FaultKind, FaultyLedger, FaultyTransport, FlipBit, Input, Journal,
    NoCrash, PeerRequest, PeerResponse, ResultStore, StoreJournal, Transport as _, Worker, WorkerConfig, WorkerHandle,
};
use seams::{ChainLedger, PeerTransport};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{broadcast, watch};

/// Blocks that a partly filled batch waits for more transactions.
const FLUSH_BLOCKS: u64 = 1;
/// Blocks after which a proposal or commitment that is not on chain is submitted again.
const RESUBMIT_BLOCKS: u64 = 10;
/// Rounds for which results and ciphertexts are kept and served beyond the state itself.
const RETENTION_ROUNDS: u64 = 1_200;
/// The pause before a peer is asked again for what it did not have.
const RETRY: Duration = Duration::from_millis(500);

/// The ParaTimes of a node, by id.
pub type ParaTimes = Arc<BTreeMap<ParaTimeId, Arc<ParaTimeHost>>>;

/// Why a transaction that a client submits here did not come into the pool.
#[derive(Debug, thiserror::Error)]
pub enum NotAdmitted {
    /// The ParaTime or the pool refuses it.
    #[error(transparent)]
    Refused(TxError),
    /// This node has no time for it now.
    #[error("{0}")]
    Busy(&'static str),
    /// This node failed.
    #[error("{0}")]
    Failed(String),
}

/// One ParaTime on this node.
pub struct ParaTimeHost {
    /// Its id.
    pub id: ParaTimeId,
    /// Its program.
    pub program: Arc<dyn ParaTime>,
    /// What waits for a batch.
    pub pool: SharedPool,
    /// Its state and the results of its rounds.
    pub results: ResultStore,
    /// What evaluates its programs.
    pub backend: Arc<dyn FheBackend>,
    /// The thread for the proofs of inputs that clients submit here, apart from those of execution.
    pub admission: Executor,
    /// Its key set.
    pub manifest: Manifest,
    /// Who decrypts for it.
    pub managers: KeyManagers,
    peers: PeerTransport,
    worker: WorkerHandle,
}

impl ParaTimeHost {
    /// Tells the worker that the pool has changed. A full queue is no loss: the next block tells it too.
    pub fn poke(&self) {
        self.worker.send(Input::Pool);
    }

    /// The time of the newest block of the consensus layer on this node, in milliseconds since 1970; none before the
    /// first one.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn time_ms(&self) -> Result<Option<u64>, StateError> {
        let chain = &self.peers.chain;
        let height = Height(chain.view()?.version().unwrap_or_default());
        Ok(chain.header(height)?.map(|header| header.time_ms))
    }

    /// Brings a client's transaction into the pool, and to the peers. The proof of an encrypted input is verified here,
    /// once, away from the threads that serve clients.
    ///
    /// # Errors
    /// [`NotAdmitted`].
    pub async fn submit(&self, bytes: Vec<u8>) -> Result<Digest, NotAdmitted> {
        let failed = |e: tokio::task::JoinError| NotAdmitted::Failed(e.to_string());
        let (pool, tx) = (self.pool.clone(), bytes.clone());
        let turn = tokio::task::spawn_blocking(move || pool.precheck(&tx)).await.map_err(failed)?;
        let turn = turn.map_err(NotAdmitted::Refused)?.ok_or(NotAdmitted::Busy(
            "another transaction of this sender is being verified on this node; send this one after the answer",
        ))?;
        let (pool, backend, tx) = (self.pool.clone(), Arc::clone(&self.backend), bytes.clone());
        let admitted = self.admission.run(move || {
            let admitted = pool.submit(tx, Some(backend.as_ref()));
            drop(turn);
            admitted
        });
        let full = |_| NotAdmitted::Busy("too much waits for verification on this node; try again later");
        let digest = admitted.await.map_err(full)?.map_err(NotAdmitted::Refused)?;
        self.poke();
        // That of the state on which it was admitted, or of a later one.
        let round = self.results.applied().map_err(|e| NotAdmitted::Failed(e.to_string()))?.unwrap_or(Round::ZERO);
        let message = gossip::message(round, &bytes);
        if let Err(error) = self.peers.network.publish(Topic::ParaTimeTx(self.id), message).await {
            tracing::warn!(%error, tx = %digest, "paratime.tx.not_gossiped");
        }
        Ok(digest)
    }

    /// Where the worker is, whenever that changes.
    pub fn rounds(&self) -> watch::Receiver<WorkerReport> {
        self.worker.report()
    }

    /// Asks the worker of another node; `None` if it cannot be reached or does not answer.
    pub async fn ask(&self, node: NodeId, request: PeerRequest) -> Option<PeerResponse> {
        self.peers.request(self.id, node, request).await
    }

    /// Tells the worker to end; nothing is lost.
    pub fn stop(&self) {
        self.worker.send(Input::Stop);
    }

    /// What the worker is doing.
    pub fn report(&self) -> WorkerReport {
        self.worker.report().borrow().clone()
    }

    /// The last round whose state is committed here.
    pub fn applied(&self) -> Round {
        self.report().applied
    }
}

/// What FHE takes, once a node: its ParaTimes share threads and keys, so that each further one costs neither.
pub struct FheResources {
    pool: Arc<FhePool>,
    execution: Executor,
    admission: Executor,
    keys: Mutex<BTreeMap<(KeyId, BackendKind), Arc<EvaluationKeys>>>,
}

impl FheResources {
    /// Pins the FFT plan, if a backend in use wants one, and starts the threads: `threads` for FHE, one a ParaTime to
    /// drive executions, one to verify the proofs of inputs that clients submit.
    ///
    /// # Errors
    /// [`Refused`] if the processor cannot run the profile; otherwise if the system refuses a thread.
    pub fn new(
        threads: usize,
        paratimes: usize,
        backends: &BTreeSet<BackendKind>,
        fault: Option<Fault>,
    ) -> Result<Self> {
        if backends.contains(&BackendKind::CpuFft) {
            let other = fault.is_some_and(|fault| fault.kind == FaultKind::OtherFftPlan);
            let plan = if other { FftPlan::Dif4 } else { FftPlan::Dif16 };
            parallax_fhe::init(plan).map_err(|e| Refused::new(e.to_string()))?;
        }
        Ok(Self {
            pool: FhePool::new(threads).map_err(|e| eyre!("the FHE threads could not be started: {e}"))?,
            execution: Executor::new(paratimes).wrap_err("threads for execution")?,
            admission: Executor::new(1).wrap_err("a thread for admission")?,
            keys: Mutex::default(),
        })
    }

    /// The key set of a directory, loaded at most once.
    fn keys(&self, dir: &Path, manifest: &Manifest, backend: BackendKind) -> Result<Arc<EvaluationKeys>> {
        let mut loaded = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(keys) = loaded.get(&(manifest.key_id(), backend)) {
            return Ok(Arc::clone(keys));
        }
        let keys = Arc::new(EvaluationKeys::load(dir, manifest, backend)?);
        loaded.insert((manifest.key_id(), backend), Arc::clone(&keys));
        Ok(keys)
    }
}

/// What the ParaTimes of a node are built from.
pub struct Parts<'a> {
    /// The chain.
    pub chain: &'a Chain,
    /// The way to the consensus layer.
    pub submitter: &'a Submitter,
    /// The network.
    pub network: &'a Handle,
    /// The node's consensus key.
    pub key: &'a SecretKey,
    /// What its ParaTimes share for FHE.
    pub fhe: &'a Arc<FheResources>,
    /// A fault, on a localnet.
    pub fault: Option<Fault>,
}

/// A program by its kind.
///
/// # Errors
/// If this node knows no such program.
pub fn program(kind: &str, id: ParaTimeId) -> Result<Arc<dyn ParaTime>> {
    match kind {
        parallax_scheduler::KIND => Ok(Arc::new(Scheduler::new(id))),
        parallax_evm::KIND => Ok(Arc::new(EvmParaTime::new(id))),
        other => {
            let known = [parallax_scheduler::KIND, parallax_evm::KIND].join(" and ");
            bail!("this node has no program of kind {other:?} for ParaTime {id}; it has {known}")
        }
    }
}

/// Loads the key set and checks that this machine computes the bits that it commits to. Takes seconds.
fn backend(
    fhe: &FheResources,
    dir: &Path,
    descriptor: &ParaTimeDescriptor,
    genesis: &ParaTimeGenesis,
) -> Result<(Arc<dyn FheBackend>, Manifest)> {
    let manifest = Manifest::load(dir)?;
    let (id, here, there) = (descriptor.id, manifest.key_id(), descriptor.key_set);
    if here.0 != there.0 {
        let text = format!(
            "the key set in {} is {here}, ParaTime {id} uses {there}; fetch the key set of this chain",
            dir.display()
        );
        return Err(Refused::new(text).into());
    }
    let Some(kind) = BackendKind::of(&genesis.profile) else {
        let (names, wanted) = (BackendKind::ALL.map(BackendKind::name).join(" and "), &genesis.profile.backend);
        let text =
            format!("ParaTime {id} runs the FHE backend {wanted:?}, this program has {names}; use another version");
        return Err(Refused::new(text).into());
    };
    let profile = &manifest.answers(kind).map_err(|e| Refused::new(e.to_string()))?.profile;
    if *profile != genesis.profile {
        let text = format!(
            "the key set in {} was made for the profile {profile:?}, ParaTime {id} runs {:?}; use the key set of this \
             chain",
            dir.display(),
            genesis.profile
        );
        return Err(Refused::new(text).into());
    }
    let backend = TfheBackend::with_pool(fhe.keys(dir, &manifest, kind)?, Arc::clone(&fhe.pool))?;
    backend.check_profile().map_err(|e| Refused::new(e.to_string()))?;
    Ok((Arc::new(backend), manifest))
}

/// Writes the state of round 0, if there is none yet.
fn init_state(
    parts: &Parts<'_>,
    descriptor: &ParaTimeDescriptor,
    genesis: &ParaTimeGenesis,
    program: &dyn ParaTime,
) -> Result<()> {
    let tree = parts.chain.database.tree(Namespace::ParaTime(descriptor.id));
    if tree.latest()?.is_some() {
        return Ok(());
    }
    let changes = program
        .init_genesis(&genesis.parameters)
        .map_err(|e| eyre!("the genesis parameters of ParaTime {} are not valid: {e}", descriptor.id))?;
    let prepared = tree.prepare(0, &changes)?;
    if prepared.root() != descriptor.genesis_root {
        bail!(
            "the genesis state of ParaTime {} has root {}, the document says {}; this program is of another version",
            descriptor.id,
            prepared.root(),
            descriptor.genesis_root
        );
    }
    tree.commit(prepared, Default::default())?;
    Ok(())
}

/// Starts a ParaTime: state, keys from their directory, worker, gossip. What runs for as long as the node does is one of `tasks`.
///
/// # Errors
/// [`Refused`] if this machine or its keys do not fit the ParaTime; otherwise if its state or keys cannot be read.
pub async fn start(
    parts: &Parts<'_>,
    descriptor: &ParaTimeDescriptor,
    genesis: &ParaTimeGenesis,
    keys: &Path,
    tip: watch::Receiver<Tip>,
    tasks: &mut Tasks,
) -> Result<Arc<ParaTimeHost>> {
    let id = descriptor.id;
    let program = program(&descriptor.kind, id)?;
    init_state(parts, descriptor, genesis, program.as_ref())?;
    let (mut backend, manifest) = {
        let (fhe, keys) = (Arc::clone(parts.fhe), keys.to_owned());
        let (descriptor, genesis) = (descriptor.clone(), genesis.clone());
        // Away from the threads that also have to notice that the node is asked to end.
        tokio::task::spawn_blocking(move || backend(&fhe, &keys, &descriptor, &genesis)).await??
    };
    let fault = parts.fault.map(|fault| fault.kind);
    if let Some(FaultKind::FlipBit { skip }) = fault {
        backend = Arc::new(FlipBit::new(backend, skip));
    }
    if profile_digest(&genesis.profile) != descriptor.profile {
        bail!("the genesis document contradicts itself: the profile of ParaTime {id} has another digest");
    }
    let chain = parts.chain;
    let pool = SharedPool::new(chain.context, id, chain.database.clone(), Arc::clone(&program));
    let config = WorkerConfig {
        chain: chain.context,
        paratime: id,
        key: parts.key.clone(),
        flush_blocks: FLUSH_BLOCKS,
        resubmit_blocks: RESUBMIT_BLOCKS,
        retention_rounds: RETENTION_ROUNDS,
    };
    let journal: Arc<dyn Journal> = Arc::new(StoreJournal::open(Arc::clone(chain.database.store()), id)?);
    // An honest node's surroundings are what they are; see `parallax_worker::fault`.
    let dishonest = parts.fault.map(|fault| Dishonest::new(fault, &config, Arc::clone(&journal)));
    let crash: Arc<dyn CrashPoint> = match fault {
        Some(FaultKind::CrashAt(points)) => Arc::new(CrashAt::new(points, Arc::clone(&journal))),
        _ => Arc::new(NoCrash),
    };
    let ledger = ChainLedger { chain: chain.clone(), submitter: parts.submitter.clone() };
    let transport = PeerTransport { chain: chain.clone(), network: parts.network.clone() };
    let setup = WorkerSetup {
        config,
        ledger: FaultyLedger::new(ledger, dishonest.clone()),
        transport: FaultyTransport::new(transport, dishonest),
        pool: pool.clone(),
        runtime: Arc::clone(&program),
        fhe: Arc::clone(&backend),
        database: chain.database.clone(),
        journal,
        executor: parts.fhe.execution.clone(),
        crash,
        retry: RETRY,
    };
    let (worker, handle) = Worker::new(setup)?;
    index_last(chain, &pool, handle.results(), id)?;
    let host = Arc::new(ParaTimeHost {
        id,
        program,
        pool,
        results: handle.results().clone(),
        backend,
        admission: parts.fhe.admission.clone(),
        manifest,
        managers: genesis.managers.clone(),
        peers: PeerTransport { chain: chain.clone(), network: parts.network.clone() },
        worker: handle.clone(),
    });
    let name = |task: &str| format!("{task} of ParaTime {}", id.short());
    tasks.spawn(name("blocks"), blocks(handle.clone(), tip));
    let relay = (fault == Some(FaultKind::TamperRelay)).then(|| TamperRelay::new(parts.network.clone(), id));
    tasks.spawn(name("statements"), statements(handle.clone(), parts.submitter.heard(), id));
    tasks.spawn(name("proposals"), proposals(handle, parts.network.clone(), chain.clone(), id, relay));
    tasks.spawn(name("transactions"), gossip::transactions(Arc::clone(&host), parts.network.clone()));
    tasks.spawn(name("worker"), async move { Ok(worker.run().await?) });
    Ok(host)
}

/// Indexes the last round again: the process may have been killed after that round's state was committed and before
/// its transactions were indexed. Earlier rounds were indexed before the next state was committed.
fn index_last(chain: &Chain, pool: &SharedPool, results: &ResultStore, id: ParaTimeId) -> Result<()> {
    let Some(applied) = results.applied()? else { return Ok(()) };
    let Some(block) = rounds::block(&chain.view()?, &id, applied)? else { return Ok(()) };
    pool.index(applied, &results.executed(&block)?)?;
    Ok(())
}

/// Tells the worker of every block.
async fn blocks(worker: WorkerHandle, mut tip: watch::Receiver<Tip>) -> Result<()> {
    while tip.changed().await.is_ok() {
        tip.borrow_and_update();
        worker.send(Input::Block);
    }
    Ok(())
}

/// Tells the worker what members say in transactions, so that it finds one that contradicts itself.
async fn statements(
    worker: WorkerHandle,
    mut heard: broadcast::Receiver<(ParaTimeId, Statement)>,
    id: ParaTimeId,
) -> Result<()> {
    loop {
        match heard.recv().await {
            // A worker with a full queue looks at none of them; others do.
            Ok((paratime, statement)) if paratime == id => {
                worker.send(Input::Heard(Box::new(statement)));
            }
            Ok(_) => {}
            Err(broadcast::error::RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "paratime.statements.missed");
            }
            Err(broadcast::error::RecvError::Closed) => return Ok(()),
        }
    }
}

/// What to do with a proposal that a peer gossips.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judgement {
    /// It travels on, and the worker looks at it.
    Take,
    /// Its scheduler may sign proposals, but not this one now; as far as this node's state says.
    Ignore,
    /// Nobody honest passes it on.
    Reject,
}

/// Only a compute node of the ParaTime can have its proposals carried, and only while it sits in the committee, for
/// the round under way or the next one.
fn judge(view: &dyn StateView, id: ParaTimeId, proposal: &Proposal) -> Result<Judgement, StateError> {
    let scheduler = registry::node(view, &proposal.scheduler)?;
    if !scheduler.is_some_and(|node| node.has_role(Role::Compute) && node.profile(&id).is_some()) {
        return Ok(Judgement::Reject);
    }
    let Some(state) = rounds::state(view, &id)? else { return Ok(Judgement::Ignore) };
    let seated =
        state.committee().is_some_and(|c| c.is_worker(&proposal.scheduler) || c.is_backup(&proposal.scheduler));
    let timely = [state.round(), state.round().next()].contains(&proposal.round);
    Ok(if seated && timely { Judgement::Take } else { Judgement::Ignore })
}

/// Proposals that peers gossip: signed by whom they name, who may name itself; the worker checks the rest.
async fn proposals(
    worker: WorkerHandle,
    network: Handle,
    chain: Chain,
    id: ParaTimeId,
    relay: Option<TamperRelay>,
) -> Result<()> {
    let mut incoming = network.subscribe(Topic::Proposal(id)).await?;
    while let Some(message) = incoming.recv().await {
        if let Some(relay) = &relay {
            relay.pass_on(&message.bytes).await;
        }
        let proposal = match codec::decode::<SignedProposal>("proposal", &message.bytes, limits::MAX_TX_BYTES) {
            Ok(proposal) if proposal.verify(chain.context, id) => proposal,
            Ok(_) | Err(_) => {
                message.verdict.reject();
                continue;
            }
        };
        match chain.view().and_then(|view| judge(&view, id, &proposal.proposal)) {
            Ok(Judgement::Take) => {
                message.verdict.accept();
                worker.send(Input::Proposal(Box::new(proposal)));
            }
            Ok(Judgement::Ignore) => message.verdict.ignore(),
            Ok(Judgement::Reject) => message.verdict.reject(),
            Err(error) => {
                tracing::error!(%error, "paratime.proposal.unreadable_state");
                message.verdict.ignore();
            }
        }
    }
    Ok(())
}
