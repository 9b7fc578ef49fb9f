//! Questions about the state, answered in JSON with hexadecimal numbers: those of Ethereum's JSON-RPC ([`eth`]), and what
//! that has no place for, such as the FHE gas of a transaction, the handles of an input, and the ciphertext of a handle.

use crate::eth;
use crate::receipt::{Failure, StoredReceipt, bloom};
use crate::state;
use crate::transaction::Transaction;
use parallax_state::{StateError, StateView};
use revm::primitives::{Address, B256, hex};
use serde_json::{Value as Json, json};

/// The methods of its own.
const METHODS: [&str; 4] = ["params", "head", "receipt", "handle"];

fn text(error: StateError) -> String {
    format!("the state cannot be read: {error}")
}

fn needed<T: std::str::FromStr>(parameters: &Json, name: &str) -> Result<T, String> {
    let value = parameters.get(name).and_then(Json::as_str);
    let text = value.ok_or_else(|| format!("parameter {name} is missing; give it as text"))?;
    text.parse().map_err(|_| format!("parameter {name} is {text:?}, which is not one"))
}

fn hex_number(n: impl std::fmt::LowerHex) -> String {
    format!("{n:#x}")
}

/// Answers a question.
pub(crate) fn answer(view: &dyn StateView, method: &str, parameters: &Json) -> Result<Json, String> {
    if eth::is_method(method) {
        return Ok(match eth::answer(&eth::Newest(view), method, parameters) {
            Ok(result) => json!({ "result": result }),
            Err(error) => json!({ "error": error.json() }),
        });
    }
    match method {
        "params" => {
            let params = state::params(view).map_err(text)?;
            Ok(json!({ "params": params }))
        }
        "head" => {
            let (head, chain_id) = (state::head(view).map_err(text)?, state::params(view).map_err(text)?.chain_id);
            Ok(json!({ "number": head.header.number, "hash": B256::from(head.hash).to_string(), "chain_id": chain_id }))
        }
        "receipt" => receipt(view, &needed(parameters, "hash")?),
        "handle" => {
            let handle: B256 = needed(parameters, "handle")?;
            let cipher = state::cipher(view, &handle).map_err(text)?;
            Ok(cipher.map_or(Json::Null, |c| json!({ "cipher": c.digest, "key_id": c.key_id, "blocks": c.blocks })))
        }
        other => Err(format!("the EVM has no method {other:?}; there are {}", METHODS.join(", "))),
    }
}

fn receipt(view: &dyn StateView, hash: &B256) -> Result<Json, String> {
    let Some((number, index)) = state::place(view, hash).map_err(text)? else { return Ok(Json::Null) };
    let Some(found) = state::receipt(view, number, index).map_err(text)? else { return Ok(Json::Null) };
    if crate::input::kept(&found.transaction).is_some() {
        return Ok(input_json(hash, &found, (number, index)));
    }
    let chain_id = state::params(view).map_err(text)?.chain_id;
    let tx = crate::control::of_receipt(&found.transaction, chain_id, *hash)
        .ok_or_else(|| format!("the transaction {hash} is kept in no form that is known here"))?;
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
