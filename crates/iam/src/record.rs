//! The stored form of a user: JSON under the setting `user/<name>`. Unknown fields and versions are refused, so that a
//! restriction written by a newer release is never silently dropped.
//!
//! In version 1 there was no right to make buckets: the mode of the root said who may. And uid 0 made everybody an administrator.
//! In version 1, and for a while in version 2, secrets stood in clear. Now they are sealed with the store's master key, under the name
//! of the user and the version of the record.

use serde::{Deserialize, Serialize};
use strata_keys::{MasterKey, Purpose};
use strata_seam::Entropy;

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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secret_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sealed: Option<Sealed>,
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    admin: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    may_make_buckets: Option<bool>,
}

/// A sealed secret.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    /// The id of the master key, in hex.
    key: String,
    /// What [`MasterKey::seal`] gave, in hex.
    secret: String,
}

/// A user as read.
pub(crate) struct Stored {
    pub(crate) user: User,
    /// The secret stands in the record in clear: it has to be written anew.
    pub(crate) in_clear: bool,
    /// The record is of [`VERSION_BEFORE_RIGHTS`]: what it lacks has to be found out, and the record written anew.
    pub(crate) before_rights: bool,
    /// The secret did not open and is another one now.
    pub(crate) renewed: bool,
}

/// The setting that holds the user of this name.
pub(crate) fn key(name: &str) -> String {
    format!("{PREFIX}{name}")
}

/// What a secret is sealed under.
fn sealed_under(name: &str) -> Vec<u8> {
    [b"user\0", name.as_bytes(), b"\0", &VERSION.to_le_bytes()[..]].concat()
}

/// Whether a setting is a user whose secret stands there in clear, as earlier releases wrote it.
#[must_use]
pub fn is_clear_secret(setting: &str, value: &[u8]) -> bool {
    setting.starts_with(PREFIX)
        && serde_json::from_slice::<Record>(value).map_or(!value.is_empty(), |record| record.secret_key.is_some())
}

/// The id of the master key that the secret in a record is sealed with; `None` if it stands in clear.
pub(crate) fn sealed_with(setting: &str, value: &[u8]) -> Result<Option<String>, IamError> {
    Ok(parse(setting, value)?.sealed.map(|sealed| sealed.key))
}

pub(crate) fn encode(user: &User, key_of: &MasterKey, entropy: &dyn Entropy) -> Result<Vec<u8>, IamError> {
    let plain = user.secret_key.expose().as_bytes();
    let sealed = key_of.seal(Purpose::UserSecret, &sealed_under(&user.name), plain, entropy);
    let sealed = Sealed { key: key_of.id().to_string(), secret: hex::encode(sealed) };
    let record = Record {
        version: VERSION,
        name: user.name.clone(),
        access_key: user.access_key.clone(),
        secret_key: None,
        sealed: Some(sealed),
        uid: user.uid,
        gid: user.gid,
        groups: user.groups.clone(),
        admin: user.admin,
        may_make_buckets: Some(user.may_make_buckets),
    };
    serde_json::to_vec(&record).map_err(|err| IamError::Record { key: key(&user.name), why: err.to_string() })
}

fn parse(setting: &str, value: &[u8]) -> Result<Record, IamError> {
    let unreadable = |why: String| IamError::Record { key: setting.to_owned(), why };
    // The parser's own message may quote the value it stumbled over, and that may be a secret: give the place only.
    serde_json::from_slice(value)
        .map_err(|err| unreadable(format!("malformed at line {} column {}", err.line(), err.column())))
}

/// The user in a record. `reset` gives the secret of one that does not open; without it that is an error.
pub(crate) fn decode(
    setting: &str,
    value: &[u8],
    key_of: &MasterKey,
    reset: Option<&dyn Fn() -> SecretKey>,
) -> Result<Stored, IamError> {
    let unreadable = |why: String| IamError::Record { key: setting.to_owned(), why };
    let record = parse(setting, value)?;
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
    let in_clear = record.secret_key.is_some();
    let mut renewed = false;
    let secret_key = match (record.secret_key, record.sealed, before_rights) {
        (Some(clear), None, _) => SecretKey::new(clear),
        (None, Some(sealed), false) => match (open(&record.name, &sealed, key_of), reset) {
            (Ok(secret), _) => secret,
            (Err(_), Some(reset)) => {
                renewed = true;
                reset()
            }
            (Err(why), None) => {
                let (name, sealed_with, key) = (record.name, sealed.key, key_of.id());
                return Err(IamError::Sealed { name, sealed_with, key, why });
            }
        },
        _ => return Err(unreadable("it has no secret, or two".to_owned())),
    };
    let user = User {
        name: record.name,
        access_key: record.access_key,
        secret_key,
        uid: record.uid,
        gid: record.gid,
        groups: record.groups,
        admin: record.admin,
        may_make_buckets: record.may_make_buckets.unwrap_or(false),
    };
    check(&user).map_err(|err| unreadable(err.to_string()))?;
    Ok(Stored { user, in_clear, before_rights, renewed })
}

