//! The table of WebDAV locks: kept in the store, held in memory, and asked before every change through this door.
//!
//! Invariants: the memory copy equals what the store holds, save for locks that ended and were not yet swept; a lock is
//! granted only while no conflicting one is held; and [`Locks::guarded`] runs a change while no lock can be granted, so
//! that a lock never comes between the question and the change it was asked for. Changes of whole trees take too long for
//! that: they claim what they touch, and no lock is granted there until the claim is dropped.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock};
use strata_namespace::{Caller, Door, LockRecord, Namespace, Op};
use strata_seam::{Entropy, Ino, Timestamp};

use crate::ask::{Found, look};
use crate::error::{Refusal, Result};
use crate::path::{self, UrlPath};

/// Most locks held at a time: what the store keeps.
pub(crate) const LOCKS_MAX: usize = strata_namespace::LOCKS_MAX;
/// Most locks one user may hold.
pub(crate) const LOCKS_PER_USER_MAX: usize = 4_096;
/// Longest description of an owner that is kept, in bytes (the store's limit).
pub(crate) const OWNER_LEN_MAX: usize = 4_096;
/// Longest time a lock lives without a refresh, and what it gets when it asks for none or for ever, in seconds.
pub(crate) const TIMEOUT_SECS_MAX: u64 = 3_600;

/// What a change touches.
#[derive(Clone, Debug)]
pub(crate) struct Touch {
    /// The resource that changes.
    pub(crate) path: UrlPath,
    /// Whether everything below changes too.
    pub(crate) deep: bool,
}

impl Touch {
    /// A change of the resource itself.
    pub(crate) fn one(path: &UrlPath) -> Self {
        Self { path: path.clone(), deep: false }
    }
    /// A change of the resource and all below.
    pub(crate) fn tree(path: &UrlPath) -> Self {
        Self { path: path.clone(), deep: true }
    }
}

/// Who changes something, and which tokens were submitted.
#[derive(Clone, Debug)]
pub(crate) struct Holder {
    /// The user's name.
    pub(crate) principal: String,
    /// From the `If` header.
    pub(crate) tokens: Vec<String>,
}

type Table = BTreeMap<Vec<u8>, Vec<LockRecord>>;
/// What is being changed by requests that go on for long, by a number of its own; as many as requests in progress.
type Claims = Mutex<BTreeMap<u64, Vec<Touch>>>;

/// Keeps locks from being granted where a change is going on. Dropping it ends that.
pub(crate) struct Claim {
    claims: Arc<Claims>,
    number: u64,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.claims.lock().remove(&self.number);
    }
}

/// The locks of a door.
pub(crate) struct Locks {
    ns: Arc<Namespace>,
    entropy: Arc<dyn Entropy>,
    table: RwLock<Table>,
    /// Locks in the table, so that a share without any pays one load per resource.
    count: AtomicUsize,
    claims: Arc<Claims>,
    next_claim: AtomicU64,
}

impl std::fmt::Debug for Locks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Locks").field("count", &self.len()).finish_non_exhaustive()
    }
}

impl Locks {
    /// Loads what the store holds; expired locks are left out.
    ///
    /// # Errors
    /// Whatever the name space cannot read.
    pub(crate) fn load(ns: Arc<Namespace>, entropy: Arc<dyn Entropy>) -> strata_namespace::Result<Self> {
        let op = Op::new(Caller::root(Door::WebDav));
        let now = ns.now();
        let mut table = Table::new();
        let mut count = 0;
        for record in ns.locks(&op)? {
            if live(&record, now) {
                count += 1;
                table.entry(record.path.clone()).or_default().push(record);
            } else {
                ns.remove_lock(&op, &record.token)?;
            }
        }
        Ok(Self {
            ns,
            entropy,
            table: RwLock::new(table),
            count: AtomicUsize::new(count),
            claims: Arc::default(),
            next_claim: AtomicU64::new(0),
        })
    }

    /// Locks held, expired ones that were not yet swept included.
    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Whether the change may be made now.
    ///
    /// # Errors
    /// 423 with the root of a lock that is in the way.
    pub(crate) fn check(&self, touches: &[Touch], holder: &Holder) -> Result<()> {
        self.guarded(touches, holder, || ())
    }

