//! Points of peers: what is invalid adds some, time halves them, and at [`BAN_POINTS`] a peer is shut out.

use crate::limits::{BAN_POINTS, MAX_SCORED_PEERS, POINTS_HALF_LIFE};
use libp2p::PeerId;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// Something that a peer did and that an honest node does not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Penalty {
    /// It passed on a message that the subscriber rejected, or one larger than its topic allows.
    InvalidMessage,
    /// Its request could not be decoded, or was larger than the limit.
    BadRequest,
    /// Its response could not be decoded, was larger than the limit, or of another kind than asked for.
    BadResponse,
    /// It served content that does not match its digest or proof.
    FalseContent,
}

impl Penalty {
    /// The points that it adds.
    pub fn points(self) -> u32 {
        match self {
            Self::InvalidMessage => 20,
            Self::BadRequest | Self::BadResponse => 25,
            Self::FalseContent => 50,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Score {
    points: u32,
    since: Instant,
}

impl Score {
    fn now(&self, now: Instant) -> u32 {
        let half_lives = now.saturating_duration_since(self.since).as_secs() / POINTS_HALF_LIFE.as_secs();
        u32::try_from(half_lives).ok().and_then(|n| self.points.checked_shr(n)).unwrap_or(0)
    }

    /// Brings the points up to date, so that the part of a half-life that has passed is not forgotten.
    fn settle(&mut self, now: Instant) {
        let half_lives = now.saturating_duration_since(self.since).as_secs() / POINTS_HALF_LIFE.as_secs();
        self.points = self.now(now);
        self.since += Duration::from_secs(half_lives.saturating_mul(POINTS_HALF_LIFE.as_secs()));
    }
}

/// The points of all peers, and who is shut out until when.
#[derive(Debug, Default)]
pub(crate) struct Scores {
    scores: BTreeMap<PeerId, Score>,
    banned: BTreeMap<PeerId, Instant>,
}

impl Scores {
    /// Adds the points of a penalty. Returns the sum; whoever gets [`BAN_POINTS`] starts again from 0 after the ban.
    pub(crate) fn penalise(&mut self, peer: PeerId, penalty: Penalty, now: Instant) -> u32 {
        let score = self.scores.entry(peer).or_insert(Score { points: 0, since: now });
        score.settle(now);
        score.points = score.points.saturating_add(penalty.points());
        let points = score.points;
        if points >= BAN_POINTS {
            self.scores.remove(&peer);
        } else if self.scores.len() > MAX_SCORED_PEERS {
            let least = self.scores.iter().min_by_key(|(_, s)| s.now(now)).map(|(p, _)| *p);
            least.map(|p| self.scores.remove(&p));
        }
        points
    }

    /// The points of a peer.
    pub(crate) fn points(&self, peer: &PeerId, now: Instant) -> u32 {
        self.scores.get(peer).map_or(0, |s| s.now(now))
    }

    /// Shuts a peer out. False if it was shut out already.
    pub(crate) fn ban(&mut self, peer: PeerId, until: Instant) -> bool {
        self.banned.insert(peer, until).is_none()
    }

    /// Peers whose time is over; they are forgotten here.
    pub(crate) fn released(&mut self, now: Instant) -> Vec<PeerId> {
        let free: Vec<PeerId> = self.banned.iter().filter(|(_, until)| **until <= now).map(|(p, _)| *p).collect();
        for peer in &free {
            self.banned.remove(peer);
        }
        self.scores.retain(|_, s| s.now(now) > 0);
        free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_add_up_and_halve_with_time() {
        let (peer, start) = (PeerId::random(), Instant::now());
        let mut scores = Scores::default();
        assert_eq!(scores.penalise(peer, Penalty::InvalidMessage, start), 20);
        assert_eq!(scores.penalise(peer, Penalty::InvalidMessage, start), 40);
        assert_eq!(scores.points(&peer, start + POINTS_HALF_LIFE), 20);
        assert_eq!(scores.penalise(peer, Penalty::FalseContent, start + POINTS_HALF_LIFE), 70);
        assert_eq!(scores.points(&peer, start + POINTS_HALF_LIFE * 2), 35);
        assert_eq!(scores.points(&peer, start + POINTS_HALF_LIFE * 100), 0);
    }

    #[test]
    fn a_slow_trickle_of_invalid_messages_never_bans_and_a_burst_does() {
        let (peer, start) = (PeerId::random(), Instant::now());
        let mut scores = Scores::default();
        for minute in 0..100u32 {
            assert!(scores.penalise(peer, Penalty::InvalidMessage, start + POINTS_HALF_LIFE * minute) < BAN_POINTS);
        }
        let burst = PeerId::random();
        let sums: Vec<u32> = (0..5).map(|_| scores.penalise(burst, Penalty::InvalidMessage, start)).collect();
        assert_eq!(sums, [20, 40, 60, 80, 100]);
    }

    #[test]
    fn a_ban_ends() {
        let (peer, start) = (PeerId::random(), Instant::now());
        let mut scores = Scores::default();
        assert!(scores.ban(peer, start + Duration::from_secs(5)));
        assert!(!scores.ban(peer, start + Duration::from_secs(5)), "it is shut out already");
        assert!(scores.released(start).is_empty());
        assert_eq!(scores.released(start + Duration::from_secs(5)), [peer]);
        assert!(scores.released(start + Duration::from_secs(5)).is_empty());
    }
}
