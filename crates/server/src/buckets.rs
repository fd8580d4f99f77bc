//! `strata bucket`: through the running server, or on the store itself if no server runs.
//!
//! Each action is one commit, except removing a bucket with its content. That takes many steps, and ends when the command ends.

pub(crate) mod messages;
pub(crate) mod mode;
mod words;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use strata_iam::Users;
use strata_namespace::{
    ALIAS_MARK, BucketInfo, BucketUse, Caller, Durability, ErrorKind, NAME_LEN_MAX, Namespace, OBJECT_MODE_DEFAULT, Op,
    ROOT_INO, RenameMode, STORE, Usage, UsageOf,
};

use crate::bar;
use crate::cli::BucketAction;
use crate::config::{ByteSize, DurabilityClass, StoreConfig};
use crate::control::messages::{Progress, Request};
use crate::control::{self, Tell};
use crate::greeting::{plain_table, say, say_json};
use crate::interrupt::Interrupt;
use crate::lock::StoreLock;
use crate::operation::{op_as, op_of};
use crate::store::OpenStore;
use messages::{BucketAnswer, BucketRequest, Removal, Removed, Shown};
use words::{check_unused, in_the_way, missing, printable, shortened, taken, unchanged};

/// Most characters of a name that a refusal says again.
const SHOWN_LEN_MAX: usize = 63;

impl Shown {
    fn of(namespace: &Namespace, info: BucketInfo) -> anyhow::Result<Self> {
        let Usage { bytes, inodes } = namespace.usage(UsageOf::Bucket(info.root))?;
        let durability = match info.durability {
            Durability::Strict => "strict",
            Durability::Relaxed => "relaxed",
        };
        Ok(Self {
            name: String::from_utf8(info.folder)
                .ok()
                .filter(|name| !name.is_empty())
                .unwrap_or_else(|| info.name.clone()),
            s3_name: info.name,
            top: info.root == ROOT_INO,
            mode: format!("{:03o}", info.mode),
            uid: info.uid,
            durability: durability.to_owned(),
            bytes,
            inodes,
            renamed_from: None,
        })
    }

    /// Whether a folder has the name that S3 is to call the files at the top by.
    fn is_hidden(&self) -> bool {
        self.top && self.s3_name.ends_with(ALIAS_MARK)
    }
}

fn hidden_in_words(s3_name: &str) -> String {
    format!(
        "a folder at the top has the name that is set for the bucket of the files there, so S3 calls them {s3_name}; rename the folder, or \
         choose another name with the setting `top-bucket`"
    )
}

