//! Transactions that wait in the pool, by the hash that Ethereum gives them.

use super::{Service, limits};
use eyre::{Result, eyre};
use parallax_primitives::Digest;
use parallax_primitives::limits::MAX_POOL_TXS;
use revm::primitives::{B256, keccak256};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, MutexGuard, PoisonError};
use tokio::sync::broadcast;

/// Arrivals that filters can still be told of.
const MAX_ARRIVALS: usize = 4_096;

/// What waits, and in which order it came.
pub(super) struct Pending {
    known: BTreeMap<B256, Digest>,
    /// The last arrivals; the first of them has the number `first`.
    arrivals: VecDeque<B256>,
    first: u64,
    sender: broadcast::Sender<B256>,
}

impl Default for Pending {
    fn default() -> Self {
        let sender = broadcast::Sender::new(limits::MAX_BEHIND);
        Self { known: BTreeMap::new(), arrivals: VecDeque::new(), first: 0, sender }
    }
}

impl Pending {
    /// Takes note of a transaction in the pool. Returns its hash.
    pub(super) fn arrived(&mut self, digest: Digest, bytes: &[u8]) -> B256 {
        let hash = keccak256(bytes);
        if self.known.len() < MAX_POOL_TXS && self.known.insert(hash, digest).is_none() {
            self.arrivals.push_back(hash);
            if self.arrivals.len() > MAX_ARRIVALS {
                self.arrivals.pop_front();
                self.first = self.first.saturating_add(1);
            }
            // No subscriber is no error.
            let _ = self.sender.send(hash);
        }
        hash
    }

    /// The pool's name for a transaction that may still wait there.
    pub(super) fn digest(&self, hash: &B256) -> Option<Digest> {
        self.known.get(hash).copied()
    }

    /// Forgets what waits no longer.
    pub(super) fn forget(&mut self, waits: impl Fn(&Digest) -> bool) {
        self.known.retain(|_, digest| waits(digest));
    }

    /// The number of the next arrival.
    pub(super) fn next(&self) -> u64 {
        self.first.saturating_add(u64::try_from(self.arrivals.len()).unwrap_or(u64::MAX))
    }

    /// The arrivals from a number on; the oldest may be forgotten.
    pub(super) fn since(&self, from: u64) -> Vec<B256> {
        let skip = usize::try_from(from.saturating_sub(self.first)).unwrap_or(usize::MAX);
        self.arrivals.iter().skip(skip).copied().collect()
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<B256> {
        self.sender.subscribe()
    }
}

impl Service {
    pub(super) fn pending(&self) -> MutexGuard<'_, Pending> {
        // Every change is complete by itself, so a panic elsewhere leaves it sound.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of everything that waits in the pool.
    fn note_all(&self) {
        for (digest, bytes) in self.host.pool.all() {
            self.pending().arrived(digest, &bytes);
        }
    }
}

/// Follows the pool for as long as the ParaTime runs.
pub(super) async fn follow(service: Arc<Service>) -> Result<()> {
    let mut arrivals = service.host.pool.arrivals();
    service.note_all();
    loop {
        match arrivals.recv().await {
            Ok(digest) => {
                if let Some(bytes) = service.host.pool.bytes(&digest) {
                    service.pending().arrived(digest, &bytes);
                }
            }
            Err(broadcast::error::RecvError::Lagged(_)) => service.note_all(),
            Err(broadcast::error::RecvError::Closed) => {
                return Err(eyre!("the pool of ParaTime {} is gone", service.host.id));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_are_told_once_in_order_and_a_transaction_that_left_the_pool_is_not_known_any_more() {
        let mut pending = Pending::default();
        let mut told = pending.subscribe();
        let digest = |n: u8| Digest([n; 32]);
        let start = pending.next();
        let hashes: Vec<B256> = (1..=3).map(|n| pending.arrived(digest(n), &[n])).collect();
        assert_eq!(pending.arrived(digest(2), &[2]), hashes[1]);
        assert_eq!(pending.since(start), hashes);
        assert!(pending.since(pending.next()).is_empty());
        assert_eq!((0..3).map(|_| told.try_recv().unwrap()).collect::<Vec<_>>(), hashes);
        assert!(told.try_recv().is_err());
        pending.forget(|d| *d == digest(2));
        assert_eq!((pending.digest(&hashes[0]), pending.digest(&hashes[1])), (None, Some(digest(2))));
    }

    #[test]
    fn of_many_arrivals_the_newest_are_remembered() {
        let mut pending = Pending::default();
        for n in 0..MAX_ARRIVALS + 10 {
            let bytes = n.to_be_bytes();
            let hash = pending.arrived(Digest([0; 32]), &bytes);
            pending.forget(|_| false);
            assert_eq!(hash, keccak256(bytes));
        }
        assert_eq!((pending.since(0).len(), pending.next()), (MAX_ARRIVALS, (MAX_ARRIVALS + 10) as u64));
    }
}
