//! Load: clients that repeat one operation side by side, and what came of it.
//!
//! All clients run on one thread, so the generator takes at most one core, and what it takes is shown beside the server's.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures_util::stream::{FuturesUnordered, StreamExt};

use crate::clock::Moment;
use crate::process;

/// When a measurement ends: at the first limit that is reached, but never before every client did one operation.
#[derive(Clone, Copy)]
pub(crate) struct Budget {
    /// Time.
    pub(crate) time: Duration,
    /// Operations of all clients together.
    pub(crate) operations: u64,
}

/// A client.
pub(crate) trait Worker {
    /// Does the operation once.
    async fn operate(&mut self) -> Result<()>;
}

/// What a measurement showed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    /// Operations done.
    pub(crate) operations: u64,
    /// Seconds from the first start to the last end.
    pub(crate) seconds: f64,
    /// Median latency in microseconds; not known for programs measured from outside.
    pub(crate) p50_us: Option<f64>,
    /// 99th percentile likewise.
    pub(crate) p99_us: Option<f64>,
    /// What 999 of 1,000 operations took at most, likewise.
    pub(crate) p999_us: Option<f64>,
    /// CPU of the server and of its descendants, seconds.
    pub(crate) server_cpu: f64,
    /// CPU of this process and of programs it ran, seconds.
    pub(crate) generator_cpu: f64,
}

impl Outcome {
    /// Operations per second.
    pub(crate) fn rate(&self) -> f64 {
        self.operations as f64 / self.seconds.max(1e-9)
    }

    /// What was used since `start`, when the servers and this process stood at `before`.
    fn since(start: Moment, operations: u64, roots: &[u32], before: (f64, f64)) -> Self {
        Self {
            operations,
            seconds: start.elapsed().as_secs_f64(),
            p50_us: None,
            p99_us: None,
            p999_us: None,
            server_cpu: process::cpu_seconds(roots) - before.0,
            generator_cpu: process::own_cpu_seconds() - before.1,
        }
    }
}

/// Drives `workers` until `budget` is used up and charges the servers `roots` with what they took.
///
/// # Errors
/// The first error of an operation: a figure with failures in it is no figure.
pub(crate) async fn drive<W: Worker>(workers: &mut [W], budget: Budget, roots: &[u32]) -> Result<Outcome> {
    ensure!(!workers.is_empty(), "a measurement needs a client");
    let left = std::cell::Cell::new(budget.operations);
    let before = (process::cpu_seconds(roots), process::own_cpu_seconds());
    let start = Moment::now();
    let end = start.after(budget.time);
    let mut running: FuturesUnordered<_> = workers
        .iter_mut()
        .map(|worker| async {
            let mut latencies = Vec::new();
            while latencies.is_empty() || (left.get() > 0 && Moment::now() < end) {
                left.set(left.get().saturating_sub(1));
                let begun = Moment::now();
                worker.operate().await?;
                latencies.push(begun.elapsed());
            }
            anyhow::Ok(latencies)
        })
        .collect();
    let mut latencies: Vec<Duration> = Vec::new();
    while let Some(of_one) = running.next().await {
        latencies.extend(of_one?);
    }
    let seconds = start.elapsed().as_secs_f64();
    latencies.sort_unstable();
    let at = |share: f64| {
        let index = (latencies.len() as f64 * share) as usize;
        latencies.get(index.min(latencies.len() - 1)).map(|latency| latency.as_secs_f64() * 1e6)
    };
    Ok(Outcome {
        operations: latencies.len() as u64,
        seconds,
        p50_us: at(0.50),
        p99_us: at(0.99),
        p999_us: at(0.999),
        server_cpu: process::cpu_seconds(roots) - before.0,
        generator_cpu: process::own_cpu_seconds() - before.1,
    })
}

/// As [`timed`], for work that waits.
///
/// # Errors
/// That of `work`.
pub(crate) async fn timed_async(
    operations: u64,
    roots: &[u32],
    work: impl AsyncFnOnce() -> Result<()>,
) -> Result<Outcome> {
    let before = (process::cpu_seconds(roots), process::own_cpu_seconds());
    let start = Moment::now();
    work().await?;
    Ok(Outcome::since(start, operations, roots, before))
}

/// Runs `work`, which does `operations` operations in its own way (system calls, other programs), and measures it.
///
/// # Errors
/// That of `work`.
pub(crate) fn timed(operations: u64, roots: &[u32], work: impl FnOnce() -> Result<()>) -> Result<Outcome> {
    let before = (process::cpu_seconds(roots), process::own_cpu_seconds());
    let start = Moment::now();
    work()?;
    Ok(Outcome::since(start, operations, roots, before))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Sleeper;

    impl Worker for Sleeper {
        async fn operate(&mut self) -> Result<()> {
            tokio::time::sleep(Duration::from_millis(2)).await;
            Ok(())
        }
    }

    #[tokio::test]
    async fn every_client_does_one_operation_even_without_budget() {
        let budget = Budget { time: Duration::ZERO, operations: 0 };
        let outcome = drive(&mut [Sleeper, Sleeper, Sleeper], budget, &[]).await.unwrap();
        assert_eq!(outcome.operations, 3);
        assert!(outcome.p50_us.unwrap() >= 2000.0 && outcome.seconds >= 0.002);
    }

    #[tokio::test]
    async fn the_number_of_operations_is_a_limit() {
        let budget = Budget { time: Duration::from_secs(60), operations: 10 };
        assert_eq!(drive(&mut [Sleeper, Sleeper], budget, &[]).await.unwrap().operations, 10);
    }
}
