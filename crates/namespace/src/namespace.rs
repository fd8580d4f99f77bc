//! The name space itself: what every operation shares.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use parking_lot::{Mutex, RwLock};
use strata_chunk::wire::Encoder;
use strata_content::{Class, Computed, ContentError, Done, Settled, Store, Tx};
use strata_seam::planted::{Bug, planted};
use strata_seam::{Clock, Crew, Ino, Lsn, SessionId, Timestamp};

use crate::changes::{Feed, Told};
use crate::effects::Effects;
use crate::error::{Error, ErrorKind, Result, fail};
use crate::file::Opens;
use crate::key;
use crate::numbers::{self, Numbers};
use crate::records::Inode;
use crate::sessions::Own;
use crate::telling::Paths;
use crate::types::{Attr, Durability, NodeKind, Op, ROOT_INO};
use crate::upgrade::{self, UpgradeReport};
use crate::usage;
use crate::view::View;

/// Format of the records, in the store's own table: `docs/format/records.md`.
pub const RECORD_FORMAT: u64 = 5;

/// What is said of records that could not be upgraded.
const OUTDATED: &str = "the records are of an earlier version and could not be upgraded when the store was opened, since nothing \
                        could be written; they are read as they are, and nothing is changed; when the disks take writes, start again";

/// The name space. Shared as `Arc<Namespace>`; every call may run on any thread. All calls are synchronous; metadata
/// calls take microseconds to tens of microseconds unless the index must read its disk.
pub struct Namespace {
    pub(crate) store: Arc<Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) opens: Opens,
    pub(crate) removed: crate::removed::Removed,
    pub(crate) feed: Arc<Feed>,
    pub(crate) locks: crate::locks::Locks,
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
            // Mostly it takes less than a wake-up would.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

/// Says, together with the first record of a present format, that an earlier version does not know all formats.
pub(crate) fn mark_format(tx: &mut Tx<'_>) {
    let mut format = Encoder::new();
    format.uvarint(RECORD_FORMAT);
    tx.put(key::KEY_FORMAT, format.finish());
}

impl Namespace {
    /// The name space over a store; creates the root directory in an empty one.
    ///
    /// # Errors
    /// [`ErrorKind::NotSupported`] for records of a newer format, and those of the store.
    pub fn over(store: Arc<Store>, clock: Arc<dyn Clock>, identity: Identity) -> Result<Arc<Self>> {
        let fresh = store.get(key::KEY_FORMAT)?.is_none();
        let earlier = upgrade::needed(&store)?;
        let own = Own { id: store.session(), shared: false };
        let ns = Arc::new(Self::of(store, clock, identity, own));
        if fresh {
            ns.create_root(identity.uid, identity.gid)?;
        }
        match ns.tidy() {
            // Such a store is there to be read; what is left over hurts nobody, and a start that may write takes it away.
            Err(error) if matches!(error.kind, ErrorKind::ReadOnly | ErrorKind::NoSpace) => {
                tracing::warn!(error = %error, "what the last process left over cannot be removed now");
            }
            tidied => tidied?,
        }
        match earlier {
            Some(from) => ns.bring_up(from)?,
            None => ns.written_or_outdated(ns.mark_store().and_then(|()| ns.make_top()))?.unwrap_or_default(),
        }
        ns.load_locks()?;
        Ok(ns)
    }

    /// One session more of a store that several share; `session` is a number that none had before. What others left is not touched:
    /// who is gone is ended by [`Namespace::end_session`].
    ///
    /// # Errors
    /// [`ErrorKind::NotSupported`] for a store whose records are not of this format, and those of the store.
    pub fn beside(
        store: Arc<Store>,
        clock: Arc<dyn Clock>,
        identity: Identity,
        session: SessionId,
    ) -> Result<Arc<Self>> {
        if store.get(key::KEY_FORMAT)?.is_none() || upgrade::needed(&store)?.is_some() {
            let what = "the records are of another version: a store is made, and upgraded, by one session alone";
            return Err(fail(ErrorKind::NotSupported, what));
        }
        let ns = Arc::new(Self::of(store, clock, identity, Own { id: session, shared: true }));
        ns.join()?;
        Ok(ns)
    }

