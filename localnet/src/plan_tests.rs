//! Plans without processes: what is written, and what is refused.

use super::*;
use crate::fixture::FaultSpec;
use parallax_evm::EvmParaTime;
use parallax_genesis::GenesisDocument;
use parallax_runtime::EvaluationProfile;
use parallax_scheduler::Scheduler;
use std::net::TcpListener;

fn key_set(dir: PathBuf, number: u8) -> KeySet {
    KeySet {
        dir,
        key_id: parallax_primitives::KeyId([number; 32]),
        profile: EvaluationProfile {
            library: "none".to_owned(),
            plan: "none".to_owned(),
            parameters: "none".to_owned(),
            backend: "clear".to_owned(),
            instructions: "any".to_owned(),
        },
    }
}

fn keys(dir: &Path) -> BTreeMap<ParaTimeKind, KeySet> {
    let all = ParaTimeKind::ALL.into_iter().zip(5..);
    all.map(|(kind, number)| (kind, key_set(dir.join(format!("keys-{kind}")), number))).collect()
}

fn small() -> Fixture {
    Fixture { accounts: 3, ..Fixture::default() }
}

fn both() -> Fixture {
    Fixture { paratimes: ParaTimeKind::ALL.to_vec(), ..small() }
}

fn temp() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

#[test]
fn a_plan_is_a_valid_chain_with_a_home_for_every_node() {
    let base = temp();
    let plan = prepare(&base.path().join("net"), &small(), &keys(base.path()), false).expect("a fresh directory");
    let document = GenesisDocument::load(&plan.genesis()).expect("the document is valid");
    let scheduler = plan.scheduler().expect("it runs");
    document.check_paratimes(&[&Scheduler::new(scheduler)]).expect("the stated root is right");
    assert_eq!((plan.evm(), plan.nodes[4].ethereum_url()), (None, None), "no EVM is asked for");
    assert_eq!(document.chain_context().expect("integers only"), plan.chain);
    assert_eq!(plan.nodes.len(), 10, "4 validators, 5 compute nodes, 1 key manager");
    for node in &plan.nodes {
        let home = Home::open(&node.home).expect("the home directory is whole");
        assert_eq!((home.chain, home.keys.node()), (plan.chain, node.node));
        assert_eq!(home.config.engine.peers.len(), 9);
        assert_eq!(home.config.rpc_url(), node.rpc_url());
    }
    let committee = &document.consensus.committees[0].1;
    assert_eq!(committee.workers[1], plan.node("compute-1").expect("it is planned").node);
    assert_eq!(committee.backups.len(), 3);
    for account in &plan.accounts {
        assert_eq!(account.load().expect("the key file is whole").address(), account.address);
    }
}

#[test]
fn ports_of_a_plan_are_all_different() {
    let base = temp();
    let plan = prepare(&base.path().join("net"), &both(), &keys(base.path()), false).expect("a fresh directory");
    let each = |n: &PlannedNode| [Some(n.ports.rpc), Some(n.ports.engine), Some(n.ports.network), n.ports.ethereum];
    let mut ports: Vec<u16> = plan.nodes.iter().flat_map(each).flatten().collect();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 35, "three a node, and one for each of five compute nodes");
}

#[test]
fn a_plan_with_both_paratimes_gives_each_a_key_set_of_its_own_and_compute_nodes_an_ethereum_server() {
    let base = temp();
    let plan = prepare(&base.path().join("net"), &both(), &keys(base.path()), false).expect("a fresh directory");
    let (scheduler, evm) = (plan.scheduler().expect("it runs"), plan.evm().expect("it runs"));
    let document = GenesisDocument::load(&plan.genesis()).expect("the document is valid");
    document
        .check_paratimes(&[&Scheduler::new(scheduler), &EvmParaTime::new(evm)])
        .expect("the stated roots are right and a batch fits");
    let paratimes = &document.consensus.paratimes;
    assert_ne!(paratimes[0].key_set, paratimes[1].key_set);
    let committees = &document.consensus.committees;
    assert_eq!((committees[0].0, committees[1].0), (scheduler, evm));
    assert_eq!(committees[0].1.workers, committees[1].1.workers);

    // Who attests inputs and decryptions is who decrypts.
    let manager = plan.node("kms-0").expect("it is planned");
    let managed = Home::open(&manager.home).expect("the home directory is whole");
    let signer = managed.keys.ethereum.address().to_string();
    for part in ["inputs", "decryptions"] {
        assert_eq!(document.paratimes[1].parameters["params"][part]["signers"], serde_json::json!([signer]), "{part}");
    }
    let served: Vec<_> = managed.config.paratimes.iter().map(|p| (p.id, p.keys.clone())).collect();
    let dirs = [base.path().join("keys-scheduler"), base.path().join("keys-evm")];
    assert_eq!(served, [(scheduler, dirs[0].clone()), (evm, dirs[1].clone())]);
    assert_eq!(plan.keys(ParaTimeKind::Evm).expect("it runs"), dirs[1]);

    for node in &plan.nodes {
        let config = Home::open(&node.home).expect("the home directory is whole").config;
        let url = config.ethereum.as_ref().map(|e| format!("http://{}", e.listen));
        assert_eq!(
            (url, config.ethereum.is_some()),
            (node.ethereum_url(), node.role == Role::Compute),
            "{}",
            node.name
        );
        assert!(config.ethereum.is_none_or(|e| e.paratime == evm && e.accounts));
    }
}

