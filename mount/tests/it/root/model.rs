//! Random operations on one file, compared with a model in memory after every step.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate};
use strata_mount::MountOptions;

use crate::support::{Drive, Numbers};

/// Longest file, in bytes: several chunks.
const LEN_MAX: u64 = 600_000;
const STEPS: u64 = 1_500;

fn open(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).expect("opened")
}

/// A length that is often tiny, often a page, sometimes long.
fn some_len(numbers: &mut Numbers) -> u64 {
    match numbers.below(4) {
        0 => 1 + numbers.below(100),
        1 => 4096,
        _ => 1 + numbers.below(70_000),
    }
}

fn check_range(file: &File, model: &[u8], from: u64, len: u64, step: &str) {
    let mut buf = vec![0; usize::try_from(len).expect("small")];
    let mut got = 0;
    while got < buf.len() {
        match file.read_at(&mut buf[got..], from + got as u64).expect("read") {
            0 => break,
            n => got += n,
        }
    }
    let from = usize::try_from(from).expect("small").min(model.len());
    let end = (from + buf.len()).min(model.len());
    assert_eq!(got, end - from, "{step}: the number of bytes read at {from}");
    assert!(buf[..got] == model[from..end], "{step}: the bytes read at {from}");
}

/// Runs `STEPS` random steps; the same seed gives the same steps.
fn exercise(drive: &Drive, seed: u64) {
    let path = drive.at(&format!("model-{seed}"));
    let (mut numbers, mut model, mut file) = (Numbers(seed), Vec::<u8>::new(), open(&path));
    for number in 0..STEPS {
        let (at, len) = (numbers.below(LEN_MAX), some_len(&mut numbers));
        let (from, end) = (usize::try_from(at).expect("small"), usize::try_from(at + len).expect("small"));
        let action = numbers.below(12);
        let step = format!("seed {seed}, step {number}, action {action}");
        match action {
            0..=3 => {
                let data = numbers.bytes(end - from);
                file.write_all_at(&data, at).expect("written");
                model.resize(model.len().max(end), 0);
                model[from..end].copy_from_slice(&data);
            }
            4 => {
                let data = numbers.bytes(end - from);
                let mut log = OpenOptions::new().append(true).open(&path).expect("opened");
                log.write_all(&data).expect("appended");
                model.extend_from_slice(&data);
            }
            5 => {
                file.set_len(at).expect("cut");
                model.resize(from, 0);
            }
            6 => {
                fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, at, len).expect("punched");
                let (from, end) = (from.min(model.len()), end.min(model.len()));
                model[from..end].fill(0);
            }
            7 => file.sync_all().expect("synced"),
            8 => {
                drop(file);
                file = open(&path);
            }
            _ => check_range(&file, &model, at, len, &step),
        }
        assert_eq!(file.metadata().expect("there").len(), model.len() as u64, "{step}: the size");
    }
    check_range(&file, &model, 0, model.len() as u64 + 1, "at the end");
    drop(file);
    assert!(drive.get(&format!("model-{seed}")) == model, "seed {seed}: what another door reads");
}

#[test]
fn random_steps_on_a_file_agree_with_a_model_in_memory() {
    let Some(drive) = Drive::new() else { return };
    std::thread::scope(|scope| {
        for seed in [11, 12, 13] {
            let drive = &drive;
            scope.spawn(move || exercise(drive, seed));
        }
    });
}

#[test]
fn the_same_holds_while_the_kernel_gathers_writes() {
    let Some(drive) = Drive::with(MountOptions { writeback: true, ..MountOptions::default() }) else {
        return;
    };
    exercise(&drive, 21);
    exercise(&drive, 22);
}
