//! A network in one process: a toy chain around the real round machine, a toy ParaTime, and a transport of channels.

use super::*;
use crate::event::Anchor;
use crate::fault::{CrashAt, Dishonest, Fault, FaultKind, FaultyLedger, FaultyTransport, FlipBit};
use crate::seams::{LedgerState, NoCrash, PeerRequest, PeerResponse, StoreJournal};
use parallax_clear::ClearBackend;
use parallax_memory_store::MemoryStore;
use parallax_primitives::{Address, ChainContext, Domain, Epoch, Event, Gas, Height, KeyId, SecretKey};
use parallax_rounds::{
    Committee, Effect, Evidence, LivenessParameters, ParaTimeBlock, Resolution, RoundEvent, RoundParameters,
    RoundState, SignedCommitment, Verified,
};
use parallax_runtime::paratime::tx_digest;
use parallax_runtime::{Abort, Execution, Plan, RoundContext, Trace, TxError, TxInfo, TxResult, trace};
use parallax_state::{Changes, Namespace, Overlay, StateView, Store};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub(super) const CHAIN: ChainContext = ChainContext(Digest([7; 32]));
pub(super) const KEY: KeyId = KeyId([3; 32]);

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn paratime() -> ParaTimeId {
    ParaTimeId::named("toy")
}

pub(super) fn key(n: usize) -> SecretKey {
    SecretKey::from_seed([u8::try_from(n + 1).unwrap(); 32])
}

/// Writes each transaction under its digest, and a "ciphertext" that depends on transaction and context. With another
/// salt it computes something else: a machine that went bad.
pub(super) struct Toy {
    pub(super) salt: usize,
}

impl ParaTime for Toy {
    fn kind(&self) -> &'static str {
        "toy"
    }

    fn init_genesis(&self, _: &serde_json::Value) -> Result<Changes, String> {
        Ok(Changes::default())
    }

    fn check_tx(
        &self,
        _: &dyn StateView,
        _: &ChainContext,
        _: &[u8],
        _: Option<&dyn FheBackend>,
    ) -> Result<TxInfo, TxError> {
        Ok(TxInfo { sender: Address([0; 20]), nonce: 0, next: 0, priority: 0, gas: Gas(10) })
    }

    fn plan(&self, _: &dyn StateView, _: &RoundContext, candidates: &[Vec<u8>], limit: Gas) -> Result<Plan, Abort> {
        let take = candidates.len().min(usize::try_from(limit.0 / 10).unwrap());
        Ok(Plan { gas: Gas(take as u64 * 10), take })
    }

    fn has_work(&self, _: &dyn StateView) -> Result<bool, Abort> {
        Ok(false)
    }

    fn execute(
        &self,
        view: &dyn StateView,
        context: &RoundContext,
        batch: &[Vec<u8>],
        _: &dyn FheBackend,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Execution, Abort> {
        let mut state = Overlay::new(view);
        let mut results = Vec::new();
        for tx in batch {
            if cancelled() {
                return Err(Abort::Cancelled);
            }
            let digest = tx_digest(tx);
            state.put(digest.0.to_vec(), tx.clone());
            let cipher = [digest.0, context.anchor.0, context.previous_hash.0].concat().repeat(20 + self.salt);
            state.put_cipher([b"c/", &digest.0[..]].concat(), KEY, 1, cipher);
            results.push(TxResult { tx: digest, gas: Gas(10), outcome: Ok(vec![]) });
        }
        let changes = state.into_changes();
        let trace = Trace { leaves: trace::write_leaves(&changes) };
        let gas = Gas(batch.len() as u64 * 10);
        let events = vec![Event::new("toy.executed").with("count", batch.len())];
        Ok(Execution { changes, results, events, messages: vec![], in_messages_count: 0, trace, gas, pbs: 0 })
    }

    fn query(&self, _: &dyn StateView, method: &str, _: &serde_json::Value) -> Result<serde_json::Value, String> {
        Err(format!("there is no {method}"))
    }
}

