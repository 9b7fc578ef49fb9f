//! Agreement between processes: Malachite (a Tendermint in Rust) linked into the node.
//!
//! [`spawn`] checks the home directory and the port, starts the library's actors on the caller's tokio runtime, and
//! one thread of its own that executes and commits (`host.rs`). Validators vote; a [`Role::Full`] node runs the same
//! code without a key, decides from the same gossip, and so follows within milliseconds. Who missed something catches
//! up by asking peers for decided blocks.

mod codec;
mod context;
mod home;
mod host;
mod journal;
mod parts;
mod signing;

use crate::driver::{CommittedBlock, Driver, Tip};
use crate::{EngineError, Mempool, Shared};
use context::{Address, Consensus};
use host::{Host, Setup};

use malachite::app::config::{ConsensusConfig, NodeConfig, ValueSyncConfig};
use malachite::app::types::Keypair;
use malachite::app::types::codec::Codec as _;
use malachite::{
    Channels, ConsensusContext, EngineBuilder, NetworkContext, NetworkIdentity, RequestContext, SyncContext, WalContext,
};
use malachite_core::LinearTimeouts;
use malachite_signing::Signer as _;
use parallax_consensus_app::{Application, ConsensusEvidence};
use parallax_primitives::{ChainContext, SecretKey};
use parallax_state::Store;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{broadcast, oneshot, watch};
use tokio::task::JoinHandle;

pub use malachite::app::net::Multiaddr;

/// Committed blocks kept for a subscriber that is slow; one that falls further behind reads them from the
/// [`crate::BlockStore`].
const COMMITTED_BUFFER: usize = 256;
/// Most blocks in one answer of value sync.
const MAX_SYNC_BATCH: usize = 16;
/// How long a stopping engine may take before its parts are left to themselves.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// Whether the node votes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Votes and proposes at every height whose validator set names its key.
    Validator,
    /// Follows, verifies and executes; signs nothing.
    Full,
}

/// How long to wait for others before moving on. Each grows by half with every further round of a height.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For a proposal.
    pub propose: Duration,
    /// For votes, once enough of either kind are here.
    pub vote: Duration,
}

impl Default for Timeouts {
    /// Two seconds and one: a busy machine that evaluates ciphertexts answers late, and a round given up costs more
    /// than waiting. They matter only when a validator is silent.
    fn default() -> Self {
        Self { propose: Duration::from_secs(2), vote: Duration::from_secs(1) }
    }
}

impl Timeouts {
    fn linear(self) -> LinearTimeouts {
        LinearTimeouts {
            propose: self.propose,
            propose_delta: self.propose / 2,
            prevote: self.vote,
            prevote_delta: self.vote / 2,
            precommit: self.vote,
            precommit_delta: self.vote / 2,
            rebroadcast: self.propose + self.vote * 2,
            max_timeout: (self.propose + self.vote) * 10,
        }
    }
}

/// How to run the engine.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// The chain; in every signature.
    pub chain: ChainContext,
    /// A directory of the engine's own: write-ahead log, lock, the chain's name. Made if it is missing.
    pub home: PathBuf,
    /// The consensus key. A full node needs one too, as its name; it signs nothing with it.
    pub key: SecretKey,
    /// The key of the libp2p identity.
    pub network_key: SecretKey,
    /// Where to listen: `/ip4/<address>/tcp/<port>` or `/ip6/...`, with a port of its own.
    pub listen: Multiaddr,
    /// Peers to stay connected to. At least those of a validator should name enough others that the graph of all
    /// nodes is connected; it is not discovered further.
    pub persistent_peers: Vec<Multiaddr>,
    /// Whether it votes.
    pub role: Role,
    /// From the start of one height to the start of the next, if agreement is faster.
    pub block_interval: Duration,
    /// How far a proposal's time may be ahead of this node's clock.
    pub max_clock_drift: Duration,
    /// How long to wait for silent validators.
    pub timeouts: Timeouts,
    /// How often peers tell each other their height: what a node that missed a block waits for at most.
    pub status_interval: Duration,
    /// A name for logs and metrics.
    pub moniker: String,
}

impl EngineConfig {
    /// A configuration with the usual timing: blocks every second, two seconds of drift, status every second.
    pub fn new(chain: ChainContext, home: PathBuf, key: SecretKey, network_key: SecretKey, listen: Multiaddr) -> Self {
        let moniker = key.public().short();
        Self {
            chain,
            home,
            key,
            network_key,
            listen,
            persistent_peers: Vec::new(),
            role: Role::Validator,
            block_interval: Duration::from_secs(1),
            max_clock_drift: Duration::from_secs(2),
            timeouts: Timeouts::default(),
            status_interval: Duration::from_secs(1),
            moniker,
        }
    }
}

