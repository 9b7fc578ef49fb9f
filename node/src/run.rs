//! Composition: from a home directory to a running node.

use crate::chain::Chain;
use crate::consensus::{self, Submitter};
use crate::error::Refused;
use crate::kms::KmsService;
use crate::light;
use crate::paratime::{self, Parts, Started};
use crate::rpc::{self, Context, Identity, Services};
use crate::serve::Server;
use eyre::{Result, WrapErr as _, bail, eyre};
use parallax_consensus_app::Ledger;
use parallax_consensus_app::tx::Role;
use parallax_consensus_engine::embedded::{self, EngineConfig, EngineHandle};
use parallax_consensus_engine::{BlockStore, Pool, Shared};
use parallax_fhe::{Manifest, SecretKeys, TfheDecryptor};
use parallax_genesis::{Home, ParaTimeGenesis};
use parallax_kms::KeyManager;
use parallax_network::{Handle, Network, NetworkConfig, NetworkEvent, RequestHandler};
use parallax_primitives::Address;
use parallax_state::Database;
use parallax_store::RocksStore;
use parallax_worker::{FaultKind, WorkerError};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// How a node is started.
#[derive(Debug)]
pub struct RunOptions {
    /// The home directory.
    pub home: PathBuf,
    /// A fault, refused outside a localnet.
    pub fault: Option<FaultKind>,
}

/// Runs a node until it is told to end or cannot go on.
///
/// # Errors
/// [`Refused`] if machine, keys or configuration do not fit the chain; otherwise what went wrong.
pub async fn run(home: Home, fault: Option<FaultKind>) -> Result<()> {
    if let Some(fault) = fault {
        fault.allowed(home.genesis.consensus.parameters.localnet).map_err(|e| Refused::new(e.to_string()))?;
        tracing::warn!(%fault, "node.fault_injected");
    }
    let entity = entity_of(&home)?;
    let identity = Arc::new(Identity {
        node: home.keys.node(),
        entity,
        config: home.config.clone(),
        fault: fault.map(|f| f.to_string()),
    });
    if home.config.has(Role::KeyManager) {
        if home.config.roles.len() > 1 {
            bail!("a key manager runs alone: give the other roles of {} to a node of its own", home.config.moniker);
        }
        return key_manager(home, identity).await;
    }
    chain_node(home, identity, fault).await
}

fn entity_of(home: &Home) -> Result<Address> {
    let node = home.keys.node();
    let registered = home.genesis.consensus.nodes.iter().find(|n| n.descriptor.node == node);
    // A node that joined later is in the ledger, not in the document; its own address stands in for its entity.
    Ok(registered.map_or_else(|| Address::of(&node), |n| n.descriptor.entity))
}

fn address<T: std::str::FromStr>(field: &str, text: &str) -> Result<T>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|e| eyre!("config.json: {field}: {text:?} is no multiaddress: {e}"))
}

async fn network(home: &Home, handler: Arc<dyn RequestHandler>) -> Result<Handle> {
    let mut config = NetworkConfig::new(home.chain, home.keys.peer.clone());
    config.listen = address("network.listen", &home.config.network.listen)?;
    config.bootstrap = home.config.network.peers.iter().map(|p| address("network.peers", p)).collect::<Result<_>>()?;
    let (handle, events) = Network::spawn(config, handler).await?;
    tokio::spawn(log_peers(events));
    Ok(handle)
}

async fn log_peers(mut events: mpsc::Receiver<NetworkEvent>) {
    while let Some(event) = events.recv().await {
        match event {
            NetworkEvent::Connected { peer, agent } => tracing::info!(%peer, agent, "network.peer_connected"),
            NetworkEvent::Disconnected { peer } => tracing::info!(%peer, "network.peer_lost"),
            NetworkEvent::OtherChain { peer, theirs } => tracing::warn!(%peer, theirs, "network.peer_of_another_chain"),
            NetworkEvent::Banned { peer, duration } => {
                tracing::warn!(%peer, seconds = duration.as_secs(), "network.peer_banned");
            }
        }
    }
}

