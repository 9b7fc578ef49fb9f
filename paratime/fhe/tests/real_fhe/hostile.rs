//! Structure-aware mutation of lists and stored ciphertexts against the real verifier and decoders.
//!
//! A mutant is made from good lists by something that a forger would try: header fields, lengths, words, the proof's
//! header, its lengths and group elements, truncation, splices of two lists. None may make the library panic, allocate
//! much, or be accepted; all go through the functions that nodes call.

use super::common::{Numbers, child_with, decryptor, key_set, list, metadata};
use parallax_fhe::TfheBackend;
use parallax_fhe::encoding::{HEADER_BYTES, MAX_PROOF_BYTES};
use parallax_primitives::Digest;
use parallax_runtime::{
    Decryptor, FheBackend, FheError, InputError, InputKind, Program, ProgramBuilder, ReRandomization,
};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Blocks of the lists that are mutated.
const BLOCKS: u16 = 3;
/// Bytes before the proof.
const PROOF: usize = HEADER_BYTES + (2048 + BLOCKS as usize) * 8;
/// Compressed points of BLS12-446 in the proof.
const POINTS: [usize; 2] = [56, 112];
/// Growth of the process's memory that the mutants may cause, in KiB.
const MAX_GROWTH: u64 = 96 * 1024;
const SEED: ReRandomization = ReRandomization { seed: Digest([7; 32]) };

/// Mutants of lists in the default suite and by command, with as many of stored ciphertexts.
const FEW: &str = "300";
const MANY: &str = "10000";

fn report(count: &str) {
    let scratch = tempfile::tempdir().unwrap();
    std::fs::write(scratch.path().join("a"), list(&[9, 0, 15])).unwrap();
    std::fs::write(scratch.path().join("b"), list(&[1, 2, 3])).unwrap();
    std::fs::write(scratch.path().join("short"), super::common::list(&[5, 6])).unwrap();
    let report = child_with("hostile", scratch.path(), &[("PARALLAX_FHE_TEST_MUTANTS", count)]);
    let lines: Vec<&str> = report.lines().filter_map(|l| l.strip_prefix("CHILD ")).collect();
    lines.iter().for_each(|l| println!("{l}"));
    assert_eq!(lines.last(), Some(&"all were refused or harmless"), "{report}");
    assert!(lines.iter().any(|l| l.starts_with("bad proof")), "some reach the verifier itself: {report}");
    assert!(lines.iter().any(|l| l.starts_with("its proof cannot be decoded")), "{report}");
    key_set();
}

#[test]
fn real_fhe_mutated_lists_and_ciphertexts_are_refused_without_a_panic() {
    report(FEW);
}

#[test]
#[ignore = "10,000 mutants, two core-minutes: run it when tfhe or a decoder changes"]
fn real_fhe_ten_thousand_mutants_are_refused_without_a_panic() {
    report(MANY);
}

