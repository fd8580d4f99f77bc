//! How a server starts and ends, and what is there afterwards.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::doors;
use crate::drive::Drive;
use crate::http;
use crate::s3::S3;
use crate::server::{Place, can_mount, noise};
use crate::webdav::WebDav;

#[test]
fn a_started_server_publishes_its_doors_privately_and_withdraws_them_at_its_end() {
    let place = Place::new();
    let server = place.serve_with_drive(6);
    let file = place.data().join("doors.json");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::metadata(place.data()).unwrap().permissions().mode() & 0o777, 0o700);
    for door in doors::all(&server) {
        assert!(door.look("/none/such").is_none(), "{} answers", door.name());
    }
    let admin = server.door("admin", "url");
    assert_eq!(http::request(http::authority(&admin), "GET", "/health/ready", &[], b"").text(), "ready\n");
    assert!(server.stop().success());
    assert!(!file.exists());
    assert!(!place.data().join("control.sock").exists());
}

#[test]
fn the_drive_is_gone_when_the_server_is() {
    if !can_mount() {
        return;
    }
    let place = Place::new();
    let server = place.serve_with_drive(1);
    let drive = Drive(server.door("mount", "path").into());
    std::fs::create_dir(drive.at("/box")).unwrap();
    drive.put("/box/f", b"kept").unwrap();
    // A program keeps a file open: the server ends all the same.
    let open = std::fs::File::open(drive.at("/box/f")).unwrap();
    assert!(server.stop().code().is_some());
    drop(open);
    assert!(std::fs::read_dir(place.drive()).unwrap().next().is_none(), "an empty folder remains");
}

#[test]
fn unmounting_the_drive_from_outside_ends_the_server() {
    if !can_mount() || !rustix::process::geteuid().is_root() {
        eprintln!("skipped: unmounting somebody else's mount needs root");
        return;
    }
    let place = Place::new();
    let mut server = place.serve_with_drive(1);
    rustix::mount::unmount(place.drive(), rustix::mount::UnmountFlags::empty()).unwrap();
    assert!(server.wait().success(), "{}", server.log());
}

#[test]
fn what_was_acknowledged_survives_a_kill_and_the_keys_stay() {
    let place = Place::new();
    let server = place.serve_with_drive(6);
    S3::of(&server).make_bucket("box");
    let keys = (server.door("s3", "access_key"), server.door("s3", "secret_key"));
    let count = doors::all(&server).len();
    for (number, door) in doors::all(&server).iter().enumerate() {
        door.put(&format!("/box/{}", door.name()), &vec![u8::try_from(number).unwrap(); 100_000]);
    }
    server.kill();

    let server = place.serve_with_drive(6);
    assert_eq!((server.door("s3", "access_key"), server.door("s3", "secret_key")), keys);
    let doors = doors::all(&server);
    assert_eq!(doors.len(), count);
    for reader in &doors {
        for (number, writer) in doors.iter().enumerate() {
            let data = reader.get(&format!("/box/{}", writer.name())).expect("it was acknowledged");
            assert!(data == vec![u8::try_from(number).unwrap(); 100_000], "{} reads {}", reader.name(), writer.name());
        }
    }
    assert!(server.stop().success());
}

#[test]
fn a_server_starts_at_once_after_its_predecessor_was_killed() {
    let place = Place::new();
    let mut server = place.serve(6, &[]);
    let s3 = S3::of(&server);
    s3.make_bucket("box");
    for number in 0..8 {
        // The kernel takes time to free much memory.
        s3.send("PUT", &format!("/box/{number}"), "", &[], &noise(16 << 20, number));
    }
    for round in 0..4 {
        // On the same port, which is also free only when the process is gone.
        let port = http::authority(&server.door("s3", "endpoint")).to_owned();
        server.signal(Signal::KILL);
        if round % 2 == 1 {
            // Other commands wait in the same way, and find a store at rest.
            let status = crate::commands::status(&place);
            assert!(status["server"].is_null(), "{status}");
        }
        let next = place.serve(6, &["--s3-listen", &port]);
        server = next;
    }
    assert!(server.stop().success());
}

#[test]
fn the_index_may_be_deleted() {
    let place = Place::new();
    let server = place.serve(3, &[]);
    let s3 = S3::of(&server);
    s3.make_bucket("box");
    s3.send("PUT", "/box/key", "", &[], b"value");
    assert!(server.stop().success());
    std::fs::remove_dir_all(place.data().join("index")).unwrap();
    let server = place.serve(3, &[]);
    assert_eq!(S3::of(&server).send("GET", "/box/key", "", &[], b"").body, b"value");
}

