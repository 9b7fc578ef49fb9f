//! An EVM ParaTime on the clear backend, without a network.
#![allow(dead_code, unreachable_pub)]

pub mod wallet;

use parallax_clear::{ClearBackend, ClearCipher, ClearDecryptor};
use parallax_evm::handle::FheType;
use parallax_evm::host::{ACL, Verifier, slots};
use parallax_evm::params::{Genesis, Params, Signers};
use parallax_evm::state::{cipher, read_slot, storage_key};
use parallax_evm::{EvmParaTime, decryption, eth, input};
use parallax_memory_store::{MemoryStore, MemoryView};
use parallax_primitives::message::InMessage;
use parallax_primitives::{
    Address as Account, ChainContext, Digest, Epoch, Gas, Height, KeyId, ParaTimeId, Round, SecretKey,
};
use parallax_runtime::decryption::KeyManagers;
use parallax_runtime::{ClientCipher, Decryptor, Execution, ParaTime, RoundContext};
use parallax_state::{Batch, Changes, Database, Namespace, Snapshot, StateError, StateView, Tree};
use revm::primitives::{Address, B256, Bytes, TxKind, U256, keccak256};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use wallet::{Unsigned, UnsignedInput, Wallet};

pub const KEY: KeyId = KeyId([4; 32]);
pub const CHAIN_ID: u64 = 31_337;
pub const LIMIT: Gas = Gas(u64::MAX);
/// The chain and contracts that attestations name.
pub const GATEWAY: u64 = 10_901;
pub const GATEWAY_INPUTS: Account = Account([0x81; 20]);
pub const GATEWAY_DECRYPTIONS: Account = Account([0x5f; 20]);

fn paratime() -> ParaTimeId {
    ParaTimeId::named("evm")
}

pub fn signers(contract: Account, seed: u8) -> Signers {
    let signer = Account(Wallet::seeded(seed).address().into_array());
    Signers { contract, chain_id: GATEWAY, signers: vec![signer], threshold: 1 }
}

pub fn genesis() -> Genesis {
    let managers =
        KeyManagers { parties: vec![SecretKey::from_seed([200; 32]).public()], threshold: 0, epoch: Epoch(1) };
    let params = Params::localnet(managers, signers(GATEWAY_INPUTS, 71), signers(GATEWAY_DECRYPTIONS, 72));
    Genesis::localnet(params)
}

pub struct Net {
    pub evm: EvmParaTime,
    pub backend: ClearBackend,
    pub state: MemoryView,
    pub round: u64,
    pub deposits: Vec<InMessage>,
    pub nonces: BTreeMap<Address, u64>,
    /// Every state so far, if they are kept.
    pub tree: Option<Tree>,
    /// The time of the consensus layer as far as it is known, in seconds.
    pub now: Option<u64>,
}

/// The states of a tree, as a node keeps them.
impl eth::Chain for Net {
    fn newest(&self) -> Result<Box<dyn StateView + '_>, StateError> {
        Ok(Box::new(self.tree().latest_snapshot()?))
    }

    fn after(&self, round: Round) -> Result<Option<Box<dyn StateView + '_>>, StateError> {
        let known = |snapshot: Snapshot| -> Box<dyn StateView> { Box::new(snapshot) };
        match self.tree().snapshot(round.0) {
            Ok(snapshot) => Ok(Some(known(snapshot))),
            Err(StateError::UnknownVersion { .. }) => Ok(None),
            Err(other) => Err(other),
        }
    }

    fn next_nonce(&self, sender: &Address, nonce: u64) -> u64 {
        nonce.max(self.nonces.get(sender).copied().unwrap_or(0))
    }

    fn proof(&self, round: Round, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        match self.tree().snapshot(round.0) {
            Ok(snapshot) => snapshot.prove(key).map(|proof| Some(proof.encode())),
            Err(StateError::UnknownVersion { .. }) => Ok(None),
            Err(other) => Err(other),
        }
    }

    fn now(&self) -> Result<Option<u64>, StateError> {
        Ok(self.now)
    }
}

impl Default for Net {
    fn default() -> Self {
        Self::new(|_| ())
    }
}

