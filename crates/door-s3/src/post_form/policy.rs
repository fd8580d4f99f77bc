//! The policy of a form: what its signer allows, held against its fields.

use std::time::{Duration, UNIX_EPOCH};

use s3s::dto::Timestamp;
use s3s::post_policy::{PostPolicy, PostPolicyCondition};
use s3s::{S3Error, S3ErrorCode};

use super::reader::Fields;
use crate::error::refuse;

/// Fields that need not be named by the policy: those that carry it, and those that mean nothing.
fn is_exempt(name: &str) -> bool {
    matches!(name, "x-amz-signature" | "signature" | "awsaccesskeyid" | "submit" | "policy")
        || name.starts_with("x-ignore-")
}

/// Holds a form against its policy. Returns the lengths that the file may have.
///
/// # Errors
/// `InvalidPolicyDocument` for what cannot be read; `AccessDenied` for a policy that is over, a condition that does not
/// hold, and a field that no condition names.
pub(super) fn check(fields: &Fields, policy: &str, bucket: &str, now_secs: i64) -> Result<(u64, u64), S3Error> {
    let denied = |what: String| refuse(S3ErrorCode::AccessDenied, format!("invalid according to policy: {what}"));
    let policy = PostPolicy::from_base64(policy).map_err(|err| {
        refuse(S3ErrorCode::InvalidPolicyDocument, format!("the form's policy cannot be read: {err}"))
    })?;
    let now = UNIX_EPOCH + Duration::from_secs(u64::try_from(now_secs).unwrap_or(0));
    if Timestamp::from(now) > policy.expiration {
        return Err(denied("policy expired".to_owned()));
    }
    let value = |field: &str| if field == "bucket" { Some(bucket) } else { fields.get(field) };
    let (mut min, mut max) = (0, u64::MAX);
    let mut named = Vec::new();
    for condition in &policy.conditions {
        let (field, holds) = match condition {
            PostPolicyCondition::Eq { field, value: wanted } => (field, value(field) == Some(wanted.as_str())),
            PostPolicyCondition::StartsWith { field, prefix } => {
                (field, value(field).unwrap_or_default().starts_with(prefix.as_str()))
            }
            PostPolicyCondition::ContentLengthRange { min: least, max: most } => {
                (min, max) = (min.max(*least), max.min(*most));
                continue;
            }
        };
        if !holds {
            return Err(denied(format!("policy condition failed for the field '{field}'")));
        }
        named.push(field.as_str());
    }
    if fields.get("bucket").is_some_and(|said| said != bucket) {
        return Err(denied("the field 'bucket' names another bucket than the request".to_owned()));
    }
    if let Some((name, _)) = fields.iter().find(|(name, _)| !is_exempt(name) && !named.contains(name)) {
        return Err(denied(format!("extra input fields: {name}")));
    }
    Ok((min, max))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD as BASE64;

    /// 2026-01-01T00:00:00Z.
    const NOW: i64 = 1_767_225_600;

    fn judge(conditions: &str, fields: &[(&str, &str)]) -> Result<(u64, u64), S3ErrorCode> {
        let policy =
            BASE64.encode(format!(r#"{{"expiration":"2026-01-01T00:00:00.000Z","conditions":[{conditions}]}}"#));
        check(&Fields::of(fields), &policy, "photos", NOW).map_err(|err| err.code().clone())
    }

    #[test]
    fn a_form_does_what_its_policy_says_and_nothing_more() {
        let denied = Err(S3ErrorCode::AccessDenied);
        let both = r#"{"bucket":"photos"},["starts-with","$key","up/"]"#;
        for (conditions, fields, verdict) in [
            (both, &[("key", "up/a")][..], Ok((0, u64::MAX))),
            (both, &[("key", "down/a")], denied.clone()),
            (both, &[], denied.clone()),
            (both, &[("key", "up/a"), ("acl", "private")], denied.clone()),
            (both, &[("key", "up/a"), ("x-ignore-me", "1"), ("signature", "s"), ("policy", "p")], Ok((0, u64::MAX))),
            (both, &[("key", "up/a"), ("bucket", "other")], denied.clone()),
            (r#"{"bucket":"other"}"#, &[], denied.clone()),
            (r#"["eq","$Content-Type","text/a"]"#, &[("content-type", "text/a")], Ok((0, u64::MAX))),
            (r#"["eq","$Content-Type","text/a"]"#, &[("content-type", "text/b")], denied.clone()),
            (r#"["content-length-range",1,9],["content-length-range",3,20]"#, &[], Ok((3, 9))),
            (r#"["between","$key","a"]"#, &[], Err(S3ErrorCode::InvalidPolicyDocument)),
        ] {
            assert_eq!(judge(conditions, fields), verdict, "{conditions} {fields:?}");
        }
    }

    #[test]
    fn a_policy_ends_when_it_says_so() {
        let policy = BASE64.encode(r#"{"expiration":"2026-01-01T00:00:00Z","conditions":[]}"#);
        let at = |now| check(&Fields::default(), &policy, "b", now).map_err(|err| err.code().clone());
        assert_eq!((at(NOW), at(NOW + 1)), (Ok((0, u64::MAX)), Err(S3ErrorCode::AccessDenied)));
        for bad in ["", "%%%", "e30="] {
            let code = check(&Fields::default(), bad, "b", NOW).unwrap_err().code().clone();
            assert_eq!(code, S3ErrorCode::InvalidPolicyDocument, "{bad}");
        }
    }
}
