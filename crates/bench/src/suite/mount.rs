//! The mount: one program with its files, beside the machine's own file system and a FUSE file system in memory.
//!
//! Between writing and reading the kernel is told to forget a file's pages (posix_fadvise), so reads reach the file system;
//! what lies below it may still cache. Ratios to the reference are those to the in-memory file system.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::fs::{Advice, fadvise};

use crate::clock::Moment;
use crate::content::{Kind, Random, Source};
use crate::load::{Outcome, timed};
use crate::options::Options;
use crate::report::{Figure, Unit};
use crate::subject::{Door, Recipe, Subject};
use crate::suite::{Bench, objects};
use crate::tree::{self, git, run as run_program};

const SUITE: &str = "mount";
const BLOCK: usize = 4096;
const MIB: u64 = 1 << 20;

const WRITE: &str = "sequential write, 1 MiB, with fsync";
const READ: &str = "sequential read, 1 MiB";
const RANDOM_READ: &str = "random read, 4 KiB";
const RANDOM_WRITE: &str = "random write, 4 KiB";
const SYNCED_WRITE: &str = "random write, 4 KiB, each with fsync";
/// Lines of one large file. The first makes it.
const LARGE: [&str; 5] = [WRITE, READ, RANDOM_READ, RANDOM_WRITE, SYNCED_WRITE];
/// Lines of many small files; each needs those before it.
const SMALL: [&str; 6] =
    ["create and write 4 KiB", "stat", "open and read 4 KiB", "readdir, entries", "rename", "unlink"];
/// Lines of whole trees; each needs those before it. The names end with the number of files.
const TREES: [&str; 6] = ["tar x", "read all, tar c", "git clone", "git status", "cp -a", "rm -r"];

/// How much is done.
struct Sizes {
    file_bytes: u64,
    small_files: usize,
    tree_files: usize,
}

/// Mean size of a file of the tree, in bytes: 3,202 files are then 98 MB, as seven unpacked crates of some size are.
const TREE_MEAN_BYTES: u64 = 30_600;

/// Runs the suite.
///
/// # Errors
/// That ours or a reference failed an operation; a peer that does is left out from there on.
pub(crate) async fn run(bench: &mut Bench) -> Result<()> {
    let sizes = if bench.options.quick {
        Sizes { file_bytes: 64 * MIB, small_files: 500, tree_files: 300 }
    } else {
        Sizes { file_bytes: 512 * MIB, small_files: 4_000, tree_files: 3_202 }
    };
    let material = tempfile::Builder::new().prefix("material").tempdir_in(&bench.below)?;
    if TREES.iter().any(|name| bench.options.wants_line(name)) {
        prepare(bench, material.path(), &sizes)?;
    }
    let mut recipes = vec![Recipe::OwnFileSystem, Recipe::MemoryFuse];
    recipes.extend(Recipe::wanted(&bench.options, false));
    for recipe in recipes {
        // One at a time: a program's files are what is compared, and half a dozen mounts would share the machine.
        let mut lines = Lines { options: bench.options.clone(), all: Vec::new() };
        let field = bench.field(&[recipe], &[Door::Mount]).await?;
        let Some(entrant) = field.first() else { continue };
        for _ in 0..bench.options.repetitions() {
            let watchdog = entrant.watch_long();
            if let Err(error) = measure(bench, &entrant.subject, material.path(), &sizes, &mut lines) {
                entrant.excuse(error.context(format!("the mount of {}", entrant.subject.name)), &watchdog)?;
                // What it left behind is in the way of another repetition.
                break;
            }
        }
        for (what, unit, figures) in lines.all {
            bench.report.add(SUITE, &what, entrant.subject.who(), unit, figures);
        }
        if recipe != Recipe::OwnFileSystem {
            bench.add_peaks(SUITE, &field);
        }
    }
    Ok(())
}

/// Figures of one subject, by what was measured.
struct Lines {
    options: Options,
    all: Vec<(String, Unit, Vec<Figure>)>,
}

impl Lines {
    /// Whether any of these lines is to be shown.
    fn want(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.options.wants_line(name))
    }

    /// Notes a figure, unless it was only a step to another one.
    fn add(&mut self, what: &str, unit: Unit, bytes: u64, outcome: &Outcome) {
        if !self.options.wants_line(what) {
            return;
        }
        let figure = Figure::of(outcome, unit, bytes);
        match self.all.iter_mut().find(|(known, _, _)| known == what) {
            Some((_, _, figures)) => figures.push(figure),
            None => self.all.push((what.to_owned(), unit, vec![figure])),
        }
    }
}

