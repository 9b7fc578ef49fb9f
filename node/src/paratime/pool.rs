//! Transactions of one ParaTime that wait for a batch. Bounded; in order of nonce for each sender, of priority between
//! senders. What admission checked against the last finalised state is checked again by execution.

use parallax_primitives::{Address, Digest, limits};
use parallax_runtime::TxInfo;
use parallax_runtime::paratime::tx_digest;
use std::collections::{BTreeMap, BTreeSet};

/// Most transactions of one sender that wait.
const MAX_PER_SENDER: usize = 64;

struct Entry {
    digest: Digest,
    bytes: Vec<u8>,
    priority: u128,
    arrival: u64,
}

/// Why a pool does not take a transaction.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// It waits already.
    #[error("the transaction waits in the pool already")]
    Known,
    /// Another one with this nonce offers at least as much.
    #[error(
        "another transaction of the sender with nonce {0} waits and offers as much; use the next nonce or pay more"
    )]
    NonceTaken(u64),
    /// The sender has too many.
    #[error("{MAX_PER_SENDER} transactions of the sender wait already; let them be included first")]
    SenderFull,
    /// The pool is full.
    #[error("the pool is full; try again when a round has been finalised")]
    Full,
}

impl PoolError {
    /// Its stable code in module `pool`.
    pub fn code(&self) -> u32 {
        match self {
            Self::Known => 1,
            Self::NonceTaken(_) => 2,
            Self::SenderFull => 3,
            Self::Full => 4,
        }
    }
}

/// The pool.
#[derive(Default)]
pub struct ParaTimePool {
    senders: BTreeMap<Address, BTreeMap<u64, Entry>>,
    known: BTreeMap<Digest, (Address, u64)>,
    arrivals: u64,
}

impl ParaTimePool {
    /// Takes a transaction that admission let through.
    ///
    /// # Errors
    /// [`PoolError`].
    pub fn insert(&mut self, info: &TxInfo, bytes: Vec<u8>) -> Result<Digest, PoolError> {
        let digest = tx_digest(&bytes);
        if self.known.contains_key(&digest) {
            return Err(PoolError::Known);
        }
        if self.known.len() >= limits::MAX_POOL_TXS {
            return Err(PoolError::Full);
        }
        let run = self.senders.entry(info.sender).or_default();
        match run.get(&info.nonce) {
            Some(old) if old.priority >= info.priority => return Err(PoolError::NonceTaken(info.nonce)),
            Some(old) => {
                self.known.remove(&old.digest);
            }
            None if run.len() >= MAX_PER_SENDER => return Err(PoolError::SenderFull),
            None => {}
        }
        self.arrivals = self.arrivals.saturating_add(1);
        run.insert(info.nonce, Entry { digest, bytes, priority: info.priority, arrival: self.arrivals });
        self.known.insert(digest, (info.sender, info.nonce));
        Ok(digest)
    }

