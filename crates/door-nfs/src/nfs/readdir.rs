//! READDIR and READDIRPLUS.
//!
//! Invariant: a reply is never larger than the client asked for, and either holds an entry, ends the directory, or is
//! NFS3ERR_TOOSMALL; so a listing always comes to its end.

use nfsserve::nfs::nfsstat3;
use strata_namespace::{Attr, POSITIONS_RESERVED, Page};
use strata_seam::Ino;

use super::args::LIST_LEN_MAX;
use super::context::Context;
use crate::handle::HANDLE_LEN;
use crate::metrics::count;
use crate::status::Fail;
use crate::xdr::{Encoder, padding};

/// Bytes around the entries of a reply, behind the status: directory attributes, verifier, end of list, end flag.
const AROUND_LEN: usize = 4 + 84 + 8 + 4 + 4;
/// Bytes of an entry beside its padded name: follows, number, length of the name, cookie.
const ENTRY_LEN: usize = 4 + 8 + 4 + 8;
/// Bytes that READDIRPLUS adds to an entry: attributes and handle.
const PLUS_LEN: usize = 4 + 84 + 4 + 4 + HANDLE_LEN;
/// A usual name's length, to guess how many entries fit.
const NAME_LEN_USUAL: usize = 20;
/// The cookie of `.`.
const COOKIE_DOT: u64 = 1;
/// The cookie of `..`.
const COOKIE_DOT_DOT: u64 = POSITIONS_RESERVED;

/// What fits into a reply.
struct Room {
    /// Bytes of reply left.
    reply: usize,
    /// Bytes of names, numbers and cookies left (READDIRPLUS); a wish, not a limit.
    names: usize,
    plus: bool,
    empty: bool,
}

impl Room {
    /// Takes room for an entry, or says that there is none.
    fn take(&mut self, name: &[u8]) -> bool {
        let names = ENTRY_LEN + name.len() + padding(name.len());
        let reply = names + if self.plus { PLUS_LEN } else { 0 };
        if reply > self.reply || (names > self.names && !self.empty) {
            return false;
        }
        self.reply -= reply;
        self.names = self.names.saturating_sub(names);
        self.empty = false;
        true
    }

    /// How many entries probably fit.
    fn entries(&self) -> usize {
        let names = ENTRY_LEN + NAME_LEN_USUAL;
        let reply = names + if self.plus { PLUS_LEN } else { 0 };
        (self.reply / reply).min(self.names / names).clamp(4, 2048)
    }
}

impl Context {
    pub(super) fn readdir(&self, cookie: u64, verifier: [u8; 8], count: u32, out: &mut Encoder) -> Result<(), Fail> {
        self.list(cookie, verifier, usize::MAX, count as usize, false, out)
    }

    pub(super) fn readdirplus(
        &self,
        cookie: u64,
        verifier: [u8; 8],
        dircount: u32,
        maxcount: u32,
        out: &mut Encoder,
    ) -> Result<(), Fail> {
        self.list(cookie, verifier, dircount as usize, maxcount as usize, true, out)
    }

