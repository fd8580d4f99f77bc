//! The loop of a door: accepts connections, within its seats, and at the end lets running requests end.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use strata_seam::{Said, Stopwatch};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::seats::{NoSeat, Seat, Seats};

/// Pause after an `accept` that failed: what fails it, no descriptors for example, does not pass at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What [`listen`] needs from a door.
pub trait Serves: Send + Sync + 'static {
    /// What it is called in the log.
    fn name(&self) -> &'static str;

    /// Whether a connection waits while there is a request on every seat. Else it is closed.
    fn waits(&self) -> bool {
        true
    }

    /// Called for each connection that was closed at once, for the door's metrics.
    fn refused(&self) {}

    /// Serves one connection to its end, which is soon after [`Ends::asked`]. One whose seat is given to another is dropped at
    /// any point between two requests.
    fn serve(
        self: Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        seat: Arc<Seat>,
        ends: Ends,
    ) -> impl Future<Output = ()> + Send + 'static;
}

/// Tells a connection that the door is closing.
#[derive(Clone, Debug)]
pub struct Ends(watch::Receiver<bool>);

impl Ends {
    /// Resolves when the connection is to take no further request.
    pub async fn asked(&mut self) {
        // If the sender is gone, so is the door.
        drop(self.0.wait_for(|ends| *ends).await);
    }

    /// Whether the connection is to take no further request.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        *self.0.borrow()
    }
}

/// Serves `door` on `listener` until `shutdown` resolves. Then no connection is accepted any more, what is under way goes on for
/// at most `drain`, and what is left after that is cut. A failing `accept` is logged and tried again.
pub async fn listen<D: Serves>(
    listener: TcpListener,
    door: Arc<D>,
    seats: Arc<Seats>,
    drain: Duration,
    shutdown: impl Future<Output = ()>,
) {
    let name = door.name();
    let (stop, stopped) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    let (mut said, begun) = (Said::default(), Stopwatch::start());
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = async {
            let (stream, peer) = listener.accept().await?;
            let address = peer.ip();
            let seat = if door.waits() { seats.take_when_one_is_free(address).await } else { seats.take(address) };
            Ok((stream, peer, seat))
        };
        let accepted: std::io::Result<(TcpStream, SocketAddr, Result<Arc<Seat>, NoSeat>)> = tokio::select! {
            () = &mut shutdown => break,
            accepted = accepted => accepted,
        };
        match accepted {
            Ok((stream, peer, Ok(seat))) => {
                // Otherwise the end of an answer waits for the client's delayed acknowledgement, 40 ms.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%peer, %error, "a connection cannot be set to send at once");
                }
                connections.spawn(connection(Arc::clone(&door), stream, peer, seat, Ends(stopped.clone())));
            }
            Ok((_, peer, Err(why))) => {
                door.refused();
                tracing::debug!(door = name, %peer, %why, "a connection was closed at once");
            }
            Err(error) => {
                if said.is_new(&error, begun.elapsed().as_nanos() as u64) {
                    tracing::warn!(door = name, %error, "connections cannot be accepted for now");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    stop.send_replace(true);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(drain, drained).await.is_err() {
        tracing::warn!(door = name, connections = connections.len(), "requests did not end in time and are cut off");
        connections.shutdown().await;
    }
}

async fn connection<D: Serves>(door: Arc<D>, stream: TcpStream, peer: SocketAddr, seat: Arc<Seat>, ends: Ends) {
    tokio::select! {
        // First, so that nothing more is read of a connection that is to leave.
        biased;
        () = seat.left() => {}
        () = door.serve(stream, peer, Arc::clone(&seat), ends) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpSocket;
    use tokio::sync::oneshot;

    /// Sends back each byte; a zero keeps it busy for ever.
    struct Echo(bool);

    impl Serves for Echo {
        fn name(&self) -> &'static str {
            "echo"
        }
        fn waits(&self) -> bool {
            self.0
        }
        async fn serve(self: Arc<Self>, mut stream: TcpStream, _: SocketAddr, seat: Arc<Seat>, mut ends: Ends) {
            loop {
                let byte = tokio::select! {
                    byte = stream.read_u8() => byte,
                    () = ends.asked() => return,
                };
                let Ok(byte) = byte else { return };
                let Some(_busy) = seat.busy() else { return };
                if byte == 0 {
                    std::future::pending::<()>().await;
                }
                stream.write_u8(byte).await.unwrap();
            }
        }
    }

    async fn begun(waits: bool) -> (SocketAddr, oneshot::Sender<()>, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let shutdown = async { drop(stopped.await) };
        let drain = Duration::from_millis(50);
        let seats = Seats::new(2, 2);
        (address, stop, tokio::spawn(listen(listener, Arc::new(Echo(waits)), seats, drain, shutdown)))
    }

    async fn ask(stream: &mut TcpStream, byte: u8) -> std::io::Result<u8> {
        stream.write_u8(byte).await?;
        stream.read_u8().await
    }

    #[tokio::test]
    async fn who_is_silent_makes_room_and_the_end_waits_for_what_is_under_way_for_the_drain_time() {
        let (address, stop, served) = begun(true).await;
        let mut clients = Vec::new();
        for byte in 1..5 {
            let mut client = TcpStream::connect(address).await.unwrap();
            assert_eq!(ask(&mut client, byte).await.unwrap(), byte);
            clients.push(client);
        }
        assert!(ask(&mut clients[0], 1).await.is_err(), "its seat was given to another");
        assert_eq!(ask(&mut clients[3], 7).await.unwrap(), 7);
        clients[3].write_u8(0).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        drop(stop);
        served.await.unwrap();
        assert!(clients[3].read_u8().await.is_err(), "cut off at the end of the drain time");
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn where_every_connection_is_busy_one_more_waits_or_is_closed() {
        for waits in [false, true] {
            let (address, stop, served) = begun(waits).await;
            let from = |last: u8| {
                let socket = TcpSocket::new_v4().unwrap();
                socket.bind(([127, 0, 0, last], 0).into()).unwrap();
                socket.connect(address)
            };
            let mut busy = [from(2).await.unwrap(), from(3).await.unwrap()];
            for client in &mut busy {
                client.write_u8(0).await.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            let mut one_more = from(4).await.unwrap();
            let read = tokio::time::timeout(Duration::from_millis(30), one_more.read_u8()).await;
            assert_eq!(read.is_err(), waits, "waits, or has come to its end");
            drop((busy, stop));
            served.await.unwrap();
        }
    }
}
