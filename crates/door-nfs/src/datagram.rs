//! Portmap over UDP: what `rpcinfo`, `showmount` and older kernels ask first; and notices of restarts, which Linux sends over UDP only.
//! Everything else stays on TCP.
//!
//! A datagram is answered only where an export rule admits its sender: replies are longer than calls, and addresses of
//! senders can be forged.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use tokio::net::UdpSocket;

use crate::door::NfsDoor;
use crate::metrics::count;
use crate::rpc::{Message, RECORD_MARK_LEN, Refusal, Reply};
use crate::{nsm, portmap};

/// Longest call in bytes: a header with the longest credentials, and four numbers.
const CALL_LEN_MAX: usize = 1024;

/// Answers portmap on `socket` (usually port 111), telling `nfs_port` to clients that ask, until `shutdown` resolves.
pub async fn serve_portmap_datagrams(
    socket: UdpSocket,
    door: Arc<NfsDoor>,
    nfs_port: u16,
    shutdown: impl Future<Output = ()>,
) {
    let mut buf = [0; CALL_LEN_MAX];
    tokio::pin!(shutdown);
    loop {
        let received = tokio::select! {
            () = &mut shutdown => return,
            received = socket.recv_from(&mut buf) => received,
        };
        // An error here is of an answer that was sent before (nobody listens there): the socket is as good as before.
        let Ok((len, sender)) = received else { continue };
        if !door.exports().admits(sender.ip().to_canonical()) {
            continue;
        }
        if let Some(reply) = answer(&door, nfs_port, sender, &buf[..len]).await
            && let Err(error) = socket.send_to(&reply.head[RECORD_MARK_LEN..], sender).await
        {
            tracing::debug!(client = %sender, error = %error, "a portmap answer could not be sent");
        }
    }
}

/// The answer to one datagram; `None` for what is no call.
async fn answer(door: &Arc<NfsDoor>, nfs_port: u16, sender: SocketAddr, datagram: &[u8]) -> Option<Reply> {
    let call = match Message::parse(Bytes::copy_from_slice(datagram)).ok()? {
        Message::Call(call) => call,
        Message::Denied { xid, denial } => {
            count(&door.metrics().calls_denied);
            return Some(Reply::denied(xid, denial));
        }
    };
    let xid = call.xid;
    let reply = match (call.program, call.version) {
        (nsm::PROGRAM, nsm::VERSION) => nsm::call(Arc::clone(door), sender, call).await,
        (nsm::PROGRAM, _) => Err(Refusal::ProgramMismatch { low: nsm::VERSION, high: nsm::VERSION }),
        (portmap::PROGRAM, portmap::VERSION) => portmap::call(door, nfs_port, true, &call),
        (portmap::PROGRAM, _) => Err(Refusal::ProgramMismatch { low: portmap::VERSION, high: portmap::VERSION }),
        _ => Err(Refusal::ProgramUnavailable),
    };
    Some(reply.unwrap_or_else(|refusal| {
        count(&door.metrics().calls_unavailable);
        Reply::refused(xid, refusal)
    }))
}
