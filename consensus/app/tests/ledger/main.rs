//! The ledger as an engine drives it, on a store in memory.

// clippy's exception for tests covers functions marked as tests, not the helpers that they share.
#![allow(clippy::unwrap_used)]

mod blocks;
mod elections;
mod epochs;
mod evidence;
mod genesis;
mod messages;
mod properties;
mod results;
mod snapshots;
mod standing;
mod support;
mod transactions;
