//! The scheduling ParaTime as the runtime sees it: admission, planning, execution.

use crate::audit::state as audit;
use crate::calls::{Apply, Done, Halt, Rules, collect, credit};
use crate::costs::{Programs, fee};
use crate::decisions;
use crate::error::{Code, refuse};
use crate::keys;
use crate::messages;
use crate::model::Replication;
use crate::params::{self, Params};
use crate::policy::ClusterPolicy;
use crate::query;
use crate::records::{self, Meta, get, put, put_account};
use crate::tx::{MAX_NONCES_AHEAD, SignedTx};
use parallax_primitives::limits::MAX_BATCH_TXS;
use parallax_primitives::{Address, Amount, ChainContext, Epoch, Event, Gas, ParaTimeId};
use parallax_runtime::paratime::tx_digest;
use parallax_runtime::{
    Abort, Evaluator, Execution, FheBackend, ParaTime, Plan, RoundContext, TxError, TxInfo, TxResult, gas, outbox,
};
use parallax_state::{Changes, Overlay, StateView};

/// The name of this kind of ParaTime.
pub const KIND: &str = "scheduler";

/// The scheduling ParaTime. It holds no state but the circuits it has built.
#[derive(Debug)]
pub struct Scheduler {
    id: ParaTimeId,
    programs: Programs,
}

impl Scheduler {
    /// The ParaTime with this id.
    pub fn new(id: ParaTimeId) -> Self {
        Self { id, programs: Programs::new() }
    }

    /// Its id.
    pub fn id(&self) -> ParaTimeId {
        self.id
    }

    fn admit(
        &self,
        view: &dyn StateView,
        chain: &ChainContext,
        bytes: &[u8],
        fhe: Option<&dyn FheBackend>,
    ) -> Result<TxInfo, Halt> {
        let tx = SignedTx::open(bytes, chain, &self.id)?;
        let (params, policy, sender) = (records::params(view)?, ClusterPolicy::of(view)?, tx.sender());
        let meta: Option<Meta> = get(view, &keys::meta())?;
        // The last executed round may lie an epoch back, so the list may be bound to one that this state has not seen:
        // execution checks exactly, this bound only keeps the pool from what is far off.
        let epochs = meta.as_ref().map(|m| (m.epoch.saturating_sub(1), m.epoch.next().next()));
        let rules = Rules {
            params: &params,
            policy: &policy,
            programs: &self.programs,
            chain: *chain,
            paratime: self.id,
            epochs,
            keys: meta.as_ref().map(|m| m.key_ids.as_slice()),
            fhe,
        };
        if tx.body.call.is_free() && !params.key_managers.parties.iter().any(|party| Address::of(party) == sender) {
            // It costs nothing, so anyone else could fill the pool with copies of one answer.
            let text = format!("{sender} is not a key manager of this ParaTime; they deliver their answers themselves");
            return Err(refuse(Code::NotAKeyManager, text).into());
        }
        let account = records::account(view, &sender)?;
        let (nonce, expected) = (tx.body.nonce, account.nonce);
        if nonce < expected {
            let text = format!("nonce {nonce} of {sender} is used, the next one is {expected}");
            return Err(refuse(Code::NonceUsed, text).into());
        }
        if nonce > expected.saturating_add(MAX_NONCES_AHEAD) {
            let text =
                format!("nonce {nonce} of {sender} is too far ahead of {expected}; send the ones before it first");
            return Err(refuse(Code::NonceAhead, text).into());
        }
        let gas = self.check_payment(&rules, account.balance, &tx)?.0;
        rules.check_call(view, &sender, &tx.body.call)?;
        if let Some(list) = rules.list_of(&tx.body.call) {
            rules.check_list(&sender, list)?;
        }
        // What costs nothing cannot buy a place either.
        let priority = if tx.body.call.is_free() { 0 } else { tx.body.gas_price.0 };
        Ok(TxInfo { sender, nonce: nonce.0, next: expected.0, priority, gas })
    }

