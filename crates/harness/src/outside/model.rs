//! What one client did and what must therefore be found: the executable form of invariants ACK and PREFIX, seen from outside.
//!
//! A client works on a directory of its own, one change at a time. A change is one or more *steps*; each gives the state after
//! it and says whether the reply to it promised durability. After a crash the directory is in the state after some prefix
//! of the client's steps that contains every step whose durability was acknowledged; of the one change that was under way
//! any number of steps may have happened. That is one state for *all* paths of the client together, so effects out of
//! order are found, too.

use std::collections::BTreeMap;
use std::sync::Arc;

/// What a path is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Node {
    /// A directory that was made by name.
    Dir,
    /// A file.
    File(File),
}

/// A file, as far as it is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct File {
    /// Its content.
    pub(crate) bytes: Arc<Vec<u8>>,
    /// The user metadata `tag`, known if the content came with it.
    pub(crate) tag: Option<String>,
    /// Permission bits, if they were set.
    pub(crate) mode: Option<u32>,
    /// What it was before, and where writing began, if only a part of the last write may be there.
    pub(crate) torn: Option<(Arc<Vec<u8>>, usize)>,
}

impl File {
    /// A file with this content and nothing else known.
    pub(crate) fn plain(bytes: Arc<Vec<u8>>) -> Self {
        Self { bytes, tag: None, mode: None, torn: None }
    }

    /// Whether `found` may be its content.
    pub(crate) fn admits(&self, found: &[u8]) -> bool {
        let Some((old, offset)) = &self.torn else { return found == &**self.bytes };
        // Any number of bytes from `offset` on may have been written: as many as agree, and behind them what was before.
        let new = &self.bytes[*offset..];
        let Some(written) = found.get(*offset..) else { return found == **old };
        let agree = written.iter().zip(new).take_while(|(found, new)| found == new).count();
        let rest = old.get(offset + agree..).unwrap_or_default();
        found[..*offset] == old[..*offset] && &written[agree..] == rest
    }
}

/// All paths of a client, below its directory.
pub(crate) type State = BTreeMap<String, Node>;

/// Something a client wants.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// Makes or replaces a file; as an upload in that many parts, if any.
    Put { path: String, bytes: Arc<Vec<u8>>, tag: Option<String>, parts: Option<usize> },
    /// Removes a file.
    Remove { path: String },
    /// Moves a file or a directory; a file that is in the way is replaced.
    Rename { from: String, to: String },
    /// Copies a file, whole.
    Copy { from: String, to: String },
    /// Writes within a file or right behind its end.
    Write { path: String, offset: usize, bytes: Arc<Vec<u8>> },
    /// Sets the length.
    Truncate { path: String, len: usize },
    /// Sets permission bits.
    Chmod { path: String, mode: u32 },
    /// Makes a directory.
    Mkdir { path: String },
    /// Removes an empty directory.
    Rmdir { path: String },
}

/// How a door carries a change out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Manner {
    /// A new content appears in one piece; otherwise the file is made or emptied first, and then written.
    pub(crate) whole: bool,
    /// It is durable soon after the reply; otherwise once it is answered.
    pub(crate) soon: bool,
    /// A write may be cut into several.
    pub(crate) pieces: bool,
}

/// A state with whether its being reached was acknowledged as durable.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// All paths after it.
    pub(crate) state: State,
    /// Whether the reply promised that it stays.
    pub(crate) durable: bool,
}

fn file<'a>(state: &'a State, path: &str) -> Option<&'a File> {
    match state.get(path) {
        Some(Node::File(file)) => Some(file),
        _ => None,
    }
}

impl Change {
    /// The paths it changes.
    pub(crate) fn paths(&self) -> Vec<&str> {
        match self {
            Self::Rename { from, to } => vec![from, to],
            Self::Copy { to: path, .. }
            | Self::Put { path, .. }
            | Self::Remove { path }
            | Self::Write { path, .. }
            | Self::Truncate { path, .. }
            | Self::Chmod { path, .. }
            | Self::Mkdir { path }
            | Self::Rmdir { path } => vec![path],
        }
    }

