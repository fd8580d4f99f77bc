//! What doors without open files rely on: changes return what they found, reads need no disk, sizes do not
//! go back while staged bytes become content.

use strata_namespace::SetAttr;

use crate::support::*;

#[test]
fn a_watched_inode_tells_how_the_changes_of_an_operation_found_and_left_it() {
    let (_world, store) = store();
    let ns = store.namespace();
    let bucket = ns.resolve(&root(), b"/bkt").unwrap().ino;
    let before = ns.getattr(&root(), bucket).unwrap();
    let op = root();
    op.watch(bucket);
    assert_eq!(op.watched(bucket), None, "nothing was changed yet");
    ns.mkdir(&op, bucket, b"a", 0o755).unwrap();
    assert_eq!(op.watched(bucket), Some((before.clone(), ns.getattr(&root(), bucket).unwrap())));
    ns.mkdir(&op, bucket, b"b", 0o755).unwrap();
    assert_eq!(op.watched(bucket), Some((before, ns.getattr(&root(), bucket).unwrap())), "from the first to the last");
    ns.mkdir(&root(), bucket, b"somebody-else-s", 0o755).unwrap();
    ns.rmdir(&op, bucket, b"a").unwrap();
    assert_eq!(op.watched(bucket), None, "somebody else came in between");
}

#[test]
fn a_watched_file_tells_of_writes_and_attributes_and_forgets_when_it_is_gone() {
    let (_world, store) = store();
    let ns = store.namespace();
    let bucket = ns.resolve(&root(), b"/bkt").unwrap().ino;
    let file = ns.create(&root(), bucket, b"f", 0o644, RW, true, false).unwrap();
    ns.close(&root(), file.ino, false).unwrap();
    let op = root();
    op.watch(file.ino);
    ns.write(&op, file.ino, 0, b"some").unwrap();
    let (found, left) = op.watched(file.ino).unwrap();
    assert_eq!((found, left.size), (file.attr.clone(), 4));
    let mode = SetAttr { mode: Some(0o600), ..SetAttr::default() };
    ns.setattr(&op, file.ino, &mode).unwrap();
    assert_eq!(op.watched(file.ino).unwrap().1.mode, 0o600);
    ns.unlink(&op, bucket, b"f").unwrap();
    assert_eq!(op.watched(file.ino), None);
}

#[test]
fn reads_from_memory_are_the_same_bytes_or_none() {
    let (_world, store) = store();
    let ns = store.namespace();
    let bucket = ns.resolve(&root(), b"/bkt").unwrap().ino;
    let mut data = noise(3, 300_000);
    put(ns, "f", &data);
    let file = ns.lookup(&root(), bucket, b"f").unwrap().ino;
    ns.read(&root(), file, 0, 300_000).unwrap();
    let cached = ns.read_cached(&root(), file, 100_000, 50_000).unwrap().expect("just read");
    assert!(cached == data[100_000..150_000]);
    ns.write(&root(), file, 120_000, b"staged").unwrap();
    data[120_000..120_006].copy_from_slice(b"staged");
    let cached = ns.read_cached(&root(), file, 100_000, 50_000).unwrap().expect("in memory");
    assert!(cached == data[100_000..150_000]);
    assert!(ns.read_cached(&root(), file, 300_000, 10).unwrap().expect("the end").is_empty());
    assert!(ns.write_is_quick(file, 4096) && !ns.write_is_quick(file, 1 << 30));
}

#[test]
fn a_size_that_was_seen_does_not_shrink_while_the_file_is_sealed() {
    let (_world, store) = store();
    let ns = store.namespace();
    let bucket = ns.resolve(&root(), b"/bkt").unwrap().ino;
    let file = ns.create(&root(), bucket, b"f", 0o644, RW, true, false).unwrap().ino;
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut seen = 0;
            while !done.load(std::sync::atomic::Ordering::Acquire) {
                let size = ns.getattr(&root(), file).unwrap().size;
                assert!(size >= seen, "{size} after {seen}");
                seen = size;
            }
        });
        for step in 0..400_u64 {
            ns.write(&root(), file, step * 1000, &noise(step, 1000)).unwrap();
            ns.fsync(&root(), file).unwrap();
        }
        done.store(true, std::sync::atomic::Ordering::Release);
    });
}
