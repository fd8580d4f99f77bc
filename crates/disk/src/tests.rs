//! The real disk: the suite every disk passes, and what only files can do.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use strata_seam::sim::conformance;
use strata_seam::{AlignedBuf, Disk, DiskError, DiskErrorKind, SECTOR_LEN, WriteMode};

use crate::FileDisk;

const MIB: u64 = 1 << 20;

fn temp_dir() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn kind<T>(result: Result<T, DiskError>) -> Option<DiskErrorKind> {
    result.err().map(|error| error.kind)
}

#[test]
fn a_folder_conforms_with_direct_io_and_without() {
    let dir = temp_dir();
    conformance::check(&FileDisk::open(dir.path()).unwrap());
    conformance::check(&FileDisk::open_buffered(dir.path()).unwrap());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "drafts are left behind");
}

#[test]
fn a_folder_in_memory_conforms() {
    let Ok(dir) = tempfile::tempdir_in("/dev/shm") else {
        println!("skipped: no writable /dev/shm");
        return;
    };
    conformance::check(&FileDisk::open(dir.path()).unwrap());
}

#[test]
fn a_missing_folder_is_gone_and_is_not_created() {
    let dir = temp_dir();
    let missing = dir.path().join("disk");
    assert_eq!(kind(FileDisk::open(&missing)), Some(DiskErrorKind::Gone));
    assert!(!missing.exists());
    fs::write(&missing, "a file").unwrap();
    assert_eq!(kind(FileDisk::open(&missing)), Some(DiskErrorKind::Gone));
}

#[test]
fn a_removed_folder_is_gone_for_every_call_that_promises_durability() {
    let dir = temp_dir();
    let path = dir.path().join("disk");
    fs::create_dir(&path).unwrap();
    let disk = FileDisk::open(&path).unwrap();
    let file = disk.create("segment", MIB, true).unwrap();
    fs::remove_dir_all(&path).unwrap();
    let kinds = [
        kind(disk.list()),
        kind(disk.open("segment")),
        kind(disk.create("new", 1, false)),
        kind(disk.replace("new", b"x")),
        kind(disk.remove("segment")),
        kind(disk.space()),
        kind(file.write_at(0, &AlignedBuf::zeroed(SECTOR_LEN), WriteMode::Durable)),
        kind(file.sync()),
    ];
    assert_eq!(kinds, [Some(DiskErrorKind::Gone); 8]);
}

#[test]
fn a_removed_file_takes_no_write_that_promises_durability() {
    let dir = temp_dir();
    let disk = FileDisk::open(dir.path()).unwrap();
    let file = disk.create("segment", MIB, true).unwrap();
    let sector = AlignedBuf::zeroed(SECTOR_LEN);
    file.write_at(0, &sector, WriteMode::Durable).unwrap();
    fs::remove_file(dir.path().join("segment")).unwrap();
    assert_eq!(kind(file.write_at(0, &sector, WriteMode::Durable)), Some(DiskErrorKind::Gone));
    assert_eq!(kind(file.sync()), Some(DiskErrorKind::Gone));
    // What was read before its removal is read to its end.
    file.read_at(0, &mut [0; SECTOR_LEN]).unwrap();
}

#[test]
fn a_file_that_was_moved_or_replaced_takes_no_write_that_promises_durability() {
    let sector = AlignedBuf::zeroed(SECTOR_LEN);
    let moved = |dir: &Path| fs::rename(dir.join("segment"), dir.join("elsewhere")).unwrap();
    let replaced = |dir: &Path| {
        fs::copy(dir.join("segment"), dir.join("copy")).unwrap();
        fs::rename(dir.join("copy"), dir.join("segment")).unwrap();
    };
    let linked = |dir: &Path| {
        fs::hard_link(dir.join("segment"), dir.join("elsewhere")).unwrap();
        fs::remove_file(dir.join("segment")).unwrap();
    };
    for act in [&moved as &dyn Fn(&Path), &replaced, &linked] {
        let dir = temp_dir();
        let disk = FileDisk::open(dir.path()).unwrap();
        let file = disk.create("segment", MIB, true).unwrap();
        file.write_at(0, &sector, WriteMode::Durable).unwrap();
        file.sync().unwrap();
        act(dir.path());
        assert_eq!(kind(file.write_at(0, &sector, WriteMode::Durable)), Some(DiskErrorKind::Gone));
        assert_eq!(kind(file.sync()), Some(DiskErrorKind::Gone));
    }
}

#[test]
fn a_folder_that_was_moved_away_is_gone_for_who_asks_for_its_room() {
    let dir = temp_dir();
    let (path, away) = (dir.path().join("disk"), dir.path().join("away"));
    fs::create_dir(&path).unwrap();
    let disk = FileDisk::open(&path).unwrap();
    disk.space().unwrap();
    fs::rename(&path, &away).unwrap();
    assert_eq!(kind(disk.space()), Some(DiskErrorKind::Gone));
    fs::create_dir(&path).unwrap();
    assert_eq!(kind(disk.space()), Some(DiskErrorKind::Gone));
    fs::remove_dir(&path).unwrap();
    fs::rename(&away, &path).unwrap();
    disk.space().unwrap();
}

