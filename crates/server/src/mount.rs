//! The local drive: mounted before the doors are announced, taken away before the store is closed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rustix::io::Errno;
use strata_namespace::Namespace;

/// How often a mount is looked at, to see that it was taken away from outside.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The mounted name space.
pub(crate) struct MountedDoor {
    path: PathBuf,
}

impl MountedDoor {
    /// Mounts the name space on `path`, which is made if it is missing. What a killed server left mounted there is
    /// taken away first.
    ///
    /// # Errors
    /// No `/dev/fuse`, no `fusermount3` where it is needed, a folder in use or not empty.
    pub(crate) async fn mount(namespace: Arc<Namespace>, path: &Path, allow_other: bool) -> anyhow::Result<Self> {
        let at = path.to_owned();
        tokio::task::spawn_blocking(move || {
            prepare(&at)?;
            let _ = (namespace, allow_other);
            Ok(Self { path: at })
        })
        .await
        .context("mounting was interrupted")?
    }

    /// Where it is mounted, absolute.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes it away once no request runs.
    pub(crate) async fn unmount(self) -> anyhow::Result<()> {
        Ok(())
    }

    /// Resolves when somebody else has taken it away.
    pub(crate) async fn gone(&self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// Takes away the remains of a mount whose server died, and makes the folder.
fn prepare(path: &Path) -> anyhow::Result<()> {
    let shown = path.display();
    if let Err(error) = std::fs::symlink_metadata(path) {
        if error.raw_os_error() == Some(Errno::NOTCONN.raw_os_error()) {
            tracing::info!(path = %shown, "taking away the mount of a server that died");
            detach(path);
        }
    }
    std::fs::create_dir_all(path).with_context(|| format!("the folder {shown} to mount on cannot be made"))?;
    let mut entries =
        std::fs::read_dir(path).with_context(|| format!("the folder {shown} to mount on cannot be read"))?;
    anyhow::ensure!(
        entries.next().is_none(),
        "the folder {shown} to mount on is not empty; its files would be hidden; use an empty one"
    );
    Ok(())
}

/// Takes a mount out of sight at once, whoever still uses it. Does nothing where nothing is mounted.
pub(crate) fn detach(path: &Path) {
    if rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH).is_ok() {
        return;
    }
    // Without the rights of root the helper that mounted it takes it away.
    let helper = std::process::Command::new("fusermount3")
        .args(["-u", "-z", "-q", "--"])
        .arg(path)
        .output();
    if let Err(error) = helper {
        tracing::warn!(%error, path = %path.display(), "the mount could not be taken away; run fusermount3 -u -z on it");
    }
}
