//! After a crash: what is found of a worker's directory, through every door, held against what may be found.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};
use md5::{Digest, Md5};

use crate::outside::client::Failure;
use crate::outside::door::{BUCKET, Clients, Door, Seen};
use crate::outside::model::{File, Node, State};
use crate::outside::rng::Rng;
use crate::outside::shared::SharedKeys;
use crate::outside::worker::{Worker, brief};

/// What was found at a path.
#[derive(Clone, Debug)]
enum Found {
    Dir,
    File(Seen),
}

/// Why a check did not pass.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// A promise was broken.
    Violation(String),
    /// The server did not live long enough to be asked.
    Lost(String),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Lost(error) => Self::Lost(error.to_string()),
            refused => Self::Violation(format!("a check was {refused}")),
        }
    }
}

/// Looks at everything a worker may have, and takes it for its state from now on; not for the last word of a store that
/// takes no writes (`undecided`).
///
/// # Errors
/// [`Trouble::Violation`] says how what is there differs from the nearest state that may be.
pub(crate) fn worker(
    worker: &mut Worker,
    clients: &mut Clients,
    rng: &mut Rng,
    undecided: bool,
) -> Result<(), Trouble> {
    let found = look(worker, clients, rng)?;
    let possible = || worker.history.possible();
    let matching = possible().enumerate().rev().find(|(_, state)| mismatch(state, &found).is_none());
    let Some((at, mut settled)) = matching.map(|(at, state)| (at, state.clone())) else {
        let nearest = possible().filter_map(|state| mismatch(state, &found)).min_by_key(|(wrong, _)| *wrong);
        let told = nearest.map(|(_, told)| told).unwrap_or_default();
        let count = possible().len();
        return Err(Trouble::Violation(format!(
            "worker {}: its directory is in none of the {count} states it may be in; nearest: {told}; its last changes: {}",
            worker.id,
            worker.recent()
        )));
    };
    for (path, node) in &mut settled {
        if let (Node::File(file), Some(Found::File(seen))) = (node, found.get(path))
            && file.torn.take().is_some()
        {
            *file = File { mode: file.mode, ..File::plain(seen.bytes.clone().into()) };
        }
    }
    worker.history.found(at, settled, undecided);
    Ok(())
}

/// Looks at the keys that all workers wrote.
///
/// # Errors
/// As [`worker`].
pub(crate) fn shared(
    shared: &SharedKeys,
    clients: &mut Clients,
    rng: &mut Rng,
    undecided: bool,
) -> Result<(), Trouble> {
    for key in 0..shared.len() {
        let door = *rng.choose(clients.doors()).unwrap_or(&Door::S3);
        let seen = clients.read(door, &format!("/{BUCKET}/{}", shared.path(key)))?;
        let seen = seen.map(|seen| seen.bytes);
        shared
            .found(key, seen.as_deref(), undecided)
            .map_err(|told| Trouble::Violation(format!("{told} (through {door:?})")))?;
    }
    Ok(())
}

fn look(worker: &Worker, clients: &mut Clients, rng: &mut Rng) -> Result<BTreeMap<String, Found>, Trouble> {
    let base = worker.base();
    let prefix = format!("w{}/", worker.id);
    let listed = clients.s3.list(BUCKET, &prefix)?;
    let mut found = BTreeMap::new();
    for object in &listed {
        let Some(path) = object.key.strip_prefix(&prefix).filter(|path| !path.is_empty()) else { continue };
        if let Some(folder) = path.strip_suffix('/') {
            found.insert(folder.to_owned(), Found::Dir);
            continue;
        }
        let door = *rng.choose(clients.doors()).unwrap_or(&Door::S3);
        let mut seen = read(clients, door, &base, path)?;
        let wants_tag = worker.history.possible().any(|state| is_file(state, path, |file| file.tag.is_some()));
        if wants_tag && seen.tag.is_none() {
            seen.tag = read(clients, Door::S3, &base, path)?.tag;
        }
        let wants_mode = worker.history.possible().any(|state| is_file(state, path, |file| file.mode.is_some()));
        if wants_mode && seen.mode.is_none() {
            seen.mode = read(clients, Door::Nfs, &base, path)?.mode;
        }
        let md5 = hex::encode(Md5::digest(&seen.bytes));
        if seen.bytes.len() as u64 != object.size || (!object.etag.contains('-') && object.etag != md5) {
            return Err(Trouble::Violation(format!(
                "{path} of worker {}: listed with {} bytes and ETag {}, read through {door:?} as {} with MD5 {md5}",
                worker.id,
                object.size,
                object.etag,
                brief(Some(&seen.bytes))
            )));
        }
        found.insert(path.to_owned(), Found::File(seen));
    }
    if let Some(drive) = &clients.drive {
        let walked: BTreeSet<String> = drive.walk(&base)?.into_iter().collect();
        let names = found.iter().map(|(path, found)| match found {
            Found::Dir => format!("{path}/"),
            Found::File(_) => path.clone(),
        });
        let names: BTreeSet<String> = names.collect();
        if walked != names {
            let odd: Vec<&String> = walked.symmetric_difference(&names).collect();
            return Err(Trouble::Violation(format!("worker {}: only S3 or only the drive shows {odd:?}", worker.id)));
        }
    }
    Ok(found)
}

