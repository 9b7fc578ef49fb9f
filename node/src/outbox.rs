//! The node's own consensus transactions: announcements, commitments, beacon proofs, registrations.
//!
//! Pure. Calls wait in order; each is signed with the nonce that the chain will expect of it. A call leaves the outbox
//! when its transaction is in a block, or when its owner withdraws it. If the chain's nonce moved past a transaction
//! that is in no block (the process restarted, or another program used the key), it is signed anew. Signing a call
//! twice is harmless: announcements and commitments are judged by their own signatures, and a second one is a
//! duplicate.

use parallax_consensus_app::tx::{Call, Transaction, TxBody, tx_digest};
use parallax_primitives::{Amount, ChainContext, Digest, Gas, Height, Nonce, SecretKey};
use std::collections::{BTreeSet, VecDeque};

/// Blocks after which a transaction that is in no block is sent again.
const RESEND_AFTER: u64 = 8;
/// Most calls that wait; the oldest is dropped beyond it, which only a stopped chain can bring about.
const MAX_WAITING: usize = 256;

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
}

struct Signed {
    nonce: Nonce,
    bytes: Vec<u8>,
    digest: Digest,
    sent_at: Height,
}

/// Calls on their way into blocks.
pub struct Outbox {
    chain: ChainContext,
    key: SecretKey,
    waiting: VecDeque<Waiting>,
}

impl Outbox {
    /// An empty outbox for the account of `key`.
    pub fn new(chain: ChainContext, key: SecretKey) -> Self {
        Self { chain, key, waiting: VecDeque::new() }
    }

    /// Adds a call; one that waits already is not added again.
    pub fn push(&mut self, call: Call, price: Price) {
        if self.waiting.iter().any(|w| w.call == call) {
            return;
        }
        if self.waiting.len() >= MAX_WAITING {
            self.waiting.pop_front();
        }
        self.waiting.push_back(Waiting { call, price, signed: None });
    }

    /// Drops the calls that are no longer wanted.
    pub fn retain(&mut self, wanted: impl Fn(&Call) -> bool) {
        self.waiting.retain(|w| wanted(&w.call));
    }

    /// How many calls wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The transactions to send now, given the last committed height, the account's nonce after it and the digests of
    /// the transactions in it.
    pub fn due(&mut self, height: Height, nonce: Nonce, included: &BTreeSet<Digest>) -> Vec<Vec<u8>> {
        self.waiting.retain(|w| !w.signed.as_ref().is_some_and(|s| included.contains(&s.digest)));
        let mut send = Vec::new();
        let mut expected = nonce;
        for waiting in &mut self.waiting {
            let stale = waiting.signed.as_ref().is_none_or(|s| s.nonce != expected);
            if stale {
                let Price { fee, gas_limit } = waiting.price;
                let body = TxBody { nonce: expected, fee, gas_limit, call: waiting.call.clone() };
                let bytes = Transaction::sign(body, self.chain, &self.key).encode();
                let digest = tx_digest(&bytes);
                send.push(bytes.clone());
                waiting.signed = Some(Signed { nonce: expected, bytes, digest, sent_at: height });
            } else if let Some(signed) = &mut waiting.signed
                && height.0.saturating_sub(signed.sent_at.0) >= RESEND_AFTER
            {
                signed.sent_at = height;
                send.push(signed.bytes.clone());
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
        outbox.push(call(n), Price { fee: Amount(1), gas_limit: Gas(1) });
    }

    fn nonces(sent: &[Vec<u8>]) -> Vec<u64> {
        sent.iter().map(|tx| Transaction::decode(tx).unwrap().signed().body.nonce.0).collect()
    }

    #[test]
    fn calls_are_signed_with_consecutive_nonces_and_sent_once() {
        let mut outbox = outbox();
        push(&mut outbox, 1);
        push(&mut outbox, 2);
        push(&mut outbox, 2);
        assert_eq!(nonces(&outbox.due(Height(1), Nonce(5), &BTreeSet::new())), [5, 6]);
        assert!(outbox.due(Height(2), Nonce(5), &BTreeSet::new()).is_empty());
    }

    #[test]
    fn an_included_call_leaves_and_the_rest_stays_as_signed() {
        let mut outbox = outbox();
        push(&mut outbox, 1);
        push(&mut outbox, 2);
        let sent = outbox.due(Height(1), Nonce(5), &BTreeSet::new());
        let included = BTreeSet::from([tx_digest(&sent[0])]);
        assert!(outbox.due(Height(2), Nonce(6), &included).is_empty());
        assert_eq!(outbox.len(), 1);
    }

    #[test]
    fn a_call_whose_nonce_was_used_by_something_else_is_signed_anew() {
        let mut outbox = outbox();
        push(&mut outbox, 1);
        assert_eq!(nonces(&outbox.due(Height(1), Nonce(5), &BTreeSet::new())), [5]);
        assert_eq!(nonces(&outbox.due(Height(2), Nonce(7), &BTreeSet::new())), [7]);
    }

    #[test]
    fn a_call_that_no_block_takes_is_sent_again() {
        let mut outbox = outbox();
        push(&mut outbox, 1);
        let first = outbox.due(Height(1), Nonce(0), &BTreeSet::new());
        let again = outbox.due(Height(1 + RESEND_AFTER), Nonce(0), &BTreeSet::new());
        assert_eq!(first, again);
    }

    #[test]
    fn withdrawn_calls_are_not_sent() {
        let mut outbox = outbox();
        push(&mut outbox, 1);
        outbox.retain(|_| false);
        assert!(outbox.is_empty() && outbox.due(Height(1), Nonce(0), &BTreeSet::new()).is_empty());
    }
}
