//! What governance changes, and what the cluster then refuses.

use super::hostile::{refused, void};
use super::network::{CHAIN, Net, address, client, paratime};
use crate::error::Code;
use crate::images::{ImageClaim, ImageTree, MAX_PROOF_NODES};
use crate::policy::{ImageRule, MAX_SUBMITTERS, PolicyChange, SubmitterRule};
use crate::tx::{Call, Purpose};
use crate::{Policy, Replication, Request, job_id};
use parallax_primitives::{Address, ImageDigest, Keccak256};
use parallax_runtime::{ParaTime, gas};

/// A cluster governed by client 50.
fn governed() -> Net {
    Net::with_sample(|p| p.governance = Some(address(&client(50)))).0
}

fn images() -> ImageTree {
    ImageTree::new(&(0u8..7).map(|n| ImageDigest([n; 32])).collect::<Vec<_>>()).expect("seven images")
}

fn job(net: &mut Net, owner: u8, image: Option<ImageClaim>) -> Vec<u8> {
    let digits = Request { latency: 15, ..Request::default() }.digits().expect("it is in range");
    let request = net.list(&client(owner), Purpose::Job, &digits);
    net.tx(
        &client(owner),
        Call::SubmitJob { request, policy: Policy::Pack, tier: 0, replication: Replication::default(), image },
    )
}

fn set(net: &mut Net, change: PolicyChange) {
    let tx = net.tx(&client(50), Call::SetPolicy(change));
    net.run_ok(&[tx]);
}

fn shown(net: &Net) -> serde_json::Value {
    net.scheduler.query(&net.state, "policy", &serde_json::Value::Null).expect("it is public")
}

#[test]
fn a_job_with_an_image_that_is_not_on_the_list_is_refused() {
    let (mut net, tree) = (governed(), images());
    let claim = tree.claim(&ImageDigest([3; 32]));
    let free = job(&mut net, 10, None);
    net.run_ok(&[free]);
    set(&mut net, PolicyChange { images: Some(ImageRule::Root(tree.root())), ..PolicyChange::default() });
    let tx = job(&mut net, 11, None);
    refused(&mut net, &client(11), tx, Code::ImageNotAllowed, gas::TRANSACTION);
    let stranger = ImageClaim { image: ImageDigest([0xee; 32]), ..claim.clone().expect("it is listed") };
    let tx = job(&mut net, 11, Some(stranger));
    refused(&mut net, &client(11), tx, Code::ImageNotAllowed, gas::TRANSACTION);
    let tx = job(&mut net, 12, claim);
    net.run_ok(&[tx]);
    let id = job_id(CHAIN, paratime(), address(&client(12)), 0);
    assert_eq!(net.job_record(&id).image, Some(ImageDigest([3; 32])));
    // A proof longer than any tree's.
    let endless = ImageClaim { image: ImageDigest([3; 32]), proof: vec![Keccak256::default(); MAX_PROOF_NODES + 1] };
    let tx = job(&mut net, 13, Some(endless));
    void(&net, &tx, Code::BadField);
    // The list is lifted again.
    set(&mut net, PolicyChange { images: Some(ImageRule::Any), ..PolicyChange::default() });
    let tx = job(&mut net, 14, None);
    net.run_ok(&[tx]);
    assert_eq!(shown(&net)["version"], 2);
}

#[test]
fn only_listed_accounts_submit_once_there_is_a_list() {
    let mut net = governed();
    let listed = SubmitterRule::Listed(vec![address(&client(10))]);
    set(&mut net, PolicyChange { submitters: Some(listed), ..PolicyChange::default() });
    let tx = job(&mut net, 11, None);
    refused(&mut net, &client(11), tx, Code::NotASubmitter, gas::TRANSACTION);
    let tx = job(&mut net, 10, None);
    net.run_ok(&[tx]);
    // Everything else is as open as before.
    let tx = net.tx(&client(11), Call::Transfer { to: address(&client(1)), amount: parallax_primitives::Amount(1) });
    net.run_ok(&[tx]);
}

#[test]
fn nobody_but_governance_changes_the_policy() {
    let mut net = governed();
    let change = PolicyChange { tiers: Some(5), ..PolicyChange::default() };
    let tx = net.tx(&client(10), Call::SetPolicy(change.clone()));
    refused(&mut net, &client(10), tx, Code::NotGovernance, gas::TRANSACTION);
    let mut alone = Net::new(|_| ());
    let tx = alone.tx(&client(50), Call::SetPolicy(change));
    refused(&mut alone, &client(50), tx, Code::NotGovernance, gas::TRANSACTION);
}

#[test]
fn a_change_counts_from_the_next_round_on_and_is_checked_like_genesis() {
    let mut net = governed();
    let change = PolicyChange {
        tiers: Some(7),
        freshness_rounds: Some(9),
        candidates_per_decision: Some(2),
        ..PolicyChange::default()
    };
    let digits = Request::default().digits().expect("it is in range");
    let request = net.list(&client(10), Purpose::Job, &digits);
    let early =
        Call::SubmitJob { request, policy: Policy::Pack, tier: 6, replication: Replication::default(), image: None };
    let batch = [net.tx(&client(50), Call::SetPolicy(change)), net.tx(&client(10), early)];
    let done = net.run(&batch);
    assert!(done.results[0].outcome.is_ok());
    assert_eq!(done.results[1].outcome.as_ref().map_err(|e| e.code), Err(Code::BadField as u32), "tier 6 comes later");
    let (now, params) = (shown(&net), net.params());
    assert_eq!((params.tiers, params.freshness_rounds, params.candidates_per_decision), (7, 9, 2));
    assert_eq!((&now["tiers"], &now["candidates_per_decision"]), (&serde_json::json!(7), &serde_json::json!(2)));
    assert_eq!(now["governance"], serde_json::json!(address(&client(50))));
    let tx = job(&mut net, 11, None);
    net.run_ok(&[tx]);
    net.run(&[]);
    let sampled = net.decided()[0].1.decision.as_ref().map(|d| d.candidates.len());
    assert_eq!(sampled, Some(2));
    // Out of range, empty, too many.
    let over = PolicyChange { candidates_per_decision: Some(61), ..PolicyChange::default() };
    let tx = net.tx(&client(50), Call::SetPolicy(over));
    refused(&mut net, &client(50), tx, Code::BadField, gas::TRANSACTION);
    let tx = net.tx(&client(50), Call::SetPolicy(PolicyChange::default()));
    void(&net, &tx, Code::BadField);
    net.rewind(&client(50));
    let crowd = SubmitterRule::Listed(vec![Address([1; 20]); MAX_SUBMITTERS + 1]);
    let tx = net.tx(&client(50), Call::SetPolicy(PolicyChange { submitters: Some(crowd), ..PolicyChange::default() }));
    void(&net, &tx, Code::BadField);
}
