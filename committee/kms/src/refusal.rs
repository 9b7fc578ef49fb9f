//! Why a key manager does not decrypt.

use parallax_consensus_app::light::LightError;
use parallax_evm::decryption::HandleError;
use parallax_evm::permit::PermitError;
use parallax_primitives::{Address, Digest, Height, KeyId, ParaTimeId};
use std::fmt;

/// As what an account is part of a user's request for values of contracts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Who asks.
    User,
    /// On whose right the user acts.
    Delegator,
    /// Whose value it is.
    Contract,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User => "user",
            Self::Delegator => "delegator",
            Self::Contract => "contract",
        })
    }
}

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
    /// Handles that cannot be decrypted at all.
    #[error(transparent)]
    Handles(#[from] HandleError),
    /// A user's permit for values of contracts that does not hold.
    #[error(transparent)]
    Permit(#[from] PermitError),
    /// The proofs leave out what the request rests on.
    #[error("the proofs say nothing about {key}, on which the request rests; prove that too")]
    NotProven {
        /// The state key.
        key: String,
    },
    /// The value under a state key cannot be read as what stands there.
    #[error("the value under {key} in the state is not what stands there; the ParaTime runs another version")]
    Unreadable {
        /// The state key.
        key: String,
    },
    /// A value that not everyone may know.
    #[error("handle {handle} is not for everyone; let its contract make it publicly decryptable first")]
    NotPublic {
        /// The value.
        handle: Digest,
    },
    /// A value that an account may not use.
    #[error("{role} {address} may not use handle {handle}; let the contract allow it (FHE.allow, FHE.allowThis) first")]
    NotAllowed {
        /// The value.
        handle: Digest,
        /// As what.
        role: Role,
        /// Who.
        address: Address,
    },
    /// A right that was not delegated, or was taken back.
    #[error("{delegator} has not delegated its right to values of contract {contract} to {user}, or has taken it back")]
    NoDelegation {
        /// Whose right.
        delegator: Address,
        /// To whom.
        user: Address,
        /// Of which contract.
        contract: Address,
    },
    /// A right that was delegated until a time that is over.
    #[error(
        "what {delegator} delegated to {user} for contract {contract} ended at {expiry}, the chain's time is {now} (seconds since 1970)"
    )]
    DelegationExpired {
        /// Whose right.
        delegator: Address,
        /// To whom.
        user: Address,
        /// Of which contract.
        contract: Address,
        /// Until when.
        expiry: u64,
        /// The time of the chain.
        now: u64,
    },
    /// A value that is not there.
    #[error("handle {handle} has no ciphertext in the final state; wait for the round that computes it, or check it")]
    NoCiphertext {
        /// The value.
        handle: Digest,
    },
    /// The bytes of a granted ciphertext were not given.
    #[error("the bytes of ciphertext {cipher} are missing; fetch them from a node that has them")]
    NoBytes {
        /// The ciphertext.
        cipher: Digest,
    },
    /// A transaction that is in no final block.
    #[error("transaction {tx} is in no final block; wait until it is, or check its hash")]
    NoTransaction {
        /// The transaction.
        tx: Digest,
    },
    /// A transaction that brings no encrypted input.
    #[error("transaction {tx} is no encrypted input; only those are attested")]
    NotAnInput {
        /// The transaction.
        tx: Digest,
    },
    /// An encrypted input that failed.
    #[error("the encrypted input {tx} failed, its receipt says why; make and send it again")]
    InputFailed {
        /// The transaction.
        tx: Digest,
    },
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
            Self::Handles(_) => 16,
            Self::Permit(_) => 17,
            Self::NotProven { .. } => 18,
            Self::Unreadable { .. } => 19,
            Self::NotPublic { .. } => 20,
            Self::NotAllowed { .. } => 21,
            Self::NoDelegation { .. } => 22,
            Self::DelegationExpired { .. } => 23,
            Self::NoCiphertext { .. } => 24,
            Self::NoBytes { .. } => 25,
            Self::NoTransaction { .. } => 26,
            Self::NotAnInput { .. } => 27,
            Self::InputFailed { .. } => 28,
        }
    }
}

impl From<LightError> for Refusal {
    fn from(error: LightError) -> Self {
        if error.is_about_state() { Self::WrongRoot(error) } else { Self::NotFinal(error) }
    }
}
