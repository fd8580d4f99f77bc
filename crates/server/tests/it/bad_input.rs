//! Wrong input by people: each gets a fitting message, the right exit code, and nothing is changed.

use std::net::TcpListener;
use std::path::Path;

use crate::http;
use crate::s3::S3;
use crate::server::{Place, can_mount, complaint, noise, run};
use crate::webdav::WebDav;

/// Runs the binary and expects this exit code and these words.
#[track_caller]
fn refused(arguments: &[&str], code: i32, words: &[&str]) {
    let output = run(arguments);
    let said = complaint(&output);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    for word in words {
        assert!(said.contains(word), "{arguments:?} lacks `{word}`: {said}");
    }
}

fn serve<'a>(data: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["serve", "--data", data, "--ports", "auto", "--segment-size", "16MiB"], more].concat()
}

#[test]
fn a_port_in_use_is_named_and_nothing_is_made() {
    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for door in ["s3", "webdav", "nfs", "admin"] {
        let flag = format!("--{door}-listen");
        refused(
            &serve(&place.data_arg(), &[&flag, &address]),
            1,
            &[&format!("the {door} door cannot listen on {address}"), &flag, "in use"],
        );
    }
    assert!(!place.data().exists());
}

#[test]
fn a_second_server_on_a_store_is_refused_with_the_first_ones_number() {
    let place = Place::new();
    let server = place.serve(1, &[]);
    let pid = format!("another strata server (pid {}) holds this store", server.pid());
    refused(&serve(&place.data_arg(), &[]), 3, &[&pid]);
    let repair = ["fsck", "--repair", "--yes", "--data", &place.data_arg()];
    refused(&repair, 1, &["stop the server first", &server.pid().to_string()]);
    assert_eq!(S3::of(&server).send("GET", "/", "", &[], b"").status, 200, "the first one is not disturbed");
    assert!(place.data().join("doors.json").exists());
}

#[test]
fn a_disk_in_use_by_another_store_is_refused() {
    let (one, two) = (Place::new(), Place::new());
    let _server = one.serve(2, &[]);
    let disk = one.data().join("disk0").display().to_string();
    refused(&serve(&two.data_arg(), &["--disk", &disk]), 3, &[&format!("another strata server holds {disk}")]);
}

#[test]
fn a_disk_of_another_store_is_refused() {
    let (one, two) = (Place::new(), Place::new());
    for place in [&one, &two] {
        assert!(place.serve(2, &[]).stop().success());
    }
    let (own, foreign) = (one.data().join("disk0"), two.data().join("disk1"));
    let before = std::fs::read(foreign.join("superblock")).unwrap();
    let (own, foreign) = (own.display().to_string(), foreign.display().to_string());
    refused(
        &serve(&one.data_arg(), &["--disk", &own, "--disk", &foreign]),
        1,
        &["belongs to set", "nothing was changed"],
    );
    assert_eq!(std::fs::read(Path::new(&foreign).join("superblock")).unwrap(), before);
}

#[test]
fn a_new_store_does_not_take_a_disk_that_belongs_to_one() {
    let (one, two) = (Place::new(), Place::new());
    assert!(one.serve(2, &[]).stop().success());
    let (used, fresh) = (one.data().join("disk0").display().to_string(), two.beside("fresh"));
    std::fs::create_dir(&fresh).unwrap();
    let fresh_arg = fresh.display().to_string();
    let words = [&*used, "holds a store", &*fresh_arg, "blank", "nothing was changed"];
    refused(&serve(&two.data_arg(), &["--disk", &used, "--disk", &fresh_arg]), 1, &words);
    assert!(std::fs::read_dir(&fresh).unwrap().next().is_none(), "nothing was written to the fresh disk");
}

#[test]
fn a_missing_disk_of_a_new_store_is_not_made_up() {
    let place = Place::new();
    let missing = place.beside("not-mounted").display().to_string();
    refused(&serve(&place.data_arg(), &["--disk", &missing]), 1, &[&missing, "nothing was changed", "mount the disk"]);
    assert!(!Path::new(&missing).exists());
}

#[test]
fn a_store_whose_disks_are_all_gone_is_not_made_anew() {
    let place = Place::new();
    assert!(place.serve(2, &[]).stop().success());
    for disk in ["disk0", "disk1"] {
        std::fs::rename(place.data().join(disk), place.beside(disk)).unwrap();
    }
    refused(&serve(&place.data_arg(), &[]), 1, &["none of the store's 2 disks is there", "nothing was changed"]);
    // Empty folders, like mount points whose disks are missing.
    for disk in ["disk0", "disk1"] {
        std::fs::create_dir(place.data().join(disk)).unwrap();
    }
    refused(&serve(&place.data_arg(), &[]), 1, &["holds no disk of this store", "mount the right ones"]);
    assert!(std::fs::read_dir(place.data().join("disk0")).unwrap().next().is_none());
}

#[test]
fn too_few_disks_are_named() {
    let place = Place::new();
    assert!(place.serve(3, &[]).stop().success());
    for disk in ["disk0", "disk1"] {
        std::fs::rename(place.data().join(disk), place.beside(disk)).unwrap();
    }
    refused(&serve(&place.data_arg(), &[]), 1, &["1 disks of the set are usable, 2 are needed"]);
}

