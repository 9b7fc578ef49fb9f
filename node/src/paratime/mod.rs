//! The ParaTimes that this node executes: state, pool, backend and worker of each.

pub mod pool;
mod seams;

pub use seams::SharedPool;

use crate::chain::Chain;
use crate::consensus::Submitter;
use crate::error::Refused;
use eyre::{Result, WrapErr as _, bail, eyre};
use parallax_consensus_app::genesis::ParaTimeDescriptor;
use parallax_consensus_engine::Tip;
use parallax_fhe::{EvaluationKeys, FftPlan, FhePool, Manifest, TfheBackend};
use parallax_genesis::{ParaTimeGenesis, profile_digest};
use parallax_network::{Handle, Topic};
use parallax_primitives::{ParaTimeId, Round, SecretKey, codec, limits};
use parallax_rounds::SignedProposal;
use parallax_runtime::decryption::KeyManagers;
use parallax_runtime::{FheBackend, ParaTime};
use parallax_scheduler::Scheduler;
use parallax_state::Namespace;
use parallax_worker::shell::{WorkerReport, WorkerSetup};
use parallax_worker::{
    Executor, FaultKind, FlipBit, Input, NoCrash, ResultStore, StoreJournal, Worker, WorkerConfig, WorkerError,
    WorkerHandle,
};
use seams::{ChainLedger, PeerTransport};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

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
    /// A thread for the proofs of inputs that clients submit here, apart from those of execution.
    pub admission: Executor,
    /// Its key set.
    pub manifest: Manifest,
    /// Who decrypts for it.
    pub managers: KeyManagers,
    worker: WorkerHandle,
}

