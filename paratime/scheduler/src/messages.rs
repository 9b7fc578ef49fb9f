//! Jobs of contracts in other ParaTimes: they come as messages through the consensus layer, and what becomes of them goes
//! back the same way.
//!
//! A request is executed as if its owner, the contract's account here, had sent [`Call::SubmitJob`]: every check of that
//! call, and the proof on every replica. It is paid from the tokens of its message, never from the account:
//!
//! - two answers are set aside, one for the request and one for its outcome;
//! - then the fee for the gas and the escrow for all attempts, as for a transaction, at the price that the request names;
//! - what is left goes back with the first answer, and what is left of the escrow with the second.
//!
//! A request that is refused pays for the gas that it took to find out. An answer that the consensus layer refuses is sent
//! again later, and after [`MAX_SENDINGS`] times its tokens are the contract's account's. News of a deployment costs the
//! account that causes it the price of an answer, beside the fee of its transaction.
//!
//! A round takes [`MAX_REQUESTS`] requests; every other message is a deposit to its caller.

use crate::calls::{Apply, Done, Halt, Terms, collect, credit, debit};
use crate::costs::fee;
use crate::error::{Code, refuse};
use crate::images::ImageClaim;
use crate::model::{Policy, Replication, Spread};
use crate::paratime::RoundRun;
use crate::records::{self, Job, Origin};
use crate::tx::{Call, EncryptedList};
use parallax_primitives::message::{InMessage, contract_account};
use parallax_primitives::{Address, Amount, Digest, Event, Gas, Round};
use parallax_runtime::jobs::{JobAnswer, JobRequest, Said};
use parallax_runtime::outbox::{self, Waiting};
use parallax_runtime::{RoundContext, TxError, gas};
use parallax_state::{Overlay, StateError};

/// Most requests of contracts in a round: their gas is part of every round's plan.
pub const MAX_REQUESTS: usize = 2;
/// How often an answer is sent before its tokens stay here.
pub const MAX_SENDINGS: u32 = 8;
/// Where the numbers begin that make the seeds and queue places of requests unique beside those of transactions and
/// decisions, which count from 0, and of audits, which count down from the end.
const FIRST_INDEX: u64 = 1 << 63;
/// How many answers a request pays in advance: one for itself and one for its outcome.
const ANSWERS: u128 = 2;

/// The messages that a round consumes: as many of the first ones as hold no more than [`MAX_REQUESTS`] requests.
pub(crate) fn consumed(context: &RoundContext) -> Vec<(&InMessage, Option<JobRequest>)> {
    let (mut out, mut requests) = (Vec::new(), 0usize);
    for message in &context.in_messages {
        let request = JobRequest::of(message);
        requests = requests.saturating_add(usize::from(request.is_some()));
        if requests > MAX_REQUESTS {
            break;
        }
        out.push((message, request));
    }
    out
}

/// The call that a request stands for.
fn call(request: JobRequest) -> Result<Call, TxError> {
    let policy = Policy::ALL.into_iter().find(|policy| policy.number() == request.policy).ok_or_else(|| {
        let most = Policy::ALL.len().saturating_sub(1);
        refuse(Code::BadField, format!("policy {} does not exist; use 0..={most}", request.policy))
    })?;
    let spread = if request.zones { Spread::Zone } else { Spread::None };
    let call = Call::SubmitJob {
        request: EncryptedList { key_id: request.key_id, epoch: request.epoch, bytes: request.list },
        policy,
        tier: request.tier,
        replication: Replication { count: request.replicas, spread, gang: request.gang },
        image: request.image.map(|image| ImageClaim { image, proof: request.image_proof }),
    };
    call.check_fields()?;
    Ok(call)
}

/// A request that is being executed.
struct Paid {
    owner: Address,
    origin: Origin,
    gas_price: Amount,
    /// What is left of the tokens after the answers are set aside.
    purse: Amount,
}

