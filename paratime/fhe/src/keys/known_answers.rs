//! Known answers: what each operation must give, to the bit, on ciphertexts that the key set commits to.
//!
//! They are computed once, when the keys are made, under the pinned plan; a node computes them again when it starts,
//! and refuses to join if one differs. One program holds every operation once, on operands of two blocks: about 120
//! bootstraps, three core-seconds.

use crate::encoding::{Words, digest_of_block};
use crate::evaluate::{Input, Outcome, evaluate};
use crate::keys::{Material, ProfileAnswers};
use crate::list;
use crate::parameters::BLOCK_WORDS;
use crate::plan::{BackendKind, profile};
use crate::pool::FhePool;
use borsh::{BorshDeserialize, BorshSerialize};
use parallax_primitives::{Digest, decode, encode};
use parallax_runtime::trace::{block_digest, combine};
use parallax_runtime::{
    EvaluationProfile, FheType, InputKind, IntegerOp, Operand, Program, ProgramBuilder, ProgramError, Scalar,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What one operation gives on the known-answer inputs.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct KnownAnswer {
    /// The operation.
    pub operation: String,
    /// The digest of its result's blocks.
    pub digest: Digest,
}

/// Why a node must not evaluate for a committee with this key set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProfileMismatch {
    /// An operation gives other bits than it must.
    #[error(
        "operation `{operation}` gives {actual} where the key set commits to {expected}: this node would not agree with \
         its committee and may not join it. Probable reasons: {reasons}"
    )]
    Operation {
        /// The first operation that differs.
        operation: String,
        /// The first digits of the digest that it must give.
        expected: String,
        /// The first digits of the digest that it gives here.
        actual: String,
        /// What may be the cause, the likeliest first.
        reasons: String,
    },
    /// The known answers could not be computed at all.
    #[error("the known answers of the evaluation profile cannot be computed on this node: {0}")]
    Evaluation(String),
}

/// The largest file of inputs, in bytes.
const MAX_INPUT_BYTES: usize = 1024 * 1024;

/// The operands in the clear: digits of two bits, a condition, a nibble, an octal digit, and a list.
const A: [u8; 2] = [2, 3];
const B: [u8; 2] = [3, 1];
const CONDITION: u8 = 1;
const X: u8 = 11;
const Y: u8 = 5;
const LIST: [u8; 2] = [9, 14];
/// The argument of the sign table is `X - THRESHOLD`.
const THRESHOLD: i32 = 8;
const AMPLITUDE: u8 = 9;

/// The integer operations: each that tfhe computes, on two values or on one and a clear number. All others are tables.
const INTEGERS: [(IntegerOp, Option<u8>); 21] = [
    (IntegerOp::Add, None),
    (IntegerOp::Sub, None),
    (IntegerOp::Mul, None),
    (IntegerOp::BitAnd, None),
    (IntegerOp::BitOr, None),
    (IntegerOp::BitXor, None),
    (IntegerOp::Eq, None),
    (IntegerOp::Ne, None),
    (IntegerOp::Lt, None),
    (IntegerOp::Le, None),
    (IntegerOp::Gt, None),
    (IntegerOp::Ge, None),
    (IntegerOp::Min, None),
    (IntegerOp::Max, None),
    (IntegerOp::Select, None),
    (IntegerOp::Neg, None),
    (IntegerOp::Add, Some(7)),
    (IntegerOp::Sub, Some(5)),
    (IntegerOp::Mul, Some(7)),
    (IntegerOp::Div, Some(3)),
    (IntegerOp::Rem, Some(5)),
];

/// Bits of a random number, and its seed.
const RANDOM: (u16, Digest) = (3, Digest([0x5e; 32]));

/// The ciphertexts on which the answers are computed: a part of the key set.
#[derive(Clone, BorshSerialize, BorshDeserialize)]
pub(crate) struct Inputs {
    /// The blocks of each stored input, in the order of [`plain_inputs`].
    pub(crate) stored: Vec<Vec<Words>>,
    /// The mask and bodies of the list.
    pub(crate) list: Words,
    /// Its proof.
    pub(crate) proof: Vec<u8>,
    /// What the proof is bound to.
    pub(crate) metadata: Digest,
    /// The seed of the re-randomisation.
    pub(crate) seed: Digest,
}

