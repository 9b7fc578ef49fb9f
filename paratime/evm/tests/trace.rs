//! Geth's tracers on transactions that compute on encrypted values, and on those that do not.

mod support;

use parallax_evm::eth::Error;
use parallax_evm::host::{ACL, EXECUTOR};
use parallax_primitives::message::InMessage;
use parallax_primitives::{Address as Account, Amount};
use revm::primitives::{Address, TxKind, U256, hex, keccak256};
use serde_json::{Value as Json, json};
use support::wallet::Wallet;
use support::{Net, calldata, creation, word};

const PURSE: &str = include_str!("../contracts/Purse.hex");
/// Adds one to slot 0 and returns it.
const COUNTER: &str = "5f5460010180 5f55 5f5260205ff3";
/// Loops until the gas is used up.
const LOOP: &str = "5b5f56";

fn code(text: &str) -> Vec<u8> {
    creation(&hex::decode(text.replace(' ', "")).expect("it is hexadecimal"))
}

fn trace(net: &Net, tx: &[u8], options: Json) -> Result<Json, Error> {
    net.past("debug_traceTransaction", json!([keccak256(tx).to_string(), options]))
}

fn number(value: &Json) -> u64 {
    value.as_str().expect("it is text").parse::<U256>().expect("it is a number").to()
}

/// All frames of a call trace, with the one that calls each.
fn frames(frame: &Json, out: &mut Vec<Json>) {
    out.push(frame.clone());
    frame["calls"].as_array().into_iter().flatten().for_each(|call| frames(call, out));
}

#[test]
fn a_call_trace_shows_the_calls_of_host_contracts() {
    let mut net = Net::default();
    let alice = Wallet::development(0);
    let purse = net.deploy(&alice, hex::decode(PURSE.trim()).expect("it is hexadecimal"));
    let mint = calldata("mint(address,uint64)", &[alice.address().into_word(), word(5)]);
    let tx = net.tx(&alice, TxKind::Call(purse), mint);
    net.round(std::slice::from_ref(&tx));
    let receipt = net.eth("eth_getTransactionReceipt", json!([keccak256(&tx).to_string()]));
    let options = json!({ "tracer": "callTracer", "tracerConfig": { "withLog": true } });
    let root = trace(&net, &tx, options).expect("it has a trace");
    assert_eq!(root["type"], "CALL");
    assert_eq!(root["gasUsed"], receipt["gasUsed"]);
    let mut all = Vec::new();
    frames(&root, &mut all);
    let to = |address: Address| -> Vec<&Json> {
        let text = address.to_string().to_lowercase();
        all.iter().filter(|f| f["to"].as_str().map(str::to_lowercase).as_ref() == Some(&text)).collect()
    };
    let add = hex::encode_prefixed(&keccak256("fheAdd(bytes32,bytes32,bytes1)")[..4]);
    assert!(to(EXECUTOR).iter().any(|f| f["input"].as_str().is_some_and(|input| input.starts_with(&add))));
    let allow = hex::encode_prefixed(&keccak256("allow(bytes32,address)")[..4]);
    let allowed: Vec<&Json> =
        to(ACL).into_iter().filter(|f| f["input"].as_str().is_some_and(|i| i.starts_with(&allow))).collect();
    assert_eq!(allowed.len(), 2, "for the contract and for the account");
    assert!(allowed.iter().all(|frame| frame["logs"].as_array().map(Vec::len) == Some(1)), "with its event");
    let mut logs = Vec::new();
    all.iter().for_each(|frame| logs.extend(frame["logs"].as_array().into_iter().flatten().cloned()));
    assert_eq!(Some(logs.len()), receipt["logs"].as_array().map(Vec::len));
    let top = trace(&net, &tx, json!({ "tracer": "callTracer", "tracerConfig": { "onlyTopCall": true } }));
    assert_eq!(top.expect("it has a trace")["calls"], Json::Null);
    let selectors = trace(&net, &tx, json!({ "tracer": "4byteTracer" })).expect("it has a trace");
    assert!(selectors.as_object().is_some_and(|found| !found.is_empty()), "{selectors}");
}

