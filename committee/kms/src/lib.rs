//! The pure core of a key manager: it decides whether a ciphertext may be decrypted, and makes the signed answer; and
//! the reader's side, which checks answers.
//!
//! Executing FHE needs no key. Only reading results does, and whoever can read must refuse everyone without a right:
//! - A [`KeyManager`] believes nobody. From a light client's header and state proofs it verifies for itself that the
//!   grant is in the ParaTime's final state, that the ciphertext is bit for bit the granted one, and who asks.
//! - Nothing else is ever decrypted: not an unattested ciphertext (a chosen one recovers the key), not one under the
//!   key of another ParaTime, not one larger than a ciphertext can be.
//! - A user's plaintext leaves only sealed to the key in the permit, and is wiped here. Nothing secret is in an error,
//!   a log or a `Debug`.
//! - A request is idempotent: asked again, it gets the same answer.
//!
//! Every answer carries party, number of parties, threshold and epoch. Today there is one party, the *designated
//! decryptor*, which holds the whole key: [`designated`] is the one module that knows that, and the boundary at which
//! a threshold protocol among several parties takes its place. Until then [`KeyManager::new`] refuses more than one.
//!
//! An [`EvmKeyManager`] does so for an EVM ParaTime, by Ethereum's signatures: it attests encrypted inputs and decrypts
//! for contracts and users, on what the access control list of the EVM says ([`evm`]).
//!
//! Not here: fetching headers and ciphertexts, keeping the log, time. Pure: no I/O, no clock, no randomness of its own.
//!
//! Start with [`KeyManager`], then [`open_answer`].

mod audit;
pub mod designated;
pub mod evm;
mod manager;
mod open;
mod refusal;
mod wire;

pub use audit::{AuditEntry, AuditRecord, EvmAuditEntry, EvmRequest, MAX_AUDIT_BYTES};
pub use evm::{Attestation, EvmKeyManager, Granted, PublicDecryption};
pub use manager::{KeyManager, MAX_BLOCKS, MAX_PROOF_AGE, MAX_REMEMBERED, SetupError};
pub use open::{OpenError, open_answer, open_evm_answer, read_public};
pub use refusal::{Refusal, Role};
pub use wire::{DecryptionRequest, DecryptionResponse, MAX_ANSWER_BYTES, MAX_REQUEST_BYTES};
