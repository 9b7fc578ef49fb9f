//! Random numbers that nobody knows and every replica agrees on.
//!
//! A pseudo-random function under a secret key of its own, evaluated under encryption, as tfhe's oblivious one is
//! (`shortint/oprf.rs`): a mask of 918 numbers modulo 4,096 is drawn from the seed, and the ciphertext with that mask and
//! body 0 is bootstrapped. Its phase is the product of the mask with the secret, which to anyone without the key looks
//! uniform; the table cuts it to two bits. The bootstrapping key is from this secret, which encrypts nothing else, to the
//! compute key. Results are re-randomised before use, as inputs are, with a seed of the evaluation.
//!
//! The mask comes from BLAKE3 in extendable mode, and not from tfhe's generator, because tfhe's function does not run
//! on another bootstrap than its own: so both backends compute one function, and give the same numbers.

use crate::encoding::Words;
use crate::evaluate::{ENCRYPTION_DOMAIN, block, words};
use crate::exact::{ExactKey, bootstrap};
use crate::parameters::{COMPUTE, DELTA, dimension, modulus};
use parallax_primitives::Digest;
use tfhe::core_crypto::prelude::{
    FourierLweBootstrapKeyOwned, GlweCiphertext, GlweCiphertextOwned, LweBootstrapKeyOwned, LweCiphertext,
    LweCiphertextOwned, convert_standard_lwe_bootstrap_key_to_fourier, programmable_bootstrap_lwe_ciphertext,
};
use tfhe::shortint::CompactPublicKey;
use tfhe::shortint::ciphertext::ReRandomizationContext;
use tfhe::shortint::oprf::{CompressedOprfServerKey, ExpandedOprfBootstrappingKey};

/// Domain separator of the re-randomisation of random blocks.
const SEED_DOMAIN: [u8; 8] = *b"PLX_Rnd1";
/// What the masks are drawn for.
const MASK_CONTEXT: &str = "parallax 2026-11 v1 fhe mask of a random block";
/// Bits of one block.
const BITS: u16 = 2;

/// The bootstrapping key from the function's secret to the compute key.
pub(crate) enum RandomKey {
    Fft(FourierLweBootstrapKeyOwned),
    Exact(Box<ExactKey>),
}

/// The key as a key set holds it, in the standard domain.
pub(crate) fn expanded(key: &CompressedOprfServerKey) -> Result<LweBootstrapKeyOwned<u64>, String> {
    let ExpandedOprfBootstrappingKey::Classic { bsk } = key.expand().into_raw_parts() else {
        return Err("the key for random numbers is not of this parameter set".to_owned());
    };
    let fits = bsk.input_lwe_dimension() == COMPUTE.lwe_dimension
        && bsk.polynomial_size() == COMPUTE.polynomial_size
        && bsk.glwe_size() == COMPUTE.glwe_dimension.to_glwe_size()
        && bsk.decomposition_base_log() == COMPUTE.pbs_base_log
        && bsk.decomposition_level_count() == COMPUTE.pbs_level;
    if fits { Ok(bsk) } else { Err("the key for random numbers is not of this parameter set".to_owned()) }
}

impl RandomKey {
    /// For tfhe's bootstrap, under the pinned plan.
    pub(crate) fn fft(key: &LweBootstrapKeyOwned<u64>) -> Self {
        let mut fourier = FourierLweBootstrapKeyOwned::new(
            key.input_lwe_dimension(),
            key.glwe_size(),
            key.polynomial_size(),
            key.decomposition_base_log(),
            key.decomposition_level_count(),
        );
        convert_standard_lwe_bootstrap_key_to_fourier(key, &mut fourier);
        Self::Fft(fourier)
    }

    fn evaluate(&self, sample: LweCiphertextOwned<u64>, table: &GlweCiphertextOwned<u64>) -> Words {
        match self {
            Self::Fft(key) => {
                let mut out = LweCiphertext::new(0u64, dimension().to_lwe_size(), modulus());
                programmable_bootstrap_lwe_ciphertext(&sample, &mut out, table, key);
                out.into_container()
            }
            Self::Exact(key) => bootstrap(key, sample, table).into_container(),
        }
    }
}

