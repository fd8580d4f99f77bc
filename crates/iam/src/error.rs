//! What can go wrong with users. No message carries a secret.

/// An error about users.
#[derive(Debug, thiserror::Error)]
pub enum IamError {
    /// The name is taken.
    #[error("a user named {name:?} exists already; nothing was changed; choose another name")]
    NameTaken {
        /// The name asked for.
        name: String,
    },
    /// The access key is taken.
    #[error("access key {access_key:?} belongs to another user; nothing was changed; choose another one")]
    AccessKeyTaken {
        /// The access key asked for.
        access_key: String,
    },
    /// No user of this name.
    #[error("there is no user named {name:?}; nothing was changed")]
    NoSuchUser {
        /// The name asked for.
        name: String,
    },
    /// Removing this user would leave the store without an administrator.
    #[error("{name:?} is the last administrator; nothing was changed; create another administrator first")]
    LastAdmin {
        /// The administrator's name.
        name: String,
    },
    /// An administrator may make buckets in any case.
    #[error("{name:?} is an administrator, who may make buckets in any case; nothing was changed")]
    AdminsMay {
        /// The administrator's name.
        name: String,
    },
    /// No uid is left to give.
    #[error("the store has no user id left to give; nothing was changed; name one with --uid")]
    NoUid,
    /// A field that cannot be held.
    #[error("the {field} is not acceptable: {rule}; nothing was changed")]
    Invalid {
        /// Which field.
        field: &'static str,
        /// What it has to look like.
        rule: &'static str,
    },
    /// The store holds more users than this program serves.
    #[error("the store holds {limit} users, which is the limit; nothing was changed; remove one first")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// A stored record cannot be read: it is damaged or a newer release wrote it.
    #[error(
        "the user record {key:?} cannot be read: {why}; it was left as it is; use the release that wrote it or remove the record"
    )]
    Record {
        /// The setting's key.
        key: String,
        /// What is wrong with it; never its content.
        why: String,
    },
    /// The secret of a user does not open.
    #[error(
        "the secret of the user {name:?} is sealed with the master key {sealed_with} and does not open with {key}; \
         nothing was changed; put the right key back with `strata keys restore`"
    )]
    Sealed {
        /// The user's name.
        name: String,
        /// Id of the key that the secret says it is sealed with.
        sealed_with: String,
        /// Id of the key at hand.
        key: strata_keys::KeyId,
        /// Why.
        #[source]
        why: strata_keys::KeyError,
    },
    /// The name space failed.
    #[error("the store did not take or give the user records")]
    Store(#[source] strata_namespace::Error),
}
