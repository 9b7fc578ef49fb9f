//! The compute node's worker: what a committee member does in a round of one ParaTime.
//!
//! It has two halves. [`WorkerState`] is pure: an event in, a [`Step`] out, which lists what must be durable before
//! anything else happens, and what to do then. [`Worker`] is the shell around it: it reads the ledger, talks to peers,
//! runs FHE work on an [`Executor`] of its own threads, and stores results.
//!
//! Invariants:
//! - nothing is published before it is durable: a proposal or a vote once signed is sent again identically after a
//!   crash, so a crash cannot make an equivocator out of an honest node;
//! - a result is durable before its vote is signed, and is served to others for a retention window;
//! - a result, or a whole state that a peer gives to a node that was away for long, is committed to the ParaTime's state
//!   only if its root is the one that consensus finalised;
//! - a disputed batch is resumed where workers began to differ only on the traces of so many that one is honest, each
//!   verified against its vote; anything less is executed in full;
//! - a proposal from the network is checked before anything is done with it, and what does not fit the public rules
//!   gives a failure vote, never a panic;
//! - networking and consensus never wait behind FHE work.
//!
//! What it is not: it does not decide rounds ([`parallax_rounds`] does, in the ledger), it knows no FHE library, and
//! it has no network: [`Transport`], [`Ledger`] and [`Pool`] are given to it.
//!
//! Start with [`event`] and [`core`], then [`seams`], [`steps`] and [`inquiry`] (what takes long, without waiting) and
//! [`shell`].

// The shell half has a clock and threads; the core half ([`event`], [`core`], [`inquiry`], [`record`], [`pool`],
// [`steps`]) uses neither.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

pub mod core;
mod disputes;
pub mod event;
pub mod executor;
pub mod fault;
pub mod inquiry;
pub mod pool;
pub mod record;
pub mod results;
pub mod seams;
pub mod shell;
pub mod steps;
mod tasks;

pub use crate::core::WorkerState;
pub use event::{Action, Anchor, Dispute, RoundView, Step, Work, WorkerConfig, WorkerEvent, WorkerStatus};
pub use executor::Executor;
pub use fault::{CrashAt, Dishonest, Fault, FaultKind, FaultyLedger, FaultyTransport, FlipBit};
pub use record::Record;
pub use results::{Effort, FetchedState, ResultStore, RoundResult, StateFetch};
pub use seams::{
    CrashPoint, CrashStep, Journal, Ledger, LedgerError, LedgerState, NoCrash, PeerRequest, PeerResponse, Pool,
    StatePart, StoreJournal, TracePart, Transport, Where,
};
pub use shell::{Input, Worker, WorkerError, WorkerHandle, WorkerReport, WorkerSetup};
