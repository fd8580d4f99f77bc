//! CREATE, MKDIR, SYMLINK and MKNOD.

use nfsserve::nfs::{nfsstat3, sattr3};
use strata_namespace::{Attr, ErrorKind, NewNode, NodeKind, SYMLINK_LEN_MAX, SetAttr, SetTime};

use super::args::{CreateHow, Special};
use super::context::Context;
use crate::attr::{device_of, made_by, set_attr, verifier_times};
use crate::status::Fail;
use crate::xdr::Encoder;

/// How often an unchecked CREATE begins again when the name comes and goes under it.
const RACES_MAX: usize = 8;

impl Context {
    pub(super) fn create(&self, name: &[u8], how: &CreateHow, out: &mut Encoder) -> Result<(), Fail> {
        let name = self.entry_name(name, nfsstat3::NFS3ERR_EXIST)?;
        let before = self.directory(self.ino)?;
        self.watch(&before);
        let attr = match how {
            CreateHow::Unchecked(wire) => self.create_unchecked(name, &set_attr(wire)?)?,
            CreateHow::Guarded(wire) => {
                let node = NewNode { kind: NodeKind::File, mode: 0, rdev: 0 };
                self.make(name, node, set_attr(wire)?)?
            }
            CreateHow::Exclusive(verifier) => self.create_exclusive(name, *verifier)?,
        };
        self.created(&attr, &before, out);
        Ok(())
    }

    /// Opens what is there, or makes it. Of the attributes only the size counts for a file that was there.
    fn create_unchecked(&self, name: &[u8], set: &SetAttr) -> Result<Attr, Fail> {
        let node = NewNode { kind: NodeKind::File, mode: 0, rdev: 0 };
        for _ in 0..RACES_MAX {
            match self.make(name, node, *set) {
                Err(Fail(nfsstat3::NFS3ERR_EXIST)) => {}
                result => return result,
            }
            let attr = match self.door.ns.lookup(&self.op, self.ino, name) {
                Ok(attr) => attr,
                Err(error) if error.kind == ErrorKind::NotFound => continue,
                Err(error) => return Err(error.into()),
            };
            if attr.kind != NodeKind::File {
                return Err(Fail(nfsstat3::NFS3ERR_EXIST));
            }
            if set.size.is_none() {
                return Ok(attr);
            }
            let cut = SetAttr { size: set.size, ..SetAttr::default() };
            return Ok(self.door.ns.setattr(&self.op, attr.ino, &cut)?);
        }
        Err(Fail(nfsstat3::NFS3ERR_JUKEBOX))
    }

