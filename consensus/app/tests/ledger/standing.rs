//! Liveness: what an epoch's service leads to.

use crate::epochs::{committee, prove};
use crate::support::{EPOCH_BLOCKS, Net, digest, genesis};
use parallax_consensus_app::Executed;
use parallax_consensus_app::standing::{self, Faults, Freeze, FreezeReason, Standing};
use parallax_consensus_app::tx::Call;
use parallax_primitives::{Epoch, Event, Height, NodeId};
use parallax_rounds::{LivenessParameters, Phase};

fn net(rules: LivenessParameters) -> Net {
    let mut document = genesis();
    document.paratimes[0].rounds.liveness = rules;
    document.parameters.freeze_liveness_epochs = 1;
    Net::of(document)
}

const RULES: LivenessParameters = LivenessParameters {
    min_live_rounds_percent: 75,
    max_missed_proposals_percent: 50,
    min_live_rounds_for_evaluation: 2,
    max_liveness_faults: 0,
};

fn of(net: &Net, node: &NodeId) -> Standing {
    standing::standing(&*net.view(), node).unwrap()
}

fn told<'a>(events: &'a [Event], name: &str) -> Vec<&'a Event> {
    events.iter().filter(|e| e.name == name).collect()
}

fn seats(net: &Net, node: &NodeId) -> bool {
    let committee = committee(net).unwrap();
    committee.is_worker(node) || committee.is_backup(node)
}

/// One round that is announced by rank 0, voted for by everybody but `absent`, and accepted.
fn round(net: &mut Net, absent: &NodeId) -> Vec<Event> {
    let machine = net.machine();
    let seated = machine.committee().unwrap().clone();
    let root = digest(&format!("root {}", machine.round()));
    let mut all: Vec<Event> = Vec::new();
    let mut take = |executed: Executed| {
        all.extend(executed.receipts.into_iter().flat_map(|r| r.events));
        all.extend(executed.events);
    };
    net.announce(0).outcome.unwrap();
    let votes = seated.workers.iter().filter(|w| *w != absent).map(|w| net.verdict(w, root, vec![])).collect();
    take(net.commit(votes));
    while net.machine().round() == machine.round() && matches!(net.machine().phase(), Phase::Detect { .. }) {
        take(net.run(vec![]));
    }
    if net.machine().round() == machine.round() {
        let votes = seated.backups.iter().filter(|b| *b != absent).map(|b| net.verdict(b, root, vec![])).collect();
        take(net.commit(votes));
    }
    assert_eq!(net.machine().round(), machine.round().next(), "the round ended");
    all
}

/// An epoch in which one node serves in none of the rounds, four of them in which it is not the first choice.
fn epoch_without(net: &mut Net, absent: &NodeId) -> Vec<Event> {
    let end = parallax_consensus_app::epoch::current(&*net.view()).unwrap().next_first_height.saturating_sub(1);
    prove(net, 4);
    let mut events = Vec::new();
    for _ in 0..4 {
        let machine = net.machine();
        if machine.committee().unwrap().worker_of_rank(machine.round(), 0) == Some(*absent) {
            // Its turn: the round fails for want of a proposal, because nobody announces here.
            let due = machine.due().unwrap();
            if due >= end {
                break;
            }
            events.extend(net.run_to(due));
        }
        let machine = net.machine();
        // An announcement two blocks on must still be resolved in this epoch.
        if machine.gas_room(net.height().saturating_add(2)).is_none_or(|room| room.0 < 1_000) {
            break;
        }
        events.extend(round(net, absent));
    }
    events.extend(net.run_to(end));
    events
}

