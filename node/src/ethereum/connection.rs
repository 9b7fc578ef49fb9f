//! Connections, and what their clients have asked for and not read.
//!
//! A WebSocket lets a client ask without end and read nothing. The library takes each message as it comes, works on all of
//! them at once, and waits without end for a socket that takes no more. So here
//! - a connection whose answers the system takes no more is not read from until it does ([`Watched`]), and ends when that
//!   lasts for [`limits::PATIENCE`];
//! - the bytes of answers and notifications that a client has not read are counted ([`Backlog`]). From
//!   [`limits::MAX_UNREAD_BYTES`] on its subscriptions end, and further questions are refused before they are worked on,
//!   as all questions are when all clients together have [`limits::MAX_ALL_UNREAD_BYTES`].
//!
//! What is worked on when a limit is reached comes on top: at most [`limits::MAX_AT_ONCE`] answers. The count leaves out
//! what the library says to what is no request at all, and the headers of HTTP.

use super::{cors, limits, overloaded};
use hyper::body::Incoming;
use jsonrpsee::Extensions;
use jsonrpsee::core::BoxError;
use jsonrpsee::core::middleware::{Batch, Notification, RpcServiceT};
use jsonrpsee::server::middleware::rpc::RpcServiceBuilder;
use jsonrpsee::server::{
    HttpBody, HttpRequest, HttpResponse, MethodResponse, Methods, ServerBuilder, ServerConfig, ServerHandle,
    StopHandle, serve_with_graceful_shutdown, stop_channel,
};
use jsonrpsee::types::Request;
use parallax_evm::eth;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::time::Sleep;
use tower::{Layer, Service};

/// What all clients together have not read, in bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct Unread(Arc<AtomicUsize>);

/// What the client of one connection has not read. It is forgotten with the connection.
#[derive(Debug)]
pub(super) struct Backlog {
    bytes: AtomicUsize,
    all: Unread,
}

impl Backlog {
    fn new(all: Unread) -> Arc<Self> {
        Arc::new(Self { bytes: AtomicUsize::new(0), all })
    }

    /// That of the connection on which a question came.
    pub(super) fn of(extensions: &Extensions) -> Option<Arc<Self>> {
        extensions.get::<Arc<Self>>().cloned()
    }

    /// So many bytes wait for the client.
    pub(super) fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.all.0.fetch_add(bytes, Ordering::Relaxed);
    }

    /// So many wait no longer.
    pub(super) fn remove(&self, bytes: usize) {
        let less = |waiting: usize| Some(waiting.saturating_sub(bytes));
        let before = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).unwrap_or_default();
        self.all.0.fetch_sub(bytes.min(before), Ordering::Relaxed);
    }

    /// Whether there may be one answer more.
    ///
    /// # Errors
    /// If the client, or all together, should read first.
    pub(super) fn room(&self) -> Result<(), eth::Error> {
        let (own, all) = (self.bytes.load(Ordering::Relaxed), self.all.0.load(Ordering::Relaxed));
        if own >= limits::MAX_UNREAD_BYTES {
            return Err(overloaded(&format!(
                "{own} bytes of answers wait to be read on this connection; read them first"
            )));
        }
        if all >= limits::MAX_ALL_UNREAD_BYTES {
            return Err(overloaded(&format!("{all} bytes of answers wait for clients of this node; ask again later")));
        }
        Ok(())
    }
}

impl Drop for Backlog {
    fn drop(&mut self) {
        self.all.0.fetch_sub(*self.bytes.get_mut(), Ordering::Relaxed);
    }
}

/// A connection that is not read from while its client reads nothing.
struct Watched<S> {
    stream: S,
    backlog: Arc<Backlog>,
    patience: Duration,
    /// Since when the system takes no more: what ends the connection.
    stuck: Option<Pin<Box<Sleep>>>,
    /// Who wants to read as soon as it takes some.
    reader: Option<Waker>,
    ended: bool,
}

impl<S> Watched<S> {
    fn new(stream: S, backlog: Arc<Backlog>, patience: Duration) -> Self {
        Self { stream, backlog, patience, stuck: None, reader: None, ended: false }
    }

    fn wake_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    /// What a write came to, with the clock that runs while it cannot be done.
    fn wrote(&mut self, context: &mut Context<'_>, done: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match done {
            Poll::Ready(Ok(bytes)) => {
                self.backlog.remove(bytes);
                self.stuck = None;
                self.wake_reader();
                Poll::Ready(Ok(bytes))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                let patience = self.patience;
                let clock = self.stuck.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
                if clock.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
                self.ended = true;
                self.wake_reader();
                Poll::Ready(Err(gone()))
            }
        }
    }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the client does not read")
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(Err(gone()));
        }
        if this.stuck.is_some() {
            this.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        Pin::new(&mut this.stream).poll_read(context, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(Err(gone()));
        }
        let done = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.wrote(context, done)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(Err(gone()));
        }
        let done = Pin::new(&mut this.stream).poll_write_vectored(context, parts);
        this.wrote(context, done)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

