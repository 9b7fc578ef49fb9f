//! Every integer operation on every type that it takes, with values and with clear numbers, against big integers.

use num_bigint::BigUint;
use parallax_clear::compute;
use parallax_primitives::Digest;
use parallax_runtime::{FheType, IntegerOp, Operand, Program, ProgramBuilder, ProgramError, Scalar, ValueId};
use proptest::prelude::*;

fn power(bits: u16) -> BigUint {
    BigUint::from(1u8) << bits
}

fn scalar(number: &BigUint) -> Scalar {
    let mut bytes = number.to_bytes_le();
    bytes.resize(32, 0);
    Scalar(bytes.try_into().expect("it has at most 256 bits"))
}

/// The digits of a number of a type.
fn digits(ty: FheType, number: &BigUint) -> Vec<u8> {
    scalar(number).digits(usize::from(ty.blocks()))
}

fn number(digits: &[u8]) -> BigUint {
    digits.iter().rev().fold(BigUint::ZERO, |n, digit| n * 4u8 + *digit)
}

/// What an operation gives on numbers below `2^k`; `b` may be larger if it is a clear divisor.
fn model(op: IntegerOp, ty: FheType, a: &BigUint, b: &BigUint) -> BigUint {
    let k = ty.bits();
    let bit = |condition: bool| BigUint::from(u8::from(condition));
    let amount = || u16::try_from(b % k).expect("it is less than 256");
    let left = |by: u16| (a << by) % power(k);
    match op {
        IntegerOp::Add => (a + b) % power(k),
        IntegerOp::Sub => (a + power(k) - b) % power(k),
        IntegerOp::Mul => (a * b) % power(k),
        IntegerOp::Div => a / b,
        IntegerOp::Rem => a % b,
        IntegerOp::BitAnd => a & b,
        IntegerOp::BitOr => a | b,
        IntegerOp::BitXor => a ^ b,
        IntegerOp::Shl => left(amount()),
        IntegerOp::Shr => a >> amount(),
        IntegerOp::Rotl => left(amount()) | a >> (k - amount()),
        IntegerOp::Rotr => left(k - amount()) | a >> amount(),
        IntegerOp::Eq => bit(a == b),
        IntegerOp::Ne => bit(a != b),
        IntegerOp::Lt => bit(a < b),
        IntegerOp::Le => bit(a <= b),
        IntegerOp::Gt => bit(a > b),
        IntegerOp::Ge => bit(a >= b),
        IntegerOp::Min => a.min(b).clone(),
        IntegerOp::Max => a.max(b).clone(),
        IntegerOp::Neg => (power(k) - a) % power(k),
        IntegerOp::Select => a.clone(),
    }
}

/// A program of one operation. With a clear number it has one input, else as many as the operation has operands.
fn program(op: IntegerOp, ty: FheType, clear: Option<&BigUint>) -> Result<Program, ProgramError> {
    let mut b = ProgramBuilder::new();
    let condition = (op == IntegerOp::Select).then(|| b.input(FheType::Bool.input()));
    let first = b.input(ty.input());
    let second: Option<Operand> = match clear {
        Some(number) => Some(scalar(number).into()),
        None => (op.arity() > 1).then(|| b.input(ty.input()).into()),
    };
    let operands: Vec<Operand> = condition.into_iter().map(Operand::from).chain([first.into()]).chain(second).collect();
    let result = b.integer(op, ty, &operands);
    b.output(result);
    b.build()
}

fn run(program: &Program, inputs: &[Vec<u8>]) -> BigUint {
    number(&compute(program, inputs).expect("every value is in its range")[0])
}

/// Numbers at which carries, signs and shifts turn.
fn corners(ty: FheType) -> Vec<BigUint> {
    let k = ty.bits();
    let mut out: Vec<BigUint> = [0u16, 1, 2, 3, 5, 85, k - 1, k, k + 1].map(BigUint::from).to_vec();
    out.extend([power(k) - 1u8, power(k) - 2u8.min(k as u8), power(k - 1), power(k / 2)]);
    out.extend([power(k - 1) - 1u8, power(k) / 3u8, power(k) / 7u8]);
    out.retain(|number| *number < power(k));
    out
}

fn check(op: IntegerOp, ty: FheType, a: &BigUint, b: &BigUint) {
    let what = format!("{} on {ty} of {a:#x} and {b:#x}", op.name());
    let (da, db) = (digits(ty, a), digits(ty, b));
    if op == IntegerOp::Select {
        let program = program(op, ty, None).expect("it is a valid program");
        assert_eq!(run(&program, &[vec![1], da.clone(), db.clone()]), *a, "{what}");
        assert_eq!(run(&program, &[vec![0], da, db]), *b, "{what}");
        return;
    }
    if op.accepts_value() {
        let program = program(op, ty, None).expect("it is a valid program");
        let inputs = if op.arity() == 1 { vec![da.clone()] } else { vec![da.clone(), db] };
        assert_eq!(run(&program, &inputs), model(op, ty, a, b), "{what}");
    }
    if op.accepts_scalar() {
        check_clear(op, ty, a, b);
    }
}

