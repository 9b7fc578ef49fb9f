//! Jobs that contracts submit to the scheduling ParaTime: what a round sends and what it is told, on both sides of the
//! host contract `JobGateway`.
//!
//! Wei that leave with a message are taken from the host contract's balance and so from this ParaTime; tokens that come
//! back are wei of the contract that asked, whose code does not run then.

use crate::host::JOBS;
use crate::host::jobs::{SUBMITTED, Status, deployment, head, record, slot};
use crate::params::{Params, ours};
use crate::receipt::{BlockRecord, Deposit, StoredLog};
use crate::state;
use parallax_primitives::message::{InMessage, MessageResult, paratime_account};
use parallax_primitives::{Address as Account, Amount, Digest, ParaTimeId, Round};
use parallax_runtime::RoundContext;
use parallax_runtime::jobs::{JobAnswer, JobRequest, Said};
use parallax_runtime::outbox::{self, Waiting};
use parallax_state::{Overlay, StateError};
use revm::primitives::{Address, B256, U256, keccak256};

/// Offsets in a request's record.
mod field {
    pub(super) const JOB: u64 = 1;
    pub(super) const REFUNDED: u64 = 2;
    pub(super) const MODULE: u64 = 3;
    pub(super) const CODE: u64 = 4;
}

fn wei(params: &Params, tokens: Amount) -> U256 {
    U256::from(tokens.0).saturating_mul(U256::from(params.wei_per_token))
}

/// What a round gets from the consensus layer before its first transaction: kept in its block, so that the state under
/// its transactions can be made again.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    deposits: Vec<Deposit>,
    slots: Vec<([u8; 32], [u8; 32])>,
}

impl Incoming {
    /// Whether there is nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.deposits.is_empty() && self.slots.is_empty()
    }

    /// The block with it.
    pub(crate) fn recorded(self, block: BlockRecord) -> BlockRecord {
        BlockRecord { deposits: self.deposits, answers: self.slots, ..block }
    }

    fn add(&mut self, state: &mut Overlay<'_>, address: &Address, wei: U256) -> Result<(), StateError> {
        let mut account = state::account(state, address)?.unwrap_or_default();
        account.balance = account.balance.saturating_add(wei);
        if !account.is_empty() {
            state::put_account(state, address, &account);
        }
        self.deposits.push((address.into_array(), wei.to_be_bytes()));
        Ok(())
    }

    fn put(&mut self, state: &mut Overlay<'_>, slot: U256, value: U256) {
        state::put_slot(state, &JOBS, &slot, value);
        self.slots.push((slot.to_be_bytes(), value.to_be_bytes()));
    }
}

/// Writes once more what a round got from the consensus layer before the transactions of this block.
pub(crate) fn repeat(state: &mut Overlay<'_>, block: &BlockRecord) -> Result<(), StateError> {
    let mut again = Incoming::default();
    for (to, wei) in &block.deposits {
        again.add(state, &Address::from(*to), U256::from_be_bytes(*wei))?;
    }
    for (slot, word) in &block.answers {
        again.put(state, U256::from_be_bytes(*slot), U256::from_be_bytes(*word));
    }
    Ok(())
}

/// The account to which a deposit from the consensus layer goes: the twenty bytes of its data, or else its sender's.
fn depositor(message: &InMessage) -> Address {
    match <[u8; 20]>::try_from(message.data.as_slice()) {
        Ok(address) => Address::from(address),
        Err(_) => ours(&message.caller),
    }
}

/// The record of a request: its slots, and who asked.
struct Record {
    at: U256,
    contract: Address,
    status: u8,
}

impl Record {
    fn of(state: &Overlay<'_>, request: u64) -> Result<Self, StateError> {
        let at = record(U256::from(request));
        let head = state::slot(state, &JOBS, &at)?;
        let bytes = head.to_be_bytes::<32>();
        let contract = Address::from_slice(&bytes[12..]);
        Ok(Self { at, contract, status: bytes[11] })
    }

    fn field(&self, field: u64) -> U256 {
        self.at.wrapping_add(U256::from(field))
    }
}

impl Incoming {
    /// Moves a request on; answers may overtake each other, and the later status stays.
    fn status(&mut self, state: &mut Overlay<'_>, record: &Record, to: Status) {
        if to as u8 > record.status {
            self.put(state, record.at, head(record.contract, to));
        }
    }

    fn refund(&mut self, state: &mut Overlay<'_>, record: &Record, wei: U256) -> Result<(), StateError> {
        if wei.is_zero() {
            return Ok(());
        }
        let place = record.field(field::REFUNDED);
        let before = state::slot(state, &JOBS, &place)?;
        self.put(state, place, before.saturating_add(wei));
        self.add(state, &record.contract, wei)
    }
}