impl Net {
    pub fn new(adjust: impl FnOnce(&mut Genesis)) -> Self {
        let mut genesis = genesis();
        adjust(&mut genesis);
        let json = serde_json::to_value(&genesis).expect("it is plain data");
        let mut state = MemoryView::default();
        let evm = EvmParaTime::new(paratime());
        let changes = evm.init_genesis(&json).expect("the parameters are in range");
        state.apply(changes.clone());
        let mut net = Self {
            evm,
            backend: ClearBackend::new(vec![KEY]),
            state,
            round: 0,
            deposits: Vec::new(),
            nonces: BTreeMap::new(),
            tree: None,
            now: None,
        };
        let database = Database::open(Arc::new(MemoryStore::new())).expect("memory opens");
        net.tree = Some(database.tree(Namespace::ParaTime(paratime())));
        net.keep(&changes);
        net
    }

    pub fn tree(&self) -> &Tree {
        self.tree.as_ref().expect("states are kept")
    }

    fn keep(&self, changes: &Changes) {
        if let Some(tree) = &self.tree {
            let prepared = tree.prepare(self.round, changes).expect("it can be prepared");
            tree.commit(prepared, Batch::default()).expect("it can be written");
        }
    }

    /// An answer from all states that are kept.
    pub fn past(&self, method: &str, parameters: Json) -> Result<Json, eth::Error> {
        eth::answer(self, method, &parameters)
    }

    pub fn context(&self) -> RoundContext {
        let round = Round(self.round + 1);
        RoundContext {
            chain: ChainContext(Digest([1; 32])),
            paratime: paratime(),
            round,
            previous_hash: Digest([round.0 as u8; 32]),
            epoch: Epoch(5),
            beacon: Digest([8; 32]),
            height: Height(10 * self.round),
            anchor: Digest([100u8.wrapping_add(round.0 as u8); 32]),
            time_ms: 1_700_000_000_000 + 1_000 * round.0,
            key_ids: vec![KEY],
            in_messages: self.deposits.clone(),
            message_results: Vec::new(),
        }
    }

    /// A transaction with the sender's next nonce.
    pub fn tx(&mut self, from: &Wallet, to: TxKind, input: impl Into<Bytes>) -> Vec<u8> {
        from.transaction(&self.unsigned(from, to, input))
    }

    pub fn unsigned(&mut self, from: &Wallet, to: TxKind, input: impl Into<Bytes>) -> Unsigned {
        let nonce = self.nonces.entry(from.address()).or_default();
        *nonce += 1;
        Unsigned {
            kind: 2,
            chain_id: Some(CHAIN_ID),
            nonce: *nonce - 1,
            max_priority_fee: 1,
            max_fee: 3_000_000_000,
            gas_limit: 5_000_000,
            to,
            value: U256::ZERO,
            input: input.into(),
        }
    }

    /// Plans and executes a batch, and applies it.
    pub fn round(&mut self, batch: &[Vec<u8>]) -> Execution {
        let context = self.context();
        let plan = self.evm.plan(&self.state, &context, batch, LIMIT).expect("it can be planned");
        assert_eq!(plan.take, batch.len(), "the batch fits");
        let done = self.evm.execute(&self.state, &context, batch, &self.backend, &|| false).expect("it executes");
        assert!(done.gas <= plan.gas, "{} is spent, {} was planned", done.gas, plan.gas);
        self.state.apply(done.changes.clone());
        self.round += 1;
        self.keep(&done.changes);
        self.deposits.clear();
        done
    }

    /// Executes one transaction and returns its receipt.
    pub fn send(&mut self, from: &Wallet, to: Address, input: impl Into<Bytes>) -> Json {
        let tx = self.tx(from, TxKind::Call(to), input);
        self.round(std::slice::from_ref(&tx));
        self.receipt(&tx)
    }

    pub fn deploy(&mut self, from: &Wallet, code: impl Into<Bytes>) -> Address {
        let tx = self.tx(from, TxKind::Create, code);
        self.round(std::slice::from_ref(&tx));
        let receipt = self.receipt(&tx);
        assert_eq!(receipt["status"], "0x1", "{receipt}");
        receipt["contract"].as_str().expect("it made a contract").parse().expect("it is an address")
    }

