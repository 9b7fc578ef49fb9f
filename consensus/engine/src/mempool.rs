//! Transactions that wait for a block.
//!
//! - Each sender has one run of nonces, at most [`MAX_SENDER_TXS`] long. Candidates are taken from the heads of the
//!   runs, the best fee for its gas first, so a sender's own order holds and a gap hides what lies behind it.
//! - A full pool makes room by dropping the worst-paying last transaction of a run, never one in the middle.
//! - After each block, the senders in it are checked again, and some of the others in turn: what could no longer pay
//!   leaves.

use crate::Shared;
use parallax_consensus_app::tx::{Transaction, tx_digest};
use parallax_consensus_app::{Application, BlockLimits, Checked, TxError};
use parallax_primitives::{Address, Amount, Digest, Gas, Height, Nonce, limits};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Most transactions of one sender.
pub const MAX_SENDER_TXS: usize = 64;
/// Most bytes of all transactions in the pool.
pub const MAX_POOL_BYTES: usize = 64 * 1024 * 1024;
/// Transactions checked again after a block, besides those of the block's senders. Each costs a signature, about
/// 50 microseconds, so this bounds the work a block brings to about 10 milliseconds.
const RECHECK_PER_BLOCK: usize = 200;

/// Where an engine takes transactions from.
pub trait Mempool: Send + Sync {
    /// Transactions for a block within the limits, in the order in which they should stand.
    fn candidates(&self, limits: BlockLimits) -> Vec<Vec<u8>>;

    /// A block was committed with these transactions.
    fn committed(&self, height: Height, txs: &[Vec<u8>]);
}

/// A pool with nothing in it: for nodes that never propose.
#[derive(Clone, Copy, Debug, Default)]
pub struct EmptyMempool;

impl Mempool for EmptyMempool {
    fn candidates(&self, _limits: BlockLimits) -> Vec<Vec<u8>> {
        Vec::new()
    }

    fn committed(&self, _height: Height, _txs: &[Vec<u8>]) {}
}

/// The stable codes of module `mempool`.
pub mod codes {
    /// The pool is full of transactions that pay at least as much.
    pub const FULL: u32 = 1;
    /// This very transaction waits already.
    pub const DUPLICATE: u32 = 2;
    /// Another transaction with this nonce waits, and the new one does not pay a tenth more.
    pub const UNDERPRICED: u32 = 3;
    /// The sender has as many waiting as it may.
    pub const SENDER_FULL: u32 = 4;
    /// The transaction is larger than any block takes.
    pub const TOO_LARGE: u32 = 5;
}

fn refuse(code: u32, message: String) -> TxError {
    TxError { module: "mempool".into(), code, message }
}

#[derive(Clone)]
struct Entry {
    bytes: Vec<u8>,
    digest: Digest,
    fee: Amount,
    gas: Gas,
}

/// Compares what two transactions pay for a unit of gas, without division: `a.fee / a.gas` against `b.fee / b.gas`.
/// A gas limit of 0 counts as 1. Past 2^128 both saturate and tie, which only makes the order among the richest
/// arbitrary.
fn by_price(a: &Entry, b: &Entry) -> Ordering {
    let cross = |x: &Entry, y: &Entry| x.fee.0.saturating_mul(u128::from(y.gas.0.max(1)));
    cross(a, b).cmp(&cross(b, a))
}

#[derive(Default)]
struct Waiting {
    runs: BTreeMap<Address, BTreeMap<Nonce, Entry>>,
    digests: BTreeSet<Digest>,
    bytes: usize,
    /// The sender after which the next check in turn begins.
    cursor: Option<Address>,
}

impl Waiting {
    fn insert(&mut self, sender: Address, nonce: Nonce, entry: Entry) {
        self.remove(&sender, nonce);
        self.bytes = self.bytes.saturating_add(entry.bytes.len());
        self.digests.insert(entry.digest);
        self.runs.entry(sender).or_default().insert(nonce, entry);
    }

