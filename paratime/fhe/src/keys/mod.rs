//! Key sets: what they consist of, how they are made, stored, verified and loaded.
//!
//! A key set is a directory of parts, one file a role, and a [`Manifest`] that names each part's digest. The digest of
//! the manifest is the [`parallax_primitives::KeyId`]. Every loader takes the manifest that its caller trusts (from the
//! genesis document) and compares each file with it before decoding. What a node loads depends on its role:
//!
//! | role | loads |
//! | --- | --- |
//! | validator | nothing |
//! | client | public key, CRS ([`ClientKeys`]) |
//! | compute node | those, evaluation or exact evaluation, re-randomisation, known-answer inputs ([`EvaluationKeys`]) |
//! | key manager (n = 1) | the secret key ([`SecretKeys`]) |
//!
//! One key set serves both backends: the manifest has the known answers of each profile. `cpu-fft` loads the evaluation
//! part, `cpu-exact` the exact evaluation part instead: the same keys in tfhe's compressed form, 30 MB, expanded and
//! transformed in a core-second.
//!
//! The evaluation part holds the keys in full, in tfhe's Fourier form. Measured on a two-core x86-64 machine with
//! AVX-512: 181 MB on disk, 0.3 core-seconds (0.4 s) to verify and load,
//! 184 MiB resident afterwards and 414 at the peak. From tfhe's compressed form it would
//! take 1.6 s to expand, at the same peak of memory; five nodes that start on two cores have no time
//! for that. `cargo run -p parallax-fhe --example costs` measures it all again.

pub mod cache;
mod error;
mod generate;
mod known_answers;
mod load;
mod manifest;

pub use error::KeyError;
pub use generate::{GenerateOptions, Progress, Stage, generate};
pub(crate) use known_answers::check;
pub use known_answers::{KnownAnswer, ProfileMismatch};
pub(crate) use load::{Casting, Material, PublicMaterial, serialize};
pub use load::{ClientKeys, EvaluationKeys, SecretKeys};
pub use manifest::{MANIFEST_FILE, Manifest, Origin, Part, ProfileAnswers, Role, SECRET_FILE};
