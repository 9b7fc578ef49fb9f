//! FHE programs: an ordered list of operations in static single assignment form over ciphertext *blocks*.
//!
//! A block holds a number of four bits and a padding bit (tfhe's `2_2` parameters: message and carry modulus 4, so
//! 16 values, with one more bit above them). Inputs and outputs are *ciphertexts*: vectors of blocks with one digest.
//! Linear combinations cost nothing but noise; every table costs one programmable bootstrap (PBS).
//!
//! Programs come from [`crate::builder::ProgramBuilder`] only and cannot be decoded from bytes, so every program that a
//! backend meets has been checked.

use crate::gas;
use crate::integer::{DIGIT_BITS, IntegerOp, Operand};
use borsh::{BorshDeserialize, BorshSerialize};
use parallax_primitives::{Digest, Domain, Gas};

/// The largest squared 2-norm that a table's argument may have, in units of the variance of one fresh bootstrap
/// output: the parameter set `2_2` with failure probability 2^-128 is dimensioned for a 2-norm of 5 before the
/// keyswitch (tfhe 1.8.2, `V1_4_PARAM_MESSAGE_2_CARRY_2_KS_PBS_TUNIFORM_2M128`: "2-norm = 5",
/// `max_noise_level: MaxNoiseLevel::new(5)`, `log2_p_fail: -129.581`). tfhe's own `NoiseLevel` counts the 1-norm of
/// the coefficients, which is never smaller than the 2-norm; the squared 2-norm is the quantity that the bound is
/// about, and it lets 25 independent outputs be summed.
pub const MAX_NOISE: u64 = 25;
/// The noise of a bootstrap's output, of a fresh encryption after expansion, and of a re-randomised ciphertext.
pub const NOMINAL_NOISE: u64 = 1;
/// The smallest and the largest number that a block can hold with its padding bit as the sign.
pub const SIGNED_RANGE: (i64, i64) = (-16, 15);

/// A block: the n-th value defined by a program, inputs first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct ValueId(pub u32);

/// Where an input ciphertext comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum InputKind {
    /// From the state: this many blocks, each the output of a table or fresh, with these largest values.
    Stored {
        /// How many blocks.
        blocks: u16,
        /// The largest value that a block can hold (at most 15).
        max: u8,
    },
    /// A compact list with its proof of knowledge, as a client sent it: this many numbers of four bits. Expansion
    /// costs one PBS a block.
    Proven {
        /// How many blocks.
        blocks: u16,
    },
}

/// A function that one programmable bootstrap evaluates.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub enum Table {
    /// `x -> entries[x]` for `x` in 0..=15; entries are 0..=15.
    Map([u8; 16]),
    /// `x -> if x >= 0 { amplitude } else { 0 }` for `x` in -16..=15. The padding bit holds the sign: a test
    /// polynomial with one constant is antisymmetric under it, exactly as the sign is.
    NonNegative {
        /// The value for `x >= 0`, 1..=15.
        amplitude: u8,
    },
    /// `x -> entries[x]` for `x` in 0..=15, and `sum - entries[x + 16]` for `x` in -16..=-1: past half of the circle a
    /// test polynomial comes out negated. With it a table may tell more than sixteen arguments apart, as long as the
    /// function has this symmetry on those that occur.
    Folded {
        /// The values for 0..=15, each at most `sum`.
        entries: [u8; 16],
        /// What the values of `x` and `x + 16` add up to, 1..=15.
        sum: u8,
    },
}

impl Table {
    /// Its value, or `None` outside its domain.
    pub fn value(&self, x: i64) -> Option<i64> {
        let entry = |entries: &[u8; 16], x: i64| Some(i64::from(*entries.get(usize::try_from(x).ok()?)?));
        let signed = (SIGNED_RANGE.0..=SIGNED_RANGE.1).contains(&x);
        match self {
            Self::Map(entries) => entry(entries, x),
            Self::NonNegative { amplitude } => signed.then_some(if x >= 0 { (*amplitude).into() } else { 0 }),
            Self::Folded { entries, .. } if x >= 0 => entry(entries, x),
            Self::Folded { entries, sum } => {
                entry(entries, x.checked_add(16)?).map(|e| i64::from(*sum).saturating_sub(e))
            }
        }
    }
}

impl InputKind {
    /// How many blocks the ciphertext has.
    pub fn blocks(self) -> u16 {
        match self {
            Self::Stored { blocks, .. } | Self::Proven { blocks } => blocks,
        }
    }

    /// The largest value that a block can hold.
    pub fn max(self) -> u8 {
        match self {
            Self::Stored { max, .. } => max,
            Self::Proven { .. } => 15,
        }
    }
}

