//! The ledger with both ParaTimes on the clear backend: rounds are executed here and voted on by all workers.

use crate::ledger::{self, Net};
use crate::wallet::{Unsigned, Wallet};
use parallax_clear::{ClearBackend, ClearCipher, ClearDecryptor};
use parallax_consensus_app::genesis::ParaTimeDescriptor;
use parallax_consensus_app::tx::{Call as LedgerCall, Role};
use parallax_consensus_app::{messages, registry};
use parallax_evm::params::{self as evm, SchedulerLink, Signers};
use parallax_evm::{EvmParaTime, host};
use parallax_memory_store::MemoryView;
use parallax_primitives::message::{OutMessage, contract_account};
use parallax_primitives::{
    Address, Amount, Digest, Domain, Epoch, Gas, Height, KeyId, Nonce, ParaTimeId, SecretKey, merkle,
};
use parallax_rounds::{
    Commitment, Committee, Outcome, Proposal, RoundParameters, SignedCommitment, SignedProposal, messages_hash,
};
use parallax_runtime::decryption::{Answer, KeyManagers, Payload, SignedAnswer};
use parallax_runtime::paratime::tx_digest;
use parallax_runtime::{ClientCipher, Decryptor, Execution, ParaTime, RoundContext, access};
use parallax_scheduler::cluster::{Machine, Models, sample};
use parallax_scheduler::records::{Job, read_job};
use parallax_scheduler::{Call, EncryptedList, Policy, Purpose, Request, Scheduler, TxBody, keys, metadata};
use parallax_state::{CipherRef, StateView};
use revm::primitives::{Address as Contract, B256, Bytes, TxKind, U256, hex, keccak256};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;

pub(crate) const KEY: KeyId = KeyId([4; 32]);
/// What each message pays.
pub(crate) const FEE: u128 = 1_000;
/// Wei of a base unit.
pub(crate) const WEI: u128 = 1_000_000_000;
/// The EVM's.
pub(crate) const CHAIN_ID: u64 = 31_337;
const RUNNER: &str = include_str!("../../../../paratime/evm/contracts/JobRunner.hex");

pub(crate) fn evm_id() -> ParaTimeId {
    ParaTimeId::named("evm")
}

pub(crate) fn scheduler_id() -> ParaTimeId {
    ParaTimeId::named("scheduler")
}

/// The n-th client of the scheduler: 0..=3 are hosts, 10 is the agent of the contract.
pub(crate) fn client(n: u8) -> SecretKey {
    SecretKey::from_seed([n; 32])
}

pub(crate) fn address(key: &SecretKey) -> Address {
    Address::of(&key.public())
}

fn manager() -> SecretKey {
    SecretKey::from_seed([200; 32])
}

pub(crate) struct World {
    pub(crate) net: Net,
    evm: EvmParaTime,
    scheduler: Scheduler,
    backend: ClearBackend,
    pub(crate) evm_state: MemoryView,
    pub(crate) state: MemoryView,
    nonces: BTreeMap<Address, u64>,
    wallet_nonce: u64,
    pub(crate) alice: Wallet,
    /// Tokens that came back from the scheduler, fees not counted.
    pub(crate) returned: u128,
    epoch: Epoch,
}

/// Rounds with room for everything that a test does.
fn rounds() -> RoundParameters {
    let most = Gas(u64::MAX / 8);
    RoundParameters { gas_per_block: most, max_batch_gas: most, ..ledger::round_parameters() }
}

