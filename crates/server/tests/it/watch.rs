//! `strata watch`: changes through any door are reported once, in order, to every reader, also over a kill.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::nfs::Nfs;
use crate::s3::S3;
use crate::server::{Place, complaint, run, strata};
use crate::webdav::WebDav;

/// What `strata watch` prints until there is nothing more.
fn watched(place: &Place, arguments: &[&str]) -> Vec<Value> {
    let data = place.data_arg();
    let all = [&["watch", "--once", "--json", "--data", &data], arguments].concat();
    let output = run(&all);
    assert!(output.status.success(), "{all:?}: {}", complaint(&output));
    String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn text<'a>(event: &'a Value, field: &str) -> &'a str {
    event[field].as_str().unwrap_or_default()
}

#[test]
fn changes_are_told_from_every_door_with_who_made_them() {
    let place = Place::new();
    let server = place.serve(1, &[]);
    let s3 = S3::of(&server);
    s3.make_bucket("box");
    assert_eq!(s3.send("PUT", "/box/d/one", "", &[], b"four").status, 200);
    assert_eq!(WebDav::of(&server).send("PUT", "/box/two", &[], b"content").status, 201);
    let nfs = Nfs::of(&server);
    nfs.rename("/box/two", "/box/d/three").unwrap();
    nfs.remove("/box/d/three").unwrap();
    let all = watched(&place, &["--from", "start"]);
    let brief: Vec<_> =
        all.iter().map(|event| (text(event, "what"), text(event, "key"), text(event, "door"))).collect();
    assert_eq!(
        brief,
        [
            ("bucket-made", "", "s3"),
            ("content", "d/one", "s3"),
            ("content", "two", "webdav"),
            ("renamed", "d/three", "nfs"),
            ("removed", "d/three", "nfs"),
        ]
    );
    let put = &all[1];
    assert_eq!((text(put, "made"), put["new"].as_bool(), put["dirs"].as_u64()), ("put", Some(true), Some(1)));
    assert_eq!((put["size"].as_u64(), put["version"].as_u64(), text(put, "kind")), (Some(4), Some(1), "file"));
    assert_eq!(text(put, "etag"), "8cbad96aced40b3838dd9f07f6ef5772");
    assert!(!text(put, "user").is_empty() && text(put, "at").ends_with('Z'));
    assert_eq!((text(&all[3]["from"], "key"), text(&all[3]["from"], "bucket")), ("two", "box"));
    // From a place on, and only what concerns a prefix, by the previous name too.
    let behind = watched(&place, &["--from", text(&all[2], "seq")]);
    assert_eq!(behind, all[3..]);
    assert_eq!(watched(&place, &["--from", "start", "box/tw"]), all[2..4]);
    assert_eq!(watched(&place, &["--from", "start", "other"]), Vec::<Value>::new());
    assert_eq!(watched(&place, &[]), Vec::<Value>::new(), "from now on there is nothing");
    let words = run(&["watch", "--once", "--from", "start", "box/d", "--data", &place.data_arg()]);
    let words = String::from_utf8(words.stdout).unwrap();
    let lines: Vec<&str> = words.lines().collect();
    assert_eq!(lines.len(), 3, "{words}");
    assert!(
        lines[0].contains("  s3  ") && lines[0].contains("new (put)") && lines[0].ends_with("box/d/one  4 B"),
        "{words}"
    );
    assert!(lines[1].ends_with("box/two -> box/d/three"), "{words}");
    drop(server);
}

