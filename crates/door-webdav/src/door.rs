//! The door as a value: the store behind it, its users and its limits. Each limit has a name and is checked where it is used.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use strata_gate::{Budget, Pace, Shares};
use strata_iam::Users;
use strata_namespace::Namespace;
use strata_seam::{Cidr, Entropy};
use tokio::sync::Semaphore;

use crate::metrics::DavMetrics;

/// Memory for bodies unless told otherwise.
const BODY_BYTES_MAX: u64 = 64 << 20;

/// Limits of the door.
#[derive(Clone, Debug)]
pub struct DavConfig {
    /// Most open connections; further ones wait in the listener's queue, and those of an address that has its share
    /// ([`strata_gate::Shares`]) are closed.
    pub connections_max: usize,
    /// Most requests in progress, reply bodies included; further ones get 503 with `Retry-After`, and so do
    /// those of a user who has a share of them already.
    pub in_flight_max: usize,
    /// Longest time to wait for a request's head, on a new connection and between requests.
    pub head_timeout: Duration,
    /// How slow a client may be, in both directions.
    pub pace: Pace,
    /// Memory that bodies on their way in and out take beyond a small piece each.
    pub bodies: Arc<Budget>,
    /// How long requests in progress may go on after a shutdown was asked for.
    pub drain_timeout: Duration,
    /// Host, and port if it has one, of the URL by which clients know the share where a proxy stands in between.
    pub url_authority: Option<String>,
    /// Proxies whose word counts about what clients call the share.
    pub trusted_proxies: Vec<Cidr>,
}

impl Default for DavConfig {
    fn default() -> Self {
        Self {
            connections_max: 1024,
            in_flight_max: 256,
            head_timeout: Duration::from_secs(60),
            pace: Pace::default(),
            bodies: Budget::new(BODY_BYTES_MAX),
            drain_timeout: Duration::from_secs(10),
            url_authority: None,
            trusted_proxies: Vec::new(),
        }
    }
}

/// The WebDAV door. Holds no state of its own: locks are the name space's.
pub struct WebDavDoor {
    pub(crate) ns: Arc<Namespace>,
    pub(crate) users: Arc<Users>,
    /// Draws the tokens of locks.
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) config: DavConfig,
    pub(crate) metrics: Arc<DavMetrics>,
    pub(crate) in_flight: Arc<Semaphore>,
    /// Requests in progress, by uid.
    pub(crate) by_user: Arc<Shares<u32>>,
    /// Requests of which it is not known yet whose they are, by address.
    pub(crate) strangers: Arc<Shares<IpAddr>>,
}

impl std::fmt::Debug for WebDavDoor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebDavDoor").field("config", &self.config).finish_non_exhaustive()
    }
}

impl WebDavDoor {
    /// A door over a name space and its users. `entropy` draws lock tokens.
    pub fn new(ns: Arc<Namespace>, users: Arc<Users>, entropy: Arc<dyn Entropy>, config: DavConfig) -> Arc<Self> {
        let in_flight = Arc::new(Semaphore::new(config.in_flight_max));
        let (by_user, strangers) = (Shares::new(config.in_flight_max), Shares::new(config.in_flight_max));
        Arc::new(Self { ns, users, entropy, config, metrics: Arc::default(), in_flight, by_user, strangers })
    }

    /// What the door counts.
    #[must_use]
    pub fn metrics(&self) -> &Arc<DavMetrics> {
        self.metrics.locks.store(self.ns.locks_held() as u64, std::sync::atomic::Ordering::Relaxed);
        &self.metrics
    }
}
