//! Builds [`Program`]s and refuses those that could compute a wrong result.
//!
//! Two things are tracked for every value.
//!
//! *Range.* A value is a number in `min..=max`. A linear combination's range is the smaller of two bounds that both
//! hold: the interval sum of its terms, and the interval sum over the independent sources that it is made of (so
//! `x - x` is 0). A table's range is that of its entries over the argument's range.
//!
//! *Noise.* Every bootstrap (and every input block) is a source of noise of variance 1, independent of the others. A
//! value is a combination of sources with integer coefficients `c`; its noise is `sum(c^2)`. Coefficients of one source
//! are added before they are squared, so using a value twice counts as what it is. The two results of one bootstrap
//! come out of one accumulator: they count as fully correlated, `(|c1| + |c2|)^2`, which is never too little. The same
//! operation on the same values is in a program once: evaluation is deterministic, so two bootstraps of the same would
//! have the same noise and not be independent.
//!
//! An argument of a table must have noise of at most [`MAX_NOISE`]; what leaves the program must be nominal, because
//! the next program assumes that of its inputs.

mod compare;
mod integer;

use crate::integer::FheType;
use crate::program::{Fact, InputKind, MAX_NOISE, NOMINAL_NOISE, Op, Program, SIGNED_RANGE, Table, ValueId};
use parallax_primitives::encode;
use std::collections::BTreeMap;

/// Most operations of a program.
pub const MAX_OPS: usize = 65_536;
/// Most terms of a linear combination.
pub const MAX_TERMS: usize = 256;
/// Most input ciphertexts of a program.
pub const MAX_INPUTS: usize = 4_096;
/// Most blocks of all output ciphertexts of a program: 256 MiB.
pub const MAX_OUTPUT_BLOCKS: usize = 16_384;
/// Largest absolute coefficient or constant of a linear combination.
pub const MAX_COEFFICIENT: i32 = 1 << 16;
/// Most blocks of an integer operand: 256 bits.
pub const MAX_INTEGER_BLOCKS: usize = 128;

/// Why a program was refused. `op` is the number of the operation, counted from 0.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProgramError {
    /// An argument that no input or earlier operation defines; it stems from another builder.
    #[error("operation {op} reads value {value}, which is not defined yet; use values of this builder only")]
    UnknownValue {
        /// Which operation.
        op: usize,
        /// Which value.
        value: u32,
    },
    /// A table's argument can leave the table's domain.
    #[error(
        "operation {op} ({what}) takes {domain_min}..={domain_max}, its argument can be {min}..={max}; reduce it by a table first"
    )]
    OutOfDomain {
        /// Which operation.
        op: usize,
        /// What it is.
        what: &'static str,
        /// The smallest value accepted.
        domain_min: i64,
        /// The largest value accepted.
        domain_max: i64,
        /// The smallest value that the argument can have.
        min: i64,
        /// The largest value that the argument can have.
        max: i64,
    },
    /// An argument is noisier than the parameters allow.
    #[error(
        "operation {op} ({what}) takes a noise of at most {limit}, its argument has {noise}; bootstrap its parts first"
    )]
    TooNoisy {
        /// Which operation.
        op: usize,
        /// What it is.
        what: &'static str,
        /// The squared 2-norm of the argument.
        noise: u64,
        /// The largest accepted.
        limit: u64,
    },
    /// A table with entries over 15 or over its sum, or an amplitude or sum that is not in 1..=15.
    #[error("operation {op} has a table entry over 15 or over the table's sum, or an amplitude or sum outside 1..=15")]
    BadTable {
        /// Which operation.
        op: usize,
    },
    /// Operands of an integer operation do not fit it.
    #[error("operation {op} (integer {name}): {reason}")]
    BadOperands {
        /// Which operation.
        op: usize,
        /// The operation's name.
        name: &'static str,
        /// Why.
        reason: &'static str,
    },
    /// An operation on a type that it does not take.
    #[error("operation {op} (integer {name}) does not take operands of type {ty}")]
    UnsupportedType {
        /// Which operation.
        op: usize,
        /// The operation's name.
        name: &'static str,
        /// The type.
        ty: FheType,
    },
    /// A clear divisor that is 0.
    #[error("operation {op} (integer {name}) divides by zero; refuse the call that asks for it")]
    DivisionByZero {
        /// Which operation.
        op: usize,
        /// The operation's name.
        name: &'static str,
    },
    /// An input that was declared after the first operation.
    #[error("input {input} comes after an operation; declare all inputs first, they are the first values")]
    InputAfterOperation {
        /// Which input.
        input: usize,
    },
    /// An output that the next program could not take as an input.
    #[error(
        "output {index}: a block must be in 0..=15 with noise at most 1, this one is in {min}..={max} with noise {noise}"
    )]
    BadOutput {
        /// Which output ciphertext.
        index: usize,
        /// Smallest value of the block at fault.
        min: i64,
        /// Largest value.
        max: i64,
        /// Its noise.
        noise: u64,
    },
    /// An assumed range that does not overlap what is known.
    #[error("value {value} is in {min}..={max}; the assumed {assumed_min}..={assumed_max} contradicts that")]
    Contradiction {
        /// Which value.
        value: u32,
        /// Known minimum.
        min: i64,
        /// Known maximum.
        max: i64,
        /// Assumed minimum.
        assumed_min: i64,
        /// Assumed maximum.
        assumed_max: i64,
    },
    /// More of something than the limits allow, or none where some is needed.
    #[error("{what}: {actual} is outside 1..={limit}")]
    Size {
        /// Of what.
        what: &'static str,
        /// How many there are.
        actual: usize,
        /// How many are allowed.
        limit: usize,
    },
}

