//! What the methods return. Fields are public facts of one node at one moment, proven only where a proof stands
//! beside them.

use crate::Hex;
use parallax_consensus_app::block::{Header, Validator, ValidatorSet};
use parallax_consensus_app::standing::Standing;
use parallax_consensus_app::tx::{NodeDescriptor, Role};
use parallax_consensus_app::{CommitCertificate, Receipt};
use parallax_primitives::{
    Address, Amount, ChainContext, Digest, Epoch, EthereumSignature, Event, Gas, Height, KeyId, NodeId, Nonce,
    ParaTimeId, PublicKey, Round,
};
use parallax_rounds::{Committee, ParaTimeBlock, Proposal, SignedCommitment, SignedProposal};
use parallax_runtime::decryption::KeyManagers;
use parallax_runtime::{Divergence, EvaluationProfile, TxError, TxResult};
use serde::{Deserialize, Serialize};

/// Amounts as decimal strings.
pub mod decimal {
    use super::Amount;
    use serde::{Deserialize, Deserializer, Serializer};
    use std::borrow::Cow;

    /// Writes the decimal digits.
    ///
    /// # Errors
    /// The serialiser's.
    pub fn serialize<S: Serializer>(amount: &Amount, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(amount)
    }

    /// Reads decimal digits.
    ///
    /// # Errors
    /// If the text is no number of at most 128 bits.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Amount, D::Error> {
        let text = Cow::<'de, str>::deserialize(d)?;
        text.parse().map_err(|e| serde::de::Error::custom(format!("{text:?} is not a decimal amount: {e}")))
    }
}

/// Whether a node can do its work now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Whether every role of the node works: consensus follows the chain, and each ParaTime of it is ready.
    pub ready: bool,
    /// Why it is not ready, for people; `None` when it is.
    pub reason: Option<String>,
    /// The last committed height.
    pub height: Height,
    /// Connected peers, of consensus and committee network together.
    pub peers: u32,
    /// The roles it runs.
    pub roles: Vec<Role>,
    /// Whether it is behind the chain and syncing.
    pub catching_up: bool,
    /// Its ParaTimes.
    pub paratimes: Vec<ParaTimeHealth>,
}

/// Whether a ParaTime works on this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParaTimeHealth {
    /// Which.
    pub id: ParaTimeId,
    /// Its program.
    pub kind: String,
    /// The last finalised round that this node knows.
    pub round: Round,
    /// Whether keys are loaded, the state is current and, for a committee member, its peers are connected.
    pub ready: bool,
}

/// What a node is and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its identity.
    pub node: NodeId,
    /// The entity whose stake answers for it.
    pub entity: Address,
    /// Its name for people.
    pub moniker: String,
    /// The program's version.
    pub version: String,
    /// The chain's name.
    pub chain_id: String,
    /// The chain's context, to which every signature is bound.
    pub chain_context: ChainContext,
    /// The last committed height.
    pub height: Height,
    /// The state root after that height.
    pub app_hash: Digest,
    /// The time of that block, milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// The epoch.
    pub epoch: Epoch,
    /// The roles that the node runs.
    pub roles: Vec<Role>,
    /// Connected peers.
    pub peers: u32,
    /// Resident memory of the process, in bytes; 0 where the system does not tell.
    pub rss_bytes: u64,
    /// Transactions that wait in the consensus pool.
    pub pool: u32,
    /// Its ParaTimes.
    pub paratimes: Vec<ParaTimeStatus>,
    /// The fault that the node injects, on a localnet only.
    pub fault: Option<String>,
}

/// Where a ParaTime stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParaTimeStatus {
    /// Which.
    pub id: ParaTimeId,
    /// Its program.
    pub kind: String,
    /// The last finalised round.
    pub round: Round,
    /// The state root after it.
    pub state_root: Digest,
    /// The phase of the running round: `idle`, `announced`, `detect` or `resolve`.
    pub phase: String,
    /// The committee in office.
    pub committee: Committee,
    /// This node's seats, empty if it has none.
    pub seats: Vec<Seat>,
    /// Transactions that wait in this node's pool for it.
    pub pool: u32,
    /// The key set in force.
    pub key_id: KeyId,
}

/// A place in a committee.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seat {
    /// Executes every batch.
    Worker,
    /// Executes after a discrepancy.
    Backup,
}

/// An event of the chain and the height of its block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainEvent {
    /// The height.
    pub height: Height,
    /// The event.
    pub event: Event,
}

/// An event of a ParaTime.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoundEvent {
    /// The round.
    pub round: Round,
    /// The consensus height that finalised the round.
    pub height: Height,
    /// The event.
    pub event: Event,
}

/// Where a consensus transaction ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TxStatus {
    /// The height of its block.
    pub height: Height,
    /// Its position in the block.
    pub index: u32,
    /// Its receipt.
    pub receipt: Receipt,
}

