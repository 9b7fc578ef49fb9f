//! Transactions of one ParaTime that wait for a batch. Bounded; in order of nonce for each sender, of priority between
//! senders. What admission checked against the last finalised state is checked again by execution.
//!
//! A transaction is a candidate for a batch only if every nonce from its sender's next one up to its own waits here:
//! executed out of order it would fail before its sender can be charged.
//!
//! What lacks an earlier nonce costs its sender nothing, so it must not keep others out: a full pool drops such
//! transactions first for one that can be executed, and then those that offer least for one that offers more. Of each
//! sender only the last nonce is dropped, so that this leaves no gap.

use parallax_primitives::{Address, Digest, limits};
use parallax_runtime::TxInfo;
use parallax_runtime::paratime::tx_digest;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Most transactions of one sender that wait.
const MAX_PER_SENDER: usize = 64;

struct Entry {
    digest: Digest,
    bytes: Arc<Vec<u8>>,
    priority: u128,
    arrival: u64,
}

/// What waits of one sender.
#[derive(Default)]
struct Sender {
    /// The account's nonce in the newest state that is known here. Between two rounds it never falls: a check may have
    /// begun on an older state.
    next: u64,
    waiting: BTreeMap<u64, Entry>,
}

impl Sender {
    /// Nonces that can be executed in order, from the account's own.
    fn run(&self) -> impl Iterator<Item = &Entry> {
        (self.next..).map_while(|nonce| self.waiting.get(&nonce))
    }

    /// Whether a transaction with this nonce could be executed, with what waits before it.
    fn reaches(&self, nonce: u64) -> bool {
        (self.next..nonce).all(|earlier| self.waiting.contains_key(&earlier))
    }
}

/// What a transaction is worth to a full pool: one that can be executed before one that cannot, then the better offer,
/// then the earlier arrival.
type Worth = (bool, u128, std::cmp::Reverse<u64>);

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
    #[error(
        "the pool is full, and this transaction offers no more than what waits there, or lacks an earlier nonce of its \
         sender; try again when a round has been finalised, or offer more"
    )]
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
    senders: BTreeMap<Address, Sender>,
    known: BTreeMap<Digest, (Address, u64)>,
    arrivals: u64,
}

impl ParaTimePool {
    /// Whether the pool would take a transaction; costs nothing.
    ///
    /// # Errors
    /// [`PoolError`].
    pub fn room(&self, info: &TxInfo, digest: &Digest) -> Result<(), PoolError> {
        if self.known.contains_key(digest) {
            return Err(PoolError::Known);
        }
        self.dropped_for(info).map(|_| ())
    }

    /// What leaves the pool for a transaction, if something must.
    fn dropped_for(&self, info: &TxInfo) -> Result<Option<Digest>, PoolError> {
        let sender = self.senders.get(&info.sender);
        match sender.and_then(|sender| sender.waiting.get(&info.nonce)) {
            Some(old) if old.priority >= info.priority => Err(PoolError::NonceTaken(info.nonce)),
            Some(old) => Ok(Some(old.digest)),
            None => match sender.filter(|sender| sender.waiting.len() >= MAX_PER_SENDER) {
                // The nonce that was missing may come; the last one goes for it.
                Some(full) => {
                    let last = full.waiting.last_key_value().filter(|(last, _)| **last > info.nonce);
                    last.map(|(_, entry)| Some(entry.digest)).ok_or(PoolError::SenderFull)
                }
                None if self.known.len() < limits::MAX_POOL_TXS => Ok(None),
                None => self.victim(info).map(Some).ok_or(PoolError::Full),
            },
        }
    }

    /// What a full pool drops for a transaction: the last one of a sender that is worth least, if that is less.
    fn victim(&self, info: &TxInfo) -> Option<Digest> {
        let reaches = match self.senders.get(&info.sender) {
            Some(sender) => info.nonce >= info.next.max(sender.next) && sender.reaches(info.nonce),
            None => info.nonce == info.next,
        };
        let offered = (reaches, info.priority);
        let lasts = self.senders.iter().filter_map(|(address, sender)| {
            let (nonce, entry) = sender.waiting.last_key_value()?;
            // What comes before the new one of the same sender stays.
            let counts = *address != info.sender || *nonce > info.nonce;
            let worth: Worth = (sender.reaches(*nonce), entry.priority, std::cmp::Reverse(entry.arrival));
            counts.then_some((worth, entry.digest))
        });
        let ((ready, priority, _), digest) = lasts.min_by_key(|(worth, _)| *worth)?;
        ((ready, priority) < offered).then_some(digest)
    }

