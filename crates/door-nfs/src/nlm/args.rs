//! Arguments and results of NLM version 4 (The Open Group, "Protocols for Interworking: XNFS", chapter 14, with the 64-bit types of
//! RFC 1813's appendix II).
//!
//! Values of variable length are bounded by what the protocol allows for them, or by less. Values that are kept beyond the call are copied out
//! of the record, so that a waiting lock of a hundred bytes holds no record of a mebibyte.

use std::ops::Range;

use bytes::Bytes;
use strata_namespace::{HeldRange, RangeKind};

use crate::xdr::{Decoder, Encoder, XdrError};

pub(crate) const PROGRAM: u32 = 100_021;
pub(crate) const VERSION: u32 = 4;

/// Longest `netobj`: cookies, file handles, owner handles; bytes.
const NETOBJ_LEN_MAX: usize = 1024;
/// Longest name of a host, bytes. The protocol allows 1024; names of hosts have 255 at most.
pub(crate) const HOST_LEN_MAX: usize = 255;
/// The last byte that can be locked: clients count bytes with a sign.
const LAST_BYTE: u64 = i64::MAX as u64;

/// How a call ended (`nlm4_stats`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub(crate) enum Stat {
    /// Done.
    Granted = 0,
    /// Another lock is in the way.
    Denied = 1,
    /// A limit, or the store cannot do it now.
    NoLocks = 2,
    /// The request waits; the client is called when the lock is granted.
    Blocked = 3,
    /// The server waits for clients to ask again for what they had.
    Grace = 4,
    /// The request would wait for an owner that waits for it.
    Deadlock = 5,
    /// The export, or the store, is not written.
    ReadOnly = 6,
    /// The handle is not of a file that is there.
    StaleHandle = 7,
    /// Bytes that no file has.
    TooBig = 8,
    /// Not permitted, or not a file.
    Failed = 9,
}

impl Stat {
    /// What a client answers to a callback; anything unknown is a failure.
    pub(super) fn of(number: u32) -> Self {
        let all = [
            Self::Granted,
            Self::Denied,
            Self::NoLocks,
            Self::Blocked,
            Self::Grace,
            Self::ReadOnly,
            Self::StaleHandle,
            Self::TooBig,
        ];
        all.into_iter().find(|stat| *stat as u32 == number).unwrap_or(Self::Failed)
    }
}

/// Who asks for which bytes of which file (`nlm4_lock`), as it came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Lock {
    pub(super) caller: Bytes,
    pub(super) handle: Bytes,
    pub(super) owner: Bytes,
    pub(super) svid: u32,
    pub(super) offset: u64,
    pub(super) len: u64,
}

impl Lock {
    fn decode(input: &mut Decoder) -> Result<Self, XdrError> {
        Ok(Self {
            caller: text(input)?,
            handle: input.opaque(NETOBJ_LEN_MAX)?,
            owner: input.opaque(NETOBJ_LEN_MAX)?,
            svid: input.u32()?,
            offset: input.u64()?,
            len: input.u64()?,
        })
    }

    fn encode(&self, out: &mut Encoder) {
        out.opaque(&self.caller);
        out.opaque(&self.handle);
        out.opaque(&self.owner);
        out.u32(self.svid);
        out.u64(self.offset);
        out.u64(self.len);
    }

    /// A copy in memory of its own.
    pub(super) fn kept(&self) -> Self {
        let copy = |bytes: &Bytes| Bytes::copy_from_slice(bytes);
        Self { caller: copy(&self.caller), handle: copy(&self.handle), owner: copy(&self.owner), ..*self }
    }

    /// The bytes; `None` for those behind the last that a file can have. A length of 0 is to the end, and so is a lock of the last
    /// byte there can be.
    pub(super) fn range(&self) -> Option<Range<u64>> {
        if self.offset > LAST_BYTE {
            return None;
        }
        match self.len {
            0 => Some(self.offset..u64::MAX),
            len if len - 1 > LAST_BYTE - self.offset => None,
            len if len - 1 == LAST_BYTE - self.offset => Some(self.offset..u64::MAX),
            len => Some(self.offset..self.offset + len),
        }
    }
}

/// What a client opens with which reservations (`nlm4_share`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Share {
    pub(super) caller: Bytes,
    pub(super) handle: Bytes,
    pub(super) owner: Bytes,
    /// What others may not do: 1 read, 2 write.
    pub(super) denies: u32,
    /// What it is opened for: 1 read, 2 write.
    pub(super) access: u32,
}

impl Share {
    fn decode(input: &mut Decoder) -> Result<Self, XdrError> {
        let share = Self {
            caller: text(input)?,
            handle: input.opaque(NETOBJ_LEN_MAX)?,
            owner: input.opaque(NETOBJ_LEN_MAX)?,
            denies: input.u32()?,
            access: input.u32()?,
        };
        if share.denies > 3 || share.access > 3 { Err(XdrError::BadValue) } else { Ok(share) }
    }
}

