//! The local drive: mounted before the doors are announced, taken away before the store is closed.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rustix::fs::Access;
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use strata_mount::{MountMetrics, MountOptions, Mounted};
use strata_namespace::Namespace;

/// How often a mount is looked at, to see that it was taken away from outside.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// What every mount goes through; `fusermount3` opens it with the rights of the user who runs it.
const FUSE_DEVICE: &str = "/dev/fuse";

/// The mounted name space.
pub(crate) struct MountedDoor {
    mounted: Mounted,
}

impl MountedDoor {
    /// Mounts the name space on `path`, which is made if it is missing; [`prepare`] comes before.
    ///
    /// # Errors
    /// Those of [`strata_mount::mount`]; nothing is mounted then.
    pub(crate) async fn mount(namespace: Arc<Namespace>, path: &Path, options: MountOptions) -> anyhow::Result<Self> {
        let path = path.to_owned();
        tokio::task::spawn_blocking(move || Ok(Self { mounted: strata_mount::mount(namespace, &path, options)? }))
            .await
            .context("mounting was interrupted")?
    }

    /// Whether it is there and answers.
    pub(crate) fn serves(&self) -> bool {
        self.mounted.serves()
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

/// What can be known before anything is made of the store: whether this user may mount, and on this folder. Takes away the
/// remains of a mount whose server died.
///
/// # Errors
/// A device that may not be opened, a folder with files in it.
pub(crate) fn prepare(path: &Path) -> anyhow::Result<()> {
    may_use(Path::new(FUSE_DEVICE))?;
    make_way(path)
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

/// Refuses where this user may not open the device: fusermount3 would only say "permission denied". A device that is
/// missing is reported by the mount itself.
fn may_use(device: &Path) -> anyhow::Result<()> {
    match rustix::fs::access(device, Access::READ_OK | Access::WRITE_OK) {
        Err(Errno::ACCESS) => anyhow::bail!(
            "this user may not open {0}; nothing was mounted; have root run `chmod 666 {0}`, as Debian's udev does, or \
             start without --mount",
            device.display()
        ),
        _ => Ok(()),
    }
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
    fn a_device_that_this_user_may_not_open_is_named() {
        use std::os::unix::fs::PermissionsExt;
        if rustix::process::getuid().is_root() {
            eprintln!("skipped: root may open anything");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let device = folder.path().join("fuse");
        may_use(&device).unwrap();
        std::fs::write(&device, "").unwrap();
        may_use(&device).unwrap();
        std::fs::set_permissions(&device, std::fs::Permissions::from_mode(0o400)).unwrap();
        let said = may_use(&device).unwrap_err().to_string();
        assert!(said.contains("may not open") && said.contains("nothing was mounted"), "{said}");
    }

    #[test]
    fn a_folder_with_files_is_not_mounted_over() {
        let folder = tempfile::tempdir().unwrap();
        make_way(folder.path()).unwrap();
        make_way(&folder.path().join("missing")).unwrap();
        std::fs::write(folder.path().join("precious"), "").unwrap();
        assert!(make_way(folder.path()).unwrap_err().to_string().contains("is not empty"));
    }
}
