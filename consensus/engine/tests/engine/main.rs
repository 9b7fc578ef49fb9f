//! The engines from outside: alone, as networks in one process, and with the real ledger.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "tests run threads and clocks"
)]

mod common;
mod ledger;
mod network;
mod solo;
