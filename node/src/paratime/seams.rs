//! What the worker of a ParaTime sees of this node: the chain, the network and the pool.

use super::pool::ParaTimePool;
use crate::chain::Chain;
use crate::consensus::Submitter;
use parallax_consensus_app::tx::Call;
use parallax_consensus_app::{epoch, registry, rounds};
use parallax_network::limits as network_limits;
use parallax_network::{Handle, Request, Response, Topic, peer_id_of};
use parallax_primitives::{ChainContext, Digest, Height, KeyId, NodeId, ParaTimeId, Round, codec, encode};
use parallax_rounds::{ParaTimeBlock, SignedCommitment, SignedProposal};
use parallax_runtime::{FheBackend, ParaTime, TxError};
use parallax_state::{Batch, Column, Database, Namespace, StateError};
use parallax_worker::seams::LedgerState;
use parallax_worker::{Anchor, Ledger, LedgerError, PeerRequest, PeerResponse, Pool, Transport};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The chain as a worker sees it.
pub(super) struct ChainLedger {
    pub(super) chain: Chain,
    pub(super) submitter: Submitter,
}

fn unreadable(error: StateError) -> LedgerError {
    LedgerError(error.to_string())
}

impl Ledger for ChainLedger {
    fn state(&self, paratime: ParaTimeId) -> Result<LedgerState, LedgerError> {
        let view = self.chain.view().map_err(unreadable)?;
        let missing = || LedgerError(format!("ParaTime {paratime} is not on this chain"));
        let rounds = rounds::state(&view, &paratime).map_err(unreadable)?.ok_or_else(missing)?;
        let descriptor = registry::paratime(&view, &paratime).map_err(unreadable)?.ok_or_else(missing)?;
        Ok(LedgerState {
            height: Height(view.version().unwrap_or_default()),
            rounds,
            beacon: epoch::current(&view).map_err(unreadable)?.entropy,
            key_ids: vec![KeyId(descriptor.key_set.0)],
        })
    }

    fn header(&self, height: Height) -> Result<Option<Anchor>, LedgerError> {
        let header = self.chain.header(height).map_err(unreadable)?;
        Ok(header.map(|h| Anchor { hash: h.hash(), time_ms: h.time_ms }))
    }

    fn block(&self, paratime: ParaTimeId, round: Round) -> Result<Option<ParaTimeBlock>, LedgerError> {
        rounds::block(&self.chain.view().map_err(unreadable)?, &paratime, round).map_err(unreadable)
    }

    fn peers(&self, paratime: ParaTimeId) -> Result<Vec<NodeId>, LedgerError> {
        let nodes = registry::nodes(&self.chain.view().map_err(unreadable)?).map_err(unreadable)?;
        Ok(nodes.into_iter().filter(|n| n.profile(&paratime).is_some()).map(|n| n.node).collect())
    }

    async fn announce(&self, paratime: ParaTimeId, proposal: SignedProposal) {
        // What an earlier round wanted on chain is of no use any more.
        let round = proposal.proposal.round;
        self.submitter.retain(|call| !is_of_earlier_round(call, paratime, round));
        self.send(Call::Announce { paratime, proposal }).await;
    }

    async fn commit(&self, paratime: ParaTimeId, commitments: Vec<SignedCommitment>) {
        if let Some(round) = commitments.iter().map(|c| c.commitment.round).min() {
            self.submitter.retain(|call| !is_of_earlier_round(call, paratime, round));
        }
        self.send(Call::Commit { paratime, commitments }).await;
    }
}

impl ChainLedger {
    async fn send(&self, call: Call) {
        let name = call.name();
        if let Err(error) = self.submitter.call(call).await {
            tracing::error!(%error, call = name, "worker.call.failed");
        }
    }
}

fn is_of_earlier_round(call: &Call, id: ParaTimeId, round: Round) -> bool {
    match call {
        Call::Announce { paratime, proposal } => *paratime == id && proposal.proposal.round < round,
        Call::Commit { paratime, commitments } => {
            *paratime == id && commitments.iter().all(|c| c.commitment.round < round)
        }
        _ => false,
    }
}

/// The network as a worker sees it.
pub(super) struct PeerTransport {
    pub(super) chain: Chain,
    pub(super) network: Handle,
}

impl Transport for PeerTransport {
    async fn publish(&self, paratime: ParaTimeId, proposal: SignedProposal) {
        if let Err(error) = self.network.publish(Topic::Proposal(paratime), encode(&proposal)).await {
            tracing::warn!(%error, round = proposal.proposal.round.0, "worker.proposal.not_gossiped");
        }
    }

