//! S3 requests with version 4 signatures, signed ahead as far as that goes: three short hashes remain per request.

use anyhow::{Context, Result, ensure};
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};
use sha2::{Digest, Sha256};

use crate::clock::{amz_date, unix_seconds};
use crate::content::Source;
use crate::http::{Answer, Body, Connection};

/// What a canonical query leaves as it is.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Where an S3 server is and how to get in.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    /// `host:port`.
    pub(crate) address: String,
    /// Region of the signatures.
    pub(crate) region: String,
    /// Access key.
    pub(crate) access_key: String,
    /// Its secret.
    pub(crate) secret_key: String,
}

/// A client with one connection. Its signatures are dated once, so it serves for a quarter of an hour.
pub(crate) struct Client {
    endpoint: Endpoint,
    connection: Connection,
    date: String,
    scope: String,
    key: [u8; 32],
}

fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text);
    mac.finalize().into_bytes().into()
}

impl Client {
    /// A client of `endpoint`.
    pub(crate) fn new(endpoint: &Endpoint) -> Self {
        Self::dated(endpoint, amz_date(unix_seconds()))
    }

    fn dated(endpoint: &Endpoint, date: String) -> Self {
        let day = &date[..8];
        let key = hmac(format!("AWS4{}", endpoint.secret_key).as_bytes(), day.as_bytes());
        let key = hmac(&key, endpoint.region.as_bytes());
        let key = hmac(&hmac(&key, b"s3"), b"aws4_request");
        Self {
            endpoint: endpoint.clone(),
            connection: Connection::new(&endpoint.address),
            scope: format!("{day}/{}/s3/aws4_request", endpoint.region),
            date,
            key,
        }
    }

    /// The signed head of a request; `path` and `query` are in their canonical form already.
    fn head(&self, method: &str, path: &str, query: &str, length: u64) -> String {
        self.head_with(method, path, query, length, None)
    }

