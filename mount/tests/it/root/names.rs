//! Names: creating, renaming, linking, listing, permission.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirEntryExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use strata_namespace::{NewNode, NodeKind};

use crate::support::{BUCKET, Drive, Numbers, errno, have, other_door, run, soon};

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
fn folders_of_any_name_and_files_are_made_renamed_and_removed_at_the_top() {
    let Some(drive) = Drive::new() else { return };
    let root = drive.mount_point();
    for name in [&b"New folder"[..], b"My Files", b"Photos", b"my_docs", b".Trash-1000", b"a\nb", b"\xff", &[b'x'; 255]]
    {
        let (folder, renamed) = (root.join(OsStr::from_bytes(name)), root.join("Renamed"));
        fs::create_dir(&folder).expect("made");
        fs::write(folder.join("inside"), name).expect("written");
        fs::rename(&folder, &renamed).expect("renamed");
        assert_eq!(fs::read(renamed.join("inside")).expect("read"), name);
        fs::remove_dir_all(&renamed).expect("removed");
    }
    for name in [".DS_Store", "._.DS_Store", ".localized", "desktop.ini", "Thumbs.db"] {
        fs::write(root.join(name), name).expect("written");
        fs::rename(root.join(name), root.join("other")).expect("renamed");
        assert_eq!(fs::read_to_string(root.join("other")).expect("read"), name);
        fs::remove_file(root.join("other")).expect("removed");
    }
    std::os::unix::fs::symlink("work", root.join("link")).expect("linked");
    fs::write(root.join("link/through"), "x").expect("written");
    assert_eq!(fs::read_to_string(drive.at("through")).expect("read"), "x");
    assert_eq!(errno(File::create(root.join(".~strata~o~x"))), libc::EINVAL);
    fs::write(root.join("file"), "x").expect("written");
    assert_eq!(errno(fs::rename(root.join("file"), drive.at("file"))), libc::EXDEV);
    assert_eq!(errno(fs::rename(drive.at("through"), root.join("up"))), libc::EXDEV);
    assert_eq!(errno(fs::hard_link(root.join("file"), drive.at("file"))), libc::EXDEV);
    fs::hard_link(root.join("file"), root.join("second")).expect("linked");
    for name in ["file", "second", "link"] {
        fs::remove_file(root.join(name)).expect("removed");
    }
}

/// Runs a script as a user at the mount point.
fn at_top(drive: &Drive, user: u32, script: &str) -> bool {
    let mut shell = Command::new("sh");
    shell.args(["-ec", script]).current_dir(drive.mount_point()).uid(user).gid(user);
    shell.output().expect("started").status.success()
}

#[test]
fn a_user_with_the_right_makes_folders_at_the_top_and_the_kernel_lets_them_ask() {
    let Some(drive) = Drive::new() else { return };
    assert!(!at_top(&drive, 4711, "mkdir Mine"));
    drive.ns().set_rights(std::collections::HashMap::from([(4711, true), (4712, false)]));
    soon("the root lets users ask", || fs::metadata(drive.mount_point()).expect("there").mode() & 0o777 == 0o777);
    assert!(at_top(
        &drive,
        4711,
        "mkdir 'New folder'; mv 'New folder' 'My Files'; echo x > 'My Files/f'; touch .DS_Store"
    ));
    for other in [4712, 4713] {
        assert!(!at_top(&drive, other, "mkdir Theirs"));
        assert!(!at_top(&drive, other, "rm .DS_Store") && !at_top(&drive, other, "mv 'My Files' Theirs"));
    }
    assert!(at_top(&drive, 4711, "rm -r 'My Files' .DS_Store"));
    // The mode that is shown exceeds the stored one. A program that adds a bit to it must not store the rest.
    assert!(at_top(&drive, 0, "chmod +t ."));
    let stored = drive.ns().resolve(&other_door(), b"/").expect("there").mode;
    assert_eq!(stored & 0o7777, 0o1755);
}

