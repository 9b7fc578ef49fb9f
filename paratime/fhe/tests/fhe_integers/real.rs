//! Every operation on real ciphertexts.

use super::Numbers;
use parallax_clear::compute;
use parallax_fhe::{
    BackendKind, ClientKeys, EvaluationKeys, FftPlan, GenerateOptions, Manifest, SecretKeys, TfheBackend,
    TfheClientCipher, TfheDecryptor, cache, init,
};
use parallax_primitives::Digest;
use parallax_runtime::{
    ClientCipher, Decryptor, Evaluation, FheBackend, FheType, InputKind, IntegerOp, Operand, Program, ProgramBuilder,
    ReRandomization, ValueId,
};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

const METADATA: Digest = Digest([0x42; 32]);
/// Most numbers in one list.
const LIST: usize = 64;

fn key_set() -> &'static (Manifest, PathBuf) {
    static KEYS: OnceLock<(Manifest, PathBuf)> = OnceLock::new();
    KEYS.get_or_init(|| {
        init(FftPlan::Dif16).unwrap();
        let root = cache::default_root().expect("PARALLAX_KEYS or HOME");
        cache::key_set(&root, GenerateOptions::default(), &|p| eprintln!("keys: {}", p.stage)).unwrap()
    })
}

fn backend(kind: BackendKind) -> TfheBackend {
    let (manifest, dir) = key_set();
    TfheBackend::new(Arc::new(EvaluationKeys::load(dir, manifest, kind).unwrap()), 2).unwrap()
}

fn evaluate(backend: &TfheBackend, program: &Program, inputs: &[Vec<u8>], seed: u8) -> Evaluation {
    let (manifest, dir) = key_set();
    let client = TfheClientCipher::new(Arc::new(ClientKeys::load(dir, manifest).unwrap()));
    let lists: Vec<Vec<u8>> = inputs.iter().map(|digits| client.encrypt(digits, &METADATA).unwrap()).collect();
    let lists: Vec<&[u8]> = lists.iter().map(Vec::as_slice).collect();
    let seed = ReRandomization { seed: Digest([seed; 32]) };
    backend.evaluate(manifest.key_id(), program, &lists, &seed, &|| false).unwrap()
}

fn opened(program: &Program, evaluation: &Evaluation) -> Vec<Vec<u8>> {
    let (manifest, dir) = key_set();
    let decryptor = TfheDecryptor::new(SecretKeys::load(dir, manifest).unwrap());
    let outputs = program.outputs().iter().zip(&evaluation.outputs);
    outputs.map(|(blocks, cipher)| decryptor.decrypt(cipher, blocks.len() as u16).unwrap().to_vec()).collect()
}

/// Two values of a type and a bit, as lists of digits, and a program with every operation on them: its results' names.
struct Everything {
    program: Program,
    inputs: Vec<Vec<u8>>,
    names: Vec<String>,
}

fn everything(ty: FheType, seed: u64) -> Everything {
    let mut random = Numbers(seed);
    let mut numbers =
        [random.scalar(ty.bits()), random.scalar(ty.bits())].map(|n| n.digits(ty.blocks().into())).concat();
    numbers.push((random.word() & 1) as u8);
    let mut p = ProgramBuilder::new();
    let mut values: Vec<ValueId> = Vec::new();
    let inputs: Vec<Vec<u8>> = numbers.chunks(LIST).map(<[u8]>::to_vec).collect();
    for digits in &inputs {
        values.extend(p.input(InputKind::Proven { blocks: digits.len() as u16 }));
    }
    let n = usize::from(ty.blocks());
    for (at, value) in values.iter().enumerate() {
        let max = if at == 2 * n { 1 } else { ty.digit_max() };
        p.assume(*value, 0, max.into(), "the test encrypts nothing larger");
    }
    let (a, b, condition) = (&values[..n], &values[n..2 * n], &values[2 * n..]);
    let mut names = Vec::new();
    let mut output = |p: &mut ProgramBuilder, name: String, blocks: Vec<ValueId>| {
        p.output(blocks);
        names.push(name);
    };
    for op in IntegerOp::ALL.into_iter().filter(|op| op.accepts(ty)) {
        if op.accepts_value() {
            let second: Option<Operand> = (op.arity() > 1).then(|| b.into());
            let first: Option<Operand> = (op == IntegerOp::Select).then(|| condition.into());
            let operands: Vec<Operand> = first.into_iter().chain([a.into()]).chain(second).collect();
            let blocks = p.integer(op, ty, &operands);
            output(&mut p, op.name().to_owned(), blocks);
        }
        if op.accepts_scalar() {
            // Neither a shift by whole digits nor a divisor that is a power of two.
            let number = random.scalar(ty.bits()).0[0] | 0b101;
            let scalar = parallax_runtime::Scalar::from(u128::from(if op.is_shift() { number & 7 } else { number }));
            let blocks = p.integer(op, ty, &[a.into(), scalar.into()]);
            output(&mut p, format!("{} with {scalar}", op.name()), blocks);
        }
    }
    if ty != FheType::Address {
        let blocks = p.not(ty, a);
        output(&mut p, "not".to_owned(), blocks);
    }
    Everything { program: p.build().unwrap(), inputs, names }
}