/// The form in which inputs are stored.
#[derive(BorshSerialize, BorshDeserialize)]
enum VersionedInputs<I> {
    V1(I),
}

impl Inputs {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        encode(&VersionedInputs::V1(self))
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let VersionedInputs::V1(inputs): VersionedInputs<Self> =
            decode("the known-answer inputs", bytes, MAX_INPUT_BYTES).map_err(|e| e.to_string())?;
        let shape: Vec<usize> = inputs.stored.iter().map(Vec::len).collect();
        let wanted: Vec<usize> = plain_inputs().iter().map(Vec::len).collect();
        if shape != wanted || inputs.stored.iter().flatten().any(|b| b.len() != BLOCK_WORDS) {
            return Err("the known-answer inputs do not have the blocks of this version".to_owned());
        }
        Ok(inputs)
    }
}

/// The stored inputs in the clear.
pub(crate) fn plain_inputs() -> Vec<Vec<u8>> {
    vec![A.to_vec(), B.to_vec(), vec![CONDITION], vec![X], vec![Y]]
}

/// The list in the clear.
pub(crate) fn plain_list() -> &'static [u8] {
    &LIST
}

/// The program, and the operation whose result each of its outputs is.
fn program() -> Result<(Program, Vec<String>), ProgramError> {
    let mut p = ProgramBuilder::new();
    let a = p.input(InputKind::Stored { blocks: 2, max: 3 });
    let b = p.input(InputKind::Stored { blocks: 2, max: 3 });
    let condition = p.input(InputKind::Stored { blocks: 1, max: 1 });
    let x = p.input(InputKind::Stored { blocks: 1, max: 15 })[0];
    let y = p.input(InputKind::Stored { blocks: 1, max: 7 })[0];
    let list = p.input(InputKind::Proven { blocks: LIST.len() as u16 });
    let mut names = Vec::new();
    let mut output = |p: &mut ProgramBuilder, name: String, blocks| {
        names.push(name);
        p.output(blocks);
    };
    output(&mut p, "re-randomise".to_owned(), vec![x]);
    output(&mut p, "expand".to_owned(), list);
    let value = p.linear(&[(x, -1)], 15);
    output(&mut p, "linear".to_owned(), vec![value]);
    let value = p.map(x, plain_map);
    output(&mut p, "table.map".to_owned(), vec![value]);
    let difference = p.linear(&[(x, 1)], -THRESHOLD);
    let value = p.non_negative(difference, AMPLITUDE);
    output(&mut p, "table.nonnegative".to_owned(), vec![value]);
    let value = p.folded(difference, plain_folded(), FOLDED_SUM);
    output(&mut p, "table.folded".to_owned(), vec![value]);
    let values = p.two_tables(y, plain_two());
    output(&mut p, "table.two".to_owned(), values.to_vec());
    let difference = p.linear(&[(condition[0], 1), (b[0], -1)], 0);
    let values = p.two_signed(difference, plain_two_signed());
    output(&mut p, "table.two-signed".to_owned(), values.to_vec());
    for (op, scalar) in INTEGERS {
        let mut operands: Vec<Operand> = vec![a.clone().into()];
        match (op, scalar) {
            (IntegerOp::Neg, _) => {}
            (_, Some(number)) => operands.push(Scalar::from(u128::from(number)).into()),
            (IntegerOp::Select, _) => operands = vec![condition.clone().into(), a.clone().into(), b.clone().into()],
            _ => operands.push(b.clone().into()),
        }
        let blocks = p.radix(op, &operands);
        let clear = if scalar.is_some() { " clear" } else { "" };
        output(&mut p, format!("integer.{}{clear}", op.name()), blocks);
    }
    let (bits, seed) = RANDOM;
    let blocks = p.random(FheType::Uint8, bits, seed).into_iter().take(bits.div_ceil(2).into()).collect();
    output(&mut p, "random".to_owned(), blocks);
    Ok((p.build()?, names))
}

