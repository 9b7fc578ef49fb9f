//! What every engine does with the application: propose, execute on the parent's state, commit.

use crate::blocks::{self, BlockStore};
use crate::{EngineError, Shared};
use parallax_consensus_app::{
    Application, Block, BlockContext, BlockLimits, CommitCertificate, Executed, InvalidBlock, Receipt, ValidatorSet,
};
use parallax_primitives::{Digest, Event, Height, NodeId, limits};
use parallax_state::{Batch, StateError, Store};
use std::sync::Arc;

/// The limits of every proposal of ours; [`Application::deliver`] holds others to the same.
pub const BLOCK_LIMITS: BlockLimits =
    BlockLimits { max_bytes: limits::MAX_BLOCK_BYTES, max_txs: limits::MAX_BLOCK_TXS };

/// The last committed height.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tip {
    /// The height; 0 before the first block.
    pub height: Height,
    /// The state's root after it.
    pub app_hash: Digest,
    /// Its header's time, milliseconds since the Unix epoch; 0 before the first block.
    pub time_ms: u64,
}

/// A block whose state is durable.
#[derive(Clone, Debug)]
pub struct CommittedBlock {
    /// The header's hash.
    pub hash: Digest,
    /// The block.
    pub block: Block,
    /// Who decided it.
    pub certificate: CommitCertificate,
    /// One receipt a transaction, in the block's order.
    pub receipts: Vec<Receipt>,
    /// Events outside transactions.
    pub events: Vec<Event>,
    /// The validator set from two heights later on, if it changes.
    pub validator_updates: Option<ValidatorSet>,
    /// The state's root after the block.
    pub app_hash: Digest,
}

impl CommittedBlock {
    /// The height.
    pub fn height(&self) -> Height {
        self.block.header.height
    }
}

/// Drives one application over one store. It has no clock: times come from its caller.
pub struct Driver<A> {
    app: Shared<A>,
    blocks: BlockStore,
    tip: Tip,
}

/// The context in which a block is judged. Who signed the parent and who signed twice is known to each node
/// differently and is not part of the block, so a deterministic execution must not see it: both are empty, and
/// evidence reaches the ledger in transactions.
fn context(height: Height, time_ms: u64, hash: Digest, proposer: NodeId) -> BlockContext {
    BlockContext { height, time_ms, hash, proposer, signers: Vec::new(), evidence: Vec::new() }
}

impl<A: Application + Sync> Driver<A> {
    /// Writes the genesis state if the store is empty, and finds the tip.
    ///
    /// # Errors
    /// If the store holds another chain, cannot be read, or has blocks beyond its state.
    pub fn open(app: Shared<A>, store: Arc<dyn Store>) -> Result<Self, EngineError> {
        app.write().init_genesis()?;
        let blocks = BlockStore::new(store);
        let (height, app_hash) = app.last_committed()?;
        if let Some(latest) = blocks.latest()?.filter(|latest| *latest > height) {
            let reason = format!("block {latest} is stored, the state ends at {height}");
            return Err(StateError::Corrupt { what: "column blocks".into(), reason }.into());
        }
        let time_ms = blocks.block(height)?.map_or(0, |block| block.header.time_ms);
        Ok(Self { app, blocks, tip: Tip { height, app_hash, time_ms } })
    }

    /// The last committed height.
    pub fn tip(&self) -> Tip {
        self.tip
    }

    /// The application.
    pub fn app(&self) -> &Shared<A> {
        &self.app
    }

    /// The decided blocks.
    pub fn blocks(&self) -> &BlockStore {
        &self.blocks
    }

    /// Builds the next block from candidates and executes it. If the result is not valid, an empty block is built
    /// instead: a candidate that misleads the application must not stop the chain.
    ///
    /// # Errors
    /// If the state cannot be read, or even the empty block is invalid.
    pub fn propose(
        &self,
        proposer: NodeId,
        now_ms: u64,
        candidates: Vec<Vec<u8>>,
    ) -> Result<(Block, Executed), EngineError> {
        let height = self.tip.height.next();
        let time_ms = now_ms.max(self.tip.time_ms.saturating_add(1));
        let mut candidates = candidates;
        loop {
            let empty = candidates.is_empty();
            let block = {
                let app = self.app.read();
                let snapshot = app.snapshot()?;
                let context = context(height, time_ms, Digest::ZERO, proposer);
                app.propose(snapshot.as_ref(), &context, std::mem::take(&mut candidates), BLOCK_LIMITS)?
            };
            match self.execute(&block) {
                Ok(executed) => return Ok((block, executed)),
                Err(InvalidBlock::State(error)) => return Err(error.into()),
                Err(reason) if empty => return Err(EngineError::InvalidProposal { height, reason }),
                Err(reason) => tracing::error!(%height, %reason, "own proposal is invalid; proposing no transactions"),
            }
        }
    }

    /// Executes a block on the state of the tip. Writes nothing.
    ///
    /// # Errors
    /// [`InvalidBlock`].
    pub fn execute(&self, block: &Block) -> Result<Executed, InvalidBlock> {
        let header = &block.header;
        if header.height != self.tip.height.next() {
            return Err(InvalidBlock::Header { height: header.height, field: "height" });
        }
        let encoded = blocks::encode_block(block).len();
        if encoded > blocks::MAX_ENCODED_BLOCK {
            let reason = format!("{encoded} bytes encoded, the limit is {}", blocks::MAX_ENCODED_BLOCK);
            return Err(InvalidBlock::Limits { height: header.height, reason });
        }
        let app = self.app.read();
        let snapshot = app.snapshot()?;
        let context = context(header.height, header.time_ms, header.hash(), header.proposer);
        app.deliver(snapshot.as_ref(), &context, block)
    }

    /// Makes a decided block durable, with its certificate, its results and `extra`, in one write.
    ///
    /// # Errors
    /// If the store fails; then nothing was written.
    pub fn commit(
        &mut self,
        block: Block,
        certificate: CommitCertificate,
        executed: Executed,
        extra: Batch,
    ) -> Result<CommittedBlock, StateError> {
        let mut batch = blocks::rows(&block, &certificate, &executed);
        batch.extend(extra);
        let (receipts, events) = (executed.receipts.clone(), executed.events.clone());
        let validator_updates = executed.validator_updates.clone();
        let app_hash = self.app.write().commit(executed, batch)?;
        self.tip = Tip { height: block.header.height, app_hash, time_ms: block.header.time_ms };
        let hash = block.header.hash();
        Ok(CommittedBlock { hash, block, certificate, receipts, events, validator_updates, app_hash })
    }
}
