//! Integer operations as tfhe computes them.
//!
//! Most of it runs without encryption: under a key whose bootstrap looks a table up in the clear and counts. tfhe's own
//! algorithms then compute on trivial ciphertexts at full speed, so every operation can be compared with plain
//! arithmetic, and every price with the number of bootstraps, for every type and many clear numbers. What is left for
//! real ciphertexts is to see that a real bootstrap does the same.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types)]

#[path = "fhe_integers/plain.rs"]
mod plain;
#[path = "fhe_integers/real.rs"]
mod real;

use parallax_clear::compute;
use parallax_runtime::{FheType, IntegerOp, Op, Operand, Program, ProgramBuilder, Scalar, gas};
use plain::Plain;

/// A small generator for test values (xorshift, Marsaglia 2003).
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn word(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn scalar(&mut self, bits: u16) -> Scalar {
        let words: Vec<u8> = (0..4).flat_map(|_| self.word().to_le_bytes()).collect();
        Scalar(words.try_into().unwrap()).reduced(bits)
    }
}

/// One operation on a type: with a clear number on one input, else on as many as it has operands.
pub(crate) fn program(op: IntegerOp, ty: FheType, clear: Option<Scalar>) -> Program {
    let mut b = ProgramBuilder::new();
    let condition = (op == IntegerOp::Select).then(|| b.input(FheType::Bool.input()));
    let first = b.input(ty.input());
    let second: Option<Operand> = match clear {
        Some(number) => Some(number.into()),
        None => (op.arity() > 1).then(|| b.input(ty.input()).into()),
    };
    let operands: Vec<Operand> = condition.into_iter().map(Operand::from).chain([first.into()]).chain(second).collect();
    let result = b.integer(op, ty, &operands);
    b.output(result);
    b.build().unwrap()
}

/// Random digits for the inputs of a program.
pub(crate) fn inputs(program: &Program, random: &mut Numbers) -> Vec<Vec<u8>> {
    let digit = |max: u8, word: u64| (word % (u64::from(max) + 1)) as u8;
    let input = program.inputs().iter();
    input.map(|kind| (0..kind.blocks()).map(|_| digit(kind.max(), random.word())).collect()).collect()
}

/// Clear numbers at which tfhe's algorithms turn, and some others.
fn clear_numbers(ty: FheType, random: &mut Numbers) -> Vec<Scalar> {
    let k = ty.bits();
    let ones = Scalar([0xff; 32]).reduced(k);
    let mut out: Vec<Scalar> = [0u128, 1, 2, 3, 4, 5, 6, 7, 9, 10, 12, 15, 17, 100, 255].map(Scalar::from).to_vec();
    out.extend([ones, Scalar([0x55; 32]).reduced(k), Scalar([0xaa; 32]).reduced(k), Scalar([0x10; 32]).reduced(k)]);
    out.extend((0..24).map(|at| random.scalar((k * (at + 1)).div_ceil(24))));
    out.retain(|number| number.bit_length() <= k);
    out
}

/// The price of a program's integer operations beside their count, and its result beside plain arithmetic.
fn checked(plain: &Plain, what: &str, program: &Program, random: &mut Numbers) -> (u64, u64) {
    let numbers = inputs(program, random);
    let (outputs, counted) = plain.run(program, &numbers);
    assert_eq!(outputs, compute(program, &numbers).unwrap(), "{what} of {numbers:?}");
    let integers = program.ops().iter().filter(|op| matches!(op, Op::Integer { .. }));
    (integers.map(gas::op_pbs).sum(), counted)
}

#[test]
fn tfhe_computes_every_operation_on_every_type_at_its_price() {
    let (plain, mut random) = (Plain::new(), Numbers(0x1e7));
    for op in IntegerOp::ALL.into_iter().filter(|op| op.accepts_value()) {
        for ty in FheType::ALL.into_iter().filter(|ty| op.accepts(*ty)) {
            let (priced, counted) =
                checked(&plain, &format!("{} on {ty}", op.name()), &program(op, ty, None), &mut random);
            if ty.bits() <= 16 {
                assert_eq!(priced, counted, "{} on {ty}", op.name());
            }
            assert!((counted..=counted + counted / 4).contains(&priced), "{} on {ty}: {priced}, {counted}", op.name());
        }
    }
}

#[test]
fn tfhe_computes_every_operation_with_a_clear_number_at_its_price() {
    let (plain, mut random) = (Plain::new(), Numbers(0xc1ea4));
    for op in IntegerOp::ALL.into_iter().filter(|op| op.accepts_scalar()) {
        for ty in FheType::ALL.into_iter().filter(|ty| op.accepts(*ty)) {
            // Wide products and quotients take long even so.
            let step = if ty.bits() > 32 { 5 } else { 1 };
            for number in clear_numbers(ty, &mut random).into_iter().step_by(step) {
                let divides = matches!(op, IntegerOp::Div | IntegerOp::Rem);
                if divides && number.is_zero() {
                    continue;
                }
                let what = format!("{} on {ty} with {number}", op.name());
                let (priced, counted) = checked(&plain, &what, &program(op, ty, Some(number)), &mut random);
                if divides && ty.bits() > 32 {
                    assert!(priced >= counted, "{what}: priced {priced}, counted {counted}");
                } else {
                    assert_eq!(priced, counted, "{what}");
                }
            }
        }
    }
}

/// The rows of `docs/operations.md`: bootstraps of an operation on each type, of the dearest of the clear numbers above.
#[test]
#[ignore = "prints the table of docs/operations.md"]
fn the_table_of_operations() {
    for (clear, op) in [false, true].into_iter().flat_map(|clear| IntegerOp::ALL.map(|op| (clear, op))) {
        if if clear { !op.accepts_scalar() } else { !op.accepts_value() } {
            continue;
        }
        let row: Vec<String> = FheType::ALL
            .into_iter()
            .map(|ty| {
                let mut random = Numbers(0xc1ea4);
                if !op.accepts(ty) {
                    return "-".to_owned();
                }
                if !clear {
                    return program(op, ty, None).pbs().to_string();
                }
                let numbers = clear_numbers(ty, &mut random);
                let divides = matches!(op, IntegerOp::Div | IntegerOp::Rem);
                let prices: Vec<u64> = numbers
                    .into_iter()
                    .filter(|number| !(divides && number.is_zero()))
                    .map(|number| program(op, ty, Some(number)).pbs())
                    .collect();
                format!("{}-{}", prices.iter().min().unwrap(), prices.iter().max().unwrap())
            })
            .collect();
        println!("| {}{} | {} |", op.name(), if clear { ", clear" } else { "" }, row.join(" | "));
    }
}

#[test]
fn products_quotients_and_rests_of_eight_bits_are_right_and_priced_for_every_clear_number() {
    let (plain, mut random) = (Plain::new(), Numbers(0xd1f));
    for op in [IntegerOp::Mul, IntegerOp::Div, IntegerOp::Rem] {
        for number in 1..256u128 {
            let what = format!("{} on euint8 with {number}", op.name());
            let program = program(op, FheType::Uint8, Some(Scalar::from(number)));
            let (priced, counted) = checked(&plain, &what, &program, &mut random);
            assert_eq!(priced, counted, "{what}");
        }
    }
}
