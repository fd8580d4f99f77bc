//! A file system in memory over FUSE, for benchmarks: what the transport costs when nothing is behind it.
//!
//! `memory_fs DIR` mounts on DIR and serves until it is unmounted or killed. It keeps names, modes, sizes, links and bytes, no
//! more, under one lock; the kernel may cache names and attributes for a second, as StrataFS lets it. It stands among the
//! examples of this crate because FUSE's types stay in this crate. Not for data anyone wants to keep.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    InitFlags, KernelConfig, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use parking_lot::Mutex;

/// How long the kernel may believe a name or an attribute.
const TTL: Duration = Duration::from_secs(1);
/// Entries looked at for one answer, more than fit into it.
const PAGE_ENTRIES: usize = 2000;
/// Longest single write, the kernel's own limit.
const WRITE_BYTES_MAX: u32 = 1 << 20;

enum Body {
    File(Vec<u8>),
    Link(Vec<u8>),
    Folder(Entries),
}

/// The entries of a folder, each at a place of its own for as long as it lives: whoever lists a folder while removing what
/// is in it misses nothing.
#[derive(Default)]
struct Entries {
    /// Place and number by name.
    names: HashMap<OsString, (u64, u64)>,
    order: BTreeMap<u64, OsString>,
    last: u64,
}

impl Entries {
    fn get(&self, name: &OsStr) -> Option<u64> {
        self.names.get(name).map(|(_, ino)| *ino)
    }

    fn insert(&mut self, name: &OsStr, ino: u64) {
        self.remove(name);
        self.last += 1;
        self.names.insert(name.to_owned(), (self.last, ino));
        self.order.insert(self.last, name.to_owned());
    }

    fn remove(&mut self, name: &OsStr) {
        if let Some((place, _)) = self.names.remove(name) {
            self.order.remove(&place);
        }
    }

    /// Place, name and number of those behind a place, in order.
    fn after(&self, place: u64) -> impl Iterator<Item = (u64, &OsStr, u64)> {
        let behind = self.order.range(place + 1..);
        behind.filter_map(|(place, name)| self.get(name).map(|ino| (*place, name.as_os_str(), ino)))
    }
}

struct Node {
    body: Body,
    mode: u16,
    uid: u32,
    gid: u32,
    links: u32,
    opened: u32,
    modified: SystemTime,
}

struct Nodes {
    all: HashMap<u64, Node>,
    next: u64,
}

struct MemoryFs(Mutex<Nodes>);

#[allow(clippy::disallowed_methods, reason = "files show the real time")]
fn now() -> SystemTime {
    SystemTime::now()
}