#[test]
fn a_store_keeps_its_layout() {
    let place = Place::new();
    assert!(place.serve(3, &[]).stop().success());
    refused(&serve(&place.data_arg(), &["--disks", "4"]), 2, &["has 3 disks (2+1), not 4"]);
    refused(&serve(&place.data_arg(), &["--parity", "2"]), 2, &["was made with parity 1, not 2"]);
}

#[test]
fn settings_that_make_no_sense_leave_nothing_behind() {
    let place = Place::new();
    for (more, word) in [
        (vec!["--cache-size", "1KiB"], "too small; at least 16 MiB"),
        (vec!["--cache-size", "lots"], "such as 64MiB"),
        (vec!["--disks", "99"], "1 to 20 disks"),
        (vec!["--disks", "2", "--parity", "2"], "parity is at most 1"),
        (vec!["--s3-listen", "somewhere"], "such as 127.0.0.1:9000"),
        (vec!["--prots", "auto"], "--ports"),
        (vec!["--config", "/nowhere.toml"], "/nowhere.toml cannot be read"),
    ] {
        refused(&serve(&place.data_arg(), &more), 2, &[word]);
    }
    let file = place.beside("strata.toml");
    std::fs::write(&file, "s3-lisen = 'off'\n").unwrap();
    refused(
        &serve(&place.data_arg(), &["--config", &file.display().to_string()]),
        2,
        &["unknown key `s3-lisen`", "did you mean `s3-listen`?"],
    );
    assert!(!place.data().exists());
}

#[test]
fn variables_are_settings_and_flags_beat_them() {
    let place = Place::new();
    let with = |flags: &[&str]| {
        let output = crate::server::strata()
            .args(flags)
            .env("STRATA_DATA", place.data())
            .env("STRATA_PARITY", "9")
            .output()
            .unwrap();
        complaint(&output)
    };
    assert!(with(&["serve", "--disks", "3"]).contains("parity 9 with 3 disks"));
    assert!(with(&["serve", "--disks", "3", "--parity", "7"]).contains("parity 7 with 3 disks"));
}

#[test]
fn commands_for_a_store_that_is_not_there_make_none() {
    let place = Place::new();
    for command in [&["status"][..], &["fsck"], &["user", "list"]] {
        refused(
            &[command, &["--data", &place.data_arg()]].concat(),
            1,
            &["there is no store in", "strata serve --data"],
        );
    }
    assert!(!place.data().exists());
}

#[test]
fn wrong_credentials_are_refused_at_every_door() {
    let place = Place::new();
    let server = place.serve(1, &[]);
    let s3 = S3::of(&server);
    let key = server.door("s3", "access_key");
    for wrong in [s3.with_keys(&key, "not the secret"), s3.with_keys("NOBODYNOBODYNOBODY12", "whatever")] {
        assert_eq!(wrong.send("PUT", "/box", "", &[], b"").status, 403);
    }
    let unsigned = http::request(http::authority(&server.door("s3", "endpoint")), "PUT", "/box", &[], b"");
    assert_eq!(unsigned.status, 403);
    let dav = WebDav::of(&server).with_password("admin", "not the secret");
    assert_eq!(dav.send("MKCOL", "/box", &[], b"").status, 401);
    let admin = server.door("admin", "url");
    let status = http::request(http::authority(&admin), "GET", "/v1/status", &[("authorization", "Bearer wrong")], b"");
    assert_eq!(status.status, 401);
    assert_eq!(s3.send("GET", "/box", "", &[], b"").status, 404, "nobody made the bucket");
}

#[test]
fn a_folder_with_files_is_not_mounted_over() {
    if !can_mount() {
        return;
    }
    let place = Place::new();
    std::fs::create_dir(place.drive()).unwrap();
    std::fs::write(place.drive().join("precious"), "").unwrap();
    refused(
        &serve(&place.data_arg(), &["--mount", &place.drive().display().to_string()]),
        1,
        &["is not empty", "nothing was mounted"],
    );
    assert!(place.drive().join("precious").exists());
}

#[test]
fn a_full_disk_refuses_new_data_and_keeps_the_old() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: a disk that is small enough to fill needs root");
        return;
    }
    let place = Place::new();
    let disk = place.beside("small");
    std::fs::create_dir(&disk).unwrap();
    let options = c"size=72m,mode=700";
    if rustix::mount::mount("tmpfs", &disk, "tmpfs", rustix::mount::MountFlags::empty(), Some(options)).is_err() {
        eprintln!("skipped: this machine mounts no tmpfs");
        return;
    }
    let server = place.serve_on(&[&disk], &[]);
    let s3 = S3::of(&server);
    s3.make_bucket("box");
    assert_eq!(s3.send("PUT", "/box/first", "", &[], b"old").status, 200);
    let refusal = (1..30_u64).find_map(|number| {
        let answer = s3.send("PUT", &format!("/box/{number}"), "", &[], &noise(4_000_000, number));
        (answer.status != 200).then_some(answer)
    });
    let refusal = refusal.expect("120 MB do not fit on 72");
    assert!([503, 507].contains(&refusal.status), "{} {}", refusal.status, refusal.text());
    assert_eq!(s3.send("GET", "/box/first", "", &[], b"").body, b"old");
    let status = server.stop();
    rustix::mount::unmount(&disk, rustix::mount::UnmountFlags::DETACH).unwrap();
    assert!(status.code().is_some(), "{status}");
}
