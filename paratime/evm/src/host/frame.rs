//! One call of a host contract: what it sees of the EVM, what it may do, and what that costs.

use revm::primitives::{Address, B256, Log, LogData, U256, keccak256};

/// What a host contract needs of the EVM. Everything goes through the journal, so a revert takes it back.
pub(crate) trait Journal {
    /// Reads a storage slot; with whether it was cold.
    fn sload(&mut self, address: Address, slot: U256) -> Result<(U256, bool), String>;
    /// Writes a storage slot; with whether it was cold, and the value before.
    fn sstore(&mut self, address: Address, slot: U256, value: U256) -> Result<(U256, bool), String>;
    /// Reads a transient slot.
    fn tload(&mut self, address: Address, slot: U256) -> U256;
    /// Writes a transient slot.
    fn tstore(&mut self, address: Address, slot: U256, value: U256);
    /// Emits a log.
    fn log(&mut self, log: Log);
    /// The block's number.
    fn block_number(&self) -> U256;
    /// The block's time, in seconds since the Unix epoch.
    fn timestamp(&self) -> U256;
    /// The hash of a block; zero if it is not known.
    fn block_hash(&mut self, number: u64) -> Result<B256, String>;
    /// The chain id.
    fn chain_id(&self) -> u64;
}

/// Why a call does not return.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fail {
    /// It reverted with this data.
    Revert(Vec<u8>),
    /// It ran out of gas.
    OutOfGas,
    /// It would have changed state in a static call.
    Static,
    /// The state could not be read.
    Fatal(String),
}

/// EVM gas of what host contracts do: that of the opcodes they stand for, without refunds.
mod price {
    /// A call: decoding, dispatch, memory.
    pub(super) const CALL: u64 = 700;
    pub(super) const COLD: u64 = 2_100;
    pub(super) const WARM: u64 = 100;
    pub(super) const SET: u64 = 20_000;
    pub(super) const RESET: u64 = 2_900;
    pub(super) const TRANSIENT: u64 = 100;
    pub(super) const LOG: u64 = 375;
    pub(super) const LOG_BYTE: u64 = 8;
    pub(super) const KECCAK: u64 = 30;
    pub(super) const KECCAK_WORD: u64 = 6;
    pub(super) const RECOVER: u64 = 3_000;
    /// A byte that is copied, roughly.
    pub(super) const BYTE: u64 = 3;
}

/// A call in progress. Calls between host contracts are frames on the same gas.
pub(crate) struct Frame<'a> {
    pub(crate) journal: &'a mut dyn Journal,
    /// Whose storage and logs.
    pub(crate) this: Address,
    /// `msg.sender`.
    pub(crate) caller: Address,
    /// Wei that came with the call; they are the contract's already.
    pub(crate) value: U256,
    /// Whether state may not be changed.
    pub(crate) is_static: bool,
    /// What is left.
    pub(crate) gas: u64,
    /// How many calls of its own kind enclose it.
    pub(crate) depth: u8,
}

pub(crate) type Outcome<T> = Result<T, Fail>;

impl<'a> Frame<'a> {
    pub(crate) fn spend(&mut self, gas: u64) -> Outcome<()> {
        self.gas = self.gas.checked_sub(gas).ok_or_else(|| {
            self.gas = 0;
            Fail::OutOfGas
        })?;
        Ok(())
    }

    /// The cost of entering, with so much calldata.
    pub(crate) fn enter(&mut self, bytes: usize) -> Outcome<()> {
        self.spend(price::CALL.saturating_add(price::BYTE.saturating_mul(bytes as u64)))
    }

    /// Calls another host contract as this one. What halts it only reverts the caller, without data, as a call by
    /// opcode would; gas is shared, so running out of it is everyone's end.
    pub(crate) fn call<T>(&mut self, to: Address, body: impl FnOnce(&mut Frame<'_>) -> Outcome<T>) -> Outcome<T> {
        self.spend(price::CALL)?;
        let mut inner = Frame {
            journal: &mut *self.journal,
            this: to,
            caller: self.this,
            value: U256::ZERO,
            is_static: self.is_static,
            gas: self.gas,
            depth: self.depth.saturating_add(1),
        };
        let result = body(&mut inner);
        self.gas = inner.gas;
        match result {
            Err(Fail::Static) => Err(Fail::Revert(Vec::new())),
            other => other,
        }
    }

    pub(crate) fn sload(&mut self, slot: U256) -> Outcome<U256> {
        let (value, cold) = self.journal.sload(self.this, slot).map_err(Fail::Fatal)?;
        self.spend(if cold { price::COLD } else { price::WARM })?;
        Ok(value)
    }

    pub(crate) fn sstore(&mut self, slot: U256, value: U256) -> Outcome<()> {
        self.writable()?;
        let (before, cold) = self.journal.sstore(self.this, slot, value).map_err(Fail::Fatal)?;
        let write = match (before == value, before.is_zero()) {
            (true, _) => price::WARM,
            (false, true) => price::SET,
            (false, false) => price::RESET,
        };
        self.spend(write.saturating_add(if cold { price::COLD } else { 0 }))
    }

    pub(crate) fn tload(&mut self, slot: U256) -> Outcome<U256> {
        self.spend(price::TRANSIENT)?;
        Ok(self.journal.tload(self.this, slot))
    }

    pub(crate) fn tstore(&mut self, slot: U256, value: U256) -> Outcome<()> {
        self.writable()?;
        self.spend(price::TRANSIENT)?;
        self.journal.tstore(self.this, slot, value);
        Ok(())
    }

    /// Emits an event. The first topic is the hash of its signature.
    pub(crate) fn emit(&mut self, signature: &str, indexed: &[B256], data: Vec<u8>) -> Outcome<()> {
        self.writable()?;
        let topics: Vec<B256> = std::iter::once(keccak256(signature)).chain(indexed.iter().copied()).collect();
        let (count, bytes) = (topics.len() as u64, data.len() as u64);
        self.spend(price::LOG.saturating_mul(count.saturating_add(1)).saturating_add(bytes * price::LOG_BYTE))?;
        self.journal.log(Log { address: self.this, data: LogData::new_unchecked(topics, data.into()) });
        Ok(())
    }

    pub(crate) fn keccak(&mut self, bytes: &[u8]) -> Outcome<B256> {
        let words = (bytes.len() as u64).div_ceil(32);
        self.spend(price::KECCAK.saturating_add(price::KECCAK_WORD.saturating_mul(words)))?;
        Ok(keccak256(bytes))
    }

    /// The cost of recovering a signer.
    pub(crate) fn recovery(&mut self) -> Outcome<()> {
        self.spend(price::RECOVER)
    }

    /// The slot of a mapping's entry.
    pub(crate) fn entry(&mut self, mapping: U256, key: B256) -> Outcome<U256> {
        let preimage = [key.0, mapping.to_be_bytes()].concat();
        Ok(self.keccak(&preimage)?.into())
    }

    /// A boolean in storage: the lowest byte of its slot.
    pub(crate) fn flag(&mut self, slot: U256) -> Outcome<bool> {
        Ok(self.sload(slot)?.byte(0) != 0)
    }

    /// Writes a boolean that has its slot to itself.
    pub(crate) fn set_flag(&mut self, slot: U256, value: bool) -> Outcome<()> {
        self.sstore(slot, U256::from(value))
    }

    /// Refuses to go on in a static call. For writes that come after something that can revert, but would be tried
    /// before it.
    pub(crate) fn writable(&self) -> Outcome<()> {
        if self.is_static { Err(Fail::Static) } else { Ok(()) }
    }
}
