//! How long a client is waited for, what answer it gets for a bad head, and how a connection ends.

use std::net::SocketAddr;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::Full;
use strata_gate::{LINGER_LEN_MAX, LINGER_TIMEOUT, Seats};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;
use crate::body::Received;

/// Answers nothing, and refuses heads with a document if told so.
struct Refuses(bool);

impl Answers for Refuses {
    type Body = Full<Bytes>;

    async fn answer(&self, _: SocketAddr, _: Request<Received>) -> Response<Full<Bytes>> {
        std::future::pending().await
    }
    fn refusal(&self, status: StatusCode) -> Option<Response<Bytes>> {
        let answer = Response::builder().status(status).header("content-type", "text/plain");
        self.0.then(|| answer.body(Bytes::from_static(b"no\n")).unwrap())
    }
}

type Near = Connection<DuplexStream, Refuses>;

fn connection_with(idle: Option<Duration>, refuses: bool) -> (Near, DuplexStream, Arc<Phase>) {
    let (server, client) = duplex(1 << 10);
    let phase = Phase::new(Seats::new(1, 1).take([127, 0, 0, 1].into()).unwrap());
    let waits = Waits { head: Duration::from_secs(10), idle };
    (Connection::new(server, Arc::clone(&phase), Arc::new(Refuses(refuses)), waits), client, phase)
}

fn connection() -> (Near, DuplexStream, Arc<Phase>) {
    connection_with(Some(Duration::from_secs(75)), false)
}

/// Seconds until a read ends without a byte.
async fn patience(connection: &mut Near) -> u64 {
    let began = Instant::now();
    assert_eq!(connection.read(&mut [0; 10]).await.unwrap(), 0);
    began.elapsed().as_secs()
}

#[tokio::test(start_paused = true)]
async fn a_head_and_an_idle_client_have_their_times() {
    let (mut connection, _client, _) = self::connection();
    assert_eq!(patience(&mut connection).await, 10);
    let (mut connection, _client, phase) = self::connection();
    drop(phase.busy());
    assert_eq!(patience(&mut connection).await, 75);
}

/// The patience with a client that sends the first byte of a head so long after its last request.
async fn patience_after_a_byte(idle: Option<Duration>, secs: u64) -> u64 {
    let (mut connection, mut client, phase) = connection_with(idle, false);
    drop(phase.busy());
    let sent = async {
        tokio::time::sleep(Duration::from_secs(secs)).await;
        client.write_all(b"G").await.unwrap();
    };
    let (first, ()) = tokio::join!(connection.read_u8(), sent);
    assert_eq!(first.unwrap(), b'G');
    patience(&mut connection).await
}

#[tokio::test(start_paused = true)]
async fn the_head_of_a_later_request_has_its_time_from_its_first_byte() {
    assert_eq!(patience_after_a_byte(Some(Duration::from_secs(75)), 40).await, 10);
}

#[tokio::test(start_paused = true)]
async fn without_a_time_for_idle_clients_a_head_has_its_time_from_the_request_before() {
    let (mut connection, _client, phase) = connection_with(None, false);
    drop(phase.busy());
    assert_eq!(patience(&mut connection).await, 10);
    assert_eq!(patience_after_a_byte(None, 4).await, 6);
}

/// Requests that come whole and are answered at once: nobody looks at the connection while one is worked on.
#[tokio::test(start_paused = true)]
async fn a_client_that_asks_again_and_again_is_not_idle_however_long_that_goes_on() {
    for (idle, wait) in [(Some(Duration::from_secs(75)), 60), (None, 8)] {
        let (mut connection, mut client, phase) = connection_with(idle, false);
        for _ in 0..10 {
            drop(phase.busy());
            let sent = async {
                tokio::time::sleep(Duration::from_secs(wait)).await;
                client.write_all(b"GET").await.unwrap();
            };
            let mut head = [0; 3];
            let (read, ()) = tokio::join!(connection.read(&mut head), sent);
            assert_eq!(read.unwrap(), 3, "the connection was ended");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_worked_for_is_not_timed() {
    let (mut connection, _client, phase) = self::connection();
    let _busy = phase.busy().unwrap();
    let waited = tokio::time::timeout(Duration::from_secs(1000), patience(&mut connection)).await;
    assert!(waited.is_err());
}

#[tokio::test(start_paused = true)]
async fn an_end_reads_on_only_where_the_client_may_still_be_sending() {
    let (mut connection, mut client, _) = self::connection();
    client.write_all(b"rest").await.unwrap();
    connection.shutdown().await.unwrap();
    for (len, silent) in [(100_000, false), (LINGER_LEN_MAX + (1 << 20), false), (10, true)] {
        let (mut connection, mut client, phase) = self::connection();
        phase.leaves_unread(true);
        let sending = tokio::spawn(async move {
            let sent = client.write_all(&vec![0; len]).await;
            if silent {
                tokio::time::sleep(Duration::from_secs(1000)).await;
            }
            sent.is_ok()
        });
        let began = Instant::now();
        connection.shutdown().await.unwrap();
        drop(connection);
        assert_eq!(began.elapsed() >= LINGER_TIMEOUT, silent);
        if !silent {
            assert_eq!(sending.await.unwrap(), len < LINGER_LEN_MAX, "{len}");
        }
    }
}

/// What a client gets where the library answers by itself.
async fn told(refuses: bool, busy: bool) -> String {
    let (mut connection, mut client, phase) = connection_with(None, refuses);
    let busy = busy.then(|| phase.busy().unwrap());
    connection.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    drop(busy);
    let ended = async {
        connection.shutdown().await.unwrap();
        drop(connection);
    };
    let mut text = String::new();
    // The client ends too, so that nothing more is waited for.
    let read = async {
        client.shutdown().await.unwrap();
        client.read_to_string(&mut text).await.unwrap();
    };
    tokio::join!(ended, read);
    text
}

#[tokio::test(start_paused = true)]
async fn a_head_that_the_library_refuses_is_answered_with_the_document_of_the_door_if_it_has_one() {
    let document =
        "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 3\r\ncontent-type: text/plain\r\n\r\nno\n";
    assert_eq!(told(true, false).await, document);
    let plain = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(told(false, false).await, plain);
    // While a request is being answered, what is written is the door's own answer.
    assert_eq!(told(true, true).await, plain);
}
