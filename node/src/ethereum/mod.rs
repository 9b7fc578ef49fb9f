//! Ethereum's JSON-RPC for an EVM ParaTime, on a listener of its own: HTTP and WebSocket on one port, so that Hardhat,
//! Foundry, viem and ethers work as with any other node.
//!
//! What is a question about states goes to [`parallax_evm::eth`], on the states that consensus has finalised
//! (`chain`). What is left is here: transactions on their way into the pool (`submit`) and those that wait in it
//! (`pending`), filters (`filters`), subscriptions (`subscriptions`) fed by one task that sees each block once
//! (`heads`), on a localnet the development accounts (`accounts`) and the methods by which developers turn the
//! chain's clock and balances (`developer`), and headers that let pages in browsers ask (`cors`).
//!
//! Every client is bounded: the size of requests and answers, batches, connections, subscriptions, filters, how many
//! questions are worked on at once (`limits`), and what waits for one that does not read (`connection`). Logs name methods and errors of this node, never parameters.

mod accounts;
mod chain;
mod connection;
mod cors;
mod developer;
mod filters;
mod heads;
mod methods;
mod pending;
mod submit;
mod subscriptions;

use crate::error::Refused;
use crate::paratime::ParaTimeHost;
use crate::run::Tasks;
use accounts::Accounts;
use connection::Unread;
use eyre::{Result, WrapErr as _, bail, eyre};
use filters::Filters;
use heads::Heads;
use jsonrpsee::server::{BatchRequestConfig, PingConfig, ServerConfig, ServerHandle};
use parallax_evm::eth;
use parallax_genesis::config::EthereumConfig;
use pending::Pending;
use serde_json::Value as Json;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// What clients may ask for.
pub mod limits {
    use std::time::Duration;

    /// Largest request body, in bytes: the largest transaction in hexadecimal, and room for the envelope.
    pub const MAX_REQUEST_BYTES: u32 = parallax_rpc::limits::MAX_REQUEST_BYTES;
    /// Most bytes of waiting transactions that are listed in one answer: it has two digits for each.
    pub const MAX_WAITING_BYTES: usize = 8 * 1024 * 1024;
    /// Largest answer, in bytes.
    pub const MAX_RESPONSE_BYTES: u32 = 32 * 1024 * 1024;
    /// Most connections that are open at once; further ones are answered with status 429.
    pub const MAX_CONNECTIONS: u32 = 256;
    /// Most requests in one batch.
    pub const MAX_BATCH_REQUESTS: u32 = 100;
    /// Most subscriptions of one connection.
    pub const MAX_CONNECTION_SUBSCRIPTIONS: u32 = 1_024;
    /// Most subscriptions of all connections.
    pub const MAX_SUBSCRIPTIONS: usize = 4_096;
    /// Messages that wait for one connection; a client that does not read holds up its own subscriptions alone.
    pub const MAX_WAITING_MESSAGES: u32 = 1_024;
    /// Bytes of answers and notifications that a client has not read, from which on it gets no further ones.
    pub const MAX_UNREAD_BYTES: usize = 64 * 1024 * 1024;
    /// The same for all clients together, whose questions are all refused then. What is worked on at that moment comes on
    /// top: [`MAX_AT_ONCE`] answers.
    pub const MAX_ALL_UNREAD_BYTES: usize = 512 * 1024 * 1024;
    /// Blocks and transactions that a subscription may be behind before it is ended.
    pub const MAX_BEHIND: usize = 256;
    /// How long a client that does not read is waited for before its subscription, or its connection, is ended.
    pub const PATIENCE: Duration = Duration::from_secs(30);
    /// Most filters that are open at once.
    pub const MAX_FILTERS: usize = 1_024;
    /// How long a filter lives after it was last asked.
    pub const FILTER_LIFE: Duration = Duration::from_secs(300);
    /// Questions about states that are worked on at once; others wait.
    pub const MAX_AT_ONCE: usize = 4;
    /// Questions that may wait or be worked on; further ones are refused. A WebSocket lets a client ask before it has an
    /// answer.
    pub const MAX_WAITING: usize = 1_024;
    /// How long a developer method waits for the block that carries it out.
    pub const CONTROL_WAIT: Duration = Duration::from_secs(60);
}

