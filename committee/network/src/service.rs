//! The loop that owns the swarm: commands in, events out, deadlines in between.

use crate::behaviour::{Behaviour, BehaviourEvent, swarm};
use crate::bootstrap::Bootstrap;
use crate::config::NetworkConfig;
use crate::error::{NetworkError, RequestError, SubscribeError};
use crate::gossip::{Incoming, Outbox, PendingVerdicts, Verdict, VerdictSender};
use crate::handle::{Command, Handle, NetworkEvent, PeerInfo};
use crate::limits;
use crate::request::{Request, RequestHandler, Response};
use crate::score::{Penalty, Scores};
use crate::topic::Topic;
use futures::StreamExt;
use libp2p::core::ConnectedPoint;
use libp2p::gossipsub::{self, MessageAcceptance, TopicHash};
use libp2p::multiaddr::Protocol;
use libp2p::request_response::{self, InboundFailure, OutboundFailure, OutboundRequestId, ResponseChannel};
use libp2p::swarm::{ConnectionId, DialError, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm, identify, ping};
use parallax_primitives::PublicKey;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior};

/// Both ends of a queue that tasks and messages of this network send back on.
type Queue<T> = (mpsc::Sender<T>, mpsc::Receiver<T>);
type Reply = oneshot::Sender<Result<Vec<u8>, RequestError>>;

/// A connected peer, and what it has said of itself.
struct Peer {
    address: Multiaddr,
    identity: Option<(Option<PublicKey>, String)>,
}

struct Subscription {
    topic: Topic,
    sender: mpsc::Sender<Incoming>,
}

/// The network of a node.
pub struct Network {
    swarm: Swarm<Behaviour>,
    config: NetworkConfig,
    handler: Arc<dyn RequestHandler>,
    commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<NetworkEvent>,
    verdicts: Queue<(u64, Verdict)>,
    answers: Queue<Answer>,
    serving: Arc<Semaphore>,
    subscriptions: BTreeMap<TopicHash, Subscription>,
    pending: PendingVerdicts,
    outbox: Outbox,
    requests: BTreeMap<OutboundRequestId, Reply>,
    bootstrap: Bootstrap,
    peers: BTreeMap<PeerId, Peer>,
    ping_failures: BTreeMap<ConnectionId, u32>,
    scores: Scores,
    /// Peers of another chain, and when their connections are closed.
    leaving: BTreeMap<PeerId, Instant>,
}

/// What a handler's task hands back: the channel and the encoded response; a request that could not be decoded costs
/// its peer points.
struct Answer {
    peer: PeerId,
    channel: ResponseChannel<Vec<u8>>,
    response: Vec<u8>,
    malformed: bool,
}

impl Network {
    /// Listens, begins to connect, and returns the handle and the events once the port is taken. Runs on the current
    /// tokio runtime until [`Handle::shutdown`].
    ///
    /// # Errors
    /// [`NetworkError`]: the port is in use, or the address or the configuration cannot be used.
    pub async fn spawn(
        config: NetworkConfig,
        handler: Arc<dyn RequestHandler>,
    ) -> Result<(Handle, mpsc::Receiver<NetworkEvent>), NetworkError> {
        if config.bootstrap.len() > limits::MAX_BOOTSTRAP {
            return Err(NetworkError::TooManyAddresses { given: config.bootstrap.len() });
        }
        let mut swarm = swarm(&config)?;
        let address = listen(&mut swarm, &config.listen).await?;
        let (commands_in, commands) = mpsc::channel(limits::COMMAND_QUEUE);
        let (events, events_out) = mpsc::channel(limits::EVENT_QUEUE);
        let (stop, stopped) = watch::channel(false);
        let mut bootstrap = Bootstrap::default();
        for peer in &config.bootstrap {
            bootstrap.add(peer.clone(), Instant::now());
        }
        let handle = Handle {
            commands: commands_in,
            stopped,
            peer: *swarm.local_peer_id(),
            address,
            request_timeout: config.request_timeout,
        };
        let network = Self {
            swarm,
            config,
            handler,
            commands,
            events,
            verdicts: mpsc::channel(limits::MAX_PENDING_VERDICTS),
            answers: mpsc::channel(limits::MAX_INBOUND_REQUESTS),
            serving: Arc::new(Semaphore::new(limits::MAX_INBOUND_REQUESTS)),
            subscriptions: BTreeMap::new(),
            pending: PendingVerdicts::default(),
            outbox: Outbox::default(),
            requests: BTreeMap::new(),
            bootstrap,
            peers: BTreeMap::new(),
            ping_failures: BTreeMap::new(),
            scores: Scores::default(),
            leaving: BTreeMap::new(),
        };
        tracing::info!(peer = %handle.peer, address = %handle.address, "network.listening");
        tokio::spawn(async move {
            network.run().await;
            let _ = stop.send(true);
        });
        Ok((handle, events_out))
    }

