//! What a request expects to find, checked again under the writer's lock.
//!
//! A door evaluates a conditional request before it acts. Without this check another door could change the file between the evaluation
//! and the change. A guard is evaluated in the first commit of its operation that is accepted, as part of it, and not after that: later
//! commits of the same operation find what the operation itself has made.

use strata_content::Tx;

use crate::error::{ErrorKind, Result, fail};
use crate::namespace::Namespace;
use crate::object::tag;
use crate::types::{Guard, Op};
use crate::view::View;

impl Op {
    /// Has the next change of this operation refused with [`ErrorKind::PreconditionFailed`] unless the expectation holds
    /// in the same commit.
    pub fn guard(&self, guard: Guard) {
        *self.guard.lock() = Some(guard);
    }
}

impl Namespace {
    /// Evaluates the operation's guard, if it still has one.
    pub(crate) fn uphold(&self, tx: &mut Tx<'_>, op: &Op) -> Result<()> {
        let Some(guard) = op.guard.lock().clone() else { return Ok(()) };
        let changed =
            || fail(ErrorKind::PreconditionFailed, "it was changed by somebody else meanwhile; read it again");
        if let Some((parent, name)) = &guard.entry
            && tx.find(*parent, name)?.is_none_or(|found| found.dirent.ino != guard.ino)
        {
            return Err(changed());
        }
        let inode = match tx.inode(guard.ino) {
            Ok(inode) => inode,
            Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::Stale) => return Err(changed()),
            Err(error) => return Err(error),
        };
        tag::check(&guard.condition, Some(&inode))?;
        let seen = self.with_staged(inode.attr).ctime;
        if guard.ctime.is_some_and(|expected| expected != seen) {
            return Err(changed());
        }
        Ok(())
    }
}
