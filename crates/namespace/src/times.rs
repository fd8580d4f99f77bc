//! Times and change number of a directory, kept apart from its record.
//!
//! A change that makes or removes a name in a directory adds to this cell without reading it: one more change, and the time. The record
//! itself has the permissions, and every request that passes through the directory reads it. So changes in a busy directory do not all
//! write the record. The directory's attributes are computed from both.

use strata_content::{Cell, Tx};
use strata_seam::{Ino, Timestamp};

use crate::key;
use crate::records::Inode;
use crate::types::{Attr, NodeKind};

/// The key of a directory's cell, to which every change that adds or removes an entry adds.
pub(crate) fn key_of(dir: Ino) -> Vec<u8> {
    key::under(key::TABLE_TIMES, dir, &[])
}

/// The key of a directory's cell; `None` for anything else, which has none.
pub(crate) fn key_for(attr: &Attr) -> Option<Vec<u8>> {
    (attr.kind == NodeKind::Directory).then(|| key_of(attr.ino))
}

/// Notes that the entries of a directory were changed `now`, in its cell and in what was read of it. Its record is not written.
pub(crate) fn touch(tx: &mut Tx<'_>, dir: &mut Inode, now: Timestamp) {
    (dir.attr.mtime, dir.attr.ctime) = (now, now);
    tx.tally(&key_of(dir.attr.ino), 1);
    put(tx, &dir.attr);
}

/// Has the cell tell the times of these attributes.
pub(crate) fn put(tx: &mut Tx<'_>, attr: &Attr) {
    tx.put_tail(key_of(attr.ino), tail(attr));
}

/// Writes the cell of a directory that had none when the change read it. The whole cell is written: a change may rely on the absence of a
/// row only if it writes that row. So two changes that both make the first name there do not miss each other.
pub(crate) fn put_first(tx: &mut Tx<'_>, attr: &Attr) {
    let cell = Cell { count: 0, tail: tail(attr) };
    if let Some(value) = cell.to_value() {
        tx.put(key_of(attr.ino), value);
    }
}

fn tail(attr: &Attr) -> Vec<u8> {
    [attr.mtime.0.to_le_bytes(), attr.ctime.0.to_le_bytes()].concat()
}

/// Removes what is kept of a directory that is erased.
pub(crate) fn forget(tx: &mut Tx<'_>, dir: Ino) {
    tx.delete(key_of(dir));
}

/// Adds the cell to the attributes of a directory's record: the times, and one more change for each that the cell counts.
pub(crate) fn complete(attr: &mut Attr, cell: &Cell) {
    put_in(attr, cell);
    attr.change += changes(cell);
}

/// Puts the times of a cell into what a directory's record says.
pub(crate) fn put_in(attr: &mut Attr, cell: &Cell) {
    if let Some((mtime, ctime)) = times_of(cell) {
        attr.mtime = mtime;
        // The record's time is later if something other than the entries was changed last.
        attr.ctime = attr.ctime.max(ctime);
    }
}

/// How many changes a cell counts beside those of the record.
pub(crate) fn changes(cell: &Cell) -> u64 {
    u64::try_from(cell.count).unwrap_or(0)
}

fn times_of(cell: &Cell) -> Option<(Timestamp, Timestamp)> {
    let (mtime, rest) = cell.tail.split_first_chunk::<8>()?;
    let ctime = rest.first_chunk::<8>()?;
    Some((Timestamp(i64::from_le_bytes(*mtime)), Timestamp(i64::from_le_bytes(*ctime))))
}
