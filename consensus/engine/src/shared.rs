//! One application, one writer, many readers.

use parallax_consensus_app::{Application, Checked, TxError, ValidatorSet};
use parallax_primitives::{Digest, Height};
use parallax_state::{StateError, StateProof, StateView};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// A handle on the application. The engine executes and readers read at the same time; only a commit, a few
/// milliseconds, excludes them. A [`Shared::snapshot`] is owned: hold it as long as you like, not the guard.
pub struct Shared<A>(Arc<RwLock<A>>);

impl<A> Clone for Shared<A> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<A: Application + Sync> Shared<A> {
    /// Wraps an application.
    pub fn new(app: A) -> Self {
        Self(Arc::new(RwLock::new(app)))
    }

    /// For reading. An application writes nothing until its one store write succeeds, so a panic elsewhere leaves it
    /// whole and the lock's poison is ignored.
    pub fn read(&self) -> RwLockReadGuard<'_, A> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, A> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// A view of the last committed state.
    ///
    /// # Errors
    /// If the state cannot be read.
    pub fn snapshot(&self) -> Result<Box<dyn StateView + Send + Sync>, StateError> {
        self.read().snapshot()
    }

    /// The last committed height and its root.
    ///
    /// # Errors
    /// If the state cannot be read.
    pub fn last_committed(&self) -> Result<(Height, Digest), StateError> {
        self.read().last_committed()
    }

    /// The validators of a height.
    ///
    /// # Errors
    /// If the state cannot be read, or the height lies more than two past the last committed.
    pub fn validators(&self, height: Height) -> Result<ValidatorSet, StateError> {
        self.read().validators(height)
    }

    /// Whether a transaction may wait for a block.
    ///
    /// # Errors
    /// [`TxError`]; module `state` if the state cannot be read.
    pub fn check(&self, tx: &[u8]) -> Result<Checked, TxError> {
        let app = self.read();
        let snapshot =
            app.snapshot().map_err(|e| TxError { module: "state".into(), code: 1, message: e.to_string() })?;
        app.check(snapshot.as_ref(), tx)
    }

    /// A value with its proof.
    ///
    /// # Errors
    /// If the height is not kept.
    pub fn query(&self, height: Option<Height>, key: &[u8]) -> Result<StateProof, StateError> {
        self.read().query(height, key)
    }
}
