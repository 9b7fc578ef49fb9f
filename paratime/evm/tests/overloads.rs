//! Every overload of the published Solidity library, by the library's own code: each function of `FHE.sol` that is an
//! operation is called with corner values and seeded random ones, and what comes out is compared with arithmetic on plain
//! numbers.
//!
//! The contracts are made from the package by `scripts/overloads DIRECTORY` and are not part of this repository;
//! `PARALLAX_OVERLOADS=DIRECTORY` names where they are. Without it the test says so and ends. What a backend does with
//! each operation is tested without them, in `operations.rs`.

mod support;

use revm::primitives::{Address, B256, TxKind, U256, hex};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use support::wallet::Wallet;
use support::{Net, calldata, word};

const DIRECTORY: &str = "PARALLAX_OVERLOADS";
const SEED: u64 = 0x0e71_0ad5;

/// Bits of a type, encrypted or not.
fn bits(kind: &str) -> usize {
    match kind.trim_start_matches('e') {
        "bool" => 1,
        "address" => 160,
        uint => uint.trim_start_matches("uint").parse().unwrap_or_else(|_| panic!("what is {kind}?")),
    }
}

fn reduced(kind: &str, n: U256) -> U256 {
    n & (U256::MAX >> (256 - bits(kind)))
}

/// What a function of the library gives for these two numbers, as its documentation says.
fn expected(name: &str, types: &[&str], result: &str, a: U256, b: U256) -> Option<U256> {
    let bool_of = |yes: bool| U256::from(u8::from(yes));
    let k = bits(result);
    let out = match (name, types) {
        ("select", [_, kind, _]) => reduced(kind, if a.bit(0) { a } else { b }),
        ("not", [kind]) => !reduced(kind, a),
        ("neg", [kind]) => U256::ZERO.wrapping_sub(reduced(kind, a)),
        ("asEbool", [kind]) => bool_of(!reduced(kind, a).is_zero()),
        (name, [kind]) if name.starts_with("asE") => reduced(kind, a),
        (name, _) if name.starts_with("randE") => return None,
        (name, [left, right]) => {
            let (a, b) = (reduced(left, a), reduced(right, b));
            let amount = usize::try_from(b % U256::from(k)).unwrap_or(0);
            let rotated = |left: usize| if left == 0 { a } else { (a << left) | (a >> (k - left)) };
            match name {
                "add" => a.wrapping_add(b),
                "sub" => a.wrapping_sub(b),
                "mul" => a.wrapping_mul(b),
                "div" => a / b,
                "rem" => a % b,
                "and" => a & b,
                "or" => a | b,
                "xor" => a ^ b,
                "shl" => a << amount,
                "shr" => a >> amount,
                "rotl" => rotated(amount),
                "rotr" => rotated((k - amount) % k),
                "eq" => bool_of(a == b),
                "ne" => bool_of(a != b),
                "ge" => bool_of(a >= b),
                "gt" => bool_of(a > b),
                "le" => bool_of(a <= b),
                "lt" => bool_of(a < b),
                "min" => a.min(b),
                "max" => a.max(b),
                other => panic!("the library has a function {other} that this test does not know"),
            }
        }
        (name, types) => panic!("the library has {name} of {types:?}, which this test does not know"),
    };
    Some(reduced(result, out))
}

/// Numbers that follow from a seed (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> U256 {
        let mut limb = || {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z ^ (z >> 27)
        };
        U256::from_limbs([limb(), limb(), limb(), limb()])
    }
}

fn text(value: &Json) -> &str {
    value.as_str().expect("it is text")
}

/// The handle that a contract kept under this number.
fn kept(net: &Net, contract: Address, number: u64) -> B256 {
    B256::from_slice(&net.call(Address::ZERO, contract, &calldata("results(uint256)", &[word(number)])))
}

#[test]
fn every_overload_of_the_library_agrees_with_plain_arithmetic() {
    let Some(directory) = std::env::var_os(DIRECTORY) else {
        println!("nothing is tested: {DIRECTORY} names no directory; scripts/overloads makes one");
        return;
    };
    let path = std::path::Path::new(&directory).join("overloads.json");
    let file = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let contracts: Vec<Json> = serde_json::from_slice(&file).expect("it is what scripts/overloads wrote");
    let alice = Wallet::development(0);
    let mut net = Net::new(|genesis| genesis.params.max_transaction_fhe_gas = support::LIMIT);
    let (mut numbers, mut checked, mut by_name) = (Numbers(SEED), 0usize, BTreeMap::new());
    for contract in &contracts {
        let address = net.deploy(&alice, hex::decode(text(&contract["code"])).expect("it is hexadecimal"));
        let functions = contract["functions"].as_array().expect("there are functions");
        let mut count = 0;
        for (n, function) in functions.iter().enumerate() {
            let (name, result) = (text(&function["name"]), text(&function["result"]));
            let types: Vec<&str> = function["types"].as_array().expect("a list").iter().map(text).collect();
            let divides = matches!(name, "div" | "rem");
            let (random, other) = (numbers.next(), numbers.next());
            let pairs = [(random, other), (U256::MAX, U256::MAX), (U256::ZERO, U256::MAX), (other, U256::from(3))];
            for (a, b) in pairs {
                // Division by a clear zero reverts in the library.
                let b = if divides && reduced(types[1], b).is_zero() { U256::ONE } else { b };
                let signature = format!("f{n}(uint256,uint256)");
                let mut tx = net.unsigned(&alice, TxKind::Call(address), calldata(&signature, &[a.into(), b.into()]));
                tx.gas_limit = 20_000_000;
                let tx = alice.transaction(&tx);
                net.round(std::slice::from_ref(&tx));
                let receipt = net.receipt(&tx);
                let what = format!("{name}({}) of {a:#x}, {b:#x} (seed {SEED:#x})", types.join(", "));
                assert_eq!(receipt["status"], "0x1", "{what}: {}", receipt["failure"]);
                let found = net.decrypt(kept(&net, address, count));
                count += 1;
                match expected(name, &types, result, a, b) {
                    Some(right) => assert_eq!(found, right, "{what}"),
                    // A random number is within its type or its bound.
                    None => {
                        assert!(found < U256::from(8) || types.is_empty() && found == reduced(result, found), "{what}")
                    }
                }
                checked += 1;
            }
            *by_name.entry(name.to_owned()).or_insert(0) += 1;
        }
    }
    println!("{checked} results of {} overloads: {by_name:?}", by_name.values().sum::<usize>());
    assert!(by_name.len() >= 34, "the library has more functions than {by_name:?}");
}