/// How a list was changed. One in twenty leaves the encoding intact, so that the proof itself is verified: those take
/// 0.12 core-seconds each, the others hundreds of times less.
fn mutate(random: &mut Numbers, a: &[u8], b: &[u8], short: &[u8]) -> (&'static str, Vec<u8>) {
    let mut bytes = a.to_vec();
    let at = |random: &mut Numbers, from: usize, to: usize| from + random.below((to - from) as u64) as usize;
    let end = bytes.len();
    let name = match random.below(40) {
        0..=2 => {
            let i = at(random, 0, 4);
            bytes[i] = random.word() as u8;
            "magic or version"
        }
        3..=4 => {
            let i = at(random, 4, 36);
            bytes[i] ^= 1 << random.below(8);
            "key id"
        }
        5..=7 => {
            let count = [0, 1, 2, 4, 64, 65, u16::MAX, random.word() as u16][random.below(8) as usize];
            bytes[36..38].copy_from_slice(&count.to_le_bytes());
            "number of blocks"
        }
        8..=11 => {
            bytes.truncate(at(random, 0, end));
            "truncated"
        }
        12 => {
            bytes.truncate(at(random, PROOF, end));
            "truncated in the proof"
        }
        13..=14 => {
            let more = 1 + random.below(2 * MAX_PROOF_BYTES as u64);
            bytes.extend((0..more).map(|_| random.word() as u8));
            "extended"
        }
        15 => {
            let i = at(random, HEADER_BYTES, PROOF - 8);
            let word = [0, u64::MAX, 1 << 63, random.word()][random.below(4) as usize];
            bytes[i..i + 8].copy_from_slice(&word.to_le_bytes());
            "a word"
        }
        16 => {
            // Halves of two lists, the proof of either.
            let i = HEADER_BYTES + 8 * random.below(2048 + u64::from(BLOCKS)) as usize;
            bytes[HEADER_BYTES..i].copy_from_slice(&b[HEADER_BYTES..i]);
            if random.below(2) == 0 && i < PROOF {
                bytes[PROOF..].copy_from_slice(&b[PROOF..]);
            }
            "splice of two lists"
        }
        17 => {
            let (i, j) = (HEADER_BYTES + 8 * at(random, 2048, 2051), HEADER_BYTES + 8 * at(random, 2048, 2051));
            (0..8).for_each(|k| bytes.swap(i + k, j + k));
            "two bodies exchanged"
        }
        18 => {
            bytes.truncate(PROOF);
            bytes.extend_from_slice(&short[HEADER_BYTES + 2050 * 8..]);
            "the proof of a shorter list"
        }
        19..=24 => {
            // tfhe's header (its version, the type's name) and the version tags and lengths behind it.
            let i = at(random, PROOF, PROOF + 160);
            bytes[i] = random.word() as u8;
            "the proof's header"
        }
        25..=29 => {
            // Lengths are eight bytes; huge ones ask for memory.
            let i = at(random, PROOF, end - 8);
            let length = [u64::MAX, 1 << 40, 1 << 31, 0xffff_ffff, 1 << 16][random.below(5) as usize];
            bytes[i..i + 8].copy_from_slice(&length.to_le_bytes());
            "a length in the proof"
        }
        30..=34 => {
            let size = POINTS[random.below(2) as usize];
            let i = at(random, PROOF, end - size);
            match random.below(4) {
                0 => bytes[i..i + size].fill(0),
                1 => bytes[i..i + size].fill(0xff),
                2 => (0..size).for_each(|k| bytes[i + k] = random.word() as u8),
                _ => {
                    let j = at(random, PROOF, end - size);
                    bytes.copy_within(j..j + size, i);
                }
            }
            "a group element"
        }
        35..=36 => {
            let size = POINTS[random.below(2) as usize];
            let i = at(random, PROOF, end - size);
            bytes[i..i + size].copy_from_slice(&b[i..i + size]);
            "a group element of another proof"
        }
        37 => {
            let (i, j) = (at(random, PROOF, end - 1), at(random, PROOF, end - 1));
            bytes.swap(i, j);
            "two bytes of the proof"
        }
        _ => {
            let i = at(random, PROOF, end);
            bytes[i] ^= 1 << random.below(8);
            "a bit of the proof"
        }
    };
    (name, bytes)
}

/// The kind of a refusal: its text up to what depends on the input.
fn kind(error: &InputError) -> String {
    match error {
        InputError::UnknownKey { .. } => "unknown key".to_owned(),
        InputError::TooLarge { .. } => "too large".to_owned(),
        InputError::BadProof => "bad proof".to_owned(),
        InputError::NotConformant(reason) if reason.starts_with("its proof cannot be decoded") => {
            "its proof cannot be decoded".to_owned()
        }
        InputError::NotConformant(reason) => {
            reason.split(|c: char| c.is_ascii_digit()).filter(|s| !s.trim().is_empty()).collect::<Vec<_>>().join("N")
        }
    }
}

fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let found = status.lines().find_map(|l| l.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse().ok());
    found.unwrap_or(0)
}

