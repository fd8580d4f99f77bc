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
    /// Inodes that the kernel was given and has not made yet, and how often it will say so.
    not_yet: Mutex<Vec<(u64, usize)>>,
}

impl Kernel for Notes {
    fn drop_name(&self, parent: u64, name: &[u8]) {
        let _ = self.told.send(Told::Name(parent, name.to_vec()));
    }
    fn drop_inode(&self, ino: u64, scope: Scope) -> bool {
        let _ = self.told.send(Told::Inode(ino, scope));
        let mut not_yet = self.not_yet.lock();
        let Some((_, times)) = not_yet.iter_mut().find(|(other, times)| *other == ino && *times > 0) else {
            return true;
        };
        *times -= 1;
        false
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

/// As [`setting`], where the kernel was given inodes that it has not made yet: it answers so that many times.
fn setting_where(known: &[u64], not_yet: &[(u64, usize)]) -> Setting {
    let (changes, feed_end) = channel();
    let (notes, told) = channel();
    let nodes = Arc::new(Nodes::new());
    for &ino in known {
        nodes.enter(file(ino, 1, 1), nodes.moments.now());
    }
    let (feed, metrics) = (Arc::new(Feed::default()), Arc::new(MountMetrics::default()));
    let kernel = Notes { told: notes, not_yet: Mutex::new(not_yet.to_vec()) };
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
    // A second invalidation would take the size away from a program that asks for it at that moment.
    assert_eq!(setting.told.recv_timeout(SETTLE_MAX + IDLE_WAIT), Err(RecvTimeoutError::Timeout));
    setting.end();
}

#[test]
fn attributes_on_their_way_into_the_kernel_are_dropped_until_they_are_there() {
    for times in [1, 3, 1000] {
        let setting = setting_where(&[7], &[(7, times)]);
        setting.change(Change::Content(Ino(7)));
        assert_eq!(setting.next(), Told::Inode(7, Scope::Data));
        for _ in 0..times {
            assert_eq!(setting.next(), Told::Inode(7, Scope::Attr));
            if times == 1000 {
                break;
            }
        }
        setting.end();
    }
}

#[test]
fn what_is_given_up_on_its_way_is_not_waited_for() {
    let setting = setting_where(&[7], &[(7, usize::MAX)]);
    setting.change(Change::Attr(Ino(7)));
    assert_eq!(setting.next(), Told::Inode(7, Scope::Attr));
    setting.nodes.forget(7, 1);
    let quiet = || setting.told.recv_timeout(SETTLE_MAX + 2 * IDLE_WAIT) == Err(RecvTimeoutError::Timeout);
    // What was under way when it was given up may still come.
    assert!((0..1000).any(|_| quiet()), "the kernel is asked on and on");
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
fn an_answer_that_a_change_overtook_before_its_inode_was_known_does_not_last() {
    let setting = setting(&[]);
    let asked = setting.nodes.moments.now();
    setting.change(Change::Attr(Ino(8)));
    // The change behind it shows that it was processed.
    setting.change(Change::Entry { parent: Ino(1), name: b"x".to_vec(), old: None });
    setting.next();
    while !setting.nodes.moments.changed_since(asked, 8) {
        std::thread::yield_now();
    }
    assert!(!setting.nodes.enter(file(8, 1, 1), asked).lasting);
    assert!(setting.nodes.enter(file(9, 1, 1), asked).lasting, "another inode");
    assert!(setting.nodes.enter(file(8, 1, 1), setting.nodes.moments.now()).lasting, "asked after the change");
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

/// With the real kernel.
mod root {
    use std::os::fd::AsFd;

    use fuser::{Config, Filesystem, Session};

    use super::*;

    /// A file system that answers nothing: only its root is known.
    struct Nothing;

    impl Filesystem for Nothing {}

    #[test]
    fn the_kernel_tells_an_inode_that_it_does_not_have_from_one_that_it_dropped() {
        if !rustix::process::geteuid().is_root() || !std::path::Path::new("/dev/fuse").exists() {
            eprintln!("skipped: mounting needs root and /dev/fuse");
            return;
        }
        let at = tempfile::tempdir().expect("a folder");
        let mut session = Session::new(Nothing, at.path(), &Config::default()).expect("mounted");
        let mut unmount = session.unmount_callable();
        let device = session.as_fd().try_clone_to_owned().expect("a descriptor");
        let kernel = FuseKernel { notifier: session.notifier(), device };
        let serving = std::thread::spawn(move || session.run());
        assert!(kernel.drop_inode(1, Scope::Attr), "the root is always there");
        assert!(kernel.drop_inode(1, Scope::Data));
        assert!(!kernel.drop_inode(42, Scope::Attr), "nobody was given it");
        unmount.unmount().expect("unmounted");
        serving.join().expect("ends").expect("served");
    }
}
