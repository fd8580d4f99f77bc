//! Proves one request: parses its credentials, checks what must hold before any signature is computed, then the
//! signature itself.
//!
//! What is checked here and nowhere else (the S3 library behind leaves each of these open, or did):
//! credentials in the header or in the query but never both; the scope's date, region and
//! service; a clock at most 15 minutes off; presigned requests valid for 1 s to 7 days; `host` and every `x-amz-*`
//! header signed; every header listed as signed present; comparison in constant time, and for unknown access keys no less
//! work than for known ones.

use std::sync::Arc;

use http::{HeaderMap, Uri, request::Parts};
use s3s::{S3Error, S3ErrorCode};
use strata_iam::User;

use super::hmac::signatures_match;
use super::presence::{Credentials, find};
use super::signing_keys::SigningKeys;
use super::sigv2;
use super::sigv4::{
    Canonical, ChunkChain, PathForm, Scope, SigningKey, canonical_headers, canonical_path, canonical_query, query_pairs,
};
use super::timestamp::AmzDate;
use crate::error::refuse;
use crate::host::Domains;
use crate::post_form::Fields;

/// How far a client's clock may be off, in seconds: the value S3 uses.
const SKEW_SECS_MAX: i64 = 15 * 60;
/// How long a presigned request may be valid, in seconds: 7 days, the value S3 uses.
const EXPIRES_SECS_MAX: i64 = 7 * 24 * 3600;
/// Most headers a request may sign.
const SIGNED_HEADERS_MAX: usize = 100;

/// Names the region of the store.
pub(crate) const REGION_HEADER: http::HeaderName = http::HeaderName::from_static("x-amz-bucket-region");

/// How the body is protected, as the signature says.
#[derive(Clone, Debug)]
pub(crate) enum Payload {
    /// Not covered by the signature.
    Unsigned,
    /// The whole body has this SHA-256.
    Sha256([u8; 32]),
    /// `aws-chunked`, each chunk signed; with a signed trailer if `trailer`.
    SignedChunks {
        /// The chain of signatures, starting from the request's.
        chain: ChunkChain,
        /// Whether a signed trailer follows.
        trailer: bool,
    },
    /// `aws-chunked` without signatures, with a trailer.
    UnsignedChunks,
}

/// A request whose sender is proven. Only [`Verifier::verify`] makes one.
#[derive(Clone, Debug)]
pub(crate) struct Verified {
    /// Who sent it.
    pub(crate) user: Arc<User>,
    /// How its body is protected.
    pub(crate) payload: Payload,
    /// Whether by Signature Version 2.
    pub(crate) old: bool,
    /// Whether by its query, which then may carry headers.
    pub(crate) presigned: bool,
}

/// Finds the user of an access key.
pub(crate) type Lookup = Box<dyn Fn(&str) -> Option<Arc<User>> + Send + Sync>;

/// Proves requests against the users of the store.
pub(crate) struct Verifier {
    user_of: Lookup,
    region: String,
    domains: Domains,
    /// Whether Signature Version 2 is taken.
    sigv2: bool,
    keys: SigningKeys,
}

struct Claim {
    access_key: String,
    scope: Scope,
    date: AmzDate,
    signed: Vec<String>,
    signature: String,
    payload_hash: String,
}

impl Verifier {
    pub(crate) fn new(user_of: Lookup, region: String, domains: Domains, sigv2: bool) -> Self {
        Self { user_of, region, domains, sigv2, keys: SigningKeys::default() }
    }

    /// Proves who sent the request. `now_secs` is the store's clock in seconds since 1970.
    ///
    /// # Errors
    /// The S3 error to answer with; the request must then touch nothing.
    pub(crate) fn verify(&self, parts: &Parts, now_secs: i64) -> Result<Verified, S3Error> {
        let pairs = query_pairs(parts.uri.query().unwrap_or_default());
        let found = find(&parts.headers, &pairs)?;
        let presigned = matches!(found, Credentials::Query(_));
        let claim = match found {
            Credentials::Header(value) => self.claim_of_header(value, &parts.headers, now_secs)?,
            Credentials::Query(values) => self.claim_of_query(values, &parts.headers, &pairs, now_secs)?,
            Credentials::OldHeader([access_key, signature]) => {
                return self.verify_old(parts, &pairs, access_key, signature, None, now_secs);
            }
            Credentials::OldQuery([access_key, expires, signature]) => {
                return self.verify_old(parts, &pairs, access_key, signature, Some(expires), now_secs);
            }
        };
        let headers = check_signed_headers(&claim, &parts.headers)?;
        let (user, key) = self.prove(&claim.access_key, |user, secret| {
            let key = self.keys.of(user, secret, &claim.scope);
            prove(&claim, parts, &pairs, &headers, &key).then_some(key)
        })?;
        let payload = payload_of(&claim, key)?;
        Ok(Verified { user, payload, old: false, presigned })
    }

