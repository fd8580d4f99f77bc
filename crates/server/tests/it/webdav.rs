//! The smallest WebDAV client.

use std::io::Write;
use std::net::TcpStream;

use base64::Engine;

use crate::http::{self, Answer};
use crate::server::Server;

/// A share and somebody's password.
pub(crate) struct WebDav {
    authority: String,
    authorization: String,
}

impl WebDav {
    /// The administrator's client.
    pub(crate) fn of(server: &Server<'_>) -> Self {
        let authority = http::authority(&server.door("webdav", "url")).to_owned();
        Self { authority, authorization: String::new() }
            .with_password(&server.door("webdav", "user"), &server.door("webdav", "password"))
    }

    /// The same share for somebody else.
    pub(crate) fn with_password(&self, user: &str, password: &str) -> Self {
        let plain = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        Self { authority: self.authority.clone(), authorization: format!("Basic {plain}") }
    }

    /// Sends a request. `path` is not encoded.
    pub(crate) fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut all = vec![("authorization", self.authorization.as_str())];
        all.extend_from_slice(headers);
        http::request(&self.authority, method, &http::encode_path(path), &all, body)
    }

    /// Begins a request without a body on a connection of its own, and reads nothing of the answer.
    pub(crate) fn begin(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> TcpStream {
        let mut stream = TcpStream::connect(&self.authority).expect("the door is open");
        let mut head = format!("{method} {} HTTP/1.1\r\nhost: {}\r\n", http::encode_path(path), self.authority);
        head.push_str(&format!("authorization: {}\r\n", self.authorization));
        headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
        let _ = stream.write_all(format!("{head}\r\n").as_bytes());
        stream
    }

    /// A path as the value of a `Destination` header.
    pub(crate) fn destination(&self, path: &str) -> String {
        format!("http://{}{}", self.authority, http::encode_path(path))
    }
}
