//! A network on one machine: validators, compute nodes and a key manager as real processes on loopback.
//!
//! - A [`Fixture`] says what the network is; [`plan::prepare`] turns it into home directories, a genesis document and
//!   funded accounts.
//! - [`Localnet::start`] runs the processes, waits until they are ready, restarts those that die, and ends them.
//! - [`cli`] has the commands `up`, `status`, `logs` and `stop`; the node's program mounts them.
//!
//! Invariants: only processes that were started here are ever signalled, by their id and while they cannot have been
//! replaced; a node never outlives its supervisor ([`lifeline`]); nothing outside the localnet's directory is written
//! or removed, but for the cache of FHE key sets.
//!
//! It is not for networks with value: its node keys and accounts are derived from a public seed. Start with
//! [`fixture`], then [`supervisor`].

// A supervisor has clocks and deadlines, and no part in consensus.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

pub mod cli;
pub mod error;
pub mod fixture;
mod genesis;
pub mod keys;
pub mod lifeline;
mod links;
pub mod localnet;
pub mod plan;
mod ports;
mod process;
pub mod state;
pub mod supervisor;

pub use error::LocalnetError;
pub use fixture::{FaultSpec, Fixture, ParaTimeKind};
pub use keys::KeySet;
pub use localnet::{Localnet, Running, StartOptions};
pub use plan::{Account, Plan, PlannedNode, PlannedParaTime};
pub use state::{NodePhase, NodeState};
pub use supervisor::{EXIT_REFUSED, Notice};
