//! Changes by other doors are seen here at once, whatever the kernel had cached.

use std::cell::RefCell;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::Duration;

use strata_namespace::{Condition, RenameMode, SetAttr};
use strata_seam::Ino;

use crate::support::{BUCKET, Drive, have, other_door, run, soon};

#[test]
fn a_name_that_was_missing_appears() {
    let Some(drive) = Drive::new() else { return };
    for _ in 0..2 {
        assert!(!drive.at("new").exists());
    }
    drive.put("new", b"text");
    soon("the new name", || drive.at("new").exists());
    assert_eq!(fs::read(drive.at("new")).expect("read"), b"text");
}

#[test]
fn directories_of_a_key_appear_with_it_and_vanish_with_it() {
    let Some(drive) = Drive::new() else { return };
    assert!(!drive.at("a").exists() && !drive.at("a/b/c").exists());
    drive.put("a/b/c", b"text");
    soon("the new path", || drive.at("a/b/c").exists());
    assert_eq!(fs::read_dir(drive.at("a")).expect("listed").count(), 1);
    drive.ns().delete_object(&other_door(), BUCKET, b"a/b/c", &Condition::default()).expect("deleted");
    soon("the end of the path", || !drive.at("a").exists());
}

#[test]
fn an_overwritten_object_is_new_in_stat_and_open_and_files_open_already_keep_the_old_one() {
    let Some(drive) = Drive::new() else { return };
    fs::write(drive.at("file"), "old old old").expect("written");
    let open = fs::File::open(drive.at("file")).expect("opened");
    let read = || {
        let mut buf = [0; 3];
        open.read_exact_at(&mut buf, 0).expect("read");
        buf
    };
    assert_eq!(&read(), b"old");
    for (round, text) in [&b"new"[..], b"more than before", b"end"].into_iter().enumerate() {
        drive.put("file", text);
        assert_eq!(fs::read(drive.at("file")).expect("read"), text, "a new open, round {round}");
        assert_eq!(&read(), b"old", "a file open already keeps what it was opened on");
        soon("the new size", || fs::metadata(drive.at("file")).expect("there").len() == text.len() as u64);
    }
}

#[test]
fn bytes_written_into_a_file_by_another_door_are_read_here() {
    let Some(drive) = Drive::new() else { return };
    fs::write(drive.at("file"), vec![b'a'; 100_000]).expect("written");
    let open = fs::File::open(drive.at("file")).expect("opened");
    let byte = || {
        let mut buf = [0];
        open.read_exact_at(&mut buf, 50_000).expect("read");
        buf[0]
    };
    let number = drive.attr("file").ino;
    for letter in b'b'..=b'k' {
        assert_ne!(byte(), letter);
        drive.ns().write(&other_door(), number, 50_000, &[letter]).expect("written");
        soon("the written byte", || byte() == letter);
    }
}

#[test]
fn renames_modes_links_and_removals_elsewhere_are_seen() {
    let Some(drive) = Drive::new() else { return };
    fs::create_dir(drive.at("d")).expect("made");
    fs::write(drive.at("d/a"), "x").expect("written");
    let (ns, op) = (drive.ns(), other_door());
    let (dir, file) = (drive.attr("d").ino, drive.attr("d/a").ino);
    ns.rename(&op, (dir, b"a"), (dir, b"b"), RenameMode::Replace).expect("renamed");
    soon("the rename", || !drive.at("d/a").exists() && drive.at("d/b").exists());
    ns.setattr(&op, file, &SetAttr { mode: Some(0o600), ..SetAttr::default() }).expect("set");
    soon("the mode", || fs::metadata(drive.at("d/b")).expect("there").mode() & 0o7777 == 0o600);
    ns.link(&op, file, dir, b"c").expect("linked");
    soon("the link count", || fs::metadata(drive.at("d/b")).expect("there").nlink() == 2);
    ns.unlink(&op, dir, b"b").expect("removed");
    ns.unlink(&op, dir, b"c").expect("removed");
    soon("the removal", || !drive.at("d/b").exists() && !drive.at("d/c").exists());
    let bucket = drive.attr("").ino;
    ns.rmdir(&op, bucket, b"d").expect("removed");
    soon("the end of the directory", || !drive.at("d").exists());
}

#[test]
fn what_is_done_here_is_seen_elsewhere_when_the_call_returns() {
    let Some(drive) = Drive::new() else { return };
    for round in 0..50 {
        let text = format!("round {round}");
        fs::write(drive.at("tmp"), &text).expect("written");
        fs::rename(drive.at("tmp"), drive.at("file")).expect("renamed");
        assert_eq!(drive.get("file"), text.as_bytes());
        assert!(drive.ns().get_object(&other_door(), BUCKET, b"tmp").is_err());
    }
}