#[test]
fn the_trash_of_a_desktop_is_made_at_the_top_and_takes_what_is_beside_it() {
    let Some(drive) = Drive::new() else { return };
    drive.ns().set_rights(std::collections::HashMap::from([(4711, true)]));
    soon("the root lets users ask", || fs::metadata(drive.mount_point()).expect("there").mode() & 0o777 == 0o777);
    // As GNOME does: a folder of the user's own, and in it `files` and `info`.
    let made = "mkdir -m 700 .Trash-4711 .Trash-4711/files .Trash-4711/info; echo x > .Trash-4711/info/f.trashinfo";
    assert!(at_top(&drive, 4711, made));
    assert_eq!(fs::metadata(drive.mount_point().join(".Trash-4711")).expect("there").mode() & 0o7777, 0o700);
    // A rename into it leads into another bucket. For a file it is done all the same, and the file stays the same inode, also for open descriptors.
    let inode = |path: &str| fs::metadata(drive.mount_point().join(path)).expect("there").ino();
    let there = |path: &str| drive.mount_point().join(path).exists();
    let read = |path: &str| {
        fs::read_to_string(drive.mount_point().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    let renames =
        |from: &str, to: &str| at_top(&drive, 4711, &format!("perl -e 'rename(\"{from}\", \"{to}\") or die'"));
    assert!(at_top(&drive, 4711, "echo x > loose; chmod 640 loose"));
    let (before, mut open) =
        (inode("loose"), fs::File::options().append(true).open(drive.mount_point().join("loose")).expect("opened"));
    assert!(renames("loose", ".Trash-4711/files/loose") && !there("loose"));
    std::io::Write::write_all(&mut open, b"more\n").expect("written");
    open.sync_all().expect("synced");
    assert_eq!((inode(".Trash-4711/files/loose"), read(".Trash-4711/files/loose")), (before, "x\nmore\n".to_owned()));
    let kept = fs::metadata(drive.mount_point().join(".Trash-4711/files/loose")).expect("there");
    assert_eq!((kept.uid(), kept.mode() & 0o7777), (4711, 0o640));
    // A folder takes its content along, and programs that work in it go on; so does one name of a file that has another.
    let made = "mkdir -p Folder/deep/er Folder/more; echo y > Folder/inner; echo z > Folder/a; ln Folder/a Folder/b; echo v > Folder/more/v";
    assert!(at_top(
        &drive,
        4711,
        &format!("{made}; for n in $(seq 400); do echo $n > Folder/deep/$n; done; echo w > more")
    ));
    let before = inode("Folder/deep/er");
    assert!(renames("Folder/deep", ".Trash-4711/files/deep") && !there("Folder/deep"));
    assert!(at_top(&drive, 4711, "cd .Trash-4711/files/deep; echo new > er/new; mv 400 er; rm 399; ln 398 er"));
    assert_eq!(
        (inode(".Trash-4711/files/deep/er"), read(".Trash-4711/files/deep/er/400")),
        (before, "400\n".to_owned())
    );
    assert_eq!(fs::read_dir(drive.mount_point().join(".Trash-4711/files/deep")).expect("listed").count(), 399);
    assert!(renames("Folder/a", ".Trash-4711/files/a") && !there("Folder/a"));
    assert_eq!((read(".Trash-4711/files/a"), read("Folder/b")), ("z\n".to_owned(), "z\n".to_owned()));
    assert!(inode(".Trash-4711/files/a") != inode("Folder/b"));
    // Outside the trash nothing moves from one bucket into another.
    assert!(!renames("more", "Folder/file") && there("more") && !there("Folder/file"));
    if !have("gio") {
        return;
    }
    // HOME is on another file system, as it usually is; gio itself refuses a HOME that does not exist.
    let trashed = |what: &str| at_top(&drive, 4711, &format!("HOME=/ gio trash {what}"));
    let thrown = ["more", "Folder/inner", "Folder/more", "Folder"].map(trashed);
    assert_eq!(thrown, [true; 4]);
    assert!(!there("more") && !there("Folder") && there(".Trash-4711/files/Folder/b"));
    assert_eq!((read(".Trash-4711/files/more"), read(".Trash-4711/files/inner")), ("w\n".to_owned(), "y\n".to_owned()));
    // gio gives the second file of one name another name.
    let second = fs::read_dir(drive.mount_point().join(".Trash-4711/files")).expect("listed").flatten();
    assert_eq!(second.filter(|entry| entry.path().join("v").exists()).count(), 1);
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
fn set_id_bits_cleared_by_a_write_show_cleared_at_once() {
    let Some(drive) = Drive::new() else { return };
    fs::set_permissions(drive.top(), fs::Permissions::from_mode(0o777)).expect("set");
    // `stat` asks only for the mode here, which the kernel would answer from its cache.
    let calls = [
        "dd of=program conv=notrunc status=none",
        "dd of=program conv=notrunc oflag=direct status=none",
        "dd of=program conv=notrunc oflag=append status=none",
        "fallocate -p -o 0 -l 1 program; true",
        ": > program; true",
    ];
    for call in calls {
        fs::write(drive.at("program"), "some text").expect("written");
        fs::set_permissions(drive.at("program"), fs::Permissions::from_mode(0o6777)).expect("set");
        let script = format!("stat -c %a program; echo y | {call} && stat -c %a program");
        let told =
            run(drive.top(), "setpriv", &["--reuid", "4711", "--regid", "4711", "--clear-groups", "sh", "-c", &script]);
        assert_eq!(told, "6777\n777\n", "{call}");
    }
}

#[test]
fn an_open_always_finds_the_file_that_others_replace_by_rename() {
    let Some(drive) = Drive::new() else { return };
    fs::write(drive.at("file"), "0").expect("written");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut numbers = 0..;
                while !done.load(Ordering::Relaxed) {
                    let new = drive.at(&format!("new-{:?}", std::thread::current().id()));
                    fs::write(&new, format!("{}", numbers.next().expect("more"))).expect("written");
                    fs::rename(&new, drive.at("file")).expect("renamed");
                }
            });
        }
        let read = (0..6000).try_for_each(|n| {
            let opened = match n % 3 {
                0 => File::open(drive.at("file")),
                1 => OpenOptions::new().read(true).append(true).create(true).open(drive.at("file")),
                _ => {
                    let info = drive.ns().get_object(&other_door(), BUCKET, b"file");
                    return info.map(|_| ()).map_err(|error| format!("{n}: {error} at another door"));
                }
            };
            let text = opened.and_then(std::io::read_to_string).map_err(|error| format!("{n}: {error}"))?;
            let good = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            if good { Ok(()) } else { Err(format!("{n}: {text:?}")) }
        });
        done.store(true, Ordering::Relaxed);
        assert_eq!(read, Ok(()));
    });
}