    /// The states that carrying this out in `manner` goes through, the last one last. A change that makes no sense in
    /// `state` goes through none.
    pub(crate) fn steps(&self, state: &State, manner: Manner) -> Vec<Step> {
        let mut steps: Vec<State> = Vec::new();
        let mut to = |path: &str, node: Option<Node>| {
            let mut next = steps.last().unwrap_or(state).clone();
            match node {
                Some(node) => next.insert(path.to_owned(), node),
                None => next.remove(path),
            };
            steps.push(next);
        };
        match self {
            Self::Put { path, bytes, tag, .. } => {
                if manner.whole {
                    // What this does to permission bits set before is not promised here.
                    to(path, Some(Node::File(File { tag: tag.clone(), ..File::plain(Arc::clone(bytes)) })));
                } else {
                    let mode = file(state, path).and_then(|file| file.mode);
                    let empty = Arc::default();
                    to(path, Some(Node::File(File { mode, ..File::plain(Arc::clone(&empty)) })));
                    if manner.pieces {
                        let torn = Some((empty, 0));
                        to(path, Some(Node::File(File { mode, torn, ..File::plain(Arc::clone(bytes)) })));
                    }
                    to(path, Some(Node::File(File { mode, ..File::plain(Arc::clone(bytes)) })));
                }
            }
            Self::Remove { path } | Self::Rmdir { path } => to(path, None),
            Self::Rename { from, to: into } => {
                let mut next = state.clone();
                let below = format!("{from}/");
                for (path, node) in state {
                    if path == from {
                        next.remove(path);
                        next.insert(into.clone(), node.clone());
                    } else if let Some(rest) = path.strip_prefix(&below) {
                        next.remove(path);
                        next.insert(format!("{into}/{rest}"), node.clone());
                    }
                }
                steps.push(next);
            }
            Self::Copy { from, to: into } => {
                if let Some(source) = file(state, from) {
                    to(into, Some(Node::File(File::plain(Arc::clone(&source.bytes)))));
                }
            }
            Self::Write { path, offset, bytes } => {
                if let Some(old) = file(state, path) {
                    let mut new = old.bytes.to_vec();
                    new.resize(new.len().max(offset + bytes.len()), 0);
                    new[*offset..offset + bytes.len()].copy_from_slice(bytes);
                    // Until all of it is written the part behind it is what it was.
                    let new = File { bytes: Arc::new(new), tag: None, mode: old.mode, torn: None };
                    if manner.pieces {
                        let written = Arc::new(new.bytes[..offset + bytes.len()].to_vec());
                        let torn = Some((Arc::clone(&old.bytes), *offset));
                        to(path, Some(Node::File(File { bytes: written, torn, ..new.clone() })));
                    }
                    to(path, Some(Node::File(new)));
                }
            }
            Self::Truncate { path, len } => {
                if let Some(old) = file(state, path) {
                    let mut new = old.bytes.to_vec();
                    new.resize(*len, 0);
                    to(path, Some(Node::File(File { mode: old.mode, ..File::plain(Arc::new(new)) })));
                }
            }
            Self::Chmod { path, mode } => {
                if let Some(old) = file(state, path) {
                    to(path, Some(Node::File(File { mode: Some(*mode), ..old.clone() })));
                }
            }
            Self::Mkdir { path } => to(path, Some(Node::Dir)),
        }
        let last = steps.len().saturating_sub(1);
        let durable = |at: usize| !manner.soon && at == last;
        steps.into_iter().enumerate().map(|(at, state)| Step { state, durable: durable(at) }).collect()
    }
}

/// What may be found of a client's directory after a crash.
#[derive(Clone, Debug)]
pub(crate) struct History {
    /// In order; the first is the last one acknowledged as durable.
    possible: Vec<State>,
    /// States that changes without an answer from before may still lead to: a store below its write quorum shows what its
    /// disks tell, but cannot decide about the end of its log before the others are back.
    later: Vec<State>,
}

impl History {
    /// Everything in `state` is durable.
    pub(crate) fn new(state: State) -> Self {
        Self { possible: vec![state], later: Vec::new() }
    }

    /// What every reader sees now.
    pub(crate) fn now(&self) -> &State {
        // There is always one.
        self.possible.last().unwrap_or(&self.possible[0])
    }

    /// States that a crash may leave; the last acknowledged one first.
    pub(crate) fn possible(&self) -> impl DoubleEndedIterator<Item = &State> + ExactSizeIterator + Clone {
        (0..self.possible.len() + self.later.len())
            .map(|at| self.possible.get(at).unwrap_or_else(|| &self.later[at - self.possible.len()]))
    }

    /// After a crash the one numbered `at` was found, and is `state` in full. A store that takes no writes
    /// (`undecided`) may show a later one when it does.
    pub(crate) fn found(&mut self, at: usize, state: State, undecided: bool) {
        let later = self.possible().skip(at + 1).cloned().collect();
        self.later = if undecided { later } else { Vec::new() };
        self.possible = vec![state];
    }

