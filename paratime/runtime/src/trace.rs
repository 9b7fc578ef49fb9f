//! The operation trace: one leaf an executed operation, in program order, plaintext writes included. Its root is part
//! of every vote, so replicas that differ can be asked which operation differed first ([`crate::compare`]), and what
//! they agreed on before it need not be computed again ([`crate::replay`]).

use crate::integer::Operand;
use crate::program::{InputKind, Op, Program, Table, ValueId};
use borsh::{BorshDeserialize, BorshSerialize};
use parallax_primitives::merkle::ListProof;
use parallax_primitives::{Digest, Domain, merkle};
use parallax_state::{Changes, Value, blob_digest};
use serde::{Deserialize, Serialize};

/// One executed operation.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct TraceLeaf {
    /// What was done: the operation's name with its types and public scalars.
    pub opcode: String,
    /// Digests of what went in, before re-randomisation for ciphertext inputs.
    pub inputs: Vec<Digest>,
    /// Digest of what came out.
    pub output: Digest,
}

/// All leaves of one execution, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Trace {
    /// The leaves.
    pub leaves: Vec<TraceLeaf>,
}

impl Trace {
    /// The digest of the i-th leaf, its index included.
    pub fn leaf_digest(index: u64, leaf: &TraceLeaf) -> Digest {
        Digest::of_value(Domain::TraceLeaf, &(index, leaf))
    }

    /// The digests of all leaves.
    pub fn digests(&self) -> Vec<Digest> {
        self.leaves.iter().enumerate().map(|(i, leaf)| Self::leaf_digest(i as u64, leaf)).collect()
    }

    /// The Merkle root over the leaves; it binds their count.
    pub fn root(&self) -> Digest {
        merkle::root(&self.digests())
    }
}

/// A leaf with the proof that it stands in a trace with a known root.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct ProvenLeaf {
    /// The leaf.
    pub leaf: TraceLeaf,
    /// Its place in the trace, how many leaves that has, and the path to the root.
    pub proof: ListProof,
}

impl ProvenLeaf {
    /// Whether the leaf stands at the place that the proof names, in the trace with this root.
    #[must_use]
    pub fn verify(&self, trace_root: &Digest) -> bool {
        self.proof.verify(trace_root, &Trace::leaf_digest(self.proof.index, &self.leaf))
    }
}

/// The digest of one block's bytes, in the backend's own serialisation of a block.
pub fn block_digest(bytes: &[u8]) -> Digest {
    blob_digest(bytes)
}

/// One digest for several results: that of a single result is its own. The leading `u64::MAX` cannot be a leaf's
/// index, so this never equals a [`Trace::leaf_digest`].
pub fn combine(results: &[Digest]) -> Digest {
    match results {
        [one] => *one,
        many => Digest::of_value(Domain::TraceLeaf, &(u64::MAX, many)),
    }
}

fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|i| i.to_string()).collect::<Vec<_>>().join(",")
}

/// The canonical opcode of an operation: name, sizes, and everything public that it computes with.
pub fn opcode(op: &Op) -> String {
    match op {
        Op::Linear { terms, constant } => format!("linear [{}] + {constant}", list(terms.iter().map(|(_, c)| c))),
        Op::Table { table: Table::Map(entries), .. } => format!("table.map [{}]", list(entries)),
        Op::Table { table: Table::NonNegative { amplitude }, .. } => format!("table.nonnegative {amplitude}"),
        Op::Table { table: Table::Folded { entries, sum }, .. } => format!("table.folded [{}] {sum}", list(entries)),
        Op::TwoTables { tables: [a, b], .. } => format!("table.two [{}] [{}]", list(a), list(b)),
        Op::TwoSigned { tables: [a, b], .. } => format!("table.two-signed [{}] [{}]", list(a), list(b)),
        Op::Integer { op, operands } => format!("integer.{} [{}]", op.name(), list(operands.iter().map(operand))),
        Op::Random { bits, seed } => format!("random {bits} {seed}"),
    }
}

