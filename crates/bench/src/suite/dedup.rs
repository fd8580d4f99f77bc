//! What five versions of one thing cost in space and CPU: a source tree, its tar file, a database, a disk image; beside
//! restic. One S3 client writes them object by object, so every file of the tree is a commit of its own.
//!
//! The things are made from program text with a fixed seed. From version to version the tree gets edits in 5 % of its files,
//! the database changes 1 % of its 4 KiB pages in place, and the image gets insertions that shift what follows. Space is
//! what the disks hold that is not zero, in pages of 4 KiB, since logs are zero-filled ahead; parity is not counted, so that
//! both layouts compare with restic, which has none. It is counted after `strata reclaim --wait`, which does at once what a
//! server does in the background.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::content::{Corpus, Random};
use crate::load::{Outcome, timed, timed_async};
use crate::options::{Layout, Options};
use crate::report::{Figure, Role, Unit};
use crate::subject::{Door, Recipe};
use crate::suite::Bench;
use crate::tree;

const SUITE: &str = "dedup";
const BUCKET: &str = "bench";
const VERSIONS: usize = 5;
const PAGE: usize = 4096;
const MIB: usize = 1 << 20;

/// Things that come in versions.
#[derive(Clone, Copy)]
enum Thing {
    SourceTree,
    /// The same tree as one tar file.
    TarFile,
    Database,
    DiskImage,
}

impl Thing {
    fn word(self) -> &'static str {
        match self {
            Self::SourceTree => "source tree",
            Self::TarFile => "tar of the tree",
            Self::Database => "database",
            Self::DiskImage => "disk image",
        }
    }

    /// Makes the first version in the folder `at`.
    fn make(self, at: &Path, quick: bool, corpus: &Corpus) -> Result<()> {
        std::fs::create_dir_all(at)?;
        let bytes = if quick { 4 * MIB } else { 128 * MIB };
        match self {
            Self::SourceTree => tree::make(at, if quick { 300 } else { 6_000 }, tree::MEAN_BYTES, corpus),
            Self::TarFile => {
                Self::SourceTree.make(&at.with_file_name("tree"), quick, corpus)?;
                pack(at)
            }
            Self::Database | Self::DiskImage => {
                let mut content = vec![0; bytes];
                corpus.fill(&mut content, self.word().len());
                // A third is what does not compress: keys, pictures, what programs have packed.
                let mut random = Random::new(3);
                for page in content.chunks_mut(PAGE).step_by(3) {
                    random.fill(page);
                }
                Ok(std::fs::write(at.join("content"), content)?)
            }
        }
    }

    /// Turns the version in `at` into version `number`.
    fn change(self, at: &Path, number: usize) -> Result<()> {
        let mut random = Random::new(number as u64);
        match self {
            Self::SourceTree => {
                for path in tree::files(at)? {
                    if random.below(20) == 0 {
                        let mut text = std::fs::read(&path)?;
                        let place = random.below(text.len() as u64) as usize;
                        let line = format!("// edit {:x} of version {number}\n", random.next());
                        text.splice(place..place, line.into_bytes());
                        std::fs::write(&path, text)?;
                    }
                }
            }
            Self::TarFile => {
                Self::SourceTree.change(&at.with_file_name("tree"), number)?;
                pack(at)?;
            }
            Self::Database => {
                let path = at.join("content");
                let mut pages = std::fs::read(&path)?;
                let count = pages.len() / PAGE;
                for _ in 0..count / 100 {
                    let start = random.below(count as u64) as usize * PAGE;
                    random.fill(&mut pages[start..start + 200]);
                }
                std::fs::write(&path, pages)?;
            }
            Self::DiskImage => {
                let path = at.join("content");
                let mut content = std::fs::read(&path)?;
                for _ in 0..8 {
                    let mut fresh = vec![0; 10_000 + random.below(50_000) as usize];
                    random.fill(&mut fresh);
                    let place = random.below(content.len() as u64) as usize;
                    content.splice(place..place, fresh);
                }
                std::fs::write(&path, content)?;
            }
        }
        Ok(())
    }
}

/// Packs the tree beside `at` into `at`.
fn pack(at: &Path) -> Result<()> {
    let tree = at.with_file_name("tree");
    tree::run(Command::new("tar").arg("cf").arg(at.join("content")).arg("-C").arg(tree).arg(".")).map(drop)
}

