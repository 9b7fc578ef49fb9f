//! The backend that nodes run.

use crate::encoding::{decode_list, decode_stored, encode_stored};
use crate::evaluate::{Input, evaluate};
use crate::keys::{EvaluationKeys, KeyError, ProfileMismatch, check};
use crate::list;
use crate::plan::{self, BackendKind};
use crate::pool::{FhePool, POLL};
use parallax_primitives::{Digest, KeyId};
use parallax_runtime::trace::leaves;
use parallax_runtime::{
    Evaluation, EvaluationProfile, FheBackend, FheError, InputError, InputKind, Program, ReRandomization, Task,
};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};

/// How many verdicts on lists are kept. Admission and execution ask for the same list within seconds.
const MAX_VERDICTS: usize = 4_096;
/// Most programs that are evaluated side by side: what is in memory of each is its values that are still needed.
const MAX_SIDE_BY_SIDE: usize = 16;

/// Evaluates programs with tfhe on the CPU: under the process's pinned plan, or exactly, as its keys were loaded.
pub struct TfheBackend {
    current: Arc<EvaluationKeys>,
    previous: Option<Arc<EvaluationKeys>>,
    pool: Arc<FhePool>,
    profile: EvaluationProfile,
    verdicts: Mutex<Verdicts>,
}

impl TfheBackend {
    /// A backend with its own pool of `threads` workers. [`TfheBackend::check_profile`] comes before the node joins a
    /// committee.
    ///
    /// # Errors
    /// If no plan is pinned, or the system refuses a thread.
    pub fn new(keys: Arc<EvaluationKeys>, threads: usize) -> Result<Self, KeyError> {
        Self::with_pool(keys, FhePool::new(threads).map_err(KeyError::Threads)?)
    }

    /// A backend on a pool that it shares with others.
    ///
    /// # Errors
    /// If no plan is pinned and the keys are for the backend that wants one.
    pub fn with_pool(keys: Arc<EvaluationKeys>, pool: Arc<FhePool>) -> Result<Self, KeyError> {
        let profile = match keys.backend() {
            BackendKind::CpuFft => plan::profile()?,
            BackendKind::CpuExact => BackendKind::CpuExact.profile(),
        };
        Ok(Self { current: keys, previous: None, pool, profile, verdicts: Mutex::default() })
    }

    /// Also accepts ciphertexts of the key set before the current one, during the overlap of a rotation.
    #[must_use]
    pub fn with_previous(mut self, keys: Arc<EvaluationKeys>) -> Self {
        self.previous = Some(keys);
        self
    }

    /// The pool, for another backend of the same node.
    pub fn pool(&self) -> &Arc<FhePool> {
        &self.pool
    }

    /// Evaluates the known answers of every key set that it holds, two to three core-seconds each, and compares them.
    ///
    /// # Errors
    /// The first operation that gives other bits than the key set commits to, with the probable reasons. A node that
    /// gets this must not join a committee.
    pub fn check_profile(&self) -> Result<(), ProfileMismatch> {
        for keys in [Some(&self.current), self.previous.as_ref()].into_iter().flatten() {
            check(&self.pool, &keys.material, &keys.known_inputs, &keys.answers)?;
            let operations = keys.answers.known_answers.len();
            tracing::info!(key = %keys.key_id(), backend = %keys.backend(), operations, "fhe.profile_checked");
        }
        Ok(())
    }

    fn keys(&self, key: KeyId) -> Result<&Arc<EvaluationKeys>, InputError> {
        let mut all = [Some(&self.current), self.previous.as_ref()].into_iter().flatten();
        let found = all.find(|keys| keys.key_id() == key);
        found.ok_or(InputError::UnknownKey { given: key, accepted: self.current.key_id() })
    }
}

/// Verdicts on lists, the oldest dropped first. A verdict is kept under a digest of everything it depends on: the list
/// with its proof, the number of blocks, the metadata that names the sender, and the key id, which commits to public
/// key and CRS. A list that was copied from another sender therefore never meets that sender's verdict.
#[derive(Default)]
struct Verdicts {
    known: BTreeMap<[u8; 32], list::Verdict>,
    order: VecDeque<[u8; 32]>,
}

