//! What an operator can set about the door: plain data with checked limits.

use std::sync::Arc;
use std::time::Duration;

use strata_gate::{Budget, Pace, Shares};

use crate::host::Domains;

/// Memory for bodies unless told otherwise.
const BODY_BYTES_MAX: u64 = 64 << 20;
/// Memory for documents unless told otherwise.
const DOCUMENT_BYTES_MAX: usize = 32 << 20;

/// Settings of the door.
#[derive(Clone, Debug)]
pub struct S3Config {
    /// The region clients must sign for.
    pub region: String,
    /// Domains below which a bucket may be addressed as a host name (`bucket.domain`); none by default.
    pub domains: Vec<String>,
    /// Whether requests may be signed with Signature Version 2. Clients of today presign with it unless told otherwise.
    pub sigv2: bool,
    /// Most connections open at a time; further ones wait in the kernel's queue, and those of an address that has its share
    /// ([`strata_gate::Shares`]) are closed.
    pub connections_max: usize,
    /// Most requests worked on at a time; further ones are answered with `SlowDown`, and so are those of a user who has a
    /// share ([`strata_gate::Shares`]).
    pub in_flight_max: usize,
    /// How slow a client may be, in both directions.
    pub pace: Pace,
    /// Memory that bodies on their way in and out take beyond a small piece each.
    pub bodies: Arc<Budget>,
    /// Bytes of documents (lists, what a DeleteObjects names) held at a time, by uid; further ones are answered with `SlowDown`.
    pub documents: Arc<Shares<u32>>,
    /// How long requests may go on after a shutdown was asked for.
    pub drain: Duration,
}

impl Default for S3Config {
    fn default() -> Self {
        Self {
            region: "us-east-1".to_owned(),
            domains: Vec::new(),
            sigv2: true,
            connections_max: 1024,
            in_flight_max: 256,
            pace: Pace::default(),
            bodies: Budget::new(BODY_BYTES_MAX),
            documents: Shares::new(DOCUMENT_BYTES_MAX),
            drain: Duration::from_secs(20),
        }
    }
}

/// A setting that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum S3ConfigError {
    /// The region would break credential scopes.
    #[error("the S3 region {0:?} is not acceptable: use letters, digits and dashes")]
    Region(String),
    /// A limit of zero would serve nobody.
    #[error("the S3 limit {0} must be at least 1")]
    Limit(&'static str),
    /// A domain that is none.
    #[error("the S3 domains {0:?} are not acceptable: use distinct host names without a port")]
    Domains(Vec<String>),
}

impl S3Config {
    /// Whether a door can be made with it.
    ///
    /// # Errors
    /// The setting that cannot be used.
    pub fn check(&self) -> Result<(), S3ConfigError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if self.region.is_empty() || !self.region.chars().all(plain) {
            return Err(S3ConfigError::Region(self.region.clone()));
        }
        for (name, value) in [("connections_max", self.connections_max), ("in_flight_max", self.in_flight_max)] {
            if value == 0 {
                return Err(S3ConfigError::Limit(name));
            }
        }
        Domains::new(&self.domains).map(|_| ())
    }
}
