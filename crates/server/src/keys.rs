//! `DIR/master.key` and `strata keys`: the key that seals the secrets of users. It is not on the disks on which these are stored.
//!
//! Invariants: the key is on its medium before anything is sealed with it; a key is never overwritten by another one; and without it no
//! server starts, since no user could log in. The data is not sealed with it.

pub(crate) mod messages;

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use serde::Serialize;
use strata_iam::{CLEAR_LEFT, User, Users};
use strata_keys::{KeyId, MasterKey};
use strata_namespace::{Namespace, Op};
use strata_seam::SystemEntropy;

use crate::cli::KeysAction;
use crate::config::StoreConfig;
use crate::control;
use crate::control::messages::Request;
use crate::doors_file::write_private;
use crate::greeting::{plain_table, say, say_json};
use crate::lock::StoreLock;
use crate::operation::op_of;
use crate::store::OpenStore;
use messages::{ClearSecrets, KeyStatus};

/// Longest file that is read as a key, in bytes.
const LEN_MAX: u64 = 4096;

/// Where the key of the store in `data` is.
pub(crate) fn path(data: &Path) -> PathBuf {
    data.join("master.key")
}

/// The key in a file; `None` where there is no such file.
///
/// # Errors
/// It cannot be read, or is no key.
fn read(path: &Path) -> anyhow::Result<Option<MasterKey>> {
    let bytes = match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Ok(found) if found.len() > LEN_MAX => bail!("{} is no master key of a store: it is too long", path.display()),
        _ => std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?,
    };
    let key = MasterKey::decode(&bytes).with_context(|| format!("{} cannot be used", path.display()))?;
    Ok(Some(key))
}

/// The master key of an open store; drawn, and on its medium, where nothing is sealed yet.
///
/// # Errors
/// It is not there or not the right one, with the way back.
pub(crate) fn of_store(data: &Path, namespace: &Namespace) -> anyhow::Result<MasterKey> {
    let op = op_of("keys");
    let sealed = Users::sealed_with(&op, namespace)?;
    let way_back = || {
        format!(
            "no user can log in without the store's master key; the data is intact and needs no key; put {} back with \
             `strata keys restore FILE`; if no copy is left, `strata keys reset` makes a new key and new secrets for all users",
            path(data).display()
        )
    };
    let found = read(&path(data)).with_context(way_back)?;
    match found {
        Some(key) => {
            let ours = key.id().to_string();
            let others: Vec<&String> = sealed.keys().filter(|id| **id != ours).collect();
            if let Some(other) = others.first() {
                let why = format!("{} holds the key {ours}, and secrets are sealed with {other}", path(data).display());
                return Err(anyhow::anyhow!(why).context(way_back()));
            }
            Ok(key)
        }
        None if sealed.is_empty() => {
            let key = MasterKey::draw(&SystemEntropy);
            write(data, &key)?;
            tracing::info!(key = %key.id(), "a master key was made; keep a copy of it elsewhere: strata keys backup FILE");
            Ok(key)
        }
        None => Err(anyhow::anyhow!("{} is not there", path(data).display()).context(way_back())),
    }
}

/// Puts a key in its place, whole and durable. One that lies there already is kept under another name.
fn write(data: &Path, key: &MasterKey) -> anyhow::Result<()> {
    let path = path(data);
    if path.exists() {
        let free = (1..).map(|n| data.join(format!("master.key.old-{n}"))).find(|free| !free.exists());
        let free = free.context("there is no name left for the old key")?;
        std::fs::rename(&path, &free).with_context(|| format!("{} cannot be kept", path.display()))?;
        tracing::info!(kept = %free.display(), "the key that was there before is kept");
    }
    write_private(&path, &key.encode())
}

/// Reads the users of an open store, with its key.
///
/// # Errors
/// Those of [`of_store`] and of the users.
pub(crate) fn open_users(data: &Path, namespace: &Arc<Namespace>, op: &Op) -> anyhow::Result<Users> {
    let key = of_store(data, namespace)?;
    Ok(Users::open(op, Arc::clone(namespace), key, Arc::new(SystemEntropy))?)
}

