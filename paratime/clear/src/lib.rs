//! The `clear` backend: FHE programs computed on plaintext, for protocol tests and simulation at full speed.
//!
//! **There is no confidentiality here.** A stand-in ciphertext holds its number in the open, beside a mask that is a
//! digest of the key, the operation and everything that went in. So digests depend on what real ones depend on: equal
//! evaluations give equal bits, and any difference in key, seed, program or input gives different ones. Bootstraps are
//! counted as for the real backend.
//!
//! What it checks on top, because only here the numbers are visible: every value lies in the range that the program's
//! builder claimed for it, assumptions included, and the noise of every table's argument, computed a second time by
//! other code, is within the parameters.
//!
//! It is a dependency for tests only. Its profile says `clear`, and a node refuses to start a network with that.
//!
//! Start with [`ClearBackend`].

mod backend;
mod cipher;
mod integer;
mod noise;
mod numbers;
#[cfg(test)]
mod tests;

pub use backend::ClearBackend;
pub use cipher::{ClearCipher, ClearDecryptor};
pub use integer::random;
pub use numbers::compute;
