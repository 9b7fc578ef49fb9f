//! The checkers' own replica: it executes every accepted batch, in order, from public data alone.

use crate::parties::Parties;
use crate::world::World;
use parallax_clear::ClearBackend;
use parallax_memory_store::MemoryStore;
use parallax_primitives::{Address, Digest, Height, PublicKey, Round};
use parallax_rounds::{BlockKind, Outcome, ParaTimeBlock};
use parallax_runtime::{ParaTime as _, Replay, RoundContext};
use parallax_scheduler::Scheduler;
use parallax_state::{Database, StateError};
use parallax_worker::{ResultStore, steps};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What the replica makes of a finalised round.
pub(crate) enum Verdict {
    Same,
    Differs(String),
}

pub(crate) struct Oracle {
    results: ResultStore,
    runtime: Scheduler,
    fhe: ClearBackend,
    accepted: Height,
    executed: BTreeSet<Digest>,
    /// Whether it left the chain, after a wrong result was accepted.
    lost: bool,
}

impl Oracle {
    pub(crate) fn new(parties: &Parties, store: MemoryStore) -> Result<Self, StateError> {
        Ok(Self {
            results: ResultStore::new(Database::open(Arc::new(store))?, parties.paratime),
            runtime: Scheduler::new(parties.paratime),
            fhe: ClearBackend::new(vec![parties.key]),
            accepted: Height::ZERO,
            executed: BTreeSet::new(),
            lost: false,
        })
    }

    /// Whether a transaction is in an accepted batch.
    pub(crate) fn executed(&self, digest: &Digest) -> bool {
        self.executed.contains(digest)
    }

    /// The nonce of an account.
    pub(crate) fn nonce(&self, key: &PublicKey) -> u64 {
        let Ok(view) = self.results.tree().latest_snapshot() else { return 0 };
        let asked = serde_json::json!({ "address": Address::of(key) });
        let account = self.runtime.query(&view, "account", &asked).ok();
        account.and_then(|a| a.get("nonce").and_then(serde_json::Value::as_u64)).unwrap_or(0)
    }
}

impl World {
    /// Follows the chain by one round.
    pub(crate) fn follow(&mut self, block: &ParaTimeBlock) -> Result<Verdict, String> {
        if self.checks.oracle.lost {
            return Ok(Verdict::Same);
        }
        let verdict = match block.kind {
            BlockKind::Normal => self.execute_accepted(block)?,
            BlockKind::RoundFailed | BlockKind::EpochTransition | BlockKind::Suspended => {
                match self.checks.oracle.results.commit_held(block) {
                    Ok(_) => Verdict::Same,
                    Err(error) => Verdict::Differs(error.to_string()),
                }
            }
        };
        if matches!(verdict, Verdict::Differs(_)) {
            self.checks.oracle.lost = true;
        }
        Ok(verdict)
    }

    fn execute_accepted(&mut self, block: &ParaTimeBlock) -> Result<Verdict, String> {
        let text = |e: StateError| e.to_string();
        let Some(signed) = self.checks.proposals.get(&block.proposal) else {
            return Ok(Verdict::Differs("nobody signed its proposal".to_owned()));
        };
        let proposal = &signed.proposal;
        let batch: Option<Vec<Vec<u8>>> =
            proposal.transactions.iter().map(|d| self.checks.transactions.get(d).cloned()).collect();
        let Some(batch) = batch else {
            return Ok(Verdict::Differs("it holds a transaction that no client made".to_owned()));
        };
        let Some(context) = self.context_of(block) else {
            return Ok(Verdict::Differs("it was accepted before its anchor was known".to_owned()));
        };
        let oracle = &mut self.checks.oracle;
        oracle.results.put_batch(block.round, &batch).map_err(text)?;
        let max_gas = self.scenario.rounds.max_batch_gas;
        let (results, runtime, replay) = (&oracle.results, &oracle.runtime, Replay::record(&oracle.fhe));
        let done = steps::execute(results, runtime, &replay, proposal, &context, max_gas, &|| false);
        let replayed = replay.finish();
        let (outcome, execution) = match done {
            Ok(done) => done,
            Err(abort) => return Ok(Verdict::Differs(format!("an honest replica does not execute it: {abort}"))),
        };
        let Outcome::Success { io_root, state_root, trace_root, messages_hash, .. } = outcome else {
            return Ok(Verdict::Differs("an honest replica fails".to_owned()));
        };
        let honest = [io_root, state_root, trace_root, messages_hash];
        let accepted = [block.io_root, block.state_root, block.trace_root, block.messages_hash];
        if let Some(which) = honest.iter().zip(&accepted).position(|(a, b)| a != b) {
            let names = ["io root", "state root", "trace root", "messages"];
            return Ok(Verdict::Differs(format!("its {} is not the honest one", names[which])));
        }
        oracle.results.put_execution(block.round, block.proposal, &execution, &replayed).map_err(text)?;
        if !oracle.results.commit_held(block).map_err(text)? {
            return Ok(Verdict::Differs("its writes do not give its root".to_owned()));
        }
        for digest in &proposal.transactions {
            oracle.executed.insert(*digest);
        }
        oracle.accepted = block.height;
        Ok(Verdict::Same)
    }

    /// What the round was to be executed with, from the chain's blocks.
    fn context_of(&self, block: &ParaTimeBlock) -> Option<RoundContext> {
        let view = self.chain.view(Height(block.height.0.checked_sub(1)?))?;
        let accepted = self.checks.oracle.accepted;
        let anchor = self.chain.anchor(accepted.next())?;
        Some(RoundContext {
            chain: self.parties.chain,
            paratime: self.parties.paratime,
            round: block.round,
            previous_hash: self.chain.ended.get(&Round(block.round.0.checked_sub(1)?))?.hash(),
            epoch: view.rounds.epoch(),
            beacon: self.chain.beacon_of(view.rounds.epoch())?,
            height: accepted,
            anchor: anchor.hash,
            time_ms: anchor.time_ms,
            key_ids: vec![self.parties.key],
            in_messages: view.rounds.offered_in_messages().to_vec(),
            message_results: view.message_results.clone(),
        })
    }
}
