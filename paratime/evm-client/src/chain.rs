//! The connection to a chain: transactions out, receipts and answers in.

use crate::abi::revert_reason;
use crate::error::{Error, argument};
use crate::transaction::{Fee, Unsigned, hash};
use crate::wallet::Wallet;
use alloy_json_abi::JsonAbi;
use jsonrpsee::core::client::{ClientT, Error as RpcFault};
use jsonrpsee::core::params::ArrayParams;
use parallax_primitives::{ChainContext, ParaTimeId};
use parallax_rpc::types::PublicKeyInfo;
use parallax_rpc::{Client, NodeApiClient as _, ParaTimeApiClient};
use revm::primitives::{Address, B256, Bytes, TxKind, U256, hex};
use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};
use std::time::{Duration, Instant};

/// How often a client asks whether something has happened.
pub(crate) const POLL: Duration = Duration::from_millis(250);
/// How long a client waits for a block to take a transaction: a round with much FHE work may take minutes.
const RECEIPT_LIMIT: Duration = Duration::from_secs(300);
/// Code of an error that carries the data of a revert.
const REVERTED: i32 = 3;

/// Where a chain is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// URL of an Ethereum JSON-RPC server of the chain.
    pub ethereum: String,
    /// URL of the RPC server of a compute node that serves the EVM.
    pub node: String,
    /// URLs of the RPC servers of the key managers, for attestations and decryptions.
    pub key_managers: Vec<String>,
}

/// A transaction's wishes; what is left out is found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Whom it calls, or that it creates.
    pub to: TxKind,
    /// Calldata, or the code that creates with its arguments.
    pub input: Bytes,
    /// Wei that it carries.
    pub value: U256,
    /// The most gas that it may use; left out: what it takes now, and a quarter more.
    pub gas: Option<u64>,
}

impl Request {
    /// A call of a contract.
    pub fn call(to: Address, input: impl Into<Bytes>) -> Self {
        Self { to: TxKind::Call(to), input: input.into(), value: U256::ZERO, gas: None }
    }

    /// The creation of a contract.
    pub fn create(code: impl Into<Bytes>) -> Self {
        Self { to: TxKind::Create, input: code.into(), value: U256::ZERO, gas: None }
    }
}

/// What came of a transaction that was executed without failing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Which.
    pub hash: B256,
    /// The block that has it.
    pub block: u64,
    /// EVM gas that it used.
    pub gas_used: u64,
    /// FHE gas of its operations on encrypted values, in millibootstraps.
    pub fhe_gas: u64,
    /// The contract that it created.
    pub contract: Option<Address>,
    /// Handles of the values that it brought: of an encrypted input, else none.
    pub handles: Vec<B256>,
    /// Its logs, as Ethereum's interface shows them.
    pub logs: Json,
}

/// A client of one EVM ParaTime.
#[derive(Clone, Debug)]
pub struct EvmClient {
    pub(crate) ethereum: Client,
    pub(crate) node: Client,
    pub(crate) managers: Vec<Client>,
    pub(crate) chain: ChainContext,
    pub(crate) paratime: ParaTimeId,
    pub(crate) chain_id: u64,
    pub(crate) keys: PublicKeyInfo,
}

/// A field of an answer, or what is wrong with it.
pub(crate) fn answer_fault(client: &Client, method: &str, reason: impl Into<String>) -> Error {
    Error::Answer { endpoint: client.endpoint().to_owned(), method: method.to_owned(), reason: reason.into() }
}

/// The data of a revert that an error carries.
fn revert_data(fault: &RpcFault) -> Option<Vec<u8>> {
    let RpcFault::Call(object) = fault else { return None };
    let text: String = serde_json::from_str(object.data()?.get()).ok()?;
    if object.code() == REVERTED { hex::decode(text).ok() } else { None }
}

impl EvmClient {
    /// Connects to a chain and finds its EVM.
    ///
    /// # Errors
    /// If a node does not answer, or serves no EVM.
    pub async fn connect(endpoints: &Endpoints) -> Result<Self, Error> {
        let (ethereum, node) = (Client::new(&endpoints.ethereum)?, Client::new(&endpoints.node)?);
        let managers = endpoints.key_managers.iter().map(|url| Client::new(url)).collect::<Result<Vec<_>, _>>()?;
        let chain = node.status().await?.chain_context;
        let all = ParaTimeApiClient::list(&node).await?;
        let found = all.iter().find(|p| p.kind == parallax_evm::KIND && p.served_here);
        let paratime = found.map(|p| p.id).ok_or_else(|| {
            argument(format!("{} serves no confidential EVM; give the URL of a compute node that does", endpoints.node))
        })?;
        let keys = node.public_key(paratime).await?;
        let mut client = Self { ethereum, node, managers, chain, paratime, chain_id: 0, keys };
        client.chain_id = client.quantity("eth_chainId", ArrayParams::new()).await?;
        Ok(client)
    }

    /// The ParaTime.
    pub fn paratime(&self) -> ParaTimeId {
        self.paratime
    }

