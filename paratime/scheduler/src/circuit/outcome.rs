//! What a decision leaves: `placed`, positions, and the flags that exclude its winners from now on.

use super::first::Winner;
use super::{Candidate, MAX_FLAGS, Shape};
use crate::model::Spread;
use parallax_runtime::{ProgramBuilder, ValueId};

/// Most flags of a one-hot vector that are added up at once, beside one more bit, for a noise of 25. The two flags of a
/// pair come from one bootstrap, so they count as fully correlated: 4 a pair, 6 pairs.
const SUM_WIDTH: usize = 12;
/// As [`SUM_WIDTH`], if no two of the flags are of one pair.
const APART_WIDTH: usize = 24;

/// Whether one of these flags is set, of which at most one is; as 0 or `amplitude`. With a gate, only if that is set
/// too: `[sum + gate - 2 >= 0]`. Every bootstrap takes `width` flags and the result of the one before.
fn one_of(b: &mut ProgramBuilder, flags: &[ValueId], width: usize, gate: Option<ValueId>, amplitude: u8) -> ValueId {
    if let ([only], None, 1) = (flags, gate, amplitude) {
        return *only;
    }
    let mut before: Option<ValueId> = None;
    let mut rest = flags;
    loop {
        // The last one has the gate instead of, or beside, the result before.
        let (now, later) = rest.split_at(rest.len().min(if gate.is_some() { width - 1 } else { width }));
        let gate = gate.filter(|_| later.is_empty());
        let terms: Vec<(ValueId, i32)> = now.iter().chain(&before).chain(&gate).map(|v| (*v, 1)).collect();
        let least = if gate.is_some() { -2 } else { -1 };
        let sum = b.linear(&terms, least);
        b.assume(sum, least.into(), 0, "at most one flag of a one-hot vector is set");
        if later.is_empty() {
            return b.non_negative(sum, amplitude);
        }
        before = Some(b.non_negative(sum, 1));
        rest = later;
    }
}

/// Adds to what is taken for the next replica: the winner, or everyone in its zone.
pub(super) fn take(b: &mut ProgramBuilder, shape: &Shape, winner: &[ValueId], taken: &mut [Vec<ValueId>]) {
    for ((i, flag), taken) in winner.iter().enumerate().zip(taken) {
        taken.push(match shape.replication.spread {
            Spread::None => *flag,
            Spread::Zone => {
                let here = shape.zones.get(i);
                let mates: Vec<ValueId> =
                    winner.iter().zip(&shape.zones).filter(|(_, zone)| Some(*zone) == here).map(|(w, _)| *w).collect();
                // The same sum for everyone in the zone: the builder makes it once.
                one_of(b, &mates, SUM_WIDTH, None, 1)
            }
        });
    }
}

/// `placed`, then the position of each replica.
pub(super) fn write(b: &mut ProgramBuilder, shape: &Shape, winners: &[Winner]) {
    let (Some(first), Some(last)) = (winners.first(), winners.last()) else { return };
    // A later replica is found only if the ones before it are. So all are exactly if the last one is.
    let placed = if shape.replication.gang { last.found } else { first.found };
    b.output(vec![placed]);
    let several = shape.replication.count > 1;
    let gate = (several && shape.replication.gang).then_some(placed);
    for winner in winners {
        let mut position = digits(b, winner, gate, placed);
        if several && gate.is_none() {
            position.push(winner.found);
        }
        b.output(position);
    }
}

/// The two digits of the winner's position.
fn digits(b: &mut ProgramBuilder, winner: &Winner, gate: Option<ValueId>, placed: ValueId) -> Vec<ValueId> {
    let row = |row: usize| (flags_of(winner, 16 * row, 16), SUM_WIDTH);
    let column = |bit: usize| {
        let length = 1 << bit;
        let begins = (0..winner.flags.len()).step_by(2 * length).map(|begin| begin + length);
        let flags: Vec<ValueId> = begins.flat_map(|begin| flags_of(winner, begin, length)).collect();
        // Of two blocks that make one of twice their length, one is in the column: no two flags are of one bootstrap
        // if each block has one.
        let apart = flags.len() == winner.flags.len().saturating_sub(length).div_ceil(2 * length);
        (flags, if apart { APART_WIDTH } else { SUM_WIDTH })
    };
    let low: Vec<_> = (0..4usize).map(|bit| (column(bit), 1u8 << bit)).collect();
    let high: Vec<_> = (1..4u8).map(|r| (row(r.into()), r)).collect();
    [low, high]
        .into_iter()
        .map(|parts| {
            let terms: Vec<(ValueId, i32)> = parts
                .iter()
                .filter(|((flags, _), _)| !flags.is_empty())
                .map(|((flags, width), amplitude)| (one_of(b, flags, *width, gate, *amplitude), 1))
                .collect();
            digit(b, winner, placed, &terms)
        })
        .collect()
}

/// Flags whose sum says whether the winner is in this block: the block's own one, or those of its halves.
fn flags_of(winner: &Winner, begin: usize, length: usize) -> Vec<ValueId> {
    match winner.blocks.get(&(begin, length)) {
        _ if begin >= winner.flags.len() => Vec::new(),
        Some(flag) => vec![*flag],
        None if length > 1 => {
            let half = length / 2;
            [begin, begin + half].into_iter().flat_map(|begin| flags_of(winner, begin, half)).collect()
        }
        None => Vec::new(),
    }
}

/// A sum of at most 15, with the noise of one bootstrap.
fn digit(b: &mut ProgramBuilder, winner: &Winner, any_bit: ValueId, terms: &[(ValueId, i32)]) -> ValueId {
    match terms {
        [] => zero(b, any_bit),
        // A host's flag is an output of its own: a position that had the same bits would share its grants.
        [(one, 1)] if !winner.flags.contains(one) => *one,
        several => {
            let sum = b.linear(several, 0);
            b.map(sum, |x| x)
        }
    }
}

/// An encryption of 0 made from `any_bit`: a constant without randomness would have the same bits, and so the same
/// grants, for every job. It is a bootstrapped 1 less 1: a test polynomial of zeros stays zero under every rotation,
/// and a bootstrap with it has no mask.
fn zero(b: &mut ProgramBuilder, any_bit: ValueId) -> ValueId {
    let one = b.map(any_bit, |_| 1);
    b.linear(&[(one, 1)], -1)
}

/// The new flag of each candidate.
pub(super) fn exclude(b: &mut ProgramBuilder, shape: &Shape, hosts: &[Candidate], winners: &[Winner]) {
    let several = shape.replication.count > 1;
    let gate = winners.last().map(|winner| winner.found).filter(|_| several && shape.replication.gang);
    for ((i, host), flags) in hosts.iter().enumerate().zip(&shape.flags) {
        let won: Vec<ValueId> = winners.iter().filter_map(|winner| winner.flags.get(i).copied()).collect();
        let mut flag = one_of(b, &won, APART_WIDTH, gate, 1);
        if *flags >= MAX_FLAGS {
            let excluded = host.excluded(b);
            let sum = b.linear(&[(excluded, 1), (flag, 1)], -1);
            b.assume(sum, -1, 0, "an excluded host does not win");
            flag = b.non_negative(sum, 1);
        }
        b.output(vec![flag]);
    }
}
