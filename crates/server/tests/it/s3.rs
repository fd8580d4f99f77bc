//! The smallest S3 client: requests signed by Signature Version 4 over their whole bodies.

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
        let now = amz_date();
        let digest = hex::encode(Sha256::digest(body));
        let path = http::encode_path(path);
        let mut signed: Vec<(&str, &str)> =
            vec![("host", &self.host), ("x-amz-content-sha256", &digest), ("x-amz-date", &now)];
        signed.extend_from_slice(headers);
        signed.sort_unstable();
        let names = signed.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
        let lines: String = signed.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let canonical = format!("{method}\n{path}\n{query}\n{lines}\n{names}\n{digest}");
        let scope = format!("{}/{}/s3/aws4_request", &now[..8], self.region);
        let to_sign = format!("AWS4-HMAC-SHA256\n{now}\n{scope}\n{}", hex::encode(Sha256::digest(canonical)));
        let mut key = format!("AWS4{}", self.secret_key).into_bytes();
        for part in scope.split('/') {
            key = hmac(&key, part.as_bytes());
        }
        let signature = hex::encode(hmac(&key, to_sign.as_bytes()));
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
            self.access_key
        );
        signed.push(("authorization", &authorization));
        let target = if query.is_empty() { path } else { format!("{path}?{query}") };
        http::request(&self.authority, method, &target, &signed, body)
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
