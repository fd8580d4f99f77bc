//! Deadlocks: whether a request that begins to wait would wait for itself.
//!
//! An owner that waits goes on only when every lock in its way is released, and every request in its way that waits before it is gone. So a path
//! along "waits for" that returns to its start has no end, and nobody on it is granted anything until somebody gives up. The request
//! that would close such a circle is refused instead: at that moment its program can still do something. As with `fcntl` locks on a local
//! file of Linux, an owner counts as waiting when one of its threads does.
//!
//! Cost: at most [`WAITS_LOOKED_AT_MAX`] waits are looked at, each against the locks and the waits of its file, which are read once a
//! file. Circles that reach further are not found: their owners wait until one gives up.
//!
//! Source: `posix_locks_deadlock` in Linux' `fs/locks.c`. Linux' server calls it for NLM too; it follows ten owners, each to one other.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use strata_namespace::{DoorNumber, HeldRange, HoldOwner};
use strata_seam::Ino;

use super::waits::are_in_each_others_way;

/// Most waits that are looked at for one request.
pub(super) const WAITS_LOOKED_AT_MAX: usize = 256;

/// What is waited for on each file, in the order in which it will be granted.
pub(super) type Waiting<'a> = BTreeMap<Ino, Vec<&'a HeldRange>>;

fn key(owner: &HoldOwner) -> (DoorNumber, u64, u64) {
    (owner.door, owner.client, owner.owner)
}

/// Whether the owner of `wanted` would wait for itself if it waited for that on `ino`, behind the first `place` who wait there. `holds`
/// reads the locks on a file.
pub(super) fn closes(
    (ino, wanted, place): (Ino, &HeldRange, usize),
    waiting: &Waiting<'_>,
    mut holds: impl FnMut(Ino) -> Vec<HeldRange>,
) -> bool {
    let mut by_owner: HashMap<_, Vec<(Ino, &HeldRange, usize)>> = HashMap::new();
    for (ino, waits) in waiting {
        for (place, wait) in waits.iter().enumerate() {
            by_owner.entry(key(&wait.owner)).or_default().push((*ino, wait, place));
        }
    }
    let mut held: HashMap<Ino, Vec<HeldRange>> = HashMap::new();
    let mut seen = HashSet::from([key(&wanted.owner)]);
    // Waits nearest to the request come first.
    let mut next = VecDeque::from([(ino, wanted, place)]);
    for _ in 0..WAITS_LOOKED_AT_MAX {
        let Some((ino, wait, place)) = next.pop_front() else { return false };
        let holders = held.entry(ino).or_insert_with(|| holds(ino)).iter();
        let before = waiting.get(&ino).into_iter().flatten().take(place).copied();
        for other in holders.chain(before).filter(|other| are_in_each_others_way(other, wait)) {
            if key(&other.owner) == key(&wanted.owner) {
                return true;
            }
            if seen.insert(key(&other.owner)) {
                next.extend(by_owner.get(&key(&other.owner)).into_iter().flatten().copied());
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use strata_namespace::{RangeKind, RangeSpace};

    use super::*;
    use crate::operations::DOOR;

    /// By an owner, of some bytes.
    fn range(owner: u64, write: bool, range: std::ops::Range<u64>) -> HeldRange {
        let kind = if write { RangeKind::Write } else { RangeKind::Read };
        let owner = HoldOwner { door: DOOR.number, client: owner % 3, owner, pid: 0 };
        HeldRange { owner, space: RangeSpace::Bytes, kind, range, lease: None }
    }

    /// Asks with these locks and these waits, each on a file; also on how many files the locks were read.
    fn check(held: &[(u64, HeldRange)], waits: &[(u64, HeldRange)], asked: (u64, HeldRange)) -> (bool, usize) {
        let mut waiting = Waiting::new();
        waits.iter().for_each(|(ino, wait)| waiting.entry(Ino(*ino)).or_default().push(wait));
        let place = waiting.get(&Ino(asked.0)).map_or(0, Vec::len);
        let mut read = 0;
        let closed = closes((Ino(asked.0), &asked.1, place), &waiting, |ino| {
            read += 1;
            held.iter().filter(|(of, _)| Ino(*of) == ino).map(|(_, held)| held.clone()).collect()
        });
        (closed, read)
    }

    /// Owners that each hold a file and wait for the next one's; the last holds one and asks for `asked`.
    fn chain(len: u64, asked: u64) -> (bool, usize) {
        let held: Vec<_> = (0..len).map(|n| (n, range(n, true, 0..10))).collect();
        let waits: Vec<_> = (0..len - 1).map(|n| (n + 1, range(n, true, 0..10))).collect();
        check(&held, &waits, (asked, range(len - 1, true, 5..6)))
    }

    #[test]
    fn a_circle_is_found_whatever_its_length_and_a_chain_is_none() {
        for len in [2, 3, 10, 200] {
            assert!(chain(len, 0).0, "{len}");
            assert!(!chain(len, len).0, "{len}: nobody holds that");
        }
    }

    #[test]
    fn no_more_is_looked_at_than_the_bound() {
        let (found, read) = chain(5_000, 0);
        assert!(!found && read == WAITS_LOOKED_AT_MAX, "{read}");
        // However many owners hold the file: those that do not wait end a path at once.
        let mut held: Vec<_> = (0..2_000).map(|owner| (1, range(owner, false, 0..10))).collect();
        held.push((2, range(9_000, true, 0..10)));
        let waits = [(2, range(1_999, true, 0..10))];
        assert_eq!(check(&held, &waits, (1, range(9_000, true, 0..10))), (true, 2));
    }

    #[test]
    fn who_waits_in_the_way_before_one_is_waited_for_too() {
        // 1 reads the file, 2 waits to write it, 3 waits behind 2 to read it.
        let held = [(1, range(1, false, 0..10)), (2, range(3, true, 0..10))];
        let waits = [(1, range(2, true, 0..10)), (1, range(3, false, 0..10))];
        assert!(check(&held, &waits, (2, range(1, true, 0..10))).0);
        assert!(!check(&held, &waits[1..], (2, range(1, true, 0..10))).0, "3 does not wait for 1");
    }

    proptest! {
        /// Against what follows "waits for" until nothing new comes.
        #[test]
        fn the_answer_is_that_of_the_whole_relation(
            held in proptest::collection::vec((0u64..4, 0u64..6, any::<bool>(), 0u64..4), 0..12),
            waits in proptest::collection::vec((0u64..4, 0u64..6, any::<bool>(), 0u64..4), 0..8),
            asked in (0u64..4, 0u64..6, any::<bool>(), 0u64..4),
        ) {
            let of = |(ino, owner, write, at): (u64, u64, bool, u64)| (ino, range(owner, write, at..at + 2));
            let held: Vec<_> = held.into_iter().map(of).collect();
            let waits: Vec<_> = waits.into_iter().map(of).collect();
            let asked = of(asked);
            let all: Vec<_> = waits.iter().chain([&asked]).collect();
            let mut reached = std::collections::BTreeSet::from([all.len() - 1]);
            let mut circle = false;
            loop {
                let before = reached.len();
                for at in reached.clone() {
                    let (ino, wait) = all[at];
                    for (_, other) in held.iter().chain(all[..at].iter().copied()).filter(|(on, other)| on == ino && are_in_each_others_way(other, wait)) {
                        circle |= other.owner == asked.1.owner;
                        reached.extend((0..all.len()).filter(|at| all[*at].1.owner == other.owner));
                    }
                }
                if reached.len() == before {
                    break;
                }
            }
            prop_assert_eq!(check(&held, &waits, asked.clone()).0, circle);
        }
    }
}
