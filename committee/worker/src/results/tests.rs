use super::*;
use crate::seams::StatePart;
use parallax_memory_store::MemoryStore;
use parallax_primitives::{Height, KeyId};
use parallax_runtime::{Divergence, Trace, TraceLeaf};
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
    results.put_execution(Round(1), accepted.proposal, &wrong, &Replayed::default()).unwrap();
    assert!(!results.commit_held(&accepted).unwrap(), "outvoted");
    assert_eq!(results.applied().unwrap(), Some(Round(0)));
    results.put_execution(Round(1), accepted.proposal, &right, &Replayed::default()).unwrap();
    assert!(results.commit_held(&accepted).unwrap());
    assert!(results.commit_held(&accepted).unwrap(), "a second time after a crash is harmless");
    assert_eq!(results.snapshot(Round(1)).unwrap().root(), accepted.state_root);
}

#[test]
fn a_fetched_result_needs_the_finalised_roots_and_all_its_ciphertexts() {
    let (here, there) = (store(), store());
    let right = execution(1);
    let accepted = block(&here, 1, &right);
    there.put_execution(Round(1), accepted.proposal, &right, &Replayed::default()).unwrap();
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
    here.put_execution(Round(1), accepted.proposal, &right, &Replayed::default()).unwrap();
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

/// Commits values as the state after a round.
fn commit(results: &ResultStore, round: u64, writes: impl IntoIterator<Item = (Vec<u8>, Option<Value>)>) {
    let changes = Changes { writes: writes.into_iter().collect(), blobs: BTreeMap::new() };
    let prepared = results.tree().prepare(round, &changes).unwrap();
    results.tree().commit(prepared, Batch::default()).unwrap();
}

/// The block after which the state is what `results` has now.
fn block_of(results: &ResultStore, round: u64) -> ParaTimeBlock {
    let state_root = results.tree().root_at(round).unwrap();
    ParaTimeBlock { round: Round(round), state_root, ..ParaTimeBlock::genesis(ParaTimeId::named("a"), Digest::ZERO) }
}

/// Fetches a state part by part; how many parts it came in.
fn fetch(from: &ResultStore, block: &ParaTimeBlock) -> (StateFetch, usize) {
    let mut fetch = StateFetch::new(block.clone());
    for parts in 1.. {
        let answer = from.serve(&fetch.request()).unwrap();
        assert!(encode(&answer).len() < 2 * limits::MAX_STATE_PART_BYTES, "a part has a bounded size");
        if fetch.take(Some(answer)).unwrap().unwrap() {
            return (fetch, parts);
        }
    }
    unreachable!()
}

#[test]
fn a_state_of_many_parts_replaces_an_old_one_and_leaves_nothing_of_it() {
    let (here, there) = (store(), store());
    let plain = |n: u32, size: usize| (n.to_be_bytes().to_vec(), Some(Value::Plain(vec![1; size])));
    // An old state on both: some of it stays, some is overwritten, some deleted.
    for results in [&here, &there] {
        commit(results, 1, (0..50).map(|n| plain(n, 10)));
    }
    commit(&there, 7, (20..140).map(|n| plain(n, 30_000)).chain((0..10u32).map(|n| (n.to_be_bytes().to_vec(), None))));
    let block = block_of(&there, 7);
    let (fetched, parts) = fetch(&there, &block);
    assert_eq!(parts, 4, "120 values of 30 kB");
    let state = here.judge_state(fetched).unwrap().expect("it has the finalised root");
    assert!(here.commit_state(&state).unwrap());
    assert_eq!(here.applied().unwrap(), Some(Round(7)));
    let (mine, theirs) = (here.snapshot(Round(7)).unwrap(), there.snapshot(Round(7)).unwrap());
    assert_eq!(mine.root(), block.state_root);
    assert_eq!(mine.scan(&[]).unwrap(), theirs.scan(&[]).unwrap());
    assert!(matches!(here.snapshot(Round(3)), Err(StateError::UnknownVersion { .. })), "rounds between are not here");
}

#[test]
fn a_fetched_state_needs_the_finalised_root_and_all_its_ciphertexts() {
    let (here, there) = (store(), store());
    let right = execution(1);
    let accepted = block(&there, 1, &right);
    there.put_execution(Round(1), accepted.proposal, &right, &Replayed::default()).unwrap();
    assert!(there.commit_held(&accepted).unwrap());

    let (mut other, _) = fetch(&there, &accepted);
    let more = StatePart { values: vec![(b"zz".to_vec(), Value::Plain(vec![]))], last: true };
    assert_eq!(other.take(Some(PeerResponse::State(Some(more)))).unwrap(), Some(true));
    assert_eq!(here.judge_state(other).unwrap(), None, "one value more is another root");

    let state = here.judge_state(fetch(&there, &accepted).0).unwrap().unwrap();
    assert!(!here.commit_state(&state).unwrap(), "a ciphertext is missing");
    let missing = here.missing_in_state(&state).unwrap();
    assert_eq!(missing, [blob_digest(&vec![1; 5_000])]);
    // One that an earlier try fetched and that this state does not name, and the one that is missing.
    here.put_blob_of_state(vec![8; 5_000]).unwrap();
    here.put_blob_of_state(vec![1; 5_000]).unwrap();
    assert!(here.commit_state(&state).unwrap());
    let held = |n: u8| here.blob(&blob_digest(&vec![n; 5_000])).unwrap().is_some();
    assert!(held(1), "the state names it");
    assert!(!held(8), "nothing names it any more");
}

#[test]
fn a_state_that_has_the_finalised_root_already_is_that_of_the_later_round() {
    let results = store();
    let root = results.tree().root_at(0).unwrap();
    let failed = ParaTimeBlock { state_root: root, ..block(&results, 2_000, &execution(1)) };
    let other = ParaTimeBlock { state_root: Digest([4; 32]), ..failed.clone() };
    assert!(!results.commit_unchanged(&other).unwrap());
    assert_eq!(results.applied().unwrap(), Some(Round(0)));
    assert!(results.commit_unchanged(&failed).unwrap());
    assert_eq!(results.applied().unwrap(), Some(Round(2_000)));
}

#[test]
fn what_is_no_part_of_a_state_is_refused_and_a_state_that_is_not_kept_is_not_there() {
    let there = store();
    commit(&there, 1, (0..4u8).map(|n| (vec![n + 1], Some(Value::Plain(vec![n])))));
    let block = block_of(&there, 1);
    let part = |keys: &[u8], last| {
        let values = keys.iter().map(|key| (vec![*key], Value::Plain(vec![]))).collect();
        Some(PeerResponse::State(Some(StatePart { values, last })))
    };
    let fresh = || StateFetch::new(block.clone());
    let unasked = Err(crate::steps::Unasked);
    assert_eq!(fresh().take(part(&[], false)), unasked, "it would never end");
    assert_eq!(fresh().take(part(&[2, 1], true)), unasked, "not in order");
    assert_eq!(fresh().take(Some(PeerResponse::Blob(None))), unasked);
    assert_eq!(fresh().take(part(&[], true)), Ok(Some(true)), "an empty state is a state");
    let mut second = fresh();
    assert_eq!(second.take(part(&[1, 2], false)), Ok(Some(false)));
    assert_eq!(second.request(), PeerRequest::State { round: Round(1), after: vec![2] });
    assert_eq!(second.take(part(&[2, 3], true)), unasked, "it begins before the end of the first");

    let ask = |round, after: Vec<u8>| there.serve(&PeerRequest::State { round: Round(round), after }).unwrap();
    assert_eq!(ask(2, vec![]), PeerResponse::State(None));
    assert_eq!(ask(1, vec![0; limits::MAX_KEY_BYTES + 1]), PeerResponse::State(None));
    assert_eq!(fresh().take(Some(ask(2, vec![]))), Ok(None));
    assert_eq!(fresh().take(None), Ok(None), "no answer");
    let rest = StatePart { values: vec![(vec![4], Value::Plain(vec![3]))], last: true };
    assert_eq!(ask(1, vec![3]), PeerResponse::State(Some(rest)));
}

#[test]
fn pruning_drops_old_results_and_their_ciphertexts_and_nothing_else() {
    let results = store();
    let proposal = Digest([9; 32]);
    for round in [1u8, 2, 255] {
        results.put_execution(Round(u64::from(round)), proposal, &execution(round), &Replayed::default()).unwrap();
        results.put_batch(Round(u64::from(round)), &[vec![round]]).unwrap();
    }
    results.put_execution(Round(256), proposal, &execution(7), &Replayed::default()).unwrap();
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

#[test]
fn after_a_restart_each_of_several_paratimes_finds_its_own_rows_and_pruning_one_leaves_the_other() {
    let store = Arc::new(MemoryStore::new());
    let open = |name: &str| {
        ResultStore::new(Database::open(Arc::<MemoryStore>::clone(&store)).unwrap(), ParaTimeId::named(name))
    };
    let proposal = Digest([9; 32]);
    for (name, rounds) in [("a", [3u8, 4]), ("b", [1, 9])] {
        for round in rounds {
            open(name)
                .put_execution(Round(u64::from(round)), proposal, &execution(round), &Replayed::default())
                .unwrap();
        }
    }
    let held = |name: &str| {
        (0..12).filter(|round| open(name).result(Round(*round), &proposal).unwrap().is_some()).collect::<Vec<u64>>()
    };
    assert_eq!((held("a"), held("b")), (vec![3, 4], vec![1, 9]));
    open("a").prune(Round(4)).unwrap();
    assert_eq!((held("a"), held("b")), (vec![4], vec![1, 9]));
}

/// A leaf whose encoding has about this many bytes.
fn leaf(n: u32, bytes: usize) -> TraceLeaf {
    TraceLeaf { opcode: format!("{n:0bytes$}"), inputs: vec![], output: Digest([3; 32]) }
}

#[test]
fn a_trace_is_served_in_parts_that_a_message_holds_and_leaf_by_leaf_with_proofs() {
    let (results, proposal) = (store(), Digest([9; 32]));
    // About 10 MB in rows of 256 leaves.
    let trace = Trace { leaves: (0..1_000).map(|n| leaf(n, 10_000)).collect() };
    let done = Execution { trace: trace.clone(), ..execution(1) };
    results.put_execution(Round(1), proposal, &done, &Replayed::default()).unwrap();
    let (round, mut all, mut parts) = (Round(1), Vec::new(), 0);
    while all.len() < trace.leaves.len() {
        let request = PeerRequest::TraceLeaves { round, proposal, from: all.len() as u64 };
        let PeerResponse::TraceLeaves(Some(part)) = results.serve(&request).unwrap() else { panic!("it holds it") };
        assert_eq!(part.count, 1_000);
        assert!(encode(&part).len() <= limits::MAX_TRACE_PART_BYTES && !part.items.is_empty());
        all.extend(part.items);
        parts += 1;
    }
    assert_eq!((all, parts), (trace.leaves.clone(), 3));
    let digests = |from| PeerRequest::TraceDigests { round, proposal, from };
    let PeerResponse::TraceDigests(Some(part)) = results.serve(&digests(998)).unwrap() else { panic!("it holds it") };
    assert_eq!((part.count, part.items), (1_000, trace.digests()[998..].to_vec()));
    for index in [0, 255, 256, 999] {
        let request = PeerRequest::TraceLeaf { round, proposal, index };
        let PeerResponse::TraceLeaf(Some(proven)) = results.serve(&request).unwrap() else { panic!("it holds it") };
        assert_eq!((proven.proof.index, &proven.leaf), (index, &trace.leaves[index as usize]));
        assert!(proven.verify(&trace.root()));
    }
    for from in [1_000, u64::MAX] {
        let PeerResponse::TraceLeaves(Some(part)) =
            results.serve(&PeerRequest::TraceLeaves { round, proposal, from }).unwrap()
        else {
            panic!("it holds it")
        };
        assert_eq!(part.items, []);
        let request = PeerRequest::TraceLeaf { round, proposal, index: from };
        assert_eq!(results.serve(&request).unwrap(), PeerResponse::TraceLeaf(None));
    }
    let elsewhere = PeerRequest::TraceDigests { round: Round(2), proposal, from: 0 };
    assert_eq!(results.serve(&elsewhere).unwrap(), PeerResponse::TraceDigests(None));
    results.prune(Round(2)).unwrap();
    assert_eq!(results.serve(&digests(0)).unwrap(), PeerResponse::TraceDigests(None));
}

#[test]
fn outputs_that_the_round_replaced_and_outputs_fetched_for_a_dispute_are_kept_as_long_as_results() {
    let (results, proposal) = (store(), Digest([9; 32]));
    let (replaced, fetched) = (vec![7u8; 3_000], vec![8u8; 3_000]);
    let outputs = BTreeMap::from([(blob_digest(&replaced), replaced.clone())]);
    let replayed = Replayed { outputs, replayed: 2, evaluated: 1, saved_pbs: 20, spent_pbs: 10, contradicted: None };
    results.put_execution(Round(1), proposal, &execution(1), &replayed).unwrap();
    let effort = Effort { replayed: 2, evaluated: 1, saved_pbs: 20, spent_pbs: 10 };
    assert_eq!(results.effort(Round(1), &proposal).unwrap(), Some(effort));
    // A dispute of another round whose execution never ended.
    let divergence = Divergence { round: Round(2), proposal, traces: vec![], agreed: 0, found: vec![] };
    results.put_divergence(&divergence).unwrap();
    results.put_output(Round(2), &proposal, fetched.clone()).unwrap();
    assert_eq!(results.divergence(Round(2), &proposal).unwrap(), Some(divergence));
    assert_eq!(results.blob(&blob_digest(&replaced)).unwrap(), Some(replaced.clone()));
    results.prune(Round(2)).unwrap();
    assert!(!results.has_blob(&blob_digest(&replaced)).unwrap());
    assert!(results.has_blob(&blob_digest(&fetched)).unwrap());
    results.prune(Round(3)).unwrap();
    assert!(!results.has_blob(&blob_digest(&fetched)).unwrap(), "no result row was needed to let go of it");
    assert_eq!(results.divergence(Round(2), &proposal).unwrap(), None);
}
