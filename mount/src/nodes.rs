//! Which inodes the kernel knows, by its lookup counts, and for which content its page cache stands.
//!
//! The kernel counts every entry it was given and gives the count back with `forget`; between the two it may hold
//! attributes and pages. The table has exactly as many entries as the kernel's inode cache has for this mount, which is
//! its bound. Invalidation of an inode that is not here would be a system call for nothing.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use strata_namespace::{Attr, ROOT_INO};
use strata_seam::Timestamp;

const SHARDS: usize = 64;

/// What tells one content of a file from another: time of its last change and size in bytes.
pub(crate) type Validator = (Timestamp, u64);

/// The validator of a file's present content.
pub(crate) fn validator(attr: &Attr) -> Validator {
    (attr.mtime, attr.size)
}

/// An inode the kernel knows.
#[derive(Debug, Default)]
pub(crate) struct Node {
    /// The content the kernel's pages were read from or written as; `None` if they may be stale.
    cached: Mutex<Option<Validator>>,
    /// The content whose size and times the kernel was told last; `None` before the first time.
    told: Mutex<Option<Validator>>,
}

impl Node {
    /// At open: whether pages cached before are still good. From now on they stand for `attr`.
    pub(crate) fn keep_cache(&self, attr: &Attr) -> bool {
        self.cached.lock().replace(validator(attr)) == Some(validator(attr))
    }

    /// The kernel is being told these attributes.
    pub(crate) fn tell(&self, attr: &Attr) {
        *self.told.lock() = Some(validator(attr));
    }

    /// At open: whether the kernel may hold a size or time other than these, which its reads would go by.
    pub(crate) fn misinformed(&self, attr: &Attr) -> bool {
        self.told.lock().replace(validator(attr)).is_some_and(|told| told != validator(attr))
    }

    /// After a change made through this mount, which the kernel's pages already contain.
    pub(crate) fn wrote(&self, attr: &Attr) {
        self.tell(attr);
        let mut cached = self.cached.lock();
        if cached.is_some() {
            *cached = Some(validator(attr));
        }
    }

    /// After a change made elsewhere: pages must be read again.
    pub(crate) fn stale(&self) {
        *self.cached.lock() = None;
    }
}

#[derive(Debug, Default)]
struct Known {
    lookups: u64,
    node: Arc<Node>,
}

/// The inodes the kernel knows.
pub(crate) struct Nodes {
    shards: [Mutex<HashMap<u64, Known>>; SHARDS],
}

impl Nodes {
    pub(crate) fn new() -> Self {
        let nodes = Self { shards: std::array::from_fn(|_| Mutex::new(HashMap::new())) };
        // The root is known from the start and never forgotten.
        nodes.looked_up(ROOT_INO.0);
        nodes
    }

    fn shard(&self, ino: u64) -> &Mutex<HashMap<u64, Known>> {
        // The remainder is below SHARDS.
        &self.shards[(ino % SHARDS as u64) as usize]
    }

    /// The kernel is being given one more reference to `ino`.
    pub(crate) fn looked_up(&self, ino: u64) -> Arc<Node> {
        let mut shard = self.shard(ino).lock();
        let known = shard.entry(ino).or_default();
        known.lookups += 1;
        Arc::clone(&known.node)
    }

    /// The kernel is being given one more reference to an inode, with its attributes.
    pub(crate) fn entered(&self, attr: &Attr) {
        self.looked_up(attr.ino.0).tell(attr);
    }

    /// The kernel is being given attributes of an inode it knows.
    pub(crate) fn told(&self, attr: &Attr) {
        if let Some(node) = self.get(attr.ino.0) {
            node.tell(attr);
        }
    }

    /// The kernel gives `count` references back.
    pub(crate) fn forget(&self, ino: u64, count: u64) {
        if ino == ROOT_INO.0 {
            return;
        }
        let mut shard = self.shard(ino).lock();
        if let Some(known) = shard.get_mut(&ino) {
            known.lookups = known.lookups.saturating_sub(count);
            if known.lookups == 0 {
                shard.remove(&ino);
            }
        }
    }

    /// The node, if the kernel knows it.
    pub(crate) fn get(&self, ino: u64) -> Option<Arc<Node>> {
        self.shard(ino).lock().get(&ino).map(|known| Arc::clone(&known.node))
    }

    /// Whether the kernel knows it.
    pub(crate) fn knows(&self, ino: u64) -> bool {
        self.shard(ino).lock().contains_key(&ino)
    }

    /// All inodes the kernel knows, for when everything has to be invalidated.
    pub(crate) fn all(&self) -> Vec<u64> {
        self.shards.iter().flat_map(|shard| shard.lock().keys().copied().collect::<Vec<_>>()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strata_namespace::NodeKind;
    use strata_seam::Ino;

    fn attr(mtime: i64, size: u64) -> Attr {
        let t = Timestamp(mtime);
        Attr {
            ino: Ino(9),
            kind: NodeKind::File,
            mode: 0o644,
            uid: 0,
            gid: 0,
            nlink: 1,
            rdev: 0,
            size,
            allocated: size,
            atime: t,
            mtime: t,
            ctime: t,
            btime: t,
            change: 0,
        }
    }

    #[test]
    fn an_inode_is_known_until_every_lookup_is_forgotten() {
        let nodes = Nodes::new();
        nodes.looked_up(70);
        nodes.looked_up(70);
        nodes.looked_up(70);
        nodes.forget(70, 2);
        assert!(nodes.knows(70));
        nodes.forget(70, 1);
        assert!(!nodes.knows(70));
        nodes.forget(70, 5);
    }

    #[test]
    fn the_root_is_never_forgotten() {
        let nodes = Nodes::new();
        nodes.forget(ROOT_INO.0, u64::MAX);
        assert_eq!(nodes.all(), [ROOT_INO.0]);
    }

    #[test]
    fn pages_are_kept_from_one_open_to_the_next_while_the_content_is_the_same() {
        let node = Node::default();
        assert!(!node.keep_cache(&attr(1, 10)), "nothing is known about what the kernel has");
        assert!(node.keep_cache(&attr(1, 10)));
        assert!(!node.keep_cache(&attr(2, 10)), "changed elsewhere");
        assert!(node.keep_cache(&attr(2, 10)));
    }

    #[test]
    fn our_own_writes_leave_the_pages_good() {
        let node = Node::default();
        node.keep_cache(&attr(1, 10));
        node.wrote(&attr(3, 20));
        assert!(node.keep_cache(&attr(3, 20)));
    }

    #[test]
    fn the_kernel_is_misinformed_once_after_each_change_it_was_not_told_of() {
        let node = Node::default();
        assert!(!node.misinformed(&attr(1, 10)), "it has nothing yet");
        assert!(!node.misinformed(&attr(1, 10)));
        assert!(node.misinformed(&attr(2, 20)));
        assert!(!node.misinformed(&attr(2, 20)));
        node.wrote(&attr(3, 30));
        assert!(!node.misinformed(&attr(3, 30)), "its own write");
        node.tell(&attr(4, 30));
        assert!(!node.misinformed(&attr(4, 30)), "asked for and told");
    }

    #[test]
    fn a_foreign_change_is_not_hidden_by_a_write_of_ours_after_it() {
        let node = Node::default();
        node.keep_cache(&attr(1, 10));
        node.stale();
        node.wrote(&attr(3, 20));
        assert!(!node.keep_cache(&attr(3, 20)));
    }
}
