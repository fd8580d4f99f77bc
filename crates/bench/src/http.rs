//! The generator's own HTTP/1.1 client: one kept-alive connection, no copies beyond the socket's.
//!
//! It does what these benchmarks need and no more, so that the load costs a few microseconds per request and what is
//! measured is the server. Answers are framed by Content-Length, by chunks, or by having no body.

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::content::Source;

/// Longest head of an answer.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// What is read from the socket at once.
const READ_BYTES: usize = 256 << 10;

/// What a request carries.
pub(crate) enum Body<'a> {
    /// Nothing.
    None,
    /// These bytes.
    Bytes(&'a [u8]),
    /// An object of this many bytes from a source.
    Object(&'a mut Source, u64),
}

/// The head of an answer, and how much body came with it.
pub(crate) struct Answer {
    /// Status code.
    pub(crate) status: u16,
    /// Length of the body as it arrived.
    pub(crate) body_bytes: u64,
    /// Length that the head tells.
    pub(crate) length: Option<u64>,
}

/// One connection, opened anew when the server closed it.
pub(crate) struct Connection {
    address: String,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
    /// Bytes of `buffer` that were read and not used.
    filled: usize,
}

impl Connection {
    /// To be opened by the first request.
    pub(crate) fn new(address: &str) -> Self {
        Self { address: address.to_owned(), stream: None, buffer: vec![0; READ_BYTES], filled: 0 }
    }

    /// Sends a request, whose `head` ends with its empty line, and reads the answer; its body goes to `keep`, or nowhere.
    ///
    /// # Errors
    /// What the connection or the framing of the answer did wrong; the connection is then closed.
    pub(crate) async fn request(&mut self, head: &[u8], body: Body<'_>, keep: Option<&mut Vec<u8>>) -> Result<Answer> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(&self.address).await;
                let stream = stream.with_context(|| format!("no connection to {}", self.address))?;
                stream.set_nodelay(true)?;
                self.filled = 0;
                stream
            }
        };
        send(&mut stream, head, body).await.context("the request could not be sent")?;
        let bodiless = head.starts_with(b"HEAD ");
        let (answer, open) = self.receive(&mut stream, bodiless, keep).await?;
        if open {
            self.stream = Some(stream);
        }
        Ok(answer)
    }

    async fn more(&mut self, stream: &mut TcpStream) -> Result<()> {
        if self.filled == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        let read = stream.read(&mut self.buffer[self.filled..]).await?;
        ensure!(read > 0, "the server closed the connection in the middle of an answer");
        self.filled += read;
        Ok(())
    }

    fn consume(&mut self, bytes: usize) {
        self.buffer.copy_within(bytes..self.filled, 0);
        self.filled -= bytes;
    }

    async fn receive(
        &mut self,
        stream: &mut TcpStream,
        bodiless: bool,
        mut keep: Option<&mut Vec<u8>>,
    ) -> Result<(Answer, bool)> {
        let framing = loop {
            let end = loop {
                if let Some(end) = find(&self.buffer[..self.filled], b"\r\n\r\n") {
                    break end + 4;
                }
                ensure!(self.filled < HEAD_BYTES_MAX, "the head of the answer has no end");
                self.more(stream).await?;
            };
            let framing = Framing::read(&self.buffer[..end])?;
            self.consume(end);
            // 100 Continue and its kind: the answer proper follows.
            if framing.status >= 200 {
                break framing;
            }
        };
        let mut body_bytes = 0;
        let none = bodiless || framing.status == 204 || framing.status == 304;
        if framing.chunked && !none {
            loop {
                let line = loop {
                    if let Some(end) = find(&self.buffer[..self.filled], b"\r\n") {
                        break end;
                    }
                    self.more(stream).await?;
                };
                let digits = std::str::from_utf8(&self.buffer[..line])?;
                let digits = digits.split(';').next().unwrap_or_default().trim();
                let length = u64::from_str_radix(digits, 16).context("a chunk has no length")?;
                self.consume(line + 2);
                self.body(stream, length, keep.as_deref_mut()).await?;
                self.body(stream, 2, None).await?;
                body_bytes += length;
                if length == 0 {
                    break;
                }
            }
        } else if let Some(length) = framing.length.filter(|_| !none) {
            self.body(stream, length, keep).await?;
            body_bytes = length;
        } else if !none {
            bail!("the answer (status {}) does not say where it ends", framing.status);
        }
        let answer = Answer { status: framing.status, body_bytes, length: framing.length };
        Ok((answer, !framing.closes))
    }

    async fn body(&mut self, stream: &mut TcpStream, length: u64, mut keep: Option<&mut Vec<u8>>) -> Result<()> {
        let mut left = length;
        while left > 0 {
            if self.filled == 0 {
                self.more(stream).await?;
            }
            let take = usize::try_from(left).unwrap_or(usize::MAX).min(self.filled);
            if let Some(keep) = &mut keep {
                keep.extend_from_slice(&self.buffer[..take]);
            }
            self.consume(take);
            left -= take as u64;
        }
        Ok(())
    }
}

