//! What evaluates programs, what encrypts for them, and what decrypts.

use crate::program::Program;
use crate::trace::TraceLeaf;
use borsh::{BorshDeserialize, BorshSerialize};
use parallax_primitives::{Digest, KeyId};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Everything on which the bits of a result depend. Two nodes may sit in one committee only with equal profiles.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct EvaluationProfile {
    /// Library and version, for example `tfhe 1.8.2`.
    pub library: String,
    /// The FFT plan, for example `dif16/1024`; `none` where there is none.
    pub plan: String,
    /// The name of the parameter set.
    pub parameters: String,
    /// `cpu-fft`, `cpu-exact`, `gpu` or `clear`.
    pub backend: String,
    /// What the processor must have, for example `x86-64 avx2+fma`.
    pub instructions: String,
}

/// The seed of deterministic re-randomisation: every input of a program is re-randomised with it before evaluation.
/// Without that, FHE is not secure once decryptions of results are seen (sIND-CPA^D).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReRandomization {
    /// See [`crate::paratime::RoundContext::rerandomization`].
    pub seed: Digest,
}

/// What an evaluation produced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evaluation {
    /// One ciphertext an output, in the stored form.
    pub outputs: Vec<Vec<u8>>,
    /// One leaf an input, one an operation, one an output, in program order: what [`crate::trace::leaves`] makes.
    pub leaves: Vec<TraceLeaf>,
    /// Programmable bootstraps spent.
    pub pbs: u64,
}

/// Why an encrypted input is refused. It costs its sender the fee, never the batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// Encrypted under a key that is neither the current nor the previous one.
    #[error("the ciphertext is under key {given}, this ParaTime accepts {accepted}; fetch the current public key")]
    UnknownKey {
        /// The key id that came with it.
        given: KeyId,
        /// The current key id.
        accepted: KeyId,
    },
    /// Larger than its kind can be.
    #[error("the ciphertext is {actual} bytes long, the limit is {limit}")]
    TooLarge {
        /// Its length.
        actual: usize,
        /// The limit.
        limit: usize,
    },
    /// Not an encoding, or not conformant to the parameters.
    #[error("the ciphertext does not conform to the parameters: {0}")]
    NotConformant(String),
    /// The proof of knowledge does not hold for this list and this metadata (sender, chain, ParaTime, key).
    #[error("the proof of knowledge does not hold for this ciphertext and its sender")]
    BadProof,
}

/// Why an evaluation failed. Always the same on every honest replica, or a fault of this machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FheError {
    /// An input does not fit the program.
    #[error("input {index} does not fit the program: {reason}")]
    BadInput {
        /// Which input.
        index: usize,
        /// Why.
        reason: String,
    },
    /// An input was refused.
    #[error(transparent)]
    Refused(#[from] InputError),
    /// The key material for this is not loaded on this node.
    #[error("the {0} key is not loaded on this node")]
    KeyNotLoaded(&'static str),
    /// The evaluation was cancelled: its result is no longer needed.
    #[error("the evaluation was cancelled")]
    Cancelled,
    /// The library failed.
    #[error("the FHE library failed: {0}")]
    Library(String),
}

/// A program with what goes into it: the arguments of [`FheBackend::evaluate`].
#[derive(Clone, Debug)]
pub struct Task<'a> {
    /// The key under which all of it is encrypted.
    pub key: KeyId,
    /// What is computed.
    pub program: &'a Program,
    /// The bytes of the input ciphertexts.
    pub inputs: Vec<&'a [u8]>,
    /// The seed.
    pub rerandomization: ReRandomization,
}

/// Evaluates programs. Every implementation is a pure function of keys, program, inputs and seed: no clock, no
/// unseeded randomness, no dependence on threads.
pub trait FheBackend: Send + Sync {
    /// Its profile.
    fn profile(&self) -> &EvaluationProfile;

    /// The key ids it accepts: current first, then, during an overlap, the previous one.
    fn key_ids(&self) -> Vec<KeyId>;

    /// Checks a client's compact list: size, conformance, number of blocks, and the proof of knowledge bound to
    /// `metadata`. Execution calls it on every replica; admission may call it as a filter.
    ///
    /// # Errors
    /// [`InputError`].
    fn verify_input(&self, key: KeyId, list: &[u8], blocks: u16, metadata: &Digest) -> Result<(), InputError>;

    /// Evaluates a program. `inputs[i]` are the bytes of the i-th input ciphertext, in the form that its
    /// [`crate::program::InputKind`] says; `Proven` inputs have passed [`FheBackend::verify_input`]. `cancelled` is
    /// polled between operations.
    ///
    /// # Errors
    /// [`FheError`].
    fn evaluate(
        &self,
        key: KeyId,
        program: &Program,
        inputs: &[&[u8]],
        rerandomization: &ReRandomization,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Evaluation, FheError>;

    /// Evaluates programs of which none reads what another one makes, and returns their results in the order of the
    /// tasks: the same, bit by bit, as evaluating one after the other. A backend with several threads may evaluate them
    /// side by side.
    ///
    /// # Errors
    /// [`FheError`] of the first task that fails.
    fn evaluate_all(&self, tasks: &[Task<'_>], cancelled: &dyn Fn() -> bool) -> Result<Vec<Evaluation>, FheError> {
        tasks
            .iter()
            .map(|task| self.evaluate(task.key, task.program, &task.inputs, &task.rerandomization, cancelled))
            .collect()
    }

    /// Evaluates as [`FheBackend::evaluate`] does, but flips one bit of the first result of operation `op`, as a broken
    /// processor would; everything after it is computed with that. For the faults of a localnet and for tests.
    ///
    /// # Errors
    /// [`FheError`]; [`FheError::Library`] from a backend that cannot do this.
    fn evaluate_flipped(
        &self,
        op: usize,
        key: KeyId,
        program: &Program,
        inputs: &[&[u8]],
        rerandomization: &ReRandomization,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Evaluation, FheError> {
        let _ = (op, key, program, inputs, rerandomization, cancelled);
        Err(FheError::Library(format!("the backend {} cannot flip a bit on purpose", self.profile().backend)))
    }
}

/// Encrypts on the client.
pub trait ClientCipher: Send + Sync {
    /// The key under which it encrypts.
    fn key_id(&self) -> KeyId;

    /// Encrypts numbers of four bits as one compact list with a proof of knowledge bound to `metadata`.
    ///
    /// # Errors
    /// If a number is over 15, the list is too long, or the library fails.
    fn encrypt(&self, digits: &[u8], metadata: &Digest) -> Result<Vec<u8>, FheError>;
}

/// Decrypts, at a key manager. Call it only on what has been verified to be final and granted.
pub trait Decryptor: Send + Sync {
    /// The key whose secret it holds.
    fn key_id(&self) -> KeyId;

    /// The blocks of a ciphertext in the stored form, four bits each. Wiped when dropped.
    ///
    /// # Errors
    /// If the bytes do not conform.
    fn decrypt(&self, cipher: &[u8], blocks: u16) -> Result<Zeroizing<Vec<u8>>, FheError>;
}
