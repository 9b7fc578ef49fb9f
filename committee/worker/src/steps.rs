//! What a worker's tasks do between two waits: choosing a batch, executing one, judging what a peer sent. Synchronous,
//! without clock and network, so that whoever drives a worker (the shell, or a simulation) runs exactly this.

use crate::results::{ResultStore, RoundResult};
use crate::seams::PeerResponse;
use parallax_primitives::{Digest, Gas, encode, limits};
use parallax_rounds::{Outcome, ParaTimeBlock, Proposal, SignedProposal, messages_hash};
use parallax_runtime::paratime::tx_digest;
use parallax_runtime::{Abort, Execution, FheBackend, ParaTime, RoundContext};
use parallax_state::blob_digest;

/// Chooses a batch among `candidates` for a round, makes it durable, and returns its digests and the gas of the round.
///
/// # Errors
/// [`Abort`] if the state cannot be read, or queued work alone is over `limit`.
pub fn plan(
    results: &ResultStore,
    runtime: &dyn ParaTime,
    mut candidates: Vec<Vec<u8>>,
    round: &RoundContext,
    limit: Gas,
) -> Result<(Vec<Digest>, Gas), Abort> {
    let view = results.snapshot(round.round.saturating_sub(1))?;
    candidates.truncate(fitting(&candidates));
    let first = runtime.plan(&view, round, &candidates, limit)?;
    candidates.truncate(first.take);
    // The gas of exactly this batch: what every replica will compute before it executes.
    let plan = runtime.plan(&view, round, &candidates, limit)?;
    if plan.take != candidates.len() || plan.gas > limit {
        return Err(Abort::Local(format!("queued work of gas {} does not fit the limit {limit} now", plan.gas)));
    }
    results.put_batch(round.round, &candidates)?;
    Ok((candidates.iter().map(|tx| tx_digest(tx)).collect(), plan.gas))
}

/// How many of the candidates stay within the limits on number and bytes.
fn fitting(candidates: &[Vec<u8>]) -> usize {
    let mut bytes = 0usize;
    let fits = |tx: &&Vec<u8>| {
        bytes = bytes.saturating_add(tx.len());
        bytes <= limits::MAX_BATCH_BYTES && tx.len() <= limits::MAX_PARATIME_TX_BYTES
    };
    candidates.iter().take(limits::MAX_BATCH_TXS).take_while(fits).count()
}

/// Whether these are the transactions of the proposal, within the limits.
pub fn is_batch_of(signed: &SignedProposal, transactions: &[Vec<u8>]) -> bool {
    transactions.len() == signed.proposal.transactions.len()
        && transactions.iter().zip(&signed.proposal.transactions).all(|(tx, digest)| tx_digest(tx) == *digest)
}

/// The transactions in a peer's answer, if they are those of the proposal. `Err`: it answered with something else.
///
/// # Errors
/// The answer is neither the batch nor "not here".
pub fn batch_of(signed: &SignedProposal, answer: Option<PeerResponse>) -> Result<Option<Vec<Vec<u8>>>, Unasked> {
    match answer {
        Some(PeerResponse::Batch(Some(given))) if is_batch_of(signed, &given) => Ok(Some(given)),
        Some(PeerResponse::Batch(None)) | None => Ok(None),
        Some(_) => Err(Unasked),
    }
}

/// The result in a peer's answer, if it names the accepted round and has its io root. Its state root is judged by
/// [`ResultStore::is_accepted`].
pub fn result_of(block: &ParaTimeBlock, answer: Option<PeerResponse>) -> Option<RoundResult> {
    match answer {
        Some(PeerResponse::Result(Some(result)))
            if result.round == block.round
                && result.proposal == block.proposal
                && result.io_root() == block.io_root =>
        {
            Some(result)
        }
        _ => None,
    }
}

