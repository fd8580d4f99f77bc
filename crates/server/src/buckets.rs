//! `strata bucket`: through the running server, or on the store itself where none runs.

use std::process::ExitCode;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use strata_namespace::{BucketInfo, Caller, Door, Durability, Namespace, Op};

use crate::cli::BucketAction;
use crate::config::StoreConfig;
use crate::control;
use crate::greeting::{plain_table, say};
use crate::lock::StoreLock;
use crate::store::OpenStore;

/// A change or question about buckets, as it goes to the server.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum BucketRequest {
    /// All of them.
    List,
    /// One of them.
    Show {
        /// Its name.
        name: String,
    },
    /// Another mode for what is made in it.
    Set {
        /// Its name.
        name: String,
        /// The mode.
        mode: u32,
    },
}

/// A bucket as it is shown.
#[derive(Serialize, Deserialize)]
struct Shown {
    name: String,
    /// Octal, as people write it.
    mode: String,
    uid: u32,
    durability: String,
}

impl From<BucketInfo> for Shown {
    fn from(info: BucketInfo) -> Self {
        let durability = match info.durability {
            Durability::Strict => "strict",
            Durability::Relaxed => "relaxed",
        };
        Self { name: info.name, mode: format!("{:03o}", info.mode), uid: info.uid, durability: durability.to_owned() }
    }
}

/// A mode as people write it.
pub(crate) fn parse_mode(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).map_err(|_| "a mode is an octal number such as 640".to_owned())?;
    strata_namespace::check_object_mode(mode).map(|()| mode)
}

/// Carries out a request. What it changed is durable when it returns.
///
/// # Errors
/// The name space's own refusals: nothing was changed then.
pub(crate) fn apply(namespace: &Namespace, request: BucketRequest) -> anyhow::Result<Value> {
    let op = Op::new(Caller::root(Door::Admin));
    let answer = match request {
        BucketRequest::List => json!(namespace.buckets(&op)?.into_iter().map(Shown::from).collect::<Vec<_>>()),
        BucketRequest::Show { name } => json!(Shown::from(namespace.bucket(&op, &name)?)),
        BucketRequest::Set { name, mode } => json!(Shown::from(namespace.set_bucket_mode(&op, &name, mode)?)),
    };
    namespace.settle_blocking(&op).context("the change is not known to be durable; show the bucket to see")?;
    Ok(answer)
}

/// `strata bucket`.
///
/// # Errors
/// No store, no right to it, or the name space's own refusals.
pub(crate) fn run(config: &StoreConfig, action: BucketAction) -> anyhow::Result<ExitCode> {
    let (request, json) = match action {
        BucketAction::List { json } => (BucketRequest::List, json),
        BucketAction::Show { name, json } => (BucketRequest::Show { name }, json),
        BucketAction::Set { name, mode, json } => (BucketRequest::Set { name, mode }, json),
    };
    let answer = if StoreLock::holder(&config.data).is_some() {
        control::ask(&config.data, &control::Request::Bucket(request))?
    } else {
        OpenStore::at_rest(config, |store| apply(store.namespace(), request))?
    };
    if json {
        say(&format!("{}\n", serde_json::to_string_pretty(&answer)?));
        return Ok(ExitCode::SUCCESS);
    }
    let shown: Vec<Shown> =
        serde_json::from_value(if answer.is_array() { answer } else { Value::Array(vec![answer]) })?;
    let mut table = plain_table(&["bucket", "mode of objects", "owner's uid", "durability"]);
    for bucket in shown {
        table.add_row([bucket.name, bucket.mode, bucket.uid.to_string(), bucket.durability]);
    }
    say(&format!("{table}\n"));
    Ok(ExitCode::SUCCESS)
}