    fn remove(&mut self, sender: &Address, nonce: Nonce) {
        let Some(run) = self.runs.get_mut(sender) else { return };
        if let Some(old) = run.remove(&nonce) {
            self.bytes = self.bytes.saturating_sub(old.bytes.len());
            self.digests.remove(&old.digest);
        }
        if run.is_empty() {
            self.runs.remove(sender);
        }
    }

    /// The last transaction of a run that pays least.
    fn worst_tail(&self) -> Option<(Address, Nonce, &Entry)> {
        let tails = self.runs.iter().filter_map(|(s, run)| run.last_key_value().map(|(n, e)| (*s, *n, e)));
        tails.min_by(|a, b| by_price(a.2, b.2))
    }
}

/// The pool of a node. Admission is the application's `check`; RPC and gossip both come in by [`Pool::submit`].
pub struct Pool<A> {
    app: Shared<A>,
    waiting: Mutex<Waiting>,
    max_txs: usize,
}

impl<A: Application + Sync> Pool<A> {
    /// An empty pool of at most [`limits::MAX_MEMPOOL_TXS`].
    pub fn new(app: Shared<A>) -> Self {
        Self::with_capacity(app, limits::MAX_MEMPOOL_TXS)
    }

    /// An empty pool of at most `max_txs`.
    pub fn with_capacity(app: Shared<A>, max_txs: usize) -> Self {
        Self { app, waiting: Mutex::default(), max_txs }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many transactions wait.
    pub fn len(&self) -> usize {
        self.lock().digests.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether this transaction waits.
    pub fn contains(&self, digest: &Digest) -> bool {
        self.lock().digests.contains(digest)
    }

    /// The nonce after a sender's last waiting transaction: what a client that sends several should use next.
    pub fn next_nonce(&self, sender: &Address) -> Option<Nonce> {
        self.lock().runs.get(sender).and_then(|run| run.last_key_value()).map(|(nonce, _)| nonce.next())
    }

    /// Admits a transaction.
    ///
    /// # Errors
    /// The application's refusal, or one of [`codes`] in module `mempool`. [`codes::DUPLICATE`] is harmless: the
    /// transaction waits already.
    pub fn submit(&self, bytes: Vec<u8>) -> Result<Checked, TxError> {
        if bytes.len() > limits::MAX_TX_BYTES {
            let message = format!("the transaction has {} bytes, the limit is {}", bytes.len(), limits::MAX_TX_BYTES);
            return Err(refuse(codes::TOO_LARGE, message));
        }
        let digest = tx_digest(&bytes);
        if self.contains(&digest) {
            return Err(refuse(codes::DUPLICATE, format!("transaction {digest} waits already")));
        }
        let checked = self.app.check(&bytes)?;
        let entry = Entry { bytes, digest, fee: checked.fee, gas: checked.gas_limit };
        self.admit(&checked, entry)?;
        Ok(checked)
    }

    fn admit(&self, checked: &Checked, entry: Entry) -> Result<(), TxError> {
        let mut waiting = self.lock();
        let run = waiting.runs.get(&checked.sender);
        if let Some(old) = run.and_then(|run| run.get(&checked.nonce)) {
            if old.digest == entry.digest {
                return Err(refuse(codes::DUPLICATE, format!("transaction {} waits already", entry.digest)));
            }
            let least = old.fee.0.saturating_add(old.fee.0.div_ceil(10)).max(1);
            if entry.fee.0 < least {
                let message = format!(
                    "transaction {} waits with nonce {}; to replace it, offer a fee of at least {least}",
                    old.digest, checked.nonce
                );
                return Err(refuse(codes::UNDERPRICED, message));
            }
            waiting.insert(checked.sender, checked.nonce, entry);
            return Ok(());
        }
        if run.map_or(0, BTreeMap::len) >= MAX_SENDER_TXS {
            let message = format!("{} has {MAX_SENDER_TXS} transactions waiting; wait for a block", checked.sender);
            return Err(refuse(codes::SENDER_FULL, message));
        }
        while waiting.digests.len() >= self.max_txs || waiting.bytes + entry.bytes.len() > MAX_POOL_BYTES {
            // A sender's own last transaction makes no room for its next one: it would leave a gap.
            let worst = waiting.worst_tail().filter(|(s, _, e)| *s != checked.sender && by_price(e, &entry).is_lt());
            let Some((sender, nonce, _)) = worst else {
                return Err(refuse(codes::FULL, "the pool is full; offer a higher fee or try again later".into()));
            };
            waiting.remove(&sender, nonce);
        }
        waiting.insert(checked.sender, checked.nonce, entry);
        Ok(())
    }

    /// Checks again every transaction of these senders, and drops what is refused now.
    fn recheck(&self, senders: &[Address]) {
        let entries: Vec<(Address, Nonce, Vec<u8>)> = {
            let waiting = self.lock();
            let runs = senders.iter().filter_map(|s| waiting.runs.get(s).map(|run| (s, run)));
            runs.flat_map(|(s, run)| run.iter().map(|(n, e)| (*s, *n, e.bytes.clone()))).collect()
        };
        let refused: Vec<(Address, Nonce, Digest)> = entries
            .into_iter()
            .filter(|(_, _, bytes)| self.app.check(bytes).is_err())
            .map(|(s, n, bytes)| (s, n, tx_digest(&bytes)))
            .collect();
        let mut waiting = self.lock();
        for (sender, nonce, digest) in refused {
            // It may have been replaced meanwhile.
            let same = waiting.runs.get(&sender).and_then(|r| r.get(&nonce)).is_some_and(|e| e.digest == digest);
            if same {
                waiting.remove(&sender, nonce);
            }
        }
    }

    /// The next senders in turn, with together at most [`RECHECK_PER_BLOCK`] transactions.
    fn in_turn(&self) -> Vec<Address> {
        let mut waiting = self.lock();
        let after = waiting.cursor.take();
        let (mut senders, mut count) = (Vec::new(), 0usize);
        for (sender, run) in &waiting.runs {
            if after.is_some_and(|after| *sender <= after) {
                continue;
            }
            count += run.len();
            if count > RECHECK_PER_BLOCK {
                break;
            }
            senders.push(*sender);
        }
        waiting.cursor = senders.last().copied();
        senders
    }
}

impl<A: Application + Sync + 'static> Mempool for Pool<A> {
    fn candidates(&self, limits: BlockLimits) -> Vec<Vec<u8>> {
        let waiting = self.lock();
        let mut heads: Vec<_> = waiting
            .runs
            .values()
            .filter_map(|run| {
                let mut rest = run.iter();
                rest.next().map(|(nonce, entry)| (*nonce, entry, rest))
            })
            .collect();
        let (mut chosen, mut bytes) = (Vec::new(), 0usize);
        while chosen.len() < limits.max_txs {
            let Some(best) = heads.iter().enumerate().max_by(|a, b| by_price(a.1.1, b.1.1)).map(|(at, _)| at) else {
                break;
            };
            let (nonce, entry, mut rest) = heads.swap_remove(best);
            if bytes + entry.bytes.len() > limits.max_bytes {
                continue; // This sender's run ends here; a smaller transaction of another may still fit.
            }
            bytes += entry.bytes.len();
            chosen.push(entry.bytes.clone());
            if let Some((next, entry)) = rest.next().filter(|(next, _)| **next == nonce.next()) {
                heads.push((*next, entry, rest));
            }
        }
        chosen
    }

    fn committed(&self, _height: Height, txs: &[Vec<u8>]) {
        let mut senders = BTreeSet::new();
        for bytes in txs {
            if let Ok(tx) = Transaction::decode(bytes) {
                let sender = Address::of(&tx.signed().signer);
                self.lock().remove(&sender, tx.signed().body.nonce);
                senders.insert(sender);
            }
        }
        senders.extend(self.in_turn());
        self.recheck(&senders.into_iter().collect::<Vec<_>>());
    }
}
