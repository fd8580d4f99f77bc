//! Random changes of the tree through both of its interfaces, compared with a simple tree; with restarts, and with crashes at
//! any I/O, after which the state is one of those since the last that was acknowledged.

use std::collections::BTreeMap;

use strata_namespace::{Condition, Namespace, NewNode, NodeKind, ObjectMeta, Op, RenameMode, Result};
use strata_seam::Ino;
use strata_seam::sim::SimRng;

use crate::support::*;

/// What a file door sees: path to content; directories hold `None`.
type Seen = BTreeMap<String, Option<Vec<u8>>>;

#[derive(Clone, Debug)]
enum Step {
    Put(String, u64),
    Delete(String),
    Copy(String, String),
    Mkdir(String),
    Create(String),
    Write(String, u64),
    Unlink(String),
    Rmdir(String),
    Rename(String, String),
    Link(String, String),
}

/// Paths of up to three levels; directories and files have names of their own, so that none is an alias.
fn dir(rng: &mut SimRng) -> String {
    let depth = rng.below(3);
    (0..depth).map(|_| format!("d{}/", rng.below(3))).collect()
}

fn file(rng: &mut SimRng) -> String {
    format!("{}f{}", dir(rng), rng.below(3))
}

fn step(rng: &mut SimRng) -> Step {
    let below = |rng: &mut SimRng| format!("{}d{}", dir(rng), rng.below(3));
    match rng.below(12) {
        0..=2 => Step::Put(file(rng), rng.below(1 << 30)),
        3 => Step::Delete(file(rng)),
        4 => Step::Copy(file(rng), file(rng)),
        5 => Step::Mkdir(below(rng)),
        6 => Step::Create(file(rng)),
        7 => Step::Write(file(rng), rng.below(1 << 30)),
        8 => Step::Unlink(file(rng)),
        9 => Step::Rmdir(below(rng)),
        10 if rng.one_in(2) => Step::Rename(below(rng), below(rng)),
        10 => Step::Rename(file(rng), file(rng)),
        _ => Step::Link(file(rng), file(rng)),
    }
}

fn bytes(seed: u64) -> Vec<u8> {
    noise(seed, usize::try_from(seed % 3000).unwrap())
}

/// Directory and name.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

fn apply(ns: &Namespace, op: &Op, step: &Step) -> Result<()> {
    let at = |path: &str| ns.resolve(op, format!("/bkt/{path}").as_bytes()).map(|attr| attr.ino);
    let place =
        |path: &'_ str| -> Result<(Ino, Vec<u8>)> { Ok((at(split(path).0)?, split(path).1.as_bytes().to_vec())) };
    match step {
        Step::Put(key, seed) => {
            let mut ingest = ns.ingest(op, "bkt")?;
            ingest.push(&bytes(*seed))?;
            let content = ingest.finish()?;
            ns.put_object(op, "bkt", key.as_bytes(), content, None, ObjectMeta::default(), &Condition::default())
                .map(|_| ())
        }
        Step::Delete(key) => ns.delete_object(op, "bkt", key.as_bytes(), &Condition::default()).map(|_| ()),
        Step::Copy(from, to) => {
            let (from, to) = (("bkt", from.as_bytes()), ("bkt", to.as_bytes()));
            ns.copy_object(op, from, &Condition::default(), to, &Condition::default(), None).map(|_| ())
        }
        Step::Mkdir(path) => place(path).and_then(|(dir, name)| ns.mkdir(op, dir, &name, 0o755)).map(|_| ()),
        Step::Create(path) => {
            let (dir, name) = place(path)?;
            ns.mknod(op, dir, &name, NewNode { kind: NodeKind::File, mode: 0o644, rdev: 0 }).map(|_| ())
        }
        Step::Write(path, seed) => {
            let ino = at(path)?;
            ns.write(op, ino, seed % 5000, &bytes(*seed))?;
            ns.fsync(op, ino)
        }
        Step::Unlink(path) => place(path).and_then(|(dir, name)| ns.unlink(op, dir, &name)),
        Step::Rmdir(path) => place(path).and_then(|(dir, name)| ns.rmdir(op, dir, &name)),
        Step::Rename(from, to) => {
            let (from, to) = (place(from)?, place(to)?);
            ns.rename(op, (from.0, &from.1), (to.0, &to.1), RenameMode::Replace)
        }
        Step::Link(from, to) => {
            let (ino, to) = (at(from)?, place(to)?);
            ns.link(op, ino, to.0, &to.1).map(|_| ())
        }
    }
}

fn seen(ns: &Namespace) -> Seen {
    let mut all = Seen::new();
    let mut left = vec![(ns.resolve(&root(), b"/bkt").unwrap().ino, String::new())];
    while let Some((ino, path)) = left.pop() {
        let mut dirs = 0;
        for entry in ns.readdir(&root(), ino, &[], 1000).unwrap().entries {
            let name = format!("{path}{}", String::from_utf8(entry.name).unwrap());
            if entry.attr.kind == NodeKind::Directory {
                dirs += 1;
                left.push((entry.attr.ino, format!("{name}/")));
                all.insert(name, None);
            } else {
                all.insert(name, Some(read_file(ns, entry.attr.ino)));
            }
        }
        assert_eq!(ns.getattr(&root(), ino).unwrap().nlink, 2 + dirs);
    }
    all
}