#[test]
fn struct_logs_show_every_step_within_what_is_asked_for() {
    let mut net = Net::default();
    let alice = Wallet::development(0);
    let counter = net.deploy(&alice, code(COUNTER));
    let tx = net.tx(&alice, TxKind::Call(counter), vec![]);
    net.round(std::slice::from_ref(&tx));
    let receipt = net.eth("eth_getTransactionReceipt", json!([keccak256(&tx).to_string()]));
    let full = trace(&net, &tx, json!({})).expect("it has a trace");
    assert_eq!(full, trace(&net, &tx, Json::Null).expect("options may be left out"));
    assert_eq!((full["failed"].clone(), full["gas"].as_u64()), (json!(false), Some(number(&receipt["gasUsed"]))));
    assert_eq!(full["returnValue"].as_str().map(|v| v.trim_start_matches("0x").to_owned()), Some(hex::encode(word(1))));
    let steps = full["structLogs"].as_array().expect("there are steps").clone();
    let ops: Vec<&str> = steps.iter().filter_map(|step| step["op"].as_str()).collect();
    let expected =
        ["PUSH0", "SLOAD", "PUSH1", "ADD", "DUP1", "PUSH0", "SSTORE", "PUSH0", "MSTORE", "PUSH1", "PUSH0", "RETURN"];
    assert_eq!(ops, expected);
    assert_eq!(steps[6]["storage"].as_object().map(serde_json::Map::len), Some(1));
    assert_eq!(steps[3]["stack"].as_array().map(Vec::len), Some(2));
    let part = trace(&net, &tx, json!({ "limit": 3, "disableStack": true })).expect("it has a trace");
    let part = part["structLogs"].as_array().expect("there are steps");
    assert_eq!((part.len(), part[2]["stack"].clone()), (3, Json::Null));
}

#[test]
fn a_trace_begins_where_the_transactions_before_it_ended() {
    let mut net = Net::default();
    let (alice, bob) = (Wallet::development(0), Wallet::development(1));
    let counter = net.deploy(&alice, code(COUNTER));
    let purse = net.deploy(&alice, hex::decode(PURSE.trim()).expect("it is hexadecimal"));
    let list = net.input(&bob, &[7], purse);
    let caller = Account(alice.address().into_array());
    net.deposits = vec![InMessage { id: 0, caller, tokens: Amount(3), data: vec![] }];
    let before = net.balance(alice.address());
    let batch = vec![
        net.tx(&alice, TxKind::Call(counter), vec![]),
        bob.input(&list),
        net.tx(&bob, TxKind::Call(counter), vec![]),
        net.tx(&alice, TxKind::Call(counter), vec![]),
    ];
    net.round(&batch);
    let pre = |n: usize| trace(&net, &batch[n], json!({ "tracer": "prestateTracer" })).expect("it has a trace");
    let of = |trace: &Json, address: Address| {
        let (_, account) = trace
            .as_object()
            .expect("it is an object")
            .iter()
            .find(|(key, _)| key.to_lowercase() == address.to_string().to_lowercase())
            .unwrap_or_else(|| panic!("{address} is in {trace}"));
        account.clone()
    };
    // The deposit of the round comes first.
    assert_eq!(of(&pre(0), alice.address())["balance"], format!("{:#x}", before + U256::from(3_000_000_000u64)));
    for (n, count) in [(0, 0), (2, 1), (3, 2)] {
        let slot = of(&pre(n), counter)["storage"][word(0).to_string()].clone();
        assert_eq!(slot, word(count).to_string(), "transaction {n}");
    }
    let nonce = of(&pre(2), bob.address())["nonce"].clone();
    assert_eq!(nonce, json!(1), "the input before it took one");
    let options = json!({ "tracer": "prestateTracer", "tracerConfig": { "diffMode": true } });
    let diff = trace(&net, &batch[3], options).expect("it has a trace");
    assert_eq!(of(&diff["post"], counter)["storage"][word(0).to_string()], word(3).to_string());
    let number = net.eth("eth_blockNumber", json!([]));
    let block =
        net.past("debug_traceBlockByNumber", json!([number, { "tracer": "callTracer" }])).expect("it has traces");
    let block = block.as_array().expect("it is a list");
    assert_eq!(block.len(), 4);
    for (n, (tx, traced)) in batch.iter().zip(block).enumerate() {
        assert_eq!(traced["txHash"], keccak256(tx).to_string());
        let receipt = net.eth("eth_getTransactionReceipt", json!([traced["txHash"]]));
        if n == 1 {
            assert!(traced["error"].as_str().is_some_and(|text| text.contains("encrypted input")), "{traced}");
        } else {
            assert_eq!(traced["result"]["gasUsed"], receipt["gasUsed"], "transaction {n}");
        }
    }
    let hash = net.eth("eth_getBlockByNumber", json!(["latest", false]))["hash"].clone();
    let by_hash = net.past("debug_traceBlockByHash", json!([hash, { "tracer": "callTracer" }])).expect("it has traces");
    assert_eq!(by_hash.as_array(), Some(block));
    net.round(&[]);
    net.tree().prune(1, usize::MAX).expect("it can be pruned");
    let gone = trace(&net, &batch[0], json!({})).expect_err("the state is gone");
    assert_eq!((gone.code, gone.message.contains("no longer kept")), (-32_000, true), "{gone}");
}

