//! Deliberate faults of one node, to show and test the slow path. A node accepts them only where the genesis document
//! says that the chain is a localnet ([`FaultKind::allowed`]).

use crate::seams::{CrashStep, Where};
use parallax_primitives::{Digest, Domain, KeyId};
use parallax_runtime::{Evaluation, EvaluationProfile, FheBackend, FheError, InputError, Program, ReRandomization};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A fault. The list is closed; the text forms are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// `wrong-root`: commits once, as a worker that is not the scheduler, to a state root that is not the result's.
    WrongRoot,
    /// `wrong-root-scheduler`: the same, once, as the scheduler.
    WrongRootScheduler,
    /// `silent`: executes and never commits.
    Silent,
    /// `failure`: commits a failure to every batch that it does not schedule. As the scheduler it is silent, because a
    /// scheduler's failure is refused.
    Failure,
    /// `flip-bit`: flips one ciphertext bit in the result of one operation, once; everything after it is computed
    /// with that.
    FlipBit,
    /// `other-fft-plan`: evaluates with another FFT plan. Its known answers differ, so the node does not start; the
    /// node applies it where it builds its backend, the worker knows nothing of it.
    OtherFftPlan,
    /// `crash-at=STEP`: ends the process at once, once in the life of its home directory, before or after a step, for
    /// example `crash-at=after-persist`.
    CrashAt(Where, CrashStep),
}

/// A text that is no fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no fault; there are wrong-root, wrong-root-scheduler, silent, failure, flip-bit, other-fft-plan and \
     crash-at=STEP, where STEP is before- or after- and one of {steps}",
    steps = CrashStep::names()
)]
pub struct UnknownFault(pub String);

/// A fault on a chain that is no localnet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the fault `{0}` is refused: this chain is no localnet")]
pub struct FaultRefused(pub FaultKind);

impl FaultKind {
    /// Whether the fault may be used on a chain; `localnet` is the genesis parameter of that name.
    ///
    /// # Errors
    /// [`FaultRefused`] outside a localnet.
    pub fn allowed(self, localnet: bool) -> Result<Self, FaultRefused> {
        if localnet { Ok(self) } else { Err(FaultRefused(self)) }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongRoot => f.write_str("wrong-root"),
            Self::WrongRootScheduler => f.write_str("wrong-root-scheduler"),
            Self::Silent => f.write_str("silent"),
            Self::Failure => f.write_str("failure"),
            Self::FlipBit => f.write_str("flip-bit"),
            Self::OtherFftPlan => f.write_str("other-fft-plan"),
            Self::CrashAt(place, step) => write!(f, "crash-at={place}-{step}"),
        }
    }
}

impl FromStr for FaultKind {
    type Err = UnknownFault;

    fn from_str(text: &str) -> Result<Self, UnknownFault> {
        let unknown = || UnknownFault(text.to_owned());
        Ok(match text {
            "wrong-root" => Self::WrongRoot,
            "wrong-root-scheduler" => Self::WrongRootScheduler,
            "silent" => Self::Silent,
            "failure" => Self::Failure,
            "flip-bit" => Self::FlipBit,
            "other-fft-plan" => Self::OtherFftPlan,
            other => {
                let step = other.strip_prefix("crash-at=").ok_or_else(unknown)?;
                let (place, step) = step.split_once('-').ok_or_else(unknown)?;
                let place = match place {
                    "before" => Where::Before,
                    "after" => Where::After,
                    _ => return Err(unknown()),
                };
                let step = CrashStep::ALL.into_iter().find(|s| s.name() == step).ok_or_else(unknown)?;
                Self::CrashAt(place, step)
            }
        })
    }
}

/// Another root than the given one, and always the same: liars that do not know of each other agree on nothing else.
pub(crate) fn wrong(root: Digest) -> Digest {
    Digest::of_value(Domain::Simulation, &("wrong-root", root))
}

/// A backend whose first evaluation has one flipped bit: the fault `flip-bit`.
pub struct FlipBit {
    inner: Arc<dyn FheBackend>,
    done: AtomicBool,
}

impl FlipBit {
    /// Around an honest backend.
    pub fn new(inner: Arc<dyn FheBackend>) -> Self {
        Self { inner, done: AtomicBool::new(false) }
    }
}

impl FheBackend for FlipBit {
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
        let mut evaluation = self.inner.evaluate(key, program, inputs, rerandomization, cancelled)?;
        if evaluation.outputs.is_empty() || self.done.swap(true, Ordering::SeqCst) {
            return Ok(evaluation);
        }
        // The middle of the encoding is ciphertext; its ends may be framing.
        if let Some(output) = evaluation.outputs.first_mut() {
            let middle = output.len() / 2;
            if let Some(byte) = output.get_mut(middle) {
                *byte ^= 1;
            }
        }
        if let Some(leaf) = evaluation.leaves.last_mut() {
            leaf.output = wrong(leaf.output);
        }
        Ok(evaluation)
    }
}

#[cfg(test)]
mod tests;
