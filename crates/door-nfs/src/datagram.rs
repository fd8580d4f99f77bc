//! Portmap over UDP: what `rpcinfo`, `showmount` and older kernels ask first; and what clients send over UDP only: locks from macOS, notices
//! of restarts from Linux. NFS and MOUNT stay on TCP.
//!
//! A datagram is answered only where an export rule admits its sender: replies are longer than calls, and addresses of
//! senders can be forged. Calls that may wait run beside the others, up to a limit; calls beyond it are dropped, and clients send them again.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use tokio::net::UdpSocket;
use tokio::sync::Semaphore;

use crate::door::NfsDoor;
use crate::metrics::count;
use crate::origin::Origin;
use crate::rpc::{Call, Message, RECORD_MARK_LEN, Refusal, Reply};
use crate::universal::UDP;
use crate::{nlm, nsm, portmap};

/// Longest call in bytes: a header with the longest credentials, and a lock with a handle and an owner of usual lengths.
const CALL_LEN_MAX: usize = 2048;
/// Calls of locks and of restarts in work at one time.
const WAITING_MAX: usize = 64;

/// Answers portmap, locks and restarts on `socket` (usually port 111), telling `nfs_port` to clients that ask, until `shutdown` resolves.
pub async fn serve_portmap_datagrams(
    socket: UdpSocket,
    door: Arc<NfsDoor>,
    nfs_port: u16,
    shutdown: impl Future<Output = ()>,
) {
    let (socket, waiting) = (Arc::new(socket), Arc::new(Semaphore::new(WAITING_MAX)));
    let Ok(local) = socket.local_addr() else { return };
    let mut buf = [0; CALL_LEN_MAX];
    tokio::pin!(shutdown);
    loop {
        let received = tokio::select! {
            () = &mut shutdown => return,
            received = socket.recv_from(&mut buf) => received,
        };
        // The error belongs to an answer that was sent before (nobody listens there): the socket is as good as before.
        let Ok((len, sender)) = received else { continue };
        if !door.exports().admits(sender.ip().to_canonical()) {
            continue;
        }
        let reply = match Message::parse(Bytes::copy_from_slice(&buf[..len])) {
            Err(_) => continue,
            Ok(Message::Denied { xid, denial }) => {
                count(&door.metrics().calls_denied);
                Reply::denied(xid, denial)
            }
            Ok(Message::Call(call)) if matches!(call.program, nlm::PROGRAM | nsm::PROGRAM) => {
                let Ok(place) = Arc::clone(&waiting).try_acquire_owned() else { continue };
                let (door, socket) = (Arc::clone(&door), Arc::clone(&socket));
                tokio::spawn(async move {
                    let reply = answer(&door, Origin { address: sender, local: local.ip() }, call).await;
                    send(&socket, sender, &reply).await;
                    drop(place);
                });
                continue;
            }
            Ok(Message::Call(call)) => {
                let local = if local.ip().is_unspecified() { local_towards(sender) } else { local.ip() };
                let place = portmap::Place { local, protocol: UDP, nfs_port, registry: true };
                portmapped(&door, place, &call)
            }
        };
        send(&socket, sender, &reply).await;
    }
}

async fn send(socket: &UdpSocket, to: SocketAddr, reply: &Reply) {
    if let Err(error) = socket.send_to(&reply.head[RECORD_MARK_LEN..], to).await {
        tracing::debug!(client = %to, error = %error, "an answer could not be sent");
    }
}

/// The address of this machine from which a datagram goes there, as an answer does from a socket of all addresses. The unspecified one
/// where there is no way.
fn local_towards(sender: SocketAddr) -> IpAddr {
    let any = if sender.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
    let asked = std::net::UdpSocket::bind((any, 0)).and_then(|socket| {
        // This sends nothing.
        socket.connect(sender)?;
        socket.local_addr()
    });
    asked.map_or(any, |local| local.ip())
}

fn portmapped(door: &NfsDoor, place: portmap::Place, call: &Call) -> Reply {
    let reply = match (call.program, call.version) {
        (portmap::PROGRAM, portmap::VERSION..=portmap::VERSION_LAST) => portmap::call(door, place, call),
        (portmap::PROGRAM, _) => Err(Refusal::ProgramMismatch { low: portmap::VERSION, high: portmap::VERSION_LAST }),
        _ => Err(Refusal::ProgramUnavailable),
    };
    or_refused(door, call.xid, reply)
}

/// Executes a call of locks or of restarts. A reply that is repeated is put together anew: a datagram is one piece.
async fn answer(door: &Arc<NfsDoor>, from: Origin, call: Call) -> Reply {
    let xid = call.xid;
    let reply = match (call.program, call.version) {
        (nlm::PROGRAM, nlm::VERSION) => nlm::call(Arc::clone(door), from, call).await,
        (nlm::PROGRAM, _) => Err(Refusal::ProgramMismatch { low: nlm::VERSION, high: nlm::VERSION }),
        (_, nsm::VERSION) => nsm::call(Arc::clone(door), from.address, call).await,
        _ => Err(Refusal::ProgramMismatch { low: nsm::VERSION, high: nsm::VERSION }),
    };
    or_refused(door, xid, reply).joined()
}

fn or_refused(door: &NfsDoor, xid: u32, reply: Result<Reply, Refusal>) -> Reply {
    reply.unwrap_or_else(|refusal| {
        count(&door.metrics().calls_unavailable);
        Reply::refused(xid, refusal)
    })
}
