//! Tells the kernel what other doors changed.
//!
//! An invalidation is a write into the kernel that returns only when the kernel got hold of the directory or the pages
//! in question, which a request that waits for **us** may be holding. So these rules keep the mount alive:
//!
//! 1. invalidations are sent by one thread that serves no request;
//! 2. it holds no lock while it sends;
//! 3. no request of the mount ever waits for it, and answers of other doors only for a moment (the feed is bounded and
//!    overflows into "everything");
//! 4. the new state is in the name space before the change is in the feed, so what the kernel then asks is new;
//! 5. it is stopped before the mount is unmounted.
//!
//! Attributes alone are also dropped by request threads, for the inode that the request holds: that waits for nothing but this inode.
//! Two requests do so. One is an open of a file that is open already and was changed in place, while the change is still on its way here:
//! reads through the new descriptor would end at the old size otherwise. The other is a write that cleared set-id bits, of
//! which the kernel knows nothing. Pages behind direct writes have their own thread, see `direct.rs`.
//!
//! With these rules, invalidating content is safe even under reads and writes in flight: it waits for their pages, and the
//! threads that answer them do not wait for it. Content changed in place elsewhere is invalidated with its pages, so the
//! next read sees it even in files that stay open; changed attributes are invalidated alone. Pages of a replaced content that
//! a program here still has open are left alone: that program is to read them (see `nodes.rs`).
//!
//! A reply computed before a change and installed by the kernel after the invalidation would be stale for its whole
//! time to live. For names the kernel's directory lock rules that out, for pages the page lock does. For attributes of an
//! inode that the kernel has, the version does that it counts up with each invalidation (`fuse_reverse_inval_inode`). Answers
//! to changes of this mount (SETATTR, LINK, CREATE) do not compare that version: these requests check themselves whether another
//! door made a change meanwhile (`moments.rs`). An inode that is new to the kernel has none of these protections. If the request
//! has not entered it in the table yet, the request notices the change itself (`moments.rs`). If it has, the kernel answers the
//! invalidation with "no such inode": the reply is on its way to its place there, or the inode is gone and its forget is on its
//! way here. Mostly that takes only as long as the program waits for a processor (a long listing enters its first inodes while it
//! still reads the last), so this thread tries again until the kernel has the inode or has given it up. Answers of other doors
//! wait for that too, up to [`SETTLE_MAX`]. Inodes that the kernel had are invalidated once: at an invalidation the kernel gives
//! up the answers it waits for, sizes of files among them, and a read or a mapping in that moment would end at the old size.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fuser::{INodeNo, Notifier};
use parking_lot::Mutex;
use strata_namespace::{Caller, Change, Namespace, Op};
use strata_seam::Ino;

use crate::metrics::MountMetrics;
use crate::nodes::{Nodes, ino_of};
use crate::operations::DOOR;
use crate::queue::{Batch, PENDING_MAX, Pending, Scope};

/// Most changes the name space holds for this mount before it gives up counting them.
pub(crate) const FEED_MAX: usize = 64 * 1024;
/// How long answers of other doors wait for inodes that are on their way into the kernel.
const SETTLE_MAX: Duration = Duration::from_millis(150);
/// How often the kernel is asked for them meanwhile.
const SETTLE_STEP: Duration = Duration::from_micros(200);
/// Most inodes that are asked for later than that; beyond it their attributes may be old up to their time to live.
const LATE_MAX: usize = PENDING_MAX;
/// How long an idle wait may last, so that stopping and resyncs are noticed.
const IDLE_WAIT: Duration = Duration::from_millis(50);
/// Length of `struct fuse_out_header`.
const HEADER_LEN: usize = 16;
/// `FUSE_NOTIFY_INVAL_INODE`: attributes of an inode are asked for again, and its pages in a range are dropped.
const NOTIFY_INVAL_INODE: i32 = 2;
/// `FUSE_NOTIFY_INC_EPOCH`: every cached name is looked up again (Linux 6.16 and later).
const NOTIFY_INC_EPOCH: i32 = 8;

/// What the request threads and the owner of the mount share with the notifying thread.
#[derive(Debug, Default)]
pub(crate) struct Feed {
    stop: AtomicBool,
    resync: Mutex<Vec<u64>>,
}

impl Feed {
    /// Asks for the content of `ino` to be dropped, within [`IDLE_WAIT`]. For request threads; waits for nothing.
    pub(crate) fn resync(&self, ino: u64) {
        let mut resync = self.resync.lock();
        if resync.len() < PENDING_MAX && !resync.contains(&ino) {
            resync.push(ino);
        }
    }

    /// Asks the thread to end.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }
}

