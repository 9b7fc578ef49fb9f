//! Encrypted inputs: from a client's list with its proof, over an attestation, into a contract.

mod support;

use parallax_evm::error::Code;
use parallax_primitives::Gas;
use parallax_runtime::ParaTime;
use revm::primitives::{Address, B256, TxKind, U256, hex, keccak256};
use serde_json::{Value as Json, json};
use support::wallet::{UnsignedInput, Wallet};
use support::{EUINT64, Net, attest, calldata, calldata_with_bytes, handles, word};

const PURSE: &str = include_str!("../contracts/Purse.hex");

struct Bank {
    net: Net,
    purse: Address,
    alice: Wallet,
}

impl Bank {
    fn new() -> Self {
        let (mut net, alice) = (Net::default(), Wallet::development(0));
        let purse = net.deploy(&alice, hex::decode(PURSE.trim()).expect("it is hexadecimal"));
        Self { net, purse, alice }
    }

    fn mint(&mut self, from: &Wallet, handle: B256, proof: &[u8]) -> Json {
        let words = [from.address().into_word(), handle];
        let data = calldata_with_bytes("mintEncrypted(address,bytes32,bytes)", &words, proof);
        self.net.send(from, self.purse, data)
    }

    fn balance(&self, owner: Address) -> U256 {
        let input = calldata("balanceOf(address)", &[owner.into_word()]);
        self.net.decrypt(B256::from_slice(&self.net.call(owner, self.purse, &input)))
    }
}

#[test]
fn an_amount_that_only_its_client_knows_is_minted() {
    let mut bank = Bank::new();
    let (purse, user) = (bank.purse, bank.alice.address());
    let input = bank.net.input(&bank.alice, &[1_234_567_890_123, 42], purse);
    let receipt = bank.net.submit(&bank.alice, &input);
    assert_eq!(receipt["status"], "0x1", "{receipt}");
    let handles = handles(&receipt);
    assert_eq!(handles.len(), 2);
    assert_eq!((handles[0][21], handles[1][21]), (0, 1), "a handle says its place in the list");
    assert_eq!(bank.net.decrypt(handles[0]), U256::from(1_234_567_890_123u64));
    let proof = attest(&handles, purse, user);
    for (handle, sum) in handles.iter().zip([1_234_567_890_123u64, 1_234_567_890_165]) {
        let receipt = bank.mint(&Wallet::development(0), *handle, &proof);
        assert_eq!(receipt["status"], "0x1", "{receipt}");
        assert_eq!(bank.balance(user), U256::from(sum));
    }
}

#[test]
fn an_input_is_good_for_its_user_and_contract_alone() {
    let mut bank = Bank::new();
    let (purse, user) = (bank.purse, bank.alice.address());
    let input = bank.net.input(&bank.alice, &[5], purse);
    let handle = handles(&bank.net.submit(&bank.alice, &input))[0];
    let proof = attest(&[handle], purse, user);
    let receipt = bank.mint(&Wallet::development(1), handle, &proof);
    assert_eq!(receipt["status"], "0x0", "another user");
    let selector = hex::encode_prefixed(&keccak256("InvalidSigner(address)")[..4]);
    assert!(receipt["failure"]["revert"].as_str().is_some_and(|data| data.starts_with(&selector)), "{receipt}");
    let elsewhere = attest(&[handle], Address::repeat_byte(1), user);
    assert_eq!(bank.mint(&Wallet::development(0), handle, &elsewhere)["status"], "0x0", "another contract");
}

#[test]
fn a_list_whose_proof_does_not_hold_costs_its_bringer_the_fee() {
    let mut bank = Bank::new();
    let (purse, user) = (bank.purse, bank.alice.address());
    let mut input = bank.net.input(&bank.alice, &[5], purse);
    // Proven for another contract than it is brought for.
    input.contract = Address::repeat_byte(1);
    let tx = bank.alice.input(&input);
    let chain = bank.net.context().chain;
    let check =
        |fhe| bank.net.evm.check_tx(&bank.net.state, &chain, &tx, fhe).map(|info| info.nonce).map_err(|e| e.code);
    assert_eq!(check(None), Ok(input.nonce), "without keys nobody sees it");
    assert_eq!(check(Some(&bank.net.backend)), Err(Code::BadInput as u32), "with them it does not enter the pool");
    let before = bank.net.balance(user);
    let receipt = bank.net.submit(&bank.alice, &input);
    assert_eq!(receipt["status"], "0x0");
    assert!(receipt["failure"]["fhe"].as_str().is_some_and(|text| text.contains("proof of knowledge")), "{receipt}");
    let gas: U256 = receipt["gas_used"].as_str().expect("it is there").parse().expect("it is a number");
    assert_eq!(bank.net.balance(user), before - gas * U256::from(1_000_000_001u64));
    assert!(bank.net.state.values.keys().all(|key| !key.starts_with(b"cipher/")), "nothing came in");
}

