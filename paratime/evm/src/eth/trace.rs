//! Geth's tracers: how a transaction ran, opcode by opcode or call by call, and what it found.
//!
//! A transaction is run again, after those before it in its block, on the state that the block was executed on. Host
//! contracts appear as calls; nothing runs inside them. An encrypted input runs no code, so it has no trace.
//!
//! Tracers: the default one (struct logs), `callTracer`, `prestateTracer`, `4byteTracer`, `flatCallTracer` and
//! `noopTracer`. What a trace may hold is limited ([`MAX_VALUES`], [`MAX_RECORDED_BYTES`], [`MAX_TRACE_BYTES`]); past that it is an error,
//! which says how to ask for less.

use super::calls::{call_of, override_block, override_state};
use super::given::{field, parsed};
use super::{Answer, Error, Question};
use crate::evm::{self, BlockContext};
use crate::jobs;
use crate::params::Params;
use crate::receipt::{BlockRecord, Failure};
use crate::round::charge;
use crate::state::{self, Reader};
use crate::transaction::Transaction;
use alloy_rpc_types_trace::geth::GethDebugTracingOptions;
use parallax_state::{Overlay, StateView};
use revm::bytecode::opcode;
use revm::context::{CfgEnv, TxEnv};
use revm::context_interface::result::EVMError;
use revm::inspector::Inspector;
use revm::interpreter::Interpreter;
use revm::interpreter::interpreter_types::Jumps;
use revm::primitives::{Address, B256};
use revm_inspectors::tracing::{DebugInspector, TraceLimitBehavior, TraceLimits, TransactionContext};
use serde_json::{Value as Json, json};

/// Most values in the struct logs of one answer: eight a step, its stack, and the storage that it shows.
pub const MAX_VALUES: u64 = 1_000_000;
/// Most bytes of memory and calldata that one trace records.
pub const MAX_RECORDED_BYTES: usize = 32 * 1024 * 1024;
/// Most bytes of all traces of an answer, as text.
pub const MAX_TRACE_BYTES: usize = 32 * 1024 * 1024;

/// What the traces of one answer may still hold.
struct Left {
    /// Values of struct logs.
    values: u64,
    /// Bytes of text.
    bytes: usize,
}

impl Left {
    fn new() -> Self {
        Self { values: MAX_VALUES, bytes: MAX_TRACE_BYTES }
    }
}
/// Values of a step besides stack and storage.
const STEP_VALUES: u64 = 8;

/// Why a transaction of a block is not traced.
const INPUT: &str = "it is an encrypted input, which runs no code";

/// Something to run: the rules, its block, how it is run, and which transaction it is.
struct Run<'a> {
    params: &'a Params,
    block: &'a BlockContext,
    how: (CfgEnv, TxEnv),
    about: Option<TransactionContext>,
}

