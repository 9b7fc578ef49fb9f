use crate::support::{Net, database, genesis};
use parallax_consensus_app::tx::Call;
use parallax_consensus_app::{Application, Ledger, check_invariants};
use parallax_primitives::{Address, Amount, Height};
use parallax_state::StateView;

fn chunks(net: &Net, height: Height) -> Vec<Vec<u8>> {
    let (mut chunks, mut after) = (Vec::new(), None);
    loop {
        let chunk = net.ledger.load_snapshot_chunk(height, after).unwrap();
        if chunk.is_empty() {
            return chunks;
        }
        after = Some(Ledger::last_key_of(&chunk).unwrap());
        chunks.push(chunk);
    }
}

fn worked() -> Net {
    let mut net = Net::new();
    net.announce(0).outcome.unwrap();
    let user = net.users[0].clone();
    let to = Address::of(&net.users[1].public());
    for _ in 0..4 {
        net.send(&user, Call::Transfer { to, amount: Amount(7) }).outcome.unwrap();
    }
    net
}

#[test]
fn a_restored_snapshot_equals_its_origin_and_follows_the_chain() {
    let mut net = worked();
    let height = *net.ledger.list_snapshots().unwrap().last().unwrap();
    assert_eq!(height, Height(net.height().0 - 1));
    let next = net.ledger.view(height).unwrap();
    let mut joined = Ledger::new(database(), genesis(), net.chain).unwrap().checked(true);
    joined.restore_snapshot(height, next.root(), &chunks(&net, height)).unwrap();
    assert_eq!(joined.last_committed().unwrap(), (height, next.root()));
    let state = |view: &dyn StateView| view.scan(&[]).unwrap();
    assert_eq!(state(&*joined.snapshot().unwrap()), state(&next));
    check_invariants(&*joined.snapshot().unwrap()).unwrap();
    for ahead in 0..=2 {
        let at = Height(height.0 + ahead);
        assert_eq!(joined.validators(at).unwrap(), net.ledger.validators(at).unwrap());
    }
    // From here on both see the same blocks and agree.
    let again = Ledger::new(joined.database().clone(), genesis(), net.chain).unwrap();
    let mut follower = Net::new();
    let chunks = chunks(&net, net.height());
    follower.ledger = Ledger::new(database(), genesis(), net.chain).unwrap().checked(true);
    follower.ledger.restore_snapshot(net.height(), net.root(), &chunks).unwrap();
    for _ in 0..3 {
        let block = net.propose(vec![]);
        net.apply(&block);
        follower.apply(&block);
        assert_eq!(follower.root(), net.root());
    }
    assert_eq!(again.last_committed().unwrap().0, height);
    assert_eq!(joined.init_genesis().unwrap(), next.root(), "a restored store gets no genesis");
}

#[test]
fn a_false_snapshot_is_refused_and_nothing_is_written() {
    let net = worked();
    let (height, root) = (net.height(), net.root());
    let good = chunks(&net, height);
    let mut joined = Ledger::new(database(), genesis(), net.chain).unwrap().checked(true);
    let mut flipped = good.clone();
    let at = flipped[0].len() / 2;
    flipped[0][at] ^= 1;
    assert!(joined.restore_snapshot(height, root, &flipped).is_err());
    let error = joined.restore_snapshot(height, root, &[]).unwrap_err().to_string();
    assert!(error.contains("the trusted one is"), "{error}");
    let twice = [good.clone(), good.clone()].concat();
    let error = joined.restore_snapshot(height, root, &twice).unwrap_err().to_string();
    assert!(error.contains("not in order"), "{error}");
    let short = vec![good[0][..good[0].len() - 1].to_vec()];
    assert!(joined.restore_snapshot(height, root, &short).is_err());
    assert!(joined.last_committed().is_err(), "the store is still empty");
    joined.restore_snapshot(height, root, &good).unwrap();
    assert!(joined.restore_snapshot(height, root, &good).is_err(), "only an empty store is restored");
}