    fn of(store: Arc<Store>, clock: Arc<dyn Clock>, identity: Identity, own: Own) -> Self {
        Self {
            store,
            clock,
            opens: Opens::default(),
            removed: crate::removed::Removed::default(),
            locks: crate::locks::Locks::of(own.shared),
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

    /// Upgrades the records, and tells the log of it.
    fn bring_up(&self, from: u64) -> Result<()> {
        tracing::info!(from, to = RECORD_FORMAT, "the records of an earlier version are upgraded");
        let Some(report) = self.written_or_outdated(self.upgrade(from))? else { return Ok(()) };
        let UpgradeReport { buckets, names, parted, ref first, .. } = report;
        for path in first {
            let path = path.escape_ascii();
            tracing::warn!(%path, "a file that had names in several buckets is a file of its own here now, by reference");
        }
        tracing::info!(buckets, names, parted, "the records are upgraded");
        self.upgraded.get_or_init(|| report);
        Ok(())
    }

    /// Where records could not be written anew since nothing can be written: such a store is there to be read. `None` then.
    fn written_or_outdated<T>(&self, upgraded: Result<T>) -> Result<Option<T>> {
        match upgraded {
            Err(error) if matches!(error.kind, ErrorKind::ReadOnly | ErrorKind::NoSpace) => {
                self.outdated.store(true, Ordering::Release);
                tracing::warn!(%error, "{OUTDATED}");
                Ok(None)
            }
            upgraded => upgraded.map(Some),
        }
    }

    /// What opening the store did to records of an earlier version; `None` where there were none, or nothing could be written.
    #[must_use]
    pub fn upgraded(&self) -> Option<&UpgradeReport> {
        self.upgraded.get()
    }

    /// Whether the records are of an earlier version and nothing is changed, since they could not be upgraded.
    #[must_use]
    pub fn is_outdated(&self) -> bool {
        self.outdated.load(Ordering::Acquire)
    }

    /// Removes what the last process left unfinished.
    fn tidy(&self) -> Result<()> {
        self.store.collect_unfinished()?;
        self.remove_unlinked()?;
        self.forget_sharing()
    }

    fn create_root(&self, uid: u32, gid: u32) -> Result<()> {
        let now = self.clock.now();
        let mut root = Inode::new(ROOT_INO, NodeKind::Directory, 0o755, (uid, gid), now);
        root.parent = ROOT_INO;
        root.bucket = ROOT_INO;
        self.store.transact(false, |tx| {
            mark_format(tx);
            crate::bucket::put(tx, &self.fresh_top(&root));
            usage::recount(tx, None, Some(root.counts()));
            tx.put(key::inode(ROOT_INO), root.encode());
            Ok::<_, Error>(())
        })?;
        Ok(())
    }

    /// For async doors: await before replying (S3, WebDAV, NFS).
    pub fn settle(&self, op: &Op) -> Settle {
        let (lsn, class) = dependence(op);
        let reached = match class {
            Class::Durable => self.store.durable(),
            Class::Written => self.store.written(),
        };
        Settle { inner: (lsn > reached).then(|| self.store.settled(lsn, class)), ..self.told(op) }
    }

    /// The same for answers that promise no durability: until the mount's kernel was told of what changed, 200 ms at most.
    pub fn told(&self, op: &Op) -> Settle {
        Settle { inner: None, told: op.has_published().then(|| Told::of(&self.feed, &self.clock)).flatten() }
    }

    /// The same on the calling thread.
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

    /// Whether what happens in the bucket with this root directory needs not be durable before it is confirmed, by its rules of
    /// now.
    pub(crate) fn is_relaxed(&self, bucket: Ino) -> Result<bool> {
        // Rules are no answer: nobody waits for them to be durable.
        let unnoted = Op::new(crate::types::Caller::root(crate::types::Door::Admin));
        self.snap(&unnoted).is_relaxed(bucket)
    }

    /// Refuses changes of records that could not be upgraded.
    ///
    /// # Errors
    /// [`ErrorKind::ReadOnly`].
    pub(crate) fn refuse_outdated(&self) -> Result<()> {
        if self.is_outdated() { Err(fail(ErrorKind::ReadOnly, OUTDATED)) } else { Ok(()) }
    }

    /// Attributes of inodes as a change sees them.
    fn attrs_now(&self, tx: &mut Tx<'_>, inodes: &[Ino]) -> Result<Vec<Option<Attr>>> {
        let attr = |ino: &Ino| match tx.find_inode(*ino)? {
            Some(mut inode) => {
                tx.complete(&mut inode)?;
                Ok(Some(self.with_staged(inode.attr)))
            }
            None => Ok(None),
        };
        inodes.iter().map(attr).collect()
    }

    /// Runs a change, notes in `op` what the answer depends on, and tells the feed. The closure may run more than once: it
    /// touches nothing but its arguments, and says in its effects what else is to happen.
    pub(crate) fn change<T>(&self, op: &Op, run: impl FnMut(&mut Tx<'_>, &mut Effects) -> Result<T>) -> Result<T> {
        self.change_when(op, Computed::UnderLock, run)
    }

    /// The same for a change of many look-ups, which is computed before the lock of all changes is taken, and again under it only
    /// if somebody has changed meanwhile what it read. The caller sees to it that what it relies on beside records keeps still: no lock
    /// is granted meanwhile where it changes something (a [`crate::Claim`]).
    pub(crate) fn change_ahead<T>(
        &self,
        op: &Op,
        run: impl FnMut(&mut Tx<'_>, &mut Effects) -> Result<T>,
    ) -> Result<T> {
        self.change_when(op, Computed::Ahead, run)
    }

    fn change_when<T>(
        &self,
        op: &Op,
        computed: Computed,
        mut run: impl FnMut(&mut Tx<'_>, &mut Effects) -> Result<T>,
    ) -> Result<T> {
        self.refuse_outdated()?;
        // Most changes draw none: those that do say so if there are none.
        let at_hand = self.numbers_at_hand(numbers::AT_HAND);
        let _removing = self.opens.erasing.begin();
        let watching = op.watching();
        let (mut seen_so_far, mut relaxed) = (Lsn(0), false);
        let compute = |tx: &mut Tx<'_>| {
            let mut effects = Effects::default();
            let found = self.attrs_now(tx, &watching)?;
            let ran = self.uphold(tx, op).and_then(|()| run(tx, &mut effects));
            seen_so_far = tx.seen();
            let promised = effects.relaxed.map_or_else(|| tx.is_relaxed(effects.bucket), Ok);
            relaxed = promised.as_ref().is_ok_and(|relaxed| *relaxed);
            let value = ran?;
            promised?;
            tx.set_relaxed(relaxed);
            self.write_events(tx, &mut effects, op, relaxed);
            let left = self.attrs_now(tx, &watching)?;
            Ok::<_, Error>((value, effects, found.into_iter().zip(left).collect::<Vec<_>>()))
        };
        let done = self.store.transact_then(false, computed, compute, |(_, effects, _)| self.enact(effects));
        if let (Err(error), Err(refused)) = (&done, at_hand)
            && error.kind == ErrorKind::Busy
        {
            return Err(refused);
        }
        if done.is_err() && seen_so_far > self.store.durable() {
            // A refusal says what is there, too ("exists already"), and must not be taken back either.
            op.note(seen_so_far, !relaxed);
        }
        let Done { value: (value, effects, watched), lsn, seen } = done?;
        let changes = self.settle_effects(op, effects);
        // It held in this commit; see `guard`.
        *op.guard.lock() = None;
        for (ino, (found, left)) in watching.into_iter().zip(watched) {
            op.note_watched(ino, found, left);
        }
        if let Some(lsn) = lsn {
            op.note(lsn, !relaxed);
        } else if seen > self.store.durable() {
            op.note(seen, !relaxed);
        }
        if !changes.is_empty() {
            op.note_published();
        }
        self.feed.publish(op.caller.door, changes);
        Ok(value)
    }
}

fn dependence(op: &Op) -> (strata_seam::Lsn, Class) {
    (op.lsn(), if op.strict() { Class::Durable } else { Class::Written })
}

/// Tables of what the process holds open; see [`crate::file`].
pub(crate) type Table<K, V> = Mutex<HashMap<K, V>>;
