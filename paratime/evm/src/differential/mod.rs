//! The host contracts against the published ones: the same random sequences of transactions run on both, and output,
//! success, logs and storage must be equal after each transaction.
//!
//! The published contracts are not part of this repository. `scripts/host-contracts DIRECTORY` fetches them, and
//! `PARALLAX_HOST_CONTRACTS=DIRECTORY` names where they are; without it the tests here say so and end. Their compiled
//! code is put at the addresses of the host contracts, on storage that is the same as ours from the start.
//!
//! Not compared: EVM gas, and `upgradeToAndCall`, which nobody can use here.

mod generate;
mod random;

use crate::evm::{BlockContext, SPEC, config, run_with};
use crate::host::{self, Hosts, Verifier};
use crate::params::{Genesis, Params, Signers, init};
use crate::state;
use generate::{ERRORS, Generator, Step};
use k256::ecdsa::SigningKey;
use parallax_memory_store::MemoryView;
use parallax_primitives::{Address as Account, Epoch, SecretKey};
use parallax_runtime::decryption::KeyManagers;
use parallax_state::{Overlay, StateView, Value};
use random::Random;
use revm::context::TxEnv;
use revm::context_interface::result::{EVMError, ExecutionResult};
use revm::handler::EthPrecompiles;
use revm::primitives::{Address, B256, Bytes, Log, TxKind, U256, address, hex, keccak256};
use revm::state::{AccountInfo, Bytecode};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where the fetched package lies.
const DIRECTORY: &str = "PARALLAX_HOST_CONTRACTS";
/// How many sequences the long test runs, if not 10,000.
const SEQUENCES: &str = "PARALLAX_SEQUENCES";
/// The code of `contracts/Caller.sol`.
const CALLER: &str = include_str!("../../contracts/Caller.hex");
/// Three contracts that call what they are told to. The first owns the host contracts, the second may pause.
pub(super) const CALLERS: [Address; 3] = [
    address!("ca11000000000000000000000000000000000001"),
    address!("ca11000000000000000000000000000000000002"),
    address!("ca11000000000000000000000000000000000003"),
];
/// Who sends every transaction.
const SENDER: Address = address!("5e4d000000000000000000000000000000000005");
/// The domain of attestations.
pub(super) const GATEWAY: (Address, u64) = (address!("6a7e000000000000000000000000000000000006"), 10_901);

/// The keys of attesters: 0 to 2 sign, 3 does not.
pub(super) fn attester(n: u8) -> SigningKey {
    SigningKey::from_slice(&[n + 1; 32]).expect("it is a key")
}

pub(super) fn address_of(key: &SigningKey) -> Address {
    let point = key.verifying_key().to_encoded_point(false);
    Address::from_slice(&keccak256(&point.as_bytes()[1..])[12..])
}

fn ours(address: Address) -> Account {
    Account(address.into_array())
}

fn params() -> Params {
    let managers = KeyManagers { parties: vec![SecretKey::from_seed([1; 32]).public()], threshold: 0, epoch: Epoch(1) };
    let signers = (0..3).map(|n| ours(address_of(&attester(n)))).collect();
    let signers = Signers { contract: ours(GATEWAY.0), chain_id: GATEWAY.1, signers, threshold: 2 };
    let mut params = Params::localnet(managers, signers.clone(), signers);
    params.owner = ours(CALLERS[0]);
    params.pausers = vec![ours(CALLERS[1])];
    params.base_fee = 0;
    params.block_gas_limit = 1 << 60;
    params.transaction_gas_limit = 1 << 60;
    params
}

/// The state of both sides before the first transaction; `code` replaces that of host contracts.
fn start(code: &BTreeMap<Address, Vec<u8>>) -> MemoryView {
    let genesis = Genesis::localnet(params());
    let mut memory = MemoryView::default();
    memory.apply(init(&genesis, parallax_primitives::ParaTimeId::named("evm")));
    let mut state = Overlay::new(&memory);
    let caller = hex::decode(CALLER.trim()).expect("it is hexadecimal");
    let codes = CALLERS.iter().map(|a| (*a, caller.clone())).chain(code.iter().map(|(a, c)| (*a, c.clone())));
    for (address, code) in codes {
        let code_hash = state::put_code(&mut state, &Bytecode::new_legacy(code.into()));
        let info = AccountInfo { nonce: 1, code_hash, balance: U256::from(1_000_000), ..AccountInfo::default() };
        let balance = if host::ALL.contains(&address) { U256::ZERO } else { info.balance };
        state::put_account(&mut state, &address, &AccountInfo { balance, ..info });
    }
    let changes = state.into_changes();
    memory.apply(changes);
    memory
}

/// What a transaction showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) success: bool,
    pub(super) output: Bytes,
    pub(super) logs: Vec<Log>,
}

/// One side: ours, or the published contracts.
pub(super) struct Side {
    state: MemoryView,
    native: bool,
    nonce: u64,
}

fn block(number: u64) -> BlockContext {
    BlockContext {
        number,
        timestamp: 1_700_000_000 + 12 * number,
        parent: keccak256(number.to_be_bytes()),
        randomness: B256::ZERO,
        hashes: Default::default(),
    }
}

impl Side {
    fn new(native: bool, code: &BTreeMap<Address, Vec<u8>>) -> Self {
        Self { state: start(code), native, nonce: 0 }
    }

