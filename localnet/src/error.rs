//! Why a localnet could not be made, started, found or stopped.

use std::path::PathBuf;

/// Why a localnet could not be made, started, found or stopped.
#[derive(Debug, thiserror::Error)]
pub enum LocalnetError {
    /// A size or setting that cannot work.
    #[error("{field}: {reason}")]
    BadFixture {
        /// The flag or field.
        field: &'static str,
        /// What is wrong with it and what to do.
        reason: String,
    },
    /// A fault for a node that there is not.
    #[error("--fault {node}=...: there is no node {node}; the nodes are {known}")]
    UnknownNode {
        /// The name given.
        node: String,
        /// The names that there are.
        known: String,
    },
    /// A port that another process has.
    #[error(
        "port {port} ({purpose} of {node}) cannot be used: {reason}; stop what uses it, or choose other ports with \
         --base-port (or none, for free ones)"
    )]
    Port {
        /// The port.
        port: u16,
        /// What it is for.
        purpose: &'static str,
        /// The node that needs it.
        node: String,
        /// The system's reason.
        reason: std::io::Error,
    },
    /// The system refused.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file of the localnet's directory that does not parse.
    #[error("{}: {reason}; remove the localnet with `localnet up --fresh`", path.display())]
    BadFile {
        /// The file.
        path: PathBuf,
        /// The reason, with line and column.
        reason: String,
    },
    /// The directory holds a localnet that was made with other settings.
    #[error(
        "{} holds a localnet that was made with another {field}; start it as it was made, add --fresh to replace it, or \
         choose another directory with --dir",
        dir.display()
    )]
    OtherFixture {
        /// The directory.
        dir: PathBuf,
        /// The first setting that differs.
        field: String,
    },
    /// The directory holds something else.
    #[error("{} is not empty and holds no localnet; choose another directory with --dir", dir.display())]
    NotALocalnet {
        /// The directory.
        dir: PathBuf,
    },
    /// A supervisor runs there already.
    #[error("a localnet runs in {} (process {pid}); stop it with `localnet stop --dir {}`", dir.display(), dir.display())]
    Running {
        /// The directory.
        dir: PathBuf,
        /// Its supervisor.
        pid: u32,
    },
    /// No supervisor runs there.
    #[error("no localnet runs in {}; start one with `localnet up --dir {}`", dir.display(), dir.display())]
    NotRunning {
        /// The directory.
        dir: PathBuf,
    },
    /// The genesis document or a home directory cannot be made or used.
    #[error(transparent)]
    Genesis(#[from] parallax_genesis::GenesisError),
    /// The key set cannot be made or read.
    #[error("the FHE key set in {}: {reason}", dir.display())]
    Keys {
        /// The cache directory.
        dir: PathBuf,
        /// The reason.
        reason: String,
    },
    /// A node refused its configuration.
    #[error("{node} refuses to run as configured: {message}\n  its log: {}", log.display())]
    Refused {
        /// The node.
        node: String,
        /// Its own words.
        message: String,
        /// Its log.
        log: PathBuf,
    },
    /// A node died too often.
    #[error("{node} is not started again: {message}; the end of {}:\n{tail}", log.display())]
    KeepsDying {
        /// The node.
        node: String,
        /// Why.
        message: String,
        /// Its log.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
    },
    /// Nodes that were not ready in time.
    #[error("{node} was not ready after {seconds} s ({reason}); the end of {}:\n{tail}", log.display())]
    NotReady {
        /// The first node that was not.
        node: String,
        /// How long it was waited for.
        seconds: u64,
        /// What its health said, or why it did not answer.
        reason: String,
        /// Its log.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
    },
    /// The detached supervisor ended before the network was ready.
    #[error("the localnet did not start; the end of {}:\n{tail}", log.display())]
    DetachedFailed {
        /// The supervisor's log.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
    },
    /// The supervisor did not end.
    #[error("process {pid} did not end within {seconds} s after SIGTERM; its log is {}", log.display())]
    DoesNotStop {
        /// The supervisor.
        pid: u32,
        /// How long it was waited for.
        seconds: u64,
        /// Its log.
        log: PathBuf,
    },
    /// The network was stopped while it was starting.
    #[error("stopped before the network was ready")]
    Interrupted,
}

pub(crate) fn io(what: &'static str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> LocalnetError {
    let path = path.to_owned();
    move |source| LocalnetError::Io { what, path, source }
}
