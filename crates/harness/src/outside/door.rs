//! All doors of a server behind one interface: how each carries out a change, and what it promises about it.

use crate::outside::client::drive::Drive;
use crate::outside::client::http::encode_path;
use crate::outside::client::nfs::Nfs;
use crate::outside::client::s3::{S3, element};
use crate::outside::client::webdav::WebDav;
use crate::outside::client::{Failure, Reply};
use crate::outside::model::{Change, Manner};
use crate::outside::server::Doors;

/// The bucket everything lies in.
pub(crate) const BUCKET: &str = "box";
/// The least that S3 allows for a part that is not the last.
pub(crate) const PART_LEN: usize = 5 << 20;
/// The kernel may cut a longer write to the drive into several.
const DRIVE_WRITE_LEN: usize = 128 << 10;

/// A way into the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Door {
    S3,
    WebDav,
    Nfs,
    Drive,
}

/// How a change is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Way {
    /// Through which door.
    pub(crate) door: Door,
    /// One of the door's two ways: NFS with stable writes or a COMMIT, the drive with a sync of the directory or without.
    pub(crate) firm: bool,
}

impl Way {
    /// What this way promises about `change`; `None` if it cannot be asked for in this way.
    pub(crate) fn manner(self, change: &Change) -> Option<Manner> {
        use Change::{Chmod, Copy, Mkdir, Put, Remove, Rename, Rmdir, Truncate, Write};
        let whole = Manner { whole: true, soon: false, pieces: false };
        match (self.door, change) {
            (_, Put { parts: Some(_), .. }) if self.door != Door::S3 => None,
            (Door::S3, Put { .. } | Remove { .. } | Copy { .. } | Mkdir { .. } | Rmdir { .. }) => Some(whole),
            (Door::S3, Rename { .. } | Write { .. } | Truncate { .. } | Chmod { .. }) => None,
            (Door::WebDav, Write { .. }) => Some(Manner { pieces: true, ..whole }),
            (Door::WebDav, Truncate { .. } | Chmod { .. }) => None,
            (Door::WebDav, _) => Some(whole),
            (Door::Nfs | Door::Drive, Copy { .. }) => None,
            (Door::Nfs, Put { .. }) => Some(Manner { whole: false, ..whole }),
            (Door::Nfs, _) => Some(whole),
            (Door::Drive, Put { bytes, .. }) => {
                Some(Manner { whole: false, pieces: bytes.len() > DRIVE_WRITE_LEN, ..whole })
            }
            (Door::Drive, Write { bytes, .. }) => Some(Manner { pieces: bytes.len() > DRIVE_WRITE_LEN, ..whole }),
            (Door::Drive, Truncate { .. }) => Some(whole),
            (Door::Drive, _) => Some(Manner { soon: !self.firm, ..whole }),
        }
    }
}

/// What is seen of a file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Seen {
    /// Its content.
    pub(crate) bytes: Vec<u8>,
    /// The user metadata `tag`, where the door tells it.
    pub(crate) tag: Option<Option<String>>,
    /// Permission bits, where the door tells them.
    pub(crate) mode: Option<u32>,
}

/// One client per door of a running server.
#[derive(Debug)]
pub(crate) struct Clients {
    /// S3, which also lists.
    pub(crate) s3: S3,
    webdav: WebDav,
    nfs: Nfs,
    /// The drive, if it is mounted.
    pub(crate) drive: Option<Drive>,
}

impl Clients {
    /// Clients of this server.
    pub(crate) fn new(doors: &Doors) -> Reply<Self> {
        Ok(Self { s3: S3::new(doors), webdav: WebDav::new(doors), nfs: Nfs::new(doors)?, drive: Drive::new(doors) })
    }

