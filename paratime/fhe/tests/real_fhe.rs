//! Tests on real ciphertexts. They share one key set from the cache (made by the first run, about 20 core-seconds) and
//! spend about 60 core-seconds of FHE in all.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types)]

mod common;
#[path = "real_fhe/exact.rs"]
mod exact;
#[path = "real_fhe/hostile.rs"]
mod hostile;

use common::prices::{self, Priced};
use common::{Numbers, backend, child, client, decryptor, key_set, list, metadata, random_program};
use parallax_fhe::encoding::{HEADER_BYTES, max_list_bytes, stored_bytes};
use parallax_fhe::keys::{Role, SECRET_FILE};
use parallax_fhe::{
    BackendKind, ClientKeys, EvaluationKeys, GenerateOptions, KeyError, ProfileMismatch, SecretKeys, TfheBackend, cache,
};
use parallax_primitives::{Digest, KeyId};
use parallax_runtime::{
    ClientCipher, Decryptor, FheBackend, FheError, InputError, InputKind, Program, ProgramBuilder, ReRandomization,
};
use std::sync::Arc;

const SEED: ReRandomization = ReRandomization { seed: Digest([5; 32]) };

/// A program that gives its one stored input back, and one table of its first block.
fn identity(blocks: u16) -> Program {
    let mut p = ProgramBuilder::new();
    let input = p.input(InputKind::Stored { blocks, max: 15 });
    let value = p.map(input[0], |x| 15 - x);
    p.output(input);
    p.output(vec![value]);
    p.build().unwrap()
}

/// Digits as a stored ciphertext: a proven list, expanded.
fn stored(digits: &[u8]) -> Vec<u8> {
    let blocks = digits.len() as u16;
    let mut p = ProgramBuilder::new();
    let input = p.input(InputKind::Proven { blocks });
    p.output(input);
    let list = list(digits);
    let backend = backend();
    let (key, program) = (backend.key_ids()[0], p.build().unwrap());
    backend.evaluate(key, &program, &[list.as_slice()], &SEED, &|| false).unwrap().outputs.remove(0)
}

#[test]
fn real_fhe_every_operation_equals_plaintext_and_its_bits_depend_on_nothing_else() {
    let case = random_program(0x5eed);
    let input = list(&case.digits);
    let key = key_set().0.key_id();
    let seed = common::CHILD_SEED;
    let run =
        |backend: &TfheBackend| backend.evaluate(key, &case.program, &[input.as_slice()], &seed, &|| false).unwrap();

    let three = run(backend());
    for ((cipher, expected), what) in three.outputs.iter().zip(&case.expected).zip(&case.names) {
        let plain = decryptor().decrypt(cipher, expected.len() as u16).unwrap();
        assert_eq!(*plain, *expected, "{what} (seed 0x5eed)");
    }
    // The input, the operations, and what leaves the program.
    assert_eq!(three.leaves.len(), 1 + case.program.ops().len() + case.program.outputs().len());

    let (manifest, dir) = key_set();
    let keys = Arc::new(EvaluationKeys::load(dir, manifest, BackendKind::CpuFft).unwrap());
    let one = run(&TfheBackend::new(keys, 1).unwrap());
    assert!(one == three, "one worker and three give different bits");

    // Another process, with more workers than tfhe's threshold for its other addition.
    let scratch = tempfile::tempdir().unwrap();
    std::fs::write(scratch.path().join("input"), &input).unwrap();
    let report = child("evaluate", scratch.path());
    let mut lines = report.lines().filter_map(|l| l.strip_prefix("CHILD "));
    assert_eq!(lines.next().unwrap(), common::fingerprint(&three), "another process gives different bits:\n{report}");
    // Nothing else runs there, so the library's counter is this evaluation's.
    assert_eq!(lines.next().unwrap(), format!("pbs {}", case.program.pbs()), "{report}");
    assert_eq!(three.pbs, case.program.pbs());
}

/// Programs with the counter's figures. A difference names the operation: then the counter is right.
fn counted(task: &str, programs: Vec<Priced>) -> Vec<(Priced, u64)> {
    let scratch = tempfile::tempdir().unwrap();
    let counts = prices::counted(task, scratch.path());
    assert_eq!(counts.len(), 1 + programs.len());
    std::iter::once(prices::expansion()).chain(programs).zip(counts).collect()
}

