//! What one request may ask for.

use parallax_primitives::limits::{MAX_BLOB_BYTES, MAX_PARATIME_TX_BYTES};
use std::time::Duration;

/// Largest request body, in bytes: the largest ParaTime transaction in hexadecimal, and room for the envelope.
pub const MAX_REQUEST_BYTES: u32 = 2 * MAX_PARATIME_TX_BYTES as u32 + 8 * 1024;
/// Largest response body, in bytes: the largest ciphertext in hexadecimal, and room for the envelope.
pub const MAX_RESPONSE_BYTES: u32 = 2 * MAX_BLOB_BYTES as u32 + 64 * 1024;
/// Most heights or rounds in one question for events.
pub const MAX_EVENT_SPAN: u64 = 1_000;
/// Most events in one answer; a longer one is refused, so that no event is dropped unseen.
pub const MAX_EVENTS: usize = 10_000;
/// Most connections that a node keeps open.
pub const MAX_CONNECTIONS: u32 = 256;
/// Most requests in one batch.
pub const MAX_BATCH_REQUESTS: u32 = 32;
/// How long a client waits for an answer, unless it says otherwise.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a client waits for a connection.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