    async fn run(mut self) {
        let mut tick = tokio::time::interval(limits::TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                command = self.commands.recv() => match command {
                    None | Some(Command::Shutdown) => break,
                    Some(command) => self.command(command),
                },
                Some((number, verdict)) = self.verdicts.1.recv() => self.verdict(number, verdict),
                Some(answer) = self.answers.1.recv() => self.answer(answer),
                event = self.swarm.select_next_some() => self.event(event),
                _ = tick.tick() => self.tick(),
            }
        }
        tracing::info!("network.stopped");
    }

    fn command(&mut self, command: Command) {
        let now = Instant::now();
        match command {
            Command::Publish(topic, bytes) => {
                if let Some(bytes) = self.publish(topic, bytes)
                    && let Some(dropped) = self.outbox.keep(topic, bytes, now)
                {
                    tracing::warn!(topic = %dropped, "gossip.outbox_full");
                }
            }
            Command::Subscribe(topic, reply) => {
                let _ = reply.send(self.subscribe(topic));
            }
            Command::Request(peer, bytes, reply) => self.request(peer, bytes, reply),
            Command::Penalise(peer, penalty) => self.penalise(peer, penalty),
            Command::Connect(address, reply) => {
                let _ = reply.send(self.bootstrap.add(address, now));
            }
            Command::Peers(reply) => {
                let info = |(peer, p): (&PeerId, &Peer)| {
                    let (key, agent) = p.identity.clone()?;
                    let points = self.scores.points(peer, now);
                    Some(PeerInfo { peer: *peer, key, address: p.address.clone(), agent, points })
                };
                let _ = reply.send(self.peers.iter().filter_map(info).collect());
            }
            // Handled by the loop.
            Command::Shutdown => {}
        }
    }

    /// Publishes; gives the bytes back if nobody is there yet to take them.
    fn publish(&mut self, topic: Topic, bytes: Vec<u8>) -> Option<Vec<u8>> {
        publish(&mut self.swarm, &self.config, topic, bytes)
    }

    fn subscribe(&mut self, topic: Topic) -> Result<mpsc::Receiver<Incoming>, SubscribeError> {
        let ident = topic.ident(&self.config.chain);
        self.subscriptions.retain(|_, s| s.topic == topic || !s.sender.is_closed());
        if self.subscriptions.get(&ident.hash()).is_some_and(|s| !s.sender.is_closed()) {
            return Err(SubscribeError::AlreadySubscribed(topic));
        }
        if self.subscriptions.len() >= limits::MAX_TOPICS {
            return Err(SubscribeError::TooMany);
        }
        if let Err(error) = self.swarm.behaviour_mut().gossip.subscribe(&ident) {
            // Only a subscription filter refuses, and none is set.
            tracing::error!(%topic, %error, "gossip.subscribe");
        }
        let (sender, receiver) = mpsc::channel(limits::TOPIC_QUEUE);
        self.subscriptions.insert(ident.hash(), Subscription { topic, sender });
        Ok(receiver)
    }

    fn request(&mut self, peer: PeerId, bytes: Vec<u8>, reply: Reply) {
        // Callers that gave up leave their entry behind until the stream ends; they do not count.
        if self.requests.values().filter(|r| !r.is_closed()).count() >= limits::MAX_OUTBOUND_REQUESTS {
            let _ = reply.send(Err(RequestError::TooMany));
        } else if !self.swarm.is_connected(&peer) {
            let _ = reply.send(Err(RequestError::NotConnected(peer)));
        } else {
            let id = self.swarm.behaviour_mut().requests.send_request(&peer, bytes);
            self.requests.insert(id, reply);
        }
    }

    fn verdict(&mut self, number: u64, verdict: Verdict) {
        let Some(message) = self.pending.take(number) else { return };
        let acceptance = match verdict {
            Verdict::Accept => MessageAcceptance::Accept,
            Verdict::Reject => MessageAcceptance::Reject,
            Verdict::Ignore => MessageAcceptance::Ignore,
        };
        self.swarm.behaviour_mut().gossip.report_message_validation_result(&message.id, &message.peer, acceptance);
        if verdict == Verdict::Reject {
            tracing::debug!(peer = %message.peer, topic = %message.topic, "gossip.rejected");
            self.penalise(message.peer, Penalty::InvalidMessage);
        }
    }

    fn penalise(&mut self, peer: PeerId, penalty: Penalty) {
        let now = Instant::now();
        let points = self.scores.penalise(peer, penalty, now);
        tracing::info!(%peer, ?penalty, points, "peer.penalised");
        self.swarm.behaviour_mut().gossip.set_application_score(&peer, -f64::from(points));
        if points >= limits::BAN_POINTS {
            tracing::warn!(%peer, ?penalty, seconds = limits::BAN_TIME.as_secs(), "peer.banned");
            self.shut_out(peer, limits::BAN_TIME);
            self.tell(NetworkEvent::Banned { peer, duration: limits::BAN_TIME });
        }
    }

    fn shut_out(&mut self, peer: PeerId, time: Duration) {
        let now = Instant::now();
        self.scores.ban(peer, now + time);
        self.bootstrap.lost(&peer, true, now);
        self.swarm.behaviour_mut().blocked.block_peer(peer);
    }

    fn tell(&self, event: NetworkEvent) {
        if let Err(mpsc::error::TrySendError::Full(event)) = self.events.try_send(event) {
            tracing::warn!(?event, "network.event_dropped");
        }
    }

    fn tick(&mut self) {
        let now = Instant::now();
        for message in self.pending.overdue(now) {
            tracing::warn!(topic = %message.topic, "gossip.verdict_overdue");
            let gossip = &mut self.swarm.behaviour_mut().gossip;
            gossip.report_message_validation_result(&message.id, &message.peer, MessageAcceptance::Ignore);
        }
        for peer in self.scores.released(now) {
            self.swarm.behaviour_mut().blocked.unblock_peer(peer);
        }
        let gone: Vec<PeerId> = self.leaving.iter().filter(|(_, at)| **at <= now).map(|(p, _)| *p).collect();
        for peer in gone {
            self.leaving.remove(&peer);
            self.shut_out(peer, limits::OTHER_CHAIN_TIME);
        }
        let due = self.bootstrap.due(now, |peer| self.swarm.is_connected(peer));
        for options in due {
            let attempt = options.connection_id();
            if let Err(error) = self.swarm.dial(options) {
                tracing::debug!(%error, "peer.dial");
                self.bootstrap.failed(attempt, now);
            }
        }
        self.flush(now);
        let closed: Vec<Topic> =
            self.subscriptions.values().filter(|s| s.sender.is_closed()).map(|s| s.topic).collect();
        for topic in closed {
            let ident = topic.ident(&self.config.chain);
            self.swarm.behaviour_mut().gossip.unsubscribe(&ident);
            self.subscriptions.remove(&ident.hash());
        }
    }

    fn flush(&mut self, now: Instant) {
        if self.outbox.is_empty() {
            return;
        }
        let (swarm, config) = (&mut self.swarm, &self.config);
        let expired = self.outbox.retry(now, |topic, bytes| publish(swarm, config, topic, bytes));
        if expired > 0 {
            tracing::warn!(messages = expired, "gossip.no_peer_on_topic");
        }
    }

    fn event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        let now = Instant::now();
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Gossip(event)) => self.gossip_event(event),
            SwarmEvent::Behaviour(BehaviourEvent::Requests(event)) => self.request_event(event),
            SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received { peer_id, info, .. })) => {
                self.identified(peer_id, info);
            }
            SwarmEvent::Behaviour(BehaviourEvent::Ping(event)) => self.pinged(event),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.bootstrap.connected(connection_id, peer_id, now);
                let address = match endpoint {
                    ConnectedPoint::Dialer { address, .. } => address,
                    ConnectedPoint::Listener { send_back_addr, .. } => send_back_addr,
                };
                self.peers.entry(peer_id).or_insert(Peer { address, identity: None });
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, num_established, cause, .. } => {
                self.ping_failures.remove(&connection_id);
                if num_established == 0 {
                    tracing::debug!(peer = %peer_id, cause = cause.map(|c| c.to_string()), "peer.disconnected");
                    self.bootstrap.lost(&peer_id, false, now);
                    if self.peers.remove(&peer_id).is_some_and(|p| p.identity.is_some()) {
                        self.tell(NetworkEvent::Disconnected { peer: peer_id });
                    }
                }
            }
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => match error {
                DialError::LocalPeerId { .. } => self.bootstrap.own(connection_id),
                error => {
                    tracing::debug!(%error, "peer.dial");
                    self.bootstrap.failed(connection_id, now);
                }
            },
            SwarmEvent::ListenerClosed { reason: Err(error), .. } => tracing::error!(%error, "network.listener_closed"),
            SwarmEvent::ListenerError { error, .. } => tracing::warn!(%error, "network.listener"),
            _ => {}
        }
    }

    fn identified(&mut self, peer: PeerId, info: identify::Info) {
        let ours = self.config.protocol_version();
        if info.protocol_version != ours {
            let theirs: String = info.protocol_version.chars().take(128).collect();
            // Not at once, so that the other side hears our name too and can tell its operator what is wrong.
            if self.leaving.insert(peer, Instant::now() + limits::TICK).is_none() {
                tracing::warn!(%peer, theirs, ours, "peer.other_chain");
                self.peers.remove(&peer);
                self.tell(NetworkEvent::OtherChain { peer, theirs });
            }
            return;
        }
        self.bootstrap.confirmed(&peer);
        let Some(entry) = self.peers.get_mut(&peer) else { return };
        let key = info.public_key.try_into_ed25519().ok().map(|k| PublicKey(k.to_bytes()));
        let agent: String = info.agent_version.chars().take(64).collect();
        if entry.identity.replace((key, agent.clone())).is_none() {
            tracing::debug!(%peer, agent, address = %entry.address, "peer.connected");
            self.tell(NetworkEvent::Connected { peer, agent });
        }
    }

    fn pinged(&mut self, event: ping::Event) {
        match event.result {
            Ok(_) => {
                self.ping_failures.remove(&event.connection);
            }
            Err(ping::Failure::Unsupported) => {}
            Err(_) => {
                let failures = self.ping_failures.entry(event.connection).or_default();
                *failures += 1;
                if *failures >= limits::MAX_PING_FAILURES {
                    tracing::debug!(peer = %event.peer, "peer.unresponsive");
                    self.swarm.close_connection(event.connection);
                }
            }
        }
    }

    fn gossip_event(&mut self, event: gossipsub::Event) {
        let (peer, id, message) = match event {
            gossipsub::Event::Message { propagation_source, message_id, message } => {
                (propagation_source, message_id, message)
            }
            gossipsub::Event::Subscribed { .. } => return self.flush(Instant::now()),
            gossipsub::Event::SlowPeer { peer_id, .. } => return tracing::debug!(peer = %peer_id, "gossip.slow_peer"),
            _ => return,
        };
        let mut verdict = MessageAcceptance::Ignore;
        if let Some(subscription) = self.subscriptions.get(&message.topic) {
            let topic = subscription.topic;
            if message.data.len() > topic.max_bytes() {
                tracing::debug!(%peer, %topic, bytes = message.data.len(), "gossip.oversize");
                verdict = MessageAcceptance::Reject;
            } else if self.pending.len() < limits::MAX_PENDING_VERDICTS
                && let Ok(permit) = subscription.sender.try_reserve()
            {
                let number = self.pending.add(id, peer, topic, Instant::now());
                let sender = VerdictSender::new(number, self.verdicts.0.clone());
                permit.send(Incoming { peer, bytes: message.data, verdict: sender });
                return;
            } else {
                tracing::warn!(%topic, "gossip.queue_full");
            }
        }
        let rejected = matches!(verdict, MessageAcceptance::Reject);
        self.swarm.behaviour_mut().gossip.report_message_validation_result(&id, &peer, verdict);
        if rejected {
            self.penalise(peer, Penalty::InvalidMessage);
        }
    }

    fn request_event(&mut self, event: request_response::Event<Vec<u8>, Vec<u8>>) {
        use request_response::{Event, Message};
        match event {
            Event::Message { peer, message: Message::Request { request, channel, .. }, .. } => {
                self.serve(peer, request, channel);
            }
            Event::Message { message: Message::Response { request_id, response }, .. } => {
                if let Some(reply) = self.requests.remove(&request_id) {
                    let _ = reply.send(Ok(response));
                }
            }
            Event::OutboundFailure { peer, request_id, error, .. } => {
                let after = self.config.request_timeout;
                let error = match error {
                    OutboundFailure::DialFailure => RequestError::NotConnected(peer),
                    OutboundFailure::ConnectionClosed => RequestError::Disconnected(peer),
                    OutboundFailure::Timeout => RequestError::Timeout { peer, after },
                    OutboundFailure::UnsupportedProtocols => RequestError::Unsupported(peer),
                    OutboundFailure::Io(e) if e.kind() == io::ErrorKind::InvalidData => {
                        self.penalise(peer, Penalty::BadResponse);
                        RequestError::BadResponse { peer, reason: e.to_string() }
                    }
                    OutboundFailure::Io(e) => RequestError::Stream { peer, reason: e.to_string() },
                };
                if let Some(reply) = self.requests.remove(&request_id) {
                    let _ = reply.send(Err(error));
                }
            }
            Event::InboundFailure { peer, error, .. } => {
                tracing::debug!(%peer, %error, "request.serve");
                if matches!(&error, InboundFailure::Io(e) if e.kind() == io::ErrorKind::InvalidData) {
                    self.penalise(peer, Penalty::BadRequest);
                }
            }
            Event::ResponseSent { .. } => {}
        }
    }

    /// Hands a request to the node's handler on a task of its own.
    fn serve(&mut self, peer: PeerId, request: Vec<u8>, channel: ResponseChannel<Vec<u8>>) {
        let Ok(permit) = Arc::clone(&self.serving).try_acquire_owned() else {
            let response = Response::Busy.encode().unwrap_or_default();
            self.answer(Answer { peer, channel, response, malformed: false });
            return;
        };
        let (handler, answers) = (Arc::clone(&self.handler), self.answers.0.clone());
        let time = self.config.request_timeout;
        tokio::spawn(async move {
            let (response, malformed) = match Request::decode(&request) {
                Ok(request) => {
                    let name = request.name();
                    let response = tokio::time::timeout(time, handler.handle(peer, request)).await;
                    let response = response.unwrap_or_else(|_| {
                        tracing::warn!(request = name, "request.handler_overdue");
                        Response::Busy
                    });
                    (response, false)
                }
                Err(error) => (Response::Refused(error.to_string()), true),
            };
            let name = response.name();
            let response = response.encode().unwrap_or_else(|error| {
                tracing::error!(response = name, %error, "request.response_too_large");
                Response::Refused(error.to_string()).encode().unwrap_or_default()
            });
            let _ = answers.send(Answer { peer, channel, response, malformed }).await;
            drop(permit);
        });
    }

    fn answer(&mut self, answer: Answer) {
        // The peer may have gone, or its time may be over: then nobody waits for it.
        let _ = self.swarm.behaviour_mut().requests.send_response(answer.channel, answer.response);
        if answer.malformed {
            self.penalise(answer.peer, Penalty::BadRequest);
        }
    }
}

