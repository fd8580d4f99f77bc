//! The client's side of Signature Version 4, written apart from the server's.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha2::{Digest, Sha256};

const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const PATH: &AsciiSet = &UNRESERVED.remove(b'/');
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// How a body is signed.
#[derive(Clone, Debug)]
pub(crate) enum Payload {
    Sha256,
    Unsigned,
    /// Chunks of at most this many bytes, each signed; with a signed trailer of one header.
    SignedChunks(usize, Option<(String, String)>),
    /// Chunks without signatures, with a trailer of one header.
    UnsignedChunks(usize, (String, String)),
    /// This value in the header, whatever the body is.
    Literal(String),
}

#[derive(Clone)]
pub(crate) struct Signer {
    pub(crate) access_key: String,
    pub(crate) secret_key: String,
    pub(crate) region: String,
    /// Seconds the client's clock is ahead.
    pub(crate) skew_secs: i64,
}

impl Signer {
    pub(crate) fn new(access_key: &str, secret_key: &str) -> Self {
        Self {
            access_key: access_key.to_owned(),
            secret_key: secret_key.to_owned(),
            region: "us-east-1".to_owned(),
            skew_secs: 0,
        }
    }

    /// Adds the headers of a signed request and returns the body as it is sent.
    pub(crate) fn sign(
        &self,
        method: &str,
        target: &str,
        headers: &mut Vec<(String, String)>,
        body: &Bytes,
        payload: Payload,
    ) -> Bytes {
        let date = self.date();
        let hash = match &payload {
            Payload::Sha256 => sha256(body),
            Payload::Unsigned => "UNSIGNED-PAYLOAD".to_owned(),
            Payload::SignedChunks(_, None) => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD".to_owned(),
            Payload::SignedChunks(_, Some(_)) => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER".to_owned(),
            Payload::UnsignedChunks(..) => "STREAMING-UNSIGNED-PAYLOAD-TRAILER".to_owned(),
            Payload::Literal(hash) => hash.clone(),
        };
        headers.push(("x-amz-date".to_owned(), date.clone()));
        headers.push(("x-amz-content-sha256".to_owned(), hash.clone()));
        if matches!(payload, Payload::SignedChunks(..) | Payload::UnsignedChunks(..)) {
            headers.push(("x-amz-decoded-content-length".to_owned(), body.len().to_string()));
            headers.push(("content-encoding".to_owned(), "aws-chunked".to_owned()));
        }
        if let Payload::SignedChunks(_, Some((name, _))) | Payload::UnsignedChunks(_, (name, _)) = &payload {
            headers.push(("x-amz-trailer".to_owned(), name.clone()));
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (canonical, signed) = canonical_headers(headers);
        let request =
            format!("{method}\n{}\n{}\n{canonical}\n{signed}\n{hash}", canonical_path(path), canonical_query(query));
        let signature = self.signature(&date, &request);
        let credential = format!("{}/{}", self.access_key, self.scope(&date));
        headers.push((
            "authorization".to_owned(),
            format!("AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={signed}, Signature={signature}"),
        ));
        match payload {
            Payload::Sha256 | Payload::Unsigned | Payload::Literal(_) => body.clone(),
            Payload::UnsignedChunks(len, (name, value)) => {
                let mut out = Vec::new();
                body.chunks(len).for_each(|data| chunk(&mut out, data, None));
                trailer(&mut out, None, &[(&name, &value)]);
                out.into()
            }
            Payload::SignedChunks(len, with_trailer) => self.chunks(&date, signature, body, len, with_trailer),
        }
    }

    fn chunks(
        &self,
        date: &str,
        seed: String,
        body: &Bytes,
        len: usize,
        with_trailer: Option<(String, String)>,
    ) -> Bytes {
        let (mut out, mut previous) = (Vec::new(), seed);
        for data in body.chunks(len).chain([&[][..]]) {
            let text = format!(
                "AWS4-HMAC-SHA256-PAYLOAD\n{date}\n{}\n{previous}\n{EMPTY}\n{}",
                self.scope(date),
                sha256(data)
            );
            previous = hex::encode(mac(&self.key(date), &text));
            if data.is_empty() {
                out.extend_from_slice(format!("0;chunk-signature={previous}\r\n").as_bytes());
            } else {
                chunk(&mut out, data, Some(&previous));
            }
        }
        if let Some((name, value)) = with_trailer {
            let text = format!(
                "AWS4-HMAC-SHA256-TRAILER\n{date}\n{}\n{previous}\n{}",
                self.scope(date),
                sha256(format!("{name}:{value}\n").as_bytes())
            );
            let signature = hex::encode(mac(&self.key(date), &text));
            out.extend_from_slice(format!("{name}:{value}\r\nx-amz-trailer-signature:{signature}\r\n").as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        out.into()
    }

    /// The target of a presigned request that signs all `headers`.
    pub(crate) fn presign(
        &self,
        method: &str,
        target: &str,
        headers: &[(String, String)],
        expires_secs: u32,
    ) -> String {
        let date = self.date();
        let (canonical, signed) = canonical_headers(headers);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let encode = |text: &str| utf8_percent_encode(text, UNRESERVED).to_string();
        let credential = encode(&format!("{}/{}", self.access_key, self.scope(&date)));
        let joint = if query.is_empty() { "" } else { "&" };
        let query = format!(
            "{query}{joint}X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={credential}&X-Amz-Date={date}&X-Amz-Expires={expires_secs}&X-Amz-SignedHeaders={}",
            encode(&signed)
        );
        let request = format!(
            "{method}\n{}\n{}\n{canonical}\n{signed}\nUNSIGNED-PAYLOAD",
            canonical_path(path),
            canonical_query(&query)
        );
        format!("{path}?{query}&X-Amz-Signature={}", self.signature(&date, &request))
    }

    /// The fields of a form that sign `policy`, base64 encoded already.
    pub(crate) fn sign_policy(&self, policy: &str, date: &str) -> String {
        hex::encode(mac(&self.key(date), policy))
    }

    pub(crate) fn credential(&self, date: &str) -> String {
        format!("{}/{}", self.access_key, self.scope(date))
    }

    pub(crate) fn date(&self) -> String {
        let secs = i64::try_from(now().as_secs()).unwrap() + self.skew_secs;
        amz_date(secs)
    }

    fn signature(&self, date: &str, request: &str) -> String {
        let text = format!("AWS4-HMAC-SHA256\n{date}\n{}\n{}", self.scope(date), sha256(request.as_bytes()));
        hex::encode(mac(&self.key(date), &text))
    }
    fn scope(&self, date: &str) -> String {
        format!("{}/{}/s3/aws4_request", &date[..8], self.region)
    }
    fn key(&self, date: &str) -> [u8; 32] {
        let first = mac(format!("AWS4{}", self.secret_key).as_bytes(), &date[..8]);
        ["s3", "aws4_request"].iter().fold(mac(&first, &self.region), |key, text| mac(&key, text))
    }
}

/// One chunk of a body.
pub(crate) fn chunk(out: &mut Vec<u8>, data: &[u8], signature: Option<&str>) {
    let extension = signature.map(|signature| format!(";chunk-signature={signature}")).unwrap_or_default();
    out.extend_from_slice(format!("{:x}{extension}\r\n", data.len()).as_bytes());
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}

/// The end of a body without signatures.
pub(crate) fn trailer(out: &mut Vec<u8>, signature: Option<&str>, headers: &[(&str, &str)]) {
    let extension = signature.map(|signature| format!(";chunk-signature={signature}")).unwrap_or_default();
    out.extend_from_slice(format!("0{extension}\r\n").as_bytes());
    for (name, value) in headers {
        out.extend_from_slice(format!("{name}:{value}\r\n").as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

#[allow(clippy::disallowed_methods, reason = "a client has a clock of its own")]
fn now() -> std::time::Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

fn amz_date(secs: i64) -> String {
    // Through the HTTP date, so that the server's calendar is not tested by itself.
    let time = UNIX_EPOCH + std::time::Duration::from_secs(u64::try_from(secs).unwrap());
    let text = httpdate::fmt_http_date(time);
    let fields: Vec<&str> = text.split([' ', ',']).filter(|field| !field.is_empty()).collect();
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = months.iter().position(|month| *month == fields[2]).unwrap() + 1;
    format!("{}{month:02}{}T{}Z", fields[3], fields[1], fields[4].replace(':', ""))
}

fn canonical_headers(headers: &[(String, String)]) -> (String, String) {
    let mut sorted: Vec<(String, String)> =
        headers.iter().map(|(name, value)| (name.to_lowercase(), value.trim().to_owned())).collect();
    sorted.sort_by(|a, b| a.0.cmp(&b.0));
    let canonical = sorted.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let signed: Vec<String> = sorted.into_iter().map(|(name, _)| name).collect();
    (canonical, signed.join(";"))
}

fn canonical_path(path: &str) -> String {
    let decoded: Vec<u8> = percent_decode_str(path).collect();
    percent_encoding::percent_encode(&decoded, PATH).to_string()
}

fn canonical_query(query: &str) -> String {
    let recode =
        |text: &str| utf8_percent_encode(&percent_decode_str(text).decode_utf8().unwrap(), UNRESERVED).to_string();
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (recode(name), recode(value))
        })
        .collect();
    // Sorted by name, then by value: a name sorts before a longer one that begins with it.
    pairs.sort();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

fn mac(key: &[u8], text: &str) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().into()
}

fn sha256(data: &[u8]) -> String {
    hex::encode(Sha256::digest(data))
}
