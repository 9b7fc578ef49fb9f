//! A contract of our own, written against the published Solidity library and compiled by its own toolchain, on the
//! clear backend: `contracts/Purse.sol`.

mod support;

use parallax_evm::handle;
use parallax_evm::host::{ACL, EXECUTOR, slots};
use parallax_primitives::Gas;
use parallax_runtime::ParaTime;
use revm::primitives::{Address, B256, TxKind, U256, hex};
use serde_json::Value as Json;
use support::wallet::Wallet;
use support::{Net, calldata, word};

const PURSE: &str = include_str!("../contracts/Purse.hex");

struct Bank {
    net: Net,
    purse: Address,
}

impl Bank {
    fn new() -> Self {
        let mut net = Net::default();
        let purse = net.deploy(&Wallet::development(0), hex::decode(PURSE.trim()).expect("it is hexadecimal"));
        Self { net, purse }
    }

    fn send(&mut self, from: &Wallet, signature: &str, words: &[B256]) -> Json {
        self.net.send(from, self.purse, calldata(signature, words))
    }

    fn handle(&self, owner: Address) -> B256 {
        let input = calldata("balanceOf(address)", &[owner.into_word()]);
        B256::from_slice(&self.net.call(owner, self.purse, &input))
    }

    fn balance(&self, owner: Address) -> u64 {
        self.net.decrypt(self.handle(owner)).to()
    }
}

fn amount(owner: Address, n: u64) -> [B256; 2] {
    [owner.into_word(), word(n)]
}

#[test]
fn encrypted_balances_move_as_plain_ones_would() {
    let mut bank = Bank::new();
    let (alice, bob) = (Wallet::development(0), Wallet::development(1));
    let receipt = bank.send(&alice, "mint(address,uint64)", &amount(alice.address(), 1_000));
    assert_eq!(receipt["status"], "0x1", "{receipt}");
    assert_eq!(bank.balance(alice.address()), 1_000);
    let receipt = bank.send(&alice, "transfer(address,uint64)", &amount(bob.address(), 300));
    assert_eq!(receipt["status"], "0x1", "{receipt}");
    assert_eq!((bank.balance(alice.address()), bank.balance(bob.address())), (700, 300));
    // Too much: nothing moves, and the receipt says no more than that of a transfer that moved something.
    let gas = receipt["fhe_gas"].clone();
    let receipt = bank.send(&alice, "transfer(address,uint64)", &amount(bob.address(), 701));
    assert_eq!(receipt["status"], "0x1", "{receipt}");
    assert_eq!((bank.balance(alice.address()), bank.balance(bob.address())), (700, 300));
    assert_ne!(gas, "0x0");
    let handle = bank.handle(alice.address());
    assert_eq!(handle::chain_of(&handle), support::CHAIN_ID);
    assert_eq!(handle::type_of(&handle), Some(handle::FheType::UINT64));
}

#[test]
fn a_handle_is_usable_by_the_next_transaction_of_the_same_batch() {
    let mut bank = Bank::new();
    let (alice, bob) = (Wallet::development(0), Wallet::development(1));
    let to = TxKind::Call(bank.purse);
    let batch = [
        bank.net.tx(&alice, to, calldata("mint(address,uint64)", &amount(alice.address(), 50))),
        bank.net.tx(&alice, to, calldata("transfer(address,uint64)", &amount(bob.address(), 20))),
        bank.net.tx(&bob, to, calldata("transfer(address,uint64)", &amount(alice.address(), 5))),
    ];
    let done = bank.net.round(&batch);
    assert!(done.pbs > 0);
    assert_eq!(done.results.iter().filter(|r| r.outcome.is_ok()).count(), 3);
    assert_eq!((bank.balance(alice.address()), bank.balance(bob.address())), (35, 15));
}

#[test]
fn what_reverted_is_not_computed_and_a_failed_call_leaves_nothing() {
    let mut bank = Bank::new();
    let alice = Wallet::development(0);
    let receipt = bank.send(&alice, "addAndRevert(uint64)", &[word(1)]);
    assert_eq!(receipt["status"], "0x0");
    assert_eq!(receipt["fhe_gas"], "0x0");
    let receipt = bank.send(&alice, "tryAddAndRevert(uint64)", &[word(1)]);
    assert_eq!(receipt["status"], "0x1");
    assert_eq!(receipt["logs"], serde_json::json!([]), "the events of the call went with it");
    assert_eq!(receipt["fhe_gas"], "0x0");
}

