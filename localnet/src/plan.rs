//! From a fixture to files: ports, node keys, accounts, the genesis document and home directories.
//!
//! ```text
//! localnet.json    the plan: fixture, nodes, ports, accounts; what a restart uses
//! genesis.json     the chain
//! nodes/NAME/      the home directory of each node
//! accounts/NAME.json  key files of the well-known accounts
//! logs/NAME.log    what each node prints
//! state.json       the running supervisor and its nodes
//! supervisor.log   what a detached supervisor prints
//! ```

use crate::error::{LocalnetError, io};
use crate::fixture::{Fixture, ParaTimeKind};
use crate::genesis;
use crate::keys::KeySet;
use crate::links;
use crate::ports::{self, Ports, Wanted};
use parallax_consensus_app::tx::Role;
use parallax_genesis::config::{
    self, EngineConfig, EthereumConfig, KmsConfig, NetworkConfig, NodeConfig, RpcConfig, ServedParaTime,
};
use parallax_genesis::{AccountKey, Home};
use parallax_primitives::{Address, ChainContext, NodeId, ParaTimeId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

const PLAN: &str = "localnet.json";
const PLAN_VERSION: u32 = 2;
/// State versions that each node keeps.
const KEPT_VERSIONS: u64 = 2_000;
/// What the directory holds, for `--fresh`; nothing else is removed.
const OURS: [&str; 8] =
    [PLAN, "genesis.json", "nodes", "accounts", "logs", "state.json", "supervisor.log", "supervisor.pid"];

/// A localnet on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    version: u32,
    /// What it is.
    pub fixture: Fixture,
    /// The directory, absolute.
    pub dir: PathBuf,
    /// The chain.
    pub chain: ChainContext,
    /// The ParaTimes that run.
    pub paratimes: Vec<PlannedParaTime>,
    /// The nodes, validators first.
    pub nodes: Vec<PlannedNode>,
    /// The well-known accounts.
    pub accounts: Vec<Account>,
}

/// A ParaTime of a localnet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedParaTime {
    /// What it is.
    pub kind: ParaTimeKind,
    /// Its id.
    pub id: ParaTimeId,
    /// The directory of its key set.
    pub keys: PathBuf,
}

/// A node of a localnet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedNode {
    /// Its name, for example `compute-1`.
    pub name: String,
    /// Its identity.
    pub node: NodeId,
    /// Its entity, whose stake answers for it.
    pub entity: Address,
    /// What it does.
    pub role: Role,
    ports: Ports,
    /// Its home directory.
    pub home: PathBuf,
    /// What it prints.
    pub log: PathBuf,
}

/// A funded account whose key everyone knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// Its name, for example `dev-0`.
    pub name: String,
    /// Its address.
    pub address: Address,
    /// Its key file.
    pub key: PathBuf,
}

impl PlannedNode {
    /// The URL of its RPC server.
    pub fn rpc_url(&self) -> String {
        format!("http://{}", self.rpc())
    }

    /// The URL of its Ethereum JSON-RPC server, for HTTP; the same with `ws` is that for WebSocket. Compute nodes have it
    /// where the EVM runs.
    pub fn ethereum_url(&self) -> Option<String> {
        self.ethereum().map(|address| format!("http://{address}"))
    }

    fn ethereum(&self) -> Option<SocketAddr> {
        self.ports.ethereum.map(|port| (Ipv4Addr::LOCALHOST, port).into())
    }

    fn rpc(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.ports.rpc).into()
    }

    /// The ports to which other nodes connect: consensus and the committee network.
    pub(crate) fn peer_ports(&self) -> [u16; 2] {
        [self.ports.engine, self.ports.network]
    }
}

impl Account {
    /// Its key.
    ///
    /// # Errors
    /// If the key file cannot be read.
    pub fn load(&self) -> Result<AccountKey, LocalnetError> {
        Ok(AccountKey::load(&self.key)?)
    }
}

impl Plan {
    /// A node by name.
    pub fn node(&self, name: &str) -> Option<&PlannedNode> {
        self.nodes.iter().find(|n| n.name == name)
    }

    /// A ParaTime, if it runs.
    pub fn paratime(&self, kind: ParaTimeKind) -> Option<&PlannedParaTime> {
        self.paratimes.iter().find(|p| p.kind == kind)
    }

    /// The id of the scheduling ParaTime, if it runs.
    pub fn scheduler(&self) -> Option<ParaTimeId> {
        self.paratime(ParaTimeKind::Scheduler).map(|p| p.id)
    }

