use crate::support::{Net, digest};
use parallax_consensus_app::check_invariants;
use parallax_consensus_app::tx::{Call, Transaction, TxBody};
use parallax_primitives::{Address, Amount, Gas, Nonce, SecretKey};
use proptest::prelude::*;

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
    (0..5usize, 0..6u64, fee, 0..6u8, 0..5usize, amount, flip)
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
        4 => Call::Announce { paratime: net.paratime, proposal: net.proposal(0) },
        _ => match net.machine().live() {
            Some(live) => {
                let node = live.signed.proposal.scheduler;
                let verdict = net.verdict(&node, digest(&attempt.amount.to_string()), vec![]);
                Call::Commit { paratime: net.paratime, commitments: vec![verdict] }
            }
            None => Call::Commit { paratime: net.paratime, commitments: vec![] },
        },
    };
    let body = TxBody { nonce: Nonce(attempt.nonce), fee: Amount(attempt.fee), gas_limit: Gas(2_000), call };
    let body = if attempt.fee == 0 { body } else { TxBody { fee: body.fee.max(Amount(2_000)), ..body } };
    let mut bytes = Transaction::sign(body, net.chain, key).encode();
    if let Some(at) = attempt.flip {
        let at = at % bytes.len();
        bytes[at] ^= 1;
    }
    bytes
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
    fn bytes_that_are_no_transaction_never_panic_and_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let net = Net::new();
        prop_assert!(parallax_consensus_app::Application::check(&net.ledger, &*net.view(), &bytes).is_err());
        prop_assert!(net.deliver(&net.block_with(vec![bytes])).is_err());
    }
}
