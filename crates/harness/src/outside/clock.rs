//! Real time: how long a server took, and which of two requests came first.

use std::time::{Duration, Instant};

/// A moment on this machine's steady clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Moment(Instant);

impl Moment {
    /// This one.
    #[expect(clippy::disallowed_methods, reason = "what is driven from outside runs in real time")]
    pub(crate) fn now() -> Self {
        Self(Instant::now())
    }

    /// The time since.
    pub(crate) fn elapsed(self) -> Duration {
        Self::now().0.saturating_duration_since(self.0)
    }
}