/// Takes in what the consensus layer has for this round: deposits, answers, and what became of the messages of the last
/// one.
///
/// # Errors
/// If the state cannot be read.
pub(crate) fn receive(
    state: &mut Overlay<'_>,
    params: &Params,
    context: &RoundContext,
) -> Result<Incoming, StateError> {
    let mut incoming = Incoming::default();
    for (message, result) in outbox::results(state, &context.message_results)? {
        incoming.sent(state, params, &message, &result)?;
    }
    let scheduler = params.scheduler.map(|link| paratime_account(&link.paratime));
    for message in &context.in_messages {
        let answer = (scheduler == Some(message.caller)).then(|| JobAnswer::from_bytes(&message.data)).flatten();
        match answer {
            Some(answer) => incoming.answered(state, params, &answer, message.tokens)?,
            None => incoming.add(state, &depositor(message), wei(params, message.tokens))?,
        }
    }
    Ok(incoming)
}

impl Incoming {
    /// The consensus layer has taken a message, or has not.
    fn sent(
        &mut self,
        state: &mut Overlay<'_>,
        params: &Params,
        message: &Waiting,
        result: &MessageResult,
    ) -> Result<(), StateError> {
        let place = U256::from(slot::WAITING);
        let waiting = state::slot(state, &JOBS, &place)?;
        self.put(state, place, waiting.saturating_sub(U256::ONE));
        if result.is_done() {
            return Ok(());
        }
        let own = InMessage { id: 0, caller: own_account(state)?, tokens: message.tokens, data: message.data.clone() };
        let Some(request) = JobRequest::of(&own) else { return Ok(()) };
        let record = Record::of(state, request.request)?;
        self.status(state, &record, Status::NotSent);
        let mut module = [0u8; 32];
        module.iter_mut().zip(result.module.bytes()).for_each(|(to, from)| *to = from);
        self.put(state, record.field(field::MODULE), U256::from_be_bytes(module));
        self.put(state, record.field(field::CODE), U256::from(result.code));
        self.refund(state, &record, wei(params, message.total()))
    }

    /// The scheduler has said what became of a request.
    fn answered(
        &mut self,
        state: &mut Overlay<'_>,
        params: &Params,
        answer: &JobAnswer,
        tokens: Amount,
    ) -> Result<(), StateError> {
        let record = Record::of(state, answer.request)?;
        let asked = Address::from(answer.contract.0);
        if record.contract != asked {
            // The scheduler answers what it was asked; whatever it is, nobody's tokens are kept.
            return self.add(state, &asked, wei(params, tokens));
        }
        match answer.said {
            Said::Accepted { job } => self.job(state, &record, Status::Accepted, job),
            Said::Placed { job } => self.job(state, &record, Status::Placed, job),
            Said::Unplaced { job } => self.job(state, &record, Status::Unplaced, job),
            Said::Refused { code } => {
                self.status(state, &record, Status::Refused);
                let module = U256::from_be_bytes(B256::right_padding_from(b"scheduler").0);
                self.put(state, record.field(field::MODULE), module);
                self.put(state, record.field(field::CODE), U256::from(code));
            }
            Said::Deployed { job: _, replica, anchor, progress } => {
                let at = deployment(U256::from(answer.request), replica);
                self.put(state, at, U256::from_be_bytes(anchor.0));
                let next = at.wrapping_add(U256::ONE);
                let before = state::slot(state, &JOBS, &next)?;
                self.put(state, next, before.max(U256::from(progress).saturating_add(U256::ONE)));
            }
        }
        self.refund(state, &record, wei(params, tokens))
    }

    fn job(&mut self, state: &mut Overlay<'_>, record: &Record, status: Status, job: Digest) {
        self.status(state, record, status);
        self.put(state, record.field(field::JOB), U256::from_be_bytes(job.0));
    }
}

fn own_account(state: &Overlay<'_>) -> Result<Account, StateError> {
    let own = state::slot(state, &JOBS, &U256::from(slot::PARATIME))?;
    Ok(paratime_account(&ParaTimeId(own.to_be_bytes())))
}

/// Queues the messages that the successful transactions of a round asked for.
pub(crate) fn queue(
    state: &mut Overlay<'_>,
    params: &Params,
    logs: &[StoredLog],
    round: Round,
) -> Result<(), StateError> {
    let Some(link) = params.scheduler else { return Ok(()) };
    let topic = keccak256(SUBMITTED).0;
    for log in logs.iter().filter(|log| log.address == JOBS.0.0 && log.topics.first() == Some(&topic)) {
        let Some((tokens, data)) = request(&log.data) else { continue };
        let message =
            Waiting { to: link.paratime, fee: link.message_fee, tokens, data, attempts: 0, not_before: round };
        let leaving = wei(params, message.total());
        let mut account = state::account(state, &JOBS)?.unwrap_or_default();
        account.balance = account.balance.saturating_sub(leaving);
        state::put_account(state, &JOBS, &account);
        outbox::queue(state, &message)?;
    }
    Ok(())
}

/// Tokens and message of the host contract's own event.
fn request(data: &[u8]) -> Option<(Amount, Vec<u8>)> {
    let word = |at: usize| data.get(at..at.checked_add(32)?).map(U256::from_be_slice);
    let tokens = Amount(u128::try_from(word(0)?).ok()?);
    let length = usize::try_from(word(64)?).ok()?;
    Some((tokens, data.get(96..96usize.checked_add(length)?)?.to_vec()))
}
