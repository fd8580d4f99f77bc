//! Checks that a folder which is to become a disk contains no other files, because a mistyped path would put a store among them.

use std::path::Path;

use anyhow::{Context, ensure};

/// What a file system makes by itself in its root.
const OF_THE_FILE_SYSTEM: &str = "lost+found";
/// How the names of a disk's own files begin, also of those that a creation left which was cut off: what they hold is looked at
/// where disks are read.
const OF_A_DISK: [&str; 4] = ["superblock", "seg-", "probe", "removed"];

/// Refuses a folder with files that no disk has.
///
/// # Errors
/// One of them is named, or the folder cannot be read.
pub(crate) fn refuse(folder: &Path) -> anyhow::Result<()> {
    let cannot = || format!("the folder {} cannot be read", folder.display());
    for entry in std::fs::read_dir(folder).with_context(cannot)? {
        let name = entry.with_context(cannot)?.file_name();
        let name = name.to_string_lossy();
        ensure!(
            name == OF_THE_FILE_SYSTEM || OF_A_DISK.iter().any(|ours| name.starts_with(ours)),
            "{} has files of somebody else in it ({name}); nothing was changed; give an empty folder for the disk",
            folder.display()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_files_of_others_is_no_place_for_a_disk() {
        let folder = tempfile::tempdir().unwrap();
        refuse(folder.path()).unwrap();
        std::fs::create_dir(folder.path().join("lost+found")).unwrap();
        for name in ["superblock", "superblock.prepared-3", "seg-00000000"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        refuse(folder.path()).unwrap();
        std::fs::write(folder.path().join("letters.odt"), "").unwrap();
        let refused = refuse(folder.path()).unwrap_err().to_string();
        assert!(refused.contains("(letters.odt); nothing was changed"), "{refused}");
    }
}
