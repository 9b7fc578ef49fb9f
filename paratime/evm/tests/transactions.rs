//! Ethereum transactions, accounts and receipts.

mod support;

use parallax_evm::error::Code;
use parallax_evm::params::development_accounts;
use parallax_evm::transaction::Transaction;
use parallax_memory_store::MemoryView;
use parallax_primitives::message::InMessage;
use parallax_primitives::{Address as Account, Amount, Digest, Gas};
use parallax_runtime::ParaTime;
use parallax_state::{StateError, StateView, Value};
use revm::primitives::{Address, TxKind, U256, b256, hex};
use serde_json::json;
use std::cell::Cell;
use support::wallet::Wallet;
use support::{CHAIN_ID, LIMIT, Net, creation};

/// Runtime code that logs its calldata's first word with one topic, and returns it; and reverts on an empty call.
const ECHO: &str = "3615601357 5f355f52 60aa 60205fa1 60205ff3 5b 5f5ffd";

fn echo() -> Vec<u8> {
    creation(&hex::decode(ECHO.replace(' ', "")).expect("it is hexadecimal"))
}

#[test]
fn the_development_keys_have_the_funded_addresses() {
    let accounts = development_accounts();
    assert_eq!(accounts.len(), 10);
    for (n, account) in accounts.iter().take(3).enumerate() {
        assert_eq!(Wallet::development(n).address().into_array(), account.0);
    }
    let net = Net::default();
    for account in accounts {
        assert_eq!(
            net.balance(Address::from(account.0)),
            U256::from(10_000u64) * U256::from(10u64).pow(U256::from(18))
        );
    }
}

/// The example of EIP-155: its hash for signing and its signature are given there.
#[test]
fn the_example_of_eip_155_has_its_sender_and_is_for_chain_1() {
    let raw = hex::decode(
        "f86c098504a817c800825208943535353535353535353535353535353535353535880de0b6b3a76400008025a028ef61340bd939bc2195fe53\
         7567866003e1a15d3c71ff63e1590620aa636276a067cbe9d8997f761aecb703304b3800ccf555c9f3dc64214b297fb1966a3b6d83"
            .replace(' ', ""),
    )
    .expect("it is hexadecimal");
    let tx = Transaction::open(&raw, 1).expect("it is a transaction of chain 1");
    assert_eq!(tx.nonce, 9);
    assert_eq!(tx.gas_limit, 21_000);
    assert_eq!(tx.to, TxKind::Call(Address::repeat_byte(0x35)));
    assert_eq!(tx.sender.to_string().to_lowercase(), "0x9d8a62f656a8d1615c1294fd71e9cfb3e4855a4f");
    assert_eq!(tx.hash, b256!("33469b22e9f636356c4160a87eb19df52b7412e8eac32a4a55ffe88ea8350788"));
    let refused = Transaction::open(&raw, CHAIN_ID).expect_err("it is for another chain");
    assert_eq!(refused.code, Code::WrongChain as u32);
}

#[test]
fn every_type_of_transaction_moves_wei_and_pays_for_its_gas() {
    let mut net = Net::default();
    let (alice, bob) = (Wallet::development(0), Address::repeat_byte(0xb0));
    let before = net.balance(alice.address());
    let mut batch = Vec::new();
    for kind in 0..=2 {
        let mut tx = net.unsigned(&alice, TxKind::Call(bob), vec![]);
        tx.kind = kind;
        tx.value = U256::from(1_000);
        tx.gas_limit = 21_000;
        batch.push(alice.transaction(&tx));
    }
    net.round(&batch);
    assert_eq!(net.balance(bob), U256::from(3_000));
    // Before EIP-1559 the whole price is paid; after it the base fee and at most one wei more.
    let paid = U256::from(21_000) * U256::from(3_000_000_000u64 + 3_000_000_000 + 1_000_000_001) + U256::from(3_000);
    assert_eq!(net.balance(alice.address()), before - paid);
    for (index, tx) in batch.iter().enumerate() {
        let receipt = net.receipt(tx);
        assert_eq!(receipt["status"], "0x1");
        assert_eq!(receipt["gas_used"], "0x5208");
        assert_eq!(receipt["index"], format!("{index:#x}"));
        assert_eq!(receipt["type"], format!("{index:#x}"));
    }
    assert_eq!(net.receipt(&batch[2])["cumulative_gas_used"], format!("{:#x}", 63_000));
    let block = net.eth("eth_getBlockByNumber", json!(["0x1", false]));
    assert_eq!(block["gasUsed"], format!("{:#x}", 63_000));
    assert_eq!(block["transactions"].as_array().map(Vec::len), Some(3));
}