/// A source of noise: a bootstrap or input block, and which of its results.
type Source = (u32, u8);

/// What the builder knows of a value.
#[derive(Clone, Debug, Default)]
struct Known {
    min: i64,
    max: i64,
    constant: i64,
    /// The sources that it is made of, in order, with their coefficients; none is zero.
    sources: Vec<(Source, i64)>,
}

impl Known {
    fn fresh(source: Source, min: i64, max: i64) -> Self {
        Self { min, max, constant: 0, sources: vec![(source, 1)] }
    }

    /// The squared 2-norm; results of one bootstrap are taken as fully correlated.
    fn noise(&self) -> u64 {
        let one_bootstrap = |a: &(Source, i64), b: &(Source, i64)| a.0.0 == b.0.0;
        let magnitude = |results: &[(Source, i64)]| {
            results.iter().fold(0u64, |sum, (_, coefficient)| sum.saturating_add(coefficient.unsigned_abs()))
        };
        let magnitudes = self.sources.chunk_by(one_bootstrap).map(magnitude);
        magnitudes.fold(0, |sum, c| sum.saturating_add(c.saturating_mul(c)))
    }

    fn fact(&self) -> Fact {
        Fact { min: self.min, max: self.max, noise: self.noise() }
    }
}

/// Collects inputs, operations and outputs. The first mistake is kept and returned by [`ProgramBuilder::build`], so a
/// circuit is written without a `?` on every line.
#[derive(Clone, Debug, Default)]
pub struct ProgramBuilder {
    inputs: Vec<InputKind>,
    ops: Vec<Op>,
    outputs: Vec<Vec<ValueId>>,
    /// How many blocks they have together.
    output_blocks: usize,
    known: Vec<Known>,
    /// The ranges of the results of each bootstrap or input block, for the bound over sources.
    source_ranges: Vec<Vec<(i64, i64)>>,
    /// The results of each operation so far, by its encoding.
    results: BTreeMap<Vec<u8>, Vec<ValueId>>,
    error: Option<ProgramError>,
}

impl ProgramBuilder {
    /// An empty program.
    pub fn new() -> Self {
        Self::default()
    }

    fn fail(&mut self, error: ProgramError) {
        self.error.get_or_insert(error);
    }

    /// What is known of a value; a constant 0 after a mistake.
    fn get(&mut self, value: ValueId) -> Known {
        match usize::try_from(value.0).ok().and_then(|i| self.known.get(i)) {
            Some(known) => known.clone(),
            None => {
                self.fail(ProgramError::UnknownValue { op: self.ops.len(), value: value.0 });
                Known::default()
            }
        }
    }

    fn define(&mut self, known: Known) -> ValueId {
        let id = u32::try_from(self.known.len()).unwrap_or(u32::MAX);
        self.known.push(known);
        ValueId(id)
    }

