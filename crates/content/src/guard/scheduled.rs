//! One concurrent run of guards, for the tests that explore its schedules (`crates/scheduled`).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::thread;

use super::Guards;

/// Holders come, hand copies on and go, while somebody starts a new epoch and waits until nobody is left from before.
///
/// # Panics
/// If a holder from before is still there when it is told that nobody is, or if one is counted for ever.
pub fn epochs() {
    const HOLDERS: usize = 3;
    let guards = Arc::new(Guards::default());
    // How many holders each epoch has: the guards must report the same.
    let held: Arc<[AtomicUsize; 4]> = Arc::default();
    let threads: Vec<_> = (0..HOLDERS)
        .map(|_| {
            let (guards, held) = (Arc::clone(&guards), Arc::clone(&held));
            thread::spawn(move || {
                let guard = guards.hold();
                let of = guard.epoch as usize;
                held[of].fetch_add(1, Ordering::SeqCst);
                let copy = guard.clone();
                drop(guard);
                thread::yield_now();
                assert_eq!(copy.epoch as usize, of, "a copy is of its original's epoch");
                held[of].fetch_sub(1, Ordering::SeqCst);
                drop(copy);
            })
        })
        .collect();
    for _ in 0..2 {
        let epoch = guards.advance();
        while guards.before(epoch) > 0 {
            thread::yield_now();
        }
        let left: usize = held[..epoch as usize].iter().map(|held| held.load(Ordering::SeqCst)).sum();
        assert_eq!(left, 0, "{left} holders from before epoch {epoch} are left");
    }
    for thread in threads {
        thread.join().expect("a holder");
    }
    let epoch = guards.advance();
    assert_eq!(guards.before(epoch), 0, "a guard that is gone is still counted");
    assert!(guards.0.lock().held.is_empty(), "an epoch that nobody holds takes memory");
}
