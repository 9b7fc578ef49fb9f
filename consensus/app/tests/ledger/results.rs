//! Rounds through transactions: what the ledger does with the machine's verdicts.

use crate::support::{BALANCE, Net, STAKE, digest, events};
use parallax_consensus_app::tx::Call;
use parallax_consensus_app::{registry, rounds};
use parallax_primitives::message::OutMessage;
use parallax_primitives::{Address, Amount, ParaTimeId, Round};
use parallax_rounds::{BlockKind, Outcome, SignedCommitment};

/// The workers in the order of their ranks in the round under way.
fn ranked(net: &Net) -> Vec<parallax_primitives::NodeId> {
    let machine = net.machine();
    let committee = machine.committee().unwrap();
    (0..2).map(|rank| committee.worker_of_rank(machine.round(), rank).unwrap()).collect()
}

#[test]
fn a_round_is_announced_committed_and_finalised() {
    let mut net = Net::new();
    let workers = ranked(&net);
    let receipt = net.announce(0);
    assert_eq!(receipt.outcome, Ok(()));
    assert_eq!(receipt.events[0].name, "rounds.announced");
    assert_eq!(receipt.events[0].get("round"), Some("1"));
    let verdicts: Vec<SignedCommitment> = workers.iter().map(|w| net.verdict(w, digest("root 1"), vec![])).collect();
    let executed = net.commit(verdicts);
    let finalized = events(&executed, "rounds.finalized");
    assert_eq!(finalized.len(), 1);
    assert_eq!(finalized[0].get("state_root"), Some(digest("root 1").to_string().as_str()));
    assert_eq!(finalized[0].get("discrepancy"), Some("false"));
    let block = rounds::latest(&*net.view(), &net.paratime).unwrap().unwrap();
    assert_eq!((block.kind, block.round, block.height), (BlockKind::Normal, Round(1), net.height()));
    assert_eq!(block.state_root, digest("root 1"));
    assert_eq!(rounds::block(&*net.view(), &net.paratime, Round(1)).unwrap(), Some(block.clone()));
    let key = parallax_consensus_app::keys::paratime_block(&net.paratime, Round(1));
    let proof = parallax_consensus_app::Application::query(&net.ledger, None, &key).unwrap();
    proof.verify(&net.root()).unwrap();
    let proven: parallax_rounds::ParaTimeBlock =
        parallax_consensus_app::stored::from_value(&key, proof.value().unwrap()).unwrap();
    assert_eq!(proven, block);
    assert_eq!(net.machine().round(), Round(2));
}

#[test]
fn only_the_last_rounds_stay_in_the_state() {
    let mut net = Net::new();
    for round in 1..=5u64 {
        let workers = ranked(&net);
        net.announce(0).outcome.unwrap();
        let root = digest(&format!("root {round}"));
        let verdicts = workers.iter().map(|w| net.verdict(w, root, vec![])).collect();
        net.commit(verdicts);
    }
    let kept = |round| rounds::block(&*net.view(), &net.paratime, Round(round)).unwrap().is_some();
    assert_eq!([kept(2), kept(3), kept(4), kept(5)], [false, true, true, true]);
}

#[test]
fn a_discrepancy_is_resolved_and_the_wrong_worker_slashed_with_the_supply_conserved() {
    let mut net = Net::new();
    let workers = ranked(&net);
    let backups = net.machine().committee().unwrap().backups.clone();
    net.announce(0).outcome.unwrap();
    let honest = digest("right");
    let executed =
        net.commit(vec![net.verdict(&workers[0], honest, vec![]), net.verdict(&workers[1], digest("wrong"), vec![])]);
    assert_eq!(events(&executed, "rounds.discrepancy").len(), 1);
    assert_eq!(events(&executed, "rounds.finalized").len(), 0);
    let executed = net.commit(backups[..2].iter().map(|b| net.verdict(b, honest, vec![])).collect());
    let finalized = events(&executed, "rounds.finalized");
    assert_eq!(finalized[0].get("discrepancy"), Some("true"));
    let slashed = events(&executed, "staking.slashed");
    assert_eq!(slashed.len(), 1);
    assert_eq!(slashed[0].get("node"), Some(workers[1].to_string().as_str()));
    // A tenth of the stake; half of it to the treasury, the rest to the three entities that agreed.
    let (taken, treasury) = (STAKE / 10, STAKE / 20);
    let reward = (taken - treasury) / 3;
    assert_eq!(net.stake(&net.operator(&workers[1]).entity()).active, Amount(STAKE - taken));
    for node in [workers[0], backups[0], backups[1]] {
        assert_eq!(net.balance(&net.operator(&node).entity()), BALANCE + reward);
        assert_eq!(net.stake(&net.operator(&node).entity()).active, Amount(STAKE));
    }
    let account = registry::paratime_account(&net.paratime);
    assert_eq!(net.balance(&account), taken - 3 * reward);
}