fn check_clear(op: IntegerOp, ty: FheType, a: &BigUint, b: &BigUint) {
    let divides = matches!(op, IntegerOp::Div | IntegerOp::Rem);
    let built = program(op, ty, Some(b));
    if divides && *b == BigUint::ZERO {
        assert_eq!(built, Err(ProgramError::DivisionByZero { op: 0, name: op.name() }));
        return;
    }
    let right = if divides { b.clone() } else { b % power(ty.bits()) };
    let result = run(&built.expect("it is a valid program"), &[digits(ty, a)]);
    assert_eq!(result, model(op, ty, a, &right), "{} on {ty} of {a:#x} and {b:#x} in the clear", op.name());
}

fn every_case() -> impl Iterator<Item = (IntegerOp, FheType)> {
    IntegerOp::ALL
        .into_iter()
        .flat_map(|op| FheType::ALL.into_iter().map(move |ty| (op, ty)))
        .filter(|(op, ty)| op.accepts(*ty))
}

#[test]
fn every_operation_on_every_type_equals_plain_arithmetic_at_the_corners() {
    let mut cases = 0;
    for (op, ty) in every_case() {
        for a in corners(ty) {
            for b in corners(ty) {
                check(op, ty, &a, &b);
                cases += 1;
            }
        }
    }
    assert!(cases > 20_000, "{cases}");
}

