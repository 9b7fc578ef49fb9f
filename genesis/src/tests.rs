//! Documents that are right, and each way of being wrong.

use super::*;
use crate::config::{EngineConfig, NetworkConfig, NodeConfig, RpcConfig};
use crate::document::ParaTimeGenesis;
use crate::{AccountKey, Home, NodeKeys};
use parallax_consensus_app::genesis::{ConsensusGenesis, ConsensusParameters, GenesisAccount};
use parallax_consensus_app::tx::SignedNodeDescriptor;
use parallax_primitives::{Epoch, Gas};
use parallax_rounds::{LivenessParameters, Resolution, RoundParameters};
use parallax_runtime::decryption::KeyManagers;
use parallax_runtime::{Abort, EvaluationProfile, Execution, FheBackend, Plan, RoundContext, TxError, TxInfo};
use parallax_state::StateView;
use serde_json::{Value, json};
use std::path::Path;

const SEED_KEY: &[u8] = b"seed";

/// A ParaTime whose state is one number of its genesis parameters.
struct OneNumber;

impl ParaTime for OneNumber {
    fn kind(&self) -> &'static str {
        "one-number"
    }

    fn init_genesis(&self, parameters: &Value) -> Result<Changes, String> {
        let number = parameters["number"].as_u64().ok_or("number is missing; give an integer")?;
        let value = parallax_state::Value::Plain(number.to_be_bytes().to_vec());
        Ok(Changes { writes: [(SEED_KEY.to_vec(), Some(value))].into(), blobs: BTreeMap::new() })
    }

    fn least_batch_gas(&self, parameters: &Value) -> Result<Gas, String> {
        Ok(Gas(parameters["needs"].as_u64().unwrap_or(0)))
    }

    fn check_tx(
        &self,
        _: &dyn StateView,
        _: &parallax_primitives::ChainContext,
        _: &[u8],
        _: Option<&dyn FheBackend>,
    ) -> Result<TxInfo, TxError> {
        Err(TxError { module: "one-number".to_owned(), code: 1, message: "there are no transactions".to_owned() })
    }

    fn plan(&self, _: &dyn StateView, _: &RoundContext, _: &[Vec<u8>], _: Gas) -> Result<Plan, Abort> {
        Ok(Plan { gas: Gas::ZERO, take: 0 })
    }

    fn has_work(&self, _: &dyn StateView) -> Result<bool, Abort> {
        Ok(false)
    }

    fn execute(
        &self,
        _: &dyn StateView,
        _: &RoundContext,
        _: &[Vec<u8>],
        _: &dyn FheBackend,
        _: &dyn Fn() -> bool,
    ) -> Result<Execution, Abort> {
        Err(Abort::InvalidBatch("there are no transactions".to_owned()))
    }

    fn query(&self, _: &dyn StateView, method: &str, _: &Value) -> Result<Value, String> {
        Err(format!("{method} is no question"))
    }
}

fn keys(i: usize) -> NodeKeys {
    NodeKeys::well_known(&format!("test node {i}"))
}

fn rounds() -> RoundParameters {
    RoundParameters {
        workers: 2,
        backups: 3,
        allowed_stragglers: 0,
        proposer_timeout: 2,
        round_timeout: 4,
        gas_per_block: Gas(4_000),
        max_batch_gas: Gas(40_000),
        max_round_interval: 100,
        slash_from: 1,
        resolution: Resolution::Full,
        liveness: LivenessParameters::OFF,
        max_evidence_age: 100,
    }
}

fn parameters() -> ConsensusParameters {
    ConsensusParameters {
        block_interval_ms: 500,
        max_clock_drift_ms: 2_000,
        epoch_blocks: 1_000,
        beacon_threshold_permille: 500,
        debonding_epochs: 2,
        min_node_stake: Amount(100),
        gas_per_byte: Gas(1),
        gas_per_signature: Gas(1_000),
        min_gas_price: Amount(1),
        slash_wrong_result_permille: 100,
        slash_treasury_permille: 500,
        slash_equivocation_permille: 100,
        reward_reporter_permille: 100,
        freeze_equivocation_epochs: 2,
        freeze_liveness_epochs: 1,
        min_in_message_fee: Amount(1),
        max_validators: 10,
        kept_rounds: 100,
        localnet: true,
    }
}

fn profile() -> EvaluationProfile {
    EvaluationProfile {
        library: "none".to_owned(),
        plan: "none".to_owned(),
        parameters: "none".to_owned(),
        backend: "clear".to_owned(),
        instructions: "any".to_owned(),
    }
}

