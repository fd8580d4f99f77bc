//! A small second process beside a server with a mount. It lives longer than the server, to end the mount if necessary.
//!
//! The kernel sometimes cannot remove a killed server. One of its threads tells the kernel of a changed name and waits for a directory;
//! a program at the mount holds that directory, and its own request will never be answered. The connection of the mount ends only with
//! the server's last thread, and that thread ends only with the connection. The process would then stay for ever with its lock, its
//! ports and its mount, and its parent would not be told that it ended. So another process has to end the connection: this one, which
//! watches its parent. The next start does the same for its predecessor (`lock.rs`).

#![allow(clippy::disallowed_methods, reason = "a process is looked after in real time; nothing stored depends on it")]

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, getppid};
use tokio::signal::unix::{SignalKind, signal};

use crate::lock::is_ending;
use crate::mount::end_connection;

/// The command that it is, which is not for people.
pub(crate) const COMMAND: &str = "mount-guard";
/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Looks in a row that find the parent ending before the connection is ended: most end by themselves.
const LOOKS: u32 = 3;

/// The process, as its parent knows it; taken away when this is dropped.
pub(crate) struct Guard(Child);

impl Guard {
    /// Starts it for a mount that is about to be made on `path`: before, so that it has nothing of it open.
    ///
    /// # Errors
    /// The process cannot be started.
    pub(crate) fn start(path: &Path) -> anyhow::Result<Self> {
        let path = std::path::absolute(path).context("the path of the folder cannot be made absolute")?;
        // The same program, even if its file was replaced meanwhile.
        let mut command = Command::new("/proc/self/exe");
        command.arg0("strata").arg(COMMAND).arg(path).current_dir("/").stdin(Stdio::null()).stdout(Stdio::null());
        Ok(Self(command.spawn().context("the process that looks after the mount cannot be started")?))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // One that is gone already needs no end.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Looks after the parent until it has ended.
///
/// # Errors
/// Signals cannot be awaited.
pub(crate) fn run(path: &Path) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(watch(getppid(), path.to_owned()))?;
    Ok(ExitCode::SUCCESS)
}

async fn watch(parent: Option<Pid>, path: PathBuf) -> anyhow::Result<()> {
    // Whoever ends a service ends all of its processes; this process may be needed only after that.
    let mut asked = [SignalKind::terminate(), SignalKind::interrupt()].map(signal);
    let [Ok(terminate), Ok(interrupt)] = &mut asked else { anyhow::bail!("signals cannot be awaited") };
    let mut ending = 0;
    while let Some(pid) = parent.filter(|_| getppid() == parent) {
        ending = if is_ending(pid.as_raw_nonzero().get().cast_unsigned()) { ending + 1 } else { 0 };
        if ending == LOOKS && end_connection(&path) {
            tracing::warn!(path = %path.display(), "a killed server could not end because of its mount; the mount was cut off");
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
    Ok(())
}
