//! As much of an HTTP/1.1 client as two doors need: one kept connection, one request at a time, whole bodies.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A server that says nothing for so long has failed.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest answer taken.
const BODY_LEN_MAX: u64 = 64 << 20;

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Status code.
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    /// The body, whole.
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The body as text, for messages.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// `http://HOST:PORT/...` without scheme and path.
pub(crate) fn authority(url: &str) -> &str {
    url.trim_start_matches("http://").split('/').next().unwrap_or_default()
}

/// A connection, opened by the first request and again after the server closed it.
#[derive(Debug)]
pub(crate) struct Connection {
    /// `host:port`.
    pub(crate) authority: String,
    stream: Option<BufReader<TcpStream>>,
}

impl Connection {
    /// To `authority`.
    pub(crate) fn new(authority: &str) -> Self {
        Self { authority: authority.to_owned(), stream: None }
    }

    /// Sends a request and reads the answer to its end.
    ///
    /// # Errors
    /// The connection broke: the request may have been carried out or not.
    pub(crate) fn request(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Answer> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(&self.authority)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                BufReader::new(stream)
            }
        };
        let mut message = format!("{method} {target} HTTP/1.1\r\nhost: {}\r\n", self.authority).into_bytes();
        for (name, value) in headers {
            message.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        if !body.is_empty() || ["PUT", "POST"].contains(&method) {
            message.extend_from_slice(format!("content-length: {}\r\n", body.len()).as_bytes());
        }
        message.extend_from_slice(b"\r\n");
        message.extend_from_slice(body);
        // A door that refuses may close before it has read everything; its answer counts.
        let sent = stream.get_mut().write_all(&message);
        let answer = receive(&mut stream, method == "HEAD").map_err(|error| sent.err().unwrap_or(error))?;
        if answer.header("connection").is_none_or(|value| !value.eq_ignore_ascii_case("close")) {
            self.stream = Some(stream);
        }
        Ok(answer)
    }
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what.to_owned())
}

fn line(stream: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 || !line.ends_with("\r\n") {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    line.truncate(line.len() - 2);
    Ok(line)
}

fn receive(stream: &mut impl BufRead, bodiless: bool) -> io::Result<Answer> {
    let first = line(stream)?;
    let status = first.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status: u16 = status.ok_or_else(|| malformed("the answer has no status"))?;
    let mut headers = Vec::new();
    loop {
        let line = line(stream)?;
        match line.split_once(':') {
            _ if line.is_empty() => break,
            Some((name, value)) => headers.push((name.to_owned(), value.trim().to_owned())),
            None => return Err(malformed("a line of the head is no header")),
        }
    }
    let mut answer = Answer { status, headers, body: Vec::new() };
    if (100..200).contains(&status) {
        return receive(stream, bodiless);
    }
    if bodiless || status == 204 || status == 304 {
        return Ok(answer);
    }
    if answer.header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        loop {
            let size = line(stream)?;
            let size = size.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(size, 16).map_err(|_| malformed("a chunk has no length"))?;
            piece(stream, size, &mut answer.body)?;
            line(stream)?;
            if size == 0 {
                return Ok(answer);
            }
        }
    }
    let length = answer.header("content-length").and_then(|length| length.parse().ok());
    let length = length.ok_or_else(|| malformed("the answer does not say where it ends"))?;
    piece(stream, length, &mut answer.body)?;
    Ok(answer)
}

fn piece(stream: &mut impl BufRead, length: u64, body: &mut Vec<u8>) -> io::Result<()> {
    if length + body.len() as u64 > BODY_LEN_MAX {
        return Err(malformed("the answer is longer than anything that was stored"));
    }
    if stream.take(length).read_to_end(body)? as u64 == length { Ok(()) } else { Err(ErrorKind::UnexpectedEof.into()) }
}

/// Percent-encodes a path, keeping its slashes.
pub(crate) fn encode_path(path: &str) -> String {
    path.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(text: &str) -> io::Result<Answer> {
        receive(&mut BufReader::new(text.as_bytes()), false)
    }

    #[test]
    fn bodies_with_a_length_and_in_chunks_are_read_whole_and_cut_ones_are_refused() {
        assert_eq!(received("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").unwrap().body, b"hello");
        let chunked = "HTTP/1.1 100 x\r\n\r\nHTTP/1.1 207 x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\n\r\n";
        let answer = received(chunked).unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (207, b"abcde".as_slice()));
        assert!(received("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell").is_err());
        assert!(received("HTTP/1.1 200 OK\r\nContent-Le").is_err());
        assert!(received("").is_err());
    }
}