#[test]
fn another_folder_that_appears_under_the_path_is_never_touched() {
    let dir = temp_dir();
    let (path, away) = (dir.path().join("disk"), dir.path().join("away"));
    fs::create_dir(&path).unwrap();
    let disk = FileDisk::open(&path).unwrap();
    fs::rename(&path, &away).unwrap();
    fs::create_dir(&path).unwrap();
    disk.replace("state", b"x").unwrap();
    assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
    assert_eq!(fs::read(away.join("state")).unwrap(), b"x");
}

#[test]
fn a_created_file_owns_its_blocks() {
    let dir = temp_dir();
    let disk = FileDisk::open(dir.path()).unwrap();
    for zeroed in [true, false] {
        disk.create("segment", 4 * MIB, zeroed).unwrap();
        let blocks = fs::metadata(dir.path().join("segment")).unwrap().blocks();
        assert!(blocks * 512 >= 4 * MIB, "{blocks} blocks");
    }
}

#[test]
fn a_file_too_large_for_the_disk_is_refused_as_full_and_leaves_nothing() {
    let dir = temp_dir();
    let disk = FileDisk::open(dir.path()).unwrap();
    assert_eq!(kind(disk.create("segment", 1 << 52, false)), Some(DiskErrorKind::Full));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn foreign_entries_are_neither_listed_nor_opened_nor_removed() {
    let dir = temp_dir();
    fs::create_dir(dir.path().join("lost-and-found")).unwrap();
    fs::write(dir.path().join("Notes.txt"), "of the operator").unwrap();
    fs::write(dir.path().join("backup~"), "of an editor").unwrap();
    fs::write(dir.path().join("outside"), "secret").unwrap();
    fs::create_dir(dir.path().join("disk")).unwrap();
    let disk = dir.path().join("disk");
    symlink("../outside", disk.join("link")).unwrap();
    assert_eq!(FileDisk::open(dir.path()).unwrap().list().unwrap().len(), 1, "the file named outside");
    let disk = FileDisk::open(&disk).unwrap();
    assert_eq!(disk.list().unwrap(), []);
    assert!(disk.open("link").is_err());
    assert!(dir.path().join("Notes.txt").exists());
}

#[test]
fn what_an_interrupted_preparation_left_is_hidden_and_swept_when_the_disk_is_opened() {
    let dir = temp_dir();
    let disk = FileDisk::open(dir.path()).unwrap();
    let draft = dir.path().join("segment~7");
    fs::write(&draft, [0; 100]).unwrap();
    assert_eq!(disk.list().unwrap(), []);
    FileDisk::open(dir.path()).unwrap();
    assert!(!draft.exists());
}

#[test]
fn a_file_cut_short_from_outside_reads_as_a_short_read() {
    let dir = temp_dir();
    let disk = FileDisk::open(dir.path()).unwrap();
    let file = disk.create("segment", MIB, true).unwrap();
    fs::File::options().write(true).open(dir.path().join("segment")).unwrap().set_len(5000).unwrap();
    assert_eq!(kind(file.read_at(4096, &mut [0; 4096])), Some(DiskErrorKind::ShortRead));
    file.read_at(0, &mut [0; 4096]).unwrap();
}

#[test]
fn threads_write_and_read_different_ranges_of_one_file_at_once() {
    let dir = temp_dir();
    let disk = FileDisk::open(dir.path()).unwrap();
    let file = disk.create("segment", MIB, true).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8_u8 {
            let file = &file;
            scope.spawn(move || {
                let mut frame = AlignedBuf::zeroed(SECTOR_LEN);
                for round in 0..16 {
                    let offset = (round * 8 + u64::from(thread)) * SECTOR_LEN as u64;
                    frame.fill(thread + 1);
                    file.write_at(offset, &frame, WriteMode::Durable).unwrap();
                    frame.fill(0);
                    file.read_at(offset, &mut frame).unwrap();
                    assert!(frame.iter().all(|byte| *byte == thread + 1));
                }
            });
        }
    });
}

#[test]
fn a_durable_write_through_a_handle_whose_name_passed_on_does_not_reach_the_new_file() {
    let dir = temp_dir();
    let disk = FileDisk::open(dir.path()).unwrap();
    let old = disk.create("segment", 4096, true).unwrap();
    let new = disk.create("segment", 4096, true).unwrap();
    let mut frame = AlignedBuf::zeroed(SECTOR_LEN);
    frame.fill(1);
    assert_eq!(kind(old.write_at(0, &frame, WriteMode::Durable)), Some(DiskErrorKind::Gone));
    new.read_at(0, &mut frame).unwrap();
    assert!(frame.iter().all(|byte| *byte == 0));
}

#[test]
fn errors_name_the_disk_by_its_path() {
    let dir = temp_dir();
    let disk = FileDisk::open(dir.path()).unwrap();
    let text = disk.open("nothing").map(|_| ()).unwrap_err().to_string();
    assert_eq!(text, format!("disk {}: open nothing: no such file", dir.path().display()));
    assert_eq!(Path::new(disk.label()), dir.path());
}
