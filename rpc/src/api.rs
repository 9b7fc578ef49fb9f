//! The methods. An optional height or round means the last committed or finalised one when it is left out.

// The macro makes public items without documentation of their own.
#![allow(missing_docs)]

use crate::types::{
    AccountView, BlockView, ChainEvent, DisputeView, Health, InputAttestation, KmsStatus, NodeView, ParaTimeView,
    PublicKeyInfo, PublicValues, ResultView, RoundEvent, RoundReport, RoundView, Status, TraceDigestsView, TxStatus,
    ValidatorsView,
};
use crate::{Hex, LightBlock, ProofBundle};
use jsonrpsee::core::RpcResult;
use jsonrpsee::proc_macros::rpc;
use parallax_evm::permit::SignedPermit as EvmPermit;
use parallax_primitives::{Address, Digest, Height, NodeId, ParaTimeId, Round};
use parallax_rounds::ParaTimeBlock;
use parallax_runtime::ProvenLeaf;
use parallax_runtime::decryption::{SignedAnswer, SignedPermit};

/// The node itself.
#[rpc(server, client, namespace = "node")]
pub trait NodeApi {
    /// Whether the node can do its work now. Always answered, also while catching up.
    #[method(name = "health")]
    async fn health(&self) -> RpcResult<Health>;

    /// What the node is and where it stands.
    #[method(name = "status")]
    async fn status(&self) -> RpcResult<Status>;

    /// Events of the blocks `from..=to` (at most [`crate::limits::MAX_EVENT_SPAN`] heights) whose names begin with
    /// `prefix`, in order.
    #[method(name = "events")]
    async fn events(&self, from: Height, to: Option<Height>, prefix: Option<String>) -> RpcResult<Vec<ChainEvent>>;
}

/// The consensus layer.
#[rpc(server, client, namespace = "consensus")]
pub trait ConsensusApi {
    /// Admits a signed transaction to the pool and returns its digest. Inclusion is another matter: ask
    /// `consensus_transaction`.
    #[method(name = "submit")]
    async fn submit(&self, tx: Hex) -> RpcResult<Digest>;

    /// Where a transaction ended; `None` while it is in no block.
    #[method(name = "transaction")]
    async fn transaction(&self, digest: Digest) -> RpcResult<Option<TxStatus>>;

    /// A block.
    #[method(name = "block")]
    async fn block(&self, height: Option<Height>) -> RpcResult<BlockView>;

    /// A header with certificate and validators, for a light client.
    #[method(name = "header")]
    async fn header(&self, height: Option<Height>) -> RpcResult<LightBlock>;

    /// An account; one that was never used has zeros.
    #[method(name = "account")]
    async fn account(&self, address: Address) -> RpcResult<AccountView>;

    /// The registered nodes, in the order of their keys.
    #[method(name = "nodes")]
    async fn nodes(&self) -> RpcResult<Vec<NodeView>>;

    /// The validators of a height; known up to the last committed + 2.
    #[method(name = "validators")]
    async fn validators(&self, height: Option<Height>) -> RpcResult<ValidatorsView>;

    /// A value of the consensus state after `height` with its proof, or the proof of its absence, and the header that
    /// carries the root (`height + 1`; left out: the newest state that a header proves).
    #[method(name = "proof")]
    async fn proof(&self, key: Hex, height: Option<Height>) -> RpcResult<ProofBundle>;
}

/// ParaTimes.
#[rpc(server, client, namespace = "paratime")]
pub trait ParaTimeApi {
    /// The ParaTimes of the chain.
    #[method(name = "list")]
    async fn list(&self) -> RpcResult<Vec<ParaTimeView>>;

    /// Admits a transaction to the ParaTime's pool, gossips it to the committee and returns its digest.
    #[method(name = "submit")]
    async fn submit(&self, id: ParaTimeId, tx: Hex) -> RpcResult<Digest>;

    /// The result of a transaction; `None` while no finalised round holds it.
    #[method(name = "result")]
    async fn result(&self, id: ParaTimeId, tx: Digest) -> RpcResult<Option<ResultView>>;

    /// A block.
    #[method(name = "block")]
    async fn block(&self, id: ParaTimeId, round: Option<Round>) -> RpcResult<ParaTimeBlock>;

