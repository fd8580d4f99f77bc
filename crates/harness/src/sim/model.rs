//! The tree as it must be: a simple model of it, what a store shows of itself, and what may be found after a failure.

use std::collections::BTreeMap;

use strata_namespace::{Caller, Door, DoorNumber, ListQuery, Namespace, NodeKind, Op, Result};

use super::rig::BUCKET;
use super::step::{MODE, Step, bytes, split, write_offset};

static MOUNT: Door = Door { settles: false, keeps_pages: true, ..Door::of_uids("mount", DoorNumber::new(2), &[]) };

/// What a file door and the S3 door see: path to content and mode; directories hold `None`.
pub(crate) type Seen = BTreeMap<String, Option<(Vec<u8>, u32)>>;

/// A simple tree that does what the store does.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Model {
    /// Directories; whether only keys made them.
    dirs: BTreeMap<String, bool>,
    files: BTreeMap<String, usize>,
    inodes: Vec<(Vec<u8>, u32)>,
}

impl Model {
    fn is_dir(&self, path: &str) -> bool {
        path.is_empty() || self.dirs.contains_key(path)
    }

    fn is_empty(&self, path: &str) -> bool {
        let below = format!("{path}/");
        !self.dirs.keys().chain(self.files.keys()).any(|other| other.starts_with(&below))
    }

    fn keep_dir(&mut self, path: &str) {
        if let Some(implicit) = self.dirs.get_mut(path) {
            *implicit = false;
        }
    }

    fn add(&mut self, path: &str, data: Vec<u8>) {
        self.inodes.push((data, MODE));
        self.files.insert(path.to_owned(), self.inodes.len() - 1);
    }

    fn put(&mut self, key: &str, data: Vec<u8>) {
        for (at, _) in key.match_indices('/') {
            self.dirs.entry(key[..at].to_owned()).or_insert(true);
        }
        match self.files.get(key) {
            Some(file) => self.inodes[*file].0 = data,
            None => self.add(key, data),
        }
    }

    /// The content of a file, if it is one.
    fn file(&mut self, path: &str) -> Option<&mut (Vec<u8>, u32)> {
        let file = *self.files.get(path)?;
        self.inodes.get_mut(file)
    }

    /// Does the step; whether it succeeds.
    pub(crate) fn apply(&mut self, step: &Step) -> bool {
        match step {
            Step::Put(key, seed) | Step::Multipart(key, seed) | Step::PutAcross(key, seed, _) => {
                self.put(key, bytes(*seed));
            }
            Step::PutAbsent(key, seed) => {
                if self.files.contains_key(key) {
                    return false;
                }
                self.put(key, bytes(*seed));
            }
            Step::Abort(..) | Step::Abandon(_) | Step::Collect | Step::Tend => {}
            Step::Heal | Step::Scrub | Step::Checkpoint | Step::Reclaim => {}
            Step::Delete(key) => {
                if self.files.remove(key).is_some() {
                    let mut at = split(key).0;
                    while self.dirs.get(at) == Some(&true) && self.is_empty(at) {
                        self.dirs.remove(at);
                        at = split(at).0;
                    }
                }
            }
            Step::Copy(from, to) => {
                let Some((data, _)) = self.file(from).cloned() else { return false };
                self.put(to, data);
            }
            Step::Mkdir(path) => {
                if !self.is_dir(split(path).0) || self.is_dir(path) {
                    return false;
                }
                self.dirs.insert(path.clone(), false);
            }
            Step::Create(path) => {
                if !self.is_dir(split(path).0) || self.files.contains_key(path) {
                    return false;
                }
                self.add(path, Vec::new());
            }
            Step::Write(path, seed) => {
                let Some((data, _)) = self.file(path) else { return false };
                let (at, new) = (write_offset(*seed) as usize, bytes(*seed));
                data.resize(data.len().max(at + new.len()), 0);
                data[at..at + new.len()].copy_from_slice(&new);
            }
            Step::Append(path, seed) => {
                let Some((data, _)) = self.file(path) else { return false };
                data.extend(bytes(*seed));
            }
            Step::Truncate(path, len) => {
                let Some((data, _)) = self.file(path) else { return false };
                data.resize(*len as usize, 0);
            }
            Step::Chmod(path, mode) => {
                let Some((_, known)) = self.file(path) else { return false };
                *known = *mode;
            }
            Step::Unlink(path) | Step::UnlinkOpen(path) => {
                if self.files.remove(path).is_none() {
                    return false;
                }
                self.keep_dir(split(path).0);
            }
            Step::Rmdir(path) => {
                if !self.dirs.contains_key(path) || !self.is_empty(path) {
                    return false;
                }
                self.dirs.remove(path);
            }
            Step::Rename(from, to) => return self.rename(from, to),
            Step::Exchange(from, to) => {
                let (Some(one), Some(other)) = (self.files.get(from).copied(), self.files.get(to).copied()) else {
                    return false;
                };
                self.files.insert(from.clone(), other);
                self.files.insert(to.clone(), one);
            }
            Step::Link(from, to) => {
                if !self.is_dir(split(to).0) || self.files.contains_key(to) {
                    return false;
                }
                let Some(file) = self.files.get(from) else { return false };
                self.files.insert(to.clone(), *file);
            }
        }
        true
    }

