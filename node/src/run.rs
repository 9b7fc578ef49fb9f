//! Composition: from a home directory to a running node.

use crate::chain::Chain;
use crate::consensus::{self, Submitter};
use crate::error::Refused;
use crate::ethereum;
use crate::fault::CorruptBlobs;
use crate::kms::{ContractService, Follower, GrantService, KmsService, Served, Service};
use crate::light;
use crate::paratime::{self, FheResources, ParaTimeHost, Parts};
use crate::rpc::{self, Context, Identity, Kms, Services};
use crate::serve::Server;
use eyre::{Result, WrapErr as _, bail, eyre};
use jsonrpsee::server::ServerHandle;
use parallax_consensus_app::Ledger;
use parallax_consensus_app::tx::Role;
use parallax_consensus_engine::embedded::{self, EngineConfig, EngineHandle};
use parallax_consensus_engine::{BlockStore, EngineError, Pool, Shared, Tip};
use parallax_fhe::{BackendKind, Manifest, SecretKeys, TfheDecryptor};
use parallax_genesis::config::ServedParaTime;
use parallax_genesis::{Home, ParaTimeGenesis};
use parallax_kms::{EvmKeyManager, KeyManager};
use parallax_network::{Handle, Network, NetworkConfig, NetworkError, NetworkEvent, RequestHandler};
use parallax_primitives::{Address, KeyId, ParaTimeId};
use parallax_runtime::Decryptor;
use parallax_runtime::decryption::KeyManagers;
use parallax_state::Database;
use parallax_store::RocksStore;
use parallax_worker::{Fault, FaultKind, WorkerError};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::{Id, JoinSet};

/// How long tasks have to end when the node does, before they are aborted.
const TASKS_END: Duration = Duration::from_secs(5);

/// What runs for as long as the node does. A node with a part that stands still looks well and is not, so one that
/// ends or panics ends the node.
#[derive(Default)]
pub struct Tasks {
    set: JoinSet<Result<()>>,
    names: HashMap<Id, String>,
}

impl Tasks {
    /// Starts one.
    pub fn spawn(&mut self, name: impl Into<String>, task: impl Future<Output = Result<()>> + Send + 'static) {
        let id = self.set.spawn(task).id();
        self.names.insert(id, name.into());
    }

    /// Waits until one ends, and says which and why. Safe to cancel.
    pub async fn ended(&mut self) -> eyre::Report {
        let Some(ended) = self.set.join_next_with_id().await else { return std::future::pending().await };
        let (id, error) = match ended {
            Ok((id, Ok(()))) => (id, None),
            Ok((id, Err(error))) => (id, Some(error)),
            Err(panic) => (panic.id(), Some(eyre!(panic))),
        };
        let name = self.names.remove(&id).unwrap_or_default();
        match error {
            Some(error) => error.wrap_err(format!("the task `{name}` ended")),
            None => eyre!("the task `{name}` ended by itself"),
        }
    }

    /// Waits until all have ended, and aborts what has not after a while.
    pub async fn stop(mut self, limit: Duration) {
        let all = async { while self.set.join_next().await.is_some() {} };
        if tokio::time::timeout(limit, all).await.is_err() {
            self.set.shutdown().await;
        }
    }
}

/// The operator's wish that the node end. It is noticed from the moment this is made, however long the node starts.
struct Ending {
    term: Signal,
    int: Signal,
}

impl Ending {
    fn install() -> Result<Self> {
        Ok(Self { term: signal(SignalKind::terminate())?, int: signal(SignalKind::interrupt())? })
    }

    /// Resolves when the operator asks the node to end.
    async fn wished(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
        tracing::info!("node.ending");
    }
}

/// Runs a node until it is told to end or cannot go on.
///
/// # Errors
/// [`Refused`] if machine, keys or configuration do not fit the chain; otherwise what went wrong.
pub async fn run(home: Home, fault: Option<Fault>) -> Result<()> {
    if let Some(fault) = fault {
        fault.allowed(home.genesis.consensus.parameters.localnet).map_err(|e| Refused::new(e.to_string()))?;
        tracing::warn!(%fault, "node.fault_injected");
    }
    let ending = Ending::install()?;
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
        return key_manager(home, identity, ending).await;
    }
    chain_node(home, identity, fault, ending).await
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

