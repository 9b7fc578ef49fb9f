//! The `paratime` namespace.

use super::consensus::proof;
use super::{Context, disputes, failed, reading, refuse};
use crate::paratime::{NotAdmitted, ParaTimeHost};
use crate::turns::Turns;
use jsonrpsee::core::async_trait;
use parallax_consensus_app::{registry, rounds};
use parallax_primitives::{Digest, KeyId, NodeId, ParaTimeId, Round};
use parallax_rounds::{ParaTimeBlock, Phase};
use parallax_rpc::types::{
    DisputeView, KeyPart, ParaTimeView, PublicKeyInfo, ResultView, RoundEvent, RoundReport, RoundView, Seat,
    TraceDigestsView, VoteView,
};
use parallax_rpc::{ErrorCode, Hex, ParaTimeApiServer, ProofBundle, RpcError, RpcResult, limits};
use parallax_runtime::ProvenLeaf;
use std::sync::Arc;

/// Serves `paratime_*`.
pub(super) struct ParaTime(Context, Turns);

impl ParaTime {
    pub(super) fn new(context: Context) -> Self {
        Self(context, Turns::default())
    }

    fn host(&self, id: ParaTimeId) -> RpcResult<Arc<ParaTimeHost>> {
        let host = self.0.paratimes.get(&id).cloned();
        Ok(host.ok_or_else(|| {
            let text = format!("this node does not run ParaTime {id}; ask a compute node of it");
            RpcError::new(ErrorCode::UnknownParaTime, text)
        })?)
    }

    fn finalised(&self, id: ParaTimeId, round: Option<Round>) -> RpcResult<ParaTimeBlock> {
        let view = self.0.chain.view().map_err(refuse)?;
        let latest = rounds::latest(&view, &id).map_err(refuse)?;
        let latest = latest.ok_or_else(|| RpcError::not_found(format!("there is no ParaTime {id} on this chain")))?;
        let Some(round) = round.filter(|r| *r != latest.round) else { return Ok(latest) };
        if round > latest.round {
            let text = format!("round {round} has not ended, the last one that has is {}", latest.round);
            return Err(RpcError::new(ErrorCode::Future, text).into());
        }
        let block = rounds::block(&view, &id, round).map_err(refuse)?;
        Ok(block.ok_or_else(|| RpcError::new(ErrorCode::Pruned, format!("the block of round {round} is not kept")))?)
    }
}

#[async_trait]
impl ParaTimeApiServer for ParaTime {
    async fn list(&self) -> RpcResult<Vec<ParaTimeView>> {
        let view = self.0.chain.view().map_err(refuse)?;
        let all = registry::paratimes(&view).map_err(refuse)?;
        let views = all.into_iter().map(|p| {
            let latest = rounds::latest(&view, &p.id).map_err(refuse)?;
            Ok(ParaTimeView {
                id: p.id,
                round: latest.map_or(Round::ZERO, |b| b.round),
                profile: p.profile,
                key_id: KeyId(p.key_set.0),
                served_here: self.0.paratimes.contains_key(&p.id),
                kind: p.kind,
            })
        });
        views.collect()
    }

    async fn submit(&self, id: ParaTimeId, tx: Hex) -> RpcResult<Digest> {
        let host = self.host(id)?;
        Ok(host.submit(tx.0).await.map_err(|error| match error {
            NotAdmitted::Refused(error) => RpcError::rejected(&error),
            NotAdmitted::Busy(text) => RpcError::new(ErrorCode::Busy, text),
            NotAdmitted::Failed(error) => failed(error),
        })?)
    }

    async fn result(&self, id: ParaTimeId, tx: Digest) -> RpcResult<Option<ResultView>> {
        let host = self.host(id)?;
        let Some((round, index)) = host.pool.executed(&tx).map_err(refuse)? else { return Ok(None) };
        let block = self.finalised(id, Some(round))?;
        let result = host.results.result(round, &block.proposal).map_err(refuse)?;
        let result = result.and_then(|r| r.results.into_iter().nth(usize::try_from(index).unwrap_or(usize::MAX)));
        let result = result.ok_or_else(|| {
            RpcError::new(ErrorCode::Pruned, format!("the results of round {round} are not kept by this node any more"))
        })?;
        Ok(Some(ResultView::new(result, index, &block)))
    }

    async fn block(&self, id: ParaTimeId, round: Option<Round>) -> RpcResult<ParaTimeBlock> {
        self.finalised(id, round)
    }

    async fn round(&self, id: ParaTimeId) -> RpcResult<RoundView> {
        let view = self.0.chain.view().map_err(refuse)?;
        let state = rounds::state(&view, &id).map_err(refuse)?;
        let state = state.ok_or_else(|| RpcError::not_found(format!("there is no ParaTime {id} on this chain")))?;
        let committee = state.committee().cloned().unwrap_or_default();
        let deadline = match state.phase() {
            Phase::Suspended | Phase::Idle { .. } => None,
            Phase::Announced { deadline, .. } | Phase::Detect { deadline, .. } | Phase::Resolve { deadline, .. } => {
                Some(*deadline)
            }
        };
        let votes = state.live().map(|live| live.votes.iter().collect::<Vec<_>>()).unwrap_or_default();
        Ok(RoundView {
            paratime: id,
            round: state.round(),
            phase: state.phase().name().to_owned(),
            started: state.last_block().height,
            deadline,
            proposal: state.live().map(|live| live.signed.proposal.clone()),
            votes: votes
                .into_iter()
                .map(|(node, vote)| VoteView {
                    node: *node,
                    seat: if committee.is_worker(node) { Seat::Worker } else { Seat::Backup },
                    vote: vote.vote(),
                })
                .collect(),
            committee,
        })
    }

