//! The checksums of S3: named in headers or in a trailer, computed here over the same bytes that are stored.
//!
//! Values are base64 of the big-endian digest, as S3 has them.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use crc_fast::{CrcAlgorithm, Digest as Crc};
use http::HeaderMap;
use s3s::{S3Error, S3ErrorCode};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::error::refuse;

/// An algorithm S3 knows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Algorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
}

/// Every algorithm.
pub(crate) const ALGORITHMS: [Algorithm; 5] =
    [Algorithm::Crc32, Algorithm::Crc32c, Algorithm::Crc64Nvme, Algorithm::Sha1, Algorithm::Sha256];

impl Algorithm {
    /// The name under which values are stored.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "crc32",
            Self::Crc32c => "crc32c",
            Self::Crc64Nvme => "crc64nvme",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
        }
    }
    /// The header that carries a value.
    pub(crate) fn header(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Sha1 => "x-amz-checksum-sha1",
            Self::Sha256 => "x-amz-checksum-sha256",
        }
    }
    /// The algorithm of this name, in either case.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        ALGORITHMS.into_iter().find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }
    /// The polynomial, for those that can be combined from parts.
    fn crc(self) -> Option<CrcAlgorithm> {
        match self {
            Self::Crc32 => Some(CrcAlgorithm::Crc32IsoHdlc),
            Self::Crc32c => Some(CrcAlgorithm::Crc32Iscsi),
            Self::Crc64Nvme => Some(CrcAlgorithm::Crc64Nvme),
            Self::Sha1 | Self::Sha256 => None,
        }
    }
    /// Bytes of a digest.
    fn digest_len(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64Nvme => 8,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }
}

/// Computes one checksum over a stream.
pub(crate) enum Hasher {
    Crc(Algorithm, Box<Crc>),
    Sha1(Sha1),
    Sha256(Sha256),
}

impl Hasher {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        match (algorithm, algorithm.crc()) {
            (_, Some(crc)) => Self::Crc(algorithm, Box::new(Crc::new(crc))),
            (Algorithm::Sha1, None) => Self::Sha1(Sha1::new()),
            (_, None) => Self::Sha256(Sha256::new()),
        }
    }
    pub(crate) fn update(&mut self, data: &[u8]) {
        match self {
            Self::Crc(_, crc) => crc.update(data),
            Self::Sha1(sha) => sha.update(data),
            Self::Sha256(sha) => sha.update(data),
        }
    }
    /// The digest in big-endian order.
    pub(crate) fn finish(self) -> Vec<u8> {
        match self {
            Self::Crc(algorithm, crc) => crc_bytes(algorithm, crc.finalize()),
            Self::Sha1(sha) => sha.finalize().to_vec(),
            Self::Sha256(sha) => sha.finalize().to_vec(),
        }
    }
    /// The digest as S3 writes it.
    pub(crate) fn text(self) -> String {
        BASE64.encode(self.finish())
    }
}

fn crc_bytes(algorithm: Algorithm, value: u64) -> Vec<u8> {
    value.to_be_bytes()[8 - algorithm.digest_len()..].to_vec()
}

/// What a client says about the checksums of its body.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Promise {
    /// The algorithm to compute; at most one, as in S3.
    pub(crate) algorithm: Option<Algorithm>,
    /// The value, if it came in a header; otherwise the trailer must hold it.
    pub(crate) value: Option<String>,
    /// Whether the value is to come in the trailer.
    pub(crate) in_trailer: bool,
}

/// Whether a header carries a checksum of an algorithm that nobody here computes.
fn carries_unknown(name: &str) -> bool {
    let says_how = ["x-amz-checksum-mode", "x-amz-checksum-type", "x-amz-checksum-algorithm"];
    let known = || ALGORITHMS.into_iter().any(|algorithm| algorithm.header() == name);
    name.starts_with("x-amz-checksum-") && !says_how.contains(&name) && !known()
}

