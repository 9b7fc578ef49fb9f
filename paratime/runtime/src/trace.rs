//! The operation trace: one leaf an executed operation, in program order, plaintext writes included. Its root is part
//! of every vote, so replicas that differ can be asked which operation differed first.

use crate::program::{InputKind, Op, Program, Table, ValueId};
use borsh::{BorshDeserialize, BorshSerialize};
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
        Op::TwoTables { tables: [a, b], .. } => format!("table.two [{}] [{}]", list(a), list(b)),
        Op::Integer { op, operands } => format!("integer.{} [{}]", op.name(), list(operands.iter().map(Vec::len))),
    }
}

/// The leaf of one operation. `outputs` are the digests of all its results.
pub fn leaf(op: &Op, inputs: Vec<Digest>, outputs: &[Digest]) -> TraceLeaf {
    TraceLeaf { opcode: opcode(op), inputs, output: combine(outputs) }
}

/// The leaf of one input: from the ciphertext to its blocks, before re-randomisation. For a proven list that is its
/// expansion, which costs bootstraps and can diverge like any operation.
pub fn input_leaf(kind: InputKind, cipher: Digest, blocks: &[Digest]) -> TraceLeaf {
    let opcode = match kind {
        InputKind::Stored { blocks, max } => format!("input.stored {blocks} max {max}"),
        InputKind::Proven { blocks } => format!("input.expand {blocks}"),
    };
    TraceLeaf { opcode, inputs: vec![cipher], output: combine(blocks) }
}

/// The leaves of one evaluation: one an input, then one an operation, in program order. A backend may evaluate in any
/// order; it hands over the digests by value number.
///
/// `ciphers[i]` is the digest of the i-th input's bytes; `values[v]` is [`block_digest`] of value `v`, input blocks as
/// they were before re-randomisation. `None` if the lengths do not fit the program.
pub fn leaves(program: &Program, ciphers: &[Digest], values: &[Digest]) -> Option<Vec<TraceLeaf>> {
    if ciphers.len() != program.inputs().len() || values.len() != program.value_count() {
        return None;
    }
    let mut out = Vec::with_capacity(ciphers.len().saturating_add(program.ops().len()));
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
    Some(out)
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
