use super::product::{GGSW_WORDS, limbs, rounded};
use super::*;
use crate::parameters::{COMPUTE, modulus};
use serde::{Deserialize, Serialize};
use tfhe::core_crypto::prelude::{
    DecompositionBaseLog, DecompositionLevelCount, GlweCiphertext, LweBootstrapKeyOwned, LweCiphertext,
    ModulusSwitchedLweCiphertext, PolynomialSize, blind_rotate_karatsuba_assign,
    lwe_ciphertext_centered_binary_modulus_switch,
};

/// Words from a seed (splitmix64, Steele, Lea, Flood 2014).
struct Words(u64);

impl Words {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn many(&mut self, count: usize) -> Vec<u64> {
        (0..count).map(|_| self.next()).collect()
    }

    fn glwe(&mut self) -> GlweWords {
        Box::new(std::array::from_fn(|_| std::array::from_fn(|_| self.next())))
    }
}

/// A key of `bits` GGSW ciphertexts. The arithmetic does not care whether they encrypt anything.
fn key_words(seed: u64, bits: usize) -> Vec<u64> {
    Words(seed).many(bits * GGSW_WORDS)
}

fn available() -> Vec<Path> {
    let (here, missing): (Vec<_>, Vec<_>) = Path::ALL.into_iter().partition(|path| path.is_available());
    missing.iter().for_each(|path| println!("this processor has no {path}: that path is not tested here"));
    here
}

/// One rotation on every path of this machine, and with every step done in integers; they must agree.
fn rotate_everywhere(
    words: &[u64],
    mask: &[usize],
    body: usize,
    table: &GlweWords,
    what: &str,
) -> (GlweWords, Deviation) {
    let mut results = Vec::new();
    for path in available() {
        let key = ExactKey::new(words, path).unwrap();
        let mut out = table.clone();
        let seen = key.blind_rotate(mask, body, &mut out);
        assert_eq!((seen.redone, key.redone(), key.rotations()), (0, 0, 1), "{what} on {path}: {seen:?}");
        results.push((path.to_string(), out, seen));
    }
    let mut forced = ExactKey::new(words, Path::best()).unwrap();
    forced.guard = -1.0;
    let mut out = table.clone();
    let seen = forced.blind_rotate(mask, body, &mut out);
    let steps = mask.iter().filter(|a| **a != 0).count();
    assert_eq!(seen.redone as usize, steps, "{what}: the guard asked for all steps");
    results.push(("integers".to_owned(), out, seen));
    for (path, out, _) in &results[1..] {
        assert!(*out == results[0].1, "{what}: {path} differs from {}", results[0].0);
    }
    let (_, out, seen) = results.swap_remove(0);
    (out, seen)
}

/// tfhe's bootstrap by Karatsuba products: integers only.
fn karatsuba(words: &[u64], input: &[u64], table: &GlweWords) -> GlweWords {
    let (log, size) = (COMPUTE.polynomial_size, COMPUTE.glwe_dimension.to_glwe_size());
    let mut words = words.to_vec();
    rounded_key(&mut words);
    let key = LweBootstrapKeyOwned::from_container(
        words,
        size,
        PolynomialSize(N),
        DecompositionBaseLog(23),
        DecompositionLevelCount(1),
        modulus(),
    );
    let mut out = GlweCiphertext::from_container(table.concat(), PolynomialSize(N), modulus());
    let switched = lwe_ciphertext_centered_binary_modulus_switch::<u64, usize, _>(
        LweCiphertext::from_container(input.to_vec(), modulus()),
        log.to_blind_rotation_input_modulus_log(),
    );
    blind_rotate_karatsuba_assign(&switched, &mut out, &key);
    let mut result: GlweWords = Box::new([[0; N]; 2]);
    result.iter_mut().zip(out.as_ref().chunks_exact(N)).for_each(|(to, from)| to.copy_from_slice(from));
    result
}

fn switched(input: &[u64]) -> (Vec<usize>, usize) {
    let lwe = LweCiphertext::from_container(input, modulus());
    let log = COMPUTE.polynomial_size.to_blind_rotation_input_modulus_log();
    let switched = lwe_ciphertext_centered_binary_modulus_switch::<u64, usize, _>(lwe, log);
    (switched.mask().collect(), switched.body())
}

#[test]
fn the_limbs_of_a_word_are_the_rounded_word() {
    let mut random = Words(1);
    let corners = [0, 1, (1 << 11) - 1, 1 << 11, u64::MAX, 1 << 63, (1 << 63) - 1, u64::MAX << 11, 0x7ff_ffff << 12];
    for word in corners.into_iter().chain((0..10_000).map(|_| random.next())) {
        let word = rounded(word);
        let limbs = limbs(word);
        assert!(limbs.iter().all(|l| (-4096..4096).contains(l)), "{word:x}: {limbs:?}");
        let sum = limbs.iter().rev().fold(0u64, |sum, l| (sum << 13).wrapping_add(*l as u64));
        assert_eq!(sum << 12, word, "{limbs:?}");
    }
}

