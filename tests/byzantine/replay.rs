//! An honest execution of what was finalised, from genesis, in this process: its roots must be those of the chain.

use crate::observe::asked;
use crate::work::Executed;
use eyre::{Result, ensure, eyre};
use parallax_clear::ClearBackend;
use parallax_consensus_app::block::Header;
use parallax_genesis::GenesisDocument;
use parallax_memory_store::MemoryStore;
use parallax_primitives::{Digest, Epoch, Height, KeyId, ParaTimeId, Round};
use parallax_rounds::{BlockKind, ParaTimeBlock};
use parallax_rpc::{Client, ConsensusApiClient, ParaTimeApiClient};
use parallax_runtime::RoundContext;
use parallax_state::{Changes, Database, Namespace};
use std::sync::Arc;

/// The blocks of all rounds that have ended, genesis first.
pub(crate) async fn chain(rpc: &Client, id: ParaTimeId) -> Result<Vec<ParaTimeBlock>> {
    let last = asked(|| async { Ok(ParaTimeApiClient::block(rpc, id, None).await?) }).await?.round;
    let mut blocks = Vec::new();
    for round in 0..=last.0 {
        blocks.push(asked(|| async { Ok(ParaTimeApiClient::block(rpc, id, Some(Round(round))).await?) }).await?);
    }
    Ok(blocks)
}

/// Executes the finalised batches of a ParaTime that has seen no ciphertext, and compares the root after each.
pub(crate) async fn agrees(
    rpc: &Client,
    genesis: &GenesisDocument,
    id: ParaTimeId,
    blocks: &[ParaTimeBlock],
    executed: &Executed,
) -> Result<Round> {
    let parameters = genesis.paratimes.iter().find(|p| p.id == id).map(|p| p.parameters.clone());
    let descriptor = genesis.consensus.paratimes.iter().find(|p| p.id == id);
    let (parameters, descriptor) = parameters.zip(descriptor).ok_or_else(|| eyre!("no ParaTime {id} in genesis"))?;
    let key = KeyId(descriptor.key_set.0);
    let (program, backend) = (parallax_node::paratime::program(&descriptor.kind, id)?, ClearBackend::new(vec![key]));
    let database = Database::open(Arc::new(MemoryStore::new()))?;
    let tree = database.tree(Namespace::ParaTime(id));
    let init = program.init_genesis(&parameters).map_err(|e| eyre!(e))?;
    tree.commit(tree.prepare(0, &init)?, Default::default())?;
    let epoch_blocks = genesis.consensus.parameters.epoch_blocks.max(1);
    let (mut epoch, mut accepted, mut last) = (Epoch(0), Height(0), Round::ZERO);
    let pairs = blocks.iter().zip(blocks.iter().skip(1));
    for (before, block) in pairs {
        let round = block.round;
        let mut changes = Changes::default();
        if block.kind == BlockKind::Normal {
            let header: Header =
                asked(|| async { Ok(ConsensusApiClient::block(rpc, Some(accepted.next())).await?) }).await?.header;
            let context = RoundContext {
                chain: genesis.chain_context()?,
                paratime: id,
                round,
                previous_hash: before.hash(),
                epoch,
                // The scheduler samples candidates with it; no job is among the transactions. The EVM has no use for it.
                beacon: Digest::ZERO,
                height: accepted,
                anchor: header.hash(),
                time_ms: header.time_ms,
                key_ids: vec![key],
                in_messages: vec![],
                message_results: vec![],
            };
            let batch: Vec<Vec<u8>> =
                executed.range((round, 0)..=(round, u32::MAX)).map(|(_, tx)| tx.clone()).collect();
            let view = tree.snapshot(before.round.0)?;
            let execution = program.execute(&view, &context, &batch, &backend, &|| false)?;
            ensure!(execution.io_root() == block.io_root, "round {round}: an honest execution has other results");
            changes = execution.changes;
            accepted = block.height;
        }
        let prepared = tree.prepare(round.0, &changes)?;
        ensure!(
            prepared.root() == block.state_root,
            "round {round}: an honest execution gives {}, consensus finalised {}",
            prepared.root(),
            block.state_root
        );
        tree.commit(prepared, Default::default())?;
        if block.kind == BlockKind::EpochTransition {
            // A committee that lost a member is replaced within its epoch.
            epoch = Epoch(block.height.0 / epoch_blocks);
        }
        last = round;
    }
    Ok(last)
}
