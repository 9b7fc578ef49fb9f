//! The exact backend on a real key set, and what must not change the bits of either backend.

use super::common::{
    self, CHILD_THREADS, child, child_with, decryptor, exact_backend, exact_keys, key_set, list, random_program,
};
use parallax_fhe::exact::{ExactKey, N, Path, rounded_key};
use parallax_fhe::keys::Role;
use parallax_fhe::{BackendKind, TfheBackend};
use parallax_primitives::Digest;
use parallax_runtime::{Decryptor, FheBackend, InputKind, IntegerOp, Program, ProgramBuilder, ReRandomization};
use std::sync::Arc;
use tfhe::core_crypto::prelude::{
    GlweCiphertext, LweBootstrapKeyOwned, LweCiphertext, ModulusSwitchedLweCiphertext, blind_rotate_karatsuba_assign,
    lwe_ciphertext_centered_binary_modulus_switch,
};
use tfhe::safe_serialization::DeserializationConfig;
use tfhe::shortint::atomic_pattern::compressed::CompressedAtomicPatternServerKey;
use tfhe::shortint::server_key::ShortintCompressedBootstrappingKey;

const SEED: ReRandomization = ReRandomization { seed: Digest([6; 32]) };

/// The key set's bootstrapping key in the standard domain, from the part that exact nodes load.
fn standard_key() -> LweBootstrapKeyOwned<u64> {
    let (manifest, dir) = key_set();
    let (_, bytes) = manifest.read_part(dir, Role::ExactEvaluation).unwrap();
    let config = DeserializationConfig::new(bytes.len() as u64).disable_conformance();
    let keys: tfhe::CompressedServerKey = config.deserialize_from(bytes.as_slice()).unwrap();
    let (pattern, ..) = keys.into_raw_parts().0.into_raw_parts().into_raw_parts();
    let CompressedAtomicPatternServerKey::Standard(standard) = pattern else { panic!("another pattern") };
    let (_, bootstrap, _) = standard.into_raw_parts();
    let ShortintCompressedBootstrappingKey::Classic { bsk, .. } = bootstrap else { panic!("another key") };
    bsk.decompress_into_lwe_bootstrap_key()
}

#[test]
fn real_fhe_the_exact_backend_computes_every_operation_whatever_plan_and_threads() {
    let case = random_program(0xe8ac7);
    let input = list(&case.digits);
    let backend = exact_backend();
    assert_eq!(backend.profile(), &BackendKind::CpuExact.profile());
    let before = exact_keys().exact().unwrap().rotations();
    let key = backend.key_ids()[0];
    let done = backend.evaluate(key, &case.program, &[input.as_slice()], &common::CHILD_SEED, &|| false).unwrap();
    for ((cipher, expected), what) in done.outputs.iter().zip(&case.expected).zip(&case.names) {
        let plain = decryptor().decrypt(cipher, expected.len() as u16).unwrap().to_vec();
        assert_eq!(plain, *expected, "{what} (seed 0xe8ac7)");
    }
    // Every bootstrap is one of ours: as many as the price, and, in a process of its own, none by tfhe's counter.
    let spent = exact_keys().exact().unwrap().rotations() - before;
    assert!(spent >= case.program.pbs(), "{spent} rotations, priced {}", case.program.pbs());
    assert_eq!(exact_keys().exact().unwrap().redone(), 0, "the guard has never fired on a sound machine");

    // Another FFT plan, many threads; there the known answers of the profile are checked as well.
    let scratch = tempfile::tempdir().unwrap();
    std::fs::write(scratch.path().join("input"), &input).unwrap();
    let report = child("exact", scratch.path());
    let mut lines = report.lines().filter_map(|l| l.strip_prefix("CHILD "));
    assert_eq!(lines.next().unwrap(), "known answers hold", "{report}");
    assert_eq!(lines.next().unwrap(), common::fingerprint(&done), "another process gives other bits:\n{report}");
    let counts = format!("rotations {} of tfhe 0", case.program.pbs());
    assert_eq!(lines.next().unwrap(), counts, "with {CHILD_THREADS} threads:\n{report}");
}

