//! The node's own consensus transactions: announcements, commitments, beacon proofs, registrations.
//!
//! Pure. Calls wait in order; each is signed with the nonce that the chain will expect of it. A call leaves the outbox
//! when one of its transactions is in a block, when the ledger refuses it, or when its owner withdraws it. If the
//! chain's nonce moved past a transaction that is in no block (the process restarted, or another program used the
//! key), it is signed anew. Signing a call twice is harmless: announcements and commitments are judged by their own
//! signatures, and a second one is a duplicate.
//!
//! A transaction that no block takes is signed again with a higher fee: pools take a replacement only for more, and
//! gossip passes the same bytes on only once, so sending the same bytes again would reach nobody.

use crate::tx::{Call, Transaction, TxBody, tx_digest};
use parallax_primitives::{Amount, ChainContext, Digest, Gas, Height, Nonce, SecretKey};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Blocks after which a transaction that is in no block is replaced.
const RESEND_AFTER: u64 = 8;
/// Most calls that wait; the oldest is dropped beyond it, which only a stopped chain can bring about.
const MAX_WAITING: usize = 256;
/// Most times the first fee that a replacement offers.
const MAX_RAISE: u128 = 64;

/// What the gas of a call will cost.
#[derive(Clone, Copy, Debug)]
pub struct Price {
    /// Fee offered.
    pub fee: Amount,
    /// Gas limit.
    pub gas_limit: Gas,
}

struct Waiting {
    call: Call,
    price: Price,
    signed: Option<Signed>,
    /// Every transaction that was made of the call: any of them may end in a block.
    digests: BTreeSet<Digest>,
}

#[derive(Clone, Copy)]
struct Signed {
    nonce: Nonce,
    sent_at: Height,
}

/// Calls on their way into blocks.
pub struct Outbox {
    chain: ChainContext,
    key: SecretKey,
    waiting: VecDeque<Waiting>,
    /// The highest fee offered for each nonce that the chain has not reached: what a replacement must exceed, also if
    /// the call that offered it was withdrawn.
    offered: BTreeMap<Nonce, Amount>,
}

impl Outbox {
    /// An empty outbox for the account of `key`.
    pub fn new(chain: ChainContext, key: SecretKey) -> Self {
        Self { chain, key, waiting: VecDeque::new(), offered: BTreeMap::new() }
    }

    /// Adds a call; one that waits already is not added again.
    pub fn push(&mut self, call: Call, price: Price) {
        if self.waiting.iter().any(|w| w.call == call) {
            return;
        }
        if self.waiting.len() >= MAX_WAITING {
            self.waiting.pop_front();
        }
        self.waiting.push_back(Waiting { call, price, signed: None, digests: BTreeSet::new() });
    }

    /// Drops the calls that are no longer wanted.
    pub fn retain(&mut self, wanted: impl Fn(&Call) -> bool) {
        self.waiting.retain(|w| wanted(&w.call));
    }

    /// Drops the call of a transaction that the ledger refuses, so that it does not hold up the others.
    pub fn refused(&mut self, digest: &Digest) {
        self.waiting.retain(|w| !w.digests.contains(digest));
    }

