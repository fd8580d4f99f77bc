//! Portmap version 2 and rpcbind versions 3 and 4 (RFC 1833): tell clients that ask where NFS, MOUNT and its locks are. All are on the door's
//! own port, so that no rpcbind is needed. Locks and notices of restarts (NSM) are taken over UDP too, on the portmapper's own port: macOS
//! asks for locks and Linux reports restarts that way. Registrations from outside are refused.
//!
//! Version 2 has ports alone; kernels use it over IPv4. The others have addresses ([`crate::universal`]); kernels use them over
//! IPv6, libraries over both. Of rpcbind there is what clients need to find a service: GETADDR, GETVERSADDR and DUMP. The address in an answer is
//! the one that the client speaks to, so no client gets an address of a network that is not its own.

use std::net::IpAddr;

use bytes::Bytes;

use crate::door::NfsDoor;
use crate::metrics::count;
use crate::rpc::{Call, Refusal, Reply, accepted};
use crate::universal::{TCP, UDP, netid, universal};
use crate::xdr::{Decoder, Encoder, XdrError};
use crate::{mount, nfs, nlm, nsm};

pub(crate) use crate::programs::portmap::{PROGRAM, VERSION, VERSION_LAST};

const PORTMAP_PORT: u16 = 111;
/// Longest string in arguments of rpcbind, bytes: the name of a transport, an address, an owner.
const TEXT_LEN_MAX: usize = 255;
/// The owner of every registration in answers: only the door itself can register.
const OWNER: &[u8] = b"superuser";

/// Where a call came in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    /// The address of this machine that the asker speaks to.
    pub(crate) local: IpAddr,
    /// Over which protocol.
    pub(crate) protocol: u32,
    /// The port in answers for what is served over TCP.
    pub(crate) nfs_port: u16,
    /// Whether this is port 111, which serves over UDP too.
    pub(crate) registry: bool,
}

/// Something that is served: program, version, protocol and port.
type Service = (u32, u32, u32, u16);

/// A program as callers of rpcbind ask for it (`rpcb`).
#[derive(Clone, PartialEq, Eq, Debug)]
struct Asked {
    program: u32,
    version: u32,
    netid: Bytes,
}

impl Asked {
    fn decode(args: Bytes) -> Result<Self, XdrError> {
        let mut input = Decoder::new(args);
        let (program, version, netid) = (input.u32()?, input.u32()?, input.opaque(TEXT_LEN_MAX)?);
        // The address by which the asker knows this host, and who is to own what it registers.
        let (_address, _owner) = (input.opaque(TEXT_LEN_MAX)?, input.opaque(TEXT_LEN_MAX)?);
        Ok(Self { program, version, netid })
    }
}

/// Answers a call.
pub(crate) fn call(door: &NfsDoor, place: Place, call: &Call) -> Result<Reply, Refusal> {
    count(&door.metrics().portmap_calls);
    let place = Place { local: place.local.to_canonical(), ..place };
    let tcp = |program, version| (program, version, TCP, place.nfs_port);
    let mut services = vec![
        tcp(nfs::PROGRAM, nfs::VERSION),
        tcp(mount::PROGRAM, mount::VERSION),
        tcp(nlm::PROGRAM, nlm::VERSION),
        tcp(nsm::PROGRAM, nsm::VERSION),
        (PROGRAM, VERSION, TCP, PORTMAP_PORT),
    ];
    if place.registry {
        let udp = [(PROGRAM, VERSION), (nlm::PROGRAM, nlm::VERSION), (nsm::PROGRAM, nsm::VERSION)];
        services.extend(udp.map(|(program, version)| (program, version, UDP, PORTMAP_PORT)));
    }
    let mut out = accepted(call.xid, 192);
    let answered = match (call.version, call.procedure) {
        (_, 0) => Some(Ok(())),
        // SET and UNSET: refused.
        (_, 1 | 2) => {
            out.bool(false);
            Some(Ok(()))
        }
        (VERSION, 3) => Some(port(&services, &call.args, &mut out)),
        (VERSION, 4) => {
            list_ports(&services, &mut out);
            Some(Ok(()))
        }
        (VERSION, _) => None,
        (_, 3) => Some(address(&services, place, &call.args, false, &mut out)),
        (_, 4) => {
            list_addresses(&services, place, &mut out);
            Some(Ok(()))
        }
        (VERSION_LAST, 9) => Some(address(&services, place, &call.args, true, &mut out)),
        _ => None,
    };
    answered.ok_or(Refusal::ProcedureUnavailable)?.map_err(|_| Refusal::GarbageArguments)?;
    Ok(Reply::finish(out, Bytes::new()))
}

