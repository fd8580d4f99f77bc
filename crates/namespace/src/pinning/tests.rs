//! Pins beside a replacement that is in progress: no pin is made until the replacement shows or has failed, however it ends.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use strata_seam::sim::SimWorld;

use super::*;
use crate::pin::Replacements;
use crate::rig;
use strata_seam::rehearsal::refuses_first;

use crate::error::fail;
use crate::rig::OpenStore;
use crate::types::{Access, Caller, Condition, ObjectMeta};
use crate::view::View;

/// Long enough for a thread that does not wait to be through.
const A_MOMENT: Duration = Duration::from_millis(100);
/// After which a thread that waits is taken for stuck.
const TOO_LONG: Duration = Duration::from_secs(20);

fn root() -> Op {
    Op::new(Caller::root(&rig::S3))
}

fn put(ns: &Arc<Namespace>, bytes: &[u8]) {
    let mut ingest = ns.ingest(&root(), "bkt").expect("an ingest");
    ingest.push(bytes).expect("pushed");
    let content = ingest.finish().expect("content");
    ns.put_object(&root(), "bkt", b"f", content, None, ObjectMeta::default(), &Condition::default()).expect("put");
}

/// A store with the open file `bkt/f`, which has the content `old`.
fn open_file() -> (SimWorld, OpenStore, Ino) {
    let world = SimWorld::new(1);
    let store = rig::on_one_disk(&world).expect("a store");
    let ns = store.namespace();
    ns.create_bucket(&root(), "bkt", None).expect("a bucket");
    put(ns, b"old");
    let bucket = ns.bucket(&root(), "bkt").expect("the bucket").root;
    let ino = ns.lookup(&root(), bucket, b"f").expect("the file").ino;
    ns.open(&root(), ino, Access { read: true, ..Access::default() }, false).expect("opened");
    (world, store, ino)
}

fn read(ns: &Namespace, pin: &Pin) -> Vec<u8> {
    ns.read_pinned(&root(), (pin, ns.permit(&root(), pin.ino(), READ).expect("a permit")), 0, 100)
        .expect("read")
        .to_vec()
}

#[test]
fn the_end_of_one_replacement_does_not_end_the_next_one_of_the_same_file() {
    let all = Arc::<Replacements>::default();
    let (first, second) = (all.begin(Ino(7)), all.begin(Ino(7)));
    drop(first);
    assert_eq!(*all.inos.lock(), [Ino(7)]);
    drop(second);
    drop(all.none_of(Ino(7)));
}

#[test]
fn who_asks_for_a_pin_while_the_content_is_being_replaced_waits_for_it_and_others_do_not() {
    if refuses_first() {
        eprintln!("skipped: follows one computation of a change step by step, and here each is computed twice");
        return;
    }
    let (_world, store, ino) = open_file();
    let ns = store.namespace();
    let (looked, has_looked) = channel();
    let (go_on, may_go_on) = channel::<()>();
    let (got, pinned) = channel();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let failed = ns.change::<()>(&root(), |tx, effects| {
                let inode = tx.inode(ino)?;
                assert!(!ns.keep_pinned(tx, effects, &inode)?, "nobody has it pinned yet");
                looked.send(()).expect("heard");
                may_go_on.recv().expect("told");
                Err(fail(ErrorKind::Invalid, "given up"))
            });
            assert!(failed.is_err());
        });
        has_looked.recv().expect("the replacement looked for pins");
        drop(ns.pin(Ino(ino.0 + 1)));
        scope.spawn(move || got.send(ns.pin(ino)).expect("heard"));
        assert_eq!(pinned.recv_timeout(A_MOMENT).map(drop), Err(RecvTimeoutError::Timeout));
        go_on.send(()).expect("heard");
        let pin = pinned.recv_timeout(TOO_LONG).expect("pinned after the replacement");
        put(ns, b"new");
        assert_eq!(read(ns, &pin), b"old");
        ns.unpin(&root(), pin).expect("given back");
    });
}

#[test]
fn a_change_that_panics_leaves_its_pins_on_the_file_and_nobody_waiting() {
    let (_world, store, ino) = open_file();
    let ns = store.namespace();
    let pin = ns.pin(ino);
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        ns.change::<()>(&root(), |tx, effects| {
            let inode = tx.inode(ino)?;
            assert!(ns.keep_pinned(tx, effects, &inode)?);
            panic!("a fault planted by the test");
        })
    }));
    assert!(outcome.is_err());
    assert_eq!((pin.kept(), pin.source()), (None, ino));
    let again = ns.pin(ino);
    assert!(Arc::ptr_eq(&pin, &again), "the file's content has the pin it had");
    drop(again);
    put(ns, b"new");
    assert_eq!(read(ns, &pin), b"old", "kept by the replacement that did happen");
    ns.unpin(&root(), pin).expect("given back");
    ns.close(&root(), ino, false).expect("closed");
}
