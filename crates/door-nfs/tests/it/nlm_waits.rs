//! Requests that wait for locks: in which order they are granted, how the client is notified, and what ends waiting.

use std::net::UdpSocket;
use std::sync::atomic::Ordering;
use std::time::Duration;

use strata_door_nfs::{NfsConfig, NfsLocks};
use strata_namespace::RangeSpace;

use super::client::{Args, Client, Results};
use super::host::{Came, Host};
use super::nfs::Handle;
use super::nlm::quick;
use super::nlm_calls::*;
use super::support::{Served, config, export, root};

/// A door that calls clients on the port of this host.
pub(crate) fn calling(host: &Host) -> Served {
    let locks = NfsLocks { portmap_port: host.port, ..quick() };
    Served::with(NfsConfig { locks, ..config(vec![export("/")]) })
}

/// A file that a process of 127.0.0.1 has locked whole; that client, and one of 127.0.0.2.
fn locked(served: &Served) -> (Client, Client, Handle, Lock) {
    let (mut one, data) = served.root();
    let file = one.file(&data, "f");
    let lock = exclusive("one", 7, &file, 0, 0);
    assert_eq!(one.lock(&lock), GRANTED);
    (one, served.client_from(2), file, lock)
}

#[test]
fn who_waits_is_called_when_the_lock_is_theirs_at_the_address_it_asked_from() {
    let host = Host::on(2, 0);
    let served = calling(&host);
    let (mut one, mut two, file, lock) = locked(&served);
    let wanted = exclusive("two", 8, &file, 5, 10);
    assert_eq!(two.lock_waiting(&wanted), BLOCKED);
    host.is_left_alone();
    assert_eq!(one.unlock(&lock), GRANTED);
    let (from, came) = host.next();
    assert_eq!((came, from.ip()), (Came::Granted(wanted.clone()), served.address.ip()), "as it was asked for");
    assert_eq!(one.test(&lock), Err((true, 8, 5, 10)));
    // If the client hears nothing and asks again, the lock that it has is granted.
    assert_eq!(two.lock_waiting(&wanted), GRANTED);
    two.unlock(&wanted);
    assert_eq!(one.lock(&lock), GRANTED);
    host.is_left_alone();
}

#[test]
fn those_who_wait_are_served_in_their_order_and_readers_together() {
    let host = Host::on(2, 0);
    let served = calling(&host);
    let (mut one, mut two, file, lock) = locked(&served);
    let [first, reader, second, other, last] = [
        exclusive("two", 11, &file, 0, 10),
        shared("two", 12, &file, 0, 0),
        shared("two", 13, &file, 0, 10),
        exclusive("two", 14, &file, 0, 0),
        shared("two", 15, &file, 0, 1),
    ];
    for wanted in [&first, &reader, &second, &other, &last] {
        assert_eq!(two.lock_waiting(wanted), BLOCKED);
    }
    one.unlock(&lock);
    assert_eq!(host.granted(), first);
    host.is_left_alone();
    // Asking again gives no request a better place.
    assert_eq!([two.lock_waiting(&last), two.lock_waiting(&reader)], [BLOCKED, BLOCKED]);
    two.unlock(&first);
    let mut readers = [host.granted().process, host.granted().process];
    readers.sort_unstable();
    assert_eq!(readers, [12, 13]);
    // The last one reads too, but an earlier request would be in its way.
    host.is_left_alone();
    two.unlock(&reader);
    two.unlock(&second);
    assert_eq!(host.granted(), other);
    two.unlock(&other);
    assert_eq!(host.granted(), last);
}

#[test]
fn who_gives_up_is_not_waited_for() {
    let host = Host::on(2, 0);
    let served = calling(&host);
    let (mut one, mut two, file, lock) = locked(&served);
    let wanted = [8, 9, 10].map(|process| exclusive("two", process, &file, 0, 1));
    for wanted in &wanted {
        assert_eq!(two.lock_waiting(wanted), BLOCKED);
    }
    assert_eq!(two.cancel(&shared("two", 8, &file, 0, 1)), DENIED, "it does not wait for that");
    assert_eq!(two.cancel(&wanted[0]), GRANTED);
    assert_eq!(two.cancel(&wanted[0]), DENIED);
    // Unlocking a lock that is waited for ends the wait as well.
    assert_eq!(two.unlock(&exclusive("two", 9, &file, 0, 0)), GRANTED);
    one.unlock(&lock);
    assert_eq!(host.granted(), wanted[2]);
    host.is_left_alone();
}