    /// The same for a copy of a range of bytes of an object, if one is given.
    fn head_with(&self, method: &str, path: &str, query: &str, length: u64, copied: Option<(&str, u64)>) -> String {
        let (source, names) = match copied {
            Some((from, bytes)) => (
                format!("x-amz-copy-source:{from}\nx-amz-copy-source-range:bytes=0-{}\n", bytes - 1),
                "host;x-amz-content-sha256;x-amz-copy-source;x-amz-copy-source-range;x-amz-date",
            ),
            None => (String::new(), "host;x-amz-content-sha256;x-amz-date"),
        };
        let (host, date, scope) = (&self.endpoint.address, &self.date, &self.scope);
        let canonical = format!(
            "{method}\n{path}\n{query}\nhost:{host}\nx-amz-content-sha256:UNSIGNED-PAYLOAD\n{source}x-amz-date:{date}\n\n\
             {names}\nUNSIGNED-PAYLOAD"
        );
        let digest = hex::encode(Sha256::digest(canonical.as_bytes()));
        let signature = hmac(&self.key, format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{digest}").as_bytes());
        let mark = if query.is_empty() { "" } else { "?" };
        format!(
            "{method} {path}{mark}{query} HTTP/1.1\r\nhost: {host}\r\nx-amz-content-sha256: UNSIGNED-PAYLOAD\r\n\
             x-amz-date: {date}\r\nauthorization: AWS4-HMAC-SHA256 Credential={}/{scope}, \
             SignedHeaders={names}, Signature={}\r\n{}content-length: {length}\r\n\r\n",
            self.endpoint.access_key,
            hex::encode(signature),
            source.replace('\n', "\r\n"),
        )
    }

    async fn call(&mut self, method: &str, path: &str, query: &str, body: Body<'_>) -> Result<(Answer, Vec<u8>)> {
        self.call_with(method, path, query, body, None).await
    }

    async fn call_with(
        &mut self,
        method: &str,
        path: &str,
        query: &str,
        body: Body<'_>,
        copied: Option<(&str, u64)>,
    ) -> Result<(Answer, Vec<u8>)> {
        let length = match &body {
            Body::None => 0,
            Body::Bytes(bytes) => bytes.len() as u64,
            Body::Object(_, bytes) => *bytes,
        };
        let head = self.head_with(method, path, query, length, copied);
        let mut kept = Vec::new();
        let answer = self.connection.request(head.as_bytes(), body, Some(&mut kept)).await?;
        ensure!(
            answer.status < 300,
            "{method} {path} was refused with status {}: {}",
            answer.status,
            String::from_utf8_lossy(&kept[..kept.len().min(300)])
        );
        Ok((answer, kept))
    }

    /// Makes a bucket.
    pub(crate) async fn make_bucket(&mut self, bucket: &str) -> Result<()> {
        self.call("PUT", &format!("/{bucket}"), "", Body::None).await?;
        Ok(())
    }

    /// Writes an object of `bytes` from `source`.
    pub(crate) async fn put(&mut self, path: &str, source: &mut Source, bytes: u64) -> Result<()> {
        self.call("PUT", path, "", Body::Object(source, bytes)).await?;
        Ok(())
    }

    /// Writes these bytes.
    pub(crate) async fn put_bytes(&mut self, path: &str, bytes: &[u8]) -> Result<()> {
        self.call("PUT", path, "", Body::Bytes(bytes)).await?;
        Ok(())
    }

    /// Reads an object of `bytes` and drops what it holds, or appends that to `keep`.
    pub(crate) async fn get(&mut self, path: &str, bytes: u64, keep: Option<&mut Vec<u8>>) -> Result<()> {
        let head = self.head("GET", path, "", 0);
        let answer = self.connection.request(head.as_bytes(), Body::None, keep).await?;
        ensure!(answer.status == 200, "GET {path} was refused with status {}", answer.status);
        ensure!(answer.body_bytes == bytes, "GET {path} brought {} bytes, not {bytes}", answer.body_bytes);
        Ok(())
    }

    /// Asks for the head of an object of `bytes`.
    pub(crate) async fn head_of(&mut self, path: &str, bytes: u64) -> Result<()> {
        let head = self.head("HEAD", path, "", 0);
        let answer = self.connection.request(head.as_bytes(), Body::None, None).await?;
        ensure!(answer.status == 200, "HEAD {path} was refused with status {}", answer.status);
        ensure!(answer.length == Some(bytes), "HEAD {path} tells {:?} bytes, not {bytes}", answer.length);
        Ok(())
    }

    /// Begins a multipart upload; its id.
    pub(crate) async fn begin_upload(&mut self, path: &str) -> Result<String> {
        let (_, answer) = self.call("POST", path, "uploads=", Body::None).await?;
        between(&answer, "<UploadId>").context("an upload without an id")
    }

    /// Makes a part of an upload of the first `bytes` of the object `from`; its ETag.
    pub(crate) async fn copy_part(
        &mut self,
        path: &str,
        upload: &str,
        number: u64,
        (from, bytes): (&str, u64),
    ) -> Result<String> {
        let query = format!("partNumber={number}&uploadId={upload}");
        let (_, answer) = self.call_with("PUT", path, &query, Body::None, Some((from, bytes))).await?;
        between(&answer, "<ETag>").context("a copied part without an ETag")
    }

    /// Completes an upload of the parts with these numbers and ETags.
    pub(crate) async fn complete_upload(&mut self, path: &str, upload: &str, parts: &[(u64, String)]) -> Result<()> {
        let part = |(number, etag): &(u64, String)| {
            format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>")
        };
        let parts: String = parts.iter().map(part).collect();
        let document = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
        let query = format!("uploadId={upload}");
        let (_, answer) = self.call("POST", path, &query, Body::Bytes(document.as_bytes())).await?;
        ensure!(
            between(&answer, "<ETag>").is_some(),
            "an upload was not completed: {}",
            String::from_utf8_lossy(&answer)
        );
        Ok(())
    }

    /// Deletes an object.
    pub(crate) async fn delete(&mut self, path: &str) -> Result<()> {
        self.call("DELETE", path, "", Body::None).await?;
        Ok(())
    }

    /// One page of at most 1000 keys after `token`: how many they are, and the token of the next page.
    pub(crate) async fn list_page(&mut self, bucket: &str, token: Option<&str>) -> Result<(u64, Option<String>)> {
        let token = token.map(|token| {
            let token = percent_encoding::utf8_percent_encode(token, UNRESERVED);
            format!("continuation-token={token}&")
        });
        self.page(bucket, &format!("{}list-type=2&max-keys=1000", token.unwrap_or_default())).await
    }

    /// The page of at most 1000 keys behind the key `after`: how many they are.
    pub(crate) async fn list_behind(&mut self, bucket: &str, after: &str) -> Result<u64> {
        let after = percent_encoding::utf8_percent_encode(after, UNRESERVED);
        Ok(self.page(bucket, &format!("list-type=2&max-keys=1000&start-after={after}")).await?.0)
    }

    async fn page(&mut self, bucket: &str, query: &str) -> Result<(u64, Option<String>)> {
        let (_, page) = self.call("GET", &format!("/{bucket}"), query, Body::None).await?;
        let page = String::from_utf8(page).context("a page of the listing is not text")?;
        let keys = page.matches("<Key>").count() as u64;
        let next = page.split_once("<NextContinuationToken>").map(|(_, rest)| rest);
        let next = next.and_then(|rest| rest.split_once('<')).map(|(token, _)| token.replace("&amp;", "&"));
        Ok((keys, next))
    }
}

/// What follows `tag` up to the next one.
fn between(document: &[u8], tag: &str) -> Option<String> {
    let text = std::str::from_utf8(document).ok()?;
    Some(text.split_once(tag)?.1.split_once('<')?.0.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signing_key_is_the_one_of_the_published_example() {
        // AWS General Reference, "Examples of how to derive a signing key"; there for the service iam, so by hand here.
        let key = hmac(b"AWS4wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", b"20150830");
        let key = hmac(&hmac(&key, b"us-east-1"), b"iam");
        let key = hmac(&key, b"aws4_request");
        assert_eq!(hex::encode(key), "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9");
    }
}