pub(super) enum Tx {
    Announce(SignedProposal),
    Commit(SignedCommitment),
}

/// The toy chain: one block a tick, all submitted transactions in it.
pub(super) struct Chain {
    pub(super) state: RoundState,
    pub(super) height: Height,
    pub(super) blocks: BTreeMap<Round, ParaTimeBlock>,
    pub(super) effects: Vec<Effect>,
    pub(super) submitted: Vec<Tx>,
    /// What nodes reported of each other: honest ones give no cause.
    pub(super) reported: Vec<Evidence>,
    /// Every commitment that was ever submitted, by node and proposal: an honest node has one for each.
    pub(super) signed: BTreeMap<(NodeId, Digest), Vec<SignedCommitment>>,
}

impl Chain {
    pub(super) fn tick(&mut self) {
        self.height = self.height.next();
        for tx in std::mem::take(&mut self.submitted) {
            let event = match tx {
                Tx::Announce(p) => {
                    Verified::<SignedProposal>::check(&self.state, CHAIN, p).map(RoundEvent::Announcement)
                }
                Tx::Commit(c) => Verified::<SignedCommitment>::check(&self.state, CHAIN, c).map(RoundEvent::Commitment),
            };
            if let Ok(event) = event {
                self.apply(event);
            }
        }
        self.apply(RoundEvent::Height);
    }

    fn apply(&mut self, event: RoundEvent) {
        // A refused message is a failed transaction.
        for effect in self.state.apply(self.height, event).unwrap_or_default() {
            if let Some(block) = effect.block() {
                self.blocks.insert(block.round, block.clone());
            }
            self.effects.push(effect);
        }
    }

    pub(super) fn slashed(&self) -> Vec<NodeId> {
        let slashed = self.effects.iter().filter_map(|e| match e {
            Effect::SlashWrongResult { nodes, .. } => Some(nodes.clone()),
            _ => None,
        });
        slashed.flatten().collect()
    }

    pub(super) fn count(&self, wanted: impl Fn(&Effect) -> bool) -> usize {
        self.effects.iter().filter(|e| wanted(e)).count()
    }
}

#[derive(Clone)]
pub(super) struct ToyLedger(pub(super) Arc<Mutex<Chain>>);

impl Ledger for ToyLedger {
    fn state(&self, _: ParaTimeId) -> Result<LedgerState, LedgerError> {
        let chain = lock(&self.0);
        let (height, rounds) = (chain.height, chain.state.clone());
        Ok(LedgerState { height, rounds, beacon: Digest::ZERO, key_ids: vec![KEY], message_results: vec![] })
    }

    fn header(&self, height: Height) -> Result<Option<Anchor>, LedgerError> {
        let known = height <= lock(&self.0).height;
        let hash = Digest::of_value(Domain::Simulation, &height);
        Ok(known.then_some(Anchor { hash, time_ms: height.0 }))
    }

    fn block(&self, _: ParaTimeId, round: Round) -> Result<Option<ParaTimeBlock>, LedgerError> {
        Ok(lock(&self.0).blocks.get(&round).cloned())
    }

    fn peers(&self, _: ParaTimeId) -> Result<Vec<NodeId>, LedgerError> {
        Ok((0..5).map(|n| key(n).public()).collect())
    }

    async fn announce(&self, _: ParaTimeId, proposal: SignedProposal) {
        lock(&self.0).submitted.push(Tx::Announce(proposal));
    }

    async fn commit(&self, _: ParaTimeId, commitments: Vec<SignedCommitment>) {
        let mut chain = lock(&self.0);
        for vote in commitments {
            let slot = chain.signed.entry((vote.commitment.node, vote.commitment.proposal)).or_default();
            if !slot.contains(&vote) {
                slot.push(vote.clone());
            }
            chain.submitted.push(Tx::Commit(vote));
        }
    }

