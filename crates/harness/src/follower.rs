//! A follower of events: the tree as it is known from them alone, and every rule that they keep.
//!
//! Two rows have one: `feed` hands it the events of a store over simulated disks, `events` the lines of `strata watch --json`. What it knows is
//! then held against what the doors show.

use std::collections::BTreeMap;

use serde_json::Value;
use strata_namespace::{EventAt, NodeKind, What};

/// The place of an event: commit, and index in it.
pub(crate) type Sequence = (u64, u32);

/// An event, from wherever it came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Told {
    pub(crate) sequence: Sequence,
    what: String,
    new: bool,
    last: bool,
    exchange: bool,
    dirs: u64,
    bucket: String,
    key: Option<String>,
    /// Bucket and key before.
    from: Option<(String, String)>,
    directory: bool,
    ino: u64,
    change: u64,
    version: u64,
    size: u64,
    etag: Option<String>,
}

impl Told {
    pub(crate) fn of(EventAt { sequence, event }: &EventAt) -> Self {
        let text = |key: &Option<Vec<u8>>| key.as_deref().map(|key| String::from_utf8_lossy(key).into_owned());
        let (mut new, mut last, mut exchange, mut dirs, mut from) = (false, false, false, 0, None);
        match &event.what {
            What::Content { new: is_new, dirs: with, .. } => (new, dirs) = (*is_new, *with),
            What::Removed { last: was_last, dirs: with } => (last, dirs) = (*was_last, *with),
            What::Renamed { from: before, exchange: both } => {
                exchange = *both;
                let bucket = before.bucket.as_deref().unwrap_or(&event.bucket).to_owned();
                from = Some((bucket, text(&before.key).unwrap_or_default()));
            }
            _ => {}
        }
        Self {
            sequence: (sequence.lsn.0, sequence.index),
            what: event.what.word().to_owned(),
            new,
            last,
            exchange,
            dirs: dirs.into(),
            bucket: event.bucket.to_string(),
            key: text(&event.key),
            from,
            directory: event.kind == NodeKind::Directory,
            ino: event.ino.0,
            change: event.change,
            version: event.version,
            size: event.size,
            etag: event.tag.as_ref().map(strata_etag::of),
        }
    }

    /// A line of `strata watch --json`.
    ///
    /// # Errors
    /// It is none, or says that something was missed.
    pub(crate) fn parse(line: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(line).map_err(|error| format!("{error} in {line:?}"))?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let number = |field: &str| value[field].as_u64().unwrap_or_default();
        let flag = |field: &str| value[field].as_bool().unwrap_or_default();
        let sequence = value["seq"].as_str().and_then(sequence).ok_or_else(|| format!("no change: {line}"))?;
        let from = &value["from"];
        Ok(Self {
            sequence,
            what: text(&value["what"]).unwrap_or_default(),
            new: flag("new"),
            last: flag("last"),
            exchange: flag("exchange"),
            dirs: number("dirs"),
            bucket: text(&value["bucket"]).unwrap_or_default(),
            key: text(&value["key"]),
            from: text(&from["bucket"]).zip(text(&from["key"])),
            directory: value["kind"] == "directory",
            ino: number("inode"),
            change: number("change"),
            version: number("version"),
            size: number("size"),
            etag: text(&value["etag"]),
        })
    }

    fn path(&self) -> String {
        let key = self.key.as_deref().unwrap_or_default();
        // The mark of a folder has the key of its directory.
        let mark = if !self.directory && key.ends_with('/') { MARK } else { "" };
        format!("{}/{key}{mark}", self.bucket)
    }
}

/// What stands for the empty name of a folder's mark.
const MARK: &str = "<mark>";

/// `COMMIT.INDEX`, or a commit alone, which is all of it.
pub(crate) fn sequence(text: &str) -> Option<Sequence> {
    let (lsn, index) = text.split_once('.').unwrap_or((text, "4294967295"));
    Some((lsn.parse().ok()?, index.parse().ok()?))
}

/// A name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Node {
    /// 0 for directories, which have no event of their own where a key made them.
    ino: u64,
    directory: bool,
    pub(crate) size: u64,
    pub(crate) etag: Option<String>,
}

/// See the module.
#[derive(Clone, Default, Debug)]
pub(crate) struct Follower {
    nodes: BTreeMap<String, Node>,
    /// Change number and version of each inode, as told last.
    told: BTreeMap<u64, (u64, u64)>,
    /// The last event.
    pub(crate) last: Option<Sequence>,
    /// What the first half of an exchange moved, under its new names, while the second half is not there yet.
    aside: Vec<(String, Node)>,
    exchanging: bool,
    /// The directory that came to a name last, with the commit and the path: where the same one goes elsewhere in that commit, all below it came along.
    came: Option<(u64, u64, String)>,
    /// Events followed.
    pub(crate) events: u64,
}

impl Follower {
    /// The names in a bucket, without those of directories and their marks.
    pub(crate) fn files(&self, bucket: &str) -> impl Iterator<Item = (&str, &Node)> {
        let prefix = format!("{bucket}/");
        let files = self.nodes.iter().filter(|(path, node)| !node.directory && !path.ends_with(MARK));
        files.filter_map(move |(path, node)| Some((path.strip_prefix(&prefix)?, node)))
    }

