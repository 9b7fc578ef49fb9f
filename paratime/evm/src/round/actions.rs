//! A developer's actions in a round, and transactions in the name of impersonated accounts.

use super::*;
use crate::control::{MAX_MINED, MAX_TIME};
use crate::host::NATIVE;
use crate::paratime::admit_control;
use revm::primitives::{Address, Bytes};
use revm::state::Bytecode;

/// What an action returned, or why it was refused.
type Acted = Result<Vec<u8>, TxError>;

fn bad(text: impl Into<String>) -> Acted {
    Err(refuse(Code::BadAction, text))
}

fn number(n: u64) -> Acted {
    Ok(n.to_be_bytes().to_vec())
}

fn flag(yes: bool) -> Acted {
    Ok(vec![u8::from(yes)])
}

impl Round<'_> {
    /// Executes an action.
    pub(super) fn act(&mut self, control: &Control, bytes: &[u8]) -> Result<(), Abort> {
        let outcome = match admit_control(&self.state, self.params, control) {
            Err(error) => Err(error),
            Ok(_) if !self.acting => Err(refuse(Code::WrongBatch, "it came in a batch of transactions; send it again")),
            Ok(_) => self.acted(&control.action)?,
        };
        let gas = Gas(if outcome.is_ok() { gas::TRANSACTION } else { 0 });
        self.fhe_gas = self.fhe_gas.saturating_add(gas.0);
        self.note(control, &outcome);
        self.results.push(TxResult { tx: tx_digest(bytes), gas, outcome });
        Ok(())
    }

    /// Writes what came of a developer transaction, for whoever waits for it. What may be sent again leaves no trace.
    pub(super) fn note(&mut self, control: &Control, outcome: &Acted) {
        let again = [Code::Repeated, Code::WrongBatch, Code::NotForDevelopers].map(|code| code as u32);
        match outcome {
            Err(error) if again.contains(&error.code) => {}
            Err(error) => state::put_control(&mut self.state, &control.hash, &Err(error.message.clone())),
            Ok(returned) => state::put_control(&mut self.state, &control.hash, &Ok(returned.clone())),
        }
    }

    fn acted(&mut self, action: &Action) -> Result<Acted, Abort> {
        match action {
            Action::Snapshot => return Ok(number(journal::take(&mut self.state)?)),
            Action::Revert(id) => return Ok(flag(journal::revert(&mut self.state, *id)?)),
            _ => {}
        }
        let mut layer = Overlay::new(&self.state);
        let outcome = match action {
            Action::SetBalance { .. }
            | Action::SetNonce { .. }
            | Action::SetCode { .. }
            | Action::SetStorage { .. } => account(&mut layer, action)?,
            Action::Impersonate { address, on } => {
                let address = Address::from(*address);
                let was = state::impersonated(&layer, &address)?;
                state::put_impersonated(&mut layer, &address, *on);
                flag(*on || was)
            }
            Action::Mine { blocks, interval, at } => self.mine(&mut layer, (*blocks, *interval, *at))?,
            Action::SetBaseFee(_) | Action::SetBlockGasLimit(_) | Action::SetCoinbase(_) => rules(&mut layer, action)?,
            Action::IncreaseTime(_) | Action::SetNextTime(_) | Action::SetRandomness(_) => {
                self.clock(&mut layer, action)?
            }
            Action::Snapshot | Action::Revert(_) | Action::Send(_) => bad("it is no action on the state"),
        };
        if outcome.is_ok() {
            let changes = layer.into_changes();
            journal::apply(&mut self.state, changes)?;
        }
        Ok(outcome)
    }

    fn clock(&self, state: &mut Overlay<'_>, action: &Action) -> Result<Acted, Abort> {
        let (mut clock, anchor) = (state::clock(state)?, self.context.time_ms / 1_000);
        let head = state::head(state)?.header.timestamp;
        clock.seen = anchor;
        let outcome = match action {
            Action::IncreaseTime(seconds) => {
                let offset = i64::try_from(*seconds).ok().and_then(|seconds| clock.offset.checked_add(seconds));
                match offset.filter(|offset| anchor.saturating_add_signed(*offset) <= MAX_TIME) {
                    Some(offset) => {
                        clock.offset = offset;
                        Ok(offset.to_be_bytes().to_vec())
                    }
                    None => bad(format!("{seconds} seconds lead beyond time {MAX_TIME}; increase it by less")),
                }
            }
            Action::SetNextTime(time) if *time < head || *time > MAX_TIME => {
                bad(format!("time {time} is not between the newest block's, {head}, and {MAX_TIME}"))
            }
            Action::SetNextTime(time) => {
                clock.next = Some(*time);
                number(*time)
            }
            Action::SetRandomness(randomness) => {
                clock.randomness = Some(*randomness);
                flag(true)
            }
            _ => bad("it has nothing to do with time"),
        };
        state::put_clock(state, &clock);
        Ok(outcome)
    }

    /// Makes blocks without transactions. Returns the number of the last.
    fn mine(&self, state: &mut Overlay<'_>, (blocks, interval, at): (u64, u64, Option<u64>)) -> Result<Acted, Abort> {
        if blocks > MAX_MINED {
            return Ok(bad(format!("{blocks} blocks at once, {MAX_MINED} are the most; ask several times")));
        }
        let params = state::params(state)?;
        let mut head = state::head(state)?;
        let mut time = match at {
            Some(time) if time < head.header.timestamp => {
                return Ok(bad(format!("time {time} is before the newest block's, {}", head.header.timestamp)));
            }
            Some(time) => time,
            None => BlockContext::after(&head, self.context, &state::clock(state)?).timestamp,
        };
        if interval.checked_mul(blocks).and_then(|span| span.checked_add(time)).is_none_or(|end| end > MAX_TIME) {
            return Ok(bad(format!("the last block would be beyond time {MAX_TIME}; make the interval shorter")));
        }
        for _ in 0..blocks {
            let mut block = BlockContext::after(&head, self.context, &state::clock(state)?);
            block.timestamp = time;
            let header = self.header(&params, &block, (0, [0; BLOOM_BYTES]))?;
            head = BlockRecord::new(header, Vec::new());
            state::put_block(state, &head);
            tick(state, time, self.context)?;
            time = time.saturating_add(interval);
        }
        Ok(number(head.header.number))
    }

    /// Ends a batch of actions: deposits of the round are credited now, in a block of their own.
    pub(super) fn close_actions(&mut self) -> Result<Option<u64>, Abort> {
        let mut layer = Overlay::new(&self.state);
        let params = state::params(&layer)?;
        let incoming = jobs::receive(&mut layer, &params, self.context)?;
        if incoming.is_empty() {
            self.state.apply(layer.into_changes());
            return Ok(None);
        }
        let block = BlockContext::after(&state::head(&layer)?, self.context, &state::clock(&layer)?);
        let header = self.header(&params, &block, (0, [0; BLOOM_BYTES]))?;
        state::put_block(&mut layer, &incoming.recorded(BlockRecord::new(header, Vec::new())));
        tick(&mut layer, block.timestamp, self.context)?;
        let changes = layer.into_changes();
        journal::apply(&mut self.state, changes)?;
        Ok(Some(block.number))
    }

    /// Executes a transaction in the name of an impersonated account.
    pub(super) fn sent(&self, control: &Control) -> Result<Result<Trial, TxError>, Abort> {
        if let Err(error) = admit_control(&self.state, self.params, control) {
            return Ok(Err(error));
        }
        let Action::Send(sent) = &control.action else { return Ok(Err(refuse(Code::BadAction, "it sends nothing"))) };
        let account = state::account(&self.state, &sent.from.into())?.unwrap_or_default();
        let room = self.params.block_gas_limit.saturating_sub(self.evm_gas).min(self.params.transaction_gas_limit);
        let (kept, tx) =
            control::sent(&sent.complete(account.nonce, account.balance, room, self.params.base_fee), control.hash);
        let tx = Envelope::Ethereum(tx);
        match &tx {
            Envelope::Ethereum(inner) => self.ethereum(&tx, inner, &kept),
            _ => Ok(Err(refuse(Code::BadAction, "it sends nothing"))),
        }
    }
}

