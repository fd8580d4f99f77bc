//! Cuts RPC records out of a TCP stream (record marking, RFC 5531 section 11).
//!
//! Invariants: a length is checked against the limit before anything is allocated for it; bytes for a large record are
//! taken from the door's budget before they are allocated; a record that came in one fragment is a slice of the read
//! buffer, and at most [`READ_LEN`] bytes of it are ever copied.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

use strata_gate::{Pace, Patience, TooSlow};

use crate::rpc::LAST_FRAGMENT;

/// Bytes asked for when it is not known what comes: several small calls, or the beginning of a large one.
const READ_LEN: usize = 32 << 10;
/// Most fragments of one record. Real clients send one; more only cost time.
const FRAGMENTS_MAX: usize = 256;
const MARK_LEN: usize = 4;

/// Why no record came.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    /// The client closed the connection between two records.
    #[error("the client closed the connection")]
    Closed,
    /// The stream ended or failed.
    #[error("the connection failed inside a record")]
    Io(#[from] std::io::Error),
    /// No request for a long time.
    #[error("no request came for the idle time")]
    Idle,
    /// A record was begun and not continued, or too slowly.
    #[error("a record was sent too slowly")]
    Slow(#[from] TooSlow),
    /// A record above the limit.
    #[error("a record of at least {len} bytes is above the limit of {limit}")]
    TooLong {
        /// Bytes announced.
        len: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// A record in more fragments than anybody needs.
    #[error("a record has more than {FRAGMENTS_MAX} fragments")]
    Fragments,
}

/// Memory for records being received.
pub(crate) trait Budget {
    /// What holds the memory until the record was worked on.
    type Permit;
    /// Waits until `len` bytes may be held.
    fn acquire(&self, len: usize) -> impl Future<Output = Self::Permit> + Send;
}

/// Bounds of a reader.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecordLimits {
    pub(crate) len_max: usize,
    pub(crate) idle_timeout: Duration,
    pub(crate) pace: Pace,
}

/// Reads records from `stream`.
pub(crate) struct RecordReader<S> {
    stream: S,
    buf: BytesMut,
    limits: RecordLimits,
}

impl<S: AsyncRead + Unpin> RecordReader<S> {
    pub(crate) fn new(stream: S, limits: RecordLimits) -> Self {
        Self { stream, buf: BytesMut::new(), limits }
    }

    /// Waits until a record begins. Dropping the future loses nothing.
    pub(crate) async fn begins(&mut self) -> Result<(), RecordError> {
        if self.buf.len() >= MARK_LEN {
            return Ok(());
        }
        let idle = self.limits.idle_timeout;
        timeout(idle, self.fill(MARK_LEN, None)).await.map_err(|_| RecordError::Idle)?
    }

    /// The next record, with what holds its memory. Not to be dropped before it is done: the stream then has no
    /// meaning any more.
    pub(crate) async fn next<B: Budget>(&mut self, budget: &B) -> Result<(Bytes, B::Permit), RecordError> {
        let (len, last) = self.mark(0)?;
        // A record in several fragments gets the whole limit at once: a budget taken bit by bit could deadlock.
        let permit = budget.acquire(if last { len } else { self.limits.len_max }).await;
        Ok((self.body(len, last).await?, permit))
    }

    async fn body(&mut self, len: usize, last: bool) -> Result<Bytes, RecordError> {
        let patience = &mut Patience::new(self.limits.pace);
        let first = self.fragment(len, patience).await?;
        if last {
            return Ok(first);
        }
        let mut record = BytesMut::from(first.as_ref());
        for _ in 1..FRAGMENTS_MAX {
            self.fill(MARK_LEN, Some(patience)).await?;
            let (len, last) = self.mark(record.len())?;
            record.extend_from_slice(&self.fragment(len, patience).await?);
            if last {
                return Ok(record.freeze());
            }
        }
        Err(RecordError::Fragments)
    }

    /// Takes a mark that is complete in the buffer off it.
    fn mark(&mut self, before: usize) -> Result<(usize, bool), RecordError> {
        let mark = self.buf.get_u32();
        let len = usize::try_from(mark & !LAST_FRAGMENT).unwrap_or(usize::MAX);
        let last = mark & LAST_FRAGMENT != 0;
        let limit = self.limits.len_max;
        if len > limit - before {
            return Err(RecordError::TooLong { len: before.saturating_add(len), limit });
        }
        Ok((len, last))
    }

    async fn fragment(&mut self, len: usize, patience: &mut Patience) -> Result<Bytes, RecordError> {
        self.fill(len, Some(patience)).await?;
        Ok(self.buf.split_to(len).freeze())
    }

    /// Reads until the buffer holds `len` bytes, with `patience` where they have to come.
    async fn fill(&mut self, len: usize, mut patience: Option<&mut Patience>) -> Result<(), RecordError> {
        while self.buf.len() < len {
            let missing = len - self.buf.len();
            // Exactly the rest of a large record, so that nothing of the next one has to be moved.
            self.buf.reserve(if missing > READ_LEN { missing } else { READ_LEN });
            let between = self.buf.is_empty() && len == MARK_LEN;
            let read = self.stream.read_buf(&mut self.buf);
            let read = match &mut patience {
                Some(patience) => patience.wait(read, |read| *read.as_ref().unwrap_or(&0) as u64).await?,
                None => read.await,
            };
            let read = match read {
                // Clients that are in a hurry close so.
                Err(error) if between && error.kind() == std::io::ErrorKind::ConnectionReset => 0,
                read => read?,
            };
            if read == 0 {
                return Err(if between {
                    RecordError::Closed
                } else {
                    RecordError::Io(std::io::ErrorKind::UnexpectedEof.into())
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
