//! Running a request: counted, timed, and answered also where the code behind it panics.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use fuser::{Errno, INodeNo, Notifier, ReplyEntry};
use strata_namespace::Attr;
use strata_seam::Stopwatch;

use super::replies::entry_of;
use super::{GENERATION, Handler};
use crate::attr::negative;
use crate::direct::DirectWrites;
use crate::door::MountDoor;
use crate::errno::Refusal;
use crate::metrics::OpKind;

impl Handler {
    pub(crate) fn new(door: Arc<MountDoor>, notifier: Arc<OnceLock<Notifier>>) -> Self {
        let direct = DirectWrites::new(Arc::clone(&notifier));
        Self { door, notifier, direct }
    }

    /// Has the kernel ask for attributes again that this very request changed without its knowledge. Rule 3 in
    /// `notify.rs` has this one exception: attributes alone, of an inode the request holds, so there is nothing in the
    /// kernel the call could wait for.
    pub(super) fn drop_attributes(&self, number: INodeNo) {
        if let Some(Err(error)) = self.notifier.get().map(|notifier| notifier.inval_inode(number, -1, 0)) {
            tracing::debug!(%error, "attributes were not dropped");
        }
    }

    pub(super) fn attempt<T>(
        &self,
        kind: OpKind,
        call: impl FnOnce(&MountDoor) -> Result<T, Refusal>,
    ) -> Result<T, Errno> {
        attempt(&self.door, kind, call)
    }

    /// Runs a request that is answered with an entry, `None` for a name that is not there.
    pub(super) fn attempt_entry(
        &self,
        kind: OpKind,
        reply: ReplyEntry,
        call: impl FnOnce(&MountDoor) -> Result<Option<Attr>, Refusal>,
    ) {
        let options = &self.door.options;
        let asked = self.door.nodes.moments.now();
        match self.attempt(kind, call) {
            Ok(Some(attr)) => {
                // Counted before the kernel can send an invalidation or a forget for it.
                let shown = self.door.nodes.enter(attr, asked);
                let (entry, ttl) = entry_of(&shown, options, options.attr_ttl);
                reply.entry_with_ttls(&ttl, &options.entry_ttl, &entry, GENERATION);
            }
            Ok(None) => reply.entry(&options.entry_ttl, &negative(), GENERATION),
            Err(errno) => reply.error(errno),
        }
    }
}

/// Counts the request, runs it, and turns a panic into EIO.
pub(super) fn attempt<T>(
    door: &MountDoor,
    kind: OpKind,
    call: impl FnOnce(&MountDoor) -> Result<T, Refusal>,
) -> Result<T, Errno> {
    door.metrics.op(kind);
    let begun = Stopwatch::start();
    let outcome = catch_unwind(AssertUnwindSafe(|| call(door))).unwrap_or_else(|_| {
        tracing::error!(op = kind.label(), "a request failed by a bug in this program; it was answered with EIO");
        Err(Refusal(libc::EIO))
    });
    door.metrics.took(kind, begun.elapsed());
    outcome.map_err(|refusal| {
        door.metrics.error(kind);
        refusal.into()
    })
}
