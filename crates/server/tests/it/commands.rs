//! The commands beside `serve`: on a running server and on a resting store.

use std::io::Write;

use serde_json::Value;
use strata_index::{EngineKind, KEYS_END};

use crate::drive::Drive;
use crate::s3::S3;
use crate::server::{Place, can_mount, complaint, run};
use crate::webdav::WebDav;

fn succeed(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", complaint(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// `strata status --json`.
pub(crate) fn status(place: &Place) -> Value {
    serde_json::from_str(&succeed(&["status", "--data", &place.data_arg(), "--json"])).unwrap()
}

/// The value behind a word at the beginning of a line.
fn field<'a>(text: &'a str, name: &str) -> &'a str {
    text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name} in {text}")).trim()
}

#[test]
fn status_tells_the_same_of_a_running_server_and_of_a_resting_store() {
    let place = Place::new();
    let server = place.serve(6, &[]);
    let running = status(&place);
    assert_eq!(running["layout"], "4+2");
    assert_eq!(running["server"]["phase"], "serving");
    assert_eq!(running["server"]["pid"], server.pid());
    assert_eq!(running["server"]["doors"]["s3"], server.door("s3", "endpoint"));
    assert!(!running.to_string().contains(&server.door("s3", "secret_key")), "no secret in a status");
    assert!(server.stop().success());
    let resting = status(&place);
    assert_eq!(resting["server"], Value::Null);
    for same in ["set", "layout", "disks"] {
        let strip = |status: &Value| match &status[same] {
            Value::Array(disks) => disks.iter().map(|disk| format!("{} {}", disk["disk"], disk["state"])).collect(),
            value => vec![value.to_string()],
        };
        assert_eq!(strip(&resting), strip(&running));
    }
    assert!(succeed(&["status", "--data", &place.data_arg()]).contains("no server runs on it"));
}

#[test]
fn a_bucket_is_a_host_name_below_a_domain_that_is_set() {
    let place = Place::new();
    let server = place.serve(1, &["--domain", "s3.example.com"]);
    let s3 = S3::of(&server);
    s3.make_bucket("pictures");
    let named = s3.at_host("pictures.s3.example.com");
    assert_eq!(named.send("PUT", "/cat", "", &[], b"meow").status, 200);
    assert_eq!(s3.send("GET", "/pictures/cat", "", &[], b"").body, b"meow");
    assert!(server.stop().success());
}

