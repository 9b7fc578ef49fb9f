//! The one way in and out of bytes: canonical [borsh](https://borsh.io) with a size cap and no trailing bytes.

use borsh::{BorshDeserialize, BorshSerialize};

/// Why bytes were refused. The text names the limit or the place, never the content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// More bytes than the limit for this message allows.
    #[error("{what} is {actual} bytes long, the limit is {limit}")]
    TooLarge {
        /// What was being decoded.
        what: &'static str,
        /// Its length in bytes.
        actual: usize,
        /// The largest length accepted, in bytes.
        limit: usize,
    },
    /// The bytes end early, hold an unknown variant, or are otherwise not a canonical encoding.
    #[error("{what} is malformed or truncated: {reason}")]
    Malformed {
        /// What was being decoded.
        what: &'static str,
        /// The decoder's reason.
        reason: String,
    },
    /// A complete value is followed by more bytes.
    #[error("{what} has {extra} bytes after its end")]
    Trailing {
        /// What was being decoded.
        what: &'static str,
        /// How many bytes are left over.
        extra: usize,
    },
}

/// Encodes a value canonically.
///
/// # Panics
/// Only if a collection holds more than `u32::MAX` elements, which every limit of ours excludes.
#[allow(clippy::expect_used)]
pub fn encode<T: BorshSerialize + ?Sized>(value: &T) -> Vec<u8> {
    borsh::to_vec(value).expect("encoding into memory fails only past u32::MAX elements")
}

/// Decodes exactly one value from at most `limit` bytes; `what` names it in the error.
///
/// # Errors
/// [`DecodeError`] if the input is larger than `limit`, malformed, or followed by further bytes.
pub fn decode<T: BorshDeserialize>(what: &'static str, bytes: &[u8], limit: usize) -> Result<T, DecodeError> {
    if bytes.len() > limit {
        return Err(DecodeError::TooLarge { what, actual: bytes.len(), limit });
    }
    let mut rest = bytes;
    let value = T::deserialize(&mut rest).map_err(|e| DecodeError::Malformed { what, reason: e.to_string() })?;
    if !rest.is_empty() {
        return Err(DecodeError::Trailing { what, extra: rest.len() });
    }
    Ok(value)
}
