//! The local drive: mounted before the doors are announced, taken away before the store is closed.

use std::os::unix::ffi::OsStrExt;
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

use crate::guard::Guard;

/// How often a mount is looked at, to see that it was taken away from outside.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// What every mount goes through; `fusermount3` opens it with the rights of the user who runs it.
const FUSE_DEVICE: &str = "/dev/fuse";

/// The mounted name space.
pub(crate) struct MountedDoor {
    mounted: Mounted,
    /// Outlives the mount.
    _guard: Option<Guard>,
}

impl MountedDoor {
    /// Mounts the name space on `path`, which is made if it is missing; [`prepare`] comes before.
    ///
    /// # Errors
    /// Those of [`strata_mount::mount`]; nothing is mounted then.
    pub(crate) async fn mount(namespace: Arc<Namespace>, path: &Path, options: MountOptions) -> anyhow::Result<Self> {
        let path = path.to_owned();
        let mounting = move || {
            let guard = Guard::start(&path).inspect_err(|error| tracing::warn!("{error:#}")).ok();
            Ok(Self { mounted: strata_mount::mount(namespace, &path, options)?, _guard: guard })
        };
        tokio::task::spawn_blocking(mounting).await.context("mounting was interrupted")?
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

/// Ends the connection between the kernel and the dead server of a mount: programs that wait for an answer get an error. The mount
/// itself may stay, until it is unmounted. False if there is none, or if this user may not.
pub(crate) fn end_connection(path: &Path) -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let Some(connection) = connection_of(path, &mounts) else { return false };
    std::fs::write(format!("/sys/fs/fuse/connections/{connection}/abort"), "1").is_ok()
        // For systems without that file system mounted. A forced unmount asks nothing of the mount's server.
        || rustix::mount::unmount(path, UnmountFlags::FORCE | UnmountFlags::DETACH).is_ok()
}

/// The kernel's number of the connection of the topmost mount on `path`, if FUSE is what is mounted there; from the text of
/// `/proc/PID/mountinfo` (proc_pid_mountinfo(5)).
fn connection_of(path: &Path, mounts: &str) -> Option<u32> {
    let place = |line: &&str| line.split(' ').nth(4).is_some_and(|place| plain(place) == path.as_os_str().as_bytes());
    let line = mounts.lines().rev().find(place)?;
    let (_, behind) = line.split_once(" - ")?;
    let is_fuse = behind.split(' ').next().is_some_and(|kind| kind == "fuse" || kind.starts_with("fuse."));
    let (_, minor) = line.split(' ').nth(2)?.split_once(':')?;
    minor.parse().ok().filter(|_| is_fuse)
}

/// A path of that file, in which blanks and the like are octal numbers.
fn plain(escaped: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = escaped.as_bytes();
    while let Some((byte, behind)) = rest.split_first() {
        let digits = behind.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        let code = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()).filter(|_| *byte == b'\\');
        bytes.push(code.unwrap_or(*byte));
        rest = if code.is_some() { &behind[3..] } else { behind };
    }
    bytes
}

/// Unmounts a mount at once, even if it is used. Does nothing if nothing is mounted.
pub(crate) fn detach(path: &Path) {
    if rustix::mount::unmount(path, UnmountFlags::DETACH).is_ok() {
        return;
    }
    // Without the rights of root, the helper that mounted it unmounts it.
    let helper = std::process::Command::new("fusermount3").args(["-u", "-z", "-q", "--"]).arg(path).output();
    if let Err(error) = helper {
        tracing::warn!(%error, path = %path.display(), "the mount could not be taken away; run fusermount3 -u -z on it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_connection_of_a_mount_is_found_by_its_place() {
        let mounts = "29 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
            40 29 0:51 / /srv/a\\040b rw,nosuid shared:9 - fuse strata rw,user_id=0\n\
            41 29 0:52 / /srv/c rw - fuse.strata strata rw\n\
            42 41 0:53 / /srv/c rw - tmpfs none rw\n";
        assert_eq!(connection_of(Path::new("/srv/a b"), mounts), Some(51));
        assert_eq!(connection_of(Path::new("/srv/c"), mounts), None, "something else lies on it");
        assert_eq!(connection_of(Path::new("/"), mounts), None);
        assert_eq!(connection_of(Path::new("/srv/c"), &mounts[..mounts.find("42 41").unwrap()]), Some(52));
    }

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
