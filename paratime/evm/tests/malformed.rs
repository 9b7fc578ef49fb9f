//! Every method with parameters that are none: an error that clients know, and never a panic.

mod support;

use parallax_evm::control;
use parallax_evm::developer::request;
use revm::primitives::{TxKind, hex, keccak256};
use serde_json::{Value as Json, json};
use support::wallet::Wallet;
use support::{CHAIN_ID, Net, word};

/// The methods that need parameters, each with parameters that it takes.
fn methods(net: &mut Net) -> Vec<(&'static str, Json)> {
    let alice = Wallet::development(0);
    let address = alice.address().to_string();
    let tx = net.tx(&alice, TxKind::Call(alice.address()), vec![1, 2, 3]);
    net.round(std::slice::from_ref(&tx));
    let (hash, zero) = (keccak256(&tx).to_string(), word(0).to_string());
    let block = net.eth("eth_getBlockByNumber", json!(["latest", false]))["hash"].clone();
    let call = json!({ "from": address, "to": address, "data": "0x01", "gas": "0x186a0", "value": "0x1" });
    vec![
        ("web3_sha3", json!(["0x01"])),
        ("eth_getBalance", json!([address, "latest"])),
        ("eth_getTransactionCount", json!([address, "latest"])),
        ("eth_getCode", json!([address, { "blockNumber": "0x1" }])),
        ("eth_getStorageAt", json!([address, "0x0", "latest"])),
        ("eth_getProof", json!([address, ["0x0"], "latest"])),
        ("eth_call", json!([call, "latest", { address.clone(): { "balance": "0x10" } }, { "time": "0x10" }])),
        ("eth_estimateGas", json!([call, "latest"])),
        ("eth_createAccessList", json!([call, "latest"])),
        ("eth_feeHistory", json!(["0x2", "latest", [50]])),
        ("eth_getBlockByNumber", json!(["0x1", true])),
        ("eth_getBlockByHash", json!([block, true])),
        ("eth_getBlockTransactionCountByNumber", json!(["0x1"])),
        ("eth_getBlockTransactionCountByHash", json!([block])),
        ("eth_getUncleCountByBlockNumber", json!(["0x1"])),
        ("eth_getUncleCountByBlockHash", json!([block])),
        ("eth_getTransactionByBlockNumberAndIndex", json!(["0x1", "0x0"])),
        ("eth_getTransactionByBlockHashAndIndex", json!([block, "0x0"])),
        ("eth_getBlockReceipts", json!(["0x1"])),
        ("eth_getTransactionByHash", json!([hash])),
        ("eth_getRawTransactionByHash", json!([hash])),
        ("eth_getRawTransactionByBlockNumberAndIndex", json!(["0x1", "0x0"])),
        ("eth_getRawTransactionByBlockHashAndIndex", json!([block, "0x0"])),
        ("eth_getTransactionReceipt", json!([hash])),
        ("eth_getLogs", json!([{ "fromBlock": "0x0", "address": [address], "topics": [null, [zero]] }])),
        ("debug_traceTransaction", json!([hash, { "tracer": "callTracer" }])),
        ("debug_traceBlockByNumber", json!(["0x1", {}])),
        ("debug_traceBlockByHash", json!([block, {}])),
        ("debug_traceCall", json!([call, "latest", { "tracer": "prestateTracer" }])),
    ]
}

/// Those of a developer.
fn developer() -> Vec<(&'static str, Json)> {
    let address = Wallet::development(0).address().to_string();
    vec![
        ("hardhat_setBalance", json!([address, "0x1"])),
        ("hardhat_setNonce", json!([address, "0x1"])),
        ("hardhat_setCode", json!([address, "0x00"])),
        ("hardhat_setStorageAt", json!([address, "0x0", "0x1"])),
        ("hardhat_impersonateAccount", json!([address])),
        ("hardhat_stopImpersonatingAccount", json!([address])),
        ("hardhat_mine", json!(["0x2", "0x1"])),
        ("hardhat_setNextBlockBaseFeePerGas", json!(["0x1"])),
        ("hardhat_setCoinbase", json!([address])),
        ("hardhat_setPrevRandao", json!(["0x1"])),
        ("evm_setBlockGasLimit", json!(["0x1"])),
        ("evm_increaseTime", json!([1])),
        ("evm_setNextBlockTimestamp", json!([1])),
        ("evm_revert", json!(["0x1"])),
        ("evm_mine", json!([{ "timestamp": 1, "blocks": 1 }])),
        (
            "eth_sendTransaction",
            json!([{ "from": address, "to": address, "value": "0x1", "gas": "0x5208", "nonce": 1 }]),
        ),
    ]
}

/// Values that stand where another is wanted.
fn wrong() -> Vec<Json> {
    let long = format!("0x{}", "f".repeat(200));
    vec![
        json!(true),
        json!(-1),
        json!(1.5),
        json!(""),
        json!("0x"),
        json!("0xzz"),
        json!("latest "),
        json!("\u{0}\u{fffd}"),
        json!(long),
        json!([]),
        json!([[[[]]]]),
        json!({}),
        json!({ "": null }),
        json!({ "blockHash": 1, "blockNumber": 1 }),
        json!([null, { "a": [1] }]),
        json!("0x".to_owned() + &hex::encode(vec![0; 100_000])),
    ]
}

