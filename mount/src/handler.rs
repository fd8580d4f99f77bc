//! Requests of the kernel, unpacked, handed to the door, and answered. Nothing is decided here.
//!
//! Every request is answered exactly once, also when the code behind it panics: the program then gets EIO, the panic
//! has been reported, and the thread goes on serving. (A thread that died would leave the mount hanging.)

mod attempt;
mod replies;

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, Filesystem, FopenFlags, Generation, INodeNo,
    IoctlFlags, KernelConfig, LockOwner, Notifier, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen, ReplyStatfs,
    ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use strata_namespace::{NewNode, SetAttr};

use crate::attr::{access_of_mask, ino, kind_of_mode, kind_to_fuse, negative, set_time};
use crate::direct::{DirectWrites, Written};
use crate::door::{MountDoor, rename_mode};
use crate::errno::Refusal;
use crate::file::{Fallocate, WriteHow};
use crate::metrics::OpKind;
use attempt::attempt;
use replies::{entry_of, identity, open_flags, reply_attr, reply_empty, reply_xattr};

/// Inode numbers are never used again, so one generation serves for ever.
const GENERATION: Generation = Generation(0);
/// Entries asked of the name space at once for a listing with attributes; a reply of 32 KiB holds about 190.
const PLUS_PAGE: usize = 64;
/// Entries of one reply to a listing of names; a reply of 32 KiB holds about 800.
const NAMES_PAGE: usize = 256;
/// Unit of `statfs`, in bytes.
const STATFS_UNIT: u64 = 4096;

/// The receiving end of the kernel's requests.
pub(crate) struct Handler {
    door: Arc<MountDoor>,
    /// Set once the session exists, before its first request is served.
    notifier: Arc<OnceLock<Notifier>>,
    direct: DirectWrites,
}

impl Filesystem for Handler {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> io::Result<()> {
        replies::ask_for(config, &self.door.options);
        Ok(())
    }

    fn destroy(&mut self) {
        self.door.finish();
    }

    fn lookup(&self, req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.attempt_entry(OpKind::Lookup, reply, |door| door.lookup(identity(req, OpKind::Lookup), ino(parent), name));
    }

    fn forget(&self, _req: &Request, ino: INodeNo, nlookup: u64) {
        self.door.forget(ino.0, nlookup);
    }

    fn getattr(&self, req: &Request, number: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        let got = self.attempt(OpKind::Getattr, |door| door.getattr(identity(req, OpKind::Getattr), number.0));
        reply_attr(reply, got, &self.door.options);
    }

    fn setattr(
        &self,
        req: &Request,
        number: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        ctime: Option<SystemTime>,
        fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let set = SetAttr {
            mode: mode.map(|mode| mode & 0o7777),
            uid,
            gid,
            size,
            atime: atime.map(set_time),
            mtime: mtime.map(set_time),
            permit: None,
        };
        // Only a kernel that keeps times itself sends a change time; it has checked permission for what it sends.
        let times_only = mode.is_none() && uid.is_none() && gid.is_none() && size.is_none();
        let by_kernel = self.door.options.writeback && ctime.is_some() && times_only;
        let handle = fh.map(|fh| fh.0);
        let done = self.attempt(OpKind::Setattr, |door| {
            door.setattr(identity(req, OpKind::Setattr), number.0, set, handle, by_kernel)
        });
        reply_attr(reply, done, &self.door.options);
    }

    fn readlink(&self, req: &Request, number: INodeNo, reply: ReplyData) {
        match self.attempt(OpKind::Readlink, |door| door.readlink(identity(req, OpKind::Readlink), ino(number))) {
            Ok(target) => reply.data(&target),
            Err(errno) => reply.error(errno),
        }
    }

    fn mknod(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        self.attempt_entry(OpKind::Mknod, reply, |door| {
            let kind = kind_of_mode(mode).ok_or(Refusal(libc::EINVAL))?;
            let node = NewNode { kind, mode: mode & 0o7777, rdev: u64::from(rdev) };
            door.mknod(identity(req, OpKind::Mknod), ino(parent), name, node).map(Some)
        });
    }

    fn mkdir(&self, req: &Request, parent: INodeNo, name: &OsStr, mode: u32, _umask: u32, reply: ReplyEntry) {
        self.attempt_entry(OpKind::Mkdir, reply, |door| {
            door.mkdir(identity(req, OpKind::Mkdir), ino(parent), name, mode & 0o7777).map(Some)
        });
    }

    fn unlink(&self, req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        reply_empty(
            reply,
            self.attempt(OpKind::Unlink, |door| door.unlink(identity(req, OpKind::Unlink), ino(parent), name)),
        );
    }

    fn rmdir(&self, req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        reply_empty(
            reply,
            self.attempt(OpKind::Rmdir, |door| door.rmdir(identity(req, OpKind::Rmdir), ino(parent), name)),
        );
    }