/// The child's part. Panics are counted where they happen: the backend would turn one into a refusal.
pub(crate) fn child_mutants(backend: &TfheBackend, dir: &Path, count: u64) {
    static PANICS: AtomicU64 = AtomicU64::new(0);
    let read = |name: &str| std::fs::read(dir.join(name)).unwrap();
    let (a, b, short) = (read("a"), read("b"), read("short"));
    let key = backend.key_ids()[0];
    let check = |bytes: &[u8]| backend.verify_input(key, bytes, BLOCKS, &metadata());
    assert_eq!((check(&a), check(&b)), (Ok(()), Ok(())));
    assert_eq!(backend.verify_input(key, &a, BLOCKS, &Digest([1; 32])), Err(InputError::BadProof), "replayed");
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        usual(panic);
    }));
    // Linux: the high-water mark starts again at what is resident now.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    let before = peak_memory();
    let seed = 0x5eed_f0e5;
    let mut random = Numbers(seed);
    let (mut refusals, mut mutations) = (BTreeMap::<String, u64>::new(), BTreeMap::<&str, u64>::new());
    for i in 0..count {
        let (name, bytes) = mutate(&mut random, &a, &b, &short);
        if bytes == a || bytes == b {
            continue;
        }
        let panics = PANICS.load(Ordering::Relaxed);
        let Err(refused) = check(&bytes) else { panic!("mutant {i} ({name}, seed {seed:x}) was accepted") };
        assert_eq!(PANICS.load(Ordering::Relaxed), panics, "mutant {i} ({name}, seed {seed:x}) panicked: {refused}");
        *refusals.entry(kind(&refused)).or_default() += 1;
        *mutations.entry(name).or_default() += 1;
    }
    for (name, count) in mutations {
        println!("\nCHILD   {count} mutants: {name}");
    }
    for (name, count) in refusals {
        println!("\nCHILD {name}: {count}");
    }
    stored_mutants(backend, &mut random, &a, count);
    assert_eq!(PANICS.load(Ordering::Relaxed), 0, "seed {seed:x}");
    let growth = peak_memory().saturating_sub(before);
    assert!(growth < MAX_GROWTH, "the mutants took {growth} KiB");
    println!("\nCHILD memory grew by {growth} KiB");
    println!("\nCHILD all were refused or harmless");
}

/// Takes blocks in and gives them back: no bootstrap.
fn passing(kind: InputKind) -> Program {
    let mut p = ProgramBuilder::new();
    let blocks = p.input(kind);
    p.output(blocks);
    p.build().unwrap()
}

/// Stored ciphertexts come from peers. Their digests are checked, so these never get here; the decoders hold anyway.
/// Any words are a ciphertext of something, so a mutant of the right form is evaluated, to garbage.
fn stored_mutants(backend: &TfheBackend, random: &mut Numbers, list: &[u8], count: u64) {
    let key = backend.key_ids()[0];
    let expand = passing(InputKind::Proven { blocks: BLOCKS });
    let good = backend.evaluate(key, &expand, &[list], &SEED, &|| false).unwrap().outputs.remove(0);
    let program = passing(InputKind::Stored { blocks: BLOCKS, max: 15 });
    let (mut refused, mut evaluated) = (0, 0);
    for _ in 0..count {
        let mut bytes = good.clone();
        match random.below(8) {
            0 => bytes[random.below(4) as usize] ^= 1 + random.below(255) as u8,
            1 => bytes[4 + random.below(32) as usize] ^= 1 + random.below(255) as u8,
            2 => bytes[36..38].copy_from_slice(&(random.word() as u16 | 4).to_le_bytes()),
            3 | 4 => bytes.truncate(random.below(good.len() as u64) as usize),
            5 => bytes.extend((0..=random.below(40_000)).map(|i| i as u8)),
            _ => {
                let at = HEADER_BYTES + random.below((good.len() - HEADER_BYTES - 8) as u64) as usize;
                bytes[at..at + 8].copy_from_slice(&random.word().to_le_bytes());
            }
        }
        let sound = bytes.len() == good.len() && bytes[..HEADER_BYTES] == good[..HEADER_BYTES];
        let outcome = backend.evaluate(key, &program, &[bytes.as_slice()], &SEED, &|| false);
        match outcome {
            Ok(done) => {
                assert!(sound && done.outputs.len() == 1);
                evaluated += 1;
            }
            Err(FheError::BadInput { index: 0, .. } | FheError::Refused(InputError::UnknownKey { .. })) => {
                assert!(!sound);
                refused += 1;
            }
            Err(other) => panic!("a mutated ciphertext gives {other}"),
        }
        // Whether it decrypts is up to the padding bit; it must not panic.
        assert!(sound || decryptor().decrypt(&bytes, BLOCKS).is_err());
        let _ = decryptor().decrypt(&bytes, BLOCKS);
    }
    println!("\nCHILD stored ciphertexts: {refused} refused, {evaluated} of the right form evaluated to garbage");
}
