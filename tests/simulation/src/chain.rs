//! The consensus chain: one ledger, the real application, and what nodes may read of it at each height.
//!
//! That all validators agree on the blocks is assumed; it is the engine's business. Transactions come from a pool that
//! admits with the application's own check.

use crate::parties::Parties;
use crate::scenario::Scenario;
use parallax_consensus_app::genesis::ConsensusParameters;
use parallax_consensus_app::tx::tx_digest;
use parallax_consensus_app::{
    Application, Block, BlockContext, BlockLimits, Executed, Ledger, TxError, epoch, ledger, messages, rounds, staking,
};
use parallax_memory_store::MemoryStore;
use parallax_primitives::message::MessageResult;
use parallax_primitives::{Address, Digest, Epoch, Height, Nonce, Round};
use parallax_rounds::{ParaTimeBlock, RoundState};
use parallax_state::{Batch, Database, StateError};
use parallax_worker::{Anchor, RoundView};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const LIMITS: BlockLimits = BlockLimits { max_bytes: 1 << 20, max_txs: 1_000 };
/// Most transactions that wait for a block.
const MAX_WAITING: usize = 2_000;

/// The consensus state after a height, as far as nodes read it.
#[derive(Clone)]
pub(crate) struct View {
    pub(crate) rounds: RoundState,
    pub(crate) message_results: Vec<MessageResult>,
    pub(crate) epoch: Epoch,
    pub(crate) beacon: Digest,
    pub(crate) epoch_end: Height,
}

/// A block with what became of it.
pub(crate) struct Made {
    pub(crate) block: Block,
    pub(crate) executed: Executed,
    pub(crate) digests: BTreeSet<Digest>,
}

/// A transaction that waits for a block.
struct Waiting {
    sender: Address,
    nonce: Nonce,
    bytes: Vec<u8>,
}

pub(crate) struct Chain {
    ledger: Ledger,
    pub(crate) parameters: ConsensusParameters,
    waiting: BTreeMap<Digest, Waiting>,
    made: Vec<Made>,
    anchors: Vec<Anchor>,
    views: Vec<View>,
    /// How each round ended.
    pub(crate) ended: BTreeMap<Round, ParaTimeBlock>,
}

impl Chain {
    pub(crate) fn new(parties: &Parties, scenario: &Scenario, genesis_root: Digest) -> Result<Self, String> {
        let mut ledger = open(parties, scenario, genesis_root)?;
        ledger.init_genesis().map_err(|e| e.to_string())?;
        let view = ledger.snapshot().map_err(|e| e.to_string())?;
        let parameters = ledger::parameters(&*view).map_err(|e| e.to_string())?;
        drop(view);
        let mut chain = Self {
            ledger,
            parameters,
            waiting: BTreeMap::new(),
            made: Vec::new(),
            anchors: Vec::new(),
            views: Vec::new(),
            ended: BTreeMap::new(),
        };
        chain.look(parties).map_err(|e| e.to_string())?;
        Ok(chain)
    }

    pub(crate) fn height(&self) -> Height {
        Height(self.made.len() as u64)
    }

    /// The state after a height.
    pub(crate) fn view(&self, height: Height) -> Option<&View> {
        self.views.get(usize::try_from(height.0).ok()?)
    }

    pub(crate) fn made(&self, height: Height) -> Option<&Made> {
        self.made.get(usize::try_from(height.0.checked_sub(1)?).ok()?)
    }

    pub(crate) fn anchor(&self, height: Height) -> Option<Anchor> {
        self.anchors.get(usize::try_from(height.0.checked_sub(1)?).ok()?).copied()
    }

    /// What a worker reads that has seen the blocks up to `height`.
    pub(crate) fn round_view(&self, parties: &Parties, height: Height) -> Option<RoundView> {
        let view = self.view(height)?;
        let anchored = view.rounds.accepted_height().next();
        Some(RoundView {
            height,
            state: view.rounds.clone(),
            beacon: view.beacon,
            key_ids: vec![parties.key],
            message_results: view.message_results.clone(),
            anchor: if anchored <= height { self.anchor(anchored) } else { None },
        })
    }

    /// The nonce of an account after a height.
    pub(crate) fn nonce(&self, height: Height, address: &Address) -> Result<Nonce, StateError> {
        Ok(staking::account(&self.ledger.view(height)?, address)?.nonce)
    }

    /// Admits a transaction to the pool.
    pub(crate) fn submit(&mut self, bytes: Vec<u8>) -> Result<(), TxError> {
        let digest = tx_digest(&bytes);
        if self.waiting.contains_key(&digest) || self.waiting.len() >= MAX_WAITING {
            return Ok(());
        }
        let unreadable = |e: StateError| TxError { module: "state".to_owned(), code: 0, message: e.to_string() };
        let view = self.ledger.snapshot().map_err(unreadable)?;
        let checked = self.ledger.check(&*view, &bytes)?;
        self.waiting.insert(digest, Waiting { sender: checked.sender, nonce: checked.nonce, bytes });
        Ok(())
    }

