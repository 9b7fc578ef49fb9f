//! Ethereum's JSON-RPC on a state: what a node's interface passes on, without transport, accounts, filters or the pool.
//!
//! [`answer`] takes a method with its parameters as clients send them and gives an object with `result` or `error`, as
//! JSON-RPC has them; reverts carry their data with code 3, as clients expect. State is that of the view alone: a tag or
//! number other than the newest block's is an error here, and a node that keeps older versions answers with their views.

use crate::evm::{self, BlockContext, Call};
use crate::params::Params;
use crate::receipt::{BlockRecord, Failure, StoredLog, StoredReceipt, bloom, may_contain};
use crate::state;
use crate::transaction::Transaction;
use parallax_state::{StateError, StateView};
use revm::context_interface::result::{EVMError, ExecutionResult};
use revm::primitives::{Address, B256, Bytes, U256, hex};
use serde_json::{Value as Json, json};
use std::str::FromStr;

/// Most blocks that one question for logs may cover.
pub const MAX_LOG_BLOCKS: u64 = 10_000;
/// Most logs in one answer.
pub const MAX_LOGS: usize = 10_000;
/// Most blocks of a fee history.
const MAX_HISTORY: u64 = 1_024;
/// What Ethereum's header says of a block without uncles: Keccak-256 of an empty RLP list.
const NO_UNCLES: &str = "0x1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347";

/// An error as JSON-RPC has it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Failed {
    code: i64,
    message: String,
    data: Option<String>,
}

type Answer = Result<Json, Failed>;

fn invalid(message: impl Into<String>) -> Failed {
    Failed { code: -32_602, message: message.into(), data: None }
}

fn server(message: impl Into<String>) -> Failed {
    Failed { code: -32_000, message: message.into(), data: None }
}

impl From<StateError> for Failed {
    fn from(error: StateError) -> Self {
        server(format!("the state cannot be read: {error}"))
    }
}

fn quantity(n: impl std::fmt::LowerHex) -> String {
    format!("{n:#x}")
}

fn at(parameters: &Json, index: usize) -> &Json {
    parameters.get(index).unwrap_or(&Json::Null)
}

fn parsed<T: FromStr>(value: &Json, what: &str) -> Result<T, Failed> {
    let text = value.as_str().ok_or_else(|| invalid(format!("{what} is missing or is no text")))?;
    text.parse().map_err(|_| invalid(format!("{what} is {text:?}, which is not one")))
}

fn optional<T: FromStr>(value: &Json, what: &str) -> Result<Option<T>, Failed> {
    if value.is_null() { Ok(None) } else { parsed(value, what).map(Some) }
}

/// Whether a method is one of Ethereum's, for this module.
pub fn is_method(method: &str) -> bool {
    method.starts_with("eth_") || method.starts_with("net_")
}

/// Answers a method: an object with `result` or with `error`.
pub fn answer(view: &dyn StateView, method: &str, parameters: &Json) -> Json {
    match result(view, method, parameters) {
        Ok(result) => json!({ "result": result }),
        Err(Failed { code, message, data: None }) => json!({ "error": { "code": code, "message": message } }),
        Err(Failed { code, message, data }) => {
            json!({ "error": { "code": code, "message": message, "data": data } })
        }
    }
}