/// A running engine. Dropping it stops the engine without waiting; [`EngineHandle::stop`] waits.
pub struct EngineHandle {
    committed: broadcast::Sender<Arc<CommittedBlock>>,
    evidence: broadcast::Sender<ConsensusEvidence>,
    tip: watch::Receiver<Tip>,
    stop: Option<oneshot::Sender<()>>,
    done: JoinHandle<Result<(), EngineError>>,
}

impl EngineHandle {
    /// Blocks committed from now on, each once and in order. A receiver that lags by more than 256 blocks is told so.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<CommittedBlock>> {
        self.committed.subscribe()
    }

    /// Double signs that this node sees from now on.
    pub fn evidence(&self) -> broadcast::Receiver<ConsensusEvidence> {
        self.evidence.subscribe()
    }

    /// The last committed height.
    pub fn tip(&self) -> Tip {
        *self.tip.borrow()
    }

    /// The last committed height, to wait on.
    pub fn watch_tip(&self) -> watch::Receiver<Tip> {
        self.tip.clone()
    }

    /// Waits until the engine ends by itself, which it only does on an error. Safe to cancel.
    ///
    /// # Errors
    /// What ended it.
    pub async fn ended(&mut self) -> Result<(), EngineError> {
        joined((&mut self.done).await)
    }

    /// Stops it and waits until port, lock and log are free.
    ///
    /// # Errors
    /// What ended it before.
    pub async fn stop(mut self) -> Result<(), EngineError> {
        drop(self.stop.take());
        joined((&mut self.done).await)
    }
}

fn joined(result: Result<Result<(), EngineError>, tokio::task::JoinError>) -> Result<(), EngineError> {
    result.unwrap_or_else(|e| Err(EngineError::Library(format!("its supervisor failed: {e}"))))
}

pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Starts an engine on the current tokio runtime, with the genesis state if the store is empty. Two worker threads
/// are enough for it. `store` must be the one to which `app` commits.
///
/// # Errors
/// If the home directory is locked, unusable or another chain's, if the port is taken, or if the state fails.
pub async fn spawn<A: Application + Sync + 'static>(
    config: EngineConfig,
    app: Shared<A>,
    store: Arc<dyn Store>,
    mempool: Arc<dyn Mempool>,
) -> Result<EngineHandle, EngineError> {
    let address = home::check_listen(&config.listen)?;
    let home = home::Home::open(&config.home, config.chain)?;
    let driver = Driver::open(app, Arc::clone(&store))?;
    let (channels, library) = start_library(&config, &home).await?;

    let (committed, _) = broadcast::channel(COMMITTED_BUFFER);
    let (evidence, _) = broadcast::channel(COMMITTED_BUFFER);
    let (tip_sender, tip) = watch::channel(driver.tip());
    let setup = Setup {
        chain: config.chain,
        me: config.key.public(),
        key: (config.role == Role::Validator).then(|| config.key.clone()),
        timeouts: config.timeouts.linear(),
        block_interval: config.block_interval,
        max_clock_drift: config.max_clock_drift,
        mempool,
        committed: committed.clone(),
        evidence: evidence.clone(),
        tip: tip_sender,
    };
    let host = match Host::open(setup, driver, journal::Journal::new(store), channels.network.clone()) {
        Ok(host) => host,
        Err(error) => {
            stop_library(&library).await;
            return Err(error);
        }
    };
    let (ended, end) = oneshot::channel();
    let thread = std::thread::Builder::new().name("consensus-host".into()).spawn(move || {
        let _ = ended.send(host.run(channels));
    });
    if let Err(e) = thread {
        stop_library(&library).await;
        return Err(EngineError::Library(format!("its host thread did not start: {e}")));
    }
    let (stop, stopped) = oneshot::channel();
    let done = tokio::spawn(supervise(library, end, stopped, home, address));
    Ok(EngineHandle { committed, evidence, tip, stop: Some(stop), done })
}