fn publish(swarm: &mut Swarm<Behaviour>, config: &NetworkConfig, topic: Topic, bytes: Vec<u8>) -> Option<Vec<u8>> {
    use gossipsub::PublishError::{AllQueuesFull, Duplicate, NoPeersSubscribedToTopic};
    match swarm.behaviour_mut().gossip.publish(topic.ident(&config.chain), bytes.clone()) {
        Ok(_) | Err(Duplicate) => None,
        Err(NoPeersSubscribedToTopic | AllQueuesFull(_)) => Some(bytes),
        Err(error) => {
            tracing::error!(%topic, %error, "gossip.publish");
            None
        }
    }
}

/// Listens, and waits for the address with its port.
async fn listen(swarm: &mut Swarm<Behaviour>, address: &Multiaddr) -> Result<Multiaddr, NetworkError> {
    let failed = |reason: String| NetworkError::Listen { address: address.clone(), reason };
    // libp2p listens with SO_REUSEPORT, so a second node on the same port would start without an error and take half
    // of the first one's connections. A plain bind finds out.
    if let Some(socket) = socket_address(address)
        && let Err(e) = TcpListener::bind(socket)
    {
        return Err(match e.kind() {
            io::ErrorKind::AddrInUse => NetworkError::PortInUse { address: address.clone() },
            _ => failed(e.to_string()),
        });
    }
    let listener = swarm.listen_on(address.clone()).map_err(|e| failed(e.to_string()))?;
    let ready = async {
        loop {
            match swarm.select_next_some().await {
                SwarmEvent::NewListenAddr { listener_id, address } if listener_id == listener => return Ok(address),
                SwarmEvent::ListenerClosed { listener_id, reason, .. } if listener_id == listener => {
                    return Err(reason.err().map_or_else(|| "the listener closed".to_owned(), |e| e.to_string()));
                }
                _ => {}
            }
        }
    };
    match tokio::time::timeout(limits::LISTEN_TIMEOUT, ready).await {
        Ok(result) => result.map_err(failed),
        Err(_) => Err(failed(format!("no port within {:?}", limits::LISTEN_TIMEOUT))),
    }
}

fn socket_address(address: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = address.iter();
    let ip = match parts.next()? {
        Protocol::Ip4(ip) => IpAddr::V4(ip),
        Protocol::Ip6(ip) => IpAddr::V6(ip),
        _ => return None,
    };
    match parts.next()? {
        Protocol::Tcp(port) => Some(SocketAddr::new(ip, port)),
        _ => None,
    }
}
