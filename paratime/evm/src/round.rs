//! One round: transactions run through the EVM, their operations become programs, the programs are evaluated.
//!
//! The first two steps take public data alone, and planning a batch is doing just them.

mod actions;
mod evaluate;

use crate::circuit::{self, Inputs, MAX_BATCH_OUTPUT_BLOCKS, Work};
use crate::control::{self, Action, Control};
use crate::envelope::Envelope;
use crate::error::{Code, refuse};
use crate::evm::{self, BlockContext};
use crate::graph::Request;
use crate::input::Input;
use crate::jobs::{self, Incoming};
use crate::journal;
use crate::params::Params;
use crate::paratime::admit;
use crate::receipt::{BLOOM_BYTES, BlockRecord, Failure, Header, StoredLog, StoredReceipt, bloom};
use crate::state;
use crate::transaction::Transaction;
use parallax_primitives::limits::{MAX_BATCH_TXS, MAX_VALUE_BYTES};
use parallax_primitives::message::OutMessage;
use parallax_primitives::{ChainContext, Digest, Epoch, Gas, Height, KeyId, ParaTimeId, Round as Number, encode};
use parallax_runtime::paratime::tx_digest;
use parallax_runtime::{Abort, Evaluator, FheBackend, Program, RoundContext, TxError, TxResult, gas, outbox};
use parallax_state::{Changes, Overlay, StateError, StateView};
use revm::context_interface::result::{EVMError, ExecutionResult, InvalidTransaction, ResultAndState};
use revm::primitives::{B256, Log, U256};
use std::collections::BTreeMap;

/// Opens every transaction. What fails here could have been seen by whoever made the batch, and nobody can be charged
/// for it, so it voids the batch.
pub(crate) fn open_batch(params: &Params, batch: &[Vec<u8>]) -> Result<Vec<Envelope>, Abort> {
    if batch.len() > MAX_BATCH_TXS {
        return Err(Abort::InvalidBatch(format!("{} transactions, the limit is {MAX_BATCH_TXS}", batch.len())));
    }
    let open = |(index, bytes): (usize, &Vec<u8>)| {
        Envelope::open(bytes, params.chain_id).map_err(|e| Abort::InvalidBatch(format!("transaction {index}: {e}")))
    };
    batch.iter().enumerate().map(open).collect()
}

/// A transaction on the state, before it counts.
struct Trial {
    changes: Changes,
    receipt: StoredReceipt,
    work: Option<Work>,
}

/// A round in progress.
pub(crate) struct Round<'a> {
    view: &'a dyn StateView,
    params: &'a Params,
    context: &'a RoundContext,
    /// Whether its batch is one of a developer's actions. Then it makes a block only if it is told to, or if there are
    /// deposits, and those come last: going back to a snapshot cannot lose them.
    acting: bool,
    block: BlockContext,
    /// With what the round did so far; a developer's actions have told the journal.
    state: Overlay<'a>,
    incoming: Incoming,
    results: Vec<TxResult>,
    work: Vec<(u64, Work)>,
    /// The ciphertexts that this round will make: the key of each.
    coming: BTreeMap<B256, KeyId>,
    hashes: Vec<[u8; 32]>,
    logs: Vec<StoredLog>,
    evm_gas: u64,
    fhe_gas: Gas,
    /// Blocks of the ciphertexts that its programs will make.
    blocks: usize,
}

/// What a round came to.
pub(crate) struct Done {
    pub(crate) changes: Changes,
    pub(crate) results: Vec<TxResult>,
    pub(crate) messages: Vec<OutMessage>,
    /// The block that it made of its transactions, if it made one.
    pub(crate) number: Option<u64>,
    pub(crate) included: usize,
    pub(crate) evm_gas: u64,
    pub(crate) fhe_gas: Gas,
}

