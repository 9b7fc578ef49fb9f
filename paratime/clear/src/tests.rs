use crate::{ClearBackend, ClearCipher, ClearDecryptor};
use parallax_primitives::{Digest, KeyId};
use parallax_runtime::{
    ClientCipher, Decryptor, Evaluation, FheBackend, FheError, InputError, InputKind, IntegerOp, Program,
    ProgramBuilder, ReRandomization, ValueId,
};
use proptest::prelude::*;

const KEY: KeyId = KeyId([7; 32]);
const METADATA: Digest = Digest([1; 32]);

fn seed(byte: u8) -> ReRandomization {
    ReRandomization { seed: Digest([byte; 32]) }
}

fn run(backend: &ClearBackend, program: &Program, digits: &[u8]) -> Evaluation {
    let list = ClearCipher::new(KEY, 0).encrypt(digits, &METADATA).expect("digits are in range");
    backend.evaluate(KEY, program, &[&list], &seed(1), &|| false).expect("the program runs")
}

fn opened(evaluation: &Evaluation, output: usize, blocks: u16) -> Vec<u8> {
    ClearDecryptor::new(KEY).decrypt(&evaluation.outputs[output], blocks).expect("it conforms").to_vec()
}

/// `[x >= y]` with amplitude 5, `x` squared modulo 16, and two tables on the lower half of `x`.
fn sample() -> Program {
    let mut b = ProgramBuilder::new();
    let v = b.input(InputKind::Proven { blocks: 2 });
    let difference = b.linear(&[(v[0], 1), (v[1], -1)], 0);
    let sign = b.non_negative(difference, 5);
    let square = b.map(v[0], |x| (x * x) % 16);
    let low = b.map(v[0], |x| x % 8);
    let two = b.two_tables(low, [std::array::from_fn(|x| x as u8), std::array::from_fn(|x| 7 - x as u8)]);
    b.output(vec![sign, square]);
    b.output(two.to_vec());
    b.build().expect("it is a valid program")
}

#[test]
fn tables_compute_what_they_say_for_every_argument() {
    let (backend, program) = (ClearBackend::new(vec![KEY]), sample());
    for x in 0..16u8 {
        for y in 0..16u8 {
            let done = run(&backend, &program, &[x, y]);
            assert_eq!(opened(&done, 0, 2), [if x >= y { 5 } else { 0 }, (x * x) % 16]);
            assert_eq!(opened(&done, 1, 2), [x % 8, 7 - x % 8]);
            assert_eq!(done.pbs, program.pbs());
            assert_eq!(done.leaves.len(), program.inputs().len() + program.ops().len() + program.outputs().len());
        }
    }
}

#[test]
fn bits_depend_on_seed_and_input_and_on_nothing_else() {
    let program = sample();
    let list = ClearCipher::new(KEY, 0).encrypt(&[3, 4], &METADATA).expect("digits are in range");
    let other = ClearCipher::new(KEY, 1).encrypt(&[3, 4], &METADATA).expect("digits are in range");
    let go = |list: &[u8], s| ClearBackend::new(vec![KEY]).evaluate(KEY, &program, &[list], &seed(s), &|| false);
    assert_eq!(go(&list, 1), go(&list, 1));
    assert_ne!(go(&list, 1).expect("runs").outputs, go(&list, 2).expect("runs").outputs, "the seed enters");
    assert_ne!(go(&list, 1).expect("runs").outputs, go(&other, 1).expect("runs").outputs, "the ciphertext enters");
}

#[test]
fn a_flipped_bit_shows_first_at_its_operation_and_leaves_the_number_alone() {
    let program = sample();
    let honest = run(&ClearBackend::new(vec![KEY]), &program, &[9, 4]);
    let liar = run(&ClearBackend::new(vec![KEY]).with_flip(1), &program, &[9, 4]);
    let first = honest.leaves.iter().zip(&liar.leaves).position(|(a, b)| a != b);
    assert_eq!(first, Some(program.inputs().len() + 1));
    assert_ne!(honest.outputs[0], liar.outputs[0]);
    assert_eq!(opened(&honest, 0, 2), opened(&liar, 0, 2));
}

