//! Evaluation on plaintext.

use crate::cipher::{Block, decode_list, decode_stored, encode_stored};
use crate::integer::{Number, integer, random};
use crate::noise;
use parallax_primitives::{Digest, Domain, KeyId, encode};
use parallax_runtime::program::width;
use parallax_runtime::{
    Evaluation, EvaluationProfile, FheBackend, FheError, InputError, InputKind, Op, Operand, Program, ReRandomization,
    ValueId, trace,
};
use parallax_state::blob_digest;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Operations between two polls of the cancellation flag.
const POLL_EVERY: usize = 64;

/// A block under evaluation: its number may be negative between tables.
#[derive(Clone, Copy)]
struct Value {
    number: i64,
    mask: Digest,
}

/// Computes on plaintext; see the crate's documentation.
#[derive(Debug)]
pub struct ClearBackend {
    profile: EvaluationProfile,
    keys: Vec<KeyId>,
    flip: Option<usize>,
    checked: Mutex<BTreeSet<Digest>>,
}

impl ClearBackend {
    /// A backend that accepts these keys: current first, then, during an overlap, the previous one.
    pub fn new(keys: Vec<KeyId>) -> Self {
        let profile = EvaluationProfile {
            library: format!("parallax-clear {}", env!("CARGO_PKG_VERSION")),
            plan: "none".to_owned(),
            parameters: "2_2".to_owned(),
            backend: "clear".to_owned(),
            instructions: "any".to_owned(),
        };
        Self { profile, keys, flip: None, checked: Mutex::default() }
    }

    /// Flips one ciphertext bit in the result of the operation with this number, in every program that has so many:
    /// a replica whose results differ. The number underneath stays.
    #[must_use]
    pub fn with_flip(mut self, op_index: usize) -> Self {
        self.flip = Some(op_index);
        self
    }

    fn accepted(&self, key: KeyId) -> Result<(), InputError> {
        if self.keys.contains(&key) {
            return Ok(());
        }
        Err(InputError::UnknownKey { given: key, accepted: self.keys.first().copied().unwrap_or_default() })
    }

    /// Checks a program's noise once.
    fn check_noise(&self, program: &Program, digest: Digest) -> Result<(), FheError> {
        let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        if !checked.contains(&digest) {
            noise::check(program).map_err(FheError::Library)?;
            checked.insert(digest);
        }
        Ok(())
    }

