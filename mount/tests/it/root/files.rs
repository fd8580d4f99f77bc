//! Bytes: reading, writing, holes, appending, files without names, attributes.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::time::{Duration, UNIX_EPOCH};

use rustix::fs::{FallocateFlags, SeekFrom as Whence, copy_file_range, fallocate};

use strata_mount::MountOptions;

use crate::support::{Drive, Numbers, have, run};

fn open(drive: &Drive, name: &str) -> File {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(drive.at(name)).expect("opened")
}

#[test]
fn what_is_written_is_read_back_here_and_at_other_doors_before_any_close() {
    let Some(drive) = Drive::new() else { return };
    let data = Numbers(1).bytes(3_000_017);
    let file = open(&drive, "file");
    file.write_all_at(&data, 0).expect("written");
    assert_eq!(drive.attr("file").size, 3_000_017);
    assert_eq!(fs::read(drive.at("file")).expect("read"), data);
    drop(file);
    assert_eq!(drive.get("file"), data);
}

#[test]
fn a_hole_costs_nothing_reads_as_zeros_and_is_found() {
    let Some(drive) = Drive::new() else { return };
    let file = open(&drive, "sparse");
    file.write_all_at(b"end", 1 << 30).expect("written");
    file.sync_all().expect("synced");
    let meta = file.metadata().expect("there");
    assert_eq!(meta.len(), (1 << 30) + 3);
    assert!(meta.blocks() * 512 < 1 << 20, "{} blocks", meta.blocks());
    assert_eq!(rustix::fs::seek(&file, Whence::Data(0)), Ok(1 << 30));
    assert_eq!(rustix::fs::seek(&file, Whence::Hole(0)), Ok(0));
    let mut middle = [1; 100];
    file.read_exact_at(&mut middle, 5000).expect("read");
    assert_eq!(middle, [0; 100]);
}

#[test]
fn what_was_just_written_is_no_hole_to_du_and_tar() {
    let Some(drive) = Drive::new() else { return };
    let data = Numbers(17).bytes(300_000);
    let file = open(&drive, "sparse");
    file.write_all_at(&data, 10 << 20).expect("written");
    file.write_all_at(&data, 30 << 20).expect("written");
    let blocks = || fs::metadata(drive.at("sparse")).expect("there").blocks();
    assert_eq!(blocks(), 600_000_u64.div_ceil(512));
    assert_eq!(rustix::fs::seek(&file, Whence::Data(0)), Ok(10 << 20));
    assert_eq!(rustix::fs::seek(&file, Whence::Hole(10 << 20)), Ok((10 << 20) + 300_000));
    let expected = fs::read(drive.at("sparse")).expect("read");
    if !have("tar") {
        return;
    }
    let outside = tempfile::tempdir().expect("a temporary directory");
    let archived = || {
        let archive = outside.path().join("archive.tar");
        run(drive.top(), "tar", &["-S", "-cf", archive.to_str().expect("text"), "sparse"]);
        assert!(fs::metadata(&archive).expect("there").len() < 2 << 20, "holes are left out");
        run(outside.path(), "tar", &["-xf", "archive.tar"]);
        fs::read(outside.path().join("sparse")).expect("read")
    };
    assert!(archived() == expected, "while it is written");
    drop(file);
    assert!(archived() == expected, "once it is closed");
    assert_eq!(blocks(), 600_000_u64.div_ceil(512), "and stored");
}

#[test]
fn what_the_kernel_gathers_is_no_hole_to_tar_either() {
    let Some(drive) = Drive::with(MountOptions { writeback: true, ..MountOptions::default() }) else { return };
    let data = Numbers(18).bytes(300_000);
    let file = open(&drive, "sparse");
    file.write_all_at(&data, 3 << 20).expect("written");
    assert_eq!(drive.attr("sparse").allocated, 0, "the kernel has it");
    assert!(file.metadata().expect("there").blocks() > 0);
    assert_eq!(rustix::fs::seek(&file, Whence::Data(0)), Ok(0));
    if have("tar") {
        let outside = tempfile::tempdir().expect("a temporary directory");
        let archive = outside.path().join("archive.tar");
        run(drive.top(), "tar", &["-S", "-cf", archive.to_str().expect("text"), "sparse"]);
        run(outside.path(), "tar", &["-xf", "archive.tar"]);
        assert_eq!(fs::read(outside.path().join("sparse")).expect("read")[3 << 20..], data);
    }
}