fn assert_exact(counted: &[(Priced, u64)]) {
    for (priced, count) in counted {
        let (name, program) = (&priced.name, &priced.program);
        assert_eq!(program.pbs(), *count, "{name}: priced {} bootstraps, tfhe counts {count}", program.pbs());
        assert_eq!(program.gas(), priced.gas(*count), "{name}");
        println!("{name}: {count}");
    }
}

#[test]
fn real_fhe_every_operation_is_priced_at_what_tfhe_counts() {
    assert_exact(&counted("prices", prices::small()));
}

#[test]
#[ignore = "55 core-seconds: run it when tfhe or a price of an integer changes"]
fn real_fhe_larger_integers_are_priced_at_what_tfhe_counts_or_a_bound() {
    let mut counted = counted("prices-large", prices::large());
    let bounds = counted.split_off(counted.len() - prices::BOUNDS);
    assert_exact(&counted);
    for (priced, count) in bounds {
        let price = priced.program.pbs();
        // A bound, and one that a user can live with.
        assert!((count..=count + count / 4).contains(&price), "{}: priced {price}, tfhe counts {count}", priced.name);
        println!("{}: priced {price}, tfhe counts {count}", priced.name);
    }
}

#[test]
fn real_fhe_the_known_answers_hold_and_a_wrong_one_is_named() {
    backend().check_profile().unwrap();
    let (manifest, dir) = key_set();
    let mut other = manifest.clone();
    let answers = &mut other.profiles[0].known_answers;
    let at = answers.iter().position(|a| a.operation == "table.two").unwrap();
    answers[at].digest = Digest([0; 32]);
    let keys = Arc::new(EvaluationKeys::load(dir, &other, BackendKind::CpuFft).unwrap());
    let refused = TfheBackend::with_pool(keys, Arc::clone(backend().pool())).unwrap().check_profile();
    let Err(ProfileMismatch::Operation { operation, reasons, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(operation, "table.two");
    assert!(reasons.contains("AVX2") && reasons.contains("libm"), "{reasons}");
}

#[test]
fn real_fhe_a_process_with_another_plan_is_refused_with_the_operation() {
    let scratch = tempfile::tempdir().unwrap();
    let report = child("other-plan", scratch.path());
    let line = report.lines().find_map(|l| l.strip_prefix("CHILD ")).unwrap();
    assert!(line.contains("operation `expand`"), "{line}");
    assert!(line.contains("another FFT plan (here dif4/1024, in the key set dif16/1024)"), "{line}");
    assert!(line.contains("may not join"), "{line}");
}

#[test]
fn real_fhe_hostile_lists_are_refused() {
    let backend = backend();
    let key = backend.key_ids()[0];
    let digits = [9, 0, 15];
    let good = list(&digits);
    let check = |bytes: &[u8]| backend.verify_input(key, bytes, 3, &metadata());
    assert_eq!(check(&good), Ok(()));
    assert_eq!(client().verify(&good, 3, &metadata()), Ok(()));

    // Copied by another sender: the metadata names that one.
    let copied = backend.verify_input(key, &good, 3, &Digest([0x77; 32]));
    assert_eq!(copied, Err(InputError::BadProof));
    // And again, now that verdicts are kept.
    assert_eq!(backend.verify_input(key, &good, 3, &Digest([0x77; 32])), Err(InputError::BadProof));
    assert_eq!(check(&good), Ok(()));

    // Sizes.
    let mut long = good.clone();
    long.push(0);
    assert!(matches!(check(&long), Err(InputError::NotConformant(_))));
    long.resize(max_list_bytes(3) + 1, 0);
    assert!(matches!(check(&long), Err(InputError::TooLarge { .. })));
    for length in [0, 3, HEADER_BYTES - 1, HEADER_BYTES, 9_000, good.len() - 1] {
        assert!(matches!(check(&good[..length]), Err(InputError::NotConformant(_))), "{length} bytes");
    }
    assert!(matches!(backend.verify_input(key, &good, 4, &metadata()), Err(InputError::NotConformant(_))));

    // One bit anywhere: header, mask, body, and every tenth of the proof.
    let proof = HEADER_BYTES + (2048 + 3) * 8;
    let mut places = vec![0, 36, HEADER_BYTES + 100, proof - 1];
    places.extend((0..10).map(|i| proof + i * (good.len() - proof) / 10));
    places.push(good.len() - 1);
    for at in places {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        assert!(check(&bad).is_err(), "a flipped bit at {at} was accepted");
    }

    // Keys: an unknown one is refused before anything is decoded.
    let other = KeyId([1; 32]);
    assert_eq!(
        backend.verify_input(other, &good, 3, &metadata()),
        Err(InputError::UnknownKey { given: other, accepted: key })
    );
    let mut renamed = good[..HEADER_BYTES].to_vec();
    renamed[4..36].copy_from_slice(&other.0);
    assert_eq!(check(&renamed), Err(InputError::UnknownKey { given: other, accepted: key }));
    let foreign = common::list_under_another_key(&digits);
    assert_eq!(foreign.len(), good.len());
    assert_eq!(check(&foreign), Err(InputError::BadProof));
}

#[test]
fn real_fhe_what_a_client_may_not_encrypt_is_refused_without_naming_it() {
    let cipher = parallax_fhe::TfheClientCipher::new(client());
    for digits in [vec![], vec![16], vec![0; 65]] {
        let refused = cipher.encrypt(&digits, &metadata()).unwrap_err();
        assert!(matches!(refused, FheError::Refused(InputError::NotConformant(_))));
        assert!(!refused.to_string().contains("16,"), "{refused}");
    }
}

#[test]
fn real_fhe_mutated_stored_ciphertexts_never_panic() {
    let backend = backend();
    let key = backend.key_ids()[0];
    let good = stored(&[7]);
    let program = identity(1);
    let run = |bytes: &[u8]| backend.evaluate(key, &program, &[bytes], &SEED, &|| false);
    let outcome = run(&good).unwrap();
    assert_eq!(*decryptor().decrypt(&outcome.outputs[1], 1).unwrap(), [8]);

    let mut random = Numbers(0xbad);
    for _ in 0..4 {
        let mut bad = good.clone();
        let at = HEADER_BYTES + random.below((good.len() - HEADER_BYTES) as u64) as usize;
        bad[at] = bad[at].wrapping_add(1 + random.below(255) as u8);
        let outcome = run(&bad).unwrap();
        // Garbage, perhaps with the padding bit set; an answer or a refusal, never a panic.
        let _ = decryptor().decrypt(&outcome.outputs[1], 1);
    }
    for length in [0, 10, HEADER_BYTES, stored_bytes(1) - 1] {
        assert!(matches!(run(&good[..length]), Err(FheError::BadInput { index: 0, .. })), "{length} bytes");
        assert!(decryptor().decrypt(&good[..length], 1).is_err());
    }
    let mut long = good.clone();
    long.push(0);
    assert!(matches!(run(&long), Err(FheError::BadInput { .. })));
    assert!(decryptor().decrypt(&long, 1).is_err());
    let mut foreign = good.clone();
    foreign[5] ^= 1;
    assert!(matches!(run(&foreign), Err(FheError::Refused(InputError::UnknownKey { .. }))));
    assert!(matches!(decryptor().decrypt(&foreign, 1), Err(FheError::Refused(InputError::UnknownKey { .. }))));
    assert!(matches!(backend.evaluate(key, &program, &[], &SEED, &|| false), Err(FheError::BadInput { .. })));
}

#[test]
fn real_fhe_the_seed_changes_every_bit_but_neither_value_nor_input_digests() {
    let backend = backend();
    let key = backend.key_ids()[0];
    let input = stored(&[3, 12]);
    let program = identity(2);
    let run = |seed: u8| {
        let seed = ReRandomization { seed: Digest([seed; 32]) };
        backend.evaluate(key, &program, &[input.as_slice()], &seed, &|| false).unwrap()
    };
    let (a, b) = (run(1), run(2));
    assert!(a == run(1));
    for (x, y) in a.outputs.iter().zip(&b.outputs) {
        assert_ne!(x, y);
        let blocks = if x.len() == stored_bytes(2) { 2 } else { 1 };
        assert_eq!(decryptor().decrypt(x, blocks).unwrap(), decryptor().decrypt(y, blocks).unwrap());
    }
    assert_ne!(a.outputs[0], input, "the input came back without re-randomisation");
    assert_eq!(a.leaves[0], b.leaves[0]);
    assert_eq!(a.leaves[1].inputs, b.leaves[1].inputs);
    assert_ne!(a.leaves[1].output, b.leaves[1].output);
    assert_eq!(*decryptor().decrypt(&a.outputs[0], 2).unwrap(), [3, 12]);
}

#[test]
fn real_fhe_a_cancelled_evaluation_stops() {
    let backend = backend();
    let mut p = ProgramBuilder::new();
    let x = p.input(InputKind::Stored { blocks: 1, max: 15 })[0];
    // Each on the result of the one before: the same operation on the same value is in a program once.
    let last = (0..1_000).fold(x, |x, _| p.map(x, |v| 15 - v));
    p.output(vec![last]);
    let (program, input) = (p.build().unwrap(), stored(&[1]));
    let polls = std::cell::Cell::new(0);
    let cancelled = || {
        polls.set(polls.get() + 1);
        polls.get() > 5
    };
    let key = backend.key_ids()[0];
    let outcome = backend.evaluate(key, &program, &[input.as_slice()], &SEED, &cancelled);
    assert_eq!(outcome, Err(FheError::Cancelled));
}

#[test]
fn real_fhe_key_sets_are_found_again_and_damage_is_named() {
    let (manifest, dir) = key_set();
    let root = dir.parent().unwrap();
    let again = || cache::key_set(root, GenerateOptions::default(), &|_| {}).unwrap();
    let (a, b) = std::thread::scope(|s| {
        let (a, b) = (s.spawn(again), s.spawn(again));
        (a.join().unwrap(), b.join().unwrap())
    });
    assert_eq!((a.0.key_id(), &a.1), (manifest.key_id(), dir));
    assert_eq!((b.0.key_id(), &b.1), (manifest.key_id(), dir));

    let copy = tempfile::tempdir().unwrap();
    for name in [Role::CompactPublicKey.file_name(), Role::Crs.file_name(), SECRET_FILE] {
        std::fs::copy(dir.join(name), copy.path().join(name)).unwrap();
    }
    assert_eq!(ClientKeys::load(copy.path(), manifest).unwrap().key_id(), manifest.key_id());
    let path = copy.path().join(Role::CompactPublicKey.file_name());
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[1000] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let error = ClientKeys::load(copy.path(), manifest).err().unwrap().to_string();
    assert!(error.contains("public-key.bin is corrupt") && error.contains("delete"), "{error}");
    // A client's directory has no evaluation key, and says so.
    let error = EvaluationKeys::load(copy.path(), manifest, BackendKind::CpuFft).err().unwrap().to_string();
    assert!(error.contains("public-key.bin") || error.contains("evaluation-key.bin"), "{error}");
}

#[cfg(unix)]
#[test]
fn real_fhe_a_secret_key_that_others_can_read_or_of_another_set_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let (manifest, dir) = key_set();
    let mode = std::fs::metadata(dir.join(SECRET_FILE)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let copy = tempfile::tempdir().unwrap();
    let path = copy.path().join(SECRET_FILE);
    std::fs::copy(dir.join(SECRET_FILE), &path).unwrap();
    let secret = SecretKeys::load(copy.path(), manifest).unwrap();
    assert_eq!(format!("{secret:?}"), format!("SecretKeys {{ key_id: {}, .. }}", manifest.key_id()));
    let mut other = manifest.clone();
    other.max_list_blocks = 1;
    assert!(matches!(SecretKeys::load(copy.path(), &other), Err(KeyError::OtherKeySet { .. })));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = SecretKeys::load(copy.path(), manifest).unwrap_err();
    assert!(error.to_string().contains("chmod 600"), "{error}");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[60] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert!(matches!(SecretKeys::load(copy.path(), manifest), Err(KeyError::Malformed { .. })));
}

/// Not a test of its own: the body of the child processes that tests above start, by this name.
#[test]
#[ignore = "started by other tests in a process of its own"]
fn child_process() {
    common::child_main();
}
