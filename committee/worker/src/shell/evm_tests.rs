//! A committee that executes Ethereum transactions: two workers and three backups, each with a backend of its own.

use super::testing::*;
use super::wallet::{Unsigned, Wallet};
use super::*;
use crate::fault::FaultKind;
use parallax_clear::ClearDecryptor;
use parallax_evm::EvmParaTime;
use parallax_evm::params::{Genesis, Params, Signers};
use parallax_primitives::{Address, Epoch, Gas};
use parallax_rounds::{BlockKind, Effect, Resolution};
use parallax_runtime::decryption::KeyManagers;
use parallax_runtime::{Decryptor, Divergence, ParaTime};
use parallax_state::{Changes, Namespace, StateView, Value};
use revm::primitives::{Address as Account, B256, TxKind, U256, hex, keccak256};
use serde_json::json;

const PURSE: &str = include_str!("../../../../paratime/evm/contracts/Purse.hex");
/// Where the first account's first contract lies.
const CONTRACT: &str = "5fbdb2315678afecb367f032d93f642f64180aa3";
/// Accounts that have something minted in each round.
const ACCOUNTS: usize = 3;

/// The EVM with its genesis.
fn evm() -> (EvmParaTime, Changes) {
    let managers = KeyManagers { parties: vec![key(9).public()], threshold: 0, epoch: Epoch(0) };
    let signer = Address(Wallet::seeded(71).address().into_array());
    let signers = Signers { contract: Address([0x81; 20]), chain_id: 10_901, signers: vec![signer], threshold: 1 };
    let params = Params::localnet(managers, signers.clone(), signers);
    let genesis = serde_json::to_value(Genesis::localnet(params)).unwrap();
    let evm = EvmParaTime::new(paratime());
    let changes = evm.init_genesis(&genesis).unwrap();
    (evm, changes)
}

fn sent(from: usize, nonce: u64, to: TxKind, input: Vec<u8>) -> Vec<u8> {
    Wallet::development(from).transaction(&Unsigned {
        kind: 2,
        chain_id: Some(31_337),
        nonce,
        max_priority_fee: 1,
        max_fee: 3_000_000_000,
        gas_limit: 5_000_000,
        to,
        value: U256::ZERO,
        input: input.into(),
    })
}

/// Each account mints an amount for itself.
fn mints(nonces: [u64; ACCOUNTS]) -> Vec<Vec<u8>> {
    let to = TxKind::Call(CONTRACT.parse().unwrap());
    let mint = |(n, nonce): (usize, u64)| {
        let (owner, amount) = (Wallet::development(n).address().into_word(), B256::from(U256::from(100 + n)));
        let data = [&keccak256("mint(address,uint64)")[..4], owner.as_slice(), amount.as_slice()].concat();
        sent(n, nonce, to, data)
    };
    nonces.into_iter().enumerate().map(mint).collect()
}

/// The number behind an account's balance at a node.
fn balance(network: &Network, node: usize, owner: Account) -> u64 {
    let database = Database::open(Arc::new(network.nodes[node].store.clone())).unwrap();
    let view = database.tree(Namespace::ParaTime(paratime())).latest_snapshot().unwrap();
    let data = [&keccak256("balanceOf(address)")[..4], owner.into_word().as_slice()].concat();
    let call = json!({ "to": format!("0x{CONTRACT}"), "input": hex::encode_prefixed(data) });
    let answer = evm().0.query(&view, "eth_call", &json!([call, "latest"])).unwrap();
    let handle: B256 = answer["result"].as_str().unwrap_or_else(|| panic!("{answer}")).parse().unwrap();
    let Some(Value::Cipher(cipher)) = view.get(&parallax_evm::state::cipher_key(&handle)).unwrap() else {
        panic!("node {node} has no ciphertext under {handle}")
    };
    let bytes = view.blob(&cipher.digest).unwrap().expect("its bytes are kept");
    let digits = ClearDecryptor::new(KEY).decrypt(&bytes, cipher.blocks).unwrap();
    digits.iter().rev().fold(0, |n, digit| (n << 2) | u64::from(*digit))
}

/// Runs the rounds with one worker that gets one operation wrong; the network, how the disputed round ended, and what
/// the backups recorded of it.
async fn disputed(liar: usize, resolution: Resolution) -> (Network, BlockKind, Vec<Divergence>) {
    let (evm, genesis) = evm();
    // Each account's first mint makes one program, and so does its second: the fault is in the second of those.
    let fault = FaultKind::FlipBit { skip: ACCOUNTS as u32 + 1 }.into();
    let room = Gas(u64::MAX / 1_000);
    let mut network = Network::starting_with(&genesis, &[(liar, fault)], Some(Arc::new(evm)), resolution, room);
    let deploy = vec![sent(0, 0, TxKind::Create, hex::decode(PURSE.trim()).unwrap())];
    for batch in [deploy, mints([1, 0, 0]), mints([2, 1, 1])] {
        for tx in &batch {
            network.submit(tx);
        }
        network.until_pools_are_empty().await;
    }
    let (round, proposal, kind) = {
        let chain = lock(&network.chain);
        let disputes: Vec<Digest> = chain.effects.iter().filter_map(dispute).collect();
        let [proposal] = disputes[..] else { panic!("one dispute, not {}", disputes.len()) };
        let votes = chain.signed.iter().find(|((_, of), _)| *of == proposal).map(|(_, votes)| votes);
        let round = votes.unwrap()[0].commitment.round;
        (round, proposal, chain.blocks[&round].kind)
    };
    let mut records = Vec::new();
    for _ in 0..500 {
        records = (2..5).filter_map(|n| network.results(n).divergence(round, &proposal).unwrap()).collect();
        let found = records.iter().flat_map(|record: &Divergence| &record.found);
        if !records.is_empty() && found.into_iter().all(|found| found.leaf.is_some()) {
            break;
        }
        network.tick().await;
    }
    (network, kind, records)
}

fn dispute(effect: &Effect) -> Option<Digest> {
    match effect {
        Effect::Discrepancy { proposal, .. } => Some(*proposal),
        _ => None,
    }
}

#[tokio::test]
async fn one_wrong_result_of_an_encrypted_addition_is_found_named_and_outvoted() {
    for (liar, resolution) in [(0, Resolution::Full), (1, Resolution::Full), (0, Resolution::Resume)] {
        let (network, kind, records) = disputed(liar, resolution).await;
        let slashed = lock(&network.chain).slashed();
        assert_eq!(slashed, [key(liar).public()], "the one that was wrong, and nobody else");
        // A liar whose turn it was fails its round; then the batch is executed in the next one.
        assert!(matches!(kind, BlockKind::Normal | BlockKind::RoundFailed), "{kind:?}");
        for node in 0..5 {
            for n in 0..ACCOUNTS {
                let owner = Wallet::development(n).address();
                let found = balance(&network, node, owner);
                assert_eq!(found, 2 * (100 + n as u64), "node {node}, liar {liar}");
            }
        }
        assert!(!records.is_empty(), "a backup kept who said what");
        for record in &records {
            assert_eq!(record.verify(), Ok(()));
            assert_eq!(record.found.len(), 2, "two workers, two results");
            let [a, b] = [&record.found[0], &record.found[1]].map(|f| &f.leaf.as_ref().unwrap().leaf);
            assert!(a.opcode.starts_with("integer.add"), "the operation has its name: {}", a.opcode);
            assert_eq!((&a.opcode, &a.inputs), (&b.opcode, &b.inputs), "only what came out differs");
            assert_ne!(a.output, b.output);
        }
    }
}
