//! Ciphertexts as bytes: stored blocks, and compact lists with their proof.
//!
//! Both forms begin with four bytes that say what they are and in which version, the key id, and the number of blocks
//! (little-endian, two bytes). Lengths are compared before anything is allocated or decoded, and the key id before the
//! rest is looked at.
//!
//! | form | after the header |
//! | --- | --- |
//! | stored | each block: 2,049 words of 64 bits, little-endian; 16,392 bytes a block |
//! | list | 2,048 words of mask, one word a block, then the proof in tfhe's serialisation |

use crate::parameters::{BLOCK_BYTES, LWE_DIMENSION, MAX_LIST_BLOCKS};
use parallax_primitives::{Digest, KeyId};
use parallax_runtime::InputError;
use parallax_runtime::trace::block_digest;

const STORED_MAGIC: [u8; 4] = *b"PXC\x01";
const LIST_MAGIC: [u8; 4] = *b"PXL\x01";
/// Bytes before the first word of either form.
pub const HEADER_BYTES: usize = 4 + 32 + 2;
/// Largest proof, in bytes. Proofs of version 2 have a fixed number of group elements and are about 2 KB long.
pub const MAX_PROOF_BYTES: usize = 8 * 1024;

/// One block: words of mask and body.
pub(crate) type Words = Vec<u64>;

/// Bytes of a stored ciphertext of this many blocks.
pub fn stored_bytes(blocks: u16) -> usize {
    HEADER_BYTES + usize::from(blocks) * BLOCK_BYTES
}

/// Most bytes of a list of this many blocks with its proof.
pub fn max_list_bytes(blocks: u16) -> usize {
    list_proof_offset(blocks) + MAX_PROOF_BYTES
}

fn list_proof_offset(blocks: u16) -> usize {
    HEADER_BYTES + (LWE_DIMENSION + usize::from(blocks)) * 8
}

/// The bytes of one block.
pub(crate) fn block_to_bytes(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_le_bytes()).collect()
}

/// The digest of one block, as trace leaves hold it.
pub(crate) fn digest_of_block(words: &[u64]) -> Digest {
    block_digest(&block_to_bytes(words))
}

fn words_of(bytes: &[u8]) -> Words {
    let (words, _) = bytes.as_chunks::<8>();
    words.iter().map(|w| u64::from_le_bytes(*w)).collect()
}

fn header(magic: [u8; 4], key: KeyId, blocks: u16, capacity: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(capacity);
    out.extend_from_slice(&magic);
    out.extend_from_slice(&key.0);
    out.extend_from_slice(&blocks.to_le_bytes());
    out
}

/// Encodes blocks as a stored ciphertext. `None` if there are more than `u16::MAX`.
pub(crate) fn encode_stored<'a>(key: KeyId, blocks: impl ExactSizeIterator<Item = &'a [u64]>) -> Option<Vec<u8>> {
    let count = u16::try_from(blocks.len()).ok()?;
    let mut out = header(STORED_MAGIC, key, count, stored_bytes(count));
    for words in blocks {
        out.extend(words.iter().flat_map(|w| w.to_le_bytes()));
    }
    Some(out)
}

/// The key id that a ciphertext in either form names, without decoding the rest. `None` if it is too short to say.
pub fn key_of(bytes: &[u8]) -> Option<KeyId> {
    let key = bytes.get(4..36)?;
    Some(KeyId(key.try_into().ok()?))
}

/// Checks form, key and number of blocks; what follows the header.
fn open<'a>(
    bytes: &'a [u8],
    magic: [u8; 4],
    what: &str,
    accepted: &[KeyId],
    blocks: u16,
) -> Result<&'a [u8], InputError> {
    let Some((head, body)) = bytes.split_at_checked(HEADER_BYTES) else {
        return Err(InputError::NotConformant(format!(
            "{} bytes are too few for {what}: the header has {HEADER_BYTES}",
            bytes.len()
        )));
    };
    if head[..4] != magic {
        return Err(InputError::NotConformant(format!("the first bytes are not those of {what} in version 1")));
    }
    let given = key_of(head).unwrap_or_default();
    if !accepted.contains(&given) {
        return Err(InputError::UnknownKey { given, accepted: accepted.first().copied().unwrap_or_default() });
    }
    let count = u16::from_le_bytes([head[36], head[37]]);
    if count != blocks {
        return Err(InputError::NotConformant(format!("{what} has {count} blocks where {blocks} are needed")));
    }
    Ok(body)
}

