//! Parameters as clients give them.

use super::Error;
use revm::primitives::U256;
use serde_json::Value as Json;
use std::str::FromStr;

/// The parameter at a place; null if there are fewer.
pub(crate) fn at(parameters: &Json, index: usize) -> &Json {
    parameters.get(index).unwrap_or(&Json::Null)
}

/// A field of an object; null if it is not there.
pub(crate) fn field<'a>(object: &'a Json, name: &str) -> &'a Json {
    object.get(name).unwrap_or(&Json::Null)
}

/// A value as text in the form of `T`.
pub(crate) fn parsed<T: FromStr>(value: &Json, what: &str) -> Result<T, Error> {
    let text = value.as_str().ok_or_else(|| Error::invalid(format!("{what} is missing or is no text")))?;
    text.parse().map_err(|_| Error::invalid(format!("{what} is {text:?}, which is not one")))
}

/// A number: text, or an integer of JSON, as some tools send them.
pub(crate) fn number(value: &Json, what: &str) -> Result<U256, Error> {
    match value {
        Json::Number(n) => {
            n.as_u64().map(U256::from).ok_or_else(|| Error::invalid(format!("{what} is {n}, which is not one")))
        }
        // An empty digit string would be read as zero.
        Json::String(text) if matches!(text.as_str(), "" | "0x") => {
            Err(Error::invalid(format!("{what} is {text:?}, which is not one")))
        }
        other => parsed(other, what),
    }
}

/// A number of 64 bits.
pub(crate) fn small(value: &Json, what: &str) -> Result<u64, Error> {
    let n = number(value, what)?;
    n.try_into().map_err(|_| Error::invalid(format!("{what} is {n}, which is more than 64 bits hold")))
}

/// [`parsed`], of what may be left out.
pub(crate) fn optional<T: FromStr>(value: &Json, what: &str) -> Result<Option<T>, Error> {
    if value.is_null() { Ok(None) } else { parsed(value, what).map(Some) }
}

/// [`number`], of what may be left out.
pub(crate) fn optional_number(value: &Json, what: &str) -> Result<Option<U256>, Error> {
    if value.is_null() { Ok(None) } else { number(value, what).map(Some) }
}
