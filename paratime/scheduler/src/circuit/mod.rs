//! The circuits: what is computed once a report, once a job, and once a decision.
//!
//! Blocks hold four bits and a sign. The decision among `n` candidates:
//!
//! 1. *Feasibility* (`feasible.rs`), 12 bootstraps a candidate. A number of two digits is compared from the low digit up:
//!    `[a0 - b0 >= 0]`, then `[a1 - b1 - 1 + that >= 0]`, one bootstrap a digit. Labels are tested two at a time, and
//!    each of these four tables takes the flag of one comparison in: what does not fit adds up to 0..=7 faults.
//! 2. *The least score* (`least.rs`), bit by bit from the top. A candidate's state is 0 (out), 1 (in, current bit 1) or
//!    2 (in, current bit 0). If anyone is in state 2, those in state 1 drop out. The first bit is looked up together
//!    with the faults: 1 bootstrap, and one a pair for "anyone". Every further bit takes one bootstrap with two tables:
//!    the next state, and the next "in state 2".
//! 3. *Ties* (`first.rs`) go to the lowest position, two candidates at a time: who is left of the pair, whether somebody
//!    is before it, and the two flags of the winner: 3 bootstraps a pair. The policy in turn needs nothing else: the
//!    first feasible candidate in the order given wins.
//! 4. *The outcome* (`outcome.rs`): `placed`, and the position in two digits by sums over fixed subsets of the one-hot
//!    vector, about 7 to 12 bootstraps.
//!
//! Further replicas repeat steps 2 to 4 without those taken, or without their zones; the comparisons are made once.
//!
//! If nobody is feasible, every state is 0, the vector is all zero, `placed` is 0 and so is the position. What depends
//! on the report alone, the bits of scores and the complements of labels, is computed when it arrives, and so is
//! whether its values are in range: a report out of range starts out excluded.
//!
//! *Exclusion costs nothing.* A host's exclusion is a list of flags, of which at most one is 1: the first says whether
//! its report was out of range, every further one whether a decision since then chose it. A decision adds them up
//! among the faults. Flags beyond [`MAX_FLAGS`] are merged into one, one bootstrap; so a host pays that bootstrap once
//! in [`MAX_FLAGS`] decisions.
//!
//! *Noise.* A table takes an argument of squared 2-norm 25 at most, in units of one bootstrap's output
//! ([`parallax_runtime::program::MAX_NOISE`]); the builder adds it up and refuses what is over. The largest arguments:
//!
//! | argument | sources and their coefficients | squared norm |
//! | --- | --- | --- |
//! | faults and first bit | 5 tests, 8 flags, 7 replicas before it, the bit doubled | 5 + 8 + 7 + 4 = 24 |
//! | "anyone" | 16 candidates, or 15 and one "anyone" before | 16 |
//! | a pair's states | 1, 3, and one flag of amplitude 9 | 11 |
//! | a pair's winners | its value, and a flag of amplitude 4 | 2; in turn 6 |
//! | "somebody before" | at most 5 pairs, in turn each `2 * a + b` | 25 |
//! | a bit of the position | at most 6 pairs of winners, 4 each, and one bit | 25 |

mod feasible;
mod first;
mod least;
mod outcome;

use crate::model::{MAX_GPUS, MAX_REPLICAS, MAX_SHARE, RESOURCE_DIGITS, Replication, SCORE_DIGITS};
use parallax_runtime::{InputKind, Program, ProgramBuilder, ProgramError, ValueId};

/// Most candidates of a decision. The position's high digit and the groups are laid out for it.
pub const MAX_CANDIDATES: u16 = 60;
/// Most flags of a host's exclusion before they are merged into one.
pub const MAX_FLAGS: u8 = 8;
/// Blocks of the resources of a host or a job: CPU, memory (two digits each), GPUs, share (two digits), latency.
pub const NUMBER_BLOCKS: u16 = 8;
/// Blocks of a label mask: two labels each.
pub const LABEL_BLOCKS: u16 = 4;
/// Blocks of a score: one bit each, highest first, as 0 or 4.
pub const SCORE_BLOCKS: u16 = 8;

/// The largest sum of a pair of labels: each is 0 or 1, the higher one times 3.
const LABEL_PAIR: u8 = 4;

/// The stored ciphertexts of a report, as inputs of a decision.
const HOST_NUMBERS: InputKind = InputKind::Stored { blocks: NUMBER_BLOCKS, max: 15 };
const HOST_LABELS: InputKind = InputKind::Stored { blocks: LABEL_BLOCKS, max: LABEL_PAIR };
const HOST_SCORE: InputKind = InputKind::Stored { blocks: SCORE_BLOCKS, max: 4 };
const HOST_FLAG: InputKind = InputKind::Stored { blocks: 1, max: 1 };
/// The stored ciphertexts of a job.
const JOB_NUMBERS: InputKind = InputKind::Stored { blocks: NUMBER_BLOCKS, max: 15 };
const JOB_LABELS: InputKind = InputKind::Stored { blocks: LABEL_BLOCKS, max: LABEL_PAIR };

