//! From a call to its reply: picks the program.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::door::{ConnectionBudgets, NfsDoor, Places};
use crate::metrics::count;
use crate::rpc::{Call, Refusal, Reply};
use crate::{mount, nfs, nlm, nsm, portmap};

/// What a listener offers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Service {
    /// NFS, MOUNT, NLM, NSM and portmap.
    All,
    /// Only portmap, which tells this port for the others.
    Portmap {
        /// Where the others are served.
        nfs_port: u16,
    },
}

/// From where a call came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    /// The address of this machine that it came to; unspecified for a datagram to a socket of all addresses.
    pub(crate) local: IpAddr,
}

/// The other end of a connection, and what it may use.
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    /// The address of this machine that it speaks to.
    pub(crate) local: IpAddr,
    /// The port told to clients that ask portmap.
    pub(crate) nfs_port: u16,
    pub(crate) service: Service,
    pub(crate) budgets: ConnectionBudgets,
}

/// A reply with the room it takes until it was sent.
pub(crate) struct Answer {
    pub(crate) reply: Reply,
    pub(crate) _room: Places,
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        Self { reply, _room: Places::default() }
    }
}

/// Executes a call.
pub(crate) async fn dispatch(door: Arc<NfsDoor>, peer: Arc<Peer>, call: Call) -> Answer {
    let all = peer.service == Service::All;
    let (low, high) = match call.program {
        nfs::PROGRAM if all => (nfs::VERSION, nfs::VERSION),
        mount::PROGRAM if all => (mount::VERSION, mount::VERSION),
        nlm::PROGRAM if all => (nlm::VERSION, nlm::VERSION),
        nsm::PROGRAM if all => (nsm::VERSION, nsm::VERSION),
        portmap::PROGRAM => (portmap::VERSION, portmap::VERSION),
        _ => {
            count(&door.metrics().calls_unavailable);
            return Reply::refused(call.xid, Refusal::ProgramUnavailable).into();
        }
    };
    if call.version < low || call.version > high {
        count(&door.metrics().calls_unavailable);
        return Reply::refused(call.xid, Refusal::ProgramMismatch { low, high }).into();
    }
    let xid = call.xid;
    let metrics = Arc::clone(door.metrics());
    let result = match call.program {
        nfs::PROGRAM => nfs::call(door, &peer, call).await,
        nlm::PROGRAM => {
            let origin = Origin { address: peer.address, local: peer.local };
            nlm::call(door, origin, call).await.map(Answer::from)
        }
        nsm::PROGRAM => nsm::call(door, peer.address, call).await.map(Answer::from),
        mount::PROGRAM => mount::call(&door, &peer, &call).await.map(Answer::from),
        _ => portmap::call(&door, peer.nfs_port, !all, &call).map(Answer::from),
    };
    result.unwrap_or_else(|refusal| {
        count(match refusal {
            Refusal::GarbageArguments => &metrics.calls_garbage,
            _ => &metrics.calls_unavailable,
        });
        Reply::refused(xid, refusal).into()
    })
}