/// A call, decoded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Request {
    Test {
        exclusive: bool,
        lock: Lock,
    },
    Lock {
        block: bool,
        exclusive: bool,
        lock: Lock,
        reclaim: bool,
    },
    Cancel {
        exclusive: bool,
        lock: Lock,
    },
    Unlock {
        lock: Lock,
    },
    /// A callback to a client, which this is not.
    Granted,
    Share {
        share: Share,
        reclaim: bool,
    },
    Unshare {
        share: Share,
    },
}

/// The procedures that have an answer with a cookie, by the number of the form that is answered at once.
pub(super) mod procedure {
    pub(in crate::nlm) const NULL: u32 = 0;
    pub(in crate::nlm) const TEST: u32 = 1;
    pub(in crate::nlm) const LOCK: u32 = 2;
    pub(in crate::nlm) const CANCEL: u32 = 3;
    pub(in crate::nlm) const UNLOCK: u32 = 4;
    pub(in crate::nlm) const GRANTED: u32 = 5;
    /// What is added for the form whose answer is a call of its own.
    pub(in crate::nlm) const MESSAGE: u32 = 5;
    /// What is added for that call.
    pub(in crate::nlm) const RESULT: u32 = 10;
    pub(in crate::nlm) const SHARE: u32 = 20;
    pub(in crate::nlm) const UNSHARE: u32 = 21;
    pub(in crate::nlm) const NM_LOCK: u32 = 22;
    pub(in crate::nlm) const FREE_ALL: u32 = 23;
}

impl Request {
    /// Reads the arguments of a procedure: the cookie, and the rest.
    pub(super) fn decode(number: u32, args: Bytes) -> Result<(Bytes, Self), XdrError> {
        let mut input = Decoder::new(args);
        let cookie = input.opaque(NETOBJ_LEN_MAX)?;
        let request = match number {
            procedure::TEST => Self::Test { exclusive: input.bool()?, lock: Lock::decode(&mut input)? },
            procedure::LOCK | procedure::NM_LOCK => {
                let (block, exclusive) = (input.bool()?, input.bool()?);
                let (lock, reclaim) = (Lock::decode(&mut input)?, input.bool()?);
                // The client's count of its own restarts; the client sends it again when it restarts.
                let _state = input.u32()?;
                Self::Lock { block, exclusive, lock, reclaim }
            }
            procedure::CANCEL => {
                let (_block, exclusive) = (input.bool()?, input.bool()?);
                Self::Cancel { exclusive, lock: Lock::decode(&mut input)? }
            }
            procedure::UNLOCK => Self::Unlock { lock: Lock::decode(&mut input)? },
            procedure::GRANTED => {
                let _exclusive = input.bool()?;
                Lock::decode(&mut input)?;
                Self::Granted
            }
            procedure::SHARE => Self::Share { share: Share::decode(&mut input)?, reclaim: input.bool()? },
            procedure::UNSHARE => {
                let share = Share::decode(&mut input)?;
                let _reclaim = input.bool()?;
                Self::Unshare { share }
            }
            _ => return Err(XdrError::BadValue),
        };
        Ok((cookie, request))
    }
}

/// Reads what FREE_ALL and SM_NOTIFY tell: the name of a host, and the number of its restarts.
pub(crate) fn notice(args: Bytes) -> Result<(Bytes, u32), XdrError> {
    let mut input = Decoder::new(args);
    Ok((text(&mut input)?, input.u32()?))
}

/// The name of a host.
fn text(input: &mut Decoder) -> Result<Bytes, XdrError> {
    input.opaque(HOST_LEN_MAX)
}

/// What a procedure answers beside the cookie.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Answered {
    Stat(Stat),
    /// TEST: what is in the way.
    Held(HeldRange),
    /// SHARE and UNSHARE.
    Shared(Stat),
}

impl Answered {
    pub(super) fn encode(&self, cookie: &[u8], out: &mut Encoder) {
        out.opaque(cookie);
        match self {
            Self::Stat(stat) => out.u32(*stat as u32),
            Self::Held(held) => {
                out.u32(Stat::Denied as u32);
                out.bool(held.kind == RangeKind::Write);
                out.u32(held.owner.pid);
                // What the client calls the owner is not kept, and means nothing to others.
                out.opaque(&[]);
                out.u64(held.range.start);
                out.u64(if held.range.end == u64::MAX { 0 } else { held.range.end - held.range.start });
            }
            Self::Shared(stat) => {
                out.u32(*stat as u32);
                // The field `sequence`, which nobody uses.
                out.u32(0);
            }
        }
    }
}

/// The arguments of GRANTED, the callback.
pub(super) fn granted(number: u64, exclusive: bool, lock: &Lock) -> Vec<u8> {
    let mut out = Encoder::with_capacity(256);
    // Not 8 bytes long: macOS would take such a cookie for a number of its own, and look that up instead of the lock.
    let mut cookie = *b"lock\0\0\0\0\0\0\0\0";
    cookie[4..].copy_from_slice(&number.to_be_bytes());
    out.opaque(&cookie);
    out.bool(exclusive);
    lock.encode(&mut out);
    out.into_vec()
}

#[cfg(test)]
mod tests;