fn result(view: &dyn StateView, method: &str, parameters: &Json) -> Answer {
    let params = state::params(view)?;
    let account = |index| -> Result<_, Failed> {
        newest(view, at(parameters, index))?;
        Ok(state::account(view, &parsed(at(parameters, 0), "address")?)?.unwrap_or_default())
    };
    match method {
        "eth_chainId" => Ok(json!(quantity(params.chain_id))),
        "net_version" => Ok(json!(params.chain_id.to_string())),
        "eth_blockNumber" => Ok(json!(quantity(state::head(view)?.header.number))),
        "eth_gasPrice" => Ok(json!(quantity(params.base_fee))),
        "eth_maxPriorityFeePerGas" => Ok(json!("0x0")),
        "eth_feeHistory" => fee_history(view, &params, parameters),
        "eth_getBalance" => Ok(json!(quantity(account(1)?.balance))),
        "eth_getTransactionCount" => Ok(json!(quantity(account(1)?.nonce))),
        "eth_getCode" => Ok(json!(hex::encode_prefixed(state::code(view, &account(1)?.code_hash)?))),
        "eth_getStorageAt" => {
            newest(view, at(parameters, 2))?;
            let (address, slot): (Address, U256) =
                (parsed(at(parameters, 0), "address")?, parsed(at(parameters, 1), "slot")?);
            Ok(json!(B256::from(state::slot(view, &address, &slot)?).to_string()))
        }
        "eth_call" => {
            newest(view, at(parameters, 1))?;
            Ok(json!(made(view, &params, &call_of(at(parameters, 0))?)?.0.to_string()))
        }
        "eth_estimateGas" => Ok(json!(quantity(estimate(view, &params, &call_of(at(parameters, 0))?)?))),
        "eth_getBlockByNumber" => block_json(view, &params, by_tag(view, at(parameters, 0))?, at(parameters, 1)),
        "eth_getBlockByHash" => block_json(view, &params, by_hash(view, at(parameters, 0))?, at(parameters, 1)),
        "eth_getBlockTransactionCountByNumber" => {
            Ok(by_tag(view, at(parameters, 0))?.map_or(Json::Null, |b| json!(quantity(b.transactions.len()))))
        }
        "eth_getBlockReceipts" => block_receipts(view, &params, by_tag(view, at(parameters, 0))?),
        "eth_getTransactionByHash" => transaction_by_hash(view, &params, &parsed(at(parameters, 0), "hash")?),
        "eth_getTransactionReceipt" => receipt_by_hash(view, &params, &parsed(at(parameters, 0), "hash")?),
        "eth_getLogs" => logs(view, at(parameters, 0)),
        other => {
            let message = format!("the method {other} does not exist or is not available");
            Err(Failed { code: -32_601, message, data: None })
        }
    }
}

/// The block that a tag, a number or nothing names.
fn by_tag(view: &dyn StateView, tag: &Json) -> Result<Option<BlockRecord>, Failed> {
    match tag.as_str() {
        None if tag.is_null() => Ok(Some(state::head(view)?)),
        Some("latest" | "pending" | "safe" | "finalized") => Ok(Some(state::head(view)?)),
        Some("earliest") => Ok(state::block(view, 0)?),
        _ => Ok(state::block(view, parsed::<U256>(tag, "block")?.saturating_to())?),
    }
}

fn by_hash(view: &dyn StateView, hash: &Json) -> Result<Option<BlockRecord>, Failed> {
    match state::number(view, &parsed(hash, "block hash")?)? {
        Some(number) => Ok(state::block(view, number)?),
        None => Ok(None),
    }
}

/// State is that of the newest block.
fn newest(view: &dyn StateView, tag: &Json) -> Result<(), Failed> {
    let head = state::head(view)?.header.number;
    match by_tag(view, tag)? {
        Some(block) if block.header.number == head => Ok(()),
        _ => Err(server(format!("the state of block {tag} is not at hand, the newest is {head}; ask for \"latest\""))),
    }
}

fn call_of(given: &Json) -> Result<Call, Failed> {
    let field = |name: &str| given.get(name).unwrap_or(&Json::Null);
    let input = match field("input") {
        Json::Null => field("data"),
        input => input,
    };
    Ok(Call {
        from: optional(field("from"), "from")?.unwrap_or_default(),
        to: optional(field("to"), "to")?,
        value: optional(field("value"), "value")?.unwrap_or_default(),
        input: optional::<Bytes>(input, "input")?.unwrap_or_default(),
        gas: optional::<U256>(field("gas"), "gas")?.map(|gas| gas.saturating_to()),
    })
}

/// What a call returns, and the gas that it used.
fn made(view: &dyn StateView, params: &Params, call: &Call) -> Result<(Bytes, u64), Failed> {
    let block = BlockContext::pending(&state::head(view)?);
    let done = match evm::call(view, params, &block, call) {
        Ok(done) => done.result,
        Err(EVMError::Database(fault)) => return Err(fault.0.into()),
        Err(other) => return Err(server(other.to_string())),
    };
    let gas = done.tx_gas_used();
    match done {
        ExecutionResult::Success { output, .. } => Ok((output.into_data(), gas)),
        ExecutionResult::Revert { output, .. } => {
            let message = "execution reverted".to_owned();
            Err(Failed { code: 3, message, data: Some(output.to_string()) })
        }
        ExecutionResult::Halt { reason, .. } => Err(server(format!("execution stopped: {reason:?}"))),
    }
}