    /// Takes a transaction that admission let through.
    ///
    /// # Errors
    /// [`PoolError`].
    pub fn insert(&mut self, info: &TxInfo, bytes: Vec<u8>) -> Result<Digest, PoolError> {
        let digest = tx_digest(&bytes);
        self.room(info, &digest)?;
        if let Some(dropped) = self.dropped_for(info)? {
            self.remove([&dropped]);
        }
        self.arrivals = self.arrivals.saturating_add(1);
        let entry = Entry { digest, bytes: Arc::new(bytes), priority: info.priority, arrival: self.arrivals };
        let sender = self.senders.entry(info.sender).or_default();
        sender.next = sender.next.max(info.next);
        sender.waiting.insert(info.nonce, entry);
        self.known.insert(digest, (info.sender, info.nonce));
        Ok(digest)
    }

    /// Removes transactions that a round has executed, or that can never be.
    pub fn remove<'a>(&mut self, digests: impl IntoIterator<Item = &'a Digest>) {
        for digest in digests {
            let Some((address, nonce)) = self.known.remove(digest) else { continue };
            if let Some(sender) = self.senders.get_mut(&address) {
                sender.waiting.remove(&nonce);
                if sender.waiting.is_empty() {
                    self.senders.remove(&address);
                }
            }
        }
    }

    /// All that waits, to be checked against a new state without holding the pool meanwhile.
    pub fn all(&self) -> Vec<(Digest, Arc<Vec<u8>>)> {
        let entries = self.senders.values().flat_map(|sender| sender.waiting.values());
        entries.map(|entry| (entry.digest, Arc::clone(&entry.bytes))).collect()
    }

    /// Takes note of what admission says of waiting transactions after a round: what is refused (`None`) leaves, and
    /// the senders of the others are as far as their accounts now are.
    pub fn recheck<'a>(&mut self, checked: impl IntoIterator<Item = (&'a Digest, Option<TxInfo>)>) {
        for (digest, info) in checked {
            match info {
                None => self.remove([digest]),
                Some(info) => {
                    // Lower than before where a developer has gone back to a snapshot.
                    if let Some(sender) = self.senders.get_mut(&info.sender) {
                        sender.next = info.next;
                    }
                }
            }
        }
    }

    /// The first nonce from `nonce` on with which nothing of a sender waits.
    pub fn next_nonce(&self, sender: &Address, nonce: u64) -> u64 {
        let Some(sender) = self.senders.get(sender) else { return nonce };
        let run = (nonce..).take_while(|nonce| sender.waiting.contains_key(nonce)).count();
        nonce.saturating_add(u64::try_from(run).unwrap_or(u64::MAX))
    }

    /// The bytes of a transaction.
    pub fn get(&self, digest: &Digest) -> Option<&[u8]> {
        let (sender, nonce) = self.known.get(digest)?;
        Some(&self.senders.get(sender)?.waiting.get(nonce)?.bytes)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// How many of them can be executed now, because no nonce before theirs is missing.
    pub fn ready(&self) -> usize {
        self.senders.values().map(|sender| sender.run().count()).sum()
    }

    /// Candidates for a batch: best offers first, earlier arrivals before later ones, each sender's in order of nonce,
    /// from the account's own and without gaps.
    pub fn candidates(&self) -> Vec<Vec<u8>> {
        // (best offer first, then arrival): the head of each sender's run competes with the other heads.
        let mut heads: BTreeMap<(std::cmp::Reverse<u128>, u64), _> = BTreeMap::new();
        let place = |entry: &Entry| (std::cmp::Reverse(entry.priority), entry.arrival);
        for sender in self.senders.values() {
            let mut run = sender.run();
            if let Some(entry) = run.next() {
                heads.insert(place(entry), (entry, run));
            }
        }
        let (mut batch, mut bytes) = (Vec::new(), 0usize);
        while let Some((_, (entry, mut run))) = heads.pop_first() {
            bytes = bytes.saturating_add(entry.bytes.len());
            if batch.len() >= limits::MAX_BATCH_TXS || bytes > limits::MAX_BATCH_BYTES {
                break;
            }
            batch.push(entry.bytes.to_vec());
            if let Some(entry) = run.next() {
                heads.insert(place(entry), (entry, run));
            }
        }
        batch
    }
}

/// Most refused proofs that are remembered.
const MAX_REFUSED: usize = 1_024;

