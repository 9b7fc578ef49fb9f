//! The chain as this node has it: state, blocks, and the proofs made from both.

use parallax_consensus_app::block::Header;
use parallax_consensus_app::ledger::Ledger;
use parallax_consensus_app::light::{ParaTimeProof, ProofBundle, ProofBundleV1, ProofSet, ProofSetV1};
use parallax_consensus_app::{keys, rounds};
use parallax_consensus_engine::{BlockStore, Shared};
use parallax_genesis::GenesisDocument;
use parallax_primitives::{ChainContext, Height, ParaTimeId, Round};
use parallax_rpc::LightBlock;
use parallax_state::{Database, Namespace, Snapshot, StateError};
use std::sync::Arc;

/// What the services of a node share.
#[derive(Clone)]
pub struct Chain {
    /// The genesis document.
    pub genesis: Arc<GenesisDocument>,
    /// Its context.
    pub context: ChainContext,
    /// The database of all trees.
    pub database: Database,
    /// The ledger; the engine is its only writer.
    pub ledger: Shared<Ledger>,
    /// Decided blocks.
    pub blocks: BlockStore,
}

/// Why a proof cannot be made here.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// No header proves that height or round yet.
    #[error("{0} is not proven by a header yet; ask again after the next block")]
    NotYet(String),
    /// It is pruned, or was never there.
    #[error("{0} is not kept by this node; ask one that keeps more, or leave the height or round out")]
    NotKept(String),
    /// The state or the block store failed.
    #[error(transparent)]
    State(#[from] StateError),
}

impl Chain {
    /// The state after the last committed block.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn view(&self) -> Result<Snapshot, StateError> {
        self.database.tree(Namespace::Consensus).latest_snapshot()
    }

    /// The last committed height.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn height(&self) -> Result<Height, StateError> {
        Ok(self.ledger.last_committed()?.0)
    }

    /// A decided header.
    ///
    /// # Errors
    /// If the block store fails.
    pub fn header(&self, height: Height) -> Result<Option<Header>, StateError> {
        Ok(self.blocks.block(height)?.map(|block| block.header))
    }

    /// A header with its certificate and validators.
    ///
    /// # Errors
    /// If the block store fails or the validators of the height are not kept.
    pub fn light_block(&self, height: Height) -> Result<Option<LightBlock>, StateError> {
        let (Some(header), Some(certificate)) = (self.header(height)?, self.blocks.certificate(height)?) else {
            return Ok(None);
        };
        Ok(Some(LightBlock { header, certificate, validators: self.ledger.validators(height)? }))
    }

    /// A value of the consensus state after `height` and the header of `height + 1` that proves it. Without a height:
    /// the newest state that a header proves.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn consensus_proof(&self, key: &[u8], height: Option<Height>) -> Result<ProofBundle, ProofError> {
        let (height, light) = self.proving(height)?;
        let consensus = self.ledger.query(Some(height), key).map_err(|e| not_kept(e, format!("height {height}")))?;
        let LightBlock { header, certificate, validators } = light;
        Ok(ProofBundle::V1(ProofBundleV1 { header, certificate, validators, consensus, paratime: None }))
    }

    /// A value of a ParaTime's state after a round. Without a round: the newest one that a header proves.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn paratime_proof(&self, id: &ParaTimeId, key: &[u8], round: Option<Round>) -> Result<ProofBundle, ProofError> {
        let (height, light) = self.proving(None)?;
        let view = self.database.tree(Namespace::Consensus).snapshot(height.0)?;
        let tree = self.database.tree(Namespace::ParaTime(*id));
        let newest = rounds::latest(&view, id)?.ok_or_else(|| ProofError::NotKept(format!("ParaTime {id}")))?;
        // The tree of a follower may be a moment behind the ledger.
        let held = tree.latest()?.map_or(Round::ZERO, |(version, _)| Round(version));
        let round = round.unwrap_or_else(|| newest.round.min(held));
        if round > newest.round || round > held {
            return Err(ProofError::NotYet(format!("round {round}")));
        }
        let block = rounds::block(&view, id, round)?
            .ok_or_else(|| ProofError::NotKept(format!("the block of round {round}")))?;
        let proof = tree.prove(round.0, key).map_err(|e| not_kept(e, format!("round {round}")))?;
        let consensus = self.ledger.query(Some(height), &keys::paratime_block(id, round))?;
        let LightBlock { header, certificate, validators } = light;
        let paratime = Some(ParaTimeProof { block, proof });
        Ok(ProofBundle::V1(ProofBundleV1 { header, certificate, validators, consensus, paratime }))
    }

    /// Several values of the newest state of a ParaTime that this node holds, with their proofs.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn paratime_proofs(&self, id: &ParaTimeId, keys: &[Vec<u8>]) -> Result<ProofSet, ProofError> {
        let Some((first, others)) = keys.split_first() else {
            return Err(ProofError::NotKept("a value without a key".to_owned()));
        };
        let bundle = self.paratime_proof(id, first, None)?;
        let ProofBundle::V1(ProofBundleV1 { paratime, .. }) = &bundle;
        let round = paratime.as_ref().map_or(Round::ZERO, |inner| inner.block.round);
        let tree = self.database.tree(Namespace::ParaTime(*id));
        let prove = |key: &Vec<u8>| tree.prove(round.0, key).map_err(|e| not_kept(e, format!("round {round}")));
        let more = others.iter().map(prove).collect::<Result<_, _>>()?;
        Ok(ProofSet::V1(ProofSetV1 { bundle, more }))
    }

    /// The height whose state is to be proven and the light block that proves it.
    fn proving(&self, height: Option<Height>) -> Result<(Height, LightBlock), ProofError> {
        let tip = self.height()?;
        let height = height.unwrap_or_else(|| tip.saturating_sub(1));
        if height >= tip {
            return Err(ProofError::NotYet(format!("height {height}")));
        }
        let light = self
            .light_block(height.next())
            .map_err(|e| not_kept(e, format!("height {height}")))?
            .ok_or_else(|| ProofError::NotKept(format!("height {height}")))?;
        Ok((height, light))
    }
}

fn not_kept(error: StateError, what: String) -> ProofError {
    match error {
        StateError::UnknownVersion { .. } => ProofError::NotKept(what),
        other => ProofError::State(other),
    }
}
