//! `eth_call` and `eth_estimateGas`, on any state that is kept, with overrides of it.

use super::blocks::access_list_json;
use super::given::{field, number, optional, optional_number, parsed, small};
use super::{Answer, Error, Past, Question, quantity};
use crate::evm::{self, BlockContext, Call};
use crate::params::Params;
use crate::round::infeasible;
use crate::state;
use parallax_state::{Overlay, StateView};
use revm::context::transaction::{AccessList, AccessListItem};
use revm::context_interface::result::{EVMError, ExecutionResult};
use revm::primitives::{Address, B256, Bytes, Log, U256};
use revm::state::Bytecode;
use revm_inspectors::access_list::AccessListInspector;
use serde_json::{Map, Value as Json, json};

/// Most accounts that a call may override, and most slots of each.
const MAX_OVERRIDES: usize = 1_000;

impl Question<'_> {
    /// The block in which a call runs. A tag names a state and the block that made it, so a call sees that block. One on
    /// the `pending` state sees the next block and the time now; so do estimates, which are for a transaction to come.
    fn block_of_call(&self, past: &Past<'_>, next: bool, view: &Overlay<'_>) -> Result<BlockContext, Error> {
        if !next {
            return Ok(BlockContext::of(&past.block));
        }
        Ok(BlockContext::pending(&past.block, &state::clock(view)?, self.chain.now()?))
    }

    /// The block in which a traced call runs.
    pub(super) fn block_of_traced(&self, past: &Past<'_>, view: &Overlay<'_>) -> Result<BlockContext, Error> {
        self.block_of_call(past, is_pending(self.parameter(1)), view)
    }

    pub(super) fn called(&self, method: &str) -> Answer {
        let (call, past) = (call_of(self.parameter(0))?, self.past(self.parameter(1))?);
        let mut view = Overlay::new(&*past.view);
        override_state(&mut view, self.parameter(2))?;
        let params = state::params(&view)?;
        let next = is_pending(self.parameter(1)) || (method == "eth_estimateGas" && is_newest(self.parameter(1)));
        let mut block = self.block_of_call(&past, next, &view)?;
        override_block(&mut block, self.parameter(3))?;
        match method {
            "eth_call" => Ok(json!(made(&view, &params, &block, &call)?.output.to_string())),
            "eth_createAccessList" => touched(&view, &params, &block, &call),
            _ => Ok(json!(quantity(estimate(&view, &params, &block, &call)?))),
        }
    }
}

fn is_pending(tag: &Json) -> bool {
    tag.as_str() == Some("pending")
}

fn is_newest(tag: &Json) -> bool {
    tag.is_null() || tag.as_str() == Some("latest")
}

/// A call as clients describe it. Fees and nonce do not matter to it.
pub(super) fn call_of(given: &Json) -> Result<Call, Error> {
    if !given.is_object() {
        return Err(Error::invalid("the call is no object; give at least to or data"));
    }
    let input = match field(given, "input") {
        Json::Null => field(given, "data"),
        input => input,
    };
    Ok(Call {
        from: optional(field(given, "from"), "from")?.unwrap_or_default(),
        to: optional(field(given, "to"), "to")?,
        value: optional_number(field(given, "value"), "value")?.unwrap_or_default(),
        input: optional::<Bytes>(input, "input")?.unwrap_or_default(),
        gas: optional_number(field(given, "gas"), "gas")?.map(|gas| gas.saturating_to()),
        access_list: access_list(field(given, "accessList"))?,
    })
}

fn access_list(given: &Json) -> Result<AccessList, Error> {
    let items = match given {
        Json::Null => return Ok(AccessList::default()),
        Json::Array(items) => items,
        _ => return Err(Error::invalid("accessList is no list")),
    };
    let item = |item: &Json| -> Result<AccessListItem, Error> {
        let keys = field(item, "storageKeys").as_array().map(Vec::as_slice).unwrap_or_default();
        let storage_keys = keys.iter().map(|key| parsed(key, "storageKeys")).collect::<Result<_, _>>()?;
        Ok(AccessListItem { address: parsed(field(item, "address"), "accessList address")?, storage_keys })
    };
    items.iter().map(item).collect::<Result<_, _>>().map(AccessList)
}

fn entries<'a>(given: &'a Json, what: &str) -> Result<Option<&'a Map<String, Json>>, Error> {
    match given {
        Json::Null => Ok(None),
        Json::Object(fields) if fields.len() <= MAX_OVERRIDES => Ok(Some(fields)),
        Json::Object(_) => Err(Error::invalid(format!("{what} has more than {MAX_OVERRIDES} entries"))),
        _ => Err(Error::invalid(format!("{what} is no object"))),
    }
}