/// A key that was copied, or put back.
#[derive(Serialize)]
struct KeyAt<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a Path>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<PathBuf>,
    key: String,
}

/// A key that was made anew.
#[derive(Serialize)]
struct KeyReset<'a> {
    key: String,
    users: Vec<UserReset<'a>>,
}

/// A user with the new secret.
#[derive(Serialize)]
struct UserReset<'a> {
    name: &'a str,
    access_key: &'a str,
    secret_key: &'a str,
}

/// Looks at the key and at what is sealed with it.
///
/// # Errors
/// Reading the store.
pub(crate) fn show(data: &Path, namespace: &Namespace) -> anyhow::Result<KeyStatus> {
    let op = op_of("keys");
    let sealed = Users::sealed_with(&op, namespace)?;
    let (key, trouble) = match read(&path(data)) {
        Ok(key) => (key, None),
        Err(error) => (None, Some(format!("{error:#}"))),
    };
    let id = key.as_ref().map(|key| key.id().to_string());
    let opens = id.as_ref().and_then(|id| sealed.get(id)).copied().unwrap_or(0);
    let left = namespace.setting(&op, CLEAR_LEFT)?.is_some();
    Ok(KeyStatus {
        path: path(data),
        key: id,
        trouble,
        secrets: sealed.values().sum(),
        opens,
        clear_secrets: if left { ClearSecrets::BeingErased } else { ClearSecrets::None },
    })
}

