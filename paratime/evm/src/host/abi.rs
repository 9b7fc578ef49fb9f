//! The contract ABI as Solidity's decoder reads it: what it refuses, it refuses with the same revert, because callers
//! see the difference. Only the types that the host contracts take.

use super::frame::Fail;
use crate::handle::FheType;
use revm::primitives::{Address, B256, Bytes, U256, keccak256};

/// The most that an offset or a length may be before Solidity refuses to look at it.
const MAX_OFFSET: U256 = U256::from_limbs([u64::MAX, 0, 0, 0]);

/// Solidity's `Panic(uint256)` codes that the contracts can meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Panic {
    /// Arithmetic left its range.
    Arithmetic = 0x11,
    /// A number is not a member of the enum.
    Enum = 0x21,
    /// An index past the end.
    Index = 0x32,
    /// More memory than there can be.
    Memory = 0x41,
}

/// The revert of a Solidity panic.
pub(crate) fn panic(code: Panic) -> Fail {
    error("Panic(uint256)", &[B256::with_last_byte(code as u8)])
}

/// A revert without data, as a failed check of calldata gives.
pub(crate) fn bare() -> Fail {
    Fail::Revert(Vec::new())
}

/// The revert with a custom error whose arguments are single words.
pub(crate) fn error(signature: &str, words: &[B256]) -> Fail {
    let mut data = selector(signature).to_vec();
    words.iter().for_each(|word| data.extend_from_slice(word.as_slice()));
    Fail::Revert(data)
}

/// The first four bytes of a signature's hash.
pub(crate) fn selector(signature: &str) -> [u8; 4] {
    let hash = keccak256(signature);
    [hash[0], hash[1], hash[2], hash[3]]
}

/// An address as a word.
pub(crate) fn word(address: Address) -> B256 {
    address.into_word()
}

/// A number as a word.
pub(crate) fn number(n: impl Into<U256>) -> B256 {
    B256::from(n.into())
}

/// The arguments of a call, without the selector.
#[derive(Clone, Copy)]
pub(crate) struct Args<'a>(&'a [u8]);

impl<'a> Args<'a> {
    /// The arguments, whose heads take so many words.
    pub(crate) fn new(data: &'a [u8], words: usize) -> Result<Self, Fail> {
        if data.len() < words.saturating_mul(32) { Err(bare()) } else { Ok(Self(data)) }
    }

    /// A word at a byte offset; zeros past the end, as `calldataload` gives.
    fn load(&self, at: usize) -> B256 {
        let mut out = [0; 32];
        for (to, from) in out.iter_mut().zip(self.0.iter().skip(at)) {
            *to = *from;
        }
        B256::from(out)
    }

    /// `bytes32`.
    pub(crate) fn bytes32(&self, index: usize) -> B256 {
        self.load(index.saturating_mul(32))
    }

    /// `uint256`.
    pub(crate) fn uint256(&self, index: usize) -> U256 {
        self.bytes32(index).into()
    }

    /// `uint64`.
    pub(crate) fn uint64(&self, index: usize) -> Result<u64, Fail> {
        u64::try_from(self.uint256(index)).map_err(|_| bare())
    }

    /// `address`.
    pub(crate) fn address(&self, index: usize) -> Result<Address, Fail> {
        let value = self.bytes32(index);
        if value[..12].iter().any(|b| *b != 0) { Err(bare()) } else { Ok(Address::from_word(value)) }
    }

    /// `bytes1`.
    pub(crate) fn bytes1(&self, index: usize) -> Result<u8, Fail> {
        let value = self.bytes32(index);
        if value[1..].iter().any(|b| *b != 0) { Err(bare()) } else { Ok(value[0]) }
    }

    /// The enum of types.
    pub(crate) fn fhe_type(&self, index: usize) -> Result<FheType, Fail> {
        u8::try_from(self.uint256(index)).ok().and_then(FheType::new).ok_or_else(bare)
    }

    /// Where a dynamic argument lies and how long it says it is.
    fn tail(&self, index: usize) -> Result<(usize, U256), Fail> {
        let offset = self.uint256(index);
        if offset > MAX_OFFSET {
            return Err(bare());
        }
        let at = usize::try_from(offset).map_err(|_| bare())?;
        if at.checked_add(31).is_none_or(|last| last >= self.0.len()) {
            return Err(bare());
        }
        Ok((at.saturating_add(32), self.load(at).into()))
    }

