//! A small application over a real state tree, and networks of engines in one process.

use parallax_consensus_app::tx::{Call, NodeDescriptor, SignedNodeDescriptor, Transaction, TxBody, tx_digest};
use parallax_consensus_app::{
    Application, Block, BlockContext, BlockLimits, Checked, Executed, Header, InvalidBlock, PrecommitMessage, Receipt,
    TxError, Validator, ValidatorSet, transactions_root,
};
use parallax_consensus_engine::embedded::{EngineConfig, EngineHandle, Multiaddr, Role, Timeouts, spawn};
use parallax_consensus_engine::{BlockStore, Pool, Shared};
use parallax_memory_store::MemoryStore;
use parallax_primitives::vrf::VrfPublicKey;
use parallax_primitives::{
    Address, Amount, ChainContext, Digest, Domain, Epoch, Gas, Height, Nonce, ParaTimeId, SecretKey, Signature, encode,
};
use parallax_state::{Batch, Database, Namespace, Overlay, StateError, StateProof, StateView, Store, Tree, Value};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

pub(crate) const CHAIN: ChainContext = ChainContext(Digest([42; 32]));

pub(crate) fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed([seed; 32])
}

/// Proposes headers with a false state root.
pub(crate) const BAD_ROOT: u8 = 1;
/// Proposes headers an hour ahead of the clock; all else in them is right.
pub(crate) const AHEAD: u8 = 2;

/// Counts each sender's transactions. Valid blocks follow the rules of a ledger; nothing is paid for.
pub(crate) struct Counter {
    tree: Tree,
    validators: ValidatorSet,
    /// How this node's own proposals are wrong, see [`BAD_ROOT`] and [`AHEAD`].
    pub(crate) lies: Arc<AtomicU8>,
}

impl Counter {
    pub(crate) fn new(store: Arc<dyn Store>, validators: &[SecretKey]) -> Self {
        let mut validators: Vec<Validator> =
            validators.iter().map(|k| Validator { node: k.public(), power: 10 }).collect();
        validators.sort_by_key(|v| v.node);
        let tree = Database::open(store).unwrap().tree(Namespace::Consensus);
        Self { tree, validators: ValidatorSet { validators }, lies: Arc::default() }
    }

    fn header(&self, view: &dyn StateView, context: &BlockContext) -> Result<Header, StateError> {
        let (_, app_hash) = self.last_committed()?;
        let parent = match view.get(b"parent")? {
            Some(Value::Plain(bytes)) => Digest(bytes.try_into().unwrap()),
            _ => CHAIN.0,
        };
        let hash = self.validators.hash();
        Ok(Header {
            height: context.height,
            parent,
            time_ms: context.time_ms,
            proposer: context.proposer,
            app_hash,
            transactions_root: Digest::ZERO,
            validators_hash: hash,
            next_validators_hash: hash,
        })
    }
}

pub(crate) fn nonce_of(view: &dyn StateView, sender: &Address) -> u64 {
    match view.get(&sender.0).unwrap() {
        Some(Value::Plain(bytes)) => u64::from_be_bytes(bytes.try_into().unwrap()),
        _ => 0,
    }
}

impl Application for Counter {
    fn init_genesis(&mut self) -> Result<Digest, StateError> {
        if let Some((_, root)) = self.tree.latest()? {
            return Ok(root);
        }
        let prepared = self.tree.prepare(0, &Default::default())?;
        self.tree.commit(prepared, Batch::default())
    }

    fn last_committed(&self) -> Result<(Height, Digest), StateError> {
        let (version, root) = self.tree.latest()?.unwrap_or((0, Digest::ZERO));
        Ok((Height(version), root))
    }

    fn snapshot(&self) -> Result<Box<dyn StateView + Send + Sync>, StateError> {
        Ok(Box::new(self.tree.latest_snapshot()?))
    }

    fn validators(&self, _height: Height) -> Result<ValidatorSet, StateError> {
        Ok(self.validators.clone())
    }

    fn check(&self, snapshot: &dyn StateView, tx: &[u8]) -> Result<Checked, TxError> {
        let refuse = |message: String| TxError { module: "test".into(), code: 1, message };
        let decoded = Transaction::decode(tx).map_err(|e| refuse(e.to_string()))?;
        let sender = Address::of(&decoded.signed().signer);
        let body = &decoded.signed().body;
        if !decoded.verify(CHAIN) || body.nonce.0 < nonce_of(snapshot, &sender) {
            return Err(refuse("signature or nonce".into()));
        }
        let digest = tx_digest(tx);
        Ok(Checked { digest, sender, nonce: body.nonce, fee: body.fee, gas_limit: body.gas_limit })
    }

