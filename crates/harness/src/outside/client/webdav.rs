//! The smallest WebDAV client.

use base64::Engine;

use super::http::{self, Answer, Connection};
use super::{Failure, Reply};
use crate::outside::server::Doors;

/// A share and the administrator's password.
#[derive(Debug)]
pub(crate) struct WebDav {
    connection: Connection,
    authorization: String,
}

impl WebDav {
    /// The administrator's client.
    pub(crate) fn new(doors: &Doors) -> Self {
        let plain = format!("{}:{}", doors.text("webdav", "user"), doors.text("webdav", "password"));
        Self {
            connection: Connection::new(http::authority(&doors.text("webdav", "url"))),
            authorization: format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(plain)),
        }
    }

    /// Sends a request and takes any of the `good` answers. `path` is not encoded.
    pub(crate) fn send(
        &mut self,
        (method, path): (&str, &str),
        headers: &[(&str, &str)],
        body: &[u8],
        good: &[u16],
    ) -> Reply<Answer> {
        let mut all = vec![("authorization", self.authorization.as_str())];
        all.extend_from_slice(headers);
        let answer = self.connection.request(method, &http::encode_path(path), &all, body)?;
        if good.contains(&answer.status) {
            return Ok(answer);
        }
        Err(Failure::Refused { code: answer.status.into(), said: answer.text() })
    }

    /// A path as the value of a `Destination` header.
    pub(crate) fn destination(&self, path: &str) -> String {
        format!("http://{}{}", self.connection.authority, http::encode_path(path))
    }
}
