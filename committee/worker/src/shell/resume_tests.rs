//! The slow path resumed where workers began to differ, against the slow path in full: the same verdict, the same state,
//! fewer bootstraps; and whoever withholds or falsifies something costs the saving alone.

use super::testing::*;
use super::*;
use crate::fault::{Fault, FaultKind};
use crate::results::Effort;
use crate::seams::{PeerRequest, PeerResponse};
use parallax_clear::ClearCipher;
use parallax_primitives::{Address, ChainContext, Gas};
use parallax_rounds::{BlockKind, Effect, FailReason, Outcome, Resolution};
use parallax_runtime::paratime::tx_digest;
use parallax_runtime::{
    Abort, ClientCipher, Divergence, Evaluator, Execution, InputKind, Plan, Program, ProgramBuilder, RoundContext,
    TxError, TxInfo, TxResult,
};
use parallax_state::{Changes, Overlay, StateView, Value};

/// Programs in the disputed batch.
const BATCH: usize = 4;
const SUM: &[u8] = b"sum";

/// Every transaction is an encrypted list of two digits; its program adds it to a running sum, which it replaces.
struct Chained;

impl Chained {
    fn program(first: bool) -> Program {
        let mut b = ProgramBuilder::new();
        let list = b.input(InputKind::Proven { blocks: 2 });
        let sum = if first { list.clone() } else { b.input(InputKind::Stored { blocks: 2, max: 15 }) };
        let added = [0, 1].map(|i| {
            let low = b.map(list[i], |x| x % 8);
            let kept = b.map(sum[i], |x| x % 8);
            let both = b.linear(&[(low, 1), (kept, 1)], 0);
            b.map(both, |x| x % 16)
        });
        let pair = b.map(added[0], |x| x % 4);
        b.output(added.to_vec());
        b.output(vec![pair]);
        b.build().unwrap()
    }
}

impl ParaTime for Chained {
    fn kind(&self) -> &'static str {
        "chained"
    }

    fn init_genesis(&self, _: &serde_json::Value) -> Result<Changes, String> {
        Ok(Changes::default())
    }

    fn check_tx(
        &self,
        _: &dyn StateView,
        _: &ChainContext,
        _: &[u8],
        _: Option<&dyn FheBackend>,
    ) -> Result<TxInfo, TxError> {
        Ok(TxInfo { sender: Address([0; 20]), nonce: 0, next: 0, priority: 0, gas: Gas(10) })
    }

    fn plan(&self, _: &dyn StateView, _: &RoundContext, candidates: &[Vec<u8>], limit: Gas) -> Result<Plan, Abort> {
        let take = candidates.len().min(usize::try_from(limit.0 / 10).unwrap());
        Ok(Plan { gas: Gas(take as u64 * 10), take })
    }

    fn has_work(&self, _: &dyn StateView) -> Result<bool, Abort> {
        Ok(false)
    }

    fn execute(
        &self,
        view: &dyn StateView,
        context: &RoundContext,
        batch: &[Vec<u8>],
        fhe: &dyn FheBackend,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Execution, Abort> {
        let mut state = Overlay::new(view);
        let mut evaluator = Evaluator::new(fhe, context, cancelled);
        let mut results = Vec::new();
        for (index, tx) in (0u64..).zip(batch) {
            let sum = match state.get(SUM)? {
                Some(Value::Cipher(cipher)) => state.blob(&cipher.digest)?,
                _ => None,
            };
            let inputs: Vec<&[u8]> = std::iter::once(tx.as_slice()).chain(sum.as_deref()).collect();
            let before = evaluator.pbs();
            let mut outputs = evaluator.evaluate(index, KEY, &Self::program(sum.is_none()), &inputs)?.into_iter();
            let digest = tx_digest(tx);
            state.put_cipher(SUM.to_vec(), KEY, 2, outputs.next().unwrap());
            state.put_cipher([b"c/", &digest.0[..]].concat(), KEY, 1, outputs.next().unwrap());
            // As a ParaTime may: what was spent becomes state, so it must not depend on who evaluates what.
            let spent = evaluator.pbs() - before;
            state.put(digest.0.to_vec(), spent.to_be_bytes().to_vec());
            results.push(TxResult { tx: digest, gas: Gas(10), outcome: Ok(vec![]) });
        }
        let changes = state.into_changes();
        let (trace, pbs) = evaluator.finish(&changes);
        let gas = Gas(batch.len() as u64 * 10);
        Ok(Execution { changes, results, events: vec![], messages: vec![], in_messages_count: 0, trace, gas, pbs })
    }

    fn query(&self, _: &dyn StateView, method: &str, _: &serde_json::Value) -> Result<serde_json::Value, String> {
        Err(format!("there is no {method}"))
    }
}

