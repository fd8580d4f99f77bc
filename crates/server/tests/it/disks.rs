//! Disks that fail, come back and are replaced under a running server, as an operator does it; heal, scrub and repair.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::commands::status;
use crate::doors::Door;
use crate::nfs::Nfs;
use crate::s3::S3;
use crate::server::{Place, Server, complaint, run};
use crate::webdav::WebDav;

/// Objects put by each test, with content that does not compress.
pub(crate) const OBJECTS: u64 = 12;
const OBJECT_LEN: usize = 300_000;
/// How long the keeper may take to notice something.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn noise(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(&mut next).take(OBJECT_LEN / 8).flatten().collect()
}

pub(crate) fn put_all(server: &Server<'_>, from: u64) {
    let s3 = S3::of(server);
    if from == 0 {
        s3.make_bucket("box");
    }
    for n in from..from + OBJECTS {
        assert_eq!(s3.send("PUT", &format!("/box/o{n}"), "", &[], &noise(n)).status, 200);
    }
}

pub(crate) fn all_are_there(server: &Server<'_>, count: u64) {
    let s3 = S3::of(server);
    for n in 0..count {
        let got = s3.send("GET", &format!("/box/o{n}"), "", &[], b"");
        assert!(got.status == 200 && got.body == noise(n), "object {n}: {}", got.status);
    }
}

/// Runs a command on the store with `--json`; its exit code and what it said.
pub(crate) fn told(place: &Place, arguments: &[&str]) -> (i32, Value) {
    let data = place.data_arg();
    let arguments: Vec<&str> = arguments.iter().copied().chain(["--data", &data, "--json"]).collect();
    let output = run(&arguments);
    let said = serde_json::from_slice(&output.stdout);
    (output.status.code().unwrap_or(-1), said.unwrap_or_else(|_| panic!("{arguments:?}: {}", complaint(&output))))
}

pub(crate) fn states(place: &Place) -> Vec<String> {
    let (_, list) = told(place, &["disk", "list"]);
    list["disks"].as_array().unwrap().iter().map(|disk| disk["state"].as_str().unwrap().to_owned()).collect()
}

pub(crate) fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let pause = Duration::from_millis(100);
    for _ in 0..PATIENCE.as_millis() / pause.as_millis() {
        if is() {
            return;
        }
        std::thread::sleep(pause);
    }
    panic!("it never came to be: {what}");
}

fn proves(proof: &Value, objects: u64) {
    assert_eq!(proof["objects"], objects, "{proof}");
    assert_eq!(proof["whole"], objects, "{proof}");
    assert_eq!((&proof["degraded"], &proof["unreadable"]), (&Value::from(0), &Value::from(0)), "{proof}");
    assert_eq!(proof["complete"], true, "{proof}");
}

/// Damages bytes in the middle of what a disk holds.
fn rot(disk: &Path) {
    let segment = disk.join("seg-00000000");
    let mut bytes = std::fs::read(&segment).unwrap();
    let middle = bytes.iter().rposition(|byte| *byte != 0).unwrap() / 2;
    bytes[middle..middle + 64].iter_mut().for_each(|byte| *byte ^= 0x55);
    std::fs::write(&segment, bytes).unwrap();
}

#[test]
fn a_disk_is_taken_out_under_a_running_server_stays_out_over_a_restart_and_is_given_back() {
    let place = Place::new();
    let server = place.serve(6, &[]);
    put_all(&server, 0);
    let (code, list) = told(&place, &["disk", "remove", "2"]);
    assert_eq!((code, &list["disks"][2]["state"]), (0, &Value::from("missing")), "{list}");
    let disk = place.data().join("disk2");
    // The disk may be pulled: nothing on it is open, once running reads have ended.
    eventually("no file of a disk that was taken out is open", || {
        let open = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().flatten();
        let mut targets = open.filter_map(|fd| std::fs::read_link(fd.path()).ok());
        !targets.any(|target| target.starts_with(&disk) && target != disk)
    });
    put_all(&server, OBJECTS);
    all_are_there(&server, 2 * OBJECTS);
    assert!(server.stop().success());
    let server = place.serve(6, &[]);
    assert_eq!(states(&place)[2], "missing");
    all_are_there(&server, 2 * OBJECTS);
    let (code, outcome) = told(&place, &["disk", "add", disk.to_str().unwrap()]);
    assert_eq!(code, 0, "{outcome}");
    proves(&outcome["proof"], 2 * OBJECTS);
    assert!(states(&place).iter().all(|state| state == "active"), "{:?}", states(&place));
}

