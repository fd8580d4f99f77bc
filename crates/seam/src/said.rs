//! Saying once what would be said again every second.

use std::fmt::Display;

/// After which the same is said again, in nanoseconds: somebody who looks at the last hour finds it.
const AGAIN_AFTER: u64 = 600_000_000_000;

/// What was said last by somebody who tries again and again.
#[derive(Default, Debug)]
pub struct Said {
    what: String,
    at: u64,
}

impl Said {
    /// Whether this is to be said at `now`, in nanoseconds of any clock that never goes back: it is not what was said last, or
    /// that is long ago.
    pub fn is_new(&mut self, what: &dyn Display, now: u64) -> bool {
        let what = what.to_string();
        let new = what != self.what || now.saturating_sub(self.at) >= AGAIN_AFTER;
        if new {
            (self.what, self.at) = (what, now);
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_said_once_until_it_changes_or_much_time_has_passed() {
        let mut said = Said::default();
        let told: Vec<bool> = (0..1200).map(|second| said.is_new(&"full", second * 1_000_000_000)).collect();
        assert_eq!(told.iter().filter(|told| **told).count(), 2);
        assert!(said.is_new(&"lost", 1_200_000_000_000) && said.is_new(&"full", 1_200_000_000_001));
    }
}
