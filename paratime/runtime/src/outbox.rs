//! Messages to other ParaTimes that wait in a ParaTime's state: until a round has room for them, and then until it is
//! known what became of them.
//!
//! A message is queued while a round is executed and goes out with that round or a later one, in the order in which it
//! was queued. It stays in the state until the next accepted round is told its result ([`results`]); whoever queued it
//! then decides what a failed one means.

use borsh::{BorshDeserialize, BorshSerialize};
use parallax_primitives::limits::{MAX_MESSAGES_PER_ROUND, MAX_ROUND_MESSAGE_BYTES, MAX_VALUE_BYTES};
use parallax_primitives::message::{MessageResult, OutMessage};
use parallax_primitives::{Amount, ParaTimeId, Round, decode, encode};
use parallax_state::{Overlay, StateError, StateView, Value};

/// Prefix of the messages that wait, in their order.
const WAITING: &[u8] = b"outbox/waiting/";
/// The numbers of those that the last executed round sent.
const SENT: &[u8] = b"outbox/sent";
/// The number of the next one.
const NEXT: &[u8] = b"outbox/next";

/// A message on its way to another ParaTime.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Waiting {
    /// To whom.
    pub to: ParaTimeId,
    /// What goes to the recipient's treasury.
    pub fee: Amount,
    /// Tokens that come with it.
    pub tokens: Amount,
    /// Its data.
    pub data: Vec<u8>,
    /// How often it was sent in vain.
    pub attempts: u32,
    /// The first round that may send it.
    pub not_before: Round,
}

impl Waiting {
    /// Fee and tokens. What is queued was paid for, so the sum fits.
    pub fn total(&self) -> Amount {
        self.fee.saturating_add(self.tokens.0)
    }

    fn message(&self) -> OutMessage {
        OutMessage::Call { to: self.to, fee: self.fee, tokens: self.tokens, data: self.data.clone() }
    }
}

#[derive(BorshSerialize, BorshDeserialize)]
enum Stored<T> {
    V1(T),
}

fn corrupt(key: &[u8], reason: impl Into<String>) -> StateError {
    StateError::Corrupt { what: String::from_utf8_lossy(key).into_owned(), reason: reason.into() }
}

fn open<T: BorshDeserialize>(key: &[u8], value: Option<Value>) -> Result<Option<T>, StateError> {
    match value {
        None => Ok(None),
        Some(Value::Cipher(_)) => Err(corrupt(key, "it is a ciphertext")),
        Some(Value::Plain(bytes)) => match decode("a message that waits", &bytes, MAX_VALUE_BYTES) {
            Ok(Stored::V1(record)) => Ok(Some(record)),
            Err(e) => Err(corrupt(key, e.to_string())),
        },
    }
}

fn get<T: BorshDeserialize>(view: &dyn StateView, key: &[u8]) -> Result<Option<T>, StateError> {
    open(key, view.get(key)?)
}

fn key(number: u64) -> Vec<u8> {
    [WAITING, &number.to_be_bytes()].concat()
}

/// Queues a message.
///
/// # Errors
/// If the state cannot be read.
pub fn queue(state: &mut Overlay<'_>, message: &Waiting) -> Result<(), StateError> {
    let number: u64 = get(state, NEXT)?.unwrap_or(0);
    state.put(key(number), encode(&Stored::V1(message)));
    state.put(NEXT.to_vec(), encode(&Stored::V1(number.saturating_add(1))));
    Ok(())
}

/// What became of the messages that the last accepted round sent; they are then forgotten here.
///
/// # Errors
/// If the state cannot be read, or the results are not those of what was sent.
pub fn results(
    state: &mut Overlay<'_>,
    results: &[MessageResult],
) -> Result<Vec<(Waiting, MessageResult)>, StateError> {
    let sent: Vec<u64> = get(state, SENT)?.unwrap_or_default();
    if sent.len() != results.len() {
        let text = format!("{} messages were sent, there are results of {}", sent.len(), results.len());
        return Err(corrupt(SENT, text));
    }
    let mut out = Vec::with_capacity(sent.len());
    for (number, result) in sent.into_iter().zip(results) {
        let key = key(number);
        let message: Waiting = get(state, &key)?.ok_or_else(|| corrupt(&key, "a message that was sent is missing"))?;
        state.delete(key);
        out.push((message, result.clone()));
    }
    state.delete(SENT.to_vec());
    Ok(out)
}

