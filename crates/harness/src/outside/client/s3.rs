//! The smallest S3 client: requests signed by Signature Version 4 over their whole bodies.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::http::{self, Answer, Connection};
use super::{Failure, Reply};
use crate::outside::server::Doors;

/// An S3 endpoint with the administrator's keys.
#[derive(Debug)]
pub(crate) struct S3 {
    connection: Connection,
    region: String,
    access_key: String,
    secret_key: String,
}

/// One object of a list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Listed {
    /// Its key.
    pub(crate) key: String,
    /// Its length in bytes.
    pub(crate) size: u64,
    /// Without quotes.
    pub(crate) etag: String,
}

impl S3 {
    /// The administrator's client.
    pub(crate) fn new(doors: &Doors) -> Self {
        Self {
            connection: Connection::new(http::authority(&doors.text("s3", "endpoint"))),
            region: doors.text("s3", "region"),
            access_key: doors.text("s3", "access_key"),
            secret_key: doors.text("s3", "secret_key"),
        }
    }

    /// Sends a signed request and takes an answer of 200 or 204. `path` is `/bucket/key`, not encoded; `query` is in
    /// canonical form.
    pub(crate) fn send(
        &mut self,
        (method, path, query): (&str, &str, &str),
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Reply<Answer> {
        let now = amz_date();
        let digest = hex::encode(Sha256::digest(body));
        let path = http::encode_path(path);
        let authority = self.connection.authority.clone();
        let mut signed: Vec<(&str, &str)> =
            vec![("host", &authority), ("x-amz-content-sha256", &digest), ("x-amz-date", &now)];
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
        signed.retain(|(name, _)| *name != "host");
        signed.push(("authorization", &authorization));
        let target = if query.is_empty() { path } else { format!("{path}?{query}") };
        let answer = self.connection.request(method, &target, &signed, body)?;
        if [200, 204].contains(&answer.status) {
            return Ok(answer);
        }
        Err(Failure::Refused { code: answer.status.into(), said: answer.text() })
    }

    /// All objects of `bucket` whose keys begin with `prefix` (no character of which needs encoding), page by page.
    pub(crate) fn list(&mut self, bucket: &str, prefix: &str) -> Reply<Vec<Listed>> {
        let mut found = Vec::new();
        let mut after = String::new();
        loop {
            let prefix = prefix.replace('/', "%2F");
            let query = format!("list-type=2&max-keys=1000&prefix={prefix}&start-after={}", after.replace('/', "%2F"));
            let page = self.send(("GET", &format!("/{bucket}"), &query), &[], b"")?.text();
            let listed: Vec<Listed> = page.split("<Contents>").skip(1).map(listed).collect();
            match listed.last() {
                Some(last) if page.contains("<IsTruncated>true</IsTruncated>") => after.clone_from(&last.key),
                _ => {
                    found.extend(listed);
                    return Ok(found);
                }
            }
            found.extend(listed);
        }
    }
}

fn listed(xml: &str) -> Listed {
    let size = element(xml, "Size").parse().unwrap_or(u64::MAX);
    let etag = element(xml, "ETag").replace("&quot;", "").replace('"', "");
    Listed { key: element(xml, "Key").to_owned(), size, etag }
}

/// The text of the first element of this name; nothing if there is none.
pub(crate) fn element<'a>(xml: &'a str, name: &str) -> &'a str {
    let behind = xml.split_once(&format!("<{name}>")).map(|(_, behind)| behind).unwrap_or_default();
    behind.split_once('<').map(|(text, _)| text).unwrap_or_default()
}

fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    match Hmac::<Sha256>::new_from_slice(key) {
        Ok(mac) => mac.chain_update(text).finalize().into_bytes().to_vec(),
        Err(_) => Vec::new(),
    }
}

/// The time as `YYYYMMDDTHHMMSSZ`.
#[expect(clippy::disallowed_methods, reason = "a signature carries the real time")]
fn amz_date() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let secs = since.map(|since| since.as_secs()).unwrap_or_default();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_of_a_list_is_read() {
        let xml = "<Key>w0/f1</Key><ETag>&quot;abc-1&quot;</ETag><Size>12</Size></Contents>";
        assert_eq!(listed(xml), Listed { key: "w0/f1".to_owned(), size: 12, etag: "abc-1".to_owned() });
    }
}