/// An operand as the opcode has it: the number of blocks, or the clear number in hexadecimal.
fn operand(operand: &Operand) -> String {
    match operand {
        Operand::Value(blocks) => blocks.len().to_string(),
        Operand::Scalar(scalar) => scalar.to_string(),
    }
}

/// The leaf of one operation. `outputs` are the digests of all its results.
pub fn leaf(op: &Op, inputs: Vec<Digest>, outputs: &[Digest]) -> TraceLeaf {
    TraceLeaf { opcode: opcode(op), inputs, output: combine(outputs) }
}

/// The leaf of one input: from the ciphertext to its blocks, before re-randomisation. For a proven list that is its
/// expansion, which costs bootstraps and can diverge like any operation.
pub fn input_leaf(kind: InputKind, cipher: Digest, blocks: &[Digest]) -> TraceLeaf {
    TraceLeaf { opcode: input_opcode(kind), inputs: vec![cipher], output: combine(blocks) }
}

fn input_opcode(kind: InputKind) -> String {
    match kind {
        InputKind::Stored { blocks, max } => format!("input.stored {blocks} max {max}"),
        InputKind::Proven { blocks } => format!("input.expand {blocks}"),
    }
}

/// The leaf of one output: from its blocks to the ciphertext in the stored form, whose digest names it everywhere else.
pub fn output_leaf(blocks: Vec<Digest>, cipher: Digest) -> TraceLeaf {
    TraceLeaf { opcode: output_opcode(blocks.len()), inputs: blocks, output: cipher }
}

fn output_opcode(blocks: usize) -> String {
    format!("output {blocks}")
}

/// The digests of the ciphertexts that these leaves say programs gave.
pub fn output_digests(leaves: &[TraceLeaf]) -> Vec<Digest> {
    leaves.iter().filter(|leaf| leaf.opcode.starts_with("output ")).map(|leaf| leaf.output).collect()
}

/// How many leaves one evaluation of a program has.
pub fn leaf_count(program: &Program) -> usize {
    program.inputs().len().saturating_add(program.ops().len()).saturating_add(program.outputs().len())
}

/// The leaves of one evaluation: one an input, one an operation, one an output, in program order. A backend may
/// evaluate in any order; it hands over the digests by value number.
///
/// `ciphers[i]` is the digest of the i-th input's bytes; `values[v]` is [`block_digest`] of value `v`, input blocks as
/// they were before re-randomisation; `outputs[i]` is the digest of the i-th output in the stored form. `None` if the
/// lengths do not fit the program.
pub fn leaves(program: &Program, ciphers: &[Digest], values: &[Digest], outputs: &[Digest]) -> Option<Vec<TraceLeaf>> {
    let fits = ciphers.len() == program.inputs().len()
        && values.len() == program.value_count()
        && outputs.len() == program.outputs().len();
    if !fits {
        return None;
    }
    let mut out = Vec::with_capacity(leaf_count(program));
    let mut rest = values;
    for (kind, cipher) in program.inputs().iter().zip(ciphers) {
        let (blocks, tail) = rest.split_at_checked(usize::from(kind.blocks()))?;
        out.push(input_leaf(*kind, *cipher, blocks));
        rest = tail;
    }
    let digest = |value: &ValueId| values.get(usize::try_from(value.0).ok()?).copied();
    for op in program.ops() {
        let (results, tail) = rest.split_at_checked(op.results())?;
        let inputs = op.arguments().iter().map(digest).collect::<Option<Vec<_>>>()?;
        out.push(leaf(op, inputs, results));
        rest = tail;
    }
    for (blocks, cipher) in program.outputs().iter().zip(outputs) {
        out.push(output_leaf(blocks.iter().map(digest).collect::<Option<Vec<_>>>()?, *cipher));
    }
    Some(out)
}

