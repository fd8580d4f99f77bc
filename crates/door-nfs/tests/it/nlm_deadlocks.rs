//! Deadlocks: a request that would wait for itself is refused at once, and no other is.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::client::Client;
use super::host::Host;
use super::nfs::Handle;
use super::nlm_calls::*;
use super::nlm_waits::calling;
use super::support::Served;

/// Clients of 127.0.0.1, .2 and .3, the name of each host, and three files.
fn three(served: &Served) -> ([(Client, &'static str); 3], [Handle; 3]) {
    let (mut one, data) = served.root();
    let files = ["f", "g", "h"].map(|name| one.file(&data, name));
    let clients = [(one, "one"), (served.client_from(2), "two"), (served.client_from(3), "three")];
    (clients, files)
}

#[test]
fn of_two_who_wait_for_what_the_other_holds_the_second_is_told_so() {
    let host = Host::on(1, 0);
    let served = calling(&host);
    let ([(mut one, _), (mut two, _), _], [f, g, _]) = three(&served);
    let [ones, twos] = [exclusive("one", 7, &f, 0, 0), exclusive("two", 7, &g, 10, 10)];
    assert_eq!([one.lock(&ones), two.lock(&twos)], [GRANTED; 2]);
    let wanted = shared("one", 7, &g, 15, 1);
    assert_eq!(one.lock_waiting(&wanted), BLOCKED);
    let closing = exclusive("two", 7, &f, 3, 1);
    // However often it asks. A request that does not wait is denied, as always.
    assert_eq!(
        [two.lock_waiting(&closing), two.lock_waiting(&closing), two.lock(&closing)],
        [DEADLCK, DEADLCK, DENIED]
    );
    // The first waits on, and the second still holds its lock; once the second releases it, the first is granted.
    assert_eq!(one.lock_waiting(&wanted), BLOCKED);
    host.is_left_alone();
    assert_eq!(two.unlock(&twos), GRANTED);
    assert_eq!(host.granted(), wanted);
    // The second does not wait: the lock that it asked for goes to nobody.
    assert_eq!(one.unlock(&ones), GRANTED);
    assert_eq!(one.lock(&ones), GRANTED);
    // Without the circle the same request waits.
    assert_eq!(two.lock_waiting(&closing), BLOCKED);
}

#[test]
fn two_processes_of_one_host_and_two_readers_that_want_to_write_are_a_circle_too() {
    let served = Served::start();
    let ([(mut one, _), (mut two, _), _], [f, g, h]) = three(&served);
    assert_eq!([one.lock(&exclusive("one", 7, &f, 0, 0)), one.lock(&exclusive("one", 8, &g, 0, 0))], [GRANTED; 2]);
    assert_eq!(one.lock_waiting(&exclusive("one", 7, &g, 0, 0)), BLOCKED);
    assert_eq!(one.lock_waiting(&exclusive("one", 8, &f, 0, 0)), DEADLCK);
    assert_eq!([one.lock(&shared("one", 7, &h, 0, 0)), two.lock(&shared("two", 7, &h, 0, 0))], [GRANTED; 2]);
    assert_eq!(one.lock_waiting(&exclusive("one", 7, &h, 0, 0)), BLOCKED);
    assert_eq!(two.lock_waiting(&exclusive("two", 7, &h, 0, 0)), DEADLCK);
}

#[test]
fn a_circle_of_three_is_found_and_a_chain_of_three_is_none() {
    let host = Host::on(2, 0);
    let served = calling(&host);
    let (mut clients, files) = three(&served);
    for ((client, host), file) in clients.iter_mut().zip(&files) {
        assert_eq!(client.lock(&exclusive(host, 7, file, 0, 0)), GRANTED);
    }
    let [(one, _), (two, _), (three, _)] = &mut clients;
    let [f, g, h] = &files;
    assert_eq!(one.lock_waiting(&exclusive("one", 7, g, 0, 0)), BLOCKED);
    assert_eq!(two.lock_waiting(&exclusive("two", 7, h, 0, 0)), BLOCKED);
    // Another process of the third host, which holds nothing, waits behind all of them and closes no circle.
    assert_eq!(three.lock_waiting(&exclusive("three", 8, f, 0, 0)), BLOCKED);
    assert_eq!(three.lock_waiting(&exclusive("three", 7, f, 0, 0)), DEADLCK);
    // An owner that waits twice for one holder waits in no circle.
    assert_eq!(one.lock_waiting(&shared("one", 7, h, 5, 5)), BLOCKED);
    assert_eq!(three.unlock(&exclusive("three", 7, h, 0, 0)), GRANTED);
    assert_eq!(host.granted(), exclusive("two", 7, h, 0, 0));
}

#[test]
fn who_waits_in_the_way_before_one_counts_as_waited_for() {
    let host = Host::on(3, 0);
    let served = calling(&host);
    let ([(mut one, _), (mut two, _), (mut three, _)], [f, g, _]) = three(&served);
    // One reads the front, two the back; a writer waits for the front, and three, who holds g, waits for both behind it.
    let back = exclusive("two", 7, &f, 10, 10);
    assert_eq!([one.lock(&shared("one", 7, &f, 0, 10)), two.lock(&back)], [GRANTED; 2]);
    assert_eq!(three.lock(&exclusive("three", 7, &g, 0, 0)), GRANTED);
    let writer = exclusive("two", 8, &f, 0, 10);
    assert_eq!(two.lock_waiting(&writer), BLOCKED);
    let both = shared("three", 7, &f, 0, 20);
    assert_eq!(three.lock_waiting(&both), BLOCKED);
    assert_eq!(two.unlock(&back), GRANTED);
    host.is_left_alone();
    assert_eq!(one.lock_waiting(&exclusive("one", 7, &g, 0, 0)), DEADLCK);
    // When the writer gives up, nobody waits for anybody.
    assert_eq!(two.cancel(&writer), GRANTED);
    assert_eq!(host.granted(), both);
}

/// Threads of two hosts lock two of three files each, in whatever order comes, and wait: all come to an end, no lock is held by two,
/// and whoever is told of a deadlock gives up what it has and begins again.
#[test]
fn clients_that_lock_in_any_order_all_get_done() {
    const THREADS: u32 = 6;
    const ROUNDS: u32 = 8;
    let host = Host::on(1, 0);
    let served = calling(&host);
    let (_, files) = three(&served);
    let holders = [0; 3].map(AtomicU32::new);
    let deadlocks = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for number in 0..THREADS {
            let (served, files, holders, deadlocks) = (&served, &files, &holders, &deadlocks);
            scope.spawn(move || {
                let mut client = served.client_from(1);
                let mut asked = 0;
                let lock = |at: usize| exclusive(["red", "blue"][number as usize % 2], number, &files[at], 0, 0);
                for round in 0..ROUNDS {
                    let order = (number as usize + round as usize) % 3;
                    let pair = [order, (order + 1 + number as usize % 2) % 3];
                    // Until both locks are there. Clients that hear nothing ask again.
                    'both: loop {
                        let mut had: Vec<usize> = Vec::new();
                        for at in pair {
                            let stat = loop {
                                asked += 1;
                                assert!(asked < 20_000, "somebody waits for ever");
                                match client.lock_waiting(&lock(at)) {
                                    BLOCKED => std::thread::sleep(Duration::from_millis(3)),
                                    stat => break stat,
                                }
                            };
                            if stat == DEADLCK {
                                deadlocks.fetch_add(1, Ordering::Relaxed);
                                assert!(!had.is_empty(), "who holds nothing is waited for by nobody");
                                had.into_iter().for_each(|at| {
                                    holders[at].fetch_sub(1, Ordering::AcqRel);
                                    assert_eq!(client.unlock(&lock(at)), GRANTED);
                                });
                                std::thread::sleep(Duration::from_millis(u64::from(number)));
                                continue 'both;
                            }
                            assert_eq!(stat, GRANTED);
                            assert_eq!(holders[at].fetch_add(1, Ordering::AcqRel), 0, "two hold a file");
                            had.push(at);
                        }
                        break;
                    }
                    for at in pair {
                        holders[at].fetch_sub(1, Ordering::AcqRel);
                        assert_eq!(client.unlock(&lock(at)), GRANTED);
                    }
                }
            });
        }
    });
    assert!(holders.iter().all(|holders| holders.load(Ordering::Acquire) == 0));
    assert_eq!(served.ns().holds_held(), 0);
    println!("{} deadlocks were told of", deadlocks.load(Ordering::Relaxed));
}
