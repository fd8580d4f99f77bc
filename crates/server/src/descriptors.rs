//! How many files and connections the process may have open, and how they are divided.
//!
//! Invariant: the connections of all doors together leave the disks the descriptors that they need. A connection too many takes the
//! place of an idle one, waits or is refused by its door; no disk is ever set aside because clients hold all descriptors.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Kept for what is neither a disk's nor a client's: the index, the mount, sockets that listen, control connections,
/// folders that are listed.
const KEPT: u64 = 96;
/// Network doors with a limit of their own.
const DOORS: u64 = 3;
/// Most connections of one door.
pub(crate) const CONNECTIONS_MAX: u32 = 1024;
/// Fewest: with less a browser or a parallel upload is stuck.
const CONNECTIONS_MIN: u64 = 8;
/// Descriptors per segment file that a disk keeps open: one to read, one for durable writes, and room for those that are
/// being made, healed or moved.
const PER_FILE: u64 = 3;
/// Most segment files that a disk keeps open.
const FILES_MAX: u64 = 512;
/// Fewest.
const FILES_MIN: u64 = 4;

/// How many descriptors each part of the server may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Shares {
    /// Connections of one door.
    pub(crate) connections: usize,
    /// Segment files that one disk keeps open.
    pub(crate) files: usize,
}

/// Raises the process's own limit as far as it is allowed to.
pub(crate) fn raise() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(%error, current, maximum, "the limit of open files could not be raised");
    }
}

/// Divides the process's limit.
pub(crate) fn shares(disks: usize) -> Shares {
    divide(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX), disks)
}

/// Half to the doors, as far as they can use it, and the rest to the disks.
fn divide(limit: u64, disks: usize) -> Shares {
    let usable = limit.saturating_sub(KEPT);
    let least = disks as u64 * FILES_MIN * PER_FILE;
    let connections = (usable / 2).min(usable.saturating_sub(least)) / DOORS;
    let connections = connections.clamp(CONNECTIONS_MIN, CONNECTIONS_MAX.into());
    let left = usable.saturating_sub(connections * DOORS);
    let files = (left / PER_FILE / (disks as u64).max(1)).clamp(FILES_MIN, FILES_MAX);
    let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    Shares { connections: count(connections), files: count(files) }
}

/// Says so where the limit is too low for what is to be served, or for the connections that were asked for.
pub(crate) fn warn_if_short(disks: usize, asked: Option<usize>) {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let needed = needed(disks);
    if limit < needed {
        tracing::warn!(
            limit,
            needed,
            "the limit of open files is low: clients may be refused; raise it (LimitNOFILE, ulimit -n)"
        );
    }
    let most = divide(limit, disks).connections;
    if let Some(asked) = asked.filter(|asked| *asked > most) {
        tracing::warn!(
            limit,
            asked,
            most,
            "fewer connections are taken than were set, because the limit of open files is low; raise it (LimitNOFILE, ulimit -n)"
        );
    } else if asked.is_none() && most < CONNECTIONS_MAX as usize {
        tracing::info!(
            limit,
            connections = most,
            "the limit of open files is low: each door takes only this many connections"
        );
    }
}

fn needed(disks: usize) -> u64 {
    KEPT + DOORS * CONNECTIONS_MIN + disks as u64 * FILES_MIN * PER_FILE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doors_and_disks_together_never_take_more_than_there_is() {
        for disks in [1, 6, 20, 60] {
            for limit in (needed(disks)..4096).chain([65_536, 1 << 20, u64::MAX]) {
                let Shares { connections, files } = divide(limit, disks);
                let taken = KEPT + DOORS * connections as u64 + disks as u64 * files as u64 * PER_FILE;
                assert!(taken <= limit, "{taken} of {limit} with {disks} disks");
            }
        }
        assert_eq!(divide(u64::MAX, 6), Shares { connections: 1024, files: 512 });
        assert_eq!(divide(0, 6), Shares { connections: 8, files: 4 });
    }
}