#[test]
fn a_disk_deleted_under_a_running_server_is_replaced_and_then_two_others_may_go() {
    let place = Place::new();
    let server = place.serve(6, &[]);
    put_all(&server, 0);
    std::fs::remove_dir_all(place.data().join("disk3")).unwrap();
    all_are_there(&server, OBJECTS);
    put_all(&server, OBJECTS);
    eventually("the disk is known to be gone", || states(&place)[3] == "gone");
    let refused = run(&["disk", "replace", "2", "elsewhere", "--data", &place.data_arg()]);
    assert!(complaint(&refused).contains("is in order"), "{}", complaint(&refused));

    let new = place.beside("new-disk");
    std::fs::create_dir(&new).unwrap();
    std::fs::write(new.join("letters.odt"), "").unwrap();
    let refused = run(&["disk", "replace", "3", &new.display().to_string(), "--data", &place.data_arg()]);
    assert!(complaint(&refused).contains("has files of somebody else in it"), "{}", complaint(&refused));
    std::fs::remove_file(new.join("letters.odt")).unwrap();
    let (code, healed) = told(&place, &["disk", "replace", "3", &new.display().to_string()]);
    assert_eq!(code, 0, "{healed}");
    proves(&healed["proof"], 2 * OBJECTS);
    assert_eq!(states(&place), ["active"; 6]);
    all_are_there(&server, 2 * OBJECTS);
    // Disks that were refused or replaced do not belong to the store.
    let foreign = Place::new();
    let other = foreign.serve(1, &[]);
    let disk = foreign.data().join("disk0").display().to_string();
    assert!(other.stop().success());
    std::fs::remove_dir_all(place.data().join("disk5")).unwrap();
    for command in [&["disk", "replace", "5", &disk][..], &["disk", "add", &disk], &["set", "add", "--yes", &disk]] {
        let refused = run(&[command, &["--data", &place.data_arg()]].concat());
        assert!(
            !refused.status.success() && complaint(&refused).contains("nothing was changed"),
            "{}",
            complaint(&refused)
        );
    }
    let fds = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().flatten();
    let open: Vec<String> =
        fds.filter_map(|fd| Some(std::fs::read_link(fd.path()).ok()?.display().to_string())).collect();
    assert!(!open.iter().any(|target| target.starts_with(&disk) || target.contains("disk3")), "{open:?}");
    assert!(foreign.serve(1, &[]).stop().success());
    let folder = place.data().join("disk5").display().to_string();
    assert_eq!(told(&place, &["disk", "replace", "5", &folder]).0, 0, "what went a moment ago is known to be gone");
    assert!(server.stop().success());

    for gone in ["disk0", "disk5"] {
        std::fs::remove_dir_all(place.data().join(gone)).unwrap();
    }
    let server = place.serve(6, &[]);
    all_are_there(&server, 2 * OBJECTS);
    assert_eq!(states(&place).iter().filter(|state| *state == "missing").count(), 2);
    // Both come back, onto folders of the same names, under the same server: with the first the set has its write quorum
    // again and a heal leaves what only the other can hold, with the second it leaves nothing.
    for (number, folder, left) in [(0, "disk0", 1), (5, "disk5", 0)] {
        let folder = place.data().join(folder).display().to_string();
        let (code, healed) = told(&place, &["disk", "replace", &number.to_string(), &folder]);
        assert_eq!(code, left, "{healed}");
    }
    put_all(&server, 2 * OBJECTS);
    let (code, healed) = told(&place, &["heal"]);
    assert_eq!(states(&place), ["active"; 6]);
    assert_eq!(code, 0, "{healed}");
    proves(&healed["proof"], 3 * OBJECTS);
}

#[test]
fn a_folder_made_again_empty_is_not_taken_for_the_disk_until_somebody_says_so() {
    let place = Place::new();
    let server = place.serve(3, &[]);
    put_all(&server, 0);
    let folder = place.data().join("disk1");
    std::fs::remove_dir_all(&folder).unwrap();
    std::fs::create_dir(&folder).unwrap();
    put_all(&server, OBJECTS);
    eventually("the disk is known to be gone", || states(&place)[1] == "gone");
    let refused = run(&["disk", "add", &folder.display().to_string(), "--data", &place.data_arg()]);
    assert!(complaint(&refused).contains("strata disk replace"), "{}", complaint(&refused));
    let (code, healed) = told(&place, &["disk", "replace", "1", &folder.display().to_string()]);
    assert_eq!(code, 0, "{healed}");
    proves(&healed["proof"], 2 * OBJECTS);
    assert_eq!(states(&place), ["active"; 3]);
}

