use super::*;
use parallax_memory_store::MemoryStore;
use parallax_primitives::{ChainContext, Gas, SecretKey, limits};
use parallax_rounds::{Commitment, FailureReason, Outcome, Proposal};

fn key() -> SecretKey {
    SecretKey::from_seed([1; 32])
}

fn voted(round: u64) -> Record {
    let commitment = Commitment {
        node: key().public(),
        proposal: Digest([1; 32]),
        round: Round(round),
        previous_hash: Digest::ZERO,
        outcome: Outcome::Failure { reason: FailureReason::InvalidBatch },
    };
    let chain = ChainContext::default();
    Record::Voted(SignedCommitment::sign(commitment, vec![], chain, ParaTimeId::named("a"), &key()))
}

fn proposed(round: u64) -> Record {
    let proposal = Proposal {
        scheduler: key().public(),
        rank: 0,
        round: Round(round),
        previous_hash: Digest::ZERO,
        batch_root: Digest::ZERO,
        transactions: vec![Digest::ZERO; limits::MAX_BATCH_TXS],
        gas: Gas(1),
    };
    Record::Proposed(SignedProposal::sign(proposal, ChainContext::default(), ParaTimeId::named("a"), &key()))
}

fn open(store: &MemoryStore, name: &str) -> StoreJournal {
    StoreJournal::open(Arc::new(store.reopen()), ParaTimeId::named(name)).unwrap()
}

#[test]
fn records_come_back_in_order_after_a_restart_and_stay_with_their_paratime() {
    let store = MemoryStore::new();
    let journal = open(&store, "a");
    journal.append(&[proposed(1), voted(1)]).unwrap();
    journal.append(&[proposed(2)]).unwrap();
    open(&store, "b").append(&[voted(9)]).unwrap();
    let journal = open(&store, "a");
    journal.append(&[voted(2)]).unwrap();
    assert_eq!(open(&store, "a").load().unwrap(), [proposed(1), voted(1), proposed(2), voted(2)]);
    assert_eq!(open(&store, "b").load().unwrap(), [voted(9)]);
}

#[test]
fn a_forgotten_round_leaves_the_disk_and_round_256_comes_after_255() {
    let store = MemoryStore::new();
    let journal = open(&store, "a");
    for round in 250..260 {
        journal.append(&[Record::Forget { before: Round(round) }, proposed(round), voted(round)]).unwrap();
    }
    let expected = [Record::Forget { before: Round(259) }, proposed(259), voted(259)];
    assert_eq!(open(&store, "a").load().unwrap(), expected);
}

#[test]
fn what_happens_once_happens_once_over_all_restarts() {
    let store = MemoryStore::new();
    assert!(open(&store, "a").once("wrong-root").unwrap());
    assert!(!open(&store, "a").once("wrong-root").unwrap());
    assert!(open(&store, "a").once("crash-at=after-persist").unwrap());
    assert!(open(&store, "b").once("wrong-root").unwrap());
    assert_eq!(open(&store, "a").load().unwrap(), []);
}

#[test]
fn a_damaged_journal_is_reported_and_not_passed_over() {
    let store = MemoryStore::new();
    open(&store, "a").append(&[voted(1)]).unwrap();
    let (column, row) = store.contents().into_keys().find(|(c, _)| *c == Column::Journal).unwrap();
    let mut batch = Batch::default();
    batch.put(column, row, vec![77]);
    store.reopen().write(batch).unwrap();
    let error = StoreJournal::open(Arc::new(store), ParaTimeId::named("a")).err().unwrap();
    assert!(error.to_string().contains("the worker's journal"), "{error}");
}

proptest::proptest! {
    /// What a peer sends is decoded to exactly what it encodes to, or refused; a count that claims more than the bytes
    /// hold costs no memory.
    #[test]
    fn hostile_answers_about_traces_never_panic(
        kind in 3u8..6,
        bytes in proptest::collection::vec(proptest::arbitrary::any::<u8>(), 0..300),
    ) {
        let bytes = [&[kind, 1][..], &bytes].concat();
        if let Ok(answer) = codec::decode::<PeerResponse>("answer", &bytes, 1 << 20) {
            proptest::prop_assert_eq!(encode(&answer), bytes.clone());
        }
        let bytes = [&[kind][..], &bytes].concat();
        if let Ok(request) = codec::decode::<PeerRequest>("request", &bytes, 1 << 20) {
            proptest::prop_assert_eq!(encode(&request), bytes);
        }
    }
}

#[test]
fn an_answer_that_claims_more_leaves_than_it_brings_is_refused() {
    let part = TracePart { count: 3, items: vec![Digest([1; 32]); 3] };
    let mut bytes = encode(&PeerResponse::TraceDigests(Some(part)));
    // Variant, option, count, then the length of the list.
    bytes[10..14].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(codec::decode::<PeerResponse>("answer", &bytes, 1 << 20).is_err());
}
