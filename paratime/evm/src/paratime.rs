//! The EVM ParaTime as the runtime sees it: admission, planning, execution.

use crate::control::{self, Action, Control};
use crate::envelope::Envelope;
use crate::error::{Code, refuse};
use crate::evm;
use crate::params::{self, Params};
use crate::query;
use crate::round::{Round, open_batch, refused};
use crate::state;
use parallax_primitives::{Address, ChainContext, Event, Gas, ParaTimeId, Round as Number};
use parallax_runtime::{
    Abort, Evaluator, Execution, FheBackend, ParaTime, Plan, RoundContext, TxError, TxInfo, gas, outbox,
};
use parallax_state::{Changes, StateError, StateView};
use revm::primitives::U256;

/// The name of this kind of ParaTime.
pub const KIND: &str = "evm";
/// How far ahead of its account's a nonce may be.
pub const MAX_NONCES_AHEAD: u64 = 64;

/// The EVM ParaTime. It holds no state.
#[derive(Clone, Copy, Debug)]
pub struct EvmParaTime {
    id: ParaTimeId,
}

impl EvmParaTime {
    /// The ParaTime with this id.
    pub fn new(id: ParaTimeId) -> Self {
        Self { id }
    }
}

fn unavailable(error: &StateError) -> TxError {
    refuse(Code::Unavailable, format!("this node cannot read its state: {error}"))
}

/// Checks a transaction against the state; its FHE gas is not known before it is executed, so its limit stands in.
pub(crate) fn admit(view: &dyn StateView, params: &Params, tx: &Envelope) -> Result<TxInfo, TxError> {
    if let Envelope::Control(control) = tx {
        return admit_control(view, params, control);
    }
    check_account(view, params, tx)
}

/// Checks a transaction against its account, and against the rules that hold whatever the state is.
fn check_account(view: &dyn StateView, params: &Params, tx: &Envelope) -> Result<TxInfo, TxError> {
    let (sender, nonce, gas_limit) = (tx.sender(), tx.nonce(), tx.gas_limit());
    let account = state::account(view, &sender).map_err(|e| unavailable(&e))?.unwrap_or_default();
    if nonce < account.nonce {
        let text = format!("nonce {} of {} is used, the next one is {}", nonce, sender, account.nonce);
        return Err(refuse(Code::NonceUsed, text));
    }
    if nonce > account.nonce.saturating_add(MAX_NONCES_AHEAD) {
        let text = format!("nonce {} of {} is too far ahead of {}", nonce, sender, account.nonce);
        return Err(refuse(Code::NonceAhead, format!("{text}; send the ones before it first")));
    }
    if tx.max_fee() < params.base_fee.into() {
        let text = format!("it offers {} wei per unit of gas, the base fee is {}", tx.max_fee(), params.base_fee);
        return Err(refuse(Code::FeeTooLow, text));
    }
    if gas_limit > params.transaction_gas_limit {
        let text = format!("its gas limit is {}, a transaction may use {}", gas_limit, params.transaction_gas_limit);
        return Err(refuse(Code::GasLimitTooHigh, text));
    }
    let most = U256::from(tx.max_fee()).saturating_mul(U256::from(gas_limit)).saturating_add(tx.value());
    if most > account.balance {
        let text = format!("gas and value may take {most} wei, {} has {}; add funds", sender, account.balance);
        return Err(refuse(Code::Unaffordable, text));
    }
    // What execution would refuse without a fee leaves no receipt: it must not wait for a block at all.
    if let Envelope::Ethereum(inner) = tx {
        evm::check(params, inner).map_err(|reason| refused(inner, &reason))?;
    }
    Ok(TxInfo {
        sender: Address(sender.into_array()),
        nonce,
        next: account.nonce,
        priority: tx.effective_price(params.base_fee),
        gas: match tx {
            Envelope::Input(input) => {
                Gas(gas::TRANSACTION.saturating_add(crate::round::input_work(params, input)?.1.0))
            }
            Envelope::Ethereum(_) | Envelope::Control(_) => params.max_transaction_fhe_gas,
        },
    })
}