impl World {
    /// With four hosts that have reported. `link`: the ParaTime that the EVM takes for the scheduler.
    pub(crate) fn new(link: ParaTimeId) -> Self {
        let managers = KeyManagers { parties: vec![manager().public()], threshold: 0, epoch: Epoch(1) };
        let signers = Signers {
            contract: Address([0x81; 20]),
            chain_id: 10_901,
            signers: vec![Address(Wallet::seeded(71).address().into_array())],
            threshold: 1,
        };
        let mut params = evm::Params::localnet(managers.clone(), signers.clone(), signers);
        params.scheduler = Some(SchedulerLink { paratime: link, message_fee: Amount(FEE) });
        assert_eq!(u128::from(params.wei_per_token), WEI);
        let of_evm = evm::Genesis::localnet(params);
        let mut params = parallax_scheduler::Params::localnet(managers);
        params.policies = vec![Policy::Pack];
        params.candidates_per_decision = 4;
        let account =
            |n| parallax_scheduler::GenesisAccount { address: address(&client(n)), balance: Amount(1_000_000_000) };
        let of_scheduler = parallax_scheduler::Genesis { params, accounts: (0..80).map(account).collect() };
        let (evm, scheduler) = (EvmParaTime::new(evm_id()), Scheduler::new(scheduler_id()));
        let (mut evm_state, mut state) = (MemoryView::default(), MemoryView::default());
        evm_state.apply(evm.init_genesis(&serde_json::to_value(&of_evm).unwrap()).unwrap());
        state.apply(scheduler.init_genesis(&serde_json::to_value(&of_scheduler).unwrap()).unwrap());
        let mut world = Self {
            net: net(),
            evm,
            scheduler,
            backend: ClearBackend::new(vec![KEY]),
            evm_state,
            state,
            nonces: BTreeMap::new(),
            wallet_nonce: 0,
            alice: Wallet::development(0),
            returned: 0,
            epoch: Epoch::ZERO,
        };
        world.hosts();
        world
    }

    fn hosts(&mut self) {
        let (nodes, _) = sample();
        let models = Models::of(&nodes).unwrap();
        let registrations: Vec<Vec<u8>> = (0u8..)
            .zip(&nodes)
            .map(|(n, node)| {
                let (name, organisation) = (node.name.clone(), "org".to_owned());
                self.tx(&client(n), Call::RegisterHost { name, organisation, zone: 1, peer_id: vec![1] })
            })
            .collect();
        self.scheduler_round(&registrations);
        let reports: Vec<Vec<u8>> = (0u8..)
            .zip(nodes)
            .map(|(n, node)| {
                let digits = Machine::new(node, n, 10).report(&models).digits(&[Policy::Pack]).unwrap();
                let list = self.list(address(&client(n)), Purpose::Telemetry, &digits);
                self.tx(&client(n), Call::ReportTelemetry(list))
            })
            .collect();
        self.scheduler_round(&reports);
    }

    pub(crate) fn list(&self, owner: Address, purpose: Purpose, digits: &[u8]) -> EncryptedList {
        let bound = metadata(self.net.chain, scheduler_id(), purpose, owner, KEY, self.epoch);
        let bytes = ClearCipher::new(KEY, 77).encrypt(digits, &bound).unwrap();
        EncryptedList { key_id: KEY, epoch: self.epoch, bytes }
    }

    /// A transaction of the scheduler.
    pub(crate) fn tx(&mut self, key: &SecretKey, call: Call) -> Vec<u8> {
        let nonce = self.nonces.entry(address(key)).or_default();
        *nonce += 1;
        let (chain, paratime) = (self.net.chain, scheduler_id());
        TxBody { chain, paratime, nonce: Nonce(*nonce - 1), gas_price: Amount(1), call }.sign(key)
    }

    // Rounds.

    pub(crate) fn scheduler_round(&mut self, batch: &[Vec<u8>]) -> Execution {
        let done = self.round(scheduler_id(), batch);
        for result in &done.results {
            assert!(result.outcome.is_ok(), "{:?}", result.outcome);
        }
        self.returned += done.messages.iter().map(tokens).sum::<u128>();
        done
    }

    pub(crate) fn evm_round(&mut self, batch: &[Vec<u8>]) -> Execution {
        self.round(evm_id(), batch)
    }

    /// A round of each, so that what one sends reaches the other.
    pub(crate) fn both(&mut self) {
        self.evm_round(&[]);
        self.scheduler_round(&[]);
    }

    /// Rounds of both until nothing is on its way.
    pub(crate) fn settle(&mut self) {
        for _ in 0..8 {
            self.both();
        }
    }

