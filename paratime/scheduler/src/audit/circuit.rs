//! The circuits: what is computed once a registration of a capacity, and once an audit.
//!
//! A score is a rounded quotient, `S = floor(N / D)`, with `N` and `D` polynomials in what is free (`fc`, `fm`, `Fg`)
//! and what there is (`Cc`, `Cm`, `G` GPUs, at least 1). Nothing is divided here: `S` is the quotient exactly if
//! `0 <= N - S D < D`. Over the common denominator, with `X = fc Cm + fm Cc`, `Y = Cc Cm`, and reduced:
//!
//! - PACK:   `N = 425 G X + 68 Fg Y`,  `D = 30 G Y`;
//! - SPREAD, for `255 - S`: `N = 5100 G X + 51 Fg Y`, `D = 20 k G Y`, where `k` is 3 with GPUs and 2 without.
//!
//! (`425 = 17 * 25`: `255 / 18 * 100 G = 85/6 * 100 G`, over 100 and times 30. `Fg` is in hundredths of a GPU.)
//!
//! The products `a G Cm`, `a G Cc`, `c Y` and `D` depend on the capacity alone; they are computed when it is
//! registered and stored in base 4. An audit multiplies them with `fc`, `fm`, `Fg` and `S`, adds, and compares. All of
//! it is exact integer arithmetic for every input, hostile ones included: `|N - S D| < 2^34` for GPU digits up to 15,
//! and it is read modulo `2^36`.
//!
//! COST needs no capacity: `min(255, 8 latency + price)` is two tables of the latency class, since the price is public.

use super::statement::CAPACITY_DIGITS;
use super::wide::{Digit, Sum, at_least, digits_of, function, split};
use crate::circuit::report_blocks;
use crate::cluster::cost_score;
use crate::model::{MAX_GPUS, MAX_SHARE, Policy, RESOURCE_DIGITS, SCORE_DIGITS};
use parallax_runtime::{InputKind, Program, ProgramBuilder, ProgramError, ValueId};

/// The digits, in base 4, to which `N - S D` is read.
const WIDTH: usize = 18;
/// The largest value of two nibbles, and of one.
const BYTE: u64 = 255;
const NIBBLE: u64 = 15;

/// The coefficients of a scored policy: of `G X`, of `Fg Y`, and of `Y` in `D` as a function of the GPU digit.
struct Shape {
    cpu_and_memory: u64,
    gpu: u64,
    denominator: fn(u8) -> u64,
}

fn at_least_one(gpus: u8) -> u64 {
    u64::from(gpus.max(1))
}

/// The shape of a policy whose score is a quotient.
fn shape(policy: Policy) -> Option<Shape> {
    match policy {
        Policy::Pack => Some(Shape { cpu_and_memory: 425, gpu: 68, denominator: |gpus| 30 * at_least_one(gpus) }),
        Policy::Spread => Some(Shape {
            cpu_and_memory: 5_100,
            gpu: 51,
            denominator: |gpus| 20 * (2 + u64::from(gpus > 0)) * at_least_one(gpus),
        }),
        Policy::Cost | Policy::PriorityRoundRobin => None,
    }
}

/// How a stored number stands in base 4: so many digits, the lowest of which are 0 for every capacity and left out.
#[derive(Clone, Copy)]
struct Layout {
    zeros: usize,
    width: usize,
}

impl Layout {
    /// Of `factor(g)` times at most `most`.
    fn of(factor: impl Fn(u8) -> u64, most: u64) -> Self {
        let zeros = (0..16).map(|g| factor(g).trailing_zeros() / 2).min().unwrap_or(0);
        let largest = (0..16).map(&factor).max().unwrap_or(0).saturating_mul(most);
        Self { zeros: usize::try_from(zeros).unwrap_or(0), width: digits_of(largest) }
    }

    fn stored(self) -> usize {
        self.width.saturating_sub(self.zeros)
    }

    /// The number whose stored digits come next.
    fn take(self, blocks: &mut impl Iterator<Item = ValueId>) -> Vec<Digit> {
        let mut digits = vec![None; self.zeros];
        digits.extend(blocks.take(self.stored()).map(Some));
        digits
    }
}

impl Shape {
    /// Of `a G Cm` and `a G Cc`.
    fn wide(&self) -> Layout {
        Layout::of(|g| self.cpu_and_memory.saturating_mul(at_least_one(g)), BYTE)
    }

    /// Of `c Y`.
    fn gpu(&self) -> Layout {
        Layout::of(|_| self.gpu, BYTE * BYTE)
    }

    /// Of `D`.
    fn denominator(&self) -> Layout {
        Layout::of(self.denominator, BYTE * BYTE)
    }

    fn blocks(&self) -> usize {
        let wide = self.wide().stored();
        wide.saturating_mul(2).saturating_add(self.gpu().stored()).saturating_add(self.denominator().stored())
    }
}

