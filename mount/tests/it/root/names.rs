//! Names: creating, renaming, linking, listing, permission.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{DirEntryExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::support::{Drive, errno};

#[test]
fn a_file_keeps_its_number_across_renames_and_links() {
    let Some(drive) = Drive::new() else { return };
    fs::write(drive.at("a"), "text").expect("written");
    let number = fs::metadata(drive.at("a")).expect("there").ino();
    fs::create_dir(drive.at("d")).expect("made");
    fs::rename(drive.at("a"), drive.at("d/b")).expect("renamed");
    fs::hard_link(drive.at("d/b"), drive.at("c")).expect("linked");
    let linked = fs::metadata(drive.at("c")).expect("there");
    assert_eq!((linked.ino(), linked.nlink()), (number, 2));
    fs::remove_file(drive.at("d/b")).expect("removed");
    let left = fs::metadata(drive.at("c")).expect("there");
    assert_eq!((left.ino(), left.nlink()), (number, 1));
    assert_eq!(drive.attr("c").ino.0, number, "it is the name space's number");
}

#[test]
fn rename_replaces_atomically_refuses_or_exchanges_as_asked() {
    let Some(drive) = Drive::new() else { return };
    fs::write(drive.at("a"), "A").expect("written");
    fs::write(drive.at("b"), "B").expect("written");
    let refused = renameat_with(CWD, drive.at("a"), CWD, drive.at("b"), RenameFlags::NOREPLACE);
    assert_eq!(refused, Err(rustix::io::Errno::EXIST));
    renameat_with(CWD, drive.at("a"), CWD, drive.at("b"), RenameFlags::EXCHANGE).expect("exchanged");
    let text = |name| fs::read_to_string(drive.at(name)).expect("read");
    assert_eq!((text("a"), text("b")), (String::from("B"), String::from("A")));
    fs::rename(drive.at("a"), drive.at("b")).expect("replaced");
    assert_eq!(text("b"), "B");
    assert!(!drive.at("a").exists());
    let whiteout = renameat_with(CWD, drive.at("b"), CWD, drive.at("w"), RenameFlags::WHITEOUT);
    assert_eq!(whiteout, Err(rustix::io::Errno::INVAL));
}

#[test]
fn a_directory_goes_only_when_it_is_empty_and_never_into_itself() {
    let Some(drive) = Drive::new() else { return };
    fs::create_dir_all(drive.at("d/e")).expect("made");
    assert_eq!(fs::metadata(drive.at("d")).expect("there").nlink(), 3);
    assert_eq!(errno(fs::remove_dir(drive.at("d"))), libc::ENOTEMPTY);
    assert_eq!(errno(fs::rename(drive.at("d"), drive.at("d/e/f"))), libc::EINVAL);
    assert_eq!(errno(fs::remove_file(drive.at("d"))), libc::EISDIR);
    fs::remove_dir(drive.at("d/e")).expect("removed");
    fs::remove_dir(drive.at("d")).expect("removed");
    assert_eq!(fs::read_dir(drive.top()).expect("listed").count(), 0);
}

#[test]
fn a_directory_in_the_root_is_a_bucket_and_files_are_refused_there() {
    let Some(drive) = Drive::new() else { return };
    let root = drive.mount_point();
    assert_eq!(errno(fs::create_dir(root.join("Not_A_Bucket"))), libc::EINVAL);
    assert_eq!(errno(File::create(root.join("file"))), libc::EPERM);
    fs::create_dir(root.join("second")).expect("a bucket");
    fs::remove_dir(root.join("second")).expect("removed");
    assert!(!root.join("second").exists());
}

#[test]
fn symbolic_links_fifos_and_sockets_are_what_they_were_made_as() {
    let Some(drive) = Drive::new() else { return };
    symlink("no/where", drive.at("link")).expect("linked");
    assert_eq!(fs::read_link(drive.at("link")).expect("read").to_str(), Some("no/where"));
    assert_eq!(fs::symlink_metadata(drive.at("link")).expect("there").len(), 8);
    let mode = rustix::fs::Mode::from_raw_mode(0o640);
    rustix::fs::mknodat(CWD, drive.at("fifo"), rustix::fs::FileType::Fifo, mode, 0).expect("made");
    assert_eq!(fs::metadata(drive.at("fifo")).expect("there").mode() & libc::S_IFMT, libc::S_IFIFO);
    drop(std::os::unix::net::UnixListener::bind(drive.at("socket")).expect("bound"));
    assert_eq!(fs::metadata(drive.at("socket")).expect("there").mode() & libc::S_IFMT, libc::S_IFSOCK);
}

