//! What developers may do to a chain made for trying things out, and that nobody may elsewhere.

mod support;

use parallax_evm::control::{self, Action, MAX_MINED, MAX_TIME};
use parallax_evm::developer::{Request, Submission, is_enabled, request};
use parallax_evm::error::Code;
use parallax_evm::eth::Error;
use parallax_evm::journal::KEPT;
use parallax_primitives::message::InMessage;
use parallax_primitives::{Address as Account, Amount};
use parallax_runtime::{ParaTime, TxError};
use parallax_state::Value;
use revm::primitives::{Address, TxKind, U256, hex, keccak256};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use support::wallet::Wallet;
use support::{CHAIN_ID, LIMIT, Net, calldata, creation, word};

const PURSE: &str = include_str!("../contracts/Purse.hex");
/// Returns `TIMESTAMP`, `NUMBER` and `PREVRANDAO`.
const BLOCK: &str = "425f52436020524460405260605ff3";

fn purse(net: &mut Net) -> Address {
    net.deploy(&Wallet::development(0), hex::decode(PURSE.trim()).expect("it is hexadecimal"))
}

fn submission(net: &Net, method: &str, parameters: Json) -> Submission {
    match request(CHAIN_ID, method, &parameters, [net.round as u8; 32]) {
        Some(Ok(Request::Submit(submission))) => submission,
        other => panic!("{method} comes to {other:?}"),
    }
}

/// Executes a developer method in a round of its own.
fn make(net: &mut Net, method: &str, parameters: Json) -> Result<Json, Error> {
    let submission = submission(net, method, parameters);
    assert_eq!(submission.answer(&net.state), None, "{method} has no answer before it is executed");
    net.evm.check_tx(&net.state, &net.context().chain, &submission.bytes, None).expect("it is admitted");
    net.round(std::slice::from_ref(&submission.bytes));
    submission.answer(&net.state).expect("it was executed")
}

fn done(net: &mut Net, method: &str, parameters: Json) -> Json {
    make(net, method, parameters).unwrap_or_else(|error| panic!("{method}: {error}"))
}

fn reason(net: &mut Net, method: &str, parameters: Json) -> String {
    make(net, method, parameters).expect_err("it is refused").message
}

/// Why a method is not admitted. If a batch has it all the same, it is refused there for the same reason.
fn not_admitted(net: &mut Net, method: &str, parameters: Json) -> TxError {
    let submission = submission(net, method, parameters);
    let refusal = net.evm.check_tx(&net.state, &net.context().chain, &submission.bytes, None).expect_err("it is not");
    net.round(std::slice::from_ref(&submission.bytes));
    let answer = submission.answer(&net.state).expect("it is noted").expect_err("it was refused");
    assert!(answer.message.contains(&refusal.message), "{answer} against {refusal}");
    refusal
}

fn number(net: &Net) -> u64 {
    let number = net.eth("eth_blockNumber", json!([]));
    number.as_str().expect("it is text").parse::<U256>().expect("it is a number").to()
}

fn header(net: &Net, tag: &str, field: &str) -> u64 {
    let block = net.eth("eth_getBlockByNumber", json!([tag, false]));
    block[field].as_str().expect("it is text").parse::<U256>().expect("it is a number").to()
}

/// Everything that a snapshot is about.
fn world(net: &Net) -> BTreeMap<Vec<u8>, Value> {
    let shown = |key: &Vec<u8>| !KEPT.iter().any(|prefix| key.starts_with(prefix));
    net.state.values.iter().filter(|(key, _)| shown(key)).map(|(k, v)| (k.clone(), v.clone())).collect()
}