    fn rename(&mut self, from: &str, to: &str) -> bool {
        if !self.is_dir(split(to).0) {
            return false;
        }
        if let Some(file) = self.files.get(from).copied() {
            if self.files.get(to) != Some(&file) {
                self.files.remove(from);
                self.files.insert(to.to_owned(), file);
                self.keep_dir(split(from).0);
            }
            return true;
        }
        if !self.dirs.contains_key(from) || to.starts_with(&format!("{from}/")) {
            return false;
        }
        if from == to {
            return true;
        }
        if self.is_dir(to) && !self.is_empty(to) {
            return false;
        }
        let moved = |path: &String| match path.strip_prefix(from) {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => format!("{to}{rest}"),
            _ => path.clone(),
        };
        self.dirs.remove(to);
        self.dirs = self.dirs.iter().map(|(path, implicit)| (moved(path), *implicit)).collect();
        self.files = self.files.iter().map(|(path, file)| (moved(path), *file)).collect();
        self.dirs.insert(to.to_owned(), false);
        self.keep_dir(split(from).0);
        true
    }

    /// What a store in this state shows.
    pub(crate) fn seen(&self) -> Seen {
        let files = self.files.iter().map(|(path, file)| (path.clone(), Some(self.inodes[*file].clone())));
        self.dirs.keys().map(|path| (path.clone(), None)).chain(files).collect()
    }
}

/// What the store shows to a user of the mount: the tree through the file door, with every byte read.
pub(crate) fn seen(ns: &Namespace) -> Result<Seen> {
    seen_by(ns, &mounted())
}

/// Whoever sees changes before they are durable.
fn mounted() -> Op {
    Op::new(Caller::root(&MOUNT))
}

/// The same as `op` sees it.
pub(crate) fn seen_by(ns: &Namespace, op: &Op) -> Result<Seen> {
    let mut all = Seen::new();
    let mut left = vec![(ns.resolve(op, format!("/{BUCKET}").as_bytes())?.ino, String::new())];
    while let Some((ino, path)) = left.pop() {
        for entry in ns.readdir(op, ino, &[], 1000)?.entries {
            let name = format!("{path}{}", String::from_utf8_lossy(&entry.name));
            if entry.attr.kind == NodeKind::Directory {
                left.push((entry.attr.ino, format!("{name}/")));
                all.insert(name, None);
                continue;
            }
            let mut data = Vec::new();
            loop {
                let step = ns.read(op, entry.attr.ino, data.len() as u64, 1 << 20)?;
                if step.is_empty() {
                    break;
                }
                data.extend_from_slice(&step);
            }
            all.insert(name, Some((data, entry.attr.mode)));
        }
    }
    Ok(all)
}

/// Whether the S3 door lists exactly the files of `seen`.
pub(crate) fn listed_alike(ns: &Namespace, seen: &Seen) -> Result<bool> {
    let query = ListQuery { limit: 1000, ..ListQuery::default() };
    let page = ns.list(&mounted(), BUCKET, &query)?;
    let keys = page.objects.iter().map(|(key, info)| (key.as_slice(), info.attr.size));
    let keys = keys.filter(|(key, _)| !key.ends_with(b"/"));
    let files = seen.iter().filter_map(|(path, file)| Some((path.as_bytes(), file.as_ref()?.0.len() as u64)));
    Ok(keys.eq(files))
}

/// The first difference between what is there and what should be, in words.
pub(crate) fn difference(found: &Seen, expected: &Seen) -> String {
    let paths = found.keys().chain(expected.keys());
    let differing = paths.filter(|path| found.get(*path) != expected.get(*path)).map(|path| {
        let say = |tree: &Seen| match tree.get(path) {
            None => "nothing".to_owned(),
            Some(None) => "a directory".to_owned(),
            Some(Some((data, mode))) => {
                format!("{} bytes {} mode {mode:o}", data.len(), &blake3::hash(data).to_hex()[..8])
            }
        };
        format!("'{path}' is {} and should be {}", say(found), say(expected))
    });
    differing.take(3).collect::<Vec<_>>().join("; ")
}