    /// Runs a transaction in a block; keeps what it did if `keep`.
    pub(super) fn run(&mut self, number: u64, to: Address, input: &[u8], keep: bool) -> Shown {
        let (params, block) = (params(), block(number));
        let tx = TxEnv {
            caller: SENDER,
            gas_limit: 1 << 59,
            kind: TxKind::Call(to),
            data: input.to_vec().into(),
            nonce: self.nonce,
            chain_id: Some(params.chain_id),
            ..TxEnv::default()
        };
        let done = if self.native {
            run_with(&self.state, &params, &block, config(&params), tx, Hosts::new(SPEC))
        } else {
            run_with(&self.state, &params, &block, config(&params), tx, EthPrecompiles::new(SPEC))
        };
        let done = done.unwrap_or_else(|e: EVMError<_, _>| panic!("the transaction is valid: {e}"));
        if keep {
            let mut layer = Overlay::new(&self.state);
            state::commit(&mut layer, done.state).expect("memory can be written");
            let changes = layer.into_changes();
            self.state.apply(changes);
            self.nonce += 1;
        }
        match done.result {
            ExecutionResult::Success { output, logs, .. } => Shown { success: true, output: output.into_data(), logs },
            ExecutionResult::Revert { output, .. } => Shown { success: false, output, logs: Vec::new() },
            ExecutionResult::Halt { .. } => Shown { success: false, output: Bytes::new(), logs: Vec::new() },
        }
    }

    /// The storage of the host contracts.
    fn storage(&self) -> BTreeMap<String, String> {
        let mut out = BTreeMap::new();
        for contract in host::ALL {
            let prefix = [b"storage/", contract.as_slice()].concat();
            for (key, value) in self.state.scan(&prefix).expect("memory can be read") {
                let Value::Plain(bytes) = value else { panic!("storage is public") };
                out.insert(format!("{contract} {}", hex::encode(&key[prefix.len()..])), hex::encode(bytes));
            }
        }
        out
    }
}

/// The compiled code of the published contracts; `None`, with a line that says so, if they are not here.
fn published() -> Option<BTreeMap<Address, Vec<u8>>> {
    let Some(directory) = std::env::var_os(DIRECTORY).map(PathBuf::from) else {
        println!("SKIPPED: {DIRECTORY} is not set; run scripts/host-contracts DIRECTORY and set it to DIRECTORY");
        return None;
    };
    let contracts = [
        (host::ACL, "ACL"),
        (host::EXECUTOR, "FHEVMExecutor"),
        (host::KMS_VERIFIER, "KMSVerifier"),
        (host::KMS_VERIFIER_OF_PLUGIN, "KMSVerifier"),
        (host::INPUT_VERIFIER, "InputVerifier"),
        (host::HCU_LIMIT, "HCULimit"),
        (host::PAUSER_SET, "immutable/PauserSet"),
    ];
    Some(contracts.map(|(address, name)| (address, artifact(&directory, name))).into())
}

fn artifact(directory: &Path, name: &str) -> Vec<u8> {
    let file = name.rsplit('/').next().unwrap_or(name);
    let path = directory.join(format!("artifacts/contracts/{name}.sol/{file}.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let json: serde_json::Value = serde_json::from_str(&text).expect("an artifact is JSON");
    hex::decode(json["deployedBytecode"].as_str().expect("an artifact has code")).expect("it is hexadecimal")
}

/// How often something happened over all sequences, so that a run which tests nothing shows.
type Counts = BTreeMap<String, u64>;

/// One sequence on both sides.
fn sequence(seed: u64, code: &BTreeMap<Address, Vec<u8>>, counts: &mut Counts) {
    let (mut native, mut reference) = (Side::new(true, &BTreeMap::new()), Side::new(false, code));
    let mut generator = Generator::new(Random::new(seed));
    let mut number = 100;
    for turn in 0..generator.turns() {
        number += generator.blocks();
        let Step { to, input, calls } = generator.step(&mut native, number);
        let (ours, theirs) = (native.run(number, to, &input, true), reference.run(number, to, &input, true));
        let place = || format!("seed {seed}, transaction {turn} to {to}:\n{}", calls.join("\n"));
        assert_eq!(ours, theirs, "{}", place());
        assert_eq!(native.storage(), reference.storage(), "{}", place());
        generator.learn(&ours, counts);
    }
}

fn run(sequences: std::ops::Range<u64>, seed: u64) {
    let Some(code) = published() else { return };
    let mut counts = Counts::new();
    let length = sequences.end - sequences.start;
    for n in sequences {
        sequence(seed.wrapping_add(n), &code, &mut counts);
    }
    for (what, count) in &counts {
        println!("{count:>9}  {what}");
    }
    println!("{length} sequences from seed {seed} agree");
    let events = host::Op::ALL.iter().filter(|op| counts.contains_key(&format!("event {}", op.name()))).count();
    let unmet: Vec<&&str> =
        ERRORS.iter().filter(|e| !counts.contains_key(&format!("call reverted with {e}"))).collect();
    assert!(length < 10_000 || unmet.is_empty(), "every error was met but {unmet:?}");
    assert!(length < 100 || events == host::Op::ALL.len(), "every operation happened: {events}");
}

#[test]
fn a_hundred_sequences_look_the_same_on_the_published_contracts() {
    run(0..100, 0x5eed);
}

#[test]
#[ignore = "ten thousand sequences take some minutes; PARALLAX_HOST_CONTRACTS names the published contracts"]
fn ten_thousand_sequences_look_the_same_on_the_published_contracts() {
    let count = std::env::var(SEQUENCES).ok().map_or(10_000, |n| n.parse().expect("it is a number"));
    run(0..count, 0x1_0000);
}

#[test]
fn verifiers_are_set_up_as_their_initialisers_would() {
    let verifier = Verifier { contract: GATEWAY.0, chain_id: GATEWAY.1, signers: vec![SENDER], threshold: 1 };
    let slots = host::genesis_storage(CALLERS[0], &[], &verifier, &verifier);
    assert!(slots.iter().all(|(contract, _, value)| host::ALL.contains(contract) && !value.is_zero()));
}
