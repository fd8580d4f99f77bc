//! `strata reclaim`: frees the space of deleted content now, and packs small commits. Through the running server, or on the store
//! itself if no server runs.
//!
//! The server reclaims in a thread of its own, and the command asks for its progress. So the command may be interrupted at any time.
//! The end of the server ends the reclaim too; what was moved stays moved.

pub(crate) mod messages;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use parking_lot::Mutex;
use strata_runtime::{MoverReport, Runtime};

use crate::config::{ByteSize, StoreConfig};
use crate::control;
use crate::control::messages::Request;
use crate::greeting::{say, say_json};
use crate::lock::StoreLock;
use crate::store::OpenStore;
use messages::{ReclaimRequest, ReclaimState, ReclaimStatus};

/// How long segments wait for readers and uploads that began before, before they are left for another time.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause between two questions how it goes.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// The reclaim that a server was asked for.
#[derive(Default)]
pub(crate) struct Reclaim {
    state: Mutex<State>,
}

#[derive(Default)]
enum State {
    #[default]
    Idle,
    Running,
    Done(MoverReport),
    Failed(String),
}

impl Reclaim {
    /// Answers a request; `ends` says whether the server is being ended.
    ///
    /// # Errors
    /// That no thread could be started.
    pub(crate) fn answer(
        self: &Arc<Self>,
        runtime: &Arc<Runtime>,
        request: ReclaimRequest,
        ends: impl Fn() -> bool + Send + 'static,
    ) -> anyhow::Result<ReclaimStatus> {
        let mut state = self.state.lock();
        if matches!(request, ReclaimRequest::Start) && !matches!(*state, State::Running) {
            let (own, runtime) = (Arc::clone(self), Arc::clone(runtime));
            std::thread::Builder::new().name("strata-reclaim".to_owned()).spawn(move || {
                let done = runtime.reclaim(PATIENCE, &mut |_| !ends());
                *own.state.lock() = match done {
                    Ok(report) => State::Done(report),
                    Err(error) => State::Failed(format!("{:#}", anyhow::Error::from(error))),
                };
            })?;
            *state = State::Running;
        }
        let status = runtime.mover_status();
        Ok(match &*state {
            State::Idle => ReclaimStatus::of(ReclaimState::Idle, &status, &status.report),
            State::Running => ReclaimStatus::of(ReclaimState::Running, &status, &status.report),
            State::Done(report) => ReclaimStatus::of(ReclaimState::Done, &status, report),
            State::Failed(why) => {
                let failed = ReclaimStatus::of(ReclaimState::Failed, &status, &status.report);
                ReclaimStatus { error: Some(why.clone()), ..failed }
            }
        })
    }
}

/// `strata reclaim`.
///
/// # Errors
/// No store, no right to it, or what the reclaim failed by.
pub(crate) fn run(config: &StoreConfig, wait: bool, json: bool) -> anyhow::Result<ExitCode> {
    let end = if StoreLock::holder(&config.data).is_some() {
        through_server(config, wait, json)?
    } else {
        let mut lock = StoreLock::of_existing(&config.data)?;
        let store = OpenStore::open_existing(config, &mut lock)?;
        let runtime = Arc::clone(store.runtime());
        let report = runtime.reclaim(PATIENCE, &mut |report| {
            let status = runtime.mover_status();
            progress(&ReclaimStatus::of(ReclaimState::Running, &status, report), json);
            true
        })?;
        let end = ReclaimStatus::of(ReclaimState::Done, &runtime.mover_status(), &report);
        drop(runtime);
        store.close()?;
        end
    };
    clear_progress(json);
    if json {
        say_json(&end)?;
    } else {
        say(&in_words(&end));
    }
    let failed = end.state == ReclaimState::Failed || end.unreadable > 0;
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn through_server(config: &StoreConfig, wait: bool, json: bool) -> anyhow::Result<ReclaimStatus> {
    let ask = |request| control::ask::<ReclaimStatus>(&config.data, &Request::Reclaim(request));
    let mut answer = ask(ReclaimRequest::Start)?;
    while wait && answer.state == ReclaimState::Running {
        progress(&answer, json);
        std::thread::sleep(ASK_EVERY);
        answer = ask(ReclaimRequest::Progress)?;
    }
    if answer.state == ReclaimState::Failed {
        clear_progress(json);
        bail!("{}; what was done stays done, nothing is lost", answer.error.as_deref().unwrap_or("it failed"));
    }
    Ok(answer)
}

/// One line that is written over, where somebody watches.
fn progress(answer: &ReclaimStatus, json: bool) {
    let mut out = std::io::stderr();
    if json || !out.is_terminal() {
        return;
    }
    // If nobody sees this line, that is no reason to stop.
    let _ = write!(
        out,
        "\r\x1b[K{}: {} moved, {} freed, {} segments to go",
        answer.phase,
        ByteSize(answer.bytes_moved),
        ByteSize(answer.bytes_freed),
        answer.backlog_segments
    );
    let _ = out.flush();
}

fn clear_progress(json: bool) {
    let mut out = std::io::stderr();
    if !json && out.is_terminal() {
        let _ = write!(out, "\r\x1b[K");
    }
}

fn in_words(end: &ReclaimStatus) -> String {
    if end.state == ReclaimState::Running {
        return "the server reclaims; --wait waits for it, strata status shows it\n".to_owned();
    }
    let mut words = format!(
        "{} segments freed ({}), {} moved, {} chunks dropped\n",
        end.segments_freed,
        ByteSize(end.bytes_freed),
        ByteSize(end.bytes_moved),
        end.chunks_dropped
    );
    if end.full && end.segments_freed == 0 {
        words.push_str(
            "the disks are full, and nothing could be freed: there is no room to work with, or nothing to free; delete something, give \
             their file systems some room, or add disks\n",
        );
    }
    if end.segments_waiting > 0 {
        words.push_str(&format!(
            "{} segments stay for now: readers or uploads from before had not ended\n",
            end.segments_waiting
        ));
    }
    if end.unreadable > 0 {
        words.push_str(&format!(
            "{} chunks or stripes could not be read: their segments stay; run strata fsck\n",
            end.unreadable
        ));
    }
    words
}