/// The blocks of a report's list with this many scores.
pub fn report_blocks(scores: u16) -> u16 {
    RESOURCE_DIGITS.saturating_add(scores.saturating_mul(SCORE_DIGITS))
}

/// Everything public on which the circuit of a decision depends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shape {
    /// Whether the least score wins; otherwise the first feasible candidate does.
    pub scored: bool,
    /// How many winners, and how they go together.
    pub replication: Replication,
    /// How many flags each candidate's exclusion has, 1..=[`MAX_FLAGS`]; one entry a candidate.
    pub flags: Vec<u8>,
    /// The zone of each candidate; looked at only if replicas are spread over zones.
    pub zones: Vec<u16>,
}

impl Shape {
    /// `candidates` hosts that have just reported, all in one zone.
    pub fn fresh(candidates: u16, scored: bool, replication: Replication) -> Self {
        let n = usize::from(candidates);
        Self { scored, replication, flags: vec![1; n], zones: vec![0; n] }
    }

    /// The most expensive decision among so many: every host's flags are merged, and zones of two members each have to
    /// be summed up.
    pub fn largest(candidates: u16, scored: bool, replication: Replication) -> Self {
        let flags = vec![MAX_FLAGS; usize::from(candidates)];
        Self { scored, replication, flags, zones: (0..candidates).map(|i| i / 2).collect() }
    }

    /// How many winners are looked for, and so how many positions come out: there are no more than candidates.
    pub fn winners(&self) -> usize {
        usize::from(self.replication.count).min(self.flags.len())
    }

    /// Blocks of one replica's position.
    pub fn position_blocks(&self) -> u16 {
        if self.replication.count > 1 && !self.replication.gang { 3 } else { 2 }
    }