#[test]
fn a_disk_that_was_away_is_taken_back_and_healed_by_itself() {
    let place = Place::new();
    let server = place.serve(3, &[]);
    put_all(&server, 0);
    let (folder, away) = (place.data().join("disk2"), place.beside("away"));
    assert!(server.stop().success());
    std::fs::rename(&folder, &away).unwrap();
    let server = place.serve(3, &[]);
    put_all(&server, OBJECTS);
    assert_eq!(states(&place)[2], "missing");
    let (_, list) = told(&place, &["disk", "list"]);
    assert_eq!(list["disks"][2]["why"], format!("it was not found in {}", folder.display()));
    std::fs::rename(&away, &folder).unwrap();
    eventually("the disk is back and has everything", || states(&place) == ["active"; 3]);
    let (code, healed) = told(&place, &["heal"]);
    assert_eq!(code, 0, "{healed}");
    proves(&healed["proof"], 2 * OBJECTS);
    assert_eq!(healed["disks"][2]["missing"], 0, "nothing was left for this heal: {healed}");
}

#[test]
fn a_disk_whose_folder_is_moved_away_counts_as_gone_until_it_is_at_its_place_again() {
    let place = Place::new();
    let server = place.serve(3, &[]);
    put_all(&server, 0);
    let (folder, away) = (place.data().join("disk2"), place.beside("away"));
    std::fs::rename(&folder, &away).unwrap();
    eventually("the disk is known to be gone", || states(&place)[2] == "gone");
    put_all(&server, OBJECTS);
    std::fs::rename(&away, &folder).unwrap();
    eventually("the disk is back and has everything", || states(&place) == ["active"; 3]);
    let (code, healed) = told(&place, &["heal"]);
    assert_eq!(code, 0, "{healed}");
    proves(&healed["proof"], 2 * OBJECTS);
    assert!(server.stop().success());
}

#[test]
fn segment_files_removed_under_a_running_server_are_written_anew_before_anything_is_called_whole() {
    let place = Place::new();
    let server = place.serve(6, &[]);
    put_all(&server, 0);
    for (round, number) in [(1, 3), (2, 4)] {
        let disk = place.data().join(format!("disk{number}"));
        for file in std::fs::read_dir(&disk).unwrap().flatten() {
            if file.file_name().to_string_lossy().starts_with("seg-") {
                std::fs::remove_file(file.path()).unwrap();
            }
        }
        put_all(&server, round * OBJECTS);
        eventually("all disks are in order", || states(&place) == ["active"; 6]);
    }
    let (code, healed) = told(&place, &["heal"]);
    assert_eq!(code, 0, "{healed}");
    proves(&healed["proof"], 3 * OBJECTS);
    assert!(server.stop().success());
    for gone in ["disk0", "disk1"] {
        std::fs::remove_dir_all(place.data().join(gone)).unwrap();
    }
    let server = place.serve(6, &[]);
    all_are_there(&server, 3 * OBJECTS);
}

#[test]
fn of_a_store_that_cannot_be_opened_the_folders_are_told() {
    let place = Place::new();
    assert!(place.serve(3, &[]).stop().success());
    for number in 0..2 {
        std::fs::rename(place.data().join(format!("disk{number}")), place.beside(&format!("away{number}"))).unwrap();
    }
    std::fs::create_dir(place.data().join("disk1")).unwrap();
    let (code, list) = told(&place, &["disk", "list"]);
    let found: Vec<&str> =
        list["folders"].as_array().unwrap().iter().map(|folder| folder["found"].as_str().unwrap()).collect();
    assert_eq!((code, found[0], found[1]), (1, "missing", "blank"), "{list}");
    assert!(found[2].starts_with("a disk of store "), "{list}");
    let output = run(&["disk", "list", "--data", &place.data_arg()]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("what is there"));
    assert!(complaint(&output).contains("1 disks of the set are usable, 2 are needed"), "{}", complaint(&output));
}

#[test]
fn a_scrub_mends_rot_when_told_to_and_by_itself() {
    let place = Place::new();
    let server = place.serve(3, &["--scrub-interval", "off"]);
    put_all(&server, 0);
    rot(&place.data().join("disk1"));
    let (code, scrubbed) = told(&place, &["scrub", "--pace", "512MiB"]);
    assert_eq!(code, 0, "{scrubbed}");
    assert_eq!(scrubbed["disks"][1]["healed"], scrubbed["disks"][1]["damaged"]);
    assert!(scrubbed["disks"][1]["damaged"].as_u64() > Some(0), "{scrubbed}");
    assert_eq!(told(&place, &["scrub"]).1["disks"][1]["damaged"], 0);
    told(&place, &["scrub", "--pause"]);
    assert_eq!(status(&place)["keeper"]["scrub"]["paused"], true);
    assert!(server.stop().success());

    rot(&place.data().join("disk2"));
    let server = place.serve(3, &["--scrub-interval", "1s", "--scrub-pace", "0"]);
    // The scrub stays paused, even over a restart.
    assert_eq!(status(&place)["keeper"]["scrub"]["paused"], true);
    told(&place, &["scrub", "--resume"]);
    eventually("the rot is mended", || status(&place)["keeper"]["scrub"]["healed"].as_u64() > Some(0));
    assert!(server.stop().success());
    let (code, checked) = told(&place, &["fsck"]);
    assert_eq!((code, &checked["violations"]), (0, &serde_json::json!([])), "{checked}");
}