/// One operation. Its results get the next free [`ValueId`]s.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Op {
    /// `sum(coefficient * value) + constant`: one result, no PBS.
    Linear {
        /// The terms.
        terms: Vec<(ValueId, i32)>,
        /// Added in the clear.
        constant: i32,
    },
    /// One table: one result, one PBS.
    Table {
        /// The argument.
        input: ValueId,
        /// The function.
        table: Table,
    },
    /// Two tables on one argument in 0..=7: two results, one PBS (the lower and the upper half of the test
    /// polynomial hold one table each).
    TwoTables {
        /// The argument, 0..=7.
        input: ValueId,
        /// The two functions; entries are 0..=15.
        tables: [[u8; 8]; 2],
    },
    /// Two tables on one argument in -4..=4: two results, one PBS. Each table has nine entries, for -4 first. Both read
    /// one test polynomial, half of it apart; where they meet, at the two ends, there is one coefficient for both, and a
    /// constant added to each result settles which is which. So any two tables fit.
    TwoSigned {
        /// The argument, -4..=4.
        input: ValueId,
        /// The two functions; entries are 0..=15.
        tables: [[u8; 9]; 2],
    },
    /// An integer operation: as many results as it has result blocks.
    Integer {
        /// Which.
        op: IntegerOp,
        /// The operands; all numbers of one operation have the same number of blocks.
        operands: Vec<Operand>,
    },
    /// Random bits that nobody knows, two a result, the last one with one bit if their number is odd: a pseudo-random
    /// function under a secret key, so that replicas agree.
    Random {
        /// How many bits.
        bits: u16,
        /// The function's argument. The same seed with the same number of bits gives the same bits under one key.
        seed: Digest,
    },
}

impl Op {
    /// How many values it defines.
    pub fn results(&self) -> usize {
        match self {
            Self::Linear { .. } | Self::Table { .. } => 1,
            Self::TwoTables { .. } | Self::TwoSigned { .. } => 2,
            Self::Integer { op, .. } if op.is_comparison() => 1,
            Self::Integer { operands, .. } => width(operands),
            Self::Random { bits, .. } => usize::from(bits.div_ceil(DIGIT_BITS)),
        }
    }

    /// Every value it reads, in canonical order: the order of the terms, or operand after operand.
    pub fn arguments(&self) -> Vec<ValueId> {
        match self {
            Self::Linear { terms, .. } => terms.iter().map(|(value, _)| *value).collect(),
            Self::Table { input, .. } | Self::TwoTables { input, .. } | Self::TwoSigned { input, .. } => vec![*input],
            Self::Integer { operands, .. } => {
                let blocks = |operand: &Operand| match operand {
                    Operand::Value(blocks) => blocks.clone(),
                    Operand::Scalar(_) => Vec::new(),
                };
                operands.iter().flat_map(blocks).collect()
            }
            Self::Random { .. } => Vec::new(),
        }
    }
}

/// How many blocks the numbers have that an integer operation works on.
pub fn width(operands: &[Operand]) -> usize {
    let blocks = |operand: &Operand| match operand {
        Operand::Value(blocks) => Some(blocks.len()),
        Operand::Scalar(_) => None,
    };
    operands.iter().rev().find_map(blocks).unwrap_or(0)
}

/// What is known of a value before anything is decrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fact {
    /// The smallest number it can hold.
    pub min: i64,
    /// The largest number it can hold.
    pub max: i64,
    /// Its squared 2-norm in units of one fresh bootstrap output's variance; see [`MAX_NOISE`].
    pub noise: u64,
}

/// A checked program. Made by [`crate::builder::ProgramBuilder`], which tracks the range and the noise of every value,
/// so a table never sees an argument outside its domain or noisier than the parameters allow. There is no decoder.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize)]
pub struct Program {
    pub(crate) inputs: Vec<InputKind>,
    pub(crate) ops: Vec<Op>,
    pub(crate) outputs: Vec<Vec<ValueId>>,
    #[borsh(skip)]
    pub(crate) facts: Vec<Fact>,
}

impl Program {
    /// The input ciphertexts, in order. Their blocks are the values 0, 1, 2, ...
    pub fn inputs(&self) -> &[InputKind] {
        &self.inputs
    }

    /// The operations, in order. Each one's results take the next values.
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// The output ciphertexts: which values are their blocks. Every such value is in 0..=15 with nominal noise.
    pub fn outputs(&self) -> &[Vec<ValueId>] {
        &self.outputs
    }

    /// How many values the program defines, input blocks included.
    pub fn value_count(&self) -> usize {
        self.facts.len()
    }

    /// How many values are input blocks: the first operation's first result has this number.
    pub fn input_blocks(&self) -> usize {
        self.inputs.iter().map(|i| usize::from(i.blocks())).sum()
    }

    /// Range and noise of every value, by number.
    pub fn facts(&self) -> &[Fact] {
        &self.facts
    }

    /// The digest that names the program: inputs, operations and outputs.
    pub fn digest(&self) -> Digest {
        Digest::of_value(Domain::Program, self)
    }

    /// Programmable bootstraps that one evaluation spends, expansion of proven inputs included.
    pub fn pbs(&self) -> u64 {
        let expansion: u64 = self.inputs.iter().map(|input| gas::input_pbs(*input)).sum();
        self.ops.iter().map(gas::op_pbs).fold(expansion, u64::saturating_add)
    }

    /// FHE gas of one evaluation: expansion, re-randomisation of the inputs, and every operation. The check of proofs
    /// is priced apart, see [`gas::proof`].
    pub fn gas(&self) -> Gas {
        let inputs = self.inputs.iter().map(|input| gas::input(*input));
        inputs.chain(self.ops.iter().map(gas::op)).fold(Gas::ZERO, |sum, price| sum.saturating_add(price.0))
    }
}
