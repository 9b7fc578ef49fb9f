//! Why a transaction is refused. The codes reach receipts: they are stable, and new ones are appended.

use parallax_runtime::{InputError, TxError};

/// The module's name in receipts.
pub const MODULE: &str = "scheduler";

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
    /// It was made for another chain.
    WrongChain = 4,
    /// It was made for another ParaTime.
    WrongParaTime = 5,
    /// The signature is not the sender's over this transaction.
    BadSignature = 6,
    /// The nonce has been used.
    NonceUsed = 7,
    /// The nonce is ahead of the account's.
    NonceAhead = 8,
    /// It offers less per unit of FHE gas than the least accepted.
    GasPriceTooLow = 9,
    /// The sender's balance does not cover it.
    Unaffordable = 10,
    /// The list is encrypted under a key that is not accepted.
    UnknownKey = 11,
    /// The list is bound to an epoch that is neither the current nor the previous one.
    WrongEpoch = 12,
    /// The list does not conform: size, parameters, number of blocks.
    NotConformant = 13,
    /// The proof of knowledge does not hold for this list and this sender.
    BadProof = 14,
    /// The account is a host already.
    HostExists = 15,
    /// The account is not a registered host.
    NotAHost = 16,
    /// A public field is empty, too long or out of range.
    BadField = 17,
    /// The policy is not enabled in this ParaTime.
    PolicyNotEnabled = 18,
    /// There are as many hosts or waiting jobs as the parameters allow.
    Full = 19,
    /// No decision waits for the decryption of this ciphertext.
    UnknownDecryption = 20,
    /// The answer is not one that the key managers of this ParaTime gave for it.
    BadAnswer = 21,
    /// This node could not read its state; the transaction may be fine.
    Unavailable = 22,
    /// Answers are taken into the pool from the ParaTime's key managers only.
    NotAKeyManager = 23,
    /// The account does not govern this ParaTime.
    NotGovernance = 24,
    /// The account is not among those who may submit jobs.
    NotASubmitter = 25,
    /// The job names no image, or none that is shown to be on the list.
    ImageNotAllowed = 26,
    /// There is no such job.
    UnknownJob = 27,
    /// The job is not placed.
    NotPlaced = 28,
    /// The account has no part in the job.
    NotTheOwner = 29,
    /// The job has an anchor already.
    AlreadyAnchored = 30,
    /// The job has no anchor yet.
    NotAnchored = 31,
    /// The status does not come after the one before it.
    StatusNotNext = 32,
    /// The acknowledgement is not one that host and owner signed for this job, or does not open its anchor.
    BadAcknowledgement = 33,
    /// This ParaTime has no audits.
    NoAudits = 34,
    /// The host has no capacity under this key.
    NoCapacity = 35,
    /// The host's stake is used up.
    NoStake = 36,
}

/// An error with its code.
pub(crate) fn refuse(code: Code, message: impl Into<String>) -> TxError {
    TxError { module: MODULE.to_owned(), code: code as u32, message: message.into() }
}

/// The backend's verdict on a list, with our code.
pub(crate) fn refused_input(error: &InputError) -> TxError {
    let code = match error {
        InputError::UnknownKey { .. } => Code::UnknownKey,
        InputError::TooLarge { .. } | InputError::NotConformant(_) => Code::NotConformant,
        InputError::BadProof => Code::BadProof,
    };
    refuse(code, error.to_string())
}
