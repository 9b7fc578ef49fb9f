//! The genesis document, and the files of a node's home directory.
//!
//! - [`GenesisDocument`] fixes a chain: its parameters, accounts, nodes, ParaTimes with their initial parameters, key
//!   managers and key material digests, the first committees and the first entropy. It is JSON with a version.
//! - Its [`ChainContext`](parallax_primitives::ChainContext) is the digest of everything in it but the signatures, see
//!   [`GenesisDocument::chain_context`]. Every signature of the chain covers it, those inside the document too.
//! - [`GenesisDocument::check`] finds every fault that can be found without running a ParaTime, each with the path of
//!   its field; [`GenesisDocument::check_paratimes`] finds the rest.
//! - [`Home`] is the directory of one node, bound to one chain: it refuses the data of another.
//!
//! Invariants: a loaded document is checked before it is used; secret keys are in files that only their owner can
//! read, and in no error or debug text. There is no clock here: whoever makes a document gives its time.
//!
//! It is not a wallet and no ceremony for FHE keys: of those it holds digests. Start with [`document`], then [`check`]
//! and [`home`].

mod canonical;
pub mod check;
pub mod config;
pub mod document;
pub mod error;
mod files;
pub mod home;
pub mod keys;

pub use config::{EngineConfig, KmsConfig, NetworkConfig, NodeConfig, RpcConfig};
pub use document::{GenesisDocument, ParaTimeGenesis, UNSIGNED, genesis_root, profile_digest};
pub use error::{GenesisError, Problem};
pub use home::Home;
pub use keys::{AccountKey, NodeKeys};
