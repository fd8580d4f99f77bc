//! Arguments of the procedures, decoded. Names, targets and data are slices of the record.

use bytes::Bytes;
use nfsserve::nfs::{
    NFS3_FHSIZE, nfsstat3, nfstime3, sattr3, set_atime, set_gid3, set_mode3, set_mtime, set_size3, set_uid3, specdata3,
};
use strata_namespace::Attr;

use crate::attr::{post_op, wcc};
use crate::config::{RECORD_LEN_MAX, TRANSFER_LEN_MAX};
use crate::status::Fail;
use crate::xdr::{Decoder, Encoder, XdrError};

/// Most bytes of a READDIR or READDIRPLUS reply, whatever the client would take.
pub(super) const LIST_LEN_MAX: usize = 256 << 10;

/// When a WRITE must be durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stable {
    /// At the next COMMIT.
    Unstable,
    /// Before the reply, with the metadata needed to read it back (here the same as [`Stable::File`]).
    Data,
    /// Before the reply.
    File,
}

/// How a CREATE treats what is there.
#[derive(Clone, Copy, Debug)]
pub(super) enum CreateHow {
    Unchecked(sattr3),
    Guarded(sattr3),
    Exclusive([u8; 8]),
}

/// What a MKNOD makes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Special {
    CharDevice(sattr3, specdata3),
    BlockDevice(sattr3, specdata3),
    Socket(sattr3),
    Fifo(sattr3),
    /// A type that MKNOD does not make; answered with NFS3ERR_BADTYPE.
    Other,
}

/// A procedure with its arguments behind the first handle.
#[derive(Clone, Debug)]
pub(super) enum Request {
    Getattr,
    Setattr { attributes: sattr3, guard: Option<nfstime3> },
    Lookup { name: Bytes },
    Access { asked: u32 },
    Readlink,
    Read { offset: u64, count: u32 },
    Write { offset: u64, stable: Stable, data: Bytes },
    Create { name: Bytes, how: CreateHow },
    Mkdir { name: Bytes, attributes: sattr3 },
    Symlink { name: Bytes, attributes: sattr3, target: Bytes },
    Mknod { name: Bytes, what: Special },
    Remove { name: Bytes },
    Rmdir { name: Bytes },
    Rename { name: Bytes, to_directory: Bytes, to_name: Bytes },
    Link { directory: Bytes, name: Bytes },
    Readdir { cookie: u64, verifier: [u8; 8], count: u32 },
    Readdirplus { cookie: u64, verifier: [u8; 8], dircount: u32, maxcount: u32 },
    Fsstat,
    Fsinfo,
    Pathconf,
    Commit,
}

/// The arguments of a call.
#[derive(Clone, Debug)]
pub(super) struct Arguments {
    /// The first handle, unchecked.
    pub(super) handle: Bytes,
    pub(super) request: Request,
}

impl Arguments {
    /// Decodes the arguments of procedure 1 to 21. Bytes behind them are ignored, as other servers do.
    pub(super) fn decode(procedure: u32, args: Bytes) -> Result<Self, XdrError> {
        let from = &mut Decoder::new(args);
        let handle = handle(from)?;
        let request = match procedure {
            1 => Request::Getattr,
            2 => {
                let attributes = sattr(from)?;
                let guard = if from.bool()? { Some(from.fixed_type()?) } else { None };
                Request::Setattr { attributes, guard }
            }
            3 => Request::Lookup { name: name(from)? },
            4 => Request::Access { asked: from.u32()? },
            5 => Request::Readlink,
            6 => Request::Read { offset: from.u64()?, count: from.u32()? },
            7 => write(from)?,
            8 => {
                let name = name(from)?;
                let how = match from.u32()? {
                    0 => CreateHow::Unchecked(sattr(from)?),
                    1 => CreateHow::Guarded(sattr(from)?),
                    2 => CreateHow::Exclusive(from.fixed()?),
                    _ => return Err(XdrError::BadValue),
                };
                Request::Create { name, how }
            }
            9 => Request::Mkdir { name: name(from)?, attributes: sattr(from)? },
            10 => Request::Symlink { name: name(from)?, attributes: sattr(from)?, target: name(from)? },
            11 => Request::Mknod { name: name(from)?, what: special(from)? },
            12 => Request::Remove { name: name(from)? },
            13 => Request::Rmdir { name: name(from)? },
            14 => Request::Rename { name: name(from)?, to_directory: self::handle(from)?, to_name: name(from)? },
            15 => Request::Link { directory: self::handle(from)?, name: name(from)? },
            16 => Request::Readdir { cookie: from.u64()?, verifier: from.fixed()?, count: from.u32()? },
            17 => Request::Readdirplus {
                cookie: from.u64()?,
                verifier: from.fixed()?,
                dircount: from.u32()?,
                maxcount: from.u32()?,
            },
            18 => Request::Fsstat,
            19 => Request::Fsinfo,
            20 => Request::Pathconf,
            21 => {
                // Offset and count: everything of the file is made durable, which the protocol allows.
                let _ = (from.u64()?, from.u32()?);
                Request::Commit
            }
            _ => return Err(XdrError::BadValue),
        };
        Ok(Self { handle, request })
    }
}

