//! The interface between committees and what they run: the [`ParaTime`] and [`FheBackend`] traits, FHE programs, the
//! operation trace, FHE gas, and access control for decryption.
//!
//! A ParaTime never touches a ciphertext. It builds a [`Program`]; the backend evaluates it. Gas, re-randomisation,
//! the trace, parallel evaluation and resumption all derive from the program. No tfhe in here.
//!
//! Start with [`program`] and [`builder`], then [`backend`] and [`paratime`]; what follows from a discrepancy is in
//! [`compare`] and [`replay`].
//!
//! Invariants: every [`Program`] has passed the builder, so ranges and noise are within the parameters; every
//! operation, input, output and state write leaves one leaf in the trace; nothing here reads a clock or draws randomness.

pub mod access;
pub mod backend;
pub mod builder;
pub mod compare;
pub mod decryption;
pub mod evaluator;
pub mod gas;
pub mod integer;
pub mod jobs;
pub mod outbox;
pub mod paratime;
pub mod program;
pub mod replay;
#[cfg(test)]
mod tests;
pub mod trace;

pub use backend::{
    ClientCipher, Decryptor, Evaluation, EvaluationProfile, FheBackend, FheError, InputError, ReRandomization, Task,
};
pub use builder::{ProgramBuilder, ProgramError};
pub use compare::{Comparison, Divergence, TraceDigests};
pub use evaluator::{Evaluator, Work};
pub use integer::{FheType, IntegerOp, Operand, Scalar};
pub use paratime::{Abort, Execution, ParaTime, Plan, RoundContext, TxError, TxInfo, TxResult};
pub use program::{Fact, InputKind, Op, Program, Table, ValueId};
pub use replay::{Replay, Replayed};
pub use trace::{ProvenLeaf, Trace, TraceLeaf};
