//! WebDAV PUT and GET by size, and PROPFIND of a large collection.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::content::{Kind, Source};
use crate::dav::Client;
use crate::load::{Budget, Worker, drive};
use crate::report::{Figure, Role, Unit};
use crate::subject::{Door, Subject};
use crate::suite::{Bench, objects};

const SUITE: &str = "webdav";
/// Members of the collection that PROPFIND is asked about.
const MEMBERS: u64 = 1000;

impl objects::ObjectClient for Client {
    const DOOR: Door = Door::WebDav;

    fn open(subject: &Subject) -> Result<Self> {
        Ok(Self::new(subject.webdav.as_ref().context("the subject has no WebDAV door")?))
    }

    async fn prepare(&mut self) -> Result<()> {
        if self.path != "/" {
            let path = self.path.clone();
            self.make_collection(&path).await?;
        }
        Ok(())
    }

    fn prefix(&self) -> String {
        self.path.clone()
    }

    async fn put(&mut self, path: &str, source: &mut Source, bytes: u64) -> Result<()> {
        Self::put(self, path, source, bytes).await
    }

    async fn get(&mut self, path: &str, bytes: u64, keep: Option<&mut Vec<u8>>) -> Result<()> {
        Self::get(self, path, bytes, keep).await
    }
}

/// Asks for the members of one collection again and again.
struct Lister {
    client: Client,
    path: String,
}

impl Worker for Lister {
    async fn operate(&mut self) -> Result<()> {
        let found = self.client.propfind(&self.path).await? as u64;
        let wanted = MEMBERS + 1;
        ensure!(found == wanted, "PROPFIND described {found} resources, not {wanted}");
        Ok(())
    }
}

/// Runs the suite.
///
/// # Errors
/// As [`objects::run`].
pub(crate) async fn run(bench: &mut Bench) -> Result<()> {
    let sizes: &[u64] = if bench.options.quick { &[4 << 10, 1 << 20] } else { &[4 << 10, 1 << 20, 256 << 20] };
    let lines = objects::lines(sizes, &[1, 8], &[Kind::Random]);
    let field = objects::run::<Client>(bench, SUITE, &lines).await?;
    for entrant in field.iter().filter(|entrant| entrant.subject.role != Role::Reference) {
        let what = format!("PROPFIND depth 1 of {MEMBERS}");
        if !bench.options.wants_line(&what) {
            continue;
        }
        let watchdog = entrant.watch_long();
        let figures = match propfind(bench, &entrant.subject).await {
            Ok(figures) => figures,
            Err(error) => {
                entrant.excuse(error.context(format!("{what} of {}", entrant.subject.name)), &watchdog)?;
                continue;
            }
        };
        bench.report.add(SUITE, &what, entrant.subject.who(), Unit::PerSecond, figures);
    }
    Ok(())
}

async fn propfind(bench: &mut Bench, subject: &Subject) -> Result<Vec<Figure>> {
    let mut client = <Client as objects::ObjectClient>::open(subject)?;
    let path = format!("{}listed/", client.path);
    client.make_collection(&path).await?;
    let epoch = bench.next_epoch();
    let mut source = Source::new(Kind::Random, &bench.corpus, epoch, 0);
    for member in 0..MEMBERS {
        client.put(&format!("{path}member-{member:05}"), &mut source, 100).await?;
    }
    let mut figures = Vec::new();
    let mut listers = [Lister { client, path }];
    for _ in 0..bench.options.repetitions() {
        let budget = Budget { time: Duration::from_secs(1), operations: 50 };
        let outcome = drive(&mut listers, budget, &subject.pids()).await?;
        figures.push(Figure::of(&outcome, Unit::PerSecond, 0));
    }
    Ok(figures)
}