/// Changes an account.
fn account(state: &mut Overlay<'_>, action: &Action) -> Result<Acted, Abort> {
    let (Action::SetBalance { address, .. }
    | Action::SetNonce { address, .. }
    | Action::SetCode { address, .. }
    | Action::SetStorage { address, .. }) = action
    else {
        return Ok(bad("it is about no account"));
    };
    let address = Address::from(*address);
    let mut account = state::account(state, &address)?.unwrap_or_default();
    match action {
        Action::SetBalance { balance, .. } => account.balance = U256::from_be_bytes(*balance),
        Action::SetNonce { nonce, .. } if *nonce < account.nonce => {
            return Ok(bad(format!("nonce {nonce} of {address} is below the one that it has, {}", account.nonce)));
        }
        Action::SetNonce { nonce, .. } => account.nonce = *nonce,
        Action::SetCode { .. } if NATIVE.contains(&address) => {
            return Ok(bad(format!("{address} is a host contract, whose code is part of the node")));
        }
        Action::SetCode { code, .. } if code.is_empty() => account.code_hash = revm::primitives::KECCAK_EMPTY,
        Action::SetCode { code, .. } => {
            account.code_hash = state::put_code(state, &Bytecode::new_legacy(Bytes::from(code.clone())));
        }
        Action::SetStorage { slot, value, .. } => {
            state::put_slot(state, &address, &U256::from_be_bytes(*slot), U256::from_be_bytes(*value));
            return Ok(flag(true));
        }
        _ => {}
    }
    state::set_account(state, &address, &account);
    Ok(flag(true))
}

/// Changes the rules of the blocks to come.
fn rules(state: &mut Overlay<'_>, action: &Action) -> Result<Acted, Abort> {
    let mut params = state::params(state)?;
    match action {
        Action::SetBaseFee(fee) => params.base_fee = *fee,
        Action::SetBlockGasLimit(limit) => params.block_gas_limit = *limit,
        Action::SetCoinbase(address) => params.fee_recipient = parallax_primitives::Address(*address),
        _ => return Ok(bad("it is about no rule")),
    }
    if let Err(reason) = params.check() {
        return Ok(bad(reason));
    }
    state::put_params(state, &params);
    Ok(flag(true))
}
