//! The pure core of a key manager, asked where it may take its time: decryption blocks a thread.

use eyre::Result;
use parallax_kms::{EvmKeyManager, KeyManager};
use parallax_primitives::Round;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The newest round of a ParaTime that its key manager has seen proven.
#[derive(Debug, Default)]
pub(super) struct Newest(AtomicU64);

impl Newest {
    pub(super) fn round(&self) -> Round {
        Round(self.0.load(Ordering::Relaxed))
    }

    pub(super) fn set(&self, round: Round) {
        self.0.fetch_max(round.0, Ordering::Relaxed);
    }
}

/// What has seen rounds proven.
pub(super) trait Core: Send + 'static {
    fn newest_round(&self) -> Round;
}

impl Core for KeyManager {
    fn newest_round(&self) -> Round {
        Self::newest_round(self)
    }
}

impl Core for EvmKeyManager {
    fn newest_round(&self) -> Round {
        Self::newest_round(self)
    }
}

/// A core behind its lock.
pub(super) struct Desk<M> {
    core: Mutex<M>,
    pub(super) newest: Newest,
}

impl<M: Core> Desk<M> {
    pub(super) fn new(core: M) -> Arc<Self> {
        Arc::new(Self { newest: Newest(AtomicU64::new(core.newest_round().0)), core: Mutex::new(core) })
    }

    /// Asks the core, on a thread that may block.
    ///
    /// # Errors
    /// If the core panics, or the process ends.
    pub(super) async fn ask<T: Send + 'static>(
        self: &Arc<Self>,
        question: impl FnOnce(&mut M) -> T + Send + 'static,
    ) -> Result<T> {
        let desk = Arc::clone(self);
        Ok(tokio::task::spawn_blocking(move || {
            // Every change to the core is complete by itself, so a panic in another question leaves it sound.
            let mut core = desk.core.lock().unwrap_or_else(PoisonError::into_inner);
            let answer = question(&mut core);
            desk.newest.set(core.newest_round());
            answer
        })
        .await?)
    }
}