fn paratime_id() -> ParaTimeId {
    ParaTimeId::named("one-number")
}

/// Node 0 is a validator, 1 to 5 compute, 6 decrypts.
fn unsigned() -> GenesisDocument {
    let node = |i: usize| {
        let k = keys(i);
        let (roles, serves) = match i {
            0 => (vec![Role::Validator], false),
            6 => (vec![Role::KeyManager], false),
            _ => (vec![Role::Compute], true),
        };
        SignedNodeDescriptor {
            descriptor: NodeDescriptor {
                node: k.node(),
                entity: Address::of(&k.node()),
                roles,
                vrf: k.vrf().public(),
                peer: k.peer.public(),
                paratimes: if serves { vec![(paratime_id(), profile_digest(&profile()))] } else { vec![] },
                expires: Epoch(10),
            },
            signature: UNSIGNED,
        }
    };
    let number = json!({ "number": 7 });
    let changes = OneNumber.init_genesis(&number).expect("the parameters are right");
    let committee = Committee {
        epoch: Epoch(0),
        workers: (1..3).map(|i| keys(i).node()).collect(),
        backups: (3..6).map(|i| keys(i).node()).collect(),
    };
    GenesisDocument {
        version: VERSION,
        consensus: ConsensusGenesis {
            chain_id: "test-1".to_owned(),
            time_ms: 1_700_000_000_000,
            parameters: parameters(),
            accounts: (0..7)
                .map(|i| GenesisAccount {
                    address: Address::of(&keys(i).node()),
                    balance: Amount(1_000_000),
                    stake: Amount(1_000),
                })
                .collect(),
            nodes: (0..7).map(node).collect(),
            paratimes: vec![ParaTimeDescriptor {
                id: paratime_id(),
                kind: "one-number".to_owned(),
                rounds: rounds(),
                profile: profile_digest(&profile()),
                key_set: Digest([3; 32]),
                genesis_root: genesis_root(paratime_id(), &changes).expect("one small value"),
            }],
            committees: vec![(paratime_id(), committee)],
            beacon: Digest([9; 32]),
        },
        paratimes: vec![ParaTimeGenesis {
            id: paratime_id(),
            parameters: number,
            profile: profile(),
            managers: KeyManagers { parties: vec![keys(6).node()], threshold: 0, epoch: Epoch(0) },
        }],
    }
}

fn sign_all(document: &mut GenesisDocument) {
    for i in 0..7 {
        document.sign(&keys(i).consensus).expect("every key is of a node");
    }
}

fn valid() -> GenesisDocument {
    let mut document = unsigned();
    sign_all(&mut document);
    document.check().expect("the document is valid");
    document
}

/// The faults after a change that every node has signed.
fn faults(change: impl FnOnce(&mut GenesisDocument)) -> Vec<Problem> {
    let mut document = unsigned();
    change(&mut document);
    for i in 0..7 {
        let _ = document.sign(&keys(i).consensus);
    }
    match document.check().expect_err("the change makes it invalid") {
        GenesisError::Invalid { problems } => problems,
        other => panic!("{other}"),
    }
}

fn only_fault(change: impl FnOnce(&mut GenesisDocument)) -> String {
    let problems = faults(change);
    assert_eq!(problems.len(), 1, "one change, one fault: {problems:?}");
    problems[0].to_string()
}

