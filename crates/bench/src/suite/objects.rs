//! PUT and GET of objects through any HTTP door: what the suites for S3 and WebDAV share.
//!
//! A GET reads objects that were just written, so what it shows is the warm path; the cold one belongs to the machine's disk.

use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::content::{Kind, Source};
use crate::load::{Budget, Outcome, Worker, drive};
use crate::options::Options;
use crate::report::{Figure, Role, Unit};
use crate::subject::{Door, Recipe, Subject};
use crate::suite::{Bench, Entrant};

/// Bytes that one measurement may write, if every client wrote at least one object.
const WRITTEN_BYTES_MAX: u64 = 768 << 20;
/// Bytes of objects that a measurement of GET reads again and again.
const READ_SET_BYTES: u64 = 64 << 20;
/// From here on MB/s are shown instead of operations per second.
const LARGE_BYTES: u64 = 1 << 20;

/// One connection to a store of objects.
pub(crate) trait ObjectClient: Sized {
    /// Through which door.
    const DOOR: Door;

    /// A client of `subject`.
    fn open(subject: &Subject) -> Result<Self>;

    /// Makes the place that [`ObjectClient::prefix`] names.
    async fn prepare(&mut self) -> Result<()>;

    /// What every path begins with.
    fn prefix(&self) -> String;

    /// Writes an object.
    async fn put(&mut self, path: &str, source: &mut Source, bytes: u64) -> Result<()>;

    /// Reads an object of `bytes` and drops what it holds, or appends that to `keep`.
    async fn get(&mut self, path: &str, bytes: u64, keep: Option<&mut Vec<u8>>) -> Result<()>;
}

/// One line: what each client does again and again.
#[derive(Clone, Copy)]
pub(crate) struct Line {
    put: bool,
    bytes: u64,
    clients: usize,
    kind: Kind,
}

impl Line {
    fn unit(self) -> Unit {
        if self.bytes >= LARGE_BYTES { Unit::MegabytesPerSecond } else { Unit::PerSecond }
    }

    fn name(self) -> String {
        let verb = if self.put { "PUT" } else { "GET" };
        format!("{verb} {} c{} {}", size(self.bytes), self.clients, self.kind.word())
    }
}

/// `bytes` in words.
fn size(bytes: u64) -> String {
    if bytes >= 1 << 20 { format!("{} MiB", bytes >> 20) } else { format!("{} KiB", bytes >> 10) }
}

/// All lines for these sizes, clients and kinds.
pub(crate) fn lines(sizes: &[u64], clients: &[usize], kinds: &[Kind]) -> Vec<Line> {
    let mut lines = Vec::new();
    for &bytes in sizes {
        for &clients in clients {
            for &kind in kinds {
                for put in [true, false] {
                    lines.push(Line { put, bytes, clients, kind });
                }
            }
        }
    }
    lines
}

/// The line that writes the same object again and again.
pub(crate) fn same_again() -> Line {
    Line { put: true, bytes: 1 << 20, clients: 8, kind: Kind::Same }
}

/// Measures `lines` on all that have the door of `C`; the field is handed back for further lines.
///
/// # Errors
/// That a subject could not be started, lost or changed a byte, or refused a request.
pub(crate) async fn run<C: ObjectClient>(
    bench: &mut Bench,
    suite: &'static str,
    lines: &[Line],
) -> Result<Vec<Entrant>> {
    let mut recipes = Recipe::wanted(&bench.options, C::DOOR != Door::Nfs);
    if C::DOOR == Door::Nfs {
        recipes.retain(|recipe| matches!(recipe, Recipe::Strata(_) | Recipe::Rclone));
    }
    let mut field = bench.field(&recipes, &[C::DOOR]).await?;
    for entrant in &mut field {
        let watchdog = entrant.watch();
        if let Err(error) = prepare::<C>(bench, entrant).await {
            entrant.excuse(error.context(format!("{} is not ready", entrant.subject.name)), &watchdog)?;
            entrant.leave_out();
        }
    }
    for &line in lines.iter().filter(|line| bench.options.wants_line(&line.name())).collect::<Vec<_>>() {
        let mut figures: Vec<Vec<Figure>> = field.iter().map(|_| Vec::new()).collect();
        for _ in 0..bench.options.repetitions() {
            for (entrant, figures) in field.iter_mut().zip(&mut figures) {
                if entrant.is_out {
                    continue;
                }
                let watchdog = entrant.watch();
                match measure::<C>(bench, entrant, line).await {
                    Ok(outcome) => figures.push(Figure::of(&outcome, line.unit(), line.bytes)),
                    Err(error) => {
                        let error = error.context(format!("{} of {}", line.name(), entrant.subject.name));
                        entrant.excuse(error, &watchdog)?;
                        if entrant.revive(bench).await {
                            let watchdog = entrant.watch();
                            if let Err(error) = prepare::<C>(bench, entrant).await {
                                entrant.excuse(error, &watchdog)?;
                                entrant.leave_out();
                            }
                        }
                    }
                }
            }
        }
        for (entrant, figures) in field.iter().zip(figures) {
            bench.report.add(suite, &line.name(), entrant.subject.who(), line.unit(), figures);
        }
    }
    bench.add_peaks(suite, &field);
    field.retain(|entrant| !entrant.is_out);
    Ok(field)
}

