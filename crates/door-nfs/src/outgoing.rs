//! Calls of this door to clients: a granted lock, the answer of an asynchronous procedure, a restart. Over TCP, to the port that the
//! client's portmapper tells, from the address that the client speaks to.
//!
//! Invariants: a call has one time limit for everything; it reads at most a small reply; it goes to the address that the client called
//! from, and nowhere else.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::nlm::clients::Line;
use crate::programs::portmap;
use crate::rpc::{AUTH_NONE, LAST_FRAGMENT, MSG_CALL, MSG_REPLY, RPC_VERSION};
use crate::universal::{TCP, netid, port_of, universal};
use crate::xdr::{Decoder, Encoder, XdrError};

/// Longest reply, bytes: a cookie and a status.
const REPLY_LEN_MAX: usize = 4 << 10;
/// Longest verifier (RFC 5531, section 8.2), bytes.
const AUTH_LEN_MAX: usize = 400;
/// Longest universal address, bytes.
const ADDRESS_LEN_MAX: usize = 255;

static NEXT_XID: AtomicU32 = AtomicU32::new(1);

/// Why a client could not be called.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// The client does not answer in time.
    #[error("the client does not answer in time")]
    Slow,
    /// The connection failed.
    #[error("the client cannot be reached")]
    Io(#[from] std::io::Error),
    /// Its portmapper knows no port of the program.
    #[error("the client's portmapper knows no port of program {0}")]
    NoPort(u32),
    /// What came is no reply to the call.
    #[error("the client's reply cannot be read")]
    Garbled(#[from] XdrError),
    /// The client refused the call.
    #[error("the client refused the call")]
    Refused,
}

/// A procedure of a program of clients.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Procedure {
    pub(crate) program: u32,
    pub(crate) version: u32,
    pub(crate) number: u32,
}

/// Calls a client and returns its results.
///
/// # Errors
/// [`CallError`]; whether the client executed the call is then not known.
pub(crate) async fn call(
    line: Line,
    portmap_port: u16,
    limit: Duration,
    procedure: Procedure,
    args: &[u8],
) -> Result<Decoder, CallError> {
    let calling = async {
        let port = port(line, portmap_port, procedure).await?.ok_or(CallError::NoPort(procedure.program))?;
        call_at(line, port, procedure, args).await
    };
    tokio::time::timeout(limit, calling).await.map_err(|_| CallError::Slow)?
}

/// The port that the client's portmapper has for a program over TCP. Over IPv6 hosts answer rpcbind alone (Linux' does not serve portmap
/// version 2 there), and older ones have version 3 only.
async fn port(line: Line, portmap_port: u16, of: Procedure) -> Result<Option<u16>, CallError> {
    let mut asked = Encoder::with_capacity(64);
    asked.u32(of.program);
    asked.u32(of.version);
    let ask = |version| Procedure { program: portmap::PROGRAM, version, number: portmap::WHERE };
    let told = if line.client.is_ipv4() {
        asked.u32(TCP);
        asked.u32(0);
        let told = call_at(line, portmap_port, ask(portmap::VERSION), &asked.into_vec()).await?.u32()?;
        u16::try_from(told).ok()
    } else {
        for text in [netid(TCP, line.client), &universal(line.client, portmap_port), ""] {
            asked.opaque(text.as_bytes());
        }
        let asked = asked.into_vec();
        let mut told = call_at(line, portmap_port, ask(portmap::VERSION_LAST), &asked).await;
        if matches!(told, Err(CallError::Refused)) {
            told = call_at(line, portmap_port, ask(portmap::VERSION_LAST - 1), &asked).await;
        }
        port_of(&told?.opaque(ADDRESS_LEN_MAX)?)
    };
    Ok(told.filter(|port| *port != 0))
}

async fn call_at(line: Line, port: u16, procedure: Procedure, args: &[u8]) -> Result<Decoder, CallError> {
    let mut stream = connect(line, port).await?;
    let xid = NEXT_XID.fetch_add(1, Ordering::Relaxed);
    let mut out = Encoder::with_capacity(64 + args.len());
    let Procedure { program, version, number } = procedure;
    let head = [0, xid, MSG_CALL, RPC_VERSION, program, version, number, AUTH_NONE, 0, AUTH_NONE, 0];
    head.into_iter().for_each(|word| out.u32(word));
    out.fixed(args);
    let len = u32::try_from(out.len() - 4).unwrap_or(0);
    out.patch_u32(0, LAST_FRAGMENT | len);
    stream.write_all(&out.into_vec()).await?;
    results(&mut stream, xid).await
}

