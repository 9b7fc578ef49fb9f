//! Handles: the 32-byte names of ciphertexts in contracts.
//!
//! Bytes 0 to 20 are a hash, byte 21 is 0xff for what was computed and else the position in its input list, 22 to 29
//! the chain id, big-endian, 30 the type and 31 the version. A handle is a function of the operation and the handles
//! that go in, so equal operations on equal operands name one ciphertext.

use revm::primitives::alloy_primitives::Keccak256;
use revm::primitives::{Address, B256};

/// The version of the layout.
pub const VERSION: u8 = 0;
/// Byte 21 of what was computed.
pub const COMPUTED: u8 = 0xff;

/// The type of an encrypted value, as the published enum numbers it. Types that no operation takes are here too: a
/// handle may carry them, and what that leads to is visible to callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FheType(u8);

impl FheType {
    /// How many members the published enum has.
    pub const COUNT: u8 = 84;
    /// `ebool`.
    pub const BOOL: Self = Self(0);
    /// `euint8`.
    pub const UINT8: Self = Self(2);
    /// `euint16`.
    pub const UINT16: Self = Self(3);
    /// `euint32`.
    pub const UINT32: Self = Self(4);
    /// `euint64`.
    pub const UINT64: Self = Self(5);
    /// `euint128`.
    pub const UINT128: Self = Self(6);
    /// `eaddress`.
    pub const UINT160: Self = Self(7);
    /// `euint256`.
    pub const UINT256: Self = Self(8);

    /// A member of the enum.
    pub fn new(number: u8) -> Option<Self> {
        (number < Self::COUNT).then_some(Self(number))
    }

    /// Its number.
    pub fn number(self) -> u8 {
        self.0
    }

    /// How many bits a value of it has, if there are operations on it.
    pub fn bits(self) -> Option<u16> {
        match self {
            Self::BOOL => Some(1),
            Self::UINT8 => Some(8),
            Self::UINT16 => Some(16),
            Self::UINT32 => Some(32),
            Self::UINT64 => Some(64),
            Self::UINT128 => Some(128),
            Self::UINT160 => Some(160),
            Self::UINT256 => Some(256),
            _ => None,
        }
    }
}

/// The type in a handle; `None` if its number is no member of the enum.
pub fn type_of(handle: &B256) -> Option<FheType> {
    FheType::new(handle[30])
}

/// The chain in a handle.
pub fn chain_of(handle: &B256) -> u64 {
    handle[22..30].iter().fold(0, |n, byte| (n << 8) | u64::from(*byte))
}

/// A handle from its hash.
pub fn compose(hash: B256, index: u8, chain_id: u64, kind: FheType) -> B256 {
    let mut out = hash;
    out[21] = index;
    out[22..30].copy_from_slice(&chain_id.to_be_bytes());
    out[30] = kind.number();
    out[31] = VERSION;
    out
}

/// What the handle of a result is hashed from.
#[derive(Clone)]
pub(crate) struct Preimage(Keccak256);

impl Preimage {
    /// The preimage of an operation.
    pub(crate) fn new(op: u8) -> Self {
        let mut hasher = Keccak256::new();
        hasher.update([op]);
        Self(hasher)
    }

    /// Adds bytes.
    pub(crate) fn with(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.0.update(bytes);
        self
    }

    /// Adds the access control list and the chain, which all but random values end with.
    pub(crate) fn bound(self, acl: Address, chain_id: u64) -> Self {
        let chain = B256::left_padding_from(&chain_id.to_be_bytes());
        self.with(acl).with(chain)
    }

    /// The handle of a computed value of this type.
    pub(crate) fn handle(self, chain_id: u64, kind: FheType) -> B256 {
        compose(self.0.finalize(), COMPUTED, chain_id, kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_shows_chain_type_and_that_it_was_computed() {
        let handle = compose(B256::repeat_byte(0xab), COMPUTED, 31_337, FheType::UINT64);
        assert_eq!(handle[..21], [0xab; 21]);
        assert_eq!(handle[21], 0xff);
        assert_eq!(chain_of(&handle), 31_337);
        assert_eq!(type_of(&handle), Some(FheType::UINT64));
        assert_eq!(handle[31], VERSION);
        assert_eq!(type_of(&B256::repeat_byte(84)), None, "84 is one past the last type");
    }
}
