//! Decryption of stored ciphertexts by the one who holds the whole secret key (n = 1).

use crate::encoding::decode_stored;
use crate::keys::SecretKeys;
use crate::parameters::{BLOCK_VALUES, DELTA};
use parallax_primitives::KeyId;
use parallax_runtime::{Decryptor, FheError, InputError};
use zeroize::Zeroizing;

/// Decrypts with the secret key of one key set. What it is given must have been verified to be final and granted:
/// answers about ciphertexts of an attacker's choice reveal the key.
#[derive(Debug)]
pub struct TfheDecryptor {
    keys: SecretKeys,
}

impl TfheDecryptor {
    /// The decryptor of this key set.
    pub fn new(keys: SecretKeys) -> Self {
        Self { keys }
    }
}

impl TfheDecryptor {
    /// How far a ciphertext of one block is from `value`, in units of the 64-bit torus. For measurements of noise: like
    /// a plaintext, it is a secret of the key.
    ///
    /// # Errors
    /// If the bytes do not conform.
    pub fn noise(&self, cipher: &[u8], value: u8) -> Result<f64, FheError> {
        let words = decode_stored(cipher, &[self.keys.key_id], 1)?;
        let phase = words.first().map_or(0, |block| phase(&self.keys.lwe, block));
        Ok(phase.wrapping_sub(u64::from(value).wrapping_mul(DELTA)) as i64 as f64)
    }
}

/// The phase `b - <a, s>`. Branches and indices do not depend on the key.
fn phase(key: &[u64], block: &[u64]) -> u64 {
    let Some((body, mask)) = block.split_last() else { return u64::MAX };
    let inner = mask.iter().zip(key).fold(0u64, |sum, (a, s)| sum.wrapping_add(a.wrapping_mul(*s)));
    body.wrapping_sub(inner)
}

/// The value of a block with its padding bit, 0..=31: its phase, rounded to a multiple of delta.
pub(crate) fn decode_block(key: &[u64], block: &[u64]) -> u8 {
    (phase(key, block).wrapping_add(DELTA / 2) / DELTA) as u8
}

impl Decryptor for TfheDecryptor {
    fn key_id(&self) -> KeyId {
        self.keys.key_id
    }

    fn decrypt(&self, cipher: &[u8], blocks: u16) -> Result<Zeroizing<Vec<u8>>, FheError> {
        let words = decode_stored(cipher, &[self.keys.key_id], blocks)?;
        let mut out = Zeroizing::new(Vec::with_capacity(words.len()));
        for (i, block) in words.iter().enumerate() {
            let value = decode_block(&self.keys.lwe, block);
            if value >= BLOCK_VALUES {
                let reason = format!("block {i} has its padding bit set; no program of ours leaves such a block");
                return Err(InputError::NotConformant(reason).into());
            }
            out.push(value);
        }
        Ok(out)
    }
}
