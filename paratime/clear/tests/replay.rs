//! A resumed execution against one from the start: the same trace, outputs and bootstraps counted, whatever lies in the
//! prefix, and bootstraps spent only from the program on in which replicas began to differ.

use parallax_clear::{ClearBackend, ClearCipher};
use parallax_primitives::{ChainContext, Digest, Epoch, Height, KeyId, ParaTimeId, Round};
use parallax_runtime::trace::leaf_count;
use parallax_runtime::{
    ClientCipher, Evaluator, FheBackend, InputKind, Program, ProgramBuilder, Replay, Replayed, RoundContext, Trace,
    TraceLeaf,
};
use parallax_state::{Changes, blob_digest};
use proptest::prelude::*;
use std::collections::BTreeMap;

const KEY: KeyId = KeyId([7; 32]);
/// Programs in a batch.
const BATCH: usize = 5;

fn context() -> RoundContext {
    RoundContext {
        chain: ChainContext(Digest([1; 32])),
        paratime: ParaTimeId::named("replay"),
        round: Round(4),
        previous_hash: Digest([2; 32]),
        epoch: Epoch(0),
        beacon: Digest::ZERO,
        height: Height(9),
        anchor: Digest::ZERO,
        time_ms: 0,
        key_ids: vec![KEY],
        in_messages: vec![],
        message_results: vec![],
    }
}

/// From a client's list to two stored blocks.
fn opening() -> Program {
    let mut b = ProgramBuilder::new();
    let v = b.input(InputKind::Proven { blocks: 2 });
    let kept = [b.map(v[0], |x| x % 4), b.map(v[1], |x| x % 4)];
    b.output(kept.to_vec());
    b.build().expect("it is a valid program")
}

/// From two stored blocks to two, through a table with two results.
fn step() -> Program {
    let mut b = ProgramBuilder::new();
    let v = b.input(InputKind::Stored { blocks: 2, max: 15 });
    let low = b.map(v[0], |x| x % 8);
    let pair = b.two_tables(low, [std::array::from_fn(|x| (x as u8 + 1) % 4), std::array::from_fn(|x| x as u8 % 3)]);
    let sum = b.linear(&[(pair[0], 1), (pair[1], 2)], 0);
    let next = b.map(sum, |x| x % 4);
    b.output(vec![next, pair[1]]);
    b.output(vec![pair[0]]);
    b.build().expect("it is a valid program")
}

/// Trace, outputs, and bootstraps counted.
type Run = (Trace, Vec<Vec<u8>>, u64);

/// A batch: one list is opened, and each program takes the first output of the one before it.
fn execute(backend: &dyn FheBackend) -> Run {
    let context = context();
    let mut evaluator = Evaluator::new(backend, &context, &|| false);
    let list = ClearCipher::new(KEY, 0).encrypt(&[3, 9], &Digest::ZERO).expect("digits are in range");
    let mut all = evaluator.evaluate(0, KEY, &opening(), &[&list]).expect("it runs");
    let mut carried = all[0].clone();
    for index in 1..BATCH as u64 {
        let outputs = evaluator.evaluate(index, KEY, &step(), &[&carried]).expect("it runs");
        carried = outputs[0].clone();
        all.extend(outputs);
    }
    let (trace, pbs) = evaluator.finish(&Changes::default());
    (trace, all, pbs)
}

/// Where each program's leaves end.
fn ends() -> Vec<usize> {
    (0..BATCH).map(|n| leaf_count(&opening()) + n * leaf_count(&step())).collect()
}

fn resume(prefix: &[TraceLeaf], known: &BTreeMap<Digest, Vec<u8>>) -> (Run, Replayed) {
    let backend = ClearBackend::new(vec![KEY]);
    let known = |digest: &Digest| known.get(digest).cloned();
    let replay = Replay::new(&backend, prefix, &known);
    let run = execute(&replay);
    (run, replay.finish())
}

fn honest() -> (Run, BTreeMap<Digest, Vec<u8>>) {
    let run = execute(&ClearBackend::new(vec![KEY]));
    let known = run.1.iter().map(|bytes| (blob_digest(bytes), bytes.clone())).collect();
    (run, known)
}

#[test]
fn every_prefix_gives_the_same_execution_and_spends_bootstraps_only_after_it() {
    let ((trace, outputs, pbs), known) = honest();
    for agreed in 0..=trace.leaves.len() {
        let ((again, given, counted), done) = resume(&trace.leaves[..agreed], &known);
        assert_eq!((&again, &given, counted), (&trace, &outputs, pbs), "{agreed} leaves agreed");
        let whole = ends().iter().filter(|end| **end <= agreed).count();
        assert_eq!((done.replayed, done.evaluated), (whole as u64, (BATCH - whole) as u64));
        assert_eq!(done.saved_pbs + done.spent_pbs, pbs);
        let taken = if whole == 0 { 0 } else { opening().pbs() + (whole as u64 - 1) * step().pbs() };
        assert_eq!(done.saved_pbs, taken);
        assert_eq!((done.contradicted, &done.outputs), (None, &known), "all outputs are kept, taken over or not");
    }
}

