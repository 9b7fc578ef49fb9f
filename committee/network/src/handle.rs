//! What the rest of the node holds of the network.

use crate::error::{NetworkError, PublishError, RequestError, SubscribeError};
use crate::gossip::Incoming;
use crate::limits;
use crate::request::{Request, Response};
use crate::score::Penalty;
use crate::topic::Topic;
use libp2p::{Multiaddr, PeerId};
use parallax_primitives::PublicKey;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// What happens to peers. Queued for the node; dropped if it does not read them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkEvent {
    /// A peer of this chain is connected.
    Connected {
        /// Who.
        peer: PeerId,
        /// Its name and version.
        agent: String,
    },
    /// The last connection to a peer ended.
    Disconnected {
        /// Who.
        peer: PeerId,
    },
    /// A peer was disconnected because it is of another chain.
    OtherChain {
        /// Who.
        peer: PeerId,
        /// The protocol version that it named.
        theirs: String,
    },
    /// A peer was shut out because of what it sent.
    Banned {
        /// Who.
        peer: PeerId,
        /// For how long.
        duration: Duration,
    },
}

/// A connected peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerInfo {
    /// Its id.
    pub peer: PeerId,
    /// Its Ed25519 key: the `peer` of its node descriptor.
    pub key: Option<PublicKey>,
    /// Where it is.
    pub address: Multiaddr,
    /// Its name and version.
    pub agent: String,
    /// Its points; see [`Penalty`].
    pub points: u32,
}

pub(crate) enum Command {
    Publish(Topic, Vec<u8>),
    Subscribe(Topic, oneshot::Sender<Result<mpsc::Receiver<Incoming>, SubscribeError>>),
    Request(PeerId, Vec<u8>, oneshot::Sender<Result<Vec<u8>, RequestError>>),
    Penalise(PeerId, Penalty),
    Connect(Multiaddr, oneshot::Sender<bool>),
    Peers(oneshot::Sender<Vec<PeerInfo>>),
    Shutdown,
}

/// A cheap copy of the way to the service. The network lives until [`Handle::shutdown`], or until every handle is
/// dropped.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) stopped: watch::Receiver<bool>,
    pub(crate) peer: PeerId,
    pub(crate) address: Multiaddr,
    pub(crate) request_timeout: Duration,
}

impl Handle {
    /// This node's peer id.
    pub fn local_peer(&self) -> PeerId {
        self.peer
    }

    /// The address that it listens on, with the port that was taken.
    pub fn local_addr(&self) -> Multiaddr {
        self.address.clone()
    }

    /// [`Handle::local_addr`] with `/p2p/` and the peer id: what other nodes put into their bootstrap list.
    pub fn dial_addr(&self) -> Multiaddr {
        self.address.clone().with(libp2p::multiaddr::Protocol::P2p(self.peer))
    }

    /// Gives a message to the peers on its topic; not to this node's own subscriber. While no peer is there it waits,
    /// at most [`limits::PUBLISH_PATIENCE`]. The same bytes again within [`limits::DUPLICATE_TIME`] are not sent.
    ///
    /// # Errors
    /// [`PublishError`].
    pub async fn publish(&self, topic: Topic, bytes: Vec<u8>) -> Result<(), PublishError> {
        if bytes.len() > topic.max_bytes() {
            return Err(PublishError::TooLarge { topic, actual: bytes.len() });
        }
        self.commands.send(Command::Publish(topic, bytes)).await.map_err(|_| PublishError::Stopped)
    }

    /// Receives the messages of a topic, each to be answered with a verdict. Dropping the receiver ends the
    /// subscription.
    ///
    /// # Errors
    /// [`SubscribeError`].
    pub async fn subscribe(&self, topic: Topic) -> Result<mpsc::Receiver<Incoming>, SubscribeError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Subscribe(topic, reply)).await.map_err(|_| SubscribeError::Stopped)?;
        answer.await.map_err(|_| SubscribeError::Stopped)?
    }

    /// Asks a connected peer, and waits for at most the configured request timeout.
    ///
    /// # Errors
    /// [`RequestError`]. [`Response::NotFound`], [`Response::Busy`] and [`Response::Refused`] are responses.
    pub async fn request(&self, peer: PeerId, request: Request) -> Result<Response, RequestError> {
        let bytes = request.clone().encode();
        if bytes.len() > limits::MAX_REQUEST_BYTES {
            return Err(RequestError::TooLarge { actual: bytes.len(), limit: limits::MAX_REQUEST_BYTES });
        }
        let (reply, answer) = oneshot::channel();
        let exchange = async {
            self.commands.send(Command::Request(peer, bytes, reply)).await.map_err(|_| RequestError::Stopped)?;
            answer.await.map_err(|_| RequestError::Stopped)?
        };
        let bytes = tokio::time::timeout(self.request_timeout, exchange)
            .await
            .map_err(|_| RequestError::Timeout { peer, after: self.request_timeout })??;
        let reason = match Response::decode(&bytes) {
            Ok(response) if request.accepts(&response) => return Ok(response),
            Ok(response) => format!("a {} response to a {} request", response.name(), request.name()),
            Err(e) => e.to_string(),
        };
        self.penalise(peer, Penalty::BadResponse).await;
        Err(RequestError::BadResponse { peer, reason })
    }

    /// Takes points from a peer for what only the caller can see, such as a blob that does not match its digest.
    pub async fn penalise(&self, peer: PeerId, penalty: Penalty) {
        let _ = self.commands.send(Command::Penalise(peer, penalty)).await;
    }

    /// Keeps a connection to an address up from now on.
    ///
    /// # Errors
    /// [`NetworkError::TooManyAddresses`] or [`NetworkError::Stopped`].
    pub async fn connect(&self, address: Multiaddr) -> Result<(), NetworkError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Connect(address, reply)).await.map_err(|_| NetworkError::Stopped)?;
        match answer.await {
            Ok(true) => Ok(()),
            Ok(false) => Err(NetworkError::TooManyAddresses { given: limits::MAX_BOOTSTRAP + 1 }),
            Err(_) => Err(NetworkError::Stopped),
        }
    }

    /// The connected peers of this chain, in the order of their ids; none after shutdown.
    pub async fn peers(&self) -> Vec<PeerInfo> {
        let (reply, answer) = oneshot::channel();
        if self.commands.send(Command::Peers(reply)).await.is_err() {
            return Vec::new();
        }
        answer.await.unwrap_or_default()
    }

    /// Ends the network and returns when the port is free.
    pub async fn shutdown(&self) {
        let _ = self.commands.send(Command::Shutdown).await;
        let mut stopped = self.stopped.clone();
        let _ = stopped.wait_for(|s| *s).await;
    }
}
