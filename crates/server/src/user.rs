//! `strata user`: through the running server, or on the store itself where none runs.

pub(crate) mod messages;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use strata_iam::{NewUser, Users};
use strata_namespace::Namespace;
use strata_seam::SystemEntropy;

use crate::cli::UserAction;
use crate::config::StoreConfig;
use crate::control;
use crate::control::messages::Request;
use crate::greeting::{plain_table, say, say_json};
use crate::lock::StoreLock;
use crate::operation::op_of;
use crate::store::OpenStore;
use messages::{Shown, UserAnswer, UserRequest};

/// Of the files of uid 0, this many names are shown per bucket.
const OWNED_SHOWN: usize = 20;

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
        control::ask(&config.data, &Request::User(request))?
    } else {
        let only_tells = matches!(request, UserRequest::List);
        let act = |store: &OpenStore| apply(store.namespace(), &*open(&config.data, store.namespace())?, request);
        if only_tells { OpenStore::at_rest_to_tell(config, act)? } else { OpenStore::at_rest(config, act)? }
    };
    if json {
        say_json(&answer)?;
    } else {
        say(&in_words(answer));
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads the users of an open store, and reports changes to those of an earlier release.
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
                "this user had uid 0, which made any user an administrator; the user has a new uid now. Files made with uid 0 still belong to uid 0; `chown` at the mount changes that"
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
