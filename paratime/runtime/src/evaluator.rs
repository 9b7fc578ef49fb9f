//! Runs programs within one round: derives each one's re-randomisation seed from the round and its inputs, appends the
//! leaves to the trace, and counts.

use crate::backend::{FheBackend, FheError};
use crate::paratime::RoundContext;
use crate::program::Program;
use crate::trace::{Trace, write_leaves};
use parallax_primitives::{Digest, Gas, KeyId};
use parallax_state::{Changes, blob_digest};

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
