//! S3 PUT and GET: sizes by clients by kind of data.
//!
//! A GET reads objects that were just written, so what it shows is the warm path; the cold one belongs to the machine's disk.

use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::content::{Kind, Source};
use crate::load::{Budget, Outcome, Worker, drive};
use crate::options::Options;
use crate::report::{Figure, Role, Unit};
use crate::s3::Client;
use crate::subject::{Door, Recipe};
use crate::suite::{Bench, Entrant};

const SUITE: &str = "s3";
/// The bucket of this suite.
const BUCKET: &str = "bench";
/// Bytes that one measurement may write, if every client wrote at least one object.
const WRITTEN_BYTES_MAX: u64 = 768 << 20;
/// Bytes of objects that a measurement of GET reads again and again.
const READ_SET_BYTES: u64 = 64 << 20;
/// From here on MB/s are shown instead of operations per second.
const LARGE_BYTES: u64 = 1 << 20;

/// One line: what each client does again and again.
#[derive(Clone, Copy)]
struct Line {
    put: bool,
    bytes: u64,
    clients: usize,
    kind: Kind,
}

impl Line {
    fn unit(self) -> Unit {
        if self.bytes >= LARGE_BYTES {
            Unit::MegabytesPerSecond
        } else {
            Unit::PerSecond
        }
    }

    fn name(self) -> String {
        let verb = if self.put { "PUT" } else { "GET" };
        format!("{verb} {} c{} {}", size(self.bytes), self.clients, self.kind.word())
    }
}

/// `bytes` in words.
pub(crate) fn size(bytes: u64) -> String {
    if bytes >= 1 << 20 {
        format!("{} MiB", bytes >> 20)
    } else {
        format!("{} KiB", bytes >> 10)
    }
}

fn lines(options: &Options) -> Vec<Line> {
    let (sizes, clients): (&[u64], &[usize]) = if options.quick {
        (&[4 << 10, 1 << 20, 16 << 20], &[1, 8])
    } else {
        (&[4 << 10, 128 << 10, 1 << 20, 16 << 20, 256 << 20], &[1, 8, 32])
    };
    let mut lines = Vec::new();
    for &bytes in sizes {
        for &clients in clients {
            // 32 clients at 256 MiB would write 8 GiB for one figure, and say what 8 clients say.
            if bytes >= 256 << 20 && clients > 8 {
                continue;
            }
            for kind in [Kind::Random, Kind::Text] {
                for put in [true, false] {
                    lines.push(Line {
                        put,
                        bytes,
                        clients,
                        kind,
                    });
                }
            }
        }
    }
    lines.push(Line {
        put: true,
        bytes: 1 << 20,
        clients: 8,
        kind: Kind::Same,
    });
    lines
}

/// Runs the suite.
///
/// # Errors
/// That a subject could not be started, lost or changed a byte, or refused a request.
pub(crate) async fn run(bench: &mut Bench) -> Result<()> {
    let recipes = Recipe::wanted(&bench.options, true);
    let mut field = bench.field(&recipes, &[Door::S3]).await?;
    for entrant in &field {
        prepare(bench, entrant).await?;
    }
    for line in lines(&bench.options) {
        let mut figures: Vec<Vec<Figure>> = field.iter().map(|_| Vec::new()).collect();
        for _ in 0..bench.options.repetitions() {
            for (entrant, figures) in field.iter_mut().zip(&mut figures) {
                let outcome = measure(bench, entrant, line).await;
                let outcome = outcome.with_context(|| format!("{} of {}", line.name(), entrant.subject.name))?;
                figures.push(Figure::of(&outcome, line.unit(), line.bytes));
            }
        }
        for (entrant, figures) in field.iter().zip(figures) {
            bench
                .report
                .add(SUITE, &line.name(), entrant.subject.who(), line.unit(), figures);
        }
    }
    bench.add_peaks(SUITE, &field);
    Ok(())
}

/// Makes the bucket and shows that the subject keeps what it is given.
async fn prepare(bench: &Bench, entrant: &Entrant) -> Result<()> {
    let endpoint = entrant.subject.s3.as_ref().context("the subject has no S3 door")?;
    let mut client = Client::new(endpoint);
    client.make_bucket(BUCKET).await?;
    if entrant.subject.role == Role::Reference {
        return Ok(());
    }
    let object = Source::new(Kind::Text, &bench.corpus, u64::from(u16::MAX), 0).object(3_000_001);
    let path = format!("/{BUCKET}/kept-{}", object.len());
    client.put_bytes(&path, &object).await?;
    let back = client.get_bytes(&path).await?;
    ensure!(
        back == object,
        "{} gave other bytes back than it was given",
        entrant.subject.name
    );
    client.delete(&path).await
}

struct Putter {
    client: Client,
    source: Source,
    bytes: u64,
    prefix: String,
    done: u64,
}

impl Worker for Putter {
    async fn operate(&mut self) -> Result<()> {
        self.done += 1;
        let path = format!("{}-{}-{}", self.prefix, self.done, self.bytes);
        self.client.put(&path, &mut self.source, self.bytes).await
    }
}

struct Getter {
    client: Client,
    paths: Rc<Vec<String>>,
    bytes: u64,
    at: usize,
}

impl Worker for Getter {
    async fn operate(&mut self) -> Result<()> {
        self.at = (self.at + 1) % self.paths.len();
        self.client.get(&self.paths[self.at], self.bytes).await
    }
}

async fn measure(bench: &mut Bench, entrant: &mut Entrant, line: Line) -> Result<Outcome> {
    let epoch = bench.next_epoch();
    let endpoint = entrant.subject.s3.clone().context("the subject has no S3 door")?;
    let pids = entrant.subject.pids();
    let budget = Budget {
        time: Duration::from_millis(if bench.options.quick { 400 } else { 2000 }),
        operations: if line.put {
            WRITTEN_BYTES_MAX / line.bytes
        } else {
            u64::MAX
        },
    };
    let warm_up = Budget {
        time: budget.time / 4,
        operations: budget.operations / 8,
    };
    let sources = bench.sources(line.kind, epoch, line.clients);
    let putters = sources.into_iter().enumerate().map(|(number, source)| Putter {
        client: Client::new(&endpoint),
        source,
        bytes: line.bytes,
        prefix: format!("/{BUCKET}/{epoch}/{number}"),
        done: 0,
    });
    let mut putters: Vec<Putter> = putters.collect();
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
            paths.push(format!("{}-{}-{}", writer.prefix, writer.done, line.bytes));
        }
        let paths = Rc::new(paths);
        let getters = (0..line.clients).map(|number| Getter {
            client: Client::new(&endpoint),
            paths: paths.clone(),
            bytes: line.bytes,
            at: number * 7,
        });
        let mut getters: Vec<Getter> = getters.collect();
        drive(&mut getters, warm_up, &[]).await?;
        drive(&mut getters, budget, &pids).await?
    };
    let written: u64 = putters.iter().map(|putter| putter.done * line.bytes).sum();
    if entrant.wrote(written, bench).await? {
        prepare(bench, entrant).await?;
    }
    Ok(outcome)
}
