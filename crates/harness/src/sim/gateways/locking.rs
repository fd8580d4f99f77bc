//! What locks forbid, by rules of their own: nothing is accepted that one forbids, none ends but by who holds it or by time, and processes
//! never hold what is in each other's way.

use std::collections::BTreeMap;

use strata_namespace::records::{Bucket, key};
use strata_namespace::{Caller, HeldRange, LockRecord, Namespace, NodeKind, Op, ROOT_INO, RangeKind, STORE};
use strata_seam::Ino;

/// The users that lock.
pub(super) const USERS: [&str; 2] = ["ann", "bob"];

/// A lock that was granted.
#[derive(Clone, Debug)]
struct Granted {
    lock: LockRecord,
    /// Its path, with `/` at the end of a directory's.
    place: String,
}

/// What an accepted step touched, as far as it is known beforehand.
#[derive(Clone, Debug)]
pub(super) enum Touched {
    /// Something in this directory, of which only the path is known.
    Below(String),
    /// The members of this directory.
    Members(String),
    /// A file by its path.
    File(String),
    /// The same, or, where it was new, the members of one of the directories above it.
    Put(String),
}

impl Touched {
    fn path(&self) -> &str {
        let (Self::Below(path) | Self::Members(path) | Self::File(path) | Self::Put(path)) = self;
        path
    }

