//! The routes, who may use them, and the server loop.

use std::future::IntoFuture;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use subtle::ConstantTimeEq;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use crate::metrics::{READY, Samples, Source};
use crate::render;

/// Most requests in progress; further ones get 503. Scrapes and health checks are few and short.
const IN_FLIGHT_MAX: usize = 32;
/// Longest a request may take.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(30);
/// How long requests in progress may go on after a shutdown was asked for.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(5);
/// Shortest token that is accepted, in bytes.
const TOKEN_LEN_MIN: usize = 16;

/// Whether the store serves requests as promised.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Readiness {
    /// It does.
    Ready,
    /// It does not, and why: starting, draining, write quorum lost.
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

/// What the door asks when it is asked.
#[derive(Clone)]
pub struct AdminDoor {
    ready: Arc<dyn Fn() -> Readiness + Send + Sync>,
    status: Arc<dyn Fn() -> serde_json::Value + Send + Sync>,
    sources: Vec<Arc<dyn Source>>,
    token: Option<Token>,
    in_flight: Arc<Semaphore>,
}

impl AdminDoor {
    /// A door with no metrics of its own but readiness. Without a token the JSON API is closed.
    ///
    /// `ready` and `status` are called on a blocking thread, once per request.
    #[must_use]
    pub fn new(
        ready: impl Fn() -> Readiness + Send + Sync + 'static,
        status: impl Fn() -> serde_json::Value + Send + Sync + 'static,
        token: Option<Token>,
    ) -> Self {
        let in_flight = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
        Self { ready: Arc::new(ready), status: Arc::new(status), sources: Vec::new(), token, in_flight }
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

/// Serves until `shutdown` resolves; then requests in progress have five seconds to finish.
///
/// # Errors
/// If the listener fails for good.
pub async fn serve(
    listener: TcpListener,
    door: AdminDoor,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let (stop, mut stopping) = watch::channel(false);
    let service = router(door).into_make_service_with_connect_info::<SocketAddr>();
    let graceful = async move {
        shutdown.await;
        let _ = stop.send(true);
    };
    let serving = axum::serve(listener, service).with_graceful_shutdown(graceful).into_future();
    let deadline = async {
        if stopping.wait_for(|stop| *stop).await.is_err() {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(DRAIN_TIME_MAX).await;
    };
    tokio::select! {
        ended = serving => ended,
        () = deadline => Ok(()),
    }
}

fn router(door: AdminDoor) -> Router {
    Router::new()
        .route("/health/live", get(|| async { "live\n" }))
        .route("/health/ready", get(ready))
        .route("/metrics", get(scrape))
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
    tokio::task::spawn_blocking(question).await.map_err(|error| {
        tracing::error!(%error, "an administrative request failed");
        (StatusCode::INTERNAL_SERVER_ERROR, "the server failed while working on this request\n").into_response()
    })
}

async fn ready(State(door): State<AdminDoor>) -> Result<Response, Response> {
    Ok(match ask(move || (door.ready)()).await? {
        Readiness::Ready => "ready\n".into_response(),
        Readiness::NotReady(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    })
}

async fn scrape(
    State(door): State<AdminDoor>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Result<Response, Response> {
    if !peer.ip().to_canonical().is_loopback() && !door.permits(&headers) {
        return Err(unauthorized());
    }
    let text = ask(move || {
        let mut samples = Samples::default();
        samples.put(&READY, &[], u64::from((door.ready)() == Readiness::Ready));
        door.sources.iter().for_each(|source| source.collect(&mut samples));
        render::text(samples)
    })
    .await?;
    let text = text.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())?;
    Ok(([(CONTENT_TYPE, render::OPENMETRICS)], text).into_response())
}

async fn status(State(door): State<AdminDoor>, headers: HeaderMap) -> Result<Response, Response> {
    if !door.permits(&headers) {
        return Err(unauthorized());
    }
    Ok(Json(ask(move || (door.status)()).await?).into_response())
}

fn unauthorized() -> Response {
    (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, "Bearer realm=\"strata\"")], "this needs the administration token\n")
        .into_response()
}