/// `strata keys`.
///
/// # Errors
/// No store, no key, or no right to them.
pub(crate) fn run(config: &StoreConfig, action: KeysAction, json: bool) -> anyhow::Result<ExitCode> {
    let data = &config.data;
    match action {
        KeysAction::Show => {
            let shown = if StoreLock::holder(data).is_some() {
                control::ask::<KeyStatus>(data, &Request::Keys)?
            } else {
                OpenStore::at_rest_to_tell(config, |store| show(data, store.namespace()))?
            };
            tell(json, &shown, &in_words(&shown))?;
            let well = shown.key.is_some() && shown.opens == shown.secrets;
            return Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        KeysAction::Backup { file } => {
            let key = read(&path(data))?.with_context(|| format!("{} is not there", path(data).display()))?;
            if file.exists() {
                ensure!(
                    !is_same_file(&file, &path(data))?,
                    "{} is the key that the store uses, no copy of it; nothing was written; name a file apart from the store",
                    file.display()
                );
                let same = read(&file).ok().flatten().is_some_and(|there| there.encode() == key.encode());
                ensure!(
                    same,
                    "{} is there already and is no copy of the key {}; nothing was written; name another file",
                    file.display(),
                    key.id()
                );
                return told_of_copy(json, &file, &key);
            }
            let mut copy = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file);
            let written = copy.as_mut().map(|copy| copy.write_all(&key.encode()).and_then(|()| copy.sync_all()));
            match written {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(error).with_context(|| format!("{} cannot be written", file.display())),
                Err(error) => bail!("{} cannot be made: {error}", file.display()),
            }
            return told_of_copy(json, &file, &key);
        }
        KeysAction::Restore { file } => {
            let key = read(&file)?.with_context(|| format!("{} is not there", file.display()))?;
            let id = key.id();
            OpenStore::at_rest(config, |store| restore(data, store.namespace(), &key))?;
            let words = format!("{} holds the key {id} again\n", path(data).display());
            tell(json, &KeyAt { file: None, path: Some(path(data)), key: id.to_string() }, &words)?;
        }
        KeysAction::Reset { yes } => {
            let (id, renewed) = OpenStore::at_rest(config, |store| reset(data, store.namespace(), yes))?;
            let mut table = plain_table(&["user", "access key", "secret key"]);
            for user in &renewed {
                table.add_row([user.name.as_str(), user.access_key.as_str(), user.secret_key.expose()]);
            }
            let words = format!(
                "the key is {id} now\n{table}\nThe secrets are shown only now. Keep a copy of the key: strata keys backup FILE\n"
            );
            let users = renewed.iter().map(|user| UserReset {
                name: &user.name,
                access_key: &user.access_key,
                secret_key: user.secret_key.expose(),
            });
            tell(json, &KeyReset { key: id.to_string(), users: users.collect() }, &words)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn tell(json: bool, shown: &impl Serialize, words: &str) -> anyhow::Result<()> {
    if json {
        return say_json(shown);
    }
    say(words);
    Ok(())
}

/// Whether two paths lead to one file, by links too.
fn is_same_file(one: &Path, other: &Path) -> anyhow::Result<bool> {
    let file_of = |path: &Path| {
        let there = std::fs::metadata(path).with_context(|| format!("{} cannot be looked at", path.display()))?;
        anyhow::Ok((there.dev(), there.ino()))
    };
    Ok(file_of(one)? == file_of(other)?)
}

fn told_of_copy(json: bool, file: &Path, key: &MasterKey) -> anyhow::Result<ExitCode> {
    let words = format!("{} is a copy of the key {}; keep it apart from the disks\n", file.display(), key.id());
    tell(json, &KeyAt { file: Some(file), path: None, key: key.id().to_string() }, &words)?;
    Ok(ExitCode::SUCCESS)
}

fn in_words(shown: &KeyStatus) -> String {
    let key = match (&shown.key, &shown.trouble) {
        (Some(key), _) => key,
        (None, Some(trouble)) => trouble,
        (None, None) => "is not there; put it back with `strata keys restore FILE`",
    };
    let mut words = format!("file     {}\nkey      {key}\n", shown.path.display());
    words.push_str(&format!("opens    {} of {} secrets of users\n", shown.opens, shown.secrets));
    if shown.clear_secrets == ClearSecrets::BeingErased {
        words.push_str("traces   of secrets that an earlier release kept in clear are being erased from the log\n");
    }
    words
}

/// Puts a key back that opens what is sealed.
fn restore(data: &Path, namespace: &Namespace, key: &MasterKey) -> anyhow::Result<()> {
    let op = op_of("keys");
    let id = key.id().to_string();
    if let Some(other) = Users::sealed_with(&op, namespace)?.keys().find(|sealed| **sealed != id) {
        bail!("this is the key {id}, and secrets of this store are sealed with {other}; nothing was changed");
    }
    match read(&path(data)) {
        Ok(Some(present)) if present.encode() == key.encode() => Ok(()),
        _ => write(data, key),
    }
}

/// A new key, and a new secret for every user whose secret does not open.
fn reset(data: &Path, namespace: &Arc<Namespace>, yes: bool) -> anyhow::Result<(KeyId, Vec<Arc<User>>)> {
    let op = op_of("keys");
    let sealed = Users::sealed_with(&op, namespace)?;
    let present = read(&path(data)).ok().flatten();
    let lost: u64 = {
        let ours = present.as_ref().map(|key| key.id().to_string());
        sealed.iter().filter(|(id, _)| Some(*id) != ours.as_ref()).map(|(_, users)| users).sum()
    };
    ensure!(
        lost > 0,
        "every secret opens with the key that is there; nothing was changed; `strata user rotate` renews one"
    );
    ensure!(
        yes,
        "{lost} users would get new secrets, and the old ones would be lost for ever, also with the right key; nothing was changed; \
         say --yes if no copy of the key is left"
    );
    // A key that is there may be of a reset that was cut off: users who have their new secret keep it.
    let key = match present {
        Some(key) => key,
        None => {
            let key = MasterKey::draw(&SystemEntropy);
            write(data, &key)?;
            key
        }
    };
    let id = key.id();
    let renewed = Users::reset(&op, Arc::clone(namespace), key, Arc::new(SystemEntropy))?;
    namespace.settle_blocking(&op).context("the new secrets are not known to be durable; do it again")?;
    Ok((id, renewed))
}