    /// The id of the EVM, if it runs.
    pub fn evm(&self) -> Option<ParaTimeId> {
        self.paratime(ParaTimeKind::Evm).map(|p| p.id)
    }

    /// The directory of the key set of a ParaTime.
    ///
    /// # Errors
    /// If it does not run.
    pub fn keys(&self, kind: ParaTimeKind) -> Result<&Path, LocalnetError> {
        let found = self.paratime(kind).map(|p| p.keys.as_path());
        found.ok_or_else(|| LocalnetError::BadFixture {
            field: "--paratimes",
            reason: format!("the localnet in {} runs no {kind}; start one that does", self.dir.display()),
        })
    }

    /// The genesis document's path.
    pub fn genesis(&self) -> PathBuf {
        self.dir.join("genesis.json")
    }

    /// What a detached supervisor prints.
    pub fn supervisor_log(&self) -> PathBuf {
        self.dir.join("supervisor.log")
    }

    /// Reads the plan of a directory; `None` if it holds none.
    ///
    /// # Errors
    /// If the file cannot be read or parsed.
    pub fn load(dir: &Path) -> Result<Option<Self>, LocalnetError> {
        let path = dir.join(PLAN);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(io("read", &path)(e)),
        };
        let bad = |reason: String| LocalnetError::BadFile { path: path.clone(), reason };
        let plan: Self = serde_json::from_slice(&text).map_err(|e| bad(e.to_string()))?;
        if plan.version != PLAN_VERSION {
            return Err(bad(format!("format version {}, this program reads {PLAN_VERSION}", plan.version)));
        }
        Ok(Some(plan))
    }

    /// Refuses ports that are taken now.
    ///
    /// # Errors
    /// The first such port, with node and purpose.
    pub fn refuse_taken_ports(&self) -> Result<(), LocalnetError> {
        let names: Vec<String> = self.nodes.iter().map(|n| n.name.clone()).collect();
        let ports: Vec<Ports> = self.nodes.iter().map(|n| n.ports).collect();
        ports::refuse_taken(&names, &ports)
    }
}

/// The localnet of a directory, with a key set for each of its ParaTimes: the one that is there if its fixture is the same, else a new one.
///
/// # Errors
/// If the fixture cannot work, the directory holds another localnet (and `fresh` is not set) or something else, a
/// stated port is taken, or a file cannot be written.
pub fn prepare(
    dir: &Path,
    fixture: &Fixture,
    keys: &BTreeMap<ParaTimeKind, KeySet>,
    fresh: bool,
) -> Result<Plan, LocalnetError> {
    fixture.check()?;
    fs::create_dir_all(dir).map_err(io("create", dir))?;
    let dir = dir.canonicalize().map_err(io("resolve", dir))?;
    if fresh {
        remove(&dir)?;
    } else if let Some(plan) = Plan::load(&dir)? {
        if plan.fixture != *fixture || plan.paratimes != paratimes(fixture, keys)? {
            return Err(LocalnetError::OtherFixture { field: difference(&plan, fixture), dir });
        }
        plan.refuse_taken_ports()?;
        return Ok(plan);
    }
    if fs::read_dir(&dir).map_err(io("list", &dir))?.next().is_some() {
        return Err(LocalnetError::NotALocalnet { dir });
    }
    create(&dir, fixture, keys)
}

fn difference(plan: &Plan, fixture: &Fixture) -> String {
    let as_json = |f: &Fixture| serde_json::to_value(f).unwrap_or_default();
    let (old, new) = (as_json(&plan.fixture), as_json(fixture));
    let field = old.as_object().and_then(|o| o.iter().find(|(name, value)| new.get(name.as_str()) != Some(value)));
    field.map_or_else(|| "key set".to_owned(), |(name, value)| format!("{name} ({value})"))
}

/// Removes a localnet, and nothing that is not of one.
fn remove(dir: &Path) -> Result<(), LocalnetError> {
    if Plan::load(dir).is_ok_and(|plan| plan.is_none()) {
        return Ok(());
    }
    for name in OURS {
        let path = dir.join(name);
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        match removed {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(io("remove", &path)(e)),
            _ => {}
        }
    }
    Ok(())
}

fn paratimes(fixture: &Fixture, keys: &BTreeMap<ParaTimeKind, KeySet>) -> Result<Vec<PlannedParaTime>, LocalnetError> {
    let planned = |kind: &ParaTimeKind| {
        let keys = genesis::key_set(keys, *kind)?.dir.clone();
        Ok(PlannedParaTime { kind: *kind, id: genesis::paratime_id(*kind), keys })
    };
    fixture.paratimes.iter().map(planned).collect()
}

