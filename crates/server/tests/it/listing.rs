//! What listings show while the directory changes under them.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::s3::S3;
use crate::server::{Place, Server};
use crate::webdav::WebDav;

const MEMBERS: usize = 16;

fn member(number: usize) -> String {
    format!("/bkt/d/k{:02}", number % MEMBERS)
}

/// Replaces one member after the other by renames, until it is told to stop.
fn replace_members(server: &Server<'_>, stop: &AtomicBool) {
    let webdav = WebDav::of(server);
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        assert_eq!(webdav.send("PUT", "/bkt/new", &[], b"x").status, 201);
        let headers = [("destination", &*webdav.destination(&member(number)))];
        assert_eq!(webdav.send("MOVE", "/bkt/new", &headers, b"").status, 204);
    }
}

#[test]
fn propfind_shows_every_member_while_renames_replace_them() {
    let place = Place::new();
    let server = place.serve(1, &[]);
    let s3 = S3::of(&server);
    s3.make_bucket("bkt");
    for number in 0..MEMBERS {
        assert_eq!(s3.send("PUT", &member(number), "", &[], b"x").status, 200);
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| replace_members(&server, &stop));
        let webdav = WebDav::of(&server);
        for _ in 0..300 {
            let answer = webdav.send("PROPFIND", "/bkt/d/", &[("depth", "1")], b"");
            let text = answer.text();
            let missing: Vec<String> = (0..MEMBERS).map(member).filter(|path| !text.contains(&**path)).collect();
            stop.fetch_or(!missing.is_empty(), Ordering::Relaxed);
            assert_eq!((answer.status, missing), (207, Vec::new()));
        }
        stop.store(true, Ordering::Relaxed);
    });
}
