//! Bootstraps of products and quotients with a clear number: tfhe 1.8.2's steps (`radix_parallel/scalar_mul.rs`,
//! `sum.rs`, `scalar_div_mod.rs`, `scalar_shift.rs`) taken without ciphertexts. Which steps are taken depends on the
//! number, which is public.

use super::integer::SUM_FAN_IN;
use crate::integer::Scalar;

/// The largest value of a clean block.
const CLEAN: u64 = 3;
/// The largest value of a block that can still take a carry.
const TAKES_CARRY: u64 = 12;
/// From so many terms on a block is too noisy to take a carry.
const NOISY: usize = 4;
/// Widest number whose quotients are counted; wider ones have a bound.
const COUNTED_BITS: u32 = 32;

/// What tfhe knows of a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Block {
    /// Its largest value.
    pub(super) largest: u64,
    /// Whether it holds a ciphertext; a constant is computed with for nothing.
    pub(super) held: bool,
}

impl Block {
    pub(super) const fn held(largest: u64) -> Self {
        Self { largest, held: true }
    }
}

/// The blocks of a number, and the bootstraps so far.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Blocks {
    blocks: Vec<Block>,
    pbs: u64,
}

impl Blocks {
    fn clean(n: usize) -> Self {
        Self { blocks: vec![Block::held(CLEAN); n], pbs: 0 }
    }

    fn zero(n: usize) -> Self {
        Self { blocks: vec![Block::default(); n], pbs: 0 }
    }

    /// Shifted up by a number of bits: whole blocks move, an odd bit is a table a block and its neighbour.
    fn left(&self, bits: usize) -> Self {
        let (n, moved) = (self.blocks.len(), bits / 2);
        let mut out = Self::zero(moved.min(n));
        out.pbs = self.pbs;
        let kept = self.blocks.get(..n.saturating_sub(moved)).unwrap_or_default();
        if bits.is_multiple_of(2) {
            out.blocks.extend(kept);
            return out;
        }
        let mut below = None;
        for block in kept {
            out.table(*block, below, 2);
            below = Some(*block);
        }
        out
    }

    /// The same downwards.
    fn right(&self, bits: usize) -> Self {
        let kept = self.blocks.get(bits / 2..).unwrap_or_default();
        let mut out = Self { blocks: Vec::with_capacity(self.blocks.len()), pbs: self.pbs };
        if bits.is_multiple_of(2) {
            out.blocks.extend(kept);
        } else {
            for (at, block) in kept.iter().enumerate() {
                out.table(*block, kept.get(at.saturating_add(1)).copied(), 1);
            }
        }
        out.blocks.resize(self.blocks.len(), Block::default());
        out
    }

    /// A table on a block and its neighbour, or on one without a neighbour with another largest value.
    fn table(&mut self, block: Block, neighbour: Option<Block>, alone: u64) {
        let held = block.held || neighbour.is_some_and(|neighbour| neighbour.held);
        self.pbs = self.pbs.saturating_add(u64::from(held));
        self.blocks.push(Block { largest: if neighbour.is_some() { CLEAN } else { alone }, held });
    }

    /// A sum with a value of ciphertexts: message and carry of every block.
    fn with_clean(&self) -> Self {
        let n = self.blocks.len();
        Self { blocks: vec![Block::held(CLEAN); n], pbs: self.pbs.saturating_add(n as u64 * 2) }
    }
}

/// Bootstraps of a product of `n` clean blocks with a number of as many digits.
pub(super) fn product(n: usize, number: Scalar) -> u64 {
    multiplied(&Blocks::clean(n), &Number::of(number)).pbs
}

/// Bootstraps of a quotient, or of a rest, of `n` clean blocks by a number that is no power of two.
pub(super) fn quotient(n: usize, divisor: Scalar, rest: bool) -> u64 {
    let bits = 2 * n as u32;
    let narrow = divisor.words().get(1..).is_some_and(|high| high.iter().all(|word| *word == 0));
    let quotient = match divisor.words()[0] {
        divisor if bits <= COUNTED_BITS && narrow && divisor > 2 => divided(n, bits, divisor),
        _ => Some(largest_quotient(n)),
    };
    let quotient = quotient.unwrap_or_else(|| largest_quotient(n));
    if !rest {
        return quotient.pbs;
    }
    // What the quotient takes away is taken off: message and carry of every block.
    let number = if bits <= COUNTED_BITS { Number::of(divisor) } else { Number::ones(bits as usize) };
    multiplied(&quotient, &number).with_clean().pbs
}