/// What a disputed first round came to.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    kind: BlockKind,
    state_root: Digest,
    io_root: Digest,
    trace_root: Digest,
    slashed: Vec<NodeId>,
    failed: Option<FailReason>,
}

/// A run of round 1, with what the backups spent and what they recorded.
struct Run {
    verdict: Verdict,
    /// What each node voted for in round 1. A backup that is not needed any more may not have voted.
    votes: BTreeMap<NodeId, Outcome>,
    efforts: Vec<Effort>,
    records: Vec<Divergence>,
}

fn flip(skip: u32) -> Fault {
    FaultKind::FlipBit { skip }.into()
}

async fn run(faults: &[(usize, Fault)], resolution: Resolution, tamper: Option<Tamper>) -> Run {
    let limit = Gas(10 * BATCH as u64);
    let mut network = Network::with(faults, Some(Arc::new(Chained)), resolution, limit);
    *lock(&network.wire.tamper) = tamper;
    let cipher = ClearCipher::new(KEY, 0);
    let all: Vec<Vec<u8>> = (0..BATCH as u8).map(|n| cipher.encrypt(&[n, 15 - n], &Digest::ZERO).unwrap()).collect();
    for tx in &all {
        network.submit(tx);
    }
    network.until_applied(1).await;
    let (proposal, verdict, votes) = {
        let chain = lock(&network.chain);
        let block = &chain.blocks[&Round(1)];
        let failed = chain.effects.iter().find_map(|e| match e {
            Effect::Fail { reason, block, .. } if block.round == Round(1) => Some(*reason),
            _ => None,
        });
        let of_round = chain.signed.iter().filter(|(_, votes)| votes[0].commitment.round == Round(1));
        let votes = of_round.map(|((node, _), v)| (*node, v[0].commitment.outcome.clone())).collect();
        let proposal = chain.signed.iter().find(|(_, v)| v[0].commitment.round == Round(1)).map(|((_, p), _)| *p);
        let verdict = Verdict {
            kind: block.kind,
            state_root: block.state_root,
            io_root: block.io_root,
            trace_root: block.trace_root,
            slashed: chain.slashed(),
            failed,
        };
        (proposal.unwrap(), verdict, votes)
    };
    let backups = 2..5;
    let efforts = backups.clone().filter_map(|n| network.results(n).effort(Round(1), &proposal).unwrap()).collect();
    // Leaves are fetched for the record while the backup executes; they may come after the verdict.
    let mut records: Vec<Divergence> = Vec::new();
    for _ in 0..500 {
        let kept = backups.clone().filter_map(|n| network.results(n).divergence(Round(1), &proposal).unwrap());
        records = kept.collect();
        if records.iter().flat_map(|record| &record.found).all(|found| found.leaf.is_some()) {
            break;
        }
        network.tick().await;
    }
    network.until_pools_are_empty().await;
    network.check_states(&all);
    Run { verdict, votes, efforts, records }
}

/// Runs a round both ways and compares; then what each backup spent when it resumed, in programs evaluated.
async fn compare(faults: &[(usize, Fault)], tamper: Option<Tamper>) -> (Run, Vec<u64>) {
    let full = run(faults, Resolution::Full, None).await;
    let resumed = run(faults, Resolution::Resume, tamper).await;
    assert_eq!(resumed.verdict, full.verdict, "{faults:?}");
    for (node, vote) in &resumed.votes {
        assert_eq!(full.votes.get(node).unwrap_or(vote), vote, "{faults:?}: {node}");
    }
    assert!(full.efforts.len() >= 2 && resumed.efforts.len() >= 2, "a majority of the backups executed");
    let total = full.efforts[0].spent_pbs;
    for effort in &full.efforts {
        assert_eq!((effort.replayed, effort.evaluated, effort.saved_pbs), (0, BATCH as u64, 0));
    }
    for effort in &resumed.efforts {
        assert_eq!(effort.replayed + effort.evaluated, BATCH as u64);
        assert_eq!(effort.saved_pbs + effort.spent_pbs, total);
    }
    let evaluated = resumed.efforts.iter().map(|e| e.evaluated).collect();
    (resumed, evaluated)
}

