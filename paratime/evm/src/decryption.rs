//! What key managers sign so that contracts believe a public decryption, and how plaintexts are written.
//!
//! The signature's domain is `Decryption`, version `1`, with chain and contract of [`Verifier`]: those of the chain that
//! the published system has for its key managers. Each value is a word of 32 bytes, as Solidity's `abi.encode` writes
//! it, one after the other in the order of the handles.

use crate::handle::{self, VERSION};
use crate::host::{DECRYPTION_DOMAIN, Verifier, decryption_structure, signers::typed_data_digest};
use parallax_runtime::FheType;
use revm::primitives::{Address, B256, U256};
use serde_json::Value as Json;

/// Most bits of the values of one request, as the published library has it. A boolean counts as two.
pub const MAX_BITS: u32 = 2_048;
/// Most values of one request.
pub const MAX_HANDLES: usize = 256;

/// Why handles cannot be decrypted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandleError {
    /// None, or too many.
    #[error("the request names {0} handles; it must name 1 to {MAX_HANDLES}")]
    Count(usize),
    /// Too many bits.
    #[error("the values have {0} bits, a request may have {MAX_BITS}; ask for some of them at a time")]
    TooManyBits(u32),
    /// A handle of another chain.
    #[error("handle {handle} is of chain {theirs}, this is chain {ours}")]
    OtherChain {
        /// The handle.
        handle: B256,
        /// Its chain.
        theirs: u64,
        /// Ours.
        ours: u64,
    },
    /// A handle of a version or type that names no value.
    #[error("handle {0} has a version or type of which there are no values; check that it is a handle")]
    NotAHandle(B256),
}

/// Checks handles that someone wants to have decrypted, and tells their types.
///
/// # Errors
/// [`HandleError`].
pub fn check_handles(handles: &[B256], chain_id: u64) -> Result<Vec<FheType>, HandleError> {
    if handles.is_empty() || handles.len() > MAX_HANDLES {
        return Err(HandleError::Count(handles.len()));
    }
    let mut kinds = Vec::with_capacity(handles.len());
    let mut bits = 0u32;
    for handle in handles {
        let theirs = handle::chain_of(handle);
        if theirs != chain_id {
            return Err(HandleError::OtherChain { handle: *handle, theirs, ours: chain_id });
        }
        let kind = FheType::from_code(handle[30]).filter(|_| handle[31] == VERSION);
        let kind = kind.ok_or(HandleError::NotAHandle(*handle))?;
        bits = bits.saturating_add(u32::from(kind.bits()).max(2));
        kinds.push(kind);
    }
    if bits > MAX_BITS { Err(HandleError::TooManyBits(bits)) } else { Ok(kinds) }
}

/// The word of a value of this type from its decrypted blocks, lowest first; `None` if it has another number of blocks,
/// or a block or the value is too large.
pub fn word(kind: FheType, blocks: &[u8]) -> Option<B256> {
    if blocks.len() != usize::from(kind.blocks()) || blocks.iter().any(|digit| *digit > kind.digit_max()) {
        return None;
    }
    let mut value = U256::ZERO;
    for digit in blocks.iter().rev() {
        value = (value << 2) | U256::from(*digit);
    }
    Some(B256::from(value))
}

/// A value as people and programs read it: a boolean, an address, or a number in decimal digits.
pub fn value(kind: FheType, word: &B256) -> Json {
    match kind {
        FheType::Bool => Json::Bool(!word.is_zero()),
        FheType::Address => Json::String(format!("{:#x}", Address::from_word(*word))),
        _ => Json::String(U256::from_be_bytes(word.0).to_string()),
    }
}

/// The words of values, one after the other.
pub fn plaintexts(words: &[B256]) -> Vec<u8> {
    words.iter().flat_map(|word| word.0).collect()
}

/// The digest that key managers sign for the plaintexts of these handles, ABI-encoded one after the other (EIP-712).
pub fn digest(verifier: &Verifier, handles: &[B256], plaintexts: &[u8], extra: &[u8]) -> B256 {
    let structure = decryption_structure(handles, plaintexts, extra);
    typed_data_digest(DECRYPTION_DOMAIN.as_bytes(), b"1", verifier.chain_id, verifier.contract, structure)
}

