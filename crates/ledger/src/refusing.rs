//! What a store cannot do for now, in words for an operator: what, since when, why, and what to do.

use strata_seam::Timestamp;

use crate::ledger::Ledger;
use crate::queue::{Halt, Queue, Stuck};
use crate::sets::Sets;

/// Something that a store refuses for now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusing {
    /// What is refused, and what is not.
    pub what: String,
    /// When that began, or was first noticed.
    pub since: Timestamp,
    /// Why.
    pub why: String,
    /// What to do about it.
    pub remedy: String,
}

impl Queue {
    /// Notes since when something is refused, if anything is.
    pub(crate) fn note_refusing(&mut self, now: Timestamp) -> Option<Timestamp> {
        let refusing = matches!(self.halt, Some(Halt::QuorumLost { .. })) || self.stuck.is_some() || self.is_full();
        self.refusing_since = refusing.then(|| self.refusing_since.unwrap_or(now));
        self.refusing_since
    }

    /// What is refused, if anything is.
    pub(crate) fn refusing(&mut self, now: Timestamp, sets: &Sets) -> Option<Refusing> {
        let since = self.note_refusing(now)?;
        let (what, why, remedy) = match (self.halt, self.stuck) {
            (Some(_), _) => (
                "no writes; what is stored is safe and can be read",
                of_disks(sets),
                "return the disks or put others in their place (`strata disk add`, `strata disk replace`): writing then goes \
                 on by itself",
            ),
            (None, Some(Stuck::Exhausted)) => (
                "no writes for now; what is stored is safe",
                "the server is out of descriptors or memory".to_owned(),
                "raise its limits (LimitNOFILE, ulimit -n); it goes on by itself as soon as there are some",
            ),
            (None, Some(Stuck::Full) | None) => (
                "no new content; reading and removing go on",
                "the disks are full".to_owned(),
                "remove something, of which the room is given back in the background, or add disks (`strata set add`)",
            ),
        };
        Some(Refusing { what: what.to_owned(), since, why, remedy: remedy.to_owned() })
    }
}

/// Which disks are missing to the sets that take no writes.
fn of_disks(sets: &Sets) -> String {
    let halted = sets.all().into_iter().filter(|set| !set.is_open()).map(|set| {
        let lacking = set.members.iter().filter(|member| !member.writable()).map(|member| match member.aside() {
            Some(aside) => format!("{}: {}", member.label(), aside.what),
            None => format!("{}: missing", member.label()),
        });
        let (answer, needed) = (set.writable(), set.write_quorum());
        if answer == set.disks() {
            let number = set.number;
            return format!(
                "set {number} has its disks, and could not be opened again with what they hold; the server's log says why"
            );
        }
        let lacking = lacking.collect::<Vec<_>>().join("; ");
        format!("set {} needs {needed} disks to be written and has {answer} ({lacking})", set.number)
    });
    halted.collect::<Vec<_>>().join("; ")
}

impl Ledger {
    /// What is refused for now, if anything is.
    #[must_use]
    pub fn refusing(&self) -> Option<Refusing> {
        let now = self.shared.clock.now();
        self.shared.queue.lock().refusing(now, &self.shared.sets)
    }
}