    async fn report(&self, _: ParaTimeId, evidence: Evidence) {
        lock(&self.0).reported.push(evidence);
    }
}

/// What becomes of a peer's answer on its way; `None`: it is lost.
pub(super) type Tamper = Arc<dyn Fn(NodeId, &PeerRequest, PeerResponse) -> Option<PeerResponse> + Send + Sync>;

/// Delivers between the handles of the nodes that are up. `corrupt` falsifies every ciphertext of one node.
#[derive(Clone, Default)]
pub(super) struct Wire {
    pub(super) tamper: Arc<Mutex<Option<Tamper>>>,
    pub(super) nodes: Arc<Mutex<BTreeMap<NodeId, WorkerHandle>>>,
    pub(super) corrupt: Arc<Mutex<Option<NodeId>>>,
}

impl Transport for Wire {
    async fn publish(&self, _: ParaTimeId, proposal: SignedProposal) {
        for (_, node) in lock(&self.nodes).iter() {
            node.send(Input::Proposal(Box::new(proposal.clone())));
        }
    }

    async fn request(&self, _: ParaTimeId, peer: NodeId, request: PeerRequest) -> Option<PeerResponse> {
        let results = lock(&self.nodes).get(&peer)?.results().clone();
        let mut answer = results.serve(&request).ok()?;
        if let PeerResponse::Blob(Some(bytes)) = &mut answer
            && *lock(&self.corrupt) == Some(peer)
        {
            bytes[0] ^= 1;
        }
        let tamper = lock(&self.tamper).clone();
        match tamper {
            Some(tamper) => tamper(peer, &request, answer),
            None => Some(answer),
        }
    }
}

/// One node's pool.
#[derive(Clone, Default)]
pub(super) struct ToyPool(pub(super) Arc<Mutex<BTreeMap<Digest, Vec<u8>>>>);

impl Pool for ToyPool {
    fn candidates(&self, max_count: usize, _: usize) -> Vec<Vec<u8>> {
        lock(&self.0).values().take(max_count).cloned().collect()
    }

    fn get(&self, digest: &Digest) -> Option<Vec<u8>> {
        lock(&self.0).get(digest).cloned()
    }

    fn len(&self) -> usize {
        lock(&self.0).len()
    }

    fn applied(&self, _: Round, executed: &[Digest]) {
        lock(&self.0).retain(|digest, _| !executed.contains(digest));
    }
}

/// One node across its restarts.
pub(super) struct Node {
    pub(super) store: MemoryStore,
    pub(super) pool: ToyPool,
    pub(super) fault: Option<Fault>,
    pub(super) crashes: usize,
    pub(super) error: Option<WorkerError>,
    task: Option<tokio::task::JoinHandle<Result<(), WorkerError>>>,
}

/// Five nodes: workers 0 and 1, backups 2, 3 and 4.
pub(super) struct Network {
    pub(super) chain: Arc<Mutex<Chain>>,
    pub(super) wire: Wire,
    pub(super) nodes: Vec<Node>,
    /// A node that computes differently after each crash.
    pub(super) decays: Option<usize>,
    /// A node that is switched off.
    pub(super) away: Option<usize>,
    /// What is executed, where it is not [`Toy`].
    runtime: Option<Arc<dyn ParaTime>>,
    executor: Executor,
}

impl Network {
    pub(super) fn new(faults: &[(usize, Fault)]) -> Self {
        Self::with(faults, None, Resolution::Full, Gas(30))
    }

    pub(super) fn with(
        faults: &[(usize, Fault)],
        runtime: Option<Arc<dyn ParaTime>>,
        resolution: Resolution,
        max_batch_gas: Gas,
    ) -> Self {
        Self::starting_with(&Changes::default(), faults, runtime, resolution, max_batch_gas)
    }

