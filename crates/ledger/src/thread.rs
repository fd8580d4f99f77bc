//! The body of the writer thread.

use std::time::Duration;

use crate::error::LedgerError;
use crate::queue::Halt;
use crate::shared::{QUORUM, Shared};

/// Pause before what could not be written for lack of room, descriptors or memory is tried again.
pub(crate) const STUCK_PAUSE: Duration = Duration::from_millis(200);

impl Shared {
    /// Writes whenever there is reason to, and what nobody waits for after `soon_max`.
    pub(crate) fn write_until_closed(&self) {
        let worker = &*self.writes;
        loop {
            let mut queue = self.queue.lock();
            loop {
                let idle = queue.items.is_empty();
                if queue.halt == Some(Halt::Closed) || (queue.closing && (idle || queue.halt.is_some())) {
                    return;
                }
                if queue.halt.is_some() {
                    worker.waits_for(QUORUM);
                    self.work.wait(&mut queue);
                    worker.goes_on();
                    continue;
                }
                if queue.urgent(self.written(), self.durable(), self.options.flush_bytes) {
                    break;
                }
                if idle {
                    self.work.wait(&mut queue);
                    continue;
                }
                let age = self.clock.monotonic_nanos().saturating_sub(queue.oldest_at);
                let left = self.options.soon_max.saturating_sub(Duration::from_nanos(age));
                if left.is_zero() {
                    break;
                }
                self.work.wait_for(&mut queue, left);
            }
            let round = worker.begin(Some(queue.items.len() as u64));
            drop(queue);
            // The lock is let go before looking again, so that a caller who waits may lead instead.
            let (before, pumped) = {
                let mut writer = self.writer.lock();
                (self.written(), self.pump(&mut writer))
            };
            worker.advance(self.written().0.saturating_sub(before.0));
            drop(round);
            match pumped {
                Ok(_) => {}
                Err(LedgerError::Full | LedgerError::Exhausted { .. }) => {
                    let mut queue = self.queue.lock();
                    if queue.closing {
                        return;
                    }
                    self.work.wait_for(&mut queue, STUCK_PAUSE);
                }
                // Told to all who wait by the halt.
                Err(LedgerError::QuorumLost { .. }) => {}
                Err(error) => {
                    if !matches!(error, LedgerError::Closed) {
                        // It is told to all who wait.
                        let _ = worker.failed(&error, Duration::MAX);
                    }
                    return;
                }
            }
        }
    }
}