#[test]
fn two_disks_of_six_may_be_missing_at_a_start() {
    let place = Place::new();
    let server = place.serve(6, &[]);
    let s3 = S3::of(&server);
    s3.make_bucket("box");
    s3.send("PUT", "/box/before", "", &[], &vec![7; 400_000]);
    assert!(server.stop().success());
    for lost in ["disk1", "disk4"] {
        std::fs::rename(place.data().join(lost), place.beside(lost)).unwrap();
    }
    let server = place.serve(6, &[]);
    let s3 = S3::of(&server);
    assert!(s3.send("GET", "/box/before", "", &[], b"").body == vec![7; 400_000]);
    assert!(server.log().contains("this disk is missing"));
    let status = crate::commands::status(&place);
    let states: Vec<&str> =
        status["disks"].as_array().unwrap().iter().map(|disk| disk["state"].as_str().unwrap()).collect();
    assert_eq!(states.iter().filter(|state| **state == "missing").count(), 2, "{states:?}");
}

#[test]
fn a_second_signal_does_not_wait_for_running_requests() {
    let place = Place::new();
    let mut server = place.serve(1, &["--drain-seconds", "600"]);
    // A request that never ends: a body is announced and does not come.
    let endless = WebDav::of(&server).begin("PUT", "/x", &[("expect", "100-continue"), ("content-length", "1000000")]);
    server.signal(Signal::TERM);
    std::thread::sleep(std::time::Duration::from_millis(500));
    server.signal(Signal::TERM);
    let status = server.wait();
    assert!([Some(0), Some(4)].contains(&status.code()), "{status}");
    drop(endless);
}

#[test]
fn a_server_that_lets_its_requests_end_answers_for_its_health_until_the_last_has() {
    let place = Place::new();
    let mut server = place.serve(1, &[]);
    let (webdav, admin) = (WebDav::of(&server), server.door("admin", "url"));
    assert_eq!(webdav.send("MKCOL", "/box", &[], b"").status, 201);
    let mut last = webdav.begin("PUT", "/box/late", &[("content-length", "4"), ("connection", "close")]);
    // Its head is being worked on before the signal comes.
    std::thread::sleep(Duration::from_millis(300));
    server.signal(Signal::TERM);
    std::thread::sleep(Duration::from_millis(300));
    let ask = |path| http::request(http::authority(&admin), "GET", path, &[], b"").status;
    assert_eq!((ask("/health/live"), ask("/health/ready")), (200, 503));
    last.write_all(b"late").unwrap();
    let mut answer = String::new();
    last.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    assert!(server.wait().success());
    let server = place.serve(1, &[]);
    assert_eq!(WebDav::of(&server).send("GET", "/box/late", &[], b"").body, b"late");
}

#[test]
fn a_server_that_is_killed_while_programs_sync_folders_of_its_drive_ends_all_the_same() {
    if !can_mount() {
        return;
    }
    // Killed while it tells the kernel of a name in a folder that is being synced, it cannot end by itself: one kill in four.
    let place = Place::new();
    for round in 0..8 {
        let server = place.serve_with_drive(1);
        let s3 = S3::of(&server);
        if round == 0 {
            s3.make_bucket("box");
        }
        let folder = place.drive().join("box").display().to_string();
        let looping = format!("while sync '{folder}'; do :; done");
        let mut syncing: Vec<_> =
            (0..4).map(|_| Command::new("sh").args(["-c", &looping]).stderr(Stdio::null()).spawn().unwrap()).collect();
        std::thread::scope(|scope| {
            // Each writer ends by a panic when nobody answers any more.
            let writers: Vec<_> = (0..3)
                .map(|writer| {
                    let s3 = &s3;
                    scope.spawn(move || -> () {
                        loop {
                            s3.send("PUT", &format!("/box/{writer}"), "", &[], b"x");
                            s3.send("DELETE", &format!("/box/{writer}"), "", &[], b"");
                        }
                    })
                })
                .collect();
            std::thread::sleep(Duration::from_millis(400));
            server.kill();
            writers.into_iter().for_each(|writer| drop(writer.join()));
        });
        syncing.iter_mut().for_each(|program| drop(program.wait()));
    }
    let server = place.serve_with_drive(1);
    assert!(server.stop().success());
}

#[test]
fn a_server_asks_nothing_of_its_own_drive() {
    if !can_mount() {
        return;
    }
    // Killed while it waited for its own answer, it could never end: nobody would answer.
    let place = Place::new();
    let server = place.serve_with_drive(1);
    let admin = server.door("admin", "url");
    let metrics = http::request(http::authority(&admin), "GET", "/metrics", &[], b"").text();
    let asked = metrics.lines().filter(|line| line.starts_with("strata_door_requests") && line.contains("\"mount\""));
    let asked: Vec<&str> = asked.filter(|line| !line.ends_with(" 0")).collect();
    assert!(metrics.contains("\"mount\",method=\"getattr\"") && asked.is_empty(), "{asked:?}");
}
