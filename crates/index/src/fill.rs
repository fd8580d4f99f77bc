//! Filling a fresh index from a checkpoint.
//!
//! Invariant: the engine says that it is filled only once it holds exactly the pairs of the stamp, by their fingerprint. Until
//! then its record says that its first drain was never finished, so that a crash leaves an index that the next start throws
//! away.

use strata_seam::Lsn;

use crate::dump::{Fingerprint, Stamp};
use crate::engine::Pair;
use crate::error::IndexError;
use crate::index::Index;
use crate::spans::Cutter;
use crate::stored::{STATUS_KEY, Status};
use crate::sum::Sum;

/// Pairs per batch, as in a drain: the engine keeps a batch several times over.
const BATCH: usize = 512;

/// Bytes of keys and values after which the engine is told to put them on the disk: it keeps what it has not written, and is filled
/// faster than it writes by itself.
pub(crate) const FLUSH_BYTES: usize = 8 << 20;

/// Why a fresh index could not be filled. It is of no more use: open another one.
#[derive(Debug, thiserror::Error)]
pub enum FillError<E: std::error::Error + 'static> {
    /// Where the pairs come from failed.
    #[error("the pairs of the checkpoint could not be read")]
    Source(#[source] E),
    /// The engine failed.
    #[error("the index could not be filled")]
    Index(#[source] IndexError),
    /// The pairs are not those of the stamp.
    #[error("the pairs of the checkpoint are not those it was made of; it is passed over")]
    Fingerprint,
    /// The index was not fresh.
    #[error("an index that holds something cannot be filled from a checkpoint; nothing was changed")]
    NotFresh,
}

impl Index {
    /// Fills a fresh index with the pairs of a checkpoint, which `next` gives in order of key, an empty run at the end.
    /// Returns how many there were.
    ///
    /// # Errors
    /// [`FillError`]; the index must then be dropped, and is thrown away when its folder is opened again.
    pub fn fill<E: std::error::Error>(
        &self,
        stamp: &Stamp,
        next: &mut dyn FnMut() -> Result<Vec<Pair>, E>,
    ) -> Result<u64, FillError<E>> {
        let state = self.drain.lock();
        let mut status = *self.status.lock();
        if status.applied.is_some() || status.draining.is_some() || self.overlay.read().highest > Lsn(0) {
            return Err(FillError::NotFresh);
        }
        let write = |list| self.engine.put_unseen(list).map_err(|error| FillError::Index(self.engine_failed(error)));
        let unfinished = Status { draining: Some(stamp.applied.max(Lsn(1))), ..status };
        write(vec![(STATUS_KEY.to_vec(), Some(unfinished.encode()))])?;
        let (mut sum, mut count, mut unflushed) = (Fingerprint::default(), 0, 0);
        let mut batch = Vec::with_capacity(BATCH);
        let mut spans = Cutter::new(&[]);
        loop {
            let pairs = next().map_err(FillError::Source)?;
            let end = pairs.is_empty();
            for pair in pairs {
                sum.add(&pair);
                spans.push(&pair.0, &pair.1);
                count += 1;
                unflushed += pair.0.len() + pair.1.len();
                batch.push((pair.0, Some(pair.1)));
                if batch.len() == BATCH {
                    write(std::mem::replace(&mut batch, Vec::with_capacity(BATCH)))?;
                    if unflushed >= FLUSH_BYTES {
                        unflushed = 0;
                        self.engine.flush().map_err(|error| FillError::Index(self.engine_failed(error)))?;
                    }
                }
            }
            if end {
                break;
            }
        }
        if sum.sum() != stamp.sum {
            return Err(FillError::Fingerprint);
        }
        status.applied = Some((stamp.applied, stamp.position));
        status.sum = Sum(stamp.sum);
        write(batch)?;
        let status = self.engine.filled(spans, status).map_err(|error| FillError::Index(self.engine_failed(error)))?;
        *self.status.lock() = status;
        let mut overlay = self.overlay.write();
        overlay.floor = stamp.applied;
        overlay.note(stamp.position);
        drop((overlay, state));
        Ok(count)
    }
}