#[test]
fn ranges_are_punched_zeroed_and_reserved() {
    let Some(drive) = Drive::new() else { return };
    let mut data = Numbers(2).bytes(200_000);
    let file = open(&drive, "file");
    file.write_all_at(&data, 0).expect("written");
    fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 4096, 70_000).expect("punched");
    data[4096..74_096].fill(0);
    fallocate(&file, FallocateFlags::ZERO_RANGE, 100_000, 50).expect("zeroed");
    data[100_000..100_050].fill(0);
    assert_eq!(fs::read(drive.at("file")).expect("read"), data);
    fallocate(&file, FallocateFlags::empty(), 0, 300_000).expect("reserved");
    assert_eq!(file.metadata().expect("there").len(), 300_000);
    let collapse = fallocate(&file, FallocateFlags::COLLAPSE_RANGE, 0, 4096);
    assert_eq!(collapse, Err(rustix::io::Errno::OPNOTSUPP));
}

#[test]
fn copy_file_range_gives_the_same_bytes() {
    let Some(drive) = Drive::new() else { return };
    let data = Numbers(3).bytes(2_500_000);
    fs::write(drive.at("from"), &data).expect("written");
    let (from, to) = (open(&drive, "from"), open(&drive, "to"));
    let (mut read, mut written) = (0, 0);
    while (written as usize) < data.len() {
        let left = data.len() - usize::try_from(written).expect("small");
        assert!(copy_file_range(&from, Some(&mut read), &to, Some(&mut written), left).expect("copied") > 0);
    }
    assert_eq!(fs::read(drive.at("to")).expect("read"), data);
}

#[test]
fn appends_of_several_descriptors_never_overwrite_each_other() {
    let Some(drive) = Drive::new() else { return };
    let path = drive.at("log");
    std::thread::scope(|scope| {
        for letter in [b'a', b'b', b'c'] {
            let path = &path;
            scope.spawn(move || {
                let mut log = OpenOptions::new().append(true).create(true).open(path).expect("opened");
                for _ in 0..300 {
                    let mut line = [letter; 64];
                    line[63] = b'\n';
                    log.write_all(&line).expect("written");
                }
            });
        }
    });
    let log = fs::read(&path).expect("read");
    assert_eq!(log.len(), 900 * 64);
    assert!(log.chunks(64).all(|line| line[63] == b'\n' && line[..63].iter().all(|byte| *byte == line[0])));
}

#[test]
fn an_append_lands_behind_what_another_door_appended() {
    let Some(drive) = Drive::new() else { return };
    let mut log = OpenOptions::new().append(true).create(true).open(drive.at("log")).expect("opened");
    log.write_all(b"one ").expect("written");
    let number = drive.attr("log").ino;
    drive.ns().append(&crate::support::other_door(), number, b"two ").expect("appended");
    log.write_all(b"three").expect("written");
    drop(log);
    assert_eq!(drive.get("log"), b"one two three");
    crate::support::soon("the appended text", || fs::read(drive.at("log")).expect("read") == b"one two three");
}

#[test]
fn a_file_without_a_name_lives_until_its_last_close() {
    let Some(drive) = Drive::new() else { return };
    let mut file = open(&drive, "gone");
    file.write_all(b"first ").expect("written");
    fs::remove_file(drive.at("gone")).expect("removed");
    assert!(!drive.at("gone").exists());
    file.write_all(b"second").expect("written");
    file.seek(SeekFrom::Start(0)).expect("sought");
    let mut text = String::new();
    file.read_to_string(&mut text).expect("read");
    assert_eq!(text, "first second");
    assert_eq!(file.metadata().expect("there").nlink(), 0);
}

#[test]
fn truncating_and_extending_leave_zeros_never_old_bytes() {
    let Some(drive) = Drive::new() else { return };
    let file = open(&drive, "file");
    file.write_all_at(&[7; 100_000], 0).expect("written");
    file.set_len(10).expect("cut");
    file.set_len(50_000).expect("extended");
    let data = fs::read(drive.at("file")).expect("read");
    assert_eq!(data.len(), 50_000);
    assert!(data[..10].iter().all(|byte| *byte == 7) && data[10..].iter().all(|byte| *byte == 0));
    drop(OpenOptions::new().write(true).truncate(true).open(drive.at("file")).expect("opened"));
    assert_eq!(fs::metadata(drive.at("file")).expect("there").len(), 0);
}

