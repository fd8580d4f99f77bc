//! Source trees to work on: files of real program sources, and versions of them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::content::{Corpus, Random};

/// Files in one folder of the tree.
const FILES_PER_FOLDER: usize = 40;

/// Mean size of a file where none is asked for, in bytes: what the mix below comes to.
pub(crate) const MEAN_BYTES: u64 = 11_287;

/// Makes a tree of `files` files of program text in `at`: mostly small, one in 40 about thirteen times the mean, `mean_bytes`
/// on average.
///
/// # Errors
/// That something could not be written.
pub(crate) fn make(at: &Path, files: usize, mean_bytes: u64, corpus: &Corpus) -> Result<()> {
    let mut random = Random::new(1);
    for number in 0..files {
        let folder = at.join(format!("folder{:03}", number / FILES_PER_FOLDER));
        if number % FILES_PER_FOLDER == 0 {
            std::fs::create_dir_all(&folder)?;
        }
        let bytes = match random.below(40) {
            0 => 100_000 + random.below(100_000),
            1..=10 => 10_000 + random.below(20_000),
            _ => 500 + random.below(6_000),
        };
        let mut text = vec![0; (bytes * mean_bytes / MEAN_BYTES) as usize];
        corpus.fill(&mut text, random.next() as usize);
        std::fs::write(folder.join(format!("source{number:05}.rs")), text)?;
    }
    Ok(())
}

/// The files below `at`, in order.
///
/// # Errors
/// That a folder could not be read.
pub(crate) fn files(at: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![at.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Runs a program to its end.
///
/// # Errors
/// That it could not be started, or failed, with what it said.
pub(crate) fn run(command: &mut Command) -> Result<Vec<u8>> {
    let program = command.get_program().to_owned();
    let ended = command.output().with_context(|| format!("{program:?} cannot be started"))?;
    ensure!(ended.status.success(), "{program:?} failed: {}", String::from_utf8_lossy(&ended.stderr));
    Ok(ended.stdout)
}

/// A command of git that no configuration of this machine influences.
pub(crate) fn git(folder: &Path) -> Command {
    let mut git = Command::new("git");
    git.arg("-C").arg(folder);
    git.args(["-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "safe.directory=*"]);
    git.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
    git
}
