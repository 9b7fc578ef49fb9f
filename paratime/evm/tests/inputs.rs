//! Encrypted inputs: from a client's list with its proof, over an attestation, into a contract.

mod support;

use parallax_clear::ClearCipher;
use parallax_evm::error::Code;
use parallax_evm::host::Verifier;
use parallax_evm::input::{attestation, metadata, proof};
use parallax_runtime::{ClientCipher, ParaTime};
use revm::primitives::{Address, B256, TxKind, U256, hex, keccak256};
use serde_json::{Value as Json, json};
use support::wallet::{UnsignedInput, Wallet};
use support::{CHAIN_ID, GATEWAY, GATEWAY_INPUTS, KEY, Net, calldata, word};

const PURSE: &str = include_str!("../contracts/Purse.hex");
const EUINT64: u8 = 5;

struct Bank {
    net: Net,
    purse: Address,
    alice: Wallet,
}

/// The numbers of four bits in which a list holds a value of 64 bits.
fn packed(n: u64) -> Vec<u8> {
    (0..16).map(|at| (n >> (4 * at) & 15) as u8).collect()
}

impl Bank {
    fn new() -> Self {
        let (mut net, alice) = (Net::default(), Wallet::development(0));
        let purse = net.deploy(&alice, hex::decode(PURSE.trim()).expect("it is hexadecimal"));
        Self { net, purse, alice }
    }

    /// A list of these amounts for a contract and a user, proven.
    fn list(&self, amounts: &[u64], contract: Address, user: Address) -> Vec<u8> {
        let digits: Vec<u8> = amounts.iter().flat_map(|n| packed(*n)).collect();
        let bound = metadata(&self.net.context(), KEY, contract, user);
        ClearCipher::new(KEY, 7).encrypt(&digits, &bound).expect("the digits are in range")
    }

    /// An envelope by Alice, with her next nonce.
    fn unsigned(&mut self, amounts: &[u64], contract: Address, user: Address) -> UnsignedInput {
        let list = self.list(amounts, contract, user);
        let nonce = self.net.nonces.entry(self.alice.address()).or_default();
        *nonce += 1;
        let types = vec![EUINT64; amounts.len()];
        let nonce = *nonce - 1;
        UnsignedInput { chain_id: CHAIN_ID, nonce, gas_limit: 500_000, contract, user, key: KEY.0, types, list }
    }

    fn submit(&mut self, input: &UnsignedInput) -> Json {
        let tx = self.alice.input(input);
        self.net.round(std::slice::from_ref(&tx));
        self.net.receipt(&tx)
    }

    /// What the attester signs for these handles.
    fn attest(&self, handles: &[B256], contract: Address, user: Address) -> Vec<u8> {
        let contract_of = Address::from(GATEWAY_INPUTS.0);
        let verifier = Verifier { contract: contract_of, chain_id: GATEWAY, signers: vec![], threshold: 1 };
        let digest = attestation(&verifier, handles, user, contract, CHAIN_ID, &[]);
        proof(handles, &[Wallet::seeded(71).sign_bytes(digest)], &[])
    }

    fn mint(&mut self, from: &Wallet, handle: B256, proof: &[u8]) -> Json {
        let mut data = calldata("mintEncrypted(address,bytes32,bytes)", &[]);
        let length = B256::from(U256::from(proof.len()));
        for part in [from.address().into_word(), handle, word(96), length] {
            data.extend_from_slice(part.as_slice());
        }
        data.extend_from_slice(proof);
        data.resize(data.len().next_multiple_of(32) + 4, 0);
        self.net.send(from, self.purse, data)
    }

    fn balance(&self, owner: Address) -> U256 {
        let input = calldata("balanceOf(address)", &[owner.into_word()]);
        self.net.decrypt(B256::from_slice(&self.net.call(owner, self.purse, &input)))
    }
}

fn handles(receipt: &Json) -> Vec<B256> {
    let list = receipt["handles"].as_array().expect("there are handles");
    list.iter().map(|h| h.as_str().expect("it is text").parse().expect("it is a handle")).collect()
}

