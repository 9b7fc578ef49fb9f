//! Messages into ParaTimes and out of them.

use crate::support::{Net, digest, events, genesis, profile, round_parameters};
use parallax_consensus_app::genesis::ParaTimeDescriptor;
use parallax_consensus_app::tx::Call;
use parallax_consensus_app::{Executed, messages, registry, rounds};
use parallax_primitives::message::{InMessage, MessageResult, OutMessage};
use parallax_primitives::{Address, Amount, NodeId, ParaTimeId, limits};
use parallax_rounds::RoundState;

const FEE: u128 = 1_000;

fn send(net: &mut Net, tokens: u128, data: &[u8]) -> Result<(), (String, u32)> {
    let sender = net.users[0].clone();
    let call =
        Call::SendMessage { paratime: net.paratime, fee: Amount(FEE), tokens: Amount(tokens), data: data.to_vec() };
    let tx = net.tx(&sender, call);
    let block = net.block_with(vec![tx]);
    net.apply(&block).receipts.remove(0).outcome.map_err(|error| (error.module, error.code))
}

fn refused(module: &str, code: u32) -> Result<(), (String, u32)> {
    Err((module.to_owned(), code))
}

/// Runs a round whose workers agree that it consumed these messages and sent those.
fn round(net: &mut Net, consumed: &[InMessage], sent: Vec<OutMessage>) -> Executed {
    assert_eq!(net.announce(0).outcome, Ok(()));
    let workers: Vec<NodeId> = net.machine().committee().unwrap().workers.clone();
    let vote = |node| net.verdict_consuming(node, digest("state"), consumed, sent.clone());
    let votes = workers.iter().map(vote).collect();
    net.commit(votes)
}

#[test]
fn a_message_pays_waits_for_the_next_round_and_is_popped_when_that_is_finalised() {
    let mut net = Net::new();
    let (sender, account) = (Address::of(&net.users[0].public()), registry::paratime_account(&net.paratime));
    let before = net.balance(&sender);
    assert_eq!(send(&mut net, 500, b"hello"), Ok(()));
    assert_eq!(net.balance(&account), FEE + 500);
    assert!(net.balance(&sender) < before - FEE - 500, "and the transaction's own fee");
    assert_eq!(send(&mut net, 0, b""), Ok(()), "tokens are no duty");
    let machine = net.machine();
    assert_eq!((machine.queued_in_messages(), machine.offered_in_messages().len()), (2, 0));
    assert!(machine.has_work());
    // The round under way began before they came.
    assert_eq!(events(&round(&mut net, &[], vec![]), "rounds.finalized").len(), 1);
    let offered = net.machine().offered_in_messages().to_vec();
    let first = InMessage { id: 0, caller: sender, tokens: Amount(500), data: b"hello".to_vec() };
    assert_eq!(offered, [first.clone(), InMessage { id: 1, tokens: Amount(0), data: vec![], ..first.clone() }]);
    // A program may take fewer than there are; the rest is offered again.
    assert_eq!(events(&round(&mut net, &[first], vec![]), "rounds.finalized").len(), 1);
    assert_eq!(net.machine().offered_in_messages(), &offered[1..]);
    assert_eq!(send(&mut net, 1, b""), Ok(()));
    assert_eq!(net.machine().next_in_message(), 3, "ids are not used twice");
}

#[test]
fn a_result_that_consumed_something_else_fails_the_round_and_leaves_queue_and_records_alone() {
    let mut net = Net::new();
    assert_eq!(send(&mut net, 500, b"hello"), Ok(()));
    round(&mut net, &[], vec![]);
    let offered = net.machine().offered_in_messages().to_vec();
    let records = net.machine().records().clone();
    let other = InMessage { tokens: Amount(5_000), ..offered[0].clone() };
    let greedy = OutMessage::Transfer { to: Address([9; 20]), amount: Amount(1) };
    let executed = round(&mut net, &[other], vec![greedy]);
    assert_eq!(events(&executed, "rounds.failed")[0].get("reason"), Some("in-messages"));
    assert_eq!(net.machine().offered_in_messages(), &offered[..]);
    assert_eq!(*net.machine().records(), records, "nobody is credited");
    assert_eq!(net.balance(&Address([9; 20])), 0, "and nothing is sent");
}

