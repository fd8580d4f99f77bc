//! Everything below DIR is readable only by the store's owner, by its own mode: the folder DIR may have existed before, open to
//! everybody.
//!
//! Files that this process makes have the right mode from the start ([`by_default`]). Files of earlier releases get it when the store
//! is opened ([`mend`]). Other files in DIR do not belong to the store and are not changed.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;

/// What group and others may have of the store's files.
const OTHERS: u32 = 0o077;
/// The store's files and folders in DIR, beside its disks; and the beginning of the names of folders of the index.
const OURS: [&str; 8] =
    ["lock", "doors.json", "admin.token", "control.sock", "store.json", "master.key", "fsck.scratch", "index"];

/// Takes group's and others' rights from all files that this process will make.
pub(crate) fn by_default() {
    rustix::process::umask(Mode::from_raw_mode(OTHERS));
}

/// Takes them from the files of the store in `data` that have them. One that cannot be mended is told of.
pub(crate) fn mend(data: &Path, disks: &[PathBuf]) {
    let entries = match std::fs::read_dir(data) {
        Ok(entries) => entries.flatten(),
        Err(error) => return warn(data, &error),
    };
    for entry in entries {
        let (name, path) = (entry.file_name(), entry.path());
        let name = name.to_string_lossy();
        let prefixed = name.starts_with("index.bad-") || name.starts_with("master.key.old-");
        if OURS.contains(&&*name) || prefixed || disks.contains(&path) {
            mend_tree(&path);
        }
    }
}

/// The same for one of them and all below it, on the same file system; symbolic links are not followed.
fn mend_tree(top: &Path) {
    let mut device = None;
    let mut paths = vec![top.to_owned()];
    while let Some(path) = paths.pop() {
        let found = match std::fs::symlink_metadata(&path) {
            // A file that is in use may be removed in between.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => {
                warn(&path, &error);
                continue;
            }
            Ok(found) => found,
        };
        if found.is_symlink() || *device.get_or_insert(found.dev()) != found.dev() {
            continue;
        }
        if found.mode() & OTHERS != 0
            && let Err(error) = std::fs::set_permissions(&path, Permissions::from_mode(found.mode() & 0o7700))
        {
            warn(&path, &error);
        }
        if found.is_dir() {
            match std::fs::read_dir(&path) {
                Ok(entries) => paths.extend(entries.flatten().map(|entry| entry.path())),
                Err(error) => warn(&path, &error),
            }
        }
    }
}

fn warn(path: &Path, error: &std::io::Error) {
    tracing::warn!(path = %path.display(), %error, "it could not be made private; see who may read it");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_stores_is_mended_and_what_is_not_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        let (ours, theirs) = (["index/db", "index.bad-1/db", "disk0/seg-00000000", "store.json"], ["mine/a", "note"]);
        for name in ours.iter().chain(&theirs) {
            let path = data.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "").unwrap();
            std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        }
        std::os::unix::fs::symlink(data.join("note"), data.join("index/link")).unwrap();
        mend(data, &[data.join("disk0")]);
        let mode = |name: &str| std::fs::metadata(data.join(name)).unwrap().mode() & 0o777;
        for name in ours.into_iter().chain(["index", "index.bad-1", "disk0"]) {
            assert_eq!(mode(name) & OTHERS, 0, "{name}");
        }
        assert!(theirs.iter().all(|name| mode(name) == 0o644));
    }
}