#[test]
fn a_worker_that_is_never_there_is_suspended_for_two_epochs_and_may_then_return() {
    let mut net = net(RULES);
    let node = committee(&net).unwrap().workers[0];
    let events = epoch_without(&mut net, &node);
    let fault = told(&events, "liveness.fault");
    assert_eq!(fault.len(), 1, "{fault:?}");
    assert_eq!(fault[0].get("node"), Some(node.to_string().as_str()));
    let suspended_until = Epoch(3);
    assert_eq!(of(&net, &node).faults[&net.paratime], Faults { count: 1, suspended_until });
    for epoch in 1..=3u64 {
        // With five nodes for five seats, everybody who can be elected is.
        assert_eq!(seats(&net, &node), Epoch(epoch) >= suspended_until, "epoch {epoch}");
        prove(&mut net, 4);
        net.run_to(Height((epoch + 1) * EPOCH_BLOCKS));
    }
    assert_eq!(of(&net, &node).faults[&net.paratime].count, 1, "idle epochs forgive nothing");
}

#[test]
fn a_good_epoch_takes_a_fault_back() {
    let mut net = net(RULES);
    let node = committee(&net).unwrap().workers[0];
    epoch_without(&mut net, &node);
    for epoch in 2..=3u64 {
        prove(&mut net, 4);
        net.run_to(Height(epoch * EPOCH_BLOCKS));
    }
    assert!(seats(&net, &node));
    // Nobody is absent now; the node is called on as a worker or, where a worker is missing, as a backup.
    let seated = committee(&net).unwrap();
    let missing = if seated.is_worker(&node) { seated.backups[0] } else { seated.workers[0] };
    let absent = if seated.is_worker(&node) { NodeId::default() } else { missing };
    let events = epoch_without(&mut net, &absent);
    assert_eq!(told(&events, "liveness.forgiven").len(), 1, "{events:?}");
    assert_eq!(of(&net, &node), Standing::default());
}

#[test]
fn too_many_faults_freeze_a_node_until_its_entity_unfreezes_it() {
    let mut net = net(LivenessParameters { max_liveness_faults: 1, ..RULES });
    let node = committee(&net).unwrap().workers[0];
    let events = epoch_without(&mut net, &node);
    assert_eq!(told(&events, "standing.frozen").len(), 1);
    let frozen = Freeze { reason: FreezeReason::Liveness, until: Epoch(2) };
    assert_eq!(of(&net, &node).frozen, Some(frozen));
    let entity = net.operator(&node).entity.clone();
    let early = net.apply(&net.block_with(vec![net.tx(&entity, Call::Unfreeze { node })]));
    assert_eq!(early.receipts[0].outcome.clone().unwrap_err().code, 4);
    prove(&mut net, 4);
    net.run_to(Height(2 * EPOCH_BLOCKS));
    assert_eq!(net.send(&entity, Call::Unfreeze { node }).outcome, Ok(()));
    assert_eq!(of(&net, &node), Standing::default(), "its faults in liveness are settled too");
}

#[test]
fn everybody_who_serves_has_no_fault_and_an_idle_first_choice_has_one() {
    let mut net = net(LivenessParameters { min_live_rounds_for_evaluation: 1, ..RULES });
    prove(&mut net, 4);
    // Every round of the epoch fails for want of a proposal: both workers leave their turns.
    let workers = committee(&net).unwrap().workers;
    let events = net.run_to(Height(EPOCH_BLOCKS));
    let faulty: Vec<&str> = told(&events, "liveness.fault").iter().filter_map(|e| e.get("node")).collect();
    assert_eq!(faulty.len(), 2, "{faulty:?}");
    for worker in &workers {
        assert!(faulty.contains(&worker.to_string().as_str()));
    }
    let seated = committee(&net).unwrap();
    assert!(workers.iter().all(|w| !seated.is_worker(w) && !seated.is_backup(w)), "three nodes are left");
}

#[test]
fn rules_that_are_off_suspend_nobody() {
    let mut net = net(LivenessParameters::OFF);
    let node = committee(&net).unwrap().workers[0];
    let events = epoch_without(&mut net, &node);
    assert!(told(&events, "liveness.fault").is_empty());
    assert!(!told(&events, "liveness.charged").is_empty(), "what happened is told all the same");
    assert!(seats(&net, &node));
}
