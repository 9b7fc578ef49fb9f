//! The EVM: revm over our state, with the host contracts beside Ethereum's precompiled ones.

use crate::clock::Clock;
use crate::host::Hosts;
use crate::params::{Params, ours};
use crate::receipt::BlockRecord;
use crate::state::{Fault, Hashes, Reader};
use crate::transaction::Transaction;
use parallax_runtime::RoundContext;
use parallax_state::StateView;
use revm::context::transaction::AccessList;
use revm::context::{BlockEnv, CfgEnv, Context, Evm, FrameStack, Journal, TxEnv};
use revm::context_interface::Cfg as _;
use revm::context_interface::result::{EVMError, InvalidTransaction, ResultAndState};
use revm::database_interface::EmptyDB;
use revm::handler::instructions::EthInstructions;
use revm::handler::validation::{validate_initial_tx_gas_with_gas_params, validate_tx_env};
use revm::handler::{EthFrame, PrecompileProvider};
use revm::inspector::Inspector;
use revm::interpreter::InterpreterResult;
use revm::interpreter::interpreter::EthInterpreter;
use revm::primitives::hardfork::SpecId;
use revm::primitives::{Address, B256, Bytes, TxKind, U256};
use revm::{ExecuteEvm, InspectEvm};

/// The rules of the EVM.
pub const SPEC: SpecId = SpecId::CANCUN;

/// The block in which something is executed.
#[derive(Clone, Debug)]
pub struct BlockContext {
    /// Its number.
    pub number: u64,
    /// Its time in seconds: that of the round's anchor, and what a developer moved it by.
    pub timestamp: u64,
    /// The hash of the block before.
    pub parent: B256,
    /// What `PREVRANDAO` gives: the hash of the round's anchor, which nobody knew when the state of the round before
    /// was made.
    pub randomness: B256,
    /// Hashes of blocks before it, as far as they were asked for: for one state alone.
    pub(crate) hashes: Hashes,
}

impl BlockContext {
    /// The block that comes after `head` in a round.
    pub(crate) fn after(head: &BlockRecord, context: &RoundContext, clock: &Clock) -> Self {
        Self {
            number: head.header.number.saturating_add(1),
            timestamp: clock.time(head.header.timestamp, context.time_ms / 1_000),
            parent: B256::from(head.hash),
            randomness: B256::from(clock.randomness.unwrap_or(context.anchor.0)),
            hashes: Hashes::default(),
        }
    }

    /// A block that was executed.
    pub(crate) fn of(block: &BlockRecord) -> Self {
        Self {
            number: block.header.number,
            timestamp: block.header.timestamp,
            parent: B256::from(block.header.parent),
            randomness: B256::from(block.header.randomness),
            hashes: Hashes::default(),
        }
    }

    /// The block that comes after `head` as far as that is known without a round, in which it is `now` if that is known.
    pub(crate) fn pending(head: &BlockRecord, clock: &Clock, now: Option<u64>) -> Self {
        Self {
            number: head.header.number.saturating_add(1),
            timestamp: clock.pending(head.header.timestamp, now),
            parent: B256::from(head.hash),
            randomness: B256::from(clock.randomness.unwrap_or(head.header.randomness)),
            hashes: Hashes::default(),
        }
    }

    pub(crate) fn env(&self, params: &Params) -> BlockEnv {
        let mut env = BlockEnv {
            number: U256::from(self.number),
            beneficiary: ours(&params.fee_recipient),
            timestamp: U256::from(self.timestamp),
            gas_limit: params.block_gas_limit,
            basefee: params.base_fee,
            difficulty: U256::ZERO,
            prevrandao: Some(self.randomness),
            ..BlockEnv::default()
        };
        // There are no blobs, but the opcode that asks for their price exists.
        env.set_blob_excess_gas_and_price(0, 3_338_477);
        env
    }
}

/// What came of a transaction.
pub(crate) type Outcome = Result<ResultAndState, EVMError<Fault, InvalidTransaction>>;

/// The EVM with what else than code there is to be called, and who watches.
type Machine<'a, P, I> = Evm<Live<'a>, I, EthInstructions<EthInterpreter, Live<'a>>, P, EthFrame<EthInterpreter>>;

/// What runs under a state, with what else than code there is to be called.
pub(crate) type Live<'a> = Context<BlockEnv, TxEnv, CfgEnv, Reader<'a>, Journal<Reader<'a>>, ()>;

fn run(view: &dyn StateView, params: &Params, block: &BlockContext, cfg: CfgEnv, tx: TxEnv) -> Outcome {
    run_with(view, params, block, cfg, tx, Hosts::new(SPEC))
}

/// Runs a transaction with these precompiled contracts.
pub(crate) fn run_with<'a, P>(
    view: &'a dyn StateView,
    params: &Params,
    block: &'a BlockContext,
    cfg: CfgEnv,
    tx: TxEnv,
    precompiles: P,
) -> Outcome
where
    P: PrecompileProvider<Live<'a>, Output = InterpreterResult>,
{
    machine(view, params, block, cfg, precompiles, ()).transact(tx)
}

