//! The operations of a program, called on tfhe's integers with keys of tfhe's own.

use crate::chain::{Spent, timed};
use parallax_runtime::{IntegerOp, Op, Operand, Program, ValueId};
use std::collections::BTreeSet;
use std::error::Error;
use tfhe::integer::prelude::ServerKeyDefaultCMux;
use tfhe::integer::{ClientKey, IntegerRadixCiphertext, RadixCiphertext, RadixClientKey, ServerKey, gen_keys_radix};
use tfhe::shortint::CompactPublicKey;
use tfhe::shortint::ciphertext::ReRandomizationContext;
use tfhe::shortint::parameters::v1_8::V1_8_PARAM_MESSAGE_2_CARRY_2_KS_PBS_TUNIFORM_2M128;

pub(crate) struct Direct {
    client: RadixClientKey,
    server: ServerKey,
    /// What encrypts the zeros that are added to inputs.
    zeros: CompactPublicKey,
}

/// An operation with its operands ready.
enum Ready {
    Select(RadixCiphertext, RadixCiphertext, RadixCiphertext),
    Two(IntegerOp, RadixCiphertext, RadixCiphertext),
    One(IntegerOp, RadixCiphertext),
}

impl Direct {
    pub(crate) fn new() -> Self {
        let (client, server) = gen_keys_radix(V1_8_PARAM_MESSAGE_2_CARRY_2_KS_PBS_TUNIFORM_2M128, 32);
        let integers: &ClientKey = client.as_ref();
        let blocks: &tfhe::shortint::ClientKey = integers.as_ref();
        let zeros = CompactPublicKey::new(blocks);
        Self { client, server, zeros }
    }

    /// What the re-randomisation of a program's inputs takes, and nothing else: as the backend does it, but under keys of
    /// tfhe's own, one input after the other.
    pub(crate) fn rerandomize(&self, program: &Program) -> Result<Spent, Box<dyn Error>> {
        let mut seeds = ReRandomizationContext::new(*b"transfer", *b"measured").finalize();
        let mut inputs: Vec<_> = program
            .inputs()
            .iter()
            .map(|kind| {
                let mut blocks = self.client.encrypt(0x0123_4567_89ab_cdefu64).into_blocks();
                blocks.truncate(usize::from(kind.blocks()));
                (blocks, seeds.next_seed())
            })
            .collect();
        let (done, spent) = timed(|| {
            inputs
                .drain(..)
                .try_for_each(|(mut blocks, seed)| self.zeros.re_randomize_ciphertexts(&mut blocks, None, seed))
        });
        done?;
        Ok(spent)
    }

    /// A ciphertext of so many blocks; a trivial one where the program has a constant.
    fn operand(&self, blocks: &[ValueId], constants: &BTreeSet<ValueId>) -> RadixCiphertext {
        if blocks.iter().all(|block| constants.contains(block)) {
            return self.server.create_trivial_radix(0u64, blocks.len());
        }
        let whole = self.client.encrypt(0x0123_4567_89ab_cdefu64);
        let mut all = whole.into_blocks();
        all.truncate(blocks.len());
        RadixCiphertext::from(all)
    }

    /// What the operations of a program take on so many threads.
    pub(crate) fn run(&self, program: &Program, threads: usize) -> Result<Spent, Box<dyn Error>> {
        let inputs: usize = program.inputs().iter().map(|kind| usize::from(kind.blocks())).sum();
        let (mut constants, mut next) = (BTreeSet::new(), u32::try_from(inputs)?);
        let mut ready = Vec::new();
        for op in program.ops() {
            match op {
                Op::Linear { terms, .. } if terms.is_empty() => drop(constants.insert(ValueId(next))),
                Op::Linear { .. } => {}
                Op::Integer { op, operands, .. } => ready.push(self.ready(*op, operands, &constants)?),
                other => return Err(format!("{other:?} is no operation of tfhe's integers").into()),
            }
            next = next.saturating_add(u32::try_from(op.results())?);
        }
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
        let (done, spent) = timed(|| pool.install(|| ready.iter().try_for_each(|one| self.one(one))));
        done?;
        Ok(spent)
    }

    fn ready(
        &self,
        op: IntegerOp,
        operands: &[Operand],
        constants: &BTreeSet<ValueId>,
    ) -> Result<Ready, Box<dyn Error>> {
        let of = |operand: &Operand| match operand {
            Operand::Value(blocks) => Ok(self.operand(blocks, constants)),
            Operand::Scalar(_) => Err("an operation with a clear number; this example has none"),
        };
        Ok(match operands {
            [a] => Ready::One(op, of(a)?),
            [a, b] => Ready::Two(op, of(a)?, of(b)?),
            [condition, a, b] => Ready::Select(of(condition)?, of(a)?, of(b)?),
            _ => return Err("an operation without operands".into()),
        })
    }

    fn one(&self, ready: &Ready) -> Result<(), String> {
        let key = &self.server;
        match ready {
            Ready::Select(condition, a, b) => {
                let bit = condition.clone().into_blocks().swap_remove(0);
                let condition = tfhe::integer::BooleanBlock::new_unchecked(key_bit(bit));
                drop(key.if_then_else_parallelized(&condition, a, b));
            }
            Ready::Two(IntegerOp::Add, a, b) => drop(key.add_parallelized(a, b)),
            Ready::Two(IntegerOp::Sub, a, b) => drop(key.sub_parallelized(a, b)),
            Ready::Two(IntegerOp::Ge, a, b) => drop(key.ge_parallelized(a, b)),
            Ready::Two(IntegerOp::Le, a, b) => drop(key.le_parallelized(a, b)),
            Ready::Two(IntegerOp::Gt, a, b) => drop(key.gt_parallelized(a, b)),
            Ready::Two(IntegerOp::Lt, a, b) => drop(key.lt_parallelized(a, b)),
            Ready::Two(IntegerOp::Eq, a, b) => drop(key.eq_parallelized(a, b)),
            Ready::Two(IntegerOp::Ne, a, b) => drop(key.ne_parallelized(a, b)),
            Ready::Two(IntegerOp::BitAnd, a, b) => drop(key.bitand_parallelized(a, b)),
            Ready::Two(IntegerOp::BitOr, a, b) => drop(key.bitor_parallelized(a, b)),
            Ready::Two(op, ..) | Ready::One(op, _) => return Err(format!("{} is none of a transfer", op.name())),
        }
        Ok(())
    }
}

/// A block as a condition: the price does not depend on what it holds, but the library checks its degree.
fn key_bit(mut block: tfhe::shortint::Ciphertext) -> tfhe::shortint::Ciphertext {
    block.degree = tfhe::shortint::ciphertext::Degree::new(1);
    block
}
