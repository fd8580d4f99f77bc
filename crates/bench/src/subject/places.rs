//! What the mount is compared with: the machine's own file system, and a file system in memory over FUSE.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

use super::Subject;
use crate::report::Role;

/// A folder like any other.
pub(super) fn own(below: &Path) -> Result<Subject> {
    let mut subject = Subject::new("file system", Role::Machine, below)?;
    std::fs::create_dir_all(&subject.data)?;
    subject.mount = Some(subject.data.clone());
    Ok(subject)
}

/// The example of the mount crate, built beside this program.
fn memory_fs() -> Result<PathBuf> {
    let program = std::env::current_exe()?.with_file_name("examples").join("memory_fs");
    ensure!(
        program.is_file(),
        "{} is not there: build it with `cargo build --release -p strata-mount --example memory_fs`",
        program.display()
    );
    Ok(program)
}

/// A mount with nothing behind it.
pub(super) async fn memory(below: &Path) -> Result<Subject> {
    let mut subject = Subject::new("memory fuse", Role::Reference, below)?;
    let at = subject.folder().join("mnt");
    std::fs::create_dir_all(&at)?;
    subject.spawn(Command::new(memory_fs()?).arg(&at))?;
    subject.until_mounted(&at).await?;
    Ok(subject)
}
