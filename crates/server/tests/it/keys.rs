//! Secrets of users are sealed with the key beside the store, and nowhere else in clear.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::earlier::{self, DISKS, put_user};
use crate::private::below;
use crate::s3::S3;
use crate::server::{Place, complaint, noise, run};
use crate::webdav::WebDav;

/// Where a secret stands in clear below a folder, but for the file that tells it to scripts.
fn in_clear(data: &Path, secret: &str) -> Vec<PathBuf> {
    let mut files = below(data);
    files.retain(|path| path.is_file() && !path.ends_with("doors.json"));
    files.retain(|path| {
        let bytes = std::fs::read(path).unwrap_or_default();
        bytes.windows(secret.len()).any(|window| window == secret.as_bytes())
    });
    files
}

fn show(place: &Place) -> Value {
    let output = run(&["keys", "show", "--data", &place.data_arg(), "--json"]);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", complaint(&output)))
}

fn field(text: &str, name: &str) -> String {
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .unwrap_or_else(|| panic!("no {name} in {text}"))
        .trim()
        .to_owned()
}

fn told(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", complaint(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn no_secret_is_in_clear_in_any_file_or_log_and_the_key_is_private() {
    let place = Place::new();
    let server = place.serve(3, &["--log", "trace"]);
    let data = place.data_arg();
    let made = told(&["user", "add", "eve", "--data", &data]);
    let renewed = told(&["user", "rotate", "eve", "--data", &data]);
    let secrets = [server.door("s3", "secret_key"), field(&made, "secret key"), field(&renewed, "secret key")];
    S3::of(&server).make_bucket("box");
    assert_eq!(
        WebDav::of(&server).with_password("eve", &secrets[2]).send("PROPFIND", "/", &[("depth", "0")], b"").status,
        207
    );
    let shown = show(&place);
    assert_eq!((&shown["secrets"], &shown["opens"], &shown["clear_secrets"]), (&2.into(), &2.into(), &"none".into()));
    assert!(server.stop().success());
    let log = std::fs::read_to_string(place.beside("stderr")).unwrap();
    for secret in &secrets {
        assert_eq!(in_clear(&place.data(), secret), Vec::<PathBuf>::new());
        assert!(!log.contains(secret.as_str()), "a secret in the log");
    }
    assert!(place.data().join("master.key").exists());
}

#[test]
fn without_the_right_key_nobody_is_served_and_it_can_be_put_back() {
    let place = Place::new();
    let data = place.data_arg();
    let server = place.serve(1, &[]);
    let keys = (server.door("s3", "access_key"), server.door("s3", "secret_key"));
    S3::of(&server).make_bucket("box");
    assert_eq!(S3::of(&server).send("PUT", "/box/k", "", &[], b"kept").status, 200);
    assert!(server.stop().success());
    let copy = place.beside("copy");
    let copy_arg = copy.display().to_string();
    told(&["keys", "backup", &copy_arg, "--data", &data]);
    told(&["keys", "backup", &copy_arg, "--data", &data]);
    let other = place.beside("other").display().to_string();
    std::fs::write(&other, "letters").unwrap();
    let refused = run(&["keys", "backup", &other, "--data", &data]);
    assert!(complaint(&refused).contains("nothing was written"), "{}", complaint(&refused));
    assert_eq!(std::fs::read(&other).unwrap(), b"letters");
    let key = place.data().join("master.key");
    let itself = run(&["keys", "backup", &key.display().to_string(), "--data", &data]);
    assert!(complaint(&itself).contains("no copy of it"), "{}", complaint(&itself));
    let bytes = std::fs::read(&key).unwrap();

    // A key that is lost, one that is damaged, and that of another store.
    let another = Place::new();
    assert!(another.serve(1, &[]).stop().success());
    let foreign = std::fs::read(another.data().join("master.key")).unwrap();
    let mut damaged = bytes.clone();
    damaged[40] ^= 1;
    for wrong in [None, Some(damaged), Some(foreign.clone())] {
        match &wrong {
            None => std::fs::remove_file(&key).unwrap(),
            Some(wrong) => std::fs::write(&key, wrong).unwrap(),
        }
        let refused = run(&["serve", "--data", &data, "--ports", "auto"]);
        let why = complaint(&refused);
        assert!(
            !refused.status.success() && why.contains("strata keys restore") && why.contains("strata keys reset"),
            "{why}"
        );
        assert!(why.contains("the data is intact"), "{why}");
        assert_eq!(run(&["keys", "show", "--data", &data]).status.code(), Some(1));
        let now = std::fs::read(&key).ok();
        assert!(now == wrong, "a start makes no other key, and leaves a wrong one alone");
    }
    let wrong = place.beside("foreign");
    std::fs::write(&wrong, &foreign).unwrap();
    let refused = run(&["keys", "restore", &wrong.display().to_string(), "--data", &data]);
    assert!(complaint(&refused).contains("sealed with"), "{}", complaint(&refused));
    told(&["keys", "restore", &copy_arg, "--data", &data]);
    assert_eq!(std::fs::read(&key).unwrap(), bytes);
    let server = place.serve(1, &[]);
    assert_eq!((server.door("s3", "access_key"), server.door("s3", "secret_key")), keys);
    assert_eq!(S3::of(&server).send("GET", "/box/k", "", &[], b"").body, b"kept");
}

