//! Signature Version 4: canonical request, string to sign, signing key, and the chain of chunk signatures.
//!
//! Source: "Authenticating Requests (AWS Signature Version 4)" and "Signature Calculations ... Transferring Payload in
//! Multiple Chunks", Amazon S3 API Reference.

use http::HeaderMap;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};

use super::hmac::{hex_of, hex_sha256, hmac_sha256};
use super::timestamp::AmzDate;

/// Everything but letters, digits and `- . _ ~`.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// As [`QUERY`], with `/` left alone.
const PATH: &AsciiSet = &QUERY.remove(b'/');

/// SHA-256 of nothing, in hex.
const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// The scope of a signature: date, region and service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Scope {
    /// `YYYYMMDD`.
    pub(super) date: String,
    /// Region.
    pub(super) region: String,
}

impl Scope {
    fn text(&self) -> String {
        format!("{}/{}/s3/aws4_request", self.date, self.region)
    }
}

/// The key of one user, day and region. Shows nothing of itself in `Debug`.
#[derive(Clone)]
pub(crate) struct SigningKey([u8; 32]);

impl SigningKey {
    pub(super) fn derive(secret: &str, scope: &Scope) -> Self {
        let date = hmac_sha256(format!("AWS4{secret}").as_bytes(), scope.date.as_bytes());
        let region = hmac_sha256(&date, scope.region.as_bytes());
        let service = hmac_sha256(&region, b"s3");
        Self(hmac_sha256(&service, b"aws4_request"))
    }
    pub(super) fn sign(&self, text: &str) -> String {
        hex_of(&hmac_sha256(&self.0, text.as_bytes()))
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey(..)")
    }
}

/// Which spelling of the path the client signed. The rule is to encode it anew; some clients sign what they send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum PathForm {
    /// Decoded, then encoded by the rule.
    Encoded,
    /// As it came over the wire.
    Raw,
}

/// The path as it goes into the canonical request.
pub(super) fn canonical_path(raw: &str, form: PathForm) -> String {
    match form {
        PathForm::Raw => raw.to_owned(),
        PathForm::Encoded => {
            let decoded: Vec<u8> = percent_decode_str(raw).collect();
            percent_encode(&decoded, PATH).to_string()
        }
    }
}

/// Name and value pairs of a query string, decoded.
pub(crate) fn query_pairs(query: &str) -> Vec<(String, String)> {
    let decode = |text: &str| {
        let spaced = text.replace('+', " ");
        percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
    };
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
        .collect()
}

/// The query as it goes into the canonical request: sorted, encoded, without the signature itself.
pub(super) fn canonical_query(pairs: &[(String, String)]) -> String {
    let encode = |text: &str| percent_encode(text.as_bytes(), QUERY).to_string();
    let mut pairs: Vec<_> = pairs
        .iter()
        .filter(|(name, _)| name != "X-Amz-Signature")
        .map(|(name, value)| (encode(name), encode(value)))
        .collect();
    pairs.sort();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

/// The signed headers with their values, in the order of their names, one per line.
///
/// Returns `None` if one of them is not in the request, or has a value that is no text.
pub(super) fn canonical_headers(headers: &HeaderMap, signed: &[String]) -> Option<String> {
    let mut out = String::new();
    for name in signed {
        let mut values = headers.get_all(name).iter().peekable();
        values.peek()?;
        out.push_str(name);
        out.push(':');
        for (i, value) in values.enumerate() {
            if i > 0 {
                out.push(',');
            }
            let text = std::str::from_utf8(value.as_bytes()).ok()?;
            let mut words = text.split([' ', '\t']).filter(|word| !word.is_empty());
            if let Some(first) = words.next() {
                out.push_str(first);
            }
            for word in words {
                out.push(' ');
                out.push_str(word);
            }
        }
        out.push('\n');
    }
    Some(out)
}

/// What a request looks like to the signature.
pub(super) struct Canonical<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) query: &'a str,
    pub(super) headers: &'a str,
    pub(super) signed: &'a str,
    pub(super) payload_hash: &'a str,
}

impl Canonical<'_> {
    pub(super) fn string_to_sign(&self, date: &AmzDate, scope: &Scope) -> String {
        let Self { method, path, query, headers, signed, payload_hash } = self;
        let request = format!("{method}\n{path}\n{query}\n{headers}\n{signed}\n{payload_hash}");
        format!("AWS4-HMAC-SHA256\n{}\n{}\n{}", date.text(), scope.text(), hex_sha256(request.as_bytes()))
    }
}

/// The chain of signatures of a body sent in signed chunks: each is computed over the one before.
#[derive(Clone, Debug)]
pub(crate) struct ChunkChain {
    key: SigningKey,
    date: String,
    scope: String,
    previous: String,
}

impl ChunkChain {
    pub(super) fn new(key: SigningKey, date: &AmzDate, scope: &Scope, seed: String) -> Self {
        Self { key, date: date.text().to_owned(), scope: scope.text(), previous: seed }
    }

    /// The signature the next chunk must carry, given the hex SHA-256 of its data; it becomes the previous one.
    pub(crate) fn chunk(&mut self, data_sha256: &str) -> &str {
        let Self { date, scope, previous, .. } = self;
        let text = format!("AWS4-HMAC-SHA256-PAYLOAD\n{date}\n{scope}\n{previous}\n{EMPTY_SHA256}\n{data_sha256}");
        self.previous = self.key.sign(&text);
        &self.previous
    }

    /// The signature the trailer must carry: over its headers as `name:value\n`, sorted.
    pub(crate) fn trailer(&self, canonical: &str) -> String {
        let Self { date, scope, previous, .. } = self;
        let hash = hex_sha256(canonical.as_bytes());
        self.key.sign(&format!("AWS4-HMAC-SHA256-TRAILER\n{date}\n{scope}\n{previous}\n{hash}"))
    }
}
