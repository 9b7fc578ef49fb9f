//! One key manager for two ParaTimes: real ciphertexts of a contract, decrypted for everyone and for their owner, as
//! the rules of the access control list have it.

use crate::network::{Net, url};
use crate::turn;
use alloy_rlp::{Encodable as _, Header};
use parallax_evm::permit::{Pair, Permit, SignedPermit};
use parallax_evm::{decryption, host, signature};
use parallax_primitives::seal::OpeningKey;
use parallax_primitives::{Address, Digest, EthereumKey, ParaTimeId};
use parallax_rpc::types::Status;
use parallax_rpc::{Client, ErrorCode, Hex, KmsApiClient as _, ParaTimeApiClient as _, error_code};
use parallax_runtime::FheType;
use revm::primitives::{B256, U256, keccak256};
use serde_json::{Value as Json, json};
use std::time::{Duration, Instant};

/// How long the chain may take for a transaction on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);
const CHAIN_ID: u64 = 31_337;
/// What the published configuration of development chains names as verifying contract, and the chain that it is on.
const VERIFIER: &str = "0x5ffdaab0373e62e2ea2944776209aef29e631a64";
const GATEWAY: u64 = 10_901;
/// The first two keys of the development mnemonic.
const KEYS: [&str; 2] = [
    "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
    "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
];

fn key(n: usize) -> EthereumKey {
    EthereumKey::from_bytes(&hex::decode(KEYS[n]).unwrap().try_into().unwrap()).unwrap()
}

fn evm() -> ParaTimeId {
    ParaTimeId::named("evm")
}

fn list(fields: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Header { list: true, payload_length: fields.len() }.encode(&mut out);
    [out.as_slice(), fields].concat()
}

/// A transaction of the first development account, by EIP-1559.
fn transaction(nonce: u64, to: Option<&Address>, input: &[u8]) -> Vec<u8> {
    let mut fields = Vec::new();
    CHAIN_ID.encode(&mut fields);
    nonce.encode(&mut fields);
    1u64.encode(&mut fields);
    3_000_000_000u64.encode(&mut fields);
    5_000_000u64.encode(&mut fields);
    to.map_or(&[][..], |to| &to.0).encode(&mut fields);
    0u64.encode(&mut fields);
    input.encode(&mut fields);
    // No access list.
    fields.push(0xc0);
    let digest = keccak256([&[2], list(&fields).as_slice()].concat());
    let signed = key(0).sign(&digest.0).unwrap();
    (signed.0[64] - 27).encode(&mut fields);
    U256::from_be_slice(&signed.0[..32]).encode(&mut fields);
    U256::from_be_slice(&signed.0[32..64]).encode(&mut fields);
    [&[2], list(&fields).as_slice()].concat()
}

fn call(signature: &str, words: &[[u8; 32]]) -> Vec<u8> {
    [&keccak256(signature)[..4], words.concat().as_slice()].concat()
}

fn word(address: &Address) -> [u8; 32] {
    B256::left_padding_from(&address.0).0
}

