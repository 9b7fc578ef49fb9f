//! Whether a host can take a job, as a number of faults.

use super::{Candidate, LABEL_PAIR};
use parallax_runtime::{ProgramBuilder, ValueId};

/// The weight of a comparison's flag beside a pair of labels: more than any sum of labels that passes (at most 4), and
/// with the largest sum (8) still a block.
const FLAG: u8 = LABEL_PAIR + 1;

/// What speaks against the host: 0 if it can take the job, up to 6 if not. Four tests of labels, each with a
/// comparison folded in; the comparison of shares; and the exclusion.
pub(super) fn faults(b: &mut ProgramBuilder, host: &Candidate, job: &[ValueId], need: &[ValueId]) -> ValueId {
    let digits = |range: std::ops::Range<usize>| {
        let (has, asks) = (host.numbers.get(range.clone()), job.get(range));
        (has.unwrap_or_default(), asks.unwrap_or_default())
    };
    // CPU, memory, GPUs, and latency: there the host's class is at most the job's limit.
    let (class, limit) = digits(7..8);
    let compared = [digits(0..2), digits(2..4), digits(4..5), (limit, class)];
    let mut terms: Vec<(ValueId, i32)> = Vec::new();
    for ((left, right), (needed, lacking)) in compared.into_iter().zip(need.iter().zip(&host.lacking)) {
        let enough = at_least(b, left, right, FLAG);
        let sum = b.linear(&[(*needed, 1), (*lacking, 1), (enough, -1)], i32::from(FLAG));
        terms.push((b.map(sum, |x| u8::from(!passes(x))), 1));
    }
    let (free, share) = digits(5..7);
    terms.push((at_least(b, free, share, 1), -1));
    terms.push((host.excluded, 1));
    b.linear(&terms, 1)
}

/// Whether no label of a pair is both needed and lacking, and the flag beside them is not raised: of the sum's two
/// ternary digits none is 2, and it is below [`FLAG`].
fn passes(sum: u8) -> bool {
    matches!(sum, 0 | 1 | 3 | 4)
}

/// `[left >= right]` for numbers of any digits, low digit first, as 0 or `amplitude`.
pub(super) fn at_least(b: &mut ProgramBuilder, left: &[ValueId], right: &[ValueId], amplitude: u8) -> ValueId {
    let mut carry: Option<ValueId> = None;
    for (digit, (x, y)) in (1..).zip(left.iter().zip(right)) {
        let mut terms = vec![(*x, 1), (*y, -1)];
        terms.extend(carry.map(|c| (c, 1)));
        let difference = b.linear(&terms, if carry.is_some() { -1 } else { 0 });
        carry = Some(b.non_negative(difference, if digit == left.len() { amplitude } else { 1 }));
    }
    carry.unwrap_or_else(|| b.linear(&[], amplitude.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_passes_exactly_if_nothing_needed_is_lacking_and_no_flag_is_raised() {
        let pair = |x: u8| (x & 1) + 3 * (x >> 1);
        for need in 0..4u8 {
            for lacking in 0..4u8 {
                for raised in 0..2u8 {
                    let sum = pair(need) + pair(lacking) + FLAG * raised;
                    assert!(sum <= 15);
                    assert_eq!(passes(sum), need & lacking == 0 && raised == 0, "{need} {lacking} {raised}");
                }
            }
        }
    }
}