fn read(clients: &mut Clients, door: Door, base: &str, path: &str) -> Result<Seen, Trouble> {
    let seen = clients.read(door, &format!("{base}/{path}"))?;
    seen.ok_or_else(|| Trouble::Violation(format!("S3 lists {base}/{path}, and {door:?} finds nothing there")))
}

fn is_file(state: &State, path: &str, predicate: impl FnOnce(&File) -> bool) -> bool {
    matches!(state.get(path), Some(Node::File(file)) if predicate(file))
}

/// In how many paths `found` is not `state`, and how; `None` if it is.
fn mismatch(state: &State, found: &BTreeMap<String, Found>) -> Option<(usize, String)> {
    let mut wrong = Vec::new();
    let paths: BTreeSet<&String> = state.keys().chain(found.keys()).collect();
    for path in paths {
        match (state.get(path), found.get(path)) {
            (Some(Node::Dir), Some(Found::Dir)) => {}
            (Some(Node::File(file)), Some(Found::File(seen))) => {
                if !file.admits(&seen.bytes) {
                    let (is, should) = (brief(Some(&seen.bytes)), brief(Some(&file.bytes)));
                    wrong.push(format!("{path} holds {is}, not {should}"));
                } else if let (Some(tag), Some(seen)) = (&file.tag, &seen.tag)
                    && Some(tag) != seen.as_ref()
                {
                    wrong.push(format!("{path} has the metadata {seen:?}, not {tag}"));
                } else if let (Some(mode), Some(seen)) = (file.mode, seen.mode)
                    && mode != seen
                {
                    wrong.push(format!("{path} has mode {seen:o}, not {mode:o}"));
                }
            }
            (Some(node), None) => wrong.push(format!("{path} is missing, a {}", kind(node))),
            (None, Some(_)) => wrong.push(format!("{path} is there")),
            (Some(_), Some(_)) => wrong.push(format!("{path} is of another kind")),
            (None, None) => {}
        }
    }
    (!wrong.is_empty()).then(|| (wrong.len(), wrong.join("; ")))
}

fn kind(node: &Node) -> String {
    match node {
        Node::Dir => "directory".to_owned(),
        Node::File(file) => format!("file of {}", brief(Some(&file.bytes))),
    }
}

/// `strata fsck` of a store at rest. Damage that the harness did itself, on the disks `ours`, is expected; nothing else is.
///
/// # Errors
/// [`Trouble::Violation`] with what it found.
pub(crate) fn fsck(place: &crate::outside::server::Place, ours: &[usize]) -> Result<(), Trouble> {
    let checked = (|| -> Result<Vec<String>> {
        let output = place.run(&["fsck", "--json"])?;
        let report: serde_json::Value = match serde_json::from_slice(&output.stdout) {
            Ok(report) => report,
            Err(_) => bail!("fsck ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr)),
        };
        let violations = report["violations"].as_array().cloned().unwrap_or_default();
        Ok(violations.iter().filter_map(|text| text.as_str().map(str::to_owned)).collect())
    })();
    let expected = |violation: &String| {
        ours.iter().any(|disk| {
            let label = place.disks[*disk].display().to_string();
            ["has", "lacks"].iter().any(|verb| violation.contains(&format!("disk {label} {verb}")))
        })
    };
    match checked {
        Err(error) => Err(Trouble::Violation(format!("{error:#}"))),
        Ok(violations) => {
            let violations: Vec<String> = violations.into_iter().filter(|violation| !expected(violation)).collect();
            if violations.is_empty() {
                Ok(())
            } else {
                Err(Trouble::Violation(format!("fsck: {}", violations.join("; "))))
            }
        }
    }
}
