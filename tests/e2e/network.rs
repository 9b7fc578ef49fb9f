//! A localnet as its operator sees it: start, status, a node that refuses, ports, other chains, proofs.

use crate::{parallax, program, text, turn};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a command may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// A localnet that is stopped at the end of the test, whatever happens.
pub(crate) struct Net<'a> {
    dir: &'a Path,
}

impl<'a> Net<'a> {
    /// Starts a localnet of the scheduler that goes on in the background. Returns what `up` printed.
    pub(crate) fn up(dir: &'a Path, args: &[&str]) -> (Self, String) {
        Self::up_with(dir, "scheduler", args)
    }

    /// The same with these ParaTimes.
    pub(crate) fn up_with(dir: &'a Path, paratimes: &str, args: &[&str]) -> (Self, String) {
        let mut all = vec!["localnet", "up", "--detach", "--dir", "net", "--paratimes", paratimes];
        all.extend(args);
        let output = parallax(dir, &all);
        assert!(output.status.success(), "{}", text(&output));
        (Self { dir }, text(&output))
    }
}

impl Drop for Net<'_> {
    fn drop(&mut self) {
        let _ = parallax(self.dir, &["localnet", "stop", "--dir", "net"]);
    }
}

/// The RPC URL of a node in what `up` printed.
pub(crate) fn url(shown: &str, node: &str) -> String {
    let line = shown.lines().find(|l| l.starts_with(node)).unwrap_or_else(|| panic!("{node} is not in: {shown}"));
    line.split_whitespace().last().unwrap().to_owned()
}

fn wait(mut child: Child) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if let Some(status) = child.try_wait().unwrap() {
            return status.success();
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let _ = child.kill();
    panic!("the command did not end within {PATIENCE:?}");
}

#[test]
fn a_node_with_another_fft_plan_refuses_to_start_and_names_the_operation_and_the_rest_go_on() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let (_net, shown) = Net::up(dir.path(), &["--fault", "compute-2=other-fft-plan"]);
    assert!(shown.contains("compute-2 refuses to run as configured"), "{shown}");
    let reason = shown.lines().find(|l| l.contains("operation `")).unwrap_or_default();
    // The first operation that bootstraps is the expansion of an input.
    assert!(reason.contains("operation `expand` gives") && reason.contains("FFT plan"), "{shown}");

    // The others work: a transfer is in a block, and its result is proven without a node.
    let validator = url(&shown, "validator-0");
    let accounts = dir.path().join("net/accounts");
    let to = shown.lines().find(|l| l.starts_with("dev-1")).and_then(|l| l.split_whitespace().nth(1)).unwrap();
    let key = accounts.join("dev-0.json");
    let key = key.to_str().unwrap();
    let sent =
        parallax(dir.path(), &["tx", "transfer", "--rpc", &validator, "--key", key, "--to", to, "--amount", "5"]);
    assert!(text(&sent).contains("is in block"), "{}", text(&sent));

    // The state after a block is proven by the header of the next one.
    let begun = Instant::now();
    let verified = loop {
        let proof = parallax(dir.path(), &["query", "proof", "--rpc", &validator, "--account", to]);
        assert!(proof.status.success(), "{}", text(&proof));
        std::fs::write(dir.path().join("proof.json"), &proof.stdout).unwrap();
        let verified = parallax(dir.path(), &["verify", "--genesis", "net/genesis.json", "proof.json"]);
        assert!(verified.status.success(), "{}", text(&verified));
        let shown: serde_json::Value = serde_json::from_slice(&verified.stdout).unwrap();
        assert_eq!(shown["present"], true);
        // A stored account: variant, balance (u128), nonce (u64), little-endian; 5 above what genesis gave.
        let value = shown["value"]["plain"].as_str().unwrap().to_owned();
        if value.starts_with("0x000580c6") || begun.elapsed() > PATIENCE {
            break value;
        }
        std::thread::sleep(Duration::from_millis(200));
    };
    assert!(verified.starts_with("0x000580c6"), "the recipient has 10^15 + 5: {verified}");

    // An altered proof is refused, and so is a proof from another chain.
    let altered =
        std::fs::read_to_string(dir.path().join("proof.json")).unwrap().replacen("\"time_ms\": 1", "\"time_ms\": 2", 1);
    std::fs::write(dir.path().join("altered.json"), altered).unwrap();
    let refused = parallax(dir.path(), &["verify", "--genesis", "net/genesis.json", "altered.json"]);
    assert!(!refused.status.success() && text(&refused).contains("the proof does not hold"), "{}", text(&refused));

    other_chain(dir.path());
}

/// A second localnet's documents, without its processes: its data and its proofs are another chain's.
fn other_chain(dir: &Path) {
    let made = parallax(dir, &["genesis", "init", "--out", "other", "--paratimes", "scheduler"]);
    assert!(made.status.success(), "{}", text(&made));
    let refused = parallax(dir, &["verify", "--genesis", "other/genesis.json", "proof.json"]);
    assert!(!refused.status.success(), "a proof of one chain must not hold on another");

    // A home directory with another chain's genesis document: its data is refused and left as it is.
    let home = dir.join("other/nodes/validator-0");
    let opened = Command::new(program())
        .args(["node", "run", "--home"])
        .arg(&home)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // It binds its data to its chain at once; then it waits for peers that are not there.
    let begun = Instant::now();
    while !home.join("data").exists() && begun.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(50));
    }
    std::thread::sleep(Duration::from_millis(500));
    let pid = nix::unistd::Pid::from_raw(i32::try_from(opened.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert!(wait(opened), "a node ends in order when it is asked to");
    let marker =
        std::fs::read_dir(home.join("data")).unwrap().map(|e| e.unwrap().path()).find(|p| p.is_file()).unwrap();
    let bound = std::fs::read(&marker).unwrap();
    std::fs::copy(dir.join("net/genesis.json"), home.join("genesis.json")).unwrap();
    let refused = Command::new(program()).args(["node", "run", "--home"]).arg(&home).output().unwrap();
    assert_eq!(refused.status.code(), Some(78), "a supervisor must not start it again: {}", text(&refused));
    assert!(text(&refused).contains("chain") && text(&refused).contains("data"), "{}", text(&refused));
    assert_eq!(std::fs::read(&marker).unwrap(), bound, "the data is left as it is");
}

#[test]
fn a_port_in_use_is_named_and_nothing_is_left_running() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output =
        parallax(dir.path(), &["localnet", "up", "--dir", "net", "--paratimes", "scheduler", "--base-port", &port]);
    let shown = text(&output);
    assert!(!output.status.success(), "{shown}");
    assert!(shown.contains(&port) && shown.contains("--base-port"), "{shown}");
    let status = parallax(dir.path(), &["localnet", "status", "--dir", "net"]);
    assert!(!status.status.success(), "nothing runs: {}", text(&status));
}
