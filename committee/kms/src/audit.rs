//! The record of what was asked and what came of it: who, what, on which proof; never the plaintext.

use crate::evm::{Attestation, PublicDecryption};
use crate::manager::answer_digest;
use crate::refusal::Refusal;
use borsh::{BorshDeserialize, BorshSerialize};
use parallax_evm::permit::SignedPermit as EvmPermit;
use parallax_primitives::{Address, DecodeError, Digest, Domain, Height, ParaTimeId, decode, encode};
use parallax_runtime::decryption::{SignedAnswer, SignedPermit, request_digest};
use serde::{Deserialize, Serialize};

/// Largest encoded record, in bytes.
pub const MAX_AUDIT_BYTES: usize = 16 * 1024;
/// How much of a refusal's text is kept, in characters: it can quote a whole error of the light client.
const MAX_REASON: usize = 160;

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

/// What was asked about an EVM ParaTime.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub enum EvmRequest {
    /// The attestation of an encrypted input.
    Attestation {
        /// The input's transaction.
        tx: Digest,
        /// Its values, if they were attested.
        handles: Vec<Digest>,
    },
    /// A decryption for everyone.
    Public {
        /// The values.
        handles: Vec<Digest>,
    },
    /// A decryption for a user.
    User {
        /// Who asked, by a signature that was checked.
        user: Address,
        /// On whose right, if not its own.
        delegator: Option<Address>,
        /// The values, each with its contract, in the order of the request.
        values: Vec<(Digest, Address)>,
        /// The digest of the request with its permit and signature.
        permit: Digest,
    },
}

/// One request about an EVM ParaTime and its outcome.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct EvmAuditEntry {
    /// The ParaTime.
    pub paratime: ParaTimeId,
    /// What was asked.
    pub request: EvmRequest,
    /// The consensus height that the key manager trusted at that time.
    pub height: Height,
    /// The digest of the signed answers, or the code and text of the refusal.
    pub outcome: Result<Digest, (u32, String)>,
}

fn refused(refusal: &Refusal) -> (u32, String) {
    (refusal.code(), refusal.to_string().chars().take(MAX_REASON).collect())
}

fn digest_of(bytes: &[u8]) -> Digest {
    Digest::of_bytes(Domain::DecryptionAnswer, bytes)
}

/// The stored form; a new format is a new variant.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub enum AuditRecord {
    /// The first format.
    V1(AuditEntry),
    /// About an EVM ParaTime.
    EvmV1(EvmAuditEntry),
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
        let outcome = outcome.as_ref().map(answer_digest).map_err(refused);
        Self::V1(AuditEntry { paratime, cipher, requester, request, height, outcome })
    }

    /// The record of an attestation.
    pub fn attestation(
        paratime: ParaTimeId,
        tx: Digest,
        height: Height,
        outcome: &Result<Attestation, Refusal>,
    ) -> Self {
        let handles = outcome.iter().flat_map(|done| &done.handles).map(|handle| Digest(handle.0)).collect();
        let outcome = outcome.as_ref().map(|done| digest_of(&done.signature.0)).map_err(refused);
        Self::EvmV1(EvmAuditEntry { paratime, request: EvmRequest::Attestation { tx, handles }, height, outcome })
    }

    /// The record of a decryption for everyone.
    pub fn evm_public(
        paratime: ParaTimeId,
        handles: Vec<Digest>,
        height: Height,
        outcome: &Result<PublicDecryption, Refusal>,
    ) -> Self {
        let outcome = outcome.as_ref().map(|done| digest_of(&done.signature.0)).map_err(refused);
        Self::EvmV1(EvmAuditEntry { paratime, request: EvmRequest::Public { handles }, height, outcome })
    }

    /// The record of a decryption for a user.
    pub fn evm_user(
        paratime: ParaTimeId,
        permit: &EvmPermit,
        height: Height,
        outcome: &Result<Vec<SignedAnswer>, Refusal>,
    ) -> Self {
        let request = EvmRequest::User {
            user: permit.user,
            delegator: permit.permit.delegator,
            values: permit.pairs.iter().map(|pair| (pair.handle, pair.contract)).collect(),
            permit: Digest::of_value(Domain::DecryptionPermit, permit),
        };
        let outcome = outcome.as_ref().map(|answers| digest_of(&encode(answers))).map_err(refused);
        Self::EvmV1(EvmAuditEntry { paratime, request, height, outcome })
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
