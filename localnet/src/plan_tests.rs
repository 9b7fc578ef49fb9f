//! Plans without processes: what is written, and what is refused.

use super::*;
use crate::fixture::FaultSpec;
use parallax_runtime::EvaluationProfile;
use std::net::TcpListener;

fn keys(dir: &Path) -> KeySet {
    KeySet {
        dir: dir.join("keys"),
        key_id: parallax_primitives::KeyId([5; 32]),
        profile: EvaluationProfile {
            library: "none".to_owned(),
            plan: "none".to_owned(),
            parameters: "none".to_owned(),
            backend: "clear".to_owned(),
            instructions: "any".to_owned(),
        },
    }
}

fn small() -> Fixture {
    Fixture { accounts: 3, ..Fixture::default() }
}

fn temp() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

#[test]
fn a_plan_is_a_valid_chain_with_a_home_for_every_node() {
    let base = temp();
    let plan = prepare(&base.path().join("net"), &small(), &keys(base.path()), false).expect("a fresh directory");
    let document = GenesisDocument::load(&plan.genesis()).expect("the document is valid");
    document.check_paratimes(&[&Scheduler::new(plan.scheduler)]).expect("the stated root is right");
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
    let plan = prepare(&base.path().join("net"), &small(), &keys(base.path()), false).expect("a fresh directory");
    let mut ports: Vec<u16> = plan.nodes.iter().flat_map(|n| [n.ports.rpc, n.ports.engine, n.ports.network]).collect();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 30);
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
