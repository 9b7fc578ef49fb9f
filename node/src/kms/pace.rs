//! When to send what again: the nonces of answers that wait for the ParaTime, and the patience with each ciphertext.
//! Pure: the time is an argument.

use parallax_primitives::{Amount, Digest, Nonce};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// After how long without progress on chain an answer is delivered again.
pub(super) const REDELIVER: Duration = Duration::from_secs(10);
/// Most answers on their way at a time; the ParaTime takes nonces up to 64 ahead.
const MAX_IN_FLIGHT: u64 = 32;
/// How long to wait after the first refusal of a ciphertext; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// The longest wait between two attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// For how long a ciphertext is remembered after its wait is over.
const REMEMBER: Duration = Duration::from_secs(120);

/// The nonces of the key manager's own account.
#[derive(Debug)]
pub(super) struct Nonces {
    /// The account's nonce, as far as proven.
    seen: Nonce,
    /// The one after the last that was given out.
    next: Nonce,
    /// When the chain last moved, or all was begun anew.
    moved: Instant,
    /// How often each nonce that the chain has not taken was given out.
    sent: BTreeMap<Nonce, u32>,
}

impl Nonces {
    pub(super) fn new(now: Instant) -> Self {
        Self { seen: Nonce::ZERO, next: Nonce::ZERO, moved: now, sent: BTreeMap::new() }
    }

    /// The nonce of the next transaction and the gas price that it offers; `None` while too many are on their way.
    ///
    /// If the chain has not moved for [`REDELIVER`], what was sent is taken for lost, and the nonces begin anew at the
    /// account's. What is sent under a nonce that was used before may be the same bytes, which gossip would not pass
    /// on, and is to replace what a pool holds under that nonce: so it offers one more each time. Delivering an answer
    /// is free at any price.
    pub(super) fn take(&mut self, on_chain: Nonce, now: Instant) -> Option<(Nonce, Amount)> {
        if on_chain > self.seen {
            (self.seen, self.moved) = (on_chain, now);
            self.sent.retain(|nonce, _| *nonce >= on_chain);
        }
        if now.saturating_duration_since(self.moved) >= REDELIVER {
            (self.next, self.moved) = (self.seen, now);
        }
        let nonce = self.seen.max(self.next);
        if nonce.0.saturating_sub(self.seen.0) >= MAX_IN_FLIGHT {
            return None;
        }
        self.next = nonce.next();
        let times = self.sent.entry(nonce).or_insert(0);
        let price = Amount((*times).into());
        *times = times.saturating_add(1);
        Some((nonce, price))
    }
}

#[derive(Debug)]
struct Wait {
    until: Instant,
    step: Duration,
}

/// Until when each ciphertext is left alone.
#[derive(Debug, Default)]
pub(super) struct Waits {
    ciphers: BTreeMap<Digest, Wait>,
}

impl Waits {
    /// Whether a ciphertext may be tried now.
    pub(super) fn due(&self, cipher: &Digest, now: Instant) -> bool {
        self.ciphers.get(cipher).is_none_or(|wait| now >= wait.until)
    }

    /// After an attempt that failed: the wait until the next one, twice the last.
    pub(super) fn failed(&mut self, cipher: Digest, now: Instant) -> Duration {
        let step = match self.ciphers.get(&cipher) {
            Some(wait) => wait.step.saturating_mul(2).clamp(FIRST_WAIT, LONGEST_WAIT),
            None => FIRST_WAIT,
        };
        self.ciphers.insert(cipher, Wait { until: now + step, step });
        step
    }

    /// After a delivery: the ParaTime has [`REDELIVER`] to take it.
    pub(super) fn delivered(&mut self, cipher: Digest, now: Instant) {
        self.ciphers.insert(cipher, Wait { until: now + REDELIVER, step: Duration::ZERO });
    }

