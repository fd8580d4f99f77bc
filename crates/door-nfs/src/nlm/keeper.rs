//! Work beside the calls: notifying clients of locks they waited for and of a restart of the server, and forgetting clients.
//!
//! All of it is bounded: one callback per waiting request, one notice per known client, and a number of calls at one
//! time, in all and per client, so that clients which do not answer delay only themselves.

use std::sync::Arc;
use std::time::Duration;

use strata_gate::bridge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use super::args::{Answered, Stat, granted, procedure};
use super::args::{PROGRAM, VERSION};
use super::clients::{self, Line};
use super::waits::Grant;
use crate::door::NfsDoor;
use crate::metrics::count;
use crate::operations::DOOR;
use crate::outgoing::{self, CallError, Procedure};
use crate::programs;
use crate::xdr::{Decoder, Encoder};

/// How often clients are looked through, and those that wait are looked at once more.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// Times that a client is called about a granted lock. With the default pause that is longer than clients wait until they ask
/// again by themselves.
const CALLS_MAX: u32 = 8;
/// Times that a client is notified of a restart; the pauses double, which comes to about 15 minutes by default.
const NOTICES_MAX: u32 = 17;
/// Longest pause between two notices, in pauses between callbacks.
const PAUSE_FACTOR_MAX: u32 = 6;
/// Longest cookie of a reply, bytes.
const COOKIE_LEN_MAX: usize = 1024;

/// Works until it is dropped. A door with several listeners has one of these; the others wait for ever.
pub(crate) async fn keep(door: Arc<NfsDoor>) {
    let Some(mut grants) = door.locks.grants.lock().take() else { return std::future::pending().await };
    let mut tasks = JoinSet::new();
    let asking = Arc::clone(&door);
    if let Some(past) = run(move || asking.locks.clients.past()).await
        && !past.is_empty()
    {
        tasks.spawn(notify_all(Arc::clone(&door), past));
    }
    let mut sweep = tokio::time::interval(SWEEP_EVERY);
    loop {
        tokio::select! {
            grant = grants.recv() => match grant {
                Some(grant) => drop(tasks.spawn(call_back(Arc::clone(&door), grant))),
                // The door has a sender itself, so this does not happen.
                None => return,
            },
            () = door.locks.freed.any.notified() => {
                let door = Arc::clone(&door);
                run(move || door.locks.grant_freed(&door.ns)).await;
            }
            _ = sweep.tick() => {
                let door = Arc::clone(&door);
                run(move || {
                    door.locks.freed.note_all();
                    sweep_clients(&door, clients::IDLE);
                })
                .await;
            }
            Some(_) = tasks.join_next() => {}
        }
    }
}

/// The door takes no calls any more: clients that have nothing need not be told when it starts again.
pub(crate) async fn close(door: Arc<NfsDoor>) {
    run(move || sweep_clients(&door, Duration::ZERO)).await;
}

/// Forgets clients that have nothing and did not ask for so long.
pub(super) fn sweep_clients(door: &NfsDoor, idle: Duration) {
    let has_nothing = |client| {
        let waits = door.locks.waits.lock();
        (waits.count(client).0, waits.count_reserved(client).0, door.ns.holds_of(DOOR.number, client)) == (0, 0, 0)
    };
    door.locks.clients.sweep(&door.ns, idle, has_nothing);
}

/// Runs what may wait, on a thread for that.
async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let ended = bridge::wait(work).await;
    ended.inspect_err(|error| tracing::error!(%error, "the keeper of nfs locks failed unexpectedly")).ok()
}

/// A place among the calls to one client, and one among all.
async fn places(door: &NfsDoor, line: Line) -> Option<[OwnedSemaphorePermit; 2]> {
    let (own, all) = semaphores(door, line);
    let own = own.acquire_owned().await.ok()?;
    Some([own, all.acquire_owned().await.ok()?])
}

fn semaphores(door: &NfsDoor, line: Line) -> (Arc<Semaphore>, Arc<Semaphore>) {
    let mut calls = door.locks.calls.lock();
    // A semaphore that nobody holds is as good as a new one.
    calls
        .retain(|_, own| Arc::strong_count(own) > 1 || own.available_permits() < door.limits.lock_calls_per_client_max);
    let own =
        calls.entry(line.client).or_insert_with(|| Arc::new(Semaphore::new(door.limits.lock_calls_per_client_max)));
    (Arc::clone(own), Arc::clone(&door.locks.calls_in_all))
}

async fn call(door: &NfsDoor, line: Line, procedure: Procedure, args: &[u8]) -> Result<Decoder, CallError> {
    let settings = &door.locks.settings;
    count(&door.metrics().lock_callbacks);
    let called = outgoing::call(line, settings.portmap_port, settings.call_timeout, procedure, args).await;
    if let Err(error) = &called {
        count(&door.metrics().lock_callbacks_failed);
        tracing::debug!(client = %line.client, %error, "an nfs client could not be called");
    }
    called
}