/// The least gas limit with which a transaction succeeds, to within a sixty-fourth.
fn estimate(view: &dyn StateView, params: &Params, call: &Call) -> Result<u64, Failed> {
    let most = call.gas.unwrap_or(u64::MAX).min(params.transaction_gas_limit);
    let with = |gas| made(view, params, &Call { gas: Some(gas), ..call.clone() });
    let (mut low, mut high) = (with(most)?.1.saturating_sub(1), most);
    // What is used is often enough; if not, refunds and calls hold some back.
    if with(low.saturating_add(1)).is_ok() {
        return Ok(low.saturating_add(1));
    }
    while high.saturating_sub(low) > high / 64 {
        let middle = low.saturating_add(high.saturating_sub(low) / 2);
        if with(middle).is_ok() { high = middle } else { low = middle }
    }
    Ok(high)
}

fn fee_history(view: &dyn StateView, params: &Params, parameters: &Json) -> Answer {
    let count = match at(parameters, 0) {
        Json::Number(n) => n.as_u64().unwrap_or(0),
        text => parsed::<U256>(text, "block count")?.saturating_to(),
    };
    let Some(last) = by_tag(view, at(parameters, 1))? else { return Ok(Json::Null) };
    let last = last.header.number;
    let first = last.saturating_add(1).saturating_sub(count.clamp(1, MAX_HISTORY));
    let (mut ratios, mut fees, mut rewards) = (Vec::new(), Vec::new(), Vec::new());
    let percentiles = at(parameters, 2).as_array().map_or(0, Vec::len);
    for number in first..=last {
        let Some(block) = state::block(view, number)? else { continue };
        // Parts of a thousand: JSON's fractions are floats, and none may enter a result here.
        let used = block.header.gas_used.saturating_mul(1_000).checked_div(block.header.gas_limit).unwrap_or(0);
        ratios.push(Json::Number(ratio(used)));
        fees.push(json!(quantity(block.header.base_fee)));
        rewards.push(json!(vec!["0x0"; percentiles.min(100)]));
    }
    fees.push(json!(quantity(params.base_fee)));
    Ok(json!({ "oldestBlock": quantity(first), "baseFeePerGas": fees, "gasUsedRatio": ratios, "reward": rewards }))
}

/// A fraction in thousandths as a JSON number.
fn ratio(thousandths: u64) -> serde_json::Number {
    let text = format!("{}.{:03}", thousandths / 1_000, thousandths % 1_000);
    text.parse().unwrap_or_else(|_| 0.into())
}

fn block_json(view: &dyn StateView, params: &Params, block: Option<BlockRecord>, full: &Json) -> Answer {
    let Some(block) = block else { return Ok(Json::Null) };
    let header = &block.header;
    let mut transactions = Vec::new();
    for (index, hash) in (0u32..).zip(&block.transactions) {
        transactions.push(match full.as_bool() {
            Some(true) => transaction_json(view, params, &block, index)?,
            _ => json!(B256::from(*hash).to_string()),
        });
    }
    let zero = B256::ZERO.to_string();
    Ok(json!({
        "number": quantity(header.number),
        "hash": B256::from(block.hash).to_string(),
        "parentHash": B256::from(header.parent).to_string(),
        "sha3Uncles": NO_UNCLES,
        "miner": Address::from(header.beneficiary).to_string(),
        "stateRoot": zero,
        "transactionsRoot": B256::from(header.transactions).to_string(),
        "receiptsRoot": zero,
        "logsBloom": hex::encode_prefixed(header.bloom),
        "difficulty": "0x0",
        "totalDifficulty": "0x0",
        "gasLimit": quantity(header.gas_limit),
        "gasUsed": quantity(header.gas_used),
        "timestamp": quantity(header.timestamp),
        "extraData": "0x",
        "mixHash": B256::from(header.randomness).to_string(),
        "nonce": "0x0000000000000000",
        "baseFeePerGas": quantity(header.base_fee),
        "size": "0x0",
        "uncles": [],
        "transactions": transactions,
    }))
}

/// A transaction's place, with its block and receipt.
fn found(view: &dyn StateView, hash: &B256) -> Result<Option<(BlockRecord, u32)>, Failed> {
    let Some((number, index)) = state::place(view, hash)? else { return Ok(None) };
    Ok(state::block(view, number)?.map(|block| (block, index)))
}

fn transaction_by_hash(view: &dyn StateView, params: &Params, hash: &B256) -> Answer {
    match found(view, hash)? {
        Some((block, index)) => transaction_json(view, params, &block, index),
        None => Ok(Json::Null),
    }
}

