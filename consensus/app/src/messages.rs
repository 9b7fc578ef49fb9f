//! Messages between accounts and ParaTimes.
//!
//! Into a ParaTime: a call moves a fee and tokens onto the ParaTime's account and queues an [`InMessage`]. The round
//! machine offers the queue to each round as it was when the round began, and drops what an accepted round consumed;
//! a round that ends otherwise leaves the queue alone. The fee belongs to the ParaTime's treasury; the tokens are the
//! message's, and what becomes of them is the program's to say.
//!
//! Out of a ParaTime: the messages of an accepted round are executed from its account, in order. One that fails changes
//! nothing but its own result, and the round stands. The results are kept until the next accepted round, whose execution
//! is told of them.
//!
//! From one ParaTime to another: an outgoing [`OutMessage::Call`] is queued for the other one as a transaction would queue
//! it, with the sending ParaTime's account as caller. The bodies stand in the commitment that names them, so what a round
//! sends is bounded in bytes ([`limits::MAX_ROUND_MESSAGE_BYTES`]).

use crate::calls::{CallContext, attempt};
use crate::errors::{CallError, ModuleError};
use crate::genesis::ConsensusParameters;
use crate::{keys, registry, rounds, staking, stored};
use parallax_primitives::message::{InMessage, MessageResult, OutMessage};
use parallax_primitives::{Address, Amount, Event, Height, ParaTimeId, limits};
use parallax_rounds::ParaTimeBlock;
use parallax_state::{Overlay, StateError, StateView};

/// Why a message is not queued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    #[error("the message has {bytes} bytes of data, the limit is {max}; send less")]
    TooLarge { bytes: usize, max: usize },
    #[error("the message pays a fee of {fee} base units, the least is {least}")]
    FeeTooLow { fee: Amount, least: Amount },
    #[error("fee and tokens together are more than 2^128 - 1 base units")]
    Overflow,
    #[error("ParaTime {id} calls itself; what it does on its own account needs no message")]
    ToItself { id: ParaTimeId },
}

impl ModuleError for Error {
    const MODULE: &'static str = "messages";

    fn code(&self) -> u32 {
        match self {
            Self::TooLarge { .. } => 1,
            Self::FeeTooLow { .. } => 2,
            Self::Overflow => 3,
            Self::ToItself { .. } => 4,
        }
    }
}

// Calls.

/// What a message must be, whatever the state.
pub(crate) fn check_stateless(fee: Amount, tokens: Amount, data: &[u8]) -> Result<(), Error> {
    let (bytes, max) = (data.len(), limits::MAX_IN_MESSAGE_BYTES);
    if bytes > max {
        return Err(Error::TooLarge { bytes, max });
    }
    fee.checked_add(tokens.0).map(|_| ()).ok_or(Error::Overflow)
}

/// Whether the fee is enough.
pub(crate) fn check_fee(fee: Amount, parameters: &ConsensusParameters) -> Result<(), Error> {
    let least = parameters.min_in_message_fee;
    if fee < least { Err(Error::FeeTooLow { fee, least }) } else { Ok(()) }
}

/// Moves fee and tokens onto the ParaTime's account and queues the message.
pub(crate) fn queue(
    overlay: &mut Overlay<'_>,
    context: &CallContext<'_>,
    id: &ParaTimeId,
    fee: Amount,
    tokens: Amount,
    data: &[u8],
) -> Result<Vec<Event>, CallError> {
    let message = Message { caller: context.sender, fee, tokens, data };
    deliver(overlay, context.height, context.parameters, id, &message)
}

/// What is to be queued for a ParaTime, and who pays.
struct Message<'a> {
    caller: Address,
    fee: Amount,
    tokens: Amount,
    data: &'a [u8],
}

fn deliver(
    overlay: &mut Overlay<'_>,
    height: Height,
    parameters: &ConsensusParameters,
    id: &ParaTimeId,
    message: &Message<'_>,
) -> Result<Vec<Event>, CallError> {
    let Message { caller, fee, tokens, data } = *message;
    check_fee(fee, parameters)?;
    let mut machine = rounds::machine(overlay, id)?;
    let account = registry::paratime_account(id);
    let total = fee.checked_add(tokens.0).ok_or(Error::Overflow)?;
    let mut events = Vec::new();
    if total > Amount::ZERO {
        events.push(staking::transfer(overlay, &caller, &account, total)?);
    }
    let message = InMessage { id: machine.next_in_message(), caller, tokens, data: data.to_vec() };
    events.push(
        Event::new("rounds.in_message")
            .with("paratime", id)
            .with("round", machine.round())
            .with("id", message.id)
            .with("caller", caller)
            .with("tokens", tokens)
            .with("fee", fee)
            .with("bytes", data.len()),
    );
    rounds::enqueue(overlay, height, &mut machine, message)?;
    Ok(events)
}

// Rounds.

/// Executes an accepted round's messages from the ParaTime's account. A failing one is recorded and changes nothing
/// else.
pub(crate) fn send(
    overlay: &mut Overlay<'_>,
    (id, block): (&ParaTimeId, &ParaTimeBlock),
    parameters: &ConsensusParameters,
    messages: &[OutMessage],
) -> Result<Vec<Event>, StateError> {
    let (caller, round) = (registry::paratime_account(id), block.round);
    let (mut events, mut results) = (Vec::new(), Vec::with_capacity(messages.len()));
    for (index, message) in messages.iter().enumerate() {
        let sent = attempt(overlay, |inner| match message {
            OutMessage::Transfer { to, amount } => {
                staking::check_amount(*amount)?;
                Ok(vec![staking::transfer(inner, &caller, to, *amount)?])
            }
            OutMessage::Call { to, .. } if to == id => Err(Error::ToItself { id: *id }.into()),
            OutMessage::Call { to, fee, tokens, data } => {
                check_stateless(*fee, *tokens, data)?;
                let message = Message { caller, fee: *fee, tokens: *tokens, data };
                deliver(inner, block.height, parameters, to, &message)
            }
        });
        let (told, result) = match sent {
            Ok(done) => (done, MessageResult::done()),
            Err(CallError::State(error)) => return Err(error),
            Err(CallError::Refused(error)) => {
                let event = Event::new("rounds.message_failed")
                    .with("paratime", id)
                    .with("round", round)
                    .with("index", index)
                    .with("module", &error.module)
                    .with("code", error.code)
                    .with("reason", &error.message);
                (vec![event], MessageResult { module: error.module, code: error.code })
            }
        };
        events.extend(told);
        results.push(result);
    }
    stored::write(overlay, keys::message_results(id), &results);
    Ok(events)
}

// State.

/// What became of the messages of the last accepted round, in their order; empty before the first.
///
/// # Errors
/// If the state cannot be read.
pub fn results(view: &dyn StateView, id: &ParaTimeId) -> Result<Vec<MessageResult>, StateError> {
    Ok(stored::read(view, &keys::message_results(id))?.unwrap_or_default())
}
