//! The clients that have locks: who they are, and which of them are in the store's list, to be notified when it is opened again.
//!
//! A client is an address with the name that it gives itself: hosts behind one address are told apart, and nobody from another
//! address is ever the same client. A row of the store's settings is written before the first lock of a client is granted, and
//! removed some minutes after its last one ended.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use strata_namespace::{Caller, Namespace, Op, Result};
use tokio::time::Instant;

use super::args::HOST_LEN_MAX;
use crate::config::NfsLimits;
use crate::operations::DOOR;
use crate::origin::Origin;
use crate::xdr::{Decoder, Encoder};

/// Settings of the store, a row per client; behind it the client's number.
const CLIENT_KEY: &str = "nfs/lock-client/";
/// The setting with the number of restarts that is sent to clients.
const STATE_KEY: &str = "nfs/restarts";
const FORMAT: u32 = 1;
/// Longest textual address, bytes.
const ADDRESS_LEN_MAX: usize = 64;
/// How long a client without locks stays known: most come again, and each time would be a durable commit.
pub(super) const IDLE: Duration = Duration::from_secs(600);

/// A client that had locks when it was last heard of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LockClient {
    /// Its number among the owners of holds (`HoldOwner::client`).
    pub number: u64,
    /// Its address.
    pub address: IpAddr,
    /// What it calls itself.
    pub name: String,
}

/// The two addresses of a client's connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Line {
    pub(crate) client: IpAddr,
    /// The address of this machine that it speaks to: clients take callbacks from there only. Unspecified where that is not known.
    pub(crate) local: IpAddr,
}

impl Line {
    pub(super) fn of(from: Origin) -> Self {
        Self { client: from.address.ip().to_canonical(), local: from.local.to_canonical() }
    }
}

struct Known {
    line: Line,
    name: Bytes,
    /// Whether its row is durable.
    kept: bool,
    /// Whether it is of an earlier start and still to be notified.
    past: bool,
    /// The number of restarts that it told when it restarted last.
    restarts: Option<u32>,
    /// When it asked for a lock last.
    asked: Instant,
}

/// See the module.
pub(crate) struct Clients {
    key: [u8; 32],
    max: usize,
    per_address_max: usize,
    /// Taken only on threads that may wait: it is held over commits.
    known: Mutex<HashMap<u64, Known>>,
}

/// The operation that reads and writes the list.
pub(super) fn op() -> Op {
    Op::of(Caller::root(&DOOR), crate::operations::of_lock_clients())
}

fn key_of(number: u64) -> String {
    format!("{CLIENT_KEY}{number:016x}")
}

impl Clients {
    /// The clients of earlier starts are known from the beginning.
    ///
    /// # Errors
    /// Reading the index.
    pub(crate) fn load(ns: &Namespace, secret: &[u8; 32], limits: &NfsLimits) -> Result<Self> {
        let mut known = HashMap::new();
        for (key, value) in ns.settings(&op(), CLIENT_KEY)? {
            let Some((number, line, name)) = read(&key, value) else {
                tracing::warn!(key, "a client that had locks cannot be read and is not notified");
                continue;
            };
            let client = Known { line, name, kept: true, past: true, restarts: None, asked: Instant::now() };
            known.insert(number, client);
        }
        Ok(Self {
            key: blake3::derive_key("strata nfs lock owners v1", secret),
            max: limits.lock_clients_max,
            per_address_max: limits.lock_clients_per_address_max,
            known: Mutex::new(known),
        })
    }

