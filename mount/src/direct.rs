//! Answers to direct writes (`O_DIRECT`) to files of which the kernel has cached pages.
//!
//! The kernel drops the pages of the written range before such a write and, if the program waits for it, again after it. For
//! asynchronous writes (`io_submit`, `io_uring`) it leaves out the second drop: a page that somebody read in between has the old bytes,
//! and stays. So these writes are answered only after this door has dropped the range. What is read after the answer is new.
//!
//! The drop waits for reads of these pages that are under way, so it must not happen on a thread that serves requests (rules 1 to 3 in
//! `notify.rs`). It has a thread of its own, because the one that sends notifications may be busy. Each waiting write is one request of
//! the kernel, so the kernel limits their number.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};

use fuser::{INodeNo, Notifier, ReplyWrite};

/// A write that was done.
pub(crate) struct Written {
    /// The kernel's inode.
    pub(crate) number: INodeNo,
    /// Where.
    pub(crate) offset: u64,
    /// How much.
    pub(crate) len: u32,
    /// Answers the program that waits for the write.
    pub(crate) reply: ReplyWrite,
}

/// The thread that answers them, started by the first one. It ends with the session.
pub(crate) struct DirectWrites {
    notifier: Arc<OnceLock<Notifier>>,
    queue: OnceLock<Sender<Written>>,
}

impl DirectWrites {
    pub(crate) fn new(notifier: Arc<OnceLock<Notifier>>) -> Self {
        Self { notifier, queue: OnceLock::new() }
    }

    /// Drops the pages of what was written, then answers.
    pub(crate) fn answer(&self, written: Written) {
        let queue = self.queue.get_or_init(|| {
            let (send, receive) = channel();
            let notifier = Arc::clone(&self.notifier);
            let thread = std::thread::Builder::new().name(String::from("strata-fuse-direct"));
            if let Err(error) = thread.spawn(move || answer_all(&receive, &notifier)) {
                tracing::error!(%error, "no thread for direct writes; they are answered as errors");
            }
            send
        });
        if let Err(refused) = queue.send(written) {
            refused.0.reply.error(fuser::Errno::EIO);
        }
    }
}

fn answer_all(queue: &Receiver<Written>, notifier: &OnceLock<Notifier>) {
    for Written { number, offset, len, reply } in queue {
        let dropped = notifier
            .get()
            .map(|notifier| notifier.inval_inode(number, i64::try_from(offset).unwrap_or(i64::MAX), i64::from(len)));
        if let Some(Err(error)) = dropped {
            // The mount is going away, or the kernel gave the inode up and has no pages of it.
            tracing::debug!(%error, "pages were not dropped behind a direct write");
        }
        reply.written(len);
    }
}
