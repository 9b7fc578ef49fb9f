//! The configuration of one node: `config.json` in its home directory. Nothing in it is agreed with others.

use crate::error::GenesisError;
use crate::files::{self, Access};
use parallax_consensus_app::tx::Role;
use parallax_primitives::ParaTimeId;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The version of the configuration's format.
pub const VERSION: u32 = 2;
/// Most characters of a moniker.
pub const MAX_MONIKER: usize = 64;

/// The configuration of one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// [`VERSION`].
    pub version: u32,
    /// The node's name for people, for example `compute-1`.
    pub moniker: String,
    /// What it does. A node without the role of a validator follows the chain.
    pub roles: Vec<Role>,
    /// The consensus engine's network.
    pub engine: EngineConfig,
    /// The committee network.
    pub network: NetworkConfig,
    /// The JSON-RPC server.
    pub rpc: RpcConfig,
    /// Threads for FHE work, shared by all ParaTimes of the node.
    pub fhe_threads: u16,
    /// The ParaTimes that it executes or decrypts for, each with its keys.
    pub paratimes: Vec<ServedParaTime>,
    /// The key manager's part; for key managers.
    #[serde(default)]
    pub kms: Option<KmsConfig>,
    /// The Ethereum JSON-RPC server; for compute nodes of an EVM ParaTime.
    #[serde(default)]
    pub ethereum: Option<EthereumConfig>,
    /// State versions kept of the ledger and of each ParaTime; 0 keeps all.
    pub kept_versions: u64,
    /// The log filter, for example `info,parallax=debug`.
    pub log: String,
}

/// The consensus engine's network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineConfig {
    /// Where it listens, a multiaddress such as `/ip4/127.0.0.1/tcp/26656`.
    pub listen: String,
    /// Peers to which connections are kept up, multiaddresses. The node's own may be among them.
    pub peers: Vec<String>,
}

/// The committee network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkConfig {
    /// Where it listens, a multiaddress.
    pub listen: String,
    /// Addresses to which connections are kept up, with or without `/p2p/` and the peer id at their end. The node's own
    /// may be among them.
    pub peers: Vec<String>,
}

/// The JSON-RPC server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RpcConfig {
    /// Where it listens. It has no access control: keep it on loopback, or behind something that has.
    pub listen: SocketAddr,
}

/// The key manager's part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KmsConfig {
    /// The party's number: the position of this node in the ParaTime's key managers.
    pub party: u16,
}

/// A ParaTime that a node executes or decrypts for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServedParaTime {
    /// Which.
    pub id: ParaTimeId,
    /// The directory of its FHE key set, absolute or below the home directory. A key set belongs to one ParaTime.
    pub keys: PathBuf,
}

/// The Ethereum JSON-RPC server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EthereumConfig {
    /// Where it listens, for HTTP and WebSocket. It has no access control: keep it on loopback, or behind something that
    /// has.
    pub listen: SocketAddr,
    /// The EVM that it serves; one of `paratimes`.
    pub paratime: ParaTimeId,
    /// Whether the node signs for the development accounts, whose keys everyone has; on a localnet alone.
    #[serde(default)]
    pub accounts: bool,
}

impl NodeConfig {
    /// Reads and checks a configuration.
    ///
    /// # Errors
    /// If the file cannot be read, is no configuration (with line and column), or contradicts itself.
    pub fn load(path: &Path) -> Result<Self, GenesisError> {
        let config: Self = files::read_json(path)?;
        config.check(path)?;
        Ok(config)
    }

    /// Writes the configuration.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), GenesisError> {
        files::write_json(path, self, Access::Public)
    }

    /// The URL of the RPC server.
    pub fn rpc_url(&self) -> String {
        format!("http://{}", self.rpc.listen)
    }

    /// Whether the node has a role.
    pub fn has(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// Whether roles and settings belong together; `path` is named in the error.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn check(&self, path: &Path) -> Result<(), GenesisError> {
        let bad = |field, reason: &str| {
            Err(GenesisError::BadConfig { path: path.to_owned(), field, reason: reason.to_owned() })
        };
        if self.version != VERSION {
            return Err(GenesisError::Version {
                path: path.to_owned(),
                found: self.version,
                expected: VERSION,
                remedy: "write the configuration anew",
            });
        }
        if self.moniker.is_empty() || self.moniker.chars().count() > MAX_MONIKER {
            return bad("moniker", "must have 1 to 64 characters");
        }
        if self.roles.is_empty() {
            return bad("roles", "is empty; give at least one of validator, compute, key-manager, observer");
        }
        for (field, address) in std::iter::once(("engine.listen", &self.engine.listen))
            .chain(self.engine.peers.iter().map(|p| ("engine.peers", p)))
            .chain(std::iter::once(("network.listen", &self.network.listen)))
            .chain(self.network.peers.iter().map(|p| ("network.peers", p)))
        {
            if !is_multiaddress(address) {
                return bad(field, &format!("{address:?} is no multiaddress such as /ip4/127.0.0.1/tcp/26656"));
            }
        }
        let needs_keys = self.has(Role::Compute) || self.has(Role::KeyManager);
        if needs_keys && self.paratimes.is_empty() {
            return bad("paratimes", "is empty; a compute node or key manager serves at least one");
        }
        for (i, served) in self.paratimes.iter().enumerate() {
            if self.paratimes.iter().take(i).any(|before| before.id == served.id) {
                return bad("paratimes", &format!("has {} twice; name it once", served.id));
            }
        }
        if let Some(ethereum) = &self.ethereum
            && !(self.has(Role::Compute) && self.paratimes.iter().any(|served| served.id == ethereum.paratime))
        {
            return bad(
                "ethereum.paratime",
                "is none of this node's paratimes, or the node does not compute; only one that executes it can serve it",
            );
        }
        if self.has(Role::Compute) && self.fhe_threads == 0 {
            return bad("fhe_threads", "is 0; a compute node needs at least 1");
        }
        if self.has(Role::KeyManager) != self.kms.is_some() {
            return bad("kms", "must be given exactly when the roles hold key-manager");
        }
        Ok(())
    }
}

