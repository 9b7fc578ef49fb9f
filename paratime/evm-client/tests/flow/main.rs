//! The client against a chain of one process: contracts deployed, called with encrypted values and read, on the clear
//! backend; and key managers that lie.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test ends at the first error; its modules are its own")]

mod chain;

use chain::{Chain, KEY, Lie, serve};
use jsonrpsee::server::ServerHandle;
use parallax_clear::ClearCipher;
use parallax_evm_client::{Artifact, Endpoints, Error, EvmClient, Held, Method, Request, Value, Wallet};
use parallax_runtime::{ClientCipher, FheType};
use revm::primitives::{Address, B256, TxKind, U256};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

const TOKEN: &str = include_str!("../../../../examples/contracts/artifacts/EncryptedERC20.json");
const AUCTION: &str = include_str!("../../../../examples/contracts/artifacts/Auction.json");
/// Each cipher of the clear backend draws other stand-ins.
static NEXT: AtomicU64 = AtomicU64::new(1);

struct Bench {
    chain: Arc<Mutex<Chain>>,
    client: EvmClient,
    artifact: Artifact,
    contract: Address,
    _server: ServerHandle,
}

fn cipher() -> Arc<dyn ClientCipher> {
    Arc::new(ClearCipher::new(KEY, NEXT.fetch_add(1, Ordering::Relaxed)))
}

fn strings(given: &[&str]) -> Vec<String> {
    given.iter().map(|text| (*text).to_owned()).collect()
}

fn dev(n: usize) -> Wallet {
    Wallet::development(n).unwrap()
}

impl Bench {
    async fn new(artifact: &str, arguments: &[&str]) -> Self {
        let (chain, url, server) = serve().await;
        let endpoints = Endpoints { ethereum: url.clone(), node: url.clone(), key_managers: vec![url] };
        let client = EvmClient::connect(&endpoints).await.unwrap();
        let artifact = Artifact::parse(artifact).unwrap();
        let constructor = artifact.constructor();
        let encoded = constructor.arguments(&strings(arguments)).unwrap().encode(&[], &[]).unwrap();
        let code = [artifact.code.clone().unwrap().to_vec(), encoded].concat();
        let receipt = client.deploy(&dev(0), &code, Some(&artifact.abi)).await.unwrap();
        let contract = receipt.contract.unwrap();
        Self { chain, client, artifact, contract, _server: server }
    }

    async fn send(&self, from: usize, function: &str, given: &[&str]) -> Result<(), Error> {
        let given = strings(given);
        let method = self.artifact.function(function, given.len())?;
        let arguments = method.arguments(&given)?;
        let (from, values) = (dev(from), arguments.values());
        let calldata = if values.is_empty() {
            arguments.encode(&[], &[])?
        } else {
            let bound = (self.contract, from.address());
            let input = self.client.encrypt_input(cipher(), &values, bound, &from).await?;
            arguments.encode(&input.handles, &input.proof)?
        };
        self.client.send(&from, &Request::call(self.contract, calldata), Some(&self.artifact.abi)).await.map(|_| ())
    }

    async fn word(&self, signature: &str, given: &[&str]) -> B256 {
        let calldata = Method::parse(signature).unwrap().arguments(&strings(given)).unwrap().encode(&[], &[]).unwrap();
        let output = self.client.call(Address::ZERO, &Request::call(self.contract, calldata), None).await.unwrap();
        B256::from_slice(&output)
    }

    async fn held(&self, account: &str) -> Held {
        Held { handle: self.word("balanceOf(address)", &[account]).await, contract: self.contract }
    }

    fn lie(&self, lie: Lie) {
        self.chain.lock().unwrap().lie = lie;
    }
}

async fn token() -> Bench {
    Bench::new(TOKEN, &["Quiet Coin", "QUI"]).await
}

#[tokio::test]
async fn encrypted_amounts_are_minted_moved_and_read_by_their_owners() {
    let bench = token().await;
    bench.send(0, "mint", &["dev-0", "enc:1000", "proof"]).await.unwrap();
    bench.send(0, "transfer", &["dev-1", "enc:u64:300", "proof"]).await.unwrap();
    // More than there is: nothing moves.
    bench.send(1, "transfer", &["dev-2", "enc:301", "proof"]).await.unwrap();
    for (account, expected) in [(0, "700"), (1, "300"), (2, "0")] {
        let held = bench.held(&format!("dev-{account}")).await;
        let values = bench.client.user_decrypt(&dev(account), None, &[held]).await.unwrap();
        assert_eq!(values.iter().map(Value::text).collect::<Vec<_>>(), [expected], "dev-{account}");
        assert_eq!(values[0].kind(), FheType::Uint64);
    }
    let both = [bench.held("dev-0").await, bench.held("dev-1").await];
    let values = bench.client.user_decrypt(&dev(0), None, &both).await.unwrap();
    assert_eq!(values.iter().map(Value::text).collect::<Vec<_>>(), ["700", "300"], "one permit for several values");
}