async fn engine(home: &Home, chain: &Chain, pool: &Arc<Pool<Ledger>>) -> Result<EngineHandle> {
    let parameters = &home.genesis.consensus.parameters;
    let mut config = EngineConfig::new(
        home.chain,
        home.data().join("engine"),
        home.keys.consensus.clone(),
        home.keys.peer.clone(),
        address("engine.listen", &home.config.engine.listen)?,
    );
    config.persistent_peers =
        home.config.engine.peers.iter().map(|p| address("engine.peers", p)).collect::<Result<_>>()?;
    config.role = if home.config.has(Role::Validator) { embedded::Role::Validator } else { embedded::Role::Full };
    config.block_interval = Duration::from_millis(parameters.block_interval_ms);
    config.max_clock_drift = Duration::from_millis(parameters.max_clock_drift_ms);
    config.moniker.clone_from(&home.config.moniker);
    let store = Arc::clone(chain.database.store());
    let mempool: Arc<dyn parallax_consensus_engine::Mempool> = Arc::clone(pool) as _;
    Ok(embedded::spawn(config, chain.ledger.clone(), store, mempool).await?)
}

/// Opens the database and the ledger on it.
fn open_chain(home: &Home) -> Result<Chain> {
    let store = RocksStore::open(home.data().join("state"))?;
    let database = Database::open(Arc::new(store))?;
    let keep = Some(home.config.kept_versions).filter(|n| *n > 0);
    let ledger = Ledger::new(database.clone(), home.genesis.consensus.clone(), home.chain)?.keep_versions(keep);
    let blocks = BlockStore::new(Arc::clone(database.store()));
    Ok(Chain {
        genesis: Arc::new(home.genesis.clone()),
        context: home.chain,
        database,
        ledger: Shared::new(ledger),
        blocks,
    })
}

async fn chain_node(home: Home, identity: Arc<Identity>, fault: Option<FaultKind>) -> Result<()> {
    let chain = open_chain(&home)?;
    let server = Server::default();
    let network = network(&home, Arc::new(server.clone())).await?;
    let pool = Arc::new(Pool::new(chain.ledger.clone()));
    let mut engine = engine(&home, &chain, &pool).await?;
    let submitter = Submitter::new(chain.clone(), pool, network.clone(), &home.keys);

    let mut hosts = BTreeMap::new();
    let mut workers = tokio::task::JoinSet::new();
    if home.config.has(Role::Compute) {
        let keys = keys_dir(&home)?;
        let parts = Parts {
            chain: &chain,
            submitter: &submitter,
            network: &network,
            key: &home.keys.consensus,
            keys: &keys,
            threads: usize::from(home.config.fhe_threads),
            fault,
        };
        for id in &home.config.paratimes {
            let (descriptor, genesis) = paratime_of(&home, id)?;
            let Started { host, done } = paratime::start(&parts, descriptor, genesis, engine.watch_tip()).await?;
            hosts.insert(*id, host);
            workers.spawn(done);
        }
    }
    let paratimes = Arc::new(hosts);
    server.start(chain.clone(), Arc::clone(&paratimes));

    tokio::spawn(submitter.clone().relay());
    tokio::spawn(submitter.clone().follow(engine.watch_tip()));
    if home.config.has(Role::Validator) {
        tokio::spawn(consensus::beacon(submitter.clone(), home.keys.clone(), engine.watch_tip()));
    }
    let context = Context { chain, submitter, network: network.clone(), paratimes, identity: Arc::clone(&identity) };
    let rpc = rpc::serve(&identity, Services::Chain(context)).await?;
    tracing::info!(moniker = identity.config.moniker, rpc = %identity.config.rpc.listen, "node.started");

    let outcome = tokio::select! {
        ended = engine.ended() => ended.wrap_err("the consensus engine ended"),
        Some(ended) = workers.join_next() => worker_ended(ended),
        signal = ending() => signal,
    };
    let _ = rpc.stop();
    if outcome.is_ok() {
        engine.stop().await?;
    }
    network.shutdown().await;
    outcome
}

