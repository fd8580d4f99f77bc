//! `strata status`: asked of the running server, or read from the store itself where none runs.

pub(crate) mod messages;

use std::process::ExitCode;

use strata_runtime::{EngineKind, Refusing, Runtime};
use strata_seam::{Budget, Failure, WorkerState, WorkerStatus};

use crate::config::{ByteSize, StoreConfig};
use crate::control;
use crate::control::messages::Request;
use crate::greeting::{plain_table, say, say_json};
use crate::keeper::messages::{KeeperStatus, ScrubStatus};
use crate::lock::StoreLock;
use crate::operation::op_of;
use crate::reclaim::messages::ReclaimStatus;
use crate::running::messages::ServerStatus;
use crate::sets::messages::Moving;
use crate::store::OpenStore;
use messages::{CheckpointStatus, ContentStatus, RefusingStatus, SpaceStatus, Status};

/// `strata status`.
///
/// # Errors
/// No store, no right to it, or a store that does not open.
pub(crate) fn run(config: &StoreConfig, json: bool) -> anyhow::Result<ExitCode> {
    let answer = StoreLock::holder(&config.data).map(|_| control::ask::<Status>(&config.data, &Request::Status));
    let status = match answer {
        Some(Ok(status)) => status,
        Some(Err(error)) if StoreLock::holder(&config.data).is_some() => return Err(error),
        // No process has the store, or the one that had it ended before it answered.
        Some(Err(_)) | None => {
            let mut lock = StoreLock::of_existing(&config.data)?;
            let store = OpenStore::open_to_look(config, &mut lock)?;
            let status = Status::of_store(config, store.runtime());
            store.close()?;
            status
        }
    };
    if json {
        say_json(&status)?;
    } else {
        say(&status.in_words());
    }
    Ok(ExitCode::SUCCESS)
}

/// What a store refuses, since when, why, and what to do.
pub(crate) fn refusing_in_words(refusing: &Refusing) -> String {
    let Refusing { what, since, why, remedy } = refusing;
    format!("{what}; since {}: {why}; {remedy}", httpdate::fmt_http_date(since.to_system_time()))
}

/// A time in seconds since 1970, for people.
pub(crate) fn date(seconds: u64) -> String {
    // Beyond the year 9999 there are no dates of this kind.
    const LAST: u64 = 253_402_300_799;
    httpdate::fmt_http_date(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds.min(LAST)))
}

impl Status {
    /// The status of a store at rest.
    pub(crate) fn of_store(config: &StoreConfig, runtime: &Runtime) -> Self {
        let namespace = runtime.namespace();
        let ledger = runtime.sets().status();
        let checkpoints = runtime.checkpoint_counts();
        let space = namespace.space(&op_of("status"));
        let refusing = runtime.sets().refusing().map(|refusing| RefusingStatus {
            words: refusing_in_words(&refusing),
            since: refusing.since.secs(),
            what: refusing.what,
            why: refusing.why,
            remedy: refusing.remedy,
        });
        Self {
            data: config.data.clone(),
            set: ledger.set.to_string(),
            layout: crate::disks::layouts(&ledger),
            sets: crate::sets::list(&ledger),
            drain: runtime.drain_status().as_ref().map(Moving::of),
            durability: config.durability.word().to_owned(),
            refusing,
            full: ledger.full,
            segments: ledger.segments,
            segment_len: ledger.segment_len,
            durable: ledger.durable.0,
            mover: ReclaimStatus::of_mover(&runtime.mover_status()),
            log_since_checkpoint: runtime.log_since_checkpoint(),
            log_written: runtime.log_written(),
            checkpoints: CheckpointStatus { taken: checkpoints.taken, written: checkpoints.written },
            index_engine: EngineKind::of(&config.data.join("index")).map(|engine| engine.to_string()),
            index_failed: runtime.health().index_broken,
            content: ContentStatus::of(&runtime.traffic()),
            disks: crate::disks::disks_of(&ledger, &[]),
            space: match space {
                Ok(space) => SpaceStatus::Known { total: space.total, free: space.free, inodes: space.inodes },
                Err(error) => SpaceStatus::Unknown { error: error.to_string() },
            },
            locks: namespace.locks_held() as u64,
            nfs_locks: namespace.holds_held() as u64,
            read_only: ledger.read_only,
            workers: Vec::new(),
            keeper: None,
            server: None,
        }
    }