#[tokio::test]
async fn values_of_every_type_keep_their_places_in_a_list() {
    let bench = token().await;
    let given = [
        "bool:true",
        "u8:200",
        "u16:40000",
        "u32:4000000000",
        "u64:18446744073709551615",
        "u128:340282366920938463463374607431768211455",
        "address:0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
        "u256:0x8000000000000000000000000000000000000000000000000000000000000001",
    ];
    let values: Vec<Value> = given.iter().map(|text| Value::parse(text).unwrap()).collect();
    let bound = (bench.contract, dev(0).address());
    let input = bench.client.encrypt_input(cipher(), &values, bound, &dev(3)).await.unwrap();
    assert_eq!(input.receipt.handles, input.handles, "the ParaTime names the values as the client does");
    let held: Vec<Held> = input.handles.iter().map(|h| Held { handle: *h, contract: bench.contract }).collect();
    assert_eq!(bench.client.user_decrypt(&dev(0), None, &held).await.unwrap(), values);
    let opened = bench.client.public_decrypt(&input.handles).await.unwrap();
    assert_eq!(opened.values, values);
    assert_eq!(opened.plaintexts.len(), 32 * values.len());
}

#[tokio::test]
async fn a_contract_takes_the_decryption_that_key_managers_signed_and_no_other() {
    let bench = Bench::new(AUCTION, &["5"]).await;
    bench.send(1, "bid", &["enc:700", "proof"]).await.unwrap();
    bench.send(2, "bid", &["enc:701", "proof"]).await.unwrap();
    let early = bench.send(0, "close", &[]).await.unwrap_err().to_string();
    assert_eq!(early, "the contract refuses: TooEarly()");
    for _ in 0..2 {
        bench.client.send(&dev(9), &Request::call(dev(8).address(), vec![]), None).await.unwrap();
    }
    bench.send(0, "close", &[]).await.unwrap();
    let handle = bench.word("leaderHandle()", &[]).await;
    let opened = bench.client.public_decrypt(&[handle]).await.unwrap();
    assert_eq!(opened.values[0].text(), dev(2).address().to_string());
    let proof = format!("0x{}", hex::encode(&opened.proof));
    let wrong = bench.send(0, "settle", &["dev-1", &proof]).await.unwrap_err().to_string();
    assert!(wrong.contains("KMSInvalidSigner"), "{wrong}");
    bench.send(0, "settle", &["dev-2", &proof]).await.unwrap();
    assert_eq!(Address::from_word(bench.word("winner()", &[]).await), dev(2).address());
}

#[tokio::test]
async fn an_input_is_of_no_use_to_another_caller() {
    let bench = token().await;
    let amount = [Value::parse("u64:5").unwrap()];
    let bound = (bench.contract, dev(1).address());
    let input = bench.client.encrypt_input(cipher(), &amount, bound, &dev(0)).await.unwrap();
    let mint = bench.artifact.function("mint", 3).unwrap();
    let given = strings(&["dev-0", "enc:5", "proof"]);
    let calldata = mint.arguments(&given).unwrap().encode(&input.handles, &input.proof).unwrap();
    let request = Request::call(bench.contract, calldata);
    let error = bench.client.send(&dev(0), &request, Some(&bench.artifact.abi)).await.unwrap_err().to_string();
    assert!(error.starts_with("the contract refuses: InvalidSigner(signer 0x"), "{error}");
}

#[tokio::test]
async fn a_transaction_that_fails_in_its_block_says_why() {
    let bench = token().await;
    let error = bench.send(1, "disclose", &[]).await.unwrap_err().to_string();
    let sender = dev(1).address();
    assert_eq!(error, format!("the contract refuses: NotTheOwner(sender {sender})"));
    // With a gas limit nobody looks beforehand, and it is executed.
    let disclose = bench.artifact.function("disclose", 0).unwrap().arguments(&[]).unwrap().encode(&[], &[]).unwrap();
    let request = Request { gas: Some(100_000), ..Request::call(bench.contract, disclose) };
    let error = bench.client.send(&dev(1), &request, Some(&bench.artifact.abi)).await.unwrap_err();
    assert!(matches!(&error, Error::Failed { reason, .. } if *reason == format!("NotTheOwner(sender {sender})")));
    let request = Request { to: TxKind::Call(dev(5).address()), value: U256::MAX, ..request };
    let error = bench.client.send(&dev(1), &Request { gas: None, ..request }, None).await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "more than the account has: {error}");
}

