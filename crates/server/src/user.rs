//! `strata user`: through the running server, or on the store itself where none runs.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use strata_iam::{NewUser, User, Users};
use strata_namespace::Namespace;
use strata_seam::SystemEntropy;

use crate::cli::UserAction;
use crate::config::StoreConfig;
use crate::control;
use crate::greeting::{plain_table, say, say_json};
use crate::lock::StoreLock;
use crate::operation::op_of;
use crate::store::OpenStore;

/// Of what belongs to uid 0, this many names are shown per bucket.
const OWNED_SHOWN: usize = 20;

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
    /// Somebody who is no more.
    Removed {
        /// Whose name it was.
        removed: String,
    },
    /// Who was made or changed.
    User(Shown),
}

/// A user without the secret.
#[derive(Serialize, Deserialize)]
pub(crate) struct Shown {
    name: String,
    access_key: String,
    uid: u32,
    gid: u32,
    admin: bool,
    may_make_buckets: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret_key: Option<String>,
}

impl Shown {
    fn of(user: &User, with_secret: bool) -> Self {
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

/// Carries out a request. What it changed is durable when it returns.
///
/// # Errors
/// The users' own refusals: nothing was changed then.
pub(crate) fn apply(namespace: &Namespace, users: &Users, request: UserRequest) -> anyhow::Result<UserAnswer> {
    let op = op_of("user");
    let answer = match request {
        UserRequest::Add { name, uid, gid, admin, may_make_buckets } => {
            let new = NewUser { name, uid, gid, admin, may_make_buckets, ..NewUser::default() };
            UserAnswer::User(Shown::of(&*users.create(&op, new, &SystemEntropy)?, true))
        }
        UserRequest::List => UserAnswer::Users(users.list().iter().map(|user| Shown::of(user, false)).collect()),
        UserRequest::Remove { name } => {
            users.remove(&op, &name)?;
            UserAnswer::Removed { removed: name }
        }
        UserRequest::Set { name, may_make_buckets } => {
            UserAnswer::User(Shown::of(&*users.set_may_make_buckets(&op, &name, may_make_buckets)?, false))
        }
        UserRequest::Rotate { name } => {
            UserAnswer::User(Shown::of(&*users.rotate_secret(&op, &name, &SystemEntropy)?, true))
        }
    };
    namespace.settle_blocking(&op).context("the change is not known to be durable; list the users to see")?;
    Ok(answer)
}

/// `strata user`.
///
/// # Errors
/// No store, no right to it, or the users' own refusals.
pub(crate) fn run(config: &StoreConfig, action: UserAction, json: bool) -> anyhow::Result<ExitCode> {
    let request = match action {
        UserAction::Add { name, uid, gid, admin, may_make_buckets } => {
            UserRequest::Add { name, uid, gid, admin, may_make_buckets }
        }
        UserAction::Set { name, may_make_buckets } => UserRequest::Set { name, may_make_buckets },
        UserAction::List => UserRequest::List,
        UserAction::Remove { name } => UserRequest::Remove { name },
        UserAction::Rotate { name } => UserRequest::Rotate { name },
    };
    let answer = if StoreLock::holder(&config.data).is_some() {
        control::ask(&config.data, &control::Request::User(request))?
    } else {
        OpenStore::at_rest(config, |store| apply(store.namespace(), &*open(&config.data, store.namespace())?, request))?
    };
    if json {
        say_json(&answer)?;
    } else {
        say(&in_words(answer));
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads the users of an open store, and tells what became of those of an earlier release.
///
/// # Errors
/// Users that cannot be read, or whose new records are not known to be durable.
pub(crate) fn open(data: &Path, namespace: &Arc<Namespace>) -> anyhow::Result<Arc<Users>> {
    let op = op_of("user");
    let users = crate::keys::open_users(data, namespace, &op)?;
    namespace.settle_blocking(&op)?;
    if !users.renumbered().is_empty() {
        for user in users.renumbered() {
            tracing::warn!(
                user = user.name,
                uid = user.uid,
                "this user had uid 0, which made an administrator of everybody; the user has a uid of their own now. What was \
                 made with uid 0 stays the administrator's; `chown` at the mount gives it back"
            );
        }
        for owned in namespace.owned_by(&op, 0, OWNED_SHOWN)? {
            tracing::warn!(bucket = owned.bucket, things = owned.count, first = ?owned.first, "what belongs to uid 0");
        }
    }
    Ok(Arc::new(users))
}

fn in_words(answer: UserAnswer) -> String {
    let user = match answer {
        UserAnswer::Removed { removed } => return format!("user {removed} is removed\n"),
        UserAnswer::Users(users) => {
            let mut table = plain_table(&["user", "access key", "uid", "gid", "admin", "may make buckets"]);
            for user in users {
                let yes = |yes| if yes { "yes" } else { "no" }.to_owned();
                let (uid, gid) = (user.uid.to_string(), user.gid.to_string());
                table.add_row([user.name, user.access_key, uid, gid, yes(user.admin), yes(user.may_make_buckets)]);
            }
            return format!("{table}\n");
        }
        UserAnswer::User(user) => user,
    };
    let Some(secret_key) = user.secret_key else {
        let may = if user.may_make_buckets { "may" } else { "may not" };
        return format!("user {} {may} make buckets\n", user.name);
    };
    format!(
        "user        {}\naccess key  {}\nsecret key  {secret_key}\nuid         {}\n\nThe secret is also the WebDAV password. It is shown only now.\n",
        user.name, user.access_key, user.uid,
    )
}