#[test]
fn thousands_of_changes_while_files_are_being_read_and_written_here_end_well() {
    let Some(drive) = Drive::new() else { return };
    std::thread::scope(|scope| {
        let drive = &drive;
        scope.spawn(move || {
            for n in 0..1500_u32 {
                drive.put(&format!("key{}", n % 20), &n.to_le_bytes().repeat(1 + n as usize % 3000));
            }
        });
        for thread in 0..2 {
            scope.spawn(move || {
                for n in 0..1500_u32 {
                    let path = drive.at(&format!("key{}", (n + thread) % 20));
                    let key = (n + thread) % 20;
                    match fs::read(&path) {
                        Ok(data) => {
                            let value = u32::from_le_bytes(*data.first_chunk().expect("a value"));
                            assert!(value < 1500 && value % 20 == key, "foreign bytes in key{key}: {value}");
                            let whole = value.to_le_bytes().repeat(1 + value as usize % 3000);
                            let differs = data.iter().zip(&whole).position(|(read, put)| read != put);
                            let lens = (data.len(), whole.len());
                            assert!(data == whole, "key{key}, {value}: {lens:?} bytes, first wrong at {differs:?}");
                        }
                        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "key{key}"),
                    }
                    fs::write(drive.at(&format!("mine{thread}-{}", n % 7)), n.to_le_bytes()).expect("written");
                }
            });
        }
    });
    for n in 1480..1500_u32 {
        let expected = n.to_le_bytes().repeat(1 + n as usize % 3000);
        assert!(fs::read(drive.at(&format!("key{}", n % 20))).expect("read") == expected, "the last of key{}", n % 20);
    }
}

#[test]
fn who_has_a_file_open_keeps_its_size_bytes_and_mapping_when_another_door_replaces_it() {
    let Some(drive) = Drive::new() else { return };
    if !have("python3") {
        return;
    }
    let (old, new) = (vec![b'o'; 10_000], vec![b'n'; 300_000]);
    drive.put("file", &old);
    // The mapping is looked at before and after, the descriptor only after: nothing of it is in the page cache then.
    let script = "
import mmap, os, sys
fd = os.open('file', os.O_RDONLY)
m = mmap.mmap(fd, 0, prot=mmap.PROT_READ)
assert m[:5000] == b'o' * 5000
print('open', flush=True)
sys.stdin.readline()
assert m[:] == b'o' * 10000
assert os.fstat(fd).st_size == 10000, os.fstat(fd).st_size
assert os.lseek(fd, 0, os.SEEK_END) == 10000
assert os.pread(fd, 1 << 20, 0) == b'o' * 10000
assert os.pread(fd, 100, 10000) == b''
assert os.stat('file').st_size == 300000
assert os.stat('file').st_ino == os.fstat(fd).st_ino
assert open('file', 'rb').read() == b'n' * 300000
assert m[:] == b'o' * 10000
# Through the descriptor's own path there is no name to look up anew: that open gets the new content whole.
again = os.open('/proc/self/fd/%d' % fd, os.O_RDONLY)
assert os.pread(again, 1 << 20, 0) == b'n' * 300000
print('done', flush=True)
";
    let mut child = std::process::Command::new("python3")
        .args(["-c", script])
        .current_dir(drive.top())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("started");
    let mut said = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    assert_eq!(said.next().expect("a line").expect("read"), "open");
    drive.put("file", &new);
    soon("the new size", || fs::metadata(drive.at("file")).expect("there").len() == 300_000);
    child.stdin.take().expect("a pipe").write_all(b"go\n").expect("told");
    assert_eq!(said.next().expect("a line").expect("read"), "done");
    assert!(child.wait().expect("ended").success());
}

#[test]
fn a_file_followed_while_another_door_appends_grows_without_a_gap() {
    let Some(drive) = Drive::new() else { return };
    drive.put("log", b"start\n");
    let number = drive.attr("log").ino;
    let file = fs::File::open(drive.at("log")).expect("opened");
    let (seen, mut written) = (RefCell::new(Vec::new()), b"start\n".to_vec());
    for round in 0..400 {
        let line = format!("line {round} {}\n", "x".repeat(round % 90));
        drive.ns().append(&other_door(), number, line.as_bytes()).expect("appended");
        written.extend_from_slice(line.as_bytes());
        if round % 50 == 0 {
            drive.ns().fsync(&other_door(), number).expect("synced");
        }
        soon("the appended line", || file.metadata().expect("there").len() == written.len() as u64);
        // A read may end where the file ended a moment ago, but what it returns is what was written.
        soon("the appended bytes", || {
            let mut part = vec![0; 4096];
            let len = file.read_at(&mut part, seen.borrow().len() as u64).expect("read");
            seen.borrow_mut().extend_from_slice(&part[..len]);
            assert!(written.starts_with(&seen.borrow()), "round {round}: {len} bytes just read");
            seen.borrow().len() == written.len()
        });
    }
}

