//! What a batch consists of: Ethereum transactions and encrypted inputs, with what both have in common.

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
}

impl Envelope {
    /// Decodes a transaction for this chain and recovers who sent it.
    ///
    /// # Errors
    /// [`TxError`]: too large, malformed, another chain, a signature that is none.
    pub fn open(bytes: &[u8], chain_id: u64) -> Result<Self, TxError> {
        if bytes.first() == Some(&TYPE) {
            return Input::open(bytes, chain_id).map(Self::Input);
        }
        Transaction::open(bytes, chain_id).map(Self::Ethereum)
    }

    /// The digest that names it.
    pub fn hash(&self) -> B256 {
        match self {
            Self::Ethereum(tx) => tx.hash,
            Self::Input(input) => input.hash,
        }
    }

    /// Who pays.
    pub fn sender(&self) -> Address {
        match self {
            Self::Ethereum(tx) => tx.sender,
            Self::Input(input) => input.sender,
        }
    }

    /// Its position among the sender's.
    pub fn nonce(&self) -> u64 {
        match self {
            Self::Ethereum(tx) => tx.nonce,
            Self::Input(input) => input.nonce,
        }
    }

    /// The most gas that it uses.
    pub fn gas_limit(&self) -> u64 {
        match self {
            Self::Ethereum(tx) => tx.gas_limit,
            Self::Input(input) => input.gas_limit,
        }
    }

    /// The most that it pays for a unit of gas, in wei.
    pub fn max_fee(&self) -> u128 {
        match self {
            Self::Ethereum(tx) => tx.max_fee,
            Self::Input(input) => input.max_fee,
        }
    }

    /// Wei that it carries.
    pub fn value(&self) -> U256 {
        match self {
            Self::Ethereum(tx) => tx.value,
            Self::Input(_) => U256::ZERO,
        }
    }

    /// What a unit of gas costs in a block with this base fee.
    pub fn effective_price(&self, base_fee: u64) -> u128 {
        match self {
            Self::Ethereum(tx) => tx.effective_price(base_fee),
            Self::Input(input) => input.effective_price(base_fee),
        }
    }
}
