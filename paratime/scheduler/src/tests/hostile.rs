//! What is refused: with which code, at admission and in a batch, and that nothing changes but nonce and fee.

use super::network::{CHAIN, FUNDS, KEY, Net, address, client, paratime};
use crate::error::Code;
use crate::model::{MAX_REPLICAS, Policy, Replication, Spread};
use crate::tx::{Call, EncryptedList, Purpose, Transaction, TxBody, metadata};
use crate::{Request, job_id};
use parallax_clear::ClearCipher;
use parallax_primitives::limits::MAX_PARATIME_TX_BYTES;
use parallax_primitives::{
    Amount, ChainContext, Digest, Epoch, Gas, KeyId, Nonce, ParaTimeId, SecretKey, decode, encode,
};
use parallax_runtime::decryption::{Payload, SignedAnswer};
use parallax_runtime::{Abort, ClientCipher, ParaTime, gas};

/// Admission's code for a transaction, the encrypted inputs checked.
fn admission(net: &Net, tx: &[u8]) -> Option<u32> {
    net.scheduler.check_tx(&net.state, &CHAIN, tx, Some(&net.backend)).err().map(|e| {
        assert_eq!(e.module, "scheduler");
        assert!(!e.message.is_empty());
        e.code
    })
}

/// Refused at admission, and voids a batch.
pub(super) fn void(net: &Net, tx: &[u8], code: Code) {
    assert_eq!(admission(net, tx), Some(code as u32), "{code:?}");
    let done = net.scheduler.execute(&net.state, &net.context(), &[tx.to_vec()], &net.backend, &|| false);
    assert!(matches!(done, Err(Abort::InvalidBatch(_))), "{code:?}: {done:?}");
}

/// Refused at admission and in a batch, where it costs its sender `gas` and its nonce if that is not zero, and where an
/// honest transaction beside it goes through.
pub(super) fn refused(net: &mut Net, sender: &SecretKey, tx: Vec<u8>, code: Code, gas: u64) {
    assert_eq!(admission(net, &tx), Some(code as u32), "{code:?}");
    let before = net.account(sender);
    let honest = net.tx(&client(70), Call::Transfer { to: address(&client(71)), amount: Amount(1) });
    let done = net.run(&[tx, honest]);
    let error = done.results[0].outcome.as_ref().expect_err("it is refused");
    assert_eq!((error.code, done.results[0].gas.0), (code as u32, gas), "{error}");
    assert!(done.results[1].outcome.is_ok());
    assert_eq!(done.events.len(), 1, "the refused one emits nothing");
    let after = net.account(sender);
    assert_eq!(before.balance.0 - after.balance.0, u128::from(gas));
    assert_eq!(after.nonce.0 - before.nonce.0, u64::from(gas > 0));
    if gas == 0 {
        net.rewind(sender);
    }
}

fn transfer() -> Call {
    Call::Transfer { to: address(&client(1)), amount: Amount(5) }
}

#[test]
fn bytes_that_are_no_transaction_void_a_batch() {
    let mut net = Net::new(|_| ());
    let good = net.tx(&client(0), transfer());
    assert_eq!(admission(&net, &good), None);
    void(&net, &vec![0; MAX_PARATIME_TX_BYTES + 1], Code::TooLarge);
    void(&net, &good[..good.len() - 1], Code::Malformed);
    void(&net, &[], Code::Malformed);
    void(&net, &[good.clone(), vec![0]].concat(), Code::TrailingBytes);
    let mut unknown_version = good;
    unknown_version[0] = 9;
    void(&net, &unknown_version, Code::Malformed);
}

#[test]
fn a_signature_counts_for_its_chain_paratime_and_content_only() {
    let mut net = Net::new(|_| ());
    let key = client(0);
    let body = net.body(&key, transfer());
    let chain = ChainContext(Digest([2; 32]));
    void(&net, &TxBody { chain, ..body.clone() }.sign(&key), Code::WrongChain);
    let other = ParaTimeId::named("evm");
    void(&net, &TxBody { paratime: other, ..body.clone() }.sign(&key), Code::WrongParaTime);
    let good = body.sign(&key);
    let Transaction::V1(mut tx) = decode("tx", &good, good.len()).expect("it is one");
    // Signed for another chain, then relabelled.
    tx.body.nonce = Nonce(7);
    void(&net, &encode(&Transaction::V1(tx.clone())), Code::BadSignature);
    tx.body.nonce = Nonce(0);
    tx.key = client(1).public();
    void(&net, &encode(&Transaction::V1(tx)), Code::BadSignature);
    let empty = Call::RegisterHost { name: String::new(), organisation: "o".into(), zone: 0, peer_id: vec![1] };
    let empty = net.tx(&key, empty);
    void(&net, &empty, Code::BadField);
}