#[test]
fn a_contract_is_deployed_called_and_leaves_logs_and_a_bloom() {
    let mut net = Net::default();
    let alice = Wallet::development(0);
    let contract = net.deploy(&alice, echo());
    let code = net.eth("eth_getCode", json!([contract.to_string()]));
    assert_eq!(code, format!("0x{}", ECHO.replace(' ', "")));
    let receipt = net.send(&alice, contract, vec![7; 32]);
    assert_eq!(receipt["status"], "0x1", "{receipt}");
    let log = &receipt["logs"][0];
    assert_eq!(log["address"], contract.to_string());
    assert_eq!(log["data"], format!("0x{}", "07".repeat(32)));
    assert_eq!(log["topics"][0], format!("0x{}aa", "00".repeat(31)));
    let bloom = receipt["logs_bloom"].as_str().expect("it is there");
    assert_eq!(net.eth("eth_getBlockByNumber", json!(["0x2", false]))["logsBloom"], bloom);
    assert!(bloom.len() == 514 && bloom.chars().any(|c| !"0x".contains(c)), "some bits are set");
    assert_eq!(net.call(alice.address(), contract, &[9; 32])[..], [9; 32]);
    let reverted = net.send(&alice, contract, vec![]);
    assert_eq!(reverted["status"], "0x0");
    assert_eq!(reverted["failure"]["revert"], "0x");
    assert_eq!(reverted["logs"], json!([]));
}

