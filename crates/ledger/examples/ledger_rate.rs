//! How fast is the ledger on real files? Commits of 4 KiB per second with 1 and 32 waiters, and MB/s of 1 MiB appends,
//! each durable and merely written, on six folders as 4+2.
//!
//! `cargo run --release -p strata-ledger --example ledger_rate -- [folder] [data] [parity]`; the folder must not be on a
//! memory file system and is left as it was.
#![allow(clippy::disallowed_methods, reason = "a stopwatch is the point of a benchmark")]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use strata_disk::FileDisk;
use strata_ledger::{Append, BlockRecord, Class, Geometry, Ledger, Options};
use strata_seam::{Disk, SystemClock, SystemEntropy};

/// Time per row.
const ROW: Duration = Duration::from_secs(4);

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> Outcome<()> {
    let mut args = std::env::args().skip(1);
    let base = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let number = |arg: Option<String>, default: u8| arg.map_or(Ok(default), |arg| arg.parse());
    let geometry = Geometry { data_shards: number(args.next(), 4)?, parity_shards: number(args.next(), 2)? };
    println!("layout {}+{}", geometry.data_shards, geometry.parity_shards);
    println!("{:<34} {:>12} {:>10} {:>12}", "row", "appends/s", "MB/s", "mean us");
    for class in [Class::Durable, Class::Written] {
        for (len, callers) in [(4 << 10, 1), (4 << 10, 32), (1 << 20, 1), (1 << 20, 4)] {
            row(&base, geometry, class, len, callers)?;
        }
    }
    Ok(())
}

/// A fresh set for each row, so that none pays for the one before.
fn row(base: &std::path::Path, geometry: Geometry, class: Class, len: usize, callers: u64) -> Outcome<()> {
    let folder = tempfile::tempdir_in(base)?;
    let mut disks: Vec<Arc<dyn Disk>> = Vec::new();
    for index in 0..geometry.data_shards + geometry.parity_shards {
        let path = folder.path().join(format!("disk{index}"));
        std::fs::create_dir(&path)?;
        disks.push(Arc::new(FileDisk::open(&path)?));
    }
    let clock = Arc::new(SystemClock::new());
    Ledger::format(&disks, geometry, &Options::default(), &*clock, &SystemEntropy)?;
    let ledger = Ledger::open(disks, Options::default(), clock, &SystemEntropy, None, &mut |_| Ok(()))?;
    ledger.start()?;
    let data = Bytes::from((0..len).map(|index| ((index * 31) >> 2) as u8).collect::<Vec<_>>());
    let done = AtomicU64::new(0);
    let start = Instant::now();
    std::thread::scope(|scope| -> Outcome<()> {
        let callers: Vec<_> =
            (0..callers).map(|_| scope.spawn(|| caller(&ledger, class, &data, &done, start))).collect();
        callers.into_iter().try_for_each(|caller| caller.join().unwrap_or_else(|_| Err("a caller panicked".into())))
    })?;
    let seconds = start.elapsed().as_secs_f64();
    let done = done.load(Ordering::Relaxed) as f64;
    ledger.stop()?;
    println!(
        "{:<34} {:>12.0} {:>10.1} {:>12.0}",
        format!("{class:?} {} KiB, {callers} waiting", len >> 10),
        done / seconds,
        done * len as f64 / seconds / 1e6,
        seconds / done * callers as f64 * 1e6,
    );
    Ok(())
}

fn caller(ledger: &Ledger, class: Class, data: &Bytes, done: &AtomicU64, start: Instant) -> Outcome<()> {
    while start.elapsed() < ROW {
        let append = Append {
            blocks: vec![BlockRecord { directory: Bytes::from_static(&[7; 60]), data: data.clone() }],
            commit: Some(Bytes::from_static(&[1; 200])),
            relaxed: class == Class::Written,
        };
        let lsn = ledger.append(append)?;
        ledger.wait(lsn, class)?;
        done.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}
