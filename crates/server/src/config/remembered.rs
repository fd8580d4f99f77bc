//! `DIR/store.json`: the disks of a store, so that later commands find them without being told.
//!
//! It is a convenience and protects against mistakes. Which store a disk belongs to is written on the disk, so this file may be
//! deleted.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use strata_runtime::{Geometry, Sets};

use super::error::ConfigError;
use super::layout::Layout;

/// Longest file that is read, in bytes.
const LEN_MAX: u64 = 256 << 10;

/// A store as it was last opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Remembered {
    /// Layout of its set; of the first of them, where there are several.
    pub(crate) layout: Layout,
    /// Whether sets were added to it since it was made. Then neither the number of its disks nor its layout follow from how
    /// it was made.
    pub(crate) several: bool,
    /// Whether it was ever opened. If not, this is how it was to be made when that was cut off.
    pub(crate) made: bool,
    /// Folders of its disks, of all of its sets; those below the store's folder are kept relative to it, so that it can be moved.
    pub(crate) disks: Vec<PathBuf>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    data_disks: u8,
    parity_disks: u8,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    several_sets: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    unmade: bool,
    disks: Vec<PathBuf>,
}

fn path(data: &Path) -> PathBuf {
    data.join("store.json")
}

impl Remembered {
    /// What is remembered of the store in `data`, if anything.
    ///
    /// # Errors
    /// The file is there and cannot be understood.
    pub(crate) fn load(data: &Path) -> Result<Option<Self>, ConfigError> {
        let path = path(data);
        let refuse = |why: &dyn std::fmt::Display| {
            let shown = path.display();
            ConfigError(format!("{shown} cannot be read ({why}); delete it and name the disks with --disks or --disk"))
        };
        let text = match std::fs::metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                return Err(ConfigError(format!(
                    "this user may not look into {}; nothing was changed; run as the store's owner, or choose another folder",
                    data.display()
                )));
            }
            Err(error) => return Err(refuse(&error)),
            Ok(found) if found.len() > LEN_MAX => return Err(refuse(&"it is too long")),
            Ok(_) => std::fs::read(&path).map_err(|error| refuse(&error))?,
        };
        let stored: Stored = serde_json::from_slice(&text).map_err(|error| refuse(&error))?;
        let count = stored.data_disks.saturating_add(stored.parity_disks);
        let layout = Layout::for_disks(count, Some(stored.parity_disks)).map_err(|ConfigError(what)| refuse(&what))?;
        let several = stored.several_sets;
        if stored.disks.is_empty() || (!several && stored.disks.len() != usize::from(count)) {
            return Err(refuse(&"its disks are not as many as its layout has"));
        }
        let made = !stored.unmade;
        Ok(Some(Self { layout, several, made, disks: stored.disks.into_iter().map(|disk| data.join(disk)).collect() }))
    }

    /// What there is to be remembered of a running store in `data`, whose disks are in `folders`.
    ///
    /// # Errors
    /// As for [`Remembered::load`].
    pub(crate) fn of(sets: &Sets, folders: Vec<PathBuf>, data: &Path) -> Result<Self, ConfigError> {
        let before = Self::load(data)?.is_some_and(|kept| kept.several);
        let Geometry { data_shards: data, parity_shards: parity } = sets.geometry();
        let several = before || sets.status().sets.len() > 1;
        Ok(Self { layout: Layout { data, parity }, several, made: true, disks: folders })
    }

    /// Keeps it, unless it is kept already.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn save(&self, data: &Path) -> anyhow::Result<()> {
        if matches!(Self::load(data), Ok(Some(kept)) if kept == *self) {
            return Ok(());
        }
        crate::doors_file::write_private(&path(data), &serde_json::to_vec_pretty(&self.stored(data)?)?)
    }

    /// As it is written.
    fn stored(&self, data: &Path) -> anyhow::Result<Stored> {
        // A path given relative to the working directory must be found from any other. A path below the store's folder must be found
        // where that is moved or copied. Both hold however either path was given.
        let base = std::path::absolute(data).context("the path of the store cannot be made absolute")?;
        let anchored = |disk: &PathBuf| {
            let disk = std::path::absolute(disk)?;
            Ok::<_, std::io::Error>(disk.strip_prefix(&base).map_or_else(|_| disk.clone(), Path::to_owned))
        };
        Ok(Stored {
            data_disks: self.layout.data,
            parity_disks: self.layout.parity,
            several_sets: self.several,
            unmade: !self.made,
            disks: self.disks.iter().map(anchored).collect::<Result<_, _>>().context("a disk's path has no meaning")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_below_the_store_move_with_it_and_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (folder.path().join("old"), folder.path().join("new"));
        std::fs::create_dir(&old).unwrap();
        let layout = Layout { data: 1, parity: 1 };
        let kept = Remembered { layout, several: false, made: true, disks: vec![old.join("disk0"), "/mnt/b".into()] };
        kept.save(&old).unwrap();
        assert_eq!(Remembered::load(&old).unwrap(), Some(kept));
        std::fs::rename(&old, &new).unwrap();
        let moved = Remembered { layout, several: false, made: true, disks: vec![new.join("disk0"), "/mnt/b".into()] };
        assert_eq!(Remembered::load(&new).unwrap(), Some(moved));
    }

    #[test]
    fn a_disk_below_the_store_is_kept_relative_to_it_however_the_two_were_given() {
        let below = std::path::absolute(".").unwrap().join("store");
        let layout = Layout { data: 1, parity: 1 };
        for (data, disk) in [("store", below.join("disk0")), (below.to_str().unwrap(), "store/disk0".into())] {
            let kept = Remembered { layout, several: false, made: true, disks: vec![disk, "/mnt/b".into()] };
            let stored = kept.stored(Path::new(data)).unwrap();
            assert_eq!(stored.disks, [PathBuf::from("disk0"), "/mnt/b".into()]);
        }
    }

    #[test]
    fn a_store_of_several_sets_has_as_many_disks_as_they_have() {
        let folder = tempfile::tempdir().unwrap();
        let disks: Vec<PathBuf> = ["/mnt/a", "/mnt/b", "/mnt/c"].map(PathBuf::from).into();
        let kept = Remembered { layout: Layout { data: 1, parity: 1 }, several: true, made: true, disks };
        kept.save(folder.path()).unwrap();
        assert_eq!(Remembered::load(folder.path()).unwrap(), Some(kept));
    }

    #[test]
    fn a_file_that_contradicts_itself_is_refused_with_a_way_out() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Remembered::load(folder.path()).unwrap(), None);
        for text in [
            "",
            "{}",
            r#"{"data_disks":4,"parity_disks":2,"disks":["a"]}"#,
            r#"{"data_disks":0,"parity_disks":0,"disks":[]}"#,
        ] {
            std::fs::write(path(folder.path()), text).unwrap();
            let ConfigError(what) = Remembered::load(folder.path()).unwrap_err();
            assert!(what.ends_with("delete it and name the disks with --disks or --disk"), "{what}");
        }
    }
}