    /// What it may have been: one of these.
    fn either(&self) -> Vec<Self> {
        let Self::Put(path) = self else { return vec![self.clone()] };
        let dirs = path.match_indices('/').map(|(at, _)| Self::Members(path[..=at].to_owned()));
        std::iter::once(Self::File(path.clone())).chain(dirs).collect()
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Granteds {
    by_token: BTreeMap<String, Granted>,
    /// So many were granted; makes their tokens.
    pub(super) count: u64,
}

/// Whose locks a step may pass.
#[derive(Clone, Copy, Debug)]
pub(super) struct Actor(pub(super) Option<&'static str>);

impl Actor {
    fn holds(self, lock: &LockRecord) -> bool {
        self.0 == Some(lock.principal.as_str())
    }
}

fn operator() -> Op {
    Op::new(Caller::root(&STORE))
}

impl Granteds {
    /// A request of an actor, with all tokens that it has.
    pub(super) fn op(&self, actor: Actor) -> Op {
        let op = super::super::rig::root();
        if let Some(user) = actor.0 {
            let own = self.by_token.values().filter(|granted| granted.lock.principal == user);
            op.submit(user, own.map(|granted| granted.lock.token.clone()).collect());
        }
        op
    }

    /// A lock of this user.
    pub(super) fn one_of(&self, actor: Actor, which: u64) -> Option<(Ino, String)> {
        let own: Vec<_> = self.by_token.values().filter(|granted| actor.holds(&granted.lock)).collect();
        let granted = own.get(usize::try_from(which).ok()? % own.len().max(1))?;
        Some((granted.lock.ino?, granted.lock.token.clone()))
    }

    pub(super) fn granted(&mut self, watcher: &Namespace, lock: LockRecord) {
        let Some(attr) = lock.ino.and_then(|ino| watcher.getattr(&operator(), ino).ok()) else { return };
        let mut place = String::from_utf8_lossy(&lock.path).into_owned();
        if attr.kind == NodeKind::Directory && !place.ends_with('/') {
            place.push('/');
        }
        self.by_token.insert(lock.token.clone(), Granted { lock, place });
    }

    /// Reads which there are, after a step of an actor was accepted (or nothing was done, with `None`).
    ///
    /// # Errors
    /// One ended that the actor does not hold, or is there without having been granted.
    pub(super) fn look(&mut self, ns: &Namespace, by: Option<Actor>) -> Result<(), String> {
        let now = ns.now();
        let there = ns.locks(&operator()).map_err(|error| format!("the locks cannot be read: {error:?}"))?;
        let there: BTreeMap<String, LockRecord> = there.into_iter().map(|lock| (lock.token.clone(), lock)).collect();
        if let Some(token) = there.keys().find(|token| !self.by_token.contains_key(*token)) {
            return Err(format!("there is a lock that was not granted: {token}"));
        }
        let before = self.by_token.clone();
        self.by_token.retain(|token, _| there.contains_key(token));
        for (token, granted) in &mut self.by_token {
            granted.lock.clone_from(&there[token]);
        }
        for (token, granted) in before.iter().filter(|(token, _)| !there.contains_key(*token)) {
            let ended = granted.lock.expires.is_some_and(|end| end <= now);
            // Of shared ones that cover one place one is enough.
            let node = Touched::File(granted.place.clone());
            let covering = || before.values().filter(|other| covers(other, &node));
            let held = by.is_some_and(|by| covering().any(|other| by.holds(&other.lock)));
            if !ended && !held {
                return Err(format!("lock {token} on {} ended by {by:?}", granted.place));
            }
        }
        Ok(())
    }

    /// The lock that forbids what was accepted, if one does.
    pub(super) fn forbids(&self, now: strata_seam::Timestamp, actor: Actor, touched: &[Touched]) -> Option<String> {
        let forbidden = |touched: &Touched| {
            let each: Option<Vec<_>> = touched.either().iter().map(|one| self.forbids_one(now, actor, one)).collect();
            each.and_then(|each| each.into_iter().next())
        };
        touched.iter().find_map(forbidden)
    }

    fn forbids_one(&self, now: strata_seam::Timestamp, actor: Actor, touched: &Touched) -> Option<String> {
        let standing = || self.by_token.values().filter(|granted| granted.lock.expires.is_none_or(|end| end > now));
        let covering: Vec<_> = standing().filter(|granted| covers(granted, touched)).collect();
        let exclusive = covering.iter().find(|granted| !granted.lock.shared && !actor.holds(&granted.lock));
        let shared = covering.iter().find(|granted| granted.lock.shared);
        // Where what was touched is known by its path alone, a lock of the actor's anywhere on the way may be what counts.
        let on_the_way = |granted: &Granted| {
            matches!(touched, Touched::Below(_)) && touched.path().starts_with(granted.place.trim_end_matches('/'))
        };
        let mut own = standing().filter(|granted| actor.holds(&granted.lock));
        let any = own.any(|granted| covers(granted, touched) || on_the_way(granted));
        let granted = exclusive.or(shared.filter(|_| !any))?;
        Some(format!("{touched:?} was changed by {actor:?}, and is locked: {granted:?}"))
    }
}

fn covers(Granted { lock, place }: &Granted, touched: &Touched) -> bool {
    let above = lock.deep && place.ends_with('/') && touched.path().starts_with(place.as_str());
    let exactly = match touched {
        Touched::Below(_) | Touched::Put(_) => false,
        Touched::Members(path) | Touched::File(path) => path == place,
    };
    above || exactly
}

/// Whether the records of buckets say how many locks there are.
///
/// # Errors
/// One does not.
pub(super) fn counts_agree(ns: &Namespace) -> Result<(), String> {
    let all = |table: u8| ns.store().range(&[table], &[table + 1], usize::MAX >> 1);
    let unread = |error: &dyn std::fmt::Debug| format!("the rows of locks cannot be read: {error:?}");
    let mut counts: BTreeMap<Ino, u64> = BTreeMap::new();
    for (row, _) in all(key::TABLE_LOCK).map_err(|error| unread(&error))? {
        let bucket = row.get(1..9).and_then(|bucket| bucket.try_into().ok()).map_or(0, u64::from_be_bytes);
        // Those on the root of the tree are counted with the files there.
        *counts.entry(if bucket == 0 { ROOT_INO } else { Ino(bucket) }).or_default() += 1;
    }
    for (row, entry) in all(key::TABLE_BUCKET).map_err(|error| unread(&error))? {
        let root = Ino(row.get(1..9).and_then(|root| root.try_into().ok()).map_or(0, u64::from_be_bytes));
        let says = Bucket::decode(root, &entry.value).map_err(|error| unread(&error))?.locks.count;
        let there = counts.remove(&root).unwrap_or(0);
        if says != there {
            return Err(format!("bucket {root} has {there} locks, and its record says {says}"));
        }
    }
    counts.pop_first().map_or(Ok(()), |(bucket, _)| Err(format!("locks are counted nowhere: bucket {bucket} is gone")))
}

/// Whether the processes of all sessions hold nothing that is in the way of each other, and none that is gone holds anything.
///
/// # Errors
/// They do.
pub(super) fn holds_agree(ns: &Namespace, ino: Ino, sessions: &[u64]) -> Result<Vec<HeldRange>, String> {
    let held = ns.holds(&operator(), ino).map_err(|error| format!("what processes hold cannot be read: {error:?}"))?;
    for (at, one) in held.iter().enumerate() {
        if !sessions.contains(&one.owner.client) {
            return Err(format!("a process of a session that is gone holds {one:?}"));
        }
        if let Some(other) = held[at + 1..].iter().find(|other| are_in_the_way(one, other)) {
            return Err(format!("two processes hold what is in each other's way: {one:?} and {other:?}"));
        }
    }
    Ok(held)
}

pub(super) fn are_in_the_way(one: &HeldRange, other: &HeldRange) -> bool {
    (one.owner.client, one.owner.owner) != (other.owner.client, other.owner.owner)
        && one.space == other.space
        && (one.kind == RangeKind::Write || other.kind == RangeKind::Write)
        && one.range.start < other.range.end
        && other.range.start < one.range.end
}
