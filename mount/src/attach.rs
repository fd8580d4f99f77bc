//! Mount points: preparing, mounting, unmounting, and what `/proc/self/mountinfo` says about them.
//!
//! Mounting is done here rather than by the FUSE library wherever the process may (root): the library's teardown takes
//! a mount that somebody already removed for one that is still there, and unmounts the path again, whatever lies there
//! by then. Here a path is unmounted only while `mountinfo` shows our own device on it.

use std::ffi::{CString, OsString};
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

use crate::error::MountError;
use crate::options::MountOptions;

const FUSE_DEVICE: &str = "/dev/fuse";
/// Shown by `mount(8)` as the type.
pub(crate) const FS_TYPE: &str = "fuse.strata";

/// A line of `mountinfo`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct MountLine {
    /// `major:minor` of the mounted file system.
    pub(crate) device: String,
    /// Where it is mounted.
    pub(crate) at: PathBuf,
    /// Its type.
    pub(crate) kind: String,
}

/// Parses `/proc/self/mountinfo`; lines that do not have its form are left out.
pub(crate) fn parse_mountinfo(text: &[u8]) -> Vec<MountLine> {
    text.split(|&byte| byte == b'\n').filter_map(parse_line).collect()
}

fn parse_line(line: &[u8]) -> Option<MountLine> {
    // id parent major:minor root mount-point options optional-fields - type source super-options
    let mut fields = line.split(|&byte| byte == b' ');
    let device = String::from_utf8(fields.nth(2)?.to_vec()).ok()?;
    let at = PathBuf::from(OsString::from_vec(unescape(fields.nth(1)?)));
    fields.find(|&field| field == b"-")?;
    let kind = String::from_utf8_lossy(fields.next()?).into_owned();
    Some(MountLine { device, at, kind })
}

/// Undoes the kernel's `\ooo` for blanks, newlines and backslashes.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        let octal = (byte == b'\\').then(|| tail.get(..3)).flatten().and_then(|digits| {
            digits.iter().try_fold(0_u32, |value, &digit| {
                (b'0'..=b'7').contains(&digit).then(|| value * 8 + u32::from(digit - b'0'))
            })
        });
        match octal.and_then(|value| u8::try_from(value).ok()) {
            Some(decoded) => {
                out.push(decoded);
                rest = &tail[3..];
            }
            None => {
                out.push(byte);
                rest = tail;
            }
        }
    }
    out
}

/// What is mounted at `at` now, topmost.
pub(crate) fn mounted_at(at: &Path) -> Option<MountLine> {
    let text = fs::read("/proc/self/mountinfo").ok()?;
    parse_mountinfo(&text).into_iter().rfind(|line| line.at == at)
}

/// Makes sure that `at` is a directory nothing is mounted on: removes a dead mount, creates what is missing.
pub(crate) fn prepare(at: &Path) -> Result<PathBuf, MountError> {
    let fail = |source: io::Error| MountError::Prepare { at: at.to_path_buf(), source };
    if is_dead(at) {
        tracing::warn!(at = %at.display(), "removing a dead mount");
        rustix::mount::unmount(at, UnmountFlags::DETACH)
            .map_err(|error| MountError::Dead { at: at.to_path_buf(), source: error.into() })?;
    }
    match fs::metadata(at) {
        Ok(meta) if !meta.is_dir() => return Err(MountError::NotDirectory { at: at.to_path_buf() }),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => make_folder(at).map_err(fail)?,
        Err(error) => return Err(fail(error)),
    }
    let at = fs::canonicalize(at).map_err(fail)?;
    match mounted_at(&at) {
        Some(line) => Err(MountError::AlreadyMounted { at, kind: line.kind }),
        None => Ok(at),
    }
}

/// Makes a folder, and missing folders above it, that everybody may pass through, whatever mode the process gives its other
/// files: the mount itself decides who is let in.
fn make_folder(at: &Path) -> io::Result<()> {
    if let Some(above) = at.parent().filter(|above| !above.as_os_str().is_empty() && !above.exists()) {
        make_folder(above)?;
    }
    fs::create_dir(at)?;
    fs::set_permissions(at, fs::Permissions::from_mode(0o755))
}

/// Whether a FUSE mount whose server is gone lies at `at`. Its attributes may still come from the kernel's cache for as
/// long as they were given to live, so the question asked here is one that only a server can answer.
fn is_dead(at: &Path) -> bool {
    matches!(rustix::fs::statfs(at), Err(Errno::NOTCONN | Errno::CONNABORTED))
}