    /// The user of an access key, if `proof` holds with the secret key.
    ///
    /// # Errors
    /// `InvalidAccessKeyId`, `SignatureDoesNotMatch`.
    fn prove<T>(
        &self,
        access_key: &str,
        proof: impl FnOnce(Option<&Arc<User>>, &str) -> Option<T>,
    ) -> Result<(Arc<User>, T), S3Error> {
        let user = (self.user_of)(access_key);
        // An unknown key is checked too, against a secret nobody has, so that it costs no less than a known one.
        let proven = proof(user.as_ref(), user.as_ref().map_or("", |user| user.secret_key.expose()));
        let Some(user) = user else {
            return Err(refuse(S3ErrorCode::InvalidAccessKeyId, "the access key does not exist in this store"));
        };
        let proven = proven.ok_or_else(|| {
            refuse(
                S3ErrorCode::SignatureDoesNotMatch,
                "the signature does not match; check the secret key and the signing method",
            )
        })?;
        Ok((user, proven))
    }

    /// Proves a request by Signature Version 2; `expires` is the end of a presigned one.
    fn verify_old(
        &self,
        parts: &Parts,
        pairs: &[(String, String)],
        access_key: &str,
        signature: &str,
        expires: Option<&str>,
        now_secs: i64,
    ) -> Result<Verified, S3Error> {
        self.allow_old()?;
        sigv2::refuse_unsigned(pairs, expires.is_some())?;
        let (headers, date) = match expires {
            Some(expires) => {
                let digits = !expires.is_empty() && expires.bytes().all(|c| c.is_ascii_digit());
                let end: i64 = expires.parse().ok().filter(|_| digits).ok_or_else(|| {
                    refuse(S3ErrorCode::AccessDenied, "Expires must be a moment in seconds since 1970")
                })?;
                if now_secs > end {
                    return Err(refuse(S3ErrorCode::AccessDenied, "the request has expired"));
                }
                (sigv2::with_query_headers(&parts.headers, pairs)?, expires)
            }
            None => {
                let amz_date = single(&parts.headers, "x-amz-date")?;
                let header = single(&parts.headers, "date")?;
                let date = amz_date.or(header).and_then(AmzDate::of_header).ok_or_else(|| {
                    refuse(S3ErrorCode::AccessDenied, "a signed request needs one valid Date or x-amz-date header")
                })?;
                check_skew(&date, now_secs)?;
                (parts.headers.clone(), if amz_date.is_some() { "" } else { header.unwrap_or_default() })
            }
        };
        let payload = match single(&headers, "x-amz-content-sha256")? {
            None | Some("UNSIGNED-PAYLOAD") => Payload::Unsigned,
            Some(hash) if hash.starts_with("STREAMING-") => {
                return Err(refuse(
                    S3ErrorCode::InvalidRequest,
                    "a body in chunks needs Signature Version 4; use AWS4-HMAC-SHA256",
                ));
            }
            Some(hash) => Payload::Sha256(sha256_of(hash)?),
        };
        let host = headers.get(http::header::HOST).and_then(|host| host.to_str().ok());
        let bucket = host.and_then(|host| self.domains.bucket(host));
        let signable = sigv2::Signable {
            method: parts.method.as_str(),
            bucket: bucket.as_deref(),
            path: parts.uri.path(),
            pairs,
            headers: &headers,
            date,
        };
        let text = signable
            .string_to_sign()
            .ok_or_else(|| refuse(S3ErrorCode::SignatureDoesNotMatch, "a header that is signed is no text"))?;
        let (user, ()) =
            self.prove(access_key, |_, secret| signatures_match(&sigv2::sign(secret, &text), signature).then_some(()))?;
        Ok(Verified { user, payload, old: true, presigned: expires.is_some() })
    }

