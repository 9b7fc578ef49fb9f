//! A disputed round: the workers' traces are fetched and compared, which names the first operation on which they differ,
//! and tells a backup how much of the batch it need not compute again.
//!
//! What of an answer counts stands in [`crate::inquiry`]; here is the waiting. A peer that is silent once is not asked
//! again in the same dispute, and everything together has [`PATIENCE`]: whoever withholds something costs its dispute a
//! bounded time and the saving, never the result.

use crate::event::Dispute;
use crate::inquiry::{Compared, Digests, DigestsFetch, LeavesFetch};
use crate::seams::{Ledger, PeerRequest, PeerResponse, Pool, Transport};
use crate::shell::{Context, WorkerError};
use crate::tasks::blocking;
use parallax_primitives::{Digest, NodeId};
use parallax_runtime::trace::output_digests;
use parallax_runtime::{Divergence, ProvenLeaf, TraceDigests, TraceLeaf};
use parallax_state::blob_digest;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::OnceCell;

/// How long one answer of a peer may take: a part of a trace or a ciphertext, some megabytes.
const ANSWER: Duration = Duration::from_secs(3);
/// How long traces, and after them leaves and ciphertexts, may take in all. Half of it is what the shortest slow path
/// of a localnet has to spare.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most disputes whose comparison is remembered; a round has one, rarely two.
const MAX_REMEMBERED: usize = 4;

/// What comparing the traces of a dispute showed, and who did not answer meanwhile.
pub(crate) struct Asked {
    compared: Compared,
    silent: BTreeSet<NodeId>,
}

/// Comparisons under way or done, by proposal: naming the operation and resuming use the same one.
#[derive(Default)]
pub(crate) struct Disputes(Mutex<BTreeMap<Digest, Arc<OnceCell<Asked>>>>);

impl Disputes {
    fn cell(&self, proposal: Digest) -> Arc<OnceCell<Asked>> {
        let mut cells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if cells.len() >= MAX_REMEMBERED && !cells.contains_key(&proposal) {
            cells.clear();
        }
        Arc::clone(cells.entry(proposal).or_default())
    }
}

/// Asks peers, and asks none again that was silent.
struct Asking<'a, L, T, P> {
    context: &'a Context<L, T, P>,
    silent: BTreeSet<NodeId>,
}

impl<L: Ledger, T: Transport, P: Pool> Asking<'_, L, T, P> {
    /// One answer: from this node's own disk if the peer is itself.
    async fn ask(&mut self, peer: NodeId, request: PeerRequest) -> Option<PeerResponse> {
        if peer == self.context.me {
            let results = self.context.results.clone();
            return blocking(move || results.serve(&request)).await.ok();
        }
        if self.silent.contains(&peer) {
            return None;
        }
        let answer = self.context.transport.request(self.context.paratime, peer, request);
        let answer = tokio::time::timeout(ANSWER, answer).await.ok().flatten();
        if answer.is_none() {
            self.silent.insert(peer);
        }
        answer
    }

    /// The digests under a trace root that a node voted for.
    async fn digests(&mut self, peer: NodeId, dispute: &Dispute, root: Digest) -> Option<TraceDigests> {
        let mut fetch = DigestsFetch::new(root);
        loop {
            match fetch.take(self.ask(peer, fetch.request(dispute)).await) {
                Digests::Part => {}
                Digests::Verified(trace) => return Some(trace),
                Digests::False | Digests::Withheld => return None,
            }
        }
    }

    /// The leaf at an index of a trace, or its last one if it ends there, with its proof.
    async fn leaf(&mut self, peers: &[NodeId], dispute: &Dispute, trace: &TraceDigests, at: u64) -> Option<ProvenLeaf> {
        let Dispute { round, proposal, .. } = *dispute;
        let index = if at < trace.digests().len() as u64 { at } else { at.checked_sub(1)? };
        for peer in peers {
            let request = PeerRequest::TraceLeaf { round, proposal, index };
            if let Some(PeerResponse::TraceLeaf(Some(proven))) = self.ask(*peer, request).await
                && proven.proof.index == index
                && proven.verify(&trace.root())
            {
                return Some(proven);
            }
        }
        None
    }

    /// The leaves with these digests, from the peers in turn.
    async fn leaves(&mut self, peers: &[NodeId], dispute: &Dispute, digests: Vec<Digest>) -> Option<Vec<TraceLeaf>> {
        let mut fetch = LeavesFetch::new(digests);
        for peer in peers {
            while fetch.complete().is_none() {
                if !fetch.take(self.ask(*peer, fetch.request(dispute)).await) {
                    break;
                }
            }
        }
        fetch.complete().map(<[_]>::to_vec)
    }
}

/// Compares the traces of a dispute and keeps what that showed, for people: with the leaves that differ and their proofs,
/// as far as they are to be had.
pub(crate) async fn compare_traces<L: Ledger, T: Transport, P: Pool>(
    context: Arc<Context<L, T, P>>,
    dispute: Dispute,
) -> Result<(), WorkerError> {
    let cell = context.disputes.cell(dispute.proposal);
    let Asked { compared, silent } = cell.get_or_try_init(|| compared(&context, &dispute)).await?;
    let mut record = compared.record(&dispute);
    let mut asking = Asking { context: &context, silent: silent.clone() };
    for found in &mut record.found {
        let roots = dispute.votes.iter().filter(|(node, _)| found.nodes.contains(node)).map(|(_, root)| root);
        if let Some(trace) = roots.filter_map(|root| compared.trace(root)).next() {
            let leaf = asking.leaf(&found.nodes, &dispute, trace, compared.comparison().agreed);
            found.leaf = tokio::time::timeout(PATIENCE, leaf).await.ok().flatten();
        }
    }
    tell(&record);
    let results = context.results.clone();
    blocking(move || results.put_divergence(&record)).await?;
    Ok(())
}

