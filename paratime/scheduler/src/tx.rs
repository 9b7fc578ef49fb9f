//! Transactions: form, signature, and the metadata to which encrypted lists are bound.

use crate::anchors::{Countersigned, Progress};
use crate::error::{Code, refuse};
use crate::images::{ImageClaim, MAX_PROOF_NODES};
use crate::model::{MAX_REPLICAS, Policy, Replication};
use crate::policy::PolicyChange;
use borsh::{BorshDeserialize, BorshSerialize};
use parallax_primitives::limits::{MAX_COMMITTEE, MAX_PARATIME_TX_BYTES};
use parallax_primitives::{
    Address, Amount, ChainContext, DecodeError, Digest, Domain, Epoch, KeyId, Nonce, ParaTimeId, PublicKey, SecretKey,
    Signature, SigningContext, decode, encode,
};
use parallax_runtime::TxError;
use parallax_runtime::decryption::SignedAnswer;

/// Longest name of a host or an organisation, in bytes.
pub const MAX_NAME_BYTES: usize = 64;
/// Longest peer id, in bytes.
pub const MAX_PEER_ID_BYTES: usize = 64;
/// How far a nonce may be ahead of the account's to be kept in the pool.
pub const MAX_NONCES_AHEAD: u64 = 64;

/// For what a list is encrypted; part of its metadata, so a report never passes for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Purpose {
    /// [`Call::ReportTelemetry`].
    Telemetry,
    /// [`Call::SubmitJob`].
    Job,
    /// [`Call::RegisterCapacity`].
    Capacity,
}

/// The metadata to which a list's proof of knowledge is bound: a list copied to another sender, purpose, chain,
/// ParaTime, key or epoch does not verify.
pub fn metadata(
    chain: ChainContext,
    paratime: ParaTimeId,
    purpose: Purpose,
    sender: Address,
    key: KeyId,
    epoch: Epoch,
) -> Digest {
    Digest::of_value(Domain::InputMetadata, &(chain, paratime, purpose, sender, key, epoch))
}

/// A compact list of encrypted digits with its proof of knowledge.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct EncryptedList {
    /// The key that encrypts it.
    pub key_id: KeyId,
    /// The epoch to which the proof is bound: the current or the previous one when it is executed.
    pub epoch: Epoch,
    /// The list with its proof.
    pub bytes: Vec<u8>,
}

/// What a transaction does.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Call {
    /// Moves tokens inside the ParaTime.
    Transfer {
        /// To whom.
        to: Address,
        /// How much.
        amount: Amount,
    },
    /// Makes the sender a host and locks its stake.
    RegisterHost {
        /// Its name.
        name: String,
        /// Who owns it.
        organisation: String,
        /// Its zone.
        zone: u16,
        /// The bytes of its libp2p peer id.
        peer_id: Vec<u8>,
    },
    /// A host's new report; it may be chosen again.
    ReportTelemetry(EncryptedList),
    /// A job to be placed.
    SubmitJob {
        /// The request.
        request: EncryptedList,
        /// How the winner is chosen.
        policy: Policy,
        /// Its tier; 0 goes first.
        tier: u8,
        /// How many hosts it wants.
        replication: Replication,
        /// What it runs, with the proof that it is on the list of images. Public. Without a list it may be left out.
        image: Option<ImageClaim>,
    },
    /// Whether an attempt placed its job, as the key managers signed it: `threshold + 1` equal answers. Free.
    DeliverAnswer {
        /// The answers.
        answers: Vec<SignedAnswer>,
    },
    /// Governance changes the policy, from the next round on.
    SetPolicy(PolicyChange),
    /// A placed job's owner leaves the digest of a replica's job, image, host and salt; see [`crate::anchors`].
    AnchorDeployment {
        /// The job.
        job: Digest,
        /// Which of its replicas, counted from 0.
        replica: u8,
        /// The digest.
        anchor: Digest,
    },
    /// A placed job's owner says how far a replica has come.
    UpdateStatus {
        /// The job.
        job: Digest,
        /// Which of its replicas.
        replica: u8,
        /// How far.
        status: Progress,
    },
    /// A dispute: owner or host shows what both signed.
    OpenAnchor(Box<Countersigned>),
    /// What a host has, encrypted, and its public price: what its reports are held against. See [`crate::audit`].
    RegisterCapacity {
        /// The capacity.
        capacity: EncryptedList,
        /// The price of the policy COST.
        price: u8,
    },
}

