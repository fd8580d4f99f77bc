//! A plain HTTP/1.1 client on one blocking connection: it sends exactly what it is told, so that a test can be ruder than
//! a real client would be, and it adds little to what an example measures.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Longest time to wait for the server in a read.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection, with the credentials that every request carries.
pub(crate) struct Client {
    address: SocketAddr,
    login: Option<String>,
    stream: BufReader<TcpStream>,
}

/// A reply, read to its end.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Whether the body came to an end as announced.
    pub(crate) whole: bool,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { address, login: None, stream: BufReader::with_capacity(256 * 1024, stream) })
    }

    pub(crate) fn login(mut self, name: &str, password: &str) -> Self {
        self.login = Some(format!("authorization: Basic {}\r\n", STANDARD.encode(format!("{name}:{password}"))));
        self
    }

    /// The head of a request, as [`Client::send`] would write it; `more` are whole header lines.
    pub(crate) fn head(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> String {
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\n{}",
            self.address,
            self.login.as_deref().unwrap_or_default()
        );
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head
    }

    /// Sends a request with a length, and reads its reply.
    pub(crate) fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Reply> {
        let mut request = self.head(method, path, headers).into_bytes();
        request.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
        if body.len() <= 64 * 1024 {
            request.extend_from_slice(body);
            self.write(&request)?;
        } else {
            self.write(&request)?;
            self.write(body)?;
        }
        self.reply(method == "HEAD")
    }

    /// Bytes as they are.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Ends the sending half: the server sees the end of the connection, replies still come.
    pub(crate) fn hang_up(&mut self) -> io::Result<()> {
        self.stream.get_mut().shutdown(Shutdown::Write)
    }

    /// Reads a reply; interim ones (1xx) are passed over.
    pub(crate) fn reply(&mut self, without_body: bool) -> io::Result<Reply> {
        loop {
            let reply = self.one_reply(without_body)?;
            if reply.status >= 200 {
                return Ok(reply);
            }
        }
    }

    /// GETs `path` and shows its body piece by piece, so that nothing of it is kept.
    pub(crate) fn fetch(&mut self, path: &str, mut piece: impl FnMut(&[u8])) -> io::Result<u16> {
        let request = format!("{}\r\n", self.head("GET", path, &[]));
        self.write(request.as_bytes())?;
        let reply = self.one_reply(true)?;
        let mut left: usize = reply.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
        while left > 0 {
            let bytes = self.stream.fill_buf()?;
            let len = bytes.len().min(left);
            if len == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            piece(&bytes[..len]);
            self.stream.consume(len);
            left -= len;
        }
        Ok(reply.status)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        line.truncate(line.trim_end().len());
        Ok(line)
    }

    /// The next reply, interim or not.
    pub(crate) fn one_reply(&mut self, without_body: bool) -> io::Result<Reply> {
        let first = self.line()?;
        let status = first
            .split(' ')
            .nth(1)
            .and_then(|word| word.parse().ok())
            .ok_or_else(|| io::Error::other(format!("no status line: {first}")))?;
        let mut reply = Reply { status, headers: Vec::new(), body: Vec::new(), whole: true };
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else { break };
            reply.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        if without_body || matches!(status, 100..200 | 204 | 304) {
            return Ok(reply);
        }
        if reply.header("transfer-encoding") == Some("chunked") {
            reply.whole = self.chunks(&mut reply.body).is_ok();
        } else {
            let len: u64 = reply.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
            reply.body.reserve(usize::try_from(len).unwrap_or_default());
            let read = self.stream.by_ref().take(len).read_to_end(&mut reply.body)?;
            reply.whole = read as u64 == len;
        }
        Ok(reply)
    }

    fn chunks(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        loop {
            let line = self.line()?;
            let len = u64::from_str_radix(line.split(';').next().unwrap_or_default(), 16).map_err(io::Error::other)?;
            if self.stream.by_ref().take(len).read_to_end(out)? as u64 != len {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.line()?;
            if len == 0 {
                return Ok(());
            }
        }
    }
}
