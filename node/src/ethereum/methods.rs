//! The methods by name, and who answers each.

use super::chain::EvmChain;
use super::connection::Backlog;
use super::{Answer, Service, failed, invalid, limits, overloaded, refused};
use jsonrpsee::RpcModule;
use jsonrpsee::types::{ErrorObjectOwned, Params};
use parallax_evm::eth::{self, Chain as _};
use revm::primitives::B256;
use serde_json::value::to_raw_value;
use serde_json::{Value as Json, json};
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// Questions about states: [`parallax_evm::eth`] answers them.
const QUESTIONS: [&str; 47] = [
    "eth_chainId",
    "eth_syncing",
    "eth_mining",
    "eth_blockNumber",
    "eth_gasPrice",
    "eth_maxPriorityFeePerGas",
    "eth_blobBaseFee",
    "eth_coinbase",
    "eth_hashrate",
    "eth_networkId",
    "eth_feeHistory",
    "eth_getBalance",
    "eth_getTransactionCount",
    "eth_getCode",
    "eth_getStorageAt",
    "eth_getProof",
    "eth_call",
    "eth_estimateGas",
    "eth_createAccessList",
    "eth_getBlockByNumber",
    "eth_getBlockByHash",
    "eth_getBlockTransactionCountByNumber",
    "eth_getBlockTransactionCountByHash",
    "eth_getUncleCountByBlockNumber",
    "eth_getUncleCountByBlockHash",
    "eth_getUncleByBlockNumberAndIndex",
    "eth_getUncleByBlockHashAndIndex",
    "eth_getTransactionByBlockNumberAndIndex",
    "eth_getTransactionByBlockHashAndIndex",
    "eth_getBlockReceipts",
    "eth_getRawTransactionByHash",
    "eth_getRawTransactionByBlockNumberAndIndex",
    "eth_getRawTransactionByBlockHashAndIndex",
    "eth_getTransactionReceipt",
    "eth_getLogs",
    "debug_traceTransaction",
    "debug_traceCall",
    "debug_traceBlockByNumber",
    "debug_traceBlockByHash",
    "net_version",
    "net_listening",
    "web3_clientVersion",
    "web3_sha3",
    "hardhat_metadata",
    "anvil_metadata",
    "anvil_nodeInfo",
    TRANSACTION,
];

/// The same, but that it also looks at what waits.
const TRANSACTION: &str = "eth_getTransactionByHash";

/// What waits in the pool: the transactions, and how many.
const PENDING: &str = "eth_pendingTransactions";
const POOL: &str = "txpool_status";

/// Filters: [`super::filters`] answers.
const FILTERS: [&str; 6] = [
    "eth_newFilter",
    "eth_newBlockFilter",
    "eth_newPendingTransactionFilter",
    "eth_getFilterChanges",
    "eth_getFilterLogs",
    "eth_uninstallFilter",
];

/// Development accounts: [`super::accounts`] answers.
const SIGNING: [&str; 4] = ["eth_sign", "personal_sign", "eth_signTypedData", "eth_signTypedData_v4"];

/// The parameters of a request as they were sent.
pub(super) fn parameters(params: &Params<'_>) -> Result<Json, eth::Error> {
    params.parse::<Json>().map_err(|e| {
        invalid(format!("the parameters cannot be read, {}; give a list of them", e.message().to_lowercase()))
    })
}

/// An error as it travels.
pub(super) fn on_wire(error: eth::Error) -> ErrorObjectOwned {
    let code = i32::try_from(error.code).unwrap_or(-32_000);
    ErrorObjectOwned::owned(code, error.message, error.data)
}

