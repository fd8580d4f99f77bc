//! `strata user`: through the running server, or on the store itself where none runs.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use strata_iam::{NewUser, User, Users};
use strata_namespace::{Caller, Door, Namespace, Op};
use strata_seam::SystemEntropy;

use crate::cli::UserAction;
use crate::config::StoreConfig;
use crate::control;
use crate::greeting::{plain_table, say};
use crate::lock::StoreLock;
use crate::store::OpenStore;

/// A change or question about users, as it goes to the server.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum UserRequest {
    /// A new user, with generated keys.
    Add {
        /// Its name.
        name: String,
        /// Who owns what it makes.
        uid: u32,
        /// The group of what it makes.
        gid: u32,
        /// Whether it passes every check and manages users.
        admin: bool,
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

/// A user without the secret.
#[derive(Serialize, Deserialize)]
struct Shown {
    name: String,
    access_key: String,
    uid: u32,
    gid: u32,
    admin: bool,
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
            secret_key: with_secret.then(|| user.secret_key.expose().to_owned()),
        }
    }
}

/// Carries out a request. What it changed is durable when it returns.
///
/// # Errors
/// The users' own refusals: nothing was changed then.
pub(crate) fn apply(namespace: &Namespace, users: &Users, request: UserRequest) -> anyhow::Result<Value> {
    let op = Op::new(Caller::root(Door::Admin));
    let answer = match request {
        UserRequest::Add { name, uid, gid, admin } => {
            let new = NewUser { name, uid, gid, admin, ..NewUser::default() };
            json!(Shown::of(&*users.create(&op, new, &SystemEntropy)?, true))
        }
        UserRequest::List => {
            json!(users.list().iter().map(|user| Shown::of(user, false)).collect::<Vec<_>>())
        }
        UserRequest::Remove { name } => {
            users.remove(&op, &name)?;
            json!({ "removed": name })
        }
        UserRequest::Rotate { name } => json!(Shown::of(&*users.rotate_secret(&op, &name, &SystemEntropy)?, true)),
    };
    namespace.settle_blocking(&op).context("the change is not known to be durable; list the users to see")?;
    Ok(answer)
}

/// `strata user`.
///
/// # Errors
/// No store, no right to it, or the users' own refusals.
pub(crate) fn run(config: &StoreConfig, action: UserAction) -> anyhow::Result<ExitCode> {
    let (request, json) = match action {
        UserAction::Add { name, uid, gid, admin } => {
            let uid = uid.unwrap_or_else(|| rustix::process::getuid().as_raw());
            let gid = gid.unwrap_or_else(|| rustix::process::getgid().as_raw());
            (UserRequest::Add { name, uid, gid, admin }, false)
        }
        UserAction::List { json } => (UserRequest::List, json),
        UserAction::Remove { name } => (UserRequest::Remove { name }, false),
        UserAction::Rotate { name } => (UserRequest::Rotate { name }, false),
    };
    let answer = if StoreLock::holder(&config.data).is_some() {
        control::ask(&config.data, &control::Request::User(request))?
    } else {
        on_store(config, request)?
    };
    if json {
        say(&format!("{}\n", serde_json::to_string_pretty(&answer)?));
    } else {
        say(&in_words(answer)?);
    }
    Ok(ExitCode::SUCCESS)
}

/// The same on a store that nobody serves.
fn on_store(config: &StoreConfig, request: UserRequest) -> anyhow::Result<Value> {
    let mut lock = StoreLock::of_existing(&config.data)?;
    let store = OpenStore::open_existing(config, &mut lock)?;
    let answer = Users::open(Arc::clone(store.namespace()))
        .map_err(anyhow::Error::from)
        .and_then(|users| apply(store.namespace(), &users, request));
    let closed = store.close();
    let answer = answer?;
    closed?;
    Ok(answer)
}

fn in_words(answer: Value) -> anyhow::Result<String> {
    if let Some(name) = answer.get("removed").and_then(Value::as_str) {
        return Ok(format!("user {name} is removed\n"));
    }
    if answer.is_array() {
        let users: Vec<Shown> = serde_json::from_value(answer)?;
        let mut table = plain_table(&["user", "access key", "uid", "gid", "admin"]);
        for user in users {
            let admin = if user.admin { "yes" } else { "no" };
            table.add_row([user.name, user.access_key, user.uid.to_string(), user.gid.to_string(), admin.to_owned()]);
        }
        return Ok(format!("{table}\n"));
    }
    let user: Shown = serde_json::from_value(answer)?;
    Ok(format!(
        "user        {}\naccess key  {}\nsecret key  {}\n\nThe secret is also the WebDAV password. It is shown only now.\n",
        user.name,
        user.access_key,
        user.secret_key.unwrap_or_default()
    ))
}
