//! Open directories: the kernel's numeric offsets on top of the name space's opaque cursors.
//!
//! The offset behind an entry is its position's number (see [`strata_namespace::Positions`]), so `telldir`/`seekdir`
//! return to exactly that entry, whatever was added or removed meanwhile, through whichever descriptor: an open directory
//! keeps nothing. Entries are always read afresh: attributes that waited here could overtake an invalidation.

use strata_namespace::{Attr, ErrorKind, NodeKind, Page, Permit};
use strata_seam::Ino;

use crate::caller::Identity;
use crate::door::MountDoor;
use crate::errno::Refusal;
use crate::metrics::OpKind;

/// Offset behind `.`.
const DOT: u64 = 1;
/// Offset behind `..`, and so the offset before the first entry of the name space.
const DOT_DOT: u64 = strata_namespace::POSITIONS_RESERVED;

/// An open directory.
pub(crate) struct OpenDir {
    ino: Ino,
    /// The process that opened it; another one may hold the descriptor.
    who: Identity,
    /// Leave to list it, which an open gives for as long as it is open; `None` of one that was removed before it was opened.
    permit: Option<Permit>,
}

/// An entry on its way to the kernel.
pub(crate) struct Item<'a> {
    /// The offset behind it.
    pub(crate) offset: u64,
    /// Its inode.
    pub(crate) ino: u64,
    /// What it is.
    pub(crate) kind: NodeKind,
    /// Its name.
    pub(crate) name: &'a [u8],
    /// Its attributes; `None` for `.` and `..`, whose attributes the kernel ignores.
    pub(crate) attr: Option<&'a Attr>,
}

impl MountDoor {
    /// Opens a directory for listing.
    pub(crate) fn open_dir(&self, who: Identity, ino: Ino) -> Result<u64, Refusal> {
        let permit = match self.callers.run(&self.ns, who, |op| self.ns.open_dir(op, ino)) {
            Ok(permit) => Some(permit),
            // A removed directory to which somebody still refers can be opened, and is empty.
            Err(error) if error.kind == ErrorKind::Stale => None,
            Err(error) => return Err(error.into()),
        };
        // From here on the handle is used for listings.
        let who = Identity { kind: OpKind::Readdir, ..who };
        Ok(self.dirs.insert(OpenDir { ino, who, permit }))
    }

    /// Gives an open directory up.
    pub(crate) fn close_dir(&self, handle: u64) {
        self.dirs.remove(handle);
    }

    /// The cursor behind `offset`. EINVAL if it leads nowhere: never given out, or so long ago that the entry before it,
    /// which was removed since, is not remembered.
    fn cursor(&self, dir: &OpenDir, offset: u64) -> Result<Vec<u8>, Refusal> {
        if offset <= DOT_DOT {
            return Ok(Vec::new());
        }
        if let Some(cursor) = self.positions.find(dir.ino, offset) {
            return Ok(cursor);
        }
        let found = self.ns.find_position(&self.callers.op(dir.who), dir.ino, &self.positions, offset)?;
        found.ok_or(Refusal(libc::EINVAL))
    }

    /// Hands entries behind `offset` to `emit` until it answers that the reply is full, or the directory ends.
    /// `page` is how many entries to ask of the name space at once.
    pub(crate) fn list(
        &self,
        handle: u64,
        offset: u64,
        page: usize,
        emit: &mut dyn FnMut(&Item<'_>) -> bool,
    ) -> Result<(), Refusal> {
        let dir = self.dirs.get(handle).ok_or(Refusal(libc::EBADF))?;
        if self.list_dots(&dir, offset, emit) {
            return Ok(());
        }
        let mut told = Page::new(dir.ino);
        let listed = self.list_entries(&dir, offset, page, &mut told, emit);
        self.positions.keep(told);
        listed
    }

    fn list_entries(
        &self,
        dir: &OpenDir,
        offset: u64,
        page: usize,
        told: &mut Page,
        emit: &mut dyn FnMut(&Item<'_>) -> bool,
    ) -> Result<(), Refusal> {
        let mut after = self.cursor(dir, offset)?;
        let mut told_any = offset < DOT_DOT;
        loop {
            let listed = self.callers.run(&self.ns, dir.who, |op| match dir.permit {
                Some(permit) => self.ns.readdir(op, permit, &after, page),
                None => self.ns.readdir(op, dir.ino, &after, page),
            });
            let listed = match listed {
                Ok(listed) => listed,
                // A removed directory that is still open is empty.
                Err(e) if matches!(e.kind, ErrorKind::NotFound | ErrorKind::Stale) => return Ok(()),
                // The entries so far are valid; the error comes with the next request.
                Err(_) if told_any => return Ok(()),
                Err(e) => return Err(e.into()),
            };
            for entry in &listed.entries {
                let item = Item {
                    offset: self.positions.of(dir.ino, &entry.cursor),
                    ino: entry.attr.ino.0,
                    kind: entry.attr.kind,
                    name: &entry.name,
                    attr: Some(&entry.attr),
                };
                if emit(&item) {
                    return Ok(());
                }
                told_any = true;
                told.push(item.offset, &entry.cursor);
            }
            match listed.entries.into_iter().next_back() {
                Some(last) if !listed.end => after = last.cursor,
                _ => return Ok(()),
            }
        }
    }

    /// `.` and `..`, if `offset` lies before them. Returns whether the reply is full.
    fn list_dots(&self, dir: &OpenDir, offset: u64, emit: &mut dyn FnMut(&Item<'_>) -> bool) -> bool {
        let dot = |offset, ino: Ino, name| Item { offset, ino: ino.0, kind: NodeKind::Directory, name, attr: None };
        if offset < DOT && emit(&dot(DOT, dir.ino, b".")) {
            return true;
        }
        if offset < DOT_DOT {
            // The number beside `..` informs only; a removed directory has no parent any more.
            let parent = self.ns.parent(&self.callers.root_op(), dir.ino).map_or(dir.ino, |attr| attr.ino);
            return emit(&dot(DOT_DOT, parent, b".."));
        }
        false
    }
}
