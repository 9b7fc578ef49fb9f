//! What answers are read from.

use crate::state;
use parallax_primitives::Round;
use parallax_state::{StateError, StateView};
use revm::primitives::Address;
use std::ops::Deref;

/// The states of one EVM ParaTime that a node keeps, and what waits in its pool.
pub trait Chain {
    /// The newest state.
    ///
    /// # Errors
    /// If it cannot be read.
    fn newest(&self) -> Result<Box<dyn StateView + '_>, StateError>;

    /// The state after a round that was executed; `None` if it is no longer kept.
    ///
    /// # Errors
    /// If it cannot be read.
    fn after(&self, round: Round) -> Result<Option<Box<dyn StateView + '_>>, StateError>;

    /// The nonce of a sender's next transaction: `nonce`, which is what the newest state says, and as many more as
    /// wait in the pool without a gap.
    fn next_nonce(&self, sender: &Address, nonce: u64) -> u64;

    /// The encoded [`parallax_state::StateProof`] of a key against the root of the state after a round that was
    /// executed; `None` if it is no longer kept.
    ///
    /// # Errors
    /// If it cannot be read.
    fn proof(&self, round: Round, key: &[u8]) -> Result<Option<Vec<u8>>, StateError>;

    /// The time of the newest block of the consensus layer that is known here, in seconds: that of the next block, or
    /// little before it. `None` if it is not known.
    ///
    /// # Errors
    /// If it cannot be read.
    fn now(&self) -> Result<Option<u64>, StateError>;
}

/// One state alone, without older ones, proofs or a pool.
pub struct Newest<'a>(pub &'a dyn StateView);

impl Chain for Newest<'_> {
    fn newest(&self) -> Result<Box<dyn StateView + '_>, StateError> {
        Ok(Box::new(Held::Lent(self.0)))
    }

    fn after(&self, round: Round) -> Result<Option<Box<dyn StateView + '_>>, StateError> {
        if state::round(self.0)? == round.0 { self.newest().map(Some) } else { Ok(None) }
    }

    fn next_nonce(&self, _sender: &Address, nonce: u64) -> u64 {
        nonce
    }

    fn proof(&self, _round: Round, _key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        Ok(None)
    }

    fn now(&self) -> Result<Option<u64>, StateError> {
        Ok(None)
    }
}

/// A state, borrowed or owned.
pub(super) enum Held<'a> {
    Lent(&'a dyn StateView),
    Own(Box<dyn StateView + 'a>),
}

impl<'a> Deref for Held<'a> {
    type Target = dyn StateView + 'a;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Lent(view) => *view,
            Self::Own(view) => &**view,
        }
    }
}

impl StateView for Held<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<parallax_state::Value>, StateError> {
        (**self).get(key)
    }

    fn blob(&self, digest: &parallax_primitives::Digest) -> Result<Option<Vec<u8>>, StateError> {
        (**self).blob(digest)
    }

    fn scan(&self, prefix: &[u8]) -> Result<Vec<(Vec<u8>, parallax_state::Value)>, StateError> {
        (**self).scan(prefix)
    }
}