    /// Makes the change if it may be made; no lock is granted meanwhile, so `change` must be short.
    ///
    /// # Errors
    /// 423; then `change` was not called.
    pub(crate) fn guarded<T>(&self, touches: &[Touch], holder: &Holder, change: impl FnOnce() -> T) -> Result<T> {
        let table = self.table.read();
        if !table.is_empty() {
            let now = self.ns.now();
            for touch in touches {
                if let Some(lock) = conflict_with_change(&table, touch, holder, &|lock| self.stands(lock, now)) {
                    return Err(Refusal::locked(path::href(&lock.path, false)));
                }
            }
        }
        Ok(change())
    }

    /// Has no lock granted on what is touched until the claim is dropped, for changes too long for [`Locks::guarded`].
    /// Claims do not exclude each other.
    ///
    /// # Errors
    /// 423; then nothing is claimed.
    pub(crate) fn claim(&self, touches: &[Touch], holder: &Holder) -> Result<Claim> {
        self.guarded(touches, holder, || {
            let number = self.next_claim.fetch_add(1, Ordering::Relaxed);
            self.claims.lock().insert(number, touches.to_vec());
            Claim { claims: Arc::clone(&self.claims), number }
        })
    }

    /// Whether a lock would come between a change that is going on and its end.
    fn claimed(&self, wanted: &LockRecord) -> bool {
        self.claims.lock().values().flatten().any(|touch| meets(touch, wanted))
    }

    /// Live locks that cover a resource, outermost first.
    pub(crate) fn covering(&self, path: &UrlPath) -> Vec<LockRecord> {
        if self.len() == 0 {
            return Vec::new();
        }
        let now = self.ns.now();
        let table = self.table.read();
        covering(&table, path.key()).filter(|lock| self.stands(lock, now)).cloned().collect()
    }

    /// Grants a lock, keeps it in the store, and notes the commit in `op`. `wanted` has no token yet.
    ///
    /// # Errors
    /// 423 if a conflicting lock is held (`no-conflicting-lock`), 507 at a limit, or what the store says.
    pub(crate) fn grant(&self, op: &Op, mut wanted: LockRecord) -> Result<LockRecord> {
        if wanted.owner_xml.len() > OWNER_LEN_MAX {
            return Err(Refusal::bad_request(format!(
                "the lock's owner element is longer than {OWNER_LEN_MAX} bytes; nothing was locked"
            )));
        }
        let now = self.ns.now();
        let mut table = self.table.write();
        self.sweep(op, &mut table, now)?;
        if self.claimed(&wanted) {
            return Err(Refusal::new(
                http::StatusCode::LOCKED,
                "the resource is being changed by another request; nothing was locked; try again",
            )
            .because("no-conflicting-lock"));
        }
        let in_the_way = |lock: &&LockRecord| !(lock.shared && wanted.shared) && self.stands(lock, now);
        let above = covering(&table, &wanted.path).find(in_the_way);
        let below = || wanted.deep.then(|| below(&table, &wanted.path).find(in_the_way)).flatten();
        if let Some(lock) = above.or_else(below) {
            return Err(Refusal::new(
                http::StatusCode::LOCKED,
                format!("{} is locked already; nothing was locked", path::href(&lock.path, false)),
            )
            .because("no-conflicting-lock")
            .at(path::href(&lock.path, false)));
        }
        let mine = table.values().flatten().filter(|lock| lock.principal == wanted.principal).count();
        if self.len() >= LOCKS_MAX || mine >= LOCKS_PER_USER_MAX {
            return Err(Refusal::new(
                http::StatusCode::INSUFFICIENT_STORAGE,
                format!(
                    "the share holds at most {LOCKS_MAX} locks and {LOCKS_PER_USER_MAX} per user; unlock something and try again"
                ),
            ));
        }
        wanted.token = self.draw_token();
        self.ns.put_lock(op, &wanted)?;
        table.entry(wanted.path.clone()).or_default().push(wanted.clone());
        self.count.fetch_add(1, Ordering::AcqRel);
        Ok(wanted)
    }