#[test]
fn nonces_and_money_are_checked_before_anything_is_charged() {
    let mut net = Net::new(|_| ());
    let key = client(0);
    let first = net.tx(&key, transfer());
    net.run_ok(std::slice::from_ref(&first));
    net.body(&key, transfer());
    refused(&mut net, &key, first, Code::NonceUsed, 0);
    let mut body = net.body(&key, transfer());
    body.nonce = Nonce(1_000);
    refused(&mut net, &key, body.sign(&key), Code::NonceAhead, 0);
    let mut body = net.body(&key, transfer());
    body.gas_price = Amount::ZERO;
    refused(&mut net, &key, body.sign(&key), Code::GasPriceTooLow, 0);
    let mut body = net.body(&key, transfer());
    body.gas_price = Amount(u128::MAX);
    refused(&mut net, &key, body.sign(&key), Code::Unaffordable, 0);
    let too_much = net.tx(&key, Call::Transfer { to: address(&client(1)), amount: Amount(FUNDS) });
    refused(&mut net, &key, too_much, Code::Unaffordable, 0);
    let poor = SecretKey::from_seed([250; 32]);
    let wish = Request::default();
    let job = net.job(&poor, &wish, 0);
    refused(&mut net, &poor, job, Code::Unaffordable, 0);
}

const ONE: Replication = Replication { count: 1, spread: Spread::None, gang: false };

fn job_call(list: EncryptedList) -> Call {
    Call::SubmitJob { request: list, policy: Policy::Pack, tier: 0, replication: ONE, image: None }
}

#[test]
fn an_encrypted_input_counts_for_its_sender_key_epoch_and_purpose_only() {
    let (mut net, _, _) = Net::with_sample(|_| ());
    let (host, thief) = (client(0), client(1));
    let digits = [0; 12];
    let own = net.list(&host, Purpose::Telemetry, &digits);
    let (base, proven) = (gas::TRANSACTION, gas::TRANSACTION + gas::PROOF);
    // Copied from another sender.
    let tx = net.tx(&thief, Call::ReportTelemetry(own.clone()));
    refused(&mut net, &thief, tx, Code::BadProof, proven);
    // A report passed off as a request, and the other way round.
    let tx =
        net.tx(&host, job_call(EncryptedList { bytes: net_list(&net, &host, Purpose::Telemetry, 10), ..own.clone() }));
    refused(&mut net, &host, tx, Code::BadProof, proven);
    let tx = net.tx(&host, Call::ReportTelemetry(net.list(&host, Purpose::Job, &digits)));
    refused(&mut net, &host, tx, Code::BadProof, proven);
    // A false proof: the last byte belongs to it.
    let mut forged = own.clone();
    if let Some(last) = forged.bytes.last_mut() {
        *last ^= 1;
    }
    let tx = net.tx(&host, Call::ReportTelemetry(forged));
    refused(&mut net, &host, tx, Code::BadProof, proven);
    // Too few digits, cut bytes, too many bytes.
    let tx = net.tx(&host, Call::ReportTelemetry(net.list(&host, Purpose::Telemetry, &digits[..11])));
    refused(&mut net, &host, tx, Code::NotConformant, proven);
    let cut = EncryptedList { bytes: own.bytes[..40].to_vec(), ..own.clone() };
    let tx = net.tx(&host, Call::ReportTelemetry(cut));
    refused(&mut net, &host, tx, Code::NotConformant, proven);
    let huge = EncryptedList { bytes: vec![0; 100_000], ..own.clone() };
    let tx = net.tx(&host, Call::ReportTelemetry(huge));
    refused(&mut net, &host, tx, Code::NotConformant, proven);
    // Another key, said so or not.
    let other = KeyId([9; 32]);
    let tx = net.tx(&host, Call::ReportTelemetry(EncryptedList { key_id: other, ..own.clone() }));
    refused(&mut net, &host, tx, Code::UnknownKey, base);
    let bound = metadata(CHAIN, paratime(), Purpose::Telemetry, address(&host), KEY, net.epoch);
    let foreign = ClearCipher::new(other, 0).encrypt(&digits, &bound).expect("digits are in range");
    let tx = net.tx(&host, Call::ReportTelemetry(EncryptedList { bytes: foreign, ..own.clone() }));
    refused(&mut net, &host, tx, Code::UnknownKey, proven);
    // An old list: two epochs on it is void, and relabelled its proof does not hold.
    net.epoch = Epoch(net.epoch.0 + 2);
    net.run(&[]);
    let tx = net.tx(&host, Call::ReportTelemetry(own.clone()));
    refused(&mut net, &host, tx, Code::WrongEpoch, base);
    let tx = net.tx(&host, Call::ReportTelemetry(EncryptedList { epoch: net.epoch, ..own }));
    refused(&mut net, &host, tx, Code::BadProof, proven);
}