#[test]
fn what_a_trace_may_hold_is_limited_before_it_is_made() {
    let mut net = Net::default();
    let alice = Wallet::development(0);
    let endless = net.deploy(&alice, code(LOOP));
    let tx = net.tx(&alice, TxKind::Call(endless), vec![]);
    net.round(std::slice::from_ref(&tx));
    let error = trace(&net, &tx, json!({})).expect_err("it is too long");
    assert_eq!((error.code, error.message.contains("give limit")), (-32_000, true), "{error}");
    let part = trace(&net, &tx, json!({ "limit": 10 })).expect("ten steps are few");
    assert_eq!(part["structLogs"].as_array().map(Vec::len), Some(10));
    let calls = trace(&net, &tx, json!({ "tracer": "callTracer" })).expect("it is one call");
    assert_eq!(calls["error"], "out of gas");
    for options in [
        json!({ "tracer": "{ step: function() {} }" }),
        json!({ "tracer": "muxTracer", "tracerConfig": {} }),
        json!({ "tracer": "callTracer", "tracerConfig": { "withLog": "yes" } }),
        json!({ "limit": "many" }),
        json!([1]),
    ] {
        let error = trace(&net, &tx, options.clone()).expect_err("there is no such tracer");
        assert_eq!(error.code, -32_602, "{options}");
    }
    let unknown = trace(&net, b"nobody sent this", json!({})).expect_err("it is unknown");
    assert_eq!((unknown.code, unknown.message.contains("not found")), (-32_000, true));
}

#[test]
fn the_traces_of_a_block_are_bounded_in_bytes_together() {
    let mut net = Net::default();
    let alice = Wallet::development(0);
    // Calls somebody sixty times with 240,000 bytes.
    let caller = net.deploy(&alice, code("603c5b5f5f6203a9805f5f60995af150600190038060025700"));
    let batch: Vec<Vec<u8>> = (0..2).map(|_| net.tx(&alice, TxKind::Call(caller), vec![])).collect();
    net.round(&batch);
    let calls = json!({ "tracer": "callTracer" });
    for tx in &batch {
        let one = trace(&net, tx, calls.clone()).expect("one alone is small enough");
        assert_eq!(one["calls"].as_array().map(Vec::len), Some(60));
    }
    let both = net.past("debug_traceBlockByNumber", json!(["latest", calls])).expect("the first one fits");
    assert_eq!(both[0]["result"]["calls"].as_array().map(Vec::len), Some(60));
    let error = both[1]["error"].as_str().expect("there is no room for the second");
    assert!(error.contains("one by one"), "{error}");
}

#[test]
fn a_call_is_traced_without_being_sent() {
    let mut net = Net::default();
    let alice = Wallet::development(0);
    let counter = net.deploy(&alice, code(COUNTER));
    net.send(&alice, counter, vec![]);
    let call = json!({ "from": alice.address().to_string(), "to": counter.to_string() });
    let traced = |tag: &str, options: Json| net.past("debug_traceCall", json!([call, tag, options])).expect("it runs");
    let calls = json!({ "tracer": "callTracer" });
    assert_eq!(traced("latest", calls.clone())["output"], word(2).to_string());
    assert_eq!(traced("0x1", calls)["output"], word(1).to_string(), "on an older block");
    let slot = json!({ counter.to_string(): { "stateDiff": { word(0).to_string(): word(41).to_string() } } });
    let overridden = traced("latest", json!({ "tracer": "callTracer", "stateOverrides": slot }));
    assert_eq!(overridden["output"], word(42).to_string());
    let list = net.past("eth_createAccessList", json!([call, "latest"])).expect("it runs");
    assert_eq!(list["accessList"][0]["storageKeys"], json!([word(0).to_string()]));
    assert!(number(&list["gasUsed"]) > 21_000 && list["error"].is_null(), "{list}");
}
