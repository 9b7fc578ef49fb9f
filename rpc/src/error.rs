//! Error codes of the interface. They are part of it: a code is never reused for another meaning.

use jsonrpsee::types::ErrorObjectOwned;
use serde::Serialize;

/// Why a request was refused. Codes from 1 on are ours; JSON-RPC's own (-32768 to -32000) keep their meaning, and a
/// parameter that does not parse is -32602.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i32)]
pub enum ErrorCode {
    /// The transaction was not admitted; `data` is the module's `{module, code, message}`.
    Rejected = 1,
    /// There is no such object.
    NotFound = 2,
    /// It existed, but this node has pruned it; ask an archive node.
    Pruned = 3,
    /// A height or round that is not reached yet.
    Future = 4,
    /// The span or the answer is over the limit; ask for less.
    TooMuch = 5,
    /// This node does not run the ParaTime.
    UnknownParaTime = 6,
    /// The node is starting or catching up; try again later.
    NotReady = 7,
    /// The node lacks the role for this method; ask another one.
    WrongRole = 8,
    /// A queue is full; try again later.
    Busy = 9,
    /// A permit or grant does not hold.
    Denied = 10,
    /// A parameter has a meaning that this method cannot serve.
    Unsupported = 11,
    /// This node failed; its log says more.
    Internal = 12,
}

impl ErrorCode {
    /// Every code.
    pub const ALL: [Self; 12] = [
        Self::Rejected,
        Self::NotFound,
        Self::Pruned,
        Self::Future,
        Self::TooMuch,
        Self::UnknownParaTime,
        Self::NotReady,
        Self::WrongRole,
        Self::Busy,
        Self::Denied,
        Self::Unsupported,
        Self::Internal,
    ];

    /// The number on the wire.
    pub fn number(self) -> i32 {
        self as i32
    }

    /// The code with this number.
    pub fn from_number(number: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.number() == number)
    }
}

/// A refusal, before it becomes a JSON-RPC error object.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct RpcError {
    /// Its code.
    pub code: ErrorCode,
    /// What was wrong and what to do.
    pub message: String,
    /// More, in a form for programs.
    pub data: Option<serde_json::Value>,
}

impl RpcError {
    /// A refusal without data.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    /// A refused transaction; `error` is the module's own, of the ledger or of a ParaTime.
    pub fn rejected<E: std::fmt::Display + Serialize>(error: &E) -> Self {
        Self { code: ErrorCode::Rejected, message: error.to_string(), data: serde_json::to_value(error).ok() }
    }

    /// Nothing under this name; `what` says what was looked for.
    pub fn not_found(what: impl Into<String>) -> Self {
        Self::new(ErrorCode::NotFound, what)
    }

    /// A fault of this node.
    pub fn internal(error: impl std::fmt::Display) -> Self {
        Self::new(ErrorCode::Internal, error.to_string())
    }
}

impl From<RpcError> for ErrorObjectOwned {
    fn from(e: RpcError) -> Self {
        Self::owned(e.code.number(), e.message, e.data)
    }
}

/// Our code in a client's error, if the node refused with one.
pub fn error_code(error: &jsonrpsee::core::client::Error) -> Option<ErrorCode> {
    match error {
        jsonrpsee::core::client::Error::Call(object) => ErrorCode::from_number(object.code()),
        _ => None,
    }
}