/// Counts answers as they are made.
#[derive(Clone)]
pub(super) struct Count(Arc<Backlog>);

impl<S> Layer<S> for Count {
    type Service = Counting<S>;

    fn layer(&self, service: S) -> Counting<S> {
        Counting { service, backlog: Arc::clone(&self.0) }
    }
}

/// A service whose answers are counted.
#[derive(Clone)]
pub(super) struct Counting<S> {
    service: S,
    backlog: Arc<Backlog>,
}

/// Bytes of a message in a frame of a WebSocket, which a server sends without a mask.
pub(super) fn framed(bytes: usize) -> usize {
    let header = match bytes {
        0..=125 => 2,
        126..=65_535 => 4,
        _ => 10,
    };
    bytes.saturating_add(header)
}

impl<S> RpcServiceT for Counting<S>
where
    S: RpcServiceT<
            MethodResponse = MethodResponse,
            BatchResponse = MethodResponse,
            NotificationResponse = MethodResponse,
        > + Send
        + Sync
        + 'static,
{
    type MethodResponse = MethodResponse;
    type NotificationResponse = MethodResponse;
    type BatchResponse = MethodResponse;

    fn call<'a>(&self, request: Request<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        let (answer, backlog) = (self.service.call(request), Arc::clone(&self.backlog));
        async move {
            let answer = answer.await;
            backlog.add(framed(answer.as_json().get().len()));
            answer
        }
    }

    fn batch<'a>(&self, requests: Batch<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        let (answer, backlog) = (self.service.batch(requests), Arc::clone(&self.backlog));
        async move {
            let answer = answer.await;
            if answer.is_batch() {
                backlog.add(framed(answer.as_json().get().len()));
            }
            answer
        }
    }

    fn notification<'a>(&self, notification: Notification<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        self.service.notification(notification)
    }
}

/// What answers the requests of one connection.
#[derive(Clone)]
struct Entry<S> {
    server: S,
    backlog: Arc<Backlog>,
}

impl<S> Service<HttpRequest<Incoming>> for Entry<S>
where
    S: Service<HttpRequest, Response = HttpResponse, Error = BoxError>,
    S::Future: Send + 'static,
{
    type Response = HttpResponse;
    type Error = BoxError;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.server.poll_ready(context)
    }

    fn call(&mut self, request: HttpRequest<Incoming>) -> S::Future {
        let mut request = request.map(HttpBody::new);
        request.extensions_mut().insert(Arc::clone(&self.backlog));
        self.server.call(request)
    }
}

/// Serves until the handle is stopped or dropped.
pub(super) fn serve(
    listener: TcpListener,
    settings: ServerConfig,
    methods: impl Into<Methods>,
    unread: Unread,
    patience: Duration,
) -> ServerHandle {
    let (stop, handle) = stop_channel();
    tokio::spawn(accept(listener, settings, methods.into(), unread, patience, stop));
    handle
}

