//! What reaches the ledger, and what it proves to others.

use crate::messages::user;
use crate::rounds::{self, CHAIN, digest, member, paratime};
use crate::{canonical, decodes};
use parallax_consensus_app::genesis::{ConsensusGenesis, GenesisAccount, ParaTimeDescriptor};
use parallax_consensus_app::light::{
    LightClient, MAX_BUNDLE_BYTES, MAX_SET_BYTES, ParaTimeProof, ProofBundle, ProofBundleV1, ProofSet, ProofSetV1,
};
use parallax_consensus_app::tx::{Call, NodeDescriptor, Role, SignedNodeDescriptor, Transaction, TxBody};
use parallax_consensus_app::{
    Application, Block, BlockContext, BlockLimits, CommitCertificate, Header, Ledger, PrecommitMessage, Validator,
    ValidatorSet, check_invariants, keys, ledger, staking, stored,
};
use parallax_evm::permit::{MAX_PERMIT_BYTES, SignedPermit};
use parallax_kms::{AuditRecord, DecryptionRequest, DecryptionResponse};
use parallax_memory_store::MemoryStore;
use parallax_primitives::merkle::ListProof;
use parallax_primitives::vrf::VrfSecretKey;
use parallax_primitives::{
    Address, Amount, Digest, Epoch, Height, NodeId, Round, SecretKey, SigningContext, encode, limits,
};
use parallax_rounds::{Commitment, ParaTimeBlock, SignedCommitment, SignedProposal};
use parallax_state::{Batch, Changes, Database, Namespace, Overlay, StateProof, Value};
use std::sync::{Arc, LazyLock};

fn validator() -> SecretKey {
    SecretKey::from_seed([0x21; 32])
}

fn entity(node: &NodeId) -> Address {
    Address::of(node)
}

/// One validator, the committee of [`rounds`], one user.
fn genesis() -> ConsensusGenesis {
    let committee = rounds::committee();
    let node = |key: &SecretKey, role: Role| {
        let node = key.public();
        let runs = if role == Role::Compute { vec![(paratime(), digest(5))] } else { vec![] };
        let vrf = VrfSecretKey::from_seed(*key.to_seed()).public();
        let descriptor = NodeDescriptor {
            node,
            entity: entity(&node),
            roles: vec![role],
            vrf,
            peer: node,
            paratimes: runs,
            expires: Epoch(100),
        };
        let context = SigningContext::new(parallax_primitives::Domain::Genesis, CHAIN);
        SignedNodeDescriptor { signature: key.sign(&context, &descriptor), descriptor }
    };
    let mut members: Vec<NodeId> = [committee.workers.clone(), committee.backups.clone()].concat();
    members.sort();
    members.dedup();
    let mut nodes = vec![node(&validator(), Role::Validator)];
    nodes.extend(members.iter().map(|n| node(member(n).unwrap(), Role::Compute)));
    let account = |address, stake| GenesisAccount { address, balance: Amount(10_000_000), stake: Amount(stake) };
    let mut accounts: Vec<GenesisAccount> = nodes.iter().map(|n| account(n.descriptor.entity, 1_000_000)).collect();
    accounts.push(account(Address::of(&user().public()), 0));
    ConsensusGenesis {
        chain_id: "decoding".to_owned(),
        time_ms: 1_000,
        parameters: parallax_consensus_app::localnet_parameters(),
        accounts,
        nodes,
        paratimes: vec![ParaTimeDescriptor {
            id: paratime(),
            kind: "test".to_owned(),
            rounds: rounds::parameters(),
            profile: digest(5),
            key_set: digest(6),
            genesis_root: digest(0),
        }],
        committees: vec![(paratime(), committee)],
        beacon: digest(9),
    }
}

/// A ledger at genesis.
static LEDGER: LazyLock<Ledger> = LazyLock::new(|| {
    let database = Database::open(Arc::new(MemoryStore::new())).unwrap();
    let mut ledger = Ledger::new(database, genesis(), CHAIN).unwrap();
    ledger.init_genesis().unwrap();
    ledger
});

