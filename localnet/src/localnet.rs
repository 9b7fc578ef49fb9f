//! A running localnet: what the command line, the demonstration and the tests drive.

use crate::error::LocalnetError;
use crate::fixture::{FaultSpec, Fixture, ParaTimeKind};
use crate::keys::KeySet;
use crate::links::Links;
use crate::plan::{self, Account, Plan, PlannedNode};
use crate::state::{self, NodePhase, NodeState, SupervisorState};
use crate::supervisor::{Notice, Notify, Order, Runner, Shared, TAIL_LINES};
use crate::{lifeline, process};
use parallax_fhe::BackendKind;
use parallax_rpc::{Client, NodeApiClient as _};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// Where a localnet lives unless told otherwise.
pub const DEFAULT_DIR: &str = ".parallax/localnet";
/// How long nodes may take to be ready, unless told otherwise.
pub const READY_TIMEOUT: Duration = Duration::from_secs(120);
/// How often a node is asked whether it is ready.
const POLL: Duration = Duration::from_millis(200);
/// Orders to a process that may wait.
const ORDERS: usize = 8;
/// How long one such question may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// How a localnet is started.
#[derive(Clone)]
pub struct StartOptions {
    /// Its directory; made if it is not there.
    pub dir: PathBuf,
    /// Whether a localnet that is there is replaced.
    pub fresh: bool,
    /// The node's program; it is run as `PROGRAM node run --home DIR --supervised [--fault KIND]`.
    pub program: PathBuf,
    /// Faults, at most one a node.
    pub faults: Vec<FaultSpec>,
    /// The key sets of ParaTimes; those not given are obtained from the cache or made.
    pub keys: BTreeMap<ParaTimeKind, KeySet>,
    /// How long nodes may take to be ready.
    pub ready_timeout: Duration,
    /// Told what happens.
    pub notify: Notify,
}

impl StartOptions {
    /// A localnet in this directory, run by this very program, without faults.
    ///
    /// # Errors
    /// If the system does not tell the program's path.
    pub fn new(dir: &Path) -> Result<Self, LocalnetError> {
        let program = std::env::current_exe().map_err(crate::error::io("find", Path::new("this program")))?;
        Ok(Self {
            dir: dir.to_owned(),
            fresh: false,
            program,
            faults: Vec::new(),
            keys: BTreeMap::new(),
            ready_timeout: READY_TIMEOUT,
            notify: Arc::new(|_| {}),
        })
    }
}

/// Starts localnets.
#[derive(Debug)]
pub struct Localnet;

/// A running localnet. Dropping it kills its processes; [`Running::stop`] ends them in order.
pub struct Running {
    plan: Plan,
    faults: Vec<FaultSpec>,
    ready_timeout: Duration,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    orders: Vec<(String, mpsc::Sender<Order>)>,
    links: Option<Arc<Links>>,
    tasks: JoinSet<()>,
}

impl Localnet {
    /// Starts a network and waits until it is ready.
    ///
    /// # Errors
    /// [`LocalnetError`]; then no process is left.
    pub async fn start(fixture: Fixture, options: StartOptions) -> Result<Running, LocalnetError> {
        let running = Self::launch(fixture, options).await?;
        match running.wait_ready().await {
            Ok(()) => Ok(running),
            Err(error) => {
                running.stop().await;
                Err(error)
            }
        }
    }

    /// Starts the processes of a network and returns at once.
    ///
    /// # Errors
    /// If the fixture or a fault cannot work, a localnet runs in the directory already, keys or files cannot be made,
    /// or a port is taken.
    pub async fn launch(fixture: Fixture, options: StartOptions) -> Result<Running, LocalnetError> {
        let plan = Self::prepare(&fixture, &options).await?;
        check_faults(&plan, &options.faults)?;
        let shared = Shared::new(plan.dir.clone(), &plan.nodes, Arc::clone(&options.notify))?;
        state::save_pid(&plan.dir, std::process::id())?;
        let (stop, stopped) = watch::channel(false);
        let (mut tasks, mut orders) = (JoinSet::new(), Vec::new());
        let links = if plan.fixture.links { Some(Arc::new(Links::start(&plan.nodes).await?)) } else { None };
        let islands = isolations(&options.faults)?;
        if let Some(links) = links.clone().filter(|_| !islands.is_empty()) {
            tasks.spawn(isolate(plan.clone(), links, islands, stopped.clone()));
        }
        for node in &plan.nodes {
            let (sender, receiver) = mpsc::channel(ORDERS);
            orders.push((node.name.clone(), sender));
            let runner = Runner {
                shared: Arc::clone(&shared),
                node: node.clone(),
                program: options.program.clone(),
                fault: of_node(&options.faults, &node.name)?,
                orders: receiver,
                down: false,
                stop: stopped.clone(),
            };
            tasks.spawn(runner.run());
        }
        let ready_timeout = options.ready_timeout;
        Ok(Running { plan, faults: options.faults, ready_timeout, shared, stop, orders, links, tasks })
    }