    /// Removes transactions that a round has executed, or that can never be.
    pub fn remove<'a>(&mut self, digests: impl IntoIterator<Item = &'a Digest>) {
        for digest in digests {
            let Some((sender, nonce)) = self.known.remove(digest) else { continue };
            if let Some(run) = self.senders.get_mut(&sender) {
                run.remove(&nonce);
                if run.is_empty() {
                    self.senders.remove(&sender);
                }
            }
        }
    }

    /// Keeps only what `still` lets through: called after a round, with admission against the new state.
    pub fn recheck(&mut self, still: impl Fn(&[u8]) -> bool) {
        let gone: Vec<Digest> = self
            .senders
            .values()
            .flat_map(BTreeMap::values)
            .filter(|entry| !still(&entry.bytes))
            .map(|entry| entry.digest)
            .collect();
        self.remove(&gone);
    }

    /// The bytes of a transaction.
    pub fn get(&self, digest: &Digest) -> Option<&[u8]> {
        let (sender, nonce) = self.known.get(digest)?;
        Some(&self.senders.get(sender)?.get(nonce)?.bytes)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Candidates for a batch: best offers first, earlier arrivals before later ones, each sender's in order of nonce
    /// and without gaps from its first.
    pub fn candidates(&self) -> Vec<Vec<u8>> {
        let mut next: BTreeMap<Address, u64> = BTreeMap::new();
        // (best offer first, then arrival): the head of each sender's run competes with the other heads.
        let mut heads: BTreeSet<(std::cmp::Reverse<u128>, u64, Address)> = BTreeSet::new();
        for (sender, run) in &self.senders {
            if let Some((nonce, entry)) = run.first_key_value() {
                next.insert(*sender, *nonce);
                heads.insert((std::cmp::Reverse(entry.priority), entry.arrival, *sender));
            }
        }
        let (mut batch, mut bytes) = (Vec::new(), 0usize);
        while let Some((_, _, sender)) = heads.pop_first() {
            let Some(nonce) = next.get(&sender).copied() else { continue };
            let Some(run) = self.senders.get(&sender) else { continue };
            let Some(entry) = run.get(&nonce) else { continue };
            bytes = bytes.saturating_add(entry.bytes.len());
            if batch.len() >= limits::MAX_BATCH_TXS || bytes > limits::MAX_BATCH_BYTES {
                break;
            }
            batch.push(entry.bytes.clone());
            let following = nonce.saturating_add(1);
            if let Some(entry) = run.get(&following) {
                next.insert(sender, following);
                heads.insert((std::cmp::Reverse(entry.priority), entry.arrival, sender));
            }
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parallax_primitives::Gas;

    fn tx(sender: u8, nonce: u64, priority: u128) -> (TxInfo, Vec<u8>) {
        let info = TxInfo { sender: Address([sender; 20]), nonce, priority, gas: Gas(1) };
        (info, vec![sender, u8::try_from(nonce).unwrap(), u8::try_from(priority).unwrap()])
    }

    fn pool(txs: &[(u8, u64, u128)]) -> ParaTimePool {
        let mut pool = ParaTimePool::default();
        for (sender, nonce, priority) in txs {
            let (info, bytes) = tx(*sender, *nonce, *priority);
            pool.insert(&info, bytes).unwrap();
        }
        pool
    }

    #[test]
    fn better_offers_come_first_but_never_before_the_same_senders_earlier_nonce() {
        let pool = pool(&[(1, 0, 1), (1, 1, 9), (2, 0, 5), (3, 4, 5)]);
        let order: Vec<(u8, u8)> = pool.candidates().iter().map(|b| (b[0], b[1])).collect();
        assert_eq!(order, [(2, 0), (3, 4), (1, 0), (1, 1)]);
    }

    #[test]
    fn a_gap_in_the_nonces_holds_back_what_comes_after_it() {
        let pool = pool(&[(1, 0, 1), (1, 2, 9)]);
        assert_eq!(pool.candidates().len(), 1);
    }

    #[test]
    fn a_second_transaction_with_a_nonce_must_offer_more() {
        let mut pool = pool(&[(1, 0, 5)]);
        let (info, bytes) = tx(1, 0, 4);
        assert_eq!(pool.insert(&info, bytes), Err(PoolError::NonceTaken(0)));
        let (info, bytes) = tx(1, 0, 6);
        pool.insert(&info, bytes.clone()).unwrap();
        assert_eq!(pool.insert(&info, bytes.clone()), Err(PoolError::Known));
        assert_eq!((pool.len(), pool.candidates()), (1, vec![bytes]));
    }

    #[test]
    fn one_sender_cannot_fill_the_pool() {
        let mut pool = ParaTimePool::default();
        for nonce in 0..MAX_PER_SENDER as u64 {
            let (info, bytes) = tx(1, nonce, 1);
            pool.insert(&info, bytes).unwrap();
        }
        let (info, bytes) = tx(1, MAX_PER_SENDER as u64, 1);
        assert_eq!(pool.insert(&info, bytes), Err(PoolError::SenderFull));
    }

    #[test]
    fn executed_and_outdated_transactions_leave() {
        let mut pool = pool(&[(1, 0, 5), (2, 0, 5), (3, 0, 5)]);
        let (_, bytes) = tx(1, 0, 5);
        pool.remove([&tx_digest(&bytes)]);
        pool.recheck(|bytes| bytes[0] != 2);
        assert_eq!(pool.candidates(), vec![tx(3, 0, 5).1]);
        assert!(pool.get(&tx_digest(&tx(3, 0, 5).1)).is_some());
    }
}
