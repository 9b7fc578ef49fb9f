//! What can be wrong with a document, a key file or a home directory.

use parallax_primitives::ChainContext;
use std::fmt;
use std::path::PathBuf;

/// One fault of a document: where, what, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The field's path, for example `consensus.accounts[3].balance`.
    pub field: String,
    /// What is wrong with it and what to do.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.reason)
    }
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(|p| format!("\n  {p}")).collect()
}

/// Why a document, key file or home directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GenesisError {
    /// The system refused.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was tried, for example `read`.
        what: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// No JSON, or not of the expected shape.
    #[error("{}, line {line}, column {column}: {reason}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column, from 1; 0 where the end of the file came too early.
        column: usize,
        /// What was found and what was expected.
        reason: String,
    },
    /// Written by another version of the program.
    #[error("{} has format version {found}, this program reads version {expected}; {remedy}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// The version in the file.
        found: u32,
        /// The version that this program reads.
        expected: u32,
        /// What to do.
        remedy: &'static str,
    },
    /// The document contradicts itself or the rules.
    #[error("the genesis document is not valid:{}", list(problems))]
    Invalid {
        /// Every fault found.
        problems: Vec<Problem>,
    },
    /// The key of no node in the document.
    #[error("the genesis document has no node with key {key}; add its descriptor to consensus.nodes first")]
    UnknownSigner {
        /// The key that was to sign.
        key: parallax_primitives::PublicKey,
    },
    /// A file that would be overwritten.
    #[error("{} exists already; choose another directory, or remove it if nothing in it is needed", path.display())]
    Exists {
        /// The file or directory.
        path: PathBuf,
    },
    /// A secret that others can read.
    #[error("{} can be read by others (mode {mode:o}); run: chmod 600 {}", path.display(), path.display())]
    Exposed {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A key file that is for something else, or whose parts do not belong together.
    #[error("{}: {reason}", path.display())]
    BadKeyFile {
        /// The key file.
        path: PathBuf,
        /// What is wrong; never the key.
        reason: String,
    },
    /// The data in the home directory belongs to another chain.
    #[error(
        "{} holds data of chain {found_id} ({found}), but {} is of chain {expected_id} ({expected}); use another home \
         directory, or put the genesis document of {found_id} back",
        path.display(), genesis.display()
    )]
    OtherChain {
        /// The data directory.
        path: PathBuf,
        /// The genesis document.
        genesis: PathBuf,
        /// The chain of the data.
        found: Box<ChainContext>,
        /// Its name.
        found_id: String,
        /// The chain of the genesis document.
        expected: Box<ChainContext>,
        /// Its name.
        expected_id: String,
    },
    /// Data without a note of its chain.
    #[error(
        "{} holds files, but no {} that says of which chain; use an empty directory, or restore that file",
        path.display(), marker
    )]
    UnknownData {
        /// The data directory.
        path: PathBuf,
        /// The marker's file name.
        marker: &'static str,
    },
    /// The node of this home directory cannot run as configured.
    #[error("{}: {field}: {reason}", path.display())]
    BadConfig {
        /// The configuration file.
        path: PathBuf,
        /// The field's path.
        field: &'static str,
        /// What is wrong with it and what to do.
        reason: String,
    },
}