#[test]
fn a_chain_that_is_not_for_developers_takes_none_of_it() {
    let mut net = Net::new(|genesis| genesis.params.developer = false);
    assert_eq!(is_enabled(&net.state), Ok(false));
    assert!(net.eth("web3_clientVersion", json!([])).as_str().is_some_and(|name| name.starts_with("parallax/")));
    let victim = Wallet::development(2).address();
    let before = net.balance(victim);
    for (method, parameters) in [
        ("hardhat_setBalance", json!([victim.to_string(), "0x0"])),
        ("evm_snapshot", json!([])),
        ("hardhat_mine", json!(["0x10"])),
        ("eth_sendTransaction", json!([{ "from": victim.to_string(), "to": victim.to_string() }])),
    ] {
        let submission = submission(&net, method, parameters);
        let refused = net.evm.check_tx(&net.state, &net.context().chain, &submission.bytes, None);
        assert_eq!(refused.expect_err("it is refused").code, Code::NotForDevelopers as u32, "{method}");
        // A batch that holds it all the same changes nothing.
        let result = net.round(std::slice::from_ref(&submission.bytes));
        assert_eq!(result.results[0].outcome.as_ref().expect_err("it is refused").code, Code::NotForDevelopers as u32);
        assert_eq!(submission.answer(&net.state), None);
    }
    assert_eq!(net.balance(victim), before);
    // Its genesis document need not name the parameter.
    let mut json = serde_json::to_value(support::genesis()).expect("it is plain data");
    json["params"].as_object_mut().expect("it is an object").remove("developer");
    let genesis: parallax_evm::params::Genesis = serde_json::from_value(json).expect("it is left out");
    assert!(!genesis.params.developer);
}

#[test]
fn accounts_change_at_once_and_without_a_block() {
    let mut net = Net::default();
    let (address, one) = (Address::repeat_byte(0x77), word(1).to_string());
    let of = address.to_string();
    assert_eq!(is_enabled(&net.state), Ok(true));
    assert!(net.eth("web3_clientVersion", json!([])).as_str().is_some_and(|name| name.starts_with("anvil")));
    assert_eq!(done(&mut net, "hardhat_setBalance", json!([of, "0x56bc75e2d63100000"])), true);
    assert_eq!(done(&mut net, "anvil_setNonce", json!([of, "0x6"])), true);
    assert_eq!(done(&mut net, "evm_setAccountNonce", json!([of, "0x7"])), true);
    assert_eq!(done(&mut net, "hardhat_setCode", json!([of, format!("0x{BLOCK}")])), true);
    assert_eq!(done(&mut net, "hardhat_setStorageAt", json!([of, "0x1", word(9).to_string()])), true);
    assert_eq!(number(&net), 0, "no block was made");
    assert_eq!(net.balance(address), U256::from(10u64).pow(U256::from(20)));
    assert_eq!(net.eth("eth_getTransactionCount", json!([of, "latest"])), "0x7");
    assert_eq!(net.eth("eth_getStorageAt", json!([of, "0x1", "latest"])), word(9).to_string());
    assert_eq!(net.call(address, address, &[]).len(), 96, "its code runs");
    assert!(reason(&mut net, "hardhat_setNonce", json!([of, "0x6"])).contains("below the one that it has"));
    let acl = parallax_evm::host::ACL.to_string();
    assert!(reason(&mut net, "hardhat_setCode", json!([acl, "0x00"])).contains("host contract"));
    assert_eq!(done(&mut net, "hardhat_setCode", json!([of, "0x"])), true);
    assert_eq!(net.eth("eth_getCode", json!([of, "latest"])), "0x");
    assert_eq!(done(&mut net, "hardhat_setCoinbase", json!([of])), true);
    assert_eq!(done(&mut net, "hardhat_setNextBlockBaseFeePerGas", json!(["0x77359400"])), true);
    assert_eq!(net.eth("eth_gasPrice", json!([])), "0x77359400");
    assert_eq!(done(&mut net, "evm_setBlockGasLimit", json!(["0x2faf080"])), true);
    assert!(reason(&mut net, "evm_setBlockGasLimit", json!(["0x1"])).contains("transaction_gas_limit"));
    net.round(&[]);
    let block = net.eth("eth_getBlockByNumber", json!(["latest", false]));
    assert_eq!(block["miner"].as_str().map(str::to_lowercase), Some(of.to_lowercase()));
    assert_eq!((block["baseFeePerGas"].clone(), block["gasLimit"].clone()), (json!("0x77359400"), json!("0x2faf080")));
    // Genesis did not change: its state is proven and read as it was.
    assert_eq!(net.past("eth_getStorageAt", json!([of, one, "earliest"])), Ok(json!(word(0).to_string())));
}

