//! Integers under encryption: their types, the operations on them, and what an operand can be.
//!
//! An integer is a vector of blocks, little-endian, each a digit of two bits with nominal noise: four blocks make an
//! 8-bit number. A boolean is one block holding 0 or 1. Types, operations and what each accepts are those of the
//! Solidity library `FHE.sol` (`@fhevm/solidity` 0.10.0) and the executor behind it.
//!
//! # What operations compute
//! With `k` the bits of the type, numbers are in `0..2^k`, and arithmetic wraps modulo `2^k`.
//!
//! | operation | result | right-hand side |
//! | --- | --- | --- |
//! | add, sub, mul | modulo `2^k` | encrypted or clear |
//! | div, rem | rounded down; the rest | clear only, not zero |
//! | and, or, xor | bit by bit | encrypted or clear |
//! | shl, shr, rotl, rotr | by the amount modulo `k` | encrypted or clear |
//! | eq, ne, lt, le, gt, ge | one block, 0 or 1 | encrypted or clear |
//! | min, max | the smaller, the larger | encrypted or clear |
//! | neg | `2^k - x` modulo `2^k` | none |
//! | select | the second operand if the first (one block, 0 or 1) is 1, else the third | encrypted |
//!
//! A clear operand is reduced modulo `2^k` before anything else, as the reference coprocessor does; only a divisor is
//! taken whole, so dividing by `2^k` or more gives 0 with the number as the rest. Clear operands are public: they stand
//! in the program's digest and in the leaf of the trace.

use crate::program::{InputKind, ValueId};
use borsh::{BorshDeserialize, BorshSerialize};
use std::fmt;

/// Bits of one block of an integer.
pub const DIGIT_BITS: u16 = 2;
/// The largest value of such a block.
pub const DIGIT_MAX: u8 = 3;

/// The type of an encrypted value, as `FHE.sol` has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub enum FheType {
    /// `ebool`: one block, 0 or 1.
    Bool,
    /// `euint8`.
    Uint8,
    /// `euint16`.
    Uint16,
    /// `euint32`.
    Uint32,
    /// `euint64`.
    Uint64,
    /// `euint128`.
    Uint128,
    /// `eaddress`: 160 bits, compared and selected only.
    Address,
    /// `euint256`: no arithmetic and no order.
    Uint256,
}

impl FheType {
    /// Every type, smallest first.
    pub const ALL: [Self; 8] = [
        Self::Bool,
        Self::Uint8,
        Self::Uint16,
        Self::Uint32,
        Self::Uint64,
        Self::Uint128,
        Self::Address,
        Self::Uint256,
    ];

    /// How many bits a value has.
    pub const fn bits(self) -> u16 {
        match self {
            Self::Bool => 1,
            Self::Uint8 => 8,
            Self::Uint16 => 16,
            Self::Uint32 => 32,
            Self::Uint64 => 64,
            Self::Uint128 => 128,
            Self::Address => 160,
            Self::Uint256 => 256,
        }
    }

    /// How many blocks: `ceil(bits / 2)`.
    pub const fn blocks(self) -> u16 {
        self.bits().div_ceil(DIGIT_BITS)
    }

    /// The largest value of a block.
    pub const fn digit_max(self) -> u8 {
        match self {
            Self::Bool => 1,
            _ => DIGIT_MAX,
        }
    }

    /// The input that takes a stored ciphertext of this type.
    pub const fn input(self) -> InputKind {
        InputKind::Stored { blocks: self.blocks(), max: self.digit_max() }
    }

    /// How many numbers of four bits hold a value in a client's list: `ceil(bits / 4)`. See
    /// [`crate::ProgramBuilder::unpack`].
    pub const fn packed_blocks(self) -> u16 {
        self.bits().div_ceil(4)
    }