/// The leaf of the operation that `flip-bit=skip` flips, counted by hand from the program.
fn flipped_leaf(skip: u32) -> u64 {
    let programs = (0..=skip).map(|n| Chained::program(n == 0)).collect::<Vec<_>>();
    let before: usize = programs[..skip as usize].iter().map(parallax_runtime::trace::leaf_count).sum();
    let last = &programs[skip as usize];
    (before + last.inputs().len() + last.ops().len() / 2) as u64
}

#[tokio::test]
async fn wherever_one_worker_errs_the_verdict_is_that_of_a_full_execution_and_the_operation_is_named() {
    println!("fault in program  evaluated of {BATCH}  PBS spent  PBS of a full slow path");
    for skip in 0..BATCH as u32 {
        for liar in [0, 1] {
            let (resumed, evaluated) = compare(&[(liar, flip(skip))], None).await;
            assert_eq!(resumed.verdict.slashed, [key(liar).public()]);
            let left = BATCH as u64 - u64::from(skip);
            assert!(evaluated.iter().all(|n| *n == left), "program {skip}: {evaluated:?}");
            let effort = resumed.efforts[0];
            if liar == 0 {
                println!("{skip:>16}  {left:>14}  {:>9}  {}", effort.spent_pbs, effort.spent_pbs + effort.saved_pbs);
            }
            for record in &resumed.records {
                assert_eq!(record.verify(), Ok(()));
                assert_eq!(record.agreed, flipped_leaf(skip), "the operation that was flipped");
                assert_eq!(record.found.len(), 2);
                for found in &record.found {
                    let named = record.leaf_of(found).unwrap();
                    assert!(named.leaf.opcode.starts_with("table.map"), "{}", named.leaf.opcode);
                }
                let [a, b] = [&record.found[0], &record.found[1]].map(|f| &f.leaf.as_ref().unwrap().leaf);
                assert_eq!((&a.opcode, &a.inputs), (&b.opcode, &b.inputs), "only what came out differs");
                assert_ne!(a.output, b.output);
            }
            assert!(!resumed.records.is_empty());
        }
    }
}

#[tokio::test]
async fn two_workers_wrong_in_different_places_both_lose_and_the_first_difference_counts() {
    for (first, second) in [(1, 2), (2, 1), (3, 0)] {
        let (resumed, evaluated) = compare(&[(0, flip(first)), (1, flip(second))], None).await;
        assert_eq!(resumed.verdict.failed, Some(FailReason::SchedulerWrong));
        assert!(resumed.verdict.slashed.contains(&key(1).public()), "the scheduler");
        let left = BATCH as u64 - u64::from(first.min(second));
        assert!(evaluated.iter().all(|n| *n == left), "{evaluated:?}");
    }
}

#[tokio::test]
async fn a_wrong_root_over_an_honest_trace_is_outvoted_without_a_bootstrap() {
    let (resumed, evaluated) = compare(&[(0, FaultKind::WrongRoot.into())], None).await;
    assert_eq!(resumed.verdict.slashed, [key(0).public()]);
    assert!(evaluated.iter().all(|n| *n == 0), "everything was agreed on: {evaluated:?}");
    for record in &resumed.records {
        assert_eq!((record.found.len(), record.verify()), (0, Ok(())), "no operation differs");
    }
}

/// Loses or alters the answers of one node to backups.
fn tampering(liar: usize, how: fn(&PeerRequest, PeerResponse) -> Option<PeerResponse>) -> Option<Tamper> {
    let liar = key(liar).public();
    Some(Arc::new(move |peer, request, answer| if peer == liar { how(request, answer) } else { Some(answer) }))
}