#[tokio::test]
async fn a_call_of_what_is_not_there_says_so() {
    let bench = token().await;
    let ask = async |to: Address, signature: &str| {
        let calldata = Method::parse(signature).unwrap().arguments(&[]).unwrap().encode(&[], &[]).unwrap();
        let request = Request::call(to, calldata);
        let called = bench.client.call(dev(0).address(), &request, None).await.map(|_| ());
        let sent = bench.client.send(&dev(0), &request, None).await.map(|_| ());
        (called, sent)
    };
    // To the EVM a call of nothing succeeds, and so does a transaction.
    let nowhere = Address::repeat_byte(0x4e);
    let (called, sent) = ask(nowhere, "name()").await;
    assert!(matches!(&called, Err(Error::NoContract(address)) if *address == nowhere), "{called:?}");
    assert!(called.unwrap_err().to_string().contains(&format!("no contract is deployed at {nowhere}")));
    assert!(sent.is_ok(), "wei may be sent with any data: {sent:?}");
    assert!(matches!(bench.client.require_contract(nowhere).await, Err(Error::NoContract(_))));
    bench.client.require_contract(bench.contract).await.unwrap();
    // A contract without this function.
    let (called, sent) = ask(bench.contract, "nmae()").await;
    for error in [called.unwrap_err().to_string(), sent.unwrap_err().to_string()] {
        let selector = format!("0x{}", hex::encode(&revm::primitives::keccak256("nmae()")[..4]));
        assert!(error.contains(&format!("does not know the selector {selector}")), "{error}");
    }
    // One that is there and returns nothing is no error.
    let (called, _) = ask(bench.contract, "disclose()").await;
    assert!(called.is_ok(), "{called:?}");
}

#[tokio::test]
async fn nothing_is_believed_that_the_right_key_managers_did_not_sign() {
    let bench = token().await;
    bench.send(0, "mint", &["dev-0", "enc:1000", "proof"]).await.unwrap();
    let held = bench.held("dev-0").await;
    let amounts = [Value::parse("u64:5").unwrap(), Value::parse("u64:6").unwrap()];
    let bound = (bench.contract, dev(0).address());
    // Attestations.
    for (lie, expected) in [(Lie::OtherKey, "signed as 0x"), (Lie::OtherValues, "it attests something else")] {
        bench.lie(lie);
        let error = bench.client.encrypt_input(cipher(), &amounts, bound, &dev(0)).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{lie:?}: {error}");
    }
    // Public decryptions: a changed value makes the signature somebody else's.
    for lie in [Lie::OtherKey, Lie::OtherValues] {
        bench.lie(lie);
        let error = bench.client.public_decrypt(&[held.handle]).await.unwrap_err();
        assert!(matches!(error, Error::OtherSigner { .. }), "{lie:?}: {error}");
    }
    // Decryptions for a user.
    bench.lie(Lie::None);
    bench.client.user_decrypt(&dev(0), None, &[held]).await.unwrap();
    for (lie, expected) in [
        (Lie::OtherKey, "did not sign it"),
        (Lie::OtherReader, "does not open"),
        (Lie::OtherValues, "digits"),
        (Lie::OldAnswer, "another permit"),
    ] {
        bench.lie(lie);
        let error = bench.client.user_decrypt(&dev(0), None, &[held]).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{lie:?}: {error}");
    }
}

#[tokio::test]
async fn what_cannot_be_encrypted_or_decrypted_is_said_before_anything_is_sent() {
    let bench = token().await;
    let bound = (bench.contract, dev(0).address());
    let other = Arc::new(ClearCipher::new(parallax_primitives::KeyId([5; 32]), 1));
    let one = [Value::parse("bool:true").unwrap()];
    let error = bench.client.encrypt_input(other, &one, bound, &dev(0)).await.unwrap_err();
    assert!(matches!(error, Error::OtherKey { .. }), "{error}");
    for values in [vec![], vec![Value::parse("u256:1").unwrap(); 9]] {
        let error = bench.client.encrypt_input(cipher(), &values, bound, &dev(0)).await.unwrap_err().to_string();
        assert!(error.contains("2048 bits"), "{error}");
    }
    let no_handle = Held { handle: B256::repeat_byte(0x99), contract: bench.contract };
    let error = bench.client.user_decrypt(&dev(0), None, &[no_handle]).await.unwrap_err().to_string();
    assert!(error.contains("no handle"), "{error}");
}
