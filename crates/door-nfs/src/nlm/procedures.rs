//! The procedures of NLM against the name space. All of them run on threads that may wait.
//!
//! Which locks are held is the name space's matter, which requests wait is this door's. One mutex is held over both, so that a released
//! lock goes to the request that has waited longest, and to none that comes in between.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use strata_namespace::{Error, ErrorKind, HeldRange, HoldOwner, Op, RangeKind, RangeSpace};
use strata_seam::Ino;
use tokio::time::Instant;

use super::args::{Answered, Lock, Request, Share, Stat};
use super::clients::Line;
use super::locks::{Locks, granting};
use crate::door::NfsDoor;
use crate::export::Rule;
use crate::metrics::count;
use crate::operations::{DOOR, LockOperation, of_lock};
use crate::origin::Origin;
use crate::rpc::Credential;

/// How long a client that has nothing is left alone where there are too many: one that asks at this moment will have something.
const CLIENT_IDLE_MIN: Duration = Duration::from_secs(1);

/// Answers a call.
pub(super) fn execute(door: &NfsDoor, from: Origin, credential: &Credential, request: &Request) -> Answered {
    let desk = Desk { door, locks: &door.locks, from, credential };
    let stat = |result: Result<Stat, Stat>| Answered::Stat(result.unwrap_or_else(|stat| stat));
    match request {
        Request::Test { exclusive, lock } => match desk.test(lock, *exclusive) {
            Ok(None) => Answered::Stat(Stat::Granted),
            Ok(Some(held)) => Answered::Held(held),
            Err(stat) => Answered::Stat(stat),
        },
        Request::Lock { block, exclusive, lock, reclaim } => stat(desk.lock(lock, *exclusive, *block, *reclaim)),
        Request::Cancel { exclusive, lock } => stat(desk.cancel(lock, *exclusive)),
        Request::Unlock { lock } => stat(desk.unlock(lock)),
        // This server waits for no lock of another.
        Request::Granted => Answered::Stat(Stat::Denied),
        Request::Share { share, reclaim } => Answered::Shared(desk.share(share, *reclaim).unwrap_or_else(|stat| stat)),
        Request::Unshare { share } => Answered::Shared(desk.unshare(share).unwrap_or_else(|stat| stat)),
    }
}

/// A client restarted, or says that it holds nothing any more: that ends all it had. Nobody is believed about another address.
pub(super) fn release(door: &NfsDoor, clients: &[u64]) {
    let op = super::clients::op();
    // Held over all of it: locks that the client sets anew are granted afterwards.
    let mut waits = door.locks.waits.lock();
    for client in clients {
        waits.forget(*client);
        match door.ns.release_client(&op, DOOR.number, *client) {
            Ok(0) => {}
            Ok(ended) => tracing::info!(ended, "an nfs client restarted; its locks ended"),
            Err(error) => tracing::warn!(%error, "an nfs client restarted and its locks could not be ended"),
        }
    }
}

/// A call in execution.
struct Desk<'a> {
    door: &'a NfsDoor,
    locks: &'a Locks,
    from: Origin,
    credential: &'a Credential,
}

/// The file that a call is about, and under which rule.
struct File {
    op: Op,
    ino: Ino,
    rule: Arc<Rule>,
}