    /// The number of the type in handles and events: Solidity's `enum FheType`.
    pub const fn code(self) -> u8 {
        match self {
            Self::Bool => 0,
            Self::Uint8 => 2,
            Self::Uint16 => 3,
            Self::Uint32 => 4,
            Self::Uint64 => 5,
            Self::Uint128 => 6,
            Self::Address => 7,
            Self::Uint256 => 8,
        }
    }

    /// The type with this number, if it is one that can be computed with.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|ty| ty.code() == code)
    }

    /// Its name in Solidity.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bool => "ebool",
            Self::Uint8 => "euint8",
            Self::Uint16 => "euint16",
            Self::Uint32 => "euint32",
            Self::Uint64 => "euint64",
            Self::Uint128 => "euint128",
            Self::Address => "eaddress",
            Self::Uint256 => "euint256",
        }
    }

    /// Whether it is a number: neither a boolean nor an address.
    pub const fn is_number(self) -> bool {
        !matches!(self, Self::Bool | Self::Address)
    }
}

impl fmt::Display for FheType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A clear number of 256 bits, little-endian.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct Scalar(pub [u8; 32]);

impl Scalar {
    /// Zero.
    pub const ZERO: Self = Self([0; 32]);

    /// From the 32 bytes of a Solidity word.
    pub fn from_be_bytes(mut bytes: [u8; 32]) -> Self {
        bytes.reverse();
        Self(bytes)
    }

    /// As the 32 bytes of a Solidity word.
    pub fn to_be_bytes(self) -> [u8; 32] {
        let mut bytes = self.0;
        bytes.reverse();
        bytes
    }

    /// Whether it is 0.
    pub fn is_zero(self) -> bool {
        self == Self::ZERO
    }

    /// How many bits it takes: 0 for 0.
    pub fn bit_length(self) -> u16 {
        let top = (0u16..).zip(self.0).filter(|(_, byte)| *byte != 0).last();
        top.map_or(0, |(at, byte)| at * 8 + (8 - byte.leading_zeros() as u16))
    }

    /// Whether bit `at` is set; none is from 256 on.
    pub fn bit(self, at: u16) -> bool {
        self.0.get(usize::from(at / 8)).is_some_and(|byte| byte >> (at % 8) & 1 == 1)
    }

    /// If it is a power of two, which.
    pub fn power_of_two(self) -> Option<u16> {
        let ones: u32 = self.0.iter().map(|byte| byte.count_ones()).sum();
        (ones == 1).then(|| self.bit_length() - 1)
    }

    /// The next number; 0 after the largest.
    #[must_use]
    pub fn successor(self) -> Self {
        let mut out = self;
        for byte in &mut out.0 {
            *byte = byte.wrapping_add(1);
            if *byte != 0 {
                break;
            }
        }
        out
    }

    /// Its last `bits` bits.
    #[must_use]
    pub fn reduced(self, bits: u16) -> Self {
        let mut out = self;
        for (at, byte) in (0u16..).zip(out.0.iter_mut()) {
            let kept = bits.saturating_sub(at * 8).min(8);
            *byte &= ((1u16 << kept) - 1) as u8;
        }
        out
    }

    /// Without its last `count` digits of two bits.
    #[must_use]
    pub fn without_digits(self, count: usize) -> Self {
        let mut out = Self::ZERO;
        for at in 0..128usize.saturating_sub(count) {
            if let Some(byte) = out.0.get_mut(at / 4) {
                *byte |= self.digit(at + count) << (2 * (at % 4));
            }
        }
        out
    }

    /// The digit of two bits at place `at`, counted from the lowest; 0 from the 128th on.
    pub fn digit(self, at: usize) -> u8 {
        self.0.get(at / 4).map_or(0, |byte| byte >> (2 * (at % 4)) & 3)
    }

    /// The first `count` digits of two bits, lowest first.
    pub fn digits(self, count: usize) -> Vec<u8> {
        (0..count).map(|at| self.digit(at)).collect()
    }

