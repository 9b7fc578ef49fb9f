//! Audits over rounds: who is drawn, what a verdict does, who pays, and what nobody can make up.

use super::hostile::refused;
use super::network::{CHAIN, Net, address, client, paratime};
use crate::audit::state::standing;
use crate::audit::{AuditRules, Capacity, HostAudit, score};
use crate::cluster::{Machine, Models};
use crate::error::Code;
use crate::openb::Node;
use crate::records::{Host, get};
use crate::tx::{Call, Purpose};
use crate::{Policy, Report, Request, job_id, keys};
use parallax_primitives::{Amount, Digest, SecretKey};
use parallax_runtime::decryption::{Payload, SignedAnswer};
use parallax_runtime::{Execution, ParaTime, access, gas};
use parallax_state::{CipherRef, StateView, Value};
use proptest::prelude::*;
use std::collections::BTreeMap;

const TREASURY: u8 = 60;
const PENALTY: u128 = 400;
const CAPACITY: Capacity = Capacity { cpu: 64, memory: 32, gpus: 4 };

/// A cluster that audits in every second round.
fn audited(adjust: impl FnOnce(&mut AuditRules)) -> Net {
    let treasury = address(&client(TREASURY));
    let mut rules = AuditRules { per_round: 4, interval_rounds: 2, penalty: Amount(PENALTY), treasury };
    adjust(&mut rules);
    Net::new(|p| {
        p.policies = vec![Policy::Pack];
        p.audits = Some(rules);
    })
}

fn capacity_tx(net: &mut Net, host: &SecretKey, capacity: &Capacity, price: u8) -> Vec<u8> {
    let capacity = net.list(host, Purpose::Capacity, &capacity.digits().expect("in range"));
    net.tx(host, Call::RegisterCapacity { capacity, price })
}

/// A report that follows from the capacity, with `off` added to its score.
fn report(capacity: &Capacity, off: u8) -> Report {
    let mut report = Report {
        cpu: capacity.cpu / 2,
        memory: capacity.memory / 3,
        gpus: capacity.gpus / 2,
        share: if capacity.gpus > 0 { 100 } else { 0 },
        labels: 255,
        latency: 1,
        scores: BTreeMap::new(),
    };
    let right = score(Policy::Pack, &report, capacity, 0).expect("PACK has a score");
    report.scores.insert(Policy::Pack, right.wrapping_add(off));
    report
}

/// Registers `count` hosts with a capacity, clients 0 and on.
fn hosts(net: &mut Net, count: u8) {
    let batch: Vec<Vec<u8>> = (0..count).map(|n| net.register(&client(n), "host")).collect();
    net.run_ok(&batch);
    let batch: Vec<Vec<u8>> = (0..count).map(|n| capacity_tx(net, &client(n), &CAPACITY, 7)).collect();
    net.run_ok(&batch);
}

fn of(net: &Net, n: u8) -> HostAudit {
    standing(&net.state, &address(&client(n))).expect("readable")
}

fn host(net: &Net, n: u8) -> Host {
    get(&net.state, &keys::host(&address(&client(n)))).expect("readable").expect("it is registered")
}

fn names(done: &Execution) -> Vec<&str> {
    done.events.iter().map(|e| e.name.as_str()).collect()
}

/// The verdicts that wait.
fn waiting(net: &Net) -> Vec<CipherRef> {
    let granted = net.state.scan(access::PUBLIC_PREFIX).expect("readable");
    let read = |(_, value): (Vec<u8>, Value)| match value {
        Value::Plain(bytes) => borsh::from_slice::<access::Grant>(&bytes).expect("a grant").cipher,
        Value::Cipher(_) => panic!("a grant is no ciphertext"),
    };
    granted.into_iter().map(read).collect()
}

/// Runs rounds until one audits, and delivers its verdicts in the next.
fn audit(net: &mut Net) -> (Execution, Execution) {
    let drawn = loop {
        let done = net.run(&[]);
        if names(&done).contains(&"scheduler.report_audited") || net.round.is_multiple_of(2) {
            break done;
        }
    };
    let batch: Vec<Vec<u8>> = waiting(net)
        .iter()
        .map(|cipher| {
            let answers = vec![net.answer(cipher)];
            net.tx(&client(79), Call::DeliverAnswer { answers })
        })
        .collect();
    (drawn, net.run_ok(&batch))
}