#[test]
fn every_broken_rule_is_found_and_its_field_named() {
    let at = |field: &str, change: fn(&mut GenesisDocument)| {
        let text = only_fault(change);
        assert!(text.starts_with(&format!("{field}: ")), "expected {field}, got {text}");
    };
    at("consensus.chain_id", |d| d.consensus.chain_id = "Test 1".to_owned());
    at("consensus.beacon", |d| d.consensus.beacon = Digest::ZERO);
    at("consensus.parameters.debonding_epochs", |d| d.consensus.parameters.debonding_epochs = 0);
    at("consensus.parameters.slash_wrong_result_permille", |d| {
        d.consensus.parameters.slash_wrong_result_permille = 1_001;
    });
    at("consensus.parameters.max_validators", |d| d.consensus.parameters.max_validators = 121);
    at("consensus.accounts[7].address", |d| {
        let again = d.consensus.accounts[2].clone();
        d.consensus.accounts.push(again);
    });
    at("consensus.accounts[1].balance", |d| d.consensus.accounts[1].balance = Amount(u128::MAX));
    at("consensus.paratimes[0].rounds", |d| d.consensus.parameters.epoch_blocks = 100);
    at("consensus.paratimes[0].key_set", |d| d.consensus.paratimes[0].key_set = Digest::ZERO);
    at("paratimes[0].profile", |d| d.paratimes[0].profile.plan = "dif16".to_owned());
    at("paratimes[0].managers.threshold", |d| d.paratimes[0].managers.threshold = 1);
    at("paratimes[0].managers.parties[0]", |d| d.paratimes[0].managers.parties = vec![keys(0).node()]);
    at("consensus.nodes[1].descriptor.paratimes[0]", |d| {
        d.consensus.nodes[1].descriptor.paratimes[0].1 = Digest([1; 32]);
    });
    at("consensus.nodes[0].descriptor.roles", |d| d.consensus.nodes[0].descriptor.roles.push(Role::Validator));
    at("consensus.nodes[2].descriptor.peer", |d| {
        d.consensus.nodes[2].descriptor.peer = d.consensus.nodes[1].descriptor.peer;
    });
    at("consensus.nodes[3].descriptor.entity", |d| d.consensus.accounts[3].stake = Amount(99));
    at("consensus.committees", |d| d.consensus.committees.clear());
    at("consensus.committees[0].workers", |d| {
        d.consensus.committees[0].1.workers.pop();
    });
    at("consensus.committees[0].workers[1]", |d| d.consensus.committees[0].1.workers[1] = keys(0).node());
    at("consensus.committees[0].epoch", |d| d.consensus.committees[0].1.epoch = Epoch(1));
    at("paratimes[0].parameters.number", |d| d.paratimes[0].parameters = json!({ "number": 0.5 }));
}

#[test]
fn all_faults_are_reported_at_once() {
    let problems = faults(|d| {
        d.consensus.chain_id.clear();
        d.consensus.beacon = Digest::ZERO;
    });
    assert_eq!(problems.len(), 2, "{problems:?}");
}

#[test]
fn a_document_without_validators_is_refused() {
    let problems = faults(|d| {
        d.consensus.nodes[0].descriptor.roles = vec![Role::Observer];
    });
    assert!(problems.iter().any(|p| p.reason.contains("no validator")), "{problems:?}");
}

#[test]
fn a_change_after_signing_voids_every_signature() {
    let mut document = valid();
    document.consensus.parameters.min_gas_price = Amount(2);
    let GenesisError::Invalid { problems } = document.check().expect_err("nobody signed this") else {
        panic!("a validity error is expected")
    };
    assert_eq!(problems.len(), 7, "each of the seven nodes must sign again: {problems:?}");
    sign_all(&mut document);
    document.check().expect("signed again by all");
}

#[test]
fn signatures_are_not_part_of_the_chain_context_and_everything_else_is() {
    let document = valid();
    let context = document.chain_context().expect("integers only");
    assert_eq!(unsigned().chain_context().expect("integers only"), context);
    let mut other = document.clone();
    other.paratimes[0].parameters = json!({ "number": 8 });
    assert_ne!(other.chain_context().expect("integers only"), context);
    let mut other = document.clone();
    other.paratimes[0].managers.epoch = Epoch(1);
    assert_ne!(other.chain_context().expect("integers only"), context);
    let mut other = document;
    other.consensus.nodes[0].descriptor.expires = Epoch(11);
    assert_ne!(other.chain_context().expect("integers only"), context);
}

#[test]
fn the_chain_context_of_a_document_is_pinned() {
    // A change here is a change of the format: it makes every existing document another chain.
    assert_eq!(
        unsigned().chain_context().expect("integers only").to_string(),
        "0xa9dab777db4fa0b36f6f9ca2381d3a4b260f7b6f101f841ff67f17358bad71a6"
    );
}

#[test]
fn a_stranger_cannot_sign() {
    let error = unsigned().sign(&keys(99).consensus).expect_err("no node has this key");
    assert!(error.to_string().contains(&keys(99).node().to_string()), "{error}");
}

#[test]
fn the_stated_root_must_be_the_one_that_the_parameters_lead_to() {
    let document = valid();
    let writes = document.check_paratimes(&[&OneNumber]).expect("root and parameters agree");
    assert!(writes[0].1.writes.contains_key(SEED_KEY));
    let mut wrong = unsigned();
    wrong.consensus.paratimes[0].genesis_root = Digest([1; 32]);
    let error = wrong.check_paratimes(&[&OneNumber]).expect_err("another root").to_string();
    assert!(error.contains("consensus.paratimes[0].genesis_root: is 0x0101"), "{error}");
    wrong.paratimes[0].parameters = json!({});
    let error = wrong.check_paratimes(&[&OneNumber]).expect_err("no number").to_string();
    assert!(error.contains("paratimes[0].parameters: number is missing"), "{error}");
    let error = document.check_paratimes(&[]).expect_err("no such program").to_string();
    assert!(error.contains("paratimes[0].kind: \"one-number\" is unknown"), "{error}");
}

