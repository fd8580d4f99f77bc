//! Locks of processes: kept with their session, and gone with it.

use strata_namespace::{
    Caller, ErrorKind, HOLDS_PER_FILE_MAX, HeldRange, HoldOwner, Namespace, Op, RangeKind, RangeSpace,
};
use strata_seam::{Ino, Timestamp};

use crate::support::*;

fn mount() -> Op {
    Op::new(Caller::root(&MOUNT))
}

fn by(owner: u64) -> HoldOwner {
    HoldOwner { door: MOUNT.number, client: 0, owner, pid: 40 }
}

fn range(owner: u64, kind: RangeKind, range: std::ops::Range<u64>) -> HeldRange {
    HeldRange { owner: by(owner), space: RangeSpace::Bytes, kind, range, lease: None }
}

fn file(ns: &Namespace) -> Ino {
    put(ns, "f", b"content");
    ns.resolve(&root(), b"/bkt/f").unwrap().ino
}

#[test]
fn who_is_refused_a_range_is_told_who_has_it() {
    let (_world, store) = store();
    let ns = store.namespace();
    let ino = file(ns);
    let held = range(1, RangeKind::Write, 10..20);
    assert_eq!(ns.set_hold(&mount(), ino, &held).unwrap(), None);
    let wanted = range(2, RangeKind::Read, 15..u64::MAX);
    assert_eq!(ns.test_hold(&mount(), ino, &wanted).unwrap().as_ref(), Some(&held));
    assert_eq!(ns.set_hold(&mount(), ino, &wanted).unwrap().as_ref(), Some(&held));
    assert_eq!(ns.holds(&mount(), ino).unwrap(), std::slice::from_ref(&held));
    ns.release_hold(&mount(), ino, &by(1), RangeSpace::Bytes, &(0..u64::MAX)).unwrap();
    assert_eq!(ns.set_hold(&mount(), ino, &wanted).unwrap(), None);
    assert_eq!(ns.holds(&mount(), ino).unwrap(), [wanted]);
    // An owner of the same number behind another door, or of another client, is another.
    let nfs = HoldOwner { door: NFS.number, ..by(2) };
    let stranger = HeldRange { owner: nfs, ..range(2, RangeKind::Write, 15..16) };
    assert!(ns.test_hold(&mount(), ino, &stranger).unwrap().is_some());
    sound(ns);
}

#[test]
fn what_processes_hold_ends_with_their_session_and_with_the_file() {
    let (world, store) = store();
    let ns = store.namespace();
    let ino = file(ns);
    let held = range(1, RangeKind::Write, 0..u64::MAX);
    ns.set_hold(&mount(), ino, &held).unwrap();
    ns.sync_all(&mount()).unwrap();
    ns.settle_blocking(&mount()).unwrap();
    store.close().unwrap();
    drop(world.fork());
    let store = open(&world);
    let ns = store.namespace();
    assert_eq!(ns.holds(&mount(), ino).unwrap(), []);
    ns.set_hold(&mount(), ino, &held).unwrap();
    ns.unlink(&mount(), ns.resolve(&root(), b"/bkt").unwrap().ino, b"f").unwrap();
    assert_eq!(ns.holds(&mount(), ino).unwrap(), []);
    assert_eq!(ns.set_hold(&mount(), ino, &held).unwrap_err().kind, ErrorKind::Stale);
    sound(ns);
}

#[test]
fn a_lease_that_nobody_renewed_is_in_nobodys_way() {
    let (world, store) = store();
    let ns = store.namespace();
    let ino = file(ns);
    let until = Timestamp(ns.now().0 + 5_000_000_000);
    let leased = HeldRange { lease: Some(until), ..range(1, RangeKind::Write, 0..10) };
    ns.set_hold(&mount(), ino, &leased).unwrap();
    let wanted = range(2, RangeKind::Write, 0..10);
    assert!(ns.test_hold(&mount(), ino, &wanted).unwrap().is_some());
    world.clock().advance(5_000_000_000);
    assert_eq!(ns.set_hold(&mount(), ino, &wanted).unwrap(), None);
    assert_eq!(ns.holds(&mount(), ino).unwrap(), [wanted]);
}

#[test]
fn the_locks_of_processes_on_a_file_have_a_bound() {
    let (_world, store) = store();
    let ns = store.namespace();
    let ino = file(ns);
    for number in 0..HOLDS_PER_FILE_MAX as u64 {
        ns.set_hold(&mount(), ino, &range(number, RangeKind::Read, number * 2..number * 2 + 1)).unwrap();
    }
    let more = range(9_999, RangeKind::Read, 0..1);
    assert_eq!(ns.set_hold(&mount(), ino, &more).unwrap_err().kind, ErrorKind::NoSpace);
    assert_eq!(ns.holds(&mount(), ino).unwrap().len(), HOLDS_PER_FILE_MAX);
    let empty = range(1, RangeKind::Read, 5..5);
    assert_eq!(ns.set_hold(&mount(), ino, &empty).unwrap_err().kind, ErrorKind::Invalid);
}
