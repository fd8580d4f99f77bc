//! Mounting, unmounting, and what a killed server leaves behind.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::fs::{AtFlags, StatxFlags};
use strata_mount::MountOptions;

use crate::support::{Drive, can_mount, have, open_store, run, serve, soon};

/// Says to a second instance of this test program that it is to serve a store and where.
const SERVE_AT: &str = "STRATA_TEST_SERVE_AT";

/// No test: the server that tests start in a process of its own, and kill.
#[test]
#[ignore = "the server that other tests kill"]
fn a_server_for_other_tests_to_kill() {
    let dir = std::env::var_os(SERVE_AT).expect("only the tests that kill it run it");
    let (_store, _mounted) = serve(Path::new(&dir), MountOptions::default());
    fs::write(Path::new(&dir).join("ready"), "").expect("written");
    loop {
        std::thread::sleep(Duration::from_secs(60));
    }
}

/// That server. Dropping it kills it; its mount stays behind, dead.
struct Server(Child);

impl Server {
    /// Starts it and waits until it serves.
    fn start(dir: &Path) -> Self {
        let _ = fs::remove_file(dir.join("ready"));
        // Whatever the function and its module are called, without the crate's name.
        let name = std::any::type_name_of_val(&a_server_for_other_tests_to_kill);
        let name = name.split_once("::").expect("within a crate").1;
        let server = Command::new(std::env::current_exe().expect("this program"))
            .args(["--ignored", "--exact", name, "--nocapture"])
            .env(SERVE_AT, dir)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let server = Self(server.expect("started"));
        soon("the server", || dir.join("ready").exists());
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A folder for a store that is killed; a dead mount left in it is taken away in the end.
struct Folder(tempfile::TempDir);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.0.path().join("mnt"), rustix::mount::UnmountFlags::DETACH);
    }
}

fn folder() -> Folder {
    Folder(tempfile::tempdir().expect("a temporary directory"))
}

#[test]
fn the_mount_of_a_killed_server_is_replaced_at_once_and_what_was_synced_is_there() {
    if !can_mount() {
        return;
    }
    let folder = folder();
    let dir = folder.0.path();
    let mnt = dir.join("mnt");
    for round in 0..3 {
        let server = Server::start(dir);
        fs::create_dir_all(mnt.join("work")).expect("made");
        for earlier in 0..round {
            let kept = fs::read_to_string(mnt.join(format!("work/file{earlier}"))).expect("read");
            assert_eq!(kept, format!("round {earlier}"));
        }
        let path = mnt.join(format!("work/file{round}"));
        fs::write(&path, format!("round {round}")).expect("written");
        fs::File::open(&path).expect("opened").sync_all().expect("synced");
        // The kernel now remembers the root's attributes, and so answers for a server that is dead.
        fs::metadata(&mnt).expect("there");
        drop(server);
    }
    let (store, mounted) = serve(dir, MountOptions::default());
    assert!(mnt.join("work/file2").exists());
    mounted.unmount().expect("unmounted");
    store.close().expect("closed");
}

#[test]
fn a_database_is_whole_after_its_server_was_killed() {
    if !can_mount() || !have("python3") {
        return;
    }
    let folder = folder();
    let dir = folder.0.path();
    let writer = "
import os, sqlite3, sys
c = sqlite3.connect('db', isolation_level=None)
c.execute('pragma journal_mode=' + sys.argv[1])
c.execute('pragma synchronous=extra')
c.execute('create table if not exists t(a integer primary key, b blob)')
while True:
    n = c.execute('insert into t(b) values(randomblob(3000))').lastrowid
    os.close(os.open('.', os.O_RDONLY | os.O_DIRECTORY))
    print(n, flush=True)
";
    let checker = "
import sqlite3
c = sqlite3.connect('db')
print(c.execute('pragma integrity_check').fetchone()[0], c.execute('select max(a) from t').fetchone()[0])
";
    for journal in ["wal", "delete"] {
        let work = dir.join("mnt").join(journal);
        for _ in 0..2 {
            let server = Server::start(dir);
            fs::create_dir_all(&work).expect("made");
            let mut writing = Command::new("python3")
                .args(["-c", writer, journal])
                .current_dir(&work)
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .expect("started");
            let mut said =
                BufReader::new(writing.stdout.take().expect("a pipe")).lines().map(|line| line.expect("read"));
            let first = said.next().expect("a first commit");
            std::thread::sleep(Duration::from_millis(300));
            // In delete mode a commit is the removal of the journal, which `extra` makes durable before it is reported. But
            // SQLite takes a directory that cannot be opened for one that needs no sync (unixDelete in os_unix.c): a kill
            // in between has it report what nobody made durable. So a commit counts once the directory could be opened.
            drop(server);
            let last: u64 = said.last().unwrap_or(first).parse().expect("a number");
            writing.wait().expect("ended");
            let server = Server::start(dir);
            let found = run(&work, "python3", &["-c", checker]);
            let (verdict, found) = found.trim().split_once(' ').expect("two words");
            assert_eq!(verdict, "ok");
            assert!(found.parse::<u64>().expect("a number") >= last, "{journal}: {found} of {last} commits were found");
            drop(server);
        }
    }
    open_store(dir).close().expect("closed");
}