    /// Executes a round on two replicas and has the ledger accept it.
    fn round(&mut self, id: ParaTimeId, batch: &[Vec<u8>]) -> Execution {
        self.net.paratime = id;
        let machine = self.net.machine();
        let height = self.net.height();
        let context = RoundContext {
            chain: self.net.chain,
            paratime: id,
            round: machine.round(),
            previous_hash: machine.last_hash(),
            epoch: machine.epoch(),
            beacon: ledger::digest("beacon"),
            height,
            anchor: Digest::of_value(Domain::Simulation, &("anchor", height)),
            time_ms: 1_000 * height.0,
            key_ids: vec![KEY],
            in_messages: machine.offered_in_messages().to_vec(),
            message_results: messages::results(&*self.net.view(), &id).unwrap(),
        };
        let (runtime, state): (&dyn ParaTime, &MemoryView) =
            if id == evm_id() { (&self.evm, &self.evm_state) } else { (&self.scheduler, &self.state) };
        let plan = runtime.plan(state, &context, batch, Gas(u64::MAX / 8)).unwrap();
        assert_eq!(plan.take, batch.len());
        let go = || runtime.execute(state, &context, batch, &self.backend, &|| false).unwrap();
        let (done, again) = (go(), go());
        assert_eq!(done, again, "another replica computes the same");
        assert!(done.gas <= plan.gas, "{} is spent, {} was planned", done.gas, plan.gas);
        let transactions: Vec<Digest> = batch.iter().map(|tx| tx_digest(tx)).collect();
        self.accept(&transactions, plan.gas, &done);
        if id == evm_id() { &mut self.evm_state } else { &mut self.state }.apply(done.changes.clone());
        done
    }

    /// Announces the round of `net.paratime` and has all workers vote for it.
    fn accept(&mut self, transactions: &[Digest], gas: Gas, done: &Execution) {
        let (machine, id, chain) = (self.net.machine(), self.net.paratime, self.net.chain);
        let workers = machine.committee().unwrap().workers.clone();
        let scheduler = machine.committee().unwrap().worker_of_rank(machine.round(), 0).unwrap();
        let proposal = Proposal {
            scheduler,
            rank: 0,
            round: machine.round(),
            previous_hash: machine.last_hash(),
            batch_root: merkle::root(transactions),
            transactions: transactions.to_vec(),
            gas,
        };
        let consumed = &machine.offered_in_messages()[..done.in_messages_count as usize];
        let outcome = Outcome::Success {
            io_root: done.io_root(),
            state_root: Digest::of_value(Domain::Simulation, &done.changes),
            trace_root: done.trace.root(),
            messages_hash: messages_hash(&done.messages),
            in_messages_hash: messages_hash(consumed),
            in_messages_count: done.in_messages_count,
        };
        let votes = workers.iter().map(|node| {
            let key = &self.net.operator(node).node;
            let commitment = Commitment {
                node: *node,
                proposal: proposal.digest(),
                round: machine.round(),
                previous_hash: machine.last_hash(),
                outcome: outcome.clone(),
            };
            let sent = if *node == scheduler { done.messages.clone() } else { vec![] };
            SignedCommitment::sign(commitment, sent, chain, id, key)
        });
        let votes: Vec<SignedCommitment> = votes.collect();
        let key = self.net.operator(&scheduler).node.clone();
        let proposal = SignedProposal::sign(proposal, chain, id, &key);
        self.net.send(&key, LedgerCall::Announce { paratime: id, proposal }).outcome.unwrap();
        let executed = self.net.commit(votes);
        assert_eq!(ledger::events(&executed, "rounds.finalized").len(), 1);
    }

    // The ledger.

    /// A message of a user of the ledger.
    pub(crate) fn message(&mut self, to: ParaTimeId, tokens: u128, data: Vec<u8>) {
        let user = self.net.users[0].clone();
        let call = LedgerCall::SendMessage { paratime: to, fee: Amount(FEE), tokens: Amount(tokens), data };
        self.net.send(&user, call).outcome.unwrap();
    }

    /// Tokens on a ParaTime's account at the ledger.
    pub(crate) fn held(&self, id: &ParaTimeId) -> u128 {
        self.net.balance(&registry::paratime_account(id))
    }

    // The EVM.

    /// Alice gets so many tokens from the ledger, and deploys the contract.
    pub(crate) fn deploy(&mut self, tokens: u128) -> Contract {
        self.message(evm_id(), tokens, self.alice.address().to_vec());
        self.evm_round(&[]);
        let code = hex::decode(RUNNER.trim()).unwrap();
        let receipt = self.send(TxKind::Create, 0, code);
        assert_eq!(receipt["status"], "0x1", "{receipt}");
        receipt["contract"].as_str().unwrap().parse().unwrap()
    }

