//! The one trait that every engine drives. Synchronous and pure: execution is a function of a parent snapshot.

use crate::block::{Block, ValidatorSet};
use borsh::{BorshDeserialize, BorshSerialize};
use parallax_primitives::{Digest, Event, Gas, Height, NodeId};
use parallax_state::{Batch, Changes, StateError, StateView};
use serde::{Deserialize, Serialize};

/// What an engine says of a block, in nobody's own types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockContext {
    /// The height.
    pub height: Height,
    /// The block's time, milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// The header's hash; zero while a block is being proposed.
    pub hash: Digest,
    /// Who proposed it.
    pub proposer: NodeId,
    /// Who signed the parent.
    pub signers: Vec<NodeId>,
    /// Double signs that the engine found, to be judged by the application.
    pub evidence: Vec<ConsensusEvidence>,
}

/// A validator that signed two blocks at one height and round.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct ConsensusEvidence {
    /// The validator.
    pub validator: NodeId,
    /// The height.
    pub height: Height,
}

/// Limits for a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockLimits {
    /// Bytes of transactions.
    pub max_bytes: usize,
    /// Number of transactions.
    pub max_txs: usize,
}

/// The result of one transaction. A failing transaction is a result, not an invalid block.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Receipt {
    /// The transaction.
    pub tx: Digest,
    /// Gas used.
    pub gas_used: Gas,
    /// Nothing, or why it failed.
    pub outcome: Result<(), TxError>,
    /// Events, in order.
    pub events: Vec<Event>,
}

/// Why a transaction failed or is not admitted. Module and code are stable.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize, thiserror::Error)]
#[error("{module}/{code}: {message}")]
pub struct TxError {
    /// The module, for example `staking`.
    pub module: String,
    /// Its code.
    pub code: u32,
    /// What was wrong and what to do.
    pub message: String,
}

/// What admission learns of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Its digest.
    pub digest: Digest,
    /// Who sent it.
    pub sender: parallax_primitives::Address,
    /// Its nonce; at least the account's, so a pool can hold a short run of them.
    pub nonce: parallax_primitives::Nonce,
    /// The fee offered.
    pub fee: parallax_primitives::Amount,
    /// The gas limit.
    pub gas_limit: Gas,
}

/// Why a block is not valid. Validators vote against it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBlock {
    /// A header field is not what the parent and the state say.
    #[error("block {height}: {field} is wrong")]
    Header {
        /// The height.
        height: Height,
        /// The field.
        field: &'static str,
    },
    /// A transaction cannot stand in a block: undecodable, unsigned, wrong nonce, unaffordable.
    #[error("block {height}: transaction {index} cannot stand in a block: {reason}")]
    Transaction {
        /// The height.
        height: Height,
        /// Which.
        index: usize,
        /// Why.
        reason: String,
    },
    /// Too many or too large transactions.
    #[error("block {height} exceeds the limits: {reason}")]
    Limits {
        /// The height.
        height: Height,
        /// Why.
        reason: String,
    },
    /// The state could not be read: a local fault.
    #[error(transparent)]
    State(#[from] StateError),
}

/// The outcome of delivering a block; nothing is written yet.
#[derive(Clone, Debug)]
pub struct Executed {
    /// The height.
    pub height: Height,
    /// Writes to the consensus state.
    pub changes: Changes,
    /// One receipt a transaction.
    pub receipts: Vec<Receipt>,
    /// Events outside transactions: deadlines, epochs, elections.
    pub events: Vec<Event>,
    /// The validator set from `height + 2` on, if it changes.
    pub validator_updates: Option<ValidatorSet>,
    /// State root after the block.
    pub app_hash: Digest,
}

/// The ledger as engines see it.
pub trait Application: Send {
    /// Writes the genesis state (height 0) if the store is empty. Returns its root.
    ///
    /// # Errors
    /// If the store holds another chain, or cannot be written.
    fn init_genesis(&mut self) -> Result<Digest, StateError>;

    /// The last committed height and its state root.
    ///
    /// # Errors
    /// If the state cannot be read.
    fn last_committed(&self) -> Result<(Height, Digest), StateError>;

    /// A view of the last committed state.
    ///
    /// # Errors
    /// If the state cannot be read.
    fn snapshot(&self) -> Result<Box<dyn StateView + Send + Sync>, StateError>;

    /// The validators of a height: known for all heights up to the last committed + 2.
    ///
    /// # Errors
    /// If the state cannot be read.
    fn validators(&self, height: Height) -> Result<ValidatorSet, StateError>;

    /// Whether a transaction may enter the pool. Only what could pay is admitted.
    ///
    /// # Errors
    /// [`TxError`].
    fn check(&self, snapshot: &dyn StateView, tx: &[u8]) -> Result<Checked, TxError>;

    /// Chooses and orders transactions for a block and fills its header.
    ///
    /// # Errors
    /// If the state cannot be read.
    fn propose(
        &self,
        snapshot: &dyn StateView,
        context: &BlockContext,
        candidates: Vec<Vec<u8>>,
        limits: BlockLimits,
    ) -> Result<Block, StateError>;

    /// Executes a block on its parent's state. Writes nothing.
    ///
    /// # Errors
    /// [`InvalidBlock`].
    fn deliver(
        &self,
        snapshot: &dyn StateView,
        context: &BlockContext,
        block: &Block,
    ) -> Result<Executed, InvalidBlock>;

    /// Makes an executed block durable, together with `extra` (the engine's block and certificate), in one write.
    ///
    /// # Errors
    /// If the store fails; then nothing was written.
    fn commit(&mut self, executed: Executed, extra: Batch) -> Result<Digest, StateError>;

    /// A value with its proof against the state after `height` (`None`: the last committed).
    ///
    /// # Errors
    /// If the height is not kept.
    fn query(&self, height: Option<Height>, key: &[u8]) -> Result<parallax_state::StateProof, StateError>;

    /// Heights for which state snapshots can be given to a joining node.
    ///
    /// # Errors
    /// If the state cannot be read.
    fn list_snapshots(&self) -> Result<Vec<Height>, StateError>;

    /// One chunk of a snapshot, the values in key order from `after` on; empty when complete.
    ///
    /// # Errors
    /// If the height is not kept.
    fn load_snapshot_chunk(&self, height: Height, after: Option<Vec<u8>>) -> Result<Vec<u8>, StateError>;

    /// Restores an empty store from chunks; `app_hash` is the trusted root against which the result is verified.
    ///
    /// # Errors
    /// If a chunk is malformed or the root differs; then nothing was written.
    fn restore_snapshot(&mut self, height: Height, app_hash: Digest, chunks: &[Vec<u8>]) -> Result<(), StateError>;
}
