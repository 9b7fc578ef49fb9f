//! The time of blocks: that of the round's anchor, plus what developer transactions moved it by.

use borsh::{BorshDeserialize, BorshSerialize};

/// What was changed about time; nothing on a chain without developer transactions. It is part of the state, so going
/// back to a snapshot takes it back too. From a block to its successor time never falls.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Clock {
    /// Seconds that blocks are ahead of their anchors.
    pub(crate) offset: i64,
    /// The time of the next block.
    pub(crate) next: Option<u64>,
    /// What `PREVRANDAO` gives in the next block.
    pub(crate) randomness: Option<[u8; 32]>,
    /// The time of the anchor when any of this was last changed, in seconds.
    pub(crate) seen: u64,
}

impl Clock {
    /// The time of a block after one at `before`, in a round with this anchor.
    pub(crate) fn time(&self, before: u64, anchor: u64) -> u64 {
        self.next.unwrap_or_else(|| anchor.saturating_add_signed(self.offset)).max(before)
    }

    /// The time of the block after one at `before`, as far as it is known without a round: at `now`, if that is known.
    pub(crate) fn pending(&self, before: u64, now: Option<u64>) -> u64 {
        self.time(before, now.map_or(self.seen, |now| now.max(self.seen)))
    }

    /// Goes on after a block at this time.
    pub(crate) fn ticked(&mut self, time: u64, anchor: u64) {
        let shown = anchor.saturating_add_signed(self.offset);
        if self.next.take().is_some() || time > shown {
            self.offset = i64::try_from(i128::from(time) - i128::from(anchor)).unwrap_or(self.offset);
        }
        self.randomness = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_from_where_it_was_moved_and_never_falls() {
        let mut clock = Clock::default();
        assert_eq!((clock.time(0, 100), clock.time(105, 100)), (100, 105));
        clock.offset = 50;
        assert_eq!(clock.time(100, 101), 151);
        clock.next = Some(1_000);
        assert_eq!(clock.time(151, 102), 1_000);
        clock.ticked(1_000, 102);
        assert_eq!((clock.next, clock.time(1_000, 103)), (None, 1_001));
        // A block may lie before its anchor's time; then the clock is behind.
        clock.next = Some(1_005);
        clock.ticked(1_005, 2_000);
        assert_eq!(clock.time(1_005, 2_010), 1_015);
        assert_eq!(clock.time(u64::MAX, 0), u64::MAX);
        // Between blocks time goes on with the consensus layer's.
        let moved = Clock { offset: 50, seen: 100, ..Clock::default() };
        assert_eq!(
            (moved.pending(120, None), moved.pending(120, Some(90)), moved.pending(120, Some(300))),
            (150, 150, 350)
        );
    }
}
