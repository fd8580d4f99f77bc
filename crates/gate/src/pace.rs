//! How slow a client may be while it is waited for.
//!
//! Only time spent waiting for the client counts: what the store itself takes is nobody's fault, and neither is a client that is
//! done and idle. A client that does nothing at all is given up after [`Pace::stall`]; one that does too little, after
//! [`Pace::window`] of waiting in which it came to less than [`Pace::rate_min`].

use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

/// How slow a client may be, for sending and for receiving.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pace {
    /// Longest time without a single byte.
    pub stall: Duration,
    /// Bytes a second, on average over a window.
    pub rate_min: u64,
    /// Time of waiting over which the average is taken.
    pub window: Duration,
}

impl Default for Pace {
    /// A minute of silence, as most servers have it, and a kibibyte a second: a fifth of what a modem does, so that no
    /// honest client meets it, also with several transfers at once.
    fn default() -> Self {
        Self { stall: Duration::from_secs(60), rate_min: 1024, window: Duration::from_secs(60) }
    }
}

/// Why the server disconnects a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TooSlow {
    /// Nothing came, or nothing was taken.
    #[error("nothing was transferred for {} seconds", .0.as_secs())]
    Stalled(Duration),
    /// Too little.
    #[error("fewer than {0} bytes a second were transferred")]
    Slow(u64),
}

impl Pace {
    /// Fewest bytes of a full window.
    fn window_bytes_min(&self) -> u64 {
        (u128::from(self.rate_min) * self.window.as_millis() / 1000).try_into().unwrap_or(u64::MAX)
    }
}

/// Measures how long one transfer has been waiting for its client.
#[derive(Clone, Debug)]
pub struct Patience {
    pace: Pace,
    waited: Duration,
    bytes: u64,
}

impl Patience {
    /// Begins a transfer.
    #[must_use]
    pub fn new(pace: Pace) -> Self {
        Self { pace, waited: Duration::ZERO, bytes: 0 }
    }

    /// The limits it goes by.
    #[must_use]
    pub fn pace(&self) -> Pace {
        self.pace
    }

    /// Records that the client transferred `bytes` after the server waited for `waited`.
    ///
    /// # Errors
    /// [`TooSlow::Slow`] at the end of a window in which too little was.
    pub fn note(&mut self, waited: Duration, bytes: u64) -> Result<(), TooSlow> {
        self.waited += waited;
        self.bytes = self.bytes.saturating_add(bytes);
        if self.waited < self.pace.window {
            return Ok(());
        }
        let enough = self.bytes >= self.pace.window_bytes_min();
        (self.waited, self.bytes) = (Duration::ZERO, 0);
        if enough { Ok(()) } else { Err(TooSlow::Slow(self.pace.rate_min)) }
    }

    /// What `next` gives, of which `len` says how many bytes it is. What is there at once costs no look at a clock.
    ///
    /// # Errors
    /// [`TooSlow`]; what `next` was to give is then lost.
    pub async fn wait<T>(&mut self, next: impl Future<Output = T>, len: impl FnOnce(&T) -> u64) -> Result<T, TooSlow> {
        let mut next = pin!(next);
        let ready = std::future::poll_fn(|task| match next.as_mut().poll(task) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => Poll::Ready(None),
        })
        .await;
        if let Some(output) = ready {
            self.bytes = self.bytes.saturating_add(len(&output));
            return Ok(output);
        }
        let begun = Instant::now();
        let stall = self.pace.stall;
        let output = tokio::time::timeout(stall, next).await.map_err(|_| TooSlow::Stalled(stall))?;
        self.note(begun.elapsed(), len(&output))?;
        Ok(output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { stall: Duration::from_millis(50), rate_min: 1000, window: Duration::from_millis(100) };

    async fn after(wait: Duration) -> u64 {
        tokio::time::sleep(wait).await;
        10
    }

    #[tokio::test]
    async fn silence_for_the_stall_time_ends_a_transfer() {
        let mut patience = Patience::new(PACE);
        let ended = patience.wait(std::future::pending::<u64>(), |bytes| *bytes).await;
        assert_eq!(ended, Err(TooSlow::Stalled(PACE.stall)));
    }

    #[tokio::test]
    async fn a_trickle_ends_at_the_end_of_its_window_and_not_before() {
        let mut patience = Patience::new(PACE);
        let mut pieces = 0;
        let ended = loop {
            match patience.wait(after(Duration::from_millis(20)), |bytes| *bytes).await {
                Ok(_) => pieces += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(ended, TooSlow::Slow(PACE.rate_min));
        assert!((1..6).contains(&pieces), "{pieces}");
    }

    #[test]
    fn a_client_that_is_fast_enough_goes_on_for_ever() {
        let mut patience = Patience::new(PACE);
        for _ in 0..1000 {
            patience.note(Duration::from_millis(30), 31).unwrap();
        }
    }

    #[tokio::test]
    async fn what_is_there_at_once_is_no_waiting() {
        let mut patience = Patience::new(PACE);
        for _ in 0..1000 {
            patience.wait(std::future::ready(0), |bytes| *bytes).await.unwrap();
        }
    }
}
