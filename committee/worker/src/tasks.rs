//! What takes long: planning, fetching, executing, committing a state.

use crate::disputes;
use crate::event::{Dispute, WorkerEvent};
use crate::results::{FetchedState, ResultStore, RoundResult, StateFetch};
use crate::seams::{CrashStep, Ledger, PeerRequest, Pool, Transport, Where};
use crate::shell::{Context, WorkerError};
use crate::steps;
use parallax_primitives::message::OutMessage;
use parallax_primitives::{Digest, Gas, NodeId, Round, limits};
use parallax_rounds::{Outcome, ParaTimeBlock, SignedProposal};
use parallax_runtime::{Abort, Replay, RoundContext, TraceLeaf};
use parallax_state::StateError;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The pause after a state that nobody gave, in pauses between questions.
const STATE_RETRY: u32 = 20;

/// What comes back from a task.
pub(crate) enum TaskEvent {
    Worker(WorkerEvent),
    Fatal(WorkerError),
}

/// Runs what reads or writes the disk for long off the async threads.
pub(crate) async fn blocking<R: Send + 'static>(job: impl FnOnce() -> R + Send + 'static) -> R {
    match tokio::task::spawn_blocking(job).await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Blocking jobs are cancelled only when the runtime shuts down; nobody waits for the answer then.
            Err(_) => std::future::pending().await,
        },
    }
}

/// Chooses a batch and makes it durable.
pub(crate) async fn propose<L: Ledger, T: Transport, P: Pool>(
    context: Arc<Context<L, T, P>>,
    round: RoundContext,
    limit: Gas,
) -> Result<(), WorkerError> {
    let number = round.round;
    let worker = Arc::clone(&context);
    let planned = move || {
        let candidates = worker.pool.candidates(limits::MAX_BATCH_TXS, limits::MAX_BATCH_BYTES);
        steps::plan(&worker.results, &*worker.runtime, candidates, &round, limit)
    };
    let batch = blocking(planned).await;
    let batch = match batch {
        Ok(batch) => Some(batch),
        Err(abort) => {
            tracing::warn!(round = number.0, error = %abort, "worker.plan_failed");
            None
        }
    };
    context.tell(WorkerEvent::Planned { round: number, batch }).await;
    Ok(())
}

/// Everyone but this node, `first` first.
fn peers<L: Ledger, T, P>(context: &Context<L, T, P>, first: Option<NodeId>) -> Result<Vec<NodeId>, WorkerError> {
    let mut peers: Vec<NodeId> = first.into_iter().collect();
    for peer in context.ledger.peers(context.paratime)? {
        if !peers.contains(&peer) {
            peers.push(peer);
        }
    }
    peers.retain(|peer| *peer != context.me);
    Ok(peers)
}

/// Gets a batch: from this node's own disk or pool, else from the scheduler, else from anyone. Does not give up; the
/// state machine cancels it when the proposal falls.
pub(crate) async fn fetch_batch<L: Ledger, T: Transport, P: Pool>(
    context: Arc<Context<L, T, P>>,
    signed: SignedProposal,
) -> Result<(), WorkerError> {
    let (round, batch_root) = (signed.proposal.round, signed.proposal.batch_root);
    let mut transactions = match context.results.batch(round, &batch_root)? {
        Some(held) => Some(held),
        None => signed.proposal.transactions.iter().map(|digest| context.pool.get(digest)).collect(),
    };
    while transactions.is_none() {
        for peer in peers(&context, Some(signed.proposal.scheduler))? {
            let request = PeerRequest::Batch { round, batch_root };
            match steps::batch_of(&signed, context.transport.request(context.paratime, peer, request).await) {
                Ok(Some(given)) => {
                    transactions = Some(given);
                    break;
                }
                Ok(None) => {}
                Err(_) => {
                    tracing::warn!(%peer, round = round.0, "worker.peer_sent_another_batch");
                    context.transport.blame(peer).await;
                }
            }
        }
        if transactions.is_none() {
            tokio::time::sleep(context.retry).await;
        }
    }
    if let Some(transactions) = transactions {
        let results = context.results.clone();
        blocking(move || results.put_batch(round, &transactions)).await?;
    }
    context.tell(WorkerEvent::TransactionsArrived { proposal: signed.proposal.digest() }).await;
    Ok(())
}