impl<'a> Round<'a> {
    /// The state before the round, with what the consensus layer has for it. The first of a batch says whether it is one of actions.
    pub(crate) fn new(
        view: &'a dyn StateView,
        params: &'a Params,
        context: &'a RoundContext,
        first: Option<&Envelope>,
    ) -> Result<Self, Abort> {
        let block = BlockContext::after(&state::head(view)?, context, &state::clock(view)?);
        let acting = first.is_some_and(|tx| tx.action().is_some());
        let mut state = Overlay::new(view);
        let incoming = if acting { Incoming::default() } else { jobs::receive(&mut state, params, context)? };
        Ok(Self {
            view,
            params,
            context,
            acting,
            block,
            state,
            incoming,
            results: Vec::new(),
            work: Vec::new(),
            coming: BTreeMap::new(),
            hashes: Vec::new(),
            logs: Vec::new(),
            evm_gas: 0,
            fhe_gas: Gas::ZERO,
            blocks: 0,
        })
    }

    /// FHE gas of everything so far.
    pub(crate) fn fhe_gas(&self) -> Gas {
        self.fhe_gas
    }

    /// Takes a transaction in if the round stays within its limits and the block within its gas; whether it did. Proofs
    /// of inputs count as good. A limit of `max_transaction_fhe_gas` or more has room for the first one, whatever it is.
    pub(crate) fn try_within(&mut self, tx: &Envelope, bytes: &[u8], limit: Gas) -> Result<bool, Abort> {
        if tx.action().is_some() != self.acting {
            return Ok(false);
        }
        if let Some(control) = tx.action() {
            let fits = self.fhe_gas.saturating_add(gas::TRANSACTION) <= limit;
            if fits {
                self.act(control, bytes)?;
            }
            return Ok(fits);
        }
        if self.evm_gas.saturating_add(self.gas_limit(tx)) > self.params.block_gas_limit && self.evm_gas > 0 {
            return Ok(false);
        }
        let trial = self.trial(tx, bytes, None)?;
        let gas = charged(&trial);
        if self.fhe_gas.saturating_add(gas.0) > limit {
            return Ok(false);
        }
        // One alone is below this limit, so none waits for ever.
        if self.blocks.saturating_add(made(&trial)) > MAX_BATCH_OUTPUT_BLOCKS {
            return Ok(false);
        }
        self.take(tx, bytes, trial);
        Ok(true)
    }

    /// Executes a transaction as far as public data go, and checks the proof of an input.
    pub(crate) fn transaction(&mut self, tx: &Envelope, bytes: &[u8], fhe: &dyn FheBackend) -> Result<(), Abort> {
        if let Some(control) = tx.action() {
            return self.act(control, bytes);
        }
        let trial = self.trial(tx, bytes, Some(fhe))?;
        self.take(tx, bytes, trial);
        Ok(())
    }

    /// The most gas that a transaction may use in this round.
    fn gas_limit(&self, tx: &Envelope) -> u64 {
        match tx {
            Envelope::Control(Control { action: Action::Send(sent), .. }) => {
                sent.gas.unwrap_or(self.params.transaction_gas_limit)
            }
            other => other.gas_limit(),
        }
    }

    fn take(&mut self, tx: &Envelope, bytes: &[u8], trial: Result<Trial, TxError>) {
        let gas = charged(&trial);
        self.blocks = self.blocks.saturating_add(made(&trial));
        let outcome = trial.map(|trial| self.include(tx, trial));
        self.fhe_gas = self.fhe_gas.saturating_add(gas.0);
        if let Envelope::Control(control) = tx {
            self.note(control, &outcome);
        }
        self.results.push(TxResult { tx: tx_digest(bytes), gas, outcome });
    }

    /// Makes a transaction part of the block. Returns its hash.
    fn include(&mut self, tx: &Envelope, trial: Trial) -> Vec<u8> {
        let hash = tx.hash();
        let index = u32::try_from(self.hashes.len()).unwrap_or(u32::MAX);
        self.state.apply(trial.changes);
        self.evm_gas = trial.receipt.cumulative_gas_used;
        self.logs.extend(trial.receipt.logs.iter().cloned());
        state::put_receipt(&mut self.state, self.block.number, index, &hash, &trial.receipt);
        self.hashes.push(hash.0);
        if let Some(work) = trial.work {
            // What a list holds may turn out not to be there, so it counts from the next round on.
            if matches!(work.inputs, Inputs::Handles(_)) {
                self.coming.extend(work.outputs.iter().map(|handle| (*handle, work.key)));
            }
            self.work.push((index.into(), work));
        }
        hash.to_vec()
    }

