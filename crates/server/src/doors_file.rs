//! `DIR/doors.json`: the addresses of the doors of a running server and the credentials, for scripts.
//!
//! It appears, complete and readable only by its owner, once every door has answered, and is removed at a clean exit. After a crash an
//! old one may remain until the next start. Whether a server runs is shown by the lock, not by this file.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use strata_iam::User;

/// The S3 endpoint.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct S3 {
    /// Base URL for path-style requests.
    pub(crate) endpoint: String,
    /// Region to sign for.
    pub(crate) region: String,
    /// Access key of the first administrator.
    pub(crate) access_key: String,
    /// Its secret.
    pub(crate) secret_key: String,
}

/// The WebDAV share.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WebDav {
    /// URL of the root collection.
    pub(crate) url: String,
    /// User name.
    pub(crate) user: String,
    /// Password.
    pub(crate) password: String,
}

/// The NFS export.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Nfs {
    /// Address of the server.
    pub(crate) host: String,
    /// Port of the NFS program.
    pub(crate) port: u16,
    /// Port of the MOUNT program.
    pub(crate) mount_port: u16,
    /// Path to mount.
    pub(crate) export: String,
    /// Whether clients find the ports by themselves, that of locks between clients too, which cannot be told otherwise.
    #[serde(default)]
    pub(crate) portmap: bool,
}

/// The local mount.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mount {
    /// Where the root of the name space is.
    pub(crate) path: PathBuf,
}

/// The admin door.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Admin {
    /// Base URL.
    pub(crate) url: String,
}

/// All open doors. A door that is off is left out.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Doors {
    /// S3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) s3: Option<S3>,
    /// WebDAV.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) webdav: Option<WebDav>,
    /// NFS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) nfs: Option<Nfs>,
    /// FUSE.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) mount: Option<Mount>,
    /// Administration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) admin: Option<Admin>,
}

/// Where the file of the store in `data` is.
pub(crate) fn path(data: &Path) -> PathBuf {
    data.join("doors.json")
}

/// Writes a file that only its owner can read, whole or not at all, and on its medium when this returns.
///
/// # Errors
/// That it could not be written; an older file of that name is then intact.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let fresh = path.with_extension("new");
    let write = || {
        // A leftover may have another mode, and `mode` counts for new files only.
        match std::fs::remove_file(&fresh) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&fresh, path)?;
        // Without it a power cut may take the name away again.
        path.parent().map_or(Ok(()), sync_folder)
    };
    write().with_context(|| format!("{} cannot be written", path.display()))
}

/// Makes the names in a folder durable.
///
/// # Errors
/// Those of the file system.
pub(crate) fn sync_folder(folder: &Path) -> std::io::Result<()> {
    std::fs::File::open(if folder.as_os_str().is_empty() { Path::new(".") } else { folder })?.sync_all()
}

/// Makes the way to a folder durable: its name, and those of the folders above it as far up as this user may look, since any
/// of them may be new.
///
/// # Errors
/// Those of the file system, but that a folder above may not be opened: then it was not this user who made it.
pub(crate) fn sync_ways_to(folder: &Path) -> std::io::Result<()> {
    for above in std::path::absolute(folder)?.ancestors().skip(1) {
        match sync_folder(above) {
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => break,
            synced => synced?,
        }
    }
    Ok(())
}

impl Doors {
    /// Publishes the doors of the store in `data`.
    ///
    /// # Errors
    /// As [`write_private`].
    pub(crate) fn publish(&self, data: &Path) -> anyhow::Result<()> {
        let mut text = serde_json::to_vec_pretty(self).context("doors.json cannot be encoded")?;
        text.push(b'\n');
        write_private(&path(data), &text)
    }

    /// These doors with the credentials of this user.
    pub(crate) fn with_user(mut self, user: &User) -> Self {
        let secret = user.secret_key.expose();
        if let Some(s3) = &mut self.s3 {
            (s3.access_key, s3.secret_key) = (user.access_key.clone(), secret.to_owned());
        }
        if let Some(webdav) = &mut self.webdav {
            (webdav.user, webdav.password) = (user.name.clone(), secret.to_owned());
        }
        self
    }

    /// Withdraws the doors; that there are none is fine.
    pub(crate) fn withdraw(data: &Path) {
        match std::fs::remove_file(path(data)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(%error, "doors.json could not be removed and is out of date");
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_file_has_the_documented_shape_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        // A leftover of a killed server must not lend its mode to the new file.
        std::fs::write(folder.path().join("doors.new"), "old").unwrap();
        let doors = Doors {
            nfs: Some(Nfs { host: "127.0.0.1".into(), port: 1, mount_port: 2, export: "/".into(), portmap: false }),
            mount: Some(Mount { path: "/m".into() }),
            ..Doors::default()
        };
        doors.publish(folder.path()).unwrap();
        let path = path(folder.path());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let json: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "nfs": {"host": "127.0.0.1", "port": 1, "mount_port": 2, "export": "/", "portmap": false},
                "mount": {"path": "/m"},
            })
        );
        Doors::withdraw(folder.path());
        Doors::withdraw(folder.path());
        assert!(!path.exists());
    }
}
