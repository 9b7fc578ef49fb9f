//! A ParaTime with clients and a key manager, without a network: the harness of the tests of rounds.

use crate::cluster::{Machine, Models, sample};
use crate::keys;
use crate::records::{self, Account, Host, Job};
use crate::reference::Cluster;
use crate::tx::{Call, EncryptedList, Purpose, TxBody, metadata};
use crate::{Genesis, GenesisAccount, Params, Policy, Replication, Report, Request, Scheduler};
use parallax_clear::{ClearBackend, ClearCipher, ClearDecryptor};
use parallax_memory_store::MemoryView;
use parallax_primitives::{
    Address, Amount, ChainContext, Digest, Epoch, Gas, Height, KeyId, Nonce, ParaTimeId, Round, SecretKey,
};
use parallax_runtime::decryption::{Answer, KeyManagers, Payload, SignedAnswer};
use parallax_runtime::{ClientCipher, Decryptor, Execution, ParaTime, RoundContext, access};
use parallax_state::{CipherRef, StateView};
use std::collections::BTreeMap;

pub(super) const KEY: KeyId = KeyId([4; 32]);
pub(super) const CHAIN: ChainContext = ChainContext(Digest([1; 32]));
pub(super) const FUNDS: u128 = 1_000_000_000;
/// More than any batch of a test.
pub(super) const LIMIT: Gas = Gas(u64::MAX);

/// The parties and the state.
pub(super) struct Net {
    pub(super) scheduler: Scheduler,
    pub(super) backend: ClearBackend,
    pub(super) state: MemoryView,
    pub(super) round: u64,
    pub(super) epoch: Epoch,
    pub(super) managers: Vec<SecretKey>,
    cipher: ClearCipher,
    nonces: BTreeMap<Address, u64>,
}

pub(super) fn paratime() -> ParaTimeId {
    ParaTimeId::named("scheduler")
}

/// The n-th client.
pub(super) fn client(n: u8) -> SecretKey {
    SecretKey::from_seed([n; 32])
}

pub(super) fn address(key: &SecretKey) -> Address {
    Address::of(&key.public())
}

impl Net {
    pub(super) fn new(adjust: impl FnOnce(&mut Params)) -> Self {
        let managers = vec![SecretKey::from_seed([200; 32])];
        let parties = managers.iter().map(SecretKey::public).collect();
        let mut params = Params::localnet(KeyManagers { parties, threshold: 0, epoch: Epoch(1) });
        params.policies = vec![Policy::Pack];
        adjust(&mut params);
        let accounts = (0..80).map(|n| GenesisAccount { address: address(&client(n)), balance: Amount(FUNDS) });
        let genesis = Genesis { params, accounts: accounts.collect() };
        let scheduler = Scheduler::new(paratime());
        let json = serde_json::to_value(&genesis).expect("it is plain data");
        let mut state = MemoryView::default();
        state.apply(scheduler.init_genesis(&json).expect("the parameters are in range"));
        Self {
            scheduler,
            backend: ClearBackend::new(vec![KEY]),
            state,
            round: 0,
            epoch: Epoch(5),
            managers,
            cipher: ClearCipher::new(KEY, 77),
            nonces: BTreeMap::new(),
        }
    }

    pub(super) fn context(&self) -> RoundContext {
        let round = Round(self.round + 1);
        RoundContext {
            chain: CHAIN,
            paratime: paratime(),
            round,
            previous_hash: Digest([round.0 as u8; 32]),
            epoch: self.epoch,
            beacon: Digest([8; 32]),
            height: Height(10 * self.round),
            anchor: Digest([100 + round.0 as u8; 32]),
            time_ms: 0,
            key_ids: vec![KEY],
            in_messages: Vec::new(),
            message_results: Vec::new(),
        }
    }

    pub(super) fn body(&mut self, key: &SecretKey, call: Call) -> TxBody {
        let nonce = self.nonces.entry(address(key)).or_default();
        *nonce += 1;
        TxBody { chain: CHAIN, paratime: paratime(), nonce: Nonce(*nonce - 1), gas_price: Amount(1), call }
    }

    /// A transaction with the sender's next nonce.
    pub(super) fn tx(&mut self, key: &SecretKey, call: Call) -> Vec<u8> {
        self.body(key, call).sign(key)
    }

