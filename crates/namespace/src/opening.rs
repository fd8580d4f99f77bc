//! Opening the name space of a store: leftovers of the last process are removed, and records of earlier versions are upgraded.

use std::sync::Arc;

use strata_content::Store;
use strata_seam::{Clock, SessionId};

use crate::error::{Error, ErrorKind, Result, fail};
use crate::format::{RECORD_FORMAT, mark_format};
use crate::key;
use crate::namespace::{Identity, Namespace, OUTDATED};
use crate::records::Inode;
use crate::sessions::Own;
use crate::types::{NodeKind, ROOT_INO};
use crate::upgrade::{self, UpgradeReport};
use crate::usage;

impl Namespace {
    /// The name space over a store; creates the root directory in an empty one.
    ///
    /// # Errors
    /// [`ErrorKind::NotSupported`] for records of a newer format, and those of the store.
    pub fn over(store: Arc<Store>, clock: Arc<dyn Clock>, identity: Identity) -> Result<Arc<Self>> {
        let fresh = store.get(key::KEY_FORMAT)?.is_none();
        let earlier = upgrade::needed(&store)?;
        let own = Own { id: store.session(), shared: false };
        let ns = Arc::new(Self::new(store, clock, identity, own));
        if fresh {
            ns.create_root(identity.uid, identity.gid)?;
        }
        match ns.tidy() {
            // A store that takes no writes can still be read. Leftovers do no harm, and a start that may write removes them.
            Err(error) if matches!(error.kind, ErrorKind::ReadOnly | ErrorKind::NoSpace) => {
                tracing::warn!(error = %error, "leftovers of the last process cannot be removed now; the next start tries again");
            }
            tidied => tidied?,
        }
        match earlier {
            Some(from) => ns.bring_up(from)?,
            None => ns.written_or_outdated(ns.mark_store().and_then(|()| ns.make_top()))?.unwrap_or_default(),
        }
        ns.load_locks()?;
        Ok(ns)
    }

    /// Opens one session more of a store that several share; `session` is a number that none had before. What other sessions left is not
    /// touched: [`Namespace::end_session`] ends a session that is gone.
    ///
    /// # Errors
    /// [`ErrorKind::NotSupported`] for a store whose records are not of this format, and those of the store.
    pub fn beside(
        store: Arc<Store>,
        clock: Arc<dyn Clock>,
        identity: Identity,
        session: SessionId,
    ) -> Result<Arc<Self>> {
        if store.get(key::KEY_FORMAT)?.is_none() || upgrade::needed(&store)?.is_some() {
            let what = "the records are of another version: a store is made, and upgraded, by one session alone";
            return Err(fail(ErrorKind::NotSupported, what));
        }
        let ns = Arc::new(Self::new(store, clock, identity, Own { id: session, shared: true }));
        ns.join()?;
        Ok(ns)
    }

    /// Upgrades the records, and logs that.
    fn bring_up(&self, from: u64) -> Result<()> {
        tracing::info!(from, to = RECORD_FORMAT, "the records of an earlier version are upgraded");
        let Some(report) = self.written_or_outdated(self.upgrade(from))? else { return Ok(()) };
        let UpgradeReport { buckets, names, parted, ref first, .. } = report;
        for path in first {
            let path = path.escape_ascii();
            tracing::warn!(%path, "a file that had names in several buckets is a file of its own here now, by reference");
        }
        tracing::info!(buckets, names, parted, "the records are upgraded");
        self.note_upgraded(report);
        Ok(())
    }

    /// If records could not be upgraded because the store takes no writes: such a store can still be read. `None` then.
    fn written_or_outdated<T>(&self, upgraded: Result<T>) -> Result<Option<T>> {
        match upgraded {
            Err(error) if matches!(error.kind, ErrorKind::ReadOnly | ErrorKind::NoSpace) => {
                self.note_outdated();
                tracing::warn!(%error, "{OUTDATED}");
                Ok(None)
            }
            upgraded => upgraded.map(Some),
        }
    }

    /// Removes what the last process left unfinished.
    fn tidy(&self) -> Result<()> {
        self.store.collect_unfinished()?;
        self.remove_unlinked()?;
        self.forget_sharing()
    }

    fn create_root(&self, uid: u32, gid: u32) -> Result<()> {
        let now = self.clock.now();
        let mut root = Inode::new(ROOT_INO, NodeKind::Directory, 0o755, (uid, gid), now);
        root.parent = ROOT_INO;
        root.bucket = ROOT_INO;
        self.store.transact(false, |tx| {
            mark_format(tx);
            self.fresh_top(&root).put(tx);
            usage::recount(tx, None, Some(root.counts()));
            tx.put(key::inode(ROOT_INO), root.encode());
            Ok::<_, Error>(())
        })?;
        Ok(())
    }
}
