//! How long changes hold the lock under which all of them are decided, while the largest removals go on beside writers.
//!
//! Whoever writes waits for that lock, so nothing may be done under it whose time depends on how large something is. An object of
//! very many extents is removed and a bucket of very many keys is emptied, while eight clients write. The server's own metric
//! tells how long the lock was held (`strata_writer_lock_seconds`).

use std::cell::RefCell;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::clock::Moment;
use crate::content::{Kind, Source};
use crate::http::{Body, Connection};
use crate::load::{Budget, Worker, drive};
use crate::report::{Figure, Unit};
use crate::s3::Client;
use crate::subject::{Door, Recipe, Subject, program};
use crate::suite::Bench;

const SUITE: &str = "lock";
const BUCKET: &str = "lock";
const EMPTIED: &str = "emptied";
/// The object whose beginning is copied again and again: about 160 chunks.
const SOURCE_BYTES: u64 = 10 << 20;
const EXTENTS_A_PART: u64 = 160;
/// Clients that prepare what is removed.
const CLIENTS: usize = 16;
const WRITERS: usize = 8;
const WRITTEN_BYTES: u64 = 4096;
/// Longest that the removals may take.
const REMOVAL_MAX: Duration = Duration::from_secs(540);
/// What has to be met: milliseconds that all holds but one in a thousand take at most, ...
const MOST_MS: f64 = 2.0;
/// ... and the longest.
const LONGEST_MS: f64 = 20.0;

/// A client that puts small objects, each under a name of its own.
struct Putter {
    client: Client,
    source: Source,
    bucket: &'static str,
    bytes: u64,
    next: Rc<RefCell<u64>>,
}

impl Worker for Putter {
    async fn operate(&mut self) -> Result<()> {
        let number = self.next.replace_with(|next| *next + 1);
        let path = format!("/{}/folder{}/object{number}", self.bucket, number % 100);
        self.client.put(&path, &mut self.source, self.bytes).await
    }
}

/// The parts begun so far, and of those that are there number and ETag.
type Parts = (u64, Vec<(u64, String)>);

/// Copies the next part of the large object.
struct Copier {
    client: Client,
    upload: String,
    parts: Rc<RefCell<Parts>>,
}

impl Worker for Copier {
    async fn operate(&mut self) -> Result<()> {
        let number = {
            let mut parts = self.parts.borrow_mut();
            parts.0 += 1;
            parts.0
        };
        let (path, from) = (format!("/{BUCKET}/large"), format!("/{BUCKET}/source"));
        let etag = self.client.copy_part(&path, &self.upload, number, (&from, SOURCE_BYTES)).await?;
        self.parts.borrow_mut().1.push((number, etag));
        Ok(())
    }
}

/// Holds of the lock so far: how many took at most so many seconds, and the longest in milliseconds since the start.
struct Holds {
    up_to: Vec<(f64, f64)>,
    longest_ms: f64,
}

impl Holds {
    async fn read(subject: &Subject) -> Result<Self> {
        let (address, token) = subject.admin()?;
        let head = format!(
            "GET /metrics HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\ncontent-length: 0\r\n\r\n"
        );
        let mut text = Vec::new();
        let answer = Connection::new(&address).request(head.as_bytes(), Body::None, Some(&mut text)).await?;
        ensure!(answer.status == 200, "the metrics were refused with status {}", answer.status);
        let text = String::from_utf8(text).context("the metrics are no text")?;
        let number = |line: &str| line.rsplit(' ').next().and_then(|number| number.parse::<f64>().ok());
        let ranges = text.lines().filter_map(|line| {
            let (bound, _) = line.strip_prefix("strata_writer_lock_seconds_bucket{le=\"")?.split_once('"')?;
            Some((bound.replace("+Inf", "inf").parse().ok()?, number(line)?))
        });
        let longest = text.lines().find(|line| line.starts_with("strata_writer_lock_longest_microseconds "));
        let longest_ms = longest.and_then(number).context("the metrics have no longest hold")? / 1e3;
        Ok(Self { up_to: ranges.collect(), longest_ms })
    }

    /// How many there were since `before`, and the milliseconds that all but one in a thousand of them took at most, as far as the
    /// ranges tell.
    fn since(&self, before: &Self) -> Result<(f64, f64)> {
        let more = |at: usize| Some(self.up_to.get(at)?.1 - before.up_to.get(at)?.1);
        let all = self.up_to.len().checked_sub(1).and_then(more).context("the metrics have no ranges of holds")?;
        let bound = (0..self.up_to.len()).find(|at| more(*at).is_some_and(|count| count >= all * 0.999));
        let bound = bound.and_then(|at| self.up_to.get(at)).context("the ranges of holds do not add up")?;
        Ok((all, bound.0 * 1e3))
    }
}

/// Runs the suite; only for StrataFS.
///
/// # Errors
/// That the server could not be started or refused a request, or that something took too long.
pub(crate) async fn run(bench: &mut Bench) -> Result<()> {
    let keys = bench.options.objects.first().copied().unwrap_or(if bench.options.quick { 5000 } else { 1_000_000 });
    let parts = if bench.options.quick { 200 } else { 10_000 };
    let recipe = Recipe::Strata(bench.options.durability);
    let subject = recipe.start(&bench.options, &bench.below, &[Door::S3]).await?;
    let measured = measure(bench, &subject, keys, parts).await;
    measured.with_context(|| format!("the server last said:\n{}", subject.last_words()))
}

