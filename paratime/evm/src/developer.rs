//! The methods of Hardhat and Anvil by which developers change a chain made for trying things out: which developer
//! transaction ([`mod@crate::control`]) each of them is, and how its answer is read.
//!
//! Each is ordered and executed by the committee, so it takes a round. `evm_revert` is no exception: it brings back
//! every value that the state had at the snapshot, in a new round. Block numbers, time and nonces are then what they
//! were, and transactions since are not found any more.
//!
//! Different from the tools that had them first (`docs/contracts.md` has the list of what there is and is not):
//! - Blocks are made by the committee for every transaction and cannot be held back, so `evm_setAutomine` takes true and
//!   `evm_setIntervalMining` 0, and `hardhat_reset` is refused.
//! - The base fee does not follow demand: `hardhat_setNextBlockBaseFeePerGas` holds until it is called again.
//! - At most [`crate::control::MAX_MINED`] blocks are made at once.
//! - A new snapshot may drop the oldest ([`crate::journal`]); deposits from the consensus layer since a snapshot are
//!   undone with it.

use crate::control::{self, Action, Unsigned};
use crate::eth::Error;
use crate::eth::given::{at, field, number, optional, optional_number, parsed, small};
use crate::state;
use parallax_state::StateView;
use revm::primitives::{Address, B256, Bytes, U256, keccak256};
use serde_json::{Value as Json, json};

/// What a method comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// It is answered at once.
    Answer(Json),
    /// It is a transaction, to be submitted as any other.
    Submit(Submission),
}

/// A developer transaction, and how to read what comes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// The transaction.
    pub bytes: Vec<u8>,
    /// The digest that names it; that of the transaction that it sends, if it does.
    pub hash: B256,
    /// Whether it sends a transaction. Clients then take the hash for an answer at once.
    pub sends: bool,
    reading: Reading,
}

/// How the bytes that an action returned are an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// They do not matter.
    True,
    /// Their last bit.
    Flag,
    /// A number in hexadecimal.
    Quantity,
    /// A number in decimal digits.
    Digits,
    /// Nothing but that it was done: "0x0".
    Zero,
    /// A hash.
    Hash,
}

impl Submission {
    /// The answer, once a state shows that it was executed; `None` before.
    ///
    /// # Errors
    /// [`Error`] if it was refused, or if the state cannot be read.
    pub fn answer(&self, view: &dyn StateView) -> Option<Result<Json, Error>> {
        match control::outcome(view, &self.hash) {
            Ok(None) => None,
            Ok(Some(Ok(returned))) => Some(Ok(self.read(&returned))),
            Ok(Some(Err(reason))) => Some(Err(Error::server(reason))),
            Err(error) => Some(Err(error.into())),
        }
    }

    fn read(&self, returned: &[u8]) -> Json {
        let number = U256::try_from_be_slice(returned).unwrap_or_default();
        match self.reading {
            Reading::True => json!(true),
            Reading::Flag => json!(number.bit(0)),
            Reading::Quantity => json!(format!("{number:#x}")),
            Reading::Digits => json!(number.to_string()),
            Reading::Zero => json!("0x0"),
            Reading::Hash => json!(self.hash.to_string()),
        }
    }
}

/// Whether a chain takes developer transactions.
///
/// # Errors
/// If the state cannot be read.
pub fn is_enabled(view: &dyn StateView) -> Result<bool, Error> {
    Ok(state::params(view)?.developer)
}

/// Whether anyone may send in an account's name.
///
/// # Errors
/// If the state cannot be read.
pub fn is_impersonated(view: &dyn StateView, address: &Address) -> Result<bool, Error> {
    Ok(state::impersonated(view, address)?)
}

/// What a method with its parameters comes to on the chain with this id; `None` if it is none of a developer's. The
/// salt makes the transaction unique: draw it anew each time. `eth_sendTransaction` is here for accounts that are
/// impersonated; those whose keys a node holds are the node's.
pub fn request(chain_id: u64, method: &str, parameters: &Json, salt: [u8; 32]) -> Option<Result<Request, Error>> {
    let submit = |(action, reading): (Action, Reading)| {
        let sends = matches!(action, Action::Send(_));
        let bytes = control::bytes(chain_id, salt, action);
        Request::Submit(Submission { hash: keccak256(&bytes), bytes, sends, reading })
    };
    if let Some(answer) = noted(method, parameters) {
        return Some(answer.map(Request::Answer));
    }
    let action = match method {
        "eth_sendTransaction" => sending(at(parameters, 0)).map(|sent| (Action::Send(sent), Reading::Hash)),
        _ => action(method, parameters)?,
    };
    Some(listed(method, parameters).and_then(|()| action.map(submit)))
}

