//! The litmus suites, where the program is installed: an outside opinion on RFC 4918.

use std::process::Command;

use crate::support::Server;

#[test]
fn litmus_finds_nothing_wrong() {
    let server = Server::start();
    let dir = tempfile::tempdir().expect("a folder");
    let url = format!("http://{}/bkt/", server.address);
    let run = Command::new("litmus").args(["-k", &url, "root", "not-a-secret-at-all"]).current_dir(dir.path()).output();
    let output = match run {
        Ok(output) => output,
        Err(error) => {
            println!("skipped: litmus cannot be run here ({error}); install it to run its suites");
            return;
        }
    };
    let text = String::from_utf8_lossy(&output.stdout);
    for suite in ["basic", "copymove", "props", "locks", "http"] {
        let line = text.lines().find(|line| line.contains(&format!("summary for `{suite}'")));
        assert!(line.is_some_and(|line| line.contains(" 0 failed")), "{suite}: {text}");
    }
    assert!(!text.contains("FAIL"), "{text}");
    let warnings: Vec<&str> = text.lines().filter(|line| line.contains("WARNING")).collect();
    assert_eq!(warnings, Vec::<&str>::new());
    server.sound();
}