/// Sends a transaction and waits for its receipt.
async fn sent(node: &Client, tx: Vec<u8>) -> Json {
    let hash = keccak256(&tx).to_string();
    node.submit(evm(), Hex(tx)).await.unwrap();
    let begun = Instant::now();
    loop {
        let receipt = node.query(evm(), "receipt".to_owned(), json!({ "hash": hash })).await.unwrap();
        if !receipt.is_null() {
            assert_eq!(receipt["status"], "0x1", "{receipt}");
            return receipt;
        }
        assert!(begun.elapsed() < PATIENCE, "transaction {hash} is in no block");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// What a contract's view returns.
async fn view(node: &Client, to: &Address, input: &[u8]) -> B256 {
    let call = json!([{ "to": to.to_string(), "input": format!("0x{}", hex::encode(input)) }, "latest"]);
    let answer = node.query(evm(), "eth_call".to_owned(), call).await.unwrap();
    answer["result"].as_str().unwrap_or_else(|| panic!("{answer}")).parse().unwrap()
}

/// Asks until the state that the key manager has proven is new enough. Whatever is no `NotFound` or `Denied` ends it.
async fn answered<T>(ask: impl AsyncFn() -> Result<T, jsonrpsee::core::client::Error>) -> T {
    let begun = Instant::now();
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) => {
                assert!(begun.elapsed() < PATIENCE, "{error}");
                let known =
                    matches!(error_code(&error), Some(ErrorCode::NotFound | ErrorCode::Denied | ErrorCode::NotReady));
                assert!(known, "{error}");
            }
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

#[test]
fn one_key_manager_of_two_paratimes_decrypts_for_contracts_and_for_users() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let (_net, shown) = Net::up_with(dir.path(), "scheduler,evm", &[]);
    let (node, kms) = (Client::new(&url(&shown, "compute-0")).unwrap(), Client::new(&url(&shown, "kms-0")).unwrap());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(purse(&node, &kms));
}

async fn purse(node: &Client, kms: &Client) {
    let status = parallax_rpc::KmsApiClient::status(kms).await.unwrap();
    assert_eq!(status.paratimes.len(), 2, "{status:?}");
    assert_ne!(status.paratimes[0].key_id, status.paratimes[1].key_id, "a key set for each");

    let alice = key(0).address();
    let code = hex::decode(include_str!("../../paratime/evm/contracts/Purse.hex").trim()).unwrap();
    let made = sent(node, transaction(0, None, &code)).await;
    let purse: Address = made["contract"].as_str().unwrap().parse().unwrap();
    let amount = U256::from(1_234).to_be_bytes();
    sent(node, transaction(1, Some(&purse), &call("mint(address,uint64)", &[word(&alice), amount]))).await;
    let handle = view(node, &purse, &call("balanceOf(address)", &[word(&alice)])).await;
    let asked = Digest(handle.0);

    // Nobody but its owner may know it yet.
    let begun = Instant::now();
    loop {
        let refused = kms.public_decrypt(evm(), vec![asked]).await.unwrap_err();
        match error_code(&refused) {
            Some(ErrorCode::Denied) => {
                assert!(refused.to_string().contains("make it publicly decryptable"), "{refused}");
                break;
            }
            other => assert!(begun.elapsed() < PATIENCE, "{other:?} {refused}"),
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let permit = |n: usize, start: u64| {
        let permit = Permit {
            public_key: OpeningKey::from_seed(&[3; 32]).1,
            contracts: vec![purse],
            delegator: None,
            start,
            days: 1,
            extra: vec![0],
        };
        let signature = key(n).sign(&permit.digest(CHAIN_ID, &VERIFIER.parse().unwrap()).0).unwrap();
        let pairs = vec![Pair { handle: asked, contract: purse }];
        SignedPermit { permit, user: key(n).address(), pairs, signature }
    };
    let Status { time_ms, chain_context, .. } = parallax_rpc::NodeApiClient::status(node).await.unwrap();
    let mine = permit(0, time_ms / 1_000);
    let answers = answered(async || kms.user_decrypt_for(evm(), mine.clone()).await).await;
    let managers = node.public_key(evm()).await.unwrap().managers;
    let opening = OpeningKey::from_seed(&[3; 32]).0;
    let blocks =
        parallax_kms::open_evm_answer(&opening, evm(), &mine, &mine.pairs[0], &answers, &managers, chain_context);
    assert_eq!(decryption::word(FheType::Uint64, &blocks.unwrap()), Some(B256::from(amount)));
    let again = kms.user_decrypt_for(evm(), mine.clone()).await.unwrap();
    assert_eq!(again, answers, "asked again, the same");
    let refused = kms.user_decrypt_for(evm(), permit(1, time_ms / 1_000)).await.unwrap_err();
    assert_eq!(error_code(&refused), Some(ErrorCode::Denied), "{refused}");
    assert!(refused.to_string().contains("may not use handle"), "{refused}");

    // Its owner shows it to everyone, in a form that contracts believe.
    sent(node, transaction(2, Some(&purse), &call("reveal()", &[]))).await;
    let shown = answered(async || kms.public_decrypt(evm(), vec![asked]).await).await;
    assert_eq!(
        (shown.values.as_slice(), shown.plaintexts.0.as_slice()),
        ([json!("1234")].as_slice(), amount.as_slice())
    );
    let contract: Address = VERIFIER.parse().unwrap();
    let verifier = host::Verifier { contract: contract.0.into(), chain_id: GATEWAY, signers: vec![], threshold: 1 };
    let digest = decryption::digest(&verifier, &[handle], &shown.plaintexts.0, &shown.extra.0);
    let signer = signature::signer(&digest, &shown.signature).unwrap();
    assert_eq!((Address(signer.into_array()), shown.signer), (status.signer, status.signer));

    // A ParaTime of another kind, and one that is not there.
    let refused = kms.public_decrypt(ParaTimeId::named("scheduler"), vec![asked]).await.unwrap_err();
    assert_eq!(error_code(&refused), Some(ErrorCode::Unsupported), "{refused}");
    let refused = kms.attest_input(ParaTimeId::named("nobody"), asked).await.unwrap_err();
    assert_eq!(error_code(&refused), Some(ErrorCode::UnknownParaTime), "{refused}");
    let refused = kms.attest_input(evm(), asked).await.unwrap_err();
    assert_eq!(error_code(&refused), Some(ErrorCode::NotFound), "no such transaction: {refused}");
}