/// What keeps the verification of proofs, the one costly step of admission, from being had for free: transactions
/// whose proof was refused are not verified again, and each sender has at most one verification under way.
pub struct ProofQueue<E> {
    refused: BTreeMap<Digest, E>,
    order: VecDeque<Digest>,
    senders: BTreeSet<Address>,
}

impl<E> Default for ProofQueue<E> {
    fn default() -> Self {
        Self { refused: BTreeMap::new(), order: VecDeque::new(), senders: BTreeSet::new() }
    }
}

impl<E: Clone> ProofQueue<E> {
    /// Why the proof of a transaction was refused, if it was and that is remembered.
    pub fn verdict(&self, digest: &Digest) -> Option<E> {
        self.refused.get(digest).cloned()
    }

    /// Remembers a refusal; the oldest is forgotten for the newest.
    pub fn refuse(&mut self, digest: Digest, error: E) {
        if self.refused.insert(digest, error).is_none() {
            self.order.push_back(digest);
        }
        if self.order.len() > MAX_REFUSED
            && let Some(oldest) = self.order.pop_front()
        {
            self.refused.remove(&oldest);
        }
    }

    /// Begins a sender's verification; `false` if it has one under way.
    pub fn begin(&mut self, sender: Address) -> bool {
        self.senders.insert(sender)
    }