#[test]
fn an_output_that_is_withheld_or_corrupt_costs_its_program_alone() {
    let ((trace, outputs, pbs), known) = honest();
    for bytes in &outputs {
        let digest = blob_digest(bytes);
        let (mut without, mut corrupt) = (known.clone(), known.clone());
        without.remove(&digest);
        corrupt.insert(digest, [bytes.as_slice(), &[0]].concat());
        for known in [without, corrupt] {
            let ((again, given, counted), done) = resume(&trace.leaves, &known);
            assert_eq!((&again, &given, counted), (&trace, &outputs, pbs));
            assert_eq!((done.evaluated, done.contradicted), (1, None));
        }
    }
}

#[test]
fn a_prefix_of_another_batch_is_noticed_and_nothing_after_it_is_taken_over() {
    let ((trace, outputs, pbs), known) = honest();
    let starts: Vec<usize> = std::iter::once(0).chain(ends()).collect();
    for program in 0..BATCH {
        let mut bent = trace.leaves.clone();
        bent[starts[program]].inputs[0] = Digest([5; 32]);
        let ((again, given, counted), done) = resume(&bent, &known);
        assert_eq!((&again, &given, counted), (&trace, &outputs, pbs));
        assert_eq!(done.contradicted, Some(starts[program] as u64));
        assert_eq!(done.evaluated, (BATCH - program) as u64, "from that program on");
    }
}

#[test]
fn a_machine_that_computes_otherwise_than_the_workers_agreed_takes_over_nothing_further() {
    let ((trace, ..), mut known) = honest();
    // The output of the second program is missing, so this machine, with a fault, evaluates it itself.
    let second = &trace.leaves[ends()[1] - 1];
    known.remove(&second.output);
    let backend = ClearBackend::new(vec![KEY]).with_flip(0);
    let known = |digest: &Digest| known.get(digest).cloned();
    let replay = Replay::new(&backend, &trace.leaves, &known);
    execute(&replay);
    let done = replay.finish();
    assert_eq!(done.contradicted, Some(ends()[0] as u64 + 1), "the first operation of that program");
    assert_eq!((done.replayed, done.evaluated), (1, BATCH as u64 - 1));
}

#[test]
fn a_flipped_bit_is_named_at_its_operation_and_nowhere_before() {
    let honest = execute(&ClearBackend::new(vec![KEY])).0;
    for op in 0..step().ops().len() {
        let wrong = execute(&ClearBackend::new(vec![KEY]).with_flip(op)).0;
        let first = honest.leaves.iter().zip(&wrong.leaves).position(|(a, b)| a != b);
        // The opening has two operations; from the third on, the first program with so many is the second.
        let at = if op < opening().ops().len() { 1 + op } else { ends()[0] + 1 + op };
        assert_eq!(first, Some(at), "operation {op}");
    }
}

proptest! {
    /// Whoever forges a prefix without the ciphertexts to its digests gains nothing but that more is evaluated.
    #[test]
    fn a_prefix_altered_anywhere_never_changes_the_execution(
        at in any::<prop::sample::Index>(),
        what in 0usize..4,
        length in any::<prop::sample::Index>(),
        noise in any::<[u8; 32]>(),
    ) {
        let ((trace, outputs, pbs), known) = honest();
        let mut bent = trace.leaves.clone();
        let at = at.index(bent.len());
        match what {
            0 => bent[at].output = Digest(noise),
            1 => bent[at].opcode = String::from_utf8_lossy(&noise).into_owned(),
            2 => bent[at].inputs.push(Digest(noise)),
            _ => drop(bent.remove(at)),
        }
        bent.truncate(length.index(bent.len() + 1));
        let ((again, given, counted), done) = resume(&bent, &known);
        // An output digest inside the trace that no program reads any more may stay unnoticed; it is a leaf of this
        // replica's trace then, and the soundness of that is the prefix's own.
        let unread = again.leaves.iter().zip(&trace.leaves).all(|(a, b)| a.inputs == b.inputs && a.opcode == b.opcode);
        prop_assert!(unread);
        prop_assert_eq!((given, counted), (outputs, pbs));
        prop_assert_eq!(done.saved_pbs + done.spent_pbs, pbs);
    }
}