    /// Makes or finds keys and files, and starts nothing.
    ///
    /// # Errors
    /// As for [`Localnet::launch`].
    pub async fn prepare(fixture: &Fixture, options: &StartOptions) -> Result<Plan, LocalnetError> {
        let isolates = !isolations(&options.faults)?.is_empty();
        let fixture = &Fixture { links: fixture.links || isolates, ..fixture.clone() };
        fixture.check()?;
        if let Some(living) = SupervisorState::of_living(&options.dir) {
            return Err(LocalnetError::Running { dir: options.dir.clone(), pid: living.pid });
        }
        let mut keys = BTreeMap::new();
        for kind in fixture.paratimes.iter().copied() {
            let set = match options.keys.get(&kind).cloned() {
                Some(set) => set,
                None => obtain_keys(kind, fixture.backend).await?,
            };
            keys.insert(kind, set);
        }
        plan::prepare(&options.dir, fixture, &keys, options.fresh)
    }
}

async fn obtain_keys(paratime: ParaTimeKind, backend: BackendKind) -> Result<KeySet, LocalnetError> {
    match tokio::task::spawn_blocking(move || KeySet::obtain(None, paratime, backend)).await {
        Ok(result) => result,
        Err(error) => Err(LocalnetError::Keys { dir: PathBuf::from("the cache"), reason: error.to_string() }),
    }
}

fn check_faults(plan: &Plan, faults: &[FaultSpec]) -> Result<(), LocalnetError> {
    for (i, fault) in faults.iter().enumerate() {
        if plan.node(&fault.node).is_none() {
            let known: Vec<&str> = plan.nodes.iter().map(|n| n.name.as_str()).collect();
            return Err(LocalnetError::UnknownNode { node: fault.node.clone(), known: known.join(", ") });
        }
        if faults[..i].iter().any(|other| other.node == fault.node) {
            return Err(LocalnetError::BadFixture {
                field: "--fault",
                reason: format!("{} has two faults; give a node at most one", fault.node),
            });
        }
    }
    Ok(())
}

/// A node that is cut off from one height on and until another.
type Isolation = (String, u64, u64);

fn isolations(faults: &[FaultSpec]) -> Result<Vec<Isolation>, LocalnetError> {
    let mut all = Vec::new();
    for fault in faults {
        all.extend(fault.isolation()?.map(|(from, until)| (fault.node.clone(), from, until)));
    }
    Ok(all)
}

/// The fault that the node itself is started with.
fn of_node(faults: &[FaultSpec], name: &str) -> Result<Option<String>, LocalnetError> {
    let Some(fault) = faults.iter().find(|f| f.node == name) else { return Ok(None) };
    Ok(fault.isolation()?.is_none().then(|| fault.kind.clone()))
}

