//! The door itself: the name space behind it, its rules, caches and budgets. Shared by all connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::RwLock;
use strata_namespace::{Attr, Namespace, Positions};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::{ConfigError, NfsConfig, NfsLimits, RECORD_LEN_MAX};
use crate::export::{Export, ExportId, ExportTable};
use crate::handle::{HANDLE_LEN, Handle, HandleCodec};
use crate::metrics::NfsMetrics;
use crate::mount_list::MountList;
use crate::nlm::locks::Locks;
use crate::record::Budget;
use crate::reply_cache::{ReplyCache, ReplyCacheLimits};

/// The NFS door of one store. Pass it to [`crate::serve`], for as many listeners as wanted.
pub struct NfsDoor {
    pub(crate) ns: Arc<Namespace>,
    pub(crate) limits: NfsLimits,
    pub(crate) handles: HandleCodec,
    /// READDIR cookies.
    pub(crate) cookies: Positions,
    /// Replies of procedures that change names or attributes.
    pub(crate) replies: Arc<ReplyCache>,
    /// Replies of WRITE, which would push the others out.
    pub(crate) write_replies: Arc<ReplyCache>,
    /// Replies of procedures of NLM.
    pub(crate) lock_replies: Arc<ReplyCache>,
    pub(crate) mounts: MountList,
    pub(crate) locks: Locks,
    pub(crate) budgets: Budgets,
    pub(crate) scans: AtomicUsize,
    /// Changes with every start: an unstable WRITE of another instance may be lost.
    pub(crate) write_verifier: [u8; 8],
    store_id: [u8; 16],
    exports: RwLock<Arc<ExportTable>>,
    metrics: Arc<NfsMetrics>,
}

impl NfsDoor {
    /// A door to `ns`.
    ///
    /// # Errors
    /// [`ConfigError`] if an export rule or a limit makes no sense, or the clients that had locks cannot be read.
    pub fn new(ns: Arc<Namespace>, config: NfsConfig) -> Result<Arc<Self>, ConfigError> {
        let NfsConfig { exports, handle_secret, limits, locks } = config;
        limits.check()?;
        let reply_cache = |parts| {
            ReplyCache::new(ReplyCacheLimits {
                entries_max: limits.reply_cache_entries_max,
                bytes_max: limits.reply_cache_bytes_max / 8 * parts,
                age_max: limits.reply_cache_age_max,
            })
        };
        let store_id = ns.store_id();
        let locks = Locks::new(&ns, &handle_secret, &limits, locks);
        let locks = locks.map_err(|error| ConfigError::LockClients(error.to_string()))?;
        Ok(Arc::new(Self {
            handles: HandleCodec::new(&handle_secret, store_id),
            cookies: Positions::new(
                blake3::derive_key("strata nfs directory cookie v1", &handle_secret),
                limits.cookie_cache_bytes_max,
            ),
            replies: reply_cache(4),
            write_replies: reply_cache(3),
            lock_replies: reply_cache(1),
            mounts: MountList::new(limits.mount_list_max),
            locks,
            budgets: Budgets::new(limits.requests_max, limits.request_bytes_max, limits.reply_bytes_max),
            scans: AtomicUsize::new(0),
            write_verifier: ns.boot_id().to_be_bytes(),
            store_id,
            exports: RwLock::new(Arc::new(ExportTable::new(exports)?)),
            metrics: Arc::default(),
            limits,
            ns,
        }))
    }

    /// Replaces the export rules. They hold from the next call on; handles of paths still exported stay valid.
    ///
    /// # Errors
    /// [`ConfigError`] if a rule makes no sense; the present rules then stay.
    pub fn set_exports(&self, exports: Vec<Export>) -> Result<(), ConfigError> {
        let table = Arc::new(ExportTable::new(exports)?);
        *self.exports.write() = table;
        Ok(())
    }

    /// How many locks clients hold.
    #[must_use]
    pub fn locks_held(&self) -> u64 {
        self.ns.holds_held() as u64
    }

    /// The counters.
    #[must_use]
    pub fn metrics(&self) -> &Arc<NfsMetrics> {
        &self.metrics
    }

    pub(crate) fn exports(&self) -> Arc<ExportTable> {
        Arc::clone(&self.exports.read())
    }

    /// The handle of an inode under an export.
    pub(crate) fn handle(&self, export: ExportId, attr: &Attr) -> [u8; HANDLE_LEN] {
        self.handles.encode(Handle { export, ino: attr.ino })
    }

