//! Fully homomorphic encryption for Parallax: the only crate that names tfhe.
//!
//! Replicas of a committee compare ciphertexts **bit by bit**, so everything on which bits depend is held fixed here:
//! - [`init`] pins the FFT plan of the process; without it, tfhe picks one by a stopwatch ([`plan`]).
//! - Every operation runs on a worker that tfhe sees as a single-threaded pool, because tfhe picks algorithms by the
//!   number of threads ([`pool`]).
//! - A key set commits to **known answers**: the digest of each operation's output on given inputs. A node computes
//!   them when it starts and refuses to join a committee if one differs ([`TfheBackend::check_profile`]).
//! - Every input is re-randomised, from a seed that the round fixes, before it is used; without that FHE is not secure
//!   once decryptions are seen. Trace leaves hold the digests from before.
//!
//! What comes from outside is untrusted: lengths and the key id are compared before anything is decoded, proofs of
//! knowledge are decoded with a size cap and a conformance check, and no input makes this crate panic.
//!
//! | module | holds |
//! | --- | --- |
//! | [`plan`] | the pinned FFT plan and the evaluation profile |
//! | [`parameters`] | the parameter set and the sizes that follow |
//! | [`keys`] | key sets: manifest, generation, cache, loading by role, known answers |
//! | [`encoding`] | ciphertexts as bytes |
//! | [`backend`] | [`TfheBackend`], the evaluator of programs |
//!
//! It is not a scheduler of work (programs come from ParaTimes), not threshold decryption (that is the key managers'),
//! and it does not make evaluation on unlike processors agree: the `cpu-fft` profile wants x86-64 with AVX2 and FMA.
//!
//! Start with [`backend`], then `evaluate.rs`.

// This crate is a shell around tfhe: it runs threads, and key generation and encryption draw randomness. Evaluation
// does neither on its own account: its results are a function of keys, program, inputs and seed.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod backend;
mod decrypt;
pub mod encoding;
mod evaluate;
pub mod keys;
mod list;
pub mod parameters;
pub mod plan;
pub mod pool;

pub use backend::TfheBackend;
pub use decrypt::TfheDecryptor;
pub use keys::{
    ClientKeys, EvaluationKeys, GenerateOptions, KeyError, Manifest, ProfileMismatch, Progress, SecretKeys, Stage,
    cache,
};
pub use list::TfheClientCipher;
pub use plan::{FftPlan, InitError, init};
pub use pool::FhePool;
