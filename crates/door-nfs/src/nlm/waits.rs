//! Who waits for a lock, and who reserved a file (SHARE): in memory, since both end with the session.
//!
//! Requests that wait for bytes of one file are served in the order in which they came. A later one goes first only if the two
//! are not in each other's way.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use strata_namespace::{ErrorKind, HeldRange, HoldOwner, Namespace, Op, RangeKind};
use strata_seam::Ino;
use tokio::sync::Notify;

use super::args::Lock;
use super::circle;
use super::clients::Line;

/// How far one who waits has got.
#[derive(Clone, PartialEq, Eq, Debug)]
enum State {
    Waiting,
    /// The request has the lock, and its client is being called. With the locks that the owner had there before, in case nobody takes the lock.
    Granted(Vec<HeldRange>),
}

/// One request that waits.
#[derive(Clone, Debug)]
struct Waiter {
    number: u64,
    wanted: HeldRange,
    lock: Lock,
    line: Line,
    state: State,
}

/// A lock whose client is to be told that it has it.
#[derive(Clone, Debug)]
pub(super) struct Grant {
    pub(super) number: u64,
    pub(super) exclusive: bool,
    pub(super) lock: Lock,
    pub(super) line: Line,
}

/// A reservation of a file.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Reserved {
    client: u64,
    owner: u64,
    denies: u32,
    access: u32,
}

/// Whether two are the same owner.
fn is_same(one: &HoldOwner, other: &HoldOwner) -> bool {
    (one.door, one.client, one.owner) == (other.door, other.client, other.owner)
}

pub(super) fn are_in_each_others_way(one: &HeldRange, other: &HeldRange) -> bool {
    !is_same(&one.owner, &other.owner)
        && one.range.start < other.range.end
        && other.range.start < one.range.end
        && (one.kind == RangeKind::Write || other.kind == RangeKind::Write)
}

/// Files on which something was released that somebody waits for. The name space calls under its own lock, so this has a lock apart from
/// everything else.
#[derive(Default)]
pub(super) struct Freed {
    files: Mutex<Files>,
    pub(super) any: Notify,
}

#[derive(Default)]
struct Files {
    waited_for: BTreeSet<Ino>,
    freed: BTreeSet<Ino>,
}

impl Freed {
    /// Something was released on this file.
    pub(super) fn note(&self, ino: Ino) {
        let mut files = self.files.lock();
        if files.waited_for.contains(&ino) {
            files.freed.insert(ino);
            self.any.notify_one();
        }
    }

    /// All that somebody waits for, to be looked at again.
    pub(super) fn note_all(&self) {
        let mut files = self.files.lock();
        files.freed = files.waited_for.clone();
        self.any.notify_one();
    }

    pub(super) fn take(&self) -> BTreeSet<Ino> {
        std::mem::take(&mut self.files.lock().freed)
    }
}

/// See the module.
pub(super) struct Waits {
    next: u64,
    by_file: BTreeMap<Ino, Vec<Waiter>>,
    reserved: BTreeMap<Ino, Vec<Reserved>>,
    /// Requests that wait and reservations, by client.
    by_client: HashMap<u64, (usize, usize)>,
    freed: Arc<Freed>,
}

impl Waits {
    pub(super) fn new(freed: Arc<Freed>) -> Self {
        let (by_file, reserved) = (BTreeMap::new(), BTreeMap::new());
        Self { next: 1, by_file, reserved, by_client: HashMap::new(), freed }
    }

    /// How many wait, of a client and in all.
    pub(super) fn count(&self, client: u64) -> (usize, usize) {
        let of = self.by_client.get(&client).map_or(0, |(waiting, _)| *waiting);
        (of, self.by_client.values().map(|(waiting, _)| waiting).sum())
    }

    /// How many reservations there are, of a client and in all.
    pub(super) fn count_reserved(&self, client: u64) -> (usize, usize) {
        let of = self.by_client.get(&client).map_or(0, |(_, reserved)| *reserved);
        (of, self.by_client.values().map(|(_, reserved)| reserved).sum())
    }

    fn recount(&mut self, client: u64, waiting: isize, reserved: isize) {
        let counts = self.by_client.entry(client).or_default();
        *counts = (counts.0.saturating_add_signed(waiting), counts.1.saturating_add_signed(reserved));
        if *counts == (0, 0) {
            self.by_client.remove(&client);
        }
    }

    /// Whether this very lock is waited for, and whether somebody who waits longer is in its way.
    pub(super) fn place_of(&self, ino: Ino, wanted: &HeldRange) -> Option<bool> {
        let waiters = self.by_file.get(&ino)?;
        let at = waiters.iter().position(|waiter| is_for(waiter, wanted))?;
        let behind = |before: &Waiter| before.state == State::Waiting && are_in_each_others_way(&before.wanted, wanted);
        Some(waiters[at].state == State::Waiting && waiters[..at].iter().any(behind))
    }

