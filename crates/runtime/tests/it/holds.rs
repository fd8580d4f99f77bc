//! Locks of processes: kept with their session, and ended with it.

use strata_namespace::{
    Caller, ErrorKind, HOLDS_PER_FILE_PER_CLIENT_MAX, HeldRange, HoldOwner, Namespace, Op, RangeKind, RangeSpace,
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
fn the_locks_of_one_client_on_a_file_have_a_bound() {
    let (_world, store) = store();
    let ns = store.namespace();
    let ino = file(ns);
    let of = |client: u64, range: HeldRange| HeldRange { owner: HoldOwner { client, ..range.owner }, ..range };
    // Read locks on two bytes with one between them, of two owners of each client, each on the same bytes as the others'.
    let nth = |client: u64, number: u64| of(client, range(number % 2, RangeKind::Read, number * 3..number * 3 + 2));
    let refused = |wanted: &HeldRange| ns.set_hold(&mount(), ino, wanted).unwrap_err().kind;
    let share = HOLDS_PER_FILE_PER_CLIENT_MAX as u64;
    for number in 0..share {
        ns.set_hold(&mount(), ino, &nth(0, number)).unwrap();
    }
    assert_eq!(refused(&nth(0, share)), ErrorKind::NoSpace);
    // Splitting a lock makes one more, too. Changes that make none more are allowed: another kind, and neighbours that become one.
    let cut = |range: std::ops::Range<u64>| ns.release_hold(&mount(), ino, &nth(0, 0).owner, RangeSpace::Bytes, &range);
    ns.set_hold(&mount(), ino, &of(0, range(0, RangeKind::Read, 0..8))).unwrap();
    ns.set_hold(&mount(), ino, &nth(0, share)).unwrap();
    assert_eq!(cut(3..4).unwrap_err().kind, ErrorKind::NoSpace, "nothing is given back in part");
    ns.set_hold(&mount(), ino, &of(0, range(0, RangeKind::Read, 0..8))).unwrap();
    cut(0..2).unwrap();
    // Other clients have shares of their own.
    ns.set_hold(&mount(), ino, &nth(1, 0)).unwrap();
    assert_eq!(ns.holds(&mount(), ino).unwrap().len(), HOLDS_PER_FILE_PER_CLIENT_MAX + 1);
    let empty = range(1, RangeKind::Read, 5..5);
    assert_eq!(ns.set_hold(&mount(), ino, &empty).unwrap_err().kind, ErrorKind::Invalid);
}

#[test]
fn what_clients_hold_is_counted_told_and_ended_for_a_whole_client() {
    let (_world, store) = store();
    let ns = store.namespace();
    let files = ["a", "b", "c"].map(|key| {
        put(ns, key, b"x");
        ns.resolve(&root(), format!("/bkt/{key}").as_bytes()).unwrap().ino
    });
    let told = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let noting = std::sync::Arc::clone(&told);
    ns.tell_of_ended_holds(move |ino| noting.lock().unwrap().push(ino));
    let taken = || std::mem::take(&mut *told.lock().unwrap());
    let of = |client, owner| HoldOwner { door: NFS.number, client, owner, pid: 7 };
    let held = |owner: HoldOwner, bytes| HeldRange { owner, ..range(0, RangeKind::Write, bytes) };
    for ino in files {
        ns.set_hold(&mount(), ino, &held(of(1, 1), 0..10)).unwrap();
        ns.set_hold(&mount(), ino, &held(of(2, 1), 20..30)).unwrap();
    }
    ns.set_hold(&mount(), files[0], &held(of(1, 2), 40..50)).unwrap();
    let counts =
        || [ns.holds_of(NFS.number, 1), ns.holds_of(NFS.number, 2), ns.holds_of(MOUNT.number, 1), ns.holds_held()];
    assert_eq!((counts(), taken()), ([4, 3, 0, 7], vec![]));
    // A lock that is split is two, and a lock that stays as it was frees nothing.
    ns.release_hold(&mount(), files[1], &of(2, 1), RangeSpace::Bytes, &(24..26)).unwrap();
    ns.set_hold(&mount(), files[1], &held(of(2, 1), 26..30)).unwrap();
    ns.release_hold(&mount(), files[1], &of(2, 1), RangeSpace::Bytes, &(50..60)).unwrap();
    assert_eq!((counts(), taken()), ([4, 4, 0, 8], vec![files[1]]));
    // Locks that end with their file are reported too.
    ns.unlink(&mount(), ns.resolve(&root(), b"/bkt").unwrap().ino, b"c").unwrap();
    assert_eq!((counts(), taken()), ([3, 3, 0, 6], vec![files[2]]));
    let all = ns.all_holds(&root()).unwrap();
    assert_eq!(all.len(), 6);
    assert_eq!(ns.break_holds(&root(), files[0], &of(1, 2), RangeSpace::Bytes).unwrap(), 1);
    assert_eq!(ns.break_holds(&root(), files[0], &of(1, 2), RangeSpace::Bytes).unwrap(), 0);
    assert_eq!((counts(), taken()), ([2, 3, 0, 5], vec![files[0]]));
    assert_eq!(ns.release_client(&root(), NFS.number, 1).unwrap(), 2);
    assert_eq!(ns.release_client(&root(), MOUNT.number, 2).unwrap(), 0, "another door's");
    assert_eq!((counts(), taken()), ([0, 3, 0, 3], vec![files[0], files[1]]));
    for refused in [
        ns.all_holds(&user()).map(|_| 0),
        ns.release_client(&user(), NFS.number, 2),
        ns.break_holds(&user(), files[0], &of(2, 1), RangeSpace::Bytes),
    ] {
        assert_eq!(refused.unwrap_err().kind, ErrorKind::NotPermitted);
    }
    sound(ns);
}

#[test]
fn who_may_neither_read_nor_write_a_file_may_not_lock_it() {
    let (_world, store) = store();
    let ns = store.namespace();
    let ino = file(ns);
    // Permission to execute includes reading, as everywhere at a door without opens.
    for (mode, may) in [(0o600, false), (0o604, true), (0o602, true), (0o601, true)] {
        ns.setattr(&root(), ino, &strata_namespace::SetAttr { mode: Some(mode), ..Default::default() }).unwrap();
        assert_eq!(ns.permit_hold(&user(), ino).is_ok(), may, "{mode:o}");
    }
    let bucket = ns.resolve(&root(), b"/bkt").unwrap().ino;
    assert_eq!(ns.permit_hold(&root(), bucket).unwrap_err().kind, ErrorKind::Invalid);
}

fn user() -> Op {
    Op::new(Caller::new(1000, 1000, std::sync::Arc::from([]), &NFS))
}