#[test]
fn unmounting_ends_the_mount_and_leaves_what_was_written() {
    let Some(mut drive) = Drive::new() else { return };
    fs::write(drive.at("file"), "text").expect("written");
    let point = drive.mount_point().to_path_buf();
    drive.unmount();
    assert_eq!(fs::read_dir(&point).expect("listed").count(), 0, "an empty directory is left");
    assert_eq!(drive.get("file"), b"text");
}

#[test]
fn programs_that_do_not_let_go_are_cut_off_and_their_writes_kept() {
    let options = MountOptions { unmount_grace: Duration::from_millis(100), ..MountOptions::default() };
    let Some(mut drive) = Drive::with(options) else { return };
    let mut open = fs::File::create(drive.at("file")).expect("created");
    std::io::Write::write_all(&mut open, b"text").expect("written");
    drive.unmount();
    assert_eq!(open.metadata().expect_err("cut off").raw_os_error(), Some(libc::ENOTCONN));
    assert_eq!(drive.get("file"), b"text");
}

#[test]
fn programs_that_are_cut_off_amid_their_requests_are_no_fault_of_the_mount() {
    for _ in 0..10 {
        let options = MountOptions { unmount_grace: Duration::ZERO, ..MountOptions::default() };
        let Some(mut drive) = Drive::with(options) else { return };
        let path = drive.at("file");
        fs::write(&path, "text").expect("written");
        let open = fs::File::open(&path).expect("opened");
        let begun = std::sync::Barrier::new(65);
        std::thread::scope(|scope| {
            for _ in 0..64 {
                scope.spawn(|| {
                    begun.wait();
                    // Asks the server each time, until there is none.
                    while rustix::fs::statx(
                        &open,
                        "",
                        AtFlags::EMPTY_PATH | AtFlags::STATX_FORCE_SYNC,
                        StatxFlags::SIZE,
                    )
                    .is_ok()
                    {}
                });
            }
            begun.wait();
            std::thread::sleep(Duration::from_millis(5));
            drive.unmount();
        });
        assert_eq!(drive.get("file"), b"text");
    }
}

#[test]
fn a_mount_point_in_use_is_left_alone() {
    let Some(drive) = Drive::new() else { return };
    let again = strata_mount::mount(drive.ns().clone(), drive.mount_point(), MountOptions::default());
    let error = again.expect_err("refused").to_string();
    assert!(error.contains("is a mount point already"), "{error}");
    assert!(drive.top().exists());
}

#[test]
fn a_read_only_mount_refuses_changes() {
    let Some(mut drive) = Drive::new() else { return };
    fs::write(drive.at("file"), "text").expect("written");
    let point = drive.mount_point().to_path_buf();
    drive.unmount();
    let options = MountOptions { read_only: true, ..MountOptions::default() };
    let mounted = strata_mount::mount(drive.ns().clone(), &point, options).expect("mounted");
    assert_eq!(fs::read(drive.at("file")).expect("read"), b"text");
    let refused = fs::write(drive.at("other"), "x").expect_err("refused");
    assert_eq!(refused.raw_os_error(), Some(libc::EROFS));
    mounted.unmount().expect("unmounted");
}
