//! LOOKUP, REMOVE, RMDIR, RENAME and LINK: procedures on entries that are there.

use nfsserve::nfs::nfsstat3;
use strata_namespace::{NodeKind, RenameMode};

use super::context::Context;
use crate::status::Fail;
use crate::xdr::Encoder;

impl Context {
    pub(super) fn lookup(&self, name: &[u8], out: &mut Encoder) -> Result<(), Fail> {
        let directory = self.directory(self.ino)?;
        let attr = match name {
            b"." => directory.clone(),
            b".." => self.parent(&directory)?,
            _ => {
                let name = self.entry_name(name, nfsstat3::NFS3ERR_INVAL)?;
                self.door.ns.lookup(&self.op, self.ino, name)?
            }
        };
        self.ok(out);
        self.put_handle(&attr, out);
        self.put_post_op(Some(&attr), out);
        self.put_post_op(Some(&directory), out);
        Ok(())
    }

    pub(super) fn remove(&self, name: &[u8], out: &mut Encoder) -> Result<(), Fail> {
        let name = self.entry_name(name, nfsstat3::NFS3ERR_INVAL)?;
        let before = self.directory(self.ino)?;
        self.watch(&before);
        self.door.ns.unlink(&self.op, self.ino, name)?;
        self.ok(out);
        self.put_wcc(&before, out);
        Ok(())
    }

    pub(super) fn rmdir(&self, name: &[u8], out: &mut Encoder) -> Result<(), Fail> {
        // The standard asks for these two status codes.
        let dots = if name == b"." { nfsstat3::NFS3ERR_INVAL } else { nfsstat3::NFS3ERR_EXIST };
        let name = self.entry_name(name, dots)?;
        let before = self.directory(self.ino)?;
        self.watch(&before);
        self.door.ns.rmdir(&self.op, self.ino, name)?;
        self.ok(out);
        self.put_wcc(&before, out);
        Ok(())
    }

    pub(super) fn rename(
        &self,
        from_name: &[u8],
        to_directory: &[u8],
        to_name: &[u8],
        out: &mut Encoder,
    ) -> Result<(), Fail> {
        let from_name = self.entry_name(from_name, nfsstat3::NFS3ERR_INVAL)?;
        let to_name = self.entry_name(to_name, nfsstat3::NFS3ERR_INVAL)?;
        let to_directory = self.other(to_directory)?;
        let from_before = self.directory(self.ino)?;
        let to_before = self.directory(to_directory)?;
        self.watch(&from_before);
        self.watch(&to_before);
        let (from, to) = ((self.ino, from_name), (to_directory, to_name));
        self.door.ns.rename_or_trash(&self.op, from, to, RenameMode::Replace)?;
        self.ok(out);
        self.put_wcc(&from_before, out);
        self.put_wcc(&to_before, out);
        Ok(())
    }

    pub(super) fn link(&self, directory: &[u8], name: &[u8], out: &mut Encoder) -> Result<(), Fail> {
        let name = self.entry_name(name, nfsstat3::NFS3ERR_EXIST)?;
        let directory = self.other(directory)?;
        if self.attr(self.ino)?.kind == NodeKind::Directory {
            return Err(Fail(nfsstat3::NFS3ERR_ISDIR));
        }
        let before = self.directory(directory)?;
        self.watch(&before);
        let attr = self.door.ns.link(&self.op, self.ino, directory, name)?;
        self.ok(out);
        self.put_post_op(Some(&attr), out);
        self.put_wcc(&before, out);
        Ok(())
    }
}