/// The bits of a multiplier, lowest first.
struct Number(Vec<bool>);

impl Number {
    fn of(number: Scalar) -> Self {
        Self((0..number.bit_length()).map(|at| number.bit(at)).collect())
    }

    fn narrow(number: u128) -> Self {
        Self::of(Scalar::from(number))
    }

    fn ones(bits: usize) -> Self {
        Self(vec![true; bits])
    }

    fn set(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().enumerate().filter(|(_, set)| **set).map(|(at, _)| at)
    }
}

/// A product, cut to the blocks of the value.
fn multiplied(value: &Blocks, number: &Number) -> Blocks {
    let n = value.blocks.len();
    let set: Vec<usize> = number.set().collect();
    match set[..] {
        [] => return Blocks { pbs: value.pbs, ..Blocks::zero(n) },
        [0] => return value.clone(),
        [power] => return value.left(power),
        _ => {}
    }
    let shifted = value.left(1);
    let spent = if set.iter().any(|at| at % 2 == 1) { shifted.pbs } else { value.pbs };
    let term = |at: usize| {
        let source = if at % 2 == 1 { &shifted } else { value };
        let below = std::iter::repeat_n(Block::default(), at / 2);
        below.chain(source.blocks.iter().copied()).take(n).collect::<Vec<Block>>()
    };
    let terms: Vec<Vec<Block>> = set.into_iter().filter(|at| *at < 2 * n).map(term).collect();
    let mut sum = summed(n, terms);
    sum.pbs = sum.pbs.saturating_add(spent);
    sum
}

/// A sum of terms of `n` blocks.
fn summed(n: usize, mut terms: Vec<Vec<Block>>) -> Blocks {
    match &mut terms[..] {
        [] => return Blocks::zero(n),
        [only] => return Blocks { blocks: std::mem::take(only), pbs: 0 },
        [a, b] => {
            // An ordinary addition: from the first ciphertext on every block has a message and a carry.
            let first = a.iter().zip(b.iter()).position(|(a, b)| a.held || b.held).unwrap_or(n);
            let blocks = (0..n).map(|at| Block { largest: CLEAN, held: at >= first }).collect();
            return Blocks { blocks, pbs: 2 * (n - first) as u64 };
        }
        _ => {}
    }
    let mut columns: Vec<Vec<Block>> = vec![Vec::new(); n];
    for term in terms {
        for (column, block) in columns.iter_mut().zip(term).filter(|(_, block)| block.largest > 0) {
            column.push(block);
        }
    }
    reduced(columns)
}

/// Columns of blocks as one number: five blocks at a time give a message and a carry, until no column has more than
/// five, which are added up; then carries are propagated.
#[cfg(test)]
pub(super) fn summed_columns(columns: Vec<Vec<Block>>) -> u64 {
    reduced(columns).pbs
}

fn reduced(mut columns: Vec<Vec<Block>>) -> Blocks {
    let n = columns.len();
    let mut pbs = 0u64;
    while columns.iter().any(|column| column.len() > SUM_FAN_IN) {
        let mut carries: Vec<Block> = Vec::new();
        for (at, column) in columns.iter_mut().enumerate() {
            let rest = column.split_off(column.len() / SUM_FAN_IN * SUM_FAN_IN);
            let sums: Vec<Block> = column
                .chunks(SUM_FAN_IN)
                .map(|blocks| Block { largest: CLEAN, held: blocks.iter().any(|block| block.held) })
                .collect();
            let held = sums.iter().filter(|sum| sum.held).count() as u64;
            pbs = pbs.saturating_add(held * if at + 1 < n { 2 } else { 1 });
            *column = [&rest[..], &sums, &carries].concat();
            carries = sums;
        }
    }
    propagated(&columns, pbs)
}