/// Follows the chain by any node that is ahead, and cuts nodes off when it is time.
async fn isolate(plan: Plan, links: Arc<Links>, islands: Vec<Isolation>, mut stop: watch::Receiver<bool>) {
    let mut cut = BTreeSet::new();
    loop {
        let mut height = 0;
        for node in &plan.nodes {
            if let Ok(client) = Client::with_timeout(&node.rpc_url(), ASK_TIMEOUT)
                && let Ok(health) = client.health().await
            {
                height = height.max(health.height.0);
            }
        }
        let due = islands.iter().filter(|(_, from, until)| (*from..*until).contains(&height));
        let due: BTreeSet<String> = due.map(|(node, ..)| node.clone()).collect();
        // Nothing is heard of a network that has just ended.
        if due != cut && height > 0 {
            tracing::warn!(height, nodes = ?due, "localnet.isolated");
            links.isolate(due.clone());
            cut = due;
        }
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

impl Running {
    /// What runs.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Names and RPC URLs, validators first.
    pub fn endpoints(&self) -> Vec<(String, String)> {
        self.plan.nodes.iter().map(|n| (n.name.clone(), n.rpc_url())).collect()
    }

    /// The funded accounts.
    pub fn accounts(&self) -> &[Account] {
        &self.plan.accounts
    }

    /// The genesis document's path.
    pub fn genesis(&self) -> PathBuf {
        self.plan.genesis()
    }

    /// The nodes as they stand.
    pub fn nodes(&self) -> Vec<NodeState> {
        self.shared.nodes()
    }

    /// A client for a node.
    ///
    /// # Errors
    /// If there is no such node.
    pub fn client(&self, name: &str) -> Result<Client, LocalnetError> {
        let node = self.planned(name)?;
        Client::new(&node.rpc_url()).map_err(|e| LocalnetError::BadFixture { field: "rpc", reason: e.to_string() })
    }

    fn planned(&self, name: &str) -> Result<&PlannedNode, LocalnetError> {
        self.plan.node(name).ok_or_else(|| LocalnetError::UnknownNode {
            node: name.to_owned(),
            known: self.plan.nodes.iter().map(|n| n.name.as_str()).collect::<Vec<_>>().join(", "),
        })
    }

    /// Kills a node's process (SIGKILL). It is started again like one that died.
    ///
    /// # Errors
    /// If there is no such node.
    pub fn kill(&self, name: &str) -> Result<(), LocalnetError> {
        self.order(name, Order::Kill)
    }

    /// Kills a node's process (SIGKILL) and keeps it down until [`Running::up`].
    ///
    /// # Errors
    /// If there is no such node.
    pub fn down(&self, name: &str) -> Result<(), LocalnetError> {
        self.order(name, Order::Down)
    }

    /// Starts a node again that [`Running::down`] ended.
    ///
    /// # Errors
    /// If there is no such node.
    pub fn up(&self, name: &str) -> Result<(), LocalnetError> {
        self.order(name, Order::Up)
    }

    fn order(&self, name: &str, order: Order) -> Result<(), LocalnetError> {
        self.planned(name)?;
        if let Some((_, sender)) = self.orders.iter().find(|(node, _)| node == name) {
            // A full queue holds orders that have not been carried out yet; a closed one, a node that has ended.
            let _ = sender.try_send(order);
        }
        Ok(())
    }

    /// Cuts these nodes off from all others; among each other they stay connected. None: heals. What was cut off before
    /// and is not named any more is connected again.
    ///
    /// # Errors
    /// If there is no such node, or the fixture has no links.
    pub fn isolate(&self, names: &[&str]) -> Result<(), LocalnetError> {
        for name in names {
            self.planned(name)?;
        }
        let reason = "nodes can be cut off only where the fixture has links".to_owned();
        let links = self.links.as_ref().ok_or(LocalnetError::BadFixture { field: "links", reason })?;
        links.isolate(names.iter().map(|n| (*n).to_owned()).collect());
        Ok(())
    }

    /// Waits until every node is ready. A node with a fault may refuse its configuration: the network goes on without
    /// it.
    ///
    /// # Errors
    /// If a node without a fault refuses, a node is given up, or one is not ready in time.
    pub async fn wait_ready(&self) -> Result<(), LocalnetError> {
        let deadline = Instant::now() + self.ready_timeout;
        let mut waiting: Vec<(&PlannedNode, String)> =
            self.plan.nodes.iter().map(|n| (n, "it was not asked yet".to_owned())).collect();
        loop {
            let mut still = Vec::new();
            for (node, _) in waiting {
                if let Some(reason) = self.ask(node).await? {
                    still.push((node, reason));
                }
            }
            waiting = still;
            let Some((node, reason)) = waiting.first() else {
                self.shared.set_ready();
                return Ok(());
            };
            if Instant::now() >= deadline {
                return Err(LocalnetError::NotReady {
                    node: node.name.clone(),
                    seconds: self.ready_timeout.as_secs(),
                    reason: reason.clone(),
                    log: node.log.clone(),
                    tail: process::tail(&node.log, TAIL_LINES),
                });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Why a node is not ready, or nothing if it need not be waited for any more.
    async fn ask(&self, node: &PlannedNode) -> Result<Option<String>, LocalnetError> {
        let Some(state) = self.shared.node(&node.name) else { return Ok(None) };
        let message = state.message.clone().unwrap_or_default();
        match state.phase {
            NodePhase::Refused if self.faults.iter().any(|f| f.node == node.name) => return Ok(None),
            NodePhase::Refused => {
                return Err(LocalnetError::Refused { node: node.name.clone(), message, log: node.log.clone() });
            }
            NodePhase::GaveUp => {
                return Err(LocalnetError::KeepsDying {
                    node: node.name.clone(),
                    message,
                    log: node.log.clone(),
                    tail: process::tail(&node.log, TAIL_LINES),
                });
            }
            NodePhase::Down => return Ok(None),
            NodePhase::Stopped => return Err(LocalnetError::Interrupted),
            NodePhase::Planned | NodePhase::Running | NodePhase::Restarting => {}
        }
        let health = match Client::with_timeout(&node.rpc_url(), ASK_TIMEOUT) {
            Ok(client) => client.health().await,
            Err(error) => Err(error),
        };
        Ok(match health {
            Ok(health) if health.ready => {
                (self.shared.notify)(&Notice::Ready { node: node.name.clone() });
                None
            }
            Ok(health) => Some(health.reason.unwrap_or_else(|| "it says that it is not ready".to_owned())),
            Err(error) => Some(error.to_string()),
        })
    }

    /// Ends every node: SIGTERM, then SIGKILL after [`lifeline::GRACE`].
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        let all = async { while self.tasks.join_next().await.is_some() {} };
        // Each task keeps to the grace by itself; this is for a system that does not deliver a SIGKILL.
        let _ = tokio::time::timeout(lifeline::GRACE.saturating_mul(2), all).await;
        self.tasks.abort_all();
        state::clear(&self.plan.dir);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Aborted tasks drop their children, which kills them.
        self.tasks.abort_all();
        state::clear(&self.plan.dir);
    }
}