    /// The status of a store that is served.
    pub(crate) fn of_running(
        config: &StoreConfig,
        runtime: &Runtime,
        keeper: KeeperStatus,
        server: ServerStatus,
    ) -> Self {
        let workers = runtime.crew().status();
        Self { workers, keeper: Some(keeper), server: Some(server), ..Self::of_store(config, runtime) }
    }

    fn in_words(&self) -> String {
        let size = |bytes: Option<u64>| bytes.map_or_else(|| "-".to_owned(), |bytes| ByteSize(bytes).to_string());
        let mut words = format!("store {}: {}, {}\n", self.data.display(), self.layout, self.durability);
        words.push_str(&match &self.space {
            SpaceStatus::Unknown { error } => format!("space cannot be read: {error}\n"),
            SpaceStatus::Known { total, free, inodes } => {
                format!("{} of {} free, {inodes} inodes\n", ByteSize(*free), ByteSize(*total))
            }
        });
        if let Some(engine) = &self.index_engine {
            words.push_str(&format!("the index is in {engine}\n"));
        }
        if self.index_failed {
            words.push_str("the index failed: restart the server to rebuild it; the data is intact\n");
        }
        let content = &self.content;
        if content.written > 0 && self.server.is_some() {
            let ratio = content.ratio.map_or_else(|| "all of it known".to_owned(), |ratio| format!("{ratio:.2} : 1"));
            words.push_str(&format!(
                "since its start {} written, {} stored ({ratio}): saved {} known already or zero, {} by compression\n",
                ByteSize(content.written),
                ByteSize(content.stored),
                ByteSize(content.deduplicated),
                ByteSize(content.compressed),
            ));
        }
        if self.locks > 0 {
            let locks = if self.locks == 1 { "1 WebDAV lock is" } else { &format!("{} WebDAV locks are", self.locks) };
            words.push_str(&format!("{locks} held; `strata locks list` shows them\n"));
        }
        if self.nfs_locks > 0 {
            let locks = if self.nfs_locks == 1 { "1 lock" } else { &format!("{} locks", self.nfs_locks) };
            words.push_str(&format!("NFS clients hold {locks}; `strata locks list` shows them\n"));
        }
        match (&self.refusing, &self.read_only) {
            (Some(refusing), _) => words.push_str(&format!("{}\n", refusing.words)),
            (None, Some(why)) => words.push_str(&format!("takes no writes: {why}\n")),
            (None, None) => {}
        }
        if self.sets.len() > 1 {
            words.push_str(&format!("\n{}", crate::sets::table(&self.sets)));
        }
        if let Some(drain) = &self.drain {
            words.push_str(&format!("\n{}\n", drain.in_words()));
        }
        let mut table = plain_table(&["place", "disk", "state", "free", "total", "read errors"]);
        for disk in &self.disks {
            table.add_row([
                disk.place.to_string(),
                disk.disk.clone(),
                disk.state.clone(),
                size(disk.free),
                size(disk.total),
                disk.read_errors.to_string(),
            ]);
        }
        words.push_str(&format!("\n{table}\n"));
        if !self.workers.is_empty() {
            words.push_str(&format!("\n{}", workers_in_words(&self.workers)));
        }
        if let Some(keeper) = &self.keeper {
            words.push_str(&format!("\n{}\n", scrub_in_words(&keeper.scrub)));
        }
        match &self.server {
            None => words.push_str("\nno server runs on it\n"),
            Some(server) => words.push_str(&format!("\n{}", server.in_words())),
        }
        words
    }
}