/// What propagating the carries of summed columns takes.
fn propagated(columns: &[Vec<Block>], mut pbs: u64) -> Blocks {
    let count = |column: &Vec<Block>| column.iter().filter(|block| block.held).count();
    let sum = |column: &Vec<Block>| column.iter().map(|block| block.largest).sum::<u64>();
    let mut blocks: Vec<Block> =
        columns.iter().map(|c| Block { largest: sum(c).min(CLEAN), held: count(c) > 0 }).collect();
    let noisy = |columns: &[Vec<Block>]| columns.iter().filter(|column| count(column) > 1).count() as u64;
    let Some(start) = columns.iter().position(|column| sum(column) > CLEAN) else {
        return Blocks { blocks, pbs: pbs.saturating_add(noisy(columns)) };
    };
    let last = columns.iter().rposition(|column| sum(column) > 0).unwrap_or(start);
    let end = last.saturating_add(2).min(columns.len().saturating_sub(1));
    pbs = pbs.saturating_add(noisy(columns.get(..start).unwrap_or_default()));
    let (range, inner) = (start..=end, start + 1..=end);
    let is_held = |at: usize| blocks.get(at).is_some_and(|block| block.held);
    let full = columns.get(inner.clone()).unwrap_or_default();
    let mut first = range.clone().find(|at| is_held(*at));
    if full.iter().any(|column| sum(column) > TAKES_CARRY || count(column) >= NOISY) {
        // A round for all blocks at once; then one after the other, without the first.
        let messages = range.clone().filter(|at| is_held(*at)).count() as u64;
        let carries = (start..end).filter(|at| is_held(*at)).count() as u64;
        pbs = pbs.saturating_add(messages).saturating_add(carries);
        first = inner.clone().find(|at| is_held(*at) || is_held(*at - 1));
    }
    let first = first.unwrap_or(end + 1);
    pbs = pbs.saturating_add(2 * (end + 1 - first) as u64);
    for (at, block) in blocks.iter_mut().enumerate().filter(|(at, _)| range.contains(at)) {
        *block = Block { largest: CLEAN, held: block.held || at >= first };
    }
    Blocks { blocks, pbs }
}

/// The upper half of a product of a value with a multiplier, as many blocks as the value has.
fn upper_half(value: &Blocks, number: &Number) -> Blocks {
    let n = value.blocks.len();
    let mut wide = value.clone();
    wide.blocks.resize(2 * n, Block::default());
    let product = multiplied(&wide, number);
    Blocks { blocks: product.blocks.get(n..).unwrap_or_default().to_vec(), pbs: product.pbs }
}

/// Granlund and Montgomery, "Division by Invariant Integers using Multiplication", figure 6.2: the multiplier for a
/// divisor, and the shift after it.
fn multiplier(divisor: u128, precision: u32, bits: u32) -> Option<(u128, u32)> {
    let log = divisor.checked_next_power_of_two()?.ilog2();
    let (one, power) = (1u128.checked_shl(log)?, 1u128.checked_shl(bits)?);
    let base = power.checked_mul(one.checked_sub(divisor)?)?;
    let slack = 1u128.checked_shl((bits + log).checked_sub(precision)?)?;
    let mut low = (base / divisor).checked_add(power)?;
    let mut high = (base.checked_add(slack)? / divisor).checked_add(power)?;
    let mut shift = log;
    while low >> 1 < high >> 1 && shift > 0 {
        (low, high, shift) = (low >> 1, high >> 1, shift - 1);
    }
    Some((high, shift))
}

/// A quotient by a number that is no power of two and has at most as many bits as the value.
fn divided(n: usize, bits: u32, divisor: u64) -> Option<Blocks> {
    let (value, divisor, power) = (Blocks::clean(n), u128::from(divisor), 1u128.checked_shl(bits)?);
    let (mut number, mut shift) = multiplier(divisor, bits, bits)?;
    let mut before = 0;
    if number >= power && divisor.is_multiple_of(2) {
        before = divisor.trailing_zeros();
        (number, shift) = multiplier(divisor >> before, bits - before, bits)?;
    }
    if number >= power {
        return Some(corrected(&value, &Number::narrow(number - power), shift.checked_sub(1)? as usize));
    }
    let upper = upper_half(&value.right(before as usize), &Number::narrow(number));
    Some(upper.right(shift as usize))
}

/// `(t + ((x - t) >> 1)) >> shift`, `t` being the upper half of the product: for multipliers with a bit too many.
fn corrected(value: &Blocks, number: &Number, shift: usize) -> Blocks {
    upper_half(value, number).with_clean().right(1).with_clean().right(shift)
}

/// A bound for quotients that are not counted: the longest way, with every bit of the multiplier set.
fn largest_quotient(n: usize) -> Blocks {
    corrected(&Blocks::clean(n), &Number::ones(2 * n), 1)
}
