//! Which tree: one for the consensus ledger, one for each ParaTime.

use borsh::{BorshDeserialize, BorshSerialize};
use parallax_primitives::{ParaTimeId, encode};
use std::fmt;

/// The owner of one tree. Its canonical encoding is the prefix of every row of that tree, and no encoding is a
/// prefix of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub enum Namespace {
    /// The consensus ledger; versions are block heights.
    Consensus,
    /// A ParaTime; versions are its rounds.
    ParaTime(ParaTimeId),
}

impl Namespace {
    /// The bytes before every row of this tree: one tag, then the id of a ParaTime.
    pub fn prefix(&self) -> Vec<u8> {
        encode(self)
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Consensus => f.write_str("consensus"),
            Self::ParaTime(id) => write!(f, "ParaTime {id}"),
        }
    }
}