async fn measure(bench: &mut Bench, subject: &Subject, keys: u64, parts: u64) -> Result<()> {
    for bucket in [BUCKET, EMPTIED] {
        subject.s3_client()?.make_bucket(bucket).await?;
    }
    prepare_large(bench, subject, parts).await?;
    let epoch = bench.next_epoch();
    let put = |bench: &Bench, clients: usize, bucket: &'static str, bytes: u64| -> Result<Vec<Putter>> {
        let next = Rc::new(RefCell::new(0));
        let sources = bench.sources(Kind::Random, epoch, clients).into_iter();
        sources
            .map(|source| Ok(Putter { client: subject.s3_client()?, source, bucket, bytes, next: Rc::clone(&next) }))
            .collect()
    };
    let mut fillers = put(bench, CLIENTS, EMPTIED, 100)?;
    drive(&mut fillers, Budget { time: Duration::from_secs(800), operations: keys }, &subject.pids()).await?;
    drop(fillers);

    let before = Holds::read(subject).await?;
    let mut emptying = Emptying::begin(bench, subject)?;
    let removed = async {
        let start = Moment::now();
        subject.s3_client()?.delete(&format!("/{BUCKET}/large")).await?;
        anyhow::Ok(start.elapsed())
    };
    let mut writers = put(bench, WRITERS, BUCKET, WRITTEN_BYTES)?;
    let written = async {
        let mut operations = 0;
        let start = Moment::now();
        while !emptying.is_over()? {
            ensure!(start.elapsed() < REMOVAL_MAX, "the bucket is not emptied after {} s", REMOVAL_MAX.as_secs());
            let second = Budget { time: Duration::from_secs(1), operations: u64::MAX };
            operations += drive(&mut writers, second, &subject.pids()).await?.operations;
        }
        anyhow::Ok((operations, start.elapsed().as_secs_f64()))
    };
    let (removed, written) = tokio::join!(removed, written);
    let (removed, (operations, seconds)) = (removed?, written?);
    let after = Holds::read(subject).await?;
    let (holds, most_ms) = after.since(&before)?;
    let extents = parts * EXTENTS_A_PART;
    let mut add = |what: &str, unit: Unit, value: f64, below: Option<f64>| {
        let what = format!("{what}, about {extents} extents, {keys} keys");
        let figure = vec![Figure::value(value)];
        match below {
            Some(below) => bench.report.add_promised(SUITE, &what, subject.who(), unit, figure, below),
            None => bench.report.add(SUITE, &what, subject.who(), unit, figure),
        }
    };
    add("holds of the lock", Unit::Count, holds, None);
    add("999 of 1,000 holds take at most", Unit::Milliseconds, most_ms, Some(MOST_MS + 0.5));
    add("the longest hold since the start", Unit::Milliseconds, after.longest_ms, Some(LONGEST_MS));
    add("DELETE of the object", Unit::Milliseconds, removed.as_secs_f64() * 1e3, None);
    add("emptying the bucket", Unit::Seconds, seconds, None);
    add(&format!("PUT {WRITTEN_BYTES} B c{WRITERS} meanwhile"), Unit::PerSecond, operations as f64 / seconds, None);
    add("peak memory", Unit::Mebibytes, subject.peak_rss_mib(), None);
    Ok(())
}

/// An object that is the beginning of another so many times.
async fn prepare_large(bench: &mut Bench, subject: &Subject, parts: u64) -> Result<()> {
    let epoch = bench.next_epoch();
    let mut source = bench.sources(Kind::Random, epoch, 1).pop().context("a source")?;
    subject.s3_client()?.put(&format!("/{BUCKET}/source"), &mut source, SOURCE_BYTES).await?;
    let large = format!("/{BUCKET}/large");
    let upload = subject.s3_client()?.begin_upload(&large).await?;
    let made = Rc::new(RefCell::new((0, Vec::new())));
    let copiers = (0..CLIENTS)
        .map(|_| Ok(Copier { client: subject.s3_client()?, upload: upload.clone(), parts: Rc::clone(&made) }));
    let mut copiers: Vec<Copier> = copiers.collect::<Result<_>>()?;
    let left = parts.saturating_sub(CLIENTS as u64);
    drive(&mut copiers, Budget { time: Duration::from_secs(500), operations: left }, &subject.pids()).await?;
    let mut made = std::mem::take(&mut made.borrow_mut().1);
    made.sort_unstable();
    subject.s3_client()?.complete_upload(&large, &upload, &made).await
}

/// The command that empties the bucket, beside the server.
struct Emptying(Child);

impl Emptying {
    fn begin(bench: &Bench, subject: &Subject) -> Result<Self> {
        let mut command = Command::new(program(&bench.options)?);
        command.args(["bucket", "remove", EMPTIED, "--yes", "--data"]).arg(&subject.data);
        Ok(Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit()).spawn()?))
    }

    fn is_over(&mut self) -> Result<bool> {
        let ended = self.0.try_wait()?;
        ensure!(ended.is_none_or(|ended| ended.success()), "the bucket could not be emptied");
        Ok(ended.is_some())
    }
}

impl Drop for Emptying {
    fn drop(&mut self) {
        // Over already, in all cases but that of an error.
        let _gone = self.0.kill();
        let _waited = self.0.wait();
    }
}
