//! What processes cost, as the kernel counts it: CPU seconds and peak resident memory from /proc.
//!
//! A server's cost is that of its process and of all its descendants. Times have the grain of the kernel's tick (10 ms), so
//! a figure from a short `--quick` measurement is good to a few per cent only.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

/// One process in /proc.
struct Stat {
    parent: u32,
    /// Its threads, those that ended included.
    own: f64,
    /// Its children that ended and were waited for.
    reaped: f64,
}

fn stat(pid: u32) -> Result<Stat> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name, in parentheses, may hold anything; the fields proper start after the last one.
    let fields: Vec<&str> =
        text.rsplit_once(')').context("the kernel's stat line has no name")?.1.split_whitespace().collect();
    let field = |index: usize| -> Result<f64> { Ok(fields.get(index).context("the stat line is short")?.parse()?) };
    let tick = rustix::param::clock_ticks_per_second() as f64;
    Ok(Stat {
        parent: fields.get(1).context("the stat line is short")?.parse()?,
        own: (field(11)? + field(12)?) / tick,
        reaped: (field(13)? + field(14)?) / tick,
    })
}

fn with_descendants(root: u32) -> Vec<(u32, Stat)> {
    let mut all: BTreeMap<u32, Stat> = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, stat(pid).ok()?)))
        .collect();
    let mut family: Vec<(u32, Stat)> = all.remove_entry(&root).into_iter().collect();
    let mut looked = 0;
    while looked < family.len() {
        let parent = family[looked].0;
        let children: Vec<u32> = all.iter().filter(|(_, stat)| stat.parent == parent).map(|(pid, _)| *pid).collect();
        family.extend(children.into_iter().filter_map(|pid| all.remove_entry(&pid)));
        looked += 1;
    }
    family
}

/// CPU seconds that the processes `roots` and their descendants have used so far.
pub(crate) fn cpu_seconds(roots: &[u32]) -> f64 {
    let family = roots.iter().flat_map(|root| with_descendants(*root));
    family.map(|(_, stat)| stat.own + stat.reaped).sum()
}

/// CPU seconds of this process and of the programs it has run to their end, servers aside while they run.
pub(crate) fn own_cpu_seconds() -> f64 {
    stat(std::process::id()).map(|stat| stat.own + stat.reaped).unwrap_or_default()
}

/// Peak resident memory of `roots` and their descendants in MiB: the sum of each one's own peak.
pub(crate) fn peak_rss_mib(roots: &[u32]) -> f64 {
    let family = roots.iter().flat_map(|root| with_descendants(*root));
    family.filter_map(|(pid, _)| peak_of(pid)).sum()
}

fn peak_of(pid: u32) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024.0)
}

/// Starts the peaks of `roots` and their descendants anew; needs the processes to be the caller's own.
pub(crate) fn forget_peak_rss(roots: &[u32]) {
    for (pid, _) in roots.iter().flat_map(|root| with_descendants(*root)) {
        // A process that is gone, or whose peak may not be reset, keeps an older and higher peak: never a flattering one.
        let _ = std::fs::write(format!("/proc/{pid}/clear_refs"), "5");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_used_memory_and_has_a_parent() {
        let me = std::process::id();
        assert!(peak_rss_mib(&[me]) > 0.5);
        assert!(stat(me).unwrap().parent > 0);
    }

    #[test]
    fn a_child_is_part_of_the_family() {
        let mut child = std::process::Command::new("sleep").arg("10").spawn().unwrap();
        let family = with_descendants(std::process::id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(family.iter().any(|(pid, _)| *pid == child.id()));
    }
}
