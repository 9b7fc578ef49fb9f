//! The circuits: what is computed once a report, once a job, and once a decision.
//!
//! Blocks hold four bits and a sign. The decision among `n` candidates:
//!
//! 1. *Feasibility.* A number of two digits is compared from the low digit up: `[a0 - b0 >= 0]`, then
//!    `[a1 - b1 - 1 + that >= 0]`, one bootstrap a digit. Labels are tested two bits at a time on `4 * need + lacking`.
//!    The flags are summed and collapsed by one table: 13 bootstraps.
//! 2. *The least score*, bit by bit from the top. A candidate's state is 0 (out), 1 (in, current bit 1) or 2 (in,
//!    current bit 0). If anyone is in state 2, those in state 1 drop out. With `none = 1` if nobody is in state 2, a
//!    candidate stays exactly if `state + none >= 2`; together with 4 times its next bit that is a number in 0..=7, and
//!    one bootstrap with two tables gives the next state and the next "in state 2": 8 bootstraps for 8 bits, one more
//!    for who is left, and `n / 16` a bit for the common "anyone".
//! 3. *Ties.* The first of those left: `left - (how many are left before) - 1 >= 0`, one bootstrap. Groups of
//!    at most sixteen keep the sum within a block; of each earlier group one bit says whether it has somebody.
//! 4. *The outcome.* The one-hot vector excludes the winner (one bootstrap each), and gives `placed` and the position
//!    in two digits by sums over fixed subsets (about 10 to 25 bootstraps in all).
//!
//! If nobody is feasible, every state is 0, the vector is all zero, `placed` is 0 and so is the position. What depends
//! on the report alone, the bits of scores and the complements of labels, is computed when it arrives, and so is
//! whether its values are in range: a report out of range starts out excluded.

use crate::model::{MAX_GPUS, MAX_SHARE, RESOURCE_DIGITS, SCORE_DIGITS};
use parallax_runtime::{InputKind, Program, ProgramBuilder, ProgramError, ValueId};

/// Most candidates of a decision. The position's high digit and the groups are laid out for it.
pub const MAX_CANDIDATES: u16 = 60;
/// Blocks of the resources of a host or a job: CPU, memory (two digits each), GPUs, share (two digits), latency.
pub const NUMBER_BLOCKS: u16 = 8;
/// Blocks of a label mask: two bits each.
pub const LABEL_BLOCKS: u16 = 4;
/// Blocks of a score: one bit each, highest first, as 0 or 4.
pub const SCORE_BLOCKS: u16 = 8;
/// Blocks of a position.
pub const POSITION_BLOCKS: u16 = 2;

/// Most bits that one sign bootstrap can tell from none at all: their sum less one is at most 15.
const OR_WIDTH: usize = 16;

/// The stored ciphertexts of a report, as inputs of a decision.
const HOST_NUMBERS: InputKind = InputKind::Stored { blocks: NUMBER_BLOCKS, max: 15 };
const HOST_LABELS: InputKind = InputKind::Stored { blocks: LABEL_BLOCKS, max: 3 };
const HOST_SCORE: InputKind = InputKind::Stored { blocks: SCORE_BLOCKS, max: 4 };
const HOST_EXCLUDED: InputKind = InputKind::Stored { blocks: 1, max: 1 };
/// The stored ciphertexts of a job.
const JOB_NUMBERS: InputKind = InputKind::Stored { blocks: NUMBER_BLOCKS, max: 15 };
const JOB_LABELS: InputKind = InputKind::Stored { blocks: LABEL_BLOCKS, max: 12 };

/// The blocks of a report's list with this many scores.
pub fn report_blocks(policies: u16) -> u16 {
    RESOURCE_DIGITS.saturating_add(policies.saturating_mul(SCORE_DIGITS))
}

/// The digits of a list by meaning. They come in the order of `model`.
struct Digits {
    numbers: Vec<ValueId>,
    labels: [ValueId; 2],
    gpus: ValueId,
    share: [ValueId; 2],
}