async fn connect(line: Line, port: u16) -> std::io::Result<TcpStream> {
    let socket = if line.client.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Clients accept a granted lock only from the address to which they sent the request.
    if line.local.is_ipv4() == line.client.is_ipv4() {
        socket.bind(SocketAddr::new(line.local, 0))?;
    }
    socket.connect(SocketAddr::new(line.client, port)).await
}

/// Reads the reply and its header.
async fn results(stream: &mut (impl AsyncRead + Unpin), xid: u32) -> Result<Decoder, CallError> {
    let mut bytes = Vec::new();
    loop {
        let mark = stream.read_u32().await?;
        let len = usize::try_from(mark & !LAST_FRAGMENT).unwrap_or(usize::MAX);
        if len > REPLY_LEN_MAX - bytes.len() {
            return Err(XdrError::TooLong { limit: REPLY_LEN_MAX }.into());
        }
        let at = bytes.len();
        bytes.resize(at + len, 0);
        stream.read_exact(&mut bytes[at..]).await?;
        if mark & LAST_FRAGMENT != 0 {
            break;
        }
        if len == 0 {
            return Err(XdrError::BadValue.into());
        }
    }
    let mut reply = Decoder::new(Bytes::from(bytes));
    if (reply.u32()?, reply.u32()?) != (xid, MSG_REPLY) {
        return Err(XdrError::BadValue.into());
    }
    if reply.u32()? != 0 {
        return Err(CallError::Refused);
    }
    let _flavor = reply.u32()?;
    reply.opaque(AUTH_LEN_MAX)?;
    if reply.u32()? != 0 {
        return Err(CallError::Refused);
    }
    Ok(reply)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the caller makes of these bytes.
    fn read(mut bytes: &[u8]) -> Result<Bytes, CallError> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(results(&mut bytes, 7)).map(|results| results.rest().clone())
    }

    /// A reply in fragments.
    fn reply(words: &[u32], fragments: &[&[u8]]) -> Vec<u8> {
        let head: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        let all: Vec<&[u8]> = [&[head.as_slice()], fragments].concat();
        let mut out = Vec::new();
        for (number, fragment) in all.iter().enumerate() {
            let last = if number + 1 == all.len() { LAST_FRAGMENT } else { 0 };
            out.extend_from_slice(&(last | u32::try_from(fragment.len()).unwrap()).to_be_bytes());
            out.extend_from_slice(fragment);
        }
        out
    }

    #[test]
    fn results_are_what_is_behind_the_header_in_however_many_fragments() {
        assert_eq!(read(&reply(&[7, 1, 0, 0, 0, 0], &[b"resu", b"lts!"])).unwrap(), "results!");
        assert_eq!(read(&reply(&[7, 1, 0, 0, 0, 0], &[])).unwrap(), "");
        // Denied, and accepted without success.
        for words in [&[7, 1, 1, 0, 2, 2][..], &[7, 1, 0, 0, 0, 3]] {
            assert!(matches!(read(&reply(words, &[])), Err(CallError::Refused)), "{words:?}");
        }
        // The reply to another call, a call, too short, without an end, and too long.
        let many = [&[0u8; 2048][..]; 2];
        for bytes in [
            reply(&[8, 1, 0, 0, 0, 0], &[]),
            reply(&[7, 0, 0, 0, 0, 0], &[]),
            reply(&[7, 1, 0], &[]),
            [0; 64].to_vec(),
            reply(&[7, 1, 0, 0, 0, 0], &many),
            vec![0xff; 64],
        ] {
            assert!(matches!(read(&bytes), Err(CallError::Garbled(_))), "{bytes:?}");
        }
        assert!(matches!(read(&reply(&[7, 1, 0, 0, 0, 0], &[b"more"])[..20]), Err(CallError::Io(_))));
    }

    proptest! {
        #[test]
        fn no_bytes_whatever_make_reading_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), mark in any::<bool>()) {
            let bytes = if mark { reply(&[7, 1], &[&bytes]) } else { bytes };
            drop(read(&bytes));
        }
    }
}
