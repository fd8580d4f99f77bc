//! Which files the kernel knows, by its lookup counts, and which content each of its inodes stands for.
//!
//! The kernel has one size and one set of pages for an inode and combines them as it likes: a page that was read from a
//! short content, whose rest it filled with zeros, is shown up to whatever size it is told next. So an inode of the
//! kernel stands for **one** content as far as replacements go. When another door replaces the content of a file that is
//! open here, those who have it open stay with their inode, their size and their bytes (see [`strata_namespace::Pin`]),
//! and the next lookup of the name gives the kernel another inode for the same file: an *incarnation*. Its number is the
//! file's number with a mark in the upper bits ([`ino_of`] takes it off); programs see the file's number in both.
//!
//! Rules, all decided under the lock of one node:
//!
//! 1. the size of a new inode is what the kernel is told with its first lookup. From then on it changes in two ways: programs of
//!    this mount change it, and the kernel knows; or another door does, in place, and then it only grows while the file is open;
//! 2. once another door has replaced the content, or changed it in any way while nobody here has the file open (any more),
//!    the node is given out no more, and opens of it are refused so that the kernel looks the name up anew. The kernel
//!    applies attributes to an inode it has only if nothing else happened to that inode meanwhile. So a new size
//!    told for an old inode may never arrive, and a program that reads up to the old size gets the new content cut short;
//! 3. a growth in place is told only after the pages that end where the file ended before are gone.
//!
//! The kernel counts every entry it was given and gives the count back with `forget`; between the two it may hold
//! attributes and pages. The table has exactly as many entries as the kernel's inode cache has for this mount, which is
//! its bound. Invalidation of an inode that is not here would be a system call for nothing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use strata_namespace::{Attr, NodeKind, Pin, ROOT_INO};
use strata_seam::{Ino, Timestamp};

use crate::moments::{Moment, Moments};

const SHARDS: usize = 64;
/// Bits of a number in the kernel that are the file's own; the rest is the mark of an incarnation. The name space counts
/// up from 2 and never gets near.
const INO_BITS: u32 = 48;
/// Marks there are, zero (the first incarnation) left out.
const MARKS: u64 = (1 << (64 - INO_BITS)) - 1;

/// The file behind a number of the kernel.
pub(crate) fn ino_of(number: u64) -> Ino {
    Ino(number & ((1 << INO_BITS) - 1))
}

/// Distinguishes one content of a file from another: time of its last change and size in bytes.
pub(crate) type Validator = (Timestamp, u64);

/// The validator of a file's present content.
pub(crate) fn validator(attr: &Attr) -> Validator {
    (attr.mtime, attr.size)
}

/// An inode of the kernel.
#[derive(Debug)]
pub(crate) struct Node {
    number: u64,
    /// Whether a request filled pages since the kernel knows the inode.
    pages: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The content the kernel's pages were read from or written as; `None` if they may be stale.
    cached: Option<Validator>,
    /// The content whose size and times the kernel has; `None` before the first time.
    told: Option<Validator>,
    /// Up to this size the pages hold what other doors wrote in place, or are not there. Counts while a pin is alive.
    size_sound: u64,
    /// Those who have it open share this.
    pin: Weak<Pin>,
    /// Another door changed the content: the kernel may have an earlier size.
    changed: bool,
    /// Not given out any more.
    retired: bool,
}

/// How an open was met.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// The handle may use the kernel's pages.
    Admitted {
        /// Whether pages cached before are still good.
        keep_cache: bool,
        /// Whether the size and times the kernel has may be those of an earlier content.
        attr_stale: bool,
    },
    /// The node stands for another content: the name has to be looked up anew.
    Refused,
}

/// What the kernel is told of a file.
#[derive(Debug)]
pub(crate) struct Shown {
    /// The number to call it by.
    pub(crate) number: u64,
    /// The attributes.
    pub(crate) attr: Attr,
    /// Whether the kernel may answer from them later.
    pub(crate) lasting: bool,
}

impl State {
    /// Whether the next lookup has to lead elsewhere.
    fn outlived(&self) -> bool {
        self.retired
            || match self.pin.upgrade() {
                Some(pin) => pin.kept().is_some(),
                None => self.changed,
            }
    }

    /// The kernel is being told this, which programs of this mount did not bring about.
    fn tell(&mut self, attr: &Attr) {
        let differs = self.told.replace(validator(attr)).is_some_and(|told| told != validator(attr));
        self.changed |= differs && attr.kind == NodeKind::File;
    }

    /// Holds a growth back until no page is left that ends where the file ended before.
    fn sound(&self, attr: &mut Attr) -> bool {
        let held = attr.size > self.size_sound && self.pin.strong_count() > 0;
        if held {
            attr.size = self.size_sound;
        }
        !held
    }
}

