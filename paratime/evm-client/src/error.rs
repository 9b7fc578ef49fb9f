//! What can go wrong, in words for whoever asked.

use jsonrpsee::core::client::Error as RpcFault;
use parallax_runtime::FheError;
use revm::primitives::{Address, B256};
use std::path::PathBuf;

/// Why the client could not do what it was asked to. No text holds a key or a plaintext.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something that its user wrote cannot be used.
    #[error("{0}")]
    Argument(String),
    /// A file cannot be read or written.
    #[error("cannot {what} {path}: {reason}")]
    File {
        /// What was tried.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A node does not answer.
    #[error(transparent)]
    Node(RpcFault),
    /// A node refuses, in its own words.
    #[error("{message}")]
    Refused {
        /// The code of JSON-RPC.
        code: i32,
        /// What the node says.
        message: String,
    },
    /// A node answers something that cannot be so.
    #[error("{endpoint} answered {method} with what cannot be used: {reason}")]
    Answer {
        /// Which node.
        endpoint: String,
        /// Which method.
        method: String,
        /// What is wrong.
        reason: String,
    },
    /// There is no contract to call.
    #[error(
        "no contract is deployed at {0} on this chain; check the address, and whether the chain was begun afresh since it \
         was deployed"
    )]
    NoContract(Address),
    /// The contract reverted before anything was sent.
    #[error("the contract refuses: {0}")]
    Reverted(String),
    /// The transaction was executed and failed; its fee is spent.
    #[error("transaction {hash} failed in block {block}: {reason}")]
    Failed {
        /// Which.
        hash: B256,
        /// The block that has it.
        block: u64,
        /// Why.
        reason: String,
    },
    /// A transaction that no block has taken.
    #[error(
        "transaction {hash} is in no block after {seconds} s; `parallax query round` shows what the committee is doing"
    )]
    Missing {
        /// Which.
        hash: B256,
        /// How long was waited.
        seconds: u64,
    },
    /// Encryption failed.
    #[error("the values cannot be encrypted: {0}")]
    Encryption(#[from] FheError),
    /// The key that encrypts is not the one of the ParaTime.
    #[error("the key set here is {here}, the ParaTime uses {there}; load the key set of the ParaTime")]
    OtherKey {
        /// The cipher's.
        here: parallax_primitives::KeyId,
        /// The ParaTime's.
        there: parallax_primitives::KeyId,
    },
    /// A key manager signed with a key that the contracts do not accept.
    #[error("{endpoint} signed as {signer}, who is not among the signers that the contract {verifier} accepts")]
    OtherSigner {
        /// Which key manager.
        endpoint: String,
        /// Whose signature it is.
        signer: Address,
        /// The verifying contract.
        verifier: Address,
    },
    /// Fewer key managers than needed gave an answer that holds.
    #[error("{given} of {needed} key managers gave an answer that holds; the last one that did not: {last}")]
    TooFew {
        /// How many did.
        given: usize,
        /// How many are needed.
        needed: usize,
        /// What the last one said.
        last: String,
    },
    /// A sealed answer that does not hold.
    #[error("the key managers' answer for {handle} does not hold: {reason}")]
    Unopened {
        /// Which value.
        handle: B256,
        /// Why.
        reason: String,
    },
}

impl From<RpcFault> for Error {
    fn from(fault: RpcFault) -> Self {
        match fault {
            RpcFault::Call(refusal) => Self::Refused { code: refusal.code(), message: refusal.message().to_owned() },
            fault => Self::Node(fault),
        }
    }
}

/// An [`Error::Argument`].
pub(crate) fn argument(text: impl Into<String>) -> Error {
    Error::Argument(text.into())
}
