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
const COUNTED_BITS: u32 = 64;

/// Blocks of a number by their largest value, 0 for those that are known to be 0, and the bootstraps so far.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Blocks {
    largest: Vec<u64>,
    pbs: u64,
}

impl Blocks {
    fn clean(n: usize) -> Self {
        Self { largest: vec![CLEAN; n], pbs: 0 }
    }

    /// Shifted up by a number of bits: whole blocks move, an odd bit is a table a block.
    fn left(&self, bits: usize) -> Self {
        let n = self.largest.len();
        let mut largest = vec![0; bits / 2];
        largest.extend(self.largest.iter().take(n.saturating_sub(bits / 2)));
        let moved = Self { largest, pbs: self.pbs };
        if bits % 2 == 1 { moved.by_one_bit(false, bits / 2) } else { moved }
    }

    /// The same downwards.
    fn right(&self, bits: usize) -> Self {
        let mut largest: Vec<u64> = self.largest.iter().skip(bits / 2).copied().collect();
        largest.resize(self.largest.len(), 0);
        let moved = Self { largest, pbs: self.pbs };
        if bits % 2 == 1 { moved.by_one_bit(true, (self.largest.len() - 1).saturating_sub(bits / 2)) } else { moved }
    }

    /// A table on every block and its neighbour, unless both are 0. The block at `edge` has no neighbour.
    fn by_one_bit(&self, down: bool, edge: usize) -> Self {
        let at = |i: usize| self.largest.get(i).copied().unwrap_or(0);
        let mut out = Self { largest: Vec::with_capacity(self.largest.len()), pbs: self.pbs };
        for i in 0..self.largest.len() {
            let far = if down { at(i.saturating_add(1)) } else { i.checked_sub(1).map_or(0, at) };
            let largest = match (at(i), far) {
                (0, 0) => 0,
                (_, 0) if i == edge => {
                    if down {
                        1
                    } else {
                        2
                    }
                }
                _ => CLEAN,
            };
            out.pbs = out.pbs.saturating_add(u64::from(largest > 0));
            out.largest.push(largest);
        }
        out
    }

    /// A sum with a value of clean blocks of which none is known to be 0: message and carry of every block.
    fn with_clean(&self) -> Self {
        let n = self.largest.len();
        Self { largest: vec![CLEAN; n], pbs: self.pbs.saturating_add(n as u64 * 2) }
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
    let n = value.largest.len();
    let set: Vec<usize> = number.set().collect();
    match set[..] {
        [] => return Blocks { largest: vec![0; n], pbs: value.pbs },
        [0] => return value.clone(),
        [power] => return value.left(power),
        _ => {}
    }
    let shifted = value.left(1);
    let spent = if set.iter().any(|at| at % 2 == 1) { shifted.pbs } else { value.pbs };
    let term = |at: usize| {
        let source = if at % 2 == 1 { &shifted } else { value };
        let below = std::iter::repeat_n(0, at / 2);
        below.chain(source.largest.iter().copied()).take(n).collect::<Vec<u64>>()
    };
    let terms: Vec<Vec<u64>> = set.into_iter().filter(|at| *at < 2 * n).map(term).collect();
    let mut sum = summed(n, terms);
    sum.pbs = sum.pbs.saturating_add(spent);
    sum
}

/// A sum of terms of `n` blocks.
fn summed(n: usize, mut terms: Vec<Vec<u64>>) -> Blocks {
    match &mut terms[..] {
        [] => return Blocks { largest: vec![0; n], pbs: 0 },
        [only] => return Blocks { largest: std::mem::take(only), pbs: 0 },
        [a, b] => {
            // An ordinary addition: from the first block that can hold something every block has a message and a carry.
            let first = a.iter().zip(b.iter()).position(|(a, b)| a + b > 0).unwrap_or(n);
            let largest = (0..n).map(|at| if at < first { 0 } else { CLEAN }).collect();
            return Blocks { largest, pbs: 2 * (n - first) as u64 };
        }
        _ => {}
    }
    let mut columns: Vec<Vec<u64>> = vec![Vec::new(); n];
    for term in terms {
        for (column, largest) in columns.iter_mut().zip(term).filter(|(_, largest)| *largest > 0) {
            column.push(largest);
        }
    }
    reduced(columns)
}

/// Columns of blocks as one number: five blocks at a time give a message and a carry, until no column has more than
/// five, which are added up; then carries are propagated.
#[cfg(test)]
pub(super) fn summed_columns(columns: Vec<Vec<u64>>) -> u64 {
    reduced(columns).pbs
}

fn reduced(mut columns: Vec<Vec<u64>>) -> Blocks {
    let n = columns.len();
    let mut pbs = 0u64;
    while columns.iter().any(|column| column.len() > SUM_FAN_IN) {
        let sums: Vec<usize> = columns.iter().map(|column| column.len() / SUM_FAN_IN).collect();
        let mut carries = 0;
        for (at, (column, count)) in columns.iter_mut().zip(sums).enumerate() {
            column.drain(..SUM_FAN_IN * count);
            column.extend(std::iter::repeat_n(CLEAN, count + carries));
            carries = count;
            pbs = pbs.saturating_add(count as u64 * if at + 1 < n { 2 } else { 1 });
        }
    }
    propagated(&columns, pbs)
}

/// What propagating the carries of summed columns takes.
fn propagated(columns: &[Vec<u64>], mut pbs: u64) -> Blocks {
    let sums: Vec<u64> = columns.iter().map(|column| column.iter().sum()).collect();
    let noisy = |column: &[Vec<u64>]| column.iter().filter(|column| column.len() > 1).count() as u64;
    let mut largest: Vec<u64> = sums.iter().map(|sum| (*sum).min(CLEAN)).collect();
    let Some(start) = sums.iter().position(|sum| *sum > CLEAN) else {
        return Blocks { largest, pbs: pbs.saturating_add(noisy(columns)) };
    };
    let last = sums.iter().rposition(|sum| *sum > 0).unwrap_or(start);
    let end = last.saturating_add(2).min(columns.len().saturating_sub(1));
    pbs = pbs.saturating_add(noisy(columns.get(..start).unwrap_or_default()));
    let length = (end - start) as u64 + 1;
    let inner = start + 1..=end;
    let full = inner.clone().any(|at| {
        sums.get(at).is_some_and(|sum| *sum > TAKES_CARRY) || columns.get(at).is_some_and(|c| c.len() >= NOISY)
    });
    if full {
        // A round at once for all blocks, those that are 0 for nothing; then one after the other, without the first.
        let held = |to: usize| (start..=to).filter(|at| sums.get(*at).is_some_and(|sum| *sum > 0)).count() as u64;
        let carries = if end > start { held(end - 1) } else { 0 };
        pbs = pbs.saturating_add(held(end)).saturating_add(carries).saturating_add(2 * (length - 1));
    } else {
        pbs = pbs.saturating_add(2 * length);
    }
    for block in largest.get_mut(start..=end).unwrap_or_default() {
        *block = CLEAN;
    }
    Blocks { largest, pbs }
}

/// The upper half of a product of a value with a multiplier, as many blocks as the value has.
fn upper_half(value: &Blocks, number: &Number) -> Blocks {
    let n = value.largest.len();
    let mut wide = value.clone();
    wide.largest.resize(2 * n, 0);
    let product = multiplied(&wide, number);
    Blocks { largest: product.largest.get(n..).unwrap_or_default().to_vec(), pbs: product.pbs }
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