    /// Proves who signed a form: both versions sign its policy as it was sent.
    ///
    /// # Errors
    /// As [`Self::verify`].
    pub(crate) fn verify_form(&self, fields: &Fields, now_secs: i64) -> Result<Arc<User>, S3Error> {
        let malformed = |what: &str| {
            refuse(S3ErrorCode::AuthorizationHeaderMalformed, format!("the form's credentials are malformed: {what}"))
        };
        if fields.get("x-amz-security-token").is_some() {
            return Err(refuse(S3ErrorCode::InvalidToken, "this store issues no session tokens"));
        }
        let [policy, signature, old] = ["policy", "x-amz-signature", "signature"].map(|name| fields.get(name));
        match (policy, signature, old) {
            (Some(policy), Some(signature), None) => {
                let field = |name| fields.get(name).ok_or_else(|| malformed(&format!("there is no field {name}")));
                if field("x-amz-algorithm")? != "AWS4-HMAC-SHA256" {
                    return Err(malformed("the algorithm is not AWS4-HMAC-SHA256"));
                }
                let date =
                    AmzDate::parse(field("x-amz-date")?).ok_or_else(|| malformed("x-amz-date is no timestamp"))?;
                // The policy says how long the form may be used, within the time for which a key of one day is good.
                if date.secs() - now_secs > SKEW_SECS_MAX || now_secs - date.secs() > EXPIRES_SECS_MAX {
                    return Err(refuse(
                        S3ErrorCode::AccessDenied,
                        "the form was signed more than 7 days ago, or is not valid yet",
                    ));
                }
                let (access_key, scope) = self.scope(field("x-amz-credential")?, &date, &malformed)?;
                let proof = |_: Option<&Arc<User>>, secret: &str| {
                    signatures_match(&SigningKey::derive(secret, &scope).sign(policy), signature).then_some(())
                };
                self.prove(&access_key, proof).map(|(user, ())| user)
            }
            (Some(policy), None, Some(signature)) => {
                self.allow_old()?;
                let access_key =
                    fields.get("awsaccesskeyid").ok_or_else(|| malformed("there is no field AWSAccessKeyId"))?;
                let proof = |_: Option<&Arc<User>>, secret: &str| {
                    signatures_match(&sigv2::sign(secret, policy), signature).then_some(())
                };
                self.prove(access_key, proof).map(|(user, ())| user)
            }
            (_, Some(_), Some(_)) => {
                Err(refuse(S3ErrorCode::InvalidArgument, "only one set of credentials is allowed: a form has two"))
            }
            _ => Err(refuse(S3ErrorCode::AccessDenied, "anonymous uploads are refused; sign the form's policy")),
        }
    }

    fn allow_old(&self) -> Result<(), S3Error> {
        match self.sigv2 {
            true => Ok(()),
            false => Err(refuse(
                S3ErrorCode::InvalidRequest,
                "this authorization mechanism is not supported; use AWS4-HMAC-SHA256",
            )),
        }
    }

    fn claim_of_header(&self, value: &str, headers: &HeaderMap, now_secs: i64) -> Result<Claim, S3Error> {
        let malformed = |what: &str| {
            refuse(S3ErrorCode::AuthorizationHeaderMalformed, format!("the authorization header is malformed: {what}"))
        };
        let mut fields = [None; 3];
        let rest = value.strip_prefix("AWS4-HMAC-SHA256").unwrap_or_default();
        for field in rest.split(',') {
            let (name, value) = field.trim().split_once('=').ok_or_else(|| malformed("it is no list of name=value"))?;
            let slot = match name {
                "Credential" => 0,
                "SignedHeaders" => 1,
                "Signature" => 2,
                _ => return Err(malformed("it has an unknown field")),
            };
            if fields[slot].replace(value).is_some() {
                return Err(malformed("it has a field twice"));
            }
        }
        let [Some(credential), Some(signed), Some(signature)] = fields else {
            return Err(malformed("it needs Credential, SignedHeaders and Signature"));
        };
        let signed = signed_list(signed, &malformed)?;
        let date = match single(headers, "x-amz-date")? {
            Some(date) => AmzDate::parse(date),
            // Otherwise the standard header of the same meaning, if it is signed.
            None if signed.iter().any(|name| name == "date") => single(headers, "date")?.and_then(AmzDate::of_header),
            None => None,
        };
        let date = date.ok_or_else(|| {
            refuse(
                S3ErrorCode::AccessDenied,
                "a signed request needs one valid x-amz-date header, or a signed Date header",
            )
        })?;
        check_skew(&date, now_secs)?;
        let (access_key, scope) = self.scope(credential, &date, &malformed)?;
        let payload_hash = single(headers, "x-amz-content-sha256")?
            .ok_or_else(|| refuse(S3ErrorCode::InvalidRequest, "missing required header: x-amz-content-sha256"))?
            .to_owned();
        Ok(Claim { access_key, scope, date, signed, signature: signature.to_owned(), payload_hash })
    }

