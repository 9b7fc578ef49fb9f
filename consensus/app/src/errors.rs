//! How a call can go wrong: refused with a stable module and code, or not judged because the state cannot be read.

use crate::application::TxError;
use parallax_state::StateError;

/// An error of one module with a number that never changes its meaning.
pub(crate) trait ModuleError: std::fmt::Display {
    /// The module's stable name.
    const MODULE: &'static str;

    /// The stable number.
    fn code(&self) -> u32;
}

impl<E: ModuleError> From<&E> for TxError {
    fn from(error: &E) -> Self {
        Self { module: E::MODULE.to_owned(), code: error.code(), message: error.to_string() }
    }
}

/// Why a call was not executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CallError {
    /// The call is wrong: the receipt says so and the block stands.
    Refused(TxError),
    /// The state could not be read: a local fault, no verdict on the call.
    State(StateError),
}

impl From<StateError> for CallError {
    fn from(error: StateError) -> Self {
        Self::State(error)
    }
}

impl<E: ModuleError> From<E> for CallError {
    fn from(error: E) -> Self {
        Self::Refused(TxError::from(&error))
    }
}

impl From<CallError> for TxError {
    /// A fault of the local state becomes `state/1`. Admission reports it so; no receipt carries it.
    fn from(error: CallError) -> Self {
        match error {
            CallError::Refused(error) => error,
            CallError::State(error) => Self { module: "state".to_owned(), code: 1, message: error.to_string() },
        }
    }
}