/// What [`check`] knows of the values so far.
struct Values {
    known: Vec<Option<Digest>>,
    /// Several results under one digest: the first one's number, how many, their combination, and the leaf.
    combined: Vec<(usize, usize, Digest, usize)>,
}

impl Values {
    /// Notes what a leaf says of the next `count` values.
    fn define(&mut self, count: usize, output: Digest, leaf: usize) {
        let first = self.known.len();
        self.known.resize(first.saturating_add(count), None);
        match self.known.get_mut(first) {
            Some(value) if count == 1 => *value = Some(output),
            _ => self.combined.push((first, count, output, leaf)),
        }
    }

    /// Whether a leaf may read these digests as these values.
    fn read(&mut self, values: &[ValueId], digests: &[Digest]) -> bool {
        values.len() == digests.len()
            && values.iter().zip(digests).all(|(value, digest)| {
                let slot = usize::try_from(value.0).ok().and_then(|v| self.known.get_mut(v));
                slot.is_some_and(|slot| slot.get_or_insert(*digest) == digest)
            })
    }
}

/// Checks without evaluating anything that leaves can be those of this program on these inputs: that there are as many
/// as it has steps, each names the step's opcode, the inputs are these, and each step reads what an earlier one gave.
/// Returns the digests of the outputs.
///
/// # Errors
/// The position of the first leaf that cannot be.
pub fn check(program: &Program, ciphers: &[Digest], leaves: &[TraceLeaf]) -> Result<Vec<Digest>, usize> {
    let expected = leaf_count(program);
    if leaves.len() != expected || ciphers.len() != program.inputs().len() {
        return Err(leaves.len().min(expected));
    }
    let mut values = Values { known: Vec::with_capacity(program.value_count()), combined: Vec::new() };
    let mut steps = leaves.iter().enumerate();
    for ((kind, cipher), (at, leaf)) in program.inputs().iter().zip(ciphers).zip(&mut steps) {
        if leaf.opcode != input_opcode(*kind) || leaf.inputs != [*cipher] {
            return Err(at);
        }
        values.define(usize::from(kind.blocks()), leaf.output, at);
    }
    for (op, (at, leaf)) in program.ops().iter().zip(&mut steps) {
        if leaf.opcode != opcode(op) || !values.read(&op.arguments(), &leaf.inputs) {
            return Err(at);
        }
        values.define(op.results(), leaf.output, at);
    }
    let mut outputs = Vec::with_capacity(program.outputs().len());
    for (blocks, (at, leaf)) in program.outputs().iter().zip(&mut steps) {
        if leaf.opcode != output_opcode(blocks.len()) || !values.read(blocks, &leaf.inputs) {
            return Err(at);
        }
        outputs.push(leaf.output);
    }
    for (first, count, output, at) in &values.combined {
        let results = values.known.get(*first..first.saturating_add(*count)).unwrap_or_default();
        // A result that nothing reads is under no leaf by itself; then the combination cannot be recomputed.
        if let Some(results) = results.iter().copied().collect::<Option<Vec<_>>>()
            && combine(&results) != *output
        {
            return Err(*at);
        }
    }
    Ok(outputs)
}

/// The leaves of an execution's writes, in key order. They close the trace, so that replicas which differ only in
/// public state are told apart by an operation too.
pub fn write_leaves(changes: &Changes) -> Vec<TraceLeaf> {
    changes
        .writes
        .iter()
        .map(|(key, value)| {
            let (opcode, output) = match value {
                Some(Value::Plain(bytes)) => ("state.put", blob_digest(bytes)),
                Some(Value::Cipher(cipher)) => ("state.put_cipher", cipher.digest),
                None => ("state.delete", Digest::ZERO),
            };
            TraceLeaf { opcode: opcode.to_owned(), inputs: vec![Digest::of_bytes(Domain::StateKey, key)], output }
        })
        .collect()
}
