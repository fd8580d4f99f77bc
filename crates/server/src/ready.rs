//! Checks that each door really answers: before its address is announced, it gets a request of its own protocol from outside.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long a door may take for its first answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// What a door speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Protocol {
    /// S3, WebDAV, admin: any HTTP answer will do, a refusal too.
    Http,
    /// The NULL procedure of NFS version 3.
    Nfs,
}

/// Waits until the door at `address` answers.
///
/// # Errors
/// It did not within 20 s, or answered in another protocol.
pub(crate) async fn door(name: &str, address: SocketAddr, protocol: Protocol) -> anyhow::Result<()> {
    let answer = async {
        let mut stream = TcpStream::connect(reachable(address)).await?;
        match protocol {
            Protocol::Http => http(&mut stream).await,
            Protocol::Nfs => nfs(&mut stream).await,
        }
    };
    match tokio::time::timeout(ANSWER_WITHIN, answer).await {
        Ok(result) => result.with_context(|| format!("the {name} door at {address} does not answer properly")),
        Err(_) => bail!("the {name} door at {address} gave no answer within {} s", ANSWER_WITHIN.as_secs()),
    }
}

/// The address to connect to for a door that listens on every address of the machine.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

async fn http(stream: &mut TcpStream) -> anyhow::Result<()> {
    stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
    let mut head = [0; 7];
    stream.read_exact(&mut head).await?;
    ensure!(&head == b"HTTP/1.", "that is no HTTP server");
    Ok(())
}

async fn nfs(stream: &mut TcpStream) -> anyhow::Result<()> {
    const XID: u32 = 0x7374_7261;
    // RFC 5531: a record mark (last fragment, 40 bytes), then xid, CALL, RPC version 2, program, version, procedure,
    // and empty credentials and verifier.
    let words: [u32; 11] = [0x8000_0028, XID, 0, 2, 100_003, 3, 0, 0, 0, 0, 0];
    let call: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    stream.write_all(&call).await?;
    let mut reply = [0; 28];
    stream.read_exact(&mut reply).await?;
    let word = |index: usize| u32::from_be_bytes([0, 1, 2, 3].map(|byte| reply[index * 4 + byte]));
    // Record mark, xid, REPLY, accepted, verifier (two words), success.
    ensure!(word(1) == XID && word(2) == 1 && word(3) == 0 && word(6) == 0, "that is no NFS version 3 server");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    async fn server_that_says(answer: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 256];
            let _ = stream.read(&mut request).await;
            stream.write_all(answer).await.unwrap();
        });
        address
    }

    #[tokio::test]
    async fn a_refusal_counts_as_an_answer_and_another_protocol_does_not() {
        let address = server_that_says(b"HTTP/1.1 403 Forbidden\r\n\r\n").await;
        door("s3", address, Protocol::Http).await.unwrap();
        let address = server_that_says(b"220 mail.example ESMTP\r\n").await;
        let error = door("s3", address, Protocol::Http).await.unwrap_err();
        assert!(format!("{error:#}").contains("that is no HTTP server"));
        let address = server_that_says(&[0; 28]).await;
        let error = door("nfs", address, Protocol::Nfs).await.unwrap_err();
        assert!(format!("{error:#}").contains("that is no NFS version 3 server"));
    }
}