impl Node {
    fn new(number: u64) -> Arc<Self> {
        Arc::new(Self { number, pages: AtomicBool::new(false), state: Mutex::default() })
    }

    /// Before the bytes of a request that fills pages are looked up.
    pub(crate) fn note_pages(&self) {
        if !self.pages.load(Ordering::Relaxed) {
            self.pages.store(true, Ordering::Relaxed);
        }
        // Either the bytes looked up next are those of a write, or that write sees this.
        fence(Ordering::SeqCst);
    }

    /// Whether the kernel may have pages of it that do not have a write done before this call.
    pub(crate) fn may_have_pages(&self) -> bool {
        fence(Ordering::SeqCst);
        self.pages.load(Ordering::Relaxed)
    }

    /// The number the kernel knows it by.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Whether it stands for a content that is no longer the file's.
    pub(crate) fn is_past(&self) -> bool {
        self.state.lock().outlived()
    }

    /// The inode whose size and times are shown instead of the file's.
    pub(crate) fn kept(&self) -> Option<Ino> {
        self.state.lock().pin.upgrade().and_then(|pin| pin.kept())
    }

    /// At open, with the pin of the content that `attr` describes. From then on the kernel's pages stand for that.
    /// `truncated`: by this very open, as the kernel knows.
    pub(crate) fn admit(&self, attr: &Attr, pin: &Arc<Pin>, truncated: bool) -> Admission {
        let mut state = self.state.lock();
        match state.pin.upgrade() {
            Some(other) => state.retired |= !Arc::ptr_eq(&other, pin),
            None => state.size_sound = attr.size,
        }
        let before = state.told;
        if truncated {
            (state.told, state.size_sound) = (Some(validator(attr)), attr.size);
        } else {
            state.tell(attr);
        }
        state.retired |= pin.kept().is_some() || state.outlived();
        if state.retired {
            return Admission::Refused;
        }
        state.pin = Arc::downgrade(pin);
        // The kernel drops the pages of an earlier state when it learns of this open.
        state.size_sound = state.size_sound.max(attr.size);
        let keep_cache = state.cached.replace(validator(attr)) == Some(validator(attr));
        Admission::Admitted { keep_cache, attr_stale: before.is_some() && before != state.told }
    }

    /// The kernel is being told these attributes, or those of the kept content.
    pub(crate) fn show(&self, mut attr: Attr, kept: Option<&Attr>) -> Shown {
        let mut state = self.state.lock();
        let mut lasting = state.sound(&mut attr);
        if let Some(kept) = kept {
            (attr.size, attr.allocated, attr.mtime) = (kept.size, kept.allocated, kept.mtime);
            lasting = false;
        }
        state.tell(&attr);
        Shown { number: self.number, attr, lasting: lasting && !state.retired }
    }

    /// After a change made through this node, which the kernel's pages already contain. `found` is the content it was
    /// made to: if that is not what the kernel had, another door was there first.
    pub(crate) fn wrote(&self, found: Option<Validator>, left: &Attr) {
        let mut state = self.state.lock();
        if found != state.told {
            state.cached = None;
            state.changed = true;
        }
        state.told = Some(validator(left));
        state.size_sound = state.size_sound.max(left.size);
        if state.cached.is_some() {
            state.cached = Some(validator(left));
        }
    }

    /// What the kernel has.
    pub(crate) fn told(&self) -> Option<Validator> {
        self.state.lock().told
    }

    /// After the size was set through this node: the kernel has exactly that.
    pub(crate) fn resized(&self, attr: &Attr) {
        self.state.lock().size_sound = attr.size;
    }

    /// After a change made elsewhere: pages must be read again.
    pub(crate) fn stale(&self) {
        self.state.lock().cached = None;
    }

    /// All pages that were there when the file had `size` bytes have been dropped.
    pub(crate) fn dropped_at(&self, size: u64) {
        let mut state = self.state.lock();
        state.size_sound = state.size_sound.max(size);
    }
}

#[derive(Debug)]
struct Known {
    lookups: u64,
    node: Arc<Node>,
}

#[derive(Debug, Default)]
struct Shard {
    known: HashMap<u64, Known>,
    /// Files the kernel knows by marked numbers: those numbers, oldest first.
    marked: HashMap<u64, Vec<u64>>,
}

/// The inodes the kernel knows.
pub(crate) struct Nodes {
    shards: [Mutex<Shard>; SHARDS],
    marks: AtomicU64,
    /// What other doors changed and when.
    pub(crate) moments: Moments,
}

impl Shard {
    /// All incarnations of a file, the present one last.
    fn numbers(&self, ino: u64) -> impl Iterator<Item = u64> {
        std::iter::once(ino).chain(self.marked.get(&ino).into_iter().flatten().copied())
    }