    /// Ends it.
    pub fn end(&mut self, sender: &Address) {
        self.senders.remove(sender);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parallax_primitives::Gas;

    fn tx(sender: u8, nonce: u64, priority: u128) -> (TxInfo, Vec<u8>) {
        let info = TxInfo { sender: Address([sender; 20]), nonce, next: 0, priority, gas: Gas(1) };
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

    fn order(pool: &ParaTimePool) -> Vec<(u8, u8)> {
        pool.candidates().iter().map(|b| (b[0], b[1])).collect()
    }

    #[test]
    fn better_offers_come_first_but_never_before_the_same_senders_earlier_nonce() {
        let pool = pool(&[(1, 0, 1), (1, 1, 9), (2, 0, 5), (3, 0, 5), (3, 1, 4)]);
        assert_eq!(order(&pool), [(2, 0), (3, 0), (3, 1), (1, 0), (1, 1)]);
    }

    #[test]
    fn what_lacks_the_accounts_own_nonce_is_no_candidate_until_that_arrives() {
        let mut pool = pool(&[(1, 1, 5), (1, 2, 5)]);
        assert_eq!((pool.len(), pool.ready(), order(&pool)), (2, 0, vec![]));
        let (info, bytes) = tx(1, 0, 5);
        pool.insert(&info, bytes).unwrap();
        assert_eq!((pool.ready(), order(&pool)), (3, vec![(1, 0), (1, 1), (1, 2)]));
    }

    #[test]
    fn after_a_round_a_run_begins_at_the_accounts_new_nonce() {
        let mut pool = pool(&[(1, 0, 5), (1, 1, 5), (1, 3, 5), (2, 1, 5)]);
        let executed = tx_digest(&tx(1, 0, 5).1);
        pool.remove([&executed]);
        assert_eq!(order(&pool), [], "before the new nonce is known");
        let waiting = pool.all();
        let checked = waiting.iter().map(|(digest, bytes)| {
            let (info, _) = tx(bytes[0], bytes[1].into(), 5);
            (digest, Some(TxInfo { next: 1, ..info }))
        });
        pool.recheck(checked);
        assert_eq!(order(&pool), [(1, 1), (2, 1)]);
        // A check against an older state does not take an account back.
        let (info, bytes) = tx(1, 4, 5);
        pool.insert(&info, bytes).unwrap();
        assert_eq!(order(&pool), [(1, 1), (2, 1)]);
    }

    #[test]
    fn a_round_that_takes_an_account_back_lets_its_earlier_nonces_be_sent_again() {
        let mut pool = ParaTimePool::default();
        let at = |nonce: u64, next: u64| {
            let (info, bytes) = tx(1, nonce, 5);
            (TxInfo { next, ..info }, bytes)
        };
        // The account was at 4, and what waits has a gap before it.
        let (info, bytes) = at(6, 4);
        pool.insert(&info, bytes).unwrap();
        let waiting = pool.all();
        pool.recheck(waiting.iter().map(|(digest, _)| (digest, Some(at(6, 2).0))));
        let (info, bytes) = at(2, 2);
        pool.insert(&info, bytes).unwrap();
        assert_eq!(order(&pool), [(1, 2)]);
    }

    #[test]
    fn a_senders_next_nonce_is_after_all_that_wait_without_a_gap() {
        let pool = pool(&[(1, 3, 5), (1, 4, 5), (1, 6, 5)]);
        let next = |sender: u8, nonce| pool.next_nonce(&Address([sender; 20]), nonce);
        assert_eq!((next(1, 3), next(1, 2), next(1, 6), next(2, 9)), (5, 2, 7, 9));
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

    /// A pool filled by so many senders as that takes, each from a nonce on, at one priority.
    fn full(first_nonce: u64, priority: u128) -> ParaTimePool {
        let mut pool = ParaTimePool::default();
        let senders = limits::MAX_POOL_TXS.div_ceil(MAX_PER_SENDER);
        for sender in 0..u8::try_from(senders).unwrap() {
            for nonce in first_nonce..first_nonce + MAX_PER_SENDER as u64 {
                let (info, bytes) = tx(sender, nonce, priority);
                if pool.len() < limits::MAX_POOL_TXS {
                    pool.insert(&info, bytes).unwrap();
                }
            }
        }
        assert_eq!(pool.len(), limits::MAX_POOL_TXS);
        pool
    }

    #[test]
    fn what_can_never_be_executed_keeps_nobody_out() {
        // Every account lacks its first nonce, so nothing of this is ever executed or paid.
        let mut pool = full(1, 200);
        assert_eq!(pool.ready(), 0);
        for nonce in 0..3 {
            let (info, bytes) = tx(200, nonce, 1);
            pool.insert(&info, bytes).unwrap();
        }
        assert_eq!((pool.len(), order(&pool)), (limits::MAX_POOL_TXS, vec![(200, 0), (200, 1), (200, 2)]));
        // More of the same kind gets no place, and the nonce that was missing does.
        let (info, bytes) = tx(201, 1, 200);
        assert_eq!(pool.insert(&info, bytes), Err(PoolError::Full));
        let (info, bytes) = tx(0, 0, 1);
        pool.insert(&info, bytes).unwrap();
        assert!(pool.ready() > 3, "the account's whole run is ready now");
    }

    #[test]
    fn a_full_pool_drops_the_least_offer_for_a_better_one_and_leaves_no_gap() {
        let mut pool = full(0, 5);
        let (info, bytes) = tx(200, 0, 5);
        assert_eq!(pool.insert(&info, bytes), Err(PoolError::Full), "no better than what waits");
        let ready = pool.ready();
        let (info, bytes) = tx(200, 0, 6);
        pool.insert(&info, bytes.clone()).unwrap();
        assert_eq!((pool.len(), pool.ready()), (limits::MAX_POOL_TXS, ready), "the last nonce of a sender went");
        assert_eq!(pool.candidates().first(), Some(&bytes));
        // To pay more for one's own is possible, too.
        let (info, bytes) = tx(3, 7, 9);
        pool.insert(&info, bytes).unwrap();
        assert_eq!((pool.len(), pool.ready()), (limits::MAX_POOL_TXS, ready));
    }

    #[test]
    fn executed_and_outdated_transactions_leave() {
        let mut pool = pool(&[(1, 0, 5), (2, 0, 5), (3, 0, 5)]);
        let (_, bytes) = tx(1, 0, 5);
        pool.remove([&tx_digest(&bytes)]);
        let waiting = pool.all();
        pool.recheck(waiting.iter().map(|(digest, bytes)| (digest, (bytes[0] != 2).then(|| tx(bytes[0], 0, 5).0))));
        assert_eq!(pool.candidates(), vec![tx(3, 0, 5).1]);
        assert!(pool.get(&tx_digest(&tx(3, 0, 5).1)).is_some());
    }

    #[test]
    fn refused_proofs_are_remembered_up_to_a_number_and_a_sender_has_one_verification_at_a_time() {
        let mut queue = ProofQueue::default();
        let digest = |n: usize| tx_digest(&n.to_be_bytes());
        for n in 0..=MAX_REFUSED {
            queue.refuse(digest(n), n);
        }
        assert_eq!((queue.verdict(&digest(0)), queue.verdict(&digest(1))), (None, Some(1)));
        assert_eq!((queue.refused.len(), queue.order.len()), (MAX_REFUSED, MAX_REFUSED));
        let sender = Address([1; 20]);
        assert!(queue.begin(sender) && !queue.begin(sender) && queue.begin(Address([2; 20])));
        queue.end(&sender);
        assert!(queue.begin(sender));
    }
}
