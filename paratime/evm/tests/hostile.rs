//! What contracts and senders may try against the host contracts and against a round.

mod support;

use parallax_evm::handle::FheType;
use parallax_evm::host::{ACL, ALL, EXECUTOR, HCU_LIMIT, Op, PROTOCOL_CONFIG};
use revm::primitives::{Address, B256, U256, hex, keccak256};
use serde_json::Value as Json;
use support::wallet::Wallet;
use support::{Net, calldata, creation, entries, entry, word};

const CALLER: &str = include_str!("../contracts/Caller.hex");

/// Two contracts that make the calls that they are told to.
struct Ring {
    net: Net,
    alice: Wallet,
    one: Address,
    two: Address,
}

impl Ring {
    fn new() -> Self {
        let (mut net, alice) = (Net::default(), Wallet::development(0));
        let code = creation(&hex::decode(CALLER.trim()).expect("it is hexadecimal"));
        let (one, two) = (net.deploy(&alice, code.clone()), net.deploy(&alice, code));
        Self { net, alice, one, two }
    }

    /// What comes of each call that the first contract makes.
    fn ask(&self, calls: &[Vec<u8>]) -> Vec<(bool, Vec<u8>)> {
        entries(&self.net.call(self.alice.address(), self.one, &calls.concat()))
    }

    fn send(&mut self, to: Address, data: &[u8]) -> Json {
        let alice = Wallet::development(0);
        self.net.send(&alice, to, data.to_vec())
    }

    fn trivial(&self, n: u64) -> (Vec<u8>, B256) {
        let kind = B256::with_last_byte(FheType::UINT128.number());
        let call = entry(EXECUTOR, &calldata("trivialEncrypt(uint256,uint8)", &[word(n), kind]));
        let handle = B256::from_slice(&self.ask(std::slice::from_ref(&call))[0].1);
        (call, handle)
    }
}

fn add(handle: B256) -> Vec<u8> {
    calldata(&Op::Add.function(), &[handle, word(1), B256::right_padding_from(&[1])])
}

fn selector(signature: &str) -> Vec<u8> {
    keccak256(signature)[..4].to_vec()
}

#[test]
fn a_transient_grant_ends_with_its_transaction_and_is_nobody_elses() {
    let mut ring = Ring::new();
    let (make, handle) = ring.trivial(5);
    let by_two = entry(ring.two, &entry(EXECUTOR, &add(handle)));
    // In one transaction: its maker may use it, another contract may not, until it is given to it.
    let give = entry(ACL, &calldata("allowTransient(bytes32,address)", &[handle, ring.two.into_word()]));
    let results =
        ring.ask(&[make.clone(), entry(EXECUTOR, &add(handle)), by_two.clone(), give.clone(), by_two.clone()]);
    let inner = |at: usize| entries(&results[at].1)[0].clone();
    assert!(results[1].0);
    assert_eq!((inner(2).0, &inner(2).1[..4]), (false, &selector("ACLNotAllowed(bytes32,address)")[..]));
    assert!(results[3].0 && inner(4).0);
    // A second contract cannot pass on to a third what it was not given.
    let steal = entry(ring.two, &entry(ACL, &calldata("allow(bytes32,address)", &[handle, ring.two.into_word()])));
    let stolen = ring.ask(&[make.clone(), steal]);
    assert_eq!(entries(&stolen[1].1)[0].1[..4], selector("SenderNotAllowed(address)"));
    // After cleaning, and in the next transaction, nothing is left.
    let clean = entry(ACL, &calldata("cleanTransientStorage()", &[]));
    assert!(!ring.ask(&[make.clone(), clean, entry(EXECUTOR, &add(handle))])[2].0);
    let receipt = ring.send(ring.one, &[make, give].concat());
    assert_eq!(receipt["status"], "0x1");
    assert!(!ring.ask(&[entry(EXECUTOR, &add(handle))])[0].0);
    assert!(!ring.ask(&[by_two]).is_empty());
}

#[test]
fn a_grant_made_in_a_call_that_reverts_is_taken_back() {
    let ring = Ring::new();
    let (make, handle) = ring.trivial(5);
    let give = entry(ACL, &calldata("allowTransient(bytes32,address)", &[handle, ring.two.into_word()]));
    let give_two = entry(ACL, &calldata("allowTransient(bytes32,address)", &[handle, ring.one.into_word()]));
    let fail = [&[2][..], ring.one.as_slice(), &[0, 0, 0, 0]].concat();
    // The second contract calls back: it gives the handle on, then reverts. The first one's own right stays.
    let reenter = entry(ring.two, &[give_two, fail].concat());
    let results = ring.ask(&[make.clone(), give, reenter, entry(EXECUTOR, &add(handle))]);
    assert_eq!(results.iter().map(|(ok, _)| *ok).collect::<Vec<_>>(), [true, true, false, true]);
    // What was made in a call that reverted is not allowed afterwards.
    let lost = entry(ring.one, &[make, [&[2][..], ring.one.as_slice(), &[0, 0, 0, 0]].concat()].concat());
    let results = ring.ask(&[lost, entry(EXECUTOR, &add(handle))]);
    assert_eq!(results.iter().map(|(ok, _)| *ok).collect::<Vec<_>>(), [false, false]);
}