#[test]
fn names_have_255_bytes_at_most_and_any_bytes_but_slash_and_nul() {
    let Some(drive) = Drive::new() else { return };
    let longest = "n".repeat(255);
    fs::write(drive.at(&longest), "x").expect("written");
    assert_eq!(errno(fs::write(drive.at(&"n".repeat(256)), "x")), libc::ENAMETOOLONG);
    for name in ["tab\there", "new\nline", "späß", "-rf", "*", "\\", "a b", "\u{1F5C4}"] {
        fs::write(drive.at(name), name).expect("written");
        assert_eq!(fs::read_to_string(drive.at(name)).expect("read"), name);
    }
    assert_eq!(fs::read_dir(drive.top()).expect("listed").count(), 9);
}

#[test]
fn ten_thousand_entries_are_listed_once_each_while_they_are_being_removed() {
    let Some(drive) = Drive::new() else { return };
    for n in 0..10_000 {
        File::create(drive.at(&format!("f{n:05}"))).expect("created");
    }
    let mut seen = 0;
    for entry in fs::read_dir(drive.top()).expect("listed") {
        let entry = entry.expect("an entry");
        assert_eq!(entry.ino(), entry.metadata().expect("there").ino());
        fs::remove_file(entry.path()).expect("removed");
        seen += 1;
    }
    assert_eq!(seen, 10_000);
    assert_eq!(fs::read_dir(drive.top()).expect("listed").count(), 0);
}

/// Whether a shell of another user succeeds with `script` in the bucket.
fn as_user(drive: &Drive, user: u32, script: &str) -> bool {
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).current_dir(drive.top()).uid(user).gid(user);
    shell.output().expect("started").status.success()
}

#[test]
fn other_users_do_what_the_mode_bits_let_them() {
    let Some(drive) = Drive::new() else { return };
    fs::write(drive.at("private"), "x").expect("written");
    fs::set_permissions(drive.at("private"), fs::Permissions::from_mode(0o600)).expect("set");
    fs::create_dir(drive.at("shared")).expect("made");
    fs::set_permissions(drive.at("shared"), fs::Permissions::from_mode(0o1777)).expect("set");
    assert!(!as_user(&drive, 4711, "cat private"));
    assert!(!as_user(&drive, 4711, "echo x > new"));
    assert!(as_user(&drive, 4711, "echo x > shared/mine && cat shared/mine"));
    assert_eq!(fs::metadata(drive.at("shared/mine")).expect("there").uid(), 4711);
    assert!(!as_user(&drive, 4712, "rm -f shared/mine"), "the sticky bit guards it");
    assert!(!as_user(&drive, 4712, "chmod 777 shared/mine"));
    assert!(as_user(&drive, 4711, "rm shared/mine"));
}

#[test]
fn a_group_of_a_process_counts_even_if_it_is_not_its_first() {
    let Some(drive) = Drive::new() else { return };
    fs::create_dir(drive.at("team")).expect("made");
    rustix::fs::chown(drive.at("team"), None, Some(rustix::fs::Gid::from_raw(4720))).expect("given");
    fs::set_permissions(drive.at("team"), fs::Permissions::from_mode(0o770)).expect("set");
    let Ok(status) = Command::new("setpriv")
        .args(["--reuid", "4711", "--regid", "4711", "--groups", "4720", "sh", "-c", "echo x > team/file"])
        .current_dir(drive.top())
        .status()
    else {
        eprintln!("skipped: setpriv is not installed");
        return;
    };
    assert!(status.success());
}

#[test]
fn a_writer_without_privilege_clears_the_set_user_id_bit() {
    let Some(drive) = Drive::new() else { return };
    fs::write(drive.at("program"), "x").expect("written");
    fs::set_permissions(drive.at("program"), fs::Permissions::from_mode(0o6777)).expect("set");
    assert!(as_user(&drive, 4711, "echo y >> program"));
    assert_eq!(fs::metadata(drive.at("program")).expect("there").mode() & 0o7777, 0o777);
}

#[test]
fn an_exclusive_create_succeeds_once() {
    let Some(drive) = Drive::new() else { return };
    let create = || OpenOptions::new().write(true).create_new(true).mode(0o640).open(drive.at("once"));
    drop(create().expect("created"));
    assert_eq!(errno(create()), libc::EEXIST);
    assert_eq!(fs::metadata(drive.at("once")).expect("there").mode() & 0o7777, 0o640);
}