/// Checks a developer transaction: whether the chain takes any, that it was not executed yet, and that the account in
/// whose name it sends is impersonated. It waits in the pool by itself, behind transactions that came before it.
pub(crate) fn admit_control(view: &dyn StateView, params: &Params, control: &Control) -> Result<TxInfo, TxError> {
    if !params.developer {
        let text = "this chain takes no developer transactions: its genesis parameter developer is false";
        return Err(refuse(Code::NotForDevelopers, text));
    }
    if state::control(view, &control.hash).map_err(|e| unavailable(&e))?.is_some() {
        return Err(refuse(Code::Repeated, format!("developer transaction {} was executed", control.hash)));
    }
    let (mut gas, mut priority) = (Gas(gas::TRANSACTION), 0);
    if let Action::Send(sent) = &control.action {
        let from = revm::primitives::Address::from(sent.from);
        if !state::impersonated(view, &from).map_err(|e| unavailable(&e))? {
            let text = format!("account {from} is not impersonated; call hardhat_impersonateAccount first");
            return Err(refuse(Code::NotImpersonated, text));
        }
        let account = state::account(view, &from).map_err(|e| unavailable(&e))?.unwrap_or_default();
        let whole = sent.complete(account.nonce, account.balance, params.transaction_gas_limit, params.base_fee);
        check_account(view, params, &Envelope::Ethereum(control::sent(&whole, control.hash).1))?;
        (gas, priority) = (params.max_transaction_fhe_gas, params.base_fee.into());
    }
    let sender = Address(revm::primitives::Address::from_word(control.hash).into_array());
    Ok(TxInfo { sender, nonce: 0, next: 0, priority, gas })
}

impl ParaTime for EvmParaTime {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn init_genesis(&self, parameters: &serde_json::Value) -> Result<Changes, String> {
        params::parse(parameters).map(|genesis| params::init(&genesis, self.id))
    }

    fn least_batch_gas(&self, parameters: &serde_json::Value) -> Result<Gas, String> {
        Ok(params::parse(parameters)?.params.max_transaction_fhe_gas)
    }

    fn check_tx(
        &self,
        view: &dyn StateView,
        chain: &ChainContext,
        tx: &[u8],
        fhe: Option<&dyn FheBackend>,
    ) -> Result<TxInfo, TxError> {
        let params = state::params(view).map_err(|e| unavailable(&e))?;
        let tx = Envelope::open(tx, params.chain_id)?;
        let info = admit(view, &params, &tx)?;
        if let (Envelope::Input(input), Some(fhe)) = (&tx, fhe) {
            let metadata = input.bound(*chain, self.id).metadata();
            fhe.verify_input(input.key, &input.list, input.blocks(), &metadata)
                .map_err(|e| refuse(Code::BadInput, e.to_string()))?;
        }
        Ok(info)
    }

    fn plan(
        &self,
        view: &dyn StateView,
        context: &RoundContext,
        candidates: &[Vec<u8>],
        limit: Gas,
    ) -> Result<Plan, Abort> {
        let params = state::params(view)?;
        let txs = open_batch(&params, candidates)?;
        let mut round = Round::new(view, &params, context, txs.first())?;
        let mut take = 0;
        for (tx, bytes) in txs.iter().zip(candidates) {
            if !round.try_within(tx, bytes, limit)? {
                break;
            }
            take += 1;
        }
        Ok(Plan { gas: round.fhe_gas(), take })
    }

    fn has_work(&self, view: &dyn StateView) -> Result<bool, Abort> {
        let next = Number(state::head(view)?.header.round).next();
        Ok(outbox::has_work(view, next)?)
    }

    fn execute(
        &self,
        view: &dyn StateView,
        context: &RoundContext,
        batch: &[Vec<u8>],
        fhe: &dyn FheBackend,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Execution, Abort> {
        let params = state::params(view)?;
        let txs = open_batch(&params, batch)?;
        let mut round = Round::new(view, &params, context, txs.first())?;
        for (tx, bytes) in txs.iter().zip(batch) {
            if cancelled() {
                return Err(Abort::Cancelled);
            }
            round.transaction(tx, bytes, fhe)?;
        }
        let mut evaluator = Evaluator::new(fhe, context, cancelled);
        let done = round.finish(&mut evaluator)?;
        let gas = done.fhe_gas;
        let (trace, pbs) = evaluator.finish(&done.changes);
        let mut events: Vec<Event> = txs
            .iter()
            .filter_map(|tx| tx.action())
            .map(|c| Event::new("evm.action").with("name", c.action.name()))
            .collect();
        events.extend(done.number.map(|number| {
            Event::new("evm.block")
                .with("number", number)
                .with("transactions", done.included)
                .with("gas", done.evm_gas)
                .with("fhe_gas", gas)
        }));
        Ok(Execution {
            changes: done.changes,
            results: done.results,
            events,
            messages: done.messages,
            in_messages_count: u32::try_from(context.in_messages.len()).unwrap_or(u32::MAX),
            trace,
            gas,
            pbs,
        })
    }

    fn query(
        &self,
        view: &dyn StateView,
        method: &str,
        parameters: &serde_json::Value,
    ) -> Result<serde_json::Value, String> {
        query::answer(view, method, parameters)
    }
}
