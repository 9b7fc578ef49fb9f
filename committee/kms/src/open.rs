//! The reader's side: from signed answers to the plaintext.

use parallax_evm::permit::{Pair, SignedPermit as EvmPermit};
use parallax_primitives::seal::{OpeningKey, SealError};
use parallax_primitives::{ChainContext, Digest, ParaTimeId};
use parallax_runtime::decryption::{Answer, KeyManagers, Payload, Permit, SignedAnswer, request_digest};
use std::collections::BTreeSet;
use zeroize::Zeroizing;

/// Why answers are not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// An answer that no such party signed on this chain, in this epoch.
    #[error("the answer of party {party} is not signed by the key managers of this chain and epoch; ask them again")]
    BadSignature {
        /// The party that it names.
        party: u16,
    },
    /// An answer to something else.
    #[error("the answer of party {party} is for another {what}")]
    OtherRequest {
        /// The party.
        party: u16,
        /// What differs.
        what: &'static str,
    },
    /// Two answers of one party.
    #[error("party {party} is among the answers twice")]
    DuplicateParty {
        /// The party.
        party: u16,
    },
    /// A sealed answer that the key does not open.
    #[error("the answer of party {party} does not open: {reason}")]
    DoesNotOpen {
        /// The party.
        party: u16,
        /// Why.
        reason: SealError,
    },
    /// Too few equal answers.
    #[error("{equal} equal answers are there, {needed} are needed; ask more key managers")]
    TooFew {
        /// The most that are equal.
        equal: usize,
        /// How many are needed.
        needed: usize,
    },
    /// Two results with enough answers each: more parties lie than the threshold allows.
    #[error(
        "the key managers disagree: more of them are at fault than their threshold allows; keep the answers as evidence"
    )]
    Disagreement,
}

/// The blocks of a user decryption. Checks that `threshold + 1` of the key managers signed equal answers to exactly
/// this permit. The blocks are wiped when dropped.
///
/// # Errors
/// [`OpenError`].
pub fn open_answer(
    opening: &OpeningKey,
    permit: &Permit,
    answers: &[SignedAnswer],
    managers: &KeyManagers,
    chain: ChainContext,
) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let request = request_digest(permit);
    agreed(answers, managers, |answer| {
        check(answer, managers, chain, permit.paratime, permit.cipher, request)?;
        unsealed(opening, answer, &request)
    })
}

/// The blocks of one value that a user asked an EVM ParaTime's key managers for: of `pair` in the request `permit`. Checks
/// that `threshold + 1` of them signed equal answers to exactly this. `parallax_evm::decryption::word` makes a number of
/// the blocks, which are wiped when dropped.
///
/// # Errors
/// [`OpenError`].
pub fn open_evm_answer(
    opening: &OpeningKey,
    paratime: ParaTimeId,
    permit: &EvmPermit,
    pair: &Pair,
    answers: &[SignedAnswer],
    managers: &KeyManagers,
    chain: ChainContext,
) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let request = permit.request(chain, paratime, pair);
    agreed(answers, managers, |answer| {
        // Which ciphertext a handle has, the key managers say; that it is this handle's, they sign.
        check(answer, managers, chain, paratime, answer.answer.cipher, request)?;
        let party = answer.answer.party;
        if answer.answer.subject != pair.handle {
            return Err(OpenError::OtherRequest { party, what: "handle" });
        }
        unsealed(opening, answer, &request)
    })
}

fn unsealed(opening: &OpeningKey, answer: &SignedAnswer, request: &Digest) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let party = answer.answer.party;
    match &answer.answer.payload {
        Payload::Sealed(sealed) => {
            opening.open(&request.0, sealed).map_err(|reason| OpenError::DoesNotOpen { party, reason })
        }
        Payload::Public(_) => Err(OpenError::OtherRequest { party, what: "kind of request" }),
    }
}

/// The blocks of a public decryption, which `threshold + 1` of the key managers signed.
///
/// # Errors
/// [`OpenError`].
pub fn read_public(
    paratime: ParaTimeId,
    cipher: Digest,
    answers: &[SignedAnswer],
    managers: &KeyManagers,
    chain: ChainContext,
) -> Result<Vec<u8>, OpenError> {
    agreed(answers, managers, |answer| {
        check(answer, managers, chain, paratime, cipher, Digest::ZERO)?;
        match &answer.answer.payload {
            Payload::Public(blocks) => Ok(Zeroizing::new(blocks.clone())),
            Payload::Sealed(_) => Err(OpenError::OtherRequest { party: answer.answer.party, what: "kind of request" }),
        }
    })
    .map(|blocks| blocks.to_vec())
}

fn check(
    signed: &SignedAnswer,
    managers: &KeyManagers,
    chain: ChainContext,
    paratime: ParaTimeId,
    cipher: Digest,
    request: Digest,
) -> Result<(), OpenError> {
    let Answer { party, .. } = signed.answer;
    if !signed.verify(chain, managers) {
        return Err(OpenError::BadSignature { party });
    }
    let differs = |what| Err(OpenError::OtherRequest { party, what });
    if signed.answer.paratime != paratime {
        return differs("ParaTime");
    }
    if signed.answer.cipher != cipher {
        return differs("ciphertext");
    }
    if signed.answer.request != request {
        return differs("permit");
    }
    Ok(())
}

/// The one result that `threshold + 1` parties give.
fn agreed(
    answers: &[SignedAnswer],
    managers: &KeyManagers,
    open: impl Fn(&SignedAnswer) -> Result<Zeroizing<Vec<u8>>, OpenError>,
) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let needed = usize::from(managers.threshold).saturating_add(1);
    let mut parties = BTreeSet::new();
    let mut results: Vec<(Zeroizing<Vec<u8>>, usize)> = Vec::new();
    for answer in answers {
        let blocks = open(answer)?;
        let party = answer.answer.party;
        if !parties.insert(party) {
            return Err(OpenError::DuplicateParty { party });
        }
        match results.iter_mut().find(|(b, _)| **b == *blocks) {
            Some((_, count)) => *count = count.saturating_add(1),
            None => results.push((blocks, 1)),
        }
    }
    let equal = results.iter().map(|(_, count)| *count).max().unwrap_or(0);
    results.retain(|(_, count)| *count >= needed);
    match (results.pop(), results.is_empty()) {
        (None, _) => Err(OpenError::TooFew { equal, needed }),
        (Some((blocks, _)), true) => Ok(blocks),
        (Some(_), false) => Err(OpenError::Disagreement),
    }
}
