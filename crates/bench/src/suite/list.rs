//! Small objects in number: writing, listing and deleting 100,000 keys of one bucket.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::content::{Kind, Source};
use crate::load::{Budget, Outcome, Worker, drive, timed_async};
use crate::report::{Figure, Unit};
use crate::s3::Client;
use crate::subject::{Door, Recipe, Subject};
use crate::suite::Bench;

const SUITE: &str = "list";
const BUCKET: &str = "many";
/// Bytes of each object.
const OBJECT_BYTES: u64 = 100;
/// Clients that write and delete.
const CLIENTS: usize = 16;
/// Long enough for every subject to end by the number of operations.
const NO_HURRY: Duration = Duration::from_secs(3600);

/// Takes the next number until all are taken.
struct Each {
    client: Client,
    source: Option<Source>,
    next: Rc<Cell<u64>>,
}

impl Worker for Each {
    async fn operate(&mut self) -> Result<()> {
        let number = self.next.get();
        self.next.set(number + 1);
        // A hundred folders of a thousand keys, written in an order that no listing has.
        let path = format!("/{BUCKET}/folder{:03}/object{number:07}", number % 100);
        match &mut self.source {
            Some(source) => self.client.put(&path, source, OBJECT_BYTES).await,
            None => self.client.delete(&path).await,
        }
    }
}

/// Runs the suite.
///
/// # Errors
/// That a subject could not be started, refused a request, or listed more or fewer keys than it holds.
pub(crate) async fn run(bench: &mut Bench) -> Result<()> {
    let keys: u64 = if bench.options.quick { 5_000 } else { 100_000 };
    let recipes = Recipe::wanted(&bench.options, false);
    let field = bench.field(&recipes, &[Door::S3]).await?;
    for entrant in &field {
        let watchdog = entrant.watch_long();
        if let Err(error) = measure(bench, &entrant.subject, keys).await {
            entrant.excuse(error.context(format!("the keys of {}", entrant.subject.name)), &watchdog)?;
        }
    }
    bench.add_peaks(SUITE, &field);
    Ok(())
}

async fn measure(bench: &mut Bench, subject: &Subject, keys: u64) -> Result<()> {
    let endpoint = subject.s3.as_ref().context("the subject has no S3 door")?;
    Client::new(endpoint).make_bucket(BUCKET).await?;
    // A store that has just started makes its files first.
    for_each(bench, subject, keys / 20, true).await?;
    for_each(bench, subject, keys / 20, false).await?;
    let put = for_each(bench, subject, keys, true).await?;
    let mut lists = Vec::new();
    for _ in 0..bench.options.repetitions() {
        lists.push(Figure::of(&list(subject, keys).await?, Unit::PerSecond, 0));
    }
    let deleted = for_each(bench, subject, keys, false).await?;
    let figures = [
        (format!("PUT {OBJECT_BYTES} B c{CLIENTS} of {keys}"), one(&put)),
        (format!("LIST {keys} keys, pages of 1000"), lists),
        (format!("DELETE c{CLIENTS} of {keys}"), one(&deleted)),
    ];
    for (what, figures) in figures {
        bench.report.add(SUITE, &what, subject.who(), Unit::PerSecond, figures);
    }
    Ok(())
}

fn one(outcome: &Outcome) -> Vec<Figure> {
    vec![Figure::of(outcome, Unit::PerSecond, 0)]
}

async fn for_each(bench: &mut Bench, subject: &Subject, keys: u64, put: bool) -> Result<Outcome> {
    let endpoint = subject.s3.as_ref().context("the subject has no S3 door")?;
    let next = Rc::new(Cell::new(0));
    let epoch = bench.next_epoch();
    let sources = bench.sources(Kind::Random, epoch, CLIENTS);
    let workers = sources.into_iter().map(|source| Each {
        client: Client::new(endpoint),
        source: put.then_some(source),
        next: next.clone(),
    });
    let mut workers: Vec<Each> = workers.collect();
    let budget = Budget { time: NO_HURRY, operations: keys };
    drive(&mut workers, budget, &subject.pids()).await
}

async fn list(subject: &Subject, keys: u64) -> Result<Outcome> {
    let mut client = subject.s3_client()?;
    timed_async(keys, &subject.pids(), async || {
        let (mut found, mut token) = (0, None);
        loop {
            let (on_page, next) = client.list_page(BUCKET, token.as_deref()).await?;
            found += on_page;
            token = next;
            if token.is_none() {
                break;
            }
        }
        ensure!(found == keys, "{} listed {found} keys of {keys}", subject.name);
        Ok(())
    })
    .await
}
