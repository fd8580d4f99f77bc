//! What deduplication is for: the same gigabyte written again, and again with one byte changed in its middle. Each PUT is
//! followed by a clean end, and what the disks hold is counted, parity and the log's own records included.

use anyhow::{Context, Result};

use super::dedup::on_disks;
use crate::content::{Kind, Source};
use crate::report::{Figure, Unit};
use crate::subject::{Door, Recipe};
use crate::suite::Bench;

const SUITE: &str = "growth";
const BUCKET: &str = "bench";
const MIB: f64 = (1 << 20) as f64;
/// What the same bytes again stay below, in per cent of them.
const AGAIN_PER_CENT: f64 = 1.0;
/// What one changed byte stays below, in MiB.
const CHANGED_MIB: f64 = 1.0;

/// Runs the suite; only for StrataFS, since no peer here finds what it has.
///
/// # Errors
/// That the server could not be started or refused a request.
pub(crate) async fn run(bench: &mut Bench) -> Result<()> {
    let bytes: u64 = if bench.options.quick { 64 << 20 } else { 1 << 30 };
    let mut field = bench.field(&[Recipe::Strata(bench.options.durability)], &[Door::S3]).await?;
    let subject = &mut field.first_mut().context("there is nothing to measure")?.subject;
    let epoch = bench.next_epoch();
    let mut held = Vec::new();
    for name in ["first", "again", "changed"] {
        if held.is_empty() {
            subject.s3_client()?.make_bucket(BUCKET).await?;
        } else {
            subject.start_again(&bench.options, &[Door::S3]).await?;
        }
        let mut client = subject.s3_client()?;
        let mut source = Source::new(Kind::Random, &bench.corpus, epoch, 0);
        if name == "changed" {
            source.change_at(bytes / 2);
        }
        client.put(&format!("/{BUCKET}/{name}"), &mut source, bytes).await?;
        subject.end();
        held.push(on_disks(&subject.data)? as f64);
    }
    let (stored, again, changed) = (held[0], held[1] - held[0], held[2] - held[1]);
    let mib = bytes >> 20;
    let who = subject.who();
    let report = &mut bench.report;
    report.add(SUITE, &format!("{mib} MiB, stored"), who, Unit::Mebibytes, vec![Figure::value(stored / MIB)]);
    let growth = vec![Figure::value(again / stored * 100.0)];
    report.add_promised(SUITE, &format!("{mib} MiB again, growth"), who, Unit::PerCent, growth, AGAIN_PER_CENT);
    let growth = vec![Figure::value(changed / MIB)];
    let what = format!("{mib} MiB with one byte changed, growth");
    report.add_promised(SUITE, &what, who, Unit::Mebibytes, growth, CHANGED_MIB);
    Ok(())
}