    /// Whether the owner would wait for itself if it waited for this ([`circle`]).
    pub(super) fn close_circle(&self, ns: &Namespace, op: &Op, ino: Ino, wanted: &HeldRange) -> bool {
        let mut waiting = circle::Waiting::new();
        for (ino, waiters) in &self.by_file {
            let wait = waiters.iter().filter(|waiter| waiter.state == State::Waiting).map(|waiter| &waiter.wanted);
            waiting.insert(*ino, wait.collect());
        }
        let own = |wait: &&HeldRange| is_same(&wait.owner, &wanted.owner) && **wait == *wanted;
        let place = waiting.get(&ino).map_or(0, |waits| waits.iter().position(own).unwrap_or(waits.len()));
        circle::closes((ino, wanted, place), &waiting, |ino| {
            // If the locks cannot be read, the waiting request finds that out itself.
            ns.holds(op, ino).unwrap_or_default()
        })
    }

    /// The request waits from now on, behind those that wait already.
    pub(super) fn add(&mut self, ino: Ino, wanted: HeldRange, lock: &Lock, line: Line) {
        let (number, client) = (self.next, wanted.owner.client);
        self.next += 1;
        let waiter = Waiter { number, wanted, lock: lock.kept(), line, state: State::Waiting };
        self.by_file.entry(ino).or_default().push(waiter);
        self.recount(client, 1, 0);
        self.freed.files.lock().waited_for.insert(ino);
        // Locks that an operator or a removal released since the refusal are found by looking once more.
        self.freed.note(ino);
    }

    /// Removes the requests for which `goes` is true. They are returned with what has to be released.
    fn remove(&mut self, ino: Ino, goes: impl Fn(&Waiter) -> bool) -> Vec<Waiter> {
        let Some(waiters) = self.by_file.get_mut(&ino) else { return Vec::new() };
        let (gone, left): (Vec<_>, Vec<_>) = std::mem::take(waiters).into_iter().partition(|waiter| goes(waiter));
        let empty = left.is_empty();
        *waiters = left;
        if empty {
            self.by_file.remove(&ino);
            let mut files = self.freed.files.lock();
            files.waited_for.remove(&ino);
            files.freed.remove(&ino);
        }
        gone.iter().for_each(|waiter| self.recount(waiter.wanted.owner.client, -1, 0));
        gone
    }

    /// The client has its lock: nobody needs to call it any more.
    pub(super) fn taken(&mut self, ino: Ino, wanted: &HeldRange) {
        self.remove(ino, |waiter| is_for(waiter, wanted));
    }

    /// The client does not want this lock any more. A lock that was granted and not taken is released. Returns whether the request waited.
    pub(super) fn cancel(&mut self, ns: &Namespace, op: &Op, ino: Ino, wanted: &HeldRange) -> bool {
        let gone = self.remove(ino, |waiter| is_for(waiter, wanted));
        gone.iter().for_each(|waiter| give_back(ns, op, ino, waiter));
        !gone.is_empty()
    }

    /// An owner unlocks these bytes: what it waits for there it does not want either.
    pub(super) fn unlock(&mut self, ino: Ino, owner: &HoldOwner, range: &std::ops::Range<u64>) {
        self.remove(ino, |waiter| {
            let wanted = &waiter.wanted;
            is_same(&wanted.owner, owner) && range.start <= wanted.range.start && wanted.range.end <= range.end
        });
    }

    /// Everything of a client ends that waits or is reserved.
    pub(super) fn forget(&mut self, client: u64) {
        let files: Vec<Ino> = self.by_file.keys().copied().collect();
        for ino in files {
            self.remove(ino, |waiter| waiter.wanted.owner.client == client);
        }
        self.reserved.retain(|_, all| {
            all.retain(|reserved| reserved.client != client);
            !all.is_empty()
        });
        let reserved = self.by_client.get(&client).map_or(0, |(_, reserved)| *reserved);
        self.recount(client, 0, -isize::try_from(reserved).unwrap_or(isize::MAX));
    }

    /// Gives a file's locks to those that wait and that nothing is in the way of any more, in their order.
    pub(super) fn grant(&mut self, ns: &Namespace, op: &Op, ino: Ino, grants: &mut Vec<Grant>) {
        let Some(waiters) = self.by_file.get_mut(&ino) else { return };
        let mut before: Vec<HeldRange> = Vec::new();
        let mut gone = false;
        let mut held: Option<Vec<HeldRange>> = None;
        for waiter in waiters.iter_mut().filter(|waiter| waiter.state == State::Waiting) {
            let is_in_the_way = |other: &HeldRange| are_in_each_others_way(other, &waiter.wanted);
            // Read once for all requests that cannot be granted yet. The name space decides whether one can be granted.
            let had = held.get_or_insert_with(|| ns.holds(op, ino).unwrap_or_default());
            if before.iter().any(is_in_the_way) || had.iter().any(is_in_the_way) {
                before.push(waiter.wanted.clone());
                continue;
            }
            let had = held.take().unwrap_or_default();
            match ns.set_hold(op, ino, &waiter.wanted) {
                Ok(None) => {
                    let own = had.into_iter().filter(|held| is_same(&held.owner, &waiter.wanted.owner));
                    waiter.state = State::Granted(own.collect());
                    grants.push(Grant {
                        number: waiter.number,
                        exclusive: waiter.wanted.kind == RangeKind::Write,
                        lock: waiter.lock.clone(),
                        line: waiter.line,
                    });
                }
                Ok(Some(_)) => before.push(waiter.wanted.clone()),
                Err(error) if matches!(error.kind, ErrorKind::Stale | ErrorKind::NotFound) => {
                    gone = true;
                    break;
                }
                // Tried again later.
                Err(error) => {
                    tracing::debug!(%error, "a lock that is waited for cannot be set now");
                    before.push(waiter.wanted.clone());
                }
            }
        }
        if gone {
            // Their clients ask again after a while and are told that the file is gone.
            self.remove(ino, |_| true);
        }
    }