/// Makes the place for objects and shows that the subject keeps what it is given.
async fn prepare<C: ObjectClient>(bench: &Bench, entrant: &Entrant) -> Result<()> {
    const KEPT_BYTES: u64 = 3_000_001;
    let mut client = C::open(&entrant.subject)?;
    client.prepare().await?;
    if entrant.subject.role == Role::Reference {
        return Ok(());
    }
    let source = || Source::new(Kind::Text, &bench.corpus, u64::from(u16::MAX), 0);
    let path = format!("{}kept", client.prefix());
    client.put(&path, &mut source(), KEPT_BYTES).await?;
    let mut back = Vec::new();
    client.get(&path, KEPT_BYTES, Some(&mut back)).await?;
    let given = source().object(KEPT_BYTES);
    ensure!(back == given, "{} gave other bytes back than it was given", entrant.subject.name);
    Ok(())
}

struct Putter<C> {
    client: C,
    source: Source,
    bytes: u64,
    prefix: String,
    done: u64,
}

impl<C> Putter<C> {
    /// The path of its last object; the reference reads the length from it.
    fn path(&self) -> String {
        format!("{}-{}-{}", self.prefix, self.done, self.bytes)
    }
}

impl<C: ObjectClient> Worker for Putter<C> {
    async fn operate(&mut self) -> Result<()> {
        self.done += 1;
        let path = self.path();
        self.client.put(&path, &mut self.source, self.bytes).await
    }
}

struct Getter<C> {
    client: C,
    paths: Rc<Vec<String>>,
    bytes: u64,
    at: usize,
}

impl<C: ObjectClient> Worker for Getter<C> {
    async fn operate(&mut self) -> Result<()> {
        self.at = (self.at + 1) % self.paths.len();
        self.client.get(&self.paths[self.at], self.bytes, None).await
    }
}

async fn measure<C: ObjectClient>(bench: &mut Bench, entrant: &mut Entrant, line: Line) -> Result<Outcome> {
    let epoch = bench.next_epoch();
    let pids = entrant.subject.pids();
    let budget = Budget {
        time: pace(&bench.options),
        operations: if line.put { WRITTEN_BYTES_MAX / line.bytes } else { u64::MAX },
    };
    let warm_up = Budget { time: budget.time / 4, operations: budget.operations / 8 };
    let mut putters = Vec::new();
    for (number, source) in bench.sources(line.kind, epoch, line.clients).into_iter().enumerate() {
        let client = C::open(&entrant.subject)?;
        let prefix = format!("{}{epoch}-{number}", client.prefix());
        putters.push(Putter { client, source, bytes: line.bytes, prefix, done: 0 });
    }
    let outcome = if line.put {
        // Large objects need no warming, and it would cost a gigabyte of disk.
        if line.bytes < 16 << 20 {
            drive(&mut putters, warm_up, &[]).await?;
        }
        drive(&mut putters, budget, &pids).await?
    } else {
        let objects = (READ_SET_BYTES / line.bytes).clamp(1, 256);
        let mut paths = Vec::new();
        let writer = putters.first_mut().context("a line has clients")?;
        for _ in 0..objects {
            writer.operate().await?;
            paths.push(writer.path());
        }
        let paths = Rc::new(paths);
        let mut getters = Vec::new();
        for number in 0..line.clients {
            getters.push(Getter {
                client: C::open(&entrant.subject)?,
                paths: paths.clone(),
                bytes: line.bytes,
                at: number * 7,
            });
        }
        drive(&mut getters, warm_up, &[]).await?;
        drive(&mut getters, budget, &pids).await?
    };
    let written: u64 = putters.iter().map(|putter| putter.done * line.bytes).sum();
    if entrant.wrote(written, bench).await? {
        prepare::<C>(bench, entrant).await?;
    }
    Ok(outcome)
}

/// How long one measurement of a rate takes.
pub(crate) fn pace(options: &Options) -> Duration {
    Duration::from_millis(if options.quick { 400 } else { 1000 })
}