#[test]
fn users_are_managed_through_a_running_server_and_on_a_resting_store() {
    let place = Place::new();
    let data = place.data_arg();
    let server = place.serve(2, &[]);
    let made = succeed(&["user", "add", "alice", "--data", &data, "--admin"]);
    let (access_key, secret_key) = (field(&made, "access key").to_owned(), field(&made, "secret key").to_owned());
    let (s3, dav) = (S3::of(&server), WebDav::of(&server));
    let alices = s3.with_keys(&access_key, &secret_key);
    alices.make_bucket("alices");
    assert_eq!(dav.with_password("alice", &secret_key).send("PUT", "/alices/f", &[], b"x").status, 201);

    let renewed = succeed(&["user", "rotate", "alice", "--data", &data]);
    assert_eq!(alices.send("GET", "/alices/f", "", &[], b"").status, 403);
    assert_eq!(dav.with_password("alice", &secret_key).send("GET", "/alices/f", &[], b"").status, 401);
    let alices = s3.with_keys(&access_key, field(&renewed, "secret key"));
    assert_eq!(alices.send("GET", "/alices/f", "", &[], b"").body, b"x");
    assert!(server.stop().success());

    succeed(&["user", "add", "bob", "--data", &data]);
    succeed(&["user", "remove", "alice", "--data", &data]);
    let listed = succeed(&["user", "list", "--data", &data, "--json"]);
    let listed: Vec<Value> = serde_json::from_str(&listed).unwrap();
    let names: Vec<_> = listed.iter().map(|user| user["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["admin", "bob"]);
    assert!(listed.iter().all(|user| user["secret_key"].is_null()));

    let server = place.serve(2, &[]);
    assert_eq!(
        S3::of(&server).with_keys(&access_key, field(&renewed, "secret key")).send("GET", "/", "", &[], b"").status,
        403
    );
    let refused = run(&["user", "remove", "admin", "--data", &data]);
    assert_eq!(refused.status.code(), Some(1));
    let refused = run(&["user", "add", "bob", "--data", &data]);
    assert!(complaint(&refused).contains("bob"), "{}", complaint(&refused));
}

#[test]
fn a_new_user_is_nobody_else_and_the_mode_of_a_bucket_says_what_others_see_of_it() {
    let place = Place::new();
    let data = place.data_arg();
    let server = place.serve(1, &[]);
    let made = succeed(&["user", "add", "eve", "--may-make-buckets=false", "--data", &data]);
    assert_eq!(field(&made, "uid"), "100000");
    let s3 = S3::of(&server);
    let eve = s3.with_keys(field(&made, "access key"), field(&made, "secret key"));
    s3.make_bucket("box");
    assert_eq!(s3.send("PUT", "/box/private", "", &[], b"x").status, 200);
    let bucket = |arguments: &[&str]| -> Value {
        let all = [&["bucket"], arguments, &["--data", &data, "--json"]].concat();
        serde_json::from_str(&succeed(&all)).unwrap()
    };
    assert_eq!(bucket(&["show", "box"])["mode"], "600");
    assert_eq!(bucket(&["set", "box", "--mode", "644"])["mode"], "644");
    assert_eq!(s3.send("PUT", "/box/shared", "", &[], b"y").status, 200);
    assert_eq!(eve.send("GET", "/box/private", "", &[], b"").status, 403);
    assert_eq!(eve.send("GET", "/box/shared", "", &[], b"").body, b"y");
    assert_eq!(eve.send("DELETE", "/box/shared", "", &[], b"").status, 403);
    for mode in ["755", "600x", "20"] {
        let refused = run(&["bucket", "set", "box", "--mode", mode, "--data", &data]);
        assert!(!refused.status.success(), "{mode}");
    }

    // The durability of a bucket changes for everything in it at once, and its content is counted.
    assert_eq!(bucket(&["show", "box"])["durability"], "strict");
    assert_eq!(bucket(&["set", "box", "--durability", "relaxed"])["durability"], "relaxed");
    let of_box = bucket(&["set", "box", "--durability", "strict", "--mode", "644"]);
    assert_eq!((&of_box["durability"], &of_box["mode"]), (&"strict".into(), &"644".into()));
    assert_eq!((&of_box["bytes"], &of_box["inodes"]), (&2.into(), &3.into()));
    assert!(!run(&["bucket", "set", "box", "--data", &data]).status.success(), "nothing to set");

    assert_eq!(eve.send("PUT", "/of-eve", "", &[], b"").status, 403);
    succeed(&["user", "set", "eve", "--may-make-buckets", "--data", &data]);
    assert_eq!(eve.send("PUT", "/of-eve", "", &[], b"").status, 200);
    assert!(server.stop().success());
    succeed(&["user", "set", "eve", "--may-make-buckets=false", "--data", &data]);
    assert_eq!(bucket(&["set", "of-eve", "--mode", "640"])["mode"], "640");
    let listed = bucket(&["list"]);
    let listed: Vec<(&str, &str)> = listed
        .as_array()
        .unwrap()
        .iter()
        .filter(|bucket| bucket["top"] != true)
        .map(|bucket| (bucket["name"].as_str().unwrap(), bucket["mode"].as_str().unwrap()))
        .collect();
    assert_eq!(listed, [("box", "644"), ("of-eve", "640")]);
    assert!(succeed(&["bucket", "list", "--data", &data]).contains("of-eve"));
    let users: Vec<Value> = serde_json::from_str(&succeed(&["user", "list", "--data", &data, "--json"])).unwrap();
    assert_eq!(users.iter().find(|user| user["name"] == "eve").unwrap()["may_make_buckets"], false);
}

#[test]
fn fsck_finds_nothing_wrong_in_a_sound_store_and_changes_not_a_byte() {
    let place = Place::new();
    let server = place.serve(3, &[]);
    let s3 = S3::of(&server);
    s3.make_bucket("box");
    s3.send("PUT", "/box/key", "", &[], &vec![1; 300_000]);
    // A killed server leaves the most work for an opening.
    server.kill();
    let before = fingerprint(&place);
    let report: Value = serde_json::from_str(&succeed(&["fsck", "--data", &place.data_arg(), "--json"])).unwrap();
    assert_eq!(report["violations"], serde_json::json!([]));
    assert!(report["chunks"].as_u64() > Some(0) && report["stripes"].as_u64() > Some(0), "{report}");
    assert!(succeed(&["fsck", "--data", &place.data_arg()]).contains("everything that was checked holds"));
    assert_eq!(fingerprint(&place), before);
}

#[test]
fn fsck_names_the_disk_whose_bytes_have_rotted() {
    let place = Place::new();
    let server = place.serve(3, &[]);
    let s3 = S3::of(&server);
    s3.make_bucket("box");
    let data: Vec<u8> = (0..200_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    s3.send("PUT", "/box/key", "", &[], &data);
    assert!(server.stop().success());
    // The log begins with the first bytes of the first segment; damage what lies well within it.
    let segment = place.data().join("disk1").join("seg-00000000");
    let mut bytes = std::fs::read(&segment).unwrap();
    let rotten = bytes.iter().rposition(|byte| *byte != 0).unwrap() / 2;
    bytes[rotten..rotten + 64].iter_mut().for_each(|byte| *byte ^= 0x55);
    std::fs::write(&segment, bytes).unwrap();

    let checked = run(&["fsck", "--data", &place.data_arg()]);
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert_eq!(checked.status.code(), Some(1), "{said}{}", complaint(&checked));
    assert!(said.contains("ACK: disk") && said.contains("disk1 has") && said.contains("damaged frames"), "{said}");
    assert!(said.contains("HASH    holds"), "what can be rebuilt is returned right: {said}");
    // And no reader notices.
    let server = place.serve(3, &[]);
    assert!(S3::of(&server).send("GET", "/box/key", "", &[], b"").body == data);
}

#[test]
fn an_index_that_lacks_a_record_denies_nothing_that_is_stored_and_is_right_behind_a_restart() {
    let place = Place::new();
    let server = place.serve(1, &[]);
    let s3 = S3::of(&server);
    s3.make_bucket("box");
    for n in 0..700 {
        assert_eq!(s3.send("PUT", &format!("/box/k{n:03}"), "", &[], format!("value {n}").as_bytes()).status, 200);
    }
    assert!(server.stop().success());
    {
        let index = place.data().join("index");
        let engine = EngineKind::of(&index).unwrap().open(&index, 1 << 20).unwrap();
        let all = engine.range(&[1], KEYS_END, usize::MAX).unwrap();
        let (entry, _) = all.into_iter().find(|(key, _)| key.ends_with(b"k350")).unwrap();
        engine.write(vec![(entry, None)]).unwrap();
        engine.flush().unwrap();
    }
    let before = fingerprint(&place);
    let checked = run(&["fsck", "--data", &place.data_arg()]);
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert_eq!(checked.status.code(), Some(1), "{said}{}", complaint(&checked));
    assert!(said.contains("TRUTH: the index on disk") && said.contains("keys from"), "{said}");
    assert_eq!(fingerprint(&place), before);

    let server = place.serve(1, &[]);
    let s3 = S3::of(&server);
    for n in [0, 349, 350, 351, 699] {
        let answer = s3.send("GET", &format!("/box/k{n:03}"), "", &[], b"");
        let is_right = answer.status == 200 && answer.body == format!("value {n}").into_bytes();
        assert!(is_right || answer.status == 500, "{n}: {}", answer.status);
    }
    assert!(server.stop().success());
    let server = place.serve(1, &[]);
    let s3 = S3::of(&server);
    for n in 0..700 {
        assert_eq!(s3.send("GET", &format!("/box/k{n:03}"), "", &[], b"").body, format!("value {n}").into_bytes());
    }
    assert!(server.stop().success());
}

#[test]
fn the_mount_command_serves_the_drive_alone() {
    if !can_mount() {
        return;
    }
    let place = Place::new();
    let server = place.serve(1, &[]);
    let s3 = S3::of(&server);
    s3.make_bucket("box");
    s3.send("PUT", "/box/key", "", &[], b"value");
    assert!(server.stop().success());
    let drive = Drive(place.drive());
    let mut child = crate::server::strata()
        .args(["mount", "--data", &place.data_arg()])
        .arg(place.drive())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let found = (0..500).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        std::fs::read(drive.at("/box/key")).is_ok_and(|data| data == b"value")
    });
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(found);
}

/// Every file of the store's disks and its index, with its bytes hashed.
fn fingerprint(place: &Place) -> Vec<(std::path::PathBuf, String)> {
    use sha2::{Digest, Sha256};
    let mut folders = vec![place.data()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            match path.file_name().and_then(|name| name.to_str()) {
                Some("lock" | "control.sock" | "doors.json") => {}
                _ if path.is_dir() => folders.push(path),
                _ => found.push((path.clone(), hex::encode(Sha256::digest(std::fs::read(&path).unwrap())))),
            }
        }
    }
    found.sort();
    found
}