    /// Gives a lock of this user that covers `path` a new end.
    ///
    /// # Errors
    /// 412 if there is no such lock.
    pub(crate) fn refresh(
        &self,
        op: &Op,
        path: &UrlPath,
        token: &str,
        principal: &str,
        expires: Timestamp,
    ) -> Result<LockRecord> {
        let now = self.ns.now();
        let mut table = self.table.write();
        let found = table.values_mut().flatten().find(|lock| lock.token == token && self.stands(lock, now));
        match found {
            Some(lock) if lock.principal == principal && reaches(lock, path.key()) => {
                let renewed = LockRecord { expires: Some(expires), ..lock.clone() };
                self.ns.put_lock(op, &renewed)?;
                *lock = renewed.clone();
                Ok(renewed)
            }
            _ => Err(Refusal::precondition(
                "no lock of yours with this token covers the resource; nothing was refreshed",
            )
            .because("lock-token-matches-request-uri")),
        }
    }

    /// Notes which inode the locks of `path` are taken on, now that it was made for one of them.
    ///
    /// # Errors
    /// What the store says; the lock then lasts until it expires, whatever becomes of the resource.
    pub(crate) fn made(&self, op: &Op, path: &UrlPath, ino: Ino) -> Result<()> {
        let mut table = self.table.write();
        for lock in table.get_mut(path.key()).into_iter().flatten().filter(|lock| lock.ino.is_none()) {
            let bound = LockRecord { ino: Some(ino), ..lock.clone() };
            self.ns.put_lock(op, &bound)?;
            *lock = bound;
        }
        Ok(())
    }

    /// Ends a lock that covers `path`.
    ///
    /// # Errors
    /// 409 if there is none with this token, 403 if it is somebody else's and `any` is not set.
    pub(crate) fn release(&self, op: &Op, path: &UrlPath, token: &str, principal: &str, any: bool) -> Result<()> {
        let now = self.ns.now();
        let mut table = self.table.write();
        let found = table
            .values()
            .flatten()
            .find(|lock| lock.token == token && self.stands(lock, now) && reaches(lock, path.key()));
        let Some(lock) = found else {
            return Err(Refusal::conflict("no lock with this token covers the resource; nothing was unlocked")
                .because("lock-token-matches-request-uri"));
        };
        if lock.principal != principal && !any {
            return Err(Refusal::forbidden("the lock belongs to another user; it is still held"));
        }
        let key = lock.path.clone();
        self.ns.remove_lock(op, token)?;
        self.drop_from(&mut table, &key, |lock| lock.token == token);
        Ok(())
    }

    /// Ends all locks rooted at a resource that is gone, or below it: locks do not move (RFC 4918 section 7.5).
    ///
    /// # Errors
    /// What the store says; the locks not yet ended expire by themselves.
    pub(crate) fn forget_tree(&self, op: &Op, path: &UrlPath) -> Result<()> {
        if self.len() == 0 {
            return Ok(());
        }
        let mut table = self.table.write();
        let gone: Vec<LockRecord> =
            below(&table, path.key()).chain(table.get(path.key()).into_iter().flatten()).cloned().collect();
        for lock in gone {
            self.ns.remove_lock(op, &lock.token)?;
            self.drop_from(&mut table, &lock.path, |held| held.token == lock.token);
        }
        Ok(())
    }

    /// Removes what has expired, and near a limit also what stands no more. The table is bounded, so a full walk is too; it
    /// runs when a lock is granted.
    fn sweep(&self, op: &Op, table: &mut Table, now: Timestamp) -> Result<()> {
        let full = table.len() >= LOCKS_PER_USER_MAX;
        let dead: Vec<(Vec<u8>, String)> = table
            .values()
            .flatten()
            .filter(|lock| if full { !self.stands(lock, now) } else { !live(lock, now) })
            .map(|lock| (lock.path.clone(), lock.token.clone()))
            .collect();
        for (path, token) in dead {
            self.ns.remove_lock(op, &token)?;
            self.drop_from(table, &path, |lock| lock.token == token);
        }
        Ok(())
    }

    /// Whether a lock still holds: it has not expired, and its path leads to what was locked. A resource that was removed,
    /// renamed or replaced by another, through whatever door, took the lock with it.
    fn stands(&self, lock: &LockRecord, now: Timestamp) -> bool {
        live(lock, now)
            && lock.ino.is_none_or(|ino| match look(&self.ns, &Op::new(Caller::root(Door::WebDav)), &lock.path) {
                Ok(Found::Node(attr)) => attr.ino == ino,
                Ok(Found::Nothing | Found::Hidden) => false,
                // What cannot be known now is not given up.
                Err(_) => true,
            })
    }

