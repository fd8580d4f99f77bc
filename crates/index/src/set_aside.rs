//! Moving a damaged index out of the way, for whoever wants to look at it later.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Damaged indexes kept beside the live one; older ones are removed, so that a failing disk does not fill up with them.
const KEPT: usize = 2;

/// Renames `dir` to `dir.bad-N` and removes all but the [`KEPT`] newest of those. Gives the new name, `None` if there was
/// no `dir`.
///
/// # Errors
/// If the folder cannot be renamed. Failing to remove an older one is passed over: it only costs room.
pub(crate) fn set_aside(dir: &Path) -> io::Result<Option<PathBuf>> {
    if !dir.try_exists()? {
        return Ok(None);
    }
    let mut known = known(dir)?;
    let number = known.last().map_or(1, |(number, _)| number + 1);
    let target = numbered(dir, number);
    fs::rename(dir, &target)?;
    known.push((number, target.clone()));
    for (_, old) in known.iter().rev().skip(KEPT) {
        if let Err(error) = remove(old) {
            tracing::warn!(path = %old.display(), %error, "an old damaged index cannot be removed");
        }
    }
    Ok(Some(target))
}

/// The file in an index's folder that says that its engine failed while it was open, and by what.
const FAILED: &str = "failed";

/// Notes in the folder of an index that its engine failed: what it holds is not to be believed by the next opening, also where the
/// engine opens without an error and fails at the same place again.
pub(crate) fn mark_failed(dir: &Path, why: &str) {
    if let Err(error) = fs::write(dir.join(FAILED), why) {
        tracing::error!(
            path = %dir.display(), %error,
            "that the index failed could not be written down; if it fails again after a restart, stop the server and remove this folder"
        );
    }
}

/// What an index's engine failed by when it was open before.
pub(crate) fn failed_before(dir: &Path) -> Option<String> {
    let why = fs::read(dir.join(FAILED)).ok()?;
    Some(format!("it failed when it was open before: {}", String::from_utf8_lossy(&why)))
}

/// Removes a folder, or a file that stands in its place.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

fn prefix(dir: &Path) -> String {
    format!("{}.bad-", dir.file_name().unwrap_or_default().to_string_lossy())
}

fn numbered(dir: &Path, number: u64) -> PathBuf {
    dir.with_file_name(format!("{}{number}", prefix(dir)))
}

/// What was set aside before, oldest first.
fn known(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let parent = match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let prefix = prefix(dir);
    let mut known = Vec::new();
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        if let Some(number) = entry.file_name().to_string_lossy().strip_prefix(&prefix).and_then(|n| n.parse().ok()) {
            known.push((number, entry.path()));
        }
    }
    known.sort();
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_newest_damaged_indexes_are_kept() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("index");
        assert_eq!(set_aside(&dir).unwrap(), None);
        for number in 1..=12 {
            fs::create_dir(&dir).unwrap();
            fs::write(dir.join("db"), number.to_string()).unwrap();
            assert_eq!(set_aside(&dir).unwrap(), Some(parent.path().join(format!("index.bad-{number}"))));
        }
        let mut left: Vec<_> = fs::read_dir(&parent).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["index.bad-11", "index.bad-12"]);
    }
}