    /// Alice's last transactions were undone.
    pub(crate) fn rewind(&mut self, count: u64) {
        self.wallet_nonce -= count;
    }

    /// A transaction of Alice's.
    pub(crate) fn signed(&mut self, to: TxKind, value: u128, input: impl Into<Bytes>) -> Vec<u8> {
        self.wallet_nonce += 1;
        self.alice.transaction(&Unsigned {
            kind: 2,
            chain_id: Some(CHAIN_ID),
            nonce: self.wallet_nonce - 1,
            max_priority_fee: 0,
            max_fee: 3_000_000_000,
            gas_limit: 5_000_000,
            to,
            value: U256::from(value),
            input: input.into(),
        })
    }

    /// Executes a transaction of Alice's in a round of its own; its receipt.
    pub(crate) fn send(&mut self, to: TxKind, value: u128, input: impl Into<Bytes>) -> Json {
        let tx = self.signed(to, value, input);
        self.evm_round(std::slice::from_ref(&tx));
        self.receipt(&tx)
    }

    pub(crate) fn receipt(&self, tx: &[u8]) -> Json {
        self.evm.query(&self.evm_state, "receipt", &json!({ "hash": keccak256(tx).to_string() })).unwrap()
    }

    /// The words that a call returns.
    pub(crate) fn ask(&self, to: Contract, signature: &str, words: &[B256]) -> Vec<B256> {
        let call = json!({ "to": to.to_string(), "input": hex::encode(calldata(signature, words)) });
        let answer = self.evm.query(&self.evm_state, "eth_call", &json!([call, "latest"])).unwrap();
        let bytes: Bytes = answer["result"].as_str().unwrap_or_else(|| panic!("{answer}")).parse().unwrap();
        bytes.chunks_exact(32).map(B256::from_slice).collect()
    }

    pub(crate) fn wei(&self, of: Contract) -> U256 {
        let answer = self.evm.query(&self.evm_state, "eth_getBalance", &json!([of.to_string(), "latest"])).unwrap();
        answer["result"].as_str().unwrap().parse().unwrap()
    }

    /// Calldata of the contract's `run`, for a job that any host of the sample can take.
    pub(crate) fn run(&self, list: &EncryptedList) -> Vec<u8> {
        run(&terms(list), &list.bytes)
    }

    /// A request's list, encrypted for the account that the contract has at the scheduler.
    pub(crate) fn job_list(&self, contract: Contract) -> EncryptedList {
        let owner = contract_account(&evm_id(), &Address(contract.into_array()));
        self.list(owner, Purpose::Job, &Request { latency: 15, ..Request::default() }.digits().unwrap())
    }

    /// Where a request stands: status, job, refunded wei, module, code.
    pub(crate) fn status(&self, request: u64) -> (u64, Digest, U256, String, u64) {
        let found = self.ask(host::JOBS, "jobOf(uint256)", &[B256::from(U256::from(request))]);
        let number = |at: usize| U256::from_be_bytes(found[at].0);
        let module = String::from_utf8(found[4].iter().copied().filter(|b| *b != 0).collect()).unwrap();
        (number(1).to(), Digest(found[2].0), number(3), module, number(5).to())
    }

    // The scheduler.

    pub(crate) fn job(&self, id: &Digest) -> Job {
        read_job(&self.state.get(&keys::job(id)).unwrap().expect("there is such a job")).unwrap()
    }

    pub(crate) fn scheduler_balance(&self, of: &Address) -> u128 {
        let found = self.scheduler.query(&self.state, "account", &json!({ "address": of })).unwrap();
        found["balance"].as_str().unwrap().parse().unwrap()
    }

