//! Layer 7: the NFS version 3 door (RFC 1813) with MOUNT version 3, NLM version 4, NSM version 1 and portmap version 2 answers on the
//! same port.
//!
//! The wire structures of fixed size are `nfsserve`'s. Everything that has a length from the network is decoded
//! here, in `xdr`, because a length may be used only after it was compared with the number of bytes that arrived. The path of a request:
//! `record` cuts records out of the TCP stream, `rpc` reads the call header, `dispatch` picks the program, `nfs` runs a procedure
//! against the name space, `nlm` one for locks, and `connection` sends the replies in the order in which they are ready.
//!
//! Invariants of this crate:
//! * The door keeps no state the store depends on: the reply cache, the positions of listings, the mount list and who waits for a lock
//!   may be lost.
//! * No reply leaves before what it says is durable, except that of an unstable WRITE (invariants ACK and SEEN).
//! * A file handle is accepted only with a valid MAC, and only from a client its export admits; the export's squashing
//!   is applied to every single call.
//! * Memory is bounded by [`NfsLimits`] whatever clients send or fail to read (invariant BOUND).

mod attr;
mod config;
mod connection;
mod datagram;
mod dispatch;
mod door;
mod export;
mod handle;
mod metrics;
mod mount;
mod mount_list;
mod nfs;
mod nlm;
mod nsm;
mod operations;
mod origin;
mod outgoing;
mod peer;
mod portmap;
mod programs;
mod record;
mod reply_cache;
mod rpc;
mod server;
mod status;
mod universal;
mod xdr;

pub use config::{ConfigError, NfsConfig, NfsLimits, NfsLocks};
pub use datagram::serve_portmap_datagrams;
pub use door::NfsDoor;
pub use export::{Export, Squash};
pub use metrics::{NfsMetrics, PROCEDURES};
pub use nlm::{LockClient, lock_clients};
pub use operations::DOOR;
pub use server::{serve, serve_portmap};