#[test]
fn transactions_that_cannot_pay_or_come_at_the_wrong_time_are_refused_with_their_reason() {
    let mut net = Net::default();
    let (alice, poor) = (Wallet::development(0), Wallet::seeded(9));
    let base = net.unsigned(&alice, TxKind::Call(Address::ZERO), vec![]);
    let check = |net: &Net, tx: &[u8]| net.evm.check_tx(&net.state, &net.context().chain, tx, None);
    let code = |net: &Net, tx: &[u8]| check(net, tx).expect_err("it is refused").code;
    let with = |change: &dyn Fn(&mut support::wallet::Unsigned)| {
        let mut tx = base.clone();
        change(&mut tx);
        alice.transaction(&tx)
    };
    assert_eq!(check(&net, &with(&|_| ())).map(|info| info.nonce), Ok(0));
    assert_eq!(code(&net, &with(&|tx| tx.chain_id = Some(1))), Code::WrongChain as u32);
    assert_eq!(
        code(
            &net,
            &with(&|tx| {
                tx.kind = 0;
                tx.chain_id = None
            })
        ),
        Code::WrongChain as u32
    );
    assert_eq!(code(&net, &with(&|tx| tx.nonce = 65)), Code::NonceAhead as u32);
    assert_eq!(
        code(
            &net,
            &with(&|tx| {
                tx.max_fee = 1;
                tx.max_priority_fee = 1
            })
        ),
        Code::FeeTooLow as u32
    );
    assert_eq!(code(&net, &with(&|tx| tx.gas_limit = 30_000_001)), Code::GasLimitTooHigh as u32);
    assert_eq!(code(&net, &poor.transaction(&base)), Code::Unaffordable as u32);
    // What execution would refuse without a receipt is refused here, so that nobody waits for one.
    assert_eq!(code(&net, &with(&|tx| tx.gas_limit = 20_999)), Code::IntrinsicGas as u32);
    assert_eq!(code(&net, &with(&|tx| tx.max_priority_fee = tx.max_fee + 1)), Code::FeeTooLow as u32);
    let long = |tx: &mut support::wallet::Unsigned| {
        tx.to = TxKind::Create;
        tx.input = vec![0; 49_153].into();
    };
    assert_eq!(code(&net, &with(&long)), Code::Invalid as u32, "EIP-3860");
    assert_eq!(code(&net, &[with(&|_| ()), vec![0]].concat()), Code::TrailingBytes as u32);
    assert_eq!(code(&net, &[3, 0xc0]), Code::UnsupportedType as u32);
    assert_eq!(code(&net, &[]), Code::Malformed as u32);
    assert_eq!(code(&net, &vec![2; 128 * 1024 + 1]), Code::TooLarge as u32);
    let good = with(&|_| ());
    for at in 0..good.len() {
        let mut broken = good.clone();
        broken[at] ^= 1;
        let sender = check(&net, &broken).map(|info| info.sender);
        assert_ne!(sender, Ok(Account(alice.address().into_array())), "byte {at} is signed or is the signature");
    }
    net.round(std::slice::from_ref(&good));
    assert_eq!(code(&net, &good), Code::NonceUsed as u32);
    let context = net.context();
    let again =
        net.evm.execute(&net.state, &context, &[good], &net.backend, &|| false).expect("the batch is formed well");
    assert_eq!(again.results[0].outcome.as_ref().expect_err("it is refused").code, Code::NonceUsed as u32);
    assert_eq!(again.results[0].gas, Gas::ZERO, "nobody pays for it");
}

#[test]
fn a_batch_is_cut_where_the_limit_ends_and_replicas_agree_on_the_bits() {
    let mut net = Net::default();
    let alice = Wallet::development(0);
    let batch: Vec<_> = (0..5).map(|_| net.tx(&alice, TxKind::Call(Address::ZERO), vec![])).collect();
    let context = net.context();
    let plan = net.evm.plan(&net.state, &context, &batch, Gas(250)).expect("it can be planned");
    assert_eq!((plan.take, plan.gas), (2, Gas(200)), "a transaction without operations costs 100");
    let all = net.evm.plan(&net.state, &context, &batch, LIMIT).expect("it can be planned");
    assert_eq!(all.take, 5);
    let run = || net.evm.execute(&net.state, &context, &batch, &net.backend, &|| false).expect("it executes");
    let (one, two) = (run(), run());
    assert_eq!(one, two);
    assert_eq!(one.io_root(), two.io_root());
}

#[test]
fn a_deposit_from_the_consensus_layer_becomes_wei() {
    let mut net = Net::default();
    let (to, caller) = (Address::repeat_byte(0xdd), Account([0xcc; 20]));
    let deposit = |id, data: Vec<u8>| InMessage { id, caller, tokens: Amount(3), data };
    net.deposits = vec![deposit(0, to.to_vec()), deposit(1, vec![])];
    let done = net.round(&[]);
    assert_eq!(done.in_messages_count, 2);
    assert_eq!(net.balance(to), U256::from(3_000_000_000u64));
    assert_eq!(net.balance(Address::from(caller.0)), U256::from(3_000_000_000u64));
}