impl Nodes {
    fn attr(&self, ino: u64) -> Result<FileAttr, Errno> {
        let node = self.all.get(&ino).ok_or(Errno::ENOENT)?;
        let (kind, size) = match &node.body {
            Body::File(bytes) => (FileType::RegularFile, bytes.len()),
            Body::Link(target) => (FileType::Symlink, target.len()),
            Body::Folder(_) => (FileType::Directory, 0),
        };
        Ok(FileAttr {
            ino: INodeNo(ino),
            size: size as u64,
            blocks: size.div_ceil(512) as u64,
            atime: node.modified,
            mtime: node.modified,
            ctime: node.modified,
            crtime: UNIX_EPOCH,
            kind,
            perm: node.mode,
            nlink: node.links,
            uid: node.uid,
            gid: node.gid,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }

    fn folder(&mut self, ino: INodeNo) -> Result<&mut Entries, Errno> {
        match self.all.get_mut(&ino.0).map(|node| &mut node.body) {
            Some(Body::Folder(entries)) => Ok(entries),
            Some(_) => Err(Errno::ENOTDIR),
            None => Err(Errno::ENOENT),
        }
    }

    fn file(&mut self, ino: INodeNo) -> Result<&mut Node, Errno> {
        let node = self.all.get_mut(&ino.0).ok_or(Errno::ENOENT)?;
        if matches!(node.body, Body::File(_)) { Ok(node) } else { Err(Errno::EINVAL) }
    }

    fn find(&mut self, parent: INodeNo, name: &OsStr) -> Result<u64, Errno> {
        self.folder(parent)?.get(name).ok_or(Errno::ENOENT)
    }

    fn make(
        &mut self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        body: Body,
    ) -> Result<FileAttr, Errno> {
        let ino = self.next;
        let entries = self.folder(parent)?;
        if entries.get(name).is_some() {
            return Err(Errno::EEXIST);
        }
        entries.insert(name, ino);
        self.next += 1;
        let links = if matches!(body, Body::Folder(_)) { 2 } else { 1 };
        self.all.insert(
            ino,
            Node {
                body,
                mode: (mode & 0o7777) as u16,
                uid: request.uid(),
                gid: request.gid(),
                links,
                opened: 0,
                modified: now(),
            },
        );
        self.attr(ino)
    }

    /// Takes one name away; the bytes go with the last name and the last handle.
    fn unname(&mut self, parent: INodeNo, name: &OsStr) -> Result<(), Errno> {
        let ino = self.find(parent, name)?;
        if let Some(Body::Folder(entries)) = self.all.get(&ino).map(|node| &node.body)
            && !entries.order.is_empty()
        {
            return Err(Errno::ENOTEMPTY);
        }
        self.folder(parent)?.remove(name);
        if let Some(node) = self.all.get_mut(&ino) {
            let folder = matches!(node.body, Body::Folder(_));
            node.links = if folder { 0 } else { node.links - 1 };
        }
        self.drop_if_unused(ino);
        Ok(())
    }

    fn drop_if_unused(&mut self, ino: u64) {
        if self.all.get(&ino).is_some_and(|node| node.links == 0 && node.opened == 0) {
            self.all.remove(&ino);
        }
    }

    fn rename(&mut self, from: (INodeNo, &OsStr), to: (INodeNo, &OsStr), flags: RenameFlags) -> Result<(), Errno> {
        let ino = self.find(from.0, from.1)?;
        match self.find(to.0, to.1) {
            Ok(_) if flags.contains(RenameFlags::RENAME_NOREPLACE) => return Err(Errno::EEXIST),
            // Two names of one file: nothing happens.
            Ok(other) if other == ino => return Ok(()),
            Ok(_) => self.unname(to.0, to.1)?,
            Err(_) => {}
        }
        self.folder(from.0)?.remove(from.1);
        self.folder(to.0)?.insert(to.1, ino);
        Ok(())
    }

    /// The entries of a folder behind the place `offset`, `.` and `..` first.
    fn entries(&mut self, ino: INodeNo, offset: u64) -> Result<Vec<(u64, u64, OsString)>, Errno> {
        const DOTS: [&str; 2] = [".", ".."];
        let folder = self.folder(ino)?;
        let dots = DOTS.iter().zip(1..).map(|(name, place)| (place, ino.0, OsString::from(name)));
        let behind = folder.after(offset.saturating_sub(DOTS.len() as u64));
        let entries = behind.map(|(place, name, of)| (place + DOTS.len() as u64, of, name.to_owned()));
        Ok(dots.filter(|(place, ..)| *place > offset).chain(entries).take(PAGE_ENTRIES).collect())
    }
}

/// Answers with what `$outcome` gives, or with its error.
macro_rules! answer {
    ($reply:ident, $outcome:expr, $value:pat => $then:expr) => {
        match $outcome {
            Ok($value) => $then,
            Err(errno) => $reply.error(errno),
        }
    };
}

impl Filesystem for MemoryFs {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        let wanted =
            InitFlags::FUSE_DO_READDIRPLUS | InitFlags::FUSE_READDIRPLUS_AUTO | InitFlags::FUSE_PARALLEL_DIROPS;
        // A kernel that lacks one of these is measured without it.
        let _ = config.add_capabilities(wanted);
        let _ = config.set_max_write(WRITE_BYTES_MAX);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let mut nodes = self.0.lock();
        let found = nodes.find(parent, name).and_then(|ino| nodes.attr(ino));
        answer!(reply, found, attr => reply.entry(&TTL, &attr, Generation(0)));
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        answer!(reply, self.0.lock().attr(ino.0), attr => reply.attr(&TTL, &attr));
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        modified: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut nodes = self.0.lock();
        if let Some(node) = nodes.all.get_mut(&ino.0) {
            node.mode = mode.map_or(node.mode, |mode| (mode & 0o7777) as u16);
            node.uid = uid.unwrap_or(node.uid);
            node.gid = gid.unwrap_or(node.gid);
            match modified {
                Some(TimeOrNow::SpecificTime(time)) => node.modified = time,
                Some(TimeOrNow::Now) => node.modified = now(),
                None => {}
            }
            if let (Some(size), Body::File(bytes)) = (size, &mut node.body) {
                bytes.resize(size as usize, 0);
            }
        }
        answer!(reply, nodes.attr(ino.0), attr => reply.attr(&TTL, &attr));
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        match self.0.lock().all.get(&ino.0).map(|node| &node.body) {
            Some(Body::Link(target)) => reply.data(target),
            _ => reply.error(Errno::EINVAL),
        }
    }

    fn mkdir(&self, request: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        let made = self.0.lock().make(request, parent, name, mode & !umask, Body::Folder(Entries::default()));
        answer!(reply, made, attr => reply.entry(&TTL, &attr, Generation(0)));
    }

    fn symlink(&self, request: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        let body = Body::Link(target.as_os_str().as_bytes().to_vec());
        let made = self.0.lock().make(request, parent, name, 0o777, body);
        answer!(reply, made, attr => reply.entry(&TTL, &attr, Generation(0)));
    }

    fn link(&self, _: &Request, ino: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let mut nodes = self.0.lock();
        let linked = nodes.folder(parent).and_then(|entries| match entries.get(name).is_some() {
            true => Err(Errno::EEXIST),
            false => {
                entries.insert(name, ino.0);
                Ok(())
            }
        });
        if let (Ok(_), Some(node)) = (&linked, nodes.all.get_mut(&ino.0)) {
            node.links += 1;
        }
        let linked = linked.and_then(|_| nodes.attr(ino.0));
        answer!(reply, linked, attr => reply.entry(&TTL, &attr, Generation(0)));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer!(reply, self.0.lock().unname(parent, name), () => reply.ok());
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer!(reply, self.0.lock().unname(parent, name), () => reply.ok());
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        to: INodeNo,
        to_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let renamed = self.0.lock().rename((parent, name), (to, to_name), flags);
        answer!(reply, renamed, () => reply.ok());
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let mut nodes = self.0.lock();
        let made = nodes.make(request, parent, name, mode & !umask, Body::File(Vec::new()));
        if let Some(node) = made.as_ref().ok().and_then(|attr| nodes.all.get_mut(&attr.ino.0)) {
            node.opened += 1;
        }
        answer!(reply, made, attr => reply.created(&TTL, &attr, Generation(0), FileHandle(0), FopenFlags::empty()));
    }

    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let mut nodes = self.0.lock();
        let opened = nodes.file(ino).map(|node| node.opened += 1);
        answer!(reply, opened, () => reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE));
    }

    fn release(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        let mut nodes = self.0.lock();
        if let Ok(node) = nodes.file(ino) {
            node.opened = node.opened.saturating_sub(1);
        }
        nodes.drop_if_unused(ino.0);
        reply.ok();
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.0.lock().all.get(&ino.0).map(|node| &node.body) {
            Some(Body::File(bytes)) => {
                let start = (offset as usize).min(bytes.len());
                let end = start.saturating_add(size as usize).min(bytes.len());
                reply.data(&bytes[start..end]);
            }
            _ => reply.error(Errno::EINVAL),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut nodes = self.0.lock();
        let written = nodes.file(ino).map(|node| {
            node.modified = now();
            if let Body::File(bytes) = &mut node.body {
                let (start, end) = (offset as usize, offset as usize + data.len());
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[start..end].copy_from_slice(data);
            }
        });
        answer!(reply, written, () => reply.written(data.len() as u32));
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.ok();
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let mut nodes = self.0.lock();
        answer!(reply, nodes.entries(ino, offset), entries => {
            for (place, of, name) in entries {
                let kind = nodes.attr(of).map_or(FileType::RegularFile, |attr| attr.kind);
                if reply.add(INodeNo(of), place, kind, &name) {
                    break;
                }
            }
            reply.ok();
        });
    }

    fn readdirplus(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectoryPlus) {
        let mut nodes = self.0.lock();
        answer!(reply, nodes.entries(ino, offset), entries => {
            for (place, of, name) in entries {
                let Ok(attr) = nodes.attr(of) else { continue };
                if reply.add(INodeNo(of), place, &name, &TTL, &attr, Generation(0)) {
                    break;
                }
            }
            reply.ok();
        });
    }
}

fn main() -> std::io::Result<()> {
    let Some(at) = std::env::args_os().nth(1) else {
        return Err(std::io::Error::other("usage: memory_fs DIR"));
    };
    let root = Node {
        body: Body::Folder(Entries::default()),
        mode: 0o755,
        uid: rustix::process::getuid().as_raw(),
        gid: rustix::process::getgid().as_raw(),
        links: 2,
        opened: 0,
        modified: now(),
    };
    let nodes = Nodes { all: HashMap::from([(INodeNo::ROOT.0, root)]), next: INodeNo::ROOT.0 + 1 };
    let mut config = Config::default();
    config.mount_options = vec![MountOption::FSName("memory".to_owned()), MountOption::DefaultPermissions];
    // One thread: a second one would only wait for the lock, and waking it costs more than it brings.
    fuser::mount(MemoryFs(Mutex::new(nodes)), at, &config)
}