/// A block with what came out of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockView {
    /// The header's hash.
    pub hash: Digest,
    /// The header.
    pub header: Header,
    /// The state root after this block; the next header carries it.
    pub app_hash: Digest,
    /// The transactions, in order.
    pub transactions: Vec<TxView>,
    /// Events outside transactions, in order.
    pub events: Vec<Event>,
    /// The certificate with which this node saw it decided.
    pub certificate: Option<CommitCertificate>,
}

/// What a light client needs to accept a header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LightBlock {
    /// The header.
    pub header: Header,
    /// That it is final.
    pub certificate: CommitCertificate,
    /// The validators that the header names.
    pub validators: ValidatorSet,
}

/// A transaction in a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TxView {
    /// Its digest.
    pub digest: Digest,
    /// What it calls, `module.method`.
    pub call: String,
    /// Who signed it.
    pub signer: PublicKey,
    /// The sender's nonce.
    pub nonce: Nonce,
    /// The fee offered.
    #[serde(with = "decimal")]
    pub fee: Amount,
    /// Its wire bytes.
    pub bytes: Hex,
    /// Its receipt, where the node still keeps it.
    pub receipt: Option<Receipt>,
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountView {
    /// Whose.
    pub address: Address,
    /// Free tokens.
    #[serde(with = "decimal")]
    pub balance: Amount,
    /// The nonce that its next transaction must carry.
    pub nonce: Nonce,
    /// Tokens in the escrow of the entity with this address.
    #[serde(with = "decimal")]
    pub stake: Amount,
    /// Tokens on their way out of escrow.
    #[serde(with = "decimal")]
    pub debonding: Amount,
    /// The height after which this was the state.
    pub height: Height,
}

/// A registered node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeView {
    /// What it said of itself when it registered.
    pub descriptor: NodeDescriptor,
    /// Stake of its entity.
    #[serde(with = "decimal")]
    pub stake: Amount,
    /// Whether it may be elected in the next epoch, where its faults do not suspend it.
    pub electable: bool,
    /// Whether it is frozen, and its faults by ParaTime.
    pub standing: Standing,
}

/// The validators of a height.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValidatorsView {
    /// The height.
    pub height: Height,
    /// The hash that headers carry.
    pub hash: Digest,
    /// The members, in the order of their keys.
    pub validators: Vec<Validator>,
}

/// A ParaTime of the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParaTimeView {
    /// Its id.
    pub id: ParaTimeId,
    /// Its program.
    pub kind: String,
    /// The last finalised round.
    pub round: Round,
    /// Digest of the evaluation profile that its committee needs.
    pub profile: Digest,
    /// The key set in force.
    pub key_id: KeyId,
    /// Whether this node executes or follows it.
    pub served_here: bool,
}

/// The result of a ParaTime transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultView {
    /// The transaction.
    pub tx: Digest,
    /// The round that executed it.
    pub round: Round,
    /// Its position in the batch.
    pub index: u32,
    /// The consensus height that finalised the round.
    pub height: Height,
    /// The ParaTime's state root after the round.
    pub state_root: Digest,
    /// FHE gas charged, in thousandths of a programmable bootstrap.
    pub gas: Gas,
    /// What it returned, in the ParaTime's encoding; `None` if it failed.
    pub output: Option<Hex>,
    /// Why it failed; `None` if it did not.
    pub error: Option<TxError>,
}

impl ResultView {
    /// The view of a result in the block that finalised it.
    pub fn new(result: TxResult, index: u32, block: &ParaTimeBlock) -> Self {
        let (output, error) = match result.outcome {
            Ok(bytes) => (Some(Hex(bytes)), None),
            Err(error) => (None, Some(error)),
        };
        Self {
            tx: result.tx,
            round: block.round,
            index,
            height: block.height,
            state_root: block.state_root,
            gas: result.gas,
            output,
            error,
        }
    }
}

/// The running round of a ParaTime.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoundView {
    /// The ParaTime.
    pub paratime: ParaTimeId,
    /// The round that is running: the last finalised one plus 1.
    pub round: Round,
    /// `idle`, `announced`, `detect` or `resolve`.
    pub phase: String,
    /// The height from which ranks are counted.
    pub started: Height,
    /// The height at which the phase ends; `None` without a deadline.
    pub deadline: Option<Height>,
    /// The live proposal.
    pub proposal: Option<Proposal>,
    /// The committee that executes it.
    pub committee: Committee,
    /// Verdicts so far.
    pub votes: Vec<VoteView>,
}

/// One verdict in a running round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoteView {
    /// Whose.
    pub node: NodeId,
    /// In which seat it counts.
    pub seat: Seat,
    /// The vote; `None` for a failure.
    pub vote: Option<Digest>,
}