    /// Takes a nonce back, after a transaction that was refused.
    pub(super) fn rewind(&mut self, key: &SecretKey) {
        if let Some(nonce) = self.nonces.get_mut(&address(key)) {
            *nonce -= 1;
        }
    }

    pub(super) fn register(&mut self, key: &SecretKey, name: &str) -> Vec<u8> {
        self.register_in(key, name, 1)
    }

    pub(super) fn register_in(&mut self, key: &SecretKey, name: &str, zone: u16) -> Vec<u8> {
        let call =
            Call::RegisterHost { name: name.to_owned(), organisation: "org".to_owned(), zone, peer_id: vec![1, 2, 3] };
        self.tx(key, call)
    }

    pub(super) fn list(&self, sender: &SecretKey, purpose: Purpose, digits: &[u8]) -> EncryptedList {
        let bound = metadata(CHAIN, paratime(), purpose, address(sender), KEY, self.epoch);
        let bytes = self.cipher.encrypt(digits, &bound).expect("digits are in range");
        EncryptedList { key_id: KEY, epoch: self.epoch, bytes }
    }

    pub(super) fn report(&mut self, key: &SecretKey, report: &Report) -> Vec<u8> {
        let digits = report.digits(&self.params().policies).expect("it is in range");
        let list = self.list(key, Purpose::Telemetry, &digits);
        self.tx(key, Call::ReportTelemetry(list))
    }

    pub(super) fn job(&mut self, key: &SecretKey, request: &Request, tier: u8) -> Vec<u8> {
        let list = self.list(key, Purpose::Job, &request.digits().expect("it is in range"));
        let replication = Replication::default();
        self.tx(key, Call::SubmitJob { request: list, policy: Policy::Pack, tier, replication, image: None })
    }

    /// A job of tier 0 by any policy, of any number of replicas.
    pub(super) fn job_of(
        &mut self,
        key: &SecretKey,
        request: &Request,
        policy: Policy,
        replication: Replication,
    ) -> Vec<u8> {
        let list = self.list(key, Purpose::Job, &request.digits().expect("it is in range"));
        self.tx(key, Call::SubmitJob { request: list, policy, tier: 0, replication, image: None })
    }

    /// Executes a round as a committee does: admission, plan, execution twice, and the state moves on.
    pub(super) fn run(&mut self, batch: &[Vec<u8>]) -> Execution {
        let context = self.context();
        let plan = self.scheduler.plan(&self.state, &context, batch, LIMIT).expect("the state is whole");
        assert_eq!(plan.take, batch.len());
        let go = |scheduler: &Scheduler| scheduler.execute(&self.state, &context, batch, &self.backend, &|| false);
        let done = go(&self.scheduler).expect("the batch is executed");
        assert_eq!(Ok(&done), go(&Scheduler::new(paratime())).as_ref(), "another replica computes the same");
        assert!(done.gas <= plan.gas, "the plan covers the work: {} of {}", done.gas, plan.gas);
        self.state.apply(done.changes.clone());
        self.round += 1;
        self.check_books();
        done
    }

    /// Runs a batch in which everything succeeds.
    pub(super) fn run_ok(&mut self, batch: &[Vec<u8>]) -> Execution {
        let done = self.run(batch);
        for result in &done.results {
            assert!(result.outcome.is_ok(), "{:?}", result.outcome);
        }
        done
    }

    pub(super) fn params(&self) -> Params {
        records::params(&self.state).expect("parameters are there")
    }

    pub(super) fn account(&self, key: &SecretKey) -> Account {
        records::account(&self.state, &address(key)).expect("the state is whole")
    }

    fn all<T: borsh::BorshDeserialize>(&self, prefix: &[u8]) -> Vec<T> {
        let entries = self.state.scan(prefix).expect("memory does not fail");
        entries.iter().map(|(k, v)| records::open(k, v).expect("the record is whole")).collect()
    }

    /// No token is made or lost.
    fn check_books(&self) {
        let accounts: u128 = self.all::<Account>(keys::ACCOUNTS).iter().map(|a| a.balance.0).sum();
        let stakes: u128 = self.all::<Host>(keys::HOSTS).iter().map(|h| h.stake.0).sum();
        let escrows: u128 = self.all::<Job>(keys::JOBS).iter().map(|j| j.escrow.0).sum();
        let fees: Option<Amount> = records::get(&self.state, &keys::fees()).expect("the state is whole");
        assert_eq!(accounts + stakes + escrows + fees.unwrap_or_default().0, 80 * FUNDS, "the books do not balance");
    }

