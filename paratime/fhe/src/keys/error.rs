//! Why a key set could not be made, read or used.

use crate::keys::ProfileMismatch;
use crate::plan::{BackendKind, InitError};
use parallax_primitives::{Digest, KeyId};
use std::path::{Path, PathBuf};

/// Why a key set could not be made, read or used. Never holds key material.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// This process cannot evaluate.
    #[error(transparent)]
    Init(#[from] InitError),
    /// The file system refused something.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The manifest lists no such part.
    #[error("the key set {key} has no {role} part; it was made without it, make one that has it")]
    NoSuchPart {
        /// The key set.
        key: KeyId,
        /// The role.
        role: &'static str,
    },
    /// The key set has no known answers for a backend.
    #[error("the key set {key} has no known answers for the {backend} backend; make a key set with this version")]
    NoSuchProfile {
        /// The key set.
        key: KeyId,
        /// The backend.
        backend: BackendKind,
    },
    /// A part's file is not there.
    #[error(
        "{path}, the {role} part of the key set, is missing; copy it from where the key set was made, or make the keys again"
    )]
    MissingPart {
        /// Where it should be.
        path: PathBuf,
        /// The role.
        role: &'static str,
    },
    /// A part has another size than the manifest says.
    #[error(
        "{path} is {actual} bytes long, its manifest says {expected}; delete the directory it is in and make the keys again"
    )]
    WrongSize {
        /// The file.
        path: PathBuf,
        /// Its length.
        actual: u64,
        /// The length in the manifest.
        expected: u64,
    },
    /// A part has another digest than the manifest says.
    #[error(
        "{path} is corrupt: its BLAKE3 digest is {actual}, the manifest says {expected}; delete this file and fetch it \
         again, or delete the directory it is in and make the keys again"
    )]
    WrongDigest {
        /// The file.
        path: PathBuf,
        /// Its digest.
        actual: Digest,
        /// The digest in the manifest.
        expected: Digest,
    },
    /// A file is not what this version writes.
    #[error(
        "{path} cannot be decoded: {reason}; it is of another version or damaged, delete it and make the keys again"
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A secret that others can read.
    #[error(
        "{path} holds a secret key but its mode is {mode:o}; run `chmod 600` on it, and consider the key known to others"
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The secret key of another key set.
    #[error("{path} is the secret key of {actual}, not of {expected}; load it with the manifest that it was made with")]
    OtherKeySet {
        /// The file.
        path: PathBuf,
        /// The key set it belongs to.
        actual: KeyId,
        /// The key set asked for.
        expected: KeyId,
    },
    /// A result differs from the known answer.
    #[error(transparent)]
    Profile(#[from] ProfileMismatch),
    /// The workers cannot be started.
    #[error("{0}")]
    Threads(String),
    /// The library failed.
    #[error("the FHE library failed: {0}")]
    Library(String),
}

impl KeyError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    pub(crate) fn malformed(path: &Path, reason: impl ToString) -> Self {
        Self::Malformed { path: path.to_owned(), reason: reason.to_string() }
    }
}
