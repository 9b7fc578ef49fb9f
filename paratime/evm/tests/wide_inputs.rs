//! Inputs at the limit of 2,048 bits, and over it.

mod support;

use parallax_evm::error::Code;
use parallax_runtime::ParaTime;
use revm::primitives::{Address, U256};
use support::wallet::{UnsignedInput, Wallet};
use support::{Net, handles};

/// `euint8`, `euint256` and `eaddress` in handles and lists.
const EUINT8: u8 = 2;
const EUINT256: u8 = 8;
const EADDRESS: u8 = 7;

/// A list of these values, proven for a contract and the user.
fn list(net: &mut Net, user: &Wallet, values: &[(u8, U256)]) -> UnsignedInput {
    let input = net.typed_input(user, values, Address::repeat_byte(9));
    UnsignedInput { gas_limit: 20_000_000, ..input }
}

#[test]
fn two_thousand_and_forty_eight_bits_come_in_and_every_value_is_there() {
    let (mut net, alice) = (Net::default(), Wallet::development(0));
    let values: Vec<(u8, U256)> =
        (1..=8u64).map(|n| (EUINT256, U256::MAX / U256::from(n) - U256::from(n * n))).collect();
    let input = list(&mut net, &alice, &values);
    let receipt = net.submit(&alice, &input);
    assert_eq!(receipt["status"], "0x1", "{receipt}");
    let handles = handles(&receipt);
    assert_eq!(handles.len(), 8);
    for (handle, (_, n)) in handles.iter().zip(&values) {
        assert_eq!(net.decrypt(*handle), *n);
    }
    // Types may mix, as long as they add up to no more.
    let mixed = [(EADDRESS, U256::MAX >> 96), (EUINT8, U256::from(0xa5)), (EUINT256, U256::from(7))];
    let input = list(&mut net, &alice, &mixed);
    let receipt = net.submit(&alice, &input);
    for (handle, (_, n)) in support::handles(&receipt).iter().zip(&mixed) {
        assert_eq!(net.decrypt(*handle), *n);
    }
}

#[test]
fn eight_bits_more_are_refused_before_a_proof_is_looked_at() {
    let (mut net, alice) = (Net::default(), Wallet::development(0));
    let mut values: Vec<(u8, U256)> = (0..8u64).map(|n| (EUINT256, U256::from(n))).collect();
    values.push((EUINT8, U256::from(1)));
    let tx = alice.input(&list(&mut net, &alice, &values));
    let error = net.evm.check_tx(&net.state, &net.context().chain, &tx, None).expect_err("it is too wide");
    assert_eq!(error.code, Code::Malformed as u32, "{error}");
    assert!(error.message.contains("2048") || error.message.contains("2,048"), "{error}");
}