    fn trial(
        &self,
        tx: &Envelope,
        bytes: &[u8],
        fhe: Option<&dyn FheBackend>,
    ) -> Result<Result<Trial, TxError>, Abort> {
        if self.acting {
            return Ok(Err(refuse(Code::WrongBatch, "it came in a batch of developer actions; send it again")));
        }
        let limit = self.gas_limit(tx);
        if self.evm_gas.saturating_add(limit) > self.params.block_gas_limit {
            let text = format!("its gas limit of {limit} exceeds what is left of the block; send it again");
            return Ok(Err(refuse(Code::GasLimitTooHigh, text)));
        }
        match tx {
            Envelope::Ethereum(inner) => self.ethereum(tx, inner, bytes),
            Envelope::Input(input) => self.input(tx, input, fhe),
            Envelope::Control(control) => self.sent(control),
        }
    }

    /// Takes a client's list: its ciphertexts are there from the next round on.
    fn input(
        &self,
        tx: &Envelope,
        input: &Input,
        fhe: Option<&dyn FheBackend>,
    ) -> Result<Result<Trial, TxError>, Abort> {
        let expected = state::account(&self.state, &input.sender)?.unwrap_or_default().nonce;
        if input.nonce > expected {
            let text = format!("nonce {} of {}, expected is {expected}", input.nonce, input.sender);
            return Ok(Err(refuse(Code::NonceAhead, text)));
        }
        if let Err(error) = admit(&self.state, self.params, tx) {
            return Ok(Err(error));
        }
        let (program, gas, evm_gas) = match input_work(self.params, input) {
            Ok(work) => work,
            Err(error) => return Ok(Err(error)),
        };
        let checked = match fhe {
            Some(fhe) => {
                let bound = input.bound(self.context.chain, self.context.paratime);
                fhe.verify_input(input.key, &input.list, input.blocks(), &bound.metadata())
            }
            None => Ok(()),
        };
        let bytes = input.kept();
        if let Err(reason) = checked {
            let text = reason.to_string();
            return self.failed(tx, &bytes, (evm_gas, gas::PROOF), text).map(Ok);
        }
        let mut trial = self.failed(tx, &bytes, (evm_gas, gas.0), String::new())?;
        let handles = input.handles(self.params.chain_id);
        trial.receipt.outcome = Ok(handles.iter().flat_map(|handle| handle.0).collect());
        let mut there = true;
        for handle in &handles {
            there &= state::cipher(&self.state, handle)?.is_some();
        }
        if !there {
            let inputs = Inputs::List(input.list.to_vec());
            trial.work = Some(Work { key: input.key, program, inputs, outputs: handles });
        }
        Ok(Ok(trial))
    }

    fn ethereum(&self, tx: &Envelope, inner: &Transaction, bytes: &[u8]) -> Result<Result<Trial, TxError>, Abort> {
        let done = match evm::execute(&self.state, self.params, &self.block, inner) {
            Ok(done) => done,
            Err(EVMError::Transaction(reason)) => return Ok(Err(refused(inner, &reason))),
            Err(EVMError::Database(fault)) => return Err(fault.0.into()),
            Err(other) => return Err(Abort::Local(format!("the EVM failed: {other}"))),
        };
        self.settle(tx, bytes, done).map(Ok)
    }

    /// What a transaction that ran leaves: its changes and receipt, and the work that its operations ask for.
    fn settle(&self, tx: &Envelope, bytes: &[u8], done: ResultAndState) -> Result<Trial, Abort> {
        let ResultAndState { result, state } = done;
        let request = match &result {
            ExecutionResult::Success { logs, .. } => Request::of(logs),
            _ => Request::default(),
        };
        let work = match self.work_of(&request)? {
            Ok(work) => work,
            Err(reason) => return self.failed(tx, bytes, (tx.gas_limit(), 0), reason),
        };
        let receipt = self.receipt(tx, bytes, &result, work.as_ref());
        let size = encode(&receipt).len();
        if size > MAX_VALUE_BYTES.saturating_sub(64) {
            return self.failed(
                tx,
                bytes,
                (tx.gas_limit(), 0),
                format!("its receipt has {size} bytes, {MAX_VALUE_BYTES} is the most"),
            );
        }
        let mut layer = Overlay::new(&self.state);
        state::commit(&mut layer, state)?;
        Ok(Trial { changes: layer.into_changes(), receipt, work })
    }

