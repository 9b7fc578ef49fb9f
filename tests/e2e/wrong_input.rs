//! Wrong input over the wire: each gets an error that says what is wrong, and changes nothing.

use crate::network::{Net, url};
use crate::turn;
use parallax_consensus_app::tx::{Call, Transaction, TxBody};
use parallax_genesis::AccountKey;
use parallax_localnet::{ParaTimeKind, Plan};
use parallax_node::client::SchedulerClient;
use parallax_primitives::{Address, Amount, ChainContext, Digest, Domain, Gas, KeyId, Nonce};
use parallax_rpc::types::AccountView;
use parallax_rpc::{Client, ConsensusApiClient, NodeApiClient as _};
use parallax_scheduler::{Call as SchedulerCall, EncryptedList, Purpose, Report, TxBody as SchedulerTx};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const ROUND: Duration = Duration::from_secs(240);

#[test]
fn wrong_transactions_and_ciphertexts_are_refused_with_their_reason_and_change_nothing() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let (_net, shown) = Net::up(dir.path(), &[]);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let plan = Plan::load(&dir.path().join("net")).unwrap().unwrap();
        let keys: Vec<AccountKey> = plan.accounts.iter().take(3).map(|a| a.load().unwrap()).collect();
        consensus(&url(&shown, "validator-1"), &keys).await;
        telemetry(&url(&shown, "compute-0"), plan.keys(ParaTimeKind::Scheduler).unwrap(), &keys).await;
    });
}

fn refusal<T: std::fmt::Debug, E: std::fmt::Display>(result: Result<T, E>) -> String {
    result.expect_err("it must be refused").to_string()
}

async fn consensus(url: &str, keys: &[AccountKey]) {
    let rpc = Client::connect(url).await.unwrap();
    let chain = rpc.status().await.unwrap().chain_context;
    let (from, to) = (&keys[0], keys[1].address());
    let submit = |bytes: Vec<u8>| ConsensusApiClient::submit(&rpc, bytes.into());
    let balance = || async { rpc.account(from.address()).await.unwrap() };
    let before: AccountView = balance().await;
    let tx = |nonce: u64, amount: u128, chain: ChainContext, key: &AccountKey| {
        let call = Call::Transfer { to, amount: Amount(amount) };
        let body = TxBody { nonce: Nonce(nonce), fee: Amount(10_000), gas_limit: Gas(10_000), call };
        Transaction::sign(body, chain, &key.secret)
    };
    let good = tx(0, 1, chain, from).encode();

    let oversize = refusal(submit(vec![0; parallax_primitives::limits::MAX_TX_BYTES + 1]).await);
    assert!(oversize.contains("limit"), "{oversize}");
    let truncated = refusal(submit(good[..good.len() - 1].to_vec()).await);
    assert!(truncated.contains("truncated"), "{truncated}");
    let trailing = refusal(submit([&good[..], &[0]].concat()).await);
    assert!(trailing.contains("1 bytes after its end"), "{trailing}");
    let mut forged = good.clone();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    let forged = refusal(submit(forged).await);
    assert!(forged.contains("auth/4"), "{forged}");
    let elsewhere = ChainContext(Digest::of_bytes(Domain::Simulation, b"another chain"));
    let wrong_chain = refusal(submit(tx(0, 1, elsewhere, from).encode()).await);
    assert!(wrong_chain.contains("another chain"), "{wrong_chain}");
    let poor = AccountKey::generate();
    let unaffordable = refusal(submit(tx(0, 1, chain, &poor).encode()).await);
    assert!(unaffordable.contains("staking/1"), "{unaffordable}");
    assert_eq!(balance().await.balance, before.balance, "refused transactions cost nothing");

    let digest = submit(good.clone()).await.unwrap();
    parallax_node::client::wait_consensus(&rpc, digest, Duration::from_secs(60)).await.unwrap();
    let after = balance().await;
    assert_eq!((after.nonce, after.balance), (Nonce(1), Amount(before.balance.0 - 10_001)));
    let replayed = refusal(submit(good).await);
    assert!(replayed.contains("auth/5") && replayed.contains("nonce"), "{replayed}");
    assert_eq!(balance().await.balance, after.balance);
}

async fn register(client: &SchedulerClient, key: &AccountKey, name: &str) {
    let call = SchedulerCall::RegisterHost {
        name: name.to_owned(),
        organisation: "test".to_owned(),
        zone: 0,
        peer_id: vec![1],
    };
    client.wait(client.send(key, call).await.unwrap(), ROUND).await.unwrap();
}