#[test]
fn an_amount_that_only_its_client_knows_is_minted() {
    let mut bank = Bank::new();
    let (purse, user) = (bank.purse, bank.alice.address());
    let input = bank.unsigned(&[1_234_567_890_123, 42], purse, user);
    let receipt = bank.submit(&input);
    assert_eq!(receipt["status"], "0x1", "{receipt}");
    let handles = handles(&receipt);
    assert_eq!(handles.len(), 2);
    assert_eq!((handles[0][21], handles[1][21]), (0, 1), "a handle says its place in the list");
    assert_eq!(bank.net.decrypt(handles[0]), U256::from(1_234_567_890_123u64));
    let proof = bank.attest(&handles, purse, user);
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
    let input = bank.unsigned(&[5], purse, user);
    let handle = handles(&bank.submit(&input))[0];
    let proof = bank.attest(&[handle], purse, user);
    let receipt = bank.mint(&Wallet::development(1), handle, &proof);
    assert_eq!(receipt["status"], "0x0", "another user");
    let selector = hex::encode_prefixed(&keccak256("InvalidSigner(address)")[..4]);
    assert!(receipt["failure"]["revert"].as_str().is_some_and(|data| data.starts_with(&selector)), "{receipt}");
    let elsewhere = bank.attest(&[handle], Address::repeat_byte(1), user);
    assert_eq!(bank.mint(&Wallet::development(0), handle, &elsewhere)["status"], "0x0", "another contract");
}

#[test]
fn a_list_whose_proof_does_not_hold_costs_its_bringer_the_fee() {
    let mut bank = Bank::new();
    let (purse, user) = (bank.purse, bank.alice.address());
    let mut input = bank.unsigned(&[5], purse, user);
    // Proven for another contract than it is brought for.
    input.contract = Address::repeat_byte(1);
    let before = bank.net.balance(user);
    let receipt = bank.submit(&input);
    assert_eq!(receipt["status"], "0x0");
    assert!(receipt["failure"]["fhe"].as_str().is_some_and(|text| text.contains("proof of knowledge")), "{receipt}");
    let gas: U256 = receipt["gas_used"].as_str().expect("it is there").parse().expect("it is a number");
    assert_eq!(bank.net.balance(user), before - gas * U256::from(1_000_000_001u64));
    assert!(bank.net.state.values.keys().all(|key| !key.starts_with(b"cipher/")), "nothing came in");
}

#[test]
fn an_attested_handle_without_a_ciphertext_makes_its_transaction_fail() {
    let mut bank = Bank::new();
    let (purse, user) = (bank.purse, bank.alice.address());
    let input = bank.unsigned(&[5], purse, user);
    let handle = handles(&bank.submit(&input))[0];
    let mut made_up = handle;
    made_up[3] ^= 1;
    let proof = bank.attest(&[made_up], purse, user);
    let receipt = bank.mint(&Wallet::development(0), made_up, &proof);
    assert!(receipt["failure"]["fhe"].as_str().is_some_and(|text| text.contains("no ciphertext")), "{receipt}");
    let mut foreign = handle;
    foreign[29] ^= 1;
    let proof = bank.attest(&[foreign], purse, user);
    let receipt = bank.mint(&Wallet::development(0), foreign, &proof);
    let expected = hex::encode_prefixed(&keccak256("InvalidChainId()")[..4]);
    assert_eq!(receipt["failure"]["revert"], expected, "a handle of another chain");
}

#[test]
fn inputs_that_are_not_formed_well_are_refused_before_anything_is_paid() {
    let mut bank = Bank::new();
    let (purse, user) = (bank.purse, bank.alice.address());
    let good = bank.unsigned(&[5], purse, user);
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

#[test]
fn a_batch_may_mix_inputs_and_transactions() {
    let mut bank = Bank::new();
    let (purse, user) = (bank.purse, bank.alice.address());
    let input = bank.unsigned(&[9], purse, user);
    let alice = Wallet::development(0);
    let first = bank.alice.input(&input);
    let second =
        bank.net.tx(&alice, TxKind::Call(purse), calldata("mint(address,uint64)", &[user.into_word(), word(3)]));
    let done = bank.net.round(&[first.clone(), second]);
    assert_eq!(done.results.iter().filter(|r| r.outcome.is_ok()).count(), 2);
    let block = bank.net.ask("block", json!({ "number": 2 }));
    assert_eq!(block["transactions"].as_array().map(Vec::len), Some(2));
    assert_eq!(bank.balance(user), U256::from(3));
    assert_eq!(bank.net.decrypt(handles(&bank.net.receipt(&first))[0]), U256::from(9));
}