/// `/ip4|ip6|dns.../host/tcp/port` and possibly more. The network libraries parse it in full.
fn is_multiaddress(text: &str) -> bool {
    let mut parts = text.split('/');
    parts.next() == Some("")
        && matches!(parts.next(), Some("ip4" | "ip6" | "dns" | "dns4" | "dns6"))
        && parts.next().is_some_and(|host| !host.is_empty())
        && parts.next() == Some("tcp")
        && parts.next().is_some_and(|port| port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn validator() -> NodeConfig {
        NodeConfig {
            version: VERSION,
            moniker: "validator-0".to_owned(),
            roles: vec![Role::Validator],
            engine: EngineConfig { listen: "/ip4/127.0.0.1/tcp/1".to_owned(), peers: vec![] },
            network: NetworkConfig { listen: "/dns4/example.org/tcp/2".to_owned(), peers: vec![] },
            rpc: RpcConfig { listen: ([127, 0, 0, 1], 3).into() },
            fhe_threads: 0,
            paratimes: vec![],
            kms: None,
            ethereum: None,
            kept_versions: 0,
            log: "info".to_owned(),
        }
    }

    fn refusal(change: impl FnOnce(&mut NodeConfig)) -> String {
        let mut config = validator();
        config.check(Path::new("config.json")).expect("the base configuration is valid");
        change(&mut config);
        config.check(Path::new("config.json")).expect_err("the change makes it invalid").to_string()
    }

    #[test]
    fn each_contradiction_is_named_with_its_field() {
        assert!(refusal(|c| c.roles.clear()).contains("config.json: roles: "));
        assert!(refusal(|c| c.roles.push(Role::Compute)).contains("paratimes: is empty"));
        let served = |name| ServedParaTime { id: ParaTimeId::named(name), keys: PathBuf::from("keys") };
        assert!(refusal(|c| c.paratimes = vec![served("a"), served("b"), served("a")]).contains("paratimes: has "));
        let ethereum = |name| EthereumConfig {
            listen: ([127, 0, 0, 1], 4).into(),
            paratime: ParaTimeId::named(name),
            accounts: false,
        };
        let compute = |c: &mut NodeConfig| {
            c.roles = vec![Role::Compute];
            c.fhe_threads = 1;
            c.paratimes = vec![served("a")];
        };
        assert!(
            refusal(|c| {
                compute(c);
                c.ethereum = Some(ethereum("b"));
            })
            .contains("ethereum.paratime: ")
        );
        assert!(refusal(|c| c.ethereum = Some(ethereum("a"))).contains("ethereum.paratime: "));
        let mut good = validator();
        compute(&mut good);
        good.ethereum = Some(ethereum("a"));
        good.check(Path::new("config.json")).expect("the node executes what it serves");
        assert!(refusal(|c| c.kms = Some(KmsConfig { party: 0 })).contains("kms: "));
        assert!(refusal(|c| c.engine.peers.push("127.0.0.1:5".to_owned())).contains("engine.peers: "));
        assert!(refusal(|c| c.network.listen = "/ip4/127.0.0.1/tcp/70000".to_owned()).contains("network.listen: "));
        assert!(refusal(|c| c.version = 9).contains("format version 9"));
    }

    #[test]
    fn an_unknown_field_is_refused_with_line_and_column() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("config.json");
        validator().save(&path).expect("a fresh directory can be written");
        assert_eq!(NodeConfig::load(&path).expect("what was saved loads"), validator());
        let text = std::fs::read_to_string(&path).expect("the file is there").replace("\"fhe_threads\"", "\"threads\"");
        std::fs::write(&path, text).expect("the file can be written");
        let error = NodeConfig::load(&path).expect_err("threads is no field").to_string();
        assert!(error.contains("config.json, line ") && error.contains("unknown field `threads`"), "{error}");
    }
}