    /// The doors that are open.
    pub(crate) fn doors(&self) -> &'static [Door] {
        const ALL: [Door; 4] = [Door::S3, Door::WebDav, Door::Nfs, Door::Drive];
        if self.drive.is_some() { &ALL } else { &ALL[..3] }
    }

    /// Makes the bucket.
    pub(crate) fn make_bucket(&mut self) -> Reply<()> {
        self.s3.send(("PUT", &format!("/{BUCKET}"), ""), &[], b"").map(drop)
    }

    /// Carries `change` out in the directory `base`, and returns once the reply is there.
    pub(crate) fn change(&mut self, way: Way, base: &str, change: &Change) -> Reply<()> {
        match way.door {
            Door::S3 => self.through_s3(base, change),
            Door::WebDav => self.through_webdav(base, change),
            Door::Nfs => self.through_nfs(base, change, way.firm),
            Door::Drive => self.through_drive(base, change, way.firm),
        }
    }

    fn through_s3(&mut self, base: &str, change: &Change) -> Reply<()> {
        let at = |path: &str| format!("{base}/{path}");
        let s3 = &mut self.s3;
        match change {
            Change::Put { path, bytes, tag, parts: None } => {
                let tag = tag.iter().map(|tag| ("x-amz-meta-tag", tag.as_str())).collect::<Vec<_>>();
                s3.send(("PUT", &at(path), ""), &tag, bytes).map(drop)
            }
            Change::Put { path, bytes, tag, parts: Some(parts) } => {
                let tag = tag.iter().map(|tag| ("x-amz-meta-tag", tag.as_str())).collect::<Vec<_>>();
                let begun = s3.send(("POST", &at(path), "uploads="), &tag, b"")?.text();
                let upload = element(&begun, "UploadId");
                // All parts but the last have the least length that S3 allows, or more.
                let len = if *parts == 1 { bytes.len().max(1) } else { PART_LEN };
                let mut document = "<CompleteMultipartUpload>".to_owned();
                for (part, bytes) in bytes.chunks(len).enumerate() {
                    let number = part + 1;
                    let query = format!("partNumber={number}&uploadId={upload}");
                    let answer = s3.send(("PUT", &at(path), &query), &[], bytes)?;
                    let etag = answer.header("etag").unwrap_or_default();
                    document += &format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>");
                }
                document += "</CompleteMultipartUpload>";
                let answer = s3.send(("POST", &at(path), &format!("uploadId={upload}")), &[], document.as_bytes())?;
                // A completion answers 200 before it is done; what came of it is in the document.
                let said = answer.text();
                if said.contains("<ETag>") { Ok(()) } else { Err(Failure::Refused { code: 500, said }) }
            }
            Change::Remove { path } => s3.send(("DELETE", &at(path), ""), &[], b"").map(drop),
            Change::Copy { from, to } => {
                let source = encode_path(&at(from));
                s3.send(("PUT", &at(to), ""), &[("x-amz-copy-source", &source)], b"").map(drop)
            }
            Change::Mkdir { path } => s3.send(("PUT", &at(&format!("{path}/")), ""), &[], b"").map(drop),
            Change::Rmdir { path } => s3.send(("DELETE", &at(&format!("{path}/")), ""), &[], b"").map(drop),
            Change::Rename { .. } | Change::Write { .. } | Change::Truncate { .. } | Change::Chmod { .. } => cannot(),
        }
    }

    fn through_webdav(&mut self, base: &str, change: &Change) -> Reply<()> {
        const GOOD: &[u16] = &[200, 201, 204];
        let at = |path: &str| format!("{base}/{path}");
        let dav = &mut self.webdav;
        let sent = match change {
            Change::Put { path, bytes, .. } => dav.send(("PUT", &at(path)), &[], bytes, GOOD),
            Change::Remove { path } | Change::Rmdir { path } => dav.send(("DELETE", &at(path)), &[], b"", GOOD),
            Change::Rename { from, to } => {
                let to = dav.destination(&at(to));
                dav.send(("MOVE", &at(from)), &[("destination", &to)], b"", GOOD)
            }
            Change::Copy { from, to } => {
                let to = dav.destination(&at(to));
                dav.send(("COPY", &at(from)), &[("destination", &to)], b"", GOOD)
            }
            Change::Write { path, offset, bytes } => {
                let range = format!("bytes {offset}-{}/*", (offset + bytes.len()).saturating_sub(1));
                dav.send(("PUT", &at(path)), &[("content-range", &range)], bytes, GOOD)
            }
            Change::Mkdir { path } => dav.send(("MKCOL", &at(path)), &[], b"", GOOD),
            Change::Truncate { .. } | Change::Chmod { .. } => return cannot(),
        };
        sent.map(drop)
    }

    fn through_nfs(&mut self, base: &str, change: &Change, stable: bool) -> Reply<()> {
        let at = |path: &str| format!("{base}/{path}");
        let nfs = &mut self.nfs;
        match change {
            Change::Put { path, bytes, .. } => nfs.put(&at(path), bytes, stable),
            Change::Remove { path } => nfs.remove(&at(path)),
            Change::Rmdir { path } => nfs.rmdir(&at(path)),
            Change::Rename { from, to } => nfs.rename(&at(from), &at(to)),
            Change::Write { path, offset, bytes } => nfs.write_at(&at(path), *offset as u64, bytes, stable),
            Change::Truncate { path, len } => nfs.truncate(&at(path), *len as u64),
            Change::Chmod { path, mode } => nfs.chmod(&at(path), *mode),
            Change::Mkdir { path } => nfs.mkdir(&at(path)),
            Change::Copy { .. } => cannot(),
        }
    }

    fn through_drive(&mut self, base: &str, change: &Change, firm: bool) -> Reply<()> {
        let at = |path: &str| format!("{base}/{path}");
        let Some(drive) = &self.drive else { return cannot() };
        let path = match change {
            Change::Put { path, bytes, .. } => return drive.put(&at(path), bytes),
            Change::Write { path, offset, bytes } => return drive.write_at(&at(path), *offset as u64, bytes),
            Change::Truncate { path, len } => return drive.truncate(&at(path), *len as u64),
            Change::Remove { path } => drive.remove(&at(path)).map(|()| path),
            Change::Rmdir { path } => drive.rmdir(&at(path)).map(|()| path),
            Change::Rename { from, to } => drive.rename(&at(from), &at(to)).map(|()| to),
            Change::Chmod { path, mode } => drive.chmod(&at(path), *mode).map(|()| path),
            Change::Mkdir { path } => drive.mkdir(&at(path)).map(|()| path),
            Change::Copy { .. } => return cannot(),
        }?;
        if firm { drive.sync_directory(&at(path)) } else { Ok(()) }
    }

    /// Whether the drive leads `path` to the inode it leads to elsewhere, and tells the same length of a file.
    ///
    /// Until the kernel has heard of what another door did, a name may lead it to the file that was there before
    /// (docs/semantics/mount.md, "Other doors").
    pub(crate) fn drive_has_heard(&mut self, path: &str) -> Reply<bool> {
        let Some(drive) = &self.drive else { return Ok(true) };
        let here = drive.identity(path);
        match (here, self.nfs.getattr(path)) {
            (Ok((ino, len)), Ok(there)) => Ok(ino == there.ino && len.is_none_or(|len| len == there.size)),
            (Err(here), Err(there)) if here.is_absent() && there.is_absent() => Ok(true),
            (Err(failure @ Failure::Lost(_)), _) | (_, Err(failure @ Failure::Lost(_))) => Err(failure),
            _ => Ok(false),
        }
    }

    /// Reads a file with everything else this door tells of it; `None` if there is none.
    pub(crate) fn read(&mut self, door: Door, path: &str) -> Reply<Option<Seen>> {
        let seen = match (door, &self.drive) {
            (Door::S3, _) => self.s3.send(("GET", path, ""), &[], b"").map(|answer| {
                let tag = Some(answer.header("x-amz-meta-tag").map(str::to_owned));
                Seen { bytes: answer.body, tag, mode: None }
            }),
            (Door::WebDav, _) => self
                .webdav
                .send(("GET", path), &[], b"", &[200])
                .map(|answer| Seen { bytes: answer.body, ..Seen::default() }),
            (Door::Nfs, _) => self.nfs.getattr(path).and_then(|attr| {
                let bytes = self.nfs.read(path)?;
                Ok(Seen { bytes, tag: None, mode: Some(attr.mode) })
            }),
            (Door::Drive, Some(drive)) => drive.stat(path).and_then(|(mode, _)| {
                let bytes = drive.read(path)?;
                Ok(Seen { bytes, tag: None, mode: Some(mode) })
            }),
            (Door::Drive, None) => return cannot(),
        };
        match seen {
            Ok(seen) => Ok(Some(seen)),
            Err(failure) if failure.is_absent() => Ok(None),
            Err(failure) => Err(failure),
        }
    }
}

fn cannot<T>() -> Reply<T> {
    Err(Failure::Refused { code: 0, said: "this door has no such operation".to_owned() })
}
