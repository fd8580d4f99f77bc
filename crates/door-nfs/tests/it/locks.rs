//! A lock taken over WebDAV binds clients of this door: they are refused with NFS3ERR_ACCES.

use strata_namespace::{Caller, Door, DoorNumber, NewLock, Op};

use super::client::{ACCES, Set};
use super::nfs::{FILE_SYNC, Handle, UNSTABLE};
use super::support::Served;

static WEBDAV: Door = Door::of_users("webdav", DoorNumber::new(4), &[]);

const MODIFY: u32 = 0x04;
const ALL: u32 = 0x3f;

/// Has somebody lock a name in the bucket over WebDAV.
fn lock(served: &Served, name: &str, deep: bool) -> Op {
    let op = Op::new(Caller::root(&WEBDAV));
    op.submit("ann", vec![]);
    let wanted = NewLock {
        token: format!("urn:{name}"),
        path: format!("/data/{name}").into_bytes(),
        deep,
        shared: false,
        owner_xml: vec![],
        seconds: None,
    };
    served.ns().lock(&op, Some((served.bucket(), name.as_bytes())), &wanted).unwrap();
    op
}

fn unlock(served: &Served, op: &Op, name: &str) {
    let ino = served.ns().lookup(op, served.bucket(), name.as_bytes()).unwrap().ino;
    served.ns().unlock(op, ino, &format!("urn:{name}")).unwrap();
}

#[test]
fn a_locked_file_is_refused_to_writes_through_a_handle_that_was_there_before() {
    let served = Served::start();
    let (mut client, data) = served.root();
    let file = client.file(&data, "f");
    client.write(&file, 0, UNSTABLE, b"before").unwrap();
    let ann = lock(&served, "f", false);
    for stable in [UNSTABLE, FILE_SYNC] {
        assert_eq!(client.write(&file, 0, stable, b"x").unwrap_err(), ACCES);
    }
    assert_eq!(client.setattr(&file, &Set { size: Some(0), ..Set::default() }, None).unwrap_err(), ACCES);
    assert_eq!(client.setattr(&file, &Set::mode(0o600), None).unwrap_err(), ACCES);
    assert_eq!(client.remove(&data, "f").unwrap_err(), ACCES);
    assert_eq!(client.rename((&data, "f"), (&data, "g")).unwrap_err(), ACCES);
    // ACCESS already shows it at the open, so that nothing is written that the client would have to give up.
    assert_eq!(client.access(&file, ALL).unwrap() & MODIFY, 0);
    // Earlier writes are there and become durable.
    client.commit(&file).unwrap();
    assert_eq!(client.read(&file, 0, 100).unwrap().0, b"before");
    unlock(&served, &ann, "f");
    assert_eq!(client.access(&file, ALL).unwrap() & MODIFY, MODIFY);
    client.write(&file, 0, FILE_SYNC, b"x").unwrap();
}

#[test]
fn a_handle_below_a_locked_directory_is_refused_however_deep_it_is() {
    let served = Served::start();
    let (mut client, data) = served.root();
    let mut dirs: Vec<Handle> = vec![data.clone()];
    for _ in 0..5 {
        let inner = client.mkdir(dirs.last().unwrap(), "d", &Set::mode(0o755)).unwrap().handle;
        dirs.push(inner);
    }
    let deepest = dirs.last().unwrap().clone();
    let file = client.file(&deepest, "f");
    client.link(&file, &data, "beside").unwrap();
    let ann = lock(&served, "d", true);
    assert_eq!(client.write(&file, 0, UNSTABLE, b"x").unwrap_err(), ACCES);
    assert_eq!(client.create(&deepest, "new", 1, &Set::default()).unwrap_err(), ACCES);
    assert_eq!(client.mkdir(&deepest, "new", &Set::default()).unwrap_err(), ACCES);
    assert_eq!(client.symlink(&deepest, "new", b"x").unwrap_err(), ACCES);
    assert_eq!(client.rename((&deepest, "f"), (&data, "f")).unwrap_err(), ACCES);
    assert_eq!(client.access(&deepest, ALL).unwrap() & MODIFY, 0);
    // Everything beside it is as before; the other name of the file may be removed.
    client.remove(&data, "beside").unwrap();
    let other = client.file(&data, "other");
    client.write(&other, 0, FILE_SYNC, b"x").unwrap();
    unlock(&served, &ann, "d");
    client.write(&file, 0, FILE_SYNC, b"x").unwrap();
}