    /// The program for a request, within the limit of a transaction; or why there is none.
    fn work_of(&self, request: &Request) -> Result<Result<Option<Work>, String>, Abort> {
        work_of(self.params, self.context, request, |handle| match self.coming.get(handle) {
            Some(key) => Ok(Some(*key)),
            None => Ok(state::cipher(&self.state, handle)?.map(|cipher| cipher.key_id)),
        })
    }

    /// A transaction whose operations cannot be evaluated: nothing of it stays but its nonce and its fee, for this much
    /// EVM gas.
    fn failed(
        &self,
        tx: &Envelope,
        bytes: &[u8],
        (evm_gas, fhe_gas): (u64, u64),
        reason: String,
    ) -> Result<Trial, Abort> {
        let mut layer = Overlay::new(&self.state);
        let (from, price) = (tx.sender(), tx.effective_price(self.params.base_fee));
        charge(&mut layer, self.params, &from, (price, evm_gas))?;
        let receipt = StoredReceipt {
            transaction: bytes.to_vec(),
            from: from.into_array(),
            gas_used: evm_gas,
            cumulative_gas_used: self.evm_gas.saturating_add(evm_gas),
            effective_gas_price: price,
            fhe_gas,
            contract: None,
            outcome: Err(Failure::Fhe(reason)),
            logs: Vec::new(),
        };
        Ok(Trial { changes: layer.into_changes(), receipt, work: None })
    }

    fn receipt(&self, tx: &Envelope, bytes: &[u8], result: &ExecutionResult, work: Option<&Work>) -> StoredReceipt {
        let gas_used = result.tx_gas_used();
        let contract = match result {
            ExecutionResult::Success { output, .. } => output.address().map(|a| a.into_array()),
            _ => None,
        };
        let (outcome, logs) = match result {
            ExecutionResult::Success { output, logs, .. } => {
                // A creation returns the code, which stands under its hash already.
                let returned = if contract.is_some() { Vec::new() } else { output.data().to_vec() };
                (Ok(returned), logs.iter().map(StoredLog::from).collect())
            }
            ExecutionResult::Revert { output, .. } => (Err(Failure::Revert(output.to_vec())), Vec::new()),
            ExecutionResult::Halt { reason, .. } => (Err(Failure::Halt(format!("{reason:?}"))), Vec::new()),
        };
        StoredReceipt {
            transaction: bytes.to_vec(),
            from: tx.sender().into_array(),
            gas_used,
            cumulative_gas_used: self.evm_gas.saturating_add(gas_used),
            effective_gas_price: tx.effective_price(self.params.base_fee),
            fhe_gas: work.map_or(0, |work| circuit::gas(&work.program).0),
            contract,
            outcome,
            logs,
        }
    }

    /// Evaluates what the transactions asked for, in their order, and writes ciphertexts and the block. While a
    /// snapshot is live, what all of that replaces is kept.
    pub(crate) fn finish(mut self, evaluator: &mut Evaluator<'_>) -> Result<Done, Abort> {
        self.evaluate(evaluator)?;
        let included = self.hashes.len();
        let number = if self.acting { self.close_actions()? } else { Some(self.close_block()?) };
        let mut state = if self.acting {
            self.state
        } else {
            let mut journalled = Overlay::new(self.view);
            journal::apply(&mut journalled, self.state.into_changes())?;
            journalled
        };
        journal::trim(&mut state)?;
        state::put_round(&mut state, self.context.round.0);
        let messages = outbox::send(&mut state, self.context.round)?;
        Ok(Done {
            messages,
            changes: state.into_changes(),
            results: self.results,
            number,
            included,
            evm_gas: self.evm_gas,
            fhe_gas: self.fhe_gas,
        })
    }

