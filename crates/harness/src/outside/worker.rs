//! A client under load: random changes to a directory of its own, through any door, and what was acknowledged of them.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::outside::client::{Failure, Reply};
use crate::outside::clock::Moment;
use crate::outside::door::{BUCKET, Clients, Door, PART_LEN, Way};
use crate::outside::model::{Change, History, Manner, Node, State};
use crate::outside::rng::Rng;
use crate::outside::shared::SharedKeys;

/// Files and directories a worker has at most.
const FILES_MAX: u64 = 10;
const FOLDERS_MAX: u64 = 3;
/// Longest content, but for uploads in parts.
const LEN_MAX: u64 = 96 << 10;
/// How long the kernel's cache of the drive may take to hear of what another door did: as a rule a millisecond, but the
/// machine may be busy.
const DRIVE_PATIENCE: Duration = Duration::from_secs(5);
/// Changes remembered for a report.
const RECENT_MAX: usize = 40;

/// What all workers of a server count.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Changes acknowledged.
    pub(crate) acknowledged: AtomicU64,
    /// Changes under way when the server died.
    pub(crate) under_way: AtomicU64,
    /// Reads compared while the server ran.
    pub(crate) reads: AtomicU64,
    /// Requests through the drive that had to be repeated because the kernel had not heard yet.
    pub(crate) repeated: AtomicU64,
    /// Replies that came when the disks were being cut off, which promise nothing.
    pub(crate) late: AtomicU64,
    /// Changes refused because the disks failed, where that was expected.
    pub(crate) refused: AtomicU64,
}

/// How a worker came to its end.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The server is gone, or the load was over.
    InOrder,
    /// Something was answered that may not be.
    Violation(String),
}

/// What a worker works under.
#[derive(Debug)]
pub(crate) struct Load<'a> {
    /// Set when the load is over.
    pub(crate) over: &'a AtomicBool,
    /// Counts.
    pub(crate) tally: &'a Tally,
    /// Keys that all workers write.
    pub(crate) shared: &'a SharedKeys,
    /// Whether the server may refuse changes: its disks are failing.
    pub(crate) may_refuse: bool,
    /// Set before its disks are cut off in a way that takes the worth from whatever the server says from then on.
    pub(crate) void: &'a AtomicBool,
}

impl Load<'_> {
    /// Whether a reply that has just come still counts.
    fn counts(&self) -> bool {
        let counts = !self.void.load(Ordering::SeqCst);
        if !counts {
            self.tally.late.fetch_add(1, Ordering::Relaxed);
        }
        counts
    }
}

/// A client with a directory of its own. It outlives the servers.
#[derive(Debug)]
pub(crate) struct Worker {
    /// Its number.
    pub(crate) id: usize,
    /// What may be found of its directory.
    pub(crate) history: History,
    rng: Rng,
    /// Contents written so far, which makes each one different.
    serial: u64,
    /// The last changes, for whoever looks for the cause of a violation.
    recent: VecDeque<String>,
    /// Paths that other doors than the drive changed since the drive was last seen to have heard of it.
    elsewhere: BTreeSet<String>,
}

impl Worker {
    /// A worker whose directory does not exist yet.
    pub(crate) fn new(id: usize, rng: Rng) -> Self {
        Self {
            id,
            history: History::new(State::new()),
            rng,
            serial: 0,
            recent: VecDeque::new(),
            elsewhere: BTreeSet::new(),
        }
    }

    /// Its directory, as a path from the root.
    pub(crate) fn base(&self) -> String {
        format!("/{BUCKET}/w{}", self.id)
    }

    /// Works until the server is gone or the load is over.
    pub(crate) fn work(&mut self, clients: &mut Clients, load: &Load<'_>) -> Ended {
        while !load.over.load(Ordering::Relaxed) {
            let ended = if self.rng.one_in(8) {
                self.rng_shared(clients, load)
            } else if self.rng.one_in(5) {
                self.read(clients, load)
            } else {
                self.change(clients, load)
            };
            match ended {
                Ok(()) => {}
                Err(Ended::InOrder) => break,
                Err(violation) => return violation,
            }
        }
        Ended::InOrder
    }

