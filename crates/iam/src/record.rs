//! The stored form of a user: JSON under the setting `user/<name>`. Unknown fields and versions are refused, so that a
//! restriction written by a newer release is never silently dropped.
//!
//! Version 1 had no right to make buckets: the mode of the root said who may; and uid 0 made everybody an administrator.

use serde::{Deserialize, Serialize};

use crate::user::check;
use crate::{IamError, SecretKey, User};

/// Settings of users start with this.
pub(crate) const PREFIX: &str = "user/";
/// The setting that holds the number from which the next uid is looked for, in decimal.
pub(crate) const NEXT_UID: &str = "users/next-uid";
const VERSION: u32 = 2;
const VERSION_BEFORE_RIGHTS: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    version: u32,
    name: String,
    access_key: String,
    secret_key: String,
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    admin: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    may_make_buckets: Option<bool>,
}

/// A user as read.
pub(crate) struct Stored {
    pub(crate) user: User,
    /// The record is of [`VERSION_BEFORE_RIGHTS`]: what it does not say has to be found out, and the record written anew.
    pub(crate) before_rights: bool,
}

/// The setting that holds the user of this name.
pub(crate) fn key(name: &str) -> String {
    format!("{PREFIX}{name}")
}

pub(crate) fn encode(user: &User) -> Result<Vec<u8>, IamError> {
    let record = Record {
        version: VERSION,
        name: user.name.clone(),
        access_key: user.access_key.clone(),
        secret_key: user.secret_key.expose().to_owned(),
        uid: user.uid,
        gid: user.gid,
        groups: user.groups.clone(),
        admin: user.admin,
        may_make_buckets: Some(user.may_make_buckets),
    };
    serde_json::to_vec(&record).map_err(|err| IamError::Record { key: key(&user.name), why: err.to_string() })
}

pub(crate) fn decode(setting: &str, value: &[u8]) -> Result<Stored, IamError> {
    let unreadable = |why: String| IamError::Record { key: setting.to_owned(), why };
    // The parser's own message may quote the value it stumbled over, and that may be a secret: give the place only.
    let record: Record = serde_json::from_slice(value)
        .map_err(|err| unreadable(format!("malformed at line {} column {}", err.line(), err.column())))?;
    let before_rights = match (record.version, record.may_make_buckets) {
        (VERSION, Some(_)) => false,
        (VERSION_BEFORE_RIGHTS, None) => true,
        (VERSION | VERSION_BEFORE_RIGHTS, _) => {
            return Err(unreadable("its fields are those of another version".to_owned()));
        }
        (other, _) => return Err(unreadable(format!("its version is {other}, this release knows {VERSION}"))),
    };
    if setting != key(&record.name) {
        return Err(unreadable("the name inside differs from the setting's key".to_owned()));
    }
    let user = User {
        name: record.name,
        access_key: record.access_key,
        secret_key: SecretKey::new(record.secret_key),
        uid: record.uid,
        gid: record.gid,
        groups: record.groups,
        admin: record.admin,
        may_make_buckets: record.may_make_buckets.unwrap_or(false),
    };
    check(&user).map_err(|err| unreadable(err.to_string()))?;
    Ok(Stored { user, before_rights })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn user() -> User {
        User {
            name: "ada".to_owned(),
            access_key: "ADAKEY".to_owned(),
            secret_key: SecretKey::new("canary-secret"),
            uid: 1000,
            gid: 100,
            groups: vec![7],
            admin: false,
            may_make_buckets: true,
        }
    }

    #[test]
    fn a_record_reads_back_as_written() {
        let back = decode("user/ada", &encode(&user()).unwrap()).unwrap();
        assert_eq!(format!("{:?}", back.user), format!("{:?}", user()));
        assert!(back.user.secret_key.matches("canary-secret") && !back.before_rights);
    }

    #[test]
    fn a_record_from_before_there_were_rights_is_known_as_such() {
        let old = br#"{"version":1,"name":"ada","access_key":"ADAKEY","secret_key":"canary-secret","uid":0,"gid":0,"groups":[],"admin":false}"#;
        let back = decode("user/ada", old).unwrap();
        assert!(back.before_rights && back.user.uid == 0 && !back.user.may_make_buckets);
    }

    #[test]
    fn unknown_fields_and_versions_are_refused() {
        let text = String::from_utf8(encode(&user()).unwrap()).unwrap();
        for bad in [
            text.replace("\"version\":2", "\"version\":3"),
            text.replace("\"version\":2", "\"version\":1"),
            text.replace(",\"may_make_buckets\":true", ""),
            text.replace("\"uid\"", "\"mfa\":true,\"uid\""),
        ] {
            assert!(bad != text && decode("user/ada", bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(decode("user/eve", text.as_bytes()).is_err());
    }

    #[test]
    fn a_damaged_record_does_not_put_the_secret_into_the_error() {
        let text = String::from_utf8(encode(&user()).unwrap()).unwrap();
        let bad = text.replace("\"uid\":1000", "\"uid\":\"canary-secret\"");
        assert!(!format!("{:?}", decode("user/ada", bad.as_bytes()).err().unwrap()).contains("canary"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_refused_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode("user/x", &bytes);
        }
    }
}