    fn check(&self) -> Result<(), ProgramError> {
        let outside = |what, actual, limit| Err(ProgramError::Size { what, actual, limit });
        let (n, most) = (self.flags.len(), usize::from(MAX_CANDIDATES));
        if !(1..=most).contains(&n) || self.zones.len() != n {
            return outside("candidates", n, most);
        }
        if let Some(flags) = self.flags.iter().find(|f| !(1..=MAX_FLAGS).contains(f)) {
            return outside("flags of a candidate", (*flags).into(), MAX_FLAGS.into());
        }
        let count = self.replication.count;
        if !(1..=MAX_REPLICAS).contains(&count) {
            return outside("replicas", count.into(), MAX_REPLICAS.into());
        }
        // A gang of more than there are candidates cannot be placed, and is not tried.
        if self.replication.gang && n < usize::from(count) {
            return outside("replicas of a gang", count.into(), n);
        }
        Ok(())
    }
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

/// The labels of a mask by pairs, lowest first: `low + 3 * high`, so that the sum of a host's and a job's pair tells
/// for each label whether none, one or both have it set. `flip` takes the complement.
fn pairs(b: &mut ProgramBuilder, mask: [ValueId; 2], flip: bool) -> Vec<ValueId> {
    let pair = |x: u8| {
        let x = if flip { !x } else { x };
        (x & 1) + 3 * ((x >> 1) & 1)
    };
    mask.into_iter().flat_map(|digit| [0, 2].map(|shift| b.map(digit, |x| pair(x >> shift)))).collect()
}

/// Once a report with this many scores. Input: its list. Outputs: numbers, lacking labels, the bits of each score, the
/// first flag of its exclusion.
///
/// # Errors
/// None for up to 100 scores; the builder's otherwise.
pub fn report_program(scores: u16) -> Result<Program, ProgramError> {
    let mut b = ProgramBuilder::new();
    let list = b.input(InputKind::Proven { blocks: report_blocks(scores) });
    let (resources, scores) = list.split_at(list.len().min(usize::from(RESOURCE_DIGITS)));
    if let Some(d) = digits(resources) {
        b.output(d.numbers.clone());
        let lacking = pairs(&mut b, d.labels, true);
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

/// Once a job. Input: its list. Outputs: numbers, needed labels. Values over their range need no care: no host in range
/// satisfies them.
///
/// # Errors
/// None.
pub fn job_program() -> Result<Program, ProgramError> {
    let mut b = ProgramBuilder::new();
    let list = b.input(InputKind::Proven { blocks: RESOURCE_DIGITS });
    if let Some(d) = digits(&list) {
        b.output(d.numbers);
        let need = pairs(&mut b, d.labels, false);
        b.output(need);
    }
    b.build()
}

/// One candidate's values.
struct Candidate {
    numbers: Vec<ValueId>,
    lacking: Vec<ValueId>,
    /// The bits of its score; none if scores do not matter.
    bits: Vec<ValueId>,
    /// The sum of its flags: 1 if it may not be chosen, else 0.
    excluded: ValueId,
}

/// Once a decision. Inputs: the job's numbers and labels, then for each candidate numbers, labels, score (if it is
/// scored), and its flags one by one. Outputs: `placed` (one block); for each replica that there are candidates for its
/// position: low digit, high digit and, of several that are no gang, whether there is one; then for each candidate its new flag, which joins the
/// others, or, of a candidate with [`MAX_FLAGS`], takes their place.
///
/// # Errors
/// [`ProgramError::Size`] for a shape outside its limits.
pub fn decision_program(shape: &Shape) -> Result<Program, ProgramError> {
    shape.check()?;
    let mut b = ProgramBuilder::new();
    let (job, need) = (b.input(JOB_NUMBERS), b.input(JOB_LABELS));
    let inputs: Vec<_> = shape
        .flags
        .iter()
        .map(|flags| {
            let (numbers, lacking) = (b.input(HOST_NUMBERS), b.input(HOST_LABELS));
            let bits = if shape.scored { b.input(HOST_SCORE) } else { Vec::new() };
            let flags: Vec<ValueId> = (0..*flags).flat_map(|_| b.input(HOST_FLAG)).collect();
            (numbers, lacking, bits, flags)
        })
        .collect();
    let hosts: Vec<Candidate> = inputs
        .into_iter()
        .map(|(numbers, lacking, bits, flags)| Candidate {
            numbers,
            lacking,
            bits,
            excluded: at_most_one(&mut b, &flags),
        })
        .collect();
    let faults: Vec<ValueId> = hosts.iter().map(|host| feasible::faults(&mut b, host, &job, &need)).collect();
    // What each replica adds: the one-hot vector of its winner, and whether there is one.
    let (mut winners, mut found): (Vec<Vec<ValueId>>, Vec<ValueId>) = (Vec::new(), Vec::new());
    let mut taken: Vec<Vec<ValueId>> = vec![Vec::new(); hosts.len()];
    for _ in 0..shape.winners() {
        let open: Vec<ValueId> = faults.iter().zip(&taken).map(|(f, t)| without(&mut b, *f, t)).collect();
        let pairs = if shape.scored { least::pairs(&mut b, &hosts, &open) } else { first::in_turn(&mut b, &open) };
        let (vector, any) = first::winner(&mut b, &pairs, hosts.len());
        outcome::take(&mut b, shape, &vector, &mut taken);
        winners.push(vector);
        found.push(any);
    }
    outcome::write(&mut b, shape, &winners, &found);
    outcome::exclude(&mut b, shape, &hosts, &winners, &found);
    b.build()
}

/// The sum of flags of which at most one is set.
fn at_most_one(b: &mut ProgramBuilder, flags: &[ValueId]) -> ValueId {
    let terms: Vec<(ValueId, i32)> = flags.iter().map(|f| (*f, 1)).collect();
    let sum = b.linear(&terms, 0);
    b.assume(sum, 0, 1, "a host that may not be chosen is not chosen, a replica or zone that is taken not taken again");
    sum
}

/// Faults, counting being taken by an earlier replica as one.
fn without(b: &mut ProgramBuilder, faults: ValueId, taken: &[ValueId]) -> ValueId {
    if taken.is_empty() {
        return faults;
    }
    let taken = at_most_one(b, taken);
    b.linear(&[(faults, 1), (taken, 1)], 0)
}

/// Most bits that one sign bootstrap can tell from none at all: their sum less one is at most 15.
const OR_WIDTH: usize = 16;

/// Whether at least one of these bits is set, as 0 or `amplitude`. There is at least one of them. Beyond sixteen, each
/// bootstrap takes the result of the one before in.
fn any(b: &mut ProgramBuilder, bits: &[ValueId], amplitude: u8) -> ValueId {
    let mut before: Option<ValueId> = None;
    let mut rest = bits;
    loop {
        let (now, later) = rest.split_at(rest.len().min(OR_WIDTH.saturating_sub(usize::from(before.is_some()))));
        let terms: Vec<(ValueId, i32)> = now.iter().chain(&before).map(|v| (*v, 1)).collect();
        let sum = b.linear(&terms, -1);
        if later.is_empty() {
            return b.non_negative(sum, amplitude);
        }
        before = Some(b.non_negative(sum, 1));
        rest = later;
    }
}
