//! A model of one round over the real [`parallax_rounds::RoundState`]: every order of announcements, commitments,
//! heights, epoch ends and suspensions, explored breadth-first by stateright. There is no second machine here. The
//! model keeps its own book of what was said and when ([`state::State`]), and [`rules`] holds the machine to the
//! specification by that book alone.
//!
//! **Who says what.** Every member may say any of [`world::Value`] at any time, or nothing. All members together are
//! thus as hostile as can be; what holds under the assumption only (fewer than `W - S` wrong workers, fewer than half of
//! the backups) is judged on the runs in which the assumption held, which is all of them with any smaller set of
//! faulty nodes: a faulty node that happens to say the truth is one of the runs of an honest one.
//!
//! **One round.** A run ends with the round's terminal effect. What the next round begins with is compared with what a
//! first round begins with ([`rules::Rule::Fresh`]): idle from rank 0, no vote, no deadline, the queue as offered. A
//! round takes nothing else from the one before it but its hash, its number and the counters of the epoch's records, of
//! which only `wrong_results` is ever compared (with `slash_from`; there is a setup of its own). So a property of
//! one round from each such beginning is a property of all.
//!
//! **Reduction.** Two states with the same [`state::State::canonical`] form run alike, so one of them is explored:
//! - members that sit in the same lists and are not the scheduler are interchangeable while a proposal lives: the
//!   machine counts votes and asks for nothing but membership; ranks matter in an idle round only, and a dropped
//!   proposal takes its votes with it;
//! - the two wrong results are interchangeable: the machine compares digests for equality only;
//! - heights appear in comparisons and sums only, so while workers or backups are compared the distance to the
//!   deadline tells all; the heights at which votes were cast are recorded and never read.
//!
//! `the_reduction_loses_no_state` explores small committees with and without it and compares.

// A fixture that cannot be built ends the run on purpose.
#![allow(clippy::unwrap_used)]

pub mod explore;
pub mod rules;
pub mod state;
pub mod world;

pub use explore::{Report, Round, explore};
pub use state::State;
pub use world::{Setup, Value, World};