#[test]
fn every_path_gives_the_bits_of_integer_arithmetic_and_of_tfhes_karatsuba_bootstrap() {
    let bits = 12;
    let mut largest = 0.0f64;
    for seed in 0..4 {
        let words = key_words(seed, bits);
        let mut random = Words(!seed);
        let input = random.many(bits + 1);
        let table = random.glwe();
        let (mask, body) = switched(&input);
        let what = format!("seed {seed}");
        let (out, seen) = rotate_everywhere(&words, &mask, body, &table, &what);
        assert!(out == karatsuba(&words, &input, &table), "{what}: tfhe's Karatsuba bootstrap gives other bits");
        largest = largest.max(seen.largest);
    }
    println!("farthest from an integer: {largest:.5}");
    assert!(largest < 0.01, "{largest}");
}

#[test]
fn inputs_of_the_largest_digits_stay_within_the_bound() {
    // X^N acc - acc = -2 acc: digits of the largest size, all of one sign, of both, and at the tie.
    let words = key_words(7, 3);
    let tie = (1u64 << 62) + (1 << 39);
    for (name, values) in [
        ("one sign", [1u64 << 62, 1 << 62]),
        ("both signs", [1 << 62, (1u64 << 62).wrapping_neg()]),
        ("ties", [tie, tie.wrapping_neg()]),
        ("just below a tie", [tie - 1, (1 << 62) - 1]),
    ] {
        let table: GlweWords = Box::new([std::array::from_fn(|j| values[j % 2]); 2]);
        let input = [N as u64, 1, 0, 0].map(|a| a << 52);
        let (mask, body) = switched(&input);
        assert_eq!(mask, [N, 1, 0]);
        let (out, seen) = rotate_everywhere(&words, &mask, body, &table, name);
        assert!(seen.largest < 0.25, "{name}: {seen:?}");
        assert!(out == karatsuba(&words, &input, &table), "{name}");
    }
}

#[test]
fn a_key_for_which_the_bound_does_not_hold_is_refused() {
    // All limbs 4,095.
    let word = (0..4).fold(0u64, |word, limb| word | 0xfff << (12 + 13 * limb));
    let words = vec![word; GGSW_WORDS];
    let refused = ExactKey::new(&words, Path::Portable).err();
    assert!(matches!(refused, Some(ExactKeyError::Norm { norm }) if norm > MAX_NORM), "{refused:?}");
    for words in [vec![], vec![0; GGSW_WORDS - 1]] {
        let refused = ExactKey::new(&words, Path::Portable).err();
        assert_eq!(refused, Some(ExactKeyError::WrongLength { words: words.len() }));
    }
}

#[test]
fn a_division_by_a_monomial_turns_and_negates() {
    let of = |degree: usize| {
        let mut p: [u64; N] = std::array::from_fn(|j| j as u64 + 1);
        divide_by_monomial(&mut p, degree);
        [p[0], p[1], p[N - 1]].map(|x| x as i64)
    };
    assert_eq!(of(0), [1, 2, 2048]);
    assert_eq!(of(1), [2, 3, -1]);
    assert_eq!(of(N), [-1, -2, -2048]);
    assert_eq!(of(2 * N - 1), [-2048, 1, 2047]);
}

/// A committed known answer: key, input and table from a seed, and the digest of the rotated polynomial.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Vector {
    seed: u64,
    key_bits: usize,
    output: String,
}

/// They hold on every processor; a change is a change of the profile `cpu-exact`.
#[test]
fn the_committed_known_answers_hold_on_every_path() {
    let committed: Vec<Vector> = serde_json::from_str(include_str!("vectors.json")).unwrap();
    let mut actual = Vec::new();
    for (seed, key_bits) in [(1, 1), (2, 16), (3, 16), (4, 40)] {
        let words = key_words(seed, key_bits);
        let mut random = Words(seed ^ 0x5eed);
        let mask: Vec<usize> =
            random.many(key_bits + 1).into_iter().map(|word| (word % (2 * N as u64)) as usize).collect();
        let table = random.glwe();
        let (out, _) = rotate_everywhere(&words, &mask[..key_bits], mask[key_bits], &table, &format!("vector {seed}"));
        let mut hasher = blake3::Hasher::new();
        out.iter().flatten().for_each(|word| {
            hasher.update(&word.to_le_bytes());
        });
        actual.push(Vector { seed, key_bits, output: hasher.finalize().to_hex().to_string() });
    }
    let text = serde_json::to_string_pretty(&actual).unwrap();
    assert!(committed == actual, "src/exact/vectors.json differs; the answers here are\n{text}");
}
