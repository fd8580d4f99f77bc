//! How fast somebody may go who works in the background: the one kind of limit that there is.
//!
//! A pace limits bytes per second, or the share of the time that is spent working, or both; it may let that share hold only
//! while others are served. It is paid after each step: what the step took counts towards the rest that it costs. Whoever
//! steers it may change it, or end who goes by it, at any time.
//!
//! Time is the seam's. In a simulation a rest lets the simulated time pass, and so is the same in every run of a seed.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::{Clock, Stop};

/// Longest rest at a time: how late it is noticed that there is no reason for it any more.
const REST_MAX: Duration = Duration::from_millis(100);
/// Shorter rests are saved up: sleeping for less costs more than it gives back.
const REST_MIN: Duration = Duration::from_millis(2);
/// Work that is paid for by a share of time, at most, in nanoseconds: what lay between two steps may have been idleness.
const STEP_NANOS_MAX: u64 = 1_000_000_000;
const NANOS: u128 = 1_000_000_000;

/// One part in so many of the time: `Share(20)` works a twentieth of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Share(pub u32);

impl Share {
    /// The rest, in nanoseconds, that so much work costs.
    #[must_use]
    pub fn rest_after(self, worked_nanos: u64) -> u64 {
        worked_nanos.saturating_mul(u64::from(self.0.saturating_sub(1)))
    }
}

/// What a pace allows, for people and programs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Budget {
    /// Bytes a second; `None` where they are not limited.
    pub bytes_per_second: Option<u64>,
    /// One part in so many of the time; `None` where all of it may be spent.
    pub part_of_time: Option<u32>,
    /// Whether the part of the time holds only while others are served.
    pub yields: bool,
}

/// A limit, shared between those who go by it and whoever steers it. Several who go by the same one share what it allows.
#[derive(Default)]
pub struct Pace {
    /// Bytes a second; 0 for no limit.
    rate: AtomicU64,
    share: Option<Share>,
    /// Grows while others are served.
    served: Option<Arc<dyn Fn() -> u64 + Send + Sync>>,
    owed: Mutex<Owed>,
    stop: Stop,
}

/// What was handled and is not paid for yet.
#[derive(Debug, Default)]
struct Owed {
    /// In bytes times nanoseconds, so that no division loses anything.
    bytes: u128,
    rest_nanos: u64,
    /// When the last step was paid for; `None` before the first one begins.
    at: Option<u64>,
    /// What [`Pace::served`] said then.
    served: u64,
}

impl Pace {
    /// So many bytes a second; 0 is no limit.
    #[must_use]
    pub fn new(bytes_per_second: u64) -> Self {
        Self { rate: AtomicU64::new(bytes_per_second), ..Self::default() }
    }

    /// A part of the time.
    #[must_use]
    pub fn sharing(share: Share) -> Self {
        Self { share: Some(share), ..Self::default() }
    }

    /// The part of the time holds only while `served` grows: with nobody to yield to, all of it may be spent.
    #[must_use]
    pub fn yielding_to(self, served: Arc<dyn Fn() -> u64 + Send + Sync>) -> Self {
        Self { served: Some(served), ..self }
    }

    /// Changes the bytes per second; whoever rests goes on at the new rate at once.
    pub fn set(&self, bytes_per_second: u64) {
        self.rate.store(bytes_per_second, Ordering::Relaxed);
        self.stop.wake();
    }

    /// Bytes a second; 0 is no limit.
    #[must_use]
    pub fn bytes_per_second(&self) -> u64 {
        self.rate.load(Ordering::Relaxed)
    }

    /// What it allows.
    #[must_use]
    pub fn budget(&self) -> Budget {
        Budget {
            bytes_per_second: Some(self.bytes_per_second()).filter(|rate| *rate > 0),
            part_of_time: self.share.map(|share| share.0),
            yields: self.served.is_some(),
        }
    }

    /// Ends whoever goes by it, after the step they are at.
    pub fn stop(&self) {
        self.stop.ask();
    }

    /// Whether it was stopped.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stop.is_asked()
    }

    /// Takes a stop back: it was not meant for what begins now.
    pub fn resume(&self) {
        self.stop.take_back();
    }

    /// Something begins that goes by it: the time before was no work.
    pub fn begin(&self, clock: &dyn Clock) {
        let mut owed = self.owed.lock();
        owed.at = Some(clock.monotonic_nanos());
        owed.served = self.served.as_ref().map_or(0, |served| served());
    }

    /// Pays for a step in which `bytes` were handled: rests as long as the limits ask for, beyond what the step itself took.
    /// No rest is due where `hurry` says so, also once one has begun. `false` where it was stopped.
    ///
    /// Cost: a look at the clock where there is no limit.
    pub fn pay(&self, clock: &dyn Clock, bytes: u64, hurry: &dyn Fn() -> bool) -> bool {
        self.owed.lock().charge(bytes, self, clock.monotonic_nanos());
        while !self.is_stopped() {
            let left = self.owed.lock().left(self.bytes_per_second(), clock.monotonic_nanos());
            if left < REST_MIN {
                return true;
            }
            if hurry() {
                self.owed.lock().forgive();
                return true;
            }
            clock.pause(&self.stop, left.min(REST_MAX));
        }
        self.owed.lock().forgive();
        false
    }
}