    /// `bytes memory`.
    pub(crate) fn bytes(&self, index: usize) -> Result<&'a [u8], Fail> {
        let (at, length) = self.tail(index)?;
        if length > MAX_OFFSET {
            return Err(panic(Panic::Memory));
        }
        let length = usize::try_from(length).map_err(|_| bare())?;
        at.checked_add(length).and_then(|end| self.0.get(at..end)).ok_or_else(bare)
    }

    /// `bytes32[] memory` or `address[] memory`: the words.
    pub(crate) fn words(&self, index: usize) -> Result<Vec<B256>, Fail> {
        let (at, length) = self.tail(index)?;
        // Solidity gives up on memory before it looks at the end of the data.
        if length >= U256::from(1u64 << 59) {
            return Err(panic(Panic::Memory));
        }
        let length = usize::try_from(length).map_err(|_| bare())?;
        let end = length.checked_mul(32).and_then(|bytes| at.checked_add(bytes)).ok_or_else(bare)?;
        let bytes = self.0.get(at..end).ok_or_else(bare)?;
        Ok(bytes.chunks_exact(32).map(B256::from_slice).collect())
    }

    /// `address[] memory`.
    pub(crate) fn addresses(&self, index: usize) -> Result<Vec<Address>, Fail> {
        let dirty = |word: &B256| word[..12].iter().any(|b| *b != 0);
        let words = self.words(index)?;
        if words.iter().any(dirty) { Err(bare()) } else { Ok(words.into_iter().map(Address::from_word).collect()) }
    }

    /// `bytes[] calldata`: how many there are, and where their offsets lie.
    pub(crate) fn calldata_list(&self, index: usize) -> Result<CalldataList<'a>, Fail> {
        let (at, length) = self.tail(index)?;
        let length = usize::try_from(length).map_err(|_| bare())?;
        let end = length.checked_mul(32).and_then(|bytes| at.checked_add(bytes)).ok_or_else(bare)?;
        if end > self.0.len() { Err(bare()) } else { Ok(CalldataList { args: *self, base: at, length }) }
    }
}

/// A list of byte strings that is read as it is used.
pub(crate) struct CalldataList<'a> {
    args: Args<'a>,
    base: usize,
    /// How many strings.
    pub(crate) length: usize,
}

impl<'a> CalldataList<'a> {
    /// One of them.
    pub(crate) fn get(&self, index: usize) -> Result<&'a [u8], Fail> {
        let data = self.args.0;
        let relative: U256 = self.args.load(self.base.saturating_add(index.saturating_mul(32))).into();
        let relative = usize::try_from(relative).map_err(|_| bare())?;
        let at = self.base.checked_add(relative).ok_or_else(bare)?;
        if at.checked_add(31).is_none_or(|last| last >= data.len()) {
            return Err(bare());
        }
        let length: U256 = self.args.load(at).into();
        let (length, start) = (usize::try_from(length).map_err(|_| bare())?, at.saturating_add(32));
        start.checked_add(length).and_then(|end| data.get(start..end)).ok_or_else(bare)
    }
}

/// A value of a result, an event or a call.
#[derive(Clone, Debug)]
pub(crate) enum Out {
    /// One word in place.
    Word(B256),
    /// `bytes` or `string`.
    Bytes(Vec<u8>),
    /// A list of words.
    Words(Vec<B256>),
    /// A list of byte strings.
    List(Vec<Vec<u8>>),
}

impl Out {
    /// An address.
    pub(crate) fn address(address: Address) -> Self {
        Self::Word(word(address))
    }

    /// A boolean.
    pub(crate) fn bool(value: bool) -> Self {
        Self::Word(B256::with_last_byte(value.into()))
    }

    /// A number.
    pub(crate) fn number(n: impl Into<U256>) -> Self {
        Self::Word(number(n))
    }

    /// A string.
    pub(crate) fn text(text: &str) -> Self {
        Self::Bytes(text.as_bytes().to_vec())
    }

    /// Addresses.
    pub(crate) fn addresses(list: &[Address]) -> Self {
        Self::Words(list.iter().map(|a| word(*a)).collect())
    }

    fn tail(&self) -> Option<Vec<u8>> {
        fn padded(bytes: &[u8]) -> Vec<u8> {
            let mut out = number(U256::from(bytes.len())).to_vec();
            out.extend_from_slice(bytes);
            out.resize(out.len().next_multiple_of(32), 0);
            out
        }
        match self {
            Self::Word(_) => None,
            Self::Bytes(bytes) => Some(padded(bytes)),
            Self::Words(words) => {
                let mut out = number(U256::from(words.len())).to_vec();
                words.iter().for_each(|w| out.extend_from_slice(w.as_slice()));
                Some(out)
            }
            Self::List(list) => {
                let items: Vec<Self> = list.iter().map(|item| Self::Bytes(item.clone())).collect();
                let mut out = number(U256::from(list.len())).to_vec();
                out.extend(encode(&items));
                Some(out)
            }
        }
    }
}

/// Values in the ABI's form: heads, then the tails of the dynamic ones.
pub(crate) fn encode(values: &[Out]) -> Vec<u8> {
    let (mut heads, mut tails) = (Vec::new(), Vec::new());
    for value in values {
        match (value, value.tail()) {
            (Out::Word(word), _) => heads.extend_from_slice(word.as_slice()),
            (_, tail) => {
                let offset = values.len().saturating_mul(32).saturating_add(tails.len());
                heads.extend_from_slice(number(U256::from(offset)).as_slice());
                tails.extend(tail.unwrap_or_default());
            }
        }
    }
    heads.extend(tails);
    heads
}

/// What a function returns.
pub(crate) fn returns(values: &[Out]) -> Bytes {
    encode(values).into()
}