#[test]
fn direct_writes_and_reads_of_any_size_agree_with_cached_ones() {
    let Some(drive) = Drive::new() else { return };
    let data = Numbers(4).bytes(1_000_003);
    let direct = |write: bool| {
        OpenOptions::new()
            .read(!write)
            .write(write)
            .create(write)
            .custom_flags(libc::O_DIRECT)
            .open(drive.at("file"))
            .expect("opened")
    };
    for step in [511, 4096, 65_536, 1_000_003] {
        let mut file = direct(true);
        data.chunks(step).for_each(|part| file.write_all(part).expect("written"));
        drop(file);
        let mut back = Vec::new();
        direct(false).read_to_end(&mut back).expect("read");
        assert!(back == data, "steps of {step} bytes, read directly");
        assert!(fs::read(drive.at("file")).expect("read") == data, "steps of {step} bytes, read through the cache");
    }
}

/// Writes a file over and over by asynchronous direct writes, while others read it through the cache; what is read
/// through the cache after a round is complete must be that round's.
const DIRECT_BESIDE_CACHED: &str = r#"
import ctypes, mmap, os, platform, signal, sys
SETUP, SUBMIT, GETEVENTS = (206, 209, 208) if platform.machine() == 'x86_64' else (0, 2, 4)
LEN, PIECE = 640 * 1024, 64 * 1024
system = ctypes.CDLL(None, use_errno=True).syscall
class Iocb(ctypes.Structure):
    _fields_ = [('data', ctypes.c_uint64), ('key', ctypes.c_uint32), ('rw_flags', ctypes.c_uint32), ('opcode', ctypes.c_uint16),
        ('prio', ctypes.c_int16), ('fd', ctypes.c_uint32), ('buf', ctypes.c_uint64), ('nbytes', ctypes.c_uint64),
        ('offset', ctypes.c_int64), ('reserved', ctypes.c_uint64), ('flags', ctypes.c_uint32), ('resfd', ctypes.c_uint32)]
class Event(ctypes.Structure):
    _fields_ = [('data', ctypes.c_uint64), ('obj', ctypes.c_uint64), ('res', ctypes.c_int64), ('res2', ctypes.c_int64)]
def check(done):
    if done < 0: raise OSError(ctypes.get_errno(), 'aio')
    return done
with open('file', 'wb') as file: file.write(bytes(LEN))
readers = []
for _ in range(3):
    reader = os.fork()
    if reader == 0:
        cached = os.open('file', os.O_RDONLY)
        while True: os.pread(cached, LEN, 0)
    readers.append(reader)
context = ctypes.c_uint64(0)
check(system(ctypes.c_long(SETUP), 32, ctypes.byref(context)))
direct, cached = os.open('file', os.O_WRONLY | os.O_DIRECT), os.open('file', os.O_RDONLY)
buffer = mmap.mmap(-1, LEN)
address = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
stale = 0
for round in range(60):
    fill = 1 + round % 250
    buffer[:] = bytes([fill]) * LEN
    pieces = [Iocb(opcode=1, fd=direct, buf=address + at, nbytes=PIECE, offset=at) for at in range(0, LEN, PIECE)]
    for iocb in pieces:
        check(system(ctypes.c_long(SUBMIT), context, ctypes.c_long(1), ctypes.byref(ctypes.pointer(iocb))))
    events = (Event * len(pieces))()
    got = 0
    while got < len(pieces):
        got += check(system(ctypes.c_long(GETEVENTS), context, ctypes.c_long(1), ctypes.c_long(len(pieces)), events, None))
    stale += sum(byte != fill for byte in os.pread(cached, LEN, 0))
for reader in readers:
    os.kill(reader, signal.SIGKILL)
    os.waitpid(reader, 0)
sys.exit(f'{stale} stale bytes' if stale else 0)
"#;

#[test]
fn asynchronous_direct_writes_leave_no_old_bytes_in_the_cache() {
    let Some(drive) = Drive::new() else { return };
    if have("python3") {
        run(drive.top(), "timeout", &["100", "python3", "-c", DIRECT_BESIDE_CACHED]);
        assert!(fs::read(drive.at("file")).expect("read") == drive.get("file"), "here and at another door");
    }
}

