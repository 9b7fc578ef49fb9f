//! What the worker of a ParaTime sees of this node: the chain, the network and the pool.

use super::pool::{ParaTimePool, PoolError, ProofQueue};
use crate::chain::Chain;
use crate::consensus::Submitter;
use parallax_consensus_app::tx::Call;
use parallax_consensus_app::{epoch, messages, registry, rounds};
use parallax_network::limits as network_limits;
use parallax_network::{Handle, PeerId, Penalty, Request, Response, Topic, peer_id_of};
use parallax_primitives::{
    Address, ChainContext, Digest, Height, KeyId, NodeId, ParaTimeId, Round, codec, encode, limits,
};
use parallax_rounds::{Evidence, ParaTimeBlock, SignedCommitment, SignedProposal};
use parallax_runtime::paratime::tx_digest;
use parallax_runtime::{FheBackend, ParaTime, TxError, TxInfo};
use parallax_state::{Batch, Column, Database, Namespace, Snapshot, StateError};
use parallax_worker::seams::LedgerState;
use parallax_worker::{Anchor, Ledger, LedgerError, PeerRequest, PeerResponse, Pool, Transport};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::broadcast;

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
            message_results: messages::results(&view, &paratime).map_err(unreadable)?,
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
        self.send(Call::Announce { paratime, proposal });
    }

    async fn commit(&self, paratime: ParaTimeId, commitments: Vec<SignedCommitment>) {
        if let Some(round) = commitments.iter().map(|c| c.commitment.round).min() {
            self.submitter.retain(|call| !is_of_earlier_round(call, paratime, round));
        }
        self.send(Call::Commit { paratime, commitments });
    }

    async fn report(&self, paratime: ParaTimeId, evidence: Evidence) {
        self.send(Call::SubmitEvidence { paratime, evidence: Box::new(evidence) });
    }
}

impl ChainLedger {
    fn send(&self, call: Call) {
        let name = call.name();
        if let Err(error) = self.submitter.call(call) {
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
        let peer_id = self.peer_id(&peer).filter(|id| *id != self.network.local_peer())?;
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

    async fn blame(&self, peer: NodeId) {
        if let Some(peer_id) = self.peer_id(&peer) {
            self.network.penalise(peer_id, Penalty::FalseContent).await;
        }
    }
}

impl PeerTransport {
    /// A registered node on the network.
    fn peer_id(&self, node: &NodeId) -> Option<PeerId> {
        let view = self.chain.view().ok()?;
        peer_id_of(&registry::node(&view, node).ok()??.peer).ok()
    }
}

/// Rounds for which it is remembered where a transaction was executed: as long as results are.
const INDEX_ROUNDS: u64 = super::RETENTION_ROUNDS;
/// Most rounds whose index is dropped at once.
const MAX_DROPPED: usize = 16;

/// Arrivals in the pool that a listener may be behind before it must look at the whole pool.
const MAX_ARRIVALS: usize = 1_024;

/// The pool, shared between admission, gossip and the worker.
#[derive(Clone)]
pub struct SharedPool {
    inner: Arc<Mutex<ParaTimePool>>,
    proofs: Arc<Mutex<ProofQueue<TxError>>>,
    chain: ChainContext,
    id: ParaTimeId,
    database: Database,
    program: Arc<dyn ParaTime>,
    arrivals: broadcast::Sender<Digest>,
}

/// A sender's turn to have a proof verified; it ends when this is dropped.
pub struct Turn {
    proofs: Arc<Mutex<ProofQueue<TxError>>>,
    sender: Address,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.proofs.lock().unwrap_or_else(PoisonError::into_inner).end(&self.sender);
    }
}

fn refused(error: &PoolError) -> TxError {
    TxError { module: "pool".into(), code: error.code(), message: error.to_string() }
}

impl SharedPool {
    /// An empty pool of a ParaTime.
    pub fn new(chain: ChainContext, id: ParaTimeId, database: Database, program: Arc<dyn ParaTime>) -> Self {
        let arrivals = broadcast::Sender::new(MAX_ARRIVALS);
        Self { inner: Arc::default(), proofs: Arc::default(), chain, id, database, program, arrivals }
    }

