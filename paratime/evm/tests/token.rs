//! A confidential token that nobody here wrote: ERC-7984 of `@openzeppelin/confidential-contracts`, compiled by its own
//! toolchain (`examples/contracts/Token.sol`), on the clear backend.

mod support;

use revm::primitives::{Address, B256, U256, hex, keccak256};
use serde_json::Value as Json;
use support::wallet::Wallet;
use support::{Net, calldata, calldata_with_bytes, decrypted, word};

const TOKEN: &str = include_str!("../contracts/Token.hex");
/// Whose signature counts for decryptions.
const KEY_MANAGER: u8 = 72;

struct Exchange {
    net: Net,
    token: Address,
}

impl Exchange {
    fn new() -> Self {
        let mut net = Net::default();
        let token = net.deploy(&Wallet::development(0), hex::decode(TOKEN.trim()).expect("it is hexadecimal"));
        Self { net, token }
    }

    /// A call with an encrypted amount of the sender's.
    fn with_amount(&mut self, from: &Wallet, signature: &str, words: &[B256], amount: u64) -> Json {
        let (handle, proof) = self.net.encrypt(from, amount, self.token);
        let words = [words, &[handle]].concat();
        let receipt = self.net.send(from, self.token, calldata_with_bytes(signature, &words, &proof));
        assert_eq!(receipt["status"], "0x1", "{receipt}");
        receipt
    }

    fn ask(&self, signature: &str, words: &[B256]) -> B256 {
        B256::from_slice(&self.net.call(Address::ZERO, self.token, &calldata(signature, words))[..32])
    }

    fn handle(&self, owner: &Wallet) -> B256 {
        self.ask("confidentialBalanceOf(address)", &[owner.address().into_word()])
    }

    fn balances(&self, owners: [&Wallet; 3]) -> [u64; 3] {
        owners.map(|owner| {
            let handle = self.handle(owner);
            if handle.is_zero() { 0 } else { self.net.decrypt(handle).to() }
        })
    }
}

#[test]
fn an_erc_7984_token_is_minted_transferred_and_refused_without_showing_amounts() {
    let mut exchange = Exchange::new();
    let [alice, bob, carol] = [0, 1, 2].map(Wallet::development);
    let all = [&alice, &bob, &carol];
    let transfer = "confidentialTransfer(address,bytes32,bytes)";
    exchange.with_amount(&alice, "mint(address,bytes32,bytes)", &[alice.address().into_word()], 1_000);
    assert_eq!(exchange.balances(all), [1_000, 0, 0]);
    exchange.with_amount(&alice, transfer, &[bob.address().into_word()], 250);
    assert_eq!(exchange.balances(all), [750, 250, 0]);
    // More than there is: the transaction succeeds and moves nothing.
    exchange.with_amount(&bob, transfer, &[carol.address().into_word()], 251);
    assert_eq!(exchange.balances(all), [750, 250, 0]);
    assert_eq!(exchange.net.decrypt(exchange.ask("confidentialTotalSupply()", &[])), U256::from(1_000));
    // An operator moves what its owner has; nobody else does.
    let from = "confidentialTransferFrom(address,address,bytes32,bytes)";
    let words = [alice.address().into_word(), carol.address().into_word()];
    let (handle, proof) = exchange.net.encrypt(&bob, 100, exchange.token);
    let data = calldata_with_bytes(from, &[&words[..], &[handle]].concat(), &proof);
    let refused = exchange.net.send(&bob, exchange.token, data);
    let unauthorized = hex::encode_prefixed(&keccak256("ERC7984UnauthorizedSpender(address,address)")[..4]);
    assert!(refused["failure"]["revert"].as_str().is_some_and(|data| data.starts_with(&unauthorized)), "{refused}");
    let until = word(2_000_000_000);
    exchange.net.send(
        &alice,
        exchange.token,
        calldata("setOperator(address,uint48)", &[bob.address().into_word(), until]),
    );
    exchange.with_amount(&bob, from, &words, 100);
    assert_eq!(exchange.balances(all), [650, 250, 100]);
}

#[test]
fn a_public_decryption_is_believed_if_the_key_manager_signed_it() {
    let mut exchange = Exchange::new();
    let alice = Wallet::development(0);
    exchange.with_amount(&alice, "mint(address,bytes32,bytes)", &[alice.address().into_word()], 77);
    let handle = exchange.handle(&alice);
    let request = calldata("requestDiscloseEncryptedAmount(bytes32)", &[handle]);
    assert_eq!(exchange.net.send(&alice, exchange.token, request)["status"], "0x1");
    let disclose = |exchange: &mut Exchange, amount: u64, signer: u8| {
        let proof = decrypted(&[handle], word(amount).as_slice(), signer);
        let signature = "discloseEncryptedAmount(bytes32,uint64,bytes)";
        let data = calldata_with_bytes(signature, &[handle, word(amount)], &proof);
        exchange.net.send(&alice, exchange.token, data)
    };
    assert_eq!(exchange.net.decrypt(handle), U256::from(77));
    let stranger = disclose(&mut exchange, 77, 9);
    let invalid = hex::encode_prefixed(&keccak256("KMSInvalidSigner(address)")[..4]);
    assert!(stranger["failure"]["revert"].as_str().is_some_and(|data| data.starts_with(&invalid)), "{stranger}");
    let believed = disclose(&mut exchange, 77, KEY_MANAGER);
    assert_eq!(believed["status"], "0x1", "{believed}");
    let topic = keccak256("AmountDisclosed(bytes32,uint64)").to_string();
    let logs = believed["logs"].as_array().expect("there are logs");
    assert!(logs.iter().any(|log| log["topics"][0] == topic), "{believed}");
}