/// Waits for the host or for the order to stop, then stops the rest and frees what is shared with the outside.
async fn supervise(
    library: malachite::EngineHandle,
    mut end: oneshot::Receiver<Result<(), EngineError>>,
    stopped: oneshot::Receiver<()>,
    home: home::Home,
    address: std::net::SocketAddr,
) -> Result<(), EngineError> {
    let outcome = tokio::select! {
        // The host only ends by itself on an error, or because the library closed its channel.
        ended = &mut end => match ended {
            Ok(Err(error)) => Err(error),
            Ok(Ok(())) | Err(_) => Err(EngineError::Stopped),
        },
        _ = stopped => Ok(()),
    };
    if let Err(error) = &outcome {
        tracing::error!(%error, "engine.stopped");
    }
    stop_library(&library).await;
    let outcome = match outcome {
        Ok(()) => match tokio::time::timeout(STOP_LIMIT, end).await {
            Ok(Ok(ended)) => ended,
            Ok(Err(_)) | Err(_) => Err(EngineError::Stopped),
        },
        failed => failed,
    };
    home.wait_until_free(address, STOP_LIMIT).await;
    outcome
}

async fn stop_library(library: &malachite::EngineHandle) {
    let reason = Some("the node stops".to_owned());
    let cell = library.actor.get_cell();
    cell.stop_children_and_wait(reason.clone(), Some(STOP_LIMIT)).await;
    if let Err(e) = cell.stop_and_wait(reason, Some(STOP_LIMIT)).await {
        tracing::debug!(error = %e, "the consensus library had stopped before");
    }
}

#[derive(Clone)]
struct Library {
    moniker: String,
    consensus: ConsensusConfig,
    sync: ValueSyncConfig,
}

impl NodeConfig for Library {
    fn moniker(&self) -> &str {
        &self.moniker
    }

    fn consensus(&self) -> &ConsensusConfig {
        &self.consensus
    }

    fn consensus_mut(&mut self) -> &mut ConsensusConfig {
        &mut self.consensus
    }

    fn value_sync(&self) -> &ValueSyncConfig {
        &self.sync
    }

    fn value_sync_mut(&mut self) -> &mut ValueSyncConfig {
        &mut self.sync
    }
}

fn library_config(config: &EngineConfig, loopback: bool) -> Library {
    let mut consensus = ConsensusConfig::default();
    consensus.p2p.listen_addr = config.listen.clone();
    consensus.p2p.persistent_peers = config.persistent_peers.clone();
    if loopback {
        // Every node of a local network has the same address, so limits for each address would keep them apart.
        consensus.p2p.discovery.max_connections_per_ip = 1024;
        consensus.p2p.discovery.ip_throttle_duration = Duration::ZERO;
    }
    let sync = ValueSyncConfig {
        status_update_interval: config.status_interval,
        request_timeout: Duration::from_secs(5),
        batch_size: MAX_SYNC_BATCH,
        ..ValueSyncConfig::default()
    };
    Library { moniker: config.moniker.clone(), consensus, sync }
}

/// Starts the library's actors.
async fn start_library(
    config: &EngineConfig,
    home: &home::Home,
) -> Result<(Channels<Consensus>, malachite::EngineHandle), EngineError> {
    let library = |e: &dyn std::fmt::Display| EngineError::Library(e.to_string());
    let keypair = Keypair::ed25519_from_bytes(*config.network_key.to_seed()).map_err(|e| library(&e))?;
    let me = Address(config.key.public());
    let verify = signing::Verify { chain: config.chain };
    let (identity, consensus) = match config.role {
        Role::Full => (
            NetworkIdentity::new(config.moniker.clone(), keypair, None),
            ConsensusContext::new_full_node(me, Box::new(verify)),
        ),
        Role::Validator => {
            let sign = signing::Sign { chain: config.chain, key: config.key.clone() };
            let peer = keypair.public().to_peer_id().to_bytes();
            let proof = sign.sign_validator_proof(me.0.0.to_vec(), peer).await.map_err(|e| library(&e))?;
            let proof = codec::Borsh.encode(&proof).map_err(|e| library(&e))?;
            let identity = NetworkIdentity::new_validator(config.moniker.clone(), keypair, me.to_string(), proof);
            (identity, ConsensusContext::new_validator(me, Box::new(verify), Box::new(sign)))
        }
    };
    let loopback = home::check_listen(&config.listen)?.ip().is_loopback();
    let path = home.wal();
    EngineBuilder::new(Consensus, library_config(config, loopback))
        .with_default_wal(WalContext::new(path.clone(), codec::Borsh))
        .with_default_network(NetworkContext::new(identity, codec::Borsh))
        .with_default_consensus(consensus)
        .with_default_sync(SyncContext::new(codec::Borsh))
        .with_default_request(RequestContext::new(16))
        .build()
        .await
        .map_err(|e| EngineError::Library(format!("{e:#}; its write-ahead log is {}", path.display())))
}
