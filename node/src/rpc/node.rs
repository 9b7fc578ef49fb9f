//! The `node` namespace of a node that follows the chain.

use super::{Context, reading, refuse};
use jsonrpsee::core::async_trait;
use parallax_consensus_app::{epoch, rounds};
use parallax_primitives::{Height, KeyId, Round};
use parallax_rpc::types::{ChainEvent, Health, ParaTimeHealth, ParaTimeStatus, Seat, Status};
use parallax_rpc::{ErrorCode, NodeApiServer, RpcError, RpcResult, limits};
use parallax_state::StateView;
use parallax_worker::Pool as _;

/// Serves `node_*`.
pub(super) struct Node(pub(super) Context);

/// Resident memory of this process; 0 where the system does not tell.
pub(super) fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap_or_default().saturating_mul(1024)
}

impl Node {
    async fn peers(&self) -> u32 {
        u32::try_from(self.0.network.peers().await.len()).unwrap_or(u32::MAX)
    }

    fn paratime_health(&self, view: &dyn StateView) -> RpcResult<Vec<ParaTimeHealth>> {
        let hosts = self.0.paratimes.values().map(|host| {
            let round = rounds::latest(view, &host.id).map_err(refuse)?.map_or(Round::ZERO, |b| b.round);
            // One round may be on its way from the ledger into the ParaTime's state.
            let ready = host.applied().next() >= round;
            Ok(ParaTimeHealth { id: host.id, kind: host.program.kind().to_owned(), round, ready })
        });
        hosts.collect()
    }
}

#[async_trait]
impl NodeApiServer for Node {
    async fn health(&self) -> RpcResult<Health> {
        let height = self.0.chain.height().map_err(refuse)?;
        let paratimes = self.paratime_health(&self.0.chain.view().map_err(refuse)?)?;
        let peers = self.peers().await;
        let alone = self.0.chain.genesis.consensus.nodes.len() == 1;
        let behind = paratimes.iter().find(|p| !p.ready);
        let reason = if height == Height::ZERO {
            Some("no block has been decided yet".to_owned())
        } else if peers == 0 && !alone {
            Some("no peer is connected on the committee network".to_owned())
        } else {
            behind.map(|p| format!("ParaTime {} is behind the chain at round {}", p.id.short(), p.round))
        };
        Ok(Health {
            ready: reason.is_none(),
            reason,
            height,
            peers,
            roles: self.0.identity.config.roles.clone(),
            catching_up: height == Height::ZERO,
            paratimes,
        })
    }

    async fn status(&self) -> RpcResult<Status> {
        let Context { chain, submitter, paratimes, identity, .. } = &self.0;
        let view = chain.view().map_err(refuse)?;
        let (height, app_hash) = chain.ledger.last_committed().map_err(refuse)?;
        let header = chain.header(height).map_err(refuse)?;
        let mut statuses = Vec::new();
        for host in paratimes.values() {
            let state = rounds::state(&view, &host.id).map_err(refuse)?;
            let state =
                state.ok_or_else(|| RpcError::not_found(format!("ParaTime {} is not on this chain", host.id)))?;
            let committee = state.committee().cloned().unwrap_or_default();
            let mut seats = Vec::new();
            seats.extend(committee.is_worker(&identity.node).then_some(Seat::Worker));
            seats.extend(committee.is_backup(&identity.node).then_some(Seat::Backup));
            statuses.push(ParaTimeStatus {
                id: host.id,
                kind: host.program.kind().to_owned(),
                round: state.last_block().round,
                state_root: state.last_block().state_root,
                phase: state.phase().name().to_owned(),
                committee,
                seats,
                pool: u32::try_from(host.pool.len()).unwrap_or(u32::MAX),
                key_id: KeyId(host.manifest.key_id().0),
            });
        }
        Ok(Status {
            node: identity.node,
            entity: identity.entity,
            moniker: identity.config.moniker.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            chain_id: chain.genesis.consensus.chain_id.clone(),
            chain_context: chain.context,
            height,
            app_hash,
            time_ms: header.map_or(0, |h| h.time_ms),
            epoch: epoch::current(&view).map_err(refuse)?.epoch,
            roles: identity.config.roles.clone(),
            peers: self.peers().await,
            rss_bytes: resident_bytes(),
            pool: u32::try_from(submitter.waiting()).unwrap_or(u32::MAX),
            paratimes: statuses,
            fault: identity.fault.clone(),
        })
    }

    async fn events(&self, from: Height, to: Option<Height>, prefix: Option<String>) -> RpcResult<Vec<ChainEvent>> {
        let chain = &self.0.chain;
        let tip = chain.height().map_err(refuse)?;
        let to = to.unwrap_or(tip).min(tip);
        if to.0.saturating_sub(from.0) >= limits::MAX_EVENT_SPAN {
            let text = format!("{from}..={to} spans more than {} heights; ask for fewer", limits::MAX_EVENT_SPAN);
            return Err(RpcError::new(ErrorCode::TooMuch, text).into());
        }
        reading(|| {
            let wanted = prefix.unwrap_or_default();
            let (mut events, mut height) = (Vec::new(), from.max(Height(1)));
            while height <= to {
                if let Some(result) = chain.blocks.result(height).map_err(refuse)? {
                    let of_txs = result.receipts.into_iter().flat_map(|r| r.events);
                    let all = of_txs.chain(result.events).filter(|e| e.name.starts_with(&wanted));
                    events.extend(all.map(|event| ChainEvent { height, event }));
                }
                if events.len() > limits::MAX_EVENTS {
                    let text =
                        format!("more than {} events; ask for fewer heights or a longer prefix", limits::MAX_EVENTS);
                    return Err(RpcError::new(ErrorCode::TooMuch, text).into());
                }
                height = height.next();
            }
            Ok(events)
        })
    }
}
