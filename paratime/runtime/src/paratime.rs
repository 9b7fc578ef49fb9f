//! The trait that every ParaTime implements, and what it is given and returns.

use crate::backend::{FheBackend, FheError, ReRandomization};
use crate::trace::Trace;
use borsh::{BorshDeserialize, BorshSerialize};
use parallax_primitives::message::{InMessage, MessageResult, OutMessage};
use parallax_primitives::{
    Address, ChainContext, Digest, Domain, Epoch, Event, Gas, Height, KeyId, ParaTimeId, Round, merkle,
};
use parallax_state::{Changes, StateError, StateView};
use serde::{Deserialize, Serialize};

/// What is fixed before a round is executed: the same on every replica, taken from finalised consensus state.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct RoundContext {
    /// The chain.
    pub chain: ChainContext,
    /// The ParaTime.
    pub paratime: ParaTimeId,
    /// The round being executed.
    pub round: Round,
    /// Hash of the block before it.
    pub previous_hash: Digest,
    /// The epoch whose committee executes it.
    pub epoch: Epoch,
    /// The epoch's beacon entropy.
    pub beacon: Digest,
    /// The consensus height at which the last accepted round was finalised.
    pub height: Height,
    /// Hash of the consensus header at `height + 1`: the first block after everything in the state was included. It
    /// could not be known when those transactions were made, and a failed round in between does not change it.
    pub anchor: Digest,
    /// That header's time, in milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// The key set in force and, during an overlap, the one before it.
    pub key_ids: Vec<KeyId>,
    /// Messages from the consensus layer to be consumed in this round, oldest first.
    pub in_messages: Vec<InMessage>,
    /// What became of the messages that the last accepted round sent, in their order.
    pub message_results: Vec<MessageResult>,
}

impl RoundContext {
    /// The seed for the re-randomisation of one program's inputs: bound to the chain, ParaTime, key, round, previous
    /// block, the position in the batch, the program and what goes in.
    pub fn rerandomization(&self, key: KeyId, index: u64, program: Digest, inputs: &[Digest]) -> ReRandomization {
        let seed = Digest::of_value(
            Domain::ReRandomization,
            &(self.chain, self.paratime, key, self.round, self.previous_hash, index, program, inputs),
        );
        ReRandomization { seed }
    }
}

/// A transaction as admission sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxInfo {
    /// Who pays.
    pub sender: Address,
    /// Position among the sender's transactions.
    pub nonce: u64,
    /// The sender's next position in the state that it was checked against: what lies between is still missing.
    pub next: u64,
    /// What it offers per unit of FHE gas; higher goes first.
    pub priority: u128,
    /// The most FHE gas that it can use in the round that includes it.
    pub gas: Gas,
}

/// Why a transaction is refused. Codes are stable and reach receipts.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize, thiserror::Error)]
#[error("{module}/{code}: {message}")]
pub struct TxError {
    /// The module that refused it.
    pub module: String,
    /// The module's code for the reason.
    pub code: u32,
    /// What was wrong, where, and what to do.
    pub message: String,
}

/// The result of one transaction of a batch; part of the io root.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct TxResult {
    /// Digest of the transaction's bytes (`Domain::ParaTimeTransaction`).
    pub tx: Digest,
    /// FHE gas charged.
    pub gas: Gas,
    /// What it returned, in the ParaTime's own encoding, or why it failed.
    pub outcome: Result<Vec<u8>, TxError>,
}

/// What a round will do, known before it is executed and from public data alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// FHE gas of the batch and of the work that the ParaTime has queued for this round.
    pub gas: Gas,
    /// How many transactions of the candidate list fit; the batch is that prefix.
    pub take: usize,
}

/// The outcome of executing a batch.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Execution {
    /// Writes to the ParaTime's state.
    pub changes: Changes,
    /// One result a transaction, in batch order.
    pub results: Vec<TxResult>,
    /// Events, in order.
    pub events: Vec<Event>,
    /// Messages to the consensus layer.
    pub messages: Vec<OutMessage>,
    /// How many incoming messages were consumed.
    pub in_messages_count: u32,
    /// The operations executed.
    pub trace: Trace,
    /// FHE gas spent.
    pub gas: Gas,
    /// Programmable bootstraps spent.
    pub pbs: u64,
}

