//! Bringing index and ledger to the same state when a store is opened.
//!
//! **Invariant TRUTH**: the ledger decides what the opened store contains, whatever state the index engine is in (empty, damaged, of
//! another history, older than the log's start or newer than its end). The engine is used as it is if the log reaches back to it.
//! Otherwise the index is filled from the newest checkpoint, or from the whole log if its start is still there. Then the rest of the
//! log is replayed. If none of these is possible, the opening is refused and the error says what is damaged.

use std::sync::Arc;

use strata_content::{Checkpoint, ContentError, Restored, is_of_checkpoint, place_blocks};
use strata_index::{Batch, Drained, Index, IndexOptions, Opened, forget_former, put_back_former};
use strata_ledger::{Ledger, LedgerError, Peek, PlacedBlock, Replayed};
use strata_seam::planted::{Bug, planted};
use strata_seam::{Clock, Entropy, Lsn, Position, SegmentId, SetId};

use crate::assemble::StoreConfig;
use strata_namespace::{Error, ErrorKind, Result};

/// An index that is up to the end of its log.
pub(crate) struct Recovered {
    /// The log, open.
    pub(crate) ledger: Ledger,
    /// The index, with everything that is in the log.
    pub(crate) index: Arc<Index>,
    /// Appends replayed.
    pub(crate) replayed: u64,
    /// Bytes of the changes in them.
    pub(crate) changed: u64,
    /// Blocks of checkpoints among them.
    pub(crate) of_checkpoints: Vec<PlacedBlock>,
    /// Records filled in from the checkpoint.
    pub(crate) restored: u64,
    /// The newest checkpoint, where there is one.
    pub(crate) checkpoint: Option<Checkpoint>,
}

/// Opens index and ledger and brings the index up to the end of the log. Where the index was one of another engine than is asked
/// for, that one goes once the new one is there, and is put back where the new one cannot be built.
///
/// # Errors
/// What the ledger and the index say; an existing store is then as it was.
pub(crate) fn recover(
    config: &StoreConfig,
    set_id: SetId,
    clock: &Arc<dyn Clock>,
    entropy: &dyn Entropy,
) -> Result<Recovered> {
    let recovered = bring_up(config, set_id, clock, entropy);
    let Some(dir) = &config.index_dir else { return recovered };
    match recovered {
        Ok(recovered) => {
            forget_former(dir);
            Ok(recovered)
        }
        Err(error) => match put_back_former(dir) {
            Ok(Some(former)) => {
                tracing::error!(%former, "the index of the previous engine is in its place again");
                let what = format!(
                    "{}; the index was to be built anew for another engine; the one of {former} is in its place again: \
                     set `index-engine` to {former}",
                    error.what
                );
                Err(Error { what, ..error })
            }
            Ok(None) => Err(error),
            Err(failed) => {
                tracing::error!(error = %failed, "the index of the previous engine could not be put back");
                Err(error)
            }
        },
    }
}

/// Recovers the store that these disks hold, as [`recover`] does; an error if they hold none.
///
/// # Errors
/// [`ErrorKind::NotFound`] where they hold none, and those of [`recover`].
pub(crate) fn recover_found(config: &StoreConfig, clock: &Arc<dyn Clock>, entropy: &dyn Entropy) -> Result<Recovered> {
    let set = Ledger::find(&config.disks).map_err(ContentError::from)?;
    let set = set.ok_or_else(|| Error::new(ErrorKind::NotFound, "the disks hold no store; nothing was changed"))?;
    recover(config, set, clock, entropy)
}