#[test]
fn real_fhe_the_exact_bootstrap_equals_tfhes_karatsuba_bootstrap_on_every_path() {
    let key = standard_key();
    let (size, modulus) = (key.polynomial_size(), key.ciphertext_modulus());
    assert_eq!(size.0, N);
    let mut random = common::Numbers(0x6a7a);
    let words = |random: &mut common::Numbers, n: usize| -> Vec<u64> { (0..n).map(|_| random.word()).collect() };
    let input = words(&mut random, key.input_lwe_dimension().0 + 1);
    let table = words(&mut random, 2 * N);
    let switched = lwe_ciphertext_centered_binary_modulus_switch::<u64, usize, _>(
        LweCiphertext::from_container(input, modulus),
        size.to_blind_rotation_input_modulus_log(),
    );
    let (mask, body): (Vec<usize>, usize) = (switched.mask().collect(), switched.body());

    let mut rounded = key.clone();
    rounded_key(rounded.as_mut());
    let mut expected = GlweCiphertext::from_container(table.clone(), size, modulus);
    blind_rotate_karatsuba_assign(&switched, &mut expected, &rounded);

    for path in Path::ALL {
        if !path.is_available() {
            println!("this processor has no {path}: that path is not tested here");
            continue;
        }
        let exact = ExactKey::new(key.as_ref(), path).unwrap();
        let mut actual: Box<[[u64; N]; 2]> = Box::new([[0; N]; 2]);
        actual.iter_mut().zip(table.chunks_exact(N)).for_each(|(to, from)| to.copy_from_slice(from));
        let seen = exact.blind_rotate(&mask, body, &mut actual);
        println!("{path}: farthest from an integer {:.6}, norm 2^{:.3}", seen.largest, exact.norm().log2());
        assert!(actual.concat() == expected.as_ref(), "{path} gives other bits than tfhe's Karatsuba bootstrap");
        assert!(seen.largest < 0.01 && seen.redone == 0, "{path}: {seen:?}");
    }
}

/// A program of few bootstraps with every kind of operation.
fn small_program() -> Program {
    let mut p = ProgramBuilder::new();
    let values = p.input(InputKind::Proven { blocks: 2 });
    values.iter().for_each(|v| p.assume(*v, 0, 3, "the test encrypts digits"));
    let table = p.map(values[0], |v| 15 - v);
    let two = p.two_tables(values[1], [[1; 8], [0, 1, 2, 3, 4, 5, 6, 7]]);
    let sum = p.radix(IntegerOp::Add, &[values[..1].into(), values[1..2].into()]);
    p.output(vec![table]);
    p.output(two.to_vec());
    p.output(sum);
    p.build().unwrap()
}

#[test]
fn real_fhe_processes_with_other_thread_counts_commit_to_one_root() {
    let scratch = tempfile::tempdir().unwrap();
    std::fs::write(scratch.path().join("input"), list(&[3, 2])).unwrap();
    let roots = |threads: &str| -> Vec<String> {
        let report = child_with("roots", scratch.path(), &[("PARALLAX_FHE_TEST_THREADS", threads)]);
        let roots: Vec<String> = report.lines().filter_map(|l| Some(l.strip_prefix("CHILD ")?.to_owned())).collect();
        assert_eq!(roots.len(), 2, "{report}");
        roots
    };
    let one = roots("1");
    assert!(one[0].starts_with("cpu-fft ") && one[1].starts_with("cpu-exact "), "{one:?}");
    assert_ne!(one[0][8..], one[1][10..], "the backends have bits of their own");
    assert_eq!(roots("2"), one);
    assert_eq!(roots("7"), one);
}

/// The part of the child processes above.
pub(crate) fn child_roots(backends: [TfheBackend; 2], input: &[u8]) {
    let program = small_program();
    for backend in backends {
        let done = backend.evaluate(backend.key_ids()[0], &program, &[input], &SEED, &|| false).unwrap();
        let root = parallax_runtime::trace::Trace { leaves: done.leaves }.root();
        println!("\nCHILD {} {root}", backend.profile().backend);
    }
}

#[test]
fn real_fhe_a_committee_of_both_backends_would_disagree_and_a_rotation_keeps_one() {
    // Ciphertexts are of the key set, not of the backend: what one wrote the other reads.
    let (fft, exact) = (common::backend(), exact_backend());
    let key = fft.key_ids()[0];
    assert_eq!(exact.key_ids(), [key]);
    let input = list(&[9]);
    let mut p = ProgramBuilder::new();
    let blocks = p.input(InputKind::Proven { blocks: 1 });
    p.output(blocks);
    let expand = p.build().unwrap();
    let mut p = ProgramBuilder::new();
    let x = p.input(InputKind::Stored { blocks: 1, max: 15 })[0];
    let y = p.map(x, |v| 15 - v);
    p.output(vec![y]);
    let table = p.build().unwrap();
    let run = |backend: &TfheBackend, program: &Program, input: &[u8]| {
        backend.evaluate(key, program, &[input], &SEED, &|| false).unwrap().outputs.remove(0)
    };
    let by_fft = run(fft, &expand, &input);
    assert_ne!(by_fft, run(exact, &expand, &input));
    assert_eq!(*decryptor().decrypt(&run(exact, &table, &by_fft), 1).unwrap(), [6]);
    let shared = TfheBackend::with_pool(Arc::clone(exact_keys()), Arc::clone(fft.pool())).unwrap();
    assert_eq!(run(&shared, &table, &by_fft), run(exact, &table, &by_fft), "a pool may serve both");
}