    /// The most gas that a transaction uses and the fee for that, if its sender can pay both and what it locks.
    fn check_payment(&self, rules: &Rules<'_>, balance: Amount, tx: &SignedTx) -> Result<(Gas, Amount), Halt> {
        let gas = self.programs.call(rules.params, &tx.body.call)?;
        if tx.body.call.is_free() {
            return Ok((gas, Amount::ZERO));
        }
        let (price, least) = (tx.body.gas_price, rules.params.min_gas_price);
        if price < least {
            let text = format!("it offers {price} per unit of FHE gas, the least is {least}; raise the gas price");
            return Err(refuse(Code::GasPriceTooLow, text).into());
        }
        let locked = rules.locked(tx)?;
        match fee(gas, price).and_then(|fee| fee.checked_add(locked.0).map(|sum| (fee, sum))) {
            Some((fee, sum)) if sum <= balance => Ok((gas, fee)),
            Some((fee, _)) => {
                let text = format!("a fee of {fee} and {locked} to lock exceed the balance {balance}; add funds");
                Err(refuse(Code::Unaffordable, text).into())
            }
            None => Err(refuse(Code::Unaffordable, "the fee overflows; lower the gas price").into()),
        }
    }

    /// Opens every transaction. What fails here could have been seen by whoever made the batch, and nobody can be
    /// charged for it, so it voids the batch.
    fn open_batch(&self, context: &RoundContext, batch: &[Vec<u8>]) -> Result<Vec<SignedTx>, Abort> {
        if batch.len() > MAX_BATCH_TXS {
            return Err(Abort::InvalidBatch(format!("{} transactions, the limit is {MAX_BATCH_TXS}", batch.len())));
        }
        let open = |(index, bytes): (usize, &Vec<u8>)| {
            SignedTx::open(bytes, &context.chain, &self.id)
                .map_err(|e| Abort::InvalidBatch(format!("transaction {index}: {e}")))
        };
        batch.iter().enumerate().map(open).collect()
    }
}

/// One round's work in progress.
pub(crate) struct RoundRun<'a, 'e> {
    scheduler: &'a Scheduler,
    pub(crate) rules: Rules<'a>,
    pub(crate) context: &'a RoundContext,
    pub(crate) evaluator: Evaluator<'e>,
    pub(crate) events: Vec<Event>,
    pub(crate) gas: Gas,
}

impl RoundRun<'_, '_> {
    /// Executes one transaction. A refusal before the fee is taken leaves no mark; after it, only fee and nonce.
    fn transaction(
        &mut self,
        state: &mut Overlay<'_>,
        index: u64,
        tx: &SignedTx,
    ) -> Result<(Gas, Result<Vec<u8>, TxError>), Abort> {
        let sender = tx.sender();
        let mut account = records::account(state, &sender)?;
        if tx.body.nonce != account.nonce {
            let code = if tx.body.nonce < account.nonce { Code::NonceUsed } else { Code::NonceAhead };
            let text = format!("nonce {} of {sender}, expected is {}", tx.body.nonce, account.nonce);
            return Ok((Gas::ZERO, Err(refuse(code, text))));
        }
        let (most, paid) = match self.scheduler.check_payment(&self.rules, account.balance, tx) {
            Ok(payment) => payment,
            Err(Halt::Refused(error)) => return Ok((Gas::ZERO, Err(error))),
            Err(Halt::Abort(abort)) => return Err(abort),
        };
        if tx.body.call.is_free() {
            // Free, so a failure leaves no mark at all: no fee pays for one.
            return match self.attempt(state, index, tx) {
                Ok(output) => {
                    account = records::account(state, &sender)?;
                    account.nonce = account.nonce.next();
                    put_account(state, &sender, &account);
                    Ok((most, Ok(output)))
                }
                Err((_, Halt::Refused(error))) => Ok((Gas::ZERO, Err(error))),
                Err((_, Halt::Abort(abort))) => Err(abort),
            };
        }
        account.nonce = account.nonce.next();
        account.balance = account.balance.saturating_sub(paid.0);
        put_account(state, &sender, &account);
        let (used, outcome) = match self.attempt(state, index, tx) {
            Ok(output) => (most, Ok(output)),
            Err((used, Halt::Refused(error))) => (used.min(most), Err(error)),
            Err((_, Halt::Abort(abort))) => return Err(abort),
        };
        let cost = fee(used, tx.body.gas_price).unwrap_or(paid).min(paid);
        let back = Amount(paid.0.saturating_sub(cost.0));
        credit(state, &sender, back).and_then(|()| collect(state, cost)).map_err(must_not_fail)?;
        Ok((used, outcome))
    }

