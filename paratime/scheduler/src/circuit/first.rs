//! The winner: the first of those with the least code, as a one-hot vector.
//!
//! Candidates are the leaves of a binary tree. Going up, each node compares the least codes of its two sides: one
//! bootstrap with two tables says whether the right side is strictly less, and by how much. Going down, who wins a node
//! wins one of its sides, and one bootstrap settles two levels for two of the four nodes below: from whether the node
//! wins, which of its sides, and which side of that.

use parallax_runtime::{ProgramBuilder, ValueId};
use std::collections::BTreeMap;

/// By `left - right + 4`: how much less the right side is, and whether it is less.
const LESS_BY: [u8; 9] = [0, 0, 0, 0, 0, 1, 2, 3, 4];
const LESS: [u8; 9] = [0, 0, 0, 0, 0, 1, 1, 1, 1];

/// By `wins + 2 * right`: whether the left, and the right side wins.
const SIDES: [[u8; 8]; 2] = [[0, 1, 0, 0, 0, 0, 0, 0], [0, 0, 0, 1, 0, 0, 0, 0]];

enum Tree {
    Leaf(usize),
    Node {
        /// The first of its candidates.
        begin: usize,
        /// Whether the right side wins if the node does.
        right: ValueId,
        height: u32,
        sides: Box<[Tree; 2]>,
    },
}

impl Tree {
    fn height(&self) -> u32 {
        match self {
            Self::Leaf(_) => 0,
            Self::Node { height, .. } => *height,
        }
    }

    fn begin(&self) -> usize {
        match self {
            Self::Leaf(at) => *at,
            Self::Node { begin, .. } => *begin,
        }
    }
}

/// Who wins.
pub(super) struct Winner {
    /// The one-hot vector; all zero if nobody does.
    pub(super) flags: Vec<ValueId>,
    /// Whether there is a winner.
    pub(super) found: ValueId,
    /// Whether the winner is in a block of candidates that begins at a multiple of its length, a power of two: for some
    /// such blocks, by beginning and length.
    pub(super) blocks: BTreeMap<(usize, usize), ValueId>,
}

/// The first of those with the least code, if that is below `out`. Codes are 0..=`out`, and `out` at most 4.
pub(super) fn winner(b: &mut ProgramBuilder, codes: &[ValueId], out: u8) -> Winner {
    let mut nodes: Vec<(Tree, ValueId)> = codes.iter().enumerate().map(|(i, code)| (Tree::Leaf(i), *code)).collect();
    while nodes.len() > 1 {
        let mut above = Vec::with_capacity(nodes.len().div_ceil(2));
        let mut rest = nodes.into_iter();
        while let Some(left) = rest.next() {
            above.push(match rest.next() {
                Some(right) => join(b, left, right, out),
                None => left,
            });
        }
        nodes = above;
    }
    let Some((tree, least)) = nodes.pop() else {
        let found = b.linear(&[], 0);
        return Winner { flags: Vec::new(), found, blocks: BTreeMap::new() };
    };
    let below = b.linear(&[(least, -1)], i32::from(out).saturating_sub(1));
    let found = b.non_negative(below, 1);
    let mut winner = Winner { flags: vec![found; codes.len()], found, blocks: BTreeMap::new() };
    descend(b, &tree, found, &mut winner);
    winner
}

fn join(b: &mut ProgramBuilder, left: (Tree, ValueId), right: (Tree, ValueId), out: u8) -> (Tree, ValueId) {
    let difference = b.linear(&[(left.1, 1), (right.1, -1)], 0);
    let [less_by, less] = b.two_signed(difference, [LESS_BY, LESS]);
    let least = b.linear(&[(left.1, 1), (less_by, -1)], 0);
    b.assume(least, 0, out.into(), "the smaller one of two codes is a code");
    let height = left.0.height().max(right.0.height()).saturating_add(1);
    (Tree::Node { begin: left.0.begin(), right: less, height, sides: Box::new([left.0, right.0]) }, least)
}

/// Writes the flags of a tree whose root wins if `wins` is set.
fn descend(b: &mut ProgramBuilder, tree: &Tree, wins: ValueId, winner: &mut Winner) {
    winner.blocks.insert((tree.begin(), 1 << tree.height()), wins);
    let (right, height, sides) = match tree {
        Tree::Leaf(i) => {
            if let Some(flag) = winner.flags.get_mut(*i) {
                *flag = wins;
            }
            return;
        }
        Tree::Node { right, height, sides, .. } => (*right, *height, sides),
    };
    // An odd height takes one step by itself, so that the last step of two levels ends at the leaves.
    if height % 2 == 1 {
        let argument = b.linear(&[(wins, 1), (right, 2)], 0);
        let flags = b.two_tables(argument, SIDES);
        for (side, wins) in sides.iter().zip(flags) {
            descend(b, side, wins, winner);
        }
        return;
    }
    for (which, side) in (0u8..).zip(sides.iter()) {
        // Wins, on this side: by `wins + 2 * right`.
        let here = move |x: u8| x & 3 == 1 + 2 * which;
        match side {
            Tree::Leaf(_) => {
                let argument = b.linear(&[(wins, 1), (right, 2)], 0);
                let wins = b.map(argument, |x| u8::from(here(x)));
                descend(b, side, wins, winner);
            }
            Tree::Node { right: below, sides, .. } => {
                let argument = b.linear(&[(wins, 1), (right, 2), (*below, 4)], 0);
                let table = |lower: u8| std::array::from_fn(|x| u8::from(here(x as u8) && x as u8 >> 2 == lower));
                let flags = b.two_tables(argument, [table(0), table(1)]);
                for (side, wins) in sides.iter().zip(flags) {
                    descend(b, side, wins, winner);
                }
            }
        }
    }
}