/// A copy with one place, however deep, replaced; `place` counts down to it.
fn replaced(value: &Json, with: &Json, place: &mut usize) -> Json {
    if *place == 0 {
        *place = usize::MAX;
        return with.clone();
    }
    *place -= 1;
    match value {
        Json::Array(list) => list.iter().map(|item| replaced(item, with, place)).collect(),
        Json::Object(fields) => fields
            .iter()
            .map(|(name, item)| (name.clone(), replaced(item, with, place)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

fn places(value: &Json) -> usize {
    1 + match value {
        Json::Array(list) => list.iter().map(places).sum(),
        Json::Object(fields) => fields.values().map(places).sum(),
        _ => 0,
    }
}

/// All variants of good parameters with one wrong value.
fn variants(good: &Json) -> Vec<Json> {
    (0..places(good))
        .flat_map(|place| wrong().into_iter().map(move |bad| (place, bad)))
        .map(|(place, bad)| replaced(good, &bad, &mut place.clone()))
        .collect()
}

#[test]
fn no_parameters_make_a_question_panic_and_what_is_wrong_has_a_code_that_clients_know() {
    let mut net = Net::default();
    for (method, good) in methods(&mut net) {
        assert!(net.past(method, good.clone()).is_ok(), "{method}: {:?}", net.past(method, good));
        let missing = net.past(method, json!([]));
        // Only what defaults to the newest block does without any.
        let defaults = ["Number", "eth_getBlockReceipts"].iter().any(|part| method.contains(part));
        assert!(missing.is_err() || defaults, "{method} without parameters: {missing:?}");
        let mut refused = 0;
        for parameters in variants(&good) {
            if let Err(error) = net.past(method, parameters.clone()) {
                refused += 1;
                assert!([-32_602, -32_000, 3].contains(&error.code), "{method} {parameters}: {error:?}");
                assert!(!error.message.is_empty(), "{method} {parameters}");
            }
        }
        assert!(refused > 10, "{method} refused {refused} of {}", variants(&good).len());
        for no_list in [json!({}), json!("0x1"), json!(7)] {
            assert_eq!(net.past(method, no_list).expect_err("it is no list").code, -32_602, "{method}");
        }
    }
    for method in ["eth_", "eth_mine", "eth_subscribe", "debug_", "debug_setHead", "net_", "web3_", "\u{0}"] {
        assert_eq!(net.past(method, json!([])).expect_err("there is none").code, -32_601, "{method}");
    }
}

#[test]
fn no_parameters_make_a_developers_method_panic() {
    for (method, good) in developer() {
        assert!(request(CHAIN_ID, method, &good, [0; 32]).is_some_and(|answer| answer.is_ok()), "{method}");
        let mut refused = 0;
        for parameters in variants(&good) {
            if let Err(error) = request(CHAIN_ID, method, &parameters, [0; 32]).expect("it is known") {
                refused += 1;
                assert!([-32_602, -32_000].contains(&error.code), "{method} {parameters}: {error:?}");
            }
        }
        assert!(refused > 10, "{method} refused {refused}");
        assert_eq!(
            request(CHAIN_ID, method, &json!({}), [0; 32]).expect("it is known").expect_err("no list").code,
            -32_602
        );
    }
}

#[test]
fn whatever_action_is_decoded_executes_without_a_panic() {
    use parallax_evm::control::{Action, MAX_MINED, Unsigned};
    let net = Net::default();
    let (top, address) = ([0xff; 32], [0xff; 20]);
    let send = |to, gas, nonce, fee| {
        let input = vec![0xfe; 10];
        let (max_fee, max_priority_fee) = (fee, fee);
        Action::Send(Unsigned { from: address, to, value: top, input, nonce, gas, max_fee, max_priority_fee })
    };
    let all = vec![
        Action::SetBalance { address, balance: top },
        Action::SetNonce { address, nonce: u64::MAX },
        Action::SetCode { address, code: vec![0xef; 60_000] },
        Action::SetStorage { address, slot: top, value: top },
        Action::Impersonate { address, on: true },
        Action::Mine { blocks: MAX_MINED, interval: u64::MAX, at: None },
        Action::Mine { blocks: 0, interval: u64::MAX, at: Some(u64::MAX) },
        Action::Mine { blocks: 1, interval: 0, at: Some(u64::MAX) },
        Action::SetBaseFee(u64::MAX),
        Action::SetBlockGasLimit(u64::MAX),
        Action::SetCoinbase(address),
        Action::SetRandomness(top),
        Action::IncreaseTime(u64::MAX),
        Action::SetNextTime(u64::MAX),
        Action::Revert(u64::MAX),
        Action::Snapshot,
        Action::Revert(0),
        Action::Mine { blocks: 1, interval: 1, at: None },
    ];
    let sends = vec![
        send(None, None, None, None),
        send(Some(address), Some(u64::MAX), Some(u64::MAX), Some(u128::MAX)),
        send(None, Some(0), Some(0), Some(0)),
    ];
    let bytes = |actions: Vec<Action>| -> Vec<Vec<u8>> {
        (0u8..).zip(actions).map(|(salt, action)| control::bytes(CHAIN_ID, [salt; 32], action)).collect()
    };
    let mut net = net;
    net.round(&bytes(all));
    net.round(&bytes(sends));
    net.round(&[]);
    assert_eq!(net.eth("eth_blockNumber", json!([])), "0x3", "one was mined, and two rounds of transactions");
    assert_eq!(net.eth("eth_gasPrice", json!([])), format!("{:#x}", u64::MAX));
}
