//! Typed values: what is encrypted, and what comes back from a decryption.
//!
//! A value is written as a type and a number: `u64:5`, `bool:true`, `address:0x70997970c51812dc3a010c7d01b50e0d17dc79c8`.
//! The types may also be called as Solidity calls them (`euint64`, `externalEuint64`, `ebool`, `eaddress`).

use crate::error::{Error, argument};
use parallax_runtime::FheType;
use revm::primitives::{Address, B256, U256};
use std::fmt;
use zeroize::Zeroizing;

/// A value with its type. Wiped when dropped; `Debug` shows the type alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Value {
    kind: FheType,
    /// Big-endian.
    number: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Value({}, not shown)", self.kind)
    }
}

/// The type that a word names: `u64`, `uint64`, `euint64` or `externalEuint64`, and so on; `bool`, `address`.
pub fn type_named(word: &str) -> Option<FheType> {
    let bare = word.strip_prefix("external").map(|rest| rest.strip_prefix('E').unwrap_or(""));
    let bare = bare.or_else(|| word.strip_prefix('e')).unwrap_or(word);
    FheType::ALL.into_iter().find(|kind| {
        let name = kind.name().strip_prefix('e').unwrap_or_default();
        name == bare || name.strip_prefix("uint").is_some_and(|bits| bare.strip_prefix('u') == Some(bits))
    })
}

/// The type in a handle.
///
/// # Errors
/// If no value of that type can be encrypted or decrypted.
pub fn type_of(handle: &B256) -> Result<FheType, Error> {
    let number = handle[30];
    FheType::from_code(number)
        .ok_or_else(|| argument(format!("{handle} is no handle of an encrypted value: type {number} is none")))
}

impl Value {
    /// A value of a type.
    ///
    /// # Errors
    /// If the number does not fit the type. The text does not repeat it.
    pub fn new(kind: FheType, number: U256) -> Result<Self, Error> {
        if number.bit_len() > usize::from(kind.bits()) {
            return Err(argument(format!("the number has more than the {} bits of {kind}", kind.bits())));
        }
        Ok(Self { kind, number: Zeroizing::new(number.to_be_bytes()) })
    }