    /// The results of one bootstrap, by their ranges.
    fn define_fresh(&mut self, ranges: &[(i64, i64)]) -> Vec<ValueId> {
        let bootstrap = u32::try_from(self.source_ranges.len()).unwrap_or(u32::MAX);
        self.source_ranges.push(ranges.to_vec());
        let mut out = Vec::with_capacity(ranges.len());
        for (which, (min, max)) in (0u8..).zip(ranges) {
            out.push(self.define(Known::fresh((bootstrap, which), *min, *max)));
        }
        out
    }

    /// The results of an operation: those of the same one before it, or new ones that `define` makes.
    fn operation(&mut self, op: Op, define: impl FnOnce(&mut Self) -> Vec<ValueId>) -> Vec<ValueId> {
        let code = encode(&op);
        if let Some(known) = self.results.get(&code) {
            return known.clone();
        }
        if self.ops.len() >= MAX_OPS {
            self.fail(ProgramError::Size { what: "operations", actual: MAX_OPS.saturating_add(1), limit: MAX_OPS });
        } else {
            self.ops.push(op);
        }
        let results = define(self);
        self.results.insert(code, results.clone());
        results
    }

    /// As [`Self::operation`], for one result.
    fn single(&mut self, op: Op, define: impl FnOnce(&mut Self) -> Vec<ValueId>) -> ValueId {
        self.operation(op, define).first().copied().unwrap_or(ValueId(0))
    }

    /// The next input ciphertext; its blocks in order. All inputs come before the first operation.
    pub fn input(&mut self, kind: InputKind) -> Vec<ValueId> {
        if !self.ops.is_empty() {
            self.fail(ProgramError::InputAfterOperation { input: self.inputs.len() });
        }
        if self.inputs.len() >= MAX_INPUTS {
            let actual = self.inputs.len().saturating_add(1);
            self.fail(ProgramError::Size { what: "inputs", actual, limit: MAX_INPUTS });
        }
        if kind.blocks() == 0 {
            self.fail(ProgramError::Size { what: "blocks of an input", actual: 0, limit: usize::from(u16::MAX) });
        }
        if kind.max() > 15 {
            self.fail(ProgramError::Size { what: "largest value of a block", actual: kind.max().into(), limit: 15 });
        }
        self.inputs.push(kind);
        let range = (0, i64::from(kind.max()));
        (0..kind.blocks()).flat_map(|_| self.define_fresh(&[range])).collect()
    }

    /// `sum(coefficient * value) + constant`. Terms of one value are merged, terms with coefficient 0 left out.
    pub fn linear(&mut self, terms: &[(ValueId, i32)], constant: i32) -> ValueId {
        let op = self.ops.len();
        if terms.len() > MAX_TERMS {
            self.fail(ProgramError::Size {
                what: "terms of a linear combination",
                actual: terms.len(),
                limit: MAX_TERMS,
            });
        }
        let mut merged: BTreeMap<ValueId, i32> = BTreeMap::new();
        for (value, coefficient) in terms {
            let sum = merged.entry(*value).or_default();
            *sum = sum.saturating_add(*coefficient);
        }
        merged.retain(|_, c| *c != 0);
        let largest = merged.values().chain([&constant]).map(|c| c.unsigned_abs()).max().unwrap_or(0);
        if largest > MAX_COEFFICIENT.unsigned_abs() {
            let (actual, limit) = (largest as usize, MAX_COEFFICIENT as usize);
            self.fail(ProgramError::Size { what: "coefficient of a linear combination", actual, limit });
        }
        let constant64 = i64::from(constant);
        let mut sum = Known { min: constant64, max: constant64, constant: constant64, sources: Vec::new() };
        let mut sources: Vec<(Source, i64)> = Vec::new();
        for (value, coefficient) in &merged {
            let (term, c) = (self.get(*value), i64::from(*coefficient));
            let (low, high) = scaled(c, (term.min, term.max));
            sum.min = sum.min.saturating_add(low);
            sum.max = sum.max.saturating_add(high);
            sum.constant = sum.constant.saturating_add(c.saturating_mul(term.constant));
            sources.extend(term.sources.iter().map(|(source, inner)| (*source, c.saturating_mul(*inner))));
        }
        sources.sort_unstable_by_key(|(source, _)| *source);
        for (source, c) in sources {
            match sum.sources.last_mut() {
                Some((last, total)) if *last == source => *total = total.saturating_add(c),
                _ => sum.sources.push((source, c)),
            }
        }
        sum.sources.retain(|(_, c)| *c != 0);
        let (low, high) = self.range_over_sources(&sum);
        (sum.min, sum.max) = (sum.min.max(low), sum.max.min(high));
        if sum.noise() > MAX_NOISE {
            self.fail(ProgramError::TooNoisy { op, what: "linear", noise: sum.noise(), limit: MAX_NOISE });
        }
        self.single(Op::Linear { terms: merged.into_iter().collect(), constant }, |b| vec![b.define(sum)])
    }