    fn drop_from(&self, table: &mut Table, key: &[u8], which: impl Fn(&LockRecord) -> bool) {
        let Some(locks) = table.get_mut(key) else { return };
        let before = locks.len();
        locks.retain(|lock| !which(lock));
        let removed = before - locks.len();
        if locks.is_empty() {
            table.remove(key);
        }
        self.count.fetch_sub(removed, Ordering::AcqRel);
    }

    /// `urn:uuid:` with a random UUID (RFC 9562 version 4).
    fn draw_token(&self) -> String {
        let mut bytes = [0; 16];
        self.entropy.fill(&mut bytes);
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let mut out = String::from("urn:uuid:");
        for (at, byte) in bytes.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                out.push('-');
            }
            out.push_str(&format!("{byte:02x}"));
        }
        out
    }
}

fn live(lock: &LockRecord, now: Timestamp) -> bool {
    lock.expires.is_none_or(|end| end > now)
}

fn reaches(lock: &LockRecord, key: &[u8]) -> bool {
    lock.path == key || lock.deep && path::covers(&lock.path, key)
}

/// Whether a lock would cover something that the change touches.
fn meets(touch: &Touch, wanted: &LockRecord) -> bool {
    let (claimed, asked) = (touch.path.key(), wanted.path.as_slice());
    claimed == asked || touch.deep && path::covers(claimed, asked) || wanted.deep && path::covers(asked, claimed)
}

/// Keys of a resource and of everything above it, outermost first.
fn lineage(key: &[u8]) -> impl Iterator<Item = &[u8]> {
    let inner = key.iter().enumerate().skip(1).filter(|(_, byte)| **byte == b'/').map(|(at, _)| &key[..at]);
    let root = (key != b"/").then_some(b"/".as_slice());
    root.into_iter().chain(inner).chain(std::iter::once(key))
}

fn covering<'a>(table: &'a Table, key: &'a [u8]) -> impl Iterator<Item = &'a LockRecord> {
    lineage(key).filter_map(|at| table.get(at)).flatten().filter(move |lock| reaches(lock, key))
}

/// Locks rooted strictly below a resource.
fn below<'a>(table: &'a Table, key: &[u8]) -> impl Iterator<Item = &'a LockRecord> + use<'a> {
    let mut prefix = key.to_vec();
    if prefix != b"/" {
        prefix.push(b'/');
    }
    let from = (std::ops::Bound::Excluded(prefix.clone()), std::ops::Bound::Unbounded);
    table.range::<Vec<u8>, _>(from).take_while(move |(path, _)| path.starts_with(&prefix)).flat_map(|(_, locks)| locks)
}

/// A lock that forbids the change: every exclusive lock that covers the resource (or, for a tree, lies below) must be
/// held by its owner; of shared locks on one resource, one must be.
fn conflict_with_change<'a>(
    table: &'a Table,
    touch: &Touch,
    holder: &Holder,
    stands: &dyn Fn(&LockRecord) -> bool,
) -> Option<&'a LockRecord> {
    let held = |lock: &LockRecord| lock.principal == holder.principal && holder.tokens.contains(&lock.token);
    let mut shared: Option<&LockRecord> = None;
    let mut holds_one = false;
    for lock in lineage(touch.path.key()).filter_map(|at| table.get(at)).flatten() {
        if !reaches(lock, touch.path.key()) || !stands(lock) {
            continue;
        }
        if held(lock) {
            holds_one = true;
        } else if lock.shared {
            shared = Some(lock);
        } else {
            return Some(lock);
        }
    }
    if let Some(lock) = shared.filter(|_| !holds_one) {
        return Some(lock);
    }
    if !touch.deep {
        return None;
    }
    // A shared lock below that is not held is in the way only if no other on the same resource is held.
    let mut below = below(table, touch.path.key()).filter(|lock| stands(lock)).peekable();
    while let Some(first) = below.next() {
        let mut group = vec![first];
        while let Some(next) = below.next_if(|next| next.path == first.path) {
            group.push(next);
        }
        if !group.iter().any(|lock| held(lock)) {
            return Some(first);
        }
    }
    None
}

#[cfg(test)]
mod tests;