/// `euint8`, `euint16` and `euint32` in lists.
const EUINT8: u8 = 2;
const EUINT16: u8 = 3;
const EUINT32: u8 = 4;

#[test]
fn a_list_cannot_be_read_as_values_of_other_types() {
    let mut bank = Bank::new();
    let (purse, mallory) = (bank.purse, Wallet::development(1));
    let (secret, rating) = (U256::from(0x1122_3344_5566_7788u64), U256::from(7));
    let victim = bank.net.typed_input(&bank.alice, &[(EUINT64, secret), (EUINT8, rating)], purse);
    // As many blocks, cut elsewhere: the value at place 1 is of type euint8 too, the second byte of the secret.
    let types = vec![EUINT8, EUINT8, EUINT32, EUINT16, EUINT8];
    let copy = |net: &Net| {
        let nonce = net.eth("eth_getTransactionCount", json!([mallory.address().to_string(), "latest"]));
        let nonce = u64::from_str_radix(nonce.as_str().expect("it is text").trim_start_matches("0x"), 16);
        UnsignedInput { nonce: nonce.expect("it is a number"), types: types.clone(), ..victim.clone() }
    };
    let before = bank.net.submit(&mallory, &copy(&bank.net));
    let mine = handles(&bank.net.submit(&bank.alice, &victim));
    let tx = mallory.input(&copy(&bank.net));
    let checked = bank.net.evm.check_tx(&bank.net.state, &bank.net.context().chain, &tx, Some(&bank.net.backend));
    assert_eq!(checked.map_err(|e| e.code).map(|info| info.nonce), Err(Code::BadInput as u32));
    let after = bank.net.submit(&mallory, &copy(&bank.net));
    for receipt in [&before, &after] {
        assert_eq!(receipt["status"], "0x0", "{receipt}");
        assert!(
            receipt["failure"]["fhe"].as_str().is_some_and(|text| text.contains("proof of knowledge")),
            "{receipt}"
        );
    }
    assert_eq!((bank.net.decrypt(mine[0]), bank.net.decrypt(mine[1])), (secret, rating));
}

#[test]
fn a_list_that_is_brought_again_leaves_the_ciphertexts_as_they_are() {
    let mut bank = Bank::new();
    let (purse, mallory) = (bank.purse, Wallet::development(1));
    let input = bank.net.input(&bank.alice, &[1, 2], purse);
    let copy = UnsignedInput { nonce: 0, ..input.clone() };
    let (first, second) = (bank.alice.input(&input), mallory.input(&copy));
    let (context, state) = (bank.net.context(), &bank.net.state);
    let alone = bank.net.evm.execute(state, &context, std::slice::from_ref(&first), &bank.net.backend, &|| false);
    let alone = alone.expect("it executes");
    bank.net.round(&[first.clone(), second.clone()]);
    let mine = handles(&bank.net.receipt(&first));
    assert_eq!(handles(&bank.net.receipt(&second)), mine, "equal lists have equal handles");
    bank.net.submit(&mallory, &UnsignedInput { nonce: 1, ..copy });
    let mut expected = bank.net.state.clone();
    expected.apply(alone.changes);
    for handle in mine {
        let key = parallax_evm::state::cipher_key(&handle);
        assert!(bank.net.state.values.contains_key(&key));
        assert_eq!(bank.net.state.values.get(&key), expected.values.get(&key), "the first one stays");
    }
}

