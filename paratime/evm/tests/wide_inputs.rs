//! Inputs at the limit of 2,048 bits, and over it.

mod support;

use parallax_clear::ClearCipher;
use parallax_evm::error::Code;
use parallax_evm::input;
use parallax_runtime::{ClientCipher, ParaTime};
use revm::primitives::{Address, U256};
use support::wallet::{UnsignedInput, Wallet};
use support::{CHAIN_ID, KEY, Net, handles};

/// `euint8`, `euint256` and `eaddress` in handles and lists, with their bits.
const EUINT8: (u8, usize) = (2, 8);
const EUINT256: (u8, usize) = (8, 256);
const EADDRESS: (u8, usize) = (7, 160);

/// A list of these values, proven for a contract and the user.
fn list(net: &Net, user: &Wallet, nonce: u64, values: &[((u8, usize), U256)]) -> UnsignedInput {
    let contract = Address::repeat_byte(9);
    let context = net.context();
    let bound =
        input::Bound { chain: context.chain, paratime: context.paratime, key: KEY, contract, user: user.address() };
    let digit = |n: &U256, at: usize| (*n >> (4 * at) & U256::from(15)).to::<u8>();
    let digits: Vec<u8> =
        values.iter().flat_map(|((_, bits), n)| (0..bits / 4).map(|at| digit(n, at)).collect::<Vec<_>>()).collect();
    let list = ClearCipher::new(KEY, 5).encrypt(&digits, &bound.metadata()).expect("the digits are in range");
    let (types, user) = (values.iter().map(|((kind, _), _)| *kind).collect(), user.address());
    UnsignedInput { chain_id: CHAIN_ID, nonce, gas_limit: 20_000_000, contract, user, key: KEY.0, types, list }
}

#[test]
fn two_thousand_and_forty_eight_bits_come_in_and_every_value_is_there() {
    let (mut net, alice) = (Net::default(), Wallet::development(0));
    let values: Vec<((u8, usize), U256)> =
        (1..=8u64).map(|n| (EUINT256, U256::MAX / U256::from(n) - U256::from(n * n))).collect();
    let input = list(&net, &alice, 0, &values);
    let receipt = net.submit(&alice, &input);
    assert_eq!(receipt["status"], "0x1", "{receipt}");
    let handles = handles(&receipt);
    assert_eq!(handles.len(), 8);
    for (handle, (_, n)) in handles.iter().zip(&values) {
        assert_eq!(net.decrypt(*handle), *n);
    }
    // Types may mix, as long as they add up to no more.
    let mixed = [(EADDRESS, U256::MAX >> 96), (EUINT8, U256::from(0xa5)), (EUINT256, U256::from(7))];
    let input = list(&net, &alice, 1, &mixed);
    let receipt = net.submit(&alice, &input);
    for (handle, (_, n)) in support::handles(&receipt).iter().zip(&mixed) {
        assert_eq!(net.decrypt(*handle), *n);
    }
}

#[test]
fn eight_bits_more_are_refused_before_a_proof_is_looked_at() {
    let (net, alice) = (Net::default(), Wallet::development(0));
    let mut values: Vec<((u8, usize), U256)> = (0..8u64).map(|n| (EUINT256, U256::from(n))).collect();
    values.push((EUINT8, U256::from(1)));
    let tx = alice.input(&list(&net, &alice, 0, &values));
    let error = net.evm.check_tx(&net.state, &net.context().chain, &tx, None).expect_err("it is too wide");
    assert_eq!(error.code, Code::Malformed as u32, "{error}");
    assert!(error.message.contains("2048") || error.message.contains("2,048"), "{error}");
}