impl ParaTimeHost {
    /// Tells the worker that the pool has changed. A full queue is no loss: the next block tells it too.
    pub fn poke(&self) {
        self.worker.send(Input::Pool);
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
    /// The directory of the key set.
    pub keys: &'a Path,
    /// The FHE threads of the node, shared by its ParaTimes.
    pub threads: usize,
    /// A fault, on a localnet.
    pub fault: Option<FaultKind>,
}

/// A program by its kind.
///
/// # Errors
/// If this node knows no such program.
pub fn program(kind: &str, id: ParaTimeId) -> Result<Arc<dyn ParaTime>> {
    match kind {
        parallax_scheduler::KIND => Ok(Arc::new(Scheduler::new(id))),
        other => {
            bail!("this node has no program of kind {other:?} for ParaTime {id}; it has: {}", parallax_scheduler::KIND)
        }
    }
}

/// Pins the FFT plan, loads the key set and checks that this machine computes the bits that it commits to.
///
/// # Errors
/// [`Refused`] if the processor cannot run the profile or gives other bits; otherwise if a key cannot be loaded.
pub fn backend(parts: &Parts<'_>, genesis: &ParaTimeGenesis) -> Result<(Arc<dyn FheBackend>, Manifest)> {
    let plan = if parts.fault == Some(FaultKind::OtherFftPlan) { FftPlan::Dif4 } else { FftPlan::Dif16 };
    parallax_fhe::init(plan).map_err(|e| Refused::new(e.to_string()))?;
    let manifest = Manifest::load(parts.keys)?;
    let keys = Arc::new(EvaluationKeys::load(parts.keys, &manifest)?);
    let pool = FhePool::new(parts.threads).map_err(|e| eyre!("the FHE threads could not be started: {e}"))?;
    let backend = TfheBackend::with_pool(keys, pool)?;
    backend.check_profile().map_err(|e| Refused::new(e.to_string()))?;
    if manifest.profile != genesis.profile {
        return Err(Refused::new(format!(
            "the key set in {} was made for the profile {:?}, ParaTime {} runs {:?}; use the key set of this chain",
            parts.keys.display(),
            manifest.profile,
            genesis.id,
            genesis.profile
        ))
        .into());
    }
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

/// A ParaTime ready to run, and its worker's fate: a receiver that gets the error with which it ends.
pub struct Started {
    /// The ParaTime.
    pub host: Arc<ParaTimeHost>,
    /// The worker.
    pub done: tokio::task::JoinHandle<Result<(), WorkerError>>,
}

/// Starts a ParaTime: state, keys, worker, gossip.
///
/// # Errors
/// [`Refused`] if this machine or its keys do not fit the ParaTime; otherwise if its state or keys cannot be read.
pub async fn start(
    parts: &Parts<'_>,
    descriptor: &ParaTimeDescriptor,
    genesis: &ParaTimeGenesis,
    tip: watch::Receiver<Tip>,
) -> Result<Started> {
    let id = descriptor.id;
    let program = program(&descriptor.kind, id)?;
    init_state(parts, descriptor, genesis, program.as_ref())?;
    let (mut backend, manifest) = backend(parts, genesis)?;
    if parts.fault == Some(FaultKind::FlipBit) {
        backend = Arc::new(FlipBit::new(backend));
    }
    if manifest.key_id().0 != descriptor.key_set.0 {
        return Err(Refused::new(format!(
            "the key set in {} is {}, ParaTime {id} uses {}; fetch the key set of this chain",
            parts.keys.display(),
            manifest.key_id(),
            descriptor.key_set
        ))
        .into());
    }
    if profile_digest(&genesis.profile) != descriptor.profile {
        bail!("the genesis document contradicts itself: the profile of ParaTime {id} has another digest");
    }
    let chain = parts.chain;
    let pool = SharedPool::new(chain.context, id, chain.database.clone(), Arc::clone(&program));
    let setup = WorkerSetup {
        config: WorkerConfig {
            chain: chain.context,
            paratime: id,
            key: parts.key.clone(),
            flush_blocks: FLUSH_BLOCKS,
            resubmit_blocks: RESUBMIT_BLOCKS,
            retention_rounds: RETENTION_ROUNDS,
        },
        ledger: ChainLedger { chain: chain.clone(), submitter: parts.submitter.clone() },
        transport: PeerTransport { chain: chain.clone(), network: parts.network.clone() },
        pool: pool.clone(),
        runtime: Arc::clone(&program),
        fhe: Arc::clone(&backend),
        database: chain.database.clone(),
        journal: Arc::new(StoreJournal::open(Arc::clone(chain.database.store()), id)?),
        executor: Executor::new(1).wrap_err("a thread for execution")?,
        crash: Arc::new(NoCrash),
        fault: parts.fault,
        retry: RETRY,
    };
    let (worker, handle) = Worker::new(setup)?;
    let host = Arc::new(ParaTimeHost {
        id,
        program,
        pool,
        results: handle.results().clone(),
        backend,
        admission: Executor::new(1).wrap_err("a thread for admission")?,
        manifest,
        managers: genesis.managers.clone(),
        worker: handle.clone(),
    });
    tokio::spawn(blocks(handle.clone(), tip));
    tokio::spawn(proposals(handle, parts.network.clone(), chain.clone(), id));
    tokio::spawn(transactions(Arc::clone(&host), parts.network.clone()));
    Ok(Started { host, done: tokio::spawn(worker.run()) })
}

/// Tells the worker of every block.
async fn blocks(worker: WorkerHandle, mut tip: watch::Receiver<Tip>) {
    while tip.changed().await.is_ok() {
        tip.borrow_and_update();
        worker.send(Input::Block);
    }
}

async fn subscribe(network: &Handle, topic: Topic) -> Option<mpsc::Receiver<parallax_network::Incoming>> {
    match network.subscribe(topic).await {
        Ok(incoming) => Some(incoming),
        Err(error) => {
            tracing::error!(%error, %topic, "network.not_subscribed");
            None
        }
    }
}

/// Proposals that peers gossip: signed by whom they name, they travel on; the worker checks the rest.
async fn proposals(worker: WorkerHandle, network: Handle, chain: Chain, id: ParaTimeId) {
    let Some(mut incoming) = subscribe(&network, Topic::Proposal(id)).await else { return };
    while let Some(message) = incoming.recv().await {
        let proposal = codec::decode::<SignedProposal>("proposal", &message.bytes, limits::MAX_TX_BYTES);
        match proposal {
            Ok(proposal) if proposal.verify(chain.context, id) => {
                message.verdict.accept();
                worker.send(Input::Proposal(Box::new(proposal)));
            }
            Ok(_) | Err(_) => message.verdict.reject(),
        }
    }
}

/// Transactions that peers gossip. Proofs were verified where they were submitted and are verified again by execution.
async fn transactions(host: Arc<ParaTimeHost>, network: Handle) {
    let Some(mut incoming) = subscribe(&network, Topic::ParaTimeTx(host.id)).await else { return };
    while let Some(message) = incoming.recv().await {
        match host.pool.submit(message.bytes, None) {
            Ok(_) => {
                message.verdict.accept();
                host.poke();
            }
            // This node's state may be behind or ahead of the sender's: nobody is blamed.
            Err(error) => {
                tracing::debug!(%error, "paratime.tx.not_taken");
                message.verdict.ignore();
            }
        }
    }
}
