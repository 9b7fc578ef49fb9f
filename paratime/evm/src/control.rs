//! Developer transactions: what a developer may do to a chain made for trying things out, and nowhere else.
//!
//! They are admitted only if the genesis parameter `developer` is true. Nobody signs them and nobody pays: the bytes are
//! `0x51` and the canonical encoding of chain id, a salt that makes each one unique, and an [`Action`]. They are ordered
//! and executed by the committee as any transaction is, each at most once, and what came of one stands in the state
//! ([`outcome`]). A batch holds actions or transactions, never both; a transaction in the name of an impersonated
//! account is one of the latter.

use crate::error::{Code, refuse};
use crate::transaction::{MAX_TRANSACTION_BYTES, Transaction};
use borsh::{BorshDeserialize, BorshSerialize};
use parallax_primitives::{DecodeError, decode, encode};
use parallax_runtime::TxError;
use parallax_state::{StateError, StateView};
use revm::context::transaction::AccessList;
use revm::primitives::{Address, B256, TxKind, U256, keccak256};

/// The first byte of a developer transaction.
pub const TYPE: u8 = 0x51;
/// Most blocks that one action makes.
pub const MAX_MINED: u64 = 5_000;
/// How far in the future the time may be set: the end of the year 9999, as seconds since the Unix epoch.
pub const MAX_TIME: u64 = 253_402_300_799;

/// Gas of a transaction that does nothing.
const LEAST_GAS: u64 = 21_000;

/// What a developer transaction does.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Action {
    /// Gives an account a balance, in wei.
    SetBalance {
        /// Whose.
        address: [u8; 20],
        /// Big-endian.
        balance: [u8; 32],
    },
    /// Gives an account a nonce, no lower than the one that it has.
    SetNonce {
        /// Whose.
        address: [u8; 20],
        /// The nonce.
        nonce: u64,
    },
    /// Replaces the code of an account.
    SetCode {
        /// Whose.
        address: [u8; 20],
        /// The code that runs.
        code: Vec<u8>,
    },
    /// Writes a storage slot.
    SetStorage {
        /// Whose.
        address: [u8; 20],
        /// Big-endian.
        slot: [u8; 32],
        /// The word.
        value: [u8; 32],
    },
    /// Lets anyone send in the name of an account, or ends that.
    Impersonate {
        /// Whose.
        address: [u8; 20],
        /// Whether from now on, or no longer.
        on: bool,
    },
    /// Makes blocks without transactions.
    Mine {
        /// How many.
        blocks: u64,
        /// Seconds from each to the next.
        interval: u64,
        /// The time of the first; the round's if left out.
        at: Option<u64>,
    },
    /// Sets the base fee from the next block on, in wei.
    SetBaseFee(u64),
    /// Sets the gas limit of blocks from the next one on.
    SetBlockGasLimit(u64),
    /// Sets who receives fees from the next block on.
    SetCoinbase([u8; 20]),
    /// Sets what `PREVRANDAO` gives in the next block.
    SetRandomness([u8; 32]),
    /// Moves time forward by so many seconds.
    IncreaseTime(u64),
    /// Sets the time of the next block; later ones go on from there.
    SetNextTime(u64),
    /// Remembers the state, under an id that is returned.
    Snapshot,
    /// Goes back to a snapshot; it and those after it are gone then.
    Revert(u64),
    /// Sends a transaction in the name of an impersonated account.
    Send(Unsigned),
}

impl Action {
    /// Its name, for events.
    pub fn name(&self) -> &'static str {
        match self {
            Self::SetBalance { .. } => "set_balance",
            Self::SetNonce { .. } => "set_nonce",
            Self::SetCode { .. } => "set_code",
            Self::SetStorage { .. } => "set_storage",
            Self::Impersonate { .. } => "impersonate",
            Self::Mine { .. } => "mine",
            Self::SetBaseFee(_) => "set_base_fee",
            Self::SetBlockGasLimit(_) => "set_block_gas_limit",
            Self::SetCoinbase(_) => "set_coinbase",
            Self::SetRandomness(_) => "set_randomness",
            Self::IncreaseTime(_) => "increase_time",
            Self::SetNextTime(_) => "set_next_time",
            Self::Snapshot => "snapshot",
            Self::Revert(_) => "revert",
            Self::Send(_) => "send",
        }
    }
}

/// A transaction that nobody signed. What is left out is filled in when it is executed.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Unsigned {
    /// In whose name.
    pub from: [u8; 20],
    /// Whom it calls; nobody: it creates.
    pub to: Option<[u8; 20]>,
    /// Wei that it carries, big-endian.
    pub value: [u8; 32],
    /// Calldata, or the code that creates.
    pub input: Vec<u8>,
    /// The position among the account's; the next one if left out.
    pub nonce: Option<u64>,
    /// The most gas; the most that a transaction may use and the account can pay if left out.
    pub gas: Option<u64>,
    /// The most that a unit of gas costs, in wei; the base fee if left out.
    pub max_fee: Option<u128>,
    /// The most beyond the base fee, in wei; nothing if left out.
    pub max_priority_fee: Option<u128>,
}

