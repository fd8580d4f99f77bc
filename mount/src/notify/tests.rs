//! What the notifying thread promises, against a kernel that only takes notes.

use std::sync::mpsc::{Sender, channel};

use strata_seam::Ino;

use super::*;
use crate::nodes::tests::file;

#[derive(Clone, PartialEq, Eq, Debug)]
enum Told {
    Name(u64, Vec<u8>),
    Inode(u64, Scope),
    AllNames,
}

struct Notes {
    told: Sender<Told>,
    /// Inodes that the kernel has not made yet, although it was told of them.
    not_yet: Vec<u64>,
}

impl Kernel for Notes {
    fn drop_name(&self, parent: u64, name: &[u8]) {
        let _ = self.told.send(Told::Name(parent, name.to_vec()));
    }
    fn drop_inode(&self, ino: u64, scope: Scope) -> bool {
        let _ = self.told.send(Told::Inode(ino, scope));
        !self.not_yet.contains(&ino)
    }
    fn drop_all_names(&self) -> bool {
        self.told.send(Told::AllNames).is_ok()
    }
}

struct NoSizes;

impl Sizes for NoSizes {
    fn size(&self, _ino: u64) -> u64 {
        0
    }
}

struct Setting {
    feed: Arc<Feed>,
    nodes: Arc<Nodes>,
    changes: Option<Sender<Change>>,
    told: Receiver<Told>,
    thread: JoinHandle<()>,
    metrics: Arc<MountMetrics>,
}

/// A running thread; the kernel knows the root and the inodes in `known`.
fn setting(known: &[u64]) -> Setting {
    setting_where(known, &[])
}

/// The same where the kernel was told of inodes it has not made yet.
fn setting_where(known: &[u64], not_yet: &[u64]) -> Setting {
    let (changes, feed_end) = channel();
    let (notes, told) = channel();
    let nodes = Arc::new(Nodes::new());
    for &ino in known {
        nodes.enter(file(ino, 1, 1));
    }
    let (feed, metrics) = (Arc::new(Feed::default()), Arc::new(MountMetrics::default()));
    let kernel = Notes { told: notes, not_yet: not_yet.to_vec() };
    let thread = start(Arc::clone(&feed), feed_end, kernel, NoSizes, Arc::clone(&nodes), Arc::clone(&metrics))
        .expect("a thread");
    Setting { feed, nodes, changes: Some(changes), told, thread, metrics }
}

impl Setting {
    fn change(&self, change: Change) {
        self.changes.as_ref().expect("open").send(change).expect("thread runs");
    }
    fn next(&self) -> Told {
        self.told.recv_timeout(Duration::from_secs(10)).expect("the kernel is told")
    }
    fn end(self) {
        self.feed.stop();
        self.thread.join().expect("ends");
    }
}

#[test]
fn foreign_content_is_dropped_once() {
    let setting = setting(&[7]);
    setting.change(Change::Content(Ino(7)));
    assert_eq!(setting.next(), Told::Inode(7, Scope::Data));
    // Another time would take the size away from whoever asks for it at that moment.
    assert_eq!(setting.told.recv_timeout(3 * SECOND_ROUND), Err(RecvTimeoutError::Timeout));
    setting.end();
}

#[test]
fn attributes_of_what_the_kernel_did_not_have_yet_are_dropped_once_more() {
    let setting = setting_where(&[7], &[7]);
    setting.change(Change::Content(Ino(7)));
    assert_eq!(setting.next(), Told::Inode(7, Scope::Data));
    assert_eq!(setting.next(), Told::Inode(7, Scope::Attr));
    setting.end();
}

#[test]
fn what_the_kernel_does_not_know_costs_no_call() {
    let setting = setting(&[7]);
    setting.change(Change::Content(Ino(8)));
    setting.change(Change::Entry { parent: Ino(9), name: b"x".to_vec(), old: None });
    setting.change(Change::Attr(Ino(7)));
    assert_eq!(setting.next(), Told::Inode(7, Scope::Attr));
    setting.end();
}

#[test]
fn an_inode_the_kernel_gets_to_know_during_the_change_is_caught_by_the_second_round() {
    let setting = setting(&[]);
    setting.change(Change::Attr(Ino(8)));
    setting.nodes.enter(file(8, 1, 1));
    // Told once or twice, depending on which of the two came first, but told.
    assert_eq!(setting.next(), Told::Inode(8, Scope::Attr));
    setting.end();
}

#[test]
fn a_changed_name_is_dropped_with_the_listing_of_its_directory() {
    let setting = setting(&[]);
    setting.change(Change::Entry { parent: Ino(1), name: b"new".to_vec(), old: None });
    assert_eq!(setting.next(), Told::Name(1, b"new".to_vec()));
    assert_eq!(setting.next(), Told::Inode(1, Scope::Data));
    setting.end();
}

#[test]
fn an_overflow_drops_every_name_and_every_known_inode() {
    let setting = setting(&[5]);
    setting.change(Change::Overflow);
    assert_eq!(setting.next(), Told::AllNames);
    let mut inodes = [setting.next(), setting.next()];
    inodes.sort_by_key(|told| format!("{told:?}"));
    assert_eq!(inodes, [Told::Inode(1, Scope::Data), Told::Inode(5, Scope::Data)]);
    assert_eq!(setting.metrics.overflows(), 1);
    setting.end();
}

#[test]
fn a_resync_asked_by_a_request_reaches_the_kernel() {
    let setting = setting(&[6]);
    setting.feed.resync(6);
    setting.feed.resync(6);
    assert_eq!(setting.next(), Told::Inode(6, Scope::Data));
    setting.end();
}

#[test]
fn the_thread_ends_when_the_name_space_is_gone() {
    let mut setting = setting(&[]);
    drop(setting.changes.take());
    setting.thread.join().expect("ends");
}
