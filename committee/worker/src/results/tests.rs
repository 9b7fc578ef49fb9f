use super::*;
use parallax_memory_store::MemoryStore;
use parallax_primitives::{Height, KeyId};
use parallax_runtime::Trace;
use parallax_state::{CipherRef, StateView, blob_digest};
use std::sync::Arc;

fn store() -> ResultStore {
    let db = Database::open(Arc::new(MemoryStore::new())).unwrap();
    let results = ResultStore::new(db, ParaTimeId::named("a"));
    let genesis = results.tree().prepare(0, &Changes::default()).unwrap();
    results.tree().commit(genesis, Batch::default()).unwrap();
    results
}

/// Writes a value and a ciphertext that are the same for the same `n`.
fn execution(n: u8) -> Execution {
    let bytes = vec![n; 5_000];
    let cipher = CipherRef { key_id: KeyId([1; 32]), blocks: 1, digest: blob_digest(&bytes) };
    let writes = BTreeMap::from([
        (b"plain".to_vec(), Some(Value::Plain(vec![n]))),
        (b"cipher".to_vec(), Some(Value::Cipher(cipher))),
    ]);
    let changes = Changes { writes, blobs: BTreeMap::from([(cipher.digest, bytes)]) };
    Execution {
        changes,
        results: vec![TxResult { tx: Digest([n; 32]), gas: Gas(1), outcome: Ok(vec![n]) }],
        events: vec![Event::new("toy.done").with("n", n)],
        messages: vec![],
        in_messages_count: 0,
        trace: Trace::default(),
        gas: Gas(1),
        pbs: 0,
    }
}

fn block(results: &ResultStore, round: u64, execution: &Execution) -> ParaTimeBlock {
    let genesis = ParaTimeBlock::genesis(ParaTimeId::named("a"), Digest::ZERO);
    ParaTimeBlock {
        round: Round(round),
        height: Height(round),
        proposal: Digest([9; 32]),
        io_root: execution.io_root(),
        state_root: results.root_with(Round(round), &execution.changes).unwrap(),
        ..genesis
    }
}

#[test]
fn a_held_result_is_committed_only_if_its_root_is_the_finalised_one() {
    let results = store();
    let (right, wrong) = (execution(1), execution(2));
    let accepted = block(&results, 1, &right);
    assert!(!results.commit_held(&accepted).unwrap(), "nothing is held");
    results.put_execution(Round(1), accepted.proposal, &wrong).unwrap();
    assert!(!results.commit_held(&accepted).unwrap(), "outvoted");
    assert_eq!(results.applied().unwrap(), Some(Round(0)));
    results.put_execution(Round(1), accepted.proposal, &right).unwrap();
    assert!(results.commit_held(&accepted).unwrap());
    assert!(results.commit_held(&accepted).unwrap(), "a second time after a crash is harmless");
    assert_eq!(results.snapshot(Round(1)).unwrap().root(), accepted.state_root);
}

#[test]
fn a_fetched_result_needs_the_finalised_roots_and_all_its_ciphertexts() {
    let (here, there) = (store(), store());
    let right = execution(1);
    let accepted = block(&here, 1, &right);
    there.put_execution(Round(1), accepted.proposal, &right).unwrap();
    let request = PeerRequest::Result { round: Round(1), proposal: accepted.proposal };
    let PeerResponse::Result(Some(result)) = there.serve(&request).unwrap() else { panic!("it holds it") };
    let missing = here.missing_blobs(&result).unwrap();
    assert_eq!(missing.len(), 1);
    let PeerResponse::Blob(Some(bytes)) = there.serve(&PeerRequest::Blob { digest: missing[0] }).unwrap() else {
        panic!("it holds it")
    };

    assert!(!here.commit_fetched(&accepted, &result).unwrap(), "a ciphertext is missing");
    here.put_blob(&result, vec![0; 5_000]).unwrap();
    assert!(!here.commit_fetched(&accepted, &result).unwrap(), "another ciphertext does not stand in for it");
    here.put_blob(&result, bytes).unwrap();
    assert_eq!(here.missing_blobs(&result).unwrap(), [], "it is kept before the round is committed");
    let mut other = result.clone();
    other.writes.insert(b"more".to_vec(), Some(Value::Plain(vec![])));
    assert!(!here.commit_fetched(&accepted, &other).unwrap(), "another root");
    let other = RoundResult { events: vec![], ..result.clone() };
    assert!(!here.commit_fetched(&accepted, &other).unwrap(), "other events");
    assert_eq!(here.applied().unwrap(), Some(Round(0)));

    assert!(here.commit_fetched(&accepted, &result).unwrap());
    let view = here.snapshot(Round(1)).unwrap();
    assert!(view.blob(&missing[0]).unwrap().is_some());
    assert_eq!(here.result(Round(1), &accepted.proposal).unwrap(), Some(result), "and it serves it in turn");
}