#[test]
fn a_clear_number_larger_than_its_type_is_reduced_and_a_divisor_is_not() {
    for (op, ty) in every_case().filter(|(op, _)| op.accepts_scalar()) {
        for b in [power(ty.bits()), power(ty.bits()) + 3u8, (power(255) << 1u8) - 1u8] {
            if b < power(255) * 2u8 {
                for a in corners(ty) {
                    check_clear(op, ty, &a, &b);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn every_operation_on_every_type_equals_plain_arithmetic(a in any::<[u8; 32]>(), b in any::<[u8; 32]>(), short in 0u16..256) {
        let (a, b) = (BigUint::from_bytes_le(&a), BigUint::from_bytes_le(&b));
        for (op, ty) in every_case() {
            let (a, b) = (&a % power(ty.bits()), &b % power(ty.bits()));
            check(op, ty, &a, &b);
            // Numbers of few bits: small divisors, multipliers and amounts.
            check(op, ty, &a, &(&b >> (short % ty.bits())));
        }
    }
}

#[test]
fn casts_negation_of_bits_and_constants_need_no_bootstrap_and_equal_plain_arithmetic() {
    for ty in FheType::ALL {
        for a in corners(ty) {
            let mut b = ProgramBuilder::new();
            let value = b.input(ty.input());
            let constant = b.trivial(ty, scalar(&a));
            b.output(constant);
            let mut expected = vec![a.clone()];
            if ty != FheType::Address {
                let not = b.not(ty, &value);
                b.output(not);
                expected.push(power(ty.bits()) - 1u8 - &a);
                for to in FheType::ALL.into_iter().filter(|to| to.is_number()) {
                    let cast = b.cast(ty, to, &value);
                    b.output(cast);
                    expected.push(&a % power(to.bits()));
                }
            }
            let program = b.build().expect("it is a valid program");
            assert_eq!(program.pbs(), 0);
            let outputs = compute(&program, &[digits(ty, &a)]).expect("every value is in its range");
            let numbers: Vec<BigUint> = outputs.iter().map(|blocks| number(blocks)).collect();
            assert_eq!(numbers, expected, "{ty} {a:#x}");
        }
    }
}

#[test]
fn a_packed_value_is_taken_apart_and_cut_to_its_type() {
    for ty in FheType::ALL {
        let packed = usize::from(ty.packed_blocks());
        let mut b = ProgramBuilder::new();
        let list = b.input(parallax_runtime::InputKind::Proven { blocks: ty.packed_blocks() });
        let value = b.unpack(ty, &list);
        b.output(value);
        let program = b.build().expect("it is a valid program");
        let nibbles: Vec<u8> = (0..packed).map(|at| (at * 7 + 11) as u8 % 16).collect();
        let plain = nibbles.iter().rev().fold(BigUint::ZERO, |n, nibble| n * 16u8 + *nibble) % power(ty.bits());
        assert_eq!(run(&program, &[nibbles]), plain, "{ty}");
    }
}

#[test]
fn random_values_lie_below_their_bound_and_repeat_with_their_seed_only() {
    let draw = |ty: FheType, bits: u16, seed: u8| {
        let mut b = ProgramBuilder::new();
        let value = b.random(ty, bits, Digest([seed; 32]));
        b.output(value);
        let program = b.build().expect("it is a valid program");
        assert_eq!(program.pbs(), u64::from(bits.div_ceil(2)));
        run(&program, &[])
    };
    for ty in FheType::ALL.into_iter().filter(|ty| *ty != FheType::Address) {
        for bits in [0, 1, ty.bits() / 2, ty.bits() - 1, ty.bits()] {
            for seed in 0..8 {
                assert!(draw(ty, bits, seed) < power(bits), "{ty}, {bits} bits");
            }
        }
    }
    assert_eq!(draw(FheType::Uint64, 64, 1), draw(FheType::Uint64, 64, 1));
    assert_ne!(draw(FheType::Uint64, 64, 1), draw(FheType::Uint64, 64, 2));
    assert_ne!(draw(FheType::Uint64, 64, 1), draw(FheType::Uint128, 65, 1));
    let ones = (0..200).filter(|seed| draw(FheType::Bool, 1, *seed) == BigUint::from(1u8)).count();
    assert!((60..140).contains(&ones), "{ones} ones in 200 bits");
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    type Circuit = fn(&mut ProgramBuilder, &[ValueId], &[ValueId]);
    let refused = |circuit: Circuit| {
        let mut b = ProgramBuilder::new();
        let (short, long) = (b.input(FheType::Uint8.input()), b.input(FheType::Uint16.input()));
        circuit(&mut b, &short, &long);
        b.output(short);
        b.build().expect_err("it is refused")
    };
    let bad: [Circuit; 11] = [
        |b, short, long| drop(b.integer(IntegerOp::Add, FheType::Uint8, &[short.into(), long.into()])),
        |b, short, _| drop(b.integer(IntegerOp::Add, FheType::Uint16, &[short.into(), short.into()])),
        |b, short, _| drop(b.integer(IntegerOp::Add, FheType::Uint8, &[short.into()])),
        |b, short, _| drop(b.integer(IntegerOp::Add, FheType::Uint8, &[Scalar::from(1).into(), short.into()])),
        |b, short, _| drop(b.integer(IntegerOp::Div, FheType::Uint8, &[short.into(), short.into()])),
        |b, _, _| drop(b.integer(IntegerOp::Neg, FheType::Uint8, &[Scalar::from(1).into()])),
        |b, short, _| drop(b.integer(IntegerOp::Select, FheType::Uint8, &[short.into(), short.into(), short.into()])),
        |b, short, _| drop(b.integer(IntegerOp::BitAnd, FheType::Bool, &[short[..1].into(), short[..1].into()])),
        |b, short, _| drop(b.radix(IntegerOp::Shl, &[short[..3].into(), Scalar::from(1).into()])),
        |b, short, _| drop(b.cast(FheType::Uint16, FheType::Uint8, short)),
        |b, short, _| drop(b.unpack(FheType::Uint8, &short[..1])),
    ];
    for (at, circuit) in bad.into_iter().enumerate() {
        assert!(matches!(refused(circuit), ProgramError::BadOperands { .. }), "{at}: {:?}", refused(circuit));
    }
    let unsupported: [Circuit; 5] = [
        |b, short, _| drop(b.integer(IntegerOp::Add, FheType::Uint256, &[short.into(), short.into()])),
        |b, short, _| drop(b.integer(IntegerOp::Lt, FheType::Bool, &[short.into(), short.into()])),
        |b, short, _| drop(b.integer(IntegerOp::BitAnd, FheType::Address, &[short.into(), short.into()])),
        |b, short, _| drop(b.cast(FheType::Uint8, FheType::Bool, short)),
        |b, _, _| drop(b.random(FheType::Address, 8, Digest::ZERO)),
    ];
    for (at, circuit) in unsupported.into_iter().enumerate() {
        assert!(matches!(refused(circuit), ProgramError::UnsupportedType { .. }), "{at}: {:?}", refused(circuit));
    }
    let wide = refused(|b, _, _| drop(b.random(FheType::Uint8, 9, Digest::ZERO)));
    assert!(matches!(wide, ProgramError::Size { actual: 9, limit: 8, .. }));
    let zero: Circuit =
        |b, short, _| drop(b.integer(IntegerOp::Rem, FheType::Uint8, &[short.into(), Scalar::ZERO.into()]));
    let text = refused(zero).to_string();
    assert!(text.contains("operation 0 (integer rem) divides by zero"), "{text}");
}