    /// How many of its lowest digits of two bits are 0; 128 for 0.
    pub fn zero_digits(self) -> usize {
        (0..128).take_while(|at| self.digit(*at) == 0).count()
    }

    /// Four words of 64 bits, lowest first.
    pub fn words(self) -> [u64; 4] {
        let mut words = [0; 4];
        for (word, bytes) in words.iter_mut().zip(self.0.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        words
    }
}

impl From<u128> for Scalar {
    fn from(number: u128) -> Self {
        let mut bytes = [0; 32];
        for (to, from) in bytes.iter_mut().zip(number.to_le_bytes()) {
            *to = from;
        }
        Self(bytes)
    }
}

impl PartialOrd for Scalar {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scalar {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.iter().rev().cmp(other.0.iter().rev())
    }
}

/// Hexadecimal without leading zeros, as it stands in the trace.
impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut significant = self.0.iter().rev().skip_while(|byte| **byte == 0);
        write!(f, "0x{:x}", significant.next().unwrap_or(&0))?;
        significant.try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What an integer operation works on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub enum Operand {
    /// An encrypted number: its blocks, lowest first.
    Value(Vec<ValueId>),
    /// A clear number: the right-hand side of an operation with two operands.
    Scalar(Scalar),
}

impl From<Vec<ValueId>> for Operand {
    fn from(blocks: Vec<ValueId>) -> Self {
        Self::Value(blocks)
    }
}

impl From<&[ValueId]> for Operand {
    fn from(blocks: &[ValueId]) -> Self {
        Self::Value(blocks.to_vec())
    }
}

impl From<Scalar> for Operand {
    fn from(scalar: Scalar) -> Self {
        Self::Scalar(scalar)
    }
}

/// Integer operations; see the module's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
#[allow(missing_docs)]
pub enum IntegerOp {
    Add,
    Sub,
    Mul,
    BitAnd,
    BitOr,
    BitXor,
    /// One result block, 0 or 1; so for the comparisons below.
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Min,
    Max,
    /// Operands: condition (one block, 0 or 1), then, else.
    Select,
    /// By a clear divisor.
    Div,
    /// By a clear divisor.
    Rem,
    Shl,
    Shr,
    Rotl,
    Rotr,
    /// One operand.
    Neg,
}

impl IntegerOp {
    /// Every operation, in the order of the encoding.
    pub const ALL: [Self; 22] = [
        Self::Add,
        Self::Sub,
        Self::Mul,
        Self::BitAnd,
        Self::BitOr,
        Self::BitXor,
        Self::Eq,
        Self::Ne,
        Self::Lt,
        Self::Le,
        Self::Gt,
        Self::Ge,
        Self::Min,
        Self::Max,
        Self::Select,
        Self::Div,
        Self::Rem,
        Self::Shl,
        Self::Shr,
        Self::Rotl,
        Self::Rotr,
        Self::Neg,
    ];

