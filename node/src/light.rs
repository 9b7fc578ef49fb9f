//! The root of trust that a genesis document gives.

use parallax_consensus_app::ledger::Ledger;
use parallax_consensus_app::light::LightClient;
use parallax_consensus_app::{Application as _, ValidatorSet};
use parallax_genesis::GenesisDocument;
use parallax_memory_store::MemoryStore;
use parallax_primitives::Height;
use parallax_state::Database;
use std::sync::Arc;

/// The validators of the first height: those that the genesis state elects.
///
/// # Errors
/// If the document cannot be run.
pub fn genesis_validators(genesis: &GenesisDocument) -> eyre::Result<ValidatorSet> {
    let database = Database::open(Arc::new(MemoryStore::new()))?;
    let mut ledger = Ledger::new(database, genesis.consensus.clone(), genesis.chain_context()?)?;
    ledger.init_genesis()?;
    Ok(ledger.validators(Height(1))?)
}

/// A light client that trusts this genesis document and nothing else.
///
/// # Errors
/// If the document cannot be run.
pub fn from_genesis(genesis: &GenesisDocument) -> eyre::Result<LightClient> {
    Ok(LightClient::genesis(genesis.chain_context()?, genesis_validators(genesis)?, genesis.consensus.time_ms)?)
}
