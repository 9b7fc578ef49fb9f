//! `eth_subscribe` over WebSocket. Each subscription is a task that waits for blocks or transactions; what it cannot keep
//! up with ends it, and no one else.

use super::chain::EvmChain;
use super::connection::{Backlog, framed};
use super::heads::Head;
use super::{Service, failed, invalid, limits, methods, refused};
use jsonrpsee::core::SubscriptionError;
use jsonrpsee::core::server::{PendingSubscriptionSink, SubscriptionSink};
use jsonrpsee::core::traits::IdProvider;
use jsonrpsee::types::{Params, SubscriptionId};
use jsonrpsee::{Extensions, RpcModule};
use parallax_evm::eth::{self, Chain as _, LogFilter};
use rand::RngCore as _;
use rand::rngs::OsRng;
use revm::primitives::B256;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value as Json, json};
use std::sync::Arc;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast};

/// Names subscriptions as Ethereum does: a hexadecimal number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ids;

impl IdProvider for Ids {
    fn next_id(&self) -> SubscriptionId<'static> {
        let mut id = [0; 16];
        OsRng.fill_bytes(&mut id);
        SubscriptionId::Str(format!("0x{}", hex::encode(id)).into())
    }
}

/// What a subscription tells of.
enum What {
    Heads(broadcast::Receiver<Arc<Head>>),
    Logs(broadcast::Receiver<Arc<Head>>, LogFilter),
    Transactions(broadcast::Receiver<B256>),
    /// A node that serves is never syncing, so there is nothing to tell after the first answer.
    Syncing,
}

/// Registers `eth_subscribe` and `eth_unsubscribe`.
pub(super) fn register(module: &mut RpcModule<Service>) -> eyre::Result<()> {
    module.register_subscription("eth_subscribe", "eth_subscription", "eth_unsubscribe", subscribe)?;
    Ok(())
}

async fn subscribe(
    params: Params<'static>,
    pending: PendingSubscriptionSink,
    service: Arc<Service>,
    extensions: Extensions,
) -> Result<(), SubscriptionError> {
    let (what, permit) = match begin(&service, &params) {
        Ok(begun) => begun,
        Err(error) => {
            pending.reject(methods::on_wire(error)).await;
            return Ok(());
        }
    };
    // The client has gone.
    let Ok(sink) = pending.accept().await else { return Ok(()) };
    let client = Client { sink, backlog: Backlog::of(&extensions) };
    let told = tell(&service, &client, what).await;
    drop(permit);
    told.map_err(|reason| SubscriptionError::from(reason.message))
}

/// What is asked for, and a place among all subscriptions.
fn begin(service: &Service, params: &Params<'static>) -> Result<(What, OwnedSemaphorePermit), eth::Error> {
    let parameters = methods::parameters(params)?;
    let kind = parameters.get(0).and_then(Json::as_str);
    let what = match kind {
        Some("newHeads") => What::Heads(service.heads.subscribe()),
        Some("logs") => {
            let filter = parameters.get(1).cloned().unwrap_or_else(|| json!({}));
            What::Logs(service.heads.subscribe(), LogFilter::new(&filter)?)
        }
        Some("newPendingTransactions") => What::Transactions(service.pending().subscribe()),
        Some("syncing") => What::Syncing,
        other => {
            let given = other.unwrap_or("nothing");
            let text = format!(
                "there is no subscription to {given}; there are newHeads, logs, newPendingTransactions, syncing"
            );
            return Err(invalid(text));
        }
    };
    let permit = Arc::clone(&service.subscriptions).try_acquire_owned().map_err(|_| {
        refused(format!("{} subscriptions are open already; try again later", limits::MAX_SUBSCRIPTIONS))
    })?;
    Ok((what, permit))
}

/// Why a subscription ends before its client ends it.
fn behind(missed: u64) -> eth::Error {
    refused(format!("the client is more than {missed} messages behind; subscribe again and read faster"))
}

/// What stands around the payload of a notification.
const ENVELOPE: &str = r#"{"jsonrpc":"2.0","method":"eth_subscription","params":{"subscription":"0x00000000000000000000000000000000","result":}}"#;

/// Who is told.
struct Client {
    sink: SubscriptionSink,
    backlog: Option<Arc<Backlog>>,
}

impl Client {
    /// Sends; `false` if the client has gone. One that does not read for long, or has much unread, is given up.
    async fn send(&self, message: Box<RawValue>) -> Result<bool, eth::Error> {
        use jsonrpsee::core::server::SendTimeoutError;
        let bytes = framed(message.get().len().saturating_add(ENVELOPE.len()));
        if let Some(backlog) = &self.backlog {
            backlog.room()?;
            backlog.add(bytes);
        }
        let sent = self.sink.send_timeout(message, limits::PATIENCE).await;
        if let (Err(_), Some(backlog)) = (&sent, &self.backlog) {
            backlog.remove(bytes);
        }
        match sent {
            Ok(()) => Ok(true),
            Err(SendTimeoutError::Closed(_)) => Ok(false),
            Err(SendTimeoutError::Timeout(_)) => Err(behind(u64::from(limits::MAX_WAITING_MESSAGES))),
        }
    }

    async fn next<T: Clone>(&self, from: &mut broadcast::Receiver<T>) -> Result<Option<T>, eth::Error> {
        tokio::select! {
            () = self.sink.closed() => Ok(None),
            received = from.recv() => match received {
                Ok(value) => Ok(Some(value)),
                // The node ends.
                Err(RecvError::Closed) => Ok(None),
                Err(RecvError::Lagged(missed)) => Err(behind(missed)),
            },
        }
    }
}

async fn tell(service: &Service, client: &Client, what: What) -> Result<(), eth::Error> {
    match what {
        What::Heads(mut heads) => {
            while let Some(head) = client.next(&mut heads).await? {
                if !client.send(head.header.clone()).await? {
                    return Ok(());
                }
            }
        }
        What::Logs(mut heads, filter) => {
            while let Some(head) = client.next(&mut heads).await? {
                for log in if head.has_logs { logs(service, &head, &filter)? } else { Vec::new() } {
                    if !client.send(to_raw_value(&log).map_err(failed)?).await? {
                        return Ok(());
                    }
                }
            }
        }
        What::Transactions(mut arrivals) => {
            while let Some(hash) = client.next(&mut arrivals).await? {
                if !client.send(to_raw_value(&hash.to_string()).map_err(failed)?).await? {
                    return Ok(());
                }
            }
        }
        What::Syncing => {
            if client.send(to_raw_value(&false).map_err(failed)?).await? {
                client.sink.closed().await;
            }
        }
    }
    Ok(())
}

fn logs(service: &Service, head: &Head, filter: &LogFilter) -> Result<Vec<Json>, eth::Error> {
    tokio::task::block_in_place(|| {
        let chain = EvmChain(&service.host);
        eth::logs_of(&*chain.newest()?, head.number, filter)
    })
}
