//! The routes, and who may use them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;

use crate::metrics::{READY, Samples, Source};
use crate::{peer, render};

/// Most requests in progress; further ones get 503. Scrapes and health checks are few and short.
const IN_FLIGHT_MAX: usize = 32;
/// Longest a request may take.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(30);
/// Shortest token that is accepted, in bytes.
const TOKEN_LEN_MIN: usize = 16;

/// Whether the store serves requests as promised.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Readiness {
    /// Ready.
    Ready,
    /// Not ready, and why: starting, draining, write quorum lost.
    NotReady(String),
}

/// The bearer token of the JSON API. Not shown by `Debug`, compared in constant time.
#[derive(Clone)]
pub struct Token(Arc<[u8]>);

impl Token {
    /// `None` if it is too short to keep anybody out.
    #[must_use]
    pub fn new(secret: &str) -> Option<Self> {
        (secret.len() >= TOKEN_LEN_MIN).then(|| Self(Arc::from(secret.as_bytes())))
    }
    fn permits(&self, headers: &HeaderMap) -> bool {
        let given =
            headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| value.split_once(' '));
        given.is_some_and(|(scheme, secret)| {
            scheme.eq_ignore_ascii_case("bearer") && bool::from(secret.trim().as_bytes().ct_eq(&self.0))
        })
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

/// The sources from which the door answers.
#[derive(Clone)]
pub struct AdminDoor {
    ready: Arc<dyn Fn() -> Readiness + Send + Sync>,
    /// In JSON, already written out: the server decides what it contains.
    status: Arc<dyn Fn() -> serde_json::Result<Vec<u8>> + Send + Sync>,
    workers: Arc<dyn Fn() -> Readiness + Send + Sync>,
    sources: Vec<Arc<dyn Source>>,
    token: Option<Token>,
    in_flight: Arc<Semaphore>,
}

impl AdminDoor {
    /// A door with no metrics of its own but readiness. Without a token the JSON API is closed.
    ///
    /// `ready` and `status` are called on a blocking thread, once per request.
    #[must_use]
    pub fn new<S: Serialize>(
        ready: impl Fn() -> Readiness + Send + Sync + 'static,
        status: impl Fn() -> S + Send + Sync + 'static,
        token: Option<Token>,
    ) -> Self {
        let in_flight = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
        let status = move || serde_json::to_vec(&status());
        let workers = Arc::new(|| Readiness::Ready);
        Self { ready: Arc::new(ready), status: Arc::new(status), workers, sources: Vec::new(), token, in_flight }
    }

    /// With an answer to whether the background workers do what they are there for; called as `ready` is.
    #[must_use]
    pub fn with_workers(mut self, workers: impl Fn() -> Readiness + Send + Sync + 'static) -> Self {
        self.workers = Arc::new(workers);
        self
    }

    /// With one more source of metrics.
    #[must_use]
    pub fn with(mut self, source: Arc<dyn Source>) -> Self {
        self.sources.push(source);
        self
    }

    fn permits(&self, headers: &HeaderMap) -> bool {
        self.token.as_ref().is_some_and(|token| token.permits(headers))
    }
}

impl std::fmt::Debug for AdminDoor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AdminDoor")
            .field("sources", &self.sources.len())
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}

/// Every path of the door.
pub(crate) fn router(door: AdminDoor) -> Router {
    Router::new()
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .route("/health/workers", get(workers))
        .route("/metrics", get(scrape))
        // Where probes and dashboards made for other S3 stores look.
        .route("/minio/health/live", get(live))
        .route("/minio/health/ready", get(ready))
        .route("/minio/health/cluster", get(ready))
        .route("/metrics/storage-v2/health", get(ready))
        .route("/minio/v2/metrics/cluster", get(scrape_as_peer))
        .route("/minio/v2/metrics/node", get(scrape_as_peer))
        .route("/metrics/storage-v2", get(scrape_as_peer))
        .route("/v1/status", get(status))
        .layer(middleware::from_fn_with_state(door.clone(), limits))
        .layer(DefaultBodyLimit::max(0))
        .with_state(door)
}

async fn limits(State(door): State<AdminDoor>, request: Request, next: Next) -> Response {
    let Ok(_permit) = door.in_flight.try_acquire() else {
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            "too many administrative requests are in progress; try again in a moment\n",
        )
            .into_response();
    };
    match tokio::time::timeout(REQUEST_TIME_MAX, next.run(request)).await {
        Ok(mut reply) => {
            reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            reply
        }
        Err(_) => (StatusCode::GATEWAY_TIMEOUT, "the store did not answer in time\n").into_response(),
    }
}

/// Runs a closure of the server where it may block; a panic in it is a 500, not the end of the door.
async fn ask<T: Send + 'static>(question: impl FnOnce() -> T + Send + 'static) -> Result<T, Response> {
    strata_gate::bridge::wait(question).await.map_err(|error| {
        tracing::error!(%error, "an administrative request failed");
        (StatusCode::INTERNAL_SERVER_ERROR, "the server failed while working on this request\n").into_response()
    })
}

async fn live() -> &'static str {
    "live\n"
}

async fn ready(State(door): State<AdminDoor>) -> Result<Response, Response> {
    Ok(told(ask(move || (door.ready)()).await?, "ready\n"))
}

async fn workers(State(door): State<AdminDoor>) -> Result<Response, Response> {
    Ok(told(ask(move || (door.workers)()).await?, "well\n"))
}

fn told(readiness: Readiness, well: &'static str) -> Response {
    match readiness {
        Readiness::Ready => well.into_response(),
        Readiness::NotReady(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

/// The present numbers, for callers that may see them.
async fn collect(door: AdminDoor, peer: SocketAddr, headers: &HeaderMap) -> Result<Samples, Response> {
    if !peer.ip().to_canonical().is_loopback() && !door.permits(headers) {
        return Err(unauthorized());
    }
    ask(move || {
        let mut samples = Samples::default();
        samples.put(&READY, &[], u64::from((door.ready)() == Readiness::Ready));
        door.sources.iter().for_each(|source| source.collect(&mut samples));
        samples
    })
    .await
}

async fn scrape_as_peer(
    State(door): State<AdminDoor>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Result<Response, Response> {
    let text = peer::text(&collect(door, peer, &headers).await?);
    Ok(([(CONTENT_TYPE, peer::PROMETHEUS_TEXT)], text).into_response())
}

async fn scrape(
    State(door): State<AdminDoor>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Result<Response, Response> {
    let text = render::text(collect(door, peer, &headers).await?);
    let text = text.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())?;
    Ok(([(CONTENT_TYPE, render::OPENMETRICS)], text).into_response())
}

async fn status(State(door): State<AdminDoor>, headers: HeaderMap) -> Result<Response, Response> {
    if !door.permits(&headers) {
        return Err(unauthorized());
    }
    let status = ask(move || (door.status)()).await?.map_err(|error| {
        tracing::error!(%error, "the status cannot be written as JSON");
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    })?;
    Ok(([(CONTENT_TYPE, "application/json")], status).into_response())
}

fn unauthorized() -> Response {
    (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, "Bearer realm=\"strata\"")], "this needs the administration token\n")
        .into_response()
}
