//! The composition root: where engine, committees, ParaTimes, network and RPC become one node, and the program
//! `parallax` with its client.
//!
//! - [`run`](mod@run) builds a node from its home directory; start there.
//! - [`chain`] is the chain as this node has it; [`consensus`] and [`paratime`] connect pools, gossip and workers to
//!   it; [`serve`] answers peers, [`rpc`] and, for an EVM, [`ethereum`] answer everyone else; [`kms`] is the key manager's loop.
//! - [`turns`] bounds how many questions are worked on.
//! - [`client`] talks to nodes; [`cli`] and [`demo`] are its users.
//!
//! It decides nothing that must be agreed on: that is in the crates below it.

// A shell: it owns clocks, threads and processes.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

pub mod chain;
pub mod cli;
pub mod client;
pub mod consensus;
pub mod demo;
pub mod error;
pub mod ethereum;
mod fault;
pub mod kms;
pub mod light;
pub mod paratime;
pub mod rpc;
pub mod run;
pub mod serve;
pub mod turns;

pub use parallax_consensus_app::outbox;
