//! Connections, served over HTTP/1.1.

use std::net::SocketAddr;
use std::sync::Arc;

use http::{Request, Response};
use strata_gate::{Ends, Seat, Seats, Serves, listen};
use strata_http::{Answers, Received, Terms, Waits};
use tokio::net::{TcpListener, TcpStream};

use crate::body::ReplyBody;
use crate::door::WebDavDoor;
use crate::front;
use crate::metrics::Raised;
use crate::request_line::RequestLine;

/// Largest request head in bytes; also how much of a body is read at a time.
const READ_BUFFER: usize = 256 * 1024;

/// Serves until `shutdown` resolves; then requests in progress have [`crate::DavConfig::drain_timeout`] to finish.
pub async fn serve(listener: TcpListener, door: Arc<WebDavDoor>, shutdown: impl Future<Output = ()> + Send) {
    let seats = Seats::new(door.config.connections_max, usize::MAX);
    let drain = door.config.drain_timeout;
    listen(listener, door, seats, drain, shutdown).await;
}

impl Serves for WebDavDoor {
    fn name(&self) -> &'static str {
        "webdav"
    }
    async fn serve(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, seat: Arc<Seat>, ends: Ends) {
        let _open = Raised::new(&self.metrics, |metrics| &metrics.connections);
        let waits = Waits { head: self.config.head_timeout, idle: None };
        let terms = Terms { door: self.name(), head_len_max: READ_BUFFER, waits, pace: self.config.pace };
        let connection = Connection { door: Arc::clone(&self), line: RequestLine::new() };
        strata_http::serve(stream, peer, seat, ends, &terms, Arc::new(connection)).await;
    }
}

/// One connection, of which the request lines are read along.
struct Connection {
    door: Arc<WebDavDoor>,
    line: RequestLine,
}

impl Answers for Connection {
    type Body = ReplyBody;

    async fn answer(&self, peer: SocketAddr, request: Request<Received>) -> Response<ReplyBody> {
        let fragment = self.line.had_fragment(request.method(), request.uri());
        let reply = front::handle(&self.door, request, peer.ip(), fragment).await;
        self.line.comes_next();
        reply
    }
    fn arrived(&self, bytes: &[u8]) {
        self.line.read_along(bytes);
    }
}