#[test]
fn an_honest_report_is_audited_once_at_the_treasurys_cost_and_its_host_keeps_everything() {
    let mut net = audited(|_| ());
    hosts(&mut net, 2);
    let batch: Vec<Vec<u8>> = (0..2).map(|n| net.report(&client(n), &report(&CAPACITY, 0))).collect();
    net.run_ok(&batch);
    let before = net.account(&client(TREASURY)).balance.0;
    let (drawn, verdicts) = audit(&mut net);
    assert_eq!(names(&drawn), ["scheduler.report_audited"; 2]);
    assert_eq!(names(&verdicts), ["scheduler.report_consistent"; 2]);
    let cost = crate::audit::circuit::audit_program(&[Policy::Pack], 7).expect("it builds").gas().0;
    assert_eq!(drawn.gas.0, 2 * cost);
    assert_eq!(before - net.account(&client(TREASURY)).balance.0, u128::from(2 * cost), "one unit of gas costs 1");
    for n in 0..2 {
        let standing = of(&net, n);
        assert_eq!((standing.audits, standing.false_reports, standing.pending), (1, 0, None));
        assert_eq!(host(&net, n).stake, net.params().host_stake);
    }
    let (drawn, _) = audit(&mut net);
    assert!(drawn.events.is_empty(), "a report is drawn once");
    let again = net.report(&client(1), &report(&CAPACITY, 0));
    net.run_ok(&[again]);
    let (drawn, _) = audit(&mut net);
    assert_eq!((drawn.events.len(), of(&net, 1).audits), (1, 2));
}

#[test]
fn a_false_report_is_slashed_shown_and_no_candidate_until_the_next() {
    let mut net = audited(|_| ());
    hosts(&mut net, 2);
    // Host 0 makes itself look fuller than it is, which PACK prefers.
    let batch = [net.report(&client(0), &report(&CAPACITY, 255)), net.report(&client(1), &report(&CAPACITY, 0))];
    net.run_ok(&batch);
    let before = net.account(&client(TREASURY)).balance.0;
    let (drawn, verdicts) = audit(&mut net);
    let mut told = names(&verdicts);
    told.sort_unstable();
    assert_eq!(told, ["scheduler.report_consistent", "scheduler.report_false"]);
    let stake = net.params().host_stake.0;
    assert_eq!((host(&net, 0).stake.0, host(&net, 1).stake.0), (stake - PENALTY, stake));
    let standing = of(&net, 0);
    assert_eq!((standing.audits, standing.false_reports, standing.slashed.0), (1, 1, PENALTY));
    assert_eq!(net.account(&client(TREASURY)).balance.0, before - u128::from(drawn.gas.0) + PENALTY);
    let shown = net.scheduler.query(&net.state, "host", &serde_json::json!({ "address": address(&client(0)) }));
    assert_eq!(shown.expect("it is public")["audits"]["false_reports"], 1);
    // Its report counts no more.
    let wish = Request { latency: 15, ..Request::default() };
    let job = net.job(&client(20), &wish, 0);
    net.run_ok(&[job]);
    net.run(&[]);
    let id = job_id(CHAIN, paratime(), address(&client(20)), 0);
    let candidates = net.job_record(&id).decision.expect("it was decided").candidates;
    assert_eq!(candidates.iter().map(|c| c.host).collect::<Vec<_>>(), [address(&client(1))]);
    net.answer_decided();
    // Lies go on until the stake is used up; then it reports no more.
    let mut lies = 1;
    while host(&net, 0).stake > Amount::ZERO {
        let lie = net.report(&client(0), &report(&CAPACITY, 3));
        net.run_ok(&[lie]);
        audit(&mut net);
        lies += 1;
        assert_eq!(of(&net, 0).false_reports, lies);
    }
    assert_eq!((lies, of(&net, 0).slashed.0), (3, stake), "the last one takes what is left");
    let tx = net.report(&client(0), &report(&CAPACITY, 0));
    let sender = client(0);
    let done = net.run(&[tx]);
    assert_eq!(done.results[0].outcome.as_ref().map_err(|e| e.code), Err(Code::NoStake as u32));
    assert_eq!(net.account(&sender).nonce.0, 6);
}

