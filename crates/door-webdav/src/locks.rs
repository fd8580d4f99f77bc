//! Locks, as this door sees those of the name space: which ones cover a path, and what a refusal for one is.

use strata_namespace::{Error, ErrorKind, LockRecord, NewLock};
use strata_seam::Entropy;

use crate::ask::{Ask, Found};
use crate::error::{Refusal, Result};
use crate::path::{self, UrlPath};

/// Locks that cover a path, outermost first; where nothing is there, those that would cover what is made there.
///
/// # Errors
/// Whatever keeps the caller from knowing.
pub(crate) fn covering(ask: &Ask, path: &UrlPath) -> Result<Vec<LockRecord>> {
    if ask.ns().locks_held() == 0 {
        return Ok(Vec::new());
    }
    let mut at = path.clone();
    loop {
        match ask.look(&at)? {
            Found::Node(attr) => {
                let mut locks = ask.ns().locks_on(&ask.op, attr.ino)?;
                if at != *path {
                    locks.retain(|lock| lock.deep);
                }
                return Ok(locks);
            }
            _ if at.is_root() => return Ok(Vec::new()),
            _ => at = at.parent(),
        }
    }
}

/// Why a lock is not granted.
pub(crate) fn not_granted(error: Error) -> Refusal {
    if error.kind != ErrorKind::Locked {
        return error.into();
    }
    let refusal = Refusal::new(http::StatusCode::LOCKED, error.what).because("no-conflicting-lock");
    match error.lock {
        Some(root) => refusal.at(path::href(&root, false)),
        None => refusal,
    }
}

/// A lock that is asked for, with a token of its own: `urn:uuid:` with a random UUID (RFC 9562 version 4).
pub(crate) fn wanted(path: &UrlPath, entropy: &dyn Entropy) -> NewLock {
    let path = path.key().to_vec();
    NewLock { token: token(entropy), path, deep: false, shared: false, owner_xml: Vec::new(), seconds: None }
}

fn token(entropy: &dyn Entropy) -> String {
    let mut bytes = [0; 16];
    entropy.fill(&mut bytes);
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut out = String::from("urn:uuid:");
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            out.push('-');
        }
        out.push_str(&format!("{byte:02x}"));
    }
    out
}