    /// Forgets what nobody has asked for lately.
    pub(super) fn forget(&mut self, now: Instant) {
        self.ciphers.retain(|_, wait| now < wait.until + REMEMBER);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(base: Instant, n: u64) -> Instant {
        base + Duration::from_secs(n)
    }

    fn is(nonce: u64, price: u128) -> Option<(Nonce, Amount)> {
        Some((Nonce(nonce), Amount(price)))
    }

    #[test]
    fn answers_in_a_row_get_nonces_in_a_row() {
        let at = Instant::now();
        let mut nonces = Nonces::new(at);
        assert_eq!(nonces.take(Nonce(7), second(at, 60)), is(7, 0), "an account that was used before");
        assert_eq!(nonces.take(Nonce(7), second(at, 60)), is(8, 0));
        assert_eq!(nonces.take(Nonce(9), second(at, 61)), is(9, 0));
        assert_eq!(nonces.take(Nonce(8), second(at, 61)), is(10, 0), "a peer that is behind takes nothing back");
    }

    #[test]
    fn two_staggered_answers_that_were_lost_begin_anew_at_the_accounts_nonce() {
        let at = Instant::now();
        let mut nonces = Nonces::new(at);
        assert_eq!(nonces.take(Nonce(0), at), is(0, 0));
        assert_eq!(nonces.take(Nonce(0), second(at, 5)), is(1, 0));
        // Each is delivered again 10 s after it was sent, so never 10 s pass without a delivery.
        assert_eq!(nonces.take(Nonce(0), second(at, 10)), is(0, 1), "the first nonce fills the gap");
        assert_eq!(nonces.take(Nonce(0), second(at, 15)), is(1, 1));
        assert_eq!(nonces.take(Nonce(0), second(at, 20)), is(0, 2), "each time with other bytes");
        assert_eq!(nonces.take(Nonce(1), second(at, 21)), is(1, 2));
        assert_eq!(nonces.take(Nonce(2), second(at, 22)), is(2, 0));
    }

    #[test]
    fn while_the_chain_moves_nothing_begins_anew() {
        let at = Instant::now();
        let mut nonces = Nonces::new(at);
        // One answer every 8 s, taken by the chain before the next but one: two are always on their way.
        assert_eq!(nonces.take(Nonce(0), at), is(0, 0));
        for n in 1..20 {
            assert_eq!(nonces.take(Nonce(n - 1), second(at, 8 * n)), is(n, 0));
        }
    }

    #[test]
    fn no_more_are_on_their_way_than_the_paratime_takes() {
        let at = Instant::now();
        let mut nonces = Nonces::new(at);
        for n in 0..MAX_IN_FLIGHT {
            assert_eq!(nonces.take(Nonce(0), at), is(n, 0));
        }
        assert_eq!(nonces.take(Nonce(0), at), None);
        assert_eq!(nonces.take(Nonce(1), at), is(MAX_IN_FLIGHT, 0));
        assert_eq!(nonces.take(Nonce(1), second(at, 10)), is(1, 1));
    }

    #[test]
    fn a_refused_ciphertext_waits_twice_as_long_each_time_up_to_a_minute() {
        let (at, cipher) = (Instant::now(), Digest([1; 32]));
        let mut waits = Waits::default();
        assert!(waits.due(&cipher, at));
        let steps: Vec<u128> = (0..9).map(|_| waits.failed(cipher, at).as_millis()).collect();
        assert_eq!(steps, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
        assert!(!waits.due(&cipher, second(at, 59)) && waits.due(&cipher, second(at, 60)));
        assert!(waits.due(&Digest([2; 32]), at), "another one does not wait");
        waits.delivered(cipher, at);
        assert!(!waits.due(&cipher, second(at, 9)) && waits.due(&cipher, second(at, 10)));
        assert_eq!(waits.failed(cipher, second(at, 10)), FIRST_WAIT, "a delivery forgives");
        waits.forget(second(at, 100));
        assert_eq!(waits.ciphers.len(), 1);
        waits.forget(second(at, 200));
        assert!(waits.ciphers.is_empty());
    }
}