#[test]
fn what_is_removed_can_be_asked_about_as_long_as_somebody_refers_to_it() {
    let Some(drive) = Drive::new() else { return };
    fs::create_dir(drive.at("dir")).expect("made");
    let script = "cd dir && rmdir ../dir && stat -c %h . && ls -a . && ! mkdir new 2>/dev/null && cd .. && ls";
    assert_eq!(run(drive.top(), "sh", &["-c", script]), "0\n");
    fs::create_dir(drive.at("dir")).expect("made");
    let open = File::open(drive.at("dir")).expect("opened");
    fs::create_dir(drive.at("over")).expect("made");
    fs::rename(drive.at("over"), drive.at("dir")).expect("replaced");
    assert_eq!(open.metadata().expect("there").nlink(), 0);
    fs::write(drive.at("file"), "text").expect("written");
    let path = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(drive.at("file")).expect("opened");
    let number = path.metadata().expect("there").ino();
    // Removed through another door, so that the kernel has to ask.
    drive.ns().unlink(&other_door(), drive.attr("").ino, b"file").expect("removed");
    soon("the removal", || path.metadata().expect("there").nlink() == 0);
    assert_eq!(path.metadata().expect("there").ino(), number);
    // Programs that refer to it can still open it for a while.
    let reopened = fs::read_to_string(format!("/proc/self/fd/{}", path.as_raw_fd()));
    assert_eq!(reopened.expect("opened and read"), "text");
    assert_eq!(errno(fs::metadata(drive.at("file"))), libc::ENOENT);
}

