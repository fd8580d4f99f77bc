//! A reader of a file stays on the old content while another door replaces it.

use strata_namespace::{Access, Namespace, NodeKind, Permit, Pin, SetAttr};
use strata_seam::Ino;

use crate::support::*;

const R: Access = Access { read: true, write: false, exec: false };

/// The pin with the permit of who has its file open.
fn opened<'p>(ns: &Namespace, pin: &'p Pin) -> (&'p Pin, Permit) {
    (pin, ns.permit(&root(), pin.ino(), R).expect("a permit"))
}

fn inodes(ns: &Namespace) -> u64 {
    ns.space(&root()).expect("space").inodes
}

fn file(ns: &Namespace, name: &[u8]) -> Ino {
    let bucket = ns.resolve(&root(), b"/bkt").expect("the bucket").ino;
    ns.lookup(&root(), bucket, name).expect("the file").ino
}

#[test]
fn a_pinned_reader_keeps_its_content_through_replacements_and_leaves_nothing_behind() {
    let (_world, store) = store();
    let ns = store.namespace();
    let texts: Vec<Vec<u8>> = (1..5).map(|n| noise(n, 100_000 * n as usize)).collect();
    put(ns, "f", &texts[0]);
    let ino = file(ns, b"f");
    let before = inodes(ns);
    let mut pins = Vec::new();
    for text in &texts {
        put(ns, "f", text);
        ns.open(&root(), ino, R, false).expect("opened");
        pins.push(ns.pin(ino));
    }
    for (pin, text) in pins.iter().zip(&texts) {
        let mut read = Vec::new();
        while read.len() < text.len() {
            read.extend_from_slice(
                &ns.read_pinned(&root(), opened(ns, pin), read.len() as u64, 1 << 20).expect("read"),
            );
        }
        assert!(read == *text);
        assert!(ns.read_pinned(&root(), opened(ns, pin), text.len() as u64, 1).expect("the end").is_empty());
        assert_eq!(ns.getattr(&root(), pin.source()).expect("there").size, text.len() as u64);
    }
    assert_eq!(inodes(ns), before + 3, "one inode for each content that is no longer the file's");
    sound(ns);
    for pin in pins {
        ns.unpin(&root(), pin).expect("given back");
        ns.close(&root(), ino, false).expect("closed");
    }
    assert_eq!(inodes(ns), before);
    sound(ns);
}

#[test]
fn writes_in_place_are_read_through_a_pin() {
    let (_world, store) = store();
    let ns = store.namespace();
    put(ns, "f", b"one two");
    let ino = file(ns, b"f");
    ns.open(&root(), ino, R, false).expect("opened");
    let pin = ns.pin(ino);
    ns.append(&root(), ino, b" three").expect("appended");
    ns.fsync(&root(), ino).expect("synced");
    assert_eq!(&ns.read_pinned(&root(), opened(ns, &pin), 0, 100).expect("read")[..], b"one two three");
    put(ns, "f", b"else");
    assert_eq!(&ns.read_pinned(&root(), opened(ns, &pin), 0, 100).expect("read")[..], b"one two three");
    pin.follow();
    assert_eq!(&ns.read_pinned(&root(), opened(ns, &pin), 0, 100).expect("read")[..], b"else");
    ns.unpin(&root(), pin).expect("given back");
    ns.close(&root(), ino, false).expect("closed");
    sound(ns);
}

#[test]
fn a_replacement_that_is_refused_leaves_the_pin_on_the_file() {
    let (_world, store) = store();
    let ns = store.namespace();
    put(ns, "f", b"old");
    let ino = file(ns, b"f");
    ns.setattr(&root(), ino, &SetAttr { mode: Some(0o444), ..SetAttr::default() }).expect("set");
    ns.open(&root(), ino, R, false).expect("opened");
    let pin = ns.pin(ino);
    let refused = ns.put_object(
        &user(7),
        "bkt",
        b"f",
        content(ns, b"new"),
        None,
        strata_namespace::ObjectMeta::default(),
        &strata_namespace::Condition::default(),
    );
    assert!(refused.is_err());
    assert_eq!((pin.kept(), pin.source()), (None, ino));
    put(ns, "f", b"newer");
    assert_eq!(&ns.read_pinned(&root(), opened(ns, &pin), 0, 100).expect("read")[..], b"old");
    ns.unpin(&root(), pin).expect("given back");
    ns.close(&root(), ino, false).expect("closed");
}