    /// Checks and applies a call on a layer of its own; the writes of a refused one are dropped. With a refusal comes
    /// the gas that it took to find out.
    fn attempt(&mut self, state: &mut Overlay<'_>, index: u64, tx: &SignedTx) -> Result<Vec<u8>, (Gas, Halt)> {
        let (sender, mut used) = (tx.sender(), Gas(gas::TRANSACTION));
        self.rules.check_call(state, &sender, &tx.body.call).map_err(|halt| (used, halt))?;
        if let Some(list) = self.rules.list_of(&tx.body.call) {
            used = used.saturating_add(gas::PROOF);
            self.rules.check_list(&sender, list).map_err(|error| (used, error.into()))?;
        }
        let mut layer = Overlay::new(state);
        let mut apply = Apply { rules: &self.rules, context: self.context, evaluator: &mut self.evaluator, index };
        let (output, events): Done = apply.call(&mut layer, tx).map_err(|halt| (used, halt))?;
        let changes = layer.into_changes();
        state.apply(changes);
        self.events.extend(events);
        Ok(output)
    }

    /// The audits come first: they look at the reports as they are at the round's start. Their seeds count from the end
    /// of the numbers, those of transactions and decisions from the beginning.
    fn audits(&mut self, state: &mut Overlay<'_>, drawn: &[Address]) -> Result<(), Abort> {
        for (index, host) in (0u64..).zip(drawn) {
            let (index, with) = (u64::MAX.saturating_sub(index), (self.rules.params, &self.scheduler.programs));
            let (gas, events) =
                audit::audit(state, with, self.context, &mut self.evaluator, index, host).map_err(must_not_fail)?;
            self.gas = self.gas.saturating_add(gas.0);
            self.events.extend(events);
        }
        Ok(())
    }

    fn decisions(
        &mut self,
        state: &mut Overlay<'_>,
        batch: u64,
        selected: &[decisions::Selected],
    ) -> Result<(), Abort> {
        for (index, one) in (0u32..).zip(selected) {
            let seed_index = batch.saturating_add(index.into());
            let programs = &self.scheduler.programs;
            let (gas, events) =
                decisions::decide(state, programs, self.context, &mut self.evaluator, (seed_index, index), one)
                    .map_err(must_not_fail)?;
            self.gas = self.gas.saturating_add(gas.0);
            self.events.extend(events);
        }
        Ok(())
    }
}

/// A refusal where nothing can be refused is a fault of this machine or program.
fn must_not_fail(halt: Halt) -> Abort {
    match halt {
        Halt::Abort(abort) => abort,
        Halt::Refused(error) => Abort::Local(format!("work of the ParaTime itself was refused: {error}")),
    }
}

impl ParaTime for Scheduler {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn init_genesis(&self, parameters: &serde_json::Value) -> Result<Changes, String> {
        let genesis = params::parse(parameters)?;
        let params = &genesis.params;
        for policy in &params.policies {
            let gas = self.programs.decision_gas(params.candidates_per_decision, *policy, Replication::default());
            let (gas, limit) = (gas.map_err(|e| e.to_string())?, params.max_decision_gas);
            if gas > limit {
                return Err(format!(
                    "scheduler parameter max_decision_gas is {limit}, one decision among {} candidates by policy {} \
                     may take {gas}; raise it, or lower candidates_per_decision",
                    params.candidates_per_decision,
                    policy.name()
                ));
            }
        }
        params::init(&genesis)
    }

    fn least_batch_gas(&self, parameters: &serde_json::Value) -> Result<Gas, String> {
        let params = params::parse(parameters)?.params;
        let largest = self.programs.largest_call(&params).map_err(|e| e.to_string())?;
        let audits = self.programs.most_audits(&params).map_err(|e| e.to_string())?;
        let requests = self.programs.requests(messages::MAX_REQUESTS).map_err(|e| e.to_string())?;
        let own = params.max_decision_gas.saturating_add(audits.0).saturating_add(requests.0);
        Ok(own.saturating_add(largest.0))
    }

    fn check_tx(
        &self,
        view: &dyn StateView,
        chain: &ChainContext,
        tx: &[u8],
        fhe: Option<&dyn FheBackend>,
    ) -> Result<TxInfo, TxError> {
        self.admit(view, chain, tx, fhe).map_err(|halt| match halt {
            Halt::Refused(error) => error,
            Halt::Abort(abort) => refuse(Code::Unavailable, format!("{abort}; try again, or ask another node")),
        })
    }