#[test]
fn positions_in_a_directory_hold_for_thousands_of_seeks_and_for_other_descriptors() {
    use rustix::fs::{SeekFrom, seek};
    let Some(drive) = Drive::new() else { return };
    let dir = drive.attr("").ino;
    for n in 0..6000 {
        let node = NewNode { kind: NodeKind::File, mode: 0o644, rdev: 0 };
        drive.ns().mknod(&other_door(), dir, format!("{n:05}-{}", "n".repeat(200)).as_bytes(), node).expect("made");
    }
    let open = || File::open(drive.top()).expect("opened");
    let mut buffer = vec![std::mem::MaybeUninit::uninit(); 4096];
    // The first name behind a position, and the positions behind the names that follow.
    let mut names = |dir: &File, at: u64, count: usize| {
        seek(dir, SeekFrom::Start(at)).expect("sought");
        let mut entries = rustix::fs::RawDir::new(dir, &mut buffer);
        let mut out = Vec::new();
        while let Some(entry) = entries.next() {
            let entry = entry.expect("an entry");
            out.push((entry.next_entry_cookie(), entry.file_name().to_bytes().to_vec()));
            if out.len() == count {
                break;
            }
        }
        out
    };
    let (one, two) = (open(), open());
    let all = names(&one, 0, usize::MAX);
    assert_eq!(all.len(), 6002);
    let mut numbers = Numbers(3);
    for n in 0..1700 {
        let at = 2 + usize::try_from(numbers.below(5990)).expect("small");
        let found = names(if n % 2 == 0 { &one } else { &two }, all[at].0, 2);
        assert!(found.iter().map(|(_, name)| name).eq(all[at + 1..at + 3].iter().map(|(_, name)| name)), "behind {at}");
    }
    // A removed name does not disturb positions.
    assert_eq!(names(&two, all[5989].0, 1)[0].1, all[5990].1);
    fs::remove_file(drive.at(std::str::from_utf8(&all[5990].1).expect("text"))).expect("removed");
    assert_eq!(names(&two, all[5990].0, 1)[0].1, all[5991].1);
    seek(&one, SeekFrom::Start(12_345)).expect("sought");
    let mut entries = rustix::fs::RawDir::new(&one, &mut buffer);
    assert_eq!(entries.next().expect("an answer").err(), Some(rustix::io::Errno::INVAL), "never given out");
}

#[test]
fn an_exclusive_create_succeeds_once() {
    let Some(drive) = Drive::new() else { return };
    let create = || OpenOptions::new().write(true).create_new(true).mode(0o640).open(drive.at("once"));
    drop(create().expect("created"));
    assert_eq!(errno(create()), libc::EEXIST);
    assert_eq!(fs::metadata(drive.at("once")).expect("there").mode() & 0o7777, 0o640);
}

#[test]
fn a_bucket_is_like_a_file_system_of_its_own_and_programs_move_across_by_copying() {
    let Some(drive) = Drive::new() else { return };
    let other = drive.mount_point().join("other");
    fs::create_dir(&other).expect("made");
    fs::create_dir(drive.at("dir")).expect("made");
    fs::write(drive.at("dir/file"), "text").expect("written");
    assert_eq!(errno(fs::rename(drive.at("dir"), other.join("dir"))), libc::EXDEV);
    assert_eq!(errno(fs::hard_link(drive.at("dir/file"), other.join("file"))), libc::EXDEV);
    run(drive.mount_point(), "mv", &[drive.at("dir").to_str().expect("text"), "other/dir"]);
    assert!(!drive.at("dir").exists());
    assert_eq!(fs::read(other.join("dir/file")).expect("read"), b"text");
}