    /// Evaluates, with a flipped bit in the first result of operation `flip`.
    fn run(
        &self,
        flip: Option<usize>,
        key: KeyId,
        program: &Program,
        inputs: &[&[u8]],
        rerandomization: &ReRandomization,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Evaluation, FheError> {
        self.accepted(key)?;
        let program_digest = program.digest();
        self.check_noise(program, program_digest)?;
        if inputs.len() != program.inputs().len() {
            let reason = format!("{} inputs given, the program takes {}", inputs.len(), program.inputs().len());
            return Err(FheError::BadInput { index: inputs.len(), reason });
        }
        let (mut values, mut digests, mut ciphers) = (Vec::new(), Vec::new(), Vec::new());
        for (index, (kind, bytes)) in program.inputs().iter().zip(inputs).enumerate() {
            ciphers.push(blob_digest(bytes));
            for (at, block) in (0u64..).zip(input_blocks(key, *kind, index, bytes)?) {
                let number = i64::from(block.value);
                digests.push(digest_of(&Value { number, mask: block.mask }));
                let mask = Digest::of_value(
                    Domain::Simulation,
                    &("rerandomize", rerandomization.seed, index as u64, at, block.mask),
                );
                values.push(Value { number, mask });
            }
        }
        for (index, op) in program.ops().iter().enumerate() {
            if index % POLL_EVERY == 0 && cancelled() {
                return Err(FheError::Cancelled);
            }
            let get = |id: &ValueId| values.get(id.0 as usize).map(|v| v.number);
            let results = numbers(op, &get)
                .ok_or_else(|| FheError::Library(format!("operation {index} has an argument outside its domain")))?;
            let masks: Vec<Option<Digest>> =
                op.arguments().iter().map(|id| values.get(id.0 as usize).map(|v| v.mask)).collect();
            for (which, number) in (0u64..).zip(results) {
                let mut mask = Digest::of_value(Domain::Simulation, &("op", key, op, &masks, which));
                if flip == Some(index) && which == 0 {
                    mask.0[0] ^= 1;
                }
                if let Some(fact) = program.facts().get(values.len())
                    && !(fact.min..=fact.max).contains(&number)
                {
                    let (min, max) = (fact.min, fact.max);
                    let text = format!("a result of operation {index} left the range {min}..={max} claimed for it");
                    return Err(FheError::Library(text));
                }
                let value = Value { number, mask };
                digests.push(digest_of(&value));
                values.push(value);
            }
        }
        let mut outputs = Vec::with_capacity(program.outputs().len());
        for blocks in program.outputs() {
            let block = |id: &ValueId| {
                let value = values.get(id.0 as usize)?;
                Some(Block { value: u8::try_from(value.number).ok()?, mask: value.mask })
            };
            let blocks = blocks.iter().map(block).collect::<Option<Vec<_>>>();
            let blocks = blocks.ok_or_else(|| FheError::Library("an output is not four bits".to_owned()))?;
            outputs.push(encode_stored(key, blocks));
        }
        let stored: Vec<Digest> = outputs.iter().map(|bytes| blob_digest(bytes)).collect();
        let leaves = trace::leaves(program, &ciphers, &digests, &stored)
            .ok_or_else(|| FheError::Library("the digests do not fit the program".to_owned()))?;
        Ok(Evaluation { outputs, leaves, pbs: program.pbs() })
    }
}

/// The blocks of one input, before re-randomisation.
fn input_blocks(key: KeyId, kind: InputKind, index: usize, bytes: &[u8]) -> Result<Vec<Block>, FheError> {
    match kind {
        InputKind::Stored { blocks, max } => {
            let found = decode_stored(key, bytes, blocks)?;
            if found.iter().any(|b| b.value > max) {
                return Err(FheError::BadInput { index, reason: format!("a block is over {max}") });
            }
            Ok(found)
        }
        InputKind::Proven { blocks } => {
            let list = decode_list(bytes, blocks)?;
            if list.key != key {
                return Err(InputError::UnknownKey { given: list.key, accepted: key }.into());
            }
            let digest = blob_digest(bytes);
            let expand = |(at, value): (u64, &u8)| Block {
                value: *value,
                mask: Digest::of_value(Domain::Simulation, &("expand", digest, at)),
            };
            Ok((0u64..).zip(&list.digits).map(expand).collect())
        }
    }
}

fn digest_of(value: &Value) -> Digest {
    trace::block_digest(&encode(&(value.number, value.mask)))
}

/// The numbers that an operation gives.
pub(crate) fn numbers(op: &Op, get: &dyn Fn(&ValueId) -> Option<i64>) -> Option<Vec<i64>> {
    match op {
        Op::Linear { terms, constant } => {
            let mut sum = i64::from(*constant);
            for (value, c) in terms {
                sum += i64::from(*c) * get(value)?;
            }
            Some(vec![sum])
        }
        Op::Table { input, table: t } => Some(vec![t.value(get(input)?)?]),
        Op::TwoTables { input, tables } => {
            let x = usize::try_from(get(input)?).ok()?;
            tables.iter().map(|entries| entries.get(x).map(|e| i64::from(*e))).collect()
        }
        Op::TwoSigned { input, tables } => {
            let x = usize::try_from(get(input)?.checked_add(4)?).ok()?;
            tables.iter().map(|entries| entries.get(x).map(|e| i64::from(*e))).collect()
        }
        Op::Integer { op, operands } => {
            let blocks = width(operands);
            let read = |operand: &Operand| match operand {
                Operand::Value(value) => value.iter().map(get).collect::<Option<Vec<_>>>().map(Number::Value),
                Operand::Scalar(scalar) => Some(Number::scalar(*scalar, blocks)),
            };
            integer(*op, &operands.iter().map(read).collect::<Option<Vec<_>>>()?)
        }
        Op::Random { bits, seed } => Some(random(*bits, *seed).into_iter().map(i64::from).collect()),
    }
}

impl FheBackend for ClearBackend {
    fn profile(&self) -> &EvaluationProfile {
        &self.profile
    }

    fn key_ids(&self) -> Vec<KeyId> {
        self.keys.clone()
    }

    fn verify_input(&self, key: KeyId, list: &[u8], blocks: u16, metadata: &Digest) -> Result<(), InputError> {
        self.accepted(key)?;
        let list = decode_list(list, blocks)?;
        if list.key != key {
            return Err(InputError::UnknownKey { given: list.key, accepted: key });
        }
        if list.proves(metadata) { Ok(()) } else { Err(InputError::BadProof) }
    }

    fn evaluate(
        &self,
        key: KeyId,
        program: &Program,
        inputs: &[&[u8]],
        rerandomization: &ReRandomization,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Evaluation, FheError> {
        self.run(self.flip, key, program, inputs, rerandomization, cancelled)
    }

    fn evaluate_flipped(
        &self,
        op: usize,
        key: KeyId,
        program: &Program,
        inputs: &[&[u8]],
        rerandomization: &ReRandomization,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Evaluation, FheError> {
        self.run(Some(op), key, program, inputs, rerandomization, cancelled)
    }
}
