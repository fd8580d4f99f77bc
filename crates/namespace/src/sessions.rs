//! The sessions of a store: whether there is one, or several that share it.
//!
//! The embedded engine has one session at a time: its opening ends all earlier ones, and what it has in memory (which files are open,
//! where locks are) is complete. Where several sessions share a store ([`Namespace::beside`]), memory covers only the own session, and
//! the rest is read from rows.
//!
//! - *Which sessions exist* is one row, written by a session that starts and by one that ends a session that is gone.
//! - *Open files* stay in memory, so that opening costs no commit. A change that removes the last name of an inode leaves a mark for each
//!   session, since each may have the inode open. A session removes its mark once it does not have the inode open, and the session that
//!   removes the last mark erases the inode. Changes that add marks write the inode, so its record is the guard of the set of marks.
//! - *Locks* of WebDAV are counted in the record of their bucket ([`crate::locks`]), those of processes are in one row per inode.
//!
//! Each session has for itself: staged bytes until they are sealed, pins of content, removed inodes that a kernel refers to, and claims
//! of changes that take many commits.

use strata_chunk::wire::{Decoder, Encoder, WireError};
use strata_content::Tx;
use strata_seam::planted::{Bug, planted};
use strata_seam::{Ino, SessionId};

use crate::error::Result;
use crate::key;
use crate::namespace::Namespace;
use crate::types::{Caller, Op, STORE};
use crate::view::{View, damaged};

/// Most sessions that share a store.
const SESSIONS_MAX: usize = 1024;
/// Marks looked at together.
const STEP: usize = 256;
const FORMAT: u8 = 1;

/// Which session this is, and whether it is the only one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Own {
    pub(crate) id: SessionId,
    /// Others have the store open, too.
    pub(crate) shared: bool,
}

fn encode(sessions: &[SessionId]) -> Vec<u8> {
    let mut out = Encoder::new();
    out.u8(FORMAT).uvarint(sessions.len() as u64);
    for session in sessions {
        out.uvarint(u64::from(session.0));
    }
    out.finish()
}

fn decode(bytes: &[u8]) -> Result<Vec<SessionId>, WireError> {
    let mut input = Decoder::new(bytes);
    input.version("the sessions of a store", FORMAT)?;
    let mut sessions = Vec::new();
    for _ in 0..input.length(SESSIONS_MAX)? {
        sessions.push(SessionId(input.uvarint32()?));
    }
    input.finish()?;
    Ok(sessions)
}

/// The sessions that share the store.
fn sharing(view: &mut impl View) -> Result<Vec<SessionId>> {
    read(view.record(key::KEY_SHARING)?)
}

fn read(record: Option<Vec<u8>>) -> Result<Vec<SessionId>> {
    let read = record.map(|record| decode(&record).map_err(|_| damaged("the sessions of the store".to_owned())));
    read.transpose().map(Option::unwrap_or_default)
}

