//! A call in execution: who calls, under which export, on which inode; and the parts every procedure needs.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use nfsserve::nfs::nfsstat3;
use strata_namespace::{Attr, NAME_LEN_MAX, NodeKind, Op};
use strata_seam::Ino;

use super::args::Request;
use crate::attr::{post_op, same_to_caches, wcc, wire_attr};
use crate::door::NfsDoor;
use crate::export::{ExportId, Rule};
use crate::metrics::count;
use crate::mount::{export_root, refusal};
use crate::rpc::Credential;
use crate::status::Fail;
use crate::xdr::Encoder;

/// Directories gone up at most to see whether one lies within an export. Deeper trees are refused, not searched.
const DEPTH_MAX: usize = 4096;

/// See the module.
pub(super) struct Context {
    pub(super) door: Arc<NfsDoor>,
    pub(super) op: Op,
    /// The inode of the first handle.
    pub(super) ino: Ino,
    pub(super) fsid: u64,
    pub(super) export: ExportId,
    rule: Arc<Rule>,
}

/// How a procedure ended; what it answers beside `data` is in the encoder.
pub(super) struct Outcome {
    pub(super) status: nfsstat3,
    pub(super) data: Bytes,
}

impl Context {
    /// Checks the handle, finds the rule that decides for the client, and forms the caller.
    pub(super) fn new(
        door: &Arc<NfsDoor>,
        peer: SocketAddr,
        credential: &Credential,
        procedure: u32,
        handle: &[u8],
    ) -> Result<Self, Fail> {
        let handle = door.handles.decode(handle)?;
        let exports = door.exports();
        let rule = exports.rule(handle.export, peer).map_err(|refused| {
            count(&door.metrics().export_refusals);
            refusal(refused)
        })?;
        Ok(Self {
            door: Arc::clone(door),
            op: Op::of(rule.export.caller(credential), crate::operations::of_procedure(procedure)),
            ino: handle.ino,
            fsid: door.fsid(handle.export),
            export: handle.export,
            rule: Arc::clone(rule),
        })
    }

    /// Executes `request`, appending status and results to `out`.
    pub(super) fn run(&self, request: &Request, out: &mut Encoder) -> Outcome {
        let begin = out.len();
        let result = if request.writes() && self.read_only() {
            Err(Fail(nfsstat3::NFS3ERR_ROFS))
        } else {
            self.procedure(request, out)
        };
        match result {
            Ok(data) => Outcome { status: nfsstat3::NFS3_OK, data },
            Err(fail) => {
                out.truncate(begin);
                let present = match request {
                    Request::Getattr => vec![],
                    Request::Rename { to_directory: other, .. } | Request::Link { directory: other, .. } => {
                        let other = self.other(other).ok();
                        vec![self.known(self.ino), other.and_then(|ino| self.known(ino))]
                    }
                    _ => vec![self.known(self.ino)],
                };
                let status = request.failure_shape().encode(fail, &present, out);
                Outcome { status, data: Bytes::new() }
            }
        }
    }

    /// Executes a READ if its bytes are in memory. Otherwise, and if it fails, `out` is as it was, and [`Self::run`] is
    /// the one to answer.
    pub(super) fn read_cached(&self, offset: u64, count: u32, out: &mut Encoder) -> Option<Outcome> {
        let begin = out.len();
        match self.read(offset, count, true, out) {
            Ok(Some(data)) => Some(Outcome { status: nfsstat3::NFS3_OK, data }),
            _ => {
                out.truncate(begin);
                None
            }
        }
    }

    fn procedure(&self, request: &Request, out: &mut Encoder) -> Result<Bytes, Fail> {
        match request {
            Request::Getattr => self.getattr(out)?,
            Request::Setattr { attributes, guard } => self.setattr(attributes, *guard, out)?,
            Request::Lookup { name } => self.lookup(name, out)?,
            Request::Access { asked } => self.access(*asked, out)?,
            Request::Readlink => self.readlink(out)?,
            Request::Read { offset, count } => {
                return Ok(self.read(*offset, *count, false, out)?.unwrap_or_default());
            }
            Request::Write { offset, stable, data } => self.write(*offset, *stable, data, out)?,
            Request::Create { name, how } => self.create(name, how, out)?,
            Request::Mkdir { name, attributes } => self.mkdir(name, attributes, out)?,
            Request::Symlink { name, attributes, target } => self.symlink(name, attributes, target, out)?,
            Request::Mknod { name, what } => self.mknod(name, what, out)?,
            Request::Remove { name } => self.remove(name, out)?,
            Request::Rmdir { name } => self.rmdir(name, out)?,
            Request::Rename { name, to_directory, to_name } => self.rename(name, to_directory, to_name, out)?,
            Request::Link { directory, name } => self.link(directory, name, out)?,
            Request::Readdir { cookie, verifier, count } => self.readdir(*cookie, *verifier, *count, out)?,
            Request::Readdirplus { cookie, verifier, dircount, maxcount } => {
                self.readdirplus(*cookie, *verifier, *dircount, *maxcount, out)?;
            }
            Request::Fsstat => self.fsstat(out)?,
            Request::Fsinfo => self.fsinfo(out)?,
            Request::Pathconf => self.pathconf(out)?,
            Request::Commit => self.commit(out)?,
        }
        Ok(Bytes::new())
    }

