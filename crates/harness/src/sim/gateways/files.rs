//! What files have in them, as it has to be: for everybody what is stored, and for each session what it has written besides.
//!
//! The boundary that is tested: bytes that a session wrote are its own until it seals them. It reads them, nobody else does; when they are
//! sealed they lie over whatever the file has by then, and everybody reads that. A session that ends takes what it did not seal along.

use std::collections::BTreeMap;

use strata_namespace::{ErrorKind, Namespace};
use strata_seam::Ino;

use super::super::rig::root;

/// Longest file that is read here.
const READ_MAX: usize = 64 << 10;

/// Writes of one file in the order in which they were made.
type Written = Vec<(u64, Vec<u8>)>;

/// What one session has of files.
#[derive(Debug, Default)]
pub(super) struct Own {
    /// How often it has them open.
    pub(super) handles: BTreeMap<Ino, u32>,
    staged: BTreeMap<Ino, Written>,
}

/// Files that somebody has opened or written to.
#[derive(Debug, Default)]
pub(super) struct Files {
    stored: BTreeMap<Ino, Vec<u8>>,
    /// By gateway.
    pub(super) own: Vec<Own>,
}

fn lay_over(content: &mut Vec<u8>, written: &Written) {
    for (offset, bytes) in written {
        let start = *offset as usize;
        content.resize(content.len().max(start + bytes.len()), 0);
        content[start..start + bytes.len()].copy_from_slice(bytes);
    }
}

/// How many bytes these writes staged: where they overlap once.
fn staged(written: &Written) -> u64 {
    let mut bytes = vec![false; READ_MAX];
    for (offset, data) in written {
        bytes[*offset as usize..][..data.len()].fill(true);
    }
    bytes.iter().filter(|staged| **staged).count() as u64
}

fn read(ns: &Namespace, ino: Ino) -> strata_namespace::Result<Vec<u8>> {
    ns.read(&root(), ino, 0, READ_MAX).map(|bytes| bytes.to_vec())
}

impl Files {
    /// Goes on with a file from what it has now.
    pub(super) fn track(&mut self, watcher: &Namespace, ino: Ino) {
        if !self.stored.contains_key(&ino)
            && let Ok(content) = read(watcher, ino)
        {
            self.stored.insert(ino, content);
        }
    }

    pub(super) fn wrote(&mut self, gateway: usize, ino: Ino, offset: u64, bytes: Vec<u8>) {
        self.own[gateway].staged.entry(ino).or_default().push((offset, bytes));
    }

    /// What a step of this gateway made content of lies over what is stored.
    pub(super) fn settle(&mut self, gateway: usize, ns: &Namespace) {
        let sealed = self.own[gateway].staged.extract_if(.., |ino, _| !ns.has_staged(*ino));
        for (ino, written) in sealed.collect::<Vec<_>>() {
            if let Some(stored) = self.stored.get_mut(&ino) {
                lay_over(stored, &written);
            }
        }
    }

    /// The file has this content now, or is as long as this.
    pub(super) fn replaced(&mut self, ino: Ino, content: Vec<u8>) {
        if let Some(stored) = self.stored.get_mut(&ino) {
            *stored = content;
        }
    }

    pub(super) fn cut(&mut self, ino: Ino, len: usize) {
        if let Some(stored) = self.stored.get_mut(&ino) {
            stored.resize(len, 0);
        }
    }

    /// Its content came from elsewhere: it is taken as it is.
    pub(super) fn look_again(&mut self, watcher: &Namespace, ino: Ino) {
        if self.stored.remove(&ino).is_some() {
            self.track(watcher, ino);
        }
    }

    /// The file that this gateway opened so many opens ago, if it has any open.
    pub(super) fn open_one(&self, gateway: usize, which: u64) -> Option<Ino> {
        let handles = &self.own[gateway].handles;
        handles.keys().nth(usize::try_from(which).ok()? % handles.len().max(1)).copied()
    }

    /// A file that anybody has opened or written to, also one that has no name any more.
    pub(super) fn any_one(&self, which: u64) -> Option<Ino> {
        self.stored.keys().nth(usize::try_from(which).ok()? % self.stored.len().max(1)).copied()
    }

    pub(super) fn opened(&mut self, gateway: usize, ino: Ino) {
        *self.own[gateway].handles.entry(ino).or_default() += 1;
    }

    pub(super) fn closed(&mut self, gateway: usize, ino: Ino) {
        let handles = &mut self.own[gateway].handles;
        if let Some(count) = handles.get_mut(&ino) {
            *count -= 1;
            if *count == 0 {
                handles.remove(&ino);
            }
        }
    }

    /// What is read everywhere against what has to be.
    ///
    /// # Errors
    /// Where it differs.
    pub(super) fn hold_against(&mut self, watcher: &Namespace, gateways: &[&Namespace]) -> Result<(), String> {
        let mut gone = Vec::new();
        for (ino, stored) in &self.stored {
            match read(watcher, *ino) {
                Ok(found) if found == *stored => {}
                Ok(found) => return Err(differ(*ino, "what is stored", &found, stored)),
                Err(error) if error.kind == ErrorKind::Stale => {
                    if let Some(at) = self.own.iter().position(|own| own.handles.contains_key(ino)) {
                        return Err(format!("inode {ino} is gone, and session {at} has it open"));
                    }
                    gone.push(*ino);
                    continue;
                }
                Err(error) => return Err(format!("inode {ino} cannot be read: {error:?}")),
            }
            for (at, (own, ns)) in self.own.iter().zip(gateways).enumerate() {
                let mut expected = stored.clone();
                if let Some(written) = own.staged.get(ino) {
                    lay_over(&mut expected, written);
                }
                match read(ns, *ino) {
                    Ok(found) if found == expected => {}
                    Ok(found) => return Err(differ(*ino, &format!("what session {at} reads"), &found, &expected)),
                    Err(error) => return Err(format!("session {at} cannot read inode {ino}: {error:?}")),
                }
            }
        }
        for ino in gone {
            self.stored.remove(&ino);
            // What was staged of it is of no use to anybody, and goes when it is to be sealed.
        }
        for (at, (own, ns)) in self.own.iter().zip(gateways).enumerate() {
            let (expected, found) = (own.staged.values().map(staged).sum::<u64>(), ns.staged_bytes());
            if expected != found {
                return Err(format!("session {at} counts {found} staged bytes, and has {expected}"));
            }
        }
        Ok(())
    }
}

fn differ(ino: Ino, what: &str, found: &[u8], expected: &[u8]) -> String {
    let at = found.iter().zip(expected).position(|(found, expected)| found != expected);
    let (found, expected) = (found.len(), expected.len());
    format!("inode {ino}: {what} has {found} bytes and should have {expected}, and differs first at {at:?}")
}