    /// Identity of an export as a file system: clients keep caches per file system, and refuse links across.
    pub(crate) fn fsid(&self, export: ExportId) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.store_id;
        u64::from_be_bytes([a, b, c, d, e, f, g, h]) ^ u64::from(export.0)
    }

    /// A place among the directory scans that may run at one time; `None` if all are taken.
    pub(crate) fn begin_scan(&self) -> Option<ScanGuard<'_>> {
        let max = self.limits.cookie_scans_max;
        self.scans
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |running| (running < max).then_some(running + 1))
            .ok()
            .map(|_| ScanGuard(&self.scans))
    }
}

/// A running directory scan.
pub(crate) struct ScanGuard<'a>(&'a AtomicUsize);

impl Drop for ScanGuard<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What may be in work at one time: of the whole door, of one address, or of one connection.
pub(crate) struct Budgets {
    requests: Arc<Semaphore>,
    request_bytes: Arc<Semaphore>,
    reply_bytes: Arc<Semaphore>,
}

/// A part of a budget, given back when dropped. Empty only if the semaphore was closed, which nobody does.
type Permit = Option<OwnedSemaphorePermit>;

/// Parts of the budgets of a connection, of its address and of the door.
pub(crate) type Places = [Permit; 3];

impl Budgets {
    /// What all connections of one address may have: half of everything, so that it never stops the others.
    pub(crate) fn of_client(limits: &NfsLimits) -> Arc<Self> {
        let half = |all: usize, least: usize| (all / 2).max(least);
        Arc::new(Self::new(
            half(limits.requests_max, 1),
            half(limits.request_bytes_max, RECORD_LEN_MAX),
            half(limits.reply_bytes_max, RECORD_LEN_MAX),
        ))
    }

    pub(crate) fn new(requests: usize, request_bytes: usize, reply_bytes: usize) -> Self {
        Self {
            requests: Arc::new(Semaphore::new(requests)),
            request_bytes: Arc::new(Semaphore::new(request_bytes)),
            reply_bytes: Arc::new(Semaphore::new(reply_bytes)),
        }
    }
}

/// The budgets of a connection within those of its address, within those of the door. Always taken in the same order: the
/// connection's, the address', the door's; a request's bytes before its reply's. Whoever holds reply bytes waits only for its client to read, and that
/// has a time limit, so nothing can wait for itself.
pub(crate) struct ConnectionBudgets {
    pub(crate) own: Budgets,
    pub(crate) client: Arc<Budgets>,
    pub(crate) door: Arc<NfsDoor>,
}

impl ConnectionBudgets {
    /// Waits for a place among the requests in work.
    pub(crate) async fn request(&self) -> Places {
        self.take(|budgets| &budgets.requests, 1).await
    }

    /// Waits for room for a large reply.
    pub(crate) async fn reply(&self, len: usize) -> Places {
        self.take(|budgets| &budgets.reply_bytes, len).await
    }

    async fn take(&self, of: fn(&Budgets) -> &Arc<Semaphore>, amount: usize) -> Places {
        let own = take(of(&self.own), amount).await;
        let client = take(of(&self.client), amount).await;
        [own, client, take(of(&self.door.budgets), amount).await]
    }
}

impl Budget for ConnectionBudgets {
    type Permit = Places;

    async fn acquire(&self, len: usize) -> Self::Permit {
        self.take(|budgets| &budgets.request_bytes, len).await
    }
}

async fn take(semaphore: &Arc<Semaphore>, amount: usize) -> Permit {
    // Amounts are lengths of records and replies, about 1 MiB at most; limits below that are refused at start.
    let amount = u32::try_from(amount).unwrap_or(u32::MAX);
    Arc::clone(semaphore).acquire_many_owned(amount).await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_has_half_of_what_the_door_has_and_always_room_for_a_record() {
        let limits = NfsLimits::default();
        let client = Budgets::of_client(&limits);
        assert_eq!(client.requests.available_permits(), limits.requests_max / 2);
        assert_eq!(client.reply_bytes.available_permits(), limits.reply_bytes_max / 2);
        let least = NfsLimits { request_bytes_max: RECORD_LEN_MAX, ..limits };
        assert_eq!(Budgets::of_client(&least).request_bytes.available_permits(), RECORD_LEN_MAX);
    }
}
