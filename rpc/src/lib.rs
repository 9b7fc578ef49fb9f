//! The JSON-RPC interface of a node: traits for servers and clients, the types that they exchange, error codes and
//! limits. One definition serves the node, the command line, the localnet and the tests.
//!
//! - Four namespaces: `node`, `consensus`, `paratime` and `kms`; methods are `namespace_method`, parameters are
//!   positional. See [`api`].
//! - Bytes are `0x` strings ([`Hex`]); digests, keys and addresses too. Amounts are decimal strings, because JSON
//!   readers lose digits past 2^53; heights, rounds, gas and counts are numbers.
//! - Every refusal has a code of [`ErrorCode`]; codes never change their meaning.
//! - Nothing here is trusted by a verifier: whoever needs certainty asks for a [`ProofBundle`] and checks it against
//!   a header.
//!
//! It has no state and no server of its own; the node crate implements the traits. Start with [`api`], then
//! [`types`]; callers start with [`Client`].

pub mod api;
mod client;
mod error;
mod hex_bytes;
pub mod limits;
pub mod types;

pub use api::{
    ConsensusApiClient, ConsensusApiServer, KmsApiClient, KmsApiServer, NodeApiClient, NodeApiServer,
    ParaTimeApiClient, ParaTimeApiServer,
};
pub use client::{Client, EndpointError};
pub use error::{ErrorCode, RpcError, error_code};
pub use hex_bytes::Hex;
pub use jsonrpsee::core::RpcResult;
pub use parallax_consensus_app::light::ProofBundle;
pub use types::LightBlock;

#[cfg(test)]
mod tests;
