//! What a finished round leaves behind: who voted for what, on chain; and who computed what, in traces that replicas
//! keep. The methods of the `paratime` namespace that show it.

use super::{Context, reading, refuse};
use crate::paratime::ParaTimeHost;
use parallax_consensus_app::rounds;
use parallax_consensus_app::tx::{Call, Transaction};
use parallax_primitives::{Digest, Event, Height, NodeId, ParaTimeId, Round};
use parallax_rpc::types::{Announced, ChainEvent, Committed, DisputeView, EffortView, RoundReport, TraceDigestsView};
use parallax_rpc::{ErrorCode, RpcError, RpcResult};
use parallax_runtime::ProvenLeaf;
use parallax_worker::{Effort, PeerRequest, PeerResponse};

/// Most blocks that are read for one round. A round without work is ended by a heartbeat long before.
const MAX_BLOCKS: u64 = 8_192;

/// What the chain says of a round. Reads many blocks.
pub(super) fn report(context: &Context, id: ParaTimeId, round: Round) -> RpcResult<RoundReport> {
    let chain = &context.chain;
    let view = chain.view().map_err(refuse)?;
    let state = rounds::state(&view, &id).map_err(refuse)?;
    let state = state.ok_or_else(|| RpcError::not_found(format!("there is no ParaTime {id} on this chain")))?;
    if round > state.round() || round == Round::ZERO {
        let text = format!("round {round} has not begun, {} is under way; the first one is 1", state.round());
        return Err(RpcError::new(ErrorCode::Future, text).into());
    }
    let kept = |round: Round| {
        let block = rounds::block(&view, &id, round).map_err(refuse)?;
        let pruned = || RpcError::new(ErrorCode::Pruned, format!("the block of round {round} is not kept"));
        RpcResult::Ok(block.ok_or_else(pruned)?)
    };
    let from = kept(round.saturating_sub(1))?.height.next();
    let block = if round == state.round() { None } else { Some(kept(round)?) };
    let to = match &block {
        Some(block) => block.height,
        None => chain.height().map_err(refuse)?,
    };
    // What happened lies at the end of a round that was idle for long.
    let first = from.max(to.saturating_sub(MAX_BLOCKS));
    let mut report =
        RoundReport { paratime: id, round, from, to, block, proposals: vec![], votes: vec![], events: vec![] };
    let mut height = first;
    while height <= to {
        read_block(context, &mut report, height)?;
        height = height.next();
    }
    Ok(report)
}

/// Adds what a block says of the round.
fn read_block(context: &Context, report: &mut RoundReport, height: Height) -> RpcResult<()> {
    let blocks = &context.chain.blocks;
    let (Some(block), Some(result)) = (blocks.block(height).map_err(refuse)?, blocks.result(height).map_err(refuse)?)
    else {
        return Ok(());
    };
    let (id, round) = (report.paratime.to_string(), report.round.to_string());
    let of_round =
        |event: &Event| event.get("paratime") == Some(id.as_str()) && event.get("round") == Some(round.as_str());
    for (bytes, receipt) in block.transactions.iter().zip(&result.receipts) {
        let told: Vec<&Event> = receipt.events.iter().filter(|e| of_round(e)).collect();
        if told.is_empty() {
            continue;
        }
        let tx = Transaction::decode(bytes).map_err(refuse)?;
        match &tx.signed().body.call {
            Call::Announce { proposal, .. } if told.iter().any(|e| e.name == "rounds.announced") => {
                report.proposals.push(Announced { height, proposal: proposal.clone() });
            }
            Call::Commit { commitments, .. } => {
                for commitment in commitments {
                    let node = commitment.commitment.node.to_string();
                    let counted =
                        told.iter().find(|e| e.name == "rounds.commitment" && e.get("node") == Some(node.as_str()));
                    let Some(counted) = counted else { continue };
                    let seat = counted.get("seat").unwrap_or_default().to_owned();
                    let mut commitment = commitment.clone();
                    commitment.messages.clear();
                    report.votes.push(Committed { height, seat, commitment });
                }
            }
            _ => {}
        }
    }
    let all = result.receipts.iter().flat_map(|r| &r.events).chain(&result.events);
    report.events.extend(all.filter(|e| of_round(e)).map(|event| ChainEvent { height, event: event.clone() }));
    Ok(())
}

/// Asks a node of the committee, or this one's own disk.
async fn ask(
    context: &Context,
    host: &ParaTimeHost,
    node: NodeId,
    request: PeerRequest,
) -> RpcResult<Option<PeerResponse>> {
    if node == context.identity.node {
        return Ok(Some(reading(|| host.results.serve(&request)).map_err(refuse)?));
    }
    Ok(host.ask(node, request).await)
}

/// Digests of a node's trace.
pub(super) async fn trace_digests(
    context: &Context,
    host: &ParaTimeHost,
    (round, proposal): (Round, Digest),
    node: NodeId,
    from: u64,
) -> RpcResult<Option<TraceDigestsView>> {
    let request = PeerRequest::TraceDigests { round, proposal, from };
    Ok(match ask(context, host, node, request).await? {
        Some(PeerResponse::TraceDigests(Some(part))) => {
            Some(TraceDigestsView { count: part.count, digests: part.items })
        }
        _ => None,
    })
}

/// One leaf of a node's trace.
pub(super) async fn trace_leaf(
    context: &Context,
    host: &ParaTimeHost,
    (round, proposal): (Round, Digest),
    node: NodeId,
    index: u64,
) -> RpcResult<Option<ProvenLeaf>> {
    let request = PeerRequest::TraceLeaf { round, proposal, index };
    Ok(match ask(context, host, node, request).await? {
        Some(PeerResponse::TraceLeaf(leaf)) => leaf,
        _ => None,
    })
}

/// What this node found and spent.
pub(super) fn dispute(host: &ParaTimeHost, round: Round, proposal: Digest) -> RpcResult<DisputeView> {
    let divergence = host.results.divergence(round, &proposal).map_err(refuse)?;
    let effort = host.results.effort(round, &proposal).map_err(refuse)?;
    let view = |e: Effort| EffortView {
        replayed: e.replayed,
        evaluated: e.evaluated,
        saved_pbs: e.saved_pbs,
        spent_pbs: e.spent_pbs,
    };
    Ok(DisputeView { divergence, effort: effort.map(view) })
}
