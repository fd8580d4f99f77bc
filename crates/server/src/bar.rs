//! Progress on the terminal: a line or a bar; nothing if the output is not a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::buckets::messages::Removal;
use crate::control::messages::Progress;
use crate::passes::messages::PassProgress;
use crate::sets::messages::Moving;

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

/// Shows how far something is.
pub(crate) fn show(bar: &ProgressBar, far: &Progress) {
    match far {
        Progress::Pass(pass) => show_pass(bar, pass),
        Progress::Moving(moving) => show_moving(bar, moving.as_ref()),
        Progress::Removal(removal) => show_removal(bar, removal),
        Progress::Check(at) => bar.set_message(format!("checking {}: {} records", at.what, at.done)),
    }
}

/// Shows how far a heal or a scrub is.
pub(crate) fn show_pass(bar: &ProgressBar, pass: &PassProgress) {
    if pass.total_bytes > 0 {
        bar.set_length(pass.total_bytes);
    }
    bar.set_position(pass.done_bytes);
    bar.set_message(format!(
        "{}: {} stripes, {} frames mended, {} places unreadable",
        pass.pass.word(),
        pass.stripes,
        pass.healed,
        pass.unreadable
    ));
    show_left(bar, pass.seconds_left);
}

fn show_moving(bar: &ProgressBar, moving: Option<&Moving>) {
    let Some(moving) = moving else {
        bar.set_message("waiting");
        return show_left(bar, None);
    };
    bar.set_length(moving.total_bytes);
    bar.set_position(moving.done_bytes);
    bar.set_message(moving.trouble.clone().unwrap_or_else(|| format!("moving from set {}", moving.number)));
    show_left(bar, moving.seconds_left);
}

fn show_left(bar: &ProgressBar, seconds: Option<u64>) {
    bar.set_prefix(match seconds {
        Some(seconds) => format!("{} left", indicatif::HumanDuration(Duration::from_secs(seconds))),
        None => "no estimate yet".to_owned(),
    });
}

fn show_removal(bar: &ProgressBar, removal: &Removal) {
    bar.set_length(removal.total.max(removal.removed));
    bar.set_position(removal.removed);
    bar.set_message(if removal.counting { "counting files and folders" } else { "removing files and folders" });
}
