//! Why a transaction is refused before it leaves a trace in the state. The codes reach receipts of rounds: they are
//! stable, and new ones are appended. What the EVM itself refuses is a revert, in the Ethereum receipt.

use parallax_runtime::TxError;

/// The module's name.
pub const MODULE: &str = "evm";

/// The reason, as a number that never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Code {
    /// The transaction is larger than the limit.
    TooLarge = 1,
    /// It is not an encoding of a transaction.
    Malformed = 2,
    /// A complete transaction is followed by more bytes.
    TrailingBytes = 3,
    /// A type of transaction that is not taken.
    UnsupportedType = 4,
    /// It is for another chain, or names none.
    WrongChain = 5,
    /// The signature is none.
    BadSignature = 6,
    /// The nonce has been used.
    NonceUsed = 7,
    /// The nonce is ahead of the account's.
    NonceAhead = 8,
    /// It pays less than the base fee.
    FeeTooLow = 9,
    /// The sender's balance does not cover gas and value.
    Unaffordable = 10,
    /// Its gas limit exceeds the block's, or what is left of it.
    GasLimitTooHigh = 11,
    /// Its gas limit is below what it costs before a single instruction.
    IntrinsicGas = 12,
    /// The EVM refuses it for another reason.
    Invalid = 13,
    /// This node could not read its state; the transaction may be fine.
    Unavailable = 14,
    /// The list of an input does not conform, or its proof does not hold.
    BadInput = 15,
    /// The chain takes no developer transactions.
    NotForDevelopers = 16,
    /// Actions of a developer and transactions do not go in one batch; it may be sent again.
    WrongBatch = 17,
    /// The account is not impersonated.
    NotImpersonated = 18,
    /// A developer transaction asks for what cannot be.
    BadAction = 19,
    /// The developer transaction was executed.
    Repeated = 20,
}

/// An error with its code.
pub(crate) fn refuse(code: Code, message: impl Into<String>) -> TxError {
    TxError { module: MODULE.to_owned(), code: code as u32, message: message.into() }
}