    fn list(
        &self,
        cookie: u64,
        verifier: [u8; 8],
        dircount: usize,
        maxcount: usize,
        plus: bool,
        out: &mut Encoder,
    ) -> Result<(), Fail> {
        let directory = self.directory(self.ino)?;
        let cookies = &self.door.cookies;
        if cookie != 0 && verifier != cookies.verifier() {
            return Err(Fail(nfsstat3::NFS3ERR_BAD_COOKIE));
        }
        let reply = maxcount.min(LIST_LEN_MAX).checked_sub(AROUND_LEN).ok_or(Fail(nfsstat3::NFS3ERR_TOOSMALL))?;
        let mut room = Room { reply, names: dircount, plus, empty: true };
        let mut after = if cookie <= COOKIE_DOT_DOT { Vec::new() } else { self.cursor(cookie)? };

        self.ok(out);
        self.put_post_op(Some(&directory), out);
        out.fixed(&cookies.verifier());
        let mut page = Page::new(self.ino);
        let end = 'list: {
            if cookie < COOKIE_DOT {
                if !room.take(b".") {
                    break 'list false;
                }
                self.put_entry(directory.ino, b".", COOKIE_DOT, plus, Some(&directory), out);
            }
            if cookie < COOKIE_DOT_DOT {
                if !room.take(b"..") {
                    break 'list false;
                }
                let parent = self.parent(&directory).ok();
                let ino = parent.as_ref().map_or(directory.ino, |parent| parent.ino);
                self.put_entry(ino, b"..", COOKIE_DOT_DOT, plus, parent.as_ref(), out);
            }
            loop {
                let listed =
                    self.door.ns.readdir(&self.op, self.ino, &after, room.entries()).map_err(Fail::of_inode)?;
                for entry in &listed.entries {
                    if !room.take(&entry.name) {
                        break 'list false;
                    }
                    let cookie = cookies.of(self.ino, &entry.cursor);
                    self.put_entry(entry.attr.ino, &entry.name, cookie, plus, Some(&entry.attr), out);
                    page.push(cookie, &entry.cursor);
                }
                match listed.entries.into_iter().next_back() {
                    Some(last) if !listed.end => after = last.cursor,
                    _ => break 'list true,
                }
            }
        };
        if room.empty && !end {
            return Err(Fail(nfsstat3::NFS3ERR_TOOSMALL));
        }
        out.bool(false);
        out.bool(end);
        cookies.keep(page);
        Ok(())
    }

    fn put_entry(&self, ino: Ino, name: &[u8], cookie: u64, plus: bool, attr: Option<&Attr>, out: &mut Encoder) {
        out.bool(true);
        out.u64(ino.0);
        out.opaque(name);
        out.u64(cookie);
        if plus {
            self.put_post_op(attr, out);
            match attr {
                Some(attr) => self.put_post_op_handle(attr, out),
                None => out.bool(false),
            }
        }
    }

    /// The name space's position behind `cookie`: from the cache, or found by going through the directory.
    fn cursor(&self, cookie: u64) -> Result<Vec<u8>, Fail> {
        let cookies = &self.door.cookies;
        if let Some(cursor) = cookies.find(self.ino, cookie) {
            return Ok(cursor);
        }
        let _place = self.door.begin_scan().ok_or(Fail(nfsstat3::NFS3ERR_JUKEBOX))?;
        count(&self.door.metrics().cookie_scans);
        let found = self.door.ns.find_position(&self.op, self.ino, cookies, cookie).map_err(Fail::of_inode)?;
        // Removed since, and too long ago to be remembered: the client begins the listing anew.
        found.ok_or(Fail(nfsstat3::NFS3ERR_BAD_COOKIE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(reply: usize, names: usize, plus: bool) -> Room {
        Room { reply, names, plus, empty: true }
    }

    #[test]
    fn an_entry_takes_exactly_its_bytes() {
        assert!(room(ENTRY_LEN + 4, usize::MAX, false).take(b"abc"));
        assert!(!room(ENTRY_LEN + 3, usize::MAX, false).take(b"abc"));
        assert!(room(ENTRY_LEN + PLUS_LEN + 4, usize::MAX, true).take(b"abcd"));
        assert!(!room(ENTRY_LEN + PLUS_LEN + 7, usize::MAX, true).take(b"abcde"));
    }

    #[test]
    fn a_small_wish_for_names_still_gets_one_entry() {
        let mut room = room(4096, 0, true);
        assert!(room.take(b"name"));
        assert!(!room.take(b"name"));
    }

    #[test]
    fn no_room_asks_for_few_entries_and_much_room_for_not_too_many() {
        assert_eq!(room(0, 0, true).entries(), 4);
        assert_eq!(room(usize::MAX, usize::MAX, false).entries(), 2048);
    }
}
