//! Many small objects: what a store costs that holds millions of them, in time, memory and checkpoints.
//!
//! The store is filled through S3, then read, ended, killed and robbed of its index in turn. After each of these it has to give
//! back objects from all over it byte by byte. Every figure is of this one store, so the lines belong together.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::clock::Moment;
use crate::content::Random;
use crate::load::{Budget, Outcome, Worker, drive};
use crate::process;
use crate::report::{Figure, Unit};
use crate::s3::Client;
use crate::subject::{Door, Recipe, Subject, fsck, status};
use crate::suite::Bench;

const SUITE: &str = "scale";
const BUCKET: &str = "scale";
/// Bytes of each object.
const OBJECT_BYTES: usize = 100;
/// Clients that fill the store.
const CLIENTS: usize = 32;
/// After so long clients begin anew, as their signatures hold for a quarter of an hour, and it is said how far they are.
const FILL_AT_ONCE: Duration = Duration::from_secs(15);
/// Folders that the keys lie in; they are written in an order that no listing has.
const FOLDERS: u64 = 1000;
/// Pages and heads that are asked for.
const PAGES: u64 = 21;
const HEADS: u64 = 2000;
/// Objects that are read back after every start.
const PROBES: u64 = 50;
/// Objects written between two starts, so that there is something behind the index.
const CHANGES: u64 = 2000;
/// How long a server may take to come up without its index, or to go, for each million objects.
const PATIENCE_PER_MILLION: Duration = Duration::from_secs(240);
/// What has to be met, on two cores: seconds of a restart, ...
const RESTART_SECONDS: f64 = 2.0;
/// ... memory in MiB, the rebuild of the index included, ...
const RSS_MIB: f64 = 512.0;
/// ... milliseconds of a page of 1,000 keys, ...
const PAGE_MS: f64 = 8.0;
/// ... what checkpoints add to all that is written, in per cent, ...
const CHECKPOINT_PER_CENT: f64 = 10.0;
/// ... and seconds of a check, for each million objects.
const FSCK_SECONDS: f64 = 60.0;

/// The key of object `number`.
fn key(number: u64) -> String {
    format!("folder{:03}/object{number:08}", number % FOLDERS)
}

/// What object `number` holds: no other one's bytes, and none that compress.
fn content(number: u64) -> [u8; OBJECT_BYTES] {
    let mut random = Random::new(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5ca1e);
    let mut bytes = [0; OBJECT_BYTES];
    for eight in bytes.chunks_mut(8) {
        let word = random.next().to_le_bytes();
        eight.copy_from_slice(&word[..eight.len()]);
    }
    bytes
}

/// Writes the next object until all are taken.
struct Filler {
    client: Client,
    next: Rc<Cell<u64>>,
}

impl Worker for Filler {
    async fn operate(&mut self) -> Result<()> {
        let number = self.next.get();
        self.next.set(number + 1);
        self.client.put_bytes(&format!("/{BUCKET}/{}", key(number)), &content(number)).await
    }
}

/// Asks for something again and again.
struct Asker<F>(F);

impl<F: AsyncFnMut() -> Result<()>> Worker for Asker<F> {
    async fn operate(&mut self) -> Result<()> {
        (self.0)().await
    }
}

/// The store under measurement.
struct Scale<'a> {
    bench: &'a mut Bench,
    subject: Subject,
    /// Objects it holds.
    objects: u64,
    /// When the suite began.
    begun: Moment,
}

/// Runs the suite; only for StrataFS.
///
/// # Errors
/// That the server could not be started, refused a request, or lost an object.
pub(crate) async fn run(bench: &mut Bench) -> Result<()> {
    let mut sizes = bench.options.objects.clone();
    if sizes.is_empty() {
        sizes = vec![if bench.options.quick { 20_000 } else { 1_000_000 }];
    }
    sizes.sort_unstable();
    let largest = sizes.last().copied().unwrap_or_default();
    let recipe = Recipe::Strata(bench.options.durability);
    let mut subject = recipe.start(&bench.options, &bench.below, &[Door::S3]).await?;
    subject.patience = PATIENCE_PER_MILLION * u32::try_from(largest.div_ceil(1_000_000))?;
    let mut scale = Scale { bench, subject, objects: 0, begun: Moment::now() };
    let measured = scale.measure_all(&sizes).await;
    measured.with_context(|| {
        format!("with {} objects; the server last said:\n{}", scale.objects, scale.subject.last_words())
    })
}

