//! The newest commits that have events, kept in memory for readers that keep up. Older ones are read from the log.

use std::collections::VecDeque;

use bytes::Bytes;
use parking_lot::Mutex;
use strata_ledger::{Ledger, LogPlace, LogStop};
use strata_seam::Lsn;

/// Bytes of the newest commits kept in memory, at most.
const RECENT_BYTES_MAX: usize = 4 << 20;
/// Commits handed over between two looks at what is in memory.
const RECENT_STEP: usize = 256;

/// The newest commits with events.
pub(crate) struct Recent(Mutex<Kept>);

struct Kept {
    /// Every commit with events above this number is here ...
    above: Lsn,
    /// ... up to this one, the newest commit.
    last: Lsn,
    bytes: usize,
    commits: VecDeque<(Lsn, Bytes)>,
}

impl Recent {
    /// For a store whose newest append has this number.
    pub(crate) fn behind(last: Lsn) -> Self {
        Self(Mutex::new(Kept { above: last, last, bytes: 0, commits: VecDeque::new() }))
    }

    /// A commit was accepted; its bytes, if it has events. Called in the order of numbers.
    pub(crate) fn note(&self, lsn: Lsn, commit: Option<Bytes>) {
        let mut kept = self.0.lock();
        kept.last = lsn;
        let Some(commit) = commit else { return };
        kept.bytes += commit.len();
        kept.commits.push_back((lsn, commit));
        while kept.bytes > RECENT_BYTES_MAX
            && let Some((lsn, commit)) = kept.commits.pop_front()
        {
            kept.bytes -= commit.len();
            kept.above = lsn;
        }
    }

    /// The number of the newest commit.
    pub(crate) fn last(&self) -> Lsn {
        self.0.lock().last
    }

    /// See [`crate::Engine::read_commits`].
    pub(crate) fn read(
        &self,
        ledger: &Ledger,
        place: &mut LogPlace,
        upto: Lsn,
        each: &mut dyn FnMut(Lsn, &[u8]) -> bool,
    ) -> Result<(), LogStop> {
        // A commit that is written and not noted yet is in neither place.
        let written = ledger.written();
        loop {
            let mut step = Vec::new();
            let (above, upto) = {
                let kept = self.0.lock();
                let upto = upto.min(written).min(kept.last);
                if place.next() > kept.above {
                    let from = kept.commits.partition_point(|(lsn, _)| *lsn < place.next());
                    let wanted = kept.commits.range(from..).take_while(|(lsn, _)| *lsn <= upto);
                    step.extend(wanted.take(RECENT_STEP).cloned());
                }
                (kept.above, upto)
            };
            if place.next() > upto {
                return Ok(());
            }
            if place.next() > above {
                let more = step.len() == RECENT_STEP;
                for (lsn, commit) in step {
                    place.skip_to(lsn.next());
                    if !each(lsn, &commit) {
                        return Ok(());
                    }
                }
                if !more {
                    place.skip_to(upto.next());
                    return Ok(());
                }
                continue;
            }
            let mut ended = false;
            ledger.read_log(place, upto.min(above), &mut |append| {
                if let Some(commit) = append.commit.filter(|commit| strata_index::has_events(commit)) {
                    ended = !each(append.lsn, &commit);
                }
                !ended
            })?;
            if ended {
                return Ok(());
            }
        }
    }
}
