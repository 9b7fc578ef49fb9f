//! The faults that lie outside the worker: a relay that alters what it passes on, and corrupt answers to peers. The
//! others are in [`parallax_worker::fault`].

use async_trait::async_trait;
use parallax_network::{Handle, PeerId, Request, RequestHandler, Response, Topic, limits};
use parallax_primitives::{ParaTimeId, codec, encode};
use parallax_worker::PeerResponse;
use parallax_worker::fault::flip_bit;

/// The fault `tamper-relay`: passes every proposal of a ParaTime on a second time, with an altered byte.
pub(crate) struct TamperRelay {
    network: Handle,
    topic: Topic,
}

impl TamperRelay {
    pub(crate) fn new(network: Handle, paratime: ParaTimeId) -> Self {
        Self { network, topic: Topic::Proposal(paratime) }
    }

    /// The last byte is of the signature, so the message decodes and is signed by nobody.
    pub(crate) async fn pass_on(&self, message: &[u8]) {
        let mut altered = message.to_vec();
        if let Some(last) = altered.last_mut() {
            *last ^= 1;
        }
        tracing::warn!("node.fault_tampers");
        if let Err(error) = self.network.publish(self.topic, altered).await {
            tracing::warn!(%error, "node.fault_not_gossiped");
        }
    }
}

/// The fault `corrupt-blob`: answers as the honest handler does, but every ciphertext has one flipped bit.
pub(crate) struct CorruptBlobs<H>(pub(crate) H);

#[async_trait]
impl<H: RequestHandler> RequestHandler for CorruptBlobs<H> {
    async fn handle(&self, from: PeerId, request: Request) -> Response {
        match self.0.handle(from, request).await {
            Response::Worker(body) => Response::Worker(corrupt(body)),
            Response::Blob(mut bytes) => {
                flip_bit(&mut bytes);
                Response::Blob(bytes)
            }
            Response::Blobs(mut blobs) => {
                blobs.iter_mut().flatten().for_each(|bytes| flip_bit(bytes));
                Response::Blobs(blobs)
            }
            other => other,
        }
    }
}

/// A worker's answer, corrupt if it is a ciphertext.
fn corrupt(body: Vec<u8>) -> Vec<u8> {
    match codec::decode("worker response", &body, limits::MAX_RESULT_BYTES) {
        Ok(PeerResponse::Blob(Some(mut bytes))) => {
            tracing::warn!("node.fault_corrupts");
            flip_bit(&mut bytes);
            encode(&PeerResponse::Blob(Some(bytes)))
        }
        _ => body,
    }
}
