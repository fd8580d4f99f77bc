//! What one change has to report: an event in its commit, and notifications for the mount's kernel.

use std::sync::Arc;

use strata_seam::{Ino, Timestamp};

use crate::event::{Event, Made, What};
use crate::name;
use crate::object::tag::tag;
use crate::records::Inode;
use crate::types::{Change, NodeKind, Op, STORE};

/// An entry: the directory it is in, its name there, and how file doors show it.
#[derive(Clone, Copy)]
pub(crate) struct Entry<'a> {
    pub(crate) dir: Ino,
    pub(crate) name: &'a [u8],
    pub(crate) shown: &'a [u8],
}

/// An event with what only this process needs of it.
pub(crate) struct Telling {
    pub(crate) event: Event,
    /// How file doors show the name, and the one before where it was renamed.
    pub(crate) shown: Vec<u8>,
    pub(crate) shown_before: Vec<u8>,
    /// An object of the same name stands beside the directory: it is seen under another name from now on.
    pub(crate) beside: bool,
    /// Those who have the old content open stay on it, so that the name leads to another inode.
    pub(crate) parts: bool,
    /// The change shows nothing that was not reported when it was written.
    pub(crate) quiet: bool,
    /// The change is part of another event: only the kernel is told.
    pub(crate) unwritten: bool,
}

impl Telling {
    /// The bytes for the commit.
    pub(crate) fn encode(&mut self, op: &Op, at: Timestamp, relaxed: bool) -> Vec<u8> {
        let Event { uid, user, door, at: when, relaxed: soon, .. } = &mut self.event;
        (*uid, *door, *when, *soon) = (op.caller.uid, op.caller.door.number, at, relaxed);
        user.clone_from(&op.caller.user);
        self.event.encode()
    }

    /// What the mount's kernel is told.
    pub(crate) fn changes(self, changes: &mut Vec<Change>) {
        let Self { event: Event { what, ino, parent, .. }, shown, shown_before, beside, parts, quiet, .. } = self;
        let mut entry =
            |parent: Ino, name: Vec<u8>, old: Option<Ino>| changes.push(Change::Entry { parent, name, old });
        let mut attrs = Vec::new();
        match what {
            What::Created | What::Content { new: true, .. } | What::BucketMade => {
                if beside {
                    entry(parent, name::shown(&shown, true), None);
                }
                entry(parent, shown, None);
                attrs.push(parent);
            }
            What::Content { new: false, .. } => {
                if parts {
                    entry(parent, shown, Some(ino));
                }
                match what {
                    // The pages were reported when they were written.
                    What::Content { made: Made::Write, .. } if quiet => {}
                    What::Content { made: Made::Write, .. } => attrs.push(ino),
                    _ => changes.push(Change::Content(ino)),
                }
            }
            What::Linked => {
                entry(parent, shown, None);
                attrs.extend([parent, ino]);
            }
            What::Removed { .. } | What::BucketRemoved => {
                if beside {
                    entry(parent, name::shown(&shown, true), None);
                }
                entry(parent, shown, Some(ino));
                attrs.push(parent);
                if matches!(what, What::Removed { last: false, .. }) {
                    attrs.push(ino);
                }
            }
            What::Renamed { from, .. } => {
                entry(from.parent, shown_before, Some(ino));
                entry(parent, shown, None);
                attrs.extend([from.parent, parent, ino]);
            }
            What::Attributes | What::BucketChanged => attrs.push(ino),
            What::Repaired => changes.push(Change::Overflow),
        }
        changes.extend(attrs.into_iter().map(Change::Attr));
    }
}

impl Telling {
    pub(crate) fn new(
        what: What,
        inode: &Inode,
        parent: Ino,
        (bucket, key): (Arc<str>, Option<Vec<u8>>),
        shown: &[u8],
    ) -> Self {
        let names_content = matches!(what, What::Content { .. } | What::Linked | What::Renamed { .. });
        let tag = (names_content && inode.attr.kind == NodeKind::File).then(|| tag(inode));
        let event = Event {
            what,
            ino: inode.attr.ino,
            kind: inode.attr.kind,
            parent,
            bucket,
            key,
            change: inode.attr.change,
            version: inode.version,
            size: inode.attr.size,
            tag,
            uid: 0,
            user: None,
            door: STORE.number,
            at: Timestamp(0),
            relaxed: false,
        };
        let (beside, parts, quiet, unwritten) = (false, false, false, false);
        Self { event, shown: shown.to_vec(), shown_before: Vec::new(), beside, parts, quiet, unwritten }
    }
}
