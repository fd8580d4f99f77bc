//! Notes a fragment (`#part`) in a request line, which the HTTP parser drops without a word: `DELETE /b/file#1` would
//! delete `/b/file`.
//!
//! The line is read along as it arrives, at the start of a connection and after each reply. In a request that was sent
//! before the reply to the previous one, a fragment is not noticed, since hyper reads both at once.

use http::{Method, Uri};
use parking_lot::Mutex;

/// Longest line that is kept: any path that the share can hold, with every byte escaped, and a long query.
const LINE_LEN_MAX: usize = 32 * 1024;

/// The request line of a connection that comes next, or has come.
#[derive(Debug)]
pub(crate) struct RequestLine(Mutex<Line>);

#[derive(Debug)]
enum Line {
    /// A line begins with the next byte, or has begun with these.
    Coming(Vec<u8>),
    /// A line with a `#` in it.
    WithHash(Vec<u8>),
    /// Nothing is known of what comes: a body, or a line without a `#` before it.
    Passed,
}

impl RequestLine {
    /// For a connection on which nothing was read yet.
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Line::Coming(Vec::new())))
    }

    /// The next byte that arrives begins a request.
    pub(crate) fn comes_next(&self) {
        *self.0.lock() = Line::Coming(Vec::new());
    }

    /// Bytes as they arrive.
    pub(crate) fn read_along(&self, bytes: &[u8]) {
        let mut line = self.0.lock();
        let Line::Coming(kept) = &mut *line else { return };
        // RFC 9112 section 2.2: empty lines before a request are passed over.
        let skipped =
            if kept.is_empty() { bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count() } else { 0 };
        let bytes = &bytes[skipped..];
        let end = bytes.iter().position(|&byte| byte == b'\n');
        let part = &bytes[..end.unwrap_or(bytes.len())];
        if kept.is_empty() && end.is_some() && !part.contains(&b'#') {
            *line = Line::Passed;
            return;
        }
        if kept.len() + part.len() > LINE_LEN_MAX {
            *line = Line::Passed;
            return;
        }
        kept.extend_from_slice(part);
        if end.is_some() {
            *line = if kept.contains(&b'#') { Line::WithHash(std::mem::take(kept)) } else { Line::Passed };
        }
    }

    /// Whether the line of this request had a fragment. The method and path are compared with what was read along, so
    /// that a line within a body is never taken for it.
    pub(crate) fn had_fragment(&self, method: &Method, uri: &Uri) -> bool {
        let Line::WithHash(line) = std::mem::replace(&mut *self.0.lock(), Line::Passed) else { return false };
        let Some(before) = line.split(|&byte| byte == b'#').next() else { return false };
        let Some(target) = before.strip_prefix(method.as_str().as_bytes()).and_then(|rest| rest.strip_prefix(b" "))
        else {
            return false;
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        path == "/" || target.ends_with(path.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(chunks: &[&str], method: Method, uri: &'static str) -> bool {
        let line = RequestLine::new();
        for chunk in chunks {
            line.read_along(chunk.as_bytes());
        }
        line.had_fragment(&method, &Uri::from_static(uri))
    }

    #[test]
    fn a_fragment_is_noticed_however_the_line_arrives() {
        for chunks in [
            &["DELETE /b/f#1 HTTP/1.1\r\nhost: s\r\n\r\n"][..],
            &["\r\nDELETE /b/f", "#1 HTTP/1.1\r", "\nhost: s"],
            &["DELETE http://s/b/f#1 HTTP/1.1\r\n"],
            &["DELETE /b/f# HTTP/1.1\r\n"],
        ] {
            assert!(asked(chunks, Method::DELETE, "/b/f"), "{chunks:?}");
        }
        assert!(asked(&["GET #x HTTP/1.1\r\n"], Method::GET, "/"));
    }

    #[test]
    fn what_is_no_fragment_of_this_request_is_none() {
        assert!(!asked(&["DELETE /b/f HTTP/1.1\r\nx: #1\r\n"], Method::DELETE, "/b/f"));
        assert!(!asked(&["DELETE /b/f%231 HTTP/1.1\r\n"], Method::DELETE, "/b/f%231"));
        // A body that is mistaken for a line says nothing about another request.
        assert!(!asked(&["# a heading of an uploaded text\r\n"], Method::PUT, "/b/f"));
        assert!(!asked(&["PUT /b/other#1 HTTP/1.1\r\n"], Method::PUT, "/b/f"));
    }

    #[test]
    fn a_line_that_never_ends_is_not_kept() {
        let line = RequestLine::new();
        for _ in 0..2 * LINE_LEN_MAX / 1000 {
            line.read_along(&[b'#'; 1000]);
        }
        assert!(matches!(*line.0.lock(), Line::Passed));
    }

    #[test]
    fn each_request_of_a_connection_is_looked_at() {
        let line = RequestLine::new();
        let uri = Uri::from_static("/b/f");
        line.read_along(b"GET /b/f HTTP/1.1\r\n\r\n");
        assert!(!line.had_fragment(&Method::GET, &uri));
        line.read_along(b"GET /b/f#body HTTP/1.1\r\n");
        assert!(!line.had_fragment(&Method::GET, &uri), "what comes before a reply belongs to the body");
        line.comes_next();
        line.read_along(b"GET /b/f#1 HTTP/1.1\r\n\r\n");
        assert!(line.had_fragment(&Method::GET, &uri));
    }
}
