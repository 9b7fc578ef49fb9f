//! What a node sets, and who it is on the network.

use crate::error::NetworkError;
use libp2p::identity::{self, Keypair};
use libp2p::{Multiaddr, PeerId};
use parallax_primitives::{ChainContext, PublicKey, SecretKey};
use std::time::Duration;

/// The settings of one node's network.
#[derive(Clone, Debug)]
pub struct NetworkConfig {
    /// The chain; peers of another one are refused.
    pub chain: ChainContext,
    /// The node's libp2p identity: its public half is the `peer` of the node's descriptor.
    pub identity: SecretKey,
    /// Where to listen, for example `/ip4/127.0.0.1/tcp/0`; port 0 takes a free one.
    pub listen: Multiaddr,
    /// Addresses to which connections are kept up, with or without `/p2p/` and the peer id at their end. The node's
    /// own address may be among them.
    pub bootstrap: Vec<Multiaddr>,
    /// How long a peer has to answer a request, transfer included.
    pub request_timeout: Duration,
    /// Name and version that peers see, for example `parallax/0.1.0`.
    pub agent: String,
}

impl NetworkConfig {
    /// A configuration with a free port on loopback, no bootstrap addresses and 60 s for a request.
    pub fn new(chain: ChainContext, identity: SecretKey) -> Self {
        let mut listen = Multiaddr::empty();
        listen.push(libp2p::multiaddr::Protocol::Ip4(std::net::Ipv4Addr::LOCALHOST));
        listen.push(libp2p::multiaddr::Protocol::Tcp(0));
        Self {
            chain,
            identity,
            listen,
            bootstrap: Vec::new(),
            request_timeout: Duration::from_secs(60),
            agent: concat!("parallax/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }

    /// The name by which peers know that they are on one chain.
    pub(crate) fn protocol_version(&self) -> String {
        format!("/parallax/{}/1", self.chain)
    }

    pub(crate) fn keypair(&self) -> Result<Keypair, NetworkError> {
        let mut seed = self.identity.to_seed();
        Keypair::ed25519_from_bytes(seed.as_mut_slice()).map_err(|e| NetworkError::Setup(e.to_string()))
    }
}

/// The peer id of a node whose descriptor names this libp2p key.
///
/// # Errors
/// [`NetworkError::BadKey`] if the bytes are no point of the curve.
pub fn peer_id_of(key: &PublicKey) -> Result<PeerId, NetworkError> {
    let key = identity::ed25519::PublicKey::try_from_bytes(&key.0).map_err(|_| NetworkError::BadKey(*key))?;
    Ok(identity::PublicKey::from(key).to_peer_id())
}
