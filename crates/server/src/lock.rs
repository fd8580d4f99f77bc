//! One process per store.
//!
//! `DIR/lock` is locked with `flock` for as long as a process has the store open. It contains the process id, for people. Each disk's
//! folder is locked too, so that two stores cannot be started on one disk. The kernel drops the locks when the process ends, in
//! whatever way. The file stays, because removing it would let two processes lock two files of the same name.
//!
//! A killed process holds its locks until the kernel has removed it, and one whose mount was taken away until it has closed the store.
//! So a new process waits up to [`PATIENCE`] for them.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::doors_file::Doors;

/// How long a process that begins waits for one that is ending.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// How often it looks.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Somebody else has the store open. Nothing has been changed.
#[derive(Debug)]
pub(crate) struct InUse {
    /// What was found locked.
    what: PathBuf,
    /// The process that holds it, if the file says so.
    pid: Option<u32>,
}

impl InUse {
    /// The store in `data` is held by the process `pid`.
    pub(crate) fn by(pid: u32, data: &Path) -> Self {
        Self { what: data.to_owned(), pid: Some(pid) }
    }
}

impl std::fmt::Display for InUse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "another strata server (pid {pid}) holds this store ({})", self.what.display())?,
            None => write!(f, "another strata server holds {}", self.what.display())?,
        }
        f.write_str("; nothing was changed; stop it first")
    }
}

impl std::error::Error for InUse {}

/// A server has the store and answers no command: it is starting or stopping. Nothing has been changed.
#[derive(Debug)]
pub(crate) struct NoAnswer {
    /// Its process.
    pub(crate) pid: u32,
    /// The store's folder.
    pub(crate) data: PathBuf,
}

impl std::fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { pid, data } = self;
        let data = data.display();
        write!(f, "the server (pid {pid}) of this store ({data}) is starting or stopping and answers no commands; ")?;
        f.write_str("nothing was changed; try again when it has done so")
    }
}

impl std::error::Error for NoAnswer {}

/// The right to use a store, until dropped.
#[derive(Debug)]
pub(crate) struct StoreLock {
    file: File,
    disks: Vec<(PathBuf, File)>,
    /// What is left of [`PATIENCE`].
    patience: Duration,
}

