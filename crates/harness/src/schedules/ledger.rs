//! The ledger with all of its threads (writer, one per disk, the one that prepares segments) and its clients: numbers, progress,
//! waits, futures, the bounded queue, failing disks, the end.
//!
//! What is claimed: whoever waits gets an answer; an answer "done" is true, and stays true for the next opening; an append
//! that was refused never happened.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use shuttle::rand::Rng;
use shuttle::thread;
use strata_ledger_scheduled::{Append, BlockRecord, Class, Geometry, Ledger, LedgerError, Options};
use strata_seam::sim::{Fault, IoOp, SimEntropy, SimWorld, Snapshot};
use strata_seam::{Disk, Lsn};

const DISKS: usize = 3;
const CLIENTS: u8 = 3;
const APPENDS: u8 = 2;

fn options() -> Options {
    Options {
        segment_len: 64 << 10,
        shard_payload_max: 4096,
        queue_bytes_max: 16 << 10,
        flush_bytes: 4 << 10,
        soon_max: Duration::from_millis(200),
        reserve_segments: 0,
        ..Options::default()
    }
}

fn disks(world: &SimWorld) -> Vec<Arc<dyn Disk>> {
    (0..DISKS).map(|disk| world.disk(&format!("disk{disk}")) as Arc<dyn Disk>).collect()
}

/// A set that was just made: every run begins with it.
static BLANK: LazyLock<Snapshot> = LazyLock::new(|| {
    let world = SimWorld::new(1);
    let geometry = Geometry { data_shards: 2, parity_shards: 1 };
    Ledger::format(&disks(&world), geometry, &options(), &*world.clock(), &SimEntropy::new(1)).expect("a set");
    world.snapshot()
});

/// A ledger with its threads, on disks of its own.
fn start(options: Options) -> (SimWorld, Arc<Ledger>) {
    let world = SimWorld::new(1);
    world.restore(&BLANK);
    let entropy = SimEntropy::new(2);
    let ledger = Ledger::open(disks(&world), options, world.clock(), &entropy, None, &mut |_| Ok(())).expect("opened");
    ledger.start().expect("started");
    (world, Arc::new(ledger))
}

/// What an append carries: told apart, with data or without.
fn append(client: u8, number: u8, len: usize) -> Append {
    let data = Bytes::from(vec![client; len]);
    let blocks = if len == 0 { Vec::new() } else { vec![BlockRecord { directory: Bytes::new(), data }] };
    Append { blocks, commit: Some(Bytes::from(vec![client, number])), relaxed: number % 2 == 1 }
}

/// Appends of one client with the class it was told, in order.
type Told = Vec<(Lsn, [u8; 2], Option<Class>)>;

/// One client: appends, and waits in one of the ways there are. Ends at the first refusal.
fn client(ledger: &Ledger, client: u8, len: usize) -> Told {
    let mut told = Told::new();
    for number in 0..APPENDS {
        let lsn = match ledger.append(append(client, number, len)) {
            Ok(lsn) => lsn,
            Err(LedgerError::QuorumLost { .. } | LedgerError::Closed) => return told,
            Err(error) => panic!("an append was refused: {error}"),
        };
        let class = if number % 2 == 1 { Class::Written } else { Class::Durable };
        let waited = match shuttle::rand::thread_rng().gen_range(0..4_u8) {
            0 => {
                told.push((lsn, [client, number], None));
                continue;
            }
            1 => shuttle::future::block_on(ledger.settled(lsn, class)),
            _ => ledger.wait(lsn, class),
        };
        let reached = match class {
            Class::Written => ledger.written(),
            Class::Durable => ledger.durable(),
        };
        match waited {
            Ok(()) => assert!(lsn <= reached, "{lsn} is said to be {class:?}, which ends at {reached}"),
            Err(LedgerError::QuorumLost { .. } | LedgerError::Closed) => {}
            Err(ref error) => panic!("a wait ended with {error}"),
        }
        told.push((lsn, [client, number], waited.is_ok().then_some(class)));
    }
    told
}

fn clients(ledger: &Arc<Ledger>, len: usize) -> Vec<thread::JoinHandle<Told>> {
    let spawn = |number| {
        let ledger = Arc::clone(ledger);
        thread::spawn(move || client(&ledger, number, len))
    };
    (0..CLIENTS).map(spawn).collect()
}

fn join(clients: Vec<thread::JoinHandle<Told>>) -> Told {
    let mut told: Told = clients.into_iter().flat_map(|client| client.join().expect("a client")).collect();
    told.sort_unstable_by_key(|(lsn, ..)| *lsn);
    let numbers: Vec<Lsn> = told.iter().map(|(lsn, ..)| *lsn).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "a number was given twice: {numbers:?}");
    told
}

/// Opens the set after a loss of power and holds it against what clients were told.
fn check(world: &SimWorld, told: &Told) {
    world.clear_faults();
    world.restart(0);
    let mut found = Vec::new();
    let mut replay = |replayed: strata_ledger_scheduled::Replayed| {
        found.push((replayed.lsn, replayed.commit));
        Ok(())
    };
    Ledger::open(disks(world), options(), world.clock(), &SimEntropy::new(3), None, &mut replay).expect("opened again");
    for (lsn, commit, class) in told {
        let there = found.iter().find(|(found, _)| found == lsn);
        assert!(*class != Some(Class::Durable) || there.is_some(), "{lsn} was acknowledged and is gone");
        if let Some((_, found)) = there {
            assert_eq!(found.as_deref(), Some(&commit[..]), "{lsn} holds another append");
        }
    }
}

/// Everybody gets an answer, and it is true.
pub(super) fn progress() {
    let (world, ledger) = start(options());
    let told = join(clients(&ledger, 100));
    ledger.stop().expect("stopped");
    assert_eq!(told.len(), usize::from(CLIENTS * APPENDS));
    let last = told.last().map(|(lsn, ..)| *lsn).unwrap_or_default();
    assert_eq!(ledger.durable(), last, "a stop leaves nothing behind");
    drop(ledger);
    let all: Told = told.into_iter().map(|(lsn, commit, _)| (lsn, commit, Some(Class::Durable))).collect();
    check(&world, &all);
}

/// Appends wait for room in the queue, and all of them get it.
pub(super) fn crowd() {
    let (world, ledger) = start(Options { queue_bytes_max: 3000, flush_bytes: 2000, ..options() });
    let told = join(clients(&ledger, 2500));
    ledger.stop().expect("stopped");
    assert_eq!(told.len(), usize::from(CLIENTS * APPENDS));
    drop(ledger);
    check(&world, &told);
}

/// One disk fails, or so many that nothing more can be promised: nobody waits for ever, and nobody is told what is not so.
pub(super) fn failures() {
    let (world, ledger) = start(options());
    let clients = clients(&ledger, 100);
    for disk in 0..shuttle::rand::thread_rng().gen_range(1..3_u8) {
        world.set_fault(Fault::medium().on(&format!("disk{disk}")).of(IoOp::Write));
        thread::yield_now();
    }
    let told = join(clients);
    // Whether it could write everything does not matter here.
    drop(ledger.stop());
    drop(ledger);
    check(&world, &told);
}

/// The ledger is stopped under its clients: each gets an answer all the same.
pub(super) fn stopped() {
    let (world, ledger) = start(options());
    let clients = clients(&ledger, 100);
    let theirs = Arc::clone(&ledger);
    let other = thread::spawn(move || theirs.stop());
    ledger.stop().expect("stopped");
    other.join().expect("another who stops it").expect("stopped");
    let told = join(clients);
    drop(ledger);
    check(&world, &told);
}
