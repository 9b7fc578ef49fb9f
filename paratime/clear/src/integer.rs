//! Integers on plaintext: digits of two bits, lowest first, as the blocks of a ciphertext hold them.

use parallax_primitives::{Digest, Domain};
use parallax_runtime::{IntegerOp, Scalar};
use std::cmp::Ordering;

/// A number that an operation works on.
pub(crate) enum Number {
    /// The numbers in the blocks of a value.
    Value(Vec<i64>),
    /// A clear number: its digits, and whether it has more than those of the value beside it.
    Scalar(Vec<i64>, bool),
}

impl Number {
    /// A clear number beside a value of so many blocks.
    pub(crate) fn scalar(scalar: Scalar, blocks: usize) -> Self {
        let digits = scalar.digits(blocks).into_iter().map(i64::from).collect();
        Self::Scalar(digits, usize::from(scalar.bit_length()) > 2 * blocks)
    }

    fn digits(&self) -> &[i64] {
        match self {
            Self::Value(digits) | Self::Scalar(digits, _) => digits,
        }
    }
}

/// The random digits that stand for those of the pseudo-random function: two bits each, the last one a single bit if
/// `bits` is odd. No key enters, so a test can say beforehand what a program will draw.
pub fn random(bits: u16, seed: Digest) -> Vec<u8> {
    (0..bits)
        .step_by(2)
        .map(|at| {
            let digit = Digest::of_value(Domain::Simulation, &("random", seed, bits, at)).0[0];
            digit & if bits - at == 1 { 1 } else { 3 }
        })
        .collect()
}

/// The digits of the result of an operation; `None` if the operands do not fit it.
pub(crate) fn integer(op: IntegerOp, operands: &[Number]) -> Option<Vec<i64>> {
    match (op, operands) {
        (IntegerOp::Select, [condition, then, otherwise]) => {
            Some(if condition.digits().first() == Some(&1) { then } else { otherwise }.digits().to_vec())
        }
        (IntegerOp::Neg, [x]) => Some(subtract(&vec![0; x.digits().len()], x.digits())),
        (IntegerOp::Div | IntegerOp::Rem, [x, Number::Scalar(divisor, larger)]) => {
            let (quotient, rest) =
                if *larger { (vec![0; divisor.len()], x.digits().to_vec()) } else { divide(x.digits(), divisor)? };
            Some(if op == IntegerOp::Div { quotient } else { rest })
        }
        (IntegerOp::Select | IntegerOp::Neg | IntegerOp::Div | IntegerOp::Rem, _) => None,
        (_, [a, b]) => binary(op, a.digits(), b.digits()),
        _ => None,
    }
}

fn binary(op: IntegerOp, a: &[i64], b: &[i64]) -> Option<Vec<i64>> {
    use Ordering::{Equal, Greater, Less};
    let bitwise = |f: fn(i64, i64) -> i64| a.iter().zip(b).map(|(x, y)| f(*x, *y)).collect();
    let bit = |condition: bool| vec![i64::from(condition)];
    let order = compare(a, b);
    Some(match op {
        IntegerOp::Add => add(a, b, 0),
        IntegerOp::Sub => subtract(a, b),
        IntegerOp::Mul => multiply(a, b),
        IntegerOp::BitAnd => bitwise(|x, y| x & y),
        IntegerOp::BitOr => bitwise(|x, y| x | y),
        IntegerOp::BitXor => bitwise(|x, y| x ^ y),
        IntegerOp::Eq => bit(order == Equal),
        IntegerOp::Ne => bit(order != Equal),
        IntegerOp::Lt => bit(order == Less),
        IntegerOp::Le => bit(order != Greater),
        IntegerOp::Gt => bit(order == Greater),
        IntegerOp::Ge => bit(order != Less),
        IntegerOp::Min => if order == Greater { b } else { a }.to_vec(),
        IntegerOp::Max => if order == Less { b } else { a }.to_vec(),
        IntegerOp::Shl | IntegerOp::Shr | IntegerOp::Rotl | IntegerOp::Rotr => shift(op, a, b),
        IntegerOp::Select | IntegerOp::Neg | IntegerOp::Div | IntegerOp::Rem => return None,
    })
}

fn compare(a: &[i64], b: &[i64]) -> Ordering {
    a.iter().rev().cmp(b.iter().rev())
}

fn add(a: &[i64], b: &[i64], mut carry: i64) -> Vec<i64> {
    let digit = |(x, y): (&i64, &i64)| {
        let sum = x + y + carry;
        carry = sum / 4;
        sum % 4
    };
    a.iter().zip(b).map(digit).collect()
}

fn subtract(a: &[i64], b: &[i64]) -> Vec<i64> {
    add(a, &b.iter().map(|y| 3 - y).collect::<Vec<_>>(), 1)
}

fn multiply(a: &[i64], b: &[i64]) -> Vec<i64> {
    let mut out = vec![0; a.len()];
    for (i, x) in a.iter().enumerate() {
        let mut carry = 0;
        for (slot, y) in out.iter_mut().skip(i).zip(b) {
            let sum = *slot + x * y + carry;
            (*slot, carry) = (sum % 4, sum / 4);
        }
    }
    out
}

/// Bits by digits, lowest first; and back.
fn bits(digits: &[i64]) -> Vec<i64> {
    digits.iter().flat_map(|digit| [digit & 1, digit >> 1]).collect()
}

fn digits(bits: &[i64]) -> Vec<i64> {
    bits.chunks(2).map(|pair| pair.iter().rev().fold(0, |digit, bit| 2 * digit + bit)).collect()
}

fn shift(op: IntegerOp, a: &[i64], amount: &[i64]) -> Vec<i64> {
    let from = bits(a);
    let k = from.len();
    // Modulo the number of bits; more than nine bits of the amount cannot matter, the widest number having 256.
    let amount = amount.iter().take(5).rev().fold(0usize, |n, digit| 4 * n + *digit as usize) % k;
    let moved = |at: usize| match op {
        IntegerOp::Shl => at.checked_sub(amount).map_or(0, |at| from[at]),
        IntegerOp::Shr => from.get(at + amount).copied().unwrap_or(0),
        IntegerOp::Rotl => from[(at + k - amount) % k],
        _ => from[(at + amount) % k],
    };
    digits(&(0..k).map(moved).collect::<Vec<_>>())
}

/// Quotient and rest, bit by bit from the top.
fn divide(a: &[i64], b: &[i64]) -> Option<(Vec<i64>, Vec<i64>)> {
    if b.iter().all(|digit| *digit == 0) {
        return None;
    }
    // One digit more: the rest is doubled before it is compared.
    let mut divisor = b.to_vec();
    divisor.push(0);
    let mut rest = vec![0; divisor.len()];
    let mut quotient = bits(a);
    for bit in quotient.iter_mut().rev() {
        rest = add(&rest, &rest, *bit);
        *bit = i64::from(compare(&rest, &divisor) != Ordering::Less);
        if *bit == 1 {
            rest = subtract(&rest, &divisor);
        }
    }
    rest.pop();
    Some((digits(&quotient), rest))
}