#[test]
fn a_wrong_scheduler_fails_the_round_and_is_slashed() {
    let mut net = Net::new();
    let workers = ranked(&net);
    let backups = net.machine().committee().unwrap().backups.clone();
    net.announce(0).outcome.unwrap();
    let honest = digest("right");
    net.commit(vec![net.verdict(&workers[0], digest("wrong"), vec![]), net.verdict(&workers[1], honest, vec![])]);
    let executed = net.commit(backups[..2].iter().map(|b| net.verdict(b, honest, vec![])).collect());
    let failed = events(&executed, "rounds.failed");
    assert_eq!(failed[0].get("reason"), Some("scheduler-wrong"));
    assert_eq!(net.stake(&net.operator(&workers[0]).entity()).active, Amount(STAKE - STAKE / 10));
    let block = rounds::latest(&*net.view(), &net.paratime).unwrap().unwrap();
    assert_eq!((block.kind, block.state_root), (BlockKind::RoundFailed, digest("root 0")));
}

#[test]
fn stake_on_its_way_out_is_slashed_too() {
    let mut net = Net::new();
    let workers = ranked(&net);
    let backups = net.machine().committee().unwrap().backups.clone();
    let cheat = net.operator(&workers[1]).entity.clone();
    let entity = Address::of(&cheat.public());
    net.send(&cheat, Call::Reclaim { from: entity, amount: Amount(STAKE) }).outcome.unwrap();
    net.announce(0).outcome.unwrap();
    let honest = digest("right");
    net.commit(vec![net.verdict(&workers[0], honest, vec![]), net.verdict(&workers[1], digest("wrong"), vec![])]);
    net.commit(backups[..2].iter().map(|b| net.verdict(b, honest, vec![])).collect());
    assert_eq!(net.stake(&entity).total(), Amount(STAKE - STAKE / 10));
}

#[test]
fn one_bad_commitment_rejects_itself_and_not_its_neighbours() {
    let mut net = Net::new();
    let workers = ranked(&net);
    net.announce(0).outcome.unwrap();
    let good = net.verdict(&workers[0], digest("root 1"), vec![]);
    let mut forged = net.verdict(&workers[1], digest("root 1"), vec![]);
    forged.signature = good.signature;
    let executed = net.commit(vec![forged.clone(), good.clone()]);
    assert_eq!(executed.receipts[0].outcome, Ok(()));
    assert_eq!(events(&executed, "rounds.commitment_refused").len(), 1);
    let counted = events(&executed, "rounds.commitment");
    assert_eq!(counted.len(), 1);
    // What was voted for stays readable when the machine has forgotten the round.
    let vote = good.commitment.outcome.vote().unwrap();
    assert_eq!(counted[0].get("node"), Some(workers[0].to_string().as_str()));
    assert_eq!(counted[0].get("proposal"), Some(good.commitment.proposal.to_string().as_str()));
    assert_eq!((counted[0].get("seat"), counted[0].get("outcome")), (Some("worker"), Some("success")));
    assert_eq!(counted[0].get("vote"), Some(vote.to_string().as_str()));
    let Outcome::Success { state_root, trace_root, .. } = good.commitment.outcome else { panic!("it is a success") };
    assert_eq!(counted[0].get("state_root"), Some(state_root.to_string().as_str()));
    assert_eq!(counted[0].get("trace_root"), Some(trace_root.to_string().as_str()));
    assert_eq!(net.machine().live().unwrap().votes.len(), 1);
    // With no good one the call fails, and says why with the machine's code.
    let executed = net.commit(vec![forged, good]);
    let failure = executed.receipts[0].outcome.clone().unwrap_err();
    assert_eq!((failure.module.as_str(), failure.code), ("rounds", 1));
}