/// Which states a store may be in, as far as its answers tell.
#[derive(Clone, Debug)]
pub(crate) struct Possible {
    /// What it may show now. More than one only after an error that left the outcome open.
    now: Vec<Model>,
    /// What a crash may leave: every state since the last acknowledgement.
    after_crash: Vec<Model>,
    /// What it shows now without a write whose sync failed: such bytes stay staged and are shown, and nothing but a sync of
    /// their own file makes them durable.
    unstaged: Vec<Model>,
}

impl Possible {
    /// A store in a known, durable state.
    pub(crate) fn known(model: Model) -> Self {
        Self { now: vec![model.clone()], after_crash: vec![model], unstaged: Vec::new() }
    }

    /// Notes a step and its answer; `durable` if everything up to it was acknowledged as durable. Says so where the
    /// answer is one that no state allows.
    pub(crate) fn note(&mut self, step: &Step, answer: &Result<()>, durable: bool) -> Result<(), String> {
        let apply = |models: &[Model]| -> Vec<Model> {
            let applied = models.iter().cloned().map(|mut model| model.apply(step).then_some(model));
            applied.flatten().collect()
        };
        let (applied, mut unstaged) = (apply(&self.now), apply(&self.unstaged));
        if answer.is_err() {
            unstaged.extend(std::mem::take(&mut self.unstaged));
            if step.stages() && !applied.is_empty() {
                unstaged.extend(self.now.iter().cloned());
            }
        }
        self.unstaged.clear();
        unstaged.into_iter().for_each(|model| add(&mut self.unstaged, model));
        match answer {
            Ok(()) if applied.is_empty() => return Err(format!("{step:?} succeeded and should have been refused")),
            Ok(()) => self.now = applied,
            Err(_) => applied.into_iter().for_each(|model| add(&mut self.now, model)),
        }
        if durable {
            self.after_crash.clone_from(&self.now);
        } else {
            for model in &self.now {
                add(&mut self.after_crash, model.clone());
            }
        }
        for model in &self.unstaged {
            add(&mut self.after_crash, model.clone());
        }
        Ok(())
    }

    /// Everything so far was acknowledged as durable.
    pub(crate) fn all_durable(&mut self) {
        self.after_crash.clone_from(&self.now);
    }

    /// Everything that was committed so far is durable; what is only staged is not.
    pub(crate) fn commits_durable(&mut self) {
        self.after_crash.clone_from(&self.now);
        for model in &self.unstaged {
            add(&mut self.after_crash, model.clone());
        }
    }

    /// Checks what a running store shows, which also decides what was open.
    pub(crate) fn check_now(&mut self, found: &Seen) -> Result<(), String> {
        narrow(&mut self.now, found, "the store shows no state that it can be in")
    }

    /// Checks what a crash left; that is the state from here on.
    pub(crate) fn check_after_crash(&mut self, found: &Seen) -> Result<(), String> {
        narrow(&mut self.after_crash, found, "no state since the last acknowledgement was left")?;
        self.unstaged.clear();
        self.now.clone_from(&self.after_crash);
        Ok(())
    }

    /// Checks what a store shows that was opened with too few disks to write: another opening may decide otherwise.
    pub(crate) fn check_undecided(&mut self, found: &Seen) -> Result<(), String> {
        let mut open = self.after_crash.clone();
        narrow(&mut open, found, "no state since the last acknowledgement was left")?;
        self.unstaged.clear();
        self.now = open;
        Ok(())
    }

    /// Whether the step would succeed in every state.
    pub(crate) fn allows(&self, step: &Step) -> bool {
        self.now.iter().all(|model| model.clone().apply(step))
    }

    /// What the store may show, or may have shown since the last acknowledgement.
    pub(crate) fn models(&self) -> Vec<Model> {
        self.now.iter().chain(&self.after_crash).cloned().collect()
    }

    /// Whether it is known what the store shows.
    pub(crate) fn is_known(&self) -> bool {
        self.now.len() == 1
    }
}

fn add(models: &mut Vec<Model>, model: Model) {
    if !models.contains(&model) {
        models.push(model);
    }
}

fn narrow(models: &mut Vec<Model>, found: &Seen, what: &str) -> Result<(), String> {
    let fits: Vec<Model> = models.iter().filter(|model| model.seen() == *found).cloned().collect();
    if fits.is_empty() {
        let nearest = models.last().map(|model| difference(found, &model.seen())).unwrap_or_default();
        return Err(format!("{what} ({} were possible): {nearest}", models.len()));
    }
    *models = fits;
    Ok(())
}