#[test]
fn shared_mappings_show_writes_and_are_written_back() {
    let Some(drive) = Drive::new() else { return };
    if !have("python3") {
        return;
    }
    let script = "
import mmap, os
f = os.open('file', os.O_RDWR | os.O_CREAT)
os.ftruncate(f, 1 << 20)
m = mmap.mmap(f, 1 << 20)
os.pwrite(f, b'written', 70000)
assert m[70000:70007] == b'written'
m[5000:5006] = b'mapped'
assert os.pread(f, 6, 5000) == b'mapped'
m.flush()
";
    run(drive.top(), "python3", &["-c", script]);
    assert_eq!(&drive.get("file")[5000..5006], b"mapped");
}

#[test]
fn times_before_1970_and_after_2106_are_kept_to_the_nanosecond() {
    let Some(drive) = Drive::new() else { return };
    let file = open(&drive, "file");
    let times = [
        UNIX_EPOCH - Duration::new(1_000_000, 250),
        UNIX_EPOCH + Duration::new(5_000_000_000, 999_999_999),
        UNIX_EPOCH + Duration::new(1, 0),
    ];
    for time in times {
        file.set_modified(time).expect("set");
        assert_eq!(fs::metadata(drive.at("file")).expect("there").modified().expect("a time"), time);
    }
}

#[test]
fn reading_changes_no_change_time_and_writing_does() {
    let Some(drive) = Drive::new() else { return };
    fs::write(drive.at("file"), "x").expect("written");
    let times = || {
        let meta = fs::metadata(drive.at("file")).expect("there");
        (meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec())
    };
    let before = times();
    fs::read(drive.at("file")).expect("read");
    assert_eq!(times(), before);
    fs::write(drive.at("file"), "y").expect("written");
    assert!(times() > before);
    let written = times();
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(times(), written, "storing it behind the scenes is no change");
}

#[test]
fn extended_attributes_are_set_listed_replaced_and_removed() {
    use rustix::fs::{XattrFlags, getxattr, listxattr, removexattr, setxattr};
    use rustix::io::Errno;
    let Some(drive) = Drive::new() else { return };
    fs::write(drive.at("file"), "x").expect("written");
    let path = drive.at("file");
    setxattr(&path, "user.a", b"one", XattrFlags::CREATE).expect("set");
    assert_eq!(setxattr(&path, "user.a", b"two", XattrFlags::CREATE), Err(Errno::EXIST));
    setxattr(&path, "user.a", b"two", XattrFlags::REPLACE).expect("replaced");
    setxattr(&path, "trusted.b", &[7; 60_000], XattrFlags::empty()).expect("set");
    // Version 2 and the entries of owner, group and others: tag, permission, no id.
    let mut acl = vec![2, 0, 0, 0];
    for tag in [1, 4, 0x20] {
        acl.extend_from_slice(&[tag, 0, 6, 0, 0xff, 0xff, 0xff, 0xff]);
    }
    assert_eq!(setxattr(&path, "system.posix_acl_access", &acl, XattrFlags::empty()), Err(Errno::OPNOTSUPP));
    let mut buf = [0_u8; 64];
    let len = getxattr(&path, "user.a", &mut buf[..]).expect("read");
    assert_eq!(&buf[..len], b"two");
    assert_eq!(getxattr(&path, "trusted.b", &mut buf[..]), Err(Errno::RANGE));
    let len = listxattr(&path, &mut buf[..]).expect("listed");
    let mut names: Vec<&[u8]> = buf[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    assert_eq!(names, [&b"trusted.b"[..], b"user.a"]);
    removexattr(&path, "user.a").expect("removed");
    assert_eq!(getxattr(&path, "user.a", &mut buf[..]), Err(Errno::NODATA));
}

#[test]
fn locks_exclude_other_descriptors() {
    use rustix::fs::{FlockOperation, flock};
    let Some(drive) = Drive::new() else { return };
    let (one, two) = (open(&drive, "lock"), open(&drive, "lock"));
    flock(&one, FlockOperation::LockExclusive).expect("locked");
    assert_eq!(flock(&two, FlockOperation::NonBlockingLockShared), Err(rustix::io::Errno::WOULDBLOCK));
    drop(one);
    flock(&two, FlockOperation::NonBlockingLockShared).expect("locked");
}

#[test]
fn the_size_of_the_store_is_shown() {
    let Some(drive) = Drive::new() else { return };
    let space = rustix::fs::statvfs(drive.top()).expect("asked");
    assert!(space.f_blocks > 0 && space.f_bavail > 0 && space.f_bavail <= space.f_blocks);
    assert_eq!(space.f_namemax, 255);
}
