//! `strata bucket create`, `rename` and `remove`: through a running server and on a resting store, as every door sees it.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::doors;
use crate::drive::Drive;
use crate::nfs::{self, Nfs};
use crate::s3::S3;
use crate::server::{Place, complaint, run, strata};
use crate::webdav::WebDav;

/// What a command on buckets answers.
fn bucket(place: &Place, arguments: &[&str]) -> Value {
    let data = place.data_arg();
    let all = [&["bucket"], arguments, &["--data", &data, "--json"]].concat();
    let output = run(&all);
    assert!(output.status.success(), "{all:?}: {}", complaint(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What it is refused with.
fn refused(place: &Place, arguments: &[&str]) -> String {
    let data = place.data_arg();
    let all = [&["bucket"], arguments, &["--data", &data]].concat();
    let output = run(&all);
    assert_eq!(output.status.code(), Some(1), "{all:?}: {}", complaint(&output));
    assert!(output.stdout.is_empty(), "{all:?}");
    complaint(&output)
}

fn names(place: &Place) -> Vec<String> {
    let all = bucket(place, &["list"]);
    // The bucket of the files at the top is always there.
    let folders = all.as_array().unwrap().iter().filter(|bucket| bucket["top"] != true);
    folders.map(|bucket| bucket["name"].as_str().unwrap().to_owned()).collect()
}

/// Something on a running server and, after its end, the same on the resting store.
fn running_and_resting(act: impl Fn(&Place, &str)) {
    let place = Place::new();
    let server = place.serve(1, &[]);
    act(&place, "running");
    assert!(server.stop().success());
    act(&place, "resting");
    let checked = run(&["fsck", "--data", &place.data_arg()]);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
}

/// The access and the secret key of a new user.
fn add_user(place: &Place, name: &str, more: &[&str]) -> (String, String) {
    let output = run(&[&["user", "add", name, "--data", &place.data_arg(), "--json"], more].concat());
    let user: Value = serde_json::from_slice(&output.stdout).unwrap();
    (user["access_key"].as_str().unwrap().to_owned(), user["secret_key"].as_str().unwrap().to_owned())
}

#[test]
fn a_bucket_is_made_with_mode_class_and_owner() {
    running_and_resting(|place, state| {
        add_user(place, state, &["--uid", "4321", "--gid", "8765"]);
        let plain = bucket(place, &["create", &format!("plain-{state}")]);
        let uid = rustix::process::getuid().as_raw();
        assert_eq!(
            plain,
            json!({
                "name": format!("plain-{state}"), "s3_name": format!("plain-{state}"), "mode": "600", "uid": uid,
                "durability": "strict", "bytes": 0, "inodes": 1,
            })
        );
        let name = format!("own-{state}");
        let asked = ["create", &name, "--mode", "640", "--durability", "relaxed", "--owner", state];
        let made = bucket(place, &asked);
        assert_eq!(
            made,
            json!({ "s3_name": name, "name": name, "mode": "640", "uid": 4321, "durability": "relaxed", "bytes": 0, "inodes": 1 })
        );
        assert_eq!(bucket(place, &["show", &name]), made);
        let again = refused(place, &["create", &name]);
        assert!(again.contains("exists already; nothing was changed; choose another name"), "{again}");
        let nobody = refused(place, &["create", "nobodys", "--owner", "nobody\x1b[31m"]);
        assert!(nobody.contains("there is no user 'nobody\\u{1b}[31m'; nothing was changed"), "{nobody}");
        assert!(!names(place).contains(&"nobodys".to_owned()));
        for mode in ["755", "x"] {
            let output = run(&["bucket", "create", "mode", "--mode", mode, "--data", &place.data_arg()]);
            assert_eq!(output.status.code(), Some(2));
        }
    });
    let place = Place::new();
    let server = place.serve(1, &[]);
    let (access_key, secret_key) = add_user(&place, "eve", &[]);
    bucket(&place, &["create", "eves", "--owner", "eve"]);
    let eve = S3::of(&server).with_keys(&access_key, &secret_key);
    assert_eq!(eve.send("PUT", "/eves/key", "", &[], b"x").status, 200, "it is hers");
    let dir = Nfs::of(&server).lookup("/eves").and_then(|dir| Nfs::of(&server).getattr(&dir)).unwrap();
    assert_eq!(dir.mode & 0o777, 0o700);
    let table = run(&["bucket", "create", "shown", "--mode", "644", "--data", &place.data_arg()]);
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.contains("shown") && table.contains("644") && table.contains("owner's uid"), "{table}");
}

#[test]
fn names_that_no_bucket_can_have_are_refused_and_change_nothing() {
    running_and_resting(|place, state| {
        let name = format!("there-{state}");
        bucket(place, &["create", &name]);
        let before = names(place);
        let long = "x".repeat(100_000);
        let too_long = "x".repeat(256);
        let odd = ["", ".", "..", "../x", "a/b", "/", ".~strata~o~x", "a\nb\x1b[2J/", &too_long, &long];
        // Each is a start of the store where no server runs.
        for odd in &odd[if state == "running" { 0.. } else { 7.. }] {
            for arguments in
                [&["create", odd][..], &["rename", &name, odd], &["rename", odd, "new"], &["remove", odd, "--yes"]]
            {
                let said = refused(place, arguments);
                assert!(said.contains("nothing was changed"), "{said}");
                assert!(said.len() < 1000 && said.lines().count() == 1 && !said.contains('\x1b'), "{said}");
            }
        }
        let alias = format!(".~strata~d~{name}");
        for odd in [&format!("{name}/"), &alias] {
            assert!(refused(place, &["rename", odd, "new"]).contains("there is no bucket"));
            assert!(refused(place, &["remove", odd, "--yes"]).contains("there is no bucket"));
        }
        assert_eq!(names(place), before);
    });
}

#[test]
fn a_bucket_of_any_name_is_made_renamed_and_removed_by_either_of_its_names() {
    running_and_resting(|place, _| {
        for name in ["My Files", "Photos", "a\nb\x1b[2J", "ümlaut", ".Trash-1000", "192.168.0.1", "ab"] {
            let made = bucket(place, &["create", name]);
            let s3_name = made["s3_name"].as_str().unwrap().to_owned();
            assert!(made["name"] == name && s3_name.ends_with("--strata"), "{made}");
            assert_eq!(bucket(place, &["show", &s3_name])["name"], name);
            let listed = run(&["bucket", "list", "--data", &place.data_arg()]);
            let listed = String::from_utf8(listed.stdout).unwrap();
            assert!(
                listed.contains(&s3_name) && listed.contains("(files at the top)") && !listed.contains('\x1b'),
                "{listed}"
            );
            let said = refused(place, &["create", name]);
            assert!(said.contains("exists already") && said.lines().count() == 1 && !said.contains('\x1b'), "{said}");
            let renamed = bucket(place, &["rename", &s3_name, "plain"]);
            assert_eq!((&renamed["name"], &renamed["s3_name"]), (&json!("plain"), &json!("plain")));
            bucket(place, &["rename", "plain", name]);
            bucket(place, &["set", name, "--mode", "640"]);
            bucket(place, &["remove", &s3_name]);
        }
        assert_eq!(names(place), Vec::<String>::new());
    });
}

#[test]
fn the_bucket_of_the_files_at_the_top_is_shown_set_and_called_as_it_is_set() {
    let place = Place::new();
    let server = place.serve(1, &["--top-bucket", "loose"]);
    let s3 = S3::of(&server);
    assert_eq!(s3.send("PUT", "/loose/f", "", &[], b"x").status, 200);
    assert_eq!(WebDav::of(&server).send("GET", "/f", &[], b"").status, 200);
    assert_eq!(bucket(&place, &["show", "loose"])["top"], true);
    assert_eq!(bucket(&place, &["set", "loose", "--mode", "644"])["mode"], "644");
    for arguments in [&["rename", "loose", "other"][..], &["remove", "loose"], &["remove", "loose", "--yes"]] {
        assert!(refused(&place, arguments).contains("cannot be removed or renamed"));
    }
    bucket(&place, &["create", "loose"]);
    assert_eq!(s3.send("GET", "/loose/f", "", &[], b"").status, 404);
    assert_eq!(s3.send("GET", "/loose-1--strata/f", "", &[], b"").status, 200);
    let listed = run(&["bucket", "list", "--data", &place.data_arg()]);
    assert!(String::from_utf8(listed.stdout).unwrap().contains("S3 calls them loose-1--strata; rename the folder"));
    assert!(server.stop().success());
    let refused = run(&["serve", "--top-bucket", "No Name", "--data", &place.data_arg()]);
    assert!(refused.status.code() == Some(2) && complaint(&refused).contains("top-bucket"), "{}", complaint(&refused));
}

#[test]
fn a_bucket_that_is_renamed_goes_by_its_new_name_alone_at_every_door() {
    let place = Place::new();
    let server = place.serve_with_drive(1);
    let (s3, dav) = (S3::of(&server), WebDav::of(&server));
    bucket(&place, &["create", "old", "--mode", "640"]);
    bucket(&place, &["create", "taken"]);
    assert_eq!(s3.send("PUT", "/old/dir/key", "", &[], b"value").status, 200);
    let upload = s3.send("POST", "/old/parts", "uploads=", &[], b"").text();
    let lock = r#"<lockinfo xmlns="DAV:"><lockscope><exclusive/></lockscope><locktype><write/></locktype></lockinfo>"#;
    assert_eq!(dav.send("LOCK", "/old/dir/key", &[], lock.as_bytes()).status, 200);
    let mut open = server.doors["mount"].is_object().then(|| {
        let drive = Drive(place.drive());
        (std::fs::File::open(drive.at("/old/dir/key")).unwrap(), drive)
    });

    let said = refused(&place, &["rename", "old", "taken"]);
    assert!(said.contains("'taken' exists already; nothing was changed; choose another name"), "{said}");
    let said = refused(&place, &["rename", "nowhere", "new"]);
    assert!(said.contains("there is no bucket 'nowhere'; nothing was changed; `strata bucket list`"), "{said}");
    let renamed = bucket(&place, &["rename", "old", "new"]);
    let uid = rustix::process::getuid().as_raw();
    let shown = json!({ "name": "new", "s3_name": "new", "mode": "640", "uid": uid, "durability": "strict", "bytes": 5, "inodes": 3, "renamed_from": "old" });
    assert_eq!(renamed, shown);
    assert_eq!(names(&place), ["new", "taken"]);

    for door in doors::all(&server) {
        assert_eq!(door.get("/new/dir/key").as_deref(), Some(&b"value"[..]), "{}", door.name());
        assert_eq!(door.get("/old/dir/key"), None, "{}", door.name());
    }
    let answer = s3.send("GET", "/old/dir/key", "", &[], b"");
    assert!(answer.status == 404 && answer.text().contains("NoSuchBucket"), "{}", answer.text());
    assert_eq!(Nfs::of(&server).lookup("/old"), Err(nfs::NOENT));
    assert!(s3.send("GET", "/new", "uploads=", &[], b"").text().contains("<Key>parts</Key>"), "{upload}");
    assert_eq!(dav.send("PUT", "/new/dir/key", &[], b"other").status, 204, "the lock was on the old name");
    if let Some((file, drive)) = &mut open {
        use std::os::unix::fs::FileExt;
        let mut found = [0; 5];
        file.read_exact_at(&mut found, 0).unwrap();
        assert_eq!(&found, b"value", "who has a file open goes on reading what it was");
        assert!(!drive.at("/old").exists());
    }
    drop(open);
    s3.make_bucket("old");
    assert!(server.stop().success());
    assert!(refused(&place, &["rename", "new", "old"]).contains("exists already"));
    bucket(&place, &["rename", "new", "newest"]);
    assert_eq!(names(&place), ["newest", "old", "taken"]);
}

#[test]
fn a_bucket_in_use_is_removed_with_yes_alone_and_nothing_else_goes() {
    let place = Place::new();
    let server = place.serve_with_drive(1);
    let s3 = S3::of(&server);
    bucket(&place, &["create", "box"]);
    bucket(&place, &["create", "empty"]);
    s3.make_bucket("other");
    s3.send("POST", "/box/parts", "uploads=", &[], b"");
    let said = refused(&place, &["remove", "box"]);
    assert!(said.contains("bucket 'box' is in use: 1 unfinished upload to it would be aborted"), "{said}");
    s3.send("POST", "/box/parts", "uploads=", &[], b"");
    for key in ["a", "a/b", "a/c/d", "e/", "f//g"] {
        assert_eq!(s3.send("PUT", &format!("/box/{key}"), "", &[], b"x").status, 200);
    }
    if server.doors["mount"].is_object() {
        let drive = Drive(place.drive());
        std::os::unix::fs::symlink("../other", drive.at("/box/out")).unwrap();
    }
    // The copy refers to content that is removed.
    let copied = s3.send("PUT", "/other/kept", "", &[("x-amz-copy-source", "/box/a/b")], b"");
    assert_eq!(copied.status, 200, "{}", copied.text());
    let said = refused(&place, &["remove", "box"]);
    let what = "bucket 'box' is not empty: it holds";
    assert!(said.contains(what) && said.contains("2 unfinished uploads to it would be aborted"), "{said}");
    assert!(said.contains("nothing was removed; empty it first, or remove it") && said.contains("--yes"), "{said}");
    assert_eq!(s3.send("GET", "/box/a/c/d", "", &[], b"").body, b"x");

    let unused = bucket(&place, &["remove", "empty"]);
    assert_eq!(unused, json!({ "removed": "empty", "names": 0, "uploads_aborted": 0 }));
    let removed = bucket(&place, &["remove", "box", "--yes"]);
    assert_eq!(removed["removed"], "box");
    assert_eq!(removed["uploads_aborted"], 2);
    assert!(removed["names"].as_u64() >= Some(8), "{removed}");
    assert_eq!(names(&place), ["other"]);
    for door in doors::all(&server) {
        assert_eq!(door.get("/other/kept").as_deref(), Some(&b"x"[..]), "{}", door.name());
        assert_eq!(door.get("/box/a/b"), None, "{}", door.name());
    }
    let said = refused(&place, &["remove", "box", "--yes"]);
    assert!(said.contains("there is no bucket 'box'; nothing was changed"), "{said}");
    s3.make_bucket("box");
    s3.send("PUT", "/box/a", "", &[], b"y");
    assert!(server.stop().success());
    assert!(refused(&place, &["remove", "box"]).contains("it holds 'a', a file; nothing was removed"));
    let words = run(&["bucket", "remove", "box", "--yes", "--data", &place.data_arg()]);
    let words = String::from_utf8(words.stdout).unwrap();
    assert!(words.contains("bucket box is removed, with 1 file or folder in it\n"), "{words}");
    assert_eq!(names(&place), ["other"]);
    assert!(run(&["fsck", "--data", &place.data_arg()]).status.success());
}

/// Whether a process handles SIGINT by now (proc(5): bit 1 of `SigCgt`).
fn handles_interrupts(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap_or("0");
    u64::from_str_radix(caught.trim(), 16).is_ok_and(|caught| caught & 2 != 0)
}

#[test]
fn a_removal_that_is_interrupted_says_what_is_left_and_goes_on_when_it_is_given_again() {
    let place = Place::new();
    let mut server = Some(place.serve(1, &[]));
    let s3 = S3::of(server.as_ref().unwrap());
    bucket(&place, &["create", "box", "--durability", "relaxed"]);
    for number in 0..1500 {
        assert_eq!(s3.send("PUT", &format!("/box/{}/{number}", number % 7), "", &[], b"x").status, 200);
    }
    let mut there: u64 = 1507;
    for state in ["running", "resting"] {
        let mut child = strata()
            .args(["bucket", "remove", "box", "--yes", "--data", &place.data_arg()])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        while !handles_interrupts(child.id()) && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let _ = kill_process(Pid::from_child(&child), Signal::INT);
        let output = child.wait_with_output().unwrap();
        let said = complaint(&output);
        // On a busy machine the command may have ended before the signal came.
        if !output.status.success() {
            assert_eq!(output.status.code(), Some(1), "{state}: {said}");
            assert!(said.contains("ended before it was complete") && said.contains("give the command again"), "{said}");
            let left = said
                .split_once("about ")
                .and_then(|(_, rest)| rest.split(' ').next())
                .map_or(there, |left| left.parse().unwrap());
            let before = std::mem::replace(&mut there, left);
            assert!(there <= before, "{state}: {said}");
        } else {
            there = 0;
        }
        assert_eq!(names(&place).contains(&"box".to_owned()), !output.status.success(), "{state}: {said}");
        if let Some(server) = server.take() {
            assert!(server.stop().success());
        }
        if output.status.success() {
            bucket(&place, &["create", "box"]);
        }
    }
    let removed = bucket(&place, &["remove", "box", "--yes"]);
    // A server may have been at a step of up to 16 names when the command was ended.
    let names_removed = removed["names"].as_u64().unwrap();
    assert!((there.saturating_sub(16)..=there).contains(&names_removed), "{there} were said to be left: {removed}");
    assert!(names(&place).is_empty());
    assert!(run(&["fsck", "--data", &place.data_arg()]).status.success());
}

#[test]
fn commands_on_the_same_bucket_at_once_end_with_one_state_that_all_agree_on() {
    let place = Place::new();
    let _server = place.serve(1, &[]);
    let data = place.data_arg();
    let at_once = |commands: &[&[&str]]| -> Vec<(bool, String)> {
        std::thread::scope(|scope| {
            let run_one = |arguments: &&[&str]| {
                let all: Vec<String> = [&["bucket"], *arguments, &["--data", &data]]
                    .concat()
                    .iter()
                    .map(|argument| (*argument).to_owned())
                    .collect();
                scope.spawn(move || {
                    let output = strata().args(all).output().unwrap();
                    (output.status.success(), complaint(&output))
                })
            };
            let running: Vec<_> = commands.iter().map(run_one).collect();
            running.into_iter().map(|one| one.join().unwrap()).collect()
        })
    };
    let succeeded = |ends: &[(bool, String)]| ends.iter().filter(|(success, _)| *success).count();
    let made = at_once(&[&["create", "box"], &["create", "box", "--mode", "644"]]);
    assert_eq!(succeeded(&made), 1, "{made:?}");
    let renamed = at_once(&[&["rename", "box", "one"], &["rename", "box", "two"]]);
    assert_eq!(succeeded(&renamed), 1, "{renamed:?}");
    assert!(renamed.iter().any(|(_, said)| said.contains("there is no bucket 'box'")), "{renamed:?}");
    let name = names(&place).pop().unwrap();
    let removed = at_once(&[&["remove", &name, "--yes"], &["remove", &name, "--yes"], &["remove", &name]]);
    assert!(succeeded(&removed) == 1 && names(&place).is_empty(), "{removed:?}");
    assert!(removed.iter().all(|(success, said)| *success || said.contains("strata bucket list")), "{removed:?}");
}