#[test]
fn without_a_capacity_nobody_reports_and_a_new_one_takes_the_report_back() {
    let mut net = audited(|_| ());
    let registration = net.register(&client(0), "host");
    net.run_ok(&[registration]);
    let tx = net.report(&client(0), &report(&CAPACITY, 0));
    refused(&mut net, &client(0), tx, Code::NoCapacity, gas::TRANSACTION);
    let tx = capacity_tx(&mut net, &client(1), &CAPACITY, 7);
    refused(&mut net, &client(1), tx, Code::NotAHost, gas::TRANSACTION);
    // A list made for something else is no capacity.
    let digits = CAPACITY.digits().expect("in range");
    let capacity = net.list(&client(0), Purpose::Telemetry, &digits);
    let tx = net.tx(&client(0), Call::RegisterCapacity { capacity, price: 7 });
    refused(&mut net, &client(0), tx, Code::BadProof, gas::TRANSACTION + gas::PROOF);
    let txs = [capacity_tx(&mut net, &client(0), &CAPACITY, 7), net.report(&client(0), &report(&CAPACITY, 0))];
    net.run_ok(&txs);
    let larger = Capacity { cpu: 200, ..CAPACITY };
    let tx = capacity_tx(&mut net, &client(0), &larger, 7);
    net.run_ok(&[tx]);
    let (drawn, _) = audit(&mut net);
    assert!(drawn.events.is_empty(), "a report is never held against a later capacity");
    let job = net.job(&client(20), &Request::default(), 0);
    net.run_ok(&[job]);
    assert!(!net.scheduler.has_work(&net.state).expect("readable"), "and it is no candidate");
    let tx = net.report(&client(0), &report(&larger, 0));
    net.run_ok(&[tx]);
    let (_, verdicts) = audit(&mut net);
    assert!(names(&verdicts).contains(&"scheduler.report_consistent"));
    assert_eq!(host(&net, 0).report.map(|r| r.number), Some(2), "numbers go on");
    // Where there are no audits, there are no capacities.
    let mut plain = Net::new(|_| ());
    let registration = plain.register(&client(0), "host");
    plain.run_ok(&[registration]);
    let tx = capacity_tx(&mut plain, &client(0), &CAPACITY, 7);
    refused(&mut plain, &client(0), tx, Code::NoAudits, gas::TRANSACTION);
}

#[test]
fn only_the_key_managers_own_answer_concludes_an_audit_and_only_once() {
    let mut net = audited(|_| ());
    hosts(&mut net, 1);
    let tx = net.report(&client(0), &report(&CAPACITY, 1));
    net.run_ok(&[tx]);
    while waiting(&net).is_empty() {
        net.run(&[]);
    }
    let cipher = waiting(&net)[0];
    let honest = net.answer(&cipher);
    let mut lie = honest.clone();
    lie.answer.payload = Payload::Public(vec![1]);
    let own = SignedAnswer::sign(lie.answer.clone(), CHAIN, &client(0));
    let mut elsewhere = honest.answer.clone();
    elsewhere.key_id = parallax_primitives::KeyId([8; 32]);
    let elsewhere = SignedAnswer::sign(elsewhere, CHAIN, &net.managers[0]);
    for forged in [lie, own, elsewhere] {
        let tx = net.tx(&client(78), Call::DeliverAnswer { answers: vec![forged] });
        let done = net.run(&[tx]);
        assert_eq!(done.results[0].outcome.as_ref().map_err(|e| e.code), Err(Code::BadAnswer as u32));
        net.rewind(&client(78));
    }
    assert_eq!(of(&net, 0).audits, 0);
    let tx = net.tx(&client(79), Call::DeliverAnswer { answers: vec![honest.clone()] });
    net.run_ok(&[tx]);
    let tx = net.tx(&client(79), Call::DeliverAnswer { answers: vec![honest] });
    let done = net.run(&[tx]);
    assert_eq!(done.results[0].outcome.as_ref().map_err(|e| e.code), Err(Code::UnknownDecryption as u32));
    assert_eq!((of(&net, 0).false_reports, of(&net, 0).slashed.0), (1, PENALTY));
}

