//! Errors that decide how the process ends.

/// The exit status of a node whose machine, keys or configuration do not fit its chain: starting it again would not
/// help, so a supervisor must not.
pub use parallax_localnet::EXIT_REFUSED;

/// The node refuses to run as it is configured.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Refused(String);

impl Refused {
    /// With what is wrong and what to do.
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}
