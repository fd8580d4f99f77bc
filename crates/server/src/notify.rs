//! Tells the service manager the state of the server, by the datagram protocol of sd_notify(3). Without a service manager it does
//! nothing.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Sends a state such as `READY=1`. A service manager that cannot be reached is logged and otherwise ignored: it will
/// see the process either way.
pub(crate) fn notify(state: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty()) else {
        return;
    };
    let send = || {
        let address = match path.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            name => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name))?,
        };
        UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address)
    };
    if let Err(error) = send() {
        tracing::warn!(%error, state, "the service manager was not told");
    }
}
