//! A node that contradicts itself, as operators see it: where it stands, who may lift its freeze when, and that the
//! deposit which its round was to credit is not lost.

use crate::network::{Net, url};
use crate::{parallax, text, turn};
use serde_json::Value;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a round with its evidence may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

fn json(dir: &Path, args: &[&str]) -> Value {
    let output = parallax(dir, args);
    assert!(output.status.success(), "{args:?}: {}", text(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Runs a command that is refused, and returns what it says.
fn refused(dir: &Path, args: &[&str]) -> String {
    let output = parallax(dir, args);
    assert!(!output.status.success(), "{args:?} should be refused: {}", text(&output));
    text(&output)
}

#[test]
fn an_equivocator_is_shown_frozen_only_its_entity_may_unfreeze_it_and_the_deposit_of_its_round_arrives() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let small = ["--validators", "1", "--workers", "2", "--backups", "1", "--compute", "4"];
    let (_net, shown) = Net::up(dir, &[&small[..], &["--fault", "compute-0=equivocate-vote"]].concat());
    let (validator, compute) = (url(&shown, "validator-0"), url(&shown, "compute-1"));
    let nodes = || json(dir, &["query", "nodes", "--rpc", &validator]).as_array().unwrap().clone();
    let frozen = |nodes: &[Value]| -> Vec<Value> {
        nodes.iter().filter(|n| !n["standing"]["frozen"].is_null()).cloned().collect()
    };
    assert_eq!(frozen(&nodes()), Vec::<Value>::new(), "nobody has done anything yet");

    // A deposit makes a round, in which compute-0 signs two votes.
    let key = dir.join("net/accounts/dev-0.json");
    let key = key.to_str().unwrap();
    let deposit = |fee: &str| {
        let args = ["--key", key, "--amount", "7", "--message-fee", fee];
        parallax(dir, &[&["tx", "deposit", "--rpc", &validator][..], &args].concat())
    };
    let cheap = text(&deposit("999"));
    assert!(cheap.contains("pays a fee of 999 base units, the least is 1000"), "{cheap}");
    let deposited = deposit("1000");
    assert!(text(&deposited).contains("is in block"), "{}", text(&deposited));
    let begun = Instant::now();
    let convicted = loop {
        let found = frozen(&nodes());
        if !found.is_empty() {
            break found;
        }
        assert!(begun.elapsed() < PATIENCE, "nobody was frozen within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(200));
    };
    assert_eq!(convicted.len(), 1, "{convicted:?}");
    let id = convicted[0]["descriptor"]["node"].as_str().unwrap();
    let alone = json(dir, &["query", "node", &id[..10], "--rpc", &validator]);
    assert_eq!(alone, convicted[0], "the first digits of its id are enough");
    assert_eq!(alone["standing"]["frozen"]["reason"], "equivocation");
    assert_eq!((&alone["electable"], &alone["stake"]), (&Value::Bool(false), &Value::from("900000")));
    let until = alone["standing"]["frozen"]["until"].as_u64().unwrap();

    // The deposit is not lost: if the conviction ended its round, the next committee's credits it.
    let owner = shown.lines().find(|l| l.starts_with("dev-0")).and_then(|l| l.split_whitespace().nth(1)).unwrap();
    let asked = format!("{{\"address\":\"{owner}\"}}");
    let question = ["query", "paratime", "--rpc", &compute, "account"];
    let balance = || json(dir, &[&question[..], &[&asked]].concat())["balance"].clone();
    let no_object = refused(dir, &[&question[..], &["7"]].concat());
    assert!(no_object.contains("it is JSON, but no object"), "{no_object}");
    let begun = Instant::now();
    while balance() != "1000000000000007" {
        assert!(begun.elapsed() < PATIENCE, "genesis gave 10^15, with the deposit it should be 7 more: {}", balance());
        std::thread::sleep(Duration::from_millis(200));
    }

    // Its own key is its entity's on a localnet.
    let own = dir.join("net/nodes/compute-0/node.key");
    let own = own.to_str().unwrap();
    let unfreeze =
        |key: &str, node: &str| refused(dir, &["tx", "unfreeze", "--rpc", &validator, "--key", key, "--node", node]);
    let early = unfreeze(own, id);
    assert!(early.contains(&format!("{id} is frozen up to epoch {until}, epoch 0 is under way")), "{early}");
    let stranger = unfreeze(key, id);
    assert!(stranger.contains("belongs to the entity") && stranger.contains("has to unfreeze it"), "{stranger}");
    let of_another = dir.join("net/nodes/compute-1/node.key");
    let of_another = of_another.to_str().unwrap();
    let honest: Vec<String> = nodes()
        .iter()
        .map(|n| n["descriptor"]["node"].as_str().unwrap().to_owned())
        .filter(|node| unfreeze(of_another, node).contains("is not frozen"))
        .collect();
    assert_eq!(honest.len(), 1, "compute-1 answers for itself, and is not frozen: {honest:?}");
    let unknown = unfreeze(own, "compute-9");
    assert!(unknown.contains("no node compute-9 is registered; there are 0x"), "{unknown}");
}
