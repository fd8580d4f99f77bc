//! Numbers of inodes and uploads. They are never used twice.
//!
//! A name space reserves a block of numbers in a commit of its own, and changes take numbers from the block without a further commit.
//! So two processes with the same store could never take the same number. Numbers that are left when a process ends are not used.

use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;
use strata_chunk::wire::{Decoder, Encoder};
use strata_content::{Store, Tx};
use strata_seam::planted::{Bug, planted};

use crate::error::{Error, ErrorKind, Result, fail};
use crate::key;
use crate::types::ROOT_INO;
use crate::view::damaged;

/// Numbers in a block: so many changes need no commit for their numbers, and a process wastes so many at most.
const BLOCK: u64 = 1 << 16;

/// Most numbers that changes which are under way together draw: an object's key makes a directory for each of its parts, 512 at most.
pub(crate) const AT_HAND: u64 = 1 << 13;

/// The number at which the next block begins.
fn mark(tx: &mut Tx<'_>) -> Result<u64> {
    match tx.get(key::KEY_NUMBERS)? {
        Some(mark) => Decoder::new(&mark).uvarint().map_err(|_| damaged("a counter of the store".to_owned())),
        None => Ok(ROOT_INO.0 + 1),
    }
}

/// The block that numbers are drawn from.
#[derive(Default)]
pub(crate) struct Numbers(Mutex<Range<u64>>);

impl Numbers {
    /// A number never used before for an inode or an upload. Computed again, a change draws the same one.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] when more are drawn than [`Numbers::have_at_hand`] was asked for.
    pub(crate) fn draw(&self, tx: &mut Tx<'_>) -> Result<u64> {
        tx.draw(|| self.0.lock().next()).ok_or_else(|| {
            fail(ErrorKind::Busy, "no number for a new inode is available now; nothing was changed; try again")
        })
    }

    /// Sees to it that so many numbers can be drawn. Before a change: it commits.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn have_at_hand(&self, store: &Arc<Store>, needed: u64) -> Result<()> {
        let left = |block: &Range<u64>| block.end - block.start;
        if left(&self.0.lock()) >= needed {
            return Ok(());
        }
        // Changes that make room may need numbers, so a full store reserves them too.
        let block = store.transact_as_removal(|tx| {
            let next = mark(tx)?;
            if !planted(Bug::NumbersNotReserved) {
                let mut mark = Encoder::new();
                mark.uvarint(next + BLOCK);
                tx.put(key::KEY_NUMBERS, mark.finish());
            }
            Ok::<_, Error>(next..next + BLOCK)
        })?;
        let mut numbers = self.0.lock();
        // Two threads may have reserved a block at once; one block is enough.
        if left(&numbers) < needed {
            *numbers = block.value;
        }
        Ok(())
    }
}