impl Namespace {
    /// The number of this session: this opening of the store by this process. Rows that end with the session have it in their key.
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.own.id
    }

    /// Whether other sessions have the store open, too.
    #[must_use]
    pub(crate) fn is_shared(&self) -> bool {
        self.own.shared
    }

    /// Makes this session known to the others.
    pub(crate) fn join(&self) -> Result<()> {
        self.change(&unasked(), |tx, _| {
            let mut sessions = sharing(tx)?;
            if !sessions.contains(&self.own.id) {
                sessions.push(self.own.id);
                tx.put(key::KEY_SHARING, encode(&sessions));
            }
            Ok(())
        })
    }

    /// The sessions beside this one.
    fn others(&self, tx: &mut Tx<'_>) -> Result<Vec<SessionId>> {
        if !self.own.shared {
            return Ok(Vec::new());
        }
        let mut sessions = match planted(Bug::ComersIgnored) {
            true => read(tx.peek(key::KEY_SHARING)?)?,
            false => sharing(tx)?,
        };
        sessions.retain(|session| *session != self.own.id);
        Ok(sessions)
    }

    /// Within the change that takes the last name of a file: whether somebody may have it open. Then it is marked for them, and the
    /// caller writes its inode instead of erasing it.
    pub(crate) fn mark_unlinked(&self, tx: &mut Tx<'_>, ino: Ino) -> Result<bool> {
        let mut keepers = self.others(tx)?;
        if planted(Bug::OthersOpenIgnored) {
            keepers.clear();
        }
        if self.opens.is_open_for_erasing(ino) {
            keepers.push(self.own.id);
        }
        for session in &keepers {
            tx.put(key::unlinked(*session, ino), Vec::new());
        }
        Ok(!keepers.is_empty())
    }

    /// Whether another session than `but` has a mark on an inode without names. The caller has read the inode.
    pub(crate) fn is_marked_beside(&self, tx: &mut Tx<'_>, ino: Ino, but: SessionId) -> Result<bool> {
        if !self.own.shared || planted(Bug::MarksOfOthersIgnored) {
            return Ok(false);
        }
        for session in sharing(tx)?.into_iter().filter(|session| *session != but) {
            if tx.record(&key::unlinked(session, ino))?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether an inode without names is still there for this session. It is not where its mark is gone: others may erase it.
    pub(crate) fn is_kept_here(&self, view: &mut impl View, ino: Ino) -> Result<bool> {
        Ok(!self.own.shared || view.record(&key::unlinked(self.own.id, ino))?.is_some())
    }

    /// Removes the marks of this session on inodes that others removed and that it does not have open. Part of what is done about once a
    /// second ([`Namespace::seal_idle`]); returns how many there were.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn release_unopened(&self) -> Result<usize> {
        if !self.own.shared {
            return Ok(0);
        }
        self.release_marks(self.own.id)
    }

    fn release_marks(&self, session: SessionId) -> Result<usize> {
        let op = unasked();
        let from = strata_content::of_session(key::TABLE_UNLINKED, session).to_vec();
        let end = key::prefix_end(&from).unwrap_or_else(|| vec![key::TABLE_UNLINKED + 1]);
        let (mut from, mut count) = (from, 0);
        loop {
            let page = self.store.range(&from, &end, STEP)?;
            let Some((last, _)) = page.last() else { return Ok(count) };
            from.clone_from(last);
            from.push(0);
            for (mark, _) in page {
                let ino = key::unlinked_ino(&mark).ok_or_else(|| damaged("the list of unlinked inodes".to_owned()))?;
                if session != self.own.id || !self.opens.is_open(ino) {
                    self.remove_marked(&op, &mark, ino)?;
                    count += 1;
                }
            }
        }
    }

    /// Ends another session whose process is gone: its open files count as closed, and locks of its processes are released. Bytes that it
    /// had staged are lost, as in a crash. WebDAV locks stay until they expire.
    ///
    /// # Errors
    /// Those of the store; the caller may call again.
    pub fn end_session(&self, gone: SessionId) -> Result<()> {
        self.release_marks(gone)?;
        self.end_holds_of(gone)?;
        // Only after that: changes that remove inodes look for the marks of the sessions in this row alone.
        self.change(&unasked(), |tx, _| {
            let mut sessions = sharing(tx)?;
            sessions.retain(|session| *session != gone);
            tx.put(key::KEY_SHARING, encode(&sessions));
            Ok(())
        })?;
        // Releases marks that were left for the session meanwhile.
        self.release_marks(gone).map(drop)
    }

    /// When a store is opened by one alone: those who shared it are gone.
    pub(crate) fn forget_sharing(&self) -> Result<()> {
        if self.store.get(key::KEY_SHARING)?.is_some() {
            self.store.transact_as_removal(|tx| {
                tx.delete(key::KEY_SHARING);
                Ok::<_, crate::Error>(())
            })?;
        }
        Ok(())
    }
}

/// What nobody asked for.
fn unasked() -> Op {
    Op::new(Caller::root(&STORE))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_written_reads_back(all: Vec<u32>) {
            let sessions: Vec<SessionId> = all.into_iter().map(SessionId).collect();
            prop_assert_eq!(decode(&encode(&sessions)).unwrap(), sessions);
        }

        #[test]
        fn no_bytes_whatever_make_reading_panic(bytes: Vec<u8>) {
            drop(decode(&bytes));
        }
    }
}
