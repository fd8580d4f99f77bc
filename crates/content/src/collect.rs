//! Releasing pages of manifests in the background, one page per commit, so that deleting a large object stays one quick commit.

use std::sync::Arc;

use strata_seam::ChunkId;
use strata_seam::planted::{Bug, planted};

use crate::error::{ContentError, Result};
use crate::keys::{TABLE_GARBAGE, TABLE_ORPHAN_PAGE, of_session};
use crate::refs::Released;
use crate::store::Store;

/// Records taken up per call.
const STEP: usize = 64;

impl Store {
    /// Releases some of the pages whose owners are gone, and the pages of ingests that were dropped. Returns how many records it
    /// processed; zero means that there is nothing to do.
    ///
    /// # Errors
    /// Those of reading pages and of committing; what was not processed stays queued.
    pub fn collect(self: &Arc<Self>) -> Result<usize> {
        let mut keys: Vec<Vec<u8>> = {
            let mut abandoned = self.abandoned.lock();
            let keep = abandoned.len().saturating_sub(STEP);
            abandoned.split_off(keep)
        };
        // Numbers of a session are given out under the writer's lock, so entries that it queues later sort behind its earlier ones. Everything
        // before this place was released: a scan of it would only step over the traces of removals, ever more of them.
        let mut from = self.garbage_from.lock();
        let own = of_session(TABLE_GARBAGE, self.session());
        keys.extend(self.range(&from, &[TABLE_GARBAGE + 1], STEP)?.into_iter().map(|(key, _)| key));
        // One page that cannot be read must not hold up the others; it stays queued and is reported every time.
        let mut failed = None;
        let mut done = 0;
        for key in &keys {
            match self.let_go(key) {
                Ok(()) => {
                    done += 1;
                    // Entries of earlier sessions may sort behind.
                    if failed.is_none() && key.starts_with(&own) {
                        from.clone_from(key);
                    }
                }
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            Some(error) if done == 0 => Err(error),
            _ => Ok(done),
        }
    }

    /// After a start: releases all pages of ingests that earlier sessions did not finish.
    ///
    /// # Errors
    /// As [`Store::collect`].
    pub fn collect_unfinished(self: &Arc<Self>) -> Result<usize> {
        let mut total = 0;
        loop {
            let mut found = self.range(&[TABLE_ORPHAN_PAGE], &[TABLE_ORPHAN_PAGE + 1], STEP)?;
            found.retain(|(key, _)| !key.starts_with(&of_session(TABLE_ORPHAN_PAGE, self.session())));
            if found.is_empty() || planted(Bug::UnfinishedKept) {
                return Ok(total);
            }
            total += found.len();
            for (key, _) in found {
                self.let_go(&key)?;
            }
        }
    }

    /// Ends the reference that the record at `key` holds on a page.
    fn let_go(self: &Arc<Self>, key: &[u8]) -> Result<()> {
        let damaged = || ContentError::Record { what: "an entry of the list of pages to let go".to_owned() };
        let page_of = |value: &[u8]| <[u8; 32]>::try_from(value).map(ChunkId).map_err(|_| damaged());
        loop {
            let Some(record) = self.get(key)? else { return Ok(()) };
            let page = page_of(&record.value)?;
            // Read without the writer's lock: a page never changes.
            let node = if self.references(&page)? == 1 { Some(self.page(&page)?) } else { None };
            // This change waits for nobody, because the mover waits for it.
            let done = self.transact_for(None, true, |tx| {
                let Some(value) = tx.get(key)? else { return Ok(Released::Done) };
                let released = tx.release_page(&page_of(&value)?, node.as_ref())?;
                if released == Released::Done {
                    tx.delete(key);
                }
                Ok::<_, ContentError>(released)
            })?;
            if done.value == Released::Done {
                return Ok(());
            }
        }
    }
}
