//! Fully homomorphic encryption for Parallax: the only crate that names tfhe.
//!
//! Replicas of a committee compare ciphertexts **bit by bit**, so everything on which bits depend is held fixed here:
//! - [`init`] pins the FFT plan of the process; without it, tfhe picks one by a stopwatch ([`plan`]).
//! - Every operation runs on a worker that tfhe sees as a single-threaded pool. Integer operations depend on rayon's
//!   thread count: tfhe picks the algorithm that carries by it, and with that the number of bootstraps and the bits of
//!   the result. Adding two `u8` takes 8 bootstraps with one thread and 11, to other bits, with sixteen. With one
//!   thread a worker, the size of the pool does not matter ([`pool`]).
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
//! | [`integer`] | integer operations by tfhe's radix integers |
//! | `random.rs` | random numbers that every replica agrees on |
//! | [`backend`] | [`TfheBackend`], the evaluator of programs |
//! | [`exact`] | a bootstrap with the same bits on every processor |
//!
//! There are two backends ([`BackendKind`]). `cpu-fft` computes as tfhe does; nodes agree if they are x86-64 with AVX2 and
//! FMA. `cpu-exact` computes the same programs with an exact bootstrap, at up to twice the time; nodes of any processor
//! agree.
//!
//! It is not a scheduler of work (programs come from ParaTimes) and not threshold decryption (that is the key managers').
//!
//! Start with [`backend`], then `evaluate.rs`.
//!
//! # What it costs
//! A bootstrap takes about 24 core-milliseconds, re-randomising a block 0.02, checking a list's proof of knowledge 120
//! whatever its length (x86-64 with AVX-512; `examples/costs.rs` measures them again). Bootstraps, by tfhe 1.8.2's own
//! counter in pools of one thread:
//!
//! | operation | 1 block | 2 | 3 | 4 | 5 | 6 | 7 | 8 | `n` blocks |
//! | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
//! | table, two tables on one argument | 1 | | | | | | | | |
//! | linear combination, re-randomisation | 0 | 0 | 0 | 0 | 0 | 0 | 0 | 0 | 0 |
//! | expansion of a list; and, or, xor | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | `n` |
//! | add, sub | 2 | 4 | 6 | 8 | 10 | 12 | 14 | 16 | `2n` |
//! | select | 3 | 6 | 9 | 12 | 15 | 18 | 21 | 24 | `3n` |
//! | eq, ne | 1 | 3 | 4 | 5 | 6 | 9 | 10 | 11 | 21 for 16, 42 for 32 |
//! | lt, le, gt, ge | 1 | 3 | 4 | 5 | 8 | 9 | 10 | 11 | `n + 2 ceil(n/4) - 1` for 2 to 60 |
//! | min, max | 4 | 9 | 13 | 17 | 23 | 27 | 31 | 35 | an ordering and a select |
//! | mul | 1 | 6 | 14 | 28 | 44 | 63 | 85 | 111 | 440 for 16 |
//!
//! With clear numbers, of wider types, and for shifts, quotients and random numbers: `docs/operations.md`.
//! [`parallax_runtime::gas`] charges these; products of more than 8 blocks and orderings of more than 60 are charged an
//! upper bound. The tests on real ciphertexts compare price and counter.

// This crate is a shell around tfhe: it runs threads, and key generation and encryption draw randomness. Evaluation
// does neither on its own account: its results are a function of keys, program, inputs and seed.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod backend;
mod decrypt;
pub mod encoding;
mod evaluate;
pub mod exact;
pub mod integer;
pub mod keys;
mod list;
pub mod parameters;
pub mod plan;
pub mod pool;
mod random;

pub use backend::TfheBackend;
pub use decrypt::TfheDecryptor;
pub use keys::{
    ClientKeys, EvaluationKeys, GenerateOptions, KeyError, Manifest, ProfileMismatch, Progress, SecretKeys, Stage,
    cache,
};
pub use list::TfheClientCipher;
pub use plan::{BackendKind, FftPlan, InitError, init};
pub use pool::FhePool;
