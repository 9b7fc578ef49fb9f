//! Bootstraps of integer operations: the counts of tfhe 1.8.2 in a pool of one thread.

use super::scalar;
use crate::integer::{IntegerOp, Operand, Scalar};
use crate::program::width;

/// Bootstraps of `==` and `!=` on 1 to 8 blocks, by tfhe's counter.
const EQUALITY: [u64; 8] = [1, 3, 4, 5, 6, 9, 10, 11];
/// Bootstraps of `<`, `<=`, `>` and `>=` on 1 to 8 blocks, by tfhe's counter.
const ORDERING: [u64; 8] = [1, 3, 4, 5, 8, 9, 10, 11];
/// Bootstraps of a product, low half, of 1 to 8 blocks, by tfhe's counter.
const PRODUCT: [u64; 8] = [1, 6, 14, 28, 44, 63, 85, 111];
/// How many blocks of 0 or 1 are summed before one table looks at all of them: tfhe's `max_noise_level`.
const EQUALITY_FAN_IN: u64 = 5;
/// How many blocks form a group whose borrow is computed at once: the bits of a block.
const GROUP: u64 = 4;
/// Up to here the borrows of groups are resolved one after the other, beyond by prefix sums (Hillis and Steele).
const MAX_SEQUENTIAL_BLOCKS: u64 = 60;

/// How many blocks are summed before a message and a carry are extracted: tfhe's `max_noise_level`.
pub(super) const SUM_FAN_IN: usize = 5;

/// Bootstraps of an integer operation.
pub(super) fn pbs(op: IntegerOp, operands: &[Operand]) -> u64 {
    let blocks = width(operands);
    match operands {
        [Operand::Value(_), Operand::Scalar(number)] => with_scalar(op, blocks, *number),
        _ => integer_pbs(op, blocks as u64),
    }
}

/// Bootstraps of an operation of `n` blocks with a clear number. Those that are not here have become tables.
fn with_scalar(op: IntegerOp, n: usize, number: Scalar) -> u64 {
    match op {
        // No carry leaves the last block.
        IntegerOp::Add | IntegerOp::Sub => (n as u64).saturating_mul(2).saturating_sub(1),
        IntegerOp::Mul => scalar::product(n, number),
        IntegerOp::Div | IntegerOp::Rem => scalar::quotient(n, number, op == IntegerOp::Rem),
        _ => integer_pbs(op, n as u64),
    }
}

/// Bootstraps of an integer operation on operands of `n` blocks.
fn integer_pbs(op: IntegerOp, n: u64) -> u64 {
    match op {
        // One is added to the digits turned round; no carry leaves the last block.
        IntegerOp::Neg => n.saturating_mul(2).saturating_sub(1),
        // Never with two values: the builder makes tables of them, or refuses them.
        IntegerOp::Shl | IntegerOp::Shr | IntegerOp::Rotl | IntegerOp::Rotr => 0,
        IntegerOp::Div | IntegerOp::Rem => 0,
        // Each block: its message, and the carry into the next.
        IntegerOp::Add | IntegerOp::Sub => n.saturating_mul(2),
        IntegerOp::Mul => product(n),
        IntegerOp::BitAnd | IntegerOp::BitOr | IntegerOp::BitXor => n,
        IntegerOp::Eq | IntegerOp::Ne => equality(n),
        IntegerOp::Lt | IntegerOp::Le | IntegerOp::Gt | IntegerOp::Ge => ordering(n),
        // Each block: blank either side, clean the sum.
        IntegerOp::Select => n.saturating_mul(3),
        IntegerOp::Min | IntegerOp::Max => ordering(n).saturating_add(n.saturating_mul(3)),
    }
}

/// The entry for `n` blocks, if that was measured.
fn measured(table: &[u64; 8], n: u64) -> Option<u64> {
    usize::try_from(n.checked_sub(1)?).ok().and_then(|at| table.get(at)).copied()
}

fn equality(n: u64) -> u64 {
    measured(&EQUALITY, n).unwrap_or_else(|| equality_tree(n))
}

/// One table a block, then trees of conjunctions over [`EQUALITY_FAN_IN`] results each.
fn equality_tree(n: u64) -> u64 {
    let (mut total, mut left) = (n, n);
    while left > 1 {
        left = left.div_ceil(EQUALITY_FAN_IN);
        total = total.saturating_add(left);
    }
    total
}

fn ordering(n: u64) -> u64 {
    measured(&ORDERING, n).unwrap_or_else(|| ordering_by_groups(n))
}

/// One table a block and one a group; then, with more than one group, one for the borrow into each group but the first
/// two (the second's is the first's own result) and one for the answer. Prefix sums take more: they are bounded by
/// `9n/4`, which holds up to the builder's limit of 128 blocks.
fn ordering_by_groups(n: u64) -> u64 {
    if n > MAX_SEQUENTIAL_BLOCKS {
        return n.saturating_mul(9).div_ceil(4);
    }
    n.saturating_add(n.div_ceil(GROUP).saturating_mul(2)).saturating_sub(1)
}

