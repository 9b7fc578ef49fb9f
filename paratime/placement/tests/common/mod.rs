//! A chain of one validator, a scheduling ParaTime on real state trees, a key manager, four hosts and an owner.

// Helpers outside #[test] functions too: a fixture that cannot be built is a failed test.
#![allow(clippy::unwrap_used, dead_code)]

use parallax_clear::{ClearBackend, ClearCipher, ClearDecryptor};
use parallax_consensus_app::light::{LightClient, ParaTimeProof, ProofBundle, ProofBundleV1};
use parallax_consensus_app::{
    CommitCertificate, Header, PrecommitMessage, Validator, ValidatorSet, keys as ledger, stored,
};
use parallax_kms::KeyManager;
use parallax_memory_store::MemoryStore;
use parallax_placement::{OpeningSeed, PlacementProof, PlacementProofV1};
use parallax_primitives::seal::OpeningKey;
use parallax_primitives::{
    Address, Amount, ChainContext, Digest, Epoch, Height, KeyId, Nonce, ParaTimeId, Round, SecretKey,
};
use parallax_rounds::ParaTimeBlock;
use parallax_runtime::decryption::{KeyManagers, Permit, SignedAnswer, SignedPermit};
use parallax_runtime::{ClientCipher, Execution, ParaTime, RoundContext, access};
use parallax_scheduler::cluster::{Machine, Models, request, sample};
use parallax_scheduler::records::{self, Job};
use parallax_scheduler::{
    Call, EncryptedList, Genesis, GenesisAccount, Params, Policy, Purpose, Replication, Scheduler, TxBody, job_id,
    keys, metadata,
};
use parallax_state::{Batch, Changes, Database, Namespace, StateView, Tree};
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::collections::BTreeMap;
use std::sync::Arc;
use zeroize::Zeroizing;

pub(crate) const CHAIN: ChainContext = ChainContext(Digest([7; 32]));
pub(crate) const KEY: KeyId = KeyId([1; 32]);

pub(crate) fn id() -> ParaTimeId {
    ParaTimeId::named("scheduler")
}

/// The n-th client: 0..=3 are hosts, 10 and 11 own jobs.
pub(crate) fn client(n: u8) -> SecretKey {
    SecretKey::from_seed([n; 32])
}

pub(crate) fn address(key: &SecretKey) -> Address {
    Address::of(&key.public())
}

pub(crate) fn party() -> SecretKey {
    SecretKey::from_seed([0xc4; 32])
}

pub(crate) fn managers() -> KeyManagers {
    KeyManagers { parties: vec![party().public()], threshold: 0, epoch: Epoch(2) }
}

fn validator() -> SecretKey {
    SecretKey::from_seed([0x11; 32])
}

fn validators() -> ValidatorSet {
    ValidatorSet { validators: vec![Validator { node: validator().public(), power: 1 }] }
}

pub(crate) fn light() -> LightClient {
    LightClient::genesis(CHAIN, validators(), 0).unwrap()
}

/// What is sealed to `opening` only.
pub(crate) fn seed(n: u8) -> OpeningSeed {
    OpeningSeed(Zeroizing::new([n; 32]))
}

pub(crate) struct World {
    pub(crate) scheduler: Scheduler,
    backend: ClearBackend,
    tree: Tree,
    pub(crate) round: u64,
    nonces: BTreeMap<Address, u64>,
    pub(crate) manager: KeyManager,
}

impl World {
    pub(crate) fn new() -> Self {
        let params = Params { policies: vec![Policy::Pack], ..Params::localnet(managers()) };
        let accounts = (0..80).map(|n| GenesisAccount { address: address(&client(n)), balance: Amount(1_000_000_000) });
        let accounts = accounts.chain([GenesisAccount { address: address(&party()), balance: Amount(0) }]).collect();
        let scheduler = Scheduler::new(id());
        let genesis = serde_json::to_value(Genesis { params, accounts }).unwrap();
        let tree = Database::open(Arc::new(MemoryStore::new())).unwrap().tree(Namespace::ParaTime(id()));
        let prepared = tree.prepare(1, &scheduler.init_genesis(&genesis).unwrap()).unwrap();
        tree.commit(prepared, Batch::default()).unwrap();
        let decryptor = Arc::new(ClearDecryptor::new(KEY));
        let manager = KeyManager::new(CHAIN, id(), managers(), 0, party(), vec![decryptor]).unwrap();
        let backend = ClearBackend::new(vec![KEY]);
        Self { scheduler, backend, tree, round: 1, nonces: BTreeMap::new(), manager }
    }