    fn range_over_sources(&self, known: &Known) -> (i64, i64) {
        known.sources.iter().fold((known.constant, known.constant), |(low, high), (source, c)| {
            let results = usize::try_from(source.0).ok().and_then(|i| self.source_ranges.get(i));
            let range = results.and_then(|r| r.get(usize::from(source.1))).copied().unwrap_or((0, 15));
            let (min, max) = scaled(*c, range);
            (low.saturating_add(min), high.saturating_add(max))
        })
    }

    /// Narrows a value's range by what the circuit's author knows and the builder cannot see, for example that at most
    /// one term of a sum is not zero. `why` is for the reader. The clear backend checks it on every evaluation.
    ///
    /// The claim must hold for **every** input, hostile ones included: a table outside its domain gives a wrong result.
    pub fn assume(&mut self, value: ValueId, min: i64, max: i64, why: &'static str) {
        debug_assert!(!why.is_empty(), "an assumption needs its reason");
        let known = self.get(value);
        let (low, high) = (known.min.max(min), known.max.min(max));
        if low > high {
            let (assumed_min, assumed_max) = (min, max);
            let error = ProgramError::Contradiction {
                value: value.0,
                min: known.min,
                max: known.max,
                assumed_min,
                assumed_max,
            };
            self.fail(error);
        } else if let Some(slot) = usize::try_from(value.0).ok().and_then(|i| self.known.get_mut(i)) {
            (slot.min, slot.max) = (low, high);
        }
    }

    /// Checks a table's argument and returns its range, cut to the domain after a mistake.
    fn argument(&mut self, value: ValueId, what: &'static str, domain: (i64, i64)) -> (i64, i64) {
        let (op, known) = (self.ops.len(), self.get(value));
        if known.min < domain.0 || known.max > domain.1 {
            self.fail(ProgramError::OutOfDomain {
                op,
                what,
                domain_min: domain.0,
                domain_max: domain.1,
                min: known.min,
                max: known.max,
            });
        }
        if known.noise() > MAX_NOISE {
            self.fail(ProgramError::TooNoisy { op, what, noise: known.noise(), limit: MAX_NOISE });
        }
        (known.min.clamp(domain.0, domain.1), known.max.clamp(domain.0, domain.1))
    }

    /// One table: one bootstrap.
    pub fn table(&mut self, input: ValueId, table: Table) -> ValueId {
        let op = self.ops.len();
        let range = match &table {
            Table::Map(entries) => {
                if entries.iter().any(|e| *e > 15) {
                    self.fail(ProgramError::BadTable { op });
                }
                let argument = self.argument(input, "table.map", (0, 15));
                image(entries, argument)
            }
            Table::NonNegative { amplitude } => {
                if !(1..=15).contains(amplitude) {
                    self.fail(ProgramError::BadTable { op });
                }
                let (min, max) = self.argument(input, "table.nonnegative", SIGNED_RANGE);
                let a = i64::from(*amplitude);
                (if min >= 0 { a } else { 0 }, if max < 0 { 0 } else { a })
            }
            Table::Folded { entries, sum } => {
                if !(1..=15).contains(sum) || entries.iter().any(|e| e > sum) {
                    self.fail(ProgramError::BadTable { op });
                }
                let (min, max) = self.argument(input, "table.folded", SIGNED_RANGE);
                let values = (min..=max).filter_map(|x| table.value(x));
                values.fold((15, 0), |(low, high), v| (low.min(v), high.max(v)))
            }
        };
        self.single(Op::Table { input, table }, |b| b.define_fresh(&[range]))
    }

