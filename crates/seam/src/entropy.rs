//! The seam for randomness.

use std::io::Read;

/// Where random bytes come from: identities, credentials, write verifiers.
pub trait Entropy: Send + Sync {
    /// Fills `buf` with unpredictable bytes (predictable ones from the simulated twin).
    fn fill(&self, buf: &mut [u8]);

    /// Eight of them as a number.
    fn next_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

/// The kernel's generator, through `/dev/urandom`.
#[derive(Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    /// # Panics
    /// If the kernel's generator cannot be read: a store must not run with guessable identities.
    fn fill(&self, buf: &mut [u8]) {
        std::fs::File::open("/dev/urandom")
            .and_then(|mut file| file.read_exact(buf))
            .expect("the kernel's random generator must be readable");
    }
}