/// All methods but those of subscriptions.
pub(super) fn module(service: Arc<Service>) -> eyre::Result<RpcModule<Service>> {
    let mut module = RpcModule::from_arc(service);
    let questions = QUESTIONS.into_iter().chain(FILTERS).chain(SIGNING);
    for method in questions.chain(["eth_accounts", "net_peerCount", PENDING, POOL]) {
        module.register_async_method(method, move |params, service, extensions| async move {
            let _place = service.place().map_err(on_wire)?;
            let parameters = parameters(&params).map_err(on_wire)?;
            let backlog = Backlog::of(&extensions);
            let answer = reading(service, move |service| {
                // Now that it is its turn, and not when it came: others of this client were worked on meanwhile.
                backlog.map_or(Ok(()), |backlog| backlog.room())?;
                to_raw_value(&service.answer(method, &parameters)?).map_err(failed)
            });
            answer.await.map_err(on_wire)
        })?;
    }
    for method in ["eth_sendRawTransaction", "eth_sendTransaction"].into_iter().chain(super::developer::METHODS) {
        module.register_async_method(method, move |params, service, _| async move {
            let _place = service.place().map_err(on_wire)?;
            let parameters = parameters(&params).map_err(on_wire)?;
            let answer = match method {
                "eth_sendRawTransaction" => service.send_raw(&parameters).await,
                "eth_sendTransaction" => service.send_transaction(&parameters).await,
                _ => service.control(method, &parameters).await,
            };
            answer.map_err(on_wire)
        })?;
    }
    Ok(module)
}

/// Reads states away from the threads that serve, when it is its turn. The turn ends with the work, not with the
/// client's patience.
pub(super) async fn reading<T: Send + 'static>(
    service: Arc<Service>,
    work: impl FnOnce(&Service) -> Result<T, eth::Error> + Send + 'static,
) -> Result<T, eth::Error> {
    let turn = Arc::clone(&service.turns).acquire_owned().await.map_err(failed)?;
    let work = tokio::task::spawn_blocking(move || {
        let done = work(&service);
        drop(turn);
        done
    });
    work.await.map_err(failed)?
}

impl Service {
    /// A place for a question, until it is answered.
    fn place(&self) -> Result<OwnedSemaphorePermit, eth::Error> {
        Arc::clone(&self.places)
            .try_acquire_owned()
            .map_err(|_| overloaded(&format!("{} questions wait on this node; ask again later", limits::MAX_WAITING)))
    }

    fn answer(&self, method: &str, parameters: &Json) -> Answer {
        if let Some(answer) = self.filter(method, parameters) {
            return answer;
        }
        match method {
            "eth_accounts" => Ok(json!(self.accounts.as_ref().map(super::Accounts::addresses).unwrap_or_default())),
            "net_peerCount" => Ok(json!("0x0")),
            PENDING => self.all_waiting(),
            POOL => {
                let (ready, all) = self.host.pool.counts();
                Ok(json!({ "pending": format!("{ready:#x}"), "queued": format!("{:#x}", all.saturating_sub(ready)) }))
            }
            method if SIGNING.contains(&method) => self.sign(method, parameters),
            _ => {
                let answer = eth::answer(&EvmChain(&self.host), method, parameters)?;
                if method == TRANSACTION && answer.is_null() { self.waiting(parameters) } else { Ok(answer) }
            }
        }
    }

    /// A transaction that waits in the pool.
    fn waiting(&self, parameters: &Json) -> Answer {
        let hash: Option<B256> = parameters.get(0).and_then(Json::as_str).and_then(|text| text.parse().ok());
        let digest = hash.and_then(|hash| self.pending().digest(&hash));
        let Some(bytes) = digest.and_then(|digest| self.host.pool.bytes(&digest)) else { return Ok(Json::Null) };
        eth::waiting(&*EvmChain(&self.host).newest()?, &bytes)
    }

    /// Everything that waits, as long as that is no more than an answer may be.
    fn all_waiting(&self) -> Answer {
        let all = self.host.pool.all();
        let size = all.iter().fold(0usize, |sum, (_, bytes)| sum.saturating_add(bytes.len()));
        if size > limits::MAX_WAITING_BYTES {
            let text = format!(
                "{} transactions of {size} bytes wait, {} bytes are the most that is listed; ask for one by its hash",
                all.len(),
                limits::MAX_WAITING_BYTES
            );
            return Err(refused(text));
        }
        let chain = EvmChain(&self.host);
        let view = chain.newest()?;
        let shown: Result<Vec<Json>, _> = all.iter().map(|(_, bytes)| eth::waiting(&*view, bytes)).collect();
        Ok(Json::Array(shown?.into_iter().filter(|tx| !tx.is_null()).collect()))
    }
}