/// Decodes a stored ciphertext of exactly `blocks` blocks under one of the accepted keys.
pub(crate) fn decode_stored(bytes: &[u8], accepted: &[KeyId], blocks: u16) -> Result<Vec<Words>, InputError> {
    let size = stored_bytes(blocks);
    if bytes.len() > size {
        return Err(InputError::TooLarge { actual: bytes.len(), limit: size });
    }
    let body = open(bytes, STORED_MAGIC, "a stored ciphertext", accepted, blocks)?;
    if bytes.len() != size {
        let reason = format!("{} bytes where {blocks} blocks take {size}; it is truncated", bytes.len());
        return Err(InputError::NotConformant(reason));
    }
    let (blocks, _) = body.as_chunks::<BLOCK_BYTES>();
    Ok(blocks.iter().map(|b| words_of(b)).collect())
}

/// A compact list as it was sent, its proof not yet decoded.
pub(crate) struct RawList<'a> {
    /// The mask, then one body a block.
    pub(crate) words: Words,
    /// The proof's bytes.
    pub(crate) proof: &'a [u8],
}

/// Encodes a compact list with its proof.
pub(crate) fn encode_list(key: KeyId, blocks: u16, words: &[u64], proof: &[u8]) -> Vec<u8> {
    let mut out = header(LIST_MAGIC, key, blocks, list_proof_offset(blocks) + proof.len());
    out.extend(words.iter().flat_map(|w| w.to_le_bytes()));
    out.extend_from_slice(proof);
    out
}

/// Takes a list of exactly `blocks` blocks apart.
pub(crate) fn decode_list<'a>(bytes: &'a [u8], accepted: &[KeyId], blocks: u16) -> Result<RawList<'a>, InputError> {
    if blocks == 0 || blocks > MAX_LIST_BLOCKS {
        return Err(InputError::NotConformant(format!("a list has 1 to {MAX_LIST_BLOCKS} blocks, not {blocks}")));
    }
    let limit = max_list_bytes(blocks);
    if bytes.len() > limit {
        return Err(InputError::TooLarge { actual: bytes.len(), limit });
    }
    let body = open(bytes, LIST_MAGIC, "a compact list", accepted, blocks)?;
    let Some((words, proof)) = body.split_at_checked(list_proof_offset(blocks) - HEADER_BYTES) else {
        let need = list_proof_offset(blocks);
        return Err(InputError::NotConformant(format!("{} bytes where {need} come before the proof", bytes.len())));
    };
    Ok(RawList { words: words_of(words), proof })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parameters::BLOCK_WORDS;
    use proptest::prelude::*;

    const KEY: KeyId = KeyId([7; 32]);

    fn sample(blocks: u16) -> Vec<u8> {
        let block: Words = (0..BLOCK_WORDS as u64).collect();
        encode_stored(KEY, (0..blocks).map(|_| block.as_slice())).unwrap()
    }

    #[test]
    fn a_stored_ciphertext_survives_encoding() {
        let bytes = sample(3);
        assert_eq!(bytes.len(), stored_bytes(3));
        let blocks = decode_stored(&bytes, &[KEY], 3).unwrap();
        assert!(blocks.iter().all(|b| b.len() == BLOCK_WORDS));
        assert_eq!(encode_stored(KEY, blocks.iter().map(Vec::as_slice)).unwrap(), bytes);
    }

    #[test]
    fn an_unknown_key_is_refused_before_the_rest_is_looked_at() {
        let mut bytes = sample(1);
        bytes[4] ^= 1;
        bytes.truncate(HEADER_BYTES);
        assert!(matches!(decode_stored(&bytes, &[KEY], 1), Err(InputError::UnknownKey { accepted: KEY, .. })));
    }

    #[test]
    fn a_length_that_does_not_fit_is_refused() {
        let mut bytes = sample(2);
        assert!(matches!(decode_stored(&bytes, &[KEY], 1), Err(InputError::TooLarge { .. })));
        assert!(matches!(decode_stored(&bytes, &[KEY], 3), Err(InputError::NotConformant(_))));
        bytes.pop();
        assert!(matches!(decode_stored(&bytes, &[KEY], 2), Err(InputError::NotConformant(_))));
        assert!(matches!(decode_list(&bytes, &[KEY], 2), Err(InputError::TooLarge { .. })));
        assert!(matches!(decode_list(&bytes[..100], &[KEY], 2), Err(InputError::NotConformant(_))));
        assert!(matches!(decode_list(&[], &[KEY], MAX_LIST_BLOCKS + 1), Err(InputError::NotConformant(_))));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), blocks in any::<u16>()) {
            prop_assert!(decode_stored(&bytes, &[KEY], blocks).is_err());
            prop_assert!(decode_list(&bytes, &[KEY], blocks).is_err());
        }

        #[test]
        fn a_changed_header_is_refused_or_names_another_key(at in 0usize..HEADER_BYTES, flip in 1u8..) {
            let mut bytes = sample(1);
            bytes[at] ^= flip;
            prop_assert!(decode_stored(&bytes, &[KEY], 1).is_err());
        }
    }
}
