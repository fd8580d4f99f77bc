//! What the doors do per second: their counters now against those of a few seconds ago.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use strata_door_admin::metrics::{
    DOOR_RECEIVED_BYTES, DOOR_RECEIVED_RATE, DOOR_REQUEST_RATE, DOOR_REQUESTS, DOOR_SENT_BYTES, DOOR_SENT_RATE, Metric,
    Samples, Source,
};

/// How often the counters are looked at.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Looks kept: a rate is one over this many times [`LOOK_EVERY`].
const LOOKS: usize = 10;
/// Doors that count.
const DOORS: [&str; 4] = ["s3", "webdav", "nfs", "mount"];
/// The metrics of which a rate is shown, and the names of the rates.
const COUNTED: [(&Metric, &Metric); 3] = [
    (&DOOR_REQUESTS, &DOOR_REQUEST_RATE),
    (&DOOR_RECEIVED_BYTES, &DOOR_RECEIVED_RATE),
    (&DOOR_SENT_BYTES, &DOOR_SENT_RATE),
];

/// By door, what was counted of [`COUNTED`].
type Look = [[u64; COUNTED.len()]; DOORS.len()];

/// What a door does per second: requests, and bytes in and out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct DoorRates {
    pub(crate) requests: u64,
    pub(crate) received: u64,
    pub(crate) sent: u64,
}

/// The rates of the doors.
pub(crate) struct Rates {
    sources: Vec<Arc<dyn Source>>,
    /// Oldest first, each with when it was, in nanoseconds.
    looks: Mutex<VecDeque<(u64, Look)>>,
}

impl Rates {
    /// Rates of the doors that `sources` count.
    pub(crate) fn of(sources: Vec<Arc<dyn Source>>) -> Self {
        Self { sources, looks: Mutex::default() }
    }

    /// Looks at the counters; `now` is monotonic, in nanoseconds.
    pub(crate) fn look(&self, now: u64) {
        let mut samples = Samples::default();
        self.sources.iter().for_each(|source| source.collect(&mut samples));
        let look = DOORS.map(|door| COUNTED.map(|(counter, _)| samples.total(counter, door)));
        let mut looks = self.looks.lock();
        while looks.len() > LOOKS {
            looks.pop_front();
        }
        looks.push_back((now, look));
    }

    /// Per second, by door, in the order of [`COUNTED`]. Doors without a request are left out.
    fn rates(&self) -> Vec<(&'static str, [u64; COUNTED.len()])> {
        let looks = self.looks.lock();
        let (Some((from, before)), Some((to, after))) = (looks.front(), looks.back()) else { return Vec::new() };
        let nanos = to.saturating_sub(*from).max(1);
        let rate = |before: u64, after: u64| {
            let grown = u128::from(after.saturating_sub(before));
            u64::try_from(grown * 1_000_000_000 / u128::from(nanos)).unwrap_or(u64::MAX)
        };
        let doors = DOORS.into_iter().zip(before.iter().zip(after)).filter(|(_, (_, after))| after[0] > 0);
        doors.map(|(door, (before, after))| (door, std::array::from_fn(|at| rate(before[at], after[at])))).collect()
    }

    /// As `strata status` shows them.
    pub(crate) fn shown(&self) -> BTreeMap<String, DoorRates> {
        let rates = self.rates().into_iter();
        rates
            .map(|(door, [requests, received, sent])| (door.to_owned(), DoorRates { requests, received, sent }))
            .collect()
    }
}

impl Source for Rates {
    fn collect(&self, out: &mut Samples) {
        for (door, rates) in self.rates() {
            COUNTED.iter().zip(rates).for_each(|((_, metric), rate)| out.put(metric, &[door], rate));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    struct Counted(AtomicU64);
    impl Source for Counted {
        fn collect(&self, out: &mut Samples) {
            let count = self.0.load(Ordering::Relaxed);
            out.put(&DOOR_REQUESTS, &["s3", "GetObject"], count);
            out.put(&DOOR_REQUESTS, &["s3", "PutObject"], count);
            out.put(&DOOR_SENT_BYTES, &["s3"], 1000 * count);
        }
    }

    #[test]
    fn a_rate_is_that_of_the_last_seconds_and_not_since_the_start() {
        let counted = Arc::new(Counted(AtomicU64::new(0)));
        let rates = Rates::of(vec![Arc::clone(&counted) as Arc<dyn Source>]);
        assert!(rates.shown().is_empty());
        let mut now = 0;
        let mut second = |more: u64| {
            now += 1_000_000_000;
            counted.0.fetch_add(more, Ordering::Relaxed);
            rates.look(now);
            rates.shown()
        };
        second(0);
        for _ in 0..20 {
            second(50);
        }
        assert_eq!(second(50)["s3"], DoorRates { requests: 100, received: 0, sent: 50_000 });
        for _ in 0..LOOKS {
            second(0);
        }
        assert_eq!(second(0)["s3"].requests, 0);
    }
}
