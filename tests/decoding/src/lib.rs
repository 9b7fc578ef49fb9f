//! What every decoder of bytes from outside must hold, one [`Target`] a format:
//!
//! - decoding never panics and takes memory in proportion to the bytes that are there, not to lengths that they name
//!   ([`MEMORY_PER_BYTE`]);
//! - what decodes has exactly these bytes as its encoding: no two byte strings are the same message;
//! - what decodes can be used: a value that is signed by a committee member with these very fields, however hostile,
//!   goes through verification and the state machine behind it without a panic.
//!
//! The same functions serve two callers: the fuzzer in `fuzz/`, which is a workspace of its own because it needs a
//! nightly toolchain, and the test of this crate, which replays the committed corpus and a few thousand seeded
//! mutations of it on the stable one. `cargo run -p parallax-decoding --example seeds` writes the valid encodings with
//! which the corpus began; see [`seeds`].
//!
//! Tests only: no other crate depends on this one.

// A fixture that cannot be built, and a property that does not hold, end the run on purpose.
#![allow(clippy::unwrap_used)]

mod evm;
mod ledger;
mod messages;
mod rounds;
pub mod seeds;

use borsh::{BorshDeserialize, BorshSerialize};
use parallax_primitives::{codec, encode};
use std::fmt::Debug;

/// Most bytes of memory that decoding may hold at once for each byte of input, on top of [`MEMORY_FIXED`]. The worst
/// case is a list of empty lists: four bytes on the wire, 24 in memory, doubled while it grows, and for a moment there
/// is the old and the new one.
pub const MEMORY_PER_BYTE: usize = 24;
/// Most bytes of memory that decoding may hold whatever the input: borsh reserves a mebibyte for a byte string before it
/// has read it, one at a time, and gives it back when the bytes are not there; the rest is for error texts.
pub const MEMORY_FIXED: usize = 1024 * 1024 + 64 * 1024;

/// One format that comes from outside.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name: that of the fuzz target and of its corpus folder.
    pub name: &'static str,
    /// Decodes and drops; returns whether the bytes were a value.
    pub decode: fn(&[u8]) -> bool,
    /// Decodes, uses what came out, and panics if a property does not hold.
    pub check: fn(&[u8]),
}

/// All formats.
pub const TARGETS: &[Target] = &[
    Target { name: "proposal", decode: rounds::decode_proposal, check: rounds::check_proposal },
    Target { name: "commitment", decode: rounds::decode_commitment, check: rounds::check_commitment },
    Target { name: "evidence", decode: rounds::decode_evidence, check: rounds::check_evidence },
    Target { name: "round_state", decode: rounds::decode_state, check: rounds::check_state },
    Target { name: "trace", decode: messages::decode_trace, check: messages::check_trace },
    Target { name: "peer_message", decode: messages::decode_peer, check: messages::check_peer },
    Target { name: "scheduler_transaction", decode: messages::decode_scheduler, check: messages::check_scheduler },
    Target { name: "evm_transaction", decode: evm::decode, check: evm::check },
    Target { name: "consensus_transaction", decode: ledger::decode_transaction, check: ledger::check_transaction },
    Target { name: "proof", decode: ledger::decode_proof, check: ledger::check_proof },
    Target { name: "decryption", decode: ledger::decode_decryption, check: ledger::check_decryption },
];

/// The target of this name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|t| t.name == name)
}

/// Decodes, and holds the value to its one encoding.
fn canonical<T: BorshDeserialize + BorshSerialize + PartialEq + Debug>(
    what: &'static str,
    bytes: &[u8],
    limit: usize,
) -> Option<T> {
    let value: T = codec::decode(what, bytes, limit).ok()?;
    let encoded = encode(&value);
    assert_eq!(encoded, bytes, "a {what} has one encoding");
    assert_eq!(codec::decode::<T>(what, &encoded, limit).as_ref(), Ok(&value), "a {what} comes back");
    Some(value)
}

/// Whether the bytes are a value of this type.
fn decodes<T: BorshDeserialize>(what: &'static str, bytes: &[u8], limit: usize) -> bool {
    codec::decode::<T>(what, bytes, limit).is_ok()
}
