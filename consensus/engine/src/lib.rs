//! Engines: what puts transactions into blocks, agrees on them, and drives the ledger.
//!
//! One [`Application`](parallax_consensus_app::Application), several drivers, one rule: the same block gives the same
//! root under each of them.
//! - [`embedded`]: Byzantine-fault-tolerant agreement between processes, linked into the node (Malachite). Its authors
//!   call it alpha and unaudited.
//! - [`solo`]: one process decides alone; for tests and simulation.
//!
//! What both share is [`driver`]: propose, execute on the parent's state, and commit state, block, certificate and
//! results in one write. [`Shared`] lets readers look at the state while the engine executes. [`Pool`] holds the
//! transactions that wait; [`BlockStore`] reads what was decided.
//!
//! Invariants:
//! - Nothing is voted for before the block's bytes are durable; nothing is announced before its state is durable.
//! - A block is executed at most once for each time it may be decided; a decision only writes.
//! - A validator refuses to propose a second block for a height and round, also after a crash.
//! - A precommit signs [`PrecommitMessage`](parallax_consensus_app::PrecommitMessage), so a stored certificate verifies
//!   with no engine at hand.
//!
//! It is not the transaction gossip and not the RPC. It keeps every block: pruning them is left to an operator.
//! Start at [`driver`], then `embedded/host.rs`.

// A shell: it owns threads and clocks; what is deterministic lies behind the `Application` trait.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

pub mod blocks;
pub mod driver;
pub mod embedded;
mod error;
pub mod mempool;
mod shared;
pub mod solo;

pub use blocks::{BlockResult, BlockStore, TxLocation};
pub use driver::{CommittedBlock, Tip};
pub use error::EngineError;
pub use mempool::{Mempool, Pool};
pub use shared::Shared;
pub use solo::Solo;
