//! The body of the writer thread.

use std::time::Duration;

use crate::error::LedgerError;
use crate::queue::Halt;
use crate::shared::Shared;

/// Pause before what could not be written for lack of room, descriptors or memory is tried again.
const STUCK_PAUSE: Duration = Duration::from_millis(200);

impl Shared {
    /// Writes whenever there is reason to, and what nobody waits for after `soon_max`.
    pub(crate) fn write_until_closed(&self) {
        loop {
            let mut queue = self.queue.lock();
            loop {
                let idle = queue.items.is_empty();
                if queue.halt == Some(Halt::Closed) || (queue.closing && (idle || queue.halt.is_some())) {
                    return;
                }
                if queue.halt.is_some() {
                    // Until the quorum is back.
                    self.work.wait(&mut queue);
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
            drop(queue);
            // The lock is let go before looking again, so that a caller who waits may lead instead.
            let pumped = self.pump(&mut self.writer.lock());
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
                Err(_) => return,
            }
        }
    }
}
