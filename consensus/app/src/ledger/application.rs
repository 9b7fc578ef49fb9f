//! The [`Application`] that engines drive.

use super::{Ledger, last_header, parameters};
use crate::application::{Application, BlockContext, BlockLimits, Checked, Executed, InvalidBlock, Receipt, TxError};
use crate::block::{Block, ValidatorSet};
use crate::errors::CallError;
use crate::execute::Envelope;
use crate::genesis::ConsensusParameters;
use crate::invariants::check_invariants;
use parallax_primitives::{Digest, Height, limits};
use parallax_state::{Batch, Overlay, StateError, StateProof, StateView};

/// Rows that pruning removes after each block, at most: a bound on the time that a commit takes.
const PRUNE_STEPS: usize = 512;

impl Ledger {
    /// Executes the transactions of a block.
    fn execute_transactions(
        &self,
        overlay: &mut Overlay<'_>,
        block: &Block,
        parameters: &ConsensusParameters,
    ) -> Result<Vec<Receipt>, InvalidBlock> {
        let height = block.header.height;
        let mut receipts = Vec::with_capacity(block.transactions.len());
        for (index, bytes) in block.transactions.iter().enumerate() {
            let receipt = Envelope::open(bytes, self.chain(), parameters)
                .map_err(CallError::from)
                .and_then(|envelope| envelope.execute(overlay, self.chain(), height, parameters));
            receipts.push(match receipt {
                Ok(receipt) => receipt,
                Err(CallError::State(error)) => return Err(error.into()),
                Err(CallError::Refused(error)) => {
                    return Err(InvalidBlock::Transaction { height, index, reason: error.to_string() });
                }
            });
        }
        Ok(receipts)
    }
}

/// Holds a block to the limits of every proposal.
fn check_limits(block: &Block) -> Result<(), InvalidBlock> {
    let height = block.header.height;
    let (count, most) = (block.transactions.len(), limits::MAX_BLOCK_TXS);
    if count > most {
        let reason = format!("{count} transactions, at most {most}");
        return Err(InvalidBlock::Limits { height, reason });
    }
    let bytes = block.transactions.iter().fold(0usize, |sum, tx| sum.saturating_add(tx.len()));
    if bytes > limits::MAX_BLOCK_BYTES {
        let reason = format!("{bytes} bytes of transactions, at most {}", limits::MAX_BLOCK_BYTES);
        return Err(InvalidBlock::Limits { height, reason });
    }
    Ok(())
}

impl Application for Ledger {
    /// Returns the root of the first state of this store: that of genesis, or of the snapshot from which it began.
    fn init_genesis(&mut self) -> Result<Digest, StateError> {
        if let Some(root) = self.first_root()? {
            return Ok(root);
        }
        let changes = self.genesis_changes()?;
        let prepared = self.tree.prepare(Height::ZERO.0, &changes)?;
        let root = prepared.root();
        let mut extra = Batch::default();
        self.begin_history(&mut extra, root, Height(1), &changes)?;
        self.tree.commit(prepared, extra)
    }

    fn last_committed(&self) -> Result<(Height, Digest), StateError> {
        let (version, root) = self.tree.latest()?.ok_or_else(|| StateError::UnknownVersion {
            namespace: self.tree.namespace().to_string(),
            version: Height::ZERO.0,
        })?;
        Ok((Height(version), root))
    }

    fn snapshot(&self) -> Result<Box<dyn StateView + Send + Sync>, StateError> {
        Ok(Box::new(self.tree.latest_snapshot()?))
    }

    fn validators(&self, height: Height) -> Result<ValidatorSet, StateError> {
        self.validators_of(height)
    }

    fn check(&self, snapshot: &dyn StateView, tx: &[u8]) -> Result<Checked, TxError> {
        let judge = || -> Result<Checked, CallError> {
            let parameters = parameters(snapshot)?;
            let envelope = Envelope::open(tx, self.chain(), &parameters)?;
            let height = last_header(snapshot)?.map_or(Height::ZERO, |header| header.height);
            envelope.admit(snapshot, self.chain(), height, &parameters)
        };
        judge().map_err(TxError::from)
    }

    fn propose(
        &self,
        snapshot: &dyn StateView,
        context: &BlockContext,
        candidates: Vec<Vec<u8>>,
        limits: BlockLimits,
    ) -> Result<Block, StateError> {
        let transactions = self.choose(snapshot, candidates, limits)?;
        let mut header = self.expected_header(snapshot, context.proposer, &transactions)?;
        header.time_ms = header.time_ms.max(context.time_ms);
        Ok(Block { header, transactions })
    }

    fn deliver(
        &self,
        snapshot: &dyn StateView,
        context: &BlockContext,
        block: &Block,
    ) -> Result<Executed, InvalidBlock> {
        check_limits(block)?;
        self.check_header(snapshot, context, block)?;
        let height = block.header.height;
        let parameters = parameters(snapshot)?;
        let mut overlay = Overlay::new(snapshot);
        let receipts = self.execute_transactions(&mut overlay, block, &parameters)?;
        let (events, validator_updates) = self.end_block(&mut overlay, &block.header, &parameters)?;
        if self.checked {
            check_invariants(&overlay).map_err(|error| StateError::Corrupt {
                what: format!("the ledger after block {height}"),
                reason: error.to_string(),
            })?;
        }
        let changes = overlay.into_changes();
        let app_hash = self.tree.prepare(height.0, &changes)?.root();
        Ok(Executed { height, changes, receipts, events, validator_updates, app_hash })
    }

    fn commit(&mut self, executed: Executed, extra: Batch) -> Result<Digest, StateError> {
        let Executed { height, changes, validator_updates, app_hash, .. } = executed;
        let prepared = self.tree.prepare(height.0, &changes)?;
        if prepared.root() != app_hash {
            return Err(StateError::Corrupt {
                what: format!("the outcome of block {height}"),
                reason: format!("its writes have root {}, {app_hash} is stated", prepared.root()),
            });
        }
        let mut extra = extra;
        if let Some(set) = &validator_updates {
            Self::record_validators(&mut extra, height.saturating_add(2), set);
        }
        let root = self.tree.commit(prepared, extra)?;
        if let Some(versions) = self.keep_versions {
            self.tree.prune(versions, PRUNE_STEPS)?;
        }
        Ok(root)
    }

    fn query(&self, height: Option<Height>, key: &[u8]) -> Result<StateProof, StateError> {
        match height {
            Some(height) => self.tree.prove(height.0, key),
            None => self.tree.latest_snapshot()?.prove(key),
        }
    }

    fn list_snapshots(&self) -> Result<Vec<Height>, StateError> {
        self.snapshot_heights()
    }

    fn load_snapshot_chunk(&self, height: Height, after: Option<Vec<u8>>) -> Result<Vec<u8>, StateError> {
        self.snapshot_chunk(height, after.as_deref())
    }

    fn restore_snapshot(&mut self, height: Height, app_hash: Digest, chunks: &[Vec<u8>]) -> Result<(), StateError> {
        self.restore(height, app_hash, chunks)
    }
}
