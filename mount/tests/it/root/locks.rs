//! A lock taken over WebDAV binds the programs here: they are refused with EBUSY, at the call itself.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::process::{Command, Stdio};
use std::time::Duration;

use strata_namespace::{Caller, Door, DoorNumber, NewLock, Op};

use crate::support::{BUCKET, Drive, errno, have};

static WEBDAV: Door = Door::of_users("webdav", DoorNumber::new(4), &[]);

/// Has somebody lock a name in the bucket over WebDAV.
fn lock(drive: &Drive, name: &str, deep: bool) -> Op {
    let op = Op::new(Caller::root(&WEBDAV));
    op.submit("ann", vec![]);
    let wanted = NewLock {
        token: format!("urn:{name}"),
        path: format!("/{BUCKET}/{name}").into_bytes(),
        deep,
        shared: false,
        owner_xml: vec![],
        seconds: None,
    };
    let bucket = drive.attr("").ino;
    drive.ns().lock(&op, Some((bucket, name.as_bytes())), &wanted).expect("granted");
    op
}

fn unlock(drive: &Drive, op: &Op, name: &str) {
    drive.ns().unlock(op, drive.attr(name).ino, &format!("urn:{name}")).expect("unlocked");
}

#[test]
fn a_locked_file_is_busy_to_those_who_open_change_remove_or_rename_it() {
    let Some(drive) = Drive::new() else { return };
    fs::write(drive.at("file"), "before").expect("written");
    let ann = lock(&drive, "file", false);
    let path = drive.at("file");
    assert_eq!(errno(fs::File::options().write(true).open(&path)), libc::EBUSY);
    assert_eq!(errno(fs::File::options().append(true).open(&path)), libc::EBUSY);
    assert_eq!(errno(fs::write(&path, "truncated")), libc::EBUSY);
    assert_eq!(errno(fs::remove_file(&path)), libc::EBUSY);
    assert_eq!(errno(fs::rename(&path, drive.at("away"))), libc::EBUSY);
    assert_eq!(errno(fs::set_permissions(&path, fs::Permissions::from_mode(0o600))), libc::EBUSY);
    fs::write(drive.at("other"), "other").expect("what is beside it is free");
    assert_eq!(errno(fs::rename(drive.at("other"), &path)), libc::EBUSY);
    assert_eq!(fs::read(&path).expect("reading is free"), b"before");
    unlock(&drive, &ann, "file");
    fs::write(&path, "after").expect("written");
    fs::rename(drive.at("other"), &path).expect("renamed");
}

#[test]
fn who_has_a_file_open_when_it_is_locked_is_refused_the_next_write_and_loses_nothing_written_before() {
    let Some(drive) = Drive::new() else { return };
    let mut open = fs::File::create(drive.at("file")).expect("created");
    open.write_all(b"written before").expect("written");
    let ann = lock(&drive, "file", false);
    assert_eq!(errno(open.write_all(b" and after")), libc::EBUSY);
    assert_eq!(errno(open.write_at(b"x", 0)), libc::EBUSY);
    assert_eq!(errno(open.set_len(0)), libc::EBUSY);
    open.sync_all().expect("what was written is made durable");
    drop(open);
    assert_eq!(drive.get("file"), b"written before");
    unlock(&drive, &ann, "file");
    fs::write(drive.at("file"), "after").expect("written");
}

#[test]
fn a_lock_with_all_below_holds_for_everything_in_the_directory_and_ends_with_its_time() {
    let Some(drive) = Drive::new() else { return };
    fs::create_dir_all(drive.at("dir/sub")).expect("made");
    fs::write(drive.at("dir/sub/file"), "before").expect("written");
    let ann = lock(&drive, "dir", true);
    assert_eq!(errno(fs::write(drive.at("dir/sub/file"), "x")), libc::EBUSY);
    assert_eq!(errno(fs::write(drive.at("dir/sub/new"), "x")), libc::EBUSY);
    assert_eq!(errno(fs::create_dir(drive.at("dir/new"))), libc::EBUSY);
    assert_eq!(errno(fs::remove_file(drive.at("dir/sub/file"))), libc::EBUSY);
    assert_eq!(errno(fs::rename(drive.at("dir"), drive.at("moved"))), libc::EBUSY);
    unlock(&drive, &ann, "dir");
    fs::rename(drive.at("dir"), drive.at("moved")).expect("renamed");
    fs::write(drive.at("moved/sub/new"), "x").expect("written");
}

/// Maps the first four bytes of a file, waits for a line, writes to the mapping and has it written back; says the error's number.
const WRITES_BY_A_MAPPING: &str = "\
import mmap, os, sys
f = os.open(sys.argv[1], os.O_RDWR)
m = mmap.mmap(f, 4)
print('mapped', flush=True)
sys.stdin.readline()
m[:4] = b'DIRT'
try:
    m.flush()
    print(0)
except OSError as refused:
    print(refused.errno)
";

#[test]
fn what_a_lock_keeps_a_mapping_from_writing_is_shown_to_nobody() {
    let Some(drive) = Drive::new() else { return };
    if !have("python3") {
        return;
    }
    let path = drive.at("file");
    fs::write(&path, "before").expect("written");
    let mut python = Command::new("python3");
    python.args(["-c", WRITES_BY_A_MAPPING]).arg(&path).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = python.spawn().expect("python3");
    let mut said = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = String::new();
    said.read_line(&mut line).expect("it has mapped the file");
    lock(&drive, "file", false);
    child.stdin.take().expect("a pipe").write_all(b"\n").expect("told");
    line.clear();
    said.read_line(&mut line).expect("an answer");
    assert_eq!(line.trim(), libc::EBUSY.to_string());
    assert!(child.wait().expect("it ended").success());
    // The kernel is told independently of the answer.
    for _ in 0..200 {
        if fs::read(&path).expect("read") == b"before" {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("the drive shows {:?}", fs::read(&path).expect("read"));
}
