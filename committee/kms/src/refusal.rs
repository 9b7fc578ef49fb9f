//! Why a key manager does not decrypt.

use parallax_consensus_app::light::LightError;
use parallax_primitives::{Digest, Height, KeyId, ParaTimeId};

/// A reason with a stable code. The text is for the requester; it never says anything about a plaintext.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The header of the proof is not shown to be final on this chain.
    #[error("the proof's header is not final: {0}")]
    NotFinal(LightError),
    /// The state proofs do not lead to the header's root.
    #[error("the proof does not hold under the final state: {0}")]
    WrongRoot(LightError),
    /// The proof is too old to show what is granted now.
    #[error(
        "the proof is for height {proven}, the chain is at {current}; prove the grant at one of the last {} heights",
        crate::MAX_PROOF_AGE
    )]
    Stale {
        /// The proof's height.
        proven: Height,
        /// The light client's.
        current: Height,
    },
    /// The proof or permit is about another ParaTime.
    #[error("this key manager decrypts for ParaTime {ours} only; ask the key managers of yours")]
    OtherParaTime {
        /// The one it serves.
        ours: ParaTimeId,
    },
    /// The proof shows that there is no such grant.
    #[error("the state holds no grant for ciphertext {cipher}; have the ParaTime grant it first")]
    NoGrant {
        /// The ciphertext.
        cipher: Digest,
    },
    /// The proof is about something else than this request's grant.
    #[error("the proof shows another key than the grant of this request, or the grant of another account")]
    OtherGrant,
    /// The value under the grant's key cannot be read as a grant of this ciphertext.
    #[error("the value under the grant's key is no grant of this ciphertext")]
    MalformedGrant,
    /// The permit is not signed by its requester for this chain.
    #[error("the permit is not signed by its requester for this chain")]
    BadPermit,
    /// The permit is void.
    #[error("the permit expired at height {expires}, the chain is at {current}; sign a new one")]
    ExpiredPermit {
        /// Its last height.
        expires: Height,
        /// The height now.
        current: Height,
    },
    /// The bytes are not the granted ciphertext.
    #[error("the ciphertext bytes hash to {given}, granted is {granted}; fetch them again from another node")]
    OtherCiphertext {
        /// The digest of the bytes.
        given: Digest,
        /// The granted one.
        granted: Digest,
    },
    /// Encrypted under a key that this key manager does not hold.
    #[error("the ciphertext is under key {0}, which this key manager does not hold")]
    UnknownKey(KeyId),
    /// Larger, or of more blocks, than a ciphertext can be; or of none.
    #[error(
        "the ciphertext has {blocks} blocks in {bytes} bytes; accepted are 1 to {} blocks in at most {} bytes",
        crate::MAX_BLOCKS,
        parallax_primitives::limits::MAX_BLOB_BYTES
    )]
    Size {
        /// Its blocks.
        blocks: u16,
        /// Its bytes.
        bytes: usize,
    },
    /// The ciphertext does not conform to the key's parameters.
    #[error("the ciphertext does not conform to the parameters of its key")]
    NotConformant,
    /// The key to seal to is no key.
    #[error("the permit's sealing key is not a valid X25519 key")]
    BadSealingKey,
    /// The key material is not usable at this node.
    #[error("this key manager cannot decrypt at the moment; ask again later or ask another one")]
    Unavailable,
}

impl Refusal {
    /// The stable code, for logs and clients.
    pub fn code(&self) -> u32 {
        match self {
            Self::NotFinal(_) => 1,
            Self::WrongRoot(_) => 2,
            Self::Stale { .. } => 3,
            Self::OtherParaTime { .. } => 4,
            Self::NoGrant { .. } => 5,
            Self::OtherGrant => 6,
            Self::MalformedGrant => 7,
            Self::BadPermit => 8,
            Self::ExpiredPermit { .. } => 9,
            Self::OtherCiphertext { .. } => 10,
            Self::UnknownKey(_) => 11,
            Self::Size { .. } => 12,
            Self::NotConformant => 13,
            Self::BadSealingKey => 14,
            Self::Unavailable => 15,
        }
    }
}

impl From<LightError> for Refusal {
    fn from(error: LightError) -> Self {
        if error.is_about_state() { Self::WrongRoot(error) } else { Self::NotFinal(error) }
    }
}
