//! FHE gas: what each operation costs, in thousandths of one programmable bootstrap (PBS).
//!
//! The unit is the one that the hardware spends: a PBS takes 24 to 30 core-milliseconds, so one unit is about as many
//! core-microseconds. Counts of bootstraps are those of tfhe 1.8.2's radix integers of two bits a block in a pool of
//! one thread (with more threads the library picks other algorithms); the crate that owns tfhe checks them against the
//! library's own counter. They are exact for operands of up to 8 blocks (16 bits). Beyond that, products of two values,
//! orderings of more than 60 blocks, and quotients of more than 32 bits are charged an upper bound. With a clear number
//! the count depends on the number, which is public.

mod integer;
mod scalar;

use crate::program::{InputKind, Op};
use parallax_primitives::Gas;

/// One programmable bootstrap.
pub const PBS: u64 = 1_000;
/// One linear combination, however many terms: additions of vectors of 2,049 words, some microseconds a term.
pub const LINEAR: u64 = 5;
/// Re-randomising one input block: an encryption of zero under the compact public key, a keyswitch and an addition.
pub const RERANDOMIZATION: u64 = 100;
/// Verifying the proof of knowledge of one compact list: 0.16 core-seconds, flat in the size of the list.
pub const PROOF: u64 = 5 * PBS;
/// Decoding, signature check and state writes of one transaction.
pub const TRANSACTION: u64 = 100;

/// Bootstraps to make an input usable.
pub fn input_pbs(kind: InputKind) -> u64 {
    match kind {
        InputKind::Stored { .. } => 0,
        InputKind::Proven { blocks } => u64::from(blocks),
    }
}

/// The price of taking in an input: expansion and re-randomisation.
pub fn input(kind: InputKind) -> Gas {
    let rerandomization = u64::from(kind.blocks()).saturating_mul(RERANDOMIZATION);
    Gas(input_pbs(kind).saturating_mul(PBS).saturating_add(rerandomization))
}

/// The price of verifying one list's proof of knowledge.
pub fn proof() -> Gas {
    Gas(PROOF)
}

/// Bootstraps of one operation.
pub fn op_pbs(op: &Op) -> u64 {
    match op {
        Op::Linear { .. } => 0,
        Op::Table { .. } | Op::TwoTables { .. } | Op::TwoSigned { .. } => 1,
        Op::Integer { op, operands } => integer::pbs(*op, operands),
        // One blind rotation a result, without a keyswitch.
        Op::Random { .. } => op.results() as u64,
    }
}

/// The price of one operation.
pub fn op(op: &Op) -> Gas {
    match op {
        Op::Linear { .. } => Gas(LINEAR),
        Op::Random { .. } => Gas(op_pbs(op).saturating_mul(PBS.saturating_add(RERANDOMIZATION))),
        other => Gas(op_pbs(other).saturating_mul(PBS)),
    }
}
