//! Supervision of real processes. This program is its own node: started as `... node run --home DIR`, it opens the home
//! directory, serves `node_health` and behaves as its fault says. No FHE and no consensus is in it.

// A test of processes waits by the clock.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

use jsonrpsee::core::{RpcResult, async_trait};
use jsonrpsee::server::Server;
use parallax_genesis::Home;
use parallax_localnet::{
    EXIT_REFUSED, FaultSpec, Fixture, KeySet, Localnet, LocalnetError, NodePhase, ParaTimeKind, Running, StartOptions,
    lifeline,
};
use parallax_primitives::{Height, KeyId};
use parallax_rpc::types::{ChainEvent, Health, Status};
use parallax_rpc::{ErrorCode, NodeApiServer, RpcError};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

struct FakeNode {
    home: Home,
}

#[async_trait]
impl NodeApiServer for FakeNode {
    async fn health(&self) -> RpcResult<Health> {
        Ok(Health {
            ready: true,
            reason: None,
            height: Height(1),
            peers: 0,
            roles: self.home.config.roles.clone(),
            catching_up: false,
            paratimes: vec![],
        })
    }

    async fn status(&self) -> RpcResult<Status> {
        Err(RpcError::new(ErrorCode::Unsupported, "this node is for tests of supervision").into())
    }

    async fn events(&self, _: Height, _: Option<Height>, _: Option<String>) -> RpcResult<Vec<ChainEvent>> {
        Ok(vec![])
    }
}

async fn fake_node(args: &[String]) -> ExitCode {
    assert_eq!(args[..3], ["node", "run", "--home"], "how a node is started is part of the interface");
    assert!(args.contains(&lifeline::FLAG.to_owned()));
    let home = Home::open(Path::new(&args[3])).expect("the supervisor was given a whole home directory");
    lifeline::watch().expect("a thread for the lifeline");
    let fault = args.iter().position(|a| a == "--fault").map(|i| args[i + 1].as_str());
    println!("node {} starts", home.config.moniker);
    match fault {
        Some("refuse") => {
            eprintln!("operation select differs: this processor rounds otherwise");
            return ExitCode::from(u8::try_from(EXIT_REFUSED).expect("an exit code is a byte"));
        }
        Some("crash") => {
            eprintln!("it crashes at once");
            return ExitCode::FAILURE;
        }
        // Never ready, as there is no server.
        Some("mute") => std::future::pending().await,
        _ => {}
    }
    let server = Server::builder().build(home.config.rpc.listen).await.expect("the port was free");
    let handle = server.start(FakeNode { home }.into_rpc());
    handle.stopped().await;
    ExitCode::SUCCESS
}

fn options(base: &Path) -> StartOptions {
    StartOptions {
        keys: [(
            ParaTimeKind::Scheduler,
            KeySet {
                dir: base.join("keys"),
                key_id: KeyId([5; 32]),
                profile: parallax_fhe::plan::profile_of(parallax_fhe::FftPlan::Dif16),
            },
        )]
        .into(),
        ready_timeout: Duration::from_secs(20),
        ..StartOptions::new(&base.join("net")).expect("this program has a path")
    }
}

fn fixture() -> Fixture {
    Fixture { validators: 1, accounts: 2, ..Fixture::default() }
}

fn fault(text: &str) -> Vec<FaultSpec> {
    vec![text.parse().expect("NODE=KIND")]
}