/// What a request led to: the job with what was paid too much, or the gas that it took to refuse it.
type Verdict = Result<(Digest, Gas, Amount, Vec<Event>), (Gas, Halt)>;

impl RoundRun<'_, '_> {
    /// Takes in the messages of the round.
    pub(crate) fn messages(
        &mut self,
        state: &mut Overlay<'_>,
        messages: Vec<(&InMessage, Option<JobRequest>)>,
    ) -> Result<(), Halt> {
        let mut index = FIRST_INDEX;
        for (message, request) in messages {
            match request {
                None => credit(state, &message.caller, message.tokens)?,
                Some(request) => {
                    self.request(state, index, message.tokens, request)?;
                    index = index.saturating_add(1);
                }
            }
        }
        Ok(())
    }

    fn request(
        &mut self,
        state: &mut Overlay<'_>,
        index: u64,
        tokens: Amount,
        request: JobRequest,
    ) -> Result<(), Halt> {
        let (owner, answer, number) = (request.owner(), request.answer_fee, request.request);
        let event = Event::new("scheduler.request").with("owner", owner).with("request", number);
        let reserved = answer.0.checked_mul(ANSWERS);
        let Some(purse) = reserved.and_then(|reserved| tokens.checked_sub(reserved)) else {
            // Not even the answers are paid, so there is none. The host contract of the EVM sends no such message.
            credit(state, &owner, tokens)?;
            self.events.push(event.with("refused", Code::Unaffordable as u32));
            return Ok(());
        };
        let origin = Origin {
            paratime: request.from,
            contract: request.contract,
            request: number,
            agent: request.agent,
            answer,
        };
        let paid = Paid { owner, origin, gas_price: request.gas_price, purse };
        match self.submit(state, index, &paid, request) {
            Ok((job, gas, change, events)) => {
                self.gas = self.gas.saturating_add(gas.0);
                self.events.push(event.with("job", job));
                self.events.extend(events);
                Ok(reply(state, &paid.origin, Said::Accepted { job }, change, self.context.round)?)
            }
            Err((gas, Halt::Refused(error))) => {
                self.gas = self.gas.saturating_add(gas.0);
                let price = paid.gas_price.max(self.rules.params.min_gas_price);
                let cost = fee(gas, price).unwrap_or(purse).min(purse);
                collect(state, cost)?;
                self.events.push(event.with("refused", error.code).with("reason", &error.message));
                // The answer that nothing is left to tell comes back, too.
                let back = Amount(purse.0.saturating_sub(cost.0)).saturating_add(answer.0);
                Ok(reply(state, &paid.origin, Said::Refused { code: error.code }, back, self.context.round)?)
            }
            Err((_, abort)) => Err(abort),
        }
    }

    /// Checks and applies a request on a layer of its own; the writes of a refused one are dropped.
    fn submit(&mut self, state: &mut Overlay<'_>, index: u64, paid: &Paid, request: JobRequest) -> Verdict {
        let mut used = Gas(gas::TRANSACTION);
        let call = call(request).map_err(|error| (used, error.into()))?;
        let rules = &self.rules;
        let (most, escrow, change) = self.price(&call, paid).map_err(|halt| (used, halt))?;
        rules.check_call(state, &paid.owner, &call).map_err(|halt| (used, halt))?;
        if let Some(list) = rules.list_of(&call) {
            used = used.saturating_add(gas::PROOF);
            rules.check_list(&paid.owner, list).map_err(|error| (used, error.into()))?;
        }
        let mut layer = Overlay::new(state);
        let mut apply = Apply { rules, context: self.context, evaluator: &mut self.evaluator, index };
        // Its jobs have the numbers that transactions of an account have.
        let mut account = records::account(&layer, &paid.owner).map_err(|e| (used, e.into()))?;
        let number = account.nonce;
        account.nonce = number.next();
        records::put_account(&mut layer, &paid.owner, &account);
        let terms = Terms { number, gas_price: paid.gas_price, escrow, origin: Some(paid.origin) };
        let (id, events) = apply.job(&mut layer, &paid.owner, &call, terms).map_err(|halt| (used, halt))?;
        let cost = fee(most, paid.gas_price).unwrap_or(paid.purse);
        collect(&mut layer, cost).map_err(|halt| (used, halt))?;
        let changes = layer.into_changes();
        state.apply(changes);
        Ok((id, most, change, events))
    }