/// Beyond the measured sizes `7n^2/4`, rounded up: `n^2` block products, and sums of five blocks at a time that spend
/// two bootstraps to have three blocks less. It holds up to the builder's limit of 128 blocks, and is met at 11.
fn product(n: u64) -> u64 {
    measured(&PRODUCT, n).unwrap_or_else(|| n.saturating_mul(n).saturating_mul(7).div_ceil(4))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builder::MAX_INTEGER_BLOCKS;

    fn row(op: IntegerOp, sizes: impl IntoIterator<Item = u64>) -> Vec<u64> {
        sizes.into_iter().map(|n| integer_pbs(op, n)).collect()
    }

    #[test]
    fn integers_of_up_to_eight_blocks_cost_what_the_counter_says() {
        for op in [IntegerOp::Eq, IntegerOp::Ne] {
            assert_eq!(row(op, 1..=8), [1, 3, 4, 5, 6, 9, 10, 11], "{}", op.name());
        }
        for op in [IntegerOp::Lt, IntegerOp::Le, IntegerOp::Gt, IntegerOp::Ge] {
            assert_eq!(row(op, 1..=8), [1, 3, 4, 5, 8, 9, 10, 11], "{}", op.name());
        }
        for op in [IntegerOp::Min, IntegerOp::Max] {
            assert_eq!(row(op, 1..=8), [4, 9, 13, 17, 23, 27, 31, 35], "{}", op.name());
        }
        for op in [IntegerOp::Add, IntegerOp::Sub] {
            assert_eq!(row(op, 1..=8), [2, 4, 6, 8, 10, 12, 14, 16], "{}", op.name());
        }
        for op in [IntegerOp::BitAnd, IntegerOp::BitOr, IntegerOp::BitXor] {
            assert_eq!(row(op, 1..=8), [1, 2, 3, 4, 5, 6, 7, 8], "{}", op.name());
        }
        assert_eq!(row(IntegerOp::Select, 1..=8), [3, 6, 9, 12, 15, 18, 21, 24]);
        assert_eq!(row(IntegerOp::Mul, 1..=8), [1, 6, 14, 28, 44, 63, 85, 111]);
    }

    #[test]
    fn larger_integers_cost_what_the_counter_says_or_more() {
        assert_eq!(row(IntegerOp::Add, [16, 32]), [32, 64]);
        assert_eq!(row(IntegerOp::Gt, [16, 32]), [23, 47]);
        assert_eq!(row(IntegerOp::Eq, [16, 32]), [21, 42]);
        assert_eq!(row(IntegerOp::Select, [16, 32]), [48, 96]);
        assert_eq!(row(IntegerOp::Min, [16, 32]), [71, 143]);
        assert_eq!(row(IntegerOp::Gt, [60]), [89]);
        // Measured: 126, 212 and 440.
        assert_eq!(row(IntegerOp::Gt, [64]), [144]);
        assert_eq!(row(IntegerOp::Mul, [11, 16]), [212, 448]);
    }

    #[test]
    fn the_measured_tables_are_continued_by_the_formulas() {
        assert!((1..=8).all(|n| equality_tree(n) == equality(n)));
        assert!((2..=8).all(|n| ordering_by_groups(n) == ordering(n)));
        assert!((5..=8).all(|n: u64| PRODUCT[n as usize - 1] <= (7 * n * n).div_ceil(4)));
    }

    /// Counts of the two algorithms behind the bounds, step by step as tfhe 1.8.2 takes them in a pool of one thread.
    #[test]
    fn the_bounds_hold_for_every_size_that_the_builder_accepts() {
        for n in 1..=MAX_INTEGER_BLOCKS as u64 {
            let (order, product) = (ordering_steps(n), product_steps(n as usize));
            assert!(integer_pbs(IntegerOp::Lt, n) >= order, "ordering of {n} blocks: {order}");
            assert!(integer_pbs(IntegerOp::Mul, n) >= product, "product of {n} blocks: {product}");
            if n <= MAX_SEQUENTIAL_BLOCKS {
                assert_eq!(integer_pbs(IntegerOp::Lt, n), order, "ordering of {n} blocks");
            }
            if n <= 8 {
                assert_eq!(integer_pbs(IntegerOp::Mul, n), product, "product of {n} blocks");
            }
        }
    }

    /// `integer/server_key/radix_parallel/comparison.rs`, `compare`.
    fn ordering_steps(n: u64) -> u64 {
        let depth = |items: u64| u64::from(items.max(1).next_power_of_two().ilog2());
        let groups = n.div_ceil(GROUP);
        if n == 1 {
            return 1;
        }
        if groups == 1 {
            return n + 1;
        }
        let borrows = groups - 1;
        let resolution = if borrows / (GROUP - 1) <= depth(borrows) {
            borrows - 1
        } else {
            (0..depth(borrows)).map(|step| borrows - (1 << step)).sum()
        };
        n + groups + resolution + 1
    }

    /// `radix_parallel/mul.rs`, `sum.rs` and the propagation of carries in `mod.rs`. A block is its largest value.
    fn product_steps(n: usize) -> u64 {
        let mut pbs = (n * n) as u64;
        // Column c: the low halves (at most 3) of c + 1 block products and the high halves (at most 2) of c.
        let blocks = |largest, count| vec![scalar::Block::held(largest); count];
        let columns: Vec<Vec<_>> = (0..n).map(|c| [blocks(3, c + 1), blocks(2, c)].concat()).collect();
        pbs += scalar::summed_columns(columns);
        pbs
    }
}