    /// With the sample's hosts and jobs, the jobs placed, all owned by clients 10 and up.
    pub(crate) fn placed() -> (Self, Vec<Digest>) {
        let mut world = Self::new();
        let (nodes, pods) = sample();
        let models = Models::of(&nodes).unwrap();
        let hosts: Vec<Vec<u8>> = (0u8..).zip(&nodes).map(|(n, node)| world.register(n, &node.name)).collect();
        world.run(&hosts);
        let reports: Vec<Vec<u8>> = (0u8..)
            .zip(nodes)
            .map(|(n, node)| {
                let digits = Machine::new(node, n, 10).report(&models).digits(&[Policy::Pack]).unwrap();
                let list = world.list(n, Purpose::Telemetry, &digits);
                world.tx(&client(n), Call::ReportTelemetry(list))
            })
            .collect();
        world.run(&reports);
        let mut jobs = Vec::new();
        let mut batch = Vec::new();
        for (n, pod) in (10u8..).zip(&pods) {
            let request = world.list(n, Purpose::Job, &request(pod, &models).unwrap().digits().unwrap());
            jobs.push(job_id(CHAIN, id(), address(&client(n)), 0));
            batch.push(world.tx(&client(n), submit(request)));
        }
        world.run(&batch);
        loop {
            world.run(&[]);
            let granted = world.view().scan(access::PUBLIC_PREFIX).unwrap();
            if granted.is_empty() {
                break;
            }
            let answers: Vec<Vec<u8>> = granted.iter().map(|(key, _)| world.public_answer(key)).collect();
            world.run(&answers);
        }
        (world, jobs)
    }

    pub(crate) fn view(&self) -> impl StateView + use<> {
        self.tree.latest_snapshot().unwrap()
    }

    fn register(&mut self, n: u8, name: &str) -> Vec<u8> {
        let (name, organisation) = (name.to_owned(), "org".to_owned());
        self.tx(&client(n), Call::RegisterHost { name, organisation, zone: 1, peer_id: vec![1] })
    }

    fn list(&self, n: u8, purpose: Purpose, digits: &[u8]) -> EncryptedList {
        let bound = metadata(CHAIN, id(), purpose, address(&client(n)), KEY, Epoch(5));
        EncryptedList { key_id: KEY, epoch: Epoch(5), bytes: ClearCipher::new(KEY, 3).encrypt(digits, &bound).unwrap() }
    }

    pub(crate) fn tx(&mut self, key: &SecretKey, call: Call) -> Vec<u8> {
        let nonce = self.nonces.entry(address(key)).or_default();
        *nonce += 1;
        let nonce = Nonce(*nonce - 1);
        TxBody { chain: CHAIN, paratime: id(), nonce, gas_price: Amount(1), call }.sign(key)
    }

    /// Executes a batch in which everything succeeds, and commits.
    pub(crate) fn run(&mut self, batch: &[Vec<u8>]) -> Execution {
        let round = self.round + 1;
        let context = RoundContext {
            chain: CHAIN,
            paratime: id(),
            round: Round(round),
            previous_hash: Digest([round as u8; 32]),
            epoch: Epoch(5),
            beacon: Digest([8; 32]),
            height: Height(10 * self.round),
            anchor: Digest([100 + round as u8; 32]),
            time_ms: 0,
            key_ids: vec![KEY],
            in_messages: Vec::new(),
            message_results: vec![],
        };
        let done = self.scheduler.execute(&self.view(), &context, batch, &self.backend, &|| false).unwrap();
        for result in &done.results {
            assert!(result.outcome.is_ok(), "{:?}", result.outcome);
        }
        self.commit(round, &done.changes);
        done
    }

    pub(crate) fn commit(&mut self, round: u64, changes: &Changes) {
        let prepared = self.tree.prepare(round, changes).unwrap();
        self.tree.commit(prepared, Batch::default()).unwrap();
        self.round = round;
    }

    /// The proof of a key in the state after the newest round.
    pub(crate) fn prove(&self, key: &[u8]) -> ProofBundle {
        self.prove_at(self.round, key)
    }

