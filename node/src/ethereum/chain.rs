//! The states of the EVM that this node keeps, as [`parallax_evm::eth`] asks for them.

use crate::paratime::ParaTimeHost;
use parallax_evm::eth;
use parallax_primitives::{Address, Round, encode};
use parallax_state::{StateError, StateView};

/// A ParaTime's finalised states and its pool.
pub(super) struct EvmChain<'a>(pub(super) &'a ParaTimeHost);

/// What was pruned or skipped is not kept; other errors are errors.
fn kept<T>(found: Result<T, StateError>) -> Result<Option<T>, StateError> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(StateError::UnknownVersion { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

impl eth::Chain for EvmChain<'_> {
    fn newest(&self) -> Result<Box<dyn StateView + '_>, StateError> {
        Ok(Box::new(self.0.results.tree().latest_snapshot()?))
    }

    fn after(&self, round: Round) -> Result<Option<Box<dyn StateView + '_>>, StateError> {
        let found = kept(self.0.results.tree().snapshot(round.0))?;
        Ok(found.map(|view| Box::new(view) as Box<dyn StateView>))
    }

    fn next_nonce(&self, sender: &revm::primitives::Address, nonce: u64) -> u64 {
        self.0.pool.next_nonce(&Address(sender.into_array()), nonce)
    }

    fn proof(&self, round: Round, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        Ok(kept(self.0.results.tree().prove(round.0, key))?.map(|proof| encode(&proof)))
    }

    fn now(&self) -> Result<Option<u64>, StateError> {
        Ok(self.0.time_ms()?.map(|time| time / 1_000))
    }
}