#[test]
fn an_attested_handle_without_a_ciphertext_makes_its_transaction_fail() {
    let mut bank = Bank::new();
    let (purse, user) = (bank.purse, bank.alice.address());
    let input = bank.net.input(&bank.alice, &[5], purse);
    let handle = handles(&bank.net.submit(&bank.alice, &input))[0];
    let mut made_up = handle;
    made_up[3] ^= 1;
    let proof = attest(&[made_up], purse, user);
    let receipt = bank.mint(&Wallet::development(0), made_up, &proof);
    assert!(receipt["failure"]["fhe"].as_str().is_some_and(|text| text.contains("no ciphertext")), "{receipt}");
    let mut foreign = handle;
    foreign[29] ^= 1;
    let proof = attest(&[foreign], purse, user);
    let receipt = bank.mint(&Wallet::development(0), foreign, &proof);
    let expected = hex::encode_prefixed(&keccak256("InvalidChainId()")[..4]);
    assert_eq!(receipt["failure"]["revert"], expected, "a handle of another chain");
}

#[test]
fn inputs_that_are_not_formed_well_are_refused_before_anything_is_paid() {
    let mut bank = Bank::new();
    let purse = bank.purse;
    let good = bank.net.input(&bank.alice, &[5], purse);
    let code = |change: &dyn Fn(&mut UnsignedInput)| {
        let mut input = good.clone();
        change(&mut input);
        let tx = bank.alice.input(&input);
        let checked = bank.net.evm.check_tx(&bank.net.state, &bank.net.context().chain, &tx, None);
        checked.map(|info| info.nonce).map_err(|e| e.code)
    };
    assert_eq!(code(&|_| ()), Ok(good.nonce));
    assert_eq!(code(&|i| i.chain_id = 1), Err(Code::WrongChain as u32));
    assert_eq!(code(&|i| i.types = vec![]), Err(Code::Malformed as u32));
    assert_eq!(code(&|i| i.types = vec![1]), Err(Code::Malformed as u32), "there is nothing on four bits");
    assert_eq!(code(&|i| i.types = vec![8; 9]), Err(Code::Malformed as u32), "nine times 256 bits are over 2,048");
    assert_eq!(code(&|i| i.gas_limit = 60_000), Err(Code::IntrinsicGas as u32));
    assert_eq!(code(&|i| i.list = vec![0; 128 * 1024]), Err(Code::TooLarge as u32));
    let wide = code(&|i| (i.types, i.gas_limit) = (vec![8; 8], 5_000_000));
    assert_eq!(wide, Ok(good.nonce), "2,048 bits fit");
}

/// As for transactions: what enters the pool fits a batch of its own, where that is as large as a transaction may be.
#[test]
fn no_input_is_too_large_for_a_batch_of_its_own() {
    let alice = Wallet::development(0);
    let checked = |limit: Gas| {
        let mut net = Net::new(|genesis| genesis.params.max_transaction_fhe_gas = limit);
        let input = net.input(&alice, &[5], Address::repeat_byte(9));
        let tx = alice.input(&input);
        let info = net.evm.check_tx(&net.state, &net.context().chain, &tx, Some(&net.backend));
        let plan = net.evm.plan(&net.state, &net.context(), std::slice::from_ref(&tx), limit);
        (info.map(|info| info.gas).map_err(|e| e.code), plan.expect("it can be planned"))
    };
    let (info, plan) = checked(support::LIMIT);
    let gas = info.expect("it is taken");
    assert_eq!(gas, plan.gas, "the pool reckons with what the round charges");
    assert_eq!((checked(gas).0, checked(gas).1.take), (Ok(gas), 1));
    for less in [1, 99, 100, 101] {
        let (info, plan) = checked(Gas(gas.0 - less));
        assert_eq!(
            (info, plan.take),
            (Err(Code::GasLimitTooHigh as u32), 1),
            "{less} less: refused, and out of the way"
        );
    }
}

#[test]
fn a_batch_may_mix_inputs_and_transactions() {
    let mut bank = Bank::new();
    let (purse, user) = (bank.purse, bank.alice.address());
    let input = bank.net.input(&bank.alice, &[9], purse);
    let alice = Wallet::development(0);
    let first = bank.alice.input(&input);
    let second =
        bank.net.tx(&alice, TxKind::Call(purse), calldata("mint(address,uint64)", &[user.into_word(), word(3)]));
    let done = bank.net.round(&[first.clone(), second]);
    assert_eq!(done.results.iter().filter(|r| r.outcome.is_ok()).count(), 2);
    let block = bank.net.eth("eth_getBlockByNumber", json!(["0x2", false]));
    assert_eq!(block["transactions"].as_array().map(Vec::len), Some(2));
    assert_eq!(bank.balance(user), U256::from(3));
    assert_eq!(bank.net.decrypt(handles(&bank.net.receipt(&first))[0]), U256::from(9));
}