impl Promise {
    /// Reads the headers of a request that carries data.
    ///
    /// # Errors
    /// `InvalidRequest` for several algorithms at once, unknown ones, values that are no digest, and an announced
    /// algorithm without a value.
    pub(crate) fn of_headers(headers: &HeaderMap) -> Result<Self, S3Error> {
        let bad = |what: &str| refuse(S3ErrorCode::InvalidRequest, what.to_owned());
        let mut promise = Self::default();
        for algorithm in ALGORITHMS {
            let mut values = headers.get_all(algorithm.header()).iter();
            let Some(value) = values.next() else { continue };
            if promise.algorithm.replace(algorithm).is_some() || values.next().is_some() {
                return Err(bad("expecting a single x-amz-checksum- header"));
            }
            let value = value.to_str().map_err(|_| bad("the checksum is no text"))?;
            check_form(algorithm, value)?;
            promise.value = Some(value.to_owned());
        }
        if let Some(unknown) = headers.keys().find(|name| carries_unknown(name.as_str())) {
            return Err(bad(&format!("{unknown} is no checksum that is verified here; nothing was stored")));
        }
        for name in headers.get_all("x-amz-trailer").iter() {
            let name = name.to_str().map_err(|_| bad("x-amz-trailer is no text"))?.trim().to_ascii_lowercase();
            let algorithm = ALGORITHMS
                .into_iter()
                .find(|algorithm| algorithm.header() == name)
                .ok_or_else(|| bad("the value specified in the x-amz-trailer header is not supported"))?;
            if promise.algorithm.replace(algorithm).is_some() {
                return Err(bad("expecting a single x-amz-checksum- header or trailer"));
            }
            promise.in_trailer = true;
        }
        if let Some(named) = headers.get("x-amz-sdk-checksum-algorithm") {
            let named = named.to_str().ok().and_then(Algorithm::of_name);
            let named = named.ok_or_else(|| bad("the checksum algorithm is not supported"))?;
            if promise.algorithm.is_none() && !headers.contains_key("content-md5") {
                return Err(bad(
                    "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found",
                ));
            }
            if promise.algorithm.is_some_and(|given| given != named) {
                return Err(bad("x-amz-sdk-checksum-algorithm differs from the checksum that was sent"));
            }
        }
        Ok(promise)
    }

    /// Holds what was computed against what was promised; `trailer` has its names in lower case. Returns the checksums
    /// to keep with the object.
    ///
    /// # Errors
    /// `BadDigest` if they differ, `MalformedTrailerError` as `InvalidRequest` if the promised trailer is missing.
    pub(crate) fn verify(
        &self,
        computed: Option<&[u8]>,
        trailer: &[(String, String)],
    ) -> Result<BTreeMap<String, String>, S3Error> {
        for (name, _) in trailer {
            let announced = self.in_trailer && self.algorithm.is_some_and(|algorithm| algorithm.header() == name);
            if name.starts_with("x-amz-") && !announced {
                return Err(refuse(
                    S3ErrorCode::InvalidRequest,
                    "the trailer holds a header that was not announced in x-amz-trailer",
                ));
            }
        }
        let (Some(algorithm), Some(computed)) = (self.algorithm, computed) else {
            return Ok(BTreeMap::new());
        };
        let promised = if self.in_trailer {
            let value = trailer.iter().find(|(name, _)| name == algorithm.header()).map(|(_, value)| value.as_str());
            value.ok_or_else(|| {
                refuse(S3ErrorCode::InvalidRequest, "the trailer that x-amz-trailer announced is missing")
            })?
        } else {
            self.value.as_deref().unwrap_or_default()
        };
        let computed = BASE64.encode(computed);
        if promised != computed {
            return Err(refuse(
                S3ErrorCode::BadDigest,
                format!(
                    "the {} you specified did not match the calculated checksum; nothing was stored; send it again",
                    algorithm.name().to_uppercase()
                ),
            ));
        }
        Ok(BTreeMap::from([(algorithm.name().to_owned(), computed)]))
    }
}

/// Whether `value` can be a digest of this algorithm.
pub(crate) fn check_form(algorithm: Algorithm, value: &str) -> Result<(), S3Error> {
    match BASE64.decode(value) {
        Ok(bytes) if bytes.len() == algorithm.digest_len() => Ok(()),
        _ => Err(refuse(S3ErrorCode::InvalidRequest, format!("value for {} header is invalid", algorithm.header()))),
    }
}

/// The checksum of a whole from those of its parts, given with their lengths in bytes; CRCs only.
pub(crate) fn combine(algorithm: Algorithm, parts: &[(String, u64)]) -> Option<String> {
    let crc = algorithm.crc()?;
    let mut parts = parts.iter().map(|(value, len)| Some((crc_value(algorithm, value)?, *len)));
    let (mut sum, _) = parts.next()??;
    for part in parts {
        let (value, len) = part?;
        sum = crc_fast::checksum_combine(crc, sum, value, len);
    }
    Some(BASE64.encode(crc_bytes(algorithm, sum)))
}

/// The checksum of the checksums of the parts, with their number behind it: S3's composite form.
pub(crate) fn composite(algorithm: Algorithm, parts: &[(String, u64)]) -> Option<String> {
    let mut hasher = Hasher::new(algorithm);
    for (value, _) in parts {
        hasher.update(&BASE64.decode(value).ok()?);
    }
    Some(format!("{}-{}", BASE64.encode(hasher.finish()), parts.len()))
}

fn crc_value(algorithm: Algorithm, value: &str) -> Option<u64> {
    let bytes = BASE64.decode(value).ok().filter(|bytes| bytes.len() == algorithm.digest_len())?;
    Some(bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests;
