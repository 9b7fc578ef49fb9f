//! The one parameter set in use, and the sizes that follow from it.
//!
//! Two bits of message and two of carry a block, classic bootstrapping, failure probability 2^-128, 128-bit security.
//! Everything is taken from tfhe's own table `V1_8_META_PARAM_CPU_2_2_KS_PBS_PKE_TO_SMALL_ZKV2_TUNIFORM_2M128`:
//! compute parameters, the parameters of the compact public key with its proof of encryption (version 2), the casting
//! keyswitch to the small key (so that a number costs one bootstrap to take in), and re-randomisation with a compact
//! public key that is derived from the compute key and needs no keyswitch.

use tfhe::core_crypto::prelude::LweDimension;
use tfhe::shortint::parameters::v1_8::{
    V1_8_NOISE_SQUASHING_PARAM_MESSAGE_2_CARRY_2_KS_PBS_TUNIFORM_2M128,
    V1_8_PARAM_KEYSWITCH_PKE_TO_SMALL_MESSAGE_2_CARRY_2_KS_PBS_TUNIFORM_2M128_ZKV2,
    V1_8_PARAM_MESSAGE_2_CARRY_2_KS_PBS_TUNIFORM_2M128,
    V1_8_PARAM_PKE_TO_SMALL_MESSAGE_2_CARRY_2_KS_PBS_TUNIFORM_2M128_ZKV2,
};
use tfhe::shortint::parameters::{
    AtomicPatternKind, CiphertextModulus, ClassicPBSParameters, CompactPublicKeyEncryptionParameters,
    NoiseSquashingParameters, ShortintKeySwitchingParameters,
};
use tfhe::shortint::{CarryModulus, MessageModulus, PBSOrder};

/// The library with its version, as profiles name it. A test compares it with the lock file.
pub const LIBRARY: &str = "tfhe 1.8.2";
/// The name of the parameter set, as profiles name it.
pub const NAME: &str = "V1_8_PARAM_MESSAGE_2_CARRY_2_KS_PBS_TUNIFORM_2M128";

/// Compute parameters.
pub(crate) const COMPUTE: ClassicPBSParameters = V1_8_PARAM_MESSAGE_2_CARRY_2_KS_PBS_TUNIFORM_2M128;
/// Parameters of the public key under which clients encrypt.
pub(crate) const PUBLIC: CompactPublicKeyEncryptionParameters =
    V1_8_PARAM_PKE_TO_SMALL_MESSAGE_2_CARRY_2_KS_PBS_TUNIFORM_2M128_ZKV2;
/// Parameters of the key that casts from the public key's secret to the compute key's.
pub(crate) const CASTING: ShortintKeySwitchingParameters =
    V1_8_PARAM_KEYSWITCH_PKE_TO_SMALL_MESSAGE_2_CARRY_2_KS_PBS_TUNIFORM_2M128_ZKV2;
/// Parameters of noise squashing, which threshold decryption needs.
pub(crate) const SQUASHING: NoiseSquashingParameters =
    V1_8_NOISE_SQUASHING_PARAM_MESSAGE_2_CARRY_2_KS_PBS_TUNIFORM_2M128;

/// Values of a block without its padding bit.
pub const BLOCK_VALUES: u8 = 16;
/// Most numbers in one compact list: what one proof covers, 256 bits.
pub const MAX_LIST_BLOCKS: u16 = 64;
/// Dimension of the big LWE key, under which blocks live, and of the public key's secret.
pub(crate) const LWE_DIMENSION: usize = 2048;
/// Words of one block: the mask and the body.
pub const BLOCK_WORDS: usize = LWE_DIMENSION + 1;
/// Bytes of one block.
pub const BLOCK_BYTES: usize = BLOCK_WORDS * 8;
/// One unit of a block's value on the torus: four bits of value and one of padding at the top of 64.
pub(crate) const DELTA: u64 = 1 << 59;
/// Message and carry modulus.
pub(crate) const MESSAGE_MODULUS: MessageModulus = MessageModulus(4);
/// See [`MESSAGE_MODULUS`].
pub(crate) const CARRY_MODULUS: CarryModulus = CarryModulus(4);
/// Blocks are kept under the big key: a bootstrap keyswitches first.
pub(crate) const ATOMIC_PATTERN: AtomicPatternKind = AtomicPatternKind::Standard(PBSOrder::KeyswitchBootstrap);

/// The modulus of all words: 2^64.
pub(crate) const fn modulus() -> CiphertextModulus {
    CiphertextModulus::new_native()
}

/// The dimension as tfhe's type.
pub(crate) const fn dimension() -> LweDimension {
    LweDimension(LWE_DIMENSION)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stated_sizes_are_those_of_the_parameter_set() {
        assert_eq!(COMPUTE.glwe_dimension.0 * COMPUTE.polynomial_size.0, LWE_DIMENSION);
        assert_eq!(PUBLIC.encryption_lwe_dimension.0, LWE_DIMENSION);
        assert_eq!((COMPUTE.message_modulus, COMPUTE.carry_modulus), (MESSAGE_MODULUS, CARRY_MODULUS));
        let values = COMPUTE.message_modulus.0 * COMPUTE.carry_modulus.0;
        assert_eq!(values, u64::from(BLOCK_VALUES));
        assert_eq!(DELTA, (1 << 63) / values);
        const { assert!(COMPUTE.log2_p_fail <= -128.0) };
        assert!(COMPUTE.ciphertext_modulus == modulus() && PUBLIC.ciphertext_modulus == modulus());
    }

    #[test]
    fn the_stated_library_is_the_one_in_the_lock_file() {
        let lock = include_str!("../../../Cargo.lock");
        let version = LIBRARY.strip_prefix("tfhe ").unwrap();
        assert!(lock.contains(&format!("name = \"tfhe\"\nversion = \"{version}\"")), "{LIBRARY} is not in Cargo.lock");
    }
}
