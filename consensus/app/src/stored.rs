//! How the ledger's values stand in the state: canonical borsh inside a version, under a [`crate::keys`] key.

use borsh::{BorshDeserialize, BorshSerialize};
use parallax_primitives::{decode, encode, limits};
use parallax_state::{Overlay, StateError, StateView, Value};

/// A stored value. A new format of any type is a new variant here, read side by side with the old one.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Stored<T> {
    /// The first format.
    V1(T),
}

/// The bytes that stand in the state for a value.
pub fn to_bytes<T: BorshSerialize>(value: &T) -> Vec<u8> {
    encode(&Stored::V1(value))
}

/// The value behind what the state holds under a key; `key` is named in the error.
///
/// # Errors
/// [`StateError::Corrupt`] if it is not what this program writes.
pub fn from_value<T: BorshDeserialize>(key: &[u8], value: &Value) -> Result<T, StateError> {
    let corrupt =
        |reason: String| StateError::Corrupt { what: format!("the ledger's key {}", key.escape_ascii()), reason };
    match value {
        Value::Plain(bytes) => match decode("the value", bytes, limits::MAX_VALUE_BYTES) {
            Ok(Stored::V1(value)) => Ok(value),
            Err(e) => Err(corrupt(e.to_string())),
        },
        Value::Cipher(_) => Err(corrupt("a ciphertext stands where public bytes belong".to_owned())),
    }
}

/// Reads a value.
///
/// # Errors
/// If the state cannot be read or is corrupt.
pub fn read<T: BorshDeserialize>(view: &dyn StateView, key: &[u8]) -> Result<Option<T>, StateError> {
    view.get(key)?.map(|value| from_value(key, &value)).transpose()
}

/// Reads a value that genesis wrote and nothing deletes.
///
/// # Errors
/// As for [`read`]; also if it is missing.
pub fn require<T: BorshDeserialize>(view: &dyn StateView, key: &[u8]) -> Result<T, StateError> {
    read(view, key)?.ok_or_else(|| StateError::Corrupt {
        what: format!("the ledger's key {}", key.escape_ascii()),
        reason: "it is missing".to_owned(),
    })
}

/// Reads every value with a prefix, in key order, with the part of its key after the prefix.
///
/// # Errors
/// As for [`read`].
pub fn scan<T: BorshDeserialize>(view: &dyn StateView, prefix: &[u8]) -> Result<Vec<(Vec<u8>, T)>, StateError> {
    view.scan(prefix)?
        .into_iter()
        .map(|(key, value)| {
            let value = from_value(&key, &value)?;
            Ok((key.get(prefix.len()..).unwrap_or_default().to_vec(), value))
        })
        .collect()
}

/// Writes a value.
pub fn write<T: BorshSerialize>(overlay: &mut Overlay<'_>, key: Vec<u8>, value: &T) {
    overlay.put(key, to_bytes(value));
}
