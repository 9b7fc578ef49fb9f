//! The JSON-RPC server: one task, bounded, over what the services of the node share.

mod consensus;
mod disputes;
mod kms;
mod node;
mod paratime;

pub use kms::Kms;

use crate::chain::Chain;
use crate::consensus::Submitter;
use crate::error::Refused;
use crate::paratime::ParaTimes;
use eyre::{Result, eyre};
use jsonrpsee::RpcModule;
use jsonrpsee::server::{BatchRequestConfig, ServerBuilder, ServerConfig, ServerHandle};
use jsonrpsee::types::ErrorObjectOwned;
use parallax_genesis::NodeConfig;
use parallax_network::Handle;
use parallax_primitives::{Address, NodeId};
use parallax_rpc::{ConsensusApiServer as _, NodeApiServer as _, ParaTimeApiServer as _, RpcError, limits};
use std::sync::Arc;

/// What every namespace of a chain-following node reads.
#[derive(Clone)]
pub struct Context {
    /// The chain.
    pub chain: Chain,
    /// The way into blocks.
    pub submitter: Submitter,
    /// The network.
    pub network: Handle,
    /// ParaTimes executed here.
    pub paratimes: ParaTimes,
    /// Who this node is.
    pub identity: Arc<Identity>,
}

/// Who a node is, for status.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its key.
    pub node: NodeId,
    /// Its entity.
    pub entity: Address,
    /// Its configuration.
    pub config: NodeConfig,
    /// The fault that it injects.
    pub fault: Option<String>,
}

/// What a client hears of a local failure.
const FAILED: &str = "this node failed; its log says more";

/// A local failure, without details that only the log should have.
fn failed(error: impl std::fmt::Display) -> RpcError {
    tracing::error!(%error, "rpc.failed");
    RpcError::internal(FAILED)
}

/// The same, as it goes on the wire.
fn refuse(error: impl std::fmt::Display) -> ErrorObjectOwned {
    failed(error).into()
}

/// Runs what reads much from disk. The other tasks of this thread, consensus and gossip among them, go on elsewhere.
fn reading<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}

/// What is served.
pub enum Services {
    /// A node that follows the chain.
    Chain(Box<Context>),
    /// A key manager.
    KeyManager(Box<Kms>),
}

fn methods(services: Services) -> Result<RpcModule<()>> {
    let mut module = RpcModule::new(());
    match services {
        Services::Chain(context) => {
            let context = *context;
            module.merge(node::Node(context.clone()).into_rpc())?;
            module.merge(consensus::Consensus(context.clone()).into_rpc())?;
            module.merge(paratime::ParaTime::new(context).into_rpc())?;
        }
        Services::KeyManager(kms) => {
            let kms = *kms;
            module.merge(parallax_rpc::NodeApiServer::into_rpc(kms.clone()))?;
            module.merge(parallax_rpc::KmsApiServer::into_rpc(kms))?;
        }
    }
    Ok(module)
}

/// Serves until the handle is stopped or dropped.
///
/// # Errors
/// [`Refused`] if the port is in use; otherwise if it cannot be opened.
pub async fn serve(identity: &Identity, services: Services) -> Result<ServerHandle> {
    let listen = identity.config.rpc.listen;
    let config = ServerConfig::builder()
        .max_request_body_size(limits::MAX_REQUEST_BYTES)
        .max_response_body_size(limits::MAX_RESPONSE_BYTES)
        .max_connections(limits::MAX_CONNECTIONS)
        .set_batch_request_config(BatchRequestConfig::Limit(limits::MAX_BATCH_REQUESTS))
        .http_only()
        .build();
    let server = ServerBuilder::with_config(config).build(listen).await.map_err(|e| {
        let text = format!(
            "the RPC server cannot listen on {listen}: {e}; stop what uses the port, or change rpc.listen in config.json"
        );
        if e.kind() == std::io::ErrorKind::AddrInUse { eyre!(Refused::new(text)) } else { eyre!(text) }
    })?;
    Ok(server.start(methods(services)?))
}
