//! Small reads beside large writes: what a reader waits for while others keep the server busy.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::content::{Kind, Source};
use crate::load::{Budget, Outcome, Worker, drive};
use crate::report::{Figure, Unit};
use crate::s3::Client;
use crate::subject::{Door, Recipe, Subject};
use crate::suite::Bench;

const SUITE: &str = "beside";
const BUCKET: &str = "beside";
const READ_BYTES: u64 = 4096;
const WRITTEN_BYTES: u64 = 16 << 20;
/// Objects that are read in turn.
const OBJECTS: u64 = 1000;
const WRITERS: usize = 8;
const TIME: Duration = Duration::from_secs(20);
const TIME_QUICK: Duration = Duration::from_secs(2);
/// What has to be met: milliseconds that 999 of 1,000 reads take at most beside the writers, ...
const MOST_MS: f64 = 20.0;
/// ... and how many times what they take beside nobody.
const TIMES: f64 = 2.0;

/// Reads one object after the other.
struct Getter {
    client: Client,
    next: u64,
}

impl Worker for Getter {
    async fn operate(&mut self) -> Result<()> {
        self.next += 1;
        self.client.get(&format!("/{BUCKET}/small{}", self.next % OBJECTS), READ_BYTES, None).await
    }
}

/// Writes a few large objects again and again.
struct Putter {
    client: Client,
    source: Source,
    own: usize,
    next: u64,
}

impl Worker for Putter {
    async fn operate(&mut self) -> Result<()> {
        self.next += 1;
        let path = format!("/{BUCKET}/large{}-{}", self.own, self.next % 4);
        self.client.put(&path, &mut self.source, WRITTEN_BYTES).await
    }
}

/// Runs the suite; only for StrataFS.
///
/// # Errors
/// That the server could not be started or refused a request.
pub(crate) async fn run(bench: &mut Bench) -> Result<()> {
    let recipe = Recipe::Strata(bench.options.durability);
    let subject = recipe.start(&bench.options, &bench.below, &[Door::S3]).await?;
    let measured = measure(bench, &subject).await;
    measured.with_context(|| format!("the server last said:\n{}", subject.last_words()))
}

async fn measure(bench: &mut Bench, subject: &Subject) -> Result<()> {
    subject.s3_client()?.make_bucket(BUCKET).await?;
    let epoch = bench.next_epoch();
    let mut source = bench.sources(Kind::Random, epoch, 1).pop().context("a source")?;
    let mut filler = subject.s3_client()?;
    for number in 0..OBJECTS {
        filler.put(&format!("/{BUCKET}/small{number}"), &mut source, READ_BYTES).await?;
    }
    let time = if bench.options.quick { TIME_QUICK } else { TIME };
    let budget = Budget { time, operations: u64::MAX };
    let alone = drive(&mut [Getter { client: subject.s3_client()?, next: 0 }], budget, &subject.pids()).await?;
    let epoch = bench.next_epoch();
    let sources = bench.sources(Kind::Random, epoch, WRITERS).into_iter().enumerate();
    let putters = sources.map(|(own, source)| Ok(Putter { client: subject.s3_client()?, source, own, next: 0 }));
    let mut putters: Vec<Putter> = putters.collect::<Result<_>>()?;
    let pids = subject.pids();
    let getter = Getter { client: subject.s3_client()?, next: 0 };
    // On a thread of its own: it must not wait for the bytes that the others make.
    let beside = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(drive(&mut [getter], budget, &[]))
    });
    let written = drive(&mut putters, budget, &pids).await?;
    let beside = beside.await.context("the thread that reads")??;
    let most = |outcome: &Outcome| {
        ensure!(outcome.operations >= 1000, "{} reads are too few to tell", outcome.operations);
        outcome.p999_us.map(|us| us / 1e3).context("the latencies of the reads")
    };
    let (most_alone, most_beside) = (most(&alone)?, most(&beside)?);
    let what = "999 of 1,000 GETs of 4 KiB, c1, take at most";
    let who = subject.who();
    let ms = |ms: f64| vec![Figure::value(ms)];
    bench.report.add(SUITE, "GET 4 KiB c1", who, Unit::PerSecond, vec![Figure::of(&alone, Unit::PerSecond, 0)]);
    bench.report.add(SUITE, what, who, Unit::Milliseconds, ms(most_alone));
    let below = MOST_MS.min(TIMES * most_alone);
    let (what, gets) = (format!("{what} beside 8 PUTs of 16 MiB"), "GET 4 KiB c1 beside 8 PUTs of 16 MiB");
    bench.report.add(SUITE, gets, who, Unit::PerSecond, vec![Figure::of(&beside, Unit::PerSecond, 0)]);
    bench.report.add_promised(SUITE, &what, who, Unit::Milliseconds, ms(most_beside), below);
    let puts = Figure::of(&written, Unit::MegabytesPerSecond, WRITTEN_BYTES);
    bench.report.add(SUITE, "PUT 16 MiB c8 meanwhile", who, Unit::MegabytesPerSecond, vec![puts]);
    bench.report.add(SUITE, "peak memory", who, Unit::Mebibytes, vec![Figure::value(subject.peak_rss_mib())]);
    Ok(())
}
