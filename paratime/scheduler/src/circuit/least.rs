//! The codes of candidates by their scores: radix elimination from the highest bit, down to the last two bits.
//!
//! A state is 0 (out), 1 (in, and its current bit is 1) or 2 (in, and its current bit is 0). `somebody` is 1 if anyone
//! is in state 2. A candidate stays exactly if `state + 1 - somebody >= 2`: nobody can be in state 2 while `somebody`
//! is 0, so that sum is at most 2. The first states are 0, 1 and [`FIRST_ZERO`] instead, far enough apart that one
//! bootstrap finds out of the sum of four of them whether anyone's first bit is 0.
//!
//! The last two bits are not eliminated: who stays is given a code, its last two bits, and who is out [`OUT`]. The
//! least code is then looked for by `first.rs`, ties included.

use super::{Candidate, SCORE_BITS, any};
use parallax_runtime::{ProgramBuilder, ValueId};

/// The code of those that are out; the others have their last two bits.
pub(super) const OUT: u8 = 4;
/// The first state of those whose first bit is 0.
const FIRST_ZERO: u8 = 5;
/// How many first states are added up: without one of [`FIRST_ZERO`] they stay below it.
const FIRST_GROUP: usize = FIRST_ZERO as usize - 1;

/// After the first bit, by `state + 4 * (1 - somebody) + 2 * bit`: in are those at 5 (state 5 and somebody, or 1 and
/// nobody), and with the bit set at 7.
const SECOND: [u8; 8] = [0, 0, 0, 0, 0, 2, 0, 1];
/// Whether that is state 2.
const SECOND_ZERO: [u8; 8] = [0, 0, 0, 0, 0, 1, 0, 0];
/// The next state by `stays + 4 * bit`, with `stays` 0..=3 and in from 2 on.
const NEXT: [u8; 8] = [0, 0, 2, 2, 0, 0, 1, 1];
/// Whether that is state 2.
const ZERO: [u8; 8] = [0, 0, 1, 1, 0, 0, 0, 0];

/// The codes of candidates with these faults, 0..=7 for each and 0 for those that can be chosen.
pub(super) fn codes(b: &mut ProgramBuilder, hosts: &[Candidate], faults: &[ValueId]) -> Vec<ValueId> {
    let (mut states, mut somebody) = first(b, hosts, faults);
    for at in 1..SCORE_BITS.len() {
        let (mut next, mut zeros) = (Vec::with_capacity(hosts.len()), Vec::with_capacity(hosts.len()));
        for (host, state) in hosts.iter().zip(&states) {
            let terms = [(*state, 1), (somebody, -1)].into_iter().chain(host.bits.get(at).map(|v| (*v, 1)));
            let terms: Vec<(ValueId, i32)> = terms.collect();
            let [state, zero] = if at == 1 {
                let argument = b.linear(&terms, 4);
                b.assume(argument, 0, 7, "while nobody's first bit is 0, the first states are at most 1");
                b.two_tables(argument, [SECOND, SECOND_ZERO])
            } else {
                let argument = b.linear(&terms, 1);
                b.two_tables(argument, [NEXT, ZERO])
            };
            next.push(state);
            zeros.push(zero);
        }
        somebody = any(b, &zeros, 1);
        states = next;
    }
    // `stays + 4 * last two bits`.
    let load = |(host, state): (&Candidate, &ValueId)| {
        let terms = [(*state, 1), (somebody, -1)].into_iter().chain(host.last.map(|v| (v, 1)));
        let argument = b.linear(&terms.collect::<Vec<_>>(), 1);
        b.assume(argument, 0, 14, "nobody is in state 2 while `somebody` is 0");
        b.map(argument, |x| if x % 4 >= 2 { x / 4 } else { OUT })
    };
    hosts.iter().zip(&states).map(load).collect()
}

/// The first states, and whether anyone's first bit is 0, as 0 or 4.
fn first(b: &mut ProgramBuilder, hosts: &[Candidate], faults: &[ValueId]) -> (Vec<ValueId>, ValueId) {
    let mut states: Vec<ValueId> = Vec::with_capacity(hosts.len());
    for (host, faults) in hosts.iter().zip(faults) {
        // The bit, 0 or 4, is doubled: faults and bit side by side.
        let terms = std::iter::once((*faults, 1)).chain(host.bits.first().map(|v| (*v, 2)));
        let argument = b.linear(&terms.collect::<Vec<_>>(), 0);
        states.push(b.map(argument, |x| match x {
            0 => FIRST_ZERO,
            8 => 1,
            _ => 0,
        }));
    }
    let zeros: Vec<ValueId> = states
        .chunks(FIRST_GROUP)
        .map(|group| {
            let terms: Vec<(ValueId, i32)> = group.iter().map(|state| (*state, 1)).collect();
            let sum = b.linear(&terms, -i32::from(FIRST_ZERO));
            b.non_negative(sum, 1)
        })
        .collect();
    let somebody = any(b, &zeros, 4);
    (states, somebody)
}
