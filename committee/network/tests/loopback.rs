//! Several networks in one process, on loopback and free ports.

// Helpers outside #[test] functions too: a network that does not start is a failed test.
#![allow(clippy::unwrap_used)]

use async_trait::async_trait;
use parallax_network::{
    Handle, Incoming, Network, NetworkConfig, NetworkError, NetworkEvent, PeerId, Penalty, PublishError, Request,
    RequestError, RequestHandler, Response, SubscribeError, Topic, limits, peer_id_of,
};
use parallax_primitives::{ChainContext, Digest, ParaTimeId, SecretKey};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

const CHAIN: ChainContext = ChainContext(Digest([1; 32]));
const PARATIME: ParaTimeId = ParaTimeId([5; 32]);
const PATIENCE: Duration = Duration::from_secs(20);

/// Serves what the digest's first byte asks for.
struct Server;

const PRESENT: Digest = Digest([1; 32]);
const LARGE: Digest = Digest([2; 32]);
const TOO_LARGE: Digest = Digest([3; 32]);
const SLOW: Digest = Digest([4; 32]);
const WRONG_KIND: Digest = Digest([5; 32]);

#[async_trait]
impl RequestHandler for Server {
    async fn handle(&self, _: PeerId, request: Request) -> Response {
        match request {
            Request::Blob { digest } if digest == PRESENT => Response::Blob(vec![7; 3]),
            Request::Blob { digest } if digest == LARGE => Response::Blob(vec![9; 16 * 1024 * 1024]),
            Request::Blob { digest } if digest == TOO_LARGE => Response::Blob(vec![0; limits::MAX_RESPONSE_BYTES]),
            Request::Blob { digest } if digest == WRONG_KIND => Response::Keys(vec![]),
            Request::Blob { digest } if digest == SLOW => {
                sleep(Duration::from_secs(3600)).await;
                Response::NotFound
            }
            Request::Worker { body, .. } if body == [1] => Response::Worker(vec![1; 40 * 1024 * 1024]),
            _ => Response::NotFound,
        }
    }
}

type Events = mpsc::Receiver<NetworkEvent>;

fn config(seed: u8) -> NetworkConfig {
    NetworkConfig::new(CHAIN, SecretKey::from_seed([seed; 32]))
}

async fn start(config: NetworkConfig) -> (Handle, Events) {
    Network::spawn(config, Arc::new(Server)).await.expect("the network starts")
}

async fn join(seed: u8, to: &Handle) -> (Handle, Events) {
    start(NetworkConfig { bootstrap: vec![to.dial_addr()], ..config(seed) }).await
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what} takes more than {PATIENCE:?}"))
}