/// The EVM on a state, before anything has run.
fn machine<'a, P, I>(
    view: &'a dyn StateView,
    params: &Params,
    block: &'a BlockContext,
    cfg: CfgEnv,
    precompiles: P,
    inspector: I,
) -> Machine<'a, P, I> {
    let reader = Reader::new(view, block);
    let context: Live<'a> = Context::new(reader, SPEC);
    Evm {
        ctx: context.with_cfg(cfg).with_block(block.env(params)),
        inspector,
        instruction: EthInstructions::new_mainnet_with_spec(SPEC),
        precompiles,
        frame_stack: FrameStack::new_prealloc(8),
    }
}

/// Runs a transaction under the eyes of an inspector, which sees calls of host contracts as calls.
pub(crate) fn inspect<'a, I>(
    view: &'a dyn StateView,
    params: &Params,
    block: &'a BlockContext,
    (cfg, tx): (CfgEnv, TxEnv),
    inspector: &mut I,
) -> Outcome
where
    I: Inspector<Live<'a>, EthInterpreter>,
{
    machine(view, params, block, cfg, Hosts::new(SPEC), inspector).inspect_tx(tx)
}

pub(crate) fn config(params: &Params) -> CfgEnv {
    let mut cfg = CfgEnv::new_with_spec(SPEC).with_chain_id(params.chain_id);
    cfg.tx_gas_limit_cap = Some(params.transaction_gas_limit);
    cfg
}

/// Executes a transaction on a state. One that nobody signed may be in the name of a contract.
pub(crate) fn execute(view: &dyn StateView, params: &Params, block: &BlockContext, tx: &Transaction) -> Outcome {
    let (cfg, env) = envelope(params, tx);
    run(view, params, block, cfg, env)
}

/// How a transaction is executed.
pub(crate) fn envelope(params: &Params, tx: &Transaction) -> (CfgEnv, TxEnv) {
    let mut cfg = config(params);
    cfg.disable_eip3607 = !tx.is_signed();
    (cfg, tx.env(params.chain_id))
}

/// What is wrong with a transaction whatever the state is: with its fees, its gas, or the size of the code that it brings.
///
/// # Errors
/// The first thing that execution would refuse it for.
pub(crate) fn check(params: &Params, tx: &Transaction) -> Result<(), InvalidTransaction> {
    let (cfg, env) = envelope(params, tx);
    let hashes = Hashes::default();
    let anywhere = BlockContext { number: 0, timestamp: 0, parent: B256::ZERO, randomness: B256::ZERO, hashes };
    let (disabled, most) = (cfg.is_eip7623_disabled(), cfg.tx_gas_limit_cap());
    let parameters = cfg.gas_params().clone();
    let empty: Context<BlockEnv, TxEnv, CfgEnv, EmptyDB, Journal<EmptyDB>, ()> = Context::new(EmptyDB::default(), SPEC);
    let mut context = empty.with_cfg(cfg).with_block(anywhere.env(params)).with_tx(env.clone());
    validate_tx_env(&mut context, SPEC)?;
    validate_initial_tx_gas_with_gas_params(&env, SPEC, &parameters, disabled, false, most, None).map(|_| ())
}

/// A call that changes nothing, as `eth_call` and `eth_estimateGas` make it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Who calls.
    pub from: Address,
    /// Whom; nobody: it creates.
    pub to: Option<Address>,
    /// Wei that it carries.
    pub value: U256,
    /// Calldata.
    pub input: Bytes,
    /// The most gas that it uses; the most that a transaction may use if it is left out.
    pub gas: Option<u64>,
    /// What it announces to touch.
    pub access_list: AccessList,
}

/// Makes a call. Nonce, fees and the kind of the caller do not matter.
pub(crate) fn call(view: &dyn StateView, params: &Params, block: &BlockContext, call: &Call) -> Outcome {
    let (free, cfg, tx) = call_of(params, call);
    run(view, &free, block, cfg, tx)
}

/// The rules for a call, and how it is made.
pub(crate) fn call_of(params: &Params, call: &Call) -> (Params, CfgEnv, TxEnv) {
    let mut cfg = config(params);
    cfg.disable_nonce_check = true;
    cfg.disable_eip3607 = true;
    let most = params.transaction_gas_limit;
    let tx = TxEnv {
        tx_type: u8::from(!call.access_list.is_empty()),
        caller: call.from,
        gas_limit: call.gas.unwrap_or(most).min(most),
        gas_price: 0,
        kind: call.to.map_or(TxKind::Create, TxKind::Call),
        value: call.value,
        data: call.input.clone(),
        chain_id: Some(params.chain_id),
        access_list: call.access_list.clone(),
        ..TxEnv::default()
    };
    (Params { base_fee: 0, ..params.clone() }, cfg, tx)
}