    fn claim_of_query(
        &self,
        [_, credential, date, expires, signed, signature]: [&str; 6],
        headers: &HeaderMap,
        pairs: &[(String, String)],
        now_secs: i64,
    ) -> Result<Claim, S3Error> {
        let malformed = |what: &str| {
            refuse(
                S3ErrorCode::AuthorizationQueryParametersError,
                format!("the query's credentials are malformed: {what}"),
            )
        };
        let date = AmzDate::parse(date).ok_or_else(|| malformed("X-Amz-Date is no timestamp"))?;
        let digits = !expires.is_empty() && expires.bytes().all(|c| c.is_ascii_digit());
        let expires: i64 =
            expires.parse().ok().filter(|_| digits).ok_or_else(|| malformed("X-Amz-Expires is no number"))?;
        if !(1..=EXPIRES_SECS_MAX).contains(&expires) {
            return Err(malformed("X-Amz-Expires must be from 1 to 604800 seconds"));
        }
        if date.secs() - now_secs > SKEW_SECS_MAX {
            return Err(refuse(S3ErrorCode::AccessDenied, "the request is not valid yet; set the clock"));
        }
        if now_secs - date.secs() > expires {
            return Err(refuse(S3ErrorCode::AccessDenied, "the request has expired"));
        }
        let (access_key, scope) = self.scope(credential, &date, &malformed)?;
        let in_query = pairs.iter().find(|(name, _)| name == "X-Amz-Content-Sha256").map(|(_, value)| value.as_str());
        let in_header = single(headers, "x-amz-content-sha256")?;
        if in_query.is_some() && in_header.is_some() && in_query != in_header {
            return Err(malformed("x-amz-content-sha256 differs between header and query"));
        }
        let payload_hash = in_query.or(in_header).unwrap_or("UNSIGNED-PAYLOAD").to_owned();
        Ok(Claim {
            access_key,
            scope,
            date,
            signed: signed_list(signed, &malformed)?,
            signature: signature.to_owned(),
            payload_hash,
        })
    }

    /// Reads `key/date/region/s3/aws4_request` and holds it against the request's time and this store's region.
    fn scope(
        &self,
        credential: &str,
        date: &AmzDate,
        malformed: &dyn Fn(&str) -> S3Error,
    ) -> Result<(String, Scope), S3Error> {
        let mut fields = credential.split('/');
        let fields = [(); 6].map(|()| fields.next());
        let [Some(access_key), Some(day), Some(region), Some("s3"), Some("aws4_request"), None] = fields else {
            return Err(malformed("the credential is not of the form key/date/region/s3/aws4_request"));
        };
        if day != date.date() {
            return Err(malformed("the credential's date is not the request's date"));
        }
        if region != self.region {
            let mut err = malformed(&format!("the region '{region}' is wrong; expecting '{}'", self.region));
            // Clients that do not know the region learn it from this answer.
            if let Ok(value) = self.region.parse() {
                err.set_headers(HeaderMap::from_iter([(REGION_HEADER, value)]));
            }
            return Err(err);
        }
        Ok((access_key.to_owned(), Scope { date: day.to_owned(), region: region.to_owned() }))
    }
}

fn check_skew(date: &AmzDate, now_secs: i64) -> Result<(), S3Error> {
    if (now_secs - date.secs()).abs() > SKEW_SECS_MAX {
        return Err(refuse(
            S3ErrorCode::RequestTimeTooSkewed,
            "the request's time and the server's differ by more than 15 minutes; set the clock",
        ));
    }
    Ok(())
}

/// A header that may appear once.
fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, S3Error> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(refuse(S3ErrorCode::InvalidRequest, format!("the header {name} may appear once")));
    }
    first
        .map(|value| value.to_str())
        .transpose()
        .map_err(|_| refuse(S3ErrorCode::InvalidRequest, format!("the header {name} is no text")))
}

/// The signed header names: lower case, without repetition, in order.
fn signed_list(text: &str, malformed: &dyn Fn(&str) -> S3Error) -> Result<Vec<String>, S3Error> {
    let mut names: Vec<String> = text.split(';').map(str::to_ascii_lowercase).collect();
    if names.len() > SIGNED_HEADERS_MAX
        || names.iter().any(|name| http::HeaderName::from_bytes(name.as_bytes()).is_err())
    {
        return Err(malformed("the list of signed headers holds something that is no header"));
    }
    names.sort();
    let before = names.len();
    names.dedup();
    if names.len() != before {
        return Err(malformed("a header is listed as signed twice"));
    }
    Ok(names)
}

