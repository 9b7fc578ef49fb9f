use crate::evidence::two_votes;
use crate::support::{Net, STAKE, digest, genesis};
use parallax_consensus_app::tx::{Call, Transaction, TxBody};
use parallax_consensus_app::{beacon, check_invariants, epoch};
use parallax_primitives::message::OutMessage;
use parallax_primitives::{Address, Amount, Gas, NodeId, Nonce, Round, SecretKey};
use parallax_rounds::LivenessParameters;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// A call of some account, sensible or not.
#[derive(Clone, Debug)]
struct Attempt {
    sender: usize,
    nonce: u64,
    fee: u128,
    kind: u8,
    to: usize,
    amount: u128,
    flip: Option<usize>,
}

fn attempt() -> impl Strategy<Value = Attempt> {
    let amount = prop_oneof![Just(0), 1..1_000u128, 900_000..11_000_000u128, Just(u128::MAX)];
    let fee = prop_oneof![Just(0u128), 200..2_000u128, 9_000_000..11_000_000u128];
    let flip = prop_oneof![9 => Just(None), 1 => (0..200usize).prop_map(Some)];
    (0..5usize, 0..6u64, fee, 0..9u8, 0..5usize, amount, flip)
        .prop_map(|(sender, nonce, fee, kind, to, amount, flip)| Attempt { sender, nonce, fee, kind, to, amount, flip })
}

/// Two users, two entities of compute nodes, and the scheduler of the first round.
fn keys(net: &Net) -> Vec<SecretKey> {
    let scheduler = net.proposal(0).proposal.scheduler;
    vec![
        net.users[0].clone(),
        net.users[1].clone(),
        net.computes[0].entity.clone(),
        net.computes[1].entity.clone(),
        net.operator(&scheduler).node.clone(),
    ]
}

fn build(net: &Net, keys: &[SecretKey], attempt: &Attempt) -> Vec<u8> {
    let key = &keys[attempt.sender];
    let to = Address::of(&keys[attempt.to].public());
    let amount = Amount(attempt.amount);
    let call = match attempt.kind {
        0 | 1 => Call::Transfer { to, amount },
        2 => Call::Escrow { to, amount },
        3 => Call::Reclaim { from: to, amount },
        6 => Call::SendMessage { paratime: net.paratime, fee: Amount(1_000), tokens: amount, data: vec![1; 3] },
        // Of a member or of somebody else, about the round under way or another one.
        7 => {
            let culprit = if attempt.to < 4 { &net.computes[attempt.to].node } else { key };
            let evidence = Box::new(two_votes(net, culprit, Round(attempt.nonce / 2 + 1)));
            Call::SubmitEvidence { paratime: net.paratime, evidence }
        }
        8 => Call::Unfreeze { node: net.computes[attempt.to].id() },
        4 => Call::Announce { paratime: net.paratime, proposal: net.proposal(0) },
        _ => match net.machine().live() {
            // Members with a right or a wrong result: rounds end and nodes are slashed. Messages pay more than there is,
            // or less.
            Some(_) => {
                let result = if attempt.amount > 900_000 { "wrong" } else { "right" };
                let pay = OutMessage::Transfer { to, amount: Amount(attempt.amount / 2) };
                let members: Vec<_> =
                    net.machine().committee().map_or(vec![], |c| [&c.workers[..], &c.backups].concat());
                let verdict = |node: &_| net.verdict(node, digest(result), vec![pay.clone()]);
                let commitments = members.iter().skip(attempt.to).map(verdict).collect();
                Call::Commit { paratime: net.paratime, commitments }
            }
            None => Call::Commit { paratime: net.paratime, commitments: vec![] },
        },
    };
    let body = TxBody { nonce: Nonce(attempt.nonce), fee: Amount(attempt.fee), gas_limit: Gas(4_000), call };
    let body = if attempt.fee == 0 { body } else { TxBody { fee: body.fee.max(Amount(4_000)), ..body } };
    let mut bytes = Transaction::sign(body, net.chain, key).encode();
    if let Some(at) = attempt.flip {
        let at = at % bytes.len();
        bytes[at] ^= 1;
    }
    bytes
}

/// One thing that happens to a chain, always well-formed.
#[derive(Clone, Debug)]
enum Step {
    /// The rank announces, if it may.
    Announce(u16),
    /// These members commit, in this order. The flag says whether the liar among them lies; all others are honest.
    Commit(Vec<(usize, bool)>),
    /// A member contradicted itself in the round under way, or so many rounds before.
    Equivocate(usize, u64),
    Message(u128),
    Unfreeze(usize),
    Blocks(u64),
    EpochEnds,
}

fn step() -> impl Strategy<Value = Step> {
    let votes = proptest::collection::vec((0..5usize, any::<bool>()), 1..6);
    prop_oneof![
        4 => (0..2u16).prop_map(Step::Announce),
        6 => votes.prop_map(Step::Commit),
        2 => (0..5usize, 0..3u64).prop_map(|(node, back)| Step::Equivocate(node, back)),
        2 => (0..5_000u128).prop_map(Step::Message),
        1 => (0..5usize).prop_map(Step::Unfreeze),
        2 => (1..9u64).prop_map(Step::Blocks),
        1 => Just(Step::EpochEnds),
    ]
}

