//! Questions about the state, answered in JSON. Numbers are hexadecimal, bytes too. The methods of Ethereum's JSON-RPC
//! are in [`eth`].

use crate::eth;
use crate::evm::{self, BlockContext, Call};
use crate::receipt::{Failure, StoredReceipt, bloom};
use crate::state;
use crate::transaction::Transaction;
use parallax_state::{StateError, StateView};
use revm::context_interface::result::{EVMError, ExecutionResult};
use revm::primitives::{Address, B256, Bytes, U256, hex};
use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};

/// Every method.
const METHODS: [&str; 8] = ["head", "account", "code", "storage", "call", "block", "receipt", "handle"];

fn text(error: StateError) -> String {
    format!("the state cannot be read: {error}")
}

fn optional<T: std::str::FromStr>(parameters: &Json, name: &str) -> Result<Option<T>, String> {
    match parameters.get(name) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(value)) => {
            value.parse().map(Some).map_err(|_| format!("parameter {name} is {value:?}, which is not one"))
        }
        Some(other) => Err(format!("parameter {name} is {other}, give it as text")),
    }
}

fn needed<T: std::str::FromStr>(parameters: &Json, name: &str) -> Result<T, String> {
    optional(parameters, name)?.ok_or_else(|| format!("parameter {name} is missing"))
}

fn number<T: DeserializeOwned>(parameters: &Json, name: &str) -> Result<T, String> {
    let value = parameters.get(name).cloned().ok_or_else(|| format!("parameter {name} is missing"))?;
    serde_json::from_value(value).map_err(|e| format!("parameter {name}: {e}"))
}

fn hex_number(n: impl std::fmt::LowerHex) -> String {
    format!("{n:#x}")
}

/// Answers a question.
pub(crate) fn answer(view: &dyn StateView, method: &str, parameters: &Json) -> Result<Json, String> {
    if eth::is_method(method) {
        return Ok(eth::answer(view, method, parameters));
    }
    match method {
        "head" => {
            let (head, chain_id) = (state::head(view).map_err(text)?, state::params(view).map_err(text)?.chain_id);
            Ok(json!({ "number": head.header.number, "hash": B256::from(head.hash).to_string(), "chain_id": chain_id }))
        }
        "account" => {
            let account = state::account(view, &needed(parameters, "address")?).map_err(text)?.unwrap_or_default();
            Ok(json!({
                "nonce": account.nonce,
                "balance": hex_number(account.balance),
                "code_hash": account.code_hash.to_string(),
            }))
        }
        "code" => {
            let account = state::account(view, &needed(parameters, "address")?).map_err(text)?.unwrap_or_default();
            Ok(json!(hex::encode_prefixed(state::code(view, &account.code_hash).map_err(text)?)))
        }
        "storage" => {
            let (address, slot): (Address, B256) = (needed(parameters, "address")?, needed(parameters, "slot")?);
            let value = state::slot(view, &address, &slot.into()).map_err(text)?;
            Ok(json!(B256::from(value).to_string()))
        }
        "call" => call(view, parameters),
        "block" => block(view, number(parameters, "number")?),
        "receipt" => receipt(view, &needed(parameters, "hash")?),
        "handle" => {
            let handle: B256 = needed(parameters, "handle")?;
            let cipher = state::cipher(view, &handle).map_err(text)?;
            Ok(cipher.map_or(Json::Null, |c| json!({ "cipher": c.digest, "key_id": c.key_id, "blocks": c.blocks })))
        }
        other => Err(format!("the EVM has no method {other:?}; there are {}", METHODS.join(", "))),
    }
}

/// A call on the newest state, in the block that comes next.
fn call(view: &dyn StateView, parameters: &Json) -> Result<Json, String> {
    let params = state::params(view).map_err(text)?;
    let block = BlockContext::pending(&state::head(view).map_err(text)?);
    let call = Call {
        from: optional(parameters, "from")?.unwrap_or_default(),
        to: optional(parameters, "to")?,
        value: optional(parameters, "value")?.unwrap_or(U256::ZERO),
        input: optional::<Bytes>(parameters, "input")?.unwrap_or_default(),
        gas: optional::<U256>(parameters, "gas")?.map(|gas| u64::try_from(gas).unwrap_or(u64::MAX)),
    };
    let done = match evm::call(view, &params, &block, &call) {
        Ok(done) => done.result,
        Err(EVMError::Database(fault)) => return Err(text(fault.0)),
        Err(other) => return Err(format!("the call cannot be made: {other}")),
    };
    let gas = hex_number(done.tx_gas_used());
    Ok(match done {
        ExecutionResult::Success { output, .. } => json!({ "ok": output.data().to_string(), "gas": gas }),
        ExecutionResult::Revert { output, .. } => json!({ "revert": output.to_string(), "gas": gas }),
        ExecutionResult::Halt { reason, .. } => json!({ "halt": format!("{reason:?}"), "gas": gas }),
    })
}