fn net_list(net: &Net, sender: &SecretKey, purpose: Purpose, digits: usize) -> Vec<u8> {
    net.list(sender, purpose, &vec![0; digits]).bytes
}

#[test]
fn admission_takes_epochs_that_its_state_may_not_have_seen_and_no_later_ones() {
    let (mut net, _, _) = Net::with_sample(|_| ());
    // No round was executed in the epoch before the current one: the state still shows the one before that.
    let shown = net.epoch;
    for (ahead, code) in [(1, None), (2, None), (3, Some(Code::WrongEpoch as u32))] {
        net.epoch = Epoch(shown.0 + ahead);
        let tx = net.tx(&client(0), Call::ReportTelemetry(net.list(&client(0), Purpose::Telemetry, &[0; 12])));
        assert_eq!(admission(&net, &tx), code, "{ahead} epochs ahead of the last executed round");
        net.rewind(&client(0));
        if code.is_none() {
            let mut early = net.context();
            early.epoch = shown;
            let done = net.scheduler.execute(&net.state, &early, std::slice::from_ref(&tx), &net.backend, &|| false);
            let results = done.expect("it is executed").results;
            assert_eq!(results[0].outcome.as_ref().err().map(|e| e.code), Some(Code::WrongEpoch as u32), "too early");
        }
    }
}

#[test]
fn the_previous_epoch_is_still_accepted() {
    let (mut net, _, _) = Net::with_sample(|_| ());
    let list = net.list(&client(0), Purpose::Telemetry, &[0; 12]);
    net.epoch = net.epoch.next();
    let tx = net.tx(&client(0), Call::ReportTelemetry(list));
    assert_eq!(admission(&net, &tx), None);
    net.run_ok(&[tx]);
}

#[test]
fn registration_policy_tier_and_limits_are_checked() {
    let (mut net, _, _) = Net::with_sample(|p| {
        p.max_hosts = 4;
        p.max_pending_jobs = 1;
        p.candidates_per_decision = 5;
        p.max_decision_gas = Gas(200_000);
    });
    let base = gas::TRANSACTION;
    let tx = net.register(&client(0), "again");
    refused(&mut net, &client(0), tx, Code::HostExists, base);
    let tx = net.register(&client(9), "one too many");
    refused(&mut net, &client(9), tx, Code::Full, base);
    let stranger = client(9);
    let tx = net.tx(&stranger, Call::ReportTelemetry(net.list(&stranger, Purpose::Telemetry, &[0; 12])));
    refused(&mut net, &stranger, tx, Code::NotAHost, base);
    let list = net.list(&stranger, Purpose::Job, &[0; 10]);
    for policy in [Policy::Spread, Policy::Cost, Policy::PriorityRoundRobin] {
        let tx = net
            .tx(&stranger, Call::SubmitJob { request: list.clone(), policy, tier: 0, replication: ONE, image: None });
        refused(&mut net, &stranger, tx, Code::PolicyNotEnabled, base);
    }
    let tx = net
        .tx(&stranger, Call::SubmitJob { request: list, policy: Policy::Pack, tier: 3, replication: ONE, image: None });
    refused(&mut net, &stranger, tx, Code::BadField, base);
    let call = |net: &Net, count, gang| Call::SubmitJob {
        request: net.list(&stranger, Purpose::Job, &[0; 10]),
        policy: Policy::Pack,
        tier: 0,
        replication: Replication { count, spread: Spread::None, gang },
        image: None,
    };
    for count in [0, MAX_REPLICAS + 1] {
        let body = net.body(&stranger, call(&net, count, false));
        net.rewind(&stranger);
        void(&net, &body.sign(&stranger), Code::BadField);
    }
    // More decisions than a round has gas for, and a gang of more than there are candidates: they would never end.
    let tx = net.tx(&stranger, call(&net, MAX_REPLICAS, false));
    refused(&mut net, &stranger, tx, Code::BadField, base);
    let tx = net.tx(&stranger, call(&net, 6, true));
    refused(&mut net, &stranger, tx, Code::BadField, base);
    let job = net.job(&client(10), &Request::default(), 0);
    net.run_ok(&[job]);
    let context = net.context();
    let tx = net.job(&client(11), &Request::default(), 0);
    let check = net.scheduler.check_tx(&net.state, &context.chain, &tx, None);
    assert_eq!(check.expect_err("the queue is full").code, Code::Full as u32);
}