#[test]
fn a_batch_that_cannot_hold_what_the_paratime_needs_is_refused() {
    let mut document = unsigned();
    let limit = document.consensus.paratimes[0].rounds.max_batch_gas.0;
    document.paratimes[0].parameters["needs"] = limit.into();
    assert!(document.check_paratimes(&[&OneNumber]).is_ok());
    document.paratimes[0].parameters["needs"] = (limit + 1).into();
    let error = document.check_paratimes(&[&OneNumber]).expect_err("it cannot fit").to_string();
    let expected = format!("consensus.paratimes[0].rounds.max_batch_gas: is {limit}, a round");
    assert!(error.contains(&expected) && error.contains(&format!("{}; raise it", limit + 1)), "{error}");
}

#[test]
fn a_file_round_trips_and_faults_of_form_have_line_and_column() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("genesis.json");
    let document = valid();
    document.save(&path).expect("a fresh directory can be written");
    assert_eq!(GenesisDocument::load(&path).expect("what was saved loads"), document);

    let text = std::fs::read_to_string(&path).expect("the file is there");
    let damage = |from: &str, to: &str| {
        std::fs::write(&path, text.replacen(from, to, 1)).expect("the file can be written");
        GenesisDocument::load(&path).expect_err("the file is damaged").to_string()
    };
    let line = text.lines().position(|l| l.contains("\"time_ms\"")).expect("the field is there") + 1;
    let error = damage("\"time_ms\": 1700000000000", "\"time_ms\": \"today\"");
    assert!(error.contains(&format!("genesis.json, line {line}, column ")), "{error}");
    assert!(damage("\"beacon\"", "\"bacon\"").contains("missing field `beacon`"));
    assert!(damage("\"version\": 1", "\"version\": 2").contains("format version 2, this program reads version 1"));
    assert!(damage("}", "").contains("line "));
    std::fs::remove_file(&path).expect("the file is there");
    assert!(GenesisDocument::load(&path).expect_err("no file").to_string().contains("genesis.json"));
}

fn config() -> NodeConfig {
    NodeConfig {
        version: crate::config::VERSION,
        moniker: "validator-0".to_owned(),
        roles: vec![Role::Validator],
        engine: EngineConfig { listen: "/ip4/127.0.0.1/tcp/26656".to_owned(), peers: vec![] },
        network: NetworkConfig { listen: "/ip4/127.0.0.1/tcp/26657".to_owned(), peers: vec![] },
        rpc: RpcConfig { listen: ([127, 0, 0, 1], 8545).into() },
        fhe_threads: 0,
        paratimes: vec![],
        kms: None,
        ethereum: None,
        kept_versions: 0,
        log: "info".to_owned(),
    }
}

#[test]
fn a_home_directory_of_another_chain_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let home = dir.path().join("home");
    let first = Home::init(&home, config(), valid(), keys(0)).expect("a fresh directory");
    std::fs::write(first.data().join("state"), b"kept").expect("data can be written");
    Home::open(&home).expect("the same chain");

    let mut other = unsigned();
    other.consensus.chain_id = "test-2".to_owned();
    sign_all(&mut other);
    other.save(&home.join("genesis.json")).expect("the file can be written");
    let error = Home::open(&home).expect_err("the data is of test-1").to_string();
    for part in ["holds data of chain test-1", "of chain test-2", "another home directory"] {
        assert!(error.contains(part), "{part:?} is missing in: {error}");
    }
    assert_eq!(std::fs::read(first.data().join("state")).expect("still there"), b"kept");

    std::fs::remove_file(first.data().join("chain.json")).expect("the marker is there");
    let error = Home::open(&home).expect_err("data of an unknown chain").to_string();
    assert!(error.contains("no chain.json"), "{error}");
}

#[test]
fn a_second_init_overwrites_nothing() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    Home::init(dir.path(), config(), valid(), keys(0)).expect("a fresh directory");
    let error = Home::init(dir.path(), config(), valid(), keys(1)).expect_err("it is taken");
    assert!(matches!(error, GenesisError::Exists { .. }), "{error}");
    assert_eq!(Home::open(dir.path()).expect("as it was").keys.node(), keys(0).node());
}