    pub fn receipt(&self, tx: &[u8]) -> Json {
        self.ask("receipt", json!({ "hash": keccak256(tx).to_string() }))
    }

    pub fn ask(&self, method: &str, parameters: Json) -> Json {
        self.evm.query(&self.state, method, &parameters).expect("it is answered")
    }

    /// A call that changes nothing, in the block to come; the bytes that it returns.
    pub fn call(&self, from: Address, to: Address, input: &[u8]) -> Bytes {
        let call = json!({ "from": from.to_string(), "to": to.to_string(), "input": hex::encode(input) });
        let result = self.eth("eth_call", json!([call, "pending"]));
        result.as_str().expect("it returns bytes").parse().expect("it is hexadecimal")
    }

    /// A method of Ethereum's JSON-RPC that has a result.
    pub fn eth(&self, method: &str, parameters: Json) -> Json {
        let answer = self.ask(method, parameters);
        assert!(answer["error"].is_null(), "{method}: {answer}");
        answer["result"].clone()
    }

    pub fn balance(&self, address: Address) -> U256 {
        let balance = self.eth("eth_getBalance", json!([address.to_string(), "latest"]));
        balance.as_str().expect("it has one").parse().expect("it is a number")
    }

    /// The number behind a handle, as a key manager would decrypt it.
    pub fn decrypt(&self, handle: B256) -> U256 {
        let cipher = cipher(&self.state, &handle).expect("it can be read").expect("the handle has a ciphertext");
        let bytes = self.state.blob(&cipher.digest).expect("it can be read").expect("the bytes are kept");
        let digits = ClearDecryptor::new(KEY).decrypt(&bytes, cipher.blocks).expect("it conforms");
        digits.iter().rev().fold(U256::ZERO, |n, digit| (n << 2) | U256::from(*digit))
    }

    /// Whether a handle has a ciphertext.
    pub fn has_cipher(&self, handle: B256) -> bool {
        cipher(&self.state, &handle).expect("it can be read").is_some()
    }

    /// Whether a flag of the access control list is set: the slot of which key managers ask for a proof.
    pub fn granted(&self, slot: &U256) -> bool {
        let value = self.state.get(&storage_key(&ACL, slot)).expect("memory can be read");
        slots::is_set(&read_slot(value.as_ref()).expect("it is a word"))
    }
}

/// Calldata of a function with arguments of one word each.
pub fn calldata(signature: &str, words: &[B256]) -> Vec<u8> {
    let mut out = keccak256(signature)[..4].to_vec();
    words.iter().for_each(|word| out.extend_from_slice(word.as_slice()));
    out
}

pub fn word(n: u64) -> B256 {
    B256::from(U256::from(n))
}

/// Code that creates a contract with this runtime code.
pub fn creation(runtime: &[u8]) -> Vec<u8> {
    let mut out = hex::decode("61000080600a5f395ff3").expect("it is hexadecimal");
    out[1..3].copy_from_slice(&(runtime.len() as u16).to_be_bytes());
    out.extend_from_slice(runtime);
    out
}

/// One call for `contracts/Caller.sol`.
pub fn entry(to: Address, data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u32).to_be_bytes();
    [&[0], to.as_slice(), &[0], &length[1..], data].concat()
}

/// What came of each call of a `Caller`.
pub fn entries(output: &[u8]) -> Vec<(bool, Vec<u8>)> {
    let (mut rest, mut out) = (output, Vec::new());
    while let Some((head, tail)) = rest.split_first_chunk::<4>() {
        let (data, more) = tail.split_at(u32::from_be_bytes([0, head[1], head[2], head[3]]) as usize);
        out.push((head[0] == 1, data.to_vec()));
        rest = more;
    }
    out
}

/// `euint64` in handles and lists.
pub const EUINT64: u8 = 5;

