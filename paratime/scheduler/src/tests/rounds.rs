//! Rounds from registration to placement.

use super::network::{CHAIN, FUNDS, KEY, LIMIT, Net, address, client, paratime};
use crate::circuit::{MAX_FLAGS, Shape};
use crate::cluster::{request, sample};
use crate::records::Status;
use crate::reference::Cluster;
use crate::tx::{Call, Purpose};
use crate::{Policy, Replication, Report, Request, Spread, job_id};
use parallax_clear::ClearBackend;
use parallax_primitives::message::InMessage;
use parallax_primitives::{Address, Amount, Digest, Gas};
use parallax_runtime::{Abort, ParaTime};
use parallax_state::StateView;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn id_of(owner: u8, nonce: u64) -> Digest {
    job_id(CHAIN, paratime(), address(&client(owner)), nonce)
}

/// What a job asks for, in the clear.
type Wish = (Request, Policy, Replication);

/// Runs rounds until nothing is left to do; each answers the decisions of the one before it. Returns what the reference
/// says for the last attempt of each job, on the recorded candidates in the recorded order.
fn settle(
    net: &mut Net,
    reference: &mut Cluster<Address>,
    jobs: &BTreeMap<Digest, Wish>,
) -> BTreeMap<Digest, Vec<Address>> {
    let (mut expected, mut waiting) = (BTreeMap::new(), Vec::new());
    while !waiting.is_empty() || net.scheduler.has_work(&net.state).expect("readable") {
        let mut batch = Vec::new();
        for cipher in std::mem::take(&mut waiting) {
            let answers = vec![net.answer(&cipher)];
            batch.push(net.tx(&client(79), Call::DeliverAnswer { answers }));
        }
        let done = net.run_ok(&batch);
        let decided = net.decided();
        assert!(decided.len() <= 2, "at most two decisions a round");
        assert_eq!(done.events.iter().filter(|e| e.name == "scheduler.decided").count(), decided.len());
        for (id, job) in decided {
            let decision = job.decision.expect("it was decided");
            let order: Vec<Address> = decision.candidates.iter().map(|c| c.host).collect();
            let (request, policy, replication) = &jobs[&id];
            expected.insert(id, reference.decide(&order, request, *policy, *replication));
            waiting.push(decision.placed);
        }
        assert!(net.round < 200, "it comes to an end");
    }
    expected
}

#[test]
fn the_sample_jobs_go_where_the_reference_sends_them() {
    let (mut net, models, mut reference) = Net::with_sample(|_| ());
    let requests: Vec<Request> = sample().1.iter().map(|pod| request(pod, &models).expect("it fits")).collect();
    let batch: Vec<Vec<u8>> = (10u8..).zip(&requests).map(|(n, r)| net.job(&client(n), r, 1)).collect();
    assert!(!net.scheduler.has_work(&net.state).expect("readable"));
    net.run_ok(&batch);
    let wish = |r: Request| (r, Policy::Pack, Replication::default());
    let jobs: BTreeMap<Digest, Wish> = (10u8..).zip(requests).map(|(n, r)| (id_of(n, 0), wish(r))).collect();
    let expected = settle(&mut net, &mut reference, &jobs);
    assert_eq!(expected.len(), 3);
    for (id, hosts) in expected {
        assert_eq!(hosts.len(), 1, "the sample has room for all");
        assert_eq!((net.all_placed_on(&id), net.job_record(&id).attempts), (hosts, 1));
    }
    assert_eq!(net.account(&client(10)).nonce.0, 1);
}