async fn network(home: &Home, handler: Arc<dyn RequestHandler>, tasks: &mut Tasks) -> Result<Handle> {
    let mut config = NetworkConfig::new(home.chain, home.keys.peer.clone());
    config.listen = address("network.listen", &home.config.network.listen)?;
    config.bootstrap = home.config.network.peers.iter().map(|p| address("network.peers", p)).collect::<Result<_>>()?;
    let (handle, events) = Network::spawn(config, handler).await.map_err(|e| match e {
        NetworkError::PortInUse { .. } => eyre!(Refused::new(e.to_string())),
        other => eyre!(other),
    })?;
    tasks.spawn("network", log_peers(events));
    Ok(handle)
}

async fn log_peers(mut events: mpsc::Receiver<NetworkEvent>) -> Result<()> {
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
    Ok(())
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
    embedded::spawn(config, chain.ledger.clone(), store, mempool).await.map_err(|e| match e {
        EngineError::Listen { .. } | EngineError::OtherChain { .. } => eyre!(Refused::new(e.to_string())),
        other => eyre!(other),
    })
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

/// What a node has started, to be stopped with it.
#[derive(Default)]
struct Running {
    hosts: BTreeMap<ParaTimeId, Arc<ParaTimeHost>>,
    tasks: Tasks,
    rpc: Option<ServerHandle>,
    ethereum: Option<ServerHandle>,
}

async fn chain_node(home: Home, identity: Arc<Identity>, fault: Option<Fault>, mut ending: Ending) -> Result<()> {
    let chain = open_chain(&home)?;
    let server = Server::default();
    let mut running = Running::default();
    let handler: Arc<dyn RequestHandler> = match fault.map(|fault| fault.kind) {
        Some(FaultKind::CorruptBlob) => Arc::new(CorruptBlobs(server.clone())),
        _ => Arc::new(server.clone()),
    };
    let network = network(&home, handler, &mut running.tasks).await?;
    let pool = Arc::new(Pool::new(chain.ledger.clone()));
    let mut engine = engine(&home, &chain, &pool).await?;
    let submitter = Submitter::new(chain.clone(), pool, network.clone(), &home.keys);
    let context = Context { chain, submitter, network: network.clone(), paratimes: Arc::default(), identity };

    let tip = engine.watch_tip();
    let mut engine_ended = false;
    let outcome = tokio::select! {
        biased;
        () = ending.wished() => Ok(()),
        ended = engine.ended() => {
            engine_ended = true;
            ended.wrap_err("the consensus engine ended")
        }
        ended = serve(&home, context, server, fault, tip, &mut running) => ended,
    };
    for server in [running.rpc, running.ethereum].into_iter().flatten() {
        // It fails only if the server has ended already.
        let _ = server.stop();
    }
    running.hosts.values().for_each(|host| host.stop());
    let stopped = if engine_ended { Ok(()) } else { engine.stop().await };
    network.shutdown().await;
    running.tasks.stop(TASKS_END).await;
    outcome?;
    Ok(stopped?)
}

/// Starts ParaTimes, gossip and RPC, and runs until a part of that ends.
async fn serve(
    home: &Home,
    mut context: Context,
    server: Server,
    fault: Option<Fault>,
    tip: watch::Receiver<Tip>,
    running: &mut Running,
) -> Result<()> {
    let Running { hosts, tasks, rpc, ethereum: ethereum_rpc } = running;
    let submitter = &context.submitter;
    if home.config.has(Role::Compute) {
        let threads = usize::from(home.config.fhe_threads);
        let backends = backends(home)?;
        let fhe = Arc::new(FheResources::new(threads, home.config.paratimes.len(), &backends, fault)?);
        let parts = Parts {
            chain: &context.chain,
            submitter,
            network: &context.network,
            key: &home.keys.consensus,
            fhe: &fhe,
            fault,
        };
        for ServedParaTime { id, keys } in &home.config.paratimes {
            let (descriptor, genesis) = paratime_of(home, id)?;
            let keys = home.resolve(keys);
            hosts.insert(*id, paratime::start(&parts, descriptor, genesis, &keys, tip.clone(), tasks).await?);
        }
    }
    let (relay, follow) = (submitter.clone().relay(), submitter.clone().follow(tip.clone()));
    tasks.spawn("relay", done(relay));
    tasks.spawn("follow", done(follow));
    if home.config.has(Role::Validator) {
        tasks.spawn("beacon", done(consensus::beacon(submitter.clone(), home.keys.clone(), tip)));
    }
    context.paratimes = Arc::new(hosts.clone());
    server.start(context.chain.clone(), Arc::clone(&context.paratimes));
    if let Some(config) = &home.config.ethereum {
        let host = hosts.get(&config.paratime).cloned();
        let host =
            host.ok_or_else(|| eyre!("config.json: ethereum.paratime: {} does not run here", config.paratime))?;
        let localnet = home.genesis.consensus.parameters.localnet;
        *ethereum_rpc = Some(ethereum::serve(config, host, localnet, tasks).await?);
        tracing::info!(listen = %config.listen, paratime = %config.paratime, "ethereum.started");
    }
    let identity = Arc::clone(&context.identity);
    *rpc = Some(rpc::serve(&identity, Services::Chain(Box::new(context))).await?);
    tracing::info!(moniker = identity.config.moniker, rpc = %identity.config.rpc.listen, "node.started");
    Err(crash_on_purpose(tasks.ended().await))
}

/// A task that has no errors of its own.
async fn done(task: impl Future<Output = ()>) -> Result<()> {
    task.await;
    Ok(())
}

fn crash_on_purpose(error: eyre::Report) -> eyre::Report {
    if let Some(WorkerError::Crashed(..)) = error.downcast_ref::<WorkerError>() {
        // The fault asks for the end of a process that was given no chance to tidy up.
        tracing::warn!(%error, "node.crash_on_purpose");
        // As `kill -9` would end it.
        let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
        std::process::abort();
    }
    error
}

/// The FHE backends of the node's ParaTimes. One that this program has not is refused where its ParaTime starts.
fn backends(home: &Home) -> Result<BTreeSet<BackendKind>> {
    let profiles =
        home.config.paratimes.iter().map(|served| paratime_of(home, &served.id).map(|(_, genesis)| &genesis.profile));
    profiles.filter_map(|p| p.map(BackendKind::of).transpose()).collect()
}

fn paratime_of<'a>(
    home: &'a Home,
    id: &ParaTimeId,
) -> Result<(&'a parallax_consensus_app::genesis::ParaTimeDescriptor, &'a ParaTimeGenesis)> {
    let descriptor = home.genesis.consensus.paratimes.iter().find(|p| p.id == *id);
    let genesis = home.genesis.paratimes.iter().find(|p| p.id == *id);
    descriptor.zip(genesis).ok_or_else(|| {
        let text =
            format!("config.json: paratimes: the genesis document has no ParaTime {id}; remove it from the list");
        eyre!(Refused::new(text))
    })
}

