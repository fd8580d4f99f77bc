//! `strata locks`: which locks there are, WebDAV's and those of NFS clients, and ending a lock that its holder does not end; through the
//! running server, or on the store itself where none runs.

mod holds;
pub(crate) mod messages;

use std::process::ExitCode;

use anyhow::{Context, bail};
use strata_namespace::{ErrorKind, LockRecord, Namespace};
use strata_seam::Timestamp;

use crate::cli::LockAction;
use crate::config::StoreConfig;
use crate::control;
use crate::control::messages::Request;
use crate::greeting::{plain_table, say, say_json};
use crate::lock::StoreLock;
use crate::operation::op_of;
use crate::store::OpenStore;
use messages::{LockRequest, Shown};

/// A path as it is shown and asked for.
fn path_of(path: &[u8]) -> String {
    std::str::from_utf8(path).map_or_else(|_| path.escape_ascii().to_string(), str::to_owned)
}

/// A path without slashes at its ends, to compare paths.
fn plain(path: &str) -> &str {
    path.trim_matches('/')
}

impl Shown {
    fn of(lock: &LockRecord, now: Timestamp) -> Self {
        Self {
            path: path_of(&lock.path),
            token: lock.token.clone(),
            user: lock.principal.clone(),
            kind: if lock.shared { "shared" } else { "exclusive" }.to_owned(),
            depth: if lock.deep { "infinity" } else { "0" }.to_owned(),
            expires: lock.expires.map(Timestamp::secs),
            expires_in: lock.expires.map(|end| (end.secs() - now.secs()).max(0)),
            owner: String::from_utf8_lossy(&lock.owner_xml).into_owned(),
            door: "webdav".to_owned(),
            client: None,
            host: None,
            process: None,
            bytes: None,
        }
    }

    /// What of the path it covers, in words.
    fn covers(&self) -> String {
        match self.bytes {
            None => self.depth.clone(),
            Some((0, None)) => "all bytes".to_owned(),
            Some((first, None)) => format!("bytes from {first}"),
            Some((first, Some(last))) => format!("bytes {first} to {last}"),
        }
    }

    /// Whether an operator means it by this token or path.
    fn is(&self, which: &str) -> bool {
        self.token == which || plain(&self.path) == plain(which)
    }

    fn is_under(&self, under: &str) -> bool {
        let (path, under) = (plain(&self.path), under.trim_start_matches('/'));
        match under.split_once('/') {
            // The name of a bucket means all of it.
            None => under.is_empty() || path.split('/').next() == Some(under),
            Some(_) => path.starts_with(under) || path == plain(under),
        }
    }
}

/// Carries out a request. What it changed is durable when it returns.
///
/// # Errors
/// There is no such lock; the store fails.
pub(crate) fn apply(namespace: &Namespace, request: LockRequest) -> anyhow::Result<Vec<Shown>> {
    let op = op_of("locks");
    let now = namespace.now();
    let all = namespace.locks(&op)?;
    match request {
        LockRequest::List { under } => {
            let held = holds::all(namespace, &op, now)?.into_iter().map(|held| held.shown);
            let shown = all.iter().map(|lock| Shown::of(lock, now)).chain(held);
            Ok(shown.filter(|shown| under.as_ref().is_none_or(|under| shown.is_under(under))).collect())
        }
        LockRequest::Break { which } => {
            let meant = |lock: &&LockRecord| lock.token == which || plain(&path_of(&lock.path)) == plain(&which);
            let mut broken = Vec::new();
            for lock in all.iter().filter(meant) {
                match namespace.break_lock(&op, &lock.token) {
                    Ok(lock) => broken.push(Shown::of(&lock, now)),
                    // Its holder was faster.
                    Err(error) if error.kind == ErrorKind::NotFound => {}
                    Err(error) => return Err(error.into()),
                }
            }
            let held = holds::all(namespace, &op, now)?.into_iter().filter(|held| held.shown.is(&which));
            broken.extend(holds::end(namespace, &op, held.collect())?);
            if broken.is_empty() {
                bail!(
                    "there is no lock '{}', neither a token nor the path of one; nothing was changed; `strata locks list` shows all",
                    which.escape_debug()
                );
            }
            namespace.settle_blocking(&op).context("the change is not known to be durable; list the locks to see")?;
            Ok(broken)
        }
    }
}

/// `strata locks`.
///
/// # Errors
/// No store, no right to it, or no such lock.
pub(crate) fn run(config: &StoreConfig, action: LockAction) -> anyhow::Result<ExitCode> {
    let (request, json, broken) = match action {
        LockAction::List { under, json } => (LockRequest::List { under }, json, false),
        LockAction::Break { which, json } => (LockRequest::Break { which }, json, true),
    };
    let locks: Vec<Shown> = if StoreLock::holder(&config.data).is_some() {
        control::ask(&config.data, &Request::Locks(request))?
    } else if broken {
        OpenStore::at_rest(config, |store| apply(store.namespace(), request))?
    } else {
        OpenStore::at_rest_to_tell(config, |store| apply(store.namespace(), request))?
    };
    if json {
        say_json(&locks)?;
        return Ok(ExitCode::SUCCESS);
    }
    if broken {
        let mut told = None;
        // All locks of one owner on a file have one token.
        for lock in locks.iter().filter(|lock| told.replace(&lock.token) != Some(&lock.token)) {
            let (path, user) = (lock.path.escape_debug(), lock.user.escape_debug());
            say(&format!("the {} lock of {user} on {path} is broken ({})\n", lock.kind, lock.token.escape_debug()));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = plain_table(&["path", "user", "kind", "covers", "ends in", "token"]);
    for lock in &locks {
        let ends = lock.expires_in.map_or_else(|| "never".to_owned(), |seconds| format!("{seconds} s"));
        let plain = |text: &str| text.escape_debug().to_string();
        table.add_row([
            plain(&lock.path),
            plain(&lock.user),
            lock.kind.clone(),
            lock.covers(),
            ends,
            plain(&lock.token),
        ]);
    }
    say(&format!("{table}\n"));
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(path: &[u8]) -> Shown {
        let lock = LockRecord {
            token: "t".to_owned(),
            path: path.to_vec(),
            ino: None,
            deep: false,
            shared: false,
            principal: "ann".to_owned(),
            owner_xml: Vec::new(),
            expires: Some(Timestamp::from_parts(100, 0)),
        };
        Shown::of(&lock, Timestamp::from_parts(40, 0))
    }

    #[test]
    fn a_bucket_is_meant_whole_and_the_rest_by_what_it_begins_with() {
        let lock = shown(b"/bkt/dir/file");
        for under in ["bkt", "/bkt", "", "bkt/", "bkt/d", "bkt/dir/", "bkt/dir/file", "/bkt/dir/file/"] {
            assert!(lock.is_under(under), "{under}");
        }
        for under in ["bk", "bktt", "bkt/x", "dir"] {
            assert!(!lock.is_under(under), "{under}");
        }
        assert!(shown(b"/bkt").is_under("bkt/"), "the bucket itself");
    }

    #[test]
    fn what_is_no_text_is_shown_by_its_bytes() {
        assert_eq!(shown(b"/bkt/\xff").path, "/bkt/\\xff");
        assert_eq!(shown("/bkt/ü".as_bytes()).path, "/bkt/ü");
        assert_eq!(shown(b"/bkt").expires_in, Some(60));
    }
}