/// A simple tree that does the same.
#[derive(Clone, Default)]
struct Model {
    /// Directories; whether only keys made them.
    dirs: BTreeMap<String, bool>,
    files: BTreeMap<String, usize>,
    contents: Vec<Vec<u8>>,
}

impl Model {
    fn is_dir(&self, path: &str) -> bool {
        path.is_empty() || self.dirs.contains_key(path)
    }
    fn is_empty(&self, path: &str) -> bool {
        let below = format!("{path}/");
        !self.dirs.keys().chain(self.files.keys()).any(|other| other.starts_with(&below))
    }
    fn make_dirs(&mut self, path: &str) {
        for (at, _) in path.match_indices('/') {
            self.dirs.entry(path[..at].to_owned()).or_insert(true);
        }
    }
    fn add(&mut self, path: &str, data: Vec<u8>) {
        self.contents.push(data);
        self.files.insert(path.to_owned(), self.contents.len() - 1);
    }
    fn keep_dir(&mut self, path: &str) {
        if let Some(implicit) = self.dirs.get_mut(path) {
            *implicit = false;
        }
    }
    fn put(&mut self, key: &str, data: Vec<u8>) {
        self.make_dirs(key);
        match self.files.get(key) {
            Some(file) => self.contents[*file] = data,
            None => self.add(key, data),
        }
    }

    /// Whether the step succeeds.
    fn apply(&mut self, step: &Step) -> bool {
        match step {
            Step::Put(key, seed) => self.put(key, bytes(*seed)),
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
                let Some(file) = self.files.get(from) else { return false };
                self.put(to, self.contents[*file].clone());
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
                let Some(file) = self.files.get(path) else { return false };
                let (data, new) = (&mut self.contents[*file], bytes(*seed));
                let at = usize::try_from(seed % 5000).unwrap();
                if !new.is_empty() {
                    data.resize(data.len().max(at + new.len()), 0);
                    data[at..at + new.len()].copy_from_slice(&new);
                }
            }
            Step::Unlink(path) => {
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

    fn seen(&self) -> Seen {
        let files = self.files.iter().map(|(path, file)| (path.clone(), Some(self.contents[*file].clone())));
        self.dirs.keys().map(|path| (path.clone(), None)).chain(files).collect()
    }
}

#[test]
fn the_tree_behaves_like_a_simple_one_whatever_is_done_to_it() {
    for seed in 0..12 {
        let mut rng = SimRng::new(seed);
        let (world, mut store) = store();
        let mut model = Model::default();
        for n in 0..150 {
            let step = step(&mut rng);
            let op = root();
            let done = apply(store.namespace(), &op, &step);
            assert_eq!(done.is_ok(), model.apply(&step), "seed {seed}, step {n}: {step:?}: {done:?}");
            assert_eq!(seen(store.namespace()), model.seen(), "seed {seed}, step {n}: {step:?}");
            if rng.one_in(20) {
                store.namespace().sync_all(&op).unwrap();
                store.namespace().settle_blocking(&op).unwrap();
                drop(store);
                world.restart(n);
                store = open(&world);
                assert_eq!(seen(store.namespace()), model.seen(), "seed {seed}, restarted after step {n}");
            }
        }
        let listed: Vec<String> =
            keys(store.namespace(), "", None).0.into_iter().filter(|key| !key.ends_with('/')).collect();
        assert_eq!(listed, model.files.keys().cloned().collect::<Vec<_>>(), "seed {seed}");
        sound(store.namespace());
    }
}

#[test]
fn after_a_crash_at_any_moment_the_tree_is_one_that_was_and_holds_what_was_acknowledged() {
    for seed in 100..160 {
        let mut rng = SimRng::new(seed);
        let (world, store) = store();
        put(store.namespace(), "f0", b"kept");
        let mut model = Model::default();
        model.apply(&Step::Create("f0".to_owned()));
        model.contents[0] = b"kept".to_vec();
        let mut states = vec![model.seen()];
        let mut acknowledged = 0;
        world.crash_at(world.io_count() + 1 + rng.below(120));
        for _ in 0..200 {
            let step = step(&mut rng);
            let op = root();
            let done = apply(store.namespace(), &op, &step);
            if world.is_crashed() {
                // Whether the step's commit was written is open.
                model.apply(&step);
                states.push(model.seen());
                break;
            }
            assert_eq!(done.is_ok(), model.apply(&step), "seed {seed}: {step:?}: {done:?}");
            states.push(model.seen());
            if rng.one_in(3) && store.namespace().settle_blocking(&op).is_ok() {
                // What an answer depends on is durable; a step that changed nothing may depend on less than all before it.
                if op.lsn() == store.namespace().store().last_commit() {
                    acknowledged = states.len() - 1;
                }
            }
            if world.is_crashed() {
                break;
            }
        }
        drop(store);
        if !world.is_crashed() {
            world.kill_process();
        }
        let crashed = world.snapshot();
        for choice in 0..5u64 {
            world.restore(&crashed);
            world.restart(choice);
            if choice > 1 {
                world.vanish(&format!("disk{}", choice - 2));
            }
            let store =
                try_open(&world, 2, 1).unwrap_or_else(|error| panic!("seed {seed}, choice {choice}: {error:?}"));
            let found = seen(store.namespace());
            assert!(
                states[acknowledged..].contains(&found),
                "seed {seed}, choice {choice}: {acknowledged} of {} steps acknowledged; found {:?}",
                states.len() - 1,
                states.iter().position(|state| *state == found)
            );
            sound(store.namespace());
        }
    }
}
