//! Saying once what would be said again every second.

use crate::error::Error;

/// After which the same is said again, in nanoseconds: somebody who looks at the last hour finds it.
const AGAIN_AFTER: u64 = 600_000_000_000;

/// What was said last by somebody who tries again and again.
#[derive(Default)]
pub(crate) struct Said {
    what: String,
    at: u64,
}

impl Said {
    /// Whether this is to be said at `now`, in monotonic nanoseconds: it is not what was said last, or that is long ago.
    pub(crate) fn is_new(&mut self, error: &Error, now: u64) -> bool {
        let what = error.to_string();
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
    use crate::error::ErrorKind;

    #[test]
    fn the_same_is_said_once_until_it_changes_or_much_time_has_passed() {
        let mut said = Said::default();
        let (full, lost) = (Error::new(ErrorKind::NoSpace, "full"), Error::new(ErrorKind::ReadOnly, "lost"));
        let told: Vec<bool> = (0..1200).map(|second| said.is_new(&full, second * 1_000_000_000)).collect();
        assert_eq!(told.iter().filter(|told| **told).count(), 2);
        assert!(said.is_new(&lost, 1_200_000_000_000) && said.is_new(&full, 1_200_000_000_001));
    }
}
