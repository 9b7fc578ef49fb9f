//! Numbers of many digits in a circuit: sums of products in base 4, and their digits.
//!
//! A [`Sum`] holds terms by column; column `j` counts `4^j`. A product of two digits is one bootstrap and at most 9. To
//! read digits, each column from the low end up is brought down to one digit of 0..=3: terms whose largest values add
//! up to at most 15 are summed, which costs nothing, and two tables split the sum into digit and carry. Groups are
//! filled from the largest term down, so a product takes two single digits with it. What a term's noise is, the builder
//! keeps; terms here are nominal or have a coefficient, and a group's squared coefficients stay within the limit.
//!
//! Numbers are taken modulo `4^n`, with `n` digits read; a negative one shows as its complement.

use parallax_runtime::program::MAX_NOISE;
use parallax_runtime::{ProgramBuilder, ValueId};

/// The largest number of a block.
const BLOCK: u32 = 15;

/// A term: a block of 0..=`max / coefficient` with its coefficient.
#[derive(Clone, Copy, Debug)]
struct Term {
    value: ValueId,
    coefficient: u8,
    max: u32,
}

impl Term {
    fn noise(self) -> u64 {
        u64::from(self.coefficient).saturating_mul(self.coefficient.into())
    }
}

/// A sum of terms, not yet in digits.
#[derive(Clone, Debug, Default)]
pub(super) struct Sum {
    columns: Vec<Vec<Term>>,
    constant: i128,
}

/// How many digits in base 4 a number has; at least one.
pub(super) fn digits_of(value: u64) -> usize {
    let bits = u64::BITS.saturating_sub(value.leading_zeros());
    usize::try_from(bits.div_ceil(2).max(1)).unwrap_or(1)
}

/// A digit in base 4; `None` is 0 whatever the input.
pub(super) type Digit = Option<ValueId>;

/// The two digits of base 4 of each digit of base 16, lowest first.
pub(super) fn split(b: &mut ProgramBuilder, nibbles: &[ValueId]) -> Vec<Digit> {
    nibbles.iter().flat_map(|n| [Some(b.map(*n, |x| x & 3)), Some(b.map(*n, |x| x >> 2))]).collect()
}

/// The lowest `count` digits of `f` of a digit of base 16.
pub(super) fn function(b: &mut ProgramBuilder, argument: ValueId, count: usize, f: impl Fn(u8) -> u64) -> Vec<Digit> {
    let digit = |x: u8, at: usize| u8::try_from(f(x).checked_shr(2 * at as u32).unwrap_or(0) & 3).unwrap_or(0);
    (0..count).map(|at| (0..16).any(|x| digit(x, at) != 0).then(|| b.map(argument, |x| digit(x, at)))).collect()
}

impl Sum {
    fn push(&mut self, column: usize, term: Term) {
        while self.columns.len() <= column {
            self.columns.push(Vec::new());
        }
        if let Some(terms) = self.columns.get_mut(column) {
            terms.push(term);
        }
    }

    /// Adds `factor` times a number in base 4; `factor` is public.
    pub(super) fn add_scaled(&mut self, number: &[Digit], factor: u64) {
        let mut rest = factor;
        let mut shift = 0usize;
        while rest > 0 {
            let coefficient = u8::try_from(rest & 3).unwrap_or(0);
            if coefficient > 0 {
                for (at, value) in number.iter().enumerate().filter_map(|(at, v)| Some((at, (*v)?))) {
                    let max = u32::from(coefficient).saturating_mul(3);
                    self.push(shift.saturating_add(at), Term { value, coefficient, max });
                }
            }
            (rest, shift) = (rest >> 2, shift.saturating_add(1));
        }
    }

    /// Adds the product of two numbers in base 4. Those of `left` must be nominal, those of `right` may be the sum of
    /// two nominal ones.
    pub(super) fn add_product(&mut self, b: &mut ProgramBuilder, left: &[Digit], right: &[Digit]) {
        self.each_product(b, left, right, |x| (x >> 2) * (x & 3));
    }

