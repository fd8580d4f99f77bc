//! `strata`: one store, many doors. This file reads the command line, starts the runtime and turns results into exit
//! codes; everything else is in the modules.
//!
//! Exit codes: 0 success; 1 the command failed, `fsck` found violations, or a heal left something undone; 2 a flag, variable or configuration file is
//! wrong; 3 the store is in use by another server; 4 shutdown was cut short, by a second signal or the deadline (what
//! was acknowledged is safe all the same); 5 a check was ended before it was through.

mod bar;
mod buckets;
mod clear;
mod cli;
mod config;
mod control;
mod descriptors;
mod disks;
mod doors;
mod doors_file;
mod foreign;
mod fsck;
mod greeting;
mod guard;
mod interrupt;
mod keeper;
mod keys;
mod lock;
mod locks;
mod metrics;
mod mount;
mod notify;
mod operation;
mod passes;
mod private;
mod process;
mod rates;
mod ready;
mod reclaim;
mod running;
mod scratch;
mod segments;
mod serve;
mod sets;
mod status;
mod store;
mod upgrade;
mod user;
mod watch;

use std::process::ExitCode;

/// Blocks of a few hundred KiB are allocated on one thread and freed on another all day. This allocator gives their
/// memory back; with mimalloc the process grew to several times what its caches hold (docs/decisions/0012-allocator.md).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The allocator's settings: what is freed goes back to the system after three seconds instead of ten, and there is an arena for each
/// core instead of four, so that the process does not keep the peaks of several parts of its memory at a time. Sooner costs uploads: with
/// half a second, S3 PUT of 16 MiB by 8 clients took 4 to 8 % more CPU than with three, 5 to 10 % more than with ten.
#[allow(
    unsafe_code,
    reason = "the allocator reads its settings from a symbol of this name, as a pointer to a C string"
)]
// SAFETY: the name is the allocator's own for this, and the string ends in a zero.
#[unsafe(export_name = "_rjem_malloc_conf")]
static ALLOCATOR_SETTINGS: Option<&'static std::ffi::c_uchar> = Some(&SETTINGS[0]);
const SETTINGS: &[u8] = b"percpu_arena:percpu,dirty_decay_ms:3000,muzzy_decay_ms:0\0";

fn main() -> ExitCode {
    let cli = cli::parse();
    private::by_default();
    cli::log_to_stderr(cli.log.as_deref());
    descriptors::raise();
    match cli::run(cli.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("strata: {error:#}");
            cli::exit_code_of(&error)
        }
    }
}