impl Scale<'_> {
    /// Measures the store at each of these sizes, while it grows.
    async fn measure_all(&mut self, sizes: &[u64]) -> Result<()> {
        self.client()?.make_bucket(BUCKET).await?;
        for (number, objects) in sizes.iter().enumerate() {
            if number > 0 {
                self.subject.start_again(&self.bench.options, &[Door::S3]).await?;
            }
            self.measure(*objects).await?;
            self.bench.keep_figures()?;
        }
        Ok(())
    }

    /// Says on the terminal what is done now.
    fn say(&self, what: &str) {
        let seconds = self.begun.elapsed().as_secs();
        eprintln!("{:3}:{:02}  {} objects: {what}", seconds / 60, seconds % 60, self.objects);
    }

    async fn measure(&mut self, objects: u64) -> Result<()> {
        self.fill(objects).await?;
        self.measure_as_it_is().await?;
        let engines = self.bench.options.index_engine.clone();
        for engine in engines.iter().skip(1) {
            self.exchange(engine).await?;
            self.measure_as_it_is().await?;
        }
        if engines.len() > 1 {
            // As it is filled.
            self.exchange(&engines[0]).await?;
            self.subject.end_within(self.subject.patience)?;
        }
        Ok(())
    }

    /// Has the index in another engine: the server builds it anew.
    async fn exchange(&mut self, engine: &str) -> Result<()> {
        self.subject.index_engine = Some(engine.to_owned());
        self.start(&format!("start with the index to be built for {engine}"), None).await
    }

    async fn measure_as_it_is(&mut self) -> Result<()> {
        self.read("").await?;
        self.check("beside the server")?;
        self.end_and_start().await?;
        self.kill_and_start().await?;
        self.lose_index_and_start().await?;
        self.subject.end_within(self.subject.patience)?;
        self.check("at rest")
    }

    fn client(&self) -> Result<Client> {
        self.subject.s3_client()
    }

    /// A line's name, which also says of which size and engine it is.
    fn named(&self, what: &str) -> String {
        let engine = self.subject.index_engine.as_ref().map(|engine| format!(", {engine}")).unwrap_or_default();
        format!("{what}, {} objects{engine}", self.objects)
    }

    fn add(&mut self, what: &str, unit: Unit, figure: Figure) {
        let what = self.named(what);
        self.bench.report.add(SUITE, &what, self.subject.who(), unit, vec![figure]);
    }

    fn add_promised(&mut self, what: &str, unit: Unit, figure: Figure, below: f64) {
        let what = self.named(what);
        self.bench.report.add_promised(SUITE, &what, self.subject.who(), unit, vec![figure], below);
    }

    /// Peak memory since the start, or since the last of these.
    fn add_peak(&mut self, what: &str) {
        let peak = Figure::value(self.subject.peak_rss_mib());
        self.add_promised(&format!("peak memory {what}"), Unit::Mebibytes, peak, RSS_MIB);
        process::forget_peak_rss(&self.subject.pids());
    }

    /// Writes the objects that are missing up to `objects`.
    async fn put_up_to(&mut self, objects: u64) -> Result<Outcome> {
        let next = Rc::new(Cell::new(self.objects));
        let mut all = Outcome::default();
        loop {
            let fillers = (0..CLIENTS).map(|_| Ok(Filler { client: self.client()?, next: next.clone() }));
            let mut fillers: Vec<Filler> = fillers.collect::<Result<_>>()?;
            let left = (objects - next.get().min(objects)).saturating_sub(CLIENTS as u64);
            let budget = Budget { time: FILL_AT_ONCE, operations: left };
            let outcome = drive(&mut fillers, budget, &self.subject.pids()).await?;
            (all.operations, all.seconds) = (all.operations + outcome.operations, all.seconds + outcome.seconds);
            all.server_cpu += outcome.server_cpu;
            all.generator_cpu += outcome.generator_cpu;
            if next.get() >= objects {
                self.objects = next.get();
                return Ok(all);
            }
            self.objects = next.get();
            self.say(&format!(
                "{:.1} per cent of {objects}, {:.0} a second, {:.0} MiB at most",
                next.get() as f64 / objects as f64 * 100.0,
                outcome.rate(),
                self.subject.peak_rss_mib(),
            ));
        }
    }

    async fn fill(&mut self, objects: u64) -> Result<()> {
        let outcome = self.put_up_to(objects).await?;
        self.add(
            &format!("PUT {OBJECT_BYTES} B c{CLIENTS}"),
            Unit::PerSecond,
            Figure::of(&outcome, Unit::PerSecond, 0),
        );
        self.add_peak("of that");
        let says = status(&self.bench.options, &self.subject.data)?;
        let number = |value: &Value| value.as_u64().map(|number| number as f64).context("a number of the status");
        let (log, taken) = (number(&says["log_written"])?, number(&says["checkpoints"]["taken"])?);
        let written = number(&says["checkpoints"]["written"])?;
        self.add("log per object written", Unit::Bytes, Figure::value(log / self.objects as f64));
        self.add("checkpoints taken", Unit::Count, Figure::value(taken));
        let share = Figure::value(written / (log - written).max(1.0) * 100.0);
        self.add_promised("bytes of checkpoints to other bytes of the log", Unit::PerCent, share, CHECKPOINT_PER_CENT);
        Ok(())
    }

    /// Pages and heads, the first ones too, which find nothing in any cache after a start.
    async fn read(&mut self, when: &str) -> Result<()> {
        self.say(&format!("pages and HEAD{when}"));
        let folders = FOLDERS.min(self.objects);
        let whole = self.objects.min(1000);
        let middle = format!("folder{:03}/", folders / 2);
        let behind_middle =
            (0..self.objects).filter(|number| number % FOLDERS >= folders / 2).take(1000).count() as u64;
        for (what, after, keys) in [("first", "", whole), ("middle", &middle[..], behind_middle)] {
            let mut client = self.client()?;
            let mut page = async || {
                let found = client.list_behind(BUCKET, after).await?;
                ensure!(found == keys, "the {what} page has {found} keys, not {keys}");
                Ok(())
            };
            let start = Moment::now();
            page().await?;
            let first = start.elapsed().as_secs_f64() * 1e3;
            let budget = Budget { time: Duration::from_secs(120), operations: PAGES };
            let outcome = drive(&mut [Asker(page)], budget, &self.subject.pids()).await?;
            let name = format!("{what} page of 1,000 keys{when}");
            self.add(&format!("{name}, the first time"), Unit::Milliseconds, Figure::value(first));
            self.add_promised(&name, Unit::Milliseconds, Figure::of(&outcome, Unit::Milliseconds, 0), PAGE_MS);
        }
        let (mut client, mut random, objects) = (self.client()?, Random::new(self.objects), self.objects);
        let head =
            async || client.head_of(&format!("/{BUCKET}/{}", key(random.below(objects))), OBJECT_BYTES as u64).await;
        let budget = Budget { time: Duration::from_secs(120), operations: HEADS };
        let outcome = drive(&mut [Asker(head)], budget, &self.subject.pids()).await?;
        self.add(&format!("HEAD{when}"), Unit::Milliseconds, Figure::of(&outcome, Unit::Milliseconds, 0));
        self.add_peak(&format!("of pages and HEAD{when}"));
        Ok(())
    }

    /// Objects from all over the store, the newest among them, are as they were written.
    async fn probe(&mut self) -> Result<()> {
        let mut client = self.client()?;
        for probe in 0..PROBES {
            let number = (self.objects - 1) * (probe + 1) / PROBES;
            let mut found = Vec::new();
            client.get(&format!("/{BUCKET}/{}", key(number)), OBJECT_BYTES as u64, Some(&mut found)).await?;
            ensure!(found == content(number), "object {number} is not as it was written");
        }
        Ok(())
    }

    /// Starts the server again and measures to the first GET.
    async fn start(&mut self, what: &str, below: Option<f64>) -> Result<()> {
        self.say(what);
        let start = Moment::now();
        self.subject.start_again(&self.bench.options, &[Door::S3]).await?;
        let newest = format!("/{BUCKET}/{}", key(self.objects - 1));
        self.client()?.get(&newest, OBJECT_BYTES as u64, None).await?;
        let seconds = Figure::value(start.elapsed().as_secs_f64());
        match below {
            Some(below) => self.add_promised(what, Unit::Seconds, seconds, below),
            None => self.add(what, Unit::Seconds, seconds),
        }
        self.add_peak(&format!("of {what}"));
        self.probe().await
    }

    async fn end_and_start(&mut self) -> Result<()> {
        self.put_up_to(self.objects + CHANGES).await?;
        let start = Moment::now();
        self.subject.end_within(self.subject.patience)?;
        self.add("SIGTERM to the end", Unit::Seconds, Figure::value(start.elapsed().as_secs_f64()));
        self.start("start after SIGTERM to the first GET", Some(RESTART_SECONDS)).await?;
        self.read(" after a start").await
    }

    async fn kill_and_start(&mut self) -> Result<()> {
        for number in 1..=self.bench.options.repetitions() {
            self.put_up_to(self.objects + CHANGES).await?;
            self.subject.kill();
            self.start(&format!("start {number} after SIGKILL to the first GET"), Some(RESTART_SECONDS)).await?;
        }
        Ok(())
    }

    async fn lose_index_and_start(&mut self) -> Result<()> {
        self.put_up_to(self.objects + CHANGES).await?;
        self.subject.kill();
        std::fs::remove_dir_all(self.subject.data.join("index")).context("the index cannot be removed")?;
        self.start("start without the index to the first GET", None).await?;
        self.read(" after a rebuild").await
    }

    fn check(&mut self, how: &str) -> Result<()> {
        let what = format!("fsck {how}");
        if !self.bench.options.wants_line(&what) {
            return Ok(());
        }
        self.say(&what);
        let start = Moment::now();
        fsck(&self.bench.options, &self.subject.data)?;
        let seconds = Figure::value(start.elapsed().as_secs_f64());
        let below = FSCK_SECONDS * (self.objects as f64 / 1e6).max(1.0);
        self.add_promised(&what, Unit::Seconds, seconds, below);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_objects_share_a_key_or_their_bytes() {
        let mut keys: Vec<_> = (0..5000).map(|number| (key(number), content(number))).collect();
        keys.sort();
        keys.dedup_by(|one, other| one.0 == other.0 || one.1 == other.1);
        assert_eq!(keys.len(), 5000);
    }
}