/// The stored ciphertexts of a capacity: the digits as they came, then for each policy with a quotient `a G Cm`,
/// `a G Cc`, `c Y` and `D` in one.
pub fn capacity_outputs(policies: &[Policy]) -> Vec<InputKind> {
    let raw = InputKind::Stored { blocks: CAPACITY_DIGITS, max: 15 };
    let shapes = policies.iter().filter_map(|p| shape(*p));
    let numbers = shapes.map(|s| InputKind::Stored { blocks: u16::try_from(s.blocks()).unwrap_or(u16::MAX), max: 3 });
    std::iter::once(raw).chain(numbers).collect()
}

/// Once a registration. Input: the capacity's list. Outputs: [`capacity_outputs`].
///
/// # Errors
/// None for the policies that there are.
pub fn capacity_program(policies: &[Policy]) -> Result<Program, ProgramError> {
    let mut b = ProgramBuilder::new();
    let list = b.input(InputKind::Proven { blocks: CAPACITY_DIGITS });
    b.output(list.clone());
    let [c0, c1, m0, m1, gpus] = list[..] else { return b.build() };
    let shapes: Vec<Shape> = policies.iter().filter_map(|p| shape(*p)).collect();
    if shapes.is_empty() {
        return b.build();
    }
    let (cpu, memory) = (split(&mut b, &[c0, c1]), split(&mut b, &[m0, m1]));
    let mut area = Sum::default();
    area.add_product(&mut b, &cpu, &memory);
    let area = area.digits(&mut b, digits_of(BYTE * BYTE));
    for shape in shapes {
        let factor = shape.cpu_and_memory;
        let factors = function(&mut b, gpus, digits_of(factor * NIBBLE), |g| factor * at_least_one(g));
        let mut digits = Vec::new();
        for side in [&memory, &cpu] {
            let mut sum = Sum::default();
            sum.add_product(&mut b, side, &factors);
            digits.extend(sum.digits(&mut b, shape.wide().width));
        }
        let mut sum = Sum::default();
        sum.add_scaled(&area, shape.gpu);
        digits.extend(sum.digits(&mut b, shape.gpu().width));
        let most = (0..16).map(shape.denominator).max().unwrap_or(0);
        let factors = function(&mut b, gpus, digits_of(most), shape.denominator);
        let mut sum = Sum::default();
        sum.add_product(&mut b, &area, &factors);
        digits.extend(sum.digits(&mut b, shape.denominator().width));
        b.output(digits.into_iter().flatten().collect());
    }
    b.build()
}

/// A report's values in an audit.
struct Reported {
    cpu: [ValueId; 2],
    memory: [ValueId; 2],
    gpus: ValueId,
    share: [ValueId; 2],
    latency: ValueId,
}

/// Once an audit, for a host with this public price. Inputs: the report's list as the host sent it, then
/// [`capacity_outputs`]. Output: one block, 1 if the report is consistent.
///
/// # Errors
/// None for the policies that there are.
pub fn audit_program(policies: &[Policy], price: u8) -> Result<Program, ProgramError> {
    let mut b = ProgramBuilder::new();
    let scored: Vec<Policy> = policies.iter().copied().filter(|p| p.is_scored()).collect();
    let count = u16::try_from(scored.len()).unwrap_or(u16::MAX);
    let list = b.input(InputKind::Proven { blocks: report_blocks(count) });
    let stored: Vec<Vec<ValueId>> = capacity_outputs(policies).into_iter().map(|kind| b.input(kind)).collect();
    let (resources, scores) = list.split_at(list.len().min(usize::from(RESOURCE_DIGITS)));
    let [cpu0, cpu1, memory0, memory1, gpus, share0, share1, _, _, latency] = *resources else { return b.build() };
    let Some((&[c0, c1, m0, m1, there], numbers)) = stored.split_first().map(|(raw, rest)| (&raw[..], rest)) else {
        return b.build();
    };
    let r = Reported { cpu: [cpu0, cpu1], memory: [memory0, memory1], gpus, share: [share0, share1], latency };
    let mut flags = fits(&mut b, &r, ([c0, c1], [m0, m1], there));
    let (cpu, memory) = (split(&mut b, &r.cpu), split(&mut b, &r.memory));
    let free = free_gpu_digits(&mut b, &r);
    let mut numbers = numbers.iter();
    for (policy, score) in scored.iter().zip(scores.chunks(usize::from(SCORE_DIGITS))) {
        match shape(*policy) {
            Some(shape) => {
                let mut blocks = numbers.next().into_iter().flatten().copied();
                let stored = [shape.wide(), shape.wide(), shape.gpu(), shape.denominator()];
                let [for_cpu, for_memory, for_gpus, denominator] = stored.map(|layout| layout.take(&mut blocks));
                let mut quotient = split(&mut b, score);
                if *policy == Policy::Spread {
                    // 255 less the score: every digit complemented.
                    quotient = quotient.into_iter().map(|d| d.map(|v| b.linear(&[(v, -1)], 3))).collect();
                }
                let mut rest = Sum::default();
                rest.add_product(&mut b, &for_cpu, &cpu);
                rest.add_product(&mut b, &for_memory, &memory);
                rest.add_product(&mut b, &for_gpus, &free);
                rest.subtract_product(&mut b, &denominator, &quotient);
                let rest = rest.digits(&mut b, WIDTH);
                flags.extend(is_remainder(&mut b, &rest, &denominator));
            }
            None => flags.extend(is_cost(&mut b, r.latency, price, score)),
        }
    }
    let terms: Vec<(ValueId, i32)> = flags.iter().map(|f| (*f, 1)).collect();
    let (sum, all) = (b.linear(&terms, 0), u8::try_from(flags.len()).unwrap_or(u8::MAX));
    let consistent = b.map(sum, |x| u8::from(x == all));
    b.output(vec![consistent]);
    b.build()
}

