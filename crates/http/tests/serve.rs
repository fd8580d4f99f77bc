//! One connection over a socket: which requests are answered, and how it ends.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use strata_gate::{Ends, Pace, Seat, Seats, Serves, listen};
use strata_http::{Answers, Received, Terms, Waits, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Sends back the body of a request to `/echo`, and answers others without reading theirs, after a while.
#[derive(Default)]
struct Echo {
    arrived: AtomicUsize,
}

impl Serves for Echo {
    fn name(&self) -> &'static str {
        "echo"
    }
    async fn serve(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, seat: Arc<Seat>, ends: Ends) {
        let waits = Waits { head: Duration::from_secs(10), idle: None };
        let terms = Terms { door: "echo", head_len_max: 16 << 10, waits, pace: Pace::default() };
        serve(stream, peer, seat, ends, &terms, self).await;
    }
}

impl Answers for Echo {
    type Body = Full<Bytes>;

    async fn answer(&self, peer: SocketAddr, request: Request<Received>) -> Response<Full<Bytes>> {
        assert!(peer.ip().is_loopback());
        if request.uri().path() == "/echo" {
            let whole = request.body().whole();
            let body = request.into_body().collect().await.unwrap().to_bytes();
            assert!(whole.is_received());
            return Response::new(Full::new(body));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        Response::new(Full::new(Bytes::from_static(b"late")))
    }
    fn refusal(&self, status: StatusCode) -> Option<Response<Bytes>> {
        Some(Response::builder().status(status).body(Bytes::from_static(b"no request\n")).unwrap())
    }
    fn arrived(&self, bytes: &[u8]) {
        self.arrived.fetch_add(bytes.len(), Ordering::Relaxed);
    }
}

async fn begun() -> (Arc<Echo>, SocketAddr, oneshot::Sender<()>, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, door) = (listener.local_addr().unwrap(), Arc::new(Echo::default()));
    let (stop, stopped) = oneshot::channel();
    let shutdown = async { drop(stopped.await) };
    let served = listen(listener, Arc::clone(&door), Seats::new(8, 8), Duration::from_secs(5), shutdown);
    (door, address, stop, tokio::spawn(served))
}

async fn all(mut client: TcpStream) -> String {
    let mut text = String::new();
    client.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn a_client_that_ended_its_half_is_answered_whole_and_all_that_arrived_was_seen() {
    let (door, address, _stop, _served) = begun().await;
    let mut client = TcpStream::connect(address).await.unwrap();
    let request = b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\nGET /late HTTP/1.1\r\nhost: x\r\n\r\n";
    client.write_all(request).await.unwrap();
    client.shutdown().await.unwrap();
    let text = all(client).await;
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 2, "{text}");
    assert!(text.contains("\r\n\r\nab") && text.ends_with("\r\n\r\nlate"), "{text}");
    assert_eq!(door.arrived.load(Ordering::Relaxed), request.len());
}

#[tokio::test]
async fn an_answer_is_read_by_a_client_that_was_still_sending() {
    let (_door, address, _stop, _served) = begun().await;
    let mut client = TcpStream::connect(address).await.unwrap();
    let head = format!("POST /unread HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", 32 << 20);
    client.write_all(head.as_bytes()).await.unwrap();
    client.write_all(&vec![0; 32 << 20]).await.unwrap();
    let text = all(client).await;
    assert!(text.starts_with("HTTP/1.1 200 OK") && text.ends_with("late"), "{text}");
}

#[tokio::test]
async fn a_short_body_that_nobody_wanted_leaves_the_connection_open_and_a_longer_one_ends_it_as_the_answer_says() {
    let (_door, address, _stop, _served) = begun().await;
    let next = "GET /echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    for (headers, len, goes_on) in [("", 10_000, true), ("", 1 << 20, false), ("expect: 100-continue\r\n", 0, false)] {
        let mut client = TcpStream::connect(address).await.unwrap();
        let head = format!("POST /unread HTTP/1.1\r\nhost: x\r\n{headers}content-length: {}\r\n\r\n", len.max(1));
        client.write_all(head.as_bytes()).await.unwrap();
        client.write_all(&vec![0; len]).await.unwrap();
        client.write_all(next.as_bytes()).await.unwrap();
        let text = all(client).await;
        let (first, rest) = text.split_once("late").unwrap();
        assert_eq!(first.contains("connection: close"), !goes_on, "{len}: {text}");
        assert_eq!(rest.contains("HTTP/1.1 200"), goes_on, "{len}: {text}");
        assert!(!text.contains("100 Continue"), "{text}");
    }
}

#[tokio::test]
async fn a_head_that_is_none_is_answered_in_the_words_of_the_door_and_ends_the_connection() {
    let (_door, address, _stop, _served) = begun().await;
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(strata_http::HEADERS_MAX + 1));
    for (head, status) in [("nonsense\r\n\r\n", 400), (many.as_str(), 431)] {
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(head.as_bytes()).await.unwrap();
        client.shutdown().await.unwrap();
        let text = all(client).await;
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")) && text.ends_with("\r\n\r\nno request\n"), "{text}");
    }
}

#[tokio::test]
async fn at_the_end_a_request_under_way_is_answered_and_an_idle_connection_is_closed() {
    let (_door, address, stop, served) = begun().await;
    let idle = TcpStream::connect(address).await.unwrap();
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(b"GET /late HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    drop(stop);
    let text = all(client).await;
    assert!(text.contains("connection: close") && text.ends_with("late"), "{text}");
    assert_eq!(all(idle).await, "");
    served.await.unwrap();
}
