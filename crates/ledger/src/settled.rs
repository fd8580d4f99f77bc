//! Waiting as a future, for any executor.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use strata_seam::Lsn;

use crate::api::Class;
use crate::error::Result;
use crate::shared::Shared;

/// Ready when everything up to a number is as safe as asked.
pub struct Settled {
    shared: Arc<Shared>,
    lsn: Lsn,
    class: Class,
    /// Key of the waker left in the queue.
    waker: Option<u64>,
}

impl Settled {
    pub(crate) fn new(shared: Arc<Shared>, lsn: Lsn, class: Class) -> Self {
        Self { shared, lsn, class, waker: None }
    }
}

impl Future for Settled {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let shared = &this.shared;
        let mut queue = shared.queue.lock();
        if !shared.started() {
            // Nobody else writes: do it here.
            queue.want(this.lsn, this.class);
            while shared.settled(&queue, this.lsn, this.class).is_none() {
                drop(queue);
                drop(shared.pump(&mut shared.writer.lock()));
                queue = shared.queue.lock();
            }
        }
        if let Some(answer) = shared.settled(&queue, this.lsn, this.class) {
            return Poll::Ready(answer);
        }
        queue.want(this.lsn, this.class);
        queue.set_waker(&mut this.waker, this.lsn, this.class, context.waker());
        drop(queue);
        shared.work.notify_one();
        Poll::Pending
    }
}

impl Drop for Settled {
    fn drop(&mut self) {
        if let Some(id) = self.waker {
            self.shared.queue.lock().drop_waker(id);
        }
    }
}