#[test]
fn a_key_that_is_lost_for_good_costs_secrets_and_no_data() {
    let place = Place::new();
    let data = place.data_arg();
    let server = place.serve(1, &[]);
    let old = (server.door("s3", "access_key"), server.door("s3", "secret_key"));
    told(&["user", "add", "eve", "--data", &data]);
    S3::of(&server).make_bucket("box");
    assert_eq!(S3::of(&server).send("PUT", "/box/k", "", &[], b"kept").status, 200);
    assert!(server.stop().success());
    assert!(!run(&["keys", "reset", "--yes", "--data", &data]).status.success(), "nothing is lost yet");
    std::fs::remove_file(place.data().join("master.key")).unwrap();
    let asked = run(&["keys", "reset", "--data", &data]);
    assert!(complaint(&asked).contains("2 users would get new secrets"), "{}", complaint(&asked));
    let renewed = told(&["keys", "reset", "--yes", "--json", "--data", &data]);
    let said: Value = serde_json::from_str(&renewed).unwrap();
    let names: Vec<&str> =
        said["users"].as_array().unwrap().iter().map(|user| user["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["admin", "eve"], "{said}");
    let server = place.serve(1, &[]);
    let s3 = S3::of(&server);
    assert_eq!(server.door("s3", "access_key"), old.0);
    assert!(renewed.contains(&server.door("s3", "secret_key")));
    assert_eq!(s3.send("GET", "/box/k", "", &[], b"").body, b"kept");
    assert_eq!(s3.with_keys(&old.0, &old.1).send("GET", "/box/k", "", &[], b"").status, 403);
}

#[test]
fn secrets_that_an_earlier_release_kept_in_clear_are_sealed_and_every_trace_of_them_is_erased() {
    let place = Place::new();
    let data = place.data();
    let secrets = ["first-secret-of-eve", "second-secret-of-eve", "secret-of-the-admin", "secret-of-the-removed"];
    earlier::make(&data, |ns| {
        put_user(ns, "admin", secrets[2], 0, true);
        put_user(ns, "eve", secrets[0], 1000, false);
        put_user(ns, "gone", secrets[3], 1001, false);
        ns.create_bucket(&earlier::root(), "box", None).unwrap();
        // The secrets are also in a checkpoint.
        ns.store().take_checkpoint(&std::collections::BTreeSet::new(), &mut |_| true).unwrap();
        put_user(ns, "eve", secrets[1], 1000, false);
        ns.put_setting(&earlier::root(), "user/gone", None).unwrap();
    });
    for secret in secrets {
        assert!(in_clear(&data, secret).len() >= 2, "{secret} is not where it has to be found");
    }
    let content = noise(3_000_000, 7);
    let server = place.serve(DISKS, &[]);
    let s3 = S3::of(&server);
    assert_eq!(s3.send("PUT", "/box/k", "", &[], &content).status, 200);
    let erased = (0..600).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        show(&place)["clear_secrets"] == "none"
    });
    assert!(erased, "{}", server.log());
    // Searched while the server runs, and after it.
    for secret in secrets {
        assert_eq!(in_clear(&data, secret), Vec::<PathBuf>::new(), "{secret}");
    }
    let eve = s3.with_keys("EVEKEY", secrets[1]);
    assert_eq!(eve.send("GET", "/", "", &[], b"").status, 200);
    assert!(server.stop().success());
    for secret in secrets {
        assert_eq!(in_clear(&data, secret), Vec::<PathBuf>::new(), "{secret}");
    }
    assert!(told(&["fsck", "--data", &place.data_arg()]).contains("everything that was checked holds"));
    let server = place.serve(DISKS, &[]);
    assert!(S3::of(&server).send("GET", "/box/k", "", &[], b"").body == content);
    assert_eq!(server.door("s3", "secret_key"), secrets[2]);
}
