//! Every door against every other: what is done through one is there, whole, at all of them, in the very next request
//! (invariant ONE).

use crate::doors::{self, Door};
use crate::s3::S3;
use crate::server::{Place, Server, noise};

/// Runs `body` with a bucket `b` for every door as the one who acts, and all doors as those who watch.
fn for_each_actor(body: impl Fn(&dyn Door, &[Box<dyn Door>], &str)) {
    let place = Place::new();
    let server = place.serve_with_drive(6);
    S3::of(&server).make_bucket("shared");
    let doors = doors::all(&server);
    for door in &doors {
        let folder = format!("/shared/{}", door.name());
        door.mkdir(&folder);
        body(&**door, &doors, &folder);
    }
    drop(doors);
    check_clean(server);
}

/// Ends the server and checks the store it leaves.
fn check_clean(server: Server<'_>) {
    let place = server.place;
    assert!(server.stop().success());
    let checked = crate::server::run(&["fsck", "--data", &place.data_arg()]);
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.success(), "{said}{}", crate::server::complaint(&checked));
}

/// Every door shows exactly `data` at `path`, and agrees on size, time and tag.
fn all_show(doors: &[Box<dyn Door>], path: &str, data: &[u8], by: &str) {
    let mut times = Vec::new();
    let mut tags = Vec::new();
    for door in doors {
        let name = door.name();
        let got = door.get(path).unwrap_or_else(|| panic!("{name} does not see {path}, written by {by}"));
        assert!(got == data, "{name} shows {} other bytes at {path}, written by {by}", got.len());
        let seen = door.look(path).unwrap_or_else(|| panic!("{name} does not see {path}"));
        assert_eq!(seen.size, data.len() as u64, "{name} shows another size of {path}, written by {by}");
        times.push((seen.mtime_secs, name));
        tags.extend(seen.etag.map(|tag| (tag, name)));
    }
    assert!(times.iter().all(|(time, _)| *time == times[0].0), "times of {path}, written by {by}: {times:?}");
    assert!(tags.iter().all(|(tag, _)| *tag == tags[0].0), "tags of {path}, written by {by}: {tags:?}");
}

fn none_shows(doors: &[Box<dyn Door>], path: &str, by: &str) {
    for door in doors {
        assert!(door.look(path).is_none(), "{} still sees {path}, which {by} took away", door.name());
        assert!(door.get(path).is_none(), "{} still reads {path}, which {by} took away", door.name());
    }
}

#[test]
fn what_one_door_writes_every_door_reads_whole() {
    for_each_actor(|actor, doors, folder| {
        for (name, len) in [("empty", 0), ("byte", 1), ("small", 1000), ("chunks", 300_000), ("large", 3_000_001)] {
            let (path, data) = (format!("{folder}/{name}"), noise(len, len as u64));
            actor.put(&path, &data);
            all_show(doors, &path, &data, actor.name());
        }
    });
}

#[test]
fn what_one_door_replaces_every_door_sees_replaced() {
    for_each_actor(|actor, doors, folder| {
        for before in doors {
            let path = format!("{folder}/by-{}", before.name());
            before.put(&path, &noise(70_000, 1));
            // Read once through all doors, so that every cache has something to forget.
            all_show(doors, &path, &noise(70_000, 1), before.name());
            actor.put(&path, &noise(40_000, 2));
            all_show(doors, &path, &noise(40_000, 2), actor.name());
        }
    });
}

#[test]
fn what_one_door_renames_every_door_finds_under_its_new_name_only() {
    for_each_actor(|actor, doors, folder| {
        let (from, to) = (format!("{folder}/old name"), format!("{folder}/n\u{e9}w name"));
        doors[0].put(&from, &noise(5000, 3));
        all_show(doors, &from, &noise(5000, 3), doors[0].name());
        assert!(actor.rename(&from, &to));
        none_shows(doors, &from, actor.name());
        all_show(doors, &to, &noise(5000, 3), actor.name());
    });
}

#[test]
fn what_one_door_removes_is_gone_at_every_door() {
    for_each_actor(|actor, doors, folder| {
        let path = format!("{folder}/doomed");
        for writer in doors {
            writer.put(&path, b"short life");
            all_show(doors, &path, b"short life", writer.name());
            actor.remove(&path);
            none_shows(doors, &path, actor.name());
        }
    });
}

#[test]
fn what_one_door_cuts_or_extends_has_that_length_at_every_door() {
    for_each_actor(|actor, doors, folder| {
        let (path, data) = (format!("{folder}/elastic"), noise(200_000, 4));
        doors[0].put(&path, &data);
        if actor.truncate(&path, 100_001) {
            all_show(doors, &path, &data[..100_001], actor.name());
            assert!(actor.truncate(&path, 150_000));
            let mut longer = data[..100_001].to_vec();
            longer.resize(150_000, 0);
            all_show(doors, &path, &longer, actor.name());
        }
    });
}

#[test]
fn what_one_door_writes_into_the_middle_and_at_the_end_every_door_sees() {
    for_each_actor(|actor, doors, folder| {
        for before in doors {
            let (path, mut data) = (format!("{folder}/patched-by-{}", before.name()), noise(250_000, 5));
            before.put(&path, &data);
            all_show(doors, &path, &data, before.name());
            if actor.write_at(&path, 123_456, b"in the middle") {
                data[123_456..][..13].copy_from_slice(b"in the middle");
                all_show(doors, &path, &data, actor.name());
                assert!(actor.write_at(&path, 250_000, b"at the end"));
                data.extend_from_slice(b"at the end");
                all_show(doors, &path, &data, actor.name());
            }
        }
    });
}

#[test]
fn a_directory_of_one_door_takes_files_of_every_other() {
    for_each_actor(|actor, doors, folder| {
        let inner = format!("{folder}/inner");
        assert!(actor.mkdir(&inner));
        for door in doors {
            let path = format!("{inner}/{}", door.name());
            door.put(&path, door.name().as_bytes());
            all_show(doors, &path, door.name().as_bytes(), door.name());
        }
    });
}
