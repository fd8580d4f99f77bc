//! MOUNT version 3 (RFC 1813, appendix I): turns a path into the first file handle.
//!
//! The mounts that clients reported are in `mount_list`.

use std::net::IpAddr;

use bytes::Bytes;
use nfsserve::nfs::nfsstat3;
use strata_namespace::{Attr, NodeKind, Op, ROOT_INO};

use crate::door::NfsDoor;
use crate::export::{ExportId, Refused, Rule};
use crate::metrics::count;
use crate::peer::Peer;
use crate::rpc::{AUTH_SYS, Call, Refusal, Reply, accepted};
use crate::status::Fail;
use crate::xdr::{Decoder, Encoder};

pub(crate) const PROGRAM: u32 = 100_005;
pub(crate) const VERSION: u32 = 3;

/// Longest path (MNTPATHLEN), bytes.
const PATH_LEN_MAX: usize = 1024;
/// Most bytes of an answer to DUMP or EXPORT.
const LIST_LEN_MAX: usize = 64 << 10;

/// Answers a call.
pub(crate) async fn call(door: &NfsDoor, peer: &Peer, call: &Call) -> Result<Reply, Refusal> {
    count(&door.metrics().mount_calls);
    let client = peer.address.ip().to_canonical();
    let mut args = Decoder::new(call.args.clone());
    let mut path = || args.opaque(PATH_LEN_MAX).map_err(|_| Refusal::GarbageArguments);
    let mut out = accepted(call.xid, 256);
    match call.procedure {
        0 => {}
        1 => {
            let path = path()?;
            match mnt(door, peer, call, &path).await {
                Ok((export, attr)) => {
                    out.u32(0);
                    out.opaque(&door.handle(export, &attr));
                    out.length(1);
                    out.u32(AUTH_SYS);
                    door.mounts.add(client, &path);
                }
                Err(fail) => {
                    let path = path.escape_ascii();
                    tracing::info!(client = %client, path = %path, status = ?fail.0, "nfs mount refused");
                    out.u32(mount_status(fail));
                }
            }
        }
        2 => dump(door, client, &mut out),
        3 => door.mounts.remove(client, Some(&path()?)),
        4 => door.mounts.remove(client, None),
        5 => exports(door, client, &mut out),
        _ => return Err(Refusal::ProcedureUnavailable),
    }
    Ok(Reply::finish(out, Bytes::new()))
}

/// The export and directory behind `path`.
///
/// The exported path itself needs no permission, as the rule gives it. Components below it are walked as the caller,
/// so that a mount reaches no directory that a walk would not.
async fn mnt(door: &NfsDoor, peer: &Peer, call: &Call, path: &[u8]) -> Result<(ExportId, Attr), Fail> {
    let exports = door.exports();
    let (rule, below) = exports.mount(path, peer.address).map_err(|refused| {
        count(&door.metrics().export_refusals);
        refusal(refused)
    })?;
    let op = Op::of(rule.export.caller(&call.credential), crate::operations::of_mount());
    let mut attr = export_root(door, &op, rule)?;
    for name in below {
        if name == b"." || name == b".." {
            return Err(Fail(nfsstat3::NFS3ERR_INVAL));
        }
        attr = door.ns.lookup(&op, attr.ino, name)?;
    }
    if attr.kind != NodeKind::Directory {
        return Err(Fail(nfsstat3::NFS3ERR_NOTDIR));
    }
    door.ns.settle(&op).await?;
    Ok((rule.id, attr))
}

/// The attributes of an export's root directory.
pub(crate) fn export_root(door: &NfsDoor, op: &Op, rule: &Rule) -> Result<Attr, Fail> {
    let ino = match rule.export.bucket() {
        None => ROOT_INO,
        Some(name) => door.ns.bucket_of_folder(op, name.as_bytes())?.root,
    };
    Ok(door.ns.getattr(op, ino)?)
}

/// The refusal for a client that may not use an export.
pub(crate) fn refusal(refused: Refused) -> Fail {
    Fail(match refused {
        Refused::NotExported => nfsstat3::NFS3ERR_ACCES,
        Refused::PortNotPrivileged => nfsstat3::NFS3ERR_PERM,
    })
}

/// MOUNT's status codes are those of NFS with the same number, but fewer.
fn mount_status(fail: Fail) -> u32 {
    let status = fail.0 as u32;
    match status {
        1 | 2 | 5 | 13 | 20 | 22 | 63 | 10_004 | 10_006 => status,
        _ => nfsstat3::NFS3ERR_SERVERFAULT as u32,
    }
}

/// What this client mounted; what others did is not its business.
fn dump(door: &NfsDoor, client: IpAddr, out: &mut Encoder) {
    for path in door.mounts.of(client) {
        if out.len() > LIST_LEN_MAX {
            break;
        }
        out.bool(true);
        out.opaque(client.to_string().as_bytes());
        out.opaque(&path);
    }
    out.bool(false);
}

/// What this client may mount.
fn exports(door: &NfsDoor, client: IpAddr, out: &mut Encoder) {
    for rule in door.exports().visible_to(client) {
        if out.len() > LIST_LEN_MAX {
            break;
        }
        out.bool(true);
        out.opaque(rule.export.path.as_bytes());
        for range in rule.export.clients.iter().filter(|range| range.contains(client)) {
            out.bool(true);
            out.opaque(range.to_string().as_bytes());
        }
        out.bool(false);
    }
    out.bool(false);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mount_s_own_status_codes_are_answered() {
        assert_eq!(mount_status(Fail(nfsstat3::NFS3ERR_ACCES)), 13);
        assert_eq!(mount_status(Fail(nfsstat3::NFS3ERR_JUKEBOX)), 10_006);
    }
}