    /// With this state of round 0.
    pub(super) fn starting_with(
        genesis: &Changes,
        faults: &[(usize, Fault)],
        runtime: Option<Arc<dyn ParaTime>>,
        resolution: Resolution,
        max_batch_gas: Gas,
    ) -> Self {
        let parameters = RoundParameters {
            workers: 2,
            backups: 3,
            allowed_stragglers: 0,
            proposer_timeout: 60,
            round_timeout: 60,
            gas_per_block: Gas((max_batch_gas.0 / 3).max(10)),
            max_batch_gas,
            max_round_interval: 400,
            slash_from: 1,
            resolution,
            liveness: LivenessParameters::OFF,
            max_evidence_age: 100,
        };
        let committee = Committee {
            epoch: Epoch(0),
            workers: (0..2).map(|n| key(n).public()).collect(),
            backups: (2..5).map(|n| key(n).public()).collect(),
        };
        let mut nodes = Vec::new();
        let mut root = Digest::ZERO;
        for n in 0..5 {
            let store = MemoryStore::new();
            let tree = Database::open(Arc::new(store.clone())).unwrap().tree(Namespace::ParaTime(paratime()));
            root = tree.commit(tree.prepare(0, genesis).unwrap(), Default::default()).unwrap();
            let fault = faults.iter().find(|(at, _)| *at == n).map(|(_, fault)| *fault);
            nodes.push(Node { store, pool: ToyPool::default(), fault, crashes: 0, error: None, task: None });
        }
        let end = Height(1_000_000);
        let state = RoundState::new(paratime(), parameters, root, Some(committee), Epoch(0), end).unwrap();
        let chain = Chain {
            state,
            height: Height(1),
            blocks: BTreeMap::new(),
            effects: vec![],
            submitted: vec![],
            reported: vec![],
            signed: BTreeMap::new(),
        };
        let executor = Executor::new(2).unwrap();
        Self {
            chain: Arc::new(Mutex::new(chain)),
            wire: Wire::default(),
            nodes,
            decays: None,
            away: None,
            runtime,
            executor,
        }
    }

    pub(super) fn submit(&self, tx: &[u8]) {
        for node in &self.nodes {
            lock(&node.pool.0).insert(tx_digest(tx), tx.to_vec());
        }
    }

    fn start(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        node.store = node.store.reopen();
        let store: Arc<dyn Store> = Arc::new(node.store.clone());
        let journal: Arc<dyn Journal> = Arc::new(StoreJournal::open(Arc::clone(&store), paratime()).unwrap());
        let config = WorkerConfig {
            chain: CHAIN,
            paratime: paratime(),
            key: key(n),
            flush_blocks: 0,
            resubmit_blocks: 10,
            retention_rounds: 2,
        };
        let dishonest = node.fault.map(|fault| Dishonest::new(fault, &config, Arc::clone(&journal)));
        let crash: Arc<dyn CrashPoint> = match node.fault.map(|fault| fault.kind) {
            Some(FaultKind::CrashAt(points)) => Arc::new(CrashAt::new(points, Arc::clone(&journal))),
            _ => Arc::new(NoCrash),
        };
        let toy =
            || -> Arc<dyn ParaTime> { Arc::new(Toy { salt: if self.decays == Some(n) { node.crashes } else { 0 } }) };
        let honest: Arc<dyn FheBackend> = Arc::new(ClearBackend::new(vec![KEY]));
        let fhe: Arc<dyn FheBackend> = match node.fault.map(|fault| fault.kind) {
            Some(FaultKind::FlipBit { skip }) => Arc::new(FlipBit::new(honest, skip)),
            _ => honest,
        };
        let setup = WorkerSetup {
            config,
            ledger: FaultyLedger::new(ToyLedger(Arc::clone(&self.chain)), dishonest.clone()),
            transport: FaultyTransport::new(self.wire.clone(), dishonest),
            pool: node.pool.clone(),
            runtime: self.runtime.clone().unwrap_or_else(toy),
            fhe,
            database: Database::open(store).unwrap(),
            journal,
            executor: self.executor.clone(),
            crash,
            retry: Duration::from_millis(5),
        };
        let (worker, handle) = Worker::new(setup).unwrap();
        lock(&self.wire.nodes).insert(key(n).public(), handle);
        node.task = Some(tokio::spawn(worker.run()));
    }

