//! Progress on the terminal: a line or a bar for people, nothing where nobody looks.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

/// How often it is drawn.
const DRAW_EVERY: Duration = Duration::from_millis(100);

/// A line that says what is going on; nothing with `hidden`.
pub(crate) fn line(hidden: bool) -> ProgressBar {
    styled(hidden, "{spinner} {msg} ({elapsed})")
}

/// A bar of bytes with what is left; nothing with `hidden`.
pub(crate) fn bytes(hidden: bool) -> ProgressBar {
    styled(hidden, "{spinner} {msg} [{bar:30}] {bytes} of {total_bytes}, {prefix}")
}

/// A bar of things; nothing with `hidden`.
pub(crate) fn count(hidden: bool) -> ProgressBar {
    styled(hidden, "{spinner} {msg} [{bar:30}] {human_pos} of {human_len} ({elapsed})")
}

fn styled(hidden: bool, template: &str) -> ProgressBar {
    let bar = if hidden { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(DRAW_EVERY);
    bar
}

/// Shows what [`crate::passes::progress`] says.
pub(crate) fn show_pass(bar: &ProgressBar, progress: &Value) {
    let number = |name: &str| progress[name].as_u64();
    if let Some(total) = number("total_bytes") {
        bar.set_length(total);
    }
    bar.set_position(number("done_bytes").unwrap_or(0));
    bar.set_message(format!(
        "{}: {} stripes, {} frames mended, {} places unreadable",
        progress["pass"].as_str().unwrap_or("waiting"),
        number("stripes").unwrap_or(0),
        number("healed").unwrap_or(0),
        number("unreadable").unwrap_or(0)
    ));
    bar.set_prefix(match number("seconds_left") {
        Some(seconds) => format!("{} left", indicatif::HumanDuration(Duration::from_secs(seconds))),
        None => "no estimate yet".to_owned(),
    });
}

/// Shows what [`crate::sets::progress`] says.
pub(crate) fn show_drain(bar: &ProgressBar, progress: &Value) {
    let number = |name: &str| progress[name].as_u64();
    if let Some(total) = number("total_bytes") {
        bar.set_length(total);
    }
    bar.set_position(number("done_bytes").unwrap_or(0));
    bar.set_message(match progress["trouble"].as_str() {
        Some(trouble) => trouble.to_owned(),
        None if progress.is_null() => "waiting".to_owned(),
        None => format!("moving from set {}", progress["number"]),
    });
    bar.set_prefix(match number("seconds_left") {
        Some(seconds) => format!("{} left", indicatif::HumanDuration(Duration::from_secs(seconds))),
        None => "no estimate yet".to_owned(),
    });
}

/// Shows what [`crate::buckets::Removal`] says.
pub(crate) fn show_removal(bar: &ProgressBar, removal: &crate::buckets::Removal) {
    bar.set_length(removal.total.max(removal.removed));
    bar.set_position(removal.removed);
    bar.set_message(if removal.counting { "counting files and folders" } else { "removing files and folders" });
}