#[test]
fn blocks_are_made_on_demand_and_linked() {
    let mut net = Net::default();
    assert_eq!(done(&mut net, "evm_mine", json!([])), "0x0");
    let before = header(&net, "latest", "timestamp");
    assert_eq!(done(&mut net, "hardhat_mine", json!(["0x3e8", "0x3c"])), true);
    assert_eq!(number(&net), 1_001);
    assert_eq!(header(&net, "0x3", "timestamp") - header(&net, "0x2", "timestamp"), 60);
    assert_eq!(header(&net, "latest", "timestamp"), before + 1 + 60 * 999);
    for number in [1u64, 2, 500, 1_001] {
        let of = |n: u64| net.eth("eth_getBlockByNumber", json!([format!("{n:#x}"), false]));
        assert_eq!(of(number)["parentHash"], of(number - 1)["hash"], "{number}");
    }
    net.round(&[]);
    assert_eq!(number(&net), 1_002);
    assert!(header(&net, "latest", "timestamp") > before + 60 * 999, "time goes on from there");
    assert_eq!(done(&mut net, "hardhat_mine", json!([0])), true);
    assert_eq!(done(&mut net, "evm_mine", json!([{ "blocks": 2 }])), "0x0");
    assert_eq!(number(&net), 1_004);
    for (count, interval) in [(MAX_MINED + 1, 1), (u64::MAX, 1), (2, u64::MAX), (5_000, MAX_TIME)] {
        let parameters = json!([format!("{count:#x}"), format!("{interval:#x}")]);
        assert!(!reason(&mut net, "hardhat_mine", parameters).is_empty());
    }
    assert_eq!(number(&net), 1_004);
    let most = json!([format!("{MAX_MINED:#x}"), "0x0"]);
    assert_eq!(done(&mut net, "hardhat_mine", most), true);
    assert_eq!(number(&net), 1_004 + MAX_MINED);
}

#[test]
fn time_is_moved_forward_and_never_back() {
    let mut net = Net::default();
    net.round(&[]);
    let start = header(&net, "latest", "timestamp");
    let code = Address::repeat_byte(0x42);
    done(&mut net, "hardhat_setCode", json!([code.to_string(), format!("0x{BLOCK}")]));
    assert_eq!(done(&mut net, "evm_increaseTime", json!([3_600])), "3600");
    let seen = |net: &Net| U256::from_be_slice(&net.call(Address::ZERO, code, &[])[..32]).to::<u64>();
    assert!((start + 3_600..start + 3_610).contains(&seen(&net)), "a call sees the time of the block to come");
    net.round(&[]);
    assert!((start + 3_600..start + 3_610).contains(&header(&net, "latest", "timestamp")));
    assert_eq!(done(&mut net, "evm_increaseTime", json!(["0x64"])), "3700", "the sum is returned");
    let at = start + 1_000_000;
    assert_eq!(done(&mut net, "evm_setNextBlockTimestamp", json!([at])), at.to_string());
    assert_eq!(seen(&net), at);
    net.round(&[]);
    assert_eq!(header(&net, "latest", "timestamp"), at);
    net.round(&[]);
    assert_eq!(header(&net, "latest", "timestamp"), at + 1, "a round takes a second here");
    assert!(reason(&mut net, "evm_setNextBlockTimestamp", json!([at])).contains("newest block's"));
    assert!(reason(&mut net, "evm_mine", json!([at])).contains("before the newest"));
    assert_eq!(done(&mut net, "evm_mine", json!([at + 10])), "0x0");
    assert_eq!(header(&net, "latest", "timestamp"), at + 10);
    for too_much in [MAX_TIME, u64::MAX] {
        assert!(reason(&mut net, "evm_increaseTime", json!([too_much])).contains("increase it by less"));
        let time = json!([format!("{:#x}", too_much.saturating_add(1))]);
        assert!(reason(&mut net, "evm_setNextBlockTimestamp", time).contains("not between"));
    }
    assert_eq!(done(&mut net, "hardhat_setPrevRandao", json!(["0x7"])), true);
    assert_eq!(net.call(Address::ZERO, code, &[])[64..], word(7).0);
    net.round(&[]);
    net.round(&[]);
    let mix = |tag: &str| net.eth("eth_getBlockByNumber", json!([tag, false]))["mixHash"].clone();
    let newest = number(&net);
    assert_eq!(mix(&format!("{:#x}", newest - 1)), word(7).to_string());
    assert_ne!(mix("latest"), word(7).to_string(), "it was for one block");
}

