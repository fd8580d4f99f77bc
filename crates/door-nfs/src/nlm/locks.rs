//! What the door keeps of locks.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use strata_namespace::{Caller, Namespace, Op};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use super::clients::Clients;
use super::waits::{Freed, Grant, Waits};
use crate::config::{NfsLimits, NfsLocks};
use crate::operations::{DOOR, LockOperation, of_lock};

/// All of it.
pub(crate) struct Locks {
    pub(super) settings: NfsLocks,
    pub(super) clients: Clients,
    /// Held over this and the name space's rows: releasing a lock and granting it to the next is one step. The name space never takes it, and it
    /// is taken only on threads that may wait.
    pub(super) waits: Mutex<Waits>,
    pub(super) freed: Arc<Freed>,
    /// Until then only what clients had is granted.
    pub(super) grace_ends: Option<Instant>,
    /// To the keeper. One per lock that is granted to one who waited, so as many at most as may wait.
    pub(super) granted: mpsc::UnboundedSender<Grant>,
    pub(super) grants: Mutex<Option<mpsc::UnboundedReceiver<Grant>>>,
    /// Places for calls to clients, by address and in all.
    pub(super) calls: Mutex<HashMap<IpAddr, Arc<Semaphore>>>,
    pub(super) calls_in_all: Arc<Semaphore>,
}

impl Locks {
    /// For a store that was just opened. If clients had locks before, they get time to ask for them again.
    ///
    /// # Errors
    /// Reading the list of clients.
    pub(crate) fn new(
        ns: &Namespace,
        secret: &[u8; 32],
        limits: &NfsLimits,
        settings: NfsLocks,
    ) -> strata_namespace::Result<Self> {
        let clients = Clients::load(ns, secret, limits)?;
        let grace_ends = (!clients.past().is_empty()).then(|| Instant::now() + settings.grace);
        let freed = Arc::new(Freed::default());
        let told = Arc::clone(&freed);
        ns.tell_of_ended_holds(move |ino| told.note(ino));
        let (granted, grants) = mpsc::unbounded_channel();
        Ok(Self {
            clients,
            waits: Mutex::new(Waits::new(Arc::clone(&freed))),
            freed,
            grace_ends,
            granted,
            grants: Mutex::new(Some(grants)),
            calls: Mutex::default(),
            calls_in_all: Arc::new(Semaphore::new(limits.lock_calls_max)),
            settings,
        })
    }

    /// Gives what is free on a file to those who wait for it.
    pub(super) fn grant(&self, ns: &Namespace, waits: &mut Waits, ino: strata_seam::Ino) {
        let mut grants = Vec::new();
        waits.grant(ns, &granting(), ino, &mut grants);
        // The keeper is gone only when the door is.
        grants.into_iter().for_each(|grant| drop(self.granted.send(grant)));
    }

    /// As [`Locks::grant`], on all files on which somebody other than a client released something.
    pub(super) fn grant_freed(&self, ns: &Namespace) {
        for ino in self.freed.take() {
            self.grant(ns, &mut self.waits.lock(), ino);
        }
    }
}

/// The operation that grants a lock to a request that waited: permission was checked when it began to wait.
pub(super) fn granting() -> Op {
    Op::of(Caller::root(&DOOR), of_lock(LockOperation::Lock))
}
