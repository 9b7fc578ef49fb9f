//! The EVM ParaTime on real ciphertexts, in process, with a backend that notes what it is asked for.

use crate::clock::core_seconds;
use crate::wallet::{Unsigned, UnsignedInput, Wallet};
use parallax_evm::handle::FheType;
use parallax_evm::host::Verifier;
use parallax_evm::params::{Genesis, GenesisAccount, Params, Signers, development_balances};
use parallax_evm::state::cipher;
use parallax_evm::{EvmParaTime, input};
use parallax_fhe::{
    BackendKind, ClientKeys, EvaluationKeys, FftPlan, GenerateOptions, SecretKeys, TfheBackend, TfheClientCipher,
    TfheDecryptor, cache, init,
};
use parallax_memory_store::MemoryView;
use parallax_primitives::{
    Address as Account, ChainContext, Digest, Domain, Epoch, Gas, Height, KeyId, ParaTimeId, Round, SecretKey,
};
use parallax_runtime::decryption::KeyManagers;
use parallax_runtime::{
    ClientCipher, Decryptor, Evaluation, EvaluationProfile, FheBackend, FheError, InputError, ParaTime, Program,
    ProgramBuilder, ReRandomization, RoundContext, Task,
};
use parallax_state::StateView;
use revm::primitives::{Address, B256, Bytes, TxKind, U256, hex, keccak256};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::error::Error;
use std::ops::AddAssign;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// An input's handle with the proof that a contract takes.
type Attested = (B256, Vec<u8>);

const TOKEN: &str = include_str!("../../../evm/contracts/Token.hex");
const CHAIN_ID: u64 = 31_337;
const GATEWAY: u64 = 10_901;
const INPUTS: Account = Account([0x81; 20]);
/// `euint64` in handles and lists.
const EUINT64: u8 = 5;
/// What every account is given, and what it transfers.
const MINTED: u64 = 1_000_000;
const AMOUNT: u64 = 1_234;

/// Processor time and time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spent {
    pub(crate) core: f64,
    pub(crate) wall: f64,
}

impl AddAssign for Spent {
    fn add_assign(&mut self, other: Self) {
        self.core += other.core;
        self.wall += other.wall;
    }
}

/// What something takes.
pub(crate) fn timed<T>(body: impl FnOnce() -> T) -> (T, Spent) {
    let (core, begun) = (core_seconds(), Instant::now());
    let out = body();
    (out, Spent { core: core_seconds() - core, wall: begun.elapsed().as_secs_f64() })
}

/// What a round took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Measured {
    pub(crate) round: Spent,
    pub(crate) verified: Spent,
    pub(crate) evaluated: Spent,
    pub(crate) pbs: u64,
    /// A digest of the changes and the trace.
    pub(crate) result: Digest,
}

type Called = (KeyId, Program, Vec<Vec<u8>>);

#[derive(Default)]
struct Notes {
    verified: Spent,
    evaluated: Spent,
    calls: Vec<Called>,
}

/// A backend that notes what passes.
struct Noting {
    inner: TfheBackend,
    /// Whether programs go to it side by side.
    together: bool,
    notes: Mutex<Notes>,
}