/// The kernel's side of an invalidation.
pub(crate) trait Kernel: Send + 'static {
    /// Drops a name.
    fn drop_name(&self, parent: u64, name: &[u8]);
    /// Drops attributes, and content too if the scope says so. Answers whether the kernel has the inode.
    fn drop_inode(&self, ino: u64, scope: Scope) -> bool;
    /// Drops every name. Answers whether the kernel can do that.
    fn drop_all_names(&self) -> bool;
}

/// The kernel behind a FUSE device.
pub(crate) struct FuseKernel {
    pub(crate) notifier: Notifier,
    pub(crate) device: OwnedFd,
}

impl Kernel for FuseKernel {
    fn drop_name(&self, parent: u64, name: &[u8]) {
        report("entry", self.notifier.inval_entry(INodeNo(parent), OsStr::from_bytes(name)));
    }

    fn drop_inode(&self, ino: u64, scope: Scope) -> bool {
        // A negative offset leaves pages alone; a length of zero means to the end.
        let offset: i64 = match scope {
            Scope::Attr => -1,
            Scope::Data => 0,
        };
        // struct fuse_notify_inval_inode_out { u64 ino; i64 off; i64 len; }. The library's own call does not tell "no such inode" from
        // success.
        let sent = self.notify(NOTIFY_INVAL_INODE, &[ino, offset.cast_unsigned(), 0]);
        let had = !matches!(&sent, Err(error) if error.kind() == io::ErrorKind::NotFound);
        report("inode", sent);
        had
    }

    fn drop_all_names(&self) -> bool {
        self.notify(NOTIFY_INC_EPOCH, &[]).is_ok()
    }
}

impl FuseKernel {
    /// Sends a notification of this code to the kernel.
    #[expect(clippy::host_endian_bytes, reason = "the kernel's interface is in host order")]
    fn notify(&self, code: i32, body: &[u64]) -> io::Result<()> {
        // struct fuse_out_header { u32 len; i32 error; u64 unique; }: a notification has its code in `error` and no id.
        let len = u32::try_from(HEADER_LEN + 8 * body.len()).map_err(io::Error::other)?;
        let mut message = [&len.to_ne_bytes()[..], &code.to_ne_bytes(), &[0; 8]].concat();
        body.iter().for_each(|word| message.extend_from_slice(&word.to_ne_bytes()));
        rustix::io::write(&self.device, &message)?;
        Ok(())
    }
}

fn report(what: &'static str, sent: io::Result<()>) {
    if let Err(error) = sent {
        // The mount is going away, or the kernel has no such entry; its time to live covers the rest.
        tracing::debug!(what, %error, "invalidation was not taken");
    }
}

/// Starts the notifying thread. It ends when `feed` is stopped or the name space is gone.
pub(crate) fn start(
    feed: Arc<Feed>,
    changes: Receiver<Change>,
    kernel: impl Kernel,
    sizes: impl Sizes,
    nodes: Arc<Nodes>,
    metrics: Arc<MountMetrics>,
) -> io::Result<JoinHandle<()>> {
    let teller =
        Teller { kernel, sizes, nodes, metrics, on_the_way: HashSet::new(), late: HashSet::new(), late_asked: now() };
    std::thread::Builder::new().name(String::from("strata-fuse-notify")).spawn(move || run(&feed, &changes, teller))
}