/// What is signed.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct TxBody {
    /// The chain on which it counts.
    pub chain: ChainContext,
    /// The ParaTime in which it counts.
    pub paratime: ParaTimeId,
    /// The sender's nonce.
    pub nonce: Nonce,
    /// What is paid for one unit of FHE gas.
    pub gas_price: Amount,
    /// What to do.
    pub call: Call,
}

/// A body with its sender's key and signature.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SignedTx {
    /// What is signed.
    pub body: TxBody,
    /// The sender's key.
    pub key: PublicKey,
    /// By the sender, under `Domain::ParaTimeTransaction` in this chain and ParaTime.
    pub signature: Signature,
}

/// A transaction of the scheduling ParaTime, in its wire form.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Transaction {
    /// The first format.
    V1(SignedTx),
}

impl TxBody {
    fn context(&self) -> SigningContext {
        SigningContext::in_paratime(Domain::ParaTimeTransaction, self.chain, self.paratime)
    }

    /// Signs and encodes.
    pub fn sign(self, key: &SecretKey) -> Vec<u8> {
        let signature = key.sign(&self.context(), &self);
        encode(&Transaction::V1(SignedTx { body: self, key: key.public(), signature }))
    }
}

impl SignedTx {
    /// Who sends it.
    pub fn sender(&self) -> Address {
        Address::of(&self.key)
    }

    /// Decodes, and checks everything that the bytes alone decide: size, form, chain, ParaTime, signature, fields.
    ///
    /// # Errors
    /// [`TxError`].
    pub fn open(bytes: &[u8], chain: &ChainContext, paratime: &ParaTimeId) -> Result<Self, TxError> {
        let what = "a scheduler transaction";
        let Transaction::V1(tx) = decode(what, bytes, MAX_PARATIME_TX_BYTES).map_err(|e| {
            let code = match e {
                DecodeError::TooLarge { .. } => Code::TooLarge,
                DecodeError::Malformed { .. } => Code::Malformed,
                DecodeError::Trailing { .. } => Code::TrailingBytes,
            };
            refuse(code, format!("{e}; encode it with the client of this version"))
        })?;
        if tx.body.chain != *chain {
            let text = format!("signed for chain {}, this is chain {chain}; sign it for this one", tx.body.chain);
            return Err(refuse(Code::WrongChain, text));
        }
        if tx.body.paratime != *paratime {
            let text = format!("signed for ParaTime {}, this is {paratime}; sign it for this one", tx.body.paratime);
            return Err(refuse(Code::WrongParaTime, text));
        }
        if !tx.key.verify(&tx.body.context(), &tx.body, &tx.signature) {
            let text = format!("the signature is not that of {} over this transaction; sign it anew", tx.sender());
            return Err(refuse(Code::BadSignature, text));
        }
        tx.body.call.check_fields()?;
        Ok(tx)
    }
}

impl Call {
    /// Checks the public fields.
    pub(crate) fn check_fields(&self) -> Result<(), TxError> {
        let length = |what: &str, actual: usize, limit: usize| {
            if (1..=limit).contains(&actual) {
                return Ok(());
            }
            Err(refuse(Code::BadField, format!("{what}: {actual} is outside 1..={limit}")))
        };
        match self {
            Self::RegisterHost { name, organisation, peer_id, .. } => {
                length("bytes of the host's name", name.len(), MAX_NAME_BYTES)?;
                length("bytes of the organisation", organisation.len(), MAX_NAME_BYTES)?;
                length("bytes of the peer id", peer_id.len(), MAX_PEER_ID_BYTES)
            }
            Self::DeliverAnswer { answers } => length("number of answers", answers.len(), MAX_COMMITTEE),
            Self::SubmitJob { replication, image, .. } => {
                let nodes = image.as_ref().map_or(0, |claim| claim.proof.len());
                if nodes > MAX_PROOF_NODES {
                    let text = format!("the proof of the image has {nodes} nodes, at most {MAX_PROOF_NODES}");
                    return Err(refuse(Code::BadField, text));
                }
                length("number of replicas", replication.count.into(), MAX_REPLICAS.into())
            }
            Self::SetPolicy(change) => change.check_fields(),
            Self::Transfer { .. }
            | Self::ReportTelemetry(_)
            | Self::AnchorDeployment { .. }
            | Self::UpdateStatus { .. }
            | Self::OpenAnchor(_)
            | Self::RegisterCapacity { .. } => Ok(()),
        }
    }

    /// Whether it costs its sender nothing, whatever gas price it names: delivering a valid answer, which can happen
    /// once a decision. Pools take it from the key managers only.
    pub fn is_free(&self) -> bool {
        matches!(self, Self::DeliverAnswer { .. })
    }
}