#[test]
fn going_back_to_a_snapshot_restores_accounts_ciphertexts_blocks_and_time() {
    let mut net = Net::default();
    let alice = Wallet::development(0);
    let contract = purse(&mut net);
    let data = |n: u64| calldata("mint(address,uint64)", &[alice.address().into_word(), word(n)]);
    net.send(&alice, contract, data(5));
    let balance = |net: &Net| {
        let handle = net.call(Address::ZERO, contract, &calldata("balanceOf(address)", &[alice.address().into_word()]));
        net.decrypt(handle[..].try_into().expect("it is a handle"))
    };
    assert_eq!(done(&mut net, "evm_snapshot", json!([])), "0x1");
    let (before, start) = (world(&net), header(&net, "latest", "timestamp"));
    let tx = net.tx(&alice, TxKind::Call(contract), data(7));
    net.round(std::slice::from_ref(&tx));
    assert_eq!(balance(&net), U256::from(12));
    done(&mut net, "evm_increaseTime", json!([1_000_000]));
    done(&mut net, "hardhat_mine", json!([100]));
    done(&mut net, "hardhat_setBalance", json!([alice.address().to_string(), "0x1"]));
    let rounds = net.round;
    assert_eq!(done(&mut net, "evm_revert", json!(["0x1"])), true);
    assert_eq!(world(&net), before, "every key is what it was");
    assert_eq!(net.round, rounds + 1, "in a new round");
    assert_eq!((balance(&net), number(&net)), (U256::from(5), 2));
    assert_eq!(net.eth("eth_getTransactionReceipt", json!([keccak256(&tx).to_string()])), Json::Null);
    // The same transaction is executed again, and its ciphertext computed again.
    net.round(std::slice::from_ref(&tx));
    assert_eq!(net.receipt(&tx)["status"], "0x1");
    assert_eq!((balance(&net), number(&net)), (U256::from(12), 3));
    assert!(header(&net, "latest", "timestamp") < start + 1_000, "time was taken back too");
    assert_eq!(done(&mut net, "evm_revert", json!(["0x1"])), false, "a snapshot serves once");
    assert_eq!(done(&mut net, "evm_revert", json!(["0x99"])), false, "there is none");
    assert_eq!(balance(&net), U256::from(12));
    // Older states stay what they were: finality is not undone.
    let old = net.past("eth_getBlockByNumber", json!(["0x2", false])).expect("it is there");
    assert_eq!(old["hash"], net.eth("eth_getBlockByNumber", json!(["0x2", false]))["hash"]);
}

