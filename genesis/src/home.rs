//! The home directory of one node:
//!
//! ```text
//! config.json    how this node runs; nothing of it is agreed with others
//! genesis.json   the chain
//! node.key       the node's secret keys, mode 0600
//! data/          its state; chain.json in it says of which chain
//! ```

use crate::config::NodeConfig;
use crate::document::GenesisDocument;
use crate::error::GenesisError;
use crate::files::{self, Access, io};
use crate::keys::NodeKeys;
use parallax_primitives::ChainContext;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

/// The configuration's file name.
pub const CONFIG: &str = "config.json";
/// The genesis document's file name.
pub const GENESIS: &str = "genesis.json";
/// The key file's name.
pub const KEYS: &str = "node.key";
/// The data directory's name.
pub const DATA: &str = "data";
/// The file in the data directory that says of which chain the data is.
pub const MARKER: &str = "chain.json";

const MARKER_VERSION: u32 = 1;

/// A home directory whose files belong together.
#[derive(Debug)]
pub struct Home {
    /// Where it is.
    pub path: PathBuf,
    /// How the node runs.
    pub config: NodeConfig,
    /// The chain, checked.
    pub genesis: GenesisDocument,
    /// Its context.
    pub chain: ChainContext,
    /// The node's keys.
    pub keys: NodeKeys,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Marker {
    version: u32,
    chain_id: String,
    chain_context: ChainContext,
}

impl Home {
    /// Makes a home directory. Nothing of an earlier one is overwritten.
    ///
    /// # Errors
    /// If the configuration or the document is not valid, one of the files exists, or cannot be written.
    pub fn init(
        path: &Path,
        config: NodeConfig,
        genesis: GenesisDocument,
        keys: NodeKeys,
    ) -> Result<Self, GenesisError> {
        config.check(&path.join(CONFIG))?;
        genesis.check()?;
        for name in [CONFIG, GENESIS, KEYS] {
            if path.join(name).exists() {
                return Err(GenesisError::Exists { path: path.join(name) });
            }
        }
        files::create_dir(path)?;
        keys.save(&path.join(KEYS))?;
        config.save(&path.join(CONFIG))?;
        genesis.save(&path.join(GENESIS))?;
        Self::open(path)
    }

    /// Opens a home directory and binds its data to its chain. Data of another chain is refused and left as it is.
    ///
    /// # Errors
    /// If a file is missing, malformed or not valid, the keys can be read by others, or the data is of another chain.
    pub fn open(path: &Path) -> Result<Self, GenesisError> {
        let config = NodeConfig::load(&path.join(CONFIG))?;
        let genesis = GenesisDocument::load(&path.join(GENESIS))?;
        let chain = genesis.chain_context()?;
        let keys = NodeKeys::load(&path.join(KEYS))?;
        let home = Self { path: path.to_owned(), config, genesis, chain, keys };
        home.bind_data()?;
        Ok(home)
    }

    /// The directory of the node's state.
    pub fn data(&self) -> PathBuf {
        self.path.join(DATA)
    }

    /// A path of the configuration: as it stands if it is absolute, else below the home directory.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.path.join(path)
    }

    fn bind_data(&self) -> Result<(), GenesisError> {
        let data = self.data();
        files::create_dir(&data)?;
        let path = data.join(MARKER);
        if path.exists() {
            let marker: Marker = files::read_json(&path)?;
            if marker.chain_context != self.chain {
                return Err(GenesisError::OtherChain {
                    path: data,
                    genesis: self.path.join(GENESIS),
                    found: Box::new(marker.chain_context),
                    found_id: marker.chain_id,
                    expected: Box::new(self.chain),
                    expected_id: self.genesis.consensus.chain_id.clone(),
                });
            }
            return Ok(());
        }
        if fs::read_dir(&data).map_err(io("list", &data))?.next().is_some() {
            return Err(GenesisError::UnknownData { path: data, marker: MARKER });
        }
        let marker = Marker {
            version: MARKER_VERSION,
            chain_id: self.genesis.consensus.chain_id.clone(),
            chain_context: self.chain,
        };
        files::write_json(&path, &marker, Access::Public)
    }
}
