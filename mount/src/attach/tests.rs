//! What preparing a mount point and reading the mount table promise. No mounting: that is in `mount/tests`.

use proptest::prelude::*;

use super::*;

const TABLE: &[u8] = b"\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
90 22 0:52 / /mnt/with\\040blank rw,nosuid,nodev - fuse.strata strata rw,user_id=0\n\
91 22 0:53 / /mnt/x rw master:3 propagate_from:2 - tmpfs none rw\n\
a line that is none\n\
92 91 0:54 / /mnt/x rw - fuse.strata strata rw\n";

#[test]
fn the_mount_table_is_read_with_escapes_and_optional_fields() {
    let lines = parse_mountinfo(TABLE);
    assert_eq!(lines.len(), 4);
    assert_eq!(lines[1], MountLine { device: "0:52".into(), at: "/mnt/with blank".into(), kind: FS_TYPE.into() });
    assert_eq!(lines[2].kind, "tmpfs");
}

#[test]
fn of_two_mounts_on_one_path_the_upper_counts() {
    let top = parse_mountinfo(TABLE).into_iter().rfind(|line| line.at == Path::new("/mnt/x"));
    assert_eq!(top.map(|line| line.device).as_deref(), Some("0:54"));
}

#[test]
fn a_missing_mount_point_is_created() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = dir.path().join("a/b");
    assert_eq!(prepare(&at).expect("prepared"), fs::canonicalize(&at).expect("exists"));
    for made in [at.as_path(), &dir.path().join("a")] {
        let mode = fs::metadata(made).expect("made").permissions().mode();
        assert_eq!(mode & 0o777, 0o755, "others pass through {}", made.display());
    }
}

#[test]
fn a_file_is_no_mount_point() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = dir.path().join("file");
    fs::write(&at, b"").expect("written");
    assert!(matches!(prepare(&at), Err(MountError::NotDirectory { .. })));
    assert!(matches!(prepare(&at.join("below")), Err(MountError::Prepare { .. })));
}

#[test]
fn a_path_that_has_a_mount_is_refused_and_left_alone() {
    let Err(MountError::AlreadyMounted { kind, .. }) = prepare(Path::new("/proc")) else { panic!("must be refused") };
    assert_eq!(kind, "proc");
}

#[test]
fn only_our_own_device_is_ever_unmounted() {
    assert!(matches!(detach(Path::new("/proc"), "0:999999"), Ok(Detach::Done)));
    assert!(mounted_at(Path::new("/proc")).is_some());
}

proptest! {
    #[test]
    fn a_mount_table_with_any_bytes_in_place_of_others_keeps_its_other_lines(
        at: prop::sample::Index,
        taken in 0_usize..30,
        given in prop::collection::vec(any::<u8>(), 0..30),
    ) {
        // In the third line and nowhere else.
        let lines: Vec<&[u8]> = TABLE.split_inclusive(|&byte| byte == b'\n').collect();
        let mut changed = lines[2].to_vec();
        let from = at.index(changed.len() - 1);
        changed.splice(from..(from + taken).min(lines[2].len() - 1), given);
        let text = [&lines[..2].concat(), &changed[..], &lines[3..].concat()].concat();
        let (read, sound) = (parse_mountinfo(&text), parse_mountinfo(TABLE));
        prop_assert_eq!(&read[..2], &sound[..2]);
        prop_assert_eq!(read.last(), sound.last());
        prop_assert!(read.len() <= text.split(|&byte| byte == b'\n').count());
    }

    #[test]
    fn escaped_paths_come_back(path in prop::collection::vec(1_u8.., 1..60)) {
        let escaped: Vec<u8> = path
            .iter()
            .flat_map(|&byte| match byte {
                b' ' | b'\t' | b'\n' | b'\\' => format!("\\{byte:03o}").into_bytes(),
                byte => vec![byte],
            })
            .collect();
        prop_assert_eq!(unescape(&escaped), path);
    }
}