    fn lock(&self) -> MutexGuard<'_, ParaTimePool> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn proofs(&self) -> MutexGuard<'_, ProofQueue<TxError>> {
        self.proofs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn view(&self) -> Result<Snapshot, TxError> {
        self.database.tree(Namespace::ParaTime(self.id)).latest_snapshot().map_err(|error| {
            tracing::error!(%error, paratime = %self.id, "pool.state.unreadable");
            TxError { module: "pool".into(), code: 100, message: "this node failed; its log says more".into() }
        })
    }

    /// Every check but that of proofs, against the last applied state: the ParaTime's own, and whether there is room.
    fn checked(&self, view: &Snapshot, bytes: &[u8]) -> Result<TxInfo, TxError> {
        let digest = tx_digest(bytes);
        if let Some(error) = self.proofs().verdict(&digest) {
            return Err(error);
        }
        if self.contains(&digest) {
            return Err(refused(&PoolError::Known));
        }
        let info = self.program.check_tx(view, &self.chain, bytes, None)?;
        self.lock().room(&info, &digest).map_err(|e| refused(&e))?;
        Ok(info)
    }

    /// Whether it is worth to verify the proof of a transaction, and the sender's turn to have that done. `None`: a
    /// proof of the sender is being verified.
    ///
    /// # Errors
    /// The ParaTime's refusal, or the pool's.
    pub fn precheck(&self, bytes: &[u8]) -> Result<Option<Turn>, TxError> {
        let sender = self.checked(&self.view()?, bytes)?.sender;
        Ok(self.proofs().begin(sender).then(|| Turn { proofs: Arc::clone(&self.proofs), sender }))
    }

    /// Admits a transaction against the last applied state. With `fhe`, proofs of encrypted inputs are verified too,
    /// which costs a sixth of a second: call it where blocking does no harm, and after [`SharedPool::precheck`].
    ///
    /// # Errors
    /// The ParaTime's refusal, or the pool's.
    pub fn submit(&self, bytes: Vec<u8>, fhe: Option<&dyn FheBackend>) -> Result<Digest, TxError> {
        let view = self.view()?;
        let mut info = self.checked(&view, &bytes)?;
        if fhe.is_some() {
            // All else was checked on this state: a refusal now is one of the proof.
            info = self.program.check_tx(&view, &self.chain, &bytes, fhe).inspect_err(|error| {
                self.proofs().refuse(tx_digest(&bytes), error.clone());
            })?;
        }
        let digest = self.lock().insert(&info, bytes).map_err(|e| refused(&e))?;
        // Most ParaTimes have no listener.
        let _ = self.arrivals.send(digest);
        Ok(digest)
    }

    /// Tells of every transaction that arrives from now on.
    pub fn arrivals(&self) -> broadcast::Receiver<Digest> {
        self.arrivals.subscribe()
    }

    /// All that waits.
    pub fn all(&self) -> Vec<(Digest, Arc<Vec<u8>>)> {
        self.lock().all()
    }

    /// How many can be executed now, and how many wait in all.
    pub fn counts(&self) -> (usize, usize) {
        let pool = self.lock();
        (pool.ready(), pool.len())
    }

    /// A transaction that waits.
    pub fn bytes(&self, digest: &Digest) -> Option<Vec<u8>> {
        self.lock().get(digest).map(<[u8]>::to_vec)
    }

    /// The first nonce from `nonce` on with which nothing of a sender waits.
    pub fn next_nonce(&self, sender: &Address, nonce: u64) -> u64 {
        self.lock().next_nonce(sender, nonce)
    }

    /// Remembers in which round, and where in its batch, transactions were executed, and forgets it for rounds whose
    /// results are dropped.
    pub(super) fn index(&self, round: Round, executed: &[Digest]) -> Result<(), StateError> {
        let store = self.database.store();
        let mut batch = Batch::default();
        for (index, digest) in executed.iter().enumerate() {
            batch.put(Column::Rounds, self.index_row(digest), encode(&(round, index as u32)));
        }
        if !executed.is_empty() {
            batch.put(Column::Rounds, self.round_row(round), encode(&executed));
        }
        let before = self.round_row(Round(round.0.saturating_sub(INDEX_ROUNDS)));
        for (row, bytes) in store.range(Column::Rounds, &self.round_row(Round::ZERO), &before, MAX_DROPPED)? {
            let corrupt = |e: parallax_primitives::DecodeError| StateError::Corrupt {
                what: "the transactions of a round".to_owned(),
                reason: e.to_string(),
            };
            let old: Vec<Digest> = codec::decode("digests", &bytes, limits::MAX_PEER_MESSAGE_BYTES).map_err(corrupt)?;
            for digest in old {
                // One that failed without a mark may have been executed again later; that round keeps it.
                let at = self.executed(&digest)?.map(|(at, _)| self.round_row(at));
                if at.as_ref() == Some(&row) && !executed.contains(&digest) {
                    batch.delete(Column::Rounds, self.index_row(&digest));
                }
            }
            batch.delete(Column::Rounds, row);
        }
        store.write(batch)
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

    fn round_row(&self, round: Round) -> Vec<u8> {
        [b"txs/".as_slice(), &self.id.0, &round.0.to_be_bytes()].concat()
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
        self.bytes(digest)
    }

    fn len(&self) -> usize {
        self.lock().ready()
    }

    fn applied(&self, round: Round, executed: &[Digest]) {
        let view = match self.database.tree(Namespace::ParaTime(self.id)).latest_snapshot() {
            Ok(view) => view,
            Err(error) => return tracing::error!(%error, round = round.0, "pool.state.unreadable"),
        };
        if let Err(error) = self.index(round, executed) {
            tracing::error!(%error, round = round.0, "pool.index.failed");
        }
        let waiting = {
            let mut pool = self.lock();
            pool.remove(executed);
            pool.all()
        };
        // Thousands of signatures: the pool stays open meanwhile.
        let checked: Vec<_> = waiting
            .iter()
            .map(|(digest, bytes)| (digest, self.program.check_tx(&view, &self.chain, bytes, None).ok()))
            .collect();
        self.lock().recheck(checked);
    }
}
