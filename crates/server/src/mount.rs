//! The local drive: mounted before the doors are announced, taken away before the store is closed.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use strata_mount::{MountMetrics, MountOptions, Mounted};
use strata_namespace::Namespace;

/// How often a mount is looked at, to see that it was taken away from outside.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The mounted name space.
pub(crate) struct MountedDoor {
    mounted: Mounted,
}

impl MountedDoor {
    /// Mounts the name space on `path`, which is made if it is missing. What a killed server left mounted there is
    /// taken away first.
    ///
    /// # Errors
    /// A folder with files in it, and those of [`strata_mount::mount`]; nothing is mounted then.
    pub(crate) async fn mount(namespace: Arc<Namespace>, path: &Path, options: MountOptions) -> anyhow::Result<Self> {
        let path = path.to_owned();
        tokio::task::spawn_blocking(move || {
            make_way(&path)?;
            Ok(Self { mounted: strata_mount::mount(namespace, &path, options)? })
        })
        .await
        .context("mounting was interrupted")?
    }

    /// Where it is mounted, absolute.
    pub(crate) fn path(&self) -> PathBuf {
        self.mounted.path().to_owned()
    }

    /// What it counts.
    pub(crate) fn metrics(&self) -> Arc<MountMetrics> {
        self.mounted.metrics()
    }

    /// Takes it away; programs that use it get a moment to finish.
    ///
    /// # Errors
    /// It is still there.
    pub(crate) async fn unmount(self) -> anyhow::Result<()> {
        tokio::task::spawn_blocking(move || self.mounted.unmount()).await.context("unmounting was interrupted")??;
        Ok(())
    }

    /// Resolves when somebody else has taken it away.
    pub(crate) async fn gone(&self) {
        while !self.mounted.has_ended() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// Takes away the remains of a mount whose server died, and refuses a folder whose files a mount would hide.
fn make_way(path: &Path) -> anyhow::Result<()> {
    match std::fs::metadata(path) {
        Err(error) if error.raw_os_error() == Some(Errno::NOTCONN.raw_os_error()) => {
            tracing::info!(path = %path.display(), "taking away the mount of a server that died");
            detach(path);
            return Ok(());
        }
        Err(_) => return Ok(()),
        Ok(_) => {}
    }
    let device = |path: &Path| std::fs::metadata(path).map(|found| found.dev()).ok();
    let mounted_already = device(path) != device(&path.join(".."));
    let has_files = std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some());
    anyhow::ensure!(
        mounted_already || !has_files,
        "the folder {} to mount on is not empty and its files would be hidden; nothing was mounted; use an empty folder",
        path.display()
    );
    Ok(())
}

/// Takes a mount out of sight at once, whoever still uses it. Does nothing where nothing is mounted.
pub(crate) fn detach(path: &Path) {
    if rustix::mount::unmount(path, UnmountFlags::DETACH).is_ok() {
        return;
    }
    // Without the rights of root the helper that mounted it takes it away.
    let helper = std::process::Command::new("fusermount3").args(["-u", "-z", "-q", "--"]).arg(path).output();
    if let Err(error) = helper {
        tracing::warn!(%error, path = %path.display(), "the mount could not be taken away; run fusermount3 -u -z on it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_files_is_not_mounted_over() {
        let folder = tempfile::tempdir().unwrap();
        make_way(folder.path()).unwrap();
        make_way(&folder.path().join("missing")).unwrap();
        std::fs::write(folder.path().join("precious"), "").unwrap();
        assert!(make_way(folder.path()).unwrap_err().to_string().contains("is not empty"));
    }
}