    /// Makes the next block of what waits, but for what `held` holds back, and executes it. `parties` names the
    /// proposer in turn.
    pub(crate) fn make(
        &mut self,
        parties: &Parties,
        time_ms: u64,
        mut held: impl FnMut() -> bool,
    ) -> Result<(), String> {
        let height = self.height().next();
        let turn = usize::try_from(height.0).unwrap_or(0) % parties.validators.len().max(1);
        let Some(proposer) = parties.validators.get(turn).map(|v| v.id()) else {
            return Err("there is no validator".to_owned());
        };
        let candidates: Vec<Vec<u8>> = self.waiting.values().filter(|_| !held()).map(|w| w.bytes.clone()).collect();
        let mut context =
            BlockContext { height, time_ms, hash: Digest::ZERO, proposer, signers: vec![], evidence: vec![] };
        let view = self.ledger.snapshot().map_err(|e| e.to_string())?;
        let block = self.ledger.propose(&*view, &context, candidates, LIMITS).map_err(|e| e.to_string())?;
        context.hash = block.header.hash();
        let executed = self.ledger.deliver(&*view, &context, &block).map_err(|e| e.to_string())?;
        drop(view);
        self.ledger.commit(executed.clone(), Batch::default()).map_err(|e| e.to_string())?;
        let digests: BTreeSet<Digest> = block.transactions.iter().map(|tx| tx_digest(tx)).collect();
        self.waiting.retain(|digest, _| !digests.contains(digest));
        self.anchors.push(Anchor { hash: block.header.hash(), time_ms: block.header.time_ms });
        self.made.push(Made { block, executed, digests });
        self.prune_pool().map_err(|e| e.to_string())?;
        self.look(parties).map_err(|e| e.to_string())
    }

    /// Drops transactions whose nonce was used.
    fn prune_pool(&mut self) -> Result<(), StateError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let view = self.ledger.snapshot()?;
        let mut kept = BTreeMap::new();
        for (digest, waiting) in std::mem::take(&mut self.waiting) {
            if staking::account(&*view, &waiting.sender)?.nonce <= waiting.nonce {
                kept.insert(digest, waiting);
            }
        }
        self.waiting = kept;
        Ok(())
    }

    /// Takes note of the state after the newest block.
    fn look(&mut self, parties: &Parties) -> Result<(), StateError> {
        let view = self.ledger.snapshot()?;
        let missing = || StateError::Corrupt { what: "the ledger".to_owned(), reason: "no round machine".to_owned() };
        let machine = rounds::state(&*view, &parties.paratime)?.ok_or_else(missing)?;
        let last = machine.last_block().round;
        let mut round = self.ended.last_key_value().map_or(Round::ZERO, |(round, _)| round.next());
        while round <= last {
            if let Some(block) = rounds::block(&*view, &parties.paratime, round)? {
                self.ended.insert(round, block);
            }
            round = round.next();
        }
        let epoch = epoch::current(&*view)?;
        self.views.push(View {
            rounds: machine,
            message_results: messages::results(&*view, &parties.paratime)?,
            epoch: epoch.epoch,
            beacon: epoch.entropy,
            epoch_end: epoch.next_first_height,
        });
        Ok(())
    }

    /// The entropy of an epoch.
    pub(crate) fn beacon_of(&self, epoch: Epoch) -> Option<Digest> {
        let at = self.views.partition_point(|view| view.epoch < epoch);
        self.views.get(at).filter(|view| view.epoch == epoch).map(|view| view.beacon)
    }

    /// The newest block.
    pub(crate) fn newest(&self) -> Option<&Made> {
        self.made.last()
    }

    /// Executes every block again from genesis, on a store of its own, and compares the roots.
    pub(crate) fn execute_again(
        &self,
        parties: &Parties,
        scenario: &Scenario,
        genesis_root: Digest,
    ) -> Result<(), String> {
        let mut again = open(parties, scenario, genesis_root)?.checked(false);
        again.init_genesis().map_err(|e| e.to_string())?;
        for made in &self.made {
            let header = &made.block.header;
            let context = BlockContext {
                height: header.height,
                time_ms: header.time_ms,
                hash: header.hash(),
                proposer: header.proposer,
                signers: vec![],
                evidence: vec![],
            };
            let view = again.snapshot().map_err(|e| e.to_string())?;
            let executed = again.deliver(&*view, &context, &made.block).map_err(|e| e.to_string())?;
            drop(view);
            if executed.app_hash != made.executed.app_hash {
                return Err(format!("block {} has another root when it is executed again", header.height));
            }
            again.commit(executed, Batch::default()).map_err(|e| e.to_string())?;
        }
        Ok(())
    }
}

fn open(parties: &Parties, scenario: &Scenario, genesis_root: Digest) -> Result<Ledger, String> {
    let database = Database::open(Arc::new(MemoryStore::new())).map_err(|e| e.to_string())?;
    let document = parties.consensus_genesis(scenario, genesis_root);
    Ok(Ledger::new(database, document, parties.chain).map_err(|e| e.to_string())?.checked(true))
}
