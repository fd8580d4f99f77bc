//! What becomes of an index whose engine was changed by the setting.
//!
//! It is sound, and the one of the new engine may turn out not to be possible: the checkpoint that it would be filled from may be
//! damaged. So the former one is moved beside (`<folder>.was-<engine>`) and goes only once another has all that the log has.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::engines::EngineKind;
use crate::set_aside::remove;

/// Where the former index of this engine is kept.
fn place(dir: &Path, kind: EngineKind) -> PathBuf {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    dir.with_file_name(format!("{name}.was-{kind}"))
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match remove(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Makes room in `dir` for an index of `to`, where the one there is `from`'s. It is moved out of the way, and where it is then is
/// given. If one of `to`'s was kept there, the change away from it was never finished: it takes its place again.
///
/// # Errors
/// The folder cannot be moved.
pub(crate) fn exchange(dir: &Path, from: Option<EngineKind>, to: EngineKind) -> io::Result<Option<PathBuf>> {
    let earlier = place(dir, to);
    if earlier.try_exists()? {
        remove_if_there(dir)?;
        fs::rename(earlier, dir)?;
        return Ok(None);
    }
    let Some(from) = from else { return Ok(None) };
    let kept = place(dir, from);
    remove_if_there(&kept)?;
    fs::rename(dir, &kept)?;
    Ok(Some(kept))
}

/// Removes what was kept of former engines, now that the index in `dir` has everything. What cannot be removed only costs room.
pub fn forget_former(dir: &Path) {
    for kind in EngineKind::ALL {
        let kept = place(dir, *kind);
        if let Err(error) = remove_if_there(&kept) {
            tracing::warn!(path = %kept.display(), %error, "the index of the former engine cannot be removed; it is of no more use");
        }
    }
}

/// Puts the index of a former engine back into `dir`, where the one that was to take its place cannot be built. Nobody may have it
/// open. Gives whose it is; `None` where none was kept.
///
/// # Errors
/// The folders cannot be moved.
pub fn put_back_former(dir: &Path) -> io::Result<Option<EngineKind>> {
    let Some(kind) = EngineKind::ALL.iter().find(|kind| place(dir, **kind).exists()) else { return Ok(None) };
    remove_if_there(dir)?;
    fs::rename(place(dir, *kind), dir)?;
    Ok(Some(*kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(dir: &Path) -> Option<String> {
        fs::read_to_string(dir.join("says")).ok()
    }

    #[test]
    fn a_former_index_is_kept_until_it_is_forgotten_and_can_be_put_back() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("index");
        let make = |text: &str| {
            fs::create_dir(&dir).unwrap();
            fs::write(dir.join("says"), text).unwrap();
        };
        assert_eq!(put_back_former(&dir).unwrap(), None);
        make("first");
        let (sled, fjall) = (EngineKind::Sled, EngineKind::Fjall);
        let kept = exchange(&dir, Some(sled), fjall).unwrap().unwrap();
        assert_eq!((says(&dir), says(&kept)), (None, Some("first".to_owned())));
        make("half");
        assert_eq!(put_back_former(&dir).unwrap(), Some(sled));
        assert_eq!((says(&dir), kept.exists()), (Some("first".to_owned()), false));
        // A change that was broken off, and then taken back by the setting.
        for half in [true, false] {
            exchange(&dir, Some(sled), fjall).unwrap();
            if half {
                make("half");
            }
            assert_eq!(exchange(&dir, half.then_some(fjall), sled).unwrap(), None);
            assert_eq!(says(&dir), Some("first".to_owned()));
        }
        exchange(&dir, Some(sled), fjall).unwrap();
        make("whole");
        forget_former(&dir);
        assert_eq!(fs::read_dir(&parent).unwrap().count(), 1);
    }
}