#[test]
fn calls_for_an_unknown_paratime_or_without_commitments_are_not_admitted() {
    let mut net = Net::new();
    let user = net.users[0].clone();
    let unknown = ParaTimeId::named("unknown");
    let proposal = net.proposal(0);
    for (call, code) in [
        (Call::Announce { paratime: unknown, proposal }, 101),
        (Call::Commit { paratime: net.paratime, commitments: vec![] }, 102),
    ] {
        let bytes = net.tx(&user, call);
        let admission = parallax_consensus_app::Application::check(&net.ledger, &*net.view(), &bytes).unwrap_err();
        let executed = net.apply(&net.block_with(vec![bytes]));
        let failure = executed.receipts[0].outcome.clone().unwrap_err();
        assert_eq!((failure.module.as_str(), failure.code), ("rounds", code));
        assert_eq!(admission.code, code);
    }
}

#[test]
fn outgoing_messages_are_paid_from_the_paratimes_account_and_a_failing_one_is_recorded() {
    let mut net = Net::new();
    let account = registry::paratime_account(&net.paratime);
    let (user, to) = (net.users[0].clone(), Address::of(&net.users[1].public()));
    net.send(&user, Call::Transfer { to: account, amount: Amount(100) }).outcome.unwrap();
    let workers = ranked(&net);
    net.announce(0).outcome.unwrap();
    let send = |amount| OutMessage::Transfer { to, amount: Amount(amount) };
    let messages = vec![send(60), send(60), send(40)];
    let verdicts = workers.iter().map(|w| net.verdict(w, digest("root 1"), messages.clone())).collect();
    let executed = net.commit(verdicts);
    let failed = events(&executed, "rounds.message_failed");
    assert_eq!(failed.len(), 1);
    assert_eq!((failed[0].get("index"), failed[0].get("code")), (Some("1"), Some("1")));
    assert_eq!((net.balance(&account), net.balance(&to)), (0, BALANCE + 100));
    assert_eq!(net.machine().round(), Round(2), "a failing message does not fail the round");
}

#[test]
fn a_silent_scheduler_is_charged_and_the_next_rank_announces() {
    let mut net = Net::new();
    let workers = ranked(&net);
    net.announce(0).outcome.unwrap();
    let deadline = net.machine().due().unwrap();
    let told = net.run_to(deadline.next());
    let charged: Vec<_> = told.iter().filter(|e| e.name == "liveness.charged").collect();
    assert_eq!(charged.len(), 1);
    assert_eq!(charged[0].get("node"), Some(workers[0].to_string().as_str()));
    assert!(told.iter().any(|e| e.name == "rounds.proposal_dropped"));
    assert_eq!(net.announce(1).outcome, Ok(()));
    assert_eq!(net.machine().round(), Round(1));
}

#[test]
fn a_low_rank_cannot_announce_before_its_window() {
    let mut net = Net::new();
    let failure = net.announce(1).outcome.unwrap_err();
    assert_eq!((failure.module.as_str(), failure.code), ("rounds", 7));
    assert!(net.machine().live().is_none());
}

#[test]
fn an_idle_round_ends_for_want_of_a_proposal_and_its_workers_are_charged() {
    let mut net = Net::new();
    let due = net.machine().due().unwrap();
    let told = net.run_to(due.next());
    let failed: Vec<_> = told.iter().filter(|e| e.name == "rounds.failed").collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].get("reason"), Some("no-proposal"));
    assert_eq!(net.machine().round(), Round(2));
    assert_eq!(rounds::seats(&*net.view(), &net.computes[0].id()).unwrap().len(), 1);
}