    /// The EVM's chain id.
    pub fn chain_id(&self) -> u64 {
        self.chain_id
    }

    /// The chain.
    pub fn chain(&self) -> ChainContext {
        self.chain
    }

    /// The key set of the ParaTime, and who decrypts.
    pub fn keys(&self) -> &PublicKeyInfo {
        &self.keys
    }

    async fn ask<T: DeserializeOwned>(&self, method: &str, parameters: ArrayParams) -> Result<T, RpcFault> {
        self.ethereum.request(method, parameters).await
    }

    async fn quantity(&self, method: &str, parameters: ArrayParams) -> Result<u64, Error> {
        let text: String = self.ask(method, parameters).await?;
        let wrong = || answer_fault(&self.ethereum, method, format!("{text:?} is no number"));
        u64::from_str_radix(text.strip_prefix("0x").ok_or_else(wrong)?, 16).map_err(|_| wrong())
    }

    /// The balance of an account, in wei.
    ///
    /// # Errors
    /// If the node does not answer.
    pub async fn balance(&self, account: Address) -> Result<U256, Error> {
        Ok(self.ask("eth_getBalance", parameters([json!(account), json!("latest")])).await?)
    }

    /// The position of an account's next transaction, those that wait included.
    ///
    /// # Errors
    /// If the node does not answer.
    pub async fn nonce(&self, account: Address) -> Result<u64, Error> {
        self.quantity("eth_getTransactionCount", parameters([json!(account), json!("pending")])).await
    }

    /// What a unit of gas may cost now: twice the base fee, so that a rise does not strand a transaction.
    ///
    /// # Errors
    /// If the node does not answer.
    pub async fn fee(&self) -> Result<Fee, Error> {
        let price = self.quantity("eth_gasPrice", ArrayParams::new()).await?;
        let priority = self.quantity("eth_maxPriorityFeePerGas", ArrayParams::new()).await?;
        let most = u128::from(price).saturating_mul(2).saturating_add(priority.into());
        Ok(Fee::Dynamic { priority: priority.into(), most })
    }

    /// A call that changes nothing; the bytes that it returns.
    ///
    /// # Errors
    /// [`Error::NoContract`] if nothing is there that could answer; [`Error::Reverted`] with the contract's reason, by
    /// the errors of `abi` if it is given.
    pub async fn call(&self, from: Address, request: &Request, abi: Option<&JsonAbi>) -> Result<Bytes, Error> {
        let given = parameters([self.described(from, request), json!("latest")]);
        let output: Bytes = match self.ask("eth_call", given).await {
            Ok(output) => output,
            Err(fault) => return Err(self.explained(fault, request, abi).await),
        };
        // To the EVM, calling an address without code succeeds and returns nothing.
        if let (true, TxKind::Call(to)) = (output.is_empty(), request.to) {
            self.require_contract(to).await?;
        }
        Ok(output)
    }

    /// The code at an address; empty if no contract is there.
    ///
    /// # Errors
    /// If the node does not answer.
    pub async fn code(&self, address: Address) -> Result<Bytes, Error> {
        Ok(self.ask("eth_getCode", parameters([json!(address), json!("latest")])).await?)
    }

    /// Makes sure that a contract is at an address: a transaction that calls one where none is succeeds and does nothing
    /// but move its wei.
    ///
    /// # Errors
    /// [`Error::NoContract`] if there is none, or if the node does not answer.
    pub async fn require_contract(&self, address: Address) -> Result<(), Error> {
        if self.code(address).await?.is_empty() { Err(Error::NoContract(address)) } else { Ok(()) }
    }

    /// Why a call fails. A contract reverts without a word when it has no function that was meant, so its code is looked
    /// at then.
    async fn explained(&self, fault: RpcFault, request: &Request, abi: Option<&JsonAbi>) -> Error {
        let Some(data) = revert_data(&fault) else { return fault.into() };
        if let ([], TxKind::Call(to), Some(selector)) = (data.as_slice(), request.to, request.input.first_chunk::<4>())
            && let Ok(code) = self.code(to).await
            && !names(&code, selector)
        {
            return Error::Reverted(format!(
                "it reverted without saying why, and its code does not know the selector {}: it probably has no function \
                 of this name with these types",
                hex::encode_prefixed(selector)
            ));
        }
        Error::Reverted(revert_reason(&data, abi))
    }

    fn described(&self, from: Address, request: &Request) -> Json {
        let mut call = json!({
            "from": from,
            "value": format!("{:#x}", request.value),
            "input": request.input,
        });
        if let (TxKind::Call(to), Some(fields)) = (request.to, call.as_object_mut()) {
            fields.insert("to".to_owned(), json!(to));
        }
        call
    }

