//! Settings: small records of services and doors, kept in the same commits as everything else. Also dead properties and the feed for
//! the mount.

use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;

use strata_seam::Ino;

use crate::authority::{Action, Resource};
use crate::error::{ErrorKind, Result, fail};
use crate::format::mark_format;
use crate::key;
use crate::locks::uphold::Touched;
use crate::namespace::Namespace;
use crate::types::{Caller, Change, Door, Op, STORE};
use crate::view::View;

/// Longest setting in bytes.
const SETTING_LEN_MAX: usize = 64 << 10;
/// Longest dead property in bytes.
const PROPERTY_LEN_MAX: usize = 16 << 10;
/// Most dead properties of one inode.
const PROPERTIES_MAX: usize = 256;

impl Namespace {
    /// The mount reports that it has told its kernel of this many more changes. Answers that wait for that go on ([`Namespace::told`]).
    pub fn note_told(&self, changes: u64) {
        self.feed.note_told(changes);
    }

    /// Subscribes to the changes that caches have to know, from now on. `queue_max` bounds the queue; when it overflows, the listener
    /// gets [`Change::Overflow`]. Changes made through `skip_door` are left out.
    pub fn changes(&self, queue_max: usize, skip_door: Option<&'static Door>) -> Receiver<Change> {
        self.feed.listen(queue_max, skip_door)
    }

    /// The value of a setting: a small record that a service or door keeps in the store. `None` if there is none.
    ///
    /// # Errors
    /// [`ErrorKind::NotPermitted`] but for administrators.
    pub fn setting(&self, op: &Op, key: &str) -> Result<Option<Vec<u8>>> {
        self.authorize(op, Action::Administer, Resource::Store)?;
        self.snap(op).record(&key::plain(key::TABLE_SETTING, key.as_bytes()))
    }

    /// Writes a setting, or with `None` removes it.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`] above 64 KiB, [`ErrorKind::NotPermitted`] but for administrators.
    pub fn put_setting(&self, op: &Op, key: &str, value: Option<&[u8]>) -> Result<()> {
        self.authorize(op, Action::Administer, Resource::Store)?;
        if value.is_some_and(|value| value.len() > SETTING_LEN_MAX) {
            return Err(fail(ErrorKind::TooLarge, format!("a setting has {SETTING_LEN_MAX} bytes at most")));
        }
        self.change(op, |tx, _| {
            let key = key::plain(key::TABLE_SETTING, key.as_bytes());
            match value {
                Some(value) => tx.put(key, value),
                None => tx.delete(key),
            }
            Ok(())
        })
    }

    /// Makes a commit that changes no record and waits until it is durable. A checkpoint taken afterwards has its position behind
    /// everything that was committed before this call.
    ///
    /// # Errors
    /// Those of the store.
    pub fn commit_nothing(&self) -> Result<()> {
        let op = Op::new(Caller::root(&STORE));
        self.change(&op, |tx, _| {
            mark_format(tx);
            Ok(())
        })?;
        self.settle_blocking(&op)
    }

    /// Bytes written to open files that are not content yet.
    #[must_use]
    pub fn staged_bytes(&self) -> u64 {
        self.opens.staged_bytes.load(Ordering::Acquire) as u64
    }

    /// Whether bytes were written to this file, in this session, that are not content yet.
    #[must_use]
    pub fn has_staged(&self, ino: Ino) -> bool {
        self.opens.has_staged(ino)
    }

    /// All settings whose key starts with `prefix`, in order of their keys.
    ///
    /// # Errors
    /// [`ErrorKind::NotPermitted`] but for administrators.
    pub fn settings(&self, op: &Op, prefix: &str) -> Result<Vec<(String, Vec<u8>)>> {
        self.authorize(op, Action::Administer, Resource::Store)?;
        let mut snap = self.snap(op);
        let mut from = key::plain(key::TABLE_SETTING, prefix.as_bytes());
        let end = key::prefix_end(&from).unwrap_or_else(|| vec![key::TABLE_SETTING + 1]);
        let mut all = Vec::new();
        loop {
            let page = snap.records(&from, &end, 1000)?;
            let Some((last, _)) = page.last() else { return Ok(all) };
            from.clone_from(last);
            from.push(0);
            all.extend(page.into_iter().map(|(key, value)| (String::from_utf8_lossy(&key[1..]).into_owned(), value)));
        }
    }

    /// Dead properties of an inode: XML name space, name, value.
    ///
    /// # Errors
    /// [`ErrorKind::Stale`].
    pub fn properties(&self, op: &Op, ino: Ino) -> Result<Vec<(String, String, Vec<u8>)>> {
        let (from, end) = (key::under(key::TABLE_PROPERTY, ino, &[]), key::behind(key::TABLE_PROPERTY, ino));
        let mut snap = self.snap(op);
        let inode = snap.inode(ino)?;
        snap.bucket = inode.bucket;
        self.authorize(op, Action::ReadProperties, &inode.attr)?;
        if !inode.beside.properties {
            return Ok(Vec::new());
        }
        let all = snap.records(&from, &end, PROPERTIES_MAX)?;
        Ok(all
            .into_iter()
            .map(|(key, value)| {
                let name = String::from_utf8_lossy(&key[9..]).into_owned();
                let (space, name) = name.split_once('\0').unwrap_or(("", &name));
                (space.to_owned(), name.to_owned(), value)
            })
            .collect())
    }

    /// Writes or removes a dead property.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`], [`ErrorKind::NoSpace`] above 256 properties, [`ErrorKind::AccessDenied`],
    /// [`ErrorKind::Locked`].
    pub fn set_property(&self, op: &Op, ino: Ino, namespace: &str, name: &str, value: Option<&[u8]>) -> Result<()> {
        if value.is_some_and(|value| value.len() > PROPERTY_LEN_MAX) || namespace.len() + name.len() > 2048 {
            return Err(fail(ErrorKind::TooLarge, format!("a property has {PROPERTY_LEN_MAX} bytes at most")));
        }
        self.change(op, |tx, effects| {
            let mut inode = tx.inode(ino)?;
            self.authorize(op, Action::WriteProperty, &inode.attr)?;
            self.uphold_locks(tx, op, &[Touched::Node(&inode)])?;
            effects.bucket = inode.bucket;
            let key = key::under(key::TABLE_PROPERTY, ino, format!("{namespace}\0{name}").as_bytes());
            match value {
                Some(value) => {
                    let (from, end) =
                        (key::under(key::TABLE_PROPERTY, ino, &[]), key::behind(key::TABLE_PROPERTY, ino));
                    let count = tx.records(&from, &end, PROPERTIES_MAX)?.len();
                    if count >= PROPERTIES_MAX && tx.record(&key)?.is_none() {
                        return Err(fail(
                            ErrorKind::NoSpace,
                            format!("an inode has {PROPERTIES_MAX} properties at most"),
                        ));
                    }
                    tx.put(key, value);
                }
                None => tx.delete(key),
            }
            inode.beside.properties |= value.is_some();
            inode.attr.ctime = self.clock.now();
            self.put_inode(tx, &mut inode);
            self.tell_attributes(tx, effects, &inode);
            Ok(())
        })
    }
}
