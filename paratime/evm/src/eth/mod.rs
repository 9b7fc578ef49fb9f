//! Ethereum's JSON-RPC on a chain's states: what a node's interface passes on, without transport, accounts, filters,
//! subscriptions or the pool.
//!
//! [`answer`] takes a method with its parameters as clients send them. Errors have the codes that clients know: -32601
//! and -32602 for a method or parameters that are none, 3 with the data of a revert, -32000 for the rest.
//!
//! Blocks, transactions, receipts and logs of all blocks are keys of the newest state. Accounts at an older block are
//! read from the state after that block's round, which a node may no longer keep ([`Chain::after`]). Every block is
//! final, so `latest`, `safe` and `finalized` are one; `pending` is the same block, but for the number of an account's
//! transactions, which counts those that wait.
//!
//! A state proof of `eth_getProof` is one element: the bytes of a proof of the ParaTime's own tree, against the state
//! root that consensus finalised for the round that the answer names. It is none of Ethereum's tries, and `storageHash`
//! is zero, since slots are leaves of the same tree.

mod about;
mod blocks;
mod calls;
mod chain;
pub(crate) mod given;
mod logs;
mod trace;

pub use blocks::{header, waiting};
pub use chain::{Chain, Newest};
pub use logs::{LogFilter, MAX_LOG_BLOCKS, MAX_LOG_BYTES, MAX_LOGS, log_bytes, logs_of};
pub use trace::{MAX_RECORDED_BYTES, MAX_TRACE_BYTES, MAX_VALUES};

use crate::params::Params;
use crate::receipt::BlockRecord;
use crate::state;
use chain::Held;
use given::{at, parsed};
use parallax_primitives::Round;
use parallax_state::{StateError, StateView};
use revm::primitives::{Address, B256, U256, hex, keccak256};
use serde_json::{Value as Json, json};

/// What a node calls itself where clients ask.
pub const CLIENT: &str = concat!("parallax/", env!("CARGO_PKG_VERSION"));
/// Most storage slots that are proven at once.
pub const MAX_PROVEN_SLOTS: usize = 256;

/// An error as JSON-RPC has it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// Its number: -32601, -32602, -32000, or 3 for a revert.
    pub code: i64,
    /// What is wrong.
    pub message: String,
    /// The data of a revert, in hexadecimal.
    pub data: Option<String>,
}

impl Error {
    /// Parameters that are none.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self { code: -32_602, message: message.into(), data: None }
    }

    /// What could not be done.
    pub(crate) fn server(message: impl Into<String>) -> Self {
        Self { code: -32_000, message: message.into(), data: None }
    }

    /// A method that there is not.
    pub(crate) fn no_method(method: &str) -> Self {
        let message = format!("the method {method} does not exist or is not available");
        Self { code: -32_601, message, data: None }
    }

    /// The object that JSON-RPC puts under `error`.
    pub fn json(&self) -> Json {
        match &self.data {
            Some(data) => json!({ "code": self.code, "message": self.message, "data": data }),
            None => json!({ "code": self.code, "message": self.message }),
        }
    }
}

impl From<StateError> for Error {
    fn from(error: StateError) -> Self {
        Self::server(format!("the state cannot be read: {error}"))
    }
}

type Answer = Result<Json, Error>;

pub(crate) fn quantity(n: impl std::fmt::LowerHex) -> String {
    format!("{n:#x}")
}

/// Whether a method is one of Ethereum's, for this module.
pub fn is_method(method: &str) -> bool {
    let about = matches!(method, "hardhat_metadata" | "anvil_metadata" | "anvil_nodeInfo");
    about || ["eth_", "net_", "web3_", "debug_"].iter().any(|prefix| method.starts_with(prefix))
}

/// Answers a method with what JSON-RPC puts under `result`.
///
/// # Errors
/// [`Error`], with a code that clients know.
pub fn answer(chain: &dyn Chain, method: &str, parameters: &Json) -> Answer {
    if !(parameters.is_array() || parameters.is_null()) {
        return Err(Error::invalid(format!("parameters of {method} are no list; give them in their order")));
    }
    let newest = chain.newest()?;
    let params = state::params(&*newest)?;
    Question { chain, newest: &*newest, params, parameters }.answer(method)
}