    /// Signs and sends a transaction and waits until a block has it.
    ///
    /// # Errors
    /// [`Error::Reverted`] if it would fail now and was not sent, [`Error::Failed`] if it failed in a block, or the
    /// node's refusal.
    pub async fn send(&self, from: &Wallet, request: &Request, abi: Option<&JsonAbi>) -> Result<Receipt, Error> {
        let gas_limit = match request.gas {
            Some(gas) => gas,
            None => {
                let estimate = [self.described(from.address(), request)];
                let text: U256 = match self.ask("eth_estimateGas", parameters(estimate)).await {
                    Ok(text) => text,
                    Err(fault) => return Err(self.explained(fault, request, abi).await),
                };
                // What it touches may have changed when it is executed.
                let least: u64 = text.saturating_to();
                least.saturating_add(least / 4)
            }
        };
        let unsigned = Unsigned {
            chain_id: self.chain_id,
            nonce: self.nonce(from.address()).await?,
            fee: self.fee().await?,
            gas_limit,
            to: request.to,
            value: request.value,
            input: request.input.clone(),
        };
        self.submit(&unsigned.sign(from)?, abi).await
    }

    /// Creates a contract; its address is in the receipt.
    ///
    /// # Errors
    /// As [`EvmClient::send`].
    pub async fn deploy(&self, from: &Wallet, code: &[u8], abi: Option<&JsonAbi>) -> Result<Receipt, Error> {
        self.send(from, &Request::create(code.to_vec()), abi).await
    }

    /// Sends signed bytes and waits until a block has them.
    ///
    /// # Errors
    /// As [`EvmClient::send`].
    pub async fn submit(&self, signed: &[u8], abi: Option<&JsonAbi>) -> Result<Receipt, Error> {
        let hash = hash(signed);
        let _: B256 = self.ask("eth_sendRawTransaction", parameters([json!(hex::encode_prefixed(signed))])).await?;
        self.wait(hash, abi).await
    }

    /// Waits until a block has a transaction.
    ///
    /// # Errors
    /// [`Error::Failed`] if it failed there, [`Error::Missing`] if none has it.
    pub async fn wait(&self, hash: B256, abi: Option<&JsonAbi>) -> Result<Receipt, Error> {
        let begun = Instant::now();
        loop {
            let found: Json = self.ask("eth_getTransactionReceipt", parameters([json!(hash)])).await?;
            if !found.is_null() {
                return self.receipt(hash, &found, abi).await;
            }
            if begun.elapsed() >= RECEIPT_LIMIT {
                return Err(Error::Missing { hash, seconds: RECEIPT_LIMIT.as_secs() });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// The receipt, with what Ethereum's form has no place for.
    async fn receipt(&self, hash: B256, found: &Json, abi: Option<&JsonAbi>) -> Result<Receipt, Error> {
        let asked = json!({ "hash": hash });
        let more = ParaTimeApiClient::query(&self.node, self.paratime, "receipt".to_owned(), asked).await?;
        let number = |from: &Json, name: &str| -> Result<u64, Error> {
            let text = from.get(name).and_then(Json::as_str).and_then(|text| text.strip_prefix("0x"));
            text.and_then(|digits| u64::from_str_radix(digits, 16).ok())
                .ok_or_else(|| answer_fault(&self.ethereum, "eth_getTransactionReceipt", format!("no number {name}")))
        };
        let block = number(found, "blockNumber")?;
        if number(found, "status")? == 0 {
            return Err(Error::Failed { hash, block, reason: failure_reason(&more, abi) });
        }
        let parsed = |text: &Json| text.as_str().and_then(|text| text.parse::<B256>().ok());
        Ok(Receipt {
            hash,
            block,
            gas_used: number(found, "gasUsed")?,
            fhe_gas: number(&more, "fhe_gas")?,
            contract: found.get("contractAddress").and_then(Json::as_str).and_then(|text| text.parse().ok()),
            handles: more.get("handles").and_then(Json::as_array).into_iter().flatten().filter_map(parsed).collect(),
            logs: found.get("logs").cloned().unwrap_or_default(),
        })
    }
}

/// Why a transaction failed, from the ParaTime's own receipt.
fn failure_reason(receipt: &Json, abi: Option<&JsonAbi>) -> String {
    let failure = receipt.get("failure").unwrap_or(&Json::Null);
    let field = |name: &str| failure.get(name).and_then(Json::as_str);
    match (field("revert").map(hex::decode), field("halt"), field("fhe")) {
        (Some(Ok(data)), _, _) => revert_reason(&data, abi),
        (_, Some(why), _) => format!("the EVM stopped it: {why}"),
        (_, _, Some(why)) => why.to_owned(),
        _ => "the node does not say why".to_owned(),
    }
}

/// Whether code has a function's selector in it: compilers push it, without the zeros that it begins with.
fn names(code: &[u8], selector: &[u8; 4]) -> bool {
    let zeros = selector.iter().take_while(|byte| **byte == 0).count();
    let pushed = &selector[zeros..];
    pushed.is_empty() || code.windows(pushed.len()).any(|window| window == pushed)
}

pub(crate) fn parameters<const N: usize>(values: [Json; N]) -> ArrayParams {
    let mut out = ArrayParams::new();
    for value in values {
        // JSON always has a text.
        let _ = out.insert(value);
    }
    out
}
