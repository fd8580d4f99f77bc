//! Settings of the door: plain data, checked when the door is made.

use std::fmt;
use std::time::Duration;

use strata_gate::Pace;

use crate::export::Export;

/// Largest READ and WRITE, bytes (`rtmax`, `wtmax`).
pub(crate) const TRANSFER_LEN_MAX: u32 = 1 << 20;
/// Room in a record for everything but a WRITE's data, bytes. The largest other arguments are SYMLINK's, about 5 KiB.
pub(crate) const RECORD_OVERHEAD_MAX: usize = 64 << 10;
/// Largest record from a client some export admits, bytes.
pub(crate) const RECORD_LEN_MAX: usize = TRANSFER_LEN_MAX as usize + RECORD_OVERHEAD_MAX;
/// Largest record from any other client, bytes: enough to be told that nothing is exported to it.
pub(crate) const STRANGER_RECORD_LEN_MAX: usize = 4 << 10;

/// What the server's configuration says about NFS.
#[derive(Clone)]
pub struct NfsConfig {
    /// Export rules, in order. Empty exports nothing.
    pub exports: Vec<Export>,
    /// Secret of the store, the same at every start: keys the MAC of file handles and the hash behind directory
    /// cookies. With another secret all handles clients hold turn invalid.
    pub handle_secret: [u8; 32],
    /// Bounds.
    pub limits: NfsLimits,
    /// Locks between clients.
    pub locks: NfsLocks,
}

/// What is said about locks between clients (NLM).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NfsLocks {
    /// How long after a start only locks are granted that clients had before it. Where no client had any, there is no such time.
    pub grace: Duration,
    /// The port of clients' portmappers.
    pub portmap_port: u16,
    /// How long a call to a client may take.
    pub call_timeout: Duration,
    /// How long it takes until a client that could not be called is called again.
    pub call_pause: Duration,
    /// The name of this host in notices of its restart to clients.
    pub server_name: String,
}

impl Default for NfsLocks {
    fn default() -> Self {
        Self {
            // As Linux' server: enough for its clients, which ask again at once when they are notified.
            grace: Duration::from_secs(50),
            portmap_port: 111,
            call_timeout: Duration::from_secs(5),
            call_pause: Duration::from_secs(10),
            server_name: "strata".to_owned(),
        }
    }
}

impl fmt::Debug for NfsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NfsConfig")
            .field("exports", &self.exports)
            .field("limits", &self.limits)
            .field("locks", &self.locks)
            .finish_non_exhaustive()
    }
}

/// Every bound of the door. Memory stays below roughly
/// `request_bytes_max + reply_bytes_max + requests_max * 64 KiB + reply_cache_bytes_max + cookie_cache_bytes_max +
/// lock_waits_max * 4 KiB + lock_holds_max * 64`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NfsLimits {
    /// Connections at one time; one more is closed at once.
    pub connections_max: usize,
    /// Connections of one client address at one time.
    pub connections_per_client_max: usize,
    /// Requests in work at one time, all connections together; beyond, reading pauses.
    pub requests_max: usize,
    /// Requests in work at one time on one connection.
    pub requests_per_connection_max: usize,
    /// Bytes of records being received or worked on, all connections together.
    pub request_bytes_max: usize,
    /// Bytes of records of one connection; at least the largest record. All connections of one address together have at most half of
    /// what the door has, here and below.
    pub request_bytes_per_connection_max: usize,
    /// Bytes of large replies (READ, READDIR) waiting for their client, all connections together.
    pub reply_bytes_max: usize,
    /// Bytes of large replies of one connection; at least the largest reply.
    pub reply_bytes_per_connection_max: usize,
    /// Replies kept for retransmitted calls.
    pub reply_cache_entries_max: usize,
    /// Bytes of replies kept for retransmitted calls.
    pub reply_cache_bytes_max: usize,
    /// How long a reply is kept.
    pub reply_cache_age_max: Duration,
    /// Bytes of directory positions kept to continue listings.
    pub cookie_cache_bytes_max: usize,
    /// Directories searched at one time for a position that is not kept any more; beyond, JUKEBOX.
    pub cookie_scans_max: usize,
    /// Entries of the list that MOUNT's DUMP answers.
    pub mount_list_max: usize,
    /// Locks of all clients together (NLM), and reservations (SHARE) as many again.
    pub lock_holds_max: usize,
    /// Most locks that one client may hold.
    pub lock_holds_per_client_max: usize,
    /// Locks that are waited for, of all clients together. Each takes up to 4 KiB.
    pub lock_waits_max: usize,
    /// Most requests of one client that may wait.
    pub lock_waits_per_client_max: usize,
    /// Clients with locks.
    pub lock_clients_max: usize,
    /// Clients with locks that have one address together.
    pub lock_clients_per_address_max: usize,
    /// Calls to clients at one time.
    pub lock_calls_max: usize,
    /// Calls to one address at one time.
    pub lock_calls_per_client_max: usize,
    /// A connection without any request for so long is closed.
    pub idle_timeout: Duration,
    /// How slow a client may be with a record it has begun and with replies it is sent; then its connection is closed.
    pub pace: Pace,
    /// How long requests in work may take to end at shutdown.
    pub drain_timeout: Duration,
}