#[test]
fn key_files_are_private_and_hold_together() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("account.json");
    let account = AccountKey::generate();
    account.save(&path).expect("a fresh directory can be written");
    assert_eq!(std::fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o600);
    assert_eq!(AccountKey::load(&path).expect("what was saved loads").address(), account.address());
    assert!(NodeKeys::load(&path).expect_err("another kind").to_string().contains("kind \"account\""));

    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("own file");
    let error = AccountKey::load(&path).expect_err("others can read it").to_string();
    assert!(error.contains("mode 640") && error.contains("chmod 600"), "{error}");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("own file");

    let text = std::fs::read_to_string(&path).expect("own file");
    let other = AccountKey::well_known("someone else").address().to_string();
    std::fs::write(&path, text.replace(&account.address().to_string(), &other)).expect("own file");
    assert!(AccountKey::load(&path).expect_err("altered").to_string().contains("altered"));

    let seed = hex::encode(*account.secret.to_seed());
    std::fs::write(&path, text.replace(&seed, &format!("{}zz", &seed[2..]))).expect("own file");
    let error = AccountKey::load(&path).expect_err("no hexadecimal").to_string();
    assert!(error.contains("seed is not 0x") && !error.contains(&seed[4..20]), "the key is not shown: {error}");
    assert!(!format!("{account:?}").contains(&seed[..16]), "nor in debug text");
}

#[test]
fn a_nodes_key_file_holds_its_ethereum_key_and_one_without_says_what_to_do() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("node.key");
    let node = NodeKeys::generate();
    node.save(&path).expect("a fresh directory can be written");
    let loaded = NodeKeys::load(&path).expect("what was saved loads");
    assert_eq!(loaded.ethereum.address(), node.ethereum.address());
    let secret = hex::encode(*node.ethereum.to_bytes());
    assert!(!format!("{node:?}").contains(&secret[..16]), "not in debug text");

    let text = std::fs::read_to_string(&path).expect("own file");
    let refused = |text: String| {
        std::fs::write(&path, text).expect("own file");
        NodeKeys::load(&path).expect_err("altered").to_string()
    };
    let other = NodeKeys::well_known("someone else").ethereum.address().to_string();
    let error = refused(text.replace(&node.ethereum.address().to_string(), &other));
    assert!(error.contains("ethereum_address is not that of ethereum_key"), "{error}");
    let error = refused(text.replace(&secret, &"0".repeat(64)));
    assert!(error.contains("ethereum_key is not a key") && !error.contains(&secret), "{error}");
    let error = refused(text.replace("\"version\": 2", "\"version\": 1"));
    assert!(error.contains("format version 1") && error.contains("parallax keys node FILE"), "{error}");
    let error = refused(text.replace("\"version\": 2", "\"version\": 3"));
    assert!(error.contains("format version 3") && error.contains("use the program that wrote it"), "{error}");
}

#[test]
fn the_ethereum_addresses_of_well_known_keys_are_always_the_same() {
    let address = |label| NodeKeys::well_known(label).ethereum.address().to_string();
    assert_eq!(address("localnet kms-0"), "0x1ad4db95ca41b8dd12c48557fffde8c4e0e4f440");
    assert_ne!(address("localnet kms-0"), address("localnet kms-1"));
}

#[test]
fn a_transaction_is_signed_with_an_account_key_or_with_that_of_a_node() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (of_account, of_node) = (dir.path().join("account.json"), dir.path().join("node.key"));
    let (account, node) = (AccountKey::generate(), keys(0));
    account.save(&of_account).expect("a fresh directory can be written");
    node.save(&of_node).expect("a fresh directory can be written");
    assert_eq!(AccountKey::load_signer(&of_account).expect("an account").public(), account.public());
    assert_eq!(AccountKey::load_signer(&of_node).expect("a node").public(), node.node());
    let text = std::fs::read_to_string(&of_node).expect("own file").replace("\"node\"", "\"kms\"");
    std::fs::write(&of_node, text).expect("own file");
    let error = AccountKey::load_signer(&of_node).expect_err("neither").to_string();
    assert!(error.contains("kind \"kms\"") && error.contains("kind \"account\""), "{error}");
}

#[test]
fn a_missing_home_is_reported_by_its_path() {
    let error = Home::open(Path::new("/nonexistent/home")).expect_err("there is none").to_string();
    assert!(error.contains("/nonexistent/home/config.json"), "{error}");
}
