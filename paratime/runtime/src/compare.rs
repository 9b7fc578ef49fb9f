//! Where replicas that should have computed the same began to differ.
//!
//! Every vote commits to its replica's trace by a root. Whoever holds the digests of all leaves of two traces, each
//! verified against its root, knows without computing anything how long the replicas agreed and which operation was
//! the first on which they did not; a leaf with its proof then shows to anybody what each of them says of it.
//!
//! Nothing here decides a round. A comparison names a culprit for people, and tells a replica how much of a disputed
//! execution it may take over ([`crate::replay`]); the verdict comes from votes.

use crate::trace::{ProvenLeaf, Trace};
use borsh::{BorshDeserialize, BorshSerialize};
use parallax_primitives::merkle::{self, ListProof};
use parallax_primitives::{Digest, NodeId, Round};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The digests of all leaves of a trace, in order. They can only be made from a trace, or verified against a root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceDigests {
    digests: Vec<Digest>,
    root: Digest,
}

impl TraceDigests {
    /// The digests that a peer says lie under `trace_root`; `None` if they do not.
    pub fn verified(digests: Vec<Digest>, trace_root: &Digest) -> Option<Self> {
        let root = merkle::root(&digests);
        (root == *trace_root).then_some(Self { digests, root })
    }

    /// Those of a trace that is here.
    pub fn of(trace: &Trace) -> Self {
        let digests = trace.digests();
        Self { root: merkle::root(&digests), digests }
    }

    /// The root.
    pub fn root(&self) -> Digest {
        self.root
    }

    /// The digests.
    pub fn digests(&self) -> &[Digest] {
        &self.digests
    }

    /// The proof that a leaf stands at `index`; `None` if there is none.
    pub fn prove(&self, index: u64) -> Option<ListProof> {
        merkle::prove(&self.digests, usize::try_from(index).ok()?)
    }

    fn count(&self) -> u64 {
        self.digests.len() as u64
    }

    fn get(&self, index: u64) -> Option<Digest> {
        self.digests.get(usize::try_from(index).ok()?).copied()
    }
}

/// How far traces agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// How many leaves all of them have in common, from the first on. Where they differ this is the index of the first
    /// leaf on which they do.
    pub agreed: u64,
    /// Who has which leaf there, in the order of the leaves' digests; `None`: the trace ends before it. Empty if all
    /// traces are equal.
    pub groups: Vec<(Option<Digest>, Vec<NodeId>)>,
}

/// Compares traces. Nothing depends on the order of the nodes but the order in which a group lists them.
pub fn compare(traces: &BTreeMap<NodeId, &TraceDigests>) -> Comparison {
    let mut all = traces.values();
    let Some(first) = all.next() else { return Comparison { agreed: 0, groups: Vec::new() } };
    // Equal roots are equal traces, and most of a committee has the same one.
    let others: BTreeMap<Digest, &TraceDigests> = all.map(|t| (t.root, *t)).filter(|(r, _)| *r != first.root).collect();
    let agreed = others.values().fold(first.count(), |agreed, other| {
        let common = first.digests.iter().zip(&other.digests).take_while(|(a, b)| a == b).count();
        agreed.min(common as u64)
    });
    if others.is_empty() {
        return Comparison { agreed, groups: Vec::new() };
    }
    let mut groups: BTreeMap<Option<Digest>, Vec<NodeId>> = BTreeMap::new();
    for (node, trace) in traces {
        groups.entry(trace.get(agreed)).or_default().push(*node);
    }
    Comparison { agreed, groups: groups.into_iter().collect() }
}

/// What came of one replica's trace.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct ComparedTrace {
    /// Whose.
    pub node: NodeId,
    /// The root that its vote commits to.
    pub trace_root: Digest,
    /// How many leaves lie under it; `None`: nobody served a trace with this root.
    pub leaves: Option<u64>,
}

/// What some replicas have at the place where they differ from others.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Found {
    /// Who, in the order of their keys.
    pub nodes: Vec<NodeId>,
    /// The leaf there with its proof, or, if the trace ends before it, its last one; `None` if it has no leaf at all,
    /// or the leaf was not to be had.
    pub leaf: Option<ProvenLeaf>,
}

/// What comparing the traces of a disputed round showed: a record for people, which anyone can check against the votes.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Divergence {
    /// The round.
    pub round: Round,
    /// The proposal that was executed.
    pub proposal: Digest,
    /// The traces, in the order of the nodes' keys.
    pub traces: Vec<ComparedTrace>,
    /// How many leaves all traces that could be had agree on, from the first on.
    pub agreed: u64,
    /// Who has what at that place; empty if those traces are equal.
    pub found: Vec<Found>,
}

/// Why a [`Divergence`] proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotProven {
    /// It names a node that has no trace in it.
    #[error("it names node {0} without its trace root")]
    UnknownNode(NodeId),
    /// A leaf is not under the root of its node's vote.
    #[error("the leaf that it attributes to node {node} is not at {index} of the trace that the node voted for")]
    BadProof {
        /// Whose.
        node: NodeId,
        /// Where it should be.
        index: u64,
    },
    /// The leaves that should differ are one and the same.
    #[error("it attributes the same leaf to replicas that are said to differ")]
    SameLeaf,
}

impl Divergence {
    /// Checks every leaf against the trace root of every node that it is attributed to, and that the leaves differ.
    /// That the traces agree before this place is for whoever has their digests to check ([`compare`]).
    ///
    /// # Errors
    /// [`NotProven`].
    pub fn verify(&self) -> Result<(), NotProven> {
        let mut seen = BTreeSet::new();
        for found in &self.found {
            let bad = |node: &NodeId| NotProven::BadProof { node: *node, index: self.agreed };
            for node in &found.nodes {
                let trace = self.traces.iter().find(|t| t.node == *node).ok_or(NotProven::UnknownNode(*node))?;
                let stands = match &found.leaf {
                    Some(proven) => {
                        let ProvenLeaf { proof, .. } = proven;
                        let here = proof.index == self.agreed;
                        let ends = proof.index.checked_add(1) == Some(self.agreed) && proof.count == self.agreed;
                        proven.verify(&trace.trace_root) && (here || ends)
                    }
                    None => self.agreed == 0 && trace.trace_root == merkle::root(&[]),
                };
                if !stands {
                    return Err(bad(node));
                }
            }
            let key = found.leaf.as_ref().map(|p| (p.proof.index, p.leaf.clone()));
            if !seen.insert(borsh_key(&key)) {
                return Err(NotProven::SameLeaf);
            }
        }
        Ok(())
    }

    /// What each group of replicas has at the place where they differ: the leaf, or `None` if its trace ends there.
    pub fn leaf_of<'a>(&self, found: &'a Found) -> Option<&'a ProvenLeaf> {
        found.leaf.as_ref().filter(|proven| proven.proof.index == self.agreed)
    }
}

fn borsh_key<T: BorshSerialize>(value: &T) -> Vec<u8> {
    parallax_primitives::encode(value)
}