/// Notifies a client that it has the lock it waited for. If the client does not want the lock, or cannot be reached, the lock is released.
async fn call_back(door: Arc<NfsDoor>, grant: Grant) {
    let args = granted(grant.number, grant.exclusive, &grant.lock);
    let number = grant.number;
    let (mut took, mut reached) = (false, false);
    for tried in 0..CALLS_MAX {
        if tried > 0 {
            tokio::time::sleep(door.locks.settings.call_pause).await;
        }
        // The client may have asked again meanwhile, and been answered, or have given up.
        let asking = Arc::clone(&door);
        let wanted = run(move || asking.locks.waits.lock().is_granted(number)).await;
        if wanted.flatten().is_none() {
            return;
        }
        let Some(places) = places(&door, grant.line).await else { return };
        let granted = Procedure { program: PROGRAM, version: VERSION, number: procedure::GRANTED };
        let answered = call(&door, grant.line, granted, &args).await.and_then(|mut results| {
            results.opaque(COOKIE_LEN_MAX)?;
            Ok(Stat::of(results.u32()?))
        });
        drop(places);
        reached |= answered.is_ok();
        match answered {
            Ok(Stat::Grace) | Err(_) => {}
            Ok(Stat::Denied) => break,
            Ok(_) => {
                took = true;
                break;
            }
        }
    }
    run(move || {
        let mut waits = door.locks.waits.lock();
        let others = if reached { Vec::new() } else { waits.give_up(number) };
        if !others.is_empty() {
            tracing::warn!(client = %grant.line.client, "an nfs client that waits for locks cannot be called; it waits no longer");
        }
        let file = waits.called(&door.ns, &super::locks::granting(), number, took);
        if let (Some(ino), false) = (file, took) {
            tracing::debug!(client = %grant.line.client, "a lock that was waited for was not taken");
            door.locks.grant(&door.ns, &mut waits, ino);
        }
        others.into_iter().for_each(|ino| door.locks.grant(&door.ns, &mut waits, ino));
    })
    .await;
}

/// Answers a call that came in the asynchronous form; if that cannot be done at once, the client sends it again.
pub(super) async fn answer(door: Arc<NfsDoor>, line: Line, number: u32, cookie: bytes::Bytes, answered: Answered) {
    let (own, all) = semaphores(&door, line);
    let (Ok(_own), Ok(_all)) = (own.try_acquire_owned(), all.try_acquire_owned()) else { return };
    let mut out = Encoder::with_capacity(128);
    answered.encode(&cookie, &mut out);
    let result = Procedure { program: PROGRAM, version: VERSION, number: number + procedure::RESULT };
    // An error was noted, and the client sends its call again.
    let _ = call(&door, line, result, &out.into_vec()).await;
}

/// Tells the clients that had locks that the server restarted and they are to ask for them again (SM_NOTIFY).
async fn notify_all(door: Arc<NfsDoor>, past: Vec<(u64, Line)>) {
    let counting = Arc::clone(&door);
    let restarts = match run(move || clients::count_restart(&counting.ns)).await {
        Some(Ok(restarts)) => restarts,
        Some(Err(error)) => {
            tracing::warn!(%error, "nfs clients that had locks cannot be told of the restart; their locks are lost");
            return;
        }
        None => return,
    };
    tracing::info!(clients = past.len(), "nfs clients that had locks are told of the restart");
    let mut tasks = JoinSet::new();
    for (number, line) in past {
        tasks.spawn(notify(Arc::clone(&door), number, line, restarts));
    }
    while tasks.join_next().await.is_some() {}
}

async fn notify(door: Arc<NfsDoor>, number: u64, line: Line, restarts: u32) {
    for tried in 0..NOTICES_MAX {
        if tried > 0 {
            let factor = 2u32.saturating_pow(tried - 1).min(PAUSE_FACTOR_MAX);
            tokio::time::sleep(door.locks.settings.call_pause * factor).await;
        }
        let Some(_places) = places(&door, line).await else { return };
        // Clients know the server by the name or by the address that they mounted; those that compare addresses take either.
        let address = (!line.local.is_unspecified()).then(|| line.local.to_string());
        let names = [Some(door.locks.settings.server_name.clone()), address].into_iter().flatten();
        let mut told = true;
        for name in names {
            let mut out = Encoder::with_capacity(64);
            out.opaque(name.as_bytes());
            out.u32(restarts);
            let notice = Procedure {
                program: programs::nsm::PROGRAM,
                version: programs::nsm::VERSION,
                number: programs::nsm::NOTIFY,
            };
            told &= call(&door, line, notice, &out.into_vec()).await.is_ok();
        }
        if told {
            run(move || door.locks.clients.notified(number)).await;
            return;
        }
    }
    tracing::warn!(client = %line.client, "an nfs client that had locks could not be told of the restart; its locks are lost");
    run(move || door.locks.clients.notified(number)).await;
}
