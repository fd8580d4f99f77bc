//! As much of an HTTP client as a command needs to talk to the admin door of the server on the same machine: one
//! request, one answer, then the connection ends.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, ensure};

/// How long the server may be silent.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// Longest answer that is taken, in bytes.
const ANSWER_LEN_MAX: u64 = 64 << 20;

/// An answer of the admin door.
pub(crate) struct Answer {
    /// HTTP status code.
    pub(crate) status: u16,
    /// The body.
    pub(crate) body: Vec<u8>,
}

/// Sends a request with a bearer token to `base` (`http://IP:PORT`), and waits for the answer.
///
/// # Errors
/// No connection, silence for 30 s, or an answer that is no HTTP.
pub(crate) fn request(base: &str, method: &str, path: &str, token: &str, body: &[u8]) -> anyhow::Result<Answer> {
    let address: SocketAddr = base
        .strip_prefix("http://")
        .and_then(|rest| rest.trim_end_matches('/').parse().ok())
        .with_context(|| format!("`{base}` is not the address of an admin door"))?;
    let exchange = || {
        let mut stream = TcpStream::connect_timeout(&address, SILENCE_MAX)?;
        stream.set_read_timeout(Some(SILENCE_MAX))?;
        stream.set_write_timeout(Some(SILENCE_MAX))?;
        // HTTP/1.0 keeps the answer free of chunks and ends it with the connection.
        let head = format!(
            "{method} {path} HTTP/1.0\r\nhost: {address}\r\nauthorization: Bearer {token}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        let mut answer = Vec::new();
        stream.take(ANSWER_LEN_MAX).read_to_end(&mut answer)?;
        std::io::Result::Ok(answer)
    };
    parse(&exchange().with_context(|| format!("the admin door at {address} does not answer"))?)
}

fn parse(answer: &[u8]) -> anyhow::Result<Answer> {
    let end = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .context("the answer has no end of its head")?;
    let head = std::str::from_utf8(&answer[..end]).context("the answer's head is no text")?;
    let mut first = head.lines().next().unwrap_or_default().split(' ');
    ensure!(
        first.next().is_some_and(|version| version.starts_with("HTTP/1.")),
        "the answer is no HTTP"
    );
    let status = first
        .next()
        .and_then(|code| code.parse().ok())
        .context("the answer has no status")?;
    Ok(Answer {
        status,
        body: answer[end + 4..].to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn status_and_body_are_taken_from_an_answer() {
        let answer = parse(b"HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\ngone").unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (404, b"gone".as_slice()));
    }

    proptest! {
        #[test]
        fn any_answer_is_read_or_refused_without_a_panic(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }
    }
}
