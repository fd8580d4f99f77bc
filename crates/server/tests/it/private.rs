//! Only the store's owner can read files of the store, wherever they lie.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::s3::S3;
use crate::server::{Place, run};
use crate::webdav::WebDav;

/// Everything below a folder.
pub(crate) fn below(top: &Path) -> Vec<PathBuf> {
    let (mut folders, mut found) = (vec![top.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            }
            found.push(entry.path());
        }
    }
    found
}

/// What group or others may do anything with.
fn open_to_others(data: &Path) -> Vec<PathBuf> {
    let mut open = below(data);
    // A file that is removed during the check belonged to the server alone.
    open.retain(|path| std::fs::symlink_metadata(path).is_ok_and(|found| found.mode() & 0o077 != 0));
    open
}

#[test]
fn every_file_of_the_store_is_private_by_its_own_mode_also_where_its_folder_is_not_and_old_ones_are_mended() {
    let place = Place::new();
    let data = place.data();
    std::fs::create_dir(&data).unwrap();
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o755)).unwrap();
    let nothing: [PathBuf; 0] = [];
    let server = place.serve(3, &[]);
    S3::of(&server).make_bucket("box");
    for number in 0..40 {
        S3::of(&server).send("PUT", &format!("/box/{number}"), "", &[], &vec![7; 300_000]);
    }
    WebDav::of(&server).send("PUT", "/box/f", &[], b"x");
    assert!(run(&["user", "add", "eve", "--data", &place.data_arg()]).status.success());
    assert_eq!(open_to_others(&data), nothing);
    assert!(server.stop().success());
    assert!(run(&["fsck", "--data", &place.data_arg()]).status.success());
    assert_eq!(open_to_others(&data), nothing);

    // As an earlier release left them, and with an index that had to be set aside.
    std::fs::create_dir(data.join("index.bad-0")).unwrap();
    std::fs::write(data.join("index.bad-0/db"), "").unwrap();
    for path in below(&data) {
        let mode = if path.is_dir() { 0o755 } else { 0o644 };
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let server = place.serve(3, &[]);
    assert_eq!(open_to_others(&data), nothing);
    assert!(server.stop().success());
}