/// Runs the suite.
///
/// # Errors
/// That the server or restic could not be started or refused something, or gave other bytes back.
pub(crate) async fn run(bench: &mut Bench) -> Result<()> {
    let restic = restic(&bench.options);
    if restic.is_none() {
        eprintln!("restic is not installed and is left out");
    }
    for thing in [Thing::SourceTree, Thing::TarFile, Thing::Database, Thing::DiskImage] {
        let folder = tempfile::Builder::new().prefix("versions").tempdir_in(&bench.below)?;
        let at = folder.path().join("thing");
        thing.make(&at, bench.options.quick, &bench.corpus)?;
        let repository = folder.path().join("repository");
        if let Some(restic) = &restic {
            tree::run(command(restic, &repository).arg("init"))?;
        }
        let recipe = Recipe::Strata(bench.options.durability);
        let field = bench.field(&[recipe], &[Door::S3]).await?;
        let subject = &field.first().context("there is nothing to measure")?.subject;
        let mut client = subject.s3_client()?;
        client.make_bucket(BUCKET).await?;
        let (mut ours, mut theirs, mut given) = (Vec::new(), Vec::new(), 0);
        for number in 0..VERSIONS {
            if number > 0 {
                thing.change(&at, number)?;
            }
            let files = tree::files(&at)?;
            let pids = subject.pids();
            let outcome = timed_async(1, &pids, async || {
                for path in &files {
                    let name = path.strip_prefix(&at)?.to_string_lossy();
                    let content = std::fs::read(path)?;
                    given += content.len();
                    client.put_bytes(&format!("/{BUCKET}/version{number}/{name}"), &content).await?;
                }
                Ok(())
            });
            ours.push(outcome.await?);
            if let Some(restic) = &restic {
                theirs
                    .push(timed(1, &[], || tree::run(command(restic, &repository).arg("backup").arg(&at)).map(drop))?);
            }
        }
        let last = tree::files(&at)?.pop().context("the thing has no files")?;
        let name = last.strip_prefix(&at)?.to_string_lossy();
        let mut back = Vec::new();
        let bytes = std::fs::metadata(&last)?.len();
        let path = format!("/{BUCKET}/version{}/{name}", VERSIONS - 1);
        client.get(&path, bytes, Some(&mut back)).await?;
        ensure!(back == std::fs::read(&last)?, "the last version came back changed");
        let who = (subject.name.clone(), subject.role);
        let data = subject.data.clone();
        // What a server does in the background in the course of time: small commits packed, the log's start given back.
        crate::subject::reclaim(&bench.options, &data)?;
        // What is in memory goes to the disks at the end.
        let stored = subject_ended(field, &data, bench.options.layout)?;
        add(bench, thing, (&who.0, who.1), given, stored, &ours, |outcome| outcome.server_cpu);
        if restic.is_some() {
            let stored = in_use(&repository)?;
            add(bench, thing, ("restic", Role::Peer), given, stored, &theirs, |outcome| outcome.generator_cpu);
        }
    }
    Ok(())
}

fn add(
    bench: &mut Bench,
    thing: Thing,
    who: (&str, Role),
    given: usize,
    stored: u64,
    outcomes: &[Outcome],
    cpu: impl Fn(&Outcome) -> f64,
) {
    let given_mib = given as f64 / MIB as f64;
    let cpu: f64 = outcomes.iter().map(cpu).sum();
    let lines = [
        ("bytes given per byte stored", Unit::Times, given as f64 / stored as f64),
        ("stored", Unit::Mebibytes, stored as f64 / MIB as f64),
        ("ingest per CPU second", Unit::PerCpuSecond, given_mib / cpu.max(0.01)),
    ];
    for (what, unit, value) in lines {
        let what = format!("{}, {VERSIONS} versions, {given_mib:.0} MiB: {what}", thing.word());
        bench.report.add(SUITE, &what, who, unit, vec![Figure::value(value)]);
    }
}

/// Ends the servers of `field`, keeps nothing running, and counts what `data` holds without parity.
fn subject_ended(mut field: Vec<crate::suite::Entrant>, data: &Path, layout: Layout) -> Result<u64> {
    for entrant in &mut field {
        entrant.subject.end();
    }
    let disks = on_disks(data)?;
    Ok(match layout {
        Layout::One => disks,
        Layout::Six => disks * 4 / 6,
    })
}

/// Bytes on all disks below `data`, parity included, the index not.
pub(super) fn on_disks(data: &Path) -> Result<u64> {
    let mut disks = 0;
    for entry in std::fs::read_dir(data)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("disk") {
            disks += in_use(&entry.path())?;
        }
    }
    Ok(disks)
}

/// Bytes below `folder` in pages that are not all zero.
fn in_use(folder: &Path) -> Result<u64> {
    let mut used = 0;
    for path in tree::files(folder)? {
        let mut file = std::fs::File::open(path)?;
        let mut buffer = vec![0; MIB];
        loop {
            let mut filled = 0;
            while filled < buffer.len() {
                match file.read(&mut buffer[filled..])? {
                    0 => break,
                    read => filled += read,
                }
            }
            let pages = buffer[..filled].chunks(PAGE).filter(|page| page.iter().any(|byte| *byte != 0));
            used += pages.map(|page| page.len() as u64).sum::<u64>();
            if filled < buffer.len() {
                break;
            }
        }
    }
    Ok(used)
}

/// restic, in the folder of the peers or in PATH.
fn restic(options: &Options) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = vec![options.peers_dir.clone()];
    folders.extend(std::env::split_paths(&path));
    folders.into_iter().map(|folder| folder.join("restic")).find(|program| program.is_file())
}

fn command(restic: &Path, repository: &Path) -> Command {
    let mut command = Command::new(restic);
    command.arg("-q").arg("-r").arg(repository).arg("--no-cache");
    command.env("RESTIC_PASSWORD", "bench");
    command
}