#[test]
fn a_heal_of_a_resting_store_names_what_cannot_be_read() {
    let place = Place::new();
    let server = place.serve(3, &[]);
    put_all(&server, 0);
    assert!(server.stop().success());
    let (code, healed) = told(&place, &["heal"]);
    assert_eq!(code, 0, "{healed}");
    proves(&healed["proof"], OBJECTS);
    // One damaged frame more than the parity can replace.
    rot(&place.data().join("disk0"));
    rot(&place.data().join("disk1"));
    let (code, healed) = told(&place, &["heal"]);
    assert_eq!(code, 1, "{healed}");
    let proof = &healed["proof"];
    assert!(proof["unreadable"].as_u64() > Some(0), "{healed}");
    assert!(proof["names"][0]["name"].as_str().unwrap().starts_with("box/o"), "{healed}");
    let server = place.serve(3, &[]);
    let s3 = S3::of(&server);
    let wrong = (0..OBJECTS).filter(|n| s3.send("GET", &format!("/box/o{n}"), "", &[], b"").body != noise(*n)).count();
    assert_eq!(proof["unreadable"], wrong, "{healed}");
}

#[test]
fn a_heal_names_the_bytes_that_cannot_be_read_and_no_others() {
    const PIECE: usize = 16 << 10;
    let place = Place::new();
    let server = place.serve(3, &[]);
    let s3 = S3::of(&server);
    s3.make_bucket("box");
    let content: Vec<u8> = (0..10).flat_map(noise).collect();
    assert_eq!(s3.send("PUT", "/box/big", "", &[], &content).status, 200);
    assert!(server.stop().success());
    // The same bytes of two frames, in the middle of the first disk: chunks beside them can be read, or rebuilt.
    let segment = |disk: &str| place.data().join(disk).join("seg-00000000");
    let middle = std::fs::read(segment("disk0")).unwrap().iter().rposition(|byte| *byte != 0).unwrap() / 2;
    for disk in ["disk0", "disk1"] {
        let mut bytes = std::fs::read(segment(disk)).unwrap();
        bytes[middle..middle + 64].iter_mut().for_each(|byte| *byte ^= 0x55);
        std::fs::write(segment(disk), bytes).unwrap();
    }
    let (code, healed) = told(&place, &["heal"]);
    assert_eq!(code, 1, "{healed}");
    let names = healed["proof"]["names"].as_array().unwrap();
    let lost: Vec<(usize, usize)> = names
        .iter()
        .filter(|name| name["name"] == "box/big" && name["state"] == "unreadable")
        .flat_map(|name| name["ranges"].as_array().unwrap())
        .map(|range| (range[0].as_u64().unwrap() as usize, range[1].as_u64().unwrap() as usize))
        .collect();
    let len: usize = lost.iter().map(|(from, to)| to - from).sum();
    assert!(len > 0 && len < content.len() / 2, "{healed}");
    let server = place.serve(3, &[]);
    let s3 = S3::of(&server);
    for at in (0..content.len()).step_by(PIECE) {
        let end = (at + PIECE).min(content.len());
        let range = format!("bytes={at}-{}", end - 1);
        let read = s3.send("GET", "/box/big", "", &[("range", &range)], b"").body == content[at..end];
        let named = lost.iter().any(|(from, to)| *from < end && at < *to);
        assert_eq!(read, !named, "{range} of {lost:?}");
    }
}

#[test]
fn fsck_checks_beside_a_server_that_is_being_written_to() {
    let place = Place::new();
    let server = place.serve(3, &[]);
    put_all(&server, 0);
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| (1..4).for_each(|round| put_all(&server, round * OBJECTS)));
        while !writing.is_finished() {
            let (code, checked) = told(&place, &["fsck", "--contents"]);
            assert_eq!((code, &checked["violations"]), (0, &serde_json::json!([])), "{checked}");
            assert_eq!(checked["at_rest"], false);
        }
    });
    let refused = run(&["fsck", "--repair", "--data", &place.data_arg()]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(complaint(&refused).contains("stop the server first"));
}

