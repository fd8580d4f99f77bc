//! The very first start of a store. Cut off anywhere, the next start goes on or begins anew; and a power cut takes away no
//! folder or file that later steps build on.
//!
//! `strace` runs the real program, and kills it as it enters a system call. It comes from
//! `packaging/install-deps.sh --test`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::server::{Place, Server, strata};

/// Whatever changes files or makes them durable.
const CALLS: [&str; 10] =
    ["mkdir", "mkdirat", "rename", "renameat", "renameat2", "fsync", "fdatasync", "fallocate", "pwrite64", "unlinkat"];
/// Without doors: what is tried comes before them.
const SHUT: [&str; 8] =
    ["--s3-listen", "off", "--webdav-listen", "off", "--nfs-listen", "off", "--admin-listen", "off"];

/// Starts a server of two disks under `strace` with these options, until it is killed or has opened its store.
fn traced(place: &Place, options: &[String]) {
    let mut strace = Command::new("strace");
    let program = strata();
    strace.args(["-f", "-qq", "-y"]).args(options).arg(program.get_program());
    for (name, _) in program.get_envs() {
        strace.env_remove(name);
    }
    strace.args(["serve", "--data", &place.data_arg(), "--disks", "2", "--segment-size", "16MiB"]).args(SHUT);
    strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = strace.spawn().expect("strace is there; packaging/install-deps.sh --test installs it");
    for _ in 0..3000 {
        if child.try_wait().unwrap().is_some() {
            return;
        }
        if place.data().join("doors.json").exists() {
            let pid = std::fs::read_to_string(place.data().join("lock")).unwrap().trim().parse().unwrap();
            let pid = rustix::process::Pid::from_raw(pid).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
            child.wait().unwrap();
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("the first start neither ended nor opened its doors");
}

/// The system calls of a whole first start, in order: who made them, and the line.
fn calls_of_a_first_start(place: &Place) -> Vec<(u32, String)> {
    let trace = place.beside("trace");
    traced(
        place,
        &["-o".to_owned(), trace.display().to_string(), "-e".to_owned(), format!("trace={}", CALLS.join(","))],
    );
    let text = std::fs::read_to_string(trace).unwrap();
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.filter_map(|(pid, call)| Some((pid.parse().ok()?, call.trim().to_owned()))).collect()
}

/// Those up to the moment when the store is remembered as made.
fn until_made(calls: &[(u32, String)]) -> &[(u32, String)] {
    let remembered = |(_, call): &(u32, String)| call.starts_with("rename") && call.contains("store.json");
    let made = calls.iter().rposition(remembered).expect("the store is remembered");
    &calls[..=made]
}

fn check_whole(server: &Server<'_>) {
    let status = crate::commands::status(server.place);
    assert_eq!(status["layout"], "1+1", "{status}");
    for disk in status["disks"].as_array().unwrap() {
        assert_eq!(disk["state"], "active", "{status}");
    }
}

/// The changes to kill it at, each as the call and which of those of its thread: `strace` counts so. Of the writes that fill
/// a segment with zeros the first will do.
fn changes(calls: &[(u32, String)]) -> BTreeSet<(&'static str, usize)> {
    let mut counts: BTreeMap<(u32, &str), usize> = BTreeMap::new();
    let mut changes = BTreeSet::new();
    let mut filled = 0;
    for (pid, line) in until_made(calls) {
        let Some(call) = CALLS.iter().find(|call| line.starts_with(&format!("{call}("))) else { continue };
        let number = counts.entry((*pid, call)).or_default();
        *number += 1;
        filled += usize::from(*call == "pwrite64" && line.contains("/seg-"));
        if filled < 2 || !line.contains("/seg-") {
            changes.insert((*call, *number));
        }
    }
    changes
}

#[test]
fn a_first_start_killed_at_any_change_is_followed_by_one_that_succeeds() {
    let changes = changes(&calls_of_a_first_start(&Place::new()));
    assert!(changes.len() > 15, "a first start makes many changes, and these were found: {changes:?}");
    for (call, number) in changes {
        let place = Place::new();
        let kill = format!("inject={call}:signal=KILL:when={number}");
        traced(&place, &["-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &kill].map(str::to_owned));
        assert!(!place.data().join("doors.json").exists(), "it was to be killed at {call} {number}");
        // The layout need not be given again once it was written down.
        let told = place.data().join("store.json").exists() && number % 2 == 0;
        let server = if told { place.serve_again(&SHUT) } else { place.serve(2, &SHUT) };
        check_whole(&server);
        server.kill();
    }
}

#[test]
fn folders_and_files_of_a_new_store_are_durable_before_anything_is_built_on_them() {
    let place = Place::new();
    let calls = calls_of_a_first_start(&place);
    let calls: Vec<&str> = until_made(&calls).iter().map(|(_, call)| call.as_str()).collect();
    let first_at = |what: &str, found: &dyn Fn(&str) -> bool| {
        calls.iter().position(|call| found(call)).unwrap_or_else(|| panic!("no {what} in {calls:#?}"))
    };
    let superblock = first_at("superblock", &|call| call.starts_with("pwrite64") && call.contains("/superblock"));
    let synced = |folder: &Path, from: usize, to: usize| {
        let name = format!("<{}>", folder.display());
        calls[from..to].iter().any(|call| call.starts_with("fsync") && call.contains(&name))
    };
    let data = place.data();
    let above = data.parent().unwrap();
    let disk = first_at("folder of a disk", &|call| call.starts_with("mkdir") && call.contains("/disk1\""));
    assert!(synced(&data, disk, superblock), "the disks' folders are not durable: {calls:#?}");
    let folder = first_at("folder", &|call| call.starts_with("mkdir") && call.contains("/data\""));
    assert!(synced(above, folder, superblock), "the store's folder is not durable: {calls:#?}");
    let noted = first_at("store.json", &|call| call.starts_with("rename") && call.contains("store.json"));
    assert!(noted < disk, "it is written down what is made before it is made: {calls:#?}");
    assert!(synced(&data, noted, disk), "store.json is not durable: {calls:#?}");
}