    /// How many calls wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The transactions to send now, given a committed height, the account's nonce after exactly that height, and the
    /// digests of the transactions in the blocks up to it that were not told before.
    pub fn due(&mut self, height: Height, nonce: Nonce, included: &BTreeSet<Digest>) -> Vec<Vec<u8>> {
        self.waiting.retain(|w| w.digests.is_disjoint(included));
        self.offered.retain(|offered, _| *offered >= nonce);
        let mut send = Vec::new();
        let mut expected = nonce;
        for waiting in &mut self.waiting {
            let current = waiting.signed.filter(|s| s.nonce == expected);
            let late = current.is_some_and(|s| height.0.saturating_sub(s.sent_at.0) >= RESEND_AFTER);
            if current.is_none() || late {
                let fee = match self.offered.get(&expected) {
                    None => waiting.price.fee,
                    Some(Amount(before)) => {
                        let raised = before.saturating_add(before.div_ceil(10)).saturating_add(1);
                        Amount(raised.min(waiting.price.fee.0.saturating_mul(MAX_RAISE)).max(*before))
                    }
                };
                self.offered.insert(expected, fee);
                let body =
                    TxBody { nonce: expected, fee, gas_limit: waiting.price.gas_limit, call: waiting.call.clone() };
                let bytes = Transaction::sign(body, self.chain, &self.key).encode();
                waiting.digests.insert(tx_digest(&bytes));
                waiting.signed = Some(Signed { nonce: expected, sent_at: height });
                send.push(bytes);
            }
            expected = expected.next();
        }
        send
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parallax_primitives::Address;

    fn call(n: u128) -> Call {
        Call::Transfer { to: Address::default(), amount: Amount(n) }
    }

    fn outbox() -> Outbox {
        Outbox::new(ChainContext::default(), SecretKey::from_seed([1; 32]))
    }

    fn push(outbox: &mut Outbox, n: u128) {
        outbox.push(call(n), Price { fee: Amount(100), gas_limit: Gas(1) });
    }

    fn sent(sent: &[Vec<u8>]) -> Vec<(u64, u128)> {
        let body = |tx: &Vec<u8>| Transaction::decode(tx).unwrap().signed().body.clone();
        sent.iter().map(body).map(|b| (b.nonce.0, b.fee.0)).collect()
    }

    #[test]
    fn calls_are_signed_with_consecutive_nonces_and_sent_once() {
        let mut outbox = outbox();
        push(&mut outbox, 1);
        push(&mut outbox, 2);
        push(&mut outbox, 2);
        assert_eq!(sent(&outbox.due(Height(1), Nonce(5), &BTreeSet::new())), [(5, 100), (6, 100)]);
        assert!(outbox.due(Height(2), Nonce(5), &BTreeSet::new()).is_empty());
    }

    #[test]
    fn an_included_call_leaves_and_the_rest_stays_as_signed() {
        let mut outbox = outbox();
        push(&mut outbox, 1);
        push(&mut outbox, 2);
        let first = outbox.due(Height(1), Nonce(5), &BTreeSet::new());
        let included = BTreeSet::from([tx_digest(&first[0])]);
        assert!(outbox.due(Height(2), Nonce(6), &included).is_empty());
        assert_eq!(outbox.len(), 1);
    }

    #[test]
    fn a_call_whose_nonce_was_used_by_something_else_is_signed_anew() {
        let mut outbox = outbox();
        push(&mut outbox, 1);
        assert_eq!(sent(&outbox.due(Height(1), Nonce(5), &BTreeSet::new())), [(5, 100)]);
        assert_eq!(sent(&outbox.due(Height(2), Nonce(7), &BTreeSet::new())), [(7, 100)]);
    }

    #[test]
    fn a_call_that_no_block_takes_is_replaced_for_a_higher_fee_and_either_transaction_settles_it() {
        let mut outbox = outbox();
        push(&mut outbox, 1);
        let first = outbox.due(Height(1), Nonce(0), &BTreeSet::new());
        let again = outbox.due(Height(1 + RESEND_AFTER), Nonce(0), &BTreeSet::new());
        assert_eq!(sent(&again), [(0, 111)], "pools ask for a tenth more");
        assert!(outbox.due(Height(2 + RESEND_AFTER), Nonce(1), &BTreeSet::from([tx_digest(&first[0])])).is_empty());
        assert!(outbox.is_empty(), "the first transaction was taken after all");
    }

    #[test]
    fn fees_do_not_rise_without_end() {
        let mut outbox = outbox();
        push(&mut outbox, 1);
        let mut last = Vec::new();
        for step in 0..200 {
            last = sent(&outbox.due(Height(1 + step * RESEND_AFTER), Nonce(0), &BTreeSet::new()));
        }
        assert_eq!(last, [(0, 100 * MAX_RAISE)]);
    }

    #[test]
    fn a_call_that_takes_the_nonce_of_a_withdrawn_one_outbids_it() {
        let mut outbox = outbox();
        push(&mut outbox, 1);
        outbox.due(Height(1), Nonce(0), &BTreeSet::new());
        outbox.retain(|_| false);
        push(&mut outbox, 2);
        assert_eq!(sent(&outbox.due(Height(2), Nonce(0), &BTreeSet::new())), [(0, 111)]);
    }

    #[test]
    fn a_refused_call_does_not_hold_up_the_next_one() {
        let mut outbox = outbox();
        push(&mut outbox, 1);
        push(&mut outbox, 2);
        let first = outbox.due(Height(1), Nonce(0), &BTreeSet::new());
        outbox.refused(&tx_digest(&first[0]));
        assert_eq!(sent(&outbox.due(Height(2), Nonce(0), &BTreeSet::new())), [(0, 111)]);
    }

    #[test]
    fn withdrawn_calls_are_not_sent() {
        let mut outbox = outbox();
        push(&mut outbox, 1);
        outbox.retain(|_| false);
        assert!(outbox.is_empty() && outbox.due(Height(1), Nonce(0), &BTreeSet::new()).is_empty());
    }
}
