//! What the conversions promise.

use proptest::prelude::*;

use super::*;

fn attr(kind: NodeKind) -> Attr {
    Attr {
        ino: Ino(7),
        kind,
        mode: 0o4755,
        uid: 1,
        gid: 2,
        nlink: 3,
        rdev: 0x0801,
        size: 1000,
        allocated: 513,
        atime: Timestamp(1),
        mtime: Timestamp(-1),
        ctime: Timestamp(3),
        btime: Timestamp(4),
        change: 5,
    }
}

#[test]
fn attributes_reach_the_kernel_unchanged() {
    let fuse = to_fuse(&attr(NodeKind::File));
    assert_eq!((fuse.ino.0, fuse.size, fuse.perm, fuse.nlink), (7, 1000, 0o4755, 3));
    assert_eq!((fuse.uid, fuse.gid, fuse.rdev), (1, 2, 0x0801));
    assert_eq!(fuse.blocks, 2, "a partly used block of 512 bytes counts");
    assert_eq!(fuse.mtime, UNIX_EPOCH - Duration::from_nanos(1));
}

#[test]
fn every_kind_of_node_that_mknod_makes_comes_back_as_itself() {
    let pairs = [
        (libc::S_IFREG, NodeKind::File, FileType::RegularFile),
        (libc::S_IFIFO, NodeKind::Fifo, FileType::NamedPipe),
        (libc::S_IFSOCK, NodeKind::Socket, FileType::Socket),
        (libc::S_IFCHR, NodeKind::CharDevice, FileType::CharDevice),
        (libc::S_IFBLK, NodeKind::BlockDevice, FileType::BlockDevice),
    ];
    for (bits, kind, fuse) in pairs {
        assert_eq!(kind_of_mode(bits | 0o644), Some(kind));
        assert_eq!(kind_to_fuse(kind), fuse);
    }
    assert_eq!(kind_of_mode(libc::S_IFDIR), None);
    assert_eq!(kind_of_mode(libc::S_IFLNK), None);
}

#[test]
fn a_mode_without_type_is_a_regular_file() {
    assert_eq!(kind_of_mode(0o600), Some(NodeKind::File));
}

#[test]
fn an_open_for_execution_asks_for_execute_only() {
    assert_eq!(access_of_open(libc::O_RDONLY | FMODE_EXEC), Access { exec: true, ..Access::default() });
    assert_eq!(access_of_open(libc::O_RDONLY), Access { read: true, ..Access::default() });
    assert_eq!(access_of_open(libc::O_WRONLY | libc::O_APPEND), Access { write: true, ..Access::default() });
    assert_eq!(access_of_open(libc::O_RDWR), Access { read: true, write: true, exec: false });
}

#[test]
fn both_kinds_of_synchronous_open_are_recognised() {
    assert!(is_sync(libc::O_SYNC) && is_sync(libc::O_DSYNC | libc::O_WRONLY));
    assert!(!is_sync(libc::O_WRONLY | libc::O_APPEND));
}

#[test]
fn a_write_clears_set_id_bits_as_linux_does() {
    for (mode, after) in [
        (0o644, None),
        (0o4755, Some(0o755)),
        (0o6755, Some(0o755)),
        (0o2755, Some(0o755)),
        (0o2744, None),
        (0o6744, Some(0o2744)),
        (0o1777, None),
    ] {
        assert_eq!(without_set_id(mode), after, "{mode:o}");
    }
}

#[test]
fn a_device_beyond_what_fuse_can_show_is_zero_rather_than_another_device() {
    let far = Attr { rdev: libc::makedev(5000, 1), ..attr(NodeKind::CharDevice) };
    assert_eq!(to_fuse(&far).rdev, 0);
    let near = Attr { rdev: libc::makedev(8, 300), ..attr(NodeKind::BlockDevice) };
    assert_eq!(u64::from(to_fuse(&near).rdev), libc::makedev(8, 300));
}

/// How the FUSE library turns the kernel's seconds and nanoseconds into a time, its slip before 1970 included.
fn as_the_library_does(secs: i64, nanos: u32) -> SystemTime {
    if secs >= 0 {
        UNIX_EPOCH + Duration::new(secs.unsigned_abs(), nanos)
    } else {
        UNIX_EPOCH - Duration::new(secs.unsigned_abs(), nanos)
    }
}

proptest! {
    #[test]
    fn any_time_within_the_range_survives_the_way_from_the_kernel(secs in -9_000_000_000_i64..9_000_000_000, nanos in 0_u32..1_000_000_000) {
        prop_assert_eq!(timestamp(as_the_library_does(secs, nanos)), Timestamp::from_parts(secs, nanos));
    }
}
