//! Reading records outside of a change.

use strata_content::Cell;
use strata_seam::planted::{Bug, planted};
use strata_seam::{Ino, Lsn};

use crate::error::Result;
use crate::namespace::Namespace;
use crate::records::Inode;
use crate::types::{Caller, Op, STORE};
use crate::view::{View, gone};

/// Reads outside of a change; what is not yet durable is noted in the operation when the view is closed.
///
/// While nothing can be written, the doors whose answers wait for durability are shown the last state that is written: what
/// came after it is still on its way, and nobody can say for how long.
pub(crate) struct Snap<'a> {
    ns: &'a Namespace,
    op: &'a Op,
    seen: Lsn,
    /// Up to which change it reads, where later ones cannot be waited for.
    upto: Option<Lsn>,
    /// The bucket that everything read belongs to, by its root directory; 0 where that is not one bucket.
    pub(crate) bucket: Ino,
}

impl<'a> Snap<'a> {
    pub(crate) fn new(ns: &'a Namespace, op: &'a Op) -> Self {
        // A request that waits for what it reads to be durable does not read commits for which it would wait in vain.
        let upto = op.reads_written().then(|| ns.store.stalled_at()).flatten();
        let upto = upto.filter(|_| !planted(Bug::StalledShown));
        Self { ns, op, seen: Lsn(0), upto, bucket: Ino(0) }
    }
}

impl Namespace {
    /// A view of what is there now, for this operation.
    pub(crate) fn snap<'a>(&'a self, op: &'a Op) -> Snap<'a> {
        Snap::new(self, op)
    }

    /// The inode, for an operation that reads nothing else: what it promises is what the file's bucket promises.
    pub(crate) fn find_inode_alone(&self, op: &Op, ino: Ino) -> Result<Option<Inode>> {
        let mut snap = self.snap(op);
        let found = snap.find_inode(ino)?;
        snap.bucket = found.as_ref().map_or(Ino(0), |inode| inode.bucket);
        Ok(found)
    }

    /// Whether what happens in the bucket with this root directory needs not be durable before it is confirmed, by its rules of
    /// now.
    pub(crate) fn is_relaxed(&self, bucket: Ino) -> Result<bool> {
        // A bucket's rules are not part of the answer: nobody waits until they are durable.
        let unnoted = Op::new(Caller::root(&STORE));
        self.snap(&unnoted).is_relaxed(bucket)
    }

    /// The inode as it is now, even if nothing can be written, for a change that is built on it and checks it again. Only
    /// that change shows it, and it comes after whatever it was built on, or is refused.
    pub(crate) fn find_inode_to_change(&self, op: &Op, ino: Ino) -> Result<Option<Inode>> {
        let unnoted = Op::new(op.caller.clone());
        let mut snap = Snap::new(self, &unnoted);
        snap.upto = None;
        snap.find_inode(ino)
    }

    /// The inode alone, as [`Namespace::find_inode_alone`] reads it; an error if it does not exist.
    pub(crate) fn inode_alone(&self, op: &Op, ino: Ino) -> Result<Inode> {
        self.find_inode_alone(op, ino)?.ok_or_else(gone)
    }
}

impl Drop for Snap<'_> {
    fn drop(&mut self) {
        if self.seen > self.ns.store.durable() {
            let seen = self.seen;
            // If the rules cannot be read, the answer waits as in a strict bucket.
            let relaxed = self.is_relaxed(self.bucket).unwrap_or(false);
            self.op.note(seen, !relaxed);
        }
    }
}

impl View for Snap<'_> {
    fn record(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let found = self.ns.store.record_upto(key, self.upto)?;
        self.seen = self.seen.max(found.lsn);
        Ok(found.value)
    }

    fn records_at(&mut self, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>> {
        let rows = self.ns.store.records_at(keys, self.upto)?;
        self.seen = rows.iter().map(|row| row.lsn).fold(self.seen, Lsn::max);
        Ok(rows.into_iter().map(|row| row.value).collect())
    }

    fn cell(&mut self, key: &[u8]) -> Result<Option<Cell>> {
        Ok(self.record(key)?.map(|value| Cell::from_value(&value)))
    }

    fn has_placeholders(&self) -> bool {
        !self.ns.is_outdated()
    }

    fn records(&mut self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let page = self.ns.store.records_upto(from, to, limit, self.upto)?;
        self.seen = self.seen.max(page.lsn);
        Ok(page.entries.into_iter().map(|(key, entry)| (key, entry.value)).collect())
    }
}
