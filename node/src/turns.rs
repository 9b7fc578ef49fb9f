//! Turns for questions that may take long: some are worked on, some wait, and further ones are refused.

use tokio::sync::{Semaphore, SemaphorePermit};

/// Questions that are worked on at once; others wait. One may execute a contract.
pub const MAX_AT_ONCE: usize = 4;
/// Questions that may wait or be worked on; further ones are refused.
pub const MAX_WAITING: usize = 256;

/// That too many questions wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{MAX_WAITING} questions wait on this node; ask again later")]
pub struct TooMany;

/// Whose turn it is.
#[derive(Debug)]
pub struct Turns {
    places: Semaphore,
    turns: Semaphore,
}

/// A question's turn; it ends when this is dropped.
#[derive(Debug)]
pub struct Turn<'a> {
    _place: SemaphorePermit<'a>,
    _turn: SemaphorePermit<'a>,
}

impl Default for Turns {
    fn default() -> Self {
        Self { places: Semaphore::new(MAX_WAITING), turns: Semaphore::new(MAX_AT_ONCE) }
    }
}

impl Turns {
    /// Waits for a turn, in the order of asking.
    ///
    /// # Errors
    /// [`TooMany`], at once.
    pub async fn turn(&self) -> Result<Turn<'_>, TooMany> {
        let place = self.places.try_acquire().map_err(|_| TooMany)?;
        // Nobody closes it.
        let turn = self.turns.acquire().await.map_err(|_| TooMany)?;
        Ok(Turn { _place: place, _turn: turn })
    }
}
