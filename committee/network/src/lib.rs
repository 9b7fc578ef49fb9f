//! The network of committees: one libp2p swarm for the protocols that a consensus engine's own swarm does not carry.
//!
//! Three things run on it. *Gossip*: consensus transactions, ParaTime transactions and proposals, each on a [`Topic`]
//! of its own; a message travels on only once the subscriber of this node has accepted it. *Requests*: a [`Request`]
//! to one peer and its [`Response`], served by the node's [`RequestHandler`]. *Peers*: connections to bootstrap
//! addresses are kept up, and a peer that sends what is invalid loses points until it is shut out.
//!
//! Invariants:
//! - Nothing of another chain enters: the chain context is in the name of every topic and protocol, and a peer that
//!   identifies itself with another chain is disconnected.
//! - Every queue is bounded by a constant in [`limits`]; what does not fit is dropped and counted, never stored.
//! - Every message has a size cap, checked before memory is taken for it.
//! - Gossip is content-addressed: the same bytes on the same topic are one message, whoever sent them.
//!
//! What it is not: it does not judge content. Whoever subscribes verifies signatures and gives a [`Verdict`]; whoever
//! fetches a blob compares its digest, and calls [`Handle::penalise`] if it differs.
//!
//! Start with [`Network::spawn`] and [`Handle`]; then `service`, the loop that owns the swarm.

// A shell: it runs on tokio, and sockets, clocks and hash maps of libp2p are its business.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

mod behaviour;
mod bootstrap;
mod config;
mod error;
mod frame;
mod gossip;
mod handle;
pub mod limits;
mod request;
mod score;
mod service;
mod topic;

pub use config::{NetworkConfig, peer_id_of};
pub use error::{NetworkError, PublishError, RequestError, SubscribeError};
pub use gossip::{Incoming, Verdict, VerdictSender};
pub use handle::{Handle, NetworkEvent, PeerInfo};
pub use libp2p::{Multiaddr, PeerId};
pub use request::{Request, RequestHandler, Response};
pub use score::Penalty;
pub use service::Network;
pub use topic::Topic;