#[test]
fn a_lock_that_its_client_does_not_want_goes_to_the_next() {
    let host = Host::on(2, 0);
    let served = calling(&host);
    let (mut one, mut two, file, lock) = locked(&served);
    host.answers.store(DENIED, Ordering::Release);
    assert_eq!(two.lock_waiting(&exclusive("two", 8, &file, 0, 0)), BLOCKED);
    assert_eq!(two.lock_waiting(&exclusive("two", 9, &file, 0, 0)), BLOCKED);
    one.unlock(&lock);
    assert_eq!([host.granted().process, host.granted().process], [8, 9]);
    wait_until(|| one.lock(&lock) == GRANTED);
}

#[test]
fn a_client_that_is_gone_keeps_nobody_waiting() {
    let host = Host::on(3, 0);
    let served = calling(&host);
    let (mut one, mut gone, file, lock) = locked(&served);
    // The client reads, and waits to write; nothing answers at its address.
    let reads = shared("gone", 8, &file, 0, 10);
    one.lock(&shared("one", 7, &file, 0, 0));
    assert_eq!(gone.lock(&reads), GRANTED);
    assert_eq!(gone.lock_waiting(&exclusive("gone", 8, &file, 0, 20)), BLOCKED);
    drop(gone);
    let mut third = served.client_from(3);
    let behind = exclusive("third", 9, &file, 12, 2);
    assert_eq!(third.lock_waiting(&behind), BLOCKED);
    one.unlock(&lock);
    assert_eq!(host.granted(), behind);
    // The client still has the lock that it had before it waited.
    assert_eq!(one.test(&exclusive("one", 7, &file, 0, 0)), Err((false, 8, 0, 10)));
}

#[test]
fn a_lock_for_reading_in_place_of_one_for_writing_lets_readers_in() {
    let host = Host::on(2, 0);
    let served = calling(&host);
    let (mut one, mut two, file, _) = locked(&served);
    let wanted = shared("two", 8, &file, 0, 1);
    assert_eq!(two.lock_waiting(&wanted), BLOCKED);
    assert_eq!(one.lock(&shared("one", 7, &file, 0, 0)), GRANTED);
    assert_eq!(host.granted(), wanted);
}

#[test]
fn what_an_operator_breaks_and_what_a_restarted_host_had_goes_to_those_who_wait() {
    let host = Host::on(2, 0);
    let served = calling(&host);
    let (mut one, mut two, file, lock) = locked(&served);
    let wanted = [8, 9].map(|process| exclusive("two", process, &file, 0, 0));
    for wanted in &wanted {
        assert_eq!(two.lock_waiting(wanted), BLOCKED);
    }
    let ns = served.ns();
    let (ino, held) = ns.all_holds(&root()).unwrap().remove(0);
    assert_eq!(ns.break_holds(&root(), ino, &held.owner, RangeSpace::Bytes).unwrap(), 1);
    assert_eq!(host.granted(), wanted[0]);
    // The client's host restarts: its locks and its waits end.
    assert_eq!(one.lock_waiting(&lock), BLOCKED);
    two.notify("two", 3);
    wait_until(|| one.lock(&lock) == GRANTED);
    host.is_left_alone();
}

