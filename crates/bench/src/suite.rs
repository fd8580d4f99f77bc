//! The suites, and what they share.
//!
//! Subjects of a suite run side by side and are measured in turn, line by line and repetition by repetition, so that a change
//! in the machine's mood meets all of them.

pub(crate) mod dedup;
pub(crate) mod list;
pub(crate) mod memory;
pub(crate) mod mount;
pub(crate) mod nfs;
mod objects;
pub(crate) mod restart;
pub(crate) mod s3;
pub(crate) mod webdav;

use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::Result;

use crate::content::{Corpus, Kind, Source};
use crate::options::Options;
use crate::report::{Report, Unit};
use crate::subject::{Door, Recipe, Subject};

/// Bytes that all subjects of a suite may hold together before they start anew with an empty store.
const HELD_BYTES_MAX: u64 = 8 << 30;

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

    /// Adds the peak memory of every entrant as a line of its own.
    pub(crate) fn add_peaks(&mut self, suite: &'static str, field: &[Entrant]) {
        for entrant in field {
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
}

impl Entrant {
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