#[test]
fn doors_json_has_the_secret_of_an_administrator_whose_key_was_rotated() {
    let place = Place::new();
    let server = place.serve(1, &[]);
    let before = server.door("s3", "secret_key");
    succeed(&["user", "rotate", "admin", "--data", &place.data_arg()]);
    let doors: Value = serde_json::from_slice(&std::fs::read(place.data().join("doors.json")).unwrap()).unwrap();
    let secret = doors["s3"]["secret_key"].as_str().unwrap();
    assert_ne!(secret, before);
    assert_eq!(doors["webdav"]["password"], secret);
    let (now, then) = (S3::of(&server).with_keys(&server.door("s3", "access_key"), secret), S3::of(&server));
    assert_eq!(now.send("GET", "/", "", &[], b"").status, 200);
    assert_eq!(then.send("GET", "/", "", &[], b"").status, 403);
    assert!(server.stop().success());
}

#[test]
fn a_mount_of_a_folder_without_a_store_makes_none() {
    let place = Place::new();
    let refused = run(&["mount", "--data", &place.data_arg(), place.beside("nowhere").to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(complaint(&refused).contains("there is no store in"), "{}", complaint(&refused));
    assert!(!place.data().join("lock").exists());
}

#[test]
fn a_second_start_whose_ports_are_taken_says_who_has_the_store() {
    let place = Place::new();
    let server = place.serve(1, &[]);
    let taken = crate::http::authority(&server.door("s3", "endpoint")).to_owned();
    let refused = run(&["serve", "--data", &place.data_arg(), "--s3-listen", &taken]);
    assert_eq!(refused.status.code(), Some(3), "{}", complaint(&refused));
    assert!(complaint(&refused).contains("another strata server"), "{}", complaint(&refused));
    assert!(server.stop().success());
}

#[test]
fn a_command_waits_for_a_server_that_answers_nobody_yet_and_then_says_so() {
    let place = Place::new();
    assert!(place.serve(1, &[]).stop().success());
    // As a starting server looks to others: it has the lock, and there is no socket yet.
    let mut lock = std::fs::File::options().read(true).write(true).open(place.data().join("lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    writeln!(lock, "{}", std::process::id()).unwrap();
    let refused = run(&["user", "add", "somebody", "--data", &place.data_arg()]);
    assert_eq!(refused.status.code(), Some(3), "{}", complaint(&refused));
    assert!(complaint(&refused).contains("is starting or stopping"), "{}", complaint(&refused));
    drop(lock);
    assert!(!succeed(&["user", "list", "--data", &place.data_arg()]).contains("somebody"));
}