impl Noting {
    fn note(&self, body: impl FnOnce(&mut Notes)) {
        body(&mut self.notes.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl FheBackend for Noting {
    fn profile(&self) -> &EvaluationProfile {
        self.inner.profile()
    }

    fn key_ids(&self) -> Vec<KeyId> {
        self.inner.key_ids()
    }

    fn verify_input(&self, key: KeyId, list: &[u8], blocks: u16, metadata: &Digest) -> Result<(), InputError> {
        let (verdict, spent) = timed(|| self.inner.verify_input(key, list, blocks, metadata));
        self.note(|notes| notes.verified += spent);
        verdict
    }

    fn evaluate(
        &self,
        key: KeyId,
        program: &Program,
        inputs: &[&[u8]],
        rerandomization: &ReRandomization,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Evaluation, FheError> {
        let (done, spent) = timed(|| self.inner.evaluate(key, program, inputs, rerandomization, cancelled));
        self.note(|notes| {
            notes.evaluated += spent;
            notes.calls.push((key, program.clone(), inputs.iter().map(|bytes| bytes.to_vec()).collect()));
        });
        done
    }

    fn evaluate_all(&self, tasks: &[Task<'_>], cancelled: &dyn Fn() -> bool) -> Result<Vec<Evaluation>, FheError> {
        if self.together && tasks.len() > 1 {
            let (done, spent) = timed(|| self.inner.evaluate_all(tasks, cancelled));
            self.note(|notes| notes.evaluated += spent);
            return done;
        }
        let one = |t: &Task<'_>| self.evaluate(t.key, t.program, &t.inputs, &t.rerandomization, cancelled);
        tasks.iter().map(one).collect()
    }
}

pub(crate) struct Chain {
    evm: EvmParaTime,
    backend: Noting,
    keys: Arc<EvaluationKeys>,
    cipher: TfheClientCipher,
    decryptor: TfheDecryptor,
    key: KeyId,
    state: MemoryView,
    round: u64,
    nonces: BTreeMap<Address, u64>,
    token: Address,
    senders: Vec<Wallet>,
    /// What each sender transfers, with its proof for the token.
    amounts: Vec<(B256, Vec<u8>)>,
}

/// Who attests inputs here.
fn attester() -> Wallet {
    Wallet::seeded(71)
}

impl Chain {
    /// With so many accounts that can make a transfer.
    pub(crate) fn new(accounts: usize) -> Result<Self, Box<dyn Error>> {
        init(FftPlan::Dif16)?;
        let root = cache::default_root().ok_or("neither PARALLAX_KEYS nor HOME is set")?;
        let (manifest, dir) = cache::key_set(&root, GenerateOptions::default(), &|p| eprintln!("keys: {}", p.stage))?;
        let keys = Arc::new(EvaluationKeys::load(&dir, &manifest, BackendKind::CpuFft)?);
        let senders: Vec<Wallet> = (1..=u8::try_from(accounts)?).map(Wallet::seeded).collect();
        let managers =
            KeyManagers { parties: vec![SecretKey::from_seed([200; 32]).public()], threshold: 0, epoch: Epoch(1) };
        let signers = Signers {
            contract: INPUTS,
            chain_id: GATEWAY,
            signers: vec![Account(attester().address().into_array())],
            threshold: 1,
        };
        let balance =
            |w: &Wallet| GenesisAccount { address: Account(w.address().into_array()), balance: 10u128.pow(21) };
        let accounts = development_balances().into_iter().chain(senders.iter().map(balance)).collect();
        let params = Params::localnet(managers, signers.clone(), signers);
        let genesis = Genesis { accounts, ..Genesis::localnet(params) };
        let evm = EvmParaTime::new(ParaTimeId::named("evm"));
        let mut state = MemoryView::default();
        state.apply(evm.init_genesis(&serde_json::to_value(&genesis)?)?);
        Ok(Self {
            evm,
            backend: noting(&keys, 2)?,
            cipher: TfheClientCipher::new(Arc::new(ClientKeys::load(&dir, &manifest)?)),
            decryptor: TfheDecryptor::new(SecretKeys::load(&dir, &manifest)?),
            keys,
            key: manifest.key_id(),
            state,
            round: 0,
            nonces: BTreeMap::new(),
            token: Address::ZERO,
            senders,
            amounts: Vec::new(),
        })
    }

    /// From here on with so many FHE threads.
    pub(crate) fn threads(&mut self, threads: usize) -> Result<(), Box<dyn Error>> {
        self.backend = noting(&self.keys, threads)?;
        Ok(())
    }

    /// Whether independent programs are given to the backend together.
    pub(crate) fn together(&mut self, together: bool) {
        self.backend.together = together;
    }

    /// Deploys the token, mints for every account, and brings the amounts of their transfers. What one of those
    /// encrypted amounts took.
    pub(crate) fn fund(&mut self) -> Result<Measured, Box<dyn Error>> {
        let deployer = Wallet::development(0);
        let code = hex::decode(TOKEN.trim())?;
        let tx = self.tx(&deployer, TxKind::Create, code);
        self.apply(std::slice::from_ref(&tx))?;
        let contract = self.receipt(&tx)?["contract"].as_str().ok_or("the token was not deployed")?.parse()?;
        self.token = contract;
        let (minted, _) = self.bring(&deployer, MINTED)?;
        let mints: Vec<Vec<u8>> = (0..self.senders.len())
            .map(|n| {
                let to = self.senders[n].address().into_word();
                let data = with_proof("mint(address,bytes32,bytes)", &[to, minted.0], &minted.1);
                self.tx(&deployer, TxKind::Call(self.token), data)
            })
            .collect();
        self.apply(&mints)?;
        for tx in &mints {
            self.succeeded(tx)?;
        }
        let mut last = Measured::default();
        for n in 0..self.senders.len() {
            let sender = Wallet::seeded(u8::try_from(n + 1)?);
            let (amount, spent) = self.bring(&sender, AMOUNT)?;
            self.amounts.push(amount);
            last = spent;
        }
        self.take_calls();
        Ok(last)
    }

    /// The transfers of the first accounts, each to an account of its own that has nothing yet.
    pub(crate) fn transfers(&mut self, count: usize) -> Vec<Vec<u8>> {
        let nonces = self.nonces.clone();
        let out = (0..count)
            .map(|n| {
                let to = Address::repeat_byte(0xa0 + n as u8).into_word();
                let (handle, proof) = self.amounts[n].clone();
                let data = with_proof("confidentialTransfer(address,bytes32,bytes)", &[to, handle], &proof);
                let sender = Wallet::seeded(n as u8 + 1);
                self.tx(&sender, TxKind::Call(self.token), data)
            })
            .collect();
        // They are only measured, so the next ones begin where these do.
        self.nonces = nonces;
        out
    }

    /// Executes a batch without applying it, checks what came out, and says what it took.
    pub(crate) fn measure(&mut self, batch: &[Vec<u8>]) -> Result<Measured, Box<dyn Error>> {
        let (measured, state) = self.executed(batch)?;
        let before = std::mem::replace(&mut self.state, state);
        for (n, tx) in batch.iter().enumerate() {
            self.succeeded(tx)?;
            let found = self.balance(Address::repeat_byte(0xa0 + n as u8))?;
            if found != AMOUNT {
                return Err(format!("the transfer moved {found}, not {AMOUNT}").into());
            }
        }
        self.state = before;
        Ok(measured)
    }

    /// The programs that were evaluated one by one since the last call.
    pub(crate) fn take_calls(&mut self) -> Vec<Called> {
        let mut calls = Vec::new();
        self.backend.note(|notes| calls = std::mem::take(&mut notes.calls));
        calls
    }

    /// What a program with these inputs takes that gives them out again.
    pub(crate) fn around(&self, key: KeyId, program: &Program, inputs: &[Vec<u8>]) -> Result<Spent, Box<dyn Error>> {
        let mut p = ProgramBuilder::new();
        let values: Vec<_> = program.inputs().iter().map(|kind| p.input(*kind)).collect();
        for at in 0..program.outputs().len() {
            p.output(values[at % values.len()].clone());
        }
        let same = p.build()?;
        let inputs: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
        let seed = ReRandomization { seed: Digest::of_value(Domain::Simulation, &"around") };
        let (done, spent) = timed(|| self.backend.inner.evaluate(key, &same, &inputs, &seed, &|| false));
        done?;
        Ok(spent)
    }

    // Inputs and transactions.

    /// Brings an encrypted amount of a user's for the token; its handle with the attested proof, and what it took.
    fn bring(&mut self, user: &Wallet, n: u64) -> Result<(Attested, Measured), Box<dyn Error>> {
        let digits: Vec<u8> = (0..16).map(|at| (n >> (4 * at) & 15) as u8).collect();
        let (chain, paratime) = (self.context().chain, self.context().paratime);
        let (contract, kinds) = (self.token, vec![FheType::UINT64]);
        let bound = input::Bound { chain, paratime, key: self.key, contract, user: user.address(), kinds };
        let list = self.cipher.encrypt(&digits, &bound.metadata())?;
        let nonce = self.nonce(user);
        let key = self.key.0;
        let types = vec![EUINT64];
        let unsigned = UnsignedInput {
            chain_id: CHAIN_ID,
            nonce,
            gas_limit: 500_000,
            contract,
            user: user.address(),
            key,
            types,
            list,
        };
        let tx = user.input(&unsigned);
        let measured = self.apply(std::slice::from_ref(&tx))?;
        let receipt = self.receipt(&tx)?;
        let handle: B256 = receipt["handles"][0].as_str().ok_or(format!("{receipt}"))?.parse()?;
        let verifier = Verifier { contract: Address::from(INPUTS.0), chain_id: GATEWAY, signers: vec![], threshold: 1 };
        let digest = input::attestation(&verifier, &[handle], user.address(), self.token, CHAIN_ID, &[]);
        let proof = input::proof(&[handle], &[attester().sign_bytes(digest)], &[]);
        Ok(((handle, proof), measured))
    }

    fn nonce(&mut self, of: &Wallet) -> u64 {
        let nonce = self.nonces.entry(of.address()).or_default();
        *nonce += 1;
        *nonce - 1
    }

    fn tx(&mut self, from: &Wallet, to: TxKind, input: impl Into<Bytes>) -> Vec<u8> {
        from.transaction(&Unsigned {
            kind: 2,
            chain_id: Some(CHAIN_ID),
            nonce: self.nonce(from),
            max_priority_fee: 1,
            max_fee: 3_000_000_000,
            gas_limit: 5_000_000,
            to,
            value: U256::ZERO,
            input: input.into(),
        })
    }

    fn receipt(&self, tx: &[u8]) -> Result<Json, Box<dyn Error>> {
        Ok(self.evm.query(&self.state, "receipt", &json!({ "hash": keccak256(tx).to_string() }))?)
    }

    fn succeeded(&self, tx: &[u8]) -> Result<(), Box<dyn Error>> {
        let receipt = self.receipt(tx)?;
        if receipt["status"] == "0x1" { Ok(()) } else { Err(format!("a transaction failed: {receipt}").into()) }
    }

    fn balance(&self, of: Address) -> Result<u64, Box<dyn Error>> {
        let data = [&keccak256("confidentialBalanceOf(address)")[..4], of.into_word().as_slice()].concat();
        let call = json!({ "to": self.token.to_string(), "input": hex::encode_prefixed(data) });
        let answer = self.evm.query(&self.state, "eth_call", &json!([call, "latest"]))?;
        let handle: B256 = answer["result"].as_str().ok_or(format!("{answer}"))?.parse()?;
        let found = cipher(&self.state, &handle)?.ok_or("the balance has no ciphertext")?;
        let bytes = self.state.blob(&found.digest)?.ok_or("the ciphertext is not kept")?;
        let digits = self.decryptor.decrypt(&bytes, found.blocks)?;
        Ok(digits.iter().rev().fold(0, |n, digit| (n << 2) | u64::from(*digit)))
    }

    // Rounds.

    fn context(&self) -> RoundContext {
        let round = Round(self.round + 1);
        RoundContext {
            chain: ChainContext(Digest([1; 32])),
            paratime: ParaTimeId::named("evm"),
            round,
            previous_hash: Digest::of_value(Domain::Simulation, &round),
            epoch: Epoch(5),
            beacon: Digest([8; 32]),
            height: Height(10 * self.round),
            anchor: Digest::of_value(Domain::Simulation, &("anchor", round)),
            time_ms: 1_700_000_000_000 + 1_000 * round.0,
            key_ids: vec![self.key],
            in_messages: Vec::new(),
            message_results: Vec::new(),
        }
    }

    fn executed(&mut self, batch: &[Vec<u8>]) -> Result<(Measured, MemoryView), Box<dyn Error>> {
        let context = self.context();
        let plan = self.evm.plan(&self.state, &context, batch, Gas(u64::MAX))?;
        if plan.take != batch.len() {
            return Err(format!("{} of {} transactions fit", plan.take, batch.len()).into());
        }
        self.backend.note(|notes| *notes = Notes::default());
        let (done, round) = timed(|| self.evm.execute(&self.state, &context, batch, &self.backend, &|| false));
        let done = done?;
        let result = Digest::of_value(Domain::Simulation, &(&done.changes, done.trace.root()));
        let mut measured = Measured { round, pbs: done.pbs, result, ..Measured::default() };
        self.backend.note(|notes| (measured.verified, measured.evaluated) = (notes.verified, notes.evaluated));
        let mut state = self.state.clone();
        state.apply(done.changes);
        Ok((measured, state))
    }

    fn apply(&mut self, batch: &[Vec<u8>]) -> Result<Measured, Box<dyn Error>> {
        let (measured, state) = self.executed(batch)?;
        self.state = state;
        self.round += 1;
        Ok(measured)
    }
}

fn noting(keys: &Arc<EvaluationKeys>, threads: usize) -> Result<Noting, Box<dyn Error>> {
    Ok(Noting { inner: TfheBackend::new(Arc::clone(keys), threads)?, together: true, notes: Mutex::default() })
}

/// Calldata of a function whose last argument is a proof, after words.
fn with_proof(signature: &str, words: &[B256], proof: &[u8]) -> Vec<u8> {
    let number = |n: usize| B256::from(U256::from(n));
    let mut data = keccak256(signature)[..4].to_vec();
    words.iter().for_each(|word| data.extend_from_slice(word.as_slice()));
    data.extend_from_slice(number(32 * (words.len() + 1)).as_slice());
    data.extend_from_slice(number(proof.len()).as_slice());
    data.extend_from_slice(proof);
    data.resize((data.len() - 4).next_multiple_of(32) + 4, 0);
    data
}
