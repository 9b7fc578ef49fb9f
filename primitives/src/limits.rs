//! Every bound on a queue, a message or a loop that crosses a crate, in one place.

/// Largest consensus transaction, in bytes.
pub const MAX_TX_BYTES: usize = 64 * 1024;
/// Largest consensus block (all transactions), in bytes.
pub const MAX_BLOCK_BYTES: usize = 1024 * 1024;
/// Most transactions in a consensus block.
pub const MAX_BLOCK_TXS: usize = 1_000;
/// Most transactions waiting in a node's consensus pool.
pub const MAX_MEMPOOL_TXS: usize = 10_000;
/// Largest ParaTime transaction, in bytes: an input list with its proof is about 20 KB.
pub const MAX_PARATIME_TX_BYTES: usize = 256 * 1024;
/// Most transactions in a ParaTime batch.
pub const MAX_BATCH_TXS: usize = 256;
/// Largest ParaTime batch, in bytes.
pub const MAX_BATCH_BYTES: usize = 8 * 1024 * 1024;
/// Most transactions waiting in a ParaTime pool.
pub const MAX_POOL_TXS: usize = 2_000;
/// Most workers or backups in a committee.
pub const MAX_COMMITTEE: usize = 64;
/// Largest ciphertext blob, in bytes.
pub const MAX_BLOB_BYTES: usize = 16 * 1024 * 1024;
/// Largest state value in the tree, in bytes (ciphertexts are blobs and do not count).
pub const MAX_VALUE_BYTES: usize = 256 * 1024;
/// Largest state key, in bytes.
pub const MAX_KEY_BYTES: usize = 256;
/// Largest state proof, in bytes: the largest value with its path.
pub const MAX_PROOF_BYTES: usize = MAX_VALUE_BYTES + 64 * 1024;
/// Largest message between peers, in bytes.
pub const MAX_PEER_MESSAGE_BYTES: usize = 17 * 1024 * 1024;
/// Most commitments in one consensus transaction.
pub const MAX_COMMITMENTS_PER_TX: usize = 64;
/// Most data in a message to a ParaTime, in bytes: a list of ten encrypted digits with its proof is 18.6 KB.
pub const MAX_IN_MESSAGE_BYTES: usize = 24 * 1024;
/// Most messages that a ParaTime may send in a round.
pub const MAX_MESSAGES_PER_ROUND: usize = 128;
/// Most bytes of all messages that a ParaTime sends in a round, encoded: they travel in one consensus transaction with
/// the commitment that names them.
pub const MAX_ROUND_MESSAGE_BYTES: usize = 50 * 1024;
/// Most leaves of a trace that is kept, served or compared: an operation, input, output or write each. A batch that fills
/// the limits of its ParaTime's parameters stays far below.
pub const MAX_TRACE_LEAVES: usize = 1 << 18;
/// Most bytes of trace in one message between peers.
pub const MAX_TRACE_PART_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of keys and values after which a part of a state in a message between peers ends.
pub const MAX_STATE_PART_BYTES: usize = 1024 * 1024;
/// Most bytes of keys and values of a ParaTime's state that a node takes from a peer, ciphertexts not counted: they are
/// in memory together until their root is known to be the finalised one.
pub const MAX_FETCHED_STATE_BYTES: usize = 256 * 1024 * 1024;
/// Most validators.
pub const MAX_VALIDATORS: usize = 120;
