//! Whether a host can take a job, as a number of faults.
//!
//! Labels are compared three at a time. Of eight subsets that a job needs and eight that a host lacks, the sum of one
//! number for each tells whether they meet, on a circle of 32 numbers and with a table that is antisymmetric half of the
//! circle apart ([`Table::Folded`](parallax_runtime::Table::Folded)). The numbers were found by a search for such an
//! assignment; that it is one is checked for all 64 pairs. Numbers that add up label by label do not exist for three
//! labels. The two labels that are left share a table with the flags of two comparisons.

use super::Candidate;
use parallax_runtime::{ProgramBuilder, ValueId};

/// The number for each subset of three labels that a host lacks.
pub(super) const LACKING_THREE: [u8; 8] = [0, 6, 3, 8, 4, 11, 9, 10];
/// The number for each subset of three labels that a job needs.
pub(super) const NEEDED_THREE: [u8; 8] = [0, 6, 4, 11, 3, 8, 9, 10];
/// By the sum of the two less [`CENTRE`]: 1 if they meet.
const MEET: [u8; 16] = [1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1];
const CENTRE: u8 = 12;

/// The number for each subset of two labels that a host lacks.
pub(super) const LACKING_TWO: [u8; 4] = [0, 2, 1, 4];
/// The number for each subset of two labels that a job needs.
pub(super) const NEEDED_TWO: [u8; 4] = [0, 1, 2, 4];
/// By the sum of the two less [`RAISED`], plus [`RAISED`] for each comparison that fails: 1 if they meet or one fails.
const MEET_OR_RAISED: [u8; 16] = [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1, 0];
/// Which block of labels is the one with two.
const LAST: usize = 2;
/// What a failed comparison adds beside two labels.
const RAISED: u8 = 6;

/// What speaks against the host: 0 if it can take the job, up to 7 if not. Three tests of labels, two comparisons folded
/// into the last of them; three more comparisons; and the exclusion.
pub(super) fn faults(b: &mut ProgramBuilder, host: &Candidate, job: &[ValueId], need: &[ValueId]) -> ValueId {
    let digits = |range: std::ops::Range<usize>| {
        let (has, asks) = (host.numbers.get(range.clone()), job.get(range));
        (has.unwrap_or_default(), asks.unwrap_or_default())
    };
    let mut terms: Vec<(ValueId, i32)> = vec![(host.excluded(b), 1)];
    for (which, (needed, lacking)) in need.iter().zip(&host.lacking).enumerate() {
        let mut sum = vec![(*needed, 1), (*lacking, 1)];
        let (constant, table) = if which < LAST {
            (-i32::from(CENTRE), MEET)
        } else {
            // CPU and memory.
            sum.extend([0..2, 2..4].map(digits).map(|(has, asks)| (at_least(b, has, asks, RAISED), -1)));
            (i32::from(RAISED), MEET_OR_RAISED)
        };
        let argument = b.linear(&sum, constant);
        terms.push((b.folded(argument, table, 1), 1));
    }
    // GPUs, share, and latency: there the host's class is at most the job's limit.
    let (class, limit) = digits(7..8);
    let compared = [digits(4..5), digits(5..7), (limit, class)];
    terms.extend(compared.map(|(left, right)| (at_least(b, left, right, 1), -1)));
    b.linear(&terms, compared.len() as i32)
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
    use parallax_runtime::Table;

    #[test]
    fn three_labels_are_at_fault_exactly_if_one_is_needed_and_lacking() {
        let table = Table::Folded { entries: MEET, sum: 1 };
        for (need, needed) in NEEDED_THREE.iter().enumerate() {
            for (lack, lacking) in LACKING_THREE.iter().enumerate() {
                let argument = i64::from(needed + lacking) - i64::from(CENTRE);
                assert_eq!(table.value(argument), Some(i64::from(need & lack != 0)), "{need} {lack}");
            }
        }
    }

    #[test]
    fn two_labels_and_two_comparisons_are_at_fault_exactly_if_one_of_them_is() {
        let table = Table::Folded { entries: MEET_OR_RAISED, sum: 1 };
        for (need, needed) in NEEDED_TWO.iter().enumerate() {
            for (lack, lacking) in LACKING_TWO.iter().enumerate() {
                for failed in 0..=2 {
                    let argument = i64::from(needed + lacking) + i64::from(RAISED) * (failed - 1);
                    assert_eq!(
                        table.value(argument),
                        Some(i64::from(need & lack != 0 || failed > 0)),
                        "{need} {lack} {failed}"
                    );
                }
            }
        }
    }
}
