//! Blocks, transactions and receipts in JSON.

use super::given::{number, parsed};
use super::{Answer, Error, Question, quantity};
use crate::control;
use crate::envelope::Envelope;
use crate::params::Params;
use crate::receipt::{BlockRecord, Failure, StoredLog, StoredReceipt, bloom};
use crate::state;
use crate::transaction::Transaction;
use parallax_state::StateView;
use revm::context::transaction::{AccessList, AccessListItem};
use revm::primitives::{Address, B256, hex};
use serde_json::{Value as Json, json};

/// Most blocks of a fee history.
const MAX_HISTORY: u64 = 1_024;
/// Characters of a hash in hexadecimal.
const HASH_DIGITS: usize = 66;
/// What Ethereum's header says of a block without uncles: Keccak-256 of an empty RLP list.
const NO_UNCLES: &str = "0x1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347";

impl Question<'_> {
    /// Methods about blocks, transactions and logs; `None` if it is none of them.
    pub(super) fn history(&self, method: &str) -> Result<Option<Json>, Error> {
        let (view, params) = (self.newest, &self.params);
        let first = || self.block(self.parameter(0));
        let by_hash = || self.block_by_hash(self.parameter(0));
        let hash = || parsed(self.parameter(0), "hash");
        Ok(Some(match method {
            "eth_feeHistory" => self.fee_history()?,
            "eth_getBlockByNumber" => block_json(view, params, first()?, self.parameter(1))?,
            "eth_getBlockByHash" => block_json(view, params, by_hash()?, self.parameter(1))?,
            "eth_getBlockTransactionCountByNumber" => count(first()?),
            "eth_getBlockTransactionCountByHash" => count(by_hash()?),
            "eth_getUncleCountByBlockNumber" => first()?.map_or(Json::Null, |_| json!("0x0")),
            "eth_getUncleCountByBlockHash" => by_hash()?.map_or(Json::Null, |_| json!("0x0")),
            "eth_getUncleByBlockNumberAndIndex" | "eth_getUncleByBlockHashAndIndex" => Json::Null,
            "eth_getTransactionByBlockNumberAndIndex" => self.transaction_at(first()?)?,
            "eth_getTransactionByBlockHashAndIndex" => self.transaction_at(by_hash()?)?,
            // Some clients give the hash as plain text.
            "eth_getBlockReceipts" => match self.parameter(0).as_str() {
                Some(text) if text.len() == HASH_DIGITS => block_receipts(view, params, by_hash()?)?,
                _ => block_receipts(view, params, first()?)?,
            },
            "eth_getTransactionByHash" => transaction_by_hash(view, params, &hash()?)?,
            "eth_getRawTransactionByHash" => raw_transaction(view, &hash()?)?,
            "eth_getRawTransactionByBlockNumberAndIndex" => self.raw_transaction_at(first()?)?,
            "eth_getRawTransactionByBlockHashAndIndex" => self.raw_transaction_at(by_hash()?)?,
            "eth_getTransactionReceipt" => receipt_by_hash(view, params, &hash()?)?,
            "eth_getLogs" => self.logs()?,
            _ => return Ok(None),
        }))
    }

    fn transaction_at(&self, block: Option<BlockRecord>) -> Answer {
        let index: u32 = number(self.parameter(1), "index")?.saturating_to();
        match block {
            Some(block) => transaction_json(self.newest, &self.params, &block, index),
            None => Ok(Json::Null),
        }
    }

    fn raw_transaction_at(&self, block: Option<BlockRecord>) -> Answer {
        let index: u32 = number(self.parameter(1), "index")?.saturating_to();
        match block {
            Some(block) => raw_json(self.newest, block.header.number, index),
            None => Ok(Json::Null),
        }
    }

    fn fee_history(&self) -> Answer {
        let count: u64 = number(self.parameter(0), "block count")?.saturating_to();
        let Some(last) = self.block(self.parameter(1))? else { return Ok(Json::Null) };
        let last = last.header.number;
        let first = last.saturating_add(1).saturating_sub(count.clamp(1, MAX_HISTORY));
        let (mut ratios, mut fees, mut rewards) = (Vec::new(), Vec::new(), Vec::new());
        let percentiles = self.parameter(2).as_array().map_or(0, Vec::len);
        for number in first..=last {
            let Some(block) = state::block(self.newest, number)? else { continue };
            // Parts of a thousand: JSON's fractions are floats, and none may enter a result here.
            let used = block.header.gas_used.saturating_mul(1_000).checked_div(block.header.gas_limit).unwrap_or(0);
            ratios.push(Json::Number(ratio(used)));
            fees.push(json!(quantity(block.header.base_fee)));
            rewards.push(json!(vec!["0x0"; percentiles.min(100)]));
        }
        fees.push(json!(quantity(self.params.base_fee)));
        Ok(json!({ "oldestBlock": quantity(first), "baseFeePerGas": fees, "gasUsedRatio": ratios, "reward": rewards }))
    }
}

fn count(block: Option<BlockRecord>) -> Json {
    block.map_or(Json::Null, |block| json!(quantity(block.transactions.len())))
}

fn raw_transaction(view: &dyn StateView, hash: &B256) -> Answer {
    let Some((number, index)) = state::place(view, hash)? else { return Ok(Json::Null) };
    raw_json(view, number, index)
}

fn raw_json(view: &dyn StateView, number: u64, index: u32) -> Answer {
    Ok(state::receipt(view, number, index)?.map_or(Json::Null, |r| json!(hex::encode_prefixed(r.transaction))))
}

/// A fraction in thousandths as a JSON number.
fn ratio(thousandths: u64) -> serde_json::Number {
    let text = format!("{}.{:03}", thousandths / 1_000, thousandths % 1_000);
    text.parse().unwrap_or_else(|_| 0.into())
}