    /// Whether the export refuses changes.
    pub(super) fn read_only(&self) -> bool {
        self.rule.export.read_only
    }

    /// Attributes of an inode that a handle names.
    pub(super) fn attr(&self, ino: Ino) -> Result<Attr, Fail> {
        self.door.ns.getattr(&self.op, ino).map_err(Fail::of_inode)
    }

    /// Attributes of a directory that a handle names.
    pub(super) fn directory(&self, ino: Ino) -> Result<Attr, Fail> {
        let attr = self.attr(ino)?;
        if attr.kind == NodeKind::Directory { Ok(attr) } else { Err(Fail(nfsstat3::NFS3ERR_NOTDIR)) }
    }

    /// Attributes as they are now, for a reply that does without them if need be.
    fn known(&self, ino: Ino) -> Option<(Attr, u64)> {
        Some((self.door.ns.getattr(&self.op, ino).ok()?, self.fsid))
    }

    /// The inode of a call's second handle, which must be of the same export.
    pub(super) fn other(&self, handle: &[u8]) -> Result<Ino, Fail> {
        let handle = self.door.handles.decode(handle)?;
        if handle.export == self.export { Ok(handle.ino) } else { Err(Fail(nfsstat3::NFS3ERR_XDEV)) }
    }

    /// Checks that `name` can be an entry's: `.` and `..` get the status given, as each procedure has its own.
    pub(super) fn entry_name<'n>(&self, name: &'n [u8], dots: nfsstat3) -> Result<&'n [u8], Fail> {
        match name {
            [] => Err(Fail(nfsstat3::NFS3ERR_INVAL)),
            b"." | b".." => Err(Fail(dots)),
            _ if name.len() > NAME_LEN_MAX => Err(Fail(nfsstat3::NFS3ERR_NAMETOOLONG)),
            _ if name.contains(&b'/') || name.contains(&0) => Err(Fail(nfsstat3::NFS3ERR_INVAL)),
            _ => Ok(name),
        }
    }

    /// The directory above `directory`, which for an export's root is itself.
    ///
    /// A directory moved out of the exported bucket while a client holds its handle has a parent outside: that is
    /// noticed by going up to the export's root, and refused.
    pub(super) fn parent(&self, directory: &Attr) -> Result<Attr, Fail> {
        let root = export_root(&self.door, &self.op, &self.rule)?;
        if directory.ino == root.ino {
            return Ok(root);
        }
        let parent = self.door.ns.parent(&self.op, directory.ino).map_err(Fail::of_inode)?;
        if self.rule.export.bucket().is_none() {
            return Ok(parent);
        }
        let mut at = parent.ino;
        for _ in 0..DEPTH_MAX {
            if at == root.ino {
                return Ok(parent);
            }
            let above = self.door.ns.parent(&self.op, at).map_err(Fail::of_inode)?.ino;
            if above == at {
                break;
            }
            at = above;
        }
        Err(Fail(nfsstat3::NFS3ERR_ACCES))
    }

    /// Begins a successful reply.
    pub(super) fn ok(&self, out: &mut Encoder) {
        out.item(&nfsstat3::NFS3_OK);
    }

    /// Appends attributes that must be there.
    pub(super) fn put_attr(&self, attr: &Attr, out: &mut Encoder) {
        out.item(&wire_attr(attr, self.fsid));
    }

    /// Appends attributes that may be there.
    pub(super) fn put_post_op(&self, attr: Option<&Attr>, out: &mut Encoder) {
        out.item(&post_op(attr, self.fsid));
    }

    /// Has the changes that follow note what the inode is like before and after them, for [`Self::put_wcc`].
    pub(super) fn watch(&self, attr: &Attr) {
        self.op.watch(attr.ino);
    }

    /// Appends attributes before and after. `earlier` is what was read of the inode before the operation.
    pub(super) fn put_wcc(&self, earlier: &Attr, out: &mut Encoder) {
        if let Some((before, after)) = self.op.watched(earlier.ino) {
            out.item(&wcc(Some(&before), Some(&after), self.fsid));
            return;
        }
        let now = self.door.ns.getattr(&self.op, earlier.ino).ok();
        let unchanged = now.as_ref().filter(|now| same_to_caches(earlier, now));
        out.item(&wcc(unchanged, now.as_ref(), self.fsid));
    }

    /// Appends the handle of an inode.
    pub(super) fn put_handle(&self, attr: &Attr, out: &mut Encoder) {
        out.opaque(&self.door.handle(self.export, attr));
    }

    /// Appends an optional handle, present.
    pub(super) fn put_post_op_handle(&self, attr: &Attr, out: &mut Encoder) {
        out.bool(true);
        self.put_handle(attr, out);
    }
}