fn listed(method: &str, parameters: &Json) -> Result<(), Error> {
    if parameters.is_array() || parameters.is_null() {
        return Ok(());
    }
    Err(Error::invalid(format!("parameters of {method} are no list; give them in their order")))
}

/// Methods that change nothing here.
fn noted(method: &str, parameters: &Json) -> Option<Result<Json, Error>> {
    let first = at(parameters, 0);
    let needs = |fits: bool, text: &str| if fits { Ok(json!(true)) } else { Err(Error::server(text)) };
    Some(match method {
        "hardhat_getAutomine" | "anvil_getAutomine" => Ok(json!(true)),
        "anvil_getIntervalMining" => Ok(Json::Null),
        "evm_setAutomine" | "anvil_setAutoMine" => needs(
            first.as_bool() == Some(true),
            "blocks are made by the committee, for every transaction: they cannot be held back",
        ),
        "evm_setIntervalMining" | "anvil_setIntervalMining" => {
            let none = first.as_u64() == Some(0)
                || first.as_array().is_some_and(|range| range.iter().all(|n| n.as_u64() == Some(0)));
            needs(none, "blocks are made by the committee when there is work: it keeps no interval")
        }
        "hardhat_setLoggingEnabled" | "anvil_setLoggingEnabled" => Ok(json!(true)),
        // There are no stack traces to improve.
        "hardhat_addCompilationResult" => Ok(json!(false)),
        "hardhat_getStackTraceFailuresCount" => Ok(json!(0)),
        // There is none.
        "anvil_removeBlockTimestampInterval" => Ok(json!(false)),
        "hardhat_reset" | "anvil_reset" => Err(Error::server(
            "the chain cannot be reset; take a snapshot by evm_snapshot and go back to it by evm_revert",
        )),
        _ => return refused(method).map(|why| Err(Error::server(format!("{method} is not possible here: {why}")))),
    })
}

/// Why a method that the tools have cannot be had on a chain of several nodes, and what to do instead; `None` if that is
/// not said of it.
fn refused(method: &str) -> Option<&'static str> {
    Some(match method {
        "hardhat_dropTransaction"
        | "anvil_dropTransaction"
        | "anvil_dropAllTransactions"
        | "anvil_removePoolTransactions" => {
            "transactions wait with every node of the committee, and are executed as soon as none before them is missing; \
             replace one that waits by another with the same nonce that pays more"
        }
        "hardhat_setMinGasPrice" | "anvil_setMinGasPrice" => {
            "the base fee is what gas costs at least; set it by hardhat_setNextBlockBaseFeePerGas"
        }
        "anvil_setBlockTimestampInterval" => {
            "a block has the time of its round; move it by evm_increaseTime or evm_setNextBlockTimestamp"
        }
        "evm_setTime" | "anvil_setTime" => {
            "tools mean different units by it; set the time of the next block by evm_setNextBlockTimestamp"
        }
        "anvil_autoImpersonateAccount" => "name each account by hardhat_impersonateAccount",
        "anvil_setChainId" => "the genesis document fixes the chain id, and signatures name it",
        "anvil_setRpcUrl" => "the chain is no fork of another",
        "anvil_dumpState" | "anvil_loadState" => {
            "the state is under a root that the consensus layer has finalised; keep one by evm_snapshot, and return to it \
             by evm_revert"
        }
        "anvil_reorg" | "anvil_rollback" => {
            "every block is final; take a snapshot by evm_snapshot and go back to it by evm_revert"
        }
        _ => return None,
    })
}

fn bytes32(value: U256) -> [u8; 32] {
    value.to_be_bytes()
}

