//! The host contracts as revm's precompiled contracts: beside those of Ethereum, at their own addresses.

use super::frame::{Fail, Frame, Journal};
use super::{JOBS, NATIVE, call};
use revm::context::Cfg;
use revm::context_interface::{Block, ContextTr, Host, JournalTr};
use revm::handler::{EthPrecompiles, PrecompileProvider};
use revm::interpreter::{CallInputs, Gas, InstructionResult, InterpreterResult};
use revm::primitives::hardfork::SpecId;
use revm::primitives::{Address, AddressSet, B256, Bytes, Log, U256};

/// Ethereum's precompiled contracts and ours.
#[derive(Clone, Debug)]
pub(crate) struct Hosts {
    ethereum: EthPrecompiles,
    addresses: AddressSet,
}

impl Hosts {
    pub(crate) fn new(spec: SpecId) -> Self {
        let ethereum = EthPrecompiles::new(spec);
        let addresses = Self::all(&ethereum);
        Self { ethereum, addresses }
    }

    fn all(ethereum: &EthPrecompiles) -> AddressSet {
        ethereum.warm_addresses().iter().copied().chain(NATIVE).collect()
    }
}

/// The journal of an EVM context.
struct Live<'a, C>(&'a mut C);

impl<C: ContextTr + Host> Journal for Live<'_, C> {
    fn sload(&mut self, address: Address, slot: U256) -> Result<(U256, bool), String> {
        self.load(address)?;
        let loaded = self.0.journal_mut().sload(address, slot).map_err(|e| e.to_string())?;
        Ok((loaded.data, loaded.is_cold))
    }

    fn sstore(&mut self, address: Address, slot: U256, value: U256) -> Result<(U256, bool), String> {
        self.load(address)?;
        let stored = self.0.journal_mut().sstore(address, slot, value).map_err(|e| e.to_string())?;
        // Without a change nothing is journalled, so the account need not be written either.
        if stored.data.present_value != stored.data.new_value {
            self.0.journal_mut().touch_account(address);
        }
        Ok((stored.data.present_value, stored.is_cold))
    }

    fn tload(&mut self, address: Address, slot: U256) -> U256 {
        self.0.journal_mut().tload(address, slot)
    }

    fn tstore(&mut self, address: Address, slot: U256, value: U256) {
        self.0.journal_mut().tstore(address, slot, value);
    }

    fn log(&mut self, log: Log) {
        self.0.journal_mut().log(log);
    }

    fn block_number(&self) -> U256 {
        self.0.block().number()
    }

    fn timestamp(&self) -> U256 {
        self.0.block().timestamp()
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, String> {
        Host::block_hash(self.0, number).ok_or_else(|| format!("the hash of block {number} cannot be read"))
    }

    fn chain_id(&self) -> u64 {
        self.0.cfg().chain_id()
    }
}

impl<C: ContextTr + Host> Live<'_, C> {
    /// The journal wants an account loaded before its storage.
    fn load(&mut self, address: Address) -> Result<(), String> {
        self.0.journal_mut().load_account(address).map(|_| ()).map_err(|e| e.to_string())
    }
}

impl<C: ContextTr<Cfg: Cfg<Spec = SpecId>> + Host> PrecompileProvider<C> for Hosts {
    type Output = InterpreterResult;

    fn set_spec(&mut self, spec: SpecId) -> bool {
        let changed = <EthPrecompiles as PrecompileProvider<C>>::set_spec(&mut self.ethereum, spec);
        self.addresses = Self::all(&self.ethereum);
        changed
    }

    fn run(&mut self, context: &mut C, inputs: &CallInputs) -> Result<Option<InterpreterResult>, String> {
        let to = inputs.bytecode_address;
        if !NATIVE.contains(&to) {
            return self.ethereum.run(context, inputs);
        }
        let input = inputs.input.bytes(context);
        let mut frame = Frame {
            journal: &mut Live(context),
            this: to,
            caller: inputs.caller,
            value: inputs.call_value(),
            is_static: inputs.is_static,
            gas: inputs.gas_limit,
            depth: 0,
        };
        let paid = !inputs.call_value().is_zero() && to != JOBS;
        let foreign = inputs.target_address != to || paid;
        let result = match frame.enter(input.len()) {
            Ok(()) if foreign => Err(Fail::Revert(Vec::new())),
            Ok(()) => call(&mut frame, to, &input),
            Err(fail) => Err(fail),
        };
        let left = frame.gas;
        let mut gas = Gas::new(inputs.gas_limit);
        let (result, output) = match result {
            Ok(output) => (InstructionResult::Return, output),
            Err(Fail::Revert(data)) => (InstructionResult::Revert, data.into()),
            Err(Fail::OutOfGas) => (InstructionResult::PrecompileOOG, Bytes::new()),
            Err(Fail::Static) => (InstructionResult::StateChangeDuringStaticCall, Bytes::new()),
            Err(Fail::Fatal(reason)) => return Err(reason),
        };
        if matches!(result, InstructionResult::Return | InstructionResult::Revert) {
            let _ = gas.record_regular_cost(inputs.gas_limit.saturating_sub(left));
        } else {
            gas.spend_all();
        }
        Ok(Some(InterpreterResult::new(result, output, gas)))
    }

    fn warm_addresses(&self) -> &AddressSet {
        &self.addresses
    }
}