fn digits(v: &[ValueId]) -> Option<Digits> {
    let [cpu0, cpu1, memory0, memory1, gpus, share0, share1, labels0, labels1, latency, ..] = *v else { return None };
    Some(Digits {
        numbers: vec![cpu0, cpu1, memory0, memory1, gpus, share0, share1, latency],
        labels: [labels0, labels1],
        gpus,
        share: [share0, share1],
    })
}

/// The pairs of bits of a mask, lowest first, each through a table.
fn pairs(b: &mut ProgramBuilder, mask: [ValueId; 2], table: fn(u8) -> u8) -> Vec<ValueId> {
    mask.into_iter().flat_map(|digit| [0, 2].map(|shift| b.map(digit, |x| table((x >> shift) & 3)))).collect()
}

/// Once a report. Input: its list. Outputs: numbers, lacking labels, the bits of each score, excluded.
///
/// # Errors
/// None for up to 100 policies; the builder's otherwise.
pub fn report_program(policies: u16) -> Result<Program, ProgramError> {
    let mut b = ProgramBuilder::new();
    let list = b.input(InputKind::Proven { blocks: report_blocks(policies) });
    let (resources, scores) = list.split_at(list.len().min(usize::from(RESOURCE_DIGITS)));
    if let Some(d) = digits(resources) {
        b.output(d.numbers.clone());
        let lacking = pairs(&mut b, d.labels, |bits| 3 - bits);
        b.output(lacking);
        for score in scores.chunks(usize::from(SCORE_DIGITS)) {
            let bits =
                score.iter().rev().flat_map(|digit| [3u8, 2, 1, 0].map(|bit| b.map(*digit, |x| 4 * ((x >> bit) & 1))));
            let bits = bits.collect();
            b.output(bits);
        }
        let excluded = out_of_range(&mut b, &d);
        b.output(vec![excluded]);
    }
    b.build()
}

/// 1 if GPUs are over 8 or the share over 100. The share's high digit is below, at or above that of 100; at it, the
/// low digit decides.
fn out_of_range(b: &mut ProgramBuilder, d: &Digits) -> ValueId {
    let low_over = b.map(d.share[0], |x| u8::from(x > MAX_SHARE & 15));
    let high = b.map(d.share[1], |x| match x.cmp(&(MAX_SHARE >> 4)) {
        std::cmp::Ordering::Less => 0,
        std::cmp::Ordering::Equal => 1,
        std::cmp::Ordering::Greater => 2,
    });
    let gpus_over = b.map(d.gpus, |x| if x > MAX_GPUS { 2 } else { 0 });
    let sum = b.linear(&[(low_over, 1), (high, 1), (gpus_over, 1)], 0);
    b.map(sum, |x| u8::from(x >= 2))
}

/// Once a job. Input: its list. Outputs: numbers, needed labels times four. Values over their range need no care: no
/// host in range satisfies them.
///
/// # Errors
/// None.
pub fn job_program() -> Result<Program, ProgramError> {
    let mut b = ProgramBuilder::new();
    let list = b.input(InputKind::Proven { blocks: RESOURCE_DIGITS });
    if let Some(d) = digits(&list) {
        b.output(d.numbers);
        let need = pairs(&mut b, d.labels, |bits| 4 * bits);
        b.output(need);
    }
    b.build()
}

/// One candidate's values.
struct Candidate {
    numbers: Vec<ValueId>,
    lacking: Vec<ValueId>,
    bits: Vec<ValueId>,
    excluded: Vec<ValueId>,
}