/// The messages of a round: the first of those whose time has come, as many as one round may send. Call it once, after
/// [`results`] and everything that queues.
///
/// # Errors
/// If the state cannot be read.
pub fn send(state: &mut Overlay<'_>, round: Round) -> Result<Vec<OutMessage>, StateError> {
    let (mut messages, mut numbers, mut bytes) = (Vec::new(), Vec::new(), encode(&Vec::<OutMessage>::new()).len());
    for (key, value) in state.scan(WAITING)? {
        let waiting: Waiting = open(&key, Some(value))?.ok_or_else(|| corrupt(&key, "it is empty"))?;
        if waiting.not_before > round {
            continue;
        }
        let message = waiting.message();
        bytes = bytes.saturating_add(encode(&message).len());
        if messages.len() >= MAX_MESSAGES_PER_ROUND || bytes > MAX_ROUND_MESSAGE_BYTES {
            break;
        }
        let number = key.strip_prefix(WAITING).and_then(|rest| rest.try_into().ok()).map(u64::from_be_bytes);
        numbers.push(number.ok_or_else(|| corrupt(&key, "it has no number"))?);
        messages.push(message);
    }
    if !numbers.is_empty() {
        state.put(SENT.to_vec(), encode(&Stored::V1(&numbers)));
    }
    Ok(messages)
}

/// Whether the next round has something to send, or is told something.
///
/// # Errors
/// If the state cannot be read.
pub fn has_work(view: &dyn StateView, next: Round) -> Result<bool, StateError> {
    if view.get(SENT)?.is_some() {
        return Ok(true);
    }
    for (key, value) in view.scan(WAITING)? {
        let waiting: Option<Waiting> = open(&key, Some(value))?;
        if waiting.is_some_and(|waiting| waiting.not_before <= next) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use parallax_state::Empty;

    fn message(n: u8, bytes: usize, not_before: u64) -> Waiting {
        Waiting {
            to: ParaTimeId::named("other"),
            fee: Amount(1),
            tokens: Amount(n.into()),
            data: vec![n; bytes],
            attempts: 0,
            not_before: Round(not_before),
        }
    }

    #[test]
    fn messages_go_out_in_order_as_far_as_a_round_has_room_and_are_told_their_results() {
        let mut state = Overlay::new(&Empty);
        assert!(!has_work(&state, Round(1)).unwrap());
        for (n, not_before) in [(1, 0), (2, 9), (3, 0), (4, 0)] {
            queue(&mut state, &message(n, 20 * 1024, not_before)).unwrap();
        }
        assert!(has_work(&state, Round(1)).unwrap());
        let sent = send(&mut state, Round(1)).unwrap();
        assert_eq!(sent, [message(1, 20 * 1024, 0).message(), message(3, 20 * 1024, 0).message()]);
        assert!(encode(&sent).len() <= MAX_ROUND_MESSAGE_BYTES);
        assert!(results(&mut state, &[MessageResult::done()]).is_err(), "each has one");
        let failed = MessageResult { module: "rounds".to_owned(), code: 22 };
        let told = results(&mut state, &[MessageResult::done(), failed.clone()]).unwrap();
        assert_eq!(told, [(message(1, 20 * 1024, 0), MessageResult::done()), (message(3, 20 * 1024, 0), failed)]);
        assert_eq!(send(&mut state, Round(2)).unwrap(), [message(4, 20 * 1024, 0).message()]);
        results(&mut state, &[MessageResult::done()]).unwrap();
        assert!(!has_work(&state, Round(8)).unwrap(), "the last one's time has not come");
        assert!(has_work(&state, Round(9)).unwrap());
        assert_eq!(send(&mut state, Round(9)).unwrap().len(), 1);
        assert!(has_work(&state, Round(10)).unwrap(), "its result is to be told");
    }
}
