//! The suites, and what they share.
//!
//! Subjects of a suite run side by side and are measured in turn, line by line and repetition by repetition, so that a change
//! in the machine's mood meets all of them.

pub(crate) mod beside;
pub(crate) mod dedup;
pub(crate) mod growth;
pub(crate) mod list;
pub(crate) mod lock;
pub(crate) mod memory;
pub(crate) mod mount;
pub(crate) mod nfs;
mod objects;
pub(crate) mod restart;
pub(crate) mod s3;
pub(crate) mod scale;
pub(crate) mod webdav;

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use anyhow::Result;

use crate::content::{Corpus, Kind, Source};
use crate::machine;
use crate::options::Options;
use crate::report::{Report, Role, Unit};
use crate::subject::{Door, Recipe, Subject};
use crate::watchdog::Watchdog;

/// Bytes that all subjects of a suite may hold together before they start anew with an empty store.
const HELD_BYTES_MAX: u64 = 10 << 30;

/// Longest that one measurement may take, warming included: ten times what the slowest takes on a busy machine of two cores.
const MEASUREMENT_MAX: Duration = Duration::from_secs(90);
/// As [`MEASUREMENT_MAX`], for measurements that are a whole programme: thousands of files, gigabytes, trees.
const PROGRAMME_MAX: Duration = Duration::from_secs(600);
/// How often in a suite a peer that failed gets a fresh start; after that it is left out.
const PEER_STARTS_MAX: u32 = 2;

/// What every suite gets.
pub(crate) struct Bench {
    /// The command line.
    pub(crate) options: Options,
    /// Where figures go.
    pub(crate) report: Report,
    /// Text for compressible content.
    pub(crate) corpus: Rc<Corpus>,
    /// Folder for all data.
    pub(crate) below: PathBuf,
    epoch: u64,
}

impl Bench {
    /// Nothing measured yet.
    pub(crate) fn new(options: Options, report: Report, below: &Path) -> Self {
        Self { options, report, corpus: Corpus::gather(), below: below.to_owned(), epoch: 0 }
    }

    /// A number that no measurement of this run has had: part of names and of contents.
    pub(crate) fn next_epoch(&mut self) -> u64 {
        self.epoch += 1;
        self.epoch
    }

    /// One source of content for each of `clients`.
    pub(crate) fn sources(&self, kind: Kind, epoch: u64, clients: usize) -> Vec<Source> {
        (0..clients).map(|client| Source::new(kind, &self.corpus, epoch, client)).collect()
    }

    /// Starts `recipes` with `doors`; a peer that does not come up is reported and left out, ours is an error.
    pub(crate) async fn field(&self, recipes: &[Recipe], doors: &[Door]) -> Result<Vec<Entrant>> {
        let mut field = Vec::new();
        for recipe in recipes {
            match recipe.start(&self.options, &self.below, doors).await {
                Ok(subject) => field.push(Entrant {
                    recipe: *recipe,
                    doors: doors.to_vec(),
                    subject,
                    held: 0,
                    starts_left: PEER_STARTS_MAX,
                    is_out: false,
                    share: HELD_BYTES_MAX / recipes.len() as u64,
                }),
                Err(error) if matches!(recipe, Recipe::SeaweedFs | Recipe::JuiceFs | Recipe::Rclone) => {
                    eprintln!("{recipe:?} is left out: {error:#}");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(field)
    }

    /// Shows what is new, and writes everything so far to the files that the options name.
    ///
    /// # Errors
    /// That a file could not be written.
    pub(crate) fn keep_figures(&mut self) -> Result<()> {
        self.report.show();
        if let Some(path) = &self.options.markdown {
            self.report.write_markdown(path, &machine::words(self.report.header()))?;
        }
        if let Some(path) = &self.options.json {
            self.report.write_json(path)?;
        }
        Ok(())
    }

    /// Adds the peak memory of every entrant as a line of its own.
    pub(crate) fn add_peaks(&mut self, suite: &'static str, field: &[Entrant]) {
        for entrant in field.iter().filter(|entrant| !entrant.is_out) {
            let peak = crate::report::Figure::value(entrant.subject.peak_rss_mib());
            self.report.add(suite, "peak memory", entrant.subject.who(), Unit::Mebibytes, vec![peak]);
        }
    }
}

/// A subject that starts anew when it holds its share of the disk.
pub(crate) struct Entrant {
    recipe: Recipe,
    doors: Vec<Door>,
    /// The running server.
    pub(crate) subject: Subject,
    held: u64,
    share: u64,
    starts_left: u32,
    /// A peer that failed too often.
    pub(crate) is_out: bool,
}

impl Entrant {
    /// Watches one measurement of this entrant.
    pub(crate) fn watch(&self) -> Watchdog {
        Watchdog::over(self.subject.pids(), MEASUREMENT_MAX)
    }

    /// Watches a programme of this entrant.
    pub(crate) fn watch_long(&self) -> Watchdog {
        Watchdog::over(self.subject.pids(), PROGRAMME_MAX)
    }

    /// Takes note of what went wrong. What a peer cannot do is its own affair, and a line without a figure says so; ours
    /// is an error.
    ///
    /// # Errors
    /// `error`, if it is not a peer's.
    pub(crate) fn excuse(&self, error: anyhow::Error, watchdog: &Watchdog) -> Result<()> {
        let error = if watchdog.has_bitten() { error.context("it took too long and was killed") } else { error };
        if self.subject.role != Role::Peer {
            return Err(error);
        }
        eprintln!("{error:#}");
        Ok(())
    }

    /// Starts a peer that failed anew, with nothing stored, or leaves it out. Says whether it runs.
    pub(crate) async fn revive(&mut self, bench: &Bench) -> bool {
        self.subject.kill();
        if self.starts_left > 0 {
            self.starts_left -= 1;
            self.held = 0;
            match self.recipe.start(&bench.options, &bench.below, &self.doors).await {
                Ok(fresh) => {
                    self.subject = fresh;
                    return true;
                }
                Err(error) => eprintln!("{error:#}"),
            }
        }
        self.leave_out();
        false
    }

    /// Ends a peer for the rest of the suite.
    pub(crate) fn leave_out(&mut self) {
        eprintln!("{} is left out from here on", self.subject.name);
        self.subject.kill();
        self.is_out = true;
    }

    /// Takes note of `bytes` written. Says whether that was a fresh start: what was stored is then gone.
    ///
    /// # Errors
    /// That the new server did not come up.
    pub(crate) async fn wrote(&mut self, bytes: u64, bench: &Bench) -> Result<bool> {
        self.held += bytes;
        if self.held < self.share || self.recipe == Recipe::Reference {
            return Ok(false);
        }
        self.held = 0;
        // The old one goes first: two of them would hold twice the share.
        let fresh = self.recipe.start(&bench.options, &bench.below, &self.doors).await?;
        drop(std::mem::replace(&mut self.subject, fresh));
        Ok(true)
    }
}
