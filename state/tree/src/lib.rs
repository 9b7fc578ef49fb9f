//! Authenticated multi-version key-value state: one Jellyfish Merkle tree a namespace, proofs that verify without a
//! database, ciphertext blobs beside the tree, and the [`Store`] trait. Pure: no disk, no RocksDB.
//!
//! - A tree maps keys to [`Value`]s: public bytes, or a reference to a ciphertext by digest. Its root commits to every
//!   bit of both, and shows of a ciphertext no more than that it is there.
//! - Each commit makes one [`Version`]. Execution reads a [`Snapshot`], writes on an [`Overlay`] and hands over
//!   [`Changes`]; [`Tree::prepare`] computes root and rows from them without writing, [`Tree::commit`] writes once.
//! - One [`Store::write`] a commit: after a crash there is the last committed version and nothing else.
//! - Blobs are counted and pinned, see [`Blobs`]; a blob lives exactly as long as something names it.
//! - [`Tree::prune`] removes old versions in bounded steps, and never from under a snapshot.
//! - [`StateProof`] is all that a verifier needs besides the root.
//!
//! It is no cache and no query language, and it does not know what keys mean. What goes where on disk stands in
//! `rows.rs`. Start at [`Database`], then [`Tree`].

mod blobs;
mod database;
mod hasher;
mod namespace;
mod nodes;
mod proof;
mod rows;
mod snapshot;
pub mod store;
mod tree;
pub mod view;

pub use blobs::Blobs;
pub use database::{AtomicWrite, Database};
pub use namespace::Namespace;
pub use proof::{ProofError, StateProof, StateProofV1};
pub use rows::FORMAT;
pub use snapshot::Snapshot;
pub use store::{Batch, Column, Row, Store};
pub use tree::{Prepared, Tree};
pub use view::{Changes, CipherRef, Empty, Overlay, StateView, Value, blob_digest};

use parallax_primitives::Digest;

/// The root of a tree without keys, whether none was ever written or all were deleted.
pub fn empty_root() -> Digest {
    hasher::EMPTY
}

/// A version of a namespace: the consensus height, or the ParaTime round.
pub type Version = u64;

/// Why state could not be read, written or proven.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// The store failed; the text names the path and what to do.
    #[error("the state store failed: {0}")]
    Store(String),
    /// The store holds what this program cannot have written.
    #[error("the state is corrupt at {what}: {reason}; restore the home directory from a peer or a backup")]
    Corrupt {
        /// Where.
        what: String,
        /// Why.
        reason: String,
    },
    /// No such version: not yet written, or pruned.
    #[error("version {version} of {namespace} is not kept here")]
    UnknownVersion {
        /// The namespace.
        namespace: String,
        /// The version asked for.
        version: Version,
    },
    /// A key, value or blob exceeds its limit.
    #[error("{what} is {actual} bytes long, the limit is {limit}")]
    TooLarge {
        /// What.
        what: &'static str,
        /// Its length.
        actual: usize,
        /// The limit.
        limit: usize,
    },
    /// The database was written by a program with another format.
    #[error(
        "the database has format {found}, this program reads format {expected}; run the program that wrote it, or \
         start with an empty home directory and let the node restore the state from its peers"
    )]
    Format {
        /// The format on disk.
        found: u32,
        /// The format of this program.
        expected: u32,
    },
    /// A version that does not come after the latest.
    #[error("version {version} of {namespace} does not come after the latest, {latest:?}")]
    VersionOrder {
        /// The namespace.
        namespace: String,
        /// The version asked for.
        version: Version,
        /// The latest version.
        latest: Option<Version>,
    },
    /// The tree moved on between preparation and commit.
    #[error(
        "version {version} of {namespace} was prepared on {base:?}, the latest is now {latest:?}; prepare it again"
    )]
    Conflict {
        /// The namespace.
        namespace: String,
        /// The version prepared.
        version: Version,
        /// What it was prepared on.
        base: Option<Version>,
        /// The latest version now.
        latest: Option<Version>,
    },
    /// A value or a pin names a blob that is neither kept nor given.
    #[error("ciphertext {digest} is referred to, but it is not kept here and its bytes were not given")]
    MissingBlob {
        /// Its digest.
        digest: Digest,
    },
    /// Ciphertext bytes were given under a digest that is not theirs.
    #[error("the bytes given for ciphertext {claimed} have digest {actual}")]
    WrongDigest {
        /// The digest they were given under.
        claimed: Digest,
        /// Their digest.
        actual: Digest,
    },
    /// A caller's own rows lie where only this crate writes.
    #[error(
        "rows of column {column} are written by the state alone; use blocks, rounds, journal, or meta outside state/"
    )]
    Reserved {
        /// The column.
        column: &'static str,
    },
}