/// A transaction of the user.
pub(crate) fn transaction(call: Call) -> Transaction {
    let snapshot = LEDGER.snapshot().unwrap();
    let nonce = staking::account(&*snapshot, &Address::of(&user().public())).unwrap().nonce;
    let parameters = ledger::parameters(&*snapshot).unwrap();
    Transaction::sign(TxBody::priced(nonce, call, &parameters), CHAIN, &user())
}

/// Puts the right committee member's signatures on what a call relays, so that it is not refused for them alone.
fn resigned(call: Call) -> Call {
    match call {
        Call::Announce { proposal, .. } => {
            let mut proposal = proposal.proposal;
            let Some(key) = member(&proposal.scheduler) else {
                return Call::Announce { paratime: paratime(), proposal: rounds::proposal() };
            };
            proposal.previous_hash = rounds::IDLE.last_hash();
            Call::Announce { paratime: paratime(), proposal: SignedProposal::sign(proposal, CHAIN, paratime(), key) }
        }
        Call::Commit { commitments, .. } => {
            let commitments = commitments
                .into_iter()
                .map(|signed| match member(&signed.commitment.node) {
                    Some(key) => {
                        let previous_hash = rounds::IDLE.last_hash();
                        let commitment = Commitment { previous_hash, ..signed.commitment };
                        SignedCommitment::sign(commitment, signed.messages, CHAIN, paratime(), key)
                    }
                    None => signed,
                })
                .collect();
            Call::Commit { paratime: paratime(), commitments }
        }
        other => other,
    }
}

pub(crate) fn decode_transaction(bytes: &[u8]) -> bool {
    Transaction::decode(bytes).is_ok()
}

/// Decodes a transaction, admits it, and executes it twice in a block on the genesis state: as it is, and with the
/// signatures that its senders could have made.
pub(crate) fn check_transaction(bytes: &[u8]) {
    let snapshot = LEDGER.snapshot().unwrap();
    let admitted = LEDGER.check(&*snapshot, bytes);
    let Some(given) = canonical::<Transaction>("transaction", bytes, limits::MAX_TX_BYTES) else {
        assert!(admitted.is_err(), "what does not decode is not admitted");
        return;
    };
    let again = transaction(resigned(given.signed().body.call.clone())).encode();
    let proposer = validator().public();
    let mut context = BlockContext {
        height: Height(1),
        time_ms: 2_000,
        hash: Digest::ZERO,
        proposer,
        signers: vec![],
        evidence: vec![],
    };
    let limits = BlockLimits { max_bytes: limits::MAX_BLOCK_BYTES, max_txs: 10 };
    let live = transaction(Call::Announce { paratime: paratime(), proposal: rounds::proposal() }).encode();
    let block: Block = LEDGER.propose(&*snapshot, &context, vec![bytes.to_vec(), again, live], limits).unwrap();
    context.hash = block.header.hash();
    context.time_ms = block.header.time_ms;
    let executed = LEDGER.deliver(&*snapshot, &context, &block).expect("an own proposal is valid");
    assert_eq!(executed.receipts.len(), block.transactions.len());
    let mut after = Overlay::new(&*snapshot);
    after.apply(executed.changes);
    check_invariants(&after).expect("the ledger's invariants hold after any transaction");
}

/// A final header over this state root.
fn certified(app_hash: Digest) -> (Header, CommitCertificate, ValidatorSet) {
    let node = validator().public();
    let validators = ValidatorSet { validators: vec![Validator { node, power: 1 }] };
    let header = Header {
        height: Height(40),
        parent: Digest::ZERO,
        time_ms: 20_000,
        proposer: node,
        app_hash,
        transactions_root: Digest::ZERO,
        validators_hash: validators.hash(),
        next_validators_hash: validators.hash(),
    };
    let value = header.hash();
    let message =
        PrecommitMessage { chain: CHAIN, height: header.height, round: 0, value: Some(value), validator: node };
    let signatures = vec![(node, validator().sign_raw(&message.signing_bytes().0))];
    let certificate = CommitCertificate { height: header.height, round: 0, value, signatures };
    (header, certificate, validators)
}

