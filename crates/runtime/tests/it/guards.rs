//! Expectations of requests, checked again in the commit that they are for.

use strata_namespace::{Condition, ContentTag, ErrorKind, Guard, RenameMode, SetAttr, Wanted};

use crate::support::*;

fn tagged(tag: &ContentTag) -> Condition {
    Condition { wanted: Some(Wanted::OneOf(vec![tag.clone()])), ..Condition::default() }
}

fn chmod(mode: u32) -> SetAttr {
    SetAttr { mode: Some(mode), ..SetAttr::default() }
}

#[test]
fn a_change_is_refused_when_somebody_replaced_what_was_judged() {
    let (_world, store) = store();
    let ns = store.namespace();
    let bucket = ns.resolve(&root(), b"/bkt").unwrap().ino;
    let judged = put(ns, "f", b"judged");
    let ino = ns.lookup(&root(), bucket, b"f").unwrap().ino;
    let guarded = || {
        let op = root();
        let entry = Some((bucket, b"f".to_vec()));
        op.guard(Guard { ino, entry, condition: tagged(&judged.tag), ctime: None });
        op
    };
    // New content under the same inode.
    put(ns, "f", b"replaced");
    assert_eq!(ns.unlink(&guarded(), bucket, b"f").unwrap_err().kind, ErrorKind::PreconditionFailed);
    let moved = ns.rename(&guarded(), (bucket, b"f"), (bucket, b"g"), RenameMode::NoReplace);
    assert_eq!(moved.unwrap_err().kind, ErrorKind::PreconditionFailed);
    let copied = ns.copy_tree(&guarded(), (bucket, b"f"), (bucket, b"g"), true, false);
    assert_eq!(copied.unwrap_err().kind, ErrorKind::PreconditionFailed);
    let set = ns.set_property(&guarded(), ino, "ns", "name", Some(b"value"));
    assert_eq!(set.unwrap_err().kind, ErrorKind::PreconditionFailed);
    assert_eq!((get(ns, "f").unwrap(), get(ns, "g").is_err()), (b"replaced".to_vec(), true));
    // The expected content again, then another file under the name while the expected one lives on elsewhere.
    put(ns, "f", b"judged");
    ns.link(&root(), ino, bucket, b"elsewhere").unwrap();
    put(ns, "other", b"other");
    ns.rename(&root(), (bucket, b"other"), (bucket, b"f"), RenameMode::Replace).unwrap();
    assert_eq!(ns.unlink(&guarded(), bucket, b"f").unwrap_err().kind, ErrorKind::PreconditionFailed);
    assert_eq!(get(ns, "f").unwrap(), b"other");
    ns.rename(&root(), (bucket, b"elsewhere"), (bucket, b"f"), RenameMode::Replace).unwrap();
    ns.unlink(&guarded(), bucket, b"f").unwrap();
    assert_eq!(ns.unlink(&guarded(), bucket, b"f").unwrap_err().kind, ErrorKind::PreconditionFailed);
    sound(ns);
}

#[test]
fn a_guard_is_for_the_first_commit_of_its_operation_only() {
    let (_world, store) = store();
    let ns = store.namespace();
    let bucket = ns.resolve(&root(), b"/bkt").unwrap().ino;
    put(ns, "f", b"x");
    let before = ns.lookup(&root(), bucket, b"f").unwrap();
    let op = root();
    let ctime = Some(before.ctime);
    op.guard(Guard { ino: before.ino, entry: None, condition: Condition::default(), ctime });
    ns.setattr(&op, before.ino, &chmod(0o600)).unwrap();
    ns.setattr(&op, before.ino, &chmod(0o640)).unwrap();
    op.guard(Guard { ino: before.ino, entry: None, condition: Condition::default(), ctime });
    assert_eq!(ns.setattr(&op, before.ino, &chmod(0)).unwrap_err().kind, ErrorKind::PreconditionFailed);
    assert_eq!(ns.getattr(&root(), before.ino).unwrap().mode, 0o640);
}
