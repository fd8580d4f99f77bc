//! What a check found: for people, for programs, and as an exit code.

use std::process::ExitCode;

use strata_check::{Affected, CheckReport, RepairStep};
use strata_runtime::Report;
use strata_runtime::TruthReport;

use super::messages::{AtRest, Checked, DiskFound, IndexFound, InvariantFound};
use crate::config::ByteSize;
use crate::greeting::{plain_table, say, say_json};
use crate::passes::messages::Concerned;

/// Exit code of a check that was ended early.
const ENDED: u8 = 5;

/// Invariants to which suspicions that could not be settled belong: records and counters of the tree, and counts of references.
const UNSETTLED_IN: [&str; 2] = ["TREE", "REF"];

impl Checked {
    /// Of what was found; `rest` by a check at rest.
    pub(super) fn of(
        records: &CheckReport,
        affected: &[Affected],
        rest: Option<(&Report, &TruthReport)>,
        violations: &[String],
        contents: bool,
    ) -> Self {
        let at_rest = rest.is_some();
        let invariants = [
            ("TREE", true, "records of inodes, entries, buckets, uploads and attributes"),
            ("REF", true, "references counted afresh"),
            (
                "HASH",
                true,
                if contents { "every chunk read and hashed" } else { "manifest pages; `--contents` reads all" },
            ),
            ("TRUTH", at_rest, "the index compared with one built from the log; only at rest"),
            ("ACK", at_rest, "every frame of every disk read; beside a server `strata scrub` does"),
            ("SEEN", false, "about answers of doors: held by tests"),
            ("PREFIX", false, "about a crash: held by tests"),
            ("ONE", false, "about doors: held by tests"),
            ("RULES", false, "about requests: held by tests"),
            ("BOUND", false, "about memory: held by tests"),
        ];
        let invariants = invariants.iter().map(|(id, checked, how)| {
            let broken = violations.iter().any(|violation| violation.starts_with(&format!("{id}:")));
            let verdict = if broken {
                "broken"
            } else if records.unsettled > 0 && UNSETTLED_IN.contains(id) {
                "unsettled"
            } else if *checked && !records.ended {
                "holds"
            } else {
                "not checked"
            };
            InvariantFound { id: (*id).to_owned(), verdict: verdict.to_owned(), how: (*how).to_owned() }
        });
        Self {
            at_rest,
            ended: records.ended,
            invariants: invariants.collect(),
            inodes: records.inodes,
            entries: records.entries,
            chunks: records.chunks,
            logical_bytes: records.logical_bytes,
            live_bytes: records.live_bytes,
            reclaimable_chunks: records.unused_chunks,
            reclaimable_bytes: records.unused_bytes,
            unsettled: records.unsettled,
            violations: violations.to_vec(),
            concerned: affected.iter().map(|affected| Concerned::of(affected, "unreadable")).collect(),
            at_rest_only: rest.map(|(frames, truth)| AtRest::of(frames, truth)),
            plan: None,
            repaired: None,
        }
    }

    /// 0 where nothing is wrong, 1 where something is, 5 where nothing was found before the check was ended.
    pub(super) fn code(&self) -> ExitCode {
        match (self.violations.is_empty(), self.ended) {
            (false, _) => ExitCode::FAILURE,
            (true, true) => ExitCode::from(ENDED),
            (true, false) => ExitCode::SUCCESS,
        }
    }

    /// Prints it.
    pub(super) fn show(&self, json: bool) -> anyhow::Result<ExitCode> {
        if json {
            say_json(self)?;
        } else {
            say(&self.in_words());
        }
        Ok(self.code())
    }