    /// Every path in a bucket, directories with `/` at the end.
    pub(crate) fn paths(&self, bucket: &str) -> impl Iterator<Item = &str> {
        let prefix = format!("{bucket}/");
        self.nodes.keys().filter_map(move |path| path.strip_prefix(&prefix)).filter(|path| !path.is_empty())
    }

    /// The next event.
    ///
    /// # Errors
    /// It breaks a rule: it comes too early, too late or twice, or is of something that was not so.
    pub(crate) fn follow(&mut self, told: &Told) -> Result<(), String> {
        self.events += 1;
        self.apply(told).map_err(|wrong| format!("{wrong}: {told:?}"))
    }

    fn apply(&mut self, told: &Told) -> Result<(), String> {
        let must = |holds: bool, what: &str| if holds { Ok(()) } else { Err(what.to_owned()) };
        must(self.last.is_none_or(|last| last < told.sequence), "not behind the one before")?;
        self.last = Some(told.sequence);
        let path = told.path();
        if let Some((change, version)) = self.told.get(&told.ino).copied().filter(|_| !told.directory) {
            must(told.change > change, &format!("its inode was at change {change} already"))?;
            let expected = version + u64::from(told.what == "content");
            must(told.version == expected, &format!("its inode was at version {version}"))?;
        }
        self.told.insert(told.ino, (told.change, told.version));
        let ino = if told.directory { 0 } else { told.ino };
        let node = Node { ino, directory: told.directory, size: told.size, etag: told.etag.clone() };
        match told.what.as_str() {
            "content" if !told.new => {
                for known in self.nodes.values_mut().filter(|known| known.ino == ino) {
                    (known.size, known.etag) = (node.size, node.etag.clone());
                }
            }
            "created" | "content" | "linked" | "bucket-made" => {
                for dir in above(&path, told.dirs) {
                    let made = Node { ino: 0, directory: true, size: 0, etag: None };
                    must(self.nodes.insert(dir, made).is_none(), "a directory above it was there")?;
                }
                if told.directory && told.what == "linked" {
                    self.came = Some((told.sequence.0, told.ino, path.clone()));
                }
                must(self.nodes.insert(path, node).is_none(), "the name was taken")?;
            }
            "removed" | "bucket-removed" => {
                let came = self.came.take_if(|came| told.directory && (came.0, came.1) == (told.sequence.0, told.ino));
                if let Some((_, _, now)) = came {
                    return self.carry(&path, &now);
                }
                let was = self.nodes.remove(&path);
                must(was.is_some_and(|was| was.ino == ino), "the name led elsewhere")?;
                let left = !told.directory && self.nodes.values().any(|other| other.ino == ino);
                must(told.directory || told.last != left, "whether it was the last name")?;
                for dir in above(&path, told.dirs) {
                    must(self.nodes.remove(&dir).is_some(), "a directory above it was not there")?;
                }
            }
            "renamed" => {
                let (bucket, key) = told.from.as_ref().ok_or("renamed from nowhere")?;
                let old = format!("{bucket}/{key}");
                let moved = self.take(&old);
                must(moved.first().is_some_and(|(_, node)| node.ino == ino), "the name before led elsewhere")?;
                let mut moved: Vec<_> =
                    moved.into_iter().map(|(was, node)| (was.replacen(&old, &path, 1), node)).collect();
                moved.append(&mut self.aside);
                // Of an exchange the first takes the place of the second, which has to go from there first.
                if told.exchange && !std::mem::replace(&mut self.exchanging, told.exchange) {
                    self.aside = moved;
                    return Ok(());
                }
                self.exchanging = false;
                for (now, node) in moved {
                    must(self.nodes.insert(now, node).is_none(), "the new name was taken")?;
                }
            }
            "attributes" | "bucket-changed" => {}
            other => return Err(format!("an event called {other}")),
        }
        Ok(())
    }

    /// A directory that went into the trash is known there already, and takes all below it along.
    fn carry(&mut self, old: &str, now: &str) -> Result<(), String> {
        let mut moved = self.take(old).into_iter();
        if moved.next().is_none_or(|(path, node)| path != old || !node.directory) {
            return Err("the name led elsewhere".to_owned());
        }
        for (was, node) in moved {
            if self.nodes.insert(was.replacen(old, now, 1), node).is_some() {
                return Err("a name below the new one was taken".to_owned());
            }
        }
        Ok(())
    }

    /// Takes what is at a path away, and of a directory all below.
    fn take(&mut self, path: &str) -> Vec<(String, Node)> {
        let ours = |other: &str| other == path || (path.ends_with('/') && other.starts_with(path));
        let taken = self.nodes.iter().filter(|(other, _)| ours(other));
        let taken: Vec<_> = taken.map(|(path, node)| (path.clone(), node.clone())).collect();
        for (path, _) in &taken {
            self.nodes.remove(path);
        }
        taken
    }
}

/// So many of the directories above a path, the nearest first.
fn above(path: &str, count: u64) -> Vec<String> {
    let mut at = path.trim_end_matches('/');
    let mut dirs = Vec::new();
    for _ in 0..count {
        at = at.rsplit_once('/').map_or("", |(above, _)| above);
        dirs.push(format!("{at}/"));
    }
    dirs
}