fn handle(from: &mut Decoder) -> Result<Bytes, XdrError> {
    from.opaque(NFS3_FHSIZE as usize)
}

/// A name or a link's target: bounded by the record here, and by its own limit where it is used, so that a name that
/// is too long gets its own status.
fn name(from: &mut Decoder) -> Result<Bytes, XdrError> {
    from.opaque(RECORD_LEN_MAX)
}

/// Attributes to set, strictly: the library takes any number for true.
fn sattr(from: &mut Decoder) -> Result<sattr3, XdrError> {
    Ok(sattr3 {
        mode: if from.bool()? { set_mode3::mode(from.u32()?) } else { set_mode3::Void },
        uid: if from.bool()? { set_uid3::uid(from.u32()?) } else { set_uid3::Void },
        gid: if from.bool()? { set_gid3::gid(from.u32()?) } else { set_gid3::Void },
        size: if from.bool()? { set_size3::size(from.u64()?) } else { set_size3::Void },
        atime: match from.u32()? {
            0 => set_atime::DONT_CHANGE,
            1 => set_atime::SET_TO_SERVER_TIME,
            2 => set_atime::SET_TO_CLIENT_TIME(from.fixed_type()?),
            _ => return Err(XdrError::BadValue),
        },
        mtime: match from.u32()? {
            0 => set_mtime::DONT_CHANGE,
            1 => set_mtime::SET_TO_SERVER_TIME,
            2 => set_mtime::SET_TO_CLIENT_TIME(from.fixed_type()?),
            _ => return Err(XdrError::BadValue),
        },
    })
}

fn write(from: &mut Decoder) -> Result<Request, XdrError> {
    let offset = from.u64()?;
    let count = from.u32()?;
    let stable = match from.u32()? {
        0 => Stable::Unstable,
        1 => Stable::Data,
        2 => Stable::File,
        _ => return Err(XdrError::BadValue),
    };
    let mut data = from.opaque(RECORD_LEN_MAX)?;
    let count = count as usize;
    if data.len() < count {
        return Err(XdrError::Short);
    }
    // More than the largest transfer is cut to it; the reply's count tells the client to send the rest again.
    data.truncate(count.min(TRANSFER_LEN_MAX as usize));
    Ok(Request::Write { offset, stable, data })
}

fn special(from: &mut Decoder) -> Result<Special, XdrError> {
    Ok(match from.u32()? {
        3 => Special::BlockDevice(sattr(from)?, from.fixed_type()?),
        4 => Special::CharDevice(sattr(from)?, from.fixed_type()?),
        6 => Special::Socket(sattr(from)?),
        7 => Special::Fifo(sattr(from)?),
        1 | 2 | 5 => Special::Other,
        _ => return Err(XdrError::BadValue),
    })
}

impl Request {
    /// Whether executing it twice differs from once.
    pub(super) fn changes_names(&self) -> bool {
        match self {
            Self::Setattr { .. }
            | Self::Create { .. }
            | Self::Mkdir { .. }
            | Self::Symlink { .. }
            | Self::Mknod { .. }
            | Self::Remove { .. }
            | Self::Rmdir { .. }
            | Self::Rename { .. }
            | Self::Link { .. } => true,
            Self::Getattr
            | Self::Lookup { .. }
            | Self::Access { .. }
            | Self::Readlink
            | Self::Read { .. }
            | Self::Write { .. }
            | Self::Readdir { .. }
            | Self::Readdirplus { .. }
            | Self::Fsstat
            | Self::Fsinfo
            | Self::Pathconf
            | Self::Commit => false,
        }
    }

