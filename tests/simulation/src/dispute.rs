//! A disputed round under virtual time: workers' traces are fetched and compared, and with `resume` a backup takes over
//! what they agree on. What counts of an answer is decided by [`parallax_worker::inquiry`]; as in the worker's shell a
//! peer that is silent once is not asked again, and everything together has a bounded time.

use crate::node::{Order, Pending, Stop, Task};
use crate::world::World;
use parallax_primitives::{Digest, NodeId};
use parallax_runtime::trace::output_digests;
use parallax_runtime::{TraceDigests, TraceLeaf};
use parallax_worker::event::Dispute;
use parallax_worker::inquiry::{Compared, Digests, DigestsFetch, LeavesFetch};
use parallax_worker::{PeerRequest, PeerResponse, steps};
use std::collections::{BTreeMap, BTreeSet};

/// How long a dispute may hold up an execution, virtual milliseconds.
const PATIENCE_MS: u64 = 2_000;

/// A dispute that is being looked into.
#[derive(Clone, Debug)]
pub(crate) struct Inquiry {
    dispute: Dispute,
    /// The execution that waits for it; `None`: the operation is to be named, nothing more.
    order: Option<Order>,
    until_ms: u64,
    silent: BTreeSet<usize>,
    traces: BTreeMap<Digest, TraceDigests>,
    part: Part,
}

#[derive(Clone, Debug)]
enum Part {
    /// The digests of the leaves: votes whose traces are still to be had, the one that is asked for last.
    Digests { votes: Vec<(NodeId, Digest)>, fetch: Option<DigestsFetch> },
    /// The leaves that all agree on.
    Leaves { peers: Vec<usize>, fetch: LeavesFetch },
    /// The ciphertexts that they name.
    Outputs { peers: Vec<usize>, wanted: Vec<Digest>, tried: usize, leaves: Vec<TraceLeaf> },
}

impl World {
    /// Begins to look into a dispute.
    pub(crate) fn inquire(&mut self, node: usize, dispute: Dispute, order: Option<Order>) -> Result<(), Stop> {
        let me = self.nodes.get(node).map(|n| n.key.public());
        let mut votes = dispute.votes.clone();
        // The last one is asked first: this node itself, if it voted.
        votes.sort_by_key(|(voter, _)| Some(*voter) == me);
        let inquiry = Inquiry {
            dispute,
            order,
            until_ms: self.now.saturating_add(self.local(node, PATIENCE_MS)),
            silent: BTreeSet::new(),
            traces: BTreeMap::new(),
            part: Part::Digests { votes, fetch: None },
        };
        self.go_on(node, inquiry)
    }

    /// Asks for the next thing, or ends the inquiry.
    fn go_on(&mut self, node: usize, mut inquiry: Inquiry) -> Result<(), Stop> {
        if inquiry.order.as_ref().is_some_and(|o| !self.is_wanted(node, &o.signed.proposal.digest(), o.token)) {
            return Ok(());
        }
        loop {
            let late = self.now >= inquiry.until_ms;
            let (peer, request) = match &mut inquiry.part {
                Part::Digests { votes, fetch } => {
                    let Some((voter, root)) = votes.last().copied().filter(|_| !late) else {
                        return self.compared(node, inquiry);
                    };
                    let peer = self.parties.index.get(&voter).copied();
                    let Some(peer) =
                        peer.filter(|p| !inquiry.traces.contains_key(&root) && !inquiry.silent.contains(p))
                    else {
                        (_, *fetch) = (votes.pop(), None);
                        continue;
                    };
                    (peer, fetch.get_or_insert_with(|| DigestsFetch::new(root)).request(&inquiry.dispute))
                }
                Part::Leaves { peers, fetch } => {
                    if let Some(leaves) = fetch.complete() {
                        let wanted: BTreeSet<Digest> = output_digests(leaves).into_iter().collect();
                        let (peers, leaves) = (self.voters(&inquiry.dispute, &inquiry.traces), leaves.to_vec());
                        inquiry.part = Part::Outputs { peers, wanted: wanted.into_iter().collect(), tried: 0, leaves };
                        continue;
                    }
                    let Some(peer) = peers.last().copied().filter(|_| !late) else {
                        return self.resume(node, inquiry, Vec::new());
                    };
                    if inquiry.silent.contains(&peer) {
                        peers.pop();
                        continue;
                    }
                    (peer, fetch.request(&inquiry.dispute))
                }
                Part::Outputs { peers, wanted, tried, leaves } => {
                    let Some(digest) = wanted.last().copied().filter(|_| !late) else {
                        let leaves = std::mem::take(leaves);
                        return self.resume(node, inquiry, leaves);
                    };
                    let Some(run) = self.nodes.get(node).and_then(|n| n.running.as_ref()) else { return Ok(()) };
                    let held = run.results.has_blob(&digest)?;
                    let peer = peers.get(*tried).copied();
                    match peer.filter(|_| !held) {
                        None => {
                            // Here already, or nobody gives it: then its program is evaluated.
                            (_, *tried) = (wanted.pop(), 0);
                            continue;
                        }
                        Some(peer) if inquiry.silent.contains(&peer) => {
                            *tried = tried.saturating_add(1);
                            continue;
                        }
                        Some(peer) => (peer, PeerRequest::Blob { digest }),
                    }
                }
            };
            if peer != node {
                self.ask(node, peer, request, Pending::Dispute(Box::new(inquiry)));
                return Ok(());
            }
            let Some(run) = self.nodes.get(node).and_then(|n| n.running.as_ref()) else { return Ok(()) };
            let answer = run.results.serve(&request).ok();
            self.take(node, &mut inquiry, answer)?;
        }
    }

