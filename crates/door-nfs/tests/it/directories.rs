//! Listings of large directories, with changes in between and without the positions that were kept.

use std::collections::BTreeSet;

use strata_namespace::{NewNode, NodeKind};

use super::client::{BAD_COOKIE, Client, Set, TOOSMALL};
use super::nfs::Entry;
use super::support::{Served, config, export, root};

const MANY: usize = 3000;

/// Names as the directory is filled with.
fn name(number: usize) -> String {
    format!("entry-{number:05}")
}

/// Fills the bucket `data` past the door: one sync for all.
fn fill(served: &Served) {
    let (ns, bucket, op) = (served.ns(), served.bucket(), root());
    for number in 0..MANY {
        let node = NewNode { kind: NodeKind::File, mode: 0o644, rdev: 0 };
        ns.mknod(&op, bucket, name(number).as_bytes(), node).unwrap();
    }
    ns.settle_blocking(&op).unwrap();
}

/// Lists from the start, calling `between` behind each page.
fn list(client: &mut Client, dir: &[u8], plus: bool, mut between: impl FnMut(&mut Client, &[Entry])) -> Vec<Entry> {
    let (mut all, mut cookie, mut verifier) = (Vec::new(), 0, [0; 8]);
    loop {
        let page = if plus {
            client.readdirplus(dir, cookie, verifier, 16 << 10).unwrap()
        } else {
            client.readdir(dir, cookie, verifier, 8 << 10).unwrap()
        };
        verifier = page.verifier;
        cookie = page.entries.last().map_or(cookie, |entry| entry.cookie);
        between(client, &page.entries);
        all.extend(page.entries);
        if page.end {
            return all;
        }
    }
}

#[test]
fn every_entry_is_listed_once_with_and_without_attributes() {
    let served = Served::start();
    fill(&served);
    let (mut client, data) = served.root();
    let plain = list(&mut client, &data, false, |_, _| {});
    let plus = list(&mut client, &data, true, |_, _| {});
    let mut expected: Vec<String> = (0..MANY).map(name).collect();
    expected.extend([".".to_owned(), "..".to_owned()]);
    for entries in [&plain, &plus] {
        let names: BTreeSet<&String> = entries.iter().map(|entry| &entry.name).collect();
        assert_eq!((names.len(), entries.len()), (MANY + 2, MANY + 2));
        assert!(expected.iter().all(|name| names.contains(name)));
        let cookies: BTreeSet<u64> = entries.iter().map(|entry| entry.cookie).collect();
        assert_eq!(cookies.len(), MANY + 2);
        assert!(cookies.iter().all(|cookie| i64::try_from(*cookie).is_ok()), "clients keep them signed");
    }
    let entry = plus.iter().find(|entry| entry.name == name(77)).unwrap();
    let (handle, attr) = client.lookup(&data, &name(77)).unwrap();
    assert_eq!((entry.handle.as_ref(), entry.attr.as_ref()), (Some(&handle), Some(&attr)));
    assert_eq!(entry.fileid, attr.fileid);
}

#[test]
fn what_stays_is_listed_once_while_others_come_and_go() {
    let served = Served::start();
    fill(&served);
    let (mut client, data) = served.root();
    let (ns, bucket) = (served.ns(), served.bucket());
    let mut removed = BTreeSet::new();
    let mut round = 0;
    let listed = list(&mut client, &data, false, |_, page| {
        // The last entry of the page itself is removed: its cookie must still be valid. So is an entry far ahead.
        round += 1;
        let last = page.last().map(|entry| entry.name.clone()).filter(|name| name.starts_with("entry"));
        for gone in last.into_iter().chain([name(MANY - 1 - round)]) {
            if removed.insert(gone.clone()) {
                ns.unlink(&root(), bucket, gone.as_bytes()).unwrap();
            }
        }
        let node = NewNode { kind: NodeKind::File, mode: 0, rdev: 0 };
        ns.mknod(&root(), bucket, format!("aaa-{round}").as_bytes(), node).unwrap();
    });
    assert!(round > 10, "several pages");
    let mut seen = BTreeSet::new();
    for entry in &listed {
        assert!(seen.insert(entry.name.clone()), "{} twice", entry.name);
    }
    for number in 0..MANY {
        let name = name(number);
        assert!(seen.contains(&name) || removed.contains(&name), "{name} is missing");
    }
}

#[test]
fn a_position_that_is_not_kept_any_more_is_found_again() {
    let mut without_cache = config(vec![export("/")]);
    without_cache.limits.cookie_cache_bytes_max = 0;
    let served = Served::with(without_cache);
    fill(&served);
    let (mut client, data) = served.root();
    let listed = list(&mut client, &data, false, |_, _| {});
    assert_eq!(listed.len(), MANY + 2);
    assert!(served.door().metrics().cookie_scans.load(std::sync::atomic::Ordering::Relaxed) > 0);
    // The position is removed and no longer remembered: the client has to begin anew, and gets that status.
    let page = client.readdir(&data, 0, [0; 8], 4096).unwrap();
    let last = page.entries.last().unwrap();
    client.remove(&data, &last.name).unwrap();
    assert_eq!(client.readdir(&data, last.cookie, page.verifier, 4096).unwrap_err(), BAD_COOKIE);
}

#[test]
fn cookies_hold_across_a_restart() {
    let mut served = Served::start();
    fill(&served);
    let (mut client, data) = served.root();
    let first = client.readdir(&data, 0, [0; 8], 8192).unwrap();
    served.restart();
    let (mut client, _) = served.root();
    let second = client.readdir(&data, first.entries.last().unwrap().cookie, first.verifier, 8192).unwrap();
    assert_eq!(second.verifier, first.verifier);
    let last = &first.entries.last().unwrap().name;
    assert!(second.entries.iter().all(|entry| entry.name > *last), "goes on behind {last}");
}

#[test]
fn replies_keep_to_the_size_asked_for_or_say_that_nothing_fits() {
    let served = Served::start();
    let (mut client, data) = served.root();
    client.mkdir(&data, &"x".repeat(200), &Set::default()).unwrap();
    let verifier = client.readdir(&data, 0, [0; 8], 4096).unwrap().verifier;
    assert_eq!(client.readdir(&data, 2, verifier, 130).unwrap_err(), TOOSMALL);
    assert_eq!(client.readdir(&data, 0, [0; 8], 20).unwrap_err(), TOOSMALL);
    assert_eq!(client.readdir(&data, 77, [0; 8], 4096).unwrap_err(), BAD_COOKIE, "another verifier");
    assert_eq!(client.readdir(&data, 77, verifier, 4096).unwrap_err(), BAD_COOKIE, "never given out");
}
