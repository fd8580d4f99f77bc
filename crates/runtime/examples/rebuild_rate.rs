//! How long a lost index takes: filled from a checkpoint, and replayed from the log.
//!
//! `cargo run --release -p strata-runtime --example rebuild_rate -- [FOLDER] [RECORDS] [COMMITS]`: a store on one disk
//! below FOLDER (default: the temporary folder), with RECORDS chunk cells (default 1,000,000) written down in a checkpoint, and then
//! COMMITS small synced commits (default 20,000, each a frame of 4 KiB) behind it. Prints rates; everything is removed at the end.

#![allow(clippy::unwrap_used, clippy::cast_precision_loss, reason = "a measurement that fails says where")]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use strata_content::{ContentError, Taken};
use strata_disk::FileDisk;
use strata_ledger::{Class, Geometry, Options};
use strata_namespace::{ContentSettings, Durability};
use strata_runtime::{OpenStore, StoreConfig};
use strata_seam::{Clock, Disk, SystemClock, SystemEntropy};

fn open(folder: &Path) -> OpenStore {
    let disk: Arc<dyn Disk> = Arc::new(FileDisk::open(&folder.join("disk0")).unwrap());
    let config = StoreConfig {
        disks: vec![disk],
        create: Some(Geometry { data_shards: 1, parity_shards: 0 }),
        index_dir: Some(folder.join("index")),
        index_engine: None,
        index_cache_bytes: 64 << 20,
        ledger: Options::default(),
        content: ContentSettings::default(),
        owner: (0, 0),
        durability: Durability::Strict,
        threads: true,
    };
    OpenStore::open(config, Arc::new(SystemClock::new()), &SystemEntropy).unwrap()
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let below = arguments.next().map_or_else(std::env::temp_dir, Into::into);
    let records: u64 = arguments.next().map_or(1_000_000, |text| text.parse().unwrap());
    let commits: u64 = arguments.next().map_or(20_000, |text| text.parse().unwrap());
    let folder = tempfile::Builder::new().prefix("rebuild").tempdir_in(below).unwrap();
    std::fs::create_dir(folder.path().join("disk0")).unwrap();
    let clock = SystemClock::new();
    let seconds = |since: u64| (clock.monotonic_nanos() - since) as f64 / 1e9;

    let store = open(folder.path());
    let content = store.namespace().store();
    for batch in 0..records / 1000 {
        let change = |tx: &mut strata_content::Tx<'_>| {
            for n in 0..1000 {
                // As long as a chunk's cell: 33 bytes of key, 46 of value. The table is none that the name space has.
                let hash = strata_chunk::chunk_id(&(batch * 1000 + n).to_le_bytes());
                tx.put([b"~", &hash.0[..]].concat(), [&hash.0[..], &hash.0[..14]].concat());
            }
            Ok::<_, ContentError>(())
        };
        content.transact(true, change).unwrap();
    }
    content.ledger().sync().unwrap();
    let start = clock.monotonic_nanos();
    let Taken::Done(done) = content.take_checkpoint(&BTreeSet::new(), &mut |_| true).unwrap() else { panic!("empty") };
    let took = seconds(start);
    println!(
        "checkpoint of {} records, {} pieces, {} MiB: {took:.2} s (drain included)",
        done.pairs,
        done.pieces,
        done.bytes_written >> 20
    );
    let start = clock.monotonic_nanos();
    let Taken::Done(again) = content.take_checkpoint(&BTreeSet::new(), &mut |_| true).unwrap() else { panic!("empty") };
    println!(
        "the next one, nothing changed: {} of {} pieces shared, {:.2} s",
        again.shared,
        again.pieces,
        seconds(start)
    );
    store.close().unwrap();

    std::fs::remove_dir_all(folder.path().join("index")).unwrap();
    let start = clock.monotonic_nanos();
    let store = open(folder.path());
    let took = seconds(start);
    println!(
        "filled from it: {} records, {} appends replayed, {took:.2} s, {:.0} records/s",
        store.restored,
        store.replayed,
        store.restored as f64 / took
    );

    let content = store.namespace().store();
    for n in 0..commits {
        let change = |tx: &mut strata_content::Tx<'_>| {
            tx.put([b"~", &n.to_be_bytes()[..]].concat(), vec![7; 300]);
            Ok::<_, ContentError>(())
        };
        let lsn = content.transact(false, change).unwrap().lsn.unwrap();
        content.ledger().wait(lsn, Class::Durable).unwrap();
    }
    drop(store);
    std::fs::remove_dir_all(folder.path().join("index")).unwrap();
    let start = clock.monotonic_nanos();
    let filled = {
        let store = open(folder.path());
        let took = seconds(start);
        (store.replayed, store.restored, took)
    };
    let bytes = commits as f64 * 4096.0;
    let fill = took;
    println!(
        "the same with {} appends of 4 KiB behind it: {:.2} s, of these {:.2} s the replay: {:.1} s per GB of log",
        filled.0,
        filled.2,
        filled.2 - fill,
        (filled.2 - fill) / bytes * 1e9
    );
}