#[test]
fn snapshots_nest_and_go_back_in_any_order() {
    let mut net = Net::default();
    let of = Address::repeat_byte(0x31);
    let mut states = Vec::new();
    for n in 0..6u64 {
        let id = done(&mut net, "evm_snapshot", json!([]));
        assert_eq!(id, format!("{:#x}", n + 1));
        states.push(world(&net));
        done(&mut net, "hardhat_setBalance", json!([of.to_string(), format!("{:#x}", n + 1)]));
        done(&mut net, "hardhat_setStorageAt", json!([of.to_string(), format!("{n:#x}"), "0x1"]));
    }
    assert_eq!(done(&mut net, "evm_revert", json!(["0x5"])), true);
    assert_eq!(world(&net), states[4]);
    assert_eq!(done(&mut net, "evm_revert", json!(["0x6"])), false, "it came after");
    done(&mut net, "hardhat_setBalance", json!([of.to_string(), "0x63"]));
    assert_eq!(done(&mut net, "evm_snapshot", json!([])), "0x7", "an id is used once");
    assert_eq!(done(&mut net, "evm_revert", json!(["0x2"])), true);
    assert_eq!(world(&net), states[1]);
    assert_eq!(done(&mut net, "evm_revert", json!(["0x1"])), true);
    assert_eq!(world(&net), states[0]);
    let left = net.state.values.keys().filter(|key| key.starts_with(b"undo/")).count();
    assert_eq!(left, 0, "nothing is kept for nobody");
}

#[test]
fn a_deposit_of_the_round_that_goes_back_is_not_lost() {
    let mut net = Net::default();
    done(&mut net, "evm_snapshot", json!([]));
    let to = Address::repeat_byte(0xdd);
    let caller = Account([0xcc; 20]);
    net.deposits = vec![InMessage { id: 0, caller, tokens: Amount(3), data: to.to_vec() }];
    let submission = submission(&net, "evm_revert", json!(["0x1"]));
    let executed = net.round(std::slice::from_ref(&submission.bytes));
    assert_eq!(executed.in_messages_count, 1);
    assert_eq!(submission.answer(&net.state), Some(Ok(json!(true))));
    assert_eq!(net.balance(to), U256::from(3_000_000_000u64));
    assert_eq!(number(&net), 1, "a block shows it");
}

#[test]
fn an_impersonated_account_sends_without_a_key_and_pays() {
    let mut net = Net::default();
    let contract = purse(&mut net);
    let of = contract.to_string();
    let bob = Address::repeat_byte(0xb0);
    let send = json!([{ "from": of, "to": bob.to_string(), "value": "0x5" }]);
    let refusal = not_admitted(&mut net, "eth_sendTransaction", send.clone());
    assert_eq!(refusal.code, Code::NotImpersonated as u32);
    assert_eq!(done(&mut net, "hardhat_impersonateAccount", json!([of])), true);
    let refusal = not_admitted(&mut net, "eth_sendTransaction", send.clone());
    assert_eq!(refusal.code, Code::Unaffordable as u32, "the sender is told before it waits for a receipt");
    done(&mut net, "hardhat_setBalance", json!([of, "0xde0b6b3a7640000"]));
    let hash = done(&mut net, "eth_sendTransaction", send.clone());
    assert_eq!(net.balance(bob), U256::from(5));
    let receipt = net.eth("eth_getTransactionReceipt", json!([hash]));
    assert_eq!((receipt["status"].clone(), receipt["gasUsed"].clone()), (json!("0x1"), json!("0x5208")));
    let tx = net.eth("eth_getTransactionByHash", json!([hash]));
    assert_eq!((tx["from"].clone(), tx["nonce"].clone()), (json!(of), json!("0x1")), "contracts begin at 1");
    assert_eq!((tx["type"].clone(), tx["r"].clone(), tx["value"].clone()), (json!("0x2"), json!("0x0"), json!("0x5")));
    assert_eq!(net.ask("receipt", json!({ "hash": hash }))["status"], "0x1");
    // It computes on ciphertexts as any other does, and creates contracts.
    let mint = calldata("mint(address,uint64)", &[bob.into_word(), word(9)]);
    let call = json!([{ "from": of, "to": of, "data": hex::encode_prefixed(mint), "gas": "0x4c4b40" }]);
    let hash = done(&mut net, "eth_sendTransaction", call);
    assert_eq!(net.eth("eth_getTransactionReceipt", json!([hash]))["status"], "0x1");
    let handle = net.call(bob, contract, &calldata("balanceOf(address)", &[bob.into_word()]));
    assert_eq!(net.decrypt(handle[..].try_into().expect("it is a handle")), U256::from(9));
    let code = creation(&hex::decode(BLOCK).expect("it is hexadecimal"));
    let hash = done(&mut net, "eth_sendTransaction", json!([{ "from": of, "data": hex::encode_prefixed(code) }]));
    assert_ne!(net.eth("eth_getTransactionReceipt", json!([hash]))["contractAddress"], Json::Null);
    let used = json!([{ "from": of, "to": of, "nonce": "0x1" }]);
    assert_eq!(not_admitted(&mut net, "eth_sendTransaction", used).code, Code::NonceUsed as u32);
    assert_eq!(done(&mut net, "hardhat_stopImpersonatingAccount", json!([of])), true);
    assert_eq!(done(&mut net, "hardhat_stopImpersonatingAccount", json!([of])), false);
    assert!(
        net.evm
            .check_tx(&net.state, &net.context().chain, &submission(&net, "eth_sendTransaction", send).bytes, None)
            .is_err()
    );
}

