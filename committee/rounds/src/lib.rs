//! The round and discrepancy-detection machine, pure: no I/O, no clock, no randomness.
//!
//! A ParaTime advances in rounds. In each one a scheduler announces a batch, the workers execute it and commit to what
//! came out, and the machine compares: equal votes finalise the round, differing ones call the backups, whose strict
//! majority decides. The machine runs inside the consensus ledger, so every validator reaches the same verdict, and
//! time is the height of the consensus chain.
//!
//! The entry is [`RoundState::apply`]: an event in, a list of [`Effect`]s out. The ledger carries the effects out
//! (blocks, slashes, events); the machine never touches an account.
//!
//! Invariants, held by construction or checked where a hostile message cannot trigger the check:
//! - a round has one terminal effect (finalised, failed, epoch transition, suspended), and each advances the round;
//! - at most one proposal is live;
//! - a round is finalised with its scheduler's own commitment and W equal worker votes (W − S at the deadline), or with
//!   a strict majority of the backups that equals the scheduler's vote;
//! - a discrepancy is never cleared inside its round;
//! - every round ends: each phase has a height at which it is left ([`RoundState::due`]), and that height is part of
//!   the phase, so no deadline of a dropped proposal can fire.
//!
//! Beside the machine, [`evidence`] says what proves that a member contradicted itself, and [`detector`] finds it.
//!
//! What it is not: it knows nothing of stakes, elections, gas or networks, and the machine does not judge equivocation.
//!
//! Start with [`types`] (what is signed), then [`event`], [`state`] and [`machine`].

pub mod detector;
pub mod error;
pub mod event;
pub mod evidence;
pub mod machine;
pub mod state;
pub mod types;
pub mod verified;
pub mod votes;

pub use detector::{EquivocationDetector, Sighting, Statement};
pub use error::RoundError;
pub use event::{ChargeReason, DiscrepancyCause, Effect, FailReason, Finalized, RoundEvent};
pub use evidence::{Evidence, EvidenceError, Offence, Seat};
pub use state::{EpochRecord, Live, Phase, RoleRecord, RoundState};
pub use types::*;
pub use verified::Verified;
pub use votes::{CastVote, Tally};

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