/// One execution.
pub(crate) struct Order {
    pub(crate) signed: SignedProposal,
    pub(crate) round: RoundContext,
    pub(crate) max_gas: Gas,
    /// What the workers said, for a backup.
    pub(crate) dispute: Option<Dispute>,
    /// The leaves that the execution is known to begin with.
    pub(crate) prefix: Vec<TraceLeaf>,
    pub(crate) cancelled: Arc<AtomicBool>,
}

/// Why an execution has no result.
enum Stop {
    Abort(Abort),
    Fatal(WorkerError),
}

impl<E: Into<Abort>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Abort(error.into())
    }
}

/// Executes on the FHE threads and makes the result durable.
pub(crate) async fn execute<L: Ledger, T: Transport, P: Pool>(
    context: Arc<Context<L, T, P>>,
    mut order: Order,
) -> Result<(), WorkerError> {
    let proposal = order.signed.proposal.digest();
    if let Some(dispute) = &order.dispute {
        order.prefix = disputes::agreed_prefix(&context, dispute).await?;
    }
    let (worker, cancelled) = (Arc::clone(&context), Arc::clone(&order.cancelled));
    let answer = context.executor.run(move || run(&worker, &order, proposal)).await.unwrap_or_else(|_| {
        let abort = Abort::Local("the FHE threads are busy or the execution panicked; see the log".to_owned());
        Err(Stop::Abort(abort))
    });
    if let Some(event) = report(proposal, answer, cancelled.load(Ordering::SeqCst))? {
        context.tell(event).await;
    }
    Ok(())
}

/// What the state machine hears of a run. Of a cancelled one nothing: it may have begun the same proposal again
/// meanwhile, and would take the end of the old run for that of the new one.
fn report(
    proposal: Digest,
    answer: Result<(Outcome, Vec<OutMessage>), Stop>,
    cancelled: bool,
) -> Result<Option<WorkerEvent>, WorkerError> {
    let event = match answer {
        Err(Stop::Fatal(error)) => return Err(error),
        Ok(_) | Err(Stop::Abort(_)) if cancelled => return Ok(None),
        Ok((outcome, messages)) => WorkerEvent::Executed { proposal, outcome, messages },
        Err(Stop::Abort(abort)) => {
            if abort != Abort::Cancelled {
                tracing::warn!(%proposal, error = %abort, "worker.execution_failed");
            }
            WorkerEvent::Aborted { proposal, abort }
        }
    };
    Ok(Some(event))
}

fn run<L: Ledger, T: Transport, P: Pool>(
    context: &Context<L, T, P>,
    order: &Order,
    proposal: Digest,
) -> Result<(Outcome, Vec<OutMessage>), Stop> {
    let (round, header) = (&order.round, &order.signed.proposal);
    let cancelled = || order.cancelled.load(Ordering::SeqCst);
    let started = std::time::Instant::now();
    let known = |digest: &Digest| context.results.blob(digest).ok().flatten();
    let replay = Replay::new(&*context.fhe, &order.prefix, &known);
    let (results, runtime) = (&context.results, &*context.runtime);
    let (outcome, execution) = steps::execute(results, runtime, &replay, header, round, order.max_gas, &cancelled)?;
    let replayed = replay.finish();
    if let Some(leaf) = replayed.contradicted {
        tracing::warn!(round = round.round.0, operation = leaf, "worker.prefix_contradicted");
    }
    tracing::info!(
        round = round.round.0,
        transactions = header.transactions.len(),
        pbs = execution.pbs,
        spent_pbs = replayed.spent_pbs,
        evaluated = replayed.evaluated,
        replayed = replayed.replayed,
        milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        "worker.executed"
    );
    let store = || -> Result<(), WorkerError> {
        context.pass(Where::Before, CrashStep::StoreResult)?;
        context.results.put_execution(round.round, proposal, &execution, &replayed)?;
        context.pass(Where::After, CrashStep::StoreResult)
    };
    store().map_err(Stop::Fatal)?;
    Ok((outcome, execution.messages))
}

