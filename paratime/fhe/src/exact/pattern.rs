//! The exact bootstrap as tfhe sees it: an atomic pattern (keyswitch, then bootstrap) behind a shortint server key. All
//! of tfhe's own algorithms on blocks and radix integers run on it unchanged.

use super::{ExactKey, ExactKeyError, GlweWords, Path};
use crate::parameters::{ATOMIC_PATTERN, COMPUTE, dimension, modulus};
use std::fmt;
use std::sync::Arc;
use tfhe::core_crypto::prelude::{
    GlweCiphertext, GlweCiphertextOwned, LweBootstrapKeyOwned, LweCiphertext, LweCiphertextOwned, LweDimension,
    LweKeyswitchKeyOwned, ModulusSwitchedLweCiphertext, MonomialDegree, MsDecompressionType,
    extract_lwe_sample_from_glwe_ciphertext, keyswitch_lwe_ciphertext, lwe_ciphertext_centered_binary_modulus_switch,
};
use tfhe::shortint::atomic_pattern::{AtomicPattern, AtomicPatternKind, AtomicPatternMut};
use tfhe::shortint::ciphertext::CompressedModulusSwitchedCiphertext;
use tfhe::shortint::parameters::CiphertextModulus;
use tfhe::shortint::server_key::{LookupTableOwned, LookupTableSize, ManyLookupTableOwned};
use tfhe::shortint::{Ciphertext, EncryptionKeyChoice};

/// Keyswitch and exact bootstrap of one key set. Clones share the keys.
#[derive(Clone)]
pub(crate) struct ExactPattern {
    shared: Arc<Shared>,
}

struct Shared {
    keyswitch: LweKeyswitchKeyOwned<u64>,
    key: ExactKey,
}

impl ExactPattern {
    /// From the keys in the standard domain.
    pub(crate) fn new(
        keyswitch: LweKeyswitchKeyOwned<u64>,
        bootstrap: &LweBootstrapKeyOwned<u64>,
        path: Path,
    ) -> Result<Self, ExactKeyError> {
        let small = bootstrap.input_lwe_dimension();
        let fits = keyswitch.input_key_lwe_dimension() == dimension()
            && keyswitch.output_key_lwe_dimension() == small
            && small == COMPUTE.lwe_dimension
            && bootstrap.decomposition_base_log() == COMPUTE.pbs_base_log
            && bootstrap.decomposition_level_count() == COMPUTE.pbs_level;
        if !fits {
            return Err(ExactKeyError::OtherParameters);
        }
        let key = ExactKey::new(bootstrap.as_ref(), path)?;
        Ok(Self { shared: Arc::new(Shared { keyswitch, key }) })
    }

    pub(crate) fn key(&self) -> &ExactKey {
        &self.shared.key
    }

    /// From the small key to the rotated test polynomial: modulus switch and blind rotation.
    pub(crate) fn rotate(
        &self,
        small: LweCiphertextOwned<u64>,
        table: &GlweCiphertextOwned<u64>,
    ) -> GlweCiphertextOwned<u64> {
        rotate(&self.shared.key, small, table)
    }

    /// A bootstrap of a ciphertext under the small key, to one under the big key.
    pub(crate) fn bootstrap(
        &self,
        small: LweCiphertextOwned<u64>,
        table: &GlweCiphertextOwned<u64>,
    ) -> LweCiphertextOwned<u64> {
        bootstrap(&self.shared.key, small, table)
    }

    fn keyswitch(&self, ciphertext: &LweCiphertextOwned<u64>) -> LweCiphertextOwned<u64> {
        keyswitch(&self.shared.keyswitch, ciphertext)
    }
}

/// Modulus switch and blind rotation with a key.
fn rotate(
    key: &ExactKey,
    small: LweCiphertextOwned<u64>,
    table: &GlweCiphertextOwned<u64>,
) -> GlweCiphertextOwned<u64> {
    let log = COMPUTE.polynomial_size.to_blind_rotation_input_modulus_log();
    let switched = lwe_ciphertext_centered_binary_modulus_switch::<u64, usize, _>(small, log);
    let mask: Vec<usize> = switched.mask().collect();
    let mut words: GlweWords = Box::new([[0; super::N]; 2]);
    for (to, from) in words.iter_mut().zip(table.as_ref().chunks_exact(super::N)) {
        to.copy_from_slice(from);
    }
    key.blind_rotate(&mask, switched.body(), &mut words);
    GlweCiphertext::from_container(words.concat(), COMPUTE.polynomial_size, modulus())
}