impl Question<'_> {
    fn options(&self, index: usize) -> Result<GethDebugTracingOptions, Error> {
        match self.parameter(index) {
            Json::Null => Ok(GethDebugTracingOptions::default()),
            given => serde_json::from_value(given.clone())
                .map_err(|error| Error::invalid(format!("the options of the trace are not valid: {error}"))),
        }
    }

    pub(super) fn trace_transaction(&self) -> Answer {
        let (hash, options): (B256, _) = (parsed(self.parameter(0), "hash")?, self.options(1)?);
        let place = state::place(self.newest, &hash)?;
        let found = match place {
            Some((number, index)) => state::block(self.newest, number)?.map(|block| (block, index)),
            None => None,
        };
        let (block, index) = found.ok_or_else(|| Error::server(format!("transaction {hash} not found")))?;
        let mut left = Left::new();
        let wanted = usize::try_from(index).unwrap_or(usize::MAX);
        let mut traces = self.traces(&block, wanted..=wanted, &options, &mut left)?;
        traces.pop().map_or_else(|| Err(Error::server(format!("transaction {hash} not found"))), |(_, trace)| trace)
    }

    pub(super) fn trace_block(&self, block: Option<BlockRecord>) -> Answer {
        let block = block.ok_or_else(|| Error::server("there is no such block"))?;
        let (options, mut left) = (self.options(1)?, Left::new());
        let traces = self.traces(&block, 0..=usize::MAX, &options, &mut left)?;
        let one = |(hash, trace): (B256, Answer)| match trace {
            Ok(trace) => json!({ "txHash": hash.to_string(), "result": trace }),
            Err(error) => json!({ "txHash": hash.to_string(), "error": error.message }),
        };
        Ok(traces.into_iter().map(one).collect())
    }

    /// The traces of some transactions of a block, after those before them were run.
    fn traces(
        &self,
        block: &BlockRecord,
        wanted: std::ops::RangeInclusive<usize>,
        options: &GethDebugTracingOptions,
        left: &mut Left,
    ) -> Result<Vec<(B256, Answer)>, Error> {
        if block.transactions.is_empty() {
            return Ok(Vec::new());
        }
        let base = self.before(block)?;
        let (mut view, params) = (Overlay::new(&*base), state::params(&*base)?);
        jobs::repeat(&mut view, block)?;
        let context = BlockContext::of(block);
        let mut out = Vec::new();
        for (position, index) in (0usize..).zip(0u32..).take(block.transactions.len()) {
            if position > *wanted.end() {
                break;
            }
            let receipt = state::receipt(self.newest, block.header.number, index)?
                .ok_or_else(|| Error::server(format!("receipt {index} of the block is not kept here")))?;
            let (tx, hash) = (super::blocks::transaction_of(&params, block, index, &receipt), hash_at(block, position));
            if wanted.contains(&position) {
                let trace = match &tx {
                    None => Err(Error::server(INPUT)),
                    Some(tx) => {
                        let about = TransactionContext {
                            block_hash: Some(B256::from(block.hash)),
                            tx_index: Some(position),
                            tx_hash: Some(hash),
                        };
                        let how = evm::envelope(&params, tx);
                        traced(&view, Run { params: &params, block: &context, how, about: Some(about) }, options, left)
                    }
                };
                out.push((hash, trace));
            }
            match (tx, &receipt.outcome) {
                (Some(tx), Ok(_) | Err(Failure::Revert(_) | Failure::Halt(_))) => {
                    rerun(&mut view, &params, &context, &tx)?;
                }
                _ => {
                    let from = Address::from(receipt.from);
                    charge(&mut view, &params, &from, (receipt.effective_gas_price, receipt.gas_used))?;
                }
            }
        }
        Ok(out)
    }

    pub(super) fn trace_call(&self) -> Answer {
        let (call, past, options) = (call_of(self.parameter(0))?, self.past(self.parameter(1))?, self.options(2)?);
        let mut view = Overlay::new(&*past.view);
        override_state(&mut view, field(self.parameter(2), "stateOverrides"))?;
        let mut block = self.block_of_traced(&past, &view)?;
        override_block(&mut block, field(self.parameter(2), "blockOverrides"))?;
        let (free, cfg, tx) = evm::call_of(&state::params(&view)?, &call);
        let run = Run { params: &free, block: &block, how: (cfg, tx), about: None };
        traced(&view, run, &options, &mut Left::new())
    }
}

fn hash_at(block: &BlockRecord, position: usize) -> B256 {
    block.transactions.get(position).map_or(B256::ZERO, |hash| B256::from(*hash))
}

/// Runs a transaction for what it leaves.
fn rerun(view: &mut Overlay<'_>, params: &Params, block: &BlockContext, tx: &Transaction) -> Result<(), Error> {
    let changes = {
        let done = evm::execute(view, params, block, tx).map_err(failed)?;
        let mut layer = Overlay::new(view);
        state::commit(&mut layer, done.state)?;
        layer.into_changes()
    };
    view.apply(changes);
    Ok(())
}

fn failed<T: std::fmt::Display>(error: EVMError<state::Fault, T>) -> Error {
    match error {
        EVMError::Database(fault) => fault.0.into(),
        other => Error::server(other.to_string()),
    }
}