#[test]
fn what_another_door_was_answered_that_it_appended_is_read_to_its_end_at_any_moment() {
    let Some(drive) = Drive::new() else { return };
    for round in 0..120_u64 {
        let (path, beside) = (drive.at(&format!("file{}", round % 20)), drive.at("beside"));
        let file = fs::File::options().read(true).write(true).create(true).truncate(true).open(&path).expect("opened");
        let ino = Ino(file.metadata().expect("there").ino());
        file.write_all_at(&[1; 3000], 0).expect("written");
        fs::rename(&path, &beside).and_then(|()| fs::rename(&beside, &path)).expect("renamed");
        let other = other_door();
        drive.ns().write(&other, ino, 3000, &[2; 5000]).expect("written");
        answered(&drive, &other);
        std::thread::sleep(Duration::from_millis(round % 8 * 5));
        let mut whole = [0; 9000];
        assert_eq!(file.read_at(&mut whole, 0).expect("read"), 8000, "round {round}");
        assert!(whole[..3000] == [1; 3000] && whole[3000..8000] == [2; 5000], "round {round}");
    }
}

#[test]
fn who_writes_into_a_file_that_was_replaced_writes_and_reads_the_new_content() {
    let Some(drive) = Drive::new() else { return };
    drive.put("file", b"old old old");
    let reader = fs::File::open(drive.at("file")).expect("opened");
    let file = fs::OpenOptions::new().read(true).write(true).open(drive.at("file")).expect("opened");
    let mut buf = [0; 11];
    reader.read_exact_at(&mut buf, 0).expect("read");
    drive.put("file", b"new new new");
    file.write_all_at(b"and", 4).expect("written");
    assert_eq!(fs::read(drive.at("file")).expect("read"), b"new and new");
    soon("the write in the new content", || {
        let mut buf = [0; 11];
        file.read_exact_at(&mut buf, 0).is_ok() && &buf == b"new and new"
    });
    file.set_len(7).expect("cut");
    drop((file, reader));
    assert_eq!(drive.get("file"), b"new and");
    soon("the new size", || fs::read(drive.at("file")).expect("read") == b"new and");
}

#[test]
fn every_way_to_a_replaced_file_by_name_leads_to_the_new_content() {
    let Some(drive) = Drive::new() else { return };
    drive.put("file", b"old content");
    fs::hard_link(drive.at("file"), drive.at("link")).expect("linked");
    let held = fs::File::open(drive.at("link")).expect("opened");
    for round in 0..20 {
        let text = format!("content of round {round}").repeat(1 + round * 7 % 5);
        drive.put("file", text.as_bytes());
        assert_eq!(fs::read(drive.at("link")).expect("read"), text.as_bytes(), "the other name");
        assert_eq!(fs::read(drive.at("file")).expect("read"), text.as_bytes());
        assert_eq!(fs::metadata(drive.at("link")).expect("there").ino(), drive.attr("file").ino.0);
    }
    fs::write(drive.at("file"), "cut and written").expect("written");
    fs::set_permissions(drive.at("link"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("set");
    assert_eq!(drive.attr("file").mode, 0o600);
    assert_eq!(drive.get("file"), b"cut and written");
    let mut buf = [0; 11];
    held.read_exact_at(&mut buf, 0).expect("read");
    assert_eq!(&buf, b"old content");
    drive.put("file", b"once more, and longer than before");
    run(drive.top(), "truncate", &["-s", "9", "link"]);
    assert_eq!(drive.get("file"), b"once more");
}

/// Waits for what another door waits for before it answers.
fn answered(drive: &Drive, op: &strata_namespace::Op) {
    let mut settle = std::pin::pin!(drive.ns().settle(op));
    let mut task = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        if let std::task::Poll::Ready(settled) = std::future::Future::poll(settle.as_mut(), &mut task) {
            return settled.expect("settled");
        }
        std::thread::yield_now();
    }
}

#[test]
fn what_another_door_has_answered_is_so_here() {
    let Some(drive) = Drive::new() else { return };
    let rounds = &|thread: usize| {
        for n in 0..200 {
            let name = format!("k{thread}-{}", n % 7);
            let path = drive.at(&name);
            fs::write(&path, b"old").expect("written");
            let op = other_door();
            drive.ns().delete_object(&op, BUCKET, name.as_bytes(), &Condition::default()).expect("deleted");
            answered(&drive, &op);
            let mut file = fs::File::create(&path).expect("made");
            file.write_all(b"fresh").expect("written");
            file.sync_all().expect("synced");
            assert!(drive.ns().head_object(&other_door(), BUCKET, name.as_bytes()).is_ok(), "round {n}");
        }
    };
    std::thread::scope(|scope| (0..6).for_each(|thread| drop(scope.spawn(move || rounds(thread)))));
}
