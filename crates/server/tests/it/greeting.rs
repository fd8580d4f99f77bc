//! What a server prints once it serves: secrets on a terminal, and to anything else where they are.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::Stdio;

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::server::Place;

/// Starts a server that prints to `output`, and returns its secret and what came out at `screen`.
fn printed(output: impl Into<Stdio>, mut screen: impl Read) -> (String, String) {
    let place = Place::new();
    let server = place.serve_printing(output);
    let (mut shown, mut piece) = (String::new(), [0; 4096]);
    while !shown.contains("stops the server.") && !shown.contains("only on a terminal.") {
        let len = screen.read(&mut piece).expect("the server lives");
        assert!(len > 0, "the server ended: {}", server.log());
        shown.push_str(&String::from_utf8_lossy(&piece[..len]));
    }
    assert!(shown.contains(&place.data().join("doors.json").display().to_string()), "{shown}");
    let secret = server.door("s3", "secret_key");
    assert_eq!(server.door("webdav", "password"), secret);
    assert!(server.stop().success());
    (secret, shown)
}

#[test]
fn a_log_gets_no_secret_and_says_where_they_are() {
    let (screen, output) = std::io::pipe().unwrap();
    let (secret, shown) = printed(output, screen);
    assert!(!shown.contains(&secret), "{shown}");
    assert!(shown.contains("AWS_SECRET_ACCESS_KEY=SECRET") && shown.contains("The same with the secrets: "), "{shown}");
}

#[test]
fn a_terminal_gets_commands_that_can_be_pasted() {
    let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&screen).unwrap();
    unlockpt(&screen).unwrap();
    let name = ptsname(&screen, Vec::new()).unwrap();
    let output: OwnedFd =
        rustix::fs::open(&name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap();
    let (secret, shown) = printed(output, File::from(screen));
    assert!(shown.contains(&format!("AWS_SECRET_ACCESS_KEY={secret} ")), "{shown}");
    assert!(shown.contains(&format!("curl -u admin:{secret} ")), "{shown}");
}