    /// Gas and escrow of a job, and what is left of the purse after them.
    fn price(&self, call: &Call, paid: &Paid) -> Result<(Gas, Amount, Amount), Halt> {
        let (price, least) = (paid.gas_price, self.rules.params.min_gas_price);
        if price < least {
            let text = format!("it offers {price} per unit of FHE gas, the least is {least}; raise the gas price");
            return Err(refuse(Code::GasPriceTooLow, text).into());
        }
        let gas = self.rules.programs.call(self.rules.params, call)?;
        let escrow = self.rules.escrow(call, price)?;
        let change = fee(gas, price).and_then(|fee| paid.purse.checked_sub(fee.checked_add(escrow.0)?.0));
        let change = change.ok_or_else(|| {
            let text = format!(
                "{} of its deposit are left for {gas} of FHE gas at {price} and an escrow of {escrow}; send more",
                paid.purse
            );
            refuse(Code::Unaffordable, text)
        })?;
        Ok((gas, escrow, change))
    }
}

/// Queues an answer.
fn reply(state: &mut Overlay<'_>, origin: &Origin, said: Said, tokens: Amount, round: Round) -> Result<(), StateError> {
    let data = JobAnswer { contract: origin.contract, request: origin.request, said }.to_bytes();
    let message = Waiting { to: origin.paratime, fee: origin.answer, tokens, data, attempts: 0, not_before: round };
    outbox::queue(state, &message)
}

/// Ends a job: what is left of its escrow goes where it came from.
pub(crate) fn settle(
    state: &mut Overlay<'_>,
    round: Round,
    (id, job): (&Digest, &Job),
    placed: bool,
    left: Amount,
) -> Result<(), Halt> {
    let Some(origin) = &job.origin else { return credit(state, &job.owner, left) };
    let said = if placed { Said::Placed { job: *id } } else { Said::Unplaced { job: *id } };
    Ok(reply(state, origin, said, left, round)?)
}

/// Tells a contract what `sender` has just said of its job's deployment, at the sender's expense.
pub(crate) fn deployed(
    state: &mut Overlay<'_>,
    round: Round,
    sender: &Address,
    (id, replica): (&Digest, u8),
    (done, job): (Done, &Job),
) -> Result<Done, Halt> {
    let Some(origin) = &job.origin else { return Ok(done) };
    debit(state, sender, origin.answer)?;
    let found = crate::anchors::deployment(state, (id, replica))?;
    let said = Said::Deployed { job: *id, replica, anchor: found.anchor, progress: found.status.number() };
    reply(state, origin, said, Amount::ZERO, round)?;
    Ok(done)
}

/// Looks at what became of the answers of the last round. One that failed waits, longer every time.
pub(crate) fn told(state: &mut Overlay<'_>, context: &RoundContext) -> Result<Vec<Event>, Halt> {
    let mut events = Vec::new();
    for (mut message, result) in outbox::results(state, &context.message_results)? {
        if result.is_done() {
            continue;
        }
        message.attempts = message.attempts.saturating_add(1);
        let event = Event::new("scheduler.answer_failed")
            .with("paratime", message.to)
            .with("module", &result.module)
            .with("code", result.code)
            .with("attempts", message.attempts);
        if message.attempts < MAX_SENDINGS {
            let wait = 1u64.checked_shl(message.attempts).unwrap_or(u64::MAX);
            message.not_before = context.round.saturating_add(wait);
            outbox::queue(state, &message)?;
        } else if let Some(answer) = JobAnswer::from_bytes(&message.data) {
            credit(state, &contract_account(&message.to, &answer.contract), message.total())?;
        }
        events.push(event);
    }
    Ok(events)
}