/// The proof that a contract takes: how many signatures, the signatures, and extra data.
pub fn proof(signatures: &[Vec<u8>], extra: &[u8]) -> Vec<u8> {
    let mut out = vec![u8::try_from(signatures.len()).unwrap_or(u8::MAX)];
    signatures.iter().for_each(|signature| out.extend_from_slice(signature));
    out.extend_from_slice(extra);
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends at the first error")]

    use super::*;
    use crate::handle::{COMPUTED, FheType as Kind, compose};

    fn of(kind: Kind) -> B256 {
        compose(B256::repeat_byte(0xab), COMPUTED, 7, kind)
    }

    #[test]
    fn blocks_become_the_word_that_solidity_writes() {
        assert_eq!(word(FheType::Bool, &[1]), Some(B256::with_last_byte(1)));
        assert_eq!(word(FheType::Uint8, &[3, 0, 2, 1]), Some(B256::with_last_byte(0b01_10_00_11)));
        assert_eq!(word(FheType::Uint256, &[3; 128]), Some(B256::repeat_byte(0xff)));
        let account = word(FheType::Address, &[[1; 40].as_slice(), &[2; 40]].concat()).unwrap();
        assert_eq!(account[..12], [0; 12], "20 bytes on the right");
        assert_eq!(account[12..], [[0xaa; 10], [0x55; 10]].concat());
        assert_eq!(plaintexts(&[account, B256::ZERO]).len(), 64);
    }

    #[test]
    fn blocks_that_are_no_value_of_the_type_are_refused() {
        assert_eq!(word(FheType::Bool, &[2]), None, "neither true nor false");
        assert_eq!(word(FheType::Uint8, &[0, 4, 0, 0]), None, "a carry");
        assert_eq!(word(FheType::Uint8, &[0; 3]), None);
        assert_eq!(word(FheType::Uint8, &[0; 5]), None);
    }

    #[test]
    fn values_are_shown_as_booleans_addresses_and_decimal_digits() {
        assert_eq!(value(FheType::Bool, &B256::with_last_byte(1)), Json::Bool(true));
        assert_eq!(value(FheType::Uint64, &B256::from(U256::from(u64::MAX))), "18446744073709551615");
        let account = B256::left_padding_from(&[0xab; 20]);
        assert_eq!(value(FheType::Address, &account), "0xabababababababababababababababababababab");
    }

    #[test]
    fn handles_of_another_chain_version_or_type_are_no_handles_here() {
        assert_eq!(check_handles(&[of(Kind::UINT8), of(Kind::BOOL)], 7), Ok(vec![FheType::Uint8, FheType::Bool]));
        let handle = of(Kind::UINT8);
        let error = HandleError::OtherChain { handle, theirs: 7, ours: 8 };
        assert_eq!(check_handles(&[handle], 8), Err(error));
        for (at, byte) in [(30, 1), (30, 9), (30, 200), (31, 1)] {
            let mut odd = handle;
            odd[at] = byte;
            assert_eq!(check_handles(&[handle, odd], 7), Err(HandleError::NotAHandle(odd)));
        }
    }

    #[test]
    fn a_request_has_at_most_2048_bits_of_which_a_boolean_takes_two() {
        assert!(check_handles(&[of(Kind::UINT256); 8], 7).is_ok());
        let over = [[of(Kind::UINT256); 8].as_slice(), &[of(Kind::BOOL)]].concat();
        assert_eq!(check_handles(&over, 7), Err(HandleError::TooManyBits(2_050)));
        assert!(check_handles(&[of(Kind::BOOL); MAX_HANDLES], 7).is_ok());
        assert_eq!(check_handles(&[of(Kind::BOOL); MAX_HANDLES + 1], 7), Err(HandleError::Count(257)));
        assert_eq!(check_handles(&[], 7), Err(HandleError::Count(0)));
    }
}