fn is_alive(pid: u32) -> bool {
    // A process that has ended and waits for its parent is not alive.
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z')))
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(15);
    while !holds() {
        assert!(Instant::now() < deadline, "this did not happen within 15 s: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn pids(running: &Running) -> Vec<u32> {
    running.nodes().iter().filter_map(|n| n.pid).collect()
}

async fn a_network_gets_ready_a_killed_node_comes_back_and_stop_leaves_nothing(base: &Path) {
    let running = Localnet::start(fixture(), options(base)).await.expect("every node gets ready");
    let before = pids(&running);
    assert_eq!(before.len(), 7, "1 validator, 5 compute nodes, 1 key manager");
    let second = Localnet::launch(fixture(), options(base)).await.err().expect("one runs already").to_string();
    assert!(second.contains("a localnet runs in") && second.contains(&std::process::id().to_string()), "{second}");

    running.kill("compute-1").expect("there is such a node");
    let came_back = || {
        let node = running.nodes().into_iter().find(|n| n.name == "compute-1").expect("it is planned");
        node.restarts == 1 && node.phase == NodePhase::Running && node.pid.is_some_and(|p| !before.contains(&p))
    };
    eventually("compute-1 is started again", came_back).await;
    running.wait_ready().await.expect("it gets ready again");
    assert!(running.kill("compute-9").expect_err("no such node").to_string().contains("compute-0"));

    let after = pids(&running);
    running.stop().await;
    assert!(after.iter().all(|pid| !is_alive(*pid)), "stop leaves no process");
    assert!(!base.join("net/state.json").exists());
    let again = Localnet::start(fixture(), options(base)).await.expect("the same chain goes on");
    again.stop().await;
}

async fn a_refusal_is_reported_in_the_nodes_words_and_not_retried(base: &Path) {
    let faulty = StartOptions { faults: fault("compute-2=refuse"), ..options(base) };
    let running = Localnet::start(fixture(), faulty).await.expect("the network goes on without the faulty node");
    let node = running.nodes().into_iter().find(|n| n.name == "compute-2").expect("it is planned");
    assert_eq!((node.phase, node.restarts, node.pid), (NodePhase::Refused, 0, None));
    assert!(node.message.as_deref().is_some_and(|m| m.contains("operation select differs")), "{node:?}");
    running.stop().await;
}

async fn a_node_that_keeps_dying_is_given_up_with_its_log(base: &Path) {
    let crashing =
        StartOptions { faults: fault("validator-0=crash"), ready_timeout: Duration::from_secs(120), ..options(base) };
    let Err(LocalnetError::KeepsDying { node, tail, .. }) = Localnet::start(fixture(), crashing).await else {
        panic!("a node that crashes at once is given up")
    };
    assert_eq!(node, "validator-0");
    assert!(tail.contains("it crashes at once"), "{tail}");
}

async fn a_node_that_is_not_ready_in_time_is_named_with_the_end_of_its_log(base: &Path) {
    let slow = StartOptions { faults: fault("kms-0=mute"), ready_timeout: Duration::from_secs(3), ..options(base) };
    let error = Localnet::start(fixture(), slow).await.err().expect("kms-0 never answers").to_string();
    for part in ["kms-0 was not ready after 3 s", "did not answer node_health", "node kms-0 starts"] {
        assert!(error.contains(part), "{part:?} is missing in: {error}");
    }
    let unknown = StartOptions { faults: fault("compute-7=x"), ..options(base) };
    let error = Localnet::launch(fixture(), unknown).await.err().expect("no such node").to_string();
    assert!(error.contains("there is no node compute-7") && error.contains("kms-0"), "{error}");
}

/// Starts a supervisor in a process of its own and kills it: its nodes must see the end of their lifeline.
async fn nodes_do_not_outlive_a_killed_supervisor(base: &Path) {
    let program = std::env::current_exe().expect("this program has a path");
    let mut supervisor = tokio::process::Command::new(program)
        .arg("supervise")
        .arg(base)
        .kill_on_drop(true)
        .spawn()
        .expect("this program can be started");
    let state = || -> Option<serde_json::Value> {
        serde_json::from_slice(&std::fs::read(base.join("net/state.json")).ok()?).ok()
    };
    eventually("the other supervisor is ready", || state().is_some_and(|s| s["ready"] == true)).await;
    let state = state().expect("it was there just now");
    let nodes: Vec<u32> = state["nodes"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|n| n["pid"].as_u64().and_then(|p| u32::try_from(p).ok()))
        .collect();
    assert_eq!(nodes.len(), 7);
    assert!(nodes.iter().all(|pid| is_alive(*pid)));
    supervisor.kill().await.expect("it runs");
    eventually("its nodes end", || nodes.iter().all(|pid| !is_alive(*pid))).await;
}

async fn supervise(base: &Path) -> ExitCode {
    let running = Localnet::start(fixture(), options(base)).await.expect("every node gets ready");
    let _running = running;
    std::future::pending().await
}

macro_rules! run_tests {
    ($($test:ident),+ $(,)?) => {
        $({
            let base = tempfile::tempdir().expect("a temporary directory");
            let started = Instant::now();
            $test(base.path()).await;
            println!("test {} ... ok ({:.1} s)", stringify!($test), started.elapsed().as_secs_f64());
        })+
    };
}

#[tokio::main]
async fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("node") => return fake_node(&args).await,
        Some("supervise") => return supervise(Path::new(&args[1])).await,
        // What cargo and editors ask of a test program.
        Some("--list") => return ExitCode::SUCCESS,
        _ => {}
    }
    run_tests!(
        a_network_gets_ready_a_killed_node_comes_back_and_stop_leaves_nothing,
        a_refusal_is_reported_in_the_nodes_words_and_not_retried,
        a_node_that_keeps_dying_is_given_up_with_its_log,
        a_node_that_is_not_ready_in_time_is_named_with_the_end_of_its_log,
        nodes_do_not_outlive_a_killed_supervisor,
    );
    ExitCode::SUCCESS
}