async fn accept(
    listener: TcpListener,
    settings: ServerConfig,
    methods: Methods,
    unread: Unread,
    patience: Duration,
    stop: StopHandle,
) {
    let server = ServerBuilder::with_config(settings).set_http_middleware(cors::layer()).to_service_builder();
    loop {
        let stream = tokio::select! {
            () = stop.clone().shutdown() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Too many open files, for example: that passes.
                    tracing::warn!(%error, "ethereum.not_accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        // Answers are short, and a client waits for each.
        if stream.set_nodelay(true).is_err() {
            continue;
        }
        let backlog = Backlog::new(unread.clone());
        let counted = RpcServiceBuilder::new().layer(Count(Arc::clone(&backlog)));
        let server = server.clone().set_rpc_middleware(counted).build(methods.clone(), stop.clone());
        let entry = Entry { server, backlog: Arc::clone(&backlog) };
        let (stream, stopped) = (Watched::new(stream, backlog, patience), stop.clone().shutdown());
        tokio::spawn(async move {
            if let Err(error) = serve_with_graceful_shutdown(stream, entry, stopped).await {
                tracing::debug!(%error, "ethereum.connection.ended");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::methods::on_wire;
    use super::*;
    use jsonrpsee::RpcModule;
    use jsonrpsee::core::client::ClientT as _;
    use jsonrpsee::http_client::HttpClientBuilder;
    use jsonrpsee::rpc_params;
    use jsonrpsee::types::ErrorObjectOwned;
    use jsonrpsee::ws_client::WsClientBuilder;
    use std::net::SocketAddr;
    use std::time::Instant;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    /// Characters of an answer that is asked for without end.
    const MUCH: usize = 256 * 1024;

    /// A server whose one method answers with as many characters as it is asked for.
    async fn start(patience: Duration) -> (SocketAddr, Unread, ServerHandle) {
        let mut module = RpcModule::new(());
        module
            .register_method("much", |params, (), extensions| {
                Backlog::of(extensions).expect("the connection has one").room().map_err(on_wire)?;
                Ok::<_, ErrorObjectOwned>("x".repeat(params.one()?))
            })
            .unwrap();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let (address, unread) = (listener.local_addr().unwrap(), Unread::default());
        let settings = ServerConfig::builder().max_response_body_size(limits::MAX_RESPONSE_BYTES).build();
        (address, unread.clone(), serve(listener, settings, module, unread, patience))
    }

    fn waiting(unread: &Unread) -> usize {
        unread.0.load(Ordering::Relaxed)
    }

    /// Waits until nothing is unread.
    async fn drained(unread: &Unread) {
        let begun = Instant::now();
        while waiting(unread) > 0 {
            assert!(begun.elapsed() < Duration::from_secs(30), "{} bytes stay", waiting(unread));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A WebSocket of a client that does with it what it likes.
    async fn socket(address: SocketAddr) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!(
            "GET / HTTP/1.1\r\nhost: {address}\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-version: \
             13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await.unwrap());
        }
        assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
        stream
    }

    /// A question in a frame, with a mask of zeros.
    fn question(characters: usize) -> Vec<u8> {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"much","params":[{characters}]}}"#);
        let length = u8::try_from(text.len()).unwrap();
        assert!(length < 126);
        [&[0x81, 0x80 | length, 0, 0, 0, 0], text.as_bytes()].concat()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn who_asks_and_never_reads_takes_a_bounded_part_of_memory_and_is_ended_while_others_are_served() {
        let (address, unread, _server) = start(Duration::from_millis(700)).await;
        let mut hostile = socket(address).await;
        // A gigabyte of answers.
        hostile.write_all(&question(MUCH).repeat(4_000)).await.unwrap();
        let others = HttpClientBuilder::default().build(format!("http://{address}")).unwrap();
        let (mut most, begun) = (0, Instant::now());
        loop {
            let answer: String = others.request("much", rpc_params![3]).await.unwrap();
            assert_eq!(answer, "xxx");
            most = most.max(waiting(&unread));
            if most > 0 && waiting(&unread) == 0 {
                break;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "{} bytes are kept for it", waiting(&unread));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // What was being worked on when the limit was reached comes on top.
        assert!(most < limits::MAX_UNREAD_BYTES + 16 * MUCH, "{most} bytes waited");
        assert!(most > MUCH, "the client was behind: {most}");
        // Its connection has ended: what the system had taken is there, and then nothing.
        let mut left = vec![0; 1 << 20];
        let ended = tokio::time::timeout(Duration::from_secs(30), async {
            while matches!(hostile.read(&mut left).await, Ok(read) if read > 0) {}
        });
        ended.await.expect("no more comes");
    }

    #[tokio::test]
    async fn who_reads_may_ask_for_more_than_the_limit_in_all() {
        let (address, unread, _server) = start(Duration::from_secs(30)).await;
        let web_socket = WsClientBuilder::default()
            .max_response_size(limits::MAX_RESPONSE_BYTES)
            .build(format!("ws://{address}"))
            .await
            .unwrap();
        let http = HttpClientBuilder::default()
            .max_response_size(limits::MAX_RESPONSE_BYTES)
            .build(format!("http://{address}"))
            .unwrap();
        let large = 8 << 20;
        for _ in 0..5 {
            let (one, other): (Result<String, _>, Result<String, _>) =
                tokio::join!(web_socket.request("much", rpc_params![large]), http.request("much", rpc_params![large]));
            assert_eq!((one.unwrap().len(), other.unwrap().len()), (large, large));
        }
        assert!(2 * 5 * large > limits::MAX_UNREAD_BYTES);
        drained(&unread).await;
    }

    #[test]
    fn a_client_that_is_far_behind_gets_no_answers_and_all_together_have_a_limit_too() {
        let all = Unread::default();
        let (one, other) = (Backlog::new(all.clone()), Backlog::new(all.clone()));
        one.add(limits::MAX_UNREAD_BYTES);
        let refused = one.room().unwrap_err();
        assert_eq!(refused.code, -32_005);
        assert!(refused.message.starts_with("limit exceeded: 67108864 bytes"), "{}", refused.message);
        assert_eq!(other.room(), Ok(()), "another one may ask");
        one.remove(1);
        assert_eq!(one.room(), Ok(()));
        other.remove(5);
        assert_eq!(waiting(&all), limits::MAX_UNREAD_BYTES - 1, "it had nothing to read");
        let many: Vec<_> = (0..8).map(|_| Backlog::new(all.clone())).collect();
        many.iter().for_each(|backlog| backlog.add(limits::MAX_UNREAD_BYTES - 1));
        assert!(other.room().unwrap_err().message.contains("clients of this node"));
        drop((one, many));
        assert_eq!((waiting(&all), other.room()), (0, Ok(())), "with a connection goes what was kept for it");
    }
}
