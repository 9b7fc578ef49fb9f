//! The backend that nodes run.

use crate::encoding::{decode_list, decode_stored, encode_stored};
use crate::evaluate::{Input, evaluate};
use crate::keys::{EvaluationKeys, KeyError, ProfileMismatch, check};
use crate::list;
use crate::plan::{self, BackendKind};
use crate::pool::FhePool;
use parallax_primitives::{Digest, KeyId};
use parallax_runtime::trace::leaves;
use parallax_runtime::{
    Evaluation, EvaluationProfile, FheBackend, FheError, InputError, InputKind, Program, ReRandomization,
};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

/// How many verdicts on lists are kept. Admission and execution ask for the same list within seconds.
const MAX_VERDICTS: usize = 4_096;

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