#[test]
fn only_what_someone_may_see_is_computed_and_the_grants_are_written() {
    let mut bank = Bank::new();
    let (alice, bob) = (Wallet::development(0), Wallet::development(1));
    bank.send(&alice, "mint(address,uint64)", &amount(alice.address(), 7));
    let receipt = bank.send(&alice, "transfer(address,uint64)", &amount(bob.address(), 3));
    let logs = receipt["logs"].as_array().expect("there are logs");
    let results: Vec<B256> = logs
        .iter()
        .filter(|log| log["address"] == EXECUTOR.to_string())
        .map(|log| {
            let data = hex::decode(log["data"].as_str().expect("it is text")).expect("it is hexadecimal");
            B256::from_slice(&data[data.len() - 32..])
        })
        .collect();
    let kept: Vec<bool> = results.iter().map(|handle| bank.net.has_cipher(*handle)).collect();
    assert_eq!(kept.iter().filter(|kept| **kept).count(), 2, "two balances of {} results: {kept:?}", results.len());
    let mine = bank.handle(alice.address());
    for (address, expected) in [(alice.address(), true), (bank.purse, true), (bob.address(), false)] {
        assert_eq!(bank.net.granted(&slots::allowed(&mine, &address)), expected, "{address}");
    }
    let public = slots::allowed_for_decryption(&mine);
    assert!(!bank.net.granted(&public));
    bank.send(&alice, "reveal()", &[]);
    assert!(bank.net.granted(&public));
}

#[test]
fn a_roll_is_within_its_bound_and_another_one_every_time() {
    let mut bank = Bank::new();
    let alice = Wallet::development(0);
    let mut handles = std::collections::BTreeSet::new();
    for _ in 0..4 {
        let receipt = bank.send(&alice, "roll()", &[]);
        assert_eq!(receipt["status"], "0x1", "{receipt}");
        let input = calldata("lastRoll()", &[]);
        let handle = B256::from_slice(&bank.net.call(alice.address(), bank.purse, &input));
        assert!(bank.net.decrypt(handle) < U256::from(8));
        handles.insert(handle);
    }
    assert_eq!(handles.len(), 4);
}

#[test]
fn without_a_grant_a_handle_is_of_no_use() {
    let mut bank = Bank::new();
    let (alice, mallory) = (Wallet::development(0), Wallet::development(2));
    bank.send(&alice, "mint(address,uint64)", &amount(alice.address(), 7));
    let handle = bank.handle(alice.address());
    let add = calldata("fheAdd(bytes32,bytes32,bytes1)", &[handle, handle, B256::ZERO]);
    let refused = bank.net.send(&mallory, EXECUTOR, add);
    assert_eq!(refused["status"], "0x0");
    let expected = calldata("ACLNotAllowed(bytes32,address)", &[handle, mallory.address().into_word()]);
    assert_eq!(refused["failure"]["revert"], hex::encode_prefixed(expected));
    let allow = calldata("allow(bytes32,address)", &[handle, mallory.address().into_word()]);
    let refused = bank.net.send(&mallory, ACL, allow);
    let expected = calldata("SenderNotAllowed(address)", &[mallory.address().into_word()]);
    assert_eq!(refused["failure"]["revert"], hex::encode_prefixed(expected));
}

#[test]
fn a_transaction_over_the_limit_of_fhe_gas_fails_alone_and_pays() {
    let mut net = Net::new(|genesis| genesis.params.max_transaction_fhe_gas = Gas(1_000));
    let alice = Wallet::development(0);
    let purse = net.deploy(&alice, hex::decode(PURSE.trim()).expect("it is hexadecimal"));
    let before = net.balance(alice.address());
    let mint = calldata("mint(address,uint64)", &amount(alice.address(), 1_000));
    let call = serde_json::json!([{ "from": alice.address(), "to": purse, "data": hex::encode_prefixed(&mint) }]);
    let estimate = net.past("eth_estimateGas", call).expect_err("the sender is told before");
    assert!(estimate.message.starts_with("the transaction would fail: its operations take"), "{estimate}");
    let receipt = net.send(&alice, purse, mint);
    assert_eq!(receipt["status"], "0x0");
    assert!(receipt["failure"]["fhe"].as_str().is_some_and(|text| text.contains("FHE gas")), "{receipt}");
    let price = U256::from(1_000_000_001u64);
    assert_eq!(net.balance(alice.address()), before - price * U256::from(5_000_000));
    let input = calldata("balanceOf(address)", &[alice.address().into_word()]);
    assert_eq!(net.call(alice.address(), purse, &input)[..], [0; 32], "nothing of it stayed");
}

/// The most gas of a batch is the most that a transaction may take, as on a localnet: whatever a program takes, its
/// transaction fits a batch of its own, or fails and pays. None may stand in the way of those behind it.
#[test]
fn no_transaction_is_too_large_for_a_batch_of_its_own() {
    let (mut bank, alice) = (Bank::new(), Wallet::development(0));
    let mint = calldata("mint(address,uint64)", &amount(alice.address(), 1_000));
    let usual = bank.net.send(&alice, bank.purse, mint.clone());
    let program: U256 = usual["fhe_gas"].as_str().expect("it is there").parse().expect("it is a number");
    let program: u64 = program.to();
    assert!(program > 1_000, "{usual}");
    for (limit, fits) in [(-1, false), (0, false), (1, false), (99, false), (100, true), (101, true)] {
        let limit = Gas(program.saturating_add_signed(limit));
        let mut net = Net::new(|genesis| genesis.params.max_transaction_fhe_gas = limit);
        let purse = net.deploy(&alice, hex::decode(PURSE.trim()).expect("it is hexadecimal"));
        let batch = [net.tx(&alice, TxKind::Call(purse), mint.clone()), net.tx(&alice, TxKind::Call(purse), vec![])];
        let plan = net.evm.plan(&net.state, &net.context(), &batch, limit).expect("it can be planned");
        assert!(plan.take >= 1 && plan.gas <= limit, "limit {limit}, program {program}: {plan:?}");
        net.round(&batch);
        assert_eq!(net.receipt(&batch[0])["status"], if fits { "0x1" } else { "0x0" }, "limit {limit}");
    }
}