#[test]
fn an_unplaced_job_is_tried_again_backs_off_and_is_given_up_with_its_rest_refunded() {
    let (mut net, _, _) = Net::with_sample(|p| p.max_attempts = 3);
    let owner = client(20);
    let impossible = Request { cpu: 255, gpus: 8, latency: 15, ..Request::default() };
    let job = net.job(&owner, &impossible, 0);
    net.run_ok(&[job]);
    let id = id_of(20, 0);
    let escrow = net.job_record(&id).escrow;
    let mut decided_in = Vec::new();
    while net.scheduler.has_work(&net.state).expect("readable") {
        net.run(&[]);
        if !net.decided().is_empty() {
            decided_in.push(net.round);
            net.answer_decided();
        }
        assert_eq!(net.placed_on(&id), None, "an unplaced job's position is granted to nobody");
    }
    let first = decided_in[0];
    // Answered in the round after, then one and two rounds of waiting.
    assert_eq!(decided_in, [first, first + 2, first + 5]);
    let record = net.job_record(&id);
    assert_eq!((record.status, record.attempts, record.escrow), (Status::Unplaced, 3, Amount::ZERO));
    let spent = FUNDS - net.account(&owner).balance.0;
    assert!(spent < escrow.0, "four candidates cost less than the sixty paid for in advance");
}

#[test]
fn a_host_is_chosen_once_a_report() {
    let mut net = Net::new(|_| ());
    let host = client(0);
    let offer = Report { cpu: 200, memory: 200, scores: BTreeMap::from([(Policy::Pack, 1)]), ..Report::default() };
    let registration = net.register(&host, "only");
    let report = net.report(&host, &offer);
    net.run_ok(&[registration, report]);
    let wish = Request { cpu: 1, latency: 15, ..Request::default() };
    let jobs = [net.job(&client(10), &wish, 0), net.job(&client(11), &wish, 0)];
    net.run_ok(&jobs);
    net.run(&[]);
    net.answer_decided();
    assert_eq!(net.placed_on(&id_of(10, 0)), Some(address(&host)));
    assert_eq!(net.placed_on(&id_of(11, 0)), None, "the first job took it");
    // A new report in the very round of the decision counts: transactions go first.
    assert!(matches!(net.job_record(&id_of(11, 0)).status, Status::Pending { .. }));
    let again = net.report(&host, &offer);
    net.run_ok(&[again]);
    assert_eq!(net.decided().len(), 1);
    net.answer_decided();
    assert_eq!(net.placed_on(&id_of(11, 0)), Some(address(&host)));
}

#[test]
fn tiers_go_first_and_the_order_inside_a_tier_is_that_of_arrival() {
    let (mut net, _, _) = Net::with_sample(|p| p.max_jobs_per_round = 1);
    let wish = Request { latency: 15, ..Request::default() };
    let jobs = [net.job(&client(10), &wish, 2), net.job(&client(11), &wish, 1), net.job(&client(12), &wish, 1)];
    net.run_ok(&jobs);
    let late = net.job(&client(13), &wish, 0);
    net.run_ok(&[late]);
    let mut order: Vec<Digest> = net.decided().into_iter().map(|(id, _)| id).collect();
    for _ in 0..3 {
        net.run(&[]);
        order.extend(net.decided().into_iter().map(|(id, _)| id));
    }
    // The late one of tier 0 was not yet decidable in its own round.
    assert_eq!(order, [id_of(11, 0), id_of(13, 0), id_of(12, 0), id_of(10, 0)]);
}

#[test]
fn stale_reports_are_no_candidates_and_a_job_without_candidates_waits_for_free() {
    let (mut net, _, _) = Net::with_sample(|p| p.freshness_rounds = 2);
    net.run(&[]);
    net.run(&[]);
    let job = net.job(&client(10), &Request::default(), 0);
    net.run_ok(&[job]);
    let escrow = net.job_record(&id_of(10, 0)).escrow;
    assert!(!net.scheduler.has_work(&net.state).expect("readable"), "nobody could take it");
    net.run(&[]);
    assert_eq!((net.job_record(&id_of(10, 0)).attempts, net.job_record(&id_of(10, 0)).escrow), (0, escrow));
    let offer = Report { scores: BTreeMap::from([(Policy::Pack, 1)]), ..Report::default() };
    let report = net.report(&client(2), &offer);
    net.run_ok(&[report]);
    assert!(net.scheduler.has_work(&net.state).expect("readable"));
    net.run(&[]);
    net.answer_decided();
    assert_eq!(net.placed_on(&id_of(10, 0)), Some(address(&client(2))));
}