    fn rng_shared(&mut self, clients: &mut Clients, load: &Load<'_>) -> Result<(), Ended> {
        let door = if self.rng.one_in(2) { Door::S3 } else { Door::WebDav };
        let key = self.rng.index(load.shared.len());
        let path = load.shared.path(key);
        let remove = self.rng.one_in(5);
        let bytes = if remove { None } else { Some(self.content()) };
        let change = match &bytes {
            Some(bytes) => Change::Put { path: path.clone(), bytes: Arc::clone(bytes), tag: None, parts: None },
            None => Change::Remove { path },
        };
        let begun = Moment::now();
        let result = clients.change(Way { door, firm: true }, &format!("/{BUCKET}"), &change);
        match result {
            Ok(()) if load.counts() => load.shared.ended(key, begun, bytes),
            Ok(()) => {
                load.shared.under_way(key, begun, bytes);
                return Err(Ended::InOrder);
            }
            // Somebody else removed it first.
            Err(failure) if remove && failure.is_absent() => {}
            Err(failure) => {
                load.shared.under_way(key, begun, bytes);
                return self.judge(failure, load, || format!("{door:?} {}", describe(&change)));
            }
        }
        load.tally.acknowledged.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn judge(&self, failure: Failure, load: &Load<'_>, what: impl FnOnce() -> String) -> Result<(), Ended> {
        match failure {
            Failure::Lost(_) => Err(Ended::InOrder),
            Failure::Refused { .. } if load.may_refuse => {
                load.tally.refused.fetch_add(1, Ordering::Relaxed);
                Err(Ended::InOrder)
            }
            refused => {
                // A server on its way out may still say something; only one that stays is held to its word.
                std::thread::sleep(Duration::from_millis(100));
                if load.over.load(Ordering::Relaxed) {
                    return Err(Ended::InOrder);
                }
                Err(Ended::Violation(format!("worker {}: {}: {refused}", self.id, what())))
            }
        }
    }

    fn change(&mut self, clients: &mut Clients, load: &Load<'_>) -> Result<(), Ended> {
        let (way, change, manner) = self.choose(clients.doors());
        let steps = change.steps(self.history.now(), manner);
        if steps.is_empty() {
            return Ok(());
        }
        let base = self.base();
        if way.door == Door::Drive {
            self.await_drive(clients, load)?;
        } else {
            self.elsewhere.extend(change.paths().into_iter().map(str::to_owned));
        }
        let mut result = clients.change(way, &base, &change);
        let begun = Moment::now();
        while way.door == Door::Drive
            && matches!(result, Err(Failure::Refused { .. }))
            && begun.elapsed() < DRIVE_PATIENCE
            && !load.over.load(Ordering::Relaxed)
        {
            load.tally.repeated.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(5));
            result = clients.change(way, &base, &change);
        }
        self.remember(way, &change, result.is_ok());
        match result {
            Ok(()) if !load.counts() => {
                self.history.under_way(steps);
                Err(Ended::InOrder)
            }
            Ok(()) => {
                load.tally.acknowledged.fetch_add(1, Ordering::Relaxed);
                self.history.acknowledged(steps);
                if manner.soon && self.rng.one_in(3) {
                    self.tell(clients, &change, load)?;
                }
                Ok(())
            }
            Err(failure) => {
                load.tally.under_way.fetch_add(1, Ordering::Relaxed);
                self.history.under_way(steps);
                self.judge(failure, load, || format!("{way:?} {}", describe(&change)))
            }
        }
    }

