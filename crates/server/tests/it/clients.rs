//! The doors as programs of other people see them: the drivers in `tests/clients/` run against a real server.
//!
//! The programs come from Debian and PyPI by `packaging/install-deps.sh --test`, which puts the latter into
//! `target/clients`. Without them a driver leaves out what is not there, or is left out itself, with a word; where
//! `STRATA_TEST_CLIENTS=all` is set, nothing may be left out.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::server::{Place, Server, complaint, run};

/// `tests/clients` of the repository.
fn drivers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/clients")
}

fn nothing_may_be_left_out() -> bool {
    std::env::var_os("STRATA_TEST_CLIENTS").is_some_and(|value| value == "all")
}

/// The Python that has the clients from PyPI.
fn python() -> Option<PathBuf> {
    let clients = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("clients");
    let python = clients.join("bin/python");
    // Written last, by packaging/install-deps.sh.
    if clients.join("installed.txt").exists() {
        return Some(python);
    }
    assert!(!nothing_may_be_left_out(), "{} is not there; run packaging/install-deps.sh --test", python.display());
    println!("skipped: {} is not there; packaging/install-deps.sh --test makes it", python.display());
    None
}

/// Runs a driver to its end, ends the server, and checks the store that is left.
fn drive(python: &Path, driver: &str, arguments: &[OsString], server: Server<'_>) {
    let done = Command::new(python)
        .arg("-B")
        .arg(drivers().join(driver))
        .args(arguments)
        .env_remove("STRATA_TEST_CLIENTS")
        .output()
        .expect("the driver starts");
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{driver}: {said}{}{}", complaint(&done), server.log());
    print!("{said}");
    let place = server.place;
    assert!(server.stop().success());
    let checked = run(&["fsck", "--data", &place.data_arg()]);
    let found = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.success(), "{found}{}", complaint(&checked));
}

#[test]
fn what_any_client_does_every_other_sees_at_once() {
    let Some(python) = python() else { return };
    let place = Place::new();
    let server = place.serve_with_drive(6);
    let mut arguments = vec![place.data().join("doors.json").into_os_string()];
    if nothing_may_be_left_out() {
        arguments.push("--all".into());
    }
    drive(&python, "matrix.py", &arguments, server);
}

#[test]
fn boto3_finds_everything_that_the_s3_page_promises() {
    let Some(python) = python() else { return };
    let place = Place::new();
    let server = place.serve(6, &[]);
    let arguments: Vec<OsString> =
        ["endpoint", "access_key", "secret_key"].iter().map(|field| server.door("s3", field).into()).collect();
    drive(&python, "s3_boto3.py", &arguments, server);
}

#[test]
fn programs_that_presign_list_and_remove_at_s3_do_what_they_say() {
    let Some(python) = python() else { return };
    let place = Place::new();
    let server = place.serve(6, &[]);
    let mut arguments: Vec<OsString> =
        ["endpoint", "access_key", "secret_key"].iter().map(|field| server.door("s3", field).into()).collect();
    if nothing_may_be_left_out() {
        arguments.push("--all".into());
    }
    drive(&python, "s3_programs.py", &arguments, server);
}