impl Desk<'_> {
    /// Checks the handle, finds the rule that decides for the client, and forms the caller.
    fn file(&self, operation: LockOperation, handle: &Bytes) -> Result<File, Stat> {
        let handle = self.door.handles.decode(handle).map_err(|_| Stat::StaleHandle)?;
        let exports = self.door.exports();
        let rule = exports.rule(handle.export, self.from.address).map_err(|_| {
            count(&self.door.metrics().export_refusals);
            Stat::Failed
        })?;
        let op = Op::of(rule.export.caller(self.credential), of_lock(operation));
        Ok(File { op, ino: handle.ino, rule: Arc::clone(rule) })
    }

    /// The same where the caller must be permitted to lock the file.
    fn permitted(&self, operation: LockOperation, handle: &Bytes) -> Result<File, Stat> {
        let file = self.file(operation, handle)?;
        self.door.ns.permit_hold(&file.op, file.ino).map_err(|error| self.refused(&file.op, error))?;
        Ok(file)
    }

    /// The answer to a client if the name space refuses.
    fn refused(&self, op: &Op, error: Error) -> Stat {
        let stat = stat_of(error.kind);
        match error.kind {
            ErrorKind::Corrupt | ErrorKind::Io => tracing::warn!(kind = ?error.kind, %error, "an nfs lock failed"),
            _ => tracing::debug!(kind = ?error.kind, %error, "an nfs lock was refused"),
        }
        // A crash must not take back the answer that a file is gone or cannot be read. Locks need no such wait: they end with a crash.
        match self.door.ns.settle_blocking(op) {
            Ok(()) => stat,
            Err(_) => Stat::NoLocks,
        }
    }

    fn line(&self) -> Line {
        Line::of(self.from)
    }

    fn owner(&self, lock: &Lock) -> HoldOwner {
        HoldOwner {
            door: DOOR.number,
            client: self.locks.clients.of(self.line().client, &lock.caller),
            owner: self.locks.clients.owner(lock.svid, &lock.owner),
            pid: lock.svid,
        }
    }

    fn wanted(&self, lock: &Lock, exclusive: bool) -> Result<HeldRange, Stat> {
        Ok(HeldRange {
            owner: self.owner(lock),
            space: RangeSpace::Bytes,
            kind: if exclusive { RangeKind::Write } else { RangeKind::Read },
            range: lock.range().ok_or(Stat::TooBig)?,
            lease: None,
        })
    }

    /// Until the clients of the last start had the time to ask again for what they had, nobody else is granted anything; afterwards
    /// nobody is believed to have had something.
    fn in_time(&self, reclaim: bool) -> Result<(), Stat> {
        let grace = self.locks.grace_ends.is_some_and(|end| Instant::now() < end);
        let had = || self.locks.clients.knows(self.line().client);
        if grace == reclaim && (!reclaim || had()) { Ok(()) } else { Err(Stat::Grace) }
    }

    /// A client that the store knows durably, so that it is notified when the store is opened again.
    fn enter(&self, op: &Op, caller: &Bytes) -> Result<u64, Stat> {
        let enter = || self.locks.clients.enter(&self.door.ns, self.line(), caller);
        let mut entered = enter();
        if matches!(entered, Ok(None)) {
            // There are too many clients, and some of them may have no locks any more.
            super::keeper::sweep_clients(self.door, CLIENT_IDLE_MIN);
            entered = enter();
        }
        entered.map_err(|error| self.refused(op, error))?.ok_or(Stat::NoLocks)
    }

    fn test(&self, lock: &Lock, exclusive: bool) -> Result<Option<HeldRange>, Stat> {
        self.in_time(false)?;
        let file = self.permitted(LockOperation::Test, &lock.handle)?;
        let wanted = self.wanted(lock, exclusive)?;
        self.door.ns.test_hold(&file.op, file.ino, &wanted).map_err(|error| self.refused(&file.op, error))
    }

    fn lock(&self, lock: &Lock, exclusive: bool, block: bool, reclaim: bool) -> Result<Stat, Stat> {
        self.in_time(reclaim)?;
        let file = self.permitted(LockOperation::Lock, &lock.handle)?;
        if exclusive && file.rule.export.read_only {
            return Err(Stat::ReadOnly);
        }
        let wanted = self.wanted(lock, exclusive)?;
        let client = self.enter(&file.op, &lock.caller)?;
        let (ns, limits) = (&self.door.ns, &self.door.limits);
        let mut waits = self.locks.waits.lock();
        if ns.holds_of(DOOR.number, client) >= limits.lock_holds_per_client_max
            || ns.holds_held() >= limits.lock_holds_max
        {
            return Err(Stat::NoLocks);
        }
        let place = waits.place_of(file.ino, &wanted);
        if place != Some(true) {
            match ns.set_hold(&file.op, file.ino, &wanted) {
                Ok(Some(_)) => {}
                Ok(None) => {
                    waits.taken(file.ino, &wanted);
                    if !exclusive {
                        // A read lock in place of a write lock lets others in.
                        self.locks.grant(ns, &mut waits, file.ino);
                    }
                    return Ok(Stat::Granted);
                }
                Err(error) => return Err(self.refused(&file.op, error)),
            }
        }
        if !block {
            return Err(Stat::Denied);
        }
        if waits.close_circle(ns, &granting(), file.ino, &wanted) {
            // If a request that came in between closed the circle, this one waits already: its wait is ended.
            if place.is_some() && waits.cancel(ns, &granting(), file.ino, &wanted) {
                self.locks.grant(ns, &mut waits, file.ino);
            }
            return Err(Stat::Deadlock);
        }
        if place.is_none() {
            let (of_client, all) = waits.count(client);
            if of_client >= limits.lock_waits_per_client_max || all >= limits.lock_waits_max {
                return Err(Stat::NoLocks);
            }
            waits.add(file.ino, wanted, lock, self.line());
        }
        Ok(Stat::Blocked)
    }

    fn cancel(&self, lock: &Lock, exclusive: bool) -> Result<Stat, Stat> {
        let file = self.file(LockOperation::Cancel, &lock.handle)?;
        let wanted = self.wanted(lock, exclusive)?;
        let mut waits = self.locks.waits.lock();
        if !waits.cancel(&self.door.ns, &file.op, file.ino, &wanted) {
            return Err(Stat::Denied);
        }
        self.locks.grant(&self.door.ns, &mut waits, file.ino);
        Ok(Stat::Granted)
    }

    fn unlock(&self, lock: &Lock) -> Result<Stat, Stat> {
        let file = self.file(LockOperation::Unlock, &lock.handle)?;
        let (owner, range) = (self.owner(lock), lock.range().ok_or(Stat::TooBig)?);
        let mut waits = self.locks.waits.lock();
        waits.unlock(file.ino, &owner, &range);
        let released = self.door.ns.release_hold(&file.op, file.ino, &owner, RangeSpace::Bytes, &range);
        released.map_err(|error| self.refused(&file.op, error))?;
        self.locks.grant(&self.door.ns, &mut waits, file.ino);
        Ok(Stat::Granted)
    }

    fn share(&self, share: &Share, reclaim: bool) -> Result<Stat, Stat> {
        self.in_time(reclaim)?;
        let file = self.permitted(LockOperation::Share, &share.handle)?;
        let client = self.enter(&file.op, &share.caller)?;
        let limits = &self.door.limits;
        let mut waits = self.locks.waits.lock();
        let (of_client, all) = waits.count_reserved(client);
        if of_client >= limits.lock_holds_per_client_max || all >= limits.lock_holds_max {
            return Err(Stat::NoLocks);
        }
        let owner = self.locks.clients.owner(0, &share.owner);
        let reserved = waits.reserve(file.ino, (client, owner), share.denies, share.access);
        if reserved { Ok(Stat::Granted) } else { Err(Stat::Denied) }
    }

    fn unshare(&self, share: &Share) -> Result<Stat, Stat> {
        let file = self.file(LockOperation::Unshare, &share.handle)?;
        let clients = &self.locks.clients;
        let client = clients.of(self.line().client, &share.caller);
        self.locks.waits.lock().unreserve(file.ino, (client, clients.owner(0, &share.owner)));
        Ok(Stat::Granted)
    }
}