    /// Whether the kernel knows any of them.
    fn refers(&self, ino: u64) -> bool {
        self.numbers(ino).any(|number| self.known.contains_key(&number))
    }

    fn enter(&mut self, number: u64) -> Arc<Node> {
        let known = self.known.entry(number).or_insert_with(|| Known { lookups: 0, node: Node::new(number) });
        known.lookups += 1;
        Arc::clone(&known.node)
    }
}

impl Nodes {
    pub(crate) fn new() -> Self {
        let nodes = Self {
            shards: std::array::from_fn(|_| Mutex::new(Shard::default())),
            marks: AtomicU64::new(0),
            moments: Moments::new(),
        };
        // The root is known from the start and never forgotten.
        nodes.shard(ROOT_INO.0).lock().enter(ROOT_INO.0);
        nodes
    }

    fn shard(&self, number: u64) -> &Mutex<Shard> {
        // The remainder is below SHARDS.
        &self.shards[(ino_of(number).0 % SHARDS as u64) as usize]
    }

    /// The kernel is being given one more reference to a file, with its attributes, which were read after `asked`. If another door changed
    /// the file since, they are not lasting.
    pub(crate) fn enter(&self, attr: Attr, asked: Moment) -> Shown {
        let ino = attr.ino.0;
        let mut shard = self.shard(ino).lock();
        let present = shard.numbers(ino).last().unwrap_or(ino);
        let outlived = shard.known.get(&present).is_some_and(|known| {
            let mut state = known.node.state.lock();
            state.tell(&attr);
            state.retired = state.outlived();
            state.retired
        });
        let mut number = present;
        if outlived && ino_of(ino).0 == ino {
            while number == present || shard.known.contains_key(&number) {
                let mark = self.marks.fetch_add(1, Ordering::Relaxed) % MARKS + 1;
                number = ino | (mark << INO_BITS);
            }
            shard.marked.entry(ino).or_default().push(number);
        }
        let node = shard.enter(number);
        drop(shard);
        let shown = node.show(attr, None);
        // Compared after the node is entered: a change that is processed later finds the node.
        Shown { lasting: shown.lasting && !self.moments.changed_since(asked, ino), ..shown }
    }

    /// The kernel gives `count` references back. Answers whether it has none to that file any more.
    pub(crate) fn forget(&self, number: u64, count: u64) -> bool {
        if number == ROOT_INO.0 {
            return false;
        }
        let mut shard = self.shard(number).lock();
        let Some(known) = shard.known.get_mut(&number) else { return false };
        known.lookups = known.lookups.saturating_sub(count);
        if known.lookups > 0 {
            return false;
        }
        shard.known.remove(&number);
        let ino = ino_of(number).0;
        if let Some(marked) = shard.marked.get_mut(&ino) {
            marked.retain(|other| *other != number);
            if marked.is_empty() {
                shard.marked.remove(&ino);
            }
        }
        !shard.refers(ino)
    }

    /// The node, if the kernel knows it.
    pub(crate) fn get(&self, number: u64) -> Option<Arc<Node>> {
        self.shard(number).lock().known.get(&number).map(|known| Arc::clone(&known.node))
    }

    /// All the nodes of the file behind `number`.
    pub(crate) fn of(&self, number: u64) -> Vec<Arc<Node>> {
        let ino = ino_of(number).0;
        let shard = self.shard(ino).lock();
        shard.numbers(ino).filter_map(|number| Some(Arc::clone(&shard.known.get(&number)?.node))).collect()
    }

    /// The other incarnations of the file behind `number`; there are none as a rule.
    pub(crate) fn siblings(&self, number: u64) -> Vec<u64> {
        let ino = ino_of(number).0;
        let shard = self.shard(number).lock();
        if !shard.marked.contains_key(&ino) {
            return Vec::new();
        }
        shard.numbers(ino).filter(|other| *other != number && shard.known.contains_key(other)).collect()
    }

    /// Whether the kernel refers to the file by any number.
    pub(crate) fn refers(&self, ino: Ino) -> bool {
        self.shard(ino.0).lock().refers(ino.0)
    }

    /// Whether the kernel knows it.
    pub(crate) fn knows(&self, number: u64) -> bool {
        self.shard(number).lock().known.contains_key(&number)
    }

    /// All files the kernel knows, for when everything has to be invalidated.
    pub(crate) fn all(&self) -> Vec<u64> {
        let inos = |shard: &Mutex<Shard>| {
            let shard = shard.lock();
            let mut inos: Vec<u64> = shard.known.keys().map(|number| ino_of(*number).0).collect();
            inos.sort_unstable();
            inos.dedup();
            inos
        };
        self.shards.iter().flat_map(inos).collect()
    }
}

#[cfg(test)]
#[path = "nodes/tests.rs"]
pub(crate) mod tests;
