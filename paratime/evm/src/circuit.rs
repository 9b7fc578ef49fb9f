//! From operations to an FHE program: each operation of the executor is one of the builder's, on the type that the
//! handles say.

use crate::graph::{Operand, Operation};
use crate::host::Op;
use parallax_primitives::{Digest, Domain, Gas, KeyId};
use parallax_runtime::{
    FheType, IntegerOp, Operand as Value, Program, ProgramBuilder, ProgramError, RoundContext, Scalar, ValueId,
};
use revm::primitives::{B256, U256};
use std::collections::BTreeMap;

/// FHE gas of a block that comes out of a program. Results are kept for good: every replica hashes the block's 16 KB,
/// writes them, and serves them to whoever falls behind, however cheaply they were made (a constant costs no bootstrap).
/// That is as much as [`parallax_runtime::gas::RERANDOMIZATION`], what it costs to read the block once: a ciphertext
/// should not be cheaper to keep than to use.
pub const OUTPUT_BLOCK: u64 = 100;
/// Most blocks that may come out of the program of one transaction: 64 MiB.
pub const MAX_OUTPUT_BLOCKS: usize = 4_096;
/// Most blocks that may come out of the programs of a batch: 128 MiB, of which a worker holds several copies (the
/// evaluation, the changes of the state, the results for its peers).
pub const MAX_BATCH_OUTPUT_BLOCKS: usize = 2 * MAX_OUTPUT_BLOCKS;
/// Most blocks that may go in and come out of one program, and of several that are evaluated side by side: 256 MiB.
pub const MAX_BLOCKS: usize = 16_384;

/// How many blocks come out of a program.
pub fn output_blocks(program: &Program) -> usize {
    program.outputs().iter().map(Vec::len).fold(0, usize::saturating_add)
}

/// FHE gas of a program: its evaluation, and what comes out of it.
pub fn gas(program: &Program) -> Gas {
    let blocks = u64::try_from(output_blocks(program)).unwrap_or(u64::MAX);
    Gas(program.gas().0.saturating_add(blocks.saturating_mul(OUTPUT_BLOCK)))
}

/// The work of one transaction: a program, what goes in and what comes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// The key under which all of it is encrypted.
    pub key: KeyId,
    /// What is computed.
    pub program: Program,
    /// What goes in.
    pub inputs: Inputs,
    /// The handles whose ciphertexts come out, in order.
    pub outputs: Vec<B256>,
}

/// What goes into a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inputs {
    /// The ciphertexts of these handles, in order.
    Handles(Vec<B256>),
    /// A client's list.
    List(Vec<u8>),
}

/// Why operations make no program. The executor's checks leave little of it to be met.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CircuitError {
    /// A handle of a type that cannot be computed with.
    #[error("handle {0} has a type that cannot be computed with")]
    Type(B256),
    /// An operand that no operation before makes.
    #[error("operand {0} is made nowhere")]
    Missing(B256),
    /// An operation without the operands that it needs.
    #[error("operation {0:?} has not the operands that it needs")]
    Operands(Op),
    /// More comes out than one transaction may make.
    #[error("its results have {0} blocks, {MAX_OUTPUT_BLOCKS} are the most; keep fewer or narrower values at once")]
    Outputs(usize),
    /// More goes in and comes out than is held in memory at once.
    #[error("its operands and results have {0} blocks, {MAX_BLOCKS} are the most; use fewer values at once")]
    Blocks(usize),
    /// The builder refused.
    #[error(transparent)]
    Program(#[from] ProgramError),
}

fn type_of(handle: &B256) -> Result<FheType, CircuitError> {
    FheType::from_code(handle[30]).ok_or(CircuitError::Type(*handle))
}

fn scalar(number: U256) -> Scalar {
    Scalar::from_be_bytes(number.to_be_bytes())
}

/// The builder's operation of the same meaning.
fn integer(op: Op) -> Option<IntegerOp> {
    Some(match op {
        Op::Add => IntegerOp::Add,
        Op::Sub => IntegerOp::Sub,
        Op::Mul => IntegerOp::Mul,
        Op::Div => IntegerOp::Div,
        Op::Rem => IntegerOp::Rem,
        Op::BitAnd => IntegerOp::BitAnd,
        Op::BitOr => IntegerOp::BitOr,
        Op::BitXor => IntegerOp::BitXor,
        Op::Shl => IntegerOp::Shl,
        Op::Shr => IntegerOp::Shr,
        Op::Rotl => IntegerOp::Rotl,
        Op::Rotr => IntegerOp::Rotr,
        Op::Eq => IntegerOp::Eq,
        Op::Ne => IntegerOp::Ne,
        Op::Ge => IntegerOp::Ge,
        Op::Gt => IntegerOp::Gt,
        Op::Le => IntegerOp::Le,
        Op::Lt => IntegerOp::Lt,
        Op::Min => IntegerOp::Min,
        Op::Max => IntegerOp::Max,
        Op::Neg => IntegerOp::Neg,
        Op::IfThenElse => IntegerOp::Select,
        _ => return None,
    })
}