    async fn round_report(&self, id: ParaTimeId, round: Round) -> RpcResult<RoundReport> {
        reading(|| disputes::report(&self.0, id, round))
    }

    async fn trace_digests(
        &self,
        id: ParaTimeId,
        round: Round,
        proposal: Digest,
        node: NodeId,
        from: u64,
    ) -> RpcResult<Option<TraceDigestsView>> {
        disputes::trace_digests(&self.0, &*self.host(id)?, (round, proposal), node, from).await
    }

    async fn trace_leaf(
        &self,
        id: ParaTimeId,
        round: Round,
        proposal: Digest,
        node: NodeId,
        index: u64,
    ) -> RpcResult<Option<ProvenLeaf>> {
        disputes::trace_leaf(&self.0, &*self.host(id)?, (round, proposal), node, index).await
    }

    async fn dispute(&self, id: ParaTimeId, round: Round, proposal: Digest) -> RpcResult<DisputeView> {
        let host = self.host(id)?;
        reading(|| disputes::dispute(&host, round, proposal))
    }

    async fn query(
        &self,
        id: ParaTimeId,
        method: String,
        parameters: serde_json::Value,
    ) -> RpcResult<serde_json::Value> {
        let host = self.host(id)?;
        let _turn = self.1.turn().await.map_err(|e| RpcError::new(ErrorCode::Busy, e.to_string()))?;
        let view = host.results.tree().latest_snapshot().map_err(refuse)?;
        let answer = reading(|| host.program.query(&view, &method, &parameters));
        Ok(answer.map_err(|e| RpcError::new(ErrorCode::Unsupported, e))?)
    }

    async fn simulate(&self, id: ParaTimeId, tx: Hex) -> RpcResult<serde_json::Value> {
        let host = self.host(id)?;
        let view = host.results.tree().latest_snapshot().map_err(refuse)?;
        let info = host.program.check_tx(&view, &self.0.chain.context, &tx.0, None);
        let info = info.map_err(|e| RpcError::rejected(&e))?;
        Ok(serde_json::json!({
            "sender": info.sender,
            "nonce": info.nonce,
            "priority": info.priority.to_string(),
            "gas": info.gas,
            "pbs": info.gas.0 / 1_000,
        }))
    }

    async fn proof(&self, id: ParaTimeId, key: Hex, round: Option<Round>) -> RpcResult<ProofBundle> {
        self.host(id)?;
        proof(reading(|| self.0.chain.paratime_proof(&id, &key.0, round)))
    }

    async fn blob(&self, digest: Digest) -> RpcResult<Option<Hex>> {
        Ok(reading(|| self.0.chain.database.blobs().get(&digest)).map_err(refuse)?.map(Hex))
    }

    async fn events(&self, id: ParaTimeId, from: Round, to: Option<Round>) -> RpcResult<Vec<RoundEvent>> {
        let host = self.host(id)?;
        let latest = self.finalised(id, None)?.round;
        let to = to.unwrap_or(latest).min(latest);
        if to.0.saturating_sub(from.0) >= limits::MAX_EVENT_SPAN {
            let text = format!("{from}..={to} spans more than {} rounds; ask for fewer", limits::MAX_EVENT_SPAN);
            return Err(RpcError::new(ErrorCode::TooMuch, text).into());
        }
        reading(|| {
            let mut events = Vec::new();
            let mut round = from;
            while round <= to {
                let block = self.finalised(id, Some(round))?;
                if let Some(result) = host.results.result(round, &block.proposal).map_err(refuse)? {
                    let height = block.height;
                    events.extend(result.events.into_iter().map(|event| RoundEvent { round, height, event }));
                }
                if events.len() > limits::MAX_EVENTS {
                    let text = format!("more than {} events; ask for fewer rounds", limits::MAX_EVENTS);
                    return Err(RpcError::new(ErrorCode::TooMuch, text).into());
                }
                round = round.next();
            }
            Ok(events)
        })
    }

    async fn public_key(&self, id: ParaTimeId) -> RpcResult<PublicKeyInfo> {
        let host = self.host(id)?;
        let parts = host.manifest.parts.iter();
        Ok(PublicKeyInfo {
            key_id: host.manifest.key_id(),
            previous: None,
            profile: host.backend.profile().clone(),
            parts: parts
                .map(|p| KeyPart { role: p.role.name().to_owned(), digest: p.digest, bytes: p.bytes })
                .collect(),
            managers: host.managers.clone(),
        })
    }
}