impl StoreLock {
    /// Locks the store in the folder `data`, which must exist. Waits up to five seconds for a process that has it.
    ///
    /// # Errors
    /// [`InUse`] if another process has it and keeps it, or that the lock file cannot be made.
    pub(crate) fn take(data: &Path) -> anyhow::Result<Self> {
        let path = data.join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("the lock file {} cannot be opened", path.display()))?;
        let mut patience = PATIENCE;
        let mut locked = lock_within(&file, &mut patience);
        if locked == Err(Errno::WOULDBLOCK) && read_pid(&mut file).is_some_and(is_ending) && cut_mount_off(data) {
            patience = PATIENCE;
            locked = lock_within(&file, &mut patience);
        }
        match locked {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                return Err(InUse { pid: read_pid(&mut file), what: data.to_owned() }.into());
            }
            Err(error) => return Err(error).with_context(|| format!("{} cannot be locked", path.display())),
        }
        // Nobody serves the store now: the `doors.json` of a killed server is removed before a new server is named.
        Doors::withdraw(data);
        write_pid(&mut file, Some(std::process::id()))
            .with_context(|| format!("the process id cannot be written to {}", path.display()))?;
        Ok(Self { file, disks: Vec::new(), patience })
    }

    /// As [`StoreLock::take`], for commands that must not make a store.
    ///
    /// # Errors
    /// There is no store in `data`, and those of [`StoreLock::take`].
    pub(crate) fn of_existing(data: &Path) -> anyhow::Result<Self> {
        Self::check_existing(data)?;
        Self::take(data)
    }

    /// Refuses a folder in which no store was ever begun.
    ///
    /// # Errors
    /// There is no store in `data`.
    pub(crate) fn check_existing(data: &Path) -> anyhow::Result<()> {
        anyhow::ensure!(
            data.join("lock").exists(),
            "there is no store in {}; `strata serve --data {0}` makes one",
            data.display()
        );
        Ok(())
    }

    /// Locks the folders of the disks as well; those that are missing or locked already are left out. Waits for what is left
    /// of the five seconds.
    ///
    /// # Errors
    /// [`InUse`] if another process has one of them; those locked before it stay locked until `self` is dropped.
    pub(crate) fn take_disks(&mut self, disks: &[PathBuf]) -> anyhow::Result<()> {
        for disk in disks {
            if self.disks.iter().any(|(locked, _)| locked == disk) {
                continue;
            }
            let Ok(folder) = File::open(disk) else { continue };
            match lock_within(&folder, &mut self.patience) {
                Ok(()) => self.disks.push((disk.clone(), folder)),
                Err(Errno::WOULDBLOCK) => {
                    return Err(InUse { pid: None, what: disk.clone() }.into());
                }
                Err(error) => return Err(error).with_context(|| format!("{} cannot be locked", disk.display())),
            }
        }
        Ok(())
    }

    /// Locks one disk's folder anew: what was at its path before may be another folder.
    ///
    /// # Errors
    /// As for [`StoreLock::take_disks`].
    pub(crate) fn renew_disk(&mut self, disk: &Path) -> anyhow::Result<()> {
        self.disks.retain(|(locked, _)| locked != disk);
        self.take_disks(&[disk.to_owned()])
    }

    /// Gives up the locks on the folders of disks that are not among `kept`.
    pub(crate) fn keep_only(&mut self, kept: impl Fn(&Path) -> bool) {
        self.disks.retain(|(locked, _)| kept(locked));
    }

    /// Gives up the lock on one disk's folder, so that it can be unmounted.
    pub(crate) fn let_go(&mut self, disk: &Path) {
        self.disks.retain(|(locked, _)| locked != disk);
    }

    /// The process that has the store in `data` open, if any. One that the kernel is taking down is waited for: it answers
    /// nobody any more.
    pub(crate) fn holder(data: &Path) -> Option<u32> {
        let mut file = OpenOptions::new().read(true).open(data.join("lock")).ok()?;
        let (mut patience, mut cut_off) = (PATIENCE, false);
        loop {
            // A shared lock is refused only while somebody holds the exclusive one; ours ends with `file`.
            let Err(Errno::WOULDBLOCK) = flock(&file, FlockOperation::NonBlockingLockShared) else { return None };
            let pid = read_pid(&mut file);
            if !pid.is_some_and(is_ending) {
                return Some(pid.unwrap_or(0));
            }
            if patience.is_zero() {
                if cut_off || !cut_mount_off(data) {
                    return Some(pid.unwrap_or(0));
                }
                (cut_off, patience) = (true, PATIENCE);
            }
            std::thread::sleep(LOOK_EVERY);
            patience = patience.saturating_sub(LOOK_EVERY);
        }
    }
}

impl Drop for StoreLock {
    fn drop(&mut self) {
        // Only for people who look into the file: the lock itself ends with the descriptor.
        let _ = write_pid(&mut self.file, None);
    }
}

/// Cuts off the mount of a server that was killed and cannot end for it (`guard.rs`), as far as it said where that is.
fn cut_mount_off(data: &Path) -> bool {
    let doors = std::fs::read(crate::doors_file::path(data)).unwrap_or_default();
    let mounted = serde_json::from_slice::<crate::doors_file::Doors>(&doors).ok().and_then(|doors| doors.mount);
    let cut = mounted.is_some_and(|mount| crate::mount::end_connection(&mount.path));
    if cut {
        tracing::warn!("a killed server could not end because of its mount; the mount was cut off");
    }
    cut
}