impl Default for NfsLimits {
    fn default() -> Self {
        Self {
            connections_max: 1024,
            connections_per_client_max: 64,
            requests_max: 1024,
            requests_per_connection_max: 64,
            request_bytes_max: 128 << 20,
            request_bytes_per_connection_max: 16 << 20,
            reply_bytes_max: 128 << 20,
            reply_bytes_per_connection_max: 16 << 20,
            reply_cache_entries_max: 8192,
            reply_cache_bytes_max: 8 << 20,
            reply_cache_age_max: Duration::from_secs(120),
            cookie_cache_bytes_max: 16 << 20,
            cookie_scans_max: 4,
            mount_list_max: 1024,
            lock_holds_max: 32_768,
            lock_holds_per_client_max: 8_192,
            lock_waits_max: 1024,
            lock_waits_per_client_max: 128,
            lock_clients_max: 1024,
            lock_clients_per_address_max: 64,
            lock_calls_max: 64,
            lock_calls_per_client_max: 4,
            // As Linux' server: its clients reconnect on their own after six minutes of silence.
            idle_timeout: Duration::from_secs(360),
            pace: Pace::default(),
            drain_timeout: Duration::from_secs(10),
        }
    }
}

impl NfsLimits {
    /// Whether every request can make progress under these bounds.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let counts = [
            ("connections_max", self.connections_max, 1),
            ("connections_per_client_max", self.connections_per_client_max, 1),
            ("requests_max", self.requests_max, 1),
            ("requests_per_connection_max", self.requests_per_connection_max, 1),
            ("request_bytes_max", self.request_bytes_max, RECORD_LEN_MAX),
            ("request_bytes_per_connection_max", self.request_bytes_per_connection_max, RECORD_LEN_MAX),
            ("reply_bytes_max", self.reply_bytes_max, RECORD_LEN_MAX),
            ("reply_bytes_per_connection_max", self.reply_bytes_per_connection_max, RECORD_LEN_MAX),
            ("reply_cache_entries_max", self.reply_cache_entries_max, 1),
            ("cookie_scans_max", self.cookie_scans_max, 1),
            ("lock_calls_max", self.lock_calls_max, 1),
            ("lock_calls_per_client_max", self.lock_calls_per_client_max, 1),
        ];
        // The upper end is what the semaphores behind these bounds can count.
        const CEILING: usize = u32::MAX as usize >> 3;
        for (name, value, floor) in counts {
            if value < floor || value > CEILING {
                return Err(ConfigError::Limit { name, value, floor, ceiling: CEILING });
            }
        }
        Ok(())
    }
}

/// Why the door cannot be made from its settings.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConfigError {
    /// A path that is neither the tree nor a bucket.
    #[error("`{0}` cannot be exported; write `/` for the whole tree or `/name` for one folder at its top")]
    ExportPath(String),
    /// Two exported paths whose identities in file handles are the same.
    #[error("the exports `{0}` and `{1}` cannot be told apart in file handles; rename one of the buckets")]
    ExportIdClash(String, String),
    /// The clients that had locks cannot be read.
    #[error("the list of clients that had locks cannot be read: {0}")]
    LockClients(String),
    /// A bound under which nothing could run.
    #[error("nfs limit `{name}` is {value}; it must be between {floor} and {ceiling}")]
    Limit {
        /// Which.
        name: &'static str,
        /// Its value.
        value: usize,
        /// Smallest useful value.
        floor: usize,
        /// Largest value.
        ceiling: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        NfsLimits::default().check().unwrap();
    }

    #[test]
    fn a_budget_below_the_largest_record_is_refused() {
        let limits = NfsLimits { request_bytes_max: 4096, ..NfsLimits::default() };
        assert!(matches!(limits.check(), Err(ConfigError::Limit { name: "request_bytes_max", .. })));
    }

    #[test]
    fn the_secret_does_not_show_in_debug_output() {
        let config = NfsConfig {
            exports: Vec::new(),
            handle_secret: [0xa5; 32],
            limits: NfsLimits::default(),
            locks: NfsLocks::default(),
        };
        let shown = format!("{config:?}");
        assert!(!shown.contains("165") && !shown.contains("secret"), "{shown}");
    }
}
