//! Continues a disputed execution where replicas began to differ: a backend around another one that hands back what is
//! known of the programs before that place, and evaluates the rest.
//!
//! A replica that executes through it runs the same code as one that executes everything: it opens the transactions,
//! checks proofs, writes state and forms roots itself. Only the evaluation of programs that lie wholly inside the
//! agreed prefix is left out; their leaves and outputs are taken over. The unit is the program (a report, a job, a
//! decision), because its outputs are what replicas keep; values inside a program are not kept, so the program in which
//! replicas first differ is evaluated from its inputs on.
//!
//! **Soundness.** The prefix must be common to the traces of at least `W - S` workers, each verified against the root
//! that its worker signed. Fewer than `W - S` workers are faulty by the assumption under which rounds detect wrong
//! results at all, so one of those traces is an honest worker's; a leaf holds the digest of its output, so every leaf
//! of the prefix is what an honest replica computed on this batch, and every output fetched by such a digest is the
//! right one. Where fewer traces can be had the prefix must be empty. `Replay` does not rest on that alone: a leaf of
//! the prefix that cannot be this replica's own (another opcode, other inputs) ends the prefix there.

use crate::backend::{Evaluation, EvaluationProfile, FheBackend, FheError, InputError, ReRandomization, Task};
use crate::program::Program;
use crate::trace::{TraceLeaf, check, leaf_count};
use parallax_primitives::{Digest, KeyId};
use parallax_state::blob_digest;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What was evaluated and what was taken over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Programs taken over from the prefix.
    pub replayed: u64,
    /// Programs evaluated here.
    pub evaluated: u64,
    /// Bootstraps of the programs taken over: what was saved.
    pub saved_pbs: u64,
    /// Bootstraps spent here.
    pub spent_pbs: u64,
    /// The first leaf of the prefix that cannot be this replica's own, or that it computed to something else; `None`
    /// if there was none.
    pub contradicted: Option<u64>,
    /// The outputs of all programs, evaluated or taken over, by digest.
    pub outputs: BTreeMap<Digest, Vec<u8>>,
}

#[derive(Default)]
struct Progress {
    /// How many leaves the programs so far have.
    next: usize,
    done: Replayed,
}

/// See the module's documentation. One execution each.
pub struct Replay<'a> {
    inner: &'a dyn FheBackend,
    prefix: &'a [TraceLeaf],
    known: &'a (dyn Fn(&Digest) -> Option<Vec<u8>> + Send + Sync),
    progress: Mutex<Progress>,
}

impl<'a> Replay<'a> {
    /// Takes over what lies in `prefix`, the leaves that an execution of this very batch begins with; `known` gives a
    /// ciphertext by its digest, and is checked. What it does not give is evaluated.
    pub fn new(
        inner: &'a dyn FheBackend,
        prefix: &'a [TraceLeaf],
        known: &'a (dyn Fn(&Digest) -> Option<Vec<u8>> + Send + Sync),
    ) -> Self {
        Self { inner, prefix, known, progress: Mutex::default() }
    }

    /// Evaluates everything, and keeps the outputs of all programs.
    pub fn record(inner: &'a dyn FheBackend) -> Self {
        Self::new(inner, &[], &|_| None)
    }