    /// Reads `TYPE:VALUE`.
    ///
    /// # Errors
    /// If there is no such type, or the value is none of it.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let shape = "write TYPE:VALUE, for example u64:5, bool:true or address:0x...";
        let (kind, value) = text.split_once(':').ok_or_else(|| argument(format!("a value has no type; {shape}")))?;
        let named = type_named(kind);
        let kind = named.ok_or_else(|| {
            argument(format!(
                "{kind:?} is no type of encrypted values; there are bool, u8, u16, u32, u64, u128, u256 and address"
            ))
        })?;
        Self::of_type(kind, value)
    }

    /// Reads a value of a known type: `true` or `false`, a number in decimal or with `0x`, an address.
    ///
    /// # Errors
    /// If it is none of that type. The text does not repeat it.
    pub fn of_type(kind: FheType, text: &str) -> Result<Self, Error> {
        let number = match (kind, text) {
            (FheType::Bool, "true") => Some(U256::ONE),
            (FheType::Bool, "false") => Some(U256::ZERO),
            (FheType::Bool, _) => None,
            (FheType::Address, _) => text.parse::<Address>().ok().map(|a| U256::from_be_slice(a.as_slice())),
            _ => match text.strip_prefix("0x") {
                Some(digits) => U256::from_str_radix(digits, 16).ok(),
                None => U256::from_str_radix(text, 10).ok(),
            },
        };
        let wanted = match kind {
            FheType::Bool => "true or false".to_owned(),
            FheType::Address => "0x and 40 hexadecimal digits".to_owned(),
            _ => format!("a number of at most {} bits, in decimal or with 0x", kind.bits()),
        };
        let given = number.filter(|_| !text.is_empty() && text != "0x").map(|number| Self::new(kind, number));
        given.and_then(Result::ok).ok_or_else(|| argument(format!("a value of type {kind} is {wanted}")))
    }

    /// Its type.
    pub fn kind(&self) -> FheType {
        self.kind
    }

    /// Its number; 0 or 1 for a boolean.
    pub fn number(&self) -> U256 {
        U256::from_be_bytes(*self.number)
    }

    /// The numbers of four bits in which a list holds it, lowest first.
    pub fn packed(&self) -> Zeroizing<Vec<u8>> {
        let count = usize::from(self.kind.packed_blocks());
        let nibbles = self.number.iter().rev().flat_map(|byte| [byte & 15, byte >> 4]);
        Zeroizing::new(nibbles.take(count).collect())
    }

    /// The value that the blocks of a decryption hold: digits of two bits, lowest first.
    ///
    /// # Errors
    /// If these are not as many digits as the type has, or one is out of range.
    pub fn from_blocks(kind: FheType, blocks: &[u8]) -> Result<Self, Error> {
        let wrong = || argument(format!("a decryption does not have the {} digits of {kind}", kind.blocks()));
        if blocks.len() != usize::from(kind.blocks()) || blocks.iter().any(|digit| *digit > 3) {
            return Err(wrong());
        }
        let mut number = Zeroizing::new([0u8; 32]);
        for (byte, digits) in number.iter_mut().rev().zip(blocks.chunks(4)) {
            *byte = digits.iter().rev().fold(0, |byte, digit| byte << 2 | digit);
        }
        Self::new(kind, U256::from_be_bytes(*number)).map_err(|_| wrong())
    }

    /// The value that a word of the ABI holds.
    ///
    /// # Errors
    /// If the word is out of the type's range.
    pub fn from_word(kind: FheType, word: &B256) -> Result<Self, Error> {
        Self::new(kind, U256::from_be_bytes(word.0))
    }

    /// As a word of the ABI.
    pub fn word(&self) -> B256 {
        B256::from(*self.number)
    }

    /// As text: `true` or `false`, a decimal number, an address.
    pub fn text(&self) -> String {
        match self.kind {
            FheType::Bool => (!self.number().is_zero()).to_string(),
            FheType::Address => Address::from_word(self.word()).to_string(),
            _ => self.number().to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_short_names_and_those_of_solidity() {
        for (names, kind) in [
            (["bool", "ebool", "externalEbool"], FheType::Bool),
            (["u8", "euint8", "externalEuint8"], FheType::Uint8),
            (["u64", "uint64", "externalEuint64"], FheType::Uint64),
            (["u256", "euint256", "externalEuint256"], FheType::Uint256),
            (["address", "eaddress", "externalEaddress"], FheType::Address),
        ] {
            names.iter().for_each(|name| assert_eq!(type_named(name), Some(kind), "{name}"));
        }
        for none in ["", "u", "e", "uint", "u7", "u4", "i64", "external", "externaleuint64", "eeuint8", "string"] {
            assert_eq!(type_named(none), None, "{none}");
        }
    }

    #[test]
    fn a_value_is_read_and_shown_in_the_way_of_its_type() {
        let address = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
        for (given, shown) in [
            ("u64:5", "5"),
            ("u8:0xff", "255"),
            ("bool:true", "true"),
            ("ebool:false", "false"),
            ("u64:18446744073709551615", "18446744073709551615"),
            (&format!("address:{}", address.to_lowercase()), address),
        ] {
            assert_eq!(Value::parse(given).unwrap().text(), shown, "{given}");
        }
        let most = Value::new(FheType::Uint256, U256::MAX).unwrap();
        assert_eq!(Value::parse(&format!("u256:{}", most.text())).unwrap(), most);
    }

    #[test]
    fn what_is_no_value_is_refused_without_repeating_it() {
        for (given, expected) in [
            ("5", "has no type"),
            ("u65:5", "\"u65\" is no type"),
            ("u8:256", "at most 8 bits"),
            ("u8:-1", "at most 8 bits"),
            ("u8:", "at most 8 bits"),
            ("u8:0x", "at most 8 bits"),
            ("u64:18446744073709551616", "at most 64 bits"),
            ("u256:115792089237316195423570985008687907853269984665640564039457584007913129639936", "at most 256 bits"),
            ("bool:2", "true or false"),
            ("bool:1", "true or false"),
            ("address:0x12", "40 hexadecimal digits"),
        ] {
            let error = Value::parse(given).unwrap_err().to_string();
            assert!(error.contains(expected), "{given}: {error}");
            let secret = given.split_once(':').map_or("", |(_, value)| value);
            assert!(secret.len() < 3 || !error.contains(secret), "{given}: {error}");
        }
    }

    #[test]
    fn a_list_holds_four_bits_a_number_and_a_decryption_two() {
        let value = Value::parse("u16:0x1234").unwrap();
        assert_eq!(*value.packed(), [4, 3, 2, 1]);
        assert_eq!(*Value::parse("bool:true").unwrap().packed(), [1]);
        assert_eq!(Value::parse("address:0x70997970c51812dc3a010c7d01b50e0d17dc79c8").unwrap().packed().len(), 40);
        assert_eq!(Value::from_blocks(FheType::Uint16, &[0, 1, 3, 0, 2, 0, 1, 0]).unwrap(), value);
        for kind in FheType::ALL {
            // All bits set: the largest number of the type.
            let mut blocks = vec![3; usize::from(kind.blocks())];
            if kind == FheType::Bool {
                blocks = vec![1];
            }
            let value = Value::from_blocks(kind, &blocks).unwrap();
            assert_eq!(value.number().count_ones(), usize::from(kind.bits()), "{kind}");
            assert_eq!(Value::from_word(kind, &value.word()).unwrap(), value);
            blocks.push(0);
            assert!(Value::from_blocks(kind, &blocks).is_err(), "one digit more than {kind} has");
        }
        assert!(Value::from_blocks(FheType::Bool, &[2]).is_err(), "a boolean is 0 or 1");
        assert!(Value::from_blocks(FheType::Uint8, &[4, 0, 0, 0]).is_err(), "a digit has two bits");
    }

    #[test]
    fn a_value_does_not_show_itself() {
        assert_eq!(format!("{:?}", Value::parse("u64:31337").unwrap()), "Value(euint64, not shown)");
    }
}