#[test]
fn a_host_that_cannot_be_called_holds_a_lock_up_once_however_much_it_waits_for() {
    let host = Host::on(2, 0);
    let served = calling(&host);
    let (mut one, mut two, file, lock) = locked(&served);
    let mut gone = served.client_from(3);
    for process in 0..60 {
        assert_eq!(gone.lock_waiting(&exclusive("gone", process, &file, 0, 0)), BLOCKED);
    }
    let wanted = exclusive("two", 8, &file, 0, 0);
    assert_eq!(two.lock_waiting(&wanted), BLOCKED);
    assert_eq!(one.unlock(&lock), GRANTED);
    assert_eq!(host.granted(), wanted);
    let failed = served.door().metrics().lock_callbacks_failed.load(std::sync::atomic::Ordering::Relaxed);
    assert!(failed < 16, "called {failed} times");
    // The client asks again, and waits again.
    assert_eq!(gone.lock_waiting(&exclusive("gone", 1, &file, 0, 0)), BLOCKED);
}

#[test]
fn waiting_for_a_file_that_is_removed_ends() {
    let host = Host::on(2, 0);
    let served = calling(&host);
    let (mut one, mut two, file, lock) = locked(&served);
    let wanted = exclusive("two", 8, &file, 0, 0);
    assert_eq!(two.lock_waiting(&wanted), BLOCKED);
    let data = one.mount("/data").unwrap().unwrap();
    one.remove(&data, "f").unwrap();
    assert_eq!(two.lock_waiting(&wanted), STALE_FH);
    assert_eq!(one.unlock(&lock), GRANTED);
    host.is_left_alone();
    assert_eq!(served.ns().holds_held(), 0);
}

#[test]
fn calls_of_the_asynchronous_form_are_answered_by_calls() {
    let host = Host::on(2, 0);
    let served = calling(&host);
    let (mut one, mut two, file, lock) = locked(&served);
    let wanted = exclusive("two", 8, &file, 0, 0);
    let mut message = |procedure: u32, args: Args| {
        two.call(NLM, procedure, &args).unwrap().end();
        host.next().1
    };
    let cookie = || Args::default().opaque(b"cook");
    assert_eq!(message(7, lock_args(&wanted, false)), Came::Result(12, DENIED));
    assert_eq!(message(6, wanted.put(cookie().u32(1))), Came::Result(11, DENIED));
    assert_eq!(message(7, lock_args(&wanted, true)), Came::Result(12, BLOCKED));
    assert_eq!(message(8, wanted.put(cookie().u32(1).u32(1))), Came::Result(13, GRANTED));
    one.unlock(&lock);
    assert_eq!(message(7, lock_args(&wanted, true)), Came::Result(12, GRANTED));
    assert_eq!(message(9, wanted.put(cookie())), Came::Result(14, GRANTED));
    assert_eq!(one.lock(&lock), GRANTED);
}

#[test]
fn locks_are_asked_for_over_udp_too_by_those_whom_an_export_admits() {
    let host = Host::on(2, 0);
    let served = calling(&host);
    let (mut one, _, file, lock) = locked(&served);
    let (portmap, _stop) = served.portmap_datagrams();
    let socket = UdpSocket::bind("127.0.0.2:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let ask = |xid: u32, procedure: u32, args: &Args| {
        socket.send_to(&one.record(xid, NLM, procedure, args)[4..], portmap).unwrap();
        let mut reply = [0; 512];
        let len = socket.recv(&mut reply).unwrap();
        let mut reply = Results::new(reply[..len].to_vec());
        assert_eq!(reply.u32().unwrap(), xid);
        Client::accepted(reply).unwrap()
    };
    let wanted = exclusive("two", 8, &file, 0, 0);
    // The second time the answer comes from the reply cache.
    for _ in 0..2 {
        let mut answer = ask(70, 2, &lock_args(&wanted, false));
        assert_eq!((answer.opaque().unwrap().as_slice(), answer.u32().unwrap()), (&b"cook"[..], DENIED));
        answer.end();
    }
    ask(71, 7, &lock_args(&wanted, true)).end();
    assert_eq!(host.next().1, Came::Result(12, BLOCKED));
    one.unlock(&lock);
    assert_eq!(host.granted(), wanted);
    served.door().set_exports(vec![]).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    socket.send_to(&one.record(72, NLM, 0, &Args::default())[4..], portmap).unwrap();
    assert!(socket.recv(&mut [0; 64]).is_err());
}