async fn send(stream: &mut TcpStream, head: &[u8], body: Body<'_>) -> std::io::Result<()> {
    /// Up to here head and body go out in one write.
    const TOGETHER_BYTES: u64 = 64 << 10;
    match body {
        Body::None => stream.write_all(head).await,
        // Sent apart, a refusal could close the connection in between, and what it says would never be read.
        Body::Bytes(bytes) if bytes.len() as u64 <= TOGETHER_BYTES => stream.write_all(&[head, bytes].concat()).await,
        Body::Bytes(bytes) => {
            stream.write_all(head).await?;
            stream.write_all(bytes).await
        }
        Body::Object(source, bytes) if bytes <= TOGETHER_BYTES => {
            let mut whole = Vec::with_capacity(head.len() + bytes as usize);
            whole.extend_from_slice(head);
            source.start_object();
            while whole.len() < head.len() + bytes as usize {
                let left = (head.len() + bytes as usize - whole.len()) as u64;
                whole.extend_from_slice(source.piece(left));
            }
            stream.write_all(&whole).await
        }
        Body::Object(source, bytes) => {
            stream.write_all(head).await?;
            source.start_object();
            let mut left = bytes;
            while left > 0 {
                let piece = source.piece(left);
                stream.write_all(piece).await?;
                left -= piece.len() as u64;
            }
            Ok(())
        }
    }
}

/// What the head of an answer says about it.
struct Framing {
    status: u16,
    length: Option<u64>,
    chunked: bool,
    closes: bool,
}

impl Framing {
    fn read(head: &[u8]) -> Result<Self> {
        let text = std::str::from_utf8(head).context("the head of the answer is not text")?;
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1));
        let status = status.and_then(|word| word.parse().ok()).context("the answer has no status")?;
        let mut framing = Self { status, length: None, chunked: false, closes: false };
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                framing.length = Some(value.parse().context("the answer's length is not a number")?);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                framing.chunked = value.eq_ignore_ascii_case("chunked");
            } else if name.eq_ignore_ascii_case("connection") {
                framing.closes = value.eq_ignore_ascii_case("close");
            }
        }
        Ok(framing)
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    async fn answered_with(text: &'static str) -> (Answer, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut sink = [0; 1024];
            assert!(stream.read(&mut sink).await.unwrap() > 0);
            for byte in text.as_bytes() {
                stream.write_all(&[*byte]).await.unwrap();
            }
        };
        let mut connection = Connection::new(&address);
        let mut body = Vec::new();
        let request = connection.request(b"GET / HTTP/1.1\r\n\r\n", Body::None, Some(&mut body));
        let (answer, ()) = tokio::join!(request, server);
        (answer.unwrap(), body)
    }

    #[tokio::test]
    async fn a_body_with_a_length_is_read_whole() {
        let (answer, body) = answered_with("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").await;
        assert_eq!((answer.status, answer.body_bytes, body.as_slice()), (200, 5, b"hello".as_slice()));
    }

    #[tokio::test]
    async fn chunks_are_put_together() {
        let text = "HTTP/1.1 207 x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n";
        let (answer, body) = answered_with(text).await;
        assert_eq!((answer.status, answer.body_bytes, body.as_slice()), (207, 5, b"abcde".as_slice()));
    }

    #[tokio::test]
    async fn an_interim_answer_is_passed_over() {
        let (answer, _) = answered_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n").await;
        assert_eq!((answer.status, answer.body_bytes), (204, 0));
    }
}