#[test]
fn whether_a_result_is_the_accepted_one_is_known_before_its_ciphertexts_are_fetched() {
    let (here, right) = (store(), execution(1));
    let accepted = block(&here, 1, &right);
    here.put_execution(Round(1), accepted.proposal, &right).unwrap();
    let result = here.result(Round(1), &accepted.proposal).unwrap().unwrap();
    // On a node that holds none of it.
    let lagging = store();
    assert!(lagging.is_accepted(&accepted, &result).unwrap());
    let mut bloated = result.clone();
    let digest = blob_digest(b"never fetched");
    let cipher = CipherRef { key_id: KeyId([1; 32]), blocks: 1, digest };
    bloated.writes.insert(b"bloat".to_vec(), Some(Value::Cipher(cipher)));
    assert!(!lagging.is_accepted(&accepted, &bloated).unwrap(), "one more ciphertext");
    bloated.writes.insert(vec![0; 1 << 20], None);
    assert_eq!(lagging.root_of_writes(Round(1), &bloated.writes).unwrap(), None, "a key over the limit");
    assert!(!lagging.is_accepted(&accepted, &bloated).unwrap());
    assert_eq!(lagging.missing_blobs(&result).unwrap().len(), 1, "nothing was written");
}

#[test]
fn a_round_without_a_result_keeps_the_state_and_a_diverged_state_is_reported() {
    let results = store();
    let root = results.snapshot(Round(0)).unwrap().root();
    let failed = ParaTimeBlock { kind: BlockKind::RoundFailed, state_root: root, ..block(&results, 1, &execution(1)) };
    assert!(results.commit_held(&failed).unwrap());
    assert_eq!(results.applied().unwrap(), Some(Round(1)));
    let diverged = ParaTimeBlock { round: Round(2), state_root: Digest([4; 32]), ..failed };
    assert!(results.commit_held(&diverged).unwrap_err().to_string().contains("before round 2"));
}

#[test]
fn pruning_drops_old_results_and_their_ciphertexts_and_nothing_else() {
    let results = store();
    let proposal = Digest([9; 32]);
    for round in [1u8, 2, 255] {
        results.put_execution(Round(u64::from(round)), proposal, &execution(round)).unwrap();
        results.put_batch(Round(u64::from(round)), &[vec![round]]).unwrap();
    }
    results.put_execution(Round(256), proposal, &execution(7)).unwrap();
    let blob = |n: u8| results.serve(&PeerRequest::Blob { digest: blob_digest(&vec![n; 5_000]) }).unwrap();
    results.prune(Round(2)).unwrap();
    assert_eq!(results.result(Round(1), &proposal).unwrap(), None);
    assert_eq!(results.batch(Round(1), &merkle::root(&[tx_digest(&[1])])).unwrap(), None);
    assert_eq!(blob(1), PeerResponse::Blob(None));
    assert!(results.result(Round(2), &proposal).unwrap().is_some());
    assert!(matches!(blob(2), PeerResponse::Blob(Some(_))));
    results.prune(Round(256)).unwrap();
    assert_eq!(results.result(Round(255), &proposal).unwrap(), None);
    assert!(results.result(Round(256), &proposal).unwrap().is_some());
}