    /// Whether an export that is read-only refuses it.
    pub(super) fn writes(&self) -> bool {
        self.changes_names() || matches!(self, Self::Write { .. } | Self::Commit)
    }

    /// Whether the reply may leave before anything is durable.
    pub(super) fn is_unstable_write(&self) -> bool {
        matches!(self, Self::Write { stable: Stable::Unstable, .. })
    }

    /// Whether it may wait for a disk or compute for long, and so belongs on a blocking thread unless more is known.
    pub(super) fn may_block(&self) -> bool {
        match self {
            Self::Read { .. } | Self::Write { .. } | Self::Commit => true,
            // The client may ask for any number of entries.
            Self::Readdir { .. } | Self::Readdirplus { .. } => true,
            // The content of a folder may have to follow it into a trash, or out of the bucket that is removed.
            Self::Rename { .. } | Self::Rmdir { .. } => true,
            // Cutting a file may have to read and chunk its last piece again.
            Self::Setattr { attributes, .. } | Self::Create { how: CreateHow::Unchecked(attributes), .. } => {
                matches!(attributes.size, nfsserve::nfs::set_size3::size(_))
            }
            _ => false,
        }
    }

    /// Bytes of reply to be taken from the budget before it is executed; zero for small replies.
    pub(super) fn reply_len_max(&self) -> usize {
        match self {
            Self::Read { count, .. } => (*count).min(TRANSFER_LEN_MAX) as usize,
            Self::Readdir { .. } | Self::Readdirplus { .. } => self.list_len_hint(),
            _ => 0,
        }
    }

    /// Bytes that a listing's reply may take.
    pub(super) fn list_len_hint(&self) -> usize {
        match self {
            Self::Readdir { count: max, .. } | Self::Readdirplus { maxcount: max, .. } => {
                (*max as usize).min(LIST_LEN_MAX)
            }
            _ => 0,
        }
    }

    /// What follows the status of a failure.
    pub(super) fn failure_shape(&self) -> FailureShape {
        match self {
            Self::Getattr => FailureShape { attributes: 0, changes: 0 },
            Self::Lookup { .. }
            | Self::Access { .. }
            | Self::Readlink
            | Self::Read { .. }
            | Self::Readdir { .. }
            | Self::Readdirplus { .. }
            | Self::Fsstat
            | Self::Fsinfo
            | Self::Pathconf => FailureShape { attributes: 1, changes: 0 },
            Self::Setattr { .. }
            | Self::Write { .. }
            | Self::Create { .. }
            | Self::Mkdir { .. }
            | Self::Symlink { .. }
            | Self::Mknod { .. }
            | Self::Remove { .. }
            | Self::Rmdir { .. }
            | Self::Commit => FailureShape { attributes: 0, changes: 1 },
            Self::Rename { .. } => FailureShape { attributes: 0, changes: 2 },
            Self::Link { .. } => FailureShape { attributes: 1, changes: 1 },
        }
    }
}

/// The body of a failed procedure's reply: so many optional attributes, then so many pairs of before and after.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct FailureShape {
    attributes: usize,
    changes: usize,
}

impl FailureShape {
    /// Encodes the failure. `present` are the attributes of the inodes concerned as they are now, in order, as far as
    /// they are known. What they were before is left out: nothing would prove that nobody else changed them.
    pub(super) fn encode(self, fail: Fail, present: &[Option<(Attr, u64)>], out: &mut Encoder) -> nfsstat3 {
        out.item(&fail.0);
        let known = |at: usize| present.get(at).and_then(Option::as_ref);
        for at in 0..self.attributes + self.changes {
            let (attr, fsid) = known(at).map_or((None, 0), |(attr, fsid)| (Some(attr), *fsid));
            if at < self.attributes {
                out.item(&post_op(attr, fsid));
            } else {
                out.item(&wcc(None, attr, fsid));
            }
        }
        fail.0
    }
}

#[cfg(test)]
mod tests;
