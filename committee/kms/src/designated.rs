//! The designated decryptor: one party, n = 1 and t = 0, that holds the whole key and decrypts alone.
//!
//! This is the boundary for a threshold protocol. What the rest of the crate asks for is [`decrypt`]: from a granted
//! ciphertext, which the caller has verified to its last bit, to this party's contribution. With several parties that
//! contribution is a masked share of the squashed ciphertext instead of the plaintext, it travels in further variants
//! of [`Payload`](parallax_runtime::decryption::Payload), and combining shares takes the place of counting equal
//! answers in [`crate::open_answer`]. Verification, sealing, signing, the log and the messages stay as they are.

use crate::refusal::Refusal;
use parallax_runtime::{Decryptor, FheError};
use parallax_state::CipherRef;
use zeroize::Zeroizing;

/// How this arrangement is called wherever a person reads about it.
pub const LABEL: &str = "designated decryptor";

/// The largest digit of a block.
const MAX_DIGIT: u8 = 15;

/// Decrypts a ciphertext that is known to be the granted one. The blocks are wiped when dropped.
///
/// # Errors
/// [`Refusal::NotConformant`] if it does not fit the parameters, [`Refusal::Unavailable`] if the library fails. The
/// library's own text is dropped: nobody outside learns why, and how, a decryption failed.
pub fn decrypt(decryptor: &dyn Decryptor, reference: &CipherRef, cipher: &[u8]) -> Result<Zeroizing<Vec<u8>>, Refusal> {
    let blocks = decryptor.decrypt(cipher, reference.blocks).map_err(|error| match error {
        FheError::BadInput { .. } | FheError::Refused(_) => Refusal::NotConformant,
        FheError::KeyNotLoaded(_) | FheError::Cancelled | FheError::Library(_) => Refusal::Unavailable,
    })?;
    if blocks.len() != usize::from(reference.blocks) || blocks.iter().any(|digit| *digit > MAX_DIGIT) {
        return Err(Refusal::NotConformant);
    }
    Ok(blocks)
}
