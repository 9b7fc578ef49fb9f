//! FHE gas: what each operation costs, in thousandths of one programmable bootstrap (PBS).
//!
//! The unit is the one that the hardware spends: a PBS takes about 30 core-milliseconds, so one unit is about 30 core-
//! microseconds. Counts of bootstraps follow tfhe 1.8.2's radix integers of two bits a block; the crate that owns tfhe
//! checks them against the library's counter.

use crate::program::{InputKind, IntegerOp, Op};
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
        Op::Table { .. } | Op::TwoTables { .. } => 1,
        Op::Integer { op, operands } => integer_pbs(*op, operands.last().map_or(0, Vec::len) as u64),
    }
}

/// The price of one operation.
pub fn op(op: &Op) -> Gas {
    match op {
        Op::Linear { .. } => Gas(LINEAR),
        other => Gas(op_pbs(other).saturating_mul(PBS)),
    }
}

/// Bootstraps of an integer operation on operands of `n` blocks. Measured for 4, 8, 16 and 32 blocks (`u8` to `u64`):
/// addition 8/16/32/64, comparison 5/11/23/47, selection 12/24/48/96, minimum 17/35/71/143. Multiplication was measured
/// for 4 and 8 blocks (28/111) and is quadratic; larger ones are priced by an upper bound.
fn integer_pbs(op: IntegerOp, n: u64) -> u64 {
    let comparison = (3u64.saturating_mul(n) / 2).saturating_sub(1).max(1);
    match op {
        IntegerOp::Add | IntegerOp::Sub => n.saturating_mul(2),
        IntegerOp::Mul => n.saturating_mul(n).saturating_mul(7) / 4,
        IntegerOp::BitAnd | IntegerOp::BitOr | IntegerOp::BitXor => n,
        IntegerOp::Eq | IntegerOp::Ne | IntegerOp::Lt | IntegerOp::Le | IntegerOp::Gt | IntegerOp::Ge => comparison,
        IntegerOp::Select => n.saturating_mul(3),
        IntegerOp::Min | IntegerOp::Max => n.saturating_mul(3).saturating_add(comparison),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integer_prices_are_the_measured_ones() {
        let sizes = [4, 8, 16, 32];
        let row = |op| sizes.map(|n| integer_pbs(op, n));
        assert_eq!(row(IntegerOp::Add), [8, 16, 32, 64]);
        assert_eq!(row(IntegerOp::Gt), [5, 11, 23, 47]);
        assert_eq!(row(IntegerOp::Select), [12, 24, 48, 96]);
        assert_eq!(row(IntegerOp::Min), [17, 35, 71, 143]);
        assert_eq!(integer_pbs(IntegerOp::Mul, 4), 28);
        assert!(integer_pbs(IntegerOp::Mul, 8) >= 111);
    }
}