/// Once a decision among `candidates` hosts (1..=60). Inputs: the job's numbers and labels, then for each candidate
/// numbers, labels, score, excluded. Outputs: placed (one block), position (low digit, high digit), then the new
/// `excluded` of each candidate.
///
/// # Errors
/// [`ProgramError::Size`] for a number of candidates outside 1..=60.
pub fn decision_program(candidates: u16) -> Result<Program, ProgramError> {
    if !(1..=MAX_CANDIDATES).contains(&candidates) {
        let (actual, limit) = (usize::from(candidates), usize::from(MAX_CANDIDATES));
        return Err(ProgramError::Size { what: "candidates", actual, limit });
    }
    let mut b = ProgramBuilder::new();
    let (job, need) = (b.input(JOB_NUMBERS), b.input(JOB_LABELS));
    let hosts: Vec<Candidate> = (0..candidates)
        .map(|_| Candidate {
            numbers: b.input(HOST_NUMBERS),
            lacking: b.input(HOST_LABELS),
            bits: b.input(HOST_SCORE),
            excluded: b.input(HOST_EXCLUDED),
        })
        .collect();
    let feasible: Vec<ValueId> = hosts.iter().map(|host| feasible(&mut b, host, &job, &need)).collect();
    let left = least(&mut b, &hosts, feasible);
    let winner = first(&mut b, &left);
    outcome(&mut b, &winner);
    for (host, won) in hosts.iter().zip(&winner) {
        let terms: Vec<(ValueId, i32)> = host.excluded.iter().chain([won]).map(|v| (*v, 1)).collect();
        let sum = b.linear(&terms, 0);
        let excluded = b.map(sum, |x| u8::from(x > 0));
        b.output(vec![excluded]);
    }
    b.build()
}

/// `[a >= b]` for numbers of any digits, low digit first.
fn at_least(b: &mut ProgramBuilder, left: &[ValueId], right: &[ValueId]) -> ValueId {
    let mut carry: Option<ValueId> = None;
    for (x, y) in left.iter().zip(right) {
        let mut terms = vec![(*x, 1), (*y, -1)];
        terms.extend(carry.map(|c| (c, 1)));
        let difference = b.linear(&terms, if carry.is_some() { -1 } else { 0 });
        carry = Some(b.non_negative(difference, 1));
    }
    carry.unwrap_or_else(|| b.linear(&[], 1))
}

/// 2 if the host can take the job, else 0: the state from which the first bit is taken.
fn feasible(b: &mut ProgramBuilder, host: &Candidate, job: &[ValueId], need: &[ValueId]) -> ValueId {
    let mut flags = Vec::new();
    for range in [0..2, 2..4, 4..5, 5..7] {
        let (has, asks) = (host.numbers.get(range.clone()), job.get(range));
        flags.push(at_least(b, has.unwrap_or_default(), asks.unwrap_or_default()));
    }
    // Latency: the host's class is at most the job's limit.
    let (class, limit) = (host.numbers.get(7..8), job.get(7..8));
    flags.push(at_least(b, limit.unwrap_or_default(), class.unwrap_or_default()));
    for (needed, lacking) in need.iter().zip(&host.lacking) {
        let both = b.linear(&[(*needed, 1), (*lacking, 1)], 0);
        flags.push(b.map(both, |x| u8::from((x >> 2) & x & 3 == 0)));
    }
    let count = flags.len() as u8;
    let mut terms: Vec<(ValueId, i32)> = flags.iter().map(|f| (*f, 1)).collect();
    terms.extend(host.excluded.iter().map(|e| (*e, -1)));
    // Shifted by one: an excluded host that fails everything gives 0.
    let sum = b.linear(&terms, 1);
    b.map(sum, |x| if x == count + 1 { 2 } else { 0 })
}

/// Whether at least one of these bits is set, as 0 or `amplitude`. None of them: a constant 0.
fn any(b: &mut ProgramBuilder, bits: &[ValueId], amplitude: u8) -> ValueId {
    match bits {
        [] => b.linear(&[], 0),
        few if few.len() <= OR_WIDTH => {
            let terms: Vec<(ValueId, i32)> = few.iter().map(|v| (*v, 1)).collect();
            let sum = b.linear(&terms, -1);
            b.non_negative(sum, amplitude)
        }
        many => {
            let parts: Vec<ValueId> = many.chunks(OR_WIDTH).map(|part| any(b, part, 1)).collect();
            any(b, &parts, amplitude)
        }
    }
}