#[test]
fn ethereum_ports_follow_the_stated_one_in_the_order_of_the_compute_nodes() {
    let base = temp();
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let taken = free.local_addr().expect("it is bound").port();
    let fixture = Fixture { ethereum_port: Some(taken), ..both() };
    let keys = keys(base.path());
    let error = prepare(&base.path().join("net"), &fixture, &keys, false).expect_err("the port is taken").to_string();
    assert!(error.contains("(Ethereum RPC of compute-0)"), "{error}");
    drop(free);
    // Another process may have one of the ports that follow.
    match prepare(&base.path().join("net"), &fixture, &keys, false) {
        Ok(plan) => {
            let of_compute = plan.nodes.iter().filter(|n| n.role == Role::Compute);
            let ports: Vec<Option<u16>> = of_compute.map(|n| n.ports.ethereum).collect();
            assert_eq!(ports, (taken..taken + 5).map(Some).collect::<Vec<_>>());
        }
        Err(error) => assert!(matches!(error, LocalnetError::Port { .. }), "{error}"),
    }
    let high = Fixture { ethereum_port: Some(65_533), ..both() };
    let error = prepare(&base.path().join("other"), &high, &keys, false).expect_err("no room").to_string();
    assert!(error.starts_with("--ethereum-port: "), "{error}");
}

#[test]
fn a_second_start_takes_up_the_same_chain_and_another_fixture_is_refused() {
    let base = temp();
    let (dir, keys) = (base.path().join("net"), keys(base.path()));
    let first = prepare(&dir, &small(), &keys, false).expect("a fresh directory");
    assert_eq!(prepare(&dir, &small(), &keys, false).expect("the same fixture"), first);
    let more = Fixture { validators: 5, ..small() };
    let error = prepare(&dir, &more, &keys, false).expect_err("another fixture").to_string();
    assert!(error.contains("another validators (4)") && error.contains("--fresh"), "{error}");
    std::fs::write(dir.join("mine.txt"), "kept").expect("the directory can be written");
    let replaced = prepare(&dir, &more, &keys, true).expect_err("something else is in the directory").to_string();
    assert!(replaced.contains("holds no localnet"), "{replaced}");
    assert_eq!(std::fs::read_to_string(dir.join("mine.txt")).expect("it is still there"), "kept");
    std::fs::remove_file(dir.join("mine.txt")).expect("it is there");
    assert_eq!(prepare(&dir, &more, &keys, true).expect("an empty directory").nodes.len(), 11);
}

#[test]
fn a_directory_with_other_things_is_left_alone() {
    let base = temp();
    let dir = base.path().join("net");
    std::fs::create_dir(&dir).expect("a fresh directory");
    std::fs::write(dir.join("thesis.txt"), "mine").expect("it can be written");
    for fresh in [false, true] {
        let error = prepare(&dir, &small(), &keys(base.path()), fresh).expect_err("not ours").to_string();
        assert!(error.contains("holds no localnet"), "{error}");
    }
    assert_eq!(std::fs::read_to_string(dir.join("thesis.txt")).expect("it is still there"), "mine");
}

#[test]
fn a_taken_port_is_named_with_its_node_and_the_flag() {
    let base = temp();
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = taken.local_addr().expect("it is bound").port();
    // compute-0 is the fifth node, and RPC servers come first.
    let fixture = Fixture { base_port: Some(port - 4), ..small() };
    let error = prepare(&base.path().join("net"), &fixture, &keys(base.path()), false).expect_err("a port is taken");
    if let LocalnetError::Port { port: named, node, purpose, .. } = &error
        && *named == port
    {
        assert_eq!((node.as_str(), *purpose), ("compute-0", "RPC"));
        assert!(error.to_string().contains("--base-port"), "{error}");
    } else {
        // Another process may have one of the four ports before it.
        assert!(matches!(error, LocalnetError::Port { .. }), "{error}");
    }
}

#[test]
fn sizes_that_cannot_work_are_refused_by_their_flag() {
    let refusal = |change: fn(&mut Fixture)| {
        let mut fixture = small();
        change(&mut fixture);
        fixture.check().expect_err("it cannot work").to_string()
    };
    assert!(refusal(|f| f.validators = 0).starts_with("--validators: "));
    assert!(refusal(|f| f.workers = 1).starts_with("--workers: "));
    assert!(refusal(|f| f.compute = 4).starts_with("--compute: 4 nodes cannot fill 5 seats"));
    assert!(refusal(|f| f.key_managers = 2).starts_with("--key-managers: "));
    assert!(refusal(|f| f.epoch_blocks = Some(100)).starts_with("--epoch-blocks: "));
    let base = temp();
    let high = Fixture { base_port: Some(65_530), ..small() };
    let error = prepare(&base.path().join("net"), &high, &keys(base.path()), false).expect_err("no room").to_string();
    assert!(error.starts_with("--base-port: "), "{error}");
}

#[test]
fn a_fault_is_a_node_and_a_kind() {
    let fault: FaultSpec = "compute-1=wrong-root".parse().expect("both parts are there");
    assert_eq!((fault.node.as_str(), fault.kind.as_str()), ("compute-1", "wrong-root"));
    for text in ["compute-1", "=x", "x="] {
        assert!(text.parse::<FaultSpec>().is_err(), "{text}");
    }
}