    /// A peer answered, or did not.
    pub(crate) fn dispute_answered(
        &mut self,
        node: usize,
        mut inquiry: Inquiry,
        answer: Option<PeerResponse>,
    ) -> Result<(), Stop> {
        self.take(node, &mut inquiry, answer)?;
        self.go_on(node, inquiry)
    }

    /// Takes an answer in, as far as it proves itself.
    fn take(&mut self, node: usize, inquiry: &mut Inquiry, answer: Option<PeerResponse>) -> Result<(), Stop> {
        let silent = answer.is_none();
        match &mut inquiry.part {
            Part::Digests { votes, fetch } => {
                let Some((voter, root)) = votes.last().copied() else { return Ok(()) };
                let peer = self.parties.index.get(&voter).copied();
                inquiry.silent.extend(peer.filter(|_| silent));
                match fetch.get_or_insert_with(|| DigestsFetch::new(root)).take(answer) {
                    Digests::Part => return Ok(()),
                    Digests::Verified(trace) => drop(inquiry.traces.insert(root, trace)),
                    Digests::False => self.log.count("peer lied about a trace"),
                    Digests::Withheld => {}
                }
                (_, *fetch) = (votes.pop(), None);
            }
            Part::Leaves { peers, fetch } => {
                if !fetch.take(answer) {
                    let peer = peers.pop();
                    inquiry.silent.extend(peer.filter(|_| silent));
                }
            }
            Part::Outputs { peers, wanted, tried, .. } => {
                let Some(digest) = wanted.last().copied() else { return Ok(()) };
                match steps::blob_of(&digest, answer) {
                    Ok(Some(bytes)) => {
                        let Some(run) = self.nodes.get(node).and_then(|n| n.running.as_ref()) else { return Ok(()) };
                        run.results.put_output(inquiry.dispute.round, &inquiry.dispute.proposal, bytes)?;
                        (_, *tried) = (wanted.pop(), 0);
                    }
                    Ok(None) | Err(_) => {
                        let peer = peers.get(*tried).copied();
                        inquiry.silent.extend(peer.filter(|_| silent));
                        *tried = tried.saturating_add(1);
                    }
                }
            }
        }
        Ok(())
    }

    /// The nodes whose traces are here.
    fn voters(&self, dispute: &Dispute, traces: &BTreeMap<Digest, TraceDigests>) -> Vec<usize> {
        let voters = dispute.votes.iter().filter(|(_, root)| traces.contains_key(root));
        voters.filter_map(|(voter, _)| self.parties.index.get(voter).copied()).collect()
    }

    /// All traces that can be had are here: they are compared, and what that shows is kept.
    fn compared(&mut self, node: usize, mut inquiry: Inquiry) -> Result<(), Stop> {
        let dispute = &inquiry.dispute;
        let compared = Compared::of(dispute, inquiry.traces.clone());
        let comparison = compared.comparison();
        let Some(run) = self.nodes.get(node).and_then(|n| n.running.as_ref()) else { return Ok(()) };
        run.results.put_divergence(&compared.record(dispute))?;
        self.log.count("traces compared");
        if !comparison.groups.is_empty() {
            self.log.count("operation named");
            let (round, agreed) = (dispute.round, comparison.agreed);
            self.say(node, || format!("sees the workers of round {round} differ from operation {agreed} on"));
        }
        if inquiry.order.is_none() {
            return Ok(());
        }
        match compared.agreed(dispute) {
            None => self.resume(node, inquiry, Vec::new()),
            Some(digests) => {
                let peers = self.voters(&inquiry.dispute, &inquiry.traces);
                inquiry.part = Part::Leaves { peers, fetch: LeavesFetch::new(digests) };
                self.go_on(node, inquiry)
            }
        }
    }

    /// Executes with what is known.
    fn resume(&mut self, node: usize, inquiry: Inquiry, prefix: Vec<TraceLeaf>) -> Result<(), Stop> {
        if let Some(mut order) = inquiry.order {
            self.log.count(if prefix.is_empty() { "resumption impossible" } else { "resumption" });
            order.prefix = prefix;
            self.schedule(node, 1, Task::Execute(order));
        }
        Ok(())
    }
}
