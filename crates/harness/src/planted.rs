//! Row `planted`: the tests are tested. One bug after the other is switched on in a process of its own, and the other
//! rows are run in their short form until one of them notices.

use crate::row::Row;

/// The row.
pub(crate) const ROW: Row =
    Row { name: "planted", id: "R15", about: "bugs planted one by one; each must be noticed by some row", run };

#[cfg(not(feature = "planted-bugs"))]
fn run(_: &crate::options::Options, _: &mut crate::report::Report) -> anyhow::Result<()> {
    anyhow::bail!(
        "built without the feature planted-bugs: cargo run --release -p strata-harness --features planted-bugs -- planted"
    )
}

/// Switches the bug of `--plant` on.
#[cfg(not(feature = "planted-bugs"))]
pub(crate) fn plant(name: &str) -> anyhow::Result<()> {
    anyhow::bail!("{name} cannot be planted: built without the feature planted-bugs")
}

#[cfg(feature = "planted-bugs")]
pub(crate) use on::plant;
#[cfg(feature = "planted-bugs")]
use on::run;

#[cfg(feature = "planted-bugs")]
mod on {
    use std::io::Read;
    use std::process::{Command, Stdio};
    use std::time::Duration;

    use anyhow::{Context, Result};
    use strata_seam::planted::Bug;
    use strata_seam::{Clock, SystemClock};

    use crate::options::Options;
    use crate::report::Report;

    /// What looks for a bug: a row, which of its cases, and the seconds it may take. What is quick to find most comes
    /// first; each then goes deeper into what only it can see.
    const HUNTS: [(&str, Option<&str>, u64); 16] = [
        ("gateways", None, 4),
        ("crash", Some("upgrade-*"), 4),
        ("swarm", None, 8),
        ("feed", None, 10),
        ("crash", Some("log-*"), 30),
        ("iofail", Some("log-*"), 20),
        ("iofail", Some("full-*"), 20),
        ("iofail", Some("sets-*"), 10),
        ("sled", None, 25),
        ("replace", None, 10),
        ("corrupt", None, 20),
        ("crash", Some("store-*"), 30),
        ("loss", None, 15),
        ("iofail", None, 20),
        ("gateways", None, 40),
        ("swarm", None, 240),
    ];

    /// Seconds that a process gets to end by itself, beside four times its own.
    const PATIENCE_SECONDS: u64 = 30;

    pub(crate) fn plant(name: &str) -> Result<()> {
        let bug = Bug::ALL.iter().find(|bug| bug.name() == name);
        strata_seam::planted::plant(Some(*bug.with_context(|| format!("there is no bug {name}"))?));
        Ok(())
    }

    pub(super) fn run(options: &Options, report: &mut Report) -> Result<()> {
        let mut seconds = Vec::new();
        let mut uncaught = 0;
        for bug in Bug::ALL {
            if options.case.as_deref().is_some_and(|case| case != bug.name()) {
                continue;
            }
            if report.out_of_time() {
                report.set_cut_short();
                break;
            }
            let clock = SystemClock::new();
            let caught = hunt(options, *bug)?;
            let taken = clock.monotonic_nanos() as f64 / 1e9;
            match caught {
                Some((row, text)) => {
                    println!("  {:<26} caught by {row} after {taken:.1} s: {}", bug.name(), first_words(&text));
                    seconds.push(taken);
                }
                None => {
                    uncaught += 1;
                    report.violation(
                        format!("{} was not noticed:{}", bug.name(), bug.what()),
                        Some(format!("planted --case {}", bug.name())),
                    );
                }
            }
        }
        seconds.sort_by(f64::total_cmp);
        report.goal("bugs caught", seconds.len() as f64, 30.0);
        report.figure("bugs not caught", f64::from(uncaught));
        report.figure("seconds to the catch, median", seconds.get(seconds.len() / 2).copied().unwrap_or(0.0));
        report.figure("seconds to the catch, longest", seconds.last().copied().unwrap_or(0.0));
        Ok(())
    }

    /// The row that notices the bug, and what it says.
    fn hunt(options: &Options, bug: Bug) -> Result<Option<(&'static str, String)>> {
        for (row, case, seconds) in HUNTS {
            let program = std::env::current_exe().context("where this program is")?;
            let mut child = Command::new(program);
            child.args([row, "--full", "--plant", bug.name(), "--seconds", &seconds.to_string()]);
            child.args(case.iter().flat_map(|case| ["--case", *case]));
            child.args(["--seed", &options.seed.to_string(), "--threads", &options.threads().to_string()]);
            child.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
            let (success, said) = ended(child, seconds).context("a process for the planted bug")?;
            let noticed = said.lines().find_map(|line| line.split_once("VIOLATION in "));
            match noticed {
                Some((_, text)) => return Ok(Some((row, text.to_owned()))),
                // A process that does not even come to its end has noticed, too.
                None if !success => {
                    return Ok(Some((row, said.lines().next().unwrap_or("it came to no end").to_owned())));
                }
                None => {}
            }
        }
        Ok(None)
    }

    /// Runs a process to its end, or ends it where it hangs: whether it came to a good end, and what it said.
    fn ended(mut command: Command, seconds: u64) -> std::io::Result<(bool, String)> {
        let mut child = command.spawn()?;
        let mut said = String::new();
        let Some(mut stderr) = child.stderr.take() else { return Ok((false, said)) };
        let clock = SystemClock::new();
        let patience = (seconds * 4 + PATIENCE_SECONDS) * 1_000_000_000;
        let mut child = std::thread::scope(|scope| {
            let waiting = scope.spawn(move || {
                while child.try_wait()?.is_none() {
                    if clock.monotonic_nanos() > patience {
                        child.kill()?;
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
                Ok::<_, std::io::Error>(child)
            });
            stderr.read_to_string(&mut said)?;
            waiting.join().unwrap_or_else(|_| Err(std::io::Error::other("nobody waits for the process")))
        })?;
        Ok((child.wait()?.success(), said))
    }

    fn first_words(text: &str) -> String {
        const LEN: usize = 150;
        let end = text.char_indices().nth(LEN).map_or(text.len(), |(at, _)| at);
        text[..end].to_owned()
    }
}