#[test]
fn a_named_reader_goes_on_where_it_ended_whoever_is_killed() {
    let place = Place::new();
    let server = place.serve(1, &[]);
    let s3 = S3::of(&server);
    s3.make_bucket("box");
    let put = |s3: &S3, key: &str| assert_eq!(s3.send("PUT", &format!("/box/{key}"), "", &[], b"x").status, 200);
    let keys = |events: &[Value]| events.iter().map(|event| text(event, "key").to_owned()).collect::<Vec<_>>();
    assert_eq!(keys(&watched(&place, &["--cursor", "audit", "--from", "start"])), [""]);
    put(&s3, "a");
    // A reader that follows, and is killed.
    let mut command = strata();
    command.args(["watch", "--json", "--cursor", "audit", "--data", &place.data_arg()]);
    let mut follower = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(text(&next(), "key"), "a");
    put(&s3, "b");
    assert_eq!(text(&next(), "key"), "b");
    put(&s3, "c");
    assert_eq!(text(&next(), "key"), "c");
    kill_process(Pid::from_child(&follower), Signal::KILL).unwrap();
    follower.wait().unwrap();
    server.kill();
    let server = place.serve_again(&[]);
    put(&S3::of(&server), "d");
    let mut rest = keys(&watched(&place, &["--cursor", "audit"]));
    // The last change that was printed may not have been confirmed; all earlier ones were.
    if rest.first().is_some_and(|key| key == "c") {
        rest.remove(0);
    }
    assert_eq!(rest, ["d"]);
    let list = run(&["watch", "--list", "--json", "--data", &place.data_arg()]);
    let list: Value = serde_json::from_slice(&list.stdout).unwrap();
    assert_eq!((text(&list[0], "name"), list.as_array().unwrap().len()), ("audit", 1));
    assert!(list[0]["commits_behind"].as_u64().unwrap() <= 1, "{list}");
    let forget = |name: &str| run(&["watch", "--forget", name, "--data", &place.data_arg()]);
    assert!(forget("audit").status.success());
    let again = forget("audit");
    assert!(complaint(&again).contains("there is no reader called 'audit'"), "{}", complaint(&again));
    let bad = run(&["watch", "--cursor", "a b", "--once", "--data", &place.data_arg()]);
    assert!(complaint(&bad).contains("is no name of a cursor"), "{}", complaint(&bad));
    assert!(server.stop().success());
    let nobody = run(&["watch", "--once", "--data", &place.data_arg()]);
    assert!(complaint(&nobody).contains("no server has this store open"), "{}", complaint(&nobody));
}

#[test]
fn who_is_interrupted_or_read_no_longer_ends_in_order() {
    let place = Place::new();
    let server = place.serve(1, &[]);
    S3::of(&server).make_bucket("box");
    let begin = || {
        let mut command = strata();
        command.args(["watch", "--json", "--from", "start", "--data", &place.data_arg()]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.next().unwrap().unwrap().contains("bucket-made"));
        (child, lines)
    };
    let (mut child, _lines) = begin();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert!(child.wait().unwrap().success(), "Ctrl-C ends it");
    let (mut child, lines) = begin();
    drop(lines);
    assert_eq!(S3::of(&server).send("PUT", "/box/a", "", &[], b"x").status, 200);
    assert!(child.wait().unwrap().success(), "nobody reads any more");
    drop(server);
}

#[test]
fn a_bucket_is_named_by_its_folder_or_as_s3_calls_it_and_one_that_is_not_there_is_said_to_be_none() {
    let place = Place::new();
    let server = place.serve(1, &[]);
    let dav = WebDav::of(&server);
    assert_eq!(dav.send("MKCOL", "/My Files", &[], b"").status, 201);
    assert_eq!(dav.send("PUT", "/My Files/a", &[], b"x").status, 201);
    let told = watched(&place, &["--from", "start", "My Files/a"]);
    assert_eq!(told.len(), 1, "{told:?}");
    let alias = text(&told[0], "bucket").to_owned();
    assert!(alias.ends_with("--strata"), "{alias}");
    assert_eq!(watched(&place, &["--from", "start", &format!("{alias}/a")]), told);
    let none = run(&["watch", "--once", "--from", "start", "nowhere/a", "--data", &place.data_arg()]);
    assert!(none.status.success() && none.stdout.is_empty());
    assert!(complaint(&none).contains("there is no bucket 'nowhere' now"), "{}", complaint(&none));
    server.stop();
    let gone = run(&["watch", "--from", "start", "--data", &place.data_arg()]);
    assert!(!gone.status.success());
}