    /// These steps were acknowledged.
    pub(crate) fn acknowledged(&mut self, steps: Vec<Step>) {
        for Step { state, durable } in steps {
            if durable {
                self.possible.clear();
            }
            self.possible.push(state);
        }
    }

    /// Of these steps any number may have happened.
    pub(crate) fn under_way(&mut self, steps: Vec<Step>) {
        self.possible.extend(steps.into_iter().map(|step| step.state));
    }

    /// Everything seen so far was told to somebody who may rely on it.
    pub(crate) fn told(&mut self) {
        self.possible.drain(..self.possible.len() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: Manner = Manner { whole: true, soon: false, pieces: false };
    const FILE: Manner = Manner { whole: false, soon: false, pieces: true };
    const SOON: Manner = Manner { whole: true, soon: true, pieces: false };

    fn put(path: &str, bytes: &[u8]) -> Change {
        Change::Put { path: path.to_owned(), bytes: Arc::new(bytes.to_vec()), tag: None, parts: None }
    }

    fn rename(from: &str, to: &str) -> Change {
        Change::Rename { from: from.to_owned(), to: to.to_owned() }
    }

    fn content<'a>(state: &'a State, path: &str) -> &'a [u8] {
        &file(state, path).unwrap().bytes
    }

    #[test]
    fn an_acknowledged_change_leaves_one_possibility_and_one_under_way_two() {
        let mut history = History::new(State::new());
        history.acknowledged(put("a", b"1").steps(history.now(), WHOLE));
        assert_eq!(history.possible().len(), 1);
        history.under_way(put("a", b"2").steps(history.now(), WHOLE));
        let found: Vec<&[u8]> = history.possible().map(|state| content(state, "a")).collect();
        assert_eq!(found, [b"1", b"2"]);
    }

    #[test]
    fn a_store_that_takes_no_writes_decides_nothing_about_changes_without_an_answer() {
        let mut history = History::new(State::new());
        history.acknowledged(put("a", b"1").steps(history.now(), WHOLE));
        history.under_way(put("a", b"2").steps(history.now(), WHOLE));
        let first = history.now().clone();
        let old = history.possible().next().cloned().unwrap();
        let mut decided = history.clone();
        history.found(0, old.clone(), true);
        assert_eq!(content(history.now(), "a"), b"1");
        assert!(history.possible().any(|state| *state == first));
        history.found(1, first, false);
        assert_eq!((history.possible().len(), content(history.now(), "a")), (1, b"2".as_slice()));
        decided.found(0, old, false);
        assert_eq!(decided.possible().len(), 1);
    }

    #[test]
    fn changes_that_are_durable_soon_pile_up_until_one_is_durable_now() {
        let mut history = History::new(State::new());
        history.acknowledged(put("a", b"1").steps(history.now(), WHOLE));
        history.acknowledged(rename("a", "b").steps(history.now(), SOON));
        history.acknowledged(rename("b", "c").steps(history.now(), SOON));
        assert_eq!(history.possible().len(), 3);
        history.acknowledged(put("d", b"2").steps(history.now(), WHOLE));
        assert_eq!(history.possible().len(), 1);
        assert_eq!(content(history.now(), "c"), b"1");
    }

    #[test]
    fn a_file_written_in_pieces_may_have_any_number_of_them_but_nothing_else() {
        let mut history = History::new(State::new());
        history.acknowledged(put("a", b"old content").steps(history.now(), WHOLE));
        history.under_way(
            Change::Write { path: "a".to_owned(), offset: 4, bytes: Arc::new(b"CONTENT AND MORE".to_vec()) }
                .steps(history.now(), FILE),
        );
        let admitted = |found: &[u8]| history.possible().any(|state| file(state, "a").unwrap().admits(found));
        assert!(admitted(b"old content") && admitted(b"old CONtent") && admitted(b"old CONTENT AND MORE"));
        assert!(admitted(b"old CONTENT AND"));
        assert!(!admitted(b"old CONxent") && !admitted(b"OLD content") && !admitted(b"old CONT") && !admitted(b"old"));
    }

    #[test]
    fn directories_move_with_everything_below() {
        let mut state = State::new();
        state.insert("d".to_owned(), Node::Dir);
        state.insert("d/f".to_owned(), Node::File(File::plain(Arc::default())));
        state.insert("d2".to_owned(), Node::Dir);
        let steps = rename("d", "e").steps(&state, SOON);
        let paths: Vec<&String> = steps[0].state.keys().collect();
        assert_eq!(paths, ["d2", "e", "e/f"]);
    }
}
