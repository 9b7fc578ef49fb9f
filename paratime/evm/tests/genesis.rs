//! Contracts that are there from the start: those of the genesis document, among them the deterministic deployment proxy
//! of a localnet.

mod support;

use parallax_evm::EvmParaTime;
use parallax_evm::params::{CREATE2_DEPLOYER, GenesisAccount, GenesisContract};
use parallax_primitives::{Address as Account, ParaTimeId};
use parallax_runtime::ParaTime;
use revm::primitives::{Address, B256, Bytes, U256, hex};
use serde_json::{Value as Json, json};
use support::wallet::Wallet;
use support::{Net, calldata, genesis};

const PURSE: &str = include_str!("../contracts/Purse.hex");
/// The code of the proxy on other chains, as its authors publish it.
const PROXY: &str = "0x7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffe03601600081602082378035828234f58015156039578182fd5b8082525050506014600cf3";

fn proxy() -> Address {
    CREATE2_DEPLOYER.parse().expect("it is an address")
}

#[test]
fn a_localnet_has_the_deterministic_deployment_proxy_with_the_code_of_other_chains() {
    let net = Net::default();
    let of = "0x4e59b44847b379578588920cA78FbF26c0B4956C";
    assert_eq!(net.eth("eth_getCode", json!([of, "latest"])), PROXY);
    assert_eq!(net.eth("eth_getCode", json!([of, "0x0"])), PROXY, "at genesis already");
    assert_eq!(net.eth("eth_getTransactionCount", json!([of, "latest"])), "0x1", "as every contract has");
}

#[test]
fn a_contract_that_the_proxy_deploys_is_where_create2_says_and_works() {
    let (mut net, alice, bob) = (Net::default(), Wallet::development(0), Wallet::development(1));
    let code = hex::decode(PURSE.trim()).expect("it is hexadecimal");
    for (salt, sender) in [(B256::ZERO, &alice), (B256::repeat_byte(0x5a), &bob)] {
        let expected = proxy().create2_from_code(salt, &code);
        let receipt = net.send(sender, proxy(), [salt.as_slice(), &code].concat());
        assert_eq!(receipt["status"], "0x1", "{receipt}");
        let deployed = net.eth("eth_getCode", json!([expected.to_string(), "latest"]));
        assert!(deployed.as_str().is_some_and(|code| code.len() > 1_000), "{expected}: {deployed}");
        // The constructor ran as the proxy's own call, and the functions are there.
        let symbol = net.call(alice.address(), expected, &calldata("balanceOf(address)", &[B256::ZERO]));
        assert_eq!(symbol.len(), 32);
    }
    // A second time the address is taken.
    let again = net.send(&bob, proxy(), [B256::ZERO.as_slice(), &code].concat());
    assert_eq!(again["status"], "0x0", "{again}");
}

/// What a genesis document with these contracts is refused with.
fn refusal(contracts: &Json) -> String {
    let mut document = serde_json::to_value(genesis()).expect("it is plain data");
    document["contracts"] = contracts.clone();
    let refused = EvmParaTime::new(ParaTimeId::named("evm")).init_genesis(&document);
    refused.err().unwrap_or_else(|| panic!("{contracts} must be refused"))
}

#[test]
fn contracts_that_cannot_be_are_refused_with_their_address_and_the_reason() {
    let at = "0x00000000000000000000000000000000000c0de5";
    let one = |address: &str, code: &str| json!([{ "address": address, "code": code }]);
    let host = parallax_evm::host::ACL.to_string().to_lowercase();
    let twice = json!([{ "address": at, "code": "0x00" }, { "address": at, "code": "0x01" }]);
    let large = format!("0x{}", "00".repeat(24_577));
    for (contracts, expected) in [
        (one(at, "0x"), "has no code"),
        (one(at, "0xef00"), "0xef"),
        (one(at, &large), "24577 bytes, 24576 is the most"),
        (one(&host, "0x00"), "a host contract has this address"),
        (one("0x0000000000000000000000000000000000000001", "0x00"), "up to 0x0a"),
        (twice, "stands here twice"),
    ] {
        let error = refusal(&contracts);
        let address = contracts[0]["address"].as_str().expect("it is text");
        assert!(error.contains(expected) && error.to_lowercase().contains(address), "{error}");
    }
    assert!(refusal(&one(at, "0x0g")).contains("evm parameters are not valid"));
    assert!(refusal(&json!([{ "address": at }])).contains("code"), "the missing field is named");
    let many: Vec<Json> =
        (0u32..1_001).map(|n| json!({ "address": format!("0x{:040x}", n + 256), "code": "0x00" })).collect();
    assert!(refusal(&json!(many)).contains("1001 contracts in genesis, the limit is 1000"));
}

#[test]
fn a_contract_may_have_a_balance_and_a_document_without_contracts_is_one() {
    let (address, code) = (Address::repeat_byte(0xc7), Bytes::from_static(&[0x47, 0x5f, 0x52, 0x60, 0x20, 0x5f, 0xf3]));
    let net = Net::new(|genesis| {
        let address = Account(address.into_array());
        genesis.accounts.push(GenesisAccount { address, balance: 7 });
        genesis.contracts = vec![GenesisContract { address, code: code.clone() }];
    });
    // It returns its own balance.
    assert_eq!(U256::from_be_slice(&net.call(Address::ZERO, address, &[])), U256::from(7));
    assert_eq!(net.eth("eth_getCode", json!([CREATE2_DEPLOYER, "latest"])), "0x");
    let mut document = serde_json::to_value(genesis()).expect("it is plain data");
    document.as_object_mut().expect("it is an object").remove("contracts");
    EvmParaTime::new(ParaTimeId::named("evm")).init_genesis(&document).expect("contracts may be left out");
}
