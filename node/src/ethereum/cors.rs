//! Headers by which browsers let any page ask: what a page could do with them, every program on the machine can.

use jsonrpsee::server::{HttpBody, HttpRequest, HttpResponse};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use tower::layer::util::{Identity, Stack};
use tower::{Layer, Service, ServiceBuilder};

/// How long a browser may remember the answer to its question whether it may ask, in seconds.
const REMEMBERED: &str = "86400";

/// Adds the headers to a service.
#[derive(Clone, Copy, Debug)]
pub(super) struct AllowAnyOrigin;

/// The middleware.
pub(super) fn layer() -> ServiceBuilder<Stack<AllowAnyOrigin, Identity>> {
    ServiceBuilder::new().layer(AllowAnyOrigin)
}

impl<S> Layer<S> for AllowAnyOrigin {
    type Service = WithHeaders<S>;

    fn layer(&self, inner: S) -> WithHeaders<S> {
        WithHeaders(inner)
    }
}

/// A service whose answers have the headers.
#[derive(Clone, Debug)]
pub(super) struct WithHeaders<S>(S);

fn allow(response: &mut HttpResponse) {
    let headers = [
        ("access-control-allow-origin", "*"),
        ("access-control-allow-methods", "POST, GET, OPTIONS"),
        ("access-control-allow-headers", "content-type"),
        ("access-control-max-age", REMEMBERED),
    ];
    for (name, value) in headers {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    }
}

impl<S> Service<HttpRequest> for WithHeaders<S>
where
    S: Service<HttpRequest, Response = HttpResponse>,
    S::Error: Send + 'static,
    S::Future: Send + 'static,
{
    type Response = HttpResponse;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: HttpRequest) -> Self::Future {
        if request.method() == "OPTIONS" {
            let mut response = HttpResponse::new(HttpBody::empty());
            allow(&mut response);
            return Box::pin(std::future::ready(Ok(response)));
        }
        let answer = self.0.call(request);
        Box::pin(async move {
            let mut response = answer.await?;
            allow(&mut response);
            Ok(response)
        })
    }
}