/// The action that a method is.
fn action(method: &str, parameters: &Json) -> Option<Result<(Action, Reading), Error>> {
    let (_, name) = method.split_once('_').filter(|(group, _)| matches!(*group, "hardhat" | "anvil" | "evm"))?;
    let (first, second, third) = (at(parameters, 0), at(parameters, 1), at(parameters, 2));
    let address = || parsed::<Address>(first, "address").map(Address::into_array);
    let done = |action| (action, Reading::True);
    Some(match name {
        "setBalance" => address()
            .and_then(|address| Ok(done(Action::SetBalance { address, balance: bytes32(number(second, "balance")?) }))),
        "setNonce" | "setAccountNonce" => {
            address().and_then(|address| Ok(done(Action::SetNonce { address, nonce: small(second, "nonce")? })))
        }
        "setCode" => address()
            .and_then(|address| Ok(done(Action::SetCode { address, code: parsed::<Bytes>(second, "code")?.to_vec() }))),
        "setStorageAt" => address().and_then(|address| {
            let (slot, value) = (number(second, "slot")?, number(third, "value")?);
            Ok(done(Action::SetStorage { address, slot: bytes32(slot), value: bytes32(value) }))
        }),
        "impersonateAccount" => address().map(|address| done(Action::Impersonate { address, on: true })),
        "stopImpersonatingAccount" => {
            address().map(|address| (Action::Impersonate { address, on: false }, Reading::Flag))
        }
        "setNextBlockBaseFeePerGas" => small(first, "base fee").map(|fee| done(Action::SetBaseFee(fee))),
        "setBlockGasLimit" => small(first, "gas limit").map(|limit| done(Action::SetBlockGasLimit(limit))),
        "setCoinbase" => address().map(|address| done(Action::SetCoinbase(address))),
        "setPrevRandao" => number(first, "prevRandao").map(|n| done(Action::SetRandomness(bytes32(n)))),
        "increaseTime" => small(first, "seconds").map(|n| (Action::IncreaseTime(n), Reading::Digits)),
        "setNextBlockTimestamp" => small(first, "timestamp").map(|n| (Action::SetNextTime(n), Reading::Digits)),
        "snapshot" => Ok((Action::Snapshot, Reading::Quantity)),
        "revert" => small(first, "snapshot").map(|id| (Action::Revert(id), Reading::Flag)),
        "intervalMine" => Ok(done(Action::Mine { blocks: 1, interval: 1, at: None })),
        "mine" if method == "evm_mine" => mining_one(first).map(|action| (action, Reading::Zero)),
        "mine" => mining(first, second).map(done),
        _ => return None,
    })
}

/// `hardhat_mine`: how many blocks, one if left out, and the seconds from each to the next, one if left out.
fn mining(blocks: &Json, interval: &Json) -> Result<Action, Error> {
    let or_one = |value: Option<U256>| value.map_or(1, |n| n.saturating_to());
    let blocks = or_one(optional_number(blocks, "block count")?);
    Ok(Action::Mine { blocks, interval: or_one(optional_number(interval, "interval")?), at: None })
}

/// `evm_mine`: one block, at a time if one is given; Anvil also takes both in an object.
fn mining_one(given: &Json) -> Result<Action, Error> {
    let (blocks, time) = match given {
        Json::Object(_) => (field(given, "blocks"), field(given, "timestamp")),
        time => (&Json::Null, time),
    };
    let at = if time.is_null() { None } else { Some(small(time, "timestamp")?) };
    let blocks = if blocks.is_null() { 1 } else { small(blocks, "block count")? };
    Ok(Action::Mine { blocks, interval: 1, at })
}

/// The transaction that `eth_sendTransaction` describes.
fn sending(given: &Json) -> Result<Unsigned, Error> {
    if !given.is_object() {
        return Err(Error::invalid("the transaction is no object; give at least from, and to or data"));
    }
    let input = match field(given, "input") {
        Json::Null => field(given, "data"),
        input => input,
    };
    let wei = |name: &str| -> Result<Option<u128>, Error> {
        let n = optional_number(field(given, name), name)?;
        n.map(|n| n.try_into().map_err(|_| Error::invalid(format!("{name} is {n}, which is too much")))).transpose()
    };
    let short = |name: &str| match field(given, name) {
        Json::Null => Ok(None),
        value => small(value, name).map(Some),
    };
    let to: Option<Address> = optional(field(given, "to"), "to")?;
    let input = optional::<Bytes>(input, "data")?.unwrap_or_default();
    if to.is_none() && input.is_empty() {
        return Err(Error::invalid("the transaction has neither to nor data"));
    }
    let max_fee = match wei("maxFeePerGas")? {
        None => wei("gasPrice")?,
        fee => fee,
    };
    Ok(Unsigned {
        from: parsed::<Address>(field(given, "from"), "from")?.into_array(),
        to: to.map(Address::into_array),
        value: bytes32(optional_number(field(given, "value"), "value")?.unwrap_or_default()),
        input: input.to_vec(),
        nonce: short("nonce")?,
        gas: match short("gas")? {
            None => short("gasLimit")?,
            gas => gas,
        },
        max_fee,
        max_priority_fee: wei("maxPriorityFeePerGas")?,
    })
}