    /// Waits until the drive shows what other doors did to the paths of this worker.
    fn await_drive(&mut self, clients: &mut Clients, load: &Load<'_>) -> Result<(), Ended> {
        let begun = Moment::now();
        while let Some(path) = self.elsewhere.first().cloned() {
            // From the top: a directory that was moved leads everything below it astray.
            let full = format!("{}/{path}", self.base());
            match clients.drive_has_heard(&full) {
                Ok(true) => drop(self.elsewhere.pop_first()),
                Ok(false) if load.over.load(Ordering::Relaxed) => return Err(Ended::InOrder),
                Ok(false) if begun.elapsed() < DRIVE_PATIENCE => {
                    load.tally.repeated.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(1));
                }
                Ok(false) => {
                    return Err(Ended::Violation(format!(
                        "worker {}: after {DRIVE_PATIENCE:?} the drive has not heard what became of {path}; its last changes: {}",
                        self.id,
                        self.recent()
                    )));
                }
                Err(failure) => return self.judge(failure, load, || format!("the drive shows {path}")),
            }
        }
        Ok(())
    }

    fn remember(&mut self, way: Way, change: &Change, done: bool) {
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        let firm = if way.firm { "" } else { " softly" };
        let ended = if done { "" } else { " (no answer)" };
        self.recent.push_back(format!("{:?}{firm} {}{ended}", way.door, describe(change)));
    }

    /// Its last changes, oldest first.
    pub(crate) fn recent(&self) -> String {
        self.recent.iter().map(String::as_str).collect::<Vec<_>>().join("; ")
    }

    /// Lets another door tell what `change`, durable only soon, did: from then on no crash may take it back (SEEN).
    fn tell(&mut self, clients: &mut Clients, change: &Change, load: &Load<'_>) -> Result<(), Ended> {
        let path = match change {
            Change::Remove { path } => path,
            Change::Rename { to, .. } if matches!(self.history.now().get(to), Some(Node::File(_))) => to,
            _ => return Ok(()),
        };
        let door = *self.rng.choose(&[Door::S3, Door::WebDav, Door::Nfs]).unwrap_or(&Door::S3);
        let path = path.clone();
        self.look(clients, door, &path, load)?;
        if !load.counts() {
            return Err(Ended::InOrder);
        }
        self.history.told();
        Ok(())
    }

    /// Reads a path of its own and compares.
    fn read(&mut self, clients: &mut Clients, load: &Load<'_>) -> Result<(), Ended> {
        let path = self.path_of_a_file();
        let door = *self.rng.choose(clients.doors()).unwrap_or(&Door::S3);
        self.look(clients, door, &path, load)
    }

    fn look(&mut self, clients: &mut Clients, door: Door, path: &str, load: &Load<'_>) -> Result<(), Ended> {
        let full = format!("{}/{path}", self.base());
        let begun = Moment::now();
        loop {
            let seen = match clients.read(door, &full) {
                Ok(seen) => seen.map(|seen| seen.bytes),
                Err(Failure::Refused { .. }) if door == Door::Drive && begun.elapsed() < DRIVE_PATIENCE => {
                    std::thread::sleep(Duration::from_millis(5));
                    continue;
                }
                Err(failure) => return self.judge(failure, load, || format!("{door:?} reads {path}")),
            };
            let expected = match self.history.now().get(path) {
                Some(Node::File(file)) => Some(&**file.bytes),
                _ => None,
            };
            if load.void.load(Ordering::SeqCst) {
                return Err(Ended::InOrder);
            }
            if seen.as_deref() == expected {
                load.tally.reads.fetch_add(1, Ordering::Relaxed);
                return Ok(());
            }
            if door == Door::Drive && begun.elapsed() < DRIVE_PATIENCE && !load.over.load(Ordering::Relaxed) {
                load.tally.repeated.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(5));
                continue;
            }
            return Err(Ended::Violation(format!(
                "worker {}: {door:?} read of {path} gave {}, where {} was acknowledged; its last changes: {}",
                self.id,
                brief(seen.as_deref()),
                brief(expected),
                self.recent()
            )));
        }
    }

    /// Something that can be done now, a way to do it, and what that promises.
    fn choose(&mut self, doors: &[Door]) -> (Way, Change, Manner) {
        loop {
            let mut change = self.invent();
            // Most of a worker's changes go through one door, the others through any.
            let home = doors[self.id % doors.len()];
            let door = if self.rng.one_in(3) { *self.rng.choose(doors).unwrap_or(&home) } else { home };
            let way = Way { door, firm: self.rng.one_in(2) };
            if door != Door::S3
                && let Change::Put { tag, .. } = &mut change
            {
                *tag = None;
            }
            if let Some(manner) = way.manner(&change) {
                return (way, change, manner);
            }
        }
    }

    fn invent(&mut self) -> Change {
        let path = self.path_of_a_file();
        let now = self.history.now();
        let len = match now.get(&path) {
            Some(Node::File(file)) => Some(file.bytes.len()),
            _ => None,
        };
        let folder = format!("d{}", self.rng.within(0..FOLDERS_MAX));
        let other = format!("d{}", self.rng.within(0..FOLDERS_MAX));
        let now = self.history.now();
        let folder_exists = now.contains_key(&folder);
        let other_exists = now.contains_key(&other);
        let empty = !now.keys().any(|path| path.starts_with(&format!("{folder}/")));
        match (self.rng.within(0..20), len) {
            (0..2, _) if !folder_exists => Change::Mkdir { path: folder },
            (0, _) if empty => Change::Rmdir { path: folder },
            (1, _) if !other_exists => Change::Rename { from: folder, to: other },
            (0..8, _) | (_, None) => {
                let mut bytes = self.content();
                let parts = match self.rng.within(0..100) {
                    0 => {
                        // The least that can be cut in two.
                        let rest = self.rng.bytes(PART_LEN);
                        Arc::make_mut(&mut bytes).extend_from_slice(&rest);
                        Some(2)
                    }
                    1..10 => Some(1),
                    _ => None,
                };
                Change::Put { path, bytes, tag: Some(format!("{}-{}", self.id, self.serial)), parts }
            }
            (8..11, _) => Change::Remove { path },
            (11..13, _) => self.onto_another(path, |from, to| Change::Rename { from, to }),
            (13..14, _) => self.onto_another(path, |from, to| Change::Copy { from, to }),
            (14..17, Some(len)) if len as u64 <= LEN_MAX => {
                let offset = if self.rng.one_in(2) { len } else { self.rng.index(len + 1) };
                let bytes = self.rng.magnitude(LEN_MAX / 4).max(1) as usize;
                Change::Write { path, offset, bytes: Arc::new(self.rng.bytes(bytes)) }
            }
            (17..18, Some(len)) => Change::Truncate { path, len: self.rng.index(len + 1000) },
            _ => Change::Chmod { path, mode: 0o600 | self.rng.within(0..0o100) as u32 },
        }
    }

    fn onto_another(&mut self, from: String, change: fn(String, String) -> Change) -> Change {
        let to = self.path_of_a_file();
        // Onto itself a rename does nothing and a copy is refused: remove it instead.
        if from == to { Change::Remove { path: from } } else { change(from, to) }
    }

    /// A path in a directory that exists, of a file that exists or not.
    fn path_of_a_file(&mut self) -> String {
        let name = format!("f{}", self.rng.within(0..FILES_MAX));
        let folder = format!("d{}", self.rng.within(0..FOLDERS_MAX * 2));
        if self.history.now().contains_key(&folder) { format!("{folder}/{name}") } else { name }
    }

    /// A content that no one wrote before.
    fn content(&mut self) -> Arc<Vec<u8>> {
        self.serial += 1;
        let len = self.rng.magnitude(LEN_MAX) as usize;
        let mut bytes = format!("{} {} ", self.id, self.serial).into_bytes();
        if self.rng.one_in(3) {
            // Something that compresses and deduplicates.
            bytes.resize(len.max(bytes.len()), b'-');
        } else {
            bytes.extend(self.rng.bytes(len));
        }
        Arc::new(bytes)
    }
}

/// A content in a few words.
pub(crate) fn brief(bytes: Option<&[u8]>) -> String {
    match bytes {
        None => "nothing".to_owned(),
        Some(bytes) => {
            let head = String::from_utf8_lossy(&bytes[..bytes.len().min(12)]).into_owned();
            format!("{} bytes beginning {head:?}", bytes.len())
        }
    }
}

/// A change in a few words.
fn describe(change: &Change) -> String {
    match change {
        Change::Put { path, bytes, parts, .. } => format!("puts {} bytes into {path} (parts: {parts:?})", bytes.len()),
        Change::Write { path, offset, bytes } => format!("writes {} bytes into {path} at {offset}", bytes.len()),
        other => format!("{other:?}"),
    }
}

/// Whether a request to a server that should be there was answered.
pub(crate) fn answered<T>(reply: Reply<T>, what: &str) -> anyhow::Result<T> {
    reply.map_err(|failure| anyhow::anyhow!("{what}: {failure}"))
}