#[test]
fn the_anchor_is_that_of_the_round_after_inclusion_and_stays() {
    let (mut net, _, _) = Net::with_sample(|p| p.max_jobs_per_round = 1);
    let jobs = [net.job(&client(10), &Request::default(), 0), net.job(&client(11), &Request::default(), 0)];
    net.run_ok(&jobs);
    assert_eq!(net.job_record(&id_of(11, 0)).anchor, None, "not known at inclusion");
    let anchor = net.context().anchor;
    net.run(&[]);
    net.run(&[]);
    for n in [10, 11] {
        assert_eq!(net.job_record(&id_of(n, 0)).anchor, Some(anchor));
    }
}

#[test]
fn a_plan_takes_the_prefix_that_fits_and_counts_queued_work() {
    let (mut net, _, _) = Net::with_sample(|_| ());
    let job = net.job(&client(10), &Request::default(), 0);
    net.run_ok(&[job]);
    let context = net.context();
    let queued = net.scheduler.plan(&net.state, &context, &[], LIMIT).expect("readable");
    let shape = Shape::largest(4, true, Replication::default());
    assert_eq!(queued.gas, crate::circuit::decision_program(&shape).expect("it builds").gas());
    let transfers: Vec<Vec<u8>> =
        (0..3).map(|_| net.tx(&client(12), Call::Transfer { to: address(&client(1)), amount: Amount(1) })).collect();
    let one = net.scheduler.plan(&net.state, &context, &transfers[..1], LIMIT).expect("readable").gas.0 - queued.gas.0;
    let limit = Gas(queued.gas.0 + 2 * one);
    let plan = net.scheduler.plan(&net.state, &context, &transfers, limit).expect("readable");
    assert_eq!((plan.take, plan.gas), (2, limit));
    let none = net.scheduler.plan(&net.state, &context, &transfers, Gas::ZERO).expect("readable");
    assert_eq!((none.take, none.gas), (0, queued.gas), "queued work is done in any case");
}

#[test]
fn a_flipped_ciphertext_bit_changes_the_trace_root_and_the_state() {
    let (mut net, _, _) = Net::with_sample(|_| ());
    let job = net.job(&client(10), &Request::default(), 0);
    net.run_ok(&[job]);
    let context = net.context();
    let honest = net.scheduler.execute(&net.state, &context, &[], &net.backend, &|| false).expect("executed");
    let liar = ClearBackend::new(vec![KEY]).with_flip(3);
    let other = net.scheduler.execute(&net.state, &context, &[], &liar, &|| false).expect("executed");
    assert_ne!(honest.trace.root(), other.trace.root());
    assert_ne!(honest.changes, other.changes);
}

#[test]
fn cancellation_ends_an_execution() {
    let (mut net, _, _) = Net::with_sample(|_| ());
    let job = net.job(&client(10), &Request::default(), 0);
    let done = net.scheduler.execute(&net.state, &net.context(), &[job], &net.backend, &|| true);
    assert_eq!(done, Err(Abort::Cancelled));
}

#[test]
fn deposits_from_the_consensus_layer_are_credited() {
    let net = Net::new(|_| ());
    let mut context = net.context();
    context.in_messages = vec![InMessage { id: 0, caller: address(&client(3)), tokens: Amount(7), data: Vec::new() }];
    let done = net.scheduler.execute(&net.state, &context, &[], &net.backend, &|| false).expect("executed");
    assert_eq!(done.in_messages_count, 1);
    let mut state = net.state;
    state.apply(done.changes);
    let account = crate::records::account(&state, &address(&client(3))).expect("readable");
    assert_eq!(account.balance.0, FUNDS + 7);
}