impl Execution {
    /// The root over what went in and what came out: transactions, results and events.
    pub fn io_root(&self) -> Digest {
        let results: Vec<Digest> = self.results.iter().map(|r| Digest::of_value(Domain::IoRoot, r)).collect();
        let events: Vec<Digest> = self.events.iter().map(|e| Digest::of_value(Domain::IoRoot, e)).collect();
        Digest::of_value(Domain::IoRoot, &(merkle::root(&results), merkle::root(&events)))
    }
}

/// Why a batch could not be executed. The node votes `Failure`, or stays silent where the fault is its own.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Abort {
    /// The batch breaks a rule that its scheduler could have checked; every honest replica says so.
    #[error("the batch is not valid: {0}")]
    InvalidBatch(String),
    /// The work is no longer wanted.
    #[error("execution was cancelled")]
    Cancelled,
    /// This machine failed: state missing, library fault.
    #[error("this node could not execute the batch: {0}")]
    Local(String),
}

impl From<StateError> for Abort {
    fn from(e: StateError) -> Self {
        Self::Local(e.to_string())
    }
}

impl From<FheError> for Abort {
    fn from(e: FheError) -> Self {
        match e {
            FheError::Cancelled => Self::Cancelled,
            other => Self::Local(other.to_string()),
        }
    }
}

/// A replicated FHE application. Everything is a function of a state view and a context.
pub trait ParaTime: Send + Sync {
    /// Its name in genesis and in RPC namespaces, for example `scheduler`.
    fn kind(&self) -> &'static str;

    /// The state of round 0 from the genesis document's parameters for it.
    ///
    /// # Errors
    /// A text that names the parameter at fault.
    fn init_genesis(&self, parameters: &serde_json::Value) -> Result<Changes, String>;

    /// The least `max_batch_gas` of its committee with which it can work: the most FHE gas that a round may take with
    /// one transaction, queued work included. Genesis refuses less. 0: any will do.
    ///
    /// # Errors
    /// As for [`ParaTime::init_genesis`].
    fn least_batch_gas(&self, _parameters: &serde_json::Value) -> Result<Gas, String> {
        Ok(Gas::ZERO)
    }

    /// Whether a transaction may enter the pool: size, form, signature, chain, nonce not used, fee affordable.
    /// Encrypted inputs are checked by `fhe` where it is given.
    ///
    /// # Errors
    /// [`TxError`] with a stable code.
    fn check_tx(
        &self,
        view: &dyn StateView,
        chain: &ChainContext,
        tx: &[u8],
        fhe: Option<&dyn FheBackend>,
    ) -> Result<TxInfo, TxError>;

    /// How much of `candidates` fits the batch limit, and the FHE gas of the round, queued work included.
    ///
    /// # Errors
    /// [`Abort`] if the state cannot be read.
    fn plan(
        &self,
        view: &dyn StateView,
        context: &RoundContext,
        candidates: &[Vec<u8>],
        limit: Gas,
    ) -> Result<Plan, Abort>;

    /// Whether the state holds work to do in a round even without new transactions.
    ///
    /// # Errors
    /// [`Abort`] if the state cannot be read.
    fn has_work(&self, view: &dyn StateView) -> Result<bool, Abort>;

    /// Executes a batch.
    ///
    /// # Errors
    /// [`Abort`].
    fn execute(
        &self,
        view: &dyn StateView,
        context: &RoundContext,
        batch: &[Vec<u8>],
        fhe: &dyn FheBackend,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Execution, Abort>;

    /// A read-only question by name, answered in JSON. The RPC exposes it under the ParaTime's namespace.
    ///
    /// # Errors
    /// A text for the asker.
    fn query(
        &self,
        view: &dyn StateView,
        method: &str,
        parameters: &serde_json::Value,
    ) -> Result<serde_json::Value, String>;
}

/// The digest of a ParaTime transaction's bytes.
pub fn tx_digest(tx: &[u8]) -> Digest {
    Digest::of_bytes(Domain::ParaTimeTransaction, tx)
}
