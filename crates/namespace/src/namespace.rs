//! The name space itself: the state that every operation shares.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use parking_lot::{Mutex, RwLock};
use strata_content::{Class, ContentError, Settled, Store};
use strata_seam::planted::{Bug, planted};
use strata_seam::{Clock, Crew, Timestamp};

use crate::changes::{Feed, Told};
use crate::error::{ErrorKind, Result, fail};
use crate::following::state::Following;
use crate::locks::memory::Locks;
use crate::numbers::Numbers;
use crate::opens::Opens;
use crate::paths::Paths;
use crate::remnants::Removed;
use crate::sessions::Own;
use crate::types::{Durability, Op};
use crate::upgrade::report::UpgradeReport;

/// What is said of records that could not be upgraded.
pub(crate) const OUTDATED: &str = "the records are of an earlier version and could not be upgraded when the store was opened, since nothing \
                        could be written; they are read as they are, and nothing is changed; when the disks take writes, start again";

/// The name space. Shared as `Arc<Namespace>`; every call may run on any thread. All calls are synchronous; metadata
/// calls take microseconds to tens of microseconds unless the index must read its disk.
pub struct Namespace {
    pub(crate) store: Arc<Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) opens: Opens,
    pub(crate) removed: Removed,
    pub(crate) feed: Arc<Feed>,
    pub(crate) locks: Locks,
    /// How far what follows moved folders is.
    pub(crate) following: Mutex<Following>,
    /// For events.
    pub(crate) paths: Paths,
    /// The records are of an earlier format and could not be upgraded: they are read, and nothing is changed.
    outdated: AtomicBool,
    /// What the opening did to them.
    upgraded: OnceLock<UpgradeReport>,
    pub(crate) numbers: Numbers,
    pub(crate) own: Own,
    store_id: [u8; 16],
    boot_id: u64,
    pub(crate) durability: Durability,
    /// What S3 calls the files at the top; see [`crate::top`].
    pub(crate) top_name: OnceLock<String>,
    /// Which users may make buckets, by uid.
    pub(crate) rights: RwLock<HashMap<u32, bool>>,
}

/// Identity of a name space and of its running instance.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// Constant for the life of the store.
    pub store_id: [u8; 16],
    /// Different with every start of the process.
    pub boot_id: u64,
    /// Owner of the root directory when the store is created.
    pub uid: u32,
    /// Group of the root directory when the store is created.
    pub gid: u32,
    /// Class of buckets made by those who do not choose one.
    pub durability: Durability,
}

/// Resolves when what the operation depends on is as durable as its bucket promises. May be dropped at any time.
pub struct Settle {
    inner: Option<Settled>,
    told: Option<Told>,
}

impl Future for Settle {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(settled) = &mut self.inner {
            match Pin::new(settled).poll(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(ContentError::from(error).into())),
                Poll::Ready(Ok(())) => self.inner = None,
            }
        }
        if self.told.as_ref().is_some_and(|told| !told.is_over()) {
            // Polled again at once: the notification mostly ends sooner than a wake-up would arrive.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl Namespace {
    /// Before anything of the store was looked at.
    pub(crate) fn new(store: Arc<Store>, clock: Arc<dyn Clock>, identity: Identity, own: Own) -> Self {
        Self {
            store,
            clock,
            opens: Opens::default(),
            locks: Locks::of(own.shared),
            removed: Removed::default(),
            following: Mutex::default(),
            feed: Arc::default(),
            paths: Paths::of(own.shared),
            outdated: AtomicBool::new(false),
            upgraded: OnceLock::new(),
            numbers: Numbers::default(),
            own,
            store_id: identity.store_id,
            boot_id: identity.boot_id,
            durability: identity.durability,
            top_name: OnceLock::new(),
            rights: RwLock::default(),
        }
    }

    /// The records could not be upgraded.
    pub(crate) fn note_outdated(&self) {
        self.outdated.store(true, Ordering::Release);
    }

    /// The records were upgraded.
    pub(crate) fn note_upgraded(&self, report: UpgradeReport) {
        self.upgraded.get_or_init(|| report);
    }

    /// What opening the store did to records of an earlier version; `None` if there were none, or the store takes no writes.
    #[must_use]
    pub fn upgraded(&self) -> Option<&UpgradeReport> {
        self.upgraded.get()
    }

    /// Whether the records are of an earlier version and could not be upgraded, because the store takes no writes. Every change is then
    /// refused.
    #[must_use]
    pub fn is_outdated(&self) -> bool {
        self.outdated.load(Ordering::Acquire)
    }

    /// A future that resolves once everything `op` changed or read is as durable as its bucket promises, and the mount's kernel was told
    /// of the changes (200 ms at most). Async doors await it before they reply.
    pub fn settle(&self, op: &Op) -> Settle {
        let (lsn, class) = dependence(op);
        let reached = match class {
            Class::Durable => self.store.durable(),
            Class::Written => self.store.written(),
        };
        Settle { inner: (lsn > reached).then(|| self.store.settled(lsn, class)), ..self.told(op) }
    }

    /// A future that resolves once the mount's kernel was told of what `op` changed, after 200 ms at most. For answers that promise no
    /// durability.
    pub fn told(&self, op: &Op) -> Settle {
        Settle { inner: None, told: op.has_published().then(|| Told::of(&self.feed, &self.clock)).flatten() }
    }

    /// Waits on the calling thread until everything `op` changed or read is as durable as its bucket promises. Does not wait until the
    /// mount's kernel was told.
    ///
    /// # Errors
    /// [`ErrorKind::ReadOnly`] when the write quorum was lost: what the operation changed is not promised.
    pub fn settle_blocking(&self, op: &Op) -> Result<()> {
        let (lsn, class) = dependence(op);
        if planted(Bug::SettleForgotten) {
            return Ok(());
        }
        Ok(self.store.wait(lsn, class)?)
    }

    /// The store below, for status and checks.
    #[must_use]
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Who works in the background of the store.
    #[must_use]
    pub fn crew(&self) -> &Arc<Crew> {
        self.store.crew()
    }

    /// What the store takes the time from.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// The store's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Identity of the store: 16 bytes, constant for its life.
    #[must_use]
    pub fn store_id(&self) -> [u8; 16] {
        self.store_id
    }

    /// Changes with every start of the process (NFS write verifier: unstable data of another instance is lost).
    #[must_use]
    pub fn boot_id(&self) -> u64 {
        self.boot_id
    }

    /// Refuses changes of records that could not be upgraded.
    ///
    /// # Errors
    /// [`ErrorKind::ReadOnly`].
    pub(crate) fn refuse_outdated(&self) -> Result<()> {
        if self.is_outdated() { Err(fail(ErrorKind::ReadOnly, OUTDATED)) } else { Ok(()) }
    }
}

fn dependence(op: &Op) -> (strata_seam::Lsn, Class) {
    (op.lsn(), if op.strict() { Class::Durable } else { Class::Written })
}