#[test]
fn a_contract_sees_its_block() {
    let mut net = Net::default();
    let alice = Wallet::development(0);
    // NUMBER, TIMESTAMP, PREVRANDAO, CHAINID, BASEFEE, BLOCKHASH(NUMBER - 1), BLOCKHASH(NUMBER - 2), a word each, as a log.
    let words = ["43", "42", "44", "46", "48", "6001430340", "6002430340"];
    let mut code: String = words.iter().zip(0u8..).map(|(op, at)| format!("{op}60{:02x}52", 32 * at)).collect();
    code.push_str("60e05fa0");
    let contract = net.deploy(&alice, creation(&hex::decode(code).expect("it is hexadecimal")));
    let context = net.context();
    let receipt = net.send(&alice, contract, vec![]);
    let data = hex::decode(receipt["logs"][0]["data"].as_str().expect("there is a log")).expect("it is hexadecimal");
    let seen: Vec<U256> = data.chunks_exact(32).map(U256::from_be_slice).collect();
    assert_eq!(seen[0], U256::from(2));
    assert_eq!(seen[1], U256::from(context.time_ms / 1_000));
    assert_eq!(seen[2], U256::from_be_bytes(context.anchor.0));
    assert_eq!(seen[3], U256::from(CHAIN_ID));
    assert_eq!(seen[4], U256::from(1_000_000_000u64));
    let hash = |number: u64| -> U256 {
        net.eth("eth_getBlockByNumber", json!([format!("{number:#x}"), false]))["hash"]
            .as_str()
            .expect("it has one")
            .parse()
            .expect("it is a number")
    };
    assert_eq!((seen[5], seen[6]), (hash(1), hash(0)));
}

/// A state that counts how often the record of a block is read.
struct Counting<'a>(&'a MemoryView, Cell<u32>);

impl StateView for Counting<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Value>, StateError> {
        self.1.set(self.1.get() + u32::from(key.starts_with(b"block/")));
        self.0.get(key)
    }

    fn blob(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StateError> {
        self.0.blob(digest)
    }

    fn scan(&self, prefix: &[u8]) -> Result<Vec<(Vec<u8>, Value)>, StateError> {
        self.0.scan(prefix)
    }
}

#[test]
fn the_hash_of_a_block_is_read_once_however_often_contracts_ask_for_it() {
    let mut net = Net::default();
    let alice = Wallet::development(0);
    // A thousand times: BLOCKHASH(NUMBER - 2).
    let asks = hex::decode("6103e85b600243034050600190038060035700").expect("it is hexadecimal");
    let contract = net.deploy(&alice, creation(&asks));
    let batch: Vec<_> = (0..4).map(|_| net.tx(&alice, TxKind::Call(contract), vec![])).collect();
    let view = Counting(&net.state, Cell::new(0));
    let plan = net.evm.plan(&view, &net.context(), &batch, LIMIT).expect("it can be planned");
    assert_eq!(plan.take, batch.len());
    assert!(view.1.get() <= 2, "{} reads: one for the newest block, one for the hash", view.1.get());
    net.round(&batch);
    assert!(batch.iter().all(|tx| net.receipt(tx)["status"] == "0x1"));
}

#[test]
fn a_receipt_and_a_storage_slot_are_proven_against_the_root() {
    use parallax_evm::host::{ACL, PAUSER_SET};
    use parallax_evm::state::{receipt_key, storage_key};

    let mut net = Net::default();
    let alice = Wallet::development(0);
    let contract = net.deploy(&alice, echo());
    let context = net.context();
    let tx = net.tx(&alice, TxKind::Call(contract), vec![7; 32]);
    net.round(&[tx]);
    let tree = net.tree();
    let root = tree.root_at(context.round.0).expect("it is there");
    let owner = U256::from_be_bytes(b256!("9016d09d72d40fdae2fd8ceac6b6234c7706214fd39c1cd1e609a0528c199300").0);
    for key in [receipt_key(2, 0), storage_key(&ACL, &owner)] {
        let proof = tree.prove(context.round.0, &key).expect("it can be proven");
        assert_eq!(proof.verify(&root), Ok(()));
        assert!(matches!(proof.value(), Some(Value::Plain(_))));
    }
    let absent = tree.prove(context.round.0, &storage_key(&PAUSER_SET, &owner)).expect("it can be proven");
    assert_eq!((absent.verify(&root), absent.value()), (Ok(()), None), "what is not there is proven too");
}
