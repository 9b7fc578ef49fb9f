//! The record of what was asked and what came of it: who, what, on which proof; never the plaintext.

use crate::manager::answer_digest;
use crate::refusal::Refusal;
use borsh::{BorshDeserialize, BorshSerialize};
use parallax_primitives::{Address, DecodeError, Digest, Height, ParaTimeId, decode, encode};
use parallax_runtime::decryption::{SignedAnswer, SignedPermit, request_digest};
use serde::{Deserialize, Serialize};

/// Largest encoded record, in bytes.
pub const MAX_AUDIT_BYTES: usize = 1024;

/// One request and its outcome.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct AuditEntry {
    /// The ParaTime.
    pub paratime: ParaTimeId,
    /// The ciphertext.
    pub cipher: Digest,
    /// The address that asked, by a permit that may be forged; `None` for a public decryption.
    pub requester: Option<Address>,
    /// Digest of the permit; zero for a public decryption.
    pub request: Digest,
    /// The consensus height that the key manager trusted at that time.
    pub height: Height,
    /// The digest of the signed answer, or the code and text of the refusal.
    pub outcome: Result<Digest, (u32, String)>,
}

/// The stored form; a new format is a new variant.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub enum AuditRecord {
    /// The first format.
    V1(AuditEntry),
}

impl AuditRecord {
    /// The record of a public decryption.
    pub fn public(
        paratime: ParaTimeId,
        cipher: Digest,
        height: Height,
        outcome: &Result<SignedAnswer, Refusal>,
    ) -> Self {
        Self::of(paratime, cipher, None, Digest::ZERO, height, outcome)
    }

    /// The record of a user's decryption.
    pub fn user(permit: &SignedPermit, height: Height, outcome: &Result<SignedAnswer, Refusal>) -> Self {
        let wish = &permit.permit;
        let requester = Some(Address::of(&wish.requester));
        Self::of(wish.paratime, wish.cipher, requester, request_digest(wish), height, outcome)
    }

    fn of(
        paratime: ParaTimeId,
        cipher: Digest,
        requester: Option<Address>,
        request: Digest,
        height: Height,
        outcome: &Result<SignedAnswer, Refusal>,
    ) -> Self {
        let outcome = match outcome {
            Ok(answer) => Ok(answer_digest(answer)),
            // A refusal can quote a whole error of the light client; the log keeps its beginning.
            Err(refusal) => Err((refusal.code(), refusal.to_string().chars().take(160).collect())),
        };
        Self::V1(AuditEntry { paratime, cipher, requester, request, height, outcome })
    }

    /// The stored bytes.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// From stored bytes.
    ///
    /// # Errors
    /// Oversize, malformed, or trailing bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        decode("audit record", bytes, MAX_AUDIT_BYTES)
    }
}