    /// The file of one whose client is being called.
    pub(super) fn is_granted(&self, number: u64) -> Option<Ino> {
        let is_it = |waiter: &Waiter| waiter.number == number && waiter.state != State::Waiting;
        self.by_file.iter().find(|(_, waiters)| waiters.iter().any(is_it)).map(|(ino, _)| *ino)
    }

    /// A client cannot be called, and this lock was the first of which it was to be told: nobody is kept waiting by what else it waits
    /// for. If it is there after all, it asks again. The files on which somebody else may have a turn now.
    pub(super) fn give_up(&mut self, number: u64) -> Vec<Ino> {
        let unreachable = self.by_file.values().flatten().find(|waiter| waiter.number == number);
        let Some(client) = unreachable.map(|waiter| waiter.wanted.owner.client) else { return Vec::new() };
        let mut files: Vec<Ino> = self.by_file.keys().copied().collect();
        let waits = |waiter: &Waiter| waiter.wanted.owner.client == client && waiter.state == State::Waiting;
        files.retain(|ino| !self.remove(*ino, waits).is_empty());
        files
    }

    /// The client was called: it took its lock, or did not, and then the lock is released.
    pub(super) fn called(&mut self, ns: &Namespace, op: &Op, number: u64, took: bool) -> Option<Ino> {
        let ino = self.is_granted(number)?;
        let gone = self.remove(ino, |waiter| waiter.number == number);
        if !took {
            gone.iter().for_each(|waiter| give_back(ns, op, ino, waiter));
        }
        Some(ino)
    }

    /// Reserves a file, in place of what the same owner reserved there. Whether nobody's reservation is in the way.
    pub(super) fn reserve(&mut self, ino: Ino, (client, owner): (u64, u64), denies: u32, access: u32) -> bool {
        let all = self.reserved.entry(ino).or_default();
        let is_own = |reserved: &Reserved| (reserved.client, reserved.owner) == (client, owner);
        let against = |other: &Reserved| access & other.denies != 0 || denies & other.access != 0;
        let allowed = !all.iter().any(|other| !is_own(other) && against(other));
        if allowed {
            let before = all.len();
            all.retain(|reserved| !is_own(reserved));
            let replaced = before != all.len();
            all.push(Reserved { client, owner, denies, access });
            if !replaced {
                self.recount(client, 0, 1);
            }
        } else if all.is_empty() {
            self.reserved.remove(&ino);
        }
        allowed
    }

    /// Ends a reservation.
    pub(super) fn unreserve(&mut self, ino: Ino, (client, owner): (u64, u64)) {
        let Some(all) = self.reserved.get_mut(&ino) else { return };
        let before = all.len();
        all.retain(|reserved| (reserved.client, reserved.owner) != (client, owner));
        let ended = before - all.len();
        if all.is_empty() {
            self.reserved.remove(&ino);
        }
        self.recount(client, 0, -isize::try_from(ended).unwrap_or(0));
    }
}

fn is_for(waiter: &Waiter, wanted: &HeldRange) -> bool {
    let own = &waiter.wanted;
    is_same(&own.owner, &wanted.owner) && (own.kind, &own.range) == (wanted.kind, &wanted.range)
}

/// Takes back what was granted and nobody wants; what the owner had before, it has again. Nothing is in the way of that: it is less
/// than what it holds.
fn give_back(ns: &Namespace, op: &Op, ino: Ino, waiter: &Waiter) {
    let State::Granted(before) = &waiter.state else { return };
    let HeldRange { owner, space, range, .. } = &waiter.wanted;
    let mut at = range.start;
    let clipped = before.iter().map(|held| (held, held.range.start.max(range.start)..held.range.end.min(range.end)));
    let given = clipped.filter(|(_, part)| !part.is_empty()).try_for_each(|(held, part)| {
        if at < part.start {
            ns.release_hold(op, ino, owner, *space, &(at..part.start))?;
        }
        at = part.end;
        ns.set_hold(op, ino, &HeldRange { range: part, ..held.clone() }).map(drop)
    });
    let given = given
        .and_then(|()| if at < range.end { ns.release_hold(op, ino, owner, *space, &(at..range.end)) } else { Ok(()) });
    if let Err(error) = given
        && error.kind != ErrorKind::Stale
    {
        tracing::warn!(%error, "a lock that its client did not take stays until it or an operator ends it");
    }
}