/// The numbers of four bits in which a list holds a value of this type.
fn packed(kind: u8, value: U256) -> Vec<u8> {
    let bits = FheType::new(kind).and_then(FheType::bits).expect("it is a type with a width");
    (0..usize::from(bits.div_ceil(4))).map(|at| (value >> (4 * at) & U256::from(15)).to::<u8>()).collect()
}

impl Net {
    /// A client's list of 64-bit numbers for a contract and a user, proven, in an envelope by the user.
    pub fn input(&mut self, user: &Wallet, numbers: &[u64], contract: Address) -> UnsignedInput {
        let values: Vec<_> = numbers.iter().map(|n| (EUINT64, U256::from(*n))).collect();
        self.typed_input(user, &values, contract)
    }

    /// A client's list of values of these types.
    pub fn typed_input(&mut self, user: &Wallet, values: &[(u8, U256)], contract: Address) -> UnsignedInput {
        let digits: Vec<u8> = values.iter().flat_map(|(kind, value)| packed(*kind, *value)).collect();
        let types: Vec<u8> = values.iter().map(|(kind, _)| *kind).collect();
        let (chain, paratime) = (self.context().chain, paratime());
        let kinds = types.iter().filter_map(|kind| FheType::new(*kind)).collect();
        let bound = input::Bound { chain, paratime, key: KEY, contract, user: user.address(), kinds };
        let list =
            ClearCipher::new(KEY, self.round).encrypt(&digits, &bound.metadata()).expect("the digits are in range");
        let next = self.nonces.entry(user.address()).or_default();
        *next += 1;
        let (nonce, user) = (*next - 1, user.address());
        UnsignedInput { chain_id: CHAIN_ID, nonce, gas_limit: 500_000, contract, user, key: KEY.0, types, list }
    }

    /// Brings an input; its receipt.
    pub fn submit(&mut self, user: &Wallet, input: &UnsignedInput) -> Json {
        let tx = user.input(input);
        self.round(std::slice::from_ref(&tx));
        self.receipt(&tx)
    }

    /// One encrypted number with the proof that a contract takes: brought, executed, attested.
    pub fn encrypt(&mut self, user: &Wallet, n: u64, contract: Address) -> (B256, Vec<u8>) {
        let input = self.input(user, &[n], contract);
        let receipt = self.submit(user, &input);
        assert_eq!(receipt["status"], "0x1", "{receipt}");
        let handle = handles(&receipt)[0];
        (handle, attest(&[handle], contract, user.address()))
    }
}

/// The handles of an input's receipt.
pub fn handles(receipt: &Json) -> Vec<B256> {
    let list = receipt["handles"].as_array().expect("there are handles");
    list.iter().map(|h| h.as_str().expect("it is text").parse().expect("it is a handle")).collect()
}

fn verifier(contract: Account) -> Verifier {
    Verifier { contract: Address::from(contract.0), chain_id: GATEWAY, signers: vec![], threshold: 1 }
}

/// What the attester signs for these handles, as the proof that a contract takes.
pub fn attest(handles: &[B256], contract: Address, user: Address) -> Vec<u8> {
    let digest = input::attestation(&verifier(GATEWAY_INPUTS), handles, user, contract, CHAIN_ID, &[]);
    input::proof(handles, &[Wallet::seeded(71).sign_bytes(digest)], &[])
}

/// What the key manager signs for a decryption, as the proof that a contract takes.
pub fn decrypted(handles: &[B256], plaintexts: &[u8], signer: u8) -> Vec<u8> {
    let digest = decryption::digest(&verifier(GATEWAY_DECRYPTIONS), handles, plaintexts, &[]);
    decryption::proof(&[Wallet::seeded(signer).sign_bytes(digest)], &[])
}

/// Calldata of a function whose last argument is `bytes`, after words.
pub fn calldata_with_bytes(signature: &str, words: &[B256], bytes: &[u8]) -> Vec<u8> {
    let mut data = calldata(signature, words);
    data.extend_from_slice(word(32 * (words.len() as u64 + 1)).as_slice());
    data.extend_from_slice(word(bytes.len() as u64).as_slice());
    data.extend_from_slice(bytes);
    data.resize((data.len() - 4).next_multiple_of(32) + 4, 0);
    data
}