#[test]
fn messages_beyond_a_limit_are_refused_and_their_tokens_stay_with_the_sender() {
    let mut net = Net::new();
    let account = registry::paratime_account(&net.paratime);
    let large = vec![0; limits::MAX_IN_MESSAGE_BYTES];
    assert_eq!(send(&mut net, 1, &[large.clone(), vec![0]].concat()), refused("messages", 1));
    for _ in 0..4 {
        assert_eq!(send(&mut net, 1, &large), Ok(()), "four fill the queue's bytes");
    }
    let held = net.balance(&account);
    assert_eq!(send(&mut net, 1, b"x"), refused("rounds", 22));
    assert_eq!(net.balance(&account), held);
    while net.machine().queued_in_messages() < 128 {
        assert_eq!(send(&mut net, 1, b""), Ok(()));
    }
    assert_eq!(send(&mut net, 1, b""), refused("rounds", 22));
    assert_eq!(net.balance(&account), 128 * (FEE + 1));
}

#[test]
fn a_message_with_too_small_a_fee_or_to_nobody_is_not_even_pooled() {
    let net = Net::new();
    let refused = |paratime, fee: u128, tokens: u128| {
        let call = Call::SendMessage { paratime, fee: Amount(fee), tokens: Amount(tokens), data: vec![] };
        let tx = net.tx(&net.users[0], call);
        let error = parallax_consensus_app::Application::check(&net.ledger, &*net.view(), &tx).unwrap_err();
        (error.module, error.code)
    };
    assert_eq!(refused(net.paratime, FEE - 1, 0), ("messages".to_owned(), 2));
    assert_eq!(refused(ParaTimeId::named("nobody"), FEE, 0), ("rounds".to_owned(), 101));
    assert_eq!(refused(net.paratime, FEE, u128::MAX), ("messages".to_owned(), 3));
    assert_eq!(refused(net.paratime, FEE, u128::MAX - FEE), ("staking".to_owned(), 1));
}

#[test]
fn a_failing_outgoing_message_leaves_the_round_and_its_neighbours_alone_and_its_code_is_kept() {
    let mut net = Net::new();
    assert_eq!(messages::results(&*net.view(), &net.paratime).unwrap(), []);
    assert_eq!(send(&mut net, 100, b""), Ok(()));
    let (to, account) = (Address([9; 20]), registry::paratime_account(&net.paratime));
    let pay = |amount| OutMessage::Transfer { to, amount: Amount(amount) };
    let executed = round(&mut net, &[], vec![pay(60), pay(u128::MAX), pay(0), pay(40)]);
    assert_eq!(events(&executed, "rounds.finalized").len(), 1);
    assert_eq!(events(&executed, "rounds.message_failed").len(), 2);
    assert_eq!((net.balance(&to), net.balance(&account)), (100, FEE));
    let failed = |code| MessageResult { module: "staking".to_owned(), code };
    let wanted = [MessageResult::done(), failed(1), failed(2), MessageResult::done()];
    assert_eq!(messages::results(&*net.view(), &net.paratime).unwrap(), wanted);
    // A failed round tells nobody anything; the next accepted one has its own results.
    let due = net.machine().due().unwrap();
    net.run_to(due);
    assert_eq!(messages::results(&*net.view(), &net.paratime).unwrap(), wanted);
    let offered = net.machine().offered_in_messages().to_vec();
    round(&mut net, &offered, vec![]);
    assert_eq!(messages::results(&*net.view(), &net.paratime).unwrap(), []);
}