#[test]
fn queries_show_what_is_public() {
    let (mut net, _, _) = Net::with_sample(|_| ());
    let job = net.job(&client(10), &Request::default(), 0);
    net.run_ok(&[job]);
    net.run(&[]);
    let ask = |method: &str, parameters: serde_json::Value| net.scheduler.query(&net.state, method, &parameters);
    let none = serde_json::Value::Null;
    assert_eq!(ask("hosts", none.clone()).expect("answered").as_array().map(Vec::len), Some(4));
    let job = ask("job", serde_json::json!({ "id": id_of(10, 0) })).expect("answered");
    assert_eq!(job["status"], "decided");
    assert_eq!(job["decision"]["candidates"].as_array().map(Vec::len), Some(4));
    assert_eq!(ask("jobs", serde_json::json!({ "limit": 0 })).expect("answered").as_array().map(Vec::len), Some(0));
    let waiting = ask("pending_decryptions", none.clone()).expect("answered");
    assert_eq!(waiting[0]["job"], job["id"]);
    assert_eq!(ask("params", none.clone()).expect("answered")["params"]["max_attempts"], 3);
    assert_eq!(ask("host", serde_json::json!({ "address": address(&client(9)) })), Ok(none.clone()));
    let account = ask("account", serde_json::json!({ "address": address(&client(9)) })).expect("answered");
    assert_eq!(account["balance"], FUNDS.to_string());
    assert!(ask("job", none.clone()).expect_err("no id").contains("id"));
    assert!(ask("weather", none).expect_err("no such method").contains("pending_decryptions"));
}