#[tokio::test]
async fn a_trace_that_is_withheld_or_does_not_match_its_vote_leads_to_full_execution() {
    let withheld = |request: &PeerRequest, answer| match request {
        PeerRequest::TraceDigests { .. } => None,
        _ => Some(answer),
    };
    let altered = |_: &PeerRequest, mut answer| {
        if let PeerResponse::TraceDigests(Some(part)) = &mut answer {
            part.items[0].0[0] ^= 1;
        }
        Some(answer)
    };
    let short = |_: &PeerRequest, mut answer| {
        if let PeerResponse::TraceDigests(Some(part)) = &mut answer {
            part.items.clear();
        }
        Some(answer)
    };
    let huge = |_: &PeerRequest, mut answer| {
        if let PeerResponse::TraceDigests(Some(part)) = &mut answer {
            part.count = u64::MAX;
        }
        Some(answer)
    };
    for (what, how) in
        [("withheld", withheld as fn(&_, _) -> _), ("altered", altered), ("short", short), ("huge", huge)]
    {
        let last = BATCH as u32 - 1;
        let (resumed, evaluated) = compare(&[(0, flip(last))], tampering(0, how)).await;
        assert!(evaluated.iter().all(|n| *n == BATCH as u64), "{what}: {evaluated:?}");
        for record in &resumed.records {
            let trace = record.traces.iter().find(|t| t.node == key(0).public()).unwrap();
            assert_eq!(trace.leaves, None, "{what}: the record says whose trace was not to be had");
        }
    }
}

#[tokio::test]
async fn leaves_and_outputs_that_one_worker_withholds_or_falsifies_come_from_the_other() {
    let no_leaves = |request: &PeerRequest, answer| match request {
        PeerRequest::TraceLeaves { .. } => None,
        _ => Some(answer),
    };
    let false_leaves = |_: &PeerRequest, mut answer| {
        if let PeerResponse::TraceLeaves(Some(part)) = &mut answer {
            part.items[0].opcode.push('!');
        }
        Some(answer)
    };
    let no_blobs = |request: &PeerRequest, answer| match request {
        PeerRequest::Blob { .. } => Some(PeerResponse::Blob(None)),
        _ => Some(answer),
    };
    let false_blobs = |_: &PeerRequest, mut answer| {
        if let PeerResponse::Blob(Some(bytes)) = &mut answer {
            bytes[0] ^= 1;
        }
        Some(answer)
    };
    let hows = [no_leaves as fn(&_, _) -> _, false_leaves, no_blobs, false_blobs];
    for (n, how) in hows.into_iter().enumerate() {
        let (_, evaluated) = compare(&[(0, flip(3))], tampering(0, how)).await;
        assert!(evaluated.iter().all(|n| *n == 1), "case {n}: {evaluated:?}");
    }
}

#[tokio::test]
async fn outputs_that_nobody_serves_are_evaluated() {
    // From anybody: a backup that misses the outputs of some programs evaluates those and no others. The transactions'
    // own ciphertexts travel in the batch.
    let nobody: Tamper = Arc::new(|_, request: &PeerRequest, answer| match request {
        PeerRequest::Blob { digest } if digest.0[0] % 2 == 0 => Some(PeerResponse::Blob(None)),
        _ => Some(answer),
    });
    let faults = [(0, flip(3))];
    let full = run(&faults, Resolution::Full, None).await;
    // Without the odd blobs a node that missed the round could never follow, so only the votes are compared.
    let resumed = votes_only(&faults, nobody).await;
    for (node, vote) in &resumed {
        assert_eq!(full.votes.get(node).unwrap_or(vote), vote, "{node}");
    }
}

/// The votes of round 1 in a network whose nodes may not all be able to follow.
async fn votes_only(faults: &[(usize, Fault)], tamper: Tamper) -> BTreeMap<NodeId, Outcome> {
    let limit = Gas(10 * BATCH as u64);
    let mut network = Network::with(faults, Some(Arc::new(Chained)), Resolution::Resume, limit);
    *lock(&network.wire.tamper) = Some(tamper);
    let cipher = ClearCipher::new(KEY, 0);
    for n in 0..BATCH as u8 {
        network.submit(&cipher.encrypt(&[n, 15 - n], &Digest::ZERO).unwrap());
    }
    for _ in 0..2_000 {
        network.tick().await;
        let chain = lock(&network.chain);
        let votes: BTreeMap<_, _> =
            chain.signed.iter().map(|((node, _), v)| (*node, v[0].commitment.outcome.clone())).collect();
        if votes.len() >= 4 {
            return votes;
        }
    }
    panic!("not everybody voted");
}

#[tokio::test]
async fn one_workers_vote_alone_is_nothing_to_resume_from() {
    // The scheduler of round 1 is worker 1; the other worker says nothing, so the deadline calls the backups.
    let (resumed, evaluated) = compare(&[(0, FaultKind::Silent.into())], None).await;
    assert_eq!(resumed.verdict.slashed, []);
    assert!(evaluated.iter().all(|n| *n == BATCH as u64), "{evaluated:?}");
    assert!(resumed.records.is_empty(), "nothing to compare");
}