/// What the chain says of one round: read by this node from its blocks. Proposals and commitments carry the signatures
/// of those who made them, so whoever reads this need not believe the node, except that nothing is missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoundReport {
    /// The ParaTime.
    pub paratime: ParaTimeId,
    /// The round.
    pub round: Round,
    /// The first height of the round; blocks up to `to` were read.
    pub from: Height,
    /// The height that ended it, or the last one so far.
    pub to: Height,
    /// The block that ended it; `None` while it is running.
    pub block: Option<ParaTimeBlock>,
    /// The proposals that were announced, in order.
    pub proposals: Vec<Announced>,
    /// The commitments that counted, in order.
    pub votes: Vec<Committed>,
    /// Events of this round, in order.
    pub events: Vec<ChainEvent>,
}

/// A proposal that stood on chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announced {
    /// The height of its block.
    pub height: Height,
    /// The proposal, signed by its scheduler.
    pub proposal: SignedProposal,
}

/// A commitment that counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    /// The height of its block.
    pub height: Height,
    /// `worker`, `backup` or `worker,backup`: as what it counted.
    pub seat: String,
    /// The commitment, signed by its node; without the messages, which are not signed with it.
    pub commitment: SignedCommitment,
}

/// A part of the digests of a trace's leaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceDigestsView {
    /// How many leaves the trace has.
    pub count: u64,
    /// Digests from the index asked for on.
    pub digests: Vec<Digest>,
}

/// What a node knows of a disputed proposal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DisputeView {
    /// What comparing the workers' traces showed here; `None` if this node compared none.
    pub divergence: Option<Divergence>,
    /// What executing the proposal took here; `None` if it was not executed here.
    pub effort: Option<EffortView>,
}

/// What an execution took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EffortView {
    /// Programs taken over from what the workers agreed on.
    pub replayed: u64,
    /// Programs evaluated.
    pub evaluated: u64,
    /// Bootstraps that the former would have cost.
    pub saved_pbs: u64,
    /// Bootstraps that the latter cost.
    pub spent_pbs: u64,
}

/// What a client needs to encrypt for a ParaTime, and to check answers of its key managers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicKeyInfo {
    /// The key set in force: the digest of its manifest.
    pub key_id: KeyId,
    /// The one before it, still accepted during an overlap.
    pub previous: Option<KeyId>,
    /// What evaluates under it.
    pub profile: EvaluationProfile,
    /// The parts of the key set and their digests. A part is obtained out of band and checked by its digest.
    pub parts: Vec<KeyPart>,
    /// Who decrypts.
    pub managers: KeyManagers,
}

/// A part of a key set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyPart {
    /// Its role, for example `public` or `crs`.
    pub role: String,
    /// Its digest, from the manifest.
    pub digest: Digest,
    /// Its length, in bytes.
    pub bytes: u64,
}

/// Where a key manager stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KmsStatus {
    /// Its number among the parties.
    pub party: u16,
    /// The address by which contracts of EVM ParaTimes know it.
    pub signer: Address,
    /// The ParaTimes that it decrypts for.
    pub paratimes: Vec<KmsParaTime>,
}

/// Where a key manager stands with one ParaTime.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KmsParaTime {
    /// Which.
    pub id: ParaTimeId,
    /// How many parties there are.
    pub parties: u16,
    /// How many may fail or lie.
    pub threshold: u16,
    /// The key managers' epoch.
    pub epoch: Epoch,
    /// The key under which it decrypts.
    pub key_id: KeyId,
    /// Requests answered since the start of the process.
    pub answered: u64,
    /// Requests refused since the start of the process.
    pub refused: u64,
    /// Grants seen and not yet answered.
    pub pending: u64,
}

/// That contracts of an EVM ParaTime may use the values of an encrypted input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputAttestation {
    /// The values.
    pub handles: Vec<Digest>,
    /// The contract that may use them.
    pub contract: Address,
    /// On whose behalf.
    pub user: Address,
    /// By EIP-712, with the domain of the input verifier.
    pub signature: EthereumSignature,
    /// Whose signature.
    pub signer: Address,
    /// Extra data, which is signed too and ends the proof.
    pub extra: Hex,
}

/// Values of an EVM ParaTime that everyone may know, as contracts believe them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicValues {
    /// As `abi.encode` writes them: a word of 32 bytes each, in the order of the request.
    pub plaintexts: Hex,
    /// The same for people: booleans, addresses, and numbers in decimal digits.
    pub values: Vec<serde_json::Value>,
    /// By EIP-712, with the domain of the decryption verifier.
    pub signature: EthereumSignature,
    /// Whose signature.
    pub signer: Address,
    /// Extra data, which is signed too and ends the proof.
    pub extra: Hex,
}