    /// Makes the file with the verifier in its times; a file that has them was made by an earlier transmission.
    ///
    /// The file gets its name last, in one commit, so that no crash leaves a file without the verifier behind it.
    fn create_exclusive(&self, name: &[u8], verifier: [u8; 8]) -> Result<Attr, Fail> {
        let ns = &self.door.ns;
        match ns.lookup(&self.op, self.ino, name) {
            Ok(attr) if made_by(&attr, verifier) => return Ok(attr),
            Ok(_) => return Err(Fail(nfsstat3::NFS3ERR_EXIST)),
            Err(error) if error.kind == ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
        let attr = ns.create_unnamed(&self.op, self.ino, 0)?;
        let (mtime, atime) = verifier_times(verifier);
        let times = SetAttr { mtime: Some(SetTime::At(mtime)), atime: Some(SetTime::At(atime)), ..SetAttr::default() };
        let made = ns.setattr(&self.op, attr.ino, &times).and_then(|_| ns.link(&self.op, attr.ino, self.ino, name));
        // If the file got no name, this removes it; otherwise it stays.
        let closed = ns.close(&self.op, attr.ino, false);
        let made = made?;
        closed?;
        Ok(made)
    }

    pub(super) fn mkdir(&self, name: &[u8], wire: &sattr3, out: &mut Encoder) -> Result<(), Fail> {
        let name = self.entry_name(name, nfsstat3::NFS3ERR_EXIST)?;
        let mut set = set_attr(wire)?;
        set.size = None;
        let before = self.directory(self.ino)?;
        self.watch(&before);
        let attr = self.door.ns.mkdir(&self.op, self.ino, name, set.mode.take().unwrap_or(0))?;
        let attr = self.finish(attr, set)?;
        self.created(&attr, &before, out);
        Ok(())
    }

    pub(super) fn symlink(&self, name: &[u8], wire: &sattr3, target: &[u8], out: &mut Encoder) -> Result<(), Fail> {
        let name = self.entry_name(name, nfsstat3::NFS3ERR_EXIST)?;
        if target.len() > SYMLINK_LEN_MAX {
            return Err(Fail(nfsstat3::NFS3ERR_NAMETOOLONG));
        }
        if target.is_empty() || target.contains(&0) {
            return Err(Fail(nfsstat3::NFS3ERR_INVAL));
        }
        // A link's mode means nothing, and its size is that of the target.
        let set = SetAttr { mode: None, size: None, ..set_attr(wire)? };
        let before = self.directory(self.ino)?;
        self.watch(&before);
        let attr = self.door.ns.symlink(&self.op, self.ino, name, target)?;
        let attr = self.finish(attr, set)?;
        self.created(&attr, &before, out);
        Ok(())
    }

    pub(super) fn mknod(&self, name: &[u8], what: &Special, out: &mut Encoder) -> Result<(), Fail> {
        let name = self.entry_name(name, nfsstat3::NFS3ERR_EXIST)?;
        let (kind, wire, rdev) = match what {
            Special::CharDevice(wire, device) => (NodeKind::CharDevice, wire, device_of(*device)),
            Special::BlockDevice(wire, device) => (NodeKind::BlockDevice, wire, device_of(*device)),
            Special::Socket(wire) => (NodeKind::Socket, wire, 0),
            Special::Fifo(wire) => (NodeKind::Fifo, wire, 0),
            Special::Other => return Err(Fail(nfsstat3::NFS3ERR_BADTYPE)),
        };
        let set = SetAttr { size: None, ..set_attr(wire)? };
        let before = self.directory(self.ino)?;
        self.watch(&before);
        let attr = self.make(name, NewNode { kind, mode: 0, rdev }, set)?;
        self.created(&attr, &before, out);
        Ok(())
    }

    /// Makes a node with the attributes asked for. A mode that is not given is 0, as at Linux' server: nobody but the
    /// owner gets in until the client says who may.
    fn make(&self, name: &[u8], node: NewNode, mut set: SetAttr) -> Result<Attr, Fail> {
        let node = NewNode { mode: set.mode.take().unwrap_or(node.mode), ..node };
        let attr = self.door.ns.mknod(&self.op, self.ino, name, node)?;
        self.finish(attr, set)
    }

    /// Sets what creating a node does not. Owners are for the superuser to choose; clients send them along with what
    /// they are anyway, so that refusing would fail creations that are in order.
    fn finish(&self, attr: Attr, mut set: SetAttr) -> Result<Attr, Fail> {
        let ns = &self.door.ns;
        set.uid = set.uid.filter(|uid| ns.may_give(&self.op, &attr, *uid, attr.gid));
        set.gid = set.gid.filter(|gid| ns.may_give(&self.op, &attr, attr.uid, *gid));
        set.uid = set.uid.filter(|uid| *uid != attr.uid);
        set.gid = set.gid.filter(|gid| *gid != attr.gid);
        set.size = set.size.filter(|size| *size != attr.size);
        if set == SetAttr::default() {
            return Ok(attr);
        }
        Ok(self.door.ns.setattr(&self.op, attr.ino, &set)?)
    }

    /// Answers with what was made.
    fn created(&self, attr: &Attr, directory_before: &Attr, out: &mut Encoder) {
        self.ok(out);
        self.put_post_op_handle(attr, out);
        self.put_post_op(Some(attr), out);
        self.put_wcc(directory_before, out);
    }
}
