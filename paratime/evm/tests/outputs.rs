//! What ciphertexts that are kept cost, and how many of them a transaction and a batch may make. They need not cost a
//! bootstrap: constants are ciphertexts too.

mod support;

use parallax_evm::circuit::{MAX_BATCH_OUTPUT_BLOCKS, MAX_OUTPUT_BLOCKS, OUTPUT_BLOCK};
use parallax_evm::host::{ACL, EXECUTOR};
use parallax_runtime::ParaTime;
use revm::primitives::{Address, B256, TxKind, U256, hex};
use serde_json::Value as Json;
use support::wallet::Wallet;
use support::{LIMIT, Net, calldata, creation, entries, entry, word};

const CALLER: &str = include_str!("../contracts/Caller.hex");
/// `euint256` in handles, and its blocks.
const EUINT256: u64 = 8;
const BLOCKS: u64 = 128;

struct Maker {
    net: Net,
    alice: Wallet,
    caller: Address,
}

impl Maker {
    fn new() -> Self {
        let (mut net, alice) = (Net::default(), Wallet::development(0));
        let caller = net.deploy(&alice, creation(&hex::decode(CALLER.trim()).expect("it is hexadecimal")));
        Self { net, alice, caller }
    }

    /// A transaction that makes constants of 256 bits, from this number on, and keeps them.
    fn constants(&mut self, from: u64, count: u64) -> Vec<u8> {
        let make = |n| entry(EXECUTOR, &calldata("trivialEncrypt(uint256,uint8)", &[word(n), word(EUINT256)]));
        let calls: Vec<u8> = (from..from + count).flat_map(make).collect();
        let output = self.net.call(self.alice.address(), self.caller, &calls);
        let handles: Vec<B256> = entries(&output).iter().map(|(_, data)| B256::from_slice(data)).collect();
        let keep = |handle: &B256| entry(ACL, &calldata("allow(bytes32,address)", &[*handle, self.caller.into_word()]));
        let input = [calls, handles.iter().flat_map(keep).collect()].concat();
        let tx = self.net.unsigned(&self.alice, TxKind::Call(self.caller), input);
        self.alice.transaction(&support::wallet::Unsigned { gas_limit: 20_000_000, ..tx })
    }

    fn run(&mut self, from: u64, count: u64) -> Json {
        let tx = self.constants(from, count);
        self.net.round(std::slice::from_ref(&tx));
        self.net.receipt(&tx)
    }
}

fn fhe_gas(receipt: &Json) -> u64 {
    let gas: U256 = receipt["fhe_gas"].as_str().expect("it is there").parse().expect("it is a number");
    gas.to()
}

#[test]
fn a_ciphertext_that_is_kept_costs_gas_for_its_blocks_however_it_was_made() {
    let mut maker = Maker::new();
    let (one, three) = (maker.run(1, 1), maker.run(10, 3));
    assert_eq!((&one["status"], &three["status"]), (&Json::from("0x1"), &Json::from("0x1")));
    // A constant has at most four different digits, which are one linear combination each.
    let price = BLOCKS * OUTPUT_BLOCK;
    assert!((price..price + 100).contains(&fhe_gas(&one)), "{one}");
    assert!((3 * price..3 * price + 100).contains(&fhe_gas(&three)), "{three}");
    assert_eq!(fhe_gas(&maker.run(1, 1)), 0, "what is there already is not made again");
}

#[test]
fn a_transaction_that_makes_too_many_ciphertexts_fails_and_pays() {
    let mut maker = Maker::new();
    let most = MAX_OUTPUT_BLOCKS as u64 / BLOCKS;
    let full = maker.run(1_000, most);
    assert_eq!(full["status"], "0x1", "{full}");
    let over = maker.run(2_000, most + 1);
    assert_eq!(over["status"], "0x0", "{over}");
    let text = over["failure"]["fhe"].as_str().expect("it says why");
    assert!(text.contains("4224 blocks") && text.contains("4096"), "{text}");
    assert_eq!(over["gas_used"], format!("{:#x}", 20_000_000), "it pays all its gas");
}

#[test]
fn a_batch_is_cut_where_its_ciphertexts_would_be_too_many() {
    let mut maker = Maker::new();
    let each = MAX_OUTPUT_BLOCKS as u64 / BLOCKS;
    let fit = MAX_BATCH_OUTPUT_BLOCKS / MAX_OUTPUT_BLOCKS;
    let batch: Vec<Vec<u8>> = (1..=fit as u64 + 1).map(|n| maker.constants(10_000 * n, each)).collect();
    let plan = |batch: &[Vec<u8>]| maker.net.evm.plan(&maker.net.state, &maker.net.context(), batch, LIMIT);
    assert_eq!(plan(&batch).expect("it can be planned").take, fit);
    let (now, later) = batch.split_at(fit);
    maker.net.round(now);
    maker.net.round(later);
    assert!(batch.iter().all(|tx| maker.net.receipt(tx)["status"] == "0x1"));
}