    /// The transaction with which the key manager says whether a job was placed.
    pub(crate) fn answer(&mut self, job: &Digest) -> Vec<u8> {
        let cipher = self.job(job).decision.expect("it was decided").placed;
        assert!(self.state.get(&access::public_key(&cipher.digest)).unwrap().is_some(), "it is granted");
        let answer = Answer {
            paratime: scheduler_id(),
            key_id: KEY,
            cipher: cipher.digest,
            request: Digest::ZERO,
            party: 0,
            parties: 1,
            threshold: 0,
            epoch: Epoch(1),
            height: Height(1),
            round: self.job(job).decision.unwrap().round,
            state_root: Digest::ZERO,
            subject: *job,
            payload: Payload::Public(self.decrypt(&cipher)),
        };
        let answers = vec![SignedAnswer::sign(answer, self.net.chain, &manager())];
        self.tx(&client(79), Call::DeliverAnswer { answers })
    }

    fn decrypt(&self, cipher: &CipherRef) -> Vec<u8> {
        let bytes = self.state.blob(&cipher.digest).unwrap().expect("it is kept");
        ClearDecryptor::new(KEY).decrypt(&bytes, cipher.blocks).unwrap().to_vec()
    }

    /// The host of a placed job as `reader` may have it decrypted.
    pub(crate) fn host_for(&self, job: &Digest, reader: &Address) -> Option<Address> {
        let decision = self.job(job).decision?;
        let position = decision.positions[0];
        self.state.get(&access::user_key(&position.digest, reader)).unwrap()?;
        decision.host_at(&self.decrypt(&position))
    }
}

/// Tokens of a message between ParaTimes.
pub(crate) fn tokens(message: &OutMessage) -> u128 {
    match message {
        OutMessage::Call { tokens, .. } => tokens.0,
        OutMessage::Transfer { .. } => panic!("nothing is transferred here"),
    }
}

/// Calldata of a function with arguments of one word each.
pub(crate) fn calldata(signature: &str, words: &[B256]) -> Vec<u8> {
    let mut out = keccak256(signature)[..4].to_vec();
    words.iter().for_each(|word| out.extend_from_slice(word.as_slice()));
    out
}

pub(crate) fn word(n: u128) -> B256 {
    B256::from(U256::from(n))
}

/// The public terms of a job of one host, by the policy PACK, at the least price, with client 10 as agent.
pub(crate) fn terms(list: &EncryptedList) -> Vec<B256> {
    let agent = Contract::from(address(&client(10)).0).into_word();
    let numbers = [list.epoch.0, 0, 0, 1, 0, 0, 1];
    let mut out = vec![B256::from(list.key_id.0)];
    out.extend(numbers.map(|n| word(n.into())));
    out.extend([agent, B256::ZERO]);
    out
}

/// Calldata of `JobRunner.run`.
pub(crate) fn run(terms: &[B256], list: &[u8]) -> Vec<u8> {
    let signature = "run((bytes32,uint64,uint8,uint8,uint8,bool,bool,uint128,address,bytes32),bytes)";
    let mut out = calldata(signature, terms);
    out.extend(word(11 * 32).0);
    out.extend(word(list.len() as u128).0);
    out.extend(list);
    out.resize((out.len() - 4).next_multiple_of(32) + 4, 0);
    out
}

/// The small chain of the ledger's tests, with two ParaTimes, one committee for both and one long epoch.
fn net() -> Net {
    let mut document = ledger::genesis();
    let (validators, computes) = ledger::operators();
    let mut ids = [evm_id(), scheduler_id()];
    ids.sort_unstable();
    let seats = ids.map(|id| (id, ledger::profile())).to_vec();
    let sign = |o: &ledger::Operator, roles: &[Role], seats| {
        o.sign(o.descriptor(roles, seats), Domain::Genesis, ledger::chain())
    };
    document.nodes = validators.iter().map(|o| sign(o, &[Role::Validator], vec![])).collect();
    document.nodes.extend(computes.iter().map(|o| sign(o, &[Role::Compute], seats.clone())));
    document.parameters.epoch_blocks = 100_000;
    let committee: Committee = document.committees[0].1.clone();
    document.committees = ids.map(|id| (id, committee.clone())).to_vec();
    let descriptor = |id: ParaTimeId| ParaTimeDescriptor {
        id,
        kind: "test".to_owned(),
        rounds: rounds(),
        profile: ledger::profile(),
        key_set: ledger::digest("key set"),
        genesis_root: ledger::digest("root 0"),
    };
    document.paratimes = ids.map(descriptor).to_vec();
    for account in &mut document.accounts {
        account.balance = Amount(1_000_000_000_000);
    }
    Net::of(document)
}