fn tree(ns: Namespace, writes: &[(Vec<u8>, Vec<u8>)]) -> parallax_state::Tree {
    let tree = Database::open(Arc::new(MemoryStore::new())).unwrap().tree(ns);
    let writes = writes.iter().map(|(k, v)| (k.clone(), Some(Value::Plain(v.clone())))).collect();
    let prepared = tree.prepare(1, &Changes { writes, ..Changes::default() }).unwrap();
    tree.commit(prepared, Batch::default()).unwrap();
    tree
}

/// A proof of one value in a ParaTime's state.
pub(crate) fn bundle() -> ProofBundle {
    let inner = tree(Namespace::ParaTime(paratime()), &[(b"a".to_vec(), vec![1]), (b"b".to_vec(), vec![2])]);
    let genesis = ParaTimeBlock::genesis(paratime(), inner.root_at(1).unwrap());
    let block = ParaTimeBlock { round: Round(3), height: Height(30), ..genesis };
    let key = keys::paratime_block(&paratime(), block.round);
    let outer = tree(Namespace::Consensus, &[(key.clone(), stored::to_bytes(&block)), (b"x".to_vec(), vec![0; 16])]);
    let (header, certificate, validators) = certified(outer.root_at(1).unwrap());
    ProofBundle::V1(ProofBundleV1 {
        header,
        certificate,
        validators,
        consensus: outer.prove(1, &key).unwrap(),
        paratime: Some(ParaTimeProof { block, proof: inner.prove(1, b"a").unwrap() }),
    })
}

/// A proof of two values and of the absence of one in a ParaTime's state.
pub(crate) fn set() -> ProofSet {
    let inner = tree(Namespace::ParaTime(paratime()), &[(b"a".to_vec(), vec![1]), (b"b".to_vec(), vec![2])]);
    let more = [b"b", b"c"].map(|key| inner.prove(1, key).unwrap()).to_vec();
    ProofSet::V1(ProofSetV1 { bundle: bundle(), more })
}

/// Proofs of a present and of an absent key.
pub(crate) fn state_proofs() -> Vec<StateProof> {
    [b"a", b"c"].iter().map(|key| PROVEN.prove(1, *key).unwrap()).collect()
}

static PROVEN: LazyLock<parallax_state::Tree> =
    LazyLock::new(|| tree(Namespace::Consensus, &[(b"a".to_vec(), vec![1]), (b"b".to_vec(), vec![2; 40])]));

fn light() -> LightClient {
    let (_, _, validators) = certified(Digest::ZERO);
    LightClient::genesis(CHAIN, validators, 0).unwrap()
}

/// The first byte says what the rest is.
pub(crate) fn decode_proof(bytes: &[u8]) -> bool {
    match bytes.split_first() {
        Some((0, rest)) => StateProof::decode(rest).is_ok(),
        Some((1, rest)) => decodes::<ListProof>("list proof", rest, limits::MAX_PROOF_BYTES),
        Some((2, rest)) => ProofBundle::decode(rest).is_ok(),
        Some((3, rest)) => ProofSet::decode(rest).is_ok(),
        _ => false,
    }
}

