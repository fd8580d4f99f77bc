//! Locks between clients: who excludes whom, who may lock, and what ends a lock. Requests that wait are in `nlm_waits.rs`.

use std::net::UdpSocket;
use std::time::Duration;

use strata_door_nfs::{NfsConfig, NfsLimits, NfsLocks, Squash, lock_clients};

use super::client::{Args, Client, Cred, OK, PORTMAP, Set};
use super::host::{Came, Host};
use super::nfs::Handle;
use super::nlm_calls::*;
use super::support::{Served, config, export, root};

/// Clients on two addresses, and a file.
fn two(served: &Served) -> (Client, Client, Handle) {
    let (mut one, data) = served.root();
    let file = one.file(&data, "f");
    (one, served.client_from(2), file)
}

#[test]
fn clients_on_two_hosts_exclude_each_other_and_are_told_who_is_in_the_way() {
    let served = Served::start();
    let (mut one, mut two, file) = two(&served);
    let (first, second) = (exclusive("one", 7, &file, 10, 20), exclusive("two", 8, &file, 15, 0));
    assert_eq!(one.test(&first), Ok(GRANTED));
    assert_eq!(one.lock(&first), GRANTED);
    assert_eq!(two.lock(&second), DENIED);
    assert_eq!(two.test(&second), Err((true, 7, 10, 20)));
    assert_eq!(two.test(&shared("two", 8, &file, 0, 10)), Ok(GRANTED), "beside it");
    // A holder may take its lock again, also as a read lock, which lets readers in.
    assert_eq!(one.lock(&first), GRANTED);
    assert_eq!(one.lock(&shared("one", 7, &file, 10, 20)), GRANTED);
    assert_eq!(two.lock(&shared("two", 8, &file, 0, 0)), GRANTED);
    assert_eq!(one.lock(&first), DENIED, "the other reads there");
    assert_eq!(one.test(&first), Err((false, 8, 0, 0)));
    assert_eq!(two.unlock(&second), GRANTED);
    assert_eq!(two.unlock(&shared("two", 8, &file, 0, 15)), GRANTED);
    assert_eq!(one.lock(&first), GRANTED);
    // Unlocking without a lock is no error.
    assert_eq!(two.unlock(&second), GRANTED);
}

#[test]
fn unlocking_the_middle_leaves_both_ends_and_locking_it_again_joins_them() {
    let served = Served::start();
    let (mut one, mut two, file) = two(&served);
    let of_one = |offset, len| exclusive("one", 7, &file, offset, len);
    let held = |two: &mut Client| {
        let ranges: Vec<_> = (0..100).step_by(10).map(|at| two.test(&shared("two", 8, &file, at, 10)).err()).collect();
        ranges.into_iter().map(|held| held.map(|(_, _, offset, len)| (offset, len))).collect::<Vec<_>>()
    };
    assert_eq!(one.lock(&of_one(10, 80)), GRANTED);
    assert_eq!(one.unlock(&of_one(40, 20)), GRANTED);
    let (left, right) = (Some((10, 30)), Some((60, 30)));
    assert_eq!(held(&mut two), [None, left, left, left, None, None, right, right, right, None]);
    assert_eq!(one.lock(&of_one(40, 20)), GRANTED);
    let whole = Some((10, 80));
    assert_eq!(held(&mut two), [None, whole, whole, whole, whole, whole, whole, whole, whole, None]);
    assert_eq!(one.unlock(&of_one(0, 0)), GRANTED);
    assert_eq!(held(&mut two), [None; 10]);
}

#[test]
fn an_owner_is_a_process_of_a_named_host_at_an_address() {
    let served = Served::start();
    let (mut one, mut two, file) = two(&served);
    let lock = exclusive("one", 7, &file, 0, 0);
    assert_eq!(one.lock(&lock), GRANTED);
    // Another process; another host behind the same address; the same request from another address.
    assert_eq!(one.lock(&exclusive("one", 8, &file, 0, 0)), DENIED);
    assert_eq!(one.lock(&exclusive("other", 7, &file, 0, 0)), DENIED);
    assert_eq!(two.lock(&lock), DENIED);
    // None of them ends it.
    two.unlock(&lock);
    one.unlock(&exclusive("one", 8, &file, 0, 0));
    two.free_all("one");
    assert_eq!(one.test(&exclusive("one", 8, &file, 0, 0)), Err((true, 7, 0, 0)));
    // The same process over another connection ends it.
    let mut again = served.root().0;
    assert_eq!(again.unlock(&lock), GRANTED);
    assert_eq!(two.lock(&lock), GRANTED);
}