    pub(crate) fn prove_at(&self, round: u64, key: &[u8]) -> ProofBundle {
        let genesis = ParaTimeBlock::genesis(id(), self.tree.root_at(round).unwrap());
        let block = ParaTimeBlock { round: Round(round), height: Height(10 * round), ..genesis };
        bundle(block, &self.tree, key)
    }

    fn public_answer(&mut self, key: &[u8]) -> Vec<u8> {
        let (bundle, digest) = (self.prove(key), key.strip_prefix(access::PUBLIC_PREFIX).unwrap());
        let bytes = self.view().blob(&Digest(digest.try_into().unwrap())).unwrap().unwrap();
        let answer = self.manager.answer_public(&light(), &bundle, &bytes).unwrap();
        self.tx(&party(), Call::DeliverAnswer { answers: vec![answer] })
    }

    pub(crate) fn job(&self, job: &Digest) -> Job {
        records::read_job(&self.view().get(&keys::job(job)).unwrap().unwrap()).unwrap()
    }

    pub(crate) fn permit(&self, owner: &SecretKey, job: &Digest, seed: &OpeningSeed) -> SignedPermit {
        let permit = Permit {
            paratime: id(),
            cipher: self.job(job).decision.unwrap().positions[0].digest,
            requester: owner.public(),
            seal_to: OpeningKey::from_seed(&seed.0).1,
            expires: Height(1_000),
        };
        SignedPermit::sign(permit, CHAIN, owner)
    }

    pub(crate) fn answer(&mut self, owner: &SecretKey, permit: &SignedPermit) -> SignedAnswer {
        let bundle = self.prove(&access::user_key(&permit.permit.cipher, &address(owner)));
        let bytes = self.view().blob(&permit.permit.cipher).unwrap().unwrap();
        let rng = &mut StdRng::seed_from_u64(1);
        self.manager.answer_user(rng, &light(), permit, &bundle, &bytes).unwrap()
    }

    /// What the owner exports.
    pub(crate) fn proof(&mut self, owner: u8, job: &Digest) -> PlacementProofV1 {
        let (owner, opening) = (client(owner), seed(0x77));
        let permit = self.permit(&owner, job, &opening);
        let answers = vec![self.answer(&owner, &permit)];
        let (params, record) = (self.prove(&keys::params()), self.prove(&keys::job(job)));
        PlacementProofV1 { job: *job, permit, answers, opening, params, record }
    }
}

pub(crate) fn submit(request: EncryptedList) -> Call {
    Call::SubmitJob { request, policy: Policy::Pack, tier: 0, replication: Replication::default(), image: None }
}

pub(crate) fn v1(proof: &PlacementProofV1) -> PlacementProof {
    PlacementProof::V1(Box::new(proof.clone()))
}

/// The proof of a key in a ParaTime's tree under a block, up to a header that the validator signed.
pub(crate) fn bundle(block: ParaTimeBlock, tree: &Tree, key: &[u8]) -> ProofBundle {
    let (height, round) = (block.height.0 + 2, block.round);
    let outer = Database::open(Arc::new(MemoryStore::new())).unwrap().tree(Namespace::Consensus);
    let block_key = ledger::paratime_block(&block.paratime, round);
    let value = parallax_state::Value::Plain(stored::to_bytes(&block));
    let writes = [(block_key.clone(), Some(value))].into_iter().collect();
    let prepared = outer.prepare(1, &Changes { writes, ..Changes::default() }).unwrap();
    outer.commit(prepared, Batch::default()).unwrap();
    let node = validator().public();
    let header = Header {
        height: Height(height),
        parent: Digest::ZERO,
        time_ms: height * 500,
        proposer: node,
        app_hash: outer.root_at(1).unwrap(),
        transactions_root: Digest::ZERO,
        validators_hash: validators().hash(),
        next_validators_hash: validators().hash(),
    };
    let value = header.hash();
    let message =
        PrecommitMessage { chain: CHAIN, height: header.height, round: 0, value: Some(value), validator: node };
    let signatures = vec![(node, validator().sign_raw(&message.signing_bytes().0))];
    let certificate = CommitCertificate { height: header.height, round: 0, value, signatures };
    let proof = tree.prove(round.0, key).unwrap();
    ProofBundle::V1(ProofBundleV1 {
        header,
        certificate,
        validators: validators(),
        consensus: outer.prove(1, &block_key).unwrap(),
        paratime: Some(ParaTimeProof { block, proof }),
    })
}