    /// Restarts what crashed, makes a block, and tells everyone.
    pub(super) async fn tick(&mut self) {
        for n in 0..self.nodes.len() {
            let ended = self.nodes[n].task.as_ref().is_none_or(tokio::task::JoinHandle::is_finished);
            if !ended || self.away == Some(n) {
                continue;
            }
            if let Some(task) = self.nodes[n].task.take() {
                match task.await.unwrap() {
                    Err(WorkerError::Crashed(..)) => self.nodes[n].crashes += 1,
                    other => {
                        self.nodes[n].error = other.err();
                        panic!("node {n} stopped: {:?}", self.nodes[n].error);
                    }
                }
            }
            self.start(n);
        }
        lock(&self.chain).tick();
        for (_, node) in lock(&self.wire.nodes).iter() {
            node.send(Input::Block);
        }
        tokio::time::sleep(Duration::from_millis(4)).await;
    }

    /// Goes on until this round is over everywhere.
    pub(super) async fn until_applied(&mut self, round: u64) {
        for _ in 0..3_000 {
            self.tick().await;
            let up = (0..self.nodes.len()).filter(|n| self.away != Some(*n));
            let everywhere = up.into_iter().all(|n| self.applied(n) >= Some(Round(round)));
            if everywhere {
                return;
            }
        }
        let applied: Vec<_> = (0..self.nodes.len()).map(|n| self.applied(n)).collect();
        let chain = lock(&self.chain);
        panic!("round {round} did not end: {applied:?}, chain at {} {:?}", chain.height, chain.state.phase().name());
    }

    pub(super) async fn until_pools_are_empty(&mut self) {
        for _ in 0..3_000 {
            let up = self.nodes.iter().enumerate().filter(|(n, _)| self.away != Some(*n));
            if up.into_iter().all(|(_, node)| node.pool.is_empty()) {
                return;
            }
            self.tick().await;
        }
        panic!("transactions are left over");
    }

    pub(super) fn results(&self, n: usize) -> crate::ResultStore {
        crate::ResultStore::new(Database::open(Arc::new(self.nodes[n].store.clone())).unwrap(), paratime())
    }

    pub(super) fn applied(&self, n: usize) -> Option<Round> {
        self.results(n).applied().unwrap()
    }

    /// Every node's root of every round that it keeps is the one on chain, and every transaction is in the state once.
    pub(super) fn check_states(&self, transactions: &[Vec<u8>]) {
        let chain = lock(&self.chain);
        for (n, node) in self.nodes.iter().enumerate() {
            let db = Database::open(Arc::new(node.store.clone())).unwrap();
            let tree = db.tree(Namespace::ParaTime(paratime()));
            let (latest, _) = tree.latest().unwrap().unwrap();
            for round in 1..=latest {
                match tree.root_at(round) {
                    Ok(root) => assert_eq!(root, chain.blocks[&Round(round)].state_root, "node {n}"),
                    // Skipped by a node that took the state after a later round.
                    Err(error) => assert!(matches!(error, StateError::UnknownVersion { .. }), "node {n}: {error}"),
                }
            }
            let view = tree.latest_snapshot().unwrap();
            for tx in transactions {
                let digest = tx_digest(tx);
                assert!(view.get(&digest.0).unwrap().is_some(), "node {n} misses a transaction");
                let Some(parallax_state::Value::Cipher(c)) = view.get(&[b"c/", &digest.0[..]].concat()).unwrap() else {
                    panic!("node {n} misses a ciphertext")
                };
                assert!(view.blob(&c.digest).unwrap().is_some(), "node {n} misses ciphertext bytes");
            }
        }
        for ((node, proposal), votes) in &chain.signed {
            assert_eq!(votes.len(), 1, "{node} voted twice on {proposal}");
        }
    }
}