/// A question, with what it is answered from.
struct Question<'a> {
    chain: &'a dyn Chain,
    newest: &'a dyn StateView,
    params: Params,
    parameters: &'a Json,
}

/// A state, with the newest block in it and the round after which it is.
struct Past<'a> {
    view: Held<'a>,
    block: BlockRecord,
    round: Round,
}

impl<'a> Question<'a> {
    fn parameter(&self, index: usize) -> &'a Json {
        at(self.parameters, index)
    }

    fn address(&self) -> Result<Address, Error> {
        parsed(self.parameter(0), "address")
    }

    fn answer(&self, method: &str) -> Answer {
        match method {
            "eth_chainId" => Ok(json!(quantity(self.params.chain_id))),
            "net_version" | "eth_networkId" => Ok(json!(self.params.chain_id.to_string())),
            "net_listening" => Ok(json!(true)),
            // Hardhat's helpers use developer methods only on clients whose names they know.
            "web3_clientVersion" if self.params.developer => Ok(json!(format!("anvil-compatible {CLIENT}"))),
            "web3_clientVersion" => Ok(json!(CLIENT)),
            "web3_sha3" => {
                let data: revm::primitives::Bytes = parsed(self.parameter(0), "data")?;
                Ok(json!(keccak256(data).to_string()))
            }
            "eth_syncing" | "eth_mining" => Ok(json!(false)),
            "eth_blockNumber" => Ok(json!(quantity(state::head(self.newest)?.header.number))),
            "eth_gasPrice" => Ok(json!(quantity(self.params.base_fee))),
            "eth_maxPriorityFeePerGas" => Ok(json!("0x0")),
            // There are no blobs; this is what the opcode gives.
            "eth_blobBaseFee" => Ok(json!("0x1")),
            "eth_coinbase" => Ok(json!(Address::from(self.params.fee_recipient.0).to_string())),
            // Nothing is mined by work.
            "eth_hashrate" => Ok(json!("0x0")),
            "hardhat_metadata" | "anvil_metadata" => self.metadata(),
            "anvil_nodeInfo" => self.node_info(),
            "eth_getBalance" | "eth_getTransactionCount" | "eth_getCode" | "eth_getStorageAt" | "eth_getProof" => {
                self.account(method)
            }
            "eth_call" | "eth_estimateGas" | "eth_createAccessList" => self.called(method),
            "debug_traceTransaction" => self.trace_transaction(),
            "debug_traceBlockByNumber" => self.trace_block(self.block(self.parameter(0))?),
            "debug_traceBlockByHash" => self.trace_block(self.block_by_hash(self.parameter(0))?),
            "debug_traceCall" => self.trace_call(),
            _ => match self.history(method)? {
                Some(answer) => Ok(answer),
                None => Err(Error::no_method(method)),
            },
        }
    }

    fn account(&self, method: &str) -> Answer {
        let address = self.address()?;
        let tag = self.parameter(if matches!(method, "eth_getStorageAt" | "eth_getProof") { 2 } else { 1 });
        let past = self.past(tag)?;
        let view = &*past.view;
        let account = state::account(view, &address)?.unwrap_or_default();
        match method {
            "eth_getBalance" => Ok(json!(quantity(account.balance))),
            "eth_getTransactionCount" => {
                let pending = tag.as_str() == Some("pending");
                let nonce = if pending { self.chain.next_nonce(&address, account.nonce) } else { account.nonce };
                Ok(json!(quantity(nonce)))
            }
            "eth_getCode" => Ok(json!(hex::encode_prefixed(state::code(view, &account.code_hash)?))),
            "eth_getStorageAt" => {
                let slot: U256 = parsed(self.parameter(1), "slot")?;
                Ok(json!(B256::from(state::slot(view, &address, &slot)?).to_string()))
            }
            _ => self.proof(&past, &address),
        }
    }

    /// The account with its proof, and those of its slots.
    fn proof(&self, past: &Past<'_>, address: &Address) -> Answer {
        let slots = match self.parameter(1) {
            Json::Null => &[],
            Json::Array(slots) if slots.len() <= MAX_PROVEN_SLOTS => slots.as_slice(),
            Json::Array(slots) => {
                let text = format!("{} slots, {MAX_PROVEN_SLOTS} are the most; ask for fewer", slots.len());
                return Err(Error::invalid(text));
            }
            other => return Err(Error::invalid(format!("storage keys are {other}, which is no list"))),
        };
        let prove = |key: &[u8]| -> Result<String, Error> {
            match self.chain.proof(past.round, key)? {
                Some(bytes) => Ok(hex::encode_prefixed(bytes)),
                None => Err(self.forgotten(&past.block)),
            }
        };
        let account = state::account(&*past.view, address)?.unwrap_or_default();
        let mut storage = Vec::new();
        for given in slots {
            let slot: U256 = parsed(given, "storage key")?;
            let (value, proof) =
                (state::slot(&*past.view, address, &slot)?, prove(&state::storage_key(address, &slot))?);
            storage.push(json!({ "key": given, "value": quantity(value), "proof": [proof] }));
        }
        Ok(json!({
            "address": address.to_string(),
            "balance": quantity(account.balance),
            "nonce": quantity(account.nonce),
            "codeHash": account.code_hash.to_string(),
            "storageHash": B256::ZERO.to_string(),
            "accountProof": [prove(&state::account_key(address))?],
            "storageProof": storage,
            "round": quantity(past.round.0),
        }))
    }

    fn forgotten(&self, block: &BlockRecord) -> Error {
        let number = block.header.number;
        Error::server(format!("the state of block {number} is no longer kept here; ask for \"latest\""))
    }

    /// The state that a tag, a number, or an object of EIP-1898 names.
    fn past(&self, tag: &Json) -> Result<Past<'a>, Error> {
        let head = state::head(self.newest)?;
        let block = self.block(tag)?.ok_or_else(|| {
            let newest = head.header.number;
            Error::server(format!("header not found: there is no block {tag}, the newest is {newest}"))
        })?;
        if block.hash == head.hash {
            return Ok(Past { view: Held::Lent(self.newest), round: Round(state::round(self.newest)?), block });
        }
        let round = Round(block.header.round);
        match self.chain.after(round)? {
            Some(view) => Ok(Past { view: Held::Own(view), round, block }),
            None => Err(self.forgotten(&block)),
        }
    }

    /// The state on which a block was executed.
    fn before(&self, block: &BlockRecord) -> Result<Held<'a>, Error> {
        let round = Round(block.header.base);
        if state::round(self.newest)? == round.0 {
            return Ok(Held::Lent(self.newest));
        }
        let number = block.header.number.saturating_sub(1);
        let gone = || Error::server(format!("the state of block {number}, before this one, is no longer kept here"));
        self.chain.after(round)?.map(Held::Own).ok_or_else(gone)
    }

    /// The block that a tag, a number, an object of EIP-1898 or nothing names.
    fn block(&self, tag: &Json) -> Result<Option<BlockRecord>, Error> {
        let number = match tag {
            Json::Null => return Ok(Some(state::head(self.newest)?)),
            Json::Object(fields) => match (fields.get("blockHash"), fields.get("blockNumber")) {
                (Some(hash), None) => return self.block_by_hash(hash),
                (None, Some(number)) => number,
                _ => return Err(Error::invalid(format!("block {tag} names neither blockHash nor blockNumber alone"))),
            },
            other => other,
        };
        match number.as_str() {
            Some("latest" | "pending" | "safe" | "finalized") => Ok(Some(state::head(self.newest)?)),
            Some("earliest") => Ok(state::block(self.newest, 0)?),
            _ => Ok(state::block(self.newest, given::number(number, "block")?.saturating_to())?),
        }
    }

    fn block_by_hash(&self, hash: &Json) -> Result<Option<BlockRecord>, Error> {
        match state::number(self.newest, &parsed(hash, "block hash")?)? {
            Some(number) => Ok(state::block(self.newest, number)?),
            None => Ok(None),
        }
    }
}