/// A table of the workers, and below it a line for each that failed.
fn workers_in_words(workers: &[WorkerStatus]) -> String {
    let mut table = plain_table(&["worker", "state", "progress", "budget", "rounds", "errors", "what it does"]);
    let mut failures = String::new();
    for worker in workers {
        let state = match &worker.waits_for {
            Some(what) => format!("{} for {what}", worker.state.word()),
            None => worker.state.word().to_owned(),
        };
        let at_work = matches!(worker.state, WorkerState::Working | WorkerState::Waiting);
        let amount = |count: u64| match &*worker.unit {
            "bytes" => ByteSize(count).to_string(),
            unit => format!("{count} {unit}"),
        };
        let progress = match (at_work, worker.bound) {
            (false, _) => "-".to_owned(),
            (true, None) => amount(worker.cursor),
            (true, Some(bound)) => format!("{} of {}", amount(worker.cursor), amount(bound)),
        };
        table.add_row([
            worker.name.to_string(),
            state,
            progress,
            worker.budget.map_or_else(|| "-".to_owned(), budget_in_words),
            worker.rounds.to_string(),
            worker.errors.to_string(),
            worker.does.to_string(),
        ]);
        if let Some(failure) = &worker.failure {
            failures.push_str(&format!("{}\n", failure_in_words(&worker.name, failure)));
        }
    }
    format!("{table}\n{failures}")
}

/// What a worker failed by, as a sentence.
pub(crate) fn failure_in_words(name: &str, failure: &Failure) -> String {
    let again = failure.again.map_or_else(String::new, |again| format!("; it tries again at {}", date(again)));
    format!("{name} fails since {}: {}{again}", date(failure.since), failure.what)
}

fn budget_in_words(budget: Budget) -> String {
    let rate = budget.bytes_per_second.map(|rate| format!("{} a second", ByteSize(rate)));
    let part = budget.part_of_time.map(|part| format!("1/{part} of the time"));
    let words: Vec<String> = rate.into_iter().chain(part).collect();
    match (words.is_empty(), budget.yields) {
        (true, _) => "all it can".to_owned(),
        (false, true) => format!("{} while others are served", words.join(", ")),
        (false, false) => words.join(", "),
    }
}

fn scrub_in_words(scrub: &ScrubStatus) -> String {
    let state = match (scrub.paused, scrub.at.is_some(), scrub.ended.is_some()) {
        (true, ..) => "paused",
        (_, true, _) => "under way",
        (.., true) => "came to its end",
        _ => "none yet",
    };
    let ended = scrub.ended.map_or_else(String::new, |seconds| format!(" ({})", date(seconds)));
    let (damaged, healed, unreadable) = (scrub.damaged, scrub.healed, scrub.unreadable);
    format!(
        "last scrub: {state}{ended}; {damaged} frames damaged, {healed} written anew, {unreadable} places unreadable"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker() -> WorkerStatus {
        WorkerStatus {
            name: "sweeper".into(),
            does: "sweeps".into(),
            state: WorkerState::Working,
            since: 0,
            waits_for: None,
            cursor: 3 << 20,
            bound: Some(8 << 20),
            unit: "bytes".into(),
            handled: 3 << 20,
            budget: Some(Budget { bytes_per_second: Some(1 << 20), part_of_time: Some(4), yields: false }),
            rounds: 7,
            errors: 0,
            failure: None,
        }
    }

    #[test]
    fn a_worker_at_work_shows_how_far_it_is_and_what_it_may_spend() {
        let words = workers_in_words(&[worker()]);
        assert!(words.contains("working") && words.contains("3 MiB of 8 MiB"), "{words}");
        assert!(words.contains("1 MiB a second, 1/4 of the time"), "{words}");
    }

    #[test]
    fn a_worker_that_fails_says_by_what_since_when_and_when_it_tries_again() {
        let failure = Failure { what: "no broom".to_owned(), since: 0, last: 60, again: Some(120) };
        let failed = WorkerStatus { state: WorkerState::Failed, failure: Some(failure), ..worker() };
        let waiting = WorkerStatus { state: WorkerState::Waiting, waits_for: Some("2 readers".into()), ..worker() };
        let words = workers_in_words(&[failed, waiting]);
        let said = "sweeper fails since Thu, 01 Jan 1970 00:00:00 GMT: no broom; it tries again at Thu, 01 Jan 1970 00:02:00 GMT";
        assert!(words.contains(said), "{words}");
        assert!(words.contains("waiting for 2 readers"), "{words}");
    }
}
