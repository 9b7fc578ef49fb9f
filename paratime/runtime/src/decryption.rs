//! Messages of decryption: requests, and the answers that key managers sign. They carry party, epoch and threshold
//! also where there is one party only, so a committee needs no other format.

use borsh::{BorshDeserialize, BorshSerialize};
use parallax_primitives::seal::{Sealed, SealingKey};
use parallax_primitives::{
    ChainContext, Digest, Domain, Epoch, Height, KeyId, ParaTimeId, PublicKey, Round, SecretKey, Signature,
    SigningContext,
};
use serde::{Deserialize, Serialize};

/// The key managers of a ParaTime, as its genesis or governance fixed them.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct KeyManagers {
    /// Their signing keys; a party's number is its position.
    pub parties: Vec<PublicKey>,
    /// How many may fail or lie: `threshold + 1` equal answers are needed. 0 with one party.
    pub threshold: u16,
    /// The key managers' epoch: it rises with every resharing.
    pub epoch: Epoch,
}

/// A user's signed wish to have a ciphertext decrypted for itself.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Permit {
    /// The ParaTime.
    pub paratime: ParaTimeId,
    /// The ciphertext.
    pub cipher: Digest,
    /// Who asks; the grant must name the address of this key.
    pub requester: PublicKey,
    /// To whom the answer is sealed.
    pub seal_to: SealingKey,
    /// The consensus height after which the permit is void.
    pub expires: Height,
}

/// A permit with the requester's signature.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct SignedPermit {
    /// What is asked.
    pub permit: Permit,
    /// By the requester, under `Domain::DecryptionPermit`.
    pub signature: Signature,
}

impl SignedPermit {
    /// Signs a permit.
    pub fn sign(permit: Permit, chain: ChainContext, key: &SecretKey) -> Self {
        let context = SigningContext::in_paratime(Domain::DecryptionPermit, chain, permit.paratime);
        let signature = key.sign(&context, &permit);
        Self { permit, signature }
    }

    /// Whether the requester signed it for this chain.
    #[must_use]
    pub fn verify(&self, chain: ChainContext) -> bool {
        let context = SigningContext::in_paratime(Domain::DecryptionPermit, chain, self.permit.paratime);
        self.permit.requester.verify(&context, &self.permit, &self.signature)
    }
}

/// The plaintext, or what only its reader can open.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub enum Payload {
    /// The blocks, for everyone: only for ciphertexts made publicly decryptable.
    Public(Vec<u8>),
    /// The blocks, sealed to the key of the permit. The `info` of the seal is the request digest.
    Sealed(Sealed),
}

/// One party's part of a decryption.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Answer {
    /// The ParaTime.
    pub paratime: ParaTimeId,
    /// The key under which the ciphertext is encrypted.
    pub key_id: KeyId,
    /// The ciphertext.
    pub cipher: Digest,
    /// Digest of the permit that it answers; zero for a public decryption.
    pub request: Digest,
    /// The party's number.
    pub party: u16,
    /// How many parties there are.
    pub parties: u16,
    /// The threshold in force.
    pub threshold: u16,
    /// The key managers' epoch.
    pub epoch: Epoch,
    /// The consensus height whose header proved the grant.
    pub height: Height,
    /// The round of the ParaTime in whose state the grant was proven.
    pub round: Round,
    /// The root of that state.
    pub state_root: Digest,
    /// What the ciphertext belongs to, as the grant says.
    pub subject: Digest,
    /// The result.
    pub payload: Payload,
}

/// An answer with the party's signature: the receiver can show it to others.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct SignedAnswer {
    /// The answer.
    pub answer: Answer,
    /// By the party, under `Domain::DecryptionAnswer`.
    pub signature: Signature,
}

impl SignedAnswer {
    /// Signs an answer.
    pub fn sign(answer: Answer, chain: ChainContext, key: &SecretKey) -> Self {
        let context = SigningContext::in_paratime(Domain::DecryptionAnswer, chain, answer.paratime);
        let signature = key.sign(&context, &answer);
        Self { answer, signature }
    }

    /// Whether it comes from the party that it names, among these key managers, on this chain.
    #[must_use]
    pub fn verify(&self, chain: ChainContext, managers: &KeyManagers) -> bool {
        let a = &self.answer;
        let context = SigningContext::in_paratime(Domain::DecryptionAnswer, chain, a.paratime);
        a.epoch == managers.epoch
            && a.threshold == managers.threshold
            && usize::from(a.parties) == managers.parties.len()
            && managers.parties.get(usize::from(a.party)).is_some_and(|k| k.verify(&context, a, &self.signature))
    }
}

/// The digest of a permit: it names the request, and the seal is bound to it.
pub fn request_digest(permit: &Permit) -> Digest {
    Digest::of_value(Domain::DecryptionRequest, permit)
}
