//! Merkle root and inclusion proof of an ordered list, in the tree shape of RFC 6962 (Certificate Transparency):
//! a list of n > 1 leaves splits at the largest power of two below n. Leaves, inner nodes and the root live in
//! domains of their own, and the root binds the count, so no proof can pass for another list or another depth.

use crate::hash::{Digest, Domain};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

/// The siblings of one leaf, from the leaf upward.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct ListProof {
    /// The leaf's position.
    pub index: u64,
    /// How many leaves the list has.
    pub count: u64,
    /// Sibling digests, from the leaf upward.
    pub path: Vec<Digest>,
}

fn leaf(item: &Digest) -> Digest {
    Digest::of_bytes(Domain::MerkleLeaf, &item.0)
}

fn node(left: &Digest, right: &Digest) -> Digest {
    let mut both = [0; 64];
    both[..32].copy_from_slice(&left.0);
    both[32..].copy_from_slice(&right.0);
    Digest::of_bytes(Domain::MerkleNode, &both)
}

fn seal(count: u64, top: &Digest) -> Digest {
    Digest::of_value(Domain::MerkleRoot, &(count, top))
}

/// The split of a list of `n > 1` leaves: the largest power of two below `n`.
fn split(n: usize) -> usize {
    n.next_power_of_two() / 2
}

fn subtree(items: &[Digest]) -> Digest {
    match items {
        [] => Digest::ZERO,
        [one] => leaf(one),
        many => {
            let (left, right) = many.split_at(split(many.len()));
            node(&subtree(left), &subtree(right))
        }
    }
}

/// The root of a list; an empty one has a root of its own.
pub fn root(items: &[Digest]) -> Digest {
    seal(items.len() as u64, &subtree(items))
}

/// The inclusion proof of `items[index]`, or `None` if there is no such item.
pub fn prove(items: &[Digest], index: usize) -> Option<ListProof> {
    fn descend(items: &[Digest], index: usize, path: &mut Vec<Digest>) {
        if items.len() <= 1 {
            return;
        }
        let (left, right) = items.split_at(split(items.len()));
        if index < left.len() {
            descend(left, index, path);
            path.push(subtree(right));
        } else {
            descend(right, index - left.len(), path);
            path.push(subtree(left));
        }
    }
    if index >= items.len() {
        return None;
    }
    let mut path = Vec::new();
    descend(items, index, &mut path);
    Some(ListProof { index: index as u64, count: items.len() as u64, path })
}

impl ListProof {
    /// Whether `item` stands at [`ListProof::index`] of the list with this root.
    #[must_use]
    pub fn verify(&self, list_root: &Digest, item: &Digest) -> bool {
        if self.index >= self.count {
            return false;
        }
        // Whether the item lies left or right at each level, from the top downward.
        let (mut sides, mut index, mut count) = (Vec::new(), self.index, self.count);
        while count > 1 {
            let Some(half) = count.checked_next_power_of_two().map(|p| p / 2) else { return false };
            sides.push(index < half);
            (index, count) = if index < half { (index, half) } else { (index - half, count - half) };
        }
        if sides.len() != self.path.len() {
            return false;
        }
        let top = self.path.iter().zip(sides.iter().rev()).fold(leaf(item), |acc, (sibling, is_left)| {
            if *is_left { node(&acc, sibling) } else { node(sibling, &acc) }
        });
        seal(self.count, &top) == *list_root
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn list(n: usize) -> Vec<Digest> {
        (0..n).map(|i| Digest::of_value(Domain::Simulation, &(i as u64))).collect()
    }

    proptest! {
        #[test]
        fn every_item_is_proven_and_no_other_passes(n in 1usize..70, at in 0usize..70, other in 0usize..70) {
            let items = list(n);
            let at = at % n;
            let proof = prove(&items, at).expect("the index is in range");
            prop_assert!(proof.verify(&root(&items), &items[at]));
            let other = other % n;
            if other != at {
                prop_assert!(!proof.verify(&root(&items), &items[other]));
                let moved = ListProof { index: other as u64, ..proof.clone() };
                prop_assert!(!moved.verify(&root(&items), &items[at]));
            }
            prop_assert!(!proof.verify(&root(&list(n + 1)), &items[at]));
        }
    }

    #[test]
    fn a_proof_for_a_huge_count_is_refused_without_work() {
        let proof = ListProof { index: 0, count: u64::MAX, path: vec![] };
        assert!(!proof.verify(&Digest::ZERO, &Digest::ZERO));
    }
}