    fn propose(
        &self,
        snapshot: &dyn StateView,
        context: &BlockContext,
        candidates: Vec<Vec<u8>>,
        _limits: BlockLimits,
    ) -> Result<Block, StateError> {
        let mut header = self.header(snapshot, context)?;
        let mut next = std::collections::BTreeMap::new();
        let transactions: Vec<Vec<u8>> = candidates
            .into_iter()
            .filter(|tx| {
                let Ok(checked) = self.check(snapshot, tx) else { return false };
                let nonce = next.entry(checked.sender).or_insert_with(|| nonce_of(snapshot, &checked.sender));
                let fits = checked.nonce.0 == *nonce;
                *nonce += u64::from(fits);
                fits
            })
            .collect();
        header.transactions_root = transactions_root(&transactions);
        match self.lies.load(Ordering::SeqCst) {
            BAD_ROOT => header.app_hash = Digest([0xbd; 32]),
            AHEAD => header.time_ms += 3_600_000,
            _ => {}
        }
        Ok(Block { header, transactions })
    }

    fn deliver(
        &self,
        snapshot: &dyn StateView,
        context: &BlockContext,
        block: &Block,
    ) -> Result<Executed, InvalidBlock> {
        let height = context.height;
        let mut expected = self.header(snapshot, context)?;
        expected.transactions_root = transactions_root(&block.transactions);
        // A liar believes itself, or it would fall back to an honest block.
        if block.header != expected && self.lies.load(Ordering::SeqCst) != BAD_ROOT {
            return Err(InvalidBlock::Header { height, field: "app hash" });
        }
        let mut overlay = Overlay::new(snapshot);
        let mut receipts = Vec::new();
        for (index, tx) in block.transactions.iter().enumerate() {
            let checked = self.check(&overlay, tx).map_err(|e| InvalidBlock::Transaction {
                height,
                index,
                reason: e.to_string(),
            })?;
            overlay.put(checked.sender.0.to_vec(), (checked.nonce.0 + 1).to_be_bytes().to_vec());
            receipts.push(Receipt { tx: checked.digest, gas_used: Gas(1), outcome: Ok(()), events: Vec::new() });
        }
        overlay.put(b"parent".to_vec(), context.hash.0.to_vec());
        let changes = overlay.into_changes();
        let app_hash = self.tree.prepare(height.0, &changes)?.root();
        Ok(Executed { height, changes, receipts, events: Vec::new(), validator_updates: None, app_hash })
    }

    fn commit(&mut self, executed: Executed, extra: Batch) -> Result<Digest, StateError> {
        let prepared = self.tree.prepare(executed.height.0, &executed.changes)?;
        self.tree.commit(prepared, extra)
    }

    fn query(&self, height: Option<Height>, key: &[u8]) -> Result<StateProof, StateError> {
        let version = height.map_or(self.last_committed()?.0, |h| h);
        self.tree.prove(version.0, key)
    }

    fn list_snapshots(&self) -> Result<Vec<Height>, StateError> {
        Ok(Vec::new())
    }

    fn load_snapshot_chunk(&self, _height: Height, _after: Option<Vec<u8>>) -> Result<Vec<u8>, StateError> {
        Ok(Vec::new())
    }

    fn restore_snapshot(&mut self, _: Height, _: Digest, _: &[Vec<u8>]) -> Result<(), StateError> {
        Err(StateError::Store("a counter has no snapshots".into()))
    }
}

pub(crate) fn transfer(sender: &SecretKey, nonce: u64, fee: u128) -> Vec<u8> {
    transfer_with_gas(sender, nonce, fee, 100)
}

pub(crate) fn transfer_with_gas(sender: &SecretKey, nonce: u64, fee: u128, gas: u64) -> Vec<u8> {
    let call = Call::Transfer { to: Address([9; 20]), amount: Amount(1) };
    let body = TxBody { nonce: Nonce(nonce), fee: Amount(fee), gas_limit: Gas(gas), call };
    Transaction::sign(body, CHAIN, sender).encode()
}

