//! The caller of a request: the kernel sends user, group and process, but not the supplementary groups.
//!
//! The kernel has already checked mode bits with all groups (`default_permissions`). The name space checks again; when
//! it refuses, the groups are read from `/proc` and the call is made once more. Most callers never need them, so the
//! price is paid by those who do, and a cache of one second keeps it small. A cached answer can only grant what the
//! kernel granted to the same process before the call reached this door.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use strata_namespace::{Caller, ErrorKind, Namespace, Op, Result};
use strata_seam::Timestamp;

use crate::metrics::OpKind;
use crate::operations::DOOR;

/// Most processes whose groups are remembered.
const CACHE_MAX: usize = 1024;
/// How long groups are remembered, in nanoseconds.
const CACHE_NANOS: i64 = 1_000_000_000;

/// Identity as the kernel sends it with every request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Identity {
    /// File-system user id.
    pub(crate) uid: u32,
    /// File-system group id.
    pub(crate) gid: u32,
    /// Thread id in our process name space; zero if it cannot be seen from here.
    pub(crate) pid: u32,
    /// What it asks for.
    pub(crate) kind: OpKind,
}

impl Identity {
    /// Whose groups are remembered: whatever is asked for.
    fn process(self) -> Process {
        (self.uid, self.gid, self.pid)
    }
}

/// User, group and thread.
type Process = (u32, u32, u32);

/// When groups were read, and the groups.
type Remembered = (Timestamp, Arc<[u32]>);

/// Turns identities into callers.
pub(crate) struct Callers {
    none: Arc<[u32]>,
    known: Mutex<HashMap<Process, Remembered>>,
}

impl Callers {
    pub(crate) fn new() -> Self {
        Self { none: Arc::from([]), known: Mutex::new(HashMap::new()) }
    }

    /// A request without supplementary groups.
    pub(crate) fn op(&self, who: Identity) -> Op {
        Op::of(Caller::new(who.uid, who.gid, Arc::clone(&self.none), &DOOR), who.kind.row())
    }

    /// A request of the superuser, for what the door itself has to set right (set-id bits after a write).
    pub(crate) fn root_op(&self) -> Op {
        Op::new(Caller::new(0, 0, Arc::clone(&self.none), &DOOR))
    }

    /// A request with all groups, for calls whose outcome depends on them without being refused.
    pub(crate) fn full_op(&self, ns: &Namespace, who: Identity) -> Op {
        let groups = if who.uid == 0 { Arc::clone(&self.none) } else { self.groups(ns.now(), who) };
        Op::of(Caller::new(who.uid, who.gid, groups, &DOOR), who.kind.row())
    }

    /// Runs `call` without groups, and once more with them if it was refused for want of permission. Refused calls
    /// have changed nothing, so running twice is safe.
    pub(crate) fn run<T>(&self, ns: &Namespace, who: Identity, call: impl Fn(&Op) -> Result<T>) -> Result<T> {
        let first = call(&self.op(who));
        match &first {
            Err(e) if who.uid != 0 && matches!(e.kind, ErrorKind::AccessDenied | ErrorKind::NotPermitted) => {
                let op = self.full_op(ns, who);
                if op.caller.groups.is_empty() { first } else { call(&op) }
            }
            Ok(_) | Err(_) => first,
        }
    }

    fn groups(&self, now: Timestamp, who: Identity) -> Arc<[u32]> {
        if who.pid == 0 {
            return Arc::clone(&self.none);
        }
        if let Some((read_at, groups)) = self.known.lock().get(&who.process())
            && now.0.saturating_sub(read_at.0) < CACHE_NANOS
        {
            return Arc::clone(groups);
        }
        // Read without the lock: /proc may be slow.
        let groups: Arc<[u32]> = match std::fs::read_to_string(format!("/proc/{}/status", who.pid)) {
            Ok(status) => parse_groups(&status).into(),
            // The process is gone or hidden; its request is checked with its primary group alone.
            Err(_) => Arc::clone(&self.none),
        };
        let mut known = self.known.lock();
        if known.len() >= CACHE_MAX {
            known.retain(|_, (read_at, _)| now.0.saturating_sub(read_at.0) < CACHE_NANOS);
            if known.len() >= CACHE_MAX {
                known.clear();
            }
        }
        known.insert(who.process(), (now, Arc::clone(&groups)));
        groups
    }
}

/// The groups in the text of `/proc/<pid>/status`.
fn parse_groups(status: &str) -> Vec<u32> {
    status
        .lines()
        .find_map(|line| line.strip_prefix("Groups:"))
        .map(|list| list.split_ascii_whitespace().filter_map(|group| group.parse().ok()).collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_taken_from_their_line_of_the_status_file() {
        let status = "Name:\tGroups: 9\nUid:\t0\t0\t0\t0\nGroups:\t4 24 27 1000 \nNStgid:\t1\n";
        assert_eq!(parse_groups(status), [4, 24, 27, 1000]);
        assert_eq!(parse_groups("Name:\tx\nGroups:\t\n"), []);
        assert_eq!(parse_groups("Name:\tx\n"), []);
    }

    #[test]
    fn groups_of_a_process_are_remembered_for_a_second_only() {
        let callers = Callers::new();
        let who = Identity { uid: 1, gid: 1, pid: std::process::id(), kind: OpKind::Open };
        let first = callers.groups(Timestamp(0), who);
        assert!(Arc::ptr_eq(&first, &callers.groups(Timestamp(CACHE_NANOS - 1), who)));
        assert!(!Arc::ptr_eq(&first, &callers.groups(Timestamp(CACHE_NANOS), who)));
    }

    #[test]
    fn a_process_that_cannot_be_seen_has_no_supplementary_groups() {
        let callers = Callers::new();
        assert!(callers.groups(Timestamp(0), Identity { uid: 1, gid: 1, pid: 0, kind: OpKind::Open }).is_empty());
    }

    #[test]
    fn the_cache_stays_within_its_limit() {
        let callers = Callers::new();
        for pid in 0..CACHE_MAX as u32 + 10 {
            callers.groups(Timestamp(0), Identity { uid: 1, gid: 1, pid: 4_000_000 + pid, kind: OpKind::Open });
        }
        assert!(callers.known.lock().len() <= CACHE_MAX);
    }
}