/// Who is left after all bits of the score: 1 for the feasible candidates of the least score.
fn least(b: &mut ProgramBuilder, hosts: &[Candidate], feasible: Vec<ValueId>) -> Vec<ValueId> {
    // Arguments are `stays` (0..=3, in from 2 on) and four times the next bit.
    let stays = |x: usize| x & 3 >= 2;
    let next: [u8; 8] = std::array::from_fn(|x| {
        if !stays(x) {
            0
        } else if x < 4 {
            2
        } else {
            1
        }
    });
    let zero: [u8; 8] = std::array::from_fn(|x| u8::from(stays(x) && x < 4));
    let mut before = feasible;
    for bit in 0..usize::from(SCORE_BLOCKS) {
        let (mut states, mut zeros) = (Vec::with_capacity(hosts.len()), Vec::with_capacity(hosts.len()));
        for (host, stay) in hosts.iter().zip(&before) {
            let mut terms = vec![(*stay, 1)];
            terms.extend(host.bits.get(bit).map(|v| (*v, 1)));
            let argument = b.linear(&terms, 0);
            let [state, is_zero] = b.two_tables(argument, [next, zero]);
            states.push(state);
            zeros.push(is_zero);
        }
        let somebody = any(b, &zeros, 1);
        before = states.iter().map(|state| b.linear(&[(*state, 1), (somebody, -1)], 1)).collect();
    }
    before.iter().map(|stay| b.map(*stay, |x| u8::from(x >= 2))).collect()
}

/// The first of the set bits, one-hot. The k-th group has 16 - k members: those before the last one and one bit for
/// each earlier group are 15 together, and so is a block's largest deficit.
fn first(b: &mut ProgramBuilder, left: &[ValueId]) -> Vec<ValueId> {
    let mut winners = Vec::with_capacity(left.len());
    let mut occupied: Vec<ValueId> = Vec::new();
    let mut rest = left;
    while !rest.is_empty() {
        let size = OR_WIDTH.saturating_sub(occupied.len()).clamp(1, rest.len());
        let (group, tail) = rest.split_at(size);
        for (position, bit) in group.iter().enumerate() {
            let before = occupied.iter().chain(group.iter().take(position));
            let terms: Vec<(ValueId, i32)> = std::iter::once((*bit, 1)).chain(before.map(|v| (*v, -1))).collect();
            let margin = b.linear(&terms, -1);
            winners.push(b.non_negative(margin, 1));
        }
        if !tail.is_empty() {
            occupied.push(any(b, group, 1));
        }
        rest = tail;
    }
    winners
}

/// `placed` and the position of the one-hot vector's set bit, as outputs.
fn outcome(b: &mut ProgramBuilder, winner: &[ValueId]) {
    let rows: Vec<ValueId> = winner.chunks(16).map(|row| any(b, row, 1)).collect();
    let placed = if let [one] = rows[..] { one } else { any(b, &rows, 1) };
    b.output(vec![placed]);
    // The low digit: each of its bits is "the winner is at a position with this bit".
    let bits: Vec<ValueId> = (0..4)
        .filter_map(|bit| {
            let at: Vec<ValueId> =
                winner.iter().enumerate().filter(|(i, _)| (i >> bit) & 1 == 1).map(|(_, v)| *v).collect();
            (!at.is_empty()).then(|| any(b, &at, 1 << bit))
        })
        .collect();
    let low = digit(b, placed, &bits.iter().map(|v| (*v, 1)).collect::<Vec<_>>());
    let high = digit(b, placed, &(0i32..).zip(&rows).skip(1).map(|(row, v)| (*v, row)).collect::<Vec<_>>());
    b.output(vec![low, high]);
}

/// A sum of at most 15, with the noise of one bootstrap. An empty one is an encryption of 0 made from `any_bit`: a
/// constant without randomness would have the same bits, and so the same grants, for every job. It is a bootstrapped 1
/// less 1: a test polynomial of zeros stays zero under every rotation, and a bootstrap with it has no mask.
fn digit(b: &mut ProgramBuilder, any_bit: ValueId, terms: &[(ValueId, i32)]) -> ValueId {
    match terms {
        [] => {
            let one = b.map(any_bit, |_| 1);
            b.linear(&[(one, 1)], -1)
        }
        [(one, 1)] => *one,
        several => {
            let sum = b.linear(several, 0);
            b.map(sum, |x| x)
        }
    }
}