#[test]
fn a_list_counts_for_its_own_key_metadata_and_length_only() {
    let backend = ClearBackend::new(vec![KEY]);
    let list = ClearCipher::new(KEY, 0).encrypt(&[1, 2, 3], &METADATA).expect("digits are in range");
    assert_eq!(backend.verify_input(KEY, &list, 3, &METADATA), Ok(()));
    assert_eq!(backend.verify_input(KEY, &list, 3, &Digest([2; 32])), Err(InputError::BadProof));
    assert!(matches!(backend.verify_input(KEY, &list, 2, &METADATA), Err(InputError::NotConformant(_))));
    assert!(matches!(backend.verify_input(KEY, &list[1..], 3, &METADATA), Err(InputError::NotConformant(_))));
    let other = KeyId([8; 32]);
    assert!(matches!(backend.verify_input(other, &list, 3, &METADATA), Err(InputError::UnknownKey { .. })));
    let foreign = ClearCipher::new(other, 0).encrypt(&[1, 2, 3], &METADATA).expect("digits are in range");
    assert!(matches!(backend.verify_input(KEY, &foreign, 3, &METADATA), Err(InputError::UnknownKey { .. })));
    let huge = vec![0; 1 << 20];
    assert!(matches!(backend.verify_input(KEY, &huge, 3, &METADATA), Err(InputError::TooLarge { .. })));
    let mut altered = list;
    altered[44] ^= 1;
    assert!(backend.verify_input(KEY, &altered, 3, &METADATA).is_err());
}

#[test]
fn a_false_assumption_is_found_out() {
    let mut b = ProgramBuilder::new();
    let v = b.input(InputKind::Proven { blocks: 2 });
    let sum = b.linear(&[(v[0], 1), (v[1], 1)], 0);
    b.assume(sum, 0, 15, "at most one of the two is not zero");
    let out = b.map(sum, |x| x);
    b.output(vec![out]);
    let program = b.build().expect("the assumption makes it valid");
    let backend = ClearBackend::new(vec![KEY]);
    assert_eq!(opened(&run(&backend, &program, &[0, 9]), 0, 1), [9]);
    let list = ClearCipher::new(KEY, 0).encrypt(&[9, 9], &METADATA).expect("digits are in range");
    let refused = backend.evaluate(KEY, &program, &[&list], &seed(1), &|| false);
    assert!(matches!(refused, Err(FheError::Library(_))));
}

#[test]
fn cancellation_ends_an_evaluation() {
    let list = ClearCipher::new(KEY, 0).encrypt(&[1, 1], &METADATA).expect("digits are in range");
    let done = ClearBackend::new(vec![KEY]).evaluate(KEY, &sample(), &[&list], &seed(1), &|| true);
    assert_eq!(done, Err(FheError::Cancelled));
}

fn digits(x: u8) -> [u8; 4] {
    [x & 3, (x >> 2) & 3, (x >> 4) & 3, x >> 6]
}

fn number(blocks: &[u8]) -> u8 {
    blocks.iter().rev().fold(0, |n, d| n * 4 + d)
}

proptest! {
    #[test]
    fn integer_operations_agree_with_the_processor(x: u8, y: u8, c in 0u8..2) {
        type Case = (IntegerOp, u8);
        let cases: [Case; 14] = [
            (IntegerOp::Add, x.wrapping_add(y)), (IntegerOp::Sub, x.wrapping_sub(y)),
            (IntegerOp::Mul, x.wrapping_mul(y)), (IntegerOp::BitAnd, x & y), (IntegerOp::BitOr, x | y),
            (IntegerOp::BitXor, x ^ y), (IntegerOp::Eq, u8::from(x == y)), (IntegerOp::Ne, u8::from(x != y)),
            (IntegerOp::Lt, u8::from(x < y)), (IntegerOp::Le, u8::from(x <= y)), (IntegerOp::Gt, u8::from(x > y)),
            (IntegerOp::Ge, u8::from(x >= y)), (IntegerOp::Min, x.min(y)), (IntegerOp::Max, x.max(y)),
        ];
        let mut b = ProgramBuilder::new();
        let v = b.input(InputKind::Proven { blocks: 9 });
        // Client digits are four bits: cut them to what an integer's block may hold.
        let cut: Vec<ValueId> = v.iter().map(|v| b.map(*v, |d| d & 3)).collect();
        let condition = b.map(v[8], |d| d & 1);
        let (a, bb) = (cut[..4].to_vec(), cut[4..8].to_vec());
        for (op, _) in cases {
            let out = b.radix(op, &[a.clone().into(), bb.clone().into()]);
            b.output(out);
        }
        let out = b.radix(IntegerOp::Select, &[vec![condition].into(), a.into(), bb.into()]);
        b.output(out);
        let program = b.build().expect("it is a valid program");
        let input = [digits(x).as_slice(), &digits(y), &[c]].concat();
        let done = run(&ClearBackend::new(vec![KEY]), &program, &input);
        for (i, (op, expected)) in cases.iter().enumerate() {
            let blocks = if op.is_comparison() { 1 } else { 4 };
            prop_assert_eq!(number(&opened(&done, i, blocks)), *expected, "{:?}", op);
        }
        prop_assert_eq!(number(&opened(&done, 14, 4)), if c == 1 { x } else { y });
    }
}
