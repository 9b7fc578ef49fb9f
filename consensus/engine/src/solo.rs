//! One process that decides alone: each [`Solo::step`] is a block. The certificate is a real one, signed with the
//! validators' keys, so everything behind the engine works as on a network.

use crate::driver::{BLOCK_LIMITS, CommittedBlock, Driver, Tip};
use crate::{BlockStore, EngineError, Mempool, Shared};
use parallax_consensus_app::{Application, Block, CommitCertificate, PrecommitMessage};
use parallax_primitives::{ChainContext, Digest, Height, NodeId, SecretKey};
use parallax_state::{Batch, Store};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Decides alone with the keys of validators that hold more than two thirds of the power; often there is one.
pub struct Solo<A> {
    driver: Driver<A>,
    chain: ChainContext,
    keys: BTreeMap<NodeId, SecretKey>,
    mempool: Arc<dyn Mempool>,
}

impl<A: Application + Sync> Solo<A> {
    /// Opens the store, with the genesis state if it is empty.
    ///
    /// # Errors
    /// If the store holds another chain or cannot be read.
    pub fn open(
        app: Shared<A>,
        store: Arc<dyn Store>,
        chain: ChainContext,
        keys: Vec<SecretKey>,
        mempool: Arc<dyn Mempool>,
    ) -> Result<Self, EngineError> {
        let keys = keys.into_iter().map(|key| (key.public(), key)).collect();
        Ok(Self { driver: Driver::open(app, store)?, chain, keys, mempool })
    }

    /// The last committed height.
    pub fn tip(&self) -> Tip {
        self.driver.tip()
    }

    /// The decided blocks.
    pub fn blocks(&self) -> &BlockStore {
        self.driver.blocks()
    }

    /// Proposes, executes and commits the next block at this time, milliseconds since the Unix epoch; a time that is
    /// not after the parent's is moved to one millisecond after it. Proposers take turns.
    ///
    /// # Errors
    /// If the state fails, or the keys do not hold enough power.
    pub fn step(&mut self, time_ms: u64) -> Result<CommittedBlock, EngineError> {
        let height = self.driver.tip().height.next();
        let validators = self.driver.app().validators(height)?;
        let ours: Vec<NodeId> =
            validators.validators.iter().map(|v| v.node).filter(|node| self.keys.contains_key(node)).collect();
        let turn = usize::try_from(height.0).unwrap_or(usize::MAX).checked_rem(ours.len());
        let Some(proposer) = turn.and_then(|at| ours.get(at)) else {
            return Err(EngineError::NoQuorum { height, power: 0, total: validators.total_power() });
        };
        let (block, executed) = self.driver.propose(*proposer, time_ms, self.mempool.candidates(BLOCK_LIMITS))?;
        let certificate = self.certify(height, block.header.hash())?;
        self.finish(block, certificate, executed)
    }

    /// Commits a block that was decided elsewhere. The certificate is stored, not judged.
    ///
    /// # Errors
    /// [`EngineError::InvalidDecision`] if the block does not stand on this state, or if the state fails.
    pub fn replay(&mut self, block: Block, certificate: CommitCertificate) -> Result<CommittedBlock, EngineError> {
        let height = block.header.height;
        let executed = self.driver.execute(&block).map_err(|reason| EngineError::InvalidDecision { height, reason })?;
        self.finish(block, certificate, executed)
    }

    fn finish(
        &mut self,
        block: Block,
        certificate: CommitCertificate,
        executed: parallax_consensus_app::Executed,
    ) -> Result<CommittedBlock, EngineError> {
        let committed = self.driver.commit(block, certificate, executed, Batch::default())?;
        self.mempool.committed(committed.height(), &committed.block.transactions);
        Ok(committed)
    }

    /// Signs a header hash with every key that is a validator's at that height.
    fn certify(&self, height: Height, value: Digest) -> Result<CommitCertificate, EngineError> {
        let validators = self.driver.app().validators(height)?;
        let (mut signatures, mut power) = (Vec::new(), 0u64);
        for validator in &validators.validators {
            let Some(key) = self.keys.get(&validator.node) else { continue };
            let message =
                PrecommitMessage { chain: self.chain, height, round: 0, value: Some(value), validator: validator.node };
            signatures.push((validator.node, key.sign_raw(&message.signing_bytes().0)));
            power = power.saturating_add(validator.power);
        }
        let total = validators.total_power();
        if u128::from(power) * 3 <= u128::from(total) * 2 {
            return Err(EngineError::NoQuorum { height, power, total });
        }
        Ok(CommitCertificate { height, round: 0, value, signatures })
    }
}