    pub(super) fn job_record(&self, id: &Digest) -> Job {
        records::need(&self.state, &keys::job(id)).expect("the job is there")
    }

    /// The key manager's answer for a public grant, as the state shows it.
    pub(super) fn answer(&self, cipher: &CipherRef) -> SignedAnswer {
        assert!(self.state.get(&access::public_key(&cipher.digest)).expect("readable").is_some(), "it is granted");
        let bytes = self.state.blob(&cipher.digest).expect("readable").expect("the ciphertext is kept");
        let blocks = ClearDecryptor::new(KEY).decrypt(&bytes, cipher.blocks).expect("it conforms").to_vec();
        let answer = Answer {
            paratime: paratime(),
            key_id: KEY,
            cipher: cipher.digest,
            request: Digest::ZERO,
            party: 0,
            parties: 1,
            threshold: 0,
            epoch: Epoch(1),
            height: Height(1),
            round: Round(self.round),
            state_root: Digest::ZERO,
            subject: Digest::ZERO,
            payload: Payload::Public(blocks),
        };
        SignedAnswer::sign(answer, CHAIN, &self.managers[0])
    }

    /// The hosts at the positions, as the owner learns them: only if the state grants them.
    pub(super) fn all_placed_on(&self, id: &Digest) -> Vec<Address> {
        let job = self.job_record(id);
        let Some(decision) = job.decision else { return Vec::new() };
        let mut hosts = Vec::new();
        for position in &decision.positions {
            if self.state.get(&access::user_key(&position.digest, &job.owner)).expect("readable").is_none() {
                continue;
            }
            let bytes = self.state.blob(&position.digest).expect("readable").expect("the ciphertext is kept");
            let digits = ClearDecryptor::new(KEY).decrypt(&bytes, position.blocks).expect("it conforms");
            hosts.extend(decision.host_at(&digits));
        }
        hosts
    }

    /// The host of a job that wants one.
    pub(super) fn placed_on(&self, id: &Digest) -> Option<Address> {
        self.all_placed_on(id).first().copied()
    }

    /// The jobs decided in the last round, in order.
    pub(super) fn decided(&self) -> Vec<(Digest, Job)> {
        let entries = self.state.scan(keys::JOBS).expect("memory does not fail");
        let mut jobs: Vec<(Digest, Job)> = entries
            .iter()
            .map(|(k, v)| (Digest(records::suffix(k, keys::JOBS).expect("a key")), records::open(k, v).expect("whole")))
            .filter(|(_, job): &(Digest, Job)| job.decision.as_ref().is_some_and(|d| d.round.0 == self.round))
            .collect();
        jobs.sort_by_key(|(_, job)| job.decision.as_ref().map(|d| d.index));
        jobs
    }

    /// Answers every decision of the last round in the next one.
    pub(super) fn answer_decided(&mut self) -> Execution {
        let relay = client(79);
        let ciphers: Vec<CipherRef> =
            self.decided().iter().filter_map(|(_, j)| Some(j.decision.as_ref()?.placed)).collect();
        let batch: Vec<Vec<u8>> = ciphers
            .iter()
            .map(|cipher| {
                let answers = vec![self.answer(cipher)];
                self.tx(&relay, Call::DeliverAnswer { answers })
            })
            .collect();
        self.run_ok(&batch)
    }

    /// The sample cluster registered and reported by clients 0..=3, with the reference beside it.
    pub(super) fn with_sample(adjust: impl FnOnce(&mut Params)) -> (Self, Models, Cluster<Address>) {
        let mut net = Self::new(adjust);
        let (nodes, _) = sample();
        let models = Models::of(&nodes).expect("two models");
        let mut reference = Cluster::new();
        let registrations: Vec<Vec<u8>> =
            (0u8..).zip(&nodes).map(|(n, node)| net.register(&client(n), &node.name)).collect();
        net.run_ok(&registrations);
        let mut reports = Vec::new();
        for (n, node) in (0u8..).zip(nodes) {
            let report = Machine::new(node, n, 10).report(&models);
            reports.push(net.report(&client(n), &report));
            reference.report(address(&client(n)), report);
        }
        net.run_ok(&reports);
        (net, models, reference)
    }
}
