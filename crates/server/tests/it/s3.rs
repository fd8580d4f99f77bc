//! The smallest S3 client: requests signed by Signature Version 4 over their whole bodies.

use std::io::Write;
use std::net::TcpStream;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest, Sha256};

use crate::http::{self, Answer};
use crate::server::Server;

/// An S3 endpoint and somebody's keys.
#[derive(Clone)]
pub(crate) struct S3 {
    authority: String,
    /// What its requests name as the host.
    host: String,
    region: String,
    access_key: String,
    secret_key: String,
}

impl S3 {
    /// The administrator's client.
    pub(crate) fn of(server: &Server<'_>) -> Self {
        Self {
            authority: http::authority(&server.door("s3", "endpoint")).to_owned(),
            host: http::authority(&server.door("s3", "endpoint")).to_owned(),
            region: server.door("s3", "region"),
            access_key: server.door("s3", "access_key"),
            secret_key: server.door("s3", "secret_key"),
        }
    }

    /// The same endpoint with other keys.
    pub(crate) fn with_keys(&self, access_key: &str, secret_key: &str) -> Self {
        Self { access_key: access_key.to_owned(), secret_key: secret_key.to_owned(), ..self.clone() }
    }

    /// The same reached under another name.
    pub(crate) fn at_host(&self, host: &str) -> Self {
        Self { host: host.to_owned(), ..self.clone() }
    }

    /// Sends a signed request. `path` is `/bucket/key`, not encoded; `query` is in canonical form.
    pub(crate) fn send(&self, method: &str, path: &str, query: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let digest = hex::encode(Sha256::digest(body));
        let (target, signed) = self.sign(method, path, query, headers, &digest);
        let signed: Vec<(&str, &str)> = signed.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        http::request(&self.authority, method, &target, &signed, body)
    }

    /// Begins a request on a connection of its own: its head, and so much of a body of `len` bytes as `part` has. Whoever gets
    /// the connection goes on with it, or lets it wait.
    pub(crate) fn begin(&self, method: &str, path: &str, query: &str, len: usize, part: &[u8]) -> TcpStream {
        let (target, signed) = self.sign(method, path, query, &[], "UNSIGNED-PAYLOAD");
        let mut stream = TcpStream::connect(&self.authority).expect("the door is open");
        let mut head = format!("{method} {target} HTTP/1.1\r\ncontent-length: {len}\r\n");
        signed.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
        // A door may refuse while the request is still being sent.
        let _ = stream.write_all(format!("{head}\r\n").as_bytes()).and_then(|()| stream.write_all(part));
        stream
    }

    /// The target and the headers of a signed request.
    fn sign(
        &self,
        method: &str,
        path: &str,
        query: &str,
        headers: &[(&str, &str)],
        digest: &str,
    ) -> (String, Vec<(String, String)>) {
        let now = amz_date();
        let path = http::encode_path(path);
        let mut signed: Vec<(&str, &str)> =
            vec![("host", &self.host), ("x-amz-content-sha256", digest), ("x-amz-date", &now)];
        signed.extend_from_slice(headers);
        signed.sort_unstable();
        let names = signed.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
        let lines: String = signed.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let canonical = format!("{method}\n{path}\n{query}\n{lines}\n{names}\n{digest}");
        let scope = self.scope(&now);
        let to_sign = format!("AWS4-HMAC-SHA256\n{now}\n{scope}\n{}", hex::encode(Sha256::digest(canonical)));
        let signature = self.signature(&scope, &to_sign);
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
            self.access_key
        );
        signed.push(("authorization", &authorization));
        let target = if query.is_empty() { path } else { format!("{path}?{query}") };
        (target, signed.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    fn scope(&self, now: &str) -> String {
        format!("{}/{}/s3/aws4_request", &now[..8], self.region)
    }

    fn signature(&self, scope: &str, to_sign: &str) -> String {
        let mut key = format!("AWS4{}", self.secret_key).into_bytes();
        for part in scope.split('/') {
            key = hmac(&key, part.as_bytes());
        }
        hex::encode(hmac(&key, to_sign.as_bytes()))
    }

    /// Begins the upload of a form on a connection of its own: its fields, and so much of a file as `part` has.
    pub(crate) fn begin_form(&self, bucket: &str, key: &str, len: usize, part: &[u8]) -> TcpStream {
        let (content_type, fields) = self.form(bucket, key);
        let host = &self.host;
        let head = format!(
            "POST /{bucket} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {len}\r\ncontent-type: {content_type}\r\n\r\n"
        );
        let mut stream = TcpStream::connect(&self.authority).expect("the door is open");
        let _ = stream.write_all((head + &fields).as_bytes()).and_then(|()| stream.write_all(part));
        stream
    }

    /// Uploads a file by a form.
    pub(crate) fn send_form(&self, bucket: &str, key: &str, file: &[u8]) -> Answer {
        let (content_type, fields) = self.form(bucket, key);
        let body = [fields.as_bytes(), file, b"\r\n--XYZ--\r\n"].concat();
        let headers = [("host", self.host.as_str()), ("content-type", content_type)];
        http::request(&self.authority, "POST", &format!("/{bucket}"), &headers, &body)
    }

    /// The type of a form and all of it up to its file.
    fn form(&self, bucket: &str, key: &str) -> (&'static str, String) {
        let now = amz_date();
        let scope = self.scope(&now);
        let credential = format!("{}/{scope}", self.access_key);
        let policy = format!(
            r#"{{"expiration":"2999-01-01T00:00:00Z","conditions":[{{"bucket":"{bucket}"}},{{"key":"{key}"}},
            {{"x-amz-algorithm":"AWS4-HMAC-SHA256"}},{{"x-amz-credential":"{credential}"}},{{"x-amz-date":"{now}"}}]}}"#
        );
        let policy = BASE64.encode(policy);
        let signature = self.signature(&scope, &policy);
        let fields = [
            ("key", key),
            ("policy", &policy),
            ("x-amz-algorithm", "AWS4-HMAC-SHA256"),
            ("x-amz-credential", &credential),
            ("x-amz-date", &now),
            ("x-amz-signature", &signature),
            ("file\"; filename=\"file", ""),
        ];
        let field = |(name, value): &(&str, &str)| {
            format!("--XYZ\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}")
        };
        ("multipart/form-data; boundary=XYZ", fields.iter().map(field).collect::<Vec<_>>().join("\r\n"))
    }

    /// Makes a bucket.
    pub(crate) fn make_bucket(&self, name: &str) {
        let answer = self.send("PUT", &format!("/{name}"), "", &[], b"");
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut block = [0; 64];
    if key.len() > block.len() {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner = Sha256::new().chain_update(block.map(|byte| byte ^ 0x36)).chain_update(text).finalize();
    Sha256::new().chain_update(block.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize().to_vec()
}

/// The time as `YYYYMMDDTHHMMSSZ`.
#[allow(clippy::disallowed_methods, reason = "a signature carries the real time")]
fn amz_date() -> String {
    let secs = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let (days, rest) = (secs / 86_400, secs % 86_400);
    // Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days.
    let z = days + 719_468;
    let (era, doe) = (z / 146_097, z % 146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (day, month) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    let year = yoe + era * 400 + u64::from(month <= 2);
    format!("{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}
