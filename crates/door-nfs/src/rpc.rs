//! ONC RPC version 2 messages (RFC 5531): the call header with its credentials, and the replies that are not results.
//!
//! Invariant: a reply always starts with the record mark's four bytes, patched when the reply is finished, so that a
//! reply is written without being copied into a frame.

use std::sync::Arc;

use bytes::Bytes;

use crate::xdr::{Decoder, Encoder, XdrError, padding};

/// Longest body of a credential or verifier (RFC 5531, section 8.2), bytes.
const AUTH_LEN_MAX: usize = 400;
/// Longest machine name in an AUTH_SYS credential, bytes.
const MACHINE_NAME_LEN_MAX: usize = 255;
/// Most supplementary groups in an AUTH_SYS credential.
const GROUPS_MAX: u32 = 16;
/// The flag of a record's last fragment (RFC 5531, section 11).
pub(crate) const LAST_FRAGMENT: u32 = 1 << 31;
/// Bytes of a reply before the results: mark, xid, REPLY, MSG_ACCEPTED, an empty verifier and the accept status.
pub(crate) const ACCEPTED_LEN: usize = 28;
/// Bytes of a reply that belong to one transmission only: mark and xid.
pub(crate) const ENVELOPE_LEN: usize = 8;

/// A message is a call.
pub(crate) const MSG_CALL: u32 = 0;
/// A message is a reply.
pub(crate) const MSG_REPLY: u32 = 1;
/// The only version there is.
pub(crate) const RPC_VERSION: u32 = 2;
/// AUTH_NONE's number.
pub(crate) const AUTH_NONE: u32 = 0;
/// AUTH_SYS's number.
pub(crate) const AUTH_SYS: u32 = 1;

/// Who the client says is calling. AUTH_SYS is a claim, not a proof: it counts for what the export rules let it count.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Credential {
    /// AUTH_NONE.
    Anonymous,
    /// AUTH_SYS.
    Sys { uid: u32, gid: u32, groups: Arc<[u32]> },
}

/// Why a call is denied before its program is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Denial {
    /// Not RPC version 2.
    RpcMismatch,
    /// AUTH_BADCRED: the credential cannot be decoded.
    BadCredential,
    /// AUTH_REJECTEDCRED: a flavor other than AUTH_NONE and AUTH_SYS.
    UnknownFlavor,
    /// AUTH_BADVERF: the verifier is longer than allowed.
    BadVerifier,
}

/// Why an accepted call has no results.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    /// No such program.
    ProgramUnavailable,
    /// The program has other versions only.
    ProgramMismatch { low: u32, high: u32 },
    /// No such procedure.
    ProcedureUnavailable,
    /// The arguments cannot be decoded.
    GarbageArguments,
    /// The server failed while it ran the procedure.
    SystemError,
}

/// A call.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) xid: u32,
    pub(crate) program: u32,
    pub(crate) version: u32,
    pub(crate) procedure: u32,
    pub(crate) credential: Credential,
    /// The procedure's arguments, still encoded.
    pub(crate) args: Bytes,
}

/// What a record turned out to be.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    /// To be dispatched.
    Call(Call),
    /// To be answered with this denial.
    Denied { xid: u32, denial: Denial },
}

impl Message {
    /// Reads a record.
    ///
    /// # Errors
    /// [`XdrError`] if it is no call at all or ends within the header: such a stream has lost its framing, and the
    /// connection is to be closed.
    pub(crate) fn parse(record: Bytes) -> Result<Self, XdrError> {
        let mut decoder = Decoder::new(record);
        let xid = decoder.u32()?;
        if decoder.u32()? != MSG_CALL {
            return Err(XdrError::BadValue);
        }
        if decoder.u32()? != RPC_VERSION {
            return Ok(Self::Denied { xid, denial: Denial::RpcMismatch });
        }
        let program = decoder.u32()?;
        let version = decoder.u32()?;
        let procedure = decoder.u32()?;
        let flavor = decoder.u32()?;
        let Ok(body) = decoder.opaque(AUTH_LEN_MAX) else {
            return Ok(Self::Denied { xid, denial: Denial::BadCredential });
        };
        let _verifier_flavor = decoder.u32()?;
        if decoder.opaque(AUTH_LEN_MAX).is_err() {
            return Ok(Self::Denied { xid, denial: Denial::BadVerifier });
        }
        let credential = match flavor {
            AUTH_NONE => Credential::Anonymous,
            AUTH_SYS => match auth_sys(body) {
                Ok(credential) => credential,
                Err(_) => {
                    return Ok(Self::Denied { xid, denial: Denial::BadCredential });
                }
            },
            _ => {
                return Ok(Self::Denied { xid, denial: Denial::UnknownFlavor });
            }
        };
        Ok(Self::Call(Call { xid, program, version, procedure, credential, args: decoder.rest().clone() }))
    }
}