    /// Writes the block of the round's transactions. Returns its number.
    fn close_block(&mut self) -> Result<u64, Abort> {
        let (hashes, bloom) = (std::mem::take(&mut self.hashes), bloom(&self.logs));
        let header = self.header(self.params, &self.block, (self.evm_gas, bloom))?;
        let record = std::mem::take(&mut self.incoming).recorded(BlockRecord::new(header, hashes));
        state::put_block(&mut self.state, &record);
        jobs::queue(&mut self.state, self.params, &self.logs, self.context.round)?;
        tick(&mut self.state, self.block.timestamp, self.context)?;
        Ok(self.block.number)
    }

    /// The header of a block of this round.
    fn header(
        &self,
        params: &Params,
        block: &BlockContext,
        (gas_used, bloom): (u64, [u8; BLOOM_BYTES]),
    ) -> Result<Header, Abort> {
        Ok(Header {
            number: block.number,
            round: self.context.round.0,
            base: state::round(self.view)?,
            parent: block.parent.0,
            paratime_parent: self.context.previous_hash.0,
            timestamp: block.timestamp,
            randomness: block.randomness.0,
            beneficiary: params.fee_recipient.0,
            gas_limit: params.block_gas_limit,
            gas_used,
            base_fee: params.base_fee,
            transactions: [0; 32],
            bloom,
        })
    }
}

/// The program of an input with its FHE gas, less what any transaction costs, and its EVM gas, if it is within the limits.
pub(crate) fn input_work(params: &Params, input: &Input) -> Result<(Program, Gas, u64), TxError> {
    let program = input.program().map_err(|e| refuse(Code::Malformed, format!("its types make no program: {e}")))?;
    let gas = input.fhe_gas(&program);
    let (evm_gas, most) = (input.gas(gas), params.max_program_gas());
    if gas > most {
        let text = format!("its list takes {gas} of FHE gas, one may take {most}; make it shorter");
        return Err(refuse(Code::GasLimitTooHigh, text));
    }
    if evm_gas > input.gas_limit {
        let text = format!("it uses {evm_gas} gas, its limit is {}; raise it", input.gas_limit);
        return Err(refuse(Code::IntrinsicGas, text));
    }
    Ok((program, gas, evm_gas))
}

/// Takes nonce and fee of a transaction that leaves nothing else.
pub(crate) fn charge(
    state: &mut Overlay<'_>,
    params: &Params,
    from: &revm::primitives::Address,
    (price, evm_gas): (u128, u64),
) -> Result<(), StateError> {
    let mut sender = state::account(state, from)?.unwrap_or_default();
    sender.nonce = sender.nonce.saturating_add(1);
    sender.balance = sender.balance.saturating_sub(U256::from(price).saturating_mul(U256::from(evm_gas)));
    state::put_account(state, from, &sender);
    let tip = price.saturating_sub(params.base_fee.into());
    let reward = U256::from(tip).saturating_mul(U256::from(evm_gas));
    if reward.is_zero() {
        return Ok(());
    }
    let recipient = crate::params::ours(&params.fee_recipient);
    let mut account = state::account(state, &recipient)?.unwrap_or_default();
    account.balance = account.balance.saturating_add(reward);
    state::put_account(state, &recipient, &account);
    Ok(())
}

/// Lets time go on after a block at this time, if a developer changed anything about it.
fn tick(state: &mut Overlay<'_>, time: u64, context: &RoundContext) -> Result<(), StateError> {
    let before = state::clock(state)?;
    let mut clock = before.clone();
    clock.ticked(time, context.time_ms / 1_000);
    if clock != before {
        clock.seen = context.time_ms / 1_000;
        state::put_clock(state, &clock);
    }
    Ok(())
}

/// The FHE gas of a transaction: what every one costs, and its program. Never more than `max_transaction_fhe_gas`, and
/// genesis makes a batch as large as that: a transaction that fits no batch would hold up all behind it for good.
fn charged(trial: &Result<Trial, TxError>) -> Gas {
    match trial {
        Ok(trial) => Gas(gas::TRANSACTION.saturating_add(trial.receipt.fhe_gas)),
        Err(_) => Gas::ZERO,
    }
}

/// How many blocks the ciphertexts have that a transaction makes.
fn made(trial: &Result<Trial, TxError>) -> usize {
    trial.as_ref().ok().and_then(|trial| trial.work.as_ref()).map_or(0, |work| circuit::output_blocks(&work.program))
}

