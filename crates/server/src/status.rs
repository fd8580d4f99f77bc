//! `strata status`: asked of the running server, or read from the store itself where none runs.

use std::process::ExitCode;

use serde_json::{Value, json};
use strata_content::TrafficCounts;
use strata_ledger::Refusing;
use strata_namespace::{Caller, Door, Namespace, Op};

use crate::config::{ByteSize, StoreConfig};
use crate::control;
use crate::greeting::{plain_table, say};
use crate::lock::StoreLock;
use crate::store::OpenStore;

/// `strata status`.
///
/// # Errors
/// No store, no right to it, or a store that does not open.
pub(crate) fn run(config: &StoreConfig, json: bool) -> anyhow::Result<ExitCode> {
    let answer = StoreLock::holder(&config.data).map(|_| control::ask(&config.data, &control::Request::Status));
    let status = match answer {
        Some(Ok(status)) => status,
        Some(Err(error)) if StoreLock::holder(&config.data).is_some() => return Err(error),
        // Nobody has it, or whoever had it went before it answered.
        Some(Err(_)) | None => {
            let mut lock = StoreLock::of_existing(&config.data)?;
            let store = OpenStore::open_to_look(config, &mut lock)?;
            let status = of_store(config, store.namespace());
            store.close()?;
            status
        }
    };
    if json {
        say(&format!("{}\n", serde_json::to_string_pretty(&status)?));
    } else {
        say(&in_words(&status));
    }
    Ok(ExitCode::SUCCESS)
}

/// What can be said of an open store.
pub(crate) fn of_store(config: &StoreConfig, namespace: &Namespace) -> Value {
    let ledger = namespace.store().ledger().status();
    let space = namespace.space(&Op::new(Caller::root(Door::Admin)));
    let disks = crate::disks::list(&ledger, &[])["disks"].take();
    let checkpoints = namespace.store().checkpoint_counts();
    json!({
        "data": config.data,
        "set": ledger.set.to_string(),
        "layout": crate::disks::layouts(&ledger),
        "sets": crate::sets::list(&ledger),
        "drain": namespace.drain_status().as_ref().map(crate::sets::progress),
        "durability": config.durability.word(),
        "read_only": ledger.read_only,
        "refusing": namespace.store().ledger().refusing().map(|refusing| json!({
            "what": refusing.what,
            "since": refusing.since.secs(),
            "why": refusing.why,
            "remedy": refusing.remedy,
            "words": refusing_in_words(&refusing),
        })),
        "full": ledger.full,
        "segments": ledger.segments,
        "segment_len": ledger.segment_len,
        "durable": ledger.durable.0,
        "mover": crate::reclaim::of_mover(&namespace.store().mover_status()),
        "log_since_checkpoint": namespace.store().log_since_checkpoint(),
        "log_written": namespace.store().log_written(),
        "checkpoints": { "taken": checkpoints.taken, "written": checkpoints.written },
        "content": of_content(&namespace.store().traffic()),
        "disks": disks,
        "space": match space {
            Ok(space) => json!({ "total": space.total, "free": space.free, "inodes": space.inodes }),
            Err(error) => json!({ "error": error.to_string() }),
        },
    })
}

/// What was taken in since the store was opened, and what of it had to be stored.
fn of_content(traffic: &TrafficCounts) -> Value {
    json!({
        "written": traffic.written(),
        "deduplicated": traffic.known + traffic.zeros,
        "compressed": traffic.compressed(),
        "stored": traffic.stored,
        "ratio": (traffic.stored > 0).then(|| traffic.written() as f64 / traffic.stored as f64),
    })
}

/// What a store refuses, since when, why, and what to do.
pub(crate) fn refusing_in_words(refusing: &Refusing) -> String {
    let Refusing { what, since, why, remedy } = refusing;
    format!("{what}; since {}: {why}; {remedy}", httpdate::fmt_http_date(since.to_system_time()))
}