#[test]
fn each_is_executed_once_and_actions_keep_to_batches_of_their_own() {
    let mut net = Net::default();
    let alice = Wallet::development(0);
    let increase = submission(&net, "evm_increaseTime", json!([10]));
    let mine = submission(&net, "hardhat_mine", json!([2]));
    let tx = net.tx(&alice, TxKind::Call(Address::repeat_byte(1)), vec![]);
    let take = |batch: &[&Vec<u8>]| {
        let batch: Vec<Vec<u8>> = batch.iter().map(|bytes| bytes.to_vec()).collect();
        net.evm.plan(&net.state, &net.context(), &batch, LIMIT).expect("it can be planned").take
    };
    assert_eq!(take(&[&increase.bytes, &mine.bytes, &tx]), 2);
    assert_eq!(take(&[&tx, &increase.bytes, &tx]), 1);
    // A scheduler that mixes them all the same: what does not belong is left for another batch.
    let execute = |net: &Net, batch: &[Vec<u8>]| {
        net.evm.execute(&net.state, &net.context(), batch, &net.backend, &|| false).expect("it executes").results
    };
    let results = execute(&net, &[increase.bytes.clone(), tx.clone()]);
    assert_eq!(results[1].outcome.as_ref().expect_err("it is refused").code, Code::WrongBatch as u32);
    let results = execute(&net, &[tx.clone(), increase.bytes.clone()]);
    assert!(results[0].outcome.is_ok());
    assert_eq!(results[1].outcome.as_ref().expect_err("it is refused").code, Code::WrongBatch as u32);
    net.round(&[increase.bytes.clone(), increase.bytes.clone(), mine.bytes.clone()]);
    assert_eq!(increase.answer(&net.state), Some(Ok(json!("10"))));
    assert_eq!(mine.answer(&net.state), Some(Ok(json!(true))));
    let again = net.evm.check_tx(&net.state, &net.context().chain, &increase.bytes, None).expect_err("it is done");
    assert_eq!(again.code, Code::Repeated as u32);
    assert_eq!(done(&mut net, "evm_increaseTime", json!([1])), "12", "of the two blocks one was a second ahead");
    net.round(&[tx]);
    assert_eq!(net.eth("eth_getTransactionCount", json!([alice.address().to_string(), "latest"])), "0x1");
}