    pub(super) fn in_words(&self) -> String {
        let mut words = String::new();
        if let Some(rest) = &self.at_rest_only {
            let (stripes, segments) = (rest.stripes, rest.segments);
            words.push_str(&format!("{stripes} stripes in {segments} segments on {} disks, ", rest.disks.len()));
        }
        words.push_str(&format!("{} inodes, {} entries, {} chunks\n", self.inodes, self.entries, self.chunks));
        if let Some(AtRest { index, .. }) = &self.at_rest_only {
            words.push_str(&format!(
                "{} records of the index, fingerprint {}\n",
                index.records, index.fingerprint_of_log
            ));
        }
        if self.reclaimable_chunks > 0 {
            let bytes = ByteSize(self.reclaimable_bytes);
            words.push_str(&format!("{} chunks with {bytes} can be reclaimed\n", self.reclaimable_chunks));
        }
        for InvariantFound { id, verdict, how } in &self.invariants {
            words.push_str(&format!("{id:<7} {verdict:<12} {how}\n"));
        }
        self.violations.iter().for_each(|violation| words.push_str(&format!("{violation}\n")));
        for concerned in &self.concerned {
            words.push_str(&format!("{} cannot be read at {}\n", concerned.name, concerned.ranges_in_words()));
        }
        if self.unsettled > 0 {
            words.push_str(&format!(
                "{} records or counters could not be told, as they changed too often or cannot be read; check again\n",
                self.unsettled
            ));
        }
        if self.ended {
            words.push_str("the check was ended before it was complete\n");
        }
        words.push_str(&match self.violations.len() {
            0 if self.ended => "nothing wrong so far\n".to_owned(),
            0 => "everything that was checked holds\n".to_owned(),
            1 => "1 violation\n".to_owned(),
            count => format!("{count} violations\n"),
        });
        words
    }
}

impl AtRest {
    fn of(frames: &Report, truth: &TruthReport) -> Self {
        let disks = frames.disks.iter().map(|disk| DiskFound {
            disk: disk.label.clone(),
            good: disk.good,
            damaged: disk.damaged,
            missing: disk.missing,
        });
        Self {
            segments: frames.segments,
            stripes: frames.stripes,
            disks: disks.collect(),
            index: IndexFound {
                records: truth.records,
                from_checkpoint: truth.restored,
                replayed: truth.replayed,
                behind: truth.behind,
                differing: truth.differing,
                fingerprint_on_disk: format!("{:032x}", truth.fingerprints.0),
                fingerprint_of_log: format!("{:032x}", truth.fingerprints.1),
            },
        }
    }
}

/// A plan as people read it.
pub(super) fn plan_in_words(plan: &[RepairStep]) -> String {
    let mut table = plain_table(&["wrong", "what would be done"]);
    for step in plan {
        table.add_row([&step.wrong, &step.action]);
    }
    format!("\n{table}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsck::messages::RepairShown;

    #[test]
    fn a_check_that_was_ended_calls_nothing_whole_and_keeps_what_it_found() {
        let ended = CheckReport { ended: true, ..CheckReport::default() };
        let violations = ["REF: a chunk is counted twice".to_owned()];
        let found = Checked::of(&ended, &[], None, &violations, true);
        let verdicts: Vec<_> = found.invariants.iter().map(|one| one.verdict.as_str()).collect();
        assert_eq!(verdicts.iter().filter(|verdict| **verdict == "broken").count(), 1);
        assert_eq!(verdicts.iter().filter(|verdict| **verdict == "not checked").count(), verdicts.len() - 1);
        assert!(found.in_words().contains("ended before it was complete"));
        assert_eq!(found.code(), ExitCode::FAILURE);
        let nothing = Checked::of(&ended, &[], None, &[], true);
        assert_eq!(nothing.code(), ExitCode::from(ENDED));
        let whole = Checked::of(&CheckReport::default(), &[], None, &[], true);
        assert_eq!(whole.code(), ExitCode::SUCCESS);
        assert!(whole.invariants.iter().any(|one| one.verdict == "holds"));
        let moving = CheckReport { unsettled: 1, ..CheckReport::default() };
        let moving = Checked::of(&moving, &[], None, &[], true);
        let verdict = |id: &str| moving.invariants.iter().find(|one| one.id == id).map(|one| one.verdict.clone());
        assert_eq!([verdict("TREE"), verdict("HASH")], [Some("unsettled".to_owned()), Some("holds".to_owned())]);
    }

    #[test]
    fn a_report_says_the_same_once_it_came_over_the_socket() {
        let (frames, truth) = (Report::default(), TruthReport::default());
        let at_rest = Checked::of(&CheckReport::default(), &[], Some((&frames, &truth)), &[], true);
        let repaired = RepairShown { done: vec!["x".to_owned()], failed: Vec::new(), after: Box::new(at_rest.clone()) };
        let beside = Checked::of(&CheckReport::default(), &[], None, &[], true);
        for report in [at_rest.clone(), beside, Checked { plan: Some(Vec::new()), repaired: Some(repaired), ..at_rest }]
        {
            let line = serde_json::to_string(&report).unwrap();
            let back: Checked = serde_json::from_str(&line).unwrap();
            assert_eq!(serde_json::to_string(&back).unwrap(), line);
            assert_eq!(back.at_rest_only.is_some(), report.at_rest);
        }
    }
}
