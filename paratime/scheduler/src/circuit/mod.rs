//! The circuits: what is computed once a report, once a job, and once a decision.
//!
//! Blocks hold four bits and a sign. The decision among `n` candidates:
//!
//! 1. *Feasibility* (`feasible.rs`), 11 bootstraps a candidate. A number of two digits is compared from the low digit up:
//!    `[a0 - b0 >= 0]`, then `[a1 - b1 - 1 + that >= 0]`, one bootstrap a digit. Labels are tested three, three and two at
//!    a time, and the last of these tables takes the flags of two comparisons in: what does not fit adds up to 0..=7
//!    faults.
//! 2. *The least score* (`least.rs`), bit by bit from the top. A candidate's state is 0 (out), 1 (in, current bit 1) or
//!    2 (in, current bit 0). If anyone is in state 2, those in state 1 drop out. The first bit is looked up together
//!    with the faults: 1 bootstrap, and one for four candidates for "anyone". Each of the next five bits takes one
//!    bootstrap with two tables: the next state, and the next "in state 2". The last two bits become a code: 1 bootstrap.
//! 3. *The winner* (`first.rs`) is the first one with the least code. A binary tree finds it: up with 1 bootstrap a
//!    node, down with about 2 for three nodes. The policy in turn has one bit of code, who is out, and the first feasible
//!    candidate in the order given wins.
//! 4. *The outcome* (`outcome.rs`): `placed`, and the position in two digits by sums over fixed subsets of the one-hot
//!    vector, about 7 to 12 bootstraps.
//!
//! Further replicas repeat steps 2 to 4 without those taken, or without their zones; the comparisons are made once.
//!
//! If nobody is feasible, every code is that of being out, the vector is all zero, `placed` is 0 and so is the position.
//! What depends on the report alone, the bits of scores and the complements of labels, is computed when it arrives, and
//! so is whether its values are in range: a report out of range starts out excluded.
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
//! | faults and first bit | 6 tests, 8 flags, 7 replicas before it, the bit doubled | 6 + 8 + 7 + 4 = 25 |
//! | "anyone" | 16 candidates, or 15 and one "anyone" before | 16 |
//! | a node of the tree | two least codes; each level adds one source to a code, 60 candidates have 6 levels | 2 (1 + 5) = 12 |
//! | a step down | wins, and two sides with 2 and 4 | 21 |
//! | a bit of the position | at most 6 pairs of winners, 4 each, and one bit | 25 |

mod feasible;
mod first;
mod least;
mod outcome;

use crate::model::{MAX_GPUS, MAX_REPLICAS, MAX_SHARE, RESOURCE_DIGITS, Replication, SCORE_DIGITS, Spread};
use parallax_primitives::Gas;
use parallax_runtime::{InputKind, Program, ProgramBuilder, ProgramError, ValueId, gas};

/// Most candidates of a decision. The position's high digit and the groups are laid out for it.
pub const MAX_CANDIDATES: u16 = 60;
/// Most flags of a host's exclusion before they are merged into one.
pub const MAX_FLAGS: u8 = 8;
/// Blocks of the resources of a host or a job: CPU, memory (two digits each), GPUs, share (two digits), latency.
pub const NUMBER_BLOCKS: u16 = 8;
/// Blocks of a label mask: three labels, three labels, two labels.
pub const LABEL_BLOCKS: u16 = 3;
/// Blocks of a score: six bits, highest first, as 0 or 4 and the second one as 0 or 2; and the last two bits times 4.
pub const SCORE_BLOCKS: u16 = 7;

/// The largest number of a subset of labels.
const LABEL_MAX: u8 = 11;
/// The largest one of the two labels in the last block.
const LAST_LABEL_MAX: i64 = 4;
/// What the bits of a score stand for in their blocks.
const SCORE_BITS: [u8; 6] = [4, 2, 4, 4, 4, 4];
/// The largest value of the last two bits.
const SCORE_LAST_MAX: u8 = 12;

