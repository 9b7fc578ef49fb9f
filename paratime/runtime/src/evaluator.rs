//! Runs programs within one round: derives each one's re-randomisation seed from the round and its inputs, appends the
//! leaves to the trace, and counts.

use crate::backend::{Evaluation, FheBackend, FheError, Task};
use crate::paratime::RoundContext;
use crate::program::Program;
use crate::trace::{Trace, write_leaves};
use parallax_primitives::{Digest, Gas, KeyId};
use parallax_state::{Changes, blob_digest};

/// A program to evaluate: the arguments of [`Evaluator::evaluate`].
#[derive(Clone, Debug)]
pub struct Work<'a> {
    /// The position that makes its seed unique within the round.
    pub index: u64,
    /// The key under which all of it is encrypted.
    pub key: KeyId,
    /// What is computed.
    pub program: &'a Program,
    /// The bytes of the input ciphertexts.
    pub inputs: Vec<&'a [u8]>,
}

/// The evaluations of one execution, in order.
pub struct Evaluator<'a> {
    backend: &'a dyn FheBackend,
    context: &'a RoundContext,
    cancelled: &'a dyn Fn() -> bool,
    trace: Trace,
    pbs: u64,
    gas: Gas,
}

impl<'a> Evaluator<'a> {
    /// Nothing evaluated yet.
    pub fn new(backend: &'a dyn FheBackend, context: &'a RoundContext, cancelled: &'a dyn Fn() -> bool) -> Self {
        Self { backend, context, cancelled, trace: Trace::default(), pbs: 0, gas: Gas::ZERO }
    }

    /// The backend, for checks of inputs.
    pub fn backend(&self) -> &'a dyn FheBackend {
        self.backend
    }

    /// Evaluates one program and returns its output ciphertexts. `index` is the position in the batch, or, past the
    /// batch, of the work that the ParaTime does on its own account: it makes the seed unique within the round.
    ///
    /// # Errors
    /// [`FheError`], [`FheError::Cancelled`] included.
    pub fn evaluate(
        &mut self,
        index: u64,
        key: KeyId,
        program: &Program,
        inputs: &[&[u8]],
    ) -> Result<Vec<Vec<u8>>, FheError> {
        if (self.cancelled)() {
            return Err(FheError::Cancelled);
        }
        let digests: Vec<Digest> = inputs.iter().map(|bytes| blob_digest(bytes)).collect();
        let seed = self.context.rerandomization(key, index, program.digest(), &digests);
        let done = self.backend.evaluate(key, program, inputs, &seed, self.cancelled)?;
        self.keep(program, done)
    }

    /// Evaluates programs of which none reads what another one makes, side by side if the backend can: outputs, trace
    /// and count are those of [`Evaluator::evaluate`] on one after the other.
    ///
    /// # Errors
    /// [`FheError`], [`FheError::Cancelled`] included.
    pub fn evaluate_all(&mut self, works: &[Work<'_>]) -> Result<Vec<Vec<Vec<u8>>>, FheError> {
        if (self.cancelled)() {
            return Err(FheError::Cancelled);
        }
        let tasks: Vec<Task<'_>> = works
            .iter()
            .map(|work| {
                let digests: Vec<Digest> = work.inputs.iter().map(|bytes| blob_digest(bytes)).collect();
                let seed = self.context.rerandomization(work.key, work.index, work.program.digest(), &digests);
                Task { key: work.key, program: work.program, inputs: work.inputs.clone(), rerandomization: seed }
            })
            .collect();
        let done = self.backend.evaluate_all(&tasks, self.cancelled)?;
        if done.len() != works.len() {
            let (got, want) = (done.len(), works.len());
            return Err(FheError::Library(format!("the backend returned {got} evaluations of {want} programs")));
        }
        works.iter().zip(done).map(|(work, done)| self.keep(work.program, done)).collect()
    }

    /// Appends an evaluation to what there is; its outputs.
    fn keep(&mut self, program: &Program, done: Evaluation) -> Result<Vec<Vec<u8>>, FheError> {
        if done.outputs.len() != program.outputs().len() {
            let (got, want) = (done.outputs.len(), program.outputs().len());
            return Err(FheError::Library(format!("the backend returned {got} outputs of a program with {want}")));
        }
        self.trace.leaves.extend(done.leaves);
        self.pbs = self.pbs.saturating_add(done.pbs);
        self.gas = self.gas.saturating_add(program.gas().0);
        Ok(done.outputs)
    }

    /// Bootstraps spent so far.
    pub fn pbs(&self) -> u64 {
        self.pbs
    }

    /// FHE gas of the programs evaluated so far.
    pub fn gas(&self) -> Gas {
        self.gas
    }

    /// The trace of everything evaluated, closed by the writes that came of it; and the bootstraps.
    pub fn finish(mut self, changes: &Changes) -> (Trace, u64) {
        self.trace.leaves.extend(write_leaves(changes));
        (self.trace, self.pbs)
    }
}