/// The ciphertext that is bootstrapped for a block: a pseudo-random mask and body 0. The numbers stand at the top of the
/// words, so the modulus switch is without rounding.
fn sample(seed: &Digest, bits: u16, at: u16) -> LweCiphertextOwned<u64> {
    let mut hasher = blake3::Hasher::new_derive_key(MASK_CONTEXT);
    hasher.update(&seed.0).update(&bits.to_le_bytes()).update(&at.to_le_bytes());
    let mut bytes = vec![0; 2 * COMPUTE.lwe_dimension.0];
    hasher.finalize_xof().fill(&mut bytes);
    let log = COMPUTE.polynomial_size.to_blind_rotation_input_modulus_log().0;
    let top = |pair: &[u8; 2]| u64::from(u16::from_le_bytes(*pair)) << (64 - log);
    let container = bytes.as_chunks::<2>().0.iter().map(top).chain([0]).collect();
    LweCiphertext::from_container(container, modulus())
}

/// The table that makes `bits` bits of a phase: with the sign that the padding bit gives, odd multiples of half a unit
/// from `-(2^bits - 1)` to `2^bits - 1`. The second value lifts them to `0..2^bits`.
fn table(bits: u16) -> (GlweCiphertextOwned<u64>, u64) {
    let (half, values) = (DELTA / 2, 1u64 << bits);
    let n = COMPUTE.polynomial_size.0 as u64;
    let width = 2 * n / values;
    let mut words = vec![0; COMPUTE.glwe_dimension.0 * COMPUTE.polynomial_size.0];
    words.extend((0..n).map(|x| (2 * (x / width) + 1) * half));
    (GlweCiphertext::from_container(words, COMPUTE.polynomial_size, modulus()), (values - 1) * half)
}

/// Blocks of two random bits, the last of one if their number is odd: a function of key, seed and number of bits. The
/// ciphertexts also depend on the seed of the evaluation.
pub(crate) fn random(
    key: &RandomKey,
    rerandomization: &CompactPublicKey,
    (bits, seed): (u16, &Digest),
    evaluation: &Digest,
) -> Result<Vec<Words>, String> {
    let count = bits.div_ceil(BITS);
    let mut blocks = Vec::with_capacity(count.into());
    for at in 0..count {
        let bits_here = BITS.min(bits - at * BITS);
        let (table, lift) = table(bits_here);
        let mut out = key.evaluate(sample(seed, bits, at), &table);
        if let Some(body) = out.last_mut() {
            *body = body.wrapping_add(lift);
        }
        blocks.push(block(out, (1 << bits_here) - 1));
    }
    let mut context = ReRandomizationContext::new(SEED_DOMAIN, ENCRYPTION_DOMAIN);
    context.add_bytes(&evaluation.0);
    context.add_bytes(&seed.0);
    context.add_bytes(&bits.to_le_bytes());
    let seed = context.finalize().next_seed();
    rerandomization.re_randomize_ciphertexts(&mut blocks, None, seed).map_err(|e| e.to_string())?;
    Ok(blocks.into_iter().map(words).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_takes_the_same_part_of_the_circle() {
        for bits in 1..=BITS {
            let (table, lift) = table(bits);
            let body = &table.as_ref()[COMPUTE.polynomial_size.0..];
            let mut counts = vec![0; 1 << bits];
            // Past half of the circle a table comes out negated.
            for value in body.iter().copied().chain(body.iter().map(|word| word.wrapping_neg())) {
                let value = value.wrapping_add(lift);
                assert_eq!(value % DELTA, 0);
                counts[(value / DELTA) as usize] += 1;
            }
            assert!(counts.iter().all(|count| *count == counts[0]), "{counts:?}");
        }
    }

    #[test]
    fn masks_differ_by_seed_number_of_bits_and_place_and_lose_nothing_in_the_modulus_switch() {
        let mask = |seed: u8, bits, at| sample(&Digest([seed; 32]), bits, at).into_container();
        let first = mask(1, 8, 0);
        assert_eq!(first.len(), COMPUTE.lwe_dimension.0 + 1);
        assert_eq!((first[COMPUTE.lwe_dimension.0], first.iter().fold(0, |all, word| all | word << 12)), (0, 0));
        for other in [mask(2, 8, 0), mask(1, 7, 0), mask(1, 8, 1)] {
            assert_ne!(first, other);
        }
        assert_eq!(first, mask(1, 8, 0));
    }
}