/// GETPORT. The version is not looked at: a client of another version then learns the right one from PROG_MISMATCH.
fn port(services: &[Service], args: &Bytes, out: &mut Encoder) -> Result<(), XdrError> {
    let mut args = Decoder::new(args.clone());
    let (program, _version, protocol) = (args.u32()?, args.u32()?, args.u32()?);
    let found = services.iter().find(|(offered, _, over, _)| *offered == program && *over == protocol);
    out.u32(found.map_or(0, |(.., port)| u32::from(*port)));
    Ok(())
}

/// DUMP of version 2.
fn list_ports(services: &[Service], out: &mut Encoder) {
    for (program, version, protocol, port) in services {
        out.bool(true);
        [*program, *version, *protocol, u32::from(*port)].into_iter().for_each(|word| out.u32(word));
    }
    out.bool(false);
}

/// GETADDR, and GETVERSADDR, which returns `exact` versions alone. The transport is the one that is named; if that is no name of one, the
/// one that the call came over. A program that is not served over it gets an empty address.
fn address(services: &[Service], place: Place, args: &Bytes, exact: bool, out: &mut Encoder) -> Result<(), XdrError> {
    let asked = Asked::decode(args.clone())?;
    let protocol = match &asked.netid[..] {
        b"tcp" | b"tcp6" => TCP,
        b"udp" | b"udp6" => UDP,
        _ => place.protocol,
    };
    let named = [&b"tcp"[..], b"tcp6", b"udp", b"udp6"].contains(&&asked.netid[..]);
    // Which address of the other kind reaches this host is not known here.
    let reached = !named || asked.netid == netid(protocol, place.local).as_bytes();
    let found = services.iter().find(|(program, version, over, _)| {
        let offers = |wanted| *version == wanted || *program == PROGRAM && (VERSION..=VERSION_LAST).contains(&wanted);
        *program == asked.program && *over == protocol && (!exact || offers(asked.version))
    });
    match found.filter(|_| reached) {
        Some((.., port)) => out.opaque(universal(place.local, *port).as_bytes()),
        None => out.opaque(b""),
    }
    Ok(())
}

/// DUMP of versions 3 and 4: over the kind of address that the call came over.
fn list_addresses(services: &[Service], place: Place, out: &mut Encoder) {
    for (program, version, protocol, port) in services {
        let versions = if *program == PROGRAM { VERSION..=VERSION_LAST } else { *version..=*version };
        for version in versions {
            out.bool(true);
            out.u32(*program);
            out.u32(version);
            out.opaque(netid(*protocol, place.local).as_bytes());
            out.opaque(universal(place.local, *port).as_bytes());
            out.opaque(OWNER);
        }
    }
    out.bool(false);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_those_of_the_registry() {
        assert_eq!((PROGRAM, mount::PROGRAM, nfs::PROGRAM), (100_000, 100_005, 100_003));
        assert_eq!((VERSION, VERSION_LAST, mount::VERSION, nfs::VERSION), (2, 4, 3, 3));
    }

    fn encoded(asked: &Asked) -> Vec<u8> {
        let mut out = Encoder::default();
        out.u32(asked.program);
        out.u32(asked.version);
        [&asked.netid[..], b"::1.8.1", b""].into_iter().for_each(|text| out.opaque(text));
        out.into_vec()
    }

    proptest! {
        #[test]
        fn what_is_asked_reads_back_and_nothing_shorter_does(program: u32, version: u32, netid in "[a-z0-9]{0,8}") {
            let asked = Asked { program, version, netid: Bytes::from(netid) };
            let bytes = encoded(&asked);
            prop_assert_eq!(Asked::decode(bytes.clone().into()), Ok(asked));
            for len in 0..bytes.len() {
                prop_assert!(Asked::decode(bytes[..len].to_vec().into()).is_err());
            }
        }

        #[test]
        fn no_bytes_whatever_make_reading_panic(bytes: Vec<u8>) {
            drop(Asked::decode(bytes.into()));
        }
    }
}
