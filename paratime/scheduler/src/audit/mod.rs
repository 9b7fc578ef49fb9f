//! Contestable reports: a host's scores are computed by the host, so they are held against its capacity now and then.
//!
//! With [`AuditRules`] in the parameters:
//! - A host registers its capacity, encrypted, with a proof, and its price, in public. Without a capacity under the key
//!   in force it cannot report. A new capacity takes the report before it back.
//! - In every round whose number is a multiple of [`AuditRules::interval_rounds`], the beacon and the first consensus
//!   block after the reports draw at most [`AuditRules::per_round`] reports that were not audited yet. Nobody knows
//!   when reporting whether it will be this one's turn, and what is audited is what stands in the state by then.
//! - A circuit computes one encrypted bit: [`is_consistent`]. It is granted to everyone; the key managers' signed answer
//!   comes back as any other. Nothing else of report or capacity is ever opened.
//! - A false report costs its host [`AuditRules::penalty`], which goes to the treasury, and its place among the
//!   candidates until it reports anew. The record of the host counts audits and false reports. A host whose stake is
//!   used up reports no more.
//! - An audit is paid by the treasury, an account that the parameters name, at the least gas price; if it cannot pay,
//!   there is no audit.
//!
//! What an audit does not show: that the capacity, or what is free of it, is what the machine really has. A host that
//! lies about those consistently gains placements that it cannot run, which its acknowledgements then show.
//!
//! Start with [`is_consistent`], then `circuit`; `state` holds the transitions.

pub mod circuit;
pub(crate) mod state;
mod statement;
#[cfg(test)]
mod tests;
mod wide;

pub use state::{AuditRules, HostAudit};
pub use statement::{CAPACITY_DIGITS, Capacity, free_gpus, is_consistent, score};
