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
//! Attributes alone are dropped by request threads too, those of the inode that the request holds: they wait for nothing
//! but that inode. An open of a file that is open already and was changed in place (the change is on its way here) does
//! so, else reads through the new descriptor would end at the old size; a write that cleared set-id bits does so, of
//! which the kernel knows nothing. Pages behind direct writes have their own thread, see `direct.rs`.
//!
//! With these, invalidating content is safe even under reads and writes in flight: it waits for their pages, and the
//! threads that answer them do not wait for it. Content changed in place elsewhere is invalidated with its pages, so the
//! next read sees it even in files that stay open; changed attributes are invalidated alone. Pages of a content that was
//! replaced while somebody here has it open are left alone: they are what that somebody is to read (see `nodes.rs`).
//!
//! A reply computed before a change and installed by the kernel after the invalidation would be stale for its whole
//! time to live. For names the kernel's directory lock rules that out, for pages the page lock does, and for attributes of an
//! inode that the kernel has, the version it counts up with each invalidation (`fuse_reverse_inval_inode`). For attributes of
//! an inode the kernel is just getting to know nothing does, hence an inode that it did not have yet is invalidated once more
//! after [`SECOND_ROUND`]. The others are not: the kernel gives up the answers it waits for at an invalidation, sizes of files
//! among them, and a read or a mapping in that moment would end at the old size.

use std::collections::VecDeque;
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
use crate::nodes::Nodes;
use crate::operations::DOOR;
use crate::queue::{Batch, PENDING_MAX, Pending, Scope};

/// Most changes the name space holds for this mount before it gives up counting them.
pub(crate) const FEED_MAX: usize = 64 * 1024;
/// How soon attributes of an inode that the kernel did not have are invalidated again: longer than a reply takes from here to its
/// place in the kernel.
const SECOND_ROUND: Duration = Duration::from_millis(20);
/// Most inodes that wait for their second time; beyond it the oldest are done early.
const SECOND_ROUND_MAX: usize = 4 * PENDING_MAX;
/// How long an idle wait may last, so that stopping and resyncs are noticed.
const IDLE_WAIT: Duration = Duration::from_millis(50);
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
        let offset = match scope {
            Scope::Attr => -1,
            Scope::Data => 0,
        };
        let sent = self.notifier.inval_inode(INodeNo(ino), offset, 0);
        let had = !matches!(&sent, Err(error) if error.kind() == io::ErrorKind::NotFound);
        report("inode", sent);
        had
    }

    fn drop_all_names(&self) -> bool {
        // struct fuse_out_header { u32 len; i32 error; u64 unique; }: a notification has its code in `error` and no id.
        let mut message = [0_u8; 16];
        #[expect(clippy::host_endian_bytes, reason = "the kernel's interface is in host order")]
        {
            message[0..4].copy_from_slice(&16_u32.to_ne_bytes());
            message[4..8].copy_from_slice(&NOTIFY_INC_EPOCH.to_ne_bytes());
        }
        rustix::io::write(&self.device, &message).is_ok()
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
    let teller = Teller { kernel, sizes, nodes, metrics, again: VecDeque::new(), again_len: 0 };
    std::thread::Builder::new().name(String::from("strata-fuse-notify")).spawn(move || run(&feed, &changes, teller))
}

fn run<K: Kernel, S: Sizes>(feed: &Feed, changes: &Receiver<Change>, mut teller: Teller<K, S>) {
    let mut pending = Pending::default();
    while !feed.stop.load(Ordering::Acquire) {
        let mut taken = 0;
        match changes.recv_timeout(teller.wait(now())) {
            Ok(change) => {
                pending.push(change);
                taken += 1;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        // What has gathered meanwhile coalesces.
        changes.try_iter().take(PENDING_MAX).for_each(|change| {
            pending.push(change);
            taken += 1;
        });
        std::mem::take(&mut *feed.resync.lock()).into_iter().for_each(|ino| pending.push_data(ino));
        if !pending.is_empty() {
            teller.tell(pending.take(), now());
        }
        teller.sizes.told(taken);
        teller.tell_again(now());
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

/// What became of an invalidation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    /// Nobody told the kernel of the inode.
    Unknown,
    /// The kernel does not have the inode, or not yet.
    NotYet,
    /// The kernel has dropped it.
    Had,
}

/// Sends batches and remembers what to send again.
struct Teller<K, S> {
    kernel: K,
    sizes: S,
    nodes: Arc<Nodes>,
    metrics: Arc<MountMetrics>,
    again: VecDeque<(Instant, Vec<u64>)>,
    again_len: usize,
}

impl<K: Kernel, S: Sizes> Teller<K, S> {
    fn wait(&self, now: Instant) -> Duration {
        self.again.front().map_or(IDLE_WAIT, |(due, _)| due.saturating_duration_since(now).min(IDLE_WAIT))
    }

    fn tell(&mut self, batch: Batch, now: Instant) {
        if batch.all {
            self.tell_all(now);
            return;
        }
        let mut sent = 0;
        for (parent, name) in &batch.entries {
            if self.nodes.knows(*parent) {
                self.kernel.drop_name(*parent, name);
                sent += 1;
            }
        }
        let mut new = Vec::new();
        for &(ino, scope) in &batch.inodes {
            let told = self.tell_inode(ino, scope);
            sent += u64::from(told != Told::Unknown);
            if told != Told::Had {
                new.push(ino);
            }
        }
        self.metrics.invalidated(sent);
        self.remember(new, now);
    }

    /// Drops one inode if it was ever told to the kernel.
    fn tell_inode(&self, ino: u64, scope: Scope) -> Told {
        let nodes = self.nodes.of(ino);
        let mut had = true;
        for node in &nodes {
            if scope == Scope::Attr || node.kept().is_some() {
                // The pages of a content that was replaced stay what they are.
                had &= self.kernel.drop_inode(node.number(), Scope::Attr);
                continue;
            }
            let size = self.sizes.size(ino);
            // First, so that an open that comes between does not keep the pages.
            node.stale();
            had &= self.kernel.drop_inode(node.number(), Scope::Data);
            // What is read from here on has at least this many bytes, so that much may be shown.
            node.dropped_at(size);
        }
        match (nodes.is_empty(), had) {
            (true, _) => Told::Unknown,
            (false, true) => Told::Had,
            (false, false) => Told::NotYet,
        }
    }

    fn tell_all(&mut self, now: Instant) {
        self.metrics.overflowed();
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
        let new = inos.into_iter().filter(|ino| self.tell_inode(*ino, Scope::Data) != Told::Had).collect();
        self.remember(new, now);
    }

    fn remember(&mut self, inos: Vec<u64>, now: Instant) {
        if inos.is_empty() {
            return;
        }
        self.again_len += inos.len();
        self.again.push_back((now + SECOND_ROUND, inos));
        while self.again_len > SECOND_ROUND_MAX && self.again.len() > 1 {
            self.tell_oldest_again();
        }
    }

    fn tell_again(&mut self, now: Instant) {
        while self.again.front().is_some_and(|(due, _)| *due <= now) {
            self.tell_oldest_again();
        }
    }

    fn tell_oldest_again(&mut self) {
        let Some((_, inos)) = self.again.pop_front() else {
            return;
        };
        self.again_len -= inos.len();
        for ino in inos {
            self.tell_inode(ino, Scope::Attr);
        }
    }
}

#[cfg(test)]
#[path = "notify/tests.rs"]
mod tests;
