//! Integer operations by tfhe's radix integers.
//!
//! What a program asks for here has been through its builder: numbers of one operation have the same number of clean
//! blocks, clear numbers are within their range, and shifts, bits with a clear mask and comparisons with a clear number
//! have become tables.

use crate::encoding::Words;
use crate::evaluate::{block, words};
use parallax_runtime::program::width;
use parallax_runtime::{IntegerOp, Operand, Scalar};
use std::sync::Arc;
use tfhe::integer::prelude::ServerKeyDefaultCMux;
use tfhe::integer::{BooleanBlock, IntegerRadixCiphertext, RadixCiphertext, ServerKey, U256};
use tfhe::shortint::Ciphertext;
use tfhe::shortint::ciphertext::{Degree, NoiseLevel};

/// The largest value of a block that is a digit of an integer.
const DIGIT: u64 = 3;

/// An operand, decoded.
enum Argument {
    Value(Vec<Ciphertext>),
    Scalar(U256),
}

impl Argument {
    fn value(self) -> Result<RadixCiphertext, String> {
        match self {
            Self::Value(blocks) => Ok(RadixCiphertext::from(blocks)),
            Self::Scalar(_) => Err("a clear number stands where a ciphertext must".to_owned()),
        }
    }
}

fn number(scalar: Scalar) -> U256 {
    U256::from(scalar.words())
}

/// One operation. `arguments` are the blocks of its values, operand after operand, and the result the blocks of what it
/// gives: 2,049 words each. Public for tests that compute with a key of their own.
///
/// # Errors
/// If the operands are not those of the operation, or the library left a block that a program may not use.
pub fn integer(
    key: &ServerKey,
    op: IntegerOp,
    operands: &[Operand],
    arguments: &[Arc<Words>],
) -> Result<Vec<Words>, String> {
    let mut rest = arguments.iter();
    let mut decoded = operands.iter().map(|operand| match operand {
        Operand::Value(blocks) => {
            Argument::Value(rest.by_ref().take(blocks.len()).map(|words| block(words.to_vec(), DIGIT)).collect())
        }
        Operand::Scalar(scalar) => Argument::Scalar(number(*scalar)),
    });
    let mut next = || decoded.next().ok_or_else(|| "an operand is missing".to_owned());
    let first = next()?;
    let result = match op {
        IntegerOp::Select => select(key, first, next()?.value()?, next()?.value()?)?,
        IntegerOp::Neg => key.neg_parallelized(&first.value()?).into_blocks(),
        _ => match next()? {
            Argument::Value(blocks) => binary(key, op, &first.value()?, &RadixCiphertext::from(blocks))?,
            Argument::Scalar(scalar) => with_scalar(key, op, &first.value()?, scalar)?,
        },
    };
    checked(op, width(operands), result)
}

/// A result as a program may use it: so many blocks, without carries, with nominal noise.
fn checked(op: IntegerOp, blocks: usize, result: Vec<Ciphertext>) -> Result<Vec<Words>, String> {
    let expected = if op.is_comparison() { 1 } else { blocks };
    if result.len() != expected {
        return Err(format!("integer.{} gave {} blocks where {expected} were due", op.name(), result.len()));
    }
    if let Some(dirty) = result.iter().find(|b| b.degree.get() > DIGIT || b.noise_level() > NoiseLevel::NOMINAL) {
        return Err(format!("integer.{} left a block of degree {} uncleaned", op.name(), dirty.degree.get()));
    }
    Ok(result.into_iter().map(words).collect())
}

fn select(
    key: &ServerKey,
    condition: Argument,
    then: RadixCiphertext,
    otherwise: RadixCiphertext,
) -> Result<Vec<Ciphertext>, String> {
    let Argument::Value(blocks) = condition else { return Err("the condition is clear".to_owned()) };
    let mut block = blocks.into_iter().next().ok_or("the condition is missing")?;
    block.degree = Degree::new(1);
    let condition = BooleanBlock::new_unchecked(block);
    Ok(key.if_then_else_parallelized(&condition, &then, &otherwise).into_blocks())
}

fn one(bit: BooleanBlock) -> Vec<Ciphertext> {
    vec![bit.into_raw_parts()]
}

fn binary(key: &ServerKey, op: IntegerOp, a: &RadixCiphertext, b: &RadixCiphertext) -> Result<Vec<Ciphertext>, String> {
    Ok(match op {
        IntegerOp::Add => key.add_parallelized(a, b).into_blocks(),
        IntegerOp::Sub => key.sub_parallelized(a, b).into_blocks(),
        IntegerOp::Mul => key.mul_parallelized(a, b).into_blocks(),
        IntegerOp::BitAnd => key.bitand_parallelized(a, b).into_blocks(),
        IntegerOp::BitOr => key.bitor_parallelized(a, b).into_blocks(),
        IntegerOp::BitXor => key.bitxor_parallelized(a, b).into_blocks(),
        IntegerOp::Eq => one(key.eq_parallelized(a, b)),
        IntegerOp::Ne => one(key.ne_parallelized(a, b)),
        IntegerOp::Lt => one(key.lt_parallelized(a, b)),
        IntegerOp::Le => one(key.le_parallelized(a, b)),
        IntegerOp::Gt => one(key.gt_parallelized(a, b)),
        IntegerOp::Ge => one(key.ge_parallelized(a, b)),
        IntegerOp::Min => key.min_parallelized(a, b).into_blocks(),
        IntegerOp::Max => key.max_parallelized(a, b).into_blocks(),
        _ => return Err(format!("integer.{} is not computed on two ciphertexts", op.name())),
    })
}

fn with_scalar(key: &ServerKey, op: IntegerOp, a: &RadixCiphertext, b: U256) -> Result<Vec<Ciphertext>, String> {
    Ok(match op {
        IntegerOp::Add => key.scalar_add_parallelized(a, b).into_blocks(),
        IntegerOp::Sub => key.scalar_sub_parallelized(a, b).into_blocks(),
        IntegerOp::Mul => key.scalar_mul_parallelized(a, b).into_blocks(),
        IntegerOp::Div => key.scalar_div_parallelized(a, b).into_blocks(),
        IntegerOp::Rem => key.scalar_rem_parallelized(a, b).into_blocks(),
        _ => return Err(format!("integer.{} is not computed with a clear number", op.name())),
    })
}