pub(crate) fn check_proof(bytes: &[u8]) {
    match bytes.split_first() {
        Some((0, rest)) => {
            let Some(proof) = canonical::<StateProof>("state proof", rest, limits::MAX_PROOF_BYTES) else { return };
            assert_eq!(proof.to_string().parse().as_ref(), Ok(&proof), "the text form comes back");
            if proof.verify(&PROVEN.root_at(1).unwrap()).is_ok() {
                let truth = match proof.key() {
                    b"a" => Some(Value::Plain(vec![1])),
                    b"b" => Some(Value::Plain(vec![2; 40])),
                    _ => None,
                };
                assert_eq!(proof.value(), truth.as_ref(), "a proof that holds tells the truth");
            }
        }
        Some((1, rest)) => {
            let Some(proof) = canonical::<ListProof>("list proof", rest, limits::MAX_PROOF_BYTES) else { return };
            let items: Vec<Digest> = (0..5).map(digest).collect();
            let root = parallax_primitives::merkle::root(&items);
            for (index, item) in items.iter().enumerate() {
                if proof.verify(&root, item) {
                    assert_eq!((proof.index, proof.count), (index as u64, 5), "an item is proven where it stands");
                }
            }
        }
        Some((2, rest)) => {
            let Some(bundle) = canonical::<ProofBundle>("proof bundle", rest, MAX_BUNDLE_BYTES) else { return };
            let _ = bundle.verify(&light());
            // What a validator could certify: another state root makes other proofs hold.
            let ProofBundle::V1(inner) = bundle;
            let (header, certificate, validators) = certified(inner.header.app_hash);
            let _ = ProofBundle::V1(ProofBundleV1 { header, certificate, validators, ..inner }).verify(&light());
        }
        Some((3, rest)) => {
            let Some(set) = canonical::<ProofSet>("proof set", rest, MAX_SET_BYTES) else { return };
            let _ = set.verify(&light());
            let ProofSet::V1(ProofSetV1 { bundle: ProofBundle::V1(inner), more }) = set;
            let (header, certificate, validators) = certified(inner.header.app_hash);
            let bundle = ProofBundle::V1(ProofBundleV1 { header, certificate, validators, ..inner });
            let _ = ProofSet::V1(ProofSetV1 { bundle, more }).verify(&light());
        }
        _ => {}
    }
}

/// The first byte says what the rest is.
pub(crate) fn decode_decryption(bytes: &[u8]) -> bool {
    match bytes.split_first() {
        Some((0, rest)) => DecryptionRequest::decode(rest).is_ok(),
        Some((1, rest)) => DecryptionResponse::decode(rest).is_ok(),
        Some((2, rest)) => AuditRecord::decode(rest).is_ok(),
        Some((3, rest)) => SignedPermit::decode(rest).is_ok(),
        Some((4, rest)) => serde_json::from_slice::<SignedPermit>(rest).is_ok(),
        _ => false,
    }
}

pub(crate) fn check_decryption(bytes: &[u8]) {
    match bytes.split_first() {
        Some((0, rest)) => {
            let Ok(request) = DecryptionRequest::decode(rest) else { return };
            assert_eq!(request.encode(), rest, "a request has one encoding");
            let _ = request.cipher();
            let (DecryptionRequest::PublicV1 { bundle, .. } | DecryptionRequest::UserV1 { bundle, .. }) = &request;
            let _ = bundle.verify(&light());
            if let DecryptionRequest::UserV1 { permit, .. } = &request {
                let _ = permit.verify(CHAIN);
            }
        }
        Some((1, rest)) => {
            let Ok(response) = DecryptionResponse::decode(rest) else { return };
            assert_eq!(response.encode(), rest, "a response has one encoding");
        }
        Some((2, rest)) => {
            let Ok(record) = AuditRecord::decode(rest) else { return };
            assert_eq!(encode(&record), rest, "an audit record has one encoding");
        }
        Some((3, rest)) => {
            let Some(permit) = canonical::<SignedPermit>("permit", rest, MAX_PERMIT_BYTES) else { return };
            use_permit(&permit);
        }
        Some((4, rest)) => {
            let Ok(permit) = serde_json::from_slice::<SignedPermit>(rest) else { return };
            let text = serde_json::to_vec(&permit).unwrap();
            assert_eq!(serde_json::from_slice::<SignedPermit>(&text).unwrap(), permit, "a permit comes back");
            use_permit(&permit);
        }
        _ => {}
    }
}

/// Everything that a key manager does with a permit before it asks for a proof, and the keys that it asks proofs of.
fn use_permit(permit: &SignedPermit) {
    let chain = permit.pairs.first().map_or(0, |pair| parallax_evm::handle::chain_of(&pair.handle.0.into()));
    let _ = permit.check(chain, &Address([0x5f; 20]));
    let _ = permit.permit.holds_at(permit.permit.start);
    for pair in &permit.pairs {
        let _ = permit.request(CHAIN, paratime(), pair);
    }
    assert!(parallax_kms::evm::user_keys(permit).len() <= 4 * permit.pairs.len());
}
