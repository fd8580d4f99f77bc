//! The disk that forgets behaves as a disk, and forgets.

use proptest::prelude::*;
use strata_disk::FileDisk;

use super::*;

fn real() -> (tempfile::TempDir, Arc<dyn Disk>) {
    let folder = tempfile::tempdir().unwrap();
    let disk = FileDisk::open(folder.path()).unwrap();
    (folder, Arc::new(disk))
}

fn content(disk: &dyn Disk, name: &str) -> Vec<u8> {
    let file = disk.open(name).unwrap();
    let mut all = vec![0; usize::try_from(file.len()).unwrap()];
    file.read_at(0, &mut all).unwrap();
    all
}

#[test]
fn what_is_written_made_replaced_and_removed_is_seen_here_and_not_below() {
    let (_folder, below) = real();
    for name in ["kept", "gone", "small"] {
        below.replace(name, b"as it was").unwrap();
    }
    let scratch = ScratchDisk::over(Arc::clone(&below));
    scratch.open("kept").unwrap().write_at(3, b"IT", WriteMode::Buffered).unwrap();
    scratch.remove("gone").unwrap();
    scratch.replace("small", b"tiny").unwrap();
    scratch.create("new", 10_000, true).unwrap().write_at(9_998, b"ab", WriteMode::Durable).unwrap();

    assert_eq!(content(&scratch, "kept"), b"as IT was");
    assert_eq!(scratch.open("gone").err().unwrap().kind, DiskErrorKind::NotFound);
    let names: Vec<_> = scratch.list().unwrap().into_iter().map(|file| (file.name, file.len)).collect();
    assert_eq!(names, [("kept".into(), 9), ("new".into(), 10_000), ("small".into(), 4)]);
    assert_eq!(content(&scratch, "new")[9_990..], *b"\0\0\0\0\0\0\0\0ab");

    for name in ["kept", "gone", "small"] {
        assert_eq!(content(&*below, name), b"as it was");
    }
    assert_eq!(below.list().unwrap().len(), 3);
}

#[test]
fn a_range_beyond_the_end_is_refused() {
    let (_folder, below) = real();
    let file = ScratchDisk::over(below).create("f", 100, false).unwrap();
    assert_eq!(file.write_at(99, b"ab", WriteMode::Buffered).unwrap_err().kind, DiskErrorKind::ShortRead);
    assert_eq!(file.read_at(u64::MAX, &mut [0; 2]).unwrap_err().kind, DiskErrorKind::ShortRead);
}

proptest! {
    #[test]
    fn any_writes_read_back_as_from_memory(
        base in proptest::collection::vec(any::<u8>(), 1..20_000),
        writes in proptest::collection::vec((any::<prop::sample::Index>(), proptest::collection::vec(any::<u8>(), 0..9_000)), 0..8),
    ) {
        let (_folder, below) = real();
        below.replace("f", &base).unwrap();
        let scratch = ScratchDisk::over(below);
        let mut model = base;
        for (at, data) in writes {
            let at = at.index(model.len());
            let data = &data[..data.len().min(model.len() - at)];
            model[at..at + data.len()].copy_from_slice(data);
            scratch.open("f").unwrap().write_at(at as u64, data, WriteMode::Buffered).unwrap();
        }
        prop_assert_eq!(content(&scratch, "f"), model);
    }
}