/// The program for what a transaction asks for, within the limit of a transaction; or why there is none. `key_of` tells
/// under which key a handle's ciphertext is, if there is one.
fn work_of(
    params: &Params,
    context: &RoundContext,
    request: &Request,
    key_of: impl Fn(&B256) -> Result<Option<KeyId>, StateError>,
) -> Result<Result<Option<Work>, String>, Abort> {
    let mut known: BTreeMap<B256, KeyId> = BTreeMap::new();
    for handle in
        request.operations.iter().flat_map(|o| o.reads().chain([o.result])).chain(request.kept.iter().copied())
    {
        if !known.contains_key(&handle) {
            known.extend(key_of(&handle)?.map(|key| (handle, key)));
        }
    }
    let results: Vec<B256> = request.kept.iter().copied().filter(|handle| !known.contains_key(handle)).collect();
    let (operations, outside) = request.needed(&results, |handle| known.contains_key(handle));
    if let Some(handle) = outside.iter().find(|handle| !known.contains_key(*handle)) {
        return Ok(Err(format!("handle {handle} names no ciphertext on this chain")));
    }
    if results.is_empty() {
        return Ok(Ok(None));
    }
    let Some(current) = context.key_ids.first().copied() else {
        return Err(Abort::Local("the round has no key".to_owned()));
    };
    let keys: Vec<KeyId> = outside.iter().filter_map(|handle| known.get(handle).copied()).collect();
    let key = keys.first().copied().unwrap_or(current);
    if keys.iter().any(|other| *other != key) {
        return Ok(Err("its ciphertexts are under different keys".to_owned()));
    }
    let work = match circuit::work(key, &operations, outside, results, context) {
        Ok(work) => work,
        Err(error) => return Ok(Err(format!("its operations make no program: {error}"))),
    };
    let (gas, most) = (circuit::gas(&work.program), params.max_program_gas());
    if gas > most {
        return Ok(Err(format!("its operations take {gas} of FHE gas, those of a transaction may take {most}")));
    }
    Ok(Ok(Some(work)))
}

/// Why a transaction that makes these logs would fail after it has run: its operations are too much for one, or are on
/// what is not there. `None` if it would not.
pub(crate) fn infeasible(view: &dyn StateView, params: &Params, logs: &[Log]) -> Result<Option<String>, Abort> {
    // The draws of random values, and the key of a program without inputs, change nothing of what it costs.
    let nothing = Digest([0; 32]);
    let context = RoundContext {
        chain: ChainContext(nothing),
        paratime: ParaTimeId([0; 32]),
        round: Number(0),
        previous_hash: nothing,
        epoch: Epoch(0),
        beacon: nothing,
        height: Height(0),
        anchor: nothing,
        time_ms: 0,
        key_ids: vec![KeyId([0; 32])],
        in_messages: Vec::new(),
        message_results: Vec::new(),
    };
    let key_of = |handle: &B256| Ok(state::cipher(view, handle)?.map(|cipher| cipher.key_id));
    Ok(work_of(params, &context, &Request::of(logs), key_of)?.err())
}

/// Why the EVM does not take a transaction, with our code.
pub(crate) fn refused(tx: &Transaction, reason: &InvalidTransaction) -> TxError {
    let code = match reason {
        InvalidTransaction::NonceTooLow { .. } => Code::NonceUsed,
        InvalidTransaction::NonceTooHigh { .. } => Code::NonceAhead,
        InvalidTransaction::GasPriceLessThanBasefee | InvalidTransaction::PriorityFeeGreaterThanMaxFee => {
            Code::FeeTooLow
        }
        InvalidTransaction::LackOfFundForMaxFee { .. } | InvalidTransaction::OverflowPaymentInTransaction => {
            Code::Unaffordable
        }
        InvalidTransaction::CallerGasLimitMoreThanBlock | InvalidTransaction::TxGasLimitGreaterThanCap { .. } => {
            Code::GasLimitTooHigh
        }
        InvalidTransaction::CallGasCostMoreThanGasLimit { .. }
        | InvalidTransaction::GasFloorMoreThanGasLimit { .. } => Code::IntrinsicGas,
        _ => Code::Invalid,
    };
    refuse(code, format!("transaction {} of {}: {reason}", tx.hash, tx.sender))
}
