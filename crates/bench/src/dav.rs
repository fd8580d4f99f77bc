//! WebDAV requests.

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::content::Source;
use crate::http::{Body, Connection};
use crate::subject::WebDav;

/// A client with one connection.
pub(crate) struct Client {
    connection: Connection,
    /// Lines that every head has: host and login.
    common: String,
    /// The collection to write to.
    pub(crate) path: String,
}

impl Client {
    /// A client of `door`.
    pub(crate) fn new(door: &WebDav) -> Self {
        let login = door.login.as_ref().map(|(user, password)| {
            let word = BASE64_STANDARD.encode(format!("{user}:{password}"));
            format!("authorization: Basic {word}\r\n")
        });
        Self {
            connection: Connection::new(&door.address),
            common: format!("host: {}\r\n{}", door.address, login.unwrap_or_default()),
            path: door.path.clone(),
        }
    }

    async fn call(
        &mut self,
        method: &str,
        path: &str,
        more: &str,
        body: Body<'_>,
        keep: Option<&mut Vec<u8>>,
    ) -> Result<u64> {
        let length = match &body {
            Body::None => 0,
            Body::Bytes(bytes) => bytes.len() as u64,
            Body::Object(_, bytes) => *bytes,
        };
        let head = format!("{method} {path} HTTP/1.1\r\n{}{more}content-length: {length}\r\n\r\n", self.common);
        let answer = self.connection.request(head.as_bytes(), body, keep).await?;
        ensure!(answer.status < 300, "{method} {path} was refused with status {}", answer.status);
        Ok(answer.body_bytes)
    }

    /// Makes a collection.
    pub(crate) async fn make_collection(&mut self, path: &str) -> Result<()> {
        self.call("MKCOL", path, "", Body::None, None).await?;
        Ok(())
    }

    /// Writes a file.
    pub(crate) async fn put(&mut self, path: &str, source: &mut Source, bytes: u64) -> Result<()> {
        self.call("PUT", path, "", Body::Object(source, bytes), None).await?;
        Ok(())
    }

    /// Reads a file of `bytes` and drops what it holds, or appends that to `keep`.
    pub(crate) async fn get(&mut self, path: &str, bytes: u64, keep: Option<&mut Vec<u8>>) -> Result<()> {
        let came = self.call("GET", path, "", Body::None, keep).await?;
        ensure!(came == bytes, "GET {path} brought {came} bytes, not {bytes}");
        Ok(())
    }

    /// Asks for all properties of a collection's members; gives back how many resources were described.
    pub(crate) async fn propfind(&mut self, path: &str) -> Result<usize> {
        let mut page = Vec::new();
        self.call("PROPFIND", path, "depth: 1\r\n", Body::None, Some(&mut page)).await?;
        let page = String::from_utf8(page).context("the answer to PROPFIND is not text")?;
        // The prefix of the name space is the server's choice.
        Ok(page.matches(":response>").count() / 2)
    }
}