    /// Subtracts such a product: a term is what its product lacks to 9.
    pub(super) fn subtract_product(&mut self, b: &mut ProgramBuilder, left: &[Digit], right: &[Digit]) {
        self.each_product(b, left, right, |x| 9 - (x >> 2) * (x & 3));
        for (i, _) in left.iter().enumerate().filter(|(_, value)| value.is_some()) {
            for (j, _) in right.iter().enumerate().filter(|(_, value)| value.is_some()) {
                let weight = 1i128.checked_shl(2 * (i + j) as u32).unwrap_or(0);
                self.constant = self.constant.saturating_sub(weight.saturating_mul(9));
            }
        }
    }

    fn each_product(&mut self, b: &mut ProgramBuilder, left: &[Digit], right: &[Digit], table: impl Fn(u8) -> u8) {
        for (i, x) in left.iter().enumerate() {
            for (j, y) in right.iter().enumerate() {
                let (Some(x), Some(y)) = (x, y) else { continue };
                let both = b.linear(&[(*x, 4), (*y, 1)], 0);
                let value = b.map(both, &table);
                self.push(i.saturating_add(j), Term { value, coefficient: 1, max: 9 });
            }
        }
    }

    /// Its lowest `count` digits; what lies above is dropped.
    pub(super) fn digits(mut self, b: &mut ProgramBuilder, count: usize) -> Vec<Digit> {
        let modulus = 1i128.checked_shl(2 * count as u32).unwrap_or(i128::MAX);
        let constant = self.constant.rem_euclid(modulus);
        let mut digits = Vec::with_capacity(count);
        for column in 0..count {
            let own = u32::try_from((constant >> (2 * column)) & 3).unwrap_or(0);
            let terms = self.columns.get_mut(column).map(std::mem::take).unwrap_or_default();
            let (digit, carries) = reduce(b, terms, own, column.saturating_add(1) < count);
            for carry in carries {
                self.push(column.saturating_add(1), carry);
            }
            digits.push(digit);
        }
        digits
    }
}

/// One digit of a column, and what it carries into the next one, if that is wanted. `constant` is the column's own.
fn reduce(b: &mut ProgramBuilder, mut terms: Vec<Term>, constant: u32, carry: bool) -> (Digit, Vec<Term>) {
    let (mut carries, mut constant) = (Vec::new(), constant);
    loop {
        terms.sort_by_key(|t| std::cmp::Reverse(t.max));
        match terms.as_slice() {
            [] if constant == 0 => return (None, carries),
            [] => return (Some(b.linear(&[], i32::try_from(constant).unwrap_or(0))), carries),
            [one] if constant == 0 && one.max <= 3 && one.coefficient == 1 => return (Some(one.value), carries),
            _ => {}
        }
        let (mut max, mut noise) = (constant, 0u64);
        let (mut group, mut rest) = (Vec::new(), Vec::new());
        for term in terms {
            if max.saturating_add(term.max) <= BLOCK && noise.saturating_add(term.noise()) <= MAX_NOISE {
                (max, noise) = (max.saturating_add(term.max), noise.saturating_add(term.noise()));
                group.push((term.value, i32::from(term.coefficient)));
            } else {
                rest.push(term);
            }
        }
        let sum = b.linear(&group, i32::try_from(constant).unwrap_or(0));
        constant = 0;
        let value = b.map(sum, |x| x & 3);
        rest.push(Term { value, coefficient: 1, max: max.min(3) });
        if carry && max > 3 {
            let value = b.map(sum, |x| x >> 2);
            carries.push(Term { value, coefficient: 1, max: max >> 2 });
        }
        terms = rest;
    }
}

/// `[left >= right + borrow]` for numbers of equally many digits of at most four bits, with a borrow of 0 or 1: from the
/// low digit up `left - right - 1 + carry >= 0`, where the first carry is 1 less the borrow.
pub(super) fn at_least(b: &mut ProgramBuilder, left: &[Digit], right: &[Digit], borrow: bool) -> ValueId {
    let mut carry: Option<ValueId> = None;
    for (at, (x, y)) in left.iter().zip(right).enumerate() {
        let terms = x.map(|v| (v, 1)).into_iter().chain(y.map(|v| (v, -1))).chain(carry.map(|c| (c, 1)));
        let terms: Vec<(ValueId, i32)> = terms.collect();
        let difference = b.linear(&terms, if at == 0 && !borrow { 0 } else { -1 });
        carry = Some(b.non_negative(difference, 1));
    }
    carry.unwrap_or_else(|| b.linear(&[], i32::from(!borrow)))
}