impl Verdicts {
    fn key(key: KeyId, list: &[u8], blocks: u16, metadata: &Digest) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key("parallax 2026-11 v1 fhe verdict on a list, in memory");
        hasher.update(&key.0).update(&metadata.0).update(&blocks.to_le_bytes()).update(list);
        *hasher.finalize().as_bytes()
    }

    fn insert(&mut self, key: [u8; 32], verdict: list::Verdict) {
        if self.known.insert(key, verdict).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > MAX_VERDICTS
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

impl FheBackend for TfheBackend {
    fn profile(&self) -> &EvaluationProfile {
        &self.profile
    }

    fn key_ids(&self) -> Vec<KeyId> {
        [Some(&self.current), self.previous.as_ref()].into_iter().flatten().map(|keys| keys.key_id()).collect()
    }

    fn verify_input(&self, key: KeyId, list: &[u8], blocks: u16, metadata: &Digest) -> Result<(), InputError> {
        let keys = self.keys(key)?;
        let raw = decode_list(list, &[key], blocks)?;
        let id = Verdicts::key(key, list, blocks, metadata);
        if let Some(known) = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner).known.get(&id) {
            return known.clone();
        }
        let (material, metadata) = (Arc::clone(&keys.material), *metadata);
        let (words, proof) = (raw.words, raw.proof.to_vec());
        // A list that makes the library panic is refused, on every replica alike.
        let verdict = self
            .pool
            .run(move || list::verify(&material.public, words, &proof, &metadata))
            .unwrap_or_else(|panic| Err(InputError::NotConformant(panic)));
        self.verdicts.lock().unwrap_or_else(PoisonError::into_inner).insert(id, verdict.clone());
        verdict
    }

    fn evaluate(
        &self,
        key: KeyId,
        program: &Program,
        inputs: &[&[u8]],
        rerandomization: &ReRandomization,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Evaluation, FheError> {
        self.run(None, key, program, inputs, rerandomization, cancelled)
    }

    fn evaluate_all(&self, tasks: &[Task<'_>], cancelled: &dyn Fn() -> bool) -> Result<Vec<Evaluation>, FheError> {
        side_by_side(tasks, MAX_SIDE_BY_SIDE.min(2 * self.pool.threads()), cancelled, |task, cancelled| {
            self.run(None, task.key, task.program, &task.inputs, &task.rerandomization, cancelled)
        })
    }

    fn evaluate_flipped(
        &self,
        op: usize,
        key: KeyId,
        program: &Program,
        inputs: &[&[u8]],
        rerandomization: &ReRandomization,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Evaluation, FheError> {
        self.run(Some(op), key, program, inputs, rerandomization, cancelled)
    }
}

impl TfheBackend {
    /// Evaluates, with a flipped bit in the first result of operation `flip`.
    fn run(
        &self,
        flip: Option<usize>,
        key: KeyId,
        program: &Program,
        inputs: &[&[u8]],
        rerandomization: &ReRandomization,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Evaluation, FheError> {
        let keys = self.keys(key)?;
        let decoded = decode_inputs(key, program, inputs)?;
        let ciphers: Vec<Digest> = inputs.iter().map(|bytes| parallax_runtime::trace::block_digest(bytes)).collect();
        let seed = &rerandomization.seed;
        let outcome = evaluate(&self.pool, &keys.material, program, decoded, (seed, flip), cancelled)?;
        let outputs: Option<Vec<Vec<u8>>> =
            outcome.outputs.iter().map(|blocks| encode_stored(key, blocks.iter().map(|b| b.as_slice()))).collect();
        let outputs = outputs.ok_or_else(|| FheError::Library("an output has more than 65535 blocks".to_owned()))?;
        let stored: Vec<Digest> = outputs.iter().map(|bytes| parallax_runtime::trace::block_digest(bytes)).collect();
        let leaves = leaves(program, &ciphers, &outcome.digests, &stored)
            .ok_or_else(|| FheError::Library("the values do not fit the program".to_owned()))?;
        tracing::debug!(program = %program.digest().short(), pbs = program.pbs(), "fhe.evaluated");
        Ok(Evaluation { outputs, leaves, pbs: program.pbs() })
    }
}

/// Runs tasks on so many threads, which do the scheduling only: the work is the pool's, whose number of workers stays as
/// it is. The threads take the tasks in their order. The first error in that order ends all of them.
fn side_by_side<T: Sync, R: Send>(
    tasks: &[T],
    threads: usize,
    cancelled: &dyn Fn() -> bool,
    run: impl Fn(&T, &dyn Fn() -> bool) -> Result<R, FheError> + Sync,
) -> Result<Vec<R>, FheError> {
    if tasks.len() <= 1 {
        return tasks.iter().map(|task| run(task, cancelled)).collect();
    }
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (sender, receiver) = channel();
    let mut results: Vec<Option<Result<R, FheError>>> = tasks.iter().map(|_| None).collect();
    std::thread::scope(|scope| {
        for _ in 0..threads.min(tasks.len()) {
            let (sender, run, next, stop) = (sender.clone(), &run, &next, &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(task) = tasks.get(at) else { break };
                    let result = run(task, &|| stop.load(Ordering::Relaxed));
                    // Nobody listens any more when another one failed meanwhile.
                    let _ = sender.send((at, result));
                }
            });
        }
        drop(sender);
        // The caller's wish to cancel is asked here, because what asks need not be shared between threads.
        loop {
            if cancelled() {
                stop.store(true, Ordering::Relaxed);
            }
            match receiver.recv_timeout(POLL) {
                Ok((at, result)) => {
                    if result.is_err() {
                        stop.store(true, Ordering::Relaxed);
                    }
                    if let Some(place) = results.get_mut(at) {
                        *place = Some(result);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
    });
    // What was stopped on behalf of another one's error must not hide it.
    let all = results.into_iter().map(|result| result.unwrap_or(Err(FheError::Cancelled)));
    let (done, failed): (Vec<_>, Vec<_>) = all.partition(Result::is_ok);
    let mut failed = failed.into_iter().filter_map(Result::err).collect::<Vec<_>>();
    if failed.is_empty() {
        return done.into_iter().collect();
    }
    let first = failed.iter().position(|error| *error != FheError::Cancelled).unwrap_or(0);
    Err(failed.swap_remove(first))
}

fn decode_inputs(key: KeyId, program: &Program, inputs: &[&[u8]]) -> Result<Vec<Input>, FheError> {
    let kinds = program.inputs();
    if kinds.len() != inputs.len() {
        let reason = format!("{} ciphertexts were given, the program takes {}", inputs.len(), kinds.len());
        return Err(FheError::BadInput { index: inputs.len().min(kinds.len()), reason });
    }
    let mut decoded = Vec::with_capacity(inputs.len());
    for (index, (kind, bytes)) in kinds.iter().zip(inputs).enumerate() {
        let input = match *kind {
            InputKind::Stored { blocks, .. } => decode_stored(bytes, &[key], blocks).map(Input::Stored),
            InputKind::Proven { blocks } => decode_list(bytes, &[key], blocks).map(|raw| Input::List(raw.words)),
        };
        decoded.push(input.map_err(|e| match (kind, e) {
            (InputKind::Stored { .. }, e) if !matches!(e, InputError::UnknownKey { .. }) => {
                FheError::BadInput { index, reason: e.to_string() }
            }
            (_, e) => FheError::Refused(e),
        })?);
    }
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    #[test]
    fn results_come_in_the_order_of_the_tasks_and_tasks_run_at_the_same_time() {
        let tasks: Vec<usize> = (0..20).collect();
        // Two at a time must meet, or nobody passes.
        let meet = Barrier::new(2);
        let done = side_by_side(&tasks, 2, &|| false, |task, _| {
            meet.wait();
            Ok(task * 10)
        });
        assert_eq!(done, Ok((0..20).map(|n| n * 10).collect()));
        assert_eq!(side_by_side(&[1], 4, &|| false, |task, _| Ok(*task)), Ok(vec![1]));
    }

    #[test]
    fn an_error_ends_the_others_and_is_not_hidden_by_their_end() {
        let failed = FheError::Library("the third".to_owned());
        let done: Result<Vec<()>, FheError> = side_by_side(&[0, 1, 2, 3], 4, &|| false, |task, stopped| {
            if *task == 2 {
                return Err(failed.clone());
            }
            while !stopped() {
                std::thread::yield_now();
            }
            Err(FheError::Cancelled)
        });
        assert_eq!(done, Err(failed));
    }

    #[test]
    fn a_caller_that_no_longer_wants_it_stops_all_of_them() {
        let done: Result<Vec<()>, FheError> = side_by_side(&[0; 8], 3, &|| true, |_, stopped| {
            while !stopped() {
                std::thread::yield_now();
            }
            Err(FheError::Cancelled)
        });
        assert_eq!(done, Err(FheError::Cancelled));
    }
}
