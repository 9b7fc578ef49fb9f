//! A server key that hides nothing: its bootstrap reads a block's number and looks it up.

use parallax_fhe::integer::integer;
use parallax_fhe::parameters::BLOCK_WORDS;
use parallax_runtime::{Op, Program, ValueId};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tfhe::core_crypto::prelude::{GlweCiphertextOwned, LweDimension, MsDecompressionType};
use tfhe::integer::ServerKey;
use tfhe::shortint::atomic_pattern::{AtomicPattern, AtomicPatternKind, AtomicPatternMut, AtomicPatternServerKey};
use tfhe::shortint::ciphertext::{CompressedModulusSwitchedCiphertext, MaxDegree, MaxNoiseLevel};
use tfhe::shortint::parameters::CiphertextModulus;
use tfhe::shortint::parameters::v1_8::V1_8_PARAM_MESSAGE_2_CARRY_2_KS_PBS_TUNIFORM_2M128 as PARAMETERS;
use tfhe::shortint::server_key::{LookupTableOwned, LookupTableSize, ManyLookupTableOwned};
use tfhe::shortint::{Ciphertext, EncryptionKeyChoice, PBSOrder};

/// One unit of a block's value: four bits and one of padding at the top of 64.
const DELTA: u64 = 1 << 59;
/// Coefficients of a test polynomial.
const N: usize = 2048;

/// tfhe's integers on such a key, in a pool of one thread as on a node.
pub(crate) struct Plain {
    key: ServerKey,
    count: Arc<AtomicU64>,
    pool: rayon::ThreadPool,
}

impl Plain {
    pub(crate) fn new() -> Self {
        let count = Arc::new(AtomicU64::new(0));
        let pattern = AtomicPatternServerKey::Dynamic(Box::new(PlainPattern { count: Arc::clone(&count) }));
        let (message, carry) = (PARAMETERS.message_modulus, PARAMETERS.carry_modulus);
        let degree = MaxDegree::from_msg_carry_modulus(message, carry);
        let noise: MaxNoiseLevel = PARAMETERS.max_noise_level;
        let key = tfhe::shortint::ServerKey::from_raw_parts(pattern, message, carry, degree, noise);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        Self { key: ServerKey::new_radix_server_key_from_shortint(key), count, pool }
    }

    /// The outputs of a program, and how many bootstraps its integer operations took.
    pub(crate) fn run(&self, program: &Program, inputs: &[Vec<u8>]) -> (Vec<Vec<u8>>, u64) {
        let mut values: Vec<i64> = inputs.iter().flatten().map(|digit| i64::from(*digit)).collect();
        self.count.store(0, Ordering::Relaxed);
        for op in program.ops() {
            let results = self.results(op, &values);
            values.extend(results);
        }
        let read = |id: &ValueId| u8::try_from(values[id.0 as usize]).unwrap();
        let outputs = program.outputs().iter().map(|blocks| blocks.iter().map(read).collect()).collect();
        (outputs, self.count.load(Ordering::Relaxed))
    }

    fn results(&self, op: &Op, values: &[i64]) -> Vec<i64> {
        let at = |id: &ValueId| values[id.0 as usize];
        match op {
            Op::Linear { terms, constant } => {
                vec![terms.iter().fold(i64::from(*constant), |sum, (id, c)| sum + i64::from(*c) * at(id))]
            }
            Op::Table { input, table } => vec![table.value(at(input)).unwrap()],
            Op::TwoTables { input, tables } => {
                tables.iter().map(|entries| entries[at(input) as usize].into()).collect()
            }
            Op::Integer { op: name, operands } => {
                let block = |id: &ValueId| {
                    let mut words = vec![0; BLOCK_WORDS];
                    words[BLOCK_WORDS - 1] = at(id) as u64 * DELTA;
                    Arc::new(words)
                };
                let arguments: Vec<_> = op.arguments().iter().map(block).collect();
                let results = self.pool.install(|| integer(&self.key, *name, operands, &arguments)).unwrap();
                results.iter().map(|words| (words[BLOCK_WORDS - 1] / DELTA) as i64).collect()
            }
            Op::TwoSigned { .. } | Op::Random { .. } => panic!("no integer is made of these"),
        }
    }
}

#[derive(Clone, Debug)]
struct PlainPattern {
    count: Arc<AtomicU64>,
}

impl PlainPattern {
    /// The coefficient of a test polynomial that a block's number, padding bit included, turns to a place.
    fn look_up(block: &Ciphertext, table: &GlweCiphertextOwned<u64>, place: usize) -> u64 {
        let body = *block.ct.as_ref().last().unwrap();
        let at = ((body >> 52) as usize + place) % (2 * N);
        let polynomial = &table.as_ref()[N..];
        if at < N { polynomial[at] } else { polynomial[at - N].wrapping_neg() }
    }

    fn set(block: &mut Ciphertext, value: u64) {
        *block.ct.as_mut().last_mut().unwrap() = value;
    }
}

impl AtomicPattern for PlainPattern {
    fn ciphertext_lwe_dimension_for_key(&self, _: EncryptionKeyChoice) -> LweDimension {
        LweDimension(BLOCK_WORDS - 1)
    }

    fn ciphertext_modulus_for_key(&self, _: EncryptionKeyChoice) -> CiphertextModulus {
        CiphertextModulus::new_native()
    }

    fn ciphertext_decompression_method(&self) -> MsDecompressionType {
        panic!("nothing is compressed here")
    }

    fn apply_lookup_table_assign(&self, ct: &mut Ciphertext, acc: &LookupTableOwned) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let value = Self::look_up(ct, &acc.acc, 0);
        Self::set(ct, value);
    }

    fn apply_many_lookup_table(&self, ct: &Ciphertext, lut: &ManyLookupTableOwned) -> Vec<Ciphertext> {
        self.count.fetch_add(1, Ordering::Relaxed);
        let tables = lut.per_function_output_degree.iter().enumerate();
        tables
            .map(|(i, degree)| {
                let mut out = ct.clone();
                Self::set(&mut out, Self::look_up(ct, &lut.acc, i * lut.sample_extraction_stride));
                out.degree = *degree;
                out.set_noise_level_to_nominal();
                out
            })
            .collect()
    }

    fn lookup_table_size(&self) -> LookupTableSize {
        LookupTableSize::new(PARAMETERS.glwe_dimension.to_glwe_size(), PARAMETERS.polynomial_size)
    }

    fn kind(&self) -> AtomicPatternKind {
        AtomicPatternKind::Standard(PBSOrder::KeyswitchBootstrap)
    }

    fn deterministic_execution(&self) -> bool {
        true
    }

    fn switch_modulus_and_compress(&self, _: &Ciphertext) -> CompressedModulusSwitchedCiphertext {
        panic!("nothing is compressed here")
    }

    fn decompress_and_apply_lookup_table(
        &self,
        _: &CompressedModulusSwitchedCiphertext,
        _: &LookupTableOwned,
    ) -> Ciphertext {
        panic!("nothing is compressed here")
    }
}

impl AtomicPatternMut for PlainPattern {
    fn set_deterministic_execution(&mut self, _: bool) {}
}

impl PartialEq for PlainPattern {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.count, &other.count)
    }
}
