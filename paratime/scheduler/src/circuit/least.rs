//! The candidates of the least score, by radix elimination from the highest bit.
//!
//! A state is 0 (out), 1 (in, and its current bit is 1) or 2 (in, and its current bit is 0). `somebody` is 1 if anyone
//! is in state 2. A candidate stays exactly if `state + 1 - somebody >= 2`: nobody can be in state 2 while `somebody`
//! is 0, so that sum is at most 2.

use super::{Candidate, any};
use parallax_runtime::{ProgramBuilder, ValueId};

/// The next state by `stays + 4 * bit`, with `stays` 0..=3 and in from 2 on.
const NEXT: [u8; 8] = [0, 0, 2, 2, 0, 0, 1, 1];
/// Whether that is state 2.
const ZERO: [u8; 8] = [0, 0, 1, 1, 0, 0, 0, 0];
/// The amplitude of the last `somebody`: past every sum `a + 3 * b` of two states.
const SOMEBODY: u8 = 9;

/// For every two candidates, in order: 2 if the first one of them has the least score, 1 if only the second one, 0 if
/// neither. `faults` is 0..=7 for each, 0 for those that can be chosen.
pub(super) fn pairs(b: &mut ProgramBuilder, hosts: &[Candidate], faults: &[ValueId]) -> Vec<ValueId> {
    let bit = |host: &Candidate, at: usize| host.bits.get(at).copied();
    // The first bit, 0 or 4, is doubled: faults and bit side by side.
    let mut states: Vec<ValueId> = Vec::with_capacity(hosts.len());
    for (host, faults) in hosts.iter().zip(faults) {
        let terms: Vec<(ValueId, i32)> = std::iter::once((*faults, 1)).chain(bit(host, 0).map(|v| (v, 2))).collect();
        let argument = b.linear(&terms, 0);
        states.push(b.map(argument, |x| match x {
            0 => 2,
            8 => 1,
            _ => 0,
        }));
    }
    let zeros: Vec<ValueId> = states.chunks(2).map(|pair| either(b, pair, |a, c| u8::from(a == 2 || c == 2))).collect();
    let last = hosts.iter().map(|host| host.bits.len()).min().unwrap_or(0).saturating_sub(1);
    let mut somebody = any(b, &zeros, if last == 0 { SOMEBODY } else { 1 });
    for at in 1..=last {
        let (mut next, mut zeros) = (Vec::with_capacity(hosts.len()), Vec::with_capacity(hosts.len()));
        for (host, state) in hosts.iter().zip(&states) {
            let mut terms = vec![(*state, 1), (somebody, -1)];
            terms.extend(bit(host, at).map(|v| (v, 1)));
            let argument = b.linear(&terms, 1);
            let [state, zero] = b.two_tables(argument, [NEXT, ZERO]);
            next.push(state);
            zeros.push(zero);
        }
        somebody = any(b, &zeros, if at == last { SOMEBODY } else { 1 });
        states = next;
    }
    states.chunks(2).map(|pair| left(b, pair, somebody)).collect()
}

/// A table on the states of one or two candidates, `a + 3 * b`.
fn either(b: &mut ProgramBuilder, pair: &[ValueId], f: impl Fn(u8, u8) -> u8) -> ValueId {
    let terms: Vec<(ValueId, i32)> = pair.iter().copied().zip([1, 3]).collect();
    let sum = b.linear(&terms, 0);
    b.map(sum, |x| f(x % 3, x / 3))
}

/// Who of one or two candidates is left after the last bit: those in state 2 or, if that is nobody, in state 1.
fn left(b: &mut ProgramBuilder, pair: &[ValueId], somebody: ValueId) -> ValueId {
    let terms: Vec<(ValueId, i32)> = pair.iter().copied().zip([1, 3]).chain([(somebody, -1)]).collect();
    let sum = b.linear(&terms, SOMEBODY.into());
    b.assume(sum, 0, i64::from(SOMEBODY) + 4, "with nobody in state 2 the states are at most 1");
    b.map(sum, |x| {
        let (states, wanted) = if x < SOMEBODY { (x, 2) } else { (x - SOMEBODY, 1) };
        if states % 3 == wanted { 2 } else { u8::from(states / 3 == wanted) }
    })
}