/// The argument of the pseudo-random function. The executor's seed differs from call to call, but follows from what is
/// known before; the round's anchor does not, and differs when `evm_revert` has brought a seed back. What else is bound
/// keeps chains and ParaTimes apart.
fn random_seed(context: &RoundContext, seed: [u8; 16], result: &B256) -> Digest {
    Digest::of_value(Domain::EncryptedRandom, &(context.chain, context.paratime, context.anchor, seed, result.0))
}

struct Builder<'a> {
    program: ProgramBuilder,
    values: BTreeMap<B256, Vec<ValueId>>,
    context: &'a RoundContext,
}

impl Builder<'_> {
    fn value(&self, handle: &B256) -> Result<Vec<ValueId>, CircuitError> {
        self.values.get(handle).cloned().ok_or(CircuitError::Missing(*handle))
    }

    fn operation(&mut self, operation: &Operation) -> Result<(), CircuitError> {
        let (op, result) = (operation.op, operation.result);
        let lacking = || CircuitError::Operands(op);
        let value = match (op, operation.operands.as_slice()) {
            (Op::Not, [Operand::Handle(operand)]) => {
                let blocks = self.value(operand)?;
                self.program.not(type_of(operand)?, &blocks)
            }
            (Op::Cast, [Operand::Handle(operand)]) => {
                let blocks = self.value(operand)?;
                self.program.cast(type_of(operand)?, type_of(&result)?, &blocks)
            }
            (Op::TrivialEncrypt, [Operand::Scalar(number)]) => self.program.trivial(type_of(&result)?, scalar(*number)),
            (Op::Rand, []) => {
                let kind = type_of(&result)?;
                self.random(operation, kind, kind.bits())?
            }
            (Op::RandBounded, [Operand::Scalar(bound)]) => {
                let bits = u16::try_from(bound.trailing_zeros()).map_err(|_| lacking())?;
                self.random(operation, type_of(&result)?, bits)?
            }
            (_, operands) => {
                // The type of the last handle: of a choice that of what is chosen, of all others that of every operand.
                let last = operation.reads().last().ok_or_else(lacking)?;
                let of = |operand: &Operand| match operand {
                    Operand::Handle(handle) => self.value(handle).map(Value::Value),
                    Operand::Scalar(number) => Ok(Value::Scalar(scalar(*number))),
                };
                let operands = operands.iter().map(of).collect::<Result<Vec<_>, _>>()?;
                self.program.integer(integer(op).ok_or_else(lacking)?, type_of(&last)?, &operands)
            }
        };
        self.values.insert(result, value);
        Ok(())
    }

    fn random(&mut self, operation: &Operation, kind: FheType, bits: u16) -> Result<Vec<ValueId>, CircuitError> {
        let seed = operation.seed.ok_or(CircuitError::Operands(operation.op))?;
        Ok(self.program.random(kind, bits, random_seed(self.context, seed, &operation.result)))
    }
}

/// The program that makes `outputs` out of `inputs` by these operations, each of which comes after what it reads.
///
/// # Errors
/// [`CircuitError`].
pub fn work(
    key: KeyId,
    operations: &[&Operation],
    inputs: Vec<B256>,
    outputs: Vec<B256>,
    context: &RoundContext,
) -> Result<Work, CircuitError> {
    let mut builder = Builder { program: ProgramBuilder::new(), values: BTreeMap::new(), context };
    for handle in &inputs {
        let value = builder.program.input(type_of(handle)?.input());
        builder.values.insert(*handle, value);
    }
    for operation in operations {
        builder.operation(operation)?;
    }
    for handle in &outputs {
        let value = builder.value(handle)?;
        builder.program.output(value);
    }
    let program = builder.program.build()?;
    let made = output_blocks(&program);
    let all = made.saturating_add(program.input_blocks());
    if made > MAX_OUTPUT_BLOCKS {
        return Err(CircuitError::Outputs(made));
    }
    if all > MAX_BLOCKS {
        return Err(CircuitError::Blocks(all));
    }
    Ok(Work { key, program, inputs: Inputs::Handles(inputs), outputs })
}