/// The stored and sent form.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
enum Wire {
    /// The first format: chain id, salt, action.
    V1(u64, [u8; 32], Action),
}

/// A developer transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// The digest that names it.
    pub hash: B256,
    /// What makes it unlike any other that does the same.
    pub salt: [u8; 32],
    /// What it does.
    pub action: Action,
}

impl Control {
    /// Decodes a developer transaction for this chain.
    ///
    /// # Errors
    /// [`TxError`]: too large, malformed, another chain.
    pub fn open(bytes: &[u8], chain_id: u64) -> Result<Self, TxError> {
        let Some(rest) = bytes.strip_prefix(&[TYPE]) else {
            return Err(refuse(Code::Malformed, "the bytes are no developer transaction"));
        };
        let Wire::V1(chain, salt, action) =
            decode("the developer transaction", rest, MAX_TRANSACTION_BYTES).map_err(|error| {
                let code = match &error {
                    DecodeError::TooLarge { .. } => Code::TooLarge,
                    DecodeError::Trailing { .. } => Code::TrailingBytes,
                    _ => Code::Malformed,
                };
                refuse(code, error.to_string())
            })?;
        crate::transaction::chain(chain, chain_id)?;
        Ok(Self { hash: keccak256(bytes), salt, action })
    }

    /// Whether it acts on the state by itself; if not, it is a transaction in another's name.
    pub fn is_action(&self) -> bool {
        !matches!(self.action, Action::Send(_))
    }
}

/// The bytes of a developer transaction.
pub fn bytes(chain_id: u64, salt: [u8; 32], action: Action) -> Vec<u8> {
    let mut out = vec![TYPE];
    out.extend(encode(&Wire::V1(chain_id, salt, action)));
    out
}

impl Unsigned {
    /// With everything filled in that was left out.
    pub(crate) fn complete(&self, nonce: u64, balance: U256, limit: u64, base_fee: u64) -> Self {
        let max_fee =
            self.max_fee.unwrap_or_else(|| u128::from(base_fee).saturating_add(self.max_priority_fee.unwrap_or(0)));
        let left = balance.saturating_sub(U256::from_be_bytes(self.value));
        let affordable: u64 = left.checked_div(U256::from(max_fee)).map_or(u64::MAX, |gas| gas.saturating_to());
        // Who can pay for nothing is told so.
        let most = if affordable < LEAST_GAS { limit } else { limit.min(affordable) };
        Self {
            nonce: Some(self.nonce.unwrap_or(nonce)),
            gas: Some(self.gas.unwrap_or(most)),
            max_fee: Some(max_fee),
            max_priority_fee: Some(self.max_priority_fee.unwrap_or(0).min(max_fee)),
            ..self.clone()
        }
    }

    /// As an Ethereum transaction without a signature.
    fn transaction(&self, hash: B256) -> Transaction {
        Transaction {
            hash,
            sender: Address::from(self.from),
            kind: 2,
            nonce: self.nonce.unwrap_or(0),
            max_fee: self.max_fee.unwrap_or(0),
            max_priority_fee: self.max_priority_fee.or(Some(0)),
            gas_limit: self.gas.unwrap_or(0),
            to: self.to.map_or(TxKind::Create, |to| TxKind::Call(to.into())),
            value: U256::from_be_bytes(self.value),
            input: self.input.clone().into(),
            access_list: AccessList::default(),
            r: U256::ZERO,
            s: U256::ZERO,
            odd: false,
        }
    }
}

/// The transaction of a receipt: signed, or in the name of an impersonated account. `None` for an encrypted input.
pub(crate) fn of_receipt(bytes: &[u8], chain_id: u64, hash: B256) -> Option<Transaction> {
    match bytes.split_first() {
        Some((&TYPE, rest)) => {
            let unsigned: Unsigned =
                decode("a sent transaction", rest, MAX_TRANSACTION_BYTES.saturating_mul(2)).ok()?;
            Some(unsigned.transaction(hash))
        }
        _ => Transaction::open(bytes, chain_id).ok(),
    }
}

/// What a receipt keeps of a transaction in another's name, and the transaction.
pub(crate) fn sent(unsigned: &Unsigned, hash: B256) -> (Vec<u8>, Transaction) {
    let mut kept = vec![TYPE];
    kept.extend(encode(unsigned));
    (kept, unsigned.transaction(hash))
}

/// What came of a developer transaction with this hash: what it returned or why it was refused. `None`: it was not
/// executed yet.
///
/// # Errors
/// If the state cannot be read.
pub fn outcome(view: &dyn StateView, hash: &B256) -> Result<Option<Result<Vec<u8>, String>>, StateError> {
    crate::state::control(view, hash)
}