#[test]
fn a_repair_says_what_it_would_do_and_does_it_once_it_is_told_to() {
    let place = Place::new();
    let server = place.serve(3, &[]);
    put_all(&server, 0);
    assert!(server.stop().success());
    rot(&place.data().join("disk1"));
    let index = place.data().join("index/conf");
    let len = std::fs::metadata(&index).unwrap().len();
    std::fs::write(&index, vec![0x5a; len as usize]).unwrap();

    let (code, planned) = told(&place, &["fsck", "--repair"]);
    assert_eq!(code, 1);
    let plan = planned["plan"].to_string();
    assert!(plan.contains("write them anew") && plan.contains("build it anew from the log"), "{plan}");
    assert_eq!(told(&place, &["fsck"]).1["violations"], planned["violations"], "nothing was changed");

    let (code, repaired) = told(&place, &["fsck", "--repair", "--yes"]);
    assert_eq!(code, 0, "{repaired}");
    assert_eq!(repaired["after"]["violations"], serde_json::json!([]));
    assert_eq!(told(&place, &["fsck"]).0, 0);
    let server = place.serve(3, &[]);
    all_are_there(&server, OBJECTS);
}

/// Disks are pulled until nothing can be written: reads and listings go on at every door whatever was refused, everybody is
/// told, and writing goes on without a restart when other disks take their places.
#[test]
fn below_the_write_quorum_everything_is_read_and_writing_goes_on_when_disks_are_replaced() {
    let place = Place::new();
    let server = place.serve(6, &[]);
    put_all(&server, 0);
    let s3 = S3::of(&server);
    let doors: [Box<dyn Door>; 3] =
        [Box::new(S3::of(&server)), Box::new(WebDav::of(&server)), Box::new(Nfs::of(&server))];
    for disk in ["disk1", "disk4"] {
        std::fs::remove_dir_all(place.data().join(disk)).unwrap();
    }
    let refused = s3.send("PUT", "/box/refused", "", &[], b"no");
    assert_eq!(refused.status, 503, "{}", refused.text());
    all_are_there(&server, OBJECTS);
    let list = s3.send("GET", "/box", "list-type=2", &[], b"");
    assert!(list.status == 200 && list.text().contains("<KeyCount>12</KeyCount>"), "{}", list.text());
    for door in &doors {
        assert!(door.look("/box/o1").is_some(), "{} reads", door.name());
        assert!(door.look("/box/refused").is_none(), "{} shows nothing that is not stored", door.name());
    }
    let admin = server.door("admin", "url");
    let ready = crate::http::request(crate::http::authority(&admin), "GET", "/health/ready", &[], b"");
    assert_eq!(ready.status, 503);
    for said in ["no writes", "since", "needs 5 disks", "has 4", "disk1", "strata disk replace"] {
        assert!(ready.text().contains(said), "{said}: {}", ready.text());
    }
    assert_eq!(status(&place)["refusing"]["what"], "no writes; what is stored is safe and can be read");
    for (slot, disk) in [("1", "disk1"), ("4", "disk4")] {
        let folder = place.data().join(disk).display().to_string();
        eventually("the disk is known to be gone", || {
            ["gone", "missing"].contains(&&*states(&place)[slot.parse::<usize>().unwrap()])
        });
        let output = run(&["disk", "replace", slot, &folder, "--data", &place.data_arg()]);
        // After the first the set is still below its quorum, and what only the second disk can hold is not whole yet.
        assert_eq!(output.status.code(), Some(i32::from(slot == "1")), "{}", complaint(&output));
    }
    put_all(&server, OBJECTS);
    all_are_there(&server, 2 * OBJECTS);
    eventually("every disk is whole again", || states(&place).iter().all(|state| state == "active"));
    let ready = crate::http::request(crate::http::authority(&admin), "GET", "/health/ready", &[], b"");
    assert_eq!(ready.text(), "ready\n");
    server.kill();
    let server = place.serve(6, &[]);
    all_are_there(&server, 2 * OBJECTS);

    // A stop in that state is cut short, as the table of exit codes has it.
    for disk in ["disk2", "disk3"] {
        std::fs::remove_dir_all(place.data().join(disk)).unwrap();
    }
    assert_eq!(S3::of(&server).send("PUT", "/box/refused", "", &[], b"no").status, 503);
    assert_eq!(server.stop().code(), Some(4));
    let server = place.serve(6, &[]);
    all_are_there(&server, 2 * OBJECTS);
}
