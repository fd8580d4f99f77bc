//! Time from a kill to serving: a store is filled, killed in the middle of a write, and started again.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::clock::Moment;
use crate::content::{Kind, Source};
use crate::load::{Budget, Worker, drive};
use crate::report::{Figure, Unit};
use crate::s3::Client;
use crate::subject::{Door, Recipe};
use crate::suite::Bench;

const SUITE: &str = "restart";
const BUCKET: &str = "bench";
/// What a start after a kill stays below, for 10 GiB.
const RESTART_SECONDS: f64 = 2.0;
/// Object sizes that the store is filled with, in turn: small by number, large by bytes.
const OBJECT_BYTES: [u64; 4] = [4 << 10, 64 << 10, 1 << 20, 16 << 20];

/// Writes objects of all sizes, each under a new name.
struct Filler {
    client: Client,
    source: Source,
    name: usize,
    done: u64,
}

impl Filler {
    /// Path and length of object `number`.
    fn object(&self, number: u64) -> (String, u64) {
        let bytes = OBJECT_BYTES[(number % OBJECT_BYTES.len() as u64) as usize];
        (format!("/{BUCKET}/{}-{number}", self.name), bytes)
    }
}

impl Worker for Filler {
    async fn operate(&mut self) -> Result<()> {
        let (path, bytes) = self.object(self.done);
        self.client.put(&path, &mut self.source, bytes).await?;
        self.done += 1;
        Ok(())
    }
}

/// Runs the suite; only for StrataFS, since the peers promise nothing about a kill.
///
/// # Errors
/// That the server could not be started, or lost an object whose PUT it had answered.
pub(crate) async fn run(bench: &mut Bench) -> Result<()> {
    let default_gib = if bench.options.quick { 0.25 } else { 10.0 };
    let gib = bench.options.restart_gib.unwrap_or(default_gib);
    let mut field = bench.field(&[Recipe::Strata(bench.options.durability)], &[Door::S3]).await?;
    let entrant = field.first_mut().context("there is nothing to restart")?;
    let subject = &mut entrant.subject;
    let endpoint = subject.s3.clone().context("the subject has no S3 door")?;
    Client::new(&endpoint).make_bucket(BUCKET).await?;
    let epoch = bench.next_epoch();
    let sources = bench.sources(Kind::Random, epoch, 8).into_iter().enumerate();
    let fillers = sources.map(|(name, source)| Filler { client: Client::new(&endpoint), source, name, done: 0 });
    let mut fillers: Vec<Filler> = fillers.collect();
    let average = OBJECT_BYTES.iter().sum::<u64>() / OBJECT_BYTES.len() as u64;
    let mut operations = ((gib * f64::from(1 << 30)) as u64).div_ceil(average);
    while operations > 0 {
        let budget = Budget { time: Duration::from_secs(300), operations };
        operations = operations.saturating_sub(drive(&mut fillers, budget, &[]).await?.operations);
        // A client's signatures hold for a quarter of an hour.
        for filler in &mut fillers {
            filler.client = Client::new(&endpoint);
        }
    }
    let last = fillers.iter().filter(|filler| filler.done > 0);
    let last: Vec<(String, u64)> = last.map(|filler| filler.object(filler.done - 1)).collect();
    let mut figures = Vec::new();
    for _ in 0..bench.options.repetitions() {
        // One more PUT is on its way when the server dies; whether it ends well is nobody's concern.
        let filler = fillers.first_mut().context("there are clients")?;
        filler.client = subject.s3_client()?;
        let _ = tokio::time::timeout(Duration::from_millis(20), filler.operate()).await;
        subject.kill();
        let dead = Moment::now();
        subject.start_again(&bench.options, &[Door::S3]).await?;
        let mut client = subject.s3_client()?;
        let (path, bytes) = last.first().context("the store is empty")?;
        client.get(path, *bytes, None).await?;
        figures.push(Figure::value(dead.elapsed().as_secs_f64()));
        for (path, bytes) in &last {
            let kept = client.get(path, *bytes, None).await;
            kept.context("an acknowledged object is gone after a kill")?;
        }
    }
    let what = format!("kill -9 to the first GET, {gib} GiB");
    bench.report.add_promised(SUITE, &what, subject.who(), Unit::Seconds, figures, RESTART_SECONDS);
    bench.add_peaks(SUITE, &field);
    Ok(())
}