#[test]
fn who_may_neither_read_nor_write_a_file_has_no_locks_on_it() {
    let served = Served::start();
    let (mut one, data) = served.root();
    let (mut user, _) = served.user(1000);
    let secret = one.create(&data, "secret", 1, &Set::mode(0o600)).unwrap().handle;
    assert_eq!(user.lock(&exclusive("one", 7, &secret, 0, 0)), FAILED);
    assert_eq!(user.test(&shared("one", 7, &secret, 0, 0)), Ok(FAILED));
    assert_eq!(user.share("one", "x", &secret, 0, 1), FAILED);
    // Permission to read is enough, also for a lock that keeps others from writing; so is permission to write.
    for mode in [0o604, 0o602] {
        one.setattr(&secret, &Set::mode(mode), None).unwrap();
        assert_eq!(user.lock(&exclusive("one", 7, &secret, 0, 0)), GRANTED, "{mode:o}");
    }
    // A granted lock can be released whatever the mode is by then.
    one.setattr(&secret, &Set::mode(0o600), None).unwrap();
    assert_eq!(user.unlock(&exclusive("one", 7, &secret, 0, 0)), GRANTED);
    assert_eq!(one.lock(&exclusive("one", 1, &secret, 0, 0)), GRANTED);
    assert_eq!(one.lock(&exclusive("one", 1, &data, 0, 0)), FAILED, "a directory");
}

#[test]
fn squashing_and_read_only_exports_hold_for_locks() {
    let mut all = export("/data");
    (all.squash, all.read_only) = (Squash::All, false);
    let mut only = export("/other");
    only.read_only = true;
    let served = Served::with(config(vec![all, only, export("/")]));
    let mut client = served.client(Cred::user(0));
    let whole = client.mount("/").unwrap().unwrap();
    let (inner, _) = client.lookup(&whole, "data").unwrap();
    client.create(&inner, "secret", 1, &Set::mode(0o600)).unwrap();
    let squashed = client.mount("/data").unwrap().unwrap();
    let (secret, _) = client.lookup(&squashed, "secret").unwrap();
    assert_eq!(client.lock(&shared("one", 7, &secret, 0, 0)), FAILED, "root is nobody here");
    let (other, _) = client.lookup(&whole, "other").unwrap();
    client.create(&other, "f", 1, &Set::mode(0o666)).unwrap();
    let other = client.mount("/other").unwrap().unwrap();
    let (file, _) = client.lookup(&other, "f").unwrap();
    assert_eq!(client.lock(&exclusive("one", 7, &file, 0, 0)), ROFS);
    assert_eq!(client.lock(&shared("one", 7, &file, 0, 0)), GRANTED);
}

#[test]
fn handles_and_bytes_that_are_none_are_refused() {
    let served = Served::start();
    let (mut one, data) = served.root();
    let file = one.file(&data, "f");
    let mut forged = file.clone();
    forged[30] ^= 1;
    for handle in [&forged[..], b"", &[0; 64]] {
        let lock = exclusive("one", 7, handle, 0, 0);
        assert_eq!([one.lock(&lock), one.unlock(&lock), one.cancel(&lock)], [STALE_FH; 3]);
        assert_eq!(one.test(&lock), Ok(STALE_FH));
    }
    let beyond = exclusive("one", 7, &file, 1 << 63, 1);
    assert_eq!([one.lock(&beyond), one.unlock(&beyond)], [FBIG, FBIG]);
    assert_eq!(one.lock(&exclusive("one", 7, &file, 5, u64::MAX)), FBIG);
    one.remove(&data, "f").unwrap();
    assert_eq!(one.lock(&exclusive("one", 7, &file, 0, 0)), STALE_FH);
    // A client that no rule admits any more is refused with the handle it has.
    let file = one.file(&data, "g");
    served.door().set_exports(vec![]).unwrap();
    assert_eq!(one.lock(&exclusive("one", 7, &file, 0, 0)), FAILED);
}

