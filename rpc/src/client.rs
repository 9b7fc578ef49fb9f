//! A client that names the endpoint and the method in every error.

use crate::api::NodeApiClient as _;
use crate::limits;
use crate::types::Health;
use jsonrpsee::core::client::{BatchResponse, ClientT, Error};
use jsonrpsee::core::params::BatchRequestBuilder;
use jsonrpsee::core::traits::ToRpcParams;
use jsonrpsee::http_client::{HttpClient, HttpClientBuilder};
use serde::de::DeserializeOwned;
use std::fmt;
use std::time::Duration;

/// A connection to one node. Use it with the client traits of this crate:
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use parallax_rpc::{Client, NodeApiClient as _};
/// let client = Client::connect("http://127.0.0.1:8545").await?;
/// println!("height {}", client.status().await?.height);
/// # Ok(())
/// # }
/// ```
///
/// Two namespaces have methods of one name; where several traits are in scope, name the trait:
/// `ParaTimeApiClient::submit(&client, ...)`.
#[derive(Clone, Debug)]
pub struct Client {
    endpoint: String,
    inner: HttpClient,
}

/// A node could not be asked. A refusal by the node is no such error: it stays
/// [`Error::Call`](jsonrpsee::core::client::Error::Call).
#[derive(Debug, thiserror::Error)]
#[error("{endpoint} did not answer {method}: {reason}")]
pub struct EndpointError {
    /// The URL.
    pub endpoint: String,
    /// The method, `namespace_method`.
    pub method: String,
    /// The cause, with everything beneath it.
    pub reason: String,
}

impl Client {
    /// A client for the node at a URL such as `http://127.0.0.1:8545`. Sends nothing yet.
    ///
    /// # Errors
    /// If the URL cannot be used.
    pub fn new(url: &str) -> Result<Self, Error> {
        Self::with_timeout(url, limits::REQUEST_TIMEOUT)
    }

    /// Like [`Client::new`], with a limit of its own for each answer.
    ///
    /// # Errors
    /// If the URL cannot be used.
    pub fn with_timeout(url: &str, timeout: Duration) -> Result<Self, Error> {
        let inner = HttpClientBuilder::default()
            .max_request_size(limits::MAX_REQUEST_BYTES)
            .max_response_size(limits::MAX_RESPONSE_BYTES)
            .request_timeout(timeout)
            .connect_timeout(limits::CONNECT_TIMEOUT.min(timeout))
            .build(url)
            .map_err(|e| endpoint_error(url, "connect", &e))?;
        Ok(Self { endpoint: url.to_owned(), inner })
    }

    /// A client for a node that has answered once.
    ///
    /// # Errors
    /// If the URL cannot be used or the node does not answer; the text names it.
    pub async fn connect(url: &str) -> Result<Self, Error> {
        let client = Self::new(url)?;
        let _: Health = client.health().await?;
        Ok(client)
    }

    /// The URL.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    fn name(&self, method: &str, error: Error) -> Error {
        match error {
            refused @ Error::Call(_) => refused,
            other => endpoint_error(&self.endpoint, method, &other),
        }
    }
}

fn endpoint_error(endpoint: &str, method: &str, error: &Error) -> Error {
    let mut reason = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let text = cause.to_string();
        if !reason.contains(&text) {
            reason = format!("{reason}: {text}");
        }
        source = cause.source();
    }
    Error::Transport(Box::new(EndpointError { endpoint: endpoint.to_owned(), method: method.to_owned(), reason }))
}

impl ClientT for Client {
    async fn notification<Params>(&self, method: &str, params: Params) -> Result<(), Error>
    where
        Params: ToRpcParams + Send,
    {
        self.inner.notification(method, params).await.map_err(|e| self.name(method, e))
    }

    async fn request<R, Params>(&self, method: &str, params: Params) -> Result<R, Error>
    where
        R: DeserializeOwned,
        Params: ToRpcParams + Send,
    {
        self.inner.request(method, params).await.map_err(|e| self.name(method, e))
    }

    async fn batch_request<'a, R>(&self, batch: BatchRequestBuilder<'a>) -> Result<BatchResponse<'a, R>, Error>
    where
        R: DeserializeOwned + fmt::Debug + 'a,
    {
        self.inner.batch_request(batch).await.map_err(|e| self.name("batch", e))
    }
}
