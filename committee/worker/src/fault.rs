//! Deliberate faults of one node, to show and test what the others do about them. A node accepts them only where the
//! genesis document says that the chain is a localnet ([`Fault::allowed`]).
//!
//! The worker itself knows no fault. A dishonest one is an honest one whose surroundings lie: [`FaultyLedger`] and
//! [`FaultyTransport`] change what it sends, [`FlipBit`] what it computes, [`CrashAt`] ends it. The node adds what lies
//! outside the worker: a relay that alters gossip, and corrupt answers to peers.

mod dishonest;
mod points;
mod text;

pub use dishonest::{Dishonest, FaultyLedger, FaultyTransport};
pub use points::{CrashAt, CrashPoints};
pub use text::{Rounds, UnknownFault};

use parallax_primitives::{Digest, Domain, KeyId, NodeId};
use parallax_runtime::{Evaluation, EvaluationProfile, FheBackend, FheError, InputError, Program, ReRandomization};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a dishonest node does. The list is closed; the text forms are stable, see [`FaultKind::name`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Commits, as a worker that is not the scheduler, to a state root that is not the result's. Once.
    WrongRoot,
    /// The same as the scheduler. Once.
    WrongRootScheduler,
    /// Commits, as a backup and before it has executed anything, to roots that it made up. Once.
    WrongRootBackup,
    /// The same as [`FaultKind::WrongRoot`] in one of the last rounds that fit into an epoch. Once.
    EpochCheat,
    /// Executes and never commits.
    Silent,
    /// Announces, as the scheduler, and never commits to what it announced.
    Runaway,
    /// Commits only when the deadline has passed.
    Straggler,
    /// Commits a failure to every batch. From the scheduler that is refused.
    Failure,
    /// Proposes, as the scheduler, transactions that nobody has.
    BogusTransactions,
    /// Proposes, as the scheduler, a batch whose root is not that of its transactions.
    InvalidBatchRoot,
    /// Announces an empty batch as soon as a round begins, whatever its rank.
    Preempt,
    /// Signs two votes for one proposal. Once.
    EquivocateVote,
    /// Signs, as the scheduler, two proposals of one round and sends both to everyone. Once.
    EquivocateProposal,
    /// Gossips, as the scheduler, another batch than it announces. Once.
    EquivocateBatches,
    /// Flips one ciphertext bit in the result of one operation, once; everything after it is computed with that. The
    /// operation is the middle one of the first program that the process evaluates, or of the first after `skip` others.
    FlipBit {
        /// How many programs it leaves alone.
        skip: u32,
    },
    /// Serves every ciphertext with one flipped bit.
    CorruptBlob,
    /// Passes every proposal on a second time, with an altered byte.
    TamperRelay,
    /// Evaluates with another FFT plan. Its known answers differ, so the node does not start; the node applies it where
    /// it builds its backend, the worker knows nothing of it.
    OtherFftPlan,
    /// Ends the process at once at these points, once at each in the life of its home directory.
    CrashAt(CrashPoints),
}

impl FaultKind {
    /// Whether it is done once in the life of a home directory, unless rounds are given.
    fn is_once(self) -> bool {
        matches!(
            self,
            Self::WrongRoot
                | Self::WrongRootScheduler
                | Self::WrongRootBackup
                | Self::EpochCheat
                | Self::EquivocateVote
                | Self::EquivocateProposal
                | Self::EquivocateBatches
        )
    }

    /// Whether it happens in a round, so that rounds can be given for it.
    fn has_rounds(self) -> bool {
        !matches!(
            self,
            Self::FlipBit { .. } | Self::CorruptBlob | Self::TamperRelay | Self::OtherFftPlan | Self::CrashAt(_)
        )
    }
}

/// A fault: what, and in which rounds. Its text is `KIND`, or `KIND@ROUNDS` with rounds as in [`Rounds`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What the node does.
    pub kind: FaultKind,
    /// When; `None` leaves it to the kind: once, or always.
    pub rounds: Option<Rounds>,
}

impl From<FaultKind> for Fault {
    fn from(kind: FaultKind) -> Self {
        Self { kind, rounds: None }
    }
}

/// A fault on a chain that is no localnet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the fault `{0}` is refused: this chain is no localnet")]
pub struct FaultRefused(pub Fault);

impl Fault {
    /// Whether the fault may be used on a chain; `localnet` is the genesis parameter of that name.
    ///
    /// # Errors
    /// [`FaultRefused`] outside a localnet.
    pub fn allowed(self, localnet: bool) -> Result<Self, FaultRefused> {
        if localnet { Ok(self) } else { Err(FaultRefused(self)) }
    }
}

/// Another root than the given one: always the same for a node and another for each node, since liars that do not know
/// of each other agree on nothing.
fn wrong(root: Digest, node: &NodeId) -> Digest {
    Digest::of_value(Domain::Simulation, &("wrong-root", root, node))
}

/// A ciphertext with one flipped bit. The middle of the encoding is ciphertext; its ends may be framing.
pub fn flip_bit(bytes: &mut [u8]) {
    let middle = bytes.len() / 2;
    if let Some(byte) = bytes.get_mut(middle) {
        *byte ^= 1;
    }
}

/// A backend that flips one bit in the result of one operation of one program: the fault `flip-bit`.
pub struct FlipBit {
    inner: Arc<dyn FheBackend>,
    skip: u64,
    /// Programs seen so far.
    seen: AtomicU64,
}

impl FlipBit {
    /// Around an honest backend: leaves `skip` programs alone, flips a bit in the next one, and is honest from then on.
    pub fn new(inner: Arc<dyn FheBackend>, skip: u32) -> Self {
        Self { inner, skip: skip.into(), seen: AtomicU64::new(0) }
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
        let number = self.seen.fetch_add(1, Ordering::SeqCst);
        if number == self.skip && !program.ops().is_empty() {
            let op = program.ops().len() / 2;
            tracing::warn!(program = number, operation = op, "worker.fault_flip_bit");
            return self.inner.evaluate_flipped(op, key, program, inputs, rerandomization, cancelled);
        }
        self.inner.evaluate(key, program, inputs, rerandomization, cancelled)
    }
}

#[cfg(test)]
mod tests;