    /// [`Table::Map`] of a function; it is called for 0..=15.
    pub fn map(&mut self, input: ValueId, f: impl Fn(u8) -> u8) -> ValueId {
        self.table(input, Table::Map(std::array::from_fn(|x| f(x as u8))))
    }

    /// [`Table::NonNegative`].
    pub fn non_negative(&mut self, input: ValueId, amplitude: u8) -> ValueId {
        self.table(input, Table::NonNegative { amplitude })
    }

    /// [`Table::Folded`].
    pub fn folded(&mut self, input: ValueId, entries: [u8; 16], sum: u8) -> ValueId {
        self.table(input, Table::Folded { entries, sum })
    }

    /// Two tables on one argument in 0..=7: one bootstrap, two results.
    pub fn two_tables(&mut self, input: ValueId, tables: [[u8; 8]; 2]) -> [ValueId; 2] {
        if tables.iter().flatten().any(|e| *e > 15) {
            self.fail(ProgramError::BadTable { op: self.ops.len() });
        }
        let argument = self.argument(input, "table.two", (0, 7));
        let ranges = tables.map(|entries| image(&entries, argument));
        match self.operation(Op::TwoTables { input, tables }, |b| b.define_fresh(&ranges))[..] {
            [a, b] => [a, b],
            _ => [ValueId(0); 2],
        }
    }

    /// Two tables on one argument in -4..=4, entries for -4 first: one bootstrap, two results.
    pub fn two_signed(&mut self, input: ValueId, tables: [[u8; 9]; 2]) -> [ValueId; 2] {
        if tables.iter().flatten().any(|e| *e > 15) {
            self.fail(ProgramError::BadTable { op: self.ops.len() });
        }
        let (min, max) = self.argument(input, "table.two-signed", (-4, 4));
        let ranges = tables.map(|entries| image(&entries, (min.saturating_add(4), max.saturating_add(4))));
        match self.operation(Op::TwoSigned { input, tables }, |b| b.define_fresh(&ranges))[..] {
            [a, b] => [a, b],
            _ => [ValueId(0); 2],
        }
    }

    /// The next output ciphertext, of these blocks.
    pub fn output(&mut self, blocks: Vec<ValueId>) {
        let index = self.outputs.len();
        if blocks.is_empty() || blocks.len() > usize::from(u16::MAX) {
            let (actual, limit) = (blocks.len(), usize::from(u16::MAX));
            self.fail(ProgramError::Size { what: "blocks of an output", actual, limit });
        }
        self.output_blocks = self.output_blocks.saturating_add(blocks.len());
        if self.output_blocks > MAX_OUTPUT_BLOCKS {
            let (actual, limit) = (self.output_blocks, MAX_OUTPUT_BLOCKS);
            self.fail(ProgramError::Size { what: "blocks of all outputs", actual, limit });
        }
        for block in &blocks {
            let Fact { min, max, noise } = self.get(*block).fact();
            if min < 0 || max > 15 || noise > NOMINAL_NOISE {
                self.fail(ProgramError::BadOutput { index, min, max, noise });
            }
        }
        self.outputs.push(blocks);
    }

    /// The program, or the first mistake.
    ///
    /// # Errors
    /// [`ProgramError`].
    pub fn build(mut self) -> Result<Program, ProgramError> {
        if self.outputs.is_empty() {
            self.fail(ProgramError::Size { what: "outputs", actual: 0, limit: MAX_INPUTS });
        }
        if let Some(error) = self.error {
            return Err(error);
        }
        let facts = self.known.iter().map(Known::fact).collect();
        Ok(Program { inputs: self.inputs, ops: self.ops, outputs: self.outputs, facts })
    }
}

fn scaled(c: i64, (min, max): (i64, i64)) -> (i64, i64) {
    let (a, b) = (c.saturating_mul(min), c.saturating_mul(max));
    (a.min(b), a.max(b))
}

/// The range of a table's entries over a range of arguments.
fn image(entries: &[u8], (min, max): (i64, i64)) -> (i64, i64) {
    let hit = (0i64..).zip(entries).filter(|(x, _)| (min..=max).contains(x)).map(|(_, e)| i64::from(*e));
    hit.fold((15, 0), |(low, high), e| (low.min(e), high.max(e)))
}
