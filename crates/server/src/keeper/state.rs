//! Which pass is wanted, and who waits for it.

use super::State;
use super::messages::PassEnd;
use crate::passes::messages::Kind;

impl State {
    pub(super) fn heals_pending(&self) -> bool {
        self.heals_wanted > self.heals_done
    }

    pub(super) fn wanted_now(&self) -> Option<Kind> {
        match self.heals_pending() {
            true => Some(Kind::Heal),
            false => (!self.scrub.paused && self.scrubs_wanted > self.scrubs_done).then_some(Kind::Scrub),
        }
    }

    /// Whether such a pass is under way.
    pub(super) fn runs(&self, kind: Kind) -> bool {
        self.running.as_ref().is_some_and(|running| running.pass == kind)
    }

    pub(super) fn answer(&mut self, kind: Kind, asked: u64, end: PassEnd) {
        match kind {
            Kind::Heal => (self.heals_done, self.last_heal) = (asked, Some(end)),
            Kind::Scrub => (self.scrubs_done, self.last_scrub) = (asked, Some(end)),
        }
    }
}