fn auth_sys(body: Bytes) -> Result<Credential, XdrError> {
    let mut decoder = Decoder::new(body);
    let _stamp = decoder.u32()?;
    let _machine = decoder.opaque(MACHINE_NAME_LEN_MAX)?;
    let uid = decoder.u32()?;
    let gid = decoder.u32()?;
    let count = decoder.u32()?;
    if count > GROUPS_MAX {
        return Err(XdrError::BadValue);
    }
    let groups = (0..count).map(|_| decoder.u32()).collect::<Result<Arc<[u32]>, _>>()?;
    Ok(Credential::Sys { uid, gid, groups })
}

/// Bytes before a reply of a stream that a datagram does without.
pub(crate) const RECORD_MARK_LEN: usize = 4;

/// A finished reply: `head`, then `data`, then zero bytes up to a multiple of four.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    /// Record mark, RPC header and all results but bulk data.
    pub(crate) head: Bytes,
    /// Bulk data of a READ, as the name space returned it; or the body of a repeated reply.
    pub(crate) data: Bytes,
}

impl Reply {
    /// Ends the reply in `encoder`, which was begun with [`accepted`], with `data` as its last item.
    pub(crate) fn finish(mut encoder: Encoder, data: Bytes) -> Self {
        let len = encoder.len() - 4 + data.len() + padding(data.len());
        // Replies are at most about 1 MiB, far from the mark's 31 bits.
        encoder.patch_u32(0, LAST_FRAGMENT | u32::try_from(len).unwrap_or(u32::MAX >> 1));
        Self { head: Bytes::from(encoder.into_vec()), data }
    }

    /// Everything behind mark and xid of a reply without bulk data: what another transmission of the same call gets.
    pub(crate) fn body(&self) -> Bytes {
        debug_assert!(self.data.is_empty(), "replies with bulk data are not kept");
        self.head.slice(ENVELOPE_LEN..)
    }

    /// A reply to `xid` with a body kept from an earlier transmission.
    pub(crate) fn repeat(xid: u32, body: Bytes) -> Self {
        let mut encoder = Encoder::with_capacity(ENVELOPE_LEN);
        encoder.u32(0);
        encoder.u32(xid);
        Self::finish(encoder, body)
    }

    /// The reply in one piece, if it has little bulk data.
    pub(crate) fn joined(self) -> Self {
        if self.data.is_empty() {
            return self;
        }
        let padded = [&self.head[..], &self.data, &[0; 3][..padding(self.data.len())]].concat();
        Self { head: padded.into(), data: Bytes::new() }
    }

    /// A reply without results.
    pub(crate) fn refused(xid: u32, refusal: Refusal) -> Self {
        let mut encoder = accepted(xid, ACCEPTED_LEN + 8);
        let status = match refusal {
            Refusal::ProgramUnavailable => 1,
            Refusal::ProgramMismatch { .. } => 2,
            Refusal::ProcedureUnavailable => 3,
            Refusal::GarbageArguments => 4,
            Refusal::SystemError => 5,
        };
        encoder.patch_u32(ACCEPTED_LEN - 4, status);
        if let Refusal::ProgramMismatch { low, high } = refusal {
            encoder.u32(low);
            encoder.u32(high);
        }
        Self::finish(encoder, Bytes::new())
    }

    /// A denial.
    pub(crate) fn denied(xid: u32, denial: Denial) -> Self {
        let mut encoder = Encoder::with_capacity(ACCEPTED_LEN);
        encoder.u32(0);
        encoder.u32(xid);
        encoder.u32(MSG_REPLY);
        encoder.u32(1); // MSG_DENIED
        match denial {
            Denial::RpcMismatch => {
                encoder.u32(0); // RPC_MISMATCH
                encoder.u32(RPC_VERSION);
                encoder.u32(RPC_VERSION);
            }
            Denial::BadCredential => auth_error(&mut encoder, 1),
            Denial::UnknownFlavor => auth_error(&mut encoder, 2),
            Denial::BadVerifier => auth_error(&mut encoder, 3),
        }
        Self::finish(encoder, Bytes::new())
    }

    /// Bytes on the wire, padding included.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.head.len() + self.data.len() + padding(self.data.len())
    }
}

fn auth_error(encoder: &mut Encoder, why: u32) {
    encoder.u32(1); // AUTH_ERROR
    encoder.u32(why);
}

/// Begins a successful reply: results are appended to what this returns.
pub(crate) fn accepted(xid: u32, capacity: usize) -> Encoder {
    let mut encoder = Encoder::with_capacity(capacity);
    encoder.u32(0); // record mark, patched at the end
    encoder.u32(xid);
    encoder.u32(MSG_REPLY);
    encoder.u32(0); // MSG_ACCEPTED
    encoder.u32(AUTH_NONE);
    encoder.u32(0); // empty verifier
    encoder.u32(0); // SUCCESS
    encoder
}

#[cfg(test)]
mod tests;