/// `host` and every `x-amz-*` header must be signed, and what is listed as signed must be there. Returns the canonical
/// headers.
fn check_signed_headers(claim: &Claim, headers: &HeaderMap) -> Result<String, S3Error> {
    let is_signed = |name: &str| claim.signed.binary_search_by(|signed| signed.as_str().cmp(name)).is_ok();
    if !is_signed("host") {
        return Err(refuse(S3ErrorCode::AccessDenied, "the host header must be signed"));
    }
    for name in headers.keys().map(http::HeaderName::as_str) {
        // The payload hash is signed in any case, wherever it stands.
        if name.starts_with("x-amz-") && name != "x-amz-content-sha256" && !is_signed(name) {
            return Err(refuse(S3ErrorCode::AccessDenied, format!("there is a header that was not signed: {name}")));
        }
    }
    canonical_headers(headers, &claim.signed).ok_or_else(|| {
        refuse(S3ErrorCode::SignatureDoesNotMatch, "a header listed as signed is not in the request, or is no text")
    })
}

fn prove(claim: &Claim, parts: &Parts, pairs: &[(String, String)], headers: &str, key: &SigningKey) -> bool {
    let query = canonical_query(pairs);
    let signed = claim.signed.join(";");
    let matches = |form| {
        let path = canonical_path(parts.uri.path(), form);
        let canonical = Canonical {
            method: parts.method.as_str(),
            path: &path,
            query: &query,
            headers,
            signed: &signed,
            payload_hash: &claim.payload_hash,
        };
        signatures_match(&key.sign(&canonical.string_to_sign(&claim.date, &claim.scope)), &claim.signature)
    };
    let raw_differs = || canonical_path(parts.uri.path(), PathForm::Encoded) != parts.uri.path();
    matches(PathForm::Encoded) || (raw_differs() && matches(PathForm::Raw))
}

fn payload_of(claim: &Claim, key: SigningKey) -> Result<Payload, S3Error> {
    let chain = |key| ChunkChain::new(key, &claim.date, &claim.scope, claim.signature.clone());
    Ok(match claim.payload_hash.as_str() {
        "UNSIGNED-PAYLOAD" => Payload::Unsigned,
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => Payload::UnsignedChunks,
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" => Payload::SignedChunks { chain: chain(key), trailer: false },
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => Payload::SignedChunks { chain: chain(key), trailer: true },
        hash => Payload::Sha256(sha256_of(hash)?),
    })
}

fn sha256_of(hash: &str) -> Result<[u8; 32], S3Error> {
    let mut sha256 = [0; 32];
    let lower = !hash.bytes().any(|c| c.is_ascii_uppercase());
    hex::decode_to_slice(hash, &mut sha256).ok().filter(|()| lower).ok_or_else(|| {
        refuse(
            S3ErrorCode::InvalidArgument,
            "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, a STREAMING- form or a SHA-256 in lower-case hex",
        )
    })?;
    Ok(sha256)
}

/// The request as the S3 library may see it: proven, so without anything it would take for credentials.
pub(crate) fn strip_credentials(parts: &mut Parts, old: bool) -> Result<(), S3Error> {
    parts.headers.remove(http::header::AUTHORIZATION);
    let Some(query) = parts.uri.query() else { return Ok(()) };
    let kept: Vec<&str> = query
        .split('&')
        .filter(|pair| {
            let name = pair.split('=').next().unwrap_or_default();
            let name = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
            let of_old = old && (sigv2::CREDENTIALS.contains(&&*name) || sigv2::is_header(&name));
            !of_old && !name.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("X-Amz-"))
        })
        .collect();
    let path = parts.uri.path();
    let target = if kept.is_empty() { path.to_owned() } else { format!("{path}?{}", kept.join("&")) };
    let mut uri = parts.uri.clone().into_parts();
    uri.path_and_query =
        Some(target.parse().map_err(|_| refuse(S3ErrorCode::InvalidURI, "the request target cannot be parsed"))?);
    parts.uri =
        Uri::from_parts(uri).map_err(|_| refuse(S3ErrorCode::InvalidURI, "the request target cannot be parsed"))?;
    Ok(())
}