fn run<K: Kernel, S: Sizes>(feed: &Feed, changes: &Receiver<Change>, mut teller: Teller<K, S>) {
    let mut pending = Pending::default();
    while !feed.stop.load(Ordering::Acquire) {
        let mut taken = 0;
        match changes.recv_timeout(IDLE_WAIT) {
            Ok(change) => {
                pending.push(change);
                taken += 1;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        // Changes that have gathered meanwhile are coalesced.
        changes.try_iter().take(PENDING_MAX).for_each(|change| {
            pending.push(change);
            taken += 1;
        });
        std::mem::take(&mut *feed.resync.lock()).into_iter().for_each(|ino| pending.push_data(ino));
        if !pending.is_empty() {
            teller.tell(pending.take());
            teller.settle(feed);
        }
        teller.sizes.told(taken);
        teller.ask_for_late();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "paces a thread that talks to the real kernel; no decision of the store depends on it"
)]
fn now() -> Instant {
    Instant::now()
}

/// Where the present size of a file is asked for.
pub(crate) trait Sizes: Send + 'static {
    /// In bytes; zero if there is no such file.
    fn size(&self, ino: u64) -> u64;

    /// So many changes were told to the kernel.
    fn told(&self, _changes: u64) {}
}

impl Sizes for std::sync::Weak<Namespace> {
    fn size(&self, ino: u64) -> u64 {
        let op = Op::new(Caller::root(&DOOR));
        self.upgrade().and_then(|ns| ns.getattr(&op, Ino(ino)).ok()).map_or(0, |attr| attr.size)
    }

    fn told(&self, changes: u64) {
        if changes > 0
            && let Some(ns) = self.upgrade()
        {
            ns.note_told(changes);
        }
    }
}

/// Sends batches, and sends again what the kernel was not ready for.
struct Teller<K, S> {
    kernel: K,
    sizes: S,
    nodes: Arc<Nodes>,
    metrics: Arc<MountMetrics>,
    /// Numbers that the kernel was given and did not have at the invalidation.
    on_the_way: HashSet<u64>,
    /// Numbers of these that took longer than [`SETTLE_MAX`]. The other door was answered by then, so a program that asks for the size
    /// of what it was told of may be the one whose answer the kernel gives up.
    late: HashSet<u64>,
    late_asked: Instant,
}

impl<K: Kernel, S: Sizes> Teller<K, S> {
    fn tell(&mut self, batch: Batch) {
        if batch.all {
            self.tell_all();
            return;
        }
        let mut sent = 0;
        for (parent, name) in &batch.entries {
            if self.nodes.knows(*parent) {
                self.kernel.drop_name(*parent, name);
                sent += 1;
            }
        }
        for &(ino, scope) in &batch.inodes {
            sent += u64::from(self.tell_inode(ino, scope));
        }
        self.metrics.invalidated(sent);
    }

    /// Drops one inode if the kernel was ever given it, and answers whether.
    fn tell_inode(&mut self, ino: u64, scope: Scope) -> bool {
        // Noted first: a request whose inode is not found below then sees the change.
        self.nodes.moments.note(ino_of(ino).0);
        let nodes = self.nodes.of(ino);
        for node in &nodes {
            let had = if scope == Scope::Attr || node.kept().is_some() {
                // The pages of a replaced content stay what they are.
                self.kernel.drop_inode(node.number(), Scope::Attr)
            } else {
                let size = self.sizes.size(ino);
                // First, so that an open that comes between does not keep the pages.
                node.stale();
                let had = self.kernel.drop_inode(node.number(), Scope::Data);
                // Reads from here on see at least this many bytes, so that size may be shown.
                node.dropped_at(size);
                had
            };
            if !had {
                self.on_the_way.insert(node.number());
            }
        }
        !nodes.is_empty()
    }

    fn tell_all(&mut self) {
        self.metrics.overflowed();
        self.nodes.moments.note_all();
        let inos = self.nodes.all();
        tracing::warn!(
            inodes = inos.len(),
            "too many foreign changes at once; everything the kernel cached is dropped"
        );
        if !self.kernel.drop_all_names() {
            tracing::warn!(
                "this kernel cannot drop all names at once; changed names may be seen late, up to the entry time to live"
            );
        }
        self.metrics.invalidated(inos.len() as u64);
        for ino in inos {
            self.tell_inode(ino, Scope::Data);
        }
    }

    /// Invalidates what was on its way when it was told, as soon as it is there.
    fn settle(&mut self, feed: &Feed) {
        if self.on_the_way.is_empty() {
            return;
        }
        let until = now() + SETTLE_MAX;
        loop {
            still_on_the_way(&mut self.on_the_way, &self.kernel, &self.nodes);
            if self.on_the_way.is_empty() {
                return;
            }
            if now() >= until || feed.stop.load(Ordering::Acquire) {
                break;
            }
            std::thread::sleep(SETTLE_STEP);
        }
        self.late.extend(self.on_the_way.drain());
        if self.late.len() > LATE_MAX {
            tracing::warn!(
                inodes = self.late.len(),
                "attributes on their way into the kernel may be old there, up to their time to live"
            );
            self.late.clear();
        }
    }

    /// Asks the kernel now and then for inodes that took longer.
    fn ask_for_late(&mut self) {
        if !self.late.is_empty() && now().saturating_duration_since(self.late_asked) >= IDLE_WAIT {
            still_on_the_way(&mut self.late, &self.kernel, &self.nodes);
            self.late_asked = now();
        }
    }
}

/// Invalidates those of `numbers` that the kernel has by now. Leaves those that it was given and does not have yet.
fn still_on_the_way(numbers: &mut HashSet<u64>, kernel: &impl Kernel, nodes: &Nodes) {
    numbers.retain(|&number| nodes.knows(number) && !kernel.drop_inode(number, Scope::Attr));
}

#[cfg(test)]
#[path = "notify/tests.rs"]
mod tests;