impl Owed {
    /// Adds what a step that ends `now` costs, less what was paid by the time it took.
    fn charge(&mut self, bytes: u64, pace: &Pace, now: u64) {
        let step = now.saturating_sub(*self.at.get_or_insert(now));
        self.bytes = self.bytes.saturating_add(u128::from(bytes) * NANOS);
        self.pass(step, pace.bytes_per_second());
        if let Some(share) = pace.share {
            let served = pace.served.as_ref().map(|served| served());
            if served.is_none_or(|served| served != self.served) {
                self.rest_nanos = self.rest_nanos.saturating_add(share.rest_after(step.min(STEP_NANOS_MAX)));
            }
            self.served = served.unwrap_or(0);
        }
        self.at = Some(now);
    }

    /// Lets time go by that pays for bytes.
    fn pass(&mut self, nanos: u64, rate: u64) {
        self.bytes = match rate {
            0 => 0,
            rate => self.bytes.saturating_sub(u128::from(rate) * u128::from(nanos)),
        };
    }

    /// The rest that is due `now`; the time since the last look was one.
    fn left(&mut self, rate: u64, now: u64) -> Duration {
        let rested = now.saturating_sub(self.at.replace(now).unwrap_or(now));
        self.pass(rested, rate);
        self.rest_nanos = self.rest_nanos.saturating_sub(rested);
        let for_bytes = self.bytes.checked_div(u128::from(rate)).unwrap_or(0);
        Duration::from_nanos(u64::try_from(for_bytes).unwrap_or(u64::MAX).max(self.rest_nanos))
    }

    fn forgive(&mut self) {
        (self.bytes, self.rest_nanos) = (0, 0);
    }
}

impl fmt::Debug for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pace").field(&self.budget()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::SimClock;

    const MS: u64 = 1_000_000;

    /// Time that `steps` steps take, each of so many bytes and milliseconds.
    fn took(pace: &Pace, steps: u64, bytes: u64, ms: u64) -> u64 {
        let clock = SimClock::new();
        pace.begin(&clock);
        for _ in 0..steps {
            clock.advance(ms * MS);
            assert!(pace.pay(&clock, bytes, &|| false));
        }
        clock.monotonic_nanos() / MS
    }

    #[test]
    fn bytes_go_at_their_rate_whatever_part_of_the_time_they_take() {
        for work_ms in [0, 1, 9] {
            let all = took(&Pace::new(1_000_000), 100, 10_000, work_ms);
            assert!((998..=1000).contains(&all), "{work_ms} ms of work a step: {all} ms");
        }
        assert_eq!(took(&Pace::new(1_000_000), 100, 10_000, 30), 3000, "slower than the rate by itself");
        assert_eq!(took(&Pace::new(0), 100, 10_000, 1), 100, "no limit");
    }

    #[test]
    fn a_share_of_the_time_is_kept_over_any_number_of_steps() {
        for (steps, ms) in [(1000, 1), (10, 100)] {
            let all = took(&Pace::sharing(Share(4)), steps, 1, ms);
            assert!((3990..=4000).contains(&all), "{steps} steps: {all} ms");
        }
    }

    #[test]
    fn whoever_yields_rests_only_while_others_are_served() {
        let served = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&served);
        let pace = Pace::sharing(Share(2)).yielding_to(Arc::new(move || counted.load(Ordering::Relaxed)));
        assert_eq!(took(&pace, 100, 1, 10), 1000, "nobody is there");
        let clock = SimClock::new();
        pace.begin(&clock);
        for _ in 0..100 {
            served.fetch_add(1, Ordering::Relaxed);
            clock.advance(10 * MS);
            pace.pay(&clock, 1, &|| false);
        }
        assert_eq!(clock.monotonic_nanos() / MS, 2000);
    }

    #[test]
    fn who_is_in_a_hurry_owes_nothing() {
        let (pace, clock) = (Pace::new(1), SimClock::new());
        assert!(pace.pay(&clock, 1 << 40, &|| true));
        assert!(pace.pay(&clock, 0, &|| false));
        assert_eq!(clock.monotonic_nanos(), 0);
    }

    #[test]
    fn a_stop_ends_a_rest_and_what_begins_later_is_not_stopped() {
        let (pace, clock) = (Pace::new(1), crate::SystemClock::new());
        std::thread::scope(|scope| {
            let resting = scope.spawn(|| pace.pay(&clock, 1 << 40, &|| false));
            std::thread::sleep(Duration::from_millis(20));
            pace.stop();
            assert!(!resting.join().unwrap());
        });
        assert!(!pace.pay(&clock, 0, &|| false));
        pace.resume();
        assert!(pace.pay(&clock, 0, &|| false));
    }

    #[test]
    fn a_new_rate_holds_for_what_is_owed_already() {
        let (pace, clock) = (Pace::new(1), SimClock::new());
        let looks = AtomicU64::new(0);
        let faster = || {
            if looks.fetch_add(1, Ordering::Relaxed) == 5 {
                pace.set(1 << 40);
            }
            false
        };
        assert!(pace.pay(&clock, 1 << 30, &faster));
        assert!(clock.monotonic_nanos() < 1000 * MS, "{}", clock.monotonic_nanos());
    }
}
