//! The end of a connection whose client may still be sending. Closing at once would answer further bytes with a reset,
//! and the client would lose the answer before it has read it. So further bytes are read for a while and thrown away.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Sleep, sleep};

/// How long a closed connection is read at most.
pub const LINGER_TIMEOUT: Duration = Duration::from_secs(30);
/// How many bytes of a closed connection are read at most.
pub const LINGER_LEN_MAX: usize = 64 << 20;

/// The end of a connection after its last answer: it is closed for writing, and what the client still sends is read and discarded.
pub struct Linger {
    left: usize,
    timer: Pin<Box<Sleep>>,
}

impl Linger {
    /// Begins; the time runs from now on.
    #[must_use]
    pub fn begin() -> Self {
        Self { left: LINGER_LEN_MAX, timer: Box::pin(sleep(LINGER_TIMEOUT)) }
    }

    /// Reads and discards. Ready when the client has closed its side, a limit is reached, or an error occurred.
    pub fn poll<S: AsyncRead + Unpin>(&mut self, stream: &mut S, task: &mut Context<'_>) -> Poll<()> {
        let mut scrap = [0; 16 << 10];
        loop {
            if self.timer.as_mut().poll(task).is_ready() {
                return Poll::Ready(());
            }
            let mut into = ReadBuf::new(&mut scrap);
            let read = ready!(Pin::new(&mut *stream).poll_read(task, &mut into)).map(|()| into.filled().len());
            self.left = self.left.saturating_sub(read.unwrap_or(0));
            if self.left == 0 || into.filled().is_empty() {
                return Poll::Ready(());
            }
        }
    }
}
