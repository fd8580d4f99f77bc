//! Disks and passes, shown to people.

use std::process::ExitCode;

use super::messages::DiskList;
use crate::config::ByteSize;
use crate::greeting::{plain_table, say, say_json};
use crate::passes::messages::PassSummary;

pub(super) fn show_list(list: &DiskList, json: bool) -> anyhow::Result<ExitCode> {
    if json {
        say_json(list)?;
        return Ok(ExitCode::SUCCESS);
    }
    let size = |bytes: Option<u64>| bytes.map_or_else(|| "-".to_owned(), |bytes| ByteSize(bytes).to_string());
    let mut table = plain_table(&["place", "set", "disk", "state", "free", "total", "read errors", "why"]);
    for disk in &list.disks {
        let around = if disk.read_around { ", read around" } else { "" };
        table.add_row([
            disk.place.to_string(),
            disk.set.to_string(),
            disk.disk.clone(),
            format!("{}{around}", disk.state),
            size(disk.free),
            size(disk.total),
            disk.read_errors.to_string(),
            disk.why.clone().unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    let mut words = format!("{table}\n");
    for stranger in &list.strangers {
        words.push_str(&format!("{} {}\n", stranger.disk, stranger.why));
    }
    if let Some(why) = &list.read_only {
        words.push_str(&format!("takes no writes: {why}\n"));
    }
    say(&words);
    Ok(ExitCode::SUCCESS)
}

/// Prints what a pass ended with. Exit code 1 if something cannot be read, or lacks frames after a heal.
pub(super) fn show_outcome(pass: &PassSummary, json: bool) -> anyhow::Result<ExitCode> {
    let code = if pass.is_whole() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if json {
        say_json(pass)?;
        return Ok(code);
    }
    let mut table = plain_table(&["place", "disk", "good", "damaged", "missing", "written anew"]);
    for disk in &pass.disks {
        table.add_row([
            disk.place.to_string(),
            disk.disk.clone(),
            disk.good.to_string(),
            disk.damaged.to_string(),
            disk.missing.to_string(),
            (disk.healed + disk.renewed).to_string(),
        ]);
    }
    let mut words = format!(
        "{table}\n{} stripes: {} with all {} frames, {} with fewer; {} places unreadable\n",
        pass.stripes, pass.whole, pass.frames_expected, pass.degraded, pass.unreadable
    );
    if let Some(proof) = &pass.proof {
        let count = |count: Option<u64>| count.map_or_else(|| "-".to_owned(), |count| count.to_string());
        words.push_str(&format!(
            "{} objects: {} whole, {} degraded, {} unreadable\n",
            count(proof.objects),
            count(proof.whole),
            proof.degraded,
            proof.unreadable
        ));
        for name in &proof.names {
            words.push_str(&format!("  {} {}: bytes {}\n", name.state, name.name, name.ranges_in_words()));
        }
    }
    if !pass.finished {
        words.push_str("it was ended before it was complete; it goes on where it was\n");
    }
    say(&words);
    Ok(code)
}