/// Flags, each 1 if so: nothing is over its range, and nothing is free that is not there.
fn fits(
    b: &mut ProgramBuilder,
    r: &Reported,
    (cpu, memory, gpus): ([ValueId; 2], [ValueId; 2], ValueId),
) -> Vec<ValueId> {
    let mut flags = vec![
        at_least(b, &cpu.map(Some), &r.cpu.map(Some), false),
        at_least(b, &memory.map(Some), &r.memory.map(Some), false),
        at_least(b, &[Some(gpus)], &[Some(r.gpus)], false),
    ];
    // A report's GPUs are at most those there are, so it is enough that these are in range.
    flags.push(b.map(gpus, |x| u8::from(x <= MAX_GPUS)));
    // The share: its high digit is below, at or above that of 100; at it, the low digit decides.
    let low = b.map(r.share[0], |x| u8::from(x > MAX_SHARE & 15));
    let high = b.map(r.share[1], |x| match x.cmp(&(MAX_SHARE >> 4)) {
        std::cmp::Ordering::Less => 0,
        std::cmp::Ordering::Equal => 1,
        std::cmp::Ordering::Greater => 2,
    });
    let over = b.linear(&[(low, 1), (high, 1)], 0);
    flags.push(b.map(over, |x| u8::from(x < 2)));
    // Without GPUs there is no share of one.
    let none = b.map(gpus, |x| 2 * u8::from(x == 0));
    let some: Vec<ValueId> = r.share.iter().map(|digit| b.map(*digit, |x| u8::from(x > 0))).collect();
    let terms: Vec<(ValueId, i32)> = some.iter().chain([&none]).map(|v| (*v, 1)).collect();
    let both = b.linear(&terms, 0);
    flags.push(b.map(both, |x| u8::from(x <= 2)));
    flags
}

/// `max(100 gpus, share)`: the hundreds where a GPU is whole, the share where none is. Over its range the count of GPUs
/// is held at it; such a report is not consistent anyway.
fn free_gpu_digits(b: &mut ProgramBuilder, r: &Reported) -> Vec<Digit> {
    let most = u64::from(MAX_GPUS) * u64::from(MAX_SHARE);
    let hundreds = function(b, r.gpus, digits_of(most), |g| u64::from(g.min(MAX_GPUS)) * u64::from(MAX_SHARE));
    let whole = b.map(r.gpus, |x| u8::from(x > 0));
    let shares = split(b, &r.share).into_iter().chain(std::iter::repeat(None));
    let mut digits = Vec::new();
    for (hundred, share) in hundreds.into_iter().zip(shares) {
        let share = share.map(|digit| {
            let argument = b.linear(&[(digit, 1), (whole, 4)], 0);
            b.map(argument, |x| if x < 4 { x } else { 0 })
        });
        let terms: Vec<(ValueId, i32)> = hundred.iter().chain(&share).map(|v| (*v, 1)).collect();
        digits.push((!terms.is_empty()).then(|| {
            let sum = b.linear(&terms, 0);
            b.assume(sum, 0, 3, "with a whole GPU the share is blanked, without one the hundreds are 0");
            sum
        }));
    }
    digits
}

/// Flags for `0 <= rest < denominator`: the digits above the denominator's are 0, and the others are less than its own.
fn is_remainder(b: &mut ProgramBuilder, rest: &[Digit], denominator: &[Digit]) -> [ValueId; 2] {
    let (low, high) = rest.split_at(rest.len().min(denominator.len()));
    let terms: Vec<(ValueId, i32)> = high.iter().flatten().map(|v| (*v, 1)).collect();
    let sum = b.linear(&terms, 0);
    [b.map(sum, |x| u8::from(x == 0)), at_least(b, denominator, low, true)]
}

/// Flags for a COST score: each digit is at most and at least the one that follows from the latency class.
fn is_cost(b: &mut ProgramBuilder, latency: ValueId, price: u8, score: &[ValueId]) -> Vec<ValueId> {
    let mut flags = Vec::new();
    for (digit, shift) in score.iter().zip([0, 4]) {
        let expected = b.map(latency, |class| (cost_score(class, price) >> shift) & 15);
        for (x, y) in [(*digit, expected), (expected, *digit)] {
            let difference = b.linear(&[(x, 1), (y, -1)], 0);
            flags.push(b.non_negative(difference, 1));
        }
    }
    flags
}