/// What the server answers from.
struct Service {
    host: Arc<ParaTimeHost>,
    heads: Heads,
    pending: Mutex<Pending>,
    filters: Mutex<Filters>,
    accounts: Option<Accounts>,
    /// Places for questions, those that wait included.
    places: Arc<Semaphore>,
    /// Turns for questions that read states.
    turns: Arc<Semaphore>,
    /// What is left of [`limits::MAX_SUBSCRIPTIONS`].
    subscriptions: Arc<Semaphore>,
}

/// An answer as JSON-RPC has it.
type Answer = Result<Json, eth::Error>;

/// An error of this node's own, with Ethereum's usual number for it.
fn refused(message: impl Into<String>) -> eth::Error {
    eth::Error { code: -32_000, message: message.into(), data: None }
}

/// Parameters that are none.
fn invalid(message: impl Into<String>) -> eth::Error {
    eth::Error { code: -32_602, message: message.into(), data: None }
}

/// More than a client, or all of them, may have at once.
fn overloaded(text: &str) -> eth::Error {
    eth::Error { code: -32_005, message: format!("limit exceeded: {text}"), data: None }
}

/// A failure of this node: its cause is in the log alone.
fn failed(error: impl std::fmt::Display) -> eth::Error {
    tracing::error!(%error, "ethereum.failed");
    eth::Error { code: -32_603, message: "this node failed; its log says more".to_owned(), data: None }
}

/// Serves an EVM until the handle is stopped or dropped. What runs beside it is one of `tasks`.
///
/// # Errors
/// [`Refused`] if the port is in use, or accounts are to be held where keys have value; otherwise if the ParaTime is no
/// EVM or the port cannot be opened.
pub async fn serve(
    config: &EthereumConfig,
    host: Arc<ParaTimeHost>,
    localnet: bool,
    tasks: &mut Tasks,
) -> Result<ServerHandle> {
    if host.program.kind() != parallax_evm::KIND {
        bail!("config.json: ethereum.paratime: ParaTime {} is of kind {}, not an EVM", host.id, host.program.kind());
    }
    if config.accounts && !localnet {
        let text = "config.json: ethereum.accounts: the keys of the development accounts are public; they are held on a \
                    localnet alone";
        return Err(Refused::new(text.to_owned()).into());
    }
    let accounts = config.accounts.then(Accounts::development).transpose().wrap_err("the development accounts")?;
    let service = Arc::new(Service {
        heads: Heads::new(&host)?,
        pending: Mutex::default(),
        filters: Mutex::default(),
        accounts,
        places: Arc::new(Semaphore::new(limits::MAX_WAITING)),
        turns: Arc::new(Semaphore::new(limits::MAX_AT_ONCE)),
        subscriptions: Arc::new(Semaphore::new(limits::MAX_SUBSCRIPTIONS)),
        host,
    });
    let settings = ServerConfig::builder()
        .max_request_body_size(limits::MAX_REQUEST_BYTES)
        .max_response_body_size(limits::MAX_RESPONSE_BYTES)
        .max_connections(limits::MAX_CONNECTIONS)
        .max_subscriptions_per_connection(limits::MAX_CONNECTION_SUBSCRIPTIONS)
        .set_message_buffer_capacity(limits::MAX_WAITING_MESSAGES)
        .set_batch_request_config(BatchRequestConfig::Limit(limits::MAX_BATCH_REQUESTS))
        .enable_ws_ping(PingConfig::new())
        .set_id_provider(subscriptions::Ids)
        .build();
    let listen = config.listen;
    let listener = TcpListener::bind(listen).await.map_err(|e| {
        let text = format!(
            "the Ethereum RPC server cannot listen on {listen}: {e}; stop what uses the port, or change \
             ethereum.listen in config.json"
        );
        if e.kind() == std::io::ErrorKind::AddrInUse { eyre!(Refused::new(text)) } else { eyre!(text) }
    })?;
    let mut module = methods::module(Arc::clone(&service))?;
    subscriptions::register(&mut module)?;
    tasks.spawn("blocks for Ethereum's RPC", heads::follow(Arc::clone(&service)));
    tasks.spawn("transactions for Ethereum's RPC", pending::follow(service));
    Ok(connection::serve(listener, settings, module, Unread::default(), limits::PATIENCE))
}