fn transaction_json(view: &dyn StateView, params: &Params, block: &BlockRecord, index: u32) -> Answer {
    let Some(receipt) = state::receipt(view, block.header.number, index)? else { return Ok(Json::Null) };
    let mut out = json!({
        "blockHash": B256::from(block.hash).to_string(),
        "blockNumber": quantity(block.header.number),
        "transactionIndex": quantity(index),
        "from": Address::from(receipt.from).to_string(),
        "gasPrice": quantity(receipt.effective_gas_price),
    });
    let more = match Transaction::open(&receipt.transaction, params.chain_id) {
        Ok(tx) => ethereum_json(&tx, params.chain_id),
        // An encrypted input: of its list nothing is kept.
        Err(_) => json!({
            "hash": hash_of(block, index),
            "type": quantity(crate::input::TYPE),
            "nonce": "0x0",
            "to": null,
            "value": "0x0",
            "gas": quantity(receipt.gas_used),
            "input": "0x",
            "chainId": quantity(params.chain_id),
        }),
    };
    if let (Some(out), Json::Object(more)) = (out.as_object_mut(), more) {
        out.extend(more);
    }
    Ok(out)
}

fn hash_of(block: &BlockRecord, index: u32) -> String {
    let hash = usize::try_from(index).ok().and_then(|index| block.transactions.get(index));
    hash.map_or_else(String::new, |hash| B256::from(*hash).to_string())
}

fn ethereum_json(tx: &Transaction, chain_id: u64) -> Json {
    let parity = u64::from(tx.odd);
    let v = if tx.kind == 0 { chain_id.saturating_mul(2).saturating_add(35 + parity) } else { parity };
    let mut out = json!({
        "hash": tx.hash.to_string(),
        "type": quantity(tx.kind),
        "nonce": quantity(tx.nonce),
        "to": tx.to.to().map(Address::to_string),
        "value": quantity(tx.value),
        "gas": quantity(tx.gas_limit),
        "input": tx.input.to_string(),
        "chainId": quantity(chain_id),
        "v": quantity(v),
        "r": quantity(tx.r),
        "s": quantity(tx.s),
    });
    let Some(fields) = out.as_object_mut() else { return Json::Null };
    if tx.kind > 0 {
        let item =
            |(address, keys): (Address, Vec<String>)| json!({ "address": address.to_string(), "storageKeys": keys });
        let list = tx.access_list.0.iter().map(|i| (i.address, i.storage_keys.iter().map(B256::to_string).collect()));
        fields.insert("accessList".to_owned(), list.map(item).collect());
        fields.insert("yParity".to_owned(), json!(quantity(parity)));
    }
    if let Some(priority) = tx.max_priority_fee {
        fields.insert("maxFeePerGas".to_owned(), json!(quantity(tx.max_fee)));
        fields.insert("maxPriorityFeePerGas".to_owned(), json!(quantity(priority)));
    }
    out
}

fn receipt_by_hash(view: &dyn StateView, params: &Params, hash: &B256) -> Answer {
    let Some((block, index)) = found(view, hash)? else { return Ok(Json::Null) };
    let mut all = receipts(view, &block)?;
    let (Ok(place), true) = (usize::try_from(index), index < u32::MAX) else { return Ok(Json::Null) };
    if place >= all.len() {
        return Ok(Json::Null);
    }
    let before = all.iter().take(place).map(|r| r.logs.len()).sum();
    Ok(receipt_json(params, &block, index, &all.swap_remove(place), before))
}

fn receipts(view: &dyn StateView, block: &BlockRecord) -> Result<Vec<StoredReceipt>, Failed> {
    let mut out = Vec::new();
    for index in (0u32..).take(block.transactions.len()) {
        out.extend(state::receipt(view, block.header.number, index)?);
    }
    Ok(out)
}

fn block_receipts(view: &dyn StateView, params: &Params, block: Option<BlockRecord>) -> Answer {
    let Some(block) = block else { return Ok(Json::Null) };
    let (mut out, mut before) = (Vec::new(), 0usize);
    for (index, receipt) in (0u32..).zip(receipts(view, &block)?) {
        out.push(receipt_json(params, &block, index, &receipt, before));
        before = before.saturating_add(receipt.logs.len());
    }
    Ok(Json::Array(out))
}