/// A chain with two ParaTimes whose ids are neighbours.
fn neighbours() -> (Net, ParaTimeId) {
    let mut document = genesis();
    let mut id = document.paratimes[0].id;
    for byte in id.0.iter_mut().rev() {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            break;
        }
    }
    document.paratimes.push(ParaTimeDescriptor {
        id,
        kind: "test".to_owned(),
        rounds: round_parameters(),
        profile: profile(),
        key_set: digest("key set"),
        genesis_root: digest("root 0"),
    });
    (Net::of(document), id)
}

#[test]
fn what_waits_for_one_paratime_never_reaches_another() {
    let (mut net, other) = neighbours();
    let machine = |net: &Net, id: &ParaTimeId| -> RoundState { rounds::state(&*net.view(), id).unwrap().unwrap() };
    assert_eq!(send(&mut net, 500, b"for the first"), Ok(()));
    let sender = net.users[0].clone();
    let call =
        Call::SendMessage { paratime: other, fee: Amount(FEE), tokens: Amount(7), data: b"for the other".to_vec() };
    net.send(&sender, call).outcome.unwrap();
    let own = net.paratime;
    let queue = |net: &Net, id: &ParaTimeId| machine(net, id).queued_in_messages();
    assert_eq!((queue(&net, &own), queue(&net, &other)), (1, 1));
    round(&mut net, &[], vec![]);
    let offered = machine(&net, &own).offered_in_messages().to_vec();
    assert_eq!(offered.len(), 1);
    assert_eq!((offered[0].id, &offered[0].data[..]), (0, &b"for the first"[..]));
    let pay = OutMessage::Transfer { to: Address([9; 20]), amount: Amount(FEE + 501) };
    round(&mut net, &offered, vec![pay]);
    assert_eq!((queue(&net, &own), queue(&net, &other)), (0, 1));
    assert_eq!(net.balance(&Address([9; 20])), 0, "a ParaTime cannot pay with its neighbour's tokens");
    assert_eq!(net.balance(&registry::paratime_account(&other)), FEE + 7);
    assert_eq!(messages::results(&*net.view(), &other).unwrap(), [], "nor does it learn of its neighbour's messages");
}

#[test]
fn a_conviction_in_one_paratime_is_none_in_its_neighbour() {
    let (mut net, other) = neighbours();
    let first = rounds::committee(&*net.view(), &net.paratime).unwrap().unwrap();
    let key = net.operator(&first.workers[0]).node.clone();
    let evidence = Box::new(crate::evidence::two_votes(&net, &key, parallax_primitives::Round(1)));
    let reporter = net.users[1].clone();
    let call = Call::SubmitEvidence { paratime: net.paratime, evidence };
    net.send(&reporter, call).outcome.unwrap();
    let convicted = |id| {
        let round = parallax_primitives::Round(1);
        parallax_consensus_app::evidence::convicted(&*net.view(), id, round, &key.public()).unwrap()
    };
    assert!(convicted(&net.paratime).is_some());
    assert_eq!(convicted(&other), None);
    assert_eq!(rounds::state(&*net.view(), &other).unwrap().unwrap().round(), parallax_primitives::Round(1));
}

#[test]
fn commitments_cost_gas_each_and_not_once_a_transaction() {
    let mut net = Net::new();
    net.announce(0).outcome.unwrap();
    let machine = net.machine();
    let workers = machine.committee().unwrap().workers.clone();
    let relay = net.users[0].clone();
    let gas = |count: usize| {
        let commitments = workers.iter().cycle().take(count).map(|w| net.verdict(w, digest("root"), vec![])).collect();
        let tx = net.tx(&relay, Call::Commit { paratime: net.paratime, commitments });
        let receipt = net.deliver(&net.block_with(vec![tx.clone()])).unwrap().receipts.remove(0);
        receipt.gas_used.0 - tx.len() as u64
    };
    assert_eq!([gas(1), gas(2), gas(5)], [200, 300, 600], "a hundred for each signature");
}