    /// The canonical name in the trace.
    pub fn name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Sub => "sub",
            Self::Mul => "mul",
            Self::BitAnd => "and",
            Self::BitOr => "or",
            Self::BitXor => "xor",
            Self::Eq => "eq",
            Self::Ne => "ne",
            Self::Lt => "lt",
            Self::Le => "le",
            Self::Gt => "gt",
            Self::Ge => "ge",
            Self::Min => "min",
            Self::Max => "max",
            Self::Select => "select",
            Self::Div => "div",
            Self::Rem => "rem",
            Self::Shl => "shl",
            Self::Shr => "shr",
            Self::Rotl => "rotl",
            Self::Rotr => "rotr",
            Self::Neg => "neg",
        }
    }

    /// Whether the result is one block holding 0 or 1.
    pub fn is_comparison(self) -> bool {
        self.is_order() || matches!(self, Self::Eq | Self::Ne)
    }

    /// Whether it asks which of two numbers is larger.
    pub fn is_order(self) -> bool {
        matches!(self, Self::Lt | Self::Le | Self::Gt | Self::Ge)
    }

    /// Whether it moves bits.
    pub fn is_shift(self) -> bool {
        matches!(self, Self::Shl | Self::Shr | Self::Rotl | Self::Rotr)
    }

    /// How many operands it takes.
    pub fn arity(self) -> usize {
        match self {
            Self::Neg => 1,
            Self::Select => 3,
            _ => 2,
        }
    }

    /// Whether its second operand may be clear.
    pub fn accepts_scalar(self) -> bool {
        self.arity() == 2
    }

    /// Whether all its operands may be encrypted.
    pub fn accepts_value(self) -> bool {
        !matches!(self, Self::Div | Self::Rem)
    }

    /// Whether it takes operands of this type (a select's second and third): as the executor of `@fhevm/solidity`
    /// 0.10.0 has it.
    pub fn accepts(self, ty: FheType) -> bool {
        match self {
            Self::Eq | Self::Ne | Self::Select => true,
            Self::BitAnd | Self::BitOr | Self::BitXor => ty != FheType::Address,
            Self::Shl | Self::Shr | Self::Rotl | Self::Rotr | Self::Neg => ty.is_number(),
            _ => ty.is_number() && ty != FheType::Uint256,
        }
    }

    /// The type of its result on operands of this type.
    pub fn result(self, ty: FheType) -> FheType {
        if self.is_comparison() { FheType::Bool } else { ty }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_the_numbers_and_sizes_of_the_solidity_library() {
        let table: Vec<(u8, &str, u16, u16)> =
            FheType::ALL.iter().map(|ty| (ty.code(), ty.name(), ty.bits(), ty.blocks())).collect();
        assert_eq!(
            table,
            [
                (0, "ebool", 1, 1),
                (2, "euint8", 8, 4),
                (3, "euint16", 16, 8),
                (4, "euint32", 32, 16),
                (5, "euint64", 64, 32),
                (6, "euint128", 128, 64),
                (7, "eaddress", 160, 80),
                (8, "euint256", 256, 128),
            ]
        );
        assert!(FheType::ALL.iter().all(|ty| FheType::from_code(ty.code()) == Some(*ty)));
        // `euint4`, and the signed and wider types that the library only names.
        assert!([1, 9, 10, 20, 83, 255].iter().all(|code| FheType::from_code(*code).is_none()));
    }

    #[test]
    fn a_scalar_is_taken_apart_as_it_is_put_together() {
        let number = Scalar::from(0x0123_4567_89ab_cdef_0011_2233_4455_6677);
        assert_eq!(number.to_string(), "0x123456789abcdef0011223344556677");
        assert_eq!(Scalar::from_be_bytes(number.to_be_bytes()), number);
        assert_eq!(number.digits(4), [3, 1, 3, 1]);
        assert_eq!(number.reduced(12), Scalar::from(0x677));
        assert_eq!(number.reduced(256), number);
        assert_eq!(number.without_digits(2), Scalar::from(0x0012_3456_789a_bcde_f001_1223_3445_5667));
        assert_eq!(number.bit_length(), 121);
        assert_eq!(number.words(), [0x0011_2233_4455_6677, 0x0123_4567_89ab_cdef, 0, 0]);
        assert_eq!((Scalar::ZERO.to_string().as_str(), Scalar::ZERO.bit_length()), ("0x0", 0));
        assert_eq!((Scalar::ZERO.zero_digits(), Scalar::from(64).zero_digits()), (128, 3));
        assert_eq!(Scalar::from(1 << 100).power_of_two(), Some(100));
        assert_eq!((Scalar::ZERO.power_of_two(), Scalar::from(3).power_of_two()), (None, None));
        assert!(Scalar::from(256) > Scalar::from(255) && Scalar([255; 32]).bit(255) && !Scalar([255; 32]).bit(256));
    }
}