/// The ciphertext in a peer's answer, if it has this digest.
///
/// # Errors
/// The peer sent another one.
pub fn blob_of(digest: &Digest, answer: Option<PeerResponse>) -> Result<Option<Vec<u8>>, Unasked> {
    match answer {
        Some(PeerResponse::Blob(Some(bytes))) if blob_digest(&bytes) == *digest => Ok(Some(bytes)),
        Some(PeerResponse::Blob(Some(_))) => Err(Unasked),
        _ => Ok(None),
    }
}

/// A peer sent what it was not asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the peer sent something else than it was asked for")]
pub struct Unasked;

/// Executes the batch of a proposal, which is durable here, on the state before its round. Writes nothing: the result
/// is to be stored with [`ResultStore::put_execution`] before anything is signed. `fhe` is a
/// [`parallax_runtime::Replay`], so that the outputs of all programs can be stored with it.
///
/// # Errors
/// [`Abort`]: the batch breaks a public rule, the run was cancelled, or this machine failed.
pub fn execute(
    results: &ResultStore,
    runtime: &dyn ParaTime,
    fhe: &dyn FheBackend,
    header: &Proposal,
    round: &RoundContext,
    max_gas: Gas,
    cancelled: &dyn Fn() -> bool,
) -> Result<(Outcome, Execution), Abort> {
    if cancelled() {
        return Err(Abort::Cancelled);
    }
    let batch = results
        .batch(round.round, &header.batch_root)?
        .ok_or_else(|| Abort::Local("the batch is no longer on the disk".to_owned()))?;
    let view = results.snapshot(round.round.saturating_sub(1))?;
    check_bounds(&batch)?;
    // From public data alone, so that every replica reaches the same verdict before any FHE work.
    let plan = runtime.plan(&view, round, &batch, max_gas)?;
    if plan.take != batch.len() || plan.gas != header.gas {
        let reason = format!(
            "it announces {} transactions with gas {}, the rules give {} with gas {}",
            batch.len(),
            header.gas,
            plan.take,
            plan.gas
        );
        return Err(Abort::InvalidBatch(reason));
    }
    let execution = runtime.execute(&view, round, &batch, fhe, cancelled)?;
    drop(view);
    if execution.messages.len() > limits::MAX_MESSAGES_PER_ROUND {
        return Err(Abort::Local("the ParaTime sends more messages than a round may".to_owned()));
    }
    if encode(&execution.messages).len() > limits::MAX_ROUND_MESSAGE_BYTES {
        return Err(Abort::Local("the ParaTime sends more bytes of messages than a round may".to_owned()));
    }
    let outcome = outcome(results, round, &execution)?;
    // The round may have ended meanwhile: then the accepted result is here or on its way, and this one must not take
    // its place.
    if cancelled() || results.applied()?.is_some_and(|applied| applied >= round.round) {
        return Err(Abort::Cancelled);
    }
    Ok((outcome, execution))
}

fn check_bounds(batch: &[Vec<u8>]) -> Result<(), Abort> {
    let bytes = batch.iter().fold(0usize, |sum, tx| sum.saturating_add(tx.len()));
    let longest = batch.iter().map(Vec::len).max().unwrap_or(0);
    if bytes > limits::MAX_BATCH_BYTES || longest > limits::MAX_PARATIME_TX_BYTES {
        return Err(Abort::InvalidBatch(format!(
            "it has {bytes} bytes (limit {}), its longest transaction {longest} (limit {})",
            limits::MAX_BATCH_BYTES,
            limits::MAX_PARATIME_TX_BYTES
        )));
    }
    Ok(())
}

fn outcome(results: &ResultStore, round: &RoundContext, execution: &Execution) -> Result<Outcome, Abort> {
    let consumed = usize::try_from(execution.in_messages_count)
        .ok()
        .and_then(|count| round.in_messages.get(..count))
        .ok_or_else(|| Abort::Local("the ParaTime consumes more messages than wait".to_owned()))?;
    Ok(Outcome::Success {
        io_root: execution.io_root(),
        state_root: results.root_with(round.round, &execution.changes)?,
        trace_root: execution.trace.root(),
        messages_hash: messages_hash(&execution.messages),
        in_messages_hash: messages_hash(consumed),
        in_messages_count: execution.in_messages_count,
    })
}