    /// What was done.
    pub fn finish(self) -> Replayed {
        self.progress.into_inner().unwrap_or_else(PoisonError::into_inner).done
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The leaves of the next program, if all of them are in the prefix and nothing has contradicted it yet.
    fn agreed(&self, program: &Program) -> Option<(usize, &'a [TraceLeaf])> {
        let progress = self.progress();
        if progress.done.contradicted.is_some() {
            return None;
        }
        let end = progress.next.checked_add(leaf_count(program))?;
        Some((progress.next, self.prefix.get(progress.next..end)?))
    }

    /// Notes the first leaf of the prefix that does not hold.
    fn contradict(&self, leaf: usize) {
        self.progress().done.contradicted.get_or_insert(leaf as u64);
    }

    /// The outputs under these digests, if all are known.
    fn outputs(&self, digests: &[Digest]) -> Option<Vec<Vec<u8>>> {
        let get = |digest: &Digest| (self.known)(digest).filter(|bytes| blob_digest(bytes) == *digest);
        digests.iter().map(get).collect()
    }

    /// The evaluation of a program as the prefix has it; `None` if it does not have it.
    fn take_over(&self, program: &Program, inputs: &[&[u8]]) -> Option<Evaluation> {
        let (start, leaves) = self.agreed(program)?;
        let ciphers: Vec<Digest> = inputs.iter().map(|bytes| blob_digest(bytes)).collect();
        let digests = match check(program, &ciphers, leaves) {
            Ok(digests) => digests,
            Err(at) => {
                self.contradict(start.saturating_add(at));
                return None;
            }
        };
        let outputs = self.outputs(&digests)?;
        Some(Evaluation { outputs, leaves: leaves.to_vec(), pbs: program.pbs() })
    }

    fn note(&self, evaluation: &Evaluation, replayed: bool) {
        let mut progress = self.progress();
        progress.next = progress.next.saturating_add(evaluation.leaves.len());
        let done = &mut progress.done;
        let (programs, pbs) = match replayed {
            true => (&mut done.replayed, &mut done.saved_pbs),
            false => (&mut done.evaluated, &mut done.spent_pbs),
        };
        *programs = programs.saturating_add(1);
        *pbs = pbs.saturating_add(evaluation.pbs);
        done.outputs.extend(evaluation.outputs.iter().map(|bytes| (blob_digest(bytes), bytes.clone())));
    }
}

impl FheBackend for Replay<'_> {
    fn profile(&self) -> &EvaluationProfile {
        self.inner.profile()
    }

    fn key_ids(&self) -> Vec<KeyId> {
        self.inner.key_ids()
    }

    fn verify_input(&self, key: KeyId, list: &[u8], blocks: u16, metadata: &Digest) -> Result<(), InputError> {
        self.inner.verify_input(key, list, blocks, metadata)
    }

    fn evaluate(
        &self,
        key: KeyId,
        program: &Program,
        inputs: &[&[u8]],
        rerandomization: &ReRandomization,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Evaluation, FheError> {
        if let Some(evaluation) = self.take_over(program, inputs) {
            self.note(&evaluation, true);
            return Ok(evaluation);
        }
        // Asked before, because the evaluation moves on.
        let agreed = self.agreed(program);
        let evaluation = self.inner.evaluate(key, program, inputs, rerandomization, cancelled)?;
        // An output of the prefix was not to be had. If this machine computes something else than the workers agreed
        // on, nothing after it in the prefix is taken over either.
        if let Some((start, leaves)) = agreed
            && let Some(at) = evaluation.leaves.iter().zip(leaves).position(|(mine, theirs)| mine != theirs)
        {
            self.contradict(start.saturating_add(at));
        }
        self.note(&evaluation, false);
        Ok(evaluation)
    }

    fn evaluate_all(&self, tasks: &[Task<'_>], cancelled: &dyn Fn() -> bool) -> Result<Vec<Evaluation>, FheError> {
        let mut out = Vec::with_capacity(tasks.len());
        // The prefix ends once: behind the first program that does not lie in it, none does.
        for (at, task) in tasks.iter().enumerate() {
            if self.agreed(task.program).is_none() {
                let rest = tasks.get(at..).unwrap_or_default();
                for evaluation in self.inner.evaluate_all(rest, cancelled)? {
                    self.note(&evaluation, false);
                    out.push(evaluation);
                }
                return Ok(out);
            }
            out.push(self.evaluate(task.key, task.program, &task.inputs, &task.rerandomization, cancelled)?);
        }
        Ok(out)
    }
}