/// A bootstrap with a key, whatever secret it is from.
pub(crate) fn bootstrap(
    key: &ExactKey,
    small: LweCiphertextOwned<u64>,
    table: &GlweCiphertextOwned<u64>,
) -> LweCiphertextOwned<u64> {
    extract(&rotate(key, small, table), 0)
}

/// A keyswitch: integers only.
pub(crate) fn keyswitch(
    key: &LweKeyswitchKeyOwned<u64>,
    ciphertext: &LweCiphertextOwned<u64>,
) -> LweCiphertextOwned<u64> {
    let mut small = LweCiphertext::new(0u64, key.output_lwe_size(), modulus());
    keyswitch_lwe_ciphertext(key, ciphertext, &mut small);
    small
}

fn extract(rotated: &GlweCiphertextOwned<u64>, coefficient: usize) -> LweCiphertextOwned<u64> {
    let mut out = LweCiphertext::new(0u64, dimension().to_lwe_size(), modulus());
    extract_lwe_sample_from_glwe_ciphertext(rotated, &mut out, MonomialDegree(coefficient));
    out
}

impl AtomicPattern for ExactPattern {
    fn ciphertext_lwe_dimension_for_key(&self, key_choice: EncryptionKeyChoice) -> LweDimension {
        match key_choice {
            EncryptionKeyChoice::Big => dimension(),
            EncryptionKeyChoice::Small => COMPUTE.lwe_dimension,
        }
    }

    fn ciphertext_modulus_for_key(&self, _: EncryptionKeyChoice) -> CiphertextModulus {
        modulus()
    }

    fn ciphertext_decompression_method(&self) -> MsDecompressionType {
        MsDecompressionType::ClassicPbs {
            br_input_modulus_log: COMPUTE.polynomial_size.to_blind_rotation_input_modulus_log(),
            br_input_lwe_dim: COMPUTE.lwe_dimension,
        }
    }

    fn apply_lookup_table_assign(&self, ct: &mut Ciphertext, acc: &LookupTableOwned) {
        ct.ct = self.bootstrap(self.keyswitch(&ct.ct), &acc.acc);
    }

    fn apply_many_lookup_table(&self, ct: &Ciphertext, lut: &ManyLookupTableOwned) -> Vec<Ciphertext> {
        let rotated = self.rotate(self.keyswitch(&ct.ct), &lut.acc);
        let tables = lut.per_function_output_degree.iter().enumerate();
        tables
            .map(|(i, degree)| {
                let mut out = ct.clone();
                out.ct = extract(&rotated, i * lut.sample_extraction_stride);
                out.degree = *degree;
                out.set_noise_level_to_nominal();
                out
            })
            .collect()
    }

    fn lookup_table_size(&self) -> LookupTableSize {
        LookupTableSize::new(COMPUTE.glwe_dimension.to_glwe_size(), COMPUTE.polynomial_size)
    }

    fn kind(&self) -> AtomicPatternKind {
        ATOMIC_PATTERN
    }

    fn deterministic_execution(&self) -> bool {
        true
    }

    /// Not offered: tfhe keeps the parts of the compressed form to itself, and no program here compresses.
    fn switch_modulus_and_compress(&self, _: &Ciphertext) -> CompressedModulusSwitchedCiphertext {
        panic!("the exact backend does not compress ciphertexts");
    }

    /// See [`ExactPattern::switch_modulus_and_compress`].
    fn decompress_and_apply_lookup_table(
        &self,
        _: &CompressedModulusSwitchedCiphertext,
        _: &LookupTableOwned,
    ) -> Ciphertext {
        panic!("the exact backend does not compress ciphertexts");
    }
}

impl AtomicPatternMut for ExactPattern {
    /// It always is.
    fn set_deterministic_execution(&mut self, _: bool) {}
}

impl PartialEq for ExactPattern {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl fmt::Debug for ExactPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExactPattern").field("path", &self.shared.key.path()).finish_non_exhaustive()
    }
}