#[test]
fn two_replicas_reach_the_same_bits_and_a_liar_does_not() {
    let mut bank = Bank::new();
    let alice = Wallet::development(0);
    let tx =
        bank.net.tx(&alice, TxKind::Call(bank.purse), calldata("mint(address,uint64)", &amount(alice.address(), 9)));
    let (context, net) = (bank.net.context(), &bank.net);
    let run = |backend: &parallax_clear::ClearBackend| {
        net.evm.execute(&net.state, &context, std::slice::from_ref(&tx), backend, &|| false).expect("it executes")
    };
    let (one, two) = (run(&net.backend), run(&parallax_clear::ClearBackend::new(vec![support::KEY])));
    assert_eq!(one, two);
    let liar = run(&parallax_clear::ClearBackend::new(vec![support::KEY]).with_flip(0));
    assert_ne!(one.trace.root(), liar.trace.root());
    assert_ne!(one.changes.writes, liar.changes.writes);
}

#[test]
fn what_has_its_ciphertext_is_not_computed_again() {
    let (mut net, alice) = (Net::default(), Wallet::development(0));
    let code =
        support::creation(&hex::decode(include_str!("../contracts/Caller.hex").trim()).expect("it is hexadecimal"));
    let caller = net.deploy(&alice, code);
    let make = |n| calldata("trivialEncrypt(uint256,uint8)", &[word(n), word(5)]);
    let ask = |net: &Net, calls: &[Vec<u8>]| -> Vec<B256> {
        let output = net.call(alice.address(), caller, &calls.concat());
        support::entries(&output).iter().map(|(_, data)| B256::from_slice(data)).collect()
    };
    let two = [make(6), make(7)].map(|data| support::entry(EXECUTOR, &data));
    let operands = ask(&net, &two);
    let product = calldata("fheMul(bytes32,bytes32,bytes1)", &[operands[0], operands[1], B256::ZERO]);
    let calls = [two.concat(), support::entry(EXECUTOR, &product)].concat();
    let result = ask(&net, std::slice::from_ref(&calls))[2];
    let keep = support::entry(ACL, &calldata("allow(bytes32,address)", &[result, caller.into_word()]));
    let input = [calls, keep].concat();
    // Twice in one batch and once in the next: the same handle, and one product in all.
    let to = TxKind::Call(caller);
    let batch = [net.tx(&alice, to, input.clone()), net.tx(&alice, to, input.clone())];
    let done = net.round(&batch);
    let gas = |net: &Net, tx: &[u8]| net.receipt(tx)["fhe_gas"].as_str().map(str::to_owned);
    assert_ne!(gas(&net, &batch[0]).as_deref(), Some("0x0"));
    assert_eq!(gas(&net, &batch[1]).as_deref(), Some("0x0"));
    let before = net.state.clone();
    let again = net.tx(&alice, to, input);
    assert_eq!(net.round(std::slice::from_ref(&again)).pbs, 0);
    assert!(done.pbs > 0);
    assert_eq!(net.decrypt(result), U256::from(42));
    let cipher = |state: &parallax_memory_store::MemoryView| {
        parallax_evm::state::cipher(state, &result).expect("it can be read")
    };
    assert_eq!(cipher(&before), cipher(&net.state), "the ciphertext is the first one");
}

#[test]
fn a_batch_is_cut_where_its_fhe_gas_passes_the_limit() {
    let mut bank = Bank::new();
    let alice = Wallet::development(0);
    let to = TxKind::Call(bank.purse);
    // Different amounts, as equal ones would be one operation, whose lowest digits of two bits are not zero.
    let mint = |n: u8| calldata("mint(address,uint64)", &amount(Address::repeat_byte(n), n.into()));
    let batch = [1, 2, 3, 5].map(|n| bank.net.tx(&alice, to, mint(n)));
    let (net, context) = (&bank.net, bank.net.context());
    let plan = |limit| net.evm.plan(&net.state, &context, &batch, limit).expect("it can be planned");
    let all = plan(support::LIMIT);
    assert_eq!(all.take, 4);
    let half = plan(Gas(all.gas.0 / 2));
    assert_eq!((half.take, half.gas.0), (2, all.gas.0 / 2), "equal transactions cost the same");
    assert_eq!(plan(Gas(all.gas.0 - 1)).take, 3);
}