type WorkerEnd = Result<Result<Result<(), WorkerError>, tokio::task::JoinError>, tokio::task::JoinError>;

fn worker_ended(ended: WorkerEnd) -> Result<()> {
    match ended {
        Ok(Ok(Err(error @ WorkerError::Crashed(..)))) => {
            // The fault asks for the end of a process that was given no chance to tidy up.
            tracing::warn!(%error, "node.crash_on_purpose");
            std::process::abort();
        }
        Ok(Ok(Err(error))) => Err(eyre!(error).wrap_err("a worker ended")),
        Ok(Ok(Ok(()))) => bail!("a worker ended by itself"),
        Ok(Err(error)) | Err(error) => Err(eyre!(error).wrap_err("a worker panicked")),
    }
}

fn paratime_of<'a>(
    home: &'a Home,
    id: &parallax_primitives::ParaTimeId,
) -> Result<(&'a parallax_consensus_app::genesis::ParaTimeDescriptor, &'a ParaTimeGenesis)> {
    let descriptor = home.genesis.consensus.paratimes.iter().find(|p| p.id == *id);
    let genesis = home.genesis.paratimes.iter().find(|p| p.id == *id);
    descriptor.zip(genesis).ok_or_else(|| {
        let text =
            format!("config.json: paratimes: the genesis document has no ParaTime {id}; remove it from the list");
        eyre!(Refused::new(text))
    })
}

fn keys_dir(home: &Home) -> Result<PathBuf> {
    let dir = home
        .config
        .keys
        .as_deref()
        .ok_or_else(|| eyre!("config.json: keys: the directory of the key set is missing"))?;
    Ok(home.resolve(dir))
}

async fn key_manager(home: Home, identity: Arc<Identity>) -> Result<()> {
    let [id] = home.config.paratimes.as_slice() else {
        bail!("config.json: paratimes: a key manager of this version serves exactly one ParaTime");
    };
    let (descriptor, genesis) = paratime_of(&home, id)?;
    let keys = keys_dir(&home)?;
    let manifest = Manifest::load(&keys)?;
    if manifest.key_id().0 != descriptor.key_set.0 {
        let (here, there) = (manifest.key_id(), descriptor.key_set);
        let text = format!("the key set in {} is {here}, ParaTime {id} uses {there}", keys.display());
        return Err(Refused::new(text).into());
    }
    let decryptor = TfheDecryptor::new(SecretKeys::load(&keys, &manifest)?);
    let party = identity.config.kms.as_ref().map_or(0, |k| k.party);
    let managers = genesis.managers.clone();
    let key = home.keys.consensus.clone();
    let manager = KeyManager::new(home.chain, *id, managers.clone(), party, key.clone(), vec![Arc::new(decryptor)])?;
    let light = light::from_genesis(&home.genesis)?;
    let network = network(&home, Arc::new(Server::default())).await?;
    let service = Arc::new(KmsService::new(manager, light, home.chain, key, network.clone()));
    tokio::spawn(Arc::clone(&service).run());
    let services = Services::KeyManager {
        service,
        identity: Arc::clone(&identity),
        chain: (home.genesis.consensus.chain_id.clone(), home.chain),
        network: network.clone(),
        managers,
        key_id: manifest.key_id(),
    };
    let rpc = rpc::serve(&identity, services).await?;
    let (moniker, listen) = (&identity.config.moniker, identity.config.rpc.listen);
    tracing::info!(moniker, rpc = %listen, mode = parallax_kms::designated::LABEL, "node.started");
    let outcome = ending().await;
    let _ = rpc.stop();
    network.shutdown().await;
    outcome
}

/// Resolves when the operator asks the node to end.
async fn ending() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    tracing::info!("node.ending");
    Ok(())
}

/// Opens a home directory.
///
/// # Errors
/// [`Refused`] if its files do not belong together.
pub fn open_home(path: &Path) -> Result<Home> {
    Home::open(path).map_err(|e| Refused::new(e.to_string()).into())
}
