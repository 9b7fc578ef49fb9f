//! What a decision leaves: `placed`, positions, and the flags that exclude its winners from now on.

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
                if let [only] = mates[..] { only } else { one_of(b, &mates, SUM_WIDTH, None, 1) }
            }
        });
    }
}

/// `placed`, then the position of each replica.
pub(super) fn write(b: &mut ProgramBuilder, shape: &Shape, winners: &[Vec<ValueId>], found: &[ValueId]) {
    let (Some(first), Some(last)) = (found.first(), found.last()) else { return };
    // A later replica is found only if the ones before it are. So all are exactly if the last one is.
    let placed = if shape.replication.gang { *last } else { *first };
    b.output(vec![placed]);
    let several = shape.replication.count > 1;
    let gate = (several && shape.replication.gang).then_some(placed);
    for (vector, found) in winners.iter().zip(found) {
        let mut position = digits(b, vector, gate, placed);
        if several && gate.is_none() {
            position.push(*found);
        }
        b.output(position);
    }
}

/// The two digits of the one-hot vector's position.
fn digits(b: &mut ProgramBuilder, vector: &[ValueId], gate: Option<ValueId>, placed: ValueId) -> Vec<ValueId> {
    let row = |row: usize| vector.iter().skip(16 * row).take(16).copied().collect::<Vec<_>>();
    let column = |bit: usize| {
        vector.iter().enumerate().filter(|(i, _)| (i >> bit) & 1 == 1).map(|(_, v)| *v).collect::<Vec<_>>()
    };
    let width = |bit: usize| if bit == 0 { APART_WIDTH } else { SUM_WIDTH };
    let low: Vec<(Vec<ValueId>, usize, u8)> = (0..4).map(|bit| (column(bit), width(bit), 1 << bit)).collect();
    let high: Vec<(Vec<ValueId>, usize, u8)> = (1..4u8).map(|r| (row(r.into()), SUM_WIDTH, r)).collect();
    [low, high]
        .into_iter()
        .map(|parts| {
            let terms: Vec<(ValueId, i32)> = parts
                .iter()
                .filter(|(flags, ..)| !flags.is_empty())
                .map(|(flags, width, amplitude)| (one_of(b, flags, *width, gate, *amplitude), 1))
                .collect();
            digit(b, placed, &terms)
        })
        .collect()
}

/// A sum of at most 15, with the noise of one bootstrap.
fn digit(b: &mut ProgramBuilder, any_bit: ValueId, terms: &[(ValueId, i32)]) -> ValueId {
    match terms {
        [] => zero(b, any_bit),
        [(one, 1)] => *one,
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
pub(super) fn exclude(
    b: &mut ProgramBuilder,
    shape: &Shape,
    hosts: &[Candidate],
    winners: &[Vec<ValueId>],
    found: &[ValueId],
) {
    let several = shape.replication.count > 1;
    let gate = found.last().copied().filter(|_| several && shape.replication.gang);
    for ((i, host), flags) in hosts.iter().enumerate().zip(&shape.flags) {
        let won: Vec<ValueId> = winners.iter().filter_map(|vector| vector.get(i).copied()).collect();
        let mut flag = match (&won[..], gate) {
            ([only], None) => *only,
            (several, gate) => one_of(b, several, APART_WIDTH, gate, 1),
        };
        if *flags >= MAX_FLAGS {
            let sum = b.linear(&[(host.excluded, 1), (flag, 1)], -1);
            b.assume(sum, -1, 0, "an excluded host does not win");
            flag = b.non_negative(sum, 1);
        }
        b.output(vec![flag]);
    }
}
