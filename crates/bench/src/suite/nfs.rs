//! NFS version 3: whole files, attributes and names. A PUT is CREATE, unstable WRITEs and COMMIT; a GET is LOOKUP and READs.

use anyhow::{Context, Result, ensure};

use crate::content::{Kind, Source};
use crate::load::{Outcome, timed_async};
use crate::nfs::Client;
use crate::report::{Figure, Unit};
use crate::subject::{Door, Subject};
use crate::suite::{Bench, objects};

const SUITE: &str = "nfs";

impl objects::ObjectClient for Client {
    const DOOR: Door = Door::Nfs;

    fn open(subject: &Subject) -> Result<Self> {
        Ok(Self::new(subject.nfs.as_ref().context("the subject has no NFS door")?))
    }

    async fn prepare(&mut self) -> Result<()> {
        // The first call makes the folder.
        self.read_folder().await.map(drop)
    }

    fn prefix(&self) -> String {
        String::new()
    }

    async fn put(&mut self, path: &str, source: &mut Source, bytes: u64) -> Result<()> {
        Self::put(self, path, source, bytes).await
    }

    async fn get(&mut self, path: &str, bytes: u64, keep: Option<&mut Vec<u8>>) -> Result<()> {
        Self::get(self, path, bytes, keep).await
    }
}

/// Runs the suite.
///
/// # Errors
/// As [`objects::run`].
pub(crate) async fn run(bench: &mut Bench) -> Result<()> {
    let (sizes, files): (&[u64], u64) =
        if bench.options.quick { (&[4 << 10, 1 << 20], 500) } else { (&[4 << 10, 1 << 20, 256 << 20], 4_000) };
    let lines = objects::lines(sizes, &[1, 8], &[Kind::Random]);
    let field = objects::run::<Client>(bench, SUITE, &lines).await?;
    for entrant in field.iter().filter(|_| bench.options.only.is_empty()).collect::<Vec<_>>() {
        let watchdog = entrant.watch_long();
        if let Err(error) = names(bench, &entrant.subject, files).await {
            entrant.excuse(error.context(format!("the names of {}", entrant.subject.name)), &watchdog)?;
        }
    }
    Ok(())
}

/// Many small files: their attributes, the folder, and their removal.
async fn names(bench: &mut Bench, subject: &Subject, files: u64) -> Result<()> {
    let mut client = <Client as objects::ObjectClient>::open(subject)?;
    let before = client.read_folder().await?;
    let epoch = bench.next_epoch();
    let mut source = Source::new(Kind::Random, &bench.corpus, epoch, 0);
    let name = |number: u64| format!("small{number:06}");
    let mut handles = Vec::new();
    for number in 0..files {
        client.put(&name(number), &mut source, 100).await?;
        handles.push(client.look_up(&name(number)).await?);
    }
    let pids = subject.pids();
    let attributes = timed_async(files, &pids, async || {
        for handle in &handles {
            client.attributes(handle).await?;
        }
        Ok(())
    });
    let attributes = attributes.await?;
    let all = before + files;
    let folder = timed_async(all, &pids, async || {
        let found = client.read_folder().await?;
        ensure!(found == all, "the folder shows {found} entries of {all}");
        Ok(())
    });
    let folder = folder.await?;
    let removed = timed_async(files, &pids, async || {
        for number in 0..files {
            client.remove(&name(number)).await?;
        }
        Ok(())
    });
    let removed = removed.await?;
    for (what, outcome) in [("GETATTR c1", attributes), ("READDIR, entries", folder), ("REMOVE c1", removed)] {
        let figures = vec![one(&outcome)];
        bench.report.add(SUITE, what, subject.who(), Unit::PerSecond, figures);
    }
    Ok(())
}

fn one(outcome: &Outcome) -> Figure {
    Figure::of(outcome, Unit::PerSecond, 0)
}
