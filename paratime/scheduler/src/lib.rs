//! The scheduling ParaTime: several organisations run one cluster, and no member, replica or validator learns another's
//! inventory, utilisation or placement.
//!
//! Hosts report encrypted telemetry, jobs carry encrypted requests, every replica evaluates the placement on
//! ciphertexts. Public is who the hosts are, that a report or a job came, how many candidates there were, and whether
//! an attempt placed the job. Where it went, only the job's owner can have decrypted.
//!
//! Invariants:
//! - The decrypted decision equals [`reference::decide`] for every input, hostile ones included.
//! - A host is chosen at most once a report.
//! - The work of a round, and so its FHE gas, follows from public data at its start.
//! - Tokens are neither made nor lost: balances, stakes, escrows and fees add up to genesis and deposits.
//! - A refused transaction changes nothing but its sender's nonce and fee.
//!
//! The decisions of a round are bounded by `max_decision_gas`, and genesis refuses parameters with which that and one
//! transaction exceed the committee's batch. If they fit but not into what is left of an epoch, they wait for the next
//! one. The epoch's beacon is part of a sample's entropy: a decision that is put off past the end of an epoch has
//! another sample.
//!
//! It is not a cluster manager: it names a host, and starting the workload is between owner and host.
//! What the two sign to each other and what the chain gets of it is in [`anchors`]; how hosts are held to their reports
//! in [`audit`]; which images run and who may submit in [`policy`]. How contracts of other ParaTimes submit jobs stands in
//! `messages.rs`.
//!
//! Start with [`model`] and [`mod@reference`], then [`circuit`]; [`tx`] and [`Scheduler`] are what the node sees.
//! [`openb`] and [`cluster`] are for host clients and demonstrations.

pub mod anchors;
mod answers;
pub mod audit;
mod calls;
pub mod circuit;
pub mod cluster;
mod costs;
mod decisions;
pub mod error;
pub mod images;
pub mod instances;
pub mod keys;
mod messages;
pub mod model;
pub mod openb;
pub mod params;
mod paratime;
pub mod policy;
mod query;
pub mod records;
pub mod reference;
#[cfg(test)]
mod tests;
pub mod tx;

pub use anchors::{Acknowledgement, Countersigned, Progress, SignedAcknowledgement};
pub use audit::{AuditRules, Capacity};
pub use calls::job_id;
pub use decisions::{entropy, sample};
pub use error::Code;
pub use images::{ImageClaim, ImageTree};
pub use messages::{MAX_REQUESTS, MAX_SENDINGS};
pub use model::{Policy, Replication, Report, Request, Spread};
pub use params::{Genesis, GenesisAccount, Params};
pub use paratime::{KIND, Scheduler};
pub use policy::{ClusterPolicy, ImageRule, PolicyChange, SubmitterRule};
pub use tx::{Call, EncryptedList, Purpose, SignedTx, Transaction, TxBody, metadata};