fn create(dir: &Path, fixture: &Fixture, keys: &BTreeMap<ParaTimeKind, KeySet>) -> Result<Plan, LocalnetError> {
    let evm = fixture.runs(ParaTimeKind::Evm);
    let wanted: Vec<Wanted> = fixture
        .nodes()
        .into_iter()
        .map(|(node, role)| Wanted { node, ethereum: evm && role == Role::Compute })
        .collect();
    let ports = ports::choose(&wanted, fixture.base_port, fixture.ethereum_port)?;
    let nodes: Vec<PlannedNode> = fixture
        .nodes()
        .into_iter()
        .zip(ports)
        .map(|((name, role), ports)| {
            let node = genesis::node_keys(&name).node();
            PlannedNode {
                node,
                entity: Address::of(&node),
                role,
                ports,
                home: dir.join("nodes").join(&name),
                log: dir.join("logs").join(format!("{name}.log")),
                name,
            }
        })
        .collect();
    let accounts = write_accounts(dir, fixture)?;
    let genesis = genesis::document(fixture, &nodes, &accounts, keys)?;
    let plan = Plan {
        version: PLAN_VERSION,
        fixture: fixture.clone(),
        dir: dir.to_owned(),
        chain: genesis.chain_context()?,
        paratimes: paratimes(fixture, keys)?,
        nodes,
        accounts,
    };
    genesis.save(&plan.genesis())?;
    for node in &plan.nodes {
        Home::init(&node.home, node_config(&plan, node), genesis.clone(), genesis::node_keys(&node.name))?;
    }
    let logs = dir.join("logs");
    fs::create_dir_all(&logs).map_err(io("create", &logs))?;
    // Last: a directory without it is no localnet, so an interrupted creation is not taken for one.
    let path = dir.join(PLAN);
    let text = serde_json::to_vec_pretty(&plan).map_err(|e| io("encode", &path)(e.into()))?;
    fs::write(&path, text).map_err(io("write", &path))?;
    Ok(plan)
}

fn write_accounts(dir: &Path, fixture: &Fixture) -> Result<Vec<Account>, LocalnetError> {
    let keys = dir.join("accounts");
    fs::create_dir_all(&keys).map_err(io("create", &keys))?;
    (0..fixture.accounts)
        .map(|i| {
            let name = format!("dev-{i}");
            let (key, path) = (AccountKey::well_known(&name), keys.join(format!("{name}.json")));
            key.save(&path)?;
            Ok(Account { address: key.address(), name, key: path })
        })
        .collect()
}

fn node_config(plan: &Plan, node: &PlannedNode) -> NodeConfig {
    let at = |ip: Ipv4Addr, port: u16| format!("/ip4/{ip}/tcp/{port}");
    let address = |port: u16| at(Ipv4Addr::LOCALHOST, port);
    let me = plan.nodes.iter().position(|n| n.name == node.name).unwrap_or_default();
    let others = |port: fn(&Ports) -> u16| -> Vec<String> {
        let others = plan.nodes.iter().enumerate().filter(|(_, n)| n.name != node.name);
        let dial = |(number, other): (usize, &PlannedNode)| match plan.fixture.links {
            true => at(*links::address(me, number, 0).ip(), port(&other.ports)),
            false => address(port(&other.ports)),
        };
        others.map(dial).collect()
    };
    let ethereum = plan.evm().zip(node.ethereum());
    let position = plan.nodes.iter().filter(|n| n.role == Role::KeyManager).position(|n| n.name == node.name);
    let serves = node.role != Role::Validator;
    let served = |p: &PlannedParaTime| ServedParaTime { id: p.id, keys: p.keys.clone() };
    NodeConfig {
        version: config::VERSION,
        moniker: node.name.clone(),
        roles: vec![node.role],
        engine: EngineConfig { listen: address(node.ports.engine), peers: others(|p| p.engine) },
        network: NetworkConfig { listen: address(node.ports.network), peers: others(|p| p.network) },
        rpc: RpcConfig { listen: node.rpc() },
        fhe_threads: if node.role == Role::Compute { plan.fixture.threads() } else { u16::from(serves) },
        paratimes: if serves { plan.paratimes.iter().map(served).collect() } else { vec![] },
        kms: position.and_then(|p| u16::try_from(p).ok()).map(|party| KmsConfig { party }),
        ethereum: ethereum.map(|(paratime, listen)| EthereumConfig { listen, paratime, accounts: true }),
        kept_versions: KEPT_VERSIONS,
        log: "info".to_owned(),
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