    async fn request(&self, paratime: ParaTimeId, peer: NodeId, request: PeerRequest) -> Option<PeerResponse> {
        let view = self.chain.view().ok()?;
        let descriptor = registry::node(&view, &peer).ok()??;
        let peer_id = peer_id_of(&descriptor.peer).ok()?;
        if peer_id == self.network.local_peer() {
            return None;
        }
        let request = Request::Worker { paratime, body: encode(&request) };
        match self.network.request(peer_id, request).await {
            Ok(Response::Worker(body)) => {
                codec::decode("worker response", &body, network_limits::MAX_RESULT_BYTES).ok()
            }
            Ok(_) => None,
            Err(error) => {
                tracing::debug!(%error, peer = %peer.short(), "worker.request.failed");
                None
            }
        }
    }
}

/// The pool, shared between admission, gossip and the worker.
#[derive(Clone)]
pub struct SharedPool {
    inner: Arc<Mutex<ParaTimePool>>,
    chain: ChainContext,
    id: ParaTimeId,
    database: Database,
    program: Arc<dyn ParaTime>,
}

impl SharedPool {
    /// An empty pool of a ParaTime.
    pub fn new(chain: ChainContext, id: ParaTimeId, database: Database, program: Arc<dyn ParaTime>) -> Self {
        Self { inner: Arc::default(), chain, id, database, program }
    }

    fn lock(&self) -> MutexGuard<'_, ParaTimePool> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Admits a transaction against the last applied state. With `fhe`, proofs of encrypted inputs are verified too,
    /// which costs a sixth of a second: call it where blocking does no harm.
    ///
    /// # Errors
    /// The ParaTime's refusal, or the pool's.
    pub fn submit(&self, bytes: Vec<u8>, fhe: Option<&dyn FheBackend>) -> Result<Digest, TxError> {
        let refuse = |message: String, code| TxError { module: "pool".into(), code, message };
        let view = self
            .database
            .tree(Namespace::ParaTime(self.id))
            .latest_snapshot()
            .map_err(|e| refuse(e.to_string(), 100))?;
        let info = self.program.check_tx(&view, &self.chain, &bytes, fhe)?;
        self.lock().insert(&info, bytes).map_err(|e| refuse(e.to_string(), e.code()))
    }

    /// Remembers in which round, and where in its batch, transactions were executed.
    fn index(&self, round: Round, executed: &[Digest]) -> Result<(), StateError> {
        let mut batch = Batch::default();
        for (index, digest) in executed.iter().enumerate() {
            batch.put(Column::Rounds, self.index_row(digest), encode(&(round, index as u32)));
        }
        self.database.store().write(batch)
    }

    /// The round that executed a transaction, and its place in the batch.
    ///
    /// # Errors
    /// If the store fails.
    pub fn executed(&self, digest: &Digest) -> Result<Option<(Round, u32)>, StateError> {
        let Some(bytes) = self.database.store().get(Column::Rounds, &self.index_row(digest))? else { return Ok(None) };
        let corrupt = |e: parallax_primitives::DecodeError| StateError::Corrupt {
            what: format!("the index of transaction {digest}"),
            reason: e.to_string(),
        };
        Ok(Some(codec::decode("transaction index", &bytes, 64).map_err(corrupt)?))
    }

    fn index_row(&self, digest: &Digest) -> Vec<u8> {
        [b"tx/".as_slice(), &self.id.0, &digest.0].concat()
    }

    /// Whether a transaction waits.
    pub fn contains(&self, digest: &Digest) -> bool {
        self.lock().get(digest).is_some()
    }
}

impl Pool for SharedPool {
    fn candidates(&self, max_count: usize, max_bytes: usize) -> Vec<Vec<u8>> {
        let mut bytes = 0usize;
        let mut batch = self.lock().candidates();
        batch.truncate(max_count);
        batch.retain(|tx| {
            bytes = bytes.saturating_add(tx.len());
            bytes <= max_bytes
        });
        batch
    }

    fn get(&self, digest: &Digest) -> Option<Vec<u8>> {
        self.lock().get(digest).map(<[u8]>::to_vec)
    }

    fn len(&self) -> usize {
        self.lock().len()
    }

    fn applied(&self, round: Round, executed: &[Digest]) {
        let view = match self.database.tree(Namespace::ParaTime(self.id)).latest_snapshot() {
            Ok(view) => view,
            Err(error) => return tracing::error!(%error, round = round.0, "pool.state.unreadable"),
        };
        if let Err(error) = self.index(round, executed) {
            tracing::error!(%error, round = round.0, "pool.index.failed");
        }
        let mut pool = self.lock();
        pool.remove(executed);
        pool.recheck(|tx| self.program.check_tx(&view, &self.chain, tx, None).is_ok());
    }
}
