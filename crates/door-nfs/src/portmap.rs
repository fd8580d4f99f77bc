//! Portmap version 2 (RFC 1833, section 3): tells clients that ask where NFS, MOUNT and its locks are. All are on the door's own port, so
//! that no rpcbind is needed. Locks and notices of restarts (NSM) are taken over UDP too, on the portmapper's own port: macOS asks for
//! locks and Linux tells of restarts that way. Registrations from outside are refused.

use crate::door::NfsDoor;
use crate::metrics::count;
use crate::rpc::{Call, Refusal, Reply, accepted};
use crate::xdr::Decoder;
use crate::{mount, nfs, nlm, nsm};

pub(crate) use crate::programs::portmap::{PROGRAM, VERSION};

const PROTOCOL_TCP: u32 = 6;
const PROTOCOL_UDP: u32 = 17;
const PORTMAP_PORT: u16 = 111;

/// Answers a call. `nfs_port` is told for what is served over TCP; `registry` says whether this is port 111, over UDP too.
pub(crate) fn call(door: &NfsDoor, nfs_port: u16, registry: bool, call: &Call) -> Result<Reply, Refusal> {
    count(&door.metrics().portmap_calls);
    let services = [
        (nfs::PROGRAM, nfs::VERSION, PROTOCOL_TCP, nfs_port),
        (mount::PROGRAM, mount::VERSION, PROTOCOL_TCP, nfs_port),
        (nlm::PROGRAM, nlm::VERSION, PROTOCOL_TCP, nfs_port),
        (nsm::PROGRAM, nsm::VERSION, PROTOCOL_TCP, nfs_port),
        (PROGRAM, VERSION, PROTOCOL_TCP, PORTMAP_PORT),
        (PROGRAM, VERSION, PROTOCOL_UDP, PORTMAP_PORT),
        (nlm::PROGRAM, nlm::VERSION, PROTOCOL_UDP, PORTMAP_PORT),
        (nsm::PROGRAM, nsm::VERSION, PROTOCOL_UDP, PORTMAP_PORT),
    ];
    let services = if registry { &services[..] } else { &services[..5] };
    let mut out = accepted(call.xid, 192);
    match call.procedure {
        0 => {}
        // SET and UNSET: refused.
        1 | 2 => out.bool(false),
        3 => {
            let mut args = Decoder::new(call.args.clone());
            let (program, _version, protocol) =
                (|| Ok::<_, crate::xdr::XdrError>((args.u32()?, args.u32()?, args.u32()?)))()
                    .map_err(|_| Refusal::GarbageArguments)?;
            // The version is not looked at: a client of another version then learns the right one from PROG_MISMATCH.
            let port = services
                .iter()
                .find(|(offered, _, over, _)| *offered == program && *over == protocol)
                .map_or(0, |(.., port)| *port);
            out.u32(u32::from(port));
        }
        4 => {
            for (program, version, protocol, port) in services {
                out.bool(true);
                out.u32(*program);
                out.u32(*version);
                out.u32(*protocol);
                out.u32(u32::from(*port));
            }
            out.bool(false);
        }
        _ => return Err(Refusal::ProcedureUnavailable),
    }
    Ok(Reply::finish(out, bytes::Bytes::new()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_registry() {
        assert_eq!((PROGRAM, mount::PROGRAM, nfs::PROGRAM), (100_000, 100_005, 100_003));
        assert_eq!((VERSION, mount::VERSION, nfs::VERSION), (2, 3, 3));
    }
}