#[test]
fn a_round_draws_at_most_so_many_and_none_that_the_treasury_cannot_pay() {
    let mut net = audited(|rules| rules.per_round = 2);
    hosts(&mut net, 5);
    let batch: Vec<Vec<u8>> = (0..5).map(|n| net.report(&client(n), &report(&CAPACITY, 0))).collect();
    net.run_ok(&batch);
    let mut drawn = Vec::new();
    for _ in 0..3 {
        drawn.push(audit(&mut net).0.events.len());
    }
    assert_eq!(drawn, [2, 2, 1]);
    let mut poor = audited(|rules| rules.treasury = address(&SecretKey::from_seed([250; 32])));
    hosts(&mut poor, 1);
    let tx = poor.report(&client(0), &report(&CAPACITY, 99));
    poor.run_ok(&[tx]);
    for _ in 0..4 {
        assert!(poor.run(&[]).events.is_empty());
    }
}

#[test]
fn the_draw_follows_the_beacon() {
    let draw = |anchor: u8| {
        let mut net = audited(|rules| rules.per_round = 1);
        hosts(&mut net, 6);
        let batch: Vec<Vec<u8>> = (0..6).map(|n| net.report(&client(n), &report(&CAPACITY, 0))).collect();
        net.run_ok(&batch);
        let mut context = net.context();
        context.anchor = Digest([anchor; 32]);
        let done = net.scheduler.execute(&net.state, &context, &[], &net.backend, &|| false).expect("executed");
        let event = done.events.first().expect("one is drawn");
        event.attributes.iter().find(|a| a.0 == "host").map(|a| a.1.clone())
    };
    assert_eq!(draw(1), draw(1));
    let drawn: std::collections::BTreeSet<_> = (0..12).map(draw).collect();
    assert!(drawn.len() > 1, "another block draws another host");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    #[test]
    fn a_consistent_honest_host_is_never_slashed(
        machines in prop::collection::vec((500u64..200_000, 4_096u64..2_000_000, 0u8..=8, 0u8..16, any::<u8>()), 1..5),
        used in prop::collection::vec((0u64..60_000, 0u64..200_000, 0u8..=8, 1u16..=1_000), 1..4),
    ) {
        let mut net = Net::new(|p| {
            p.policies = vec![Policy::Cost, Policy::Pack, Policy::Spread];
            let treasury = address(&client(TREASURY));
            p.audits = Some(AuditRules { per_round: 5, interval_rounds: 1, penalty: Amount(1), treasury });
        });
        let batch: Vec<Vec<u8>> = (0u8..).zip(&machines).map(|(n, _)| net.register(&client(n), "host")).collect();
        net.run_ok(&batch);
        let mut batch = Vec::new();
        for (n, (cpu_milli, memory_mib, gpus, latency, price)) in (0u8..).zip(&machines) {
            let node = Node {
                name: "n".into(), cpu_milli: *cpu_milli, memory_mib: *memory_mib, gpus: *gpus, model: String::new(),
            };
            let mut machine = Machine::new(node, *latency, *price);
            for (cpu_milli, memory_mib, gpus, gpu_milli) in &used {
                // What does not fit leaves the machine as it is.
                let whole = *gpu_milli == 1_000;
                let gpus = if whole { *gpus } else { u8::from(*gpus > 0) };
                machine.place(&crate::openb::Pod {
                    name: "p".into(), cpu_milli: *cpu_milli, memory_mib: *memory_mib, gpus, gpu_milli: *gpu_milli, models: vec![],
                });
            }
            batch.push(capacity_tx(&mut net, &client(n), &machine.capacity(), *price));
            batch.push(net.report(&client(n), &machine.report(&Models::default())));
        }
        net.run_ok(&batch);
        net.run(&[]);
        let verdicts = waiting(&net);
        prop_assert_eq!(verdicts.len(), machines.len());
        let batch: Vec<Vec<u8>> = verdicts
            .iter()
            .map(|cipher| {
                let answers = vec![net.answer(cipher)];
                net.tx(&client(79), Call::DeliverAnswer { answers })
            })
            .collect();
        net.run_ok(&batch);
        for n in 0..machines.len() as u8 {
            prop_assert_eq!((of(&net, n).audits, of(&net, n).false_reports), (1, 0));
        }
    }
}