/// Commits the state after a round from what is held here.
pub(crate) async fn commit_state<L: Ledger, T: Transport, P: Pool>(
    context: Arc<Context<L, T, P>>,
    round: Round,
) -> Result<(), WorkerError> {
    let Some(block) = context.ledger.block(context.paratime, round)? else {
        tracing::warn!(round = round.0, "worker.block_not_kept");
        context.tell(WorkerEvent::ResultMissing { round }).await;
        return Ok(());
    };
    let (results, held) = (context.results.clone(), block.clone());
    let done = blocking(move || results.commit_held(&held)).await?;
    if !done {
        context.tell(WorkerEvent::ResultMissing { round }).await;
        return Ok(());
    }
    applied(&context, block).await
}

/// Tells pool and state machine that a round's state is committed.
async fn applied<L: Ledger, T: Transport, P: Pool>(
    context: &Arc<Context<L, T, P>>,
    block: ParaTimeBlock,
) -> Result<(), WorkerError> {
    let round = block.round;
    tracing::info!(round = round.0, kind = ?block.kind, state_root = %block.state_root, "worker.state_committed");
    let worker = Arc::clone(context);
    // The pool checks all that waits against the new state.
    let told = move || -> Result<(), StateError> {
        let executed = worker.results.executed(&block)?;
        worker.pool.applied(block.round, &executed);
        Ok(())
    };
    blocking(told).await?;
    context.tell(WorkerEvent::Applied { round }).await;
    Ok(())
}

/// Gets the accepted result of a round from peers, one after the other, and commits it if its root is the finalised
/// one. Executing again would cost as much FHE work as the committee's; the root makes a peer's result as good.
pub(crate) async fn fetch_result<L: Ledger, T: Transport, P: Pool>(
    context: Arc<Context<L, T, P>>,
    round: Round,
) -> Result<(), WorkerError> {
    if let Some(block) = context.ledger.block(context.paratime, round)? {
        let all = peers(&context, None)?;
        for peer in &all {
            let Some(result) = ask_result(&context, *peer, &block).await else { continue };
            let result = Arc::new(result);
            // First its root: a peer that names other ciphertexts must not make this node fetch and keep them.
            let (results, accepted, given) = (context.results.clone(), block.clone(), Arc::clone(&result));
            if !blocking(move || results.is_accepted(&accepted, &given)).await? {
                tracing::warn!(%peer, round = round.0, "worker.peer_sent_another_result");
                continue;
            }
            let (missing, given) = (context.results.missing_blobs(&result)?, Arc::clone(&result));
            let keep = move |results: &ResultStore, bytes| results.put_blob(&given, bytes);
            if !fetch_blobs(&context, *peer, &all, missing, keep).await? {
                continue;
            }
            let (results, accepted) = (context.results.clone(), block.clone());
            if blocking(move || results.commit_fetched(&accepted, &result)).await? {
                return applied(&context, block).await;
            }
        }
    }
    context.tell(WorkerEvent::FetchFailed { round }).await;
    Ok(())
}

async fn ask_result<L: Ledger, T: Transport, P: Pool>(
    context: &Context<L, T, P>,
    peer: NodeId,
    block: &ParaTimeBlock,
) -> Option<RoundResult> {
    let request = PeerRequest::Result { round: block.round, proposal: block.proposal };
    steps::result_of(block, context.transport.request(context.paratime, peer, request).await)
}

/// Gets the whole state after a round from peers, one after the other, and commits it if its root is the finalised one.
pub(crate) async fn fetch_state<L: Ledger, T: Transport, P: Pool>(
    context: Arc<Context<L, T, P>>,
    round: Round,
) -> Result<(), WorkerError> {
    if let Some(block) = context.ledger.block(context.paratime, round)? {
        // All rounds between may have left the state as it was; then perhaps nobody has come further than this node.
        let (results, last) = (context.results.clone(), block.clone());
        if blocking(move || results.commit_unchanged(&last)).await? {
            return applied(&context, block).await;
        }
        let all = peers(&context, None)?;
        for peer in &all {
            let Some(state) = ask_state(&context, *peer, &block).await? else { continue };
            let missing = context.results.missing_in_state(&state)?;
            let ciphertexts = missing.len();
            if !fetch_blobs(&context, *peer, &all, missing, ResultStore::put_blob_of_state).await? {
                continue;
            }
            let results = context.results.clone();
            if blocking(move || results.commit_state(&state)).await? {
                tracing::info!(%peer, round = round.0, ciphertexts, "worker.state_fetched");
                return applied(&context, block).await;
            }
        }
        tracing::warn!(round = round.0, peers = all.len(), "worker.no_peer_gives_the_state");
        // A try may have moved the whole state of every peer: the next block alone is no reason for another one.
        tokio::time::sleep(context.retry.saturating_mul(STATE_RETRY)).await;
    }
    context.tell(WorkerEvent::FetchFailed { round }).await;
    Ok(())
}