fn every_operation_equals_plaintext(types: &[FheType]) {
    let backend = backend(BackendKind::CpuFft);
    for (ty, seed) in types.iter().zip(0x5eed..) {
        let case = everything(*ty, seed);
        println!("{ty}: {} operations, {} bootstraps", case.names.len(), case.program.pbs());
        let outputs = opened(&case.program, &evaluate(&backend, &case.program, &case.inputs, 1));
        let expected = compute(&case.program, &case.inputs).unwrap();
        for ((name, output), expected) in case.names.iter().zip(outputs).zip(expected) {
            assert_eq!(output, expected, "{name} on {ty} (seed {seed:#x}, inputs {:?})", case.inputs);
        }
    }
}

#[test]
fn real_fhe_every_operation_on_booleans_and_up_to_16_bits_equals_plaintext() {
    every_operation_equals_plaintext(&[FheType::Bool, FheType::Uint8, FheType::Uint16]);
}

#[test]
#[ignore = "32 and 64 bits: about 6 core-minutes"]
fn real_fhe_every_operation_on_32_and_64_bits_equals_plaintext() {
    every_operation_equals_plaintext(&[FheType::Uint32, FheType::Uint64]);
}

#[test]
#[ignore = "addresses, 128 and 256 bits: about 20 core-minutes"]
fn real_fhe_every_operation_on_addresses_and_128_and_256_bits_equals_plaintext() {
    every_operation_equals_plaintext(&[FheType::Address, FheType::Uint128, FheType::Uint256]);
}

#[test]
fn real_fhe_random_numbers_are_one_function_of_the_seed_on_both_backends_and_cover_their_range() {
    let draw = |backend: &TfheBackend, seed: u8, evaluation: u8| {
        let mut p = ProgramBuilder::new();
        let wide = p.random(FheType::Uint64, 64, Digest([seed; 32]));
        let odd = p.random(FheType::Uint8, 3, Digest([seed; 32]));
        p.output(wide);
        p.output(odd);
        let program = p.build().unwrap();
        let done = evaluate(backend, &program, &[], evaluation);
        (opened(&program, &done), done.outputs)
    };
    let (fft, exact) = (backend(BackendKind::CpuFft), backend(BackendKind::CpuExact));
    let (first, bits) = draw(&fft, 1, 1);
    assert_eq!(draw(&fft, 1, 1), (first.clone(), bits.clone()), "a second evaluation gives other bits");
    let (again, other_bits) = draw(&fft, 1, 2);
    assert!(again == first && other_bits[0] != bits[0], "the evaluation's seed changes the ciphertext, not the number");
    assert_eq!(draw(&exact, 1, 1).0, first, "the exact backend draws another number");
    let second = draw(&fft, 2, 1).0;
    assert_ne!(second, first);
    let digits = [&first[0][..], &second[0]].concat();
    for digit in 0..4 {
        let count = digits.iter().filter(|d| **d == digit).count();
        assert!((4..=32).contains(&count), "{digit} stands {count} times among {digits:?}");
    }
    assert!(first[1][1] <= 1 && first[1][2..] == [0, 0], "{:?} is not below 8", first[1]);
}
