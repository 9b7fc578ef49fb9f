//! The first of those that are left, as a one-hot vector. Two candidates at a time: a pair's value says who of them is
//! left, and the winner is in the first pair whose value is not 0.

use super::any;
use parallax_runtime::{ProgramBuilder, ValueId};

/// The amplitude of "somebody is before this pair": past every value of a pair.
const BEFORE: u8 = 4;
/// The largest sum that one sign bootstrap can tell from 0.
const MAX_SUM: i64 = 16;

/// Who wins of a pair by `value + BEFORE * before`: the first one if its value is 2 or 3, the second one if it is 1.
const FIRST: [u8; 8] = [0, 0, 1, 1, 0, 0, 0, 0];
const SECOND: [u8; 8] = [0, 1, 0, 0, 0, 0, 0, 0];

/// The values of pairs where everyone without a fault is left: `2 * a + b`.
pub(super) fn in_turn(b: &mut ProgramBuilder, faults: &[ValueId]) -> Vec<ValueId> {
    let can: Vec<ValueId> = faults.iter().map(|f| b.map(*f, |x| u8::from(x == 0))).collect();
    can.chunks(2)
        .map(|pair| {
            let terms: Vec<(ValueId, i32)> = pair.iter().copied().zip([2, 1]).collect();
            b.linear(&terms, 0)
        })
        .collect()
}

/// The one-hot vector of the winner among `count` candidates, and whether there is one.
pub(super) fn winner(b: &mut ProgramBuilder, pairs: &[ValueId], count: usize) -> (Vec<ValueId>, ValueId) {
    let largest = 3i64;
    let mut vector = Vec::with_capacity(count);
    // The sum over the pairs so far; when it grows too large for a block, a flag takes its place.
    let mut before: Vec<ValueId> = Vec::new();
    let mut sum = 0i64;
    for pair in pairs {
        let mut terms = vec![(*pair, 1)];
        if !before.is_empty() {
            let occupied = any(b, &before, BEFORE);
            terms.push((occupied, 1));
            if sum.saturating_add(largest) > MAX_SUM {
                before = vec![occupied];
                sum = BEFORE.into();
            }
        }
        let argument = b.linear(&terms, 0);
        let [a, c] = b.two_tables(argument, [FIRST, SECOND]);
        vector.extend([a, c]);
        before.push(*pair);
        sum = sum.saturating_add(largest);
    }
    vector.truncate(count);
    let found = any(b, &before, 1);
    (vector, found)
}