async fn key_manager(home: Home, identity: Arc<Identity>, mut ending: Ending) -> Result<()> {
    let mut tasks = Tasks::default();
    let mut running = None;
    let outcome = tokio::select! {
        biased;
        () = ending.wished() => Ok(()),
        ended = manage_keys(&home, identity, &mut tasks, &mut running) => ended,
    };
    if let Some((network, rpc)) = running {
        // It fails only if the server has ended already.
        let _ = rpc.stop();
        network.shutdown().await;
    }
    // The service asks peers for ever; it holds nothing that must be finished.
    tasks.stop(Duration::ZERO).await;
    outcome
}

/// The pure core of a key manager of one ParaTime, by what it answers.
enum Core {
    Grants(Box<KeyManager>),
    Contracts(Box<EvmKeyManager>),
}

/// The key manager of one ParaTime, with its own key set.
async fn key_manager_of(home: &Home, served: &ServedParaTime) -> Result<(ParaTimeId, Core, KeyManagers, KeyId)> {
    let id = served.id;
    let (descriptor, genesis) = paratime_of(home, &id)?;
    let keys = home.resolve(&served.keys);
    let manifest = Manifest::load(&keys)?;
    if manifest.key_id().0 != descriptor.key_set.0 {
        let (here, there) = (manifest.key_id(), descriptor.key_set);
        let text = format!("the key set in {} is {here}, ParaTime {id} uses {there}", keys.display());
        return Err(Refused::new(text).into());
    }
    let key_id = manifest.key_id();
    let secret = tokio::task::spawn_blocking(move || SecretKeys::load(&keys, &manifest)).await??;
    let decryptor: Arc<dyn Decryptor> = Arc::new(TfheDecryptor::new(secret));
    let party = home.config.kms.as_ref().map_or(0, |k| k.party);
    let (managers, key) = (genesis.managers.clone(), home.keys.consensus.clone());
    let manager = KeyManager::new(home.chain, id, managers.clone(), party, key, vec![decryptor])?;
    let core = if descriptor.kind == parallax_evm::KIND {
        let parameters: parallax_evm::params::Genesis = serde_json::from_value(genesis.parameters.clone())
            .wrap_err_with(|| format!("the genesis document's parameters of ParaTime {id} are not an EVM's"))?;
        let manager = EvmKeyManager::new(manager, &parameters.params, home.keys.ethereum.clone())?;
        Core::Contracts(Box::new(manager))
    } else {
        Core::Grants(Box::new(manager))
    };
    Ok((id, core, managers, key_id))
}