/// The tracer that options name, with its limits.
fn tracer(options: &GethDebugTracingOptions) -> Result<DebugInspector, Error> {
    let mut limits = TraceLimits::default().set_max_recorded_bytes(Some(MAX_RECORDED_BYTES));
    limits.behavior = TraceLimitBehavior::Halt;
    match DebugInspector::new(options.clone()) {
        Ok(DebugInspector::Default(tracer, config)) => Ok(DebugInspector::Default(tracer.with_limits(limits), config)),
        Ok(DebugInspector::CallTracer(tracer, config)) => {
            Ok(DebugInspector::CallTracer(tracer.with_limits(limits), config))
        }
        Ok(DebugInspector::FlatCallTracer(tracer)) => Ok(DebugInspector::FlatCallTracer(tracer.with_limits(limits))),
        Ok(tracer @ (DebugInspector::PreStateTracer(..) | DebugInspector::FourByte(_) | DebugInspector::Noop(_))) => {
            Ok(tracer)
        }
        Ok(_) | Err(_) => Err(Error::invalid(
            "tracer or tracerConfig is none that is known here; tracers are callTracer, prestateTracer, 4byteTracer, \
             flatCallTracer, noopTracer, or none for struct logs",
        )),
    }
}

/// Runs something under a tracer, within what is left.
fn traced(view: &dyn StateView, run: Run<'_>, options: &GethDebugTracingOptions, left: &mut Left) -> Answer {
    let mut tracer = tracer(options)?;
    if let DebugInspector::Default(..) = &tracer {
        let mut meter = Meter::new(options);
        evm::inspect(view, run.params, run.block, run.how.clone(), &mut meter).map_err(failed)?;
        left.values = left.values.checked_sub(meter.values).ok_or_else(|| {
            Error::server(format!(
                "the trace would hold {} values, {MAX_VALUES} are the most; give limit or disableStack, or take the \
                 callTracer",
                meter.values
            ))
        })?;
    }
    let done = evm::inspect(view, run.params, run.block, run.how.clone(), &mut tracer).map_err(failed)?;
    let mut reader = Reader::new(view, run.block);
    let block = run.block.env(run.params);
    let trace = tracer
        .get_result(run.about, &run.how.1, &block, &done, &mut reader)
        .map_err(|error| Error::server(format!("the trace cannot be made: {error}")))?;
    let shown = |error: serde_json::Error| Error::server(format!("the trace cannot be shown: {error}"));
    let trace = serde_json::to_value(trace).map_err(shown)?;
    let mut counter = Counter(0);
    serde_json::to_writer(&mut counter, &trace).map_err(shown)?;
    left.bytes = left.bytes.checked_sub(counter.0).ok_or_else(|| {
        Error::server(format!(
            "the traces have more than {MAX_TRACE_BYTES} bytes; trace the block's transactions one by one, or without \
             what each call was given"
        ))
    })?;
    Ok(trace)
}

/// Counts what is written.
struct Counter(usize);

impl std::io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 = self.0.saturating_add(bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// How much struct logs would hold, before they are made.
struct Meter {
    limit: u64,
    stack: bool,
    storage: bool,
    steps: u64,
    accesses: u64,
    values: u64,
}

impl Meter {
    fn new(options: &GethDebugTracingOptions) -> Self {
        let config = &options.config;
        Self {
            limit: config.limit.filter(|limit| *limit > 0).unwrap_or(u64::MAX),
            stack: !config.disable_stack.unwrap_or_default(),
            storage: !config.disable_storage.unwrap_or_default(),
            steps: 0,
            accesses: 0,
            values: 0,
        }
    }
}

impl<C> Inspector<C> for Meter {
    fn step(&mut self, interpreter: &mut Interpreter, _context: &mut C) {
        if self.steps >= self.limit {
            return;
        }
        self.steps = self.steps.saturating_add(1);
        let mut values = STEP_VALUES;
        if self.stack {
            values = values.saturating_add(interpreter.stack.len() as u64);
        }
        // Each access shows all slots of the contract that were accessed before it.
        if self.storage && matches!(interpreter.bytecode.opcode(), opcode::SLOAD | opcode::SSTORE) {
            self.accesses = self.accesses.saturating_add(1);
            values = values.saturating_add(self.accesses.saturating_mul(2));
        }
        self.values = self.values.saturating_add(values);
    }
}
