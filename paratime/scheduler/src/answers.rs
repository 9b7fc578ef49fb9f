//! The key managers' answer to "was it placed": the job is placed, or tried again, or given up.

use crate::calls::{Done, Halt};
use crate::error::{Code, refuse};
use crate::keys;
use crate::messages;
use crate::params::Params;
use crate::records::{self, Job, Status, put};
use parallax_primitives::{Amount, ChainContext, Digest, Event, ParaTimeId, Round};
use parallax_runtime::decryption::{KeyManagers, Payload, SignedAnswer};
use parallax_runtime::{TxError, access};
use parallax_state::{CipherRef, Overlay, StateView};
use std::collections::BTreeSet;

/// A verified answer.
pub(crate) struct Verdict {
    cipher: Digest,
    job_id: Digest,
    job: Job,
    placed: bool,
}

/// Verifies answers: for a decryption that a decision waits for, from enough distinct key managers, all equal.
pub(crate) fn check(
    view: &dyn StateView,
    params: &Params,
    chain: ChainContext,
    paratime: ParaTimeId,
    answers: &[SignedAnswer],
) -> Result<Verdict, Halt> {
    let bad = |text: &str| refuse(Code::BadAnswer, format!("{text}; deliver the key managers' answer unchanged"));
    let first = &answers.first().ok_or_else(|| bad("there is no answer"))?.answer;
    let cipher = first.cipher;
    let job_id: Digest = records::get(view, &keys::awaiting(&cipher))?.ok_or_else(|| {
        refuse(Code::UnknownDecryption, format!("no decision waits for {cipher}; it was answered, or never granted"))
    })?;
    let job: Job = records::need(view, &keys::job(&job_id))?;
    let reference = CipherRef { key_id: job.key_id, blocks: 1, digest: cipher };
    let placed = public_bit(params, (chain, paratime), &reference, answers)?;
    Ok(Verdict { cipher, job_id, job, placed })
}

/// The bit that the key managers decrypted for everyone: enough distinct ones signed the same answer for this very
/// ciphertext.
pub(crate) fn public_bit(
    params: &Params,
    (chain, paratime): (ChainContext, ParaTimeId),
    cipher: &CipherRef,
    answers: &[SignedAnswer],
) -> Result<bool, TxError> {
    let bad = |text: &str| refuse(Code::BadAnswer, format!("{text}; deliver the key managers' answer unchanged"));
    let first = &answers.first().ok_or_else(|| bad("there is no answer"))?.answer;
    let managers: &KeyManagers = &params.key_managers;
    let mut parties = BTreeSet::new();
    for signed in answers {
        let a = &signed.answer;
        if a.paratime != paratime || a.cipher != cipher.digest || a.key_id != cipher.key_id || a.request != Digest::ZERO
        {
            return Err(bad("an answer is for another ParaTime, ciphertext, key or request"));
        }
        if a.payload != first.payload {
            return Err(bad("the answers differ"));
        }
        if !signed.verify(chain, managers) {
            return Err(bad(
                "an answer is not signed by the party, epoch and threshold of this ParaTime's key managers",
            ));
        }
        if !parties.insert(a.party) {
            return Err(bad("one party answers twice"));
        }
    }
    let needed = usize::from(managers.threshold).saturating_add(1);
    if parties.len() < needed {
        return Err(bad(&format!("{} of {needed} answers are there", parties.len())));
    }
    match &first.payload {
        Payload::Public(blocks) => match blocks[..] {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(bad("the answer is not one block holding 0 or 1")),
        },
        Payload::Sealed(_) => Err(bad("the answer is sealed, a public one is expected")),
    }
}

/// Moves the job on.
pub(crate) fn apply(state: &mut Overlay<'_>, params: &Params, round: Round, verdict: Verdict) -> Result<Done, Halt> {
    let Verdict { cipher, job_id, mut job, placed } = verdict;
    state.delete(keys::awaiting(&cipher));
    access::clear_public(state, &cipher);
    let event = if placed {
        for position in job.decision.iter().flat_map(|decision| &decision.positions) {
            access::allow_user(state, *position, &job.agent(), round, job_id);
        }
        job.status = Status::Placed;
        "scheduler.placed"
    } else if job.attempts < params.max_attempts {
        // Back off: the n-th failure waits n rounds, so that hosts can report and probing stays slow.
        job.status = Status::Pending { not_before: round.saturating_add(job.attempts.into()) };
        put(state, keys::pending(job.tier, job.submitted, job.index), &job_id);
        "scheduler.requeued"
    } else {
        job.status = Status::Unplaced;
        "scheduler.unplaced"
    };
    if !matches!(job.status, Status::Pending { .. }) {
        state.delete(keys::job_numbers(&job_id));
        state.delete(keys::job_labels(&job_id));
        let left = std::mem::replace(&mut job.escrow, Amount::ZERO);
        messages::settle(state, round, (&job_id, &job), placed, left)?;
    }
    put(state, keys::job(&job_id), &job);
    let event = Event::new(event).with("job", job_id).with("attempt", job.attempts);
    Ok((Vec::new(), vec![event]))
}