/// Warns if a folder at the top has the name that S3 is to call the files there by.
///
/// # Errors
/// Reading the store.
pub(crate) fn warn_of_hidden_top(namespace: &Namespace) -> anyhow::Result<()> {
    let op = op_of("bucket");
    match namespace.top(&op) {
        Ok(top) if top.name.ends_with(ALIAS_MARK) => tracing::warn!("{}", hidden_in_words(&top.name)),
        Ok(_) => {}
        // A store that could not be upgraded has no such bucket, and says so itself.
        Err(error) if error.kind == ErrorKind::NoSuchBucket => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

impl Removal {
    /// What is left, and what to do, where it was ended before it was complete. About: others may have made something meanwhile.
    fn left(&self, name: &str) -> String {
        let name = printable(name);
        if self.counting {
            return format!("nothing of bucket '{name}' was removed; give the command again");
        }
        let left = self.total.saturating_sub(self.removed);
        let mut words = format!("about {left} of {} are left in bucket '{name}'", files(self.total));
        if self.uploads > 0 {
            let left = self.uploads.saturating_sub(self.uploads_aborted);
            words.push_str(&format!(", and about {left} of {}", uploads(self.uploads)));
        }
        words + "; the others are gone; give the command again, and it goes on"
    }
}

fn files(count: u64) -> String {
    if count == 1 { "1 file or folder".to_owned() } else { format!("{count} files and folders") }
}

fn uploads(count: u64) -> String {
    if count == 1 { "1 unfinished upload".to_owned() } else { format!("{count} unfinished uploads") }
}

/// Carries out a request. What it changed is durable when it returns. `users` is asked for them where a bucket gets an owner.
///
/// # Errors
/// The name space's own refusals: nothing was changed then, but for what the error says of a removal.
pub(crate) fn apply(
    namespace: &Namespace,
    users: impl FnOnce() -> anyhow::Result<Arc<Users>>,
    request: BucketRequest,
    progress: Tell<'_>,
    stopping: &dyn Fn() -> bool,
) -> anyhow::Result<BucketAnswer> {
    let shown = |info| Shown::of(namespace, info).map(BucketAnswer::Bucket);
    let mut op = op_of("bucket");
    let answer = match request {
        BucketRequest::List => {
            let mut all = namespace.buckets(&op)?;
            if !all.iter().any(BucketInfo::is_top) {
                // S3 lists it once there is something in it.
                all.push(namespace.top(&op)?);
            }
            let all = all.into_iter().map(|info| Shown::of(namespace, info));
            BucketAnswer::Buckets(all.collect::<anyhow::Result<_>>()?)
        }
        BucketRequest::Show { name } => shown(meant(namespace, &op, &name)?)?,
        BucketRequest::Create { name, mode, durability, owner } => {
            check_new(&name)?;
            op = op_as(maker(namespace, &op, users, owner)?, "bucket");
            let class = durability.map(DurabilityClass::class);
            let mode = mode.unwrap_or(OBJECT_MODE_DEFAULT);
            shown(namespace.create_bucket_of_mode(&op, name.as_bytes(), class, mode).map_err(unchanged)?)?
        }
        BucketRequest::Set { name, mode, durability } => {
            let name = meant(namespace, &op, &name)?.name;
            let class = durability.map(DurabilityClass::class);
            shown(namespace.set_bucket(&op, &name, mode, class).map_err(unchanged)?)?
        }
        BucketRequest::Rename { old, new } => {
            check_new(&new)?;
            let bucket = meant(namespace, &op, &old)?;
            ensure!(
                !bucket.is_top(),
                "bucket '{}' has the files at the top of the tree and cannot be removed or renamed; nothing was changed; the setting `top-bucket` changes its name at S3",
                bucket.name
            );
            let (from, to) = ((ROOT_INO, &bucket.folder[..]), (ROOT_INO, new.as_bytes()));
            namespace.rename(&op, from, to, RenameMode::NoReplace).map_err(|error| match error.kind {
                ErrorKind::Exists => taken(&new),
                ErrorKind::NotFound => missing(&old),
                _ => unchanged(error),
            })?;
            let renamed = Shown::of(namespace, namespace.bucket_of_folder(&op, new.as_bytes())?)?;
            BucketAnswer::Bucket(Shown { renamed_from: Some(old), ..renamed })
        }
        BucketRequest::Remove { name: given, yes } => {
            let name = meant(namespace, &op, &given)?.name;
            let hinders = namespace.bucket_use(&op, &name).map_err(unchanged)?;
            if yes {
                remove_whole(namespace, &op, (&given, &name), &hinders, progress, stopping)?
            } else {
                check_unused(&given, &hinders)?;
                namespace.delete_bucket(&op, &name).map_err(|error| match error.kind {
                    // An object came in since the check.
                    ErrorKind::NotEmpty => in_the_way(&error.what),
                    _ => unchanged(error),
                })?;
                BucketAnswer::Removed(Removed { removed: given, names: 0, uploads_aborted: 0 })
            }
        }
    };
    namespace.settle_blocking(&op).context("the change is not known to be durable; list the buckets to see")?;
    // Beside a server a mount may show what was changed; it is told before the command ends.
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.block_on(namespace.told(&op))?;
    }
    Ok(answer)
}

/// The owner of a bucket that is made for a user. An administrator makes it: the user's own right is not checked.
fn maker(
    namespace: &Namespace,
    op: &Op,
    users: impl FnOnce() -> anyhow::Result<Arc<Users>>,
    owner: Option<String>,
) -> anyhow::Result<Caller> {
    let (uid, gid) = match owner {
        Some(owner) => {
            let user = users().context("no bucket was made")?.by_name(&owner).with_context(|| {
                format!("there is no user {}; nothing was changed; `strata user list` shows all", shortened(&owner))
            })?;
            (user.uid, user.gid)
        }
        None => {
            let root = namespace.getattr(op, ROOT_INO)?;
            (root.uid, root.gid)
        }
    };
    Ok(Caller { superuser: true, ..Caller::new(uid, gid, Arc::from([]), &STORE) })
}

/// The bucket that is meant by a name: that of its folder, or what S3 calls it.
fn meant(namespace: &Namespace, op: &Op, name: &str) -> anyhow::Result<BucketInfo> {
    // Checked before any message repeats the name.
    ensure!(
        name.len() <= NAME_LEN_MAX,
        "there is no bucket {}: names have {NAME_LEN_MAX} bytes at most; nothing was changed",
        shortened(name)
    );
    namespace.bucket_called(op, name.as_bytes()).map_err(unchanged)
}

/// Refuses what no new folder may be called.
fn check_new(name: &str) -> anyhow::Result<()> {
    ensure!(
        name.len() <= NAME_LEN_MAX,
        "{} cannot be the name of a bucket: {} bytes, and {NAME_LEN_MAX} is the most; nothing was changed; choose another name",
        shortened(name),
        name.len()
    );
    strata_namespace::check_file_name(name.as_bytes()).map_err(unchanged)
}

/// Removes a bucket with everything in it, and reports progress.
fn remove_whole(
    namespace: &Namespace,
    op: &Op,
    (given, name): (&str, &str),
    hinders: &BucketUse,
    tell: Tell<'_>,
    stopping: &dyn Fn() -> bool,
) -> anyhow::Result<BucketAnswer> {
    let mut far = Removal { counting: true, removed: 0, total: 0, uploads_aborted: 0, uploads: hinders.uploads };
    let mut told = |far: &Removal| !stopping() && tell(Progress::Removal(far.clone()));
    let why = || if stopping() { "the server is stopping" } else { "it was ended before it was complete" };
    let root = namespace.bucket(op, name).map_err(unchanged)?.root;
    let counted = namespace.count_below(op, root, &mut |count| {
        far.total = count;
        told(&far)
    })?;
    if counted.is_none() {
        bail!("{}: {}", why(), far.left(given));
    }
    far.counting = false;
    let removed = namespace.remove_bucket(op, name, &mut |names, uploads| {
        (far.removed, far.uploads_aborted) = (names, uploads);
        told(&far)
    });
    match removed {
        Ok(true) => Ok(BucketAnswer::Removed(Removed {
            removed: given.to_owned(),
            names: far.removed,
            uploads_aborted: far.uploads_aborted,
        })),
        Ok(false) => {
            // What the message says is gone must stay gone.
            namespace.settle_blocking(op).context("what was removed is not known to be durable")?;
            bail!("{}: {}", why(), far.left(given))
        }
        Err(error) if error.kind == ErrorKind::NotEmpty => {
            bail!("somebody goes on writing to it ({}); {}", error.what, far.left(given))
        }
        // The bucket was renamed, or removed by another command.
        Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::NoSuchBucket) => {
            bail!(
                "{}; this command has removed {}; `strata bucket list` shows which buckets there are",
                error.what,
                files(far.removed)
            )
        }
        Err(error) => Err(anyhow::Error::new(error).context(format!("it stopped: {}", far.left(given)))),
    }
}