#[test]
fn what_was_kept_for_a_reader_is_gone_after_a_restart() {
    let (world, store) = store();
    let ns = store.namespace();
    put(ns, "f", &noise(1, 50_000));
    let ino = file(ns, b"f");
    let before = inodes(ns);
    ns.open(&root(), ino, R, false).expect("opened");
    let pin = ns.pin(ino);
    put(ns, "f", b"new");
    let kept = pin.kept().expect("kept");
    assert_eq!(ns.getattr(&root(), kept).expect("there").kind, NodeKind::File);
    store.close().expect("closed");
    let store = open(&world);
    let ns = store.namespace();
    assert!(ns.getattr(&root(), kept).is_err());
    assert_eq!(inodes(ns), before);
    sound(ns);
}

#[test]
fn readers_beside_a_writer_that_replaces_never_see_two_contents() {
    let (_world, store) = store();
    let ns = store.namespace();
    put(ns, "f", &[0; 10]);
    let ino = file(ns, b"f");
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::Acquire) {
                    ns.open(&root(), ino, R, false).expect("opened");
                    let pin = ns.pin(ino);
                    let first = ns.read_pinned(&root(), opened(ns, &pin), 0, 1 << 20).expect("read");
                    let second = ns.read_pinned(&root(), opened(ns, &pin), 0, 1 << 20).expect("read");
                    assert!(first == second && first.iter().all(|byte| *byte == first[0]));
                    assert_eq!(first.len(), 10 + usize::from(first[0]) * 100);
                    ns.unpin(&root(), pin).expect("given back");
                    ns.close(&root(), ino, false).expect("closed");
                }
            });
        }
        for round in 0..200_u8 {
            put(ns, "f", &vec![round; 10 + usize::from(round) * 100]);
        }
        stop.store(true, std::sync::atomic::Ordering::Release);
    });
    sound(ns);
}

#[test]
fn two_writers_that_replace_one_file_never_show_a_pinned_reader_two_contents() {
    let (_world, store) = store();
    let ns = store.namespace();
    let text = |n: u16| n.to_le_bytes().repeat(10 + usize::from(n) * 7 % 900);
    put(ns, "f", &text(0));
    let ino = file(ns, b"f");
    let before = inodes(ns);
    let busy = std::sync::atomic::AtomicUsize::new(2);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while busy.load(std::sync::atomic::Ordering::Acquire) > 0 {
                    ns.open(&root(), ino, R, false).expect("opened");
                    let pin = ns.pin(ino);
                    let first = ns.read_pinned(&root(), opened(ns, &pin), 0, 1 << 20).expect("read");
                    for _ in 0..4 {
                        let again = ns.read_pinned(&root(), opened(ns, &pin), 0, 1 << 20).expect("read");
                        assert!(first == again, "{} bytes became {}", first.len(), again.len());
                    }
                    assert!(first == text(u16::from_le_bytes([first[0], first[1]])));
                    ns.unpin(&root(), pin).expect("given back");
                    ns.close(&root(), ino, false).expect("closed");
                }
            });
        }
        for writer in 0..2_u16 {
            let (busy, text) = (&busy, &text);
            scope.spawn(move || {
                for round in 0..600 {
                    let content = content(ns, &text(round * 2 + writer));
                    let (meta, always) =
                        (strata_namespace::ObjectMeta::default(), strata_namespace::Condition::default());
                    ns.put_object(&root(), "bkt", b"f", content, None, meta, &always).expect("put");
                }
                busy.fetch_sub(1, std::sync::atomic::Ordering::AcqRel);
            });
        }
    });
    assert_eq!(inodes(ns), before);
    sound(ns);
}

#[test]
fn a_copy_by_reference_through_a_pin_takes_the_pinned_content() {
    let (_world, store) = store();
    let ns = store.namespace();
    put(ns, "f", b"old old old");
    put(ns, "copy", b"");
    let (ino, copy) = (file(ns, b"f"), file(ns, b"copy"));
    ns.open(&root(), ino, R, false).expect("opened");
    let pin = ns.pin(ino);
    let overlapping = ns.copy_range_pinned(&root(), opened(ns, &pin), 0, (ino, 2), 5).expect_err("refused");
    assert_eq!(overlapping.kind, strata_namespace::ErrorKind::Invalid);
    put(ns, "f", b"n");
    assert_eq!(ns.copy_range_pinned(&root(), opened(ns, &pin), 4, (copy, 0), 100).expect("copied"), 7);
    assert_eq!(get(ns, "copy").expect("read"), b"old old");
    ns.unpin(&root(), pin).expect("given back");
    ns.close(&root(), ino, false).expect("closed");
    sound(ns);
}
