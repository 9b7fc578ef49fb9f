//! Why something on the network failed.

use crate::topic::Topic;
use libp2p::{Multiaddr, PeerId};
use std::time::Duration;

/// Why the network could not be started.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// Another process listens there.
    #[error(
        "cannot listen on {address}: the port is in use; stop the process that holds it (`ss -ltnp`), or choose another p2p address for this node (port 0 takes a free one)"
    )]
    PortInUse {
        /// The address asked for.
        address: Multiaddr,
    },
    /// The address cannot be listened on for another reason.
    #[error("cannot listen on {address}: {reason}; give an address of this machine such as /ip4/0.0.0.0/tcp/26700")]
    Listen {
        /// The address asked for.
        address: Multiaddr,
        /// The system's reason.
        reason: String,
    },
    /// More bootstrap addresses than are kept up.
    #[error("{given} bootstrap addresses are given, at most {} are used", crate::limits::MAX_BOOTSTRAP)]
    TooManyAddresses {
        /// How many were given.
        given: usize,
    },
    /// A key that is no Ed25519 public key, so no peer can have it.
    #[error("{0} is not a valid Ed25519 public key, no peer can have it")]
    BadKey(parallax_primitives::PublicKey),
    /// The libp2p stack could not be set up.
    #[error("the network could not be set up: {0}")]
    Setup(String),
    /// The service has ended.
    #[error("the network of this node has been shut down")]
    Stopped,
}

/// Why a message was not published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// Larger than the topic carries.
    #[error("a message of {actual} bytes is too large for topic {topic}, the limit is {}", topic.max_bytes())]
    TooLarge {
        /// The topic.
        topic: Topic,
        /// The message's length.
        actual: usize,
    },
    /// The service has ended.
    #[error("the network of this node has been shut down")]
    Stopped,
}

/// Why a subscription was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubscribeError {
    /// Somebody in this node reads the topic already; a message has one verdict.
    #[error("topic {0} has a subscriber in this node already; drop that receiver first")]
    AlreadySubscribed(Topic),
    /// More topics than a node may have.
    #[error("this node is subscribed to {} topics already, that is the limit", crate::limits::MAX_TOPICS)]
    TooMany,
    /// The service has ended.
    #[error("the network of this node has been shut down")]
    Stopped,
}

/// Why a request brought no response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// No connection to that peer.
    #[error("peer {0} is not connected; ask another peer")]
    NotConnected(PeerId),
    /// The connection ended before the response was there.
    #[error("peer {0} disconnected before it answered; ask another peer")]
    Disconnected(PeerId),
    /// No response in time.
    #[error("peer {peer} did not answer within {after:?}; ask another peer")]
    Timeout {
        /// The peer.
        peer: PeerId,
        /// How long it had.
        after: Duration,
    },
    /// Too many own requests are under way.
    #[error("{} requests are under way, that is the limit; wait for one of them", crate::limits::MAX_OUTBOUND_REQUESTS)]
    TooMany,
    /// The request is larger than any peer accepts.
    #[error("the request is {actual} bytes long, the limit is {limit}; ask for less at once")]
    TooLarge {
        /// Its length.
        actual: usize,
        /// The limit.
        limit: usize,
    },
    /// The peer's response cannot be used; it lost points for it.
    #[error("peer {peer} gave a response that cannot be used: {reason}")]
    BadResponse {
        /// The peer.
        peer: PeerId,
        /// What was wrong.
        reason: String,
    },
    /// The peer does not speak this protocol on this chain.
    #[error("peer {0} does not serve requests of this chain")]
    Unsupported(PeerId),
    /// The stream failed.
    #[error("the request to peer {peer} failed: {reason}")]
    Stream {
        /// The peer.
        peer: PeerId,
        /// What failed.
        reason: String,
    },
    /// The service has ended.
    #[error("the network of this node has been shut down")]
    Stopped,
}
