//! What peers and users send: traces, batches, results, ciphertexts, transactions of the scheduling ParaTime, and the
//! worker's own journal.

use crate::rounds::{CHAIN, paratime};
use crate::{canonical, decodes};
use parallax_primitives::{SecretKey, limits, merkle};
use parallax_runtime::Trace;
use parallax_scheduler::{SignedTx, Transaction, TxBody};
use parallax_worker::{PeerRequest, PeerResponse, Record};

pub(crate) fn decode_trace(bytes: &[u8]) -> bool {
    decodes::<Trace>("trace", bytes, limits::MAX_PEER_MESSAGE_BYTES)
}

pub(crate) fn check_trace(bytes: &[u8]) {
    let Some(trace) = canonical::<Trace>("trace", bytes, limits::MAX_PEER_MESSAGE_BYTES) else { return };
    let (digests, root) = (trace.digests(), trace.root());
    assert_eq!(digests.len(), trace.leaves.len());
    if digests.len() > 32 {
        // A proof hashes the whole list; the small ones show the same.
        return;
    }
    for index in [0, digests.len() / 2, digests.len().saturating_sub(1)] {
        match merkle::prove(&digests, index) {
            Some(proof) => {
                assert!(proof.verify(&root, &digests[index]), "each leaf is proven");
                let moved = merkle::ListProof { index: proof.index ^ 1, ..proof };
                assert!(!moved.verify(&root, &digests[index]), "at no other index");
            }
            None => assert!(digests.is_empty()),
        }
    }
}

/// The first byte says what the rest is.
pub(crate) fn decode_peer(bytes: &[u8]) -> bool {
    match bytes.split_first() {
        Some((0, rest)) => decodes::<PeerRequest>("worker request", rest, limits::MAX_TX_BYTES),
        Some((1, rest)) => decodes::<PeerResponse>("worker response", rest, limits::MAX_PEER_MESSAGE_BYTES),
        Some((2, rest)) => decodes::<Record>("worker record", rest, limits::MAX_TX_BYTES),
        _ => false,
    }
}

pub(crate) fn check_peer(bytes: &[u8]) {
    match bytes.split_first() {
        Some((0, rest)) => {
            let _ = canonical::<PeerRequest>("worker request", rest, limits::MAX_TX_BYTES);
        }
        Some((1, rest)) => {
            let response = canonical::<PeerResponse>("worker response", rest, limits::MAX_PEER_MESSAGE_BYTES);
            if let Some(PeerResponse::Result(Some(result))) = response {
                let _ = (result.io_root(), result.blobs(), result.transactions());
            }
        }
        Some((2, rest)) => {
            let _ = canonical::<Record>("worker record", rest, limits::MAX_TX_BYTES);
        }
        _ => {}
    }
}

pub(crate) fn user() -> SecretKey {
    SecretKey::from_seed([0x31; 32])
}

pub(crate) fn decode_scheduler(bytes: &[u8]) -> bool {
    decodes::<Transaction>("scheduler transaction", bytes, limits::MAX_PARATIME_TX_BYTES)
}

pub(crate) fn check_scheduler(bytes: &[u8]) {
    let opened = SignedTx::open(bytes, &CHAIN, &paratime());
    let Some(Transaction::V1(tx)) =
        canonical::<Transaction>("scheduler transaction", bytes, limits::MAX_PARATIME_TX_BYTES)
    else {
        assert!(opened.is_err(), "what does not decode is no transaction");
        return;
    };
    // What any user could sign.
    let body = TxBody { chain: CHAIN, paratime: paratime(), ..tx.body };
    let again = body.clone().sign(&user());
    if let Ok(opened) = SignedTx::open(&again, &CHAIN, &paratime()) {
        assert_eq!((opened.body, opened.key), (body, user().public()));
    }
}