/// The stored ciphertexts of a report, as inputs of a decision.
const HOST_NUMBERS: InputKind = InputKind::Stored { blocks: NUMBER_BLOCKS, max: 15 };
const HOST_LABELS: InputKind = InputKind::Stored { blocks: LABEL_BLOCKS, max: LABEL_MAX };
const HOST_SCORE: InputKind = InputKind::Stored { blocks: SCORE_BLOCKS, max: SCORE_LAST_MAX };
const HOST_FLAG: InputKind = InputKind::Stored { blocks: 1, max: 1 };
/// The stored ciphertexts of a job.
const JOB_NUMBERS: InputKind = InputKind::Stored { blocks: NUMBER_BLOCKS, max: 15 };
const JOB_LABELS: InputKind = InputKind::Stored { blocks: LABEL_BLOCKS, max: LABEL_MAX };

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

    /// The decision among so many with the most bootstraps: every host's flags are merged, and zones of two members each
    /// have to be summed up.
    pub fn largest(candidates: u16, scored: bool, replication: Replication) -> Self {
        let flags = vec![MAX_FLAGS; usize::from(candidates)];
        Self { scored, replication, flags, zones: (0..candidates).map(|i| i / 2).collect() }
    }

    /// The most FHE gas of a decision among so many, whatever their flags and zones. Which sums of a zone the circuit has
    /// anyway depends on who is in it, so one linear combination is added for each candidate and winner.
    ///
    /// # Errors
    /// As for [`decision_program`].
    pub fn most_gas(candidates: u16, scored: bool, replication: Replication) -> Result<Gas, ProgramError> {
        let shape = Self::largest(candidates, scored, replication);
        let sums = match replication.spread {
            Spread::None => 0,
            Spread::Zone => shape.winners().saturating_mul(candidates.into()),
        };
        let sums = u64::try_from(sums).unwrap_or(u64::MAX).saturating_mul(gas::LINEAR);
        Ok(Gas(decision_program(&shape)?.gas().0.saturating_add(sums)))
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

/// The numbers of a mask's labels: 0 to 2, 4 to 6, and 3 with 7. `flip` takes the complement.
fn labels(b: &mut ProgramBuilder, mask: [ValueId; 2], flip: bool, three: &[u8; 8], two: &[u8; 4]) -> Vec<ValueId> {
    let set = |x: u8| if flip { !x & 15 } else { x };
    let number = |x: u8| three.get(usize::from(set(x) & 7)).copied().unwrap_or_default();
    let mut out: Vec<ValueId> = mask.iter().map(|digit| b.map(*digit, number)).collect();
    let [low, high] = [(mask[0], 1), (mask[1], 2)].map(|(digit, weight)| b.map(digit, |x| weight * (set(x) >> 3)));
    let both = b.linear(&[(low, 1), (high, 1)], 0);
    out.push(b.map(both, |x| two.get(usize::from(x & 3)).copied().unwrap_or_default()));
    out
}

/// The blocks of a score, from its two digits.
fn score_blocks(b: &mut ProgramBuilder, score: &[ValueId]) -> Vec<ValueId> {
    let [low, high] = *score else { return Vec::new() };
    let places = [(high, 3u8), (high, 2), (high, 1), (high, 0), (low, 3), (low, 2)];
    let bit = |((digit, shift), weight): ((ValueId, u8), u8)| b.map(digit, |x| weight * ((x >> shift) & 1));
    let mut out: Vec<ValueId> = places.into_iter().zip(SCORE_BITS).map(bit).collect();
    out.push(b.map(low, |x| 4 * (x & 3)));
    out
}

/// Once a report with this many scores. Input: its list. Outputs: numbers, lacking labels, the blocks of each score, the
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
        let lacking = labels(&mut b, d.labels, true, &feasible::LACKING_THREE, &feasible::LACKING_TWO);
        b.output(lacking);
        for score in scores.chunks(usize::from(SCORE_DIGITS)) {
            let bits = score_blocks(&mut b, score);
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
        let need = labels(&mut b, d.labels, false, &feasible::NEEDED_THREE, &feasible::NEEDED_TWO);
        b.output(need);
    }
    b.build()
}

/// One candidate's values.
struct Candidate {
    numbers: Vec<ValueId>,
    lacking: Vec<ValueId>,
    /// The first six bits of its score; none if scores do not matter.
    bits: Vec<ValueId>,
    /// The last two bits of its score.
    last: Option<ValueId>,
    /// The flags of its exclusion.
    flags: Vec<ValueId>,
}

impl Candidate {
    /// 1 if it may not be chosen, else 0: the sum of its flags.
    fn excluded(&self, b: &mut ProgramBuilder) -> ValueId {
        at_most_one(b, &self.flags)
    }
}