/// Carries a step out; notes who gives cause for a slash. Only one node ever votes for a wrong result: that an honest
/// node is never penalised holds for committees with an honest worker and an honest majority of backups.
fn take(net: &mut Net, step: &Step, liar: usize, guilty: &mut BTreeSet<NodeId>) {
    let relay = net.users[2].clone();
    let call = match step {
        Step::Announce(rank) if net.machine().committee().is_some() => {
            Call::Announce { paratime: net.paratime, proposal: net.proposal(*rank) }
        }
        Step::Commit(votes) if net.machine().live().is_some() => {
            let pay = OutMessage::Transfer { to: Address([9; 20]), amount: Amount(1_500) };
            let mut commitments = Vec::new();
            for (index, lies) in votes {
                let node = net.computes[*index].id();
                let wrong = *lies && *index == liar;
                if wrong {
                    guilty.insert(node);
                }
                let result = if wrong { "wrong" } else { "right" };
                commitments.push(net.verdict(&node, digest(result), vec![pay.clone()]));
            }
            Call::Commit { paratime: net.paratime, commitments }
        }
        Step::Equivocate(index, back) => {
            let round = net.machine().round().saturating_sub(*back);
            guilty.insert(net.computes[*index].id());
            let evidence = Box::new(two_votes(net, &net.computes[*index].node, round));
            Call::SubmitEvidence { paratime: net.paratime, evidence }
        }
        Step::Message(tokens) => {
            let (fee, tokens) = (Amount(1_000), Amount(*tokens));
            Call::SendMessage { paratime: net.paratime, fee, tokens, data: vec![] }
        }
        Step::Unfreeze(index) => {
            let operator = &net.computes[*index];
            let (key, node) = (operator.entity.clone(), operator.id());
            let tx = net.tx(&key, Call::Unfreeze { node });
            net.apply(&net.block_with(vec![tx]));
            return;
        }
        Step::EpochEnds => {
            let now = epoch::current(&*net.view()).unwrap();
            let input = beacon::input(net.chain, now.epoch.next(), &now.entropy);
            let proofs = net.validators.iter().map(|v| {
                net.tx(&v.node, Call::BeaconProof { epoch: now.epoch.next(), output: v.vrf.evaluate(&input) })
            });
            let proofs = proofs.collect();
            net.apply(&net.block_with(proofs));
            net.run_to(now.next_first_height.saturating_sub(1));
            return;
        }
        Step::Blocks(count) => {
            net.run_to(net.height().saturating_add(*count));
            return;
        }
        Step::Announce(_) | Step::Commit(_) => return,
    };
    let tx = net.tx(&relay, call);
    net.apply(&net.block_with(vec![tx]));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_proposed_is_valid_conserves_the_supply_and_gives_one_root(
        blocks in proptest::collection::vec(proptest::collection::vec(attempt(), 0..12), 1..6)
    ) {
        let (mut net, mut twin) = (Net::new(), Net::new());
        let keys = keys(&net);
        for attempts in &blocks {
            let candidates: Vec<Vec<u8>> = attempts.iter().map(|a| build(&net, &keys, a)).collect();
            let block = net.propose(candidates.clone());
            for tx in &block.transactions {
                prop_assert!(candidates.contains(tx));
            }
            // `apply` delivers, commits and checks the invariants, of which the supply is one.
            let executed = net.apply(&block);
            prop_assert_eq!(executed.receipts.len(), block.transactions.len());
            let again = twin.apply(&block);
            prop_assert_eq!((again.app_hash, again.receipts), (executed.app_hash, executed.receipts));
        }
        check_invariants(&*net.view()).unwrap();
    }

    #[test]
    fn rounds_slashes_evidence_and_messages_conserve_the_supply_and_penalise_the_guilty_alone(
        liar in 0..5usize,
        steps in proptest::collection::vec(step(), 1..30)
    ) {
        let mut document = genesis();
        document.paratimes[0].rounds.liveness = LivenessParameters {
            min_live_rounds_percent: 75,
            max_missed_proposals_percent: 50,
            min_live_rounds_for_evaluation: 1,
            max_liveness_faults: 2,
        };
        document.parameters.freeze_equivocation_epochs = 1;
        let mut net = Net::of(document);
        let mut guilty = BTreeSet::new();
        for step in &steps {
            // `apply` and `run` check the invariants after each block.
            take(&mut net, step, liar, &mut guilty);
            for operator in &net.computes {
                let untouched = net.stake(&operator.entity()).active == Amount(STAKE);
                prop_assert!(untouched || guilty.contains(&operator.id()), "{} was slashed for nothing", operator.id());
            }
        }
    }

    #[test]
    fn bytes_that_are_no_transaction_never_panic_and_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let net = Net::new();
        prop_assert!(parallax_consensus_app::Application::check(&net.ledger, &*net.view(), &bytes).is_err());
        prop_assert!(net.deliver(&net.block_with(vec![bytes])).is_err());
    }
}
