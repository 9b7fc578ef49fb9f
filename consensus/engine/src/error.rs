//! Why an engine did not start, or stopped.

use parallax_consensus_app::InvalidBlock;
use parallax_primitives::{Digest, Height};
use parallax_state::StateError;
use std::path::PathBuf;

/// Why an engine did not start, or stopped. Each text says where and what to do.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The home directory could not be used.
    #[error("the engine's home {path} cannot be used: {reason}; check that it exists and belongs to this user", path = .path.display())]
    Home {
        /// The path.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Another process runs on this home directory.
    #[error("the engine's home is in use: {path} is locked by another process; stop that node or choose another --home", path = .path.display())]
    HomeBusy {
        /// The lock file.
        path: PathBuf,
    },
    /// The home directory belongs to another chain.
    #[error(
        "{path} belongs to chain {found}, this genesis is chain {expected}; use the home directory of this chain or \
         an empty one",
        path = .path.display()
    )]
    OtherChain {
        /// The file that names the chain.
        path: PathBuf,
        /// What it says.
        found: String,
        /// What it should say.
        expected: String,
    },
    /// The port for consensus traffic cannot be opened.
    #[error(
        "cannot listen for consensus on {address}: {reason}; stop the process that uses the port or choose another"
    )]
    Listen {
        /// The multiaddress.
        address: String,
        /// Why.
        reason: String,
    },
    /// A setting makes no sense.
    #[error("the engine's setting {setting} is wrong: {reason}")]
    Config {
        /// Which.
        setting: &'static str,
        /// Why.
        reason: String,
    },
    /// The state or the block store failed.
    #[error(transparent)]
    State(#[from] StateError),
    /// The validators decided a block that this node cannot execute.
    #[error(
        "height {height}: the network decided a block that this node finds invalid ({reason}); run the version that \
         the network runs, or restore the home directory from a peer"
    )]
    InvalidDecision {
        /// The height.
        height: Height,
        /// Why.
        reason: InvalidBlock,
    },
    /// This node built a block, without transactions, that it finds invalid itself.
    #[error(
        "height {height}: this node's own empty proposal is invalid ({reason}); this is a defect, please report it"
    )]
    InvalidProposal {
        /// The height.
        height: Height,
        /// Why.
        reason: InvalidBlock,
    },
    /// A decided block's bytes are not here.
    #[error(
        "height {height}: block {value} was decided and its bytes are not in the journal; remove the engine's \
         write-ahead log and restart: the node fetches the block from its peers"
    )]
    MissingBlock {
        /// The height.
        height: Height,
        /// The header's hash.
        value: Digest,
    },
    /// The keys at hand do not hold the power to decide.
    #[error("height {height}: the keys at hand hold {power} of {total} voting power, more than two thirds are needed")]
    NoQuorum {
        /// The height.
        height: Height,
        /// The power that they hold.
        power: u64,
        /// All power.
        total: u64,
    },
    /// The agreement library failed.
    #[error("the consensus library failed: {0}")]
    Library(String),
    /// The engine ended by itself; its log says why.
    #[error("the consensus engine stopped by itself; its log names the cause, a restart resumes after the last commit")]
    Stopped,
}