    /// A number for what the parts say. Nobody without the store's secret finds other parts with the same.
    fn number(&self, parts: &[&[u8]]) -> u64 {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        for part in parts {
            hasher.update(&(part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        let [a, b, c, d, e, f, g, h, ..] = *hasher.finalize().as_bytes();
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }

    /// The number of a client, whether it is known or not.
    pub(super) fn of(&self, address: IpAddr, name: &[u8]) -> u64 {
        self.number(&[b"client", address.to_string().as_bytes(), name])
    }

    /// The number of an owner within its client.
    pub(super) fn owner(&self, svid: u32, owner: &[u8]) -> u64 {
        self.number(&[b"owner", &svid.to_be_bytes(), owner])
    }

    /// A client is about to get a lock: durable when this returns. `None` where there are too many.
    ///
    /// # Errors
    /// Those of the store: nothing may be granted.
    pub(super) fn enter(&self, ns: &Namespace, line: Line, name: &Bytes) -> Result<Option<u64>> {
        let number = self.of(line.client, name);
        {
            let mut known = self.known.lock();
            if let Some(client) = known.get_mut(&number) {
                (client.line, client.asked) = (line, Instant::now());
                if client.kept {
                    return Ok(Some(number));
                }
            } else {
                let place = |line: &Line| strata_gate::client(line.client);
                let beside = known.values().filter(|other| place(&other.line) == place(&line)).count();
                if known.len() >= self.max || beside >= self.per_address_max {
                    return Ok(None);
                }
                let name = Bytes::copy_from_slice(name);
                let asked = Instant::now();
                known.insert(number, Known { line, name, kept: false, past: false, restarts: None, asked });
            }
        }
        let op = op();
        ns.put_setting(&op, &key_of(number), Some(&written(line, name)))?;
        ns.settle_blocking(&op)?;
        if let Some(client) = self.known.lock().get_mut(&number) {
            client.kept = true;
        }
        Ok(Some(number))
    }

    /// Whether anybody at this address had locks.
    pub(super) fn knows(&self, address: IpAddr) -> bool {
        self.known.lock().values().any(|client| client.line.client == address)
    }

    /// The clients at this address that a restart of the host of this name concerns, and that have not reported it before. Names are
    /// compared as hosts' are: with and without a domain. If no client has the name and there is only one, that one is meant.
    pub(super) fn restarted(&self, address: IpAddr, name: &[u8], restarts: u32) -> Vec<u64> {
        let mut known = self.known.lock();
        let mut here: Vec<_> = known.iter_mut().filter(|(_, client)| client.line.client == address).collect();
        if here.iter().any(|(_, client)| is_same_host(&client.name, name)) {
            here.retain(|(_, client)| is_same_host(&client.name, name));
        } else if here.len() > 1 {
            return Vec::new();
        }
        let news = here.into_iter().filter(|(_, client)| client.restarts != Some(restarts));
        news.map(|(number, client)| {
            client.restarts = Some(restarts);
            *number
        })
        .collect()
    }

    /// The clients of earlier starts that were not notified yet.
    pub(super) fn past(&self) -> Vec<(u64, Line)> {
        let known = self.known.lock();
        known.iter().filter(|(_, client)| client.past).map(|(number, client)| (*number, client.line)).collect()
    }

    /// The client was notified, or will not be.
    pub(super) fn notified(&self, number: u64) {
        if let Some(client) = self.known.lock().get_mut(&number) {
            client.past = false;
        }
    }

    /// Forgets clients without locks that have not asked for any for so long.
    pub(super) fn sweep(&self, ns: &Namespace, idle: Duration, is_idle: impl Fn(u64) -> bool) {
        // Held over the commits: a client that asks for a lock meanwhile is either known with its row, or not known.
        let mut known = self.known.lock();
        let op = op();
        known.retain(|number, client| {
            let goes = !client.past && client.asked.elapsed() >= idle && is_idle(*number);
            let row_went = goes
                && client.kept
                && match ns.put_setting(&op, &key_of(*number), None) {
                    Ok(()) => true,
                    Err(error) => {
                        tracing::debug!(%error, "a client without locks cannot be forgotten now");
                        false
                    }
                };
            !(row_went || goes && !client.kept)
        });
    }
}

/// The number of this start for those who are notified: odd, and larger than the one before. Durable when this returns.
pub(super) fn count_restart(ns: &Namespace) -> Result<u32> {
    let op = op();
    let before = ns.setting(&op, STATE_KEY)?.and_then(|value| Decoder::new(value.into()).u32().ok()).unwrap_or(1);
    // Some clients read the number as signed.
    let now = (before + 2) & (u32::MAX >> 1) | 1;
    ns.put_setting(&op, STATE_KEY, Some(&now.to_be_bytes()))?;
    ns.settle_blocking(&op)?;
    Ok(now)
}

/// The clients that have locks, or had them a short time ago: what the numbers among the owners of holds mean.
///
/// # Errors
/// Not permitted but for administrators; reading the index.
pub fn lock_clients(ns: &Namespace, op: &Op) -> Result<Vec<LockClient>> {
    let all = ns.settings(op, CLIENT_KEY)?.into_iter().filter_map(|(key, value)| read(&key, value));
    Ok(all
        .map(|(number, line, name)| LockClient {
            number,
            address: line.client,
            name: String::from_utf8_lossy(&name).into_owned(),
        })
        .collect())
}

fn written(line: Line, name: &[u8]) -> Vec<u8> {
    let mut out = Encoder::with_capacity(128);
    out.u32(FORMAT);
    out.opaque(line.client.to_string().as_bytes());
    out.opaque(line.local.to_string().as_bytes());
    out.opaque(name);
    out.into_vec()
}

fn read(key: &str, value: Vec<u8>) -> Option<(u64, Line, Bytes)> {
    let number = u64::from_str_radix(key.strip_prefix(CLIENT_KEY)?, 16).ok()?;
    let mut input = Decoder::new(value.into());
    let format = input.u32().ok()?;
    let mut address = || std::str::from_utf8(&input.opaque(ADDRESS_LEN_MAX).ok()?).ok()?.parse().ok();
    let line = Line { client: address()?, local: address()? };
    let name = input.opaque(HOST_LEN_MAX).ok()?;
    (format == FORMAT).then_some((number, line, name))
}

/// Whether two names are of one host: the same, or one is the other without its domain.
fn is_same_host(one: &[u8], other: &[u8]) -> bool {
    let (short, long) = if one.len() <= other.len() { (one, other) } else { (other, one) };
    let rest = long.get(short.len()..).unwrap_or_default();
    !short.is_empty()
        && long.get(..short.len()).is_some_and(|head| head.eq_ignore_ascii_case(short))
        && (rest.is_empty() || rest.starts_with(b".") && !short.contains(&b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_same_with_and_without_its_domain() {
        for (one, other, same) in [
            ("ws1", "ws1", true),
            ("WS1", "ws1.example.org", true),
            ("ws1.example.org", "ws1", true),
            ("ws1", "ws10", false),
            ("ws1.example", "ws1.example.org", false),
            ("", "ws1", false),
            ("ws1", "ws2", false),
        ] {
            assert_eq!(is_same_host(one.as_bytes(), other.as_bytes()), same, "{one} {other}");
        }
    }

    #[test]
    fn a_row_reads_back_and_whatever_else_is_there_does_not() {
        let line = Line { client: "10.0.0.7".parse().unwrap(), local: "fe80::1".parse().unwrap() };
        let value = written(line, b"host");
        assert_eq!(read(&key_of(7), value.clone()), Some((7, line, Bytes::from_static(b"host"))));
        for len in 0..value.len() {
            assert_eq!(read(&key_of(7), value[..len].to_vec()), None, "{len}");
        }
        assert_eq!(read("nfs/other", value), None);
    }
}
