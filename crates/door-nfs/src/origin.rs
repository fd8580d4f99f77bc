//! Where a call came from.

use std::net::{IpAddr, SocketAddr};

/// Both ends of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    /// The address of this machine that it came to; unspecified for a datagram to a socket of all addresses.
    pub(crate) local: IpAddr,
}