    /// The running round.
    #[method(name = "round")]
    async fn round(&self, id: ParaTimeId) -> RpcResult<RoundView>;

    /// What the chain says of a round: who proposed, who voted for what and when, and why it ended as it did.
    #[method(name = "round_report")]
    async fn round_report(&self, id: ParaTimeId, round: Round) -> RpcResult<RoundReport>;

    /// Digests of the leaves of the trace with which a node executed a proposal, from an index on. This node asks the
    /// other one; the digests are to be checked against the trace root of that node's commitment. `None` if it has no
    /// such trace or does not answer.
    #[method(name = "trace_digests")]
    async fn trace_digests(
        &self,
        id: ParaTimeId,
        round: Round,
        proposal: Digest,
        node: NodeId,
        from: u64,
    ) -> RpcResult<Option<TraceDigestsView>>;

    /// One leaf of such a trace with its Merkle proof.
    #[method(name = "trace_leaf")]
    async fn trace_leaf(
        &self,
        id: ParaTimeId,
        round: Round,
        proposal: Digest,
        node: NodeId,
        index: u64,
    ) -> RpcResult<Option<ProvenLeaf>>;

    /// What this node found when the workers of a proposal differed, and what executing it took here.
    #[method(name = "dispute")]
    async fn dispute(&self, id: ParaTimeId, round: Round, proposal: Digest) -> RpcResult<DisputeView>;

    /// A read-only question to the ParaTime by name; which ones there are, its own documentation says.
    #[method(name = "query")]
    async fn query(
        &self,
        id: ParaTimeId,
        method: String,
        parameters: serde_json::Value,
    ) -> RpcResult<serde_json::Value>;

    /// What admission and planning say of a transaction, without submitting it.
    #[method(name = "simulate")]
    async fn simulate(&self, id: ParaTimeId, tx: Hex) -> RpcResult<serde_json::Value>;

    /// A value of the ParaTime's state after a round with its proof, up to a consensus header.
    #[method(name = "proof")]
    async fn proof(&self, id: ParaTimeId, key: Hex, round: Option<Round>) -> RpcResult<ProofBundle>;

    /// Ciphertext bytes by digest; `None` if this node does not hold them.
    #[method(name = "blob")]
    async fn blob(&self, digest: Digest) -> RpcResult<Option<Hex>>;

    /// Events of the rounds `from..=to` (at most [`crate::limits::MAX_EVENT_SPAN`] of them), in order.
    #[method(name = "events")]
    async fn events(&self, id: ParaTimeId, from: Round, to: Option<Round>) -> RpcResult<Vec<RoundEvent>>;

    /// What a client needs to encrypt for the ParaTime.
    #[method(name = "public_key")]
    async fn public_key(&self, id: ParaTimeId) -> RpcResult<PublicKeyInfo>;
}

/// Key managers.
#[rpc(server, client, namespace = "kms")]
pub trait KmsApi {
    /// Decrypts for the signer of a permit; the answer is sealed to the permit's key. The node first verifies that
    /// the ciphertext is final and granted. Asking again gives an equal answer.
    #[method(name = "user_decrypt")]
    async fn user_decrypt(&self, permit: SignedPermit) -> RpcResult<SignedAnswer>;

    /// Attests the values of an encrypted input of an EVM ParaTime, once its transaction is in a final block: what a
    /// contract takes as a proof.
    #[method(name = "attest_input")]
    async fn attest_input(&self, paratime: ParaTimeId, tx: Digest) -> RpcResult<InputAttestation>;

    /// Decrypts values of an EVM ParaTime that a contract made publicly decryptable, signed for contracts: at most
    /// `parallax_evm::decryption::MAX_BITS` bits.
    #[method(name = "public_decrypt")]
    async fn public_decrypt(&self, paratime: ParaTimeId, handles: Vec<Digest>) -> RpcResult<PublicValues>;

    /// Decrypts values of contracts of an EVM ParaTime for the signer of a permit, one answer for each, sealed to the
    /// permit's key. Asking again gives equal answers.
    #[method(name = "user_decrypt_for")]
    async fn user_decrypt_for(&self, paratime: ParaTimeId, permit: EvmPermit) -> RpcResult<Vec<SignedAnswer>>;

    /// Where this key manager stands.
    #[method(name = "status")]
    async fn status(&self) -> RpcResult<KmsStatus>;
}
