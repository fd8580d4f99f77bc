//! The setting `index-engine`: the index moves from one engine to another, and no reader notices.

use strata_index::EngineKind;

use crate::commands::status;
use crate::s3::S3;
use crate::server::{Place, complaint, run};

const OBJECTS: usize = 300;

fn reads_everything(s3: &S3) {
    for n in 0..OBJECTS {
        let answer = s3.send("GET", &format!("/box/k{n:03}"), "", &[], b"");
        assert_eq!((answer.status, answer.body), (200, format!("value {n}").into_bytes()), "{n}");
    }
    assert_eq!(s3.send("GET", "/box/absent", "", &[], b"").status, 404);
}

fn check(place: &Place) {
    let checked = run(&["fsck", "--data", &place.data_arg()]);
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.success(), "{said}{}", complaint(&checked));
}

#[test]
fn the_index_moves_to_another_engine_and_back_and_what_is_stored_reads_the_same() {
    let place = Place::new();
    let index = place.data().join("index");
    let server = place.serve(3, &[]);
    let s3 = S3::of(&server);
    s3.make_bucket("box");
    for n in 0..OBJECTS {
        assert_eq!(s3.send("PUT", &format!("/box/k{n:03}"), "", &[], format!("value {n}").as_bytes()).status, 200);
    }
    assert!(server.stop().success());
    assert_eq!(EngineKind::of(&index), Some(EngineKind::Sled));

    let server = place.serve_again(&["--index-engine", "fjall"]);
    reads_everything(&S3::of(&server));
    assert!(server.stop().success());
    assert_eq!(EngineKind::of(&index), Some(EngineKind::Fjall));
    assert!(!place.data().join("index.was-sled").exists());
    check(&place);

    // Without the setting the engine stays, even after a kill.
    let server = place.serve_again(&[]);
    reads_everything(&S3::of(&server));
    assert_eq!(status(&place)["index_engine"], "fjall");
    server.kill();
    assert_eq!(EngineKind::of(&index), Some(EngineKind::Fjall));
    let server = place.serve_again(&[]);
    reads_everything(&S3::of(&server));
    assert!(server.stop().success());
    check(&place);

    let server = place.serve_again(&["--index-engine", "sled"]);
    reads_everything(&S3::of(&server));
    assert!(server.stop().success());
    assert_eq!(EngineKind::of(&index), Some(EngineKind::Sled));
    let left = std::fs::read_dir(place.data()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(left.filter(|name| name.starts_with("index")).collect::<Vec<_>>(), ["index"]);
    check(&place);
}