/// Once a decision. Inputs: the job's numbers and labels, then for each candidate numbers, labels, score (if it is
/// scored), and its flags one by one. Outputs: `placed` (one block); for each replica that there are candidates for its
/// position: low digit, high digit and, of several that are no gang, whether there is one; then for each candidate its
/// new flag, which joins the others, or, of a candidate with [`MAX_FLAGS`], takes their place.
///
/// # Errors
/// [`ProgramError::Size`] for a shape outside its limits.
pub fn decision_program(shape: &Shape) -> Result<Program, ProgramError> {
    shape.check()?;
    let mut b = ProgramBuilder::new();
    let (job, need) = (b.input(JOB_NUMBERS), b.input(JOB_LABELS));
    narrow_labels(&mut b, &need);
    let hosts: Vec<Candidate> = shape.flags.iter().map(|flags| candidate(&mut b, shape.scored, *flags)).collect();
    let faults: Vec<ValueId> = hosts.iter().map(|host| feasible::faults(&mut b, host, &job, &need)).collect();
    let mut winners: Vec<first::Winner> = Vec::new();
    let mut taken: Vec<Vec<ValueId>> = vec![Vec::new(); hosts.len()];
    for _ in 0..shape.winners() {
        let open: Vec<ValueId> =
            faults.iter().zip(&taken).map(|(f, t)| without(&mut b, *f, t, &shape.replication)).collect();
        let (codes, out) = if shape.scored {
            (least::codes(&mut b, &hosts, &open), least::OUT)
        } else {
            (open.iter().map(|f| b.map(*f, |x| u8::from(x != 0))).collect(), 1)
        };
        let winner = first::winner(&mut b, &codes, out);
        outcome::take(&mut b, shape, &winner.flags, &mut taken);
        winners.push(winner);
    }
    outcome::write(&mut b, shape, &winners);
    outcome::exclude(&mut b, shape, &hosts, &winners);
    b.build()
}

/// The inputs of one candidate.
fn candidate(b: &mut ProgramBuilder, scored: bool, flags: u8) -> Candidate {
    let (numbers, lacking) = (b.input(HOST_NUMBERS), b.input(HOST_LABELS));
    narrow_labels(b, &lacking);
    let mut bits = if scored { b.input(HOST_SCORE) } else { Vec::new() };
    let last = (bits.len() > SCORE_BITS.len()).then(|| bits.pop()).flatten();
    for (bit, weight) in bits.iter().zip(SCORE_BITS) {
        b.assume(*bit, 0, weight.into(), "the report's circuit gives a bit times its weight");
    }
    Candidate { numbers, lacking, bits, last, flags: (0..flags).flat_map(|_| b.input(HOST_FLAG)).collect() }
}

fn narrow_labels(b: &mut ProgramBuilder, blocks: &[ValueId]) {
    if let Some(last) = blocks.get(2) {
        b.assume(*last, 0, LAST_LABEL_MAX, "the circuit that makes it gives at most 4 for two labels");
    }
}

/// The sum of flags of which at most one is set.
fn at_most_one(b: &mut ProgramBuilder, flags: &[ValueId]) -> ValueId {
    let terms: Vec<(ValueId, i32)> = flags.iter().map(|f| (*f, 1)).collect();
    let sum = b.linear(&terms, 0);
    b.assume(sum, 0, 1, "a host that may not be chosen is not chosen, a replica or zone that is taken not taken again");
    sum
}

/// Faults, counting being taken by an earlier replica as one.
fn without(b: &mut ProgramBuilder, faults: ValueId, taken: &[ValueId], replication: &Replication) -> ValueId {
    if taken.is_empty() {
        return faults;
    }
    let taken = at_most_one(b, taken);
    match replication.spread {
        Spread::None => {
            let sum = b.linear(&[(faults, 1), (taken, 1)], 0);
            b.assume(sum, 0, 7, "a host that was taken had no faults, and has that one now");
            sum
        }
        // A zone is taken with all its hosts, excluded ones too. Faults that are already one flag leave room for it; the
        // builder makes that flag once for all replicas.
        Spread::Zone => {
            let any = b.map(faults, |x| u8::from(x != 0));
            b.linear(&[(any, 1), (taken, 1)], 0)
        }
    }
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