async fn manage_keys(
    home: &Home,
    identity: Arc<Identity>,
    tasks: &mut Tasks,
    running: &mut Option<(Handle, ServerHandle)>,
) -> Result<()> {
    let light = light::from_genesis(&home.genesis)?;
    let mut cores = Vec::new();
    for served in &home.config.paratimes {
        cores.push(key_manager_of(home, served).await?);
    }
    let Some(first) = home.config.paratimes.first().map(|served| served.id) else {
        bail!("config.json: paratimes: a key manager serves at least one ParaTime");
    };
    let network = network(home, Arc::new(Server::default()), tasks).await?;
    let follower = Arc::new(Follower::new(light, network.clone()).with_memory(home.data()));
    let mut served = BTreeMap::new();
    for (id, core, managers, key_id) in cores {
        let service = match core {
            Core::Grants(core) => {
                let (key, follower) = (home.keys.consensus.clone(), Arc::clone(&follower));
                let service = Arc::new(GrantService::new(*core, home.chain, key, follower));
                tasks.spawn(format!("key manager of {}", id.short()), done(Arc::clone(&service).run()));
                Service::Grants(service)
            }
            Core::Contracts(core) => Service::Contracts(Arc::new(ContractService::new(*core, Arc::clone(&follower)))),
        };
        served.insert(id, Served { service, managers, key_id });
    }
    let following = Arc::clone(&follower);
    tasks.spawn("light client", async move {
        following.run(first).await;
        Ok(())
    });
    let kms = Kms {
        service: KmsService { served, follower },
        identity: Arc::clone(&identity),
        chain: (home.genesis.consensus.chain_id.clone(), home.chain),
        network: network.clone(),
        signer: home.keys.ethereum.address(),
    };
    let rpc = rpc::serve(&identity, Services::KeyManager(Box::new(kms))).await?;
    *running = Some((network, rpc));
    let (moniker, listen) = (&identity.config.moniker, identity.config.rpc.listen);
    tracing::info!(moniker, rpc = %listen, mode = parallax_kms::designated::LABEL, "node.started");
    Err(tasks.ended().await)
}

/// Opens a home directory.
///
/// # Errors
/// [`Refused`] if its files do not belong together.
pub fn open_home(path: &Path) -> Result<Home> {
    Home::open(path).map_err(|e| Refused::new(e.to_string()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_ends_fails_or_panics_is_named() {
        let mut tasks = Tasks::default();
        tasks.spawn("endless", std::future::pending());
        tasks.spawn("short", done(async {}));
        assert_eq!(tasks.ended().await.to_string(), "the task `short` ended by itself");
        tasks.spawn("failing", async { Err(eyre!("no subscription")) });
        assert_eq!(format!("{:#}", tasks.ended().await), "the task `failing` ended: no subscription");
        tasks.spawn("panicking", done(async { panic!("on purpose") }));
        assert!(tasks.ended().await.to_string().contains("`panicking`"));
        // The endless one is aborted, or this would not return.
        tasks.stop(Duration::ZERO).await;
    }
}