fn block_json(view: &dyn StateView, params: &Params, block: Option<BlockRecord>, full: &Json) -> Answer {
    let Some(block) = block else { return Ok(Json::Null) };
    let mut transactions = Vec::new();
    for (index, hash) in (0u32..).zip(&block.transactions) {
        transactions.push(match full.as_bool() {
            Some(true) => transaction_json(view, params, &block, index)?,
            _ => json!(B256::from(*hash).to_string()),
        });
    }
    let mut out = header_json(&block);
    if let Some(fields) = out.as_object_mut() {
        fields.insert("size".to_owned(), json!("0x0"));
        fields.insert("totalDifficulty".to_owned(), json!("0x0"));
        fields.insert("uncles".to_owned(), json!([]));
        fields.insert("transactions".to_owned(), Json::Array(transactions));
    }
    Ok(out)
}

/// The header of a block as subscriptions to new heads show it; `None` if there is no such block.
///
/// # Errors
/// If the state cannot be read.
pub fn header(view: &dyn StateView, number: u64) -> Result<Option<Json>, Error> {
    Ok(state::block(view, number)?.map(|block| header_json(&block)))
}

fn header_json(block: &BlockRecord) -> Json {
    let (header, zero) = (&block.header, B256::ZERO.to_string());
    json!({
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
        "gasLimit": quantity(header.gas_limit),
        "gasUsed": quantity(header.gas_used),
        "timestamp": quantity(header.timestamp),
        "extraData": "0x",
        "mixHash": B256::from(header.randomness).to_string(),
        "nonce": "0x0000000000000000",
        "baseFeePerGas": quantity(header.base_fee),
    })
}

/// A transaction's place, with its block and receipt.
fn found(view: &dyn StateView, hash: &B256) -> Result<Option<(BlockRecord, u32)>, Error> {
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
    let more = match transaction_of(params, block, index, &receipt) {
        Some(tx) => ethereum_json(&tx, params.chain_id),
        // An encrypted input: of its list nothing is kept.
        None => json!({
            "hash": hash_of(block, index),
            "type": quantity(crate::input::TYPE),
            "nonce": "0x0",
            "to": null,
            "value": "0x0",
            "gas": quantity(receipt.gas_used),
            "input": "0x",
            "chainId": quantity(params.chain_id),
            // Clients read a signature of every transaction.
            "v": "0x0",
            "r": "0x0",
            "s": "0x0",
        }),
    };
    if let (Some(out), Json::Object(more)) = (out.as_object_mut(), more) {
        out.extend(more);
    }
    Ok(out)
}

/// A transaction that waits in a pool, as one in a block but without its place; null if the bytes are none.
///
/// # Errors
/// If the state cannot be read.
pub fn waiting(view: &dyn StateView, bytes: &[u8]) -> Answer {
    let params = state::params(view)?;
    let Ok(envelope) = Envelope::open(bytes, params.chain_id) else { return Ok(Json::Null) };
    let mut out = match &envelope {
        Envelope::Ethereum(tx) => ethereum_json(tx, params.chain_id),
        Envelope::Input(_) | Envelope::Control(_) => json!({
            "hash": envelope.hash().to_string(),
            "type": quantity(bytes.first().copied().unwrap_or_default()),
            "nonce": quantity(envelope.nonce()),
            "to": null,
            "value": "0x0",
            "gas": quantity(envelope.gas_limit()),
            "input": "0x",
            "chainId": quantity(params.chain_id),
            "v": "0x0",
            "r": "0x0",
            "s": "0x0",
        }),
    };
    if let Some(out) = out.as_object_mut() {
        out.insert("from".to_owned(), json!(envelope.sender().to_string()));
        out.insert("gasPrice".to_owned(), json!(quantity(envelope.max_fee())));
        for place in ["blockHash", "blockNumber", "transactionIndex"] {
            out.insert(place.to_owned(), Json::Null);
        }
    }
    Ok(out)
}

fn hash_at(block: &BlockRecord, index: u32) -> B256 {
    let hash = usize::try_from(index).ok().and_then(|index| block.transactions.get(index));
    hash.map_or(B256::ZERO, |hash| B256::from(*hash))
}

fn hash_of(block: &BlockRecord, index: u32) -> String {
    hash_at(block, index).to_string()
}

/// The transaction of a receipt; `None` for an encrypted input.
pub(super) fn transaction_of(
    params: &Params,
    block: &BlockRecord,
    index: u32,
    receipt: &StoredReceipt,
) -> Option<Transaction> {
    control::of_receipt(&receipt.transaction, params.chain_id, hash_at(block, index))
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
        fields.insert("accessList".to_owned(), access_list_json(&tx.access_list));
        fields.insert("yParity".to_owned(), json!(quantity(parity)));
    }
    if let Some(priority) = tx.max_priority_fee {
        fields.insert("maxFeePerGas".to_owned(), json!(quantity(tx.max_fee)));
        fields.insert("maxPriorityFeePerGas".to_owned(), json!(quantity(priority)));
    }
    out
}

pub(super) fn access_list_json(list: &AccessList) -> Json {
    let item = |item: &AccessListItem| {
        let keys: Vec<String> = item.storage_keys.iter().map(B256::to_string).collect();
        json!({ "address": item.address.to_string(), "storageKeys": keys })
    };
    list.0.iter().map(item).collect()
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

pub(super) fn receipts(view: &dyn StateView, block: &BlockRecord) -> Result<Vec<StoredReceipt>, Error> {
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
    let tx = transaction_of(params, block, index, found);
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

pub(super) fn log_json(block: &BlockRecord, index: u32, log: &StoredLog, position: usize) -> Json {
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