/// `strata bucket`.
///
/// # Errors
/// No store, no right to it, or the name space's own refusals.
pub(crate) fn run(config: &StoreConfig, action: BucketAction) -> anyhow::Result<ExitCode> {
    let (request, json) = match action {
        BucketAction::List { json } => (BucketRequest::List, json),
        BucketAction::Show { name, json } => (BucketRequest::Show { name }, json),
        BucketAction::Create { name, mode, durability, owner, json } => {
            (BucketRequest::Create { name, mode, durability, owner }, json)
        }
        BucketAction::Set { name, mode, durability, json } => (BucketRequest::Set { name, mode, durability }, json),
        BucketAction::Rename { old, new, json } => (BucketRequest::Rename { old, new }, json),
        BucketAction::Remove { name, yes: true, json } => return removed(config, name, json),
        BucketAction::Remove { name, yes: false, json } => (BucketRequest::Remove { name, yes: false }, json),
    };
    let answer = if StoreLock::holder(&config.data).is_some() {
        control::ask(&config.data, &Request::Bucket(request))?
    } else {
        at_rest(config, request, &mut |_| true)?
    };
    show(answer, json)
}

fn at_rest(config: &StoreConfig, request: BucketRequest, progress: Tell<'_>) -> anyhow::Result<BucketAnswer> {
    let only_tells = matches!(request, BucketRequest::List | BucketRequest::Show { .. });
    let act = |store: &OpenStore| {
        let users = || crate::user::open(&config.data, store.namespace());
        apply(store.namespace(), users, request, progress, &|| false)
    };
    if only_tells { OpenStore::at_rest_to_tell(config, act) } else { OpenStore::at_rest(config, act) }
}