/// The status for each kind.
fn stat_of(kind: ErrorKind) -> Stat {
    match kind {
        ErrorKind::NotFound | ErrorKind::Stale | ErrorKind::NoSuchBucket | ErrorKind::NoSuchUpload => Stat::StaleHandle,
        ErrorKind::NoSpace | ErrorKind::Busy => Stat::NoLocks,
        ErrorKind::ReadOnly => Stat::ReadOnly,
        ErrorKind::TooLarge | ErrorKind::InvalidRange => Stat::TooBig,
        ErrorKind::Exists
        | ErrorKind::BucketExists
        | ErrorKind::NotDirectory
        | ErrorKind::IsDirectory
        | ErrorKind::NotEmpty
        | ErrorKind::AccessDenied
        | ErrorKind::NotPermitted
        | ErrorKind::NameTooLong
        | ErrorKind::InvalidName
        | ErrorKind::Invalid
        | ErrorKind::NoAttribute
        | ErrorKind::PartTooSmall
        | ErrorKind::InvalidPart
        | ErrorKind::InvalidPartOrder
        | ErrorKind::Loop
        | ErrorKind::NotSupported
        | ErrorKind::PreconditionFailed
        | ErrorKind::Locked
        | ErrorKind::TooManyLinks
        | ErrorKind::CrossDevice
        | ErrorKind::BadBody
        | ErrorKind::Corrupt
        | ErrorKind::Io => Stat::Failed,
    }
}