/// Locks a file; waits for its holder as long as there is `patience` left, and subtracts the time from it.
fn lock_within(file: &File, patience: &mut Duration) -> Result<(), Errno> {
    let mut told = false;
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) if !patience.is_zero() => {}
            locked => return locked,
        }
        if !std::mem::replace(&mut told, true) {
            tracing::info!(seconds = patience.as_secs(), "waiting for another process to release the store");
        }
        std::thread::sleep(LOOK_EVERY);
        *patience = patience.saturating_sub(LOOK_EVERY);
    }
}

/// Whether a process was killed, or ended, and only what it had open is still there.
pub(crate) fn is_ending(pid: u32) -> bool {
    /// The kernel's flag of a task that is ending (`PF_EXITING`, include/linux/sched.h).
    const EXITING: u32 = 4;
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    // pid (name) state ppid pgrp session tty tpgid flags; the name may have anything in it.
    let Some((_, behind)) = stat.rsplit_once(')') else { return false };
    let mut fields = behind.split_whitespace();
    let state = fields.next();
    let flags = fields.nth(5).and_then(|flags| flags.parse::<u32>().ok()).unwrap_or(0);
    matches!(state, Some("Z" | "X")) || flags & EXITING != 0
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn write_pid(file: &mut File, pid: Option<u32>) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    match pid {
        Some(pid) => writeln!(file, "{pid}"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_begins_waits_for_one_that_is_ending() {
        let folder = tempfile::tempdir().unwrap();
        let (store, disk) = (folder.path().join("store"), folder.path().join("disk"));
        std::fs::create_dir(&store).unwrap();
        std::fs::create_dir(&disk).unwrap();
        let mut first = StoreLock::take(&store).unwrap();
        first.take_disks(std::slice::from_ref(&disk)).unwrap();
        let ending = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(200));
            drop(first);
        });
        StoreLock::take(&store).unwrap().take_disks(std::slice::from_ref(&disk)).unwrap();
        ending.join().unwrap();
    }

    #[test]
    fn the_doors_of_a_killed_server_are_gone_when_the_next_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let doors = crate::doors_file::path(folder.path());
        std::fs::write(&doors, "{}").unwrap();
        let first = StoreLock::take(folder.path()).unwrap();
        assert!(!doors.exists());
        std::fs::write(&doors, "{}").unwrap();
        StoreLock::holder(folder.path()).unwrap();
        assert!(doors.exists(), "who only looks takes nothing away");
        drop(first);
    }

    #[test]
    fn a_process_that_ended_is_told_from_one_that_runs() {
        assert!(!is_ending(std::process::id()));
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        assert!(!is_ending(child.id()));
        child.kill().unwrap();
        // As long as nobody waits for the child, it stays.
        let gone = (0..500).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            is_ending(child.id())
        });
        child.wait().unwrap();
        assert!(gone);
    }

    #[test]
    fn a_second_lock_is_refused_with_the_holder_and_free_again_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let first = StoreLock::take(folder.path()).unwrap();
        assert_eq!(StoreLock::holder(folder.path()), Some(std::process::id()));
        let refused = StoreLock::take(folder.path()).unwrap_err();
        assert!(refused.to_string().contains(&format!("another strata server (pid {}) holds", std::process::id())));
        drop(first);
        assert_eq!(StoreLock::holder(folder.path()), None);
        StoreLock::take(folder.path()).unwrap();
    }

    #[test]
    fn a_disk_belongs_to_one_server_at_a_time_and_a_missing_one_is_no_obstacle() {
        let (one, two, disk) =
            (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let disks = [disk.path().join("gone"), disk.path().to_owned()];
        let mut first = StoreLock::take(one.path()).unwrap();
        first.take_disks(&disks).unwrap();
        let mut second = StoreLock::take(two.path()).unwrap();
        let refused = second.take_disks(&disks).unwrap_err();
        assert!(refused.is::<InUse>());
        drop(first);
        second.take_disks(&disks).unwrap();
    }
}
