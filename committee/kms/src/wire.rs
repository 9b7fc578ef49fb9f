//! What a reader sends a key manager, and what comes back. The ciphertext does not travel with it: the key manager
//! fetches it by its digest from the nodes that hold it.

use borsh::{BorshDeserialize, BorshSerialize};
use parallax_consensus_app::light::{MAX_BUNDLE_BYTES, ProofBundle};
use parallax_primitives::{DecodeError, Digest, decode, encode};
use parallax_runtime::decryption::{SignedAnswer, SignedPermit};

/// Largest request, in bytes: a bundle and a permit.
pub const MAX_REQUEST_BYTES: usize = MAX_BUNDLE_BYTES + 1024;
/// Largest response, in bytes: an answer has at most [`crate::MAX_BLOCKS`] blocks, a text is cut.
pub const MAX_ANSWER_BYTES: usize = 4 * 1024;

/// A request for a decryption; a new format is a new variant.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum DecryptionRequest {
    /// A ciphertext that everyone may read.
    PublicV1 {
        /// The ciphertext.
        cipher: Digest,
        /// Proves its public grant.
        bundle: ProofBundle,
    },
    /// A ciphertext that the requester may read.
    UserV1 {
        /// The requester's permit.
        permit: SignedPermit,
        /// Proves the requester's grant.
        bundle: ProofBundle,
    },
}

/// The response to a [`DecryptionRequest`]; a new format is a new variant.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum DecryptionResponse {
    /// The answer.
    AnswerV1(Box<SignedAnswer>),
    /// No answer.
    RefusalV1 {
        /// [`crate::Refusal::code`].
        code: u32,
        /// For the requester, at most 512 characters.
        message: String,
    },
}

impl DecryptionRequest {
    /// The ciphertext that is asked for: what to fetch.
    pub fn cipher(&self) -> Digest {
        match self {
            Self::PublicV1 { cipher, .. } => *cipher,
            Self::UserV1 { permit, .. } => permit.permit.cipher,
        }
    }

    /// The wire bytes.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// From wire bytes.
    ///
    /// # Errors
    /// Oversize, malformed, or trailing bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        decode("decryption request", bytes, MAX_REQUEST_BYTES)
    }
}

impl DecryptionResponse {
    /// The wire bytes.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// From wire bytes.
    ///
    /// # Errors
    /// Oversize, malformed, or trailing bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        decode("decryption response", bytes, MAX_ANSWER_BYTES)
    }
}

impl From<Result<SignedAnswer, crate::Refusal>> for DecryptionResponse {
    fn from(outcome: Result<SignedAnswer, crate::Refusal>) -> Self {
        match outcome {
            Ok(answer) => Self::AnswerV1(Box::new(answer)),
            Err(refusal) => {
                Self::RefusalV1 { code: refusal.code(), message: refusal.to_string().chars().take(512).collect() }
            }
        }
    }
}