/// Fetches and compares. What a backup waits for before it executes, so that naming the operation is left to another.
async fn compared<L: Ledger, T: Transport, P: Pool>(
    context: &Context<L, T, P>,
    dispute: &Dispute,
) -> Result<Asked, WorkerError> {
    let mut asking = Asking { context, silent: BTreeSet::new() };
    let mut traces: BTreeMap<Digest, TraceDigests> = BTreeMap::new();
    let fetching = async {
        // This node first, if it voted: what it has costs nothing.
        let mut votes = dispute.votes.clone();
        votes.sort_by_key(|(node, _)| *node != context.me);
        for (node, root) in votes {
            // Equal roots are equal traces: one that is here stands for every vote with that root.
            if !traces.contains_key(&root)
                && let Some(trace) = asking.digests(node, dispute, root).await
            {
                traces.insert(root, trace);
            }
        }
    };
    let _ = tokio::time::timeout(PATIENCE, fetching).await;
    let compared = Compared::of(dispute, traces);
    // Before anything is fetched for the dispute: what is kept for it goes when this record does.
    let (results, record) = (context.results.clone(), compared.record(dispute));
    blocking(move || results.put_divergence(&record)).await?;
    Ok(Asked { compared, silent: asking.silent })
}

/// Tells the log what was found.
fn tell(record: &Divergence) {
    let Divergence { round, agreed, .. } = record;
    for trace in record.traces.iter().filter(|t| t.leaves.is_none()) {
        tracing::warn!(round = round.0, node = %trace.node, trace_root = %trace.trace_root, "worker.trace_withheld");
    }
    if record.found.is_empty() {
        // Votes that differ all the same differ in what does not follow from their traces.
        return tracing::warn!(round = round.0, operations = agreed, "worker.traces_agree");
    }
    for found in &record.found {
        let nodes = found.nodes.iter().map(NodeId::to_string).collect::<Vec<_>>().join(",");
        match record.leaf_of(found) {
            Some(ProvenLeaf { leaf, .. }) => tracing::warn!(
                round = round.0,
                operation = agreed,
                opcode = %leaf.opcode,
                output = %leaf.output,
                %nodes,
                "worker.divergence"
            ),
            None => tracing::warn!(round = round.0, operation = agreed, %nodes, "worker.divergence_without_leaf"),
        }
    }
}

/// The leaves that a disputed execution begins with on every honest replica, with the ciphertexts that they name brought
/// here as far as they are to be had. Empty where the dispute does not allow resumption: not enough workers' traces,
/// or their leaves not to be had. Then everything is executed.
pub(crate) async fn agreed_prefix<L: Ledger, T: Transport, P: Pool>(
    context: &Context<L, T, P>,
    dispute: &Dispute,
) -> Result<Vec<TraceLeaf>, WorkerError> {
    let Some(needed) = dispute.needed() else { return Ok(Vec::new()) };
    let cell = context.disputes.cell(dispute.proposal);
    let Asked { compared, silent } = cell.get_or_try_init(|| compared(context, dispute)).await?;
    let round = dispute.round.0;
    let Some(digests) = compared.agreed(dispute) else {
        tracing::warn!(round, traces = compared.verified().len(), needed, "worker.resume_impossible");
        return Ok(Vec::new());
    };
    let mut asking = Asking { context, silent: silent.clone() };
    let leaves = asking.leaves(compared.verified(), dispute, digests);
    let Ok(Some(leaves)) = tokio::time::timeout(PATIENCE, leaves).await else {
        tracing::warn!(round, "worker.resume_without_leaves");
        return Ok(Vec::new());
    };
    let fetching = fetch_outputs(&mut asking, dispute, compared.verified(), &leaves);
    // What is not here in time is evaluated: the programs whose outputs are missing, and no others.
    match tokio::time::timeout(PATIENCE, fetching).await {
        Ok(done) => done?,
        Err(_) => tracing::warn!(round, "worker.resume_outputs_late"),
    }
    Ok(leaves)
}

/// Brings the outputs of the programs in a prefix into the store. A peer that has not what it should have is asked last
/// from then on.
async fn fetch_outputs<L: Ledger, T: Transport, P: Pool>(
    asking: &mut Asking<'_, L, T, P>,
    dispute: &Dispute,
    peers: &[NodeId],
    leaves: &[TraceLeaf],
) -> Result<(), WorkerError> {
    let mut peers = peers.to_vec();
    let wanted: BTreeSet<Digest> = output_digests(leaves).into_iter().collect();
    for digest in wanted {
        let results = asking.context.results.clone();
        if blocking(move || results.has_blob(&digest)).await? {
            continue;
        }
        for _ in 0..peers.len() {
            let Some(peer) = peers.first().copied() else { break };
            match asking.ask(peer, PeerRequest::Blob { digest }).await {
                Some(PeerResponse::Blob(Some(bytes))) if blob_digest(&bytes) == digest => {
                    let (results, round, proposal) = (asking.context.results.clone(), dispute.round, dispute.proposal);
                    blocking(move || results.put_output(round, &proposal, bytes)).await?;
                    break;
                }
                answer => {
                    if let Some(PeerResponse::Blob(Some(_))) = answer {
                        tracing::warn!(%peer, blob = %digest, "worker.peer_sent_a_corrupt_ciphertext");
                        asking.context.transport.blame(peer).await;
                    }
                    peers.rotate_left(1);
                }
            }
        }
    }
    Ok(())
}
