//! Who proves a slot of the access control list learns what the contract would have answered.

mod support;

use parallax_evm::host::{ACL, slots};
use parallax_evm::input;
use parallax_evm::state::{read_place, read_receipt, read_slot, receipt_key, storage_key, tx_key};
use parallax_state::{StateView, Value};
use revm::primitives::{Address, B256, U256, hex, keccak256};
use support::wallet::Wallet;
use support::{Net, calldata, handles, word};

const PURSE: &str = include_str!("../contracts/Purse.hex");

fn slot(net: &Net, slot: &U256) -> U256 {
    let value = net.state.get(&storage_key(&ACL, slot)).expect("memory can be read");
    read_slot(value.as_ref()).expect("it is a word")
}

fn answer(net: &Net, signature: &str, words: &[B256]) -> U256 {
    U256::from_be_slice(&net.call(Address::ZERO, ACL, &calldata(signature, words)))
}

#[test]
fn slots_say_what_the_access_control_list_says() {
    let (mut net, [alice, bob]) = (Net::default(), [0, 1].map(Wallet::development));
    let purse = net.deploy(&alice, hex::decode(PURSE.trim()).expect("it is hexadecimal"));
    net.send(&alice, purse, calldata("mint(address,uint64)", &[alice.address().into_word(), word(7)]));
    let input = calldata("balanceOf(address)", &[alice.address().into_word()]);
    let handle = B256::from_slice(&net.call(Address::ZERO, purse, &input));
    for account in [alice.address(), bob.address(), purse] {
        let asked = answer(&net, "persistAllowed(bytes32,address)", &[handle, account.into_word()]);
        let read = slots::is_set(&slot(&net, &slots::allowed(&handle, &account)));
        assert_eq!(read, !asked.is_zero(), "{account}");
        assert_eq!(read, account != bob.address());
    }
    let public = |net: &Net| slots::is_set(&slot(net, &slots::allowed_for_decryption(&handle)));
    assert!(!public(&net));
    net.send(&alice, purse, calldata("reveal()", &[]));
    assert!(public(&net) && !answer(&net, "isAllowedForDecryption(bytes32)", &[handle]).is_zero());

    let words = [alice.address(), bob.address(), purse].map(|a| a.into_word());
    let expiry = |net: &Net| {
        let read = slots::expiry(&slot(net, &slots::delegation(&alice.address(), &bob.address(), &purse)));
        let asked = answer(net, "getUserDecryptionDelegationExpirationDate(address,address,address)", &words);
        assert_eq!(U256::from(read), asked);
        read
    };
    assert_eq!(expiry(&net), 0);
    let until = 1_900_000_000u64;
    let data = calldata("delegateForUserDecryption(address,address,uint64)", &[words[1], words[2], word(until)]);
    assert_eq!(net.send(&alice, ACL, data)["status"], "0x1");
    assert_eq!(expiry(&net), until);
    net.send(&alice, ACL, calldata("revokeDelegationForUserDecryption(address,address)", &words[1..]));
    assert_eq!(expiry(&net), 0, "the counter stays beside it");
}

#[test]
fn the_receipt_of_an_input_tells_handles_contract_and_user() {
    let (mut net, alice) = (Net::default(), Wallet::development(0));
    let contract = Address::repeat_byte(0xc1);
    let list = net.input(&alice, &[5, 6], contract);
    let (tx, expected) = (alice.input(&list), net.submit(&alice, &list));
    let plain = |key: &[u8]| match net.state.get(key).expect("memory can be read") {
        Some(Value::Plain(bytes)) => bytes,
        other => panic!("{other:?}"),
    };
    let (number, index) = read_place(&plain(&tx_key(&keccak256(&tx)))).expect("it is a place");
    let receipt = read_receipt(&plain(&receipt_key(number, index))).expect("it is a receipt");
    assert_eq!(input::kept(&receipt.transaction), Some((contract, alice.address())));
    let returned = receipt.outcome.expect("it succeeded");
    assert_eq!(returned, handles(&expected).concat());
    assert_eq!(input::kept(&receipt.transaction[..40]), None);
    assert_eq!(input::kept(&[2; 41]), None, "another transaction");
}
