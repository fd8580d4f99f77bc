//! With threads: many callers, group commit, futures, draining, disks lost under load.
#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod support;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use parking_lot::Mutex;
use strata_ledger::{Append, Class, LedgerError, Options, PassOptions};
use strata_seam::sim::{Fault, FaultKind, IoOp, SimRng};
use strata_seam::{DiskErrorKind, Lsn};
use support::{Model, Rig};

struct Unpark(Thread);
impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future on this thread, asleep while it is pending.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park_timeout(Duration::from_secs(20)),
        }
    }
}

fn roomy() -> Options {
    Options { segment_len: 1 << 20, shard_payload_max: 64 << 10, queue_bytes_max: 256 << 10, ..support::small() }
}

/// Eight callers append and wait in three ways at once; all is there afterwards.
fn crowd(threads: bool) {
    let mut rig = Rig::new(2, 1, roomy());
    let (ledger, _) = rig.open();
    if threads {
        ledger.start().unwrap();
    }
    let model = Mutex::new(Model::default());
    thread::scope(|scope| {
        for caller in 0..8_u64 {
            let (ledger, model) = (&ledger, &model);
            scope.spawn(move || {
                let mut rng = SimRng::new(caller);
                for round in 0..60 {
                    let mut append = support::sample(&mut rng, caller * 1000 + round, 5000);
                    append.relaxed = caller % 2 == 0;
                    let lsn = ledger.append(append.clone()).unwrap();
                    model.lock().appends.insert(lsn, append);
                    let class = if caller % 2 == 0 { Class::Written } else { Class::Durable };
                    match round % 3 {
                        0 => ledger.wait(lsn, class).unwrap(),
                        1 => block_on(ledger.settled(lsn, class)).unwrap(),
                        _ => continue,
                    }
                    let reached = if class == Class::Written { ledger.written() } else { ledger.durable() };
                    assert!(reached >= lsn);
                }
            });
        }
    });
    ledger.stop().unwrap();
    assert_eq!(ledger.durable(), Lsn(480));
    let (ledger, replayed) = rig.reopen(ledger);
    model.lock().check_prefix(&replayed, Lsn(480), Some(&ledger));
}

#[test]
fn many_callers_with_threads_lose_nothing() {
    crowd(true);
}

#[test]
fn many_callers_without_threads_lose_nothing() {
    crowd(false);
}

#[test]
fn what_nobody_waits_for_is_written_within_its_time() {
    let mut rig = Rig::new(2, 1, Options { soon_max: Duration::from_millis(20), ..roomy() });
    let (ledger, _) = rig.open();
    ledger.start().unwrap();
    ledger.append(Append::default()).unwrap();
    // The simulated clock stands still, so the age never grows: the writer goes by its own timer.
    for _ in 0..2000 {
        if ledger.durable() == Lsn(1) {
            break;
        }
        rig.world.clock().advance(1_000_000);
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(ledger.durable(), Lsn(1));
}

#[test]
fn dropping_a_started_ledger_drains_it() {
    let mut rig = Rig::new(2, 1, roomy());
    let (ledger, _) = rig.open();
    ledger.start().unwrap();
    let (mut model, mut rng) = (Model::default(), SimRng::new(1));
    for tag in 0..40 {
        model.append(&ledger, support::sample(&mut rng, tag, 3000)).unwrap();
    }
    drop(ledger);
    rig.world.restart(0);
    let (ledger, replayed) = rig.open();
    model.check_prefix(&replayed, Lsn(40), Some(&ledger));
}

#[test]
fn a_future_dropped_before_it_is_done_takes_nothing_back() {
    let mut rig = Rig::new(1, 0, roomy());
    let (ledger, _) = rig.open();
    ledger.start().unwrap();
    let (mut model, mut rng) = (Model::default(), SimRng::new(2));
    let lsn = model.append(&ledger, support::sample(&mut rng, 1, 3000)).unwrap();
    let mut future = Box::pin(ledger.settled(lsn, Class::Durable));
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    drop(future.as_mut().poll(&mut Context::from_waker(&waker)));
    drop(future);
    ledger.wait(lsn, Class::Durable).unwrap();
    assert!(ledger.durable() >= lsn);
    drop(ledger);
    rig.world.restart(0);
    let (ledger, replayed) = rig.open();
    model.check_prefix(&replayed, lsn, Some(&ledger));
}

#[test]
fn a_quorum_lost_under_load_answers_everybody() {
    let mut rig = Rig::new(2, 1, roomy());
    let (ledger, _) = rig.open();
    ledger.start().unwrap();
    let refused = AtomicUsize::new(0);
    thread::scope(|scope| {
        for caller in 0..6_u64 {
            let (ledger, refused) = (&ledger, &refused);
            scope.spawn(move || {
                let mut rng = SimRng::new(caller);
                for tag in 0..100_000 {
                    let answer = ledger.append(support::sample(&mut rng, tag, 3000)).and_then(|lsn| {
                        if caller % 2 == 0 {
                            ledger.wait(lsn, Class::Durable)
                        } else {
                            block_on(ledger.settled(lsn, Class::Durable))
                        }
                    });
                    if let Err(error) = answer {
                        assert!(matches!(error, LedgerError::QuorumLost { .. }), "{error}");
                        refused.fetch_add(1, Ordering::Relaxed);
                        return;
                    }
                }
            });
        }
        thread::sleep(Duration::from_millis(50));
        for disk in ["d00", "d02"] {
            rig.world.set_fault(Fault::new(FaultKind::Fail(DiskErrorKind::Medium)).on(disk).of(IoOp::Write));
            thread::sleep(Duration::from_millis(20));
        }
    });
    assert_eq!(refused.load(Ordering::Relaxed), 6);
    assert!(ledger.stop().is_err());
}

#[test]
fn a_ledger_can_be_verified_while_it_is_written() {
    let mut rig = Rig::new(2, 1, roomy());
    let (ledger, _) = rig.open();
    ledger.start().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut rng = SimRng::new(1);
            for tag in 0..300 {
                let lsn = ledger.append(support::sample(&mut rng, tag, 5000)).unwrap();
                ledger.wait(lsn, Class::Durable).unwrap();
            }
        });
        for _ in 0..10 {
            let report = ledger.verify(&PassOptions::default(), &mut |_| true).unwrap();
            assert!(report.is_whole(), "{report:?}");
        }
    });
    ledger.stop().unwrap();
}