#[test]
fn complexity_is_limited_in_all_and_along_every_path_and_resets_with_the_transaction() {
    let mut ring = Ring::new();
    let (make, handle) = ring.trivial(3);
    let square = |handle: B256| calldata(&Op::Mul.function(), &[handle, handle, B256::ZERO]);
    // Each square costs 1,686,000 units: the third in a chain passes 5,000,000.
    let (mut calls, mut last) = (vec![make.clone()], handle);
    let mut outcome = Vec::new();
    for _ in 0..3 {
        calls.push(entry(EXECUTOR, &square(last)));
        let result = ring.ask(&calls).pop().expect("there are results");
        last = B256::from_slice(result.1.get(..32).unwrap_or(&[0; 32]));
        outcome = result.1;
    }
    assert_eq!(outcome, selector("HCUTransactionDepthLimitExceeded()"));
    // Side by side, the twelfth passes 20,000,000.
    let mut wide = vec![make];
    for n in 0..12u64 {
        let (make, handle) = ring.trivial(100 + n);
        wide.extend([make, entry(EXECUTOR, &square(handle))]);
    }
    let results = ring.ask(&wide);
    assert_eq!(results.iter().filter(|(ok, _)| !ok).count(), 1);
    assert_eq!(results.last().map(|(_, data)| data.clone()), Some(selector("HCUTransactionLimitExceeded()")));
    assert_eq!(ring.send(ring.one, &calls[..2].concat())["status"], "0x1");
    assert_eq!(ring.send(ring.one, &calls[..2].concat())["status"], "0x1", "each transaction has its own limit");
    let forged = calldata("checkHCUForFheRand(uint8,bytes32)", &[word(2), handle]);
    assert_eq!(ring.ask(&[entry(HCU_LIMIT, &forged)])[0].1, selector("CallerMustBeFHEVMExecutorContract()"));
}

#[test]
fn host_contracts_take_no_wei_and_lend_nobody_their_code() {
    let mut ring = Ring::new();
    // Copies its calldata, makes a DELEGATECALL with it, and returns whether that succeeded.
    for contract in ALL.into_iter().chain([PROTOCOL_CONFIG]) {
        let before = hex::decode("365f5f375f5f365f73").expect("it is hexadecimal");
        let after = hex::decode("5af45f5260205ff3").expect("it is hexadecimal");
        let code = [&before, contract.as_slice(), &after].concat();
        let alice = Wallet::development(0);
        let borrower = ring.net.deploy(&alice, creation(&code));
        let input = calldata("getVersion()", &[]);
        assert_eq!(ring.net.call(alice.address(), borrower, &input)[..], [0; 32], "{contract} is not lent");
        let mut paid = entry(contract, &input);
        paid[21] = 1;
        assert!(!ring.ask(&[paid])[0].0, "{contract} takes no wei");
        assert!(ring.ask(&[entry(contract, &input)])[0].0, "{contract} answers a plain call");
    }
}

#[test]
fn calldata_that_lies_about_lengths_or_nests_without_end_only_reverts() {
    let ring = Ring::new();
    let lie = |length: B256| {
        let mut data = calldata("allowForDecryption(bytes32[])", &[word(32), length]);
        data.extend([7; 32]);
        entry(ACL, &data)
    };
    for length in [word(2), word(u64::MAX), B256::repeat_byte(0xff), word(1 << 58)] {
        assert!(!ring.ask(&[lie(length)])[0].0, "{length}");
    }
    // A list of one call, a hundred times in itself.
    let mut nested = calldata("paused()", &[]);
    for _ in 0..100 {
        let padded = nested.len().next_multiple_of(32);
        let mut outer = calldata("multicall(bytes[])", &[word(32), word(1), word(32), word(nested.len() as u64)]);
        outer.extend(&nested);
        outer.resize(4 + 128 + padded, 0);
        nested = outer;
    }
    assert_eq!(ring.ask(&[entry(ACL, &nested)])[0].1, selector("FailedCall()"));
}

#[test]
fn a_call_without_enough_gas_runs_out_and_changes_nothing() {
    let mut ring = Ring::new();
    let alice = Wallet::development(0);
    let data = calldata("trivialEncrypt(uint256,uint8)", &[word(1), word(5)]);
    let mut tx = ring.net.unsigned(&alice, revm::primitives::TxKind::Call(EXECUTOR), data);
    tx.gas_limit = 23_500;
    let tx = alice.transaction(&tx);
    ring.net.round(std::slice::from_ref(&tx));
    let receipt = ring.net.receipt(&tx);
    assert_eq!(receipt["status"], "0x0");
    assert!(receipt["failure"]["halt"].as_str().is_some_and(|text| text.contains("OutOfGas")), "{receipt}");
    let gas: U256 = receipt["gas_used"].as_str().expect("it is there").parse().expect("it is a number");
    assert_eq!(gas, U256::from(23_500));
}