/// A tree of sources, its tar file and its git repository, on the machine's own file system.
fn prepare(bench: &Bench, at: &Path, sizes: &Sizes) -> Result<()> {
    let sources = at.join("sources");
    tree::make(&sources, sizes.tree_files, TREE_MEAN_BYTES, &bench.corpus)?;
    run_program(Command::new("tar").arg("cf").arg(at.join("sources.tar")).arg("-C").arg(at).arg("sources"))?;
    run_program(git(&sources).args(["init", "-q"]))?;
    run_program(git(&sources).args(["add", "."]))?;
    run_program(git(&sources).args(["commit", "-qm", "sources"]))?;
    run_program(git(at).args(["clone", "-q", "--bare", "sources", "sources.git"]))?;
    Ok(())
}

fn measure(bench: &mut Bench, subject: &Subject, material: &Path, sizes: &Sizes, lines: &mut Lines) -> Result<()> {
    let pids = subject.pids();
    let work = subject.mount.as_ref().context("the subject has no mount")?.join("work");
    std::fs::create_dir(&work)?;
    let epoch = bench.next_epoch();
    let mut source = Source::new(Kind::Random, &bench.corpus, epoch, 0);
    if lines.want(&LARGE) {
        let pace = objects::pace(&bench.options);
        large_file(&work.join("large"), sizes, epoch, pace, &mut source, &pids, lines)?;
    }
    if lines.want(&SMALL) {
        small_files(&work, sizes.small_files, &mut source, &pids, lines)?;
    }
    if lines.want(&TREES) {
        whole_trees(&work, material, sizes, &pids, lines)?;
    }
    Ok(std::fs::remove_dir_all(&work)?)
}

/// Writes and reads one large file, in sequence and here and there.
fn large_file(
    large: &Path,
    sizes: &Sizes,
    epoch: u64,
    pace: Duration,
    source: &mut Source,
    pids: &[u32],
    lines: &mut Lines,
) -> Result<()> {
    let blocks = sizes.file_bytes / MIB;
    let outcome = timed(blocks, pids, || {
        let mut file = File::create(large)?;
        for _ in 0..blocks {
            file.write_all(&source.object(MIB))?;
        }
        Ok(file.sync_all()?)
    })?;
    lines.add(WRITE, Unit::MegabytesPerSecond, MIB, &outcome);

    if lines.want(&[READ]) {
        forget(large)?;
        let outcome = timed(blocks, pids, || {
            let (mut file, mut buffer) = (File::open(large)?, vec![0; MIB as usize]);
            for _ in 0..blocks {
                file.read_exact(&mut buffer)?;
            }
            Ok(())
        })?;
        lines.add(READ, Unit::MegabytesPerSecond, MIB, &outcome);
    }

    forget(large)?;
    let file = OpenOptions::new().read(true).write(true).open(large)?;
    fadvise(&file, 0, None, Advice::Random)?;
    let mut random = Random::new(epoch);
    let mut block = [0; BLOCK];
    let mut place = || random.below(sizes.file_bytes / BLOCK as u64) * BLOCK as u64;
    if lines.want(&[RANDOM_READ]) {
        // Each page once, in an order without order: the number of pages is a power of two and the stride is odd.
        let pages = sizes.file_bytes / BLOCK as u64;
        let mut page = 0_u64;
        let outcome = for_a_while(pace, pages, pids, || {
            page = (page + 0x9e37_79b1) % pages;
            Ok(file.read_exact_at(&mut block, page * BLOCK as u64)?)
        })?;
        lines.add(RANDOM_READ, Unit::PerSecond, 0, &outcome);
    }
    if lines.want(&[RANDOM_WRITE]) {
        let outcome =
            for_a_while(pace, u64::MAX, pids, || Ok(file.write_all_at(&source.object(BLOCK as u64), place())?))?;
        lines.add(RANDOM_WRITE, Unit::PerSecond, 0, &outcome);
        file.sync_all()?;
    }
    if lines.want(&[SYNCED_WRITE]) {
        let outcome = for_a_while(pace, u64::MAX, pids, || {
            file.write_all_at(&source.object(BLOCK as u64), place())?;
            Ok(file.sync_data()?)
        })?;
        lines.add(SYNCED_WRITE, Unit::PerSecond, 0, &outcome);
    }
    drop(file);
    Ok(std::fs::remove_file(large)?)
}