#[test]
fn a_job_costs_what_the_query_says_before() {
    let (mut net, _, _) = Net::with_sample(|_| ());
    let ask = |net: &Net, parameters| net.scheduler.query(&net.state, "price", &parameters);
    let price = ask(&net, serde_json::json!({ "policy": "pack" })).expect("answered");
    let amount = |name: &str| price[name].as_str().and_then(|text| text.parse::<u128>().ok()).expect("an amount");
    let tx = net.job(&client(10), &Request::default(), 0);
    net.run_ok(&[tx]);
    let record = net.job_record(&id_of(10, 0));
    assert_eq!(FUNDS - net.account(&client(10)).balance.0, amount("total"));
    assert_eq!((record.escrow.0, amount("total")), (amount("escrow"), amount("fee") + amount("escrow")));
    let pair = ask(&net, serde_json::json!({ "policy": "pack", "replicas": 2, "gas_price": "3" })).expect("answered");
    assert_eq!(pair["gas_price"], "3");
    assert!(pair["attempt_gas"].as_u64() > price["attempt_gas"].as_u64(), "{pair}");
    for (parameters, said) in [
        (serde_json::json!({}), "parameter policy is missing"),
        (serde_json::json!({ "policy": "weather" }), "pack"),
        (serde_json::json!({ "policy": "pack", "replicas": 9 }), "1..=8"),
        (serde_json::json!({ "policy": "pack", "gas_price": "0" }), "the least is 1"),
        (serde_json::json!({ "policy": "pack", "gas_price": u128::MAX.to_string() }), "exceeds 128 bits"),
    ] {
        let error = ask(&net, parameters).expect_err("it is refused");
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn genesis_names_the_parameter_at_fault() {
    let net = Net::new(|_| ());
    let good = serde_json::json!({ "params": net.params(), "accounts": [] });
    assert!(net.scheduler.init_genesis(&good).is_ok());
    let fault = |field: &str, value: serde_json::Value| {
        let mut bad = good.clone();
        bad["params"][field] = value;
        net.scheduler.init_genesis(&bad).expect_err("it is refused")
    };
    assert!(fault("candidates_per_decision", 61.into()).contains("candidates_per_decision"));
    assert!(fault("max_attempts", 0.into()).contains("max_attempts"));
    assert!(fault("policies", serde_json::json!(["weather"])).contains("weather"));
    assert!(fault("max_decision_gas", 1_000_000.into()).contains("max_decision_gas"));
    assert!(fault("policies", serde_json::json!(["pack", "pack"])).contains("twice"));
    assert!(fault("colour", 1.into()).contains("colour"));
}

#[test]
fn the_least_batch_holds_the_decisions_of_a_round_its_requests_and_the_largest_transaction() {
    let net = Net::new(|p| p.policies = vec![Policy::Pack, Policy::Spread, Policy::Cost]);
    let genesis = serde_json::json!({ "params": net.params(), "accounts": [] });
    let least = net.scheduler.least_batch_gas(&genesis).expect("the parameters are right");
    let report = crate::circuit::report_program(3).expect("it builds").gas().0;
    let call = report + parallax_runtime::gas::PROOF + parallax_runtime::gas::TRANSACTION;
    let job = crate::circuit::job_program().expect("it builds").gas().0;
    let request = job + parallax_runtime::gas::PROOF + parallax_runtime::gas::TRANSACTION;
    let requests = crate::MAX_REQUESTS as u64 * request;
    assert_eq!(least.0, net.params().max_decision_gas.0 + requests + call);
}

#[test]
fn decisions_that_do_not_fit_a_round_wait_in_order() {
    let largest = |count| {
        let shape = Shape::largest(4, true, Replication { count, ..Replication::default() });
        crate::circuit::decision_program(&shape).expect("it builds").gas().0
    };
    let (mut net, _, _) = Net::with_sample(|p| {
        p.candidates_per_decision = 4;
        p.max_jobs_per_round = 10;
        p.max_decision_gas = Gas(largest(3) + largest(1) - 1);
    });
    let wish = Request { latency: 15, ..Request::default() };
    let three = Replication { count: 3, ..Replication::default() };
    let jobs = [
        net.job(&client(10), &wish, 0),
        net.job_of(&client(11), &wish, Policy::Pack, three),
        net.job(&client(12), &wish, 0),
    ];
    net.run_ok(&jobs);
    let mut order = Vec::new();
    while net.scheduler.has_work(&net.state).expect("readable") {
        let plan = net.scheduler.plan(&net.state, &net.context(), &[], LIMIT).expect("readable");
        assert!(plan.gas <= net.params().max_decision_gas);
        net.run(&[]);
        order.push(net.decided().into_iter().map(|(id, _)| id).collect::<Vec<_>>());
    }
    assert_eq!(
        order,
        [vec![id_of(10, 0)], vec![id_of(11, 0)], vec![id_of(12, 0)]],
        "the small one behind does not pass"
    );
}

#[test]
fn replicas_are_told_to_their_owner_and_paid_by_attempt() {
    let (mut net, _, _) = Net::with_sample(|_| ());
    let wish = Request { latency: 15, ..Request::default() };
    let three = Replication { count: 3, ..Replication::default() };
    let gang = Replication { count: 2, spread: Spread::None, gang: true };
    let jobs = [
        net.job(&client(10), &wish, 0),
        net.job_of(&client(11), &wish, Policy::Pack, three),
        net.job_of(&client(12), &wish, Policy::Pack, gang),
    ];
    net.run_ok(&jobs);
    let escrow = |net: &Net, n| net.job_record(&id_of(n, 0)).escrow.0;
    assert!(escrow(&net, 11) > escrow(&net, 10) * 3 / 2, "replicas cost what they take");
    net.run(&[]);
    net.answer_decided();
    // One of the four went to the first job, three to the second one; for the gang nobody is left.
    let mut hosts = net.all_placed_on(&id_of(11, 0));
    hosts.extend(net.placed_on(&id_of(10, 0)));
    hosts.sort();
    hosts.dedup();
    assert_eq!(hosts.len(), 4);
    assert_eq!(net.job_record(&id_of(12, 0)).attempts, 1, "decided in the round after, with two jobs a round");
    net.answer_decided();
    assert_eq!(net.all_placed_on(&id_of(12, 0)), []);
    assert!(matches!(net.job_record(&id_of(12, 0)).status, Status::Pending { .. }));
    // Two hosts report again, and both are needed.
    let offer = |score| Report { cpu: 9, scores: BTreeMap::from([(Policy::Pack, score)]), ..Report::default() };
    let reports = [net.report(&client(3), &offer(9)), net.report(&client(1), &offer(7))];
    net.run_ok(&reports);
    while net.job_record(&id_of(12, 0)).status != Status::Placed {
        net.answer_decided();
        assert!(net.round < 20, "it comes to an end");
    }
    assert_eq!(net.all_placed_on(&id_of(12, 0)), [address(&client(1)), address(&client(3))]);
}

#[test]
fn a_gang_waits_for_free_until_there_are_as_many_hosts_as_it_has_replicas() {
    let mut net = Net::new(|_| ());
    let offer = Report { scores: BTreeMap::from([(Policy::Pack, 1)]), ..Report::default() };
    for n in [0, 1] {
        let (registration, report) = (net.register(&client(n), "host"), net.report(&client(n), &offer));
        net.run_ok(&[registration, report]);
    }
    let gang = Replication { count: 3, spread: Spread::None, gang: true };
    let job = net.job_of(&client(10), &Request { latency: 15, ..Request::default() }, Policy::Pack, gang);
    net.run_ok(&[job]);
    assert!(!net.scheduler.has_work(&net.state).expect("readable"));
    net.run(&[]);
    assert_eq!(net.job_record(&id_of(10, 0)).attempts, 0);
    let (registration, report) = (net.register(&client(2), "host"), net.report(&client(2), &offer));
    net.run_ok(&[registration, report]);
    net.run(&[]);
    net.answer_decided();
    assert_eq!(net.all_placed_on(&id_of(10, 0)).len(), 3);
}

#[test]
fn in_turn_the_pointer_moves_by_one_and_hosts_report_no_score() {
    let mut net = Net::new(|p| p.policies = vec![Policy::PriorityRoundRobin]);
    let offer = Report { cpu: 5, ..Report::default() };
    let batch: Vec<Vec<u8>> =
        (0..4).flat_map(|n| [net.register(&client(n), "host"), net.report(&client(n), &offer)]).collect();
    net.run_ok(&batch);
    // Nobody fits, so nobody is excluded; the order of the candidates shows the pointer.
    let wish = Request { cpu: 6, latency: 15, ..Request::default() };
    for n in 10..16 {
        let job = net.job_of(&client(n), &wish, Policy::PriorityRoundRobin, Replication::default());
        net.run_ok(&[job]);
        let context = net.context();
        net.run(&[]);
        let decision = net.job_record(&id_of(n, 0)).decision.expect("it was decided");
        let mut order: Vec<Address> = decision.candidates.iter().map(|c| c.host).collect();
        order.rotate_right(usize::from(n - 10) % 4);
        let all: Vec<Address> = {
            let mut all: Vec<Address> = (0..4).map(|n| address(&client(n))).collect();
            all.sort();
            all
        };
        let seed = crate::entropy(&context.beacon, &context.anchor, &id_of(n, 0), 1);
        assert_eq!(order, crate::sample(&all, &seed, 60), "the beacon's order, from the pointer on");
    }
}

#[test]
fn flags_are_kept_apart_then_merged_and_dropped_by_the_next_report() {
    let (mut net, _, _) = Net::with_sample(|p| {
        p.max_jobs_per_round = 20;
        p.max_decision_gas = LIMIT;
    });
    let flags = |net: &Net| {
        let host: crate::records::Host =
            crate::records::need(&net.state, &crate::keys::host(&address(&client(0)))).expect("it is there");
        let known = host.report.expect("it reported").flags;
        let stored = (0..20)
            .filter(|n| net.state.get(&crate::keys::host_flag(&address(&client(0)), *n)).expect("readable").is_some());
        assert_eq!(stored.collect::<Vec<_>>(), (0..known).collect::<Vec<_>>());
        known
    };
    assert_eq!(flags(&net), 1);
    let wish = Request { cpu: 255, gpus: 8, latency: 15, ..Request::default() };
    for decided in 1..=9u8 {
        let job = net.job(&client(10), &wish, 0);
        net.run_ok(&[job]);
        net.run(&[]);
        assert_eq!(flags(&net), if decided < MAX_FLAGS { 1 + decided } else { decided - MAX_FLAGS + 1 });
    }
    let report = net.report(&client(0), &Report { scores: BTreeMap::from([(Policy::Pack, 1)]), ..Report::default() });
    net.run_ok(&[report]);
    assert_eq!(flags(&net), 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn random_clusters_follow_the_reference_over_many_rounds(
        offers in prop::collection::vec((any::<u8>(), any::<u8>(), 0u8..=8, 0u8..=100, any::<u8>(), 0u8..=15, any::<u8>()), 2..=9),
        wishes in prop::collection::vec(
            (0u8..200, 0u8..200, 0u8..4, 0u8..80, 0u8..4, 5u8..=15, (0u8..3, 1u8..=4, any::<bool>(), any::<bool>(), 0usize..3)), 1..=6,
        ),
        sample_size in 1u16..=6,
    ) {
        let policies = [Policy::Spread, Policy::Pack, Policy::PriorityRoundRobin];
        let mut net = Net::new(|p| {
            p.policies = policies.to_vec();
            p.candidates_per_decision = sample_size;
        });
        let mut reference = Cluster::new();
        let mut batch = Vec::new();
        for (n, (cpu, memory, gpus, share, labels, latency, score)) in (0u8..).zip(offers.clone()) {
            let scores = BTreeMap::from([(Policy::Pack, score), (Policy::Spread, 255 - score)]);
            let report = Report { cpu, memory, gpus, share, labels, latency, scores };
            batch.push(net.register_in(&client(n), "host", u16::from(n % 3)));
            reference.register(address(&client(n)), u16::from(n % 3));
            batch.push(net.report(&client(n), &report));
            reference.report(address(&client(n)), report);
        }
        net.run_ok(&batch);
        let most = usize::from(sample_size).min(offers.len());
        let mut jobs = BTreeMap::new();
        let mut batch = Vec::new();
        for (n, (cpu, memory, gpus, share, need, latency, (tier, count, zones, gang, policy))) in (40u8..).zip(wishes) {
            let wish = Request { cpu, memory, gpus, share, need, latency };
            let count = if gang { count.min(most as u8) } else { count };
            let spread = if zones { Spread::Zone } else { Spread::None };
            let replication = Replication { count, spread, gang };
            let list = net.list(&client(n), Purpose::Job, &wish.digits().expect("it is in range"));
            let call = Call::SubmitJob { request: list, policy: policies[policy], tier, replication, image: None };
            batch.push(net.tx(&client(n), call));
            jobs.insert(id_of(n, 0), (wish, policies[policy], replication));
        }
        net.run_ok(&batch);
        let expected = settle(&mut net, &mut reference, &jobs);
        for id in jobs.keys() {
            let record = net.job_record(id);
            prop_assert_eq!(record.decision.as_ref().map(|d| d.candidates.len()), Some(most));
            prop_assert_eq!(net.all_placed_on(id), expected[id].clone());
            prop_assert_eq!(record.status, if expected[id].is_empty() { Status::Unplaced } else { Status::Placed });
        }
    }
}