    fn plan(
        &self,
        view: &dyn StateView,
        context: &RoundContext,
        candidates: &[Vec<u8>],
        limit: Gas,
    ) -> Result<Plan, Abort> {
        let params: Params = records::params(view)?;
        let (_, decisions) = decisions::select(view, &self.programs, &params, context)?;
        let drawn = audit::select(view, &params, &self.programs, context)?;
        let audits = audit::planned_gas(&self.programs, &params, &drawn)?;
        let requests = messages::consumed(context).iter().filter(|(_, request)| request.is_some()).count();
        let requests = self.programs.requests(requests)?;
        let mut gas = decisions.saturating_add(audits.0).saturating_add(requests.0);
        let mut take = 0usize;
        for bytes in candidates.iter().take(MAX_BATCH_TXS) {
            let Ok(tx) = SignedTx::open(bytes, &context.chain, &self.id) else { break };
            let with = gas.checked_add(self.programs.call(&params, &tx.body.call)?.0).filter(|sum| *sum <= limit);
            let Some(sum) = with else { break };
            (gas, take) = (sum, take.saturating_add(1));
        }
        Ok(Plan { gas, take })
    }

    fn has_work(&self, view: &dyn StateView) -> Result<bool, Abort> {
        let meta: Option<Meta> = get(view, &keys::meta())?;
        let next = meta.map_or(parallax_primitives::Round(1), |m| m.round.next());
        Ok(outbox::has_work(view, next)? || decisions::has_work(view, &records::params(view)?, next)?)
    }

    fn execute(
        &self,
        view: &dyn StateView,
        context: &RoundContext,
        batch: &[Vec<u8>],
        fhe: &dyn FheBackend,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Execution, Abort> {
        let txs = self.open_batch(context, batch)?;
        let (params, policy) = (records::params(view)?, ClusterPolicy::of(view)?);
        let (selected, _) = decisions::select(view, &self.programs, &params, context)?;
        let drawn = audit::select(view, &params, &self.programs, context)?;
        let mut state = Overlay::new(view);
        let mut events = messages::told(&mut state, context).map_err(must_not_fail)?;
        let incoming = messages::consumed(context);
        let consumed = incoming.len();
        decisions::keep_anchors(&mut state, context)?;
        let rules = Rules {
            params: &params,
            policy: &policy,
            programs: &self.programs,
            chain: context.chain,
            paratime: self.id,
            epochs: Some((Epoch(context.epoch.0.saturating_sub(1)), context.epoch)),
            keys: Some(&context.key_ids),
            fhe: Some(fhe),
        };
        let evaluator = Evaluator::new(fhe, context, cancelled);
        let mut run = RoundRun { scheduler: self, rules, context, evaluator, events: Vec::new(), gas: Gas::ZERO };
        run.audits(&mut state, &drawn)?;
        run.messages(&mut state, incoming).map_err(must_not_fail)?;
        let mut results = Vec::with_capacity(txs.len());
        for ((index, tx), bytes) in (0u64..).zip(&txs).zip(batch) {
            if cancelled() {
                return Err(Abort::Cancelled);
            }
            let (gas, outcome) = run.transaction(&mut state, index, tx)?;
            run.gas = run.gas.saturating_add(gas.0);
            results.push(TxResult { tx: tx_digest(bytes), gas, outcome });
        }
        run.decisions(&mut state, txs.len() as u64, &selected)?;
        let meta = Meta { round: context.round, epoch: context.epoch, key_ids: context.key_ids.clone() };
        put(&mut state, keys::meta(), &meta);
        let messages = outbox::send(&mut state, context.round)?;
        events.append(&mut run.events);
        let changes = state.into_changes();
        let (trace, pbs) = run.evaluator.finish(&changes);
        Ok(Execution {
            changes,
            results,
            events,
            messages,
            in_messages_count: u32::try_from(consumed).unwrap_or(u32::MAX),
            trace,
            gas: run.gas,
            pbs,
        })
    }

    fn query(
        &self,
        view: &dyn StateView,
        method: &str,
        parameters: &serde_json::Value,
    ) -> Result<serde_json::Value, String> {
        query::answer(&self.programs, view, method, parameters)
    }
}