    fn symlink(&self, req: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        let target = target.as_os_str().as_bytes();
        self.attempt_entry(OpKind::Symlink, reply, |door| {
            door.symlink(identity(req, OpKind::Symlink), ino(parent), name, target).map(Some)
        });
    }

    fn rename(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let renamed = self.attempt(OpKind::Rename, |door| {
            let mode = rename_mode(flags.bits()).ok_or(Refusal(libc::EINVAL))?;
            door.rename(identity(req, OpKind::Rename), (ino(parent), name), (ino(newparent), newname), mode)
        });
        reply_empty(reply, renamed);
    }

    fn link(&self, req: &Request, number: INodeNo, newparent: INodeNo, newname: &OsStr, reply: ReplyEntry) {
        self.attempt_entry(OpKind::Link, reply, |door| {
            door.link(identity(req, OpKind::Link), ino(number), ino(newparent), newname).map(Some)
        });
    }

    fn open(&self, req: &Request, number: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        match self.attempt(OpKind::Open, |door| door.open(identity(req, OpKind::Open), number.0, flags.0)) {
            Ok(opened) => {
                if opened.attr_stale {
                    self.drop_attributes(number);
                }
                reply.opened(FileHandle(opened.handle), open_flags(&opened));
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn create(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        match self
            .attempt(OpKind::Create, |door| door.create(identity(req, OpKind::Create), ino(parent), name, mode, flags))
        {
            Ok((shown, opened)) => {
                let options = &self.door.options;
                let (entry, ttl) = entry_of(&shown, options, options.attr_ttl.min(options.entry_ttl));
                reply.created(&ttl, &entry, GENERATION, FileHandle(opened.handle), open_flags(&opened));
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn read(
        &self,
        req: &Request,
        number: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        // A read that fills pages of the kernel names no owner of locks.
        let pages = lock_owner.is_none().then_some(number.0);
        match self
            .attempt(OpKind::Read, |door| door.read(identity(req, OpKind::Read), fh.0, pages, offset, size as usize))
        {
            Ok(data) => reply.data(data.as_ref()),
            Err(errno) => reply.error(errno),
        }
    }

    fn write(
        &self,
        req: &Request,
        number: INodeNo,
        fh: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        flags: OpenFlags,
        lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let how = WriteHow {
            flags: flags.0,
            from_cache: write_flags.contains(WriteFlags::FUSE_WRITE_CACHE),
            clear_set_id: write_flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID),
            // A write through pages of the kernel names no owner of locks.
            past_pages: lock_owner.is_some(),
        };
        match self
            .attempt(OpKind::Write, |door| door.write(identity(req, OpKind::Write), fh.0, number.0, offset, data, how))
        {
            Ok(wrote) => {
                if wrote.mode_changed {
                    self.drop_attributes(number);
                }
                // A request carries at most WRITE_LEN_MAX bytes.
                let len = u32::try_from(data.len()).unwrap_or(u32::MAX);
                if wrote.pages_stale {
                    self.direct.answer(Written { number, offset, len, reply });
                } else {
                    reply.written(len);
                }
            }
            Err(errno) => reply.error(errno),
        }
    }

    /// Not offered: writes report their errors themselves and synchronous ones are durable when they return. The kernel
    /// asks once, and from then on saves a request per close.
    fn flush(&self, _req: &Request, _ino: INodeNo, _fh: FileHandle, _lock_owner: LockOwner, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn release(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        let close =
            move |door: &MountDoor| reply_empty(reply, attempt(door, OpKind::Release, |door| door.release(fh.0)));
        if self.door.closes_quickly(fh.0) {
            close(&self.door);
        } else {
            let door = Arc::clone(&self.door);
            self.door.pool.run(move || close(&door));
        }
    }

    fn fsync(&self, req: &Request, number: INodeNo, _fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        let (who, door) = (identity(req, OpKind::Fsync), Arc::clone(&self.door));
        self.door
            .pool
            .run(move || reply_empty(reply, attempt(&door, OpKind::Fsync, |door| door.sync(who, ino(number)))));
    }

    fn opendir(&self, req: &Request, number: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        match self.attempt(OpKind::Opendir, |door| door.open_dir(identity(req, OpKind::Opendir), ino(number))) {
            Ok(handle) => reply.opened(FileHandle(handle), FopenFlags::empty()),
            Err(errno) => reply.error(errno),
        }
    }

    fn readdir(&self, _req: &Request, _ino: INodeNo, fh: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let listed = self.attempt(OpKind::Readdir, |door| {
            door.list(fh.0, offset, NAMES_PAGE, &mut |item| {
                reply.add(INodeNo(item.ino), item.offset, kind_to_fuse(item.kind), OsStr::from_bytes(item.name))
            })
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }

    fn readdirplus(&self, _req: &Request, _ino: INodeNo, fh: FileHandle, offset: u64, mut reply: ReplyDirectoryPlus) {
        let ttl = self.door.options.attr_ttl.min(self.door.options.entry_ttl);
        let listed = self.attempt(OpKind::Readdirplus, |door| {
            let asked = door.nodes.moments.now();
            door.list(fh.0, offset, PLUS_PAGE, &mut |item| {
                let name = OsStr::from_bytes(item.name);
                let Some(attr) = item.attr else {
                    let mut dot = negative();
                    dot.kind = kind_to_fuse(item.kind);
                    dot.ino = INodeNo(item.ino);
                    return reply.add(INodeNo(item.ino), item.offset, name, &ttl, &dot, GENERATION);
                };
                // As with a lookup, but for `.` and `..`, which the kernel does not count.
                let shown = door.nodes.enter(attr.clone(), asked);
                let (entry, ttl) = entry_of(&shown, &door.options, ttl);
                let full = reply.add(INodeNo(item.ino), item.offset, name, &ttl, &entry, GENERATION);
                if full {
                    door.forget(shown.number, 1);
                }
                full
            })
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }

    fn releasedir(&self, _req: &Request, _ino: INodeNo, fh: FileHandle, _flags: OpenFlags, reply: ReplyEmpty) {
        self.door.close_dir(fh.0);
        reply.ok();
    }

    fn fsyncdir(&self, req: &Request, number: INodeNo, fh: FileHandle, datasync: bool, reply: ReplyEmpty) {
        self.fsync(req, number, fh, datasync, reply);
    }

    fn statfs(&self, req: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        match self.attempt(OpKind::Statfs, |door| door.space(identity(req, OpKind::Statfs))) {
            Ok(space) => replies::reply_space(reply, &space),
            Err(errno) => reply.error(errno),
        }
    }

    fn setxattr(
        &self,
        req: &Request,
        number: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        let set = self.attempt(OpKind::Xattr, |door| {
            door.set_xattr(identity(req, OpKind::Xattr), ino(number), name, value, flags)
        });
        reply_empty(reply, set);
    }

    fn getxattr(&self, req: &Request, number: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        reply_xattr(
            reply,
            self.attempt(OpKind::Xattr, |door| door.get_xattr(identity(req, OpKind::Xattr), ino(number), name, size)),
        );
    }

    fn listxattr(&self, req: &Request, number: INodeNo, size: u32, reply: ReplyXattr) {
        reply_xattr(
            reply,
            self.attempt(OpKind::Xattr, |door| door.list_xattrs(identity(req, OpKind::Xattr), ino(number), size)),
        );
    }

    fn removexattr(&self, req: &Request, number: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        reply_empty(
            reply,
            self.attempt(OpKind::Xattr, |door| door.remove_xattr(identity(req, OpKind::Xattr), ino(number), name)),
        );
    }

    fn access(&self, req: &Request, number: INodeNo, mask: AccessFlags, reply: ReplyEmpty) {
        let asked = access_of_mask(mask.bits());
        reply_empty(
            reply,
            self.attempt(OpKind::Access, |door| door.access(identity(req, OpKind::Access), ino(number), asked)),
        );
    }

    fn ioctl(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _flags: IoctlFlags,
        _cmd: u32,
        _in_data: &[u8],
        _out_size: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(Errno::ENOTTY);
    }

    fn fallocate(
        &self,
        req: &Request,
        number: INodeNo,
        fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let done = self.attempt(OpKind::Fallocate, |door| {
            let what = Fallocate::from_mode(mode).ok_or(Refusal(libc::EOPNOTSUPP))?;
            door.fallocate(identity(req, OpKind::Fallocate), fh.0, number.0, offset, length, what)
        });
        if done == Ok(true) {
            self.drop_attributes(number);
        }
        reply_empty(reply, done.map(|_| ()));
    }

    fn lseek(&self, req: &Request, _number: INodeNo, fh: FileHandle, offset: i64, whence: i32, reply: ReplyLseek) {
        if self.door.options.writeback {
            // The kernel may have gathered data where this side sees a hole. It then takes the whole file for data.
            return reply.error(Errno::ENOSYS);
        }
        match self.attempt(OpKind::Lseek, |door| door.lseek(identity(req, OpKind::Lseek), fh.0, offset, whence)) {
            Ok(found) => reply.offset(found),
            Err(errno) => reply.error(errno),
        }
    }

    fn copy_file_range(
        &self,
        req: &Request,
        ino_in: INodeNo,
        fh_in: FileHandle,
        offset_in: u64,
        ino_out: INodeNo,
        fh_out: FileHandle,
        offset_out: u64,
        len: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        let copied = self.attempt(OpKind::CopyRange, |door| {
            door.copy_range(
                identity(req, OpKind::CopyRange),
                (ino_in.0, fh_in.0, offset_in),
                (ino_out.0, fh_out.0, offset_out),
                len,
            )
        });
        match copied {
            Ok((copied, mode_changed)) => {
                if mode_changed {
                    self.drop_attributes(ino_out);
                }
                reply.written(copied);
            }
            Err(errno) => reply.error(errno),
        }
    }
}
