//! Consensus transactions: versioned canonical borsh, Ed25519, nonce, fee and gas limit.

use borsh::{BorshDeserialize, BorshSerialize};
use parallax_primitives::vrf::{VrfOutput, VrfPublicKey};
use parallax_primitives::{
    Address, Amount, ChainContext, DecodeError, Digest, Domain, Epoch, Gas, NodeId, Nonce, ParaTimeId, PublicKey,
    SecretKey, Signature, SigningContext, codec, encode, limits,
};
use parallax_rounds::{Evidence, SignedCommitment, SignedProposal};
use serde::{Deserialize, Serialize};

/// What a transaction asks for.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub enum Call {
    /// Native tokens to another account.
    Transfer {
        /// The recipient.
        to: Address,
        /// How much.
        amount: Amount,
    },
    /// Moves own tokens into an entity's escrow as its stake.
    Escrow {
        /// The entity.
        to: Address,
        /// How much.
        amount: Amount,
    },
    /// Takes own tokens out of escrow; they return after the debonding time.
    Reclaim {
        /// The entity.
        from: Address,
        /// How much.
        amount: Amount,
    },
    /// Registers or renews a node of the signing entity.
    RegisterNode {
        /// The node's descriptor, signed by the node itself.
        node: SignedNodeDescriptor,
    },
    /// A validator's part of the next epoch's entropy.
    BeaconProof {
        /// The epoch to which it contributes.
        epoch: Epoch,
        /// The VRF output on that epoch's input.
        output: VrfOutput,
    },
    /// A scheduler's proposal, before anything is executed. Anyone may relay it.
    Announce {
        /// The ParaTime.
        paratime: ParaTimeId,
        /// The signed proposal.
        proposal: SignedProposal,
    },
    /// Verdicts of committee members. Anyone may relay them; each is judged alone.
    Commit {
        /// The ParaTime.
        paratime: ParaTimeId,
        /// At most [`limits::MAX_COMMITMENTS_PER_TX`].
        commitments: Vec<SignedCommitment>,
    },
    /// Proof that a member of a ParaTime's committee contradicted itself. The sender is rewarded.
    SubmitEvidence {
        /// The ParaTime.
        paratime: ParaTimeId,
        /// The two statements.
        evidence: Box<Evidence>,
    },
    /// Lifts the freeze of a node of the signing entity, once its time has come.
    Unfreeze {
        /// The node.
        node: NodeId,
    },
    /// Queues a message for a ParaTime. Fee and tokens move onto the ParaTime's account at once.
    SendMessage {
        /// The ParaTime.
        paratime: ParaTimeId,
        /// For the ParaTime's treasury, at least `min_in_message_fee`.
        fee: Amount,
        /// Tokens that the message brings with it; the program says what they are for.
        tokens: Amount,
        /// The program's own encoding, at most [`limits::MAX_IN_MESSAGE_BYTES`].
        data: Vec<u8>,
    },
}

impl Call {
    /// The stable name, `module.method`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Transfer { .. } => "staking.transfer",
            Self::Escrow { .. } => "staking.escrow",
            Self::Reclaim { .. } => "staking.reclaim",
            Self::RegisterNode { .. } => "registry.register_node",
            Self::BeaconProof { .. } => "beacon.prove",
            Self::Announce { .. } => "rounds.announce",
            Self::Commit { .. } => "rounds.commit",
            Self::SubmitEvidence { .. } => "evidence.submit",
            Self::Unfreeze { .. } => "standing.unfreeze",
            Self::SendMessage { .. } => "messages.send",
        }
    }
}

/// What a node may be.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Runs consensus.
    Validator,
    /// Executes ParaTimes.
    Compute,
    /// Decrypts.
    KeyManager,
    /// Follows.
    Observer,
}

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct NodeDescriptor {
    /// Its consensus key: its identity.
    pub node: NodeId,
    /// The entity that runs it; its stake answers for the node.
    pub entity: Address,
    /// What it does.
    pub roles: Vec<Role>,
    /// Its VRF key, for validators.
    pub vrf: VrfPublicKey,
    /// Its libp2p identity, a public Ed25519 key.
    pub peer: PublicKey,
    /// The ParaTimes that it can execute, and the digest of its evaluation profile for each.
    pub paratimes: Vec<(ParaTimeId, Digest)>,
    /// The last epoch for which the registration counts.
    pub expires: Epoch,
}

/// A descriptor signed by the node that it describes (`Domain::Genesis` inside the genesis document, else
/// `Domain::Transaction`).
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct SignedNodeDescriptor {
    /// The descriptor.
    pub descriptor: NodeDescriptor,
    /// The node's signature.
    pub signature: Signature,
}

/// Everything that the sender signs.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct TxBody {
    /// The sender's nonce.
    pub nonce: Nonce,
    /// Paid for inclusion, whatever the result.
    pub fee: Amount,
    /// The most gas that it may use.
    pub gas_limit: Gas,
    /// What it asks for.
    pub call: Call,
}

/// A signed transaction.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct SignedTx {
    /// The body.
    pub body: TxBody,
    /// The sender.
    pub signer: PublicKey,
    /// Over the body, under `Domain::Transaction`.
    pub signature: Signature,
}

/// The wire form; a new format is a new variant.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub enum Transaction {
    /// The first format.
    V1(SignedTx),
}

impl Transaction {
    /// Builds and signs.
    pub fn sign(body: TxBody, chain: ChainContext, key: &SecretKey) -> Self {
        let signature = key.sign(&SigningContext::new(Domain::Transaction, chain), &body);
        Self::V1(SignedTx { body, signer: key.public(), signature })
    }

    /// The signed content.
    pub fn signed(&self) -> &SignedTx {
        match self {
            Self::V1(tx) => tx,
        }
    }

    /// Whether the sender signed it for this chain.
    #[must_use]
    pub fn verify(&self, chain: ChainContext) -> bool {
        let tx = self.signed();
        tx.signer.verify(&SigningContext::new(Domain::Transaction, chain), &tx.body, &tx.signature)
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
        codec::decode("transaction", bytes, limits::MAX_TX_BYTES)
    }
}

/// The digest by which a transaction is found.
pub fn tx_digest(bytes: &[u8]) -> Digest {
    Digest::of_bytes(Domain::Transaction, bytes)
}