/// A transaction of about 58 KB, so that a few of them make a block of many pieces.
pub(crate) fn large(sender: &SecretKey, nonce: u64) -> Vec<u8> {
    let descriptor = NodeDescriptor {
        node: sender.public(),
        entity: Address([9; 20]),
        roles: vec![],
        vrf: VrfPublicKey::default(),
        peer: sender.public(),
        paratimes: vec![(ParaTimeId([7; 32]), Digest([8; 32])); 900],
        expires: Epoch(1),
    };
    let node = SignedNodeDescriptor { descriptor, signature: Signature([0; 64]) };
    let body = TxBody { nonce: Nonce(nonce), fee: Amount(1), gas_limit: Gas(100), call: Call::RegisterNode { node } };
    Transaction::sign(body, CHAIN, sender).encode()
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub(crate) fn multiaddr(port: u16) -> Multiaddr {
    format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap()
}

/// One node of a test network; its store survives a restart.
pub(crate) struct Node<A> {
    pub(crate) store: MemoryStore,
    pub(crate) app: Shared<A>,
    pub(crate) pool: Arc<Pool<A>>,
    pub(crate) config: EngineConfig,
    pub(crate) engine: Option<EngineHandle>,
}

impl<A: Application + Sync + 'static> Node<A> {
    pub(crate) async fn start(&mut self) {
        let store: Arc<dyn Store> = Arc::new(self.store.clone());
        let pool = Arc::clone(&self.pool);
        let engine = spawn(self.config.clone(), self.app.clone(), store, pool).await.unwrap();
        self.engine = Some(engine);
    }

    pub(crate) async fn stop(&mut self) {
        self.engine.take().unwrap().stop().await.unwrap();
    }

    pub(crate) fn engine(&self) -> &EngineHandle {
        self.engine.as_ref().unwrap()
    }

    pub(crate) fn blocks(&self) -> BlockStore {
        BlockStore::new(Arc::new(self.store.clone()))
    }

    /// Waits for a height.
    pub(crate) async fn reaches(&self, height: u64, limit: Duration) {
        let mut tip = self.engine().watch_tip();
        let waited = tokio::time::timeout(limit, tip.wait_for(|tip| tip.height.0 >= height)).await;
        assert!(
            waited.is_ok_and(|tip| tip.is_ok()),
            "{} is at height {}, not at {height}, after {limit:?}",
            self.config.moniker,
            self.engine().tip().height
        );
    }
}

/// `validators` validators and `full` followers on loopback, not yet started.
pub(crate) fn network<A: Application + Sync + 'static>(
    home: &std::path::Path,
    chain: ChainContext,
    validators: Vec<SecretKey>,
    full: usize,
    interval: Duration,
    app: impl Fn(Arc<dyn Store>, usize) -> A,
) -> Vec<Node<A>> {
    let count = validators.len() + full;
    let ports: Vec<u16> = (0..count).map(|_| free_port()).collect();
    (0..count)
        .map(|at| {
            let store = MemoryStore::new();
            let app = Shared::new(app(Arc::new(store.clone()), at));
            let key = validators.get(at).cloned().unwrap_or_else(|| key(200 + u8::try_from(at).unwrap()));
            let seed = Digest::of_value(Domain::Simulation, &(at as u64, encode(&key.public()))).0;
            let mut config = EngineConfig::new(
                chain,
                home.join(format!("node{at}")),
                key,
                SecretKey::from_seed(seed),
                multiaddr(ports[at]),
            );
            config.persistent_peers = ports.iter().filter(|p| **p != ports[at]).map(|p| multiaddr(*p)).collect();
            config.role = if at < validators.len() { Role::Validator } else { Role::Full };
            config.block_interval = interval;
            config.timeouts = Timeouts { propose: Duration::from_millis(1000), vote: Duration::from_millis(500) };
            config.status_interval = Duration::from_millis(500);
            config.moniker = format!("{}-{at}", home.file_name().unwrap().to_string_lossy());
            let pool = Arc::new(Pool::new(app.clone()));
            Node { store, app, pool, config, engine: None }
        })
        .collect()
}

/// Asserts that a certificate holds for a block, by pure code.
pub(crate) fn assert_certified(
    block: &Block,
    certificate: &parallax_consensus_app::CommitCertificate,
    set: &ValidatorSet,
) {
    assert_eq!(certificate.value, block.header.hash());
    let mut power = 0;
    for (node, signature) in &certificate.signatures {
        let message = PrecommitMessage {
            chain: CHAIN,
            height: block.header.height,
            round: certificate.round,
            value: Some(certificate.value),
            validator: *node,
        };
        assert!(node.verify_raw(&message.signing_bytes().0, signature), "a precommit does not verify");
        power += set.power_of(node);
    }
    assert!(power * 3 > set.total_power() * 2);
}
