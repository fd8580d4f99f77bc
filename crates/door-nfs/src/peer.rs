//! The two ends of a call: who calls, through which listener, and what goes back.

use std::net::{IpAddr, SocketAddr};

use crate::door::{ConnectionBudgets, Places};
use crate::rpc::Reply;

/// What a listener offers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Service {
    /// NFS, MOUNT, NLM, NSM and portmap.
    All,
    /// Only portmap, which returns this port for the others.
    Portmap {
        /// Where the others are served.
        nfs_port: u16,
    },
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
