//! Peak memory: eight clients that each write and read 1 GiB at once, as objects of 256 MiB.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::content::{Kind, Source};
use crate::load::{Budget, Worker, drive};
use crate::process;
use crate::report::{Figure, Unit};
use crate::s3::Client;
use crate::subject::{Door, Recipe, Subject};
use crate::suite::Bench;

const SUITE: &str = "memory";
const BUCKET: &str = "bench";
const CLIENTS: usize = 8;
/// Objects that each client writes, then reads.
const OBJECTS: u64 = 4;

/// Writes its objects in turn, or reads them.
struct Mover {
    client: Client,
    source: Option<Source>,
    name: String,
    bytes: u64,
    done: u64,
}

impl Worker for Mover {
    async fn operate(&mut self) -> Result<()> {
        for _ in 0..OBJECTS {
            let path = format!("/{BUCKET}/{}-{}", self.name, self.done % OBJECTS);
            self.done += 1;
            match &mut self.source {
                Some(source) => self.client.put(&path, source, self.bytes).await?,
                None => self.client.get(&path, self.bytes, None).await?,
            }
        }
        Ok(())
    }
}

/// Runs the suite.
///
/// # Errors
/// That a subject could not be started or refused a request.
pub(crate) async fn run(bench: &mut Bench) -> Result<()> {
    let bytes: u64 = if bench.options.quick { 8 << 20 } else { 256 << 20 };
    for recipe in Recipe::wanted(&bench.options, false) {
        // One after another: eight gigabytes each are most of the disk that is promised.
        let field = bench.field(&[recipe], &[Door::S3]).await?;
        let Some(entrant) = field.first() else { continue };
        let watchdog = entrant.watch_long();
        if let Err(error) = measure(bench, &entrant.subject, bytes).await {
            entrant.excuse(error.context(format!("the gigabytes of {}", entrant.subject.name)), &watchdog)?;
        }
    }
    Ok(())
}

async fn measure(bench: &mut Bench, subject: &Subject, bytes: u64) -> Result<()> {
    let endpoint = subject.s3.as_ref().context("the subject has no S3 door")?;
    Client::new(endpoint).make_bucket(BUCKET).await?;
    let epoch = bench.next_epoch();
    for (verb, write) in [("PUT", true), ("GET", false)] {
        let sources = bench.sources(Kind::Random, epoch, CLIENTS);
        let movers = sources.into_iter().enumerate().map(|(number, source)| Mover {
            client: Client::new(endpoint),
            source: write.then_some(source),
            name: format!("of-{number}"),
            bytes,
            done: 0,
        });
        let mut movers: Vec<Mover> = movers.collect();
        process::forget_peak_rss(&subject.pids());
        // Every client does the whole of its part once.
        let budget = Budget { time: Duration::ZERO, operations: 0 };
        let outcome = drive(&mut movers, budget, &subject.pids()).await?;
        let moved = format!("{verb} {CLIENTS} x {} MiB", (OBJECTS * bytes) >> 20);
        let speed = vec![Figure::of(&outcome, Unit::MegabytesPerSecond, OBJECTS * bytes)];
        bench.report.add(SUITE, &moved, subject.who(), Unit::MegabytesPerSecond, speed);
        let peak = vec![Figure::value(subject.peak_rss_mib())];
        let what = format!("peak memory of {moved}");
        bench.report.add(SUITE, &what, subject.who(), Unit::Mebibytes, peak);
    }
    Ok(())
}