/// Gets all parts of the state after a round from one peer; `None` if it does not give them, or they are another state.
async fn ask_state<L: Ledger, T: Transport, P: Pool>(
    context: &Context<L, T, P>,
    peer: NodeId,
    block: &ParaTimeBlock,
) -> Result<Option<FetchedState>, WorkerError> {
    let mut fetch = StateFetch::new(block.clone());
    loop {
        let answer = context.transport.request(context.paratime, peer, fetch.request()).await;
        match fetch.take(answer) {
            Ok(Some(true)) => break,
            Ok(Some(false)) => {}
            Ok(None) => return Ok(None),
            Err(_) => {
                tracing::warn!(%peer, round = block.round.0, "worker.peer_sent_no_part_of_a_state");
                context.transport.blame(peer).await;
                return Ok(None);
            }
        }
    }
    let results = context.results.clone();
    let state = blocking(move || results.judge_state(fetch)).await?;
    if state.is_none() {
        tracing::warn!(%peer, round = block.round.0, "worker.peer_sent_another_state");
        context.transport.blame(peer).await;
    }
    Ok(state)
}

/// Gets ciphertexts that are not here, each into the store by `keep` before the next is asked for, so that no more than
/// one is in memory. `false` if nobody gives one of them; what came is kept for the next try.
async fn fetch_blobs<L: Ledger, T: Transport, P: Pool>(
    context: &Context<L, T, P>,
    first: NodeId,
    all: &[NodeId],
    missing: Vec<Digest>,
    keep: impl Fn(&ResultStore, Vec<u8>) -> Result<(), StateError> + Send + Sync + 'static,
) -> Result<bool, WorkerError> {
    let keep = Arc::new(keep);
    for digest in missing {
        let mut found = None;
        for peer in std::iter::once(&first).chain(all.iter().filter(|peer| **peer != first)) {
            let request = PeerRequest::Blob { digest };
            match steps::blob_of(&digest, context.transport.request(context.paratime, *peer, request).await) {
                Ok(Some(bytes)) => {
                    found = Some(bytes);
                    break;
                }
                Ok(None) => {}
                Err(_) => {
                    tracing::warn!(%peer, blob = %digest, "worker.peer_sent_a_corrupt_ciphertext");
                    context.transport.blame(*peer).await;
                }
            }
        }
        let Some(bytes) = found else { return Ok(false) };
        let (results, keep) = (context.results.clone(), Arc::clone(&keep));
        blocking(move || keep(&results, bytes)).await?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(answer: Result<(Outcome, Vec<OutMessage>), Stop>, cancelled: bool) -> Option<WorkerEvent> {
        report(Digest([1; 32]), answer, cancelled).unwrap()
    }

    #[test]
    fn the_end_of_a_cancelled_run_is_not_told_but_a_fatal_error_is() {
        let aborted = |abort| Err(Stop::Abort(abort));
        assert!(told(aborted(Abort::Cancelled), true).is_none(), "the same proposal may be under way again");
        assert!(told(aborted(Abort::InvalidBatch("late".to_owned())), true).is_none());
        let failure = Outcome::Failure { reason: parallax_rounds::FailureReason::InvalidBatch };
        assert!(told(Ok((failure, vec![])), true).is_none());
        let local = Abort::Local("busy".to_owned());
        let event = told(aborted(local.clone()), false);
        assert!(matches!(event, Some(WorkerEvent::Aborted { abort, .. }) if abort == local));
        let fatal = WorkerError::State(StateError::Corrupt { what: "a row".to_owned(), reason: "test".to_owned() });
        for cancelled in [true, false] {
            let stop = Err(Stop::Fatal(fatal.clone()));
            assert_eq!(report(Digest([1; 32]), stop, cancelled).err(), Some(fatal.clone()));
        }
    }
}
