//! The nodes of the tree: how `jmt` reads them, and the walk that collects a proof.
//!
//! Proofs are collected here and not by `jmt`, whose prover unwraps read errors: a failing disk must not panic.

use crate::hasher::{EMPTY, NodeHasher, inner, key_hash};
use crate::proof::Leaf;
use crate::{Column, Namespace, StateError, Store, Version, rows};
use jmt::storage::{LeafNode, Node, NodeKey, TreeReader};
use jmt::{KeyHash, OwnedValue};
use parallax_primitives::{Digest, decode, encode};
use std::ops::Range;

/// Nibbles in a hashed key: no way through the tree is longer.
const MAX_NIBBLES: usize = 64;

/// The nibbles of a `jmt` node key, one a byte.
pub(crate) fn nibbles(key: &NodeKey) -> Vec<u8> {
    key.nibble_path().nibbles().map(u8::from).collect()
}

/// Reads one node.
pub(crate) fn read(
    store: &dyn Store,
    ns: &Namespace,
    version: Version,
    nibbles: &[u8],
) -> Result<Option<Node>, StateError> {
    let row = rows::node(ns, version, nibbles);
    match store.get(Column::Nodes, &row)? {
        Some(bytes) => Ok(Some(rows::content(Column::Nodes, &row, &bytes)?)),
        None => Ok(None),
    }
}

/// Lets `jmt` read the nodes of one namespace for an update to `next`.
///
/// `jmt` numbers versions without gaps and looks for the root at the version before. Here a version may skip numbers
/// and one that changes nothing writes no nodes, so that one question is answered with the root node as it stands.
pub(crate) struct Reader<'a> {
    pub(crate) store: &'a dyn Store,
    pub(crate) ns: &'a Namespace,
    pub(crate) next: Version,
    /// The version at which the current root node was written; `None` if the tree is empty.
    pub(crate) root: Option<Version>,
}

impl TreeReader for Reader<'_> {
    fn get_node_option(&self, key: &NodeKey) -> anyhow::Result<Option<Node>> {
        let nibbles = nibbles(key);
        if !nibbles.is_empty() {
            return Ok(read(self.store, self.ns, key.version(), &nibbles)?);
        }
        match self.root {
            Some(root) if self.next.checked_sub(1) == Some(key.version()) => {
                Ok(read(self.store, self.ns, root, &nibbles)?)
            }
            _ => Ok(None),
        }
    }

    fn get_value_option(&self, _: Version, key_hash: KeyHash) -> anyhow::Result<Option<OwnedValue>> {
        Err(anyhow::anyhow!("values are kept by key, not by hash; asked for {key_hash:?}"))
    }

    fn get_rightmost_leaf(&self) -> anyhow::Result<Option<(NodeKey, LeafNode)>> {
        Err(anyhow::anyhow!("a tree that is being updated has no rightmost leaf to resume from"))
    }
}

/// What lies at the end of a key's way, and what was passed.
pub(crate) struct Way {
    /// The leaf at the end: the key's own, another's, or none.
    pub(crate) leaf: Option<Leaf>,
    /// From the leaf towards the root.
    pub(crate) siblings: Vec<Digest>,
}

#[derive(Clone, Copy)]
struct Child {
    hash: Digest,
    version: Version,
    is_leaf: bool,
}

/// The children of a node by nibble: the lowest level of a binary tree of height four.
type Children = [Option<Child>; 16];

/// Walks from the root node, written at `root`, towards a key.
pub(crate) fn walk(store: &dyn Store, ns: &Namespace, root: Option<Version>, key: &[u8]) -> Result<Way, StateError> {
    let mut siblings = Vec::new();
    let Some(mut version) = root else {
        return Ok(Way { leaf: None, siblings });
    };
    let way = key_hash(key).0;
    let mut path = Vec::new();
    let found = loop {
        let corrupt = |reason: &str| rows::corrupt(Column::Nodes, &rows::node(ns, version, &path), reason);
        match read(store, ns, version, &path)?.ok_or_else(|| corrupt("the node is missing"))? {
            Node::Null => return Err(corrupt("an empty subtree has no node")),
            Node::Leaf(node) => {
                // The fields are not readable from outside `jmt`; its encoding is the two hashes, one after the other.
                let leaf = decode("leaf", &encode(&node), MAX_NIBBLES).map_err(|e| corrupt(&e.to_string()))?;
                break Some(leaf);
            }
            Node::Internal(node) => {
                let mut children: Children = [None; 16];
                for (nibble, child) in node.children_sorted() {
                    if let Some(slot) = children.get_mut(usize::from(u8::from(nibble))) {
                        let hash = Digest(child.hash);
                        *slot = Some(Child { hash, version: child.version, is_leaf: child.is_leaf() });
                    }
                }
                let nibble = nibble(&way, path.len()).ok_or_else(|| corrupt("the way is longer than a key"))?;
                let Some((next, child)) = descend(&children, nibble, &mut siblings) else {
                    break None;
                };
                path.push(next);
                version = child.version;
            }
        }
    };
    siblings.reverse();
    Ok(Way { leaf: found, siblings })
}

fn nibble(way: &[u8; 32], at: usize) -> Option<u8> {
    way.get(at / 2).map(|byte| if at.is_multiple_of(2) { byte >> 4 } else { byte & 0x0f })
}

/// Goes down the four levels of one node towards `nibble`, collecting siblings, until one child is left (the
/// child itself, or the only leaf of a wider range) or none.
fn descend(children: &Children, nibble: u8, siblings: &mut Vec<Digest>) -> Option<(u8, Child)> {
    let nibble = usize::from(nibble);
    for width in [8, 4, 2, 1] {
        let start = nibble / width * width;
        let sibling = start ^ width;
        siblings.push(range_hash(children, sibling..sibling + width));
        match content(children, start..start + width) {
            Content::Empty => return None,
            Content::One(at, child) => return u8::try_from(at).ok().map(|at| (at, child)),
            Content::Several => {}
        }
    }
    None
}

enum Content {
    Empty,
    One(usize, Child),
    Several,
}

/// What a range of children amounts to: a range of one is its child; a wider one is a child only if that is a leaf.
fn content(children: &Children, range: Range<usize>) -> Content {
    let wide = range.len() > 1;
    let mut present = range.filter_map(|at| children.get(at).copied().flatten().map(|child| (at, child)));
    match (present.next(), present.next()) {
        (None, _) => Content::Empty,
        (Some((at, child)), None) if !wide || child.is_leaf => Content::One(at, child),
        _ => Content::Several,
    }
}

fn range_hash(children: &Children, range: Range<usize>) -> Digest {
    match content(children, range.clone()) {
        Content::Empty => EMPTY,
        Content::One(_, child) => child.hash,
        Content::Several => {
            let middle = range.start + range.len() / 2;
            inner(&range_hash(children, range.start..middle), &range_hash(children, middle..range.end))
        }
    }
}

/// The tree of `jmt` over our nodes and our hash.
pub(crate) type Merkle<'a, 'r> = jmt::JellyfishMerkleTree<'a, Reader<'r>, NodeHasher>;