async fn peers(handle: &Handle, count: usize) {
    within("connecting", async {
        while handle.peers().await.len() != count {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

async fn pair() -> (Handle, Handle) {
    let (a, _) = start(config(1)).await;
    let (b, _) = join(2, &a).await;
    peers(&a, 1).await;
    peers(&b, 1).await;
    (a, b)
}

async fn next(receiver: &mut mpsc::Receiver<Incoming>) -> Incoming {
    within("a message", receiver.recv()).await.expect("the network runs")
}

#[tokio::test]
async fn gossip_reaches_every_node_once_also_those_that_the_publisher_does_not_know() {
    // A line: each node knows only the one before it.
    let (first, _) = start(config(1)).await;
    let mut nodes = vec![first];
    for seed in 2..=5 {
        let (node, _) = join(seed, nodes.last().unwrap()).await;
        nodes.push(node);
    }
    let mut inboxes = Vec::new();
    for node in &nodes[1..] {
        inboxes.push(node.subscribe(Topic::ConsensusTx).await.unwrap());
    }
    for (node, neighbours) in nodes.iter().zip([1, 2, 2, 2, 1]) {
        peers(node, neighbours).await;
    }
    nodes[0].publish(Topic::ConsensusTx, b"transfer".to_vec()).await.unwrap();
    nodes[0].publish(Topic::ConsensusTx, b"transfer".to_vec()).await.unwrap();
    for inbox in &mut inboxes {
        let message = next(inbox).await;
        assert_eq!(message.bytes, b"transfer");
        message.verdict.accept();
    }
    nodes[0].publish(Topic::ConsensusTx, b"second".to_vec()).await.unwrap();
    for inbox in &mut inboxes {
        let message = next(inbox).await;
        assert_eq!(message.bytes, b"second", "the first message came once");
        message.verdict.accept();
    }
}

#[tokio::test]
async fn a_message_published_before_any_peer_is_there_arrives_later() {
    let (a, _) = start(config(1)).await;
    a.publish(Topic::Proposal(PARATIME), b"early".to_vec()).await.unwrap();
    let (b, _) = start(config(2)).await;
    let mut inbox = b.subscribe(Topic::Proposal(PARATIME)).await.unwrap();
    b.connect(a.local_addr()).await.unwrap();
    assert_eq!(next(&mut inbox).await.bytes, b"early");
}

#[tokio::test]
async fn topics_and_paratimes_do_not_mix() {
    let (a, b) = pair().await;
    let mut one = b.subscribe(Topic::ParaTimeTx(PARATIME)).await.unwrap();
    let mut other = b.subscribe(Topic::ParaTimeTx(ParaTimeId([6; 32]))).await.unwrap();
    a.publish(Topic::ParaTimeTx(PARATIME), b"for one".to_vec()).await.unwrap();
    a.publish(Topic::ParaTimeTx(ParaTimeId([6; 32])), b"for the other".to_vec()).await.unwrap();
    assert_eq!(next(&mut one).await.bytes, b"for one");
    assert_eq!(next(&mut other).await.bytes, b"for the other");
    let again = b.subscribe(Topic::ParaTimeTx(PARATIME)).await;
    assert!(matches!(again, Err(SubscribeError::AlreadySubscribed(_))));
    drop(one);
    let mut renewed = b.subscribe(Topic::ParaTimeTx(PARATIME)).await.unwrap();
    a.publish(Topic::ParaTimeTx(PARATIME), b"after".to_vec()).await.unwrap();
    assert_eq!(next(&mut renewed).await.bytes, b"after");
}

#[tokio::test]
async fn a_peer_that_passes_on_invalid_messages_loses_points_and_is_shut_out() {
    let (a, mut events) = start(config(1)).await;
    let mut inbox = a.subscribe(Topic::ConsensusTx).await.unwrap();
    let (b, _) = join(2, &a).await;
    peers(&b, 1).await;
    peers(&a, 1).await;
    for n in 1..=4u8 {
        b.publish(Topic::ConsensusTx, vec![n]).await.unwrap();
        let message = next(&mut inbox).await;
        assert_eq!(message.peer, b.local_peer());
        message.verdict.reject();
        within("the penalty", async {
            while a.peers().await[0].points != 20 * u32::from(n) {
                sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    }
    a.penalise(b.local_peer(), Penalty::FalseContent).await;
    within("the ban", async {
        while events.recv().await != Some(NetworkEvent::Banned { peer: b.local_peer(), duration: limits::BAN_TIME }) {}
    })
    .await;
    peers(&a, 0).await;
    sleep(limits::MIN_BACKOFF * 4).await;
    assert!(a.peers().await.is_empty(), "it does not come back in at once");
}

#[tokio::test]
async fn a_rejected_message_does_not_travel_on_and_an_ignored_one_blames_nobody() {
    let (a, _) = start(config(1)).await;
    let (b, _) = join(2, &a).await;
    let (c, _) = join(3, &b).await;
    peers(&b, 2).await;
    let mut middle = b.subscribe(Topic::ConsensusTx).await.unwrap();
    let mut end = c.subscribe(Topic::ConsensusTx).await.unwrap();
    sleep(Duration::from_millis(300)).await;
    for bytes in [b"rejected".to_vec(), b"ignored".to_vec(), b"forgotten".to_vec(), b"good".to_vec()] {
        a.publish(Topic::ConsensusTx, bytes.clone()).await.unwrap();
        let message = next(&mut middle).await;
        assert_eq!(message.bytes, bytes);
        match bytes.as_slice() {
            b"rejected" => message.verdict.reject(),
            b"ignored" => message.verdict.ignore(),
            b"forgotten" => drop(message),
            _ => message.verdict.accept(),
        }
    }
    assert_eq!(next(&mut end).await.bytes, b"good");
    let points: Vec<u32> = b.peers().await.iter().filter(|p| p.peer == a.local_peer()).map(|p| p.points).collect();
    assert_eq!(points, [Penalty::InvalidMessage.points()], "for the rejected one alone");
}

#[tokio::test]
async fn an_oversize_message_is_refused_where_it_is_published() {
    let (a, _) = start(config(1)).await;
    let topic = Topic::Proposal(PARATIME);
    let error = a.publish(topic, vec![0; limits::MAX_PROPOSAL_MESSAGE + 1]).await.unwrap_err();
    assert_eq!(error, PublishError::TooLarge { topic, actual: limits::MAX_PROPOSAL_MESSAGE + 1 });
    assert!(error.to_string().contains("the limit is 32768"), "{error}");
    a.publish(topic, vec![0; limits::MAX_PROPOSAL_MESSAGE]).await.unwrap();
}

#[tokio::test]
async fn a_peer_of_another_chain_is_disconnected_and_named() {
    let (a, mut events) = start(config(1)).await;
    let other = ChainContext(Digest([2; 32]));
    let (b, mut theirs) = start(NetworkConfig { chain: other, bootstrap: vec![a.dial_addr()], ..config(2) }).await;
    for (events, expected) in [(&mut events, (b.local_peer(), other)), (&mut theirs, (a.local_peer(), CHAIN))] {
        let refused = within("the refusal", async {
            loop {
                match events.recv().await {
                    Some(NetworkEvent::OtherChain { peer, theirs }) => return (peer, theirs),
                    Some(NetworkEvent::Connected { peer, .. }) => panic!("{peer} was let in"),
                    _ => {}
                }
            }
        })
        .await;
        assert_eq!(refused, (expected.0, format!("/parallax/{}/1", expected.1)), "both sides are told");
    }
    sleep(Duration::from_millis(500)).await;
    assert!(a.peers().await.is_empty() && b.peers().await.is_empty());
    let error = a.request(b.local_peer(), Request::Blob { digest: PRESENT }).await.unwrap_err();
    assert_eq!(error, RequestError::NotConnected(b.local_peer()));
}

#[tokio::test]
async fn requests_are_answered_and_what_is_unknown_is_said_to_be() {
    let (a, b) = pair().await;
    let peer = b.local_peer();
    assert_eq!(a.request(peer, Request::Blob { digest: PRESENT }).await, Ok(Response::Blob(vec![7; 3])));
    assert_eq!(a.request(peer, Request::Blob { digest: Digest::ZERO }).await, Ok(Response::NotFound));
    let missing = Request::Worker { paratime: PARATIME, body: vec![2] };
    assert_eq!(a.request(peer, missing).await, Ok(Response::NotFound));
    let info = &a.peers().await[0];
    assert_eq!(info.key, Some(SecretKey::from_seed([2; 32]).public()));
    assert_eq!(peer_id_of(&info.key.unwrap()).unwrap(), peer, "a descriptor's key leads to the peer");
}

#[tokio::test]
async fn a_blob_of_16_mib_and_a_result_of_40_mib_arrive_whole() {
    let (a, b) = pair().await;
    let peer = b.local_peer();
    let blob = within("the blob", a.request(peer, Request::Blob { digest: LARGE })).await;
    assert_eq!(blob, Ok(Response::Blob(vec![9; 16 * 1024 * 1024])));
    let whole = within("the result", a.request(peer, Request::Worker { paratime: PARATIME, body: vec![1] })).await;
    assert!(matches!(whole, Ok(Response::Worker(body)) if body == vec![1; 40 * 1024 * 1024]));
}

#[tokio::test]
async fn oversize_and_unfitting_responses_are_refused() {
    let (a, b) = pair().await;
    let peer = b.local_peer();
    let refused = a.request(peer, Request::Blob { digest: TOO_LARGE }).await;
    assert!(matches!(&refused, Ok(Response::Refused(why)) if why.contains("the limit is")), "{refused:?}");
    let error = a.request(peer, Request::Blob { digest: WRONG_KIND }).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("peer {peer} gave a response that cannot be used: a keys response to a blob request")
    );
    assert_eq!(a.peers().await[0].points, Penalty::BadResponse.points());
    let request = Request::Decryption(vec![0; limits::MAX_REQUEST_BYTES]);
    assert!(matches!(a.request(peer, request).await, Err(RequestError::TooLarge { .. })));
    let many = Request::Blobs { digests: vec![PRESENT; limits::MAX_DIGESTS + 1] };
    assert!(matches!(a.request(peer, many).await, Ok(Response::Refused(_))));
    assert_eq!(b.peers().await[0].points, Penalty::BadRequest.points(), "no honest node sends that");
}

#[tokio::test]
async fn a_silent_peer_times_out() {
    let (a, _) = start(config(1)).await;
    let quick =
        NetworkConfig { bootstrap: vec![a.dial_addr()], request_timeout: Duration::from_millis(300), ..config(2) };
    let (b, _) = start(quick).await;
    peers(&b, 1).await;
    let error = b.request(a.local_peer(), Request::Blob { digest: SLOW }).await.unwrap_err();
    assert_eq!(error, RequestError::Timeout { peer: a.local_peer(), after: Duration::from_millis(300) });
    assert_eq!(b.request(a.local_peer(), Request::Blob { digest: PRESENT }).await, Ok(Response::Blob(vec![7; 3])));
}

#[tokio::test]
async fn a_dead_peer_fails_the_request_and_is_found_again_when_it_returns() {
    let (a, mut events) = start(config(1)).await;
    let (b, _) = start(config(2)).await;
    a.connect(b.dial_addr()).await.unwrap();
    peers(&a, 1).await;
    let (peer, address) = (b.local_peer(), b.local_addr());
    let asking = {
        let a = a.clone();
        tokio::spawn(async move { a.request(peer, Request::Blob { digest: SLOW }).await })
    };
    sleep(Duration::from_millis(200)).await;
    b.shutdown().await;
    assert_eq!(within("the failure", asking).await.unwrap(), Err(RequestError::Disconnected(peer)));
    peers(&a, 0).await;
    assert_eq!(a.request(peer, Request::Blob { digest: PRESENT }).await, Err(RequestError::NotConnected(peer)));
    let (again, _) = start(NetworkConfig { listen: address, ..config(2) }).await;
    peers(&a, 1).await;
    assert_eq!(a.request(again.local_peer(), Request::Blob { digest: PRESENT }).await, Ok(Response::Blob(vec![7; 3])));
    let mut seen = Vec::new();
    while let Ok(event) = events.try_recv() {
        seen.push(matches!(event, NetworkEvent::Connected { .. }));
    }
    assert_eq!(seen, [true, false, true], "connected, disconnected, connected");
}

#[tokio::test]
async fn a_node_may_have_its_own_address_and_a_dead_one_in_its_list() {
    let (a, _) = start(config(1)).await;
    let own: Vec<_> = vec![a.local_addr(), "/ip4/127.0.0.1/tcp/1".parse().unwrap()];
    for address in own {
        a.connect(address).await.unwrap();
    }
    let (b, _) = join(2, &a).await;
    peers(&a, 1).await;
    peers(&b, 1).await;
}

#[tokio::test]
async fn a_port_in_use_is_named_with_a_remedy() {
    let (a, _) = start(config(1)).await;
    let listen = a.local_addr();
    let taken = Network::spawn(NetworkConfig { listen: listen.clone(), ..config(2) }, Arc::new(Server)).await;
    let Err(error @ NetworkError::PortInUse { .. }) = taken else { panic!("a second node took the port") };
    assert!(error.to_string().starts_with(&format!("cannot listen on {listen}: the port is in use; stop")), "{error}");
    a.shutdown().await;
    let (b, _) = start(NetworkConfig { listen: listen.clone(), ..config(2) }).await;
    assert_eq!(b.local_addr(), listen, "after shutdown the port is free");
    let foreign = NetworkConfig { listen: "/ip4/192.0.2.1/tcp/0".parse().unwrap(), ..config(3) };
    let Err(error) = Network::spawn(foreign, Arc::new(Server)).await else { panic!("that is no address of ours") };
    assert!(matches!(error, NetworkError::Listen { .. }), "{error}");
}

#[tokio::test]
async fn after_shutdown_every_call_says_so() {
    let (a, _) = start(config(1)).await;
    a.shutdown().await;
    assert_eq!(a.publish(Topic::ConsensusTx, vec![1]).await, Err(PublishError::Stopped));
    assert!(matches!(a.subscribe(Topic::ConsensusTx).await, Err(SubscribeError::Stopped)));
    let error = a.request(a.local_peer(), Request::Blob { digest: PRESENT }).await;
    assert_eq!(error, Err(RequestError::Stopped));
    assert!(a.peers().await.is_empty());
}
