//! What survives, and what clients are told so that they can send the rest again; caches of clients.

use super::client::Set;
use super::nfs::{FILE_SYNC, UNSTABLE};
use super::support::Served;

#[test]
fn handles_and_synced_data_outlive_a_restart_and_the_write_verifier_does_not() {
    let mut served = Served::start();
    let (mut client, data) = served.root();
    let synced = client.file(&data, "synced");
    let committed = client.file(&data, "committed");
    let bytes = vec![0xa5; 200_000];
    let first = client.write(&synced, 0, FILE_SYNC, b"at once").unwrap();
    assert_eq!(first.committed, FILE_SYNC);
    let unstable = client.write(&committed, 0, UNSTABLE, &bytes).unwrap();
    let (verifier, _) = client.commit(&committed).unwrap();
    assert_eq!((&unstable.verifier, &first.verifier), (&verifier, &verifier), "one instance, one verifier");
    served.restart();
    let (mut client, _) = served.root();
    assert_eq!(client.read(&synced, 0, 100).unwrap(), (b"at once".to_vec(), true));
    assert_eq!(client.read(&committed, 0, 1 << 20).unwrap(), (bytes, true));
    assert_ne!(client.commit(&committed).unwrap().0, verifier);
    assert_eq!(client.lookup(&data, "synced").unwrap().0, synced);
}

#[test]
fn an_exclusive_create_is_recognised_again_even_after_a_restart() {
    let mut served = Served::start();
    let (mut client, data) = served.root();
    let first = client.create_exclusive(&data, "f", *b"verifier").unwrap();
    assert_eq!(client.create_exclusive(&data, "f", *b"verifier").unwrap().handle, first.handle);
    served.restart();
    let (mut client, _) = served.root();
    assert_eq!(client.create_exclusive(&data, "f", *b"verifier").unwrap().handle, first.handle);
    assert_eq!(client.create_exclusive(&data, "f", *b"another!").unwrap_err(), super::client::EXIST);
    // The client sets real times, as it must; from then on a retried exclusive CREATE is refused.
    let set = Set { mode: Some(0o644), atime: Some((1, 0)), mtime: Some((1, 0)), ..Set::default() };
    client.setattr(&first.handle, &set, None).unwrap();
    assert_eq!(client.create_exclusive(&data, "f", *b"verifier").unwrap_err(), super::client::EXIST);
}

#[test]
fn changes_through_the_door_tell_what_was_before_when_nobody_came_in_between() {
    let served = Served::start();
    let (mut client, data) = served.root();
    let known = client.getattr(&data).unwrap();
    let made = client.create(&data, "f", 1, &Set::mode(0o644)).unwrap();
    assert_eq!(made.directory.before, Some((known.size, known.mtime, known.ctime)));
    let after = made.directory.after.unwrap();
    assert_eq!(client.getattr(&data).unwrap(), after);
    let (_, linked) = client.link(&made.handle, &data, "g").unwrap();
    assert_eq!(linked.before, Some((after.size, after.mtime, after.ctime)));
    let after = linked.after.unwrap();
    let dir = client.mkdir(&data, "d", &Set::mode(0o755)).unwrap();
    assert_eq!(dir.directory.before, Some((after.size, after.mtime, after.ctime)));
    let after = dir.directory.after.unwrap();
    let (from, to) = client.rename((&data, "f"), (&dir.handle, "f")).unwrap();
    assert_eq!(from.before, Some((after.size, after.mtime, after.ctime)));
    assert_eq!(to.before, Some((dir.attr.size, dir.attr.mtime, dir.attr.ctime)));
    let after = from.after.unwrap();
    let removed = client.remove(&data, "g").unwrap();
    assert_eq!(removed.before, Some((after.size, after.mtime, after.ctime)));
    assert_eq!(removed.after.unwrap(), client.getattr(&data).unwrap());
    let file = client.getattr(&made.handle).unwrap();
    let set = client.setattr(&made.handle, &Set::mode(0o600), None).unwrap();
    assert_eq!(set.before, Some((file.size, file.mtime, file.ctime)));
}

#[test]
fn an_exclusive_create_of_several_steps_still_tells_what_was_before() {
    let served = Served::start();
    let (mut client, data) = served.root();
    let known = client.getattr(&data).unwrap();
    let made = client.create_exclusive(&data, "f", *b"verifier").unwrap();
    assert_eq!(made.directory.before, Some((known.size, known.mtime, known.ctime)));
    assert_eq!(made.directory.after.unwrap(), client.getattr(&data).unwrap());
}