/// Names the operations and their arguments: another program has other answers.
pub(crate) fn program_digest() -> Result<Digest, ProgramError> {
    Ok(program()?.0.digest())
}

fn plain_map(x: u8) -> u8 {
    (7 * x + 3) % 16
}

/// What the entries of the folded table add up to with those past half of the circle.
const FOLDED_SUM: u8 = 13;

fn plain_folded() -> [u8; 16] {
    std::array::from_fn(|x| 5 * x as u8 % (FOLDED_SUM + 1))
}

fn plain_two() -> [[u8; 8]; 2] {
    [std::array::from_fn(|y| 7 - y as u8), std::array::from_fn(|y| 2 * y as u8)]
}

fn plain_two_signed() -> [[u8; 9]; 2] {
    [std::array::from_fn(|x| 9 - x as u8), std::array::from_fn(|x| 3 * x as u8 % 16)]
}

/// What the outputs are in the clear; what is random nobody can say, but that it is digits of two bits.
pub(crate) fn plain_outputs() -> Vec<Option<Vec<u8>>> {
    plain_numbers().into_iter().map(Some).chain([None]).collect()
}

fn plain_numbers() -> Vec<Vec<u8>> {
    let number = |digits: [u8; 2]| u32::from(digits[0]) + 4 * u32::from(digits[1]);
    let sign = if i32::from(X) >= THRESHOLD { AMPLITUDE } else { 0 };
    let mut out = vec![vec![X], LIST.to_vec(), vec![15 - X], vec![plain_map(X)], vec![sign]];
    let difference = i32::from(X) - THRESHOLD;
    let folded = plain_folded()[difference.rem_euclid(16) as usize];
    out.push(vec![if difference >= 0 { folded } else { FOLDED_SUM - folded }]);
    out.push(plain_two().map(|table| table[usize::from(Y)]).to_vec());
    let difference = i32::from(CONDITION) - i32::from(B[0]);
    out.push(plain_two_signed().map(|table| table[(difference + 4) as usize]).to_vec());
    for (op, scalar) in INTEGERS {
        let (a, b) = (number(A), scalar.map_or(number(B), u32::from));
        let value = plain_integer(op, a, b);
        out.push(if op.is_comparison() { vec![value] } else { vec![value & 3, value >> 2 & 3] });
    }
    out
}

/// An operation of [`INTEGERS`] on numbers of four bits.
fn plain_integer(op: IntegerOp, a: u32, b: u32) -> u8 {
    let value = match op {
        IntegerOp::Add => a + b,
        IntegerOp::Sub => a.wrapping_sub(b),
        IntegerOp::Mul => a * b,
        IntegerOp::BitAnd => a & b,
        IntegerOp::BitOr => a | b,
        IntegerOp::BitXor => a ^ b,
        IntegerOp::Eq => u32::from(a == b),
        IntegerOp::Ne => u32::from(a != b),
        IntegerOp::Lt => u32::from(a < b),
        IntegerOp::Le => u32::from(a <= b),
        IntegerOp::Gt => u32::from(a > b),
        IntegerOp::Ge => u32::from(a >= b),
        IntegerOp::Min => a.min(b),
        IntegerOp::Max => a.max(b),
        IntegerOp::Select if CONDITION == 1 => a,
        IntegerOp::Select => b,
        IntegerOp::Div => a / b,
        IntegerOp::Rem => a % b,
        IntegerOp::Neg => a.wrapping_neg(),
        IntegerOp::Shl => a << (b % 4),
        IntegerOp::Shr => a >> (b % 4),
        IntegerOp::Rotl => a << (b % 4) | a >> (4 - b % 4),
        IntegerOp::Rotr => a >> (b % 4) | a << (4 - b % 4),
    };
    value as u8 & 15
}