/// Makes, looks at, reads and removes many small files in one folder.
fn small_files(work: &Path, files: usize, source: &mut Source, pids: &[u32], lines: &mut Lines) -> Result<()> {
    let folder = work.join("small");
    std::fs::create_dir(&folder)?;
    let name = |number: usize| folder.join(format!("file{number:06}"));
    let mut all = |what: &str, one: &mut dyn FnMut(usize) -> Result<()>| -> Result<()> {
        let outcome = timed(files as u64, pids, || (0..files).try_for_each(one))?;
        lines.add(what, Unit::PerSecond, 0, &outcome);
        Ok(())
    };
    let [create, stat, read, list, rename, unlink] = SMALL;
    all(create, &mut |number| Ok(std::fs::write(name(number), source.object(BLOCK as u64))?))?;
    all(stat, &mut |number| {
        ensure!(std::fs::metadata(name(number))?.len() == BLOCK as u64, "a file lost its length");
        Ok(())
    })?;
    all(read, &mut |number| {
        ensure!(std::fs::read(name(number))?.len() == BLOCK, "a file lost bytes");
        Ok(())
    })?;
    let outcome = timed(files as u64, pids, || {
        let found = std::fs::read_dir(&folder)?.count();
        ensure!(found == files, "the folder shows {found} files of {files}");
        Ok(())
    })?;
    lines.add(list, Unit::PerSecond, 0, &outcome);
    let mut all = |what: &str, one: &mut dyn FnMut(usize) -> Result<()>| -> Result<()> {
        let outcome = timed(files as u64, pids, || (0..files).try_for_each(one))?;
        lines.add(what, Unit::PerSecond, 0, &outcome);
        Ok(())
    };
    all(rename, &mut |number| Ok(std::fs::rename(name(number), folder.join(format!("moved{number:06}")))?))?;
    all(unlink, &mut |number| Ok(std::fs::remove_file(folder.join(format!("moved{number:06}")))?))
}

/// What people do with source trees.
fn whole_trees(work: &Path, material: &Path, sizes: &Sizes, pids: &[u32], lines: &mut Lines) -> Result<()> {
    let files = sizes.tree_files;
    let mut program = |what: &str, command: &mut Command| -> Result<()> {
        let outcome = timed(1, pids, || run_program(command).map(drop))?;
        lines.add(&format!("{what}, {files} files"), Unit::Seconds, 0, &outcome);
        Ok(())
    };
    let [unpack, read_all, clone, status, copy, remove] = TREES;
    let tar = material.join("sources.tar");
    program(unpack, Command::new("tar").arg("xf").arg(tar).arg("-C").arg(work))?;
    program(read_all, Command::new("sh").args(["-c", "tar cf - sources | cat > /dev/null"]).current_dir(work))?;
    let origin = material.join("sources.git");
    program(clone, git(work).args(["clone", "-q", "--no-hardlinks"]).arg(origin).arg("clone"))?;
    program(status, git(&work.join("clone")).arg("status"))?;
    program(copy, Command::new("cp").args(["-a", "sources", "copy"]).current_dir(work))?;
    run_program(Command::new("diff").args(["-r", "-x", ".git", "copy", "clone"]).current_dir(work))
        .context("the copy and the clone of one tree differ")?;
    program(remove, Command::new("rm").args(["-r", "copy"]).current_dir(work))
}

/// Lets the kernel forget what it has of a file.
fn forget(path: &Path) -> Result<()> {
    Ok(fadvise(&File::open(path)?, 0, None, Advice::DontNeed)?)
}

/// Repeats `one` for `time`, but at most `times_max` times.
fn for_a_while(time: Duration, times_max: u64, pids: &[u32], mut one: impl FnMut() -> Result<()>) -> Result<Outcome> {
    let mut done = 0;
    let end = Moment::now().after(time);
    let mut outcome = timed(0, pids, || {
        while done < times_max && Moment::now() < end {
            one()?;
            done += 1;
        }
        Ok(())
    })?;
    outcome.operations = done;
    Ok(outcome)
}