/// `strata bucket remove --yes`: as long as nobody presses Ctrl-C.
fn removed(config: &StoreConfig, name: String, json: bool) -> anyhow::Result<ExitCode> {
    let interrupt = Interrupt::watch()?;
    let bar = bar::count(json);
    bar.set_message("beginning");
    let mut watch = |far: Option<&Progress>| {
        far.into_iter().for_each(|far| bar::show(&bar, far));
        !interrupt.came()
    };
    let request = BucketRequest::Remove { name, yes: true };
    let answer = if StoreLock::holder(&config.data).is_some() {
        control::ask_while(&config.data, &Request::Bucket(request), &mut watch)
    } else {
        at_rest(config, request, &mut |far| watch(Some(&far)))
    };
    bar.finish_and_clear();
    show(answer?, json)
}

/// Prints an answer.
fn show(answer: BucketAnswer, json: bool) -> anyhow::Result<ExitCode> {
    if json {
        say_json(&answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    let shown = match answer {
        BucketAnswer::Removed(Removed { removed, names, uploads_aborted }) => {
            let mut words = format!("bucket {} is removed", printable(&removed));
            if names > 0 {
                words.push_str(&format!(", with {} in it", files(names)));
            }
            if uploads_aborted > 0 {
                words.push_str(&format!("; {} to it aborted", uploads(uploads_aborted)));
            }
            say(&format!("{words}\n"));
            return Ok(ExitCode::SUCCESS);
        }
        BucketAnswer::Buckets(buckets) => buckets,
        BucketAnswer::Bucket(bucket) => vec![bucket],
    };
    let mut table =
        plain_table(&["bucket", "name at S3", "mode of objects", "owner's uid", "durability", "content", "inodes"]);
    let hidden = shown.iter().find(|bucket| bucket.is_hidden()).map(|bucket| bucket.s3_name.clone());
    for bucket in shown {
        let content = ByteSize(bucket.bytes).to_string();
        let (uid, inodes) = (bucket.uid.to_string(), bucket.inodes.to_string());
        let name = if bucket.top { "(files at the top)".to_owned() } else { printable(&bucket.name) };
        let s3_name = if bucket.s3_name == name { String::new() } else { bucket.s3_name };
        table.add_row([name, s3_name, bucket.mode, uid, bucket.durability, content, inodes]);
    }
    say(&format!("{table}\n"));
    if let Some(name) = hidden {
        say(&format!("\n{}\n", hidden_in_words(&name)));
    }
    Ok(ExitCode::SUCCESS)
}