/// Evaluates every operation once. The outputs' blocks, and the answers.
pub(crate) fn compute(
    pool: &FhePool,
    keys: &Arc<Material>,
    inputs: &Inputs,
) -> Result<(Outcome, Vec<KnownAnswer>), String> {
    let (program, names) = program().map_err(|e| e.to_string())?;
    let mut operands: Vec<Input> = inputs.stored.iter().map(|blocks| Input::Stored(blocks.clone())).collect();
    operands.push(Input::List(inputs.list.clone()));
    let verdict = {
        let (keys, inputs) = (Arc::clone(keys), inputs.clone());
        pool.run(move || list::verify(&keys.public, inputs.list, &inputs.proof, &inputs.metadata))?
    };
    let mut answers =
        vec![KnownAnswer { operation: "verify".to_owned(), digest: block_digest(&[u8::from(verdict.is_ok())]) }];
    let outcome =
        evaluate(pool, keys, &program, operands, (&inputs.seed, None), &|| false).map_err(|e| e.to_string())?;
    for (operation, blocks) in names.into_iter().zip(&outcome.outputs) {
        let digests: Vec<Digest> = blocks.iter().map(|b| digest_of_block(b)).collect();
        answers.push(KnownAnswer { operation, digest: combine(&digests) });
    }
    Ok((outcome, answers))
}

/// Compares what this process computes with what the key set commits to.
pub(crate) fn check(
    pool: &FhePool,
    keys: &Arc<Material>,
    inputs: &Inputs,
    committed: &ProfileAnswers,
) -> Result<(), ProfileMismatch> {
    let expected = &committed.known_answers;
    let (_, actual) = compute(pool, keys, inputs).map_err(ProfileMismatch::Evaluation)?;
    if actual.len() != expected.len() {
        let (here, there) = (actual.len(), expected.len());
        let reason = format!("this version knows {here} operations, the key set {there}; use the version that made it");
        return Err(ProfileMismatch::Evaluation(reason));
    }
    for (expected, actual) in expected.iter().zip(actual) {
        if *expected != actual {
            return Err(ProfileMismatch::Operation {
                operation: expected.operation.clone(),
                expected: expected.digest.short(),
                actual: actual.digest.short(),
                reasons: reasons(&committed.profile),
            });
        }
    }
    Ok(())
}

fn reasons(committed: &EvaluationProfile) -> String {
    let exact = BackendKind::of(committed) == Some(BackendKind::CpuExact);
    let here = if exact { Some(BackendKind::CpuExact.profile()) } else { profile().ok() };
    let differs = |what: &str, get: fn(&EvaluationProfile) -> &String| {
        let here = here.as_ref().map(get)?;
        (here != get(committed)).then(|| format!("another {what} (here {here}, in the key set {})", get(committed)))
    };
    let known: Vec<String> = [
        differs("FFT plan", |p| &p.plan),
        differs("version of the library", |p| &p.library),
        differs("parameter set", |p| &p.parameters),
        differs("instruction class", |p| &p.instructions),
    ]
    .into_iter()
    .flatten()
    .collect();
    if known.is_empty() && exact {
        return "a fault of this machine or of its build: the exact backend gives the same bits on every sound one"
            .to_owned();
    }
    if known.is_empty() {
        return "a processor or emulator without AVX2 and FMA, another libm (the twiddle factors come from it), or \
                another build of tfhe"
            .to_owned();
    }
    known.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_has_one_named_output_for_every_operation() {
        let (program, names) = program().unwrap();
        assert_eq!(program.outputs().len(), names.len());
        assert_eq!(plain_outputs().len(), names.len());
        for (blocks, plain) in program.outputs().iter().zip(plain_outputs()) {
            assert_eq!(blocks.len(), plain.map_or(2, |plain| plain.len()));
        }
        assert!(program.pbs() < 160, "{} bootstraps at every start", program.pbs());
    }

    #[test]
    fn inputs_of_another_shape_are_refused() {
        let inputs = Inputs {
            stored: vec![vec![vec![0; BLOCK_WORDS]]],
            list: vec![],
            proof: vec![],
            metadata: Digest::ZERO,
            seed: Digest::ZERO,
        };
        assert!(Inputs::from_bytes(&inputs.to_bytes()).is_err());
        assert!(Inputs::from_bytes(b"nothing").is_err());
    }
}