/// Replaces parts of accounts for one call: balance, nonce, code, some slots, or all of them.
pub(super) fn override_state(view: &mut Overlay<'_>, given: &Json) -> Result<(), Error> {
    for (name, change) in entries(given, "the state override")?.into_iter().flatten() {
        let address: Address = parsed(&json!(name), "overridden address")?;
        let mut account = state::account(view, &address)?.unwrap_or_default();
        for (name, value) in entries(change, "an overridden account")?.into_iter().flatten() {
            match name.as_str() {
                "balance" => account.balance = number(value, "overridden balance")?,
                "nonce" => account.nonce = small(value, "overridden nonce")?,
                "code" => {
                    let code: Bytes = parsed(value, "overridden code")?;
                    account.code_hash = state::put_code(view, &Bytecode::new_legacy(code));
                }
                "state" => {
                    state::clear_slots(view, &address)?;
                    override_slots(view, &address, value)?;
                }
                "stateDiff" => override_slots(view, &address, value)?,
                other => return Err(Error::invalid(format!("an account has no {other} that a call could override"))),
            }
        }
        state::put_account(view, &address, &account);
    }
    Ok(())
}

fn override_slots(view: &mut Overlay<'_>, address: &Address, slots: &Json) -> Result<(), Error> {
    for (slot, value) in entries(slots, "overridden storage")?.into_iter().flatten() {
        let (slot, value) = (number(&json!(slot), "overridden slot")?, number(value, "overridden word")?);
        state::put_slot(view, address, &slot, value);
    }
    Ok(())
}

/// Replaces what a call sees of its block.
pub(super) fn override_block(block: &mut BlockContext, given: &Json) -> Result<(), Error> {
    for (name, value) in entries(given, "the block override")?.into_iter().flatten() {
        match name.as_str() {
            "number" => block.number = small(value, "overridden number")?,
            "time" => block.timestamp = small(value, "overridden time")?,
            "random" | "prevRandao" => block.randomness = parsed::<B256>(value, "overridden prevRandao")?,
            other => return Err(Error::invalid(format!("a block has no {other} that a call could override"))),
        }
    }
    Ok(())
}

/// What came of a call that did not fail.
struct Made {
    output: Bytes,
    gas: u64,
    logs: Vec<Log>,
}

fn made(view: &dyn StateView, params: &Params, block: &BlockContext, call: &Call) -> Result<Made, Error> {
    let done = match evm::call(view, params, block, call) {
        Ok(done) => done.result,
        Err(EVMError::Database(fault)) => return Err(fault.0.into()),
        Err(other) => return Err(Error::server(other.to_string())),
    };
    let gas = done.tx_gas_used();
    match done {
        ExecutionResult::Success { output, logs, .. } => Ok(Made { output: output.into_data(), gas, logs }),
        ExecutionResult::Revert { output, .. } => {
            let message = match revert_reason(&output) {
                Some(reason) => format!("execution reverted: {reason}"),
                None => "execution reverted".to_owned(),
            };
            Err(Error { code: 3, message, data: Some(output.to_string()) })
        }
        ExecutionResult::Halt { reason, .. } => Err(Error::server(format!("execution stopped: {reason:?}"))),
    }
}

/// What a call touches beyond its ends, and the gas that it uses if it announces that.
fn touched(view: &dyn StateView, params: &Params, block: &BlockContext, call: &Call) -> Answer {
    let (free, cfg, tx) = evm::call_of(params, call);
    let mut inspector = AccessListInspector::new(call.access_list.clone());
    match evm::inspect(view, &free, block, (cfg, tx), &mut inspector) {
        Ok(_) => {}
        Err(EVMError::Database(fault)) => return Err(fault.0.into()),
        Err(other) => return Err(Error::server(other.to_string())),
    }
    let access_list = inspector.into_access_list();
    let list = access_list_json(&access_list);
    match made(view, params, block, &Call { access_list, ..call.clone() }) {
        Ok(made) => Ok(json!({ "accessList": list, "gasUsed": quantity(made.gas) })),
        Err(error) => Ok(json!({ "accessList": list, "gasUsed": "0x0", "error": error.message })),
    }
}

/// The text of `Error(string)`, if a revert carries one.
pub(super) fn revert_reason(output: &[u8]) -> Option<String> {
    let data = output.strip_prefix(&[0x08, 0xc3, 0x79, 0xa0])?;
    let word = |at: usize| -> Option<usize> { U256::from_be_slice(data.get(at..at.checked_add(32)?)?).try_into().ok() };
    let start = word(0)?;
    let (length, text) = (word(start)?, start.checked_add(32)?);
    String::from_utf8(data.get(text..text.checked_add(length)?)?.to_vec()).ok()
}

/// The least gas limit with which a transaction succeeds, to within a sixty-fourth. One whose operations on ciphertexts
/// cannot be evaluated succeeds with none.
fn estimate(view: &dyn StateView, params: &Params, block: &BlockContext, call: &Call) -> Result<u64, Error> {
    let most = call.gas.unwrap_or(u64::MAX).min(params.transaction_gas_limit);
    let with = |gas| made(view, params, block, &Call { gas: Some(gas), ..call.clone() });
    let whole = with(most)?;
    let infeasible = infeasible(view, params, &whole.logs).map_err(|e| Error::server(e.to_string()))?;
    if let Some(reason) = infeasible {
        return Err(Error::server(format!("the transaction would fail: {reason}")));
    }
    let (mut low, mut high) = (whole.gas.saturating_sub(1), most);
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