/// The ParaTime's transactions, wrong as a whole.
async fn transactions(client: &SchedulerClient, key: &AccountKey, list: &EncryptedList) {
    let nonce = client.nonce(key.address()).await.unwrap();
    let balance = client.balance(key.address()).await.unwrap();
    let call = || SchedulerCall::ReportTelemetry(list.clone());
    let good = client.sign(key, nonce, call());
    let truncated = refusal(client.submit(good[..good.len() - 1].to_vec()).await);
    assert!(truncated.contains("truncated"), "{truncated}");
    let trailing = refusal(client.submit([&good[..], &[0]].concat()).await);
    assert!(trailing.contains("after its end"), "{trailing}");
    let mut forged = good.clone();
    *forged.last_mut().unwrap() ^= 1;
    let forged = refusal(client.submit(forged).await);
    assert!(forged.contains("the signature is not that of"), "{forged}");
    let elsewhere = SchedulerTx {
        chain: ChainContext(Digest::of_bytes(Domain::Simulation, b"another chain")),
        paratime: client.id(),
        nonce,
        gas_price: Amount(1),
        call: call(),
    };
    let wrong_chain = refusal(client.submit(elsewhere.sign(&key.secret)).await);
    assert!(wrong_chain.contains("signed for chain"), "{wrong_chain}");
    // The registration used nonce 0.
    let replayed = refusal(client.submit(client.sign(key, Nonce(0), call())).await);
    assert!(replayed.contains("nonce"), "{replayed}");
    let poor = AccountKey::generate();
    let transfer = SchedulerCall::Transfer { to: key.address(), amount: Amount(1) };
    let unaffordable = refusal(client.submit(client.sign(&poor, Nonce(0), transfer)).await);
    assert!(unaffordable.contains("add funds") || unaffordable.contains("needed"), "{unaffordable}");
    assert_eq!(client.balance(key.address()).await.unwrap(), balance, "refused transactions cost nothing");
}

async fn telemetry(url: &str, keys_dir: &Path, keys: &[AccountKey]) {
    let client = SchedulerClient::connect(url).await.unwrap();
    let (a, b) = (&keys[1], &keys[2]);
    register(&client, a, "a").await;
    register(&client, b, "b").await;
    let cipher = Arc::new(client.cipher(keys_dir).unwrap());
    let policies = client.params().policies.clone();
    let report = Report {
        cpu: 1,
        memory: 1,
        scores: policies.iter().map(|p| (*p, 0)).collect::<BTreeMap<_, _>>(),
        ..Report::default()
    };
    let digits = report.digits(&policies).unwrap();
    let list = client.encrypt(cipher, Purpose::Telemetry, a.address(), digits).await.unwrap();

    let submit = |key: AccountKey, list: EncryptedList| {
        let client = client.clone();
        async move {
            let nonce = client.nonce(key.address()).await.unwrap();
            let tx = client.sign(&key, nonce, SchedulerCall::ReportTelemetry(list));
            refusal(client.submit(tx).await)
        }
    };
    let other_key = submit(a.clone(), EncryptedList { key_id: KeyId([7; 32]), ..list.clone() }).await;
    assert!(other_key.contains("key") && other_key.contains("fetch the current public key"), "{other_key}");
    let copied = submit(b.clone(), list.clone()).await;
    assert!(copied.contains("proof of knowledge does not hold"), "a list copied from another sender: {copied}");
    let mut flipped = list.clone();
    let middle = flipped.bytes.len() / 2;
    flipped.bytes[middle] ^= 1;
    let flipped = submit(a.clone(), flipped).await;
    assert!(flipped.contains("proof of knowledge does not hold"), "a list that is not the one proven: {flipped}");
    let mut short = list.clone();
    short.bytes.truncate(middle);
    let short = submit(a.clone(), short).await;
    assert!(short.contains("conform"), "not conformant: {short}");
    let huge = submit(
        a.clone(),
        EncryptedList { bytes: vec![0; parallax_primitives::limits::MAX_PARATIME_TX_BYTES], ..list.clone() },
    )
    .await;
    assert!(huge.contains("limit"), "{huge}");
    let replay = EncryptedList { epoch: parallax_primitives::Epoch(list.epoch.0 + 5), ..list.clone() };
    let wrong_epoch = submit(a.clone(), replay).await;
    assert!(wrong_epoch.contains("epoch"), "{wrong_epoch}");

    transactions(&client, a, &list).await;

    let hosts = client.hosts().await.unwrap();
    let reports: Vec<(Address, bool)> = hosts.iter().map(|h| (h.address, h.report.is_some())).collect();
    assert_eq!(reports.len(), 2);
    assert!(reports.iter().all(|(_, reported)| !reported), "no refused report left a trace: {reports:?}");

    // The very list that was refused in all those forms is taken from its sender.
    let digest = client.send(a, SchedulerCall::ReportTelemetry(list)).await.unwrap();
    client.wait(digest, ROUND).await.unwrap();
    let hosts = client.hosts().await.unwrap();
    assert!(hosts.iter().any(|h| h.address == a.address() && h.report.is_some_and(|r| r.number == 1)));
}
