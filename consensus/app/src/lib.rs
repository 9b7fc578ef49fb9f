//! The consensus ledger, pure: tokens, stake, registry, beacon, elections and the verification of ParaTime results.
//!
//! An engine agrees on blocks; this crate says what they mean. [`Application`] is the seam between the two, and
//! [`Ledger`] its one implementation: given the state after the parent and a block, [`Application::deliver`] computes
//! writes, receipts, events and validator updates and writes nothing; [`Application::commit`] makes them durable in one
//! write, together with what the engine keeps of the block.
//!
//! Invariants:
//! - execution depends on the parent's state and the block alone: no clock, thread, randomness or float;
//! - a transaction that cannot pay leaves no trace, and a block that holds one is invalid; a call that fails is a
//!   receipt with a stable module and code, and costs its fee;
//! - no operation makes or destroys a token ([`check_invariants`], after every block of a [`Ledger::checked`]);
//! - nobody gains a seat by a key, a node or a VRF key chosen after the entropy could be foreseen (`election`,
//!   [`registry`]);
//! - the state after height h is proven by the header of h + 1; a validator set decided at h rules from h + 2 on.
//!
//! What it is not: no engine, no network, no pool, and no confidentiality: native tokens are public.
//!
//! A committee member whose entity a slash leaves with too little stake, or who is frozen, loses its seat at the end of that
//! block; a resolution under way is finished by those who began it. One that is slashed and still has enough keeps its
//! seat, and is slashed again for each further wrong result.
//!
//! Start with [`application`] and [`ledger`]; one transaction's way is in `execute` and `calls`; then the modules, each
//! in the order errors, events, genesis, calls, state: [`staking`], [`registry`], [`beacon`], `election`, [`epoch`],
//! [`rounds`], [`messages`], [`evidence`], [`standing`]. Keys of the state stand in [`keys`], the form of its values in [`stored`].

pub mod application;
pub mod beacon;
pub mod block;
mod calls;
mod election;
pub mod epoch;
mod errors;
pub mod evidence;
mod execute;
pub mod genesis;
mod invariants;
pub mod keys;
pub mod ledger;
pub mod light;
pub mod messages;
pub mod outbox;
pub mod registry;
pub mod rounds;
mod slashing;
pub mod staking;
pub mod standing;
pub mod stored;
pub mod tx;
mod validate;
pub mod validators;

pub use application::*;
pub use block::*;
pub use execute::MAX_NONCES_AHEAD;
pub use invariants::{InvariantError, check_invariants};
pub use ledger::{ChainInfo, Ledger, LedgerError};
pub use validate::{GenesisError, localnet_parameters, localnet_rounds};
