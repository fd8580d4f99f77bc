//! Locks of processes on one file: bytes, owners and conflicts. Rules only; [`super::hold`] stores the locks.
//!
//! Locks on bytes are POSIX's (`fcntl`): a process has at most one kind on each byte, a new lock splits and replaces what the process had
//! there, and neighbours of one kind are one lock. Locks on the whole file are `flock`'s. As on a local file system of Linux, the two do not
//! affect each other.

use std::collections::BTreeMap;
use std::ops::Range;

use strata_seam::Timestamp;

use crate::types::DoorNumber;

/// Which of the two kinds of locks processes have.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum RangeSpace {
    /// On bytes: `fcntl`, and NLM.
    Bytes = 1,
    /// On the file: `flock`. The range is the whole one.
    Whole = 2,
}

/// What the others may not do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum RangeKind {
    /// Lock it for writing.
    Read = 1,
    /// Lock it at all.
    Write = 2,
}

/// The locks on a file by session.
pub(super) type Held = BTreeMap<u32, Ranges>;

/// A process that holds locks, within its session.
#[derive(Clone, Copy, Eq, PartialEq, Hash, Debug)]
pub struct HoldOwner {
    /// Through which door.
    pub door: DoorNumber,
    /// The client of the door; 0 where the door has only one. Over NFS a hash of its address and its name.
    pub client: u64,
    /// Distinguishes the owners of one client: the kernel's number of a descriptor's holder, or a hash of what the client says.
    pub owner: u64,
    /// The owner's process, returned to a caller that asks which lock is in the way.
    pub pid: u32,
}

impl HoldOwner {
    /// Whether it is the same one. Which process it was when it took a lock makes no difference: a child may end it.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        (self.door, self.client, self.owner) == (other.door, other.client, other.owner)
    }
}

/// One lock of a process.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct HeldRange {
    /// The owner of the lock.
    pub owner: HoldOwner,
    /// The kind of locks it belongs to.
    pub space: RangeSpace,
    /// What it forbids.
    pub kind: RangeKind,
    /// The bytes, not empty; up to `u64::MAX` is to the end, wherever that comes to lie.
    pub range: Range<u64>,
    /// Until when it holds without being renewed; `None` as long as its session.
    pub lease: Option<Timestamp>,
}

impl HeldRange {
    fn is_of(&self, owner: &HoldOwner, space: RangeSpace) -> bool {
        self.owner.is_same(owner) && self.space == space
    }
    fn meets(&self, range: &Range<u64>) -> bool {
        self.range.start < range.end && range.start < self.range.end
    }
    fn stands(&self, now: Timestamp) -> bool {
        self.lease.is_none_or(|end| end > now)
    }
}

/// The locks on one file, in order of their first bytes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Ranges(pub(super) Vec<HeldRange>);

impl Ranges {
    /// The first lock of somebody else that keeps this one from being set. Where these are another session's (not `own`), all are
    /// somebody else's, whatever their numbers.
    pub(crate) fn in_the_way(&self, wanted: &HeldRange, own: bool, now: Timestamp) -> Option<&HeldRange> {
        self.0.iter().find(|held| {
            !(own && held.owner.is_same(&wanted.owner))
                && held.space == wanted.space
                && held.meets(&wanted.range)
                && (held.kind == RangeKind::Write || wanted.kind == RangeKind::Write)
                && held.stands(now)
        })
    }

    /// Sets it, in place of whatever its owner had there; the lease counts for all that this owner has. Nothing is in the way.
    pub(crate) fn set(&mut self, wanted: HeldRange) {
        self.unset(&wanted.owner, wanted.space, &wanted.range);
        self.renew(&wanted.owner, wanted.lease);
        let mut wanted = wanted;
        // Neighbouring locks of the same kind are merged into the new one.
        self.0.retain(|held| {
            let joins = held.is_of(&wanted.owner, wanted.space)
                && held.kind == wanted.kind
                && (held.range.end == wanted.range.start || held.range.start == wanted.range.end);
            if joins {
                wanted.range = held.range.start.min(wanted.range.start)..held.range.end.max(wanted.range.end);
            }
            !joins
        });
        let at = self.0.partition_point(|held| held.range.start <= wanted.range.start);
        self.0.insert(at, wanted);
    }