fn bring_up(config: &StoreConfig, set_id: SetId, clock: &Arc<dyn Clock>, entropy: &dyn Entropy) -> Result<Recovered> {
    let peek = Peek::new(&config.disks, &config.ledger).map_err(ContentError::from)?;
    let mut damaged = None;
    let mut found = Restored::find(&peek).unwrap_or_else(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "the checkpoint is passed over");
        damaged = Some(error.to_string());
        None
    });
    let maker = Maker {
        config,
        options: IndexOptions {
            engine: config.index_engine,
            cache_capacity: config.index_cache_bytes,
            hot_bytes: config.index_cache_bytes,
            overlay_bytes_max: config.content.overlay_bytes_max,
            // As late as possible while leaving room for changes during the drain: a key that changes again before is drained once.
            freeze_bytes: config.content.overlay_bytes_max / 4 * 3,
            // Readers of a stalled store see the times that its directories had before the stall.
            cells_shown: &[strata_namespace::records::key::TABLE_TIMES],
            ..IndexOptions::new(set_id)
        },
    };
    let mut index = maker.open()?;
    let mut restored = 0;
    for attempt in 0..3 {
        if !usable(&index, &peek, found.as_ref()) {
            index = maker.emptied(index, "the log before it was given back")?;
            if let Some(checkpoint) = &found {
                match checkpoint.fill(&index) {
                    Ok(records) => restored = records,
                    Err(error) => {
                        tracing::error!(error = &error as &dyn std::error::Error, "the checkpoint is passed over");
                        damaged = Some(error.to_string());
                        found = None;
                        index = maker.fresh(index, "it was filled in part")?;
                    }
                }
            }
        }
        let from = index.applied().map(|(_, position)| position);
        if from.is_none() && !peek.reaches_back_to(SegmentId(0)) {
            let why = damaged.as_deref().unwrap_or("there is none");
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!(
                    "the index is lost, the start of the log was freed, and the checkpoint that replaces it cannot be used: \
                     {why}; nothing was changed; return a missing disk, or put the index folder back from a copy"
                ),
            ));
        }
        let (mut replayed, mut changed, mut undecodable) = (0, 0, None);
        let mut of_checkpoints = Vec::new();
        let opened = Ledger::open(
            config.disks.clone(),
            config.ledger.clone(),
            Arc::clone(clock),
            entropy,
            from,
            &mut |append| {
                replayed += 1;
                of_checkpoints.extend(append.blocks.iter().filter(|block| is_of_checkpoint(block)).cloned());
                changed += append.commit.as_ref().map_or(0, |commit| commit.len() as u64);
                changed += append.blocks.iter().map(|block| 2 * block.directory.len() as u64).sum::<u64>();
                let relieved = if append.lsn == append.at.next_lsn { relieve(&index, append.at) } else { Ok(()) };
                relieved.and_then(|()| apply(&index, append)).map_err(|error| {
                    let text = error.to_string();
                    undecodable = Some(error);
                    LedgerError::Inconsistent { what: text }
                })
            },
        );
        match opened {
            // The engine may hold changes the log does not: it is of another history then, for instance after the loss
            // of unsynced stripes.
            Ok(ledger) if index.engine_reach() < ledger.next_lsn() => {
                let checkpoint = found.map(|found| found.checkpoint().clone());
                let index = Arc::new(index);
                return Ok(Recovered { ledger, index, replayed, changed, of_checkpoints, restored, checkpoint });
            }
            Ok(_) if attempt < 2 => {}
            Err(LedgerError::Inconsistent { .. }) if attempt < 2 && from.is_some() => {}
            Ok(_) => {
                return Err(Error::new(ErrorKind::Corrupt, "a fresh index is ahead of the ledger; this cannot be"));
            }
            Err(error) => return Err(undecodable.unwrap_or_else(|| error.into()).into()),
        }
        tracing::warn!("the index does not belong to this log; it is rebuilt");
        if restored > 0 {
            // The index came from the checkpoint, and the log does not go on from there: only the whole log is left.
            damaged = Some("the log does not go on behind it".to_owned());
            found = None;
        }
        (index, restored) = (maker.fresh(index, "it does not belong to this log")?, 0);
    }
    Err(Error::new(ErrorKind::Corrupt, "the index could not be rebuilt"))
}

/// Whether the log can be replayed into the index as it is.
fn usable(index: &Index, peek: &Peek, found: Option<&Restored<'_>>) -> bool {
    match (index.applied(), found) {
        (Some((applied, position)), Some(found)) => {
            let reached = applied >= found.checkpoint().applied() || peek.reaches_back_to(position.segment);
            reached || planted(Bug::IndexBeforeLogTaken)
        }
        (Some(_), None) => true,
        (None, found) => found.is_none(),
    }
}

struct Maker<'a> {
    config: &'a StoreConfig,
    options: IndexOptions,
}

impl Maker<'_> {
    /// The index as it was left.
    fn open(&self) -> Result<Index> {
        let Some(dir) = &self.config.index_dir else { return Ok(Index::in_memory_with(self.options.clone())) };
        let index = Index::open(dir, self.options.clone()).map_err(ContentError::Index)?;
        if let Opened::SetAside { why, kept } = index.opened() {
            tracing::warn!(%why, ?kept, "the index was set aside; it is rebuilt from the ledger");
        }
        Ok(index)
    }

    /// An empty one in its place, whatever is in it.
    fn fresh(&self, index: Index, why: &str) -> Result<Index> {
        drop(index);
        match &self.config.index_dir {
            Some(dir) => Ok(Index::open_fresh(dir, self.options.clone(), why).map_err(ContentError::Index)?),
            None => Ok(Index::in_memory_with(self.options.clone())),
        }
    }

    /// An empty one: this one if it is.
    fn emptied(&self, index: Index, why: &str) -> Result<Index> {
        if index.applied().is_none() && index.engine_reach().0 == 0 { Ok(index) } else { self.fresh(index, why) }
    }
}

/// Moves what was replayed so far into the engine if it takes much memory: all appends below `at` were. If the log turns out to end
/// before what the engine then has, the engine is ahead of it, and the next opening notices that.
fn relieve(index: &Index, at: Position) -> Result<(), ContentError> {
    if index.has_much() {
        index.note_written(at);
        let below = Lsn(at.next_lsn.0.saturating_sub(1));
        loop {
            match index.drain_frozen(below)? {
                Drained::Idle if index.freeze() => {}
                Drained::Idle | Drained::Waiting { .. } => break,
                Drained::Batch { .. } | Drained::Done { .. } | Drained::Frozen | Drained::Verified => {}
            }
        }
    }
    Ok(())
}

/// Applies one append of the log to the index.
fn apply(index: &Index, append: Replayed) -> Result<(), ContentError> {
    if !append.blocks.is_empty() {
        index.apply(append.lsn, &place_blocks(&append.blocks)?);
    }
    if let Some(commit) = &append.commit {
        let batch = Batch::decode(commit)
            .map_err(|_| ContentError::Record { what: format!("the commit with sequence number {}", append.lsn) })?;
        index.apply(append.lsn, &batch);
    }
    Ok(())
}

/// Removes what the checkpoint says is not wanted any more: segments whose freeing was cut off, and those on disks that were
/// away then. Whatever stays is tried again by the next opening, and all of it when a store that takes no writes takes some.
pub(crate) fn free_stale(ledger: &Ledger, checkpoint: &Checkpoint) {
    match ledger.free_all_but(checkpoint.kept(), checkpoint.position()) {
        Ok(0) => {}
        Ok(files) => tracing::info!(files, "segment files that were freed before are removed"),
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "segment files that were freed could not be removed"
            );
        }
    }
}