#[test]
fn only_the_key_managers_own_answer_moves_a_job() {
    let (mut net, _, _) = Net::with_sample(|_| ());
    let job = net.job(&client(10), &Request { latency: 15, ..Request::default() }, 0);
    net.run_ok(&[job]);
    net.run(&[]);
    let id = job_id(CHAIN, paratime(), address(&client(10)), 0);
    let placed = net.job_record(&id).decision.expect("it was decided").placed;
    let good = net.answer(&placed);
    let relay = net.managers[0].clone();
    let attempt = |net: &mut Net, answers: Vec<SignedAnswer>, code: Code| {
        let tx = net.tx(&relay, Call::DeliverAnswer { answers });
        refused(net, &relay, tx, code, 0);
        assert_eq!(net.job_record(&id).status.name(), "decided");
    };
    let sign = |answer, key: &SecretKey| SignedAnswer::sign(answer, CHAIN, key);
    let manager = net.managers[0].clone();
    attempt(&mut net, vec![sign(good.answer.clone(), &client(5))], Code::BadAnswer);
    let mut other = good.answer.clone();
    other.payload = Payload::Public(vec![0]);
    attempt(&mut net, vec![SignedAnswer { answer: other, ..good.clone() }], Code::BadAnswer);
    let mut other = good.answer.clone();
    other.payload = Payload::Public(vec![2]);
    attempt(&mut net, vec![sign(other, &manager)], Code::BadAnswer);
    let mut other = good.answer.clone();
    other.epoch = Epoch(2);
    attempt(&mut net, vec![sign(other, &manager)], Code::BadAnswer);
    let mut other = good.answer.clone();
    other.request = Digest([1; 32]);
    attempt(&mut net, vec![sign(other, &manager)], Code::BadAnswer);
    let mut other = good.answer.clone();
    other.cipher = Digest([1; 32]);
    attempt(&mut net, vec![sign(other, &manager)], Code::UnknownDecryption);
    attempt(&mut net, vec![good.clone(), good.clone()], Code::BadAnswer);
    // From another account even the good one does not get into the pool.
    let copy = net.tx(&client(30), Call::DeliverAnswer { answers: vec![good.clone()] });
    assert_eq!(admission(&net, &copy), Some(Code::NotAKeyManager as u32));
    // From the key manager's, which has no tokens, it does, and a gas price buys it no place; a second delivery finds
    // nothing waiting.
    let body = net.body(&relay, Call::DeliverAnswer { answers: vec![good.clone()] });
    let tx = TxBody { gas_price: Amount(u128::MAX), ..body }.sign(&relay);
    let info = net.scheduler.check_tx(&net.state, &CHAIN, &tx, None).expect("it is admitted");
    assert_eq!(info.priority, 0);
    net.run_ok(&[tx]);
    assert_eq!(net.account(&relay).balance, Amount::ZERO, "and it costs nothing");
    assert_eq!(net.job_record(&id).status.name(), "placed");
    let tx = net.tx(&relay, Call::DeliverAnswer { answers: vec![good] });
    refused(&mut net, &relay, tx, Code::UnknownDecryption, 0);
}
