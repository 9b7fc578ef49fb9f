//! What a batch consists of: Ethereum transactions, encrypted inputs and developer transactions.

use crate::control::{self, Action, Control};
use crate::input::{Input, TYPE};
use crate::transaction::Transaction;
use parallax_runtime::TxError;
use revm::primitives::{Address, B256, U256};

/// One transaction of the ParaTime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Envelope {
    /// An Ethereum transaction.
    Ethereum(Transaction),
    /// An encrypted input.
    Input(Input),
    /// A developer transaction.
    Control(Control),
}

impl Envelope {
    /// Decodes a transaction for this chain and recovers who sent it.
    ///
    /// # Errors
    /// [`TxError`]: too large, malformed, another chain, a signature that is none.
    pub fn open(bytes: &[u8], chain_id: u64) -> Result<Self, TxError> {
        match bytes.first() {
            Some(&TYPE) => Input::open(bytes, chain_id).map(Self::Input),
            Some(&control::TYPE) => Control::open(bytes, chain_id).map(Self::Control),
            _ => Transaction::open(bytes, chain_id).map(Self::Ethereum),
        }
    }

    /// The action of a developer, unless it is a transaction.
    pub fn action(&self) -> Option<&Control> {
        match self {
            Self::Control(control) if control.is_action() => Some(control),
            _ => None,
        }
    }

    /// The digest that names it.
    pub fn hash(&self) -> B256 {
        match self {
            Self::Ethereum(tx) => tx.hash,
            Self::Input(input) => input.hash,
            Self::Control(control) => control.hash,
        }
    }

    /// Who pays. A developer's action has a sender of its own, so that a pool keeps each.
    pub fn sender(&self) -> Address {
        match self {
            Self::Ethereum(tx) => tx.sender,
            Self::Input(input) => input.sender,
            Self::Control(control) => match &control.action {
                Action::Send(unsigned) => unsigned.from.into(),
                _ => Address::from_word(control.hash),
            },
        }
    }

    /// Its position among the sender's; 0 for a developer's.
    pub fn nonce(&self) -> u64 {
        match self {
            Self::Ethereum(tx) => tx.nonce,
            Self::Input(input) => input.nonce,
            Self::Control(_) => 0,
        }
    }

    /// The most gas that it uses, as far as it says.
    pub fn gas_limit(&self) -> u64 {
        match self {
            Self::Ethereum(tx) => tx.gas_limit,
            Self::Input(input) => input.gas_limit,
            Self::Control(_) => 0,
        }
    }

    /// The most that it pays for a unit of gas, in wei.
    pub fn max_fee(&self) -> u128 {
        match self {
            Self::Ethereum(tx) => tx.max_fee,
            Self::Input(input) => input.max_fee,
            Self::Control(_) => 0,
        }
    }

    /// Wei that it carries.
    pub fn value(&self) -> U256 {
        match self {
            Self::Ethereum(tx) => tx.value,
            Self::Input(_) | Self::Control(_) => U256::ZERO,
        }
    }

    /// What a unit of gas costs in a block with this base fee.
    pub fn effective_price(&self, base_fee: u64) -> u128 {
        match self {
            Self::Ethereum(tx) => tx.effective_price(base_fee),
            Self::Input(input) => input.effective_price(base_fee),
            Self::Control(_) => 0,
        }
    }
}
