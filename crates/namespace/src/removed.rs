//! Inodes that were removed from the tree and to which the mount's kernel still refers.
//!
//! On a local file system an inode lives as long as anything refers to it: a working directory, a descriptor opened with `O_PATH`, or a
//! program between its walk of the path and its `open`, while another replaces the file by a rename. The mount's kernel refers to
//! inodes by number. So when an inode that the kernel knows is erased, it is remembered here. Its attributes are kept, with a link count
//! of zero. Its content is kept for a moment, so that a late open still gets it.
//!
//! Nothing of this is in the store: a crash forgets it, as it forgets files that were unlinked while open. A file that is opened late
//! becomes an unlinked open file. `remnants.rs` says what is remembered, and how much.

use std::sync::Arc;

use strata_content::Hold;
use strata_seam::Ino;

use crate::domain::dedup_domain;
use crate::effects::Effects;
use crate::error::{ErrorKind, Result, fail};
use crate::key;
use crate::namespace::Namespace;
use crate::records::Inode;
use crate::remnants::State;
use crate::types::{Access, Attr, NodeKind, Op, Opened};
use crate::view::View;

impl Namespace {
    /// From now on a removed inode is remembered as long as `refers` says that the mount's kernel refers to it, until
    /// [`Namespace::forget_removed`]. Only one mount can register. `refers` is called within changes, so it must take microseconds.
    pub fn remember_removed(&self, refers: impl Fn(Ino) -> bool + Send + Sync + 'static) {
        *self.removed.0.lock() = State { refers: Some(Arc::new(refers)), ..State::default() };
    }

    /// The kernel no longer refers to the inode: what is remembered of it is dropped.
    pub fn forget_removed(&self, ino: Ino) {
        let mut state = self.removed.0.lock();
        if !state.known.is_empty() {
            state.forget(ino);
        }
    }

    /// The attributes of a removed inode that somebody refers to: as they were, and no link.
    #[must_use]
    pub fn removed(&self, ino: Ino) -> Option<Attr> {
        self.removed.0.lock().known.get(&ino).map(|remnant| remnant.inode.attr.clone())
    }

    /// Lets go of content that was held long enough.
    pub(crate) fn expire_removed(&self) {
        self.removed.0.lock().expire(self.clock.monotonic_nanos());
    }

    /// Within the change that erases `inode`.
    pub(crate) fn remember_if_referred(&self, effects: &mut Effects, inode: &Inode) {
        let refers = self.removed.0.lock().refers.clone();
        if !refers.is_some_and(|refers| refers(inode.attr.ino)) {
            return;
        }
        let mut inode = inode.clone();
        inode.attr.nlink = 0;
        inode.attr.ctime = inode.attr.ctime.max(self.clock.now());
        (inode.parts, inode.counted) = (Vec::new(), None);
        let hold = (inode.attr.kind == NodeKind::File).then(|| Hold::begin(&self.store));
        effects.removed.push((inode, hold));
    }

    /// Remembers an inode that is removed.
    pub(crate) fn remember(&self, inode: Inode, hold: Option<Hold>) {
        self.removed.0.lock().keep(inode, hold, self.clock.monotonic_nanos());
    }

    /// [`Namespace::open`] of a file that was removed a moment ago: it is put back without a name, as if it had been open
    /// when it was removed.
    ///
    /// # Errors
    /// [`ErrorKind::Stale`] if it is not remembered, and those of [`Namespace::open`].
    pub fn open_removed(&self, op: &Op, ino: Ino, access: Access, truncate: bool) -> Result<Opened> {
        let gone = || fail(ErrorKind::Stale, format!("inode {ino} no longer exists"));
        let (mut inode, _hold) = {
            let state = self.removed.0.lock();
            let remnant = state.known.get(&ino).ok_or_else(gone)?;
            // Keeps the content from being reclaimed while it is taken over.
            let hold = remnant.hold.as_ref().map(|_| Hold::begin(&self.store)).ok_or_else(gone)?;
            (remnant.inode.clone(), hold)
        };
        self.permit_of(op, &inode.attr, access)?;
        let content = self.store.content(dedup_domain(inode.bucket), std::mem::take(&mut inode.items))?;
        let file = self.opens.get_or_insert(ino);
        self.opens.hold(ino);
        let opened = self.change(op, |tx, effects| {
            // Another open of the inode may have come first.
            if tx.find_inode(ino)?.is_none() {
                let mut inode = inode.clone();
                let allocated = inode.attr.allocated;
                self.set_content(tx, &mut inode, &content, allocated)?;
                self.put_inode(tx, &mut inode);
                tx.put(key::unlinked(self.own.id, ino), Vec::new());
                tx.tally(key::KEY_INODES, 1);
            }
            effects.bucket = inode.bucket;
            Ok(())
        });
        let opened = opened.and_then(|()| self.open(op, ino, access, truncate));
        drop(file);
        self.opens.let_go(ino);
        opened
    }
}
