//! Comparisons with a clear number, as tables and sums.
//!
//! Two digits make one argument of four bits, so a table compares them with two digits of the number at once. What is
//! left is to put the answers together: for equality they are counted, for order they are weighed. Of three answers
//! -1, 0 or 1 the sum with weights 4, 2 and 1 has the sign of the highest that is not 0, and a table makes one answer of
//! it; the last step looks at the sign of up to four.

use super::ProgramBuilder;
use crate::integer::{DIGIT_MAX, IntegerOp, Scalar};
use crate::program::ValueId;
use std::collections::BTreeSet;

/// How many answers the last step of a comparison takes.
const LAST: usize = 4;
/// Most blocks of 0 or 1 that one table counts.
const COUNTED: usize = 15;
/// Most digits whose sum is at most 15.
const SUMMED: usize = 5;

/// A value and what it says of a part of the number for each of its 16 values: smaller, equal or larger.
#[derive(Clone, Copy)]
struct Answer {
    value: ValueId,
    signs: [i8; 16],
}

impl ProgramBuilder {
    /// A comparison of at least one block with a number of as many digits: 0 or 1. The number is neither so small nor so
    /// large that the answer is known.
    pub(super) fn compared_with(&mut self, op: IntegerOp, x: &[ValueId], number: Scalar) -> ValueId {
        match op {
            IntegerOp::Eq | IntegerOp::Ne => self.equals(x, number, op == IntegerOp::Eq),
            IntegerOp::Gt => self.at_least(x, number.successor(), 1),
            IntegerOp::Le => {
                let above = self.at_least(x, number.successor(), 1);
                self.linear(&[(above, -1)], 1)
            }
            IntegerOp::Lt => {
                let not_below = self.at_least(x, number, 1);
                self.linear(&[(not_below, -1)], 1)
            }
            _ => self.at_least(x, number, 1),
        }
    }

    /// The smaller or larger of a value and a number: a comparison, and a table a block that takes one or the other.
    pub(super) fn bounded(&mut self, op: IntegerOp, x: &[ValueId], number: Scalar) -> Vec<ValueId> {
        // 4 if the value is not below the number.
        let control = self.at_least(x, number, 4);
        let mut out = Vec::with_capacity(x.len());
        for (block, digit) in x.iter().zip(number.digits(x.len())) {
            let argument = self.linear(&[(*block, 1), (control, 1)], 0);
            let takes_number = |x: u8| (x >= 4) == (op == IntegerOp::Min);
            out.push(self.map(argument, |x| if takes_number(x) { digit } else { x & DIGIT_MAX }));
        }
        out
    }

    /// `amplitude` if the value is at least the number, which is not 0; else 0.
    fn at_least(&mut self, x: &[ValueId], number: Scalar, amplitude: u8) -> ValueId {
        // What lies below the number's last digit that is not 0 cannot matter.
        let skipped = number.zero_digits().min(x.len().saturating_sub(1));
        let (x, number) = (x.get(skipped..).unwrap_or_default(), number.without_digits(skipped));
        let mut answers: Vec<Answer> = Vec::with_capacity(x.len().div_ceil(2));
        for (at, digits) in x.chunks(2).enumerate() {
            let part = number.digit(2 * at) | if digits.len() == 2 { number.digit(2 * at + 1) << 2 } else { 0 };
            let signs = std::array::from_fn(|x| (x as i8 - part as i8).signum());
            answers.push(Answer { value: self.packed(digits), signs });
        }
        while answers.len() > LAST {
            let wanted = (answers.len() - LAST).div_ceil(2).min(answers.len() / 3);
            let (joined, rest) = answers.split_at(3 * wanted);
            let joined: Vec<Answer> = joined.chunks(3).map(|three| self.joined(three)).collect();
            answers = joined.into_iter().chain(rest.iter().copied()).collect();
        }
        if let [only] = answers[..] {
            return self.map(only.value, |x| if sign(&only, x) >= 0 { amplitude } else { 0 });
        }
        let (sum, offset) = self.weighed(&answers);
        let difference = self.linear(&sum, -offset);
        self.non_negative(difference, amplitude)
    }

    /// Two digits as one number of four bits, or one as it is.
    fn packed(&mut self, digits: &[ValueId]) -> ValueId {
        match digits {
            [low, high] => self.linear(&[(*low, 1), (*high, 4)], 0),
            _ => digits.first().copied().unwrap_or(ValueId(0)),
        }
    }

    /// One answer of three, the lowest first.
    fn joined(&mut self, answers: &[Answer]) -> Answer {
        let (sum, offset) = self.weighed(answers);
        let value = self.linear(&sum, 0);
        Answer { value, signs: std::array::from_fn(|x| (x as i32 - offset).signum() as i8) }
    }

    /// Answers times 1, 2, 4, 8, each a table, and what is to be taken off their sum. The largest says 7 instead of 8:
    /// that still outweighs the other three, and fits a block.
    fn weighed(&mut self, answers: &[Answer]) -> (Vec<(ValueId, i32)>, i32) {
        let mut terms = Vec::with_capacity(answers.len());
        let mut offset = 0;
        for (at, answer) in answers.iter().enumerate() {
            let weight = 1i8 << at.min(LAST - 1);
            let entry = |x: u8| (weight.saturating_mul(sign(answer, x)).saturating_add(weight)).clamp(0, 15) as u8;
            terms.push((self.map(answer.value, entry), 1));
            offset += i32::from(weight);
        }
        (terms, offset)
    }

    /// Whether a value equals a number, or differs from it.
    fn equals(&mut self, x: &[ValueId], number: Scalar, equal: bool) -> ValueId {
        // The digits of a trivial encryption can be one value. What is asked twice would be counted twice by one and the
        // same bootstrap, whose noise adds up.
        let mut asked = BTreeSet::new();
        let with_digit = x.iter().copied().zip(number.digits(x.len())).filter(|pair| asked.insert(*pair));
        let (zeros, others): (Vec<_>, Vec<_>) = with_digit.partition(|(_, digit)| *digit == 0);
        // Arguments with the one value of each that is right.
        let mut parts: Vec<(ValueId, u8)> = Vec::new();
        for digits in zeros.chunks(SUMMED) {
            let terms: Vec<(ValueId, i32)> = digits.iter().map(|(block, _)| (*block, 1)).collect();
            parts.push((self.linear(&terms, 0), 0));
        }
        for digits in others.chunks(2) {
            let blocks: Vec<ValueId> = digits.iter().map(|(block, _)| *block).collect();
            let right = digits.iter().rev().fold(0, |right, (_, digit)| right << 2 | digit);
            parts.push((self.packed(&blocks), right));
        }
        // Each step asks which parts differ and counts them.
        while let [_, _, ..] = parts[..] {
            let mut counts = Vec::with_capacity(parts.len().div_ceil(COUNTED));
            for chunk in parts.chunks(COUNTED) {
                let wrong: Vec<(ValueId, i32)> =
                    chunk.iter().map(|(value, right)| (self.map(*value, |x| u8::from(x != *right)), 1)).collect();
                counts.push((self.linear(&wrong, 0), 0));
            }
            parts = counts;
        }
        let (value, right) = parts.first().copied().unwrap_or((ValueId(0), 0));
        self.map(value, |x| u8::from((x == right) == equal))
    }
}

fn sign(answer: &Answer, x: u8) -> i8 {
    answer.signs.get(usize::from(x)).copied().unwrap_or(0)
}