fn in_words(status: &Value) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| "-".to_owned(), str::to_owned);
    let size = |value: &Value| value.as_u64().map_or_else(|| "-".to_owned(), |bytes| ByteSize(bytes).to_string());
    let mut words =
        format!("store {}: {}, {}\n", text(&status["data"]), text(&status["layout"]), text(&status["durability"]));
    let space = &status["space"];
    words.push_str(&match space["error"].as_str() {
        Some(error) => format!("space cannot be read: {error}\n"),
        None => format!("{} of {} free, {} inodes\n", size(&space["free"]), size(&space["total"]), space["inodes"]),
    });
    let content = &status["content"];
    if content["written"].as_u64().is_some_and(|written| written > 0) && !status["server"].is_null() {
        let ratio =
            content["ratio"].as_f64().map_or_else(|| "all of it known".to_owned(), |ratio| format!("{ratio:.2} : 1"));
        words.push_str(&format!(
            "since its start {} written, {} stored ({ratio}): saved {} known already or zero, {} by compression\n",
            size(&content["written"]),
            size(&content["stored"]),
            size(&content["deduplicated"]),
            size(&content["compressed"]),
        ));
    }
    match (status["refusing"]["words"].as_str(), status["read_only"].as_str()) {
        (Some(refusing), _) => words.push_str(&format!("{refusing}\n")),
        (None, Some(why)) => words.push_str(&format!("takes no writes: {why}\n")),
        (None, None) => {}
    }
    if status["sets"].as_array().is_some_and(|sets| sets.len() > 1) {
        words.push_str(&format!("\n{}", crate::sets::table(&status["sets"])));
    }
    if !status["drain"].is_null() {
        words.push_str(&format!("\n{}\n", crate::sets::progress_in_words(&status["drain"])));
    }
    let mut table = plain_table(&["place", "disk", "state", "free", "total", "read errors"]);
    for disk in status["disks"].as_array().into_iter().flatten() {
        table.add_row([
            disk["place"].to_string(),
            text(&disk["disk"]),
            text(&disk["state"]),
            size(&disk["free"]),
            size(&disk["total"]),
            disk["read_errors"].to_string(),
        ]);
    }
    words.push_str(&format!("\n{table}\n"));
    words.push_str(&of_keeper(&status["keeper"]));
    match status["server"].as_object() {
        None => words.push_str("\nno server runs on it\n"),
        Some(server) => {
            words.push_str(&format!("\n{} by process {}\n", text(&server["phase"]), server["pid"]));
            let mut table = plain_table(&["door", "address", "requests/s", "received/s", "sent/s"]);
            for (door, address) in server["doors"].as_object().into_iter().flatten().filter(|(_, at)| !at.is_null()) {
                let rates = &server["per_second"][door.as_str()];
                let requests = rates["requests"].as_u64().map_or_else(|| "-".to_owned(), |rate| rate.to_string());
                table.add_row([door.clone(), text(address), requests, size(&rates["received"]), size(&rates["sent"])]);
            }
            words.push_str(&format!("\n{table}\n"));
        }
    }
    words
}

/// The pass under way and the scrub, in words; nothing where no server runs.
fn of_keeper(keeper: &Value) -> String {
    if keeper.is_null() {
        return String::new();
    }
    let mut words = String::new();
    let running = &keeper["running"];
    if let Some(pass) = running["pass"].as_str() {
        let (done, total) = (running["done_bytes"].as_u64().unwrap_or(0), running["total_bytes"].as_u64().unwrap_or(0));
        words.push_str(&format!("\n{pass}: {} of {}", ByteSize(done), ByteSize(total)));
        if let Some(seconds) = running["seconds_left"].as_u64() {
            words.push_str(&format!(", about {seconds} s left"));
        }
        words.push('\n');
    }
    let scrub = &keeper["scrub"];
    let state = match (scrub["paused"] == true, scrub["at"].is_null(), scrub["ended"].is_null()) {
        (true, ..) => "paused",
        (_, false, _) => "under way",
        (.., false) => "came to its end",
        _ => "none yet",
    };
    let ended = scrub["ended"].as_u64().map_or_else(String::new, |secs| {
        let ended = std::time::UNIX_EPOCH + std::time::Duration::from_secs(secs);
        format!(" ({})", httpdate::fmt_http_date(ended))
    });
    words.push_str(&format!(
        "\nlast scrub: {state}{ended}; {} frames damaged, {} written anew, {} places unreadable\n",
        scrub["damaged"], scrub["healed"], scrub["unreadable"]
    ));
    words
}