fn block(view: &dyn StateView, number: u64) -> Result<Json, String> {
    let Some(found) = state::block(view, number).map_err(text)? else { return Ok(Json::Null) };
    let hashes: Vec<String> = found.transactions.iter().map(|hash| B256::from(*hash).to_string()).collect();
    let header = &found.header;
    Ok(json!({
        "number": hex_number(number),
        "hash": B256::from(found.hash).to_string(),
        "round": header.round,
        "parent_hash": B256::from(header.parent).to_string(),
        "timestamp": hex_number(header.timestamp),
        "gas_used": hex_number(header.gas_used),
        "base_fee": hex_number(header.base_fee),
        "transactions": hashes,
        "logs_bloom": hex::encode_prefixed(header.bloom),
    }))
}

fn receipt(view: &dyn StateView, hash: &B256) -> Result<Json, String> {
    let Some((number, index)) = state::place(view, hash).map_err(text)? else { return Ok(Json::Null) };
    let Some(found) = state::receipt(view, number, index).map_err(text)? else { return Ok(Json::Null) };
    if found.transaction == [crate::input::TYPE] {
        return Ok(input_json(hash, &found, (number, index)));
    }
    let chain_id = state::params(view).map_err(text)?.chain_id;
    let tx = Transaction::open(&found.transaction, chain_id).map_err(|e| e.to_string())?;
    let before = match index.checked_sub(1) {
        Some(before) => first_log(view, number, before)?,
        None => 0,
    };
    Ok(receipt_json(&found, &tx, (number, index), before))
}

/// How many logs the transactions up to this one have.
fn first_log(view: &dyn StateView, number: u64, last: u32) -> Result<usize, String> {
    let mut count = 0usize;
    for index in 0..=last {
        count = count.saturating_add(state::receipt(view, number, index).map_err(text)?.map_or(0, |r| r.logs.len()));
    }
    Ok(count)
}

fn failure_json(found: &StoredReceipt) -> Json {
    match &found.outcome {
        Ok(_) => Json::Null,
        Err(Failure::Revert(data)) => json!({ "revert": hex::encode_prefixed(data) }),
        Err(Failure::Halt(reason)) => json!({ "halt": reason }),
        Err(Failure::Fhe(reason)) => json!({ "fhe": reason }),
    }
}

/// The receipt of an encrypted input; its handles are what it returned.
fn input_json(hash: &B256, found: &StoredReceipt, (number, index): (u64, u32)) -> Json {
    let returned = found.outcome.as_deref().unwrap_or_default();
    let handles: Vec<String> = returned.chunks_exact(32).map(|h| B256::from_slice(h).to_string()).collect();
    json!({
        "hash": hash.to_string(),
        "block": hex_number(number),
        "index": hex_number(index),
        "type": hex_number(crate::input::TYPE),
        "from": Address::from(found.from).to_string(),
        "status": hex_number(u8::from(found.outcome.is_ok())),
        "failure": failure_json(found),
        "gas_used": hex_number(found.gas_used),
        "fhe_gas": hex_number(found.fhe_gas),
        "handles": handles,
    })
}

fn receipt_json(found: &StoredReceipt, tx: &Transaction, (number, index): (u64, u32), before: usize) -> Json {
    let logs: Vec<Json> = (before..)
        .zip(&found.logs)
        .map(|(position, log)| {
            let topics: Vec<String> = log.topics.iter().map(|t| B256::from(*t).to_string()).collect();
            json!({
                "address": Address::from(log.address).to_string(),
                "topics": topics,
                "data": hex::encode_prefixed(&log.data),
                "log_index": hex_number(position),
            })
        })
        .collect();
    json!({
        "hash": tx.hash.to_string(),
        "block": hex_number(number),
        "index": hex_number(index),
        "type": hex_number(tx.kind),
        "from": tx.sender.to_string(),
        "to": tx.to.to().map(Address::to_string),
        "contract": found.contract.map(|c| Address::from(c).to_string()),
        "status": hex_number(u8::from(found.outcome.is_ok())),
        "failure": failure_json(found),
        "gas_used": hex_number(found.gas_used),
        "cumulative_gas_used": hex_number(found.cumulative_gas_used),
        "effective_gas_price": hex_number(found.effective_gas_price),
        "fhe_gas": hex_number(found.fhe_gas),
        "logs_bloom": hex::encode_prefixed(bloom(&found.logs)),
        "logs": logs,
    })
}
