//! The swarm: which protocols run on it, with which limits.

use crate::config::NetworkConfig;
use crate::error::NetworkError;
use crate::frame::Frames;
use crate::limits;
use libp2p::allow_block_list::{self, BlockedPeers};
use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::gossipsub::{self, MessageAuthenticity, MessageId, PeerScoreParams, PeerScoreThresholds, ValidationMode};
use libp2p::request_response::{self, ProtocolSupport};
use libp2p::swarm::NetworkBehaviour;
use libp2p::{StreamProtocol, Swarm, SwarmBuilder, identify, identity, noise, ping, tcp, yamux};

/// Derives the id of a gossip message.
const MESSAGE_CONTEXT: &str = "parallax 2026-11 v1 GossipMessage";

/// The protocols.
#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    limits: connection_limits::Behaviour,
    pub(crate) blocked: allow_block_list::Behaviour<BlockedPeers>,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    pub(crate) gossip: gossipsub::Behaviour,
    pub(crate) requests: request_response::Behaviour<Frames>,
}

/// The id of a message: content and topic alone, so that copies from several publishers are one message. Messages
/// are not signed here; what they contain is.
fn message_id(message: &gossipsub::Message) -> MessageId {
    let mut hasher = blake3::Hasher::new_derive_key(MESSAGE_CONTEXT);
    let topic = message.topic.as_str().as_bytes();
    hasher.update(&(topic.len() as u64).to_le_bytes());
    hasher.update(topic);
    hasher.update(&message.data);
    MessageId::from(hasher.finalize().as_bytes().to_vec())
}

fn gossip() -> Result<gossipsub::Behaviour, String> {
    let largest =
        limits::MAX_CONSENSUS_TX_MESSAGE.max(limits::MAX_PARATIME_TX_MESSAGE).max(limits::MAX_PROPOSAL_MESSAGE);
    let config = gossipsub::ConfigBuilder::default()
        .validation_mode(ValidationMode::Anonymous)
        .validate_messages()
        .message_id_fn(message_id)
        .max_transmit_size(largest + limits::GOSSIP_OVERHEAD)
        .heartbeat_interval(limits::GOSSIP_HEARTBEAT)
        .heartbeat_initial_delay(limits::GOSSIP_HEARTBEAT)
        .history_length(limits::GOSSIP_HISTORY)
        .duplicate_cache_time(limits::DUPLICATE_TIME)
        .connection_handler_queue_len(limits::GOSSIP_QUEUE)
        .build()
        .map_err(|e| e.to_string())?;
    let mut gossip = gossipsub::Behaviour::new(MessageAuthenticity::Anonymous, config)?;
    // Points come from `score` alone, as the application's part of the score: gossip avoids a peer some time before
    // the ban. Peers that share an address are not suspect: a localnet is all one address.
    let params =
        PeerScoreParams { app_specific_weight: 1.0, ip_colocation_factor_weight: 0.0, ..PeerScoreParams::default() };
    gossip.with_peer_score(params, PeerScoreThresholds::default())?;
    Ok(gossip)
}

fn build(config: &NetworkConfig, key: &identity::Keypair) -> Result<Behaviour, String> {
    let connections = ConnectionLimits::default()
        .with_max_established(Some(limits::MAX_CONNECTIONS))
        .with_max_established_incoming(Some(limits::MAX_INCOMING_CONNECTIONS))
        .with_max_established_per_peer(Some(limits::MAX_CONNECTIONS_PER_PEER))
        .with_max_pending_incoming(Some(limits::MAX_PENDING_CONNECTIONS))
        .with_max_pending_outgoing(Some(limits::MAX_PENDING_CONNECTIONS));
    let protocol =
        StreamProtocol::try_from_owned(format!("/parallax/{}/request/1", config.chain)).map_err(|e| e.to_string())?;
    let requests = request_response::Config::default()
        .with_request_timeout(config.request_timeout)
        .with_max_concurrent_streams(limits::MAX_STREAMS_PER_CONNECTION);
    Ok(Behaviour {
        limits: connection_limits::Behaviour::new(connections),
        blocked: allow_block_list::Behaviour::default(),
        identify: identify::Behaviour::new(
            identify::Config::new(config.protocol_version(), key.public()).with_agent_version(config.agent.clone()),
        ),
        ping: ping::Behaviour::new(ping::Config::new().with_interval(limits::PING_INTERVAL)),
        gossip: gossip()?,
        requests: request_response::Behaviour::new([(protocol, ProtocolSupport::Full)], requests),
    })
}

/// The swarm over TCP, noise and yamux.
pub(crate) fn swarm(config: &NetworkConfig) -> Result<Swarm<Behaviour>, NetworkError> {
    let setup = |e: &dyn std::fmt::Display| NetworkError::Setup(e.to_string());
    let swarm = SwarmBuilder::with_existing_identity(config.keypair()?)
        .with_tokio()
        .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, yamux::Config::default)
        .map_err(|e| setup(&e))?
        .with_dns()
        .map_err(|e| NetworkError::Setup(format!("the system's name servers cannot be read (/etc/resolv.conf): {e}")))?
        .with_behaviour(|key| build(config, key).map_err(Into::<Box<dyn std::error::Error + Send + Sync>>::into))
        .map_err(|e| setup(&e))?
        .with_swarm_config(|c| c.with_idle_connection_timeout(std::time::Duration::from_secs(u64::from(u32::MAX))))
        .with_connection_timeout(limits::CONNECTION_TIMEOUT)
        .build();
    Ok(swarm)
}