    /// Takes these bytes out of what the owner has; a lock over both their ends becomes two.
    pub(crate) fn unset(&mut self, owner: &HoldOwner, space: RangeSpace, range: &Range<u64>) {
        let (cut, mut kept): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.0).into_iter().partition(|held| held.is_of(owner, space) && held.meets(range));
        for held in cut {
            for rest in [held.range.start..range.start, range.end..held.range.end] {
                if rest.start < rest.end {
                    kept.push(HeldRange { range: rest, ..held.clone() });
                }
            }
        }
        kept.sort_by_key(|held| held.range.start);
        self.0 = kept;
    }

    /// Gives all that the owner has a new end.
    pub(crate) fn renew(&mut self, owner: &HoldOwner, lease: Option<Timestamp>) {
        self.0.iter_mut().filter(|held| held.owner.is_same(owner)).for_each(|held| held.lease = lease);
    }

    /// Forgets what nobody renewed in time.
    pub(crate) fn expire(&mut self, now: Timestamp) {
        self.0.retain(|held| held.stands(now));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::types::DoorNumber;

    const NOW: Timestamp = Timestamp(1_000);
    /// Bytes of the model; the last stands for all behind.
    const BYTES: usize = 24;

    fn owner(number: u64) -> HoldOwner {
        HoldOwner { door: DoorNumber::new(2), client: 0, owner: number, pid: 100 }
    }

    fn held(of: u64, kind: RangeKind, range: Range<u64>) -> HeldRange {
        HeldRange { owner: owner(of), space: RangeSpace::Bytes, kind, range, lease: None }
    }

    fn ranges(of: &Ranges) -> Vec<(u64, RangeKind, Range<u64>)> {
        of.0.iter().map(|held| (held.owner.owner, held.kind, held.range.clone())).collect()
    }

    #[test]
    fn unlocking_the_middle_leaves_two_locks() {
        let mut locks = Ranges::default();
        locks.set(held(1, RangeKind::Write, 0..100));
        locks.unset(&owner(1), RangeSpace::Bytes, &(40..60));
        assert_eq!(ranges(&locks), [(1, RangeKind::Write, 0..40), (1, RangeKind::Write, 60..100)]);
    }

    #[test]
    fn neighbours_of_one_kind_become_one_lock_and_of_two_kinds_do_not() {
        let mut locks = Ranges::default();
        locks.set(held(1, RangeKind::Read, 0..10));
        locks.set(held(1, RangeKind::Read, 20..u64::MAX));
        locks.set(held(1, RangeKind::Read, 10..20));
        assert_eq!(ranges(&locks), [(1, RangeKind::Read, 0..u64::MAX)]);
        locks.set(held(1, RangeKind::Write, 10..20));
        assert_eq!(
            ranges(&locks),
            [(1, RangeKind::Read, 0..10), (1, RangeKind::Write, 10..20), (1, RangeKind::Read, 20..u64::MAX)]
        );
    }

    #[test]
    fn one_may_change_ones_own_lock_unless_others_read_there() {
        let mut locks = Ranges::default();
        locks.set(held(1, RangeKind::Read, 0..10));
        assert_eq!(locks.in_the_way(&held(1, RangeKind::Write, 0..10), true, NOW), None);
        locks.set(held(2, RangeKind::Read, 5..6));
        assert_eq!(
            locks.in_the_way(&held(1, RangeKind::Write, 0..10), true, NOW).map(|held| held.owner.owner),
            Some(2)
        );
        assert_eq!(locks.in_the_way(&held(1, RangeKind::Write, 6..10), true, NOW), None);
        assert_eq!(locks.in_the_way(&held(3, RangeKind::Read, 0..10), true, NOW), None);
    }

    #[test]
    fn a_lock_on_the_file_and_one_on_its_bytes_know_nothing_of_each_other() {
        let mut locks = Ranges::default();
        let whole = HeldRange { space: RangeSpace::Whole, ..held(1, RangeKind::Write, 0..u64::MAX) };
        locks.set(whole.clone());
        assert_eq!(locks.in_the_way(&held(2, RangeKind::Write, 0..1), true, NOW), None);
        assert!(locks.in_the_way(&HeldRange { owner: owner(2), ..whole }, true, NOW).is_some());
        locks.unset(&owner(1), RangeSpace::Bytes, &(0..u64::MAX));
        assert_eq!(locks.0.len(), 1);
    }

    #[test]
    fn what_nobody_renewed_is_in_nobodys_way() {
        let mut locks = Ranges::default();
        locks.set(HeldRange { lease: Some(NOW), ..held(1, RangeKind::Write, 0..10) });
        assert_eq!(locks.in_the_way(&held(2, RangeKind::Write, 0..10), true, NOW), None);
        locks.renew(&owner(1), Some(Timestamp(NOW.0 + 1)));
        assert!(locks.in_the_way(&held(2, RangeKind::Write, 0..10), true, NOW).is_some());
        locks.expire(Timestamp(NOW.0 + 1));
        assert_eq!(locks, Ranges::default());
    }

    #[derive(Clone, Debug)]
    enum Step {
        Set(u64, RangeKind, Range<u64>),
        Unset(u64, Range<u64>),
    }

    fn range() -> impl Strategy<Value = Range<u64>> {
        (0..BYTES as u64, 1..BYTES as u64).prop_map(|(start, len)| start..(start + len).min(BYTES as u64))
    }

    fn step() -> impl Strategy<Value = Step> {
        let kind = prop_oneof![Just(RangeKind::Read), Just(RangeKind::Write)];
        prop_oneof![
            (0..3u64, kind, range()).prop_map(|(of, kind, range)| Step::Set(of, kind, range)),
            (0..3u64, range()).prop_map(|(of, range)| Step::Unset(of, range)),
        ]
    }

    proptest! {
        /// Against a table that says of each byte what each of three processes has on it.
        #[test]
        fn every_byte_is_held_as_a_table_of_bytes_says(steps in proptest::collection::vec(step(), 1..40)) {
            let mut locks = Ranges::default();
            let mut model = [[None::<RangeKind>; BYTES]; 3];
            for step in steps {
                match step {
                    Step::Set(of, kind, range) => {
                        let wanted = held(of, kind, range.clone());
                        let bytes = |held: &[Option<RangeKind>; BYTES]| {
                            held[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()].to_vec()
                        };
                        let expected = (0..3).filter(|other| *other != usize::try_from(of).unwrap()).any(|other| {
                            bytes(&model[other]).iter().flatten().any(|held| *held == RangeKind::Write || kind == RangeKind::Write)
                        });
                        let found = locks.in_the_way(&wanted, true, NOW).is_some();
                        prop_assert_eq!(found, expected);
                        if !found {
                            locks.set(wanted);
                            range.for_each(|at| model[usize::try_from(of).unwrap()][usize::try_from(at).unwrap()] = Some(kind));
                        }
                    }
                    Step::Unset(of, range) => {
                        locks.unset(&owner(of), RangeSpace::Bytes, &range);
                        range.for_each(|at| model[usize::try_from(of).unwrap()][usize::try_from(at).unwrap()] = None);
                    }
                }
                for (of, bytes) in model.iter().enumerate() {
                    let mut read = [None; BYTES];
                    let mine: Vec<_> = locks.0.iter().filter(|held| held.owner.owner == of as u64).collect();
                    for held in &mine {
                        for at in held.range.clone() {
                            let byte = &mut read[usize::try_from(at).unwrap()];
                            prop_assert_eq!(*byte, None, "held twice");
                            *byte = Some(held.kind);
                        }
                    }
                    prop_assert_eq!(&read, bytes);
                    for pair in mine.windows(2) {
                        let apart = pair[0].range.end < pair[1].range.start || pair[0].kind != pair[1].kind;
                        prop_assert!(apart, "neighbours of one kind are one lock: {:?}", mine);
                    }
                }
            }
        }
    }
}
