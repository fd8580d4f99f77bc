//! The allocator of the process, its settings, and the call with which it returns freed memory to the system at once. Reasons:
//! docs/decisions/0012-allocator.md.

#![allow(
    unsafe_code,
    reason = "the allocator reads its settings from a symbol of its own name, and is spoken to through a C function"
)]

/// Blocks of a few hundred KiB are allocated on one thread and freed on another all day. This allocator gives their
/// memory back; with mimalloc the process grew to several times what its caches hold.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The allocator's settings: what is freed goes back to the system after three seconds instead of ten, and there is an arena for each
/// core instead of four, so that the process does not keep the peaks of several parts of its memory at a time. Sooner costs uploads: with
/// half a second, S3 PUT of 16 MiB by 8 clients took 4 to 8 % more CPU than with three, 5 to 10 % more than with ten.
// SAFETY: the name is the allocator's own for this, and the string ends in a zero.
#[unsafe(export_name = "_rjem_malloc_conf")]
static SETTINGS: Option<&'static std::ffi::c_uchar> = Some(&WORDS[0]);
const WORDS: &[u8] = b"percpu_arena:percpu,dirty_decay_ms:3000,muzzy_decay_ms:0\0";

/// Every arena's freed pages go back to the system now. Takes about a millisecond for each ten mebibytes. Whether the allocator did so.
pub(crate) fn give_back() -> bool {
    // 4096 is the allocator's name for all arenas (MALLCTL_ARENAS_ALL).
    let command = c"arena.4096.purge";
    let (nothing, no_length) = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: the name ends in a zero; this command reads no value and writes none, so both may be null.
    unsafe { tikv_jemalloc_sys::mallctl(command.as_ptr(), nothing, no_length, std::ptr::null_mut(), 0) == 0 }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_allocator_knows_the_command_and_gives_freed_pages_back() {
        let resident = || crate::process::resident_bytes().expect("the kernel says");
        let blocks: Vec<Vec<u8>> = (0..256).map(|n| vec![n as u8; 256 << 10]).collect();
        let full = resident();
        drop(blocks);
        assert!(super::give_back());
        let after = resident();
        assert!(after + (32 << 20) < full, "{full} bytes were resident, and {after} are");
    }
}
