//! Every bound of this crate, by name. Those that other crates share are in `parallax_primitives::limits`.

use parallax_primitives::limits::{MAX_PARATIME_TX_BYTES, MAX_PEER_MESSAGE_BYTES, MAX_TX_BYTES};
use std::time::Duration;

/// Largest consensus transaction on its topic, in bytes.
pub const MAX_CONSENSUS_TX_MESSAGE: usize = MAX_TX_BYTES;
/// Largest ParaTime transaction on its topic, in bytes: a round and a length stand beside it.
pub const MAX_PARATIME_TX_MESSAGE: usize = MAX_PARATIME_TX_BYTES + 12;
/// Largest proposal on its topic, in bytes: a full batch names 256 digests, 8 KiB.
pub const MAX_PROPOSAL_MESSAGE: usize = 32 * 1024;
/// What gossip adds to a message: topic name, framing, control messages.
pub const GOSSIP_OVERHEAD: usize = 64 * 1024;

/// Largest request, in bytes.
pub const MAX_REQUEST_BYTES: usize = 512 * 1024;
/// Largest response, in bytes, but for a worker's answer.
pub const MAX_RESPONSE_BYTES: usize = MAX_PEER_MESSAGE_BYTES;
/// Largest response of all, in bytes: a worker's answer, which may be a whole batch or the result of a round.
pub const MAX_RESULT_BYTES: usize = 64 * 1024 * 1024;
/// Most digests in one request.
pub const MAX_DIGESTS: usize = 4_096;
/// Most state keys in one request for proofs.
pub const MAX_PROOF_KEYS: usize = 1_024;

/// Calls from handles that wait for the service.
pub const COMMAND_QUEUE: usize = 256;
/// Messages of one topic that wait for their subscriber; further ones are ignored.
pub const TOPIC_QUEUE: usize = 256;
/// Messages of all topics that wait for a verdict; further ones are ignored.
pub const MAX_PENDING_VERDICTS: usize = 2_048;
/// Messages that wait for a first peer on their topic; the oldest goes.
pub const MAX_OUTBOX: usize = 512;
/// Gossip messages that wait on one connection.
pub const GOSSIP_QUEUE: usize = 512;
/// Events that wait for the node; further ones are dropped.
pub const EVENT_QUEUE: usize = 256;
/// Own requests under way.
pub const MAX_OUTBOUND_REQUESTS: usize = 64;
/// Requests of peers being served; a further one is answered [`crate::Response::Busy`].
pub const MAX_INBOUND_REQUESTS: usize = 32;
/// Streams of requests on one connection, both directions.
pub const MAX_STREAMS_PER_CONNECTION: usize = 32;
/// Topics that this node may subscribe to.
pub const MAX_TOPICS: usize = 64;
/// Addresses to which connections are kept up.
pub const MAX_BOOTSTRAP: usize = 256;
/// Peers whose points are remembered; those with the fewest go.
pub const MAX_SCORED_PEERS: usize = 4_096;

/// Connections in all.
pub const MAX_CONNECTIONS: u32 = 256;
/// Connections that peers opened; the rest stays free for our own, so nobody can take all.
pub const MAX_INCOMING_CONNECTIONS: u32 = 192;
/// Connections of one peer: one each way.
pub const MAX_CONNECTIONS_PER_PEER: u32 = 2;
/// Connections being opened, each way.
pub const MAX_PENDING_CONNECTIONS: u32 = 64;

/// How long a subscriber has for a verdict; then the message is ignored. Shorter than gossip keeps messages.
pub const VERDICT_DEADLINE: Duration = Duration::from_secs(8);
/// How often gossip tends its meshes.
pub const GOSSIP_HEARTBEAT: Duration = Duration::from_secs(1);
/// How many heartbeats gossip keeps a message: longer than [`VERDICT_DEADLINE`].
pub const GOSSIP_HISTORY: usize = 12;
/// How long the same bytes on a topic count as a duplicate.
pub const DUPLICATE_TIME: Duration = Duration::from_secs(120);
/// How long a published message waits for a first peer on its topic.
pub const PUBLISH_PATIENCE: Duration = Duration::from_secs(30);
/// How often the service looks at deadlines and addresses.
pub const TICK: Duration = Duration::from_millis(250);
/// First pause before an address is tried again; doubled with every failure.
pub const MIN_BACKOFF: Duration = Duration::from_millis(250);
/// Longest pause before an address is tried again.
pub const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// How often a quiet connection is checked.
pub const PING_INTERVAL: Duration = Duration::from_secs(15);
/// Unanswered checks after which a connection is closed.
pub const MAX_PING_FAILURES: u32 = 2;
/// How long setting up one connection may take.
pub const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// How long [`crate::Network::spawn`] waits for the port.
pub const LISTEN_TIMEOUT: Duration = Duration::from_secs(5);

/// Points at which a peer is shut out.
pub const BAN_POINTS: u32 = 100;
/// How long it is shut out.
pub const BAN_TIME: Duration = Duration::from_secs(600);
/// How long a peer of another chain is shut out; short, because a restart mends it.
pub const OTHER_CHAIN_TIME: Duration = Duration::from_secs(60);
/// The time in which points halve.
pub const POINTS_HALF_LIFE: Duration = Duration::from_secs(60);
