//! What counts in a disputed round: the rules by which answers of peers are taken, without clock and network, so that
//! whoever drives a worker (the shell, or a simulation) goes by exactly these.
//!
//! Digests count only if they lie under the root that a worker signed with its vote, leaves only if they have those
//! digests, and a beginning is agreed on only by the traces of so many workers that one of them is honest.

use crate::event::Dispute;
use crate::seams::{PeerRequest, PeerResponse};
use parallax_primitives::limits::MAX_TRACE_LEAVES;
use parallax_primitives::{Digest, NodeId};
use parallax_runtime::compare::{ComparedTrace, Found, compare};
use parallax_runtime::{Comparison, Divergence, Trace, TraceDigests, TraceLeaf};
use std::collections::BTreeMap;

impl Dispute {
    /// How many workers' traces must be verified before their common beginning may be taken over: fewer than so many
    /// workers are faulty. `None` where everything is to be executed, for the ParaTime wants it so or too few voted.
    pub fn needed(&self) -> Option<usize> {
        self.resume_from.map(usize::from).filter(|needed| *needed > 0 && self.votes.len() >= *needed)
    }
}

/// The digests of a trace, part by part from one peer.
#[derive(Clone, Debug)]
pub struct DigestsFetch {
    root: Digest,
    digests: Vec<Digest>,
}

/// What an answer to [`DigestsFetch::request`] came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Digests {
    /// A part; the next is to be asked for.
    Part,
    /// All of them, and they lie under the root.
    Verified(TraceDigests),
    /// All that the peer gives, and they do not.
    False,
    /// The peer does not give them.
    Withheld,
}

impl DigestsFetch {
    /// Nothing yet of the trace under a root that a worker signed.
    pub fn new(root: Digest) -> Self {
        Self { root, digests: Vec::new() }
    }

    /// What to ask for next.
    pub fn request(&self, dispute: &Dispute) -> PeerRequest {
        let Dispute { round, proposal, .. } = *dispute;
        PeerRequest::TraceDigests { round, proposal, from: self.digests.len() as u64 }
    }

    /// Takes an answer.
    pub fn take(&mut self, answer: Option<PeerResponse>) -> Digests {
        let Some(PeerResponse::TraceDigests(Some(part))) = answer else { return Digests::Withheld };
        let Some(count) = usize::try_from(part.count).ok().filter(|count| *count <= MAX_TRACE_LEAVES) else {
            return Digests::Withheld;
        };
        // A part of nothing is the end, or a peer that would keep this node asking.
        let ended = part.items.is_empty();
        self.digests.extend(part.items);
        if !ended && self.digests.len() < count {
            return Digests::Part;
        }
        TraceDigests::verified(std::mem::take(&mut self.digests), &self.root).map_or(Digests::False, Digests::Verified)
    }
}

/// The leaves with which a trace begins, part by part from any peers.
#[derive(Clone, Debug)]
pub struct LeavesFetch {
    digests: Vec<Digest>,
    leaves: Vec<TraceLeaf>,
}

impl LeavesFetch {
    /// Nothing yet of the leaves with these digests.
    pub fn new(digests: Vec<Digest>) -> Self {
        Self { digests, leaves: Vec::new() }
    }

    /// What to ask for next.
    pub fn request(&self, dispute: &Dispute) -> PeerRequest {
        let Dispute { round, proposal, .. } = *dispute;
        PeerRequest::TraceLeaves { round, proposal, from: self.leaves.len() as u64 }
    }

    /// The leaves, once all are here.
    pub fn complete(&self) -> Option<&[TraceLeaf]> {
        (self.leaves.len() == self.digests.len()).then_some(&self.leaves)
    }

    /// Takes the leaves of an answer up to the first that is wrong. `false` if there was none: another peer is to be
    /// asked.
    pub fn take(&mut self, answer: Option<PeerResponse>) -> bool {
        let Some(PeerResponse::TraceLeaves(Some(part))) = answer else { return false };
        let before = self.leaves.len();
        let wanted = self.digests.iter().enumerate().skip(before).zip(part.items);
        let right = wanted.take_while(|((at, digest), leaf)| Trace::leaf_digest(*at as u64, leaf) == **digest);
        self.leaves.extend(right.map(|(_, leaf)| leaf));
        self.leaves.len() > before
    }
}

/// What comparing the traces of a dispute showed.
#[derive(Clone, Debug)]
pub struct Compared {
    /// Verified traces by root.
    traces: BTreeMap<Digest, TraceDigests>,
    /// The workers whose traces are among them.
    verified: Vec<NodeId>,
    /// How far those agree.
    comparison: Comparison,
}

impl Compared {
    /// Compares verified traces, by root: equal roots are equal traces.
    pub fn of(dispute: &Dispute, traces: BTreeMap<Digest, TraceDigests>) -> Self {
        let by_node: BTreeMap<NodeId, &TraceDigests> =
            dispute.votes.iter().filter_map(|(node, root)| Some((*node, traces.get(root)?))).collect();
        let (comparison, verified) = (compare(&by_node), by_node.keys().copied().collect());
        Self { traces, verified, comparison }
    }

    /// The workers whose traces are verified.
    pub fn verified(&self) -> &[NodeId] {
        &self.verified
    }

    /// How far they agree, and who differs how.
    pub fn comparison(&self) -> &Comparison {
        &self.comparison
    }

    /// The trace under a root, if it is verified.
    pub fn trace(&self, root: &Digest) -> Option<&TraceDigests> {
        self.traces.get(root)
    }

    /// The digests of the leaves with which every honest replica's execution begins; `None` if the traces prove none.
    pub fn agreed(&self, dispute: &Dispute) -> Option<Vec<Digest>> {
        dispute.needed().filter(|needed| self.verified.len() >= *needed)?;
        let agreed = usize::try_from(self.comparison.agreed).ok()?;
        let digests = self.traces.values().next()?.digests().get(..agreed)?;
        (!digests.is_empty()).then(|| digests.to_vec())
    }

    /// The record to keep, without leaves.
    pub fn record(&self, dispute: &Dispute) -> Divergence {
        let compared = dispute.votes.iter().map(|(node, trace_root)| ComparedTrace {
            node: *node,
            trace_root: *trace_root,
            leaves: self.traces.get(trace_root).map(|t| t.digests().len() as u64),
        });
        let groups = self.comparison.groups.iter();
        Divergence {
            round: dispute.round,
            proposal: dispute.proposal,
            traces: compared.collect(),
            agreed: self.comparison.agreed,
            found: groups.map(|(_, nodes)| Found { nodes: nodes.clone(), leaf: None }).collect(),
        }
    }
}

#[cfg(test)]
mod tests;