#[test]
fn bytes_that_are_no_developer_transaction_are_refused() {
    let net = Net::default();
    let good = control::bytes(CHAIN_ID, [1; 32], Action::Snapshot);
    assert!(control::Control::open(&good, CHAIN_ID).is_ok());
    let code = |bytes: &[u8]| {
        let refused = net.evm.check_tx(&net.state, &net.context().chain, bytes, None);
        refused.expect_err("it is refused").code
    };
    assert_eq!(code(&control::bytes(1, [1; 32], Action::Snapshot)), Code::WrongChain as u32);
    assert_eq!(code(&[&good[..], &[0]].concat()), Code::TrailingBytes as u32);
    for end in 1..good.len() {
        assert_eq!(code(&good[..end]), Code::Malformed as u32, "{end}");
    }
    assert_eq!(code(&[&[control::TYPE][..], &[0xff; 60]].concat()), Code::Malformed as u32);
    let long = control::bytes(CHAIN_ID, [1; 32], Action::SetCode { address: [1; 20], code: vec![0; 128 * 1024] });
    assert_eq!(code(&long), Code::TooLarge as u32);
}

#[test]
fn the_bytes_of_a_developer_transaction_are_pinned() {
    let bytes = |action| hex::encode(control::bytes(CHAIN_ID, [7; 32], action));
    let head = format!("5100697a000000000000{}", "07".repeat(32));
    assert_eq!(bytes(Action::Snapshot), format!("{head}0c"));
    assert_eq!(bytes(Action::Revert(3)), format!("{head}0d0300000000000000"));
    let mine = Action::Mine { blocks: 2, interval: 1, at: Some(5) };
    assert_eq!(bytes(mine), format!("{head}05020000000000000001000000000000000105000000000000 00").replace(' ', ""));
}

#[test]
fn what_the_committee_decides_is_answered_honestly() {
    let ask = |method: &str, parameters: Json| request(CHAIN_ID, method, &parameters, [0; 32]);
    for (method, parameters) in [
        ("hardhat_getAutomine", json!([])),
        ("evm_setAutomine", json!([true])),
        ("evm_setIntervalMining", json!([0])),
        ("hardhat_setLoggingEnabled", json!([true])),
    ] {
        assert_eq!(ask(method, parameters), Some(Ok(Request::Answer(json!(true)))), "{method}");
    }
    for (method, parameters) in
        [("evm_setAutomine", json!([false])), ("evm_setIntervalMining", json!([1_000])), ("hardhat_reset", json!([]))]
    {
        let error = ask(method, parameters).expect("it is known").expect_err("it cannot be");
        assert_eq!((error.code, error.message.is_empty()), (-32_000, false), "{method}");
    }
    assert_eq!(ask("anvil_getIntervalMining", json!([])), Some(Ok(Request::Answer(Json::Null))));
    assert_eq!(ask("hardhat_getStackTraceFailuresCount", json!([])), Some(Ok(Request::Answer(json!(0)))));
    assert_eq!(ask("anvil_removeBlockTimestampInterval", json!([])), Some(Ok(Request::Answer(json!(false)))));
    // What cannot be says why, and what there is instead.
    let hash = json!([word(1).to_string()]);
    for (method, parameters, instead) in [
        ("hardhat_dropTransaction", &hash, "same nonce that pays more"),
        ("anvil_dropTransaction", &hash, "same nonce that pays more"),
        ("anvil_dropAllTransactions", &Json::Null, "same nonce that pays more"),
        ("hardhat_setMinGasPrice", &hash, "hardhat_setNextBlockBaseFeePerGas"),
        ("anvil_setBlockTimestampInterval", &hash, "evm_increaseTime"),
        ("evm_setTime", &hash, "evm_setNextBlockTimestamp"),
        ("anvil_autoImpersonateAccount", &hash, "hardhat_impersonateAccount"),
        ("anvil_dumpState", &Json::Null, "evm_snapshot"),
        ("anvil_reorg", &hash, "evm_revert"),
    ] {
        let error = ask(method, parameters.clone()).expect("it is known").expect_err("it cannot be");
        assert!(error.message.starts_with(method) && error.message.contains(instead), "{}", error.message);
        assert_eq!(error.code, -32_000);
    }
    for method in ["hardhat_dropEverything", "eth_call", "hardhat", "foo_mine", "evm_", "mine"] {
        assert_eq!(ask(method, json!([])), None, "{method}");
    }
}
