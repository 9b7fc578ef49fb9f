//! Counting votes. Only counts decide; no result depends on the order in which anything is iterated.

use crate::types::{Outcome, SignedCommitment};
use borsh::{BorshDeserialize, BorshSerialize};
use parallax_primitives::{Digest, Height};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One node's accepted commitment, and the roles in which it counts.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct CastVote {
    /// The commitment. The messages are kept for the scheduler's only.
    pub commitment: SignedCommitment,
    /// Whether it counts among the workers: it came before the resolution and its node is a worker.
    pub as_worker: bool,
    /// Whether it counts among the backups.
    pub as_backup: bool,
    /// The height of the block in which it stands.
    pub height: Height,
}

impl CastVote {
    /// The vote; `None` for a failure.
    pub fn vote(&self) -> Option<Digest> {
        self.commitment.commitment.outcome.vote()
    }

    /// Whether the node could not execute the batch.
    pub fn is_failure(&self) -> bool {
        matches!(self.commitment.commitment.outcome, Outcome::Failure { .. })
    }
}

/// How often each result was voted for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Votes by value.
    pub votes: BTreeMap<Digest, usize>,
    /// Failures.
    pub failures: usize,
}

impl Tally {
    /// Counts.
    pub fn of<'a>(votes: impl Iterator<Item = &'a CastVote>) -> Self {
        let mut tally = Self::default();
        for cast in votes {
            match cast.vote() {
                Some(vote) => {
                    let count = tally.votes.entry(vote).or_insert(0);
                    *count = count.saturating_add(1);
                }
                None => tally.failures = tally.failures.saturating_add(1),
            }
        }
        tally
    }

    /// How many committed, failures included.
    pub fn cast(&self) -> usize {
        self.votes.values().fold(self.failures, |sum, n| sum.saturating_add(*n))
    }

    /// The votes for the most frequent value; 0 if there is none.
    pub fn highest(&self) -> usize {
        self.votes.values().copied().max().unwrap_or(0)
    }

    /// The value that has a strict majority of `seats`.
    ///
    /// # Panics
    /// Never: two values with more than half of the seats each would need more votes than there are seats, and a seat
    /// votes once. The assertion guards that property of the caller.
    pub fn majority(&self, seats: usize) -> Option<Digest> {
        assert!(self.cast() <= seats, "more votes than seats");
        let needed = majority_of(seats);
        let mut winners = self.votes.iter().filter(|(_, n)| **n >= needed).map(|(vote, _)| *vote);
        let winner = winners.next();
        assert!(winners.next().is_none(), "a strict majority has one value");
        winner
    }
}

/// How many of `seats` are a strict majority: `floor(seats / 2) + 1`.
pub fn majority_of(seats: usize) -> usize {
    (seats / 2).saturating_add(1)
}