#[test]
fn a_reservation_keeps_others_from_opening_against_it() {
    const READ: u32 = 1;
    const WRITE: u32 = 2;
    let served = Served::start();
    let (mut one, mut two, file) = two(&served);
    assert_eq!(one.share("one", "a", &file, WRITE, READ), GRANTED);
    assert_eq!(two.share("two", "b", &file, 0, WRITE), DENIED);
    assert_eq!(two.share("two", "b", &file, READ, READ), DENIED, "the first reads");
    assert_eq!(two.share("two", "b", &file, WRITE, READ), GRANTED);
    // A reservation of the same owner replaces its own.
    assert_eq!(one.share("one", "a", &file, 0, READ), GRANTED);
    assert_eq!(two.unshare("two", "b", &file), GRANTED);
    assert_eq!(two.share("two", "b", &file, 0, WRITE), GRANTED);
    // Byte locks and reservations do not affect each other.
    assert_eq!(one.lock(&exclusive("one", 7, &file, 0, 0)), GRANTED);
    two.notify("two", 3);
    assert_eq!(one.share("one", "a", &file, WRITE, READ), GRANTED, "the other restarted");
}

#[test]
fn a_restart_of_a_host_ends_its_locks_and_nobody_elses() {
    let served = Served::start();
    let (mut one, mut two, file) = two(&served);
    let free = |client: &mut Client, process| client.test(&exclusive("asks", 99, &file, process, 1)) == Ok(GRANTED);
    let of = |host, process: u32| exclusive(host, process, &file, u64::from(process), 1);
    assert_eq!([one.lock(&of("ws1.example.org", 1)), one.lock(&of("ws2", 2)), two.lock(&of("ws1", 3))], [GRANTED; 3]);
    // A client that is not there, and a name that belongs to neither of two.
    served.client_from(3).notify("ws1", 5);
    one.notify("ws3", 5);
    assert_eq!([1, 2, 3].map(|process| free(&mut one, process)), [false; 3]);
    one.notify("WS1", 5);
    assert_eq!([1, 2, 3].map(|process| free(&mut one, process)), [true, false, false]);
    // A repeated notice has no effect, whatever was locked since.
    assert_eq!(one.lock(&of("ws1.example.org", 1)), GRANTED);
    one.notify("ws1", 5);
    assert!(!free(&mut one, 1));
    one.notify("ws1", 7);
    assert!(free(&mut one, 1));
    // A client that is alone at its address is meant, whatever name it gives; over UDP too, as Linux sends it.
    let (portmap, _stop) = served.portmap_datagrams();
    let socket = UdpSocket::bind("127.0.0.2:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let call = Client::connect(served.address, Cred::None).unwrap().record(77, NSM, 6, &restarted("10.0.0.2", 9));
    socket.send_to(&call[4..], portmap).unwrap();
    let mut reply = [0; 64];
    assert_eq!(socket.recv(&mut reply).unwrap(), 24);
    assert_eq!(reply[..8], [0, 0, 0, 77, 0, 0, 0, 1]);
    assert_eq!([2, 3].map(|process| free(&mut one, process)), [false, true]);
    one.free_all("ws2");
    assert!(free(&mut one, 2));
}

#[test]
fn numbers_of_locks_and_of_clients_have_bounds() {
    let limits = NfsLimits {
        lock_holds_per_client_max: 3,
        lock_holds_max: 4,
        lock_waits_per_client_max: 1,
        lock_waits_max: 2,
        lock_clients_per_address_max: 2,
        lock_clients_max: 3,
        ..NfsLimits::default()
    };
    let served = Served::with(NfsConfig { limits, ..config(vec![export("/")]) });
    let (mut one, mut two, file) = two(&served);
    let of = |host, byte: u64| exclusive(host, 7, &file, byte * 2, 1);
    assert_eq!([0, 1, 2, 3].map(|byte| one.lock(&of("one", byte))), [GRANTED, GRANTED, GRANTED, NOLOCKS]);
    assert_eq!([0, 10, 11].map(|byte| two.lock(&of("two", byte))), [DENIED, GRANTED, NOLOCKS]);
    two.unlock(&of("two", 10));
    assert_eq!([0, 1].map(|byte| two.lock_waiting(&of("two", byte))), [BLOCKED, NOLOCKS]);
    assert_eq!([0, 1].map(|byte| one.lock_waiting(&of("beside", byte))), [BLOCKED, NOLOCKS]);
    assert_eq!(one.lock(&of("third", 20)), NOLOCKS);
    assert_eq!(served.client_from(3).lock(&of("fourth", 20)), NOLOCKS);
    // A wait that ends makes room.
    assert_eq!(two.cancel(&of("two", 0)), GRANTED);
    assert_eq!(two.lock_waiting(&of("two", 1)), BLOCKED);
    one.notify("one", 3);
    wait_until(|| served.ns().holds_held() == 2);
}

#[test]
fn one_client_cannot_take_all_the_ranges_of_a_file() {
    let served = Served::start();
    let (mut one, mut two, file) = two(&served);
    let of = |host, byte: u64| exclusive(host, (byte % 5) as u32, &file, byte * 2, 1);
    let share = strata_namespace::HOLDS_PER_FILE_PER_CLIENT_MAX as u64;
    assert!((0..share).all(|byte| one.lock(&of("one", byte)) == GRANTED));
    assert_eq!(one.lock(&of("one", share)), NOLOCKS);
    // Other clients have shares of their own, and the share counts per file.
    assert!((share..share + 10).all(|byte| two.lock(&of("two", byte)) == GRANTED));
    assert_eq!(two.lock(&of("two", 0)), DENIED);
    let data = one.mount("/data").unwrap().unwrap();
    let other = one.file(&data, "g");
    assert_eq!(one.lock(&exclusive("one", 7, &other, 0, 1)), GRANTED);
    // A lock that ends makes room, and the client can release what it has.
    assert_eq!([one.unlock(&of("one", 0)), one.lock(&of("one", share + 10))], [GRANTED; 2]);
    assert_eq!(one.unlock(&of("one", 1)), GRANTED);
}

#[test]
fn another_version_is_told_the_one_there_is_and_portmap_tells_the_port() {
    let served = Served::start();
    let mut client = served.client(Cred::None);
    let refused = |client: &mut Client, program: (u32, u32), procedure: u32| {
        client.send(program, procedure, &Args::default()).unwrap();
        let (_, mut reply) = client.receive().unwrap();
        [(); 5].map(|()| reply.u32().unwrap()).last().copied().map(|stat| (stat, reply.u32().ok(), reply.u32().ok()))
    };
    for version in [1, 3] {
        assert_eq!(refused(&mut client, (NLM.0, version), 0), Some((2, Some(4), Some(4))));
    }
    assert_eq!(refused(&mut client, NLM, 17), Some((3, None, None)));
    assert_eq!(refused(&mut client, NLM, 2), Some((4, None, None)), "no arguments");
    // Procedures between programs of one machine are not offered to a network.
    assert_eq!([1, 2, 3, 4, 5].map(|number| refused(&mut client, NSM, number)), [Some((3, None, None)); 5]);
    client.call(NLM, 0, &Args::default()).unwrap().end();
    client.call(NSM, 0, &Args::default()).unwrap().end();
    let mut port = |program: u32, protocol: u32| {
        let args = Args::default().u32(program).u32(4).u32(protocol).u32(0);
        client.call(PORTMAP, 3, &args).unwrap().u32().unwrap()
    };
    let own = u32::from(served.address.port());
    assert_eq!([port(NLM.0, 6), port(NSM.0, 6), port(NLM.0, 17)], [own, own, 0]);
}

#[test]
fn a_lock_that_is_asked_for_again_after_it_was_given_back_is_not_taken() {
    let served = Served::start();
    let (mut one, mut two, file) = two(&served);
    let lock = exclusive("one", 7, &file, 0, 0);
    let record = one.record(4711, NLM, 2, &lock_args(&lock, false));
    for _ in 0..2 {
        std::io::Write::write_all(one.stream(), &record).unwrap();
        let (xid, reply) = one.receive().unwrap();
        let mut results = Client::accepted(reply).unwrap();
        assert_eq!((xid, results.opaque().unwrap().as_slice(), results.u32().unwrap()), (4711, &b"cook"[..], OK));
        // The second transmission comes when the client has released the lock: it must not set the lock again.
        assert_eq!(one.unlock(&lock), GRANTED);
    }
    assert_eq!(two.lock(&exclusive("two", 8, &file, 0, 0)), GRANTED);
}

#[test]
fn after_a_restart_clients_are_told_and_get_back_what_they_had_before_others_get_anything() {
    let host = Host::on(1, 0);
    let locks = NfsLocks { portmap_port: host.port, grace: Duration::from_secs(600), ..quick() };
    let mut served = Served::with(NfsConfig { locks, ..config(vec![export("/")]) });
    let (mut one, mut two, file) = two(&served);
    let lock = exclusive("one", 7, &file, 0, 10);
    assert_eq!(two.reclaim(&exclusive("two", 8, &file, 50, 1)), GRACE, "nobody had anything before");
    assert_eq!(one.lock(&lock), GRANTED);
    let known: Vec<_> = lock_clients(&served.ns(), &root()).unwrap().into_iter().map(|client| client.name).collect();
    assert_eq!(known, ["one"]);
    served.restart();
    assert_eq!(served.ns().holds_held(), 0, "they end with the session");
    let told: Vec<_> = [host.next().1, host.next().1].into();
    let [Came::Restarted(name, first), Came::Restarted(address, same)] = &told[..] else { panic!("{told:?}") };
    assert_eq!((name.as_str(), address.as_str(), first % 2, first), ("server", "127.0.0.1", 1, same));
    let (mut one, mut two) = (served.client(Cred::user(0)), served.client_from(2));
    assert_eq!(two.lock(&exclusive("two", 8, &file, 50, 1)), GRACE);
    assert_eq!(two.test(&exclusive("two", 8, &file, 50, 1)), Ok(GRACE));
    assert_eq!(two.reclaim(&exclusive("two", 8, &file, 0, 1)), GRACE, "it had no lock");
    assert_eq!(one.reclaim(&lock), GRANTED);
    assert_eq!(one.reclaim(&exclusive("one", 8, &file, 5, 1)), DENIED);
    assert_eq!([one.unlock(&lock), one.reclaim(&lock)], [GRANTED; 2]);
    // A restart later the number is higher.
    served.restart();
    let Came::Restarted(_, second) = host.next().1 else { panic!("a notice") };
    assert!(second > *first && second % 2 == 1);
}

#[test]
fn when_the_time_to_ask_again_is_over_locks_are_granted_to_everybody_and_nothing_is_reclaimed() {
    let locks = NfsLocks { grace: Duration::from_millis(1), portmap_port: 9, ..quick() };
    let mut served = Served::with(NfsConfig { locks, ..config(vec![export("/")]) });
    let (mut one, _, file) = two(&served);
    let lock = exclusive("one", 7, &file, 0, 10);
    assert_eq!(one.lock(&lock), GRANTED);
    served.restart();
    let (mut one, mut two) = (served.client(Cred::user(0)), served.client_from(2));
    std::thread::sleep(Duration::from_millis(10));
    assert_eq!(one.reclaim(&lock), GRACE);
    assert_eq!(two.lock(&exclusive("two", 8, &file, 0, 0)), GRANTED);
}

#[test]
fn a_server_that_ends_in_order_leaves_only_those_to_be_told_that_have_locks() {
    let host = Host::on(2, 0);
    let locks = NfsLocks { portmap_port: host.port, ..quick() };
    let mut served = Served::with(NfsConfig { locks, ..config(vec![export("/")]) });
    let (mut one, mut two, file) = two(&served);
    for (client, host) in [(&mut one, "one"), (&mut two, "two")] {
        assert_eq!(client.lock(&exclusive(host, 7, &file, 0, 0)), GRANTED);
        assert_eq!(client.unlock(&exclusive(host, 7, &file, 0, 0)), GRANTED);
    }
    drop((one, two));
    served.stop_and_start();
    assert!(lock_clients(&served.ns(), &root()).unwrap().is_empty());
    // No client has to ask again for a lock, so there is no grace period.
    let mut two = served.client_from(2);
    assert_eq!(two.lock(&exclusive("two", 7, &file, 0, 0)), GRANTED);
    drop(two);
    served.stop_and_start();
    assert!(matches!(host.next().1, Came::Restarted(..)));
    assert_eq!(served.client_from(2).reclaim(&exclusive("two", 7, &file, 0, 0)), GRANTED);
}

/// Calls to clients without long pauses.
pub(crate) fn quick() -> NfsLocks {
    NfsLocks { call_pause: Duration::from_millis(20), server_name: "server".to_owned(), ..NfsLocks::default() }
}
