//! The door over real connections: which client gets what, and that it stops when told.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use strata_door_admin::metrics::DOOR_REQUESTS;
use strata_door_admin::{AdminDoor, Readiness, Samples, Source, Token, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const SECRET: &str = "a token of decent length";

struct Requests;
impl Source for Requests {
    fn collect(&self, out: &mut Samples) {
        out.put(&DOOR_REQUESTS, &["webdav", "GET"], 42);
    }
}

struct Server {
    address: SocketAddr,
    ready: Arc<AtomicBool>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

async fn start() -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let ready = Arc::new(AtomicBool::new(true));
    let readiness = {
        let ready = ready.clone();
        move || {
            if ready.load(Ordering::Relaxed) {
                Readiness::Ready
            } else {
                Readiness::NotReady("write quorum lost".into())
            }
        }
    };
    let workers = {
        let ready = Arc::clone(&ready);
        move || match ready.load(Ordering::Relaxed) {
            true => Readiness::Ready,
            false => Readiness::NotReady("the mover fails\nthe sealer fails".into()),
        }
    };
    let status = || serde_json::json!({"version": "x"});
    let door = AdminDoor::new(readiness, status, Token::new(SECRET)).with_workers(workers).with(Arc::new(Requests));
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(serve(listener, door, async { drop(stopped.await) }));
    Server { address, ready, stop, task }
}

impl Server {
    async fn get(&self, path: &str, headers: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream
            .write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n").as_bytes())
            .await
            .unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.unwrap();
        reply
    }
}

#[tokio::test]
async fn health_needs_no_token_and_says_why_the_store_is_not_ready() {
    let server = start().await;
    assert!(server.get("/health/live", "").await.starts_with("HTTP/1.1 200"));
    assert!(server.get("/health/ready", "").await.starts_with("HTTP/1.1 200"));
    server.ready.store(false, Ordering::Relaxed);
    let reply = server.get("/health/ready", "").await;
    assert!(reply.starts_with("HTTP/1.1 503") && reply.ends_with("write quorum lost\n"), "{reply}");
}

#[tokio::test]
async fn health_of_the_workers_names_each_that_fails() {
    let server = start().await;
    let reply = server.get("/health/workers", "").await;
    assert!(reply.starts_with("HTTP/1.1 200") && reply.ends_with("well\n"), "{reply}");
    server.ready.store(false, Ordering::Relaxed);
    let reply = server.get("/health/workers", "").await;
    assert!(reply.starts_with("HTTP/1.1 503") && reply.ends_with("the mover fails\nthe sealer fails\n"), "{reply}");
}

#[tokio::test]
async fn a_scrape_from_loopback_gets_the_metrics_of_all_sources() {
    let reply = start().await.get("/metrics", "").await;
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    assert!(reply.contains("strata_door_requests_total{door=\"webdav\",method=\"GET\"} 42\n"), "{reply}");
    assert!(reply.contains("strata_ready 1\n"), "{reply}");
}

#[tokio::test]
async fn probes_and_dashboards_of_other_stores_find_what_they_ask_for() {
    let server = start().await;
    for path in ["/minio/v2/metrics/cluster", "/minio/v2/metrics/node", "/metrics/storage-v2"] {
        let reply = server.get(path, "").await;
        assert!(reply.contains("content-type: text/plain; version=0.0.4"), "{reply}");
        assert!(reply.contains("\nminio_cluster_health_status{server=\"strata\"} 1\n"), "{reply}");
    }
    server.ready.store(false, Ordering::Relaxed);
    assert!(server.get("/minio/health/live", "").await.starts_with("HTTP/1.1 200"));
    for path in ["/minio/health/ready", "/minio/health/cluster", "/metrics/storage-v2/health"] {
        assert!(server.get(path, "").await.starts_with("HTTP/1.1 503"), "{path}");
    }
}

#[tokio::test]
async fn the_status_is_given_to_the_holder_of_the_token_only() {
    let server = start().await;
    assert!(server.get("/v1/status", "").await.starts_with("HTTP/1.1 401"));
    assert!(server.get("/v1/status", "Authorization: Bearer wrong\r\n").await.starts_with("HTTP/1.1 401"));
    assert!(server.get("/v1/status", &format!("Authorization: Basic {SECRET}\r\n")).await.starts_with("HTTP/1.1 401"));
    let reply = server.get("/v1/status", &format!("Authorization: Bearer {SECRET}\r\n")).await;
    assert!(reply.starts_with("HTTP/1.1 200") && reply.ends_with("{\"version\":\"x\"}"), "{reply}");
}

#[test]
fn a_token_that_keeps_nobody_out_is_refused() {
    assert!(Token::new("").is_none());
    assert!(Token::new("short").is_none());
    assert!(!format!("{:?}", Token::new(SECRET)).contains(SECRET));
}

#[tokio::test]
async fn it_stops_when_told_although_a_connection_is_idle() {
    let server = start().await;
    let _idle = TcpStream::connect(server.address).await.unwrap();
    server.stop.send(()).unwrap();
    server.task.await.unwrap();
}

#[tokio::test]
async fn silent_clients_without_number_keep_nobody_from_an_answer() {
    let server = start().await;
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(TcpStream::connect(server.address).await.unwrap());
    }
    let answer = tokio::time::timeout(Duration::from_secs(5), server.get("/health/live", "")).await;
    assert!(answer.expect("an answer comes at once").starts_with("HTTP/1.1 200"));
    // All but a few of these connections were closed: they hold no descriptors of the process.
    let mut closed = 0;
    for mut stream in silent {
        let read = tokio::time::timeout(Duration::from_millis(20), stream.read(&mut [0; 1])).await;
        closed += u32::from(matches!(read, Ok(Ok(0) | Err(_))));
    }
    assert!(closed >= 300 - 64, "{closed} of 300 were closed");
}

#[tokio::test]
async fn a_client_that_never_finishes_its_request_is_let_go() {
    let server = start().await;
    let mut slow = TcpStream::connect(server.address).await.unwrap();
    slow.write_all(b"GET /health/live HTTP/1.1\r\nHost").await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(20), slow.read_to_end(&mut Vec::new())).await;
    assert!(ended.is_ok(), "it is still open after 20 s");
}
