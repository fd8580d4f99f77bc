//! One user, and what a user may be called.

use std::sync::Arc;

use strata_namespace::{Caller, Door};

use crate::{IamError, SecretKey};

/// Longest user name, access key and secret key in bytes.
const FIELD_LEN_MAX: usize = 128;
/// Shortest given access key in bytes.
const ACCESS_KEY_LEN_MIN: usize = 3;
/// Shortest given secret key in bytes.
const SECRET_KEY_LEN_MIN: usize = 8;
/// Most supplementary groups of one user, as many as NFS can carry.
const GROUPS_MAX: usize = 16;

/// A user as the doors know one.
#[derive(Clone, Debug)]
pub struct User {
    /// Unique name, also the WebDAV login.
    pub name: String,
    /// Unique access key of S3.
    pub access_key: String,
    /// Secret key of S3, and the WebDAV password.
    pub secret_key: SecretKey,
    /// User id that files are owned by and mode bits are checked against.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Supplementary groups, at most 16.
    pub groups: Vec<u32>,
    /// Whether the user passes every check and may manage other users.
    pub admin: bool,
    /// Whether the user may make buckets; an administrator may in any case.
    pub may_make_buckets: bool,
}

impl User {
    /// The caller that the name space sees behind a request of this user. An administrator passes every mode check and owns what they
    /// make like anybody else. The uid only says who owns what: 0 is a number like others.
    #[must_use]
    pub fn caller(&self, door: &'static Door) -> Caller {
        let caller = Caller::new(self.uid, self.gid, Arc::from(self.groups.as_slice()), door);
        let may_make_buckets = self.admin || self.may_make_buckets;
        Caller { superuser: self.admin, user: Some(self.name.as_str().into()), may_make_buckets, ..caller }
    }
}

/// A user to create. Keys left out are drawn at random.
#[derive(Clone, Debug, Default)]
pub struct NewUser {
    /// Unique name: 1 to 128 of letters, digits and `. _ @ -`, not starting with a dot.
    pub name: String,
    /// Access key: 3 to 128 letters, digits and `. _ -`.
    pub access_key: Option<String>,
    /// Secret key: 8 to 128 printable ASCII characters without spaces.
    pub secret_key: Option<SecretKey>,
    /// User id; one that nobody has or had, from 100000, if none is given.
    pub uid: Option<u32>,
    /// Primary group; the user's own, of the same number as the uid, if none is given.
    pub gid: Option<u32>,
    /// Supplementary groups, at most 16.
    pub groups: Vec<u32>,
    /// Whether the user is an administrator.
    pub admin: bool,
    /// Whether the user may make buckets.
    pub may_make_buckets: bool,
}

/// Checks every field of a user about to be stored or just read.
pub(crate) fn check(user: &User) -> Result<(), IamError> {
    let invalid = |field, rule| Err(IamError::Invalid { field, rule });
    let plain = |text: &str, more: &[u8]| text.bytes().all(|c| c.is_ascii_alphanumeric() || more.contains(&c));
    if !(1..=FIELD_LEN_MAX).contains(&user.name.len()) || !plain(&user.name, b"._@-") || user.name.starts_with('.') {
        return invalid("name", "1 to 128 letters, digits and . _ @ -, not starting with a dot");
    }
    // A slash would end the access key early in a signature's credential scope, a comma the whole scope.
    if !(ACCESS_KEY_LEN_MIN..=FIELD_LEN_MAX).contains(&user.access_key.len()) || !plain(&user.access_key, b"._-") {
        return invalid("access key", "3 to 128 letters, digits and . _ -");
    }
    let secret = user.secret_key.expose();
    if !(SECRET_KEY_LEN_MIN..=FIELD_LEN_MAX).contains(&secret.len()) || !secret.bytes().all(|c| c.is_ascii_graphic()) {
        return invalid("secret key", "8 to 128 printable ASCII characters without spaces");
    }
    if user.groups.len() > GROUPS_MAX {
        return invalid("list of groups", "at most 16");
    }
    Ok(())
}
