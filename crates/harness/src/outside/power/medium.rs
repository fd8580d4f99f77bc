//! File systems of our own to cut the power of: ext4 or XFS in a file, mounted through a loop device.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::shutdown;
use crate::outside::clock::Moment;

/// Length of each file system; XFS makes none below 300 MiB. The file is sparse.
const LEN: u64 = 320 << 20;
/// How long somebody else may keep it busy.
const BUSY_PATIENCE: Duration = Duration::from_secs(10);

/// What is tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Ext4,
    Xfs,
}

impl Kind {
    /// As the kernel calls it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        }
    }

    /// Why it cannot be tried here; `None` if it can.
    pub(super) fn missing(self) -> Option<String> {
        let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
        let tool = format!("mkfs.{}", self.word());
        if !rustix::process::geteuid().is_root() {
            Some("needs root".to_owned())
        } else if !Path::new("/dev/loop-control").exists() {
            Some("needs loop devices".to_owned())
        } else if !known.lines().any(|line| line.trim_start_matches("nodev").trim() == self.word()) {
            Some(format!("the kernel has no {}", self.word()))
        } else if Command::new(&tool).arg("-V").output().is_err() {
            Some(format!("needs {tool}"))
        } else {
            None
        }
    }
}

/// A mounted file system. Dropping it unmounts it.
#[derive(Debug)]
pub(super) struct Medium {
    kind: Kind,
    image: PathBuf,
    /// Where it is mounted.
    pub(super) at: PathBuf,
    mounted: bool,
}

impl Medium {
    /// Makes a file system in `image` and mounts it at `at`.
    pub(super) fn make(kind: Kind, image: PathBuf, at: PathBuf) -> Result<Self> {
        fs::create_dir_all(&at)?;
        File::create(&image)?.set_len(LEN)?;
        let flags: &[&str] = match kind {
            Kind::Ext4 => &["-q", "-F", "-E", "lazy_itable_init=1,lazy_journal_init=1"],
            Kind::Xfs => &["-q", "-f"],
        };
        run(Command::new(format!("mkfs.{}", kind.word())).args(flags).arg(&image))?;
        let mut medium = Self { kind, image, at, mounted: false };
        medium.mount()?;
        Ok(medium)
    }

    /// Mounts it, which replays its journal if it was cut off.
    pub(super) fn mount(&mut self) -> Result<()> {
        run(Command::new("mount").args(["-t", self.kind.word(), "-o", "loop"]).arg(&self.image).arg(&self.at))?;
        self.mounted = true;
        Ok(())
    }

    /// Cuts it off under whoever uses it.
    pub(super) fn cut(&self) -> Result<()> {
        shutdown::cut(&self.at).with_context(|| format!("{} cannot be cut off", self.at.display()))
    }

    /// Unmounts it; nobody may use it any more, but for a moment: whoever looks over all file systems of the machine.
    pub(super) fn unmount(&mut self) -> Result<()> {
        let begun = Moment::now();
        loop {
            match run(Command::new("umount").arg(&self.at)) {
                Ok(()) => break,
                Err(error) if begun.elapsed() > BUSY_PATIENCE => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
        self.mounted = false;
        Ok(())
    }

    /// Which part of it is used.
    pub(super) fn used(&self) -> Result<f64> {
        let found = rustix::fs::statvfs(&self.at)?;
        ensure!(found.f_blocks > 0, "{} has no size", self.at.display());
        Ok(1.0 - found.f_bavail as f64 / found.f_blocks as f64)
    }
}

impl Drop for Medium {
    fn drop(&mut self) {
        if self.mounted {
            // Lazily: something may still hold it after a failure, and it must not stay in the way.
            let _ = rustix::mount::unmount(&self.at, rustix::mount::UnmountFlags::DETACH);
        }
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("{command:?} cannot be run"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