fn receipt_json(params: &Params, block: &BlockRecord, index: u32, found: &StoredReceipt, before: usize) -> Json {
    let tx = Transaction::open(&found.transaction, params.chain_id).ok();
    let logs: Vec<Json> =
        (before..).zip(&found.logs).map(|(position, log)| log_json(block, index, log, position)).collect();
    let reason = match &found.outcome {
        Ok(_) => Json::Null,
        Err(Failure::Revert(data)) => json!(hex::encode_prefixed(data)),
        Err(Failure::Halt(reason) | Failure::Fhe(reason)) => json!(reason),
    };
    json!({
        "transactionHash": hash_of(block, index),
        "transactionIndex": quantity(index),
        "blockHash": B256::from(block.hash).to_string(),
        "blockNumber": quantity(block.header.number),
        "type": quantity(tx.as_ref().map_or(crate::input::TYPE, |tx| tx.kind)),
        "from": Address::from(found.from).to_string(),
        "to": tx.as_ref().and_then(|tx| tx.to.to().map(Address::to_string)),
        "contractAddress": found.contract.map(|c| Address::from(c).to_string()),
        "status": quantity(u8::from(found.outcome.is_ok())),
        "gasUsed": quantity(found.gas_used),
        "cumulativeGasUsed": quantity(found.cumulative_gas_used),
        "effectiveGasPrice": quantity(found.effective_gas_price),
        "logsBloom": hex::encode_prefixed(bloom(&found.logs)),
        "logs": logs,
        "revertReason": reason,
    })
}

fn log_json(block: &BlockRecord, index: u32, log: &StoredLog, position: usize) -> Json {
    let topics: Vec<String> = log.topics.iter().map(|t| B256::from(*t).to_string()).collect();
    json!({
        "address": Address::from(log.address).to_string(),
        "topics": topics,
        "data": hex::encode_prefixed(&log.data),
        "blockNumber": quantity(block.header.number),
        "blockHash": B256::from(block.hash).to_string(),
        "transactionHash": hash_of(block, index),
        "transactionIndex": quantity(index),
        "logIndex": quantity(position),
        "removed": false,
    })
}

/// One of several values, or any if there are none.
struct OneOf<T>(Vec<T>);

impl<T: FromStr + PartialEq> OneOf<T> {
    fn of(value: &Json, what: &str) -> Result<Self, Failed> {
        match value {
            Json::Null => Ok(Self(Vec::new())),
            Json::Array(list) => list.iter().map(|v| parsed(v, what)).collect::<Result<_, _>>().map(Self),
            one => Ok(Self(vec![parsed(one, what)?])),
        }
    }

    fn takes(&self, value: &T) -> bool {
        self.0.is_empty() || self.0.contains(value)
    }
}

fn logs(view: &dyn StateView, filter: &Json) -> Answer {
    let field = |name: &str| filter.get(name).unwrap_or(&Json::Null);
    let addresses: OneOf<Address> = OneOf::of(field("address"), "address")?;
    let topics = field("topics").as_array().cloned().unwrap_or_default();
    let topics = topics.iter().map(|t| OneOf::of(t, "topic")).collect::<Result<Vec<OneOf<B256>>, _>>()?;
    let (first, last) = match field("blockHash") {
        Json::Null => {
            let number = |tag| -> Result<u64, Failed> {
                match by_tag(view, tag)? {
                    Some(block) => Ok(block.header.number),
                    None => parsed::<U256>(tag, "block").map(|n| n.saturating_to()),
                }
            };
            (number(field("fromBlock"))?, number(field("toBlock"))?.min(state::head(view)?.header.number))
        }
        hash => {
            let block = by_hash(view, hash)?.ok_or_else(|| server("there is no block with this hash"))?;
            (block.header.number, block.header.number)
        }
    };
    if last.saturating_sub(first) >= MAX_LOG_BLOCKS {
        return Err(server(format!("it covers more than {MAX_LOG_BLOCKS} blocks; ask for fewer")));
    }
    let wanted = |log: &StoredLog| {
        let fits =
            |(at, one_of): (usize, &OneOf<B256>)| log.topics.get(at).is_some_and(|t| one_of.takes(&B256::from(*t)));
        addresses.takes(&Address::from(log.address)) && topics.iter().enumerate().all(fits)
    };
    let mut out = Vec::new();
    for number in first..=last {
        let Some(block) = state::block(view, number)? else { continue };
        let addressed = addresses.0.is_empty() || addresses.0.iter().any(|a| may_contain(&block.header.bloom, &a[..]));
        if !addressed {
            continue;
        }
        let mut position = 0usize;
        for (index, receipt) in (0u32..).zip(receipts(view, &block)?) {
            for log in &receipt.logs {
                if wanted(log) {
                    out.push(log_json(&block, index, log, position));
                }
                position = position.saturating_add(1);
            }
        }
        if out.len() > MAX_LOGS {
            return Err(server(format!("there are more than {MAX_LOGS} such logs; ask for fewer blocks")));
        }
    }
    Ok(Json::Array(out))
}