/// Mounts directly. `Ok(None)` if this process may not and the helper program has to.
pub(crate) fn attach(at: &Path, options: &MountOptions) -> Result<Option<OwnedFd>, MountError> {
    let not_allowed = |error: Errno| MountError::NotAllowed { at: at.to_path_buf(), source: error.into() };
    let device = match rustix::fs::open(FUSE_DEVICE, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) {
        Ok(device) => device,
        Err(Errno::NOENT | Errno::NODEV | Errno::NXIO) => return Err(MountError::NoFuse),
        Err(error) => return Err(not_allowed(error)),
    };
    let root = rustix::process::geteuid().is_root();
    let mut data = format!(
        "fd={},rootmode=40000,user_id={},group_id={},default_permissions",
        device.as_raw_fd(),
        rustix::process::getuid().as_raw(),
        rustix::process::getgid().as_raw(),
    );
    if options.others(root) {
        data.push_str(",allow_other");
    }
    // Reading changes no access time, and programs that would ask for it are told so.
    let mut flags = MountFlags::NOATIME;
    flags.set(MountFlags::NOSUID, !options.allow_suid);
    flags.set(MountFlags::NODEV, !options.allow_dev);
    flags.set(MountFlags::RDONLY, options.read_only);
    let failed = |source: io::Error| MountError::Mount { at: at.to_path_buf(), source };
    let data = CString::new(data).map_err(|error| failed(error.into()))?;
    match rustix::mount::mount(options.source.as_str(), at, FS_TYPE, flags, data.as_c_str()) {
        Ok(()) => Ok(Some(device)),
        Err(Errno::PERM | Errno::ACCESS) if !root => Ok(None),
        Err(error @ (Errno::PERM | Errno::ACCESS)) => Err(not_allowed(error)),
        Err(error) => Err(failed(error.into())),
    }
}

/// How an attempt to unmount ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Detach {
    /// The mount is gone, or somebody else had removed it.
    Done,
    /// Programs still use it.
    Busy,
}

/// Unmounts `at` if `device` is still mounted there.
pub(crate) fn detach(at: &Path, device: &str) -> Result<Detach, MountError> {
    if mounted_at(at).is_none_or(|line| line.device != device) {
        return Ok(Detach::Done);
    }
    match rustix::mount::unmount(at, UnmountFlags::NOFOLLOW) {
        Ok(()) | Err(Errno::INVAL | Errno::NOENT) => Ok(Detach::Done),
        Err(Errno::BUSY) => Ok(Detach::Busy),
        Err(error) => Err(MountError::Unmount { at: at.to_path_buf(), source: error.into() }),
    }
}

/// Cuts off the programs that use the mount and removes it: they get ENOTCONN from then on.
pub(crate) fn detach_by_force(at: &Path, device: &str) -> Result<(), MountError> {
    if mounted_at(at).is_some_and(|line| line.device == device) {
        // Pages the kernel still holds back (write-back mode) would be lost with the connection.
        if let Ok(root) = rustix::fs::open(at, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
            let _ = rustix::fs::syncfs(&root);
        }
        // Aborts the connection, then reports that the mount is busy; the second call takes it out of sight.
        let _ = rustix::mount::unmount(at, UnmountFlags::FORCE | UnmountFlags::NOFOLLOW);
        match rustix::mount::unmount(at, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {}
            Err(error) => {
                return Err(MountError::Unmount { at: at.to_path_buf(), source: error.into() });
            }
        }
    }
    // Removed from sight earlier (`umount -l`) and still used: only the control file system reaches the connection.
    if let Some((_, minor)) = device.split_once(':') {
        let _ = fs::write(format!("/sys/fs/fuse/connections/{minor}/abort"), b"1");
    }
    Ok(())
}

/// Raises the read-ahead of the mount. The protocol can only lower the kernel's 128 KiB; root may raise it here.
pub(crate) fn raise_read_ahead(device: &str, kib: u32) {
    let path = format!("/sys/class/bdi/{device}/read_ahead_kb");
    if let Err(error) = fs::write(&path, kib.to_string()) {
        tracing::debug!(path, %error, "read-ahead stays at the kernel's default");
    }
}

#[cfg(test)]
#[path = "attach/tests.rs"]
mod tests;
