//! What `strata user` asks, and what is shown of a user.

use serde::{Deserialize, Serialize};
use strata_iam::User;

/// A change or question about users, as it goes to the server.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum UserRequest {
    /// A new user, with generated keys.
    Add {
        /// Its name.
        name: String,
        /// Who owns what it makes; a number of its own if not said.
        uid: Option<u32>,
        /// The group of what it makes; one of its own if not said.
        gid: Option<u32>,
        /// Whether it passes every check and manages users.
        admin: bool,
        /// Whether it may make buckets.
        may_make_buckets: bool,
    },
    /// Another right.
    Set {
        /// Its name.
        name: String,
        /// Whether it may make buckets.
        may_make_buckets: bool,
    },
    /// Everybody, without secrets.
    List,
    /// No such user any more.
    Remove {
        /// Its name.
        name: String,
    },
    /// A new secret key in place of the old.
    Rotate {
        /// Its name.
        name: String,
    },
}

/// What is answered, as `--json` shows it.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum UserAnswer {
    /// Everybody.
    Users(Vec<Shown>),
    /// A user who was removed.
    Removed {
        /// The user's name.
        removed: String,
    },
    /// The user who was made or changed.
    User(Shown),
}

/// A user without the secret.
#[derive(Serialize, Deserialize)]
pub(crate) struct Shown {
    pub(super) name: String,
    pub(super) access_key: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) admin: bool,
    pub(super) may_make_buckets: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) secret_key: Option<String>,
}

impl Shown {
    pub(super) fn of(user: &User, with_secret: bool) -> Self {
        Self {
            name: user.name.clone(),
            access_key: user.access_key.clone(),
            uid: user.uid,
            gid: user.gid,
            admin: user.admin,
            may_make_buckets: user.may_make_buckets,
            secret_key: with_secret.then(|| user.secret_key.expose().to_owned()),
        }
    }
}
