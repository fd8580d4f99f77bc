//! When one disk is left out so that the others may go on: it is slow, or full where they have room.
//!
//! Invariant: nobody is left out where fewer disks than the write quorum would remain; then all wait, or the set is full.

use strata_seam::DiskError;

use crate::error::{LedgerError, Result};
use crate::member::{Member, Why};
use crate::meter::{WRITE_RUN, median};
use crate::set::Set;

/// Segments of room that every other disk must have for one to be called full alone. Disks of a set fill together; the
/// first of them to say so must not be dropped, and then the next.
const ROOM_SEGMENTS: u64 = 8;

impl Set {
    /// Notes what each disk took for one stripe, and sets the disk aside that makes every commit wait. Returns that one.
    pub(crate) fn judge_writes(&self, times: &[(usize, u64)]) -> Option<usize> {
        let mut slow = None;
        for (disk, nanos) in times {
            let usual =
                || median(times.iter().filter(|(other, _)| other != disk).map(|(_, nanos)| *nanos).collect::<Vec<_>>());
            if self.members[*disk].meter.note_write(*nanos, usual) >= WRITE_RUN {
                slow = Some((*disk, *nanos));
            }
        }
        let (disk, nanos) = slow.filter(|_| self.writable() > self.write_quorum())?;
        let what = format!("{WRITE_RUN} stripes in a row waited for it, the last one for {} ms", nanos / 1_000_000);
        self.members[disk].set_aside(Why::Slow, what);
        Some(disk)
    }

    /// Decides about disks that have no room for another segment: they are set aside where the others have plenty.
    ///
    /// # Errors
    /// [`LedgerError::Full`] where the set as a whole is full.
    pub(crate) fn judge_full(&self, full: &[(usize, DiskError)]) -> Result<()> {
        if full.is_empty() {
            return Ok(());
        }
        let is_full = |index: usize| full.iter().any(|(disk, _)| *disk == index);
        let room = |member: &Member| {
            let space = member.disk().and_then(|disk| disk.space());
            space.is_ok_and(|space| space.free >= ROOM_SEGMENTS.saturating_mul(self.segment_len))
        };
        let others: Vec<&Member> = (self.members.iter().enumerate())
            .filter(|(index, member)| member.writable() && !is_full(*index))
            .map(|(_, member)| member)
            .collect();
        if others.len() < self.write_quorum() || !others.iter().all(|member| room(member)) {
            return Err(LedgerError::Full);
        }
        full.iter().for_each(|(disk, error)| self.members[*disk].fail(error));
        Ok(())
    }
}