fn open(name: &str, sealed: &Sealed, key_of: &MasterKey) -> Result<SecretKey, strata_keys::KeyError> {
    let bytes = hex::decode(&sealed.secret).map_err(|_| strata_keys::KeyError::DoesNotOpen)?;
    let plain = key_of.open(Purpose::UserSecret, &sealed_under(name), &bytes)?;
    String::from_utf8(plain).map(SecretKey::new).map_err(|_| strata_keys::KeyError::DoesNotOpen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use strata_seam::SystemEntropy;

    fn key_of() -> MasterKey {
        MasterKey::draw(&SystemEntropy)
    }

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
    fn a_record_reads_back_as_written_and_shows_nothing_of_the_secret() {
        let key_of = key_of();
        let record = encode(&user(), &key_of, &SystemEntropy).unwrap();
        assert!(!String::from_utf8(record.clone()).unwrap().contains("canary"));
        assert!(!is_clear_secret("user/ada", &record));
        let back = decode("user/ada", &record, &key_of, None).unwrap();
        assert_eq!(format!("{:?}", back.user), format!("{:?}", user()));
        assert!(back.user.secret_key.matches("canary-secret") && !back.before_rights && !back.in_clear);
    }

    #[test]
    fn a_record_opens_with_its_key_and_for_its_user_alone() {
        let (key_of_store, other) = (key_of(), key_of());
        let record = encode(&user(), &key_of_store, &SystemEntropy).unwrap();
        let refused = decode("user/ada", &record, &other, None).err().unwrap();
        let (sealed, at_hand) = (key_of_store.id().to_string(), other.id().to_string());
        assert!(refused.to_string().contains(&sealed) && refused.to_string().contains(&at_hand), "{refused}");
        assert_eq!(sealed_with("user/ada", &record).unwrap(), Some(sealed));
        let as_eve = String::from_utf8(record.clone()).unwrap().replace("\"ada\"", "\"eve\"");
        assert!(matches!(decode("user/eve", as_eve.as_bytes(), &key_of_store, None), Err(IamError::Sealed { .. })));
        let renewed = decode("user/ada", &record, &other, Some(&|| SecretKey::new("another-secret"))).unwrap();
        assert!(renewed.renewed && renewed.user.secret_key.matches("another-secret"));
    }

    #[test]
    fn a_record_from_before_there_were_rights_or_keys_is_known_as_such() {
        let old = br#"{"version":1,"name":"ada","access_key":"ADAKEY","secret_key":"canary-secret","uid":0,"gid":0,"groups":[],"admin":false}"#;
        let back = decode("user/ada", old, &key_of(), None).unwrap();
        assert!(back.before_rights && back.in_clear && back.user.uid == 0 && !back.user.may_make_buckets);
        assert!(is_clear_secret("user/ada", old) && !is_clear_secret("other/ada", old));
        assert_eq!(sealed_with("user/ada", old).unwrap(), None);
    }

    #[test]
    fn unknown_fields_and_versions_are_refused() {
        let key_of = key_of();
        let text = String::from_utf8(encode(&user(), &key_of, &SystemEntropy).unwrap()).unwrap();
        for bad in [
            text.replace("\"version\":2", "\"version\":3"),
            text.replace("\"version\":2", "\"version\":1"),
            text.replace(",\"may_make_buckets\":true", ""),
            text.replace("\"uid\"", "\"mfa\":true,\"uid\""),
            text.replace("\"uid\"", "\"secret_key\":\"canary-secret\",\"uid\""),
        ] {
            assert!(bad != text && decode("user/ada", bad.as_bytes(), &key_of, None).is_err(), "{bad}");
        }
        assert!(decode("user/eve", text.as_bytes(), &key_of, None).is_err());
    }

    #[test]
    fn a_damaged_record_does_not_put_the_secret_into_the_error() {
        let bad = r#"{"version":1,"name":"ada","access_key":"ADAKEY","secret_key":"x","uid":"canary-secret","gid":0,"groups":[],"admin":false}"#;
        assert!(
            !format!("{:?}", decode("user/ada", bad.as_bytes(), &key_of(), None).err().unwrap()).contains("canary")
        );
    }

    proptest! {
        #[test]
        fn a_record_with_bytes_in_place_of_others_is_refused_or_read_alike_when_written_again(
            at: prop::sample::Index,
            taken in 0_usize..4,
            given in proptest::collection::vec(prop_oneof![Just(b'0'), Just(b','), Just(b'"'), any::<u8>()], 0..4),
        ) {
            let key_of = key_of();
            let mut record = encode(&user(), &key_of, &SystemEntropy).unwrap();
            let from = at.index(record.len());
            let to = record.len().min(from + taken);
            record.splice(from..to, given);
            if let Ok(read) = decode("user/ada", &record, &key_of, None) {
                let again = encode(&read.user, &key_of, &SystemEntropy).unwrap();
                let again = decode("user/ada", &again, &key_of, None).unwrap();
                prop_assert_eq!(format!("{:?}", again.user), format!("{:?}", read.user));
                prop_assert!(read.user.secret_key.matches("canary-secret"), "what is sealed cannot be changed");
                prop_assert!(!is_clear_secret("user/ada", &record));
            }
        }
    }
}
